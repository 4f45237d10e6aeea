//! Limits of the source itself. Clippy holds functions to 60 lines (`clippy.toml`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of code of a file, without blank lines and comments.
const MAX_CODE: usize = 500;
/// Lines of the README.
const MAX_README: usize = 200;

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn is_code(line: &&str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with("//")
}

#[test]
fn no_file_is_too_long_to_read_at_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for directory in ["src", "tests"] {
        sources(&root.join(directory), &mut found);
    }
    assert!(found.len() > 100, "only {} files", found.len());
    for path in found {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.lines().filter(is_code).count();
        assert!(code <= MAX_CODE, "{}: {code} lines", path.display());
    }
}

#[test]
fn the_readme_is_short() {
    let lines = include_str!("../README.md").lines().count();
    assert!(lines <= MAX_README, "{lines} lines");
}

#[test]
fn a_readme_names_only_files_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in [
        "README.md",
        "src/smtp/README.md",
        "src/spool/README.md",
        "src/inspect/README.md",
        "tests/README.md",
        ".github/CONTRIBUTING.md",
    ] {
        let path = root.join(name);
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let target = path.parent().unwrap().join(target);
            assert!(target.exists(), "{name}: {}", target.display());
        }
    }
}

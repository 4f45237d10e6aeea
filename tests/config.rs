//! Options, configuration file and what is said about them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

use std::process::Command;

fn help() -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_mm4d"))
        .arg("--help")
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    String::from_utf8(output.stdout).unwrap()
}

/// The text as a README quotes it, whether fenced or indented.
#[test]
fn the_readme_shows_the_options_as_help_prints_them() {
    let readme = include_str!("../README.md");
    let help = help();
    let options = &help[help.find("    -l, --listen").unwrap()..];
    let options = options.split("\n\n").next().unwrap();
    let quoted = |indent: &str| {
        let lines: Vec<_> = options
            .lines()
            .map(|line| format!("{indent}{line}"))
            .collect();
        lines.join("\n")
    };
    assert!(
        ["", "    "]
            .iter()
            .any(|indent| readme.contains(&quoted(indent))),
        "README.md does not have this block:\n{options}"
    );
}

#[test]
fn a_mistyped_log_level_is_reported_instead_of_logging_nothing() {
    for level in ["inof", "mm4d=loud", "other=info"] {
        let output = Command::new(env!("CARGO_BIN_EXE_mm4d"))
            .env("RUST_LOG", level)
            .args(["--accounts", "/nonexistent"])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(&format!("RUST_LOG '{level}'")), "{text}");
    }
}

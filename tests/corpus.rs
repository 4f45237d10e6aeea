//! The inputs that the fuzzer found worth keeping, replayed without a fuzzer:
//! each reaches code that no other does, and the promises of `fuzz/driver.rs`
//! hold for all of them. `scripts/fuzz.sh` looks for more.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

#[path = "fuzz/driver.rs"]
mod driver;
#[path = "fuzz/proxy.rs"]
mod proxy;

use std::fs;
use std::path::{Path, PathBuf};

/// What the corpus may have, all targets together: it is read by people too.
const MAX_FILES: usize = 260;
const MAX_OCTETS: usize = 300_000;

#[test]
fn every_session_of_the_corpus_keeps_every_promise() {
    replay("session", driver::session);
}

#[test]
fn every_header_of_the_corpus_keeps_every_promise() {
    replay("header", driver::header);
}

#[test]
fn every_proxy_header_of_the_corpus_keeps_every_promise() {
    replay("proxy", proxy::proxy);
}

#[test]
fn the_corpus_is_small() {
    let files = [files("session"), files("header"), files("proxy")].concat();
    let bytes: usize = files.iter().map(|file| fs::read(file).unwrap().len()).sum();
    assert!(files.len() < MAX_FILES, "{} files", files.len());
    assert!(bytes < MAX_OCTETS, "{bytes} bytes");
}

fn replay(target: &str, run: fn(&[u8])) {
    let files = files(target);
    assert!(!files.is_empty(), "no corpus of {target}");
    for file in files {
        // Shown when it fails.
        println!("{}", file.display());
        run(&fs::read(file).unwrap());
    }
}

fn files(target: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut files: Vec<PathBuf> = fs::read_dir(dir.join(target))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

//! What is logged last reaches standard error, however the process ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod support;

use std::io::Write;
use std::panic::{self, catch_unwind};
use std::process::Command;
use std::thread;
use std::time::Duration;

use mm4d::server::stderr::{self, FlushAtEnd, Stderr};
use support::Builder;

/// Set for the process that [`child`] is run in.
const CHILD: &str = "MM4D_TEST_CHILD";

#[test]
fn a_panic_of_the_main_thread_leaves_its_line_in_the_log() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(101));
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(log.contains("the last line"), "{log}");
}

/// Ends as main does when it panics.
#[test]
fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    thread::spawn(stderr::run);
    // Until the thread runs, a line is written at once.
    for _ in 0..200 {
        Stderr.write_all(b"a line\n").unwrap();
        thread::sleep(Duration::from_millis(1));
    }
    // The report of the panic would give the thread time to write.
    panic::set_hook(Box::new(|_| {}));
    let panicked = catch_unwind(|| {
        let _flush = FlushAtEnd;
        Stderr.write_all(b"the last line\n").unwrap();
        panic!("planted");
    });
    assert!(panicked.is_err());
    std::process::exit(101);
}

#[test]
fn a_server_without_memory_for_its_threads_says_why_it_does_not_start() {
    let mut threads = 0;
    // Each server gets a little more memory than the last, so that one after the
    // other of the threads of the start has none.
    for kibibytes in (6000..12_000).step_by(250) {
        let script = format!("ulimit -v {kibibytes}; exec \"$0\" \"$@\"");
        let (status, error) = Builder::new().wrapper(["sh", "-c", &script]).fail();
        if error.contains("started version=") {
            break;
        }
        if status == Some(1) {
            assert!(error.contains("mm4d: "), "{kibibytes} KiB: {error}");
            threads += usize::from(error.contains("cannot start a thread"));
        }
    }
    println!("{threads} servers had no memory for a thread");
}

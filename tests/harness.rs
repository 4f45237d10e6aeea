//! The tests' own harness: a test that fails stops what it started.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use support::guard::{self, Stop, ends_within, is_alive};
use support::{Builder, Client, DEADLINE, Server, wait_for};

/// Set for the process that the last test starts and that must die.
const PLANTED: &str = "MM4_TEST_PLANTED";

#[test]
fn a_failing_wait_stops_the_senders_and_the_server() {
    const SENDERS: usize = 4;
    const MAX_MAILS: usize = 10_000;
    let outside = tempfile::tempdir().unwrap();
    let spool = outside.path().join("spool");
    let sent = AtomicUsize::new(0);
    let stop = Stop::after(MAX_MAILS);
    let mut process = 0;
    let failed = catch_unwind(AssertUnwindSafe(|| {
        let server = Builder::new().spool(&spool).start();
        process = server.pid();
        thread::scope(|scope| {
            let _guard = stop.guard();
            for _ in 0..SENDERS {
                scope.spawn(|| {
                    let mut client = Client::logged_in(&server, false);
                    while stop.one_more() {
                        client.deliver(b"x\r\n");
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            wait_for("mails", || {
                (sent.load(Ordering::Relaxed) > 20).then_some(())
            });
            panic!("planted: a wait in vain");
        });
    }));
    assert!(failed.is_err());
    assert!(!is_alive(process), "the server survived the failed test");
    let files = fs::read_dir(spool.join("new")).unwrap().count();
    assert_eq!(files, sent.load(Ordering::Relaxed));
    assert!(files < MAX_MAILS, "only the maximum stopped the senders");
    assert!(!stop.one_more());
}

#[test]
fn load_ends_at_its_maximum_when_nobody_stops_it() {
    let stop = Stop::after(3);
    let count = thread::scope(|scope| {
        let senders = [(); 2].map(|()| {
            scope.spawn(|| {
                let mut count = 0;
                while stop.one_more() {
                    count += 1;
                }
                count
            })
        });
        senders.map(|sender| sender.join().unwrap())
    });
    assert_eq!(count.iter().sum::<usize>(), 3);
}

/// What the process that the next test starts runs; nothing otherwise.
#[test]
fn planted_to_be_killed() {
    if std::env::var_os(PLANTED).is_none() {
        return;
    }
    let mut ended = Server::start();
    ended.crash();
    let server = Server::start();
    println!("server {}", server.pid());
    thread::sleep(DEADLINE);
}

#[test]
fn a_server_does_not_outlive_a_test_process_that_is_killed() {
    let mut tests = Command::new(std::env::current_exe().unwrap());
    tests
        .args(["--exact", "planted_to_be_killed", "--nocapture"])
        .env(PLANTED, "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut tests = guard::spawn(&mut tests).unwrap();
    let output = BufReader::new(tests.stdout.take().unwrap());
    let server = output
        .lines()
        .find_map(|line| line.unwrap().split_once("server ")?.1.parse().ok())
        .unwrap();
    assert!(is_alive(server));
    // The test process alone: its server is in another group, as are all.
    tests.kill().unwrap();
    guard::kill(&mut tests);
    assert!(
        ends_within(server, Duration::from_secs(60)),
        "the server {server} survived"
    );
}

//! Header blocks that are made to cost time: the server's reader of fields and
//! every command of mm4spool take time that is linear in the size of a mail.
//!
//! Budgets are CPU time, with a factor of ten or more over what is usual, so that
//! other work on the machine does not matter; what is not linear exceeds them by
//! far. The commands run with a limit on their CPU time, so that a test that fails
//! ends too.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use mm4d::inspect::check::{self, Profile};
use mm4d::inspect::message::Message;
use mm4d::inspect::output::page::Page;
use mm4d::inspect::output::terminal::Terminal;
use mm4d::inspect::output::{json, text};
use mm4d::inspect::store::Store;
use mm4d::mm4;
use proptest::prelude::*;
use proptest::sample::select;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use rustix::time::{ClockId, clock_gettime};

/// CPU time of a reader of one header block of at most [`MAX_HEADER`] bytes.
const BUDGET: Duration = Duration::from_secs(5);
const MAX_HEADER: usize = 32 * 1024;

/// Bytes of a mail, and CPU seconds of a command for it: in a release build what
/// is promised, else what an unoptimised one needs many times over.
const MAIL: usize = if cfg!(debug_assertions) {
    1 << 20
} else {
    10_000_000
};
const COMMAND_SECONDS: u64 = if cfg!(debug_assertions) { 20 } else { 2 };
/// Wall time after which a command hangs.
const DEADLINE: Duration = Duration::from_secs(120);

const NAMES: [&str; 12] = [
    "Subject",
    "To",
    "Date",
    "Content-Type",
    "Content-Disposition",
    "Content-ID",
    "X-Mms-Message-Type",
    "X-Mms-Transaction-ID",
    "X-Mms-Message-ID",
    "X-Mms-Expiry",
    "X-Mms-Ack-Request",
    "X-Mms-Originator-System",
];

/// Values that have cost more than linear time somewhere, of about `size` bytes.
fn value(kind: usize, size: usize) -> String {
    let repeat = |unit: &str| unit.repeat(size / unit.len() + 1);
    let numbered = |write: fn(usize) -> String, unit: usize| {
        (0..size / unit + 1).fold("x".to_owned(), |mut text, at| {
            let _ = write!(text, "{}", write(at));
            text
        })
    };
    match kind {
        // mailparse's decoder of encoded words is cubic here.
        0 => " =?".repeat(size / 6 + 1) + &"?=x".repeat(size / 6 + 1),
        1 => repeat("=?utf-8?B??="),
        2 => repeat("=?utf-8?Q?a?= "),
        3 => repeat("=?utf-8?Q?"),
        // Its parser of parameters is quadratic here.
        4 => numbered(|at| format!(";name*{at}=a"), 12),
        5 => numbered(|at| format!(";a{at}*0*=x"), 12),
        6 => repeat(","),
        7 => repeat("("),
        8 => repeat("a@b,"),
        9 => repeat("\r\n "),
        10 => repeat("\""),
        11 => repeat("\\\""),
        12 => repeat("<"),
        13 => repeat("%41"),
        _ => String::new(),
    }
}

const KINDS: usize = 15;

fn header() -> impl Strategy<Value = String> {
    let field = (
        select(NAMES.to_vec()),
        0..KINDS,
        0..MAX_HEADER,
        1..200_usize,
    );
    proptest::collection::vec(field, 1..4).prop_map(|fields| {
        let mut header = String::new();
        for (name, kind, size, copies) in fields {
            let field = format!("{name}: {}\r\n", value(kind, size));
            for _ in 0..copies {
                if header.len() + field.len() <= MAX_HEADER {
                    header.push_str(&field);
                }
            }
        }
        header
    })
}

/// CPU time that this thread takes for `work`.
fn cpu_time(work: impl FnOnce()) -> Duration {
    let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let before = now();
    work();
    now() - before
}

/// What every command does with a message, in memory.
fn inspect(mail: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mail.eml");
    fs::write(&path, mail).unwrap();
    let store = Store::open(&path).unwrap();
    let entries = store.entries().unwrap();
    let raw = store.read(&entries[0]).unwrap();
    let message = Message::read(&entries[0], &raw);
    let mut out = Vec::new();
    text::write(
        &message,
        &text::Extras::default(),
        &Terminal::plain(),
        &mut out,
    )
    .unwrap();
    json::write(&message, &mut out).unwrap();
    check::findings(&message, &Profile::default());
    let now = "2022-01-26T00:17:43Z".parse().unwrap();
    let page = Page::prepare(&store, entries.clone(), &entries);
    page.write(&store, "x", now, &mut out).unwrap();
}

proptest! {
    // No search for a smaller input: each try could take the time of the first.
    #![proptest_config(ProptestConfig {
        cases: 30,
        max_shrink_iters: 0,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_header_costs_the_server_more_than_its_budget(header in header()) {
        let taken = cpu_time(|| drop(mm4::summary(header.as_bytes())));
        prop_assert!(taken < BUDGET, "{taken:?}: {:.200}", header);
    }

    #[test]
    fn no_header_costs_mm4spool_more_than_its_budget(header in header()) {
        let taken = cpu_time(|| inspect(format!("{header}\r\nbody\r\n").as_bytes()));
        prop_assert!(taken < BUDGET, "{taken:?}: {:.200}", header);
    }
}

/// Runs a command with a limit on its CPU time; killed at the deadline.
fn run(arguments: &[&str], path: &Path) -> ExitStatus {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mm4spool"))
        .args(arguments)
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let limit = Rlimit {
        current: Some(COMMAND_SECONDS),
        maximum: Some(COMMAND_SECONDS),
    };
    prlimit(Some(Pid::from_child(&child)), Resource::Cpu, limit).unwrap();
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if started.elapsed() > DEADLINE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{arguments:?} hangs");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A mail of about [`MAIL`] bytes whose header, or whose parts' headers, are made
/// of fields of that kind.
fn mails() -> Vec<(String, String)> {
    let parts = |part: &str| {
        let part = format!("--x\r\n{part}\r\n");
        let parts = part.repeat(MAIL / part.len() + 1);
        format!("Content-Type: multipart/mixed; boundary=x\r\n\r\n{parts}")
    };
    let mut mails = Vec::new();
    for kind in 0..KINDS {
        for name in ["Subject", "To"] {
            let field = format!("{name}: {}\r\n", value(kind, 60_000));
            let mail = field.repeat(MAIL / field.len() + 1);
            mails.push((format!("{name}, kind {kind}"), mail));
        }
        let part = format!("Content-Type: text/plain{}\r\n\r\nx", value(kind, 60_000));
        mails.push((format!("parts, kind {kind}"), parts(&part)));
    }
    for unit in ["X-Mms-Expiry:\r\n", "X-Mms-Ack-Request: 1\r\n", "A:b\n"] {
        mails.push((unit.to_owned(), unit.repeat(MAIL / unit.len())));
    }
    let utf7 = "Content-Type: text/plain; charset=utf-7\r\n\r\n".to_owned();
    mails.push(("utf-7".to_owned(), utf7 + &"+AGE-".repeat(MAIL / 5)));
    let same_name = "Content-Type: text/plain; name=a.txt\r\n\r\nx";
    mails.push(("parts of one name".to_owned(), parts(same_name)));
    mails
}

#[test]
fn every_command_is_linear_in_the_size_of_a_hostile_mail() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mail.eml");
    let parts = dir.path().join("parts");
    for (name, mail) in mails() {
        fs::write(&path, mail).unwrap();
        let commands = [
            &["show"][..],
            &["extract", "--to", parts.to_str().unwrap()],
            &["gallery"],
            &["list", "--json"],
            &["check"],
        ];
        // Unoptimised, the first two reach what the others share with them.
        let count = if cfg!(debug_assertions) { 2 } else { 5 };
        for arguments in commands.into_iter().take(count) {
            let status = run(arguments, &path);
            assert!(status.code().is_some(), "{name}: {arguments:?}: {status}");
        }
        let _ = fs::remove_dir_all(&parts);
    }
}

#[test]
fn a_pipe_among_the_messages_hangs_no_command() {
    let dir = tempfile::tempdir().unwrap();
    let new = dir.path().join("new");
    fs::create_dir(&new).unwrap();
    fs::write(new.join("1643149063.P1.host"), "To: a\r\n\r\nx").unwrap();
    let pipe = new.join("1643149064.P1.host");
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
    for arguments in [&["list"][..], &["list", "--json"], &["gallery"]] {
        assert!(run(arguments, dir.path()).success(), "{arguments:?}");
    }
    for arguments in [
        &["list"][..],
        &["show"],
        &["check"],
        &["gallery"],
        &["respond"],
    ] {
        let code = run(arguments, &pipe).code();
        assert!(matches!(code, Some(1 | 2)), "{arguments:?}: {code:?}");
    }
}

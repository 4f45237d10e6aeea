//! Each filter on a spool of 100,000 messages: what it selects, and that its CPU time
//! grows no faster than the messages.
//!
//! The spool has [`MAILS`] mails, each linked under [`COPIES`] ids: 4 MB on the disk. The
//! budgets are those of a release build, and a few times that on a machine that is busy
//! with other tests: `cargo test --release --test mm4spool_scale -- --nocapture` prints
//! what was used.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const MAILS: usize = 1000;
const COPIES: usize = 100;

/// Seconds of CPU for filters that need header blocks, and for those that do not.
const WITH_HEADERS: f64 = 1.5;
const BY_NAME: f64 = 0.3;
/// How much longer a build without optimisation, and a busy machine, may take.
const SLOWER: f64 = if cfg!(debug_assertions) { 20.0 } else { 3.0 };

/// A request, and every fourth time the answer to the one before.
fn mail(number: usize) -> String {
    let account = ["north", "south", "west"][number % 3];
    let trace = format!(
        "Return-Path: <+1555{number:07}/TYPE=PLMN@mms.example.net>\r\n\
         X-Envelope-To: <+1666{number:07}/TYPE=PLMN@mms.example.com>\r\n\
         X-MM4-System-ID: {account}\r\n\
         Received: from mms.example.net ([192.0.2.1]) by mm4.example.com (mm4d) with ESMTPSA\r\n  \
         id 20220125T221744.000001Z-7-000001@mm4.example.com; Tue, 25 Jan 2022 22:17:44 +0000\r\n"
    );
    if number % 4 == 3 {
        let asked = number - 3;
        return format!(
            "{trace}X-Mms-3GPP-MMS-Version: 6.3.0\r\nX-Mms-Message-Type: MM4_forward.RES\r\n\
             X-Mms-Transaction-ID: T{asked:05}\r\nX-Mms-Message-ID: M{asked:05}\r\n\
             X-Mms-Request-Status-Code: {}\r\nFrom: postmaster\r\nTo: system-user\r\n",
            if number % 8 == 3 {
                "Ok"
            } else {
                "Error-network-problem"
            }
        );
    }
    format!(
        "{trace}Date: Wed, 26 Jan 2022 00:17:43 +0200\r\nFrom: +1555{number:07}/TYPE=PLMN\r\n\
         To: +1666{number:07}/TYPE=PLMN\r\nMIME-Version: 1.0\r\nSubject: holiday {number:05}\r\n\
         X-Mms-3GPP-MMS-Version: 5.5.0\r\nX-Mms-Message-Type: MM4_forward.REQ\r\n\
         X-Mms-Transaction-ID: \"T{number:05}\"\r\nX-Mms-Message-ID: \"M{number:05}\"\r\n\
         X-Mms-Ack-Request: Yes\r\nX-Mms-Originator-System: PostMaster@mms.example.net\r\n\
         Content-Type: {}\r\n\r\nweather {number:05}\r\n",
        if number % 10 == 0 {
            "image/gif"
        } else {
            "text/plain"
        }
    )
}

fn spool() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for sub in ["tmp", "new", "cur"] {
        fs::create_dir(dir.path().join(sub)).unwrap();
    }
    for number in 0..MAILS {
        let draft = dir.path().join("tmp/draft");
        fs::write(&draft, mail(number)).unwrap();
        for copy in 0..COPIES {
            let (minute, second) = (copy / 60, copy % 60);
            let id = format!(
                "20220125T22{minute:02}{second:02}.{number:06}Z-7-{:06}@mm4.example.com",
                copy * MAILS + number
            );
            fs::hard_link(&draft, dir.path().join(format!("new/{id}.eml"))).unwrap();
        }
        fs::remove_file(draft).unwrap();
    }
    dir
}

/// Seconds of CPU that the children of this process have used (proc(5): `cutime` and
/// `cstime`, in hundredths).
fn used_by_children() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(13) + ticks(14)) / 100.0
}

/// How many messages `list` prints, and the seconds of CPU that it took.
fn listed(spool: &Path, filter: &[&str]) -> (usize, f64) {
    let before = used_by_children();
    let output = Command::new(env!("CARGO_BIN_EXE_mm4spool"))
        .arg("list")
        .args(filter)
        .arg(spool)
        .env_remove("COLUMNS")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines = output.stdout.iter().filter(|byte| **byte == b'\n').count();
    (lines.saturating_sub(1), used_by_children() - before)
}

#[test]
fn each_filter_selects_among_100_000_messages_within_its_budget() {
    let dir = spool();
    for (filter, wanted, budget) in [
        (&[][..], 20, BY_NAME),
        (&["--last", "7"], 7, BY_NAME),
        (&["--since", "2022-01-25 22:01:39.000990Z"], 10, BY_NAME),
        (&["--until", "2022-01-25T22:00:00.000009Z"], 10, BY_NAME),
        (&["--account", "nobody"], 0, WITH_HEADERS),
        (
            &["--account", "north", "--subject", "00042"],
            100,
            WITH_HEADERS,
        ),
        (&["--type", "delivery_report"], 0, WITH_HEADERS),
        (&["--type", "RES", "--last", "9"], 9, WITH_HEADERS),
        (&["--from", "+15550000042/TYPE=PLMN"], 100, WITH_HEADERS),
        (&["--to", "16660000042"], 100, WITH_HEADERS),
        (&["--subject", "HOLIDAY 00042"], 100, WITH_HEADERS),
        (&["--transaction", "t00044"], 200, WITH_HEADERS),
        (&["--message-id", "M00042"], 100, WITH_HEADERS),
        (&["--status", "no such"], 0, WITH_HEADERS),
        (&["--status", "error", "--last", "9"], 9, WITH_HEADERS),
        (&["--unanswered", "--last", "9"], 9, WITH_HEADERS),
        (&["--grep", "weather 00042"], 100, 10.0 * WITH_HEADERS),
        (&["--has", "image", "--subject", "00040"], 100, WITH_HEADERS),
    ] {
        let (count, used) = listed(dir.path(), filter);
        eprintln!("{used:.2} s of {budget} s: {filter:?}");
        assert_eq!(count, wanted, "{filter:?}");
        assert!(used < SLOWER * budget, "{used} s: {filter:?}");
    }
}

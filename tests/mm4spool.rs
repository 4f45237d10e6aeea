//! The inspector from outside: the binary on spools of our own making, every
//! shape of mm4-on-the-wire, and properties of what it must never do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use mm4d::inspect::check::{self, Profile};
use mm4d::inspect::message::Message;
use mm4d::inspect::output::html::Page;
use mm4d::inspect::output::terminal::Terminal;
use mm4d::inspect::output::view::sha256;
use mm4d::inspect::output::{files, json, text};
use mm4d::inspect::response::{self, Answer};
use mm4d::inspect::store::Store;
use mm4d::mm4::RequestStatus;
use proptest::prelude::*;
use serde_json::Value;
use support::{Client, Server, wait_for};

/// How long a test waits for what must come; never how long it takes.
const DEADLINE: Duration = Duration::from_secs(60);

/// A Maildir of its own, removed when the test ends.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["tmp", "new", "cur"] {
            fs::create_dir(dir.path().join(sub)).unwrap();
        }
        Place { dir }
    }

    /// With the samples made for the inspector.
    fn with_samples() -> Place {
        let place = Place::new();
        for (_, mail) in samples() {
            let text = String::from_utf8_lossy(&mail);
            let id = text.split("\r\n  id ").nth(1).unwrap();
            place.publish(id.split(';').next().unwrap(), &mail);
        }
        place
    }

    fn path(&self) -> &str {
        self.dir.path().to_str().unwrap()
    }

    fn file(&self, id: &str) -> PathBuf {
        self.dir.path().join(format!("new/{id}.eml"))
    }

    fn publish(&self, id: &str, mail: &[u8]) {
        let draft = self.dir.path().join(format!("tmp/{id}.eml"));
        fs::write(&draft, mail).unwrap();
        fs::rename(&draft, self.file(id)).unwrap();
    }
}

/// The messages made for the inspector, by the names of their files.
fn samples() -> Vec<(String, Vec<u8>)> {
    mails(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/messages/inspect"))
}

/// Those, and the ones that the server's tests send.
fn all_samples() -> Vec<(String, Vec<u8>)> {
    let mut found = mails(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/messages"));
    found.extend(samples());
    found
}

fn mails(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "eml"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    found.sort();
    found
}

fn sample(name: &str) -> Vec<u8> {
    let found = samples().into_iter().find(|(known, _)| known == name);
    found.unwrap().1
}

fn mm4spool(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mm4spool"));
    command.args(arguments).stdin(Stdio::null());
    for name in ["COLUMNS", "MM4SPOOL", "NO_COLOR", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What a command prints that must do what it is asked.
fn said(arguments: &[&str]) -> String {
    let output = mm4spool(arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        stderr(&output)
    );
    assert_eq!(stderr(&output), "", "{arguments:?}");
    stdout(&output)
}

/// What a command says that must fail with that status.
fn refused(status: i32, arguments: &[&str]) -> String {
    let output = mm4spool(arguments);
    assert_eq!(
        output.status.code(),
        Some(status),
        "{arguments:?}: {}",
        stderr(&output)
    );
    let text = stderr(&output);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("mm4spool: "), "{text}");
    text
}

fn objects(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// The JSON of one mail, from a file of its own.
fn object(mail: &[u8]) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("one.eml");
    fs::write(&path, mail).unwrap();
    let text = said(&["show", "--json", path.to_str().unwrap()]);
    objects(&text).remove(0)
}

/// `@a.b[0]` of an object, as text.
fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value
        .pointer(pointer)
        .unwrap_or_else(|| panic!("no {pointer} in {value}"))
}

// The command line.

#[test]
fn a_wrong_command_line_exits_2_with_one_line_that_helps() {
    let place = Place::new();
    for (arguments, wanted) in [
        (&[][..], "COMMAND"),
        (&["look"][..], "look"),
        (&["list", "--lst", "3", place.path()][..], "lst"),
        (&["list", "--last", "many", place.path()][..], "--last"),
        (&["list", "--since", "soon", place.path()][..], "--since"),
        (&["list", "--type", "SMS", place.path()][..], "--type"),
        (&["list", place.path(), "more"][..], "more"),
        (&["list", "--has", "pictures", place.path()][..], "--has"),
        (&["list", "--color", "blue", place.path()][..], "--color"),
        (&["list", "--until", "soon", place.path()][..], "--until"),
        (&["extract", place.path()][..], "ID"),
        (&["thread", place.path()][..], "ID"),
        (&["wait", "--count", "0", place.path()][..], "--count"),
        (
            &["wait", "--timeout", "soon", place.path()][..],
            "--timeout",
        ),
        (
            &["check", "--ignore", "nonsense", place.path()][..],
            "--ignore",
        ),
        (&["check", "--format", "xml", place.path()][..], "--format"),
        (
            &["check", "--json", "--format", "lines", place.path()][..],
            "--json",
        ),
        (&["show", "--raw", "--json", place.path(), "x"][..], "--raw"),
        (&["extract", "--part", "x", place.path(), "x"][..], "--part"),
        (
            &["check", "--max-size", "big", place.path()][..],
            "--max-size",
        ),
        (
            &["respond", "--status", "fine", place.path(), "x"][..],
            "--status",
        ),
        (
            &["respond", "--text", "a\nb", place.path(), "x"][..],
            "--text",
        ),
    ] {
        let text = refused(2, arguments);
        assert!(text.contains(wanted), "{text}");
        assert!(text.contains("--help"), "{text}");
    }
}

#[test]
fn what_cannot_be_done_exits_1() {
    let place = Place::with_samples();
    assert!(refused(1, &["list", "/nonexistent/spool"]).contains("/nonexistent/spool"));
    assert!(refused(1, &["show", place.path(), "2031"]).contains("2031"));
    let several = refused(1, &["show", place.path(), "20220125"]);
    assert!(several.contains("11 messages"), "{several}");
    assert!(several.contains("20220125T221744.001000Z-4711-000001@mm4.example.com"));
    assert!(refused(1, &["extract", "--part", "9", place.path(), "000001"]).contains("--part 9"));
    let profile = place.dir.path().join("profile");
    fs::write(&profile, "max-size = 300K\nmax-colours = 3\n").unwrap();
    let text = refused(
        1,
        &[
            "check",
            "--profile",
            profile.to_str().unwrap(),
            place.path(),
        ],
    );
    assert!(
        text.contains("line 2") && text.contains("max-colours"),
        "{text}"
    );
}

#[test]
fn every_command_has_its_help() {
    for name in [
        "list", "show", "thread", "extract", "gallery", "follow", "wait", "check", "respond",
    ] {
        let help = said(&[name, "--help"]);
        for section in ["Examples:", "Exit status:", "Environment:", "MM4SPOOL"] {
            assert!(help.contains(section), "{name}: {section}");
        }
        assert!(help.contains(&format!("Usage: mm4spool {name}")), "{help}");
        assert_eq!(said(&[name, "-h"]), help);
        assert!(said(&["--help"]).contains(name));
    }
    assert_eq!(
        said(&["-V"]),
        format!("mm4spool {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let place = Place::with_samples();
    for arguments in [
        &["list", "--json", place.path()][..],
        &["show", place.path(), "000001"][..],
        &["gallery", place.path()][..],
        &["--help"][..],
    ] {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop(reader);
        let output = command(arguments).stdout(writer).output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        assert_eq!(stderr(&output), "");
    }
}

// With the server.

#[test]
fn what_the_server_spools_is_understood() {
    let server = Server::start();
    let mut client = Client::logged_in(&server, true);
    let content = b"X-Mms-Message-Type: MM4_forward.REQ\r\nSubject: true\r\n\r\nhello\r\n";
    let id = client.deliver(content);
    let spool = server.spool.to_str().unwrap();
    let found = objects(&said(&["show", "--json", spool, &id])).remove(0);
    for (pointer, wanted) in [
        ("/account", Value::from("peer1")),
        ("/envelope/from/number", "+972500000001".into()),
        ("/envelope/client", "client.example".into()),
        ("/envelope/peer", "[127.0.0.1]".into()),
        ("/envelope/protocol", "ESMTPSA".into()),
        ("/size", content.len().into()),
        ("/subject", "true".into()),
        ("/parts/0/text", "hello".into()),
    ] {
        assert_eq!(at(&found, pointer), &wanted, "{pointer}");
    }
}

// list

#[test]
fn a_list_is_a_table_with_the_newest_last() {
    let place = Place::with_samples();
    let text = said(&["list", place.path()]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 12, "{text}");
    assert!(lines[0].starts_with("TIME"));
    for wanted in [
        "2022-01-25 22:17:54",
        "carrier",
        "forward.REQ",
        "+972500000001 → +972500000002",
        "Fwd: Greetings",
        "smil png rfc822 pdf",
        "4.7 kB",
    ] {
        assert!(lines[11].contains(wanted), "{wanted}: {}", lines[11]);
    }
    assert!(text.contains("smil png×2 text×2"), "{text}");
    assert!(!text.contains('\x1b'));
    for columns in ["60", "80", "100", "132"] {
        let output = command(&["list", place.path()])
            .env("COLUMNS", columns)
            .output()
            .unwrap();
        for line in stdout(&output).lines() {
            assert!(
                line.chars().count() <= columns.parse().unwrap(),
                "{columns}: {line}"
            );
        }
    }
}

#[test]
fn a_list_is_filtered_from_the_newest_back() {
    let place = Place::with_samples();
    let ids = |options: &[&str]| -> Vec<String> {
        let arguments = [&["list", "--json"], options, &[place.path()]].concat();
        let found = objects(&said(&arguments));
        let ids = found
            .iter()
            .map(|found| at(found, "/id").as_str().unwrap().to_owned());
        ids.map(|id| id[29..35].to_owned()).collect()
    };
    assert_eq!(ids(&["--last", "2"]), ["000010", "000011"]);
    assert_eq!(ids(&["--type", "RES"]), ["000009"]);
    assert_eq!(ids(&["--type", "REQ", "--last", "1"]), ["000011"]);
    assert_eq!(ids(&["--type", "MM4_delivery_report.REQ"]), ["000007"]);
    assert_eq!(ids(&["--account", "other-carrier"]), ["000009"]);
    assert_eq!(ids(&["--account", "Carrier"]).len(), 0);
    assert_eq!(
        ids(&["--since", "2022-01-25T22:17:53Z"]),
        ["000010", "000011"]
    );
    assert_eq!(ids(&["--since", "1h"]).len(), 0);
    assert_eq!(
        ids(&["--since", "2022-01-25", "--type", "forward", "--last", "99"]).len(),
        9
    );
}

#[test]
fn a_filter_lists_every_match_and_no_filter_the_last_twenty() {
    let place = Place::new();
    for number in 0..25 {
        let id = format!("20220126T001743.{number:06}Z-7-000001@mm4.example.com");
        place.publish(&id, b"X-Mms-Message-Type: MM4_forward.RES\r\n");
    }
    let count = |options: &[&str]| {
        let arguments = [&["list", "--json"], options, &[place.path()]].concat();
        objects(&said(&arguments)).len()
    };
    assert_eq!(count(&[]), 20);
    assert_eq!(count(&["--last", "3"]), 3);
    assert_eq!(count(&["--type", "RES"]), 25);
    assert_eq!(count(&["--since", "2022-01-26"]), 25);
    assert_eq!(count(&["--type", "RES", "--last", "3"]), 3);
}

/// A spool of a request with its answer and reports, and a request without.
fn exchange() -> Place {
    let place = Place::new();
    let mail = |account: &str, fields: &str| {
        format!(
            "Return-Path: <+972500000001/TYPE=PLMN@mms.example.net>\r\n\
             X-Envelope-To: <+972500000002/TYPE=PLMN@mms.example.com>\r\n\
             X-MM4-System-ID: {account}\r\n\
             Received: from a ([192.0.2.1]) by mm4.example.com (mm4d) with ESMTPSA\r\n  \
             id 20220125T221744.000001Z-7-000001@mm4.example.com; Tue, 25 Jan 2022 22:17:44 +0000\r\n\
             {fields}"
        )
    };
    for (time, account, fields) in [
        (
            "221700.000000",
            "north",
            "X-Mms-Message-Type: MM4_forward.REQ\r\nX-Mms-Transaction-ID: \"T1\"\r\nX-Mms-Message-ID: m1\r\n\
             X-Mms-Ack-Request: Yes\r\nFrom: +972500000001/TYPE=PLMN\r\nTo: +972500000002/TYPE=PLMN\r\n\
             Subject: Holiday\r\nContent-Type: image/gif\r\n\r\nGIF89a\r\n",
        ),
        (
            "221700.800000",
            "north",
            "X-Mms-Message-Type: MM4_forward.RES\r\nX-Mms-Transaction-ID: T1\r\nX-Mms-Message-ID: m1\r\n\
             X-Mms-Request-Status-Code: Ok\r\n",
        ),
        (
            "221900.000000",
            "south",
            "X-Mms-Message-Type: MM4_delivery_report.REQ\r\nX-Mms-Transaction-ID: T2\r\nX-Mms-Message-ID: m1\r\n\
             X-Mms-MM-Status-Code: Retrieved\r\nFrom: +972500000002/TYPE=PLMN\r\nX-Mms-Ack-Request: No\r\n",
        ),
        (
            "222000.000000",
            "south",
            "X-Mms-Message-Type: MM4_forward.REQ\r\nX-Mms-Transaction-ID: T3\r\nX-Mms-Message-ID: m3\r\n\
             X-Mms-Ack-Request: Yes\r\nFrom: +15550000001/TYPE=PLMN\r\nTo: a@example.com\r\n\
             Content-Type: text/plain\r\n\r\nthe weather is fine\r\n",
        ),
        (
            "222100.000000",
            "south",
            "X-Mms-Message-Type: MM4_forward.RES\r\nX-Mms-Transaction-ID: T9\r\n\
             X-Mms-Request-Status-Code: Error-network-problem\r\n",
        ),
    ] {
        let id = format!("20220125T{time}Z-7-{}@mm4.example.com", &time[..6]);
        place.publish(&id, mail(account, fields).as_bytes());
    }
    place
}

#[test]
fn every_filter_selects_what_it_says_in_every_command() {
    let place = exchange();
    let times = |arguments: &[&str]| -> Vec<String> {
        let output = mm4spool(&[arguments, &[place.path()]].concat());
        let found = objects(&stdout(&output));
        let ids = found
            .iter()
            .map(|found| at(found, "/id").as_str().unwrap()[9..15].to_owned());
        ids.collect()
    };
    let all = ["221700", "221700", "221900", "222000", "222100"];
    for (filter, wanted) in [
        (&["--account", "north"][..], &["221700", "221700"][..]),
        (&["--type", "RES"], &["221700", "222100"]),
        (&["--type", "delivery_report"], &["221900"]),
        (&["--from", "972500000001"], &all[..]),
        (&["--from", "+15550000001/TYPE=PLMN"], &["222000"]),
        (&["--to", "A@EXAMPLE.com"], &["222000"]),
        (
            &["--to", "+972500000002", "--type", "forward.REQ"],
            &["221700", "222000"],
        ),
        (&["--subject", "holi"], &["221700"]),
        (&["--grep", "WEATHER"], &["222000"]),
        (&["--grep", "holiday"], &["221700"]),
        (&["--transaction", "t1"], &["221700", "221700"]),
        (&["--message-id", "M3"], &["222000"]),
        (&["--status", "ok"], &["221700"]),
        (&["--status", "error"], &["222100"]),
        (&["--since", "2022-01-25 22:20"], &["222000", "222100"]),
        (&["--until", "2022-01-25 22:17"], &["221700", "221700"]),
        (
            &[
                "--since",
                "2022-01-25 22:19:00",
                "--until",
                "2022-01-26 00:20 +02:00",
            ],
            &["221900", "222000"],
        ),
        (&["--has", "image"], &["221700"]),
        (&["--has", "text"], &["222000"]),
        (&["--has", "text,image"], &[]),
        (
            &["--has", "findings", "--type", "forward"],
            &["221700", "221700", "222000", "222100"],
        ),
        (&["--unanswered"], &["222000"]),
        (&["--unanswered", "--account", "north"], &[]),
    ] {
        assert_eq!(
            times(&[&["list", "--json"], filter].concat()),
            wanted,
            "{filter:?}"
        );
        let page = said(&[&["gallery"], filter, &[place.path()]].concat());
        assert_eq!(page.matches("<article").count(), wanted.len(), "{filter:?}");
        let checked = stdout(&mm4spool(&[&["check"], filter, &[place.path()]].concat()));
        let count = if wanted.len() == 1 {
            "1 message of".to_owned()
        } else {
            format!("{} messages of", wanted.len())
        };
        assert!(checked.contains(&count), "{filter:?}: {checked}");
        if !wanted.is_empty() {
            let count = wanted.len().to_string();
            let mut waited = times(&[&["wait", "--json", "--count", &count], filter].concat());
            waited.sort();
            assert_eq!(waited, wanted, "{filter:?}");
        }
    }
    let mut local = command(&[
        "list",
        "--json",
        "--since",
        "2022-01-26 00:20 local",
        place.path(),
    ]);
    let local = local.env("TZ", "XXX-2").output().unwrap();
    assert_eq!(objects(&stdout(&local)).len(), 2);
    let to = place.dir.path().join("pictures");
    let written = said(&[
        "extract",
        "--has",
        "image",
        "--to",
        to.to_str().unwrap(),
        place.path(),
    ]);
    assert_eq!(written.lines().count(), 1);
}

#[test]
fn a_thread_is_a_request_with_its_answer_and_its_reports() {
    let place = exchange();
    for id in ["20220125T221700.0", "20220125T221900"] {
        let text = said(&["thread", place.path(), id]);
        for wanted in [
            "answered Ok after 0.8 s",
            "delivery report Retrieved after 2 min, by +972500000002",
            "answers 20220125T221700.000000Z-7-221700@mm4.example.com after 0.8 s",
        ] {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
        assert!(!text.contains("222000"), "{text}");
        let found = objects(&said(&["thread", "--json", place.path(), id]));
        assert_eq!(found.len(), 3);
        assert_eq!(at(&found[0], "/joined_to"), &Value::Null);
        assert_eq!(at(&found[1], "/after_ms"), 800);
        assert_eq!(at(&found[2], "/joined_to"), at(&found[0], "/id"));
        assert_eq!(at(&found[2], "/mm_status"), "Retrieved");
    }
    let shown = said(&["show", place.path(), "20220125T221700.0"]);
    assert!(
        shown.contains("\nExchange\n  answered Ok after 0.8 s\n"),
        "{shown}"
    );
    let shown = said(&["show", place.path(), "20220125T222000"]);
    assert!(shown.contains("  unanswered for "), "{shown}");
}

#[test]
fn a_list_shows_statuses_and_counts_findings() {
    let place = exchange();
    let text = said(&["list", place.path()]);
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    assert_eq!(rows[0][4], "STATUS");
    let statuses: Vec<&str> = rows.iter().skip(1).map(|row| row[4]).collect();
    assert_eq!(
        statuses,
        ["", "Ok", "Retrieved", "", "Error-network-problem"]
    );
    assert_eq!(rows[0][8], "FINDINGS");
    assert!(rows[5][8].parse::<usize>().unwrap() > 0, "{text}");
    let forced = stdout(
        &command(&["list", place.path()])
            .env("CLICOLOR_FORCE", "1")
            .output()
            .unwrap(),
    );
    assert!(forced.contains("\x1b[32mOk\x1b[0m"), "{forced}");
    assert!(
        forced.contains("\x1b[31mError-network-problem\x1b[0m"),
        "{forced}"
    );
    let forced = said(&["list", "--color", "always", place.path()]);
    assert!(forced.contains("\x1b["));
    let never = command(&["list", "--color=never", place.path()])
        .env("CLICOLOR_FORCE", "1")
        .output()
        .unwrap();
    assert!(!stdout(&never).contains('\x1b'));
}

#[test]
fn without_an_id_the_newest_is_shown_and_without_a_spool_the_default() {
    let place = exchange();
    let shown = said(&["show", place.path()]);
    assert!(shown.starts_with("20220125T222100"), "{shown}");
    let in_default = |arguments: &[&str]| {
        let output = command(arguments)
            .env("MM4SPOOL", place.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            stderr(&output)
        );
        stdout(&output)
    };
    assert_eq!(in_default(&["show"]), shown);
    assert_eq!(in_default(&["show", "20220125T222100"]), shown);
    assert_eq!(in_default(&["list"]), said(&["list", place.path()]));
    assert_eq!(
        in_default(&["thread", "222100"]),
        said(&["thread", place.path(), "222100"])
    );
    assert!(refused(1, &["list"]).contains("/var/spool/mm4d"));
}

#[test]
fn a_hyphen_is_standard_input_and_output() {
    let place = Place::with_samples();
    let mail = sample("two_slides");
    let input = place.dir.path().join("input");
    fs::write(&input, &mail).unwrap();
    let read = |arguments: &[&str]| {
        let input = fs::File::open(&input).unwrap();
        let output = command(arguments).stdin(input).output().unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            stderr(&output)
        );
        output.stdout
    };
    let shown = String::from_utf8(read(&["show", "-"])).unwrap();
    assert!(shown.contains("Greetings from the lake"), "{shown}");
    assert_eq!(read(&["show", "--raw", "-"]), mail);
    let found = objects(&String::from_utf8(read(&["show", "--json", "-"])).unwrap()).remove(0);
    let part = read(&["extract", "--part", "2", "--to", "-", "-"]);
    assert_eq!(at(&found, "/parts/1/sha256"), &sha256(&part));
    assert!(refused(2, &["extract", "--to", "-", place.path(), "000001"]).contains("--part N"));
    let page = said(&["gallery", "--output", "-", "--last", "1", place.path()]);
    assert!(page.ends_with("</html>\n"));
}

#[test]
fn waiting_ends_with_a_match_or_at_the_timeout() {
    let place = Place::new();
    let root = place.dir.path().join("later");
    let child = command(&[
        "wait",
        "--transaction",
        "T7",
        "--timeout",
        "60s",
        root.to_str().unwrap(),
    ])
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    for sub in ["tmp", "new"] {
        fs::create_dir_all(root.join(sub)).unwrap();
    }
    for transaction in ["T6", "T7"] {
        let mail = format!("X-Mms-Transaction-ID: {transaction}\r\nSubject: {transaction}\r\n\r\n");
        let id = format!(
            "20220126T001743.00000{}Z-7-000001@mm4.example.com",
            &transaction[1..]
        );
        fs::write(root.join("tmp/draft"), mail).unwrap();
        fs::rename(root.join("tmp/draft"), root.join(format!("new/{id}.eml"))).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(stdout(&output).lines().count(), 1);
    assert!(stdout(&output).contains("“T7”"));
    let text = refused(
        1,
        &[
            "wait",
            "--subject",
            "never",
            "--timeout",
            "100ms",
            root.to_str().unwrap(),
        ],
    );
    assert!(text.contains("0 of 1 messages matched"), "{text}");
    // Without a filter the next message counts, not one that exists already.
    refused(1, &["wait", "--timeout", "100ms", root.to_str().unwrap()]);
}

#[test]
fn any_maildir_and_any_file_will_do() {
    let place = Place::new();
    let mail = b"From: a@example.com\nTo: b@example.net\nSubject: plain\n\nhello\n";
    fs::write(
        place
            .dir
            .path()
            .join("new/1643149063.M1P2.host.example.com"),
        mail,
    )
    .unwrap();
    fs::write(
        place
            .dir
            .path()
            .join("cur/1643149064.M1P2.host.example.com:2,RS"),
        mail,
    )
    .unwrap();
    let text = said(&["list", place.path()]);
    assert!(text.contains("2022-01-25 22:17:44"), "{text}");
    assert!(text.contains("a@example.com → b@example.net"), "{text}");
    let shown = said(&["show", place.path(), "1643149064"]);
    assert!(shown.contains("mm4d did not write this mail"), "{shown}");
    let file = place
        .dir
        .path()
        .join("cur/1643149064.M1P2.host.example.com:2,RS");
    assert_eq!(said(&["show", place.path(), file.to_str().unwrap()]), shown);
    assert_eq!(said(&["show", file.to_str().unwrap()]), shown);
}

// show

#[test]
fn a_message_is_shown_by_prefix_by_piece_and_by_path() {
    let place = Place::with_samples();
    let id = "20220125T221745.002000Z-4711-000002@mm4.example.com";
    let path = place.file(id);
    let shown = said(&["show", place.path(), id]);
    for wanted in ["20220125T221745", "4711-000002", path.to_str().unwrap()] {
        assert_eq!(said(&["show", place.path(), wanted]), shown);
    }
    for wanted in [
        "יום הולדת שמח!",
        "<+972500000002/TYPE=PLMN@mms.example.com>",
        "(2022-02-01 22:17:44 UTC)",
        "(an answer is wanted, to PostMaster@mms.example.net, by X-Mms-Originator-System)",
        "audio/wav  chime.wav  5.6 kB",
        "מזל טוב!",
        "nothing is wrong with it",
    ] {
        assert!(shown.contains(wanted), "{wanted}: {shown}");
    }
}

#[test]
fn raw_and_headers_are_the_octets_of_the_file() {
    let place = Place::with_samples();
    for (name, mail) in samples() {
        let path = place.dir.path().join(format!("{name}.eml"));
        fs::write(&path, &mail).unwrap();
        let raw = mm4spool(&["show", "--raw", path.to_str().unwrap()]);
        assert_eq!(raw.stdout, mail);
        let header = mm4spool(&["show", "--headers", path.to_str().unwrap()]).stdout;
        assert!(mail.starts_with(&header), "{name}");
        assert!(header.ends_with(b"\r\n"), "{name}");
    }
}

#[test]
fn nothing_shown_of_any_sample_steers_a_terminal() {
    let place = Place::with_samples();
    let mut texts = vec![said(&["list", place.path()])];
    for number in 1..=11 {
        if number != 5 {
            texts.push(said(&["show", place.path(), &format!("4711-{number:06}")]));
        }
    }
    texts.push(stdout(&mm4spool(&["check", place.path()])));
    texts.push(said(&["list", "--json", place.path()]));
    for text in texts {
        let control = |letter: &char| {
            (letter.is_control() && !['\n', '\t'].contains(letter))
                || ('\u{202a}'..='\u{202e}').contains(letter)
        };
        assert_eq!(text.chars().find(control), None, "{text}");
    }
}

#[test]
fn a_giant_is_looked_at_and_not_swallowed() {
    let place = Place::new();
    let path = place.file("giant");
    fs::write(&path, "Subject: giant\r\n\r\nbegins\r\n").unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(5 << 30).unwrap();
    let found = object_at(&place, "giant");
    assert_eq!(at(&found, "/subject"), "giant");
    assert_eq!(at(&found, "/truncated"), true);
    assert_eq!(at(&found, "/size"), 5_u64 << 30);
    assert_eq!(at(&found, "/findings/0/code"), "not-read-whole");
}

fn object_at(place: &Place, id: &str) -> Value {
    objects(&said(&["show", "--json", place.path(), id])).remove(0)
}

// --json

#[test]
fn the_json_has_the_same_keys_for_every_message() {
    let place = Place::with_samples();
    let found = objects(&said(&["list", "--json", place.path()]));
    assert_eq!(found.len(), 11);
    let keys = |value: &Value| -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    let wanted: BTreeSet<String> = [
        "id",
        "path",
        "time",
        "account",
        "envelope",
        "type",
        "version",
        "transaction_id",
        "message_id",
        "from",
        "to",
        "cc",
        "sender",
        "subject",
        "date",
        "expiry",
        "message_class",
        "content_class",
        "priority",
        "sender_visibility",
        "delivery_report",
        "read_reply",
        "ack_request",
        "originator_system",
        "request_status",
        "status_text",
        "mm_status",
        "mm_status_extension",
        "read_status",
        "fields",
        "size",
        "truncated",
        "parts",
        "slides",
        "findings",
    ]
    .map(str::to_owned)
    .into();
    for value in &found {
        assert_eq!(keys(value), wanted);
        for part in at(value, "/parts").as_array().unwrap() {
            assert_eq!(
                keys(part).into_iter().collect::<Vec<_>>(),
                [
                    "charset",
                    "content_id",
                    "encoding",
                    "location",
                    "name",
                    "number",
                    "sha256",
                    "size",
                    "text",
                    "type"
                ]
            );
        }
    }
    assert_eq!(keys(&object(b"")), wanted);
}

#[test]
fn the_json_says_what_the_mail_says() {
    let found = object(&sample("two_slides"));
    for (pointer, wanted) in [
        ("/account", Value::from("carrier")),
        ("/envelope/from/number", "+972500000001".into()),
        ("/envelope/to/1/domain", "mms.example.com".into()),
        ("/envelope/peer", "[192.0.2.1]".into()),
        ("/envelope/date", "2022-01-25T22:17:44Z".into()),
        ("/type", "MM4_forward.REQ".into()),
        (
            "/transaction_id",
            "38637220220126001740001@mms.example.net".into(),
        ),
        ("/from/type", "PLMN".into()),
        ("/from/domain", Value::Null),
        ("/to/1/number", "+972500000003".into()),
        ("/originator_system/local", "PostMaster".into()),
        ("/date", "2022-01-25T22:17:43Z".into()),
        ("/expiry", "2022-02-01T22:17:44Z".into()),
        ("/delivery_report", true.into()),
        ("/read_reply", Value::Null),
        ("/mm_status", Value::Null),
        ("/parts/1/type", "image/png".into()),
        ("/parts/1/size", 1587.into()),
        (
            "/parts/2/text",
            "The last boat came in just as the sun went down.".into(),
        ),
        ("/slides/0/duration_ms", 5000.into()),
        ("/slides/1/items/0/part", 4.into()),
        ("/findings", Value::Array(Vec::new())),
    ] {
        assert_eq!(at(&found, pointer), &wanted, "{pointer}");
    }
    let found = object(&sample("delivery_report"));
    assert_eq!(at(&found, "/envelope/from"), &Value::Null);
    assert_eq!(at(&found, "/mm_status"), "Retrieved");
    assert_eq!(at(&found, "/parts"), &Value::Array(Vec::new()));
}

// extract

#[test]
fn parts_are_extracted_as_they_were_before_they_were_encoded() {
    let place = Place::with_samples();
    let to = place.dir.path().join("out");
    let to = to.to_str().unwrap();
    let written = said(&["extract", "--to", to, place.path(), "000002"]);
    let names: Vec<_> = written
        .lines()
        .map(|line| line.rsplit('/').next().unwrap())
        .collect();
    assert_eq!(names, ["0.smil", "cake.png", "t.txt", "chime.wav"]);
    let found = object_at(&place, "000002");
    for (index, line) in written.lines().enumerate() {
        let octets = fs::read(line).unwrap();
        assert_eq!(
            at(&found, &format!("/parts/{index}/sha256")),
            &sha256(&octets)
        );
    }
    let again = said(&["extract", "--part", "2", "--to", to, place.path(), "000002"]);
    assert!(again.ends_with("/cake-2.png\n"), "{again}");
}

#[test]
fn hostile_names_stay_in_the_directory() {
    let place = Place::with_samples();
    let to = place.dir.path().join("out");
    let written = said(&[
        "extract",
        "--to",
        to.to_str().unwrap(),
        place.path(),
        "000006",
    ]);
    assert_eq!(written.lines().count(), 6);
    for line in written.lines() {
        assert_eq!(Path::new(line).parent(), Some(to.as_path()));
    }
    assert_eq!(fs::read_dir(&to).unwrap().count(), 6);
    assert!(!Path::new("/tmp/mm4spool-escaped.txt").exists());
}

// gallery

#[test]
fn a_gallery_is_a_page_complete_in_itself() {
    let place = Place::with_samples();
    let path = place.dir.path().join("page.html");
    let path = path.to_str().unwrap();
    assert_eq!(said(&["gallery", "--output", path, place.path()]), "");
    let page = fs::read_to_string(path).unwrap();
    assert_eq!(page.matches("<article").count(), 11);
    assert_eq!(page.matches("<img src=\"data:image/png;base64,").count(), 6);
    assert!(page.contains("<audio controls src=\"data:audio/wav;base64,"));
    assert!(page.contains("Content-Security-Policy"));
    for unwanted in [
        "<script",
        "<svg",
        "<iframe",
        "<link",
        "<a ",
        "http:",
        "https:",
        " style=",
        "javascript:",
    ] {
        // The subject of a sample says so, but only as text.
        assert!(!page.contains(unwanted), "{unwanted}");
    }
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    let newest = page.find("Fwd: Greetings").unwrap();
    assert!(newest < page.find("Greetings from the lake").unwrap());
    let last = said(&["gallery", "--last", "1", place.path()]);
    assert_eq!(last.matches("<article").count(), 1);
    assert!(last.contains("the last 1 of 11 messages"));
}

// follow

/// A `follow` that has begun, and the lines that it prints.
struct Following {
    child: Child,
    lines: mpsc::Receiver<String>,
}

/// The lines of a stream, read as they come, so that waiting has a deadline.
fn lines_of(stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            if sender.send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    lines
}

/// Starts `follow`, and waits until it says that it has begun.
fn follow(arguments: &[&str]) -> Child {
    let mut child = command(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let notes = lines_of(child.stderr.take().unwrap());
    let line = notes.recv_timeout(DEADLINE).unwrap();
    assert!(line.contains("following"), "{line}");
    child
}

impl Following {
    fn of(arguments: &[&str]) -> Following {
        let mut child = follow(arguments);
        let lines = lines_of(child.stdout.take().unwrap());
        Following { child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(DEADLINE).unwrap()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_burst_of_a_thousand_is_followed_once_each() {
    let place = Place::with_samples();
    let following = Following::of(&["follow", place.path()]);
    let mail = sample("two_slides");
    let id = |number: usize| format!("20220126T001743.{number:06}Z-7-000001@mm4.example.com");
    for number in 0..1000 {
        place.publish(&id(number), &mail);
        if number % 3 == 0 {
            let seen = place.dir.path().join(format!("cur/{}.eml:2,S", id(number)));
            fs::rename(place.file(&id(number)), seen).unwrap();
        }
    }
    place.publish("20220127T000000.000000Z-7-000001@mm4.example.com", &mail);
    for number in 0..1000 {
        let line = following.line();
        assert!(line.contains(&id(number)), "{number}: {line}");
        assert!(line.contains("“Greetings from the lake”"), "{line}");
    }
    assert!(following.line().contains("20220127T000000"));
}

#[test]
fn following_as_json_gives_an_object_a_line() {
    let place = Place::new();
    let following = Following::of(&["follow", "--json", place.path()]);
    for (name, mail) in samples() {
        place.publish(&name, &mail);
        let found = objects(&following.line()).remove(0);
        assert_eq!(at(&found, "/id"), &name);
    }
}

#[test]
fn following_ends_when_nobody_reads() {
    let place = Place::new();
    let mut child = follow(&["follow", place.path()]);
    drop(child.stdout.take());
    let status = wait_for("follow to end", || child.try_wait().unwrap());
    assert!(status.success());
}

// check

#[test]
fn everything_that_is_wrong_is_found() {
    let place = Place::with_samples();
    let output = mm4spool(&["check", "--format", "lines", place.path()]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    for wanted in [
        "000004@mm4.example.com: missing-field: X-Mms-Message-ID is missing (mandatory in MM4_forward.REQ, TS 23.140 8.4.1)",
        "000004@mm4.example.com: start-unresolved: Start names <nowhere>",
        "000004@mm4.example.com: smil-unresolved: part 1: slide 1 shows cid:lost",
        "000004@mm4.example.com: bad-base64: part 3: ",
        "000004@mm4.example.com: unknown-media-type: part 4: application/x-carrier-secret",
        "000001@mm4.example.com: duplicate: account carrier sent transaction 38637220220126001740001@mms.example.net also in 20220125T221744.001000Z-4711-000005@mm4.example.com",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    let output = mm4spool(&[
        "check",
        "--format",
        "lines",
        place.path(),
        "000002",
        "000011",
    ]);
    assert_eq!(
        (output.status.code(), stdout(&output).as_str()),
        (Some(0), "")
    );
    let output = mm4spool(&["check", "--format", "lines", place.path(), "4711-000005"]);
    assert_eq!(stdout(&output).lines().count(), 1);
    assert!(stdout(&output).contains("duplicate"));
}

#[test]
fn a_limit_counts_the_octets_of_the_mail_and_not_the_trace() {
    let place = Place::with_samples();
    let size = at(&object_at(&place, "000002"), "/size").as_u64().unwrap();
    let code = |limit: u64| {
        mm4spool(&[
            "check",
            "--max-size",
            &limit.to_string(),
            place.path(),
            "000002",
        ])
        .status
        .code()
    };
    assert_eq!(code(size), Some(0));
    assert_eq!(code(size - 1), Some(1));
    let file = fs::metadata(place.file("20220125T221745.002000Z-4711-000002@mm4.example.com"));
    assert!(file.unwrap().len() > size);
}

#[test]
fn a_check_is_a_report_by_account_and_code_with_counts() {
    let place = Place::with_samples();
    let output = mm4spool(&["check", place.path()]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    for wanted in [
        "carrier: 10 messages, ",
        "  error    missing-field ",
        "  warning  smil-unresolved ",
        "  note     unknown-media-type ",
        "X-Mms-Message-ID is missing",
        "4711-000004",
        "11 messages of 2 accounts: ",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    let clean = said(&["check", place.path(), "000002", "000011"]);
    assert!(
        clean.ends_with("2 messages of 1 account: nothing is wrong\n"),
        "{clean}"
    );
}

#[test]
fn findings_as_json_have_their_severity_and_decide_the_exit_status() {
    let place = Place::with_samples();
    let output = mm4spool(&["check", "--json", place.path()]);
    let found = objects(&stdout(&output));
    assert!(found.len() > 5);
    for object in &found {
        let keys: Vec<&str> = object
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(keys, ["account", "code", "id", "part", "severity", "text"]);
    }
    let duplicate = found
        .iter()
        .find(|object| at(object, "/code") == "duplicate")
        .unwrap();
    assert_eq!(at(duplicate, "/severity"), "warning");
    assert_eq!(at(duplicate, "/account"), "carrier");
    // A duplicate alone is a warning.
    let code = |options: &[&str]| {
        let arguments = [&["check"], options, &[place.path(), "000005"]].concat();
        mm4spool(&arguments).status.code()
    };
    assert_eq!(code(&[]), Some(0));
    assert_eq!(code(&["--strict"]), Some(1));
    assert_eq!(code(&["--strict", "--ignore", "duplicate"]), Some(0));
    let ignored = [
        "--ignore",
        "missing-field,bad-base64",
        "--ignore",
        "duplicate",
    ];
    let arguments = [&["check", "--json"], &ignored[..], &[place.path()]].concat();
    let text = stdout(&mm4spool(&arguments));
    for code in ["missing-field", "bad-base64", "duplicate"] {
        assert!(!text.contains(code), "{code}: {text}");
    }
}

#[test]
fn each_account_can_have_a_profile() {
    let place = Place::with_samples();
    let profile = place.dir.path().join("carriers.profile");
    fs::write(
        &profile,
        "[carrier]\nmax-size = 1\nignore = missing-field\n[other-carrier]\nmax-subject = 99\n",
    )
    .unwrap();
    let arguments = [
        "check",
        "--json",
        "--profile",
        profile.to_str().unwrap(),
        place.path(),
    ];
    let found = objects(&stdout(&mm4spool(&arguments)));
    let count = |account: &str, code: &str| {
        let found = found.iter();
        found
            .filter(|object| at(object, "/account") == account && at(object, "/code") == code)
            .count()
    };
    assert_eq!(count("carrier", "over-limit"), 10);
    assert_eq!(count("carrier", "missing-field"), 0);
    assert_eq!(count("other-carrier", "over-limit"), 0);
}

#[test]
fn a_profile_limits_size_parts_recipients_subject_and_types() {
    let place = Place::with_samples();
    let profile = place.dir.path().join("carrier.profile");
    fs::write(
        &profile,
        "# A carrier of our own.\nmax-size = 10K\nmax-parts = 3 # the presentation too\n\
         max-recipients=20\nmax-subject = 10\ntypes = image/*, text/plain application/smil\n",
    )
    .unwrap();
    let profile = profile.to_str().unwrap();
    let text = |id: &str| {
        stdout(&mm4spool(&[
            "check",
            "--format",
            "lines",
            "--profile",
            profile,
            place.path(),
            id,
        ]))
    };
    let found = text("000002");
    for wanted in [
        "over-limit: 11385 bytes, 1145 over the limit of 10240",
        "over-limit: 4 parts, 1 over the limit of 3",
        "over-limit: 14 characters of subject, 4 over the limit of 10",
        "type-not-allowed: part 4: the profile does not allow audio/wav",
    ] {
        assert!(found.contains(wanted), "{wanted}\n{found}");
    }
    assert!(text("000010").contains("over-limit: 21 recipients, 1 over the limit of 20"));
}

// respond

#[test]
fn a_response_goes_to_whom_it_must_and_says_which_request() {
    let place = Place::with_samples();
    let res = mm4spool(&[
        "respond",
        "--status",
        "error-Network-Problem",
        "--text",
        "try later",
        place.path(),
        "4711-000001",
    ]);
    assert!(res.status.success(), "{}", stderr(&res));
    let res = stdout(&res);
    for wanted in [
        "From: system-user@mms.example.com\n",
        "To: PostMaster@mms.example.net\n",
        "X-Mms-3GPP-MMS-Version: 6.10.0\n",
        "X-Mms-Message-Type: MM4_forward.RES\n",
        "X-Mms-Transaction-ID: \"38637220220126001740001@mms.example.net\"\n",
        "X-Mms-Message-ID: \"kyuoj0sgre0001@w.mms.example.net\"\n",
        "X-Mms-Request-Status-Code: Error-network-problem\n",
        "X-Mms-Status-Text: try later\n",
    ] {
        assert!(res.contains(wanted), "{wanted}\n{res}");
    }
    assert!(res.ends_with("\n\n") && !res.contains('\r'));
    // It is itself a message without a fault.
    let found = object(res.as_bytes());
    assert_eq!(at(&found, "/findings"), &Value::Array(Vec::new()));
    assert!(
        said(&["respond", place.path(), "000007"]).contains("To: system-user@mms.example.net\n")
    );
    assert!(said(&["respond", place.path(), "000008"]).contains("MM4_read_reply_report.RES\n"));
}

#[test]
fn no_response_is_made_where_none_is_wanted() {
    let place = Place::with_samples();
    assert!(refused(1, &["respond", place.path(), "000009"]).contains("itself an answer"));
    assert!(refused(1, &["respond", place.path(), "000004"]).contains("--force"));
    // Without a Message-ID in the REQ there is none in the RES.
    let res = said(&["respond", "--force", place.path(), "000004"]);
    assert!(res.contains("X-Mms-Request-Status-Code: Ok\n") && !res.contains("X-Mms-Message-ID"));
}

// What has been seen on the wire.

/// A field that varies, and where the JSON must show it.
const SHAPES: &[(&str, &str, &str)] = &[
    // Names and values vary in case, a space may be missing.
    (
        "X-MMS-Message-Type: MM4_forward.REQ",
        "/type",
        "MM4_forward.REQ",
    ),
    (
        "X-Mms-Message-type:MM4_Delivery_report.REQ",
        "/type",
        "MM4_Delivery_report.REQ",
    ),
    (
        "X-Mms-Transaction-Id: 695308591",
        "/transaction_id",
        "695308591",
    ),
    ("X-Mms-3gpp-Mms-Version: 6.16.0", "/version", "6.16.0"),
    // Ids are opaque.
    (
        "X-Mms-Transaction-ID: \"38637220220126001745557@mms.example.net\"",
        "/transaction_id",
        "38637220220126001745557@mms.example.net",
    ),
    (
        "X-Mms-Message-ID: v1x1Sv2C0TM.+972500000006",
        "/message_id",
        "v1x1Sv2C0TM.+972500000006",
    ),
    (
        "X-Mms-Message-ID: ../../etc/passwd",
        "/message_id",
        "../../etc/passwd",
    ),
    // Addresses.
    (
        "From: +972500000001/TYPE=PLMN",
        "/from/number",
        "+972500000001",
    ),
    ("From: system-user", "/from/local", "system-user"),
    ("From: PostMaster", "/from/local", "PostMaster"),
    ("To: 3456/TYPE=PLMN", "/to/0/number", "3456"),
    (
        "To: 192.0.2.7/TYPE=IPv4@mms.mnc006.mcc260.gprs",
        "/to/0/domain",
        "mms.mnc006.mcc260.gprs",
    ),
    ("To: 2001:db8::1/TYPE=IPv6", "/to/0/type", "IPv6"),
    (
        "To: +972500000001/type=plmn@[IPv6:2001:db8::1]",
        "/to/0/domain",
        "[IPv6:2001:db8::1]",
    ),
    ("To: a,\r\n \r\n b", "/to/1/local", "b"),
    ("Cc: someone@example.com", "/cc/0/local", "someone"),
    // Expiry in its forms.
    (
        "X-Mms-Expiry: Tue, 01 Feb 2022 22:17:44 GMT",
        "/expiry",
        "2022-02-01T22:17:44Z",
    ),
    (
        "X-Mms-Expiry: 2022-02-01T22:17:44Z",
        "/expiry",
        "2022-02-01T22:17:44Z",
    ),
    (
        "Date: Tue, 01 Feb 2022 22:17:44 GMT\r\nX-Mms-Expiry: 60",
        "/expiry",
        "2022-02-01T22:18:44Z",
    ),
    // Responses and reports.
    (
        "X-Mms-Request-Status-Code: Error-content-not-accepted",
        "/request_status",
        "Error-content-not-accepted",
    ),
    (
        "X-Mms-Status-Text: =?utf-8?Q?too_big?=",
        "/status_text",
        "too big",
    ),
    (
        "X-Mms-MM-Status-Code: Unrecognised",
        "/mm_status",
        "Unrecognised",
    ),
    (
        "X-Mms-MM-Status-Extension: Rejection-By-Other-RS",
        "/mm_status_extension",
        "Rejection-By-Other-RS",
    ),
    (
        "X-Mms-Read-Status: Deleted without being read",
        "/read_status",
        "Deleted without being read",
    ),
    // The rest of the table.
    ("X-Mms-Message-Class: Auto", "/message_class", "Auto"),
    (
        "X-Mms-Content-Class: megapixel",
        "/content_class",
        "megapixel",
    ),
    ("X-Mms-Priority: High", "/priority", "High"),
    (
        "X-Mms-Sender-Visibility: Hide",
        "/sender_visibility",
        "Hide",
    ),
    (
        "X-Mms-Originator-System: PostMaster@mms.example.net",
        "/originator_system/domain",
        "mms.example.net",
    ),
    ("Subject: =?utf-8?B?16nXnNeV150=?=", "/subject", "שלום"),
    // What has no key of its own survives.
    (
        "X-Mms-Originator-R/S-Delivery-Report: Yes",
        "/fields/0/name",
        "X-Mms-Originator-R/S-Delivery-Report",
    ),
    ("X-Operator-Own: kept", "/fields/0/value", "kept"),
];

#[test]
fn every_field_seen_on_the_wire_is_read() {
    for (field, pointer, wanted) in SHAPES {
        // With the empty line, with a body, and with the dot right after.
        for rest in ["\r\n\r\n", "\r\n\r\nbody\r\n", "\r\n", ""] {
            let found = object(format!("{field}{rest}").as_bytes());
            assert_eq!(at(&found, pointer), wanted, "{field}");
        }
    }
    for (field, pointer, wanted) in [
        ("X-Mms-Ack-Request: 1", "/ack_request", true),
        ("X-Mms-Ack-Request: yes", "/ack_request", true),
        ("X-Mms-Delivery-Report: No", "/delivery_report", false),
        ("X-Mms-Read-Reply: YES", "/read_reply", true),
    ] {
        let found = object(format!("{field}\r\n").as_bytes());
        assert_eq!(at(&found, pointer), wanted, "{field}");
    }
    for unknown in [
        "Date: 26/01/22 at noon",
        "X-Mms-Expiry: soon",
        "Subject:",
        "X-Mms-Transaction-ID:",
    ] {
        let found = object(format!("{unknown}\r\n").as_bytes());
        for key in ["/date", "/expiry", "/subject", "/transaction_id"] {
            assert_eq!(at(&found, key), &Value::Null, "{unknown}");
        }
    }
}

#[test]
fn every_structure_seen_on_the_wire_is_taken_apart() {
    let part = "Content-Type:application/smil;name=0.smil\r\nContent-ID:0.smil\r\n\r\n\
                <smil><body><par dur=\"5s\"><img src=\"1.jpg\"/></par></body></smil>\r\n--x\r\n\
                Content-Type: image/jpeg\r\nContent-Disposition:attachment;FileName=1.jpg\r\n\
                Content-Transfer-Encoding: base64\r\n\r\n/9j/4AAQ\r\n--x--\r\n";
    for (content_type, start_is_found) in [
        (
            "multipart/related;Start=\"<0.smil>\";Type=\"application/smil\";boundary=x",
            true,
        ),
        ("multipart/related;Start=0.smil;boundary=\"x\"", true),
        (
            "MULTIPART/RELATED; start=\"<nowhere>\";\r\n\tboundary=x",
            false,
        ),
        ("multipart/mixed; boundary=x", true),
    ] {
        let found = object(format!("Content-Type: {content_type}\r\n\r\n--x\r\n{part}").as_bytes());
        assert_eq!(at(&found, "/parts/0/type"), "application/smil");
        assert_eq!(at(&found, "/parts/1/name"), "1.jpg");
        assert_eq!(at(&found, "/parts/1/size"), 6);
        assert_eq!(at(&found, "/slides/0/items/0/part"), 2);
        let codes = at(&found, "/findings").to_string();
        assert_eq!(
            codes.contains("start-unresolved"),
            !start_is_found,
            "{content_type}"
        );
    }
    let single = object(
        b"Content-Type: image/jpeg\r\nContent-Transfer-Encoding: base64\r\n\r\n/9j/4AAQ\r\n",
    );
    assert_eq!(at(&single, "/parts/0/size"), 6);
    let found = object(&sample("many_recipients"));
    assert_eq!(at(&found, "/to").as_array().unwrap().len(), 21);
    assert_eq!(at(&found, "/to/0"), at(&found, "/to/19"));
    assert_eq!(at(&found, "/envelope/to").as_array().unwrap().len(), 1);
    assert_eq!(at(&found, "/date"), &Value::Null);
    assert_eq!(
        at(&found, "/parts/0/text"),
        "שלום, the meeting moved to four o'clock."
    );
}

#[test]
fn text_is_shown_as_a_phone_shows_it_and_nothing_is_lost_without_a_finding() {
    for (mail, wanted, code) in [
        (
            "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/plain\n\
             hello there\nTo: you\n\nbye\n--x--\n",
            "hello there\nTo: you\n\nbye",
            "no-empty-line",
        ),
        (
            "Subject: x\nhello there\nbye\n",
            "hello there\nbye",
            "no-empty-line",
        ),
        (
            "Content-Type: multipart/mixed; boundary=y\n\nhello there\n",
            "hello there",
            "no-delimiter",
        ),
        (
            "Content-Type: text/plain\nContent-Transfer-Encoding: x-uuencode\n\n\
             begin 644 a.txt\n+:&5L;&\\@=V]R;&0 \n`\nend\n",
            "hello world",
            "",
        ),
        (
            "Content-Type: application/vnd.wap.multipart.related\n\
             Content-Transfer-Encoding: base64\n\nAQEFg2hlbGxv\n",
            "hello",
            "",
        ),
        (
            "Content-Type: text/plain; charset=x-no-such\n\nשלום\n",
            "שלום",
            "bad-charset",
        ),
    ] {
        let found = object(mail.as_bytes());
        assert_eq!(at(&found, "/parts/0/text"), wanted, "{mail}");
        let codes = at(&found, "/findings").to_string();
        assert!(code.is_empty() || codes.contains(code), "{mail}: {codes}");
    }
}

#[test]
fn every_command_has_an_answer_to_every_sample() {
    let mails = all_samples();
    let place = Place::new();
    for (name, mail) in &mails {
        place.publish(name, mail);
        let shown = said(&["show", place.path(), &format!("{name}.eml")]);
        assert!(
            shown.to_ascii_lowercase().contains("x-mms-message-type"),
            "{name}"
        );
        let to = place.dir.path().join("out").join(name);
        let extracted = mm4spool(&[
            "extract",
            "--to",
            to.to_str().unwrap(),
            place.path(),
            &format!("{name}.eml"),
        ]);
        assert!(extracted.status.success(), "{name}: {}", stderr(&extracted));
    }
    assert_eq!(
        objects(&said(&["list", "--json", "--last", "999", place.path()])).len(),
        mails.len()
    );
    assert!(said(&["gallery", place.path()]).ends_with("</html>\n"));
}

// What it must never do.

/// Everything that the inspector does with a mail; fails by panicking.
fn do_everything(mail: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mail.eml");
    fs::write(&path, mail).unwrap();
    let store = Store::open(&path).unwrap();
    let entries = store.entries().unwrap();
    let file = store.read(&entries[0]).unwrap();
    let message = Message::read(&entries[0], &file);
    let mut out = Vec::new();
    let extras = text::Extras::default();
    text::write(&message, &extras, &Terminal::in_colour(), &mut out).unwrap();
    let now = "2022-01-26T00:17:43Z".parse().unwrap();
    Page::prepare(&store, entries.clone(), 1)
        .write(&store, "x", now, &mut out)
        .unwrap();
    assert!(String::from_utf8(out).is_ok());
    let mut out = Vec::new();
    json::write(&message, &mut out).unwrap();
    let object: Value = serde_json::from_slice(&out).unwrap();
    assert!(object.is_object());
    check::findings(&message, &Profile::default());
    let to = dir.path().join("to");
    let written = files::extract(&message, None, &to).unwrap();
    assert_eq!(written.len(), fs::read_dir(&to).unwrap().count());
    // mail.eml and to/: nothing was written elsewhere.
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    for force in [false, true] {
        let answer = Answer {
            status: RequestStatus::Ok,
            text: None,
            force,
        };
        let _ = response::compose(&message, &answer, now, 1);
    }
}

#[test]
fn nests_and_headers_without_end_are_survived() {
    let nest: String = (0..100_000)
        .map(|level| format!("Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n"))
        .collect();
    do_everything(nest.as_bytes());
    let same = "Content-Type: multipart/mixed; boundary=b\n\n--b\n".repeat(100_000);
    do_everything(same.as_bytes());
    do_everything("To: a\n".repeat(200_000).as_bytes());
    do_everything(format!("To: {}\n", "a,".repeat(500_000)).as_bytes());
    do_everything(format!("Subject: {}\n", "=?utf-8?Q?=".repeat(100_000)).as_bytes());
    do_everything(format!("Content-Type: {}\n\nx", "a*0*=x;".repeat(10_000)).as_bytes());
    do_everything(format!("To: {}\n", "(".repeat(500_000)).as_bytes());
    do_everything(
        format!(
            "Content-Type: application/smil\n\n{}",
            "<par><img src='a' ".repeat(50_000)
        )
        .as_bytes(),
    );
}

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let samples: Vec<Vec<u8>> = all_samples().into_iter().map(|(_, mail)| mail).collect();
    let edits = proptest::collection::vec(
        (
            any::<prop::sample::Index>(),
            any::<u8>(),
            0..4_usize,
            0..400_usize,
        ),
        0..12,
    );
    (proptest::sample::select(samples), edits).prop_map(|(mut mail, edits)| {
        for (place, octet, kind, length) in edits {
            if mail.is_empty() {
                break;
            }
            let start = place.index(mail.len());
            let end = (start + length).min(mail.len());
            match kind {
                0 => mail[start] = octet,
                1 => drop(mail.drain(start..end)),
                2 => mail.truncate(start.max(1)),
                _ => {
                    let piece = mail[start..end].to_vec();
                    mail.extend(piece);
                }
            }
        }
        mail
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_octets_make_it_panic(mail in proptest::collection::vec(any::<u8>(), 0..2000)) {
        do_everything(&mail);
    }

    #[test]
    fn no_damage_to_a_mail_makes_it_panic(mail in mutated()) {
        do_everything(&mail);
    }

    #[test]
    fn no_fields_make_it_panic(
        fields in proptest::collection::vec((
            "(Content-Type|Content-Disposition|Content-ID|Content-Transfer-Encoding|From|To|Date|Subject\
             |X-Mms-Expiry|X-Mms-Message-Type|X-Mms-Originator-System|X-Mms-Ack-Request|Return-Path|Received)",
            "(multipart/mixed|application/smil|text/plain|;|=|\"|boundary|charset|name\\*0\\*|utf-8''|%|=\\?|\\?=|\\?Q\\?|<|>|@|,|/TYPE=|base64|quoted-printable|MM4_forward\\.REQ|Yes|[0-9]{1,20}|\\PC|\r\n |é){0,12}",
        ), 0..12),
        body in "(--boundary|--|\r\n|<par|<img|src=|'|>|=|[A-Za-z0-9+/=]{0,8}|\\PC){0,30}",
    ) {
        let mut mail = String::new();
        for (name, value) in fields {
            mail.push_str(&format!("{name}: {value}\r\n"));
        }
        mail.push_str(&format!("\r\n{body}"));
        do_everything(mail.as_bytes());
    }
}

//! The inspector from outside: the binary on spools of our own making, every
//! shape seen on the wire, and properties of what it must never do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "../support/mod.rs"]
mod support;

mod check;
mod command_line;
mod files;
mod follow;
mod hostile;
mod list;
mod memory;
mod serve;
mod show;
mod terminal;
mod wire;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use mm4d::inspect::output::view::sha256;
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

fn object_at(place: &Place, id: &str) -> Value {
    objects(&said(&["show", "--json", place.path(), id])).remove(0)
}

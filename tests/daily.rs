//! The certificate is looked at again and again: a real server whose day is short.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::ffi::OsString;
use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::Duration;

use mm4d::server::options::{self, Invocation};
use mm4d::server::run;
use support::{ACCOUNTS, guard, make_certificate_until, wait_for};

/// The directory of the process that [`server_with_a_short_day`] is run in.
const DIR: &str = "MM4D_TEST_DIR";
const DAY: Duration = Duration::from_millis(20);

#[test]
fn a_certificate_that_has_expired_is_a_warning_each_day() {
    let dir = tempfile::tempdir().unwrap();
    make_certificate_until(dir.path(), 2020);
    fs::write(dir.path().join("accounts"), ACCOUNTS).unwrap();

    let log = dir.path().join("log");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["server_with_a_short_day", "--exact", "--nocapture"])
        .env(DIR, dir.path())
        .env_remove("RUST_LOG")
        .stdout(Stdio::null())
        .stderr(File::create(&log).unwrap());
    let mut server = guard::spawn(&mut command).unwrap();
    // One is of the start.
    let expected = "server.pem expired at 2020-01-01T00:00:00Z; renew it";
    wait_for("the warnings of three days", || {
        let log = fs::read_to_string(&log).unwrap();
        (log.matches(expected).count() >= 4).then_some(())
    });
    server.kill().unwrap();
    server.wait().unwrap();
    guard::release(server.id());
}

#[test]
fn server_with_a_short_day() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    std::env::set_current_dir(dir).unwrap();
    let arguments = [
        "--tls-listen",
        "127.0.0.1:0",
        "--hostname",
        "here",
        "--no-sandbox",
        "--cert",
        "server.pem",
        "--key",
        "server.key",
    ];
    match options::parse(arguments.map(OsString::from)) {
        Ok(Invocation::Run(command_line)) => run(command_line, DAY).unwrap(),
        other => panic!("{other:?}"),
    }
}

//! `--check`: what the server would do and every problem, without doing anything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod support;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{ACCOUNTS, Server, guard, make_certificate, make_certificate_until, wait_for};

/// Exit status, standard output and standard error. One that hangs is killed by
/// the guard of the test process, and fails at the deadline before.
fn check(dir: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mm4d"));
    command
        .current_dir(dir)
        .arg("--check")
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = guard::spawn(&mut command).unwrap();
    wait_for("the end of --check", || child.try_wait().unwrap());
    guard::release(child.id());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// A directory in which the defaults work, but for the spool.
fn prepared() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("certs")).unwrap();
    make_certificate(&dir.path().join("certs"));
    fs::write(dir.path().join("accounts"), ACCOUNTS).unwrap();
    dir
}

fn make_fifo(path: &Path) {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
}

#[test]
fn a_valid_configuration_is_described_and_nothing_is_created_or_bound() {
    let dir = prepared();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = taken.local_addr().unwrap().to_string();
    let arguments = ["--listen", &listener, "-t", "127.0.0.1:2465", "-n", "here"];
    let before = support::names(dir.path());
    let (status, plan, errors) = check(dir.path(), &arguments);
    assert_eq!((status, errors.as_str()), (Some(0), ""), "{plan}");
    for expected in [
        format!("listen plain {listener}\n"),
        "listen tls 127.0.0.1:2465\n".to_owned(),
        "read 2 accounts from accounts\n".to_owned(),
        "use the certificate certs/server.pem, valid until ".to_owned(),
        "create the spool spool\n".to_owned(),
    ] {
        assert!(plan.contains(&expected), "{expected} in {plan}");
    }
    assert_eq!(support::names(dir.path()), before);
}

#[test]
fn it_may_run_beside_the_server_that_it_describes() {
    let server = Server::start();
    let listener = server.plain.to_string();
    let spool = server.spool.to_str().unwrap();
    let before = (server.names(""), server.names("tmp"));
    let arguments = ["-l", &listener, "-s", spool, "-n", "test.example"];
    let (status, plan, errors) = check(server.dir.path(), &arguments);
    assert_eq!((status, errors.as_str()), (Some(0), ""), "{plan}");
    assert!(plan.contains(&format!("spool messages into {spool}")));
    assert_eq!(before, (server.names(""), server.names("tmp")));
}

#[test]
fn every_problem_is_one_line_and_not_only_the_first() {
    let dir = prepared();
    fs::write(dir.path().join("accounts"), "peer1:secret\n").unwrap();
    fs::write(dir.path().join("certs/server.pem"), "nothing").unwrap();
    fs::remove_file(dir.path().join("certs/server.key")).unwrap();
    fs::write(dir.path().join("spool"), "a file").unwrap();
    let config = "timeout 0\ncolour red\nmax-recipients x\nlogin-timeout 5\n";
    fs::write(dir.path().join("mm4d.conf"), config).unwrap();
    let arguments = ["--config", "mm4d.conf", "--metrics-file", "missing/x.prom"];
    let (status, _, errors) = check(dir.path(), &arguments);
    assert_eq!(status, Some(1), "{errors}");
    for expected in [
        "mm4d.conf:1: invalid timeout '0'",
        "mm4d.conf:2: unknown option 'colour'",
        "mm4d.conf:3: invalid max-recipients 'x'",
        "the accounts file accounts, line 1: ",
        "certificate certs/server.pem",
        "private key certs/server.key",
        "spool spool",
        "metrics file missing/x.prom",
    ] {
        let found = errors.lines().filter(|line| line.contains(expected));
        assert_eq!(found.count(), 1, "{expected} in {errors}");
    }
    assert_eq!(errors.lines().count(), 8, "{errors}");
    assert!(errors.lines().all(|line| line.starts_with("mm4d: ")));
}

#[test]
fn every_usage_error_is_reported_with_status_2() {
    let dir = prepared();
    let arguments = ["--timeout", "0", "--max-recipients", "0"];
    let (status, plan, errors) = check(dir.path(), &arguments);
    assert_eq!((status, plan.as_str()), (Some(2), ""));
    assert!(errors.contains("--timeout") && errors.contains("--max-recipients"));
    assert_eq!(errors.lines().count(), 2, "{errors}");
    let arguments = [
        "start",
        "--colour",
        "--timeout",
        "1",
        "--blue=x",
        "--timeout",
        "2",
        "--no-sandbox=1",
        "stop",
        "--min-free",
        "x",
        "--spool",
    ];
    let (status, plan, errors) = check(dir.path(), &arguments);
    assert_eq!((status, plan.as_str()), (Some(2), ""));
    let mut lines: Vec<_> = errors.lines().collect();
    lines.sort_unstable();
    let expected = [
        "invalid --min-free 'x': expected a whole number from 0 to 9223372036854775807",
        "option --no-sandbox takes no value",
        "option --spool needs a value",
        "option --timeout is given twice",
        "unexpected argument 'start'",
        "unexpected argument 'stop'",
        "unknown option '--blue'",
        "unknown option '--colour'",
    ];
    assert_eq!(
        lines,
        expected.map(|text| format!("mm4d: {text}; see mm4d --help"))
    );
}

#[test]
fn an_option_that_is_invalid_does_not_make_the_default_file_a_problem() {
    let dir = prepared();
    fs::remove_file(dir.path().join("accounts")).unwrap();
    fs::write(dir.path().join("mm4d.conf"), "accounts\n").unwrap();
    let (status, _, errors) = check(dir.path(), &["--config", "mm4d.conf"]);
    assert_eq!(status, Some(1));
    assert_eq!(errors.lines().count(), 1, "{errors}");
    let (status, _, errors) = check(dir.path(), &["--config", "missing.conf"]);
    assert_eq!(status, Some(1));
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

#[test]
fn a_fifo_in_the_place_of_any_file_is_a_problem_and_no_hang() {
    for name in [
        "accounts",
        "certs/server.pem",
        "certs/server.key",
        "mm4d.conf",
        "spool",
    ] {
        let dir = prepared();
        let path = dir.path().join(name);
        let _ = fs::remove_file(&path);
        make_fifo(&path);
        let arguments: &[&str] = match name {
            "mm4d.conf" => &["--config", name],
            _ => &[],
        };
        let (status, _, errors) = check(dir.path(), arguments);
        assert_eq!(status, Some(1), "{name}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{name}: {errors}");
        assert!(errors.contains(name), "{name}: {errors}");
    }
}

#[test]
fn a_certificate_without_a_tls_listener_is_not_read() {
    let dir = prepared();
    fs::remove_dir_all(dir.path().join("certs")).unwrap();
    let (status, plan, errors) = check(dir.path(), &["-l", "127.0.0.1:2525"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""), "{plan}");
}

/// A directory whose certificate has expired.
fn expired() -> tempfile::TempDir {
    let dir = prepared();
    make_certificate_until(&dir.path().join("certs"), 2020);
    dir
}

/// `journalctl -p err` shows the one, and not the other.
#[test]
fn in_the_journal_a_problem_is_an_error_and_a_warning_is_not() {
    let dir = expired();
    let log = File::create(dir.path().join("log")).unwrap();
    let metadata = log.metadata().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mm4d"));
    command
        .current_dir(dir.path())
        .args(["--check", "-a", "missing"])
        .env(
            "JOURNAL_STREAM",
            format!("{}:{}", metadata.dev(), metadata.ino()),
        )
        .stdout(Stdio::null())
        .stderr(log);
    let mut child = guard::spawn(&mut command).unwrap();
    wait_for("the end of --check", || child.try_wait().unwrap());
    guard::release(child.id());
    let lines = fs::read_to_string(dir.path().join("log")).unwrap();
    let lines: Vec<_> = lines.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].starts_with("<4>mm4d: warning: the certificate "),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with("<3>mm4d: cannot read the accounts "),
        "{lines:?}"
    );
}

#[test]
fn an_expired_certificate_is_a_warning() {
    let dir = expired();
    let (status, _, errors) = check(dir.path(), &[]);
    assert_eq!(status, Some(0), "{errors}");
    let expected = "warning: the certificate certs/server.pem expired at 2020-01-01T00:00:00Z";
    assert!(errors.contains(expected), "{errors}");
}

//! `--add-account`: the line that it appends, the file around it, and what is
//! refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod support;

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use support::{Builder, Client, guard, wait_for};

fn command(accounts: &Path, id: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mm4d"));
    command
        .args(["--add-account", id])
        .arg("--accounts")
        .arg(accounts)
        .args(arguments)
        .env("RUST_LOG", "trace")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn end(mut child: Child) -> Output {
    wait_for("the end of --add-account", || child.try_wait().unwrap());
    guard::release(child.id());
    child.wait_with_output().unwrap()
}

/// Runs it with `input` on standard input.
fn add(accounts: &Path, id: &str, arguments: &[&str], input: &str) -> Output {
    let mut child = guard::spawn(&mut command(accounts, id, arguments)).unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    end(child)
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Logs in to a server with these accounts.
fn login(accounts: &Path, id: &str, password: &str, code: u16) {
    use base64::Engine;
    let builder = Builder::new();
    fs::copy(accounts, builder.path().join("accounts")).unwrap();
    let server = builder.start();
    let mut client = Client::greeted(&server, false);
    client.command("EHLO client.example", 250);
    let message = format!("\0{id}\0{password}");
    let response = base64::engine::general_purpose::STANDARD.encode(message);
    client.command(&format!("AUTH PLAIN {response}"), code);
}

#[test]
fn the_account_logs_in_with_the_line_of_standard_input() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = dir.path().join("accounts");
    let output = add(&accounts, "carrier", &[], "sésame ouvre\r\nnot this\n");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "");
    let notes = text(&output.stderr);
    assert!(notes.contains("kill -HUP") && notes.contains("carrier"));
    assert!(!notes.contains("ouvre"), "{notes}");
    assert_eq!(fs::metadata(&accounts).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(support::names(dir.path()), ["accounts"]);
    login(&accounts, "carrier", "sésame ouvre", 235);
    login(&accounts, "carrier", "sésame ouvr", 535);
}

#[test]
fn a_generated_password_is_printed_once_and_logs_in() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = dir.path().join("accounts");
    let arguments = [
        "--generate",
        "--networks",
        "127.0.0.0/8,::1/128",
        "--max",
        "7",
    ];
    let output = add(&accounts, "carrier", &arguments, "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let password = text(&output.stdout).trim_end();
    assert!(
        password.len() >= 20 && !password.contains('\n'),
        "{password}"
    );
    assert!(!text(&output.stderr).contains(password));
    let line = fs::read_to_string(&accounts).unwrap();
    assert!(line.starts_with("carrier:$6$"), "{line}");
    assert!(line.ends_with(":127.0.0.0/8,::1/128:max=7\n"), "{line}");
    assert!(!line.contains(password));
    login(&accounts, "carrier", password, 235);
    let other = add(&accounts, "other", &["--generate", "--max", "2"], "");
    assert_ne!(text(&other.stdout).trim_end(), password);
    login(&accounts, "other", text(&other.stdout).trim_end(), 235);
}

#[test]
fn the_rest_of_the_file_its_mode_its_owner_and_a_link_to_it_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().join("real");
    fs::create_dir(&real).unwrap();
    let file = real.join("accounts");
    // Without a line feed at its end.
    fs::write(&file, support::ACCOUNTS.trim_end()).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    let owner = match rustix::process::geteuid().is_root() {
        true => (12, 34),
        false => {
            let now = fs::metadata(&file).unwrap();
            (now.uid(), now.gid())
        }
    };
    std::os::unix::fs::chown(&file, Some(owner.0), Some(owner.1)).unwrap();
    let link = dir.path().join("accounts");
    symlink("real/accounts", &link).unwrap();
    let output = add(&link, "carrier", &[], "secret\n");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let now = fs::metadata(&file).unwrap();
    assert_eq!((now.uid(), now.gid()), owner);
    assert_eq!(now.mode() & 0o7777, 0o640);
    let after = fs::read_to_string(&file).unwrap();
    let added = after.strip_prefix(support::ACCOUNTS).unwrap();
    assert!(added.starts_with("carrier:$6$") && added.ends_with('\n'));
    assert_eq!(added.lines().count(), 1);
    assert_eq!(support::names(&real), ["accounts"]);
}

/// A file in the place of the link would not be the one that the operator reads.
#[test]
fn a_link_to_a_file_that_does_not_exist_is_kept_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("accounts");
    symlink("missing", &link).unwrap();
    let output = add(&link, "carrier", &[], "secret\n");
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains(" is a symbolic link to a file that does not exist; make that file"),
        "{error}"
    );
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(support::names(dir.path()), ["accounts"]);
}

#[test]
fn what_cannot_be_added_leaves_the_file_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = dir.path().join("accounts");
    let long = "x".repeat(513);
    for (before, id, input, named) in [
        (support::ACCOUNTS, "peer1", "secret\n", "peer1"),
        (support::ACCOUNTS, "new", "", "standard input"),
        (support::ACCOUNTS, "new", "\n", "it is empty; give another"),
        (support::ACCOUNTS, "new", long.as_str(), "512"),
        (support::ACCOUNTS, "new", "a\0b\n", "NUL"),
        ("peer1:secret\n", "new", "secret\n", "line 1"),
    ] {
        fs::write(&accounts, before).unwrap();
        let output = add(&accounts, id, &[], input);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(named), "{named} in {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert_eq!(fs::read_to_string(&accounts).unwrap(), before);
    }
    assert_eq!(support::names(dir.path()), ["accounts"]);
    let (full, missing) = (File::create("/dev/full").unwrap(), dir.path().join("new"));
    let mut child = command(&missing, "new", &["--generate"]);
    let output = end(guard::spawn(child.stdout(full)).unwrap());
    assert_eq!(output.status.code(), Some(1));
    assert!(!missing.exists(), "an account whose password nobody knows");
}

#[test]
fn accounts_that_are_added_at_the_same_time_are_all_there() {
    const COUNT: usize = 12;
    let dir = tempfile::tempdir().unwrap();
    let accounts = dir.path().join("accounts");
    let children: Vec<_> = (0..COUNT)
        .map(|number| {
            let mut command = command(&accounts, &format!("a{number}"), &["--generate"]);
            guard::spawn(&mut command).unwrap()
        })
        .collect();
    for child in children {
        assert!(end(child).status.success());
    }
    let text = fs::read_to_string(&accounts).unwrap();
    assert_eq!(text.lines().count(), COUNT, "{text}");
    assert_eq!(support::names(dir.path()), ["accounts"]);
}

/// A terminal: our side of it, and the program's.
fn terminal() -> (File, OwnedFd) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let theirs = rustix::fs::open(&*name, flags, rustix::fs::Mode::empty()).unwrap();
    (File::from(ours), theirs)
}

fn has_echo(terminal: &File) -> bool {
    let modes = rustix::termios::tcgetattr(terminal).unwrap().local_modes;
    modes.contains(rustix::termios::LocalModes::ECHO)
}

/// Waits until `prompt` is shown on standard error.
fn read_prompt(child: &mut Child, prompt: &str) {
    let stderr = child.stderr.as_mut().unwrap();
    let mut shown = String::new();
    while !shown.ends_with(prompt) {
        let mut byte = [0];
        assert!(stderr.read(&mut byte).unwrap() > 0, "{shown}");
        shown.push(byte[0].into());
    }
}

#[test]
fn a_terminal_asks_twice_and_shows_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = dir.path().join("accounts");
    for (second, status) in [("mistyped", 1), ("top secret", 0)] {
        let (mut ours, theirs) = terminal();
        let mut command = command(&accounts, "carrier", &[]);
        let mut child = guard::spawn(command.stdin(theirs)).unwrap();
        read_prompt(&mut child, "Password: ");
        assert!(!has_echo(&ours));
        ours.write_all(b"top secret\n").unwrap();
        read_prompt(&mut child, "again: ");
        ours.write_all(format!("{second}\n").as_bytes()).unwrap();
        let output = end(child);
        assert_eq!(
            output.status.code(),
            Some(status),
            "{}",
            text(&output.stderr)
        );
        assert!(has_echo(&ours));
        assert_eq!(accounts.exists(), status == 0);
        let mut shown = [0; 256];
        drop(command);
        let count = ours.read(&mut shown).unwrap_or(0);
        assert!(!text(&shown[..count]).contains("secret"));
    }
    login(&accounts, "carrier", "top secret", 235);
}

#[test]
fn an_interrupted_prompt_restores_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = dir.path().join("accounts");
    let (ours, theirs) = terminal();
    let mut command = command(&accounts, "carrier", &[]);
    let mut child = guard::spawn(command.stdin(theirs)).unwrap();
    read_prompt(&mut child, "Password: ");
    assert!(!has_echo(&ours));
    guard::signal(child.id(), "INT");
    assert_eq!(end(child).status.code(), Some(1));
    assert!(has_echo(&ours));
    assert!(!accounts.exists());
}

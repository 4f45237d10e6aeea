//! Faults of the real system: a full file system, one that turns read-only,
//! system calls that fail. They need root, tmpfs and strace; a test that cannot
//! have what it needs says so and passes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod support;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use mm4d::spool::disk::Disk;
use mm4d::spool::maildir::Maildir;
use support::{Builder, Client, Server, guard, names, wait_for};

/// A small file system of its own, unmounted when it is dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(directory: &Path, size: &str) -> Option<Mount> {
        run(
            "mount",
            &["-t", "tmpfs", "-o", &format!("size={size}"), "mm4d-test"],
            directory,
        )
        .then(|| Mount(directory.to_owned()))
    }

    fn remount(&self, option: &str) {
        assert!(run("mount", &["-o", &format!("remount,{option}")], &self.0));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        run("umount", &["-l"], &self.0);
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> bool {
    Command::new(program)
        .args(arguments)
        .arg(path)
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// ext4 on a disk that cannot be written any more once `disk` is full.
fn ext4_on(disk: &Mount, at: &Path) -> Option<Mount> {
    let image = disk.0.join("image");
    fs::File::create(&image)
        .and_then(|file| file.set_len(64 << 20))
        .ok()?;
    let options = "nodiscard,lazy_itable_init=1";
    let image = image.to_str()?;
    (run("mkfs.ext4", &["-q", "-F", "-E", options], Path::new(image))
        && run("mount", &["-o", "loop", image], at))
    .then(|| Mount(at.to_owned()))
}

fn skipped(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
}

/// Sends a mail that must be refused with 452 at its end.
fn refused(client: &mut Client, content: &[u8]) {
    client.command("MAIL FROM:<>", 250);
    client.command("RCPT TO:<123@test.example>", 250);
    client.command("DATA", 354);
    client.send(&support::wire(content));
    client.expect(452);
}

#[test]
fn a_full_file_system_answers_452_and_recovers_when_space_returns() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_mount) = Mount::new(dir.path(), "4m") else {
        return skipped("a_full_file_system", "may not mount a tmpfs");
    };
    let server = Builder::new()
        .spool(&dir.path().join("spool"))
        .options(["--min-free", "0"])
        .start();
    let mut client = Client::logged_in(&server, false);
    let large = b"0123456789abcdef0123456789abcdef\r\n".repeat(40_000);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(client.deliver(&large));
    }
    refused(&mut client, &large);
    // A small one still fits, on the same session.
    let small = client.deliver(b"small\r\n");
    let filler = dir.path().join("filler");
    let _ = std::fs::write(&filler, vec![0; 4 << 20]);
    refused(&mut client, b"small\r\n");
    assert_eq!(server.names("tmp"), [""; 0]);
    remove(&filler);
    remove(&server.spool.join(format!("new/{}.eml", ids[0])));
    ids[0] = client.deliver(&large);
    for id in &ids {
        assert_eq!(server.content(id), large);
    }
    assert_eq!(server.content(&small), b"small\r\n");
    assert_eq!(server.names("new").len(), 4);
}

/// Removes a file and waits until its space is free: a process that another test starts
/// has all open files for a moment.
fn remove(path: &Path) {
    let free = || rustix::fs::statvfs(path.parent().unwrap()).unwrap().f_bfree;
    let before = free();
    std::fs::remove_file(path).unwrap();
    wait_for("the space of a removed file", || {
        (free() > before).then_some(())
    });
}

#[test]
fn low_space_refuses_mail_once_in_the_log_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_mount) = Mount::new(dir.path(), "8m") else {
        return skipped("low_space", "may not mount a tmpfs");
    };
    let server = Builder::new()
        .spool(&dir.path().join("spool"))
        .options(["--min-free", "1000000", "--max-message-size", "1000000"])
        .start();
    let mut client = Client::logged_in(&server, false);
    client.deliver(b"small\r\n");
    let filler = dir.path().join("filler");
    std::fs::write(&filler, vec![0; 7 << 20]).unwrap();
    for _ in 0..5 {
        client.command("MAIL FROM:<>", 452);
    }
    remove(&filler);
    client.deliver(b"small\r\n");
    server.wait_for_log("spool has space again");
    let log = server.log();
    assert_eq!(log.matches("spool low on space").count(), 1, "{log}");
    assert_eq!(log.matches("spool has space again").count(), 1, "{log}");
}

#[test]
fn a_spool_that_becomes_read_only_answers_452_until_it_is_writable() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::new(dir.path(), "8m") else {
        return skipped("a_spool_that_turns_read_only", "may not mount a tmpfs");
    };
    let server = Builder::new()
        .spool(&dir.path().join("spool"))
        .options(["--min-free", "0"])
        .start();
    let mut client = Client::logged_in(&server, true);
    client.deliver(b"before\r\n");
    mount.remount("ro");
    refused(&mut client, b"while\r\n");
    mount.remount("rw");
    client.deliver(b"after\r\n");
    assert_eq!(server.names("new").len(), 2);

    // At start it says why not.
    mount.remount("ro");
    let (code, text) = Builder::new()
        .spool(&dir.path().join("spool"))
        .hostname("other.example")
        .fail();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("--spool"), "{text}");
}

/// strace on a running server; it lets go when it is dropped.
struct Tracer(Child);

impl Tracer {
    fn attach(server: &Server, inject: &str) -> Option<Tracer> {
        let mut tracer = Command::new("strace");
        tracer
            .args(["-f", "-o", "/dev/null", "-e", inject, "-p"])
            .arg(server.pid().to_string())
            .stderr(Stdio::null());
        let mut tracer = Tracer(guard::spawn(&mut tracer).ok()?);
        wait_for("the tracer", || {
            let ended = tracer.0.try_wait().unwrap().is_some();
            let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
            let traced = tasks.into_iter().all(|task| {
                let status = std::fs::read_to_string(task.unwrap().path().join("status"));
                !status.unwrap_or_default().contains("TracerPid:\t0\n")
            });
            (ended || traced).then_some(())
        });
        (tracer.0.try_wait().unwrap().is_none()).then_some(tracer)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        guard::kill(&mut self.0);
    }
}

#[test]
fn a_thread_that_cannot_start_is_logged_and_the_next_client_is_served() {
    let server = Server::start();
    let Some(_tracer) = Tracer::attach(&server, "inject=clone3:error=EAGAIN:when=1") else {
        return skipped(
            "a_thread_that_cannot_start",
            "strace is missing or may not trace",
        );
    };
    let mut first = Client::plain(server.plain);
    server.wait_for_log("cannot accept connections");
    first.expect_close();
    let mut second = Client::plain(server.plain);
    second.expect(220);
    server.wait_for_log("accepts connections again");
}

#[test]
fn a_system_call_that_fails_once_refuses_one_mail_and_no_other() {
    for call in ["fdatasync", "fsync", "renameat2"] {
        let probe = Command::new("strace")
            .args(["-o", "/dev/null", "true"])
            .status();
        if !probe.is_ok_and(|status| status.success()) {
            return skipped(
                "a_system_call_that_fails_once",
                "strace is missing or may not trace",
            );
        }
        // The probe of a spool that exists makes one call of each. On tmpfs, as
        // on a journal, a batch costs one fsync; elsewhere it costs two.
        let dir = tempfile::tempdir().unwrap();
        let Some(_mount) = Mount::new(dir.path(), "8m") else {
            return skipped("a_system_call_that_fails_once", "may not mount a tmpfs");
        };
        let mut made = Builder::new()
            .spool(&dir.path().join("spool"))
            .options(["--min-free", "0"])
            .start();
        made.crash();
        // Calls are counted in each thread: the second mail's is broken.
        let inject = format!("inject={call}:error=EIO:when=2");
        let server = Builder::new()
            .spool(&made.spool)
            .options(["--min-free", "0"])
            .wrapper(["strace", "-f", "-o", "/dev/null", "-e", &inject])
            .start();
        let mut client = Client::logged_in(&server, false);
        let first = client.deliver(b"first\r\n");
        refused(&mut client, b"second\r\n");
        let third = client.deliver(b"third\r\n");
        assert_eq!(server.names("tmp"), [""; 0], "{call}");
        let names = [first, third].map(|id| format!("{id}.eml"));
        assert_eq!(server.names("new"), names, "{call}");
        server.wait_for_log("spool failed");
    }
}

#[test]
fn a_file_system_without_renameat2_and_a_lock_that_must_be_writable_are_enough() {
    let inject = [
        "-e",
        "inject=renameat2:error=EINVAL",
        "-e",
        "inject=flock:error=EBADF:when=1",
    ];
    let probe = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        return skipped("a_file_system_without_renameat2", "strace is missing");
    }
    let server = Builder::new()
        .wrapper(
            ["strace", "-f", "-o", "/dev/null"]
                .into_iter()
                .chain(inject),
        )
        .start();
    let mut client = Client::logged_in(&server, false);
    let ids = [b"one\r\n", b"two\r\n"].map(|content| client.deliver(content));
    assert_eq!(server.names("tmp"), [""; 0]);
    assert_eq!(server.names("new"), ids.map(|id| format!("{id}.eml")));
    let (code, text) = Builder::new().spool(&server.spool).fail();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("in use"), "{text}");
}

#[test]
fn a_second_server_does_not_delete_live_drafts_when_the_lock_was_removed() {
    let server = Server::start();
    let mut client = Client::logged_in(&server, false);
    client.command("MAIL FROM:<>", 250);
    client.command("RCPT TO:<123@test.example>", 250);
    client.command("DATA", 354);
    let drafts = server.names("tmp");
    assert_eq!(drafts.len(), 1);
    // A draft that nobody writes any more.
    std::fs::write(server.spool.join("tmp/z@test.example.eml"), "x").unwrap();
    std::fs::remove_file(server.spool.join(".test.example.lock")).unwrap();
    let (code, text) = Builder::new().spool(&server.spool).fail();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("in use"), "{text}");
    assert!(server.names("tmp").contains(&drafts[0]));
    client.send(b"live\r\n.\r\n");
    let id = support::id(&client.expect(250));
    assert_eq!(server.content(&id), b"live\r\n");
    server.wait_for_log("spool lock was removed, taken again");
    let (code, text) = Builder::new().spool(&server.spool).fail();
    assert_eq!(code, Some(1), "{text}");
}

#[test]
fn new_moved_away_refuses_mail_until_it_is_back_or_another_one_is_there() {
    let server = Server::start();
    let (new, away) = (server.spool.join("new"), server.spool.join("away"));
    let mut client = Client::logged_in(&server, false);
    client.deliver(b"before\r\n");
    std::fs::rename(&new, &away).unwrap();
    refused(&mut client, b"while\r\n");
    assert_eq!(support::names(&away).len(), 1);
    assert_eq!(server.names("tmp"), [""; 0]);
    server.wait_for_log("spool unavailable");
    let mut refused_client = Client::plain(server.plain);
    assert_eq!(refused_client.expect(421), "421 ERROR: spool unavailable");
    refused_client.expect_close();
    std::fs::rename(&away, &new).unwrap();
    client.deliver(b"back\r\n");
    server.wait_for_log("spool available again");
    Client::logged_in(&server, false);
    assert_eq!(server.names("new").len(), 2);

    std::fs::rename(&new, &away).unwrap();
    std::fs::create_dir(&new).unwrap();
    refused(&mut client, b"into another directory\r\n");
    // The probe that follows opens the new one.
    let id = wait_for("the new directory", || {
        client.command("MAIL FROM:<>", 250);
        client.command("RCPT TO:<123@test.example>", 250);
        client.command("DATA", 354);
        client.send(b"after\r\n.\r\n");
        let reply = client.reply();
        reply.starts_with("250 ").then(|| support::id(&reply))
    });
    assert_eq!(server.content(&id), b"after\r\n");
    assert_eq!(support::names(&away).len(), 2);
}

/// Runs a flock(1) as a member of the group that may read the spool.
fn group_reader(server: &Server) -> Child {
    Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "0", "--clear-groups"])
        .args(["flock", "--shared"])
        .arg(server.spool.join(".test.example.lock"))
        .args(["sleep", "20"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_reader_of_the_group_cannot_lock_the_server_out() {
    if Command::new("setpriv").arg("--version").output().is_err()
        || !rustix::process::geteuid().is_root()
    {
        return skipped("a_reader_of_the_group", "needs root and setpriv");
    }
    let mut server = Server::start();
    server.crash();
    // The way to the lock is open; only its own mode is in the way.
    for path in [server.dir.path(), server.spool.as_path()] {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut reader = group_reader(&server);
    let ended = wait_for("the reader to be refused", || reader.try_wait().unwrap());
    assert!(!ended.success());
    server.start_again();
}

#[test]
fn a_disk_that_is_full_at_start_is_answered_452_until_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_mount) = Mount::new(dir.path(), "4m") else {
        return skipped("a_disk_that_is_full_at_start", "may not mount a tmpfs");
    };
    let spool = dir.path().join("spool");
    for name in ["tmp", "new", "cur"] {
        std::fs::create_dir_all(spool.join(name)).unwrap();
    }
    let filler = dir.path().join("filler");
    let _ = std::fs::write(&filler, vec![0; 8 << 20]);
    let server = Builder::new()
        .spool(&spool)
        .options(["--min-free", "0", "--metrics-file"])
        .options([dir.path().join("x.prom").to_str().unwrap()])
        .start();
    for _ in 0..3 {
        let mut client = Client::logged_in(&server, false);
        refused(&mut client, b"small\r\n");
    }
    remove(&filler);
    Client::logged_in(&server, true).deliver(b"small\r\n");
}

#[test]
fn a_metrics_file_that_cannot_be_written_at_start_and_at_exit_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_mount) = Mount::new(dir.path(), "1m") else {
        return skipped("a_metrics_file_that_cannot", "may not mount a tmpfs");
    };
    let _ = std::fs::write(dir.path().join("filler"), vec![0; 2 << 20]);
    let mut server = Builder::new()
        .options([
            "--metrics-file",
            dir.path().join("x.prom").to_str().unwrap(),
        ])
        .start();
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    let log = server.log();
    let lines = log.matches("cannot write the metrics file=").count();
    assert_eq!(lines, 1, "{log}");
    assert_eq!(names(dir.path()), ["filler"]);
}

/// ext4 reports a commit that failed to one sync, and success to the next.
#[test]
fn no_sync_succeeds_once_the_journal_has_failed() {
    // Of a directory that only grows no attribute can be removed.
    for only_grows in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let (disk, mounted) = (
            directory.path().join("disk"),
            directory.path().join("mounted"),
        );
        fs::create_dir(&disk).unwrap();
        fs::create_dir(&mounted).unwrap();
        let Some(disk) = Mount::new(&disk, "12m") else {
            return skipped("no_sync_succeeds", "may not mount a tmpfs");
        };
        let Some(mounted) = ext4_on(&disk, &mounted) else {
            return skipped("no_sync_succeeds", "cannot make or mount an ext4");
        };
        let spool = mounted.0.join("spool");
        fs::create_dir_all(spool.join("new")).unwrap();
        if only_grows && !run("chattr", &["+a"], &spool.join("new")) {
            return skipped("no_sync_succeeds", "chattr +a does not work");
        }
        let maildir = Maildir::open(&spool, "here").unwrap();
        assert!(maildir.syncs_tell_all());
        for name in ["1@here.eml", "2@here.eml"] {
            let mut draft = maildir.create(name).unwrap();
            draft.write_all(b"a message\r\n").unwrap();
            draft.sync().unwrap();
        }
        maildir.publish("1@here.eml").unwrap();
        maildir.sync_new().unwrap();
        maildir.publish("2@here.eml").unwrap();
        let mut rest = fs::File::create(disk.0.join("rest")).unwrap();
        while rest.write_all(&[0; 65_536]).is_ok() {}
        // Another thread's sync, which hears of it.
        let new = fs::File::open(spool.join("new")).unwrap();
        assert!(new.sync_all().is_err(), "the disk took it all the same");
        assert!(maildir.sync_new().is_err(), "the message is lost");
        assert!(maildir.sync_new().is_err());
    }
}

//! Start-up, the files it reads, and reload.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, ExitStatus};

use rustix::process::{Pid, Signal};

use crate::support::{
    self, Builder, Client, PASSWORD_2, SYSTEM_ID_2, Server, make_certificate,
    make_certificate_until, plain_response, wait_for,
};

#[test]
fn a_reload_sees_where_links_have_been_turned_to_and_tmp_may_be_a_link() {
    let builder = Builder::new();
    let dir = builder.path().to_owned();
    for release in ["1", "2"] {
        let release = dir.join("releases").join(release);
        fs::create_dir_all(&release).unwrap();
        fs::copy(dir.join("accounts"), release.join("accounts")).unwrap();
    }
    let turn = |release: &str| {
        let link = dir.join("current.new");
        symlink(format!("releases/{release}"), &link).unwrap();
        fs::rename(&link, dir.join("current")).unwrap();
    };
    turn("1");
    fs::remove_file(dir.join("accounts")).unwrap();
    symlink("current/accounts", dir.join("accounts")).unwrap();
    for name in ["tmp", "new"] {
        fs::create_dir_all(dir.join("elsewhere").join(name)).unwrap();
        fs::create_dir_all(dir.join("spool")).unwrap();
        symlink(format!("../elsewhere/{name}"), dir.join("spool").join(name)).unwrap();
    }
    let server = builder.start();
    let id = Client::logged_in(&server, false).deliver(b"x\r\n");
    assert_eq!(server.content(&id), b"x\r\n");
    turn("2");
    fs::remove_dir_all(dir.join("releases/1")).unwrap();
    server.signal("HUP");
    server.wait_for_log("reloaded accounts");
}

#[test]
fn sighup_puts_new_files_in_force_and_keeps_the_old_for_faulty_ones() {
    let server = Server::start();
    let accounts = server.dir.path().join("accounts");
    let cert = server.dir.path().join("server.pem");
    let mut before = Client::logged_in(&server, true);
    let reloads = |line: &str, count: usize| {
        wait_for(line, || {
            (server.log().matches(line).count() == count).then_some(())
        });
    };

    // Both faulty: both stay.
    let (old_accounts, old_cert) = (fs::read(&accounts).unwrap(), fs::read(&cert).unwrap());
    fs::write(&accounts, "peer1\n").unwrap();
    fs::write(&cert, "nothing").unwrap();
    server.signal("HUP");
    reloads(
        "reload failed, the old certificate and key stay in force",
        1,
    );
    reloads("reload failed, the old accounts stay in force", 1);
    Client::logged_in(&server, true).command("QUIT", 221);

    // Faulty accounts do not hold up a new certificate, put there by rename.
    let other = tempfile::tempdir().unwrap();
    let ca = make_certificate(other.path());
    for name in ["server.key", "server.pem"] {
        let new = server.dir.path().join(format!("{name}.new"));
        fs::copy(other.path().join(name), &new).unwrap();
        fs::rename(&new, server.dir.path().join(name)).unwrap();
    }
    server.signal("HUP");
    reloads("reloaded certificate and key", 1);
    let mut client = Client::tls(server.tls, &ca);
    client.expect(220);

    // New accounts count at once; a remembered login is forgotten.
    fs::write(&accounts, without_peer1(old_accounts)).unwrap();
    fs::write(&cert, old_cert).unwrap();
    server.signal("HUP");
    reloads("reloaded accounts", 1);
    reloads(
        "reload failed, the old certificate and key stay in force",
        2,
    );
    client.command("EHLO client.example", 250);
    client.command(&format!("AUTH PLAIN {}", plain_response()), 535);
    use base64::Engine;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    client.command(&format!("AUTH LOGIN {}", encode(SYSTEM_ID_2)), 334);
    client.command(&encode(PASSWORD_2), 235);

    // Sessions go on, logged in as they were.
    before.deliver(b"still here\r\n");
}

/// The accounts that are left without the first.
fn without_peer1(accounts: Vec<u8>) -> String {
    let accounts = String::from_utf8(accounts).unwrap();
    let left = accounts.lines().filter(|line| !line.starts_with("peer1"));
    left.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_cannot_start_says_so_in_one_line_and_its_exit_status() {
    let missing = |name: &str| {
        let builder = Builder::new();
        make_certificate(builder.path());
        fs::write(builder.path().join(name), "").unwrap();
        builder
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (builder, status, named) in [
        (Builder::new().options(["--timeout", "0"]), 2, "--timeout"),
        (Builder::new().options(["--bogus"]), 2, "--bogus"),
        (Builder::new().options(["--bo\ngus"]), 2, "bo\\ngus"),
        (Builder::new().options(["-l", &taken]), 1, taken.as_str()),
        (
            Builder::new().options(["-l", "no-such-name.invalid:1"]),
            1,
            "no-such-name.invalid",
        ),
        (missing("accounts"), 1, "accounts"),
        (missing("server.pem"), 1, "server.pem"),
        (missing("server.key"), 1, "server.key"),
        (
            Builder::new().spool("/dev/null/spool".as_ref()),
            1,
            "/dev/null",
        ),
        (
            Builder::new().options(["--max-connections", "4000000000"]),
            1,
            "--max-connections",
        ),
    ] {
        let (code, text) = builder.fail();
        assert_eq!(code, Some(status), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(named), "{named} in {text}");
    }
}

#[test]
fn a_spool_in_use_is_refused_and_free_again_after_a_kill() {
    let mut server = Server::start();
    let (code, text) = Builder::new().spool(&server.spool).fail();
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("in use") && text.contains("--hostname"),
        "{text}"
    );
    let other = Builder::new().spool(&server.spool);
    let other = other.options(["--max-recipients", "1"]);
    server.crash();
    other.start();
}

#[test]
fn files_and_directories_have_their_modes_less_the_umask() {
    let server = Server::start();
    let id = Client::logged_in(&server, false).deliver(b"x\r\n");
    let mode = |name: &str| {
        let meta = fs::metadata(server.spool.join(name)).unwrap();
        meta.permissions().mode() & 0o777
    };
    assert_eq!(mode(&format!("new/{id}.eml")) & 0o137, 0);
    for name in ["tmp", "new", "cur"] {
        assert_eq!(mode(name) & 0o027, 0);
    }
}

/// A process that ends with its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Killed {
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        wait_for("the server's end", || self.0.try_wait().unwrap())
    }
}

/// A server that has begun to start and waits for its accounts, which it reads
/// from the returned FIFO.
fn starting() -> (Killed, fs::File, Builder) {
    let builder = Builder::new();
    make_certificate(builder.path());
    let accounts = builder.path().join("accounts");
    fs::remove_file(&accounts).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &accounts,
        rustix::fs::FileType::Fifo,
        mode,
        0,
    )
    .unwrap();
    let child = Killed(builder.spawn());
    // Can be opened once the server has it open for reading.
    let fifo = wait_for("the server to open its accounts", || {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let mut options = fs::File::options();
        options.write(true).custom_flags(flags).open(&accounts).ok()
    });
    (child, fifo, builder)
}

#[test]
fn signals_during_the_start_neither_kill_the_server_nor_get_lost() {
    use std::io::{BufRead, BufReader, Write};
    let (mut server, mut fifo, builder) = starting();
    for signal in [Signal::HUP, Signal::USR1, Signal::USR2] {
        server.signal(signal);
    }
    // The reload that SIGHUP asked for reads an ordinary file.
    let accounts = builder.path().join("accounts");
    fs::remove_file(&accounts).unwrap();
    fs::write(&accounts, support::ACCOUNTS).unwrap();
    fifo.write_all(support::ACCOUNTS.as_bytes()).unwrap();
    drop(fifo);
    let mut line = String::new();
    let mut stdout = BufReader::new(server.0.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert!(line.starts_with("listening plain "), "{line}");
    wait_for("the reload", || {
        let log = fs::read_to_string(builder.path().join("log")).unwrap();
        log.contains("reloaded accounts").then_some(())
    });
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn sigterm_during_the_start_ends_it_with_status_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let (mut server, _fifo, _builder) = starting();
        server.signal(signal);
        let status = server.wait();
        assert_eq!(status.code(), Some(0), "{signal:?}: {status}");
    }
}

#[test]
fn sigusr2_is_ignored() {
    let mut server = Server::start();
    for name in ["USR1", "USR2"] {
        server.signal(name);
    }
    Client::logged_in(&server, false).deliver(b"x\r\n");
    assert!(server.is_running());
}

#[test]
fn a_certificate_that_expires_soon_is_a_warning_at_start_and_at_reload() {
    let mut server = Server::start();
    make_certificate_until(server.dir.path(), 2020);
    let expected = "server.pem expired at 2020-01-01T00:00:00Z";
    server.signal("HUP");
    server.wait_for_log(expected);
    server.crash_and_restart();
    wait_for("the warning at start", || {
        (server.log().matches(expected).count() == 2).then_some(())
    });
}

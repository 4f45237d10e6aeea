//! The server from outside: limits, clocks, signals, start-up.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, ExitStatus};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use support::{
    Builder, Client, KEY_2, SYSTEM_ID_2, Server, make_certificate, plain_response, wait_for,
};

#[test]
fn a_mail_is_spooled_as_it_was_sent_on_either_port() {
    let server = Server::start();
    for tls in [false, true] {
        let mut client = Client::logged_in(&server, tls);
        let content = b"Subject: dots\r\n\r\n.\r\n..\r\nend\r\n";
        let id = client.deliver(content);
        assert_eq!(server.content(&id), content);
        client.command("QUIT", 221);
        client.expect_close();
    }
    assert_eq!(server.names("new").len(), 2);
    assert!(server.names("tmp").is_empty());
}

#[test]
fn a_mail_is_one_log_line_and_the_peers_text_stays_in_its_quotes() {
    let server = Server::start();
    let mut client = Client::logged_in(&server, true);
    let id = client.deliver(
        b"X-Mms-Message-Type: MM4_forward.REQ\r\nX-Mms-Transaction-ID: \"a\" \x1b[2J peer=192.0.2.9\r\n\
          X-Mms-Message-ID: m1\r\nSubject: not for the log\r\n\r\nbody\r\n",
    );
    server.wait_for_log(&format!("mail id={id} "));
    let log = server.log();
    let line = log.lines().find(|line| line.contains(&id)).unwrap();
    for expected in [
        "system_id=peer1 peer=127.0.0.1 sender=\"<+972500000001/TYPE=PLMN@client.example>\" recipients=1 ",
        " tls=TLSv1.3 type=\"MM4_forward.REQ\"",
        "transaction_id=\"\\\"a\\\" \\u{1b}[2J peer=192.0.2.9\" message_id=\"m1\"",
    ] {
        assert!(line.contains(expected), "{expected} in {line}");
    }
    assert!(!log.contains("not for the log"));
}

#[test]
fn nothing_secret_is_logged_at_the_loudest_level() {
    let server = Builder::new().env("RUST_LOG", "trace").start();
    for tls in [false, true] {
        let mut client = Client::greeted(&server, tls);
        client.command("EHLO client.example", 250);
        client.command("AUTH PLAIN AHBlZXIxAHdyb25nLWtleQ==", 535);
        client.command(&format!("AUTH PLAIN {}", plain_response()), 235);
        client.deliver(b"very private content\r\n");
        client.command("QUIT", 221);
        client.expect_close();
    }
    wait_for("both to be gone", || {
        (server.log().matches("disconnected").count() == 2).then_some(())
    });
    let log = server.log();
    for secret in ["secret", "wrong-key", "AHBlZXIx", "very private"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[test]
fn the_connection_over_a_limit_is_told_so_and_a_place_comes_back() {
    for limit in ["--max-connections", "--max-connections-per-ip"] {
        let server = Builder::new().options([limit, "2"]).start();
        let first = Client::greeted(&server, false);
        let _second = Client::greeted(&server, true);
        let mut third = Client::plain(server.plain);
        third.expect_exactly("421 ERROR: too many connections");
        third.expect_close();
        drop(first);
        wait_for("a place", || {
            let mut client = Client::plain(server.plain);
            client.reply().starts_with("220 ").then_some(())
        });
    }
}

#[test]
fn a_silent_client_is_told_timeout() {
    let server = Builder::new().options(["--timeout", "1"]).start();
    for tls in [false, true] {
        let mut silent = Client::logged_in(&server, tls);
        let mut in_mail = Client::logged_in(&server, tls);
        in_mail.command("MAIL FROM:<>", 250);
        in_mail.command("RCPT TO:<123@test.example>", 250);
        in_mail.command("DATA", 354);
        in_mail.send(b"and then\r\n");
        for client in [&mut silent, &mut in_mail] {
            client.expect_exactly("421 ERROR: timeout");
            client.expect_close();
        }
        wait_for("tmp/ to be empty", || {
            server.names("tmp").is_empty().then_some(())
        });
    }
    assert!(server.names("new").is_empty());
}

#[test]
fn the_login_deadline_is_not_put_off_by_anything_but_a_login() {
    let server = Builder::new().options(["--login-timeout", "1"]).start();
    let mut dripping = Client::greeted(&server, false);
    let mut busy = Client::greeted(&server, true);
    busy.command("EHLO client.example", 250);
    busy.command("AUTH PLAIN AHBlZXIxAHdyb25n", 535);
    // Bytes and NOOPs, for as long as the server takes them.
    let ended = std::thread::spawn(move || {
        while dripping.try_send(b"x").is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        dripping
    });
    loop {
        busy.send(b"NOOP\r\n");
        let reply = busy.reply();
        if reply == "421 ERROR: timeout" {
            break;
        }
        assert_eq!(reply, "250 OK");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    busy.expect_close();
    assert_eq!(ended.join().unwrap().reply(), "421 ERROR: timeout");
    // A handshake that never comes is under the same deadline.
    let mut mute = Client::plain(server.tls);
    mute.read_to_end();
    // Behind a login the deadline is none.
    let mut logged_in = Client::logged_in(&server, false);
    std::thread::sleep(std::time::Duration::from_millis(1200));
    logged_in.command("NOOP", 250);
}

#[test]
fn a_client_that_never_reads_is_dropped() {
    let server = Builder::new().options(["--timeout", "1"]).start();
    let mut client = Client::logged_in(&server, false);
    let noops = b"HELP\r\n".repeat(2000);
    // Nobody reads the answers: one side's buffers are full in the end.
    while client.try_send(&noops).is_ok() {
        if server.log().contains("disconnected") {
            break;
        }
    }
    server.wait_for_log("disconnected");
}

#[test]
fn sigterm_lets_a_mail_in_progress_finish_and_sends_the_others_away() {
    let mut server = Server::start();
    let mut idle = Client::greeted(&server, false);
    let mut half = Client::logged_in(&server, true);
    half.send(b"MAIL FR");
    let mut asking = Client::greeted(&server, false);
    asking.command("EHLO client.example", 250);
    asking.command("AUTH LOGIN", 334);
    let mut sending = Client::logged_in(&server, true);
    sending.command("MAIL FROM:<>", 250);
    sending.command("RCPT TO:<123@test.example>", 250);
    sending.command("DATA", 354);
    sending.send(b"the first half\r\n");
    server.signal("TERM");
    for client in [&mut idle, &mut half, &mut asking] {
        client.expect_exactly("421 ERROR: shutting down");
        client.expect_close();
    }
    // Nobody is let in any more.
    assert!(std::net::TcpStream::connect(server.plain).is_err());
    sending.send(b"the second half\r\n.\r\nMAIL FROM:<>\r\n");
    let reply = sending.expect(250);
    sending.expect_exactly("421 ERROR: shutting down");
    sending.expect_close();
    assert_eq!(
        server.content(&support::id(&reply)),
        b"the first half\r\nthe second half\r\n"
    );
    drop((idle, half, asking, sending));
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn the_grace_ends_a_mail_that_does_not() {
    for grace in ["0", "1"] {
        let mut server = Builder::new().options(["--shutdown-grace", grace]).start();
        let mut sending = Client::logged_in(&server, false);
        sending.command("MAIL FROM:<>", 250);
        sending.command("RCPT TO:<123@test.example>", 250);
        sending.command("DATA", 354);
        sending.send(b"half\r\n");
        server.signal("INT");
        sending.expect_exactly("421 ERROR: shutting down");
        sending.expect_close();
        drop(sending);
        assert_eq!(server.wait().code(), Some(0));
        assert!(server.names("tmp").is_empty() && server.names("new").is_empty());
    }
}

#[test]
fn a_second_sigterm_ends_at_once() {
    let mut server = Builder::new().options(["--shutdown-grace", "3600"]).start();
    let mut sending = Client::logged_in(&server, false);
    sending.command("MAIL FROM:<>", 250);
    sending.command("RCPT TO:<123@test.example>", 250);
    sending.command("DATA", 354);
    server.signal("TERM");
    server.wait_for_log("stopping");
    assert!(server.is_running());
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_client_that_does_not_read_or_shake_hands_does_not_hold_up_a_shutdown() {
    // Only mails in progress have the grace.
    let mut server = Builder::new().options(["--shutdown-grace", "3600"]).start();
    let mut reads_nothing = Client::logged_in(&server, false);
    reads_nothing.socket().set_nonblocking(true).unwrap();
    while reads_nothing.try_send(&b"HELP\r\n".repeat(1000)).is_ok() {}
    let mut half_handshake = Client::plain(server.tls);
    half_handshake.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    let mut said_quit = Client::logged_in(&server, false);
    said_quit.command("QUIT", 221);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_client_that_does_not_read_is_under_the_login_deadline() {
    let server = Builder::new().options(["--login-timeout", "1"]).start();
    let mut client = Client::greeted(&server, false);
    client.socket().set_nonblocking(true).unwrap();
    while !server.log().contains("disconnected") {
        let _ = client.try_send(&b"HELP\r\n".repeat(1000));
    }
}

#[test]
fn a_log_that_nobody_reads_holds_up_neither_sessions_nor_a_shutdown() {
    let mut server = Builder::new().unread_log().start();
    for _ in 0..300 {
        let mut client = Client::greeted(&server, false);
        client.command("EHLO client.example", 250);
        client.command("AUTH PLAIN AHBlZXIxAHdyb25n", 535);
        client.command("AUTH PLAIN AHBlZXIxAHdyb25n", 535);
        client.command("AUTH PLAIN AHBlZXIxAHdyb25n", 421);
    }
    Client::logged_in(&server, true).deliver(b"x\r\n");
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
}

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
fn a_long_trace_does_not_hide_the_fields_from_the_log() {
    let server = Builder::new().options(["--max-recipients", "1000"]).start();
    let mut client = Client::logged_in(&server, false);
    client.command("MAIL FROM:<>", 250);
    for _ in 0..600 {
        client.command(&format!("RCPT TO:<123@{}.example>", "a".repeat(60)), 250);
    }
    client.command("DATA", 354);
    client.send(b"X-Mms-Message-Type: MM4_forward.RES\r\n.\r\n");
    client.expect(250);
    server.wait_for_log("recipients=600 bytes=37 tls=plain type=\"MM4_forward.RES\"");
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
    let only_second: Vec<_> = String::from_utf8(old_accounts)
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with("peer1"))
        .collect::<Vec<_>>()
        .join("\n")
        .into_bytes();
    fs::write(&accounts, only_second).unwrap();
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
    client.command(&encode(KEY_2), 235);

    // Sessions go on, logged in as they were.
    before.deliver(b"still here\r\n");
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

#[test]
fn a_listener_short_of_descriptors_recovers_when_there_are_some() {
    let server = Builder::new().options(["--max-connections", "50"]).start();
    let open: Vec<usize> = fs::read_dir(format!("/proc/{}/fd", server.pid()))
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect();
    // The limit below which just one number is free.
    let mut free = (0..).filter(|number| !open.contains(number));
    let (_first, one_more) = (free.next().unwrap(), free.next().unwrap());
    let limit = |soft: usize| {
        let process = Pid::from_raw(i32::try_from(server.pid()).unwrap());
        let limit = Rlimit {
            current: Some(soft as u64),
            // As the server has it: inherited.
            maximum: getrlimit(Resource::Nofile).maximum,
        };
        prlimit(process, Resource::Nofile, limit).is_ok()
    };
    if !limit(one_more) {
        eprintln!("SKIPPED: this process may not limit the server's descriptors");
        return;
    }
    let mut first = Client::logged_in(&server, false);
    let mut second = Client::plain(server.plain);
    server.wait_for_log("cannot accept connections");
    // A draft has no descriptor either: the mail is refused, the session lives.
    first.command("MAIL FROM:<>", 250);
    first.command("RCPT TO:<123@test.example>", 250);
    first.command("DATA", 354);
    first.send(b"x\r\n.\r\n");
    first.expect(452);
    assert!(limit(open.len() + 20));
    second.expect(220);
    first.deliver(b"x\r\n");
    server.wait_for_log("accepts connections again");
    let log = server.log();
    assert_eq!(log.matches("cannot accept connections").count(), 1, "{log}");
}

#[test]
fn a_draining_server_serves_open_sessions_and_refuses_new_ones() {
    let mut server = Builder::new().options(["--drain", "6"]).start();
    let mut open = Client::logged_in(&server, true);
    server.signal("TERM");
    server.wait_for_log("draining seconds=6 ");
    let mut refused = Client::plain(server.plain);
    refused.expect_exactly("421 ERROR: shutting down");
    refused.expect_close();
    Client::plain(server.tls).expect_close();
    let id = open.deliver(b"accepted while draining\r\n");
    assert!(server.names("new").contains(&format!("{id}.eml")));
    // After the drain time, the ordinary shutdown.
    open.expect_exactly("421 ERROR: shutting down");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_second_signal_ends_the_drain_and_the_server() {
    let mut server = Builder::new().options(["--drain", "3600"]).start();
    let _open = Client::logged_in(&server, false);
    server.signal("TERM");
    server.wait_for_log("draining seconds=3600 ");
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_refused_command_is_logged_with_its_argument_and_without_passwords() {
    let server = Server::start();
    let mut client = Client::logged_in(&server, false);
    client.command("MAIL FROM:<alice@client.example>", 553);
    client.command("MAIL FROM:<> SIZE=99999999999", 552);
    client.command("AHBlZXIxAHNlY3JldA== secret", 500);
    server.wait_for_log("system_id=\"peer1\" reply=\"553 ERROR: mailbox not allowed, use <E164-number@host>\" argument=\"FROM:<alice@client.example>\"");
    server.wait_for_log("argument=\"FROM:<> SIZE=99999999999\"");
    server.wait_for_log("reply=\"500 ERROR: unrecognized command\"\n");
    assert!(!server.log().contains("AHBlZXIx"));
    // A client that goes on is not logged for ever.
    for _ in 0..100 {
        client.command("MAIL FROM:<> SIZE=99999999999", 552);
    }
    client.command("QUIT", 221);
    client.expect_close();
    server.wait_for_log("disconnected");
    assert_eq!(server.log().matches("command refused").count(), 20);
}

#[test]
fn a_message_over_the_limit_on_file_sizes_is_answered_452() {
    // 2048 blocks of 512 bytes, or of 1024 where sh is bash.
    let limited = ["sh", "-c", "ulimit -f 2048; exec \"$0\" \"$@\""];
    let server = Builder::new().wrapper(limited).start();
    let mut client = Client::logged_in(&server, false);
    client.command("MAIL FROM:<>", 250);
    client.command("RCPT TO:<123@test.example>", 250);
    client.command("DATA", 354);
    client.send(&b"0123456789abcdef0123456789abcd\r\n".repeat(3 * 32 * 1024));
    client.send(b".\r\n");
    client.expect(452);
    client.deliver(b"small enough\r\n");
    assert_eq!(server.names("new").len(), 1);
    assert!(server.names("tmp").is_empty());
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

/// The number after `name=` in each line that contains `text`, added up.
fn sum(log: &str, text: &str, name: &str) -> usize {
    let number = |line: &str| {
        let (_, rest) = line.split_once(&format!(" {name}=")).unwrap();
        let digits = rest.find(|character: char| !character.is_ascii_digit());
        rest[..digits.unwrap_or(rest.len())]
            .parse::<usize>()
            .unwrap()
    };
    let lines = log.lines().filter(|line| line.contains(text));
    lines.map(number).sum()
}

#[test]
fn a_flood_of_failed_handshakes_is_a_few_lines_and_a_count() {
    let mut server = Builder::new().env("RUST_LOG", "info").start();
    for _ in 0..300 {
        let mut client = Client::plain(server.tls);
        client.send(b"EHLO this is not TLS\r\n");
        client.read_to_end();
    }
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    let log = server.log();
    let logged = log.matches("handshake failed peer=").count();
    assert!((1..=100).contains(&logged), "{logged} lines");
    let suppressed = sum(&log, "suppressed lines=\"handshake failed\"", "count");
    assert_eq!(logged + suppressed, 300, "{log}");
}

#[test]
fn a_password_typed_as_the_user_name_is_not_logged() {
    use base64::Engine;
    let server = Server::start();
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    for (name, shown) in [
        ("peer1", "system_id=\"peer1\""),
        ("nobody@mms.example", "system_id=\"nobody@mms.example\""),
        ("correct horse battery", "system_id=\"\" length=21"),
        ("pass:word!", "system_id=\"\" length=10"),
        (&"x".repeat(33), "system_id=\"\" length=33"),
        (
            &"x".repeat(32),
            &format!("system_id=\"{}\"", "x".repeat(32)),
        ),
    ] {
        let mut client = Client::greeted(&server, false);
        client.command("EHLO client.example", 250);
        client.command(
            &format!("AUTH PLAIN {}", encode(&format!("\0{name}\0wrong"))),
            535,
        );
        server.wait_for_log(&format!(
            "login failed peer=127.0.0.1 port={} {shown}\n",
            client.socket().local_addr().unwrap().port()
        ));
    }
    let log = server.log();
    assert_eq!(log.matches("login failed").count(), 6);
    assert!(!log.contains("horse") && !log.contains("pass:word"));
}

#[test]
fn lines_wait_for_a_slow_reader_and_those_that_do_not_fit_are_counted() {
    use std::io::Read;
    let mut server = Builder::new().env("RUST_LOG", "info").unread_log().start();
    let mut client = Client::logged_in(&server, false);
    // Each byte is six characters in the log: lines of about 3 KiB.
    let header = |name: &str| format!("{name}: {}\r\n", "\u{1}".repeat(250));
    let mail = header("X-Mms-Transaction-ID") + &header("X-Mms-Message-ID") + "\r\n\r\n";
    let mut stderr = server.stderr();
    let mut log = String::new();
    let mut read_until = |text: String, log: &mut String| {
        while !log.contains(&text) {
            let mut buffer = [0; 64 * 1024];
            let count = stderr.read(&mut buffer).unwrap();
            assert!(count > 0, "the log ended before {text}");
            log.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
    };
    // More than a pipe holds, less than the queue does: nothing is lost.
    let mut last = String::new();
    for _ in 0..200 {
        last = client.deliver(mail.as_bytes());
    }
    read_until(format!("mail id={last} "), &mut log);
    assert_eq!(log.matches("mail id=").count(), 200);
    assert!(!log.contains("dropped"), "lines were dropped");
    // More than the queue holds.
    for _ in 0..600 {
        client.deliver(mail.as_bytes());
    }
    read_until("dropped log lines".to_owned(), &mut log);
    server.signal("TERM");
    read_until("] stopped sessions=".to_owned(), &mut log);
    let dropped = sum(&log, "dropped log lines", "count");
    assert!(dropped > 0);
    assert_eq!(log.matches("mail id=").count() + dropped, 800);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_standard_error_that_takes_nothing_is_no_obstacle() {
    for redirection in ["2>/dev/full", "2>&-"] {
        let script = format!("exec \"$0\" \"$@\" {redirection}");
        let mut server = Builder::new().wrapper(["sh", "-c", &script]).start();
        Client::logged_in(&server, false).deliver(b"x\r\n");
        server.signal("TERM");
        assert_eq!(server.wait().code(), Some(0));
    }
}

#[test]
fn sigusr1_logs_a_summary() {
    let server = Server::start();
    let mut client = Client::logged_in(&server, true);
    client.deliver(b"x\r\n");
    client.command("MAIL FROM:<alice@client.example>", 553);
    server.signal("USR1");
    server.wait_for_log("] status system_id=\"peer1\" connections=1\n");
    let log = server.log();
    assert!(log.contains("] status uptime_seconds="), "{log}");
    assert!(
        log.contains(" plain=0 tls=1 connections=1 messages=1 bytes=3 free="),
        "{log}"
    );
    assert!(
        log.contains("] status refused_connections=0 failed_logins=0 553=1\n"),
        "{log}"
    );
}

#[test]
fn a_certificate_that_expires_soon_is_a_warning_at_start_and_at_reload() {
    let mut server = Server::start();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    fs::write(server.dir.path().join("server.pem"), certificate.pem()).unwrap();
    fs::write(server.dir.path().join("server.key"), key.serialize_pem()).unwrap();
    let expected = "server.pem expired at 2020-01-01T00:00:00Z";
    server.signal("HUP");
    server.wait_for_log(expected);
    server.crash_and_restart();
    wait_for("the warning at start", || {
        (server.log().matches(expected).count() == 2).then_some(())
    });
}

//! What the server logs, and what it does not.

use crate::support::{Builder, Client, Server, plain_response, wait_for};

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
fn a_log_that_nobody_reads_delays_neither_sessions_nor_a_shutdown() {
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

/// "Why was the carrier sent away?" is asked of the log, too.
#[test]
fn the_command_that_is_one_error_too_many_is_logged_with_its_argument() {
    let server = Server::start();
    let mut client = Client::logged_in(&server, false);
    for _ in 0..19 {
        client.command("MAIL FROM:<alice@client.example>", 553);
    }
    client.command("MAIL FROM:<bob@client.example>", 421);
    client.expect_close();
    server.wait_for_log("system_id=\"peer1\" reply=\"421 ERROR: too many errors\" argument=\"FROM:<bob@client.example>\"");
    assert_eq!(server.log().matches("command refused").count(), 20);
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
fn a_flood_of_refused_commands_without_a_login_is_a_few_lines_and_a_count() {
    const CLIENTS: usize = 30;
    // One less than ends the session.
    const COMMANDS: usize = 19;
    let mut server = Builder::new().env("RUST_LOG", "info").start();
    for _ in 0..CLIENTS {
        let mut client = Client::plain(server.plain);
        client.send(&b"FOO\r\n".repeat(COMMANDS));
        client.finish();
        client.read_to_end();
    }
    // Peers are logged all the same.
    Client::logged_in(&server, false).command("MAIL FROM:<alice@client.example>", 553);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    let log = server.log();
    let logged = log.matches("reply=\"500 ").count();
    assert!((1..=100).contains(&logged), "{logged} lines");
    let suppressed = sum(&log, "suppressed lines=\"command refused\"", "count");
    assert_eq!(logged + suppressed, CLIENTS * COMMANDS, "{log}");
    assert_eq!(log.matches("reply=\"553 ").count(), 1, "{log}");
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
fn a_standard_error_that_accepts_nothing_blocks_nothing() {
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

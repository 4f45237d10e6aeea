//! The server from outside: limits and clocks here, the rest in a file each.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod log;
mod shutdown;
mod start;
#[path = "../support/mod.rs"]
mod support;

use std::fs;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use support::{Builder, Client, Server, wait_for};

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
fn the_connection_over_a_limit_gets_421_and_a_slot_becomes_free() {
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
fn a_silent_client_gets_421_timeout() {
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
fn only_a_login_ends_the_login_deadline() {
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
fn a_client_that_does_not_read_is_under_the_login_deadline() {
    let server = Builder::new().options(["--login-timeout", "1"]).start();
    let mut client = Client::greeted(&server, false);
    client.socket().set_nonblocking(true).unwrap();
    while !server.log().contains("disconnected") {
        let _ = client.try_send(&b"HELP\r\n".repeat(1000));
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

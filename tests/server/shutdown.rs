//! SIGTERM: the drain, the grace, and the end.

use crate::support::{self, Builder, Client, Server};

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
fn a_client_that_does_not_read_or_shake_hands_does_not_delay_a_shutdown() {
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
fn clients_that_wait_to_be_accepted_are_sent_away_with_a_reply() {
    const HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4660 25\r\n";
    for (options, header) in [
        (&[][..], &b""[..]),
        (&["--proxy-from", "127.0.0.0/8"], HEADER),
    ] {
        for _ in 0..3 {
            let mut server = Builder::new().options(options.iter().copied()).start();
            // Signals wait, and the kernel lets clients connect.
            server.signal("STOP");
            let mut clients: Vec<_> = (0..30).map(|_| Client::plain(server.plain)).collect();
            for client in &mut clients {
                client.send(&[header, b"EHLO client.example\r\n"].concat());
            }
            server.signal("TERM");
            server.signal("CONT");
            for client in &mut clients {
                let received = client.read_to_end();
                let received = String::from_utf8_lossy(&received);
                assert!(
                    received.ends_with("421 ERROR: shutting down\r\n"),
                    "{received:?}"
                );
            }
            drop(clients);
            assert_eq!(server.wait().code(), Some(0));
        }
    }
}

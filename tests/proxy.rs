//! The PROXY protocol from outside: a client after a load balancer is who the
//! header says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod support;

use std::fs;
use std::io::Read;
use std::net::TcpStream;

use support::{ACCOUNTS, Builder, Client, Server, plain_response, wait_for};

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4660 25\r\n";

/// `signature, version and command, family, length` and `payload`.
fn version2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16).to_be_bytes();
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    [&signature[..], &[command, family], &length, payload].concat()
}

fn v6() -> Vec<u8> {
    let address = "2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap();
    version2(
        0x21,
        0x21,
        &[
            &address.octets()[..],
            &[0; 16],
            &[1, 2, 0, 25],
            &[4, 0, 1, 9],
        ]
        .concat(),
    )
}

fn server(options: &[&str]) -> Server {
    Builder::new()
        .options(["--proxy-from", "127.0.0.1/32,::1/128"])
        .options(options.iter().copied())
        .start()
}

fn logged_in(server: &Server, tls: bool, header: &[u8]) -> Client {
    let mut client = if tls {
        Client::tls_behind(header, server.tls, &server.ca)
    } else {
        let mut client = Client::plain(server.plain);
        client.send(header);
        client
    };
    client.expect(220);
    client.command("EHLO client.example", 250);
    client.command(&format!("AUTH PLAIN {}", plain_response()), 235);
    client
}

#[test]
fn the_trace_and_the_log_name_the_client_of_the_header() {
    let server = server(&[]);
    let local = version2(0x20, 0, &[]);
    for tls in [false, true] {
        for (header, peer) in [
            (V1.to_vec(), "192.0.2.7"),
            (v6(), "IPv6:2001:db8::7"),
            (local.clone(), "127.0.0.1"),
            (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        ] {
            let id = logged_in(&server, tls, &header).deliver(b"x\r\n");
            let mail = String::from_utf8(server.mail(&id)).unwrap();
            let expected = format!("Received: from client.example ([{peer}]) by ");
            assert!(mail.contains(&expected), "{mail}");
        }
    }
    server.wait_for_log("peer=192.0.2.7");
    server.wait_for_log("peer=2001:db8::7");
}

/// The server sends nothing for a moment.
fn expect_silence(client: &Client) {
    let mut socket = client.socket();
    let timeout = std::time::Duration::from_millis(300);
    socket.set_read_timeout(Some(timeout)).unwrap();
    let error = socket.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    socket.set_read_timeout(Some(support::DEADLINE)).unwrap();
}

#[test]
fn nothing_is_sent_before_the_header_is_complete() {
    let server = server(&[]);
    for header in [V1.to_vec(), v6()] {
        let mut client = Client::plain(server.plain);
        for byte in &header[..header.len() - 1] {
            client.send(&[*byte]);
        }
        expect_silence(&client);
        // What follows the header in one segment is read too.
        client.send(&[&header[header.len() - 1..], b"NOOP\r\n"].concat());
        client.expect(220);
        client.expect(250);
    }
}

/// The greeting of a server that sends clients away: it comes after the header.
fn expect_greeting(server: &Server, greeting: &str) {
    let mut client = Client::plain(server.plain);
    client.send(&V1[..V1.len() - 1]);
    expect_silence(&client);
    client.send(&V1[V1.len() - 1..]);
    client.expect_exactly(greeting);
    client.expect_close();
}

#[test]
fn a_proxy_is_sent_to_another_server_while_this_one_drains_or_has_no_space() {
    let full = server(&["--min-free", "9000000000000000000"]);
    expect_greeting(&full, "421 ERROR: spool unavailable");
    let mut tls = Client::plain(full.tls);
    tls.send(V1);
    tls.expect_close();
    let draining = server(&["--drain", "60"]);
    draining.signal("TERM");
    draining.wait_for_log("draining seconds=60 ");
    expect_greeting(&draining, "421 ERROR: shutting down");
}

/// A client that is refused after its header has sent a command already: it reads
/// the 421 and then the end, not a reset, which may overtake the reply.
fn expect_refusal(server: &Server, reply: &str) {
    for _ in 0..5 {
        let mut client = Client::plain(server.plain);
        client.send(&[V1, b"EHLO client.example\r\n"].concat());
        client.expect_exactly(reply);
        // What it sends now is read too.
        client.send(b"QUIT\r\n");
        client.finish();
        client.expect_close();
    }
}

#[test]
fn a_client_that_is_refused_after_its_header_reads_the_reply_and_no_reset() {
    let full = server(&["--min-free", "9000000000000000000"]);
    expect_refusal(&full, "421 ERROR: spool unavailable");
    let draining = server(&["--drain", "60"]);
    draining.signal("TERM");
    draining.wait_for_log("draining seconds=60 ");
    expect_refusal(&draining, "421 ERROR: shutting down");
    let busy = server(&["--max-connections-per-ip", "1"]);
    let mut first = Client::plain(busy.plain);
    first.send(V1);
    first.expect(220);
    expect_refusal(&busy, "421 ERROR: too many connections");
}

#[test]
fn a_connection_of_a_proxy_over_the_maximum_is_refused_after_its_header() {
    let server = server(&["--max-connections", "1"]);
    let mut first = Client::plain(server.plain);
    first.send(V1);
    first.expect(220);
    expect_greeting(&server, "421 ERROR: too many connections");
    expect_refusal(&server, "421 ERROR: too many connections");
    // A header that is none gets no reply here either.
    let mut wrong = Client::plain(server.plain);
    wrong.send(b"EHLO client.example\r\n");
    let mut received = Vec::new();
    let _ = wrong.socket().read_to_end(&mut received);
    assert!(received.is_empty(), "{}", received.escape_ascii());
    server.wait_for_log("proxy header failed");
}

#[test]
fn an_invalid_a_missing_or_a_late_header_ends_the_connection_without_a_reply() {
    let server = server(&["--login-timeout", "1"]);
    let lines = || server.log().matches("proxy header failed").count();
    let oversized = version2(0x21, 0x11, &vec![0; 60_000]);
    for (number, header) in [
        &b"EHLO client.example\r\n"[..],
        b"PROXY TCP4 nonsense\r\n",
        &[b'P'; 200],
        &oversized,
        // Late.
        b"PROXY TCP4",
    ]
    .into_iter()
    .enumerate()
    {
        for address in [server.plain, server.tls] {
            let mut client = Client::plain(address);
            let _ = client.try_send(header);
            let mut received = Vec::new();
            // The end may be a reset where input is left over.
            let _ = client.socket().read_to_end(&mut received);
            assert!(received.is_empty(), "{}", received.escape_ascii());
        }
        wait_for("one line each", || {
            (lines() == 2 * (number + 1)).then_some(())
        });
    }
}

#[test]
fn from_elsewhere_a_header_is_invalid_input() {
    let server = server(&[]);
    let mut client = Client::plain_from("127.0.0.2", server.plain);
    client.expect(220);
    client.send(V1);
    client.expect_exactly("500 ERROR: unrecognized command");
}

#[test]
fn a_second_header_is_invalid_input_and_changes_no_address() {
    let server = server(&[]);
    let second = b"PROXY TCP4 192.0.2.99 198.51.100.1 1 25\r\n";
    for tls in [false, true] {
        // In the same segment as the first, where TLS does not begin after it.
        let mut client = if tls {
            Client::tls_behind(V1, server.tls, &server.ca)
        } else {
            let mut client = Client::plain(server.plain);
            client.send(&[V1, &second[..]].concat());
            client
        };
        client.expect(220);
        if tls {
            client.send(second);
        }
        client.expect_exactly("500 ERROR: unrecognized command");
        client.command("EHLO client.example", 250);
        client.send(second);
        client.expect_exactly("500 ERROR: unrecognized command");
        client.command(&format!("AUTH PLAIN {}", plain_response()), 235);
        let id = client.deliver(b"x\r\n");
        let mail = String::from_utf8(server.mail(&id)).unwrap();
        assert!(mail.contains("([192.0.2.7])"), "{mail}");
        // The signature of version 2 is two empty lines, a NUL and a bare LF.
        client.send(&v6());
        for expected in [
            "500 ",
            "500 ",
            "500 ",
            "500 ERROR: lines must end with CRLF",
        ] {
            let reply = client.reply();
            assert!(reply.starts_with(expected), "{reply}");
        }
        client.expect_close();
    }
}

/// The header of TLS comes before the handshake, or it is none.
#[test]
fn a_header_from_elsewhere_is_no_handshake() {
    let server = server(&[]);
    let mut client = Client::plain_from("127.0.0.2", server.tls);
    client.send(V1);
    let mut received = Vec::new();
    let _ = client.socket().read_to_end(&mut received);
    assert!(!received.starts_with(b"220"), "{}", received.escape_ascii());
    server.wait_for_log("handshake failed peer=127.0.0.2");
    assert!(!server.log().contains("peer=192.0.2.7"));
}

#[test]
fn a_health_check_is_not_logged() {
    let server = server(&[]);
    for address in [server.plain, server.tls] {
        drop(TcpStream::connect(address).unwrap());
        let mut client = Client::plain(address);
        client.send(&version2(0x20, 0, &[]));
    }
    drop(Client::plain_from("127.0.0.2", server.tls));
    wait_for("the end of all", || {
        let log = server.log();
        (log.matches("mm4d] disconnected").count() == 5).then_some(())
    });
    let log = server.log();
    let of_clients = || log.lines().filter(|line| line.contains(" peer="));
    for text in ["WARN", "failed"] {
        assert!(
            !of_clients().any(|line| line.contains(text)),
            "{text} in {log}"
        );
    }
}

/// `check-ssl` of HAProxy: with TLS 1.3 the handshake is over for the client before it is
/// for the server.
#[test]
fn a_check_that_resets_after_its_handshake_is_not_logged() {
    let server = server(&[]);
    let checks = 3;
    for _ in 0..checks {
        let mut client = Client::plain(server.tls);
        client.send(&version2(0x20, 0, &[]));
        let socket = client.socket();
        let mut tls = support::tls_connection(&server.ca);
        while tls.is_handshaking() {
            while tls.wants_write() && tls.is_handshaking() {
                tls.write_tls(&mut &*socket).unwrap();
            }
            tls.read_tls(&mut &*socket).unwrap();
            tls.process_new_packets().unwrap();
        }
        // Its last flight is not sent.
        let socket = socket2::SockRef::from(socket);
        socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }
    wait_for("the end of all", || {
        let log = server.log();
        (log.matches("mm4d] disconnected").count() == checks).then_some(())
    });
    let log = server.log();
    assert!(!log.contains("handshake failed"), "{log}");
}

#[test]
fn limits_and_networks_count_the_client_of_the_header() {
    let builder = Builder::new()
        .options(["--proxy-from", "127.0.0.1/32"])
        .options(["--max-connections-per-ip", "2"]);
    let accounts = format!("{ACCOUNTS}inside::192.0.2.0/24\n");
    fs::write(builder.path().join("accounts"), accounts).unwrap();
    let server = builder.start();
    let connect = |host: u8| {
        let mut client = Client::plain(server.plain);
        client.send(format!("PROXY TCP4 192.0.2.{host} 198.51.100.1 1 25\r\n").as_bytes());
        client
    };
    let mut clients: Vec<_> = [7, 7, 8, 8, 9].map(connect).into();
    for client in &mut clients {
        client.expect(220);
        client.command("HELO client.example", 250);
        client.command("MAIL FROM:<>", 250);
    }
    connect(7).expect_exactly("421 ERROR: too many connections");
    clients.remove(0);
    wait_for("a slot", || {
        connect(7).reply().starts_with("220 ").then_some(())
    });
}

#[test]
fn the_networks_of_proxies_must_be_networks() {
    for networks in ["127.0.0.1", "127.0.0.1/8", "", "::1/128,x"] {
        let (code, text) = Builder::new().options(["--proxy-from", networks]).fail();
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("--proxy-from"), "{text}");
    }
}

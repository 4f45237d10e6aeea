//! One client cannot take what the others need: replies, memory, CPU for
//! logins, connections, free space.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use support::{Builder, Client, DEADLINE, Server, plain_response, wait_for};

/// What a client sends that fills reads of this size exactly: a session with a
/// message, and NOOPs and HELPs of any number.
fn session_of(size: usize) -> Vec<u8> {
    let mut sent = format!(
        "EHLO client.example\r\nAUTH PLAIN {}\r\nMAIL FROM:<>\r\nRCPT TO:<123@test.example>\r\n\
         DATA\r\nx\r\n.\r\n",
        plain_response()
    )
    .into_bytes();
    let rest = size - sent.len();
    // A line of 6 bytes at least ends what is left.
    let noops = (rest / 6).saturating_sub(1);
    sent.extend(b"NOOP\r\n".repeat(noops));
    let last = size - sent.len();
    sent.extend(format!("NOOP{}\r\n", " ".repeat(last - 6)).into_bytes());
    assert_eq!(sent.len(), size);
    sent
}

#[test]
fn a_client_that_fills_a_read_and_ends_its_input_gets_every_reply() {
    let server = Server::start();
    for tls in [false, true] {
        for size in [2048, 4096, 2 * 4096, 16_384, 65_536] {
            let sent = session_of(size);
            let commands = sent.iter().filter(|&&byte| byte == b'\n').count();
            for once_more in 0..3 {
                let mut client = Client::greeted(&server, tls);
                client.send(&sent);
                client.finish();
                let replies = String::from_utf8(client.read_to_end()).unwrap();
                // EHLO has five lines; the two lines of the message have one reply.
                let lines = replies.matches("\r\n").count();
                assert_eq!(lines, commands + 4 - 1, "{size} TLS {tls} {once_more}");
                assert!(replies.contains("250 queued as <"), "{replies}");
            }
        }
    }
}

#[test]
fn a_tls_client_that_says_close_notify_right_after_its_commands_gets_every_reply() {
    let server = Server::start();
    let mut client = Client::greeted(&server, true);
    client.send_and_close_notify(&session_of(2048));
    let replies = String::from_utf8(client.read_to_end()).unwrap();
    assert!(replies.contains("250 queued as <"), "{replies}");
    assert!(replies.ends_with("250 OK\r\n"), "{replies}");
}

/// Bytes of private memory that each of these connections costs.
fn memory_of_each(server: &Server, count: usize, mut open: impl FnMut() -> Client) -> u64 {
    let before = server.private_memory();
    let clients: Vec<_> = (0..count).map(|_| open()).collect();
    let each = server.private_memory().saturating_sub(before) / count as u64;
    drop(clients);
    each
}

/// Waits until each of these connections costs less than `limit` bytes of private
/// memory: a buffer for messages is given back after a second without one.
fn wait_for_memory_of_each(
    server: &Server,
    count: usize,
    limit: u64,
    mut open: impl FnMut() -> Client,
) {
    let before = server.private_memory();
    let clients: Vec<_> = (0..count).map(|_| open()).collect();
    let each = || server.private_memory().saturating_sub(before) / count as u64;
    wait_for(&format!("less than {limit} bytes for each"), || {
        (each() < limit).then_some(())
    });
    drop(clients);
}

#[test]
fn an_idle_connection_costs_as_much_whatever_it_did_before() {
    const CLIENTS: usize = 40;
    for tls in [false, true] {
        let (server, unused) = (Server::start(), Server::start());
        // What the first connections warm up is not what each of them costs.
        drop((0..8).map(|_| busy(&server, tls)).collect::<Vec<_>>());
        wait_for("the end of the first", || {
            let log = server.log();
            (log.matches("mm4d] disconnected").count() == 8).then_some(())
        });
        // What a stack takes depends on the compiler, so the mark is a connection that
        // has only logged in. A buffer that was kept would be 32 KiB or more.
        let quiet = memory_of_each(&unused, CLIENTS, || Client::logged_in(&unused, tls));
        let limit = quiet + 24 * 1024;
        wait_for_memory_of_each(&server, CLIENTS, limit, || busy(&server, tls));
    }
}

/// A client that has pipelined thousands of commands.
fn busy(server: &Server, tls: bool) -> Client {
    let mut client = Client::logged_in(server, tls);
    for _ in 0..4 {
        let commands = b"HELP\r\n".repeat(3000);
        client.send(&commands);
        for _ in 0..3000 {
            client.expect(214);
        }
    }
    client
}

/// Accounts whose hashes cost as much as may be.
fn dear_accounts(builder: &Builder) {
    let hash =
        "v3./v3JPoxfRdecnzCdJMfaInByOY7ggivAO1c8.mTdR/FmUjkGBfDg2hcmBfES5s.vmPvMUwiohCL9jjN4ja/";
    let line = format!("peer1:$6$rounds=100000$mm4dtests${hash}\n");
    fs::write(builder.path().join("accounts"), line).unwrap();
}

/// CPU time that the server has taken so far.
fn cpu(server: &Server) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<u64> = rest
        .split(' ')
        .skip(11)
        .take(2)
        .map(|field| field.parse().unwrap())
        .collect();
    // Clock ticks are hundredths of a second on Linux.
    Duration::from_millis(10 * (fields[0] + fields[1]))
}

const WRONG_LOGIN: &[u8] = b"AUTH PLAIN AHBlZXIxAHdyb25n\r\n";

/// What one refused login costs the server.
fn cost_of_a_refusal(server: &Server) -> Duration {
    let before = cpu(server);
    let mut client = Client::greeted(server, false);
    client.command("EHLO client.example", 250);
    client.send(WRONG_LOGIN);
    client.expect(535);
    (cpu(server) - before).max(Duration::from_millis(10))
}

/// A connection from an address of the loopback network.
fn from(address: &str, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let address: SocketAddr = format!("{address}:0").parse().unwrap();
    socket.bind(&address.into()).unwrap();
    socket.connect_timeout(&to.into(), DEADLINE).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.into()
}

#[test]
fn logins_of_clients_that_have_closed_are_not_hashed() {
    const CLIENTS: u32 = 60;
    let builder = Builder::new();
    dear_accounts(&builder);
    let server = builder.start();
    let one = cost_of_a_refusal(&server);
    let before = cpu(&server);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut socket = from("127.0.0.1", server.plain);
        let logins = [b"EHLO x\r\n", WRONG_LOGIN, WRONG_LOGIN, WRONG_LOGIN].concat();
        socket.write_all(&logins).unwrap();
        clients.push(socket);
    }
    drop(clients);
    wait_for("the last session's end", || {
        let ended = server.log().matches("mm4d] disconnected").count();
        (ended == CLIENTS as usize + 1).then_some(())
    });
    let spent = cpu(&server) - before;
    // Three logins each would be 180 times the cost of one.
    assert!(spent < one * CLIENTS / 2, "{spent:?} for {one:?} each");
}

#[test]
fn a_peer_with_many_connections_does_not_keep_others_from_logging_in() {
    let builder =
        Builder::new().options(["--login-timeout", "600", "--max-connections-per-ip", "200"]);
    dear_accounts(&builder);
    let server = builder.start();
    let mut crowd = Vec::new();
    for _ in 0..120 {
        let mut socket = from("127.0.0.2", server.plain);
        let logins = [b"EHLO x\r\n", WRONG_LOGIN, WRONG_LOGIN].concat();
        socket.write_all(&logins).unwrap();
        crowd.push(socket);
    }
    server.wait_for_log("login failed");
    let answered = || server.log().matches("login failed").count();
    let before = answered();
    let mut socket = from("127.0.0.1", server.plain);
    socket
        .write_all(&[b"EHLO x\r\n", WRONG_LOGIN].concat())
        .unwrap();
    let mut replies = Vec::new();
    while !String::from_utf8_lossy(&replies).contains("535 ") {
        let mut bytes = [0; 512];
        let count = socket.read(&mut bytes).unwrap();
        assert!(count > 0, "closed");
        replies.extend_from_slice(&bytes[..count]);
    }
    // It waits for the hashes that run and one more, not for 240.
    let passed = answered() - before;
    assert!(passed < 60, "{passed} logins went first");
    for socket in crowd {
        let _ = socket.shutdown(Shutdown::Both);
    }
}

#[test]
fn a_queued_login_is_under_the_login_deadline_and_ends_with_the_server() {
    for (timeout, reply) in [("1", "timeout"), ("600", "shutting down")] {
        let builder = Builder::new().options([
            "--login-timeout",
            timeout,
            "--max-connections-per-ip",
            "300",
        ]);
        dear_accounts(&builder);
        let mut server = builder.start();
        let mut crowd = Vec::new();
        for _ in 0..100 {
            let mut socket = from("127.0.0.1", server.plain);
            let logins = [b"EHLO x\r\n", WRONG_LOGIN, WRONG_LOGIN].concat();
            socket.write_all(&logins).unwrap();
            crowd.push(socket);
        }
        server.wait_for_log("login failed");
        if reply == "shutting down" {
            server.signal("TERM");
        }
        let expected = format!("421 ERROR: {reply}\r\n");
        for mut socket in crowd {
            let mut replies = String::new();
            socket.read_to_string(&mut replies).unwrap();
            assert!(replies.ends_with(&expected), "{replies}");
        }
        if reply == "timeout" {
            server.signal("TERM");
        }
        assert_eq!(server.wait().code(), Some(0));
    }
}

#[test]
fn silent_strangers_do_not_lock_out_a_peer_that_has_logged_in() {
    let server = Builder::new().options(["--max-connections", "20"]).start();
    Client::logged_in(&server, false).command("QUIT", 221);
    wait_for("the end of the session", || {
        server.log().contains("mm4d] disconnected").then_some(())
    });
    let banner = |socket: &mut TcpStream| {
        let mut bytes = [0; 4];
        socket.read_exact(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let mut strangers = Vec::new();
    for number in 0..30 {
        let mut stranger = from(&format!("127.0.1.{}", 1 + number % 3), server.plain);
        let expected = if number < 18 { "220 " } else { "421 " };
        assert_eq!(banner(&mut stranger), expected, "stranger {number}");
        strangers.push(stranger);
    }
    Client::logged_in(&server, false).deliver(b"x\r\n");
}

/// The free space of the file system of the tests' spools.
fn free(server: &Server) -> u64 {
    let stat = rustix::fs::statvfs(&server.spool).unwrap();
    stat.f_bavail * stat.f_frsize
}

#[test]
fn a_transaction_reserves_what_it_announces_and_not_for_ever() {
    let free = free(&Server::start());
    // Two thirds of the disk for one message: other programs do not change that.
    let max = (free / 3 * 2).to_string();
    let server = Builder::new()
        .options(["--max-message-size", &max, "--min-free", "1"])
        .options(["--login-timeout", "2"])
        .start();
    let mut holder = Client::logged_in(&server, false);
    let mut other = Client::logged_in(&server, true);
    holder.command("MAIL FROM:<>", 250);
    holder.command("RCPT TO:<123@test.example>", 250);
    other.command("MAIL FROM:<>", 452);
    // A message that says its size needs no more than that.
    for _ in 0..3 {
        other.command("MAIL FROM:<> SIZE=1000", 250);
        other.command("RSET", 250);
    }
    // NOOP does not hold a reservation.
    wait_for("the end of the reservation", || {
        holder.command("NOOP", 250);
        other.send(b"MAIL FROM:<>\r\n");
        other.reply().starts_with("250 ").then_some(())
    });
    // DATA asks for it again; the message is read to its end without room for it.
    holder.command("DATA", 354);
    holder.send(b"MAIL FROM:<>\r\n.\r\n");
    holder.expect(452);
    holder.command("MAIL FROM:<>", 452);
    other.command("RSET", 250);
    // With room it is as if nothing had happened.
    holder.command("MAIL FROM:<>", 250);
    holder.command("RCPT TO:<123@test.example>", 250);
    wait_for("the end of the reservation", || {
        holder.command("NOOP", 250);
        other.send(b"MAIL FROM:<>\r\n");
        other.reply().starts_with("250 ").then_some(())
    });
    other.command("RSET", 250);
    holder.command("DATA", 354);
    // Once DATA is accepted, the space is held.
    other.command("MAIL FROM:<>", 452);
    holder.send(b"x\r\n.\r\n");
    holder.expect(250);
    assert_eq!(server.names("new").len(), 1);
}

#[test]
fn transactions_that_never_reach_data_hold_no_space_however_often_they_begin() {
    let free = free(&Server::start());
    let max = (free / 3 * 2).to_string();
    let server = Builder::new()
        .options(["--max-message-size", &max, "--min-free", "1"])
        .options(["--login-timeout", "2"])
        .start();
    let mut holder = Client::logged_in(&server, false);
    let mut other = Client::logged_in(&server, false);
    wait_for("space for another", || {
        // Each begins before the last one has expired.
        holder.command("RSET", 250);
        holder.command("MAIL FROM:<>", 250);
        other.send(b"MAIL FROM:<>\r\n");
        other.reply().starts_with("250 ").then_some(())
    });
    for _ in 0..3 {
        other.command("RSET", 250);
        holder.command("RSET", 250);
        holder.command("MAIL FROM:<>", 250);
        other.command("MAIL FROM:<>", 250);
    }
    // A message that is accepted gives the time back.
    other.command("RSET", 250);
    holder.command("RCPT TO:<123@test.example>", 250);
    holder.command("DATA", 354);
    holder.send(b"x\r\n.\r\n");
    holder.expect(250);
    holder.command("MAIL FROM:<>", 250);
    other.command("MAIL FROM:<>", 452);
}

//! Many clients at once, good ones and bad ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use support::guard::Stop;
use support::server::THREADS_AT_REST;
use support::{Builder, Client, DEADLINE, content, id, plain_response, wait_for, wire};

#[test]
fn sigterm_under_two_hundred_busy_sessions_loses_no_acknowledged_mail() {
    const SESSIONS: usize = 200;
    /// Of all sessions together, whatever fails.
    const MAX_MAILS: usize = 50_000;
    let stop = Stop::after(MAX_MAILS);
    let mut server = Builder::new()
        .options(["--max-connections-per-ip", "300"])
        .start();
    let acknowledged = Mutex::new(BTreeMap::new());
    let refused = AtomicUsize::new(0);
    let busy_sessions = AtomicUsize::new(0);
    thread::scope(|scope| {
        let failed = stop.guard();
        for number in 0..SESSIONS {
            let (address, acknowledged, refused) = (server.plain, &acknowledged, &refused);
            let (busy_sessions, stop) = (&busy_sessions, &stop);
            scope.spawn(move || {
                let last = busy(address, number, acknowledged, busy_sessions, stop);
                assert_eq!(last, "421 ERROR: shutting down");
                refused.fetch_add(1, Ordering::Relaxed);
            });
        }
        wait_for("every session to be busy", || {
            (busy_sessions.load(Ordering::Relaxed) == SESSIONS).then_some(())
        });
        server.signal("TERM");
        // From here on the server ends the sessions.
        std::mem::forget(failed);
    });
    assert_eq!(refused.into_inner(), SESSIONS);
    assert_eq!(server.wait().code(), Some(0));
    let acknowledged = acknowledged.into_inner().unwrap();
    for (id, mail) in &acknowledged {
        assert!(server.content(id) == *mail, "{id} is not as it was sent");
    }
    // Each mail is there once, acknowledged or cut off before its reply.
    let mut contents: Vec<_> = server
        .names("new")
        .iter()
        .map(|name| content(&std::fs::read(server.spool.join("new").join(name)).unwrap()))
        .collect();
    contents.sort();
    let count = contents.len();
    contents.dedup();
    assert_eq!(contents.len(), count, "a mail is there twice");
    assert!(server.names("tmp").is_empty());
}

/// Sends mail after mail until the server answers something else, which is
/// returned, or the load is stopped.
fn busy(
    address: SocketAddr,
    number: usize,
    acknowledged: &Mutex<BTreeMap<String, Vec<u8>>>,
    busy_sessions: &AtomicUsize,
    stop: &Stop,
) -> String {
    let socket = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut replies = BufReader::new(socket.try_clone().unwrap()).lines();
    let hello = format!("EHLO busy.example\r\nAUTH PLAIN {}\r\n", plain_response());
    let mut wanted = hello.into_bytes();
    for count in 0.. {
        if !stop.one_more() {
            break;
        }
        let mail = format!("session {number} mail {count}\r\n").repeat(20);
        wanted.extend_from_slice(b"MAIL FROM:<>\r\nRCPT TO:<123@test.example>\r\nDATA\r\n");
        wanted.extend_from_slice(&wire(mail.as_bytes()));
        // The server may close while this is on its way; its last words count.
        let _ = (&socket).write_all(&wanted);
        wanted.clear();
        loop {
            let Some(Ok(line)) = replies.next() else {
                return "closed without a word".to_owned();
            };
            if line.starts_with("421 ") {
                return line;
            }
            if line.starts_with("250 queued as ") {
                acknowledged
                    .lock()
                    .unwrap()
                    .insert(id(&line), mail.into_bytes());
                if count == 1 {
                    busy_sessions.fetch_add(1, Ordering::Relaxed);
                }
                break;
            }
        }
    }
    "stopped before the server ended the session".to_owned()
}

#[test]
fn a_mail_of_ten_mebibytes_is_never_whole_in_memory() {
    let server = Builder::new().start();
    for tls in [false, true] {
        let mut client = Client::logged_in(&server, tls);
        client.deliver(b"warm\r\n");
        let at_rest = server.private_memory();
        client.command("MAIL FROM:<>", 250);
        client.command("RCPT TO:<123@test.example>", 250);
        client.command("DATA", 354);
        let mut content = b"0123456789012345678901234567890123456789012345\r\n".repeat(218_453);
        content.truncate(10_485_758);
        content.extend_from_slice(b"\r\n");
        let mut peak = 0;
        for piece in content.chunks(1 << 18) {
            client.send(piece);
            peak = peak.max(server.private_memory());
        }
        client.send(b".\r\n");
        let id = support::id(&client.expect(250));
        assert!(server.content(&id) == content);
        let growth = peak.saturating_sub(at_rest);
        assert!(growth < 1 << 20, "{growth} bytes more, TLS {tls}");
    }
}

#[test]
fn garbage_on_both_ports_leaks_no_thread_no_descriptor_and_no_memory() {
    const CLIENTS: usize = 8;
    const SESSIONS: usize = 250;
    let server = Builder::new()
        .options(["--max-connections-per-ip", "300"])
        .start();
    Client::logged_in(&server, true).deliver(b"before\r\n");
    // Sessions wait to be accepted when their clients have long gone.
    let at_rest = |sessions: usize| {
        wait_for("the last session's end", || {
            let log = server.log();
            let ended = log.matches("mm4d] disconnected").count();
            (ended == sessions && server.threads() == THREADS_AT_REST).then_some(())
        });
        (server.descriptors(), server.private_memory())
    };
    // Freed memory that the allocator keeps and cached stacks vary with the number of
    // clients at a time. A leak adds in every round, a byte for each of its sessions.
    let mut measured = vec![at_rest(1)];
    let mut ended = 1;
    loop {
        let round = measured.len();
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                let addresses = [server.plain, server.tls];
                scope.spawn(move || {
                    let mut random = Random((round * CLIENTS + client) as u64);
                    for session in 0..SESSIONS {
                        garbage(addresses[session % 2], &mut random);
                    }
                });
            }
        });
        ended += CLIENTS * SESSIONS;
        measured.push(at_rest(ended));
        let [.., before, after] = measured[..] else {
            unreachable!("two measurements at least");
        };
        if round > 1 {
            assert_eq!(before.0, after.0, "descriptors: {measured:?}");
            if after.1 < before.1 + (1 << 20) {
                break;
            }
        }
        assert!(round < 6, "memory grows in every round: {measured:?}");
    }
    assert!(!server.log().contains("panicked"));
}

/// One session of nonsense: random bytes, pieces of SMTP, pieces of TLS.
fn garbage(address: SocketAddr, random: &mut Random) {
    const PIECES: [&[u8]; 12] = [
        b"EHLO x\r\n",
        b"AUTH PLAIN ",
        b"AUTH LOGIN\r\n",
        b"MAIL FROM:<123@x>\r\n",
        b"RCPT TO:<>\r\nDATA\r\n",
        b"\r\n.\r\n",
        b"\n.\n",
        b"\0\0\0",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"NOOP\r\nRSET\r\nVRFY x\r\n",
    ];
    let Ok(mut socket) = TcpStream::connect_timeout(&address, DEADLINE) else {
        return;
    };
    let _ = socket.set_read_timeout(Some(DEADLINE));
    for _ in 0..random.below(6) {
        let piece: Vec<u8> = match random.below(3) {
            0 => (0..random.below(2000))
                .map(|_| random.below(256) as u8)
                .collect(),
            _ => PIECES[random.below(PIECES.len())].to_vec(),
        };
        if socket.write_all(&piece).is_err() {
            return;
        }
    }
    match random.below(3) {
        // Gone without a word.
        0 => {}
        // A half-closed connection, read to its end.
        _ => {
            let _ = socket.shutdown(Shutdown::Write);
            let _ = socket.read_to_end(&mut Vec::new());
        }
    }
}

/// The same sequence every time (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

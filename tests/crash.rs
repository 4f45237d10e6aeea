//! `kill -9` in the middle of load, again and again: every acknowledged mail is
//! there afterwards, byte by byte, and nothing in part.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::{fs, thread};

use support::guard::Stop;
use support::{DEADLINE, Server, content, id, plain_response, wait_for, wire};

/// How often the server is killed.
const ROUNDS: usize = 100;
/// Mails in a round, whatever fails.
const MAX_MAILS: usize = 5_000;
/// Clients that send when it happens.
const CLIENTS: usize = 4;

/// Ids of the 250s that were read, and what was sent for each.
type Acknowledged = Mutex<BTreeMap<String, Vec<u8>>>;

#[test]
fn a_hundred_kills_lose_no_acknowledged_mail_and_leave_nothing_in_part() {
    let mut server = Server::start();
    let acknowledged = Acknowledged::default();
    // Another server's draft, and a file of nobody.
    fs::write(server.spool.join("tmp/1@other.example.eml"), "x").unwrap();
    fs::write(server.spool.join("tmp/note"), "x").unwrap();
    for round in 0..ROUNDS {
        let before = acknowledged.lock().unwrap().len();
        let stop = Stop::after(MAX_MAILS);
        thread::scope(|scope| {
            let _guard = stop.guard();
            for client in 0..CLIENTS {
                let (address, acknowledged, stop) = (server.plain, &acknowledged, &stop);
                scope.spawn(move || {
                    let mut number = 0;
                    while stop.one_more() {
                        number += 1;
                        let mail = mail(round, client, number);
                        if send(address, &mail, acknowledged).is_none() {
                            break;
                        }
                    }
                });
            }
            // In some rounds early, in some late; always in the middle.
            wait_for("mails", || {
                let count = acknowledged.lock().unwrap().len() - before;
                (count > round % 7).then_some(())
            });
            server.crash();
            stop.stop();
        });
        server.start_again();
        assert_eq!(server.names("tmp"), ["1@other.example.eml", "note"]);
    }
    let acknowledged = acknowledged.into_inner().unwrap();
    for (id, mail) in &acknowledged {
        assert!(server.content(id) == *mail, "{id} is not as it was sent");
    }
    for name in server.names("new") {
        let found = fs::read(server.spool.join("new").join(&name)).unwrap();
        let found = content(&found);
        assert!(found.ends_with(b"the end\r\n"), "{name} is in part");
    }
    assert!(acknowledged.len() >= ROUNDS);
}

fn mail(round: usize, client: usize, number: usize) -> Vec<u8> {
    let line = format!("round {round} client {client} mail {number}\r\n");
    let mut mail = line.into_bytes().repeat(1 + number * 37 % 2000);
    mail.extend_from_slice(b"the end\r\n");
    mail
}

/// Sends one mail, as far as the server lives, and notes its 250.
fn send(address: SocketAddr, mail: &[u8], acknowledged: &Acknowledged) -> Option<()> {
    let mut socket = TcpStream::connect_timeout(&address, DEADLINE).ok()?;
    socket.set_read_timeout(Some(DEADLINE)).ok()?;
    let commands = format!(
        "EHLO client.example\r\nAUTH PLAIN {}\r\nMAIL FROM:<>\r\n\
         RCPT TO:<+972500000001@test.example>\r\nDATA\r\n",
        plain_response()
    );
    socket.write_all(commands.as_bytes()).ok()?;
    socket.write_all(&wire(mail)).ok()?;
    for line in BufReader::new(socket).lines() {
        let line = line.ok()?;
        if line.starts_with("250 queued as ") {
            let mut acknowledged = acknowledged.lock().unwrap();
            acknowledged.insert(id(&line), mail.to_vec());
            return Some(());
        }
    }
    None
}

//! Every dialog of `tests/dialogs/` on the session alone in every chunk size,
//! over TCP and over TLS: turn by turn, in one segment, byte by byte.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use support::dialog::{Dialog, Spooled, What};
use support::memory::{self, Memory};
use support::{Builder, Client, Server, wait_for};

/// Client's bytes up to which every chunk size is tried.
const SHORT: usize = 4096;

/// Reads the dialogue as a person would: each command, then its reply.
fn in_step(dialog: &Dialog) -> Memory {
    let mut memory = memory_of(dialog);
    let mut unread = memory.take_said();
    let mut sending = false;
    for turn in &dialog.turns {
        let fail = |what: &str| -> ! {
            panic!(
                "{}, line {}: {what}; read before: {:#?}",
                dialog.name, turn.line, memory.events
            )
        };
        match &turn.what {
            What::Send(bytes) => {
                if !sending && !unread.is_empty() {
                    fail(&format!("said too much before this: {unread:?}"));
                }
                // What goes out with the last words before a hang-up is drained.
                if !sending && memory.closed {
                    fail("the session has hung up before this");
                }
                memory.receive(bytes);
                unread.push_str(&memory.take_said());
                sending = true;
            }
            What::Expect(expected) => {
                sending = false;
                let Some((line, rest)) = unread.split_once("\r\n") else {
                    fail("nothing is said here");
                };
                if !expected.matches(line) {
                    fail(&format!("not {expected:?}: {line:?}"));
                }
                unread = rest.to_owned();
            }
            What::Close => {
                if !memory.closed {
                    fail("the session does not hang up");
                }
            }
        }
    }
    assert_eq!(unread, "", "{}: said too much in the end", dialog.name);
    check_in_memory(dialog, &memory, "step by step");
    memory
}

fn memory_of(dialog: &Dialog) -> Memory {
    let options: Vec<_> = dialog.options.iter().map(String::as_str).collect();
    Memory::with(&memory::options(&options))
}

fn check_in_memory(dialog: &Dialog, memory: &Memory, how: &str) {
    let name = &dialog.name;
    assert_eq!(memory.closed, dialog.closes(), "{name}, {how}: the close");
    let spooled: Vec<_> = memory
        .mails
        .iter()
        .map(|mail| {
            let forward_paths = mail.envelope.forward_paths.iter().map(ToString::to_string);
            let mut paths = vec![mail.envelope.reverse_path.to_string()];
            paths.extend(forward_paths);
            Spooled {
                paths,
                content: mail.content.clone(),
            }
        })
        .collect();
    check_spooled(dialog, &spooled, how);
}

fn check_spooled(dialog: &Dialog, spooled: &[Spooled], how: &str) {
    let name = &dialog.name;
    assert_eq!(spooled.len(), dialog.mails.len(), "{name}, {how}: mails");
    for (number, (found, expected)) in spooled.iter().zip(&dialog.mails).enumerate() {
        let number = number + 1;
        assert_eq!(found.paths, expected.paths, "{name}, {how}: mail {number}");
        assert!(
            found.content == expected.content,
            "{name}, {how}: mail {number} is not as expected but\n{}",
            found.content.escape_ascii()
        );
    }
}

#[test]
fn a_dialog_goes_as_written_step_by_step() {
    for dialog in Dialog::all() {
        in_step(&dialog);
    }
}

#[test]
fn no_chunking_changes_a_dialog() {
    for dialog in Dialog::all() {
        let sent = dialog.sent();
        let events = in_step(&dialog).events;
        for size in sizes(sent.len()) {
            let mut memory = memory_of(&dialog);
            memory.receive_by(&sent, size);
            if let Err(why) = dialog.compare(&memory.said) {
                panic!(
                    "{}, bytes by {size}: {why}; the transcript:\n{}",
                    dialog.name,
                    String::from_utf8_lossy(&memory.said)
                );
            }
            check_in_memory(&dialog, &memory, &format!("bytes by {size}"));
            assert_eq!(memory.events, events, "{}, by {size}", dialog.name);
        }
    }
}

/// Every chunk size of a short dialog; of a long one those around the limits of
/// a line and of a read, where an error would hide.
fn sizes(length: usize) -> Vec<usize> {
    if length <= SHORT {
        return (1..=length.max(1)).collect();
    }
    let around = [128, 1024, 4096, 12_288, 16_384, 32_768, length];
    let mut sizes: BTreeSet<usize> = (2..=16).collect();
    for size in around {
        sizes.extend(size - 3..=size + 3);
    }
    sizes.into_iter().filter(|&size| size <= length).collect()
}

#[test]
fn a_dialog_goes_as_written_over_tcp() {
    over_the_wire(Wire::Tcp);
}

#[test]
fn a_dialog_goes_as_written_over_tls_1_2() {
    over_the_wire(Wire::Tls(&TLS12));
}

#[test]
fn a_dialog_goes_as_written_over_tls_1_3() {
    over_the_wire(Wire::Tls(&TLS13));
}

/// How the client's bytes get to the server.
#[derive(Clone, Copy, Debug)]
enum Wire {
    Tcp,
    Tls(&'static SupportedProtocolVersion),
}

/// One server for each set of options, shared by the files that ask for it.
fn over_the_wire(wire: Wire) {
    let mut servers: BTreeMap<Vec<String>, Server> = BTreeMap::new();
    let mut taken: BTreeMap<Vec<String>, BTreeSet<String>> = BTreeMap::new();
    for dialog in Dialog::all() {
        let options = &dialog.options;
        let server = servers.entry(options.clone()).or_insert_with(|| {
            let options = options.iter().map(String::as_str);
            Builder::new().options(options).start()
        });
        let taken = taken.entry(options.clone()).or_default();
        let mut runs = vec![
            (turn_by_turn(&dialog, server, wire), "turn by turn"),
            (
                in_pieces(&dialog, server, wire, usize::MAX),
                "in one segment",
            ),
        ];
        if dialog.sent().len() <= SHORT {
            runs.push((in_pieces(&dialog, server, wire, 1), "byte by byte"));
        }
        for (said, how) in runs {
            let how = format!("{how}, {wire:?}");
            let ids = dialog.compare(&said).unwrap_or_else(|why| {
                panic!(
                    "{}, {how}: {why}; the transcript:\n{}",
                    dialog.name,
                    String::from_utf8_lossy(&said)
                )
            });
            let spooled: Vec<_> = ids.iter().map(|id| spooled(server, id)).collect();
            check_spooled(&dialog, &spooled, &how);
            taken.extend(ids);
        }
        let in_spool: BTreeSet<String> = server
            .names("new")
            .iter()
            .map(|name| name.strip_suffix(".eml").unwrap().to_owned())
            .collect();
        assert_eq!(&in_spool, taken, "{}: files without a 250", dialog.name);
        wait_for(&format!("an empty tmp/ after {}", dialog.name), || {
            server.names("tmp").is_empty().then_some(())
        });
    }
}

fn connect(server: &Server, wire: Wire) -> Client {
    match wire {
        Wire::Tcp => Client::plain(server.plain),
        Wire::Tls(version) => Client::tls_of(&[version], server.tls, &server.ca),
    }
}

/// Waits for each line that the file tells to wait for. What the client sends
/// without a line of the server between goes out in one segment.
fn turn_by_turn(dialog: &Dialog, server: &Server, wire: Wire) -> Vec<u8> {
    let mut client = connect(server, wire);
    let mut said = Vec::new();
    let mut unsent = Vec::new();
    for turn in &dialog.turns {
        match &turn.what {
            What::Send(bytes) => unsent.extend_from_slice(bytes),
            What::Expect(expected) => {
                if !unsent.is_empty() {
                    client.send(&std::mem::take(&mut unsent));
                }
                let line = client.line().unwrap_or_default();
                assert!(
                    expected.matches(&line),
                    "{}, line {}: not {expected:?}: {line:?}; the transcript:\n{}",
                    dialog.name,
                    turn.line,
                    String::from_utf8_lossy(&said)
                );
                said.extend_from_slice(line.as_bytes());
                said.extend_from_slice(b"\r\n");
            }
            What::Close => client.expect_close(),
        }
    }
    if !unsent.is_empty() {
        client.send(&unsent);
    }
    if !dialog.closes() {
        client.finish();
    }
    said.extend(client.read_to_end());
    said
}

/// Sends everything in pieces of `size`, and reads only then.
fn in_pieces(dialog: &Dialog, server: &Server, wire: Wire, size: usize) -> Vec<u8> {
    let mut client = connect(server, wire);
    for piece in dialog.sent().chunks(size) {
        client.send(piece);
    }
    // One that hangs up by itself must not need the client's end for it.
    if !dialog.closes() {
        client.finish();
    }
    client.read_to_end()
}

fn spooled(server: &Server, id: &str) -> Spooled {
    let mail = server.mail(id);
    let text = String::from_utf8_lossy(&mail);
    let paths = text
        .lines()
        .take_while(|line| !line.starts_with("X-MM4-System-ID: "))
        .map(|line| line.split_once(": ").unwrap().1.to_owned())
        .collect();
    Spooled {
        paths,
        content: server.content(id),
    }
}

#[test]
fn there_are_forty_dialogs_at_least() {
    let dialogs = Dialog::all();
    assert!(dialogs.len() >= 40, "only {} dialogs", dialogs.len());
    for dialog in &dialogs {
        let name = dialog.name.strip_suffix(".txt").unwrap();
        let is_right = name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        assert!(is_right, "{name:?} is not a name like data_dot_stuffing");
    }
}

/// Replies that no dialog can bring about, and the tests that do.
const SHOWN_ELSEWHERE: [&str; 6] = [
    // networks.rs: an_explicit_login_replaces_the_account_of_the_network
    "AUTH_IN_TRANSACTION_503",
    // server.rs: sigterm_lets_a_mail_in_progress_finish_and_sends_the_others_away
    "SHUTTING_DOWN_421",
    // server.rs: a_silent_client_gets_421_timeout
    "TIMEOUT_421",
    // server.rs: the_connection_over_a_limit_gets_421_and_a_slot_becomes_free
    "TOO_MANY_CONNECTIONS_421",
    // faults.rs: the_wire_says_250_for_a_whole_durable_file_and_452_otherwise
    "SPOOL_FAILED_452",
    // real_faults.rs: new_moved_away_refuses_mail_until_it_is_back_or_another_one_is_there
    "SPOOL_UNAVAILABLE_421",
];

#[test]
fn every_reply_of_the_catalogue_is_seen_in_a_dialog() {
    let mut seen = String::new();
    for dialog in Dialog::all() {
        let mut memory = memory_of(&dialog);
        memory.receive(&dialog.sent());
        seen.push_str(&memory.take_said());
    }
    let catalogue = catalogue();
    assert!(catalogue.len() > 40, "read too few: {catalogue:?}");
    for name in SHOWN_ELSEWHERE {
        assert!(catalogue.contains_key(name), "{name} is no reply any more");
    }
    let missing: Vec<_> = catalogue
        .iter()
        .filter(|(name, text)| {
            let line = format!("{text}\r\n");
            !SHOWN_ELSEWHERE.contains(&name.as_str())
                && !seen.split_inclusive("\r\n").any(|said| said == line)
        })
        .collect();
    assert!(missing.is_empty(), "no dialog shows {missing:?}");
}

/// The names and texts of the replies that never vary, read from their source.
fn catalogue() -> BTreeMap<String, String> {
    let source = include_str!("../src/smtp/reply.rs");
    let (_, source) = source.split_once("\nreplies! {\n").unwrap();
    let (source, _) = source.split_once("\n}\n").unwrap();
    source
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("///"))
        .map(|line| {
            let (name, text) = line.split_once(" = \"").unwrap();
            let text = text.strip_suffix("\";").unwrap();
            (name.to_owned(), text.to_owned())
        })
        .collect()
}

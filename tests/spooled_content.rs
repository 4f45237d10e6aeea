//! The files of the spool, over TCP and TLS: the trace, then the client's bytes
//! and nothing else; drafts while a mail comes; nothing of a mail that does not
//! come to its end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use support::memory::is_id;
use support::{Builder, Client, Server, id, plain_response, wait_for, wire};

/// The default of --max-message-size.
const MAXIMUM: usize = 10_485_760;

const BOTH: [bool; 2] = [false, true];

#[test]
fn content_of_any_shape_is_spooled_byte_by_byte() {
    let server = Server::start();
    let every_byte: Vec<u8> = (0..=255)
        .filter(|byte| !b"\r\n".contains(byte))
        .chain(*b"\r\n")
        .collect();
    let shapes: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("an empty line", b"\r\n".to_vec()),
        ("a hundred empty lines", b"\r\n".repeat(100)),
        ("one dot", b".\r\n".to_vec()),
        ("dots alone", b".\r\n..\r\n...\r\n....\r\n".to_vec()),
        ("dots at the ends of lines", b"a.\r\n.a\r\n.a.\r\n".to_vec()),
        ("four thousand lines of a dot", b".\r\n".repeat(4000)),
        (
            "a line of dots",
            [b".".repeat(70_000), b"\r\n".to_vec()].concat(),
        ),
        ("every byte", every_byte.clone()),
        ("every byte many times", every_byte.repeat(700)),
        ("NUL alone", b"\0\r\n\0\0\r\n".to_vec()),
        (
            "a line of NUL",
            [vec![0; 40_000], b"\r\n".to_vec()].concat(),
        ),
        (
            "UTF-8",
            "Subject: sésame ouvre toi ☎\r\n\r\n→\r\n"
                .as_bytes()
                .to_vec(),
        ),
        ("a header without its empty line", REPORT.to_vec()),
        (
            "an empty line, then text",
            b"\r\nX-Mms-Message-Type: none\r\n".to_vec(),
        ),
        (
            "no header",
            b"no field\r\n: neither\r\n \tnor this\r\n".to_vec(),
        ),
        ("a line of 1 MiB", line(1 << 20)),
        // The pieces of a read and of the draft's buffer, and one more and less.
        ("32 KiB less one", line((32 << 10) - 1)),
        ("32 KiB", line(32 << 10)),
        ("32 KiB and one", line((32 << 10) + 1)),
        ("lines over many reads", lines(300_000)),
    ];
    for tls in BOTH {
        let mut client = Client::logged_in(&server, tls);
        for (what, content) in &shapes {
            let id = client.deliver(content);
            is_spooled(&server, &id, content, what);
        }
    }
    assert_eq!(server.names("new").len(), 2 * shapes.len());
}

/// A report as gateways send it, the dot right after the last field.
const REPORT: &[u8] = b"X-Mms-Message-Type: MM4_delivery_report.REQ\r\n\
    X-Mms-Transaction-ID: T-0001\r\n\
    X-Mms-3GPP-MMS-Version: 6.3.0\r\n\
    X-Mms-Message-ID: kyuoj0sgre1p96\r\n\
    To: +972500000001/TYPE=PLMN\r\n\
    From: +972500000003/TYPE=PLMN\r\n\
    X-Mms-MM-Status-Code: Retrieved\r\n";

/// One line of that many bytes, its CRLF included.
fn line(bytes: usize) -> Vec<u8> {
    let letters = (b'a'..=b'z').cycle().take(bytes - 2);
    letters.chain(*b"\r\n").collect()
}

/// Lines of many lengths, some with a dot in front.
fn lines(bytes: usize) -> Vec<u8> {
    let mut content = Vec::new();
    for number in 0.. {
        if content.len() >= bytes {
            break;
        }
        if number % 7 == 0 {
            content.push(b'.');
        }
        content.extend(line(2 + number * 31 % 997));
    }
    content
}

fn is_spooled(server: &Server, id: &str, content: &[u8], what: &str) {
    let found = server.content(id);
    let differ = found.iter().zip(content).position(|(a, b)| a != b);
    assert!(
        found == content,
        "{what}: {} bytes for {}, the first that differs is {differ:?}",
        found.len(),
        content.len()
    );
}

#[test]
fn a_message_of_the_maximum_is_accepted_and_one_byte_more_is_not() {
    let server = Server::start();
    let most = line(MAXIMUM);
    let over = line(MAXIMUM + 1);
    let mut dots = b".\r\n".repeat((MAXIMUM - 4) / 3);
    dots.extend(*b"..\r\n");
    assert_eq!(dots.len(), MAXIMUM);
    for tls in BOTH {
        let mut client = Client::logged_in(&server, tls);
        begin(&mut client);
        client.send(&wire(&over));
        client.expect_exactly("552 ERROR: message exceeds the maximum size");
        assert_eq!(server.names("tmp"), [""; 0]);
        let id = client.deliver(&most);
        is_spooled(&server, &id, &most, "the maximum in one line");
    }
    // Stuffing does not count.
    let id = Client::logged_in(&server, false).deliver(&dots);
    is_spooled(&server, &id, &dots, "the maximum in dots");
    assert_eq!(server.names("new").len(), 3);
}

#[test]
fn the_sample_messages_are_spooled_byte_by_byte() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/messages");
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let server = Server::start();
    let mut client = Client::logged_in(&server, true);
    for entry in entries {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "eml") {
            continue;
        }
        let content = with_crlf(&fs::read(&path).unwrap());
        let id = client.deliver(&content);
        is_spooled(&server, &id, &content, &path.display().to_string());
    }
}

/// A file as it goes over the wire, whatever ends its lines here.
fn with_crlf(text: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        content.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        content.extend_from_slice(b"\r\n");
    }
    content
}

/// A transaction up to its 354.
fn begin(client: &mut Client) {
    client.command("MAIL FROM:<+972500000001/TYPE=PLMN@mms.example.net>", 250);
    client.command("RCPT TO:<+972500000002/TYPE=PLMN@test.example>", 250);
    client.command("DATA", 354);
}

#[test]
fn the_trace_has_the_envelope_the_login_and_the_protocol() {
    let server = Server::start();
    for (tls, hello, from, to, protocol) in [
        (
            false,
            "EHLO mms.example.net",
            "<+972500000001/TYPE=PLMN@mms.example.net>",
            &["<+972500000002/TYPE=PLMN@test.example>"][..],
            "ESMTPA",
        ),
        (
            true,
            "EHLO [192.0.2.7]",
            "<>",
            // In order, duplicates and the client's case kept.
            &[
                "<+972500000003/TYPE=PLMN@test.example>",
                "<PostMaster>",
                "<+972500000002/type=plmn@Test.Example>",
                "<+972500000003/TYPE=PLMN@test.example>",
            ],
            "ESMTPSA",
        ),
        // AUTH is an extension: who has logged in uses ESMTP (RFC 3848).
        (
            false,
            "HELO Old_Host",
            "<system-user@mms.example.net>",
            &["<postmaster@test.example>"],
            "ESMTPA",
        ),
    ] {
        let mut client = Client::greeted(&server, tls);
        client.command(hello, 250);
        client.command(&format!("AUTH PLAIN {}", plain_response()), 235);
        client.command(&format!("MAIL FROM:{from}"), 250);
        for to in to {
            client.command(&format!("RCPT TO:{to}"), 250);
        }
        client.command("DATA", 354);
        client.send(b"text\r\n.\r\n");
        let id = id(&client.expect(250));
        let mail = String::from_utf8(server.mail(&id)).unwrap();
        let envelope: String = to
            .iter()
            .map(|to| format!("X-Envelope-To: {to}\r\n"))
            .collect();
        let name = hello.split_once(' ').unwrap().1;
        let expected = format!(
            "Return-Path: {from}\r\n{envelope}X-MM4-System-ID: peer1\r\n\
             Received: from {name} ([127.0.0.1]) by test.example (mm4d) with {protocol}\r\n  \
             id {id}; "
        );
        let date = mail
            .strip_prefix(&expected)
            .and_then(|rest| rest.strip_suffix("\r\ntext\r\n"))
            .unwrap_or_else(|| panic!("{mail}\nis not\n{expected}"));
        assert!(is_date_of(date, &id), "{date} is not the date of {id}");
    }
}

#[test]
fn the_trace_names_an_ipv6_client_by_its_literal() {
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("skipped: no IPv6 on this machine");
        return;
    }
    // The server of every test listens on 127.0.0.1; this one does not.
    let script = "server=$0; for word; do shift; \
        [ \"$word\" = 127.0.0.1:0 ] && word=[::1]:0; set -- \"$@\" \"$word\"; done; \
        exec \"$server\" \"$@\"";
    let server = Builder::new().wrapper(["sh", "-c", script]).start();
    for (tls, protocol) in [(false, "ESMTPA"), (true, "ESMTPSA")] {
        let id = Client::logged_in(&server, tls).deliver(b"text\r\n");
        let mail = String::from_utf8(server.mail(&id)).unwrap();
        let received = format!(
            "\r\nReceived: from client.example ([IPv6:::1]) by test.example (mm4d) \
             with {protocol}\r\n  id {id}; "
        );
        assert!(
            mail.contains(&received),
            "{mail}\ndoes not hold\n{received}"
        );
        assert_eq!(server.content(&id), b"text\r\n");
    }
}

/// Whether `date` is `Sun, 01 Nov 2026 03:05:09 +0000` for the time in `id`.
fn is_date_of(date: &str, id: &str) -> bool {
    let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let month: usize = id[4..6].parse().unwrap();
    let month = &months[3 * month - 3..3 * month];
    let (day_name, rest) = date.split_at(3);
    let time = &id[9..15];
    rest == format!(
        ", {} {month} {} {}:{}:{} +0000",
        &id[6..8],
        &id[..4],
        &time[..2],
        &time[2..4],
        &time[4..]
    ) && ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].contains(&day_name)
}

#[test]
fn ids_have_their_form_and_increase_as_text() {
    let server = Server::start();
    let mut ids = Vec::new();
    for tls in BOTH {
        let mut clients: Vec<_> = (0..3).map(|_| Client::logged_in(&server, tls)).collect();
        for _ in 0..5 {
            ids.extend(clients.iter_mut().map(|client| client.deliver(b"x\r\n")));
        }
    }
    for id in &ids {
        assert!(is_id(id), "{id}");
        let process = id.split('-').nth(1).unwrap();
        assert_eq!(process, server.pid().to_string(), "{id}");
    }
    assert!(ids.is_sorted_by(|one, next| one < next), "{ids:#?}");
    // The order of the 354, not of the 250, is the order of the ids.
    let (mut first, mut second) = (
        Client::logged_in(&server, false),
        Client::logged_in(&server, true),
    );
    begin(&mut first);
    begin(&mut second);
    second.send(b".\r\n");
    let second = id(&second.expect(250));
    first.send(b".\r\n");
    let first = id(&first.expect(250));
    assert!(first < second, "{first} {second}");
}

#[test]
fn modes_are_0640_and_0750_less_the_umask() {
    for (umask, directory_mode, file_mode) in [
        ("000", 0o750, 0o640),
        ("022", 0o750, 0o640),
        ("077", 0o700, 0o600),
    ] {
        let script = format!("umask {umask}; exec \"$0\" \"$@\"");
        let server = Builder::new().wrapper(["sh", "-c", &script]).start();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        for name in ["", "tmp", "new", "cur"] {
            let mode = mode(&server.spool.join(name));
            assert_eq!(mode, directory_mode, "{name}/ with {umask}: {mode:o}");
        }
        let mut client = Client::logged_in(&server, false);
        begin(&mut client);
        let draft = server.names("tmp").remove(0);
        let draft_mode = mode(&server.spool.join("tmp").join(&draft));
        assert_eq!(
            draft_mode, file_mode,
            "a draft with {umask}: {draft_mode:o}"
        );
        client.send(b".\r\n");
        client.expect(250);
        let mail_mode = mode(&server.spool.join("new").join(&draft));
        assert_eq!(mail_mode, file_mode, "a mail with {umask}: {mail_mode:o}");
    }
}

#[test]
fn a_draft_is_in_tmp_from_the_354_on_and_its_name_is_that_of_the_mail() {
    let server = Server::start();
    for (number, tls) in BOTH.into_iter().enumerate() {
        let mut client = Client::logged_in(&server, tls);
        client.command("MAIL FROM:<>", 250);
        client.command("RCPT TO:<Postmaster>", 250);
        assert_eq!(server.names("tmp"), [""; 0], "before DATA");
        client.command("DATA", 354);
        let drafts = server.names("tmp");
        assert_eq!(drafts.len(), 1, "{drafts:?}");
        assert_eq!(server.names("new").len(), number);
        client.send(b"text\r\n");
        client.send(b".\r\n");
        let id = id(&client.expect(250));
        assert_eq!(drafts, [format!("{id}.eml")]);
        assert_eq!(server.names("tmp"), [""; 0], "behind the 250");
        assert!(server.names("new").contains(&drafts[0]));
        assert_eq!(server.names("cur"), [""; 0]);
    }
}

#[test]
fn a_draft_is_removed_when_its_message_is_not_completed() {
    let server = Builder::new()
        .options(["--max-message-size", "1000"])
        .start();
    let is_gone = |what: &str| {
        wait_for(&format!("the end of the draft, {what}"), || {
            server.names("tmp").is_empty().then_some(())
        });
        assert_eq!(server.names("new"), [""; 0], "{what}");
    };
    for tls in BOTH {
        let drafted = || {
            let mut client = Client::logged_in(&server, tls);
            begin(&mut client);
            assert_eq!(server.names("tmp").len(), 1);
            client
        };
        let mut client = drafted();
        client.send(b"text\r\n");
        drop(client);
        is_gone("the client has gone");

        let mut client = drafted();
        client.send(b"text\r\n.\r");
        client.finish();
        client.expect_close();
        is_gone("the client has closed its side before the last byte");

        let mut client = drafted();
        client.send(b"text\nmore\r\n");
        is_gone("condemned, its end still to come");
        client.send(b".\r\n");
        client.expect(554);
        client.expect_close();
        is_gone("condemned");

        let mut client = drafted();
        client.send(&line(1001));
        is_gone("over the maximum, its end still to come");
        client.send(b".\r\n");
        client.expect(552);
        is_gone("over the maximum");
        client.command("NOOP", 250);
    }
}

#[test]
fn a_close_anywhere_before_the_end_leaves_nothing() {
    let server = Server::start();
    let login = format!(
        "EHLO mms.example.net\r\nAUTH PLAIN {}\r\n",
        plain_response()
    );
    let mail = "MAIL FROM:<>\r\nRCPT TO:<Postmaster>\r\nDATA\r\nSubject: x\r\n\r\n..\r\n.\r\n";
    let whole = format!("{login}{mail}");
    for tls in BOTH {
        for at in login.len()..whole.len() {
            let mut client = Client::greeted(&server, tls);
            client.send(&whole.as_bytes()[..at]);
            client.finish();
            client.read_to_end();
            wait_for("an empty tmp/", || {
                server.names("tmp").is_empty().then_some(())
            });
            assert_eq!(server.names("new"), [""; 0], "closed after {at} bytes");
        }
    }
    let mut client = Client::greeted(&server, false);
    client.send(whole.as_bytes());
    client.finish();
    client.read_to_end();
    assert_eq!(server.names("new").len(), 1, "closed behind the end");
}

#[test]
fn a_start_removes_its_own_leftovers_in_tmp_and_nothing_else() {
    let builder = Builder::new();
    let spool = builder.path().join("spool");
    let kept = [
        // Another server's, another case, another ending, no draft at all.
        "20260101T000000.000000Z-1-000001@other.example.eml",
        "20260101T000000.000000Z-1-000001@TEST.example.eml",
        "20260101T000000.000000Z-1-000001@test.example",
        "20260101T000000.000000Z-1-000001@test.example.eml.bak",
        "20260101T000000.000000Z-1-000001@xtest.example.eml",
        "test.example.eml",
        "1700000000.M1P1.host",
    ];
    let own = "20260101T000000.000000Z-1-000001@test.example.eml";
    for folder in ["tmp", "new", "cur"] {
        fs::create_dir_all(spool.join(folder)).unwrap();
        for name in kept.iter().chain([&own]) {
            fs::write(spool.join(folder).join(name), folder).unwrap();
        }
    }
    let server = builder.start();
    let mut expected: Vec<_> = kept.map(str::to_owned).into();
    expected.sort();
    assert_eq!(server.names("tmp"), expected);
    expected.push(own.to_owned());
    expected.sort();
    for folder in ["new", "cur"] {
        assert_eq!(server.names(folder), expected, "{folder}");
        for name in &expected {
            let text = fs::read_to_string(spool.join(folder).join(name)).unwrap();
            assert_eq!(text, folder, "{name}");
        }
    }
}

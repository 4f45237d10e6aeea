//! A second mail smuggled inside the first, over TCP and TLS: whatever is in the
//! place of the end of data, the spool holds no mail that the first client's
//! server did not mean to send.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod support;

use support::smuggling::{Fate, VARIANTS, fate, first_mail};
use support::{Client, Server, id, wait_for};

#[test]
fn no_false_end_of_data_lets_a_second_mail_in_over_tcp() {
    smuggle(false);
}

#[test]
fn no_false_end_of_data_lets_a_second_mail_in_over_tls() {
    smuggle(true);
}

fn smuggle(tls: bool) {
    let server = Server::start();
    let mut spooled = 0;
    for variant in VARIANTS {
        let mail = first_mail(variant);
        let begins = b"Subject: first\r\n\r\nfirst".len();
        // In one piece, and cut before, inside and after the false end.
        for cut in [0].into_iter().chain(begins..=begins + variant.len()) {
            let mut client = behind_354(&server, tls);
            client.send(&mail[..cut]);
            client.send(&mail[cut..]);
            spooled += check(&server, &mut client, variant, &mail);
            let shown = variant.escape_ascii();
            assert_eq!(server.names("new").len(), spooled, "{shown} cut at {cut}");
        }
    }
    wait_for("an empty tmp/", || {
        server.names("tmp").is_empty().then_some(())
    });
    // A smuggled mail would have named this sender.
    for name in server.names("new") {
        let mail = server.mail(name.strip_suffix(".eml").unwrap());
        let is_first = mail.starts_with(b"Return-Path: <+972500000001/TYPE=PLMN@");
        assert!(is_first, "{}", mail.escape_ascii());
    }
}

fn behind_354(server: &Server, tls: bool) -> Client {
    let mut client = Client::logged_in(server, tls);
    client.command("MAIL FROM:<+972500000001/TYPE=PLMN@mms.example.net>", 250);
    client.command("RCPT TO:<+972500000002/TYPE=PLMN@test.example>", 250);
    client.command("DATA", 354);
    client
}

/// What comes back, and how many mails it has left in the spool.
fn check(server: &Server, client: &mut Client, variant: &[u8], mail: &[u8]) -> usize {
    match fate(mail) {
        Fate::Condemned => {
            client.expect_exactly("554 ERROR: lines must end with CRLF");
            client.expect_close();
            0
        }
        Fate::Mail(content, length) if length == mail.len() => {
            let id = id(&client.expect(250));
            assert!(
                server.content(&id) == content,
                "{} is not plain content",
                variant.escape_ascii()
            );
            client.command("QUIT", 221);
            client.expect_close();
            1
        }
        other => panic!("{} has the fate {other:?}", variant.escape_ascii()),
    }
}

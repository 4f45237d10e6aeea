//! The server from outside: TCP and TLS, the spool, signals.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod support;

use support::{Client, Server};

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
fn sigterm_ends_an_idle_server_at_once() {
    let mut server = Server::start();
    let mut client = Client::greeted(&server, false);
    server.signal("TERM");
    client.expect_exactly("421 ERROR: shutting down");
    client.expect_close();
    drop(client);
    assert_eq!(server.wait().code(), Some(0));
}

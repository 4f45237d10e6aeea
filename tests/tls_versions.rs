//! TLS is 1.2 and 1.3, and nothing older (RFC 8996). What the two say inside is
//! for the dialogs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod support;

use support::{Client, Server};

/// A ClientHello of `version`, in which nothing else is too old.
fn hello(version: [u8; 2]) -> Vec<u8> {
    // TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 and what came before it.
    const SUITES: [u8; 10] = [0, 8, 0xc0, 0x2b, 0xc0, 0x14, 0xc0, 0x13, 0x00, 0x2f];
    // x25519 and secp256r1; uncompressed; ecdsa and rsa with SHA-256.
    const EXTENSIONS: [u8; 28] = [
        0, 26, 0, 10, 0, 6, 0, 4, 0, 0x1d, 0, 0x17, 0, 11, 0, 2, 1, 0, 0, 13, 0, 6, 0, 4, 4, 3, 4,
        1,
    ];
    let mut body = version.to_vec();
    body.extend([7; 32]); // random
    body.push(0); // no session
    body.extend(SUITES);
    body.extend([1, 0]); // no compression
    body.extend(EXTENSIONS);
    let mut handshake = vec![1, 0, 0, body.len() as u8];
    handshake.extend(body);
    let mut record = vec![22, 3, 1, 0, handshake.len() as u8];
    record.extend(handshake);
    record
}

#[test]
fn a_client_of_tls_1_1_or_older_is_refused_with_an_alert() {
    let server = Server::start();
    for version in [[3, 0], [3, 1], [3, 2]] {
        let mut client = Client::plain(server.tls);
        client.send(&hello(version));
        let said = client.read_to_end();
        // RFC 8446 6.2: a fatal alert, protocol_version.
        assert_eq!(said[0], 21, "{version:?}: {said:?}");
        assert_eq!(said[5..], [2, 70], "{version:?}: {said:?}");
    }
    // The same hello with 1.2 in it is answered by a ServerHello.
    let mut client = Client::plain(server.tls);
    client.send(&hello([3, 3]));
    client.finish();
    let said = client.read_to_end();
    assert_eq!((said[0], said[5]), (22, 2), "{said:?}");
}

#[test]
fn plain_smtp_on_the_tls_port_gets_no_smtp_reply() {
    let server = Server::start();
    let mut client = Client::plain(server.tls);
    client.send(b"EHLO mms.example.net\r\n");
    let said = client.read_to_end();
    assert!(said.is_empty() || said[0] == 21, "{said:?}");
    Client::logged_in(&server, true).deliver(b"text\r\n");
}

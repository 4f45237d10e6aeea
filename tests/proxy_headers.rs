//! PROXY headers as load balancers send them, and what is near them: broken, cut,
//! extended, with a wrong checksum. What must hold is in `fuzz/proxy.rs`;
//! `scripts/fuzz.sh` looks for more.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

#[path = "fuzz/proxy.rs"]
mod fuzz;

use std::fs;
use std::path::Path;

use mm4d::server::proxy::Header;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use fuzz::{Answer, FIXED, SIGNATURE, checksum, judge, proxy};

/// A header of the corpus, by its file's name.
fn sample(name: &str) -> Vec<u8> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/proxy");
    fs::read(corpus.join(name)).unwrap()
}

/// What the file holds, which ends with its header.
fn expect(name: &str, expected: &str) {
    let header = sample(name);
    let found = match judge(&header) {
        Answer::Header(header, length) => {
            assert_eq!(length, sample(name).len(), "{name}");
            match header {
                Header::Client(address) => address.to_string(),
                Header::Socket => "socket".to_owned(),
            }
        }
        Answer::Error(error) => error.to_string(),
        Answer::Incomplete => "incomplete".to_owned(),
    };
    assert_eq!(found, expected, "{name}");
    proxy(&header);
    proxy(&[&header, &b"EHLO client.example\r\n"[..]].concat());
    // Each length of the usual ones.
    for length in (0..header.len()).step_by(1 + header.len() / 512) {
        proxy(&header[..length]);
    }
}

#[test]
fn headers_of_haproxy_nginx_and_aws_name_the_client() {
    for (name, expected) in [
        ("haproxy-v1-tcp4", "127.0.0.1:40001"),
        ("haproxy-v1-tcp6", "[::1]:40002"),
        ("haproxy-v1-unix", "socket"),
        ("haproxy-v2-inet", "127.0.0.1:40003"),
        ("haproxy-v2-inet6", "[::1]:40004"),
        ("haproxy-v2-check-local", "socket"),
        ("haproxy-v2-ssl", "127.0.0.1:40005"),
        ("haproxy-v2-ssl-cn", "127.0.0.1:40006"),
        ("haproxy-v2-crc32c-unique-id", "127.0.0.1:40007"),
        ("haproxy-v2-unix", "socket"),
        ("nginx-v1-tcp4", "127.0.0.1:40008"),
        ("nginx-v1-unix", "socket"),
        ("aws-nlb-v2-vpce-crc32c", "172.31.7.113:51442"),
        ("v1-unknown-any-bytes", "socket"),
        ("v1-longest", "socket"),
        ("v1-port-zero", "192.0.2.1:0"),
        ("v2-local-with-fields", "socket"),
        ("v2-unspecified", "socket"),
        ("v2-longest", "192.0.2.1:4660"),
        ("v2-ipv4-mapped", "192.0.2.1:4660"),
    ] {
        expect(name, expected);
    }
}

#[test]
fn what_is_near_a_header_is_an_error() {
    const MALFORMED: &str = "malformed PROXY header";
    for (name, expected) in [
        ("bad-v1-leading-zero-address", MALFORMED),
        ("bad-v1-leading-zero-port", MALFORMED),
        ("bad-v1-two-spaces", MALFORMED),
        ("bad-v1-too-long", "PROXY header too long"),
        ("bad-v2-crc32c", "wrong checksum in the PROXY header"),
        ("bad-v2-crc32c-short", MALFORMED),
        ("bad-v2-field-length", MALFORMED),
        ("bad-v2-65535", "PROXY header too long"),
        ("bad-v2-version-1", MALFORMED),
        ("bad-smtp", "no PROXY header"),
    ] {
        expect(name, expected);
    }
}

/// A checksum is over all other bytes. Only another type hides it, which is byte 28 here.
#[test]
fn one_wrong_bit_in_a_header_with_a_checksum_is_found() {
    let good = sample("aws-nlb-v2-vpce-crc32c");
    for at in (0..good.len()).filter(|&at| at != 28) {
        for bit in 0..8 {
            let mut header = good.clone();
            header[at] ^= 1 << bit;
            proxy(&header);
            let accepted = matches!(judge(&header), Answer::Header(Header::Client(_), _));
            assert!(!accepted, "byte {at}, bit {bit}");
        }
    }
}

#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index),
    Cut(Index),
}

impl Change {
    fn any() -> impl Strategy<Value = Change> {
        let tokens = [
            "\r\n", " ", "0", "65536", "::", "PROXY ", "UNKNOWN", "TCP6", "\0",
        ];
        let token = select(tokens.to_vec()).prop_map(|token| token.as_bytes().to_vec());
        prop_oneof![
            (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
            (any::<Index>(), token).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
            any::<Index>().prop_map(Change::Remove),
            any::<Index>().prop_map(Change::Cut),
        ]
    }

    fn apply(self, wire: &mut Vec<u8>) {
        let length = wire.len() + 1;
        match self {
            Change::Set(at, byte) => {
                if let Some(place) = wire.get_mut(at.index(length)) {
                    *place = byte;
                }
            }
            Change::Insert(at, bytes) => {
                let at = at.index(length);
                wire.splice(at..at, bytes);
            }
            Change::Remove(at) => {
                if let Some(at) = at.index(length).checked_sub(1) {
                    wire.remove(at);
                }
            }
            Change::Cut(at) => wire.truncate(at.index(length)),
        }
    }
}

/// Version 2 with fields; a CRC32C among them is correct.
fn version2() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![3 => any::<u8>(), 1 => Just(3)];
    let field = (kind, vec(any::<u8>(), 0..40));
    let start = (
        select(&[0x20, 0x21][..]),
        select(&[0x00, 0x11, 0x21, 0x31][..]),
    );
    (start, vec(any::<u8>(), 216), vec(field, 0..6)).prop_map(
        |((command, family), bytes, fields)| {
            let length = [0, 12, 36, 216][usize::from(family >> 4)];
            let mut payload = bytes[..length].to_vec();
            let mut sum = None;
            for (kind, value) in fields {
                // At most one checksum (2.2.3).
                let kind = if kind == 3 && sum.is_some() { 4 } else { kind };
                let value = if kind == 3 { vec![0; 4] } else { value };
                payload.extend_from_slice(&[kind, 0, value.len() as u8]);
                if kind == 3 {
                    sum = Some(FIXED + payload.len());
                }
                payload.extend_from_slice(&value);
            }
            let length = (payload.len() as u16).to_be_bytes();
            let mut header = [SIGNATURE, &[command, family], &length, &payload].concat();
            if let Some(at) = sum {
                let sum = checksum(&header, at).to_be_bytes();
                header[at..at + 4].copy_from_slice(&sum);
            }
            header
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_header_of_version_2_is_read_to_its_end(header in version2()) {
        proxy(&header);
        let whole = matches!(judge(&header), Answer::Header(_, length) if length == header.len());
        prop_assert!(whole);
    }

    #[test]
    fn a_changed_header_is_read_as_the_specification_says(
        start in prop_oneof![
            version2(),
            Just(b"PROXY TCP4 192.0.2.1 198.51.100.1 4660 25\r\n".to_vec()),
            Just(b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.2 0 65535\r\n".to_vec()),
            Just(b"PROXY UNKNOWN \r \n\r\n".to_vec()),
        ],
        changes in vec(Change::any(), 1..4),
    ) {
        let mut wire = start;
        for change in changes {
            change.apply(&mut wire);
        }
        proxy(&wire);
    }

    #[test]
    fn any_bytes_are_read_as_the_specification_says(
        start in select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 ", SIGNATURE]),
        bytes: Vec<u8>,
    ) {
        proxy(&[start, &bytes].concat());
    }
}

//! Any bytes against the reader of PROXY headers: each promise that is checked below
//! holds, or this panics. The fuzzer, `tests/corpus.rs` and `tests/proxy_headers.rs` run it.
//!
//! The answer is the same however the bytes arrive, no byte after the header is read, and
//! both are what [`judge`] says, which reads `proxy-protocol.txt` in the plainest way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]
#![allow(dead_code, reason = "each test uses its part")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use mm4d::server::proxy::{Header, HeaderError, HeaderReader, MAX_HEADER, MAX_LINE};

pub const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes before the addresses of version 2.
pub const FIXED: usize = 16;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A header, and its number of bytes.
    Header(Header, usize),
    Error(HeaderError),
    /// There may be a header when more arrives.
    Incomplete,
}

/// The first bytes of a connection in one piece, byte by byte, and in pieces of other sizes.
pub fn proxy(input: &[u8]) {
    let expected = judge(input);
    for size in [usize::MAX, 1, 2, 7, 15, 16, 17, 100, 1 + input.len() / 2] {
        let found = read(input, size);
        assert_eq!(
            found, expected,
            "left: in pieces of {size}, right: expected"
        );
    }
}

/// Reads a connection whose bytes arrive in pieces of `size`.
fn read(wire: &[u8], size: usize) -> Answer {
    let mut reader = HeaderReader::default();
    let (mut at, mut arrived) = (0_usize, 0);
    loop {
        let wanted = reader.wanted();
        assert!(wanted > 0, "nothing is wanted, and there is no answer");
        if at == arrived {
            arrived = at.saturating_add(size).min(wire.len());
        }
        let count = wanted.min(arrived - at);
        if count == 0 {
            return Answer::Incomplete;
        }
        let result = reader.push(&wire[at..at + count]);
        at += count;
        assert!(at <= MAX_HEADER, "{at} bytes are read");
        match result {
            Ok(None) => {}
            Ok(Some(header)) => return Answer::Header(header, at),
            Err(error) => return Answer::Error(error),
        }
    }
}

/// What `wire` begins with, by the specification.
pub fn judge(wire: &[u8]) -> Answer {
    let agrees = |start: &[u8]| wire.iter().zip(start).all(|(a, b)| a == b);
    if wire.is_empty() {
        Answer::Incomplete
    } else if agrees(b"PROXY ") {
        judge_line(wire)
    } else if agrees(SIGNATURE) {
        judge_binary(wire)
    } else {
        Answer::Error(HeaderError::Missing)
    }
}

/// Version 1. The shortest line is `PROXY UNKNOWN`; what is shorter is waited for.
fn judge_line(wire: &[u8]) -> Answer {
    const SHORTEST: usize = 15;
    let line = &wire[..wire.len().min(MAX_LINE)];
    let end = (SHORTEST..=line.len()).find(|&end| &line[end - 2..end] == b"\r\n");
    let Some(end) = end else {
        return match line.len() == MAX_LINE {
            true => Answer::Error(HeaderError::TooLong),
            false => Answer::Incomplete,
        };
    };
    let fields: Vec<&[u8]> = line[..end - 2].split(|&byte| byte == b' ').collect();
    let header = match fields[1] {
        b"UNKNOWN" => Some(Header::Socket),
        b"TCP4" => client(&fields, |text| Some(plain_v4(text)?.into())),
        b"TCP6" => client(&fields, |text| Some(text.parse::<Ipv6Addr>().ok()?.into())),
        _ => None,
    };
    header.map_or(Answer::Error(HeaderError::Malformed), |header| {
        Answer::Header(header, end)
    })
}

fn client(fields: &[&[u8]], address: impl Fn(&str) -> Option<IpAddr>) -> Option<Header> {
    let fields: Vec<&str> = fields
        .iter()
        .map(|field| std::str::from_utf8(field).ok())
        .collect::<Option<_>>()?;
    let [_, _, source, destination, from, to] = fields[..] else {
        return None;
    };
    address(destination)?;
    plain_number(to, 65_535)?;
    let port = u16::try_from(plain_number(from, 65_535)?).unwrap();
    let source = canonical(address(source)?);
    Some(Header::Client(SocketAddr::new(source, port)))
}

fn plain_v4(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u8> = text
        .split('.')
        .map(|part| Some(u8::try_from(plain_number(part, 255)?).unwrap()))
        .collect::<Option<_>>()?;
    Some(<[u8; 4]>::try_from(parts).ok()?.into())
}

/// Digits, without a zero before others.
fn plain_number(text: &str, max: u32) -> Option<u32> {
    let digits = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = digits && (text == "0" || !text.starts_with('0'));
    let number = plain.then(|| text.parse::<u32>().unwrap())?;
    (number <= max).then_some(number)
}

/// An IPv4 address that is written as an IPv6 one is that IPv4 address.
fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) if v6.octets()[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF] => {
            let [.., a, b, c, d] = v6.octets();
            Ipv4Addr::new(a, b, c, d).into()
        }
        other => other,
    }
}

/// Version 2.
fn judge_binary(wire: &[u8]) -> Answer {
    if wire.len() < FIXED {
        return Answer::Incomplete;
    }
    let length = FIXED + usize::from(wire[14]) * 256 + usize::from(wire[15]);
    if length > MAX_HEADER {
        return Answer::Error(HeaderError::TooLong);
    }
    let Some(header) = wire.get(..length) else {
        return Answer::Incomplete;
    };
    let addresses = match (header[12], header[13]) {
        (0x20, _) | (0x21, 0) => return Answer::Header(Header::Socket, length),
        (0x21, 0x11 | 0x12) => 12,
        (0x21, 0x21 | 0x22) => 36,
        (0x21, 0x31 | 0x32) => 216,
        _ => return Answer::Error(HeaderError::Malformed),
    };
    let mut at = FIXED + addresses;
    if at > length {
        return Answer::Error(HeaderError::Malformed);
    }
    while at < length {
        let Some(&[kind, high, low]) = header.get(at..at + 3) else {
            return Answer::Error(HeaderError::Malformed);
        };
        let value = at + 3..at + 3 + usize::from(high) * 256 + usize::from(low);
        if value.end > length || (kind == 3 && value.len() != 4) {
            return Answer::Error(HeaderError::Malformed);
        }
        if kind == 3 && header[value.clone()] != checksum(header, value.start).to_be_bytes() {
            return Answer::Error(HeaderError::Checksum);
        }
        at = value.end;
    }
    let port = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let source = match addresses {
        12 => {
            let address: [u8; 4] = header[16..20].try_into().unwrap();
            Some(SocketAddr::new(address.into(), port(24)))
        }
        36 => {
            let address: [u8; 16] = header[16..32].try_into().unwrap();
            Some(SocketAddr::new(canonical(address.into()), port(48)))
        }
        _ => None,
    };
    Answer::Header(source.map_or(Header::Socket, Header::Client), length)
}

/// The CRC32C of a header whose checksum is at `field`: the remainder of a division of
/// polynomials, the bits of each byte from the lowest to the highest.
pub fn checksum(header: &[u8], field: usize) -> u32 {
    const POLYNOMIAL: u32 = 0x1EDC_6F41;
    let mut remainder = u32::MAX;
    for (at, &byte) in header.iter().enumerate() {
        let byte = if (field..field + 4).contains(&at) {
            0
        } else {
            byte
        };
        remainder ^= u32::from(byte.reverse_bits()) << 24;
        for _ in 0..8 {
            let carry = remainder >> 31;
            remainder = (remainder << 1) ^ (carry * POLYNOMIAL);
        }
    }
    !remainder.reverse_bits()
}

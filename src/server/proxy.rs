//! The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`): who
//! the client of a trusted load balancer is.
//!
//! The header is read exactly to its end, since TLS may follow. It is at most
//! 107 bytes long in version 1 and [`MAX_HEADER`] in version 2. What is not a
//! header to the letter is an error and ends the connection. A CRC32C is checked
//! if there is one, which `ppp` and its like do not do.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::stream::{Clock, Received, Stream};
use crate::log;

/// Bytes of a header of version 1 with its CRLF (section 2.1).
pub const MAX_LINE: usize = 107;
/// Bytes of the shortest header of version 1, `PROXY UNKNOWN` and CRLF.
const MIN_LINE: usize = 15;
/// Bytes of a header of version 2, additional fields included: load balancers
/// send a few hundred at most.
pub const MAX_HEADER: usize = 4096;
/// Bytes before the addresses of version 2.
const FIXED: usize = 16;
/// What version 2 begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes read at once.
const READ: usize = 256;

/// Reads the header that a connection of `peer` begins with, and nothing after it, or
/// gives the reason why there is none, which is logged unless nothing was sent: a health
/// check only connects. A shutdown leaves time for a header that is on its way.
pub(crate) fn read(
    stream: &mut Stream,
    peer: SocketAddr,
    mut clock: Clock<'_>,
) -> Result<Header, Cow<'static, str>> {
    let mut reader = HeaderReader::default();
    let mut buffer = vec![0; READ];
    let mut shutting_down = false;
    let why: Cow<'static, str> = loop {
        let size = reader.wanted().min(buffer.len());
        let room = buffer.get_mut(..size).unwrap_or_default();
        match stream.read_raw(room, clock) {
            Ok(Received::Bytes(count)) => {
                match reader.push(buffer.get(..count).unwrap_or_default()) {
                    Ok(Some(header)) => return Ok(header),
                    Ok(None) => {}
                    Err(error) => break error.to_string().into(),
                }
            }
            Ok(Received::Stop) => {
                shutting_down = true;
                clock.shorten();
            }
            Ok(Received::Deadline) if shutting_down => return Err("shutting down".into()),
            Ok(Received::End) if reader.is_empty() => return Err("client closed".into()),
            Err(error) if reader.is_empty() => return Err(error.to_string().into()),
            Ok(Received::End) => break "closed inside the header".into(),
            Ok(Received::Deadline) => break "no PROXY header in time".into(),
            Err(error) => break error.to_string().into(),
        }
    };
    log::proxy_header_failed(peer, &why);
    Err(why)
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The client's address.
    Client(SocketAddr),
    /// Nothing about a client: the socket's own address counts.
    Socket,
}

/// Why a connection has no valid header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// It begins as no header does.
    Missing,
    /// It is no header to the letter.
    Malformed,
    /// It is longer than any that is read.
    TooLong,
    /// Its CRC32C is wrong.
    Checksum,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HeaderError::Missing => "no PROXY header",
            HeaderError::Malformed => "malformed PROXY header",
            HeaderError::TooLong => "PROXY header too long",
            HeaderError::Checksum => "wrong checksum in the PROXY header",
        })
    }
}

impl std::error::Error for HeaderError {}

/// Collects the bytes of a header.
#[derive(Debug, Default)]
pub struct HeaderReader {
    bytes: Vec<u8>,
}

impl HeaderReader {
    /// How many bytes may be read at most, so that none after the header is.
    pub fn wanted(&self) -> usize {
        let have = self.bytes.len();
        match self.bytes.first() {
            None => 1,
            Some(b'P') => MIN_LINE.saturating_sub(have).max(1),
            Some(_) => self.length().unwrap_or(FIXED).saturating_sub(have),
        }
    }

    /// Whether no byte has been read yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes the next bytes, at most as many as wanted; gives the header once it
    /// is complete.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
        self.bytes.extend_from_slice(bytes);
        let read = self.bytes.as_slice();
        if begins(read, b"PROXY ") {
            if read.ends_with(b"\r\n") && read.len() >= MIN_LINE {
                return parse_line(read).map(Some);
            }
            return match read.len() < MAX_LINE {
                true => Ok(None),
                false => Err(HeaderError::TooLong),
            };
        }
        if !begins(read, SIGNATURE) {
            return Err(HeaderError::Missing);
        }
        match self.length() {
            Some(length) if length > MAX_HEADER => Err(HeaderError::TooLong),
            Some(length) if length == read.len() => parse_binary(read).map(Some),
            _ => Ok(None),
        }
    }

    /// Bytes of the whole header of version 2, once that is known.
    fn length(&self) -> Option<usize> {
        let length = self.bytes.get(FIXED - 2..FIXED)?;
        let length: [u8; 2] = length.try_into().ok()?;
        Some(FIXED + usize::from(u16::from_be_bytes(length)))
    }
}

/// Whether `read` begins with `prefix`, as far as it goes.
fn begins(read: &[u8], prefix: &[u8]) -> bool {
    read.iter().zip(prefix).all(|(a, b)| a == b)
}

/// `PROXY TCP4 SOURCE DESTINATION PORT PORT` (section 2.1).
fn parse_line(line: &[u8]) -> Result<Header, HeaderError> {
    let malformed = HeaderError::Malformed;
    let line = line.strip_suffix(b"\r\n").ok_or(malformed)?;
    let rest = line.strip_prefix(b"PROXY ").ok_or(malformed)?;
    if rest == b"UNKNOWN" || rest.starts_with(b"UNKNOWN ") {
        // Any bytes that follow are ignored.
        return Ok(Header::Socket);
    }
    let rest = std::str::from_utf8(rest).map_err(|_| malformed)?;
    let fields: Vec<_> = rest.split(' ').collect();
    let [family, source, destination, from, to] = fields.as_slice() else {
        return Err(malformed);
    };
    let address = |text: &str| -> Option<IpAddr> {
        match *family {
            "TCP4" => Some(text.parse::<Ipv4Addr>().ok()?.into()),
            "TCP6" => Some(text.parse::<Ipv6Addr>().ok()?.into()),
            _ => None,
        }
    };
    let port = |text: &str| -> Option<u16> {
        // No zero in front, which std rejects in addresses.
        let plain = text == "0" || !text.starts_with(['0', '+']);
        plain.then(|| text.parse().ok()).flatten()
    };
    address(destination).and(port(to)).ok_or(malformed)?;
    let source = address(source).ok_or(malformed)?.to_canonical();
    let port = port(from).ok_or(malformed)?;
    Ok(Header::Client(SocketAddr::new(source, port)))
}

/// Section 2.2.
fn parse_binary(header: &[u8]) -> Result<Header, HeaderError> {
    let malformed = HeaderError::Malformed;
    let (command, family) = match header.get(SIGNATURE.len()..FIXED) {
        Some([command, family, _, _]) => (*command, *family),
        _ => return Err(malformed),
    };
    match command {
        // LOCAL: the rest is to be skipped.
        0x20 => return Ok(Header::Socket),
        0x21 => {}
        _ => return Err(malformed),
    }
    let length = match family {
        // Unspecified: neither addresses nor fields can be told apart.
        0x00 => return Ok(Header::Socket),
        // Over TCP or UDP; for SMTP the difference does not matter.
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ => return Err(malformed),
    };
    let payload = header.get(FIXED..).unwrap_or_default();
    let (addresses, fields) = payload.split_at_checked(length).ok_or(malformed)?;
    check_fields(header, fields)?;
    let source = match family & 0xF0 {
        0x10 => addresses
            .first_chunk::<4>()
            .map(|bytes| IpAddr::from(*bytes))
            .zip(addresses.get(8..10)),
        0x20 => addresses
            .first_chunk::<16>()
            .map(|bytes| IpAddr::from(*bytes).to_canonical())
            .zip(addresses.get(32..34)),
        _ => return Ok(Header::Socket),
    };
    let Some((address, [high, low])) = source else {
        return Err(malformed);
    };
    let port = u16::from_be_bytes([*high, *low]);
    Ok(Header::Client(SocketAddr::new(address, port)))
}

/// The additional fields: a type, two bytes of length, the value.
fn check_fields(header: &[u8], mut fields: &[u8]) -> Result<(), HeaderError> {
    const CRC32C: u8 = 0x03;
    while let [kind, high, low, rest @ ..] = fields {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, rest) = rest
            .split_at_checked(length)
            .ok_or(HeaderError::Malformed)?;
        if *kind == CRC32C {
            let sum: [u8; 4] = value.try_into().map_err(|_| HeaderError::Malformed)?;
            // The sum is over the header with zeros in its place (2.2.3).
            let at = header.len() - rest.len() - length;
            let bytes = header.iter().enumerate().map(|(index, &byte)| {
                let in_sum = (at..at + length).contains(&index);
                if in_sum { 0 } else { byte }
            });
            if crc32c(bytes) != u32::from_be_bytes(sum) {
                return Err(HeaderError::Checksum);
            }
        }
        fields = rest;
    }
    match fields {
        [] => Ok(()),
        _ => Err(HeaderError::Malformed),
    }
}

/// RFC 4960 appendix B. A header is short and rare: a table is not worth it.
fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    !bytes.fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            (sum >> 1) ^ (0x82F6_3B78 & 0_u32.wrapping_sub(sum & 1))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a header in pieces of `size`, with text after it that must stay.
    fn read(header: &[u8], size: usize) -> Result<Header, HeaderError> {
        let wire = [header, b"EHLO x\r\n"].concat();
        let mut reader = HeaderReader::default();
        let mut at = 0;
        loop {
            let count = reader.wanted().min(size);
            assert!(count > 0 && at + count <= wire.len(), "wants too much");
            let found = reader.push(&wire[at..at + count])?;
            at += count;
            if let Some(found) = found {
                assert_eq!(at, header.len(), "not the whole header");
                return Ok(found);
            }
        }
    }

    fn version2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u16).to_be_bytes();
        [SIGNATURE, &[command, family], &length, payload].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x34, 0, 25];

    /// [`V4`] with a CRC32C, a NOOP and a field of an unknown type.
    fn with_checksum() -> Vec<u8> {
        let fields: &[u8] = &[4, 0, 2, 9, 9, 3, 0, 4, 0, 0, 0, 0, 0xEA, 0, 0];
        let mut header = version2(0x21, 0x11, &[&V4, fields].concat());
        let sum = crc32c(header.iter().copied()).to_be_bytes();
        header[FIXED + 20..FIXED + 24].copy_from_slice(&sum);
        header
    }

    #[test]
    fn every_form_of_header_is_read_to_its_end_in_pieces_of_any_size() {
        let v4 = Header::Client("192.0.2.1:4660".parse().unwrap());
        let v6 = Header::Client("[2001:db8::1]:4660".parse().unwrap());
        let six: Vec<u8> = [
            &"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets()[..],
            &[0; 16],
            &[0x12, 0x34, 0, 25],
        ]
        .concat();
        for (header, expected) in [
            (
                b"PROXY TCP4 192.0.2.1 198.51.100.1 4660 25\r\n".to_vec(),
                v4,
            ),
            (b"PROXY TCP6 2001:db8::1 ::1 4660 25\r\n".to_vec(), v6),
            (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 4660 25\r\n".to_vec(), v4),
            (b"PROXY UNKNOWN\r\n".to_vec(), Header::Socket),
            (
                b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
                Header::Socket,
            ),
            (version2(0x21, 0x11, &V4), v4),
            (version2(0x21, 0x21, &six), v6),
            (version2(0x21, 0x31, &[0; 216]), Header::Socket),
            (version2(0x21, 0x00, &[]), Header::Socket),
            (version2(0x20, 0x00, &[]), Header::Socket),
            (version2(0x20, 0x11, &V4), Header::Socket),
            (with_checksum(), v4),
        ] {
            for size in 1..=header.len() {
                assert_eq!(read(&header, size), Ok(expected), "{header:?} by {size}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_an_error() {
        let mut wrong_sum = with_checksum();
        wrong_sum[FIXED] ^= 1;
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
        for (header, expected) in [
            (b"EHLO x\r\n".to_vec(), HeaderError::Missing),
            (b"PROXX TCP4".to_vec(), HeaderError::Missing),
            (b"\r\n\r\n\0\r\nQUIX\n".to_vec(), HeaderError::Missing),
            (
                b"PROXY TCP4 192.0.2.1 198.51.100.1 4660\r\n".to_vec(),
                HeaderError::Malformed,
            ),
            (
                b"PROXY TCP4 192.0.2.1 198.51.100.1 +1 25\r\n".to_vec(),
                HeaderError::Malformed,
            ),
            (
                b"PROXY TCP4 192.0.2.1 198.51.100.1 65536 25\r\n".to_vec(),
                HeaderError::Malformed,
            ),
            (
                b"PROXY TCP4 ::1 198.51.100.1 1 25\r\n".to_vec(),
                HeaderError::Malformed,
            ),
            (
                b"PROXY TCP5 192.0.2.1 198.51.100.1 1 25\r\n".to_vec(),
                HeaderError::Malformed,
            ),
            (
                b"PROXY TCP4  192.0.2.1 198.51.100.1 1 25\r\n".to_vec(),
                HeaderError::Malformed,
            ),
            (long.into_bytes(), HeaderError::TooLong),
            (version2(0x11, 0x11, &V4), HeaderError::Malformed),
            (version2(0x22, 0x11, &V4), HeaderError::Malformed),
            (version2(0x21, 0x41, &V4), HeaderError::Malformed),
            (version2(0x21, 0x11, &V4[..11]), HeaderError::Malformed),
            (version2(0x21, 0x21, &V4), HeaderError::Malformed),
            (
                version2(0x21, 0x11, &[&V4[..], &[4, 0]].concat()),
                HeaderError::Malformed,
            ),
            (
                version2(0x21, 0x11, &[&V4[..], &[4, 0, 9, 0]].concat()),
                HeaderError::Malformed,
            ),
            (
                version2(0x21, 0x11, &vec![0; MAX_HEADER]),
                HeaderError::TooLong,
            ),
            (wrong_sum, HeaderError::Checksum),
        ] {
            for size in [1, 7, 5000] {
                assert_eq!(read(&header, size), Err(expected), "{header:?} by {size}");
            }
        }
    }

    #[test]
    fn the_longest_line_is_107_bytes() {
        let line = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
        assert_eq!(line.len(), MAX_LINE);
        assert_eq!(read(line.as_bytes(), 1), Ok(Header::Socket));
    }

    #[test]
    fn the_checksum_is_crc32c() {
        // The check value of CRC-32/ISCSI.
        assert_eq!(crc32c(b"123456789".iter().copied()), 0xE306_9283);
    }
}

//! The trace: the header lines that the server writes above the client's bytes
//! (RFC 5321 4.4, RFC 3848), written and parsed.
//!
//! ```text
//! Return-Path: <MAIL FROM path>
//! X-Envelope-To: <RCPT TO path>            one line per RCPT, in order
//! X-MM4-System-ID: the authenticated system id
//! Received: from EHLO-NAME ([PEER-IP]) by NAME (mm4d) with ESMTPA|ESMTPSA
//!   id ID; RFC 5322 date
//! ```
//!
//! A client may write the same fields into its message: only those at the very
//! beginning of a file are the trace, and they end with the line of the id.

use std::fmt::Write;
use std::net::IpAddr;

use jiff::Timestamp;

use super::id::MessageId;
use crate::mm4;
use crate::smtp::mailbox;
use crate::smtp::{Envelope, SystemId};

/// Where a message was received from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client's address.
    pub peer: IpAddr,
    /// Whether it was received over TLS.
    pub tls: bool,
}

impl Origin {
    /// The address as RFC 5321 4.1.3 writes it: `[192.0.2.1]`, `[IPv6:::1]`.
    pub(crate) fn address_literal(self) -> String {
        let tag = if self.peer.is_ipv6() { IPV6 } else { "" };
        format!("[{tag}{}]", self.peer)
    }

    /// `ESMTPSA` over TLS, else `ESMTPA` (RFC 3848: A for the login, S for TLS).
    pub fn protocol(self) -> &'static str {
        if self.tls { "ESMTPSA" } else { "ESMTPA" }
    }
}

/// The tag of an IPv6 address (RFC 5321 4.1.3).
const IPV6: &str = "IPv6:";

/// What the trace above a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Who sent it, and to whom.
    pub envelope: Envelope,
    /// Where it was received from.
    pub origin: Origin,
    /// The name of the server that received it.
    pub server: String,
    /// Its id.
    pub id: MessageId,
    /// When DATA was accepted, to the second.
    pub date: Timestamp,
}

/// The trace of one message, its lines ended by CRLF.
pub(crate) fn write(envelope: &Envelope, origin: Origin, id: &MessageId) -> String {
    let mut text = String::with_capacity(512);
    // Writing to a String cannot fail.
    let _ = write!(text, "Return-Path: {}\r\n", envelope.reverse_path);
    for forward_path in &envelope.forward_paths {
        let _ = write!(text, "X-Envelope-To: {forward_path}\r\n");
    }
    let _ = write!(text, "X-MM4-System-ID: {}\r\n", envelope.system_id);
    let _ = write!(
        text,
        "Received: from {} ({}) by {} (mm4d) with {}\r\n  id {id}; {}\r\n",
        envelope.hello,
        origin.address_literal(),
        id.server(),
        origin.protocol(),
        mm4::date::rfc5322(id.time()),
    );
    text
}

impl Trace {
    /// Parses the trace that `file` begins with, and returns it with its length
    /// in bytes. `None` if there is none: the lines must be exactly those that
    /// the server writes, save that a line may end with LF alone, as tools that
    /// convert line ends leave it. `file` may end after the trace.
    pub fn parse(file: &[u8]) -> Option<(Trace, usize)> {
        let mut lines = Lines { rest: file };
        let path = lines.next_value("Return-Path: ")?;
        let reverse_path = whole_path(mailbox::reverse_path(path))?;
        let mut forward_paths = Vec::new();
        while let Some(path) = lines.next_value("X-Envelope-To: ") {
            forward_paths.push(whole_path(mailbox::forward_path(path))?);
        }
        let system_id = SystemId::parse(lines.next_value("X-MM4-System-ID: ")?)?;
        let (hello, origin, server) = parse_received(lines.next_value("Received: from ")?)?;
        let (id, date) = lines.next_value("  id ")?.split_once("; ")?;
        let trace = Trace {
            envelope: Envelope {
                hello: hello.into(),
                system_id,
                reverse_path,
                forward_paths,
            },
            origin,
            server: server.to_owned(),
            id: MessageId::parse(id)?,
            date: mm4::date(date)?,
        };
        Some((trace, file.len() - lines.rest.len()))
    }
}

/// The lines of a file, one by one.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    /// What follows `prefix` on the next line, if that line begins with it.
    fn next_value(&mut self, prefix: &str) -> Option<&'a str> {
        let value = self.rest.strip_prefix(prefix.as_bytes())?;
        let (value, rest) = value.split_at_checked(memchr::memchr(b'\n', value)? + 1)?;
        let value = value.strip_suffix(b"\n")?;
        let value = value.strip_suffix(b"\r").unwrap_or(value);
        self.rest = rest;
        std::str::from_utf8(value).ok()
    }
}

/// A path that nothing follows.
fn whole_path<P, E>(parsed: Result<(P, &str), E>) -> Option<P> {
    parsed
        .ok()
        .and_then(|(path, rest)| rest.is_empty().then_some(path))
}

/// `EHLO-NAME ([PEER-IP]) by NAME (mm4d) with PROTOCOL`
fn parse_received(text: &str) -> Option<(&str, Origin, &str)> {
    let (hello, rest) = text.split_once(" ([")?;
    let (peer, rest) = rest.split_once("]) by ")?;
    let (server, protocol) = rest.split_once(" (mm4d) with ")?;
    let peer = match peer.strip_prefix(IPV6) {
        Some(peer) => IpAddr::V6(peer.parse().ok()?),
        None => IpAddr::V4(peer.parse().ok()?),
    };
    let tls = match protocol {
        "ESMTPSA" => true,
        "ESMTPA" => false,
        _ => return None,
    };
    Some((hello, Origin { peer, tls }, server))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::id::IdSource;

    fn envelope(reverse_path: &str, forward_paths: &[&str]) -> Envelope {
        Envelope {
            hello: "mms.example.net".into(),
            system_id: SystemId::parse("peer1").unwrap(),
            reverse_path: mailbox::reverse_path(reverse_path).unwrap().0,
            forward_paths: forward_paths
                .iter()
                .map(|path| mailbox::forward_path(path).unwrap().0)
                .collect(),
        }
    }

    fn origin(peer: &str, tls: bool) -> Origin {
        let peer = peer.parse().unwrap();
        Origin { peer, tls }
    }

    fn id() -> MessageId {
        IdSource::new("here", 7, 0).next("2026-11-01T03:05:09.5Z".parse().unwrap())
    }

    #[test]
    fn a_trace_has_the_envelope_and_the_origin() {
        let envelope = envelope("<>", &["<+972500000001/TYPE=PLMN@b>", "<PostMaster>"]);
        assert_eq!(
            write(&envelope, origin("192.0.2.1", true), &id()),
            "Return-Path: <>\r\n\
             X-Envelope-To: <+972500000001/TYPE=PLMN@b>\r\n\
             X-Envelope-To: <PostMaster>\r\n\
             X-MM4-System-ID: peer1\r\n\
             Received: from mms.example.net ([192.0.2.1]) by here (mm4d) with ESMTPSA\r\n  \
             id 20261101T030509.500000Z-7-000001@here; Sun, 01 Nov 2026 03:05:09 +0000\r\n"
        );
        let text = write(&envelope, origin("2001:db8::1", false), &id());
        assert!(text.contains("([IPv6:2001:db8::1]) by here (mm4d) with ESMTPA\r\n"));
    }

    #[test]
    fn a_trace_that_was_written_is_parsed_into_the_same() {
        let longest = format!("<{}@b>", "1".repeat(252));
        let many = vec!["<+972500000001/TYPE=PLMN@b>"; 1000];
        for (reverse_path, forward_paths) in [
            ("<>", vec!["<+972500000001/TYPE=PLMN@b>", "<PostMaster>"]),
            ("<+972500000001@[IPv6:::1]>", vec!["123@a_b"]),
            (r#"<"a b\"> ;\\@"@b>"#, vec![r#"<@x,@y:"]) by z"@b>"#]),
            (&longest, many),
        ] {
            for origin in [origin("192.0.2.1", true), origin("2001:db8::1", false)] {
                for hello in ["a", "by", "with", "[IPv6:::1]"] {
                    let mut envelope = envelope(reverse_path, &forward_paths);
                    envelope.hello = hello.into();
                    let mut file = write(&envelope, origin, &id());
                    let length = file.len();
                    let date = "2026-11-01T03:05:09Z".parse().unwrap();
                    let trace = Trace {
                        envelope,
                        origin,
                        server: "here".to_owned(),
                        id: id(),
                        date,
                    };
                    assert_eq!(Trace::parse(file.as_bytes()), Some((trace.clone(), length)));
                    // The client's bytes follow, whatever they are.
                    file.push_str(" ; x\r\nX-Envelope-To: <a@b>\r\n");
                    assert_eq!(Trace::parse(file.as_bytes()), Some((trace.clone(), length)));
                    let unix = file.replace("\r\n", "\n");
                    assert_eq!(Trace::parse(unix.as_bytes()).unwrap().0, trace);
                }
            }
        }
    }

    #[test]
    fn anything_else_is_no_trace() {
        let text = write(&envelope("<>", &["<1@b>"]), origin("::1", true), &id());
        assert!(Trace::parse(text.as_bytes()).is_some());
        for (from, to) in [
            ("Return-Path: ", "X: y\r\nReturn-Path: "),
            ("Return-Path: <>", "Return-Path: <> x"),
            ("Return-Path: <>", "return-path: <>"),
            ("<1@b>", "<1@b"),
            ("<1@b>", "<1@\u{e4}>"),
            ("X-MM4-System-ID: peer1\r\n", ""),
            ("peer1", "peer 1"),
            ("X-MM4", "X-Other: 1\r\nX-MM4"),
            ("IPv6:", ""),
            ("ESMTPSA", "ESMTPS"),
            ("(mm4d)", "(other)"),
            ("\r\n  id", " id"),
            ("  id", "\tid"),
            ("@here;", ";"),
            ("Nov", "Nev"),
            ("+0000\r\n", "+0000"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from}");
            assert_eq!(Trace::parse(changed.as_bytes()), None, "{from} {to}");
        }
        for end in 0..text.len() {
            assert_eq!(Trace::parse(&text.as_bytes()[..end]), None, "{end}");
        }
    }
}

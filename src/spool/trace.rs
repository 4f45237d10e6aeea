//! The trace: the header lines that the server puts before the client's octets
//! (RFC 5321 4.4, RFC 3848).

use std::fmt::Write;
use std::net::IpAddr;

use jiff::Timestamp;

use super::id::MessageId;
use crate::smtp::Envelope;

/// Where a mail came in.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The client's address.
    pub peer: IpAddr,
    /// Whether it came over TLS.
    pub tls: bool,
}

/// The trace of one mail, its lines ended by CRLF.
pub fn trace(
    envelope: &Envelope,
    origin: Origin,
    hostname: &str,
    id: &MessageId,
    time: Timestamp,
) -> String {
    let mut text = String::with_capacity(512);
    // Writing to a String cannot fail.
    let _ = write!(text, "Return-Path: {}\r\n", envelope.reverse_path);
    for forward_path in &envelope.forward_paths {
        let _ = write!(text, "X-Envelope-To: {forward_path}\r\n");
    }
    let _ = write!(text, "X-MM4-System-ID: {}\r\n", envelope.system_id);
    let tag = if origin.peer.is_ipv6() { "IPv6:" } else { "" };
    // RFC 3848: A for the login, S for TLS.
    let protocol = if origin.tls { "ESMTPSA" } else { "ESMTPA" };
    let _ = write!(
        text,
        "Received: from {} ([{tag}{}]) by {hostname} (mm4d) with {protocol}\r\n  id {id}; {}\r\n",
        envelope.hello,
        origin.peer,
        time.strftime("%a, %d %b %Y %H:%M:%S +0000"),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::mailbox;
    use crate::smtp::sasl::SystemId;
    use crate::spool::id::IdSource;

    fn envelope() -> Envelope {
        Envelope {
            hello: "mms.example.net".into(),
            system_id: SystemId::parse("peer1").unwrap(),
            reverse_path: mailbox::reverse_path("<>").unwrap().0,
            forward_paths: ["<+972500000001/TYPE=PLMN@b>", "<PostMaster>"]
                .map(|path| mailbox::forward_path(path).unwrap().0)
                .into(),
        }
    }

    #[test]
    fn a_trace_tells_the_envelope_and_the_way() {
        let now = "2026-11-01T03:05:09.5Z".parse().unwrap();
        let (id, time) = IdSource::new("here", 7).next(now);
        let origin = Origin {
            peer: "192.0.2.1".parse().unwrap(),
            tls: true,
        };
        assert_eq!(
            trace(&envelope(), origin, "here", &id, time),
            "Return-Path: <>\r\n\
             X-Envelope-To: <+972500000001/TYPE=PLMN@b>\r\n\
             X-Envelope-To: <PostMaster>\r\n\
             X-MM4-System-ID: peer1\r\n\
             Received: from mms.example.net ([192.0.2.1]) by here (mm4d) with ESMTPSA\r\n  \
             id 20261101T030509.500000Z-7-000001@here; Sun, 01 Nov 2026 03:05:09 +0000\r\n"
        );
        let origin = Origin {
            peer: "2001:db8::1".parse().unwrap(),
            tls: false,
        };
        let text = trace(&envelope(), origin, "here", &id, time);
        assert!(text.contains("([IPv6:2001:db8::1]) by here (mm4d) with ESMTPA\r\n"));
    }
}

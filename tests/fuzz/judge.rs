//! The judgement of a driver: what must hold for replies, envelopes and mails, worked
//! out from the client's bytes alone.

use mm4d::smtp::limits::{MAX_HELLO, MAX_PATH};
use mm4d::smtp::reply::Reply;
use mm4d::smtp::{Addresses, Envelope, ForwardPath, ReversePath};

use super::SYSTEM_ID;

/// RFC 5321 4.2: lines of one code, printable, ended by CRLF, at most 512 bytes
/// each (4.5.3.1.5).
pub(super) fn check_reply(reply: &Reply) {
    let text = std::str::from_utf8(reply.as_bytes()).unwrap();
    let lines = text.strip_suffix("\r\n").expect("no CRLF at the end");
    let mut lines = lines.split("\r\n").peekable();
    while let Some(line) = lines.next() {
        let separator = if lines.peek().is_some() { "-" } else { " " };
        assert!((4..=510).contains(&line.len()), "{text:?}");
        assert!(line.bytes().all(|byte| matches!(byte, 32..=126)));
        assert!((200..600).contains(&reply.code()), "{text:?}");
        assert_eq!(line[..3], reply.code().to_string(), "{text:?}");
        assert_eq!(&line[3..4], separator, "{text:?}");
    }
}

/// What ends up in the trace of the mail can break out of none of its lines.
pub(super) fn check_envelope(envelope: &Envelope, addresses: Addresses) {
    assert_eq!(envelope.system_id.as_str(), SYSTEM_ID);
    assert!((1..=MAX_HELLO).contains(&envelope.hello.len()));
    assert!(envelope.hello.bytes().all(|byte| byte.is_ascii_graphic()));
    check_path(&envelope.reverse_path.to_string());
    let mailbox = ReversePath::mailbox(&envelope.reverse_path);
    assert!(mailbox.is_none_or(|mailbox| addresses.allow(mailbox)));
    for forward_path in &envelope.forward_paths {
        check_path(&forward_path.to_string());
        match forward_path {
            ForwardPath::Mailbox(mailbox) => assert!(addresses.allow(mailbox)),
            ForwardPath::Postmaster(text) => assert!(text.eq_ignore_ascii_case("postmaster")),
        }
    }
}

pub(super) fn check_path(path: &str) {
    assert!((2..=MAX_PATH).contains(&path.len()), "{path}");
    assert!(path.bytes().all(|byte| matches!(byte, 32..=126)));
    assert!(path.starts_with('<') && path.ends_with('>'), "{path}");
}

/// Where a mail is over, counted from the byte after the CRLF of DATA.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Over {
    No,
    /// By CRLF "." CRLF.
    Ended {
        bytes: usize,
        content: Vec<u8>,
    },
    /// It held a CR or an LF alone, and here it is answered.
    Condemned {
        bytes: usize,
    },
}

/// Where the mail at the start of `wire` is over.
pub(super) fn judge(wire: &[u8], max_message_size: usize) -> Over {
    let bare = bare_line_end(wire);
    let mut at = 0;
    let mut content = Vec::new();
    while let Some(length) = find_crlf(&wire[at..]) {
        let line = &wire[at..at + length];
        if bare.is_some_and(|bare| bare < at + length) {
            break;
        }
        at += length + 2;
        if line == b"." {
            let bytes = at;
            return Over::Ended { bytes, content };
        }
        content.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        content.extend_from_slice(b"\r\n");
    }
    match bare {
        Some(bare) => condemned(wire, bare, max_message_size),
        None => Over::No,
    }
}

/// The same for a mail with a CR or an LF alone at `bare`: after the first line
/// that is a dot, whatever ends it, or after as many bytes as a mail may have.
pub(super) fn condemned(wire: &[u8], bare: usize, max_message_size: usize) -> Over {
    let ends_line = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let dot = (bare..wire.len())
        .filter(|&at| ends_line(&wire[at]))
        .find(|&at| {
            let line = wire[..at].rsplit(ends_line).next();
            line == Some(b".")
        });
    // A CR was content before the byte after it showed that it is alone.
    let counted_from = bare + usize::from(wire[bare] == b'\r');
    let limit = counted_from + max_message_size;
    let bytes = dot.map_or(limit, |dot| limit.min(dot + 1));
    if bytes <= wire.len() {
        Over::Condemned { bytes }
    } else {
        Over::No
    }
}

/// The first LF without its CR, or CR with something else after it.
pub(super) fn bare_line_end(wire: &[u8]) -> Option<usize> {
    (0..wire.len()).find(|&at| match wire[at] {
        b'\n' => at == 0 || wire[at - 1] != b'\r',
        b'\r' => wire.get(at + 1).is_some_and(|&next| next != b'\n'),
        _ => false,
    })
}

pub(super) fn find_crlf(wire: &[u8]) -> Option<usize> {
    wire.windows(2).position(|end| end == b"\r\n")
}

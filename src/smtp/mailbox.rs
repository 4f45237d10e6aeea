//! Paths and mailboxes (RFC 5321 4.1.2, 4.1.3), parsed once into types that
//! cannot be invalid.
//!
//! Real MMS centres send numbers with `/TYPE=PLMN`, underscores in host names,
//! IPv4 addresses without brackets, paths without brackets, and a space after the
//! colon. All of that is accepted here; which mailboxes the server allows is
//! decided by [`Addresses`].

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::limits::MAX_PATH;

/// A `Local-part@Domain`, syntactically right, as the client typed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    text: Box<str>,
    /// Where the local part ends.
    at: usize,
}

impl Mailbox {
    /// The part before the `@`, quotes included where there are any.
    pub(crate) fn local_part(&self) -> &str {
        self.text.get(..self.at).unwrap_or_default()
    }

    /// The part after the `@`: a host name, an IPv4 address or a literal.
    pub fn domain(&self) -> &str {
        self.text.get(self.at + 1..).unwrap_or_default()
    }
}

/// The sender of a transaction; `<>` is the null reverse-path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReversePath(Option<Mailbox>);

impl ReversePath {
    /// The mailbox, or `None` for `<>`.
    pub fn mailbox(&self) -> Option<&Mailbox> {
        self.0.as_ref()
    }
}

/// One recipient of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardPath {
    /// An ordinary recipient.
    Mailbox(Mailbox),
    /// `<Postmaster>` without a domain (RFC 5321 4.1.1.3), in the client's case.
    Postmaster(Box<str>),
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(mailbox) => write!(f, "<{}>", mailbox.text),
            None => f.write_str("<>"),
        }
    }
}

impl fmt::Display for ForwardPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ForwardPath::Mailbox(mailbox) => write!(f, "<{}>", mailbox.text),
            ForwardPath::Postmaster(text) => write!(f, "<{text}>"),
        }
    }
}

/// Why a path was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// Not what RFC 5321 4.1.2 calls a path.
    Malformed,
    /// Over [`MAX_PATH`] bytes with its brackets.
    TooLong,
}

/// Which mailboxes MAIL and RCPT accept: `--addresses`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Numbers of 3 to 15 digits (E.164, short codes among them) and the system
    /// mailboxes of MM4.
    E164,
    /// Whatever RFC 5321 calls a mailbox.
    Any,
}

impl Addresses {
    /// Whether a transaction may name this mailbox.
    pub fn allow(self, mailbox: &Mailbox) -> bool {
        match self {
            Addresses::Any => true,
            Addresses::E164 => {
                let local = mailbox.local_part();
                is_number(local) || is_system_mailbox(local)
            }
        }
    }
}

/// `[+]digits[/TYPE=…]` (3GPP TS 23.140, clause 8.4.5.1).
fn is_number(local: &str) -> bool {
    let (number, kind) = match local.split_once('/') {
        Some((number, kind)) => (number, Some(kind)),
        None => (local, None),
    };
    let digits = number.strip_prefix('+').unwrap_or(number);
    (3..=15).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && kind.is_none_or(is_type)
}

fn is_type(kind: &str) -> bool {
    kind.split_at_checked("TYPE=".len())
        .is_some_and(|(key, value)| key.eq_ignore_ascii_case("TYPE=") && !value.is_empty())
}

/// Where RES and reports come from and go to.
fn is_system_mailbox(local: &str) -> bool {
    local.eq_ignore_ascii_case("system-user") || local.eq_ignore_ascii_case("postmaster")
}

/// Takes the reverse-path off the front of what follows `MAIL FROM:`, and
/// returns it with the parameters after it.
pub fn reverse_path(text: &str) -> Result<(ReversePath, &str), PathError> {
    let (path, rest) = split_path(text)?;
    let path = match path {
        "" => ReversePath(None),
        mailbox => ReversePath(Some(parse_mailbox(mailbox)?)),
    };
    Ok((path, rest))
}

/// Takes the forward-path off the front of what follows `RCPT TO:`, and returns
/// it with the parameters after it.
pub fn forward_path(text: &str) -> Result<(ForwardPath, &str), PathError> {
    let (path, rest) = split_path(text)?;
    let path = if path.eq_ignore_ascii_case("postmaster") {
        ForwardPath::Postmaster(path.into())
    } else {
        ForwardPath::Mailbox(parse_mailbox(path)?)
    };
    Ok((path, rest))
}

/// Splits `<path> parameters`, or `path parameters`, and drops brackets and a
/// source route (RFC 5321 4.1.1.3, appendix C). An empty path is `<>` alone.
fn split_path(text: &str) -> Result<(&str, &str), PathError> {
    let text = text.trim_start_matches(' ');
    if let Some(open) = text.strip_prefix('<') {
        let end = find_unquoted(open, b'>').ok_or(PathError::Malformed)?;
        // The brackets count (RFC 5321 4.5.3.1.3).
        if end + 2 > MAX_PATH {
            return Err(PathError::TooLong);
        }
        let (path, rest) = open.split_at_checked(end).ok_or(PathError::Malformed)?;
        let rest = rest.get(1..).unwrap_or_default();
        if !rest.is_empty() && !rest.starts_with(' ') {
            return Err(PathError::Malformed);
        }
        return Ok((without_route(path)?, rest));
    }
    let end = find_unquoted(text, b' ').unwrap_or(text.len());
    if end + 2 > MAX_PATH {
        return Err(PathError::TooLong);
    }
    let (path, rest) = text.split_at_checked(end).ok_or(PathError::Malformed)?;
    if path.is_empty() {
        return Err(PathError::Malformed);
    }
    Ok((without_route(path)?, rest))
}

/// `@one,@two:mailbox` is `mailbox`.
fn without_route(path: &str) -> Result<&str, PathError> {
    if !path.starts_with('@') {
        return Ok(path);
    }
    // An address literal of the route may hold colons of its own.
    let mut depth = false;
    let colon = path.bytes().position(|byte| {
        match byte {
            b'[' => depth = true,
            b']' => depth = false,
            _ => {}
        }
        byte == b':' && !depth
    });
    let (route, mailbox) = colon
        .and_then(|colon| path.split_at_checked(colon))
        .ok_or(PathError::Malformed)?;
    let hosts_are_right = route
        .split(',')
        .all(|hop| hop.strip_prefix('@').is_some_and(is_domain));
    let mailbox = mailbox.get(1..).unwrap_or_default();
    if hosts_are_right && !mailbox.is_empty() {
        Ok(mailbox)
    } else {
        Err(PathError::Malformed)
    }
}

/// The first position of `wanted` outside a quoted string.
fn find_unquoted(text: &str, wanted: u8) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    text.bytes().position(|byte| {
        if escaped {
            escaped = false;
            return false;
        }
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => escaped = true,
            _ => {}
        }
        byte == wanted && !quoted
    })
}

fn parse_mailbox(text: &str) -> Result<Mailbox, PathError> {
    let at = find_unquoted(text, b'@').ok_or(PathError::Malformed)?;
    let (local, domain) = text.split_at_checked(at).ok_or(PathError::Malformed)?;
    let domain = domain.get(1..).unwrap_or_default();
    if is_local_part(local) && is_domain(domain) {
        Ok(Mailbox {
            text: text.into(),
            at,
        })
    } else {
        Err(PathError::Malformed)
    }
}

/// `Dot-string / Quoted-string`.
fn is_local_part(local: &str) -> bool {
    match local.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').is_some_and(is_quoted_content),
        None => local
            .split('.')
            .all(|atom| !atom.is_empty() && atom.bytes().all(is_atext)),
    }
}

/// `*QcontentSMTP`: printable, with `"` and `\` only after a backslash.
fn is_quoted_content(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let valid = match byte {
            b'\\' => bytes.next().is_some_and(is_printable),
            b'"' => false,
            _ => is_printable(byte),
        };
        if !valid {
            return false;
        }
    }
    true
}

fn is_printable(byte: u8) -> bool {
    (32..=126).contains(&byte)
}

/// RFC 5322 3.2.3.
fn is_atext(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

/// A host name, in which underscores are allowed, an IPv4 address or an address
/// literal.
fn is_domain(domain: &str) -> bool {
    match domain.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(is_literal),
        None => domain.split('.').all(is_label),
    }
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// The text between `[` and `]` (RFC 5321 4.1.3).
fn is_literal(text: &str) -> bool {
    let Some((tag, content)) = text.split_once(':') else {
        return text.parse::<Ipv4Addr>().is_ok();
    };
    if tag.eq_ignore_ascii_case("IPv6") {
        return content.parse::<Ipv6Addr>().is_ok();
    }
    // General-address-literal: the tag is an Ldh-str, the content is dcontent.
    is_label(tag)
        && !tag.contains('_')
        && !content.is_empty()
        && content
            .bytes()
            .all(|byte| (33..=126).contains(&byte) && !b"[\\]".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(text: &str) -> Result<String, PathError> {
        reverse_path(text).map(|(path, rest)| format!("{path}|{rest}"))
    }

    fn recipient(text: &str) -> Result<String, PathError> {
        forward_path(text).map(|(path, rest)| format!("{path}|{rest}"))
    }

    #[test]
    fn what_mms_centres_send_is_taken() {
        for (typed, expected) in [
            ("<+972500000001/TYPE=PLMN@mms.example.net>", "|"),
            (" <15551230001@host>", "|"),
            ("<a@b> SIZE=3 BODY=8BITMIME", "| SIZE=3 BODY=8BITMIME"),
            ("<3456/TYPE=PLMN@mms.mnc006.mcc260.gprs>", "|"),
            ("<15551230001@192.0.2.1>", "|"),
            ("<15551230001@[192.0.2.1]>", "|"),
            ("<15551230001@[IPv6:2001:db8::1]>", "|"),
            ("<1@under_score.example>", "|"),
            ("<\"a b>@\\\"c\"@example.net>", "|"),
        ] {
            let path = typed.trim_start();
            let path = &path[..path.rfind('>').unwrap() + 1];
            assert_eq!(
                sender(typed).unwrap(),
                format!("{path}{expected}"),
                "{typed}"
            );
        }
    }

    #[test]
    fn brackets_may_be_missing_and_a_route_is_dropped() {
        assert_eq!(sender("a@b SIZE=1").unwrap(), "<a@b>| SIZE=1");
        assert_eq!(sender("<@x,@[IPv6:::1]:a@b>").unwrap(), "<a@b>|");
        assert_eq!(recipient("@x:a@b").unwrap(), "<a@b>|");
        assert_eq!(sender("<>").unwrap(), "<>|");
        assert_eq!(recipient("<PostMaster>").unwrap(), "<PostMaster>|");
    }

    #[test]
    fn an_invalid_path_is_malformed() {
        for text in [
            "",
            " ",
            "<",
            "<a@b",
            "a@b>",
            "<a>",
            "<@b>",
            "<a@>",
            "<a@b>x",
            "<a@b.>",
            "<a..b@c>",
            "<.a@b>",
            "<a b@c>",
            "<a@-b>",
            "<a@b-> ",
            "<a@[1.2.3]>",
            "<a@[IPv6:x]>",
            "<a@b,c>",
            "<\"a@b>",
            "<\"a\"b@c>",
            "<@x:>",
            "<@x>",
            "<@:a@b>",
            "<a@b@c>",
            "<<a@b>>",
            "<a@[]>",
        ] {
            assert_eq!(sender(text), Err(PathError::Malformed), "{text}");
        }
        assert_eq!(recipient("<>"), Err(PathError::Malformed));
        assert_eq!(sender("<postmaster>"), Err(PathError::Malformed));
    }

    #[test]
    fn a_path_holds_256_bytes_and_no_more() {
        let longest = format!("<1234@{}>", "a".repeat(249));
        assert_eq!(longest.len(), MAX_PATH);
        assert!(sender(&longest).is_ok());
        let over = format!("<1234@{}>", "a".repeat(250));
        assert_eq!(sender(&over), Err(PathError::TooLong));
    }

    #[test]
    fn e164_takes_numbers_and_the_system_mailboxes() {
        let allowed = |local: &str| {
            let (path, _) = reverse_path(&format!("<{local}@b>")).unwrap();
            Addresses::E164.allow(path.mailbox().unwrap())
        };
        for local in [
            "+972500000001/TYPE=PLMN",
            "972500000001",
            "123",
            "+123456789012345",
            "3456/type=plmn",
            "192/Type=IPv4",
            "System-User",
            "POSTMASTER",
        ] {
            assert!(allowed(local), "{local}");
        }
        for local in [
            "12",
            "1234567890123456",
            "+",
            "++123",
            "123/",
            "123/TYPE=",
            "123/KIND=PLMN",
            "123x",
            "alice",
            "\"123\"",
            "system-user2",
        ] {
            assert!(!allowed(local), "{local}");
        }
    }
}

//! AUTH PLAIN (RFC 4616) and AUTH LOGIN: from base64 to [`Credentials`].

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::limits::MAX_SYSTEM_ID;

/// The name of an account: printable ASCII without blanks and colons, since it
/// is in the accounts file and in the trace. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SystemId(Arc<str>);

impl SystemId {
    /// `None` where `text` is empty, over [`MAX_SYSTEM_ID`] bytes, or holds a
    /// byte that is not allowed.
    pub fn parse(text: &str) -> Option<SystemId> {
        let valid = (1..=MAX_SYSTEM_ID).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b':');
        valid.then(|| SystemId(text.into()))
    }

    /// As in the accounts file.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for SystemId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a client logs in with.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Whom the client wants to act for; empty means: the same.
    pub authzid: Vec<u8>,
    /// The system id.
    pub authcid: Vec<u8>,
    /// Never shown, never logged.
    pub password: Secret,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("authzid", &String::from_utf8_lossy(&self.authzid))
            .field("authcid", &String::from_utf8_lossy(&self.authcid))
            .field("password", &self.password)
            .finish()
    }
}

/// Bytes that no log may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Keeps `bytes` from being shown.
    pub fn new(bytes: Vec<u8>) -> Secret {
        Secret(bytes)
    }

    /// The bytes, for the one place that compares them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The response is not base64, or its padding is missing (RFC 4648 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotBase64;

/// Decodes one response of the client.
pub fn decode(response: &[u8]) -> Result<Vec<u8>, NotBase64> {
    STANDARD.decode(response).map_err(|_| NotBase64)
}

/// Decodes the initial response of an AUTH command, in which `=` means an
/// empty one (RFC 4954 4).
pub(crate) fn decode_initial(response: &[u8]) -> Result<Vec<u8>, NotBase64> {
    match response {
        b"=" => Ok(Vec::new()),
        other => decode(other),
    }
}

/// Splits `[authzid] NUL authcid NUL passwd` (RFC 4616 2); `None` where the
/// message is not of that form.
pub fn plain(message: &[u8]) -> Option<Credentials> {
    std::str::from_utf8(message).ok()?;
    let mut fields = message.split(|&byte| byte == 0);
    let authzid = fields.next()?.to_vec();
    let authcid = fields.next()?.to_vec();
    let password = fields.next()?.to_vec();
    let complete = fields.next().is_none() && !authcid.is_empty() && !password.is_empty();
    complete.then_some(Credentials {
        authzid,
        authcid,
        password: Secret(password),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_message_has_three_fields() {
        let found = plain(b"\0tim\0tanstaaftanstaaf").unwrap();
        assert_eq!(found.authcid, b"tim");
        assert_eq!(found.password.expose(), b"tanstaaftanstaaf");
        assert_eq!(plain(b"Ursel\0Kurt\0xipj3plmq").unwrap().authzid, b"Ursel");
        for message in [
            &b""[..],
            b"\0",
            b"\0\0",
            b"\0id\0",
            b"\0\0password",
            b"id\0password",
            b"\0id\0password\0",
            b"\0id\0k\xff",
        ] {
            assert_eq!(plain(message), None, "{message:?}");
        }
    }

    #[test]
    fn base64_needs_its_padding() {
        assert_eq!(decode(b"YQ=="), Ok(b"a".to_vec()));
        assert_eq!(decode(b"YQ"), Err(NotBase64));
        assert_eq!(decode(b"YQ== "), Err(NotBase64));
        assert_eq!(decode(b"="), Err(NotBase64));
        assert_eq!(decode_initial(b"="), Ok(Vec::new()));
        assert_eq!(decode(b""), Ok(Vec::new()));
    }

    #[test]
    fn a_password_is_never_shown() {
        let shown = format!("{:?}", plain(b"\0id\0hunter2").unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

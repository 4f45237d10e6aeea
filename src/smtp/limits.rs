//! Every limit of the dialogue, each with its unit and where it comes from.
//!
//! What an operator may set is in [`Limits`]; the rest is fixed.

/// Bytes of a command line or an AUTH line, its CRLF included (RFC 4954 4).
pub const MAX_LINE: usize = 12_288;

/// Bytes of a path with its brackets (RFC 5321 4.5.3.1.3).
pub const MAX_PATH: usize = 256;

/// Bytes of the name in HELO and EHLO (RFC 5321 4.5.3.1.2).
pub const MAX_HELLO: usize = 255;

/// Decimal digits of SIZE (RFC 1870 4).
pub(crate) const MAX_SIZE_DIGITS: usize = 20;

/// Errors of a connection since its last accepted message, after which it ends
/// (RFC 5321 4.3.2 leaves the number to the server).
pub const MAX_ERRORS: u32 = 20;

/// Refused logins of a connection, after which it ends (RFC 4954 6).
pub const MAX_AUTH_FAILURES: u32 = 3;

/// Bytes of a system id: RFC 4616 2 asks for at least 255.
pub const MAX_SYSTEM_ID: usize = 255;

/// Bytes of a password. RFC 4616 2 asks for at least 255; crypt(3) takes 512,
/// and the cost of SHA-crypt grows with the length.
pub(crate) const MAX_PASSWORD: usize = 512;

/// What the operator sets for every session.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a message: its content with CRLFs, less stuffing, terminator and
    /// trace (RFC 1870 3).
    pub max_message_size: u64,
    /// RCPT commands in a transaction (RFC 5321 4.5.3.1.8 asks for 100).
    pub max_recipients: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_message_size: 10_485_760,
            max_recipients: 100,
        }
    }
}

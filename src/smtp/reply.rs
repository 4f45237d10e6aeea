//! The catalogue of replies: no reply text is anywhere else.
//!
//! A reply is named by what it means, with its code at the end of the name.
//! Where the MM4 provider's page gives a text it is exact, byte by byte;
//! the greeting and the EHLO lines are ours.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

/// One whole reply, its lines ended by CRLF (RFC 5321 4.2).
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    text: Cow<'static, str>,
}

impl Reply {
    /// The bytes that go on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// The three digits, such as 250.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The text of one line, without its CRLF.
    pub fn line(&self) -> &str {
        self.text.trim_end()
    }

    const fn fixed(text: &'static str) -> Reply {
        Reply {
            code: code_of(text),
            text: Cow::Borrowed(text),
        }
    }

    fn made(text: String) -> Reply {
        Reply {
            code: code_of(&text),
            text: Cow::Owned(text),
        }
    }
}

/// The three digits that `text` begins with.
const fn code_of(text: &str) -> u16 {
    match text.as_bytes() {
        [hundreds, tens, ones, ..] => {
            100 * (*hundreds - b'0') as u16 + 10 * (*tens - b'0') as u16 + (*ones - b'0') as u16
        }
        _ => 0,
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({:?})", self.text)
    }
}

/// Declares the replies that never vary.
macro_rules! replies {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: Reply = Reply::fixed(concat!($text, "\r\n"));)*
        /// Every reply that never varies.
        const UNVARYING: &[Reply] = &[$($name),*];
    };
}

replies! {
    /// NOOP and RSET.
    OK_250 = "250 OK";
    /// MAIL is accepted.
    SENDER_OK_250 = "250 Sender OK";
    /// RCPT is accepted.
    RECIPIENT_OK_250 = "250 Recipient OK";
    /// HELP.
    HELP_214 = "214 HELO EHLO AUTH MAIL RCPT DATA RSET NOOP HELP QUIT; MM4 per 3GPP TS 23.140";
    /// QUIT.
    BYE_221 = "221 BYE";
    /// The credentials are correct.
    AUTHENTICATED_235 = "235 Authentication successful";
    /// AUTH PLAIN without an initial response: an empty challenge (RFC 4954 4).
    PLAIN_334 = "334 ";
    /// AUTH LOGIN asks for `Username:`.
    USERNAME_334 = "334 VXNlcm5hbWU6";
    /// AUTH LOGIN asks for `Password:`.
    PASSWORD_334 = "334 UGFzc3dvcmQ6";
    /// The client may send the message.
    ENTER_MAIL_354 = "354 enter mail, end with line containing only '.'";

    /// The server is shutting down.
    SHUTTING_DOWN_421 = "421 ERROR: shutting down";
    /// The login deadline or the silence limit has passed, or a message arrives
    /// too slowly.
    TIMEOUT_421 = "421 ERROR: timeout";
    /// A limit on connections is reached.
    TOO_MANY_CONNECTIONS_421 = "421 ERROR: too many connections";
    /// The spool takes no messages at this time.
    SPOOL_UNAVAILABLE_421 = "421 ERROR: spool unavailable";
    /// The third refused login.
    TOO_MANY_AUTH_FAILURES_421 = "421 ERROR: too many authentication failures";
    /// The twentieth error.
    TOO_MANY_ERRORS_421 = "421 ERROR: too many errors";

    /// The spool could not keep the message; the client should try again.
    SPOOL_FAILED_452 = "452 ERROR: spool is full or failing, try again later";
    /// The spool has too little room for one more transaction.
    LOW_SPACE_452 = "452 ERROR: insufficient storage, try again later";
    /// One recipient more than allowed (RFC 5321 4.5.3.1.10).
    TOO_MANY_RECIPIENTS_452 = "452 ERROR: too many recipients";

    /// No such command, or an empty line.
    UNRECOGNIZED_500 = "500 ERROR: unrecognized command";
    /// Over [`super::limits::MAX_LINE`].
    LINE_TOO_LONG_500 = "500 ERROR: line too long";
    /// A CR or an LF alone in a command (RFC 5321 2.3.8).
    BARE_LINE_END_500 = "500 ERROR: lines must end with CRLF";
    /// A NUL in a command.
    NUL_500 = "500 ERROR: NUL is not allowed in a command";

    /// RSET, QUIT or DATA with an argument.
    NO_ARGUMENT_501 = "501 ERROR: no argument allowed";
    /// HELO or EHLO without a usable name.
    HELLO_NAME_501 = "501 ERROR: a host name or address literal is needed";
    /// AUTH without a mechanism.
    AUTH_MECHANISM_501 = "501 ERROR: a mechanism is needed, PLAIN or LOGIN";
    /// `*` in an exchange (RFC 4954 4).
    AUTH_CANCELLED_501 = "501 ERROR: authentication cancelled";
    /// A response that is not base64.
    NOT_BASE64_501 = "501 ERROR: cannot decode response, base64 with padding is needed";
    /// A response that RFC 4616 2 does not allow.
    NOT_PLAIN_501 = "501 ERROR: response is not a PLAIN message";
    /// MAIL without `FROM:` or with a path that RFC 5321 4.1.2 does not allow.
    REVERSE_PATH_501 = "501 ERROR: syntax is MAIL FROM:<mailbox> [SIZE=n] [BODY=7BIT|8BITMIME]";
    /// RCPT without `TO:` or with a path that RFC 5321 4.1.2 does not allow.
    FORWARD_PATH_501 = "501 ERROR: syntax is RCPT TO:<mailbox>";
    /// Over [`super::limits::MAX_PATH`].
    PATH_TOO_LONG_501 = "501 ERROR: path too long, 256 octets at most";
    /// A parameter that is no `keyword=value` or whose value is not allowed.
    PARAMETER_501 = "501 ERROR: malformed parameter";
    /// The same parameter again.
    PARAMETER_TWICE_501 = "501 ERROR: parameter given twice";
    /// MAIL or RCPT with a byte outside printable ASCII.
    NOT_ASCII_501 = "501 ERROR: only printable ASCII is allowed";

    /// VRFY and EXPN.
    NOT_IMPLEMENTED_502 = "502 ERROR: not implemented";
    /// STARTTLS.
    STARTTLS_502 = "502 ERROR: STARTTLS is disabled, use the TLS port";

    /// AUTH before HELO or EHLO.
    NEED_EHLO_503 = "503 ERROR: send EHLO first";
    /// MAIL or RCPT before HELO or EHLO.
    NEED_HELLO_503 = "503 ERROR: send EHLO or HELO first";
    /// RCPT before MAIL.
    NEED_MAIL_FIRST_503 = "503 ERROR: send MAIL first";
    /// DATA before MAIL.
    NEED_MAIL_503 = "503 ERROR: need MAIL command";
    /// DATA before RCPT.
    NEED_RCPT_503 = "503 ERROR: need RCPT command";
    /// MAIL inside a transaction.
    NESTED_MAIL_503 = "503 ERROR: sender already given, send RSET to start again";
    /// AUTH after a successful AUTH (RFC 4954 4).
    ALREADY_AUTHENTICATED_503 = "503 ERROR: already authenticated";
    /// AUTH inside a transaction (RFC 4954 4), by a client that its network has
    /// logged in.
    AUTH_IN_TRANSACTION_503 = "503 ERROR: AUTH is not allowed in a transaction";

    /// A mechanism other than PLAIN and LOGIN.
    MECHANISM_504 = "504 ERROR: unrecognized authentication mechanism, use PLAIN or LOGIN";
    /// MAIL or RCPT before AUTH.
    NEED_AUTH_530 = "530 ERROR: authentication required";
    /// Wrong credentials; which part is wrong is not said.
    AUTH_FAILED_535 = "535 ERROR: authentication failed";
    /// The message, or the SIZE that MAIL declares, is over the maximum.
    TOO_BIG_552 = "552 ERROR: message exceeds the maximum size";
    /// A mailbox that `--addresses` does not allow.
    MAILBOX_553 = "553 ERROR: mailbox not allowed, use <E164-number@host>";
    /// A CR or an LF alone inside the message.
    BARE_LINE_END_554 = "554 ERROR: lines must end with CRLF";
    /// A MAIL or RCPT parameter that this server does not know.
    PARAMETER_555 = "555 ERROR: unknown parameter";
}

/// The greeting, with the server's name.
pub(crate) fn banner_220(hostname: &str) -> Reply {
    Reply::made(format!("220 {hostname} MM4 ready\r\n"))
}

/// The answer to HELO.
pub(crate) fn helo_250(hostname: &str, client: &str) -> Reply {
    Reply::made(format!("250 {hostname} Hello {client}\r\n"))
}

/// The answer to EHLO with the extensions: RFC 2920, RFC 1870, RFC 6152 and
/// RFC 4954, in that order.
pub(crate) fn ehlo_250(hostname: &str, client: &str, max_message_size: u64) -> Reply {
    Reply::made(format!(
        "250-{hostname} Hello {client}\r\n\
         250-PIPELINING\r\n\
         250-SIZE {max_message_size}\r\n\
         250-8BITMIME\r\n\
         250 AUTH PLAIN LOGIN\r\n"
    ))
}

/// The message is durable under this id.
pub(crate) fn queued_250(id: &str) -> Reply {
    Reply::made(format!("250 queued as <{id}>\r\n"))
}

/// The code of every reply there is.
pub fn codes() -> BTreeSet<u16> {
    let varying = [banner_220(""), queued_250("")];
    UNVARYING.iter().chain(&varying).map(Reply::code).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_read_from_the_text() {
        assert_eq!(NEED_MAIL_503.code(), 503);
        assert_eq!(ehlo_250("a", "b", 1).code(), 250);
    }

    #[test]
    fn a_queued_mail_is_named_in_brackets_as_on_the_providers_page() {
        assert_eq!(queued_250("x@y").as_bytes(), b"250 queued as <x@y>\r\n");
    }
}

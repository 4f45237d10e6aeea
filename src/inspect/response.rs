//! The RES that answers a REQ (TS 23.140, 8.4.1 to 8.4.3).
//!
//! The result is a mail of a header block alone. Its lines end with LF, which is
//! what `sendmail -t` takes and what `swaks --data -` turns into CRLF. What the
//! peer wrote is repeated only if it can be nothing but the value of its field; a
//! value that swaks would expand into something else is refused unless forced.

use std::error::Error;
use std::fmt;

use jiff::Timestamp;

use super::message::Message;
use crate::mm4::date::rfc5322;
use crate::mm4::{Address, MessageType, RequestStatus};
use crate::smtp::{ForwardPath, mailbox};
use crate::spool::id::is_server_name;

/// Bytes of a line, its LF excluded (RFC 5322 2.1.1).
const MAX_LINE: usize = 998;
/// The version stated when the REQ names none.
const DEFAULT_VERSION: &str = "6.10.0";

/// What the RES says.
#[derive(Clone, Debug)]
pub struct Answer {
    /// `X-Mms-Request-Status-Code`.
    pub status: RequestStatus,
    /// `X-Mms-Status-Text`.
    pub text: Option<String>,
    /// Answer although none was asked for, or although swaks would expand a value.
    pub force: bool,
}

/// Why there is no RES.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseError {
    /// The message is a RES itself.
    IsResponse(MessageType),
    /// It is none of the six messages.
    NotMm4,
    /// `X-Mms-Ack-Request` does not ask for one.
    NotWanted,
    /// Neither `X-Mms-Originator-System` nor `Sender` says where it goes.
    NoAddress,
    /// The field is not exactly one mailbox with a domain.
    BadAddress(&'static str, String),
    /// It has no `X-Mms-Transaction-ID`.
    NoTransaction,
    /// The value of the field has a control character.
    Control(&'static str),
    /// The line of the field would be too long.
    TooLong(&'static str),
    /// swaks would replace what is named in the value of the field.
    SwaksToken(&'static str, &'static str),
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResponseError::IsResponse(kind) => {
                write!(f, "it is itself an answer ({})", kind.name())
            }
            ResponseError::NotMm4 => {
                f.write_str("it is not an MM4 request: its X-Mms-Message-Type is none of TS 23.140")
            }
            ResponseError::NotWanted => f.write_str(
                "it does not ask for an answer (X-Mms-Ack-Request is not Yes); use --force to \
                 answer anyway",
            ),
            ResponseError::NoAddress => f.write_str(
                "no address to answer to: X-Mms-Originator-System and Sender are missing",
            ),
            ResponseError::BadAddress(field, value) => {
                write!(f, "{field} is '{value}', not one mailbox with a domain")
            }
            ResponseError::NoTransaction => f.write_str(
                "X-Mms-Transaction-ID is missing, so the peer could not match an answer to its request",
            ),
            ResponseError::Control(field) => {
                write!(f, "{field} has a control character and cannot be repeated")
            }
            ResponseError::TooLong(field) => {
                write!(
                    f,
                    "{field} is too long for one line ({MAX_LINE} bytes, RFC 5322 2.1.1)"
                )
            }
            ResponseError::SwaksToken(field, token) => write!(
                f,
                "{field} has {token}, which `swaks --data` replaces; use --force to write it for \
                 `sendmail -t` or `swaks --no-data-fixup`"
            ),
        }
    }
}

impl Error for ResponseError {}

/// Composes the RES. `now` is its date, `unique` distinguishes its Message-ID
/// from every other of that moment.
///
/// # Errors
///
/// When the message is not a REQ, asks for no answer, names no address or no
/// transaction, or has a value that cannot be repeated.
pub fn compose(
    message: &Message<'_>,
    answer: &Answer,
    now: Timestamp,
    unique: u32,
) -> Result<String, ResponseError> {
    let kind = message.kind().ok_or(ResponseError::NotMm4)?;
    let response = kind.response().ok_or(ResponseError::IsResponse(kind))?;
    if !answer.force && message.yes("X-Mms-Ack-Request") != Some(true) {
        return Err(ResponseError::NotWanted);
    }
    let to = recipient(message)?;
    let domain = own_domain(message);
    let system = format!("system-user@{domain}");
    let id = format!("<{}.{unique}@{domain}>", now.as_microsecond());
    let mut mail = Mail {
        lines: String::new(),
        force: answer.force,
    };
    mail.field("From", &system)?;
    mail.field("Sender", &system)?;
    mail.field("To", &to)?;
    mail.field("Date", &rfc5322(now))?;
    mail.field("Message-ID", &id)?;
    mail.field("Auto-Submitted", "auto-replied")?;
    let version = message.header.raw_value("X-Mms-3GPP-MMS-Version");
    let version = version.as_deref().unwrap_or(DEFAULT_VERSION);
    mail.field("X-Mms-3GPP-MMS-Version", version)?;
    mail.field("X-Mms-Message-Type", response.name())?;
    let transaction = message.header.raw_value("X-Mms-Transaction-ID");
    let transaction = transaction.ok_or(ResponseError::NoTransaction)?;
    mail.field("X-Mms-Transaction-ID", &transaction)?;
    // TS 23.140 8.4.3: the answer to a read report has no Message-ID.
    if response != MessageType::ReadReplyReportRes {
        if let Some(id) = message.header.raw_value("X-Mms-Message-ID") {
            mail.field("X-Mms-Message-ID", &id)?;
        }
    }
    mail.field("X-Mms-Request-Status-Code", answer.status.name())?;
    if let Some(text) = answer.text.as_deref().filter(|text| !text.is_empty()) {
        mail.field("X-Mms-Status-Text", &encoded(text))?;
    }
    mail.lines.push('\n');
    Ok(mail.lines)
}

/// One mailbox with a domain, as it may be in a `To:` that a mailer reads:
/// anything else could name further recipients.
fn recipient(message: &Message<'_>) -> Result<String, ResponseError> {
    let (field, written) = message.response_address().ok_or(ResponseError::NoAddress)?;
    let bad = || ResponseError::BadAddress(field, written.clone());
    let [address] = Address::parse_list(&written)
        .try_into()
        .map_err(|_| bad())?;
    let path = format!("<{address}>");
    let Ok((ForwardPath::Mailbox(mailbox), "")) = mailbox::forward_path(&path) else {
        return Err(bad());
    };
    // A mailer could take a quoted local part, or a leading hyphen, for more than
    // a mailbox.
    let local = mailbox.local_part();
    match local.starts_with(['-', '"']) || mailbox.domain().is_empty() {
        true => Err(bad()),
        false => Ok(address.to_string()),
    }
}

/// Who answers: the domain that the peer wrote to, else the server's name,
/// else that of the recipient in the header.
fn own_domain(message: &Message<'_>) -> String {
    let envelope = message.envelope_to();
    let envelope = envelope.first().and_then(Address::domain);
    let server = message.trace.as_ref().map(|trace| trace.server.as_str());
    let header = message.addresses("To");
    let header = header.iter().find_map(Address::domain);
    [envelope, server, header]
        .into_iter()
        .flatten()
        .find(|domain| is_server_name(domain))
        .unwrap_or("localhost")
        .to_owned()
}

struct Mail {
    lines: String,
    force: bool,
}

impl Mail {
    fn field(&mut self, name: &'static str, value: &str) -> Result<(), ResponseError> {
        // One line, whatever the peer wrote: no CR, no LF, no other control.
        if value.chars().any(char::is_control) {
            return Err(ResponseError::Control(name));
        }
        if name.len() + 2 + value.len() > MAX_LINE {
            return Err(ResponseError::TooLong(name));
        }
        if let (false, Some(token)) = (self.force, swaks_token(value)) {
            return Err(ResponseError::SwaksToken(name, token));
        }
        self.lines.push_str(name);
        self.lines.push_str(": ");
        self.lines.push_str(value);
        self.lines.push('\n');
        Ok(())
    }
}

/// What swaks replaces: a backslash and an `n` would become a line end, and the
/// rest of the value a field of its own.
fn swaks_token(value: &str) -> Option<&'static str> {
    [
        "\\n",
        "%BODY%",
        "%NEW_HEADERS%",
        "%FROM_ADDRESS%",
        "%TO_ADDRESS%",
        "%DATE%",
        "%MESSAGEID%",
        "%SWAKS_VERSION%",
    ]
    .into_iter()
    .find(|token| value.contains(token))
}

/// ASCII as it is, other text as encoded words (RFC 2047) of at most 75 bytes.
fn encoded(text: &str) -> String {
    use base64::Engine;
    if text.is_ascii() {
        return text.to_owned();
    }
    let mut words = Vec::new();
    let mut chunk = String::new();
    for letter in text.chars() {
        if chunk.len() + letter.len_utf8() > 45 {
            words.push(std::mem::take(&mut chunk));
        }
        chunk.push(letter);
    }
    words.push(chunk);
    let words: Vec<_> = words
        .iter()
        .map(|word| {
            let word = base64::engine::general_purpose::STANDARD.encode(word);
            format!("=?utf-8?B?{word}?=")
        })
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::message::tests::{TRACE, given};
    use crate::inspect::mime::header::Header;
    use proptest::prelude::*;

    fn answer(force: bool) -> Answer {
        Answer {
            status: RequestStatus::Ok,
            text: None,
            force,
        }
    }

    fn composed(mail: &str, answer: &Answer) -> Result<String, ResponseError> {
        let (entry, file) = given(mail.as_bytes());
        let now = "2022-01-26T00:17:43Z".parse().unwrap();
        compose(&Message::read(&entry, &file), answer, now, 7)
    }

    fn request(kind: &str) -> String {
        format!(
            "{TRACE}X-Mms-3GPP-MMS-Version: 5.5.0\r\nX-Mms-Message-Type: {kind}\r\n\
             X-Mms-Transaction-ID: \"1@mms.example.net\"\r\nX-Mms-Message-ID: m1\r\n\
             X-Mms-Ack-Request: Yes\r\nX-Mms-Originator-System: PostMaster@mms.example.net\r\n\
             Sender: other@mms.example.net\r\n\r\n"
        )
    }

    #[test]
    fn each_request_has_its_response() {
        let res = composed(&request("MM4_forward.REQ"), &answer(false)).unwrap();
        assert_eq!(
            res,
            "From: system-user@mms.example.com\n\
             Sender: system-user@mms.example.com\n\
             To: PostMaster@mms.example.net\n\
             Date: Wed, 26 Jan 2022 00:17:43 +0000\n\
             Message-ID: <1643156263000000.7@mms.example.com>\n\
             Auto-Submitted: auto-replied\n\
             X-Mms-3GPP-MMS-Version: 5.5.0\n\
             X-Mms-Message-Type: MM4_forward.RES\n\
             X-Mms-Transaction-ID: \"1@mms.example.net\"\n\
             X-Mms-Message-ID: m1\n\
             X-Mms-Request-Status-Code: Ok\n\n"
        );
        let res = composed(&request("mm4_Delivery_report.REQ"), &answer(false)).unwrap();
        assert!(res.contains("X-Mms-Message-Type: MM4_delivery_report.RES\n"));
        let res = composed(&request("MM4_read_reply_report.REQ"), &answer(false)).unwrap();
        assert!(res.contains("X-Mms-Message-Type: MM4_read_reply_report.RES\n"));
        assert!(!res.contains("X-Mms-Message-ID"));
    }

    #[test]
    fn an_answer_that_was_not_asked_for_is_refused_unless_forced() {
        for ack in ["X-Mms-Ack-Request: No", "X-Mms-Ack-Request:", "X-Other: x"] {
            let mail = request("MM4_forward.REQ").replace("X-Mms-Ack-Request: Yes", ack);
            assert!(
                composed(&mail, &answer(false))
                    .unwrap_err()
                    .to_string()
                    .contains("--force")
            );
            assert!(composed(&mail, &answer(true)).is_ok());
        }
        let mail = request("MM4_forward.REQ").replace("Request: Yes", "Request: 1");
        assert!(composed(&mail, &answer(false)).is_ok());
    }

    #[test]
    fn what_is_not_a_request_has_no_answer() {
        for kind in ["MM4_forward.RES", "MM1_send.REQ", ""] {
            assert!(composed(&request(kind), &answer(true)).is_err(), "{kind}");
        }
    }

    #[test]
    fn the_sender_replaces_a_missing_originator_system() {
        let mail = request("MM4_forward.REQ").replace("X-Mms-Originator-System", "X-Other");
        let res = composed(&mail, &answer(false)).unwrap();
        assert!(res.contains("\nTo: other@mms.example.net\n"), "{res}");
        let mail = mail.replace("\r\nSender:", "\r\nX-No:");
        assert!(
            composed(&mail, &answer(true))
                .unwrap_err()
                .to_string()
                .contains("Sender")
        );
    }

    #[test]
    fn a_number_is_an_address_to_answer_to() {
        let mail = request("MM4_forward.REQ").replace(
            "PostMaster@mms.example.net",
            "<+972500000001/TYPE=PLMN@[192.0.2.1]>",
        );
        let res = composed(&mail, &answer(false)).unwrap();
        assert!(
            res.contains("\nTo: +972500000001/TYPE=PLMN@[192.0.2.1]\n"),
            "{res}"
        );
    }

    #[test]
    fn an_address_that_could_be_more_than_one_is_refused() {
        for hostile in [
            "a@example.net, b@example.com",
            "<a@example.net>, b@example.com",
            "a@example.net <b@example.com>, c",
            "a@example.net b@example.com",
            "a,b@example.net",
            "-oQ/tmp@example.net",
            "a",
            "<>",
            "a@",
            "a@example.net(",
            "a:b;c@example.net",
        ] {
            let mail = request("MM4_forward.REQ").replace("PostMaster@mms.example.net", hostile);
            assert!(composed(&mail, &answer(true)).is_err(), "{hostile}");
        }
    }

    #[test]
    fn a_value_that_swaks_would_expand_is_refused_unless_forced() {
        let mail = request("MM4_forward.REQ").replace("m1", "m1\\nBcc: b@example.com");
        assert!(
            composed(&mail, &answer(false))
                .unwrap_err()
                .to_string()
                .contains("swaks")
        );
        let res = composed(&mail, &answer(true)).unwrap();
        assert!(res.contains("X-Mms-Message-ID: m1\\nBcc: b@example.com\n"));
    }

    #[test]
    fn a_text_beyond_ascii_is_encoded() {
        let text = "הודעה לא התקבלה כי היא גדולה מדי";
        let answer = Answer {
            status: RequestStatus::ContentNotAccepted,
            text: Some(text.to_owned()),
            force: false,
        };
        let res = composed(&request("MM4_forward.REQ"), &answer).unwrap();
        assert!(res.is_ascii());
        let header = Header::parse(res.as_bytes());
        assert_eq!(header.value("X-Mms-Status-Text").as_deref(), Some(text));
    }

    const FIELDS: [&str; 11] = [
        "From",
        "Sender",
        "To",
        "Date",
        "Message-ID",
        "Auto-Submitted",
        "X-Mms-3GPP-MMS-Version",
        "X-Mms-Message-Type",
        "X-Mms-Transaction-ID",
        "X-Mms-Message-ID",
        "X-Mms-Request-Status-Code",
    ];

    proptest! {
        #[test]
        fn no_value_of_the_request_becomes_a_field(
            transaction in "[ -~\r\n\t\u{0}\u{85}\u{2028}é]{0,60}",
            id in "(\r|\n|\r\n |Bcc: x|\\PC){0,20}",
            version in "[0-9.\r\n :]{0,20}",
            to in "(\r\n |\n|Bcc: |[a-z]|@|,|\u{0}){0,30}",
        ) {
            let mail = format!(
                "X-Mms-Message-Type: MM4_forward.REQ\r\nX-Mms-Originator-System: a{to}@example.net\r\n\
                 X-Mms-Transaction-ID: t{transaction}\r\nX-Mms-Message-ID: m{id}\r\n\
                 X-Mms-3GPP-MMS-Version: 5{version}\r\nX-Mms-Ack-Request: Yes\r\n\r\n"
            );
            if let Ok(res) = composed(&mail, &answer(true)) {
                let header = Header::parse(res.as_bytes());
                let names: Vec<_> = header.fields.iter().map(|field| field.name()).collect();
                // A line end in a value may end the header before the Message-ID.
                let mut wanted = FIELDS.to_vec();
                wanted.retain(|name| *name != "X-Mms-Message-ID" || names.contains(&(*name).into()));
                prop_assert_eq!(&names, &wanted);
                prop_assert_eq!(header.length, res.len());
                prop_assert_eq!(header.junk, 0);
                prop_assert!(!res.contains('\r'));
                prop_assert_eq!(res.lines().count(), names.len() + 1);
            }
        }
    }
}

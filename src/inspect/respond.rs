//! The RES that answers a REQ (TS 23.140, 8.4.1 to 8.4.3).
//!
//! The result is a mail of a header block alone. Its lines end with LF, which is
//! what `sendmail -t` takes and what `swaks --data -` turns into CRLF. What the
//! peer wrote is echoed only if it can be nothing but the value of its field; a
//! value that swaks would expand into something else is refused unless forced.
//! Fails with a sentence that says what is in the way and how to mend it.

use jiff::Timestamp;

use super::message::Message;
use crate::mm4::{Address, MessageType, REQUEST_STATUS_CODES};

/// Octets of a line, its LF excluded (RFC 5322 2.1.1).
const MAX_LINE: usize = 998;
/// The version claimed when the REQ names none.
const DEFAULT_VERSION: &str = "6.10.0";

/// What the RES shall say.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// `X-Mms-Request-Status-Code`, one of [`REQUEST_STATUS_CODES`].
    pub status: String,
    /// `X-Mms-Status-Text`.
    pub text: Option<String>,
    /// Answer although none was asked for, or although a value is delicate.
    pub force: bool,
}

/// The spelling of a status code, given in any case.
pub fn status(word: &str) -> Option<&'static str> {
    REQUEST_STATUS_CODES
        .into_iter()
        .find(|code| code.eq_ignore_ascii_case(word.trim()))
}

/// Composes the RES. `now` is the date that it bears, `unique` what sets its
/// Message-ID apart from every other of that moment.
///
/// # Errors
///
/// When the message is no REQ, asks for no answer, names no address or no
/// transaction, or holds a value that cannot be echoed.
pub fn compose(
    message: &Message<'_>,
    answer: &Answer,
    now: Timestamp,
    unique: u32,
) -> Result<String, String> {
    let response = response_type(message)?;
    if !answer.force && message.yes("X-Mms-Ack-Request") != Some(true) {
        return Err(
            "it asks for no answer (X-Mms-Ack-Request is not Yes); --force answers all the same"
                .to_owned(),
        );
    }
    let to = recipient(message)?;
    let domain = own_domain(message);
    let mut mail = Mail {
        lines: String::new(),
        force: answer.force,
    };
    mail.field("From", &format!("system-user@{domain}"))?;
    mail.field("Sender", &format!("system-user@{domain}"))?;
    mail.field("To", &to)?;
    mail.field(
        "Date",
        &now.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string(),
    )?;
    mail.field(
        "Message-ID",
        &format!("<{}.{unique}@{domain}>", now.as_microsecond()),
    )?;
    mail.field("Auto-Submitted", "auto-replied")?;
    let version = message.header.raw_value("X-Mms-3GPP-MMS-Version");
    mail.field(
        "X-Mms-3GPP-MMS-Version",
        version.as_deref().unwrap_or(DEFAULT_VERSION),
    )?;
    mail.field("X-Mms-Message-Type", response.name())?;
    let transaction = message.header.raw_value("X-Mms-Transaction-ID").ok_or(
        "it has no X-Mms-Transaction-ID, without which no answer can be told from another",
    )?;
    mail.field("X-Mms-Transaction-ID", &transaction)?;
    // TS 23.140 8.4.3: the answer to a read report bears no Message-ID.
    if response != MessageType::ReadReplyReportRes
        && let Some(id) = message.header.raw_value("X-Mms-Message-ID")
    {
        mail.field("X-Mms-Message-ID", &id)?;
    }
    mail.field("X-Mms-Request-Status-Code", &answer.status)?;
    if let Some(text) = answer.text.as_deref().filter(|text| !text.is_empty()) {
        mail.field("X-Mms-Status-Text", &encoded(text))?;
    }
    mail.lines.push('\n');
    Ok(mail.lines)
}

fn response_type(message: &Message<'_>) -> Result<MessageType, String> {
    match message.kind() {
        Some(kind) => kind
            .response()
            .ok_or_else(|| format!("it is itself an answer ({})", kind.name())),
        None => {
            Err("it is no MM4 request (its X-Mms-Message-Type is none of TS 23.140)".to_owned())
        }
    }
}

/// One mailbox with a domain, as it may stand in a `To:` that a mailer reads:
/// anything else could name further recipients.
fn recipient(message: &Message<'_>) -> Result<String, String> {
    let (field, written) = message.response_address().ok_or(
        "nothing says where an answer goes: it has no X-Mms-Originator-System and no Sender",
    )?;
    let address = Address::parse(&written);
    let text = address.as_ref().map(Address::to_string).unwrap_or_default();
    let domain = address.as_ref().and_then(Address::domain);
    let domain_is_right = domain.is_some_and(|domain| {
        let literal = domain.starts_with('[') && domain.ends_with(']');
        let inner = domain.trim_matches(['[', ']']);
        let letters = inner.bytes().all(|octet| {
            octet.is_ascii_alphanumeric() || b"-._".contains(&octet) || (literal && octet == b':')
        });
        !inner.is_empty() && letters
    });
    // RFC 5322 3.2.3: the letters of an atom, and dots between atoms.
    let local_is_right = text.rsplit_once('@').is_some_and(|(local, _)| {
        !local.is_empty()
            && !local.starts_with('-')
            && local.bytes().all(|octet| {
                octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&octet)
            })
    });
    if local_is_right && domain_is_right {
        return Ok(text);
    }
    Err(format!(
        "{field} is {written}, which is no mailbox with a domain"
    ))
}

/// Who answers: the domain that the peer wrote to, else the server's name,
/// else that of the recipient in the header.
fn own_domain(message: &Message<'_>) -> String {
    let trace = message.trace.as_ref();
    let envelope = trace
        .and_then(|trace| trace.recipients.first())
        .and_then(|path| Address::parse(path)?.domain().map(str::to_owned));
    let server = trace.and_then(|trace| trace.server.clone());
    let header = message
        .addresses("To")
        .iter()
        .find_map(|to| to.domain().map(str::to_owned));
    [envelope, server, header]
        .into_iter()
        .flatten()
        .find(|domain| is_host_name(domain))
        .unwrap_or_else(|| "localhost".to_owned())
}

fn is_host_name(text: &str) -> bool {
    let letters = |text: &str| {
        text.bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || b"-._".contains(&octet))
    };
    !text.is_empty() && letters(text)
}

struct Mail {
    lines: String,
    force: bool,
}

impl Mail {
    fn field(&mut self, name: &str, value: &str) -> Result<(), String> {
        // One line, whatever the peer wrote: no CR, no LF, no other control.
        if value.chars().any(char::is_control) {
            return Err(format!(
                "{name} holds a control character and cannot be echoed"
            ));
        }
        if name.len() + 2 + value.len() > MAX_LINE {
            return Err(format!(
                "{name} is longer than a line of mail may be ({MAX_LINE} octets)"
            ));
        }
        if !self.force
            && let Some(token) = swaks_token(value)
        {
            return Err(format!(
                "{name} holds {token}, which `swaks --data` replaces; --force writes it, for \
                 `sendmail -t` or `swaks --no-data-fixup`"
            ));
        }
        self.lines.push_str(name);
        self.lines.push_str(": ");
        self.lines.push_str(value);
        self.lines.push('\n');
        Ok(())
    }
}

/// What swaks puts something else in the place of: a backslash and an `n` would
/// become a line end, and the rest of the value a field of its own.
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

/// ASCII as it is, other text as encoded words (RFC 2047) of at most 75 octets.
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
    use crate::inspect::header::Header;
    use crate::inspect::message::tests::{TRACE, given};
    use proptest::prelude::*;

    fn answer(force: bool) -> Answer {
        Answer {
            status: "Ok".to_owned(),
            text: None,
            force,
        }
    }

    fn composed(mail: &str, answer: &Answer) -> Result<String, String> {
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
    fn an_answer_that_nobody_asked_for_is_refused_unless_forced() {
        for ack in ["X-Mms-Ack-Request: No", "X-Mms-Ack-Request:", "X-Other: x"] {
            let mail = request("MM4_forward.REQ").replace("X-Mms-Ack-Request: Yes", ack);
            assert!(
                composed(&mail, &answer(false))
                    .unwrap_err()
                    .contains("--force")
            );
            assert!(composed(&mail, &answer(true)).is_ok());
        }
        let mail = request("MM4_forward.REQ").replace("Request: Yes", "Request: 1");
        assert!(composed(&mail, &answer(false)).is_ok());
    }

    #[test]
    fn what_is_no_request_has_no_answer() {
        for kind in ["MM4_forward.RES", "MM1_send.REQ", ""] {
            assert!(composed(&request(kind), &answer(true)).is_err(), "{kind}");
        }
    }

    #[test]
    fn the_sender_stands_in_for_the_originator_system() {
        let mail = request("MM4_forward.REQ").replace("X-Mms-Originator-System", "X-Other");
        let res = composed(&mail, &answer(false)).unwrap();
        assert!(res.contains("\nTo: other@mms.example.net\n"), "{res}");
        let mail = mail.replace("\r\nSender:", "\r\nX-No:");
        assert!(
            composed(&mail, &answer(true))
                .unwrap_err()
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
                .contains("swaks")
        );
        let res = composed(&mail, &answer(true)).unwrap();
        assert!(res.contains("X-Mms-Message-ID: m1\\nBcc: b@example.com\n"));
    }

    #[test]
    fn a_text_beyond_ascii_is_encoded() {
        let text = "הודעה לא התקבלה כי היא גדולה מדי";
        let answer = Answer {
            status: "Error-content-not-accepted".to_owned(),
            text: Some(text.to_owned()),
            force: false,
        };
        let res = composed(&request("MM4_forward.REQ"), &answer).unwrap();
        assert!(res.is_ascii());
        let header = Header::parse(res.as_bytes());
        assert_eq!(header.value("X-Mms-Status-Text").as_deref(), Some(text));
    }

    #[test]
    fn status_codes_are_known_in_any_case() {
        assert_eq!(status("ok"), Some("Ok"));
        assert_eq!(
            status("error-Network-Problem"),
            Some("Error-network-problem")
        );
        assert_eq!(status("fine"), None);
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
                prop_assert_eq!(header.octets, res.len());
                prop_assert_eq!(header.junk, 0);
                prop_assert!(!res.contains('\r'));
                prop_assert_eq!(res.lines().count(), names.len() + 1);
            }
        }
    }
}

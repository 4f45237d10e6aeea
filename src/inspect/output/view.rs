//! What is said of a message, whatever the form: labels, meanings, statuses.
//!
//! Everything here is plain text that may quote the peer; the module that writes
//! it escapes it for its form. Nothing fails.

use std::borrow::Cow;
use std::fmt::{self, Write};

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::terminal;
use crate::inspect::message::Message;
use crate::inspect::mime::header::Field;
use crate::inspect::mime::{Part, html};
use crate::mm4::fields::{self, yes};
use crate::mm4::status::Outcome;
use crate::mm4::{Address, MessageType, Status};

/// Columns of a message type that is none of the six.
const MAX_TYPE: usize = 24;

/// `forward.REQ`; what was written where it is none of the six, `None` where
/// nothing was.
pub(crate) fn type_label(message: &Message<'_>) -> Option<String> {
    if let Some(kind) = message.kind() {
        return Some(kind.short_name().to_owned());
    }
    let written = message.header.value("X-Mms-Message-Type")?;
    Some(terminal::cut(&written, MAX_TYPE))
}

/// From whom to whom.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// `-` where nothing says.
    pub(crate) from: String,
    /// The first recipient, `-` where there is none.
    pub(crate) to: String,
    /// Further recipients.
    pub(crate) more: usize,
}

impl Route {
    pub(crate) fn of(message: &Message<'_>) -> Route {
        let (from, to) = message.route();
        let short = |address: Option<&Address>| address.map_or("-".to_owned(), Address::short);
        Route {
            from: short(from.as_ref()),
            to: short(to.first()),
            more: to.len().saturating_sub(1),
        }
    }
}

/// `+972500000001 → +972500000002 (+1)`
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {}", self.from, self.to)?;
        match self.more {
            0 => Ok(()),
            more => write!(f, " (+{more})"),
        }
    }
}

/// The mail's own fields: those of MM4, and the others, each in their order.
pub(crate) fn own_fields<'m, 'a>(
    message: &'m Message<'a>,
) -> (Vec<&'m Field<'a>>, Vec<&'m Field<'a>>) {
    let is_mm4 = |field: &&Field<'_>| {
        let name = field.name();
        name.get(..6)
            .is_some_and(|start| start.eq_ignore_ascii_case("x-mms-"))
    };
    message.fields().partition(is_mm4)
}

/// What the values of a message's fields mean. What concerns the message as a
/// whole is found out once, since a hostile message has thousands of fields.
pub(crate) struct Meanings {
    kind: Option<MessageType>,
    date: Option<Timestamp>,
    expiry: Option<Timestamp>,
    answer: String,
}

/// Characters of the address in the meaning of `X-Mms-Ack-Request`.
const MAX_ADDRESS: usize = 200;

impl Meanings {
    pub(crate) fn of(message: &Message<'_>) -> Meanings {
        let answer = match message.response_address() {
            Some((field, to)) => {
                let to = terminal::cut(&to, MAX_ADDRESS);
                format!("an answer is wanted, to {to}, by {field}")
            }
            None => "an answer is wanted, but nothing says where".to_owned(),
        };
        Meanings {
            kind: message.kind(),
            date: message.date(),
            expiry: message.expiry(),
            answer,
        }
    }

    /// What the value of a field means; `None` where the value says it itself.
    pub(crate) fn field(&self, field: &Field<'_>) -> Option<String> {
        let name = field.name().to_ascii_lowercase();
        match name.as_str() {
            "x-mms-expiry" => Some(match self.expiry {
                Some(expiry) => moment(expiry),
                None => "neither a date nor seconds".to_owned(),
            }),
            "x-mms-ack-request" => Some(match yes(&field.value())? {
                true => self.answer.clone(),
                false => "no answer is wanted".to_owned(),
            }),
            "x-mms-transaction-id" => Some(match self.kind?.is_request() {
                true => "its answer will have the same".to_owned(),
                false => "that of the message it answers".to_owned(),
            }),
            "date" => Some(match self.date {
                Some(date) => moment(date),
                None => "not a date of RFC 5322".to_owned(),
            }),
            "to" | "cc" => {
                let count = Address::parse_list(&field.raw_value()).len();
                (count > 1).then(|| format!("{count} addresses"))
            }
            _ => fields::meaning(&name, &field.value()).map(str::to_owned),
        }
    }
}

/// A status that a message reports.
#[derive(Clone, Debug)]
pub(crate) struct ReportedStatus {
    /// As written.
    pub(crate) value: String,
    /// What it means, and what the sender adds; may be empty.
    pub(crate) explanation: String,
    /// How it is to be taken.
    pub(crate) outcome: Outcome,
}

/// What a RES or a report says became of a message; empty for others.
pub(crate) fn statuses(message: &Message<'_>) -> Vec<ReportedStatus> {
    let mut statuses = Vec::new();
    for name in Status::FIELDS {
        let Some(value) = message.header.value(name) else {
            continue;
        };
        let status = Status::parse(name, &value);
        let text = message.header.value("X-Mms-Status-Text");
        let text = text.filter(|text| !text.eq_ignore_ascii_case(&value));
        let words = [status.map(|status| status.meaning().to_owned()), text];
        let words: Vec<String> = words.into_iter().flatten().collect();
        statuses.push(ReportedStatus {
            explanation: words.join(": "),
            outcome: status.map_or(Outcome::Open, Status::outcome),
            value,
        });
    }
    statuses
}

/// `smil text jpeg×2`: the types of the parts in the order of their first.
pub(crate) fn parts_in_short(message: &Message<'_>) -> String {
    let mut types: Vec<(String, usize)> = Vec::new();
    for part in message.leaves() {
        let name = part.short_type();
        match types.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => types.push((name, 1)),
        }
    }
    let words = types.into_iter().map(|(name, count)| match count {
        1 => name,
        _ => format!("{name}×{count}"),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The text of a part as a person reads it: line ends are LF, none at the end.
/// `bytes` is what the part holds, or the beginning of it.
pub(crate) fn readable_text(part: &Part<'_>, bytes: &[u8]) -> String {
    let text = part.text(bytes);
    let text = text.trim_end();
    let text: Cow<'_, str> = match text.contains('\r') {
        true => text.replace("\r\n", "\n").replace('\r', "\n").into(),
        false => text.into(),
    };
    text.into_owned()
}

/// The text of a part as a phone shows it: of HTML its text without the tags.
pub(crate) fn shown_text(part: &Part<'_>, bytes: &[u8]) -> String {
    let text = readable_text(part, bytes);
    match part.is_html() {
        true => html::to_text(&text),
        false => text,
    }
}

/// A moment, to the second.
pub(crate) fn moment(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A duration: `5 s`, `1.5 s`.
pub(crate) fn seconds(milliseconds: u64) -> String {
    match milliseconds % 1000 {
        0 => format!("{} s", milliseconds / 1000),
        _ => format!("{:.1} s", milliseconds as f64 / 1000.0),
    }
}

/// `1 finding`, `2 findings`
pub(crate) fn findings(count: usize) -> String {
    match count {
        1 => "1 finding".to_owned(),
        _ => format!("{count} findings"),
    }
}

/// A size: `812 B`, `12.3 kB`, `1.4 MB`; k is 1000.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..999_950 => format!("{:.1} kB", bytes as f64 / 1000.0),
        999_950..999_950_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// The SHA-256 of bytes in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::message::tests::given;

    #[test]
    fn sizes_are_rounded_to_their_unit() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(12_345), "12.3 kB");
        assert_eq!(size(999_999), "1.0 MB");
        assert_eq!(size(5 << 30), "5.4 GB");
    }

    #[test]
    fn a_digest_is_hexadecimal() {
        assert_eq!(
            sha256(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_status_is_explained_with_what_its_sender_adds() {
        let (entry, raw) = given(
            b"X-Mms-Request-Status-Code: Error-network-problem\r\nX-Mms-Status-Text: try later\r\n",
        );
        let found = statuses(&Message::read(&entry, &raw));
        assert_eq!(
            found[0].explanation,
            "the request was refused: a network had a problem: try later"
        );
        assert_eq!(found[0].outcome, Outcome::Bad);
    }

    #[test]
    fn a_route_names_the_first_recipient_and_counts_the_others() {
        let (entry, raw) = given(b"From: +1234/TYPE=PLMN\r\nTo: 3456, 7890\r\n");
        let route = Route::of(&Message::read(&entry, &raw));
        assert_eq!(route.to_string(), "+1234 → 3456 (+1)");
        let (entry, raw) = given(b"Subject: x\r\n");
        assert_eq!(Route::of(&Message::read(&entry, &raw)).to_string(), "- → -");
    }

    #[test]
    fn parts_are_counted_by_type() {
        let (entry, raw) = given(
            b"Content-Type: multipart/related; boundary=x\n\n--x\nContent-Type: image/jpeg\n\na\n\
              --x\n\nhi\n--x\nContent-Type: image/jpeg\n\nb\n--x--\n",
        );
        let message = Message::read(&entry, &raw);
        assert_eq!(parts_in_short(&message), "jpeg×2 text");
    }
}

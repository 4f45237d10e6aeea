//! A message as one JSON object on one line (RFC 8259), for `jq`.
//!
//! The keys are the same for every message and stay what they are: a key may be
//! added, none is taken away or changes its meaning. What a mail does not have
//! is `null`, of a list an empty list. Ids lose their quotes, addresses are
//! objects, dates are RFC 3339 in UTC, sizes are octets. Limits: [`MAX_TEXT`]
//! octets of a text part. Nothing fails.

use std::fmt;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::check::{self, Finding, Profile};
use super::message::{Message, readable};
use super::mime::Part;
use super::terminal::is_unsafe;
use crate::mm4::Address;

/// Octets of a text part that are given as its text; the size and the digest are
/// those of all of it.
pub const MAX_TEXT: usize = 1024 * 1024;

/// A JSON value whose keys keep their order.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// What is not there.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A count.
    Number(u64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// An object.
    Object(Vec<(&'static str, Json)>),
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(value) => value.fmt(f),
            Json::Number(value) => value.fmt(f),
            Json::Text(text) => quoted(f, text),
            Json::List(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    f.write_str(if at > 0 { "," } else { "" })?;
                    item.fmt(f)?;
                }
                f.write_str("]")
            }
            Json::Object(members) => {
                f.write_str("{")?;
                for (at, (key, value)) in members.iter().enumerate() {
                    f.write_str(if at > 0 { "," } else { "" })?;
                    write!(f, "\"{key}\":{value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

/// RFC 8259 7, and what would steer a terminal is escaped too.
fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    use fmt::Write;
    f.write_char('"')?;
    for letter in text.chars() {
        match letter {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            letter if letter.is_control() || is_unsafe(letter) => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    write!(f, "\\u{unit:04x}")?;
                }
            }
            letter => f.write_char(letter)?,
        }
    }
    f.write_char('"')
}

impl<T: Into<Json>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Json {
        value.map_or(Json::Null, Into::into)
    }
}

impl<T: Into<Json>> From<Vec<T>> for Json {
    fn from(items: Vec<T>) -> Json {
        Json::List(items.into_iter().map(Into::into).collect())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Json {
        Json::Text(text)
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Json {
        Json::Text(text.to_owned())
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Json {
        Json::Bool(value)
    }
}

impl From<u64> for Json {
    fn from(value: u64) -> Json {
        Json::Number(value)
    }
}

impl From<usize> for Json {
    fn from(value: usize) -> Json {
        Json::Number(value as u64)
    }
}

impl From<Timestamp> for Json {
    fn from(time: Timestamp) -> Json {
        Json::Text(time.to_string())
    }
}

/// A number has the keys `number`, `type` and `domain`, any other address
/// `local` and `domain`.
impl From<Address> for Json {
    fn from(address: Address) -> Json {
        match address {
            Address::Number {
                number,
                kind,
                domain,
            } => Json::Object(vec![
                ("number", number.into()),
                ("type", kind.into()),
                ("domain", domain.into()),
            ]),
            Address::Mail { local, domain } => {
                Json::Object(vec![("local", local.into()), ("domain", domain.into())])
            }
        }
    }
}

impl From<Finding> for Json {
    fn from(finding: Finding) -> Json {
        Json::Object(vec![
            ("code", finding.code.into()),
            ("part", finding.part.into()),
            ("text", finding.text.into()),
        ])
    }
}

/// The object that `list`, `show` and `follow` print for a message.
pub fn message(message: &Message<'_>) -> Json {
    let text = |name: &str| -> Json { message.header.value(name).into() };
    let id = |name: &str| -> Json { message.unquoted(name).into() };
    let yes = |name: &str| -> Json { message.yes(name).into() };
    Json::Object(vec![
        ("id", message.id.into()),
        ("path", message.path.to_string_lossy().into_owned().into()),
        ("time", message.time.into()),
        ("account", message.account().into()),
        ("envelope", envelope(message)),
        ("type", text("X-Mms-Message-Type")),
        ("version", text("X-Mms-3GPP-MMS-Version")),
        ("transaction_id", id("X-Mms-Transaction-ID")),
        ("message_id", id("X-Mms-Message-ID")),
        ("from", message.address("From").into()),
        ("to", message.addresses("To").into()),
        ("cc", message.addresses("Cc").into()),
        ("sender", message.address("Sender").into()),
        ("subject", text("Subject")),
        ("date", message.date().into()),
        ("expiry", message.expiry().into()),
        ("message_class", text("X-Mms-Message-Class")),
        ("content_class", text("X-Mms-Content-Class")),
        ("priority", text("X-Mms-Priority")),
        ("sender_visibility", text("X-Mms-Sender-Visibility")),
        ("delivery_report", yes("X-Mms-Delivery-Report")),
        ("read_reply", yes("X-Mms-Read-Reply")),
        ("ack_request", yes("X-Mms-Ack-Request")),
        (
            "originator_system",
            message.address("X-Mms-Originator-System").into(),
        ),
        ("request_status", text("X-Mms-Request-Status-Code")),
        ("status_text", text("X-Mms-Status-Text")),
        ("mm_status", text("X-Mms-MM-Status-Code")),
        ("mm_status_extension", text("X-Mms-MM-Status-Extension")),
        ("read_status", text("X-Mms-Read-Status")),
        ("fields", fields(message)),
        ("size", message.size.into()),
        ("truncated", message.truncated.into()),
        ("parts", Json::List(message.leaves().map(part).collect())),
        ("slides", slides(message)),
        (
            "findings",
            check::findings(message, &Profile::default()).into(),
        ),
    ])
}

fn envelope(message: &Message<'_>) -> Json {
    let Some(trace) = &message.trace else {
        return Json::Null;
    };
    let recipients = trace.recipients.iter();
    Json::Object(vec![
        ("from", Address::parse(&trace.return_path).into()),
        (
            "to",
            Json::List(recipients.map(|path| Address::parse(path).into()).collect()),
        ),
        ("client", trace.client.clone().into()),
        ("peer", trace.peer.clone().into()),
        ("server", trace.server.clone().into()),
        ("protocol", trace.protocol.clone().into()),
        ("date", trace.date.into()),
    ])
}

/// Every field of the mail itself, so that none is lost that has no key.
fn fields(message: &Message<'_>) -> Json {
    let above = message.trace.as_ref().map_or(0, |trace| trace.octets);
    let fields = message.header.fields.iter();
    Json::List(
        fields
            .filter(|field| field.start() >= above)
            .map(|field| {
                Json::Object(vec![
                    ("name", field.name().into_owned().into()),
                    ("value", field.value().into()),
                ])
            })
            .collect(),
    )
}

fn part(part: &Part<'_>) -> Json {
    let decoded = part.decode();
    let begin = decoded.octets.get(..MAX_TEXT).unwrap_or(&decoded.octets);
    let text = part
        .is_text()
        .then(|| readable(&part.text(begin)).into_owned());
    Json::Object(vec![
        ("number", part.number.into()),
        ("type", part.media_type.as_str().into()),
        ("name", part.name.clone().into()),
        ("content_id", part.content_id.clone().into()),
        ("location", part.location.clone().into()),
        ("charset", part.params.get("charset").cloned().into()),
        ("encoding", part.encoding.as_str().into()),
        ("size", decoded.octets.len().into()),
        ("sha256", sha256(&decoded.octets).into()),
        ("text", text.into()),
    ])
}

fn slides(message: &Message<'_>) -> Json {
    let slides = message
        .presentation
        .iter()
        .flat_map(|found| &found.1.slides);
    Json::List(
        slides
            .map(|slide| {
                let items = slide.items.iter().map(|item| {
                    Json::Object(vec![
                        ("element", item.element.as_str().into()),
                        ("src", item.src.as_str().into()),
                        ("part", item.part.into()),
                    ])
                });
                Json::Object(vec![
                    ("duration_ms", slide.duration_ms.into()),
                    ("items", Json::List(items.collect())),
                ])
            })
            .collect(),
    )
}

/// The SHA-256 of octets in hexadecimal.
pub fn sha256(octets: &[u8]) -> String {
    use fmt::Write;
    Sha256::digest(octets)
        .iter()
        .fold(String::with_capacity(64), |mut text, octet| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{octet:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::message::tests::given;

    #[test]
    fn texts_are_escaped() {
        let json = Json::from("a\"b\\c\n\u{1b}\u{202e}\u{9b}\u{e0001}é");
        assert_eq!(
            json.to_string(),
            "\"a\\\"b\\\\c\\n\\u001b\\u202e\\u009b\\udb40\\udc01é\""
        );
    }

    fn keys(mail: &[u8]) -> Vec<&'static str> {
        let (entry, file) = given(mail);
        match message(&Message::read(&entry, &file)) {
            Json::Object(members) => members.into_iter().map(|(key, _)| key).collect(),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn the_keys_are_the_same_for_every_message() {
        let all = keys(b"From: +972500000001/TYPE=PLMN\r\n\r\nx");
        assert_eq!(all, keys(b""));
        assert_eq!(all, keys(b"\0\xff\r\n--\r\n"));
    }

    #[test]
    fn a_digest_is_that_of_the_decoded_octets() {
        assert_eq!(
            sha256(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn addresses_are_objects_and_ids_lose_their_quotes() {
        let (entry, file) = given(
            b"From: +972500000001/TYPE=PLMN\r\nSender: a@example.net\r\n\
              X-Mms-Transaction-ID: \"1@mms.example.net\"\r\n",
        );
        let json = message(&Message::read(&entry, &file)).to_string();
        for wanted in [
            r#""from":{"number":"+972500000001","type":"PLMN","domain":null}"#,
            r#""sender":{"local":"a","domain":"example.net"}"#,
            r#""transaction_id":"1@mms.example.net""#,
            r#""parts":[]"#,
            r#""account":null"#,
        ] {
            assert!(json.contains(wanted), "{json}");
        }
    }
}

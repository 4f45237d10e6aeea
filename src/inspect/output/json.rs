//! A message as one JSON object on one line (RFC 8259), for `jq`.
//!
//! The keys, in README.md, are the same for every message: a key may be added,
//! none is removed or changes its meaning. What a mail does not have is `null`,
//! of a list an empty list. Limit: [`MAX_TEXT`] bytes of a text part.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use super::terminal::is_unsafe;
use super::view::{readable_text, sha256};
use crate::inspect::check::{self, Profile};
use crate::inspect::exchange::Link;
use crate::inspect::finding::{Finding, Severity};
use crate::inspect::message::Message;
use crate::inspect::mime::Part;
use crate::inspect::smil::Slide;
use crate::mm4::Address;

/// Bytes of a text part that are given as its text; the size and the digest are
/// those of all of it.
pub const MAX_TEXT: usize = 1024 * 1024;

/// Writes the object of a message, and a line end.
///
/// # Errors
///
/// When nothing can be written.
pub fn write(message: &Message<'_>, out: &mut dyn Write) -> io::Result<()> {
    write_line(&MessageObject::of(message), out)
}

/// Writes the object of a message that belongs to another, and a line end: the keys of
/// every message, and `joined_to` and `after_ms`.
///
/// # Errors
///
/// When nothing can be written.
pub(crate) fn write_joined(
    message: &Message<'_>,
    link: Option<Link<'_>>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let after = link.and_then(|link| link.after);
    let object = JoinedObject {
        message: MessageObject::of(message),
        joined_to: link.map(|link| link.to.id.as_str()),
        after_ms: after.map(|after| after.as_millis()),
    };
    write_line(&object, out)
}

/// Writes the object of a finding of `check`, and a line end.
///
/// # Errors
///
/// When nothing can be written.
pub(crate) fn write_finding(
    message: &Message<'_>,
    finding: &Finding,
    severity: Severity,
    out: &mut dyn Write,
) -> io::Result<()> {
    let object = CheckObject {
        id: message.id,
        account: message.account(),
        severity: severity.name(),
        code: finding.code.name(),
        part: finding.part,
        text: &finding.text,
    };
    write_line(&object, out)
}

#[derive(Serialize)]
struct JoinedObject<'m> {
    #[serde(flatten)]
    message: MessageObject<'m>,
    joined_to: Option<&'m str>,
    after_ms: Option<i128>,
}

#[derive(Serialize)]
struct CheckObject<'m> {
    id: &'m str,
    account: Option<&'m str>,
    severity: &'static str,
    code: &'static str,
    part: Option<usize>,
    text: &'m str,
}

fn write_line(object: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    let mut serializer = Serializer::with_formatter(&mut *out, Harmless);
    object.serialize(&mut serializer)?;
    out.write_all(b"\n")
}

#[derive(Serialize)]
struct MessageObject<'m> {
    id: &'m str,
    path: String,
    time: Option<Timestamp>,
    account: Option<&'m str>,
    envelope: Option<EnvelopeObject>,
    r#type: Option<String>,
    version: Option<String>,
    transaction_id: Option<String>,
    message_id: Option<String>,
    from: Option<AddressObject>,
    to: Vec<AddressObject>,
    cc: Vec<AddressObject>,
    sender: Option<AddressObject>,
    subject: Option<String>,
    date: Option<Timestamp>,
    expiry: Option<Timestamp>,
    message_class: Option<String>,
    content_class: Option<String>,
    priority: Option<String>,
    sender_visibility: Option<String>,
    delivery_report: Option<bool>,
    read_reply: Option<bool>,
    ack_request: Option<bool>,
    originator_system: Option<AddressObject>,
    request_status: Option<String>,
    status_text: Option<String>,
    mm_status: Option<String>,
    mm_status_extension: Option<String>,
    read_status: Option<String>,
    fields: Vec<FieldObject>,
    size: u64,
    truncated: bool,
    parts: Vec<PartObject<'m>>,
    slides: Vec<SlideObject<'m>>,
    findings: Vec<FindingObject>,
}

#[derive(Serialize)]
struct EnvelopeObject {
    from: Option<AddressObject>,
    to: Vec<AddressObject>,
    client: String,
    peer: String,
    server: String,
    protocol: &'static str,
    date: Timestamp,
}

#[derive(Serialize)]
#[serde(untagged)]
enum AddressObject {
    Number {
        number: String,
        r#type: Option<String>,
        domain: Option<String>,
    },
    Mail {
        local: String,
        domain: Option<String>,
    },
}

#[derive(Serialize)]
struct FieldObject {
    name: String,
    value: String,
}

#[derive(Serialize)]
struct PartObject<'m> {
    number: Option<usize>,
    r#type: &'m str,
    name: Option<&'m str>,
    content_id: Option<&'m str>,
    location: Option<&'m str>,
    charset: Option<&'m str>,
    encoding: &'m str,
    size: usize,
    sha256: String,
    text: Option<String>,
}

#[derive(Serialize)]
struct SlideObject<'m> {
    duration_ms: Option<u64>,
    items: Vec<ItemObject<'m>>,
}

#[derive(Serialize)]
struct ItemObject<'m> {
    element: &'m str,
    src: &'m str,
    part: Option<usize>,
}

#[derive(Serialize)]
struct FindingObject {
    code: &'static str,
    part: Option<usize>,
    text: String,
}

impl<'m> MessageObject<'m> {
    fn of(message: &'m Message<'_>) -> MessageObject<'m> {
        let text = |name: &str| message.header.value(name);
        let address = |name: &str| message.address(name).map(AddressObject::from);
        let addresses = |name: &str| objects(message.addresses(name));
        let slides = message
            .presentation
            .iter()
            .flat_map(|found| &found.1.slides);
        MessageObject {
            id: message.id,
            path: message.path.to_string_lossy().into_owned(),
            time: message.time,
            account: message.account(),
            envelope: EnvelopeObject::of(message),
            r#type: text("X-Mms-Message-Type"),
            version: text("X-Mms-3GPP-MMS-Version"),
            transaction_id: message.unquoted("X-Mms-Transaction-ID"),
            message_id: message.unquoted("X-Mms-Message-ID"),
            from: address("From"),
            to: addresses("To"),
            cc: addresses("Cc"),
            sender: address("Sender"),
            subject: text("Subject"),
            date: message.date(),
            expiry: message.expiry(),
            message_class: text("X-Mms-Message-Class"),
            content_class: text("X-Mms-Content-Class"),
            priority: text("X-Mms-Priority"),
            sender_visibility: text("X-Mms-Sender-Visibility"),
            delivery_report: message.yes("X-Mms-Delivery-Report"),
            read_reply: message.yes("X-Mms-Read-Reply"),
            ack_request: message.yes("X-Mms-Ack-Request"),
            originator_system: address("X-Mms-Originator-System"),
            request_status: text("X-Mms-Request-Status-Code"),
            status_text: text("X-Mms-Status-Text"),
            mm_status: text("X-Mms-MM-Status-Code"),
            mm_status_extension: text("X-Mms-MM-Status-Extension"),
            read_status: text("X-Mms-Read-Status"),
            // All of them, so that none is lost that has no key.
            fields: message
                .fields()
                .map(|field| FieldObject {
                    name: field.name().into_owned(),
                    value: field.value(),
                })
                .collect(),
            size: message.size,
            truncated: message.truncated,
            parts: message.leaves().map(PartObject::of).collect(),
            slides: slides.map(SlideObject::of).collect(),
            findings: check::findings(message, &Profile::default())
                .into_iter()
                .map(FindingObject::from)
                .collect(),
        }
    }
}

impl EnvelopeObject {
    fn of(message: &Message<'_>) -> Option<EnvelopeObject> {
        let trace = message.trace.as_ref()?;
        Some(EnvelopeObject {
            from: message.envelope_from().map(AddressObject::from),
            to: objects(message.envelope_to()),
            client: trace.envelope.hello.to_string(),
            peer: trace.origin.address_literal(),
            server: trace.server.clone(),
            protocol: trace.origin.protocol(),
            date: trace.date,
        })
    }
}

fn objects(addresses: Vec<Address>) -> Vec<AddressObject> {
    addresses.into_iter().map(AddressObject::from).collect()
}

impl From<Address> for AddressObject {
    fn from(address: Address) -> AddressObject {
        match address {
            Address::Number {
                number,
                kind,
                domain,
            } => AddressObject::Number {
                number,
                r#type: kind,
                domain,
            },
            Address::Mail { local, domain } => AddressObject::Mail { local, domain },
        }
    }
}

impl<'m> PartObject<'m> {
    fn of(part: &'m Part<'_>) -> PartObject<'m> {
        let bytes = part.decode().bytes;
        let begin = bytes.get(..MAX_TEXT).unwrap_or(&bytes);
        PartObject {
            number: part.number,
            r#type: &part.media_type,
            name: part.name.as_deref(),
            content_id: part.content_id.as_deref(),
            location: part.location.as_deref(),
            charset: part.params.get("charset").map(String::as_str),
            encoding: &part.encoding,
            size: bytes.len(),
            sha256: sha256(&bytes),
            text: part.is_text().then(|| readable_text(part, begin)),
        }
    }
}

impl<'m> SlideObject<'m> {
    fn of(slide: &'m Slide) -> SlideObject<'m> {
        let items = slide.items.iter().map(|item| ItemObject {
            element: &item.element,
            src: &item.src,
            part: item.part,
        });
        SlideObject {
            duration_ms: slide.duration_ms,
            items: items.collect(),
        }
    }
}

impl From<Finding> for FindingObject {
    fn from(finding: Finding) -> FindingObject {
        FindingObject {
            code: finding.code.name(),
            part: finding.part,
            text: finding.text,
        }
    }
}

/// Escapes more than RFC 8259 7 demands: whatever would steer a terminal.
struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut written = 0;
        for (at, letter) in fragment.char_indices() {
            if !letter.is_control() && !is_unsafe(letter) {
                continue;
            }
            let plain = fragment.get(written..at).unwrap_or_default();
            writer.write_all(plain.as_bytes())?;
            for unit in letter.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            written = at + letter.len_utf8();
        }
        let plain = fragment.get(written..).unwrap_or_default();
        writer.write_all(plain.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::message::tests::given;

    fn line(mail: &[u8]) -> String {
        let (entry, raw) = given(mail);
        let mut out = Vec::new();
        write(&Message::read(&entry, &raw), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn texts_are_escaped() {
        let mut out = Vec::new();
        write_line(&"a\"b\\c\n\u{1b}\u{202e}\u{9b}\u{e0001}é", &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\"a\\\"b\\\\c\\n\\u001b\\u202e\\u009b\\udb40\\udc01é\"\n"
        );
    }

    #[test]
    fn every_key_is_in_the_readme() {
        let object: serde_json::Value = serde_json::from_str(&line(b"")).unwrap();
        let readme = include_str!("../README.md");
        for key in object.as_object().unwrap().keys() {
            assert!(readme.contains(&format!("`{key}`")), "{key}");
        }
    }

    #[test]
    fn addresses_are_objects_and_ids_lose_their_quotes() {
        let json = line(
            b"From: +972500000001/TYPE=PLMN\r\nSender: a@example.net\r\n\
              X-Mms-Transaction-ID: \"1@mms.example.net\"\r\n",
        );
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

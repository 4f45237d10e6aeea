//! What is wrong with a message.
//!
//! Findings are for the operator who must explain to a carrier what its MMS
//! centre does wrong: each has a [`Code`] that scripts compare, and a sentence
//! with the clause. Nothing fails, and nothing here says that a message should be
//! refused: much of what real MMS centres send has findings. The time is linear
//! in the length of the message.

pub mod duplicates;
pub mod profile;
pub mod report;

use std::collections::HashSet;

use super::finding::{Code, Finding};
use super::message::{self, Message};
use super::mime::transfer::Encoding;
use super::mime::{Part, charset};
use crate::mm4::{MessageType, fields};

pub use self::duplicates::Duplicates;
pub use self::profile::{Profile, Profiles};
pub use self::report::Report;

/// Media types that MMS uses (OMA MMS Conformance Document, 7; TS 26.140) or
/// that phones attach.
const KNOWN_TYPES: [&str; 57] = [
    "application/smil",
    "application/smil+xml",
    "text/smil",
    "text/plain",
    "text/html",
    "text/x-vcard",
    "text/vcard",
    "text/x-vcalendar",
    "text/calendar",
    "text/xml",
    "application/xml",
    "application/vnd.wap.xhtml+xml",
    "application/xhtml+xml",
    "image/jpeg",
    "image/jpg",
    "image/pjpeg",
    "image/png",
    "image/gif",
    "image/bmp",
    "image/x-bmp",
    "image/vnd.wap.wbmp",
    "image/webp",
    "image/svg+xml",
    "image/heic",
    "image/heif",
    "image/avif",
    "image/tiff",
    "audio/amr",
    "audio/amr-wb",
    "audio/aac",
    "audio/mp3",
    "audio/mpeg",
    "audio/mpeg3",
    "audio/mpg",
    "audio/mp4",
    "audio/3gpp",
    "audio/3gpp2",
    "audio/midi",
    "audio/mid",
    "audio/x-mid",
    "audio/sp-midi",
    "audio/imelody",
    "audio/wav",
    "audio/x-wav",
    "audio/ogg",
    "audio/vnd.qcelp",
    "audio/evrc",
    "video/3gpp",
    "video/3gpp2",
    "video/mp4",
    "video/h263",
    "video/h264",
    "video/quicktime",
    "application/pdf",
    "application/ogg",
    "application/vnd.oma.drm.message",
    "message/rfc822",
];

/// What is wrong with one message, taken alone, in the order of its parts.
pub fn findings(message: &Message<'_>, profile: &Profile) -> Vec<Finding> {
    let mut findings = Findings::default();
    findings.structure(message);
    findings.message_type(message);
    findings.values(message);
    findings.limits(message, profile);
    findings.references(message);
    for part in message.leaves() {
        findings.encoding(part);
        findings.media_type(part, profile);
    }
    findings
        .0
        .retain(|finding| !profile.ignored.contains(&finding.code));
    findings.0
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, code: Code, text: impl Into<String>) {
        self.0.push(Finding::new(code, text));
    }

    fn structure(&mut self, message: &Message<'_>) {
        if message.truncated {
            let read = message.bytes.len();
            let text = format!("only the first {read} bytes were read");
            self.add(Code::NotReadWhole, text);
        }
        let header = &message.header;
        if header.lacks_end(message.bytes) && !header.fields.is_empty() {
            self.add(
                Code::NoEmptyLine,
                "the header ends without its empty line (RFC 5322 2.1); the first line that is \
                 not a field begins the body",
            );
        }
        if header.fields.is_empty() {
            self.add(Code::NoHeader, "it does not begin with header fields");
        } else if header.junk > 0 {
            let lines = match header.junk {
                1 => "a line of the header is not a field".to_owned(),
                count => format!("{count} lines of the header are not fields"),
            };
            let text = format!("{lines} (RFC 5322 2.2)");
            self.add(Code::HeaderJunk, text);
        }
        if header.cut {
            self.add(
                Code::HeaderTooLong,
                "the header is too long to be read whole",
            );
        }
        self.0.extend_from_slice(&message.structure);
    }

    fn message_type(&mut self, message: &Message<'_>) {
        let written = message.header.value("X-Mms-Message-Type");
        match (message.kind(), written) {
            (Some(kind), _) => self.mandatory(message, kind),
            (None, None) => self.add(
                Code::MissingField,
                "X-Mms-Message-Type is missing (mandatory in every message, TS 23.140 8.4)",
            ),
            (None, Some(written)) => self.add(
                Code::UnknownMessageType,
                format!("X-Mms-Message-Type is {written}, none of the six of TS 23.140 8.4"),
            ),
        }
    }

    fn mandatory(&mut self, message: &Message<'_>, kind: MessageType) {
        for name in kind.mandatory_fields() {
            // A recipient is a recipient in Cc too.
            let replaced = *name == "To" && message.header.raw_value("Cc").is_some();
            if message.header.raw_value(name).is_none() && !replaced {
                let (kind, clause) = (kind.name(), kind.clause());
                self.add(
                    Code::MissingField,
                    format!("{name} is missing (mandatory in {kind}, TS 23.140 {clause})"),
                );
            }
        }
        let asked = message.yes("X-Mms-Ack-Request") == Some(true);
        if asked && kind.is_request() && message.response_address().is_none() {
            let (kind, clause) = (kind.name(), kind.clause());
            self.add(
                Code::MissingField,
                format!(
                    "X-Mms-Originator-System and Sender are missing (conditional in {kind}: one of \
                     them when X-Mms-Ack-Request asks for an answer, TS 23.140 {clause})"
                ),
            );
        }
        if kind == MessageType::ForwardReq && message.parts.is_empty() {
            self.add(
                Code::MissingContent,
                "there is no content (conditional in MM4_forward.REQ, TS 23.140 8.4.1)",
            );
        }
    }

    fn values(&mut self, message: &Message<'_>) {
        let mut seen = HashSet::new();
        // Of several the first that has a value counts, so one answer is for all.
        let expiry_is_known = message.expiry().is_some();
        for field in &message.header.fields {
            let name = field.name().to_ascii_lowercase();
            if !name.starts_with("x-mms-") {
                continue;
            }
            if let Some(allowed) = fields::allowed_values(&name) {
                self.value(&field.name(), &field.value(), allowed);
            }
            if name == "x-mms-expiry" && !expiry_is_known {
                let value = field.value();
                let text = format!("X-Mms-Expiry is {value}, neither a date nor seconds");
                self.add(Code::BadValue, text);
            }
            if fields::is_single(&name) && !seen.insert(name) {
                let text = format!("{} occurs more than once", field.name());
                self.add(Code::RepeatedField, text);
            }
        }
    }

    fn value(&mut self, name: &str, value: &str, allowed: &[&str]) {
        let mut allowed_values = allowed.iter();
        let is_known = allowed_values.any(|known| known.eq_ignore_ascii_case(value));
        if !is_known && !value.is_empty() {
            let allowed = allowed.join(", ");
            let text = format!("{name} is {value}, none of {allowed} (TS 23.140 8.4.4)");
            self.add(Code::BadValue, text);
        }
    }

    fn limits(&mut self, message: &Message<'_>, profile: &Profile) {
        let subject = message.header.value("Subject").unwrap_or_default();
        let recipients = message.addresses("To").len() + message.addresses("Cc").len();
        let parts = message.leaves().count();
        for (what, count, limit) in [
            ("bytes", message.size, profile.max_size),
            ("parts", parts as u64, profile.max_parts),
            ("recipients", recipients as u64, profile.max_recipients),
            (
                "characters of subject",
                subject.chars().count() as u64,
                profile.max_subject,
            ),
        ] {
            if let Some(limit) = limit.filter(|limit| count > *limit) {
                let excess = count - limit;
                let text = format!("{count} {what}, {excess} over the limit of {limit}");
                self.add(Code::OverLimit, text);
            }
        }
    }

    fn references(&mut self, message: &Message<'_>) {
        if let Some((start, None)) = message::start(&message.parts) {
            let text = format!("Start names {start}, and no part has that name (RFC 2387 3.2)");
            self.add(Code::StartUnresolved, text);
        }
        let Some((number, presentation)) = &message.presentation else {
            return;
        };
        for (at, slide) in presentation.slides.iter().enumerate() {
            for item in slide.items.iter().filter(|item| item.part.is_none()) {
                let (slide, src) = (at + 1, &item.src);
                self.0.push(Finding::in_part(
                    Code::SmilUnresolved,
                    Some(*number),
                    format!("slide {slide} shows {src}, and no part has that name"),
                ));
            }
        }
    }

    fn encoding(&mut self, part: &Part<'_>) {
        let decoded = part.decode();
        self.charset(part, &decoded.bytes);
        let Some(fault) = decoded.fault else {
            return;
        };
        let code = match part.transfer_encoding() {
            Encoding::Base64 => Code::BadBase64,
            Encoding::QuotedPrintable => Code::BadQuotedPrintable,
            Encoding::Uuencode => Code::BadUuencode,
            Encoding::Identity | Encoding::Unknown => Code::UnknownEncoding,
        };
        self.0.push(Finding::in_part(code, part.number, fault));
    }

    fn charset(&mut self, part: &Part<'_>, bytes: &[u8]) {
        let Some(name) = part.params.get("charset").filter(|_| part.is_text()) else {
            return;
        };
        let text = match charset::is_known(name) {
            false => format!("the charset {name} is unknown"),
            true if charset::loses(name, bytes) => {
                format!("the text has bytes that are no letters in the charset {name}")
            }
            true => return,
        };
        self.0
            .push(Finding::in_part(Code::BadCharset, part.number, text));
    }

    fn media_type(&mut self, part: &Part<'_>, profile: &Profile) {
        let media_type = part.media_type.as_str();
        let (code, text) = if !profile.types.is_empty() {
            if profile.allows(media_type) {
                return;
            }
            let text = format!("the profile does not allow {media_type}");
            (Code::TypeNotAllowed, text)
        } else if KNOWN_TYPES.contains(&media_type) || part.is_multipart() {
            return;
        } else {
            let text = format!("{media_type} is not a media type that MMS uses");
            (Code::UnknownMediaType, text)
        };
        self.0.push(Finding::in_part(code, part.number, text));
    }
}

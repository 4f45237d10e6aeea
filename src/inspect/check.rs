//! What is wrong with a message.
//!
//! Findings are for the operator who must tell a carrier what its MMS centre
//! does wrong: each has a word that stays ([`Finding::code`]) and a sentence with
//! the clause. Nothing fails, and nothing here says that a message should be
//! refused: much of what real MMS centres send has findings.

use std::collections::{HashMap, HashSet};

use super::message::{self, Message};
use super::mime::{Encoding, Part};
use crate::mm4::{self, MessageType};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A word for it, stable, for scripts.
    pub code: &'static str,
    /// The number of the part that it concerns, if it is one.
    pub part: Option<usize>,
    /// A sentence for a person; what the peer wrote in it is not yet made
    /// harmless.
    pub text: String,
}

/// What a carrier takes. Without a limit, anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Octets of the mail, as SMTP counts them (RFC 1870).
    pub max_size: Option<u64>,
    /// Parts, the presentation counted.
    pub max_parts: Option<usize>,
    /// Addresses in `To` and `Cc`.
    pub max_recipients: Option<usize>,
    /// Characters of the subject.
    pub max_subject: Option<usize>,
    /// Media types, `image/*` for all of a kind, in lower case; empty for all
    /// that are known.
    pub types: Vec<String>,
}

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

impl Profile {
    /// Reads a profile: lines of `key = value`, `#` begins a comment, blank lines
    /// pass. The keys are `max-size`, `max-parts`, `max-recipients`,
    /// `max-subject` and `types`; sizes take K and M (1024).
    ///
    /// # Errors
    ///
    /// A line that is none of these, with its number and what would do.
    pub fn parse(text: &str) -> Result<Profile, String> {
        let mut profile = Profile::default();
        for (at, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                profile
                    .take(line)
                    .map_err(|error| format!("line {}: {error}", at + 1))?;
            }
        }
        Ok(profile)
    }

    fn take(&mut self, line: &str) -> Result<(), String> {
        let (key, value) = line
            .split_once('=')
            .ok_or_else(|| format!("{line} is no `key = value`"))?;
        let (key, value) = (key.trim(), value.trim());
        let count = || {
            value
                .parse()
                .map_err(|_| format!("{key} takes a number, not {value}"))
        };
        match key {
            "max-size" => self.max_size = Some(size(value)?),
            "max-parts" => self.max_parts = Some(count()?),
            "max-recipients" => self.max_recipients = Some(count()?),
            "max-subject" => self.max_subject = Some(count()?),
            "types" => self.types = types(value)?,
            _ => {
                return Err(format!(
                    "{key} is no key; the keys are max-size, max-parts, max-recipients, \
                     max-subject and types"
                ));
            }
        }
        Ok(())
    }

    fn allows(&self, media_type: &str) -> bool {
        self.types
            .iter()
            .any(|allowed| match allowed.strip_suffix("/*") {
                Some(kind) => media_type.split('/').next() == Some(kind),
                None => allowed == media_type,
            })
    }
}

/// Octets, with K or M for times 1024 or 1024².
///
/// # Errors
///
/// What is no such number, in a sentence.
pub fn size(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.trim_end_matches(['K', 'k']) {
        digits if digits.len() + 1 == text.len() => (digits, 1024),
        _ => match text.trim_end_matches(['M', 'm']) {
            digits if digits.len() + 1 == text.len() => (digits, 1024 * 1024),
            _ => (text, 1),
        },
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(unit))
        .ok_or_else(|| format!("{text} is no size; write octets, or 300K or 2M"))
}

fn types(value: &str) -> Result<Vec<String>, String> {
    let types: Vec<String> = value
        .split([',', ' '])
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty())
        .collect();
    match types.iter().find(|name| name.split('/').count() != 2) {
        Some(name) => Err(format!(
            "{name} is no media type such as image/jpeg or image/*"
        )),
        None if types.is_empty() => Err("types names none".to_owned()),
        None => Ok(types),
    }
}

/// What is wrong with one message, taken alone, in the order of its parts.
pub fn findings(message: &Message<'_>, profile: &Profile) -> Vec<Finding> {
    let mut found = Findings::default();
    found.structure(message);
    found.fields(message);
    found.limits(message, profile);
    found.references(message);
    for part in message.leaves() {
        found.part(part, profile);
    }
    found.0
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, code: &'static str, part: Option<usize>, text: String) {
        self.0.push(Finding { code, part, text });
    }

    fn structure(&mut self, message: &Message<'_>) {
        if message.truncated {
            let read = message.octets.len();
            self.add(
                "not-read-whole",
                None,
                format!("only the first {read} octets were looked at"),
            );
        }
        let header = &message.header;
        if header.fields.is_empty() {
            self.add(
                "no-header",
                None,
                "it does not begin with header fields".to_owned(),
            );
        } else if header.junk > 0 {
            self.add(
                "header-junk",
                None,
                format!(
                    "{} lines of the header are no field (RFC 5322 2.2)",
                    header.junk
                ),
            );
        }
        if header.cut {
            self.add(
                "header-too-long",
                None,
                "the header is too long to be read whole".to_owned(),
            );
        }
        for fault in &message.faults {
            self.add(fault.code, fault.part, fault.text.clone());
        }
    }

    fn fields(&mut self, message: &Message<'_>) {
        let written = message.header.value("X-Mms-Message-Type");
        match (message.kind(), written) {
            (Some(kind), _) => self.mandatory(message, kind),
            (None, None) => self.add(
                "missing-field",
                None,
                "X-Mms-Message-Type is missing (mandatory in every message, TS 23.140 8.4)"
                    .to_owned(),
            ),
            (None, Some(written)) => self.add(
                "unknown-message-type",
                None,
                format!("X-Mms-Message-Type is {written}, none of the six of TS 23.140 8.4"),
            ),
        }
        let mut seen = HashSet::new();
        for field in &message.header.fields {
            let name = field.name().to_ascii_lowercase();
            if !name.starts_with("x-mms-") {
                continue;
            }
            if let Some(allowed) = mm4::allowed_values(&name) {
                self.value(&field.name(), &field.value(), allowed);
            }
            if name == "x-mms-expiry" && message.expiry().is_none() {
                self.add(
                    "bad-value",
                    None,
                    format!("X-Mms-Expiry is {}, no date and no seconds", field.value()),
                );
            }
            if mm4_field_is_single(&name) && !seen.insert(name) {
                self.add(
                    "repeated-field",
                    None,
                    format!("{} is there more than once", field.name()),
                );
            }
        }
    }

    fn mandatory(&mut self, message: &Message<'_>, kind: MessageType) {
        for name in kind.mandatory_fields() {
            // A recipient is a recipient in Cc too.
            let stands_in = *name == "To" && message.header.raw_value("Cc").is_some();
            if message.header.raw_value(name).is_none() && !stands_in {
                self.add(
                    "missing-field",
                    None,
                    format!(
                        "{name} is missing (mandatory in {}, TS 23.140 {})",
                        kind.name(),
                        kind.clause()
                    ),
                );
            }
        }
        let asked = message.yes("X-Mms-Ack-Request") == Some(true);
        if asked && kind.is_request() && message.response_address().is_none() {
            self.add(
                "missing-field",
                None,
                format!(
                    "X-Mms-Originator-System and Sender are missing (conditional in {}: one of them \
                     when X-Mms-Ack-Request asks for an answer, TS 23.140 {})",
                    kind.name(),
                    kind.clause()
                ),
            );
        }
        if kind == MessageType::ForwardReq && message.parts.is_empty() {
            self.add(
                "missing-content",
                None,
                "there is no content (conditional in MM4_forward.REQ, TS 23.140 8.4.1)".to_owned(),
            );
        }
    }

    fn value(&mut self, name: &str, value: &str, allowed: &[&str]) {
        let known = allowed
            .iter()
            .any(|known| known.eq_ignore_ascii_case(value));
        if !known && !value.is_empty() {
            self.add(
                "bad-value",
                None,
                format!(
                    "{name} is {value}, none of {} (TS 23.140 8.4.4)",
                    allowed.join(", ")
                ),
            );
        }
    }

    fn limits(&mut self, message: &Message<'_>, profile: &Profile) {
        let subject = message.header.value("Subject").unwrap_or_default();
        let recipients = message.addresses("To").len() + message.addresses("Cc").len();
        for (what, count, limit) in [
            ("octets", message.size, profile.max_size),
            (
                "parts",
                message.leaves().count() as u64,
                profile.max_parts.map(|max| max as u64),
            ),
            (
                "recipients",
                recipients as u64,
                profile.max_recipients.map(|max| max as u64),
            ),
            (
                "characters of subject",
                subject.chars().count() as u64,
                profile.max_subject.map(|max| max as u64),
            ),
        ] {
            if let Some(limit) = limit.filter(|limit| count > *limit) {
                self.add(
                    "over-limit",
                    None,
                    format!(
                        "{count} {what}, {} over the limit of {limit}",
                        count - limit
                    ),
                );
            }
        }
    }

    fn references(&mut self, message: &Message<'_>) {
        if let Some((start, None)) = message::start(&message.parts) {
            self.add(
                "start-unresolved",
                None,
                format!("Start names {start}, and no part is called that (RFC 2387 3.2)"),
            );
        }
        let Some((number, presentation)) = &message.presentation else {
            return;
        };
        for (at, slide) in presentation.slides.iter().enumerate() {
            for item in slide.items.iter().filter(|item| item.part.is_none()) {
                self.add(
                    "smil-unresolved",
                    Some(*number),
                    format!(
                        "slide {} shows {}, and no part is called that",
                        at + 1,
                        item.src
                    ),
                );
            }
        }
    }

    fn part(&mut self, part: &Part<'_>, profile: &Profile) {
        if let Some(fault) = part.decode().fault {
            let code = match part.transfer_encoding() {
                Encoding::Base64 => "bad-base64",
                Encoding::QuotedPrintable => "bad-quoted-printable",
                Encoding::Identity | Encoding::Unknown => "unknown-encoding",
            };
            self.add(code, part.number, fault);
        }
        let media_type = part.media_type.as_str();
        if !profile.types.is_empty() {
            if !profile.allows(media_type) {
                self.add(
                    "type-not-allowed",
                    part.number,
                    format!("the profile does not allow {media_type}"),
                );
            }
        } else if !KNOWN_TYPES.contains(&media_type) && !media_type.starts_with("multipart/") {
            self.add(
                "unknown-media-type",
                part.number,
                format!("{media_type} is no media type that MMS knows"),
            );
        }
    }
}

/// Fields that can only mean one thing; `Previously-Sent-*` and operators' own
/// may be repeated.
fn mm4_field_is_single(name: &str) -> bool {
    mm4::allowed_values(name).is_some()
        || matches!(
            name,
            "x-mms-message-type"
                | "x-mms-transaction-id"
                | "x-mms-message-id"
                | "x-mms-3gpp-mms-version"
                | "x-mms-originator-system"
                | "x-mms-expiry"
        )
}

/// Finds messages that came twice: one account, one transaction, and both REQ
/// or both RES, since a RES bears the transaction of the REQ that it answers and
/// that may be the same text as one of the peer's own.
#[derive(Debug, Default)]
pub struct Duplicates {
    seen: HashMap<(String, String, bool), Vec<String>>,
}

impl Duplicates {
    /// Notes a message, of which the header block is enough.
    pub fn note(&mut self, message: &Message<'_>) {
        if let Some(key) = Self::key(message) {
            self.seen
                .entry(key)
                .or_default()
                .push(message.id.to_owned());
        }
    }

    /// The finding for a message that shares its transaction with another one
    /// that was noted.
    pub fn finding(&self, message: &Message<'_>) -> Option<Finding> {
        let (account, transaction, _) = Self::key(message)?;
        let others = self.seen.get(&Self::key(message)?)?;
        let other = others.iter().find(|other| *other != message.id)?;
        let more = match others.len().saturating_sub(2) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some(Finding {
            code: "duplicate",
            part: None,
            text: format!("account {account} sent transaction {transaction} also in {other}{more}"),
        })
    }

    fn key(message: &Message<'_>) -> Option<(String, String, bool)> {
        let transaction = message.unquoted("X-Mms-Transaction-ID")?;
        let request = message.kind().is_none_or(MessageType::is_request);
        // A mail that mm4d did not write has no account: those are one another's.
        let account = message.account().unwrap_or("-").to_owned();
        Some((account, transaction, request))
    }
}

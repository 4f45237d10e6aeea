//! One message as the inspector sees it: who sent it, what its fields say, which
//! parts it has and in which order they are shown.
//!
//! Reading never fails; what is missing is `None`, what is wrong is found by
//! [`super::check`]. Limits are those of [`super::mime`] and [`super::smil`].

use std::path::Path;

use jiff::Timestamp;

use super::finding::Finding;
use super::mime::header::{Field, Header};
use super::mime::{self, Part};
use super::smil::{self, Names, Presentation};
use super::store::{Entry, RawMessage};
use crate::mm4::fields::yes;
use crate::mm4::status::Outcome;
use crate::mm4::{self, Address, MessageType, Status};
use crate::spool::trace::Trace;

/// A message, read.
#[derive(Debug)]
pub struct Message<'a> {
    /// Its id in the spool.
    pub id: &'a str,
    /// The file it was read from.
    pub path: &'a Path,
    /// When it was received: by its id, else by the file's time.
    pub time: Option<Timestamp>,
    /// What mm4d wrote above it; `None` for a mail that mm4d did not write.
    pub trace: Option<Trace>,
    /// Bytes of the trace, 0 without one.
    pub trace_length: usize,
    /// The header block, the trace included.
    pub header: Header<'a>,
    /// The bytes as they are in the file, the trace included.
    pub bytes: &'a [u8],
    /// Bytes of the mail as SMTP counts them (RFC 1870): line ends are CRLF,
    /// the trace is not counted.
    pub size: u64,
    /// The file is longer than what is read of it.
    pub truncated: bool,
    /// The permission bits of the file.
    pub mode: u32,
    /// The parts in their order, containers included.
    pub parts: Vec<Part<'a>>,
    /// What is wrong with the structure.
    pub structure: Vec<Finding>,
    /// The number of the part that is the presentation, and what it says.
    pub presentation: Option<(usize, Presentation)>,
}

impl<'a> Message<'a> {
    /// Reads a whole message.
    pub fn read(entry: &'a Entry, raw: &'a RawMessage) -> Message<'a> {
        let mut message = Self::read_header(entry, raw);
        let body = raw.bytes.get(message.header.length..).unwrap_or_default();
        (message.parts, message.structure) = mime::parts(&message.header, body);
        message.presentation = presentation(&message.parts);
        message
    }

    /// Reads its header block alone: `raw` may end after it.
    pub(crate) fn read_header(entry: &'a Entry, raw: &'a RawMessage) -> Message<'a> {
        let (trace, trace_length) = match Trace::parse(&raw.bytes) {
            Some((trace, length)) => (Some(trace), length),
            None => (None, 0),
        };
        let size = raw.file_size + bare_line_feeds(&raw.bytes);
        Message {
            id: &entry.id,
            path: &raw.path,
            time: entry.time,
            size: size.saturating_sub(trace_length as u64),
            truncated: raw.file_size > raw.bytes.len() as u64,
            mode: raw.mode,
            bytes: &raw.bytes,
            trace,
            trace_length,
            header: Header::parse(&raw.bytes),
            parts: Vec::new(),
            structure: Vec::new(),
            presentation: None,
        }
    }

    /// The account that sent it, by the trace.
    pub fn account(&self) -> Option<&str> {
        let trace = self.trace.as_ref()?;
        Some(trace.envelope.system_id.as_str())
    }

    /// The fields of the mail itself, without those of the trace.
    pub fn fields(&self) -> impl Iterator<Item = &Field<'a>> {
        let fields = self.header.fields.iter();
        fields.filter(|field| field.start() >= self.trace_length)
    }

    /// Which of the six messages it is, if it is one.
    pub fn kind(&self) -> Option<MessageType> {
        MessageType::parse(&self.header.value("X-Mms-Message-Type")?)
    }

    /// The address in a field, such as `From`.
    pub fn address(&self, name: &str) -> Option<Address> {
        Address::parse(&self.header.raw_value(name)?)
    }

    /// The addresses in every field of that name, such as `To`.
    pub fn addresses(&self, name: &str) -> Vec<Address> {
        self.header
            .all(name)
            .flat_map(|field| Address::parse_list(&field.raw_value()))
            .take(Address::MAX_LIST)
            .collect()
    }

    /// From whom to whom: where the header says nothing, the envelope does.
    pub fn route(&self) -> (Option<Address>, Vec<Address>) {
        let from = self.address("From").or_else(|| self.envelope_from());
        let to = match self.addresses("To") {
            none if none.is_empty() => self.envelope_to(),
            to => to,
        };
        (from, to)
    }

    /// The path of MAIL FROM; `None` for `<>`.
    pub(crate) fn envelope_from(&self) -> Option<Address> {
        let trace = self.trace.as_ref()?;
        Address::parse(&trace.envelope.reverse_path.to_string())
    }

    /// The paths of RCPT TO, in order.
    pub(crate) fn envelope_to(&self) -> Vec<Address> {
        let paths = self
            .trace
            .iter()
            .flat_map(|trace| &trace.envelope.forward_paths);
        paths
            .filter_map(|path| Address::parse(&path.to_string()))
            .collect()
    }

    /// `Date`, if a parser understands it.
    pub fn date(&self) -> Option<Timestamp> {
        mm4::date(&self.header.value("Date")?)
    }

    /// When it expires; seconds count from its date, else from its arrival.
    pub fn expiry(&self) -> Option<Timestamp> {
        let sent = self.date().or(self.time);
        mm4::date::expiry(&self.header.value("X-Mms-Expiry")?, sent)
    }

    /// What a Yes/No field says.
    pub fn yes(&self, name: &str) -> Option<bool> {
        yes(&self.header.value(name)?)
    }

    /// An id without its quotes.
    pub(crate) fn unquoted(&self, name: &str) -> Option<String> {
        let value = self.header.raw_value(name)?;
        Some(mm4::unquote(&value).to_owned())
    }

    /// The address that its RES goes to: `X-Mms-Originator-System`, else
    /// `Sender` (TS 23.140, 8.4.1).
    pub(crate) fn response_address(&self) -> Option<(&'static str, String)> {
        ["X-Mms-Originator-System", "Sender"]
            .into_iter()
            .find_map(|name| Some((name, self.header.raw_value(name)?)))
    }

    /// The parts that are not containers.
    pub fn leaves(&self) -> impl Iterator<Item = &Part<'a>> {
        self.parts.iter().filter(|part| part.number.is_some())
    }

    /// The part of that number.
    pub(crate) fn leaf(&self, number: usize) -> Option<&Part<'a>> {
        self.leaves().find(|part| part.number == Some(number))
    }

    /// What a RES or a report says became of a message, as written, and how that is to
    /// be taken.
    pub fn status(&self) -> Option<(String, Outcome)> {
        let mut fields = Status::FIELDS.into_iter();
        fields.find_map(|name| {
            let value = self.header.value(name)?;
            let outcome = Status::parse(name, &value).map_or(Outcome::Open, Status::outcome);
            Some((value, outcome))
        })
    }
}

/// What a multipart's `Start` names (RFC 2387 3.2), and the part, if there is
/// one.
pub fn start<'m>(parts: &'m [Part<'_>]) -> Option<(&'m str, Option<usize>)> {
    let start = parts.iter().find_map(|part| part.params.get("start"))?;
    let start = start.trim();
    (!start.is_empty()).then(|| (start, Names::of(parts).resolve(start)))
}

/// The presentation is what `Start` names, if that is SMIL, else the first
/// SMIL there is.
fn presentation(parts: &[Part<'_>]) -> Option<(usize, Presentation)> {
    let named = start(parts).and_then(|(_, number)| number);
    let smil = parts
        .iter()
        .filter(|part| part.number.is_some() && part.is_smil())
        .min_by_key(|part| part.number != named)?;
    let bytes = smil.decode().bytes;
    Some((smil.number?, smil::read(&smil.text(&bytes), parts)))
}

fn bare_line_feeds(bytes: &[u8]) -> u64 {
    let crlf = memchr::memmem::find_iter(bytes, b"\r\n").count();
    (memchr::memchr_iter(b'\n', bytes).count() - crlf) as u64
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An entry and a file, as if read from a spool.
    pub(crate) fn given(mail: &[u8]) -> (Entry, RawMessage) {
        let path = Path::new("spool/new/20220125T221744.000001Z-7-000001@mm4.example.com.eml");
        let file = RawMessage {
            path: path.to_owned(),
            bytes: mail.to_vec(),
            file_size: mail.len() as u64,
            mode: 0o640,
        };
        (Entry::at(path), file)
    }

    pub(crate) const TRACE: &str = "Return-Path: <+972500000001/TYPE=PLMN@mms.example.net>\r\n\
        X-Envelope-To: <+972500000002/TYPE=PLMN@mms.example.com>\r\n\
        X-Envelope-To: <+972500000003/TYPE=PLMN@mms.example.com>\r\n\
        X-MM4-System-ID: carrier\r\n\
        Received: from mms.example.net ([192.0.2.1]) by mm4.example.com (mm4d) with ESMTPSA\r\n  \
        id 20220125T221744.000001Z-7-000001@mm4.example.com; Tue, 25 Jan 2022 22:17:44 +0000\r\n";

    #[test]
    fn the_trace_is_parsed_and_not_counted() {
        let mail = "To: +972500000002/TYPE=PLMN\r\n\r\nhi\r\n";
        let bytes = format!("{TRACE}{mail}");
        let (entry, file) = given(bytes.as_bytes());
        let message = Message::read(&entry, &file);
        assert_eq!(message.size, mail.len() as u64);
        assert_eq!(message.account(), Some("carrier"));
        assert_eq!(message.trace_length, TRACE.len());
        assert_eq!(message.fields().count(), 1);
        let (from, to) = (message.envelope_from().unwrap(), message.envelope_to());
        assert_eq!(from.short(), "+972500000001");
        assert_eq!(to.len(), 2);
    }

    #[test]
    fn a_mail_that_begins_with_a_blank_does_not_lengthen_the_trace() {
        let bytes = format!("{TRACE} ; x\r\nTo: a\r\n");
        let (entry, file) = given(bytes.as_bytes());
        let message = Message::read(&entry, &file);
        assert_eq!(message.trace_length, TRACE.len());
    }

    #[test]
    fn a_client_cannot_claim_an_account() {
        for mail in [
            "To: a\r\nX-MM4-System-ID: carrier\r\n\r\n",
            "Return-Path: <>\r\nX-MM4-System-ID: carrier\r\nTo: a\r\n",
        ] {
            let (entry, file) = given(mail.as_bytes());
            assert_eq!(Message::read(&entry, &file).account(), None);
        }
        let bytes = format!("{TRACE}X-MM4-System-ID: another\r\n\r\n");
        let (entry, file) = given(bytes.as_bytes());
        assert_eq!(Message::read(&entry, &file).account(), Some("carrier"));
    }

    #[test]
    fn line_feeds_alone_count_as_line_ends() {
        let (entry, file) = given(b"To: a\nCc: b\r\n\nx");
        assert_eq!(Message::read(&entry, &file).size, 17);
    }

    #[test]
    fn an_expiry_in_seconds_counts_from_the_date() {
        let (entry, file) = given(b"Date: Wed, 26 Jan 2022 00:17:43 +0200\r\nX-Mms-Expiry: 60\r\n");
        let message = Message::read(&entry, &file);
        assert_eq!(
            message.expiry().unwrap().to_string(),
            "2022-01-25T22:18:43Z"
        );
    }

    #[test]
    fn the_presentation_is_what_start_names() {
        let (entry, file) = given(
            b"Content-Type: multipart/related; boundary=x; start=0.smil\n\n\
              --x\nContent-Type: image/jpeg\n\na\n--x\nContent-Type: application/smil; name=0.smil\n\n\
              <par><img src=a></par>\n--x\n\nhi\n--x\nContent-Type: image/jpeg\n\nb\n--x--\n",
        );
        let message = Message::read(&entry, &file);
        assert_eq!(message.presentation.as_ref().map(|found| found.0), Some(2));
        assert_eq!(start(&message.parts), Some(("0.smil", Some(2))));
    }
}

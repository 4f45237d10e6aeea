//! One message as the inspector sees it: who handed it in, what its fields
//! say, which parts it has and in which order they are shown.
//!
//! Reading never fails; what is missing is `None`, what is wrong is found by
//! [`super::check`]. Limits are those of [`super::header`], [`super::mime`] and
//! [`super::smil`].

use std::borrow::Cow;
use std::path::Path;

use jiff::Timestamp;

use super::header::{Header, line_at};
use super::maildir::{Entry, Octets};
use super::mime::{self, Fault, Part};
use super::smil::{self, Presentation};
use crate::mm4::{self, Address, MessageType};

/// A message, read.
#[derive(Debug)]
pub struct Message<'a> {
    /// The name it goes by in the spool.
    pub id: &'a str,
    /// The file it was read from.
    pub path: &'a Path,
    /// When it came: by its id, else by the file's time.
    pub time: Option<Timestamp>,
    /// What mm4d wrote above it; `None` for a mail that mm4d did not write.
    pub trace: Option<Trace>,
    /// The header block, the trace included.
    pub header: Header<'a>,
    /// The octets as they lie in the file, the trace included.
    pub octets: &'a [u8],
    /// Octets of the mail as SMTP counts them (RFC 1870): line ends are CRLF,
    /// the trace is not counted.
    pub size: u64,
    /// The file is longer than what is read of it.
    pub truncated: bool,
    /// The parts in their order, containers included.
    pub parts: Vec<Part<'a>>,
    /// What is wrong with the structure.
    pub faults: Vec<Fault>,
    /// The number of the part that is the presentation, and what it says.
    pub presentation: Option<(usize, Presentation)>,
}

/// The lines that mm4d writes above a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The path of MAIL FROM as written, `<>` included.
    pub return_path: String,
    /// The paths of RCPT TO as written, in order.
    pub recipients: Vec<String>,
    /// The account that sent it.
    pub system_id: String,
    /// The name that the client gave in EHLO.
    pub client: Option<String>,
    /// The address that it came from, in brackets.
    pub peer: Option<String>,
    /// The name of the server.
    pub server: Option<String>,
    /// `ESMTPA` or, over TLS, `ESMTPSA` (RFC 3848).
    pub protocol: Option<String>,
    /// When DATA was accepted.
    pub date: Option<Timestamp>,
    /// Octets of the trace.
    pub octets: usize,
}

impl<'a> Message<'a> {
    /// Reads a whole message.
    pub fn read(entry: &'a Entry, file: &'a Octets) -> Message<'a> {
        let mut message = Self::read_header(entry, file);
        let body = file.octets.get(message.header.octets..).unwrap_or_default();
        (message.parts, message.faults) = mime::parts(&message.header, body);
        message.presentation = presentation(&message.parts);
        message
    }

    /// Reads its header block alone: `file` may end after it.
    pub fn read_header(entry: &'a Entry, file: &'a Octets) -> Message<'a> {
        let header = Header::parse(&file.octets);
        let trace = trace(&header, &file.octets);
        let above = trace.as_ref().map_or(0, |trace| trace.octets as u64);
        let read = file.octets.len() as u64;
        Message {
            id: &entry.id,
            path: &file.path,
            time: entry.time,
            size: (file.file_size + bare_line_feeds(&file.octets)).saturating_sub(above),
            truncated: file.file_size > read,
            octets: &file.octets,
            trace,
            header,
            parts: Vec::new(),
            faults: Vec::new(),
            presentation: None,
        }
    }

    /// The account that sent it, by the trace.
    pub fn account(&self) -> Option<&str> {
        self.trace.as_ref().map(|trace| trace.system_id.as_str())
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
        let trace = self.trace.as_ref();
        let from = self
            .address("From")
            .or_else(|| Address::parse(&trace?.return_path));
        let mut to = self.addresses("To");
        if let (true, Some(trace)) = (to.is_empty(), trace) {
            let paths = trace.recipients.iter();
            to = paths.filter_map(|path| Address::parse(path)).collect();
        }
        (from, to)
    }

    /// `Date`, where a parser knows it.
    pub fn date(&self) -> Option<Timestamp> {
        mm4::date(&self.header.value("Date")?)
    }

    /// When it expires; seconds count from its date, else from its arrival.
    pub fn expiry(&self) -> Option<Timestamp> {
        let sent = self.date().or(self.time);
        mm4::expiry(&self.header.value("X-Mms-Expiry")?, sent)
    }

    /// What a Yes/No field says.
    pub fn yes(&self, name: &str) -> Option<bool> {
        mm4::yes(&self.header.value(name)?)
    }

    /// An id without its quotes.
    pub fn unquoted(&self, name: &str) -> Option<String> {
        let value = self.header.raw_value(name)?;
        Some(mm4::unquote(&value).to_owned())
    }

    /// The address that its RES goes to: `X-Mms-Originator-System`, else
    /// `Sender` (TS 23.140, 8.4.1).
    pub fn response_address(&self) -> Option<(&'static str, String)> {
        ["X-Mms-Originator-System", "Sender"]
            .into_iter()
            .find_map(|name| Some((name, self.header.raw_value(name)?)))
    }

    /// The parts that are no container.
    pub fn leaves(&self) -> impl Iterator<Item = &Part<'a>> {
        self.parts.iter().filter(|part| part.number.is_some())
    }

    /// The part of that number.
    pub fn leaf(&self, number: usize) -> Option<&Part<'a>> {
        self.leaves().find(|part| part.number == Some(number))
    }

    /// `smil text jpeg×2`: the types of its parts in the order of their first.
    pub fn parts_in_short(&self) -> String {
        let mut types: Vec<(String, usize)> = Vec::new();
        for part in self.leaves() {
            let name = part.short_type();
            match types.iter_mut().find(|(known, _)| *known == name) {
                Some((_, count)) => *count += 1,
                None => types.push((name, 1)),
            }
        }
        let words: Vec<_> = types
            .into_iter()
            .map(|(name, count)| match count {
                1 => name,
                _ => format!("{name}×{count}"),
            })
            .collect();
        words.join(" ")
    }
}

/// What a multipart's `Start` names (RFC 2387 3.2), and the part, if there is
/// one.
pub fn start<'m>(parts: &'m [Part<'_>]) -> Option<(&'m str, Option<usize>)> {
    let start = parts.iter().find_map(|part| part.params.get("start"))?;
    let start = start.trim();
    (!start.is_empty()).then(|| (start, smil::resolve(start, parts)))
}

/// The presentation is what `Start` names, if that is SMIL, else the first
/// SMIL there is.
fn presentation(parts: &[Part<'_>]) -> Option<(usize, Presentation)> {
    let named = start(parts).and_then(|(_, number)| number);
    let smil = parts
        .iter()
        .filter(|part| part.number.is_some() && part.is_smil())
        .min_by_key(|part| part.number != named)?;
    let octets = smil.decode().octets;
    Some((smil.number?, smil::read(&smil.text(&octets), parts)))
}

/// The trace, if the block begins with exactly what mm4d writes; a client may
/// write the same fields further down, and they count for nothing there.
fn trace(header: &Header<'_>, octets: &[u8]) -> Option<Trace> {
    let mut fields = header.fields.iter();
    let first = fields.next().filter(|field| field.is("Return-Path"))?;
    let mut recipients = Vec::new();
    let system_id = loop {
        let field = fields.next()?;
        if field.is("X-Envelope-To") {
            recipients.push(field.raw_value());
        } else if field.is("X-MM4-System-ID") {
            break field.raw_value();
        } else {
            return None;
        }
    };
    let received = fields.next().filter(|field| field.is("Received"))?;
    // Two lines: a mail that begins with a blank must not seem part of them.
    let one = line_at(octets, received.start());
    let two = line_at(octets, received.start() + one.len());
    let lines = String::from_utf8_lossy(one) + String::from_utf8_lossy(two);
    let (words, date) = lines.rsplit_once(';')?;
    if first.start() != 0 || !words.contains(" (mm4d) with ") {
        return None;
    }
    // By their places: a client may call itself `by`.
    let words: Vec<&str> = words.split_whitespace().collect();
    let word = |at: usize| words.get(at).map(|&word| word.to_owned());
    Some(Trace {
        return_path: first.raw_value(),
        recipients,
        system_id,
        client: word(2),
        peer: word(3).map(|peer| peer.trim_matches(['(', ')']).to_owned()),
        server: word(5),
        protocol: word(8),
        date: mm4::date(date),
        octets: received.start() + one.len() + two.len(),
    })
}

fn bare_line_feeds(octets: &[u8]) -> u64 {
    let crlf = memchr::memmem::find_iter(octets, b"\r\n").count();
    (memchr::memchr_iter(b'\n', octets).count() - crlf) as u64
}

/// A text to be read by a person: line ends are LF, none at the end.
pub fn readable(text: &str) -> Cow<'_, str> {
    let text = text.trim_end();
    if text.contains('\r') {
        return text.replace("\r\n", "\n").replace('\r', "\n").into();
    }
    text.into()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::inspect::maildir;

    /// An entry and a file, as if read from a spool.
    pub(crate) fn given(mail: &[u8]) -> (Entry, Octets) {
        let path = Path::new("spool/new/20220125T221744.000001Z-7-000001@mm4.example.com.eml");
        let file = Octets {
            path: path.to_owned(),
            octets: mail.to_vec(),
            file_size: mail.len() as u64,
        };
        (maildir::entry_of(path), file)
    }

    pub(crate) const TRACE: &str = "Return-Path: <+972500000001/TYPE=PLMN@mms.example.net>\r\n\
        X-Envelope-To: <+972500000002/TYPE=PLMN@mms.example.com>\r\n\
        X-Envelope-To: <+972500000003/TYPE=PLMN@mms.example.com>\r\n\
        X-MM4-System-ID: carrier\r\n\
        Received: from mms.example.net ([192.0.2.1]) by mm4.example.com (mm4d) with ESMTPSA\r\n  \
        id 20220125T221744.000001Z-7-000001@mm4.example.com; Tue, 25 Jan 2022 22:17:44 +0000\r\n";

    #[test]
    fn the_trace_is_read_and_not_counted() {
        let mail = "To: +972500000002/TYPE=PLMN\r\n\r\nhi\r\n";
        let octets = format!("{TRACE}{mail}");
        let (entry, file) = given(octets.as_bytes());
        let message = Message::read(&entry, &file);
        assert_eq!(message.size, mail.len() as u64);
        let trace = message.trace.unwrap();
        assert_eq!(trace.system_id, "carrier");
        assert_eq!(trace.recipients.len(), 2);
        assert_eq!(trace.client.as_deref(), Some("mms.example.net"));
        assert_eq!(trace.peer.as_deref(), Some("[192.0.2.1]"));
        assert_eq!(trace.server.as_deref(), Some("mm4.example.com"));
        assert_eq!(trace.protocol.as_deref(), Some("ESMTPSA"));
        assert_eq!(
            trace.date,
            message
                .time
                .map(|time| time.round(jiff::Unit::Second).unwrap())
        );
    }

    #[test]
    fn a_client_may_call_itself_what_it_likes() {
        let octets = TRACE.replace("from mms.example.net", "from by");
        let (entry, file) = given(octets.as_bytes());
        let trace = Message::read(&entry, &file).trace.unwrap();
        assert_eq!(trace.client.as_deref(), Some("by"));
        assert_eq!(trace.server.as_deref(), Some("mm4.example.com"));
    }

    #[test]
    fn a_mail_that_begins_with_a_blank_does_not_lengthen_the_trace() {
        let octets = format!("{TRACE} ; x\r\nTo: a\r\n");
        let (entry, file) = given(octets.as_bytes());
        let message = Message::read(&entry, &file);
        assert_eq!(message.trace.unwrap().octets, TRACE.len());
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
        let octets = format!("{TRACE}X-MM4-System-ID: another\r\n\r\n");
        let (entry, file) = given(octets.as_bytes());
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
    fn parts_are_counted_by_type() {
        let (entry, file) = given(
            b"Content-Type: multipart/related; boundary=x; start=0.smil\n\n\
              --x\nContent-Type: image/jpeg\n\na\n--x\nContent-Type: application/smil; name=0.smil\n\n\
              <par><img src=a></par>\n--x\n\nhi\n--x\nContent-Type: image/jpeg\n\nb\n--x--\n",
        );
        let message = Message::read(&entry, &file);
        assert_eq!(message.parts_in_short(), "jpeg×2 smil text");
        assert_eq!(message.presentation.as_ref().map(|found| found.0), Some(2));
        assert_eq!(start(&message.parts), Some(("0.smil", Some(2))));
    }
}

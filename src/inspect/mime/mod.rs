//! The parts of a mail (RFC 2045, RFC 2046), read so that no mail is too broken
//! to be looked at.
//!
//! The tree is walked here and not by mailparse, because mailparse rejects a
//! whole mail whose multiparts are nested over its limit, and because its
//! decoder of encoded words and of parameters takes more than linear time.
//! Limits: [`MAX_DEPTH`] levels, [`MAX_PARTS`] parts; what is deeper or beyond
//! stays one undivided part, with a finding. Nothing fails: a transfer encoding
//! that is broken gives what could be decoded, and a finding. The time is linear in
//! the length of the mail times its depth.

pub mod charset;
pub mod header;
pub mod params;
pub mod transfer;
pub mod words;

use std::collections::BTreeMap;

use self::header::{Header, line_at, without_line_end};
use self::transfer::{Decoded, Encoding};
use super::finding::{Code, Finding};

/// Levels of multiparts that are divided; real messages have two.
pub const MAX_DEPTH: usize = 20;
/// Parts of one mail, containers included; real messages have fewer than 30.
pub const MAX_PARTS: usize = 1000;

/// One node of the tree, in the order in which a reader meets them.
#[derive(Debug)]
pub struct Part<'a> {
    /// 1 for the first part that is not a container, and so on; `None` for a
    /// container (a multipart that was divided).
    pub number: Option<usize>,
    /// 0 for the mail itself.
    pub depth: usize,
    /// Type and subtype in lower case, `text/plain` when none is given
    /// (RFC 2045 5.2).
    pub media_type: String,
    /// The parameters of `Content-Type`, names in lower case.
    pub params: BTreeMap<String, String>,
    /// The name that its sender gave it, decoded: never a path to be trusted.
    pub name: Option<String>,
    /// `Content-ID` without its brackets.
    pub content_id: Option<String>,
    /// `Content-Location`, decoded.
    pub location: Option<String>,
    /// How the body is encoded, in lower case; `7bit` when nothing is said.
    pub encoding: String,
    /// The body as it was sent, without the line end before the delimiter.
    pub body: &'a [u8],
}

/// Divides a mail into its parts. `header` is its header block, `body` what
/// follows. A mail without a body, as reports and responses are, has no parts.
pub fn parts<'a>(header: &Header<'a>, body: &'a [u8]) -> (Vec<Part<'a>>, Vec<Finding>) {
    let mut walk = Walk::default();
    let bare = body.trim_ascii().is_empty() && header.field("content-type").is_none();
    if !bare {
        walk.part(header, body, 0, "text/plain");
    }
    (walk.parts, walk.findings)
}

#[derive(Default)]
struct Walk<'a> {
    parts: Vec<Part<'a>>,
    findings: Vec<Finding>,
    leaves: usize,
}

impl<'a> Walk<'a> {
    fn part(&mut self, header: &Header<'a>, body: &'a [u8], depth: usize, default: &str) {
        let mut part = describe(header, body, depth, default);
        let pieces = self.pieces(&part);
        if pieces.is_empty() {
            self.leaves += 1;
            part.number = Some(self.leaves);
            self.parts.push(part);
            return;
        }
        // RFC 2046 5.1.5: what a digest holds is a message unless it says so.
        let default = match part.media_type.as_str() {
            "multipart/digest" => "message/rfc822",
            _ => "text/plain",
        };
        self.parts.push(part);
        for (at, piece) in pieces.iter().enumerate() {
            if self.parts.len() >= MAX_PARTS {
                let left = pieces.len() - at;
                self.report(
                    Code::TooManyParts,
                    format!("{left} parts after the first {MAX_PARTS} were left out"),
                );
                return;
            }
            let (header, body) = split_header(piece);
            self.part(&header, body, depth + 1, default);
        }
    }

    /// The bodies between the delimiters of a multipart; none when it is not a
    /// multipart or cannot be divided.
    fn pieces(&mut self, part: &Part<'a>) -> Vec<&'a [u8]> {
        if !part.media_type.starts_with("multipart/") {
            return Vec::new();
        }
        if part.depth >= MAX_DEPTH {
            self.report(
                Code::TooDeep,
                format!("multiparts nested deeper than {MAX_DEPTH} levels were left undivided"),
            );
            return Vec::new();
        }
        let Some(boundary) = self.boundary(part) else {
            return Vec::new();
        };
        let (pieces, closed) = split(part.body, &boundary);
        if pieces.is_empty() {
            let text = format!("the boundary of a {} never occurs in it", part.media_type);
            self.report(Code::NoDelimiter, text);
            return another_boundary(part.body);
        }
        if !closed {
            let text = format!("a {} ends without its closing delimiter", part.media_type);
            self.report(Code::Unterminated, text);
        }
        pieces
    }

    /// What the multipart names, or what its first delimiter says.
    fn boundary(&mut self, part: &Part<'a>) -> Option<Vec<u8>> {
        let named = part.params.get("boundary").map(|named| named.trim_end());
        if let Some(named) = named.filter(|named| !named.is_empty()) {
            return Some(named.as_bytes().to_vec());
        }
        let guessed = guess_boundary(part.body);
        let what = match guessed {
            Some(_) => "; its first delimiter was taken",
            None => " and has no delimiter",
        };
        let text = format!("a {} names no boundary{what}", part.media_type);
        self.report(Code::NoBoundary, text);
        guessed
    }

    fn report(&mut self, code: Code, text: String) {
        // One of a kind is enough: a hostile mail could have thousands.
        if !self.findings.iter().any(|finding| finding.code == code) {
            self.findings.push(Finding::new(code, text));
        }
    }
}

fn describe<'a>(header: &Header<'a>, body: &'a [u8], depth: usize, default: &str) -> Part<'a> {
    let params = |name: &str| {
        let field = header.field_with_value(name)?;
        Some(params::parse(&field.unfolded()))
    };
    let content_type = params("content-type").unwrap_or_default();
    // A semicolon may be missing after it.
    let media_type = content_type.value.split_whitespace().next();
    let media_type = media_type.unwrap_or(default).to_owned();
    let disposition = params("content-disposition");
    let location = header.value("content-location");
    let content_id = header
        .value("content-id")
        .map(|id| id.trim_start_matches('<').trim_end_matches('>').to_owned())
        .filter(|id| !id.is_empty());
    let name = disposition
        .as_ref()
        .and_then(|disposition| disposition.params.get("filename"))
        .or_else(|| content_type.params.get("name"))
        .or(location.as_ref())
        .cloned()
        .filter(|name| !name.is_empty());
    Part {
        number: None,
        depth,
        media_type,
        params: content_type.params,
        name,
        content_id,
        location,
        encoding: header
            .value("content-transfer-encoding")
            .map_or_else(|| "7bit".to_owned(), |value| value.to_ascii_lowercase()),
        body,
    }
}

/// A part may lack its header and even the empty line after it (RFC 2046
/// 5.1): when its first line is not a field, all of it is body.
fn split_header(piece: &[u8]) -> (Header<'_>, &[u8]) {
    let header = Header::parse_part(piece);
    if header.fields.is_empty() && header.junk > 0 {
        return (Header::default(), piece);
    }
    let body = piece.get(header.length..).unwrap_or_default();
    (header, body)
}

/// RFC 2046 5.1.1: a delimiter is a line of its own, the line end before it is
/// part of it, blanks after it are not.
fn split<'a>(body: &'a [u8], boundary: &[u8]) -> (Vec<&'a [u8]>, bool) {
    let mut pieces = Vec::new();
    let mut open = None;
    let delimiter = [b"--", boundary].concat();
    for at in line_starts(body, &delimiter) {
        let line = line_at(body, at);
        let rest = line.get(delimiter.len()..).unwrap_or_default();
        let closes = match rest.trim_ascii_end() {
            b"" => false,
            b"--" => true,
            _ => continue,
        };
        if let Some(start) = open {
            pieces.push(without_line_end(body.get(start..at).unwrap_or_default()));
        }
        open = Some(at + line.len());
        // Twice as many as are kept, so that the count of those left out is near.
        if closes || pieces.len() >= 2 * MAX_PARTS {
            return (pieces, true);
        }
    }
    if let Some(start) = open {
        pieces.push(body.get(start..).unwrap_or_default());
    }
    (pieces, false)
}

/// The places where a line begins with `text`.
fn line_starts(body: &[u8], text: &[u8]) -> impl Iterator<Item = usize> {
    let first = body.starts_with(text).then_some(0);
    let needle = [b"\n", text].concat();
    let mut from = 0;
    let rest = std::iter::from_fn(move || {
        let rest = body.get(from..)?;
        let at = from + memchr::memmem::find(rest, &needle)?;
        from = at + 1;
        Some(at + 1)
    });
    first.into_iter().chain(rest)
}

/// Gateways have changed a boundary in one of its two places: what looks like a
/// delimiter and occurs twice is taken for one.
fn another_boundary(body: &[u8]) -> Vec<&[u8]> {
    let Some(boundary) = guess_boundary(body) else {
        return Vec::new();
    };
    let (pieces, closed) = split(body, &boundary);
    if closed || pieces.len() > 1 {
        pieces
    } else {
        Vec::new()
    }
}

fn guess_boundary(body: &[u8]) -> Option<Vec<u8>> {
    let at = line_starts(body, b"--").next()?;
    let boundary = line_at(body, at).strip_prefix(b"--")?.trim_ascii_end();
    (!boundary.is_empty() && boundary.len() <= 200).then(|| boundary.to_vec())
}

impl Part<'_> {
    /// How the body is encoded, as far as that is known (RFC 2045, 6).
    pub fn transfer_encoding(&self) -> Encoding {
        Encoding::parse(&self.encoding)
    }

    /// Undoes the transfer encoding. One that is unknown leaves the body as it
    /// is, with a fault.
    pub fn decode(&self) -> Decoded {
        let fault = match self.transfer_encoding() {
            Encoding::Base64 => return transfer::base64(self.body),
            Encoding::QuotedPrintable => return transfer::quoted_printable(self.body),
            Encoding::Identity => None,
            Encoding::Unknown => Some(format!("unknown transfer encoding {}", self.encoding)),
        };
        Decoded {
            bytes: self.body.to_vec(),
            fault,
        }
    }

    /// The type before the slash.
    pub fn kind(&self) -> &str {
        self.media_type.split('/').next().unwrap_or_default()
    }

    /// Whether it is a presentation, by type or, since gateways lose types, by
    /// name.
    pub fn is_smil(&self) -> bool {
        let named = || {
            let name = self.name.as_deref();
            name.is_some_and(|name| name.to_ascii_lowercase().ends_with(".smil"))
        };
        match self.media_type.as_str() {
            "application/smil" | "application/smil+xml" | "text/smil" => true,
            "application/octet-stream" | "text/plain" | "text/xml" | "application/xml" => named(),
            _ => false,
        }
    }

    /// Whether it is text to be read, not a presentation.
    pub fn is_text(&self) -> bool {
        self.number.is_some() && self.kind() == "text" && !self.is_smil()
    }

    /// The last word of its type, short enough for a table: `jpeg`, `smil`.
    pub fn short_type(&self) -> String {
        if self.is_smil() {
            return "smil".to_owned();
        }
        let subtype = self.media_type.split('/').nth(1).unwrap_or_default();
        let subtype = subtype.rsplit('.').next().unwrap_or(subtype);
        match (self.kind(), subtype) {
            ("text", "plain") => "text".to_owned(),
            (_, "") => self.media_type.clone(),
            (_, subtype) => subtype.trim_start_matches("x-").to_owned(),
        }
    }

    /// Bytes of the part as text, in the charset that it names.
    pub fn text(&self, bytes: &[u8]) -> String {
        let charset = self.params.get("charset").map_or("", String::as_str);
        charset::decode(charset, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mail: &[u8]) -> (Vec<Part<'_>>, Vec<Finding>) {
        let header = Header::parse(mail);
        let body = &mail[header.length..];
        parts(&header, body)
    }

    fn types(parts: &[Part<'_>]) -> Vec<String> {
        parts
            .iter()
            .map(|part| format!("{}{}", " ".repeat(part.depth), part.media_type))
            .collect()
    }

    #[test]
    fn a_header_block_alone_has_no_parts() {
        assert!(read(b"To: a\r\n").0.is_empty());
        assert!(read(b"To: a\r\n\r\n").0.is_empty());
    }

    #[test]
    fn capitals_and_missing_spaces_do_no_harm() {
        let (parts, findings) = read(
            b"Content-Type: multipart/related;Start=\"<smil>\";Type=\"application/smil\";\r\n\
              \tboundary=\"----=_Part_1\"\r\n\r\n\
              preamble\r\n------=_Part_1\r\nContent-Type:application/smil;Name=0.smil\r\n\
              Content-ID:<smil>\r\n\r\n<smil/>\r\n------=_Part_1  \r\n\
              Content-Type:image/jpeg\r\nContent-Disposition:attachment;FileName=1.jpg\r\n\
              Content-Transfer-Encoding:BASE64\r\n\r\nAAEC\r\n------=_Part_1--\r\nepilogue\r\n",
        );
        assert_eq!(
            types(&parts),
            ["multipart/related", " application/smil", " image/jpeg"]
        );
        assert!(findings.is_empty());
        assert_eq!(parts[0].params["start"], "<smil>");
        assert_eq!(parts[1].content_id.as_deref(), Some("smil"));
        assert_eq!(parts[1].body, b"<smil/>");
        assert_eq!(parts[2].name.as_deref(), Some("1.jpg"));
        assert_eq!(parts[2].number, Some(2));
        assert_eq!(parts[2].decode().bytes, [0, 1, 2]);
    }

    #[test]
    fn a_part_without_a_header_is_body() {
        let (parts, _) = read(b"Content-Type: multipart/mixed; boundary=x\n\n--x\nhello\n\nworld\n--x\n\nbare\n--x--\n");
        assert_eq!(parts[1].body, b"hello\n\nworld");
        assert_eq!(parts[2].body, b"bare");
    }

    #[test]
    fn a_multipart_that_is_cut_gives_what_is_there() {
        let (parts, findings) =
            read(b"Content-Type: multipart/mixed; boundary=x\n\n--x\n\none\n--x\n\ntw");
        assert_eq!(parts.len(), 3);
        assert_eq!(findings[0].code, Code::Unterminated);
    }

    #[test]
    fn a_boundary_that_is_missing_is_guessed() {
        let (parts, findings) = read(b"Content-Type: multipart/mixed\n\n--abc\n\none\n--abc--\n");
        assert_eq!(parts[1].body, b"one");
        assert_eq!(findings[0].code, Code::NoBoundary);
        let (parts, findings) =
            read(b"Content-Type: multipart/mixed; boundary=y\n\n--z\n\none\n--z--\n");
        assert_eq!(parts[1].body, b"one");
        assert_eq!(findings[0].code, Code::NoDelimiter);
        let (parts, _) = read(b"Content-Type: multipart/mixed boundary=y\n\n--y\n\none\n--y--\n");
        assert_eq!(parts[1].body, b"one");
        let (parts, findings) = read(b"Content-Type: multipart/mixed; boundary=y\n\n--sig\n");
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].number, Some(1));
        assert_eq!(findings[0].code, Code::NoDelimiter);
    }

    #[test]
    fn a_hundred_thousand_nested_multiparts_are_left_undivided() {
        let mut mail = Vec::new();
        for level in 0..100_000 {
            mail.extend_from_slice(
                format!("Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n")
                    .as_bytes(),
            );
        }
        let (parts, findings) = read(&mail);
        assert_eq!(parts.len(), MAX_DEPTH + 1);
        assert!(findings.iter().any(|finding| finding.code == Code::TooDeep));
    }

    #[test]
    fn a_hundred_thousand_parts_are_cut_to_the_limit() {
        let mut mail = b"Content-Type: multipart/mixed; boundary=x\n\n".to_vec();
        for _ in 0..100_000 {
            mail.extend_from_slice(b"--x\n\n");
        }
        let (parts, findings) = read(&mail);
        assert_eq!(parts.len(), MAX_PARTS);
        assert!(
            findings
                .iter()
                .any(|finding| finding.code == Code::TooManyParts)
        );
    }

    #[test]
    fn the_name_of_an_encoding_may_be_misspelt() {
        for (name, wanted) in [
            ("7-bit", "=41QUJD"),
            ("8bits", "=41QUJD"),
            ("Quoted Printable;", "AQUJD"),
            ("BASE64", "ABC"),
        ] {
            let body = if wanted == "ABC" { "QUJD" } else { "=41QUJD" };
            let mail = format!("Content-Transfer-Encoding: {name}\n\n{body}");
            let decoded = read(mail.as_bytes()).0[0].decode();
            assert_eq!(decoded.bytes, wanted.as_bytes(), "{name}");
            assert_eq!(decoded.fault, None, "{name}");
        }
        let (parts, _) = read(b"Content-Transfer-Encoding: x-uuencode\n\nx");
        assert!(parts[0].decode().fault.is_some());
    }

    #[test]
    fn text_is_read_in_its_charset() {
        let (parts, _) =
            read(b"Content-Type: text/plain; charset=windows-1255\n\n\xf9\xec\xe5\xed");
        assert_eq!(parts[0].text(parts[0].body), "שלום");
        let (parts, _) = read(b"Content-Type: text/plain; charset=\"no \\\" such\"\n\nabc");
        assert_eq!(parts[0].text(parts[0].body), "abc");
        let (parts, _) = read("Content-Type: text/plain\n\nשלום".as_bytes());
        assert_eq!(parts[0].text(parts[0].body), "שלום");
    }

    #[test]
    fn types_are_shortened_for_a_table() {
        let short = |content_type: &str| {
            let mail = format!("Content-Type: {content_type}\n\nx");
            read(mail.as_bytes()).0[0].short_type()
        };
        assert_eq!(short("application/smil"), "smil");
        assert_eq!(short("text/plain; charset=utf-8"), "text");
        assert_eq!(short("IMAGE/JPEG"), "jpeg");
        assert_eq!(short("text/x-vCard"), "vcard");
        assert_eq!(short("application/vnd.oma.drm.message"), "message");
        assert_eq!(short("nonsense"), "nonsense");
    }
}

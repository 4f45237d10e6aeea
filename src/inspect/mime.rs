//! The parts of a mail (RFC 2045, RFC 2046), read so that nothing can be too
//! broken to be looked at.
//!
//! mailparse reads each field; the tree is walked here, because a mail may nest
//! 100,000 multiparts and the stack may not. Limits: [`MAX_DEPTH`] levels,
//! [`MAX_PARTS`] parts; what is deeper or beyond stays one undivided part and a
//! [`Fault`] says so. Nothing fails: a transfer encoding that is broken gives
//! what could be decoded, and a fault.

use std::collections::BTreeMap;

use super::header::{Header, line_at, without_line_end};

/// Levels of multiparts that are taken apart; real messages have two.
pub const MAX_DEPTH: usize = 20;
/// Parts of one mail, containers included; real messages have fewer than 30.
pub const MAX_PARTS: usize = 1000;

/// One node of the tree, in the order in which a reader meets them.
#[derive(Debug)]
pub struct Part<'a> {
    /// 1 for the first part that is no container, and so on; `None` for a
    /// container (a multipart that was taken apart).
    pub number: Option<usize>,
    /// 0 for the mail itself.
    pub depth: usize,
    /// Its header block; for the mail itself that of the mail.
    pub header: Header<'a>,
    /// Type and subtype in lower case, `text/plain` when none is given
    /// (RFC 2045 5.2).
    pub media_type: String,
    /// The parameters of `Content-Type`, keys in lower case.
    pub params: BTreeMap<String, String>,
    /// The name that its sender gave it, decoded: never a path to be trusted.
    pub name: Option<String>,
    /// `Content-ID` without its brackets.
    pub content_id: Option<String>,
    /// `Content-Location` as written.
    pub location: Option<String>,
    /// How the body is encoded, in lower case; `7bit` when nothing is said.
    pub encoding: String,
    /// The body as it was sent, without the line end before the delimiter.
    pub body: &'a [u8],
}

/// A transfer encoding (RFC 2045, 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Three octets in four letters.
    Base64,
    /// What is not printable as `=` and two digits.
    QuotedPrintable,
    /// The octets themselves: 7bit, 8bit, binary.
    Identity,
    /// Something else; the octets are taken as they are.
    Unknown,
}

/// Something in the structure that is not as RFC 2046 has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The part it concerns; `None` for a container or the mail.
    pub part: Option<usize>,
    /// A word for it, stable, for scripts.
    pub code: &'static str,
    /// A sentence for a person.
    pub text: String,
}

/// What a body holds once its transfer encoding is undone.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// The octets; all that could be made of them if there is a fault.
    pub octets: Vec<u8>,
    /// What is wrong with the encoding.
    pub fault: Option<String>,
}

/// Takes a mail apart. `header` is its header block, `body` what follows. A
/// mail without a body, as reports and responses are, has no parts.
pub fn parts<'a>(header: &Header<'a>, body: &'a [u8]) -> (Vec<Part<'a>>, Vec<Fault>) {
    let mut walk = Walk::default();
    let bare = body.trim_ascii().is_empty() && header.field("content-type").is_none();
    if !bare {
        walk.part(
            Header {
                fields: header.fields.clone(),
                ..Header::default()
            },
            body,
            0,
            "text/plain",
        );
    }
    (walk.parts, walk.faults)
}

#[derive(Default)]
struct Walk<'a> {
    parts: Vec<Part<'a>>,
    faults: Vec<Fault>,
    leaves: usize,
}

impl<'a> Walk<'a> {
    fn part(&mut self, header: Header<'a>, body: &'a [u8], depth: usize, default: &str) {
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
                self.fault(
                    "too-many-parts",
                    format!("{left} parts past the first {MAX_PARTS} were left out"),
                );
                return;
            }
            let (header, body) = split_header(piece);
            self.part(header, body, depth + 1, default);
        }
    }

    /// The bodies between the delimiters of a multipart; none when it is no
    /// multipart or cannot be taken apart.
    fn pieces(&mut self, part: &Part<'a>) -> Vec<&'a [u8]> {
        if !part.media_type.starts_with("multipart/") {
            return Vec::new();
        }
        if part.depth >= MAX_DEPTH {
            self.fault(
                "too-deep",
                format!("multiparts nested deeper than {MAX_DEPTH} levels were left undivided"),
            );
            return Vec::new();
        }
        let given = part
            .params
            .get("boundary")
            .map(|boundary| boundary.trim_end());
        let boundary = match given.filter(|boundary| !boundary.is_empty()) {
            Some(boundary) => boundary.as_bytes().to_vec(),
            None => match guess_boundary(part.body) {
                Some(boundary) => {
                    self.fault(
                        "no-boundary",
                        format!(
                            "a {} names no boundary; its first delimiter was taken",
                            part.media_type
                        ),
                    );
                    boundary
                }
                None => {
                    self.fault(
                        "no-boundary",
                        format!(
                            "a {} names no boundary and has no delimiter",
                            part.media_type
                        ),
                    );
                    return Vec::new();
                }
            },
        };
        let (pieces, closed) = split(part.body, &boundary);
        if pieces.is_empty() {
            let text = format!("the boundary of a {} never occurs in it", part.media_type);
            self.fault("no-delimiter", text);
            return another_boundary(part.body);
        }
        if !closed {
            let text = format!("a {} ends without its closing delimiter", part.media_type);
            self.fault("unterminated", text);
        }
        pieces
    }

    fn fault(&mut self, code: &'static str, text: String) {
        // One of a kind is enough: a hostile mail could have thousands.
        if !self.faults.iter().any(|fault| fault.code == code) {
            self.faults.push(Fault {
                part: None,
                code,
                text,
            });
        }
    }
}

fn describe<'a>(header: Header<'a>, body: &'a [u8], depth: usize, default: &str) -> Part<'a> {
    let written = header.value("content-type");
    let content_type = mailparse::parse_content_type(written.as_deref().unwrap_or(default));
    // A semicolon may be missing after it.
    let media_type = content_type.mimetype.split_whitespace().next();
    let media_type = media_type.unwrap_or(default).to_owned();
    let disposition = header
        .value("content-disposition")
        .map(|value| mailparse::parse_content_disposition(&value));
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
        .map(|name| super::header::decode_words(name))
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
        header,
    }
}

/// A part may lack its header and even the empty line after it (RFC 2046
/// 5.1): when its first line is no field, all of it is body.
fn split_header(piece: &[u8]) -> (Header<'_>, &[u8]) {
    let header = Header::parse_part(piece);
    if header.fields.is_empty() && header.junk > 0 {
        return (Header::default(), piece);
    }
    let body = piece.get(header.octets..).unwrap_or_default();
    (header, body)
}

/// RFC 2046 5.1.1: a delimiter is a line of its own, the line end before it is
/// part of it, blanks after it are not.
fn split<'a>(body: &'a [u8], boundary: &[u8]) -> (Vec<&'a [u8]>, bool) {
    let mut pieces = Vec::new();
    let mut open = None;
    for at in delimiters(body) {
        let line = line_at(body, at);
        let Some(rest) = line
            .strip_prefix(b"--")
            .and_then(|line| line.strip_prefix(boundary))
        else {
            continue;
        };
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

/// The places where a line begins with two hyphens.
fn delimiters(body: &[u8]) -> impl Iterator<Item = usize> {
    let first = body.starts_with(b"--").then_some(0);
    let rest = memchr::memmem::find_iter(body, b"\n--").map(|at| at + 1);
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
    let at = delimiters(body).next()?;
    let boundary = line_at(body, at).strip_prefix(b"--")?.trim_ascii_end();
    (!boundary.is_empty() && boundary.len() <= 200).then(|| boundary.to_vec())
}

impl Part<'_> {
    /// How the body is encoded, as far as that is known (RFC 2045, 6).
    pub fn transfer_encoding(&self) -> Encoding {
        // `7-bit`, `8bits` and `Quoted Printable;` have been seen.
        let mut letters = self.encoding.clone();
        letters.retain(|letter| letter.is_ascii_alphanumeric());
        match letters.as_str() {
            "base64" => Encoding::Base64,
            "quotedprintable" => Encoding::QuotedPrintable,
            "7bit" | "7bits" | "8bit" | "8bits" | "binary" | "" => Encoding::Identity,
            _ => Encoding::Unknown,
        }
    }

    /// Undoes the transfer encoding. One that is unknown leaves the body as it
    /// is, with a fault.
    pub fn decode(&self) -> Decoded {
        let fault = match self.transfer_encoding() {
            Encoding::Base64 => return base64(self.body),
            Encoding::QuotedPrintable => return quoted_printable(self.body),
            Encoding::Identity => None,
            Encoding::Unknown => Some(format!("unknown transfer encoding {}", self.encoding)),
        };
        Decoded {
            octets: self.body.to_vec(),
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
        is_smil_type(&self.media_type)
            || (matches!(
                self.media_type.as_str(),
                "application/octet-stream" | "text/plain" | "text/xml" | "application/xml"
            ) && self
                .name
                .as_deref()
                .is_some_and(|name| name.to_ascii_lowercase().ends_with(".smil")))
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

    /// Octets that are text in the charset that the part names, as UTF-8. An
    /// unknown charset, and none, is read as UTF-8 if it is that, else as
    /// Windows-1252.
    pub fn text(&self, octets: &[u8]) -> String {
        let charset = self
            .params
            .get("charset")
            .map(|name| name.trim().to_ascii_lowercase());
        let charset = charset.as_deref().unwrap_or("us-ascii");
        if let ("us-ascii" | "utf-8" | "utf8", Ok(text)) = (charset, std::str::from_utf8(octets)) {
            return text.trim_start_matches('\u{feff}').to_owned();
        }
        in_charset(charset, octets)
    }
}

/// Whether a media type is that of a presentation.
pub fn is_smil_type(media_type: &str) -> bool {
    matches!(
        media_type,
        "application/smil" | "application/smil+xml" | "text/smil"
    )
}

/// mailparse knows the charsets; it is handed a mail of one part that holds
/// nothing but the octets.
fn in_charset(charset: &str, octets: &[u8]) -> String {
    let known = charset
        .bytes()
        .all(|octet| octet.is_ascii_alphanumeric() || b"-_.:".contains(&octet));
    let charset = if known { charset } else { "us-ascii" };
    let mut mail = format!(
        "Content-Type: text/plain; charset=\"{charset}\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    )
    .into_bytes();
    mail.extend_from_slice(octets);
    mailparse::parse_mail(&mail)
        .and_then(|mail| mail.get_body())
        .unwrap_or_else(|_| String::from_utf8_lossy(octets).into_owned())
}

/// RFC 2045 6.8. What is no letter of the alphabet is passed over, as the RFC
/// wants it, but told; so is text after the padding.
fn base64(body: &[u8]) -> Decoded {
    let mut octets = Vec::with_capacity(body.len() / 4 * 3);
    let (mut bits, mut held) = (0_u32, 0_u32);
    let (mut letters, mut padding) = (0_usize, 0_usize);
    let mut fault = None;
    for (at, octet) in body.iter().enumerate() {
        let value = match octet {
            b'A'..=b'Z' => octet - b'A',
            b'a'..=b'z' => octet - b'a' + 26,
            b'0'..=b'9' => octet - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                padding += 1;
                continue;
            }
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            other => {
                fault.get_or_insert_with(|| {
                    format!(
                        "octet {at} of the base64 is 0x{other:02x}, which is none of its letters"
                    )
                });
                continue;
            }
        };
        if padding > 0 {
            fault.get_or_insert_with(|| format!("base64 goes on at octet {at}, after its padding"));
            break;
        }
        letters += 1;
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            octets.push((bits >> held & 0xff) as u8);
            bits &= (1 << held) - 1;
        }
    }
    let whole = match letters % 4 {
        0 => padding == 0,
        1 => false,
        rest => padding == 4 - rest,
    };
    if !whole {
        fault.get_or_insert_with(|| {
            format!(
                "base64 of {letters} letters and {padding} padding is cut short or badly padded"
            )
        });
    }
    Decoded { octets, fault }
}

/// RFC 2045 6.7. A `=` that begins no code stays as it is, and is told.
fn quoted_printable(body: &[u8]) -> Decoded {
    let mut octets = Vec::with_capacity(body.len());
    let mut fault = None;
    let mut at = 0;
    while at < body.len() {
        let line = line_at(body, at);
        let text = without_line_end(line);
        let ending = line.get(text.len()..).unwrap_or_default();
        let text = text.trim_ascii_end();
        let (text, soft) = match text.strip_suffix(b"=") {
            Some(text) => (text, true),
            None => (text, false),
        };
        if !quoted_line(text, &mut octets) {
            fault.get_or_insert_with(|| {
                format!("octet {at} begins a quoted-printable line with a code that is none")
            });
        }
        if !soft {
            octets.extend_from_slice(ending);
        }
        at += line.len();
    }
    Decoded { octets, fault }
}

fn quoted_line(mut line: &[u8], octets: &mut Vec<u8>) -> bool {
    let mut right = true;
    while let Some((first, rest)) = line.split_first() {
        let code = rest.get(..2).and_then(hex);
        line = match (first, code) {
            (b'=', Some(octet)) => {
                octets.push(octet);
                rest.get(2..).unwrap_or_default()
            }
            _ => {
                right &= *first != b'=';
                octets.push(*first);
                rest
            }
        };
    }
    right
}

fn hex(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits).ok()?;
    digits
        .bytes()
        .all(|digit| digit.is_ascii_hexdigit())
        .then(|| u8::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mail: &[u8]) -> (Vec<Part<'_>>, Vec<Fault>) {
        let header = Header::parse(mail);
        let body = &mail[header.octets..];
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
        let (parts, faults) = read(
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
        assert_eq!(faults, []);
        assert_eq!(parts[0].params["start"], "<smil>");
        assert_eq!(parts[1].content_id.as_deref(), Some("smil"));
        assert_eq!(parts[1].body, b"<smil/>");
        assert_eq!(parts[2].name.as_deref(), Some("1.jpg"));
        assert_eq!(parts[2].number, Some(2));
        assert_eq!(parts[2].decode().octets, [0, 1, 2]);
    }

    #[test]
    fn a_part_without_a_header_is_body() {
        let (parts, _) = read(b"Content-Type: multipart/mixed; boundary=x\n\n--x\nhello\n\nworld\n--x\n\nbare\n--x--\n");
        assert_eq!(parts[1].body, b"hello\n\nworld");
        assert_eq!(parts[2].body, b"bare");
    }

    #[test]
    fn a_multipart_that_is_cut_gives_what_is_there() {
        let (parts, faults) =
            read(b"Content-Type: multipart/mixed; boundary=x\n\n--x\n\none\n--x\n\ntw");
        assert_eq!(parts.len(), 3);
        assert_eq!(faults[0].code, "unterminated");
    }

    #[test]
    fn a_boundary_that_is_missing_is_guessed() {
        let (parts, faults) = read(b"Content-Type: multipart/mixed\n\n--abc\n\none\n--abc--\n");
        assert_eq!(parts[1].body, b"one");
        assert_eq!(faults[0].code, "no-boundary");
        let (parts, faults) =
            read(b"Content-Type: multipart/mixed; boundary=y\n\n--z\n\none\n--z--\n");
        assert_eq!(parts[1].body, b"one");
        assert_eq!(faults[0].code, "no-delimiter");
        let (parts, _) = read(b"Content-Type: multipart/mixed boundary=y\n\n--y\n\none\n--y--\n");
        assert_eq!(parts[1].body, b"one");
        let (parts, faults) = read(b"Content-Type: multipart/mixed; boundary=y\n\n--sig\n");
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].number, Some(1));
        assert_eq!(faults[0].code, "no-delimiter");
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
        let (parts, faults) = read(&mail);
        assert_eq!(parts.len(), MAX_DEPTH + 1);
        assert!(faults.iter().any(|fault| fault.code == "too-deep"));
    }

    #[test]
    fn a_hundred_thousand_parts_are_cut_to_the_limit() {
        let mut mail = b"Content-Type: multipart/mixed; boundary=x\n\n".to_vec();
        for _ in 0..100_000 {
            mail.extend_from_slice(b"--x\n\n");
        }
        let (parts, faults) = read(&mail);
        assert_eq!(parts.len(), MAX_PARTS);
        assert!(faults.iter().any(|fault| fault.code == "too-many-parts"));
    }

    #[test]
    fn base64_gives_what_it_can_and_says_what_is_wrong() {
        assert_eq!(
            base64(b"aGVs\r\nbG8=\r\n"),
            Decoded {
                octets: b"hello".to_vec(),
                fault: None
            }
        );
        assert_eq!(base64(b""), Decoded::default());
        for bad in [
            &b"aGVsbG8"[..],
            b"aGVs!bG8=",
            b"aGVsbG8==",
            b"aGVsb",
            b"aGVsbG8=aGVs",
            b"=",
        ] {
            let decoded = base64(bad);
            assert!(decoded.fault.is_some(), "{bad:?}");
            assert!(b"hello".starts_with(&decoded.octets[..decoded.octets.len().min(3)]));
        }
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
            assert_eq!(decoded.octets, wanted.as_bytes(), "{name}");
            assert_eq!(decoded.fault, None, "{name}");
        }
        let (parts, _) = read(b"Content-Transfer-Encoding: x-uuencode\n\nx");
        assert!(parts[0].decode().fault.is_some());
    }

    #[test]
    fn quoted_printable_is_undone_line_by_line() {
        let decoded = quoted_printable(b"caf=C3=A9 =\r\nau lait  \r\n=\r\nend");
        assert_eq!(decoded.octets, "café au lait\r\nend".as_bytes());
        assert_eq!(decoded.fault, None);
        let decoded = quoted_printable(b"50 =% off =4");
        assert_eq!(decoded.octets, b"50 =% off =4");
        assert!(decoded.fault.is_some());
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

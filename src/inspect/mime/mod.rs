//! The parts of a mail (RFC 2045, RFC 2046), read so that no mail is too broken
//! to be looked at.
//!
//! The tree is walked here and not by mailparse, because mailparse rejects a
//! whole mail whose multiparts are nested over its limit, and because its
//! decoder of encoded words and of parameters takes more than linear time.
//! Limits: [`MAX_DEPTH`] levels, [`MAX_PARTS`] parts; what is deeper or beyond
//! stays one undivided part, with a finding. Nothing fails: a transfer encoding
//! that is broken gives what could be decoded, and a finding. The time is linear in
//! the length of the mail times its depth. A uuencoded file within a plain text that has
//! no transfer encoding is a part of its own, after the text that is left.

pub mod charset;
pub mod header;
pub mod html;
mod inline;
mod multipart;
pub mod params;
pub mod transfer;
pub mod words;
mod wsp;

use std::borrow::Cow;
use std::collections::BTreeMap;

use self::header::Header;
use self::multipart::Division;
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
    /// The body as it was sent, without the line end before the delimiter; empty
    /// for a container.
    pub body: Cow<'a, [u8]>,
}

/// Divides a mail into its parts. `header` is its header block, `body` what
/// follows. A mail without a body, as reports and responses are, has no parts.
pub fn parts<'a>(header: &Header<'a>, body: &'a [u8]) -> (Vec<Part<'a>>, Vec<Finding>) {
    let mut walk = Walk::default();
    let bare = body.trim_ascii().is_empty() && header.field("content-type").is_none();
    if !bare {
        walk.part(describe(header, 0, "text/plain"), body, Cow::Borrowed);
    }
    (walk.parts, walk.findings)
}

/// Makes the body of a part from a piece of what is divided: borrowed from the
/// mail, or copied where what is divided had to be decoded first.
type Keep<'b, 'a> = fn(&'b [u8]) -> Cow<'a, [u8]>;

#[derive(Default)]
struct Walk<'a> {
    parts: Vec<Part<'a>>,
    findings: Vec<Finding>,
    leaves: usize,
}

impl<'a> Walk<'a> {
    fn part<'b>(&mut self, mut part: Part<'a>, body: &'b [u8], keep: Keep<'b, 'a>) {
        if part.is_multipart() {
            match self.divide(part, body, keep) {
                None => return,
                Some(undivided) => part = undivided,
            }
        }
        let blocks = match part.may_hold_files() {
            true => inline::blocks(body, MAX_PARTS.saturating_sub(self.parts.len() + 1)),
            false => Vec::new(),
        };
        if blocks.is_empty() {
            self.leaf(part, keep(body));
        } else {
            self.text_with_files(part, body, &blocks, keep);
        }
    }

    fn leaf(&mut self, mut part: Part<'a>, body: Cow<'a, [u8]>) {
        self.leaves += 1;
        part.number = Some(self.leaves);
        part.body = body;
        self.parts.push(part);
    }

    /// A text, unless it is blank, and after it each file that was uuencoded within it.
    fn text_with_files<'b>(
        &mut self,
        text: Part<'a>,
        body: &'b [u8],
        blocks: &[inline::Block],
        keep: Keep<'b, 'a>,
    ) {
        let depth = text.depth;
        let rest = inline::without(body, blocks);
        if !rest.trim_ascii().is_empty() {
            self.leaf(text, Cow::Owned(rest));
        }
        for block in blocks {
            let file = Part::uuencoded(&block.name, depth);
            let place = body.get(block.place.clone()).unwrap_or_default();
            self.leaf(file, keep(place));
        }
    }

    /// Divides a multipart; one that cannot be divided is returned.
    fn divide<'b>(
        &mut self,
        part: Part<'a>,
        body: &'b [u8],
        keep: Keep<'b, 'a>,
    ) -> Option<Part<'a>> {
        if part.depth >= MAX_DEPTH {
            self.report(
                Code::TooDeep,
                format!("multiparts nested deeper than {MAX_DEPTH} levels were left undivided"),
            );
            return Some(part);
        }
        let division = Division::of(&part, body);
        let is_divided = !division.pieces.is_empty();
        if is_divided && division.faults.is_empty() {
            self.pieces(part, &division, keep);
            return None;
        }
        // RFC 2045 6.4 forbids to encode a multipart; WAP gateways do it.
        let decoded = part.transfer_encoding().decode(body);
        let inner = decoded.as_ref().map_or(body, |decoded| &decoded.bytes);
        if let Some(entries) = part
            .is_wap_multipart()
            .then(|| wsp::entries(inner))
            .flatten()
        {
            self.entries(part, &entries);
            return None;
        }
        let again = decoded.as_ref().map(|_| Division::of(&part, inner));
        match again {
            Some(again) if !again.pieces.is_empty() && !is_divided => {
                self.pieces(part, &again, |piece| Cow::Owned(piece.to_vec()));
                None
            }
            _ if is_divided => {
                self.pieces(part, &division, keep);
                None
            }
            _ => {
                self.report_all(&division);
                Some(part)
            }
        }
    }

    fn pieces<'b>(&mut self, part: Part<'a>, division: &Division<'b>, keep: Keep<'b, 'a>) {
        self.report_all(division);
        // RFC 2046 5.1.5: what a digest holds is a message unless it says so.
        let default = match part.media_type.as_str() {
            "multipart/digest" => "message/rfc822",
            _ => "text/plain",
        };
        let depth = part.depth + 1;
        self.parts.push(part);
        for (at, piece) in division.pieces.iter().enumerate() {
            if self.is_full(division.pieces.len() - at) {
                return;
            }
            let header = Header::parse_part(piece);
            self.report_header(&header, piece);
            let body = piece.get(header.length..).unwrap_or_default();
            self.part(describe(&header, depth, default), body, keep);
        }
    }

    /// The entries of a multipart in WAP's binary form.
    fn entries(&mut self, part: Part<'a>, entries: &[wsp::Entry<'_>]) {
        let depth = part.depth + 1;
        self.parts.push(part);
        for (at, entry) in entries.iter().enumerate() {
            if self.is_full(entries.len() - at) {
                return;
            }
            let header = Header::parse_part(&entry.header);
            let part = describe(&header, depth, "application/octet-stream");
            self.part(part, entry.body, |body| Cow::Owned(body.to_vec()));
        }
    }

    /// Whether no part is taken any more; `left` are left out then.
    fn is_full(&mut self, left: usize) -> bool {
        let is_full = self.parts.len() >= MAX_PARTS;
        if is_full {
            let text = format!("{left} parts after the first {MAX_PARTS} were left out");
            self.report(Code::TooManyParts, text);
        }
        is_full
    }

    fn report_header(&mut self, header: &Header<'_>, piece: &[u8]) {
        let part = self.leaves + 1;
        if header.cut {
            let text = format!("the header of part {part} is too long to be read whole");
            self.report(Code::HeaderTooLong, text);
        } else if header.lacks_end(piece) {
            let text =
                format!("the header of part {part} ends without its empty line (RFC 2046 5.1)");
            self.report(Code::NoEmptyLine, text);
        }
    }

    fn report_all(&mut self, division: &Division<'_>) {
        for (code, text) in &division.faults {
            self.report(*code, text.clone());
        }
    }

    fn report(&mut self, code: Code, text: String) {
        // One of a kind is enough: a hostile mail could have thousands.
        if !self.findings.iter().any(|finding| finding.code == code) {
            self.findings.push(Finding::new(code, text));
        }
    }
}

/// A part by its header; its body is still empty.
fn describe<'a>(header: &Header<'_>, depth: usize, default: &str) -> Part<'a> {
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
        body: Cow::Borrowed(&[]),
    }
}

impl<'a> Part<'a> {
    /// A file of that name within a text; its body is still empty.
    fn uuencoded(name: &str, depth: usize) -> Part<'a> {
        Part {
            number: None,
            depth,
            media_type: inline::type_of(name).to_owned(),
            params: BTreeMap::new(),
            name: Some(name.to_owned()),
            content_id: None,
            location: None,
            encoding: "x-uuencode".to_owned(),
            body: Cow::Borrowed(&[]),
        }
    }
}

impl Part<'_> {
    /// Whether uuencoded files may be in its text.
    fn may_hold_files(&self) -> bool {
        let is_plain = self.media_type == "text/plain" && !self.is_smil();
        is_plain && self.transfer_encoding() == Encoding::Identity
    }

    /// How the body is encoded, as far as that is known (RFC 2045, 6).
    pub(crate) fn transfer_encoding(&self) -> Encoding {
        Encoding::parse(&self.encoding)
    }

    /// Undoes the transfer encoding. One that is unknown leaves the body as it
    /// is, with a fault.
    pub fn decode(&self) -> Decoded {
        let encoding = self.transfer_encoding();
        if let Some(decoded) = encoding.decode(&self.body) {
            return decoded;
        }
        let unknown = encoding == Encoding::Unknown;
        Decoded {
            bytes: self.body.to_vec(),
            fault: unknown.then(|| format!("unknown transfer encoding {}", self.encoding)),
        }
    }

    /// Whether its type is one that is divided into parts.
    pub(crate) fn is_multipart(&self) -> bool {
        self.media_type.starts_with("multipart/") || self.is_wap_multipart()
    }

    /// A multipart of WAP, as text or in its binary form (WAP-230-WSP 8.5).
    fn is_wap_multipart(&self) -> bool {
        let subtype = self
            .media_type
            .strip_prefix("application/vnd.wap.multipart.");
        subtype.is_some_and(|subtype| {
            matches!(subtype, "related" | "mixed" | "alternative" | "form-data")
        })
    }

    /// The type before the slash.
    pub fn kind(&self) -> &str {
        self.media_type.split('/').next().unwrap_or_default()
    }

    /// Whether it is a presentation, by type or, since gateways lose types, by
    /// name.
    pub(crate) fn is_smil(&self) -> bool {
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

    /// Whether it is text to be read, not a presentation. So is a multipart that
    /// could not be divided.
    pub(crate) fn is_text(&self) -> bool {
        let undivided = || self.is_multipart() && memchr::memchr(0, &self.body).is_none();
        let is_text = self.kind() == "text" || self.is_html() || undivided();
        self.number.is_some() && is_text && !self.is_smil()
    }

    /// Whether its text is HTML.
    pub(crate) fn is_html(&self) -> bool {
        matches!(
            self.media_type.as_str(),
            "text/html" | "application/xhtml+xml" | "application/vnd.wap.xhtml+xml"
        )
    }

    /// The last word of its type, short enough for a table: `jpeg`, `smil`.
    pub(crate) fn short_type(&self) -> String {
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
mod tests;

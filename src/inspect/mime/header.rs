//! The header block of a mail or of one of its parts.
//!
//! Lenient: a fold of white space alone belongs to its field, LF does for CRLF, the
//! empty line at the end may be missing. In a mail a line that is not a field is
//! skipped and counted, since fields of MM4 may follow it; such lines after the last
//! field are the body. In a part the first line that is
//! not a field begins the body. Nothing fails. Limits: [`MAX_BYTES`] of block,
//! [`MAX_FIELDS`] fields in a mail and [`MAX_PART_FIELDS`] in a part,
//! [`MAX_VALUE`] bytes of a field; what is beyond is left out and
//! [`Header::cut`] says so. The time is linear in the length of the block.

use std::borrow::Cow;

use super::words;

/// Bytes of a header block that are read.
pub const MAX_BYTES: usize = 1024 * 1024;
/// Fields of a mail's header block that are kept.
pub const MAX_FIELDS: usize = 20_000;
/// Fields of a part's header block that are kept; a mail may have 1,000 parts.
pub const MAX_PART_FIELDS: usize = 1000;
/// Bytes of one field that are decoded; gateways fold fields of 1.6 kB.
pub const MAX_VALUE: usize = 64 * 1024;

/// One header block.
#[derive(Debug, Default)]
pub struct Header<'a> {
    /// The fields in their order.
    pub fields: Vec<Field<'a>>,
    /// Bytes up to the body, the empty line included.
    pub length: usize,
    /// Lines that are not fields.
    pub junk: usize,
    /// A limit of this module left something out.
    pub cut: bool,
    /// The empty line was there.
    pub ended: bool,
    /// Lines that are not fields begin here and no field follows them.
    tail: Option<Tail>,
}

/// Lines at the end of a block that are not fields.
#[derive(Clone, Copy, Debug)]
struct Tail {
    /// Where they begin.
    start: usize,
    /// Lines that were not fields before them.
    junk_before: usize,
}

/// One field: RFC 5322 2.2, more or less.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    name: &'a [u8],
    /// All of it: the name, the colon, the folds, the last line end.
    whole: &'a [u8],
    /// Where it begins in the block.
    start: usize,
}

impl<'a> Header<'a> {
    /// Reads the header block at the start of `bytes`, a mail.
    pub fn parse(bytes: &'a [u8]) -> Header<'a> {
        let mut header = Header::default();
        header.length = header.read(bytes, MAX_FIELDS, false);
        if let (Some(tail), false) = (header.tail, header.cut) {
            header.length = tail.start;
            header.junk = tail.junk_before;
            header.ended = false;
        }
        header
    }

    /// Reads the header block at the start of `bytes`, a part of a mail.
    pub(crate) fn parse_part(bytes: &'a [u8]) -> Header<'a> {
        let mut header = Header::default();
        header.length = header.read(bytes, MAX_PART_FIELDS, true);
        header.junk = 0;
        header
    }

    /// Whether the block ended without its empty line although a body follows.
    pub(crate) fn lacks_end(&self, bytes: &[u8]) -> bool {
        !self.ended && !self.cut && self.length < bytes.len()
    }

    /// Takes the lines of the block, and returns where the body begins.
    fn read(&mut self, bytes: &'a [u8], max_fields: usize, only_fields: bool) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            let line = line_at(bytes, at);
            let next = at + line.len();
            if without_line_end(line).is_empty() {
                self.ended = true;
                return next;
            }
            if next > MAX_BYTES {
                self.cut = true;
                return body_after(bytes, at);
            }
            self.take(bytes, at, next, max_fields);
            if only_fields && self.junk > 0 {
                return at;
            }
            at = next;
        }
        at
    }

    fn take(&mut self, bytes: &'a [u8], start: usize, end: usize, max_fields: usize) {
        let line = bytes.get(start..end).unwrap_or_default();
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            self.fold(bytes, start, end);
            return;
        }
        let name = memchr::memchr(b':', line).and_then(|colon| line.get(..colon));
        match name.map(<[u8]>::trim_ascii_end) {
            Some(name) if !is_name(name) => self.add_junk(start, line),
            None => self.add_junk(start, line),
            Some(_) if self.fields.len() >= max_fields => self.cut = true,
            Some(name) => {
                self.tail = None;
                self.fields.push(Field {
                    name,
                    whole: line,
                    start,
                });
            }
        }
    }

    fn add_junk(&mut self, start: usize, line: &[u8]) {
        // The line that a mailbox file puts before each mail.
        if start == 0 && line.starts_with(b"From ") {
            return;
        }
        let junk_before = self.junk;
        self.tail.get_or_insert(Tail { start, junk_before });
        self.junk += 1;
    }

    /// A fold belongs to the field that ends where it begins (RFC 5322 2.2.3).
    fn fold(&mut self, bytes: &'a [u8], start: usize, end: usize) {
        match self.fields.last_mut() {
            Some(field) if field.start + field.whole.len() == start => {
                field.whole = bytes.get(field.start..end).unwrap_or_default();
            }
            _ if self.cut => {}
            _ => self.add_junk(start, b""),
        }
    }

    /// The first field of that name, in any case.
    pub fn field(&self, name: &str) -> Option<Field<'a>> {
        self.all(name).next()
    }

    /// Every field of that name, in any case.
    pub fn all(&self, name: &str) -> impl Iterator<Item = Field<'a>> {
        self.fields
            .iter()
            .filter(move |field| field.is(name))
            .copied()
    }

    /// The first field of that name that has a value.
    pub(crate) fn field_with_value(&self, name: &str) -> Option<Field<'a>> {
        self.all(name).find(|field| !field.is_empty())
    }

    /// The decoded value of the first field of that name that has one.
    pub fn value(&self, name: &str) -> Option<String> {
        self.all(name)
            .map(|field| field.value())
            .find(|value| !value.is_empty())
    }

    /// The same as it was written, unfolded.
    pub(crate) fn raw_value(&self, name: &str) -> Option<String> {
        self.all(name)
            .map(|field| field.raw_value())
            .find(|value| !value.is_empty())
    }
}

impl<'a> Field<'a> {
    /// The name as it was written.
    pub fn name(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.name)
    }

    /// Whether it has that name, in any case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// Where it begins in its block, in bytes.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Whether nothing but blanks follows the colon.
    pub fn is_empty(&self) -> bool {
        self.written().trim_ascii().is_empty()
    }

    /// The value unfolded, its encoded words decoded (RFC 2047), without blanks
    /// around it. Bytes that are not UTF-8 are read as Windows-1252.
    pub fn value(&self) -> String {
        words::decode(&self.unfolded()).trim().to_owned()
    }

    /// The value unfolded (RFC 5322 2.2.3) and otherwise as it was written,
    /// without blanks around it.
    pub(crate) fn raw_value(&self) -> String {
        let value = String::from_utf8_lossy(self.written()).replace(['\r', '\n'], "");
        value.trim().to_owned()
    }

    /// The value with each fold as one blank.
    pub(crate) fn unfolded(&self) -> Cow<'a, [u8]> {
        let value = self.written().trim_ascii();
        if memchr::memchr(b'\n', value).is_none() {
            return Cow::Borrowed(value);
        }
        let lines = value.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
        Cow::Owned(lines.collect::<Vec<_>>().join(&b' '))
    }

    /// What follows the colon, at most [`MAX_VALUE`] bytes of the field.
    fn written(&self) -> &'a [u8] {
        let field = self.whole.get(..MAX_VALUE).unwrap_or(self.whole);
        let colon = memchr::memchr(b':', field);
        colon
            .and_then(|colon| field.get(colon + 1..))
            .unwrap_or_default()
    }
}

/// Whether a header block that begins with these bytes ends in them.
pub fn is_whole(bytes: &[u8]) -> bool {
    let mut ends = memchr::memchr_iter(b'\n', bytes);
    let is_empty = |at: usize| matches!(bytes.get(at..), Some([b'\n', ..] | [b'\r', b'\n', ..]));
    is_empty(0) || ends.any(|at| is_empty(at + 1))
}

/// The line that begins at `at`, its line end included.
pub(crate) fn line_at(bytes: &[u8], at: usize) -> &[u8] {
    let rest = bytes.get(at..).unwrap_or_default();
    match memchr::memchr(b'\n', rest) {
        Some(end) => rest.get(..=end).unwrap_or(rest),
        None => rest,
    }
}

/// A line without its line end, LF or CRLF.
pub(crate) fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Where the body begins after a block that is too long to be kept.
fn body_after(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        let line = line_at(bytes, at);
        at += line.len();
        if without_line_end(line).is_empty() {
            break;
        }
    }
    at
}

/// RFC 5322 2.2: printable ASCII without the colon.
fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_in_any_case_and_order() {
        let header = Header::parse(b"subject:One\r\nX-A : b\r\nSUBJECT: two\r\n\r\nTo: no\r\n");
        assert_eq!(header.value("Subject").as_deref(), Some("One"));
        assert_eq!(header.all("subject").count(), 2);
        assert_eq!(header.value("x-a").as_deref(), Some("b"));
        assert!(header.field("to").is_none());
        assert!(header.ended);
        assert_eq!(
            header.length,
            b"subject:One\r\nX-A : b\r\nSUBJECT: two\r\n\r\n".len()
        );
    }

    #[test]
    fn a_fold_of_white_space_alone_belongs_to_its_field() {
        let header = Header::parse(b"To: a,\r\n \r\n\tb\r\nCc: c\r\n");
        assert_eq!(header.raw_value("to").as_deref(), Some("a, \tb"));
        assert_eq!(header.value("cc").as_deref(), Some("c"));
        assert!(!header.ended);
    }

    #[test]
    fn a_value_that_is_all_fold_is_found() {
        let header = Header::parse(b"X-Mms-Transaction-ID:\r\n 1234\r\n");
        assert_eq!(
            header.raw_value("x-mms-transaction-id").as_deref(),
            Some("1234")
        );
        assert_eq!(
            header.value("x-mms-transaction-id").as_deref(),
            Some("1234")
        );
    }

    #[test]
    fn encoded_words_are_decoded_and_kept_raw() {
        let header = Header::parse("Subject: =?utf-8?B?16nXnNeV150=?=\n".as_bytes());
        assert_eq!(header.value("subject").as_deref(), Some("שלום"));
        assert_eq!(
            header.raw_value("subject").as_deref(),
            Some("=?utf-8?B?16nXnNeV150=?=")
        );
    }

    #[test]
    fn lines_that_are_not_fields_are_counted_and_skipped() {
        let header =
            Header::parse(b"From someone\nnonsense\n fold of it\n: no name\na b: c\nTo: x\n\n");
        assert_eq!(header.junk, 4);
        assert_eq!(header.value("to").as_deref(), Some("x"));
    }

    #[test]
    fn a_body_without_its_empty_line_begins_with_the_first_line_that_is_no_field() {
        let mail = b"Subject: x\nnot a field\nTo: a\nhello there\n world\n";
        let header = Header::parse(mail);
        assert_eq!(
            mail.get(header.length..),
            Some(&b"hello there\n world\n"[..])
        );
        assert_eq!(header.junk, 1);
        assert!(header.lacks_end(mail));
        let mail = b"hello\n there\n\nbye\n";
        let header = Header::parse(mail);
        assert_eq!((header.length, header.junk), (0, 0));
        assert!(header.lacks_end(mail));
        let part = b"Content-Type: text/plain;\n name=a\nhello there\nTo: you\n\nbye";
        let header = Header::parse_part(part);
        assert_eq!(
            part.get(header.length..),
            Some(&b"hello there\nTo: you\n\nbye"[..])
        );
        assert_eq!(header.fields.len(), 1);
        assert!(header.lacks_end(part));
        let whole = b"no field at all";
        assert_eq!(Header::parse_part(whole).length, 0);
        assert_eq!(Header::parse(whole).length, 0);
        assert!(!Header::parse(b"To: a\n").lacks_end(b"To: a\n"));
    }

    #[test]
    fn the_end_of_a_block_is_seen_without_reading_its_fields() {
        for whole in [&b"\r\nbody"[..], b"\n", b"To: a\r\n\r\n", b"To: a\n\nbody"] {
            assert!(is_whole(whole) && Header::parse(whole).ended, "{whole:?}");
        }
        for part in [&b""[..], b"To: a", b"To: a\r\n", b"To: a\n b\n"] {
            assert!(!is_whole(part) && !Header::parse(part).ended, "{part:?}");
        }
    }

    #[test]
    fn a_megabyte_of_header_is_cut_and_its_body_found() {
        let mut mail = b"To: x\r\n".to_vec();
        for _ in 0..400_000 {
            mail.extend_from_slice(b"A: b\r\n");
        }
        mail.extend_from_slice(b"\r\nbody");
        let header = Header::parse(&mail);
        assert!(header.cut);
        assert_eq!(header.fields.len(), MAX_FIELDS);
        assert_eq!(mail.get(header.length..), Some(&b"body"[..]));
    }

    #[test]
    fn one_field_of_a_megabyte_is_read_to_its_limit() {
        let mut mail = b"Subject: ".to_vec();
        mail.resize(900_000, b'x');
        let header = Header::parse(&mail);
        assert!(
            header
                .value("subject")
                .is_some_and(|value| value.len() < MAX_VALUE)
        );
    }
}

//! The binary form of a multipart that WAP gateways pass on (WAP-230-WSP 8.5).
//!
//! Each entry becomes a header block in text, which the rest of [`super`] reads as
//! that of any other part. Codes that MMS does not use are left out. `None` where the
//! bytes are not such a multipart to their end. Limits: [`MAX_PARTS`] entries; the time is
//! linear.

use super::MAX_PARTS;

/// One entry.
#[derive(Debug)]
pub(super) struct Entry<'b> {
    /// Its header block as text.
    pub(super) header: Vec<u8>,
    /// Its data, which have no transfer encoding.
    pub(super) body: &'b [u8],
}

/// The entries of a multipart.
pub(super) fn entries(bytes: &[u8]) -> Option<Vec<Entry<'_>>> {
    let mut input = Input { rest: bytes };
    let count = input.uintvar()?;
    if !(1..=MAX_PARTS).contains(&count) {
        return None;
    }
    (0..count).map(|_| entry(&mut input)).collect()
}

fn entry<'b>(input: &mut Input<'b>) -> Option<Entry<'b>> {
    let header_length = input.uintvar()?;
    let body_length = input.uintvar()?;
    let mut header = Input {
        rest: input.take(header_length)?,
    };
    let body = input.take(body_length)?;
    let mut text = Text::default();
    content_type(&mut header, &mut text)?;
    // A header that is not understood costs its name, never the part.
    while field(&mut header, &mut text).is_some() {}
    Some(Entry {
        header: text.0,
        body,
    })
}

/// 8.4.2.24: a well-known type, a type in text, or either with parameters.
fn content_type(header: &mut Input<'_>, text: &mut Text) -> Option<()> {
    let mut value = match header.peek()? {
        0..=31 => {
            let length = header.value_length()?;
            Input {
                rest: header.take(length)?,
            }
        }
        _ => return header.media_type(text),
    };
    value.media_type(text)?;
    parameters(&mut value, text);
    Some(())
}

/// The parameters of table 38 that MMS uses; the others are skipped.
fn parameters(value: &mut Input<'_>, text: &mut Text) {
    while let Some(first) = value.peek() {
        let name = match first {
            0x80..=0xff => {
                value.take(1);
                known_parameter(first & 0x7f)
            }
            _ => match value.text() {
                Some(name) => Some(String::from_utf8_lossy(name).into_owned()),
                None => return,
            },
        };
        let Some(found) = value.value() else { return };
        let found = match (name.as_deref(), found) {
            // Numbers are MIBenum, which the charset's name may be too.
            (Some("charset"), Value::Number(number)) => number.to_string().into_bytes(),
            (Some("type"), Value::Number(number)) => known_type(number).as_bytes().to_vec(),
            (Some(_), Value::Text(found)) => found.to_vec(),
            _ => continue,
        };
        if let Some(name) = name {
            text.parameter(&name, &found);
        }
    }
}

fn known_parameter(code: u8) -> Option<String> {
    let name = match code {
        0x01 => "charset",
        0x05 | 0x17 => "name",
        0x06 | 0x18 => "filename",
        0x09 | 0x03 => "type",
        0x0a | 0x19 => "start",
        _ => return None,
    };
    Some(name.to_owned())
}

/// A field after the content type: by its code (table 39), or in text.
fn field(header: &mut Input<'_>, text: &mut Text) -> Option<()> {
    let first = header.peek()?;
    if first < 0x80 {
        let (name, value) = (header.text()?, header.text()?);
        text.field(&String::from_utf8_lossy(name), value);
        return Some(());
    }
    header.take(1)?;
    match first & 0x7f {
        0x0e => text.field("Content-Location", header.text()?),
        0x40 => text.field("Content-ID", header.text()?),
        0x2e | 0x45 => {
            let length = header.value_length()?;
            let mut value = Input {
                rest: header.take(length)?,
            };
            value.value()?;
            text.field("Content-Disposition", b"attachment");
            parameters(&mut value, text);
        }
        _ => {
            header.value()?;
        }
    }
    Some(())
}

/// Table 40, as far as MMS uses it.
fn known_type(code: u64) -> &'static str {
    match code {
        0x02 => "text/html",
        0x03 => "text/plain",
        0x06 => "text/x-vcalendar",
        0x07 => "text/x-vcard",
        0x08 => "text/vnd.wap.wml",
        0x0c => "multipart/mixed",
        0x0f => "multipart/alternative",
        0x1d => "image/gif",
        0x1e => "image/jpeg",
        0x1f => "image/tiff",
        0x20 => "image/png",
        0x21 => "image/vnd.wap.wbmp",
        0x23 => "application/vnd.wap.multipart.mixed",
        0x26 => "application/vnd.wap.multipart.alternative",
        0x27 => "application/xml",
        0x28 => "text/xml",
        0x33 => "application/vnd.wap.multipart.related",
        0x3b => "application/xhtml+xml",
        0x48 => "application/vnd.oma.drm.message",
        0x49 => "application/vnd.oma.drm.content",
        _ => "application/octet-stream",
    }
}

/// What is left to be read.
struct Input<'b> {
    rest: &'b [u8],
}

enum Value<'b> {
    Text(&'b [u8]),
    Number(u64),
}

impl<'b> Input<'b> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// 8.1.2: seven bits a byte, the highest first; at most five bytes.
    fn uintvar(&mut self) -> Option<usize> {
        let mut number = 0_usize;
        for _ in 0..5 {
            let &[byte] = self.take(1)? else { return None };
            number = number << 7 | usize::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// 8.4.2.2: up to 30 bytes by themselves, more after a 31.
    fn value_length(&mut self) -> Option<usize> {
        match self.take(1)? {
            [31] => self.uintvar(),
            &[length @ 0..=30] => Some(usize::from(length)),
            _ => None,
        }
    }

    /// Up to the NUL that ends it, without the quote that some texts begin with.
    fn text(&mut self) -> Option<&'b [u8]> {
        let end = memchr::memchr(0, self.rest)?;
        let text = self.take(end)?;
        self.take(1)?;
        let text = text.strip_prefix(b"\x7f").unwrap_or(text);
        Some(text.strip_prefix(b"\"").unwrap_or(text))
    }

    /// 8.4.1.2: by its first byte a length and that many bytes, a text or a number.
    fn value(&mut self) -> Option<Value<'b>> {
        match self.peek()? {
            0..=31 => {
                let length = self.value_length()?;
                let bytes = self.take(length)?;
                let number = bytes.iter().take(8);
                let number = number.fold(0, |number, byte| number << 8 | u64::from(*byte));
                Some(Value::Number(number))
            }
            32..=127 => self.text().map(Value::Text),
            short => {
                self.take(1)?;
                Some(Value::Number(u64::from(short & 0x7f)))
            }
        }
    }

    fn media_type(&mut self, text: &mut Text) -> Option<()> {
        match self.value()? {
            Value::Text(name) => text.field("Content-Type", name),
            Value::Number(code) => text.field("Content-Type", known_type(code).as_bytes()),
        }
        Some(())
    }
}

/// A header block that is being written.
#[derive(Default)]
struct Text(Vec<u8>);

impl Text {
    fn field(&mut self, name: &str, value: &[u8]) {
        let name = name.bytes().filter(u8::is_ascii_graphic);
        self.0.extend(name.filter(|byte| *byte != b':'));
        self.0.extend_from_slice(b": ");
        self.0
            .extend(value.iter().filter(|byte| !byte.is_ascii_control()));
        self.0.push(b'\n');
    }

    /// Adds a parameter to the last field, in quotes.
    fn parameter(&mut self, name: &str, value: &[u8]) {
        self.0.pop();
        let name = name.bytes().filter(u8::is_ascii_alphanumeric);
        self.0.extend_from_slice(b"; ");
        self.0.extend(name);
        self.0.extend_from_slice(b"=\"");
        for byte in value.iter().filter(|byte| !byte.is_ascii_control()) {
            if b"\"\\".contains(byte) {
                self.0.push(b'\\');
            }
            self.0.push(*byte);
        }
        self.0.extend_from_slice(b"\"\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn entries_have_their_types_names_and_data() {
        let mut bytes = vec![2];
        let picture = b"\x05\x9e\x85a.j\x00\x8e1.jpg\x00\xc0\"<pic>\x00X-Own\x00mine\x00";
        // The length of the type's value: the code, `name`, and its text.
        let picture = [&[6_u8][..], &picture[1..]].concat();
        bytes.extend([picture.len() as u8, 3]);
        bytes.extend(&picture);
        bytes.extend(b"jpg");
        let text = b"\x03\x83\x81\xea";
        bytes.extend([text.len() as u8, 5]);
        bytes.extend(text);
        bytes.extend(b"hello");
        let entries = entries(&bytes).unwrap();
        let header = |at: usize| String::from_utf8(entries[at].header.clone()).unwrap();
        assert_eq!(
            header(0),
            "Content-Type: image/jpeg; name=\"a.j\"\nContent-Location: 1.jpg\n\
             Content-ID: <pic>\nX-Own: mine\n"
        );
        assert_eq!(entries[0].body, b"jpg");
        assert_eq!(header(1), "Content-Type: text/plain; charset=\"106\"\n");
        assert_eq!(entries[1].body, b"hello");
    }

    #[test]
    fn what_is_cut_short_is_not_a_multipart() {
        for bytes in [
            &b""[..],
            b"\x00",
            b"\x01",
            b"\x01\x01\x05\x83hell",
            b"--x\n\n",
            b"\xff\xff\xff\xff\xff\xff",
        ] {
            assert!(entries(bytes).is_none(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = entries(&bytes);
        }
    }
}

//! Transfer encodings (RFC 2045, 6): what a body holds once they are undone.
//!
//! Broken text gives what can be decoded of it, and says what is wrong. Nothing
//! fails; the time is linear.

use super::header::{line_at, without_line_end};

/// A transfer encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Three bytes in four letters.
    Base64,
    /// What is not printable as `=` and two digits.
    QuotedPrintable,
    /// Lines of a length and three bytes in four letters, between `begin` and
    /// `end` (POSIX uuencode).
    Uuencode,
    /// The bytes themselves: 7bit, 8bit, binary.
    Identity,
    /// Something else; the bytes are taken as they are.
    Unknown,
}

/// What a body holds once its transfer encoding is undone.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// The bytes; all that could be decoded if there is a fault.
    pub bytes: Vec<u8>,
    /// What is wrong with the encoding.
    pub fault: Option<String>,
}

impl Encoding {
    /// The encoding of that name; `7-bit`, `8bits` and `Quoted Printable;` have
    /// been seen.
    pub fn parse(name: &str) -> Encoding {
        let letters = name.chars().filter(char::is_ascii_alphanumeric);
        let name: String = letters.map(|letter| letter.to_ascii_lowercase()).collect();
        match name.as_str() {
            "base64" => Encoding::Base64,
            "quotedprintable" => Encoding::QuotedPrintable,
            "xuuencode" | "uuencode" | "xuue" | "uue" => Encoding::Uuencode,
            "7bit" | "7bits" | "8bit" | "8bits" | "binary" | "" => Encoding::Identity,
            _ => Encoding::Unknown,
        }
    }

    /// Undoes the encoding; `None` when the bytes are what they are.
    pub(crate) fn decode(self, body: &[u8]) -> Option<Decoded> {
        match self {
            Encoding::Base64 => Some(base64(body)),
            Encoding::QuotedPrintable => Some(quoted_printable(body)),
            Encoding::Uuencode => Some(uuencode(body)),
            Encoding::Identity | Encoding::Unknown => None,
        }
    }
}

/// RFC 2045 6.8. Bytes outside of the alphabet are skipped, as the RFC demands,
/// and reported; so is text after the padding.
pub(crate) fn base64(body: &[u8]) -> Decoded {
    let mut bytes = Vec::with_capacity(body.len() / 4 * 3);
    let (mut bits, mut held) = (0_u32, 0_u32);
    let (mut letters, mut padding) = (0_usize, 0_usize);
    let mut fault = None;
    for (at, byte) in body.iter().enumerate() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
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
                        "byte {at} of the base64 is 0x{other:02x}, which is not in its alphabet"
                    )
                });
                continue;
            }
        };
        if padding > 0 {
            fault
                .get_or_insert_with(|| format!("base64 continues at byte {at}, after its padding"));
            break;
        }
        letters += 1;
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
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
                "base64 of {letters} letters and {padding} padding characters is cut short or badly padded"
            )
        });
    }
    Decoded { bytes, fault }
}

/// RFC 2045 6.7. A `=` that begins no code stays as it is, and is reported.
pub(crate) fn quoted_printable(body: &[u8]) -> Decoded {
    let mut bytes = Vec::with_capacity(body.len());
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
        if !quoted_line(text, &mut bytes) {
            fault.get_or_insert_with(|| {
                format!("the quoted-printable line at byte {at} has a `=` without two digits")
            });
        }
        if !soft {
            bytes.extend_from_slice(ending);
        }
        at += line.len();
    }
    Decoded { bytes, fault }
}

fn quoted_line(mut line: &[u8], bytes: &mut Vec<u8>) -> bool {
    let mut ok = true;
    while let Some((first, rest)) = line.split_first() {
        let code = rest.get(..2).and_then(hex);
        line = match (first, code) {
            (b'=', Some(byte)) => {
                bytes.push(byte);
                rest.get(2..).unwrap_or_default()
            }
            _ => {
                ok &= *first != b'=';
                bytes.push(*first);
                rest
            }
        };
    }
    ok
}

/// POSIX uuencode. What is around `begin` and `end` is skipped, and reported unless it
/// is blank; a body without `begin` stays as it is, and is reported.
pub(crate) fn uuencode(body: &[u8]) -> Decoded {
    const AROUND: &str = "text around the uuencoded lines was left out";
    let mut lines = body
        .split(|&byte| byte == b'\n')
        .map(<[u8]>::trim_ascii_end);
    let mut has_text = false;
    let is_begin = |line: &[u8]| {
        let is_begin = line.starts_with(b"begin ");
        has_text |= !is_begin && !line.is_empty();
        is_begin
    };
    if !lines.any(is_begin) {
        return Decoded {
            bytes: body.to_vec(),
            fault: Some("the uuencoded text has no line that begins it".to_owned()),
        };
    }
    let mut bytes = Vec::with_capacity(body.len() / 4 * 3);
    let mut fault = has_text.then(|| AROUND.to_owned());
    while let Some(line) = lines.next() {
        if line == b"end" {
            if lines.any(|line| !line.is_empty()) {
                fault.get_or_insert_with(|| AROUND.to_owned());
            }
            return Decoded { bytes, fault };
        }
        let Some((first, letters)) = line.split_first() else {
            continue;
        };
        let length = usize::from(first.wrapping_sub(b' ') & 0x3f);
        let start = bytes.len();
        for group in letters.chunks(4) {
            let group = group.iter().fold(0_u32, |bits, letter| {
                bits << 6 | u32::from(letter.wrapping_sub(b' ') & 0x3f)
            }) << (6 * (4 - group.len()));
            bytes.extend_from_slice(group.to_be_bytes().get(1..).unwrap_or_default());
        }
        let missing = (start + length).saturating_sub(bytes.len());
        match missing {
            // A blank is a zero, and blanks at the end of a line are lost on the way.
            0..3 => bytes.resize(start + length, 0),
            _ => {
                fault.get_or_insert_with(|| "a line of the uuencoded text is cut short".to_owned());
            }
        }
    }
    fault.get_or_insert_with(|| "the uuencoded text has no end".to_owned());
    Decoded { bytes, fault }
}

/// The byte of two hexadecimal digits.
pub(crate) fn hex(digits: &[u8]) -> Option<u8> {
    let &[high, low] = digits else { return None };
    let digit = |letter: u8| char::from(letter).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_gives_what_can_be_decoded_and_says_what_is_wrong() {
        assert_eq!(
            base64(b"aGVs\r\nbG8=\r\n"),
            Decoded {
                bytes: b"hello".to_vec(),
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
            assert!(b"hello".starts_with(&decoded.bytes[..decoded.bytes.len().min(3)]));
        }
    }

    #[test]
    fn quoted_printable_is_decoded_line_by_line() {
        let decoded = quoted_printable(b"caf=C3=A9 =\r\nau lait  \r\n=\r\nend");
        assert_eq!(decoded.bytes, "café au lait\r\nend".as_bytes());
        assert_eq!(decoded.fault, None);
        let decoded = quoted_printable(b"50 =% off =4");
        assert_eq!(decoded.bytes, b"50 =% off =4");
        assert!(decoded.fault.is_some());
    }

    #[test]
    fn uuencoded_text_is_decoded_line_by_line() {
        let decoded = uuencode(b"\r\nbegin 644 a.txt\r\n+:&5L;&\\@=V]R;&0\r\n`\r\nend\r\n\r\n");
        assert_eq!(decoded.bytes, b"hello world");
        assert_eq!(decoded.fault, None);
        for text in [
            &b"before\nbegin 644 a\n#86)C\nend\n"[..],
            b"begin 644 a\n#86)C\nend\nafter\n",
        ] {
            let decoded = uuencode(text);
            assert_eq!(decoded.bytes, b"abc");
            assert!(decoded.fault.is_some(), "{text:?}");
        }
        let cut = uuencode(b"begin 644 a.txt\n+:&5L");
        assert_eq!(cut.bytes, b"hel");
        assert!(cut.fault.is_some());
        assert!(uuencode(b"x").fault.is_some());
    }
}

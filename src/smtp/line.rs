//! Bytes to command lines: a line ends in CRLF, and a CR or an LF alone is
//! never a line end (RFC 5321 2.3.8).
//!
//! A line that arrives whole is not copied. At most [`MAX_LINE`] bytes of a
//! line that does not are kept; the rest of a longer one is read and dropped.
//! The result is the same wherever the input is split.

use std::borrow::Cow;

use memchr::memchr2;

use super::limits::MAX_LINE;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line, without its CRLF.
    Whole(Cow<'a, [u8]>),
    /// A line of more than [`MAX_LINE`] bytes, read to its end.
    TooLong,
    /// A CR or an LF alone: what follows it must not be executed.
    BareLineEnd,
}

/// Joins the bytes of a line.
#[derive(Debug, Default)]
pub struct LineReader {
    /// The line so far, where it arrived in parts.
    part: Vec<u8>,
    /// The last byte was a CR.
    cr: bool,
    /// The line so far is over the limit.
    too_long: bool,
}

impl LineReader {
    /// Takes one line off the front of `input`; `None` when it is not complete.
    pub fn read<'a>(&mut self, input: &mut &'a [u8]) -> Option<Line<'a>> {
        if self.cr {
            let (&byte, rest) = input.split_first()?;
            if byte != b'\n' {
                return Some(Line::BareLineEnd);
            }
            *input = rest;
            return Some(self.complete(&[]));
        }
        let Some(end) = memchr2(b'\r', b'\n', input) else {
            self.keep(input);
            *input = &[];
            return None;
        };
        let (text, rest) = input.split_at_checked(end)?;
        match rest {
            [b'\r', b'\n', rest @ ..] => {
                *input = rest;
                Some(self.complete(text))
            }
            [b'\r'] => {
                self.keep(text);
                self.cr = true;
                *input = &[];
                None
            }
            _ => Some(Line::BareLineEnd),
        }
    }

    fn keep(&mut self, text: &[u8]) {
        self.too_long |= self.part.len() + text.len() + 2 > MAX_LINE;
        if self.too_long {
            self.part = Vec::new();
        } else {
            self.part.extend_from_slice(text);
        }
    }

    fn complete<'a>(&mut self, text: &'a [u8]) -> Line<'a> {
        let part = std::mem::take(&mut self.part);
        let too_long = self.too_long || part.len() + text.len() + 2 > MAX_LINE;
        self.cr = false;
        self.too_long = false;
        if too_long {
            return Line::TooLong;
        }
        if part.is_empty() {
            return Line::Whole(Cow::Borrowed(text));
        }
        let mut whole = part;
        whole.extend_from_slice(text);
        Line::Whole(Cow::Owned(whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(wire: &[u8], size: usize) -> Vec<String> {
        let mut reader = LineReader::default();
        let mut found = Vec::new();
        for chunk in wire.chunks(size) {
            let mut input = chunk;
            while let Some(line) = reader.read(&mut input) {
                match line {
                    Line::Whole(text) => found.push(String::from_utf8_lossy(&text).into_owned()),
                    Line::TooLong => found.push("too long".into()),
                    Line::BareLineEnd => {
                        found.push("bare".into());
                        return found;
                    }
                }
            }
        }
        found
    }

    #[test]
    fn every_chunking_gives_the_same_lines() {
        for (wire, expected) in [
            (&b"NOOP\r\n\r\nQUIT\r\nrest"[..], vec!["NOOP", "", "QUIT"]),
            (b"NOOP\nQUIT\r\n", vec!["bare"]),
            (b"NOOP\rQUIT\r\n", vec!["bare"]),
            (b"NOOP\r\n\nQUIT\r\n", vec!["NOOP", "bare"]),
            (b"NOOP\r\r\n", vec!["bare"]),
        ] {
            for size in 1..=wire.len() {
                assert_eq!(lines(wire, size), expected, "{wire:?} by {size}");
            }
        }
    }

    #[test]
    fn a_line_holds_12288_bytes_and_no_more() {
        let longest = [vec![b'x'; MAX_LINE - 2], b"\r\n".to_vec()].concat();
        let over = [vec![b'x'; MAX_LINE - 1], b"\r\nNOOP\r\n".to_vec()].concat();
        for size in [1, 100, MAX_LINE, over.len()] {
            assert_eq!(lines(&longest, size)[0].len(), MAX_LINE - 2);
            assert_eq!(lines(&over, size), ["too long", "NOOP"]);
        }
    }
}

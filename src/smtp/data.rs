//! The message after the 354: where it ends, which dots are stuffing, and whether
//! its lines are lines.
//!
//! The end is CRLF "." CRLF and nothing else; one leading dot is removed from
//! each line that has one (RFC 5321 4.5.2). A CR or an LF alone condemns the
//! message (RFC 5321 2.3.8): servers that took one for a line end have been used
//! to smuggle a second message, commands and all, inside the first. Bytes are
//! never copied, lines may have any length, and a byte gives the same result
//! wherever the input is split.
//!
//! Most of a message is whole lines without a dot in front: that is found out for
//! [`BLOCK`] bytes at once, by comparisons that the compiler makes vectors of. To search
//! for each line end was a quarter of the instructions that a message of 300 KiB took.

use memchr::memchr2;

/// Bytes that are looked at together.
const BLOCK: usize = 64;

/// What the next bytes of the message are.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes of the message itself.
    Content(&'a [u8]),
    /// The message has ended.
    End,
    /// A CR or an LF alone: nothing of this message may be kept.
    BareLineEnd,
}

/// What the last bytes were, as far as the next one depends on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the start of a line.
    Start,
    /// After a dot at the start of a line; the dot is not content.
    Dot,
    /// After that dot and a CR; neither is content.
    DotCr,
    /// Inside a line.
    Text,
    /// After a CR, which was returned as content.
    Cr,
}

/// Decodes one message.
#[derive(Debug)]
pub struct Decoder {
    state: State,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder::new()
    }
}

impl Decoder {
    /// After the CRLF of DATA, which counts as the first of CRLF "." CRLF.
    pub fn new() -> Decoder {
        Decoder {
            state: State::Start,
        }
    }

    /// Takes the next piece off the front of `input`. `None` when all of it is
    /// taken and the message is not complete.
    pub fn decode<'a>(&mut self, input: &mut &'a [u8]) -> Option<Piece<'a>> {
        let mut at = 0;
        // Whatever lies before `at` is content, in one piece.
        while let Some(&byte) = input.get(at) {
            match (self.state, byte) {
                (State::Start, b'.') => {
                    if at > 0 {
                        return Some(Piece::Content(take(input, at)));
                    }
                    take(input, 1);
                    self.state = State::Dot;
                }
                (State::Dot, b'\r') => {
                    take(input, 1);
                    self.state = State::DotCr;
                }
                (State::DotCr, b'\n') => {
                    take(input, 1);
                    return Some(Piece::End);
                }
                (State::Cr, b'\n') => {
                    at += 1;
                    self.state = State::Start;
                }
                // The byte stays in the input: a line end may be made of it.
                (State::DotCr | State::Cr, _)
                | (State::Start | State::Dot | State::Text, b'\n') => {
                    take(input, at);
                    return Some(Piece::BareLineEnd);
                }
                (State::Start | State::Text, b'\r') => {
                    at += 1;
                    self.state = State::Cr;
                }
                (State::Start | State::Dot | State::Text, _) => {
                    let rest = input.get(at..).unwrap_or_default();
                    at += match plain(rest) {
                        0 => memchr2(b'\r', b'\n', rest).unwrap_or(rest.len()),
                        plain => plain,
                    };
                    // After an LF comes no dot, so it may count as text.
                    self.state = match input.get(at - 1) {
                        Some(b'\r') => State::Cr,
                        _ => State::Text,
                    };
                }
            }
        }
        (at > 0).then(|| Piece::Content(take(input, at)))
    }

    /// Continues after [`Piece::BareLineEnd`].
    pub fn condemned(&self) -> Condemned {
        let line = match self.state {
            State::Start => Line::Start,
            State::Dot => Line::Dot,
            State::DotCr => Line::DotCr,
            State::Text => Line::Text,
            State::Cr => Line::Start,
        };
        Condemned { line, bytes: 0 }
    }
}

/// What the line has been so far, whatever ends lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Start,
    Dot,
    DotCr,
    Text,
}

/// Looks for the end of a condemned message. Its sender may end lines in any way,
/// so it is any line that holds only a dot, whatever ends that line.
#[derive(Debug)]
pub struct Condemned {
    line: Line,
    /// Bytes read since the message was condemned.
    bytes: u64,
}

impl Condemned {
    /// Reads `input`, and returns whether the message is over: its end was found,
    /// or `limit` bytes have been read since it was condemned.
    pub fn ended(&mut self, input: &mut &[u8], limit: u64) -> bool {
        // A dot and its CR had been read when the message was condemned.
        if self.line == Line::DotCr {
            return true;
        }
        while let Some((&byte, rest)) = input.split_first() {
            *input = rest;
            self.bytes += 1;
            self.line = match (self.line, byte) {
                (Line::Dot, b'\r' | b'\n') => return true,
                (_, b'\r' | b'\n') => Line::Start,
                (Line::Start, b'.') => Line::Dot,
                _ => Line::Text,
            };
            if self.bytes >= limit {
                return true;
            }
        }
        false
    }
}

/// How many bytes at the front of `input`, whose first is no line end, are whole blocks
/// of nothing but content: no CR or LF alone, and no dot in front of a line, nor right
/// after them.
fn plain(input: &[u8]) -> usize {
    let mut bytes = 0;
    while let Some(block) = input.get(bytes..).and_then(<[u8]>::first_chunk) {
        if has_exception(block) {
            break;
        }
        bytes += BLOCK;
    }
    bytes
}

/// Whether, of the pairs of a byte of a block and the next one, any is only one half of a
/// CRLF, or is an LF and a dot. The byte after the block is the next one of its last.
fn has_exception(block: &[u8; BLOCK + 1]) -> bool {
    let ([bytes @ .., _], [_, nexts @ ..]) = (block, block);
    let pairs = bytes.iter().zip(nexts);
    let found = pairs.fold(0, |found, (&byte, &next)| {
        let alone = u8::from(byte == b'\r') ^ u8::from(next == b'\n');
        let dot = u8::from(byte == b'\n') & u8::from(next == b'.');
        found | alone | dot
    });
    found != 0
}

/// Takes `count` bytes off the front of `input`.
fn take<'a>(input: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at_checked(count).unwrap_or((input, &[]));
    *input = rest;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    /// Decodes `wire` in chunks of `size`: the content, then how it ended, then
    /// what is left over.
    fn decode(wire: &[u8], size: usize) -> (Vec<u8>, Option<&'static str>, Vec<u8>) {
        let mut decoder = Decoder::new();
        let mut content = Vec::new();
        for (number, chunk) in wire.chunks(size).enumerate() {
            let mut input = chunk;
            while let Some(piece) = decoder.decode(&mut input) {
                let end = match piece {
                    Piece::Content(bytes) => {
                        content.extend_from_slice(bytes);
                        continue;
                    }
                    Piece::End => "end",
                    Piece::BareLineEnd => "bare",
                };
                let mut left = input.to_vec();
                left.extend_from_slice(&wire[((number + 1) * size).min(wire.len())..]);
                return (content, Some(end), left);
            }
        }
        (content, None, Vec::new())
    }

    fn every_chunking(wire: &[u8], content: &[u8], end: Option<&str>, left: &[u8]) {
        for size in 1..=wire.len().max(1) {
            let (found, how, rest) = decode(wire, size);
            assert_eq!(how, end, "{wire:?} by {size}");
            if end != Some("bare") {
                assert_eq!(found, content, "{wire:?} by {size}");
                assert_eq!(rest, left, "{wire:?} by {size}");
            }
        }
    }

    #[test]
    fn the_end_is_crlf_dot_crlf_and_dots_are_unstuffed() {
        every_chunking(b".\r\n", b"", Some("end"), b"");
        every_chunking(b"a\r\n.\r\nQUIT\r\n", b"a\r\n", Some("end"), b"QUIT\r\n");
        every_chunking(b"..\r\n...\r\n.\r\n", b".\r\n..\r\n", Some("end"), b"");
        every_chunking(b".a\r\n.\r\n", b"a\r\n", Some("end"), b"");
        every_chunking(b"a.\r\n\r\n.\r\n", b"a.\r\n\r\n", Some("end"), b"");
        every_chunking(b"a\0\xff\r\n.", b"a\0\xff\r\n", None, b"");
    }

    proptest! {
        /// Single bytes are never looked at together.
        #[test]
        fn blocks_are_decoded_as_single_bytes_are(
            lines in vec((0..200_usize, select(vec!["\r\n", "\r\n.", "\r\n..", "\r", "\n", "\r\n.\r\n"])), 1..12),
            ends in vec(prop::bool::weighted(0.9), 12),
            size in 1..2000_usize,
        ) {
            let mut wire = Vec::new();
            for ((length, end), usual) in lines.into_iter().zip(ends) {
                wire.resize(wire.len() + length, b'x');
                wire.extend_from_slice(if usual { "\r\n" } else { end }.as_bytes());
            }
            let (content, end, left) = decode(&wire, 1);
            let (found, how, rest) = decode(&wire, size);
            prop_assert_eq!(how, end);
            prop_assert_eq!(rest, left);
            // Of a condemned message the connection keeps nothing.
            if how != Some("bare") {
                prop_assert_eq!(found, content);
            }
        }
    }

    #[test]
    fn nothing_is_passed_over_where_blocks_meet() {
        let ends = [
            "\r\n", "\r\n.", "\r\n..", "\r\n\r\n", "\r\n\n", "\r", "\n", "\r\r\n",
        ];
        for (at, end) in (0..3 * BLOCK).flat_map(|at| ends.map(|end| (at, end))) {
            // The next block is whole, or has the end in it.
            for after in [2 * BLOCK, BLOCK / 2] {
                let (before, after) = ("x".repeat(at), "x".repeat(after));
                let wire = format!("{before}{end}{after}\r\n.\r\nQUIT\r\n");
                let (content, how, left) = decode(wire.as_bytes(), 1);
                let (found, whole, rest) = decode(wire.as_bytes(), wire.len());
                assert_eq!((whole, rest), (how, left), "{end:?} at {at}");
                if how != Some("bare") {
                    assert_eq!(found, content, "{end:?} at {at}");
                }
            }
        }
    }

    #[test]
    fn a_line_end_alone_condemns() {
        for wire in [
            &b"a\n.\n"[..],
            b"a\r\n.\nx",
            b"a\n.\r\nx",
            b"a\r.\r\nx",
            b"a\r\n.\rx",
            b"\n",
            b"\rx",
            b"a\r\r\n.\r\n",
            b"a\n\r.\n\r",
            b".\r\r\n",
            b".\n",
        ] {
            every_chunking(wire, b"", Some("bare"), b"");
        }
    }

    fn condemned_rest(wire: &[u8], size: usize) -> Option<usize> {
        let mut decoder = Decoder::new();
        let mut condemned: Option<Condemned> = None;
        let mut consumed = 0;
        for chunk in wire.chunks(size) {
            let mut input = chunk;
            while condemned.is_none() {
                match decoder.decode(&mut input) {
                    Some(Piece::Content(_)) => {}
                    Some(Piece::BareLineEnd) => condemned = Some(decoder.condemned()),
                    Some(Piece::End) => panic!("no end in {wire:?}"),
                    None => break,
                }
            }
            if let Some(condemned) = &mut condemned {
                if condemned.ended(&mut input, 100) {
                    return Some(consumed + chunk.len() - input.len());
                }
            }
            consumed += chunk.len();
        }
        None
    }

    #[test]
    fn a_condemned_mail_is_over_at_the_first_line_that_is_a_dot() {
        for (wire, over) in [
            (&b"a\n.\nQUIT"[..], Some(4)),
            (b"a\r\n.\nQUIT", Some(5)),
            (b"a\n.\r\nQUIT", Some(4)),
            (b"a\r.\rQUIT", Some(4)),
            (b"a\r\n.\rQUIT", Some(5)),
            (b"a\nb\n.b\n..\n .\nc", None),
            (b"a\nb\r\n.\r\nQUIT", Some(7)),
            (b"\n.\nQ", Some(3)),
        ] {
            for size in 1..=wire.len() {
                assert_eq!(condemned_rest(wire, size), over, "{wire:?} by {size}");
            }
        }
    }

    #[test]
    fn a_condemned_mail_is_over_after_the_limit() {
        let mut wire = b"a\n".to_vec();
        wire.extend(std::iter::repeat_n(b'x', 200));
        for size in [1, 7, 202] {
            assert_eq!(condemned_rest(&wire, size), Some(101), "by {size}");
        }
    }
}

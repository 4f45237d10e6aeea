//! Uuencoded files inside plain text, as mailers wrote attachments before MIME: a line
//! `begin 644 name`, lines of data, a line `end` (POSIX uuencode).
//!
//! Each block is what a reader sees as an attachment; the lines around it are the text.
//! A line `begin …` that no data follow is text. A block without its `end` ends with its
//! last whole line of data, so that no text after it is lost; decoding it reports the
//! missing end. Nothing fails; the time is linear: a line is looked at once as the end
//! of one block and once as the begin of another.

use std::ops::Range;

use super::header::{line_at, without_line_end};

/// One block.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Where it is in the text, from its `begin` to the end of its last line.
    pub(super) place: Range<usize>,
    /// The name in its first line.
    pub(super) name: String,
}

/// The blocks of a text in their order, at most `limit`.
pub(super) fn blocks(text: &[u8], limit: usize) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut from = 0;
    for found in memchr::memmem::find_iter(text, b"begin ") {
        if blocks.len() >= limit {
            break;
        }
        let starts_line = found == 0 || text.get(found - 1) == Some(&b'\n');
        if !starts_line || found < from {
            continue;
        }
        let first = line_at(text, found);
        let Some(name) = name_in(first) else { continue };
        let data = found + first.len();
        if let Some(end) = end_of(text, data) {
            from = end;
            let place = found..end;
            blocks.push(Block { place, name });
        }
    }
    blocks
}

/// The text without the blocks.
pub(super) fn without(text: &[u8], blocks: &[Block]) -> Vec<u8> {
    let mut rest = Vec::with_capacity(text.len());
    let mut at = 0;
    for block in blocks {
        rest.extend_from_slice(text.get(at..block.place.start).unwrap_or_default());
        at = block.place.end;
    }
    rest.extend_from_slice(text.get(at..).unwrap_or_default());
    rest
}

/// The type that the ending of a name stands for; such a block says no other.
pub(super) fn type_of(name: &str) -> &'static str {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    match ending.to_ascii_lowercase().as_str() {
        "txt" => "text/plain",
        "htm" | "html" => "text/html",
        "vcf" => "text/x-vcard",
        "vcs" => "text/x-vcalendar",
        "smil" | "smi" => "application/smil",
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "gif" => "image/gif",
        "bmp" => "image/bmp",
        "wbmp" => "image/vnd.wap.wbmp",
        "amr" => "audio/amr",
        "mid" | "midi" => "audio/midi",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "3gp" => "video/3gpp",
        "mp4" => "video/mp4",
        "pdf" => "application/pdf",
        _ => "application/octet-stream",
    }
}

/// The name in `begin 644 name`.
fn name_in(line: &[u8]) -> Option<String> {
    let rest = without_line_end(line).strip_prefix(b"begin ")?;
    let space = memchr::memchr(b' ', rest)?;
    let (mode, name) = rest.split_at_checked(space)?;
    let is_mode = (3..=4).contains(&mode.len()) && mode.iter().all(|d| (b'0'..=b'7').contains(d));
    let name = super::charset::utf8_or_latin(name.trim_ascii());
    (is_mode && !name.is_empty()).then_some(name)
}

/// Where the block ends whose data begin at `from`; `None` where there are no data.
fn end_of(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    // After the last line of data that is whole, while all before it are.
    let mut whole = None;
    let mut has_cut = false;
    while at < text.len() {
        let line = line_at(text, at);
        at += line.len();
        let line = without_line_end(line);
        match Line::of(line) {
            Line::End => return Some(at),
            Line::Whole if !has_cut => whole = Some(at),
            Line::Whole => {}
            // Damaged data where `end` follows, else a text in capitals.
            Line::Cut => has_cut = true,
            Line::Other => break,
        }
    }
    whole
}

/// What a line within a block can be.
enum Line {
    /// Data, as long as it says.
    Whole,
    /// Shorter than it says.
    Cut,
    End,
    Other,
}

impl Line {
    fn of(line: &[u8]) -> Line {
        if line.trim_ascii_end() == b"end" {
            return Line::End;
        }
        let Some((first, letters)) = line.split_first() else {
            return Line::Other;
        };
        if !line.iter().all(|byte| (b' '..=b'`').contains(byte)) {
            return Line::Other;
        }
        let length = usize::from(first.wrapping_sub(b' ') & 0x3f);
        // Without the letters that pad the last three bytes, which some leave out; with
        // a checksum, which some add.
        let least = (length * 4).div_ceil(3);
        let most = length.div_ceil(3) * 4 + 2;
        match letters.len() {
            count if count > most => Line::Other,
            count if count < least => Line::Cut,
            _ => Line::Whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DATA: &str = "begin 644 a.txt\r\n+:&5L;&\\@=V]R;&0\r\n`\r\nend\r\n";

    fn divided(text: &str) -> (Vec<Block>, String) {
        let blocks = blocks(text.as_bytes(), 100);
        let rest = String::from_utf8(without(text.as_bytes(), &blocks)).unwrap();
        (blocks, rest)
    }

    #[test]
    fn blocks_are_taken_out_of_the_text_around_them() {
        let (blocks, rest) = divided(&format!("one\r\n{DATA}two\r\n{DATA}"));
        assert_eq!(blocks.len(), 2);
        assert_eq!(blocks[0].name, "a.txt");
        assert_eq!(rest, "one\r\ntwo\r\n");
    }

    #[test]
    fn a_line_that_only_looks_like_a_begin_is_text() {
        for text in [
            "begin 644 a.txt\nhello\n",
            "begin 644 \n#86)C\nend\n",
            "begin 999 a\n#86)C\nend\n",
            "begin the day\n#86)C\nend\n",
            "to begin 644 a\n#86)C\nend\n",
            "begin 644 a",
            "begin 644 a\n",
        ] {
            let (blocks, rest) = divided(text);
            assert_eq!((blocks.len(), rest.as_str()), (0, text));
        }
    }

    #[test]
    fn a_block_without_its_end_keeps_the_text_after_it() {
        let (blocks, rest) = divided("begin 644 a\n#86)C\n\nSEE YOU\nsoon\n");
        assert_eq!(blocks.len(), 1);
        assert_eq!(rest, "\nSEE YOU\nsoon\n");
        let (blocks, rest) = divided("begin 644 a\n#86)C\nSEE YOU\nsoon\n");
        assert_eq!(blocks.len(), 1);
        assert_eq!(rest, "SEE YOU\nsoon\n");
        // A line that is cut, and the end after it: all of it is the block.
        let (blocks, rest) = divided("begin 644 a\nM86)C\n#86)C\n`\nend\nbye\n");
        assert_eq!(blocks.len(), 1);
        assert_eq!(rest, "bye\n");
    }

    #[test]
    fn many_begins_are_read_in_linear_time() {
        let text = "begin 644 a\nM\n".repeat(200_000);
        assert!(blocks(text.as_bytes(), usize::MAX).is_empty());
        let text = "begin 644 a\n".repeat(200_000);
        assert!(blocks(text.as_bytes(), usize::MAX).is_empty());
    }

    proptest! {
        #[test]
        fn no_line_is_lost(lines in proptest::collection::vec(
            proptest::sample::select(vec!["begin 644 a", "#86)C", "`", "end", "", "hello", "M", "HI"]), 0..30,
        )) {
            let text = lines.join("\n");
            let (blocks, rest) = divided(&text);
            let taken: usize = blocks.iter().map(|block| block.place.len()).sum();
            prop_assert_eq!(taken + rest.len(), text.len());
            for line in lines.iter().filter(|line| line.is_empty() || **line == "hello") {
                prop_assert_eq!(rest.contains(line), true);
            }
        }
    }
}

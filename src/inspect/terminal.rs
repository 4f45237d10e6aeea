//! Text for a terminal: nothing that a peer wrote may move the cursor, change
//! a colour or turn the line around.
//!
//! Every text of a message goes through [`line()`] or [`block`]. Limits: [`width`]
//! knows the wide and the empty letters of the common scripts, not all of them.
//! Nothing fails.

use std::io::{self, IsTerminal, Write};

/// Columns taken when nobody says how many there are: none are cut.
const UNLIMITED: usize = usize::MAX;

/// How to write: how wide, and whether in colour.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    /// Columns of a line.
    pub columns: usize,
    /// Standard output is a terminal.
    pub is_terminal: bool,
    colour: bool,
}

/// A way to set a word apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// A heading.
    Bold,
    /// What matters less.
    Dim,
    /// A name that one looks for.
    Cyan,
    /// What is well.
    Green,
    /// What is wrong.
    Red,
}

impl Terminal {
    /// What standard output is: its width by `COLUMNS` or by the terminal; a
    /// pipe takes lines of any length. Colour only on a terminal and only
    /// without `NO_COLOR` (no-color.org: set and not empty).
    pub fn of_stdout() -> Terminal {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let asked = std::env::var("COLUMNS").ok();
        let asked = asked.and_then(|columns| columns.parse().ok());
        let measured = || {
            let size = rustix::termios::tcgetwinsize(&stdout).ok()?;
            (size.ws_col > 0).then_some(usize::from(size.ws_col))
        };
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Terminal {
            columns: asked
                .filter(|&columns| columns > 0)
                .or_else(measured)
                .unwrap_or(UNLIMITED),
            is_terminal,
            colour: is_terminal && !no_colour && !dumb,
        }
    }

    /// A pipe: no colour, lines of any length.
    pub fn plain() -> Terminal {
        Terminal {
            columns: UNLIMITED,
            is_terminal: false,
            colour: false,
        }
    }

    /// A pipe of that many columns.
    pub fn of_columns(columns: usize) -> Terminal {
        Terminal {
            columns,
            ..Self::plain()
        }
    }

    /// A terminal that takes colour, for those who test it.
    pub fn in_colour() -> Terminal {
        Terminal {
            colour: true,
            ..Self::plain()
        }
    }

    /// The text, set apart where colour is taken.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        if !self.colour || text.is_empty() {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Bold => "1",
            Tone::Dim => "2",
            Tone::Cyan => "36",
            Tone::Green => "32",
            Tone::Red => "31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// A text of one line: every control, line ends too, is made visible.
pub fn line(text: &str) -> String {
    text.chars().map(harmless).collect()
}

/// A text of many lines: line ends and tabs stay.
pub fn block(text: &str) -> String {
    text.chars()
        .map(|letter| match letter {
            '\n' | '\t' => letter,
            letter => harmless(letter),
        })
        .collect()
}

/// Octets as they are, but for what would steer the terminal.
///
/// # Errors
///
/// When they cannot be written.
pub fn write_harmless(out: &mut dyn Write, octets: &[u8]) -> io::Result<()> {
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        let text = String::from_utf8_lossy(line).replace("\r\n", "\n");
        out.write_all(block(&text).as_bytes())?;
    }
    Ok(())
}

/// C0 controls become their pictures (U+2400…), C1 controls and what turns the
/// direction of text (UAX 9) the replacement character.
fn harmless(letter: char) -> char {
    match letter {
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(letter)).unwrap_or('\u{fffd}'),
        '\x7f' => '\u{2421}',
        letter if is_unsafe(letter) => '\u{fffd}',
        letter => letter,
    }
}

/// Whether a letter is a control beyond ASCII, or turns the direction of text,
/// or ends a line without being a line end.
pub fn is_unsafe(letter: char) -> bool {
    matches!(letter,
        '\u{80}'..='\u{9f}'
        | '\u{61c}'
        | '\u{200e}' | '\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

/// Columns that a text takes.
pub fn width(text: &str) -> usize {
    text.chars().map(letter_width).sum()
}

fn letter_width(letter: char) -> usize {
    match u32::from(letter) {
        // Accents and points, joiners, variation selectors.
        0x300..=0x36f
        | 0x591..=0x5bd
        | 0x5bf
        | 0x5c1..=0x5c2
        | 0x5c4..=0x5c5
        | 0x610..=0x61a
        | 0x64b..=0x65f
        | 0x200b..=0x200d
        | 0x20d0..=0x20f0
        | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f680..=0x1f6ff
        | 0x1f900..=0x1f9ff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// The text cut to so many columns, an ellipsis in the place of what is gone.
pub fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut taken = 1;
    for letter in text.chars() {
        taken += letter_width(letter);
        if taken > columns {
            break;
        }
        kept.push(letter);
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

/// The text filled up with blanks to so many columns.
pub fn pad(text: &str, columns: usize) -> String {
    let blanks = columns.saturating_sub(width(text));
    format!("{text}{:blanks$}", "")
}

/// A size as people say it: `812 B`, `12.3 kB`, `1.4 MB`.
pub fn octets(count: u64) -> String {
    match count {
        0..1000 => format!("{count} B"),
        1000..999_950 => format!("{:.1} kB", count as f64 / 1000.0),
        999_950..999_950_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.1} GB", count as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        let hostile = "a\x1b[31mb\x07\u{9b}2Jc\u{202e}d\r\ne\0\u{2066}\u{7f}";
        let shown = line(hostile);
        assert!(
            !shown
                .chars()
                .any(|letter| letter.is_control() || is_unsafe(letter)),
            "{shown}"
        );
        assert!(shown.contains("␛[31m"));
        assert_eq!(block("a\n\tb\x1b"), "a\n\tb␛");
        let mut out = Vec::new();
        write_harmless(&mut out, b"To: a\r\n\xff\x1b]0;x\x07\n").unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "To: a\n\u{fffd}␛]0;x␇\n");
    }

    #[test]
    fn texts_are_cut_to_columns_not_to_octets() {
        assert_eq!(cut("hello", 5), "hello");
        assert_eq!(cut("hello!", 5), "hell…");
        assert_eq!(cut("שלום עולם", 5), "שלום…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("x", 0), "");
        assert_eq!(width(&pad("日本", 6)), 6);
    }

    #[test]
    fn sizes_are_said_in_words() {
        assert_eq!(octets(0), "0 B");
        assert_eq!(octets(12_345), "12.3 kB");
        assert_eq!(octets(999_999), "1.0 MB");
        assert_eq!(octets(5 << 30), "5.4 GB");
    }

    #[test]
    fn a_pipe_gets_no_colour() {
        assert_eq!(Terminal::plain().paint(Tone::Red, "x"), "x");
        assert_eq!(
            Terminal::in_colour().paint(Tone::Red, "x"),
            "\x1b[31mx\x1b[0m"
        );
    }
}

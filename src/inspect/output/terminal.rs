//! Text for a terminal: nothing that a peer wrote may move the cursor, change
//! a colour or turn the line around.
//!
//! Every text of a message goes through [`line()`] or [`block`]. Nothing fails.

use std::io::{self, IsTerminal, Write};

use unicode_width::UnicodeWidthChar;

use crate::mm4::status::Outcome;

/// Columns assumed when nothing says how many there are: nothing is cut.
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

/// A way to mark a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// A heading.
    Bold,
    /// What matters less.
    Dim,
    /// A name to look for.
    Cyan,
    /// What is in order.
    Green,
    /// What is neither yet.
    Yellow,
    /// What is wrong.
    Red,
}

impl Tone {
    /// The tone of a status.
    pub fn of(outcome: Outcome) -> Tone {
        match outcome {
            Outcome::Good => Tone::Green,
            Outcome::Bad => Tone::Red,
            Outcome::Open => Tone::Yellow,
        }
    }
}

/// When to write in colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// As the environment says, else on a terminal.
    Auto,
    /// Also in a pipe.
    Always,
    /// Nowhere.
    Never,
}

impl Color {
    /// `auto`, `always` or `never`.
    pub fn parse(word: &str) -> Option<Color> {
        match word {
            "auto" => Some(Color::Auto),
            "always" => Some(Color::Always),
            "never" => Some(Color::Never),
            _ => None,
        }
    }

    /// Whether to write in colour: `CLICOLOR_FORCE` (set, and not `0`) goes before
    /// `NO_COLOR` (no-color.org: set and not empty), both before the terminal.
    fn is_on(self, is_terminal: bool) -> bool {
        let is_set = |name: &str, none: &str| {
            std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != none)
        };
        match self {
            Color::Always => true,
            Color::Never => false,
            Color::Auto if is_set("CLICOLOR_FORCE", "0") => true,
            Color::Auto if is_set("NO_COLOR", "") => false,
            Color::Auto => {
                is_terminal && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
        }
    }
}

impl Terminal {
    /// What standard output is: its width by `COLUMNS` or by the terminal; a
    /// pipe takes lines of any length.
    pub(crate) fn of_stdout(color: Color) -> Terminal {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let asked = std::env::var("COLUMNS").ok();
        let asked = asked.and_then(|columns| columns.parse().ok());
        let measured = || {
            let size = rustix::termios::tcgetwinsize(&stdout).ok()?;
            (size.ws_col > 0).then_some(usize::from(size.ws_col))
        };
        Terminal {
            columns: asked
                .filter(|&columns| columns > 0)
                .or_else(measured)
                .unwrap_or(UNLIMITED),
            is_terminal,
            colour: color.is_on(is_terminal),
        }
    }

    /// Whether a person looks at it: a table is aligned and cut then.
    pub(crate) fn is_limited(&self) -> bool {
        self.is_terminal || self.columns != UNLIMITED
    }

    /// Texts with two blanks between them, cut to the columns.
    pub(crate) fn joined(&self, segments: &[(String, Option<Tone>)]) -> String {
        let mut line = String::new();
        let mut left = self.columns;
        for (at, (text, tone)) in segments.iter().enumerate() {
            let blanks = if at == 0 { 0 } else { 2 };
            if left <= blanks {
                break;
            }
            line.push_str(&" ".repeat(blanks));
            let text = cut(text, left - blanks);
            left -= blanks + width(&text);
            match tone {
                Some(tone) => line.push_str(&self.paint(*tone, &text)),
                None => line.push_str(&text),
            }
        }
        line.truncate(line.trim_end().len());
        line
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
    #[cfg(test)]
    pub(crate) fn of_columns(columns: usize) -> Terminal {
        Terminal {
            columns,
            ..Self::plain()
        }
    }

    /// A terminal with colour, for tests.
    pub fn in_colour() -> Terminal {
        Terminal {
            colour: true,
            ..Self::plain()
        }
    }

    /// The text, in colour where the terminal has it.
    pub(crate) fn paint(&self, tone: Tone, text: &str) -> String {
        if !self.colour || text.is_empty() {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Bold => "1",
            Tone::Dim => "2",
            Tone::Cyan => "36",
            Tone::Green => "32",
            Tone::Yellow => "33",
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

/// Bytes as they are, except for what would control the terminal.
///
/// # Errors
///
/// When they cannot be written.
pub(crate) fn write_harmless(out: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
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
pub(crate) fn is_unsafe(letter: char) -> bool {
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

/// Columns that a letter takes at most: two for a wide one, none for an accent.
fn letter_width(letter: char) -> usize {
    match letter {
        // It makes the letter before it an emoji, which many terminals show wide.
        '\u{fe0f}' => 1,
        letter => letter.width().unwrap_or(0),
    }
}

/// The text cut to that many columns; an ellipsis replaces what was cut off.
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

/// The text cut to that many columns at its beginning.
pub(crate) fn cut_begin(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut taken = 1;
    let is_kept = |letter: &char| {
        taken += letter_width(*letter);
        taken <= columns
    };
    let mut kept: Vec<char> = text.chars().rev().take_while(is_kept).collect();
    if columns > 0 {
        kept.push('…');
    }
    kept.into_iter().rev().collect()
}

/// The text padded with blanks to that many columns.
pub(crate) fn pad(text: &str, columns: usize) -> String {
    let blanks = columns.saturating_sub(width(text));
    format!("{text}{:blanks$}", "")
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
    fn texts_are_cut_to_columns_not_to_bytes() {
        assert_eq!(cut("hello", 5), "hello");
        assert_eq!(cut("hello!", 5), "hell…");
        assert_eq!(cut("שלום עולם", 5), "שלום…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("x", 0), "");
        assert_eq!(cut_begin("hello!", 5), "…llo!");
        assert_eq!(cut_begin("hello", 5), "hello");
        let segments = [
            ("one".to_owned(), None),
            ("three".to_owned(), Some(Tone::Red)),
        ];
        assert_eq!(Terminal::plain().joined(&segments), "one  three");
        assert_eq!(Terminal::of_columns(8).joined(&segments), "one  th…");
        assert_eq!(Terminal::of_columns(4).joined(&segments), "one");
        assert_eq!(width(&pad("日本", 6)), 6);
        // A variation selector makes a letter an emoji, which is wide.
        assert_eq!(width("\u{2764}\u{fe0f}"), 2);
        assert_eq!(
            cut("\u{2764}\u{fe0f}\u{2764}\u{fe0f}", 3),
            "\u{2764}\u{fe0f}…"
        );
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

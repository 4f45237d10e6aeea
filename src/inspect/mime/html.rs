//! HTML as text that a person can read on a terminal.
//!
//! A scanner of tags rather than a parser of HTML: what hostile HTML nests or leaves
//! open costs nothing, and the time is linear, which no parser of the whole language
//! promises. Tags become blanks and line ends, character references become letters,
//! scripts and styles are left out. Nothing fails.

use super::charset;

/// Elements of which nothing is shown.
const HIDDEN: [&str; 5] = ["script", "style", "head", "title", "template"];
/// Elements that begin a line of their own.
const BLOCKS: [&str; 26] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "br",
    "dd",
    "div",
    "dl",
    "dt",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "li",
    "ol",
    "p",
    "pre",
    "table",
    "tr",
    "ul",
];
/// Bytes of a character reference at most.
const MAX_REFERENCE: usize = 12;

/// The text of `html`.
pub(crate) fn to_text(html: &str) -> String {
    let mut text = Text::default();
    let mut rest = html;
    while let Some(at) = memchr::memchr(b'<', rest.as_bytes()) {
        text.add(rest.get(..at).unwrap_or_default());
        rest = text.tag(rest.get(at..).unwrap_or_default());
    }
    text.add(rest);
    text.written.trim().to_owned()
}

#[derive(Default)]
struct Text {
    written: String,
    /// A blank is due before the next letter.
    blank: bool,
    /// Inside `pre`, where blanks and line ends are kept.
    is_pre: bool,
}

impl Text {
    /// Takes what begins with a `<`, and returns what follows it.
    fn tag<'h>(&mut self, html: &'h str) -> &'h str {
        if let Some(comment) = html.strip_prefix("<!--") {
            return comment.split_once("-->").map_or("", |(_, rest)| rest);
        }
        let after = html.get(1..).unwrap_or_default();
        if !after.starts_with(|letter: char| letter.is_ascii_alphabetic() || "/!?".contains(letter))
        {
            self.add("<");
            return after;
        }
        let end = memchr::memchr(b'>', after.as_bytes());
        let (tag, rest) = match end {
            Some(end) => (after.get(..end), after.get(end + 1..)),
            None => (Some(after), None),
        };
        let (tag, rest) = (tag.unwrap_or_default(), rest.unwrap_or_default());
        let closes = tag.starts_with('/');
        let name = tag
            .trim_start_matches('/')
            .split(|letter: char| !letter.is_ascii_alphanumeric());
        let name = name.take(1).collect::<String>().to_ascii_lowercase();
        if HIDDEN.contains(&name.as_str()) && !closes && !tag.ends_with('/') {
            return after_closing(rest, &name);
        }
        self.element(&name, closes);
        match self.is_pre {
            // A line end right after the tag is not shown.
            true => rest.strip_prefix('\n').unwrap_or(rest),
            false => rest,
        }
    }

    fn element(&mut self, name: &str, closes: bool) {
        match name {
            _ if BLOCKS.contains(&name) => self.line(),
            "td" | "th" => self.blank = true,
            _ => {}
        }
        match (name, closes) {
            ("pre", _) => self.is_pre = !closes,
            // The blank line between paragraphs.
            ("p", true) if !self.written.is_empty() && !self.written.ends_with("\n\n") => {
                self.written.push('\n');
            }
            ("li", false) => self.written.push_str("- "),
            _ => {}
        }
    }

    fn line(&mut self) {
        self.blank = false;
        if !self.written.is_empty() && !self.written.ends_with('\n') {
            self.written.push('\n');
        }
    }

    fn add(&mut self, piece: &str) {
        let mut rest = piece;
        while let Some(letter) = rest.chars().next() {
            let (letter, length) = match letter {
                '&' => reference(rest).unwrap_or(('&', 1)),
                letter => (letter, letter.len_utf8()),
            };
            rest = rest.get(length..).unwrap_or_default();
            self.letter(letter);
        }
    }

    fn letter(&mut self, letter: char) {
        if letter.is_ascii_whitespace() && !self.is_pre {
            self.blank = true;
            return;
        }
        if self.blank && !self.written.is_empty() && !self.written.ends_with(['\n', ' ']) {
            self.written.push(' ');
        }
        self.blank = false;
        self.written.push(letter);
    }
}

/// What follows the end tag of an element; nothing when it is never closed.
fn after_closing<'h>(html: &'h str, name: &str) -> &'h str {
    let mut rest = html;
    while let Some((_, after)) = rest.split_once("</") {
        let is_it = after
            .get(..name.len())
            .is_some_and(|found| found.eq_ignore_ascii_case(name));
        if is_it {
            return after.split_once('>').map_or("", |(_, rest)| rest);
        }
        rest = after;
    }
    ""
}

/// The letter of a character reference at the start of `text`, and its length.
fn reference(text: &str) -> Option<(char, usize)> {
    let bytes = text.as_bytes();
    let bytes = bytes.get(..MAX_REFERENCE).unwrap_or(bytes);
    let end = memchr::memchr(b';', bytes)?;
    let name = text.get(1..end)?;
    let letter = match name.strip_prefix('#') {
        Some(number) => {
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            numbered(code)?
        }
        None => named(name)?,
    };
    Some((letter, end + 1))
}

/// The letter of a number. Old editors wrote those of Windows-1252, which HTML forbids and
/// browsers read so.
fn numbered(code: u32) -> Option<char> {
    match u8::try_from(code) {
        Ok(0) => None,
        Ok(byte @ 0x80..=0x9f) => charset::utf8_or_latin(&[byte]).chars().next(),
        _ => char::from_u32(code),
    }
}

/// The named references of HTML 2 to 4 that mails use: those of Latin-1, of typography and
/// a few signs.
fn named(name: &str) -> Option<char> {
    if let Some(at) = LATIN_1.iter().position(|known| *known == name) {
        return char::from_u32(0xa0 + u32::try_from(at).ok()?);
    }
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "OElig" => 'Œ',
        "oelig" => 'œ',
        "Scaron" => 'Š',
        "scaron" => 'š',
        "Yuml" => 'Ÿ',
        "ensp" => '\u{2002}',
        "emsp" => '\u{2003}',
        "thinsp" => '\u{2009}',
        "zwnj" => '\u{200c}',
        "zwj" => '\u{200d}',
        "lrm" => '\u{200e}',
        "rlm" => '\u{200f}',
        "ndash" => '–',
        "mdash" => '—',
        "lsquo" => '‘',
        "rsquo" => '’',
        "sbquo" => '‚',
        "ldquo" => '“',
        "rdquo" => '”',
        "bdquo" => '„',
        "dagger" => '†',
        "Dagger" => '‡',
        "bull" => '•',
        "hellip" => '…',
        "permil" => '‰',
        "prime" => '′',
        "Prime" => '″',
        "lsaquo" => '‹',
        "rsaquo" => '›',
        "euro" => '€',
        "trade" => '™',
        "larr" => '←',
        "uarr" => '↑',
        "rarr" => '→',
        "darr" => '↓',
        "harr" => '↔',
        "minus" => '−',
        "infin" => '∞',
        "ne" => '≠',
        "le" => '≤',
        "ge" => '≥',
        "hearts" => '♥',
        _ => return None,
    })
}

/// The references to U+00A0 to U+00FF, in their order.
const LATIN_1: [&str; 96] = [
    "nbsp", "iexcl", "cent", "pound", "curren", "yen", "brvbar", "sect", "uml", "copy", "ordf",
    "laquo", "not", "shy", "reg", "macr", "deg", "plusmn", "sup2", "sup3", "acute", "micro",
    "para", "middot", "cedil", "sup1", "ordm", "raquo", "frac14", "frac12", "frac34", "iquest",
    "Agrave", "Aacute", "Acirc", "Atilde", "Auml", "Aring", "AElig", "Ccedil", "Egrave", "Eacute",
    "Ecirc", "Euml", "Igrave", "Iacute", "Icirc", "Iuml", "ETH", "Ntilde", "Ograve", "Oacute",
    "Ocirc", "Otilde", "Ouml", "times", "Oslash", "Ugrave", "Uacute", "Ucirc", "Uuml", "Yacute",
    "THORN", "szlig", "agrave", "aacute", "acirc", "atilde", "auml", "aring", "aelig", "ccedil",
    "egrave", "eacute", "ecirc", "euml", "igrave", "iacute", "icirc", "iuml", "eth", "ntilde",
    "ograve", "oacute", "ocirc", "otilde", "ouml", "divide", "oslash", "ugrave", "uacute", "ucirc",
    "uuml", "yacute", "thorn", "yuml",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_become_lines_and_references_letters() {
        assert_eq!(
            to_text(
                "<html><head><title>no</title><style>p {}</style></head><body>\n<h1>Hello</h1>\n\
                 <p>one &amp; <b>two</b>\n three&#33;</p><p>a<br>b</p><ul><li>x<li>y</ul>\
                 <script>if (a < b) {}</script><!-- <p>hidden</p> --><table><tr><td>1</td><td>2</td>\
                 </table><pre>\n a  b</pre>&unknown; 1 < 2 &#x1F600;"
            ),
            "Hello\none & two three!\n\na\nb\n\n- x\n- y\n1 2\n a  b\n&unknown; 1 < 2 😀"
        );
    }

    #[test]
    fn references_of_european_languages_and_old_editors_are_letters() {
        assert_eq!(
            to_text("&iacute;&ecirc;&oslash;&Aring;&yuml;&OElig;&scaron;&iquest;&shy;&bdquo;"),
            "íêøÅÿŒš¿\u{ad}„"
        );
        // Numbers of Windows-1252, as browsers read them.
        assert_eq!(
            to_text("it&#146;s &#x80;5&#150;6 &#129;"),
            "it’s €5–6 \u{81}"
        );
    }

    #[test]
    fn html_that_is_cut_or_nested_without_end_is_read_in_linear_time() {
        assert_eq!(to_text("a<"), "a<");
        assert_eq!(to_text("a<b"), "a");
        assert_eq!(to_text("<script>x"), "");
        assert_eq!(to_text("<!-- x"), "");
        assert_eq!(to_text("&#0;&#xFFFFFFFF;&;"), "&#0;&#xFFFFFFFF;&;");
        let deep = "<div>".repeat(300_000) + "end";
        assert_eq!(to_text(&deep), "end");
        assert_eq!(to_text(&"<script></script".repeat(100_000)), "");
        assert_eq!(to_text(&"&".repeat(300_000)).len(), 300_000);
    }
}

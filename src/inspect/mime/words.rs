//! Encoded words in header values (RFC 2047), and raw text beside them.
//!
//! Words are recognised anywhere, also without blanks around them
//! and with blanks inside, as senders write them. Bytes of neighbouring words in
//! one charset are joined before they are decoded, since senders split letters.
//! What is not a word stays as it is. Nothing fails. The time is linear in the
//! length of the value: no byte is looked at more than a few times.

use memchr::memmem;

use super::charset;
use super::transfer;

/// Bytes of a charset's name.
const MAX_CHARSET: usize = 64;

/// The text of an unfolded value. Bytes outside of encoded words are UTF-8, or
/// Windows-1252 where they are not.
pub(crate) fn decode(value: &[u8]) -> String {
    let mut text = Text::default();
    let mut terminators = Terminators {
        value,
        found: Some(0),
    };
    // Where the bytes begin that have not been written yet.
    let mut at = 0;
    for start in memmem::find_iter(value, b"=?") {
        if start < at {
            continue;
        }
        let Some(word) = Word::at(value, start, &mut terminators) else {
            continue;
        };
        text.literal(value.get(at..start).unwrap_or_default());
        text.word(word.charset, &word.bytes);
        at = word.end;
    }
    text.literal(value.get(at..).unwrap_or_default());
    text.flush();
    text.written
}

/// One word: `=?charset?encoding?text?=`.
struct Word<'a> {
    charset: &'a str,
    bytes: Vec<u8>,
    /// Where the value goes on after it.
    end: usize,
}

impl<'a> Word<'a> {
    fn at(value: &'a [u8], start: usize, terminators: &mut Terminators<'_>) -> Option<Word<'a>> {
        let inner = value.get(start + 2..)?;
        let label = inner.get(..MAX_CHARSET + 1).unwrap_or(inner);
        let length = memchr::memchr(b'?', label)?;
        let label = std::str::from_utf8(inner.get(..length)?).ok()?;
        // RFC 2231 5: a language may follow the charset.
        let charset = label.split('*').next().unwrap_or(label);
        let is_known = charset::is_known(charset);
        if !is_known && !is_token(charset) {
            return None;
        }
        let encoding = inner.get(length + 1)?.to_ascii_uppercase();
        if !matches!(encoding, b'B' | b'Q') || inner.get(length + 2) != Some(&b'?') {
            return None;
        }
        let from = start + 2 + length + 3;
        let to = terminators.next_from(from)?;
        let encoded = value.get(from..to)?;
        let bytes = match encoding {
            b'B' => transfer::base64(encoded).bytes,
            _ => q_decoded(encoded),
        };
        // A name that says nothing keeps valid UTF-8, and only that.
        if !is_known && std::str::from_utf8(&bytes).is_err() {
            return None;
        }
        let end = to + 2;
        Some(Word {
            charset,
            bytes,
            end,
        })
    }
}

/// Whether it could be the name of a charset, or is none (RFC 2047 2).
fn is_token(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:+".contains(&byte))
}

/// The places of `?=`, each searched for once however often it is asked for.
struct Terminators<'a> {
    value: &'a [u8],
    /// Nothing once there is none left.
    found: Option<usize>,
}

impl Terminators<'_> {
    /// The first one at or after `from`, which never decreases.
    fn next_from(&mut self, from: usize) -> Option<usize> {
        if self.found? < from {
            let rest = self.value.get(from..)?;
            self.found = memmem::find(rest, b"?=").map(|at| from + at);
        }
        self.found
    }
}

/// RFC 2047 4.2; a `=` that begins no code, and raw bytes, stay as they are.
fn q_decoded(encoded: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'_' => bytes.push(b' '),
            b'=' => match after.get(..2).and_then(transfer::hex) {
                Some(byte) => {
                    bytes.push(byte);
                    rest = after.get(2..).unwrap_or_default();
                }
                None => bytes.push(first),
            },
            _ => bytes.push(first),
        }
    }
    bytes
}

/// What has been decoded, and the bytes of the last words, which may end within
/// a letter.
#[derive(Default)]
struct Text<'a> {
    written: String,
    charset: &'a str,
    bytes: Vec<u8>,
    after_word: bool,
}

impl<'a> Text<'a> {
    fn literal(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        // RFC 2047 6.2: blanks between two words are not shown. At the end of a
        // value they mean nothing either.
        if self.after_word && bytes.trim_ascii().is_empty() {
            return;
        }
        self.flush();
        self.written.push_str(&charset::utf8_or_latin(bytes));
    }

    fn word(&mut self, charset: &'a str, bytes: &[u8]) {
        // A word in a charset with states begins in the first of them (RFC 1468).
        if !self.charset.eq_ignore_ascii_case(charset) || charset::has_states(charset) {
            let after_word = self.after_word;
            self.flush();
            (self.charset, self.after_word) = (charset, after_word);
        }
        self.bytes.extend_from_slice(bytes);
        self.after_word = true;
    }

    fn flush(&mut self) {
        if !self.bytes.is_empty() {
            let text = charset::decode(self.charset, &self.bytes);
            self.written.push_str(&text);
            self.bytes.clear();
        }
        self.after_word = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_decoded_and_the_blanks_between_them_dropped() {
        for (value, wanted) in [
            ("=?utf-8?B?16nXnNeV150=?=", "שלום"),
            ("a =?utf-8?q?b_c?= d", "a b c d"),
            (
                "=?utf-8?Q?a?= \t =?iso-8859-1?Q?=E9?= =?UTF-8*en?Q?b?=",
                "aéb",
            ),
            ("x=?utf-8?Q?a b?=y", "xa by"),
            ("=?utf-8?Q?how=3F?= =?utf-8?Q?who??=", "how?who?"),
            ("=?utf-8?B??=", ""),
            ("=?no-such-charset?Q?=C3=A9?= =??B?w6k=?=", "éé"),
            (
                "=?ISO-2022-JP?B?GyRCJUYlOSVIGyhC?=\t=?ISO-2022-JP?B?GyRCJUYlOSVIGyhC?=",
                "テストテスト",
            ),
            ("plain", "plain"),
        ] {
            assert_eq!(decode(value.as_bytes()), wanted, "{value}");
        }
    }

    #[test]
    fn what_is_no_word_stays_as_it_is() {
        for value in [
            "=?",
            "=?utf-8",
            "=?utf-8?Q?no end",
            "=?utf-8?X?a?=",
            "=?no-such-charset?Q?=FF?=",
            "=?no such?Q?a?=",
            "a =? b ?= c",
            "=?=?=?=",
        ] {
            assert_eq!(decode(value.as_bytes()), value);
        }
    }

    #[test]
    fn a_letter_that_is_split_between_two_words_is_joined() {
        assert_eq!(
            decode(b"=?utf-8?B?16k=?= =?UTF-8?Q?=D7?=\t=?utf-8?B?nA==?="),
            "של"
        );
    }

    #[test]
    fn raw_bytes_are_utf_8_or_latin_1_in_a_word_and_beside_it() {
        assert_eq!(decode("=?utf-8?Q?é?= é".as_bytes()), "é é");
        assert_eq!(decode(b"caf\xe9"), "café");
        assert_eq!(decode(b"=?iso-8859-1?Q?caf\xe9?="), "café");
    }
}

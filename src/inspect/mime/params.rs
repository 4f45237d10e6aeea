//! A value with parameters: `Content-Type`, `Content-Disposition` (RFC 2045 5.1,
//! RFC 2183), with the continuations and charsets of RFC 2231.
//!
//! Of a name that is given twice the first counts, and the extended form
//! (`name*=utf-8''…`) before the plain one. Encoded words in values, which RFC
//! 2047 5 forbids and senders write, are decoded. Nothing fails. The time is
//! linear, but for the sorting of names: continuations are gathered in one pass.

use std::collections::BTreeMap;

use super::charset;
use super::transfer;
use super::words;

/// What is before the first semicolon, and the parameters after it.
#[derive(Debug, Default)]
pub(crate) struct Parameterized {
    /// In lower case, without blanks around it.
    pub(crate) value: String,
    /// Names in lower case.
    pub(crate) params: BTreeMap<String, String>,
}

/// Reads an unfolded value.
pub(crate) fn parse(value: &[u8]) -> Parameterized {
    let mut pieces = Pieces { rest: Some(value) };
    let first = pieces.next().unwrap_or_default();
    let mut params = BTreeMap::new();
    let mut extended: BTreeMap<String, Sections> = BTreeMap::new();
    for piece in pieces {
        let Some(equals) = memchr::memchr(b'=', piece) else {
            continue;
        };
        let name = piece.get(..equals).unwrap_or_default().trim_ascii();
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let value = unquoted(piece.get(equals + 1..).unwrap_or_default().trim_ascii());
        match Key::parse(&name) {
            Some(key) => {
                let sections = extended.entry(key.base.to_owned()).or_default();
                sections.entry(key.section).or_insert((key.percent, value));
            }
            None => {
                params
                    .entry(name)
                    .or_insert_with(|| words::decode(&value).trim().to_owned());
            }
        }
    }
    for (name, sections) in extended {
        if let Some(text) = joined(&sections) {
            params.insert(name, text);
        }
    }
    Parameterized {
        value: words::decode(first).trim().to_ascii_lowercase(),
        params,
    }
}

/// By number: whether the section is percent-encoded, and its bytes.
type Sections = BTreeMap<u32, (bool, Vec<u8>)>;

/// `name*`, `name*0`, `name*0*` (RFC 2231 3 and 4).
struct Key<'a> {
    base: &'a str,
    section: u32,
    percent: bool,
}

impl Key<'_> {
    fn parse(name: &str) -> Option<Key<'_>> {
        let (rest, percent) = match name.strip_suffix('*') {
            Some(rest) => (rest, true),
            None => (name, false),
        };
        match rest.rsplit_once('*') {
            Some((base, number)) => Some(Key {
                base,
                section: number.parse().ok()?,
                percent,
            }),
            None => percent.then_some(Key {
                base: rest,
                section: 0,
                percent,
            }),
        }
    }
}

/// The sections from 0 on without a gap, decoded as one text.
fn joined(sections: &Sections) -> Option<String> {
    let (percent, first) = sections.get(&0)?;
    // RFC 2231 4: charset'language'value, in the first section alone.
    let mut quotes = first.splitn(3, |&byte| byte == b'\'');
    let (charset, first) = match (percent, quotes.next(), quotes.next(), quotes.next()) {
        (true, Some(charset), Some(_), Some(value)) => (charset, value),
        _ => (&b"utf-8"[..], first.as_slice()),
    };
    let mut bytes = Vec::new();
    for (expected, (&number, (percent, section))) in (0..).zip(sections) {
        if number != expected {
            break;
        }
        let section = if number == 0 { first } else { section };
        match percent {
            true => bytes.extend(percent_decoded(section)),
            false => bytes.extend_from_slice(section),
        }
    }
    let charset = String::from_utf8_lossy(charset);
    Some(charset::decode(&charset, &bytes).trim().to_owned())
}

/// `%41` as its byte; a `%` that begins no code stays.
pub(crate) fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'%').then(|| after.get(..2).and_then(transfer::hex));
        rest = match code.flatten() {
            Some(byte) => {
                bytes.push(byte);
                after.get(2..).unwrap_or_default()
            }
            None => {
                bytes.push(first);
                after
            }
        };
    }
    bytes
}

/// What is between the quotes; a backslash is dropped before a quote or a
/// backslash alone, since old senders write paths of Windows here.
fn unquoted(value: &[u8]) -> Vec<u8> {
    let Some(inner) = value.strip_prefix(b"\"") else {
        return value.to_vec();
    };
    let mut bytes = Vec::with_capacity(inner.len());
    let mut letters = inner.iter().copied().peekable();
    while let Some(byte) = letters.next() {
        match byte {
            b'"' => break,
            b'\\' => bytes.push(
                letters
                    .next_if(|next| b"\"\\".contains(next))
                    .unwrap_or(byte),
            ),
            _ => bytes.push(byte),
        }
    }
    bytes
}

/// The pieces between semicolons that are not in quotes.
struct Pieces<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let (mut quoted, mut escaped) = (false, false);
        for (at, byte) in rest.iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b';' if !quoted => {
                    self.rest = rest.get(at + 1..);
                    return rest.get(..at);
                }
                _ => {}
            }
        }
        self.rest = None;
        Some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(value: &str, name: &str) -> Option<String> {
        parse(value.as_bytes()).params.remove(name)
    }

    #[test]
    fn a_type_and_its_parameters_are_read_as_they_are_written() {
        let found = parse(b"Multipart/Related;Start=\"<a;b>\" ; TYPE = x;;boundary=\"q\\\"q\"junk");
        assert_eq!(found.value, "multipart/related");
        assert_eq!(found.params["start"], "<a;b>");
        assert_eq!(found.params["type"], "x");
        assert_eq!(found.params["boundary"], "q\"q");
        assert_eq!(
            param("a; name=\"C:\\temp\\1.jpg\"", "name").unwrap(),
            "C:\\temp\\1.jpg"
        );
        assert_eq!(param("a; name=1; name=2", "name").unwrap(), "1");
        assert_eq!(param("a; name=\"no end", "name").unwrap(), "no end");
        assert_eq!(
            param("a; name=\"=?utf-8?B?16nXnNeV150=?=\"", "name").unwrap(),
            "שלום"
        );
    }

    #[test]
    fn continuations_are_joined_before_they_are_decoded() {
        for (value, wanted) in [
            ("a; name*=utf-8'he'%D7%A9", "ש"),
            ("a; name*0*=utf-8''%D7; name*1*=%A9; name*2=%41", "ש%41"),
            ("a; name*1=b; name*0=a; name*3=d", "ab"),
            ("a; name*=iso-8859-1''caf%e9; name=plain", "café"),
            ("a; name*=%41", "A"),
        ] {
            assert_eq!(param(value, "name").as_deref(), Some(wanted), "{value}");
        }
        assert_eq!(param("a; name*1=b", "name"), None);
    }

    #[test]
    fn a_hundred_thousand_continuations_are_joined() {
        let value: String = (0..100_000).map(|at| format!(";name*{at}=x")).collect();
        assert_eq!(param(&value, "name").unwrap().len(), 100_000);
    }
}

//! Bytes as text, by the charset that a part or an encoded word names.
//!
//! Under a name that says nothing (`unknown-8bit`, `default`, an empty one) or
//! that is unknown, text that is valid UTF-8 is kept. Numbers are IANA's
//! MIBenum, which WAP gateways write. Bytes that a charset has no letter for
//! become U+FFFD. Nothing fails; the time is linear.

use charset::Charset;

/// What a name refers to.
enum Kind {
    /// A charset by its label.
    Named(Charset),
    /// Two bytes a letter; the order is known from the bytes alone.
    Ucs2,
    /// ASCII, UTF-8, or a name that says nothing.
    Any,
}

/// The text that `bytes` are in the charset of that name.
pub(crate) fn decode(name: &str, bytes: &[u8]) -> String {
    match kind(name) {
        Kind::Named(charset) if charset.name() == "UTF-7" => utf7(charset, bytes),
        Kind::Named(charset) => charset.decode_without_bom_handling(bytes).0.into_owned(),
        Kind::Ucs2 => ucs2(bytes),
        Kind::Any => utf8_or_latin(bytes),
    }
}

/// Bytes of UTF-7 that are decoded at a time: the decoder's time is quadratic.
const UTF7_PIECE: usize = 4096;

/// UTF-7 in pieces that end with a byte outside of base64, which ends a shifted
/// sequence (RFC 2152).
fn utf7(charset: Charset, mut bytes: &[u8]) -> String {
    let shifted = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    let mut text = String::with_capacity(bytes.len());
    while !bytes.is_empty() {
        let rest = bytes.iter().skip(UTF7_PIECE);
        let end = rest.take_while(|byte| shifted(byte)).count() + UTF7_PIECE + 1;
        let (piece, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
        text.push_str(&charset.decode_without_bom_handling(piece).0);
        bytes = rest;
    }
    text
}

/// Whether the name is one that this module knows.
pub(crate) fn is_known(name: &str) -> bool {
    let name = label(name);
    matches!(
        name.as_str(),
        "us-ascii" | "ascii" | "unknown-8bit" | "default"
    ) || !matches!(kind(&name), Kind::Any)
        || Charset::for_label_no_replacement(name.as_bytes()).is_some()
        || mib_label(&name).is_some()
}

/// Whether a text in that charset changes between states: each piece of it begins in the
/// first one, so that pieces must not be joined before they are decoded.
pub(crate) fn has_states(name: &str) -> bool {
    let name = label(name);
    let name = mib_label(&name).unwrap_or(&name);
    name.starts_with("iso-2022-") || name.starts_with("hz") || name == "utf-7"
}

/// Whether some of the bytes are no letters in the charset of that name. UTF-8 and
/// names that say nothing lose nothing: other bytes are read as Windows-1252, but are
/// then not what the name says.
pub(crate) fn loses(name: &str, bytes: &[u8]) -> bool {
    match label(name).as_str() {
        "utf-8" | "utf8" | "106" => std::str::from_utf8(bytes).is_err(),
        "us-ascii" | "ascii" | "3" => !bytes.is_ascii(),
        _ => decode(name, bytes).contains('\u{fffd}'),
    }
}

/// Valid UTF-8 as it is, without its byte order mark; other bytes as
/// Windows-1252. Text with letters beyond ASCII may be cut off within its last.
pub(crate) fn utf8_or_latin(bytes: &[u8]) -> String {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let error = match std::str::from_utf8(bytes) {
        Ok(text) => return text.to_owned(),
        Err(error) => error,
    };
    let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
    match error.error_len() {
        None if !valid.is_ascii() => String::from_utf8_lossy(valid).into_owned(),
        _ => windows_1252(bytes),
    }
}

fn windows_1252(bytes: &[u8]) -> String {
    match Charset::for_label(b"windows-1252") {
        Some(charset) => charset.decode_without_bom_handling(bytes).0.into_owned(),
        // Not reached: the same but for 27 letters.
        None => charset::decode_latin1(bytes).into_owned(),
    }
}

/// The name in lower case, as the registries write it.
fn label(name: &str) -> String {
    let trimmed =
        name.trim_matches(|letter: char| letter.is_whitespace() || "\"'".contains(letter));
    let label = trimmed.to_ascii_lowercase();
    if let Some(number) = label.strip_prefix("win-") {
        return format!("windows-{number}");
    }
    match label.as_str() {
        // Python's email package writes these two; the others are Python's and Windows'.
        "big5_tw" | "cp950" => "big5".to_owned(),
        "eucgb2312_cn" => "gb2312".to_owned(),
        "latin-1" => "latin1".to_owned(),
        "cp932" => "shift_jis".to_owned(),
        "cp936" => "gbk".to_owned(),
        "cp949" => "euc-kr".to_owned(),
        "cp65001" => "utf-8".to_owned(),
        _ if Charset::for_label_no_replacement(label.as_bytes()).is_some() => label,
        _ => label.replace('_', "-"),
    }
}

fn kind(name: &str) -> Kind {
    let name = label(name);
    let name = mib_label(&name).unwrap_or(&name);
    match name {
        "iso-10646-ucs-2" | "ucs-2" | "csunicode" | "utf-16" | "utf16" => Kind::Ucs2,
        "us-ascii" | "ascii" | "utf-8" | "utf8" => Kind::Any,
        name => match Charset::for_label_no_replacement(name.as_bytes()) {
            Some(charset) => Kind::Named(charset),
            None => Kind::Any,
        },
    }
}

/// The label of a MIBenum (IANA, "Character Sets").
fn mib_label(number: &str) -> Option<&'static str> {
    Some(match number {
        "3" => "us-ascii",
        "4" => "iso-8859-1",
        "5" => "iso-8859-2",
        "6" => "iso-8859-3",
        "7" => "iso-8859-4",
        "8" => "iso-8859-5",
        "9" => "iso-8859-6",
        "10" => "iso-8859-7",
        "11" => "iso-8859-8",
        "12" => "windows-1254",
        "17" => "shift_jis",
        "18" => "euc-jp",
        "38" => "euc-kr",
        "39" => "iso-2022-jp",
        "106" => "utf-8",
        "113" => "gbk",
        "114" => "gb18030",
        "1000" | "1015" => "ucs-2",
        "1012" => "utf-7",
        "1013" => "utf-16be",
        "1014" => "utf-16le",
        "2025" => "gb2312",
        "2026" => "big5",
        "2084" => "koi8-r",
        "2250" => "windows-1250",
        "2251" => "windows-1251",
        "2252" => "windows-1252",
        "2253" => "windows-1253",
        "2254" => "windows-1254",
        "2255" => "windows-1255",
        "2256" => "windows-1256",
        "2257" => "windows-1257",
        "2258" => "windows-1258",
        _ => return None,
    })
}

/// Big-endian (RFC 2781 4.3) unless a byte order mark or the text itself says
/// otherwise: letters of one script share their high byte, which in nearly every
/// text is more often zero than the low byte.
fn ucs2(bytes: &[u8]) -> String {
    let (bytes, little) = match bytes {
        [0xfe, 0xff, rest @ ..] => (rest, false),
        [0xff, 0xfe, rest @ ..] => (rest, true),
        _ => {
            let zeros = |first: usize| {
                bytes
                    .iter()
                    .skip(first)
                    .step_by(2)
                    .filter(|&&byte| byte == 0)
            };
            (bytes, zeros(1).count() > zeros(0).count())
        }
    };
    let label: &[u8] = if little { b"utf-16le" } else { b"utf-16be" };
    match Charset::for_label(label) {
        Some(charset) => charset.decode_without_bom_handling(bytes).0.into_owned(),
        None => utf8_or_latin(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_says_nothing_keeps_utf_8() {
        for name in [
            "",
            "x-unknown",
            "default",
            "unknown-8bit",
            "106",
            "us-ascii",
            "\"UTF-8\"",
        ] {
            assert_eq!(decode(name, "שלום".as_bytes()), "שלום", "{name}");
        }
        assert_eq!(decode("x-unknown", b"caf\xe9"), "café");
    }

    #[test]
    fn charsets_are_found_by_name_and_by_number() {
        assert_eq!(decode("windows-1255", b"\xf9\xec\xe5\xed"), "שלום");
        assert_eq!(decode("4", b"caf\xe9"), "café");
        assert_eq!(decode("UTF-7", b"+BekF3AXVBd0-"), "שלום");
        assert!(is_known("106") && is_known("ISO-8859-1") && is_known("us-ascii"));
        assert!(!is_known("no-such-charset"));
        assert!(loses("utf-8", b"caf\xe9") && loses("us-ascii", b"caf\xe9"));
        assert!(loses("shift_jis", b"\x81") && !loses("iso-8859-1", b"caf\xe9"));
    }

    #[test]
    fn names_that_no_registry_lists_are_known() {
        for (name, bytes, wanted) in [
            // Python's email package writes these two.
            ("eucgb2312_cn", &b"\xd6\xd0\xce\xc4"[..], "中文"),
            ("big5_tw", b"\xa4\xa4\xa4\xe5", "中文"),
            ("euc_jp", b"\xc6\xfc", "日"),
            ("latin-1", b"caf\xe9", "café"),
            ("cp932", b"\x93\xfa", "日"),
            ("cp936", b"\xd6\xd0", "中"),
            ("cp949", b"\xc7\xd1", "한"),
            ("cp950", b"\xa4\xa4", "中"),
            ("utf_8", "é".as_bytes(), "é"),
            ("cp65001", "é".as_bytes(), "é"),
            ("win-1251", b"\xcf", "П"),
        ] {
            assert_eq!(decode(name, bytes), wanted, "{name}");
            assert!(is_known(name), "{name}");
        }
        assert!(loses("utf_8", b"\xe9") && !is_known("no_such_charset"));
    }

    #[test]
    fn long_utf_7_is_decoded_in_pieces() {
        let text = "a+BekF3AXVBd0-, ".repeat(3000);
        assert_eq!(decode("utf-7", text.as_bytes()), "aשלום, ".repeat(3000));
    }

    #[test]
    fn two_bytes_a_letter_are_big_endian_unless_something_says_otherwise() {
        let big = b"\x00h\x00i";
        let little = b"h\x00i\x00";
        for name in ["ucs-2", "ISO-10646-UCS-2", "csUnicode", "utf-16", "1000"] {
            assert_eq!(decode(name, big), "hi", "{name}");
            assert_eq!(decode(name, little), "hi", "{name}");
            assert_eq!(decode(name, b"\xff\xfe\xe9\x05"), "ש", "{name}");
            assert_eq!(decode(name, b"\x05\xe9"), "ש", "{name}");
        }
    }

    #[test]
    fn text_that_is_cut_within_a_letter_is_still_utf_8() {
        assert_eq!(utf8_or_latin(b"\xc3\xa9caf\xc3"), "écaf");
        assert_eq!(utf8_or_latin(b"it\x92s 5 \x80"), "it’s 5 €");
        assert_eq!(utf8_or_latin(b"\xef\xbb\xbfhi"), "hi");
    }
}

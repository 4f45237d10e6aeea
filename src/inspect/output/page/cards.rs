//! vCard (RFC 6350) and iCalendar (RFC 5545) as small cards.
//!
//! The properties that a person looks for, of the first card or event, folded lines
//! joined; whatever is odd is left out. Limits: [`MAX_CARD`] bytes are read,
//! [`MAX_ROWS`] rows shown, [`MAX_VALUE`] characters of each.

use maud::{Markup, html};

use super::harmless;
use crate::inspect::mime::Part;
use crate::inspect::mime::transfer::quoted_printable;
use crate::inspect::output::view::readable_text;

/// Bytes of a card that are read; a photo in it may be longer.
const MAX_CARD: usize = 64 * 1024;
/// Rows of a card.
const MAX_ROWS: usize = 12;
/// Characters of a value.
const MAX_VALUE: usize = 300;

/// Properties and what they are called, in the order of RFC 6350 and RFC 5545.
const LABELS: [(&str, &str); 14] = [
    ("ORG", "Organisation"),
    ("TITLE", "Title"),
    ("TEL", "Telephone"),
    ("EMAIL", "E-mail"),
    ("ADR", "Address"),
    ("URL", "Web"),
    ("BDAY", "Birthday"),
    ("NOTE", "Note"),
    ("DTSTART", "Begins"),
    ("DTEND", "Ends"),
    ("DUE", "Due"),
    ("LOCATION", "Place"),
    ("ORGANIZER", "Organiser"),
    ("DESCRIPTION", "Description"),
];

/// The card of a part; `None` when it is none, or says nothing.
pub(super) fn card(part: &Part<'_>, bytes: &[u8]) -> Option<Markup> {
    let is_contact = is_contact(part);
    if !is_contact && !is_event(part) {
        return None;
    }
    let begin = bytes.get(..MAX_CARD).unwrap_or(bytes);
    let lines = properties(&readable_text(part, begin));
    let value = |name: &str| {
        let found = lines.iter().find(|line| line.0 == name);
        found
            .map(|line| line.1.clone())
            .filter(|text| !text.is_empty())
    };
    let title = match is_contact {
        true => value("FN").or_else(|| value("N")),
        false => value("SUMMARY"),
    };
    let rows: Vec<(&str, &str)> = lines
        .iter()
        .filter_map(|(name, value)| {
            let (_, label) = LABELS.iter().find(|(known, _)| known == name)?;
            (!value.is_empty()).then_some((*label, value.as_str()))
        })
        .take(MAX_ROWS)
        .collect();
    if title.is_none() && rows.is_empty() {
        return None;
    }
    let (class, name) = match is_contact {
        true => ("card contact", "Contact"),
        false => ("card event", "Event"),
    };
    Some(html! {
        section class=(class) aria-label=(name) {
            p.title dir="auto" { (harmless(title.as_deref().unwrap_or(name))) }
            dl {
                @for (label, value) in &rows {
                    div { dt { (label) } dd dir="auto" { (harmless(value)) } }
                }
            }
        }
    })
}

/// Whether a part is shown as a card.
pub(super) fn is_card(part: &Part<'_>) -> bool {
    is_contact(part) || is_event(part)
}

fn is_contact(part: &Part<'_>) -> bool {
    matches!(
        part.media_type.as_str(),
        "text/x-vcard" | "text/vcard" | "text/directory"
    )
}

fn is_event(part: &Part<'_>) -> bool {
    matches!(
        part.media_type.as_str(),
        "text/calendar" | "text/x-vcalendar"
    )
}

/// The properties: name without group and parameters, value unescaped.
fn properties(text: &str) -> Vec<(String, String)> {
    // RFC 6350 3.2, RFC 5545 3.1: a line that begins with a blank continues the one before.
    let text = text.replace("\n ", "").replace("\n\t", "");
    // vCard 2.1 continues a quoted-printable line after `=`.
    let text = text.replace("=\n", "");
    let mut found = Vec::new();
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let mut words = name.split(';');
        let name = words.next().unwrap_or_default();
        let name = name.rsplit('.').next().unwrap_or(name).to_ascii_uppercase();
        if matches!(name.as_str(), "END") && !found.is_empty() && value.trim() != "VTIMEZONE" {
            break;
        }
        let quoted = words.any(|word| word.to_ascii_uppercase().ends_with("QUOTED-PRINTABLE"));
        found.push((name.clone(), plain(&name, value, quoted)));
    }
    found
}

fn plain(name: &str, value: &str, is_quoted: bool) -> String {
    let value = match is_quoted {
        true => {
            let bytes = quoted_printable(value.as_bytes()).bytes;
            String::from_utf8_lossy(&bytes).into_owned()
        }
        false => value.to_owned(),
    };
    let value = value.strip_prefix("mailto:").unwrap_or(&value);
    let value = value.strip_prefix("tel:").unwrap_or(value);
    let value = value.replace("\\n", "\n").replace("\\N", "\n");
    let value = value.replace("\\,", ",").replace("\\;", ",");
    let value = match name {
        // Their components are separated by semicolons, many of them empty.
        "N" | "ADR" | "ORG" => {
            let words = value.split(';').map(str::trim);
            let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
            words.join(", ")
        }
        "DTSTART" | "DTEND" | "DUE" | "BDAY" => date(&value).unwrap_or(value),
        _ => value,
    };
    value.trim().chars().take(MAX_VALUE).collect()
}

/// `20261124T180000Z` as `2026-11-24 18:00 UTC`.
fn date(value: &str) -> Option<String> {
    let value = value.trim();
    let day = value
        .get(..8)
        .filter(|day| day.bytes().all(|byte| byte.is_ascii_digit()))?;
    let mut text = format!("{}-{}-{}", day.get(..4)?, day.get(4..6)?, day.get(6..8)?);
    if let (Some(hour), Some(minute)) = (value.get(9..11), value.get(11..13)) {
        text.push_str(&format!(" {hour}:{minute}"));
    }
    if value.ends_with('Z') {
        text.push_str(" UTC");
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folded_escaped_and_quoted_properties_are_read() {
        let found = properties(
            "BEGIN:VCARD\nVERSION:2.1\nitem1.TEL;CELL:+1555\nFN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:J=C3=BCrg=\n=20A\n\
             ADR;HOME:;;Street 1;Town;;;\nNOTE:one\\, two\\nthree\n  four\nEND:VCARD\nBEGIN:VCARD\nFN:other\n",
        );
        let value = |name: &str| {
            let found = found.iter().find(|line| line.0 == name);
            found.map(|line| line.1.as_str())
        };
        assert_eq!(value("TEL"), Some("+1555"));
        assert_eq!(value("FN"), Some("Jürg A"));
        assert_eq!(value("ADR"), Some("Street 1, Town"));
        assert_eq!(value("NOTE"), Some("one, two\nthree four"));
    }

    #[test]
    fn a_date_is_readable() {
        assert_eq!(date("20261124T180000Z").unwrap(), "2026-11-24 18:00 UTC");
        assert_eq!(date("20261124").unwrap(), "2026-11-24");
        assert_eq!(date("é1261124"), None);
    }
}

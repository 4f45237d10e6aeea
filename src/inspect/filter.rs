//! Which messages a command is about: one set of filters for all of them.
//!
//! Names alone decide as far as they can; header blocks are read, back from the
//! newest, only when a filter asks for what is in them.

use std::io::{self, ErrorKind};

use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};

use super::message::Message;
use super::store::{Entry, Store};
use crate::mm4::MessageType;

/// Messages shown when neither `--last` nor another filter is given.
pub const DEFAULT_LAST: usize = 20;

/// Which messages to show; all of the conditions must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only those that this account sent.
    pub account: Option<String>,
    /// Only those of one of these types.
    pub types: Option<Vec<MessageType>>,
    /// Only those that were received then or later.
    pub since: Option<Timestamp>,
    /// At most as many, the newest of them.
    pub last: usize,
}

/// A message that could not be read, and why.
#[derive(Debug)]
pub struct Unreadable {
    /// Its id.
    pub id: String,
    /// Why.
    pub error: io::Error,
}

/// What a filter selects.
#[derive(Debug, Default)]
pub struct Selection {
    /// The messages, oldest first.
    pub entries: Vec<Entry>,
    /// Those whose header block was needed and could not be read.
    pub unreadable: Vec<Unreadable>,
}

impl Filter {
    /// The messages among `entries`, which are ordered by time, that match. A
    /// message that was deleted meanwhile does not.
    pub fn select(&self, store: &Store, entries: &[Entry]) -> Selection {
        let mut selection = Selection::default();
        for entry in entries.iter().rev() {
            if selection.entries.len() >= self.last || self.is_past(entry) {
                break;
            }
            match self.matches(store, entry) {
                Ok(true) => selection.entries.push(entry.clone()),
                Ok(false) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => selection.unreadable.push(Unreadable {
                    id: entry.id.clone(),
                    error,
                }),
            }
        }
        selection.entries.reverse();
        selection
    }

    /// Whether it is what no option makes: the last few of all messages.
    pub fn is_default(&self) -> bool {
        let filtered = self.account.is_some() || self.types.is_some() || self.since.is_some();
        !filtered && self.last == DEFAULT_LAST
    }

    /// Whether this message, and thus every older one, is too old.
    fn is_past(&self, entry: &Entry) -> bool {
        let times = self.since.zip(entry.time);
        times.is_some_and(|(since, time)| time < since)
    }

    fn matches(&self, store: &Store, entry: &Entry) -> io::Result<bool> {
        if self.account.is_none() && self.types.is_none() {
            return Ok(true);
        }
        let raw = store.read_header(entry)?;
        let message = Message::read_header(entry, &raw);
        let (account, types) = (self.account.as_deref(), self.types.as_deref());
        Ok(
            account.is_none_or(|account| message.account() == Some(account))
                && types
                    .is_none_or(|types| message.kind().is_some_and(|kind| types.contains(&kind))),
        )
    }
}

/// The message types that a word names: one of the six, `REQ` or `RES` for
/// three of them, or `forward`, `delivery_report`, `read_reply_report` for two;
/// in any case, with or without `MM4_`.
pub fn parse_types(word: &str) -> Option<Vec<MessageType>> {
    let word = word.trim().to_ascii_lowercase();
    let word = word.strip_prefix("mm4_").unwrap_or(&word);
    let found: Vec<_> = MessageType::ALL
        .into_iter()
        .filter(|kind| {
            let name = kind.name().to_ascii_lowercase();
            let name = name.strip_prefix("mm4_").unwrap_or(&name);
            let (stem, ending) = name.split_once('.').unwrap_or((name, ""));
            let short = kind.short_name().to_ascii_lowercase();
            [name, stem, ending, &short].contains(&word)
        })
        .collect();
    (!found.is_empty()).then_some(found)
}

/// The time that a word names: RFC 3339, a date (its first moment in UTC) or an
/// age such as `90s`, `10m`, `2h`, `3d`, `1w` before `now`.
pub fn parse_time(word: &str, now: Timestamp) -> Option<Timestamp> {
    let word = word.trim();
    if let Ok(time) = word.parse::<Timestamp>() {
        return Some(time);
    }
    if let Ok(date) = word.parse::<civil::Date>() {
        return Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp());
    }
    let (at, unit) = word.char_indices().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return None,
    };
    let count: u32 = word.get(..at)?.parse().ok()?;
    let age = SignedDuration::from_secs(i64::from(count) * seconds);
    now.checked_sub(age).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_types() {
        assert_eq!(parse_types("REQ").map(|found| found.len()), Some(3));
        assert_eq!(parse_types("res").map(|found| found.len()), Some(3));
        assert_eq!(parse_types("forward").map(|found| found.len()), Some(2));
        assert_eq!(
            parse_types("MM4_forward.REQ"),
            Some(vec![MessageType::ForwardReq])
        );
        assert_eq!(
            parse_types("delivery.req"),
            Some(vec![MessageType::DeliveryReportReq])
        );
        assert_eq!(parse_types("mms"), None);
        assert_eq!(parse_types(""), None);
    }

    #[test]
    fn words_name_times() {
        let now: Timestamp = "2022-01-26T12:00:00Z".parse().unwrap();
        let at = |word| parse_time(word, now).map(|time| time.to_string());
        assert_eq!(at("10m").as_deref(), Some("2022-01-26T11:50:00Z"));
        assert_eq!(at("3d").as_deref(), Some("2022-01-23T12:00:00Z"));
        assert_eq!(at("2022-01-25").as_deref(), Some("2022-01-25T00:00:00Z"));
        assert_eq!(
            at("2022-01-25T10:00:00+02:00").as_deref(),
            Some("2022-01-25T08:00:00Z")
        );
        for word in ["", "m", "10", "-3d", "yesterday", "10é", "99999999999d"] {
            assert_eq!(at(word), None, "{word}");
        }
    }
}

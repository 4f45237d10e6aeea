//! What the words of a filter mean: types, times, ages, addresses, contents.

use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use crate::mm4::{Address, MessageType};

/// Letters to look for, in any case.
#[derive(Clone, Debug)]
pub struct Needle(String);

impl Needle {
    /// Looks for `text`.
    pub fn new(text: &str) -> Needle {
        Needle(text.to_lowercase())
    }

    /// Whether the letters are in `text`.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        text.to_lowercase().contains(&self.0)
    }

    /// The letters as they are in a field that has them, in lower case; `None` where
    /// they could be written otherwise: with a fold in a blank, or in another charset.
    pub(super) fn as_written(&self) -> Option<&str> {
        is_plain(&self.0).then_some(self.0.as_str())
    }
}

/// An address or a piece of one; a number with or without its `+` and its `/TYPE=`.
#[derive(Clone, Debug)]
pub struct AddressPattern(String);

impl AddressPattern {
    /// Looks for `text`.
    pub fn new(text: &str) -> AddressPattern {
        AddressPattern(without_type(text))
    }

    /// Letters that are in every field that has the address, in lower case: what is
    /// before the `@`, since `/TYPE=` may follow it.
    pub(super) fn as_written(&self) -> Option<&str> {
        let local = self.0.split('@').next()?;
        is_plain(local).then_some(local)
    }

    /// Whether it is in that address.
    pub(crate) fn is_in(&self, address: &Address) -> bool {
        without_type(&address.to_string()).contains(&self.0)
    }
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// An address in lower case without brackets, `+` and `/TYPE=`.
fn without_type(address: &str) -> String {
    let address = address.trim().trim_start_matches('<').trim_end_matches('>');
    let address = address.to_lowercase();
    let address = address.strip_prefix('+').unwrap_or(&address);
    match address.split_once("/type=") {
        Some((number, rest)) => match rest.split_once('@') {
            Some((_, domain)) => format!("{number}@{domain}"),
            None => number.to_owned(),
        },
        None => address.to_owned(),
    }
}

/// What a message can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A part of type image.
    Image,
    /// A part of type audio.
    Audio,
    /// A part of type video.
    Video,
    /// A part of text that is not empty.
    Text,
    /// Something that `check` finds.
    Findings,
}

impl Content {
    /// The words for them.
    pub const NAMES: [(&str, Content); 5] = [
        ("image", Content::Image),
        ("audio", Content::Audio),
        ("video", Content::Video),
        ("text", Content::Text),
        ("findings", Content::Findings),
    ];

    /// What a word names, in any case.
    pub fn parse(word: &str) -> Option<Content> {
        let mut names = Self::NAMES.into_iter();
        let found = names.find(|(name, _)| name.eq_ignore_ascii_case(word.trim()));
        found.map(|(_, content)| content)
    }
}

/// The message types that a word names: one of the six, `REQ` or `RES` for
/// three of them, or `forward`, `delivery_report`, `read_reply_report` for two;
/// in any case, with or without `MM4_`.
pub(crate) fn parse_types(word: &str) -> Option<Vec<MessageType>> {
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

/// The time that a word names: RFC 3339, a date (its first moment), a date and a time
/// as `list` prints them, with or without seconds, year and zone, or an age such as
/// `90s`, `10m`, `2h`, `3d`, `1w` before `now`. Without a zone it is UTC, as in
/// `list`; the zone may be `Z`, `UTC`, `+02:00`, `+0200` or `local`.
pub(crate) fn parse_time(word: &str, now: Timestamp) -> Option<Timestamp> {
    let word = word.trim();
    if let Ok(time) = word.parse::<Timestamp>() {
        return Some(time);
    }
    if let Some(age) = parse_age(word) {
        return now.checked_sub(age).ok();
    }
    let (civil, zone) = split_zone(word)?;
    let time = match parse_civil(civil) {
        Some(time) => time,
        None => return without_year(civil, &zone, now),
    };
    Some(zone.to_zoned(time).ok()?.timestamp())
}

/// The last moment of what a word names: of a date its day, of a time that was given to
/// the minute or to the second that minute or second.
pub(crate) fn parse_end(word: &str, now: Timestamp) -> Option<Timestamp> {
    let begin = parse_time(word, now)?;
    let word = word.trim();
    if parse_age(word).is_some() {
        return Some(begin);
    }
    let (civil, _) = split_zone(word)?;
    let seconds = match civil.matches(':').count() {
        0 => 86_400,
        1 => 60,
        _ if civil.contains('.') => return Some(begin),
        _ => 1,
    };
    let end = begin.checked_add(SignedDuration::from_secs(seconds)).ok()?;
    end.checked_sub(SignedDuration::from_micros(1)).ok()
}

/// A duration such as `500ms`, `90s`, `10m`, `2h`, `3d`, `1w`.
pub(crate) fn parse_age(word: &str) -> Option<SignedDuration> {
    let word = word.trim();
    let digits = word.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let (count, unit) = word.split_at_checked(word.len() - digits.len())?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 7 * 86_400_000,
        _ => return None,
    };
    let count: u32 = count.parse().ok()?;
    Some(SignedDuration::from_millis(i64::from(count) * milliseconds))
}

/// What is before the zone, and the zone; UTC where there is none.
fn split_zone(word: &str) -> Option<(&str, TimeZone)> {
    if let Some((civil, last)) = word.rsplit_once(' ') {
        match last {
            "local" => return Some((civil, TimeZone::system())),
            "UTC" | "Z" | "GMT" => return Some((civil, TimeZone::UTC)),
            _ => {}
        }
    }
    if let Some(civil) = word.strip_suffix('Z') {
        return Some((civil, TimeZone::UTC));
    }
    // `+0200`, `-02:00`; a hyphen before the time is one of the date.
    let Some(time) = word.find(':') else {
        return Some((word, TimeZone::UTC));
    };
    let Some(sign) = word.get(time..)?.find(['+', '-']).map(|at| time + at) else {
        return Some((word, TimeZone::UTC));
    };
    let (civil, offset) = word.split_at_checked(sign)?;
    let digits: String = offset.chars().filter(char::is_ascii_digit).collect();
    let (hours, minutes) = digits.split_at_checked(2)?;
    let minutes = if minutes.is_empty() { "0" } else { minutes };
    let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
    let seconds = if offset.starts_with('-') {
        -seconds
    } else {
        seconds
    };
    let zone = Offset::from_seconds(seconds).ok()?.to_time_zone();
    Some((civil.trim_end(), zone))
}

fn parse_civil(text: &str) -> Option<DateTime> {
    // A parser of dates also takes a time, and drops it.
    if !text.contains(':') {
        return Some(text.parse::<Date>().ok()?.at(0, 0, 0, 0));
    }
    let text = text.replacen('T', " ", 1);
    ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"]
        .into_iter()
        .find_map(|form| DateTime::strptime(form, &text).ok())
}

/// `11-24 14:21`, as a narrow table shows it: the last such day.
fn without_year(text: &str, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
    let year = now.to_zoned(zone.clone()).year();
    let times = [year, year - 1].into_iter().filter_map(|year| {
        let time = parse_civil(&format!("{year:04}-{text}"))?;
        Some(zone.to_zoned(time).ok()?.timestamp())
    });
    times.into_iter().find(|time| *time <= now)
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
        for (word, wanted) in [
            ("10m", "2022-01-26T11:50:00Z"),
            ("3d", "2022-01-23T12:00:00Z"),
            ("2022-01-25", "2022-01-25T00:00:00Z"),
            ("2022-01-25T10:00:00+02:00", "2022-01-25T08:00:00Z"),
            ("2022-01-25 14:21", "2022-01-25T14:21:00Z"),
            ("2022-01-25 14:21:07", "2022-01-25T14:21:07Z"),
            ("2022-01-25T14:21", "2022-01-25T14:21:00Z"),
            ("2022-01-25 14:21:07 UTC", "2022-01-25T14:21:07Z"),
            ("2022-01-25 14:21Z", "2022-01-25T14:21:00Z"),
            ("2022-01-25 14:21 +02:00", "2022-01-25T12:21:00Z"),
            ("2022-01-25 14:21-0230", "2022-01-25T16:51:00Z"),
            ("01-25 14:21", "2022-01-25T14:21:00Z"),
            ("12-24 14:21", "2021-12-24T14:21:00Z"),
        ] {
            assert_eq!(at(word).as_deref(), Some(wanted), "{word}");
        }
        assert!(at("2022-01-25 14:21 local").is_some());
        for word in [
            "",
            "m",
            "10",
            "-3d",
            "yesterday",
            "10é",
            "99999999999d",
            "2022-01-25 25:00",
            "14:21",
            "2022-13-01",
            "2022-01-25 14:21 +é",
        ] {
            assert_eq!(at(word), None, "{word}");
        }
    }

    #[test]
    fn the_end_of_a_time_includes_all_of_it() {
        let now: Timestamp = "2022-01-26T12:00:00Z".parse().unwrap();
        for (word, wanted) in [
            ("2022-01-25", "2022-01-25T23:59:59.999999Z"),
            ("2022-01-25 14:21", "2022-01-25T14:21:59.999999Z"),
            ("2022-01-25T14:21:07Z", "2022-01-25T14:21:07.999999Z"),
            ("2022-01-25T14:21:07+02:00", "2022-01-25T12:21:07.999999Z"),
            ("2022-01-25T14:21:07.5Z", "2022-01-25T14:21:07.5Z"),
            ("2h", "2022-01-26T10:00:00Z"),
        ] {
            assert_eq!(
                parse_end(word, now).map(|end| end.to_string()).as_deref(),
                Some(wanted)
            );
        }
    }

    #[test]
    fn a_number_is_found_with_or_without_plus_and_type() {
        let address = Address::parse("+972500000001/TYPE=PLMN@mms.Example.net").unwrap();
        for text in [
            "+972500000001",
            "972500000001",
            "<+972500000001/type=plmn@mms.example.net>",
            "972500000001/TYPE=PLMN",
            "0001@MMS",
            "example.net",
        ] {
            assert!(AddressPattern::new(text).is_in(&address), "{text}");
        }
        assert!(!AddressPattern::new("972500000002").is_in(&address));
        let address = Address::parse("a+b@example.com").unwrap();
        assert!(AddressPattern::new("A+B@").is_in(&address));
    }

    #[test]
    fn letters_are_found_in_any_case() {
        assert!(Needle::new("ÉTÉ").is_in("un été"));
        assert!(!Needle::new("x").is_in("y"));
        assert_eq!(Content::parse("Image"), Some(Content::Image));
        assert_eq!(Content::parse("pictures"), None);
    }
}

//! Dates in header fields: RFC 5322, HTTP, RFC 3339, and the expiry of a message.

use jiff::{SignedDuration, Timestamp};

/// When a message expires, from a value of `X-Mms-Expiry` (TS 23.140, 8.4.4):
/// an HTTP date, an RFC 3339 date or seconds, which count from `sent`. `None`
/// when the value is none of these, or relative with nothing to count from.
pub fn expiry(value: &str, sent: Option<Timestamp>) -> Option<Timestamp> {
    let value = value.trim();
    if super::is_digits(value) {
        let seconds = value.parse::<u32>().ok()?;
        return sent?
            .checked_add(SignedDuration::from_secs(seconds.into()))
            .ok();
    }
    parse(value)
}

/// A date as RFC 5322, RFC 9110 (HTTP, its obsolete forms too) or RFC 3339
/// writes it. A wrong day of the week does no harm; a date that none of them
/// knows is `None`.
pub fn parse(value: &str) -> Option<Timestamp> {
    let value = value.trim();
    jiff::fmt::rfc2822::DateTimeParser::new()
        .relaxed_weekday(true)
        .parse_timestamp(value)
        .or_else(|_| value.parse::<Timestamp>())
        .ok()
        .or_else(|| obsolete_date(value))
}

/// The two forms that RFC 9110 5.6.7 makes a recipient accept and nobody write.
fn obsolete_date(value: &str) -> Option<Timestamp> {
    let (_, rfc850) = value.split_once(", ")?;
    let civil = jiff::civil::DateTime::strptime("%d-%b-%y %H:%M:%S GMT", rfc850)
        .or_else(|_| jiff::civil::DateTime::strptime("%a %b %e %H:%M:%S %Y", value))
        .ok()?;
    Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

/// A date as RFC 5322 3.3 writes it, in UTC: `Wed, 26 Jan 2022 00:17:43 +0000`.
pub(crate) fn rfc5322(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_date_or_seconds() {
        let sent = "2022-01-26T00:17:43Z".parse::<Timestamp>().ok();
        let at = |value| expiry(value, sent).map(|time| time.to_string());
        let wanted = Some("2022-02-01T22:17:44Z".to_owned());
        assert_eq!(at("Tue, 01 Feb 2022 22:17:44 GMT"), wanted);
        assert_eq!(at("2022-02-02T00:17:44+02:00"), wanted);
        assert_eq!(at("Tuesday, 01-Feb-22 22:17:44 GMT"), wanted);
        assert_eq!(at("86400"), Some("2022-01-27T00:17:43Z".to_owned()));
        assert_eq!(expiry("86400", None), None);
        assert_eq!(at("soon"), None);
        assert_eq!(at(""), None);
        assert_eq!(at("99999999999999999999"), None);
    }

    #[test]
    fn a_day_of_the_week_that_is_wrong_does_no_harm() {
        assert!(parse("Mon, 26 Jan 2022 00:17:43 +0200").is_some());
        assert_eq!(parse("26/01/22 at noon"), None);
    }

    #[test]
    fn a_date_that_was_written_is_parsed_into_the_same() {
        let time: Timestamp = "2022-01-06T00:17:43Z".parse().unwrap();
        assert_eq!(rfc5322(time), "Thu, 06 Jan 2022 00:17:43 +0000");
        assert_eq!(parse(&rfc5322(time)), Some(time));
    }
}

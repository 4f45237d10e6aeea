//! The ids of messages: `YYYYMMDDTHHMMSS.uuuuuuZ-P-N@NAME`, written and parsed.
//!
//! Ids are strictly increasing, as text, within a process; when the clock steps
//! back, their time stays until the clock has caught up. Across servers they are
//! unique by their names. Across restarts they are unique by time and process
//! id, and where both repeat (the only process of a container, whose clock was
//! set back) by a counter that begins at a random number: two ids are the same
//! only if two processes accept a message in the same microsecond of the
//! repeated time with the same one of 1,000,000 counts. Even then no file is
//! replaced: see [`Disk::publish`](super::disk::Disk::publish).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// The last counter before it restarts; it always has six digits.
const LAST_COUNT: u32 = 999_999;
/// Digits of the counter at least.
const COUNT_DIGITS: usize = 6;
/// Bytes of the time, up to its `Z`.
const TIME_LENGTH: usize = "YYYYMMDDTHHMMSS.uuuuuu".len();
/// Bytes of a server's name at most: with the rest of an id and `.eml` it must
/// fit into a file name of 255 bytes.
pub(crate) const MAX_SERVER_NAME: usize = 190;

/// Whether `name` can be the name of a server, and thus the last part of an id.
pub(crate) fn is_server_name(name: &str) -> bool {
    (1..=MAX_SERVER_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// The id of one message; also its file name, without the `.eml`. Ids are
/// ordered as text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId {
    // First, because the derived order begins with it.
    text: Arc<str>,
    time: Timestamp,
    process: u32,
    count: u64,
    /// Where the server's name begins in `text`.
    server_at: usize,
}

impl MessageId {
    fn new(time: Timestamp, process: u32, count: u64, server: &str) -> MessageId {
        let written = time.strftime("%Y%m%dT%H%M%S.%6fZ");
        let text = format!("{written}-{process}-{count:0COUNT_DIGITS$}@{server}");
        MessageId {
            server_at: text.len() - server.len(),
            text: text.into(),
            time,
            process,
            count,
        }
    }

    /// Parses an id. `None` if `text` is anything but the exact text of one.
    pub fn parse(text: &str) -> Option<MessageId> {
        let (time, rest) = text.split_once("Z-")?;
        let (process, rest) = rest.split_once('-')?;
        let (count, server) = rest.split_once('@')?;
        if count.len() < COUNT_DIGITS || !is_server_name(server) {
            return None;
        }
        Some(MessageId {
            text: text.into(),
            time: parse_time(time)?,
            process: parse_number(process, 1)?.try_into().ok()?,
            count: parse_number(count, COUNT_DIGITS)?,
            server_at: text.len() - server.len(),
        })
    }

    /// The id as it is in the 250 and in the trace.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// When DATA was accepted, to the microsecond.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The process id of the server.
    pub fn process(&self) -> u32 {
        self.process
    }

    /// The number of the message among those of its process.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The name of the server.
    pub fn server(&self) -> &str {
        self.text.get(self.server_at..).unwrap_or_default()
    }

    /// `P-N`, the process and the count: a short name that a person can type.
    pub fn short(&self) -> &str {
        let from = TIME_LENGTH + "Z-".len();
        let to = self.server_at - "@".len();
        self.text.get(from..to).unwrap_or_default()
    }

    /// The name of the file in tmp/ and new/.
    pub fn file_name(&self) -> String {
        format!("{}.eml", self.text)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `YYYYMMDDTHHMMSS.uuuuuu`, in UTC.
fn parse_time(text: &str) -> Option<Timestamp> {
    let digits = |from: usize, to: usize| parse_digits(text.get(from..to)?);
    let separators =
        text.len() == TIME_LENGTH && text.get(8..9)? == "T" && text.get(15..16)? == ".";
    if !separators {
        return None;
    }
    let civil = DateTime::new(
        digits(0, 4)?.try_into().ok()?,
        digits(4, 6)?.try_into().ok()?,
        digits(6, 8)?.try_into().ok()?,
        digits(9, 11)?.try_into().ok()?,
        digits(11, 13)?.try_into().ok()?,
        digits(13, 15)?.try_into().ok()?,
        i32::try_from(digits(16, 22)? * 1000).ok()?,
    );
    Offset::UTC.to_timestamp(civil.ok()?).ok()
}

/// A decimal number that is padded with zeros to `width` digits.
fn parse_number(text: &str, width: usize) -> Option<u64> {
    let padded = text.len() > width && text.starts_with('0');
    if padded {
        return None;
    }
    parse_digits(text)
}

fn parse_digits(text: &str) -> Option<u64> {
    // `u64::from_str` accepts a sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// Gives each message its id.
#[derive(Debug)]
pub(crate) struct IdSource {
    hostname: String,
    process: u32,
    last: Mutex<Last>,
}

/// A count that another process would have to guess.
pub(crate) fn random_count() -> u32 {
    let mut random = [0; 4];
    // Never empty: the kernel's pool is ready long before a server starts.
    let read = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    match read {
        Ok(4) => u32::from_ne_bytes(random) % (LAST_COUNT + 1),
        _ => Timestamp::now().subsec_nanosecond().unsigned_abs() % (LAST_COUNT + 1),
    }
}

/// Time and counter of the last id.
#[derive(Clone, Copy, Debug)]
struct Last {
    /// Since 1970 in UTC.
    microseconds: i64,
    count: u32,
}

impl Last {
    /// The next time and counter, given the clock.
    fn next(self, now: i64) -> Last {
        if self.count < LAST_COUNT {
            return Last {
                microseconds: now.max(self.microseconds),
                count: self.count + 1,
            };
        }
        Last {
            microseconds: now.max(self.microseconds.saturating_add(1)),
            count: 0,
        }
    }
}

impl IdSource {
    /// Ids of the server `hostname`, made by the process `process`, which counts
    /// on from `count`.
    pub(crate) fn new(hostname: &str, process: u32, count: u32) -> IdSource {
        IdSource {
            hostname: hostname.to_owned(),
            process,
            last: Mutex::new(Last {
                microseconds: 0,
                count,
            }),
        }
    }

    /// The id of a message whose DATA is accepted at `now`.
    pub(crate) fn next(&self, now: Timestamp) -> MessageId {
        let next = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            *last = last.next(now.as_microsecond());
            *last
        };
        let time = Timestamp::from_microsecond(next.microseconds).unwrap_or(now);
        MessageId::new(time, self.process, next.count.into(), &self.hostname)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(microseconds: i64) -> Timestamp {
        Timestamp::from_microsecond(microseconds).unwrap()
    }

    #[test]
    fn an_id_has_the_time_the_process_and_the_server() {
        let ids = IdSource::new("mms-1.example_net", 4711, 0);
        let id = ids.next("2026-11-21T20:05:52.000123Z".parse().unwrap());
        assert_eq!(
            id.as_str(),
            "20261121T200552.000123Z-4711-000001@mms-1.example_net"
        );
        assert_eq!(id.time().to_string(), "2026-11-21T20:05:52.000123Z");
        assert_eq!((id.process(), id.count()), (4711, 1));
        assert_eq!(id.server(), "mms-1.example_net");
        assert_eq!(id.short(), "4711-000001");
    }

    #[test]
    fn an_id_that_was_written_is_parsed_into_the_same() {
        let first = Timestamp::from_microsecond(0).unwrap();
        let last = "9999-12-30T21:59:59.999999Z".parse().unwrap();
        for time in [first, last, at(1_800_000_000_000_123)] {
            for (process, count) in [(0, 0), (1, 999_999), (u32::MAX, u64::MAX)] {
                for server in ["a", "A-b_c.d", &"a".repeat(MAX_SERVER_NAME)] {
                    let id = MessageId::new(time, process, count, server);
                    assert_eq!(MessageId::parse(id.as_str()), Some(id));
                }
            }
        }
    }

    #[test]
    fn what_is_parsed_would_be_written_as_it_was() {
        for text in [
            "20261121T200552.000123Z-0-000000@a",
            "20261121T200552.999999Z-4294967295-1000000@A-b_c.d",
            "00010101T000000.000000Z-7-18446744073709551615@a",
        ] {
            let id = MessageId::parse(text).unwrap();
            let again = MessageId::new(id.time(), id.process(), id.count(), id.server());
            assert_eq!((again.as_str(), &again), (text, &id));
        }
    }

    #[test]
    fn anything_else_is_no_id() {
        let too_long = format!("20261121T200552.000123Z-1-000001@{}", "a".repeat(191));
        for text in [
            "",
            "note",
            "1643149063.M123456P42.host",
            "20261121T200552.000123Z-1-000001",
            "20261121T200552.000123Z-1-000001@",
            "20261121T200552.000123Z-1-000001@a b",
            "20261121T200552.000123Z-1-000001@a/b",
            "20261121T200552.000123Z-1-000001@a@b",
            "20261121T200552.000123Z-1-00001@a",
            "20261121T200552.000123Z-1-0000001@a",
            "20261121T200552.000123Z-01-000001@a",
            "20261121T200552.000123Z-+1-000001@a",
            "20261121T200552.000123Z-1-+00001@a",
            "20261121T200552.000123Z-4294967296-000001@a",
            "20261121T200552.000123Z--000001@a",
            "20261121T200552.00123Z-1-000001@a",
            "20261121T200552.000123-1-000001@a",
            "20261121 200552.000123Z-1-000001@a",
            "20261321T200552.000123Z-1-000001@a",
            "2026112éT20552.000123Z-1-000001@a",
            &too_long,
        ] {
            assert_eq!(MessageId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn ids_increase_while_the_clock_steps_back() {
        let ids = IdSource::new("a", 1, 0);
        let now = 1_800_000_000_000_000;
        let found: Vec<_> = [now, now, now - 3_600_000_000, now - 1, now + 1]
            .map(|microseconds| ids.next(at(microseconds)))
            .into();
        assert!(found.is_sorted_by(|a, b| a < b), "{found:?}");
    }

    #[test]
    fn two_lives_of_one_process_id_that_see_the_same_time_make_different_ids() {
        let now = at(1_800_000_000_000_000);
        let mut first: Vec<_> = (0..20)
            .map(|_| IdSource::new("a", 1, random_count()).next(now))
            .collect();
        first.sort();
        first.dedup();
        // Two of 20 are equal once in 5,000 runs, three of them hardly ever.
        assert!(first.len() >= 19, "{first:?}");
    }

    #[test]
    fn a_counter_past_its_last_starts_again_one_microsecond_later() {
        let last = Last {
            microseconds: 5,
            count: LAST_COUNT,
        };
        let next = last.next(5);
        assert_eq!((next.microseconds, next.count), (6, 0));
        let next = last.next(9);
        assert_eq!((next.microseconds, next.count), (9, 0));
    }
}

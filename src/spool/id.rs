//! The ids of mails: `YYYYMMDDTHHMMSS.uuuuuuZ-P-N@NAME`.
//!
//! Strictly increasing, as text, within a process; unique across restarts by
//! the time and the process id, across servers by their names. When the clock
//! steps back the time of the ids stands still until it has caught up.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

/// The last counter before it starts again: it always has six digits.
const LAST_COUNT: u32 = 999_999;

/// The id of one mail; also its file name, less the `.eml`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageId(Arc<str>);

impl MessageId {
    /// The id as it stands in the 250 and in the trace.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the file in tmp/ and new/.
    pub fn file_name(&self) -> String {
        format!("{}.eml", self.0)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Gives each mail its id.
#[derive(Debug)]
pub struct IdSource {
    hostname: String,
    process: u32,
    last: Mutex<Last>,
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
    /// Ids of the server `hostname`, made by the process `process`.
    pub fn new(hostname: &str, process: u32) -> IdSource {
        IdSource {
            hostname: hostname.to_owned(),
            process,
            last: Mutex::new(Last {
                microseconds: 0,
                count: 0,
            }),
        }
    }

    /// The id of a mail whose DATA is accepted at `now`, and the time it names.
    pub fn next(&self, now: Timestamp) -> (MessageId, Timestamp) {
        let next = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            *last = last.next(now.as_microsecond());
            *last
        };
        let time = Timestamp::from_microsecond(next.microseconds).unwrap_or(now);
        let id = format!(
            "{}-{}-{:06}@{}",
            time.strftime("%Y%m%dT%H%M%S.%6fZ"),
            self.process,
            next.count,
            self.hostname
        );
        (MessageId(id.into()), time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(microseconds: i64) -> Timestamp {
        Timestamp::from_microsecond(microseconds).unwrap()
    }

    #[test]
    fn an_id_names_the_time_the_process_and_the_server() {
        let ids = IdSource::new("mms.example.net", 4711);
        let (id, time) = ids.next("2026-11-21T20:05:52.000123Z".parse().unwrap());
        assert_eq!(
            id.as_str(),
            "20261121T200552.000123Z-4711-000001@mms.example.net"
        );
        assert_eq!(time.to_string(), "2026-11-21T20:05:52.000123Z");
    }

    #[test]
    fn ids_increase_while_the_clock_steps_back() {
        let ids = IdSource::new("a", 1);
        let now = 1_800_000_000_000_000;
        let found: Vec<_> = [now, now, now - 3_600_000_000, now - 1, now + 1]
            .map(|microseconds| ids.next(at(microseconds)).0)
            .into();
        assert!(found.is_sorted_by(|a, b| a < b), "{found:?}");
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

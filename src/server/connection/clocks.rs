//! The clocks of a connection: until when a client is waited for, and how fast a
//! message must arrive.

use std::time::{Duration, Instant};

use super::Connection;
use crate::server::stream::Clock;

/// Over which time the bytes per second of a message are averaged.
const PACE_WINDOW: Duration = Duration::from_secs(60);

impl<'s> Connection<'s> {
    /// When the wait for the client's next bytes ends, and what else ends it.
    pub(super) fn clock(&self) -> Clock<'s> {
        let mut deadline = self.silence_deadline();
        if self.has_floor() {
            let rest = PACE_WINDOW.saturating_sub(self.pace.waited);
            deadline = deadline.min(Instant::now() + rest);
        }
        let grace_end = self.shared.stop.grace_end();
        for end in [self.reserved_until, grace_end].into_iter().flatten() {
            deadline = deadline.min(end);
        }
        Clock {
            deadline,
            // A message in progress is ended by its deadline, which a shutdown
            // shortens.
            stop: (grace_end.is_none() || !self.session.is_receiving_mail())
                .then(|| self.shared.stop.sessions()),
        }
    }

    /// How long the client has to read its replies: as long as it may be silent.
    pub(super) fn write_clock(&self) -> Clock<'s> {
        let mut deadline = Instant::now() + self.shared.clocks.timeout;
        if !self.session.is_logged_in() {
            deadline = deadline.min(self.login_deadline);
        }
        Clock {
            deadline,
            stop: (!self.session.is_receiving_mail()).then(|| self.shared.stop.sessions()),
        }
    }

    pub(super) fn silence_deadline(&self) -> Instant {
        let silence = self.heard + self.shared.clocks.timeout;
        if self.session.is_logged_in() {
            silence
        } else {
            silence.min(self.login_deadline)
        }
    }

    /// Whether the server shuts down and no message in progress keeps the client.
    pub(super) fn is_sent_away(&self) -> bool {
        self.shared.stop.grace_end().is_some() && !self.session.is_receiving_mail()
    }

    pub(super) fn is_past_grace(&self) -> bool {
        let grace_end = self.shared.stop.grace_end();
        grace_end.is_some_and(|grace_end| Instant::now() >= grace_end)
    }

    pub(super) fn has_floor(&self) -> bool {
        self.session.is_receiving_mail() && self.shared.clocks.min_rate > 0
    }

    /// Counts the bytes of a message that a wait has brought.
    pub(super) fn is_too_slow(&mut self, waited: Duration, bytes: usize) -> bool {
        self.has_floor()
            && self
                .pace
                .is_too_slow(waited, bytes as u64, self.shared.clocks.min_rate)
    }
}

/// How fast a message arrives, over one window.
#[derive(Default)]
pub(super) struct Pace {
    /// Only the time that the client was waited for counts.
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Counts a wait, and checks each full window in which something arrived:
    /// silence has a limit of its own.
    fn is_too_slow(&mut self, waited: Duration, bytes: u64, min_rate: u64) -> bool {
        self.waited += waited;
        self.bytes += bytes;
        if self.waited < PACE_WINDOW {
            return false;
        }
        let window = std::mem::take(self);
        let floor = min_rate.saturating_mul(window.waited.as_secs());
        (1..floor).contains(&window.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After which of these waits (seconds, bytes received) the client is too slow
    /// for 100 bytes per second.
    fn judged(waits: impl IntoIterator<Item = (u64, u64)>) -> Option<usize> {
        let mut pace = Pace::default();
        waits
            .into_iter()
            .position(|(seconds, bytes)| pace.is_too_slow(Duration::from_secs(seconds), bytes, 100))
    }

    #[test]
    fn a_byte_a_minute_is_too_slow_after_two_of_them() {
        assert_eq!(judged([(59, 1), (59, 1), (59, 1)]), Some(1));
        assert_eq!(judged([(250, 1)]), Some(0));
        assert_eq!(judged(std::iter::repeat_n((1, 99), 100)), Some(59));
    }

    #[test]
    fn the_floor_itself_and_a_pause_are_not() {
        assert_eq!(judged(std::iter::repeat_n((1, 100), 600)), None);
        // Silence is not the floor's; what follows it has a new window.
        assert_eq!(
            judged([(60, 0), (60, 0), (60, 0), (30, 0), (30, 6000)]),
            None
        );
        assert_eq!(judged([(0, 1), (59, 0)]), None);
    }
}

//! A limit on lines that any stranger can cause, as often as it likes, without
//! an account: a few per window are logged, the others are counted, and the
//! count is logged when the window ends.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines of one kind that are logged in one window.
pub(super) const LINES: u32 = 20;

/// How long a window lasts.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);

/// One kind of line.
pub(super) struct Limit {
    /// What the lines say, for the line that counts them.
    pub(super) line: &'static str,
    window: Mutex<Option<Window>>,
}

struct Window {
    start: Instant,
    logged: u32,
    suppressed: u64,
}

impl Limit {
    pub(super) const fn new(line: &'static str) -> Limit {
        Limit {
            line,
            window: Mutex::new(None),
        }
    }

    /// Counts a line at `now`; whether it is to be logged.
    pub(super) fn admits(&self, now: Instant) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let window = window.get_or_insert(Window {
            start: now,
            logged: 0,
            suppressed: 0,
        });
        // A window with suppressed lines lasts until their number is taken.
        if window.suppressed == 0 && now.duration_since(window.start) >= WINDOW {
            (window.start, window.logged) = (now, 0);
        }
        if window.logged < LINES {
            window.logged += 1;
            return true;
        }
        window.suppressed = window.suppressed.saturating_add(1);
        false
    }

    /// Whether lines were suppressed whose number has not been taken.
    pub(super) fn is_suppressing(&self) -> bool {
        let window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.as_ref().is_some_and(|window| window.suppressed > 0)
    }

    /// The number of suppressed lines, and over how long, once the window has
    /// ended, or at once when that is not waited for.
    pub(super) fn take_suppressed(&self, now: Instant, at_once: bool) -> Option<(u64, Duration)> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let lasted = now.duration_since(window.as_ref()?.start);
        if !at_once && lasted < WINDOW {
            return None;
        }
        let suppressed = window.take()?.suppressed;
        (suppressed > 0).then_some((suppressed, lasted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_limit_is_counted_and_the_count_is_given_once() {
        let limit = Limit::new("line");
        let start = Instant::now();
        let admitted = (0..1000).filter(|_| limit.admits(start)).count();
        assert_eq!(admitted, LINES as usize);
        assert_eq!(limit.take_suppressed(start, false), None);
        let end = start + WINDOW;
        // Nothing is admitted before the count is taken, so no count is lost.
        assert!(!limit.admits(end));
        let suppressed = 1001 - u64::from(LINES);
        assert_eq!(
            limit.take_suppressed(end, false),
            Some((suppressed, WINDOW))
        );
        assert_eq!(limit.take_suppressed(end, true), None);
        assert!(limit.admits(end));
    }

    #[test]
    fn few_lines_are_never_suppressed() {
        let limit = Limit::new("line");
        let mut now = Instant::now();
        for _ in 0..1000 {
            assert!(limit.admits(now));
            now += WINDOW / (LINES - 1);
        }
        assert_eq!(limit.take_suppressed(now, true), None);
    }
}

//! The free space of the spool's file system, shared out to transactions before
//! they need it.
//!
//! A transaction reserves the bytes that its message may need. When the file
//! system has less free than all reservations together and `--min-free`, the
//! next transaction is refused while those that were accepted can finish. A
//! reservation shrinks as the message arrives and takes the space itself. The
//! guard is an estimate: other programs write to the same file system, so a
//! write may still fail, and then the message gets 452.
//!
//! While there is plenty, the file system is asked every 100 ms only. What is
//! promised and written meanwhile is counted, and so is [`MARGIN`] for others.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Spool;
use super::disk::Disk;
use crate::log;

/// How long an answer of the file system counts.
const FRESH: Duration = Duration::from_millis(100);

/// Bytes beyond what is needed below which the file system is asked each time: what
/// others may write, and what it takes to store small messages, in [`FRESH`].
const MARGIN: u64 = 256 * 1024 * 1024;

/// How much room there must be.
#[derive(Clone, Copy, Debug)]
pub struct Reserve {
    /// Bytes that one message may need.
    pub max_message_size: u64,
    /// Bytes that stay free beside all reservations; 0 turns the guard off.
    pub min_free: u64,
}

/// Counts the bytes that are reserved and not yet written.
pub(super) struct Space {
    disk: Arc<dyn Disk>,
    reserve: Reserve,
    reserved: AtomicU64,
    low: AtomicBool,
    /// Bytes received since the start.
    received: AtomicU64,
    last: Mutex<Option<Asked>>,
}

/// What the file system said when it was last asked.
#[derive(Clone, Copy)]
struct Asked {
    /// Bytes that were free.
    free: u64,
    at: Instant,
    /// [`Space::received`] at that time.
    received: u64,
}

impl Space {
    pub(super) fn new(disk: Arc<dyn Disk>, reserve: Reserve) -> Space {
        Space {
            disk,
            reserve,
            reserved: AtomicU64::new(0),
            low: AtomicBool::new(false),
            received: AtomicU64::new(0),
            last: Mutex::new(None),
        }
    }

    /// Adds `bytes` to what is reserved; `false` when there is no room for them.
    fn take(&self, bytes: u64) -> bool {
        let reserved = self.reserved.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if self.has_room(reserved) {
            return true;
        }
        self.give_back(bytes);
        false
    }

    fn give_back(&self, bytes: u64) {
        self.reserved.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn has_room(&self, reserved: u64) -> bool {
        let Reserve {
            max_message_size,
            min_free,
        } = self.reserve;
        if min_free == 0 {
            return true;
        }
        let needed = reserved.saturating_add(min_free);
        if self.had_plenty(needed) {
            return true;
        }
        let (at, received) = (Instant::now(), self.received.load(Ordering::Relaxed));
        // If the file system does not answer, the draft fails and gets 452.
        let free = self.disk.free().unwrap_or(u64::MAX);
        *self.last() = Some(Asked { free, at, received });
        if free < needed {
            if !self.low.swap(true, Ordering::Relaxed) {
                log::space_low(self.disk.path(), min_free, free, needed);
            }
            return false;
        }
        // Room for this message and not for the next is not worth a log line.
        let ample = free >= needed.saturating_add(max_message_size);
        if ample && self.low.swap(false, Ordering::Relaxed) {
            log::space_available(free, needed);
        }
        true
    }

    /// Whether the last answer of the file system is recent and shows enough space.
    fn had_plenty(&self, needed: u64) -> bool {
        if self.low.load(Ordering::Relaxed) {
            return false;
        }
        let Some(asked) = *self.last() else {
            return false;
        };
        let received = self.received.load(Ordering::Relaxed);
        let free = asked
            .free
            .saturating_sub(received.saturating_sub(asked.received));
        free >= needed.saturating_add(MARGIN) && asked.at.elapsed() < FRESH
    }

    /// Counts bytes that are no more reserved, but written.
    fn receive(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
        self.give_back(bytes);
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<Asked>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spool {
    /// Whether there is less free than the reserve and a message of the maximum size.
    pub fn is_short_of_space(&self) -> bool {
        !self.space.has_room(self.space.reserve.max_message_size)
    }

    /// Reserves space for a message of up to `bytes`, held until it is dropped.
    /// `None` when the file system has less free than all reservations together
    /// and the reserve.
    pub fn reserve(&self, bytes: u64) -> Option<Reservation> {
        self.space.take(bytes).then(|| Reservation {
            space: Arc::clone(&self.space),
            left: bytes,
            received: 0,
        })
    }
}

/// Space for one message.
pub struct Reservation {
    space: Arc<Space>,
    /// Bytes that are reserved and not yet received.
    left: u64,
    /// Bytes of the message so far.
    received: u64,
}

impl Reservation {
    /// Counts bytes of the message, which now take space themselves. A message
    /// that outgrows what its client announced reserves the rest of the maximum
    /// size; `false` when there is no room for that.
    #[must_use]
    pub fn receive(&mut self, bytes: u64) -> bool {
        self.received = self.received.saturating_add(bytes);
        if bytes > self.left {
            let max = self.space.reserve.max_message_size;
            let more = max.saturating_sub(self.received).saturating_add(bytes) - self.left;
            if !self.space.take(more) {
                return false;
            }
            self.left += more;
        }
        self.left -= bytes;
        self.space.receive(bytes);
        true
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.space.give_back(self.left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::maildir::Maildir;

    /// A spool whose maximum message takes two thirds of what is free. Other
    /// programs may use the disk meanwhile, but not that much of it.
    fn spool(dir: &tempfile::TempDir) -> (Arc<Spool>, u64) {
        let maildir = Maildir::open(dir.path(), "here").unwrap();
        let max_message_size = maildir.free().unwrap() / 3 * 2;
        let reserve = Reserve {
            max_message_size,
            min_free: 1,
        };
        let (spool, _) = Spool::new(maildir, "here", reserve);
        (Arc::new(spool), max_message_size)
    }

    #[test]
    fn a_message_reserves_what_it_announces_and_gives_it_back() {
        let dir = tempfile::tempdir().unwrap();
        let (spool, max) = spool(&dir);
        let small: Vec<_> = (0..100).map(|_| spool.reserve(1000).unwrap()).collect();
        let large = spool.reserve(max).unwrap();
        assert!(spool.reserve(max).is_none());
        assert!(spool.reserve(1000).is_some());
        drop(large);
        assert!(spool.reserve(max).is_some());
        drop(small);
        assert_eq!(spool.space.reserved.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_reservation_shrinks_as_the_message_arrives_and_grows_when_it_is_larger() {
        let dir = tempfile::tempdir().unwrap();
        let (spool, max) = spool(&dir);
        let reserved = || spool.space.reserved.load(Ordering::Relaxed);
        let mut announced = spool.reserve(1000).unwrap();
        assert!(announced.receive(400));
        assert_eq!(reserved(), 600);
        // Larger than it announced: from now on it may be of any size.
        assert!(announced.receive(601));
        assert_eq!(reserved(), max - 1001);
        assert!(announced.receive(max - 1001));
        assert_eq!(reserved(), 0);
        let mut other = spool.reserve(0).unwrap();
        let _large = spool.reserve(max).unwrap();
        assert!(!other.receive(1));
        drop(other);
        assert_eq!(reserved(), max);
    }

    #[test]
    fn an_answer_of_the_file_system_is_enough_while_it_is_fresh_and_there_is_plenty() {
        let dir = tempfile::tempdir().unwrap();
        let (spool, max) = spool(&dir);
        let space = &spool.space;
        let plenty = 10 * max + MARGIN;
        let answer = |free, at| {
            let received = space.received.load(Ordering::Relaxed);
            *space.last() = Some(Asked { free, at, received });
        };
        // An instant to come does not age.
        let later = Instant::now() + Duration::from_secs(3600);
        answer(plenty, later);
        assert!(space.had_plenty(10 * max) && !space.had_plenty(10 * max + 1));
        let _many: Vec<_> = (0..9).map(|_| spool.reserve(max).unwrap()).collect();
        // What is written is no longer free, though it is no longer reserved.
        let mut last = spool.reserve(max / 2).unwrap();
        assert!(last.receive(max / 2));
        assert!(space.had_plenty(10 * max - max / 2));
        assert!(!space.had_plenty(10 * max - max / 2 + 1));
        // Then, or when that was long ago, the file system is asked: it has less.
        assert!(spool.reserve(max).is_none());
        assert!(space.low.load(Ordering::Relaxed));
        answer(plenty, later);
        assert!(!space.had_plenty(0));
        space.low.store(false, Ordering::Relaxed);
        assert!(space.had_plenty(0));
        answer(plenty, Instant::now() - FRESH);
        assert!(!space.had_plenty(0));
    }
}

//! Whether the spool takes messages at this time.
//!
//! The state changes only by a probe ([`Disk::probe`]), which the writer runs
//! when a step has failed, and every few seconds while the spool does not work.
//! Each change is one line in the log. A single failure that a probe does not
//! confirm refuses its own message and changes nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::disk::Disk;
use crate::log;

/// Time between two probes of a spool that does not work.
pub(crate) const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// Time between two looks at a spool that works.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Shared by the sessions and the writer.
pub(crate) struct Availability {
    disk: Arc<dyn Disk>,
    /// What the last probe or step found.
    available: AtomicBool,
    /// A step has failed since the last probe began.
    suspect: AtomicBool,
    /// When the last look found nothing wrong.
    looked: Mutex<Option<Instant>>,
}

impl Availability {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Availability {
        Availability {
            disk,
            available: AtomicBool::new(true),
            suspect: AtomicBool::new(false),
            looked: Mutex::new(None),
        }
    }

    /// What the last probe found.
    pub(crate) fn is_available(&self) -> bool {
        self.available.load(Ordering::Relaxed)
    }

    /// Asks for a probe; true if nobody else has since the last one.
    pub(crate) fn suspect(&self) -> bool {
        !self.suspect.swap(true, Ordering::Relaxed)
    }

    /// Whether a probe was asked for.
    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }

    /// Looks, at most once a second, for what can be seen without writing.
    pub(crate) fn look(&self) -> bool {
        let now = Instant::now();
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.is_some_and(|last| now.duration_since(last) < LOOK_INTERVAL) {
            return true;
        }
        let works = self.disk.check_in_place().is_ok() && self.disk.check_writable().is_ok();
        *looked = works.then_some(now);
        works
    }

    /// Probes the disk, and logs what has changed.
    pub(crate) fn probe(&self) {
        self.suspect.store(false, Ordering::Relaxed);
        let result = self.disk.probe();
        if matches!(&result, Err(error) if error.is_shortage_of_descriptors()) {
            return;
        }
        // On a full disk each message is answered 452, and the greeting is given.
        let result = match result {
            Err(error) if error.is_shortage_of_space() => Ok(()),
            result => result,
        };
        let was_available = self.available.swap(result.is_ok(), Ordering::Relaxed);
        match result {
            Ok(()) if !was_available => log::spool_available(),
            Err(error) if was_available => log::spool_unavailable(&error),
            _ => {}
        }
    }
}

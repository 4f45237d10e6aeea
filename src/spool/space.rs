//! The free space of the spool's file system, shared out to transactions before
//! they need it.
//!
//! A transaction reserves the bytes that its message may need. When the file
//! system has less free than all reservations together and `--min-free`, the
//! next transaction is refused while those that were accepted can finish. The
//! guard is an estimate: other programs write to the same file system, so a
//! write may still fail, and then the message gets 452.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Spool;
use super::disk::Disk;
use crate::log;

/// How much room there must be.
#[derive(Clone, Copy, Debug)]
pub struct Reserve {
    /// Bytes that one message may need.
    pub max_message_size: u64,
    /// Bytes that stay free beside the open transactions; 0 turns the guard off.
    pub min_free: u64,
}

/// Counts the open transactions, each of which may need room for one message
/// of the maximum size.
pub(super) struct Space {
    disk: Arc<dyn Disk>,
    reserve: Reserve,
    open: AtomicU64,
    low: AtomicBool,
}

impl Space {
    pub(super) fn new(disk: Arc<dyn Disk>, reserve: Reserve) -> Space {
        Space {
            disk,
            reserve,
            open: AtomicU64::new(0),
            low: AtomicBool::new(false),
        }
    }
}

impl Spool {
    /// Room for one more transaction, held until it is dropped. `None` when the
    /// file system has less free than one maximum message for each open
    /// transaction plus the reserve.
    pub fn reserve(&self) -> Option<Reservation> {
        let space = &self.space;
        let open = space.open.fetch_add(1, Ordering::Relaxed) + 1;
        let reservation = Reservation {
            space: Arc::clone(space),
        };
        if space.reserve.min_free == 0 {
            return Some(reservation);
        }
        let needed = open
            .saturating_mul(space.reserve.max_message_size)
            .saturating_add(space.reserve.min_free);
        // If the file system does not answer, the draft fails and gets 452.
        let free = space.disk.free().unwrap_or(u64::MAX);
        if free < needed {
            if !space.low.swap(true, Ordering::Relaxed) {
                log::space(true, free, needed);
            }
            return None;
        }
        // Room for this one and not for the next is not worth a log line.
        let ample = free >= needed.saturating_add(space.reserve.max_message_size);
        if ample && space.low.swap(false, Ordering::Relaxed) {
            log::space(false, free, needed);
        }
        Some(reservation)
    }
}

/// Room for one transaction.
pub struct Reservation {
    space: Arc<Space>,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.space.open.fetch_sub(1, Ordering::Relaxed);
    }
}

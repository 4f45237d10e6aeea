//! How many syncs of new/ are under way, and whether the disk is slow.

use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A sync that takes longer is a slow one. Memory takes tenths of this, a disk that
/// has to move or to answer over a network takes more.
const SLOW: Duration = Duration::from_millis(1);
/// By how many the slow syncs outnumber the others on a slow disk. On a busy machine
/// some of a fast disk are slow, too: a fifth with 128 connections on two cores.
const MANY: u8 = 4;
/// The count ends here, so that a disk that gets faster is noticed.
const MOST: u8 = 2 * MANY;

/// The syncs of new/ that are under way.
#[derive(Debug, Default)]
pub(crate) struct Syncs {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    under_way: usize,
    /// Slow ones less the others, of the last few.
    slow: u8,
    /// The writer waits for one to end. To wake nobody costs a system call, too.
    is_awaited: bool,
}

/// A sync that is under way, until this is dropped.
#[derive(Debug)]
pub(crate) struct SyncPermit(Arc<Syncs>);

impl Syncs {
    /// Begins one as soon as fewer than `limit` are under way. Only the writer may wait.
    pub(crate) fn begin(self: &Arc<Self>, limit: usize) -> SyncPermit {
        self.wait_for_fewer_than(limit).under_way += 1;
        SyncPermit(Arc::clone(self))
    }

    /// Waits for the end of all. Only the writer may wait.
    pub(crate) fn wait_for_all(&self) {
        drop(self.wait_for_fewer_than(1));
    }

    /// Whether most of the last ones were slow.
    pub(crate) fn are_slow(&self) -> bool {
        self.lock().slow >= MANY
    }

    fn wait_for_fewer_than(&self, limit: usize) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while state.under_way >= limit {
            state.is_awaited = true;
            let woken = self.ended.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SyncPermit {
    /// Remembers how long it took. One that failed says nothing of the disk's speed.
    pub(crate) fn took(&self, time: Duration) {
        let mut state = self.0.lock();
        state.slow = match time > SLOW {
            true => MOST.min(state.slow + 1),
            false => state.slow.saturating_sub(1),
        };
    }
}

impl Drop for SyncPermit {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.under_way -= 1;
        if mem::take(&mut state.is_awaited) {
            drop(state);
            self.0.ended.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::thread;

    #[test]
    fn the_next_one_begins_when_there_is_room_and_all_can_be_awaited() {
        let syncs = Arc::<Syncs>::default();
        let first = syncs.begin(2);
        let second = syncs.begin(2);
        let (say, said) = channel();
        let writer = thread::spawn({
            let syncs = Arc::clone(&syncs);
            move || {
                let third = syncs.begin(2);
                say.send("begun").unwrap();
                drop(third);
                syncs.wait_for_all();
                say.send("alone").unwrap();
            }
        });
        // Whether it waits by now or not.
        assert!(said.recv_timeout(Duration::from_millis(20)).is_err());
        drop(second);
        let long = Duration::from_secs(60);
        assert_eq!(said.recv_timeout(long), Ok("begun"));
        assert!(said.recv_timeout(Duration::from_millis(20)).is_err());
        drop(first);
        assert_eq!(said.recv_timeout(long), Ok("alone"));
        writer.join().unwrap();
    }

    #[test]
    fn a_disk_is_slow_while_most_of_its_syncs_are() {
        let syncs = Arc::<Syncs>::default();
        let sync = syncs.begin(1);
        let slow = |times: u8| (0..times).for_each(|_| sync.took(2 * SLOW));
        let fast = |times: u8| (0..times).for_each(|_| sync.took(SLOW / 2));
        for _ in 0..100 {
            slow(1);
            fast(3);
        }
        assert!(!syncs.are_slow());
        slow(MANY);
        assert!(syncs.are_slow());
        for _ in 0..100 {
            slow(3);
            fast(1);
        }
        assert!(syncs.are_slow());
        fast(MOST);
        assert!(!syncs.are_slow());
    }
}

//! Connections whose next request has not arrived yet.
//!
//! Where all places are taken, the one that has waited longest is closed for a new one, so
//! clients that hold places without asking for anything do not keep others out. Nothing
//! fails: a connection that cannot be noted is not closed by this.

use std::collections::VecDeque;
use std::net::{Shutdown, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Those that wait, the longest first.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    streams: VecDeque<(u64, TcpStream)>,
    next: u64,
}

/// A connection that waits until this is dropped.
pub(super) struct Place<'w>(&'w Waiting, u64);

impl Waiting {
    /// Notes that a connection waits.
    pub(super) fn enter(&self, stream: &TcpStream) -> Place<'_> {
        let mut list = self.lock();
        let number = list.next;
        list.next += 1;
        if let Ok(stream) = stream.try_clone() {
            list.streams.push_back((number, stream));
        }
        Place(self, number)
    }

    /// Closes the one that has waited longest, if one waits.
    pub(super) fn end_longest(&self) -> bool {
        let longest = self.lock().streams.pop_front();
        longest.is_some_and(|(_, stream)| stream.shutdown(Shutdown::Both).is_ok())
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0
            .lock()
            .streams
            .retain(|(number, _)| *number != self.1);
    }
}

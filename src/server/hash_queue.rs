//! Whose password is hashed next.
//!
//! A hash costs milliseconds of CPU by design, and anybody who can connect may
//! ask for one. So at most one hash for each core is computed at a time, and the
//! other clients queue. Prefixes take turns, each with its oldest client, so that
//! one peer with many connections delays nobody; prefixes that have logged in
//! before have every other turn, so that a crowd of strangers does not either. A
//! client waits outside this module, on a descriptor, together with its clocks
//! and its socket. The queue is bounded by `--max-connections`.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

use super::peers::Prefix;

/// The queue of clients whose passwords are to be hashed.
pub(crate) struct HashQueue {
    state: Mutex<State>,
}

struct State {
    /// Hashes that may start now. Nobody waits while this is not 0.
    free: usize,
    known: Ring,
    strangers: Ring,
    /// Whether a known prefix had the last turn.
    known_was_last: bool,
}

/// The prefixes that wait, in the order of their turns.
#[derive(Default)]
struct Ring {
    turns: VecDeque<Prefix>,
    waiting: HashMap<Prefix, VecDeque<Arc<Waiter>>>,
}

struct Waiter {
    granted: AtomicBool,
    /// Becomes readable with the turn; `None` when descriptors ran out.
    wake: Option<OwnedFd>,
}

/// What a client has that wants a hash.
pub(crate) enum Place {
    /// Its turn.
    Turn(Turn),
    /// A place in the queue.
    Waiting(Waiting),
}

impl HashQueue {
    /// A queue that lets `at_once` hashes run at a time.
    pub(crate) fn new(at_once: usize) -> Arc<HashQueue> {
        Arc::new(HashQueue {
            state: Mutex::new(State {
                free: at_once.max(1),
                known: Ring::default(),
                strangers: Ring::default(),
                known_was_last: false,
            }),
        })
    }

    /// A turn, or a place in the queue.
    pub(crate) fn enter(self: &Arc<Self>, prefix: Prefix, known: bool) -> Place {
        let mut state = self.lock();
        let queue = Arc::clone(self);
        if state.free > 0 {
            state.free -= 1;
            return Place::Turn(Turn(queue));
        }
        let waiter = Arc::new(Waiter {
            granted: AtomicBool::new(false),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok(),
        });
        state.ring(known).push(prefix, Arc::clone(&waiter));
        Place::Waiting(Waiting {
            queue,
            prefix,
            known,
            waiter,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a turn on.
    fn release(&self) {
        let mut state = self.lock();
        match state.next() {
            Some(waiter) => {
                waiter.granted.store(true, Ordering::SeqCst);
                if let Some(wake) = &waiter.wake {
                    // A counter of 0 always takes a 1.
                    let _ = rustix::io::write(wake, &1_u64.to_ne_bytes());
                }
            }
            None => state.free += 1,
        }
    }
}

impl State {
    fn ring(&mut self, known: bool) -> &mut Ring {
        if known {
            &mut self.known
        } else {
            &mut self.strangers
        }
    }

    fn next(&mut self) -> Option<Arc<Waiter>> {
        let known = !self.known_was_last;
        let (known, waiter) = match self.ring(known).pop() {
            Some(waiter) => (known, waiter),
            None => (!known, self.ring(!known).pop()?),
        };
        self.known_was_last = known;
        Some(waiter)
    }
}

impl Ring {
    fn push(&mut self, prefix: Prefix, waiter: Arc<Waiter>) {
        let waiting = self.waiting.entry(prefix).or_default();
        if waiting.is_empty() {
            self.turns.push_back(prefix);
        }
        waiting.push_back(waiter);
    }

    /// The oldest waiter of the prefix whose turn it is.
    fn pop(&mut self) -> Option<Arc<Waiter>> {
        let prefix = self.turns.pop_front()?;
        let waiting = self.waiting.get_mut(&prefix)?;
        let waiter = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting.remove(&prefix);
        } else {
            self.turns.push_back(prefix);
        }
        waiter
    }

    fn remove(&mut self, prefix: Prefix, waiter: &Arc<Waiter>) {
        let Some(waiting) = self.waiting.get_mut(&prefix) else {
            return;
        };
        waiting.retain(|other| !Arc::ptr_eq(other, waiter));
        if waiting.is_empty() {
            self.waiting.remove(&prefix);
            self.turns.retain(|other| *other != prefix);
        }
    }
}

/// The right to compute one hash, until it is dropped.
pub(crate) struct Turn(Arc<HashQueue>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// A place in the queue, given up when it is dropped.
pub(crate) struct Waiting {
    queue: Arc<HashQueue>,
    prefix: Prefix,
    known: bool,
    waiter: Arc<Waiter>,
}

impl Waiting {
    /// Readable once [`Waiting::turn`] gives the turn. `None` when there was no
    /// descriptor for it: then ask for the turn from time to time.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.waiter.wake.as_ref().map(AsFd::as_fd)
    }

    /// The turn, once it has been granted; it is given once.
    pub(crate) fn turn(&self) -> Option<Turn> {
        let granted = self.waiter.granted.swap(false, Ordering::SeqCst);
        granted.then(|| Turn(Arc::clone(&self.queue)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.ring(self.known).remove(self.prefix, &self.waiter);
        drop(state);
        // A turn that nobody took goes to the next client.
        if self.waiter.granted.load(Ordering::SeqCst) {
            self.queue.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(number: u8) -> Prefix {
        Prefix::of([192, 0, 2, number].into())
    }

    fn turn(place: Place) -> Turn {
        match place {
            Place::Turn(turn) => turn,
            Place::Waiting(_) => panic!("it must wait"),
        }
    }

    fn waiting(place: Place) -> Waiting {
        match place {
            Place::Waiting(waiting) => waiting,
            Place::Turn(_) => panic!("it need not wait"),
        }
    }

    /// The order in which clients of these prefixes get their turns; those over
    /// 100 are known.
    fn order(prefixes: &[u8]) -> Vec<u8> {
        let queue = HashQueue::new(1);
        let mut current = turn(queue.enter(prefix(0), false));
        let mut places: Vec<_> = prefixes
            .iter()
            .map(|&number| {
                let place = queue.enter(prefix(number), number > 100);
                (number, waiting(place))
            })
            .collect();
        let mut order = Vec::new();
        while !places.is_empty() {
            drop(current);
            let granted: Vec<_> = places
                .iter()
                .enumerate()
                .filter(|(_, (_, place))| place.waiter.granted.load(Ordering::SeqCst))
                .map(|(at, _)| at)
                .collect();
            assert_eq!(granted.len(), 1, "one turn at a time");
            let (number, place) = places.remove(granted[0]);
            order.push(number);
            current = place.turn().unwrap();
        }
        drop(current);
        assert_eq!(queue.lock().free, 1);
        order
    }

    #[test]
    fn prefixes_take_turns_however_many_clients_each_has() {
        assert_eq!(order(&[1, 1, 1, 1, 2, 3, 3]), [1, 2, 3, 1, 3, 1, 1]);
    }

    #[test]
    fn known_prefixes_have_every_other_turn() {
        assert_eq!(order(&[1, 2, 3, 101, 102]), [101, 1, 102, 2, 3]);
        assert_eq!(order(&[101, 101, 1]), [101, 1, 101]);
    }

    #[test]
    fn a_client_that_leaves_the_queue_takes_no_turn_with_it() {
        let queue = HashQueue::new(1);
        let first = turn(queue.enter(prefix(1), false));
        let gone = waiting(queue.enter(prefix(2), false));
        let granted = waiting(queue.enter(prefix(2), false));
        let last = waiting(queue.enter(prefix(3), false));
        drop(gone);
        drop(first);
        // It has its turn, and leaves without taking it.
        drop(granted);
        drop(last.turn().expect("the turn of the last client"));
        let state = queue.lock();
        assert_eq!(state.free, 1);
        assert!(state.strangers.turns.is_empty() && state.strangers.waiting.is_empty());
    }
}

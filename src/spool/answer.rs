//! The answer to one session about its message, which sleeps until it is given, by the
//! writer or by another session.
//!
//! A channel of crossbeam would also work, but it spins and yields before it
//! sleeps. The answer takes a disk access, so that is wasted: 8 sched_yield of 28
//! system calls for each message, when it was measured. A condition variable wakes
//! the session while the lock is still held, and it has to sleep once more.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};

/// The half that gives the answer, once. Dropped before that, it reports
/// that there will be none.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    slot: Arc<Mutex<Slot<T>>>,
    session: Thread,
}

/// Between the two halves.
#[derive(Debug)]
enum Slot<T> {
    Empty,
    /// The answer, or that there will be none.
    Given(Option<T>),
    Taken,
}

/// Lets `ask` hand over the answer to be given, and sleeps until it is. `None` if it
/// was dropped.
pub(crate) fn wait<T>(ask: impl FnOnce(Answer<T>)) -> Option<T> {
    let slot = Arc::new(Mutex::new(Slot::Empty));
    ask(Answer {
        slot: Arc::clone(&slot),
        session: thread::current(),
    });
    loop {
        if let Some(answer) = take(&slot) {
            return answer;
        }
        // Others may wake this thread too, for reasons of their own.
        thread::park();
    }
}

fn take<T>(slot: &Mutex<Slot<T>>) -> Option<Option<T>> {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    match mem::replace(&mut *slot, Slot::Taken) {
        Slot::Given(answer) => Some(answer),
        other => {
            *slot = other;
            None
        }
    }
}

impl<T> Answer<T> {
    /// Wakes the session. Only the first answer counts.
    pub(crate) fn say(&self, answer: T) {
        self.give(Some(answer));
    }

    fn give(&self, answer: Option<T>) {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*slot, Slot::Empty) {
            *slot = Slot::Given(answer);
            drop(slot);
            self.session.unpark();
        }
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        self.give(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reaches_a_session_whether_it_sleeps_or_not() {
        assert_eq!(wait(|answer| answer.say(1)), Some(1));
        let writer = |answer: Answer<u8>| {
            thread::spawn(move || {
                thread::sleep(std::time::Duration::from_millis(20));
                answer.say(2);
                answer.say(3);
            });
        };
        // A wake of somebody else's is no answer.
        thread::current().unpark();
        assert_eq!(wait(writer), Some(2));
    }

    #[test]
    fn a_writer_that_dies_gives_no_answer_and_lets_nobody_wait() {
        let writer = |answer: Answer<u8>| {
            let writer = thread::spawn(move || {
                let _answer = answer;
                panic!("as a worker may");
            });
            assert!(writer.join().is_err());
        };
        assert_eq!(wait(writer), None);
        assert_eq!(wait::<u8>(drop), None);
    }
}

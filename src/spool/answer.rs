//! The writer's answer to one session, which sleeps until it is given.
//!
//! A channel of crossbeam would also work, but it spins and yields before it
//! sleeps. The answer takes a disk access, so that is wasted: 8 sched_yield of 28
//! system calls for each message, when it was measured.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::SpoolError;

/// The writer's half: gives the result once. Dropped before that, it reports
/// that the writer has ended.
#[derive(Debug)]
pub(crate) struct Answer(Arc<Slot>);

/// The session's half.
#[derive(Debug)]
pub(crate) struct Question(Arc<Slot>);

#[derive(Debug, Default)]
struct Slot {
    result: Mutex<Option<Result<(), SpoolError>>>,
    answered: Condvar,
}

/// The two halves of one question.
pub(crate) fn question() -> (Answer, Question) {
    let slot = Arc::<Slot>::default();
    (Answer(Arc::clone(&slot)), Question(slot))
}

impl Answer {
    /// Wakes the session. Only the first answer counts.
    pub(crate) fn say(&self, result: Result<(), SpoolError>) {
        let mut slot = self.0.result.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            *slot = Some(result);
            self.0.answered.notify_one();
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.say(Err(SpoolError::writer_gone()));
    }
}

impl Question {
    /// Sleeps until the writer has answered.
    pub(crate) fn wait(self) -> Result<(), SpoolError> {
        let mut slot = self.0.result.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match slot.take() {
                Some(result) => return result,
                None => {
                    slot = self
                        .0
                        .answered
                        .wait(slot)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

impl SpoolError {
    /// The writer's thread has died; the server ends.
    pub(crate) fn writer_gone() -> SpoolError {
        SpoolError::new("reach the writer", io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn an_answer_reaches_a_session_whether_it_sleeps_or_not() {
        let (answer, question) = question();
        answer.say(Ok(()));
        assert!(question.wait().is_ok());
        let (answer, question) = super::question();
        let session = thread::spawn(|| question.wait());
        answer.say(Ok(()));
        assert!(session.join().unwrap().is_ok());
    }

    #[test]
    fn a_writer_that_dies_is_an_error_and_not_a_wait_for_ever() {
        let (answer, question) = question();
        let writer = thread::spawn(move || {
            let _answer = answer;
            panic!("as a worker may");
        });
        assert!(writer.join().is_err());
        assert!(question.wait().is_err());
    }
}

//! The writer's answer to one session, which sleeps until it is given.
//!
//! A channel of crossbeam would also work, but it spins and yields before it
//! sleeps. The answer takes a disk access, so that is wasted: 8 sched_yield of 28
//! system calls for each message, when it was measured. A condition variable wakes
//! the session while the lock is still held, and it has to sleep once more.

use std::io;
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};

use super::SpoolError;

/// The writer's half: gives the result once. Dropped before that, it reports
/// that the writer has ended.
#[derive(Debug)]
pub(crate) struct Answer {
    result: Arc<OnceLock<Result<(), SpoolError>>>,
    session: Thread,
}

/// Lets `ask` hand over the answer to be given, and sleeps until it is.
///
/// # Errors
///
/// What the writer answers, or that it has ended.
pub(crate) fn wait(ask: impl FnOnce(Answer)) -> Result<(), SpoolError> {
    let result = Arc::<OnceLock<_>>::default();
    ask(Answer {
        result: Arc::clone(&result),
        session: thread::current(),
    });
    loop {
        if let Some(result) = result.get() {
            return result.clone();
        }
        // Others may wake this thread too, for reasons of their own.
        thread::park();
    }
}

impl Answer {
    /// Wakes the session. Only the first answer counts.
    pub(crate) fn say(&self, result: Result<(), SpoolError>) {
        if self.result.set(result).is_ok() {
            self.session.unpark();
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.say(Err(SpoolError::writer_gone()));
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

    #[test]
    fn an_answer_reaches_a_session_whether_it_sleeps_or_not() {
        assert!(wait(|answer| answer.say(Ok(()))).is_ok());
        let writer = |answer: Answer| {
            thread::spawn(move || {
                thread::sleep(std::time::Duration::from_millis(20));
                answer.say(Ok(()));
            });
        };
        // A wake of somebody else's is no answer.
        thread::current().unpark();
        assert!(wait(writer).is_ok());
    }

    #[test]
    fn a_writer_that_dies_is_an_error_and_not_a_wait_for_ever() {
        let writer = |answer: Answer| {
            let writer = thread::spawn(move || {
                let _answer = answer;
                panic!("as a worker may");
            });
            assert!(writer.join().is_err());
        };
        assert!(wait(writer).is_err());
        assert!(wait(drop).is_err());
    }
}

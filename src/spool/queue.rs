//! The queue to the writer: a channel whose receiver sleeps at once.
//!
//! A receiver of crossbeam spins and yields before it sleeps, which is for answers
//! that come within a microsecond; the next message takes longer. So the writer only
//! takes from the channel what is there, and otherwise parks its thread; a sender
//! that finds it parked wakes it.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, SendError, Sender, TryRecvError, bounded};

/// A queue of at most `capacity` jobs.
pub(crate) fn queue<T>(capacity: usize) -> (Jobs<T>, Queue<T>) {
    let (sender, receiver) = bounded(capacity);
    let sleeper = Arc::<Sleeper>::default();
    (
        Jobs {
            sender: Some(sender),
            sleeper: Arc::clone(&sleeper),
        },
        Queue { receiver, sleeper },
    )
}

/// The writer's thread, as those see it who may have to wake it.
#[derive(Default)]
struct Sleeper {
    thread: OnceLock<Thread>,
    is_asleep: AtomicBool,
}

impl Sleeper {
    /// Wakes the thread if it sleeps, or is about to. Called after a job was sent:
    /// either this sees that it sleeps, or it sees the job. Who sees that it sleeps
    /// also sees which thread it is.
    fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.is_asleep.load(Ordering::Relaxed) && self.is_asleep.swap(false, Ordering::Acquire) {
            if let Some(thread) = self.thread.get() {
                thread.unpark();
            }
        }
    }
}

/// The sessions' end. The queue ends when it is dropped.
pub(crate) struct Jobs<T> {
    /// `None` only while it is dropped.
    sender: Option<Sender<T>>,
    sleeper: Arc<Sleeper>,
}

impl<T> Jobs<T> {
    /// Sends a job; waits while the queue is full.
    ///
    /// # Errors
    ///
    /// If there is no writer any more.
    pub(crate) fn send(&self, job: T) -> Result<(), SendError<T>> {
        match &self.sender {
            Some(sender) => sender.send(job)?,
            None => return Err(SendError(job)),
        }
        self.sleeper.wake();
        Ok(())
    }

    /// Sends a job unless the queue is full, which keeps the writer awake anyway.
    pub(crate) fn offer(&self, job: T) {
        if let Some(sender) = &self.sender {
            let _ = sender.try_send(job);
        }
        self.sleeper.wake();
    }
}

impl<T> Drop for Jobs<T> {
    fn drop(&mut self) {
        self.sender = None;
        self.sleeper.wake();
    }
}

/// The writer's end.
pub(crate) struct Queue<T> {
    receiver: Receiver<T>,
    sleeper: Arc<Sleeper>,
}

impl<T> Queue<T> {
    /// The next job; sleeps until there is one, `timeout` at most if there is one.
    /// One thread may call it.
    pub(crate) fn next(&self, timeout: Option<Duration>) -> Result<T, RecvTimeoutError> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            if let Some(result) = self.take() {
                return result;
            }
            self.sleeper.thread.get_or_init(thread::current);
            self.sleeper.is_asleep.store(true, Ordering::Release);
            fence(Ordering::SeqCst);
            // A job that came before the store wakes nobody.
            if let Some(result) = self.take() {
                self.sleeper.is_asleep.store(false, Ordering::Relaxed);
                return result;
            }
            match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => thread::park(),
                Some(Duration::ZERO) => return Err(RecvTimeoutError::Timeout),
                Some(left) => thread::park_timeout(left),
            }
        }
    }

    /// What there is without a wait.
    fn take(&self) -> Option<Result<T, RecvTimeoutError>> {
        match self.receiver.try_recv() {
            Ok(job) => Some(Ok(job)),
            Err(TryRecvError::Disconnected) => Some(Err(RecvTimeoutError::Disconnected)),
            Err(TryRecvError::Empty) => None,
        }
    }

    /// The jobs that are there now.
    pub(crate) fn try_iter(&self) -> impl Iterator<Item = T> + '_ {
        self.receiver.try_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each job is answered before the next is sent, so the receiver falls asleep
    /// again and again, and a lost wake would be a wait for ever.
    #[test]
    fn no_job_is_left_to_a_sleeper() {
        const JOBS: u32 = 20_000;
        let (jobs, queue) = queue(4);
        let (seen, answers) = bounded(4);
        let receiver = thread::spawn(move || {
            while let Ok(job) = queue.next(None) {
                seen.send(job).unwrap();
            }
        });
        for job in 0..JOBS {
            jobs.send(job).unwrap();
            let answer = answers.recv_timeout(Duration::from_secs(60));
            assert_eq!(answer, Ok(job), "the receiver slept on");
        }
        drop(jobs);
        receiver.join().unwrap();
    }

    #[test]
    fn a_full_queue_holds_its_senders_until_there_is_room() {
        let (jobs, queue) = queue(1);
        let jobs = Arc::new(jobs);
        let senders: Vec<_> = (0..8)
            .map(|sender| {
                let jobs = Arc::clone(&jobs);
                thread::spawn(move || (0..500).for_each(|_| jobs.send(sender).unwrap()))
            })
            .collect();
        drop(jobs);
        let mut counts = [0; 8];
        while let Ok(sender) = queue.next(Some(Duration::from_secs(60))) {
            counts[sender] += 1;
        }
        assert_eq!(counts, [500; 8]);
        senders
            .into_iter()
            .for_each(|sender| sender.join().unwrap());
    }

    #[test]
    fn the_wait_has_an_end() {
        let (jobs, queue) = queue::<()>(1);
        let short = Some(Duration::from_millis(5));
        assert_eq!(queue.next(short), Err(RecvTimeoutError::Timeout));
        drop(jobs);
        assert_eq!(queue.next(None), Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn a_receiver_that_is_gone_is_an_error() {
        let (jobs, queue) = queue(1);
        drop(queue);
        assert!(jobs.send(()).is_err());
        jobs.offer(());
    }
}

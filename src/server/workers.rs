//! The threads of a listener's connections, one for each; a thread whose client has
//! gone serves the next one that comes within a second.
//!
//! Starting and ending a thread takes about 20 system calls, a third of what a
//! connection with one message takes in all.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::listener::STACK;

/// How long a thread waits for its next client.
const REST: Duration = Duration::from_secs(1);

/// Threads that wait at most: more clients than that seldom come in a second, and
/// each thread keeps the pages of its stack.
const RESTING: usize = 32;

type Work = Box<dyn FnOnce() + Send>;

/// The threads of one listener. Those that rest end when it is dropped.
pub(super) struct Workers {
    /// Takes work only while a thread waits for it.
    hand_over: Sender<Work>,
    waiting: Receiver<Work>,
    resting: Arc<AtomicUsize>,
}

impl Workers {
    pub(super) fn new() -> Workers {
        let (hand_over, waiting) = bounded(0);
        Workers {
            hand_over,
            waiting,
            resting: Arc::default(),
        }
    }

    /// Does `work` in a thread that does nothing else meanwhile.
    ///
    /// # Errors
    ///
    /// If a thread is needed and cannot be started; `work` is dropped.
    pub(super) fn run(&self, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let work: Work = Box::new(work);
        let work = match self.hand_over.try_send(work) {
            Ok(()) => return Ok(()),
            Err(refused) => refused.into_inner(),
        };
        let waiting = self.waiting.clone();
        let resting = Arc::clone(&self.resting);
        thread::Builder::new()
            .name("client".to_owned())
            .stack_size(STACK)
            .spawn(move || {
                let mut next = Some(work);
                while let Some(work) = next {
                    work();
                    next = rest(&waiting, &resting);
                }
            })?;
        Ok(())
    }
}

/// The next work, if there is any in time.
fn rest(waiting: &Receiver<Work>, resting: &AtomicUsize) -> Option<Work> {
    let others = resting.fetch_add(1, Ordering::Relaxed);
    let next = (others < RESTING)
        .then(|| waiting.recv_timeout(REST).ok())
        .flatten();
    resting.fetch_sub(1, Ordering::Relaxed);
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::thread::ThreadId;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// The thread in which the next work is done.
    fn serve(workers: &Workers) -> ThreadId {
        let (sender, receiver) = bounded(1);
        workers
            .run(move || sender.send(thread::current().id()).unwrap())
            .unwrap();
        receiver.recv_timeout(PATIENCE).unwrap()
    }

    #[test]
    fn a_thread_is_used_again() {
        let workers = Workers::new();
        // On a busy machine a thread may be late to rest, and another one starts.
        let threads: HashSet<_> = (0..200).map(|_| serve(&workers)).collect();
        assert!(threads.len() < 200);
    }

    #[test]
    fn clients_at_the_same_time_have_a_thread_each() {
        let workers = Workers::new();
        let _rested = serve(&workers);
        let (sender, receiver) = bounded(0);
        let (started, starts) = bounded(RESTING * 2);
        for _ in 0..RESTING * 2 {
            let (receiver, started): (Receiver<()>, _) = (receiver.clone(), started.clone());
            workers
                .run(move || {
                    started.send(thread::current().id()).unwrap();
                    // Until the test has seen all.
                    let _ = receiver.recv();
                })
                .unwrap();
        }
        let threads: HashSet<_> = (0..RESTING * 2)
            .map(|_| starts.recv_timeout(PATIENCE).unwrap())
            .collect();
        assert_eq!(threads.len(), RESTING * 2);
        drop(sender);
    }

    #[test]
    fn a_panic_ends_its_own_work_only() {
        let workers = Workers::new();
        for _ in 0..10 {
            workers.run(|| panic!("as a session may")).unwrap();
            serve(&workers);
        }
    }
}

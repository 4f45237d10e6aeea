//! The writer: the thread that renames drafts into new/ and syncs the directory.
//!
//! The contents of a draft are already on the device when it gets here, synced
//! by its own session thread, in parallel with others. The writer takes what is
//! queued, renames all of it into new/, syncs the directory once, and answers
//! each. The more messages wait, the fewer directory syncs each of them costs;
//! one that waits alone is not delayed.
//!
//! Measured with `scripts/bench.sh disks`: files of 10 KiB per second, made
//! durable without network or SMTP, on two cores with other work beside it, so
//! compare within a column only; ext4 on a loop device.
//!
//! | | RAM 1 | 16 | 128 threads | disk 1 | 16 | 128 threads |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | this: contents in parallel, names in groups | 3,983 | 11,923 | 8,631 | 1,132 | 4,675 | 9,700 |
//! | threads rename, one syncs the directory | 4,106 | 10,260 | 7,218 | 1,138 | 5,306 | 9,368 |
//! | everything in the writer, one by one | 4,137 | 5,177 | 5,267 | 1,175 | 1,950 | 2,145 |
//! | writeback of a batch started, then waited for | 3,845 | 15,315 | 11,934 | 1,198 | 4,689 | 6,947 |
//! | syncfs once a batch | 3,131 | 13,000 | 12,663 | 829 | 4,105 | 10,249 |
//! | two syncs in every thread | 4,656 | 7,386 | 6,941 | 1,159 | 5,141 | 8,406 |
//!
//! What is faster in RAM is not faster on a disk: started writeback is slower
//! with many threads, and syncfs waits for whatever else is dirty on the file
//! system. No other strategy is among the best in all six columns.
//!
//! Tried and left, each beside the build without it on an idle machine, 10 KiB:
//!
//! - Sessions that do the writer's work in turns (`led`): 10,688 files a second in the
//!   place of 9,972 with 16 threads, 14,129 in the place of 12,024 with 128. One thread
//!   that renames, takes names back and probes is worth more than that.
//! - A wake for one session of a batch, which wakes the others: the writer goes on
//!   sooner, with smaller batches; 6,242 messages a second in the place of 6,938 at 128
//!   connections.
//! - `sched_yield` before the writer sleeps, after it wakes, or before a session
//!   sleeps, one to four times: no difference at 16 and 128 connections.
//!
//! What is left beside a server without rules (`scripts/bench.sh cells`): at 16 and 128
//! connections it has 0.89 to 0.94 of the rate, with 1.07 to 1.14 of the processor time
//! and 0.65 to 0.92 of the time from dot to 250 of the slowest hundredth. By the profile
//! nine tenths of the time are in the kernel, in the calls that both make. The rest
//! is spread over the dialogue, the trace, the summary of the header and the log line,
//! none of them over 1 %; the other server answers by a first letter.

use std::io;
use std::sync::Arc;

use crossbeam_channel::RecvTimeoutError;

use super::SpoolError;
use super::answer::Answer;
use super::availability::{Availability, PROBE_INTERVAL};
use super::disk::Disk;
use super::queue::{Jobs, Queue, queue};
use super::stats::Stats;
use crate::log;

/// Drafts that may wait for the writer; a session that finds it full waits.
const CAPACITY: usize = 1024;
/// Drafts that one directory sync makes durable at most.
const BATCH: usize = 256;

/// What the writer is asked to do.
pub(crate) enum Job {
    /// Publish a draft.
    Publish(Publication),
    /// Find out whether the spool works.
    Probe,
}

/// A synced draft in tmp/ and where its answer goes.
pub(crate) struct Publication {
    /// Its file name, the same in tmp/ and new/.
    pub(crate) name: String,
    /// Given once: the name is durable, or the reason why it is not.
    pub(crate) answer: Answer,
}

/// The queue, and the loop that empties it; the loop ends when the last sender
/// is dropped and the queue is empty.
pub(crate) fn writer(
    disk: Arc<dyn Disk>,
    availability: Arc<Availability>,
    stats: Arc<Stats>,
) -> (Jobs<Job>, impl FnOnce() + Send + 'static) {
    let (sender, jobs) = queue(CAPACITY);
    let writer = Writer {
        disk,
        availability,
        stats,
        jobs,
    };
    (sender, move || writer.run())
}

struct Writer {
    disk: Arc<dyn Disk>,
    availability: Arc<Availability>,
    stats: Arc<Stats>,
    jobs: Queue<Job>,
}

impl Writer {
    fn run(&self) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            match self.receive() {
                Ok(first) => {
                    let jobs = self.jobs.try_iter().take(BATCH - 1);
                    batch.extend(
                        std::iter::once(first)
                            .chain(jobs)
                            .filter_map(|job| match job {
                                Job::Publish(publication) => Some(publication),
                                Job::Probe => None,
                            }),
                    );
                    self.publish(&mut batch);
                    if self.availability.is_suspect() {
                        self.availability.probe();
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.availability.probe(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Waits for a job, and while the spool does not work until the next probe.
    fn receive(&self) -> Result<Job, RecvTimeoutError> {
        let works = self.availability.is_available();
        self.jobs.next((!works).then_some(PROBE_INTERVAL))
    }

    /// Renames, syncs, answers; leaves `batch` empty.
    fn publish(&self, batch: &mut Vec<Publication>) {
        batch.retain(|publication| match self.disk.publish(&publication.name) {
            Ok(()) => true,
            Err(error) => {
                self.availability.suspect();
                let error = SpoolError::new("rename the draft into new/", error);
                publication.answer.say(Err(error));
                false
            }
        });
        if batch.is_empty() {
            return;
        }
        self.stats.batch_size.record(batch.len() as u64);
        match self.make_durable() {
            Ok(()) => {
                for publication in batch.drain(..) {
                    publication.answer.say(Ok(()));
                }
            }
            Err(error) => {
                self.availability.suspect();
                for publication in batch.drain(..) {
                    self.take_back(&publication.name);
                    publication.answer.say(Err(error.clone()));
                }
            }
        }
    }

    /// After this the new names survive a power cut, and nothing that a start
    /// removes refers to the same files.
    fn make_durable(&self) -> Result<(), SpoolError> {
        let disk = &self.disk;
        self.stats.directory_sync.time(|| {
            disk.sync_new().map_err(SpoolError::at("sync new/"))?;
            if disk.renames_are_atomic() {
                return Ok(());
            }
            // The old names must not come back: a start would take them for
            // leftovers, and remove the last link that the file system counts.
            disk.sync_tmp().map_err(SpoolError::at("sync tmp/"))
        })?;
        // Whoever moves new/ after this moves the messages with it.
        disk.check_in_place()
            .map_err(SpoolError::at("publish in new/"))
    }

    /// A name that may not survive a power cut must not stay in new/. If a
    /// consumer has taken it by now, the message is received twice, not lost.
    fn take_back(&self, name: &str) {
        match self.disk.unpublish(name) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => log::cannot_remove("new", name, &error),
        }
    }
}

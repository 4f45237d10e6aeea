//! The writer: the thread that renames drafts into new/ and has the directory synced.
//!
//! The contents of a draft are already on the device when it gets here, synced
//! by its own session thread, in parallel with others. The writer takes what is
//! queued, renames all of it into new/, syncs the directory once, and answers
//! each. The more messages wait, the fewer directory syncs each of them costs;
//! one that waits alone is not delayed.
//!
//! On a disk whose syncs are slow the writer does not sync itself: it hands the batch
//! to the session of one of its messages, which has to wait anyway, and goes on with
//! the messages that have been queued. So they do not wait for the sync under way
//! before their own begins.
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
//! - Sessions that sync on a fast disk, too: the rate is the same with 16 connections, and
//!   0.95 of it with 128 or one, since the batches are smaller.
//! - One sync for a message in the place of two. A sync of new/ takes the names along, and
//!   the contents only where something has written them back before and waited for that,
//!   which sync_file_range(2) does, by unsafe code and with a warning against this use.
//!   With fdatasync left out, and six cuts of the power, messages were partial in 1,337
//!   of 1,748 looks for one on ext4, in 1,173 of 2,457 on XFS, in 855 of 1,781 on btrfs. A sync of
//!   the file after its rename would do both, but a cut before it leaves a name in new/
//!   with nothing in it, and the contract has a sync of new/ as the last step.
//!
//! `scripts/bench.sh slow`, ext4 on a disk that takes 2.5 ms to empty its cache, so a sync
//! takes 5 ms, messages a second; the best is of `disks`, without network or SMTP:
//!
//! | connections | this | the writer syncs | a server without rules | the best |
//! | --- | --- | --- | --- | --- |
//! | 1 | 88 | 89 | 89 | 90 |
//! | 16 | 696 | 691 | 680 | 696 |
//! | 128 | 3,432 | 2,822 | 2,838 | 3,538 |
//!
//! Where only the calls take 5 ms and a file system does not gather them (a preloaded
//! library that sleeps), it is 1,447 in the place of 970 with 16 connections, 0.96 of
//! the best.
//!
//! What is left beside a server without rules (`scripts/bench.sh cells`), which stores in
//! the same way: at 16 and 128 connections it has 0.85 to 0.98 of the rate, with 1.05 to 1.21
//! of the processor time and 0.6 to 0.9 of the time from dot to 250 of the slowest
//! hundredth. Both processors are busy, so the rate follows the processor time. By a
//! profile with 16 connections that is, in microseconds for a message, 191 and 182:
//!
//! | | here | there |
//! | --- | --- | --- |
//! | the calls of both: send, receive, create, write, sync, rename | 150.9 | 149.2 |
//! | waits of sessions and of the writer (futex, sched_yield) | 6.7 | 11.2 |
//! | outside the kernel: dialogue and limits, clocks, trace, header, log line | 19.8 | 10.9 |
//! | the lock of a draft, the looks at new/, its lock and the journal | 5.4 | 1.4 |
//! | other work of the kernel: switches, entry and exit | 8.6 | 8.9 |
//!
//! Landlock and seccomp are 2.3 of it. Outside the kernel no function takes more than 1.4.

use std::sync::Arc;

use crossbeam_channel::RecvTimeoutError;

use super::SpoolError;
use super::availability::{Availability, PROBE_INTERVAL};
use super::batch::{Batch, Publication, Reply};
use super::disk::Disk;
use super::queue::{Jobs, Queue, queue};
use super::stats::Stats;
use super::syncs::Syncs;

/// Drafts that may wait for the writer; a session that finds it full waits.
const CAPACITY: usize = 1024;
/// Drafts that one directory sync makes durable at most.
const BATCH: usize = 256;

/// Syncs of new/ under way at the same time. With more there are fewer messages to each,
/// and more syncs for the disk.
const SYNCS: usize = 8;

/// What the writer is asked to do.
pub(crate) enum Job {
    /// Publish a draft.
    Publish(Publication),
    /// Find out whether the spool works.
    Probe,
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
        syncs: Arc::default(),
    };
    (sender, move || writer.run())
}

struct Writer {
    disk: Arc<dyn Disk>,
    availability: Arc<Availability>,
    stats: Arc<Stats>,
    jobs: Queue<Job>,
    syncs: Arc<Syncs>,
}

impl Writer {
    fn run(&self) {
        loop {
            match self.receive() {
                Ok(first) => self.publish(first),
                Err(RecvTimeoutError::Timeout) => self.probe(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Waits for a job, and while the spool does not work until the next probe.
    fn receive(&self) -> Result<Job, RecvTimeoutError> {
        let works = self.availability.is_available();
        self.jobs.next((!works).then_some(PROBE_INTERVAL))
    }

    /// Renames what is queued, and syncs it or lets a session do so.
    fn publish(&self, first: Job) {
        let limit = self.limit();
        let sync = self.syncs.begin(limit);
        let jobs = std::iter::once(first).chain(self.jobs.try_iter());
        let renamed: Vec<Publication> = jobs
            .take(BATCH)
            .filter_map(|job| match job {
                Job::Publish(publication) => self.rename(publication),
                Job::Probe => None,
            })
            .collect();
        if renamed.is_empty() {
            // The probe waits for it.
            drop(sync);
        } else {
            let batch = Batch::new(&self.disk, &self.stats, renamed, sync);
            if limit > 1 && self.syncs.are_slow() {
                batch.hand_over();
            } else if batch.sync().is_err() {
                self.availability.suspect();
            }
        }
        if self.availability.is_suspect() {
            self.probe();
        }
    }

    /// Publishes one message, or refuses it.
    fn rename(&self, publication: Publication) -> Option<Publication> {
        match self.disk.publish(&publication.name) {
            Ok(()) => Some(publication),
            Err(error) => {
                self.availability.suspect();
                let error = SpoolError::new("rename the draft into new/", error);
                publication.answer.say(Reply::Done(Err(error)));
                None
            }
        }
    }

    /// How many syncs of new/ may be under way.
    fn limit(&self) -> usize {
        match self.disk.syncs_tell_all() {
            true => SYNCS,
            false => 1,
        }
    }

    /// It may open other directories, which the syncs under way must not take for theirs.
    fn probe(&self) {
        self.syncs.wait_for_all();
        self.availability.probe();
    }
}

//! The writer: the one thread that makes names true.
//!
//! Drafts come with their contents already on the device, synced by their own
//! session threads, in parallel. The writer takes what is queued, renames all
//! of it into new/, syncs the directory once, and answers each. The more wait,
//! the fewer directory syncs a mail costs; one that waits alone is not held
//! back for company.
//!
//! Measured again in place (`scripts/bench.sh disks`): files of 10 KiB a second,
//! made durable without network or SMTP, two cores, other work beside it, so
//! read the columns and not the digits; ext4 on a loop device.
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
//! What beats this in RAM does not hold on a disk: started writeback falls
//! behind with many threads, and syncfs waits for whatever else is dirty on the
//! file system. No other stands near the front in all six columns.

use std::io;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::answer::Answer;
use super::disk::Disk;
use super::stats::Stats;
use super::{SpoolError, log};

/// Drafts that may wait for the writer; a session that finds it full waits.
const QUEUE: usize = 1024;
/// Drafts made public by one directory sync at most.
const BATCH: usize = 256;

/// A synced draft in tmp/ and where its answer goes.
#[derive(Debug)]
pub struct Job {
    /// Its file name, the same in tmp/ and new/.
    pub name: String,
    /// Said once: the name is durable, or why not.
    pub answer: Answer,
}

/// The queue, and the loop that empties it; the loop ends when the last sender
/// is gone and the queue is empty.
pub fn writer(
    disk: Arc<dyn Disk>,
    stats: Arc<Stats>,
) -> (Sender<Job>, impl FnOnce() + Send + 'static) {
    let (sender, receiver) = bounded(QUEUE);
    (sender, move || run(disk.as_ref(), &receiver, &stats))
}

fn run(disk: &dyn Disk, jobs: &Receiver<Job>, stats: &Stats) {
    let mut batch = Vec::with_capacity(BATCH);
    while let Ok(first) = jobs.recv() {
        batch.push(first);
        batch.extend(jobs.try_iter().take(BATCH - 1));
        publish(disk, &mut batch, stats);
    }
}

/// Renames, syncs, answers; leaves `batch` empty.
fn publish(disk: &dyn Disk, batch: &mut Vec<Job>, stats: &Stats) {
    batch.retain(|job| match disk.publish(&job.name) {
        Ok(()) => true,
        Err(error) => {
            let error = SpoolError::new("rename the draft into new/", error);
            job.answer.say(Err(error));
            false
        }
    });
    if batch.is_empty() {
        return;
    }
    stats.batch_size.record(batch.len() as u64);
    match stats.directory_sync.time(|| disk.sync_new()) {
        Ok(()) => batch.drain(..).for_each(|job| job.answer.say(Ok(()))),
        Err(error) => {
            for job in batch.drain(..) {
                take_back(disk, &job.name);
                let error = io::Error::new(error.kind(), error.to_string());
                job.answer.say(Err(SpoolError::new("sync new/", error)));
            }
        }
    }
}

/// A name that may not survive a power cut must not stand there as if it did;
/// where a consumer has it already, the mail comes twice and is not lost.
fn take_back(disk: &dyn Disk, name: &str) {
    match disk.unpublish(name) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => log::cannot_remove("new", name, &error),
    }
}

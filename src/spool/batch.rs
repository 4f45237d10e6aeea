//! A batch: messages that are in new/, and that one sync of the directory makes durable.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::SpoolError;
use super::answer::Answer;
use super::disk::Disk;
use super::stats::Stats;
use super::syncs::SyncPermit;
use crate::log;

/// A synced draft in tmp/ and where its answer goes.
pub(crate) struct Publication {
    /// Its file name, the same in tmp/ and new/.
    pub(crate) name: String,
    /// Given once; without it the message is not durable.
    pub(crate) answer: Answer<Reply>,
}

/// What a session learns of its message.
pub(crate) enum Reply {
    /// Its name is durable, or the reason why it is not.
    Done(Result<(), SpoolError>),
    /// Its name is in new/, with those of others, and this session has to sync it.
    Sync(Batch),
}

/// Renamed messages. If it is dropped without a sync, which only a panic does, their
/// sessions refuse them, and their names stay: they may be received twice.
pub(crate) struct Batch {
    disk: Arc<dyn Disk>,
    stats: Arc<Stats>,
    sync: SyncPermit,
    /// The message of the session that syncs, if one does.
    own: Option<String>,
    others: Vec<Publication>,
}

impl Batch {
    /// The messages that were renamed; the sync counts as begun.
    pub(crate) fn new(
        disk: &Arc<dyn Disk>,
        stats: &Arc<Stats>,
        renamed: Vec<Publication>,
        sync: SyncPermit,
    ) -> Batch {
        stats.batch_size.record(renamed.len() as u64);
        Batch {
            disk: Arc::clone(disk),
            stats: Arc::clone(stats),
            sync,
            own: None,
            others: renamed,
        }
    }

    /// Lets the session of one of the messages sync them.
    pub(crate) fn hand_over(mut self) {
        if let Some(Publication { name, answer }) = self.others.pop() {
            self.own = Some(name);
            answer.say(Reply::Sync(self));
        }
    }

    /// Syncs the directory and answers the other sessions. A name that may not survive a
    /// power cut is taken back.
    ///
    /// # Errors
    ///
    /// If the messages are not durable, none of them.
    pub(crate) fn sync(self) -> Result<(), SpoolError> {
        let start = Instant::now();
        let synced = sync_names(&*self.disk);
        let time = start.elapsed();
        self.stats.directory_sync.record_time(time);
        if synced.is_ok() {
            self.sync.took(time);
        }
        // Whoever moves new/ after this moves the messages with it.
        let in_place = || {
            let result = self.disk.check_in_place();
            result.map_err(SpoolError::at("publish in new/"))
        };
        let result = synced.and_then(|()| in_place());
        if result.is_err() {
            let others = self.others.iter().map(|publication| &publication.name);
            for name in self.own.iter().chain(others) {
                take_back(&*self.disk, name);
            }
        }
        for publication in &self.others {
            publication.answer.say(Reply::Done(result.clone()));
        }
        result
    }
}

/// After this the new names survive a power cut, and nothing that a start
/// removes refers to the same files.
fn sync_names(disk: &dyn Disk) -> Result<(), SpoolError> {
    disk.sync_new().map_err(SpoolError::at("sync new/"))?;
    if disk.renames_are_atomic() {
        return Ok(());
    }
    // The old names must not come back: a start would take them for
    // leftovers, and remove the last link that the file system counts.
    disk.sync_tmp().map_err(SpoolError::at("sync tmp/"))
}

/// If a consumer has taken the message by now, it is received twice, not lost.
fn take_back(disk: &dyn Disk, name: &str) {
    match disk.unpublish(name) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => log::cannot_remove("new", name, &error),
    }
}

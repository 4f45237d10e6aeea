//! The seam to the file system: every system call that a message's durability
//! depends on goes through [`Disk`], so that a test can let the n-th call fail
//! and forget what was not synced. The real one is a
//! [`Maildir`](super::maildir::Maildir).

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::SpoolError;

/// What the spool asks of a file system. Names are file names without slashes.
pub trait Disk: Send + Sync {
    /// The spool, for the log.
    fn path(&self) -> &Path;
    /// Creates tmp/NAME, which must not exist. As long as the file is open,
    /// [`Disk::leftover`] shows other servers that it is in use.
    fn create(&self, name: &str) -> io::Result<Box<dyn DraftFile>>;
    /// Removes tmp/NAME.
    fn remove_draft(&self, name: &str) -> io::Result<()>;
    /// Renames tmp/NAME to new/NAME, never over a file that exists.
    fn publish(&self, name: &str) -> io::Result<()>;
    /// Removes new/NAME. Several threads may call this and what follows at once.
    fn unpublish(&self, name: &str) -> io::Result<()>;
    /// Syncs the names in new/ to the device.
    fn sync_new(&self) -> io::Result<()>;
    /// Syncs the names in tmp/ to the device.
    fn sync_tmp(&self) -> io::Result<()>;
    /// Whether a crash leaves a renamed file under one name, and not under both
    /// with a link count of 1, once the new name is synced. A journal does that.
    fn renames_are_atomic(&self) -> bool;
    /// Whether [`Disk::sync_new`] fails in every thread once any name or contents could
    /// not be written, so that several may sync at once. If not, whoever syncs next may
    /// be the only one who hears of it.
    fn syncs_tell_all(&self) -> bool;
    /// Fails if the directory that [`Disk::publish`] renames into is no longer
    /// DIR/new, or the spool's lock is lost.
    fn check_in_place(&self) -> io::Result<()>;
    /// Fails if tmp/ or new/ cannot be written at this time, as far as that is
    /// known without writing.
    fn check_writable(&self) -> io::Result<()>;
    /// Opens the directories again, where others have taken their place, and
    /// tries what a message needs: a file, a sync and a rename, all in tmp/.
    fn probe(&self) -> Result<(), SpoolError>;
    /// The names in tmp/, directories excluded, those that are not UTF-8 too.
    fn drafts(&self) -> io::Result<Vec<String>>;
    /// What tmp/NAME is when a server starts.
    fn leftover(&self, name: &str) -> io::Result<Leftover>;
    /// Bytes that may still be written; `u64::MAX` if that is unknown.
    fn free(&self) -> io::Result<u64>;
}

/// A file in tmp/ that this process did not create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftover {
    /// Nobody needs it.
    Dead,
    /// A live server is writing it.
    Live,
    /// It is also new/NAME, and the file system counts one link only: to remove
    /// the name would be to remove the message.
    Message,
}

/// A draft, open for writing. Dropping it closes it.
pub trait DraftFile: Write + Send {
    /// Syncs the contents, and what is needed to read them, to the device.
    fn sync(&mut self) -> io::Result<()>;
}

impl DraftFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

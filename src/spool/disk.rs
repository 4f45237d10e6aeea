//! The seam to the file system: every system call that a mail's durability
//! rests on goes through [`Disk`], so that a test can break it at the n-th call
//! and forget what was not synced. The real one is a
//! [`Maildir`](super::maildir::Maildir).

use std::fs::File;
use std::io::{self, Write};

/// What the spool asks of a file system. Names are file names without slashes.
pub trait Disk: Send + Sync {
    /// Makes tmp/NAME, which must not exist.
    fn create(&self, name: &str) -> io::Result<Box<dyn DraftFile>>;
    /// Removes tmp/NAME.
    fn remove_draft(&self, name: &str) -> io::Result<()>;
    /// Renames tmp/NAME to new/NAME, never over a file that is there.
    fn publish(&self, name: &str) -> io::Result<()>;
    /// Syncs the names in new/ to the device.
    fn sync_new(&self) -> io::Result<()>;
    /// Removes new/NAME.
    fn unpublish(&self, name: &str) -> io::Result<()>;
    /// Octets that may still be written; `u64::MAX` where nobody knows.
    fn free(&self) -> io::Result<u64>;
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

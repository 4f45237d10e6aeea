//! The seam to the file system: every system call that a mail's durability
//! rests on goes through [`Disk`], so that a test can break it at the n-th call
//! and forget what was not synced. [`Directory`] is the real one.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

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

/// tmp/ and new/ of a Maildir, held open.
#[derive(Debug)]
pub struct Directory {
    tmp: OwnedFd,
    new: OwnedFd,
}

/// Mode of a message, less the umask.
const FILE_MODE: Mode = Mode::from_raw_mode(0o640);

impl Directory {
    /// Opens tmp/ and new/ below `maildir`, which must exist.
    pub fn open(maildir: &Path) -> io::Result<Directory> {
        let open = |name: &str| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(maildir.join(name), flags, Mode::empty())
        };
        Ok(Directory {
            tmp: open("tmp")?,
            new: open("new")?,
        })
    }
}

impl Disk for Directory {
    fn create(&self, name: &str) -> io::Result<Box<dyn DraftFile>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.tmp, name, flags, FILE_MODE)?;
        Ok(Box::new(File::from(file)))
    }

    fn remove_draft(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.tmp, name, AtFlags::empty())?)
    }

    fn publish(&self, name: &str) -> io::Result<()> {
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(&self.tmp, name, &self.new, name, flags) {
            // A file system without the flag; ids are unique all the same.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                Ok(rustix::fs::renameat(&self.tmp, name, &self.new, name)?)
            }
            result => Ok(result?),
        }
    }

    fn sync_new(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.new)?)
    }

    fn unpublish(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.new, name, AtFlags::empty())?)
    }

    fn free(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.tmp)?;
        if stat.f_blocks == 0 {
            // Some network file systems do not say.
            return Ok(u64::MAX);
        }
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

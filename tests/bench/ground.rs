//! The ground under a measurement: the same for every contender, every round.
//!
//! Mails are not deleted between rounds. ext4 is slow to hand out the number of
//! a file that was deleted in the last minutes (it looks at each of them, the
//! kernel's `recently_deleted`), so that a round after a deletion runs at half
//! speed and would tell more of the clearing than of the contender. Instead
//! the files are moved aside, emptied when they take too much room, and deleted
//! when the whole run is over.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{StatVfs, statvfs, syncfs};

/// Where the mails of past rounds go.
pub struct Ground {
    aside: PathBuf,
    /// Bytes set aside and not yet emptied.
    held: AtomicU64,
    counter: AtomicU64,
}

impl Ground {
    /// A ground under this directory, which is created.
    pub fn new(directory: &Path) -> io::Result<Self> {
        let aside = directory.join("aside");
        fs::create_dir_all(&aside)?;
        Ok(Self {
            aside,
            held: AtomicU64::new(0),
            counter: AtomicU64::new(0),
        })
    }

    /// Moves the mails in this directory aside and waits until the disk is quiet.
    pub fn clear(&self, mails: &Path) -> io::Result<()> {
        if mails.is_dir() {
            let round = self.counter.fetch_add(1, Ordering::Relaxed);
            let heap = self.aside.join(round.to_string());
            fs::create_dir(&heap)?;
            for entry in fs::read_dir(mails)? {
                let entry = entry?;
                self.held
                    .fetch_add(entry.metadata()?.len(), Ordering::Relaxed);
                fs::rename(entry.path(), heap.join(entry.file_name()))?;
            }
        }
        if self.held.load(Ordering::Relaxed) > room(&self.aside)? / 4 {
            self.empty()?;
        }
        self.settle()
    }

    /// Waits until the disk is quiet.
    pub fn settle(&self) -> io::Result<()> {
        Ok(syncfs(File::open(&self.aside)?)?)
    }

    /// Gives the room back and keeps the files.
    fn empty(&self) -> io::Result<()> {
        for heap in fs::read_dir(&self.aside)? {
            let heap = heap?.path();
            if heap.extension().is_some() {
                continue;
            }
            for mail in fs::read_dir(&heap)? {
                File::options().write(true).open(mail?.path())?.set_len(0)?;
            }
            fs::rename(&heap, heap.with_extension("empty"))?;
        }
        self.held.store(0, Ordering::Relaxed);
        Ok(())
    }
}

/// The bytes that are free on a directory's file system.
pub fn room(directory: &Path) -> io::Result<u64> {
    let StatVfs {
        f_bavail, f_frsize, ..
    } = statvfs(directory)?;
    Ok(f_bavail * f_frsize)
}

//! The lock on a spool: DIR/.NAME.lock, held by the one server of that name.
//!
//! It is a flock(2), so the kernel releases it however the process ended. The
//! file has mode 0600: a user who may read the spool, but not write it, cannot
//! open it and thus cannot lock a server out. It is opened for reading alone,
//! because a file that is open for writing keeps an operator from remounting
//! the file system read-only; NFS, where an exclusive lock needs a descriptor
//! that can write, is asked a second time with one.
//!
//! Somebody may remove the file while the lock is held. Then a second server
//! would lock a new file of the same name. [`Lock::keep`] finds that out and
//! takes the lock again, or fails if another server has it by now; and drafts
//! are locked one by one (see [`super::maildir`]), so that the second server
//! does not take them for leftovers.

use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// Mode of the file: its owner alone can open it.
const MODE: u32 = 0o600;
/// How often the file may be replaced while it is being locked.
const MAX_ATTEMPTS: usize = 8;

/// Held as long as the value lives.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    /// Open as long as the lock is held.
    _file: File,
    /// Its device and inode.
    identity: (u64, u64),
}

impl Lock {
    /// Locks `path`, which is created if it is missing. `None` if another
    /// process holds the lock.
    pub(crate) fn take(path: &Path) -> io::Result<Option<Lock>> {
        for _ in 0..MAX_ATTEMPTS {
            let Some(file) = lock(path)? else {
                return Ok(None);
            };
            let lock = Lock {
                path: path.to_owned(),
                identity: identity(&file.metadata()?),
                _file: file,
            };
            // The file may have been removed between open and lock.
            if lock.is_in_place()? {
                return Ok(Some(lock));
            }
        }
        Err(io::Error::other("the lock file is replaced all the time"))
    }

    /// Takes the lock again if its file was removed or replaced. True if that
    /// was necessary.
    ///
    /// # Errors
    ///
    /// If another process has locked the new file, or there cannot be one.
    pub(crate) fn keep(&mut self) -> io::Result<bool> {
        if self.is_in_place()? {
            return Ok(false);
        }
        match Lock::take(&self.path)? {
            Some(lock) => *self = lock,
            None => return Err(io::Error::other("another mm4d has locked the spool")),
        }
        Ok(true)
    }

    /// Whether the file that is locked is still the one at its path.
    fn is_in_place(&self) -> io::Result<bool> {
        match std::fs::metadata(&self.path) {
            Ok(there) => Ok(identity(&there) == self.identity),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The device and the inode of a file.
pub(super) fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Opens and locks a file; `None` if another process holds the lock.
fn lock(path: &Path) -> io::Result<Option<File>> {
    for access in [OFlags::RDONLY, OFlags::RDWR] {
        let flags = access | OFlags::CREATE | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, Mode::from_raw_mode(MODE))?);
        if file.metadata()?.mode() & 0o077 != 0 {
            // From an earlier version; only its owner may change it.
            let _ = file.set_permissions(Permissions::from_mode(MODE));
        }
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(file)),
            Err(Errno::WOULDBLOCK) => return Ok(None),
            // NFS: not with a descriptor that cannot write.
            Err(Errno::BADF) if access == OFlags::RDONLY => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::BADF.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_lock_is_held_once_and_released_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".here.lock");
        let first = Lock::take(&path).unwrap().unwrap();
        assert!(Lock::take(&path).unwrap().is_none());
        drop(first);
        assert!(Lock::take(&path).unwrap().is_some());
    }

    #[test]
    fn nobody_but_the_owner_can_open_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".here.lock");
        // As an earlier version made it.
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let _lock = Lock::take(&path).unwrap().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_lock_whose_file_was_removed_is_taken_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".here.lock");
        let mut lock = Lock::take(&path).unwrap().unwrap();
        assert!(!lock.keep().unwrap());
        fs::remove_file(&path).unwrap();
        assert!(lock.keep().unwrap());
        assert!(Lock::take(&path).unwrap().is_none());
    }

    #[test]
    fn a_lock_that_another_process_has_taken_over_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".here.lock");
        let mut first = Lock::take(&path).unwrap().unwrap();
        fs::remove_file(&path).unwrap();
        let second = Lock::take(&path).unwrap().unwrap();
        let error = first.keep().unwrap_err().to_string();
        assert!(error.contains("another mm4d"), "{error}");
        drop(second);
        assert!(first.keep().unwrap());
    }
}

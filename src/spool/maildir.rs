//! Takes a directory into use as the spool: makes what is missing, locks it,
//! removes what this server left in tmp/, and proves that it takes a file, a
//! sync and a rename before the first client is told so.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::disk::{Disk, DraftFile};

/// Mode of directories, less the umask.
const DIRECTORY_MODE: u32 = 0o750;
/// Mode of messages and of the lock file, less the umask.
const FILE_MODE: u32 = 0o640;

/// A spool that this process owns, as far as servers of its name go; tmp/ and
/// new/ are held open.
#[derive(Debug)]
pub struct Maildir {
    tmp: OwnedFd,
    new: OwnedFd,
    /// Held as long as the process lives; the kernel lets go of it.
    _lock: File,
}

/// Why a directory cannot be the spool.
#[derive(Debug)]
pub enum OpenError {
    /// Another server of this name has it.
    InUse {
        /// The spool.
        spool: PathBuf,
        /// The name that both have.
        hostname: String,
    },
    /// A step failed.
    Failed {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        error: io::Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::InUse { spool, hostname } => write!(
                f,
                "the spool {} is in use by another mm4d with --hostname {hostname}; \
                 stop that one, or give this one another --spool or --hostname",
                spool.display()
            ),
            OpenError::Failed { doing, path, error } => write!(
                f,
                "the spool does not work: cannot {doing} {}: {error}; \
                 mend that or give another --spool",
                path.display()
            ),
        }
    }
}

impl std::error::Error for OpenError {}

impl Maildir {
    /// Takes `spool` into use by the server `hostname`.
    pub fn open(spool: &Path, hostname: &str) -> Result<Maildir, OpenError> {
        for directory in [
            spool.to_owned(),
            spool.join("tmp"),
            spool.join("new"),
            spool.join("cur"),
        ] {
            make(&directory).map_err(failed("make", &directory))?;
        }
        let lock = lock(spool, hostname)?;
        let open = |name| {
            let path = spool.join(name);
            open_directory(&path).map_err(failed("open", &path))
        };
        let (tmp, new) = (open("tmp")?, open("new")?);
        remove_leftovers(&spool.join("tmp"), hostname)?;
        prove(spool, hostname)?;
        Ok(Maildir {
            tmp,
            new,
            _lock: lock,
        })
    }
}

impl Disk for Maildir {
    fn create(&self, name: &str) -> io::Result<Box<dyn DraftFile>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.tmp, name, flags, Mode::from_raw_mode(FILE_MODE))?;
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

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |error| OpenError::Failed { doing, path, error }
}

/// Makes a directory and what lies above it, each durable in its parent.
fn make(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = match directory.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    };
    make(parent)?;
    match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
        // Another server may have been faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
        result => result?,
    }
    File::open(parent)?.sync_all()
}

fn lock(spool: &Path, hostname: &str) -> Result<File, OpenError> {
    let path = spool.join(format!(".{hostname}.lock"));
    // Not for writing: a file system can be remounted under it.
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::from_raw_mode(FILE_MODE))
        .map_err(|error| failed("open the lock", &path)(error.into()))?;
    let file = File::from(file);
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(OpenError::InUse {
            spool: spool.to_owned(),
            hostname: hostname.to_owned(),
        }),
        Err(error) => Err(failed("lock", &path)(error.into())),
    }
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Drafts of a process that ended before it could remove them.
fn remove_leftovers(tmp: &Path, hostname: &str) -> Result<(), OpenError> {
    let ending = format!("@{hostname}.eml");
    for entry in fs::read_dir(tmp).map_err(failed("list", tmp))? {
        let entry = entry.map_err(failed("list", tmp))?;
        let ours = ends_with(&entry.file_name(), &ending);
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if ours && !is_directory {
            let path = entry.path();
            fs::remove_file(&path).map_err(failed("remove the old draft", &path))?;
        }
    }
    Ok(())
}

fn ends_with(name: &OsStr, ending: &str) -> bool {
    name.as_bytes().ends_with(ending.as_bytes())
}

/// What a mail needs, done once with a file that no consumer looks at: its name
/// in new/ begins with a dot, which a Maildir reader passes over.
fn prove(spool: &Path, hostname: &str) -> Result<(), OpenError> {
    let draft = spool.join("tmp").join(format!(".probe@{hostname}.eml"));
    let message = spool.join("new").join(format!(".probe@{hostname}.eml"));
    // One that a power cut left behind.
    let _ = fs::remove_file(&message);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(&draft)
        .map_err(failed("make", &draft))?;
    let result = file
        .write_all(b"mm4d")
        .map_err(failed("write", &draft))
        .and_then(|()| file.sync_data().map_err(failed("sync", &draft)))
        .and_then(|()| {
            fs::rename(&draft, &message)
                .map_err(failed("rename a file from tmp/ to new/:", &message))
        })
        .and_then(|()| {
            let new = spool.join("new");
            File::open(&new)
                .and_then(|directory| directory.sync_all())
                .map_err(failed("sync", &new))
        });
    let _ = fs::remove_file(&draft);
    let _ = fs::remove_file(&message);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_missing_spool_is_made_and_left_empty() {
        let dir = tempfile::tempdir().unwrap();
        let spool = dir.path().join("a/b");
        let maildir = Maildir::open(&spool, "here").unwrap();
        for name in ["tmp", "new", "cur"] {
            let path = spool.join(name);
            assert_eq!(fs::read_dir(&path).unwrap().count(), 0, "{name}");
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o027, 0o000, "{name} {mode:o}");
        }
        drop(maildir);
    }

    #[test]
    fn one_name_has_one_server_and_another_name_another() {
        let dir = tempfile::tempdir().unwrap();
        let first = Maildir::open(dir.path(), "here").unwrap();
        let second = Maildir::open(dir.path(), "here").unwrap_err();
        assert!(second.to_string().contains("--hostname here"), "{second}");
        assert!(Maildir::open(dir.path(), "there").is_ok());
        drop(first);
        assert!(Maildir::open(dir.path(), "here").is_ok());
    }

    #[test]
    fn only_the_drafts_of_this_name_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        drop(Maildir::open(dir.path(), "here").unwrap());
        for name in [
            "1@here.eml",
            "1@there.eml",
            "1@xhere.eml",
            "1@HERE.eml",
            "1@here",
        ] {
            fs::write(dir.path().join("tmp").join(name), "x").unwrap();
            fs::write(dir.path().join("new").join(name), "x").unwrap();
        }
        drop(Maildir::open(dir.path(), "here").unwrap());
        let names = |sub: &str| {
            let mut names: Vec<_> = fs::read_dir(dir.path().join(sub))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        assert_eq!(
            names("tmp"),
            ["1@HERE.eml", "1@here", "1@there.eml", "1@xhere.eml"]
        );
        assert_eq!(names("new").len(), 5);
    }

    #[test]
    fn a_spool_that_is_a_file_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "").unwrap();
        let error = Maildir::open(&path, "here").unwrap_err().to_string();
        assert!(
            error.contains("file") && error.contains("--spool"),
            "{error}"
        );
    }
}

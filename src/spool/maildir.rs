//! A directory in use as the spool: creates what is missing, locks it, removes
//! what this server left in tmp/, and checks that it accepts a file, a sync and
//! a rename before the first client is served.
//!
//! tmp/ and new/ are held open. Before each 250 the spool asks whether the open
//! new/ is still the one at DIR/new ([`Disk::check_in_place`]), and after a
//! failure it opens both again ([`Disk::probe`]).
//!
//! Each draft is locked with fcntl(2) while it is open. Only who may write the
//! file can lock it for writing, so a draft that is locked in this way belongs
//! to a live server, whatever happened to the spool's own lock.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::disk::{Disk, DraftFile, Leftover};
use super::error::OpenError;
use super::leftovers::{remove_leftovers, report_foreign};
use super::lock::{Lock, identity};
use super::{SpoolError, journal, probe};
use crate::log;

/// Mode of directories, less the umask.
const DIRECTORY_MODE: u32 = 0o750;
/// Mode of messages, less the umask.
pub(crate) const FILE_MODE: u32 = 0o640;

/// A spool that this process owns, as far as servers of its name are concerned.
#[derive(Debug)]
pub struct Maildir {
    root: PathBuf,
    hostname: String,
    directories: RwLock<Arc<Directories>>,
    /// Held as long as the process lives; the kernel releases it.
    lock: Mutex<Lock>,
}

/// A directory before it is taken into use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It does not exist, and can be created.
    Missing,
    /// It works.
    Ready {
        /// Bytes that may still be written to it; `u64::MAX` if that is unknown.
        free: u64,
    },
}

/// tmp/ and new/, open.
#[derive(Debug)]
pub(crate) struct Directories {
    pub(crate) tmp: File,
    pub(crate) new: File,
    /// Device and inode of new/.
    identity: (u64, u64),
    renames_are_atomic: bool,
    /// There is a journal, and it says whether it has failed.
    answers: bool,
}

impl Directories {
    fn open(root: &Path) -> io::Result<Directories> {
        let open = |name| open_directory(&root.join(name));
        let (tmp, new) = (open("tmp")?, open("new")?);
        let renames_are_atomic = journal::renames_are_atomic(&tmp);
        Ok(Directories {
            identity: identity(&new.metadata()?),
            renames_are_atomic,
            answers: renames_are_atomic && journal::check(&new, &tmp).is_some(),
            tmp,
            new,
        })
    }
}

impl Maildir {
    /// Takes `spool` into use by the server `hostname`.
    ///
    /// # Errors
    ///
    /// If another server of that name uses it, or it cannot be written.
    pub fn open(spool: &Path, hostname: &str) -> Result<Maildir, OpenError> {
        let failed = |error| OpenError::failed(spool, error);
        let in_use = || OpenError::InUse {
            spool: spool.to_owned(),
            hostname: hostname.to_owned(),
        };
        let at = |doing| move |error| failed(SpoolError::new(doing, error));
        create(spool).map_err(at("create it"))?;
        for name in ["tmp", "new", "cur"] {
            create(&spool.join(name)).map_err(at("create tmp/, new/ and cur/"))?;
        }
        let lock = Lock::take(&spool.join(format!(".{hostname}.lock")))
            .map_err(at("lock it"))?
            .ok_or_else(in_use)?;
        let directories = Directories::open(spool).map_err(at("open tmp/ and new/"))?;
        let maildir = Maildir {
            root: spool.to_owned(),
            hostname: hostname.to_owned(),
            directories: RwLock::new(Arc::new(directories)),
            lock: Mutex::new(lock),
        };
        if !remove_leftovers(&maildir, hostname).map_err(at("list tmp/"))? {
            return Err(in_use());
        }
        report_foreign(&spool.join("tmp"), hostname);
        match probe::probe(&maildir.directories(), hostname) {
            Err(error) if error.is_shortage_of_space() => log::no_space(spool, &error),
            result => result.map_err(failed)?,
        }
        Ok(maildir)
    }

    /// Whether [`Maildir::open`] can work, as far as that is known without
    /// creating anything. A server may be using the spool at the same time.
    ///
    /// # Errors
    ///
    /// What would keep the spool from being opened.
    pub fn check(spool: &Path) -> Result<Checked, OpenError> {
        let failed = |doing| move |error| OpenError::failed(spool, SpoolError::new(doing, error));
        let existing = spool
            .ancestors()
            .map(or_here)
            .find(|ancestor| ancestor.symlink_metadata().is_ok());
        let existing = existing.unwrap_or(Path::new("/"));
        if existing != or_here(spool) {
            open_writable(existing).map_err(failed("create it"))?;
            return Ok(Checked::Missing);
        }
        let root = open_directory(spool).map_err(failed("open it"))?;
        let names = ["tmp", "new", "cur"].map(|name| spool.join(name));
        if names.iter().any(|name| name.symlink_metadata().is_err()) {
            probe::check_writable(&root).map_err(failed("create tmp/, new/ and cur/"))?;
        }
        let [tmp, new, _] = &names;
        if tmp.exists() && new.exists() {
            let directories = Directories::open(spool).map_err(failed("open tmp/ and new/"))?;
            probe::check_writable(&directories.tmp).map_err(failed("write to tmp/"))?;
            probe::check(&directories.tmp, &directories.new)
                .map_err(|error| OpenError::failed(spool, error))?;
        }
        Ok(Checked::Ready {
            free: free(&root).map_err(failed("read its free space"))?,
        })
    }

    fn directories(&self) -> Arc<Directories> {
        let directories = self.directories.read();
        Arc::clone(&directories.unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes sure that this is still the server that has the lock.
    fn keep_lock(&self) -> io::Result<()> {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if lock.keep()? {
            log::lock_taken_again(&self.hostname);
        }
        Ok(())
    }
}

impl Disk for Maildir {
    fn path(&self) -> &Path {
        &self.root
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DraftFile>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(FILE_MODE);
        let file = rustix::fs::openat(&self.directories().tmp, name, flags, mode)?;
        // Where locks do not work, the spool's own lock must do.
        let _ = rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive);
        Ok(Box::new(File::from(file)))
    }

    fn remove_draft(&self, name: &str) -> io::Result<()> {
        let tmp = &self.directories().tmp;
        Ok(rustix::fs::unlinkat(tmp, name, AtFlags::empty())?)
    }

    fn publish(&self, name: &str) -> io::Result<()> {
        let directories = self.directories();
        move_to(&directories.tmp, name, &directories.new, name)
    }

    fn unpublish(&self, name: &str) -> io::Result<()> {
        let new = &self.directories().new;
        Ok(rustix::fs::unlinkat(new, name, AtFlags::empty())?)
    }

    fn sync_new(&self) -> io::Result<()> {
        let directories = self.directories();
        directories.new.sync_all()?;
        if !directories.answers {
            return Ok(());
        }
        let answer = journal::check(&directories.new, &directories.tmp);
        answer.unwrap_or_else(|| Err(io::Error::other("the journal does not answer any more")))
    }

    fn sync_tmp(&self) -> io::Result<()> {
        self.directories().tmp.sync_all()
    }

    fn renames_are_atomic(&self) -> bool {
        self.directories().renames_are_atomic
    }

    fn syncs_tell_all(&self) -> bool {
        self.directories().answers
    }

    fn check_in_place(&self) -> io::Result<()> {
        let there = fs::metadata(self.root.join("new"))?;
        if identity(&there) != self.directories().identity {
            return Err(io::Error::other("another directory has taken its place"));
        }
        self.keep_lock()
    }

    fn check_writable(&self) -> io::Result<()> {
        let directories = self.directories();
        probe::check_writable(&directories.tmp)?;
        probe::check_writable(&directories.new)
    }

    fn probe(&self) -> Result<(), SpoolError> {
        self.keep_lock().map_err(SpoolError::at("lock it"))?;
        let mut found =
            Directories::open(&self.root).map_err(SpoolError::at("open tmp/ and new/"))?;
        probe::probe_again(&found, &self.hostname)?;
        let before = self.directories();
        if found.identity.0 == before.identity.0 {
            // In the sandbox the file system cannot be asked again.
            found.renames_are_atomic = before.renames_are_atomic;
            found.answers = before.answers;
        }
        let mut directories = self
            .directories
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *directories = Arc::new(found);
        Ok(())
    }

    fn drafts(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root.join("tmp"))? {
            let entry = entry?;
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if !is_directory {
                names.extend(entry.file_name().into_string());
            }
        }
        Ok(names)
    }

    fn leftover(&self, name: &str) -> io::Result<Leftover> {
        let directories = self.directories();
        // Whatever has that name: a FIFO does not block, a link is not followed.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directories.tmp, name, flags, Mode::empty())?;
        let file = File::from(file);
        let locked = rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockShared);
        // POSIX has either of the two (fcntl). After any other error locks do
        // not work here, and the spool's own lock must do.
        if let Err(Errno::AGAIN | Errno::ACCESS) = locked {
            return Ok(Leftover::Live);
        }
        let draft = file.metadata()?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let message = rustix::fs::statat(&directories.new, name, flags);
        let is_message = message.is_ok_and(|message| same_file(&message, &draft));
        if is_message && draft.nlink() < 2 {
            return Ok(Leftover::Message);
        }
        Ok(Leftover::Dead)
    }

    fn free(&self) -> io::Result<u64> {
        free(&self.directories().tmp)
    }
}

/// Bytes that may still be written there; `u64::MAX` if that is unknown.
fn free(directory: &File) -> io::Result<u64> {
    let stat = rustix::fs::fstatvfs(directory)?;
    if stat.f_blocks == 0 {
        // Some network file systems do not say.
        return Ok(u64::MAX);
    }
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The parent of a relative path with one component is the current directory.
pub(crate) fn or_here(path: &Path) -> &Path {
    match path.as_os_str().is_empty() {
        true => Path::new("."),
        false => path,
    }
}

fn open_directory(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty()).map(File::from)?)
}

fn open_writable(path: &Path) -> io::Result<File> {
    let directory = open_directory(path)?;
    probe::check_writable(&directory)?;
    Ok(directory)
}

/// The types of a `Stat` differ between systems.
#[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
fn same_file(stat: &rustix::fs::Stat, metadata: &fs::Metadata) -> bool {
    (stat.st_dev as u64, stat.st_ino as u64) == identity(metadata)
}

/// Renames a file, never over another one.
pub(crate) fn move_to(from: &File, name: &str, to: &File, new_name: &str) -> io::Result<()> {
    match rustix::fs::renameat_with(from, name, to, new_name, RenameFlags::NOREPLACE) {
        // NFS and some others do not have the flag.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            link_and_unlink(from, name, to, new_name)
        }
        result => Ok(result?),
    }
}

/// As [`move_to`] with calls that every file system with links has: link(2)
/// never replaces a file either.
fn link_and_unlink(from: &File, name: &str, to: &File, new_name: &str) -> io::Result<()> {
    match rustix::fs::linkat(from, name, to, new_name, AtFlags::empty()) {
        Ok(()) => {}
        // NFS may have linked it, lost the reply, and been asked again.
        Err(Errno::EXIST) if are_one_file(from, name, to, new_name) => {}
        Err(error) => return Err(error.into()),
    }
    match rustix::fs::unlinkat(from, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => {
            // Two counted links: a later start can remove this one.
            log::cannot_remove("tmp", name, &error.into());
            Ok(())
        }
    }
}

fn are_one_file(from: &File, name: &str, to: &File, new_name: &str) -> bool {
    let stat = |directory: &File, name: &str| {
        rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .map(|stat| (stat.st_dev, stat.st_ino))
    };
    match (stat(from, name), stat(to, new_name)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Creates a directory and what is missing above it, each synced in its parent.
fn create(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = or_here(directory.parent().unwrap_or(Path::new("/")));
    create(parent)?;
    match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
        // Another server may have been faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if !directory.is_dir() {
                return Err(io::Error::other("it is not a directory"));
            }
        }
        result => result?,
    }
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_missing_spool_is_created_and_left_empty() {
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
        assert_eq!(
            names(&dir.path().join("tmp")),
            ["1@HERE.eml", "1@here", "1@there.eml", "1@xhere.eml"]
        );
        assert_eq!(names(&dir.path().join("new")).len(), 5);
    }

    #[test]
    fn an_old_name_of_a_message_is_removed_if_the_message_keeps_a_link() {
        let dir = tempfile::tempdir().unwrap();
        drop(Maildir::open(dir.path(), "here").unwrap());
        let (tmp, new) = (dir.path().join("tmp"), dir.path().join("new"));
        fs::write(new.join("1@here.eml"), "x").unwrap();
        fs::hard_link(new.join("1@here.eml"), tmp.join("1@here.eml")).unwrap();
        // A draft that has the name of a message, and is another file.
        fs::write(new.join("2@here.eml"), "x").unwrap();
        fs::write(tmp.join("2@here.eml"), "y").unwrap();
        drop(Maildir::open(dir.path(), "here").unwrap());
        assert_eq!(names(&tmp), [""; 0]);
        assert_eq!(names(&new), ["1@here.eml", "2@here.eml"]);
    }

    #[test]
    fn a_file_in_new_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let maildir = Maildir::open(dir.path(), "here").unwrap();
        let directories = maildir.directories();
        let (tmp, new) = (&directories.tmp, &directories.new);
        type Move = fn(&File, &str, &File, &str) -> io::Result<()>;
        for (name, rename) in [("1", move_to as Move), ("2", link_and_unlink as Move)] {
            let path = dir.path().join("new").join(name);
            maildir.create(name).unwrap().write_all(b"first").unwrap();
            rename(tmp, name, new, name).unwrap();
            maildir.create(name).unwrap().write_all(b"second").unwrap();
            let error = rename(tmp, name, new, name).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&path).unwrap(), b"first");
            assert_eq!(names(&dir.path().join("tmp")), [name]);
            maildir.remove_draft(name).unwrap();
        }
        // It was linked, and the reply was lost.
        fs::hard_link(dir.path().join("new/2"), dir.path().join("tmp/2")).unwrap();
        link_and_unlink(tmp, "2", new, "2").unwrap();
        assert_eq!(names(&dir.path().join("tmp")), [""; 0]);
    }

    #[test]
    fn a_probe_never_appears_in_new() {
        let dir = tempfile::tempdir().unwrap();
        let maildir = Maildir::open(dir.path(), "here").unwrap();
        let new = dir.path().join("new");
        let before = fs::metadata(&new).unwrap();
        maildir.probe().unwrap();
        drop(maildir);
        // Left by a crash.
        for name in ["a", "b"] {
            let name = format!("tmp/.probe-{name}@here.eml");
            fs::write(dir.path().join(name), "x").unwrap();
        }
        drop(Maildir::open(dir.path(), "here").unwrap());
        let after = fs::metadata(&new).unwrap();
        assert_eq!(before.modified().unwrap(), after.modified().unwrap());
        assert_eq!(names(&dir.path().join("tmp")), [""; 0]);
    }

    #[test]
    fn a_new_directory_elsewhere_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let maildir = Maildir::open(dir.path(), "here").unwrap();
        let (new, away) = (dir.path().join("new"), dir.path().join("away"));
        maildir.check_in_place().unwrap();
        fs::rename(&new, &away).unwrap();
        assert!(maildir.check_in_place().is_err());
        assert!(maildir.probe().is_err());
        fs::create_dir(&new).unwrap();
        assert!(maildir.check_in_place().is_err());
        fs::remove_dir(&new).unwrap();
        fs::rename(&away, &new).unwrap();
        maildir.check_in_place().unwrap();
        // Another one for good: it is used after the next probe.
        fs::rename(&new, &away).unwrap();
        fs::create_dir(&new).unwrap();
        maildir.probe().unwrap();
        maildir.check_in_place().unwrap();
        drop(maildir.create("1").unwrap());
        maildir.publish("1").unwrap();
        assert_eq!(names(&new), ["1"]);
    }

    #[test]
    fn a_spool_that_is_a_file_is_an_error_with_its_name() {
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

//! Tries what a message needs of tmp/ and new/ — a file, a sync, a rename —
//! without a file ever appearing in new/, where a consumer would see it and a
//! crash would leave it.
//!
//! The rename is done inside tmp/. That it would also work into new/ follows
//! from three facts: both directories are on one mount of one file system, new/
//! can be written, and the rename inside tmp/ worked.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;

use rustix::fs::{Access, AtFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use super::SpoolError;
use super::maildir::{Directories, FILE_MODE, move_to};

/// Tries the directories, at start. What it creates in tmp/ it removes; what a
/// crash leaves of it has the ending of the server's own drafts.
pub(crate) fn probe(directories: &Directories, hostname: &str) -> Result<(), SpoolError> {
    let Directories { tmp, new, .. } = directories;
    check(tmp, new)?;
    let names = ["a", "b"].map(|name| format!(".probe-{name}@{hostname}.eml"));
    let remove = || {
        for name in &names {
            let _ = rustix::fs::unlinkat(tmp, name, AtFlags::empty());
        }
    };
    remove();
    let [first, second] = &names;
    let result = create_and_rename(tmp, first, second);
    remove();
    result?;
    new.sync_all().map_err(SpoolError::at("sync new/"))
}

/// As [`probe`], while clients are served: with a file that has no name, so
/// that nothing but drafts is ever seen in tmp/, and thus without a rename.
pub(crate) fn probe_again(directories: &Directories, hostname: &str) -> Result<(), SpoolError> {
    let Directories { tmp, new, .. } = directories;
    check(tmp, new)?;
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    match rustix::fs::openat(tmp, ".", flags, Mode::from_raw_mode(FILE_MODE)) {
        Ok(file) => write_and_sync(File::from(file))?,
        // NFS and some others have no such files.
        Err(Errno::NOTSUP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => {
            return probe(directories, hostname);
        }
        Err(error) => return Err(SpoolError::new("create a file in tmp/", error.into())),
    }
    new.sync_all().map_err(SpoolError::at("sync new/"))
}

/// What can be seen without a file.
pub(crate) fn check(tmp: &File, new: &File) -> Result<(), SpoolError> {
    check_same_mount(tmp, new).map_err(SpoolError::at("rename from tmp/ to new/"))?;
    check_writable(new).map_err(SpoolError::at("write to new/"))
}

fn create_and_rename(tmp: &File, first: &str, second: &str) -> Result<(), SpoolError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(tmp, first, flags, Mode::from_raw_mode(FILE_MODE))
        .map(File::from)
        .map_err(|error| SpoolError::new("create a file in tmp/", error.into()))?;
    write_and_sync(file)?;
    move_to(tmp, first, tmp, second).map_err(SpoolError::at("rename a file in tmp/"))
}

fn write_and_sync(mut file: File) -> Result<(), SpoolError> {
    file.write_all(b"mm4d")
        .map_err(SpoolError::at("write a file in tmp/"))?;
    file.sync_data()
        .map_err(SpoolError::at("sync a file in tmp/"))
}

/// rename(2) works neither between file systems nor between two mounts of one.
fn check_same_mount(tmp: &File, new: &File) -> io::Result<()> {
    let mount = |directory: &File| {
        // Unknown before Linux 5.8, and where statx(2) is forbidden.
        let found = rustix::fs::statx(directory, ".", AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
        (found.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(found.stx_mnt_id)
    };
    if tmp.metadata()?.dev() != new.metadata()?.dev() {
        return Err(io::Error::other("they are on different file systems"));
    }
    match (mount(tmp), mount(new)) {
        (Some(tmp), Some(new)) if tmp != new => {
            Err(io::Error::other("they are on different mounts"))
        }
        _ => Ok(()),
    }
}

/// Whether files can be added to a directory, as far as access(2) knows: its
/// mode, a read-only mount, and whether it still exists.
pub(crate) fn check_writable(directory: &File) -> io::Result<()> {
    let access = Access::WRITE_OK | Access::EXEC_OK;
    match rustix::fs::accessat(directory, ".", access, AtFlags::EACCESS) {
        // Not every kernel and sandbox knows the flag.
        Err(Errno::NOSYS | Errno::INVAL) => Ok(rustix::fs::accessat(
            directory,
            ".",
            access,
            AtFlags::empty(),
        )?),
        result => Ok(result?),
    }
}

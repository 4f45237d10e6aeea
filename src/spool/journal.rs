//! Which file systems rename atomically even if the power fails.
//!
//! A journal, a log or copy-on-write takes both names of a rename to the device
//! in one step: once new/ is synced, the name in tmp/ cannot come back. Without
//! one (ext2, ext4 made without a journal, FAT) the directories are written one
//! by one, and the old name can be there again after a crash.
//!
//! A journal that could not be written has failed for good; [`check`] asks for that.

use std::fs::File;

/// Whether the file system of `directory` is known to rename atomically. Where
/// that is unknown the answer is no, which costs one more sync for each batch.
#[cfg(target_os = "linux")]
pub(crate) fn renames_are_atomic(directory: &File) -> bool {
    let Ok(found) = rustix::fs::fstatfs(directory) else {
        return false;
    };
    // statfs(2): f_type has 32 bits, in whatever type the system gives them.
    match found.f_type as u32 {
        XFS | BTRFS | ZFS | F2FS | BCACHEFS | TMPFS => true,
        EXT => ext_has_journal(directory),
        _ => false,
    }
}

/// Elsewhere nothing is known.
#[cfg(not(target_os = "linux"))]
pub(crate) fn renames_are_atomic(_directory: &File) -> bool {
    false
}

#[cfg(target_os = "linux")]
use magic::{BCACHEFS, BTRFS, EXT, F2FS, TMPFS, XFS, ZFS};

/// From linux/magic.h, and for ZFS from its own source.
#[cfg(target_os = "linux")]
mod magic {
    pub(super) const EXT: u32 = 0xEF53;
    pub(super) const XFS: u32 = 0x5846_5342;
    pub(super) const BTRFS: u32 = 0x9123_683E;
    pub(super) const ZFS: u32 = 0x2FC1_2FC1;
    pub(super) const F2FS: u32 = 0xF2F5_2010;
    pub(super) const BCACHEFS: u32 = 0xCA45_1A4E;
    /// Nothing of it survives a crash, neither name.
    pub(super) const TMPFS: u32 = 0x0102_1994;
}

/// ext2, ext3 and ext4 share one number; sysfs knows the journal's thread.
#[cfg(target_os = "linux")]
fn ext_has_journal(directory: &File) -> bool {
    use std::os::unix::fs::MetadataExt;

    let Ok(metadata) = directory.metadata() else {
        return false;
    };
    let (major, minor) = (
        rustix::fs::major(metadata.dev()),
        rustix::fs::minor(metadata.dev()),
    );
    let device = std::fs::read_link(format!("/sys/dev/block/{major}:{minor}"));
    let Some(name) = device
        .ok()
        .and_then(|path| path.file_name().map(Into::into))
    else {
        return false;
    };
    let name: std::path::PathBuf = name;
    let task = std::path::Path::new("/sys/fs/ext4")
        .join(name)
        .join("journal_task");
    // A process id, or "<none>".
    std::fs::read_to_string(task).is_ok_and(|task| task.trim().parse::<u32>().is_ok())
}

/// Fails if the journal of the file system of `new` and `tmp` has failed since it was
/// mounted. `None` if it does not answer.
///
/// A sync does not say so reliably: once ext4 has told one of a commit that failed, the
/// next finds nothing to commit and succeeds, whatever was lost (`jbd2_journal_force_commit`
/// in Linux), and so does one of XFS. But whoever wants to write something into a journal
/// that has failed is refused. The removal of an attribute that is not there is the
/// cheapest wish of that kind; where attributes are refused, a file without a name is
/// another.
#[cfg(target_os = "linux")]
pub(crate) fn check(new: &File, tmp: &File) -> Option<std::io::Result<()>> {
    use rustix::fs::{Mode, OFlags};
    use rustix::io::Errno;

    match rustix::fs::fremovexattr(new, "user.mm4d.none") {
        Ok(()) | Err(Errno::NODATA) => return Some(Ok(())),
        Err(error @ (Errno::ROFS | Errno::IO | Errno::UCLEAN | Errno::SHUTDOWN)) => {
            return Some(Err(error.into()));
        }
        // No attributes here, or none for this user, or short of something.
        Err(_) => {}
    }
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::openat(tmp, ".", flags, Mode::RUSR | Mode::WUSR) {
        Ok(_) => Some(Ok(())),
        Err(Errno::NOTSUP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => None,
        Err(error) => Some(Err(error.into())),
    }
}

/// Elsewhere nothing is known.
#[cfg(not(target_os = "linux"))]
pub(crate) fn check(_new: &File, _tmp: &File) -> Option<std::io::Result<()>> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_known_file_system_does_not_rename_atomically() {
        assert!(!renames_are_atomic(&File::open("/proc").unwrap()));
    }

    #[test]
    fn a_directory_without_either_does_not_answer() {
        let directory = File::open("/proc").unwrap();
        assert!(check(&directory, &directory).is_none());
    }
}

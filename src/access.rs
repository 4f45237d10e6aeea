//! Who may use a file, for error messages: after "Permission denied" an operator
//! needs the owner, the mode and the command that helps.
//!
//! The texts are about one moment and decide nothing.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{Access, AtFlags, CWD};

/// How a file is to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Read a file.
    Read,
    /// Add files to a directory, and remove them.
    Write,
}

/// Effective user and group, as they were when they were first asked for: a
/// confined process cannot ask again.
pub(crate) fn ids() -> (u32, u32) {
    static IDS: OnceLock<(u32, u32)> = OnceLock::new();
    *IDS.get_or_init(|| {
        let user = rustix::process::geteuid().as_raw();
        (user, rustix::process::getegid().as_raw())
    })
}

/// Why this process may not use `path` in this way, and what to do about it.
/// `None` if nothing is known.
pub(crate) fn remedy(path: &Path, how: Use) -> Option<String> {
    if let Some(directory) = closed_directory(path) {
        return Some(Denied::new(&directory, "x")?.to_string());
    }
    let (access, letters) = match how {
        Use::Read => (Access::READ_OK, "r"),
        Use::Write => (Access::WRITE_OK | Access::EXEC_OK, "wx"),
    };
    if is_allowed(path, access) {
        let path = path.display();
        return Some(format!(
            "the mode of {path} allows it: a sandbox or a security module does not"
        ));
    }
    Some(Denied::new(path, letters)?.to_string())
}

/// Whether files can be added to this directory and removed.
pub(crate) fn is_writable(directory: &Path) -> bool {
    is_allowed(directory, Access::WRITE_OK | Access::EXEC_OK)
}

fn is_allowed(path: &Path, access: Access) -> bool {
    rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS).is_ok()
}

/// The first directory on the way to `path` that cannot be entered.
fn closed_directory(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let mut directories: Vec<&Path> = path.ancestors().skip(1).collect();
    directories.reverse();
    directories
        .into_iter()
        .find(|directory| !is_allowed(directory, Access::EXEC_OK))
        .map(Path::to_owned)
}

/// A file or directory whose mode does not allow what this process wants.
struct Denied {
    path: PathBuf,
    owner: (u32, u32),
    mode: u32,
    /// What is missing, as chmod(1) writes it.
    letters: &'static str,
}

impl Denied {
    fn new(path: &Path, letters: &'static str) -> Option<Denied> {
        let metadata = fs::metadata(path).ok()?;
        Some(Denied {
            path: path.to_owned(),
            owner: (metadata.uid(), metadata.gid()),
            mode: metadata.mode() & 0o7777,
            letters,
        })
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, group) = ids();
        let Denied {
            path,
            owner: (owner, owning_group),
            mode,
            letters,
        } = self;
        let path = path.display();
        write!(
            f,
            "{path} belongs to user {owner} and group {owning_group} with mode {mode:04o}, \
             and mm4d runs as user {user} and group {group}: \
             chgrp {group} {path} && chmod g+{letters} {path}"
        )
    }
}

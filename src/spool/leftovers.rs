//! What earlier servers left in tmp/.
//!
//! At start a server removes the drafts of its own name, and nothing else. It
//! does so with the spool's lock held, and still looks at each one: somebody
//! may have removed the lock's file, and then another server of this name may
//! be writing it; and a file system without a journal may have kept the old
//! name of a message that was acknowledged.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::disk::{Disk, Leftover};
use super::id::MessageId;
use crate::log;

/// Nobody has written to a draft for this long: it is no longer in use, however
/// slow its client is allowed to be. `find -mtime +1` means the same.
const STALE: Duration = Duration::from_secs(2 * 24 * 3600);
/// Files of other servers that are looked at, so that a start stays short.
const MAX_FOREIGN: usize = 10_000;

/// Removes the drafts of the server `hostname`. False if another server of that
/// name is alive; then nothing more is removed.
pub fn remove_leftovers(disk: &dyn Disk, hostname: &str) -> io::Result<bool> {
    let ending = format!("@{hostname}.eml");
    let names = disk.drafts()?;
    for name in names.iter().filter(|name| name.ends_with(&ending)) {
        match disk.leftover(name) {
            Ok(Leftover::Dead) => remove(disk, name),
            Ok(Leftover::Live) => return Ok(false),
            Ok(Leftover::Message) => log::leftover_is_message(name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Whatever it is, it is not a file that a live server has open.
            Err(_) => remove(disk, name),
        }
    }
    Ok(true)
}

/// A leftover that stays does no harm.
fn remove(disk: &dyn Disk, name: &str) {
    match disk.remove_draft(name) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => log::cannot_remove("tmp", name, &error),
    }
}

/// Logs how much other servers have left in `tmp`, which is an operator's to
/// remove: a container with a random name never comes back for its drafts.
pub(crate) fn report_foreign(tmp: &Path, hostname: &str) {
    let Ok(entries) = fs::read_dir(tmp) else {
        return;
    };
    let now = SystemTime::now();
    let (mut files, mut bytes) = (0_u64, 0_u64);
    for entry in entries.flatten().take(MAX_FOREIGN) {
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(".eml"));
        let foreign = id
            .and_then(MessageId::parse)
            .is_some_and(|id| id.server() != hostname);
        if !foreign {
            continue;
        }
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let age = metadata.modified().map(|time| now.duration_since(time));
        if metadata.is_file() && matches!(age, Ok(Ok(age)) if age >= STALE) {
            files += 1;
            // Blocks of 512 bytes (stat(2)): what removing it would free.
            bytes = bytes.saturating_add(metadata.blocks().saturating_mul(512));
        }
    }
    if files > 0 {
        log::stale_drafts(files, bytes, tmp);
    }
}

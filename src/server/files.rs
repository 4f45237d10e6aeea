//! Reading the operator's files: limited in size, and without waiting where
//! waiting would be a hang.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// What some editors write before a text in UTF-8; no part of it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Anything, such as the pipe of a shell's `<(…)`: at start, where a signal
    /// ends the wait for it.
    Anything,
    /// Regular files only: where nobody may wait for a writer.
    RegularFile,
}

/// The contents of `path`, at most `max` bytes, without a byte order mark.
pub(super) fn read(path: &Path, max: u64, source: Source) -> io::Result<Vec<u8>> {
    let mut options = File::options();
    options.read(true);
    if source == Source::RegularFile {
        // The open of a FIFO would wait for somebody who writes.
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        options.custom_flags(i32::try_from(flags.bits()).unwrap_or(0));
    }
    let file = options.open(path)?;
    if source == Source::RegularFile {
        check_regular(&file)?;
    }
    let mut bytes = Vec::new();
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        let text = format!("it has more than {max} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(bytes)
}

fn check_regular(file: &File) -> io::Result<()> {
    let kind = file.metadata()?.file_type();
    let found = match kind {
        _ if kind.is_file() => return Ok(()),
        _ if kind.is_dir() => "a directory",
        _ if kind.is_fifo() => "a FIFO",
        _ => "a device",
    };
    Err(io::Error::other(format!(
        "it is {found}, not a regular file"
    )))
}

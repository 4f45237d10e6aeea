//! Standard error as the log's target: a pipe that nobody reads holds nobody up.
//!
//! A write to a full pipe blocks, and with it, one after the other, every
//! session that logs, its deadlines, and the shutdown. Here a line waits a
//! tenth of a second for room, and not at all while none is made; what finds no
//! room is dropped and counted, and the count is told when there is room again.

use std::io::{self, Write};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;

/// How long the first line without room waits.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
/// And each one behind it.
const NONE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Octets that a ready pipe takes without blocking (PIPE_BUF); longer lines are
/// cut into such pieces.
const PIECE: usize = 4096;

/// See the module.
#[derive(Debug)]
pub struct Stderr {
    /// A file always has room, and need not be asked.
    is_file: bool,
    dropped: u64,
}

impl Default for Stderr {
    fn default() -> Self {
        let kind =
            rustix::fs::fstat(io::stderr()).map(|stat| FileType::from_raw_mode(stat.st_mode));
        Stderr {
            is_file: kind.is_ok_and(FileType::is_file),
            dropped: 0,
        }
    }
}

impl Stderr {
    fn has_room(&self) -> bool {
        if self.is_file {
            return true;
        }
        let stderr = io::stderr();
        let mut polled = [PollFd::new(&stderr, PollFlags::OUT)];
        let patience = if self.dropped == 0 { &PATIENCE } else { &NONE };
        // An error of the descriptor is for write to find.
        poll(&mut polled, Some(patience)).is_ok_and(|count| count > 0)
    }

    /// Writes a piece if there is room for it.
    fn put(&self, octets: &[u8]) -> bool {
        self.has_room() && io::stderr().write_all(octets).is_ok()
    }
}

impl Write for Stderr {
    /// Takes every line, written or dropped.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.dropped > 0 {
            let note = format!(
                "[mm4d: {} log lines dropped, nobody read them]\n",
                self.dropped
            );
            if self.put(note.as_bytes()) {
                self.dropped = 0;
            }
        }
        if self.dropped > 0 || !line.chunks(PIECE).all(|piece| self.put(piece)) {
            self.dropped += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! Standard error, without waiting for it: lines go into a queue, and a thread
//! of its own writes them.
//!
//! A write to a full pipe blocks for as long as nobody reads; whoever logs must
//! never wait for that. The queue holds `MAX_QUEUE` bytes. A line that does
//! not fit, or that standard error does not take (a full disk), is dropped and
//! counted, and the count is logged when there is room again.
//!
//! Until the thread runs, which is when the process has confined itself, lines
//! are written at once with a limit on the wait; so they are if the thread cannot
//! be started. At the end of the process [`flush`] waits a bounded time for the
//! queue to be written.

use std::io::{self, Write};
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::Level;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::log::{self as lines, head};

/// Bytes of lines that wait to be written.
const MAX_QUEUE: usize = 1024 * 1024;

/// Bytes of memory that the queue keeps while it is empty.
const KEPT: usize = 16 * 1024;

/// How long the thread lets lines gather before it writes them together.
const GATHER: Duration = Duration::from_millis(10);

/// How long a line waits for room before the thread runs, and how long the end
/// of the process waits for the queue.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes that a ready pipe takes without blocking (PIPE_BUF).
const PIECE: usize = 4096;

static QUEUE: Queue = Queue {
    state: Mutex::new(State {
        lines: Vec::new(),
        dropped: 0,
        has_thread: false,
        is_writing: false,
        is_ending: false,
    }),
    work: Condvar::new(),
    done: Condvar::new(),
};

struct Queue {
    state: Mutex<State>,
    /// There are lines, or the process ends.
    work: Condvar,
    /// Everything is written.
    done: Condvar,
}

struct State {
    lines: Vec<u8>,
    dropped: u64,
    has_thread: bool,
    is_writing: bool,
    is_ending: bool,
}

/// Where the logger writes its lines, each in one call.
#[derive(Clone, Copy, Debug)]
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        QUEUE.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether standard error is the journal: systemd then names its device and
/// inode (systemd.exec(5)).
pub(crate) fn is_journal() -> bool {
    let Ok(stat) = rustix::fs::fstat(io::stderr()) else {
        return false;
    };
    let named = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    named == format!("{}:{}", stat.st_dev, stat.st_ino)
}

/// Reports why the process ends, in one line whatever characters `reason` has.
pub fn report(reason: &str) {
    print("<3>", &format!("{reason}{}", origin(reason)));
}

/// Reports what does not keep the server from starting.
pub fn warn(reason: &str) {
    print("<4>", &format!("warning: {reason}{}", origin(reason)));
}

/// Where a file comes from whose path means nothing to the operator.
fn origin(reason: &str) -> String {
    match std::env::var("CREDENTIALS_DIRECTORY") {
        Ok(directory) if !directory.is_empty() && reason.contains(&directory) => format!(
            "; {directory} has systemd's copies of the files that LoadCredential= names \
             (systemctl cat)"
        ),
        _ => String::new(),
    }
}

/// Prints one line with the priority that it has in the journal.
fn print(priority: &str, text: &str) {
    let escaped = text.chars().map(|character| match character.is_control() {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    });
    let priority = if is_journal() { priority } else { "" };
    let line = format!("{priority}mm4d: {}\n", escaped.collect::<String>());
    QUEUE.push(line.as_bytes());
    flush();
}

/// Waits until the queue is written, at most a second.
pub fn flush() {
    lines::report_suppressed(true);
    let deadline = Instant::now() + PATIENCE;
    let mut state = QUEUE.lock();
    state.is_ending = true;
    QUEUE.work.notify_one();
    while state.has_thread && (state.is_writing || !state.lines.is_empty()) {
        let rest = deadline.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return;
        }
        state = match QUEUE.done.wait_timeout(state, rest) {
            Ok((state, _)) => state,
            Err(poisoned) => poisoned.into_inner().0,
        };
    }
}

/// Calls [`flush`] when it is dropped: also when the thread that has it panics.
#[derive(Debug)]
pub struct FlushAtEnd;

impl Drop for FlushAtEnd {
    fn drop(&mut self) {
        flush();
    }
}

/// Lines are only queued while there is one.
struct Running;

impl Running {
    fn start() -> Running {
        QUEUE.lock().has_thread = true;
        Running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = QUEUE.lock();
        state.has_thread = false;
        state.is_writing = false;
        write_within(&mem::take(&mut state.lines), PATIENCE);
        QUEUE.done.notify_all();
    }
}

/// The thread: writes what is queued, for as long as the process lives.
pub fn run() {
    let _running = Running::start();
    loop {
        let (batch, dropped) = QUEUE.take();
        let mut lost = lost(&batch, write(&batch));
        if dropped > 0 {
            let note = note(dropped);
            if write(note.as_bytes()) < note.len() {
                lost += dropped;
            }
        }
        let mut state = QUEUE.lock();
        state.is_writing = false;
        state.dropped += lost;
        if state.lines.is_empty() {
            QUEUE.done.notify_all();
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if !state.has_thread {
            write_within(line, PATIENCE);
        } else if state.lines.len() + line.len() > MAX_QUEUE {
            state.dropped += 1;
        } else {
            state.lines.extend_from_slice(line);
            if state.lines.len() == line.len() {
                self.work.notify_one();
            }
        }
    }

    /// Waits for lines; takes all of them, and the number of those dropped.
    fn take(&self) -> (Vec<u8>, u64) {
        let mut state = self.lock();
        // Lines may have been suppressed since the last ones were written.
        let mut counting = true;
        while state.lines.is_empty() {
            if !counting {
                state = self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let (woken, result) = self.wait(state, lines::WINDOW);
            state = woken;
            if result {
                drop(state);
                counting = lines::report_suppressed(false);
                state = self.lock();
            }
        }
        if !state.is_ending {
            state = self.wait(state, GATHER).0;
        }
        state.is_writing = true;
        let dropped = mem::take(&mut state.dropped);
        let batch = mem::replace(&mut state.lines, Vec::with_capacity(KEPT));
        (batch, dropped)
    }

    /// Waits for work; whether the time ran out.
    fn wait<'s>(
        &self,
        state: MutexGuard<'s, State>,
        time: Duration,
    ) -> (MutexGuard<'s, State>, bool) {
        match self.work.wait_timeout(state, time) {
            Ok((state, result)) => (state, result.timed_out()),
            Err(poisoned) => (poisoned.into_inner().0, false),
        }
    }
}

fn note(dropped: u64) -> String {
    let head = head(Level::Warn, is_journal());
    format!("{head}dropped log lines count={dropped}: standard error did not take them\n")
}

/// The lines of `batch` of which not everything was written.
fn lost(batch: &[u8], written: usize) -> u64 {
    let rest = batch.get(written..).unwrap_or_default();
    memchr::memchr_iter(b'\n', rest).count() as u64
}

/// Writes everything, however long that takes. An error comes with the number of
/// bytes written before it.
fn write(bytes: &[u8]) -> usize {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match rustix::io::write(io::stderr(), rest) {
            Ok(count) if count > 0 => written += count,
            Err(Errno::INTR) => {}
            // A pipe that somebody made non-blocking.
            Err(Errno::AGAIN) if wait_for_room(None) => {}
            Ok(_) | Err(_) => break,
        }
    }
    written
}

/// Writes as much as there is room for within `patience`.
fn write_within(bytes: &[u8], patience: Duration) {
    let deadline = Instant::now() + patience;
    let is_file = rustix::fs::fstat(io::stderr())
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file());
    for piece in bytes.chunks(PIECE) {
        if !is_file && !wait_for_room(Some(deadline.saturating_duration_since(Instant::now()))) {
            return;
        }
        if write(piece) < piece.len() {
            return;
        }
    }
}

fn wait_for_room(patience: Option<Duration>) -> bool {
    let stderr = io::stderr();
    let mut polled = [PollFd::new(&stderr, PollFlags::OUT)];
    let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
    match poll(&mut polled, patience.as_ref()) {
        Ok(count) => count > 0,
        Err(error) => error == Errno::INTR,
    }
}

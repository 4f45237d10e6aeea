//! The file of `--metrics-file`, which node_exporter's textfile collector reads.
//!
//! The file is replaced by rename, so a reader sees an old or a new one, never a
//! part. Its temporary file is hidden and does not end in `.prom`. It is not
//! synced: after a power cut the next start writes it again. If writing fails
//! later, the server goes on, and the failure is logged once until it is over.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rustix::fs::{Access, AtFlags, CWD};
use rustix::io::Errno;

use super::Metrics;
use crate::log;
use crate::server::{Event, worker};

/// How often the file is written.
const INTERVAL: Duration = Duration::from_secs(15);
/// How long the server waits at its end for the last file.
const LAST_WRITE: Duration = Duration::from_secs(2);
/// Mode of the file, minus the umask: node_exporter runs as another user.
const FILE_MODE: u32 = 0o644;

/// Why the metrics file cannot be written.
#[derive(Debug)]
pub struct MetricsError {
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for MetricsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot write the metrics file {}: {}; \
             give a file in a directory that mm4d may write to with --metrics-file",
            self.path.display(),
            self.error
        )
    }
}

impl std::error::Error for MetricsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Whether the metrics file can be written, as far as that is known without
/// writing it.
pub(in crate::server) fn check(path: &Path) -> Result<(), MetricsError> {
    let failed = |error| MetricsError {
        path: path.to_owned(),
        error,
    };
    let file = MetricsFile::new(path).map_err(failed)?;
    let directory = match file.path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let access = Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::accessat(CWD, directory, access, AtFlags::EACCESS)
        .map_err(|error| failed(error.into()))
}

/// The metrics file and its temporary file, in the same directory.
#[derive(Debug)]
struct MetricsFile {
    path: PathBuf,
    temporary: PathBuf,
}

impl MetricsFile {
    fn new(path: &Path) -> io::Result<MetricsFile> {
        let name = path
            .file_name()
            .filter(|_| !path.is_dir())
            .ok_or_else(|| io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"))?;
        let mut temporary = OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".tmp-{}", std::process::id()));
        Ok(MetricsFile {
            temporary: path.with_file_name(temporary),
            path: path.to_owned(),
        })
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let result = self.replace(text);
        if result.is_err() {
            let _ = fs::remove_file(&self.temporary);
        }
        result
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        // A file of this name is the rest of a process that had the same id.
        let _ = fs::remove_file(&self.temporary);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&self.temporary)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&self.temporary, &self.path)
    }
}

/// The thread that writes the metrics file. Dropping it writes the last one.
pub struct Exporter {
    /// Dropped to end the thread.
    running: Option<Sender<()>>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
    _thread: JoinHandle<()>,
}

impl Exporter {
    /// Writes the file, then starts the thread that writes it again every 15
    /// seconds.
    pub fn start(
        path: &Path,
        metrics: Arc<Metrics>,
        events: Sender<Event>,
    ) -> Result<Exporter, MetricsError> {
        let failed = |error| MetricsError {
            path: path.to_owned(),
            error,
        };
        let file = MetricsFile::new(path).map_err(failed)?;
        let mut failing = false;
        match export(&file, &metrics) {
            // Space may return; the other reasons stay.
            Err(error) if is_shortage_of_space(&error) => {
                report(&file, Err(error), &mut failing);
            }
            result => result.map_err(failed)?,
        }
        let (running, stop) = bounded(0);
        let (ending, ended) = bounded(0);
        let thread = worker("metrics", events, move || {
            write_until(&stop, &file, &metrics, failing);
            drop(ending);
        })
        .map_err(failed)?;
        Ok(Exporter {
            running: Some(running),
            ended,
            _thread: thread,
        })
    }
}

fn is_shortage_of_space(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NOSPC | Errno::DQUOT))
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.running = None;
        // A file system that hangs must not hold up the end of the server.
        let _ = self.ended.recv_timeout(LAST_WRITE);
    }
}

/// Writes the file at each interval and once more when `stop` is disconnected.
/// `failing` is whether the write before was reported as failed.
fn write_until(stop: &Receiver<()>, file: &MetricsFile, metrics: &Metrics, mut failing: bool) {
    loop {
        let last = stop.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout);
        report(file, export(file, metrics), &mut failing);
        if last {
            return;
        }
    }
}

/// Logs the first failure of a row, and its end.
fn report(file: &MetricsFile, result: io::Result<()>, failing: &mut bool) {
    match &result {
        Ok(()) if *failing => log::metrics_recovered(&file.path),
        Err(error) if !*failing => log::metrics_failed(&file.path, error),
        Ok(()) | Err(_) => {}
    }
    *failing = result.is_err();
}

fn export(file: &MetricsFile, metrics: &Metrics) -> io::Result<()> {
    file.write(&metrics.text().map_err(io::Error::other)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    use rustix::fs::inotify;

    #[test]
    fn no_other_name_in_the_directory_ends_in_prom_at_any_moment() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mm4d.prom");
        let file = MetricsFile::new(&path).unwrap();
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let watch = inotify::init(flags).unwrap();
        let events = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&watch, directory.path(), events).unwrap();

        for count in 0..100 {
            file.write(&format!("{count}\n")).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{count}\n"));
        }

        let mut buffer = [std::mem::MaybeUninit::uninit(); 1024];
        let mut reader = inotify::Reader::new(&watch, &mut buffer);
        let (mut created, mut renamed) = (0, 0);
        while let Ok(event) = reader.next() {
            let name = event.file_name().unwrap().to_bytes();
            if event.events().contains(inotify::ReadFlags::MOVED_TO) {
                assert_eq!(name, path.file_name().unwrap().as_bytes());
                renamed += 1;
            } else {
                assert!(!name.ends_with(b".prom") && name.starts_with(b"."));
                created += 1;
            }
        }
        assert_eq!((created, renamed), (100, 100));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mm4d.prom");
        let file = MetricsFile::new(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(MetricsFile::new(&path).is_err());
        assert!(file.write("1\n").is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}

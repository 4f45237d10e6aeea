//! Each message as it is published, like `tail -f`.
//!
//! inotify tells of names; what is printed once is remembered by its id, so that
//! a consumer's move from new/ to cur/ prints nothing again. When the kernel's
//! queue overflows (16,384 events unless set otherwise) the directories are read
//! again and whatever was not printed is. A message that is deleted before it
//! could be opened is named, without its content. Limits: ids of messages that
//! are gone are forgotten once [`FORGET_AT`] are remembered. Fails when the
//! directory goes away.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io::{self, ErrorKind, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use super::json;
use super::list::Row;
use super::maildir::{Entry, Octets, Spool, entry_of};
use super::message::Message;
use super::terminal;

/// Ids remembered before those of messages that are gone are forgotten.
pub const FORGET_AT: usize = 100_000;
/// Octets of events read at once.
const BUFFER: usize = 64 * 1024;
/// How long a file that was written in place, or linked there, must not have
/// grown to be taken for whole.
const SETTLED: Duration = Duration::from_millis(250);

/// Watches a spool from now on.
#[derive(Debug)]
pub struct Follower<'s> {
    spool: &'s Spool,
    events: OwnedFd,
    directories: Vec<(i32, PathBuf)>,
    seen: HashSet<String>,
    /// Seen, and gone when the directories were last read.
    gone: Vec<String>,
    /// Created, with the size they had since when; not yet known to be whole.
    growing: Vec<(PathBuf, u64, Instant)>,
    forget_at: usize,
}

impl<'s> Follower<'s> {
    /// Begins to watch: what is published after this returns is told of, what
    /// is there already is not.
    ///
    /// # Errors
    ///
    /// When the spool is no directory, or the system has no watch left
    /// (`fs.inotify.max_user_watches`).
    pub fn start(spool: &'s Spool) -> io::Result<Follower<'s>> {
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let mut directories = Vec::new();
        for directory in spool.directories() {
            let flags = WatchFlags::MOVED_TO
                | WatchFlags::CREATE
                | WatchFlags::CLOSE_WRITE
                | WatchFlags::DELETE_SELF
                | WatchFlags::MOVE_SELF
                | WatchFlags::ONLYDIR;
            let watch = inotify::add_watch(&events, directory.as_path(), flags)?;
            directories.push((watch, directory));
        }
        if directories.is_empty() {
            return Err(io::Error::other("is no directory"));
        }
        // After the watches, so that nothing falls between the two.
        let seen = spool.entries()?.into_iter().map(|entry| entry.id).collect();
        Ok(Follower {
            spool,
            events,
            directories,
            seen,
            gone: Vec::new(),
            growing: Vec::new(),
            forget_at: FORGET_AT,
        })
    }

    /// Waits for messages and gives those that came, in their order. `None` when
    /// whoever reads `out` has gone.
    ///
    /// # Errors
    ///
    /// When a directory goes away or cannot be read.
    pub fn wait(&mut self, out: &impl AsFd) -> io::Result<Option<Vec<Entry>>> {
        let settled = Timespec {
            tv_sec: 0,
            tv_nsec: SETTLED.subsec_nanos().into(),
        };
        let timeout = (!self.growing.is_empty()).then_some(&settled);
        let mut ready = [
            PollFd::new(&self.events, PollFlags::IN),
            PollFd::new(out, PollFlags::empty()),
        ];
        match poll(&mut ready, timeout) {
            Err(rustix::io::Errno::INTR) => return Ok(Some(Vec::new())),
            other => other?,
        };
        let [_, reader] = ready;
        if reader.revents().intersects(PollFlags::ERR | PollFlags::HUP) {
            return Ok(None);
        }
        let mut came = Vec::new();
        let overflowed = self.drain(&mut came)?;
        self.settle(&mut came);
        if overflowed {
            came = self.spool.entries()?;
        }
        // Where it was last seen is where it can be read.
        let last: HashMap<String, PathBuf> = came
            .iter()
            .map(|entry| (entry.id.clone(), entry.path.clone()))
            .collect();
        came.retain(|entry| self.seen.insert(entry.id.clone()));
        for entry in &mut came {
            if let Some(path) = last.get(&entry.id) {
                entry.path.clone_from(path);
            }
        }
        self.forget()?;
        Ok(Some(came))
    }

    /// Takes every event that waits; true when some were lost.
    fn drain(&mut self, came: &mut Vec<Entry>) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut events = inotify::Reader::new(&self.events, &mut buffer);
        let mut overflowed = false;
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(overflowed),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let flags = event.events();
            let ended = ReadFlags::IGNORED
                | ReadFlags::DELETE_SELF
                | ReadFlags::MOVE_SELF
                | ReadFlags::UNMOUNT;
            if flags.intersects(ended) {
                return Err(io::Error::new(
                    ErrorKind::NotFound,
                    "the directory has gone away",
                ));
            }
            overflowed |= flags.contains(ReadFlags::QUEUE_OVERFLOW);
            let directory = self.directories.iter().find(|found| found.0 == event.wd());
            let name = event
                .file_name()
                .map(|name| OsStr::from_bytes(name.to_bytes()));
            let (Some((_, directory)), Some(name)) = (directory, name) else {
                continue;
            };
            if flags.contains(ReadFlags::ISDIR) || !self.spool.is_message(name) {
                continue;
            }
            let path = directory.join(name);
            if flags.contains(ReadFlags::CREATE) {
                // A link is whole, a file that is written in place is not.
                self.growing.push((path, 0, Instant::now()));
            } else {
                self.growing.retain(|(growing, ..)| *growing != path);
                came.push(entry_of(&path));
            }
        }
    }

    /// Takes what was created and has not grown since it was last looked at.
    fn settle(&mut self, came: &mut Vec<Entry>) {
        self.growing.retain_mut(|(path, size, since)| {
            let Ok(meta) = std::fs::metadata(&*path) else {
                came.push(entry_of(path));
                return false;
            };
            if meta.len() != *size {
                (*size, *since) = (meta.len(), Instant::now());
            }
            let whole = *size > 0 && since.elapsed() >= SETTLED;
            if whole {
                came.push(entry_of(path));
            }
            !whole
        });
    }

    /// Forgets what was gone the last time, now that every event of that time
    /// has been taken and none can tell of it again.
    fn forget(&mut self) -> io::Result<()> {
        for id in self.gone.drain(..) {
            self.seen.remove(&id);
        }
        if self.seen.len() < self.forget_at {
            return Ok(());
        }
        let there: HashSet<String> = self
            .spool
            .entries()?
            .into_iter()
            .map(|entry| entry.id)
            .collect();
        self.gone = self.seen.difference(&there).cloned().collect();
        self.forget_at = FORGET_AT.max(2 * there.len());
        Ok(())
    }
}

/// Prints one message that came, on one line.
///
/// # Errors
///
/// When nothing can be written.
pub fn print(spool: &Spool, entry: &Entry, as_json: bool, out: &mut dyn Write) -> io::Result<()> {
    let (file, missing) = match spool.read(entry) {
        Ok(file) => (file, None),
        Err(error) => (nothing(&entry.path), Some(error)),
    };
    let message = Message::read(entry, &file);
    match missing {
        _ if as_json => writeln!(out, "{}", json::message(&message)),
        None => writeln!(out, "{}", Row::of(&message).alone()),
        Some(error) => {
            let why = match error.kind() {
                ErrorKind::NotFound => "gone before it could be read".to_owned(),
                _ => error.to_string(),
            };
            writeln!(out, "{}  {why}", terminal::line(&entry.id))
        }
    }
}

fn nothing(path: &Path) -> Octets {
    Octets {
        path: path.to_owned(),
        octets: Vec::new(),
        file_size: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::mpsc;

    fn maildir() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["tmp", "new", "cur"] {
            fs::create_dir(dir.path().join(sub)).unwrap();
        }
        dir
    }

    fn id(number: usize) -> String {
        format!("20220126T001743.{number:06}Z-7-000001@mm4.example.com")
    }

    fn publish(dir: &Path, number: usize) {
        let draft = dir.join(format!("tmp/{}.eml", id(number)));
        fs::write(&draft, "To: a\r\n").unwrap();
        fs::rename(&draft, dir.join(format!("new/{}.eml", id(number)))).unwrap();
    }

    /// What comes until there are so many. After a minute the reader goes, and
    /// waiting ends.
    fn come(follower: &mut Follower<'_>, count: usize) -> Vec<String> {
        let (reader, writer) = std::io::pipe().unwrap();
        let (enough, wanted) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            let _ = wanted.recv_timeout(Duration::from_secs(60));
            drop(reader);
        });
        let mut ids = Vec::new();
        while ids.len() < count {
            let Some(came) = follower.wait(&writer).unwrap() else {
                break;
            };
            ids.extend(came.into_iter().map(|entry| entry.id));
        }
        drop(enough);
        ids
    }

    #[test]
    fn a_burst_is_told_of_once_each_while_a_consumer_moves_it_away() {
        let dir = maildir();
        publish(dir.path(), 0);
        let spool = Spool::open(dir.path()).unwrap();
        let mut follower = Follower::start(&spool).unwrap();
        for number in 1..=1000 {
            publish(dir.path(), number);
            let name = format!("{}.eml", id(number));
            if number % 2 == 0 {
                let seen = dir.path().join(format!("cur/{name}:2,S"));
                fs::rename(dir.path().join("new").join(&name), &seen).unwrap();
                if number % 4 == 0 {
                    fs::remove_file(seen).unwrap();
                }
            }
        }
        let wanted: Vec<_> = (1..=1000).map(id).collect();
        assert_eq!(come(&mut follower, 1000), wanted);
        publish(dir.path(), 1001);
        assert_eq!(come(&mut follower, 1), [id(1001)]);
    }

    #[test]
    fn events_that_were_lost_are_made_up_for() {
        let dir = maildir();
        let spool = Spool::open(dir.path()).unwrap();
        let mut follower = Follower::start(&spool).unwrap();
        let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
            .ok()
            .and_then(|text| text.trim().parse::<usize>().ok())
            .unwrap_or(16_384);
        if most > 100_000 {
            eprintln!("skipped: the kernel queues {most} events here");
            return;
        }
        let count = most + 10;
        for number in 0..count {
            publish(dir.path(), number);
        }
        let mut ids = come(&mut follower, count);
        assert_eq!(ids.len(), count);
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }

    #[test]
    fn a_link_is_told_of_too() {
        let dir = maildir();
        let spool = Spool::open(dir.path()).unwrap();
        let mut follower = Follower::start(&spool).unwrap();
        let draft = dir.path().join("tmp/draft");
        fs::write(&draft, "To: a\r\n").unwrap();
        fs::hard_link(&draft, dir.path().join("new/1643156263.P1.host")).unwrap();
        assert_eq!(come(&mut follower, 1), ["1643156263.P1.host"]);
    }

    #[test]
    fn what_is_gone_is_forgotten_and_still_not_told_of_twice() {
        let dir = maildir();
        let spool = Spool::open(dir.path()).unwrap();
        let mut follower = Follower::start(&spool).unwrap();
        follower.forget_at = 2;
        for number in 0..3 {
            publish(dir.path(), number);
        }
        assert_eq!(come(&mut follower, 3).len(), 3);
        for number in 0..2 {
            let name = format!("new/{}.eml", id(number));
            fs::remove_file(dir.path().join(name)).unwrap();
        }
        follower.forget_at = 2;
        publish(dir.path(), 3);
        assert_eq!(come(&mut follower, 1), [id(3)]);
        publish(dir.path(), 4);
        assert_eq!(come(&mut follower, 1), [id(4)]);
        assert_eq!(follower.seen.len(), 3);
    }

    #[test]
    fn it_ends_when_nobody_reads() {
        let dir = maildir();
        let spool = Spool::open(dir.path()).unwrap();
        let mut follower = Follower::start(&spool).unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert!(follower.wait(&writer).unwrap().is_none());
    }

    #[test]
    fn it_fails_when_the_directory_goes() {
        let dir = maildir();
        let spool = Spool::open(dir.path()).unwrap();
        let mut follower = Follower::start(&spool).unwrap();
        fs::remove_dir(dir.path().join("new")).unwrap();
        let (_reader, writer) = std::io::pipe().unwrap();
        assert!(follower.wait(&writer).is_err());
    }

    #[test]
    fn a_message_that_is_gone_is_named() {
        let dir = maildir();
        let spool = Spool::open(dir.path()).unwrap();
        let entry = entry_of(&dir.path().join("new/gone.eml"));
        let mut out = Vec::new();
        print(&spool, &entry, false, &mut out).unwrap();
        assert_eq!(out, b"gone  gone before it could be read\n");
    }
}

//! Each message as it is published, like `tail -f`.
//!
//! inotify reports names; what was reported once is remembered by its id, so that
//! a consumer's move from new/ to cur/ reports nothing again. When the kernel's
//! queue overflows (16,384 events unless set otherwise) the directories are read
//! again and whatever was not reported is. Only regular files are messages.
//! Limits: ids of deleted messages are forgotten once [`FORGET_AT`] are
//! remembered. Fails when the directory is removed.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use super::store::{Entry, Store};

/// Ids remembered before those of deleted messages are forgotten.
pub const FORGET_AT: usize = 100_000;
/// Bytes of events read at once.
const BUFFER: usize = 64 * 1024;
/// How long a file that was written in place, or linked there, must not have
/// grown to be taken as whole.
const SETTLED: Duration = Duration::from_millis(250);

/// Watches a spool from now on.
#[derive(Debug)]
pub struct Follower<'s> {
    spool: &'s Store,
    events: OwnedFd,
    directories: Vec<(i32, PathBuf)>,
    seen: HashSet<String>,
    /// Seen, and missing when the directories were last read.
    missing: Vec<String>,
    /// Created, with the size they had since when; not yet known to be whole.
    growing: Vec<(PathBuf, u64, Instant)>,
    forget_at: usize,
}

impl<'s> Follower<'s> {
    /// Begins to watch: what is published after this returns is reported, what
    /// exists already is not.
    ///
    /// # Errors
    ///
    /// When the spool is not a directory, or the system has no watch left
    /// (`fs.inotify.max_user_watches`).
    pub fn start(spool: &'s Store) -> io::Result<Follower<'s>> {
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
            return Err(io::Error::other("it is not a directory"));
        }
        // After the watches, so that nothing falls between the two.
        let seen = spool.entries()?.into_iter().map(|entry| entry.id).collect();
        Ok(Follower {
            spool,
            events,
            directories,
            seen,
            missing: Vec::new(),
            growing: Vec::new(),
            forget_at: FORGET_AT,
        })
    }

    /// Waits for messages and returns those that were published, in their order.
    /// `None` when the reader of `out` has closed it.
    ///
    /// # Errors
    ///
    /// When a directory is removed or cannot be read.
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
        let mut published = Vec::new();
        let overflowed = self.drain(&mut published)?;
        self.settle(&mut published);
        if overflowed {
            published = self.spool.entries()?;
        }
        // Where it was last seen is where it can be read.
        let last: HashMap<String, PathBuf> = published
            .iter()
            .map(|entry| (entry.id.clone(), entry.path.clone()))
            .collect();
        published.retain(|entry| self.seen.insert(entry.id.clone()));
        for entry in &mut published {
            if let Some(path) = last.get(&entry.id) {
                entry.path.clone_from(path);
            }
        }
        self.forget()?;
        Ok(Some(published))
    }

    /// Takes every event that is queued; true when some were lost.
    fn drain(&mut self, published: &mut Vec<Entry>) -> io::Result<bool> {
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
                    "the directory was removed or renamed",
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
            if !may_be_message(&path) {
                continue;
            }
            if flags.contains(ReadFlags::CREATE) {
                // A link is whole, a file that is written in place is not.
                self.growing.push((path, 0, Instant::now()));
            } else {
                self.growing.retain(|(growing, ..)| *growing != path);
                published.push(Entry::at(&path));
            }
        }
    }

    /// Takes what was created and has not grown since it was last looked at.
    fn settle(&mut self, published: &mut Vec<Entry>) {
        self.growing.retain_mut(|(path, size, since)| {
            let Ok(meta) = std::fs::metadata(&*path) else {
                published.push(Entry::at(path));
                return false;
            };
            if meta.len() != *size {
                (*size, *since) = (meta.len(), Instant::now());
            }
            let whole = *size > 0 && since.elapsed() >= SETTLED;
            if whole {
                published.push(Entry::at(path));
            }
            !whole
        });
    }

    /// Forgets what was missing the last time, now that every event of that time
    /// has been taken and none can report it again.
    fn forget(&mut self) -> io::Result<()> {
        for id in self.missing.drain(..) {
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
        self.missing = self.seen.difference(&there).cloned().collect();
        self.forget_at = FORGET_AT.max(2 * there.len());
        Ok(())
    }
}

/// A regular file, or one that was moved or deleted meanwhile.
fn may_be_message(path: &Path) -> bool {
    match std::fs::symlink_metadata(path) {
        Ok(meta) => meta.is_file(),
        Err(error) => error.kind() == ErrorKind::NotFound,
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

    /// What is published until there are `count`. After a minute the reader
    /// closes, and waiting ends.
    fn receive(follower: &mut Follower<'_>, count: usize) -> Vec<String> {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let (enough, wanted) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            let _ = wanted.recv_timeout(Duration::from_secs(60));
            drop(reader);
        });
        let mut ids = Vec::new();
        while ids.len() < count {
            let Some(published) = follower.wait(&writer).unwrap() else {
                break;
            };
            ids.extend(published.into_iter().map(|entry| entry.id));
        }
        drop(enough);
        ids
    }

    #[test]
    fn a_burst_is_reported_once_each_while_a_consumer_moves_it_away() {
        let dir = maildir();
        publish(dir.path(), 0);
        let spool = Store::open(dir.path()).unwrap();
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
        assert_eq!(receive(&mut follower, 1000), wanted);
        publish(dir.path(), 1001);
        assert_eq!(receive(&mut follower, 1), [id(1001)]);
    }

    #[test]
    fn messages_of_lost_events_are_reported() {
        let dir = maildir();
        let spool = Store::open(dir.path()).unwrap();
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
        let mut ids = receive(&mut follower, count);
        assert_eq!(ids.len(), count);
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }

    #[test]
    fn a_link_is_reported_too() {
        let dir = maildir();
        let spool = Store::open(dir.path()).unwrap();
        let mut follower = Follower::start(&spool).unwrap();
        let draft = dir.path().join("tmp/draft");
        fs::write(&draft, "To: a\r\n").unwrap();
        fs::hard_link(&draft, dir.path().join("new/1643156263.P1.host")).unwrap();
        assert_eq!(receive(&mut follower, 1), ["1643156263.P1.host"]);
    }

    #[test]
    fn what_is_deleted_is_forgotten_and_still_not_reported_twice() {
        let dir = maildir();
        let spool = Store::open(dir.path()).unwrap();
        let mut follower = Follower::start(&spool).unwrap();
        follower.forget_at = 2;
        for number in 0..3 {
            publish(dir.path(), number);
        }
        assert_eq!(receive(&mut follower, 3).len(), 3);
        for number in 0..2 {
            let name = format!("new/{}.eml", id(number));
            fs::remove_file(dir.path().join(name)).unwrap();
        }
        follower.forget_at = 2;
        publish(dir.path(), 3);
        assert_eq!(receive(&mut follower, 1), [id(3)]);
        publish(dir.path(), 4);
        assert_eq!(receive(&mut follower, 1), [id(4)]);
        assert_eq!(follower.seen.len(), 3);
    }

    #[test]
    fn it_ends_when_the_reader_closes() {
        let dir = maildir();
        let spool = Store::open(dir.path()).unwrap();
        let mut follower = Follower::start(&spool).unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop(reader);
        assert!(follower.wait(&writer).unwrap().is_none());
    }

    #[test]
    fn it_fails_when_the_directory_is_removed() {
        let dir = maildir();
        let spool = Store::open(dir.path()).unwrap();
        let mut follower = Follower::start(&spool).unwrap();
        fs::remove_dir(dir.path().join("new")).unwrap();
        let (_reader, writer) = rustix::pipe::pipe().unwrap();
        assert!(follower.wait(&writer).is_err());
    }

    #[test]
    fn a_pipe_is_not_a_message() {
        let dir = maildir();
        let spool = Store::open(dir.path()).unwrap();
        let mut follower = Follower::start(&spool).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o644);
        let draft = dir.path().join("tmp/pipe.eml");
        rustix::fs::mkfifoat(rustix::fs::CWD, &draft, mode).unwrap();
        fs::rename(&draft, dir.path().join("new/pipe.eml")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("new/other.eml"), mode).unwrap();
        publish(dir.path(), 1);
        assert_eq!(receive(&mut follower, 1), [id(1)]);
        assert!(follower.growing.is_empty());
    }
}

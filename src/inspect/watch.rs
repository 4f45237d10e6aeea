//! Each message as it is published, like `tail -f`.
//!
//! inotify reports names; what was reported once is remembered by its id, so that
//! a consumer's move from new/ to cur/ reports nothing again. When the kernel's
//! queue overflows (16,384 events unless set otherwise) the directories are read
//! again and whatever was not reported is. A spool that is missing is waited for, and
//! one that was replaced is watched in its place: both are noticed within [`TICK`].
//! Only regular files are messages, and only whole ones: renamed, linked, or closed by
//! their writer. A file whose writer cannot be seen is whole once it has not grown for
//! [`LISTED_LIMIT`], one that was created while watched after [`CREATED_LIMIT`].
//! Limits: ids of deleted messages are forgotten once [`FORGET_AT`] are remembered.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use super::store::{Entry, Identity, Store};

/// Ids remembered before those of deleted messages are forgotten.
pub const FORGET_AT: usize = 100_000;
/// Bytes of events read at once.
const BUFFER: usize = 64 * 1024;
/// How long a linked file must not have grown to be taken as whole.
const SETTLED: Duration = Duration::from_millis(250);
/// How often the spool's directories are looked at.
pub const TICK: Duration = Duration::from_millis(500);
/// How long a file that was found in a new spool must not have grown.
pub const LISTED_LIMIT: Duration = Duration::from_secs(3);
/// How long a file must not have grown whose creation was seen and whose end was not.
pub const CREATED_LIMIT: Duration = Duration::from_secs(60);

/// Watches a spool from now on.
#[derive(Debug)]
pub struct Follower {
    root: PathBuf,
    /// `None` while there is no spool.
    watched: Option<Watched>,
    seen: HashSet<String>,
    /// Seen, and missing when the directories were last read.
    missing: Vec<String>,
    /// Not yet known to be whole.
    growing: Vec<Growing>,
    forget_at: usize,
}

/// A spool, and the events of its directories.
#[derive(Debug)]
struct Watched {
    store: Store,
    identity: Identity,
    events: OwnedFd,
    directories: Vec<(i32, PathBuf)>,
}

/// A file that may still be written.
#[derive(Debug)]
struct Growing {
    path: PathBuf,
    size: u64,
    /// Since when it has had that size.
    since: Instant,
    limit: Duration,
}

impl Watched {
    /// Watches the spool at `root`; `None` when there is none.
    fn start(root: &Path) -> io::Result<Option<Watched>> {
        let identity = Store::identity(root);
        let store = match Store::open(root) {
            Ok(store) => store,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let flags = WatchFlags::MOVED_TO
            | WatchFlags::CREATE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ONLYDIR;
        let mut directories = Vec::new();
        for directory in store.directories() {
            match inotify::add_watch(&events, directory.as_path(), flags) {
                Ok(watch) => directories.push((watch, directory)),
                // Removed meanwhile: the next look at the identity notices.
                Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if directories.is_empty() && root.is_file() {
            return Err(io::Error::other("it is not a directory"));
        }
        Ok(Some(Watched {
            store,
            identity,
            events,
            directories,
        }))
    }
}

impl Follower {
    /// Begins to watch: what is published after this returns is reported, what
    /// exists already is not. A spool that is missing is waited for.
    ///
    /// # Errors
    ///
    /// When the spool is not a directory, or the system has no watch left
    /// (`fs.inotify.max_user_watches`).
    pub fn start(root: &Path) -> io::Result<Follower> {
        let watched = Watched::start(root)?;
        // After the watches, so that nothing falls between the two.
        let seen = match &watched {
            Some(watched) => watched.store.entries()?,
            None => Vec::new(),
        };
        Ok(Follower {
            root: root.to_owned(),
            watched,
            seen: seen.into_iter().map(|entry| entry.id).collect(),
            missing: Vec::new(),
            growing: Vec::new(),
            forget_at: FORGET_AT,
        })
    }

    /// The spool, where there is one now.
    pub fn store(&self) -> Option<&Store> {
        self.watched.as_ref().map(|watched| &watched.store)
    }

    /// Waits for messages, `at_most` so long or a few hundred milliseconds, and returns
    /// those that were published, in their order. `None` when the reader of `out` has
    /// closed it.
    ///
    /// # Errors
    ///
    /// When a directory cannot be read or watched.
    pub fn wait(&mut self, out: &impl AsFd, at_most: Duration) -> io::Result<Option<Vec<Entry>>> {
        let settle = if self.growing.is_empty() {
            TICK
        } else {
            SETTLED
        };
        if !self.poll(out, at_most.min(settle))? {
            return Ok(None);
        }
        let mut published = Vec::new();
        let overflowed = self.drain(&mut published)?;
        self.settle(&mut published);
        let was_replaced = self.look_again()?;
        if overflowed || was_replaced {
            self.list(&mut published)?;
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

    /// Waits for an event; false when the reader of `out` has closed it.
    fn poll(&self, out: &impl AsFd, at_most: Duration) -> io::Result<bool> {
        let timeout = Timespec {
            tv_sec: at_most.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: at_most.subsec_nanos().into(),
        };
        let mut ready = vec![PollFd::new(out, PollFlags::empty())];
        if let Some(watched) = &self.watched {
            ready.push(PollFd::new(&watched.events, PollFlags::IN));
        }
        match poll(&mut ready, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => return Ok(true),
            other => other?,
        };
        let closed = PollFlags::ERR | PollFlags::HUP;
        let reader = ready.first().map(PollFd::revents);
        Ok(!reader.is_some_and(|events| events.intersects(closed)))
    }

    /// Watches what is at the root now, if that is another spool than before.
    fn look_again(&mut self) -> io::Result<bool> {
        let identity = Store::identity(&self.root);
        let before = self.watched.as_ref().map(|watched| watched.identity);
        if before.unwrap_or_default() == identity {
            return Ok(false);
        }
        self.watched = Watched::start(&self.root)?;
        Ok(true)
    }

    /// Takes whatever is in the directories; what may still be written waits.
    fn list(&mut self, published: &mut Vec<Entry>) -> io::Result<()> {
        let Some(watched) = &self.watched else {
            return Ok(());
        };
        for entry in watched.store.entries()? {
            let meta = std::fs::metadata(&entry.path);
            match meta.is_ok_and(|meta| !is_linked(&meta) && is_young(&meta)) {
                true if self.seen.contains(&entry.id) => {}
                true => self.growing.push(Growing::new(entry.path, LISTED_LIMIT)),
                false => published.push(entry),
            }
        }
        Ok(())
    }

    /// Takes every event that is queued; true when some were lost.
    fn drain(&mut self, published: &mut Vec<Entry>) -> io::Result<bool> {
        let Some(watched) = &self.watched else {
            return Ok(false);
        };
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut events = inotify::Reader::new(&watched.events, &mut buffer);
        let mut overflowed = false;
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(overflowed),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let flags = event.events();
            overflowed |= flags.contains(ReadFlags::QUEUE_OVERFLOW);
            let directory = watched
                .directories
                .iter()
                .find(|found| found.0 == event.wd());
            let name = event
                .file_name()
                .map(|name| OsStr::from_bytes(name.to_bytes()));
            let (Some((_, directory)), Some(name)) = (directory, name) else {
                continue;
            };
            if flags.contains(ReadFlags::ISDIR) || !watched.store.is_message(name) {
                continue;
            }
            let path = directory.join(name);
            if !may_be_message(&path) {
                continue;
            }
            if flags.contains(ReadFlags::CREATE) {
                // A link is whole, a file that is written in place is not.
                self.growing.push(Growing::new(path, CREATED_LIMIT));
            } else {
                self.growing.retain(|growing| growing.path != path);
                published.push(Entry::at(&path));
            }
        }
    }

    /// Takes what is known to be whole now.
    fn settle(&mut self, published: &mut Vec<Entry>) {
        self.growing.retain_mut(|growing| {
            let Ok(meta) = std::fs::metadata(&growing.path) else {
                published.push(Entry::at(&growing.path));
                return false;
            };
            if meta.len() != growing.size {
                (growing.size, growing.since) = (meta.len(), Instant::now());
            }
            let needed = if is_linked(&meta) {
                SETTLED
            } else {
                growing.limit
            };
            let is_whole = growing.size > 0 && growing.since.elapsed() >= needed;
            if is_whole {
                published.push(Entry::at(&growing.path));
            }
            !is_whole
        });
    }

    /// Forgets what was missing the last time, now that every event of that time
    /// has been taken and none can report it again.
    fn forget(&mut self) -> io::Result<()> {
        for id in self.missing.drain(..) {
            self.seen.remove(&id);
        }
        let Some(watched) = &self.watched else {
            return Ok(());
        };
        if self.seen.len() < self.forget_at {
            return Ok(());
        }
        let there: HashSet<String> = watched
            .store
            .entries()?
            .into_iter()
            .map(|entry| entry.id)
            .collect();
        self.missing = self.seen.difference(&there).cloned().collect();
        self.forget_at = FORGET_AT.max(2 * there.len());
        Ok(())
    }
}

impl Growing {
    fn new(path: PathBuf, limit: Duration) -> Growing {
        Growing {
            path,
            size: 0,
            since: Instant::now(),
            limit,
        }
    }
}

/// Whether the file has got a name after it was last written, by a link or a rename:
/// a file that is written in place has both times from its last write.
fn is_linked(meta: &Metadata) -> bool {
    let changed = (meta.ctime(), meta.ctime_nsec());
    meta.nlink() > 1 || changed > (meta.mtime(), meta.mtime_nsec())
}

/// Whether the file was written so lately that it may still be.
fn is_young(meta: &Metadata) -> bool {
    let age = meta.modified().ok().and_then(|time| time.elapsed().ok());
    age.is_none_or(|age| age < LISTED_LIMIT)
}

/// A regular file, or one that was moved or deleted meanwhile.
fn may_be_message(path: &Path) -> bool {
    match std::fs::symlink_metadata(path) {
        Ok(meta) => meta.is_file(),
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests;

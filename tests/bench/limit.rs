//! The limit of a disk: mails made durable by threads, without network or SMTP.
//!
//! Every strategy here gives what mm4d's 250 promises: when `publish` returns,
//! the file's contents and its name in new/ have been synced to the device.
//! They differ in who syncs what, and in how much one sync covers. The best of
//! them at a given number of threads is the mark for a server with as many
//! connections.
//!
//! sync_file_range(2) is out of reach without unsafe code, so `started` begins
//! the writeback with posix_fadvise(DONTNEED), which on Linux starts it for the
//! dirty pages of the file and does not wait.
//!
//! A fault of the disk ends the program: a measurement of a failing disk is
//! worth nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::fs::{Advice, fadvise, syncfs};

use crate::load::Outcome;

/// Who syncs what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Contents synced by the threads; names and the directory by one writer, in groups.
    Grouped,
    /// Contents synced and renamed by the threads; the directory by one writer, in groups.
    Renamed,
    /// As `Renamed`, but the first thread to come syncs the directory for all that wait.
    Leader,
    /// As `Grouped`, but the first thread to come does the writer's work for all that wait.
    Led,
    /// One writer syncs contents one by one, renames, and syncs the directory in groups.
    Writer,
    /// As `Writer`, but the writeback of the whole group is started before the first wait.
    Started,
    /// One writer syncs the file system once a group, renames, syncs the directory.
    Syncfs,
    /// Every thread syncs the contents and the directory itself.
    Twice,
}

impl Strategy {
    /// All of them, the design first.
    pub const ALL: [Self; 8] = [
        Self::Grouped,
        Self::Renamed,
        Self::Leader,
        Self::Led,
        Self::Writer,
        Self::Started,
        Self::Syncfs,
        Self::Twice,
    ];

    /// The name in tables and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grouped => "grouped",
            Self::Renamed => "renamed",
            Self::Leader => "leader",
            Self::Led => "led",
            Self::Writer => "writer",
            Self::Started => "started",
            Self::Syncfs => "syncfs",
            Self::Twice => "twice",
        }
    }
}

/// Makes `bytes` durable again and again, by `threads` threads, for `time`.
pub fn run(
    spool: &Path,
    strategy: Strategy,
    threads: usize,
    bytes: &[u8],
    time: Duration,
) -> io::Result<Outcome> {
    let spool = Arc::new(Spool::create(spool, strategy)?);
    let start = Barrier::new(threads);
    let workers: Vec<_> = thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|_| {
                let mut publisher = spool.publisher();
                scope.spawn({
                    let start = &start;
                    move || {
                        start.wait();
                        publish_until(&mut publisher, bytes, Instant::now() + time)
                    }
                })
            })
            .collect();
        handles.into_iter().map(|h| h.join().unwrap()).collect()
    });
    let mut outcome = Outcome::new(time);
    for worker in workers {
        outcome.add(worker?);
    }
    Ok(outcome)
}

/// One thread's work: the latency of each mail, from its last byte to its durability.
fn publish_until(
    publisher: &mut Publisher,
    bytes: &[u8],
    deadline: Instant,
) -> io::Result<(u64, Vec<u32>)> {
    let mut latencies = Vec::with_capacity(16_384);
    let mut timely = 0;
    while Instant::now() < deadline {
        let mut draft = publisher.draft()?;
        draft.file.write_all(bytes)?;
        let written = Instant::now();
        publisher.publish(draft)?;
        latencies.push(u32::try_from(written.elapsed().as_micros()).unwrap_or(u32::MAX));
        timely += u64::from(Instant::now() < deadline);
    }
    Ok((timely, latencies))
}

/// A directory with tmp/ and new/ and one way to make files durable in it.
pub struct Spool {
    tmp: PathBuf,
    new: PathBuf,
    new_directory: File,
    strategy: Strategy,
    counter: AtomicU64,
    writer: Option<Sender<Job>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    group: Mutex<Group>,
}

/// The threads whose names await a sync of the directory, under `Leader` and `Led`.
#[derive(Default)]
struct Group {
    waiting: Vec<Waiter>,
    led: bool,
}

/// One of them; its name is still in tmp/ under `Led`.
struct Waiter {
    turn: Arc<AtomicU8>,
    thread: Thread,
    draft: Draft,
}

/// A file that is being written.
pub struct Draft {
    /// Where the contents go.
    pub file: File,
    name: String,
}

struct Job {
    draft: Draft,
    answer: Sender<()>,
}

impl Spool {
    /// Opens `directory`, creates what is missing in it, starts the writer if there is one.
    pub fn create(directory: &Path, strategy: Strategy) -> io::Result<Self> {
        let tmp = directory.join("tmp");
        let new = directory.join("new");
        fs::create_dir_all(&tmp)?;
        fs::create_dir_all(&new)?;
        let (writer, thread) = match strategy {
            Strategy::Leader | Strategy::Led | Strategy::Twice => (None, None),
            _ => {
                let (sender, receiver) = bounded(256);
                let places = (tmp.clone(), new.clone(), File::open(&new)?);
                let thread = thread::spawn(move || write(strategy, &places, &receiver));
                (Some(sender), Some(thread))
            }
        };
        Ok(Self {
            new_directory: File::open(&new)?,
            tmp,
            new,
            strategy,
            counter: AtomicU64::new(0),
            writer,
            thread: Mutex::new(thread),
            group: Mutex::default(),
        })
    }

    /// One thread's end of the spool.
    pub fn publisher(self: &Arc<Self>) -> Publisher {
        Publisher {
            spool: Arc::clone(self),
            answer: bounded(1),
            turn: Arc::default(),
        }
    }

    /// Syncs the directory for all that wait, or waits for the thread that does.
    ///
    /// A leader syncs once, for those that waited when it began, and hands the
    /// lead to one of those that came since; so nobody works for others while
    /// its own mail is done.
    fn lead_or_wait(&self, turn: &Arc<AtomicU8>, draft: Draft) -> io::Result<()> {
        turn.store(WAIT, Ordering::Relaxed);
        let mut group = self.group.lock().unwrap();
        let thread = thread::current();
        group.waiting.push(Waiter {
            turn: Arc::clone(turn),
            thread,
            draft,
        });
        if group.led {
            drop(group);
            while turn.load(Ordering::Acquire) == WAIT {
                thread::park();
            }
            if turn.load(Ordering::Acquire) == DONE {
                return Ok(());
            }
            group = self.group.lock().unwrap();
        }
        group.led = true;
        // Its own is among them.
        let followers = std::mem::take(&mut group.waiting);
        drop(group);
        if self.strategy == Strategy::Led {
            for follower in &followers {
                rename(&self.tmp, &self.new, &follower.draft)?;
            }
        }
        self.new_directory.sync_data()?;
        let mut group = self.group.lock().unwrap();
        match group.waiting.last() {
            Some(next) => {
                next.turn.store(LEAD, Ordering::Release);
                next.thread.unpark();
            }
            None => group.led = false,
        }
        drop(group);
        for follower in followers {
            if !Arc::ptr_eq(&follower.turn, turn) {
                follower.turn.store(DONE, Ordering::Release);
                follower.thread.unpark();
            }
        }
        Ok(())
    }
}

/// What a thread under `Leader` or `Led` has to do next.
const WAIT: u8 = 0;
const DONE: u8 = 1;
const LEAD: u8 = 2;

impl Drop for Spool {
    fn drop(&mut self) {
        self.writer = None;
        if let Some(thread) = self.thread.lock().unwrap().take() {
            thread.join().unwrap();
        }
    }
}

/// What one thread needs to publish: its way to the writer and back.
pub struct Publisher {
    spool: Arc<Spool>,
    answer: (Sender<()>, Receiver<()>),
    turn: Arc<AtomicU8>,
}

impl Publisher {
    /// A new file in tmp/.
    pub fn draft(&self) -> io::Result<Draft> {
        let count = self.spool.counter.fetch_add(1, Ordering::Relaxed);
        let name = format!(
            "20260101T000000.000000Z-{}-{count:06}@limit.eml",
            std::process::id()
        );
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o640)
            .open(self.spool.tmp.join(&name))?;
        Ok(Draft { file, name })
    }

    /// Returns when the file and its name in new/ are on the device.
    pub fn publish(&mut self, draft: Draft) -> io::Result<()> {
        let spool = &self.spool;
        match spool.strategy {
            Strategy::Grouped => {
                draft.file.sync_data()?;
                self.hand_over(draft);
            }
            Strategy::Renamed => {
                draft.file.sync_data()?;
                rename(&spool.tmp, &spool.new, &draft)?;
                self.hand_over(draft);
            }
            Strategy::Leader => {
                draft.file.sync_data()?;
                rename(&spool.tmp, &spool.new, &draft)?;
                spool.lead_or_wait(&self.turn, draft)?;
            }
            Strategy::Led => {
                draft.file.sync_data()?;
                spool.lead_or_wait(&self.turn, draft)?;
            }
            Strategy::Writer | Strategy::Started | Strategy::Syncfs => self.hand_over(draft),
            Strategy::Twice => {
                draft.file.sync_data()?;
                rename(&spool.tmp, &spool.new, &draft)?;
                spool.new_directory.sync_data()?;
            }
        }
        Ok(())
    }

    fn hand_over(&self, draft: Draft) {
        let writer = self
            .spool
            .writer
            .as_ref()
            .expect("this strategy has a writer");
        writer
            .send(Job {
                draft,
                answer: self.answer.0.clone(),
            })
            .expect("the writer runs");
        self.answer
            .1
            .recv()
            .expect("this thread holds a sender itself");
    }
}

fn rename(tmp: &Path, new: &Path, draft: &Draft) -> io::Result<()> {
    fs::rename(tmp.join(&draft.name), new.join(&draft.name))
}

/// The writer thread: takes what is queued, makes all of it durable, answers.
fn write(strategy: Strategy, places: &(PathBuf, PathBuf, File), queue: &Receiver<Job>) {
    let mut group = Vec::with_capacity(256);
    while let Ok(first) = queue.recv() {
        group.push(first);
        group.extend(queue.try_iter().take(255));
        settle(strategy, places, &group).expect("the disk works");
        for job in group.drain(..) {
            // A thread that has ended needs no answer.
            let _ = job.answer.send(());
        }
    }
}

/// What the writer does for one group.
fn settle(
    strategy: Strategy,
    (tmp, new, new_directory): &(PathBuf, PathBuf, File),
    group: &[Job],
) -> io::Result<()> {
    if strategy == Strategy::Started {
        for job in group {
            fadvise(&job.draft.file, 0, None, Advice::DontNeed)?;
        }
    }
    match strategy {
        Strategy::Writer | Strategy::Started => {
            for job in group {
                job.draft.file.sync_data()?;
            }
        }
        Strategy::Syncfs => syncfs(new_directory)?,
        _ => {}
    }
    if strategy != Strategy::Renamed {
        for job in group {
            rename(tmp, new, &job.draft)?;
        }
    }
    new_directory.sync_data()
}

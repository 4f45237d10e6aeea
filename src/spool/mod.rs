//! The spool: a Maildir in which each accepted mail is one durable file.
//!
//! A mail is written to a draft in tmp/ as it comes, through one buffer, never
//! whole in memory. Then: contents synced (by the session's thread), renamed
//! into new/ (by the writer), new/ synced (by the writer, once for all that
//! wait), answered. Only that answer becomes a 250. Whatever fails on the way
//! leaves no file behind and is told to the client as a 452.

pub mod answer;
pub mod disk;
pub mod id;
pub mod maildir;
pub mod space;
pub mod stats;
pub mod trace;
pub mod writer;

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use crossbeam_channel::Sender;
use jiff::Timestamp;

use self::disk::{Disk, DraftFile};
use self::id::{IdSource, MessageId};
use self::space::Space;
pub use self::space::{Reservation, Reserve};
use self::stats::Stats;
use self::trace::Origin;
use self::writer::Job;
use crate::buffer::{self, Buffer};
use crate::log;
use crate::mm4::{self, Summary};
use crate::smtp::Envelope;

/// Octets of a draft that are gathered before they are written: large pieces at
/// round offsets are what page caches take with the fewest steps.
const BUFFER: usize = buffer::LARGE;

/// Octets of content that the first piece holds at least, however long the
/// trace: the header block of any usual mail is among them.
const HEADER: usize = 32 * 1024;

/// What failed on the way of a mail to the spool; for the log, not for the peer.
#[derive(Debug)]
pub struct SpoolError {
    /// What was tried, such as "sync the draft".
    pub doing: &'static str,
    /// Why it failed.
    pub error: io::Error,
}

impl SpoolError {
    fn new(doing: &'static str, error: io::Error) -> SpoolError {
        SpoolError { doing, error }
    }
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.doing, self.error)
    }
}

impl std::error::Error for SpoolError {}

/// The spool as the sessions see it.
pub struct Spool {
    disk: Arc<dyn Disk>,
    ids: IdSource,
    jobs: Sender<Job>,
    space: Arc<Space>,
    stats: Arc<Stats>,
}

impl Spool {
    /// A spool on `disk`, and the writer's loop, which must be run on a thread
    /// of its own; it ends when the spool is dropped.
    pub fn new(
        disk: impl Disk + 'static,
        hostname: &str,
        reserve: Reserve,
    ) -> (Spool, impl FnOnce() + Send + 'static) {
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let stats = Arc::new(Stats::new(Arc::clone(&disk)));
        let (jobs, run) = writer::writer(Arc::clone(&disk), Arc::clone(&stats));
        let space = Arc::new(Space::new(Arc::clone(&disk), reserve));
        let spool = Spool {
            disk,
            ids: IdSource::new(hostname, std::process::id()),
            jobs,
            space,
            stats,
        };
        (spool, run)
    }

    /// What the spool counts of its own work.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Begins the draft of a mail whose DATA is accepted now: the file is there
    /// when this returns.
    pub fn open(
        self: &Arc<Self>,
        envelope: &Envelope,
        origin: Origin,
    ) -> Result<Draft, SpoolError> {
        let id = self.ids.next(Timestamp::now());
        let name = id.file_name();
        let file = self
            .disk
            .create(&name)
            .map_err(|error| SpoolError::new("make the draft", error))?;
        let trace = trace::write(envelope, origin, &id);
        let mut buffer = Buffer::new(BUFFER.max(trace.len() + HEADER));
        buffer.append(trace.as_bytes());
        Ok(Draft {
            spool: Arc::clone(self),
            id,
            name,
            file: Some(file),
            header_at: trace.len(),
            buffer,
            octets: 0,
            summary: None,
        })
    }
}

/// A mail on its way in: tmp/ID.eml. Dropping it removes the file, unless it
/// has been committed.
pub struct Draft {
    spool: Arc<Spool>,
    id: MessageId,
    /// Empty when there is no file to remove any more.
    name: String,
    /// Nothing once it is closed.
    file: Option<Box<dyn DraftFile>>,
    /// What is not written yet.
    buffer: Buffer,
    /// Where the client's octets begin in the first buffer.
    header_at: usize,
    /// Octets of content so far.
    octets: u64,
    /// Read from the first buffer: the header block of any usual mail is in it.
    summary: Option<Summary>,
}

/// A mail that will survive a power cut.
#[derive(Debug)]
pub struct Committed {
    /// Its id.
    pub id: MessageId,
    /// Octets of content, without the trace.
    pub octets: u64,
    /// What its header says, as far as that stands in its first 32 KiB or more.
    pub summary: Summary,
}

impl Draft {
    /// Adds octets of content. After an error the draft is of no use.
    pub fn write(&mut self, mut content: &[u8]) -> Result<(), SpoolError> {
        self.octets += content.len() as u64;
        while !content.is_empty() {
            content = self.buffer.append(content);
            if !content.is_empty() {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Makes the mail durable under its name in new/. After an error, nothing
    /// of it is left that anybody would take for a mail.
    pub fn commit(mut self) -> Result<Committed, SpoolError> {
        self.flush()?;
        if let Some(file) = &mut self.file {
            // A sync that failed is never tried again: the kernel may have
            // dropped the pages it could not write and call the next one good.
            self.spool
                .stats
                .content_sync
                .time(|| file.sync())
                .map_err(|error| SpoolError::new("sync the draft", error))?;
        }
        self.file = None;
        self.publish()?;
        let committed = Committed {
            id: self.id.clone(),
            octets: self.octets,
            summary: self.summary.take().unwrap_or_default(),
        };
        self.name.clear();
        Ok(committed)
    }

    /// Hands the name to the writer and waits for its answer.
    fn publish(&self) -> Result<(), SpoolError> {
        let (answer, question) = answer::question();
        let name = self.name.clone();
        self.spool
            .jobs
            .send(Job { name, answer })
            .map_err(|_| SpoolError::writer_gone())?;
        question.wait()
    }

    fn flush(&mut self) -> Result<(), SpoolError> {
        if self.summary.is_none() {
            let header = self
                .buffer
                .filled()
                .get(self.header_at..)
                .unwrap_or_default();
            self.summary = Some(mm4::summary(header).unwrap_or_default());
        }
        if let Some(file) = &mut self.file {
            file.write_all(self.buffer.filled())
                .map_err(|error| SpoolError::new("write the draft", error))?;
        }
        self.buffer.clear();
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.file = None;
        if self.name.is_empty() {
            return;
        }
        match self.spool.disk.remove_draft(&self.name) {
            Ok(()) => {}
            // The writer had renamed it and taken it back.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => log::cannot_remove("tmp", &self.name, &error),
        }
    }
}

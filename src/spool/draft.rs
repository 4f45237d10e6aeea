//! A message that is being put into the spool. Each step consumes the type of the
//! step before it, so none can be left out or repeated:
//!
//! ```text
//! Draft ── write ──▶ Draft ── sync ──▶ SyncedDraft ── publish ──▶ Committed
//! ```
//!
//! A step that fails returns no draft, and the file is removed: what was not
//! written cannot be synced, what was not synced cannot be published.

use std::io;
use std::mem;
use std::sync::Arc;

use super::batch::{Publication, Reply};
use super::disk::DraftFile;
use super::id::MessageId;
use super::trace::{self, Origin};
use super::writer::Job;
use super::{Spool, SpoolError, answer};
use crate::buffer::{self, Buffer};
use crate::log;
use crate::mm4::{self, Summary};
use crate::smtp::Envelope;

/// Bytes of a draft that are gathered before they are written: large pieces at
/// round offsets cost the page cache the fewest steps. To write pieces of 16 KiB or more
/// as they arrive saves a copy, but since Linux has large folios on ext4 a message of
/// 300 KiB took 272 µs with it and takes 238 µs without it (over TLS 395 and 298 µs).
const BUFFER: usize = buffer::LARGE;

/// Bytes of content that the first piece holds at least, however long the
/// trace: the header block of any usual message is among them.
const HEADER: usize = 32 * 1024;

/// A message that is being received: tmp/ID.eml. Dropping it removes the file.
pub struct Draft {
    // Before the name: a file is closed, then removed.
    file: Box<dyn DraftFile>,
    name: DraftName,
    /// The first bytes of the file, until there is a buffer.
    trace: String,
    /// Where the client's bytes begin in the first buffer.
    header_at: usize,
    /// What is not written yet. Made when content comes: clients that have not sent
    /// any yet need none, and the next message finds the same memory in the caches.
    buffer: Option<Buffer>,
    /// Bytes of content so far.
    bytes: u64,
    /// Read from the first buffer: the header block of any usual message is in it.
    summary: Option<Summary>,
}

/// A draft whose contents are on the device. Its file stays open, and thus
/// locked, until it has its new name.
struct SyncedDraft {
    _file: Box<dyn DraftFile>,
    name: DraftName,
    bytes: u64,
    summary: Summary,
}

/// A message that will survive a power cut.
#[derive(Debug)]
pub struct Committed {
    /// Its id.
    pub id: MessageId,
    /// Bytes of content, without the trace.
    pub bytes: u64,
    /// What its header says, as far as that is in its first 32 KiB or more.
    pub summary: Summary,
}

/// The name of a draft; removes tmp/ID.eml when it is dropped.
struct DraftName {
    spool: Arc<Spool>,
    id: MessageId,
    file_name: String,
    /// It is in new/ by now, and there is nothing to remove.
    published: bool,
    /// A step failed: whether the spool works is to be found out.
    failed: bool,
}

impl Draft {
    /// Creates the file.
    pub(super) fn create(
        spool: &Arc<Spool>,
        envelope: &Envelope,
        origin: Origin,
        id: MessageId,
    ) -> Result<Draft, SpoolError> {
        let file_name = id.file_name();
        let file = spool
            .disk
            .create(&file_name)
            .map_err(SpoolError::at("create the draft"))
            .inspect_err(|_| spool.request_probe())?;
        let trace = trace::write(envelope, origin, &id);
        Ok(Draft {
            file,
            name: DraftName {
                spool: Arc::clone(spool),
                id,
                file_name,
                published: false,
                failed: false,
            },
            header_at: trace.len(),
            trace,
            buffer: None,
            bytes: 0,
            summary: None,
        })
    }

    /// Adds bytes of content.
    ///
    /// # Errors
    ///
    /// If they cannot be written. The draft is removed.
    pub fn write(mut self, mut content: &[u8]) -> Result<Draft, SpoolError> {
        self.bytes += content.len() as u64;
        while !content.is_empty() {
            content = begun(&mut self.buffer, &mut self.trace).append(content);
            if !content.is_empty() {
                self.flush()?;
            }
        }
        Ok(self)
    }

    /// Makes the message durable under its name in new/.
    ///
    /// # Errors
    ///
    /// If any step fails. Nothing is left of the message, unless the very last
    /// step failed and its name in new/ cannot be removed either: then it may
    /// be received twice.
    pub fn commit(self) -> Result<Committed, SpoolError> {
        self.sync()?.publish()
    }

    fn sync(mut self) -> Result<SyncedDraft, SpoolError> {
        self.flush()?;
        // Other messages can use its memory while this one waits for the disk.
        drop(self.buffer);
        // A sync that failed is never tried again: the kernel may have dropped
        // the pages that it could not write, and report success the next time.
        let sync_time = &self.name.spool.stats.content_sync;
        sync_time
            .time(|| self.file.sync())
            .map_err(SpoolError::at("sync the draft"))
            .inspect_err(|_| self.name.failed = true)?;
        Ok(SyncedDraft {
            _file: self.file,
            name: self.name,
            bytes: self.bytes,
            summary: self.summary.unwrap_or_default(),
        })
    }

    fn flush(&mut self) -> Result<(), SpoolError> {
        let buffer = begun(&mut self.buffer, &mut self.trace);
        if self.summary.is_none() {
            let header = buffer.filled().get(self.header_at..);
            self.summary = Some(mm4::summary(header.unwrap_or_default()).unwrap_or_default());
        }
        self.file
            .write_all(buffer.filled())
            .map_err(SpoolError::at("write the draft"))
            .inspect_err(|_| self.name.failed = true)?;
        buffer.clear();
        Ok(())
    }
}

/// The buffer; a new one begins with the trace, which may be hundreds of KiB and is not
/// kept beside it.
fn begun<'b>(buffer: &'b mut Option<Buffer>, trace: &mut String) -> &'b mut Buffer {
    buffer.get_or_insert_with(|| {
        let trace = mem::take(trace);
        let mut buffer = Buffer::new(BUFFER.max(trace.len() + HEADER));
        buffer.append(trace.as_bytes());
        buffer
    })
}

impl SyncedDraft {
    /// Hands the name to the writer and waits for its answer.
    fn publish(mut self) -> Result<Committed, SpoolError> {
        let name = self.name.file_name.clone();
        let reply = answer::wait(|answer| {
            // A job that cannot be sent is dropped, and its answer says so.
            let job = Job::Publish(Publication { name, answer });
            let _ = self.name.spool.jobs.send(job);
        });
        match reply.unwrap_or_else(|| Reply::Done(Err(SpoolError::writer_gone()))) {
            Reply::Done(result) => result?,
            Reply::Sync(batch) => batch.sync().inspect_err(|_| self.name.failed = true)?,
        }
        self.name.published = true;
        Ok(Committed {
            id: self.name.id.clone(),
            bytes: self.bytes,
            summary: self.summary,
        })
    }
}

impl Drop for DraftName {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        match self.spool.disk.remove_draft(&self.file_name) {
            Ok(()) => {}
            // It had been renamed, and the new name is removed again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => log::cannot_remove("tmp", &self.file_name, &error),
        }
        // Not before: the draft may take the very space that a probe needs.
        if self.failed {
            self.spool.request_probe();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::{SystemId, mailbox};
    use crate::spool::Reserve;
    use crate::spool::maildir::Maildir;
    use std::fs;
    use std::net::{IpAddr, Ipv4Addr};

    #[test]
    fn a_long_trace_is_written_once_and_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = Reserve {
            max_message_size: 1,
            min_free: 0,
        };
        let (spool, _) = Spool::new(Maildir::open(dir.path(), "here").unwrap(), "here", reserve);
        let path = format!("<{}@example>", "a".repeat(60));
        let envelope = Envelope {
            hello: "client.example".into(),
            system_id: SystemId::parse("peer1").unwrap(),
            reverse_path: mailbox::reverse_path("<>").unwrap().0,
            forward_paths: vec![mailbox::forward_path(&path).unwrap().0; 1000],
        };
        let origin = Origin {
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            tls: false,
        };
        let draft = Arc::new(spool).open(&envelope, origin).unwrap();
        let trace = draft.trace.clone();
        assert!(trace.len() > BUFFER);
        let content = [&b"X-Mms-Message-ID: M1\r\n\r\n"[..], &vec![b'x'; 200_000]].concat();
        let mut draft = draft.write(&content).unwrap();
        assert_eq!(draft.trace.capacity(), 0);
        draft.flush().unwrap();
        let file = dir.path().join("tmp").join(&draft.name.file_name);
        assert!(fs::read(file).unwrap() == [trace.as_bytes(), &content].concat());
        let summary = draft.summary.as_ref().unwrap();
        assert_eq!(summary.message_id.as_deref(), Some("M1"));
    }
}

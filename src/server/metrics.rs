//! The metrics: what the server counts, and the file of `--metrics-file`, which
//! node_exporter's textfile collector reads.
//!
//! Every counter is an atomic. A session keeps its account's counters, so a
//! message takes no lock and no look-up by name. The values of a label are the
//! server's own words, the reply codes and the names in the accounts file; none
//! is a client's text.
//!
//! The file is replaced by rename, so a reader sees an old or a new one, never a
//! part. Its temporary file is hidden and does not end in `.prom`. It is not
//! synced: after a power cut the next start writes it again. If writing fails
//! later, the server goes on, and the failure is logged once until it is over.
//!
//! Counts start at 0 with the process. A message is counted after it is durable
//! and before its 250 is sent, so after a kill the last file never counts more
//! messages than the spool received.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, prometheus_text,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

use rustix::fs::{Access, AtFlags, CWD};
use rustix::io::Errno;

use super::{Event, worker};
use crate::log::{self, Totals};
use crate::smtp::{Reply, SystemId, reply};
use crate::spool::stats::{Histogram, Stats};

/// How often the file is written.
const INTERVAL: Duration = Duration::from_secs(15);
/// How long the server waits at its end for the last file.
const LAST_WRITE: Duration = Duration::from_secs(2);
/// Mode of the file, minus the umask: node_exporter runs as another user.
const FILE_MODE: u32 = 0o644;

/// What the server counts.
pub struct Metrics {
    registry: Registry,
    plain: ListenerMetrics,
    tls: ListenerMetrics,
    max_connections: Gauge,
    refused: Family<Counter>,
    logins_succeeded: Counter,
    logins_failed: Counter,
    messages: Family<Counter>,
    bytes: Family<Counter>,
    /// Each code of the catalogue, in ascending order.
    replies: Vec<(u16, Counter)>,
    observed: Arc<Observed>,
}

/// The connections of the listeners of one kind.
#[derive(Clone)]
struct ListenerMetrics {
    open: Gauge,
    total: Counter,
}

impl Metrics {
    /// All counts at 0.
    pub fn new(stats: Arc<Stats>) -> Metrics {
        let mut registry = Registry::with_prefix("mm4d");
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "The running mm4d", Info::new(version));
        registry.register(
            "start_time_seconds",
            "When mm4d started, in seconds since 1970",
            ConstGauge::new(unix_seconds(SystemTime::now())),
        );
        let open = Family::register(
            &mut registry,
            "open_connections",
            "Connections that are open now, by kind of listener",
            "listener",
        );
        let total = Family::register(
            &mut registry,
            "connections",
            "Connections that were accepted, by kind of listener",
            "listener",
        );
        let listener = |kind| ListenerMetrics {
            open: open.with(kind),
            total: total.with(kind),
        };
        let (plain, tls) = (listener("plain"), listener("tls"));
        let max_connections = Gauge::default();
        registry.register(
            "max_connections",
            "Connections that may be open at a time, --max-connections",
            max_connections.clone(),
        );
        let refused = Family::register(
            &mut registry,
            "connections_refused",
            "Connections that were refused, by the limit that they exceeded",
            "limit",
        );
        for limit in [
            "max-connections",
            "max-connections-of-strangers",
            "max-connections-per-ip",
            "max-of-the-account",
        ] {
            refused.with(limit);
        }
        let logins = Family::register(&mut registry, "logins", "Logins, by result", "result");
        let messages = Family::register(
            &mut registry,
            "accepted_messages",
            "Messages that are durable in the spool, by account",
            "account",
        );
        let bytes = Family::register(
            &mut registry,
            "accepted_bytes",
            "Content of the accepted messages in bytes, without the trace, by account",
            "account",
        );
        let replies = Family::register(&mut registry, "replies", "Replies given, by code", "code");
        let observed = Arc::new(Observed {
            stats,
            min_free: AtomicU64::new(0),
            not_after: AtomicI64::new(NO_CERTIFICATE),
        });
        registry.register_collector(Box::new(Arc::clone(&observed)));
        Metrics {
            plain,
            tls,
            max_connections,
            logins_succeeded: logins.with("succeeded"),
            logins_failed: logins.with("failed"),
            refused,
            messages,
            bytes,
            replies: reply::codes()
                .into_iter()
                .map(|code| (code, replies.with(&code.to_string())))
                .collect(),
            observed,
            registry,
        }
    }

    /// Shows the limits: connections that may be open at a time, and bytes that
    /// stay free in the spool.
    pub fn set_limits(&self, max_connections: u32, min_free: u64) {
        self.max_connections.set(max_connections.into());
        self.observed.min_free.store(min_free, Ordering::Relaxed);
    }

    /// Counts a connection, which is open until the result is dropped.
    pub fn connected(&self, tls: bool) -> OpenConnection<'_> {
        let listener = if tls { &self.tls } else { &self.plain };
        listener.total.inc();
        listener.open.inc();
        OpenConnection(&listener.open)
    }

    /// Counts a connection over `limit`.
    pub fn refused(&self, limit: &'static str) {
        self.refused.with(limit).inc();
    }

    /// Counts a login.
    pub fn login(&self, succeeded: bool) {
        if succeeded {
            self.logins_succeeded.inc();
        } else {
            self.logins_failed.inc();
        }
    }

    /// Counts a reply.
    pub fn replied(&self, reply: &Reply) {
        let code = reply.code();
        if let Ok(index) = self.replies.binary_search_by_key(&code, |(code, _)| *code) {
            if let Some((_, count)) = self.replies.get(index) {
                count.inc();
            }
        }
    }

    /// The counters of an account. A session that logs in keeps them.
    pub fn account(&self, id: &SystemId) -> AccountMetrics {
        AccountMetrics {
            messages: self.messages.with(id.as_str()),
            bytes: self.bytes.with(id.as_str()),
        }
    }

    /// Shows the accounts in force, those without a message too. Accounts that
    /// are no longer among them keep their counts until the process ends.
    pub fn set_accounts<'a>(&self, ids: impl Iterator<Item = &'a SystemId>) {
        for id in ids {
            self.account(id);
        }
    }

    /// Shows when the certificate in force expires.
    pub fn set_certificate(&self, not_after: Option<SystemTime>) {
        let seconds = not_after.map_or(NO_CERTIFICATE, unix_seconds);
        self.observed.not_after.store(seconds, Ordering::Relaxed);
    }

    /// The totals that a status line shows.
    pub(super) fn totals(&self) -> Totals {
        Totals {
            plain: self.plain.open.get(),
            tls: self.tls.open.get(),
            connections: self.plain.total.get() + self.tls.total.get(),
            messages: self.messages.sum(),
            bytes: self.bytes.sum(),
            refused_connections: self.refused.sum(),
            failed_logins: self.logins_failed.get(),
            replies: self
                .replies
                .iter()
                .map(|(code, count)| (*code, count.get()))
                .collect(),
            free: self.observed.stats.free(),
        }
    }

    /// All metrics in the Prometheus text format, version 0.0.4.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// A connection in the count of those that are open.
pub struct OpenConnection<'a>(&'a Gauge);

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The counters of one account.
#[derive(Clone, Debug)]
pub struct AccountMetrics {
    messages: Counter,
    bytes: Counter,
}

impl AccountMetrics {
    /// Counts a message with `bytes` of content.
    pub fn accepted(&self, bytes: u64) {
        self.messages.inc();
        self.bytes.inc_by(bytes);
    }
}

/// The metrics of one name, which differ in the value of one label.
#[derive(Debug)]
struct Family<M> {
    label: &'static str,
    by_value: Arc<RwLock<BTreeMap<String, M>>>,
}

impl<M> Family<M>
where
    M: EncodeMetric + TypedMetric + Clone + Default + fmt::Debug + Send + Sync + 'static,
{
    fn register(registry: &mut Registry, name: &str, help: &str, label: &'static str) -> Family<M> {
        let by_value = Arc::default();
        let family = Family { label, by_value };
        let registered = Family {
            label,
            by_value: Arc::clone(&family.by_value),
        };
        registry.register(name, help, registered);
        family
    }

    /// The metric whose label has this value; it is shown from now on.
    fn with(&self, value: &str) -> M {
        let mut by_value = self
            .by_value
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        match by_value.get(value) {
            Some(metric) => metric.clone(),
            None => by_value.entry(value.to_owned()).or_default().clone(),
        }
    }
}

impl Family<Counter> {
    fn sum(&self) -> u64 {
        let by_value = self.by_value.read().unwrap_or_else(PoisonError::into_inner);
        by_value.values().map(|counter| counter.get()).sum()
    }
}

impl<M: EncodeMetric + TypedMetric> EncodeMetric for Family<M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let by_value = self.by_value.read().unwrap_or_else(PoisonError::into_inner);
        for (value, metric) in by_value.iter() {
            metric.encode(encoder.encode_family(&[(self.label, value.as_str())])?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}

fn unix_seconds(time: SystemTime) -> i64 {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH);
    since_1970.map_or(0, |time| i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

/// Stands for no certificate, or for one whose expiry is not known.
const NO_CERTIFICATE: i64 = i64::MIN;

/// What is not counted but read when the file is written.
#[derive(Debug)]
struct Observed {
    stats: Arc<Stats>,
    min_free: AtomicU64,
    /// Seconds since 1970.
    not_after: AtomicI64,
}

impl Collector for Observed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut gauge = |name, help, value: u64| {
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        if let Some(free) = self.stats.free() {
            gauge("spool_free_bytes", "Free space of the spool.", free)?;
        }
        gauge(
            "spool_min_free_bytes",
            "Space that stays free in the spool, --min-free.",
            self.min_free.load(Ordering::Relaxed),
        )?;
        let not_after = self.not_after.load(Ordering::Relaxed);
        if let Ok(not_after) = u64::try_from(not_after) {
            gauge(
                "certificate_expiry_timestamp_seconds",
                "When the certificate expires, in seconds since 1970.",
                not_after,
            )?;
        }
        let batch_size = encoder.encode_descriptor(
            "batch_messages",
            "Messages made durable by one sync of the spool's directories.",
            None,
            MetricType::Histogram,
        )?;
        encode(&self.stats.batch_size, 1.0, batch_size)?;
        let mut sync = encoder.encode_descriptor(
            "sync_duration_seconds",
            "Time of a sync: of one message's content, or of the directories for one batch.",
            None,
            MetricType::Histogram,
        )?;
        for (step, histogram) in [
            ("content", &self.stats.content_sync),
            ("directory", &self.stats.directory_sync),
        ] {
            encode(histogram, 1e6, sync.encode_family(&[("sync", step)])?)?;
        }
        Ok(())
    }
}

/// Writes `histogram` in the base unit, `per_unit` of its own.
fn encode(histogram: &Histogram, per_unit: f64, mut encoder: MetricEncoder<'_>) -> fmt::Result {
    let buckets: Vec<(f64, u64)> = histogram
        .buckets()
        .map(|(bound, count)| {
            let bound = bound.map_or(f64::INFINITY, |bound| bound as f64 / per_unit);
            (bound, count)
        })
        .collect();
    let count = buckets.iter().map(|(_, count)| count).sum();
    let sum = histogram.sum() as f64 / per_unit;
    encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
}

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
pub(super) fn check(path: &Path) -> Result<(), MetricsError> {
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
        match export(&file, &metrics) {
            // Space may return; the other reasons stay.
            Err(error) if is_shortage_of_space(&error) => log::metrics_failed(path, &error),
            result => result.map_err(failed)?,
        }
        let (running, stop) = bounded(0);
        let (ending, ended) = bounded(0);
        let thread = worker("metrics", events, move || {
            write_until(&stop, &file, &metrics);
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
fn write_until(stop: &Receiver<()>, file: &MetricsFile, metrics: &Metrics) {
    let mut failing = false;
    loop {
        let last = stop.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout);
        match export(file, metrics) {
            Ok(()) if failing => {
                failing = false;
                log::metrics_recovered(&file.path);
            }
            Ok(()) => {}
            Err(error) => {
                if !failing {
                    failing = true;
                    log::metrics_failed(&file.path, &error);
                }
            }
        }
        if last {
            return;
        }
    }
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

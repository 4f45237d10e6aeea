//! The metrics: what the server counts, for the file of `--metrics-file` (`file.rs`).
//!
//! Every counter is an atomic. A session keeps its account's counters, so a
//! message takes no lock and no look-up by name. The values of a label are the
//! server's own words, the reply codes and the names in the accounts file; none
//! is a client's text.
//!
//! Counts start at 0 with the process. A message is counted after it is durable
//! and before its 250 is sent, so after a kill the last file never counts more
//! messages than the spool received.
//!
//! Recording a message of 10 KB on an open connection, its replies and the times of
//! its syncs included, takes 820 of the 92,700 instructions that the message costs
//! outside the kernel: 0.9 %, counted by callgrind on builds with and without it. Of
//! all CPU time, most of which is the kernel's, it is less than 0.3 %.

mod family;
pub mod file;
mod observed;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use self::family::Family;
use self::observed::{NO_CERTIFICATE, Observed, unix_seconds};
use crate::log::Totals;
use crate::smtp::{Reply, SystemId, reply};
use crate::spool::stats::Stats;

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
        let (plain, tls) = register_listeners(&mut registry);
        let max_connections = Gauge::default();
        registry.register(
            "max_connections",
            "Connections that may be open at a time, --max-connections",
            max_connections.clone(),
        );
        let refused = register_refused(&mut registry);
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
        let observed = Arc::new(Observed::new(stats));
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
    pub(crate) fn set_limits(&self, max_connections: u32, min_free: u64) {
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
    pub(crate) fn replied(&self, reply: &Reply) {
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
    pub(crate) fn set_accounts<'a>(&self, ids: impl Iterator<Item = &'a SystemId>) {
        for id in ids {
            self.account(id);
        }
    }

    /// Shows when the certificate in force expires.
    pub(crate) fn set_certificate(&self, not_after: Option<SystemTime>) {
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

fn register_listeners(registry: &mut Registry) -> (ListenerMetrics, ListenerMetrics) {
    let open = Family::register(
        registry,
        "open_connections",
        "Connections that are open now, by kind of listener",
        "listener",
    );
    let total = Family::register(
        registry,
        "connections",
        "Connections that were accepted, by kind of listener",
        "listener",
    );
    let listener = |kind| ListenerMetrics {
        open: open.with(kind),
        total: total.with(kind),
    };
    (listener("plain"), listener("tls"))
}

fn register_refused(registry: &mut Registry) -> Family<Counter> {
    let refused = Family::register(
        registry,
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
    refused
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

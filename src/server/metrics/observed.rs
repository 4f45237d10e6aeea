//! What is not counted but read when the metrics are written: free space, limits, the
//! certificate's expiry, and the times of the syncs.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::spool::stats::{Histogram, Stats};

pub(super) fn unix_seconds(time: SystemTime) -> i64 {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH);
    since_1970.map_or(0, |time| i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

/// The value for no certificate, or for one whose expiry is not known.
pub(super) const NO_CERTIFICATE: i64 = i64::MIN;

/// What is not counted but read when the file is written.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) stats: Arc<Stats>,
    pub(super) min_free: AtomicU64,
    /// Seconds since 1970.
    pub(super) not_after: AtomicI64,
}

impl Observed {
    /// No reserve and no certificate.
    pub(super) fn new(stats: Arc<Stats>) -> Observed {
        Observed {
            stats,
            min_free: AtomicU64::new(0),
            not_after: AtomicI64::new(NO_CERTIFICATE),
        }
    }
}

impl Collector for Observed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut gauge = |name, help, value: u64| {
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        gauge(
            "spool_available",
            "1 while the spool takes messages, 0 while clients are greeted with 421 for it.",
            self.stats.is_available().into(),
        )?;
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

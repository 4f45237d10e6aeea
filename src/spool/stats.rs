//! What the spool counts of its own work, for the metrics.
//!
//! Recording is two additions to atomics and takes no lock. A reader may see one
//! of the two before the other. The counts start at 0 with the process.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::availability::Availability;
use super::disk::Disk;

/// Upper bounds of the batch sizes, in messages.
const BATCH_SIZES: [u64; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// Upper bounds of the sync times, in microseconds: from memory to a disk that
/// hangs.
const SYNC_TIMES: [u64; 15] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 5_000_000, 30_000_000,
];

/// The counts of one spool. It does not keep the spool's writer running.
pub struct Stats {
    /// Messages published by one directory sync.
    pub batch_size: Histogram,
    /// Microseconds that syncing the contents of one draft took.
    pub content_sync: Histogram,
    /// Microseconds that syncing the directories of one batch took.
    pub directory_sync: Histogram,
    disk: Arc<dyn Disk>,
    availability: Arc<Availability>,
}

impl Stats {
    pub(super) fn new(disk: Arc<dyn Disk>, availability: Arc<Availability>) -> Stats {
        Stats {
            batch_size: Histogram::new(&BATCH_SIZES),
            content_sync: Histogram::new(&SYNC_TIMES),
            directory_sync: Histogram::new(&SYNC_TIMES),
            disk,
            availability,
        }
    }

    /// Whether the last probe found that the spool takes messages.
    pub fn is_available(&self) -> bool {
        self.availability.is_available()
    }

    /// Bytes that may still be written to the spool; `None` if the file system
    /// does not say.
    pub fn free(&self) -> Option<u64> {
        self.disk.free().ok().filter(|&free| free != u64::MAX)
    }
}

impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stats")
            .field("batch_size", &self.batch_size)
            .field("content_sync", &self.content_sync)
            .field("directory_sync", &self.directory_sync)
            .finish_non_exhaustive()
    }
}

/// How often values fell under each of some upper bounds.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One count for each bound, and one for values over the last bound.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [u64]) -> Histogram {
        Histogram {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    pub(super) fn record(&self, value: u64) {
        let bucket = self.bounds.partition_point(|&bound| bound < value);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Runs `work` and records the microseconds that it took.
    pub(super) fn time<T>(&self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.record_time(start.elapsed());
        result
    }

    pub(super) fn record_time(&self, took: Duration) {
        self.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// The bounds in ascending order, each with the number of values in its own
    /// bucket. The last bound is `None`: values over all others.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        bounds.zip(
            self.counts
                .iter()
                .map(|count| count.load(Ordering::Relaxed)),
        )
    }

    /// The sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_equal_to_a_bound_is_counted_under_it() {
        let histogram = Histogram::new(&[1, 10]);
        for value in [0, 1, 2, 10, 11, 1_000] {
            histogram.record(value);
        }
        let buckets: Vec<_> = histogram.buckets().collect();
        assert_eq!(buckets, [(Some(1), 2), (Some(10), 2), (None, 2)]);
        assert_eq!(histogram.sum(), 1_024);
    }
}

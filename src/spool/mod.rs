#![doc = include_str!("README.md")]

pub(crate) mod answer;
mod availability;
mod batch;
pub mod disk;
mod draft;
mod error;
pub mod id;
mod journal;
pub mod leftovers;
mod lock;
pub mod maildir;
mod probe;
mod queue;
pub mod space;
pub mod stats;
mod syncs;
pub mod trace;
mod writer;

use std::sync::Arc;

use jiff::Timestamp;

use self::availability::Availability;
use self::disk::Disk;
pub use self::draft::{Committed, Draft};
pub use self::error::{OpenError, SpoolError};
use self::id::IdSource;
use self::queue::Jobs;
use self::space::Space;
pub use self::space::{Reservation, Reserve};
use self::stats::Stats;
use self::trace::Origin;
use self::writer::Job;
use crate::smtp::Envelope;

/// The spool as the sessions see it.
pub struct Spool {
    disk: Arc<dyn Disk>,
    ids: IdSource,
    jobs: Jobs<Job>,
    space: Arc<Space>,
    stats: Arc<Stats>,
    availability: Arc<Availability>,
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
        let availability = Arc::new(Availability::new(Arc::clone(&disk)));
        let stats = Arc::new(Stats::new(Arc::clone(&disk), Arc::clone(&availability)));
        let (jobs, run) = writer::writer(
            Arc::clone(&disk),
            Arc::clone(&availability),
            Arc::clone(&stats),
        );
        let space = Arc::new(Space::new(Arc::clone(&disk), reserve));
        let spool = Spool {
            disk,
            ids: IdSource::new(hostname, std::process::id(), id::random_count()),
            jobs,
            space,
            stats,
            availability,
        };
        (spool, run)
    }

    /// What the spool counts of its own work.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Begins the draft of a message whose DATA is accepted now: the file exists
    /// when this returns.
    ///
    /// # Errors
    ///
    /// If the file cannot be created.
    pub fn open(
        self: &Arc<Self>,
        envelope: &Envelope,
        origin: Origin,
    ) -> Result<Draft, SpoolError> {
        let id = self.ids.next(Timestamp::now());
        Draft::create(self, envelope, origin, id)
    }

    /// Whether the spool took messages when that was last found out. Never waits.
    pub(crate) fn was_available(&self) -> bool {
        self.availability.is_available()
    }

    /// Whether the spool takes messages, as far as that is known without writing
    /// one. If not, the writer tries every few seconds whether it does again.
    pub(crate) fn is_available(&self) -> bool {
        if !self.availability.is_available() {
            return false;
        }
        let works = self.availability.look();
        if !works {
            self.request_probe();
        }
        works
    }

    /// Lets the writer find out whether the spool still works.
    fn request_probe(&self) {
        if self.availability.suspect() {
            self.jobs.offer(Job::Probe);
        }
    }
}

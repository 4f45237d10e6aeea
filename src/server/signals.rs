//! Signals, handled from before the first slow step of the start.
//!
//! | signal | during the start | afterwards |
//! | --- | --- | --- |
//! | SIGTERM, SIGINT | the process ends with status 0 | shutdown |
//! | SIGHUP | kept until the server runs | reload |
//! | SIGUSR1 | kept until the server runs | a summary in the log |
//! | SIGUSR2 | ignored | ignored |
//! | SIGXFSZ | ignored, so that a write over the limit on file sizes fails with EFBIG | the same |

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::Sender;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator;

use super::Event;

/// The signals of this process.
pub struct Signals {
    queue: iterator::Signals,
    /// SIGTERM and SIGINT end the process while this is set.
    is_starting: Arc<AtomicBool>,
}

impl Signals {
    /// Handles them from now on.
    pub(crate) fn install() -> io::Result<Signals> {
        let is_starting = Arc::new(AtomicBool::new(true));
        for signal in [SIGTERM, SIGINT] {
            flag::register_conditional_shutdown(signal, 0, Arc::clone(&is_starting))?;
        }
        for signal in [SIGXFSZ, SIGUSR2] {
            flag::register(signal, Arc::default())?;
        }
        Ok(Signals {
            queue: iterator::Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?,
            is_starting,
        })
    }

    /// The server runs: from now on SIGTERM and SIGINT go to the supervisor.
    pub(super) fn started(&self) {
        self.is_starting.store(false, Ordering::SeqCst);
    }

    /// Passes them to the supervisor, for as long as it listens.
    pub(super) fn run(mut self, events: &Sender<Event>) {
        for signal in self.queue.forever() {
            if events.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    }
}

//! The server: start and stop, listeners, limits, threads, reload.
//!
//! One blocking listener thread for each address, one thread for each client,
//! one writer thread. A shutdown runs one way: stop accepting, wake idle
//! sessions, let messages in progress finish, drop the last sender; the writer
//! then empties its queue and ends.

pub mod accounts;
pub mod add_account;
pub mod check;
mod config;
pub mod connection;
pub mod descriptors;
mod files;
mod hash_cost;
mod hash_queue;
pub mod inherited;
pub mod listener;
pub mod metrics;
mod notify;
pub mod options;
mod peers;
mod prompt;
pub mod proxy;
mod run;
pub mod sandbox;
pub mod shared;
pub mod signals;
pub mod slots;
mod socket;
mod start;
pub mod stderr;
pub mod stream;
pub mod tls;
pub mod user;
mod workers;

use std::fmt::{self, Display};
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

use self::accounts::Accounts;
use self::files::Source;
use self::metrics::file::Exporter;
use self::notify::Notify;
use self::options::Options;
pub use self::run::{RunError, run};
use self::shared::Shared;
use self::slots::Slots;
pub use self::start::{StartError, start};
use self::tls::Acceptor;
use crate::log;

/// How often a server looks at its certificate.
pub const DAY: Duration = Duration::from_secs(24 * 3600);
/// After the grace period, the time left to send the last replies.
const LAST_REPLIES: Duration = Duration::from_secs(1);
/// What a shutdown may take in addition to the grace period: the service manager
/// kills the process after that.
const STOP_MARGIN: Duration = Duration::from_secs(15);

/// A thread that the server needs has ended: a defect of mm4d. The log names the
/// place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Died(pub &'static str);

impl fmt::Display for Died {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the {} thread ended unexpectedly: see the log; start mm4d again",
            self.0
        )
    }
}

impl std::error::Error for Died {}

/// Everything that runs.
pub struct Server {
    shared: Arc<Shared>,
    slots: Arc<Slots>,
    events: Receiver<Event>,
    writer: JoinHandle<()>,
    listeners: Vec<JoinHandle<()>>,
    exporter: Option<Exporter>,
    notify: Notify,
    started: Instant,
}

/// When the certificate is looked at again.
struct Daily {
    every: Duration,
    next: Instant,
}

impl Daily {
    fn new(every: Duration, now: Instant) -> Daily {
        Daily {
            every,
            next: now + every,
        }
    }

    /// True once in each period.
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = now >= self.next;
        if is_due {
            self.next = now + self.every;
        }
        is_due
    }
}

/// Logs that the certificate in force has expired, or soon will have.
fn warn_of_expiry(shared: &Shared, options: &Options) {
    let acceptor = shared.acceptor();
    let now = SystemTime::now();
    if let Some(warning) = acceptor.and_then(|it| it.expiry_warning(&options.cert, now)) {
        log::certificate_expires(&warning);
    }
}

impl Server {
    /// Waits for signals and shuts down at the first SIGTERM or SIGINT. Looks at the
    /// certificate each time that `every` has passed.
    pub fn supervise(mut self, options: &Options, every: Duration) -> Result<(), Died> {
        let mut daily = Daily::new(every, Instant::now());
        let signal = loop {
            match self.next_event(daily.next)? {
                Some(Event::Signal(SIGHUP)) => self.reload(options),
                Some(Event::Signal(SIGUSR1)) => self.log_status(),
                Some(Event::Signal(signal)) => break signal,
                _ => {}
            }
            if daily.is_due(Instant::now()) {
                warn_of_expiry(&self.shared, options);
            }
        };
        if signal == SIGTERM && !self.drain(options)? {
            // A second signal ends at once.
            log::stopped(self.slots.taken());
            return Ok(());
        }
        let name = if signal == SIGINT {
            "SIGINT"
        } else {
            "SIGTERM"
        };
        log::stopping(name, self.slots.taken());
        self.notify.stopping(options.shutdown_grace + STOP_MARGIN);
        self.shut_down(options.shutdown_grace)
    }

    /// Serves open sessions for the drain time while new connections get 421.
    /// `false` when a second signal ended it.
    fn drain(&mut self, options: &Options) -> Result<bool, Died> {
        if options.drain.is_zero() {
            return Ok(true);
        }
        self.shared.stop.drain();
        self.notify
            .stopping(options.drain + options.shutdown_grace + STOP_MARGIN);
        log::draining(options.drain.as_secs(), self.slots.taken());
        let end = Instant::now() + options.drain;
        loop {
            match self.next_event(end)? {
                Some(Event::Signal(SIGHUP)) => self.reload(options),
                Some(Event::Signal(SIGUSR1)) => self.log_status(),
                Some(Event::Signal(_)) => return Ok(false),
                Some(_) => {}
                None => return Ok(true),
            }
        }
    }

    /// The next event, or `None` at `deadline`.
    fn next_event(&mut self, deadline: Instant) -> Result<Option<Event>, Died> {
        let status = || status(&self.shared, &self.slots);
        match next_event(&self.events, &mut self.notify, status, deadline) {
            Ok(Event::WorkerDied(name)) => Err(Died(name)),
            Ok(event) => Ok(Some(event)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Died("supervisor")),
        }
    }

    fn reload(&mut self, options: &Options) {
        self.notify.reloading();
        self.read_again(options);
        self.notify.ready();
    }

    /// The accounts are validated on their own, certificate and key together.
    fn read_again(&self, options: &Options) {
        match Accounts::read(&options.accounts, Source::RegularFile) {
            Ok(accounts) => {
                self.shared.set_accounts(accounts);
                log::reloaded("accounts");
            }
            Err(error) => self.reload_failed("accounts", &error, error.is_denied(), options),
        }
        if !options.has_tls() {
            return;
        }
        match Acceptor::read(&options.cert, &options.key, Source::RegularFile) {
            Ok(acceptor) => {
                self.shared.set_acceptor(acceptor);
                log::reloaded("certificate and key");
                warn_of_expiry(&self.shared, options);
            }
            Err(error) => {
                self.reload_failed("certificate and key", &error, error.is_denied(), options);
            }
        }
    }

    fn log_status(&self) {
        let uptime = self.started.elapsed();
        log::status(
            uptime,
            &self.shared.metrics.totals(),
            &self.slots.by_account(),
        );
    }

    /// The sandbox may be the reason; the log says so.
    fn reload_failed(&self, what: &str, error: &dyn Display, denied: bool, options: &Options) {
        let hint = if denied && options.sandbox {
            "; the sandbox lets mm4d read where this was at its start: restart it, or give --no-sandbox"
        } else {
            ""
        };
        log::reload_failed(what, &format!("{error}{hint}"));
    }

    /// Ends when the last session has, when the grace is over, or at a second
    /// signal. Every message that got a 250 is on the device by then.
    fn shut_down(self, grace: Duration) -> Result<(), Died> {
        let Server {
            shared,
            slots,
            events,
            writer,
            listeners,
            exporter,
            mut notify,
            started: _,
        } = self;
        // A client that gets 421 and connects again must not reach this server.
        shared.stop.end_listeners();
        for listener in listeners {
            let _ = listener.join();
        }
        shared.stop.end_sessions(grace);
        let deadline = Instant::now() + grace + LAST_REPLIES;
        let mut idle = slots.announce_idle();
        while !idle {
            let status = || status(&shared, &slots);
            match next_event(&events, &mut notify, status, deadline) {
                Ok(Event::Idle) => idle = true,
                Ok(Event::Signal(SIGHUP | SIGUSR1)) => {}
                Ok(Event::WorkerDied(name)) => return Err(Died(name)),
                Ok(Event::Signal(_)) | Err(_) => break,
            }
        }
        log::stopped(slots.taken());
        if idle {
            // The last sender: the writer drains and ends.
            drop(shared);
            if writer.join().is_err() {
                return Err(Died("writer"));
            }
        }
        // The last metrics, when everything they count is done.
        drop(exporter);
        Ok(())
    }
}

/// Waits for an event until `deadline`, and meanwhile reports to the service
/// manager that the server is alive. `status` takes locks that serving a client takes: a
/// server whose clients wait for one of them forever does not get to do so.
fn next_event(
    events: &Receiver<Event>,
    notify: &mut Notify,
    status: impl Fn() -> String,
    deadline: Instant,
) -> Result<Event, RecvTimeoutError> {
    loop {
        notify.alive(&status);
        let until = notify.due().map_or(deadline, |due| due.min(deadline));
        match events.recv_deadline(until) {
            Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => {}
            result => return result,
        }
    }
}

/// What the service manager shows of the server, in one line.
fn status(shared: &Shared, slots: &Slots) -> String {
    let connections = slots.taken();
    let totals = shared.metrics.totals();
    let (plain, tls, messages) = (totals.plain, totals.tls, totals.messages);
    format!("connections {connections} (plain {plain}, TLS {tls}), messages {messages}")
}

/// What the supervisor waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A signal was received.
    Signal(i32),
    /// The last session has ended after [`Slots::announce_idle`].
    Idle,
    /// A thread that the server needs has ended.
    WorkerDied(&'static str),
}

/// Starts a thread that the server needs: the supervisor learns of its panic.
pub fn worker(
    name: &'static str,
    events: Sender<Event>,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    struct Watch(&'static str, Sender<Event>);
    impl Drop for Watch {
        fn drop(&mut self) {
            if thread::panicking() {
                let _ = self.1.send(Event::WorkerDied(self.0));
            }
        }
    }
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _watch = Watch(name, events);
        run();
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_is_looked_at_once_a_day() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut daily = Daily::new(DAY, start);
        assert!(!daily.is_due(start + DAY - second));
        assert!(daily.is_due(start + DAY + second));
        assert!(!daily.is_due(start + DAY + 2 * second));
        assert!(!daily.is_due(start + 2 * DAY));
        assert!(daily.is_due(start + 2 * DAY + second));
    }
}

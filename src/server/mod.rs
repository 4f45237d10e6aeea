//! The server: start and stop, listeners, limits, threads, reload.
//!
//! One blocking listener thread for each address, one thread for each client,
//! one writer thread. A shutdown runs one way: stop accepting, wake idle
//! sessions, let messages in progress finish, drop the last sender; the writer
//! then empties its queue and ends.

pub mod accounts;
mod config;
pub mod connection;
pub mod descriptors;
mod hash_cost;
mod hash_queue;
pub mod listener;
pub mod metrics;
pub mod options;
mod peers;
mod proxy;
pub mod sandbox;
pub mod shared;
pub mod slots;
pub mod stderr;
pub mod stream;
pub mod tls;

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::accounts::Accounts;
use self::listener::Listener;
use self::metrics::Exporter;
use self::options::{Listen, Options};
use self::shared::{Clocks, Shared};
use self::slots::Slots;
use self::tls::Acceptor;
use crate::log;
use crate::smtp::Policy;
use crate::spool::maildir::Maildir;
use crate::spool::{Reserve, Spool};

/// After the grace period, the time left to send the last replies.
const LAST_REPLIES: Duration = Duration::from_secs(1);

/// A worker thread has died: a defect of the server. The log names the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Died(pub &'static str);

impl fmt::Display for Died {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} thread has died; start mm4d again", self.0)
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
}

/// Brings the server up; says in one line what is wrong where it cannot.
pub fn start(options: &Options) -> Result<Server, String> {
    let say = |error: &dyn Display| error.to_string();
    let accounts = Accounts::load(&options.accounts).map_err(|error| say(&error))?;
    let acceptor = has_tls(options)
        .then(|| Acceptor::load(&options.cert, &options.key))
        .transpose()
        .map_err(|error| say(&error))?;
    let limit = descriptors::raise(options.max_connections, options.listeners.len())?;
    let maildir = Maildir::open(&options.spool, &options.hostname).map_err(|error| say(&error))?;
    let listeners = options
        .listeners
        .iter()
        .map(|listen| bind(listen, options))
        .collect::<Result<Vec<_>, _>>()?;
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|error| format!("cannot handle signals: {error}"))?;

    // Threads started from here on are confined; nothing above needs to be.
    if options.sandbox {
        let configuration = [&options.accounts, &options.cert, &options.key];
        log::sandbox(&sandbox::confine(
            &options.spool,
            &configuration.map(|path| path.as_path()),
            options.metrics_file.as_deref(),
        ));
    }
    let (sender, events) = unbounded();
    let reserve = Reserve {
        max_message_size: options.limits.max_message_size,
        min_free: options.min_free,
    };
    let (spool, write) = Spool::new(maildir, &options.hostname, reserve);
    let policy = Policy {
        hostname: options.hostname.clone(),
        addresses: options.addresses,
        limits: options.limits.clone(),
    };
    let clocks = Clocks {
        login_timeout: options.login_timeout,
        timeout: options.timeout,
        min_rate: options.min_rate,
    };
    let shared = Shared::new(policy, Arc::new(spool), clocks, accounts, acceptor)
        .map_err(|error| format!("cannot make a pipe: {error}; raise the limit of open files"))?;
    let shared = Arc::new(shared);
    shared
        .metrics
        .set_limits(options.max_connections, options.min_free);
    let exporter = options
        .metrics_file
        .as_ref()
        .map(|path| Exporter::start(path, Arc::clone(&shared.metrics), sender.clone()))
        .transpose()
        .map_err(|error| say(&error))?;
    let slots = Slots::new(
        options.max_connections,
        options.max_connections_per_ip,
        sender.clone(),
    );
    let thread =
        |error: io::Error| format!("cannot start a thread: {error}; raise the limit of processes");
    let writer = worker("writer", sender.clone(), write).map_err(thread)?;
    let names: Vec<_> = listeners.iter().map(Listener::name).collect();
    let listeners = listeners
        .into_iter()
        .map(|listener| listen(listener, &shared, &slots, &sender))
        .collect::<Result<Vec<_>, _>>()
        .map_err(thread)?;
    worker("signals", sender.clone(), move || {
        for signal in signals.forever() {
            if sender.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    })
    .map_err(thread)?;

    descriptors::warn_if_few(limit, options.max_connections, options.listeners.len());
    log::started(
        env!("CARGO_PKG_VERSION"),
        &options.hostname,
        &options.spool.to_string_lossy(),
    );
    announce(&names);
    Ok(Server {
        shared,
        slots,
        events,
        writer,
        listeners,
        exporter,
    })
}

fn has_tls(options: &Options) -> bool {
    options.listeners.iter().any(|listen| listen.tls)
}

fn bind(listen: &Listen, options: &Options) -> Result<Listener, String> {
    Listener::bind(listen, &options.proxy_from).map_err(|error| {
        format!(
            "cannot listen on {listen}: {error}; give another address or port with {}",
            listen.option()
        )
    })
}

fn listen(
    listener: Listener,
    shared: &Arc<Shared>,
    slots: &Arc<Slots>,
    events: &Sender<Event>,
) -> io::Result<JoinHandle<()>> {
    let (shared, slots) = (Arc::clone(shared), Arc::clone(slots));
    worker("listener", events.clone(), move || {
        listener.run(&shared, &slots);
    })
}

/// The lines that tell whoever started the server that clients may come. A
/// standard output that nobody reads is no reason to end.
fn announce(names: &[String]) {
    let mut stdout = io::stdout().lock();
    for name in names {
        let _ = writeln!(stdout, "listening {name}");
    }
    let _ = stdout.flush();
}

impl Server {
    /// Waits for signals and shuts down at the first SIGTERM or SIGINT.
    pub fn supervise(self, options: &Options) -> Result<(), Died> {
        let signal = loop {
            match self.next_event(None)? {
                Some(Event::Signal(SIGHUP)) => self.reload(options),
                Some(Event::Signal(signal)) => break signal,
                _ => {}
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
        self.shut_down(options.shutdown_grace)
    }

    /// Serves open sessions for the drain time while new connections get 421.
    /// `false` when a second signal ended it.
    fn drain(&self, options: &Options) -> Result<bool, Died> {
        if options.drain.is_zero() {
            return Ok(true);
        }
        self.shared.stop.drain();
        log::draining(options.drain.as_secs(), self.slots.taken());
        let end = Instant::now() + options.drain;
        loop {
            match self.next_event(Some(end))? {
                Some(Event::Signal(SIGHUP)) => self.reload(options),
                Some(Event::Signal(_)) => return Ok(false),
                Some(_) => {}
                None => return Ok(true),
            }
        }
    }

    /// The next event, or `None` at `deadline`.
    fn next_event(&self, deadline: Option<Instant>) -> Result<Option<Event>, Died> {
        let event = match deadline {
            Some(deadline) => self.events.recv_deadline(deadline),
            None => self.events.recv().map_err(Into::into),
        };
        match event {
            Ok(Event::WorkerDied(name)) => Err(Died(name)),
            Ok(event) => Ok(Some(event)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Died("supervisor")),
        }
    }

    /// The accounts are judged on their own, certificate and key together.
    fn reload(&self, options: &Options) {
        match Accounts::load(&options.accounts) {
            Ok(accounts) => {
                self.shared.set_accounts(accounts);
                log::reloaded("accounts");
            }
            Err(error) => self.reload_failed("accounts", &error, error.is_denied(), options),
        }
        if !has_tls(options) {
            return;
        }
        match Acceptor::load(&options.cert, &options.key) {
            Ok(acceptor) => {
                self.shared.set_acceptor(acceptor);
                log::reloaded("certificate and key");
            }
            Err(error) => {
                self.reload_failed("certificate and key", &error, error.is_denied(), options);
            }
        }
    }

    /// What the sandbox may have refused is for the operator to know.
    fn reload_failed(&self, what: &str, error: &dyn Display, denied: bool, options: &Options) {
        let hint = if denied && options.sandbox {
            "; the sandbox lets mm4d read where this was at its start: restart it, or give --no-sandbox"
        } else {
            ""
        };
        log::reload_failed(what, &format!("{error}{hint}"));
    }

    /// Ends when the last session has, when the grace is over, or at a second
    /// signal. Every 250 that was said is on the device by then.
    fn shut_down(self, grace: Duration) -> Result<(), Died> {
        let Server {
            shared,
            slots,
            events,
            writer,
            listeners,
            exporter,
        } = self;
        shared.stop.begin(grace);
        let deadline = Instant::now() + grace + LAST_REPLIES;
        for listener in listeners {
            let _ = listener.join();
        }
        let mut idle = slots.announce_idle();
        while !idle {
            match events.recv_deadline(deadline) {
                Ok(Event::Idle) => idle = true,
                Ok(Event::Signal(SIGHUP)) => {}
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

/// What the supervisor hears of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A signal has come.
    Signal(i32),
    /// The last session has ended after [`Slots::announce_idle`].
    Idle,
    /// A thread that must live has died.
    WorkerDied(&'static str),
}

/// A thread that must live: its panic is told to the supervisor.
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

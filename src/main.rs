//! mm4d: start-up, top to bottom, then the wait for signals.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use mm4d::accounts::Accounts;
use mm4d::options::{self, Invocation, Listen, Options};
use mm4d::server::{Event, Listener, Slots, worker};
use mm4d::shared::{Clocks, Shared};
use mm4d::smtp::Policy;
use mm4d::spool::maildir::Maildir;
use mm4d::spool::{Reserve, Spool};
use mm4d::stderr::Stderr;
use mm4d::tls::Acceptor;
use mm4d::{descriptors, events, sandbox};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// It cannot start, or a worker has died.
const FAILURE: u8 = 1;
/// The command line cannot be meant.
const USAGE: u8 = 2;

/// Behind the grace, for the last replies to be read.
const LAST_WORDS: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let options = match options::parse(std::env::args_os().skip(1)) {
        Ok(Invocation::Run(options)) => options,
        Ok(Invocation::Print(text)) => return print(&text),
        Err(error) => return fail(USAGE, &error.to_string()),
    };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"))
        .target(env_logger::Target::Pipe(Box::new(Stderr::default())))
        .init();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let thread = thread::current();
        let name = thread.name().unwrap_or_default();
        events::panicked(place.as_deref().unwrap_or("?"), name);
    }));
    match start(&options) {
        Ok(server) => server.supervise(&options),
        Err(error) => fail(FAILURE, &error),
    }
}

/// Everything that runs.
struct Server {
    shared: Arc<Shared>,
    slots: Arc<Slots>,
    events: Receiver<Event>,
    writer: thread::JoinHandle<()>,
    listeners: Vec<thread::JoinHandle<()>>,
}

/// Brings the server up; says in one line what is wrong where it cannot.
fn start(options: &Options) -> Result<Server, String> {
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
        .map(bind)
        .collect::<Result<Vec<_>, _>>()?;
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|error| format!("cannot handle signals: {error}"))?;

    // Threads started from here on are confined; nothing above needs to be.
    if options.sandbox {
        let configuration = [&options.accounts, &options.cert, &options.key];
        events::sandbox(&sandbox::confine(
            &options.spool,
            &configuration.map(|path| path.as_path()),
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
    events::started(
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
    })
}

fn has_tls(options: &Options) -> bool {
    options.listeners.iter().any(|listen| listen.tls)
}

fn bind(listen: &Listen) -> Result<Listener, String> {
    Listener::bind(listen).map_err(|error| {
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
) -> io::Result<thread::JoinHandle<()>> {
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
    /// Waits for signals; ends with the process's exit status.
    fn supervise(self, options: &Options) -> ExitCode {
        loop {
            match self.events.recv() {
                Ok(Event::Signal(SIGHUP)) => self.reload(options),
                Ok(Event::Signal(signal)) => {
                    let name = if signal == SIGINT {
                        "SIGINT"
                    } else {
                        "SIGTERM"
                    };
                    events::stopping(name, self.slots.taken());
                    break;
                }
                Ok(Event::Idle) => {}
                Ok(Event::WorkerDied(name)) => return died(name),
                Err(_) => return died("supervisor"),
            }
        }
        self.shut_down(options.shutdown_grace)
    }

    /// The accounts are judged on their own, certificate and key together.
    fn reload(&self, options: &Options) {
        match Accounts::load(&options.accounts) {
            Ok(accounts) => {
                self.shared.set_accounts(accounts);
                events::reloaded("accounts");
            }
            Err(error) => self.reload_failed("accounts", &error, error.is_denied(), options),
        }
        if !has_tls(options) {
            return;
        }
        match Acceptor::load(&options.cert, &options.key) {
            Ok(acceptor) => {
                self.shared.set_acceptor(acceptor);
                events::reloaded("certificate and key");
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
        events::reload_failed(what, &format!("{error}{hint}"));
    }

    /// Ends when the last session has, when the grace is over, or at a second
    /// signal. Every 250 that was said is on the device by then.
    fn shut_down(self, grace: Duration) -> ExitCode {
        let Server {
            shared,
            slots,
            events,
            writer,
            listeners,
        } = self;
        shared.stop.begin(grace);
        let deadline = Instant::now() + grace + LAST_WORDS;
        for listener in listeners {
            let _ = listener.join();
        }
        let mut idle = slots.announce_idle();
        while !idle {
            match events.recv_deadline(deadline) {
                Ok(Event::Idle) => idle = true,
                Ok(Event::Signal(SIGHUP)) => {}
                Ok(Event::WorkerDied(name)) => return died(name),
                Ok(Event::Signal(_)) | Err(_) => break,
            }
        }
        events::stopped(slots.taken());
        if idle {
            // The last sender: the writer drains and ends.
            drop(shared);
            if writer.join().is_err() {
                return died("writer");
            }
        }
        ExitCode::SUCCESS
    }
}

/// The log has the place; a worker is never the operator's fault.
fn died(name: &str) -> ExitCode {
    fail(
        FAILURE,
        &format!("the {name} thread has died; start mm4d again"),
    )
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(FAILURE),
    }
}

/// One line, whatever line ends stand in the names it tells.
fn fail(status: u8, error: &str) -> ExitCode {
    let line: String = error
        .chars()
        .flat_map(|character| match character.is_control() {
            true => character.escape_default().collect::<Vec<_>>(),
            false => vec![character],
        })
        .collect();
    let _ = writeln!(io::stderr(), "mm4d: {line}");
    ExitCode::from(status)
}

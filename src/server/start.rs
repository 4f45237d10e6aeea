//! The start, in the order that it needs: bind, become the user of `--user`, read
//! files, take the spool into use, confine the process, start the threads, and
//! only then accept clients.
//! The first failure ends it and is reported as a [`StartError`].

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Sender, unbounded};

use super::accounts::{Accounts, AccountsError};
use super::descriptors::{self, DescriptorsError};
use super::inherited::{Inherited, InheritedError};
use super::listener::Listener;
use super::metrics::file::{Exporter, MetricsError};
use super::notify::Notify;
use super::options::{Listen, Options};
use super::shared::{Clocks, Shared};
use super::signals::Signals;
use super::slots::Slots;
use super::tls::{Acceptor, TlsError};
use super::user::{User, UserError};
use super::{Event, Server, sandbox, stderr, warn_of_expiry, worker};
use crate::access;
use crate::log;
use crate::smtp::Policy;
use crate::spool::maildir::Maildir;
use crate::spool::{OpenError, Reserve, Spool};

/// Why the server cannot start: one line that says what to do about it.
#[derive(Debug)]
pub enum StartError {
    /// The accounts file.
    Accounts(AccountsError),
    /// The certificate or its key.
    Tls(TlsError),
    /// The user to run as.
    User(UserError),
    /// A file that the user of `--user` may not be able to use.
    Unprivileged {
        /// The user.
        user: String,
        /// What failed.
        error: Box<StartError>,
    },
    /// The limit of open files.
    Descriptors(DescriptorsError),
    /// The spool.
    Spool(OpenError),
    /// An address to listen on.
    Bind {
        /// The listener.
        listen: Listen,
        /// What failed.
        error: io::Error,
    },
    /// A socket of the service manager.
    Inherited(InheritedError),
    /// The metrics file.
    Metrics(MetricsError),
    /// A pipe could not be made.
    Pipe(io::Error),
    /// A thread could not be started.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Accounts(error) => error.fmt(f),
            StartError::Tls(error) => error.fmt(f),
            StartError::User(error) => error.fmt(f),
            StartError::Unprivileged { user, error } => {
                write!(f, "{error}; mm4d opens files as --user {user}")
            }
            StartError::Descriptors(error) => error.fmt(f),
            StartError::Spool(error) => error.fmt(f),
            StartError::Inherited(error) => error.fmt(f),
            StartError::Metrics(error) => error.fmt(f),
            StartError::Bind { listen, error } => {
                let hint = match error.kind() {
                    io::ErrorKind::PermissionDenied if (1..1024).contains(&listen.port) => {
                        "a port below 1024 needs the capability CAP_NET_BIND_SERVICE, or a start \
                         as root with --user NAME"
                    }
                    io::ErrorKind::AddrInUse => "stop the program that uses it, or give another",
                    _ => "give another address or port",
                };
                let option = listen.option();
                write!(f, "cannot listen on {option} {listen}: {error}; {hint}")
            }
            StartError::Pipe(error) => {
                write!(
                    f,
                    "cannot make a pipe: {error}; raise the limit of open files"
                )
            }
            StartError::Thread(error) => {
                write!(
                    f,
                    "cannot start a thread: {error}; raise the limit of processes"
                )
            }
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            StartError::Accounts(error) => Some(error),
            StartError::Tls(error) => Some(error),
            StartError::User(error) => Some(error),
            StartError::Unprivileged { error, .. } => Some(error.as_ref()),
            StartError::Descriptors(error) => Some(error),
            StartError::Spool(error) => Some(error),
            StartError::Inherited(error) => Some(error),
            StartError::Metrics(error) => Some(error),
            StartError::Bind { error, .. }
            | StartError::Pipe(error)
            | StartError::Thread(error) => Some(error),
        }
    }
}

/// Starts the server; it accepts clients when this returns.
pub fn start(
    options: &Options,
    signals: Signals,
    inherited: Vec<Inherited>,
) -> Result<Server, StartError> {
    let user = options.user.as_deref().map(User::find);
    let user = user.transpose().map_err(StartError::User)?;
    let limit = descriptors::raise(options.max_connections, options.listeners.len())
        .map_err(StartError::Descriptors)?;
    let listeners = bind(options, inherited)?;
    if let Some(user) = user {
        user.switch().map_err(StartError::User)?;
    }
    serve(options, signals, listeners, limit).map_err(|error| name_user(error, options))
}

/// A file that cannot be used may be one that only root can use.
fn name_user(error: StartError, options: &Options) -> StartError {
    match (&options.user, &error) {
        (
            Some(user),
            StartError::Accounts(_)
            | StartError::Tls(_)
            | StartError::Spool(_)
            | StartError::Metrics(_),
        ) => StartError::Unprivileged {
            user: user.clone(),
            error: Box::new(error),
        },
        _ => error,
    }
}

/// What is left to do with bound listeners and without privileges.
fn serve(
    options: &Options,
    signals: Signals,
    listeners: Vec<Listener>,
    limit: u64,
) -> Result<Server, StartError> {
    let accounts = Accounts::load(&options.accounts).map_err(StartError::Accounts)?;
    let acceptor = options
        .has_tls()
        .then(|| Acceptor::load(&options.cert, &options.key))
        .transpose()
        .map_err(StartError::Tls)?;
    let maildir = Maildir::open(&options.spool, &options.hostname).map_err(StartError::Spool)?;
    let (spool, write) = Spool::new(maildir, &options.hostname, reserve(options));
    // It counts processors, by files that are not to be seen in the sandbox.
    let shared = Shared::new(
        policy(options),
        Arc::new(spool),
        clocks(options),
        accounts,
        acceptor,
    )
    .map_err(StartError::Pipe)?;
    let shared = Arc::new(shared);
    // A reload that fails names the user, who cannot be asked for in the sandbox.
    let (user, _) = access::ids();
    let notify = Notify::from_env().unwrap_or_else(|error| {
        log::cannot_notify(&error);
        Notify::none()
    });
    confine(options);

    // Threads inherit the confinement, so none is started before this line.
    let (sender, events) = unbounded();
    worker("log", sender.clone(), stderr::run).map_err(StartError::Thread)?;
    let writer = worker("writer", sender.clone(), write).map_err(StartError::Thread)?;
    shared
        .metrics
        .set_limits(options.max_connections, options.min_free);
    let server = Server {
        exporter: export(options, &shared, &sender)?,
        shared,
        slots: Slots::new(
            options.max_connections,
            options.max_connections_per_ip,
            sender.clone(),
        ),
        events,
        writer,
        listeners: Vec::new(),
        notify,
        started: Instant::now(),
    };
    warn_of_expiry(&server.shared, options);
    descriptors::warn_if_few(limit, options.max_connections, options.listeners.len());
    if user == 0 {
        log::running_as_root();
    }
    accept(server, options, listeners, signals, sender)
}

/// A listener that the service manager has bound takes the place of one of the
/// options.
fn bind(options: &Options, mut inherited: Vec<Inherited>) -> Result<Vec<Listener>, StartError> {
    let mut bind = |listen: &Listen| {
        let listener = match inherited.iter().position(|socket| socket.is(listen)) {
            Some(index) => Ok(Listener::inherit(
                inherited.swap_remove(index),
                &options.proxy_from,
            )),
            None => Listener::bind(listen, &options.proxy_from),
        };
        listener.map_err(|error| StartError::Bind {
            listen: listen.clone(),
            error,
        })
    };
    let listeners = options.listeners.iter().map(&mut bind);
    let listeners = listeners.collect::<Result<Vec<Listener>, _>>()?;
    match inherited.pop() {
        Some(socket) => Err(StartError::Inherited(InheritedError::NotWanted(socket))),
        None => Ok(listeners),
    }
}

fn confine(options: &Options) {
    if options.sandbox {
        let mut configuration = vec![options.accounts.as_path()];
        if options.has_tls() {
            configuration.extend([options.cert.as_path(), &options.key]);
        }
        let needs = sandbox::Needs {
            spool: &options.spool,
            configuration: &configuration,
            metrics: options.metrics_file.as_deref(),
        };
        log::sandbox(&sandbox::confine(&needs));
    }
}

fn reserve(options: &Options) -> Reserve {
    Reserve {
        max_message_size: options.limits.max_message_size,
        min_free: options.min_free,
    }
}

fn policy(options: &Options) -> Policy {
    Policy {
        hostname: options.hostname.clone(),
        addresses: options.addresses,
        limits: options.limits.clone(),
    }
}

fn clocks(options: &Options) -> Clocks {
    Clocks {
        login_timeout: options.login_timeout,
        timeout: options.timeout,
        min_rate: options.min_rate,
    }
}

fn export(
    options: &Options,
    shared: &Shared,
    events: &Sender<Event>,
) -> Result<Option<Exporter>, StartError> {
    let start = |path: &PathBuf| Exporter::start(path, Arc::clone(&shared.metrics), events.clone());
    let path = options.metrics_file.as_ref();
    path.map(start).transpose().map_err(StartError::Metrics)
}

/// Handles signals, accepts clients, and reports that it does.
fn accept(
    mut server: Server,
    options: &Options,
    listeners: Vec<Listener>,
    signals: Signals,
    sender: Sender<Event>,
) -> Result<Server, StartError> {
    let names: Vec<_> = listeners.iter().map(Listener::name).collect();
    for (listener, listen) in listeners.into_iter().zip(&options.listeners) {
        listener.listen().map_err(|error| StartError::Bind {
            listen: listen.clone(),
            error,
        })?;
        let thread = listener_thread(listener, &server, &sender).map_err(StartError::Thread)?;
        server.listeners.push(thread);
    }
    signals.started();
    let events = sender.clone();
    worker("signals", sender, move || signals.run(&events)).map_err(StartError::Thread)?;
    log::started(
        env!("CARGO_PKG_VERSION"),
        &options.hostname,
        &options.spool.to_string_lossy(),
    );
    announce(&names);
    server.notify.ready();
    Ok(server)
}

fn listener_thread(
    listener: Listener,
    server: &Server,
    events: &Sender<Event>,
) -> io::Result<JoinHandle<()>> {
    let (shared, slots) = (Arc::clone(&server.shared), Arc::clone(&server.slots));
    worker("listener", events.clone(), move || {
        listener.run(&shared, &slots);
    })
}

/// Prints where clients can connect, for whoever started the server. That nobody
/// reads standard output is no reason to end.
fn announce(names: &[String]) {
    let mut stdout = io::stdout().lock();
    for name in names {
        let _ = writeln!(stdout, "listening {name}");
    }
    let _ = stdout.flush();
}

//! What all sessions share: the operator's settings, the spool, the accounts and
//! the certificate in force, and the signal that the server shuts down.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use rustix::pipe::PipeFlags;

use crate::server::accounts::Accounts;
use crate::server::hash_queue::HashQueue;
use crate::server::metrics::Metrics;
use crate::server::tls::Acceptor;
use crate::smtp::Policy;
use crate::spool::Spool;

/// What all sessions share.
pub struct Shared {
    /// What the operator sets for every session.
    pub policy: Arc<Policy>,
    /// Where messages go.
    pub spool: Arc<Spool>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What a client may take.
    pub clocks: Clocks,
    /// Rings when the server shuts down.
    pub stop: Stop,
    /// Whose password is hashed next.
    pub(crate) hash_queue: Arc<HashQueue>,
    accounts: RwLock<Arc<Accounts>>,
    acceptor: RwLock<Option<Acceptor>>,
}

/// How long, and how slow.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// From accept to a successful AUTH.
    pub login_timeout: Duration,
    /// Silence inside a session.
    pub timeout: Duration,
    /// Bytes per second that a message must arrive at, averaged over a minute; 0 disables.
    pub min_rate: u64,
}

impl Shared {
    /// What sessions share, with the accounts and the certificate of start-up.
    pub fn new(
        policy: Policy,
        spool: Arc<Spool>,
        clocks: Clocks,
        accounts: Accounts,
        acceptor: Option<Acceptor>,
    ) -> io::Result<Shared> {
        let metrics = Metrics::new(Arc::clone(spool.stats()));
        metrics.set_accounts(accounts.ids());
        metrics.set_certificate(acceptor.as_ref().and_then(Acceptor::not_after));
        Ok(Shared {
            policy: Arc::new(policy),
            spool,
            metrics: Arc::new(metrics),
            clocks,
            stop: Stop::new()?,
            hash_queue: HashQueue::new(
                thread::available_parallelism().map_or(1, std::num::NonZero::get),
            ),
            accounts: RwLock::new(Arc::new(accounts)),
            acceptor: RwLock::new(acceptor),
        })
    }

    /// The accounts in force now.
    pub fn accounts(&self) -> Arc<Accounts> {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&accounts)
    }

    /// Puts new accounts in force; what was remembered of logins is forgotten.
    pub(crate) fn set_accounts(&self, new: Accounts) {
        self.metrics.set_accounts(new.ids());
        let mut accounts = self
            .accounts
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *accounts = Arc::new(new);
    }

    /// Puts a new certificate in force for handshakes to come.
    pub(crate) fn set_acceptor(&self, new: Acceptor) {
        self.metrics.set_certificate(new.not_after());
        let mut acceptor = self
            .acceptor
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *acceptor = Some(new);
    }

    /// The certificate in force now; `None` where no listener uses TLS.
    pub(crate) fn acceptor(&self) -> Option<Acceptor> {
        let acceptor = self.acceptor.read().unwrap_or_else(PoisonError::into_inner);
        acceptor.clone()
    }
}

/// Wakes everyone who polls it, once.
#[derive(Debug)]
pub struct Wake {
    reader: OwnedFd,
    /// Dropped to wake: then the reader hangs up.
    writer: Mutex<Option<OwnedFd>>,
    has_woken: AtomicBool,
}

impl Wake {
    pub(super) fn new() -> io::Result<Wake> {
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Wake {
            reader,
            writer: Mutex::new(Some(writer)),
            has_woken: AtomicBool::new(false),
        })
    }

    /// For those who have no need to wait.
    pub(super) fn has_woken(&self) -> bool {
        self.has_woken.load(Ordering::Acquire)
    }

    pub(super) fn wake(&self) {
        self.has_woken.store(true, Ordering::Release);
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        *writer = None;
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

/// The end of the server: first no new connections, then no idle sessions.
pub struct Stop {
    listeners: Wake,
    sessions: Wake,
    grace_end: OnceLock<Instant>,
    draining: AtomicBool,
}

impl Stop {
    fn new() -> io::Result<Stop> {
        Ok(Stop {
            listeners: Wake::new()?,
            sessions: Wake::new()?,
            grace_end: OnceLock::new(),
            draining: AtomicBool::new(false),
        })
    }

    /// Polled by listeners: ready when they must end.
    pub fn listeners(&self) -> BorrowedFd<'_> {
        self.listeners.as_fd()
    }

    /// Polled by sessions: ready when those without a message in progress must end.
    pub fn sessions(&self) -> &Wake {
        &self.sessions
    }

    /// From now on new connections get 421; open sessions continue.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether [`Stop::drain`] was called.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether new clients are to go elsewhere.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_draining() || self.grace_end().is_some()
    }

    /// When messages in progress must be complete; `None` before a shutdown.
    pub(crate) fn grace_end(&self) -> Option<Instant> {
        self.grace_end.get().copied()
    }

    /// Ends the listeners.
    pub fn end_listeners(&self) {
        self.listeners.wake();
    }

    /// Ends the sessions; those with a message in progress have `grace` for it.
    pub(crate) fn end_sessions(&self, grace: Duration) {
        let _ = self.grace_end.set(Instant::now() + grace);
        self.sessions.wake();
    }
}

//! Listeners, limits, threads, reload and shutdown.
//!
//! One blocking listener thread for each address, one thread for each client.
//! The accept loop never ends at an error: what is short (descriptors, memory,
//! threads) is logged, waited for, and tried again. A shutdown runs one way:
//! stop accepting, wake idle sessions, let mails in progress finish, drop the
//! last sender, the writer drains and ends.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};

use crate::descriptors::MAX_REFUSALS;
use crate::options::Listen;
use crate::shared::Shared;
use crate::smtp::{Reply, reply};
use crate::stream::{Clock, Stream};
use crate::{connection, events};

/// Connections that wait to be accepted: a thousand clients may come at once.
const BACKLOG: i32 = 4096;

/// Stack of a client's thread in octets; only what is used takes memory.
const STACK: usize = 256 * 1024;

/// How long a listener rests after an error that will not mend itself at once.
const PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// How long a refused client is given to read why.
const REFUSAL_LINGER: Duration = Duration::from_secs(1);
/// How long those in the backlog are told of a shutdown.
const TURN_AWAY: Duration = Duration::from_millis(200);
/// A flood of refusals is one log line in so much time.
const REFUSAL_LOG: Duration = Duration::from_secs(1);

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

/// A bound listener.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: bool,
}

impl Listener {
    /// Binds the first address that `listen` resolves to and that can be bound.
    pub fn bind(listen: &Listen) -> io::Result<Listener> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in (listen.host.as_str(), listen.port).to_socket_addrs()? {
            match bind(address) {
                Ok(socket) => {
                    return Ok(Listener {
                        address: socket.local_addr()?,
                        socket,
                        tls: listen.tls,
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// `plain ADDR:PORT` or `tls ADDR:PORT`, with the port that was taken.
    pub fn name(&self) -> String {
        let kind = if self.tls { "tls" } else { "plain" };
        format!("{kind} {}", self.address)
    }

    /// Accepts until the server goes down.
    pub fn run(self, shared: &Arc<Shared>, slots: &Arc<Slots>) {
        let mut failing = false;
        loop {
            if !wait(&[self.socket.as_fd()], shared.stop.fd(), None) {
                return self.turn_away(slots);
            }
            // An error of accept may be the client's; one of the thread never is.
            let result = match self.socket.accept() {
                Ok((socket, peer)) => {
                    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                    self.admit(socket, peer, shared, slots)
                }
                Err(error) if is_the_clients(&error) => continue,
                Err(error) => Err(error),
            };
            match result {
                Ok(()) if failing => {
                    failing = false;
                    events::listener_recovered(&self.name());
                }
                Ok(()) => {}
                Err(error) => {
                    if !failing {
                        failing = true;
                        events::listener_failing(&self.name(), &error);
                    }
                    if !wait(&[], shared.stop.fd(), Some(&PAUSE)) {
                        return;
                    }
                }
            }
        }
    }

    /// Tells those who wait to be accepted that the server is going down; the
    /// end of the listener would be a reset to them.
    fn turn_away(&self, slots: &Arc<Slots>) {
        // A flood has no end, and the shutdown must have one.
        let deadline = Instant::now() + TURN_AWAY;
        while Instant::now() < deadline
            && let Ok((socket, _)) = self.socket.accept()
        {
            if !self.tls {
                slots.refuse(socket, reply::SHUTTING_DOWN_421);
            }
        }
    }

    /// Gives a client its thread, or sends it away.
    fn admit(
        &self,
        socket: TcpStream,
        peer: SocketAddr,
        shared: &Arc<Shared>,
        slots: &Arc<Slots>,
    ) -> io::Result<()> {
        let accepted = Instant::now();
        let slot = match slots.take(peer.ip()) {
            Ok(slot) => slot,
            Err(refusal) => {
                if refusal.log {
                    events::refused(peer.ip(), refusal.limit);
                }
                if !self.tls {
                    slots.refuse(socket, reply::TOO_MANY_CONNECTIONS_421);
                }
                return Ok(());
            }
        };
        let acceptor = self.tls.then(|| shared.acceptor()).flatten();
        let shared = Arc::clone(shared);
        thread::Builder::new()
            .name("client".to_owned())
            .stack_size(STACK)
            .spawn(move || {
                connection::serve(socket, peer, acceptor.as_ref(), accepted, &shared);
                // The supervisor, told by the slot, may take the last of it.
                drop(shared);
                drop(slot);
            })?;
        Ok(())
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // 0.0.0.0 and [::] may both be given, with one port.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    // A client that has gone again must not hold the listener up.
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Waits for one of `fds`, or for `timeout`; `false` when the server goes down.
fn wait(fds: &[BorrowedFd<'_>], stop: BorrowedFd<'_>, timeout: Option<&Timespec>) -> bool {
    let mut polled: Vec<PollFd<'_>> = std::iter::once(&stop)
        .chain(fds)
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    // Whatever poll says of itself, the stop is looked at and accept is tried.
    let _ = poll(&mut polled, timeout);
    polled.first().is_none_or(|stop| stop.revents().is_empty())
}

/// Errors of accept(2) that are about one client, or about none.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown,
        NetworkUnreachable, PermissionDenied, TimedOut, WouldBlock,
    };
    matches!(
        error.kind(),
        WouldBlock
            | Interrupted
            | ConnectionAborted
            | ConnectionReset
            | NetworkDown
            | NetworkUnreachable
            | HostUnreachable
            | PermissionDenied
            | TimedOut
    ) || error.raw_os_error() == Some(rustix::io::Errno::PROTO.raw_os_error())
}

/// The places that clients may take.
pub struct Slots {
    max_total: usize,
    max_per_ip: usize,
    table: Mutex<Table>,
    refusals: AtomicUsize,
    announce_idle: AtomicBool,
    events: Sender<Event>,
}

#[derive(Default)]
struct Table {
    total: usize,
    by_ip: HashMap<IpAddr, usize>,
    refused: Option<Instant>,
}

/// Why a client has no place, and whether the log should say so.
struct Refusal {
    limit: &'static str,
    log: bool,
}

impl Slots {
    /// Places for so many clients.
    pub fn new(max_total: u32, max_per_ip: u32, events: Sender<Event>) -> Arc<Slots> {
        Arc::new(Slots {
            max_total: max_total as usize,
            max_per_ip: max_per_ip as usize,
            table: Mutex::default(),
            refusals: AtomicUsize::new(0),
            announce_idle: AtomicBool::new(false),
            events,
        })
    }

    /// Clients there are now.
    pub fn taken(&self) -> usize {
        self.lock().total
    }

    /// From now on [`Event::Idle`] is sent when the last client has gone; says
    /// whether it has gone already.
    pub fn announce_idle(&self) -> bool {
        self.announce_idle.store(true, Ordering::SeqCst);
        self.taken() == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>, ip: IpAddr) -> Result<Slot, Refusal> {
        let mut table = self.lock();
        let of_ip = table.by_ip.get(&ip).copied().unwrap_or(0);
        let limit = if table.total >= self.max_total {
            "max-connections"
        } else if of_ip >= self.max_per_ip {
            "max-connections-per-ip"
        } else {
            table.total += 1;
            table.by_ip.insert(ip, of_ip + 1);
            let slots = Arc::clone(self);
            return Ok(Slot { ip, slots });
        };
        let now = Instant::now();
        let log = table
            .refused
            .is_none_or(|last| now.duration_since(last) >= REFUSAL_LOG);
        if log {
            table.refused = Some(now);
        }
        Err(Refusal { limit, log })
    }

    /// Says `reply` on a plain connection and closes it. The listener is not held up: a few
    /// refused clients at a time have a thread that waits until they have read
    /// it, the rest get what the socket takes at once.
    fn refuse(self: &Arc<Self>, socket: TcpStream, reply: Reply) {
        if self.refusals.fetch_add(1, Ordering::SeqCst) < MAX_REFUSALS {
            let slots = Arc::clone(self);
            let spawned = thread::Builder::new()
                .name("refusal".to_owned())
                .stack_size(STACK)
                .spawn(move || {
                    let clock = Clock {
                        deadline: Instant::now() + REFUSAL_LINGER,
                        stop: None,
                    };
                    if let Ok(mut stream) = Stream::new(socket, None)
                        && stream.write(reply.as_bytes(), clock).is_ok()
                    {
                        stream.close(clock);
                    }
                    slots.refusals.fetch_sub(1, Ordering::SeqCst);
                });
            if spawned.is_err() {
                self.refusals.fetch_sub(1, Ordering::SeqCst);
            }
            return;
        }
        self.refusals.fetch_sub(1, Ordering::SeqCst);
        if socket.set_nonblocking(true).is_ok() {
            let _ = (&socket).write(reply.as_bytes());
            let _ = socket.shutdown(Shutdown::Write);
            // What has come already would turn the end into a reset.
            let _ = (&socket).read(&mut [0; 4096]);
        }
    }
}

/// One client's place, until it is dropped.
struct Slot {
    ip: IpAddr,
    slots: Arc<Slots>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut table = self.slots.lock();
        table.total = table.total.saturating_sub(1);
        if let Some(count) = table.by_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                table.by_ip.remove(&self.ip);
            }
        }
        if table.total == 0 && self.slots.announce_idle.load(Ordering::SeqCst) {
            let _ = self.slots.events.send(Event::Idle);
        }
    }
}

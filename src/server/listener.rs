//! One listening socket: accept, admit, and turn away what is over a limit.
//!
//! The accept loop never ends at an error: when descriptors, memory or threads
//! run out, the error is logged, and accept is tried again after a pause.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::connection::{self, Client};
use super::inherited::Inherited;
use super::options::Listen;
use super::shared::Shared;
use super::slots::Slots;
use super::workers::Workers;
use crate::log;
use crate::smtp::{Reply, reply};

/// Connections that may wait in the kernel to be accepted: a thousand clients
/// may connect at once.
const BACKLOG: i32 = 4096;

/// Stack of a client's thread in bytes; only the pages in use take memory.
pub(super) const STACK: usize = 256 * 1024;

/// How long a listener pauses after an error that needs time to pass.
const PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// How long clients in the backlog are sent the 421 of a shutdown.
const TURN_AWAY: Duration = Duration::from_secs(1);

/// A bound listener.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: bool,
    /// Whether it stays open when this process ends.
    inherited: bool,
    /// Where connections begin with a PROXY header.
    proxy_from: Vec<IpNet>,
    workers: Workers,
}

impl Listener {
    /// Binds the first address that `listen` resolves to and that can be bound.
    pub fn bind(listen: &Listen, proxy_from: &[IpNet]) -> io::Result<Listener> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in (listen.host.as_str(), listen.port).to_socket_addrs()? {
            match bind(address) {
                Ok(socket) => {
                    return Ok(Listener {
                        address: socket.local_addr()?,
                        socket,
                        tls: listen.tls,
                        inherited: false,
                        proxy_from: proxy_from.to_vec(),
                        workers: Workers::new(),
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Uses a socket of the service manager.
    pub fn inherit(from: Inherited, proxy_from: &[IpNet]) -> Listener {
        Listener {
            socket: from.socket,
            address: from.address,
            tls: from.tls,
            inherited: true,
            proxy_from: proxy_from.to_vec(),
            workers: Workers::new(),
        }
    }

    /// Lets clients connect; they are accepted by [`Listener::run`].
    pub fn listen(&self) -> io::Result<()> {
        // The backlog of an inherited one is the service manager's to choose.
        if self.inherited {
            return Ok(());
        }
        SockRef::from(&self.socket).listen(BACKLOG)
    }

    /// `plain ADDR:PORT` or `tls ADDR:PORT`, with the port that was taken.
    pub fn name(&self) -> String {
        let kind = if self.tls { "tls" } else { "plain" };
        format!("{kind} {}", self.address)
    }

    /// Accepts clients until the server shuts down.
    pub fn run(self, shared: &Arc<Shared>, slots: &Arc<Slots>) {
        let mut failing = false;
        loop {
            if !wait(&[self.socket.as_fd()], shared.stop.listeners(), None) {
                return self.turn_away(shared, slots);
            }
            // An error of accept may be the client's; one of the thread never is.
            let result = match self.socket.accept() {
                Ok((socket, peer)) => self.admit(socket, canonical(peer), shared, slots),
                Err(error) if is_the_clients(&error) => continue,
                Err(error) => Err(error),
            };
            match result {
                Ok(()) if failing => {
                    failing = false;
                    log::listener_recovered(&self.name());
                }
                Ok(()) => {}
                Err(error) => {
                    if !failing {
                        failing = true;
                        log::listener_failing(&self.name(), &error);
                    }
                    if !wait(&[], shared.stop.listeners(), Some(&PAUSE)) {
                        return;
                    }
                }
            }
        }
    }

    /// Sends the 421 of a shutdown to those who wait to be accepted; the end of
    /// the listener would be a reset to them. On an inherited socket they wait
    /// for the next server.
    fn turn_away(&self, shared: &Shared, slots: &Arc<Slots>) {
        if self.inherited {
            return;
        }
        // Clients may connect without end; the shutdown must end.
        let deadline = Instant::now() + TURN_AWAY;
        while Instant::now() < deadline {
            let Ok((socket, peer)) = self.socket.accept() else {
                return;
            };
            let peer = canonical(peer);
            let proxy = self.is_proxied(peer).then_some(peer);
            let reply = reply::SHUTTING_DOWN_421;
            refuse(self.tls, socket, reply, proxy, shared, slots);
        }
    }

    /// Whether a connection from there begins with a PROXY header.
    fn is_proxied(&self, peer: SocketAddr) -> bool {
        let mut networks = self.proxy_from.iter();
        networks.any(|network| network.contains(&peer.ip()))
    }

    /// Gives a client its thread, or refuses it.
    fn admit(
        &self,
        socket: TcpStream,
        peer: SocketAddr,
        shared: &Arc<Shared>,
        slots: &Arc<Slots>,
    ) -> io::Result<()> {
        let accepted = Instant::now();
        let proxied = self.is_proxied(peer);
        let refuse = |socket, reply, proxy| refuse(self.tls, socket, reply, proxy, shared, slots);
        // Behind a proxy nothing is sent before its header: `Connection::run_proxied`.
        if !proxied && shared.stop.is_draining() {
            refuse(socket, reply::SHUTTING_DOWN_421, None);
            return Ok(());
        }
        if !proxied && !shared.spool.was_available() {
            refuse(socket, reply::SPOOL_UNAVAILABLE_421, None);
            return Ok(());
        }
        let slot = if proxied {
            // The header says whose connection it is.
            slots.take_for_proxy()
        } else {
            slots.take(peer.ip(), shared.accounts().is_known(peer.ip()))
        };
        let mut slot = match slot {
            Ok(slot) => slot,
            Err(refusal) => {
                shared.metrics.refused(refusal.limit);
                if refusal.log {
                    log::refused(peer.ip(), refusal.limit);
                }
                let proxy = proxied.then_some(peer);
                refuse(socket, reply::TOO_MANY_CONNECTIONS_421, proxy);
                return Ok(());
            }
        };
        let tls = self.tls;
        let acceptor = tls.then(|| shared.acceptor()).flatten();
        let (shared, slots) = (Arc::clone(shared), Arc::clone(slots));
        self.workers.run(move || {
            // This look at the disk may take long; accept does not wait for it.
            if proxied || shared.spool.is_available() {
                let client = Client {
                    socket,
                    peer,
                    accepted,
                    slot: &mut slot,
                    proxied,
                };
                connection::serve(client, acceptor.as_ref(), &shared);
            } else {
                let reply = reply::SPOOL_UNAVAILABLE_421;
                self::refuse(tls, socket, reply, None, &shared, &slots);
            }
            // The supervisor, which the slot informs, may take the last of it.
            drop(shared);
            drop(slot);
        })
    }
}

/// Sends `reply`, to a `proxy` after its header, and closes; on a TLS listener, closes
/// before the handshake.
fn refuse(
    tls: bool,
    socket: TcpStream,
    reply: Reply,
    proxy: Option<SocketAddr>,
    shared: &Shared,
    slots: &Arc<Slots>,
) {
    if !tls {
        shared.metrics.replied(&reply);
        slots.refuse(socket, reply, proxy);
    }
}

fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
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
    // A client that has closed already must not block the listener.
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Waits for one of `fds`, or for `timeout`; `false` when the server shuts down.
fn wait(fds: &[BorrowedFd<'_>], stop: BorrowedFd<'_>, timeout: Option<&Timespec>) -> bool {
    let mut polled: Vec<PollFd<'_>> = std::iter::once(&stop)
        .chain(fds)
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    // Whatever poll reports, the stop is checked and accept is tried.
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

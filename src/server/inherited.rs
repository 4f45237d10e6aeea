//! Listeners that the service manager has bound (socket activation,
//! sd_listen_fds(3)). They are open before the server starts and after it has
//! ended, so that a restart refuses no connection: clients wait in the backlog.
//!
//! `LISTEN_FDNAMES` says what each one is: `plain` or `tls`. Each takes the place of
//! the `--listen` or `--tls-listen` with its address; where no listener is given
//! they are all there are.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;

use super::options::{Listen, Options};

/// Sockets that are accepted at most.
const MAX_SOCKETS: usize = 64;

/// A listener that was bound by the service manager.
#[derive(Debug)]
pub struct Inherited {
    /// Whether clients speak TLS from the first byte on.
    pub tls: bool,
    /// Where it listens.
    pub address: SocketAddr,
    /// Not blocking.
    pub socket: TcpListener,
}

impl Inherited {
    /// Whether it is what `listen` asks for.
    pub(super) fn is(&self, listen: &Listen) -> bool {
        let same = |address: SocketAddr| {
            (address.ip(), address.port()) == (self.address.ip(), self.address.port())
        };
        self.tls == listen.tls
            && (listen.host.as_str(), listen.port)
                .to_socket_addrs()
                .is_ok_and(|mut addresses| addresses.any(same))
    }

    fn listen(&self) -> Listen {
        Listen {
            tls: self.tls,
            host: self.address.ip().to_string(),
            port: self.address.port(),
        }
    }
}

/// Why the sockets of the service manager cannot be used.
#[derive(Debug)]
pub enum InheritedError {
    /// `LISTEN_FDS` is no number, or too large a one.
    Count(String),
    /// `LISTEN_FDNAMES` does not name each socket.
    Names {
        /// Sockets there are.
        sockets: usize,
        /// Names there are.
        names: usize,
    },
    /// A name that is not known.
    Name(String),
    /// Not a TCP socket that listens.
    Socket {
        /// Its name.
        name: &'static str,
        /// What is wrong.
        error: io::Error,
    },
    /// No option asks for it, while others are given.
    NotWanted(Inherited),
}

impl fmt::Display for InheritedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InheritedError::Count(text) => write!(
                f,
                "cannot use the sockets of the service manager: LISTEN_FDS is '{text}'; \
                 expected a number from 0 to {MAX_SOCKETS}"
            ),
            InheritedError::Names { sockets, names } => write!(
                f,
                "cannot use the sockets of the service manager: LISTEN_FDNAMES has {names} names \
                 for {sockets} sockets; name each of them plain or tls (FileDescriptorName= in \
                 the socket unit)"
            ),
            InheritedError::Name(name) => write!(
                f,
                "cannot use the socket '{}' of the service manager: its name is not known; \
                 name it plain or tls (FileDescriptorName= in the socket unit)",
                name.escape_default()
            ),
            InheritedError::Socket { name, error } => write!(
                f,
                "cannot use the socket '{name}' of the service manager: {error}; \
                 expected a TCP socket that listens (ListenStream=ADDR:PORT, Accept=no)"
            ),
            InheritedError::NotWanted(socket) => {
                let listen = socket.listen();
                let (name, option) = (name(socket.tls), listen.option());
                write!(
                    f,
                    "cannot use the socket '{name}' of the service manager: it is bound to \
                     {listen}, which no {option} names; give {option} {listen}, or no listener \
                     at all"
                )
            }
        }
    }
}

impl std::error::Error for InheritedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            InheritedError::Socket { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// The sockets that were passed to this process. Where no listener is given they
/// become the listeners of `options`.
///
/// # Errors
///
/// A socket without a known name, or one that is not a TCP listener.
pub fn take(options: &mut Options) -> Result<Vec<Inherited>, InheritedError> {
    let sockets = from_env()?;
    if options.has_default_listeners && !sockets.is_empty() {
        options.listeners = sockets.iter().map(Inherited::listen).collect();
    }
    Ok(sockets)
}

fn from_env() -> Result<Vec<Inherited>, InheritedError> {
    let variable = |name| std::env::var_os(name).map(|text| text.to_string_lossy().into_owned());
    // Another process's sockets are not in this one.
    if variable("LISTEN_PID") != Some(std::process::id().to_string()) {
        return Ok(Vec::new());
    }
    let count = variable("LISTEN_FDS").unwrap_or_default();
    let count = match count.parse() {
        Ok(count @ 0..=MAX_SOCKETS) => count,
        _ => return Err(InheritedError::Count(count)),
    };
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let names: Vec<_> = names.split(':').filter(|name| !name.is_empty()).collect();
    if count != names.len() {
        return Err(InheritedError::Names {
            sockets: count,
            names: names.len(),
        });
    }
    let mut sockets = ListenFd::from_env();
    let named = names.into_iter().enumerate();
    named
        .map(|(index, name)| socket(&mut sockets, index, name))
        .collect()
}

fn socket(sockets: &mut ListenFd, index: usize, given: &str) -> Result<Inherited, InheritedError> {
    let tls = match given {
        "plain" => false,
        "tls" => true,
        _ => return Err(InheritedError::Name(given.to_owned())),
    };
    let mut listener = || {
        let socket = sockets.take_tcp_listener(index)?;
        let socket = socket.ok_or(io::ErrorKind::NotFound)?;
        if !socket_acceptconn(&socket)? {
            return Err(io::Error::other("it does not listen"));
        }
        // A client that has closed already must not block the listener.
        socket.set_nonblocking(true)?;
        Ok(Inherited {
            tls,
            address: socket.local_addr()?,
            socket,
        })
    };
    listener().map_err(|error| InheritedError::Socket {
        name: name(tls),
        error,
    })
}

fn name(tls: bool) -> &'static str {
    if tls { "tls" } else { "plain" }
}

//! What the server reports to the service manager, by the protocol of
//! sd_notify(3): that it is ready, reloads or stops, a status line, and that it is
//! alive.
//!
//! The socket is opened before the sandbox forbids that, and is kept. Nothing is
//! sent where `NOTIFY_SOCKET` is not set. A message that cannot be sent is lost, except
//! that the server is ready: it is sent again. A server that does its work must not end
//! or wait for that.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// How often the status line is sent.
const STATUS: Duration = Duration::from_secs(10);

/// How long a message waits for a service manager that does not read.
const PATIENCE: Duration = Duration::from_secs(1);

/// How the service manager is reached, and how often it expects to hear from the
/// server.
#[derive(Debug)]
pub struct Notify {
    socket: Option<UnixDatagram>,
    /// Half of the time after which a silent server is restarted.
    watchdog: Option<Duration>,
    next: Instant,
    /// Whether the service manager still waits for `READY=1`.
    is_ready_unsent: bool,
}

impl Notify {
    /// Connects to the service manager, if the environment names one.
    ///
    /// # Errors
    ///
    /// There is no such socket, or it cannot be used.
    pub(crate) fn from_env() -> io::Result<Notify> {
        let socket = match std::env::var_os("NOTIFY_SOCKET") {
            Some(name) if !name.is_empty() => Some(connect(&name)?),
            _ => None,
        };
        let watchdog = socket.as_ref().and_then(|_| watchdog());
        Ok(Notify {
            socket,
            watchdog,
            next: Instant::now(),
            is_ready_unsent: false,
        })
    }

    /// A server that no service manager has started.
    pub fn none() -> Notify {
        Notify {
            socket: None,
            watchdog: None,
            next: Instant::now(),
            is_ready_unsent: false,
        }
    }

    /// Clients are accepted.
    pub fn ready(&mut self) {
        self.is_ready_unsent = !self.send("READY=1");
    }

    /// Accounts and certificate are about to be read again. [`Notify::ready`] ends
    /// it.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
    }

    /// The server shuts down, which takes at most `limit`.
    pub fn stopping(&mut self, limit: Duration) {
        self.is_ready_unsent = false;
        let microseconds = limit.as_micros();
        self.send(&format!(
            "STOPPING=1\nEXTEND_TIMEOUT_USEC={microseconds}\nSTATUS=stopping"
        ));
    }

    /// When [`Notify::alive`] is due; `None` if never.
    pub fn due(&self) -> Option<Instant> {
        self.socket.as_ref().map(|_| self.next)
    }

    /// Sends the sign of life and what `status` says in one line, if it is time.
    pub fn alive(&mut self, status: impl FnOnce() -> String) {
        let now = Instant::now();
        if self.socket.is_none() || now < self.next {
            return;
        }
        let ready = match self.is_ready_unsent {
            true => "READY=1\n",
            false => "",
        };
        let beat = match self.watchdog {
            Some(_) => "WATCHDOG=1\n",
            None => "",
        };
        let is_sent = self.send(&format!("{ready}{beat}STATUS={}", status()));
        self.is_ready_unsent &= !is_sent;
        let pause = if self.is_ready_unsent {
            PATIENCE
        } else {
            STATUS
        };
        self.next = now + self.watchdog.map_or(pause, |half| half.min(pause));
    }

    /// Whether it was sent, or nobody waits for it.
    fn send(&self, message: &str) -> bool {
        match &self.socket {
            Some(socket) => socket.send(message.as_bytes()).is_ok(),
            None => true,
        }
    }
}

/// A path, or `@` and a name in the abstract namespace.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    match name.as_bytes().split_first() {
        Some((b'@', name)) => connect_abstract(&socket, name)?,
        _ => socket.connect(name)?,
    }
    Ok(socket)
}

#[cfg(target_os = "linux")]
fn connect_abstract(socket: &UnixDatagram, name: &[u8]) -> io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;
    socket.connect_addr(&SocketAddr::from_abstract_name(name)?)
}

#[cfg(not(target_os = "linux"))]
fn connect_abstract(_: &UnixDatagram, _: &[u8]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Half of the time in `WATCHDOG_USEC`, if that is for this process.
fn watchdog() -> Option<Duration> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let is_other = |pid| pid != u64::from(std::process::id());
    if number("WATCHDOG_PID").is_some_and(is_other) {
        return None;
    }
    let half = number("WATCHDOG_USEC")? / 2;
    (half > 0).then(|| Duration::from_micros(half))
}

//! One client's bytes, plain or TLS, and the clocks on its socket.
//!
//! Every wait is under a [`Clock`] of the caller's. So a session ends at its deadline
//! and at a shutdown whatever the client does or does not do: sends nothing, sends
//! half a TLS record, reads nothing.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

pub use crate::server::socket::Clock;
use crate::server::socket::{End, Socket, ready};
use crate::server::tls::{Plaintext, TlsSession};

/// Bytes read at once in a handshake.
const HANDSHAKE: usize = 2 * 1024;

/// Bytes of records read at once: the largest record and a little (RFC 8446 5.2).
const RECORDS: usize = 20 * 1024;

/// Reads without a wait before them, in a row, while each fills its buffer: the
/// next bytes are there already, but the clocks must have their turn.
const EAGER: u8 = 8;

/// How long a wait without a descriptor takes.
const TICK: Duration = Duration::from_millis(50);

/// How a wait for bytes ended.
#[derive(Debug)]
pub enum Received {
    /// The number of bytes in the buffer.
    Bytes(usize),
    /// The client has closed its side.
    End,
    /// The deadline has passed.
    Deadline,
    /// The server is shutting down.
    Stop,
}

/// How [`Stream::wait_for`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The descriptor is readable, or it is worth a look.
    Ready,
    /// The client has hung up.
    HungUp,
    /// The deadline has passed.
    Deadline,
    /// The server shuts down.
    Stop,
}

/// A client's socket and the TLS on it, if any.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    tls: Option<Box<TlsSession>>,
    /// How long the last read waited for the client.
    waited: Duration,
    /// Reads that may still go without a wait.
    eager: u8,
    has_received: bool,
}

impl Stream {
    /// Takes a blocking socket into use; small writes go out at once.
    pub fn new(socket: TcpStream, tls: Option<Box<TlsSession>>) -> io::Result<Stream> {
        Ok(Stream {
            socket: Socket::new(socket)?,
            tls,
            waited: Duration::ZERO,
            eager: 0,
            has_received: false,
        })
    }

    /// TLS's version, once the handshake is done; `None` on a plain connection.
    pub(crate) fn tls_version(&self) -> Option<&'static str> {
        self.tls.as_ref()?.version()
    }

    /// Ends the handshake, if there is one. Anything but `Bytes` is its end.
    pub fn handshake(&mut self, clock: Clock<'_>) -> io::Result<Received> {
        let Some(tls) = &mut self.tls else {
            return Ok(Received::Bytes(0));
        };
        loop {
            // Before the wait, and after the last flight.
            while tls.wants_write() {
                if ready(tls.send(self.socket.at_once()))?.is_none() {
                    if let Err(end) = self.socket.wait(PollFlags::OUT, clock)? {
                        return Ok(end.into());
                    }
                }
            }
            if !tls.is_handshaking() {
                return Ok(Received::Bytes(0));
            }
            let result = match tls.has_records() {
                true => tls.receive(self.socket.at_once(), HANDSHAKE).map(Ok),
                false => self
                    .socket
                    .read(clock, |socket| tls.receive(socket, HANDSHAKE)),
            };
            // Bytes that are not TLS are bytes all the same.
            self.has_received |= result
                .as_ref()
                .is_err_and(|error| error.kind() == io::ErrorKind::InvalidData);
            match result? {
                Ok(true) => self.has_received = true,
                Ok(false) => return Ok(Received::End),
                Err(end) => return Ok(end.into()),
            }
        }
    }

    /// Gives back memory that an idle client does not need.
    pub fn release(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.release();
        }
    }

    /// Whether there is TLS on the connection.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether the client has sent anything so far.
    pub(crate) fn has_received(&self) -> bool {
        self.has_received
    }

    /// Reads from the socket itself, below TLS, at most what fits.
    pub(crate) fn read_raw(&mut self, buffer: &mut [u8], clock: Clock<'_>) -> io::Result<Received> {
        let read = self.socket.read(clock, |mut socket| socket.read(buffer))?;
        Ok(received(read))
    }

    /// How long the last [`Stream::read`] waited for the client.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Reads bytes that are there already, as they are after a read that
    /// filled its buffer. `None` when the client must be waited for, or when
    /// the clocks must have their turn.
    pub(crate) fn read_on(&mut self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        self.waited = Duration::ZERO;
        if let Some(tls) = &mut self.tls {
            return Ok(match tls.read(buffer)? {
                Plaintext::Bytes(count) => Some(Received::Bytes(count)),
                Plaintext::End | Plaintext::Wanting => None,
            });
        }
        if self.eager == 0 {
            return Ok(None);
        }
        self.eager -= 1;
        match ready(self.socket.at_once().read(buffer))? {
            Some(0) => Ok(Some(Received::End)),
            Some(count) => {
                if count < buffer.len() {
                    self.eager = 0;
                }
                Ok(Some(Received::Bytes(count)))
            }
            None => {
                self.eager = 0;
                Ok(None)
            }
        }
    }

    /// Waits for bytes and reads them.
    pub fn read(&mut self, buffer: &mut [u8], clock: Clock<'_>) -> io::Result<Received> {
        self.waited = Duration::ZERO;
        loop {
            if let Some(tls) = &mut self.tls {
                match tls.read(buffer)? {
                    Plaintext::Bytes(count) => return Ok(Received::Bytes(count)),
                    Plaintext::End => return Ok(Received::End),
                    Plaintext::Wanting if tls.has_records() => {
                        self.take_records(buffer.len().min(RECORDS), clock)?;
                        continue;
                    }
                    Plaintext::Wanting => {}
                }
            }
            let since = Instant::now();
            if let Some(tls) = &mut self.tls {
                let size = buffer.len().min(RECORDS);
                let taken = self
                    .socket
                    .read(clock, |socket| tls.receive(socket, size))?;
                self.waited += since.elapsed();
                match taken {
                    // The end of the socket is for TLS to judge, on the next turn.
                    Ok(_) => send(&self.socket, tls, clock)?,
                    Err(end) => return Ok(end.into()),
                }
                continue;
            }
            let read = self.socket.read(clock, |mut socket| socket.read(buffer))?;
            self.waited += since.elapsed();
            if let Ok(count) = read {
                self.eager = if count == buffer.len() { EAGER } else { 0 };
            }
            return Ok(received(read));
        }
    }

    /// Takes records that are here, and answers what TLS itself has to answer.
    fn take_records(&mut self, size: usize, clock: Clock<'_>) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            ready(tls.receive(self.socket.at_once(), size))?;
            send(&self.socket, tls, clock)?;
        }
        Ok(())
    }

    /// Whether the connection is of no use any more: closed on both sides, or
    /// reset. A client that only closed its sending side may read replies yet.
    pub(crate) fn has_hung_up(&self) -> bool {
        let mut client = [PollFd::from_borrowed_fd(
            self.socket.as_fd(),
            PollFlags::empty(),
        )];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        matches!(poll(&mut client, Some(&now)), Ok(count) if count > 0)
    }

    /// Waits until `fd` is readable, the client has hung up, or the clock ends.
    /// Without a descriptor it waits 50 ms at most.
    pub fn wait_for(&self, fd: Option<BorrowedFd<'_>>, clock: Clock<'_>) -> io::Result<Wait> {
        let mut left = clock.left();
        if left.is_zero() {
            return Ok(Wait::Deadline);
        }
        if fd.is_none() {
            left = left.min(TICK);
        }
        // Of the socket, only errors and the end of both sides: they are reported
        // without being asked for.
        let mut polled = vec![PollFd::from_borrowed_fd(
            self.socket.as_fd(),
            PollFlags::empty(),
        )];
        let others = [clock.stop.map(AsFd::as_fd), fd].into_iter().flatten();
        polled.extend(others.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        match poll(&mut polled, Timespec::try_from(left).ok().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = |at: usize| polled.get(at).is_some_and(|fd| !fd.revents().is_empty());
        Ok(if clock.stop.is_some() && ready(1) {
            Wait::Stop
        } else if ready(0) {
            Wait::HungUp
        } else {
            Wait::Ready
        })
    }

    /// Sends all of `bytes`; fails when the client does not read them in time.
    pub fn write(&mut self, mut bytes: &[u8], mut clock: Clock<'_>) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = match &mut self.tls {
                Some(tls) => {
                    let count = tls.write(bytes)?;
                    send(&self.socket, tls, clock)?;
                    count
                }
                None => match ready(self.socket.at_once().write(bytes))? {
                    Some(count) => count,
                    None => {
                        self.socket.wait_to_send(&mut clock)?;
                        0
                    }
                },
            };
            bytes = bytes.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Ends the connection: close_notify, then the end of the sending side. What
    /// the client still sends is read and dropped until the clock ends, so that it
    /// can read the last reply.
    #[inline(never)]
    pub fn close(mut self, clock: Clock<'_>) {
        if let Some(tls) = &mut self.tls {
            tls.close();
            let _ = send(&self.socket, tls, clock);
        }
        self.socket.close(clock);
    }
}

/// Sends what is encrypted.
fn send(socket: &Socket, tls: &mut TlsSession, mut clock: Clock<'_>) -> io::Result<()> {
    while tls.wants_write() {
        if ready(tls.send(socket.at_once()))?.is_none() {
            socket.wait_to_send(&mut clock)?;
        }
    }
    Ok(())
}

impl From<End> for Received {
    fn from(end: End) -> Received {
        match end {
            End::Deadline => Received::Deadline,
            End::Stop => Received::Stop,
        }
    }
}

/// What a read has brought, or how the wait for it ended.
fn received(read: Result<usize, End>) -> Received {
    match read {
        Ok(0) => Received::End,
        Ok(count) => Received::Bytes(count),
        Err(end) => end.into(),
    }
}

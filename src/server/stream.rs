//! One client's bytes, plain or TLS, and the clocks on its socket.
//!
//! The socket does not block: whatever cannot go on at once waits in poll(2),
//! under a [`Clock`] of the caller's, for the client, the deadline and the
//! shutdown together. So a session ends at its deadline and at a shutdown
//! whatever the client does or does not do: sends nothing, sends half a TLS
//! record, reads nothing.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

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

/// How long the last replies and a lingering close may take once the server shuts
/// down.
const AT_STOP: Duration = Duration::from_millis(500);

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

/// What ends a wait beside the socket.
#[derive(Clone, Copy)]
pub struct Clock<'a> {
    /// When it ends at the latest.
    pub deadline: Instant,
    /// Readable, or hung up, when the server shuts down.
    pub stop: Option<BorrowedFd<'a>>,
}

impl Clock<'_> {
    /// The server shuts down: what is under way has [`AT_STOP`] to end.
    pub(crate) fn shorten(&mut self) {
        self.deadline = self.deadline.min(Instant::now() + AT_STOP);
        self.stop = None;
    }
}

/// A client's socket and the TLS on it, if any.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
    tls: Option<Box<TlsSession>>,
    /// How long the last read waited for the client.
    waited: Duration,
    /// Reads that may still go without a wait.
    eager: u8,
    has_received: bool,
}

impl Stream {
    /// Takes a socket into use; small writes go out at once.
    pub fn new(socket: TcpStream, tls: Option<Box<TlsSession>>) -> io::Result<Stream> {
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Stream {
            socket,
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
                if ready(tls.send(&self.socket))?.is_none() {
                    if let Some(end) = wait(&self.socket, PollFlags::OUT, clock)?.end() {
                        return Ok(end);
                    }
                }
            }
            if !tls.is_handshaking() {
                return Ok(Received::Bytes(0));
            }
            if !tls.has_records() {
                if let Some(end) = wait(&self.socket, PollFlags::IN, clock)?.end() {
                    return Ok(end);
                }
            }
            let result = tls.receive(&self.socket, HANDSHAKE);
            // Bytes that are not TLS are bytes all the same.
            self.has_received |= result
                .as_ref()
                .is_err_and(|error| error.kind() == io::ErrorKind::InvalidData);
            match ready(result)? {
                Some(false) => return Ok(Received::End),
                Some(true) => self.has_received = true,
                None => {}
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
        loop {
            if let Some(end) = wait(&self.socket, PollFlags::IN, clock)?.end() {
                return Ok(end);
            }
            match ready((&self.socket).read(buffer))? {
                None => {}
                Some(0) => return Ok(Received::End),
                Some(count) => return Ok(Received::Bytes(count)),
            }
        }
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
        match ready((&self.socket).read(buffer))? {
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
            if let Some(end) = self.wait(clock)? {
                return Ok(end);
            }
            if self.tls.is_some() {
                // The end of the socket is for TLS to judge, on the next turn.
                self.take_records(buffer.len().min(RECORDS), clock)?;
                continue;
            }
            match ready((&self.socket).read(buffer))? {
                None => {}
                Some(0) => return Ok(Received::End),
                Some(count) => {
                    self.eager = if count == buffer.len() { EAGER } else { 0 };
                    return Ok(Received::Bytes(count));
                }
            }
        }
    }

    /// Waits for the client; counts how long.
    fn wait(&mut self, clock: Clock<'_>) -> io::Result<Option<Received>> {
        let since = Instant::now();
        let waited = wait(&self.socket, PollFlags::IN, clock)?;
        self.waited += since.elapsed();
        Ok(waited.end())
    }

    /// Takes records, and answers what TLS itself has to answer.
    fn take_records(&mut self, size: usize, clock: Clock<'_>) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            ready(tls.receive(&self.socket, size))?;
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
        let mut left = clock.deadline.saturating_duration_since(Instant::now());
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
        let others = [clock.stop, fd].into_iter().flatten();
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
                None => match ready((&self.socket).write(bytes))? {
                    Some(count) => count,
                    None => {
                        wait_to_send(&self.socket, &mut clock)?;
                        0
                    }
                },
            };
            bytes = bytes.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Ends the connection: close_notify, then the end of the sending side. What
    /// the client still sends is read and dropped until the clock ends, for a
    /// socket closed over unread bytes is reset, and a reset can overtake the
    /// last reply.
    #[inline(never)]
    pub fn close(mut self, mut clock: Clock<'_>) {
        if let Some(tls) = &mut self.tls {
            tls.close();
            let _ = send(&self.socket, tls, clock);
        }
        if self.socket.shutdown(Shutdown::Write).is_err() {
            return;
        }
        // Not on the stack: idle clients would all hold its pages.
        let mut sink = vec![0; 4096];
        loop {
            match wait(&self.socket, PollFlags::IN, clock) {
                Ok(Waited::Ready) => {}
                Ok(Waited::Stop) => {
                    clock.shorten();
                    continue;
                }
                Ok(Waited::Deadline) | Err(_) => return,
            }
            match ready((&self.socket).read(&mut sink)) {
                Ok(Some(0)) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}

/// Sends what is encrypted.
fn send(socket: &TcpStream, tls: &mut TlsSession, mut clock: Clock<'_>) -> io::Result<()> {
    while tls.wants_write() {
        if ready(tls.send(socket))?.is_none() {
            wait_to_send(socket, &mut clock)?;
        }
    }
    Ok(())
}

/// Waits for a client that does not read. A shutdown shortens it: only last
/// replies are sent then.
fn wait_to_send(socket: &TcpStream, clock: &mut Clock<'_>) -> io::Result<()> {
    loop {
        match wait(socket, PollFlags::OUT, *clock)? {
            Waited::Ready => return Ok(()),
            Waited::Stop => clock.shorten(),
            Waited::Deadline => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// How a wait for the socket ended.
enum Waited {
    Ready,
    Deadline,
    Stop,
}

impl Waited {
    fn end(self) -> Option<Received> {
        match self {
            Waited::Ready => None,
            Waited::Deadline => Some(Received::Deadline),
            Waited::Stop => Some(Received::Stop),
        }
    }
}

/// Waits until the socket is ready, or broken, unless the server shuts down
/// first.
fn wait(socket: &TcpStream, interest: PollFlags, clock: Clock<'_>) -> io::Result<Waited> {
    loop {
        let left = clock.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Waited::Deadline);
        }
        let timeout = Timespec::try_from(left).ok();
        let client = PollFd::from_borrowed_fd(socket.as_fd(), interest);
        let ready = match clock.stop {
            Some(stop) => {
                let stop = PollFd::from_borrowed_fd(stop, PollFlags::IN);
                let mut both = [client, stop];
                let count = poll(&mut both, timeout.as_ref());
                let [_, stop] = both;
                count.map(|count| (count, !stop.revents().is_empty()))
            }
            None => poll(&mut [client], timeout.as_ref()).map(|count| (count, false)),
        };
        match ready {
            Ok((_, true)) => return Ok(Waited::Stop),
            Ok((0, false)) => return Ok(Waited::Deadline),
            Ok(_) => return Ok(Waited::Ready),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// `None` where the call must be made again after a wait.
fn ready<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

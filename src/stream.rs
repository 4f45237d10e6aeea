//! One client's octets, plain or TLS, and the clocks on its socket.
//!
//! Every read first waits for the socket with poll(2), so that a session ends
//! at its deadline and hears of a shutdown whatever the client does; a write
//! has the time that a silent client has.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::tls::{Plaintext, TlsSession};

/// How a wait for octets ended.
#[derive(Debug)]
pub enum Received {
    /// So many octets are in the buffer.
    Octets(usize),
    /// The client has closed its side.
    End,
    /// The deadline has passed.
    Deadline,
    /// The server is going down.
    Stop,
}

/// What a wait heeds beside the socket.
#[derive(Clone, Copy)]
pub struct Clock<'a> {
    /// When it ends at the latest.
    pub deadline: Instant,
    /// Readable, or hung up, when the server goes down.
    pub stop: Option<BorrowedFd<'a>>,
}

/// A client's socket and the TLS on it, if any.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
    tls: Option<Box<TlsSession>>,
    /// How long a write may take.
    write_timeout: Duration,
    /// How long the last read waited for the client.
    waited: Duration,
}

impl Stream {
    /// Takes a socket into use: small writes go out at once, and none of them
    /// waits longer than `write_timeout` for a client that does not read.
    pub fn new(
        socket: TcpStream,
        tls: Option<Box<TlsSession>>,
        write_timeout: Duration,
    ) -> io::Result<Stream> {
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(write_timeout))?;
        Ok(Stream {
            socket,
            tls,
            write_timeout,
            waited: Duration::ZERO,
        })
    }

    /// TLS's version, once the handshake is done; `None` on a plain connection.
    pub fn tls_version(&self) -> Option<&'static str> {
        self.tls.as_ref()?.version()
    }

    /// Ends the handshake, if there is one. Anything but `Octets` is its end.
    pub fn handshake(&mut self, clock: Clock<'_>) -> io::Result<Received> {
        let Some(tls) = &mut self.tls else {
            return Ok(Received::Octets(0));
        };
        while tls.is_handshaking() {
            match wait(&self.socket, clock)? {
                Ready::Readable => {
                    if !tls.receive(&self.socket)? {
                        return Ok(Received::End);
                    }
                }
                Ready::Deadline => return Ok(Received::Deadline),
                Ready::Stop => return Ok(Received::Stop),
            }
        }
        Ok(Received::Octets(0))
    }

    /// How long the last [`Stream::read`] waited for the client.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Waits for octets and reads them.
    pub fn read(&mut self, buffer: &mut [u8], clock: Clock<'_>) -> io::Result<Received> {
        self.waited = Duration::ZERO;
        loop {
            if let Some(tls) = &mut self.tls {
                match tls.read(buffer)? {
                    Plaintext::Octets(count) => return Ok(Received::Octets(count)),
                    Plaintext::End => return Ok(Received::End),
                    Plaintext::Wanting => {}
                }
            }
            let since = Instant::now();
            let ready = wait(&self.socket, clock)?;
            self.waited += since.elapsed();
            match ready {
                Ready::Readable => {}
                Ready::Deadline => return Ok(Received::Deadline),
                Ready::Stop => return Ok(Received::Stop),
            }
            match &mut self.tls {
                // The end of the socket is for TLS to judge, on the next turn.
                Some(tls) => {
                    tls.receive(&self.socket)?;
                }
                None => match retry(|| (&self.socket).read(buffer))? {
                    0 => return Ok(Received::End),
                    count => return Ok(Received::Octets(count)),
                },
            }
        }
    }

    /// Sends all of `octets`; fails when the client does not read them in time.
    pub fn write(&mut self, mut octets: &[u8]) -> io::Result<()> {
        let deadline = Instant::now() + self.write_timeout;
        let mut socket = Deadlined {
            socket: &self.socket,
            deadline,
        };
        let Some(tls) = &mut self.tls else {
            return socket.write_all(octets);
        };
        while !octets.is_empty() {
            let count = tls.write(octets)?;
            octets = octets.get(count..).unwrap_or_default();
            tls.send(&mut socket)?;
        }
        Ok(())
    }

    /// Says goodbye: close_notify, then the end of the sending side. What the
    /// client still sends is read and dropped until `deadline`, for a socket
    /// closed over unread octets is reset, and a reset can overtake the last
    /// reply.
    #[inline(never)]
    pub fn close(mut self, deadline: Instant) {
        if let Some(tls) = &mut self.tls {
            tls.close();
            let _ = tls.send(Deadlined {
                socket: &self.socket,
                deadline,
            });
        }
        if self.socket.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let clock = Clock {
            deadline,
            stop: None,
        };
        // Not on the stack: idle clients would all hold its pages.
        let mut sink = vec![0; 4096];
        while let Ok(Ready::Readable) = wait(&self.socket, clock) {
            match retry(|| (&self.socket).read(&mut sink)) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}

/// A socket whose writes end at a deadline, however little each of them takes.
struct Deadlined<'a> {
    socket: &'a TcpStream,
    deadline: Instant,
}

impl Write for Deadlined<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let count = retry(|| self.socket.write(octets))?;
        if count < octets.len() && Instant::now() >= self.deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Ready {
    Readable,
    Deadline,
    Stop,
}

/// Waits until the socket is readable, unless the server goes down first.
fn wait(socket: &TcpStream, clock: Clock<'_>) -> io::Result<Ready> {
    loop {
        let left = clock.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Ready::Deadline);
        }
        let timeout = Timespec::try_from(left).ok();
        let client = PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN);
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
            Ok((_, true)) => return Ok(Ready::Stop),
            Ok((0, false)) => return Ok(Ready::Deadline),
            Ok(_) => return Ok(Ready::Readable),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Tries again what a signal has interrupted.
fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

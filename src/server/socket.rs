//! One client's socket: reads, writes, and the waits for it under a clock.
//!
//! Whatever cannot go on at once waits in poll(2) for the client, the deadline and
//! the shutdown together. Most clients answer within a moment, though: so a read
//! is tried first, by a call that waits [`MOMENT`] at most, and poll(2) is only
//! called for a client that takes longer. With a poll before each read a message
//! cost four system calls more.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::server::shared::Wake;

/// How long a read waits without poll(2): a shutdown is noticed that much later at
/// most.
const MOMENT: Duration = Duration::from_millis(50);

/// How long the last replies and a lingering close may take once the server shuts
/// down.
const AT_STOP: Duration = Duration::from_millis(500);

/// What ends a wait beside the socket.
#[derive(Clone, Copy)]
pub struct Clock<'a> {
    /// When it ends at the latest.
    pub deadline: Instant,
    /// Wakes when the server shuts down.
    pub stop: Option<&'a Wake>,
}

impl Clock<'_> {
    /// The server shuts down: what is under way has half a second to end.
    pub(super) fn shorten(&mut self) {
        self.deadline = self.deadline.min(Instant::now() + AT_STOP);
        self.stop = None;
    }

    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// What ended a wait before the socket was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The deadline has passed.
    Deadline,
    /// The server shuts down.
    Stop,
}

/// A blocking socket whose reads return after [`MOMENT`], and whose writes at once.
#[derive(Debug)]
pub(super) struct Socket(TcpStream);

impl Socket {
    /// Takes a blocking socket into use; small writes go out at once.
    pub(super) fn new(socket: TcpStream) -> io::Result<Socket> {
        socket.set_nodelay(true)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(MOMENT))?;
        Ok(Socket(socket))
    }

    /// For calls that never wait; they fail with `WouldBlock` instead.
    pub(super) fn at_once(&self) -> Calls<'_> {
        Calls {
            socket: &self.0,
            receive: RecvFlags::DONTWAIT,
        }
    }

    /// Waits for bytes and reads them with `read`, which must make one call.
    /// An [`End`] is returned if there were none in time, or if the server shuts
    /// down: that a client sends on and on does not keep it.
    pub(super) fn read<T>(
        &self,
        clock: Clock<'_>,
        mut read: impl FnMut(Calls<'_>) -> io::Result<T>,
    ) -> io::Result<Result<T, End>> {
        if clock.stop.is_some_and(Wake::has_woken) {
            return Ok(Err(End::Stop));
        }
        if clock.left() > MOMENT {
            let patient = Calls {
                socket: &self.0,
                receive: RecvFlags::empty(),
            };
            if let Some(value) = ready(read(patient))? {
                return Ok(Ok(value));
            }
        }
        loop {
            if let Err(end) = self.wait(PollFlags::IN, clock)? {
                return Ok(Err(end));
            }
            if let Some(value) = ready(read(self.at_once()))? {
                return Ok(Ok(value));
            }
        }
    }

    /// Waits until the socket is ready, or broken, unless the server shuts down
    /// first.
    pub(super) fn wait(
        &self,
        interest: PollFlags,
        clock: Clock<'_>,
    ) -> io::Result<Result<(), End>> {
        loop {
            let left = clock.left();
            if left.is_zero() {
                return Ok(Err(End::Deadline));
            }
            let timeout = Timespec::try_from(left).ok();
            let client = PollFd::from_borrowed_fd(self.0.as_fd(), interest);
            let ready = match clock.stop {
                Some(stop) => {
                    let stop = PollFd::new(stop, PollFlags::IN);
                    let mut both = [client, stop];
                    let count = poll(&mut both, timeout.as_ref());
                    let [_, stop] = both;
                    count.map(|count| (count, !stop.revents().is_empty()))
                }
                None => poll(&mut [client], timeout.as_ref()).map(|count| (count, false)),
            };
            match ready {
                Ok((_, true)) => return Ok(Err(End::Stop)),
                Ok((0, false)) => return Ok(Err(End::Deadline)),
                Ok(_) => return Ok(Ok(())),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for a client that does not read. A shutdown shortens it: only last
    /// replies are sent then.
    pub(super) fn wait_to_send(&self, clock: &mut Clock<'_>) -> io::Result<()> {
        loop {
            match self.wait(PollFlags::OUT, *clock)? {
                Ok(()) => return Ok(()),
                Err(End::Stop) => clock.shorten(),
                Err(End::Deadline) => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
    }

    /// Ends the sending side. What the client still sends is read and dropped until
    /// the clock ends, for a socket closed over unread bytes is reset, and a reset
    /// can overtake the last reply.
    pub(super) fn close(self, mut clock: Clock<'_>) {
        if self.0.shutdown(Shutdown::Write).is_err() {
            return;
        }
        // Not on the stack: idle clients would all hold its pages.
        let mut sink = vec![0; 4096];
        loop {
            match self.read(clock, |mut socket| socket.read(&mut sink)) {
                Ok(Ok(0) | Err(End::Deadline)) | Err(_) => return,
                Ok(Ok(_)) => {}
                Ok(Err(End::Stop)) => clock.shorten(),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Reads and writes of a socket, each one call.
#[derive(Clone, Copy)]
pub(super) struct Calls<'a> {
    socket: &'a TcpStream,
    receive: RecvFlags,
}

impl Read for Calls<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (count, _) = recv(self.socket, buffer, self.receive)?;
        Ok(count)
    }
}

impl Write for Calls<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        Ok(send(self.socket, bytes, flags)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `None` where the call must be made again after a wait.
pub(super) fn ready<T>(result: io::Result<T>) -> io::Result<Option<T>> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_client_that_sends_on_and_on_is_read_until_the_server_shuts_down() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = Socket::new(listener.accept().unwrap().0).unwrap();
        let stop = Wake::new().unwrap();
        let clock = Clock {
            deadline: Instant::now() + Duration::from_secs(3600),
            stop: Some(&stop),
        };
        let mut read = || {
            client.write_all(b"on").unwrap();
            let mut byte = [0];
            socket.read(clock, |mut socket| socket.read(&mut byte))
        };
        assert_eq!(read().unwrap(), Ok(1));
        assert_eq!(read().unwrap(), Ok(1));
        stop.wake();
        assert_eq!(read().unwrap(), Err(End::Stop));
    }
}

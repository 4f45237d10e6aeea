//! Reading a password: from the terminal without showing it, or one line of
//! standard input.
//!
//! rpassword, the usual library, leaves a terminal without echo when the user
//! interrupts the prompt; here a signal ends the wait, and the echo is restored.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::low_level;

use crate::smtp::limits::MAX_PASSWORD;
use crate::smtp::sasl::Secret;

/// Restores the terminal when it is dropped.
struct Hidden(Termios);

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

/// Asks on standard error and reads a line from the terminal on standard input,
/// which does not show it.
pub(super) fn hidden(prompt: &str) -> io::Result<Secret> {
    let (interrupt, wake) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM, SIGQUIT, SIGHUP] {
        low_level::pipe::register(signal, wake.try_clone()?)?;
    }
    let before = tcgetattr(io::stdin())?;
    let mut without_echo = before.clone();
    without_echo.local_modes -= LocalModes::ECHO;
    without_echo.local_modes |= LocalModes::ICANON | LocalModes::ECHONL;
    let _hidden = Hidden(before);
    tcsetattr(io::stdin(), OptionalActions::Flush, &without_echo)?;
    let mut stderr = io::stderr().lock();
    stderr.write_all(prompt.as_bytes())?;
    stderr.flush()?;
    read(Some(&interrupt))
}

/// Reads a line of standard input.
pub(super) fn line() -> io::Result<Secret> {
    read(None)
}

/// One line without its end; whatever follows it is not looked at.
fn read(interrupt: Option<&UnixStream>) -> io::Result<Secret> {
    // Room for one byte too many, CR and LF.
    let mut bytes = Vec::with_capacity(MAX_PASSWORD + 3);
    while bytes.len() < MAX_PASSWORD + 3 {
        if let Some(interrupt) = interrupt {
            wait(interrupt)?;
        }
        let mut byte = [0];
        match rustix::io::read(io::stdin(), &mut byte) {
            Ok(0) if bytes.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(0) => break,
            Ok(_) if byte == *b"\n" => break,
            Ok(_) => bytes.extend_from_slice(&byte),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    Ok(Secret::new(bytes))
}

/// Waits for input. A signal is an error.
fn wait(interrupt: &UnixStream) -> io::Result<()> {
    let stdin = io::stdin();
    let mut polled = [
        PollFd::from_borrowed_fd(interrupt.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN),
    ];
    loop {
        match poll(&mut polled, None) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => break,
        }
    }
    match polled
        .first()
        .is_some_and(|wake| !wake.revents().is_empty())
    {
        true => Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted")),
        false => Ok(()),
    }
}

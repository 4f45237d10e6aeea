//! The server from its command line to its end, for `main`.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use super::inherited::{self, InheritedError};
use super::options::{CommandLine, OptionsError};
use super::signals::Signals;
use super::{Died, StartError, start, stderr};
use crate::log::{self, LevelError};

/// Why the server could not start, or has ended by itself.
#[derive(Debug)]
pub enum RunError {
    /// Signals cannot be handled.
    Signals(io::Error),
    /// The options.
    Options(OptionsError),
    /// The sockets of the service manager.
    Inherited(InheritedError),
    /// The level of the log.
    Level(LevelError),
    /// The start.
    Start(StartError),
    /// A thread that the server needs has ended.
    Died(Died),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Signals(error) => write!(f, "cannot handle signals: {error}"),
            RunError::Options(error) => error.fmt(f),
            RunError::Inherited(error) => error.fmt(f),
            RunError::Level(error) => error.fmt(f),
            RunError::Start(error) => error.fmt(f),
            RunError::Died(error) => error.fmt(f),
        }
    }
}

impl Error for RunError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            RunError::Signals(error) => Some(error),
            RunError::Options(error) => error.source(),
            RunError::Inherited(error) => error.source(),
            RunError::Level(error) => error.source(),
            RunError::Start(error) => error.source(),
            RunError::Died(error) => error.source(),
        }
    }
}

/// Runs the server until a signal shuts it down. It looks at its certificate when it
/// starts, and again each time that `every` has passed.
///
/// # Errors
///
/// If it cannot start, or a thread that it needs has ended.
pub fn run(command_line: CommandLine, every: Duration) -> Result<(), RunError> {
    // First of all: a signal during the start must already be handled.
    let signals = Signals::install().map_err(RunError::Signals)?;
    let mut options = command_line.options().map_err(RunError::Options)?;
    let inherited = inherited::take(&mut options).map_err(RunError::Inherited)?;
    log::install(Box::new(stderr::Stderr), stderr::is_journal()).map_err(RunError::Level)?;
    log::log_panics();
    let server = start(&options, signals, inherited).map_err(RunError::Start)?;
    server.supervise(&options, every).map_err(RunError::Died)
}

//! The commands of `mm4spool`, one file each with its own options and help.
//!
//! Exit status: 0 when it did what was asked, also when the reader of its output
//! has closed it; 1 when it could not, when `check` found an error, or when nothing
//! that `wait` waits for was published in time; 2 for a usage error.

mod check;
mod extract;
mod filters;
mod follow;
mod gallery;
mod list;
mod respond;
mod serve;
mod show;
mod syntax;
mod thread;
mod wait;

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

pub(super) use self::serve::filter_of_query;
use self::syntax::{Given, Manual, Syntax};
use super::filter::Unreadable;
use super::output::terminal;

/// A command by its name.
pub struct Command {
    /// What the user types.
    pub name: &'static str,
    /// One line for `mm4spool --help`.
    pub summary: &'static str,
    run: fn(&[String], &mut dyn Write) -> Outcome,
}

/// Every command, in the order of `mm4spool --help`.
pub const ALL: [Command; 10] = [
    list::COMMAND,
    show::COMMAND,
    thread::COMMAND,
    extract::COMMAND,
    gallery::COMMAND,
    follow::COMMAND,
    wait::COMMAND,
    check::COMMAND,
    respond::COMMAND,
    serve::COMMAND,
];

impl Command {
    /// The command of that name.
    pub fn find(name: &str) -> Option<&'static Command> {
        ALL.iter().find(|command| command.name == name)
    }

    /// Runs it with the arguments that follow its name.
    ///
    /// # Errors
    ///
    /// As [`Failure`] lists them.
    pub fn run(&self, arguments: &[String], out: &mut dyn Write) -> Outcome {
        (self.run)(arguments, out)
    }
}

/// What a command returns.
pub type Outcome = Result<ExitCode, Failure>;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// The command line is invalid: exit status 2.
    Usage(String),
    /// It is valid, and the command failed: exit status 1. What it failed on, and
    /// why.
    Failed(String, Box<dyn Error + Send + Sync>),
    /// Nothing more can be written to standard output.
    Output(io::Error),
}

impl Failure {
    /// A failure on the file, option or message `what`.
    fn on(what: impl fmt::Display, error: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
        Failure::Failed(what.to_string(), error.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(text) => f.write_str(text),
            Failure::Failed(what, error) if what.is_empty() => error.fmt(f),
            Failure::Failed(what, error) => write!(f, "{what}: {error}"),
            Failure::Output(error) => write!(f, "cannot write the output: {error}"),
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Failure::Usage(_) => None,
            Failure::Failed(_, error) => Some(error.as_ref()),
            Failure::Output(error) => Some(error),
        }
    }
}

/// Writes one line to stderr, whatever is in the text. If stderr is closed too,
/// nobody listens.
pub fn warn(text: &str) {
    let _ = writeln!(io::stderr(), "mm4spool: {}", terminal::line(text));
}

/// Names what could not be read; that is a failure, the rest was shown.
fn report(unreadable: &[Unreadable]) -> ExitCode {
    for one in unreadable {
        warn(&format!("{}: {}", one.id, one.error));
    }
    match unreadable {
        [] => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

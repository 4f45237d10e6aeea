//! mm4d: parses the options and runs the server, or checks the options, or adds an
//! account.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use mm4d::log;
use mm4d::server::options::{self, CommandLine, Invocation, OptionsError};
use mm4d::server::signals::Signals;
use mm4d::server::stderr::FlushAtEnd;
use mm4d::server::{self, add_account, check, inherited, stderr};

/// Why the process ends with another status than 0, in one line for each reason.
struct Failure(u8, Vec<String>);

/// It cannot start, or a worker thread has ended.
fn failure(error: impl Display) -> Failure {
    Failure(1, vec![error.to_string()])
}

/// An invalid command line.
fn usage<E: Display>(errors: impl IntoIterator<Item = E>) -> Failure {
    let lines = errors.into_iter().map(|error| error.to_string());
    Failure(2, lines.collect())
}

impl From<OptionsError> for Failure {
    fn from(error: OptionsError) -> Failure {
        match error {
            OptionsError::Usage(_) => usage([error]),
            OptionsError::File(_) => failure(error),
        }
    }
}

fn main() -> ExitCode {
    // Also when this thread panics.
    let _flush = FlushAtEnd;
    let result = match options::parse(std::env::args_os().skip(1)) {
        Ok(Invocation::Run(command_line)) => run(command_line),
        Ok(Invocation::Check(command_line)) => check(command_line),
        Ok(Invocation::AddAccount(account, command_line)) => match command_line.accounts() {
            Ok(path) => add_account::add(&account, &path).map_err(failure),
            Err(error) => Err(error.into()),
        },
        Ok(Invocation::Print(text)) => print(&text),
        Err(errors) => Err(usage(errors)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(status, errors)) => {
            for error in errors {
                report(&error);
            }
            ExitCode::from(status)
        }
    }
}

fn run(command_line: CommandLine) -> Result<(), Failure> {
    // First of all: everything that follows may take its time.
    let signals =
        Signals::install().map_err(|error| failure(format!("cannot handle signals: {error}")))?;
    let mut options = command_line.options()?;
    let inherited = inherited::take(&mut options).map_err(failure)?;
    log::install(Box::new(stderr::Stderr), stderr::is_journal()).map_err(failure)?;
    log::log_panics();
    let server = server::start(&options, signals, inherited).map_err(failure)?;
    server.supervise(&options).map_err(failure)
}

fn check(command_line: CommandLine) -> Result<(), Failure> {
    let checked = check::check(command_line);
    for warning in &checked.warnings {
        report(&format!("warning: {warning}"));
    }
    for problem in &checked.problems {
        report(problem);
    }
    print(&checked.plan)?;
    match checked.problems.is_empty() {
        true => Ok(()),
        false => Err(Failure(1, Vec::new())),
    }
}

fn print(text: &str) -> Result<(), Failure> {
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| failure(format!("cannot write to standard output: {error}")))
}

/// Writes the error in one line, whatever characters the names in it have.
fn report(error: &str) {
    let escaped = error.chars().map(|character| match character.is_control() {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    });
    stderr::print_last(&format!("mm4d: {}", escaped.collect::<String>()));
}

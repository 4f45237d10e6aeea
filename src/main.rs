//! mm4d: parses the options and runs the server, or checks the options, or adds an
//! account.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use mm4d::server::options::{self, CommandLine, Invocation, NewAccount, OptionsError};
use mm4d::server::{self, RunError, add_account, check, stderr};

/// It cannot start, a thread that it needs has ended, or `--check` found a problem.
const FAILED: u8 = 1;
/// An invalid command line.
const USAGE: u8 = 2;

/// Why the process ends with another status than 0, in one line for each reason.
struct Failure(u8, Vec<String>);

fn main() -> ExitCode {
    let result = match options::parse(std::env::args_os().skip(1)) {
        Ok(Invocation::Run(command_line)) => {
            server::run(command_line, server::DAY).map_err(Failure::from)
        }
        Ok(Invocation::Check(command_line)) => check(command_line),
        Ok(Invocation::AddAccount(account, command_line)) => add_account(&account, command_line),
        Ok(Invocation::Print(text)) => print(&text),
        Err(errors) => Err(Failure(
            USAGE,
            errors.iter().map(ToString::to_string).collect(),
        )),
    };
    let status = match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(status, reasons)) => {
            reasons.iter().for_each(|reason| stderr::report(reason));
            ExitCode::from(status)
        }
    };
    stderr::flush();
    status
}

fn check(command_line: CommandLine) -> Result<(), Failure> {
    let found = check::check(command_line);
    for warning in &found.warnings {
        stderr::warn(warning);
    }
    for problem in &found.problems {
        stderr::report(problem);
    }
    print(&found.plan)?;
    match found.problems.is_empty() {
        true => Ok(()),
        false => Err(Failure(FAILED, Vec::new())),
    }
}

fn add_account(account: &NewAccount, command_line: CommandLine) -> Result<(), Failure> {
    let path = command_line.accounts()?;
    add_account::add(account, &path).map_err(failed)
}

fn print(text: &str) -> Result<(), Failure> {
    let written = io::stdout().write_all(text.as_bytes());
    written.map_err(|error| failed(format!("cannot write to standard output: {error}")))
}

fn failed(error: impl Display) -> Failure {
    Failure(FAILED, vec![error.to_string()])
}

impl From<OptionsError> for Failure {
    fn from(error: OptionsError) -> Failure {
        let status = match error {
            OptionsError::Usage(_) => USAGE,
            OptionsError::File(_) => FAILED,
        };
        Failure(status, vec![error.to_string()])
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Failure {
        match error {
            RunError::Options(error) => error.into(),
            error => failed(error),
        }
    }
}

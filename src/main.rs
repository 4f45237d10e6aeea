//! mm4d: parses the options and runs the server, or checks the options, or adds an
//! account.

use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;

use mm4d::log;
use mm4d::server::inherited::{self, Inherited};
use mm4d::server::options::{self, CommandLine, Invocation, NewAccount, Options, OptionsError};
use mm4d::server::signals::Signals;
use mm4d::server::{self, add_account, check, stderr};

/// It cannot start, or a worker thread has ended.
const FAILURE: u8 = 1;
/// An invalid command line.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let status = match options::parse(std::env::args_os().skip(1)) {
        Ok(Invocation::Run(command_line)) => run(command_line),
        Ok(Invocation::Check(command_line)) => check(command_line),
        Ok(Invocation::AddAccount(account, command_line)) => add_account(&account, command_line),
        Ok(Invocation::Print(text)) => print(&text),
        Err(errors) => {
            for error in errors {
                fail(USAGE, &error.to_string());
            }
            ExitCode::from(USAGE)
        }
    };
    stderr::flush();
    status
}

fn run(command_line: CommandLine) -> ExitCode {
    // First of all: everything that follows may take its time.
    let signals = match Signals::install() {
        Ok(signals) => signals,
        Err(error) => return fail(FAILURE, &format!("cannot handle signals: {error}")),
    };
    let mut options = match command_line.options() {
        Ok(options) => options,
        Err(error) => return fail(options_status(&error), &error.to_string()),
    };
    let inherited = match inherited::take(&mut options) {
        Ok(inherited) => inherited,
        Err(error) => return fail(FAILURE, &error.to_string()),
    };
    match serve(&options, signals, inherited) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILURE, &error),
    }
}

fn options_status(error: &OptionsError) -> u8 {
    match error {
        OptionsError::Usage(_) => USAGE,
        OptionsError::File(_) => FAILURE,
    }
}

fn check(command_line: CommandLine) -> ExitCode {
    let report = check::check(command_line);
    for warning in &report.warnings {
        fail(FAILURE, &format!("warning: {warning}"));
    }
    for problem in &report.problems {
        fail(FAILURE, problem);
    }
    let printed = print(&report.plan);
    match report.problems.is_empty() {
        true => printed,
        false => ExitCode::from(FAILURE),
    }
}

fn add_account(account: &NewAccount, command_line: CommandLine) -> ExitCode {
    let path = match command_line.accounts() {
        Ok(path) => path,
        Err(error) => return fail(options_status(&error), &error.to_string()),
    };
    match add_account::add(account, &path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILURE, &error.to_string()),
    }
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(
            FAILURE,
            &format!("cannot write to standard output: {error}"),
        ),
    }
}

fn serve(options: &Options, signals: Signals, inherited: Vec<Inherited>) -> Result<(), String> {
    log::install(Box::new(stderr::Stderr), stderr::is_journal())
        .map_err(|error| error.to_string())?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let thread = thread::current();
        let name = thread.name().unwrap_or_default();
        log::panicked(place.as_deref().unwrap_or("?"), name);
    }));
    let server = server::start(options, signals, inherited).map_err(|error| error.to_string())?;
    server.supervise(options).map_err(|error| error.to_string())
}

/// Reports the error in one line, whatever characters the names in it have.
fn fail(status: u8, error: &str) -> ExitCode {
    let escaped = error.chars().map(|character| match character.is_control() {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    });
    stderr::print_last(&format!("mm4d: {}", escaped.collect::<String>()));
    ExitCode::from(status)
}

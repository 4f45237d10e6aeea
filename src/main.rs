//! mm4d: parses the options, starts the log and runs the server.

use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;

use mm4d::log;
use mm4d::server::options::{self, Invocation, Options, OptionsError};
use mm4d::server::signals::Signals;
use mm4d::server::{self, stderr};

/// It cannot start, or a worker thread has ended.
const FAILURE: u8 = 1;
/// An invalid command line.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    // First of all: everything that follows may take its time.
    let signals = match Signals::install() {
        Ok(signals) => signals,
        Err(error) => return fail(FAILURE, &format!("cannot handle signals: {error}")),
    };
    let status = match options::parse(std::env::args_os().skip(1)) {
        Ok(Invocation::Run(options)) => match run(&options, signals) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(FAILURE, &error),
        },
        Ok(Invocation::Print(text)) => match io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(
                FAILURE,
                &format!("cannot write to standard output: {error}"),
            ),
        },
        Err(error @ OptionsError::Usage(_)) => fail(USAGE, &error.to_string()),
        Err(error @ OptionsError::File(_)) => fail(FAILURE, &error.to_string()),
    };
    stderr::flush();
    status
}

fn run(options: &Options, signals: Signals) -> Result<(), String> {
    log::install(Box::new(stderr::Stderr), stderr::is_journal())
        .map_err(|error| error.to_string())?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let thread = thread::current();
        let name = thread.name().unwrap_or_default();
        log::panicked(place.as_deref().unwrap_or("?"), name);
    }));
    let server = server::start(options, signals).map_err(|error| error.to_string())?;
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

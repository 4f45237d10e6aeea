//! mm4d: reads the command line, starts the log and runs the server.

use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;

use mm4d::log;
use mm4d::server;
use mm4d::server::options::{self, Invocation, OptionsError};
use mm4d::server::stderr::Stderr;

/// It cannot start, or a worker thread has died.
const FAILURE: u8 = 1;
/// An invalid command line.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let options = match options::parse(std::env::args_os().skip(1)) {
        Ok(Invocation::Run(options)) => options,
        Ok(Invocation::Print(text)) => return print(&text),
        Err(error @ OptionsError::Usage(_)) => return fail(USAGE, &error.to_string()),
        Err(error @ OptionsError::File(_)) => return fail(FAILURE, &error.to_string()),
    };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"))
        .target(env_logger::Target::Pipe(Box::new(Stderr::default())))
        .init();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let thread = thread::current();
        let name = thread.name().unwrap_or_default();
        log::panicked(place.as_deref().unwrap_or("?"), name);
    }));
    match server::start(&options) {
        Ok(server) => match server.supervise(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(died) => fail(FAILURE, &died.to_string()),
        },
        Err(error) => fail(FAILURE, &error),
    }
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(FAILURE),
    }
}

/// One line, whatever line ends stand in the names it tells.
fn fail(status: u8, error: &str) -> ExitCode {
    let line: String = error
        .chars()
        .flat_map(|character| match character.is_control() {
            true => character.escape_default().collect::<Vec<_>>(),
            false => vec![character],
        })
        .collect();
    let _ = writeln!(io::stderr(), "mm4d: {line}");
    ExitCode::from(status)
}

//! `mm4spool` reads a spool of MM4 messages: this file finds the command, what
//! it does is in [`mm4d::inspect::commands`].

use std::io::{self, BufWriter, ErrorKind, Write};
use std::process::ExitCode;

use mm4d::inspect::commands::{self, Command, Failure, Outcome, warn};

/// The command failed, or found something.
const FAILURE: u8 = 1;
/// An invalid command line.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).map(|argument| {
        argument.into_string().map_err(|argument| {
            let argument = argument.to_string_lossy();
            Failure::Usage(format!(
                "'{argument}' is not UTF-8; name the message by a part of its ID that is"
            ))
        })
    });
    let outcome = arguments
        .collect::<Result<Vec<String>, Failure>>()
        .and_then(|arguments| run(&arguments));
    match outcome {
        Ok(code) => code,
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    let code = match failure {
        // `mm4spool list | head -1` has read enough.
        Failure::Output(error) if error.kind() == ErrorKind::BrokenPipe => {
            return ExitCode::SUCCESS;
        }
        Failure::Output(_) | Failure::Failed(..) => FAILURE,
        Failure::Usage(_) => USAGE,
    };
    warn(&failure.to_string());
    ExitCode::from(code)
}

fn run(arguments: &[String]) -> Outcome {
    let Some((first, rest)) = arguments.split_first() else {
        let text = "COMMAND is missing; see `mm4spool --help`";
        return Err(Failure::Usage(text.to_owned()));
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let code = match first.as_str() {
        "help" if !rest.is_empty() => help_of(rest, &mut out),
        "help" | "-h" | "--help" => print(&mut out, &help()),
        "-V" | "--version" => print(
            &mut out,
            concat!("mm4spool ", env!("CARGO_PKG_VERSION"), "\n"),
        ),
        name => match Command::find(name) {
            Some(command) => command.run(rest, &mut out),
            None => Err(Failure::Usage(format!(
                "unknown command '{name}'; see `mm4spool --help`"
            ))),
        },
    }?;
    out.flush().map_err(Failure::Output)?;
    Ok(code)
}

/// `mm4spool help list` is `mm4spool list --help`.
fn help_of(names: &[String], out: &mut dyn Write) -> Outcome {
    let name = names.first().map_or("", String::as_str);
    match Command::find(name) {
        Some(command) => command.run(&["--help".to_owned()], out),
        None => Err(Failure::Usage(format!(
            "unknown command '{name}'; see `mm4spool --help`"
        ))),
    }
}

fn print(out: &mut dyn Write, text: &str) -> Outcome {
    out.write_all(text.as_bytes()).map_err(Failure::Output)?;
    Ok(ExitCode::SUCCESS)
}

fn help() -> String {
    let lines = commands::ALL
        .iter()
        .map(|command| format!("  {:<9} {}\n", command.name, command.summary));
    format!(
        "Usage: mm4spool COMMAND [OPTIONS] [SPOOL] [ID…]\n\n\
         Reads the MM4 messages in SPOOL: a Maildir, a directory of .eml files, one file,\n\
         or - for standard input; without it $MM4SPOOL, else /var/spool/mm4d. ID may be any\n\
         unique beginning or piece of an ID, or the path of a file.\n\n\
         {}\n\
         `mm4spool COMMAND --help` describes a command with examples, `mm4spool --version`\n\
         prints the version.\n\n\
         Exit status: 0 done; 1 not done, no match in time (`wait`), or `check` found an\n\
         error; 2 usage error.\n",
        lines.collect::<String>()
    )
}

//! `mm4spool list`: a table of the last messages.

use std::io::{self, ErrorKind, IsTerminal, Write};

use super::{Command, Failure, Outcome, Syntax, filters, report, warn};
use crate::inspect::filter::{DEFAULT_LAST, Unreadable};
use crate::inspect::message::Message;
use crate::inspect::output::json;
use crate::inspect::output::table::{self, Row};
use crate::inspect::output::terminal::Terminal;

pub(super) const COMMAND: Command = Command {
    name: "list",
    summary: "a table of the last messages",
    run,
};

fn run(arguments: &[String], out: &mut dyn Write) -> Outcome {
    let mut syntax = Syntax::new(
        COMMAND.name,
        "[OPTIONS] SPOOL",
        "Prints a table of the last messages, newest last. Times are UTC.\n\n\
         Example: mm4spool list --type RES --since 1d spool",
    );
    syntax
        .options
        .optflag("", "json", "print a JSON object for each message");
    filters::add(&mut syntax);
    let Some(given) = syntax.parse(arguments, out)? else {
        return Ok(std::process::ExitCode::SUCCESS);
    };
    let filter = filters::parse(&given)?;
    let (root, store) = given.store()?;
    let entries = store.entries().map_err(|error| Failure::on(root, error))?;
    let mut selection = filter.select(&store, &entries);
    let mut rows = Vec::new();
    for entry in &selection.entries {
        let raw = match store.read(entry) {
            Ok(raw) => raw,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => {
                let id = entry.id.clone();
                selection.unreadable.push(Unreadable { id, error });
                continue;
            }
        };
        let message = Message::read(entry, &raw);
        match given.has("json") {
            true => json::write(&message, out).map_err(Failure::Output)?,
            false => rows.push(Row::of(&message)),
        }
    }
    table::write(rows, &entries, &Terminal::of_stdout(), out).map_err(Failure::Output)?;
    let more = entries.len().saturating_sub(DEFAULT_LAST);
    if filter.is_default() && more > 0 && io::stderr().is_terminal() {
        warn(&format!(
            "{more} older messages are not shown; use --last N"
        ));
    }
    Ok(report(&selection.unreadable))
}

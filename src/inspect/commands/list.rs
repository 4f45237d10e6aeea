//! `mm4spool list`: a table of the last messages.

use std::io::{ErrorKind, Write};

use super::{Command, Failure, Manual, Outcome, Syntax, filters, report, syntax};
use crate::inspect::filter::Unreadable;
use crate::inspect::message::Message;
use crate::inspect::output::json;
use crate::inspect::output::table::{self, Row};

pub(super) const COMMAND: Command = Command {
    name: "list",
    summary: "a table of the last messages",
    run,
};

const MANUAL: Manual = Manual {
    name: COMMAND.name,
    usage: "[OPTIONS] [SPOOL]",
    about: "Prints a table of the last messages, newest last; with a filter every match.\n\
            Times are UTC. In a pipe the columns are separated by tabs and nothing is cut.",
    examples: "mm4spool list --type RES --status error --since 1d spool\n\
               mm4spool list --to 972500000002 --has image\n\
               mm4spool list --json --unanswered spool | jq -r .id",
    exit: "0 done, also when nothing matches; 1 a message or the spool could not be read;\n\
           2 usage error",
};

fn run(arguments: &[String], out: &mut dyn Write) -> Outcome {
    let mut syntax = Syntax::new(MANUAL);
    syntax
        .options
        .optflag("", "json", "print a JSON object for each message");
    filters::add(&mut syntax);
    filters::add_last(&mut syntax);
    let Some(given) = syntax.parse(arguments, out)? else {
        return Ok(std::process::ExitCode::SUCCESS);
    };
    let filter = filters::parse_last(&given)?;
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
    table::write(rows, &entries, &given.terminal(), out).map_err(Failure::Output)?;
    let more = entries.len() - selection.entries.len().min(entries.len());
    if filter.is_empty() && !given.has("last") && more > 0 {
        out.flush().map_err(Failure::Output)?;
        syntax::hint(&format!(
            "{more} older messages are not shown; use --last N or a filter"
        ));
    }
    Ok(report(&selection.unreadable))
}

//! `mm4spool follow`: each message as it is published.

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use super::{Command, Failure, Manual, Outcome, Syntax, filters, warn};
use crate::inspect::filter::Filter;
use crate::inspect::message::Message;
use crate::inspect::output::json;
use crate::inspect::output::table::Row;
use crate::inspect::output::terminal::{self, Terminal};
use crate::inspect::store::{Entry, RawMessage, Store};
use crate::inspect::watch::{Follower, TICK};

pub(super) const COMMAND: Command = Command {
    name: "follow",
    summary: "each message as it is published",
    run,
};

const MANUAL: Manual = Manual {
    name: COMMAND.name,
    usage: "[OPTIONS] [SPOOL]",
    about: "Prints a line for each message that is published from now on, until it is\n\
            interrupted, also in a spool that is made or replaced later. `list` shows those\n\
            that exist already.",
    examples: "mm4spool follow --type RES --status error spool\n\
               mm4spool follow --json spool | jq --unbuffered -r .subject",
    exit: "0 the reader of its output has closed it; 1 the spool could not be read;\n\
           2 usage error",
};

fn run(arguments: &[String], out: &mut dyn Write) -> Outcome {
    let mut syntax = Syntax::new(MANUAL);
    syntax
        .options
        .optflag("", "json", "print a JSON object for each message");
    filters::add(&mut syntax);
    let Some(given) = syntax.parse(arguments, out)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let filter = filters::parse(&given)?;
    let root = given.watched_root()?;
    let failed = |error: io::Error| Failure::on(&root, error);
    let mut follower = Follower::start(Path::new(&root)).map_err(failed)?;
    match follower.store() {
        Some(_) => warn(&format!("following {root}")),
        None => warn(&format!("following {root}, which does not exist yet")),
    }
    let mut printer = Printer {
        filter: &filter,
        terminal: given.terminal(),
        as_json: given.has("json"),
        out,
    };
    while let Some(published) = follower.wait(&io::stdout(), TICK).map_err(failed)? {
        let Some(store) = follower.store() else {
            continue;
        };
        for entry in &published {
            printer.print(store, entry).map_err(Failure::Output)?;
        }
        printer.out.flush().map_err(Failure::Output)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the messages that match, one on a line.
pub(super) struct Printer<'p> {
    pub(super) filter: &'p Filter,
    pub(super) terminal: Terminal,
    pub(super) as_json: bool,
    pub(super) out: &'p mut dyn Write,
}

impl Printer<'_> {
    /// Prints one message, if it matches, and returns whether it does. One that was deleted before it could be
    /// read is named, without its content, where no filter is given.
    pub(super) fn print(&mut self, store: &Store, entry: &Entry) -> io::Result<bool> {
        let (raw, error) = match store.read(entry) {
            Ok(raw) => (raw, None),
            Err(error) => (nothing(entry), Some(error)),
        };
        let message = Message::read(entry, &raw);
        if !self.filter.accepts(entry, &message) {
            return Ok(false);
        }
        match error {
            _ if self.as_json => json::write(&message, self.out)?,
            None => writeln!(self.out, "{}", Row::of(&message).alone(&self.terminal))?,
            Some(error) => {
                let why = match error.kind() {
                    ErrorKind::NotFound => "deleted before it could be read".to_owned(),
                    _ => error.to_string(),
                };
                writeln!(self.out, "{}  {why}", terminal::line(&entry.id))?;
            }
        }
        Ok(true)
    }
}

fn nothing(entry: &Entry) -> RawMessage {
    RawMessage {
        path: entry.path.clone(),
        bytes: Vec::new(),
        file_size: 0,
        mode: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_was_deleted_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let entry = Entry::at(&dir.path().join("gone.eml"));
        let mut out = Vec::new();
        let mut printer = Printer {
            filter: &Filter::default(),
            terminal: Terminal::plain(),
            as_json: false,
            out: &mut out,
        };
        assert!(printer.print(&store, &entry).unwrap());
        assert_eq!(out, b"gone  deleted before it could be read\n");
    }
}

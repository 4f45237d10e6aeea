//! `mm4spool thread`: a REQ with its answer and its reports.

use std::io::{self, Write};
use std::process::ExitCode;

use jiff::Timestamp;

use super::syntax::{open, read};
use super::{Command, Failure, Manual, Outcome, Syntax, report};
use crate::inspect::exchange::{Exchanges, Note};
use crate::inspect::filter::Unreadable;
use crate::inspect::message::Message;
use crate::inspect::output::json;
use crate::inspect::output::table::Row;
use crate::inspect::output::terminal::{self, Terminal, Tone};
use crate::inspect::store::{Entry, Store};

pub(super) const COMMAND: Command = Command {
    name: "thread",
    summary: "a REQ with its answer and its reports",
    run,
};

const MANUAL: Manual = Manual {
    name: COMMAND.name,
    usage: "[OPTIONS] [SPOOL] ID",
    about: "Prints the messages that belong to one: the REQ, the RES that answers it and the\n\
            reports, joined by account, Transaction-ID and Message-ID, and what became of\n\
            each. With --json each object has `joined_to` and `after_ms` besides the keys of\n\
            every message.",
    examples: "mm4spool thread spool 4711-000023\n\
               mm4spool thread --json spool 4711-000023 | jq '[.type, .after_ms]'",
    exit: "0 done; 1 there is no such message or it could not be read; 2 usage error",
};

fn run(arguments: &[String], out: &mut dyn Write) -> Outcome {
    let mut syntax = Syntax::new(MANUAL);
    syntax
        .options
        .optflag("", "json", "print a JSON object for each message");
    let Some(given) = syntax.parse(arguments, out)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let (root, id) = given.root_and_id()?;
    let store = open(&root)?;
    let id = match id {
        Some(id) => id,
        None if store.directories().is_empty() => root.clone(),
        None => return Err(given.usage_error("ID is missing")),
    };
    let (store, entry, _) = read(store, &id)?;
    let entries = store.entries().map_err(|error| Failure::on(&root, error))?;
    let exchanges = Exchanges::read(&store, &entries);
    let thread = exchanges.thread(&entry.id);
    let mut printer = Printer {
        store: &store,
        exchanges: &exchanges,
        terminal: given.terminal(),
        as_json: given.has("json"),
        out,
    };
    let mut unreadable = Vec::new();
    if thread.is_empty() {
        // None of the six messages: it belongs to nothing.
        printer.print(&entry, None, &mut unreadable)?;
    }
    for note in thread {
        printer.print(note.entry, Some(note), &mut unreadable)?;
    }
    Ok(report(&unreadable))
}

struct Printer<'p> {
    store: &'p Store,
    exchanges: &'p Exchanges<'p>,
    terminal: Terminal,
    as_json: bool,
    out: &'p mut dyn Write,
}

impl Printer<'_> {
    /// Prints one message; one that was deleted meanwhile is left out.
    fn print(
        &mut self,
        entry: &Entry,
        note: Option<&Note<'_>>,
        unreadable: &mut Vec<Unreadable>,
    ) -> Result<(), Failure> {
        let raw = match self.store.read(entry) {
            Ok(raw) => raw,
            Err(error) => {
                let id = entry.id.clone();
                unreadable.push(Unreadable { id, error });
                return Ok(());
            }
        };
        let message = Message::read(entry, &raw);
        let written = match self.as_json {
            true => json::write_joined(
                &message,
                note.and_then(|note| self.exchanges.link(note)),
                self.out,
            ),
            false => self.line(&message),
        };
        written.map_err(Failure::Output)
    }

    fn line(&mut self, message: &Message<'_>) -> io::Result<()> {
        let row = Row::of(message);
        writeln!(self.out, "{}", row.alone(&self.terminal))?;
        for remark in self.exchanges.remarks(message.id, Timestamp::now()) {
            let text = terminal::cut(
                &format!("  {}", terminal::line(&remark.text)),
                self.terminal.columns,
            );
            let text = self.terminal.paint(Tone::of(remark.outcome), &text);
            writeln!(self.out, "{text}")?;
        }
        Ok(())
    }
}

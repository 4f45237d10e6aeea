//! `mm4spool show`: everything that one message says.

use std::io::{self, Write};
use std::process::ExitCode;

use jiff::Timestamp;

use super::syntax::{open, read};
use super::{Command, Failure, Given, Manual, Outcome, Syntax};
use crate::inspect::exchange::Exchanges;
use crate::inspect::message::Message;
use crate::inspect::output::json;
use crate::inspect::output::picture::Protocol;
use crate::inspect::output::terminal::{self, Terminal};
use crate::inspect::output::text::{self, Extras};
use crate::inspect::store::{Entry, RawMessage, Store};

pub(super) const COMMAND: Command = Command {
    name: "show",
    summary: "everything that one message says",
    run,
};

const MANUAL: Manual = Manual {
    name: COMMAND.name,
    usage: "[OPTIONS] [SPOOL] [ID]\n[OPTIONS] FILE",
    about: "Prints everything that one message says, without ID the newest: envelope, trace,\n\
            fields with their meaning, what answers it, parts, slides, texts, and what\n\
            `check` finds. `-` reads the message from standard input.",
    examples: "mm4spool show spool 4711-000023\n\
               mm4spool show spool\n\
               mm4spool show --json - < message.eml",
    exit: "0 done; 1 there is no such message or it could not be read; 2 usage error",
};

fn run(arguments: &[String], out: &mut dyn Write) -> Outcome {
    let mut syntax = Syntax::new(MANUAL);
    syntax
        .options
        .optflag("", "json", "print it as a JSON object")
        .optflag("", "raw", "print the file as it is")
        .optflag("", "headers", "print its header block as it is")
        .optflag("", "no-pictures", "show no pictures on a terminal that can")
        .optflag(
            "",
            "source",
            "print the source of HTML parts, not their text",
        );
    let Some(given) = syntax.parse(arguments, out)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let forms = ["json", "raw", "headers"].into_iter();
    if forms.filter(|form| given.has(form)).count() > 1 {
        return Err(given.usage_error("--json, --raw and --headers exclude each other"));
    }
    let (store, entry, raw) = message(&given)?;
    let message = Message::read(&entry, &raw);
    let terminal = given.terminal();
    if given.has("json") {
        json::write(&message, out).map_err(Failure::Output)?;
    } else if given.has("headers") {
        let header = raw.bytes.get(..message.header.length);
        write_bytes(header.unwrap_or_default(), &terminal, out)?;
    } else if given.has("raw") {
        write_raw(&store, &entry, &raw, &terminal, out)?;
    } else {
        let extras = extras(&given, &store, &message, &terminal)?;
        text::write(&message, &extras, &terminal, out).map_err(Failure::Output)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The message that is named, else the newest.
fn message(given: &Given) -> Result<(Store, Entry, RawMessage), Failure> {
    let (root, id) = given.root_and_id()?;
    let store = open(&root)?;
    match id {
        Some(id) => read(store, &id),
        None if store.directories().is_empty() => read(store, &root),
        None => {
            let entries = store.entries();
            let entries = entries.map_err(|error| Failure::on(&root, error))?;
            let newest = entries.into_iter().next_back();
            let newest = newest.ok_or_else(|| Failure::on(&root, "there are no messages"))?;
            let raw = store.read(&newest);
            let raw = raw.map_err(|error| Failure::on(newest.path.display(), error))?;
            Ok((store, newest, raw))
        }
    }
}

/// What the rest of the spool says of the message.
fn extras(
    given: &Given,
    store: &Store,
    message: &Message<'_>,
    terminal: &Terminal,
) -> Result<Extras, Failure> {
    let mut extras = Extras {
        source: given.has("source"),
        pictures: Protocol::of_environment()
            .filter(|_| terminal.is_terminal && !given.has("no-pictures")),
        ..Extras::default()
    };
    if message.kind().is_some() && !store.directories().is_empty() {
        let entries = store.entries().map_err(|error| Failure::on("", error))?;
        let exchanges = Exchanges::read_about(store, &entries, message);
        extras.exchange = exchanges.remarks(message.id, Timestamp::now());
    }
    Ok(extras)
}

/// A file or a pipe gets the bytes, a terminal only those that are harmless.
fn write_bytes(bytes: &[u8], terminal: &Terminal, out: &mut dyn Write) -> Result<(), Failure> {
    match terminal.is_terminal {
        true => terminal::write_harmless(out, bytes),
        false => out.write_all(bytes),
    }
    .map_err(Failure::Output)
}

fn write_raw(
    store: &Store,
    entry: &Entry,
    raw: &RawMessage,
    terminal: &Terminal,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if terminal.is_terminal || raw.file_size == raw.bytes.len() as u64 {
        return write_bytes(&raw.bytes, terminal, out);
    }
    // Longer than what is held in memory.
    let file = store.open_file(entry);
    let (_, mut file) = file.map_err(|error| Failure::on(entry.path.display(), error))?;
    io::copy(&mut file, out).map_err(Failure::Output)?;
    Ok(())
}

//! `mm4spool show`: everything that one message says.

use std::io::{self, Write};
use std::process::ExitCode;

use super::{Command, Failure, Outcome, Syntax};
use crate::inspect::message::Message;
use crate::inspect::output::json;
use crate::inspect::output::terminal::{self, Terminal};
use crate::inspect::output::text::{self, Extras};
use crate::inspect::store::{Entry, RawMessage, Store};

pub(super) const COMMAND: Command = Command {
    name: "show",
    summary: "everything that one message says",
    run,
};

fn run(arguments: &[String], out: &mut dyn Write) -> Outcome {
    let mut syntax = Syntax::new(
        COMMAND.name,
        "[OPTIONS] SPOOL ID\n[OPTIONS] FILE",
        "Prints everything that one message says: envelope, trace, fields with their\n\
         meaning, parts, slides, texts, and what `check` finds.\n\n\
         Example: mm4spool show spool 4711-000023",
    );
    syntax
        .options
        .optflag("", "json", "print it as a JSON object")
        .optflag("", "raw", "print the file as it is")
        .optflag("", "headers", "print its header block as it is")
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
    let (store, entry, raw) = given.message()?;
    let message = Message::read(&entry, &raw);
    let terminal = Terminal::of_stdout();
    if given.has("json") {
        json::write(&message, out).map_err(Failure::Output)?;
    } else if given.has("headers") {
        let header = raw.bytes.get(..message.header.length);
        write_bytes(header.unwrap_or_default(), &terminal, out)?;
    } else if given.has("raw") {
        write_raw(&store, &entry, &raw, &terminal, out)?;
    } else {
        let extras = Extras {
            source: given.has("source"),
        };
        text::write(&message, &extras, &terminal, out).map_err(Failure::Output)?;
    }
    Ok(ExitCode::SUCCESS)
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

//! `mm4spool extract`: the parts of a message as files.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use super::{Command, Failure, Given, Manual, Outcome, Syntax, filters, report, warn};
use crate::inspect::filter::Unreadable;
use crate::inspect::message::Message;
use crate::inspect::output::files;
use crate::inspect::output::terminal;
use crate::inspect::store::is_in_a_maildir;

pub(super) const COMMAND: Command = Command {
    name: "extract",
    summary: "its parts, as files",
    run,
};

const MANUAL: Manual = Manual {
    name: COMMAND.name,
    usage: "[OPTIONS] [SPOOL] ID\n[OPTIONS] FILE\n[OPTIONS] FILTERS [SPOOL]",
    about: "Writes the decoded parts of a message, or of every message that matches the\n\
            filters, as files under safe names, and never overwrites a file. Prints their\n\
            paths. `--to -` writes one part to standard output.",
    examples: "mm4spool extract --to parts spool 4711-000023\n\
               mm4spool extract --part 2 --to - spool 4711-000023 > picture.jpg\n\
               mm4spool extract --has image --since 1d --to pictures spool",
    exit: "0 done; 1 there is no such message or part, or a file could not be written;\n\
           2 usage error",
};

fn run(arguments: &[String], out: &mut dyn Write) -> Outcome {
    let mut syntax = Syntax::new(MANUAL);
    syntax
        .options
        .optopt(
            "",
            "part",
            "only this part, by the number that `show` gives it",
            "N",
        )
        .optopt(
            "",
            "to",
            "directory to write to, created if missing; - for standard output (default .)",
            "DIR",
        );
    filters::add_beside_to(&mut syntax);
    let Some(given) = syntax.parse(arguments, out)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let only: Option<usize> = given.number("part")?;
    let to = given.text("to").unwrap_or_else(|| ".".to_owned());
    let filter = filters::parse_beside_to(&given)?;
    if to != "-" && is_in_a_maildir(Path::new(&to)) {
        let error = "a spool takes its files for messages; give a directory elsewhere";
        return Err(Failure::on(format!("--to {to}"), io::Error::other(error)));
    }
    if !filter.is_empty() {
        if to == "-" {
            return Err(given.usage_error("--to - takes one part of one message, not filters"));
        }
        let (root, store) = given.store()?;
        let entries = store.entries().map_err(|error| Failure::on(root, error))?;
        let mut selection = filter.select(&store, &entries);
        for entry in &selection.entries {
            match store.read(entry) {
                Ok(raw) => write_parts(&Message::read(entry, &raw), only, &to, out)?,
                Err(error) => {
                    let id = entry.id.clone();
                    selection.unreadable.push(Unreadable { id, error });
                }
            }
        }
        return Ok(report(&selection.unreadable));
    }
    let (_, entry, raw) = given.message()?;
    let message = Message::read(&entry, &raw);
    if let Some(number) = only.filter(|number| message.leaf(*number).is_none()) {
        let count = message.leaves().count();
        return Err(Failure::on(
            entry.id,
            format!(
                "no part for --part {number}: it has {count} parts; `mm4spool show` numbers them"
            ),
        ));
    }
    match to.as_str() {
        "-" => write_one(&given, &message, only, out)?,
        to => write_parts(&message, only, to, out)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes parts as files, and prints their paths.
fn write_parts(
    message: &Message<'_>,
    only: Option<usize>,
    to: &str,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let extracted = files::extract(message, only, Path::new(to));
    for part in &extracted.map_err(|error| Failure::on("", error))? {
        let path = terminal::line(&part.path.to_string_lossy());
        writeln!(out, "{path}").map_err(Failure::Output)?;
        if let Some(fault) = &part.fault {
            warn(&format!("part {}: {fault}", part.number));
        }
    }
    Ok(())
}

/// Writes one part to standard output: the one that is named, or the only one.
fn write_one(
    given: &Given,
    message: &Message<'_>,
    only: Option<usize>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut leaves = message.leaves();
    let part = match only {
        Some(number) => message.leaf(number),
        None => leaves.next().filter(|_| leaves.next().is_none()),
    };
    let Some(part) = part else {
        let count = message.leaves().count();
        let text = format!("--to - takes one part and the message has {count}; use --part N");
        return Err(given.usage_error(&text));
    };
    if io::stdout().is_terminal() && !part.is_text() {
        let text = "refusing to write a part that is no text to a terminal; use --to DIR";
        return Err(given.usage_error(text));
    }
    let decoded = part.decode();
    let written = match io::stdout().is_terminal() {
        true => terminal::write_harmless(out, &decoded.bytes),
        false => out.write_all(&decoded.bytes),
    };
    written.map_err(Failure::Output)?;
    if let Some(fault) = decoded.fault {
        warn(&format!("part {}: {fault}", part.number.unwrap_or(0)));
    }
    Ok(())
}

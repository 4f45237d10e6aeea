//! `mm4spool extract`: the parts of a message as files.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use super::{Command, Failure, Outcome, Syntax, warn};
use crate::inspect::message::Message;
use crate::inspect::output::files;
use crate::inspect::output::terminal;

pub(super) const COMMAND: Command = Command {
    name: "extract",
    summary: "its parts, as files",
    run,
};

fn run(arguments: &[String], out: &mut dyn Write) -> Outcome {
    let mut syntax = Syntax::new(
        COMMAND.name,
        "[OPTIONS] SPOOL ID\n[OPTIONS] FILE",
        "Writes the decoded parts of a message as files under safe names, and never\n\
         overwrites a file. Prints their paths.\n\n\
         Example: mm4spool extract --to parts spool 4711-000023",
    );
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
            "directory to write to, created if missing (default .)",
            "DIR",
        );
    let Some(given) = syntax.parse(arguments, out)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let only: Option<usize> = given.number("part")?;
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
    let to = given.text("to").unwrap_or_else(|| ".".to_owned());
    let extracted = files::extract(&message, only, Path::new(&to));
    for part in &extracted.map_err(|error| Failure::on("", error))? {
        let path = terminal::line(&part.path.to_string_lossy());
        writeln!(out, "{path}").map_err(Failure::Output)?;
        if let Some(fault) = &part.fault {
            warn(&format!("part {}: {fault}", part.number));
        }
    }
    Ok(ExitCode::SUCCESS)
}

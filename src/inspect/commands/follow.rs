//! `mm4spool follow`: each message as it is published.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use super::{Command, Failure, Outcome, Syntax, warn};
use crate::inspect::message::Message;
use crate::inspect::output::json;
use crate::inspect::output::table::Row;
use crate::inspect::output::terminal;
use crate::inspect::store::{Entry, RawMessage, Store};
use crate::inspect::watch::Follower;

pub(super) const COMMAND: Command = Command {
    name: "follow",
    summary: "each message as it is published",
    run,
};

fn run(arguments: &[String], out: &mut dyn Write) -> Outcome {
    let mut syntax = Syntax::new(
        COMMAND.name,
        "[OPTIONS] SPOOL",
        "Prints a line for each message that is published from now on, until it is\n\
         interrupted. `list` shows those that exist already.\n\n\
         Example: mm4spool follow --json spool",
    );
    syntax
        .options
        .optflag("", "json", "print a JSON object for each message");
    let Some(given) = syntax.parse(arguments, out)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let (root, store) = given.store()?;
    let failed = |error: io::Error| Failure::on(root, error);
    let mut follower = Follower::start(&store).map_err(failed)?;
    warn(&format!("following {root}"));
    while let Some(published) = follower.wait(&io::stdout()).map_err(failed)? {
        for entry in &published {
            print(&store, entry, given.has("json"), out).map_err(Failure::Output)?;
        }
        out.flush().map_err(Failure::Output)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints one message on one line. One that was deleted before it could be read
/// is named, without its content.
fn print(store: &Store, entry: &Entry, as_json: bool, out: &mut dyn Write) -> io::Result<()> {
    let (raw, error) = match store.read(entry) {
        Ok(raw) => (raw, None),
        Err(error) => (nothing(entry), Some(error)),
    };
    let message = Message::read(entry, &raw);
    match error {
        _ if as_json => json::write(&message, out),
        None => writeln!(out, "{}", Row::of(&message).alone()),
        Some(error) => {
            let why = match error.kind() {
                ErrorKind::NotFound => "deleted before it could be read".to_owned(),
                _ => error.to_string(),
            };
            writeln!(out, "{}  {why}", terminal::line(&entry.id))
        }
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
        print(&store, &entry, false, &mut out).unwrap();
        assert_eq!(out, b"gone  deleted before it could be read\n");
    }
}

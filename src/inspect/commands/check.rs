//! `mm4spool check`: what is wrong with messages.

use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use super::{Command, Failure, Given, Outcome, Syntax, open, report};
use crate::inspect::check::profile::parse_size;
use crate::inspect::check::{self, Duplicates, Profile};
use crate::inspect::filter::Unreadable;
use crate::inspect::message::Message;
use crate::inspect::output::terminal;
use crate::inspect::store::{self, Entry, Store};

pub(super) const COMMAND: Command = Command {
    name: "check",
    summary: "what is wrong with messages; exit status 1 if anything is",
    run,
};

/// Bytes of a profile.
const MAX_PROFILE: u64 = 64 * 1024;

fn run(arguments: &[String], out: &mut dyn Write) -> Outcome {
    let mut syntax = Syntax::new(
        COMMAND.name,
        "[OPTIONS] SPOOL [ID…]",
        "Prints what is wrong with the messages, or with all of them, one finding a\n\
         line: `ID: code: text`. Exit status 1 if there is any.\n\n\
         A profile has lines of `key = value`: max-size (bytes, or 300K, 2M), max-parts,\n\
         max-recipients, max-subject (characters), types (image/jpeg, audio/*).\n\n\
         Example: mm4spool check --profile carrier.profile spool",
    );
    syntax
        .options
        .optopt("", "profile", "file with the limits of a carrier", "FILE")
        .optopt(
            "",
            "max-size",
            "bytes that a mail may have, or 300K, 2M",
            "N",
        );
    let Some(given) = syntax.parse(arguments, out)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let profile = profile(&given)?;
    let (root, ids) = given.root()?;
    let store = open(root)?;
    let entries = store.entries().map_err(|error| Failure::on(root, error))?;
    let duplicates = duplicates(&store, &entries);
    let chosen = match ids {
        [] => entries,
        ids => {
            let found = ids.iter().map(|id| store.find(id));
            let found: Result<_, _> = found.collect();
            found.map_err(|error| Failure::on("", error))?
        }
    };
    let mut has_findings = false;
    let mut unreadable = Vec::new();
    for entry in &chosen {
        match check_one(&store, entry, &profile, &duplicates, out) {
            Ok(found) => has_findings |= found,
            // Consumed meanwhile: no fault of the message.
            Err(Problem::Read(error)) if error.kind() == ErrorKind::NotFound => {}
            Err(Problem::Read(error)) => {
                let id = entry.id.clone();
                unreadable.push(Unreadable { id, error });
            }
            Err(Problem::Write(error)) => return Err(Failure::Output(error)),
        }
    }
    let code = report(&unreadable);
    Ok(if has_findings {
        ExitCode::FAILURE
    } else {
        code
    })
}

/// Which side failed.
enum Problem {
    Read(io::Error),
    Write(io::Error),
}

/// Prints the findings of a message, and returns whether there are any.
fn check_one(
    store: &Store,
    entry: &Entry,
    profile: &Profile,
    duplicates: &Duplicates,
    out: &mut dyn Write,
) -> Result<bool, Problem> {
    let raw = store.read(entry).map_err(Problem::Read)?;
    let message = Message::read(entry, &raw);
    let mut findings = check::findings(&message, profile);
    findings.extend(duplicates.finding(&message));
    for finding in &findings {
        let line = format!("{}: {finding}", entry.id);
        writeln!(out, "{}", terminal::line(&line)).map_err(Problem::Write)?;
    }
    Ok(!findings.is_empty())
}

fn profile(given: &Given) -> Result<Profile, Failure> {
    let mut profile = match given.text("profile") {
        Some(path) => {
            let what = format!("--profile {path}");
            let text = read_profile(Path::new(&path)).map_err(|error| Failure::on(&what, error))?;
            Profile::parse(&text).map_err(|error| Failure::on(&what, error))?
        }
        None => Profile::default(),
    };
    let expected = "bytes, or 300K or 2M";
    if let Some(size) = given.parsed("max-size", expected, |text| parse_size(text).ok())? {
        profile.max_size = Some(size);
    }
    Ok(profile)
}

fn read_profile(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = store::open_regular(path)?;
    let length = file.take(MAX_PROFILE + 1).read_to_string(&mut text)?;
    match length as u64 > MAX_PROFILE {
        true => Err(io::Error::other(format!(
            "it has more than {MAX_PROFILE} bytes"
        ))),
        false => Ok(text),
    }
}

/// The transactions of the whole spool, from the header blocks.
fn duplicates(store: &Store, entries: &[Entry]) -> Duplicates {
    let mut duplicates = Duplicates::default();
    for entry in entries {
        // What cannot be read is reported when it is checked.
        if let Ok(raw) = store.read_header(entry) {
            duplicates.note(&Message::read_header(entry, &raw));
        }
    }
    duplicates
}

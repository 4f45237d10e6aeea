//! `mm4spool check`: what is wrong with messages.

use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use super::syntax::open;
use super::{Command, Failure, Given, Manual, Outcome, Syntax, filters, report};
use crate::inspect::check::profile::parse_size;
use crate::inspect::check::{self, Duplicates, Profiles, Report};
use crate::inspect::filter::Unreadable;
use crate::inspect::finding::{Code, Finding, Severity};
use crate::inspect::message::Message;
use crate::inspect::output::{json, terminal};
use crate::inspect::store::{self, Entry, Store};

pub(super) const COMMAND: Command = Command {
    name: "check",
    summary: "what is wrong with messages; exit status 1 if there is an error",
    run,
};

const MANUAL: Manual = Manual {
    name: COMMAND.name,
    usage: "[OPTIONS] [SPOOL [ID…]]",
    about: "Reports what is wrong with the messages, or with all that match: errors,\n\
            warnings and notes, by account and code. `--format lines` prints one finding a\n\
            line instead: `ID: code: text`.\n\n\
            A profile has lines of `key = value`: max-size (bytes, or 300K, 2M), max-parts,\n\
            max-recipients, max-subject (characters), types (image/jpeg, audio/*), ignore\n\
            (codes); what follows a line `[ACCOUNT]` holds for that account alone.",
    examples: "mm4spool check --profile carriers.profile spool\n\
               mm4spool check --account carrier --since 1d --ignore duplicate\n\
               mm4spool check --json spool | jq -r 'select(.severity == \"error\") | .id'",
    exit: "0 there is no error, with --strict nothing at all; 1 there is, or a message could\n\
           not be read; 2 usage error",
};

/// Bytes of a profile.
const MAX_PROFILE: u64 = 64 * 1024;

fn run(arguments: &[String], out: &mut dyn Write) -> Outcome {
    let Some(given) = syntax().parse(arguments, out)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let form = form(&given)?;
    let expected = "the code of a finding, such as missing-field";
    let ignored = given.all("ignore", expected, Code::parse)?;
    let profiles = profiles(&given)?;
    let filter = filters::parse(&given)?;
    let (root, ids) = given.root();
    let store = open(&root)?;
    let entries = store.entries().map_err(|error| Failure::on(&root, error))?;
    let mut selection = match ids {
        [] => filter.select(&store, &entries),
        ids => {
            let found = ids.iter().map(|id| store.find(id));
            let found: Result<Vec<Entry>, _> = found.collect();
            let found = found.map_err(|error| Failure::on("", error))?;
            filter.select_from(&store, &entries, &found)
        }
    };
    let mut checker = Checker {
        duplicates: match ignored.contains(&Code::Duplicate) {
            true => Duplicates::default(),
            false => Duplicates::read(&store, &entries),
        },
        store: &store,
        profiles,
        ignored,
        form,
        report: Report::default(),
        out,
    };
    for entry in &selection.entries {
        match checker.check(entry) {
            Ok(()) => {}
            // A consumer has taken it: no fault of the message.
            Err(Problem::Read(error)) if error.kind() == ErrorKind::NotFound => {}
            Err(Problem::Read(error)) => {
                let id = entry.id.clone();
                selection.unreadable.push(Unreadable { id, error });
            }
            Err(Problem::Write(error)) => return Err(Failure::Output(error)),
        }
    }
    let found = &checker.report;
    if form == Form::Report {
        found
            .write(&given.terminal(), checker.out)
            .map_err(Failure::Output)?;
    }
    let lesser = found.count(Severity::Warning) + found.count(Severity::Note);
    let fails = found.count(Severity::Error) > 0 || (given.has("strict") && lesser > 0);
    let code = report(&selection.unreadable);
    Ok(if fails { ExitCode::FAILURE } else { code })
}

fn syntax() -> Syntax {
    let mut syntax = Syntax::new(MANUAL);
    syntax
        .options
        .optopt("", "profile", "file with the limits of carriers", "FILE")
        .optopt(
            "",
            "max-size",
            "bytes that a message may have, or 300K, 2M",
            "N",
        )
        .optmulti(
            "",
            "ignore",
            "leave out findings of this code; repeatable",
            "CODE",
        )
        .optflag("", "strict", "exit status 1 for warnings and notes too")
        .optflag("", "json", "print a JSON object for each finding")
        .optopt("", "format", "report or lines (default report)", "FORM");
    filters::add(&mut syntax);
    syntax
}

/// How findings are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Report,
    Lines,
    Json,
}

fn form(given: &Given) -> Result<Form, Failure> {
    let form = given.parsed("format", "report or lines", |word| match word {
        "report" => Some(Form::Report),
        "lines" => Some(Form::Lines),
        _ => None,
    })?;
    match (form, given.has("json")) {
        (Some(_), true) => Err(given.usage_error("--json and --format exclude each other")),
        (None, true) => Ok(Form::Json),
        (form, false) => Ok(form.unwrap_or(Form::Report)),
    }
}

/// Which side failed.
enum Problem {
    Read(io::Error),
    Write(io::Error),
}

struct Checker<'c> {
    store: &'c Store,
    profiles: Profiles,
    ignored: Vec<Code>,
    duplicates: Duplicates,
    form: Form,
    report: Report,
    out: &'c mut dyn Write,
}

impl Checker<'_> {
    /// Finds what is wrong with a message, and prints it unless it is reported at the end.
    fn check(&mut self, entry: &Entry) -> Result<(), Problem> {
        let raw = self.store.read(entry).map_err(Problem::Read)?;
        let message = Message::read(entry, &raw);
        let profile = self.profiles.of(message.account());
        let mut findings = check::findings(&message, profile);
        findings.extend(self.duplicates.finding(&message));
        findings.retain(|finding| {
            !self.ignored.contains(&finding.code) && !profile.ignored.contains(&finding.code)
        });
        self.report.add(&message, &findings);
        for finding in &findings {
            self.print(&message, finding).map_err(Problem::Write)?;
        }
        Ok(())
    }

    fn print(&mut self, message: &Message<'_>, finding: &Finding) -> io::Result<()> {
        match self.form {
            Form::Report => Ok(()),
            Form::Json => json::write_finding(message, finding, finding.code.severity(), self.out),
            Form::Lines => {
                let line = format!("{}: {finding}", message.id);
                writeln!(self.out, "{}", terminal::line(&line))
            }
        }
    }
}

fn profiles(given: &Given) -> Result<Profiles, Failure> {
    let mut profiles = match given.text("profile") {
        Some(path) => {
            let what = format!("--profile {path}");
            let text = read_profile(Path::new(&path)).map_err(|error| Failure::on(&what, error))?;
            Profiles::parse(&text).map_err(|error| Failure::on(&what, error))?
        }
        None => Profiles::default(),
    };
    let expected = "bytes, or 300K or 2M";
    if let Some(size) = given.parsed("max-size", expected, |text| parse_size(text).ok())? {
        profiles.set_max_size(size);
    }
    Ok(profiles)
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

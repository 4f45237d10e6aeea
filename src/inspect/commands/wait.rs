//! `mm4spool wait`: a message that a test of a sender waits for.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::follow::Printer;
use super::{Command, Failure, Given, Manual, Outcome, Syntax, filters, warn};
use crate::inspect::filter::parse_age;
use crate::inspect::watch::Follower;

pub(super) const COMMAND: Command = Command {
    name: "wait",
    summary: "waits for a message, for tests of senders",
    run,
};

const MANUAL: Manual = Manual {
    name: COMMAND.name,
    usage: "[OPTIONS] [SPOOL]",
    about: "Waits until a message matches the filters, and prints it. A message that exists\n\
            already counts if there is a filter; without one the next message is waited for.",
    examples: "mm4spool wait --transaction T-0001 --timeout 10s spool\n\
               mm4spool wait --type RES --status Ok --since 5s --json spool\n\
               mm4spool wait --from 972500000001 --count 3 spool",
    exit: "0 N messages matched; 1 fewer did in time, or the spool could not be\n\
           read; 2 usage error",
};

/// How long it waits unless `--timeout` says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

fn run(arguments: &[String], out: &mut dyn Write) -> Outcome {
    let mut syntax = Syntax::new(MANUAL);
    syntax
        .options
        .optopt(
            "",
            "timeout",
            "how long at most: 500ms, 10s, 2m (default 10s)",
            "TIME",
        )
        .optopt("", "count", "how many messages must match (default 1)", "N")
        .optflag("", "json", "print a JSON object for each message");
    filters::add(&mut syntax);
    let Some(given) = syntax.parse(arguments, out)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let count = given.parsed("count", "a number from 1", |text| {
        text.parse().ok().filter(|count: &usize| *count > 0)
    })?;
    let count = count.unwrap_or(1);
    let timeout = timeout(&given)?;
    let filter = filters::parse(&given)?;
    let root = given.watched_root()?;
    let mut printer = Printer {
        filter: &filter,
        terminal: given.terminal(),
        as_json: given.has("json"),
        out,
    };
    let found = wait(
        &root,
        &mut printer,
        count,
        Instant::now().checked_add(timeout),
    )?;
    if found >= count {
        return Ok(ExitCode::SUCCESS);
    }
    let seconds = timeout.as_secs_f64();
    warn(&format!(
        "{found} of {count} messages matched in {seconds} s; `mm4spool list {root}` shows what there is"
    ));
    Ok(ExitCode::FAILURE)
}

fn timeout(given: &Given) -> Result<Duration, Failure> {
    let expected = "a duration such as 500ms, 10s or 2m";
    let timeout = given.parsed("timeout", expected, |text| parse_age(text)?.try_into().ok())?;
    Ok(timeout.unwrap_or(TIMEOUT))
}

/// Prints messages until `count` of them matched, the reader closes or the time is
/// over; returns how many did.
fn wait(
    root: &str,
    printer: &mut Printer<'_>,
    count: usize,
    deadline: Option<Instant>,
) -> Result<usize, Failure> {
    let failed = |error: io::Error| Failure::on(root, error);
    // Watched first, so that no message falls between the two.
    let mut follower = Follower::start(Path::new(root)).map_err(failed)?;
    let mut published = match follower.store().filter(|_| !printer.filter.is_empty()) {
        Some(store) => {
            let entries = store.entries().map_err(failed)?;
            printer.filter.select(store, &entries).entries
        }
        None => Vec::new(),
    };
    let mut found = 0;
    // What is published while the existing ones are listed is reported twice.
    let mut seen = HashSet::new();
    loop {
        for entry in &published {
            let Some(store) = follower.store() else { break };
            let is_next = found < count && seen.insert(entry.id.clone());
            if is_next && printer.print(store, entry).map_err(Failure::Output)? {
                found += 1;
            }
        }
        printer.out.flush().map_err(Failure::Output)?;
        let left = match deadline {
            Some(deadline) => deadline.saturating_duration_since(Instant::now()),
            None => Duration::MAX,
        };
        if found >= count || left.is_zero() {
            return Ok(found);
        }
        published = match follower.wait(&io::stdout(), left).map_err(failed)? {
            Some(published) => published,
            None => return Ok(found),
        };
    }
}

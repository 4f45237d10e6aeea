//! `mm4spool gallery`: the last messages as one HTML page.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use jiff::Timestamp;

use super::{Command, Failure, Manual, Outcome, Syntax, filters, report};
use crate::inspect::output::files;
use crate::inspect::output::page::Page;

pub(super) const COMMAND: Command = Command {
    name: "gallery",
    summary: "an HTML page of the last messages",
    run,
};

const MANUAL: Manual = Manual {
    name: COMMAND.name,
    usage: "[OPTIONS] [SPOOL]",
    about: "Writes one HTML page, complete in itself, that shows the last messages, or with a\n\
            filter every match, as a phone would.",
    examples: "mm4spool gallery --output page.html spool\n\
               mm4spool gallery --has image --since 1d > page.html",
    exit: "0 done; 1 a message could not be read or the page not written; 2 usage error",
};

fn run(arguments: &[String], out: &mut dyn Write) -> Outcome {
    let mut syntax = Syntax::new(MANUAL);
    filters::add(&mut syntax);
    filters::add_last(&mut syntax);
    syntax.options.optopt(
        "",
        "output",
        "file to write; - for standard output (default -)",
        "FILE",
    );
    let Some(given) = syntax.parse(arguments, out)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let filter = filters::parse_last(&given)?;
    let output = given.text("output").filter(|output| output != "-");
    if output.is_none() && io::stdout().is_terminal() {
        return Err(given.usage_error("refusing to write HTML to a terminal; use --output FILE"));
    }
    let (root, store) = given.store()?;
    let entries = store.entries().map_err(|error| Failure::on(&root, error))?;
    let mut selection = filter.select(&store, &entries);
    if let Some(path) = &output {
        if store.has_place_of_message(Path::new(path), &entries) {
            let error = io::Error::other("it is in the spool; choose a file elsewhere");
            return Err(Failure::on(format!("--output {path}"), error));
        }
    }
    let page = Page::prepare(&store, selection.entries, &entries);
    drop(entries);
    let now = Timestamp::now();
    let unreadable = match &output {
        None => page
            .write(&store, &root, now, out)
            .map_err(Failure::Output)?,
        Some(path) => {
            let failed = |error: io::Error| Failure::on(format!("--output {path}"), error);
            let file = files::create_page(Path::new(path), page.mode).map_err(failed)?;
            let mut file = BufWriter::new(file);
            let unreadable = page.write(&store, &root, now, &mut file).map_err(failed)?;
            file.flush().map_err(failed)?;
            unreadable
        }
    };
    selection.unreadable.extend(unreadable);
    Ok(report(&selection.unreadable))
}

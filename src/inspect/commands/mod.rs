//! The commands of `mm4spool`, one file each with its own options and help.
//!
//! Exit status: 0 when it did what was asked, also when the reader of its output
//! has closed it; 1 when it could not, or when `check` found something; 2 for a
//! usage error.

mod check;
mod extract;
mod follow;
mod gallery;
mod list;
mod respond;
mod show;

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;

use getopts::{Matches, Options};

use super::filter::Unreadable;
use super::output::terminal;
use super::store::{Entry, RawMessage, Store};

/// A command by its name.
pub struct Command {
    /// What the user types.
    pub name: &'static str,
    /// One line for `mm4spool --help`.
    pub summary: &'static str,
    run: fn(&[String], &mut dyn Write) -> Outcome,
}

/// Every command, in the order of `mm4spool --help`.
pub const ALL: [Command; 7] = [
    list::COMMAND,
    show::COMMAND,
    extract::COMMAND,
    gallery::COMMAND,
    follow::COMMAND,
    check::COMMAND,
    respond::COMMAND,
];

impl Command {
    /// The command of that name.
    pub fn find(name: &str) -> Option<&'static Command> {
        ALL.iter().find(|command| command.name == name)
    }

    /// Runs it with the arguments that follow its name.
    ///
    /// # Errors
    ///
    /// As [`Failure`] lists them.
    pub fn run(&self, arguments: &[String], out: &mut dyn Write) -> Outcome {
        (self.run)(arguments, out)
    }
}

/// What a command returns.
pub type Outcome = Result<ExitCode, Failure>;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// The command line is invalid: exit status 2.
    Usage(String),
    /// It is valid, and the command failed: exit status 1. What it failed on, and
    /// why.
    Failed(String, Box<dyn Error + Send + Sync>),
    /// Nothing more can be written to standard output.
    Output(io::Error),
}

impl Failure {
    /// A failure on the file, option or message `what`.
    fn on(what: impl fmt::Display, error: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
        Failure::Failed(what.to_string(), error.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(text) => f.write_str(text),
            Failure::Failed(what, error) if what.is_empty() => error.fmt(f),
            Failure::Failed(what, error) => write!(f, "{what}: {error}"),
            Failure::Output(error) => write!(f, "cannot write the output: {error}"),
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Failure::Usage(_) => None,
            Failure::Failed(_, error) => Some(error.as_ref()),
            Failure::Output(error) => Some(error),
        }
    }
}

/// Writes one line to stderr, whatever is in the text. If stderr is closed too,
/// nobody listens.
pub fn warn(text: &str) {
    let _ = writeln!(io::stderr(), "mm4spool: {}", terminal::line(text));
}

/// The options of a command, and its help.
struct Syntax {
    name: &'static str,
    usage: &'static str,
    about: &'static str,
    options: Options,
}

impl Syntax {
    fn new(name: &'static str, usage: &'static str, about: &'static str) -> Syntax {
        let mut options = Options::new();
        options.optflag("h", "help", "print this help and exit");
        Syntax {
            name,
            usage,
            about,
            options,
        }
    }

    /// The options given; `None` when help was asked for and has been printed.
    fn parse(self, arguments: &[String], out: &mut dyn Write) -> Result<Option<Given>, Failure> {
        let matches = self.options.parse(arguments);
        let matches = matches.map_err(|error| usage_error(self.name, &error.to_string()))?;
        if !matches.opt_present("help") {
            let name = self.name;
            return Ok(Some(Given { name, matches }));
        }
        let usages = self
            .usage
            .replace('\n', &format!("\n       mm4spool {} ", self.name));
        let brief = format!("Usage: mm4spool {} {usages}\n\n{}", self.name, self.about);
        let help = self.options.usage(&brief);
        out.write_all(help.as_bytes()).map_err(Failure::Output)?;
        Ok(None)
    }
}

fn usage_error(name: &str, text: &str) -> Failure {
    let text = text.trim_end_matches('.');
    Failure::Usage(format!("{name}: {text}; see `mm4spool {name} --help`"))
}

/// The options and arguments that were given to a command.
struct Given {
    name: &'static str,
    matches: Matches,
}

impl Given {
    fn usage_error(&self, text: &str) -> Failure {
        usage_error(self.name, text)
    }

    fn has(&self, option: &str) -> bool {
        self.matches.opt_present(option)
    }

    fn text(&self, option: &str) -> Option<String> {
        self.matches.opt_str(option)
    }

    /// The value of an option as `parse` understands it; `expected` describes
    /// what it takes.
    fn parsed<T>(
        &self,
        option: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let Some(text) = self.text(option) else {
            return Ok(None);
        };
        match parse(&text) {
            Some(value) => Ok(Some(value)),
            None => {
                Err(self.usage_error(&format!("invalid --{option} '{text}': expected {expected}")))
            }
        }
    }

    fn number<T: FromStr>(&self, option: &str) -> Result<Option<T>, Failure> {
        self.parsed(option, "a number", |text| text.parse().ok())
    }

    /// SPOOL as it was written; what follows it.
    fn root(&self) -> Result<(&str, &[String]), Failure> {
        match self.matches.free.split_first() {
            Some((root, rest)) => Ok((root, rest)),
            None => Err(self.usage_error("SPOOL is missing")),
        }
    }

    /// SPOOL, and nothing after it.
    fn store(&self) -> Result<(&str, Store), Failure> {
        match self.root()? {
            (root, []) => Ok((root, open(root)?)),
            (_, [other, ..]) => Err(self.usage_error(&format!("unexpected argument '{other}'"))),
        }
    }

    /// The message that SPOOL ID names; a file alone is both.
    fn message(&self) -> Result<(Store, Entry, RawMessage), Failure> {
        let (root, wanted) = match self.root()? {
            (file, []) if Path::new(file).is_file() => (file, file),
            (root, [wanted]) => (root, wanted.as_str()),
            (_, []) => return Err(self.usage_error("ID is missing")),
            (_, [_, other, ..]) => {
                return Err(self.usage_error(&format!("unexpected argument '{other}'")));
            }
        };
        let store = open(root)?;
        let entry = store.find(wanted).map_err(|error| Failure::on("", error))?;
        let raw = store.read(&entry);
        let raw = raw.map_err(|error| Failure::on(entry.path.display(), error))?;
        Ok((store, entry, raw))
    }
}

fn open(root: &str) -> Result<Store, Failure> {
    Store::open(Path::new(root)).map_err(|error| Failure::on(root, error))
}

/// Names what could not be read; that is a failure, the rest was shown.
fn report(unreadable: &[Unreadable]) -> ExitCode {
    for one in unreadable {
        warn(&format!("{}: {}", one.id, one.error));
    }
    match unreadable {
        [] => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// The filters that every command over many messages takes.
mod filters {
    use jiff::Timestamp;

    use super::{Failure, Given, Syntax};
    use crate::inspect::filter::{DEFAULT_LAST, Filter, parse_time, parse_types};

    /// Adds `--account`, `--type`, `--since` and `--last`.
    pub(super) fn add(syntax: &mut Syntax) {
        syntax
            .options
            .optopt("", "account", "only messages that this account sent", "ID")
            .optopt(
                "",
                "type",
                "only REQ, RES, forward, delivery_report, read_reply_report, or one such as MM4_forward.REQ",
                "TYPE",
            )
            .optopt(
                "",
                "since",
                "only messages received since a date, an RFC 3339 time or an age (10m, 2h, 3d)",
                "TIME",
            )
            .optopt("", "last", "only the last N of them (default 20, with another filter all)", "N");
    }

    /// The filter that they make.
    pub(super) fn parse(given: &Given) -> Result<Filter, Failure> {
        let now = Timestamp::now();
        let time = "a date, an RFC 3339 time or an age such as 2h";
        // Who filters wants every match.
        let filters = ["account", "type", "since"];
        let is_filtered = filters.iter().any(|filter| given.has(filter));
        let default = if is_filtered {
            usize::MAX
        } else {
            DEFAULT_LAST
        };
        Ok(Filter {
            account: given.text("account"),
            types: given.parsed(
                "type",
                "REQ, RES or a type such as MM4_forward.REQ",
                parse_types,
            )?,
            since: given.parsed("since", time, |word| parse_time(word, now))?,
            last: given.number("last")?.unwrap_or(default),
        })
    }
}

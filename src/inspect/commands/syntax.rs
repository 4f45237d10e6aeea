//! The command line of a command: its options, its help and its arguments.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::str::FromStr;

use getopts::{Matches, Options};

use super::{Failure, warn};
use crate::inspect::output::terminal::{Color, Terminal};
use crate::inspect::store::{Entry, RawMessage, Store};

/// The spool when neither SPOOL nor `$MM4SPOOL` names one.
pub(super) const DEFAULT_SPOOL: &str = "/var/spool/mm4d";

const ENVIRONMENT: &str = "\
Environment:
    MM4SPOOL        the spool when SPOOL is left out (default /var/spool/mm4d)
    COLUMNS         the columns of a line, also in a pipe (default: those of the
                    terminal)
    TERM, TERM_PROGRAM
                    what the terminal can: colour, and pictures in `show`
    NO_COLOR, CLICOLOR_FORCE
                    no colour, colour also in a pipe; --color goes before both
";

/// What the help of a command says beside its options.
pub(super) struct Manual {
    pub(super) name: &'static str,
    /// What follows the name, one form a line.
    pub(super) usage: &'static str,
    pub(super) about: &'static str,
    /// Command lines, one a line.
    pub(super) examples: &'static str,
    pub(super) exit: &'static str,
}

/// The options of a command, and its help.
pub(super) struct Syntax {
    manual: Manual,
    pub(super) options: Options,
}

impl Syntax {
    pub(super) fn new(manual: Manual) -> Syntax {
        let mut options = Options::new();
        options
            .optflag("h", "help", "print this help and exit")
            .optopt(
                "",
                "color",
                "auto, always or never (default auto: on a terminal)",
                "WHEN",
            );
        Syntax { manual, options }
    }

    /// The options given; `None` when help was asked for and has been printed.
    pub(super) fn parse(
        self,
        arguments: &[String],
        out: &mut dyn Write,
    ) -> Result<Option<Given>, Failure> {
        let name = self.manual.name;
        let matches = self.options.parse(arguments);
        let matches = matches.map_err(|error| usage_error(name, &error.to_string()))?;
        if !matches.opt_present("help") {
            let mut given = Given {
                name,
                matches,
                color: Color::Auto,
            };
            let expected = "auto, always or never";
            given.color = given
                .parsed("color", expected, Color::parse)?
                .unwrap_or(Color::Auto);
            return Ok(Some(given));
        }
        out.write_all(self.help().as_bytes())
            .map_err(Failure::Output)?;
        Ok(None)
    }

    fn help(&self) -> String {
        let Manual {
            name,
            usage,
            about,
            examples,
            exit,
        } = self.manual;
        let usages = usage.replace('\n', &format!("\n       mm4spool {name} "));
        let brief = format!("Usage: mm4spool {name} {usages}\n\n{about}");
        let mut help = self.options.usage(&brief);
        let mut section = |title: &str, lines: &str| {
            let lines = lines.lines().map(|line| format!("    {line}\n"));
            // Writing to a String cannot fail.
            let _ = write!(help, "\n{title}:\n{}", lines.collect::<String>());
        };
        section("Examples", examples);
        section("Exit status", exit);
        help.push('\n');
        help.push_str(ENVIRONMENT);
        help
    }
}

fn usage_error(name: &str, text: &str) -> Failure {
    let text = text.trim_end_matches('.');
    Failure::Usage(format!("{name}: {text}; see `mm4spool {name} --help`"))
}

/// The options and arguments that were given to a command.
pub(super) struct Given {
    name: &'static str,
    matches: Matches,
    color: Color,
}

impl Given {
    pub(super) fn usage_error(&self, text: &str) -> Failure {
        usage_error(self.name, text)
    }

    pub(super) fn has(&self, option: &str) -> bool {
        self.matches.opt_present(option)
    }

    pub(super) fn text(&self, option: &str) -> Option<String> {
        self.matches.opt_str(option)
    }

    /// Standard output, in colour or not.
    pub(super) fn terminal(&self) -> Terminal {
        Terminal::of_stdout(self.color)
    }

    /// The value of an option as `parse` understands it; `expected` describes
    /// what it takes.
    pub(super) fn parsed<T>(
        &self,
        option: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        match self.text(option) {
            Some(text) => self.value(option, expected, &text, parse).map(Some),
            None => Ok(None),
        }
    }

    /// The values of an option that may be repeated, or be a list with commas.
    pub(super) fn all<T>(
        &self,
        option: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, Failure> {
        let texts = self.matches.opt_strs(option);
        let words = texts.iter().flat_map(|text| text.split(','));
        words
            .map(|word| self.value(option, expected, word.trim(), &parse))
            .collect()
    }

    fn value<T>(
        &self,
        option: &str,
        expected: &str,
        text: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Failure> {
        parse(text).ok_or_else(|| {
            self.usage_error(&format!("invalid --{option} '{text}': expected {expected}"))
        })
    }

    pub(super) fn number<T: FromStr>(&self, option: &str) -> Result<Option<T>, Failure> {
        self.parsed(option, "a number", |text| text.parse().ok())
    }

    /// SPOOL as it was written, else the default; what follows it.
    pub(super) fn root(&self) -> (String, &[String]) {
        match self.matches.free.split_first() {
            Some((root, rest)) => (root.clone(), rest),
            None => (default_root(), &[]),
        }
    }

    /// SPOOL alone, as it was written, else the default.
    pub(super) fn only_root(&self) -> Result<String, Failure> {
        match self.root() {
            (root, []) => Ok(root),
            (_, [other, ..]) => Err(self.unexpected(other)),
        }
    }

    /// SPOOL alone, where it must be a directory that messages appear in.
    pub(super) fn watched_root(&self) -> Result<String, Failure> {
        match self.only_root()?.as_str() {
            "-" => Err(self.usage_error("SPOOL must be a directory, not - for standard input")),
            root => Ok(root.to_owned()),
        }
    }

    /// SPOOL, and nothing after it.
    pub(super) fn store(&self) -> Result<(String, Store), Failure> {
        let root = self.only_root()?;
        let store = open(&root)?;
        Ok((root, store))
    }

    /// SPOOL and ID; where one of them is left out, an argument that is neither a file
    /// nor a directory is an ID in the default spool.
    pub(super) fn root_and_id(&self) -> Result<(String, Option<String>), Failure> {
        match self.matches.free.as_slice() {
            [] => Ok((default_root(), None)),
            [one] if one == "-" || Path::new(one).exists() || one.contains('/') => {
                Ok((one.clone(), None))
            }
            [id] => Ok((default_root(), Some(id.clone()))),
            [root, id] => Ok((root.clone(), Some(id.clone()))),
            [_, _, other, ..] => Err(self.unexpected(other)),
        }
    }

    /// The message that SPOOL ID names; a file, or `-`, is both.
    pub(super) fn message(&self) -> Result<(Store, Entry, RawMessage), Failure> {
        let (root, id) = self.root_and_id()?;
        let store = open(&root)?;
        let id = match id {
            Some(id) => id,
            None if store.directories().is_empty() => root,
            None => return Err(self.usage_error("ID is missing")),
        };
        read(store, &id)
    }

    fn unexpected(&self, argument: &str) -> Failure {
        self.usage_error(&format!("unexpected argument '{argument}'"))
    }
}

/// The message of that id in the spool.
pub(super) fn read(store: Store, id: &str) -> Result<(Store, Entry, RawMessage), Failure> {
    let entry = store.find(id).map_err(|error| Failure::on("", error))?;
    let raw = store.read(&entry);
    let raw = raw.map_err(|error| Failure::on(entry.path.display(), error))?;
    Ok((store, entry, raw))
}

fn default_root() -> String {
    let root = std::env::var("MM4SPOOL").ok();
    let root = root.filter(|root| !root.is_empty());
    root.unwrap_or_else(|| DEFAULT_SPOOL.to_owned())
}

/// The spool at `root`; `-` is standard input.
pub(super) fn open(root: &str) -> Result<Store, Failure> {
    let store = match root {
        "-" => Store::of_input(io::stdin().lock()),
        root => Store::open(Path::new(root)),
    };
    store.map_err(|error| match error.kind() {
        ErrorKind::NotFound if root == DEFAULT_SPOOL => {
            let why = "the default spool does not exist; name another as SPOOL or in $MM4SPOOL";
            Failure::on(root, why)
        }
        _ => Failure::on(root, error),
    })
}

/// Says on standard error what is only of use on a terminal.
pub(super) fn hint(text: &str) {
    if io::IsTerminal::is_terminal(&io::stderr()) {
        warn(text);
    }
}

//! `mm4spool` looks at a spool of MM4 messages: the command line alone, what it
//! does is in [`mm4d::inspect`].
//!
//! Exit status: 0 when it did what was asked, also when whoever reads its output
//! has gone; 1 when it could not, or when `check` found something; 2 for a usage
//! error, with one line on stderr that says how to mend it.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use getopts::{Matches, Options};
use jiff::Timestamp;
use mm4d::inspect::check::{self, Duplicates, Profile};
use mm4d::inspect::list::{self, DEFAULT_LAST, Filter};
use mm4d::inspect::maildir::{Entry, Octets, Spool};
use mm4d::inspect::message::Message;
use mm4d::inspect::respond::{self, Answer};
use mm4d::inspect::terminal::{self, Terminal};
use mm4d::inspect::{extract, follow, gallery, json, show};
use mm4d::mm4::REQUEST_STATUS_CODES;

const USAGE: &str = "\
Usage: mm4spool COMMAND [OPTIONS] SPOOL [ID…]

Looks at the MM4 messages in SPOOL: a Maildir, a directory of .eml files, or
one file. An ID may be cut to any prefix, or be a path to a file.

  list      a table of the last messages
  show      everything that one message says
  extract   its parts, as files
  gallery   an HTML page of the last messages
  follow    each message as it is published
  check     what is wrong with messages; exit status 1 if anything is
  respond   the RES that answers a REQ

`mm4spool COMMAND --help` says more, `mm4spool --version` which version it is.
";

/// Why a command did not do what it was asked.
enum Failure {
    /// The command line is wrong: exit status 2.
    Usage(String),
    /// It is right, and still: exit status 1.
    Failed(String),
    /// Nothing more can be written to standard output.
    Output(io::Error),
}

type Outcome = Result<ExitCode, Failure>;

fn main() -> ExitCode {
    let mut arguments = Vec::new();
    for argument in std::env::args_os().skip(1) {
        match argument.into_string() {
            Ok(argument) => arguments.push(argument),
            Err(argument) => {
                return fail(&Failure::Usage(format!(
                    "{} is not UTF-8; name the message by a piece of its id that is",
                    argument.to_string_lossy()
                )));
            }
        }
    }
    match run(&arguments) {
        Ok(code) => code,
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    let (code, text) = match failure {
        // `mm4spool list | head -1` has seen enough.
        Failure::Output(error) if error.kind() == ErrorKind::BrokenPipe => {
            return ExitCode::SUCCESS;
        }
        Failure::Output(error) => (1, format!("cannot write the output: {error}")),
        Failure::Failed(text) => (1, text.clone()),
        Failure::Usage(text) => (2, text.clone()),
    };
    warn(&text);
    ExitCode::from(code)
}

/// One line on stderr, whatever is in it; if that is closed too, nobody listens.
fn warn(text: &str) {
    let _ = writeln!(io::stderr(), "mm4spool: {}", terminal::line(text));
}

fn run(arguments: &[String]) -> Outcome {
    let Some((first, rest)) = arguments.split_first() else {
        return Err(usage("a COMMAND is missing; `mm4spool --help` names them"));
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let code = match first.as_str() {
        "list" => list(rest, &mut out),
        "show" => show(rest, &mut out),
        "extract" => extract(rest, &mut out),
        "gallery" => gallery(rest, &mut out),
        "follow" => follow(rest, &mut out),
        "check" => check(rest, &mut out),
        "respond" => respond(rest, &mut out),
        "help" | "-h" | "--help" => print(&mut out, USAGE),
        "-V" | "--version" => print(
            &mut out,
            concat!("mm4spool ", env!("CARGO_PKG_VERSION"), "\n"),
        ),
        other => Err(usage(&format!(
            "{other} is no command; `mm4spool --help` names them"
        ))),
    }?;
    out.flush().map_err(Failure::Output)?;
    Ok(code)
}

fn usage(text: &str) -> Failure {
    Failure::Usage(text.to_owned())
}

fn print(out: &mut dyn Write, text: &str) -> Outcome {
    out.write_all(text.as_bytes()).map_err(Failure::Output)?;
    Ok(ExitCode::SUCCESS)
}

/// A command's options, as getopts wants them, and how it is called.
struct Command {
    name: &'static str,
    call: &'static str,
    about: &'static str,
    options: Options,
}

impl Command {
    fn new(name: &'static str, call: &'static str, about: &'static str) -> Command {
        let mut options = Options::new();
        options.optflag("h", "help", "print this and exit");
        Command {
            name,
            call,
            about,
            options,
        }
    }

    /// The options given; `None` when help was asked for and has been printed.
    fn parse(&self, arguments: &[String], out: &mut dyn Write) -> Result<Option<Matches>, Failure> {
        let matches = self
            .options
            .parse(arguments)
            .map_err(|error| self.wrong(&format!("{error}")))?;
        if matches.opt_present("help") {
            let brief = format!(
                "Usage: mm4spool {} {}\n\n{}",
                self.name, self.call, self.about
            );
            print(out, &self.options.usage(&brief))?;
            return Ok(None);
        }
        Ok(Some(matches))
    }

    fn wrong(&self, text: &str) -> Failure {
        let text = text.trim_end_matches('.');
        Failure::Usage(format!(
            "{}: {text}; see `mm4spool {} --help`",
            self.name, self.name
        ))
    }

    /// The number that an option takes, if it was given.
    fn number(&self, matches: &Matches, name: &str) -> Result<Option<usize>, Failure> {
        let Some(text) = matches.opt_str(name) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(self.wrong(&format!("--{name} takes a number, not {text}"))),
        }
    }

    /// SPOOL, and nothing after it.
    fn spool(&self, matches: &Matches) -> Result<Spool, Failure> {
        match matches.free.as_slice() {
            [root] => open(root),
            [] => Err(self.wrong("SPOOL is missing")),
            [_, other, ..] => Err(self.wrong(&format!("{other} is one argument too many"))),
        }
    }

    /// The message that SPOOL ID means; a file alone is both.
    fn message(&self, matches: &Matches) -> Result<(Spool, Entry, Octets), Failure> {
        let (spool, entry) = match matches.free.as_slice() {
            [file] if Path::new(file).is_file() => {
                let spool = open(file)?;
                let entry = find(&spool, file)?;
                (spool, entry)
            }
            [root, wanted] => {
                let spool = open(root)?;
                let entry = find(&spool, wanted)?;
                (spool, entry)
            }
            [] => return Err(self.wrong("SPOOL and ID are missing")),
            [_] => return Err(self.wrong("ID is missing")),
            [_, _, other, ..] => {
                return Err(self.wrong(&format!("{other} is one argument too many")));
            }
        };
        let file = spool
            .read(&entry)
            .map_err(|error| unreadable(&entry, &error))?;
        Ok((spool, entry, file))
    }
}

fn open(root: &str) -> Result<Spool, Failure> {
    Spool::open(Path::new(root)).map_err(|error| Failure::Failed(format!("{root}: {error}")))
}

fn find(spool: &Spool, wanted: &str) -> Result<Entry, Failure> {
    spool
        .find(wanted)
        .map_err(|error| Failure::Failed(error.to_string()))
}

/// Every message of SPOOL, which is the first argument.
fn entries(spool: &Spool, matches: &Matches) -> Result<Vec<Entry>, Failure> {
    let root = matches.free.first().map_or("", String::as_str);
    spool
        .entries()
        .map_err(|error| Failure::Failed(format!("{root}: {error}")))
}

fn unreadable(entry: &Entry, error: &io::Error) -> Failure {
    Failure::Failed(format!("{}: {error}", entry.path.display()))
}

/// Names what could not be read; that is a failure, the rest was shown.
fn told(unreadable: &[list::Unreadable]) -> ExitCode {
    for (id, error) in unreadable {
        warn(&format!("{id}: {error}"));
    }
    match unreadable {
        [] => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn list(arguments: &[String], out: &mut dyn Write) -> Outcome {
    let mut command = Command::new(
        "list",
        "[OPTIONS] SPOOL",
        "Prints a table of the last messages, newest last. Times are UTC.",
    );
    command
        .options
        .optflag("", "json", "print a JSON object for each message")
        .optopt("", "account", "only messages that this account sent", "ID")
        .optopt("", "type", "only REQ, RES, forward, delivery_report, read_reply_report, or one such as MM4_forward.REQ", "TYPE")
        .optopt("", "since", "only messages since a date, a time (RFC 3339) or an age (10m, 2h, 3d)", "TIME")
        .optopt("", "last", "only the last N of them (default 20)", "N");
    let Some(matches) = command.parse(arguments, out)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let types = matches.opt_str("type").map(|word| {
        list::types(&word).ok_or_else(|| {
            command.wrong(&format!(
                "--type {word} is no message type; REQ, RES or MM4_forward.REQ would be"
            ))
        })
    });
    let since = matches.opt_str("since").map(|word| {
        list::since(&word, Timestamp::now()).ok_or_else(|| {
            command.wrong(&format!(
                "--since {word} is no time; 2022-01-26, 2022-01-26T00:17:43Z or 2h would be"
            ))
        })
    });
    let filter = Filter {
        account: matches.opt_str("account"),
        types: types.transpose()?,
        since: since.transpose()?,
        last: command.number(&matches, "last")?.unwrap_or(DEFAULT_LAST),
    };
    let spool = command.spool(&matches)?;
    let terminal = Terminal::of_stdout();
    let entries = entries(&spool, &matches)?;
    let as_json = matches.opt_present("json");
    let unreadable =
        list::print(&spool, &entries, &filter, as_json, &terminal, out).map_err(Failure::Output)?;
    Ok(told(&unreadable))
}

fn show(arguments: &[String], out: &mut dyn Write) -> Outcome {
    let mut command = Command::new(
        "show",
        "[OPTIONS] SPOOL ID\n       mm4spool show [OPTIONS] FILE",
        "Prints everything that one message says.",
    );
    command
        .options
        .optflag("", "json", "print it as a JSON object")
        .optflag("", "raw", "print the file as it is")
        .optflag("", "headers", "print its header block as it is");
    let Some(matches) = command.parse(arguments, out)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let forms = ["json", "raw", "headers"].into_iter();
    if forms.filter(|form| matches.opt_present(form)).count() > 1 {
        return Err(command.wrong("--json, --raw and --headers exclude each other"));
    }
    let (spool, entry, file) = command.message(&matches)?;
    let message = Message::read(&entry, &file);
    let terminal = Terminal::of_stdout();
    if matches.opt_present("json") {
        writeln!(out, "{}", json::message(&message)).map_err(Failure::Output)?;
    } else if matches.opt_present("headers") {
        let header = file.octets.get(..message.header.octets);
        write_octets(header.unwrap_or_default(), &terminal, out)?;
    } else if matches.opt_present("raw") {
        write_raw(&spool, &entry, &file, &terminal, out)?;
    } else {
        show::print(&message, &terminal, out).map_err(Failure::Output)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A file or a pipe gets the octets, a terminal only those that do no harm.
fn write_octets(octets: &[u8], terminal: &Terminal, out: &mut dyn Write) -> Result<(), Failure> {
    match terminal.is_terminal {
        true => terminal::write_harmless(out, octets),
        false => out.write_all(octets),
    }
    .map_err(Failure::Output)
}

fn write_raw(
    spool: &Spool,
    entry: &Entry,
    file: &Octets,
    terminal: &Terminal,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if terminal.is_terminal || file.file_size == file.octets.len() as u64 {
        return write_octets(&file.octets, terminal, out);
    }
    // Longer than what is held in memory.
    let (_, mut whole) = spool
        .open_file(entry)
        .map_err(|error| unreadable(entry, &error))?;
    io::copy(&mut whole, out).map_err(Failure::Output)?;
    Ok(())
}

fn extract(arguments: &[String], out: &mut dyn Write) -> Outcome {
    let mut command = Command::new(
        "extract",
        "[OPTIONS] SPOOL ID\n       mm4spool extract [OPTIONS] FILE",
        "Writes the decoded parts of a message as files under safe names, and never\nover a file that is there. Prints their paths.",
    );
    command
        .options
        .optopt(
            "",
            "part",
            "only the part of that number, as `show` counts them",
            "N",
        )
        .optopt(
            "",
            "to",
            "where to (default: here); made if it is missing",
            "DIR",
        );
    let Some(matches) = command.parse(arguments, out)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let only = command.number(&matches, "part")?;
    let (_, entry, file) = command.message(&matches)?;
    let message = Message::read(&entry, &file);
    if let Some(number) = only.filter(|number| message.leaf(*number).is_none()) {
        let count = message.leaves().count();
        return Err(Failure::Failed(format!(
            "{}: --part {number}: there are {count} parts; `mm4spool show` numbers them",
            entry.id
        )));
    }
    let to = matches.opt_str("to").unwrap_or_else(|| ".".to_owned());
    let written = extract::extract(&message, only, Path::new(&to))
        .map_err(|error| Failure::Failed(error.to_string()))?;
    for part in &written {
        let path = terminal::line(&part.path.to_string_lossy());
        writeln!(out, "{path}").map_err(Failure::Output)?;
        if let Some(fault) = &part.fault {
            warn(&format!("part {}: {fault}", part.number));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn gallery(arguments: &[String], out: &mut dyn Write) -> Outcome {
    let mut command = Command::new(
        "gallery",
        "[OPTIONS] SPOOL",
        "Writes one HTML page, complete in itself, that shows the last messages as a\nphone would.",
    );
    command
        .options
        .optopt("", "last", "the last N messages (default 20)", "N")
        .optopt("", "output", "where to (default: standard output)", "FILE");
    let Some(matches) = command.parse(arguments, out)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let last = command.number(&matches, "last")?.unwrap_or(DEFAULT_LAST);
    let spool = command.spool(&matches)?;
    let title = matches.free.first().cloned().unwrap_or_default();
    let entries = entries(&spool, &matches)?;
    let now = Timestamp::now();
    let write = |out: &mut dyn Write| gallery::write(&spool, &entries, &title, last, now, out);
    let unreadable = match matches.opt_str("output") {
        Some(path) => {
            let failed = |error: io::Error| Failure::Failed(format!("--output {path}: {error}"));
            let mut file = BufWriter::new(File::create(&path).map_err(failed)?);
            let unreadable = write(&mut file).map_err(failed)?;
            file.flush().map_err(failed)?;
            unreadable
        }
        None if io::stdout().is_terminal() => {
            return Err(command.wrong("a page is not for a terminal; name an --output FILE"));
        }
        None => write(out).map_err(Failure::Output)?,
    };
    Ok(told(&unreadable))
}

fn follow(arguments: &[String], out: &mut dyn Write) -> Outcome {
    let mut command = Command::new(
        "follow",
        "[OPTIONS] SPOOL",
        "Prints a line for each message that is published from now on, until it is\ninterrupted. `list` shows those that are there.",
    );
    command
        .options
        .optflag("", "json", "print a JSON object for each message");
    let Some(matches) = command.parse(arguments, out)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let as_json = matches.opt_present("json");
    let spool = command.spool(&matches)?;
    let root = matches.free.first().cloned().unwrap_or_default();
    let failed = |error: io::Error| Failure::Failed(format!("{root}: {error}"));
    let mut follower = follow::Follower::start(&spool).map_err(failed)?;
    warn(&format!("following {root}"));
    while let Some(came) = follower.wait(&io::stdout()).map_err(failed)? {
        for entry in &came {
            follow::print(&spool, entry, as_json, out).map_err(Failure::Output)?;
        }
        out.flush().map_err(Failure::Output)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn check(arguments: &[String], out: &mut dyn Write) -> Outcome {
    let mut command = Command::new(
        "check",
        "[OPTIONS] SPOOL [ID…]",
        "Prints what is wrong with the messages, or with all of them, one finding a\nline: `ID: code: what`. Exit status 1 if there is any.\n\nA profile is a text of `key = value` lines: max-size (octets, or 300K, 2M),\nmax-parts, max-recipients, max-subject (characters), types (image/jpeg, audio/*).",
    );
    command
        .options
        .optopt("", "profile", "the limits of a carrier", "FILE")
        .optopt(
            "",
            "max-size",
            "octets that a mail may have, or 300K, 2M",
            "N",
        );
    let Some(matches) = command.parse(arguments, out)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let profile = profile(&command, &matches)?;
    let Some((root, wanted)) = matches.free.split_first() else {
        return Err(command.wrong("SPOOL is missing"));
    };
    let spool = open(root)?;
    let entries = entries(&spool, &matches)?;
    let chosen = match wanted {
        [] => entries.clone(),
        _ => wanted
            .iter()
            .map(|wanted| find(&spool, wanted))
            .collect::<Result<_, _>>()?,
    };
    let duplicates = duplicates(&spool, &entries);
    let mut found = false;
    let mut unread = Vec::new();
    for entry in &chosen {
        let file = match spool.read(entry) {
            Ok(file) => file,
            // Consumed meanwhile: no fault of the message.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => {
                unread.push((entry.id.clone(), error));
                continue;
            }
        };
        let message = Message::read(entry, &file);
        let mut findings = check::findings(&message, &profile);
        findings.extend(duplicates.finding(&message));
        for finding in findings {
            found = true;
            let part = finding
                .part
                .map_or_else(String::new, |part| format!("part {part}: "));
            let line = format!("{}: {}: {part}{}", entry.id, finding.code, finding.text);
            writeln!(out, "{}", terminal::line(&line)).map_err(Failure::Output)?;
        }
    }
    let code = told(&unread);
    Ok(if found { ExitCode::FAILURE } else { code })
}

fn profile(command: &Command, matches: &Matches) -> Result<Profile, Failure> {
    let mut profile = match matches.opt_str("profile") {
        Some(path) => {
            let text = std::fs::read_to_string(&path)
                .map_err(|error| Failure::Failed(format!("--profile {path}: {error}")))?;
            Profile::parse(&text)
                .map_err(|error| Failure::Failed(format!("--profile {path}: {error}")))?
        }
        None => Profile::default(),
    };
    if let Some(text) = matches.opt_str("max-size") {
        let size =
            check::size(&text).map_err(|error| command.wrong(&format!("--max-size {error}")))?;
        profile.max_size = Some(size);
    }
    Ok(profile)
}

/// The transactions of the whole spool, from the header blocks.
fn duplicates(spool: &Spool, entries: &[Entry]) -> Duplicates {
    let mut duplicates = Duplicates::default();
    for entry in entries {
        // What cannot be read is told of when it is checked.
        if let Ok(file) = spool.read_header(entry) {
            duplicates.note(&Message::read_header(entry, &file));
        }
    }
    duplicates
}

fn respond(arguments: &[String], out: &mut dyn Write) -> Outcome {
    let mut command = Command::new(
        "respond",
        "[OPTIONS] SPOOL ID\n       mm4spool respond [OPTIONS] FILE",
        "Prints the RES that answers a REQ, for `sendmail -t` or `swaks --data -`: line\nends are LF. The address in To: is X-Mms-Originator-System, else Sender.",
    );
    command
        .options
        .optopt(
            "",
            "status",
            "X-Mms-Request-Status-Code (default Ok)",
            "CODE",
        )
        .optopt("", "text", "X-Mms-Status-Text", "TEXT")
        .optflag("", "force", "also when none was asked for");
    let Some(matches) = command.parse(arguments, out)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let word = matches.opt_str("status").unwrap_or_else(|| "Ok".to_owned());
    let status = respond::status(&word).ok_or_else(|| {
        command.wrong(&format!(
            "--status {word} is none of {}",
            REQUEST_STATUS_CODES.join(", ")
        ))
    })?;
    let text = matches.opt_str("text");
    if text
        .as_deref()
        .is_some_and(|text| text.chars().any(char::is_control))
    {
        return Err(command.wrong("--text takes one line without control characters"));
    }
    let answer = Answer {
        status: status.to_owned(),
        text,
        force: matches.opt_present("force"),
    };
    let (_, entry, file) = command.message(&matches)?;
    let message = Message::read(&entry, &file);
    let mail = respond::compose(&message, &answer, Timestamp::now(), std::process::id())
        .map_err(|error| Failure::Failed(format!("{}: {error}", entry.id)))?;
    print(out, &mail)
}

//! The table of all options, and what follows from it: the grammar of the
//! command line, `--help`, and the names that a configuration file may use.

use std::ffi::OsString;

use getopts::{Fail, HasArg, Matches, Occur, ParsingStyle};

use super::values::{Origin, Values};
use super::{OptionsError, usage_error};
use crate::server::config;

/// The column in which `--help` describes an option.
pub(super) const HELP_COLUMN: usize = 36;

/// One option.
pub(super) struct Declared {
    short: &'static str,
    pub(super) long: &'static str,
    /// The value's name in `--help`; empty for an option without a value.
    value: &'static str,
    pub(super) help: &'static str,
    repeatable: bool,
}

/// An option that takes a value and is given at most once.
const fn option(long: &'static str, value: &'static str, help: &'static str) -> Declared {
    Declared {
        short: "",
        long,
        value,
        help,
        repeatable: false,
    }
}

/// The same with a letter.
const fn lettered(
    short: &'static str,
    long: &'static str,
    value: &'static str,
    help: &'static str,
) -> Declared {
    Declared {
        short,
        ..option(long, value, help)
    }
}

/// The same, as often as wanted.
const fn repeatable(
    short: &'static str,
    long: &'static str,
    value: &'static str,
    help: &'static str,
) -> Declared {
    Declared {
        repeatable: true,
        ..lettered(short, long, value, help)
    }
}

/// Every option, in the order of `--help`. A line of help that is too long
/// continues after a line feed.
pub(super) const TABLE: &[Declared] = &[
    repeatable("l", "listen", "ADDR:PORT", "plain TCP listener, repeatable"),
    repeatable(
        "t",
        "tls-listen",
        "ADDR:PORT",
        "implicit-TLS listener, repeatable",
    ),
    option(
        "cert",
        "FILE",
        "PEM certificate chain, default certs/server.pem",
    ),
    option("key", "FILE", "PEM private key, default certs/server.key"),
    lettered("a", "accounts", "FILE", "accounts file, default accounts"),
    lettered(
        "s",
        "spool",
        "DIR",
        "Maildir to deliver into, default spool",
    ),
    lettered(
        "n",
        "hostname",
        "NAME",
        "name used in the banner, the trace and the ids,\ndefault the system's host name",
    ),
    option(
        "addresses",
        "e164|any",
        "mailboxes that MAIL and RCPT accept, default e164",
    ),
    option("max-message-size", "BYTES", "default 10485760"),
    option("max-recipients", "N", "per message, default 100"),
    option(
        "max-connections",
        "N",
        "all listeners together, default 1000",
    ),
    option(
        "max-connections-per-ip",
        "N",
        "per IPv4 address or IPv6 /64, default 100",
    ),
    option(
        "login-timeout",
        "SECONDS",
        "from accept to AUTH, default 60",
    ),
    option(
        "timeout",
        "SECONDS",
        "silence inside a session, default 300",
    ),
    option(
        "shutdown-grace",
        "SECONDS",
        "for messages in progress at SIGTERM, default 30",
    ),
    option(
        "drain",
        "SECONDS",
        "on SIGTERM serve open sessions this long while new\nones get 421, then shut down; default 0",
    ),
    option(
        "min-free",
        "BYTES",
        "reserve of free space, default 67108864, 0 disables",
    ),
    option(
        "min-rate",
        "N",
        "bytes per second a message must arrive at,\naveraged over a minute, default 100, 0 disables",
    ),
    option("no-sandbox", "", "do not confine the process"),
    option(
        "proxy-from",
        "NETWORKS",
        "connections from there begin with a PROXY protocol\nheader, version 1 or 2; a comma list",
    ),
    option(
        "metrics-file",
        "FILE",
        "write metrics here for Prometheus, every 15 seconds",
    ),
    option(
        "config",
        "FILE",
        "more options, one per line, without dashes",
    ),
    option(
        "check",
        "",
        "check the options and files, and start nothing",
    ),
    option(
        "add-account",
        "ID",
        "add an account and exit; the password is read from\nthe terminal or from standard input",
    ),
    option(
        "generate",
        "",
        "with --add-account: make a password, print it once",
    ),
    option(
        "networks",
        "NETWORKS",
        "with --add-account: accept logins from there alone",
    ),
    option("max", "N", "with --add-account: connections at a time"),
    option(
        "user",
        "NAME",
        "switch to this user after binding (as root)",
    ),
    lettered("h", "help", "", "print this help"),
    lettered("V", "version", "", "print the version"),
];

/// Options that a configuration file cannot hold.
const COMMAND_LINE_ONLY: &[&str] = &[
    "config",
    "check",
    "add-account",
    "generate",
    "networks",
    "max",
    "help",
    "version",
];

/// What the help says before and after the options.
const INTRODUCTION: &str = "\
mm4d receives multimedia messages over MM4 and spools each as an .eml file.

    mm4d [OPTIONS]
";
const CONCLUSION: &str = "
Without a listener option it listens on 127.0.0.1:2525 (plain) and
127.0.0.1:2465 (TLS). RUST_LOG sets the log level, default info.
";

/// The option that a configuration file calls `name`.
pub(super) fn declared(name: &str) -> Option<config::Name> {
    let found = TABLE.iter().find(|declared| declared.long == name)?;
    Some(config::Name {
        long: found.long,
        has_value: !found.value.is_empty(),
        repeatable: found.repeatable,
        allowed: !COMMAND_LINE_ONLY.contains(&found.long),
    })
}

/// The options that were typed, and everything that is wrong with their form.
pub(super) fn command_line(
    arguments: impl IntoIterator<Item = OsString>,
) -> (Values, Vec<OptionsError>) {
    let (mut texts, mut faults) = (Vec::new(), Vec::new());
    for argument in arguments {
        match argument.into_string() {
            Ok(text) => texts.push(text),
            Err(argument) => faults.push(format!("argument {argument:?} is not UTF-8")),
        }
    }
    let (matches, fails) = parse(texts);
    faults.extend(fails.iter().map(describe));
    let mut values = Values::default();
    if let Some(matches) = matches {
        let extra = matches.free.iter();
        faults.extend(extra.map(|extra| format!("unexpected argument '{extra}'")));
        for declared in TABLE {
            let mut texts = match declared.value {
                "" => vec![String::new(); matches.opt_count(declared.long)],
                _ => matches.opt_strs(declared.long),
            };
            if texts.len() > 1 && !declared.repeatable {
                faults.push(format!("option --{} is given twice", declared.long));
                texts.truncate(1);
            }
            values.add(declared.long, texts, &Origin::CommandLine);
        }
    }
    (values, faults.into_iter().map(usage_error).collect())
}

/// What getopts makes of the arguments, without those that it cannot use.
fn parse(texts: Vec<String>) -> (Option<Matches>, Vec<Fail>) {
    let grammar = grammar();
    if let Ok(matches) = grammar.parse(&texts) {
        return (Some(matches), Vec::new());
    }
    // It ends at the first fault, so that it gets one argument more at a time. An option
    // whose value is still to come is not a fault.
    let (mut good, mut fails) = (Vec::new(), Vec::new());
    for text in texts {
        good.push(text);
        match grammar.parse(&good) {
            Ok(_) | Err(Fail::ArgumentMissing(_)) => {}
            Err(fail) => {
                good.pop();
                fails.push(fail);
            }
        }
    }
    match grammar.parse(&good) {
        Ok(matches) => (Some(matches), fails),
        Err(fail) => {
            good.pop();
            fails.push(fail);
            (grammar.parse(&good).ok(), fails)
        }
    }
}

fn grammar() -> getopts::Options {
    let mut options = getopts::Options::new();
    options.parsing_style(ParsingStyle::FloatingFrees);
    for declared in TABLE {
        let (has_value, occur) = match declared.value {
            "" => (HasArg::No, Occur::Multi),
            _ => (HasArg::Yes, Occur::Multi),
        };
        options.opt(declared.short, declared.long, "", "", has_value, occur);
    }
    options
}

pub(super) fn help() -> String {
    let mut text = format!("{INTRODUCTION}\n");
    for declared in TABLE {
        let letter = match declared.short {
            "" => "    ".to_owned(),
            letter => format!("-{letter}, "),
        };
        let names = format!("    {letter}--{} {}", declared.long, declared.value);
        let indent = format!("\n{:HELP_COLUMN$}", "");
        let lines = declared.help.replace('\n', &indent);
        text.push_str(&format!("{:HELP_COLUMN$}{lines}\n", names.trim_end()));
    }
    text + CONCLUSION
}

/// What getopts found wrong.
fn describe(fail: &Fail) -> String {
    let dashed = |name: &str| match name.chars().count() {
        1 => format!("-{name}"),
        _ => format!("--{name}"),
    };
    match fail {
        Fail::ArgumentMissing(name) => format!("option {} needs a value", dashed(name)),
        Fail::UnrecognizedOption(name) => format!("unknown option '{}'", dashed(name)),
        Fail::OptionDuplicated(name) => format!("option {} is given twice", dashed(name)),
        Fail::UnexpectedArgument(name) => format!("option {} takes no value", dashed(name)),
        Fail::OptionMissing(name) => format!("option {} is missing", dashed(name)),
    }
}

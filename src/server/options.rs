//! The options: given on the command line or in a configuration file, parsed into
//! [`Options`].
//!
//! `table` declares them, `values` holds them as they were given, `build` makes
//! [`Options`] of that. Every option but the listeners may be given once, and an
//! error names the option, or the file and line, that it is about.

mod build;
mod table;
mod values;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use self::table::{command_line, declared, help};
pub(super) use self::values::{Invalid, Origin, Values};
use super::config;
use super::files::Source;
use crate::smtp::{Addresses, Limits, SystemId};

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// Run the server.
    Run(CommandLine),
    /// Report what the server would do, and every problem.
    Check(CommandLine),
    /// Add an account.
    AddAccount(NewAccount, CommandLine),
    /// Print this text and exit.
    Print(String),
}

/// How the server is to run.
#[derive(Debug)]
pub struct Options {
    /// Where to listen; never empty.
    pub listeners: Vec<Listen>,
    /// Whether they are the default, because none was given.
    pub has_default_listeners: bool,
    /// PEM certificate chain.
    pub cert: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
    /// The accounts file.
    pub accounts: PathBuf,
    /// The Maildir to deliver into.
    pub spool: PathBuf,
    /// The name in the banner, the trace and the ids.
    pub hostname: String,
    /// Which mailboxes MAIL and RCPT accept.
    pub addresses: Addresses,
    /// Limits of a session.
    pub limits: Limits,
    /// Connections of all listeners together.
    pub max_connections: u32,
    /// Connections of one address.
    pub max_connections_per_ip: u32,
    /// From accept to a successful AUTH.
    pub login_timeout: Duration,
    /// Silence inside a session.
    pub timeout: Duration,
    /// How long a message in progress may take to finish at a shutdown.
    pub shutdown_grace: Duration,
    /// On SIGTERM, how long open sessions are served while new ones get 421.
    pub drain: Duration,
    /// Bytes that stay free on the spool's file system; 0 disables the check.
    pub min_free: u64,
    /// Bytes per second at which a message must arrive, averaged over a
    /// minute; 0 disables the check.
    pub min_rate: u64,
    /// Whether the process confines itself.
    pub sandbox: bool,
    /// Where connections begin with a header of the PROXY protocol.
    pub proxy_from: Vec<IpNet>,
    /// The file that receives the metrics.
    pub metrics_file: Option<PathBuf>,
    /// The user to run as once the listeners are bound.
    pub user: Option<String>,
}

impl Options {
    /// Whether a listener needs the certificate and its key.
    pub(crate) fn has_tls(&self) -> bool {
        self.listeners.iter().any(|listen| listen.tls)
    }
}

/// What kind of listener, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// TLS from the first byte on, or none at all.
    pub tls: bool,
    /// A host name, an IPv4 address, or an IPv6 address without its brackets.
    pub host: String,
    /// 0 picks a free port.
    pub port: u16,
}

impl Listen {
    /// The option that asks for such a listener.
    pub fn option(&self) -> &'static str {
        if self.tls { "--tls-listen" } else { "--listen" }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Why there are no options: one line that names the option, or the file and
/// line, and what is expected there.
#[derive(Debug, PartialEq, Eq)]
pub enum OptionsError {
    /// The command line is invalid.
    Usage(String),
    /// The configuration file is invalid or cannot be read.
    File(String),
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OptionsError::Usage(text) => write!(f, "{text}; see mm4d --help"),
            OptionsError::File(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for OptionsError {}

fn usage_error(text: impl Into<String>) -> OptionsError {
    OptionsError::Usage(text.into())
}

/// The account that `--add-account` adds.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// Its name.
    pub id: SystemId,
    /// Whether mm4d makes the password.
    pub generate: bool,
    /// Where logins are accepted from; empty: from anywhere.
    pub networks: Vec<IpNet>,
    /// Connections at a time.
    pub max: Option<u32>,
}

/// A command line whose values are valid. Its configuration file is not read yet.
#[derive(Debug)]
pub struct CommandLine(Values);

impl CommandLine {
    /// The options, and those of the configuration file. Reads it.
    ///
    /// # Errors
    ///
    /// The first one in the file.
    pub fn options(self) -> Result<Options, OptionsError> {
        build::options(&self.values()?)
    }

    /// The accounts file alone.
    ///
    /// # Errors
    ///
    /// The first one in the configuration file.
    pub fn accounts(self) -> Result<PathBuf, OptionsError> {
        self.values()?.path("accounts", build::ACCOUNTS)
    }

    fn values(self) -> Result<Values, OptionsError> {
        let Some(file) = self.0.one("config") else {
            return Ok(self.0);
        };
        let (values, mut errors) = config::read(&file.text, Source::Anything, declared);
        let (values, invalid) = values.split_invalid();
        errors.extend(invalid);
        match errors.into_iter().next() {
            Some(invalid) => Err(invalid.error),
            None => Ok(self.0.or(values)),
        }
    }

    /// As [`CommandLine::options`], but goes on after an error.
    pub(super) fn examine(self) -> Examined {
        let Some(file) = self.0.one("config") else {
            return Examined::new(&self.0, Vec::new(), false);
        };
        let (values, mut invalid) = config::read(&file.text, Source::RegularFile, declared);
        let is_unreadable = invalid.iter().any(|invalid| invalid.is_whole_file);
        let (values, others) = values.split_invalid();
        invalid.extend(others);
        Examined::new(&self.0.or(values), invalid, is_unreadable)
    }
}

/// The options as far as they are valid.
#[derive(Debug)]
pub(super) struct Examined {
    /// `None`: there are none without the ones that are invalid.
    pub(super) options: Option<Options>,
    /// Everything that is wrong.
    pub(super) errors: Vec<OptionsError>,
    /// Options whose value is not known: what they name is not to be checked.
    unknown: Vec<&'static str>,
}

impl Examined {
    fn new(values: &Values, invalid: Vec<Invalid>, is_unreadable: bool) -> Examined {
        let mut unknown: Vec<_> = invalid.iter().filter_map(|invalid| invalid.name).collect();
        if is_unreadable {
            let names = table::TABLE.iter().map(|declared| declared.long);
            unknown.extend(names.filter(|name| !values.is_given(name)));
        }
        let mut errors: Vec<_> = invalid.into_iter().map(|invalid| invalid.error).collect();
        let options = build::options(values).map_err(|error| errors.push(error));
        Examined {
            options: options.ok(),
            errors,
            unknown,
        }
    }

    /// Whether the value of this option, or its absence, is certain.
    pub(super) fn knows(&self, name: &str) -> bool {
        !self.unknown.contains(&name)
    }
}

/// Parses the command line, without the program's own name.
///
/// # Errors
///
/// The first usage error; with `--check` all of them.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Invocation, Vec<OptionsError>> {
    let (typed, mut errors) = command_line(arguments);
    if errors.is_empty() && typed.is_given("help") {
        return Ok(Invocation::Print(help()));
    }
    if errors.is_empty() && typed.is_given("version") {
        let version = format!("mm4d {}\n", env!("CARGO_PKG_VERSION"));
        return Ok(Invocation::Print(version));
    }
    let is_check = typed.is_given("check");
    let (typed, invalid) = typed.split_invalid();
    errors.extend(invalid.into_iter().map(|invalid| invalid.error));
    let new_account = match errors.is_empty() {
        true => build::new_account(&typed).map_err(|error| errors.push(error)),
        false => Ok(None),
    };
    if !errors.is_empty() {
        errors.truncate(if is_check { errors.len() } else { 1 });
        return Err(errors);
    }
    let command_line = CommandLine(typed);
    Ok(match new_account {
        Ok(Some(account)) => Invocation::AddAccount(account, command_line),
        _ if is_check => Invocation::Check(command_line),
        _ => Invocation::Run(command_line),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]

    use super::table::{HELP_COLUMN, TABLE};
    use super::*;
    use crate::spool::id::MAX_SERVER_NAME;

    fn run(arguments: &[&str]) -> Result<Options, String> {
        match parse(arguments.iter().map(OsString::from)) {
            Ok(Invocation::Run(command_line)) => {
                command_line.options().map_err(|error| error.to_string())
            }
            Ok(other) => panic!("{other:?}"),
            Err(errors) => Err(errors[0].to_string()),
        }
    }

    #[test]
    fn without_options_the_defaults_hold() {
        let options = run(&[]).unwrap();
        let shown: Vec<_> = options.listeners.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["127.0.0.1:2525", "127.0.0.1:2465"]);
        assert_eq!(options.limits.max_message_size, 10_485_760);
        assert_eq!(options.timeout, Duration::from_secs(300));
        assert_eq!(options.addresses, Addresses::E164);
    }

    #[test]
    fn given_listeners_replace_both() {
        let options = run(&[
            "-l",
            "localhost:0",
            "--listen=[::1]:25",
            "-t",
            "0.0.0.0:465",
        ])
        .unwrap();
        let shown: Vec<_> = options
            .listeners
            .iter()
            .map(|listen| format!("{} {listen}", listen.tls))
            .collect();
        assert_eq!(
            shown,
            ["false localhost:0", "false [::1]:25", "true 0.0.0.0:465"]
        );
    }

    #[test]
    fn an_invalid_command_line_names_the_option() {
        for (arguments, named) in [
            (&["--listen", "127.0.0.1"][..], "--listen"),
            (&["-l", "::1:25"], "--listen"),
            (&["-l", "host:65536"], "--listen"),
            (&["-l", "host:+1"], "--listen"),
            (&["-t", ":25"], "--tls-listen"),
            (&["--hostname", ""], "--hostname"),
            (&["--hostname", "a/b"], "--hostname"),
            (&["--hostname", "-a"], "--hostname"),
            (&["--hostname", "."], "--hostname"),
            (&["--hostname", ".."], "--hostname"),
            (&["--hostname", "..."], "--hostname"),
            (&["--addresses", "all"], "--addresses"),
            (&["--max-recipients", "0"], "--max-recipients"),
            (&["--timeout", "1.5"], "--timeout"),
            (&["--timeout", "-1"], "--timeout"),
            (
                &["--login-timeout", "99999999999999999999"],
                "--login-timeout",
            ),
            (&["--max-message-size", "+1"], "--max-message-size"),
            (&["--spool", ""], "--spool"),
            (&["--spool"], "--spool"),
            (&["--user", ""], "--user"),
            (&["--cert", "a", "--cert", "b"], "--cert"),
            (&["--colour"], "--colour"),
            (&["-x"], "-x"),
            (&["start"], "unexpected argument 'start'"),
            (&["--no-sandbox=1"], "--no-sandbox"),
            (&["--generate"], "--generate"),
            (&["--networks", "192.0.2.0/24"], "--networks"),
            (&["--max", "1"], "--max"),
            (&["--add-account", "a:b"], "--add-account"),
            (&["--add-account", "#a"], "--add-account"),
            (&["--add-account", "a", "--max", "0"], "--max"),
            (
                &["--add-account", "a", "--networks", "1.2.3.4/8"],
                "--networks",
            ),
            (&["--add-account", "a", "--check"], "--check"),
        ] {
            let error = run(arguments).unwrap_err();
            assert!(error.contains(named), "{arguments:?}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
        let longest = "n".repeat(MAX_SERVER_NAME);
        assert!(run(&["-n", &longest]).is_ok());
        assert!(run(&["-n", &format!("{longest}n")]).is_err());
        assert!(run(&["--shutdown-grace", "0"]).is_ok());
        assert!(run(&["--drain", "0"]).is_ok());
    }

    #[test]
    fn help_describes_every_option_in_one_column() {
        let Ok(Invocation::Print(text)) = parse(["--help".into()]) else {
            panic!("no help");
        };
        for declared in TABLE {
            let line = text
                .lines()
                .find(|line| line.contains(&format!("--{} ", declared.long)))
                .unwrap_or_else(|| panic!("{} is missing", declared.long));
            let described = line.get(HELP_COLUMN..).unwrap();
            assert!(declared.help.starts_with(described), "{line}");
            assert!(line.get(..HELP_COLUMN).unwrap().ends_with(' '), "{line}");
        }
        assert!(text.lines().all(|line| line.len() <= 88), "{text}");
    }

    #[test]
    fn the_command_line_takes_precedence_over_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "# a comment\r\n\n listen  [::1]:1 \nlisten 127.0.0.1:2\ntls-listen h:3\nno-sandbox\nspool /a b\ntimeout 7\n";
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().to_str().unwrap();
        let shown = |options: &Options| {
            let listeners: Vec<_> = options.listeners.iter().map(ToString::to_string).collect();
            listeners.join(" ")
        };
        let options = run(&["--config", path]).unwrap();
        assert_eq!(shown(&options), "[::1]:1 127.0.0.1:2 h:3");
        assert_eq!(options.spool, PathBuf::from("/a b"));
        assert!(!options.sandbox);
        let options = run(&["-l", "x:9", "--timeout", "8", "--config", path]).unwrap();
        assert_eq!(shown(&options), "x:9 h:3");
        assert_eq!(options.timeout, Duration::from_secs(8));
    }

    #[test]
    fn an_invalid_line_of_the_file_is_named_even_where_the_command_line_replaces_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        for (text, expected) in [
            ("timeout 0", ":1: invalid timeout '0'"),
            ("#\n\ncolour red", ":3: unknown option 'colour'"),
            ("--listen h:1", "without dashes"),
            ("config x", "'config' belongs on the command line"),
            ("help", "'help' belongs on the command line"),
            (
                "timeout 5\ntimeout 5",
                ":2: option 'timeout' is given twice",
            ),
            ("no-sandbox yes", "takes no value"),
            ("timeout", "needs a value"),
            ("spool /a # here", "a comment after the value of 'spool'"),
            ("spool\t# here", "a comment after the value of 'spool'"),
            ("no-sandbox # yet", "a comment after"),
            ("spool \"/a b\"", "quotes around the value of 'spool'"),
            ("hostname -x", ":1: invalid hostname '-x'"),
        ] {
            std::fs::write(file.path(), text).unwrap();
            let error = run(&["--timeout", "9", "--config", path]).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(error.contains(path) && !error.contains("--help"), "{error}");
        }
        let error = run(&["--config", "/nonexistent"]).unwrap_err();
        assert!(error.contains("/nonexistent"), "{error}");
    }
}

//! The options: given on the command line or in a configuration file, parsed
//! into [`Options`].
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
pub(super) use self::values::{Origin, Values};
use super::config;
use crate::smtp::{Addresses, Limits};

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// Run the server.
    Run(Box<Options>),
    /// Print this text and exit.
    Print(String),
}

/// How the server is to run.
#[derive(Debug)]
pub struct Options {
    /// Where to listen; never empty.
    pub listeners: Vec<Listen>,
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
    pub fn has_tls(&self) -> bool {
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

/// Parses the command line, without the program's own name, and the
/// configuration file that it names.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, OptionsError> {
    let typed = command_line(arguments)?;
    if typed.is_given("help") {
        return Ok(Invocation::Print(help()));
    }
    if typed.is_given("version") {
        let version = format!("mm4d {}\n", env!("CARGO_PKG_VERSION"));
        return Ok(Invocation::Print(version));
    }
    if let Some(error) = typed.errors().into_iter().next() {
        return Err(error);
    }
    let file = typed.one("config").map(|value| value.text.clone());
    let values = match file {
        Some(file) => typed.or(configured(&file)?),
        None => typed,
    };
    build::options(&values).map(|options| Invocation::Run(Box::new(options)))
}

/// What `path` holds, without errors.
fn configured(path: &str) -> Result<Values, OptionsError> {
    let (values, mut errors) = config::read(path, declared);
    errors.extend(values.errors());
    match errors.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(values),
    }
}

#[cfg(test)]
mod tests {
    use super::table::{HELP_COLUMN, TABLE};
    use super::*;
    use crate::spool::id::MAX_SERVER_NAME;

    fn run(arguments: &[&str]) -> Result<Options, String> {
        match parse(arguments.iter().map(OsString::from)) {
            Ok(Invocation::Run(options)) => Ok(*options),
            Ok(Invocation::Print(text)) => panic!("{text}"),
            Err(error) => Err(error.to_string()),
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

//! The options: declared once in [`TABLE`], given on the command line or in a
//! configuration file, parsed into [`Options`].
//!
//! Every number has a range, every option but the listeners may be given once,
//! and an error names the option, or the file and line, that it is about.

use std::ffi::OsString;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use getopts::{Fail, HasArg, Occur, ParsingStyle};

use ipnet::IpNet;

use super::accounts::parse_network;
use super::config;
use crate::smtp::{Addresses, Limits};
use crate::spool::id::{MAX_SERVER_NAME, is_server_name};

/// The column in which `--help` describes an option.
const HELP_COLUMN: usize = 36;

/// One option.
struct Declared {
    short: &'static str,
    long: &'static str,
    /// The value's name in `--help`; empty for an option without a value.
    value: &'static str,
    help: &'static str,
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
const TABLE: &[Declared] = &[
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
    lettered("h", "help", "", "print this help"),
    lettered("V", "version", "", "print the version"),
];

/// Options that a configuration file cannot hold.
const COMMAND_LINE_ONLY: &[&str] = &["config", "help", "version"];

/// What the help says before and after the options.
const INTRODUCTION: &str = "\
mm4d receives multimedia messages over MM4 and spools each as an .eml file.

    mm4d [OPTIONS]
";
const CONCLUSION: &str = "
Without a listener option it listens on 127.0.0.1:2525 (plain) and
127.0.0.1:2465 (TLS). RUST_LOG sets the log level, default info.
";

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
    options(&values).map(|options| Invocation::Run(Box::new(options)))
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

/// The option that a configuration file calls `name`.
fn declared(name: &str) -> Option<config::Name> {
    let found = TABLE.iter().find(|declared| declared.long == name)?;
    Some(config::Name {
        long: found.long,
        has_value: !found.value.is_empty(),
        repeatable: found.repeatable,
        allowed: !COMMAND_LINE_ONLY.contains(&found.long),
    })
}

/// The options that were typed.
fn command_line(arguments: impl IntoIterator<Item = OsString>) -> Result<Values, OptionsError> {
    let arguments = arguments
        .into_iter()
        .map(|argument| {
            argument
                .into_string()
                .map_err(|argument| usage_error(format!("argument {argument:?} is not UTF-8")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let matches = grammar()
        .parse(arguments)
        .map_err(|fail| usage_error(describe(&fail)))?;
    if let Some(extra) = matches.free.first() {
        return Err(usage_error(format!("unexpected argument '{extra}'")));
    }
    let mut values = Values::default();
    for declared in TABLE {
        let texts = match declared.value {
            "" => vec![String::new(); matches.opt_count(declared.long)],
            _ => matches.opt_strs(declared.long),
        };
        values.add(declared.long, texts, &Origin::CommandLine);
    }
    Ok(values)
}

fn grammar() -> getopts::Options {
    let mut options = getopts::Options::new();
    options.parsing_style(ParsingStyle::FloatingFrees);
    for declared in TABLE {
        let (has_value, occur) = match (declared.value, declared.repeatable) {
            ("", _) => (HasArg::No, Occur::Optional),
            (_, true) => (HasArg::Yes, Occur::Multi),
            (_, false) => (HasArg::Yes, Occur::Optional),
        };
        options.opt(declared.short, declared.long, "", "", has_value, occur);
    }
    options
}

fn help() -> String {
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

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    CommandLine,
    Line { file: String, number: usize },
}

impl Origin {
    /// An error about something that was given there.
    pub(super) fn error(&self, text: &str) -> OptionsError {
        match self {
            Origin::CommandLine => usage_error(text),
            Origin::Line { file, number } => OptionsError::File(format!("{file}:{number}: {text}")),
        }
    }
}

/// One option as it was given; an option without a value has an empty text.
#[derive(Clone, Debug)]
pub(super) struct Value {
    name: &'static str,
    text: String,
    origin: Origin,
}

impl Value {
    /// This value is not what the option expects.
    fn invalid(&self, expected: impl fmt::Display) -> OptionsError {
        let Value { name, text, origin } = self;
        let dashes = match origin {
            Origin::CommandLine => "--",
            Origin::Line { .. } => "",
        };
        origin.error(&format!(
            "invalid {dashes}{name} '{text}': expected {expected}"
        ))
    }
}

/// The options that were given, in any order.
#[derive(Clone, Debug, Default)]
pub(super) struct Values(Vec<Value>);

impl Values {
    pub(super) fn add(
        &mut self,
        name: &'static str,
        texts: impl IntoIterator<Item = String>,
        origin: &Origin,
    ) {
        self.0.extend(texts.into_iter().map(|text| Value {
            name,
            text,
            origin: origin.clone(),
        }));
    }

    pub(super) fn is_given(&self, name: &str) -> bool {
        self.one(name).is_some()
    }

    fn one(&self, name: &str) -> Option<&Value> {
        self.all(name).next()
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |value| value.name == name)
    }

    /// These, and those of `other` for the options that are not given here.
    fn or(mut self, other: Values) -> Values {
        let rest = other
            .0
            .into_iter()
            .filter(|value| !self.is_given(value.name));
        let rest: Vec<_> = rest.collect();
        self.0.extend(rest);
        self
    }

    /// Every value that is invalid in itself.
    fn errors(&self) -> Vec<OptionsError> {
        let alone = |value: &Value| {
            let mut values = vec![value.clone()];
            if value.name != "hostname" {
                // The system's name is no matter of this value.
                values.push(Value {
                    name: "hostname",
                    text: "localhost".to_owned(),
                    origin: Origin::CommandLine,
                });
            }
            options(&Values(values)).err()
        };
        self.0.iter().filter_map(alone).collect()
    }

    fn path(&self, name: &str, default: &str) -> Result<PathBuf, OptionsError> {
        match self.one(name) {
            Some(value) if value.text.is_empty() => Err(value.invalid("a path")),
            Some(value) => Ok(PathBuf::from(&value.text)),
            None => Ok(PathBuf::from(default)),
        }
    }

    /// A decimal number without a sign.
    fn number(
        &self,
        name: &str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Result<u64, OptionsError> {
        let Some(value) = self.one(name) else {
            return Ok(default);
        };
        whole_number(&value.text)
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                let (least, most) = range.into_inner();
                value.invalid(format_args!("a whole number from {least} to {most}"))
            })
    }

    fn count(&self, name: &str, default: u32) -> Result<u32, OptionsError> {
        let number = self.number(name, default.into(), 1..=u32::MAX.into())?;
        Ok(u32::try_from(number).unwrap_or(u32::MAX))
    }

    /// Whole seconds, as many as fit into 32 bits.
    fn seconds(&self, name: &str, default: u64, least: u64) -> Result<Duration, OptionsError> {
        self.number(name, default, least..=u32::MAX.into())
            .map(Duration::from_secs)
    }
}

fn whole_number(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

fn options(values: &Values) -> Result<Options, OptionsError> {
    let largest = i64::MAX as u64;
    let default_size = Limits::default().max_message_size;
    Ok(Options {
        listeners: listeners(values)?,
        cert: values.path("cert", "certs/server.pem")?,
        key: values.path("key", "certs/server.key")?,
        accounts: values.path("accounts", "accounts")?,
        spool: values.path("spool", "spool")?,
        hostname: hostname(values)?,
        addresses: addresses(values)?,
        limits: Limits {
            max_message_size: values.number("max-message-size", default_size, 1..=largest)?,
            max_recipients: values.count("max-recipients", 100)? as usize,
        },
        max_connections: values.count("max-connections", 1000)?,
        max_connections_per_ip: values.count("max-connections-per-ip", 100)?,
        login_timeout: values.seconds("login-timeout", 60, 1)?,
        timeout: values.seconds("timeout", 300, 1)?,
        shutdown_grace: values.seconds("shutdown-grace", 30, 0)?,
        drain: values.seconds("drain", 0, 0)?,
        min_free: values.number("min-free", 64 * 1024 * 1024, 0..=largest)?,
        min_rate: values.number("min-rate", 100, 0..=u32::MAX.into())?,
        sandbox: !values.is_given("no-sandbox"),
        proxy_from: proxy_from(values)?,
        metrics_file: values
            .is_given("metrics-file")
            .then(|| values.path("metrics-file", ""))
            .transpose()?,
    })
}

fn listeners(values: &Values) -> Result<Vec<Listen>, OptionsError> {
    let mut found = Vec::new();
    for (name, tls) in [("listen", false), ("tls-listen", true)] {
        for value in values.all(name) {
            let listen = listen(&value.text, tls)
                .ok_or_else(|| value.invalid("ADDR:PORT, with an IPv6 address in brackets"))?;
            found.push(listen);
        }
    }
    if found.is_empty() {
        for (tls, port) in [(false, 2525), (true, 2465)] {
            let host = Ipv4Addr::LOCALHOST.to_string();
            found.push(Listen { tls, host, port });
        }
    }
    Ok(found)
}

fn listen(text: &str, tls: bool) -> Option<Listen> {
    let (host, port) = text.rsplit_once(':')?;
    let port = whole_number(port)?.try_into().ok()?;
    let host = match host.strip_prefix('[') {
        Some(rest) => {
            let address: Ipv6Addr = rest.strip_suffix(']')?.parse().ok()?;
            address.to_string()
        }
        // An IPv6 address without brackets.
        None if host.contains(':') => return None,
        None => host.to_owned(),
    };
    (!host.is_empty()).then_some(Listen { tls, host, port })
}

fn hostname(values: &Values) -> Result<String, OptionsError> {
    let expected = format!(
        "1 to {MAX_SERVER_NAME} letters, digits, '-', '.' and '_', \
         not beginning with '-' and not dots alone"
    );
    match values.one("hostname") {
        Some(value) if is_hostname(&value.text) => Ok(value.text.clone()),
        Some(value) => Err(value.invalid(expected)),
        None => {
            let system = rustix::system::uname();
            let name = system.nodename().to_string_lossy().into_owned();
            if is_hostname(&name) {
                return Ok(name);
            }
            Err(usage_error(format!(
                "invalid system host name '{name}': expected {expected}; give --hostname NAME"
            )))
        }
    }
}

/// The name is part of file names, and of command lines of those who handle
/// these files.
fn is_hostname(name: &str) -> bool {
    is_server_name(name) && !name.starts_with('-') && name.bytes().any(|byte| byte != b'.')
}

fn proxy_from(values: &Values) -> Result<Vec<IpNet>, OptionsError> {
    let Some(value) = values.one("proxy-from") else {
        return Ok(Vec::new());
    };
    value
        .text
        .split(',')
        .map(|network| parse_network(network.trim()).map_err(|error| value.invalid(error)))
        .collect()
}

fn addresses(values: &Values) -> Result<Addresses, OptionsError> {
    let Some(value) = values.one("addresses") else {
        return Ok(Addresses::E164);
    };
    match value.text.as_str() {
        "e164" => Ok(Addresses::E164),
        "any" => Ok(Addresses::Any),
        _ => Err(value.invalid("e164 or any")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

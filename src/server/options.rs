//! The command line: options as typed, then as meant.

use std::ffi::OsString;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use getopts::{Matches, ParsingStyle};

use crate::smtp::{Addresses, Limits};
use crate::spool::id::{MAX_SERVER_NAME, is_server_name};

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// Run the server.
    Run(Box<Options>),
    /// Print this and end.
    Print(String),
}

/// What the server is to do.
#[derive(Debug)]
pub struct Options {
    /// Where to listen; never empty.
    pub listeners: Vec<Listen>,
    /// PEM chain.
    pub cert: PathBuf,
    /// PEM key.
    pub key: PathBuf,
    /// The accounts file.
    pub accounts: PathBuf,
    /// The Maildir that receives.
    pub spool: PathBuf,
    /// The name in the banner, the trace and the ids.
    pub hostname: String,
    /// Which mailboxes MAIL and RCPT take.
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
    /// How long a mail in progress may take to finish at a shutdown.
    pub shutdown_grace: Duration,
    /// On SIGTERM, how long open sessions are served while new ones get 421.
    pub drain: Duration,
    /// Octets that stay free on the spool's file system; 0 turns the guard off.
    pub min_free: u64,
    /// Octets per second that a mail must bring, averaged over a minute; 0
    /// turns the floor off.
    pub min_rate: u64,
    /// Whether the process confines itself.
    pub sandbox: bool,
}

/// What kind of listener, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// TLS from the first octet on, or none at all.
    pub tls: bool,
    /// A host name, an IPv4 address, or an IPv6 address without its brackets.
    pub host: String,
    /// 0 takes a free port.
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

/// A command line that cannot be meant: one line that names the option and
/// says how to mend it.
#[derive(Debug, PartialEq, Eq)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; see mm4d --help", self.0)
    }
}

impl std::error::Error for UsageError {}

fn usage_error(text: impl Into<String>) -> UsageError {
    UsageError(text.into())
}

/// Reads the command line, without the program's own name.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, UsageError> {
    let arguments = arguments
        .into_iter()
        .map(|argument| {
            argument.into_string().map_err(|argument| {
                usage_error(format!(
                    "{argument:?} is not UTF-8, which arguments must be"
                ))
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let options = declared();
    let matches = options
        .parse(arguments)
        .map_err(|fail| usage_error(describe(&fail)))?;
    if matches.opt_present("help") {
        return Ok(Invocation::Print(help(&options)));
    }
    if matches.opt_present("version") {
        return Ok(Invocation::Print(format!(
            "mm4d {}\n",
            env!("CARGO_PKG_VERSION")
        )));
    }
    if let Some(extra) = matches.free.first() {
        return Err(usage_error(format!(
            "{extra:?} is not an option; remove it"
        )));
    }
    meant(&matches).map(|options| Invocation::Run(Box::new(options)))
}

fn declared() -> getopts::Options {
    let mut options = getopts::Options::new();
    options.parsing_style(ParsingStyle::FloatingFrees);
    options.optmulti("l", "listen", "plain TCP listener, repeatable", "ADDR:PORT");
    options.optmulti("t", "tls-listen", "implicit-TLS listener, repeatable; without any listener option 127.0.0.1:2525 plain and 127.0.0.1:2465 TLS", "ADDR:PORT");
    options.optopt("", "cert", "PEM chain, default certs/server.pem", "FILE");
    options.optopt("", "key", "PEM key, default certs/server.key", "FILE");
    options.optopt(
        "a",
        "accounts",
        "system_id:hash lines, default accounts",
        "FILE",
    );
    options.optopt("s", "spool", "Maildir that receives, default spool", "DIR");
    options.optopt(
        "n",
        "hostname",
        "name in the banner, the trace and the ids, default the system's host name",
        "NAME",
    );
    options.optopt(
        "",
        "addresses",
        "mailboxes that MAIL and RCPT take, default e164",
        "e164|any",
    );
    options.optopt("", "max-message-size", "default 10485760", "BYTES");
    options.optopt("", "max-recipients", "default 100", "N");
    options.optopt(
        "",
        "max-connections",
        "all listeners together, default 1000",
        "N",
    );
    options.optopt("", "max-connections-per-ip", "default 100", "N");
    options.optopt(
        "",
        "login-timeout",
        "from accept to AUTH, default 60",
        "SECONDS",
    );
    options.optopt(
        "",
        "timeout",
        "silence inside a session, default 300",
        "SECONDS",
    );
    options.optopt(
        "",
        "shutdown-grace",
        "for mails in progress at SIGTERM, default 30",
        "SECONDS",
    );
    options.optopt(
        "",
        "drain",
        "on SIGTERM serve open sessions this long while new ones get 421, then shut down, default 0",
        "SECONDS",
    );
    options.optopt("", "min-free", "room that stays free in the spool beside one maximum mail for each open transaction, 0 turns the guard off, default 67108864", "BYTES");
    options.optopt("", "min-rate", "octets per second that a mail must bring, averaged over a minute, 0 turns the floor off, default 100", "N");
    options.optflag("", "no-sandbox", "do not confine the process with Landlock");
    options.optflag("h", "help", "print this");
    options.optflag("V", "version", "print the version");
    options
}

fn help(options: &getopts::Options) -> String {
    options.usage("mm4d receives multimedia messages over MM4 and spools each as an .eml file.\n\nUsage: mm4d [OPTIONS]")
}

/// What getopts found wrong, and the mend.
fn describe(fail: &getopts::Fail) -> String {
    use getopts::Fail;
    let named = |name: &str| {
        if name.chars().count() == 1 {
            format!("-{name}")
        } else {
            format!("--{name}")
        }
    };
    match fail {
        Fail::ArgumentMissing(name) => format!("{} needs a value", named(name)),
        Fail::UnrecognizedOption(name) => format!("{} is not an option; remove it", named(name)),
        Fail::OptionDuplicated(name) => format!("{} is given twice; give it once", named(name)),
        Fail::UnexpectedArgument(name) => format!("{} takes no value; remove it", named(name)),
        Fail::OptionMissing(name) => format!("{} is missing; give it", named(name)),
    }
}

fn meant(matches: &Matches) -> Result<Options, UsageError> {
    let path = |name, default: &str| {
        let path = matches.opt_str(name).unwrap_or_else(|| default.to_owned());
        if path.is_empty() {
            return Err(usage_error(format!("--{name} is empty; give a path")));
        }
        Ok(PathBuf::from(path))
    };
    let seconds = |name, default, least| number(matches, name, default, least, u32::MAX.into());
    Ok(Options {
        listeners: listeners(matches)?,
        cert: path("cert", "certs/server.pem")?,
        key: path("key", "certs/server.key")?,
        accounts: path("accounts", "accounts")?,
        spool: path("spool", "spool")?,
        hostname: hostname(matches)?,
        addresses: addresses(matches)?,
        limits: Limits {
            max_message_size: number(
                matches,
                "max-message-size",
                Limits::default().max_message_size,
                1,
                i64::MAX as u64,
            )?,
            max_recipients: count(matches, "max-recipients", 100)? as usize,
        },
        max_connections: count(matches, "max-connections", 1000)?,
        max_connections_per_ip: count(matches, "max-connections-per-ip", 100)?,
        login_timeout: Duration::from_secs(seconds("login-timeout", 60, 1)?),
        timeout: Duration::from_secs(seconds("timeout", 300, 1)?),
        shutdown_grace: Duration::from_secs(seconds("shutdown-grace", 30, 0)?),
        drain: Duration::from_secs(seconds("drain", 0, 0)?),
        min_free: number(matches, "min-free", 64 * 1024 * 1024, 0, i64::MAX as u64)?,
        min_rate: seconds("min-rate", 100, 0)?,
        sandbox: !matches.opt_present("no-sandbox"),
    })
}

fn count(matches: &Matches, name: &str, default: u32) -> Result<u32, UsageError> {
    let found = number(matches, name, default.into(), 1, u32::MAX.into())?;
    Ok(u32::try_from(found).unwrap_or(u32::MAX))
}

/// A decimal number without a sign.
fn number(
    matches: &Matches,
    name: &str,
    default: u64,
    least: u64,
    most: u64,
) -> Result<u64, UsageError> {
    let Some(text) = matches.opt_str(name) else {
        return Ok(default);
    };
    let plain = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    plain
        .then(|| text.parse().ok())
        .flatten()
        .filter(|found| (least..=most).contains(found))
        .ok_or_else(|| {
            usage_error(format!(
                "--{name} {text:?} must be a whole number from {least} to {most}"
            ))
        })
}

fn listeners(matches: &Matches) -> Result<Vec<Listen>, UsageError> {
    let mut found = Vec::new();
    for (name, tls) in [("listen", false), ("tls-listen", true)] {
        for text in matches.opt_strs(name) {
            found.push(listen(&text, tls).ok_or_else(|| {
                usage_error(format!(
                    "--{name} {text:?} must be ADDR:PORT, an IPv6 address in brackets"
                ))
            })?);
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
    let plain = !port.is_empty() && port.bytes().all(|octet| octet.is_ascii_digit());
    let port = plain.then(|| port.parse().ok()).flatten()?;
    let host = match host.strip_prefix('[') {
        Some(rest) => {
            let address: Ipv6Addr = rest.strip_suffix(']')?.parse().ok()?;
            address.to_string()
        }
        None => host.to_owned(),
    };
    let bare_ipv6 = host.contains(':') && !text.starts_with('[');
    (!host.is_empty() && !bare_ipv6).then_some(Listen { tls, host, port })
}

fn hostname(matches: &Matches) -> Result<String, UsageError> {
    let (name, origin) = match matches.opt_str("hostname") {
        Some(name) => (name, "--hostname"),
        None => {
            let system = rustix::system::uname();
            let name = system.nodename().to_string_lossy().into_owned();
            (name, "the system's host name, which --hostname replaces,")
        }
    };
    if is_server_name(&name) {
        return Ok(name);
    }
    Err(usage_error(format!(
        "{origin} {name:?} must be 1 to {MAX_SERVER_NAME} letters, digits, '-', '.' and '_'"
    )))
}

fn addresses(matches: &Matches) -> Result<Addresses, UsageError> {
    match matches.opt_str("addresses").as_deref() {
        None | Some("e164") => Ok(Addresses::E164),
        Some("any") => Ok(Addresses::Any),
        Some(other) => Err(usage_error(format!(
            "--addresses {other:?} must be e164 or any"
        ))),
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
    fn without_options_the_defaults_are_meant() {
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
    fn what_cannot_be_meant_names_the_option() {
        for (arguments, named) in [
            (&["--listen", "127.0.0.1"][..], "--listen"),
            (&["-l", "::1:25"], "--listen"),
            (&["-l", "host:65536"], "--listen"),
            (&["-l", "host:+1"], "--listen"),
            (&["-t", ":25"], "--tls-listen"),
            (&["--hostname", ""], "--hostname"),
            (&["--hostname", "a/b"], "--hostname"),
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
            (&["spool"], "spool"),
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
}

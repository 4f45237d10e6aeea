//! `--check`: what the server would do, and everything that would keep it from
//! starting. Opens no port, creates nothing, and waits for nobody: a FIFO in the
//! place of a file is a problem.
//!
//! It may run beside a server that uses the same spool and ports, so that neither
//! the spool's lock nor whether a port is free is looked at.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::accounts::Accounts;
use super::descriptors;
use super::files::Source;
use super::metrics;
use super::options::{CommandLine, Examined, Listen, Options};
use super::start::StartError;
use super::tls::Acceptor;
use super::user::{self, User};
use crate::log;
use crate::spool::maildir::{Checked, Maildir};

/// What was found; each text is one line.
#[derive(Debug, Default)]
pub struct Report {
    /// What the server would do, a line for each part.
    pub plan: String,
    /// What does not keep it from starting.
    pub warnings: Vec<String>,
    /// What does.
    pub problems: Vec<String>,
}

/// Checks everything that can be checked without starting.
pub fn check(command_line: CommandLine) -> Report {
    let mut report = Report::default();
    if let Err(error) = log::levels() {
        report.problem(&error);
    }
    let mut examined = command_line.examine();
    for error in std::mem::take(&mut examined.errors) {
        report.problem(&error);
    }
    let Some(options) = examined.options.take() else {
        return report;
    };
    listeners(&mut report, &options);
    become_user(&mut report, &options);
    if examined.knows("accounts") {
        accounts(&mut report, &options.accounts);
    }
    if options.has_tls() {
        certificate(&mut report, &options, &examined);
    }
    if examined.knows("spool") {
        spool(&mut report, &options);
    }
    if let Some(path) = &options.metrics_file {
        match metrics::file::check(path) {
            Ok(()) => report.plan(format_args!("write metrics to {}", path.display())),
            Err(error) => report.problem(&error),
        }
    }
    report
}

impl Report {
    fn problem(&mut self, problem: &dyn std::fmt::Display) {
        self.problems.push(problem.to_string());
    }

    fn plan(&mut self, line: std::fmt::Arguments<'_>) {
        let line = line.to_string();
        let shown = line.chars().map(|character| match character.is_control() {
            true => '?',
            false => character,
        });
        self.plan.extend(shown);
        self.plan.push('\n');
    }
}

fn listeners(report: &mut Report, options: &Options) {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for listen in &options.listeners {
        let found = (listen.host.as_str(), listen.port).to_socket_addrs();
        let address = match found.map(|mut found| found.next()) {
            Ok(Some(address)) => address,
            Ok(None) => {
                report.problem(&unresolved(listen, std::io::ErrorKind::NotFound.into()));
                continue;
            }
            Err(error) => {
                report.problem(&unresolved(listen, error));
                continue;
            }
        };
        if address.port() != 0 && addresses.contains(&address) {
            let option = listen.option();
            report.problem(&format_args!(
                "{option} {listen} is given twice; remove one, or give another port"
            ));
        }
        addresses.push(address);
        let kind = if listen.tls { "tls" } else { "plain" };
        report.plan(format_args!("listen {kind} {address}"));
    }
    let listeners = options.listeners.len();
    if let Err(error) = descriptors::raise(options.max_connections, listeners) {
        report.problem(&error);
    }
}

/// The server reads its files as the user of `--user`.
fn become_user(report: &mut Report, options: &Options) {
    let Some(name) = &options.user else { return };
    let switched = User::find(name).and_then(|user| match user::is_root() {
        true => user.switch(),
        false => Ok(()),
    });
    match switched {
        Ok(()) => report.plan(format_args!("run as the user {name}")),
        Err(error) => report.problem(&error),
    }
}

fn unresolved(listen: &Listen, error: std::io::Error) -> StartError {
    StartError::Bind {
        listen: listen.clone(),
        error,
    }
}

fn accounts(report: &mut Report, path: &Path) {
    match Accounts::read(path, Source::RegularFile) {
        Ok(accounts) => {
            let count = accounts.ids().count();
            let path = path.display();
            report.plan(format_args!("read {count} accounts from {path}"));
        }
        Err(error) => report.problem(&error),
    }
}

fn certificate(report: &mut Report, options: &Options, examined: &Examined) {
    if !(examined.knows("cert") && examined.knows("key")) {
        return;
    }
    let (cert, key) = (&options.cert, &options.key);
    match Acceptor::check(cert, key) {
        Ok(acceptor) => {
            let (cert, key) = (cert.display(), key.display());
            let until = acceptor.not_after().map(date).unwrap_or_default();
            report.plan(format_args!(
                "use the certificate {cert}, valid until {until}, and the key {key}"
            ));
            if let Some(warning) = acceptor.expiry_warning(&options.cert, SystemTime::now()) {
                report.warnings.push(warning.to_string());
            }
        }
        Err(errors) => errors.iter().for_each(|error| report.problem(error)),
    }
}

fn spool(report: &mut Report, options: &Options) {
    let path = options.spool.display();
    match Maildir::check(&options.spool) {
        Ok(Checked::Missing) => report.plan(format_args!("create the spool {path}")),
        Ok(Checked::Ready { free }) => {
            let name = &options.hostname;
            report.plan(format_args!("spool messages into {path} as {name}"));
            if free < options.min_free {
                report.warnings.push(format!(
                    "the spool {path} has {free} bytes free: messages get 452 below \
                     --min-free {}; free space there, or lower --min-free",
                    options.min_free
                ));
            }
        }
        Err(error) => report.problem(&error),
    }
}

/// A time in UTC; empty where it is outside the calendar.
pub(super) fn date(time: SystemTime) -> String {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since_1970.unwrap_or(Duration::ZERO).as_secs();
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_or_else(|_| String::new(), |time| time.to_string())
}

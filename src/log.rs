//! The log: one function for each line, `key=value`, on standard error.
//!
//! What a peer sent is quoted and escaped, so that it can neither end its line
//! nor look like another field; what filters match on (`peer=`) precedes it. A
//! line shows no password and no message content: each function receives only
//! what it may show. Lines that a stranger can cause without an account are
//! limited in number, except `login failed`, of which each costs the stranger a
//! connection and a hash.

mod limit;
mod setup;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use log::{Level, debug, error, info, log_enabled, warn};

use self::limit::Limit;
pub(crate) use self::limit::WINDOW;
pub use self::setup::LevelError;
pub(crate) use self::setup::install;
pub(crate) use self::setup::{head, levels};
use crate::mm4::Summary;
use crate::server::sandbox::Confinement;
use crate::smtp::{Envelope, Reply, SystemId};

/// The target of every line, whatever module it is about.
const MM4D: &str = "mm4d";

/// Characters of a peer's text that a line shows.
const MAX_SHOWN: usize = 256;

/// Characters of an unknown system id that a line shows: a longer one may be a
/// password that was typed in its place.
const MAX_UNKNOWN_ID: usize = 32;

/// Accounts that a summary shows.
const MAX_ACCOUNTS: usize = 100;

/// Lines that need no account.
static HANDSHAKES: Limit = Limit::new("handshake failed");
static REFUSALS: Limit = Limit::new("connection refused");
static PROXY_HEADERS: Limit = Limit::new("proxy header failed");
/// Without a login; the connection limits those of a peer that has logged in.
static COMMANDS: Limit = Limit::new("command refused");
static LIMITS: [&Limit; 4] = [&HANDSHAKES, &REFUSALS, &PROXY_HEADERS, &COMMANDS];

/// Logs how many lines were suppressed in windows that have ended, or in all
/// of them. Whether there are any that will be logged later.
pub(crate) fn report_suppressed(at_once: bool) -> bool {
    let mut pending = false;
    for limit in LIMITS {
        match limit.take_suppressed(Instant::now(), at_once) {
            Some((count, time)) => warn!(
                target: MM4D,
                "suppressed lines={} count={count} seconds={}",
                Quoted(limit.line),
                time.as_secs()
            ),
            None => pending |= limit.is_suppressing(),
        }
    }
    pending
}

/// Text of a peer, quoted and escaped.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        let end = self.0.char_indices().nth(MAX_SHOWN).map(|(at, _)| at);
        let mut rest = end.and_then(|end| self.0.get(..end)).unwrap_or(self.0);
        // A format for each character was a tenth of all instructions for a message.
        while let Some((plain, special, after)) = split_at_special(rest) {
            f.write_str(plain)?;
            match special {
                '"' | '\\' => write!(f, "\\{special}")?,
                other => write!(f, "{}", other.escape_unicode())?,
            }
            rest = after;
        }
        f.write_str(rest)?;
        if end.is_some() {
            f.write_str("…")?;
        }
        f.write_str("\"")
    }
}

/// The first character of `text` that must be escaped, and what is before and after it.
fn split_at_special(text: &str) -> Option<(&str, char, &str)> {
    let is_special = |character| !matches!(character, ' '..='~') || matches!(character, '"' | '\\');
    let (at, special) = text.char_indices().find(|&(_, c)| is_special(c))?;
    let (plain, rest) = text.split_at_checked(at)?;
    Some((plain, special, rest.get(special.len_utf8()..)?))
}

/// A log line's ` name="value"`, or nothing.
struct Field<'a>(&'static str, &'a Option<String>);

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(value) => write!(f, " {}={}", self.0, Quoted(value)),
            None => Ok(()),
        }
    }
}

/// The server is up.
pub fn started(version: &str, hostname: &str, spool: &str) {
    info!(target: MM4D, "started version={version} hostname={hostname} spool={}", Quoted(spool));
}

/// One line for each message.
pub fn mail(peer: SocketAddr, tls: Option<&'static str>, envelope: &Sent, mail: &Received<'_>) {
    let Summary {
        message_type,
        transaction_id,
        message_id,
        ..
    } = mail.summary;
    info!(
        target: MM4D,
        "mail id={} system_id={} peer={} sender={} recipients={} bytes={} tls={}{}{}{}",
        mail.id,
        envelope.system_id,
        peer.ip(),
        Quoted(&envelope.sender),
        envelope.recipients,
        mail.bytes,
        tls.unwrap_or("plain"),
        Field("type", message_type),
        Field("transaction_id", transaction_id),
        Field("message_id", message_id),
    );
}

/// What the line of a message says of the message itself.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The id of its 250.
    pub id: &'a str,
    /// Bytes of content, without the trace.
    pub bytes: u64,
    /// What its header says.
    pub summary: &'a Summary,
}

/// What the line of a message says of its envelope.
#[derive(Clone, Debug)]
pub struct Sent {
    system_id: String,
    sender: String,
    recipients: usize,
}

impl From<&Envelope> for Sent {
    fn from(envelope: &Envelope) -> Sent {
        Sent {
            system_id: envelope.system_id.to_string(),
            sender: envelope.reverse_path.to_string(),
            recipients: envelope.forward_paths.len(),
        }
    }
}

/// A message that the spool could not take; the client receives 452.
pub fn spool_failed(peer: SocketAddr, error: &dyn fmt::Display) {
    error!(target: MM4D, "spool failed peer={} error={}", peer.ip(), Quoted(&error.to_string()));
}

/// A file that should have been removed is still there.
pub(crate) fn cannot_remove(folder: &str, name: &str, error: &io::Error) {
    warn!(target: MM4D, "cannot remove file={folder}/{name} error={}", Quoted(&error.to_string()));
}

/// Drafts of other servers that nobody writes any more.
pub(crate) fn stale_drafts(files: u64, bytes: u64, tmp: &std::path::Path) {
    let tmp = tmp.display();
    warn!(target: MM4D, "stale drafts of other servers files={files} bytes={bytes} remove=\"find {tmp} -name '*.eml' -mtime +1 -delete\"");
}

/// A file in tmp/ that must not be removed: see `spool::disk::Leftover`.
pub(crate) fn leftover_is_message(name: &str) {
    warn!(target: MM4D, "not removed, the file system counts one link for tmp/ and new/, run fsck file={name}");
}

/// Somebody had removed the lock's file.
pub(crate) fn lock_taken_again(hostname: &str) {
    warn!(target: MM4D, "spool lock was removed, taken again file=.{hostname}.lock");
}

/// The spool accepts no messages from now on.
pub(crate) fn spool_unavailable(error: &dyn fmt::Display) {
    error!(target: MM4D, "spool unavailable error={}", Quoted(&error.to_string()));
}

/// The spool accepts messages again.
pub(crate) fn spool_available() {
    info!(target: MM4D, "spool available again");
}

/// There is less space than the open transactions and the reserve may need.
pub(crate) fn space_low(spool: &Path, min_free: u64, free: u64, needed: u64) {
    let spool = spool.to_string_lossy();
    error!(target: MM4D, "spool low on space, messages are refused: free some, or lower --min-free spool={} min_free={min_free} free={free} needed={needed}", Quoted(&spool));
}

/// There is enough space again.
pub(crate) fn space_available(free: u64, needed: u64) {
    info!(target: MM4D, "spool has space again free={free} needed={needed}");
}

/// A client has connected.
pub fn connected(peer: SocketAddr, tls: bool) {
    debug!(target: MM4D, "connected peer={} port={} listener={}", peer.ip(), peer.port(), if tls { "tls" } else { "plain" });
}

/// A connection is closed.
pub fn disconnected(peer: SocketAddr, why: &str) {
    debug!(target: MM4D, "disconnected peer={} port={} why={}", peer.ip(), peer.port(), Quoted(why));
}

/// A TLS handshake failed.
pub(crate) fn handshake_failed(peer: SocketAddr, why: &str) {
    if !log_enabled!(target: MM4D, Level::Info) || !HANDSHAKES.admits(Instant::now()) {
        return;
    }
    info!(target: MM4D, "handshake failed peer={} port={} why={}", peer.ip(), peer.port(), Quoted(why));
}

/// A connection of a proxy whose header is invalid, missing or late; it gets no
/// reply.
pub(crate) fn proxy_header_failed(peer: SocketAddr, why: &str) {
    if !log_enabled!(target: MM4D, Level::Warn) || !PROXY_HEADERS.admits(Instant::now()) {
        return;
    }
    warn!(target: MM4D, "proxy header failed peer={} port={} why={}", peer.ip(), peer.port(), Quoted(why));
}

/// A command or a message that was refused, with the argument of the command
/// where that may be shown.
pub(crate) fn command_refused(
    peer: SocketAddr,
    system_id: Option<&SystemId>,
    reply: &Reply,
    argument: Option<&str>,
) {
    if !log_enabled!(target: MM4D, Level::Info)
        || (system_id.is_none() && !COMMANDS.admits(Instant::now()))
    {
        return;
    }
    let system_id = system_id.map(ToString::to_string);
    let argument = argument.map(str::to_owned);
    info!(
        target: MM4D,
        "command refused peer={} port={}{} reply={}{}",
        peer.ip(),
        peer.port(),
        Field("system_id", &system_id),
        Quoted(reply.line()),
        Field("argument", &argument),
    );
}

/// A client has logged in.
pub fn login(peer: SocketAddr, system_id: &str) {
    debug!(target: MM4D, "login peer={} port={} system_id={}", peer.ip(), peer.port(), Quoted(system_id));
}

/// A login was refused; `scripts/fail2ban` matches this line. Of an id that no
/// account has, and that is not short and plain, only the length is shown: it
/// may be a password that was typed in its place.
pub(crate) fn login_failed(peer: SocketAddr, authcid: &[u8], is_known: bool) {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._@+-".contains(byte);
    let (ip, port) = (peer.ip(), peer.port());
    if is_known || (authcid.len() <= MAX_UNKNOWN_ID && authcid.iter().all(plain)) {
        let system_id = String::from_utf8_lossy(authcid);
        warn!(target: MM4D, "login failed peer={ip} port={port} system_id={}", Quoted(&system_id));
    } else {
        let length = authcid.len();
        warn!(target: MM4D, "login failed peer={ip} port={port} system_id=\"\" length={length}");
    }
}

/// A login to an account that is not used from the peer's address.
pub(crate) fn login_from_elsewhere(peer: SocketAddr, authcid: &[u8]) {
    let system_id = String::from_utf8_lossy(authcid);
    warn!(target: MM4D, "login failed peer={} port={} system_id={} reason=\"the account is not used from this address\"", peer.ip(), peer.port(), Quoted(&system_id));
}

/// A connection over a limit.
pub fn refused(peer: IpAddr, limit: &str) {
    if log_enabled!(target: MM4D, Level::Warn) && REFUSALS.admits(Instant::now()) {
        warn!(target: MM4D, "connection refused peer={peer} limit={limit}");
    }
}

/// accept(2) or the start of a thread failed; the listener tries again after a
/// pause.
pub(crate) fn listener_failing(listener: &str, error: &io::Error) {
    error!(target: MM4D, "cannot accept connections, trying again listener={listener} error={}", Quoted(&error.to_string()));
}

/// The listener accepts connections again.
pub(crate) fn listener_recovered(listener: &str) {
    info!(target: MM4D, "accepts connections again listener={listener}");
}

/// A file was read again and is in force.
pub fn reloaded(what: &str) {
    info!(target: MM4D, "reloaded {what}");
}

/// A file could not be read again; the old one stays in force.
pub(crate) fn reload_failed(what: &str, error: &dyn fmt::Display) {
    error!(target: MM4D, "reload failed, the old {what} stay in force error={}", Quoted(&error.to_string()));
}

/// The metrics file could not be written; the server goes on.
pub(crate) fn metrics_failed(path: &Path, error: &io::Error) {
    warn!(target: MM4D, "cannot write the metrics file={} error={}", Quoted(&path.to_string_lossy()), Quoted(&error.to_string()));
}

/// The metrics file is written again.
pub(crate) fn metrics_recovered(path: &Path) {
    info!(target: MM4D, "writes the metrics again file={}", Quoted(&path.to_string_lossy()));
}

/// What confines the process.
pub fn sandbox(confinement: &Confinement) {
    match &confinement.files {
        Ok(files) => info!(
            target: MM4D,
            "sandbox of files landlock={} also={} reads={} writes={}",
            files.abi,
            Quoted(files.also()),
            paths(&files.readable),
            paths(&files.writable),
        ),
        Err(error) => {
            warn!(target: MM4D, "no sandbox of files error={}", Quoted(&error.to_string()))
        }
    }
    match &confinement.calls {
        Ok(()) => info!(target: MM4D, "sandbox of system calls others=ENOSYS"),
        Err(error) => {
            warn!(target: MM4D, "no sandbox of system calls error={}", Quoted(&error.to_string()))
        }
    }
}

/// Each in quotes, with commas between them.
fn paths(paths: &[PathBuf]) -> String {
    let quoted = paths
        .iter()
        .map(|path| Quoted(&path.to_string_lossy()).to_string());
    quoted.collect::<Vec<_>>().join(",")
}

/// The process has the rights of root while it serves clients.
pub(crate) fn running_as_root() {
    warn!(target: MM4D, "running as root: give --user NAME, or start mm4d as an ordinary user");
}

/// `NOTIFY_SOCKET` cannot be used.
pub(crate) fn cannot_notify(error: &io::Error) {
    warn!(target: MM4D, "cannot report to the service manager: unset NOTIFY_SOCKET where there is none error={}", Quoted(&error.to_string()));
}

/// There may be fewer descriptors than drafts.
pub(crate) fn few_descriptors(limit: u64, connections: u32) {
    warn!(target: MM4D, "few file descriptors: messages may be answered 452 when all connections send at once limit={limit} max_connections={connections}");
}

/// The file system was full at start.
pub(crate) fn no_space(spool: &Path, error: &dyn fmt::Display) {
    let spool = spool.to_string_lossy();
    error!(target: MM4D, "spool is full, messages are answered 452 until there is space spool={} error={}", Quoted(&spool), Quoted(&error.to_string()));
}

/// The certificate has expired, or soon will have.
pub(crate) fn certificate_expires(warning: &dyn fmt::Display) {
    warn!(target: MM4D, "{warning}");
}

/// What a status line shows.
pub(crate) struct Totals {
    pub(crate) plain: i64,
    pub(crate) tls: i64,
    pub(crate) connections: u64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) refused_connections: u64,
    pub(crate) failed_logins: u64,
    /// Each code of the catalogue.
    pub(crate) replies: Vec<(u16, u64)>,
    /// Bytes that may still be written to the spool, where that is known.
    pub(crate) free: Option<u64>,
}

/// The summary that SIGUSR1 asks for: a line for the server, one for its
/// refusals, and one for each account that is connected.
pub(crate) fn status(uptime: Duration, totals: &Totals, accounts: &[(SystemId, u32)]) {
    let free = totals.free.map(|free| format!(" free={free}"));
    info!(
        target: MM4D,
        "status uptime_seconds={} plain={} tls={} connections={} messages={} bytes={}{}",
        uptime.as_secs(),
        totals.plain,
        totals.tls,
        totals.connections,
        totals.messages,
        totals.bytes,
        free.unwrap_or_default(),
    );
    let refusals = totals.replies.iter();
    let refusals = refusals.filter(|(code, count)| *code >= 400 && *count > 0);
    let refusals: String = refusals
        .map(|(code, count)| format!(" {code}={count}"))
        .collect();
    info!(
        target: MM4D,
        "status refused_connections={} failed_logins={}{refusals}",
        totals.refused_connections,
        totals.failed_logins,
    );
    for (id, count) in accounts.iter().take(MAX_ACCOUNTS) {
        info!(target: MM4D, "status system_id={} connections={count}", Quoted(id.as_str()));
    }
    if accounts.len() > MAX_ACCOUNTS {
        info!(target: MM4D, "status other_accounts={}", accounts.len() - MAX_ACCOUNTS);
    }
}

/// The server begins to shut down.
pub fn stopping(signal: &str, sessions: usize) {
    info!(target: MM4D, "stopping signal={signal} sessions={sessions}");
}

/// New connections get 421; open sessions are served for `seconds` more.
pub fn draining(seconds: u64, sessions: usize) {
    info!(target: MM4D, "draining seconds={seconds} sessions={sessions}");
}

/// The server has shut down.
pub fn stopped(sessions: usize) {
    info!(target: MM4D, "stopped sessions={sessions}");
}

/// A thread panicked: a defect of mm4d, whatever the peer sent.
fn panicked(place: &str, thread: &str) {
    error!(target: MM4D, "panicked at={place} thread={}", Quoted(thread));
}

/// Has each panic logged, in the place of the text that the standard library prints.
pub(crate) fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default();
        panicked(place.as_deref().unwrap_or("?"), name);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_peer_stays_in_its_quotes() {
        let text = "a\" peer=192.0.2.9\r\nlogin failed\u{1b}[2J\u{2028}\\";
        let shown = Quoted(text).to_string();
        assert_eq!(
            shown,
            "\"a\\\" peer=192.0.2.9\\u{d}\\u{a}login failed\\u{1b}[2J\\u{2028}\\\\\""
        );
        for (text, end) in [("é", r"\u{e9}"), ("x", "x")] {
            let full = text.repeat(MAX_SHOWN);
            let shown = format!("\"{}", end.repeat(MAX_SHOWN));
            assert_eq!(Quoted(&full).to_string(), format!("{shown}\""));
            assert_eq!(
                Quoted(&format!("{full}é")).to_string(),
                format!("{shown}…\"")
            );
        }
    }
}

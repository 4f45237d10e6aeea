//! System calls of a running server for each mail, counted by `strace -c`.
//!
//! strace is attached when the server is warm and taken off when the load has
//! ended; the few calls that end the connections are counted too, a per mille.
//! Needs strace and the right to trace.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::load::Outcome;

/// Calls for each mail by name, the most frequent first, their sum before them.
pub fn count(
    server: u32,
    load: impl FnOnce() -> io::Result<Outcome>,
) -> io::Result<Vec<(String, f64)>> {
    let table = tempfile::NamedTempFile::new()?;
    let mut strace = Command::new("strace")
        .args(["-f", "-c", "-U", "name,calls", "-S", "calls", "-p"])
        .arg(server.to_string())
        .arg("-o")
        .arg(table.path())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut said = BufReader::new(strace.stderr.take().expect("the output is piped"));
    let mut line = String::new();
    said.read_line(&mut line)?;
    if !line.contains("attached") {
        said.read_to_string(&mut line)?;
        return Err(io::Error::other(format!("strace says: {line}")));
    }
    // Read on, or strace waits for us with its next word.
    let rest = std::thread::spawn(move || io::copy(&mut said, &mut io::sink()));
    let outcome = load();
    kill_process(Pid::from_child(&strace), Signal::INT)?;
    strace.wait()?;
    let _ = rest.join();
    // One mail of each connection went before the clock, and is not in the count.
    let mails = outcome?.mails as f64;
    let mut text = String::new();
    File::open(table.path())?.read_to_string(&mut text)?;
    Ok(calls(&text)
        .map(|(name, calls)| (name, calls / mails))
        .collect())
}

/// The rows of strace's table, `name calls`.
fn calls(table: &str) -> impl Iterator<Item = (String, f64)> + '_ {
    table.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let name = fields.next()?;
        let calls = fields.next()?.parse().ok()?;
        Some((name.to_owned(), calls))
    })
}

//! The measurements of mm4d. Run `scripts/bench.sh`, which sets the stage.
//!
//! Everything runs on loopback, for a bounded time, and ends by itself. The load
//! generator and the limit programs run in this process, the servers in theirs,
//! so that their processor time is measured apart. Nothing of this is part of the
//! product.
//!
//! Exit status: 0 when all was measured, whatever came out; 1 when something
//! could not be; 2 for a usage error. Without arguments, as `cargo test
//! --all-targets` calls it, it measures nothing.

// A measurement may stop at once when something is not as it must be, and its
// figures are far from the ends of their types.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod client;
mod contender;
mod ground;
mod limit;
mod load;
mod mail;
mod openssl;
mod process;
mod report;
mod scenarios;
mod stub;
mod syscalls;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use getopts::{Matches, Options};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use contender::Yard;
use ground::Ground;
use report::Report;
use scenarios::{Bench, Plan};

/// The order in which `all` runs them.
const SCENARIOS: [&str; 10] = [
    "cells",
    "throughput",
    "logins",
    "tls",
    "idle",
    "million",
    "memory",
    "tmpfs",
    "disks",
    "syscalls",
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let outcome = match arguments.first().map(String::as_str) {
        None => {
            println!("run scripts/bench.sh to measure");
            return ExitCode::SUCCESS;
        }
        Some("stub") if arguments.len() == 4 => stub::serve(
            &arguments[1],
            Path::new(&arguments[2]),
            Path::new(&arguments[3]),
        ),
        Some(_) => match options().parse(&arguments) {
            Ok(matches) => measure(&matches),
            Err(fault) => {
                eprintln!(
                    "{fault}\n{}",
                    options().usage("bench [OPTIONS] [SCENARIO ...]")
                );
                return ExitCode::from(2);
            }
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Options {
    let mut options = Options::new();
    options
        .reqopt("", "work", "certificate, key, accounts and logs", "DIR")
        .reqopt(
            "",
            "spool",
            "a directory on the disk that is measured",
            "DIR",
        )
        .reqopt("", "key", "the password of the account `bench`", "KEY")
        .optopt("", "seconds", "length of a round", "N")
        .optopt("", "rounds", "rounds of each contender", "N")
        .optflag("", "quick", "as little as says anything")
        .optopt("", "json", "write all figures here, too", "FILE")
        .optopt("", "postfix", "Postfix's configuration directory", "DIR")
        .optopt("", "tmpfs", "a directory on tmpfs", "DIR")
        .optmulti("", "disk", "another disk", "NAME=DIR")
        .optmulti("", "only", "contenders with this in their name", "PART")
        .optopt("", "bytes", "throughput: mails of this size alone", "N")
        .optopt(
            "",
            "connections",
            "throughput: this many connections alone",
            "N",
        )
        .optopt("", "mm4d", "the program under test", "FILE")
        .optopt("", "against", "another build, measured beside it", "FILE");
    options
}

fn measure(matches: &Matches) -> io::Result<()> {
    raise_descriptor_limit()?;
    let quick = matches.opt_present("quick");
    let number = |name: &str, quickly: f64, else_: f64| -> io::Result<f64> {
        match matches.opt_str(name) {
            Some(text) => text
                .parse()
                .map_err(|_| io::Error::other(format!("--{name} {text}?"))),
            None => Ok(if quick { quickly } else { else_ }),
        }
    };
    let path = |name: &str| matches.opt_str(name).map(PathBuf::from);
    let spool = path("spool").unwrap_or_default();
    scenarios::check_room(&spool)?;
    let mm4d = path("mm4d").unwrap_or_else(|| env!("CARGO_BIN_EXE_mm4d").into());
    let key = matches.opt_str("key").unwrap_or_default();
    let work = path("work").unwrap_or_default();
    let mut yard = Yard::new(mm4d, work, spool.clone(), "bench", &key);
    yard.postfix = path("postfix");
    let plan = Plan {
        time: Duration::from_secs_f64(number("seconds", 0.5, 2.0)?),
        rounds: number("rounds", 1.0, 3.0)? as usize,
        quick,
        disks: matches
            .opt_strs("disk")
            .iter()
            .filter_map(|disk| named(disk))
            .collect(),
        tmpfs: path("tmpfs"),
        only: matches.opt_strs("only"),
        cells: if matches.opt_present("bytes") || matches.opt_present("connections") {
            let bytes = number("bytes", 10_240.0, 10_240.0)? as usize;
            Some((bytes, number("connections", 16.0, 16.0)? as usize))
        } else {
            None
        },
        against: path("against"),
    };
    let ground = Ground::new(&spool)?;
    let mut bench = Bench {
        yard,
        ground,
        plan,
        report: Report::default(),
    };
    let outcome = run_all(&mut bench, &matches.free);
    bench.report.print_marks();
    if let Some(json) = path("json") {
        bench.report.write_json(&json)?;
    }
    outcome
}

/// Runs what was asked for; one that fails does not keep the next from running.
fn run_all(bench: &mut Bench, asked: &[String]) -> io::Result<()> {
    let all = asked.is_empty() || asked.iter().any(|name| name == "all");
    let scenarios = if all {
        SCENARIOS.map(String::from).to_vec()
    } else {
        asked.to_vec()
    };
    let mut failed = Vec::new();
    for scenario in scenarios {
        if let Err(error) = bench.run(&scenario) {
            bench.report.note(&format!("{scenario}: FAILED, {error}"));
            failed.push(scenario);
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "could not be measured: {}",
        failed.join(", ")
    )))
}

fn named(disk: &str) -> Option<(String, PathBuf)> {
    disk.split_once('=')
        .map(|(name, directory)| (name.to_owned(), directory.into()))
}

/// Ten thousand connections need as many descriptors, here and in the servers started from here.
fn raise_descriptor_limit() -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )?)
}

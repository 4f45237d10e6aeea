//! The scenarios: what is measured against what, and which target it bears on.
//!
//! In each, the contenders take turns, round by round, on one machine and one
//! directory, so that a busy moment strikes them all; the medians are compared.
//! Each scenario starts the servers that it needs and stops them at its end.

mod cells;
mod logins;
mod many;
mod throughput;

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::client::Target;
use crate::contender::{Postfix, Server, Yard};
use crate::ground::{self, Ground};
use crate::limit::{self, Strategy};
use crate::load::{self, Use};
use crate::mail::Mail;
use crate::process;
use crate::report::{Report, Row, Sample};
use crate::syscalls;

const KIB: usize = 1024;
/// The sizes and parallelisms of the project's targets.
const SIZES: [usize; 4] = [10 * KIB, 100 * KIB, 300 * KIB, 1024 * KIB];
const CONNECTIONS: [usize; 3] = [1, 16, 128];

/// How long, how often, and where else.
pub struct Plan {
    /// The length of a round.
    pub time: Duration,
    /// Rounds of each contender.
    pub rounds: usize,
    /// As little as says anything.
    pub quick: bool,
    /// A RAM-backed ext4 and one on a disk, where root made them.
    pub disks: Vec<(String, std::path::PathBuf)>,
    /// A directory on tmpfs.
    pub tmpfs: Option<std::path::PathBuf>,
    /// Parts of the names of the contenders that take part; all if there are none.
    pub only: Vec<String>,
    /// Bytes in a mail and connections, in the place of the scenario's own.
    pub cells: Option<(usize, usize)>,
    /// Another build of mm4d, measured beside this one.
    pub against: Option<std::path::PathBuf>,
}

/// A run: its servers' yard, its ground, its findings.
pub struct Bench {
    /// How servers are started.
    pub yard: Yard,
    /// The directory they share.
    pub ground: Ground,
    /// How long and how often.
    pub plan: Plan,
    /// What was found.
    pub report: Report,
}

/// Who is measured.
enum Who<'a> {
    /// Threads that do nothing but make files durable.
    Limit(Strategy),
    /// A server, and how it is spoken to.
    Server(&'a Server, Target),
    /// Postfix.
    Postfix(&'a Postfix),
}

impl Bench {
    /// Runs the scenario of this name.
    pub fn run(&mut self, scenario: &str) -> io::Result<()> {
        match scenario {
            "cells" => self.cells(),
            "slow" => self.slow(),
            "throughput" => self.throughput(),
            "logins" => self.logins(),
            "tls" => self.tls(),
            "idle" => self.idle(),
            "million" => self.million(),
            "memory" => self.memory(),
            "tmpfs" => self.tmpfs(),
            "disks" => self.disks(),
            "syscalls" => self.syscalls(),
            _ => Err(io::Error::other(format!(
                "no scenario is called {scenario}"
            ))),
        }
    }

    /// System calls of the server for each mail.
    fn syscalls(&mut self) -> io::Result<()> {
        let mm4d = self.yard.mm4d("mm4d")?;
        let mail = Mail::new(10 * KIB);
        for (way, connections, used) in [
            ("one by one", 1, Use::Kept),
            ("pipelined", 1, Use::Kept),
            ("one by one", 16, Use::Kept),
            ("one mail per connection", 16, Use::Once),
        ] {
            let pipelined = way == "pipelined";
            let target = Target {
                pipelined,
                ..self.yard.plain(&mm4d)
            };
            let scenario = format!("syscalls: 10 KiB, {connections} connections, {way}");
            println!("\n## {scenario}\n");
            let calls = syscalls::count(mm4d.pid(), || {
                load::run(
                    &target,
                    connections,
                    used,
                    &mail.sent,
                    self.plan.time,
                    || (),
                )
            })?;
            for (name, calls) in calls {
                self.report.fact(&scenario, &name, calls, "per mail");
            }
            self.ground.clear(&mm4d.mails)?;
        }
        Ok(())
    }

    /// Postfix, if it is here.
    fn postfix(&self) -> io::Result<Option<Postfix>> {
        self.yard.postfix.as_deref().map(Postfix::start).transpose()
    }

    /// The other build, if one takes part.
    fn other(&self, name: &str) -> io::Result<Option<Server>> {
        self.plan
            .against
            .as_deref()
            .map(|program| self.yard.start(program, &self.yard.spool.join(name)))
            .transpose()
    }

    fn takes_part(&self, contender: &str) -> bool {
        let only = &self.plan.only;
        only.is_empty() || only.iter().any(|part| contender.contains(part))
    }

    /// Rounds of all entrants in turn, and a row for each.
    fn alternate(
        &mut self,
        scenario: &str,
        mail: &Mail,
        connections: usize,
        used: Use,
        entrants: &[(String, Who<'_>)],
    ) -> io::Result<()> {
        let mut samples = vec![Vec::new(); entrants.len()];
        for _ in 0..self.plan.rounds {
            for ((name, who), samples) in entrants.iter().zip(&mut samples) {
                if !self.takes_part(name) {
                    continue;
                }
                samples.push(self.sample(who, mail, connections, used)?);
            }
        }
        for ((name, _), samples) in entrants.iter().zip(&samples) {
            if samples.is_empty() {
                continue;
            }
            self.report
                .row(Row::new(scenario, name, mail.bytes, connections, samples));
        }
        Ok(())
    }

    /// One round of one contender, and the ground cleared after it.
    fn sample(
        &self,
        who: &Who<'_>,
        mail: &Mail,
        connections: usize,
        used: Use,
    ) -> io::Result<Sample> {
        match who {
            Who::Limit(strategy) => self.sample_limit(*strategy, mail, connections),
            Who::Server(server, target) => {
                let sample = self.drive(server, target, mail, connections, used)?;
                self.ground.clear(&server.mails)?;
                Ok(sample)
            }
            Who::Postfix(postfix) => {
                let cpu = || postfix.cpu();
                let target = postfix.target();
                let sample = self.load(&cpu, &target, mail, connections, used)?;
                self.ground.clear(&postfix.mails)?;
                Ok(sample)
            }
        }
    }

    fn sample_limit(&self, strategy: Strategy, mail: &Mail, threads: usize) -> io::Result<Sample> {
        let spool = self.yard.spool.join("limit");
        let own = std::process::id();
        let before = process::cpu(own)?;
        let mut outcome = limit::run(&spool, strategy, threads, &mail.stored, self.plan.time)?;
        let spent = process::cpu(own)?.saturating_sub(before);
        self.ground.clear(&spool.join("new"))?;
        Ok(outcome.sample(spent))
    }

    /// One round of a server of ours, without clearing.
    fn drive(
        &self,
        server: &Server,
        target: &Target,
        mail: &Mail,
        connections: usize,
        used: Use,
    ) -> io::Result<Sample> {
        let cpu = || process::cpu(server.pid());
        let mut sample = self.load(&cpu, target, mail, connections, used)?;
        sample.private = process::private_kib(server.pid())? as f64;
        Ok(sample)
    }

    fn load(
        &self,
        cpu: &dyn Fn() -> io::Result<Duration>,
        target: &Target,
        mail: &Mail,
        connections: usize,
        used: Use,
    ) -> io::Result<Sample> {
        let mut before = Ok(Duration::ZERO);
        let mut outcome = load::run(
            target,
            connections,
            used,
            &mail.sent,
            self.plan.time,
            || before = cpu(),
        )?;
        let spent = cpu()?.saturating_sub(before?);
        Ok(outcome.sample(spent))
    }
}

/// Every strategy, as an entrant.
fn limits<'a>() -> Vec<(String, Who<'a>)> {
    Strategy::ALL
        .into_iter()
        .map(|strategy| (format!("limit {}", strategy.name()), Who::Limit(strategy)))
        .collect()
}

/// A warning when the disk has little room for what comes.
pub fn check_room(spool: &Path) -> io::Result<()> {
    const WANTED: u64 = 6 << 30;
    let free = ground::room(spool)?;
    if free < WANTED {
        eprintln!("only {} MiB are free in {}", free >> 20, spool.display());
    }
    Ok(())
}

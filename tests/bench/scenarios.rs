//! The scenarios: what is measured against what, and which target it bears on.
//!
//! In each, the contenders take turns, round by round, on one machine and one
//! directory, so that a busy moment strikes them all; the medians are compared.
//! Each scenario starts the servers that it needs and stops them at its end.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, Target};
use crate::contender::{Postfix, Server, Yard};
use crate::ground::{self, Ground};
use crate::limit::{self, Strategy};
use crate::load::{self, Use};
use crate::mail::Mail;
use crate::openssl;
use crate::process;
use crate::report::{Report, Row, Sample, median};
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

    /// Sizes and parallelisms: the limit, the stubs, mm4d, Postfix. Targets 1 and 2.
    fn throughput(&mut self) -> io::Result<()> {
        let mm4d = self.yard.mm4d("mm4d")?;
        let against = self.other("against")?;
        let null = self.yard.stub("null")?;
        let durable = self.yard.stub("durable")?;
        let postfix = self
            .yard
            .postfix
            .as_deref()
            .map(Postfix::start)
            .transpose()?;
        self.report.heading("throughput");
        for (bytes, connections) in self.cells() {
            let plain = self.yard.plain(&mm4d);
            let pipelined = Target {
                pipelined: true,
                ..plain.clone()
            };
            let mut entrants: Vec<(String, Who<'_>)> = limits();
            entrants.push((
                "stub null".into(),
                Who::Server(&null, self.yard.plain(&null)),
            ));
            entrants.push((
                "stub durable".into(),
                Who::Server(&durable, self.yard.plain(&durable)),
            ));
            entrants.push(("mm4d".into(), Who::Server(&mm4d, plain)));
            entrants.push(("mm4d pipelined".into(), Who::Server(&mm4d, pipelined)));
            entrants.push((
                "mm4d tls".into(),
                Who::Server(&mm4d, self.yard.over_tls(&mm4d)),
            ));
            if let Some(other) = &against {
                entrants.push(("against".into(), Who::Server(other, self.yard.plain(other))));
            }
            if let Some(postfix) = &postfix {
                entrants.push(("postfix".into(), Who::Postfix(postfix)));
            }
            self.alternate(
                "throughput",
                &Mail::new(bytes),
                connections,
                Use::Kept,
                &entrants,
            )?;
        }
        for connections in [16, 128] {
            self.judge_throughput(10 * KIB, connections);
        }
        self.judge_throughput(300 * KIB, 16);
        Ok(())
    }

    fn cells(&self) -> Vec<(usize, usize)> {
        if let Some(cell) = self.plan.cells {
            return vec![cell];
        }
        if self.plan.quick {
            return vec![(10 * KIB, 16), (10 * KIB, 128), (300 * KIB, 16)];
        }
        SIZES
            .into_iter()
            .flat_map(|bytes| CONNECTIONS.into_iter().map(move |number| (bytes, number)))
            .collect()
    }

    /// Targets 1 and 2 for one size and parallelism.
    fn judge_throughput(&mut self, bytes: usize, connections: usize) {
        let figure = |report: &Report, who| report.find("throughput", who, bytes, connections);
        let Some(mm4d) = figure(&self.report, "mm4d") else {
            return;
        };
        let at = format!("{} KiB, {connections} connections", bytes / KIB);
        if let Some((best, rate)) = self.report.best("throughput", "limit", bytes, connections) {
            let target = format!("{at}: mails/s over the best limit ({best})");
            self.report.at_least(&target, 0.9, mm4d.rate / rate);
        }
        if let Some(stub) = figure(&self.report, "stub durable") {
            let ratio = mm4d.rate / stub.rate;
            self.report.fact(
                "throughput",
                &format!("{at}: over the durable stub"),
                ratio,
                "",
            );
        }
        if let Some(postfix) = figure(&self.report, "postfix") {
            let target = format!("{at}: mails/s over Postfix");
            self.report.at_least(&target, 4.0, mm4d.rate / postfix.rate);
            let target = format!("{at}: CPU per mail over Postfix's");
            self.report.at_most(&target, 0.1, mm4d.cpu / postfix.cpu);
        }
    }

    /// One mail and one login a connection, plain and TLS. Target 3.
    fn logins(&mut self) -> io::Result<()> {
        let mm4d = self.yard.mm4d("mm4d")?;
        let against = self.other("against")?;
        let durable = self.yard.stub("durable")?;
        let postfix = self
            .yard
            .postfix
            .as_deref()
            .map(Postfix::start)
            .transpose()?;
        let mail = Mail::new(10 * KIB);
        self.report.heading("logins: one mail per connection");
        let plain = self.yard.plain(&mm4d);
        let stub = self.yard.plain(&durable);
        let mut entrants = vec![
            (
                "stub durable kept",
                Who::Server(&durable, stub.clone()),
                Use::Kept,
            ),
            ("stub durable once", Who::Server(&durable, stub), Use::Once),
            ("mm4d kept", Who::Server(&mm4d, plain.clone()), Use::Kept),
            ("mm4d once", Who::Server(&mm4d, plain), Use::Once),
            (
                "mm4d once tls",
                Who::Server(&mm4d, self.yard.over_tls(&mm4d)),
                Use::Once,
            ),
        ];
        if let Some(other) = &against {
            let plain = self.yard.plain(other);
            entrants.push(("against once", Who::Server(other, plain), Use::Once));
            let tls = self.yard.over_tls(other);
            entrants.push(("against once tls", Who::Server(other, tls), Use::Once));
        }
        if let Some(postfix) = &postfix {
            entrants.push(("postfix once", Who::Postfix(postfix), Use::Once));
        }
        let mut samples = vec![Vec::new(); entrants.len()];
        let mut handshakes = Vec::new();
        for _ in 0..self.plan.rounds {
            for ((_, who, used), samples) in entrants.iter().zip(&mut samples) {
                samples.push(self.sample(who, &mail, 16, *used)?);
            }
            handshakes.push(openssl::handshakes(&self.yard.work, self.plan.time)?);
        }
        for ((name, ..), rounds) in entrants.iter().zip(&samples) {
            self.report
                .row(Row::new("logins", name, mail.bytes, 16, rounds));
        }
        let handshakes = median(handshakes);
        self.report.fact(
            "logins",
            "openssl s_server and s_time -new, TLS 1.3",
            handshakes,
            "/s",
        );
        let rate = |who| {
            self.report
                .find("logins", who, mail.bytes, 16)
                .map_or(0.0, |s| s.rate)
        };
        let plain = rate("mm4d once") / rate("mm4d kept");
        let stub = rate("stub durable once") / rate("stub durable kept");
        let tls = rate("mm4d once tls") / handshakes;
        self.report.fact(
            "logins",
            "durable stub, one mail per connection over kept",
            stub,
            "",
        );
        self.report
            .at_least("one mail per connection over kept ones, plain", 0.6, plain);
        self.report
            .at_least("one mail per TLS connection over handshakes", 0.7, tls);
        Ok(())
    }

    /// TLS beside plain at 300 KB. Target 4.
    fn tls(&mut self) -> io::Result<()> {
        let mm4d = self.yard.mm4d("mm4d")?;
        let against = self.other("against")?;
        let mail = Mail::new(300 * KIB);
        self.report.heading("tls");
        let mut entrants = vec![
            (
                "mm4d".to_owned(),
                Who::Server(&mm4d, self.yard.plain(&mm4d)),
            ),
            (
                "mm4d tls".to_owned(),
                Who::Server(&mm4d, self.yard.over_tls(&mm4d)),
            ),
        ];
        if let Some(other) = &against {
            entrants.push((
                "against tls".into(),
                Who::Server(other, self.yard.over_tls(other)),
            ));
        }
        self.alternate("tls", &mail, 16, Use::Kept, &entrants)?;
        let rate = |who| {
            self.report
                .find("tls", who, mail.bytes, 16)
                .map_or(0.0, |s| s.rate)
        };
        let ratio = rate("mm4d tls") / rate("mm4d");
        self.report
            .at_least("300 KiB, 16 connections: TLS over plain", 0.7, ratio);
        Ok(())
    }

    /// Logged-in connections that do nothing. Target 5.
    fn idle(&mut self) -> io::Result<()> {
        let counts: &[usize] = if self.plan.quick {
            &[1_000]
        } else {
            &[1_000, 10_000]
        };
        for &count in counts {
            self.idle_connections(count, false)?;
            self.idle_connections(count, true)?;
        }
        Ok(())
    }

    fn idle_connections(&mut self, count: usize, over_tls: bool) -> io::Result<()> {
        let kind = if over_tls { "TLS" } else { "plain" };
        let scenario = format!("idle: {count} {kind} connections");
        self.report.heading(&scenario);
        let empty = self.yard.mm4d("mm4d-empty")?;
        let full = self.yard.mm4d("mm4d-full")?;
        let mail = Mail::new(10 * KIB);
        let active = Who::Server(&full, self.yard.plain(&full));
        // The first connections cost what a process needs but once.
        self.sample(&active, &mail, 16, Use::Kept)?;
        let before = process::private_kib(full.pid())?;
        let target = if over_tls {
            self.yard.over_tls(&full)
        } else {
            self.yard.plain(&full)
        };
        let begin = Instant::now();
        let mut clients = connect_all(&target, count)?;
        let took = begin.elapsed().as_secs_f64();
        let threads = process::threads(full.pid())?;
        let grown = process::private_kib(full.pid())?.saturating_sub(before) as f64;
        let each = grown / count as f64;
        self.report.fact(
            &scenario,
            "connected and logged in",
            count as f64 / took,
            "/s",
        );
        self.report
            .fact(&scenario, "threads of the server", threads as f64, "");
        self.report
            .fact(&scenario, "private memory", each, "KiB per connection");
        let entrants = [
            (
                "mm4d without".to_owned(),
                Who::Server(&empty, self.yard.plain(&empty)),
            ),
            (
                "mm4d beside them".to_owned(),
                Who::Server(&full, self.yard.plain(&full)),
            ),
        ];
        self.alternate(&scenario, &mail, 16, Use::Kept, &entrants)?;
        let answered = clients
            .iter_mut()
            .filter_map(|client| client.command("NOOP\r\n", *b"250").ok())
            .count();
        self.report
            .fact(&scenario, "answered NOOP afterwards", answered as f64, "");
        let rate = |who| {
            self.report
                .find(&scenario, who, mail.bytes, 16)
                .map_or(0.0, |s| s.rate)
        };
        let ratio = rate("mm4d beside them") / rate("mm4d without");
        let lost = (count - answered) as f64;
        self.report.at_most(&format!("{scenario}: lost"), 0.0, lost);
        let limit = if over_tls { 40.0 } else { 16.0 };
        self.report
            .at_most(&format!("{scenario}: private KiB for each"), limit, each);
        self.report
            .at_least(&format!("{scenario}: mails/s beside them"), 0.9, ratio);
        Ok(())
    }

    /// A spool with a million mails in new/. Target 6.
    fn million(&mut self) -> io::Result<()> {
        let count = if self.plan.quick { 50_000 } else { 1_000_000 };
        let scenario = format!("million: {count} messages in new/");
        self.report.heading(&scenario);
        let full = self.yard.spool.join("mm4d-many");
        let took = fill(&full.join("new"), count)?;
        self.report
            .fact(&scenario, "time to create them", took.as_secs_f64(), "s");
        self.ground.settle()?;
        let mut starts = (Vec::new(), Vec::new());
        for _ in 0..self.plan.rounds.max(5) {
            starts
                .0
                .push(self.yard.mm4d("mm4d")?.started_in.as_secs_f64() * 1e3);
            starts
                .1
                .push(self.yard.mm4d_at(&full)?.started_in.as_secs_f64() * 1e3);
        }
        let (empty_start, full_start) = (median(starts.0), median(starts.1));
        self.report
            .fact(&scenario, "start with an empty spool", empty_start, "ms");
        self.report
            .fact(&scenario, "start with the full one", full_start, "ms");
        let mail = Mail::new(10 * KIB);
        let empty_server = self.yard.mm4d("mm4d")?;
        let full_server = self.yard.mm4d_at(&full)?;
        let mut rounds = (Vec::new(), Vec::new());
        for _ in 0..self.plan.rounds {
            let empty = Who::Server(&empty_server, self.yard.plain(&empty_server));
            rounds.0.push(self.sample(&empty, &mail, 16, Use::Kept)?);
            // What comes on top of the million stays: it is a thousandth of it.
            let target = self.yard.plain(&full_server);
            rounds
                .1
                .push(self.drive(&full_server, &target, &mail, 16, Use::Kept)?);
            self.ground.settle()?;
        }
        let empty = Row::new(&scenario, "mm4d, empty", mail.bytes, 16, &rounds.0);
        let full = Row::new(&scenario, "mm4d, full", mail.bytes, 16, &rounds.1);
        let ratio = full.median.rate / empty.median.rate;
        self.report.row(empty);
        self.report.row(full);
        self.report
            .at_least(&format!("{scenario}: mails/s over empty"), 0.9, ratio);
        let target = format!("{scenario}: start-up over empty");
        self.report.at_most(&target, 1.1, full_start / empty_start);
        Ok(())
    }

    /// What a large mail adds to the process. Target 7.
    fn memory(&mut self) -> io::Result<()> {
        let mail = Mail::new(10 * KIB * KIB);
        self.report.heading("memory: mails of 10 MiB in flight");
        for over_tls in [false, true] {
            let mm4d = self.yard.mm4d("mm4d")?;
            let target = if over_tls {
                self.yard.over_tls(&mm4d)
            } else {
                self.yard.plain(&mm4d)
            };
            for (count, limit) in [(1, 256.0), (100, 16_384.0)] {
                let grown = in_flight(&mm4d, &target, &mail, count)?;
                let kind = if over_tls { "TLS" } else { "plain" };
                let target = format!("memory: KiB that {count} x 10 MiB add, {kind}");
                self.report.at_most(&target, limit, grown);
                self.report.fact("memory", &target, grown, "KiB");
                self.ground.clear(&mm4d.mails)?;
            }
        }
        Ok(())
    }

    /// Content throughput where the disk costs nothing. Target 2.
    fn tmpfs(&mut self) -> io::Result<()> {
        let Some(directory) = self.plan.tmpfs.clone() else {
            self.report
                .note("tmpfs: SKIPPED, needs a directory on tmpfs");
            return Ok(());
        };
        self.report.heading("tmpfs");
        let ground = std::mem::replace(&mut self.ground, Ground::new(&directory)?);
        let mm4d = self.yard.mm4d_at(&directory.join("mm4d"))?;
        let copy = self.yard.stub_at("copy", &directory.join("copy"))?;
        let start = |program| self.yard.start(program, &directory.join("against"));
        let against = self.plan.against.as_deref().map(start).transpose()?;
        for bytes in [300 * KIB, 1024 * KIB] {
            let raw = Target {
                raw: true,
                ..self.yard.plain(&copy)
            };
            let mut entrants = vec![
                ("socket to file".to_owned(), Who::Server(&copy, raw)),
                (
                    "mm4d".to_owned(),
                    Who::Server(&mm4d, self.yard.plain(&mm4d)),
                ),
            ];
            if let Some(other) = &against {
                entrants.push(("against".into(), Who::Server(other, self.yard.plain(other))));
            }
            self.alternate("tmpfs", &Mail::new(bytes), 16, Use::Kept, &entrants)?;
            let rate = |who| {
                self.report
                    .find("tmpfs", who, bytes, 16)
                    .map_or(0.0, |s| s.rate)
            };
            let ratio = rate("mm4d") / rate("socket to file");
            let target = format!("tmpfs, {} KiB: throughput over socket to file", bytes / KIB);
            self.report.at_least(&target, 0.6, ratio);
        }
        drop((mm4d, copy, against));
        self.ground = ground;
        fs::remove_dir_all(directory)
    }

    /// The strategies on other disks, and mm4d and the durable stub on them.
    fn disks(&mut self) -> io::Result<()> {
        if self.plan.disks.is_empty() {
            self.report
                .note("disks: SKIPPED, needs root and loop devices");
        }
        for (name, directory) in self.plan.disks.clone() {
            let scenario = format!("disks: {name}");
            self.report.heading(&scenario);
            let ground = std::mem::replace(&mut self.ground, Ground::new(&directory)?);
            let spool = std::mem::replace(&mut self.yard.spool, directory);
            let done = self.disk(&scenario);
            self.ground = ground;
            self.yard.spool = spool;
            done?;
        }
        Ok(())
    }

    fn disk(&mut self, scenario: &str) -> io::Result<()> {
        let mm4d = self.yard.mm4d("mm4d")?;
        let against = self.other("against")?;
        let durable = self.yard.stub("durable")?;
        let mail = Mail::new(10 * KIB);
        let parallel: &[usize] = if self.plan.quick { &[16] } else { &CONNECTIONS };
        for &connections in parallel {
            let mut entrants = limits();
            entrants.push((
                "stub durable".into(),
                Who::Server(&durable, self.yard.plain(&durable)),
            ));
            entrants.push(("mm4d".into(), Who::Server(&mm4d, self.yard.plain(&mm4d))));
            if let Some(other) = &against {
                entrants.push(("against".into(), Who::Server(other, self.yard.plain(other))));
            }
            self.alternate(scenario, &mail, connections, Use::Kept, &entrants)?;
        }
        Ok(())
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

/// Opens that many connections and logs each in, by a few threads.
fn connect_all(target: &Target, count: usize) -> io::Result<Vec<Client>> {
    const THREADS: usize = 8;
    let shares: Vec<io::Result<Vec<Client>>> = thread::scope(|scope| {
        let handles: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    (thread..count)
                        .step_by(THREADS)
                        .map(|n| Client::connect(target, 2 + u8::try_from(n % 240).unwrap_or(0)))
                        .collect()
                })
            })
            .collect();
        handles
            .into_iter()
            .map(|h| h.join().expect("connecting does not panic"))
            .collect()
    });
    let mut clients = Vec::with_capacity(count);
    for share in shares {
        clients.extend(share?);
    }
    Ok(clients)
}

/// Creates empty files with names like mm4d's; the time it took.
fn fill(new: &Path, count: usize) -> io::Result<Duration> {
    fs::create_dir_all(new)?;
    let begin = Instant::now();
    for number in 0..count {
        let name = format!("20260101T000000.000000Z-1-{number:06}@bench.eml");
        File::create(new.join(name))?;
    }
    Ok(begin.elapsed())
}

/// The most KiB that so many large mails, half sent, add to the server's private memory.
fn in_flight(server: &Server, target: &Target, mail: &Mail, count: usize) -> io::Result<f64> {
    let small = Mail::new(10 * KIB);
    let mut clients = connect_all(target, count)?;
    for client in &mut clients {
        client.mail(&small.sent)?;
    }
    let before = process::private_kib(server.pid())?;
    let mut most = before;
    for client in &mut clients {
        client.envelope()?;
    }
    let step = 64 * KIB;
    for (at, part) in mail.sent.chunks(step).enumerate() {
        for client in &mut clients {
            client.part(part)?;
        }
        // A look at the memory maps of a thousand threads costs; every MiB is often enough.
        if at % 16 == 8 {
            most = most.max(process::private_kib(server.pid())?);
        }
    }
    for client in &mut clients {
        client.reply(*b"250")?;
    }
    most = most.max(process::private_kib(server.pid())?);
    Ok((most - before) as f64)
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

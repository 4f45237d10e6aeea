//! Many of something: idle connections, messages in the spool, large mails at once.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, Target};
use crate::contender::Server;
use crate::load::Use;
use crate::mail::Mail;
use crate::process;
use crate::report::{Row, median};

use super::{Bench, KIB, Who};

impl Bench {
    /// Logged-in connections that do nothing. Target 5.
    pub(super) fn idle(&mut self) -> io::Result<()> {
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

    pub(super) fn idle_connections(&mut self, count: usize, over_tls: bool) -> io::Result<()> {
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
        let ratio = self.rate_beside(&scenario, &empty, &full)?;
        let answered = clients
            .iter_mut()
            .filter_map(|client| client.command("NOOP\r\n", *b"250").ok())
            .count();
        self.report
            .fact(&scenario, "answered NOOP afterwards", answered as f64, "");
        let lost = (count - answered) as f64;
        self.report.at_most(&format!("{scenario}: lost"), 0.0, lost);
        let limit = if over_tls { 40.0 } else { 16.0 };
        self.report
            .at_most(&format!("{scenario}: private KiB for each"), limit, each);
        self.report
            .at_least(&format!("{scenario}: mails/s beside them"), 0.9, ratio);
        Ok(())
    }

    /// The rate of a server with idle connections over one without.
    fn rate_beside(&mut self, scenario: &str, empty: &Server, full: &Server) -> io::Result<f64> {
        let mail = Mail::new(10 * KIB);
        let entrants = [
            (
                "mm4d without".to_owned(),
                Who::Server(empty, self.yard.plain(empty)),
            ),
            (
                "mm4d beside them".to_owned(),
                Who::Server(full, self.yard.plain(full)),
            ),
        ];
        self.alternate(scenario, &mail, 16, Use::Kept, &entrants)?;
        let rate = |who| {
            self.report
                .find(scenario, who, mail.bytes, 16)
                .map_or(0.0, |s| s.rate)
        };
        Ok(rate("mm4d beside them") / rate("mm4d without"))
    }

    /// A spool with a million mails in new/. Target 6.
    pub(super) fn million(&mut self) -> io::Result<()> {
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
    pub(super) fn memory(&mut self) -> io::Result<()> {
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

/// The most KiB that `count` large mails, half sent, add to the server's private memory.
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

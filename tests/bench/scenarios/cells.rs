//! mm4d beside a stub that is as durable and has no rules: the marks of the project.

use std::io;

use crate::contender::{Postfix, Server};
use crate::load::Use;
use crate::mail::Mail;
use crate::report::Sample;

use super::{Bench, KIB, Who};

/// A size, a number of connections, and what they are used for.
const CELLS: [(usize, usize, Use); 5] = [
    (10 * KIB, 16, Use::Kept),
    (10 * KIB, 128, Use::Kept),
    (10 * KIB, 1, Use::Kept),
    (10 * KIB, 16, Use::Once),
    (300 * KIB, 16, Use::Kept),
];

/// The rate that mm4d reaches at least, and the CPU time that it takes at most, of
/// the stub's.
const RATE: f64 = 1.0;
const CPU: f64 = 1.1;
/// The CPU time of a login with a resumed session, of the stub's.
const RESUMED: f64 = 1.2;
/// The CPU time for a mail, of Postfix's.
const OF_POSTFIX: f64 = 0.1;

/// Rounds at least: the medians of fewer change too much.
const ROUNDS: usize = 5;

impl Bench {
    /// Each cell plain and over TLS, and logins alone.
    pub(super) fn cells(&mut self) -> io::Result<()> {
        if !self.plan.quick {
            self.plan.rounds = self.plan.rounds.max(ROUNDS);
        }
        let mm4d = self.yard.mm4d("mm4d")?;
        let stub = self.yard.stub("durable")?;
        let against = self.other("against")?;
        let postfix = self.postfix()?;
        for (bytes, connections, used) in CELLS {
            if self.is_left_out(bytes, connections) {
                continue;
            }
            let scenario = match used {
                Use::Kept => "cells",
                Use::Once | Use::Login => "cells, one mail per connection",
            };
            self.report.heading(scenario);
            let servers = [
                ("stub", Some(&stub)),
                ("mm4d", Some(&mm4d)),
                ("against", against.as_ref()),
            ];
            let entrants = self.contestants(&servers, used, postfix.as_ref());
            self.alternate(scenario, &Mail::new(bytes), connections, used, &entrants)?;
            self.judge_cell(scenario, bytes, connections);
        }
        self.resumed(&mm4d, &stub)
    }

    fn is_left_out(&self, bytes: usize, connections: usize) -> bool {
        self.plan
            .cells
            .is_some_and(|cell| cell != (bytes, connections))
    }

    /// The servers, plain and over TLS. A client that connects for one mail resumes
    /// its sessions.
    fn contestants<'a>(
        &self,
        servers: &[(&str, Option<&'a Server>)],
        used: Use,
        postfix: Option<&'a Postfix>,
    ) -> Vec<(String, Who<'a>)> {
        let mut entrants = Vec::new();
        for &(name, server) in servers {
            let Some(server) = server else { continue };
            let tls = match used {
                Use::Kept => self.yard.over_tls(server),
                Use::Once | Use::Login => self.yard.over_resumed_tls(server),
            };
            let plain = self.yard.plain(server);
            entrants.push((name.to_owned(), Who::Server(server, plain)));
            entrants.push((format!("{name} tls"), Who::Server(server, tls)));
        }
        if let Some(postfix) = postfix {
            entrants.push(("postfix".to_owned(), Who::Postfix(postfix)));
        }
        entrants
    }

    fn judge_cell(&mut self, scenario: &str, bytes: usize, connections: usize) {
        for kind in ["", " tls"] {
            let figures = |who: &str| {
                let contender = format!("{who}{kind}");
                self.report.find(scenario, &contender, bytes, connections)
            };
            if let (Some(mm4d), Some(stub)) = (figures("mm4d"), figures("stub")) {
                let cell = format!("{scenario}: {} KiB, {connections}{kind}", bytes / KIB);
                self.judge_beside(&cell, mm4d, stub);
            }
        }
        let figures = |who: &str| self.report.find(scenario, who, bytes, connections);
        if let (Some(mm4d), Some(postfix)) = (figures("mm4d"), figures("postfix")) {
            if bytes == 10 * KIB {
                let mark = format!("{scenario}: 10 KiB, {connections}: CPU of Postfix's");
                self.report
                    .at_most(&mark, OF_POSTFIX, mm4d.cpu / postfix.cpu);
            }
        }
    }

    fn judge_beside(&mut self, cell: &str, mm4d: Sample, stub: Sample) {
        let report = &mut self.report;
        report.at_least(&format!("{cell}: rate"), RATE, mm4d.rate / stub.rate);
        report.at_most(&format!("{cell}: CPU"), CPU, mm4d.cpu / stub.cpu);
        report.at_most(&format!("{cell}: p99"), 1.0, mm4d.p99 / stub.p99);
    }

    /// Connections that resume a TLS session, log in and send nothing.
    fn resumed(&mut self, mm4d: &Server, stub: &Server) -> io::Result<()> {
        let scenario = "cells, logins over resumed TLS";
        self.report.heading(scenario);
        let entrants = [("stub", stub), ("mm4d", mm4d)].map(|(name, server)| {
            let target = self.yard.over_resumed_tls(server);
            (name.to_owned(), Who::Server(server, target))
        });
        let mail = Mail::new(KIB);
        self.alternate(scenario, &mail, 16, Use::Login, &entrants)?;
        let cpu = |who| {
            self.report
                .find(scenario, who, mail.bytes, 16)
                .map_or(f64::NAN, |s| s.cpu)
        };
        let ratio = cpu("mm4d") / cpu("stub");
        self.report
            .at_most(&format!("{scenario}: CPU"), RESUMED, ratio);
        Ok(())
    }

    /// A spool on a disk that is slow to sync; `scripts/bench.sh` makes one.
    pub(super) fn slow(&mut self) -> io::Result<()> {
        let scenario = "slow: 5 ms for each sync";
        self.report.heading(scenario);
        self.disk(scenario)?;
        for connections in [1, 16, 128] {
            let rate = |who| {
                self.report
                    .find(scenario, who, 10 * KIB, connections)
                    .map(|s| s.rate)
            };
            let (Some(mm4d), Some(stub)) = (rate("mm4d"), rate("stub durable")) else {
                continue;
            };
            let best = self.report.best(scenario, "limit", 10 * KIB, connections);
            let best = best.map(|(name, rate)| (name.to_owned(), rate));
            if let Some((name, rate)) = best {
                let mark = format!("{scenario}, {connections}: rate of the best ({name})");
                self.report.at_least(&mark, 0.9, mm4d / rate);
            }
            let mark = format!("{scenario}, {connections}: rate of the stub");
            self.report.at_least(&mark, RATE, mm4d / stub);
        }
        Ok(())
    }
}

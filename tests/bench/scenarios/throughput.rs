//! Mails of every size over a few and over many connections, on several disks.

use std::fs::{self};
use std::io;

use crate::client::Target;
use crate::ground::Ground;
use crate::load::Use;
use crate::mail::Mail;
use crate::report::Report;

use super::{Bench, CONNECTIONS, KIB, SIZES, Who, limits};

impl Bench {
    /// Sizes and parallelisms: the limit, the stubs, mm4d, Postfix. Targets 1 and 2.
    pub(super) fn throughput(&mut self) -> io::Result<()> {
        let mm4d = self.yard.mm4d("mm4d")?;
        let against = self.other("against")?;
        let null = self.yard.stub("null")?;
        let durable = self.yard.stub("durable")?;
        let postfix = self.postfix()?;
        self.report.heading("throughput");
        for (bytes, connections) in self.sizes() {
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

    pub(super) fn sizes(&self) -> Vec<(usize, usize)> {
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
    pub(super) fn judge_throughput(&mut self, bytes: usize, connections: usize) {
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

    /// Content throughput where the disk costs nothing. Target 2.
    pub(super) fn tmpfs(&mut self) -> io::Result<()> {
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
    pub(super) fn disks(&mut self) -> io::Result<()> {
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

    pub(super) fn disk(&mut self, scenario: &str) -> io::Result<()> {
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
}

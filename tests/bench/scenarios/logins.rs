//! What a login and TLS cost.

use std::io;

use crate::load::Use;
use crate::mail::Mail;
use crate::openssl;
use crate::report::{Row, median};

use super::{Bench, KIB, Who};

impl Bench {
    /// One mail and one login a connection, plain and TLS. Target 3.
    pub(super) fn logins(&mut self) -> io::Result<()> {
        let mm4d = self.yard.mm4d("mm4d")?;
        let against = self.other("against")?;
        let durable = self.yard.stub("durable")?;
        let postfix = self.postfix()?;
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
        self.judge_logins(mail.bytes, median(handshakes));
        Ok(())
    }

    /// Target 3, where openssl makes `handshakes` TLS handshakes a second.
    fn judge_logins(&mut self, bytes: usize, handshakes: f64) {
        self.report.fact(
            "logins",
            "openssl s_server and s_time -new, TLS 1.3",
            handshakes,
            "/s",
        );
        let rate = |who| {
            self.report
                .find("logins", who, bytes, 16)
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
    }

    /// TLS beside plain at 300 KB. Target 4.
    pub(super) fn tls(&mut self) -> io::Result<()> {
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
}

//! The load: mails in a closed loop, over as many connections as are asked for.
//!
//! Each connection has one blocking thread; it sends its next mail when the last
//! one was answered. The connections are made and logged in before the clock
//! starts. Every wait is bounded, and so is the time of the loop; the first
//! refusal ends it with an error, for a rate with refusals in it says nothing.

use std::io;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, Target};
use crate::report::Sample;

/// What a connection is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// All its mails.
    Kept,
    /// One mail, then another connection and another login.
    Once,
    /// A login and no mail, then another connection.
    Login,
}

/// Sends `bytes` over a number of connections for a time; `started` is called when all are logged in.
pub fn run(
    target: &Target,
    connections: usize,
    used: Use,
    bytes: &[u8],
    time: Duration,
    started: impl FnOnce(),
) -> io::Result<Outcome> {
    // One more for this thread, which tells the caller that the clock starts.
    let start = Barrier::new(connections + 1);
    let workers: Vec<io::Result<_>> = thread::scope(|scope| {
        let handles: Vec<_> = (0..connections)
            .map(|number| {
                let start = &start;
                thread::Builder::new()
                    .stack_size(128 * 1024)
                    .spawn_scoped(scope, move || {
                        work(target, number, used, bytes, time, start)
                    })
                    .expect("the system has a thread left")
            })
            .collect();
        start.wait();
        started();
        start.wait();
        handles
            .into_iter()
            .map(|h| h.join().expect("a worker does not panic"))
            .collect()
    });
    let mut outcome = Outcome::new(time);
    for worker in workers {
        outcome.add(worker?);
    }
    Ok(outcome)
}

/// One connection's loop: its timely mails and the latency of each mail.
fn work(
    target: &Target,
    number: usize,
    used: Use,
    bytes: &[u8],
    time: Duration,
    start: &Barrier,
) -> io::Result<(u64, Vec<u32>)> {
    // 127.0.0.2 to 127.0.0.241
    let source = 2 + u8::try_from(number % 240).unwrap_or_default();
    let mut latencies = Vec::with_capacity(16_384);
    // Who cannot connect must still come to the barriers, or all wait for ever.
    let first = Client::connect(target, source).and_then(|mut client| {
        client.mail(bytes)?;
        Ok(client)
    });
    start.wait();
    start.wait();
    let mut client = first?;
    let deadline = Instant::now() + time;
    let mut timely = 0;
    while Instant::now() < deadline {
        let begin = Instant::now();
        if used != Use::Kept {
            client = Client::connect(target, source)?;
        }
        let latency = match used {
            Use::Login => begin.elapsed(),
            Use::Kept | Use::Once => client.mail(bytes)?,
        };
        latencies.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
        timely += u64::from(Instant::now() < deadline);
        if used != Use::Kept {
            client.quit()?;
        }
    }
    Ok((timely, latencies))
}

/// What came of a load.
#[derive(Debug)]
pub struct Outcome {
    /// Mails answered before the time was over.
    pub timely: u64,
    /// Mails answered, with the last ones of each connection.
    pub mails: u64,
    /// The time that the timely ones had.
    pub time: Duration,
    /// From the final dot to the answer, in microseconds, one for each mail.
    pub latencies: Vec<u32>,
}

impl Outcome {
    /// Nothing yet.
    pub fn new(time: Duration) -> Self {
        Self {
            timely: 0,
            mails: 0,
            time,
            latencies: Vec::new(),
        }
    }

    /// Adds what one thread did: its timely mails and all its latencies.
    pub fn add(&mut self, (timely, latencies): (u64, Vec<u32>)) {
        self.timely += timely;
        self.mails += latencies.len() as u64;
        self.latencies.extend(latencies);
    }

    /// Mails a second.
    fn rate(&self) -> f64 {
        self.timely as f64 / self.time.as_secs_f64()
    }

    /// What came of it, with the processor time that it took.
    pub fn sample(&mut self, spent: Duration) -> Sample {
        Sample {
            rate: self.rate(),
            cpu: spent.as_secs_f64() * 1e6 / (self.mails.max(1) as f64),
            p50: f64::from(self.percentile(0.5)),
            p99: f64::from(self.percentile(0.99)),
            private: 0.0,
        }
    }

    /// The latency that `share` of the mails do not exceed, in microseconds.
    fn percentile(&mut self, share: f64) -> u32 {
        self.latencies.sort_unstable();
        let last = self.latencies.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.latencies.get(at).copied().unwrap_or(0)
    }
}

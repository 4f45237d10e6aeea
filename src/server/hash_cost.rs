//! What a refused login costs, which must reveal nothing about the accounts:
//! always about one hash of the costliest kind in the accounts file.
//!
//! An unknown id pays for that hash. A wrong password pays for the hash of its
//! account, and then the difference in rounds of the costliest kind. Accounts of
//! one kind, salt length and number of rounds, as nearly every file has them,
//! leave no difference. Between kinds the difference depends on the CPU, so
//! the time of a round is measured when the accounts are loaded.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use sha_crypt::Params;
use sha2::digest::Digest;
use sha2::{Sha256, Sha512};

/// Rounds that are timed at once, and how often: the fastest time counts.
const TIMED_ROUNDS: u32 = 200;
const TIMED_REPEATS: u32 = 5;

/// The algorithm of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// `$5$`
    Sha256,
    /// `$6$`
    Sha512,
}

/// What a hash costs depends on this, and on the length of the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Work {
    pub(crate) kind: Kind,
    /// Bytes of the salt.
    pub(crate) salt: usize,
    pub(crate) rounds: u32,
}

/// What a refusal costs with one accounts file.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// The most rounds of each kind and salt length.
    candidates: Vec<Work>,
    time: BlockTime,
}

/// How long a round of one block takes, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct BlockTime {
    sha256: f64,
    sha512: f64,
}

impl Refusal {
    /// The cost of a refusal where the accounts have these hashes.
    pub(crate) fn new(accounts: impl Iterator<Item = Work>) -> Refusal {
        let mut most: BTreeMap<(Kind, usize), u32> = BTreeMap::new();
        for Work { kind, salt, rounds } in accounts {
            let entry = most.entry((kind, salt)).or_insert(rounds);
            *entry = rounds.max(*entry);
        }
        let kind = |wanted| most.keys().any(|(kind, _)| *kind == wanted);
        let time = if kind(Kind::Sha256) && kind(Kind::Sha512) {
            BlockTime::measure()
        } else {
            // Only differences within one kind count.
            BlockTime {
                sha256: 1.0,
                sha512: 1.0,
            }
        };
        Refusal {
            candidates: most
                .into_iter()
                .map(|((kind, salt), rounds)| Work { kind, salt, rounds })
                .collect(),
            time,
        }
    }

    /// Pays what is left of the cost after the hash of the account, if there is
    /// one.
    pub(crate) fn pay(&self, account: Option<Work>, password: &[u8]) {
        let Some((costliest, rounds)) = self.rest(account, password.len()) else {
            return;
        };
        let salt = [b'.'; 16];
        let salt = salt.get(..costliest.salt).unwrap_or(&salt);
        match (costliest.kind, Params::new(rounds)) {
            (Kind::Sha256, Ok(params)) => {
                black_box(sha_crypt::sha256_crypt(password, salt, params));
            }
            (Kind::Sha512, Ok(params)) => {
                black_box(sha_crypt::sha512_crypt(password, salt, params));
            }
            // Fewer rounds than SHA-crypt allows.
            (Kind::Sha256, Err(_)) => run::<Sha256>(costliest.salt, password, rounds),
            (Kind::Sha512, Err(_)) => run::<Sha512>(costliest.salt, password, rounds),
        }
    }

    /// The costliest work for a password of this length, and the rounds of it that
    /// are left to pay.
    fn rest(&self, account: Option<Work>, password: usize) -> Option<(Work, u32)> {
        let costliest =
            self.candidates.iter().copied().max_by(|a, b| {
                f64::total_cmp(&self.cost(*a, password), &self.cost(*b, password))
            })?;
        let paid = account.map_or(0.0, |work| self.cost(work, password));
        let round = self.cost(costliest, password) / f64::from(costliest.rounds);
        // A float becomes the nearest integer that there is, never a wrong one.
        let paid = (paid / round).round() as u32;
        Some((costliest, costliest.rounds.saturating_sub(paid)))
    }

    fn cost(&self, work: Work, password: usize) -> f64 {
        let block = match work.kind {
            Kind::Sha256 => self.time.sha256,
            Kind::Sha512 => self.time.sha512,
        };
        block * blocks(work.kind, work.salt, password) * f64::from(work.rounds)
    }
}

impl BlockTime {
    fn measure() -> BlockTime {
        BlockTime {
            sha256: nanoseconds(run::<Sha256>),
            sha512: nanoseconds(run::<Sha512>),
        }
    }
}

fn nanoseconds(run: fn(usize, &[u8], u32)) -> f64 {
    let fastest = (0..TIMED_REPEATS)
        .map(|_| {
            let start = Instant::now();
            run(8, b"password", TIMED_ROUNDS);
            start.elapsed()
        })
        .min()
        .unwrap_or(Duration::ZERO);
    (fastest.as_nanos() as f64 / f64::from(TIMED_ROUNDS)).max(1.0)
}

/// Blocks that a round takes on average: its input is the last digest, the
/// password, in two of three rounds the salt and in six of seven the password
/// again (the algorithm's step 21), and then the padding of SHA-2.
fn blocks(kind: Kind, salt: usize, password: usize) -> f64 {
    let (digest, block, padding) = match kind {
        Kind::Sha256 => (32, 64, 9),
        Kind::Sha512 => (64, 128, 17),
    };
    let rounds = 21;
    let total: usize = (0..rounds)
        .map(|round| {
            let salt = if round % 3 != 0 { salt } else { 0 };
            let again = if round % 7 != 0 { password } else { 0 };
            (digest + password + salt + again + padding).div_ceil(block)
        })
        .sum();
    total as f64 / rounds as f64
}

/// Rounds that take the time of a hash's rounds and give no hash.
fn run<D: Digest>(salt: usize, password: &[u8], rounds: u32) {
    let salt = [b'.'; 16].into_iter().take(salt).collect::<Vec<_>>();
    let mut last = D::digest(password);
    for round in 0..rounds {
        let mut digest = D::new();
        digest.update(&last);
        if round % 3 != 0 {
            digest.update(&salt);
        }
        if round % 7 != 0 {
            digest.update(password);
        }
        digest.update(password);
        last = digest.finalize();
    }
    black_box(&last);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(kind: Kind, salt: usize, rounds: u32) -> Work {
        Work { kind, salt, rounds }
    }

    #[test]
    fn a_refusal_costs_one_hash_of_the_costliest_kind_whoever_is_asked_for() {
        let accounts = [
            work(Kind::Sha512, 8, 1000),
            work(Kind::Sha512, 8, 100_000),
            work(Kind::Sha512, 2, 5000),
            work(Kind::Sha256, 16, 7000),
            work(Kind::Sha256, 4, 90_000),
        ];
        let refusal = Refusal::new(accounts.into_iter());
        for password in [1, 8, 24, 100, 512] {
            let (costliest, all) = refusal.rest(None, password).unwrap();
            assert_eq!(all, costliest.rounds);
            let expected = refusal.cost(costliest, password);
            for account in accounts {
                let (work, rounds) = refusal.rest(Some(account), password).unwrap();
                let rest = refusal.cost(Work { rounds, ..work }, password);
                let total = refusal.cost(account, password) + rest;
                let ratio = total / expected;
                assert!((0.99..1.01).contains(&ratio), "{account:?}: {ratio}");
            }
        }
    }

    #[test]
    fn accounts_of_one_kind_leave_no_difference() {
        let account = work(Kind::Sha512, 16, 5000);
        let refusal = Refusal::new([account; 3].into_iter());
        for password in 1..64 {
            assert_eq!(refusal.rest(Some(account), password), Some((account, 0)));
        }
    }

    #[test]
    fn blocks_are_counted_as_sha2_takes_them() {
        // 64 + 8 + 16 + 8 + 17 = 113
        assert_eq!(blocks(Kind::Sha512, 16, 8), 1.0);
        assert!(blocks(Kind::Sha512, 16, 20) > 1.0);
        assert!(blocks(Kind::Sha256, 16, 8) > blocks(Kind::Sha256, 2, 8));
    }
}

//! What the filters of the page count: kind, account and findings of each message.
//!
//! One thread reads each message once, the newest first, when the server starts and when
//! it arrives. No request waits for it: there are no counts until every message was read,
//! and those of a moment ago while one is. Limits: 40 bytes for a message, [`MAX_ACCOUNTS`]
//! accounts. A message that cannot be read is not counted.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::ops::Deref;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::inspect::check::{self, Duplicates, Profile};
use crate::inspect::message::Message;
use crate::inspect::output::page::Kind;
use crate::inspect::store::{Entry, Store};

/// Accounts that are counted; a mail that nobody received could name any.
const MAX_ACCOUNTS: usize = 1000;

/// A message of the list, and what was read of it: nothing yet, or nothing at all.
#[derive(Debug)]
pub(super) struct Known {
    entry: Entry,
    facts: OnceLock<Option<Facts>>,
}

#[derive(Clone, Copy, Debug)]
struct Facts {
    kind: Kind,
    /// Its place in the list of accounts; `None` without one, or beyond that list.
    account: Option<u16>,
    /// A hash of what makes it a duplicate.
    transaction: Option<u64>,
    has_findings: bool,
}

impl Deref for Known {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.entry
    }
}

impl Known {
    pub(super) fn new(entry: Entry) -> Known {
        Known {
            entry,
            facts: OnceLock::new(),
        }
    }

    /// The same message, moved to where `entry` says.
    pub(super) fn moved(&self, entry: Entry) -> Known {
        let facts = match self.facts() {
            Some(_) => self.facts.clone(),
            // It was not found where it had been.
            None => OnceLock::new(),
        };
        Known { entry, facts }
    }

    /// Whether it was read, or found to be unreadable.
    pub(super) fn is_surveyed(&self) -> bool {
        self.facts.get().is_some()
    }

    /// Whether another message has its transaction, as far as both were read.
    pub(super) fn may_repeat(&self, other: &Known) -> bool {
        let transaction = self.facts().and_then(|facts| facts.transaction);
        transaction.is_some() && transaction == other.facts().and_then(|facts| facts.transaction)
    }

    fn facts(&self) -> Option<&Facts> {
        self.facts.get().and_then(Option::as_ref)
    }
}

/// Reads messages for what is counted.
#[derive(Debug, Default)]
pub(super) struct Survey {
    accounts: Mutex<Vec<String>>,
    hasher: RandomState,
}

impl Survey {
    /// Reads a message.
    pub(super) fn read(&self, store: &Store, known: &Known) {
        let facts = store.read(known).ok().map(|raw| {
            let message = Message::read(known, &raw);
            let transaction = Duplicates::key(&message);
            Facts {
                kind: Kind::of(&message),
                account: message.account().and_then(|name| self.account(name)),
                transaction: transaction.map(|key| self.hasher.hash_one(key)),
                has_findings: !check::findings(&message, &Profile::default()).is_empty(),
            }
        });
        // Only the thread of the survey reads: it is not set yet.
        let _ = known.facts.set(facts);
    }

    /// The place of an account in the list of accounts.
    fn account(&self, name: &str) -> Option<u16> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let at = accounts.iter().position(|known| known == name);
        let at = at.or_else(|| {
            (accounts.len() < MAX_ACCOUNTS).then(|| {
                accounts.push(name.to_owned());
                accounts.len() - 1
            })
        });
        at.and_then(|at| u16::try_from(at).ok())
    }

    /// Counts the messages; `None` while one of them was not read yet.
    pub(super) fn count<'k>(&self, all: impl Iterator<Item = &'k Known>) -> Option<Counts> {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let names = accounts.iter().map(|name| (name.clone(), 0));
        let mut counts = Counts {
            accounts: names.collect(),
            ..Counts::default()
        };
        drop(accounts);
        let mut seen = HashSet::new();
        let mut surveyed = Vec::new();
        for known in all {
            if !known.is_surveyed() {
                return None;
            }
            let Some(facts) = known.facts() else { continue };
            let transaction = facts.transaction;
            counts
                .repeated
                .extend(transaction.filter(|transaction| !seen.insert(*transaction)));
            surveyed.push(facts);
        }
        for facts in surveyed {
            counts.add(facts);
        }
        Some(counts)
    }
}

/// How many messages each filter selects.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) all: usize,
    kinds: [usize; 3],
    pub(super) with_findings: usize,
    /// In the order of the survey's list.
    accounts: Vec<(String, usize)>,
    /// The transactions that more than one message has.
    repeated: HashSet<u64>,
}

impl Counts {
    fn add(&mut self, facts: &Facts) {
        self.all += 1;
        let kinds = Kind::ALL.into_iter().zip(&mut self.kinds);
        for (_, count) in kinds.filter(|(kind, _)| *kind == facts.kind) {
            *count += 1;
        }
        let account = facts.account.map(usize::from);
        if let Some((_, count)) = account.and_then(|at| self.accounts.get_mut(at)) {
            *count += 1;
        }
        self.with_findings += usize::from(self.finds(facts));
    }

    fn finds(&self, facts: &Facts) -> bool {
        facts.has_findings || self.repeats(facts)
    }

    fn repeats(&self, facts: &Facts) -> bool {
        let transaction = facts.transaction.as_ref();
        transaction.is_some_and(|transaction| self.repeated.contains(transaction))
    }

    pub(super) fn of_kind(&self, kind: Kind) -> usize {
        let mut kinds = Kind::ALL.into_iter().zip(self.kinds);
        kinds
            .find(|(known, _)| *known == kind)
            .map_or(0, |found| found.1)
    }

    pub(super) fn of_account(&self, name: &str) -> usize {
        let found = self.accounts.iter().find(|(known, _)| known == name);
        found.map_or(0, |(_, count)| *count)
    }

    /// The accounts of the most messages, at most `limit`, by name.
    pub(super) fn biggest_accounts(&self, limit: usize) -> Vec<&str> {
        let mut accounts: Vec<_> = self
            .accounts
            .iter()
            .filter(|(_, count)| *count > 0)
            .collect();
        accounts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        accounts.truncate(limit);
        let mut names: Vec<_> = accounts
            .into_iter()
            .map(|(name, _)| name.as_str())
            .collect();
        names.sort_unstable();
        names
    }

    /// Whether a message is a duplicate of another one.
    pub(super) fn is_repeated(&self, known: &Known) -> bool {
        known.facts().is_some_and(|facts| self.repeats(facts))
    }

    /// Whether a message is of that kind; `None` if it was not read.
    pub(super) fn is_of_kind(known: &Known, kind: Kind) -> Option<bool> {
        known.facts().map(|facts| facts.kind == kind)
    }

    /// Whether a message has findings; `None` if it was not read.
    pub(super) fn has_findings(&self, known: &Known) -> Option<bool> {
        known.facts().map(|facts| self.finds(facts))
    }

    /// Whether an account sent a message; `None` if it was not read, or has no account of
    /// the list.
    pub(super) fn is_of_account(&self, known: &Known, name: &str) -> Option<bool> {
        let account = known.facts()?.account?;
        let (known, _) = self.accounts.get(usize::from(account))?;
        Some(known == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(account: &str, transaction: &str, kind: &str) -> (tempfile::TempDir, Known) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("20220125T221744.000001Z-7-000001@host.eml");
        let mail = format!(
            "Return-Path: <>\r\nX-Envelope-To: <+15550000001/TYPE=PLMN@mms.example.com>\r\nX-MM4-System-ID: {account}\r\n\
             Received: from a ([192.0.2.1]) by mm4.example.com (mm4d) with ESMTPSA\r\n  \
             id 20220125T221744.000001Z-7-000001@mm4.example.com; Tue, 25 Jan 2022 22:17:44 +0000\r\n\
             X-Mms-Message-Type: {kind}\r\n\
             X-Mms-Transaction-ID: {transaction}\r\n\r\n"
        );
        std::fs::write(&path, mail).unwrap();
        (dir, Known::new(Entry::at(&path)))
    }

    #[test]
    fn messages_are_counted_once_all_were_read() {
        let survey = Survey::default();
        let (spool, north) = known("north", "1", "MM4_forward.REQ");
        let (_south, south) = known("south", "1", "MM4_forward.REQ");
        let (_twice, twice) = known("north", "1", "MM4_forward.REQ");
        let (_answer, answer) = known("north", "1", "MM4_forward.RES");
        let all = [&north, &south, &twice, &answer];
        let store = Store::open(spool.path()).unwrap();
        for known in all {
            assert!(survey.count(all.into_iter()).is_none());
            survey.read(&store, known);
        }
        let counts = survey.count(all.into_iter()).unwrap();
        assert_eq!((counts.all, counts.of_kind(Kind::Message)), (4, 3));
        assert_eq!(
            (counts.of_kind(Kind::Answer), counts.of_kind(Kind::Report)),
            (1, 0)
        );
        assert_eq!(
            (counts.of_account("north"), counts.of_account("other")),
            (3, 0)
        );
        assert_eq!(counts.biggest_accounts(1), ["north"]);
        assert!(counts.is_repeated(&north) && counts.is_repeated(&twice));
        assert!(!counts.is_repeated(&south) && !counts.is_repeated(&answer));
        assert!(north.may_repeat(&twice) && !north.may_repeat(&south));
        assert_eq!(counts.is_of_account(&north, "north"), Some(true));
        assert_eq!(counts.is_of_account(&north, "south"), Some(false));
    }

    #[test]
    fn a_message_that_was_deleted_is_not_counted() {
        let (dir, gone) = known("north", "1", "MM4_forward.REQ");
        let store = Store::open(dir.path()).unwrap();
        std::fs::remove_file(&gone.path).unwrap();
        let survey = Survey::default();
        survey.read(&store, &gone);
        let counts = survey.count([&gone].into_iter()).unwrap();
        assert_eq!((counts.all, counts.is_repeated(&gone)), (0, false));
    }
}

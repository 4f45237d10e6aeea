//! The messages of the spool by name, kept up to date, and a search that stops.
//!
//! One thread watches the spool and adds what is published; what was deleted or moved is
//! noticed when the directories are read again, every [`RELIST`], and after [`RELIST_SOON`]
//! where a request has missed a message. No request for many messages reads the
//! directories, and none looks at more messages than it may in [`SEARCH_TIME`]: it answers
//! with what it has found, and with a cursor to continue. What the survey knows of a
//! message is not read again. Limits: [`MAX_ENTRIES`] messages,
//! the newest; [`MAX_ARRIVALS`] that event streams may still have to send.

use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::survey::{Counts, Known, Survey};
use crate::inspect::exchange::Exchanges;
use crate::inspect::filter::{Content, Filter, Unreadable};
use crate::inspect::output::page::Kind;
use crate::inspect::store::{Entry, Store};
use crate::inspect::watch::{Follower, TICK};
use crate::spool::id::MessageId;

/// Messages that are kept by name: about 250 bytes each.
const MAX_ENTRIES: usize = 500_000;
/// New messages that are remembered for event streams.
const MAX_ARRIVALS: usize = 1024;
/// How often the directories are read again.
const RELIST: Duration = Duration::from_secs(60);
/// The same once a message was missed, and at least as many times what it took.
const RELIST_SOON: Duration = Duration::from_secs(1);
const RELIST_SHARE: u32 = 20;
/// How long one request may search.
const SEARCH_TIME: Duration = Duration::from_millis(400);
/// Messages that are taken from the list at a time.
const CHUNK: usize = 256;
/// The newest messages in which unanswered requests are looked for.
const UNANSWERED_AMONG: usize = 10_000;
/// How long the unanswered requests that were found are not looked for again.
const UNANSWERED_FOR: Duration = Duration::from_secs(5);

/// The place of a message in the order of the spool.
pub(super) type Key = (Option<Timestamp>, String);

/// The messages of a spool.
#[derive(Debug)]
pub(super) struct Index {
    state: Mutex<State>,
    arrived: Condvar,
    unanswered: Mutex<Option<(Instant, Arc<HashSet<String>>)>>,
    survey: Survey,
    counts: Mutex<Option<Arc<Counts>>>,
    /// Something has changed since `counts`.
    is_changed: AtomicBool,
    /// A message is not where the list says.
    is_stale: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// Oldest first.
    entries: Vec<Arc<Known>>,
    /// Those that the survey has not read yet, which takes the last first.
    unread: Vec<Arc<Known>>,
    arrivals: VecDeque<Arc<Known>>,
    /// Arrivals since the start, also those that are forgotten.
    count: u64,
    is_broken: bool,
}

/// What is looked for.
#[derive(Debug)]
pub(super) struct Search<'s> {
    pub(super) filter: &'s Filter,
    pub(super) kind: Option<Kind>,
    /// Where it is given, duplicates are findings.
    pub(super) counts: Option<&'s Counts>,
}

impl Search<'_> {
    /// Whether the survey knows that a message does not match.
    fn is_ruled_out(&self, known: &Known) -> bool {
        let kind = self.kind.and_then(|kind| Counts::is_of_kind(known, kind));
        let counts = self.counts;
        let account = self.filter.account.as_deref();
        let account = counts
            .zip(account)
            .and_then(|(counts, name)| counts.is_of_account(known, name));
        let findings = counts.filter(|_| self.wants_findings());
        let findings = findings.and_then(|counts| counts.has_findings(known));
        [kind, account, findings].contains(&Some(false))
    }

    fn is_known_to_have_findings(&self, known: &Known) -> bool {
        let counts = self.counts.filter(|_| self.wants_findings());
        counts.is_some_and(|counts| counts.has_findings(known) == Some(true))
    }

    fn wants_findings(&self) -> bool {
        self.filter.has.contains(&Content::Findings)
    }
}

/// What a search has found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Newest first.
    pub(super) entries: Vec<Arc<Known>>,
    /// Those that could not be read to decide, and why.
    pub(super) unreadable: Vec<Unreadable>,
    /// Where to continue; `None` when everything was looked at.
    pub(super) next: Option<Key>,
}

impl Index {
    /// Lists the spool, and begins to watch it.
    pub(super) fn start(root: &Path) -> io::Result<(Index, Follower)> {
        let follower = Follower::start(root)?;
        let store = Store::open(root)?;
        let mut state = State::default();
        state.list(store.entries()?);
        let index = Index {
            state: Mutex::new(state),
            arrived: Condvar::new(),
            unanswered: Mutex::new(None),
            survey: Survey::default(),
            counts: Mutex::new(None),
            is_changed: AtomicBool::new(true),
            is_stale: AtomicBool::new(false),
        };
        Ok((index, follower))
    }

    /// Keeps the list up to date; returns when the spool can no longer be watched.
    pub(super) fn watch(&self, root: &Path, mut follower: Follower) -> io::Result<()> {
        // Its end is never seen: the watch goes on until the process ends.
        let nobody = File::open(root)?;
        let (mut listed, mut took) = (Instant::now(), Duration::ZERO);
        loop {
            let published = follower.wait(&nobody, TICK);
            self.lock().is_broken = published.is_err();
            for entry in published?.unwrap_or_default() {
                self.add(entry);
            }
            let soon = RELIST_SOON.max(took * RELIST_SHARE).min(RELIST);
            let is_stale = self.is_stale.load(Ordering::Acquire) && listed.elapsed() > soon;
            if is_stale || listed.elapsed() > RELIST {
                let started = Instant::now();
                self.is_stale.store(false, Ordering::Release);
                let entries = Store::open(root).and_then(|store| store.entries());
                let mut state = self.lock();
                state.is_broken = entries.is_err();
                if let Ok(entries) = entries {
                    state.list(entries);
                }
                drop(state);
                self.is_changed.store(true, Ordering::Release);
                self.arrived.notify_all();
                listed = Instant::now();
                took = listed.duration_since(started);
            }
        }
    }

    fn add(&self, entry: Entry) {
        let mut state = self.lock();
        let entry = Arc::new(Known::new(entry));
        let key = (entry.time, entry.id.as_str());
        let at = state
            .entries
            .partition_point(|other| (other.time, other.id.as_str()) < key);
        if state
            .entries
            .get(at)
            .is_none_or(|other| other.id != entry.id)
        {
            state.entries.insert(at, Arc::clone(&entry));
            state.unread.push(Arc::clone(&entry));
        }
        if state.entries.len() > MAX_ENTRIES {
            state.entries.remove(0);
        }
        state.arrivals.push_back(entry);
        state.count += 1;
        if state.arrivals.len() > MAX_ARRIVALS {
            state.arrivals.pop_front();
        }
        drop(state);
        self.arrived.notify_all();
    }

    /// Messages in the spool.
    pub(super) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether the spool could not be read the last time.
    pub(super) fn is_broken(&self) -> bool {
        self.lock().is_broken
    }

    /// The message of exactly that id.
    pub(super) fn get(&self, id: &str) -> Option<Arc<Known>> {
        let state = self.lock();
        let found = match MessageId::parse(id).map(|id| id.time()) {
            Some(time) => {
                let key = (Some(time), id);
                let at = state
                    .entries
                    .partition_point(|other| (other.time, other.id.as_str()) < key);
                state.entries.get(at).filter(|entry| entry.id == id)
            }
            None => state.entries.iter().find(|entry| entry.id == id),
        };
        found.cloned()
    }

    /// At most `count` messages before a place, newest first.
    fn before(&self, key: Option<&Key>, count: usize) -> Vec<Arc<Known>> {
        let state = self.lock();
        let end = key.map_or(state.entries.len(), |(time, id)| {
            state
                .entries
                .partition_point(|other| (other.time, other.id.as_str()) < (*time, id))
        });
        let some = state.entries.get(end.saturating_sub(count)..end);
        some.unwrap_or_default().iter().rev().cloned().collect()
    }

    /// The messages around one, itself among them, oldest first: at most `count` on each
    /// side.
    pub(super) fn around(&self, entry: &Entry, count: usize) -> Vec<Entry> {
        let state = self.lock();
        let key = (entry.time, entry.id.as_str());
        let at = state
            .entries
            .partition_point(|other| (other.time, other.id.as_str()) < key);
        let end = state.entries.len().min(at + count);
        let some = state.entries.get(at.saturating_sub(count)..end);
        some.unwrap_or_default()
            .iter()
            .map(|known| Entry::clone(known))
            .collect()
    }

    /// At most `limit` messages that match, before a place.
    pub(super) fn select(
        &self,
        store: &Store,
        search: &Search<'_>,
        from: Option<Key>,
        limit: usize,
    ) -> Found {
        let started = Instant::now();
        let filter = search.filter;
        let unanswered = filter.unanswered.then(|| self.unanswered(store));
        let filter = Filter {
            unanswered: false,
            ..filter.clone()
        };
        let mut without_findings = filter.clone();
        without_findings.has.retain(|has| *has != Content::Findings);
        let (mut found, mut key) = (Found::default(), from);
        loop {
            let chunk = self.before(key.as_ref(), CHUNK);
            if chunk.is_empty() {
                return found;
            }
            for entry in chunk {
                if found.entries.len() >= limit || started.elapsed() > SEARCH_TIME {
                    found.next = key;
                    return found;
                }
                if filter
                    .since
                    .zip(entry.time)
                    .is_some_and(|(since, time)| time < since)
                {
                    return found;
                }
                key = Some((entry.time, entry.id.clone()));
                let waits = unanswered
                    .as_ref()
                    .is_none_or(|ids| ids.contains(&entry.id));
                if !waits || search.is_ruled_out(&entry) {
                    continue;
                }
                if !store.is_there(&entry) {
                    self.is_stale.store(true, Ordering::Release);
                    continue;
                }
                let filter = match search.is_known_to_have_findings(&entry) {
                    true => &without_findings,
                    false => &filter,
                };
                let one = std::slice::from_ref::<Entry>(&entry);
                let selection = filter.select_from(store, &[], one);
                found.unreadable.extend(selection.unreadable);
                if !selection.entries.is_empty() {
                    found.entries.push(entry);
                }
            }
        }
    }

    /// Reads messages for what is counted, for ever.
    pub(super) fn survey(&self, root: &Path) {
        loop {
            let state = self.lock();
            let mut state = self
                .arrived
                .wait_while(state, |state| state.unread.is_empty())
                .unwrap_or_else(PoisonError::into_inner);
            let next = state.unread.pop();
            drop(state);
            if let (Some(known), Ok(store)) = (next, Store::open(root)) {
                let store = store.without_search();
                self.survey.read(&store, &known);
                self.is_changed.store(true, Ordering::Release);
            }
        }
    }

    /// What the filters select; `None` until every message was read once.
    pub(super) fn counts(&self) -> Option<Arc<Counts>> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.lock();
        if state.unread.is_empty() && self.is_changed.swap(false, Ordering::AcqRel) {
            let entries = state.entries.clone();
            drop(state);
            match self.survey.count(entries.iter().map(|known| &**known)) {
                Some(counted) => *counts = Some(Arc::new(counted)),
                // The last one is being read.
                None => self.is_changed.store(true, Ordering::Release),
            }
        }
        counts.clone()
    }

    /// The messages that share the transaction of one, itself among them: at most `count`.
    pub(super) fn same_transaction(&self, one: &Known, count: usize) -> Vec<Arc<Known>> {
        let state = self.lock();
        let same = state.entries.iter().filter(|known| known.may_repeat(one));
        same.take(count).cloned().collect()
    }

    /// The ids of unanswered requests among the newest messages.
    fn unanswered(&self, store: &Store) -> Arc<HashSet<String>> {
        let mut cache = self
            .unanswered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, ids)) = cache
            .as_ref()
            .filter(|(at, _)| at.elapsed() < UNANSWERED_FOR)
        {
            return Arc::clone(ids);
        }
        let mut entries: Vec<Entry> = self
            .before(None, UNANSWERED_AMONG)
            .iter()
            .map(|known| Entry::clone(known))
            .collect();
        entries.reverse();
        let exchanges = Exchanges::read(store, &entries);
        let ids = entries.iter().map(|entry| &entry.id);
        let ids = ids
            .filter(|id| exchanges.is_unanswered(id))
            .cloned()
            .collect();
        let ids = Arc::new(ids);
        *cache = Some((Instant::now(), Arc::clone(&ids)));
        ids
    }

    /// Where a stream of events begins: after the message of that id if it is known, else
    /// with the next one.
    pub(super) fn position(&self, after: Option<&str>) -> u64 {
        let state = self.lock();
        let first = state.count - state.arrivals.len() as u64;
        let known = after.and_then(|id| state.arrivals.iter().position(|entry| entry.id == id));
        known.map_or(state.count, |at| first + at as u64 + 1)
    }

    /// Waits for the arrivals from a position on; returns them and the position after
    /// them. Nothing when none has arrived in time.
    pub(super) fn wait(&self, position: u64, at_most: Duration) -> (Vec<Arc<Known>>, u64) {
        let state = self.lock();
        let (state, _) = self
            .arrived
            .wait_timeout_while(state, at_most, |state| state.count <= position)
            .unwrap_or_else(PoisonError::into_inner);
        let first = state.count - state.arrivals.len() as u64;
        let skip = position.saturating_sub(first) as usize;
        (
            state.arrivals.iter().skip(skip).cloned().collect(),
            state.count,
        )
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes the entries of the spool for those that were known before.
    fn list(&mut self, mut entries: Vec<Entry>) {
        let skip = entries.len().saturating_sub(MAX_ENTRIES);
        entries.drain(..skip);
        let mut before = self.entries.iter().peekable();
        let listed = entries.into_iter().map(|entry| {
            let key = (entry.time, entry.id.as_str());
            while before
                .next_if(|known| (known.time, known.id.as_str()) < key)
                .is_some()
            {}
            match before.next_if(|known| (known.time, known.id.as_str()) == key) {
                Some(known) if known.path == entry.path => Arc::clone(known),
                Some(known) => Arc::new(known.moved(entry)),
                None => Arc::new(Known::new(entry)),
            }
        });
        let listed: Vec<_> = listed.collect();
        let unread = listed.iter().filter(|known| !known.is_surveyed());
        self.unread = unread.cloned().collect();
        self.entries = listed;
    }
}

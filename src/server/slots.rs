//! How many clients are connected: in total and per prefix, and the refusal of
//! one more.
//!
//! The last tenth of all slots, rounded down, is for known peers: prefixes from
//! which a login succeeded since the server started. Strangers who connect and
//! send nothing can fill the other slots only, so peers that use the server are
//! still accepted.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::Event;
use super::descriptors::MAX_REFUSALS;
use super::listener::STACK;
use super::peers::{KnownPeers, Prefix};
use super::proxy;
use super::stream::{Clock, Stream};
use crate::smtp::{Reply, SystemId};

/// One slot of this many is kept for known peers.
const KNOWN_SHARE: usize = 10;

/// How long a refused client has to read the reply.
const REFUSAL_LINGER: Duration = Duration::from_secs(1);
/// Refusals are logged at most once in this time.
const REFUSAL_LOG: Duration = Duration::from_secs(1);

/// The slots that connections may take.
pub struct Slots {
    max_total: usize,
    /// What of them is kept for known peers.
    for_known: usize,
    max_per_prefix: usize,
    table: Mutex<Table>,
    refusals: AtomicUsize,
    announce_idle: AtomicBool,
    events: Sender<Event>,
}

#[derive(Default)]
struct Table {
    total: usize,
    by_prefix: HashMap<Prefix, usize>,
    by_account: HashMap<SystemId, u32>,
    known: KnownPeers,
    refused: Option<Instant>,
}

/// Why a client has no place, and whether the log should say so.
pub struct Refusal {
    /// The limit that is reached.
    pub limit: &'static str,
    /// Whether the log should say so.
    pub log: bool,
}

impl Slots {
    /// Slots for `max_total` connections, at most `max_per_prefix` of them from
    /// one prefix.
    pub fn new(max_total: u32, max_per_prefix: u32, events: Sender<Event>) -> Arc<Slots> {
        Arc::new(Slots {
            max_total: max_total as usize,
            for_known: max_total as usize / KNOWN_SHARE,
            max_per_prefix: max_per_prefix as usize,
            table: Mutex::default(),
            refusals: AtomicUsize::new(0),
            announce_idle: AtomicBool::new(false),
            events,
        })
    }

    /// Clients there are now.
    pub fn taken(&self) -> usize {
        self.lock().total
    }

    /// The connections of each account that has any, the most first.
    pub(super) fn by_account(&self) -> Vec<(SystemId, u32)> {
        let table = self.lock();
        let counts = table.by_account.iter();
        let mut counts: Vec<_> = counts.map(|(id, count)| (id.clone(), *count)).collect();
        drop(table);
        counts.sort_by(|(id, count), (other, more)| more.cmp(count).then(id.cmp(other)));
        counts
    }

    /// From now on [`Event::Idle`] is sent when the last connection is closed, those
    /// that are refused included; true if there is none already.
    pub fn announce_idle(&self) -> bool {
        self.announce_idle.store(true, Ordering::SeqCst);
        self.is_idle(&self.lock())
    }

    fn is_idle(&self, table: &Table) -> bool {
        table.total == 0 && self.refusals.load(Ordering::SeqCst) == 0
    }

    fn announce(&self, table: &Table) {
        if self.announce_idle.load(Ordering::SeqCst) && self.is_idle(table) {
            let _ = self.events.send(Event::Idle);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot for a connection of a trusted proxy, which does not count for its
    /// client before [`Slot::identify`].
    pub(super) fn take_for_proxy(self: &Arc<Self>) -> Result<Slot, Refusal> {
        let mut table = self.lock();
        if table.total >= self.max_total {
            return Err(table.refusal("max-connections"));
        }
        Ok(self.slot(&mut table))
    }

    fn slot(self: &Arc<Self>, table: &mut Table) -> Slot {
        table.total += 1;
        Slot {
            prefix: None,
            known: false,
            account: None,
            slots: Arc::clone(self),
        }
    }

    /// Counts a slot for a prefix, or gives the limit that refuses it. `total`
    /// are the other connections.
    fn count(
        &self,
        table: &mut Table,
        prefix: Prefix,
        known: bool,
        total: usize,
    ) -> Option<&'static str> {
        let of_prefix = table.by_prefix.get(&prefix).copied().unwrap_or(0);
        if of_prefix >= self.max_per_prefix {
            return Some("max-connections-per-ip");
        }
        let for_all = self.max_total - self.for_known;
        if total >= for_all && !(known || table.known.contains(prefix)) {
            return Some("max-connections-of-strangers");
        }
        table.by_prefix.insert(prefix, of_prefix + 1);
        None
    }

    /// A slot for a connection from `address`, or the limit that refuses it. The
    /// address of a `known` peer is in a network of an account.
    pub fn take(self: &Arc<Self>, address: IpAddr, known: bool) -> Result<Slot, Refusal> {
        let mut table = self.lock();
        let prefix = Prefix::of(address);
        let total = table.total;
        let limit = match total >= self.max_total {
            true => Some("max-connections"),
            false => self.count(&mut table, prefix, known, total),
        };
        if let Some(limit) = limit {
            return Err(table.refusal(limit));
        }
        let mut slot = self.slot(&mut table);
        slot.prefix = Some(prefix);
        slot.known = known;
        Ok(slot)
    }

    /// Sends `reply` on a plain connection and closes it. The listener does not wait: a few
    /// refused clients at a time have a thread that waits until they have read
    /// it, the rest get what the socket takes at once. Of a `proxy`, whose address this
    /// is, the header is read before; beyond the few it is closed without a reply.
    pub(super) fn refuse(
        self: &Arc<Self>,
        socket: TcpStream,
        reply: Reply,
        proxy: Option<SocketAddr>,
    ) {
        let refusals = self.refusals.fetch_add(1, Ordering::SeqCst);
        let refusing = Refusing(Arc::clone(self));
        if refusals < MAX_REFUSALS {
            // If there is no thread, the socket is closed.
            let _ = thread::Builder::new()
                .name("refusal".to_owned())
                .stack_size(STACK)
                .spawn(move || {
                    let clock = Clock {
                        deadline: Instant::now() + REFUSAL_LINGER,
                        stop: None,
                    };
                    refuse(socket, &reply, proxy, clock);
                    drop(refusing);
                });
            return;
        }
        if proxy.is_none() && socket.set_nonblocking(true).is_ok() {
            let _ = (&socket).write(reply.as_bytes());
            let _ = socket.shutdown(Shutdown::Write);
            // Unread bytes would turn the close into a reset.
            let _ = (&socket).read(&mut [0; 4096]);
        }
    }
}

/// One refusal, until it is dropped.
struct Refusing(Arc<Slots>);

impl Drop for Refusing {
    fn drop(&mut self) {
        self.0.refusals.fetch_sub(1, Ordering::SeqCst);
        self.0.announce(&self.0.lock());
    }
}

fn refuse(socket: TcpStream, reply: &Reply, proxy: Option<SocketAddr>, clock: Clock<'_>) {
    let Ok(mut stream) = Stream::new(socket, None) else {
        return;
    };
    let identified = proxy.is_none_or(|peer| proxy::read(&mut stream, peer, clock).is_ok());
    if identified && stream.write(reply.as_bytes(), clock).is_ok() {
        stream.close(clock);
    }
}

/// One connection's slot, until it is dropped.
pub struct Slot {
    /// `None` until the header of a proxy was read.
    prefix: Option<Prefix>,
    known: bool,
    /// The account that the connection counts for.
    account: Option<SystemId>,
    slots: Arc<Slots>,
}

impl Slot {
    /// What limits count this connection as.
    pub(super) fn prefix(&self) -> Option<Prefix> {
        self.prefix
    }

    /// Counts a proxy's connection for its client, whose address is known now.
    pub(super) fn identify(&mut self, address: IpAddr, known: bool) -> Result<(), Refusal> {
        let prefix = Prefix::of(address);
        let mut table = self.slots.lock();
        let others = table.total.saturating_sub(1);
        match self.slots.count(&mut table, prefix, known, others) {
            Some(limit) => Err(table.refusal(limit)),
            None => {
                self.prefix = Some(prefix);
                self.known = known;
                Ok(())
            }
        }
    }

    /// Whether this peer is in a network of an account, or a login from this
    /// prefix has succeeded before.
    pub(super) fn is_known(&self) -> bool {
        self.known
            || self
                .prefix
                .is_some_and(|prefix| self.slots.lock().known.contains(prefix))
    }

    /// The connection is logged in: it counts for `account` from now on, and no
    /// more for the one before. `false` when the account has `max` connections
    /// already.
    pub(super) fn log_in(&mut self, account: &SystemId, max: Option<u32>) -> bool {
        let mut table = self.slots.lock();
        if let Some(before) = self.account.take() {
            table.leave(&before);
        }
        let count = table.by_account.entry(account.clone()).or_insert(0);
        if max.is_some_and(|max| *count >= max) {
            return false;
        }
        *count += 1;
        if let Some(prefix) = self.prefix {
            table.known.remember(prefix);
        }
        self.account = Some(account.clone());
        true
    }
}

impl Table {
    /// A refusal, and whether it is logged.
    fn refusal(&mut self, limit: &'static str) -> Refusal {
        let now = Instant::now();
        let log = self
            .refused
            .is_none_or(|last| now.duration_since(last) >= REFUSAL_LOG);
        if log {
            self.refused = Some(now);
        }
        Refusal { limit, log }
    }

    fn leave(&mut self, account: &SystemId) {
        if let Some(count) = self.by_account.get_mut(account) {
            *count -= 1;
            if *count == 0 {
                self.by_account.remove(account);
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut table = self.slots.lock();
        table.total = table.total.saturating_sub(1);
        if let Some(account) = self.account.take() {
            table.leave(&account);
        }
        if let Some(prefix) = self.prefix {
            if let Some(count) = table.by_prefix.get_mut(&prefix) {
                *count -= 1;
                if *count == 0 {
                    table.by_prefix.remove(&prefix);
                }
            }
        }
        self.slots.announce(&table);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(max_total: u32, max_per_prefix: u32) -> Arc<Slots> {
        Slots::new(max_total, max_per_prefix, crossbeam_channel::unbounded().0)
    }

    /// Takes slots from one address until one is refused.
    fn fill(slots: &Arc<Slots>, address: &str) -> (Vec<Slot>, &'static str) {
        let mut taken = Vec::new();
        loop {
            match slots.take(address.parse().unwrap(), false) {
                Ok(slot) => taken.push(slot),
                Err(refusal) => return (taken, refusal.limit),
            }
        }
    }

    #[test]
    fn the_addresses_of_one_ipv6_64_share_a_limit() {
        let slots = slots(100, 2);
        let _first = slots
            .take("2001:db8::1".parse().unwrap(), false)
            .ok()
            .unwrap();
        let (second, limit) = fill(&slots, "2001:db8::2");
        assert_eq!((second.len(), limit), (1, "max-connections-per-ip"));
        assert!(
            slots
                .take("2001:db8:0:1::1".parse().unwrap(), false)
                .is_ok()
        );
        let (mapped, _) = fill(&slots, "::ffff:192.0.2.1");
        assert!(slots.take("192.0.2.1".parse().unwrap(), false).is_err());
        drop(mapped);
        assert!(slots.take("192.0.2.1".parse().unwrap(), false).is_ok());
    }

    #[test]
    fn strangers_leave_the_last_tenth_to_peers_that_have_logged_in() {
        let slots = slots(20, 100);
        let mut peer = slots
            .take("192.0.2.1".parse().unwrap(), false)
            .ok()
            .unwrap();
        assert!(peer.log_in(&SystemId::parse("peer1").unwrap(), None));
        drop(peer);
        let (strangers, limit) = fill(&slots, "192.0.2.2");
        assert_eq!(
            (strangers.len(), limit),
            (18, "max-connections-of-strangers")
        );
        let (peers, limit) = fill(&slots, "192.0.2.1");
        assert_eq!((peers.len(), limit), (2, "max-connections"));
    }

    #[test]
    fn below_ten_slots_none_is_kept() {
        let (taken, limit) = fill(&slots(9, 100), "192.0.2.2");
        assert_eq!((taken.len(), limit), (9, "max-connections"));
    }

    #[test]
    fn an_account_has_no_more_connections_than_its_maximum() {
        let slots = slots(100, 100);
        let take = || slots.take("192.0.2.1".parse().unwrap(), true).ok().unwrap();
        let [one, other] = ["one", "other"].map(|id| SystemId::parse(id).unwrap());
        let (mut first, mut second, mut third) = (take(), take(), take());
        assert!(first.log_in(&one, Some(2)) && second.log_in(&one, Some(2)));
        assert!(!third.log_in(&one, Some(2)));
        // Another login of the same connection is no further connection.
        assert!(second.log_in(&one, Some(2)));
        assert!(second.log_in(&other, Some(1)));
        assert!(third.log_in(&one, Some(2)));
        drop((first, third));
        drop(second);
        assert!(slots.lock().by_account.is_empty());
    }
}

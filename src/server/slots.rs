//! How many clients are connected: in total and per address, and the refusal of
//! one more.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::Event;
use super::descriptors::MAX_REFUSALS;
use super::listener::STACK;
use super::stream::{Clock, Stream};
use crate::smtp::Reply;

/// How long a refused client has to read the reply.
const REFUSAL_LINGER: Duration = Duration::from_secs(1);
/// Refusals are logged at most once in this time.
const REFUSAL_LOG: Duration = Duration::from_secs(1);

/// The places that clients may take.
pub struct Slots {
    max_total: usize,
    max_per_ip: usize,
    table: Mutex<Table>,
    refusals: AtomicUsize,
    announce_idle: AtomicBool,
    events: Sender<Event>,
}

#[derive(Default)]
struct Table {
    total: usize,
    by_ip: HashMap<IpAddr, usize>,
    refused: Option<Instant>,
}

/// Why a client has no place, and whether the log should say so.
pub(super) struct Refusal {
    pub(super) limit: &'static str,
    pub(super) log: bool,
}

impl Slots {
    /// Places for so many clients.
    pub fn new(max_total: u32, max_per_ip: u32, events: Sender<Event>) -> Arc<Slots> {
        Arc::new(Slots {
            max_total: max_total as usize,
            max_per_ip: max_per_ip as usize,
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

    /// From now on [`Event::Idle`] is sent when the last client has gone; says
    /// whether it has gone already.
    pub fn announce_idle(&self) -> bool {
        self.announce_idle.store(true, Ordering::SeqCst);
        self.taken() == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take(self: &Arc<Self>, ip: IpAddr) -> Result<Slot, Refusal> {
        let mut table = self.lock();
        let of_ip = table.by_ip.get(&ip).copied().unwrap_or(0);
        let limit = if table.total >= self.max_total {
            "max-connections"
        } else if of_ip >= self.max_per_ip {
            "max-connections-per-ip"
        } else {
            table.total += 1;
            table.by_ip.insert(ip, of_ip + 1);
            let slots = Arc::clone(self);
            return Ok(Slot { ip, slots });
        };
        let now = Instant::now();
        let log = table
            .refused
            .is_none_or(|last| now.duration_since(last) >= REFUSAL_LOG);
        if log {
            table.refused = Some(now);
        }
        Err(Refusal { limit, log })
    }

    /// Says `reply` on a plain connection and closes it. The listener is not held up: a few
    /// refused clients at a time have a thread that waits until they have read
    /// it, the rest get what the socket takes at once.
    pub(super) fn refuse(self: &Arc<Self>, socket: TcpStream, reply: Reply) {
        if self.refusals.fetch_add(1, Ordering::SeqCst) < MAX_REFUSALS {
            let slots = Arc::clone(self);
            let spawned = thread::Builder::new()
                .name("refusal".to_owned())
                .stack_size(STACK)
                .spawn(move || {
                    let clock = Clock {
                        deadline: Instant::now() + REFUSAL_LINGER,
                        stop: None,
                    };
                    if let Ok(mut stream) = Stream::new(socket, None)
                        && stream.write(reply.as_bytes(), clock).is_ok()
                    {
                        stream.close(clock);
                    }
                    slots.refusals.fetch_sub(1, Ordering::SeqCst);
                });
            if spawned.is_err() {
                self.refusals.fetch_sub(1, Ordering::SeqCst);
            }
            return;
        }
        self.refusals.fetch_sub(1, Ordering::SeqCst);
        if socket.set_nonblocking(true).is_ok() {
            let _ = (&socket).write(reply.as_bytes());
            let _ = socket.shutdown(Shutdown::Write);
            // What has come already would turn the end into a reset.
            let _ = (&socket).read(&mut [0; 4096]);
        }
    }
}

/// One client's place, until it is dropped.
pub(super) struct Slot {
    ip: IpAddr,
    slots: Arc<Slots>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut table = self.slots.lock();
        table.total = table.total.saturating_sub(1);
        if let Some(count) = table.by_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                table.by_ip.remove(&self.ip);
            }
        }
        if table.total == 0 && self.slots.announce_idle.load(Ordering::SeqCst) {
            let _ = self.slots.events.send(Event::Idle);
        }
    }
}

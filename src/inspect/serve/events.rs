//! Server-sent events: the JSON object of each message that is published.
//!
//! An event is made once for all streams that are sending it, one at a time, and counts
//! among the bytes of answers until the last of them has sent it. Where there is no room
//! for it the stream ends, and its client continues after the event it has received last.
//! Limits: [`MAX_STREAMS`], [`EVENT_TIME`] for an event, those of `routes` on an object.

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::http::{self, Answer, Request};
use super::{MAX_HELD, MAX_STREAMS, Shared, routes, secured, take};
use crate::inspect::store::{Entry, Store};

/// How often a stream without events shows that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long a client may take to receive one event.
const EVENT_TIME: Duration = Duration::from_secs(20);

/// What the streams share.
#[derive(Debug, Default)]
pub(super) struct Events {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The events that are being sent, by the id of their message.
    sent: HashMap<String, Weak<Event>>,
    /// The last message that had none: each stream would try it again.
    none: String,
}

/// An event, and where its bytes are counted.
#[derive(Debug)]
struct Event {
    bytes: Vec<u8>,
    held: Arc<AtomicUsize>,
}

impl Drop for Event {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes.len(), Ordering::AcqRel);
    }
}

/// There is no room for an event now.
struct Full;

/// Sends an event for each message that is published, until the client leaves.
pub(super) fn answer(shared: &Shared, request: &Request, stream: &mut TcpStream) {
    let answer = Answer::new(200, "text/event-stream", "").with("Cache-Control", "no-store");
    let mut head = http::head_of(200, &secured(answer).fields);
    head.push_str("Connection: close\r\n\r\n");
    if request.is_head {
        let _ = http::send(stream, head.as_bytes(), Instant::now() + EVENT_TIME);
        return;
    }
    let Some(_slot) = take(&shared.streams, 1, MAX_STREAMS) else {
        let answer =
            Answer::text(503, "too many event streams; close a page").with("Retry-After", "30");
        let _ = http::write(stream, secured(answer), false, false);
        return;
    };
    head.push_str("retry: 2000\n\n");
    let mut position = shared.index.position(request.last_event_id.as_deref());
    if http::send(stream, head.as_bytes(), Instant::now() + EVENT_TIME).is_err() {
        return;
    }
    let Ok(store) = Store::open(&shared.root).map(Store::without_search) else {
        return;
    };
    loop {
        let (arrived, next) = shared.index.wait(position, HEARTBEAT);
        position = next;
        if arrived.is_empty() && send(stream, b": alive\n\n").is_err() {
            return;
        }
        for entry in arrived {
            let sent = match event(shared, &store, &entry) {
                Ok(Some(event)) => send(stream, &event.bytes),
                Ok(None) => Ok(()),
                Err(Full) => return,
            };
            if sent.is_err() {
                return;
            }
        }
    }
}

fn send(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    http::send(stream, bytes, Instant::now() + EVENT_TIME)
}

/// A `message` event; `None` when the message was deleted meanwhile, or is too big.
fn event(shared: &Shared, store: &Store, entry: &Entry) -> Result<Option<Arc<Event>>, Full> {
    let known = shared.events.known.lock();
    let mut known = known.unwrap_or_else(PoisonError::into_inner);
    known.sent.retain(|_, event| event.strong_count() > 0);
    if known.none == entry.id {
        return Ok(None);
    }
    if let Some(event) = known.sent.get(&entry.id).and_then(Weak::upgrade) {
        return Ok(Some(event));
    }
    let Some(bytes) = bytes_of(store, entry) else {
        known.none.clone_from(&entry.id);
        return Ok(None);
    };
    let slot = take(&shared.held, bytes.len(), MAX_HELD).ok_or(Full)?;
    // The event gives it back.
    std::mem::forget(slot);
    let event = Arc::new(Event {
        bytes,
        held: Arc::clone(&shared.held),
    });
    known.sent.insert(entry.id.clone(), Arc::downgrade(&event));
    Ok(Some(event))
}

fn bytes_of(store: &Store, entry: &Entry) -> Option<Vec<u8>> {
    let raw = store.read(entry).ok()?;
    let object = routes::object(entry, &raw)?;
    // An id has no line end: it is a file's name that was shown as text.
    let id: String = entry
        .id
        .chars()
        .filter(|letter| !letter.is_control())
        .collect();
    let mut event = Vec::with_capacity(object.len() + id.len() + 40);
    let _ = write!(event, "id: {id}\nevent: message\ndata: ");
    event.extend_from_slice(&object);
    event.push(b'\n');
    Some(event)
}

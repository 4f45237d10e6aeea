//! The page of `mm4spool serve`: the messages of a spool in a browser, live and read-only.
//!
//! One thread accepts, one watches the spool, one counts, and each connection has its own;
//! nothing changes the spool. Everything of a mail reaches the browser escaped, or as a
//! part that is saved or shown as a picture, sound or video. Limits: [`MAX_CONNECTIONS`],
//! of which [`MAX_STREAMS`] may be event streams, [`MAX_AT_ONCE`] answers that are made at
//! a time, [`MAX_HELD`] bytes of answers that are being sent, and those of `http`, `index`
//! and `survey`. Fails at the start when the address cannot be bound or the spool not be read.

mod events;
mod http;
mod index;
mod page;
mod range;
mod routes;
mod sandbox;
mod survey;
mod waiting;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

use self::events::Events;
use self::http::{Answer, NoRequest, Request};
use self::index::Index;
use self::waiting::Waiting;

/// Connections that are served at a time.
pub const MAX_CONNECTIONS: usize = 64;
/// Connections among them that are event streams.
pub const MAX_STREAMS: usize = 24;
/// Answers that are made at a time: each may read and decode a whole message.
const MAX_AT_ONCE: usize = 4;
/// Bytes of answers that are being sent, all clients together.
const MAX_HELD: usize = 64 * 1024 * 1024;
/// Connections from which on a client that is silent loses its place soon.
const CROWDED: usize = 48;
/// How long accepting pauses after an error, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// A server that is bound and has read the names of its messages.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    shared: Arc<Shared>,
    follower: super::watch::Follower,
}

/// What every connection needs.
#[derive(Debug)]
struct Shared {
    root: PathBuf,
    title: String,
    /// The name that was given to listen on, in lower case.
    name: String,
    address: SocketAddr,
    /// The digest of the token, if there is one.
    token: Option<String>,
    index: Index,
    connections: AtomicUsize,
    streams: AtomicUsize,
    waiting: Waiting,
    /// Answers that are being made.
    making: Mutex<usize>,
    made: Condvar,
    /// Bytes of answers that are being sent.
    held: Arc<AtomicUsize>,
    events: Events,
}

/// Some of a bounded number, given back when it is dropped.
struct Slot<'s>(&'s AtomicUsize, usize);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::AcqRel);
    }
}

/// Takes `amount` of `limit`, if that much is left.
fn take(counter: &AtomicUsize, amount: usize, limit: usize) -> Option<Slot<'_>> {
    let next = |count: usize| count.checked_add(amount).filter(|sum| *sum <= limit);
    counter
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, next)
        .ok()?;
    Some(Slot(counter, amount))
}

/// The right to make an answer, given back when it is dropped.
struct Turn<'s>(&'s Shared);

impl<'s> Turn<'s> {
    /// Waits until fewer than [`MAX_AT_ONCE`] have it.
    fn wait(shared: &'s Shared) -> Turn<'s> {
        let making = shared.making.lock().unwrap_or_else(PoisonError::into_inner);
        let mut making = shared
            .made
            .wait_while(making, |making| *making >= MAX_AT_ONCE)
            .unwrap_or_else(PoisonError::into_inner);
        *making += 1;
        Turn(shared)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let making = self.0.making.lock();
        *making.unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.made.notify_one();
    }
}

impl Server {
    /// Reads the names in the spool at `root`, for a listener that was bound as `name`,
    /// an address or host name without its port.
    ///
    /// # Errors
    ///
    /// When the spool cannot be read or watched.
    pub fn start(
        listener: TcpListener,
        name: &str,
        root: &str,
        token: Option<&str>,
    ) -> io::Result<Server> {
        let address = listener.local_addr()?;
        let (index, follower) = Index::start(Path::new(root))?;
        let shared = Shared {
            root: PathBuf::from(root),
            title: root.to_owned(),
            name: name.to_ascii_lowercase(),
            address,
            token: token.map(digest),
            index,
            connections: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
            waiting: Waiting::default(),
            making: Mutex::new(0),
            made: Condvar::new(),
            held: Arc::default(),
            events: Events::default(),
        };
        Ok(Server {
            listener,
            shared: Arc::new(shared),
            follower,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Gives up what serving does not need; returns why a part of that is missing. It
    /// holds for this thread and those that are started from now on.
    pub fn confine(&self) -> Vec<String> {
        sandbox::confine(&self.shared.root)
    }

    /// Serves until the spool can no longer be watched.
    ///
    /// # Errors
    ///
    /// When it cannot, or when a thread cannot be started.
    pub fn run(self) -> io::Result<()> {
        let Server {
            listener,
            shared,
            follower,
        } = self;
        let accepting = Arc::clone(&shared);
        thread::Builder::new()
            .name("accept".to_owned())
            .spawn(move || accept(&listener, &accepting))?;
        let surveyed = Arc::clone(&shared);
        thread::Builder::new()
            .name("survey".to_owned())
            .spawn(move || surveyed.index.survey(&surveyed.root))?;
        shared.index.watch(&shared.root, follower)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let Ok((mut stream, _)) = listener.accept() else {
            thread::sleep(PAUSE);
            continue;
        };
        let full = Answer::text(503, "too many connections; try again later");
        let count = shared.connections.load(Ordering::Acquire);
        // The thread of the one that is closed ends in a moment.
        let has_place = count < MAX_CONNECTIONS
            || (count < 2 * MAX_CONNECTIONS && shared.waiting.end_longest());
        if !has_place {
            // This thread waits for no client: what does not fit into the socket is lost.
            let _ = stream.set_nonblocking(true);
            let _ = http::write(&mut stream, full, false, false);
            continue;
        }
        let shared = Arc::clone(shared);
        shared.connections.fetch_add(1, Ordering::AcqRel);
        let serving = thread::Builder::new().name("client".to_owned());
        let counter = Arc::clone(&shared);
        let started = serving.spawn(move || {
            let slot = Slot(&shared.connections, 1);
            serve(&shared, stream);
            drop(slot);
        });
        if started.is_err() {
            counter.connections.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Answers the requests of one connection.
fn serve(shared: &Shared, mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut received = Vec::new();
    for count in 1..=http::MAX_REQUESTS {
        let is_crowded = shared.connections.load(Ordering::Acquire) >= CROWDED;
        let waiting = shared.waiting.enter(&stream);
        let request = http::read(&mut stream, &mut received, is_crowded);
        drop(waiting);
        let request = match request {
            Ok(request) => request,
            Err(NoRequest::Closed) => return,
            Err(NoRequest::Refused(status, why)) => {
                let mut answer = secured(Answer::text(status, why));
                if status == 405 {
                    answer = answer.with("Allow", "GET, HEAD");
                }
                let _ = http::write(&mut stream, answer, false, false);
                drain(&mut stream);
                return;
            }
        };
        if let Some(answer) = refuse(shared, &request, &stream) {
            let keep = request.keep_alive && count < http::MAX_REQUESTS;
            if http::write(&mut stream, secured(answer), request.is_head, keep).is_err() || !keep {
                return;
            }
            continue;
        }
        if request.path == ["api", "events"] {
            return events::answer(shared, &request, &mut stream);
        }
        let keep = request.keep_alive && count < http::MAX_REQUESTS;
        let turn = Turn::wait(shared);
        let mut answer = routes::answer(shared, &request);
        drop(turn);
        let held = take(&shared.held, answer.body.held(), MAX_HELD);
        if held.is_none() {
            answer =
                Answer::text(503, "too many answers at a time; try again").with("Retry-After", "2");
        }
        let answer = secured(answer);
        if http::write(&mut stream, answer, request.is_head, keep).is_err() || !keep {
            return;
        }
    }
}

/// Reads a little of what a client still sends, so that a reset does not take the answer
/// from it.
fn drain(stream: &mut TcpStream) {
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.set_read_timeout(Some(Duration::from_millis(500)));
    let mut buffer = [0; 4096];
    for _ in 0..16 {
        if !matches!(io::Read::read(stream, &mut buffer), Ok(1..)) {
            return;
        }
    }
}

/// Why a request is not answered, if it is not: its Host, or its token.
fn refuse(shared: &Shared, request: &Request, stream: &TcpStream) -> Option<Answer> {
    let Some(host) = request.host.as_deref() else {
        return Some(Answer::text(400, "the request has no Host"));
    };
    let local = stream
        .local_addr()
        .map_or(shared.address.ip(), |local| local.ip());
    if !is_ours(host, &shared.name, local) {
        return Some(Answer::text(
            421,
            "this server does not listen on that name; open it by its address, or give the name to --listen",
        ));
    }
    let token = shared.token.as_deref()?;
    // RFC 6750 2.1
    let bearer = request.authorization.as_deref().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| digest(token.trim()))
    });
    let name = cookie_name(shared);
    let cookies = request.cookie.as_deref().unwrap_or_default().split(';');
    let cookie = cookies.filter_map(|pair| pair.trim().split_once('='));
    let mut known = cookie
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned());
    let given = request.query.iter().find(|(key, _)| key == "token");
    let given = given.filter(|(_, given)| request.path.is_empty() && equal(&digest(given), token));
    if given.is_some() {
        let cookie = format!("{name}={token}; Path=/; HttpOnly; SameSite=Lax");
        let rest = request.query.iter().filter(|(key, _)| key != "token");
        let rest: Vec<String> = rest
            .map(|(key, value)| format!("{}={}", http::encoded(key), http::encoded(value)))
            .collect();
        let place = match rest.is_empty() {
            true => "/".to_owned(),
            false => format!("/?{}", rest.join("&")),
        };
        let answer = Answer::text(303, "").with("Location", place);
        return Some(answer.with("Set-Cookie", cookie));
    }
    let allowed =
        bearer.is_some_and(|given| equal(&given, token)) || known.any(|given| equal(&given, token));
    let refused = || {
        Answer::text(
            401,
            "this server needs its token: open /?token=TOKEN, or send Authorization: Bearer TOKEN",
        )
        .with("WWW-Authenticate", "Bearer")
    };
    (!allowed).then(refused)
}

/// Cookies do not know ports, and another server may be on another one.
fn cookie_name(shared: &Shared) -> String {
    format!("mm4spool-{}", shared.address.port())
}

/// Whether the host of a request, its port aside, is the address it arrived at, the name
/// that was given, or localhost on a loopback address. The page of another site that
/// rebinds its name to this address has that name.
fn is_ours(host: &str, name: &str, local: IpAddr) -> bool {
    let host = match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => host,
    };
    let host = host.to_ascii_lowercase();
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let bare = bare.unwrap_or(&host);
    // No site can rebind an address. `0.0.0.0` is here if it was given.
    if let Ok(address) = bare.parse::<IpAddr>() {
        let given = name.parse().is_ok_and(|given: IpAddr| given == address);
        return given || address.to_canonical() == local.to_canonical();
    }
    let is_loopback = local.to_canonical().is_loopback();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let name = name.strip_suffix('.').unwrap_or(name);
    !host.is_empty() && (host == name || (is_loopback && host == "localhost"))
}

/// The SHA-256 of a token, in hexadecimal: what is compared, and what the cookie has.
fn digest(token: &str) -> String {
    super::output::view::sha256(&Sha256::digest(token.as_bytes()))
}

/// Compares digests without ending at the first difference.
fn equal(one: &str, other: &str) -> bool {
    let pairs = one.bytes().zip(other.bytes());
    one.len() == other.len() && pairs.fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

/// Adds what every answer has: no other site may have it, and nothing in it is active but
/// the page's own script.
fn secured(answer: Answer) -> Answer {
    let has_policy = answer
        .fields
        .iter()
        .any(|(name, _)| *name == "Content-Security-Policy");
    let answer = answer
        .with("X-Content-Type-Options", "nosniff")
        .with("Referrer-Policy", "no-referrer")
        .with("Cross-Origin-Resource-Policy", "same-origin")
        .with("Cross-Origin-Opener-Policy", "same-origin")
        .with("X-Frame-Options", "DENY");
    match has_policy {
        true => answer,
        false => answer.with(
            "Content-Security-Policy",
            "default-src 'none'; sandbox; frame-ancestors 'none'",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_addresses_and_names_are_hosts() {
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        for host in [
            "127.0.0.1:2580",
            "127.0.0.1",
            "localhost:8080",
            "LOCALHOST",
            "mm4.lab.example:2580",
        ] {
            assert!(is_ours(host, "mm4.lab.example", loopback), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:2580",
            "192.0.2.1",
            "127.0.0.1.evil.example",
            "",
            "localhost.evil.example",
        ] {
            assert!(!is_ours(host, "mm4.lab.example", loopback), "{host}");
        }
        let outside: IpAddr = "192.0.2.1".parse().unwrap();
        assert!(is_ours("192.0.2.1:2580", "0.0.0.0", outside));
        assert!(is_ours("0.0.0.0:2580", "0.0.0.0", loopback));
        assert!(is_ours("[::]:2580", "::", "::1".parse().unwrap()));
        assert!(!is_ours("0.0.0.0:2580", "127.0.0.1", loopback));
        assert!(is_ours("mm4.lab.example.:2580", "mm4.lab.example", outside));
        assert!(!is_ours("localhost", "0.0.0.0", outside));
        assert!(is_ours("[::1]:2580", "::1", "::1".parse().unwrap()));
        assert!(is_ours(
            "127.0.0.1",
            "::",
            "::ffff:127.0.0.1".parse().unwrap()
        ));
    }

    #[test]
    fn no_more_than_the_limit_is_taken_and_what_is_dropped_is_given_back() {
        let counter = AtomicUsize::new(0);
        let one = take(&counter, 3, 4);
        assert!(one.is_some() && take(&counter, 2, 4).is_none());
        assert!(take(&counter, usize::MAX, 4).is_none());
        drop(one);
        assert!(take(&counter, 4, 4).is_some());
    }
}

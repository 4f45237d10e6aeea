//! One client: flush, wait, read, feed the session, perform its steps.
//!
//! Replies are gathered and sent when the client must be waited for, or when
//! there are a few KiB of them, so a pipelined group is answered in one write
//! (RFC 2920). All that was received is answered before the end of the client's
//! input counts. Two clocks bound what a client may take: the login deadline,
//! from accept to a successful AUTH, and the silence limit. Silence ends when a
//! line is complete, so a client that sends a command byte by byte is
//! disconnected too; a message must arrive at a minimum rate.
//!
//! An idle client costs the pages of stack that its thread has ever touched, so
//! what is deep or rare is kept out of the frames of the wait: `inline(never)`.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::buffer::{self, Buffer};
use crate::log::{self, Sent};
use crate::server::accounts::{Accounts, Recognition, Refused};
use crate::server::hash_queue::{Place, Turn};
use crate::server::metrics::AccountMetrics;
use crate::server::peers::Prefix;
use crate::server::proxy::{Header, HeaderReader};
use crate::server::shared::Shared;
use crate::server::slots::Slot;
use crate::server::stream::{Clock, Received, Stream, Wait};
use crate::server::tls::Acceptor;
use crate::smtp::reply::{self, Reply};
use crate::smtp::{Credentials, Envelope, Session, Step, SystemId};
use crate::spool::trace::Origin;
use crate::spool::{Draft, Reservation};

/// Bytes of commands read at once: what an idle client costs.
const READ_COMMANDS: usize = 2 * 1024;
/// Bytes of a message read at once.
const READ_MAIL: usize = buffer::LARGE;

/// Bytes of replies that are sent without waiting for more of them.
const FLUSH: usize = 4 * 1024;
/// Bytes of replies whose buffer is kept for the next ones.
const KEEP: usize = 1024;

/// How long a client that has sent a message keeps the buffer for the next one.
const REST: Duration = Duration::from_secs(1);

/// How long the client may go on sending after the last reply.
const LINGER: Duration = Duration::from_secs(5);

/// Refused commands of a connection that are logged in [`REFUSALS_PER`].
const LOGGED_REFUSALS: u32 = 20;
const REFUSALS_PER: Duration = Duration::from_secs(60);

/// Over which time the bytes per second of a message are averaged.
const PACE_WINDOW: Duration = Duration::from_secs(60);

/// A client that was accepted.
pub struct Client<'s> {
    /// Its connection.
    pub socket: TcpStream,
    /// Its address.
    pub peer: SocketAddr,
    /// When it was accepted.
    pub accepted: Instant,
    /// Its slot.
    pub slot: &'s mut Slot,
    /// Whether the connection is of a trusted proxy and begins with its header.
    pub proxied: bool,
}

/// Serves one client from its first byte to its last.
pub fn serve(client: Client<'_>, acceptor: Option<&Acceptor>, shared: &Shared) {
    let peer = client.peer;
    let proxied = client.proxied;
    log::connected(peer, acceptor.is_some());
    let _open = shared.metrics.connected(acceptor.is_some());
    let (peer, why) = match Connection::new(client, acceptor, shared) {
        Ok(mut connection) => match proxied.then(|| connection.identify()) {
            Some(ControlFlow::Break(why)) => (peer, why),
            Some(ControlFlow::Continue(())) | None => (connection.peer, connection.run()),
        },
        Err(error) => (peer, error.to_string().into()),
    };
    log::disconnected(peer, &why);
}

/// Why a session ended, for the log.
type Why = std::borrow::Cow<'static, str>;

struct Connection<'s> {
    shared: &'s Shared,
    slot: &'s mut Slot,
    peer: SocketAddr,
    stream: Stream,
    session: Session,
    /// Counts the messages of the account that has logged in.
    account: Option<AccountMetrics>,
    /// Replies that are sent before the next wait.
    replies: Vec<u8>,
    /// The message on its way in, and what its log line says of the envelope.
    draft: Option<(Draft, Sent)>,
    /// Space for the message of the transaction.
    reservation: Option<Reservation>,
    /// When a reservation ends whose transaction has not reached DATA.
    reserved_until: Option<Instant>,
    login_deadline: Instant,
    /// When the client last completed a line or sent content.
    heard: Instant,
    pace: Pace,
    /// Since when refused commands are counted, and how many there were.
    refusals: (Instant, u32),
}

/// How fast a mail comes, over one window.
#[derive(Default)]
struct Pace {
    /// Only the time that the client was waited for counts.
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Counts a wait, and judges each full window in which something came: for
    /// silence there is a limit of its own.
    fn is_too_slow(&mut self, waited: Duration, bytes: u64, min_rate: u64) -> bool {
        self.waited += waited;
        self.bytes += bytes;
        if self.waited < PACE_WINDOW {
            return false;
        }
        let window = std::mem::take(self);
        let floor = min_rate.saturating_mul(window.waited.as_secs());
        (1..floor).contains(&window.bytes)
    }
}

impl<'s> Connection<'s> {
    #[inline(never)]
    fn new(
        client: Client<'s>,
        acceptor: Option<&Acceptor>,
        shared: &'s Shared,
    ) -> io::Result<Connection<'s>> {
        let Client {
            socket,
            peer,
            accepted,
            slot,
            proxied: _,
        } = client;
        let tls = acceptor.map(Acceptor::session).transpose()?;
        Ok(Connection {
            stream: Stream::new(socket, tls)?,
            session: Session::new(Arc::clone(&shared.policy)),
            account: None,
            shared,
            slot,
            peer,
            replies: Vec::new(),
            draft: None,
            reservation: None,
            reserved_until: None,
            login_deadline: accepted + shared.clocks.login_timeout,
            heard: accepted,
            pace: Pace::default(),
            refusals: (accepted, 0),
        })
    }

    fn run(mut self) -> Why {
        let why = match self.handshake() {
            Ok(()) => self
                .converse()
                .unwrap_or_else(|error| error.to_string().into()),
            Err(why) => {
                // A client that connects and says nothing is a health check.
                if self.stream.has_received() {
                    log::handshake_failed(self.peer, &why);
                }
                why
            }
        };
        // The draft is removed before the wait for the client's last bytes.
        self.draft = None;
        self.reservation = None;
        self.stream.close(Clock {
            deadline: Instant::now() + LINGER,
            stop: Some(self.shared.stop.sessions()),
        });
        why
    }

    /// Reads the header of a proxy and counts the connection for the client that
    /// it names. Nothing is sent before that, nor if it fails.
    #[inline(never)]
    fn identify(&mut self) -> ControlFlow<Why> {
        let header = match self.read_header() {
            Ok(header) => header,
            Err(why) => return ControlFlow::Break(why),
        };
        if let Header::Client(address) = header {
            self.peer = address;
            log::connected(self.peer, self.stream.is_tls());
        }
        let known = self.shared.accounts().is_known(self.peer.ip());
        if let Err(refusal) = self.slot.identify(self.peer.ip(), known) {
            self.shared.metrics.refused(refusal.limit);
            if refusal.log {
                log::refused(self.peer.ip(), refusal.limit);
            }
            if !self.stream.is_tls() {
                self.say(&reply::TOO_MANY_CONNECTIONS_421);
                let _ = self.flush();
            }
            return ControlFlow::Break(refusal.limit.into());
        }
        ControlFlow::Continue(())
    }

    fn read_header(&mut self) -> Result<Header, Why> {
        let clock = Clock {
            deadline: self.login_deadline,
            stop: Some(self.shared.stop.sessions()),
        };
        let mut reader = HeaderReader::default();
        let mut buffer = vec![0; 256];
        let why: Why = loop {
            let size = reader.wanted().min(buffer.len());
            let room = buffer.get_mut(..size).unwrap_or_default();
            match self.stream.read_raw(room, clock) {
                Ok(Received::Bytes(count)) => {
                    match reader.push(buffer.get(..count).unwrap_or_default()) {
                        Ok(Some(header)) => return Ok(header),
                        Ok(None) => {}
                        Err(error) => break error.to_string().into(),
                    }
                }
                // A health check that only connects.
                Ok(Received::End) if reader.is_empty() => return Err("client closed".into()),
                Err(error) if reader.is_empty() => return Err(error.to_string().into()),
                Ok(Received::Stop) => return Err("shutting down".into()),
                Ok(Received::End) => break "closed inside the header".into(),
                Ok(Received::Deadline) => break "no PROXY header in time".into(),
                Err(error) => break error.to_string().into(),
            }
        };
        log::proxy_header_failed(self.peer, &why);
        Err(why)
    }

    #[inline(never)]
    fn handshake(&mut self) -> Result<(), Why> {
        let clock = Clock {
            deadline: self.login_deadline,
            stop: Some(self.shared.stop.sessions()),
        };
        match self.stream.handshake(clock) {
            Ok(Received::Bytes(_)) => Ok(()),
            Ok(Received::End) => Err("client closed".into()),
            Ok(Received::Deadline) => Err("timeout".into()),
            Ok(Received::Stop) => Err("shutting down".into()),
            Err(error) => Err(error.to_string().into()),
        }
    }

    /// Runs the dialogue until one side ends it; returns why.
    fn converse(&mut self) -> io::Result<Why> {
        if let ControlFlow::Break(why) = self.log_in_by_network() {
            self.flush()?;
            return Ok(why);
        }
        let mut buffer = Buffer::new(READ_COMMANDS);
        self.say(&self.session.banner());
        self.heard = Instant::now();
        loop {
            let flow = if self.is_sent_away() {
                self.hang_up(&reply::SHUTTING_DOWN_421)
            } else {
                self.expire_reservation();
                self.turn(&mut buffer)?
            };
            if let ControlFlow::Break(why) = flow {
                self.flush()?;
                return Ok(why);
            }
        }
    }

    /// One wait for the client, and what follows from it.
    fn turn(&mut self, buffer: &mut Buffer) -> io::Result<ControlFlow<Why>> {
        let size = self.read_size();
        if buffer.size() < size {
            *buffer = Buffer::new(size);
        }
        let mut clock = self.clock();
        if buffer.size() > size {
            clock.deadline = clock.deadline.min(Instant::now() + REST);
        }
        let received = self.read(buffer.all_mut(), clock)?;
        let waited = self.stream.waited();
        match received {
            Received::Bytes(count) => {
                let bytes = buffer.all().get(..count).unwrap_or_default();
                if self.is_too_slow(waited, bytes.len()) {
                    return Ok(self.hang_up(&reply::TIMEOUT_421));
                }
                return self.feed(bytes);
            }
            Received::End => return Ok(ControlFlow::Break("client closed".into())),
            // The next turn sees it.
            Received::Stop => {}
            Received::Deadline => {
                if self.is_past_grace() {
                    return Ok(self.hang_up(&reply::SHUTTING_DOWN_421));
                }
                if self.is_too_slow(waited, 0) || Instant::now() >= self.silence_deadline() {
                    return Ok(self.hang_up(&reply::TIMEOUT_421));
                }
                // An idle client needs no room for a message.
                if buffer.size() > size {
                    *buffer = Buffer::new(size);
                    self.stream.release();
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Reads what is there already; sends the replies before waiting for more.
    fn read(&mut self, buffer: &mut [u8], clock: Clock<'_>) -> io::Result<Received> {
        match self.stream.read_on(buffer) {
            Ok(Some(received)) => Ok(received),
            Ok(None) => {
                self.flush()?;
                self.stream.read(buffer, clock)
            }
            Err(error) => {
                // What came before the error was received and is answered.
                self.flush()?;
                Err(error)
            }
        }
    }

    fn read_size(&self) -> usize {
        if self.session.is_receiving_mail() {
            READ_MAIL
        } else {
            READ_COMMANDS
        }
    }

    /// When the wait for the client's next bytes ends, and what else ends it.
    fn clock(&self) -> Clock<'s> {
        let mut deadline = self.silence_deadline();
        if self.has_floor() {
            let rest = PACE_WINDOW.saturating_sub(self.pace.waited);
            deadline = deadline.min(Instant::now() + rest);
        }
        let grace_end = self.shared.stop.grace_end();
        for end in [self.reserved_until, grace_end].into_iter().flatten() {
            deadline = deadline.min(end);
        }
        Clock {
            deadline,
            // A message in progress knows of the shutdown by its deadline.
            stop: (grace_end.is_none() || !self.session.is_receiving_mail())
                .then(|| self.shared.stop.sessions()),
        }
    }

    /// How long the client has to read its replies: as long as it may be silent.
    fn write_clock(&self) -> Clock<'s> {
        let mut deadline = Instant::now() + self.shared.clocks.timeout;
        if !self.session.is_logged_in() {
            deadline = deadline.min(self.login_deadline);
        }
        Clock {
            deadline,
            stop: (!self.session.is_receiving_mail()).then(|| self.shared.stop.sessions()),
        }
    }

    fn silence_deadline(&self) -> Instant {
        let silence = self.heard + self.shared.clocks.timeout;
        if self.session.is_logged_in() {
            silence
        } else {
            silence.min(self.login_deadline)
        }
    }

    /// Whether the server shuts down and no message in progress keeps the client.
    fn is_sent_away(&self) -> bool {
        self.shared.stop.grace_end().is_some() && !self.session.is_receiving_mail()
    }

    fn is_past_grace(&self) -> bool {
        let grace_end = self.shared.stop.grace_end();
        grace_end.is_some_and(|grace_end| Instant::now() >= grace_end)
    }

    fn has_floor(&self) -> bool {
        self.session.is_receiving_mail() && self.shared.clocks.min_rate > 0
    }

    /// Counts what a wait has brought to a mail.
    fn is_too_slow(&mut self, waited: Duration, bytes: usize) -> bool {
        self.has_floor()
            && self
                .pace
                .is_too_slow(waited, bytes as u64, self.shared.clocks.min_rate)
    }

    /// Gives bytes to the session and performs its steps.
    #[inline(never)]
    fn feed(&mut self, bytes: &[u8]) -> io::Result<ControlFlow<Why>> {
        let mut input = bytes;
        let mut heard = self.session.is_receiving_mail();
        while let Some(step) = self.session.receive(&mut input) {
            heard = true;
            let flow = self.perform(step)?;
            if flow.is_break() {
                return Ok(flow);
            }
            if self.is_sent_away() {
                // The message is done; what else the client has sent must wait.
                break;
            }
            if self.replies.len() >= FLUSH {
                self.flush()?;
            }
        }
        if heard {
            self.heard = Instant::now();
        }
        Ok(ControlFlow::Continue(()))
    }

    fn perform(&mut self, step: Step<'_>) -> io::Result<ControlFlow<Why>> {
        match step {
            Step::Reply(reply) => self.say(&reply),
            Step::Close(reply) => return Ok(self.hang_up(&reply)),
            Step::Verify(credentials) => return self.verify(&credentials),
            Step::Reserve(bytes) => {
                self.reserve(bytes);
                let next = self.session.reserved(self.reservation.is_some());
                return self.perform(next);
            }
            Step::EndTransaction(reply) => {
                self.release();
                self.say(&reply);
            }
            Step::Open(envelope) => self.open(&envelope),
            Step::Content(content) => self.write(content),
            Step::Commit => self.commit(),
            Step::Abandon => self.discard(),
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Verifies a login. A login that needs a hash waits for its turn, under the
    /// same clocks as any wait for the client.
    #[inline(never)]
    fn verify(&mut self, credentials: &Credentials) -> io::Result<ControlFlow<Why>> {
        let accounts = self.shared.accounts();
        let address = self.peer.ip();
        let login = match accounts.recognise(credentials, address) {
            Recognition::Correct(system_id) => Ok(system_id),
            Recognition::Refused => Err(Refused::Credentials),
            Recognition::Unknown => match self.wait_for_turn()? {
                ControlFlow::Continue(_turn) => accounts.verify(credentials, address),
                ControlFlow::Break(why) => return Ok(ControlFlow::Break(why)),
            },
        };
        self.shared.metrics.login(login.is_ok());
        match &login {
            Ok(system_id) => {
                if let ControlFlow::Break(why) = self.log_in(system_id, &accounts) {
                    return Ok(ControlFlow::Break(why));
                }
            }
            Err(Refused::Credentials) => {
                let authcid = &credentials.authcid;
                log::login_failed(self.peer, authcid, accounts.knows(authcid))
            }
            Err(Refused::Network) => log::login_from_elsewhere(self.peer, &credentials.authcid),
        }
        let next = self.session.verified(login.ok());
        self.perform(next)
    }

    /// Counts the connection for the account, which may have its maximum already.
    fn log_in(&mut self, system_id: &SystemId, accounts: &Accounts) -> ControlFlow<Why> {
        let max = accounts.max_connections(system_id);
        if !self.slot.log_in(system_id, max) {
            self.shared.metrics.refused("max-of-the-account");
            log::refused(self.peer.ip(), "max of the account");
            return self.hang_up(&reply::TOO_MANY_CONNECTIONS_421);
        }
        self.account = Some(self.shared.metrics.account(system_id));
        log::login(self.peer, system_id.as_str());
        ControlFlow::Continue(())
    }

    /// Logs a client in whose address is in a network of an account without a
    /// hash.
    #[inline(never)]
    fn log_in_by_network(&mut self) -> ControlFlow<Why> {
        let accounts = self.shared.accounts();
        let Some(system_id) = accounts.of_network(self.peer.ip()) else {
            return ControlFlow::Continue(());
        };
        self.session.log_in_by_network(system_id.clone());
        self.log_in(system_id, &accounts)
    }

    /// Waits until this client may have a password hashed. A client that has closed
    /// gets no turn: what it has sent so far is answered first, so that its
    /// system has the occasion to say so.
    fn wait_for_turn(&mut self) -> io::Result<ControlFlow<Why, Turn>> {
        self.flush()?;
        if self.stream.has_hung_up() {
            return Ok(ControlFlow::Break("client closed".into()));
        }
        let queue = &self.shared.hash_queue;
        let waiting = match queue.enter(self.prefix(), self.slot.is_known()) {
            Place::Turn(turn) => return Ok(ControlFlow::Continue(turn)),
            Place::Waiting(waiting) => waiting,
        };
        loop {
            match self.stream.wait_for(waiting.fd(), self.clock())? {
                Wait::Ready => {
                    if let Some(turn) = waiting.turn() {
                        return Ok(ControlFlow::Continue(turn));
                    }
                }
                Wait::HungUp => return Ok(ControlFlow::Break("client closed".into())),
                Wait::Deadline => return Ok(self.hang_up(&reply::TIMEOUT_421)),
                Wait::Stop => return Ok(self.hang_up(&reply::SHUTTING_DOWN_421)),
            }
        }
    }

    fn prefix(&self) -> Prefix {
        self.slot
            .prefix()
            .unwrap_or_else(|| Prefix::of(self.peer.ip()))
    }

    fn reserve(&mut self, bytes: u64) {
        // The old reservation, if there is one, must not count beside the new one.
        self.reservation = None;
        self.reservation = self.shared.spool.reserve(bytes);
        self.reserved_until = self
            .reservation
            .is_some()
            .then(|| Instant::now() + self.shared.clocks.login_timeout);
    }

    fn release(&mut self) {
        self.reservation = None;
        self.reserved_until = None;
    }

    /// A transaction that does not reach DATA in time keeps no space from others.
    fn expire_reservation(&mut self) {
        if self.reserved_until.is_some_and(|end| Instant::now() >= end) {
            self.release();
            self.session.reservation_expired();
        }
    }

    #[inline(never)]
    fn open(&mut self, envelope: &Envelope) {
        self.reserved_until = None;
        let origin = Origin {
            peer: self.peer.ip(),
            tls: self.stream.tls_version().is_some(),
        };
        match self.shared.spool.open(envelope, origin) {
            Ok(draft) => self.draft = Some((draft, Sent::from(envelope))),
            Err(error) => {
                log::spool_failed(self.peer, &error);
                self.discard();
            }
        }
        self.pace = Pace::default();
        let reply = self.session.opened(self.draft.is_some());
        self.say(&reply);
    }

    fn write(&mut self, content: &[u8]) {
        let Some((draft, sent)) = self.draft.take() else {
            return;
        };
        let reserved = self
            .reservation
            .as_mut()
            .is_none_or(|reservation| reservation.receive(content.len() as u64));
        if reserved {
            match draft.write(content) {
                Ok(draft) => {
                    self.draft = Some((draft, sent));
                    return;
                }
                Err(error) => log::spool_failed(self.peer, &error),
            }
        }
        self.discard();
        self.session.spool_failed();
    }

    fn discard(&mut self) {
        self.draft = None;
        self.release();
    }

    #[inline(never)]
    fn commit(&mut self) {
        let result = self
            .draft
            .take()
            .map(|(draft, sent)| (draft.commit(), sent));
        let reply = match result {
            Some((Ok(mail), sent)) => {
                let received = log::Received {
                    id: mail.id.as_str(),
                    bytes: mail.bytes,
                    summary: &mail.summary,
                };
                log::mail(self.peer, self.stream.tls_version(), &sent, &received);
                if let Some(account) = &self.account {
                    account.accepted(mail.bytes);
                }
                self.session.committed(Some(mail.id.as_str()))
            }
            Some((Err(error), _)) => {
                log::spool_failed(self.peer, &error);
                self.session.committed(None)
            }
            None => self.session.committed(None),
        };
        self.release();
        self.say(&reply);
    }

    fn say(&mut self, reply: &Reply) {
        // A refused login has its own line, and so has the end of a session.
        if reply.code() >= 400 && !matches!(reply.code(), 421 | 535) {
            self.log_refusal(reply);
        }
        self.shared.metrics.replied(reply);
        self.replies.extend_from_slice(reply.as_bytes());
    }

    #[inline(never)]
    fn log_refusal(&mut self, reply: &Reply) {
        let argument = self.session.take_refused();
        let (since, count) = &mut self.refusals;
        if since.elapsed() >= REFUSALS_PER {
            (*since, *count) = (Instant::now(), 0);
        }
        *count = count.saturating_add(1);
        if *count <= LOGGED_REFUSALS {
            let system_id = self.session.system_id();
            log::command_refused(self.peer, system_id, reply, argument.as_deref());
        }
    }

    /// Sends all replies in one write.
    fn flush(&mut self) -> io::Result<()> {
        if !self.replies.is_empty() {
            let clock = self.write_clock();
            self.stream.write(&self.replies, clock)?;
            self.replies.clear();
            self.replies.shrink_to(KEEP);
        }
        Ok(())
    }

    /// Says the last reply; the session ends once it is sent.
    #[inline(never)]
    fn hang_up<T>(&mut self, reply: &Reply) -> ControlFlow<Why, T> {
        self.say(reply);
        let text = String::from_utf8_lossy(reply.as_bytes());
        ControlFlow::Break(text.trim_end().to_owned().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After which of these waits (seconds, bytes received) the client is too slow
    /// for 100 bytes per second.
    fn judged(waits: impl IntoIterator<Item = (u64, u64)>) -> Option<usize> {
        let mut pace = Pace::default();
        waits
            .into_iter()
            .position(|(seconds, bytes)| pace.is_too_slow(Duration::from_secs(seconds), bytes, 100))
    }

    #[test]
    fn a_byte_a_minute_is_too_slow_after_two_of_them() {
        assert_eq!(judged([(59, 1), (59, 1), (59, 1)]), Some(1));
        assert_eq!(judged([(250, 1)]), Some(0));
        assert_eq!(judged(std::iter::repeat_n((1, 99), 100)), Some(59));
    }

    #[test]
    fn the_floor_itself_and_a_pause_are_not() {
        assert_eq!(judged(std::iter::repeat_n((1, 100), 600)), None);
        // Silence is not the floor's; what follows it has a new window.
        assert_eq!(
            judged([(60, 0), (60, 0), (60, 0), (30, 0), (30, 6000)]),
            None
        );
        assert_eq!(judged([(0, 1), (59, 0)]), None);
    }
}

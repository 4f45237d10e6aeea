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

mod clocks;
mod login;
mod proxied;
mod transaction;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::clocks::Pace;
use crate::buffer::{self, Buffer};
use crate::log::{self, Sent};
use crate::server::metrics::AccountMetrics;
use crate::server::shared::Shared;
use crate::server::slots::Slot;
use crate::server::stream::{Clock, Received, Stream};
use crate::server::tls::Acceptor;
use crate::smtp::reply::{self, Reply};
use crate::smtp::{Session, Step};
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
        Ok(connection) if proxied => connection.run_proxied(),
        Ok(connection) => connection.run(),
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
    /// How long transactions may hold space before DATA until a message is accepted.
    reservation_time: Duration,
    login_deadline: Instant,
    /// When the client last completed a line or sent content.
    heard: Instant,
    pace: Pace,
    /// Since when refused commands are counted, and how many there were.
    refusals: (Instant, u32),
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
            reservation_time: shared.clocks.login_timeout,
            login_deadline: accepted + shared.clocks.login_timeout,
            heard: accepted,
            pace: Pace::default(),
            refusals: (accepted, 0),
        })
    }

    /// Serves the client whose address is known; returns it, and why the session ended.
    fn run(mut self) -> (SocketAddr, Why) {
        let why = match self.handshake() {
            Ok(()) => self
                .converse()
                .unwrap_or_else(|error| error.to_string().into()),
            Err(why) => why,
        };
        // The draft is removed before the wait for the client's last bytes.
        self.draft = None;
        self.reservation = None;
        self.close(why)
    }

    /// Ends the connection so that the client can read the last reply.
    fn close(self, why: Why) -> (SocketAddr, Why) {
        self.stream.close(Clock {
            deadline: Instant::now() + LINGER,
            stop: Some(self.shared.stop.sessions()),
        });
        (self.peer, why)
    }

    #[inline(never)]
    fn handshake(&mut self) -> Result<(), Why> {
        let clock = Clock {
            deadline: self.login_deadline,
            stop: Some(self.shared.stop.sessions()),
        };
        let result = self.stream.handshake(clock);
        // A health check connects and sends nothing, or it resets the connection when
        // the handshake is done on its side.
        let is_check = !self.stream.has_received() || result.as_ref().is_err_and(is_reset);
        let why: Why = match result {
            Ok(Received::Bytes(_)) => return Ok(()),
            Ok(Received::End) => "client closed".into(),
            Ok(Received::Deadline) => "timeout".into(),
            Ok(Received::Stop) => "shutting down".into(),
            Err(error) => error.to_string().into(),
        };
        if !is_check {
            log::handshake_failed(self.peer, &why);
        }
        Err(why)
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

    fn say(&mut self, reply: &Reply) {
        // A refused login has its own line, and so has the end of a session, which only
        // one 421 gives as the reply to a command.
        let is_refusal = reply.code() >= 400 && !matches!(reply.code(), 421 | 535);
        if is_refusal || *reply == reply::TOO_MANY_ERRORS_421 {
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

    /// Queues the last reply; the session ends once it is sent.
    #[inline(never)]
    fn hang_up<T>(&mut self, reply: &Reply) -> ControlFlow<Why, T> {
        self.say(reply);
        let text = String::from_utf8_lossy(reply.as_bytes());
        ControlFlow::Break(text.trim_end().to_owned().into())
    }
}

fn is_reset(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    matches!(error.kind(), ConnectionReset | BrokenPipe)
}

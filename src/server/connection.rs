//! One client: flush, wait, read, feed the session, do its steps.
//!
//! Replies are gathered and sent when the client must be waited for, so a
//! pipelined group is answered in one write (RFC 2920). Two clocks bound what a
//! client may take: the login deadline, from accept to a successful AUTH, and
//! the silence limit. Silence ends when a line is complete, so a command that
//! drips ends its session too; a mail that drips has a floor of octets per
//! second.
//!
//! An idle client costs the pages of stack that its thread has ever touched, so
//! what is deep or rare is kept out of the frames of the wait: `inline(never)`.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::log::{self, Sent};
use crate::server::metrics::AccountMetrics;
use crate::server::shared::Shared;
use crate::server::stream::{Clock, Received, Stream};
use crate::server::tls::Acceptor;
use crate::smtp::reply::{self, Reply};
use crate::smtp::{Session, Step};
use crate::spool::trace::Origin;
use crate::spool::{Draft, Reservation};

/// Octets of commands read at once: what an idle client costs.
const READ_COMMANDS: usize = 2 * 1024;
/// Octets of a mail read at once.
const READ_MAIL: usize = 64 * 1024;

/// How long a client that has sent a mail keeps the buffer for the next one.
const REST: Duration = Duration::from_secs(1);

/// How long the client may go on sending behind the last reply.
const LINGER: Duration = Duration::from_secs(5);

/// Over which time a mail's octets per second are averaged.
const PACE_WINDOW: Duration = Duration::from_secs(60);

/// Serves one client from its first octet to its last.
pub fn serve(
    socket: TcpStream,
    peer: SocketAddr,
    acceptor: Option<&Acceptor>,
    accepted: Instant,
    shared: &Shared,
) {
    log::connected(peer, acceptor.is_some());
    let _open = shared.metrics.connected(acceptor.is_some());
    let why = match Connection::new(socket, peer, acceptor, accepted, shared) {
        Ok(connection) => connection.run(),
        Err(error) => error.to_string().into(),
    };
    log::disconnected(peer, &why);
}

type Why = std::borrow::Cow<'static, str>;

struct Connection<'s> {
    shared: &'s Shared,
    peer: SocketAddr,
    stream: Stream,
    session: Session,
    /// Counts the messages of the account that has logged in.
    account: Option<AccountMetrics>,
    /// What is to be said before the next wait.
    replies: Vec<u8>,
    /// The mail on its way in, and what its log line tells of the envelope.
    draft: Option<(Draft, Sent)>,
    reservation: Option<Reservation>,
    login_deadline: Instant,
    /// When the client last completed a line or sent octets of a mail.
    heard: Instant,
    pace: Pace,
    /// When mails in progress must be done, once the server is going down.
    grace_end: Option<Instant>,
}

/// How fast a mail comes, over one window.
#[derive(Default)]
struct Pace {
    /// Only the time that the client was waited for counts.
    waited: Duration,
    octets: u64,
}

impl Pace {
    /// Counts a wait, and judges each full window in which something came: for
    /// silence there is a limit of its own.
    fn is_too_slow(&mut self, waited: Duration, octets: u64, min_rate: u64) -> bool {
        self.waited += waited;
        self.octets += octets;
        if self.waited < PACE_WINDOW {
            return false;
        }
        let window = std::mem::take(self);
        let floor = min_rate.saturating_mul(window.waited.as_secs());
        (1..floor).contains(&window.octets)
    }
}

impl<'s> Connection<'s> {
    #[inline(never)]
    fn new(
        socket: TcpStream,
        peer: SocketAddr,
        acceptor: Option<&Acceptor>,
        accepted: Instant,
        shared: &'s Shared,
    ) -> io::Result<Connection<'s>> {
        let tls = acceptor.map(Acceptor::session).transpose()?;
        Ok(Connection {
            stream: Stream::new(socket, tls)?,
            session: Session::new(Arc::clone(&shared.policy)),
            account: None,
            shared,
            peer,
            replies: Vec::new(),
            draft: None,
            reservation: None,
            login_deadline: accepted + shared.clocks.login_timeout,
            heard: accepted,
            pace: Pace::default(),
            grace_end: None,
        })
    }

    fn run(mut self) -> Why {
        let why = match self.handshake() {
            Ok(()) => self
                .converse()
                .unwrap_or_else(|error| error.to_string().into()),
            Err(why) => {
                log::handshake_failed(self.peer, &why);
                why
            }
        };
        // The draft's file goes before the wait for the client's last octets.
        self.draft = None;
        self.reservation = None;
        self.stream.close(Clock {
            deadline: Instant::now() + LINGER,
            stop: Some(self.shared.stop.fd()),
        });
        why
    }

    #[inline(never)]
    fn handshake(&mut self) -> Result<(), Why> {
        let clock = Clock {
            deadline: self.login_deadline,
            stop: Some(self.shared.stop.fd()),
        };
        match self.stream.handshake(clock) {
            Ok(Received::Octets(_)) => Ok(()),
            Ok(Received::End) => Err("client closed".into()),
            Ok(Received::Deadline) => Err("timeout".into()),
            Ok(Received::Stop) => Err("shutting down".into()),
            Err(error) => Err(error.to_string().into()),
        }
    }

    /// Talks until one side has had enough; says why.
    fn converse(&mut self) -> io::Result<Why> {
        let mut buffer = vec![0; READ_COMMANDS];
        self.say(&self.session.banner());
        self.heard = Instant::now();
        loop {
            if self.grace_end.is_some() && !self.session.is_receiving_mail() {
                return self.hang_up(&reply::SHUTTING_DOWN_421);
            }
            let size = self.read_size();
            if buffer.len() < size {
                buffer = vec![0; size];
            }
            let mut clock = self.clock();
            if buffer.len() > size {
                clock.deadline = clock.deadline.min(Instant::now() + REST);
            }
            let received = match self.stream.read_on(&mut buffer)? {
                Some(received) => received,
                None => {
                    self.flush()?;
                    self.stream.read(&mut buffer, clock)?
                }
            };
            let waited = self.stream.waited();
            match received {
                Received::Octets(count) => {
                    let octets = buffer.get(..count).unwrap_or_default();
                    if self.is_too_slow(waited, octets.len()) {
                        return self.hang_up(&reply::TIMEOUT_421);
                    }
                    if let ControlFlow::Break(why) = self.feed(octets) {
                        self.flush()?;
                        return Ok(why);
                    }
                }
                Received::End => return Ok("client closed".into()),
                Received::Stop => self.grace_end = Some(self.shared.stop.grace_end()),
                Received::Deadline => {
                    if self.is_past_grace() {
                        return self.hang_up(&reply::SHUTTING_DOWN_421);
                    }
                    if self.is_too_slow(waited, 0) || Instant::now() >= self.silence_deadline() {
                        return self.hang_up(&reply::TIMEOUT_421);
                    }
                    // An idle client needs no room for a mail.
                    if buffer.len() > size {
                        buffer = vec![0; size];
                    }
                }
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

    /// When the wait for the client's next octets ends, and what else ends it.
    fn clock(&self) -> Clock<'s> {
        let mut deadline = self.silence_deadline();
        if self.has_floor() {
            let rest = PACE_WINDOW.saturating_sub(self.pace.waited);
            deadline = deadline.min(Instant::now() + rest);
        }
        if let Some(grace_end) = self.grace_end {
            deadline = deadline.min(grace_end);
        }
        Clock {
            deadline,
            // Once it is known, it need not be heard again.
            stop: match self.grace_end {
                Some(_) => None,
                None => Some(self.shared.stop.fd()),
            },
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
            stop: (!self.session.is_receiving_mail()).then(|| self.shared.stop.fd()),
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

    fn is_past_grace(&self) -> bool {
        self.grace_end
            .is_some_and(|grace_end| Instant::now() >= grace_end)
    }

    fn has_floor(&self) -> bool {
        self.session.is_receiving_mail() && self.shared.clocks.min_rate > 0
    }

    /// Counts what a wait has brought to a mail.
    fn is_too_slow(&mut self, waited: Duration, octets: usize) -> bool {
        self.has_floor()
            && self
                .pace
                .is_too_slow(waited, octets as u64, self.shared.clocks.min_rate)
    }

    /// Gives octets to the session and does what it wants.
    #[inline(never)]
    fn feed(&mut self, octets: &[u8]) -> ControlFlow<Why> {
        let mut input = octets;
        let mut heard = self.session.is_receiving_mail();
        while let Some(step) = self.session.receive(&mut input) {
            heard = true;
            self.perform(step)?;
            if !self.session.is_in_transaction() {
                self.reservation = None;
                if self.grace_end.is_some() {
                    // The mail is done; what else the client has sent must wait.
                    break;
                }
            }
        }
        if heard {
            self.heard = Instant::now();
        }
        ControlFlow::Continue(())
    }

    fn perform(&mut self, step: Step<'_>) -> ControlFlow<Why> {
        match step {
            Step::Reply(reply) => self.say(&reply),
            Step::Close(reply) => {
                self.say(&reply);
                let text = String::from_utf8_lossy(reply.as_bytes());
                return ControlFlow::Break(text.trim_end().to_owned().into());
            }
            Step::Verify(credentials) => {
                let login = self.shared.accounts().verify(&credentials);
                self.shared.metrics.login(login.is_some());
                match &login {
                    Some(system_id) => {
                        log::login(self.peer, system_id.as_str());
                        self.account = Some(self.shared.metrics.account(system_id));
                    }
                    None => log::login_failed(self.peer, &credentials.authcid),
                }
                let next = self.session.verified(login);
                return self.perform(next);
            }
            Step::Begin => {
                self.reservation = self.shared.spool.reserve();
                let reply = self.session.begun(self.reservation.is_some());
                self.say(&reply);
            }
            Step::Open(envelope) => {
                let origin = Origin {
                    peer: self.peer.ip(),
                    tls: self.stream.tls_version().is_some(),
                };
                self.draft = match self.shared.spool.open(&envelope, origin) {
                    Ok(draft) => Some((draft, Sent::from(&envelope))),
                    Err(error) => {
                        log::spool_failed(self.peer, &error);
                        None
                    }
                };
                self.pace = Pace::default();
                let reply = self.session.opened(self.draft.is_some());
                self.say(&reply);
            }
            Step::Content(content) => {
                if let Some((draft, _)) = &mut self.draft
                    && let Err(error) = draft.write(content)
                {
                    log::spool_failed(self.peer, &error);
                    self.draft = None;
                    self.session.spool_failed();
                }
            }
            Step::Commit => self.commit(),
            Step::Abandon => self.draft = None,
        }
        ControlFlow::Continue(())
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
                    octets: mail.octets,
                    summary: &mail.summary,
                };
                log::mail(self.peer, self.stream.tls_version(), &sent, &received);
                if let Some(account) = &self.account {
                    account.accepted(mail.octets);
                }
                self.session.committed(Some(mail.id.as_str()))
            }
            Some((Err(error), _)) => {
                log::spool_failed(self.peer, &error);
                self.session.committed(None)
            }
            None => self.session.committed(None),
        };
        self.say(&reply);
    }

    fn say(&mut self, reply: &Reply) {
        self.shared.metrics.replied(reply);
        self.replies.extend_from_slice(reply.as_bytes());
    }

    /// Says what is to be said, all of it in one write.
    fn flush(&mut self) -> io::Result<()> {
        if !self.replies.is_empty() {
            let clock = self.write_clock();
            self.stream.write(&self.replies, clock)?;
            self.replies.clear();
        }
        Ok(())
    }

    #[inline(never)]
    fn hang_up(&mut self, reply: &Reply) -> io::Result<Why> {
        self.say(reply);
        self.flush()?;
        let text = String::from_utf8_lossy(reply.as_bytes());
        Ok(text.trim_end().to_owned().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether waits of so many seconds, each bringing so many octets, are too
    /// slow for 100 octets a second, and after how many of them.
    fn judged(waits: impl IntoIterator<Item = (u64, u64)>) -> Option<usize> {
        let mut pace = Pace::default();
        waits.into_iter().position(|(seconds, octets)| {
            pace.is_too_slow(Duration::from_secs(seconds), octets, 100)
        })
    }

    #[test]
    fn an_octet_a_minute_is_too_slow_after_two_of_them() {
        assert_eq!(judged([(59, 1), (59, 1), (59, 1)]), Some(1));
        assert_eq!(judged([(250, 1)]), Some(0));
        assert_eq!(judged(std::iter::repeat_n((1, 99), 100)), Some(59));
    }

    #[test]
    fn the_floor_itself_and_a_pause_are_not() {
        assert_eq!(judged(std::iter::repeat_n((1, 100), 600)), None);
        // Silence is not the floor's; what comes behind it has a new window.
        assert_eq!(
            judged([(60, 0), (60, 0), (60, 0), (30, 0), (30, 6000)]),
            None
        );
        assert_eq!(judged([(0, 1), (59, 0)]), None);
    }
}

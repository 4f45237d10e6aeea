//! One client's dialogue, pure: bytes in, [`Step`]s out.
//!
//! The connection carries out each step and gives the outcome back by a method
//! call before it asks for the next one. What RSET may clear is one field
//! (`phase`), what it may not is another (`hello`, `login`). State is checked
//! before syntax: HELO or EHLO, then AUTH, then MAIL, then RCPT.

use std::sync::Arc;

use super::command::{self, Mechanism, Verb};
use super::data::{Condemned, Decoder, Piece};
use super::limits::{Limits, MAX_AUTH_FAILURES, MAX_ERRORS};
use super::line::{Line, LineReader};
use super::mailbox::{Addresses, ForwardPath, ReversePath};
use super::reply::{self, Reply};
use super::sasl::{self, Credentials, Secret, SystemId};

/// What the operator sets for every session.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The name in the banner and the answers to HELO and EHLO.
    pub hostname: String,
    /// Which mailboxes MAIL and RCPT accept.
    pub addresses: Addresses,
    /// Limits of a session.
    pub limits: Limits,
}

/// Who sends a message, and to whom: all that is known when DATA is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The name that the client gave in HELO or EHLO.
    pub hello: Arc<str>,
    /// The account that the client logged in with.
    pub system_id: SystemId,
    /// The path of MAIL.
    pub reverse_path: ReversePath,
    /// The paths of RCPT, in order, duplicates among them.
    pub forward_paths: Vec<ForwardPath>,
}

/// What the connection is to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Send it.
    Reply(Reply),
    /// Send it and close the connection; the rest of the input is ignored.
    Close(Reply),
    /// Verify these, then call [`Session::verified`].
    Verify(Credentials),
    /// Reserve space for a message of this many bytes in the place of any
    /// earlier reservation, then call [`Session::reserved`].
    Reserve(u64),
    /// Send it; the transaction has ended before its DATA: release its space.
    EndTransaction(Reply),
    /// Begin a draft, then call [`Session::opened`].
    Open(Envelope),
    /// Content of the message, without stuffing: write it to the draft. If that
    /// fails, remove the draft, release its space and call
    /// [`Session::spool_failed`].
    Content(&'a [u8]),
    /// The message is complete: make it durable, release its space, then call
    /// [`Session::committed`].
    Commit,
    /// The draft is void: remove it and release its space.
    Abandon,
}

/// One client's dialogue.
#[derive(Debug)]
pub struct Session {
    policy: Arc<Policy>,
    lines: LineReader,
    hello: Option<Arc<str>>,
    login: Option<Login>,
    phase: Phase,
    /// Errors since the last accepted message.
    errors: u32,
    /// Refused logins of this connection.
    auth_failures: u32,
    /// The argument of the last command, if it was refused and the log may show
    /// it.
    refused: Option<Box<str>>,
}

/// The account that a client acts for.
#[derive(Debug)]
enum Login {
    /// By its address; an AUTH may replace it.
    Network(SystemId),
    /// By AUTH.
    Password(SystemId),
}

impl Login {
    fn system_id(&self) -> &SystemId {
        match self {
            Login::Network(system_id) | Login::Password(system_id) => system_id,
        }
    }
}

#[derive(Debug)]
enum Phase {
    Command,
    Auth(Exchange),
    /// After MAIL.
    Mail(Transaction),
    /// After the 354.
    Data(Incoming),
    /// After a bare CR or LF in the message: only its end is looked for.
    Condemned(Condemned),
}

/// What the next line of an AUTH exchange is.
#[derive(Debug)]
enum Exchange {
    Plain,
    Username,
    Password { username: Vec<u8> },
}

/// An open transaction: the envelope so far, with the hello and the login that
/// it was opened with.
#[derive(Debug)]
struct Transaction {
    envelope: Envelope,
    /// Bytes that the message may need.
    size: u64,
    space: Space,
}

/// The state of a transaction's reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Space {
    /// [`Step::Reserve`] was returned for MAIL.
    Requested,
    /// Held.
    Reserved,
    /// Released, because DATA did not follow in time.
    Expired,
    /// [`Step::Reserve`] was returned again, for DATA.
    RequestedForData,
}

/// A message that is being received.
#[derive(Debug)]
struct Incoming {
    decoder: Decoder,
    /// Bytes of content so far.
    bytes: u64,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Spool,
    TooBig,
    SpoolFailed,
}

impl Session {
    /// A session before its greeting.
    pub fn new(policy: Arc<Policy>) -> Session {
        Session {
            policy,
            lines: LineReader::default(),
            hello: None,
            login: None,
            phase: Phase::Command,
            errors: 0,
            auth_failures: 0,
            refused: None,
        }
    }

    /// The client is logged in from the start, by its address.
    pub(crate) fn log_in_by_network(&mut self, system_id: SystemId) {
        self.login = Some(Login::Network(system_id));
    }

    /// The greeting (RFC 5321 4.3.1).
    pub fn banner(&self) -> Reply {
        reply::banner_220(&self.policy.hostname)
    }

    /// The next step that the bytes at the front of `input` lead to. `None`
    /// when all of them are taken and more are needed.
    pub fn receive<'a>(&mut self, input: &mut &'a [u8]) -> Option<Step<'a>> {
        match &self.phase {
            Phase::Data(_) => self.receive_mail(input),
            Phase::Condemned(_) => self.receive_condemned(input),
            Phase::Command | Phase::Auth(_) | Phase::Mail(_) => {
                let step = match self.lines.read(input)? {
                    Line::Whole(line) => self.receive_line(&line),
                    Line::TooLong => self.void_line(reply::LINE_TOO_LONG_500),
                    Line::BareLineEnd => self.hang_up(reply::BARE_LINE_END_500),
                };
                Some(step)
            }
        }
    }

    /// The outcome of [`Step::Verify`]: the account, or `None` if the credentials
    /// are refused.
    pub fn verified(&mut self, login: Option<SystemId>) -> Step<'static> {
        if let Some(system_id) = login {
            self.login = Some(Login::Password(system_id));
            return self.answer(reply::AUTHENTICATED_235);
        }
        self.auth_failures += 1;
        if self.auth_failures >= MAX_AUTH_FAILURES {
            return Step::Close(reply::TOO_MANY_AUTH_FAILURES_421);
        }
        self.answer(reply::AUTH_FAILED_535)
    }

    /// The outcome of [`Step::Reserve`].
    pub fn reserved(&mut self, reserved: bool) -> Step<'static> {
        match std::mem::replace(&mut self.phase, Phase::Command) {
            Phase::Mail(transaction) if transaction.space == Space::RequestedForData => {
                if reserved {
                    Step::Open(transaction.envelope)
                } else {
                    Step::Reply(self.opened(false))
                }
            }
            Phase::Mail(mut transaction) if reserved => {
                transaction.space = Space::Reserved;
                self.phase = Phase::Mail(transaction);
                Step::Reply(reply::SENDER_OK_250)
            }
            _ => Step::Reply(reply::LOW_SPACE_452),
        }
    }

    /// The reservation of the transaction was released, because DATA did not
    /// follow in time. DATA asks for it again.
    pub(crate) fn reservation_expired(&mut self) {
        if let Phase::Mail(transaction) = &mut self.phase {
            transaction.space = Space::Expired;
        }
    }

    /// Whether the draft of [`Step::Open`] could be begun. If not, the client
    /// gets 452 at the end of the message: a client that does not wait for the
    /// 354 has sent the message already, and it must not be taken for commands.
    pub fn opened(&mut self, draft: bool) -> Reply {
        self.phase = Phase::Data(Incoming {
            decoder: Decoder::new(),
            bytes: 0,
            fate: if draft {
                Fate::Spool
            } else {
                Fate::SpoolFailed
            },
        });
        reply::ENTER_MAIL_354
    }

    /// The draft could not take [`Step::Content`] and is removed.
    pub fn spool_failed(&mut self) {
        if let Phase::Data(incoming) = &mut self.phase {
            incoming.fate = Fate::SpoolFailed;
        }
    }

    /// The outcome of [`Step::Commit`]: the id of the durable message, or `None`.
    pub fn committed(&mut self, id: Option<&str>) -> Reply {
        match id {
            Some(id) => {
                self.errors = 0;
                reply::queued_250(id)
            }
            None => reply::SPOOL_FAILED_452,
        }
    }

    /// Whether the client has logged in, which ends the login deadline.
    pub fn is_logged_in(&self) -> bool {
        self.login.is_some()
    }

    /// The account that the client is logged in as.
    pub fn system_id(&self) -> Option<&SystemId> {
        self.login.as_ref().map(Login::system_id)
    }

    /// The argument of the command that was refused last, given once. Arguments
    /// that may hold a password are never given.
    pub(crate) fn take_refused(&mut self) -> Option<Box<str>> {
        self.refused.take()
    }

    /// Whether a message is being received: after the 354, before its reply.
    pub fn is_receiving_mail(&self) -> bool {
        matches!(self.phase, Phase::Data(_) | Phase::Condemned(_))
    }

    fn receive_line(&mut self, line: &[u8]) -> Step<'static> {
        if line.contains(&0) {
            return self.void_line(reply::NUL_500);
        }
        match std::mem::replace(&mut self.phase, Phase::Command) {
            Phase::Auth(exchange) => self.auth_response(exchange, line),
            phase => {
                self.phase = phase;
                self.execute(line)
            }
        }
    }

    /// An invalid line: it ends an AUTH exchange, but not a transaction.
    fn void_line(&mut self, reply: Reply) -> Step<'static> {
        if matches!(self.phase, Phase::Auth(_)) {
            self.phase = Phase::Command;
        }
        self.answer(reply)
    }

    fn execute(&mut self, line: &[u8]) -> Step<'static> {
        let (verb, argument) = command::parse(line);
        let step = self.obey(verb, argument);
        let shown = matches!(verb, Verb::Helo | Verb::Ehlo | Verb::Mail | Verb::Rcpt);
        let reply = match &step {
            Step::Reply(reply) | Step::Close(reply) => Some(reply),
            _ => None,
        };
        let refused = shown && reply.is_some_and(|reply| reply.code() >= 400);
        self.refused = refused.then(|| String::from_utf8_lossy(argument).into());
        step
    }

    fn obey(&mut self, verb: Verb, argument: &[u8]) -> Step<'static> {
        match verb {
            Verb::Helo | Verb::Ehlo => self.hello(verb, argument),
            Verb::Auth => self.auth(argument),
            Verb::Mail => self.mail(argument),
            Verb::Rcpt => self.rcpt(argument),
            Verb::Data => self.data(argument),
            Verb::Rset if !argument.is_empty() => self.answer(reply::NO_ARGUMENT_501),
            Verb::Rset => self.reset(reply::OK_250),
            Verb::Noop => self.answer(reply::OK_250),
            Verb::Quit if !argument.is_empty() => self.answer(reply::NO_ARGUMENT_501),
            Verb::Quit => Step::Close(reply::BYE_221),
            Verb::Help => self.answer(reply::HELP_214),
            Verb::NotImplemented => self.answer(reply::NOT_IMPLEMENTED_502),
            Verb::StartTls => self.answer(reply::STARTTLS_502),
            Verb::Http => self.hang_up(reply::UNRECOGNIZED_500),
            Verb::Unrecognized => self.answer(reply::UNRECOGNIZED_500),
        }
    }

    /// RFC 5321 4.1.4: a second one resets the transaction; the login stays.
    fn hello(&mut self, verb: Verb, argument: &[u8]) -> Step<'static> {
        let Some(name) = command::hello_name(argument) else {
            return self.answer(reply::HELLO_NAME_501);
        };
        self.hello = Some(name.into());
        let policy = &self.policy;
        let reply = match verb {
            Verb::Ehlo => reply::ehlo_250(&policy.hostname, name, policy.limits.max_message_size),
            _ => reply::helo_250(&policy.hostname, name),
        };
        self.reset(reply)
    }

    /// Ends the transaction, if there is one; hello and login stay.
    fn reset(&mut self, reply: Reply) -> Step<'static> {
        match std::mem::replace(&mut self.phase, Phase::Command) {
            Phase::Mail(_) => Step::EndTransaction(reply),
            _ => Step::Reply(reply),
        }
    }

    fn auth(&mut self, argument: &[u8]) -> Step<'static> {
        if self.hello.is_none() {
            return self.answer(reply::NEED_EHLO_503);
        }
        // RFC 4954 4
        if matches!(self.login, Some(Login::Password(_))) {
            return self.answer(reply::ALREADY_AUTHENTICATED_503);
        }
        if matches!(self.phase, Phase::Mail(_)) {
            return self.answer(reply::AUTH_IN_TRANSACTION_503);
        }
        match command::auth(argument) {
            Err(reply) => self.answer(reply),
            Ok((Mechanism::Plain, None)) => self.challenge(Exchange::Plain, reply::PLAIN_334),
            Ok((Mechanism::Login, None)) => self.challenge(Exchange::Username, reply::USERNAME_334),
            Ok((mechanism, Some(initial))) => {
                let exchange = match mechanism {
                    Mechanism::Plain => Exchange::Plain,
                    Mechanism::Login => Exchange::Username,
                };
                match sasl::decode_initial(initial) {
                    Ok(message) => self.respond(exchange, message),
                    Err(sasl::NotBase64) => self.answer(reply::NOT_BASE64_501),
                }
            }
        }
    }

    fn auth_response(&mut self, exchange: Exchange, line: &[u8]) -> Step<'static> {
        // RFC 4954 4
        if line == b"*" {
            return self.answer(reply::AUTH_CANCELLED_501);
        }
        match sasl::decode(line) {
            Ok(message) => self.respond(exchange, message),
            Err(sasl::NotBase64) => self.answer(reply::NOT_BASE64_501),
        }
    }

    fn respond(&mut self, exchange: Exchange, message: Vec<u8>) -> Step<'static> {
        match exchange {
            Exchange::Plain => match sasl::plain(&message) {
                Some(credentials) => Step::Verify(credentials),
                None => self.answer(reply::NOT_PLAIN_501),
            },
            Exchange::Username => {
                let next = Exchange::Password { username: message };
                self.challenge(next, reply::PASSWORD_334)
            }
            Exchange::Password { username } => Step::Verify(Credentials {
                authzid: Vec::new(),
                authcid: username,
                password: Secret::new(message),
            }),
        }
    }

    fn challenge(&mut self, exchange: Exchange, reply: Reply) -> Step<'static> {
        self.phase = Phase::Auth(exchange);
        self.answer(reply)
    }

    fn mail(&mut self, argument: &[u8]) -> Step<'static> {
        let Some(hello) = &self.hello else {
            return self.answer(reply::NEED_HELLO_503);
        };
        let Some(login) = &self.login else {
            return self.answer(reply::NEED_AUTH_530);
        };
        if matches!(self.phase, Phase::Mail(_)) {
            return self.answer(reply::NESTED_MAIL_503);
        }
        let arguments = match command::mail(argument) {
            Ok(arguments) => arguments,
            Err(reply) => return self.answer(reply),
        };
        let sender = arguments.reverse_path.mailbox();
        if sender.is_some_and(|mailbox| !self.policy.addresses.allow(mailbox)) {
            return self.answer(reply::MAILBOX_553);
        }
        // RFC 1870 6.1
        let max = self.policy.limits.max_message_size;
        if arguments.size.is_some_and(|size| size > max) {
            return self.answer(reply::TOO_BIG_552);
        }
        let size = arguments.size.unwrap_or(max);
        self.phase = Phase::Mail(Transaction {
            envelope: Envelope {
                hello: Arc::clone(hello),
                system_id: login.system_id().clone(),
                reverse_path: arguments.reverse_path,
                forward_paths: Vec::new(),
            },
            size,
            space: Space::Requested,
        });
        Step::Reserve(size)
    }

    fn rcpt(&mut self, argument: &[u8]) -> Step<'static> {
        if self.hello.is_none() {
            return self.answer(reply::NEED_HELLO_503);
        }
        if self.login.is_none() {
            return self.answer(reply::NEED_AUTH_530);
        }
        let Phase::Mail(transaction) = &mut self.phase else {
            return self.answer(reply::NEED_MAIL_FIRST_503);
        };
        let forward_paths = &mut transaction.envelope.forward_paths;
        let forward_path = match command::rcpt(argument) {
            Ok(forward_path) => forward_path,
            Err(reply) => return self.answer(reply),
        };
        if let ForwardPath::Mailbox(mailbox) = &forward_path {
            if !self.policy.addresses.allow(mailbox) {
                return self.answer(reply::MAILBOX_553);
            }
        }
        // RFC 5321 4.5.3.1.10
        if forward_paths.len() >= self.policy.limits.max_recipients {
            return self.answer(reply::TOO_MANY_RECIPIENTS_452);
        }
        forward_paths.push(forward_path);
        self.answer(reply::RECIPIENT_OK_250)
    }

    fn data(&mut self, argument: &[u8]) -> Step<'static> {
        let mut transaction = match std::mem::replace(&mut self.phase, Phase::Command) {
            Phase::Mail(transaction) => transaction,
            phase => {
                self.phase = phase;
                return self.answer(reply::NEED_MAIL_503);
            }
        };
        let error = if transaction.envelope.forward_paths.is_empty() {
            Some(reply::NEED_RCPT_503)
        } else if !argument.is_empty() {
            Some(reply::NO_ARGUMENT_501)
        } else {
            None
        };
        if let Some(reply) = error {
            self.phase = Phase::Mail(transaction);
            return self.answer(reply);
        }
        if transaction.space == Space::Expired {
            let size = transaction.size;
            transaction.space = Space::RequestedForData;
            self.phase = Phase::Mail(transaction);
            return Step::Reserve(size);
        }
        Step::Open(transaction.envelope)
    }

    fn receive_mail<'a>(&mut self, input: &mut &'a [u8]) -> Option<Step<'a>> {
        let max = self.policy.limits.max_message_size;
        let Phase::Data(incoming) = &mut self.phase else {
            return None;
        };
        loop {
            match incoming.decoder.decode(input)? {
                Piece::Content(content) => {
                    incoming.bytes += content.len() as u64;
                    if incoming.bytes <= max {
                        if incoming.fate == Fate::Spool {
                            return Some(Step::Content(content));
                        }
                    } else if std::mem::replace(&mut incoming.fate, Fate::TooBig) == Fate::Spool {
                        return Some(Step::Abandon);
                    }
                }
                Piece::End => {
                    let fate = incoming.fate;
                    self.phase = Phase::Command;
                    return Some(match fate {
                        Fate::Spool => Step::Commit,
                        Fate::TooBig => self.answer(reply::TOO_BIG_552),
                        Fate::SpoolFailed => self.answer(reply::SPOOL_FAILED_452),
                    });
                }
                Piece::BareLineEnd => {
                    let condemned = incoming.decoder.condemned();
                    let draft = incoming.fate == Fate::Spool;
                    self.phase = Phase::Condemned(condemned);
                    if draft {
                        return Some(Step::Abandon);
                    }
                    return self.receive_condemned(input);
                }
            }
        }
    }

    fn receive_condemned<'a>(&mut self, input: &mut &'a [u8]) -> Option<Step<'a>> {
        let limit = self.policy.limits.max_message_size;
        let Phase::Condemned(condemned) = &mut self.phase else {
            return None;
        };
        condemned
            .ended(input, limit)
            .then_some(Step::Close(reply::BARE_LINE_END_554))
    }

    /// Gives `reply`, unless it is the last error that this client may make.
    fn answer(&mut self, reply: Reply) -> Step<'static> {
        match self.last_error(&reply) {
            Some(last) => Step::Close(last),
            None => Step::Reply(reply),
        }
    }

    /// Gives `reply` and ends the session.
    fn hang_up(&mut self, reply: Reply) -> Step<'static> {
        Step::Close(self.last_error(&reply).unwrap_or(reply))
    }

    /// Counts the errors that a client can go on making for ever, and gives the
    /// reply that takes the place of the last one.
    fn last_error(&mut self, reply: &Reply) -> Option<Reply> {
        if matches!(reply.code(), 500 | 501 | 502 | 503 | 504 | 530 | 553 | 555) {
            self.errors += 1;
        } else {
            return None;
        }
        (self.errors >= MAX_ERRORS).then_some(reply::TOO_MANY_ERRORS_421)
    }
}

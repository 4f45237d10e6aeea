//! Any bytes against the session and against the reader of MM4 fields: each
//! promise that is checked below holds, or this panics. The fuzzer and
//! `tests/corpus.rs` both run it.
//!
//! | input of [`session`] | what |
//! | --- | --- |
//! | byte 0 | the [`World`]: the operator's settings, which call of the spool fails, what was said before |
//! | byte 1 | how the client's bytes are cut into [`pieces`] |
//! | the rest | the client's bytes; 0xFE and the byte n after it are 12200 + n times `A` |
//!
//! Accounts and spool are played by the driver. What it checks is worked out
//! anew from the bytes, in the plainest way there is ([`judge`]), not asked of
//! the session.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]
#![allow(dead_code, reason = "each fuzz target uses its part")]

mod judge;

use std::fmt::{self, Write};
use std::iter;
use std::ops::ControlFlow;
use std::sync::Arc;

use judge::{Over, bare_line_end, check_envelope, check_reply, judge};
use mm4d::mm4;
use mm4d::smtp::limits::{MAX_AUTH_FAILURES, MAX_ERRORS, MAX_LINE, MAX_PATH};
use mm4d::smtp::reply::{self, Reply};
use mm4d::smtp::{Addresses, Credentials, Envelope, Limits, Policy, Session, Step, SystemId};

/// The one account there is, and its password.
const SYSTEM_ID: &str = "peer1";
const PASSWORD: &str = "secret";

/// RCPT commands in a transaction.
const MAX_RECIPIENTS: usize = 3;
/// Bytes of a mail, in the two sorts of world.
const SMALL_MAIL: u64 = 60;
const LARGE_MAIL: u64 = 15_000;
/// Bytes that a failing draft takes before it fails.
const DRAFT_ROOM: usize = 20;

/// How often 0xFE stretches an input.
const MAX_STRETCHES: usize = 4;

/// Bytes that a session may show of itself. A byte is shown as at most five;
/// an AUTH exchange holds a line and what was decoded of another.
const MAX_SHOWN: usize = 2 * 5 * MAX_LINE + 20 * MAX_PATH * (MAX_RECIPIENTS + 1) + 10_000;
/// How many bytes of input lie between two looks at that.
const LOOK_EVERY: usize = 4096;

/// What a client may have said before the input begins.
const PRELUDES: [&str; 4] = [
    "",
    "EHLO x\r\nAUTH PLAIN AHBlZXIxAHNlY3JldA==\r\n",
    "EHLO x\r\nAUTH PLAIN AHBlZXIxAHNlY3JldA==\r\nMAIL FROM:<>\r\nRCPT TO:<123@a>\r\n",
    "EHLO x\r\nAUTH PLAIN AHBlZXIxAHNlY3JldA==\r\nMAIL FROM:<>\r\nRCPT TO:<123@a>\r\nDATA\r\n",
];

/// A client's bytes against a session, in one piece and in many.
pub fn session(input: &[u8]) {
    let Some((&[world, cut], rest)) = input.split_first_chunk::<2>() else {
        return;
    };
    let world = World::from(world);
    let wire = world.wire(rest);
    let whole = Run::of(&world, &wire, iter::once(wire.as_slice()));
    let parts = Run::of(&world, &wire, pieces(&wire, cut));
    assert_eq!(
        whole, parts,
        "left: in one piece, right: in pieces, cut {cut}"
    );
}

/// A mail's first bytes, as the spool gives them to the log.
pub fn header(input: &[u8]) {
    let found = mm4::summary(input);
    let Some(summary) = &found else { return };
    for value in [
        &summary.message_type,
        &summary.transaction_id,
        &summary.message_id,
    ]
    .into_iter()
    .flatten()
    {
        assert_eq!(value.trim(), value, "blanks around a value");
    }
    let body = input.windows(4).position(|end| end == b"\r\n\r\n");
    if let Some(body) = body {
        let header = mm4::summary(&input[..body + 4]);
        assert_eq!(header, found, "the body says what only the header may");
    }
}

// ---------------------------------------------------------------- the input

/// What surrounds a session, from one byte of the input.
struct World {
    prelude: &'static str,
    policy: Arc<Policy>,
    fault: Option<Fault>,
    /// The fault meets every mail, not the first alone.
    lasting: bool,
}

/// What the spool fails at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Room,
    Open,
    Write,
    Commit,
}

impl From<u8> for World {
    fn from(byte: u8) -> World {
        let bit = |number: u8| byte & (1 << number) != 0;
        let addresses = if bit(2) {
            Addresses::Any
        } else {
            Addresses::E164
        };
        let limits = Limits {
            max_message_size: if bit(3) { SMALL_MAIL } else { LARGE_MAIL },
            max_recipients: MAX_RECIPIENTS,
        };
        World {
            prelude: PRELUDES[usize::from(byte & 3)],
            policy: Arc::new(Policy {
                hostname: "mm4d.example.net".to_owned(),
                addresses,
                limits,
            }),
            fault: match byte >> 4 & 7 {
                1 => Some(Fault::Room),
                2 => Some(Fault::Open),
                3 => Some(Fault::Write),
                4 => Some(Fault::Commit),
                _ => None,
            },
            lasting: bit(7),
        }
    }
}

impl World {
    /// All that the client sends.
    fn wire(&self, input: &[u8]) -> Vec<u8> {
        let mut wire = self.prelude.as_bytes().to_vec();
        let mut rest = input;
        let mut stretches = 0;
        while let Some((&byte, behind)) = rest.split_first() {
            rest = behind;
            match rest.split_first() {
                Some((&count, behind)) if byte == 0xfe && stretches < MAX_STRETCHES => {
                    wire.extend(iter::repeat_n(b'A', 12_200 + usize::from(count)));
                    stretches += 1;
                    rest = behind;
                }
                _ => wire.push(byte),
            }
        }
        wire
    }

    fn max_message_size(&self) -> usize {
        usize::try_from(self.policy.limits.max_message_size).unwrap()
    }
}

/// Cuts `wire`: byte by byte, in pieces of one size, or of sizes that vary.
fn pieces(wire: &[u8], cut: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = wire;
    let mut state = u32::from(cut);
    iter::from_fn(move || {
        let size = match cut {
            0..128 => usize::from(cut).max(1),
            128.. => {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                1 + (state >> 16) as usize % usize::from(cut - 127)
            }
        };
        let (piece, behind) = rest.split_at(size.min(rest.len()));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}

// ---------------------------------------------------------------- one run

/// What a session did, wherever its input was cut.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    Said(Reply),
    HungUp(Reply),
    Judged(Credentials),
    Opened(Envelope),
    Committed(Vec<u8>),
    /// The draft is no more.
    Void,
}

/// A session, its client and its spool.
struct Run<'w> {
    world: &'w World,
    wire: &'w [u8],
    session: Session,
    events: Vec<Event>,
    /// Bytes that the session has taken of `wire`.
    taken: usize,
    /// Where the line or the mail begins that is being read.
    start: usize,
    /// From Open to Commit, Abandon or a fault.
    draft: Option<Vec<u8>>,
    /// Recipients so far, from MAIL's 250 to the end of the transaction.
    recipients: Option<usize>,
    /// Transactions and drafts that were asked for.
    begun: usize,
    opened: usize,
    errors: u32,
    refused: u32,
    looked: usize,
}

impl<'w> Run<'w> {
    fn of(
        world: &'w World,
        wire: &'w [u8],
        mut pieces: impl Iterator<Item = &'w [u8]>,
    ) -> Vec<Event> {
        let session = Session::new(Arc::clone(&world.policy));
        check_reply(&session.banner());
        let mut run = Run {
            world,
            wire,
            session,
            events: Vec::new(),
            taken: 0,
            start: 0,
            draft: None,
            recipients: None,
            begun: 0,
            opened: 0,
            errors: 0,
            refused: 0,
            looked: 0,
        };
        // Nothing is asked of a session that has hung up.
        if pieces.try_for_each(|piece| run.feed(piece)).is_continue() {
            run.check_end();
        }
        run.check_memory();
        run.events
    }

    fn feed(&mut self, piece: &[u8]) -> ControlFlow<()> {
        let end = self.taken + piece.len();
        let mut input = piece;
        loop {
            let before = self.taken;
            let in_mail = self.session.is_receiving_mail();
            let step = self.session.receive(&mut input);
            self.taken = end - input.len();
            let Some(step) = step else { break };
            assert!(
                self.taken > before || matches!(step, Step::Abandon | Step::Close(_)),
                "no byte taken, so this can go on for ever: {}",
                Shown(&step)
            );
            if in_mail {
                self.check_mail(&step);
            } else {
                self.check_line(&step);
            }
            self.perform(step)?;
            if !(in_mail && self.session.is_receiving_mail()) {
                self.start = self.taken;
            }
        }
        assert!(
            input.is_empty(),
            "more is wanted, and this is left: {input:?}"
        );
        if self.taken >= self.looked + LOOK_EVERY {
            self.check_memory();
        }
        ControlFlow::Continue(())
    }

    fn perform(&mut self, step: Step<'_>) -> ControlFlow<()> {
        match step {
            Step::Reply(reply) => self.say(reply),
            Step::Close(reply) => {
                self.hang_up(reply);
                return ControlFlow::Break(());
            }
            Step::Verify(credentials) => return self.log_in(credentials),
            Step::Reserve(bytes) => self.reserve(bytes),
            Step::EndTransaction(reply) => {
                assert!(self.recipients.take().is_some(), "no transaction to end");
                self.say(reply);
            }
            Step::Open(envelope) => self.open(envelope),
            Step::Content(content) => {
                assert!(!content.is_empty(), "no content");
                let draft = self.draft.as_mut().expect("content without a draft");
                draft.extend_from_slice(content);
                let bytes = draft.len();
                assert!(bytes <= self.world.max_message_size(), "over the maximum");
                if bytes > DRAFT_ROOM && self.fails(Fault::Write, self.opened) {
                    self.discard();
                    self.session.spool_failed();
                }
            }
            Step::Commit => {
                let draft = self.draft.take().expect("a commit without a draft");
                let fails = self.fails(Fault::Commit, self.opened);
                let reply = self.session.committed((!fails).then_some("1@mm4d"));
                assert_eq!(reply.code(), if fails { 452 } else { 250 });
                if fails {
                    self.events.push(Event::Void);
                } else {
                    self.errors = 0;
                    self.events.push(Event::Committed(draft));
                }
                self.say(reply);
            }
            Step::Abandon => self.discard(),
        }
        ControlFlow::Continue(())
    }

    fn log_in(&mut self, credentials: Credentials) -> ControlFlow<()> {
        assert!(!self.session.is_logged_in(), "a second login");
        let login = verify(&credentials);
        let right = login.is_some();
        self.refused += u32::from(!right);
        self.events.push(Event::Judged(credentials));
        let next = self.session.verified(login);
        assert_eq!(self.session.is_logged_in(), right);
        self.perform(next)
    }

    fn reserve(&mut self, bytes: u64) {
        assert!(self.session.is_logged_in(), "MAIL without a login");
        assert!(bytes <= self.world.max_message_size() as u64);
        self.begun += 1;
        let room = !self.fails(Fault::Room, self.begun);
        let Step::Reply(reply) = self.session.reserved(room) else {
            panic!("MAIL has no reply");
        };
        assert_eq!(reply.code(), if room { 250 } else { 452 });
        self.recipients = room.then_some(0);
        self.say(reply);
    }

    fn open(&mut self, envelope: Envelope) {
        assert!(self.draft.is_none(), "a draft inside a draft");
        let recipients = self.recipients.take().expect("DATA without MAIL");
        assert!((1..=MAX_RECIPIENTS).contains(&recipients));
        assert_eq!(envelope.forward_paths.len(), recipients, "{envelope:?}");
        check_envelope(&envelope, self.world.policy.addresses);
        self.opened += 1;
        let fails = self.fails(Fault::Open, self.opened);
        self.draft = (!fails).then(Vec::new);
        self.events.push(Event::Opened(envelope));
        if fails {
            self.events.push(Event::Void);
        }
        let reply = self.session.opened(!fails);
        assert_eq!(reply.code(), 354);
        self.say(reply);
    }

    fn discard(&mut self) {
        assert!(self.draft.take().is_some(), "there is no draft to abandon");
        self.events.push(Event::Void);
    }

    fn fails(&self, fault: Fault, number: usize) -> bool {
        self.world.fault == Some(fault) && (self.world.lasting || number == 1)
    }

    fn say(&mut self, reply: Reply) {
        check_reply(&reply);
        assert_ne!(reply.code(), 421, "421 closes");
        self.errors += u32::from(is_error(&reply));
        assert!(self.errors < MAX_ERRORS, "{} errors", self.errors);
        assert!(self.refused < MAX_AUTH_FAILURES, "a third refused login");
        if reply == reply::RECIPIENT_OK_250 {
            *self.recipients.as_mut().expect("RCPT without MAIL") += 1;
        }
        self.events.push(Event::Said(reply));
    }

    fn hang_up(&mut self, reply: Reply) {
        check_reply(&reply);
        if reply == reply::TOO_MANY_ERRORS_421 {
            assert_eq!(self.errors + 1, MAX_ERRORS, "too early");
        }
        if reply == reply::TOO_MANY_AUTH_FAILURES_421 {
            assert_eq!(self.refused, MAX_AUTH_FAILURES, "too early");
        }
        assert!(self.draft.is_none(), "hung up with a draft open");
        self.events.push(Event::HungUp(reply));
    }

    // ------------------------------------------------------------ promises

    /// A step outside a mail: what it answers is one line.
    fn check_line(&self, step: &Step<'_>) {
        let line = &self.wire[self.start..self.taken];
        let said = match step {
            Step::Reply(reply) | Step::EndTransaction(reply) | Step::Close(reply) => Some(reply),
            _ => None,
        };
        let says = |reply| said == Some(&reply) || said == Some(&reply::TOO_MANY_ERRORS_421);
        let Some(text) = line.strip_suffix(b"\r\n") else {
            assert!(
                matches!(step, Step::Close(_)),
                "not a line: {}",
                Shown(step)
            );
            assert!(says(reply::BARE_LINE_END_500), "{}", Shown(step));
            let at =
                self.start + bare_line_end(&self.wire[self.start..]).expect("no bare CR or LF");
            assert!(self.taken <= at + 1, "read behind a bare CR or LF");
            return;
        };
        assert_eq!(bare_line_end(text), None, "a bare CR or LF in a command");
        assert!(!text.ends_with(b"\r"), "a bare CR at the end of a command");
        if line.len() > MAX_LINE {
            assert!(says(reply::LINE_TOO_LONG_500), "{}", Shown(step));
        } else if text.contains(&0) {
            assert!(says(reply::NUL_500), "{}", Shown(step));
        } else {
            assert_ne!(said, Some(&reply::LINE_TOO_LONG_500));
            assert_ne!(said, Some(&reply::BARE_LINE_END_500));
        }
    }

    /// A step inside a mail: what ends it and what of it is kept.
    fn check_mail(&self, step: &Step<'_>) {
        let mail = &self.wire[self.start..];
        let max = self.world.max_message_size();
        let over = match step {
            Step::Content(_) | Step::Abandon => return,
            Step::Commit | Step::Reply(_) | Step::Close(_) => judge(mail, max),
            _ => panic!("inside a mail: {}", Shown(step)),
        };
        let (Over::Ended { bytes, .. } | Over::Condemned { bytes }) = &over else {
            panic!("{}, and the mail goes on", Shown(step));
        };
        assert_eq!(
            self.taken - self.start,
            *bytes,
            "{} at another place",
            Shown(step)
        );
        match (step, &over) {
            (Step::Commit, Over::Ended { content, .. }) => {
                assert_eq!(self.draft.as_ref(), Some(content), "not what was sent");
                assert_eq!(bare_line_end(content), None);
                assert!(content.is_empty() || content.ends_with(b"\r\n"));
            }
            (Step::Reply(reply), Over::Ended { content, .. }) => {
                let expected = if content.len() > max {
                    reply::TOO_BIG_552
                } else {
                    reply::SPOOL_FAILED_452
                };
                assert_eq!(*reply, expected);
            }
            (Step::Close(reply), Over::Condemned { .. }) => {
                assert_eq!(*reply, reply::BARE_LINE_END_554);
            }
            _ => panic!("{} for {over:?}", Shown(step)),
        }
    }

    /// The input is at its end and nobody has hung up: nothing is overdue.
    fn check_end(&self) {
        assert_eq!(self.taken, self.wire.len(), "bytes are left");
        let rest = &self.wire[self.start..];
        if self.session.is_receiving_mail() {
            let over = judge(rest, self.world.max_message_size());
            assert_eq!(over, Over::No, "the mail is over and nobody says so");
        } else {
            assert_eq!(bare_line_end(rest), None, "a bare CR or LF is waited on");
            assert!(
                !rest.windows(2).any(|end| end == b"\r\n"),
                "a line is waited on"
            );
            assert!(self.draft.is_none(), "a draft without its mail");
        }
    }

    /// What the session keeps of a line is bounded. Its buffers are its own, so
    /// the length of its `Debug` text has to stand for them.
    fn check_memory(&mut self) {
        self.looked = self.taken;
        if self.taken > MAX_LINE {
            let mut shown = Count(0);
            write!(shown, "{:?}", self.session).unwrap();
            assert!(shown.0 <= MAX_SHOWN, "shows {} bytes", shown.0);
        }
    }
}

/// A step in a message: a word of it will do.
struct Shown<'s, 'a>(&'s Step<'a>);

impl fmt::Display for Shown<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.200}", format!("{:?}", self.0))
    }
}

/// Counts what is written to it.
struct Count(usize);

impl Write for Count {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

fn verify(credentials: &Credentials) -> Option<SystemId> {
    let authzid = credentials.authzid.as_slice();
    let right = (authzid.is_empty() || authzid == SYSTEM_ID.as_bytes())
        && credentials.authcid == SYSTEM_ID.as_bytes()
        && credentials.password.expose() == PASSWORD.as_bytes();
    right.then(|| SystemId::parse(SYSTEM_ID).unwrap())
}

/// The errors of which a client may make nineteen.
fn is_error(reply: &Reply) -> bool {
    matches!(reply.code(), 500 | 501 | 502 | 503 | 504 | 530 | 553 | 555)
}

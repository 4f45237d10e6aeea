//! The session without a network: bytes in, replies and mails out. It plays
//! the accounts and the spool, and holds the session to its own rules: content
//! only into a draft, one outcome for each draft, nothing after a hang-up.

use std::sync::{Arc, OnceLock};

use mm4d::server::options::{self, Invocation, Options};
use mm4d::smtp::{Credentials, Envelope, Policy, Session, Step, SystemId};

use super::{PASSWORD, PASSWORD_2, SYSTEM_ID, SYSTEM_ID_2};

/// Bytes that the spool in memory has free, as far as `--min-free` goes.
const FREE: u64 = 1 << 50;

/// One client's session, and its outcome.
pub struct Memory {
    session: Session,
    room: bool,
    draft: Option<(Envelope, Vec<u8>)>,
    /// All that was said, the banner first.
    pub said: Vec<u8>,
    /// What was done, in order; the same for every chunking.
    pub events: Vec<Event>,
    /// The mails that got a 250.
    pub mails: Vec<Mail>,
    /// Whether the session has hung up.
    pub closed: bool,
}

/// A mail in the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// As in its 250.
    pub id: String,
    /// Who sent it, and to whom.
    pub envelope: Envelope,
    /// The client's bytes.
    pub content: Vec<u8>,
}

/// A step, without what the chunking may change: the content of a draft is
/// compared when it is committed, that of an abandoned one never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Said.
    Reply(String),
    /// Said, then hung up.
    Close(String),
    /// Asked for a judgement on this id.
    Verify(Vec<u8>),
    /// Asked for space for this many bytes.
    Reserve(u64),
    /// Ended a transaction before its DATA.
    EndTransaction,
    /// Began a draft.
    Open(Envelope),
    /// Committed a draft of this content.
    Commit(Vec<u8>),
    /// Gave a draft up.
    Abandon,
}

/// What a test server named `test.example` with these options would do.
pub fn options(options: &[&str]) -> Options {
    let arguments = ["--hostname", "test.example"].iter().chain(options);
    match options::parse(arguments.map(Into::into)) {
        Ok(Invocation::Run(command_line)) => command_line.options().unwrap(),
        other => panic!("{options:?} gives {other:?}"),
    }
}

impl Memory {
    /// A session with default options, after its banner.
    pub fn new() -> Memory {
        static DEFAULTS: OnceLock<Options> = OnceLock::new();
        Memory::with(DEFAULTS.get_or_init(|| options(&[])))
    }

    /// A session with these options, after its banner.
    pub fn with(options: &Options) -> Memory {
        let session = Session::new(Arc::new(Policy {
            hostname: options.hostname.clone(),
            addresses: options.addresses,
            limits: options.limits.clone(),
        }));
        Memory {
            said: session.banner().as_bytes().to_vec(),
            session,
            room: options.min_free < FREE,
            draft: None,
            events: Vec::new(),
            mails: Vec::new(),
            closed: false,
        }
    }

    /// Bytes arrive in one piece. Behind a hang-up they are drained.
    pub fn receive(&mut self, bytes: &[u8]) {
        let mut input = bytes;
        while !self.closed {
            let Some(step) = self.session.receive(&mut input) else {
                break;
            };
            self.perform(step);
        }
        assert!(
            self.closed || input.is_empty(),
            "bytes are left over without a step: {:?}",
            input.escape_ascii().to_string()
        );
    }

    /// Bytes arrive in pieces of `size`.
    pub fn receive_by(&mut self, bytes: &[u8], size: usize) {
        for chunk in bytes.chunks(size) {
            self.receive(chunk);
        }
    }

    /// What was said since the last call, or since the beginning.
    pub fn take_said(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.said)).unwrap()
    }

    fn perform(&mut self, step: Step<'_>) {
        match step {
            Step::Reply(reply) => self.say(reply.as_bytes()),
            Step::Close(reply) => {
                let text = self.add(reply.as_bytes());
                self.events.push(Event::Close(text));
                assert!(
                    self.draft.is_none(),
                    "a draft is left open behind a hang-up"
                );
                self.closed = true;
            }
            Step::Verify(credentials) => {
                self.events.push(Event::Verify(credentials.authcid.clone()));
                let step = self.session.verified(verify(&credentials));
                self.perform(step);
            }
            Step::Reserve(bytes) => {
                self.events.push(Event::Reserve(bytes));
                let step = self.session.reserved(self.room);
                self.perform(step);
            }
            Step::EndTransaction(reply) => {
                self.events.push(Event::EndTransaction);
                self.say(reply.as_bytes());
            }
            Step::Open(envelope) => {
                assert!(self.draft.is_none(), "two drafts at once");
                self.events.push(Event::Open(envelope.clone()));
                self.draft = Some((envelope, Vec::new()));
                let reply = self.session.opened(true);
                self.say(reply.as_bytes());
            }
            Step::Content(content) => {
                assert!(!content.is_empty(), "a step without content");
                let (_, draft) = self.draft.as_mut().expect("content needs a draft");
                draft.extend_from_slice(content);
            }
            Step::Commit => {
                let (envelope, content) = self.draft.take().expect("a commit needs a draft");
                self.events.push(Event::Commit(content.clone()));
                let number = self.mails.len() + 1;
                let id = format!("20260101T000000.000000Z-1-{number:06}@test.example");
                let reply = self.session.committed(Some(&id));
                self.mails.push(Mail {
                    id,
                    envelope,
                    content,
                });
                self.say(reply.as_bytes());
            }
            Step::Abandon => {
                self.draft.take().expect("only a draft can be abandoned");
                self.events.push(Event::Abandon);
            }
        }
    }

    fn say(&mut self, reply: &[u8]) {
        let text = self.add(reply);
        self.events.push(Event::Reply(text));
    }

    fn add(&mut self, reply: &[u8]) -> String {
        self.said.extend_from_slice(reply);
        String::from_utf8(reply.to_vec()).unwrap()
    }
}

/// The judgement of the accounts that every test server has.
fn verify(credentials: &Credentials) -> Option<SystemId> {
    let Credentials {
        authzid,
        authcid,
        password,
    } = credentials;
    if !authzid.is_empty() && authzid != authcid {
        return None;
    }
    [(SYSTEM_ID, PASSWORD), (SYSTEM_ID_2, PASSWORD_2)]
        .into_iter()
        .find(|(id, right)| id.as_bytes() == authcid && right.as_bytes() == password.expose())
        .and_then(|(id, _)| SystemId::parse(id))
}

/// Whether `text` is an id of the server `test.example` (src/spool/README.md):
/// `YYYYMMDDTHHMMSS.uuuuuuZ-P-N@NAME`.
pub fn is_id(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some(rest) = text.strip_suffix("@test.example") else {
        return false;
    };
    let parts: Vec<_> = rest.split('-').collect();
    let [time, process, count] = parts[..] else {
        return false;
    };
    let time_is_right = time.len() == "YYYYMMDDTHHMMSS.uuuuuuZ".len()
        && time.bytes().enumerate().all(|(at, byte)| match at {
            8 => byte == b'T',
            15 => byte == b'.',
            22 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    time_is_right && digits(process) && digits(count) && count.len() >= 6
}

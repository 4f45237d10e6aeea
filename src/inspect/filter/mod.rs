//! Which messages a command is about: one set of filters for all of them.
//!
//! Names alone decide as far as they can; header blocks are read, back from the
//! newest, only when a filter asks for what is in them, and whole messages only for
//! what is in their parts.

mod words;

use std::io::{self, ErrorKind};

use jiff::Timestamp;

pub use self::words::{AddressPattern, Content, Needle};
pub(crate) use self::words::{parse_age, parse_end, parse_time, parse_types};
use super::check::{self, Duplicates, Profile};
use super::exchange::Exchanges;
use super::message::Message;
use super::mime::header;
use super::output::view;
use super::store::{Entry, Store};
use crate::mm4::MessageType;

/// Messages shown when neither `--last` nor another filter is given.
pub(crate) const DEFAULT_LAST: usize = 20;

/// Which messages to show; all of the conditions must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only those that this account sent.
    pub account: Option<String>,
    /// Only those of one of these types.
    pub types: Option<Vec<MessageType>>,
    /// Only those from this address, by the header or the envelope.
    pub from: Option<AddressPattern>,
    /// Only those to or cc this address, by the header or the envelope.
    pub to: Option<AddressPattern>,
    /// Only those whose subject has this.
    pub subject: Option<Needle>,
    /// Only those that have this in a field or in a text.
    pub grep: Option<Needle>,
    /// Only those whose Transaction-ID has this.
    pub transaction: Option<Needle>,
    /// Only those whose Message-ID has this.
    pub message_id: Option<Needle>,
    /// Only those that report a status that has this.
    pub status: Option<Needle>,
    /// Only those that were received then or later.
    pub since: Option<Timestamp>,
    /// Only those that were received then or earlier.
    pub until: Option<Timestamp>,
    /// Only those that have all of these.
    pub has: Vec<Content>,
    /// Only requests that ask for an answer which the spool does not have.
    pub unanswered: bool,
    /// At most as many, the newest of them; `None` for all.
    pub last: Option<usize>,
}

/// A message that could not be read, and why.
#[derive(Debug)]
pub struct Unreadable {
    /// Its id.
    pub id: String,
    /// Why.
    pub error: io::Error,
}

/// What a filter selects.
#[derive(Debug, Default)]
pub struct Selection {
    /// The messages, oldest first.
    pub entries: Vec<Entry>,
    /// Those that were needed to decide and could not be read.
    pub unreadable: Vec<Unreadable>,
}

impl Filter {
    /// The messages among `entries`, which are all of the spool and ordered by time,
    /// that match. A message that was deleted meanwhile does not.
    pub fn select(&self, store: &Store, entries: &[Entry]) -> Selection {
        self.select_from(store, entries, entries)
    }

    /// The messages among `some`, which are ordered by time, that match; `all` are those
    /// of the spool, where the answers are.
    pub(crate) fn select_from(&self, store: &Store, all: &[Entry], some: &[Entry]) -> Selection {
        let last = self.last.unwrap_or(usize::MAX);
        let exchanges = self.unanswered.then(|| Exchanges::read(store, all));
        let duplicates = match self.has.contains(&Content::Findings) {
            true => Duplicates::read(store, all),
            false => Duplicates::default(),
        };
        let mut selection = Selection::default();
        for entry in some.iter().rev() {
            if selection.entries.len() >= last {
                break;
            }
            if self.is_past(entry) {
                continue;
            }
            let answered = |exchanges: &Exchanges<'_>| !exchanges.is_unanswered(&entry.id);
            if self.is_future(entry) || exchanges.as_ref().is_some_and(answered) {
                continue;
            }
            match self.matches(store, entry, &duplicates) {
                Ok(true) => selection.entries.push(entry.clone()),
                Ok(false) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => selection.unreadable.push(Unreadable {
                    id: entry.id.clone(),
                    error,
                }),
            }
        }
        selection.entries.reverse();
        selection
    }

    /// Whether it accepts every message.
    pub fn is_empty(&self) -> bool {
        let times = self.since.is_some() || self.until.is_some();
        !times && !self.unanswered && !self.needs_header() && !self.needs_body()
    }

    /// Whether a message that was read whole matches, taken alone: what asks for an
    /// answer is unanswered then, and nothing was sent twice.
    pub fn accepts(&self, entry: &Entry, message: &Message<'_>) -> bool {
        let waits = |message: &Message<'_>| {
            let is_request = message.kind().is_some_and(MessageType::is_request);
            is_request && message.yes("X-Mms-Ack-Request") == Some(true)
        };
        !self.is_past(entry)
            && !self.is_future(entry)
            && (!self.unanswered || waits(message))
            && self.header_matches(message)
            && self.body_matches(message, &Duplicates::default())
    }

    /// Whether this message, and thus every older one, is too old.
    fn is_past(&self, entry: &Entry) -> bool {
        let times = self.since.zip(entry.time);
        times.is_some_and(|(since, time)| time < since)
    }

    fn is_future(&self, entry: &Entry) -> bool {
        let times = self.until.zip(entry.time);
        times.is_some_and(|(until, time)| time > until)
    }

    fn needs_header(&self) -> bool {
        let words = [
            &self.subject,
            &self.transaction,
            &self.message_id,
            &self.status,
        ];
        self.account.is_some()
            || self.types.is_some()
            || self.from.is_some()
            || self.to.is_some()
            || words.into_iter().any(Option::is_some)
    }

    fn needs_body(&self) -> bool {
        self.grep.is_some() || !self.has.is_empty()
    }

    fn matches(&self, store: &Store, entry: &Entry, duplicates: &Duplicates) -> io::Result<bool> {
        if self.needs_header() {
            let raw = store.peek(entry)?;
            let may_match = !header::is_whole(&raw.bytes) || self.may_match(&raw.bytes);
            if !may_match || !self.header_matches(&Message::read_header(entry, &raw)) {
                return Ok(false);
            }
        }
        if !self.needs_body() {
            return Ok(true);
        }
        let raw = store.read(entry)?;
        Ok(self.body_matches(&Message::read(entry, &raw), duplicates))
    }

    /// Whether the letters of every filter are in the header block at all, which most
    /// messages of a big spool fail: their fields need not be read then. Encoded words
    /// can hold any letters.
    fn may_match(&self, block: &[u8]) -> bool {
        if memchr::memmem::find(block, b"=?").is_some() {
            return true;
        }
        let block = block.to_ascii_lowercase();
        let has = |text: Option<&str>| {
            text.is_none_or(|text| memchr::memmem::find(&block, text.as_bytes()).is_some())
        };
        let account = self
            .account
            .as_ref()
            .map(|account| account.to_ascii_lowercase());
        let words = [
            &self.subject,
            &self.transaction,
            &self.message_id,
            &self.status,
        ];
        let addresses = [&self.from, &self.to];
        let types = self.types.as_ref().is_none_or(|types| {
            let mut names = types.iter().map(|kind| kind.name().to_ascii_lowercase());
            names.any(|name| has(Some(&name)))
        });
        types
            && has(account.as_deref())
            && words
                .into_iter()
                .flatten()
                .all(|needle| has(needle.as_written()))
            && addresses
                .into_iter()
                .flatten()
                .all(|pattern| has(pattern.as_written()))
    }

    fn header_matches(&self, message: &Message<'_>) -> bool {
        let has = |needle: &Option<Needle>, text: &dyn Fn() -> Option<String>| match needle {
            Some(needle) => text().is_some_and(|text| needle.is_in(&text)),
            None => true,
        };
        let account = self.account.as_deref();
        let types = self.types.as_ref();
        account.is_none_or(|account| message.account() == Some(account))
            && types.is_none_or(|types| message.kind().is_some_and(|kind| types.contains(&kind)))
            && has(&self.subject, &|| message.header.value("Subject"))
            && has(&self.transaction, &|| {
                message.unquoted("X-Mms-Transaction-ID")
            })
            && has(&self.message_id, &|| {
                let own = message.unquoted("X-Mms-Message-ID");
                own.or_else(|| message.unquoted("Message-ID"))
            })
            && has(&self.status, &|| message.status().map(|(value, _)| value))
            && self.addresses_match(message)
    }

    fn addresses_match(&self, message: &Message<'_>) -> bool {
        let from = self.from.as_ref().is_none_or(|from| {
            let addresses = [message.address("From"), message.envelope_from()];
            addresses
                .iter()
                .flatten()
                .any(|address| from.is_in(address))
        });
        from && self.to.as_ref().is_none_or(|to| {
            let header = ["To", "Cc"]
                .into_iter()
                .flat_map(|name| message.addresses(name));
            header
                .chain(message.envelope_to())
                .any(|address| to.is_in(&address))
        })
    }

    fn body_matches(&self, message: &Message<'_>, duplicates: &Duplicates) -> bool {
        let grep = self.grep.as_ref();
        grep.is_none_or(|needle| is_anywhere(needle, message))
            && self.has.iter().all(|content| match content {
                Content::Findings if duplicates.finding(message).is_some() => true,
                content => has(message, *content),
            })
    }
}

/// Whether the letters are in a field or in a text of the message.
fn is_anywhere(needle: &Needle, message: &Message<'_>) -> bool {
    let mut fields = message.fields();
    let mut texts = message.leaves().filter(|part| part.is_text());
    fields.any(|field| needle.is_in(&field.value()))
        || texts.any(|part| needle.is_in(&view::shown_text(part, &part.decode().bytes)))
}

fn has(message: &Message<'_>, content: Content) -> bool {
    let mut leaves = message.leaves();
    match content {
        Content::Text => leaves.any(|part| part.is_text() && !part.body.trim_ascii().is_empty()),
        Content::Findings => !check::findings(message, &Profile::default()).is_empty(),
        Content::Image => leaves.any(|part| part.kind() == "image"),
        Content::Audio => leaves.any(|part| part.kind() == "audio"),
        Content::Video => leaves.any(|part| part.kind() == "video"),
    }
}

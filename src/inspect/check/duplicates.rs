//! Messages that were sent twice.

use std::collections::HashMap;

use crate::inspect::finding::{Code, Finding};
use crate::inspect::message::Message;
use crate::inspect::store::{Entry, Store};
use crate::mm4::MessageType;

/// Finds messages that were sent twice: by one account, in one transaction, and
/// both REQ or both RES, since a RES has the transaction of the REQ that it
/// answers and that may have the same text as one of the peer's own.
#[derive(Debug, Default)]
pub struct Duplicates {
    seen: HashMap<Key, Vec<String>>,
}

/// Account, transaction, and whether it is a request.
pub(crate) type Key = (String, String, bool);

impl Duplicates {
    /// Notes messages, of which the header blocks are read; one that cannot be read is not.
    pub(crate) fn read(store: &Store, entries: &[Entry]) -> Duplicates {
        let mut duplicates = Duplicates::default();
        for entry in entries {
            if let Ok(raw) = store.peek(entry) {
                duplicates.note(&Message::read_header(entry, &raw));
            }
        }
        duplicates
    }

    /// Notes those of other messages that share a transaction with one that was noted.
    pub(crate) fn note_others<'o>(
        &mut self,
        store: &Store,
        others: impl Iterator<Item = &'o Entry>,
    ) {
        if self.seen.is_empty() {
            return;
        }
        for entry in others {
            let Ok(raw) = store.peek(entry) else { continue };
            let key = Duplicates::key(&Message::read_header(entry, &raw));
            if let Some(ids) = key.and_then(|key| self.seen.get_mut(&key)) {
                ids.push(entry.id.clone());
            }
        }
    }

    /// Notes a message, of which the header block is enough.
    pub fn note(&mut self, message: &Message<'_>) {
        if let Some(key) = Duplicates::key(message) {
            let ids = self.seen.entry(key).or_default();
            ids.push(message.id.to_owned());
        }
    }

    /// Forgets the messages that are no duplicates, when all were noted.
    pub(crate) fn keep_repeated(&mut self) {
        self.seen.retain(|_, ids| ids.len() > 1);
        self.seen.shrink_to_fit();
    }

    /// The finding for a message that shares its transaction with another one
    /// that was noted.
    pub fn finding(&self, message: &Message<'_>) -> Option<Finding> {
        let key = Duplicates::key(message)?;
        let others = self.seen.get(&key)?;
        let other = others.iter().find(|other| *other != message.id)?;
        let more = match others.len().saturating_sub(2) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let (account, transaction, _) = key;
        Some(Finding::new(
            Code::Duplicate,
            format!("account {account} sent transaction {transaction} also in {other}{more}"),
        ))
    }

    /// What two messages share when one is a duplicate of the other.
    pub(crate) fn key(message: &Message<'_>) -> Option<Key> {
        let transaction = message.unquoted("X-Mms-Transaction-ID")?;
        let request = message.kind().is_none_or(MessageType::is_request);
        // A mail that mm4d did not write has no account: all such are compared.
        let account = message.account().unwrap_or("-").to_owned();
        Some((account, transaction, request))
    }
}

//! Which messages answer or report on which, as links.
//!
//! Limit: [`MAX_RELATIONS`] of one message.

use std::collections::HashMap;

use crate::inspect::exchange::{Exchanges, Link, Note, duration};
use crate::inspect::store::Entry;
use crate::mm4::MessageType;
use crate::mm4::status::Outcome;

/// Messages that are named at a message it belongs to.
pub(crate) const MAX_RELATIONS: usize = 20;

/// A message that another one belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Relation<'e> {
    /// Its id.
    pub(crate) id: &'e str,
    /// What it is to the other, such as `Answered Ok after 0.8 s`; may quote the peer.
    pub(crate) text: String,
    /// How that is to be taken.
    pub(crate) outcome: Outcome,
}

/// By its id, what each message belongs to.
#[derive(Debug, Default)]
pub(crate) struct Relations<'e> {
    by_id: HashMap<&'e str, Vec<Relation<'e>>>,
}

impl<'e> Relations<'e> {
    /// The relations of all messages that were noted.
    pub(crate) fn of(exchanges: &Exchanges<'e>) -> Relations<'e> {
        let mut relations = Relations::default();
        for note in exchanges.notes() {
            if let Some(link) = exchanges.link(note) {
                relations.add(&note.entry.id, backward(note, link.to));
                relations.add(&link.to.id, forward(note, &link));
            }
        }
        relations
    }

    /// What a message belongs to.
    pub(crate) fn of_message(&self, id: &str) -> &[Relation<'e>] {
        self.by_id.get(id).map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, id: &'e str, relation: Relation<'e>) {
        let list = self.by_id.entry(id).or_default();
        if list.len() < MAX_RELATIONS {
            list.push(relation);
        }
    }
}

/// What the answer or report says of the message it belongs to.
fn backward<'e>(note: &Note<'e>, to: &'e Entry) -> Relation<'e> {
    let what = match note.kind {
        MessageType::DeliveryReportReq | MessageType::ReadReplyReportReq => {
            "Reports on the message"
        }
        _ => "Answers the request",
    };
    let time = to
        .time
        .map(|time| time.strftime(" of %H:%M:%S").to_string());
    Relation {
        id: &to.id,
        text: format!("{what}{}", time.unwrap_or_default()),
        outcome: Outcome::Open,
    }
}

/// What a message says of its answer or report.
fn forward<'e>(note: &Note<'e>, link: &Link<'e>) -> Relation<'e> {
    let what = match note.kind {
        MessageType::DeliveryReportReq => "Delivery report",
        MessageType::ReadReplyReportReq => "Read report",
        _ => "Answered",
    };
    let (status, outcome) = note.status().unwrap_or(("without a status", Outcome::Open));
    let after = link
        .after
        .map(|after| format!(" after {}", duration(after)));
    let from = note.from().filter(|_| note.kind.is_request());
    let from = from.map(|from| format!(", from {}", from.short()));
    Relation {
        id: &note.entry.id,
        text: format!(
            "{what}: {status}{}{}",
            after.unwrap_or_default(),
            from.unwrap_or_default()
        ),
        outcome,
    }
}

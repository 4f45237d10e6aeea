//! The line of a message: what a table, a pipe and `follow` print of it.

use jiff::Timestamp;

use super::terminal::{self, Terminal, Tone};
use super::view::{self, Route};
use crate::inspect::check::{self, Profile};
use crate::inspect::message::Message;
use crate::inspect::store::short_id;
use crate::mm4::status::Outcome;

/// The line of a message; every text in it is harmless to a terminal.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub(super) time: Option<Timestamp>,
    pub(super) id: String,
    pub(super) account: String,
    pub(super) kind: String,
    /// Empty where the message reports none.
    pub(super) status: String,
    pub(super) outcome: Option<Outcome>,
    pub(super) route: String,
    pub(super) subject: String,
    pub(super) parts: String,
    pub(super) findings: usize,
    pub(super) size: String,
}

/// The headings of a line in a pipe.
pub(super) const HEADINGS: [&str; 10] = [
    "TIME",
    "ID",
    "ACCOUNT",
    "TYPE",
    "STATUS",
    "FROM → TO",
    "SUBJECT",
    "PARTS",
    "FINDINGS",
    "SIZE",
];

impl Row {
    /// The line of a message.
    pub fn of(message: &Message<'_>) -> Row {
        let (status, outcome) = message.status().unzip();
        Row {
            time: message.time,
            id: message.id.to_owned(),
            account: terminal::line(message.account().unwrap_or("-")),
            kind: terminal::line(&view::type_label(message).unwrap_or_else(|| "-".to_owned())),
            status: terminal::line(&status.unwrap_or_default()),
            outcome,
            route: terminal::line(&Route::of(message).to_string()),
            subject: terminal::line(&message.header.value("Subject").unwrap_or_default()),
            parts: terminal::line(&view::parts_in_short(message)),
            findings: check::findings(message, &Profile::default()).len(),
            size: view::size(message.size),
        }
    }

    /// The columns of the line in a pipe, each whole.
    pub(super) fn cells(&self) -> [String; 10] {
        [
            time(self.time, true),
            terminal::line(&self.id),
            self.account.clone(),
            self.kind.clone(),
            self.status.clone(),
            self.route.clone(),
            self.subject.clone(),
            self.parts.clone(),
            self.findings.to_string(),
            self.size.clone(),
        ]
    }

    /// The line without a table, for `follow`: nothing cut in a pipe, as wide as the
    /// terminal on one.
    pub fn alone(&self, terminal: &Terminal) -> String {
        let is_limited = terminal.is_limited();
        let id = match short_id(&self.id).filter(|_| is_limited) {
            Some(short) => short.to_owned(),
            None => terminal::line(&self.id),
        };
        let mut segments = vec![
            (time(self.time, !is_limited), Some(Tone::Dim)),
            (id, Some(Tone::Cyan)),
            (terminal::pad(&self.account, 8), None),
            (terminal::pad(&self.kind, 12), None),
        ];
        if !self.status.is_empty() {
            segments.push((self.status.clone(), self.outcome.map(Tone::of)));
        }
        segments.push((self.route.clone(), None));
        if !self.subject.is_empty() {
            segments.push((format!("“{}”", self.subject), None));
        }
        segments.push((self.parts.clone(), None));
        segments.push((self.size.clone(), Some(Tone::Dim)));
        if self.findings > 0 {
            segments.push((view::findings(self.findings), Some(Tone::Red)));
        }
        segments.retain(|(text, _)| !text.is_empty());
        terminal.joined(&segments)
    }
}

/// A moment in UTC, to the second with its year or to the minute without.
pub(super) fn time(time: Option<Timestamp>, long: bool) -> String {
    let Some(time) = time else {
        return "-".to_owned();
    };
    let format = if long {
        "%Y-%m-%d %H:%M:%S"
    } else {
        "%m-%d %H:%M"
    };
    time.strftime(format).to_string()
}

//! Which messages belong together: a REQ, the RES that answers it, and the reports on
//! the message that it forwarded.
//!
//! A RES has the transaction of its REQ, a report the Message-ID of the message
//! (TS 23.140, 8.4.1 to 8.4.3). Transactions are unique for one account alone, so two
//! accounts are joined only where both name the same Message-ID. Header blocks are enough; what cannot
//! be read belongs to nothing. Nothing fails; the time is linear in the messages. Limit:
//! [`MAX_SAME`] requests, and as many responses, of one id: a sender that repeats one
//! message without end costs no more than that.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use memchr::memmem::Finder;

use super::message::Message;
use super::store::{Entry, Store};
use crate::mm4::status::Outcome;
use crate::mm4::{Address, MessageType};

/// Messages of one transaction, or of one Message-ID, that are joined: the first of the
/// requests and of the responses.
pub const MAX_SAME: usize = 500;

/// The messages of a spool, and how they belong together.
#[derive(Debug, Default)]
pub struct Exchanges<'e> {
    notes: Vec<Note<'e>>,
    by_id: HashMap<&'e str, usize>,
    by_transaction: HashMap<String, Same>,
    by_message_id: HashMap<String, Same>,
}

/// The messages of one id, in their order: requests, and responses.
#[derive(Debug, Default)]
struct Same {
    requests: Vec<usize>,
    responses: Vec<usize>,
}

impl Same {
    fn add(&mut self, at: usize, is_request: bool) {
        let list = match is_request {
            true => &mut self.requests,
            false => &mut self.responses,
        };
        if list.len() < MAX_SAME {
            list.push(at);
        }
    }

    fn all(&self) -> impl Iterator<Item = usize> {
        self.requests.iter().chain(&self.responses).copied()
    }
}

/// What is kept of one of the six messages.
#[derive(Debug)]
pub struct Note<'e> {
    /// Where it is.
    pub entry: &'e Entry,
    /// Which of the six it is.
    pub kind: MessageType,
    account: Option<String>,
    transaction: Option<String>,
    message_id: Option<String>,
    wants_answer: bool,
    status: Option<(String, Outcome)>,
    from: Option<Address>,
}

/// How a message belongs to another.
#[derive(Clone, Copy, Debug)]
pub struct Link<'e> {
    /// The message that it answers or reports on.
    pub to: &'e Entry,
    /// The time between the two, never negative; `None` where one has no time.
    pub after: Option<SignedDuration>,
}

/// A sentence on a message's exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// It may quote the peer, unescaped.
    pub text: String,
    /// How it is to be taken.
    pub outcome: Outcome,
}

impl<'e> Exchanges<'e> {
    /// Reads the header blocks of all messages.
    pub fn read(store: &Store, entries: &'e [Entry]) -> Exchanges<'e> {
        let mut exchanges = Exchanges::default();
        for entry in entries {
            if let Ok(raw) = store.peek(entry) {
                exchanges.note(entry, &Message::read_header(entry, &raw));
            }
        }
        exchanges
    }

    /// Reads the header blocks of the messages that can answer one, be answered by it, or
    /// report on it: those that have one of its ids, and the message itself.
    pub(crate) fn read_about(
        store: &Store,
        entries: &'e [Entry],
        message: &Message<'_>,
    ) -> Exchanges<'e> {
        let names = ["X-Mms-Transaction-ID", "X-Mms-Message-ID"];
        let ids = names.map(|name| message.unquoted(name));
        let finders: Vec<Finder<'_>> = ids.iter().flatten().map(Finder::new).collect();
        let encoded = Finder::new("=?");
        let mut exchanges = Exchanges::default();
        for entry in entries {
            let Ok(raw) = store.peek(entry) else { continue };
            let mut finders = finders.iter().chain([&encoded]);
            if finders.any(|finder| finder.find(&raw.bytes).is_some()) {
                exchanges.note(entry, &Message::read_header(entry, &raw));
            }
        }
        exchanges
    }

    /// Notes a message, of which the header block is enough.
    pub fn note(&mut self, entry: &'e Entry, message: &Message<'_>) {
        let Some(kind) = message.kind() else { return };
        let at = self.notes.len();
        // A message that is forwarded reports nothing, and only who reports is named.
        let status = (kind != MessageType::ForwardReq).then(|| message.status());
        let reports = matches!(
            kind,
            MessageType::DeliveryReportReq | MessageType::ReadReplyReportReq
        );
        let note = Note {
            entry,
            kind,
            account: message.account().map(str::to_owned),
            transaction: message.unquoted("X-Mms-Transaction-ID"),
            message_id: message.unquoted("X-Mms-Message-ID"),
            wants_answer: kind.is_request() && message.yes("X-Mms-Ack-Request") == Some(true),
            status: status.flatten(),
            from: reports.then(|| message.address("From")).flatten(),
        };
        let keys = [
            (&note.transaction, &mut self.by_transaction),
            (&note.message_id, &mut self.by_message_id),
        ];
        for (key, index) in keys {
            if let Some(key) = key {
                let same = index.entry(key.clone()).or_default();
                same.add(at, kind.is_request());
            }
        }
        self.by_id.insert(&entry.id, at);
        self.notes.push(note);
    }

    /// Every message that was noted, in the order of the spool.
    pub(crate) fn notes(&self) -> &[Note<'e>] {
        &self.notes
    }

    /// Whether the message of that id asks for an answer and has none here.
    pub(crate) fn is_unanswered(&self, id: &str) -> bool {
        self.get(id)
            .is_some_and(|note| note.wants_answer && self.answers(note).next().is_none())
    }

    /// The messages that belong to the one of that id, itself among them, in the order
    /// of the spool.
    pub fn thread(&self, id: &str) -> Vec<&Note<'e>> {
        let mut group: Vec<usize> = self.by_id.get(id).copied().into_iter().collect();
        // A RES may lack the Message-ID that its REQ has, and a report has a
        // transaction of its own.
        for by_transaction in [true, false, true] {
            let notes = group.iter().filter_map(|at| self.notes.get(*at));
            let more: Vec<usize> = match by_transaction {
                true => notes.flat_map(|note| self.of_transaction(note)).collect(),
                false => notes.flat_map(|note| self.of_message_id(note)).collect(),
            };
            group.extend(more);
            group.sort_unstable();
            group.dedup();
        }
        group.iter().filter_map(|at| self.notes.get(*at)).collect()
    }

    /// The message that a RES answers, or that a report is about.
    pub fn link(&self, note: &Note<'e>) -> Option<Link<'e>> {
        let to = match note.kind {
            MessageType::ForwardReq => None,
            MessageType::DeliveryReportReq | MessageType::ReadReplyReportReq => self
                .of_message_id(note)
                .filter_map(|at| self.notes.get(at))
                .find(|other| other.kind == MessageType::ForwardReq),
            _ => self
                .of_transaction(note)
                .filter_map(|at| self.notes.get(at))
                .find(|other| other.kind.response() == Some(note.kind)),
        }?;
        Some(Link {
            to: to.entry,
            after: between(to.entry, note.entry),
        })
    }

    /// What became of the message of that id, for a person; empty where nothing is known.
    pub(crate) fn remarks(&self, id: &str, now: Timestamp) -> Vec<Remark> {
        let Some(note) = self.get(id) else {
            return Vec::new();
        };
        let mut remarks = Vec::new();
        if let Some(link) = self.link(note) {
            let what = if note.kind.is_request() {
                "reports on"
            } else {
                "answers"
            };
            let text = format!("{what} {}{}", link.to.id, after(link.after));
            remarks.push(Remark {
                text,
                outcome: Outcome::Open,
            });
        }
        remarks.extend(
            self.answers(note)
                .map(|answer| answer.remark("answered", note)),
        );
        if note.wants_answer
            && remarks
                .iter()
                .all(|remark| !remark.text.starts_with("answered"))
        {
            let age = note.entry.time.map(|time| now.duration_since(time));
            let age = age.map(|age| format!(" for {}", duration(age)));
            let text = format!("unanswered{}", age.unwrap_or_default());
            remarks.push(Remark {
                text,
                outcome: Outcome::Bad,
            });
        }
        if note.kind == MessageType::ForwardReq {
            remarks.extend(self.reports(note));
        }
        remarks
    }

    fn reports(&self, note: &Note<'e>) -> impl Iterator<Item = Remark> {
        let others = self.of_message_id(note).filter_map(|at| self.notes.get(at));
        others.filter_map(|other| {
            let what = match other.kind {
                MessageType::DeliveryReportReq => "delivery report",
                MessageType::ReadReplyReportReq => "read report",
                _ => return None,
            };
            let mut remark = other.remark(what, note);
            if let Some(from) = &other.from {
                remark.text.push_str(&format!(", by {}", from.short()));
            }
            Some(remark)
        })
    }

    fn get(&self, id: &str) -> Option<&Note<'e>> {
        self.notes.get(*self.by_id.get(id)?)
    }

    fn answers(&self, note: &Note<'e>) -> impl Iterator<Item = &Note<'e>> {
        let wanted = note.kind.response();
        let others = self.same_transaction(note).map(|same| &same.responses);
        let others = others
            .into_iter()
            .flatten()
            .filter_map(|at| self.notes.get(*at));
        let note = (note.account.clone(), note.message_id.clone());
        others.filter(move |other| Some(other.kind) == wanted && other.is_joined_to(&note))
    }

    fn same_transaction(&self, note: &Note<'e>) -> Option<&Same> {
        self.by_transaction.get(note.transaction.as_ref()?)
    }

    /// Those of the same transaction: of one account, or of one Message-ID.
    fn of_transaction(&self, note: &Note<'e>) -> impl Iterator<Item = usize> {
        let all = self.same_transaction(note).into_iter().flat_map(Same::all);
        let note = (note.account.clone(), note.message_id.clone());
        all.filter(move |at| {
            let other = self.notes.get(*at);
            other.is_some_and(|other| other.is_joined_to(&note))
        })
    }

    fn of_message_id(&self, note: &Note<'e>) -> impl Iterator<Item = usize> {
        let same = note.message_id.as_ref();
        let same = same.and_then(|id| self.by_message_id.get(id));
        same.into_iter().flat_map(Same::all)
    }
}

impl Note<'_> {
    /// Whether a message of the same transaction, of that account and Message-ID,
    /// belongs to this one.
    fn is_joined_to(&self, (account, message_id): &(Option<String>, Option<String>)) -> bool {
        match (&self.message_id, message_id) {
            (Some(one), Some(another)) => one == another,
            _ => self.account == *account,
        }
    }

    /// The address in its `From`.
    pub(crate) fn from(&self) -> Option<&Address> {
        self.from.as_ref()
    }

    /// What it reports, as written.
    pub fn status(&self) -> Option<(&str, Outcome)> {
        let (value, outcome) = self.status.as_ref()?;
        Some((value, *outcome))
    }

    /// `answered Ok after 0.8 s`
    fn remark(&self, what: &str, on: &Note<'_>) -> Remark {
        let (status, outcome) = self.status().unwrap_or(("without a status", Outcome::Open));
        let after = after(between(on.entry, self.entry));
        Remark {
            text: format!("{what} {status}{after}"),
            outcome,
        }
    }
}

fn between(first: &Entry, second: &Entry) -> Option<SignedDuration> {
    let after = second.time?.duration_since(first.time?);
    Some(after.max(SignedDuration::ZERO))
}

fn after(duration_after: Option<SignedDuration>) -> String {
    duration_after.map_or(String::new(), |after| format!(" after {}", duration(after)))
}

/// A duration as a person says it: `0.8 s`, `45 s`, `2 min`, `3 h`, `4 d`.
pub fn duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        ..10 => format!("{:.1} s", duration.as_secs_f64().max(0.0)),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::store::RawMessage;
    use std::path::Path;

    /// A message with what joins it to others; the account is in its trace.
    fn mail(account: &str, fields: &str) -> String {
        format!(
            "Return-Path: <>\r\nX-Envelope-To: <a@mms.example.com>\r\nX-MM4-System-ID: {account}\r\n\
             Received: from a ([192.0.2.1]) by mm4.example.com (mm4d) with ESMTPSA\r\n  \
             id 20220125T221744.000001Z-7-000001@mm4.example.com; Tue, 25 Jan 2022 22:17:44 +0000\r\n\
             {fields}"
        )
    }

    fn entry(second: u32, microsecond: u32) -> Entry {
        let id = format!("20220125T2217{second:02}.{microsecond:06}Z-7-000001@mm4.example.com");
        Entry::at(Path::new(&format!("new/{id}.eml")))
    }

    fn exchanges<'e>(entries: &'e [Entry], mails: &[String]) -> Exchanges<'e> {
        let mut exchanges = Exchanges::default();
        for (entry, mail) in entries.iter().zip(mails) {
            let raw = RawMessage {
                path: entry.path.clone(),
                bytes: mail.clone().into_bytes(),
                file_size: mail.len() as u64,
                mode: 0o640,
            };
            exchanges.note(entry, &Message::read_header(entry, &raw));
        }
        exchanges
    }

    const REQUEST: &str = "X-Mms-Message-Type: MM4_forward.REQ\r\nX-Mms-Transaction-ID: \"T1\"\r\n\
        X-Mms-Message-ID: M1\r\nX-Mms-Ack-Request: Yes\r\n";

    #[test]
    fn a_request_its_answer_and_its_reports_are_a_thread() {
        let entries = [
            entry(10, 0),
            entry(10, 800_000),
            entry(11, 0),
            entry(59, 0),
            entry(59, 1),
        ];
        let mails = [
            mail("a", REQUEST),
            mail(
                "a",
                "X-Mms-Message-Type: MM4_forward.RES\r\nX-Mms-Transaction-ID: T1\r\nX-Mms-Request-Status-Code: Ok\r\n",
            ),
            mail(
                "a",
                "X-Mms-Message-Type: MM4_forward.REQ\r\nX-Mms-Transaction-ID: T9\r\nX-Mms-Message-ID: M9\r\n",
            ),
            mail(
                "b",
                "X-Mms-Message-Type: MM4_delivery_report.REQ\r\nX-Mms-Transaction-ID: T5\r\nX-Mms-Message-ID: M1\r\n\
                 X-Mms-MM-Status-Code: Retrieved\r\nFrom: +1234/TYPE=PLMN\r\n",
            ),
            mail(
                "b",
                "X-Mms-Message-Type: MM4_delivery_report.RES\r\nX-Mms-Transaction-ID: T5\r\nX-Mms-Request-Status-Code: Ok\r\n",
            ),
        ];
        let exchanges = exchanges(&entries, &mails);
        let now: Timestamp = "2022-01-26T01:20:00Z".parse().unwrap();
        for at in [0, 1, 3, 4] {
            let thread = exchanges.thread(&entries[at].id);
            let ids: Vec<_> = thread.iter().map(|note| &note.entry.id).collect();
            let wanted = [0, 1, 3, 4].map(|at: usize| &entries[at].id);
            assert_eq!(ids, wanted, "{at}");
        }
        let texts = |at: usize| -> Vec<String> {
            let remarks = exchanges.remarks(&entries[at].id, now);
            remarks.into_iter().map(|remark| remark.text).collect()
        };
        assert_eq!(
            texts(0),
            [
                "answered Ok after 0.8 s",
                "delivery report Retrieved after 49 s, by +1234"
            ]
        );
        assert_eq!(texts(1), [format!("answers {} after 0.8 s", entries[0].id)]);
        assert_eq!(
            texts(3)[0],
            format!("reports on {} after 49 s", entries[0].id)
        );
        assert_eq!(texts(2), Vec::<String>::new());
        assert!(!exchanges.is_unanswered(&entries[0].id));
    }

    #[test]
    fn another_account_answers_only_by_the_same_message_id() {
        let entries = [entry(10, 0), entry(11, 0)];
        let response = "X-Mms-Message-Type: MM4_forward.RES\r\nX-Mms-Transaction-ID: T1\r\n";
        let now: Timestamp = "2022-01-26T01:20:00Z".parse().unwrap();
        let alone = exchanges(&entries, &[mail("a", REQUEST), mail("b", response)]);
        assert!(alone.is_unanswered(&entries[0].id));
        assert_eq!(
            alone.remarks(&entries[0].id, now)[0].text,
            "unanswered for 3 h"
        );
        let response = format!("{response}X-Mms-Message-ID: M1\r\n");
        let joined = exchanges(&entries, &[mail("a", REQUEST), mail("b", &response)]);
        assert!(!joined.is_unanswered(&entries[0].id));
        let response = response.replace("M1", "M2");
        let other = exchanges(&entries, &[mail("a", REQUEST), mail("a", &response)]);
        assert!(other.is_unanswered(&entries[0].id));
    }

    #[test]
    fn a_message_that_is_repeated_without_end_costs_no_more_than_the_limit() {
        let entries: Vec<Entry> = (0..4 * MAX_SAME as u32).map(|at| entry(10, at)).collect();
        let mails = vec![mail("a", REQUEST); entries.len()];
        let exchanges = exchanges(&entries, &mails);
        assert_eq!(exchanges.thread(&entries[0].id).len(), MAX_SAME);
        // What is beyond the limit still knows itself.
        let last = &entries.last().unwrap().id;
        assert!(
            exchanges
                .thread(last)
                .iter()
                .any(|note| note.entry.id == *last)
        );
        assert!(
            entries
                .iter()
                .all(|entry| exchanges.is_unanswered(&entry.id))
        );
    }

    #[test]
    fn durations_are_said_in_their_unit() {
        for (milliseconds, wanted) in [
            (0, "0.0 s"),
            (812, "0.8 s"),
            (45_000, "45 s"),
            (125_000, "2 min"),
            (3 * 3_600_000, "3 h"),
            (50 * 3_600_000, "2 d"),
        ] {
            assert_eq!(duration(SignedDuration::from_millis(milliseconds)), wanted);
        }
    }
}

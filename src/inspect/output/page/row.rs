//! A message as one row of the list.

use jiff::Timestamp;
use maud::{Markup, html};

use super::cards::is_card;
use super::harmless;
use crate::inspect::message::Message;
use crate::inspect::output::view::{self, Route, shown_text};
use crate::mm4::MessageType;
use crate::mm4::status::Outcome;

/// Characters of the preview of a text.
const MAX_PREVIEW: usize = 120;
/// Bytes of a text part that are read for its preview.
const PREVIEW_BYTES: usize = 2048;
/// Characters of a subject in the list.
const MAX_SUBJECT: usize = 200;

/// What a message is to its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A multimedia message, or a mail that is none of the six.
    Message,
    /// A RES.
    Answer,
    /// A delivery or read report.
    Report,
}

impl Kind {
    /// All of them, in the order of the filters.
    pub(crate) const ALL: [Kind; 3] = [Kind::Message, Kind::Answer, Kind::Report];

    /// The kind of a message.
    pub(crate) fn of(message: &Message<'_>) -> Kind {
        Kind::of_type(message.kind())
    }

    /// The kind of a type.
    pub(crate) fn of_type(kind: Option<MessageType>) -> Kind {
        match kind {
            None | Some(MessageType::ForwardReq) => Kind::Message,
            Some(MessageType::DeliveryReportReq | MessageType::ReadReplyReportReq) => Kind::Report,
            Some(_) => Kind::Answer,
        }
    }

    /// The word for several of them.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Kind::Message => "Messages",
            Kind::Answer => "Answers",
            Kind::Report => "Reports",
        }
    }
}

/// What the list says of a message. Its texts may quote the peer.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    route: Route,
    title: String,
    has_subject: bool,
    preview: String,
    time: Option<Timestamp>,
    icon: &'static str,
    status: Option<(String, Outcome)>,
    findings: usize,
}

impl Row {
    /// The row of a message that has this many findings.
    pub(crate) fn of(message: &Message<'_>, findings: usize) -> Row {
        let subject = message.header.value("Subject");
        let subject = subject.filter(|subject| !subject.trim().is_empty());
        let has_subject = subject.is_some();
        Row {
            route: Route::of(message),
            title: subject.map_or_else(|| untitled(message).to_owned(), |text| cut(&text)),
            has_subject,
            preview: preview(message),
            time: message.time,
            icon: icon(message),
            status: message.status(),
            findings,
        }
    }

    /// Its markup, with the address of a small picture if there is one.
    pub(crate) fn markup(&self, picture: Option<&str>) -> Markup {
        html! {
            span class=(format!("face {}", if picture.is_some() { "picture" } else { self.icon })) {
                @if let Some(address) = picture {
                    img src=(address) alt="" width="44" height="44" loading="lazy" decoding="async";
                }
            }
            span.line {
                span.who {
                    b { (harmless(&self.route.from)) } " "
                    i aria-label="to" role="img" { "→" } " "
                    b { (harmless(&self.route.to)) }
                    @if self.route.more > 0 { small { " +" (self.route.more) } }
                }
                (self.clock())
            }
            span.line {
                span.what {
                    span.subject.none[!self.has_subject] dir="auto" { (harmless(&self.title)) }
                    @if !self.preview.is_empty() {
                        span.dash aria-hidden="true" { " – " }
                        span.preview dir="auto" { (harmless(&self.preview)) }
                    }
                }
                (self.badge())
            }
        }
    }

    fn clock(&self) -> Markup {
        html! {
            @match self.time {
                Some(time) => { time datetime=(time) { (time.strftime("%H:%M")) } }
                None => { span.time { "no time" } }
            }
        }
    }

    fn badge(&self) -> Markup {
        html! {
            @if let Some((status, outcome)) = &self.status {
                span class=(format!("badge {}", tone(*outcome))) { (harmless(&short_status(status))) }
            } @else if self.findings > 0 {
                span.badge.warn { (view::findings(self.findings)) }
            }
        }
    }
}

/// The class of an outcome.
pub(super) fn tone(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Good => "good",
        Outcome::Bad => "bad",
        Outcome::Open => "open",
    }
}

/// The day of a message, as a heading.
pub(crate) fn day(time: Option<Timestamp>) -> String {
    match time {
        Some(time) => time.strftime("%A, %-d %B %Y").to_string(),
        None => "Without a time".to_owned(),
    }
}

/// What a message without a subject is called.
pub(super) fn untitled(message: &Message<'_>) -> &'static str {
    match message.kind() {
        None | Some(MessageType::ForwardReq) => "No subject",
        Some(MessageType::ForwardRes) => "Answer",
        Some(MessageType::DeliveryReportReq) => "Delivery report",
        Some(MessageType::DeliveryReportRes) => "Answer to a delivery report",
        Some(MessageType::ReadReplyReportReq) => "Read report",
        Some(MessageType::ReadReplyReportRes) => "Answer to a read report",
    }
}

/// A status as it fits a row: what is after `Error-`.
fn short_status(status: &str) -> String {
    let short = status.strip_prefix("Error-").unwrap_or(status);
    short.chars().take(32).collect()
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_SUBJECT).collect()
}

fn preview(message: &Message<'_>) -> String {
    let Some(part) = message
        .leaves()
        .find(|part| part.is_text() && !part.body.is_empty() && !is_card(part))
    else {
        return String::new();
    };
    let bytes = part.decode().bytes;
    let begin = bytes.get(..PREVIEW_BYTES).unwrap_or(&bytes);
    let text = shown_text(part, begin);
    let words: Vec<&str> = text.split_whitespace().take(MAX_PREVIEW).collect();
    let words = words.join(" ");
    match words.char_indices().nth(MAX_PREVIEW) {
        Some((end, _)) => format!("{}…", words.get(..end).unwrap_or_default().trim_end()),
        None => words,
    }
}

/// The class of the icon of what a message mainly is.
fn icon(message: &Message<'_>) -> &'static str {
    match Kind::of(message) {
        Kind::Answer => return "answer",
        Kind::Report => return "report",
        Kind::Message => {}
    }
    let has = |kind: &str| message.leaves().any(|part| part.kind() == kind);
    let icons = [("video", "video"), ("image", "image"), ("audio", "audio")];
    let found = icons.into_iter().find(|(kind, _)| has(kind));
    found.map_or("text", |(_, icon)| icon)
}

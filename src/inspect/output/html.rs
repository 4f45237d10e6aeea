//! The last messages as a page for a browser, each as a phone would show it.
//!
//! The page is complete in itself and has nothing active: no script, no link, a
//! Content-Security-Policy that allows its own style by digest and pictures and
//! sound as data, and nothing else. Every text is escaped. A part is shown as a
//! picture only if its bytes are one, of a kind that holds no script: HTML and
//! SVG are never more than text or a name. Limits: [`MAX_INLINE`] bytes of a
//! part, [`MAX_TEXT`] characters of a text, [`MAX_FIELDS`] fields of a header.
//! Fails when nothing can be written.

mod media;

use std::io::{self, ErrorKind, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use self::media::{NO_NAME, again, medium};
use super::view::{self, Meanings, Route, moment, seconds, sha256};
use crate::inspect::check::{self, Duplicates, Profile};
use crate::inspect::filter::Unreadable;
use crate::inspect::message::Message;
use crate::inspect::mime::Part;
use crate::inspect::mime::header::Field;
use crate::inspect::smil::Slide;
use crate::inspect::store::{Entry, Store};
use crate::mm4::MessageType;
use crate::mm4::status::Outcome;

/// Bytes of a part that are put into the page; a bigger one is named.
pub const MAX_INLINE: usize = 16 * 1024 * 1024;
/// Characters of a text that are shown.
pub const MAX_TEXT: usize = 20_000;
/// Header fields that are shown.
pub const MAX_FIELDS: usize = 200;

const STYLE: &str = include_str!("html.css");

/// A page, with what was read of its messages beforehand.
#[derive(Debug, Default)]
pub struct Page {
    /// The messages, oldest first.
    pub entries: Vec<Entry>,
    /// Messages in the spool.
    pub total: usize,
    /// The permissions that the files of all messages have in common.
    pub mode: u32,
    duplicates: Duplicates,
}

impl Page {
    /// Reads the header blocks of the messages. One that cannot be read is
    /// reported by [`Page::write`].
    pub fn prepare(store: &Store, entries: Vec<Entry>, total: usize) -> Page {
        let mut duplicates = Duplicates::default();
        let mut mode = 0o777;
        for entry in &entries {
            if let Ok(raw) = store.read_header(entry) {
                mode &= raw.mode;
                duplicates.note(&Message::read_header(entry, &raw));
            }
        }
        Page {
            entries,
            total,
            mode,
            duplicates,
        }
    }

    /// Writes the page, newest message first; returns those that could not be
    /// read. `title` names the spool, `now` is the time of the page.
    ///
    /// # Errors
    ///
    /// When nothing can be written.
    pub fn write(
        &self,
        store: &Store,
        title: &str,
        now: Timestamp,
        out: &mut dyn Write,
    ) -> io::Result<Vec<Unreadable>> {
        out.write_all(self.head(title, now).into_string().as_bytes())?;
        let mut unreadable = Vec::new();
        for entry in self.entries.iter().rev() {
            match store.read(entry) {
                Ok(raw) => {
                    let card = card(&Message::read(entry, &raw), &self.duplicates);
                    out.write_all(card.into_string().as_bytes())?;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => unreadable.push(Unreadable {
                    id: entry.id.clone(),
                    error,
                }),
            }
        }
        out.write_all(b"</main>\n</body>\n</html>\n")?;
        Ok(unreadable)
    }

    /// The beginning of the page, up to its first message.
    fn head(&self, title: &str, now: Timestamp) -> Markup {
        let title = harmless(title);
        let count = match (self.entries.len(), self.total) {
            (1, 1) => "1 message".to_owned(),
            (shown, total) if shown == total => format!("{total} messages"),
            (shown, total) => format!("the last {shown} of {total} messages"),
        };
        html! {
            (DOCTYPE)
            (PreEscaped("<html lang=\"en\">\n"))
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                title { (title) ": MM4 messages" }
                style { (PreEscaped(STYLE)) }
            }
            (PreEscaped("\n<body>\n"))
            header {
                h1 { (title) }
                p { (count) ", newest first. Made " (moment(now)) "; times are UTC." }
            }
            (PreEscaped("\n<main>\n"))
            @if self.entries.is_empty() { p.empty { "There are no messages." } }
        }
    }
}

/// The policy: nothing but this style, and pictures and sound that are data.
fn policy() -> String {
    let digest = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{digest}'; img-src data:; media-src data:; \
         base-uri 'none'; form-action 'none'"
    )
}

fn card(message: &Message<'_>, duplicates: &Duplicates) -> Markup {
    html! {
        article.card {
            (title(message))
            div.screen { (screen(message)) }
            (findings(message, duplicates))
            (fields(message))
            (parts(message))
            footer { (harmless(message.id)) }
        }
        (PreEscaped("\n"))
    }
}

fn title(message: &Message<'_>) -> Markup {
    let route = Route::of(message);
    let kind = view::type_label(message);
    html! {
        header {
            p.route {
                b { (harmless(&route.from)) } " → " b { (harmless(&route.to)) }
                @if route.more > 0 { " and " (route.more) " more" }
            }
            @match message.header.value("Subject") {
                Some(subject) => { h2 dir="auto" { (harmless(&subject)) } }
                None => { h2.none { (without_subject(message)) } }
            }
            p.meta {
                span.badge { (harmless(kind.as_deref().unwrap_or("no MM4 type"))) }
                @if let Some(time) = message.time {
                    time datetime=(time) { (time.strftime("%-d %b %Y, %H:%M:%S")) }
                }
                @if let Some(account) = message.account() { span { "by " (harmless(account)) } }
                span { (view::size(message.size)) }
            }
        }
    }
}

/// A report or a RES is described by its kind.
fn without_subject(message: &Message<'_>) -> &'static str {
    match message.kind() {
        None | Some(MessageType::ForwardReq) => "no subject",
        Some(kind) => kind.meaning(),
    }
}

/// What a phone would show: the slides, then what is on none of them; of a
/// report or a response what it says.
fn screen(message: &Message<'_>) -> Markup {
    let statuses = view::statuses(message);
    let presentation = message.presentation.as_ref();
    let mut shown: Vec<usize> = presentation.iter().map(|(number, _)| *number).collect();
    let slides: &[Slide] = presentation.map_or(&[], |(_, found)| &found.slides);
    let slides: Vec<Markup> = slides
        .iter()
        .enumerate()
        .map(|(at, of)| slide(message, of, at + 1, slides.len(), &mut shown))
        .collect();
    let is_shown = |part: &&Part<'_>| part.number.is_some_and(|number| shown.contains(&number));
    let rest: Vec<_> = message.leaves().filter(|part| !is_shown(part)).collect();
    html! {
        @for status in &statuses { (status_box(status)) }
        @for slide in &slides { (slide) }
        @if !rest.is_empty() {
            section.slide.rest {
                @if presentation.is_some() { p.tick { "On no slide" } }
                @for part in rest { (medium(part)) }
            }
        } @else if message.parts.is_empty() && statuses.is_empty() {
            p.empty { "Only a header." }
        }
    }
}

fn slide(
    message: &Message<'_>,
    slide: &Slide,
    number: usize,
    count: usize,
    shown: &mut Vec<usize>,
) -> Markup {
    let items: Vec<Markup> = slide
        .items
        .iter()
        .map(|item| match item.part.and_then(|part| message.leaf(part)) {
            // A part that hostile slides show a thousand times is put in once.
            Some(part) if shown.contains(&part.number.unwrap_or(0)) => again(part),
            Some(part) => {
                shown.extend(part.number);
                medium(part)
            }
            None => html! { p.chip.missing { (harmless(&item.src)) " names no part" } },
        })
        .collect();
    html! {
        section.slide {
            p.tick {
                span { "Slide " (number) " of " (count) }
                span { @if let Some(duration) = slide.duration_ms { (seconds(duration)) } }
            }
            @for item in &items { (item) }
        }
    }
}

fn status_box(status: &view::ReportedStatus) -> Markup {
    let class = match status.outcome {
        Outcome::Good => "status good",
        Outcome::Bad => "status bad",
        Outcome::Open => "status",
    };
    html! {
        p class=(class) { b { (harmless(&status.value)) } (harmless(&status.explanation)) }
    }
}

fn findings(message: &Message<'_>, duplicates: &Duplicates) -> Markup {
    let mut findings = check::findings(message, &Profile::default());
    findings.extend(duplicates.finding(message));
    html! {
        @if !findings.is_empty() {
            ul.findings {
                @for finding in &findings {
                    li { b { (finding.code) } ": " (harmless(&finding.details())) }
                }
            }
        }
    }
}

fn fields(message: &Message<'_>) -> Markup {
    let (mm4, others) = view::own_fields(message);
    let trace = message.header.fields.iter();
    let trace = trace.filter(|field| field.start() < message.trace_length);
    let rest: Vec<&Field<'_>> = trace.chain(others).collect();
    let meanings = Meanings::of(message);
    html! {
        (field_list(&meanings, ["MM4 field", "MM4 fields"], &mm4))
        (field_list(&meanings, ["line of envelope and header", "lines of envelope and header"], &rest))
    }
}

fn field_list(meanings: &Meanings, [one, many]: [&str; 2], fields: &[&Field<'_>]) -> Markup {
    html! {
        @if !fields.is_empty() {
            details {
                summary { (fields.len()) " " (if fields.len() == 1 { one } else { many }) }
                dl {
                    @for field in fields.iter().take(MAX_FIELDS) {
                        dt { (harmless(&field.name())) }
                        dd dir="auto" {
                            (harmless(&field.value()))
                            @if let Some(meaning) = meanings.field(field) {
                                " " i { "(" (harmless(&meaning)) ")" }
                            }
                        }
                    }
                    @if fields.len() > MAX_FIELDS {
                        dt { "and " (fields.len() - MAX_FIELDS) " more" }
                    }
                }
            }
        }
    }
}

fn parts(message: &Message<'_>) -> Markup {
    let count = message.leaves().count();
    html! {
        @if count > 0 {
            details {
                summary { (count) (if count == 1 { " part" } else { " parts" }) }
                dl { @for part in message.leaves() { (part_row(part)) } }
            }
        }
    }
}

fn part_row(part: &Part<'_>) -> Markup {
    let bytes = part.decode().bytes;
    html! {
        dt { (harmless(&part.media_type)) ", " (view::size(bytes.len() as u64)) }
        dd { (harmless(part.name.as_deref().unwrap_or(NO_NAME))) }
        dd.digest { "sha256 " (sha256(&bytes)) }
    }
}

/// Text without controls; maud escapes the rest. What turns the direction of text,
/// flags and joined emoji stay: each text is an element of its own, and the style
/// keeps its direction inside it.
fn harmless(text: &str) -> String {
    text.chars()
        .map(|letter| match letter {
            '\n' | '\t' => letter,
            letter if letter.is_control() => '\u{fffd}',
            letter => letter,
        })
        .collect()
}

#[cfg(test)]
mod tests;

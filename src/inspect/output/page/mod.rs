//! Messages for a browser, each as a phone would show it: the page of `gallery`, and the
//! pieces of which `serve` makes its own.
//!
//! Nothing of a mail is ever active: every text is escaped, HTML is shown as text, and a
//! part is shown as a picture only if its bytes are one of a kind that holds no script.
//! Any other part is a link that saves it. The page of `gallery` is complete in itself: no
//! script, no address, a Content-Security-Policy that allows its own style by digest and
//! pictures and sound as data. It is written message by message, and the bytes of a part
//! go straight from the mail to the page. Limits: those of `embed` on the bytes of parts,
//! [`MAX_TEXT`] characters of a text, [`MAX_LETTERS`] of all texts of a message,
//! [`MAX_FIELDS`] fields of a header. Fails when nothing can be written.

mod article;
mod cards;
mod chips;
mod details;
mod embed;
mod jpeg;
mod media;
mod relations;
mod row;
mod thumbnail;

use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::write::EncoderWriter;
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

pub(crate) use self::article::article;
pub(crate) use self::media::browser_type;
pub(crate) use self::relations::{Relation, Relations};
pub(crate) use self::row::{Kind, Row, day};
pub(crate) use self::thumbnail::{has_picture, thumbnail};

use self::chips::Chips;
use self::embed::Embedding;
use crate::inspect::check::{self, Duplicates, Profile};
use crate::inspect::exchange::Exchanges;
use crate::inspect::filter::Unreadable;
use crate::inspect::finding::Finding;
use crate::inspect::message::Message;
use crate::inspect::store::{Entry, RawMessage, Store};

/// Characters of a text that are shown.
pub const MAX_TEXT: usize = 20_000;
/// Characters of all texts of a message that are shown.
pub const MAX_LETTERS: usize = 200_000;
/// Header fields that are shown.
pub const MAX_FIELDS: usize = 200;

/// The style of both pages.
pub(crate) const STYLE: &str = include_str!("style.css");
/// What is different where no server takes part.
const STILL_STYLE: &str = include_str!("still.css");

/// Where a page has the bytes of parts from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'s> {
    /// From itself, as data, as far as it has room.
    Inline(&'s Embedding),
    /// From the server, below this address of the message.
    Served(&'s str),
}

/// What is known of a message besides itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'c> {
    /// Where the bytes of its parts are.
    pub(crate) source: Source<'c>,
    /// What is wrong with it.
    pub(crate) findings: &'c [Finding],
    /// The messages that it belongs to, with the addresses that open them.
    pub(crate) related: &'c [(String, &'c Relation<'c>)],
}

/// What is kept of a message between the passes over all.
#[derive(Clone, Copy, Debug)]
struct Facts {
    kind: Kind,
    /// Its place in the list of accounts; `None` without one, or beyond that list.
    account: Option<usize>,
    has_findings: bool,
}

/// A page, with what was read of its messages beforehand.
#[derive(Debug, Default)]
pub struct Page {
    /// The messages, oldest first.
    pub entries: Vec<Entry>,
    /// Messages in the spool.
    pub total: usize,
    /// The permissions that the files of all messages have in common.
    pub mode: u32,
    /// Bytes of the messages.
    size: u64,
    duplicates: Duplicates,
}

impl Page {
    /// Reads the header blocks of the messages, and of `all` of the spool for those that
    /// were sent twice. One that cannot be read is reported by [`Page::write`].
    pub fn prepare(store: &Store, entries: Vec<Entry>, all: &[Entry]) -> Page {
        let mut duplicates = Duplicates::default();
        let (mut mode, mut size) = (0o777, 0_u64);
        for entry in &entries {
            if let Ok(raw) = store.read_header(entry) {
                mode &= raw.mode;
                size = size.saturating_add(raw.file_size);
                duplicates.note(&Message::read_header(entry, &raw));
            }
        }
        if entries.len() < all.len() {
            let ids: HashSet<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
            let others = all.iter().filter(|entry| !ids.contains(entry.id.as_str()));
            duplicates.note_others(store, others);
        }
        duplicates.keep_repeated();
        Page {
            entries,
            total: all.len(),
            mode,
            size,
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
        let (facts, chips) = self.survey(store);
        let mut exchanges = Exchanges::default();
        for entry in &self.entries {
            if let Ok(raw) = store.peek(entry) {
                exchanges.note(entry, &Message::read_header(entry, &raw));
            }
        }
        let mut list = List {
            page: self,
            facts,
            relations: Relations::of(&exchanges),
            places: self.places(),
            embedding: Embedding::of(self.size, title),
            day: None,
            unreadable: Vec::new(),
        };
        drop(exchanges);
        write(out, self.head(title, now, &chips))?;
        for at in (0..self.entries.len()).rev() {
            list.write(store, at, out)?;
        }
        if list.day.is_some() {
            out.write_all(b"</section>\n")?;
        }
        write(out, tail(&chips))?;
        Ok(list.unreadable)
    }

    /// By id, the place of each message, which is its address in the page.
    fn places(&self) -> HashMap<&str, usize> {
        let ids = self.entries.iter().map(|entry| entry.id.as_str());
        ids.zip(0..).collect()
    }

    /// Reads all messages for what the filters count.
    fn survey(&self, store: &Store) -> (Vec<Facts>, Chips) {
        let mut chips = Chips::default();
        let facts = self.entries.iter().map(|entry| {
            let raw = store.read(entry).ok();
            let message = raw.as_ref().map(|raw| Message::read(entry, raw));
            let account = message.as_ref().and_then(|message| message.account());
            let facts = Facts {
                kind: message.as_ref().map_or(Kind::Message, Kind::of),
                account: account.and_then(|account| chips.account(account)),
                has_findings: message.is_some_and(|message| !self.findings(&message).is_empty()),
            };
            if raw.is_some() {
                chips.count(&facts);
            }
            facts
        });
        (facts.collect(), chips)
    }

    fn findings(&self, message: &Message<'_>) -> Vec<Finding> {
        let mut findings = check::findings(message, &Profile::default());
        findings.extend(self.duplicates.finding(message));
        findings
    }

    /// The beginning of the page, up to its first message.
    fn head(&self, title: &str, now: Timestamp, chips: &Chips) -> Markup {
        let title = harmless(title);
        let style = format!("{STYLE}{STILL_STYLE}{}", chips.style());
        html! {
            (DOCTYPE)
            (PreEscaped("<html lang=\"en\">\n"))
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy(&style));
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                meta name="color-scheme" content="light dark";
                title { (title) ": MM4 messages" }
                style { (PreEscaped(style)) }
            }
            (PreEscaped("\n<body>\n<main>\n"))
            @if chips.all() > 0 { (chips.inputs()) }
            header.bar {
                h1 dir="auto" title=(title) { (name_of(&title)) }
                @if chips.all() > 0 { (chips.labels()) }
                p.made {
                    (count(self.entries.len(), self.total))
                    span { ", made " (now.strftime("%Y-%m-%d %H:%M UTC")) }
                }
            }
            @if self.entries.is_empty() {
                (empty(self.total))
            } @else {
                (overview(chips))
            }
            (PreEscaped("<section class=\"list\" aria-label=\"Messages\">\n"))
        }
    }
}

/// The messages of the page while they are written.
struct List<'p> {
    page: &'p Page,
    facts: Vec<Facts>,
    relations: Relations<'p>,
    places: HashMap<&'p str, usize>,
    embedding: Embedding,
    /// The day whose messages are being written.
    day: Option<String>,
    unreadable: Vec<Unreadable>,
}

impl List<'_> {
    /// Writes the message at that place, and the heading of its day before the first.
    fn write(&mut self, store: &Store, at: usize, out: &mut dyn Write) -> io::Result<()> {
        let Some(entry) = self.page.entries.get(at) else {
            return Ok(());
        };
        let raw = match store.read(entry) {
            Ok(raw) => raw,
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    let id = entry.id.clone();
                    self.unreadable.push(Unreadable { id, error });
                }
                return Ok(());
            }
        };
        let day = day(entry.time);
        if self.day.as_ref() != Some(&day) {
            let end = if self.day.is_some() {
                "</section>\n"
            } else {
                ""
            };
            let class = self.class_of_day(at, &day);
            write!(out, "{end}<section class=\"day {class}\">")?;
            write(out, html! { h2 { (day) } })?;
            self.day = Some(day);
        }
        self.message(entry, &raw, at, out)
    }

    /// What the filters select of a day whose newest message is at that place.
    fn class_of_day(&self, at: usize, name: &str) -> String {
        let entries = self.page.entries.iter().zip(&self.facts).take(at + 1).rev();
        let of_day = entries.take_while(|(entry, _)| day(entry.time) == name);
        chips::class_of_day(of_day.map(|(_, facts)| facts))
    }

    fn message(
        &self,
        entry: &Entry,
        raw: &RawMessage,
        at: usize,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let message = Message::read(entry, raw);
        let findings = self.page.findings(&message);
        let related: Vec<_> = self
            .relations
            .of_message(&entry.id)
            .iter()
            .filter_map(|relation| {
                let place = self.places.get(relation.id)?;
                Some((format!("#m{place}"), relation))
            })
            .collect();
        let context = Context {
            source: Source::Inline(&self.embedding),
            findings: &findings,
            related: &related,
        };
        let row = Row::of(&message, findings.len());
        let class = self.facts.get(at).map_or(String::new(), chips::class);
        let markup = html! {
            details class=(format!("m {class}")) name="m" {
                summary { (row.markup(inline_thumbnail(&message).as_deref())) }
                (article(&message, &context, &format!("m{at}")))
            }
            (PreEscaped("\n"))
        };
        write_with_parts(&markup.into_string(), &message, out)
    }
}

fn inline_thumbnail(message: &Message<'_>) -> Option<String> {
    let jpeg = thumbnail(message)?;
    Some(immediate("image/jpeg", &jpeg))
}

/// Few bytes as the address of data.
fn immediate(media_type: &str, bytes: &[u8]) -> String {
    format!("data:{media_type};base64,{}", STANDARD.encode(bytes))
}

fn write(out: &mut dyn Write, markup: Markup) -> io::Result<()> {
    write_text(&markup.into_string(), out)
}

/// Writes markup with a character reference for each character beyond ASCII: a browser
/// reads a megabyte of data three times as slowly if it has one of them. The style, in
/// which references mean nothing, has none.
fn write_text(mut markup: &str, out: &mut dyn Write) -> io::Result<()> {
    while let Some(at) = markup.find(|letter: char| !letter.is_ascii()) {
        let (plain, rest) = markup.split_at(at);
        out.write_all(plain.as_bytes())?;
        let mut letters = rest.chars();
        if let Some(letter) = letters.next() {
            write!(out, "&#{};", u32::from(letter))?;
        }
        markup = letters.as_str();
    }
    out.write_all(markup.as_bytes())
}

/// Writes markup, with the data of parts where [`data_of`] has left marks.
fn write_with_parts(markup: &str, message: &Message<'_>, out: &mut dyn Write) -> io::Result<()> {
    // The last part decoded: a picture and the link that saves it follow each other.
    let mut decoded: Option<(usize, Vec<u8>)> = None;
    for (at, piece) in markup.split(MARK).enumerate() {
        if at % 2 == 0 {
            write_text(piece, out)?;
            continue;
        }
        let Some(number) = piece.parse().ok() else {
            continue;
        };
        if decoded.as_ref().map(|(known, _)| *known) != Some(number) {
            let bytes = message.leaf(number).map(|part| part.decode().bytes);
            decoded = Some((number, bytes.unwrap_or_default()));
        }
        if let Some((_, bytes)) = &decoded {
            let mut encoder = EncoderWriter::new(&mut *out, &STANDARD);
            encoder.write_all(bytes)?;
            encoder.finish()?;
        }
    }
    Ok(())
}

/// Surrounds the number of a part whose data belongs there. No text has it: [`harmless`]
/// replaces it.
const MARK: char = '\0';

/// The address of a part as data of that type, without the data.
fn data_of(number: usize, media_type: &str) -> String {
    format!("data:{media_type};base64,{MARK}{number}{MARK}")
}

fn tail(chips: &Chips) -> Markup {
    html! {
        @if chips.all() > 0 {
            p.nothing { "No message is of this kind. Choose other filters above." }
        }
        (PreEscaped("</section>\n</main>\n</body>\n</html>\n"))
    }
}

/// What a spool is called: the end of its path.
pub(crate) fn name_of(root: &str) -> &str {
    let name = root.trim_end_matches('/').rsplit('/').next();
    name.filter(|name| !name.is_empty()).unwrap_or(root)
}

fn count(shown: usize, total: usize) -> String {
    match (shown, total) {
        (1, 1) => "1 message".to_owned(),
        (shown, total) if shown == total => format!("{total} messages"),
        (shown, total) => format!("{shown} of {total} messages"),
    }
}

/// The right side while no message is open.
fn overview(chips: &Chips) -> Markup {
    html! {
        section.overview aria-label="Overview" {
            p.big { "Select a message" }
            p {
                "Tab and Enter open one from the keyboard; searching in the page with "
                kbd { "Ctrl" } " " kbd { "F" } " finds text in those that are closed, too."
            }
            dl { (chips.totals()) }
        }
    }
}

/// What is shown in the place of messages where there are none.
pub(crate) fn empty(total: usize) -> Markup {
    html! {
        section.empty aria-label="No messages" {
            @if total > 0 {
                p.big { "No message matches" }
                p { "The spool has " (total) ", and the filters leave none of them." }
            } @else {
                p.big { "No messages yet" }
                p { "Send a first one to a running mm4d, for example with swaks:" }
                pre { code {
                    "swaks --server 127.0.0.1:2525 --auth PLAIN --auth-user ID \\\n"
                    "      --from +15550000001/TYPE=PLMN@mms.example.net \\\n"
                    "      --to +15550000002/TYPE=PLMN@mms.example.com \\\n"
                    "      --header 'X-Mms-Message-Type: MM4_forward.REQ' --body 'hello'"
                } }
            }
        }
    }
}

/// The policy: nothing but this style, and pictures and sound that are data.
fn policy(style: &str) -> String {
    let digest = STANDARD.encode(Sha256::digest(style.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{digest}'; img-src data:; media-src data:; \
         base-uri 'none'; form-action 'none'"
    )
}

/// Text without controls; maud escapes the rest. What turns the direction of text,
/// flags and joined emoji stay: each text is an element of its own, and the style
/// keeps its direction inside it.
pub(crate) fn harmless(text: &str) -> String {
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

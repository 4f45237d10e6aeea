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
mod tests {
    use super::*;
    use crate::inspect::message::tests::given;
    use proptest::prelude::*;

    const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";

    fn page(mail: &[u8]) -> String {
        let (entry, raw) = given(mail);
        card(&Message::read(&entry, &raw), &Duplicates::default()).into_string()
    }

    fn with_part(header: &str, body: &str) -> String {
        page(format!("{header}\r\n\r\n{body}\r\n").as_bytes())
    }

    #[test]
    fn a_picture_is_inline_data() {
        let page = with_part(
            "Content-Type: image/png\r\nContent-Transfer-Encoding: base64",
            PNG,
        );
        assert!(
            page.contains(&format!("<img src=\"data:image/png;base64,{PNG}\"")),
            "{page}"
        );
        let page = with_part(
            "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64",
            PNG,
        );
        assert!(page.contains("<img src=\"data:image/png"), "{page}");
    }

    #[test]
    fn what_is_active_is_never_more_than_text() {
        let svg = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>";
        for header in [
            "Content-Type: image/svg+xml; name=x.svg",
            "Content-Type: image/png; name=x.png",
            "Content-Type: text/html",
            "Content-Type: application/xhtml+xml",
            "Content-Type: \"><script>alert(1)</script>",
        ] {
            let page = with_part(header, svg);
            assert!(!page.contains("<script"), "{page}");
            assert!(!page.contains("<svg"), "{page}");
            assert!(!page.contains("data:"), "{page}");
        }
    }

    #[test]
    fn slides_are_in_order_and_what_is_missing_is_said() {
        let mail = format!(
            "Content-Type: multipart/related; boundary=x\r\n\r\n--x\r\nContent-Type: application/smil\r\n\r\n\
             <par dur='3s'><text src='two.txt'/></par><par><img src='one.png'/><img src='no.png'/></par>\
             \r\n--x\r\nContent-Type: image/png; name=one.png\r\nContent-Transfer-Encoding: base64\r\n\r\n{PNG}\
             \r\n--x\r\nContent-Type: text/plain; name=two.txt\r\n\r\nsecond & first\r\n--x\r\n\
             Content-Type: audio/amr; name=voice.amr\r\n\r\nx\r\n--x--\r\n"
        );
        let page = page(mail.as_bytes());
        let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}: {page}"));
        assert!(at("Slide 1 of 2") < at("second &amp; first"));
        assert!(at("second &amp; first") < at("Slide 2 of 2"));
        assert!(at("Slide 2 of 2") < at("<img src"));
        assert!(at("<img src") < at("no.png names no part"));
        assert!(at("On no slide") < at("voice.amr"));
        assert!(at("smil-unresolved") > 0);
    }

    #[test]
    fn marks_of_direction_and_joined_emoji_are_kept() {
        let text = "\u{200f}\u{5e9}\u{202e}a\u{202c} \u{1f468}\u{200d}\u{1f469} \u{1f3f4}\u{e0067}\u{e007f}";
        let page = page(format!("Subject: {text}\r\n\r\n{text}\x1b\r\n").as_bytes());
        assert_eq!(page.matches(text).count(), 3, "{page}");
        assert!(!page.contains('\x1b'));
        assert!(STYLE.contains("unicode-bidi: isolate"));
    }

    #[test]
    fn html_is_shown_as_text_and_its_source_on_demand() {
        let page = with_part("Content-Type: text/html", "<p>one &amp; two</p>");
        assert!(
            page.contains("<p class=\"text\" dir=\"auto\">one &amp; two</p>"),
            "{page}"
        );
        assert!(
            page.contains("&lt;p&gt;one &amp;amp; two&lt;/p&gt;"),
            "{page}"
        );
    }

    #[test]
    fn a_report_shows_its_status() {
        let page = page(
            b"X-Mms-Message-Type: MM4_delivery_report.REQ\r\nX-Mms-MM-Status-Code: Retrieved\r\n",
        );
        assert!(
            page.contains("<p class=\"status good\"><b>Retrieved</b>the recipient has it</p>"),
            "{page}"
        );
    }

    #[test]
    fn a_part_on_a_thousand_slides_is_put_in_once() {
        let slides = "<par><img src='one.png'/></par>".repeat(1000);
        let page = page(
            format!(
                "Content-Type: multipart/related; boundary=x\r\n\r\n--x\r\nContent-Type: application/smil\r\n\r\n\
                 {slides}\r\n--x\r\nContent-Type: image/png; name=one.png\r\n\
                 Content-Transfer-Encoding: base64\r\n\r\n{PNG}\r\n--x--\r\n"
            )
            .as_bytes(),
        );
        assert_eq!(page.matches("data:image/png").count(), 1);
    }

    #[test]
    fn the_policy_holds_the_digest_of_the_style_that_is_there() {
        let page = Page::default();
        let head = page.head("<spool>", Timestamp::UNIX_EPOCH).into_string();
        assert!(
            head.contains("default-src 'none'; style-src 'sha256-"),
            "{head}"
        );
        assert!(head.contains(&format!("<style>{STYLE}</style>")));
        assert!(head.contains("<h1>&lt;spool&gt;</h1>"));
        assert!(!STYLE.contains('<') && !STYLE.contains("url("));
    }

    proptest! {
        #[test]
        fn no_bytes_of_a_mail_become_markup(
            subject in any::<String>(),
            name in "[<>\"'&a-z/=! ]{0,40}",
            body in proptest::collection::vec(any::<u8>(), 0..200),
            media_type in "(text/html|image/svg\\+xml|<script>|application/smil|text/plain)",
        ) {
            let mut mail = format!(
                "Subject: {subject}\r\nContent-Type: {media_type}; name=\"{name}\"\r\nFrom: {name}\r\n\
                 X-Mms-Message-Type: {name}\r\nX-Mms-Expiry: {name}\r\n\r\n<script>{name}"
            )
            .into_bytes();
            mail.extend_from_slice(&body);
            let page = page(&mail);
            // Every tag in the page is one that this module writes.
            for piece in page.split('<').skip(1) {
                let name: String = piece
                    .trim_start_matches('/')
                    .chars()
                    .take_while(char::is_ascii_alphanumeric)
                    .collect();
                prop_assert!(
                    ["article", "header", "p", "b", "h2", "span", "time", "div", "section", "ul", "li",
                     "details", "summary", "dl", "dt", "dd", "i", "footer"].contains(&name.as_str()),
                    "{}", piece
                );
            }
        }
    }
}

//! One part of a message in the page: a text, a picture, a sound, a card, or a link
//! that saves it.

use std::cell::Cell;
use std::io::Cursor;

use image::ImageReader;
use maud::{Markup, html};

use super::{MAX_INLINE, MAX_TEXT, Source, cards, data_of, harmless};
use crate::inspect::mime::Part;
use crate::inspect::output::files::safe_name;
use crate::inspect::output::view::{self, readable_text, shown_text};

/// Bytes of a part that is shown and, for the link that saves it, put in a second time: a
/// page of 1,000 photographs would be twice as big and take twice as long to open.
const MAX_COPY: usize = 16 * 1024;
/// Bytes below which nothing is a picture: a GIF of one pixel has 35.
const SMALLEST_PICTURE: usize = 32;
/// The type under which anything else is saved.
const ANY_TYPE: &str = "application/octet-stream";
/// What a video shows before it plays: a triangle on grey.
const POSTER: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 320 180'%3E\
    %3Crect width='320' height='180' fill='%23262c35'/%3E%3Cpath d='M140 60v60l52-30z' fill='%23fff'/%3E%3C/svg%3E";

/// How parts are shown.
pub(super) struct Medium<'m> {
    pub(super) source: Source<'m>,
    /// Characters that the texts of this message may still take.
    pub(super) letters: &'m Cell<usize>,
}

impl Medium<'_> {
    /// The part as its reader sees it.
    pub(super) fn markup(&self, part: &Part<'_>) -> Markup {
        let bytes = part.decode().bytes;
        if let Some(card) = cards::card(part, &bytes) {
            return html! { (card) (self.file(part, &bytes, "")) };
        }
        if part.is_text() {
            return self.text(part, &bytes);
        }
        let Some(media_type) = playable(part, &bytes) else {
            return self.file(part, &bytes, why_not_shown(part, &bytes));
        };
        let source = address(self.source, part, media_type);
        match media_type.split('/').next() {
            Some("image") => self.picture(part, &bytes, &source),
            Some("audio") => html! {
                audio controls preload="none" src=(source) aria-label=(harmless(title(part))) {}
                (self.shown(part, &bytes))
            },
            _ => html! {
                video controls preload="none" src=(source) poster=(POSTER) aria-label=(harmless(title(part))) {}
                (self.shown(part, &bytes))
            },
        }
    }

    fn picture(&self, part: &Part<'_>, bytes: &[u8], source: &str) -> Markup {
        let reader = ImageReader::new(Cursor::new(bytes))
            .with_guessed_format()
            .ok();
        let size = reader.and_then(|reader| reader.into_dimensions().ok());
        let (width, height) = size.unzip();
        html! {
            img src=(source) alt={ "Picture " (harmless(title(part))) } width=[width] height=[height]
                loading="lazy" decoding="async";
            (self.shown(part, bytes))
        }
    }

    fn text(&self, part: &Part<'_>, bytes: &[u8]) -> Markup {
        let limit = MAX_TEXT.min(self.letters.get());
        // No charset takes more than four bytes for a character.
        let begin = bytes.get(..4 * limit);
        let read = begin.unwrap_or(bytes);
        let text = shown_text(part, read);
        let (shown, is_cut) = beginning(&text, limit);
        self.letters.set(limit_left(self.letters.get(), shown));
        let is_cut = is_cut || begin.is_some();
        html! {
            p.text dir="auto" { (harmless(shown)) }
            @if part.is_html() {
                details.source {
                    summary { "HTML source" }
                    p.text dir="auto" { (harmless(beginning(&readable_text(part, read), limit).0)) }
                }
            }
            @if is_cut { (self.file(part, bytes, "the rest of this text is not shown")) }
        }
    }

    /// The line below what a browser shows, and saves from its own menu where the page
    /// does not have it twice.
    fn shown(&self, part: &Part<'_>, bytes: &[u8]) -> Markup {
        if matches!(self.source, Source::Served(_)) || bytes.len() <= MAX_COPY {
            return self.file(part, bytes, "");
        }
        html! {
            p.file {
                b { (harmless(title(part))) }
                span.kind {
                    (harmless(&part.media_type)) ", " (view::size(bytes.len() as u64))
                    ", saved from its own menu"
                }
            }
        }
    }

    /// The name of a part as a link that saves it.
    fn file(&self, part: &Part<'_>, bytes: &[u8], why: &str) -> Markup {
        html! {
            p.file {
                (save(self.source, part, bytes.len()))
                span.kind {
                    (harmless(&part.media_type)) ", " (view::size(bytes.len() as u64))
                    @if !why.is_empty() { ", " (why) }
                }
            }
        }
    }
}

/// The link that saves a part, or its name where it is too big for the page.
pub(super) fn save(source: Source<'_>, part: &Part<'_>, length: usize) -> Markup {
    let name = safe_name(part);
    html! {
        @if matches!(source, Source::Inline) && length > MAX_INLINE {
            b { (harmless(&name)) } " "
            span.kind { "too big for this page: mm4spool extract saves it" }
        } @else {
            a.save href=(address(source, part, ANY_TYPE)) download=(name) { (harmless(title(part))) }
        }
    }
}

/// Where the bytes of a part are.
fn address(source: Source<'_>, part: &Part<'_>, media_type: &str) -> String {
    let number = part.number.unwrap_or(0);
    match source {
        Source::Inline => data_of(number, media_type),
        Source::Served(message) => format!("{message}/parts/{number}"),
    }
}

/// What a part is called: its name, else its type.
fn title<'p>(part: &'p Part<'_>) -> &'p str {
    part.name.as_deref().unwrap_or(&part.media_type)
}

fn why_not_shown(part: &Part<'_>, bytes: &[u8]) -> &'static str {
    match part.kind() {
        "image" | "audio" | "video" if bytes.len() > MAX_INLINE => "too big for this page",
        _ if bytes.is_empty() => "empty",
        "image" => "not a picture that a browser shows",
        "audio" | "video" => "browsers do not play it",
        _ => "",
    }
}

/// A part that was shown already.
pub(super) fn again(part: &Part<'_>) -> Markup {
    html! { p.file { b { (harmless(title(part))) } " again" } }
}

/// What is shown of a text, and whether that is not all of it.
fn beginning(text: &str, limit: usize) -> (&str, bool) {
    match text.char_indices().nth(limit) {
        Some((end, _)) => (text.get(..end).unwrap_or_default(), true),
        None => (text, false),
    }
}

fn limit_left(left: usize, shown: &str) -> usize {
    left.saturating_sub(shown.chars().count())
}

/// The type under which a browser gets the bytes of a part that it shows itself and that
/// is not bigger than [`MAX_INLINE`].
fn playable(part: &Part<'_>, bytes: &[u8]) -> Option<&'static str> {
    browser_type(part, bytes).filter(|_| bytes.len() <= MAX_INLINE)
}

/// The type under which a browser gets the bytes of a part that it shows itself; `None`
/// for any other. A picture must be one by its first bytes, since its type is only what
/// its sender says.
pub(crate) fn browser_type(part: &Part<'_>, bytes: &[u8]) -> Option<&'static str> {
    if bytes.is_empty() {
        return None;
    }
    if let Some(picture) = picture_type(bytes) {
        return Some(picture);
    }
    Some(match part.media_type.as_str() {
        "audio/mpeg" | "audio/mp3" | "audio/mpg" | "audio/mpeg3" => "audio/mpeg",
        "audio/mp4" | "audio/x-m4a" | "audio/m4a" => "audio/mp4",
        "audio/aac" => "audio/aac",
        "audio/ogg" | "application/ogg" => "audio/ogg",
        "audio/wav" | "audio/x-wav" => "audio/wav",
        "video/mp4" => "video/mp4",
        "video/3gpp" => "video/3gpp",
        "video/webm" => "video/webm",
        _ => return None,
    })
}

/// What kind of picture bytes are, by their first; only kinds that hold nothing
/// active.
pub(super) fn picture_type(bytes: &[u8]) -> Option<&'static str> {
    if bytes.len() < SMALLEST_PICTURE {
        return None;
    }
    let riff = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
    let avif = bytes.get(4..12) == Some(b"ftypavif");
    if bytes.starts_with(b"\xff\xd8\xff") {
        Some("image/jpeg")
    } else if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some("image/png")
    } else if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") {
        Some("image/gif")
    } else if riff {
        Some("image/webp")
    } else if avif {
        Some("image/avif")
    } else if bytes.starts_with(b"BM") {
        Some("image/bmp")
    } else {
        None
    }
}

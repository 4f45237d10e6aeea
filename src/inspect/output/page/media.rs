//! One part of a message in the page: a text, a picture, a sound, a card, or a link
//! that saves it.

use std::cell::Cell;

use maud::{Markup, html};

use super::embed::MAX_PART;
use super::{MAX_TEXT, Source, cards, data_of, harmless, immediate, thumbnail};
use crate::inspect::mime::Part;
use crate::inspect::output::files::safe_name;
use crate::inspect::output::view::{self, readable_text, shown_text};

/// Bytes below which nothing is a picture: a GIF of one pixel has 35.
const SMALLEST_PICTURE: usize = 32;
/// The type under which anything else is saved.
const ANY_TYPE: &str = "application/octet-stream";
/// What a video shows before it plays: a triangle on grey.
const POSTER: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 320 180'%3E\
    %3Crect width='320' height='180' fill='%23262c35'/%3E%3Cpath d='M140 60v60l52-30z' fill='%23fff'/%3E%3C/svg%3E";

/// Pictures of a message that are shown smaller; each is decoded for it.
pub(super) const MAX_SMALLER: usize = 20;

/// How parts are shown.
pub(super) struct Medium<'m> {
    pub(super) source: Source<'m>,
    /// The message's id.
    pub(super) id: &'m str,
    /// Characters that the texts of this message may still take.
    pub(super) letters: &'m Cell<usize>,
    /// Pictures of it that may still be shown smaller.
    pub(super) smaller: &'m Cell<usize>,
}

impl Medium<'_> {
    /// The part as its reader sees it.
    pub(super) fn markup(&self, part: &Part<'_>) -> Markup {
        let bytes = part.decode().bytes;
        if let Some(card) = cards::card(part, &bytes) {
            return html! { (card) (self.file(part, &bytes, self.save(part, bytes.len()), "")) };
        }
        if part.is_text() {
            return self.text(part, &bytes);
        }
        let Some(media_type) = playable(part, &bytes) else {
            let link = self.save(part, bytes.len());
            return self.file(part, &bytes, link, why_not_shown(part, &bytes));
        };
        if media_type.starts_with("image/") {
            return self.picture(part, &bytes, media_type);
        }
        let link = self.save(part, bytes.len());
        let Some(source) = self.address(part, bytes.len(), media_type) else {
            return self.file(part, &bytes, link, "");
        };
        let name = harmless(title(part));
        html! {
            @if media_type.starts_with("audio/") {
                audio controls preload="none" src=(source) aria-label=(name) {}
            } @else {
                video controls preload="none" src=(source) poster=(POSTER) aria-label=(name) {}
            }
            (self.file(part, &bytes, link, ""))
        }
    }

    /// A picture and the link that saves it. Where the page has room for its bytes once,
    /// they are in the link.
    fn picture(&self, part: &Part<'_>, bytes: &[u8], media_type: &str) -> Markup {
        let link = self.save(part, bytes.len());
        let is_smaller =
            matches!(self.source, Source::Inline(page) if page.shows_smaller(bytes.len()));
        let left = self.smaller.get();
        let smaller = match is_smaller && left > 0 {
            true => {
                self.smaller.set(left - 1);
                thumbnail::smaller(bytes)
            }
            false => None,
        };
        let (source, why) = match smaller {
            Some(jpeg) => (Some(immediate("image/jpeg", &jpeg)), "shown smaller"),
            None if is_smaller && left == 0 => (None, "not shown, as the message has many"),
            None => (self.address(part, bytes.len(), media_type), ""),
        };
        let (width, height) = thumbnail::size(bytes).unzip();
        html! {
            @if let Some(source) = source {
                img src=(source) alt={ "Picture " (harmless(title(part))) } width=[width] height=[height]
                    loading="lazy" decoding="async";
            }
            (self.file(part, bytes, link, why))
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
            @if is_cut {
                (self.file(part, bytes, self.save(part, bytes.len()), "the rest of this text is not shown"))
            }
        }
    }

    /// The line that names a part, with what saves it.
    fn file(&self, part: &Part<'_>, bytes: &[u8], link: Markup, why: &str) -> Markup {
        html! {
            p.file {
                (link)
                span.kind {
                    (harmless(&part.media_type)) ", " (view::size(bytes.len() as u64))
                    @if !why.is_empty() { ", " (why) }
                }
            }
        }
    }

    /// The link that saves a part, or its name and the command where the page has no room.
    pub(super) fn save(&self, part: &Part<'_>, length: usize) -> Markup {
        let number = part.number.unwrap_or(0);
        html! {
            @match (self.address(part, length, ANY_TYPE), self.source) {
                (None, Source::Inline(page)) => {
                    b { (harmless(title(part))) } " "
                    span.kind { "not in this page, which would be too big:" } " "
                    code { (harmless(&page.command(self.id, number))) }
                },
                (address, _) => {
                    a.save href=[address] download=(safe_name(part)) { (harmless(title(part))) }
                }
            }
        }
    }

    /// Where the bytes of a part are; `None` if the page has no room for them.
    fn address(&self, part: &Part<'_>, length: usize, media_type: &str) -> Option<String> {
        let number = part.number.unwrap_or(0);
        match self.source {
            Source::Inline(page) => page.take(length).then(|| data_of(number, media_type)),
            Source::Served(message) => Some(format!("{message}/parts/{number}")),
        }
    }
}

/// What a part is called: its name, else its type.
fn title<'p>(part: &'p Part<'_>) -> &'p str {
    part.name.as_deref().unwrap_or(&part.media_type)
}

fn why_not_shown(part: &Part<'_>, bytes: &[u8]) -> &'static str {
    match part.kind() {
        "image" | "audio" | "video" if bytes.len() > MAX_PART => "too big to be shown",
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
/// is not bigger than [`MAX_PART`].
fn playable(part: &Part<'_>, bytes: &[u8]) -> Option<&'static str> {
    browser_type(part, bytes).filter(|_| bytes.len() <= MAX_PART)
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

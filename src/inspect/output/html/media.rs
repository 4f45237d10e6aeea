//! One part of a message in the page: a text, a picture, a sound, or its name.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};

use super::{MAX_INLINE, MAX_TEXT, harmless};
use crate::inspect::mime::Part;
use crate::inspect::mime::transfer::Decoded;
use crate::inspect::output::view::{self, readable_text, shown_text};

/// Bytes below which nothing is a picture: a GIF of one pixel has 35.
const SMALLEST_PICTURE: usize = 32;

pub(super) fn medium(part: &Part<'_>) -> Markup {
    let decoded = part.decode();
    if part.is_text() {
        return text(part, &decoded);
    }
    let Some(media_type) = playable(part, &decoded.bytes) else {
        return chip(part, &decoded, why_not_shown(part, &decoded));
    };
    let source = format!(
        "data:{media_type};base64,{}",
        STANDARD.encode(&decoded.bytes)
    );
    let name = harmless(part.name.as_deref().unwrap_or(NO_NAME));
    html! {
        @match media_type.split('/').next() {
            Some("image") => { img src=(source) alt=(name); }
            Some("audio") => { audio controls src=(source) {} (chip(part, &decoded, "")) }
            _ => { video controls src=(source) {} (chip(part, &decoded, "")) }
        }
    }
}

/// What is said of a part without a name.
pub(super) const NO_NAME: &str = "without a name";

fn why_not_shown(part: &Part<'_>, decoded: &Decoded) -> &'static str {
    match part.kind() {
        "image" | "audio" | "video" if decoded.bytes.len() > MAX_INLINE => "too big for this page",
        "image" if decoded.bytes.is_empty() => "empty",
        "image" => "not a picture that a browser shows",
        "audio" | "video" => "browsers do not play it",
        _ => "",
    }
}

pub(super) fn again(part: &Part<'_>) -> Markup {
    let name = part.name.as_deref().unwrap_or(&part.media_type);
    html! { p.chip { b { (harmless(name)) } " again" } }
}

fn chip(part: &Part<'_>, decoded: &Decoded, why: &str) -> Markup {
    html! {
        p.chip {
            b { (harmless(part.name.as_deref().unwrap_or(NO_NAME))) }
            span {
                (harmless(&part.media_type)) ", " (view::size(decoded.bytes.len() as u64))
                @if !why.is_empty() { ", " (why) }
            }
        }
    }
}

fn text(part: &Part<'_>, decoded: &Decoded) -> Markup {
    // No charset takes more than four bytes for a character.
    let begin = decoded.bytes.get(..4 * MAX_TEXT);
    let bytes = begin.unwrap_or(&decoded.bytes);
    let text = shown_text(part, bytes);
    let (shown, is_cut) = beginning(&text);
    html! {
        p.text dir="auto" { (harmless(shown)) }
        @if is_cut || begin.is_some() {
            p.chip { "The rest of this text is not shown." }
        }
        @if part.is_html() {
            details {
                summary { "HTML source" }
                p.text dir="auto" { (harmless(beginning(&readable_text(part, bytes)).0)) }
            }
        }
    }
}

/// What is shown of a text, and whether that is not all of it.
fn beginning(text: &str) -> (&str, bool) {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => (text.get(..end).unwrap_or_default(), true),
        None => (text, false),
    }
}

/// The type under which a browser gets the bytes. A picture must be one by its
/// first bytes, since its type is only what its sender says.
fn playable(part: &Part<'_>, bytes: &[u8]) -> Option<&'static str> {
    if bytes.is_empty() || bytes.len() > MAX_INLINE {
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
fn picture_type(bytes: &[u8]) -> Option<&'static str> {
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

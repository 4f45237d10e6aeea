//! What a technician looks for in a message: fields with their meaning, the envelope,
//! parts and their digests.

use maud::{Markup, html};

use super::media::Medium;
use super::{MAX_FIELDS, Source, harmless};
use crate::inspect::message::Message;
use crate::inspect::mime::Part;
use crate::inspect::mime::header::Field;
use crate::inspect::output::view::{self, Meanings, sha256};

/// The details of a message, closed at first.
pub(super) fn details(message: &Message<'_>, medium: &Medium<'_>) -> Markup {
    let (mm4, others) = view::own_fields(message);
    let trace = message.header.fields.iter();
    let trace: Vec<_> = trace
        .filter(|field| field.start() < message.trace_length)
        .collect();
    let meanings = Meanings::of(message);
    html! {
        details.more {
            summary { "Details" span.kind { (summary(message, mm4.len())) } }
            (fields(&meanings, "MM4 fields", &mm4))
            (fields(&meanings, "Envelope", &trace))
            (fields(&meanings, "Other fields", &others))
            (parts(message, medium))
            p.id { "ID " (harmless(message.id)) }
        }
    }
}

fn summary(message: &Message<'_>, mm4: usize) -> String {
    let parts = message.leaves().count();
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    format!(
        " {mm4} MM4 field{}, {parts} part{}{}",
        plural(mm4),
        plural(parts),
        if message.trace.is_some() {
            ", envelope"
        } else {
            ""
        }
    )
}

fn fields(meanings: &Meanings, title: &str, fields: &[&Field<'_>]) -> Markup {
    html! {
        @if !fields.is_empty() {
            h3 { (title) }
            dl.fields {
                @for field in fields.iter().take(MAX_FIELDS) {
                    div {
                        dt { (harmless(&field.name())) }
                        dd dir="auto" {
                            (harmless(&field.value()))
                            @if let Some(meaning) = meanings.field(field) {
                                " " span.meaning { (harmless(&meaning)) }
                            }
                        }
                    }
                }
            }
            @if fields.len() > MAX_FIELDS { p.kind { "and " (fields.len() - MAX_FIELDS) " more" } }
        }
    }
}

fn parts(message: &Message<'_>, medium: &Medium<'_>) -> Markup {
    html! {
        @if message.leaves().next().is_some() {
            h3 { "Parts" }
            ol.parts { @for part in message.leaves() { (row(part, medium)) } }
        }
    }
}

fn row(part: &Part<'_>, medium: &Medium<'_>) -> Markup {
    let bytes = part.decode().bytes;
    // Above, all but texts and presentations have a link; its data is not put in again.
    let is_saved_above = !part.is_text() && !part.is_smil();
    let has_link = !is_saved_above || matches!(medium.source, Source::Served(_));
    html! {
        li {
            @if has_link {
                (medium.save(part, bytes.len())) " "
            } @else {
                b { (harmless(part.name.as_deref().unwrap_or("without a name"))) } " "
            }
            span.kind { (harmless(&part.media_type)) ", " (view::size(bytes.len() as u64)) }
            span.digest { "sha256 " (sha256(&bytes)) }
        }
    }
}

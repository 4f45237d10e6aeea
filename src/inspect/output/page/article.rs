//! One message, opened: what a phone would show, and what became of it.

use std::cell::Cell;

use maud::{Markup, html};

use super::media::{MAX_SMALLER, Medium, again};
use super::row::{tone, untitled};
use super::{Context, MAX_LETTERS, details, harmless};
use crate::inspect::message::Message;
use crate::inspect::mime::Part;
use crate::inspect::output::view::{self, moment, seconds};
use crate::inspect::smil::Slide;
use crate::mm4::Address;

/// Recipients that are named above a message.
const MAX_RECIPIENTS: usize = 12;

/// The article of a message, with `id` as its address in the page.
pub(crate) fn article(message: &Message<'_>, context: &Context<'_>, id: &str) -> Markup {
    let letters = Cell::new(MAX_LETTERS);
    let smaller = Cell::new(MAX_SMALLER);
    let medium = Medium {
        source: context.source,
        id: message.id,
        letters: &letters,
        smaller: &smaller,
    };
    html! {
        article id=(id) tabindex="-1" aria-label={ "Message " (harmless(message.id)) } {
            (heading(message))
            (related(context))
            (findings(context))
            (screen(message, &medium))
            (details::details(message, &medium))
        }
    }
}

fn heading(message: &Message<'_>) -> Markup {
    let (from, to) = message.route();
    let from = from.as_ref().map_or("-".to_owned(), Address::short);
    let kind = view::type_label(message);
    let subject = message.header.value("Subject");
    let subject = subject.filter(|subject| !subject.trim().is_empty());
    html! {
        header.head {
            @match subject {
                Some(subject) => { h2 dir="auto" { (harmless(&subject)) } }
                None => { h2.none { (untitled(message)) } }
            }
            p.route {
                b { (harmless(&from)) } " " i aria-label="to" role="img" { "→" } " "
                @if to.is_empty() { b { "-" } }
                @for (at, address) in to.iter().take(MAX_RECIPIENTS).enumerate() {
                    @if at > 0 { ", " }
                    b { (harmless(&address.short())) }
                }
                @if to.len() > MAX_RECIPIENTS { " and " (to.len() - MAX_RECIPIENTS) " more" }
            }
            p.meta {
                @if let Some(time) = message.time { time datetime=(time) { (moment(time)) } }
                span { (harmless(kind.as_deref().unwrap_or("no MM4 type"))) }
                span { (view::size(message.size)) }
                @if let Some(account) = message.account() { span { "by " bdi { (harmless(account)) } } }
            }
        }
    }
}

fn related(context: &Context<'_>) -> Markup {
    html! {
        @if !context.related.is_empty() {
            ul.related aria-label="Belongs to" {
                @for (address, relation) in context.related {
                    li {
                        a class=(tone(relation.outcome)) href=(address) {
                            (harmless(&relation.text))
                        }
                    }
                }
            }
        }
    }
}

fn findings(context: &Context<'_>) -> Markup {
    html! {
        @if !context.findings.is_empty() {
            ul.findings aria-label="Findings" {
                @for finding in context.findings {
                    li { b { (finding.code) } " " (harmless(&finding.details())) }
                }
            }
        }
    }
}

/// What a phone would show: the slides, then what is on none of them; of a
/// report or a response what it says.
fn screen(message: &Message<'_>, medium: &Medium<'_>) -> Markup {
    let statuses = view::statuses(message);
    let presentation = message.presentation.as_ref();
    let mut shown: Vec<usize> = presentation.iter().map(|(number, _)| *number).collect();
    let slides: &[Slide] = presentation.map_or(&[], |(_, found)| &found.slides);
    let count = slides.len();
    let slides: Vec<Markup> = slides
        .iter()
        .enumerate()
        .map(|(at, of)| slide(message, of, (at + 1, count), medium, &mut shown))
        .collect();
    let is_shown = |part: &&Part<'_>| part.number.is_some_and(|number| shown.contains(&number));
    let rest: Vec<_> = message.leaves().filter(|part| !is_shown(part)).collect();
    html! {
        @for status in &statuses {
            p class=(format!("status {}", tone(status.outcome))) {
                b { (harmless(&status.value)) } " " (harmless(&status.explanation))
            }
        }
        @if !slides.is_empty() {
            div.slides role="group" aria-label="Slides" tabindex=[(slides.len() > 1).then_some("0")] {
                @for slide in &slides { (slide) }
            }
        }
        @if !rest.is_empty() {
            section.slide.rest aria-label="Content" {
                @if count > 0 { p.tick { "On no slide" } }
                @for part in rest { (medium.markup(part)) }
            }
        } @else if message.parts.is_empty() && statuses.is_empty() {
            p.bare { "Only a header, without content." }
        }
    }
}

fn slide(
    message: &Message<'_>,
    slide: &Slide,
    (number, count): (usize, usize),
    medium: &Medium<'_>,
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
                medium.markup(part)
            }
            None => html! {
                p.missing { bdi { (harmless(&item.src)) } " names no part" }
            },
        })
        .collect();
    html! {
        section.slide aria-label={ "Slide " (number) " of " (count) } {
            @for item in &items { (item) }
            p.tick {
                span { (number) " of " (count) }
                @if let Some(duration) = slide.duration_ms { span { (seconds(duration)) } }
            }
        }
    }
}

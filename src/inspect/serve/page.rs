//! The page itself: the list at the left, the message that its address names at the right.
//!
//! Everything that is chosen is in the address, so a page can be bookmarked and needs no
//! script; the script spares reloads, adds keys, and asks for the list again when a
//! message arrives. Limits: [`ROWS`] messages of a list, [`NEIGHBOURS`] on each side among
//! which the answers of a message are looked for.

use std::io;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::http::{Answer, Request, encoded};
use super::index::{Found, Search};
use super::routes::{cursor, filters, parse_cursor, read, value};
use super::survey::{Counts, Known};
use super::{Shared, routes};
use crate::inspect::check::{self, Duplicates, Profile};
use crate::inspect::commands::filter_of_query;
use crate::inspect::exchange::Exchanges;
use crate::inspect::filter::{Filter, Unreadable};
use crate::inspect::finding::Finding;
use crate::inspect::message::Message;
use crate::inspect::output::page::{
    Context, Kind, Relations, Row, Source, article, day, empty, harmless, has_picture, name_of,
};
use crate::inspect::store::Store;
use crate::mm4::MessageType;

/// Messages of one page of the list.
const ROWS: usize = 50;
/// Messages on each side of one among which those that belong to it are looked for.
const NEIGHBOURS: usize = 500;
/// Messages of one transaction that are read for the finding `duplicate`.
const MAX_DUPLICATES: usize = 50;
/// Accounts that are offered as filters.
const MAX_ACCOUNTS: usize = 8;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Parameters that choose what is shown of what the filters select.
const PLACES: [&str; 4] = ["id", "cursor", "kind", "token"];

/// The page that a request asks for.
pub(super) fn answer(shared: &Shared, request: &Request) -> Answer {
    let query: Vec<_> = request
        .query
        .iter()
        .map(|(name, value)| match name.as_str() {
            // A filter that has no value must not look like a field that is empty.
            "unanswered" if value.is_empty() => (name.clone(), "1".to_owned()),
            _ => (name.clone(), value.clone()),
        })
        .filter(|(name, value)| name != "token" && !value.is_empty())
        .collect();
    let counts = shared.index.counts();
    let filter = filter_of_query(&filters(&query, &PLACES));
    let (list, problem) = match (filter, Store::open(&shared.root)) {
        (Err(text), _) => (None, Some((400, text))),
        (_, Err(error)) => (
            None,
            Some((503, format!("the spool cannot be read: {error}"))),
        ),
        (Ok(filter), Ok(store)) => {
            let store = store.without_search();
            let kind = value(&query, "kind").and_then(parse_kind);
            let search = Search {
                filter: &with_kind(filter, kind),
                kind,
                counts: counts.as_deref(),
            };
            let from = value(&query, "cursor").and_then(parse_cursor);
            let found = shared.index.select(&store, &search, from, ROWS);
            (Some(List::read(&store, found, counts.as_deref())), None)
        }
    };
    let (status, problem) = problem.map_or((200, None), |(status, text)| (status, Some(text)));
    let bar = chips(&query, list.as_ref(), counts.as_deref());
    let markup = page(shared, &query, &bar, list.as_ref(), problem.as_deref());
    Answer::new(status, "text/html; charset=utf-8", markup.into_string())
        .with("Content-Security-Policy", POLICY)
        .with("Cache-Control", "no-store")
}

/// `kind` is one of the three of the page; no message is both of it and of another type.
fn with_kind(mut filter: Filter, kind: Option<Kind>) -> Filter {
    let Some(kind) = kind else {
        return filter;
    };
    let is_of_kind = |given: &MessageType| Kind::of_type(Some(*given)) == kind;
    let types = filter.types.unwrap_or_else(|| MessageType::ALL.to_vec());
    filter.types = Some(types.into_iter().filter(is_of_kind).collect());
    filter
}

fn parse_kind(name: &str) -> Option<Kind> {
    Kind::ALL
        .into_iter()
        .find(|kind| kind.plural().eq_ignore_ascii_case(name))
}

/// The rows of one page of the list.
struct List {
    rows: Vec<(String, String, Row, bool)>,
    accounts: Vec<String>,
    unreadable: Vec<Unreadable>,
    next: Option<String>,
}

impl List {
    fn read(store: &Store, found: Found, counts: Option<&Counts>) -> List {
        let mut list = List {
            rows: Vec::new(),
            accounts: Vec::new(),
            unreadable: found.unreadable,
            next: found.next.as_ref().map(cursor),
        };
        for entry in found.entries {
            let raw = match store.read(&entry) {
                Ok(raw) => raw,
                Err(error) if routes::is_gone(&error) => continue,
                Err(error) => {
                    let id = entry.id.clone();
                    list.unreadable.push(Unreadable { id, error });
                    continue;
                }
            };
            let message = Message::read(&entry, &raw);
            let account = message.account().map(str::to_owned);
            list.accounts
                .extend(account.filter(|name| !list.accounts.contains(name)));
            let findings = check::findings(&message, &Profile::default()).len();
            let is_duplicate = counts.is_some_and(|counts| counts.is_repeated(&entry));
            let row = Row::of(&message, findings + usize::from(is_duplicate));
            list.rows.push((
                entry.id.clone(),
                day(entry.time),
                row,
                has_picture(&message),
            ));
        }
        list.accounts.sort();
        list.accounts.truncate(MAX_ACCOUNTS);
        list
    }
}

/// The address of this page with some parameters replaced; an empty value removes one.
fn link(query: &[(String, String)], changes: &[(&str, &str)]) -> String {
    let kept = query
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let kept = kept.filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    let pairs = kept
        .chain(changes.iter().copied())
        .filter(|(_, value)| !value.is_empty());
    let pairs: Vec<String> = pairs
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
        .collect();
    match pairs.is_empty() {
        true => "/".to_owned(),
        false => format!("/?{}", pairs.join("&")),
    }
}

fn page(
    shared: &Shared,
    query: &[(String, String)],
    chips: &Markup,
    list: Option<&List>,
    problem: Option<&str>,
) -> Markup {
    let chosen = value(query, "id");
    let title = harmless(&shared.title);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) ": MM4 messages" }
                link rel="stylesheet" href="/style.css";
                script src="/script.js" defer {}
            }
            body {
                header.bar {
                    h1 { a href="/" dir="auto" title=(title) { (name_of(&title)) } }
                    (search(query))
                    nav.chips #filters aria-label="Filters" { (chips) }
                    p.made role="status" #status { (shared.index.len()) " messages" }
                    button.help type="button" #help-button aria-label="Keys" hidden { "?" }
                }
                main class=(if chosen.is_some() { "live chosen" } else { "live" }) {
                    nav.list #list aria-label="Messages" tabindex="-1" {
                        @if let Some(text) = problem { p.problem role="alert" { (harmless(text)) } }
                        @if let Some(list) = list { (rows(shared, query, list, chosen)) }
                    }
                    div.pane #pane { (pane(shared, query, chosen)) }
                }
                (help())
            }
        }
    }
}

fn search(query: &[(String, String)]) -> Markup {
    html! {
        form.search action="/" method="get" role="search" {
            @for (name, value) in query {
                @if !["grep", "id", "cursor"].contains(&name.as_str()) {
                    input type="hidden" name=(harmless(name)) value=(harmless(value));
                }
            }
            input type="search" name="grep" #search autocomplete="off" aria-label="Search in fields and texts"
                placeholder="Search  /" value=(harmless(value(query, "grep").unwrap_or_default()));
        }
    }
}

/// The filters, with what they select of all messages; without it where another filter
/// or a search is in force too.
fn chips(query: &[(String, String)], list: Option<&List>, counts: Option<&Counts>) -> Markup {
    let kind = value(query, "kind").and_then(parse_kind);
    let with_findings = value(query, "has") == Some("findings");
    let account = value(query, "account");
    let accounts: Vec<&str> = match (account, counts, list) {
        (_, Some(counts), _) => {
            let mut accounts = counts.biggest_accounts(MAX_ACCOUNTS);
            accounts.extend(account.filter(|one| !accounts.contains(one)));
            accounts
        }
        (Some(account), ..) => vec![account],
        (_, _, Some(list)) => list.accounts.iter().map(String::as_str).collect(),
        (None, None, None) => Vec::new(),
    };
    let known = ["kind", "has", "account", "id", "cursor"];
    let is_known = |(name, value): &(String, String)| {
        known.contains(&name.as_str()) && (name != "has" || value == "findings")
    };
    let counts = counts.filter(|_| query.iter().all(is_known));
    let count = |of: &dyn Fn(&Counts) -> usize| counts.map(of);
    let all = kind.is_none() && !with_findings;
    html! {
        (chip(query, &[("kind", ""), ("has", "")], "All", count(&|counts| counts.all), all))
        @for one in Kind::ALL {
            @let name = one.plural().to_ascii_lowercase();
            @let changes = [("kind", name.as_str()), ("has", "")];
            (chip(query, &changes, one.plural(), count(&|counts| counts.of_kind(one)), kind == Some(one)))
        }
        @let findings = count(&|counts| counts.with_findings);
        (chip(query, &[("kind", ""), ("has", "findings")], "With findings", findings, with_findings))
        @if account.is_some() || accounts.len() > 1 {
            span.gap {}
            @for one in accounts {
                @let is_chosen = account == Some(one);
                @let changes = [("account", if is_chosen { "" } else { one })];
                (chip(query, &changes, one, count(&|counts| counts.of_account(one)), is_chosen))
            }
        }
    }
}

fn chip(
    query: &[(String, String)],
    changes: &[(&str, &str)],
    label: &str,
    count: Option<usize>,
    is_chosen: bool,
) -> Markup {
    let changes: Vec<_> = changes
        .iter()
        .copied()
        .chain([("cursor", ""), ("id", "")])
        .collect();
    html! {
        a href=(link(query, &changes)) aria-current=[is_chosen.then_some("true")] {
            bdi { (harmless(label)) }
            @if let Some(count) = count { " " small { (count) } }
        }
    }
}

fn rows(shared: &Shared, query: &[(String, String)], list: &List, chosen: Option<&str>) -> Markup {
    let mut days: Vec<(&str, Vec<Markup>)> = Vec::new();
    for (id, day, row, has_picture) in &list.rows {
        let picture = has_picture.then(|| format!("/api/messages/{}/thumbnail", encoded(id)));
        let is_chosen = chosen == Some(id);
        let markup = html! {
            a.row href=(link(query, &[("id", id)])) data-id=(harmless(id)) aria-current=[is_chosen.then_some("true")] {
                (row.markup(picture.as_deref()))
            }
        };
        match days.last_mut() {
            Some((known, rows)) if *known == day => rows.push(markup),
            _ => days.push((day, vec![markup])),
        }
    }
    html! {
        @if let Some(Unreadable { id, error }) = list.unreadable.first() {
            @let more = list.unreadable.len() - 1;
            p.problem role="alert" {
                "The message " (harmless(id))
                @if more > 0 { " and " (more) " more" }
                " cannot be read: " (harmless(&error.to_string()))
            }
        }
        @if list.rows.is_empty() && list.next.is_none() && list.unreadable.is_empty() { (empty(shared.index.len())) }
        @for (day, rows) in &days {
            section.day { h2 { (day) } @for row in rows { (row) } }
        }
        @if let Some(next) = &list.next {
            a.older href=(link(query, &[("cursor", next), ("id", "")])) {
                @if list.rows.len() < ROWS { "Search older messages" } @else { "Older messages" }
            }
        }
    }
}

/// The message that is chosen, or how to choose one.
fn pane(shared: &Shared, query: &[(String, String)], chosen: Option<&str>) -> Markup {
    let Some(id) = chosen else {
        return html! {
            section.overview aria-label="Overview" {
                p.big { "Select a message" }
                p { "New messages appear by themselves. " kbd { "j" } " and " kbd { "k" } " go through the list, "
                    kbd { "Enter" } " opens, " kbd { "/" } " searches, " kbd { "?" } " shows all keys." }
            }
        };
    };
    let (store, entry, raw) = match read(shared, id) {
        Ok(read) => read,
        Err(error) => return not_opened(&error),
    };
    let message = Message::read(&entry, &raw);
    html! {
        a.back href=(link(query, &[("id", "")])) { "‹ All messages" }
        (opened(shared, query, &store, &entry, &message))
    }
}

/// Why a message is not shown.
fn not_opened(error: &io::Error) -> Markup {
    html! {
        section.overview aria-label="Overview" {
            @if routes::is_gone(error) {
                p.big { "There is no such message" }
                p { "It was deleted, or the address is wrong." }
            } @else {
                p.big { "The message cannot be read" }
                p { (harmless(&error.to_string())) }
            }
        }
    }
}

fn opened(
    shared: &Shared,
    query: &[(String, String)],
    store: &Store,
    entry: &Known,
    message: &Message<'_>,
) -> Markup {
    let around = shared.index.around(entry, NEIGHBOURS);
    let exchanges = Exchanges::read_about(store, &around, message);
    let relations = Relations::of(&exchanges);
    let related: Vec<_> = relations
        .of_message(&entry.id)
        .iter()
        .map(|relation| (link(query, &[("id", relation.id)]), relation))
        .collect();
    let mut findings = check::findings(message, &Profile::default());
    findings.extend(duplicate(shared, store, entry, message));
    let address = format!("/api/messages/{}", encoded(&entry.id));
    let context = Context {
        source: Source::Served(&address),
        findings: &findings,
        related: &related,
    };
    html! {
        (article(message, &context, "message"))
        p.raw {
            a href={ (address) "/raw" } { "The whole mail" } " "
            a href=(address) { "as JSON" }
        }
    }
}

/// The finding for a message whose transaction another one has.
fn duplicate(
    shared: &Shared,
    store: &Store,
    known: &Known,
    message: &Message<'_>,
) -> Option<Finding> {
    let mut duplicates = Duplicates::default();
    for other in shared.index.same_transaction(known, MAX_DUPLICATES) {
        if let Ok(raw) = store.read_header(&other) {
            duplicates.note(&Message::read_header(&other, &raw));
        }
    }
    duplicates.finding(message)
}

fn help() -> Markup {
    let keys = [
        ("j", "next message"),
        ("k", "message before"),
        ("Enter", "open it"),
        ("/", "search"),
        ("Esc", "back to the list"),
        ("?", "these keys"),
    ];
    html! {
        dialog #help aria-label="Keys" {
            h2 { "Keys" }
            dl { @for (key, what) in keys { div { dt { kbd { (key) } } dd { (what) } } } }
            p { "The address takes every filter of mm4spool list, such as "
                code { "?from=972500000001&since=2h" } "." }
            form method="dialog" { button { "Close" } }
        }
        (PreEscaped("\n"))
    }
}

//! What each address answers.

use std::io::{self, ErrorKind, Write};

use jiff::Timestamp;

use super::http::{Answer, Body, Request, encoded};
use super::index::{Found, Key, Search};
use super::range::ranged;
use super::survey::Known;
use super::{Shared, page};
use crate::inspect::commands::filter_of_query;
use crate::inspect::message::Message;
use crate::inspect::output::files::safe_name;
use crate::inspect::output::json;
use crate::inspect::output::page::{STYLE, browser_type, thumbnail};
use crate::inspect::store::{Entry, RawMessage, Store};

/// Messages in one answer, unless `limit` says less or more.
const DEFAULT_LIMIT: usize = 50;
/// Messages in one answer at most.
const MAX_LIMIT: usize = 500;
/// Bytes of JSON in one answer, after which no further message is put in.
const MAX_JSON: usize = 8 * 1024 * 1024;

/// Bytes of the JSON object of one message; a hostile mail may have control characters
/// alone, which JSON makes six times as long.
const MAX_OBJECT: usize = 24 * 1024 * 1024;

const SCRIPT: &str = include_str!("script.js");
const LIVE_STYLE: &str = include_str!("live.css");

/// The answer to a request that may be answered.
pub(super) fn answer(shared: &Shared, request: &Request) -> Answer {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    match path.as_slice() {
        [] => page::answer(shared, request),
        ["style.css"] => Answer::new(
            200,
            "text/css; charset=utf-8",
            format!("{STYLE}{LIVE_STYLE}"),
        )
        .with("Cache-Control", "no-cache"),
        ["script.js"] => Answer::new(200, "text/javascript; charset=utf-8", SCRIPT)
            .with("Cache-Control", "no-cache"),
        ["favicon.ico"] => Answer::new(204, "image/x-icon", ""),
        ["healthz"] => health(shared),
        ["api", "messages"] => messages(shared, request),
        ["api", "messages", id] => message(shared, id),
        ["api", "messages", id, "raw"] => ranged_or_missing(raw(shared, id), request),
        ["api", "messages", id, "thumbnail"] => small_picture(shared, id),
        ["api", "messages", id, "parts", number] => match number.parse() {
            Ok(number) => ranged_or_missing(part(shared, id, number), request),
            Err(_) => missing(),
        },
        _ => missing(),
    }
}

fn ranged_or_missing(answer: Answer, request: &Request) -> Answer {
    ranged(answer, request).unwrap_or_else(|_| missing())
}

fn missing() -> Answer {
    Answer::text(404, "there is no such message, part or page")
}

/// Where JSON is expected, errors are JSON.
fn error(status: u16, text: &str) -> Answer {
    let body = serde_json::json!({ "error": text }).to_string();
    Answer::new(status, "application/json", body + "\n")
}

fn health(shared: &Shared) -> Answer {
    let is_read = Store::open(&shared.root).is_ok_and(|store| {
        let directories = store.directories();
        !directories.is_empty() && directories.iter().all(|path| path.read_dir().is_ok())
    });
    match is_read && !shared.index.is_broken() {
        true => Answer::text(200, "ok"),
        false => Answer::text(503, "the spool cannot be read"),
    }
}

/// The parameters that are filters.
pub(super) fn filters(query: &[(String, String)], others: &[&str]) -> Vec<(String, String)> {
    let is_filter = |(name, _): &&(String, String)| !others.contains(&name.as_str());
    query.iter().filter(is_filter).cloned().collect()
}

/// The value of a parameter.
pub(super) fn value<'q>(query: &'q [(String, String)], name: &str) -> Option<&'q str> {
    let found = query.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_str())
}

fn messages(shared: &Shared, request: &Request) -> Answer {
    let limit = match value(&request.query, "limit").map(str::parse) {
        None => DEFAULT_LIMIT,
        Some(Ok(limit @ 1..=MAX_LIMIT)) => limit,
        Some(_) => return error(400, "invalid limit: expected a number from 1 to 500"),
    };
    let cursor = match value(&request.query, "cursor").map(parse_cursor) {
        None => None,
        Some(Some(cursor)) => Some(cursor),
        Some(None) => {
            return error(
                400,
                "invalid cursor: expected what `next` was in the answer before",
            );
        }
    };
    let filter = match filter_of_query(&filters(&request.query, &["limit", "cursor", "token"])) {
        Ok(filter) => filter,
        Err(text) => return error(400, &text),
    };
    let Ok(store) = Store::open(&shared.root).map(Store::without_search) else {
        return error(503, "the spool cannot be read");
    };
    let counts = shared.index.counts();
    let search = Search {
        filter: &filter,
        kind: None,
        counts: counts.as_deref(),
    };
    let found = shared.index.select(&store, &search, cursor, limit);
    let body = write_messages(&store, found);
    Answer::new(200, "application/json", body).with("Cache-Control", "no-store")
}

fn write_messages(store: &Store, found: Found) -> Vec<u8> {
    let mut body = b"{\"messages\":[".to_vec();
    let mut next = found.next;
    let mut is_first = true;
    for (at, entry) in found.entries.iter().enumerate() {
        if body.len() > MAX_JSON {
            next = found
                .entries
                .get(at - 1)
                .map(|entry| (entry.time, entry.id.clone()));
            break;
        }
        let Ok(raw) = store.read(entry) else { continue };
        let Some(object) = object(entry, &raw) else {
            continue;
        };
        if !is_first {
            body.push(b',');
        }
        is_first = false;
        body.extend_from_slice(&object);
    }
    let next = next.map(|key| cursor(&key));
    body.extend_from_slice(b"],\"next\":");
    body.extend_from_slice(serde_json::json!(next).to_string().as_bytes());
    body.extend_from_slice(b"}\n");
    body
}

/// A place in the order of the spool as text: nanoseconds, and the id.
pub(super) fn cursor((time, id): &Key) -> String {
    match time {
        Some(time) => format!("{}~{id}", time.as_nanosecond()),
        None => format!("~{id}"),
    }
}

/// The place that a cursor names.
pub(super) fn parse_cursor(text: &str) -> Option<Key> {
    let (time, id) = text.split_once('~')?;
    let time = match time {
        "" => None,
        time => Some(Timestamp::from_nanosecond(time.parse().ok()?).ok()?),
    };
    Some((time, id.to_owned()))
}

/// The message of that id.
pub(super) fn read(
    shared: &Shared,
    id: &str,
) -> io::Result<(Store, std::sync::Arc<Known>, RawMessage)> {
    let entry = shared.index.get(id).ok_or(ErrorKind::NotFound)?;
    let store = Store::open(&shared.root)?;
    let raw = store.read(&entry)?;
    Ok((store.without_search(), entry, raw))
}

/// The answer where a message was not read.
fn unread(problem: &io::Error) -> Answer {
    match is_gone(problem) {
        true => error(404, "there is no message of that id"),
        false => error(503, &format!("the message cannot be read: {problem}")),
    }
}

fn message(shared: &Shared, id: &str) -> Answer {
    let (entry, raw) = match read(shared, id) {
        Ok((_, entry, raw)) => (entry, raw),
        Err(problem) => return unread(&problem),
    };
    let Some(body) = object(&entry, &raw) else {
        return error(
            503,
            "the object of this message is too big; /raw has its file",
        );
    };
    Answer::new(200, "application/json", body).with("Cache-Control", "no-store")
}

/// The JSON object of a message and a line end; `None` if it is too big.
pub(super) fn object(entry: &Entry, raw: &RawMessage) -> Option<Vec<u8>> {
    let mut object = Bounded(Vec::new());
    json::write(&Message::read(entry, raw), &mut object).ok()?;
    Some(object.0)
}

/// At most [`MAX_OBJECT`] bytes.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OBJECT {
            return Err(io::Error::other("the object is too big"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn raw(shared: &Shared, id: &str) -> Answer {
    let opened = || {
        let entry = shared.index.get(id).ok_or(ErrorKind::NotFound)?;
        let (_, file) = Store::open(&shared.root)?.open_file(&entry)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    };
    let (file, length) = match opened() {
        Ok(opened) => opened,
        Err(problem) => return unread(&problem),
    };
    let answer = Answer {
        status: 200,
        fields: vec![("Content-Type", "message/rfc822".to_owned())],
        body: Body::File(file, length),
    };
    answer.with(
        "Content-Disposition",
        disposition("attachment", &format!("{id}.eml")),
    )
}

/// A decoded part: shown by the browser where it is a picture, sound or video by a kind
/// that holds nothing active, saved otherwise.
fn part(shared: &Shared, id: &str, number: usize) -> Answer {
    let (entry, raw) = match read(shared, id) {
        Ok((_, entry, raw)) => (entry, raw),
        Err(problem) => return unread(&problem),
    };
    let message = Message::read(&entry, &raw);
    let Some(part) = message.leaf(number) else {
        return error(404, "the message has no part of that number");
    };
    let bytes = part.decode().bytes;
    let media_type = browser_type(part, &bytes);
    let how = if media_type.is_some() {
        "inline"
    } else {
        "attachment"
    };
    let name = safe_name(part);
    Answer::new(200, media_type.unwrap_or("application/octet-stream"), bytes)
        .with("Content-Disposition", disposition(how, &name))
        .with("Cache-Control", "private, max-age=3600")
}

/// RFC 6266: the name twice, at first for clients that read plain names alone.
fn disposition(how: &str, name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|letter| match letter {
            '"' | '\\' => '_',
            ' '..='~' => letter,
            _ => '_',
        })
        .collect();
    // RFC 8187 3.2.1: some letters that may be in a path may not be here.
    let encoded = encoded(name).replace('@', "%40").replace(':', "%3A");
    format!("{how}; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

fn small_picture(shared: &Shared, id: &str) -> Answer {
    let made = read(shared, id)
        .ok()
        .and_then(|(_, entry, raw)| thumbnail(&Message::read(&entry, &raw)));
    match made {
        Some(jpeg) => {
            Answer::new(200, "image/jpeg", jpeg).with("Cache-Control", "private, max-age=86400")
        }
        None => Answer::text(404, "the message has no picture"),
    }
}

/// Whether an error means that the message was deleted.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let time = Some(Timestamp::from_nanosecond(1_643_149_064_000_001_000).unwrap());
        for key in [(time, "a~b".to_owned()), (None, "x".to_owned())] {
            assert_eq!(parse_cursor(&cursor(&key)), Some(key));
        }
        for wrong in ["", "x", "x~y", "99999999999999999999999999999999999~y"] {
            assert_eq!(parse_cursor(wrong), None, "{wrong}");
        }
    }
}

//! The table of messages, newest last.
//!
//! Names alone decide which messages are shown, unless they are asked for by
//! account or type: then header blocks are read back from the newest until
//! enough are found. Only the messages that are shown are read whole. Limits:
//! [`DEFAULT_LAST`] messages unless told otherwise. A message that cannot be read
//! is named among the errors, and the rest is shown.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, ErrorKind, Write};

use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};

use super::json;
use super::maildir::{self, Entry, Spool};
use super::message::Message;
use super::terminal::{self, Terminal, Tone};
use crate::mm4::{Address, MessageType};

/// Messages shown unless `--last` says otherwise.
pub const DEFAULT_LAST: usize = 20;

/// Which messages to show.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only those that this account sent.
    pub account: Option<String>,
    /// Only those of one of these types.
    pub types: Option<Vec<MessageType>>,
    /// Only those that came then or later.
    pub since: Option<Timestamp>,
    /// The last so many of them.
    pub last: usize,
}

/// A message that could not be read, and why.
pub type Unreadable = (String, io::Error);

impl Filter {
    fn needs_header(&self) -> bool {
        self.account.is_some() || self.types.is_some()
    }

    fn takes(&self, message: &Message<'_>) -> bool {
        let account = self.account.as_deref();
        let types = self.types.as_deref();
        account.is_none_or(|account| message.account() == Some(account))
            && types.is_none_or(|types| message.kind().is_some_and(|kind| types.contains(&kind)))
    }
}

/// The message types that a word means: one of the six, `REQ` or `RES` for
/// three of them, or `forward`, `delivery_report`, `read_reply_report` for two;
/// in any case, with or without `MM4_`.
pub fn types(word: &str) -> Option<Vec<MessageType>> {
    let word = word.trim().to_ascii_lowercase();
    let word = word.strip_prefix("mm4_").unwrap_or(&word);
    let found: Vec<_> = MessageType::ALL
        .into_iter()
        .filter(|kind| {
            let name = kind.name().to_ascii_lowercase();
            let name = name.strip_prefix("mm4_").unwrap_or(&name);
            let (stem, ending) = name.split_once('.').unwrap_or((name, ""));
            word == name
                || word == stem
                || word == ending
                || word == kind.short_name().to_ascii_lowercase()
        })
        .collect();
    (!found.is_empty()).then_some(found)
}

/// The time that a word means: RFC 3339, a date (its first moment in UTC) or an
/// age such as `90s`, `10m`, `2h`, `3d`, `1w` before `now`.
pub fn since(word: &str, now: Timestamp) -> Option<Timestamp> {
    let word = word.trim();
    if let Ok(time) = word.parse::<Timestamp>() {
        return Some(time);
    }
    if let Ok(date) = word.parse::<civil::Date>() {
        return Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp());
    }
    let (at, unit) = word.char_indices().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return None,
    };
    let count: u32 = word.get(..at)?.parse().ok()?;
    let age = SignedDuration::from_secs(i64::from(count) * seconds);
    now.checked_sub(age).ok()
}

/// The messages that the filter takes, oldest first, and those that could not
/// be read when their header block was wanted.
pub fn select<'a>(
    spool: &Spool,
    entries: &'a [Entry],
    filter: &Filter,
) -> (Vec<&'a Entry>, Vec<Unreadable>) {
    let mut taken = Vec::new();
    let mut unreadable = Vec::new();
    for entry in entries.iter().rev() {
        if taken.len() >= filter.last {
            break;
        }
        if let (Some(since), Some(time)) = (filter.since, entry.time) {
            // Older ones follow, and nothing else.
            if time < since {
                break;
            }
        }
        if !filter.needs_header() {
            taken.push(entry);
            continue;
        }
        match spool.read_header(entry) {
            Ok(file) if filter.takes(&Message::read_header(entry, &file)) => taken.push(entry),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => unreadable.push((entry.id.clone(), error)),
        }
    }
    taken.reverse();
    (taken, unreadable)
}

/// Prints those of `entries` that the filter takes, as a table or as JSON; gives back
/// those that could not be read. A message that is gone by now is none of them.
///
/// # Errors
///
/// When nothing can be written.
pub fn print(
    spool: &Spool,
    entries: &[Entry],
    filter: &Filter,
    as_json: bool,
    terminal: &Terminal,
    out: &mut dyn Write,
) -> io::Result<Vec<Unreadable>> {
    let (taken, mut unreadable) = select(spool, entries, filter);
    let mut rows = Vec::new();
    for entry in &taken {
        let file = match spool.read(entry) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => {
                unreadable.push((entry.id.clone(), error));
                continue;
            }
        };
        let message = Message::read(entry, &file);
        if as_json {
            writeln!(out, "{}", json::message(&message))?;
        } else {
            rows.push(Row::of(&message));
        }
    }
    if !rows.is_empty() {
        shorten_ids(&mut rows, entries);
        print_table(&rows, terminal, out)?;
    }
    Ok(unreadable)
}

/// What a line says of a message; every text is harmless to a terminal.
#[derive(Clone, Debug, Default)]
pub struct Row {
    time: Option<Timestamp>,
    id: String,
    /// A shorter piece of the id that no other one has.
    piece: Option<String>,
    account: String,
    kind: String,
    route: String,
    subject: String,
    parts: String,
    size: String,
}

impl Row {
    /// The line of a message.
    pub fn of(message: &Message<'_>) -> Row {
        let written = message.header.value("X-Mms-Message-Type");
        let kind = match (message.kind(), written) {
            (Some(kind), _) => kind.short_name().to_owned(),
            (None, Some(written)) => written,
            (None, None) => "-".to_owned(),
        };
        Row {
            time: message.time,
            id: message.id.to_owned(),
            piece: None,
            account: terminal::line(message.account().unwrap_or("-")),
            kind: terminal::line(&terminal::cut(&kind, 24)),
            route: terminal::line(&route(message)),
            subject: terminal::line(&message.header.value("Subject").unwrap_or_default()),
            parts: terminal::line(&message.parts_in_short()),
            size: terminal::octets(message.size),
        }
    }

    /// The line on its own, for [`super::follow`]: the whole id, nothing cut.
    pub fn alone(&self) -> String {
        let mut line = [
            terminal::pad(&time(self.time, true), 19),
            terminal::line(&self.id),
            terminal::pad(&self.account, 8),
            terminal::pad(&self.kind, 12),
            self.route.clone(),
        ]
        .join("  ");
        for (mark, text) in [("“”", &self.subject), ("", &self.parts), ("", &self.size)] {
            if !text.is_empty() {
                let mut marks = mark.chars();
                line.push_str("  ");
                line.extend(marks.next());
                line.push_str(text);
                line.extend(marks.next());
            }
        }
        line
    }
}

/// `+972500000001 → +972500000002 (+1)`.
fn route(message: &Message<'_>) -> String {
    let (from, to) = message.route();
    let from = from.map_or_else(|| "-".to_owned(), |from| from.short());
    let first = to.first().map_or_else(|| "-".to_owned(), Address::short);
    match to.len() {
        0 | 1 => format!("{from} → {first}"),
        several => format!("{from} → {first} (+{})", several - 1),
    }
}

fn time(time: Option<Timestamp>, long: bool) -> String {
    let Some(time) = time else {
        return "-".to_owned();
    };
    let format = if long {
        "%Y-%m-%d %H:%M:%S"
    } else {
        "%m-%d %H:%M"
    };
    time.strftime(format).to_string()
}

/// Cuts the ids to the shortest length at which each of them is the prefix of
/// one id only, in the whole spool. After a burst that is nearly all of it, and
/// where that is too wide the process and the number in it will do.
fn shorten_ids(rows: &mut [Row], entries: &[Entry]) {
    let all: BTreeSet<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
    let needed = rows
        .iter()
        .map(|row| {
            let before = all.range(..row.id.as_str()).next_back();
            let mut after = all.range(row.id.as_str()..);
            let itself = after.next();
            let after = after.next();
            debug_assert_eq!(itself, Some(&row.id.as_str()));
            let shared = [before, after].into_iter().flatten();
            shared
                .map(|other| common_prefix(other, &row.id) + 1)
                .max()
                .unwrap_or(0)
        })
        .max()
        .unwrap_or(0);
    let mut pieces: HashMap<&str, usize> = HashMap::new();
    for piece in entries.iter().filter_map(Entry::piece) {
        *pieces.entry(piece).or_default() += 1;
    }
    for row in rows {
        row.piece = maildir::piece(&row.id)
            .filter(|piece| pieces.get(piece) == Some(&1) && piece.len() < needed)
            .map(terminal::line);
        let short: String = row.id.chars().take(needed.max(SHORTEST_ID)).collect();
        row.id = terminal::line(&short);
    }
}

/// Letters of an id that are always shown: its date.
const SHORTEST_ID: usize = 8;

/// Letters that two texts have in common at their beginning.
fn common_prefix(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count()
}

const HEADINGS: [&str; 8] = [
    "TIME",
    "ID",
    "ACCOUNT",
    "TYPE",
    "FROM → TO",
    "SUBJECT",
    "PARTS",
    "SIZE",
];

const ID: usize = 1;
const ACCOUNT: usize = 2;
const KIND: usize = 3;
const ROUTE: usize = 4;
const SUBJECT: usize = 5;
const PARTS: usize = 6;
const SIZE: usize = 7;

/// How a table too wide is made to fit, step by step: the column, and the
/// least width that it may have.
const STEPS: [(usize, usize); 5] = [
    (SUBJECT, 24),
    (PARTS, 16),
    (SUBJECT, 12),
    (ACCOUNT, 8),
    (PARTS, 8),
];
/// The same when a message has two lines.
const NARROW_STEPS: [(usize, usize); 3] = [(ROUTE, 20), (KIND, 8), (ROUTE, 8)];

/// One line for each message where that fits; else two, of which the second
/// has the account, the parts and the subject.
fn print_table(rows: &[Row], terminal: &Terminal, out: &mut dyn Write) -> io::Result<()> {
    for (long, pieces) in [(true, false), (false, false), (false, true)] {
        let table = columns(rows, long, pieces);
        let mut widths = measure(&table);
        fit(&mut widths, terminal.columns, &STEPS);
        if total(&widths) <= terminal.columns {
            return print_lines(&table, &widths, terminal, out);
        }
    }
    let table = columns(rows, false, true);
    let mut widths = measure(&table);
    for column in [ACCOUNT, SUBJECT, PARTS] {
        if let Some(width) = widths.get_mut(column) {
            *width = 0;
        }
    }
    fit(&mut widths, terminal.columns, &NARROW_STEPS);
    print_lines(&table, &widths, terminal, out)
}

fn print_lines(
    table: &[[String; 8]],
    widths: &[usize],
    terminal: &Terminal,
    out: &mut dyn Write,
) -> io::Result<()> {
    for (at, row) in table.iter().enumerate() {
        let tone = (at == 0).then_some(Tone::Bold);
        print_row(row, widths, tone, terminal, out)?;
        if widths.get(ACCOUNT) != Some(&0) {
            continue;
        }
        let [_, _, account, _, _, subject, parts, _] = row;
        let words: Vec<&str> = [account, parts, subject]
            .into_iter()
            .map(String::as_str)
            .filter(|word| !word.is_empty())
            .collect();
        let line = terminal::cut(&format!("  {}", words.join("  ")), terminal.columns);
        writeln!(out, "{}", terminal.paint(tone.unwrap_or(Tone::Dim), &line))?;
    }
    Ok(())
}

/// Narrows columns until they fit, then gives back what was taken too much.
fn fit(widths: &mut [usize], columns: usize, steps: &[(usize, usize)]) {
    let natural = widths.to_vec();
    for &(column, least) in steps {
        let excess = total(widths).saturating_sub(columns);
        if let Some(width) = widths.get_mut(column) {
            *width = width.saturating_sub(excess).max(least.min(*width));
        }
    }
    for &(column, _) in steps {
        let slack = columns.saturating_sub(total(widths));
        if let (Some(width), Some(natural)) = (widths.get_mut(column), natural.get(column)) {
            *width = width.saturating_add(slack).min(*natural);
        }
    }
}

fn columns(rows: &[Row], long: bool, pieces: bool) -> Vec<[String; 8]> {
    let pieces = pieces && rows.iter().all(|row| row.piece.is_some());
    let mut table = vec![HEADINGS.map(str::to_owned)];
    table.extend(rows.iter().cloned().map(|row| {
        [
            time(row.time, long),
            row.piece.filter(|_| pieces).unwrap_or(row.id),
            row.account,
            row.kind,
            row.route,
            row.subject,
            row.parts,
            row.size,
        ]
    }));
    table
}

fn measure(table: &[[String; 8]]) -> Vec<usize> {
    let mut widths = vec![0; HEADINGS.len()];
    for row in table {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(terminal::width(cell));
        }
    }
    widths
}

/// The columns that are left, with two blanks between them.
fn total(widths: &[usize]) -> usize {
    let shown = widths.iter().filter(|width| **width > 0);
    shown
        .map(|width| width + 2)
        .sum::<usize>()
        .saturating_sub(2)
}

fn print_row(
    row: &[String; 8],
    widths: &[usize],
    tone: Option<Tone>,
    terminal: &Terminal,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut line = String::new();
    for (at, (cell, &width)) in row.iter().zip(widths).enumerate() {
        if width == 0 {
            continue;
        }
        if !line.is_empty() {
            line.push_str("  ");
        }
        let cell = terminal::cut(cell, width);
        let cell = match at {
            // Sizes are compared by eye: their digits stand below each other.
            SIZE => format!("{}{cell}", " ".repeat(width - terminal::width(&cell))),
            _ => terminal::pad(&cell, width),
        };
        let tone = tone.or(match at {
            0 => Some(Tone::Dim),
            ID => Some(Tone::Cyan),
            _ => None,
        });
        line.push_str(&tone.map_or_else(|| cell.clone(), |tone| terminal.paint(tone, &cell)));
    }
    writeln!(out, "{}", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};

    #[test]
    fn words_mean_types() {
        assert_eq!(types("REQ").map(|found| found.len()), Some(3));
        assert_eq!(types("res").map(|found| found.len()), Some(3));
        assert_eq!(types("forward").map(|found| found.len()), Some(2));
        assert_eq!(
            types("MM4_forward.REQ"),
            Some(vec![MessageType::ForwardReq])
        );
        assert_eq!(
            types("delivery.req"),
            Some(vec![MessageType::DeliveryReportReq])
        );
        assert_eq!(types("mms"), None);
        assert_eq!(types(""), None);
    }

    #[test]
    fn words_mean_times() {
        let now: Timestamp = "2022-01-26T12:00:00Z".parse().unwrap();
        let at = |word| since(word, now).map(|time| time.to_string());
        assert_eq!(at("10m").as_deref(), Some("2022-01-26T11:50:00Z"));
        assert_eq!(at("3d").as_deref(), Some("2022-01-23T12:00:00Z"));
        assert_eq!(at("2022-01-25").as_deref(), Some("2022-01-25T00:00:00Z"));
        assert_eq!(
            at("2022-01-25T10:00:00+02:00").as_deref(),
            Some("2022-01-25T08:00:00Z")
        );
        for word in ["", "m", "10", "-3d", "yesterday", "10é", "99999999999d"] {
            assert_eq!(at(word), None, "{word}");
        }
    }

    fn id(number: usize) -> String {
        let (hour, minute, second) = (number / 3600, number / 60 % 60, number % 60);
        format!("20220126T{hour:02}{minute:02}{second:02}.000000Z-7-{number:06}@mm4.example.com")
    }

    /// A spool of so many messages, all but the last of them empty.
    fn big_spool(count: usize, last: &[u8]) -> (tempfile::TempDir, Spool) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("new")).unwrap();
        for number in 0..count {
            let path = dir.path().join(format!("new/{}.eml", id(number)));
            match number + 1 == count {
                true => fs::write(path, last).unwrap(),
                false => drop(File::create(path).unwrap()),
            }
        }
        let spool = Spool::open(dir.path()).unwrap();
        (dir, spool)
    }

    fn listed(spool: &Spool, filter: &Filter) -> Vec<String> {
        let mut out = Vec::new();
        let terminal = Terminal::plain();
        let unreadable = print(
            spool,
            &spool.entries().unwrap(),
            filter,
            false,
            &terminal,
            &mut out,
        )
        .unwrap();
        assert!(unreadable.is_empty());
        let text = String::from_utf8(out).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn of_a_hundred_thousand_messages_only_those_shown_are_opened() {
        let (_dir, spool) = big_spool(80_000, b"Subject: the last\r\n");
        for number in 0..20_000 {
            let name = format!("{}.M{number}P1.host", 1_500_000_000 + number);
            File::create(spool.directories()[0].join(name)).unwrap();
        }
        assert_eq!(spool.entries().unwrap().len(), 100_000);
        let lines = listed(
            &spool,
            &Filter {
                last: 20,
                ..Filter::default()
            },
        );
        assert_eq!(lines.len(), 21);
        assert!(lines[20].contains("the last"), "{}", lines[20]);
        assert_eq!(spool.files_opened(), 20);

        let since = "2022-01-26T22:13:00Z".parse().ok();
        let types = types("RES");
        let lines = listed(
            &spool,
            &Filter {
                last: 20,
                since,
                types,
                ..Filter::default()
            },
        );
        assert!(lines.is_empty());
        // 22:13:00 to 22:13:19: twenty header blocks, none older.
        assert_eq!(spool.files_opened(), 40);
    }

    #[test]
    fn ids_are_shortened_to_what_is_unique_in_the_spool() {
        let (_dir, spool) = big_spool(100, b"");
        let lines = listed(
            &spool,
            &Filter {
                last: 3,
                ..Filter::default()
            },
        );
        let shown = lines[3].split_whitespace().nth(2).unwrap();
        assert_eq!(shown, "20220126T000139");
        assert_eq!(spool.find(shown).unwrap().id, id(99));
    }

    #[test]
    fn a_table_fits_the_terminal_it_is_given() {
        let mail = format!(
            "From: +972500000001/TYPE=PLMN\r\nTo: +972500000002/TYPE=PLMN, b@example.com\r\n\
             X-Mms-Message-Type: MM4_forward.REQ\r\nSubject: {}\r\n\r\nhello",
            "a long subject ".repeat(20)
        );
        let (_dir, spool) = big_spool(2, mail.as_bytes());
        let entries = spool.entries().unwrap();
        let file = spool.read(&entries[1]).unwrap();
        let mut rows = vec![Row::of(&Message::read(&entries[1], &file))];
        shorten_ids(&mut rows, &entries);
        for columns in [60, 70, 80, 100, 120, 200, 500] {
            let mut out = Vec::new();
            print_table(&rows, &Terminal::of_columns(columns), &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            for line in text.lines() {
                assert!(terminal::width(line) <= columns, "{columns}: {line}");
            }
            let id = ["20220126T000001", " 7-000001 "];
            assert!(id.iter().any(|id| text.contains(id)), "{columns}: {text}");
            for wanted in ["+972500000001 → +9725", "text", "a long sub"] {
                assert!(text.contains(wanted) || columns < 70, "{columns}: {text}");
            }
        }
    }

    #[test]
    fn after_a_burst_a_narrow_table_shows_the_piece_that_is_unique() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("new")).unwrap();
        for number in 1..=3 {
            let name = format!("20220126T001743.000001Z-4711-{number:06}@mm4.example.com.eml");
            let mail = "From: +972500000001/TYPE=PLMN\r\nTo: +972500000002/TYPE=PLMN\r\n\r\n";
            fs::write(dir.path().join("new").join(name), mail).unwrap();
        }
        let spool = Spool::open(dir.path()).unwrap();
        let mut out = Vec::new();
        let filter = Filter {
            last: 3,
            ..Filter::default()
        };
        print(
            &spool,
            &spool.entries().unwrap(),
            &filter,
            false,
            &Terminal::of_columns(80),
            &mut out,
        )
        .unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(" 4711-000003 "), "{text}");
        assert!(
            spool
                .find("4711-000003")
                .unwrap()
                .id
                .contains("4711-000003")
        );
    }
}

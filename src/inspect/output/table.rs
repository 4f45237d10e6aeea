//! The table of messages, newest last, as wide as the terminal.
//!
//! A message has one line where that fits, else two. Fails only when nothing can
//! be written.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};

use jiff::Timestamp;

use super::terminal::{self, Terminal, Tone};
use super::view::{self, Route};
use crate::inspect::message::Message;
use crate::inspect::store::Entry;
use crate::spool::id::MessageId;

/// Writes a table of `rows`. `entries` are all messages of the spool: ids are cut
/// to what is unique among them.
///
/// # Errors
///
/// When nothing can be written.
pub fn write(
    mut rows: Vec<Row>,
    entries: &[Entry],
    terminal: &Terminal,
    out: &mut dyn Write,
) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    shorten_ids(&mut rows, entries);
    print_table(&rows, terminal, out)
}

/// The line of a message; every text in it is harmless to a terminal.
#[derive(Clone, Debug, Default)]
pub struct Row {
    time: Option<Timestamp>,
    id: String,
    /// The process and the count in the id, where no other message has them.
    short_id: Option<String>,
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
        Row {
            time: message.time,
            id: message.id.to_owned(),
            short_id: None,
            account: terminal::line(message.account().unwrap_or("-")),
            kind: terminal::line(&view::type_label(message).unwrap_or_else(|| "-".to_owned())),
            route: terminal::line(&Route::of(message).to_string()),
            subject: terminal::line(&message.header.value("Subject").unwrap_or_default()),
            parts: terminal::line(&view::parts_in_short(message)),
            size: view::size(message.size),
        }
    }

    /// The line without a table, for `follow`: the whole id, nothing cut.
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
/// one id only, in the whole spool. After a burst that is nearly all of it; where
/// that is too wide the process and the count in it are shown instead.
fn shorten_ids(rows: &mut [Row], entries: &[Entry]) {
    let needed = unique_length(rows, entries);
    let mut short_ids: HashMap<String, usize> = HashMap::new();
    for short in entries.iter().filter_map(Entry::short_id) {
        *short_ids.entry(short).or_default() += 1;
    }
    for row in rows {
        row.short_id = MessageId::parse(&row.id)
            .map(|id| id.short().to_owned())
            .filter(|short| short_ids.get(short) == Some(&1) && short.len() < needed);
        let short: String = row.id.chars().take(needed.max(SHORTEST_ID)).collect();
        row.id = terminal::line(&short);
    }
}

/// Letters of the ids at which each is the prefix of one id only.
fn unique_length(rows: &[Row], entries: &[Entry]) -> usize {
    let all: BTreeSet<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
    rows.iter()
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
        .unwrap_or(0)
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
    for (long, short_ids) in [(true, false), (false, false), (false, true)] {
        let table = columns(rows, long, short_ids);
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

fn columns(rows: &[Row], long: bool, short_ids: bool) -> Vec<[String; 8]> {
    let short_ids = short_ids && rows.iter().all(|row| row.short_id.is_some());
    let mut table = vec![HEADINGS.map(str::to_owned)];
    table.extend(rows.iter().cloned().map(|row| {
        [
            time(row.time, long),
            row.short_id.filter(|_| short_ids).unwrap_or(row.id),
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
            // Sizes are aligned to the right, to be compared by eye.
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
    use crate::inspect::filter::{Filter, parse_types};
    use crate::inspect::store::Store;
    use std::fs::{self, File};

    fn id(number: usize) -> String {
        let (hour, minute, second) = (number / 3600, number / 60 % 60, number % 60);
        format!("20220126T{hour:02}{minute:02}{second:02}.000000Z-7-{number:06}@mm4.example.com")
    }

    /// A spool of `count` messages, all but the last of them empty.
    fn big_spool(count: usize, last: &[u8]) -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("new")).unwrap();
        for number in 0..count {
            let path = dir.path().join(format!("new/{}.eml", id(number)));
            match number + 1 == count {
                true => fs::write(path, last).unwrap(),
                false => drop(File::create(path).unwrap()),
            }
        }
        let spool = Store::open(dir.path()).unwrap();
        (dir, spool)
    }

    fn listed(spool: &Store, filter: &Filter) -> Vec<String> {
        let entries = spool.entries().unwrap();
        let selection = filter.select(spool, &entries);
        assert!(selection.unreadable.is_empty());
        let rows = selection.entries.iter().map(|entry| {
            let raw = spool.read(entry).unwrap();
            Row::of(&Message::read(entry, &raw))
        });
        let mut out = Vec::new();
        write(rows.collect(), &entries, &Terminal::plain(), &mut out).unwrap();
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
        let types = parse_types("RES");
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
    fn after_a_burst_a_narrow_table_shows_process_and_count() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("new")).unwrap();
        for number in 1..=3 {
            let name = format!("20220126T001743.000001Z-4711-{number:06}@mm4.example.com.eml");
            let mail = "From: +972500000001/TYPE=PLMN\r\nTo: +972500000002/TYPE=PLMN\r\n\r\n";
            fs::write(dir.path().join("new").join(name), mail).unwrap();
        }
        let spool = Store::open(dir.path()).unwrap();
        let entries = spool.entries().unwrap();
        let rows = entries.iter().map(|entry| {
            let raw = spool.read(entry).unwrap();
            Row::of(&Message::read(entry, &raw))
        });
        let mut out = Vec::new();
        let terminal = Terminal::of_columns(80);
        write(rows.collect(), &entries, &terminal, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(" 4711-000003 "), "{text}");
        let found = spool.find("4711-000003").unwrap();
        assert!(found.id.contains("4711-000003"));
    }
}

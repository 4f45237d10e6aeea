//! The table of messages, newest last, as wide as the terminal.
//!
//! From [`ONE_LINE`] columns on a message has one line, below that two. In a pipe the
//! columns are separated by tabs and nothing is cut. Fails only when nothing can be
//! written.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};

pub use super::row::Row;
use super::row::{HEADINGS, time};
use super::terminal::{self, Terminal, Tone};
use crate::inspect::store::{Entry, short_id};
use crate::mm4::status::Outcome;

/// Columns from which on a message has one line.
pub const ONE_LINE: usize = 80;

/// Writes a table of `rows`. `entries` are all messages of the spool: ids are cut
/// to what is unique among them.
///
/// # Errors
///
/// When nothing can be written.
pub fn write(
    rows: Vec<Row>,
    entries: &[Entry],
    terminal: &Terminal,
    out: &mut dyn Write,
) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    match terminal.is_limited() {
        true => print_table(&rows, &Ids::of(&rows, entries), terminal, out),
        false => write_tabs(&rows, terminal, out),
    }
}

fn write_tabs(rows: &[Row], terminal: &Terminal, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", terminal.paint(Tone::Bold, &HEADINGS.join("\t")))?;
    for row in rows {
        let mut cells = row.cells();
        if let (Some(cell), Some(outcome)) = (cells.get_mut(STATUS), row.outcome) {
            *cell = terminal.paint(Tone::of(outcome), cell);
        }
        writeln!(out, "{}", cells.join("\t"))?;
    }
    Ok(())
}

/// The ids of the rows as a table shows them.
struct Ids {
    /// Cut to the shortest length at which each of them is the prefix of one id only, in
    /// the whole spool.
    prefixes: Vec<String>,
    /// The process and the count, where every row has them, no other message of the
    /// spool has the same, and they are shorter: after a burst a prefix is nearly all of an id.
    shorts: Option<Vec<String>>,
}

impl Ids {
    fn of(rows: &[Row], entries: &[Entry]) -> Ids {
        let needed = unique_length(rows, entries).max(SHORTEST_ID);
        let prefix = |row: &Row| {
            let prefix: String = row.id.chars().take(needed).collect();
            terminal::line(&prefix)
        };
        let mut counts: HashMap<&str, usize> = rows
            .iter()
            .filter_map(|row| Some((short_id(&row.id)?, 0)))
            .collect();
        for short in entries.iter().filter_map(Entry::short_id) {
            if let Some(count) = counts.get_mut(short) {
                *count += 1;
            }
        }
        let short = |row: &Row| {
            let short = short_id(&row.id)?;
            let is_best = counts.get(short) == Some(&1) && short.len() < needed;
            is_best.then(|| short.to_owned())
        };
        Ids {
            prefixes: rows.iter().map(prefix).collect(),
            shorts: rows.iter().map(short).collect(),
        }
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

const TIME: usize = 0;
const ID: usize = 1;
const ACCOUNT: usize = 2;
const KIND: usize = 3;
const STATUS: usize = 4;
const ROUTE: usize = 5;
const SUBJECT: usize = 6;
const PARTS: usize = 7;
const FINDINGS: usize = 8;
const SIZE: usize = 9;

/// How a table too wide is made to fit, step by step: the column, and the
/// least width that it may have.
const STEPS: [(usize, usize); 6] = [
    (SUBJECT, 24),
    (PARTS, 16),
    (SUBJECT, 12),
    (STATUS, 12),
    (ACCOUNT, 8),
    (PARTS, 8),
];
/// The same where that is not enough for one line; a column of no width is left out.
const TIGHT_STEPS: [(usize, usize); 20] = [
    (SUBJECT, 24),
    (PARTS, 16),
    (SUBJECT, 12),
    (STATUS, 12),
    (ACCOUNT, 8),
    (PARTS, 8),
    (STATUS, 9),
    (SUBJECT, 10),
    (ROUTE, 22),
    (PARTS, 0),
    (SIZE, 0),
    (ACCOUNT, 6),
    (ROUTE, 15),
    (KIND, 8),
    (STATUS, 8),
    (ROUTE, 12),
    (SUBJECT, 8),
    (SUBJECT, 0),
    (ID, 12),
    (STATUS, 0),
];
/// The same when a message has two lines.
const NARROW_STEPS: [(usize, usize); 9] = [
    (ROUTE, 20),
    (KIND, 8),
    (SIZE, 0),
    (ROUTE, 12),
    (ROUTE, 0),
    (ID, 8),
    (TIME, 5),
    (KIND, 4),
    (TIME, 0),
];

/// A line of the table.
struct Line {
    cells: [String; 10],
    /// How its status is to be taken; `None` for the headings.
    outcome: Option<Outcome>,
}

/// One line for each message where that fits, or where the terminal is wide enough that
/// it must; else two, of which the second has what has no place in the first.
fn print_table(
    rows: &[Row],
    ids: &Ids,
    terminal: &Terminal,
    out: &mut dyn Write,
) -> io::Result<()> {
    for (long, short_ids) in [(true, false), (false, false), (false, true)] {
        let table = lines(rows, ids, long, short_ids);
        let mut widths = measure(&table);
        fit(&mut widths, terminal.columns, &STEPS);
        if total(&widths) <= terminal.columns {
            return print_lines(&table, &widths, terminal, out);
        }
    }
    let table = lines(rows, ids, false, true);
    let mut widths = measure(&table);
    if terminal.columns >= ONE_LINE {
        fit(&mut widths, terminal.columns, &TIGHT_STEPS);
        return print_lines(&table, &widths, terminal, out);
    }
    for column in [ACCOUNT, STATUS, SUBJECT, PARTS] {
        set(&mut widths, column, 0);
    }
    fit(&mut widths, terminal.columns, &NARROW_STEPS);
    print_pairs(&table, &widths, terminal, out)
}

fn lines(rows: &[Row], ids: &Ids, long: bool, short_ids: bool) -> Vec<Line> {
    let shorts = ids.shorts.as_ref().filter(|_| short_ids);
    let ids = shorts.unwrap_or(&ids.prefixes);
    let mut headings = HEADINGS.map(str::to_owned);
    set(&mut headings, FINDINGS, "!".to_owned());
    let mut table = vec![Line {
        cells: headings,
        outcome: None,
    }];
    table.extend(rows.iter().zip(ids).map(|(row, id)| {
        let mut cells = row.cells();
        set(&mut cells, TIME, time(row.time, long));
        set(&mut cells, ID, id.clone());
        if row.findings == 0 {
            set(&mut cells, FINDINGS, String::new());
        }
        Line {
            cells,
            outcome: row.outcome,
        }
    }));
    table
}

fn set<T>(cells: &mut [T], at: usize, value: T) {
    if let Some(cell) = cells.get_mut(at) {
        *cell = value;
    }
}

/// The width of each column; none for a column that is empty but for its heading.
fn measure(table: &[Line]) -> Vec<usize> {
    let mut widths = vec![0; HEADINGS.len()];
    for line in table.iter().skip(1) {
        for (width, cell) in widths.iter_mut().zip(&line.cells) {
            *width = (*width).max(terminal::width(cell));
        }
    }
    let headings = table.first().map(|line| &line.cells);
    for (width, heading) in widths.iter_mut().zip(headings.into_iter().flatten()) {
        if *width > 0 {
            *width = (*width).max(terminal::width(heading));
        }
    }
    widths
}

/// Narrows columns until they fit, then gives back what was taken too much.
fn fit(widths: &mut [usize], columns: usize, steps: &[(usize, usize)]) {
    let natural = widths.to_vec();
    for &(column, least) in steps {
        let excess = total(widths).saturating_sub(columns);
        let Some(width) = widths.get_mut(column) else {
            continue;
        };
        match least {
            0 if excess > 0 => *width = 0,
            _ => *width = width.saturating_sub(excess).max(least.min(*width)),
        }
    }
    for &(column, _) in steps {
        let slack = columns.saturating_sub(total(widths));
        if let (Some(width), Some(natural)) = (widths.get_mut(column), natural.get(column)) {
            if *width > 0 {
                *width = width.saturating_add(slack).min(*natural);
            }
        }
    }
}

/// The columns that are left, with two blanks between them.
fn total(widths: &[usize]) -> usize {
    let shown = widths.iter().filter(|width| **width > 0);
    shown
        .map(|width| width + 2)
        .sum::<usize>()
        .saturating_sub(2)
}

fn print_lines(
    table: &[Line],
    widths: &[usize],
    terminal: &Terminal,
    out: &mut dyn Write,
) -> io::Result<()> {
    let accounts = Accounts::of(table, widths.get(ACCOUNT).copied().unwrap_or(0));
    for (at, line) in table.iter().enumerate() {
        print_line(line, at == 0, widths, &accounts, terminal, out)?;
    }
    Ok(())
}

/// Two lines for each message; the second has what has no column in the first.
fn print_pairs(
    table: &[Line],
    widths: &[usize],
    terminal: &Terminal,
    out: &mut dyn Write,
) -> io::Result<()> {
    let accounts = Accounts::of(table, NARROW_ACCOUNT);
    for (at, line) in table.iter().enumerate() {
        print_line(line, at == 0, widths, &accounts, terminal, out)?;
        let text = second_line(line, widths, &accounts, terminal.columns);
        let tone = match (at, line.outcome) {
            (0, _) => Tone::Bold,
            (_, Some(outcome)) => Tone::of(outcome),
            (_, None) => Tone::Dim,
        };
        writeln!(out, "{}", terminal.paint(tone, &text))?;
    }
    Ok(())
}

/// Columns of a status, a route and an account in the second line where they must be cut.
const NARROW_STATUS: usize = 12;
const NARROW_ROUTE: usize = 12;
const NARROW_ACCOUNT: usize = 10;

/// What has no place in the first line.
fn second_line(line: &Line, widths: &[usize], accounts: &Accounts, columns: usize) -> String {
    let cell = |column: usize| {
        let is_left = widths.get(column) == Some(&0);
        let cell = line.cells.get(column).filter(|_| is_left);
        cell.map_or("", String::as_str)
    };
    let room = columns.saturating_sub(2);
    let [status, route, account] = [STATUS, ROUTE, ACCOUNT].map(cell);
    let mut words = [status, route, account].map(str::to_owned);
    if terminal::width(&joined(&words)) > room {
        let status = terminal::cut(status, NARROW_STATUS);
        let account = accounts.shown(account);
        let others = joined(&[status.clone(), account.clone()]);
        let left = room.saturating_sub(terminal::width(&others) + 2);
        let route = cut_route(route, left.max(NARROW_ROUTE));
        words = [status, route, account];
    }
    let rest = [PARTS, SUBJECT].map(|column| cell(column).to_owned());
    let text = joined(&[words.as_slice(), rest.as_slice()].concat());
    terminal::cut(&format!("  {text}"), columns)
}

/// The words that are not empty, with two blanks between them.
fn joined(words: &[String]) -> String {
    let words = words.iter().filter(|word| !word.is_empty());
    words.cloned().collect::<Vec<_>>().join("  ")
}

fn print_line(
    line: &Line,
    is_heading: bool,
    widths: &[usize],
    accounts: &Accounts,
    terminal: &Terminal,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut text = String::new();
    for (at, (cell, &width)) in line.cells.iter().zip(widths).enumerate() {
        if width == 0 {
            continue;
        }
        if !text.is_empty() {
            text.push_str("  ");
        }
        let cell = match at {
            ACCOUNT if !is_heading => accounts.shown(cell),
            ROUTE => cut_route(cell, width),
            KIND => cut_kind(cell, width),
            _ => terminal::cut(cell, width),
        };
        let cell = match at {
            // Numbers are aligned to the right, to be compared by eye.
            SIZE | FINDINGS => {
                let blanks = width.saturating_sub(terminal::width(&cell));
                format!("{}{cell}", " ".repeat(blanks))
            }
            _ => terminal::pad(&cell, width),
        };
        let tone = match at {
            _ if is_heading => Some(Tone::Bold),
            TIME => Some(Tone::Dim),
            ID => Some(Tone::Cyan),
            STATUS => line.outcome.map(Tone::of),
            FINDINGS => Some(Tone::Red),
            _ => None,
        };
        text.push_str(&tone.map_or_else(|| cell.clone(), |tone| terminal.paint(tone, &cell)));
    }
    writeln!(out, "{}", text.trim_end())
}

/// `fwd.REQ`: a REQ and a RES must not be cut to the same letters.
fn cut_kind(kind: &str, columns: usize) -> String {
    if terminal::width(kind) <= columns {
        return kind.to_owned();
    }
    let short = kind
        .replace("forward.", "fwd.")
        .replace("delivery.", "dlv.");
    terminal::cut(&short, columns)
}

/// `…0001 → …0002`: what is different in two numbers is at their ends.
fn cut_route(route: &str, columns: usize) -> String {
    const ARROW: &str = " → ";
    let is_number = |text: &str| {
        let digits = text.trim_start_matches('+').chars().next();
        digits.is_some_and(|letter| letter.is_ascii_digit())
    };
    let Some((from, to)) = route.split_once(ARROW) else {
        return terminal::cut(route, columns);
    };
    let Some(left) = columns
        .checked_sub(terminal::width(ARROW))
        .filter(|left| *left > 3)
    else {
        return terminal::cut(route, columns);
    };
    if terminal::width(route) <= columns {
        return route.to_owned();
    }
    let half = (left / 2).max(left.saturating_sub(terminal::width(to)));
    let from = cut_at(from, half, is_number(from));
    let left = left - terminal::width(&from);
    let (to, more) = to.split_at(to.find(" (+").unwrap_or(to.len()));
    // Where there is room for a number beside how many more there are.
    let more = if left >= more.len() + 6 { more } else { "" };
    let to = cut_at(to, left - more.len(), is_number(to));
    format!("{from}{ARROW}{to}{more}")
}

/// Accounts cut to a width at which they can still be told apart, where that is possible.
struct Accounts {
    width: usize,
    shown: Piece,
}

/// Which piece of an account is shown.
#[derive(Clone, Copy)]
enum Piece {
    Begin,
    End,
    /// What follows as many letters, which all accounts have in common.
    After(usize),
}

impl Piece {
    fn of(self, account: &str, columns: usize) -> String {
        match self {
            Piece::After(letters) if terminal::width(account) > columns => {
                let rest: String = account.chars().skip(letters).collect();
                terminal::cut(&format!("…{rest}"), columns)
            }
            Piece::End => terminal::cut_begin(account, columns),
            Piece::Begin | Piece::After(_) => terminal::cut(account, columns),
        }
    }
}

impl Accounts {
    fn of(table: &[Line], width: usize) -> Accounts {
        let accounts = table
            .iter()
            .skip(1)
            .filter_map(|line| line.cells.get(ACCOUNT));
        let accounts: BTreeSet<&String> = accounts.collect();
        // Of ordered texts, what the first and the last have in common all have.
        let ends = accounts.first().zip(accounts.last());
        let common = ends.map_or(0, |(first, last)| common_prefix(first, last));
        let different = |piece: &Piece| {
            let accounts = accounts.iter();
            let shown = accounts.map(|account| piece.of(account, width));
            shown.collect::<BTreeSet<String>>().len()
        };
        // The last of those that are equal is taken.
        let pieces = [Piece::After(common), Piece::End, Piece::Begin];
        let shown = pieces.into_iter().max_by_key(different);
        Accounts {
            width,
            shown: shown.unwrap_or(Piece::Begin),
        }
    }

    fn shown(&self, account: &str) -> String {
        self.shown.of(account, self.width)
    }
}

/// A text cut to a number of columns at its end or at its beginning.
fn cut_at(text: &str, columns: usize, is_end_shown: bool) -> String {
    match is_end_shown {
        true => terminal::cut_begin(text, columns),
        false => terminal::cut(text, columns),
    }
}

#[cfg(test)]
mod tests;

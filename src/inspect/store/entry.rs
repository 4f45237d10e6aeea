//! A message by the name of its file, and its place in the order of time.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{FIRST_READ, open_regular};
use crate::inspect::mime::header::Header;
use crate::mm4::{self, is_digits};
use crate::spool::id::MessageId;

/// One message, by name; nothing of it has been read.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The file's name without `.eml` and without Maildir's `:2,…`.
    pub id: String,
    /// When it was received, by its name; else the Date of an `.eml` file, else the
    /// file's modification time.
    pub time: Option<Timestamp>,
    /// Where it was seen.
    pub path: PathBuf,
}

impl Entry {
    /// The entry of a file at `path`.
    pub fn at(path: &Path) -> Entry {
        let name: OsString = path.file_name().unwrap_or(path.as_os_str()).to_owned();
        let name = name.to_string_lossy();
        let id = id_of(&name);
        Entry {
            time: time_of(id)
                .or_else(|| written_date(path, &name))
                .or_else(|| modified(path)),
            id: id.to_owned(),
            path: path.to_owned(),
        }
    }

    /// The process and the count in an id of mm4d, `P-N`: shorter than the prefix
    /// that identifies one message of a burst.
    pub(crate) fn short_id(&self) -> Option<&str> {
        short_id(&self.id)
    }
}

/// `P-N` in `YYYYMMDDTHHMMSS.uuuuuuZ-P-N@NAME`.
pub(crate) fn short_id(id: &str) -> Option<&str> {
    let (time, rest) = id.split_once("Z-")?;
    let (short, _) = rest.split_once('@')?;
    let (process, count) = short.split_once('-')?;
    let is_id = time.len() == "YYYYMMDDTHHMMSS.uuuuuu".len() && is_digits(process);
    (is_id && is_digits(count)).then_some(short)
}

/// The `Date` of an `.eml` file whose name says no time.
fn written_date(path: &Path, name: &str) -> Option<Timestamp> {
    if !name.ends_with(".eml") {
        return None;
    }
    let mut begin = Vec::new();
    let file = open_regular(path).ok()?;
    file.take(FIRST_READ).read_to_end(&mut begin).ok()?;
    mm4::date(&Header::parse(&begin).value("Date")?)
}

fn modified(path: &Path) -> Option<Timestamp> {
    let modified = fs::metadata(path).ok()?.modified().ok()?;
    Timestamp::try_from(modified).ok()
}

/// A file's name without Maildir's flags and without `.eml`.
pub(crate) fn id_of(name: &str) -> &str {
    let name = name.rsplit_once(":2,").map_or(name, |(name, _)| name);
    name.strip_suffix(".eml").unwrap_or(name)
}

fn time_of(id: &str) -> Option<Timestamp> {
    match MessageId::parse(id) {
        Some(id) => Some(id.time()),
        None => maildir_time(id),
    }
}

/// `1643149063.M123456P42.host`: seconds, and microseconds where they are given.
fn maildir_time(name: &str) -> Option<Timestamp> {
    let (seconds, rest) = name.split_once('.')?;
    if !(9..=11).contains(&seconds.len()) || !is_digits(seconds) {
        return None;
    }
    let micros: String = rest
        .strip_prefix('M')
        .unwrap_or_default()
        .chars()
        .take_while(char::is_ascii_digit)
        .take(6)
        .collect();
    let micros: i32 = micros.parse().unwrap_or(0);
    Timestamp::new(seconds.parse().ok()?, micros * 1000).ok()
}

//! Which message an id, or a piece of one, names.

use std::io;
use std::path::Path;

use super::{Entry, Store, id_of};

/// Candidates named when an id is ambiguous.
const CANDIDATES: usize = 5;

/// Why an id does not identify one message.
#[derive(Debug)]
pub enum FindError {
    /// None matches.
    None(String),
    /// Several match; the ids of a few of them, and how many in all.
    Several(String, Vec<String>, usize),
    /// The directory cannot be read.
    Io(io::Error),
}

impl std::fmt::Display for FindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FindError::None(wanted) => write!(
                f,
                "no message matches ID '{wanted}'; `mm4spool list` shows the IDs"
            ),
            FindError::Several(wanted, some, all) => {
                write!(f, "ambiguous ID '{wanted}': it matches {all} messages: ")?;
                f.write_str(&some.join(" "))?;
                f.write_str(if *all > some.len() { " …" } else { "" })
            }
            FindError::Io(error) => write!(f, "cannot read the directory: {error}"),
        }
    }
}

impl std::error::Error for FindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FindError::Io(error) => Some(error),
            FindError::None(_) | FindError::Several(..) => None,
        }
    }
}

impl Store {
    /// The message that `wanted` names: a path to a file, an id, a prefix that
    /// only one id has, or a part that occurs in one id only.
    ///
    /// # Errors
    ///
    /// When none or several match, or the spool cannot be read.
    pub fn find(&self, wanted: &str) -> Result<Entry, FindError> {
        let path = Path::new(wanted);
        let is_path = wanted.contains('/') || wanted.ends_with(".eml");
        if is_path && path.is_file() {
            return Ok(Entry::at(path));
        }
        let entries = self.entries().map_err(FindError::Io)?;
        let id = id_of(wanted.rsplit('/').next().unwrap_or(wanted));
        let mut found: Vec<&Entry> = Vec::new();
        for fits in [
            |entry: &Entry, id: &str| entry.id == id,
            |entry: &Entry, id: &str| entry.short_id() == Some(id),
            |entry: &Entry, id: &str| entry.id.starts_with(id),
            |entry: &Entry, id: &str| entry.id.contains(id),
        ] {
            if found.is_empty() && !id.is_empty() {
                found = entries.iter().filter(|entry| fits(entry, id)).collect();
            }
        }
        match found.as_slice() {
            [] => Err(FindError::None(wanted.to_owned())),
            [one] => Ok((*one).clone()),
            several => Err(FindError::Several(
                wanted.to_owned(),
                several
                    .iter()
                    .take(CANDIDATES)
                    .map(|entry| entry.id.clone())
                    .collect(),
                several.len(),
            )),
        }
    }
}

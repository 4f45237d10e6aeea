//! Which message an id, or a piece of one, names.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::{Entry, Kind, Store, id_of};

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
    /// Whether a file at `path` is one of the messages of `entries`, or would be taken for
    /// one or for a draft: links are followed.
    pub(crate) fn has_place_of_message(&self, path: &Path, entries: &[Entry]) -> bool {
        let real = real_path(path);
        if self.kind == Kind::File {
            return same_file(&real, &self.root);
        }
        let (directory, name) = (real.parent(), real.file_name().unwrap_or_default());
        let is_in = |place: &Path| place.canonicalize().ok().as_deref() == directory;
        let drafts = self.root.join("tmp");
        let is_draft = self.kind == Kind::Maildir && is_in(&drafts);
        let mut places = self.directories().into_iter();
        if is_draft || (self.is_message(name) && places.any(|place| is_in(&place))) {
            return true;
        }
        // Another name of a message's file is elsewhere.
        let has_names = fs::metadata(&real).is_ok_and(|meta| meta.is_file() && meta.nlink() > 1);
        has_names && entries.iter().any(|entry| same_file(&real, &entry.path))
    }

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

/// Whether `path` is new/, cur/ or tmp/ of a Maildir, or would be created in one:
/// consumers and servers take a file there for a message or a draft.
pub(crate) fn is_in_a_maildir(path: &Path) -> bool {
    const DIRECTORIES: [&str; 3] = ["new", "cur", "tmp"];
    let is_one_of_a_maildir = |directory: &Path| {
        let (Some(root), Some(name)) = (directory.parent(), directory.file_name()) else {
            return false;
        };
        DIRECTORIES.iter().any(|&directory| name == directory)
            && DIRECTORIES.iter().all(|name| root.join(name).is_dir())
    };
    real_path(path).ancestors().any(is_one_of_a_maildir)
}

/// Where a file is or would be created, without links. A directory that is missing is
/// taken as created, and `..` leads out of it again.
fn real_path(path: &Path) -> PathBuf {
    let mut real = Path::new(".").canonicalize().unwrap_or_default();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                real.pop();
            }
            other => real.push(other),
        }
        real = real.canonicalize().unwrap_or(real);
    }
    real
}

fn same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}

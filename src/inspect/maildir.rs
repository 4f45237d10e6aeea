//! Where messages lie: a Maildir, a folder of `.eml` files, or one file.
//!
//! Listing reads names only; a file is opened when its message is asked for,
//! and [`Spool::files_opened`] counts that. Of a message at most [`MAX_MESSAGE`]
//! octets are held in memory. A file that a consumer moves from new/ to cur/
//! under our hands is found again; one that is gone is [`ErrorKind::NotFound`].
//!
//! The order is that of time, then of the name. An id of mm4d carries its time
//! (microseconds, so that the order is that of its text); other Maildir names
//! begin with seconds, sometimes with microseconds as `M…`; for any other name
//! the file's modification time stands in.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::header;

/// Octets of one message that are read: six times mm4d's default maximum. Of a
/// bigger one the rest is not looked at, and what is shown says so.
pub const MAX_MESSAGE: u64 = 64 * 1024 * 1024;
/// Octets read first when only a header block is wanted.
const FIRST_READ: u64 = 16 * 1024;
/// Candidates named when an id is ambiguous.
const CANDIDATES: usize = 5;

/// A place with messages.
#[derive(Debug)]
pub struct Spool {
    root: PathBuf,
    kind: Kind,
    opened: Cell<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Maildir,
    Folder,
    File,
}

/// One message, by name; nothing of it has been read.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The file's name without `.eml` and without Maildir's `:2,…`.
    pub id: String,
    /// When it came, by its name or else its modification time.
    pub time: Option<Timestamp>,
    /// Where it was seen.
    pub path: PathBuf,
}

/// The octets of a message, as many as are read of them.
#[derive(Debug)]
pub struct Octets {
    /// Where they were found.
    pub path: PathBuf,
    /// At most [`MAX_MESSAGE`].
    pub octets: Vec<u8>,
    /// The size of the file in octets.
    pub file_size: u64,
}

/// Why no message, or not one, goes by an id.
#[derive(Debug)]
pub enum FindError {
    /// None does.
    None(String),
    /// Several do; the ids of a few of them, and how many in all.
    Several(String, Vec<String>, usize),
    /// The spool cannot be read.
    Io(io::Error),
}

impl std::fmt::Display for FindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FindError::None(wanted) => write!(
                f,
                "no message goes by {wanted}; `mm4spool list` shows the ids"
            ),
            FindError::Several(wanted, some, all) => {
                write!(f, "{all} messages go by {wanted}; say more of it: ")?;
                f.write_str(&some.join(" "))?;
                f.write_str(if *all > some.len() { " …" } else { "" })
            }
            FindError::Io(error) => error.fmt(f),
        }
    }
}

impl Entry {
    /// The process and the number in an id of mm4d, `P-N`.
    pub fn piece(&self) -> Option<&str> {
        piece(&self.id)
    }
}

/// The process and the number in an id of mm4d, `P-N`: shorter than the prefix
/// that tells the messages of a burst apart.
pub fn piece(id: &str) -> Option<&str> {
    mm4d_time(id)?;
    id.get(24..)?.split('@').next()
}

impl Spool {
    /// Opens `root`: a directory with new/ or cur/ is a Maildir, any other
    /// directory a folder of `.eml` files, anything else one message.
    ///
    /// # Errors
    ///
    /// When there is nothing at `root` or it cannot be looked at.
    pub fn open(root: &Path) -> io::Result<Spool> {
        let kind = match fs::metadata(root)? {
            meta if !meta.is_dir() => Kind::File,
            _ if root.join("new").is_dir() || root.join("cur").is_dir() => Kind::Maildir,
            _ => Kind::Folder,
        };
        Ok(Spool {
            root: root.to_owned(),
            kind,
            opened: Cell::new(0),
        })
    }

    /// The directories that messages appear in, new/ first; none for a file.
    pub fn directories(&self) -> Vec<PathBuf> {
        match self.kind {
            Kind::Maildir => ["new", "cur"]
                .into_iter()
                .map(|name| self.root.join(name))
                .filter(|path| path.is_dir())
                .collect(),
            Kind::Folder => vec![self.root.clone()],
            Kind::File => Vec::new(),
        }
    }

    /// Every message, oldest first.
    ///
    /// # Errors
    ///
    /// When a directory cannot be read.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        if self.kind == Kind::File {
            return Ok(vec![entry_of(&self.root)]);
        }
        let mut entries = Vec::new();
        for directory in self.directories() {
            for found in fs::read_dir(&directory)? {
                let found = found?;
                // One that is gone since has no type.
                let is_file = found.file_type().is_ok_and(|kind| kind.is_file());
                if is_file && self.is_message(&found.file_name()) {
                    entries.push(entry_of(&found.path()));
                }
            }
        }
        entries.sort_unstable_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
        // Moved to cur/ between the two, it was seen in both.
        entries.dedup_by(|a, b| a.id == b.id && a.path.parent() != b.path.parent());
        Ok(entries)
    }

    /// Whether a file of that name in one of the directories is a message.
    pub fn is_message(&self, name: &std::ffi::OsStr) -> bool {
        let name = name.as_encoded_bytes();
        !name.starts_with(b".") && (self.kind == Kind::Maildir || name.ends_with(b".eml"))
    }

    /// The message that `wanted` means: a path to a file, an id, a prefix that
    /// only one id has, or a piece that only one id holds.
    ///
    /// # Errors
    ///
    /// When none or several are meant, or the spool cannot be read.
    pub fn find(&self, wanted: &str) -> Result<Entry, FindError> {
        let path = Path::new(wanted);
        let is_path = wanted.contains('/') || wanted.ends_with(".eml");
        if is_path && path.is_file() {
            return Ok(entry_of(path));
        }
        let entries = self.entries().map_err(FindError::Io)?;
        let id = id_of(wanted.rsplit('/').next().unwrap_or(wanted));
        let mut found: Vec<&Entry> = Vec::new();
        for fits in [
            |entry: &Entry, id: &str| entry.id == id,
            |entry: &Entry, id: &str| entry.piece() == Some(id),
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

    /// The octets of a message, at most [`MAX_MESSAGE`] of them.
    ///
    /// # Errors
    ///
    /// When the file is gone, also from cur/, or cannot be read.
    pub fn read(&self, entry: &Entry) -> io::Result<Octets> {
        self.read_some(entry, |file| {
            let mut octets = Vec::new();
            file.take(MAX_MESSAGE).read_to_end(&mut octets)?;
            Ok(octets)
        })
    }

    /// As many octets of a message as its header block takes, or a few more.
    ///
    /// # Errors
    ///
    /// As [`Spool::read`].
    pub fn read_header(&self, entry: &Entry) -> io::Result<Octets> {
        self.read_some(entry, |file| {
            let mut octets = Vec::new();
            let mut limit = FIRST_READ;
            loop {
                let read = file.take(limit).read_to_end(&mut octets)?;
                let whole = (read as u64) < limit || octets.len() > header::MAX_OCTETS;
                if whole || header::Header::parse(&octets).ended {
                    return Ok(octets);
                }
                limit = octets.len() as u64;
            }
        })
    }

    /// How many files have been opened, for those who doubt that listing a few
    /// of many messages reads only those few.
    pub fn files_opened(&self) -> usize {
        self.opened.get()
    }

    /// Opens the message where it is now and counts it.
    ///
    /// # Errors
    ///
    /// As [`Spool::read`].
    pub fn open_file(&self, entry: &Entry) -> io::Result<(PathBuf, File)> {
        self.opened.set(self.opened.get() + 1);
        match File::open(&entry.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let moved = self.moved(entry).ok_or(error)?;
                File::open(&moved).map(|file| (moved, file))
            }
            file => file.map(|file| (entry.path.clone(), file)),
        }
    }

    fn read_some(
        &self,
        entry: &Entry,
        read: impl FnOnce(&mut File) -> io::Result<Vec<u8>>,
    ) -> io::Result<Octets> {
        let (path, mut file) = self.open_file(entry)?;
        let meta = file.metadata()?;
        if meta.is_dir() {
            return Err(io::Error::other("is a directory"));
        }
        let octets = read(&mut file)?;
        // A pipe has no size of its own.
        let file_size = meta.len().max(octets.len() as u64);
        Ok(Octets {
            path,
            octets,
            file_size,
        })
    }

    /// A consumer moves a message to cur/ under a name that has flags added.
    fn moved(&self, entry: &Entry) -> Option<PathBuf> {
        let name = entry.path.file_name()?;
        let likely = ["", ":2,", ":2,S"].into_iter().find_map(|flags| {
            let mut name = name.to_owned();
            name.push(flags);
            let path = self.root.join("cur").join(name);
            path.exists().then_some(path)
        });
        // Other flags: all names must be looked at.
        likely.or_else(|| self.search(entry))
    }

    fn search(&self, entry: &Entry) -> Option<PathBuf> {
        self.directories().into_iter().rev().find_map(|directory| {
            fs::read_dir(directory).ok()?.flatten().find_map(|found| {
                let name = found.file_name();
                (id_of(&name.to_string_lossy()) == entry.id).then(|| found.path())
            })
        })
    }
}

/// The entry of a file that lies at `path`.
pub fn entry_of(path: &Path) -> Entry {
    let name: OsString = path.file_name().unwrap_or(path.as_os_str()).to_owned();
    let name = name.to_string_lossy();
    Entry {
        time: time_of(&name).or_else(|| {
            let modified = fs::metadata(path).ok()?.modified().ok()?;
            Timestamp::try_from(modified).ok()
        }),
        id: id_of(&name).to_owned(),
        path: path.to_owned(),
    }
}

/// A file's name without Maildir's flags and without `.eml`.
pub fn id_of(name: &str) -> &str {
    let name = name.rsplit_once(":2,").map_or(name, |(name, _)| name);
    name.strip_suffix(".eml").unwrap_or(name)
}

fn time_of(name: &str) -> Option<Timestamp> {
    mm4d_time(name).or_else(|| maildir_time(name))
}

/// `YYYYMMDDTHHMMSS.uuuuuuZ-…`
fn mm4d_time(name: &str) -> Option<Timestamp> {
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = name.get(from..to)?;
        digits
            .bytes()
            .all(|digit| digit.is_ascii_digit())
            .then(|| digits.parse().ok())?
    };
    let mark = |at: usize, letter: &str| name.get(at..at + 1) == Some(letter);
    if !(mark(8, "T") && mark(15, ".") && mark(22, "Z") && mark(23, "-")) {
        return None;
    }
    let civil = jiff::civil::DateTime::new(
        number(0, 4)?.try_into().ok()?,
        number(4, 6)?.try_into().ok()?,
        number(6, 8)?.try_into().ok()?,
        number(9, 11)?.try_into().ok()?,
        number(11, 13)?.try_into().ok()?,
        number(13, 15)?.try_into().ok()?,
        i32::try_from(number(16, 22)? * 1000).ok()?,
    )
    .ok()?;
    jiff::tz::Offset::UTC.to_timestamp(civil).ok()
}

/// `1643149063.M123456P42.host`: seconds, and microseconds where they are given.
fn maildir_time(name: &str) -> Option<Timestamp> {
    let (seconds, rest) = name.split_once('.')?;
    if !(9..=11).contains(&seconds.len()) || !seconds.bytes().all(|digit| digit.is_ascii_digit()) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(files: &[&str]) -> (tempfile::TempDir, Spool) {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["tmp", "new", "cur"] {
            fs::create_dir(dir.path().join(sub)).unwrap();
        }
        for file in files {
            fs::write(dir.path().join(file), file.as_bytes()).unwrap();
        }
        let spool = Spool::open(dir.path()).unwrap();
        (dir, spool)
    }

    fn ids(spool: &Spool) -> Vec<String> {
        let entries = spool.entries().unwrap();
        entries.into_iter().map(|entry| entry.id).collect()
    }

    const A: &str = "20220126T001743.000001Z-7-000001@mm4.example.com";
    const B: &str = "20220126T001743.000001Z-7-000002@mm4.example.com";
    const C: &str = "20220127T001743.000001Z-7-000003@mm4.example.com";

    #[test]
    fn messages_sort_by_time_whatever_names_them() {
        let (_dir, spool) = spool(&[
            &format!("new/{C}.eml"),
            &format!("new/{B}.eml"),
            &format!("cur/{A}.eml:2,S"),
            "new/1643156263.M5P1.host.example.com",
            "new/1643156263.M10P1.host.example.com",
            "cur/1643156264.P1.host:2,RS",
            "new/.hidden",
            "tmp/draft.eml",
        ]);
        // 1643156263 is 2022-01-26T00:17:43Z; M5 comes after mm4d's .000001.
        assert_eq!(
            ids(&spool),
            [
                A,
                B,
                "1643156263.M5P1.host.example.com",
                "1643156263.M10P1.host.example.com",
                "1643156264.P1.host",
                C
            ]
        );
    }

    #[test]
    fn a_folder_holds_its_eml_files_and_a_file_itself() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("one.eml"), "x").unwrap();
        fs::write(dir.path().join("notes.txt"), "x").unwrap();
        assert_eq!(ids(&Spool::open(dir.path()).unwrap()), ["one"]);
        let file = Spool::open(&dir.path().join("notes.txt")).unwrap();
        assert_eq!(ids(&file), ["notes.txt"]);
    }

    #[test]
    fn a_prefix_or_a_piece_of_an_id_finds_it() {
        let (_dir, spool) = spool(&[
            &format!("new/{A}.eml"),
            &format!("new/{B}.eml"),
            &format!("cur/{C}.eml:2,S"),
        ]);
        for (wanted, id) in [
            (C, C),
            ("20220127", C),
            ("7-000002", B),
            (&*format!("{A}.eml"), A),
            (&*format!("new/{B}.eml"), B),
        ] {
            assert_eq!(spool.find(wanted).unwrap().id, id, "{wanted}");
        }
        assert!(matches!(spool.find("2023"), Err(FindError::None(_))));
        assert!(matches!(spool.find(""), Err(FindError::None(_))));
        let ambiguous = spool.find("20220126").unwrap_err();
        assert!(ambiguous.to_string().contains(A), "{ambiguous}");
        assert!(ambiguous.to_string().contains("2 messages"), "{ambiguous}");
    }

    #[test]
    fn a_message_seen_in_new_and_in_cur_is_one() {
        let (_dir, spool) = spool(&[&format!("new/{A}.eml"), &format!("cur/{A}.eml:2,S")]);
        assert_eq!(ids(&spool), [A]);
    }

    #[test]
    fn a_message_that_is_moved_with_other_flags_is_found() {
        let (dir, spool) = spool(&[&format!("new/{A}.eml")]);
        let entry = spool.find(A).unwrap();
        let moved = dir.path().join(format!("cur/{A}.eml:2,RST"));
        fs::rename(&entry.path, &moved).unwrap();
        assert_eq!(spool.read(&entry).unwrap().path, moved);
    }

    #[test]
    fn a_message_that_is_moved_to_cur_is_still_read() {
        let (dir, spool) = spool(&[&format!("new/{A}.eml")]);
        let entry = spool.find(A).unwrap();
        let moved = dir.path().join(format!("cur/{A}.eml:2,S"));
        fs::rename(&entry.path, &moved).unwrap();
        assert_eq!(spool.read(&entry).unwrap().path, moved);
        fs::remove_file(&moved).unwrap();
        assert_eq!(spool.read(&entry).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn of_a_big_file_only_its_header_is_read_when_that_is_enough() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big.eml");
        let mut mail = b"Subject: x\r\n\r\n".to_vec();
        mail.resize(1_000_000, b'x');
        fs::write(&path, &mail).unwrap();
        let spool = Spool::open(&path).unwrap();
        let read = spool.read_header(&entry_of(&path)).unwrap();
        assert_eq!(read.octets.len() as u64, FIRST_READ);
        assert_eq!(read.file_size, 1_000_000);
        fs::write(&path, vec![b'y'; 3_000_000]).unwrap();
        let read = spool.read_header(&entry_of(&path)).unwrap();
        assert!(read.octets.len() > header::MAX_OCTETS);
        assert!(read.octets.len() < 3_000_000);
    }

    #[test]
    fn of_a_sparse_giant_no_more_than_the_limit_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("giant.eml");
        File::create(&path).unwrap().set_len(5 << 30).unwrap();
        let spool = Spool::open(&path).unwrap();
        let read = spool.read(&entry_of(&path)).unwrap();
        assert_eq!(read.octets.len() as u64, MAX_MESSAGE);
        assert_eq!(read.file_size, 5 << 30);
    }
}

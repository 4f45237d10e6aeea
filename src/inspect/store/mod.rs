//! Where messages are stored: a Maildir, a directory of `.eml` files, or one file.
//!
//! Listing reads names only; a file is opened when its message is asked for. Only
//! regular files are read, and they are opened without blocking, so that a pipe in
//! new/ stops nobody. At most [`MAX_MESSAGE`] bytes of a message are held in memory.
//! A file that a consumer moves from new/ to cur/ meanwhile is found again; one that
//! was deleted is [`ErrorKind::NotFound`].
//!
//! The order is that of time, then of the name. An id of mm4d carries its time
//! (microseconds, so that the order is that of its text); other Maildir names
//! begin with seconds, sometimes with microseconds as `M…`; of any other `.eml` file
//! the `Date` is used, and where there is none the file's modification time.

mod entry;
mod find;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

pub use self::entry::Entry;
pub(crate) use self::entry::{id_of, short_id};
pub use self::find::FindError;
pub(crate) use self::find::is_in_a_maildir;
use super::mime::header;

/// Bytes of one message that are read: six times mm4d's default maximum. The
/// rest of a larger one is not looked at, and what is shown says so.
pub const MAX_MESSAGE: u64 = 64 * 1024 * 1024;
/// Bytes read first when only a header block is wanted; real ones have 2 kB.
const FIRST_READ: u64 = 4 * 1024;

/// A place with messages.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    kind: Kind,
    /// Whether a message that is not where it was is looked for in all names.
    searches: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Maildir,
    Directory,
    File,
    /// What was read from standard input: one message, and its size.
    Input(Vec<u8>, u64),
}

/// Device and inode of a spool's directories; `None` for one that is missing.
pub(super) type Identity = [Option<(u64, u64)>; 3];

/// A message as it is in its file, as much as is read of it.
#[derive(Debug)]
pub struct RawMessage {
    /// Where the file was found.
    pub path: PathBuf,
    /// At most [`MAX_MESSAGE`].
    pub bytes: Vec<u8>,
    /// The size of the file in bytes.
    pub file_size: u64,
    /// The permission bits of the file: what is made from it gets no more.
    pub mode: u32,
}

impl Store {
    /// Opens `root`: a directory with new/ or cur/ is a Maildir, any other
    /// directory holds `.eml` files, anything else is one message.
    ///
    /// # Errors
    ///
    /// When there is nothing at `root` or it cannot be read.
    pub fn open(root: &Path) -> io::Result<Store> {
        let kind = match fs::metadata(root)? {
            meta if !meta.is_dir() => Kind::File,
            _ if root.join("new").is_dir() || root.join("cur").is_dir() => Kind::Maildir,
            _ => Kind::Directory,
        };
        Ok(Store {
            root: root.to_owned(),
            kind,
            searches: true,
        })
    }

    /// One message, read from `input` to its end; its id is `-`.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub(crate) fn of_input(mut input: impl Read) -> io::Result<Store> {
        let mut bytes = Vec::new();
        let read = input.by_ref().take(MAX_MESSAGE).read_to_end(&mut bytes)?;
        let rest = io::copy(&mut input, &mut io::sink())?;
        Ok(Store {
            root: PathBuf::from("-"),
            kind: Kind::Input(bytes, read as u64 + rest),
            searches: true,
        })
    }

    /// The same for whoever reads the directories himself from time to time: of a message
    /// that was moved under flags that are rare, it is said that it was deleted.
    pub(crate) fn without_search(self) -> Store {
        Store {
            searches: false,
            ..self
        }
    }

    /// Whether a message is where it was, or moved under usual flags.
    pub(crate) fn is_there(&self, entry: &Entry) -> bool {
        entry.path.exists() || self.likely_place(entry).is_some()
    }

    /// The directories that messages appear in, new/ first; none for a file.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        match self.kind {
            Kind::Maildir => ["new", "cur"]
                .into_iter()
                .map(|name| self.root.join(name))
                .filter(|path| path.is_dir())
                .collect(),
            Kind::Directory => vec![self.root.clone()],
            Kind::File | Kind::Input(..) => Vec::new(),
        }
    }

    /// Every message, oldest first.
    ///
    /// # Errors
    ///
    /// When a directory cannot be read.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        if matches!(self.kind, Kind::File | Kind::Input(..)) {
            return Ok(vec![Entry::at(&self.root)]);
        }
        let mut entries = Vec::new();
        for directory in self.directories() {
            for found in fs::read_dir(&directory)? {
                let found = found?;
                // One that was removed meanwhile has no type.
                let is_file = found.file_type().is_ok_and(|kind| kind.is_file());
                if is_file && self.is_message(&found.file_name()) {
                    entries.push(Entry::at(&found.path()));
                }
            }
        }
        entries.sort_unstable_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
        // Moved to cur/ between the two, it was seen in both.
        entries.dedup_by(|a, b| a.id == b.id && a.path.parent() != b.path.parent());
        Ok(entries)
    }

    /// Whether a file of that name in one of the directories is a message.
    pub(crate) fn is_message(&self, name: &std::ffi::OsStr) -> bool {
        let name = name.as_encoded_bytes();
        !name.starts_with(b".") && (self.kind == Kind::Maildir || name.ends_with(b".eml"))
    }

    /// A message, at most [`MAX_MESSAGE`] bytes of it.
    ///
    /// # Errors
    ///
    /// When the file was deleted, also from cur/, is not a regular file, or
    /// cannot be read.
    pub fn read(&self, entry: &Entry) -> io::Result<RawMessage> {
        if let Kind::Input(bytes, size) = &self.kind {
            return Ok(RawMessage {
                path: self.root.clone(),
                bytes: bytes.clone(),
                file_size: *size,
                mode: 0o600,
            });
        }
        self.read_some(entry, |file| {
            // Room for all of it: a vector that grows leaves up to as much again unused.
            let length = file.metadata()?.len().min(MAX_MESSAGE);
            let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
            file.take(MAX_MESSAGE).read_to_end(&mut bytes)?;
            Ok(bytes)
        })
    }

    /// As many bytes of a message as its header block takes, or a few more.
    ///
    /// # Errors
    ///
    /// As [`Store::read`].
    pub(crate) fn read_header(&self, entry: &Entry) -> io::Result<RawMessage> {
        if let Kind::Input(..) = self.kind {
            return self.read(entry);
        }
        self.read_some(entry, read_header_block)
    }

    /// The same for a look at many messages: the size and the permissions of the file,
    /// which cost as much as reading it, are not asked for.
    ///
    /// # Errors
    ///
    /// As [`Store::read`].
    pub fn peek(&self, entry: &Entry) -> io::Result<RawMessage> {
        // A path that the user names may be anything.
        if let Kind::Input(..) | Kind::File = self.kind {
            return self.read_header(entry);
        }
        let (path, mut file) = self.open_with(entry, open_without_waiting)?;
        let bytes = read_header_block(&mut file)?;
        Ok(RawMessage {
            path,
            file_size: bytes.len() as u64,
            bytes,
            mode: 0,
        })
    }

    /// The directories that messages are in, as the system identifies them: another
    /// identity is another spool of the same name.
    pub(super) fn identity(root: &Path) -> Identity {
        let directories = ["", "new", "cur"].map(|name| root.join(name));
        directories.map(|path| {
            let meta = fs::metadata(path).ok().filter(fs::Metadata::is_dir)?;
            Some((meta.dev(), meta.ino()))
        })
    }

    /// Opens the message where it is now.
    ///
    /// # Errors
    ///
    /// As [`Store::read`].
    pub(crate) fn open_file(&self, entry: &Entry) -> io::Result<(PathBuf, File)> {
        self.open_with(entry, open_regular)
    }

    /// Opens the message where it is now, by `open`.
    fn open_with<F>(
        &self,
        entry: &Entry,
        open: impl Fn(&Path) -> io::Result<F>,
    ) -> io::Result<(PathBuf, F)> {
        match open(&entry.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let moved = self.moved(entry).ok_or(error)?;
                open(&moved).map(|file| (moved, file))
            }
            file => file.map(|file| (entry.path.clone(), file)),
        }
    }

    fn read_some(
        &self,
        entry: &Entry,
        read: impl FnOnce(&mut File) -> io::Result<Vec<u8>>,
    ) -> io::Result<RawMessage> {
        let (path, mut file) = self.open_file(entry)?;
        let meta = file.metadata()?;
        let bytes = read(&mut file)?;
        // The file may have grown since.
        let file_size = meta.len().max(bytes.len() as u64);
        Ok(RawMessage {
            path,
            bytes,
            file_size,
            mode: meta.permissions().mode() & 0o777,
        })
    }

    /// A consumer moves a message to cur/ under a name that has flags added.
    fn moved(&self, entry: &Entry) -> Option<PathBuf> {
        let likely = self.likely_place(entry);
        // Other flags: all names must be looked at.
        likely.or_else(|| self.searches.then(|| self.search(entry)).flatten())
    }

    fn likely_place(&self, entry: &Entry) -> Option<PathBuf> {
        let name = entry.path.file_name()?;
        ["", ":2,", ":2,S"].into_iter().find_map(|flags| {
            let mut name = name.to_owned();
            name.push(flags);
            let path = self.root.join("cur").join(name);
            path.exists().then_some(path)
        })
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

/// Reads a header block, and a few bytes more.
fn read_header_block(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; FIRST_READ as usize];
    let mut length = 0;
    loop {
        let read = match file.read(bytes.get_mut(length..).unwrap_or_default()) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read?,
        };
        length += read;
        let begin = bytes.get(..length).unwrap_or_default();
        if read == 0 || length > header::MAX_BYTES || header::is_whole(begin) {
            bytes.truncate(length);
            return Ok(bytes);
        }
        if length == bytes.len() {
            bytes.resize(2 * length, 0);
        }
    }
}

/// Opens a file for reading if it is a regular one. Opening a device may do anything.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let file = open_without_waiting(path)?;
    match file.metadata()? {
        meta if meta.is_file() => Ok(file),
        meta if meta.is_dir() => Err(io::Error::other("it is a directory")),
        _ => Err(io::Error::other("it is not a regular file")),
    }
}

/// Opens a file for reading. Opening a pipe would wait for its writer.
fn open_without_waiting(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(files: &[&str]) -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["tmp", "new", "cur"] {
            fs::create_dir(dir.path().join(sub)).unwrap();
        }
        for file in files {
            fs::write(dir.path().join(file), file.as_bytes()).unwrap();
        }
        let spool = Store::open(dir.path()).unwrap();
        (dir, spool)
    }

    fn ids(spool: &Store) -> Vec<String> {
        let entries = spool.entries().unwrap();
        entries.into_iter().map(|entry| entry.id).collect()
    }

    const A: &str = "20220126T001743.000001Z-7-000001@mm4.example.com";
    const B: &str = "20220126T001743.000001Z-7-000002@mm4.example.com";
    const C: &str = "20220127T001743.000001Z-7-000003@mm4.example.com";

    #[test]
    fn messages_sort_by_time_whatever_named_them() {
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
    fn a_directory_holds_its_eml_files_and_a_file_itself() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("one.eml"), "x").unwrap();
        fs::write(dir.path().join("notes.txt"), "x").unwrap();
        assert_eq!(ids(&Store::open(dir.path()).unwrap()), ["one"]);
        let file = Store::open(&dir.path().join("notes.txt")).unwrap();
        assert_eq!(ids(&file), ["notes.txt"]);
    }

    #[test]
    fn a_prefix_or_a_part_of_an_id_finds_it() {
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
    fn files_without_an_id_sort_by_their_date() {
        let dir = tempfile::tempdir().unwrap();
        for (name, date) in [
            ("b", "Wed, 26 Jan 2022 00:00:00 +0000"),
            ("a", "Thu, 27 Jan 2022 00:00:00 +0000"),
        ] {
            fs::write(
                dir.path().join(format!("{name}.eml")),
                format!("Date: {date}\r\n\r\n"),
            )
            .unwrap();
        }
        fs::write(dir.path().join("c.eml"), "no date").unwrap();
        assert_eq!(ids(&Store::open(dir.path()).unwrap()), ["b", "a", "c"]);
    }

    #[test]
    fn standard_input_is_one_message() {
        let store = Store::of_input(&b"Subject: x\r\n\r\nhi"[..]).unwrap();
        let entries = store.entries().unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(
            store.read(&entries[0]).unwrap().bytes,
            b"Subject: x\r\n\r\nhi"
        );
        assert_eq!(store.find("-").unwrap().id, "-");
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
        let spool = Store::open(&path).unwrap();
        let read = spool.read_header(&Entry::at(&path)).unwrap();
        assert_eq!(read.bytes.len() as u64, FIRST_READ);
        assert_eq!(read.file_size, 1_000_000);
        fs::write(&path, vec![b'y'; 3_000_000]).unwrap();
        let read = spool.read_header(&Entry::at(&path)).unwrap();
        assert!(read.bytes.len() > header::MAX_BYTES);
        assert!(read.bytes.len() < 3_000_000);
    }

    #[test]
    fn of_a_sparse_giant_no_more_than_the_limit_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("giant.eml");
        File::create(&path).unwrap().set_len(5 << 30).unwrap();
        let spool = Store::open(&path).unwrap();
        let read = spool.read(&Entry::at(&path)).unwrap();
        assert_eq!(read.bytes.len() as u64, MAX_MESSAGE);
        assert_eq!(read.file_size, 5 << 30);
    }
}

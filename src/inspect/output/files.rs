//! Files made from messages: their parts, and pages.
//!
//! A name in a mail is a suggestion, not a path: only its last component is used,
//! without anything that a file system or a shell could take for more than a
//! name. Parts are created anew (`O_EXCL`), so nothing is overwritten and no link
//! is followed; a name that exists gets a number. A file made from a message gets
//! no permission that the message's own file lacks, minus the umask. Limits:
//! [`MAX_NAME`] bytes of a name, [`MAX_TRIES`] numbers.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::inspect::message::Message;
use crate::inspect::mime::Part;

/// Bytes of a file's name, less the number that it may get.
pub const MAX_NAME: usize = 120;
/// Files of one name in a directory.
pub const MAX_TRIES: usize = 10_000;

/// A part that was written.
#[derive(Debug)]
pub struct Extracted {
    /// Its number.
    pub number: usize,
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: usize,
    /// What is wrong with its transfer encoding; what could be decoded was
    /// written.
    pub fault: Option<String>,
}

/// Why a file could not be written.
#[derive(Debug)]
pub struct FileError {
    /// The file or directory.
    pub path: PathBuf,
    /// What the system says.
    pub error: io::Error,
}

impl FileError {
    fn at(path: &Path) -> impl Fn(io::Error) -> FileError {
        move |error| FileError {
            path: path.to_owned(),
            error,
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.error)
    }
}

impl Error for FileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

/// Writes the decoded parts, or the one of that number, into `directory`, which
/// is created if it is missing.
///
/// # Errors
///
/// When the directory cannot be created or a file cannot be written.
pub fn extract(
    message: &Message<'_>,
    only: Option<usize>,
    directory: &Path,
) -> Result<Vec<Extracted>, FileError> {
    create_directory(directory, message.mode).map_err(FileError::at(directory))?;
    let mut names = Names::new(directory, message.mode);
    let mut extracted = Vec::new();
    for part in message.leaves() {
        let Some(number) = part.number else { continue };
        if only.is_some_and(|only| only != number) {
            continue;
        }
        let decoded = part.decode();
        let (mut file, path) = names.create(&safe_name(part))?;
        file.write_all(&decoded.bytes)
            .map_err(FileError::at(&path))?;
        extracted.push(Extracted {
            number,
            path,
            size: decoded.bytes.len(),
            fault: decoded.fault,
        });
    }
    Ok(extracted)
}

/// Opens `path` for a page made from messages whose files have at least the
/// permissions `mode`. What was in the file is overwritten, and permissions that
/// `mode` lacks are taken from it first.
///
/// # Errors
///
/// When the file cannot be written, or belongs to somebody else and has more
/// permissions than that.
pub(crate) fn create_page(path: &Path, mode: u32) -> io::Result<File> {
    let mode = file_mode(mode);
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(false)
        .mode(mode)
        .open(path)?;
    let meta = file.metadata()?;
    // The permissions of a pipe or a device are not ours to change.
    if meta.is_file() {
        let has = meta.permissions().mode() & 0o777;
        if has & !mode != 0 {
            file.set_permissions(Permissions::from_mode(has & mode))?;
        }
        file.set_len(0)?;
    }
    Ok(file)
}

/// A message's permissions as those of a file; its owner can always use it.
fn file_mode(mode: u32) -> u32 {
    mode & 0o666 | 0o600
}

fn create_directory(directory: &Path, mode: u32) -> io::Result<()> {
    // Users who may read the message may list the directory.
    let mode = 0o700 | mode & 0o066 | (mode & 0o044) >> 2;
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(directory)
}

/// Creates files in a directory, each under a name that did not exist.
struct Names<'d> {
    directory: &'d Path,
    mode: u32,
    /// By name, how many files of that name this has met: a message may have a
    /// thousand parts of one name.
    taken: HashMap<String, usize>,
}

impl<'d> Names<'d> {
    fn new(directory: &'d Path, mode: u32) -> Names<'d> {
        Names {
            directory,
            mode: file_mode(mode),
            taken: HashMap::new(),
        }
    }

    fn create(&mut self, name: &str) -> Result<(File, PathBuf), FileError> {
        let (stem, ending) = match name.rsplit_once('.') {
            Some((stem, ending)) if !stem.is_empty() => (stem, format!(".{ending}")),
            _ => (name, String::new()),
        };
        let taken = self.taken.entry(name.to_owned()).or_default();
        while *taken < MAX_TRIES {
            *taken += 1;
            let path = match *taken {
                1 => self.directory.join(name),
                number => self.directory.join(format!("{stem}-{number}{ending}")),
            };
            let mut options = OpenOptions::new();
            match options
                .write(true)
                .create_new(true)
                .mode(self.mode)
                .open(&path)
            {
                Ok(file) => return Ok((file, path)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(FileError::at(&path)(error)),
            }
        }
        let error = io::Error::other(format!("{MAX_TRIES} files of that name exist already"));
        Err(FileError::at(&self.directory.join(name))(error))
    }
}

/// A name for the part's file: never empty, never a path, never hidden, with an
/// ending that fits the type if it came without one.
pub(crate) fn safe_name(part: &Part<'_>) -> String {
    let wish = part
        .name
        .as_deref()
        .or(part.content_id.as_deref())
        .unwrap_or_default();
    let last = wish.rsplit(['/', '\\']).next().unwrap_or_default();
    let kept: String = last.chars().map(safe_letter).collect();
    let kept = kept.trim_matches(['.', ' ', '_', '-']);
    let number = part.number.unwrap_or(0);
    let mut name = match kept {
        "" => format!("part-{number}"),
        kept if is_device(kept) => format!("part-{number}-{kept}"),
        kept => kept.to_owned(),
    };
    let (stem, ending) = match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() && (1..=8).contains(&ending.len()) => {
            (stem.to_owned(), ending.to_owned())
        }
        _ => (name.clone(), ending_of(part).to_owned()),
    };
    let mut end = stem.len().min(MAX_NAME - 9);
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    name = stem.get(..end).unwrap_or_default().to_owned();
    name.push('.');
    name.push_str(&ending);
    name
}

/// Letters and digits of any script, and a few signs; the rest becomes `_`.
fn safe_letter(letter: char) -> char {
    match letter {
        '.' | '-' | '_' | '+' | '@' | '=' | ',' => letter,
        letter if letter.is_alphanumeric() => letter,
        _ => '_',
    }
}

/// Names of devices on Windows, whatever their ending.
fn is_device(name: &str) -> bool {
    let stem = name
        .split('.')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let port = |prefix: &str| {
        stem.strip_prefix(prefix)
            .is_some_and(|digit| digit.chars().count() == 1)
    };
    matches!(stem.as_str(), "con" | "prn" | "aux" | "nul") || port("com") || port("lpt")
}

fn ending_of(part: &Part<'_>) -> &'static str {
    if part.is_smil() {
        return "smil";
    }
    match part.media_type.as_str() {
        "text/plain" => "txt",
        "text/html" => "html",
        "text/x-vcard" | "text/vcard" => "vcf",
        "text/x-vcalendar" => "vcs",
        "text/calendar" => "ics",
        "image/jpeg" | "image/jpg" | "image/pjpeg" => "jpg",
        "image/png" => "png",
        "image/gif" => "gif",
        "image/webp" => "webp",
        "image/bmp" => "bmp",
        "image/vnd.wap.wbmp" => "wbmp",
        "image/svg+xml" => "svg",
        "audio/amr" => "amr",
        "audio/mpeg" | "audio/mp3" => "mp3",
        "audio/mp4" => "m4a",
        "audio/aac" => "aac",
        "audio/ogg" => "ogg",
        "audio/wav" | "audio/x-wav" => "wav",
        "audio/midi" | "audio/mid" | "audio/x-mid" => "mid",
        "video/3gpp" | "audio/3gpp" => "3gp",
        "video/mp4" => "mp4",
        "application/pdf" => "pdf",
        "message/rfc822" => "eml",
        _ => "bin",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::message::tests::given;
    use proptest::prelude::*;
    use std::fs;

    fn names(parts: &[&str]) -> Vec<String> {
        let mut mail = "Content-Type: multipart/mixed; boundary=x\r\n\r\n".to_owned();
        for part in parts {
            mail.push_str(&format!("--x\r\n{part}\r\n\r\nhello\r\n"));
        }
        mail.push_str("--x--\r\n");
        let dir = tempfile::tempdir().unwrap();
        let (entry, file) = given(mail.as_bytes());
        let to = dir.path().join("a/b");
        let written = extract(&Message::read(&entry, &file), None, &to).unwrap();
        written
            .iter()
            .map(|part| {
                assert_eq!(fs::read(&part.path).unwrap(), b"hello");
                let name = part.path.strip_prefix(&to).unwrap();
                name.to_str().unwrap().to_owned()
            })
            .collect()
    }

    #[test]
    fn no_name_leads_out_of_the_directory() {
        assert_eq!(
            names(&[
                "Content-Disposition: attachment; filename=\"../../../etc/passwd\"",
                "Content-Type: image/jpeg; name=\"/tmp/x.jpg\"",
                "Content-Location: ..\\..\\windows\\x.jpg",
                "Content-Disposition: attachment; filename=\"..\"",
                "Content-ID: <a/b/../c>\r\nContent-Type: image/gif",
                "Content-Type: text/plain; name=.bashrc",
                "Content-Type: text/plain; name=\"a;rm -rf $HOME.txt\"",
                "Content-Type: text/plain; name=\"CON.txt\"",
                "Content-Type: application/smil",
            ]),
            [
                "passwd.txt",
                "x.jpg",
                "x-2.jpg",
                "part-4.txt",
                "c.gif",
                "bashrc.txt",
                "a_rm_-rf__HOME.txt",
                "part-8-CON.txt",
                "part-9.smil",
            ]
        );
    }

    #[test]
    fn an_existing_file_and_a_link_stay_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        let to = dir.path().join("to");
        fs::create_dir(&to).unwrap();
        fs::write(to.join("a.txt"), "mine").unwrap();
        std::os::unix::fs::symlink(&outside, to.join("a-2.txt")).unwrap();
        let (entry, file) = given(b"Content-Type: text/plain; name=a.txt\r\n\r\nhello");
        let written = extract(&Message::read(&entry, &file), None, &to).unwrap();
        assert_eq!(written[0].path, to.join("a-3.txt"));
        assert_eq!(fs::read(to.join("a.txt")).unwrap(), b"mine");
        assert!(!outside.exists());
    }

    #[test]
    fn what_is_made_from_a_message_gets_no_more_permissions_than_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let (entry, mut file) = given(b"Content-Type: text/plain; name=a.txt\r\n\r\nhello");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for (has, file_lacks, directory_lacks) in [(0o640, 0o137, 0o027), (0o600, 0o177, 0o077)] {
            file.mode = has;
            let to = dir.path().join(format!("{has:o}"));
            let written = extract(&Message::read(&entry, &file), None, &to).unwrap();
            assert_eq!(mode(&written[0].path) & file_lacks, 0, "{has:o}");
            assert_eq!(mode(&to) & directory_lacks, 0, "{has:o}");
        }
        let page = dir.path().join("page.html");
        drop(create_page(&page, 0o640).unwrap());
        assert_eq!(mode(&page) & 0o137, 0);
        fs::write(&page, "old").unwrap();
        fs::set_permissions(&page, Permissions::from_mode(0o644)).unwrap();
        drop(create_page(&page, 0o640).unwrap());
        assert_eq!((mode(&page), fs::read(&page).unwrap().len()), (0o640, 0));
    }

    #[test]
    fn a_thousand_parts_of_one_name_try_each_number_once() {
        let part = "--x\r\nContent-Type: text/plain; name=a.txt\r\n\r\nx\r\n";
        let mail = format!(
            "Content-Type: multipart/mixed; boundary=x\r\n\r\n{}",
            part.repeat(900)
        );
        let dir = tempfile::tempdir().unwrap();
        let (entry, file) = given(mail.as_bytes());
        let written = extract(&Message::read(&entry, &file), None, dir.path()).unwrap();
        assert!(written[899].path.ends_with("a-900.txt"));
    }

    #[test]
    fn one_part_is_extracted_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (entry, file) =
            given(b"Content-Type: multipart/mixed; boundary=x\n\n--x\n\na\n--x\n\nb\n--x--\n");
        let message = Message::read(&entry, &file);
        let written = extract(&message, Some(2), dir.path()).unwrap();
        assert_eq!(written.len(), 1);
        assert_eq!(fs::read(&written[0].path).unwrap(), b"b");
        assert!(extract(&message, Some(3), dir.path()).unwrap().is_empty());
    }

    fn tree(dir: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(tree(&path));
            }
            found.push(path);
        }
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn nothing_is_ever_written_outside(
            filename in "[./\\\\a-z\u{0}\u{202e}%~ ]{0,200}",
            location in "(/|\\.\\./|[a-z]){0,20}",
            id in any::<String>(),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let to = dir.path().join("to");
            let mail = format!(
                "Content-Type: multipart/mixed; boundary=xyz\n\n--xyz\n\
                 Content-Disposition: attachment; filename=\"{filename}\"\n\none\n--xyz\n\
                 Content-Location: {location}\n\ntwo\n--xyz\nContent-ID: <{id}>\n\nthree\n--xyz--\n"
            );
            let (entry, file) = given(mail.as_bytes());
            let written = extract(&Message::read(&entry, &file), None, &to).unwrap();
            for part in &written {
                prop_assert_eq!(part.path.parent(), Some(to.as_path()));
            }
            // There is DIR and, directly in it, the files that were reported.
            let mut found = tree(dir.path());
            found.retain(|path| *path != to);
            prop_assert_eq!(found.len(), written.len());
        }
    }
}

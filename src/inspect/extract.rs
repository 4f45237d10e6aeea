//! The parts of a message as files.
//!
//! A name in a mail is a wish, not a path: of it only the last component is
//! taken, without anything that a file system or a shell could take for more
//! than a name. Files are created anew (`O_EXCL`), so nothing is overwritten and
//! no link is followed; a name that is taken gets a number. Limits:
//! [`MAX_NAME`] octets of a name, [`MAX_TRIES`] numbers. Fails when DIR cannot be
//! made or a file cannot be written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::message::Message;
use super::mime::Part;

/// Octets of a file's name, less the number that it may get.
pub const MAX_NAME: usize = 120;
/// Files of one name in DIR.
pub const MAX_TRIES: usize = 10_000;

/// A part that was written.
#[derive(Debug)]
pub struct Extracted {
    /// Its number.
    pub number: usize,
    /// The file.
    pub path: PathBuf,
    /// Its size in octets.
    pub octets: usize,
    /// What is wrong with its transfer encoding; what could be decoded was
    /// written.
    pub fault: Option<String>,
}

/// Writes the decoded parts, or the one of that number, into `dir`, which is
/// made if need be.
///
/// # Errors
///
/// What the file system says, with the path.
pub fn extract(
    message: &Message<'_>,
    only: Option<usize>,
    dir: &Path,
) -> io::Result<Vec<Extracted>> {
    fs::create_dir_all(dir).map_err(|error| named(dir, &error))?;
    let mut written = Vec::new();
    for part in message.leaves() {
        let Some(number) = part.number else { continue };
        if only.is_some_and(|only| only != number) {
            continue;
        }
        let decoded = part.decode();
        let (mut file, path) = create(dir, &safe_name(part))?;
        file.write_all(&decoded.octets)
            .map_err(|error| named(&path, &error))?;
        written.push(Extracted {
            number,
            path,
            octets: decoded.octets.len(),
            fault: decoded.fault,
        });
    }
    Ok(written)
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn create(dir: &Path, name: &str) -> io::Result<(File, PathBuf)> {
    let (stem, ending) = match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() => (stem, format!(".{ending}")),
        _ => (name, String::new()),
    };
    for number in 1..=MAX_TRIES {
        let path = match number {
            1 => dir.join(name),
            number => dir.join(format!("{stem}-{number}{ending}")),
        };
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((file, path)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(named(&path, &error)),
        }
    }
    Err(io::Error::other(format!(
        "{}: {MAX_TRIES} files of that name are there already",
        dir.join(name).display()
    )))
}

/// A name for the part's file: never empty, never a path, never hidden, with an
/// ending that fits the type if it came without one.
pub fn safe_name(part: &Part<'_>) -> String {
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

/// Letters and digits of any script, and a few marks; the rest becomes `_`.
fn safe_letter(letter: char) -> char {
    match letter {
        '.' | '-' | '_' | '+' | '@' | '=' | ',' => letter,
        letter if letter.is_alphanumeric() => letter,
        _ => '_',
    }
}

/// Names that mean a device on Windows, whatever their ending.
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
    fn a_file_that_is_there_and_a_link_stay_as_they_are() {
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
            // What is there is DIR and, directly in it, the files that were told of.
            let mut found = tree(dir.path());
            found.retain(|path| *path != to);
            prop_assert_eq!(found.len(), written.len());
        }
    }
}

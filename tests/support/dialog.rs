//! Reads `tests/dialogs/*.txt`, whose lines `tests/README.md` describes. Any other
//! line is an error that names the file and the number of the line.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::memory::is_id;
use super::plain_response;

/// One file.
pub struct Dialog {
    /// Its name, without the folder.
    pub name: String,
    /// What the server is started with.
    pub options: Vec<String>,
    /// What is sent and what comes back.
    pub turns: Vec<Turn>,
    /// What the spool holds in the end.
    pub mails: Vec<Spooled>,
}

/// One line of a dialogue.
#[derive(Clone)]
pub struct Turn {
    /// Where it is in the file.
    pub line: usize,
    /// What it says.
    pub what: What,
}

/// What one line of a dialogue says.
#[derive(Clone)]
pub enum What {
    /// The client sends these bytes.
    Send(Vec<u8>),
    /// The server says this line.
    Expect(Expected),
    /// The server hangs up.
    Close,
}

/// A line that must come back.
#[derive(Clone, Debug)]
pub enum Expected {
    /// This one.
    Exactly(String),
    /// One that begins like this.
    Prefix(String),
    /// `250 queued as <ID>`.
    Queued,
}

/// A mail in the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spooled {
    /// The reverse-path, then the forward-paths, in brackets.
    pub paths: Vec<String>,
    /// The client's bytes.
    pub content: Vec<u8>,
}

impl Expected {
    /// Whether `line`, which has no CRLF, is what must come back.
    pub fn matches(&self, line: &str) -> bool {
        match self {
            Expected::Exactly(text) => line == text,
            Expected::Prefix(text) => line.starts_with(text) && line.len() > text.len(),
            Expected::Queued => line
                .strip_prefix("250 queued as <")
                .and_then(|rest| rest.strip_suffix('>'))
                .is_some_and(is_id),
        }
    }
}

impl Dialog {
    /// Every dialog there is, by name.
    pub fn all() -> Vec<Dialog> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogs");
        let mut paths: Vec<PathBuf> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
            .collect();
        paths.sort();
        paths.iter().map(|path| Dialog::read(path)).collect()
    }

    fn read(path: &Path) -> Dialog {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(path).unwrap();
        assert!(text.starts_with("# "), "{name}: say first what it shows");
        let mut dialog = Dialog {
            name,
            options: Vec::new(),
            turns: Vec::new(),
            mails: Vec::new(),
        };
        let mut repeat: Option<(usize, usize)> = None;
        for (number, line) in text.lines().enumerate() {
            let number = number + 1;
            if let Some(times) = line.strip_prefix("repeat ") {
                repeat = Some((times.parse().unwrap(), dialog.turns.len()));
            } else if line == "end" {
                let (times, from) = repeat.take().expect("end needs a repeat");
                let block = dialog.turns[from..].to_vec();
                for _ in 1..times {
                    dialog.turns.extend_from_slice(&block);
                }
            } else if let Err(why) = dialog.add(number, line) {
                panic!("{}, line {number}: {why}: {line}", dialog.name);
            }
        }
        assert!(repeat.is_none(), "{}: repeat needs an end", dialog.name);
        dialog
    }

    fn add(&mut self, number: usize, line: &str) -> Result<(), String> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if line.ends_with(' ') {
            return Err("a blank at the end is lost easily, write \\s".into());
        }
        if let Some(options) = line.strip_prefix("options ") {
            if !self.turns.is_empty() {
                return Err("options come first".into());
            }
            self.options = options.split(' ').map(str::to_owned).collect();
            return Ok(());
        }
        if let Some(rest) = after(line, ">") {
            let mail = self
                .mails
                .last_mut()
                .ok_or("a mail: line is needed first")?;
            mail.content.extend(unescape(rest)?);
            mail.content.extend_from_slice(b"\r\n");
            return Ok(());
        }
        if let Some(rest) = after(line, "mail:") {
            let paths = if rest.is_empty() { TRANSACTION } else { rest };
            self.mails.push(Spooled {
                paths: paths
                    .split(' ')
                    .map(|path| unescape(path).map(|path| String::from_utf8(path).unwrap()))
                    .collect::<Result<_, _>>()?,
                content: Vec::new(),
            });
            return Ok(());
        }
        if let Some(short) = shorthand(line) {
            return short.iter().try_for_each(|line| self.turn(number, line));
        }
        self.turn(number, line)
    }

    fn turn(&mut self, number: usize, line: &str) -> Result<(), String> {
        if self.closes() {
            return Err("nothing comes behind the server's close".into());
        }
        let what = if let Some(text) = after(line, "C:") {
            let mut bytes = unescape(text)?;
            bytes.extend_from_slice(b"\r\n");
            What::Send(bytes)
        } else if let Some(text) = after(line, "R:") {
            What::Send(unescape(text)?)
        } else if line == "S: close" {
            What::Close
        } else if let Some(text) = after(line, "S:") {
            What::Expect(expected(text)?)
        } else {
            return Err("neither C:, R:, S: nor a directive".into());
        };
        self.turns.push(Turn { line: number, what });
        Ok(())
    }

    /// All that the client sends.
    pub fn sent(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for turn in &self.turns {
            if let What::Send(sent) = &turn.what {
                bytes.extend_from_slice(sent);
            }
        }
        bytes
    }

    /// Whether the server hangs up in the end.
    pub fn closes(&self) -> bool {
        matches!(self.turns.last(), Some(turn) if matches!(turn.what, What::Close))
    }

    /// Compares all that the server has said with what it must say; gives the
    /// ids of the mails that it has taken.
    pub fn compare(&self, said: &[u8]) -> Result<Vec<String>, String> {
        let said = String::from_utf8_lossy(said);
        let mut lines = said.split_inclusive("\r\n");
        let mut ids = Vec::new();
        for turn in &self.turns {
            let What::Expect(expected) = &turn.what else {
                continue;
            };
            let found = lines.next().unwrap_or_default();
            let line = found.strip_suffix("\r\n");
            match line {
                Some(line) if expected.matches(line) => {}
                _ => return Err(format!("line {}: not {expected:?}: {found:?}", turn.line)),
            }
            if let Expected::Queued = expected {
                ids.push(super::id(line.unwrap_or_default()));
            }
        }
        match lines.next() {
            None => Ok(ids),
            Some(more) => Err(format!("behind the last line: {more:?}")),
        }
    }
}

/// The envelope of `transaction`.
const TRANSACTION: &str =
    "<+972500000001/TYPE=PLMN@mms.example.net> <+972500000002/TYPE=PLMN@test.example>";

const GREETED: [&str; 7] = [
    "S: 220 test.example MM4 ready",
    "C: EHLO mms.example.net",
    "S: 250-test.example Hello mms.example.net",
    "S: 250-PIPELINING",
    "S: 250-SIZE …",
    "S: 250-8BITMIME",
    "S: 250 AUTH PLAIN LOGIN",
];

fn shorthand(line: &str) -> Option<Vec<String>> {
    let mut lines: Vec<String> = match line {
        "greeted" | "logged in" => GREETED.map(str::to_owned).into(),
        "transaction" => {
            let (from, to) = TRANSACTION.split_once(' ')?;
            vec![
                format!("C: MAIL FROM:{from}"),
                "S: 250 Sender OK".into(),
                format!("C: RCPT TO:{to}"),
                "S: 250 Recipient OK".into(),
            ]
        }
        _ => return None,
    };
    if line == "logged in" {
        lines.push(format!("C: AUTH PLAIN {}", plain_response()));
        lines.push("S: 235 Authentication successful".into());
    }
    Some(lines)
}

/// What follows `tag` and a blank; nothing where `tag` is alone.
fn after<'a>(line: &'a str, tag: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(tag)?;
    if rest.is_empty() {
        Some("")
    } else {
        rest.strip_prefix(' ')
    }
}

fn expected(text: &str) -> Result<Expected, String> {
    if text == "250 queued as <ID>" {
        return Ok(Expected::Queued);
    }
    let (text, open) = match text.strip_suffix('…') {
        Some(text) => (text, true),
        None => (text, false),
    };
    let text = String::from_utf8(unescape(text)?).map_err(|_| "not UTF-8")?;
    Ok(if open {
        Expected::Prefix(text)
    } else {
        Expected::Exactly(text)
    })
}

fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut rest = text;
    unescape_until(&mut rest, None)
}

/// Unescapes up to `end`, which is taken, or to the end of the text.
fn unescape_until(rest: &mut &str, end: Option<char>) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(next) = take(rest) {
        if Some(next) == end {
            return Ok(bytes);
        }
        if next != '\\' {
            bytes.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match take(rest) {
            Some('r') => bytes.push(b'\r'),
            Some('n') => bytes.push(b'\n'),
            Some('t') => bytes.push(b'\t'),
            Some('s') => bytes.push(b' '),
            Some('0') => bytes.push(0),
            Some('\\') => bytes.push(b'\\'),
            Some('x') => {
                let (digits, behind) = rest.split_at_checked(2).ok_or("\\x needs two digits")?;
                *rest = behind;
                bytes.push(u8::from_str_radix(digits, 16).map_err(|error| error.to_string())?);
            }
            Some('b') => {
                open(rest)?;
                let inner = unescape_until(rest, Some('}'))?;
                bytes.extend_from_slice(STANDARD.encode(inner).as_bytes());
            }
            Some('*') => {
                let at = rest.find('{').ok_or("\\* needs a brace")?;
                let times: usize = rest[..at].parse().map_err(|_| "\\* needs a number")?;
                *rest = &rest[at..];
                open(rest)?;
                bytes.extend(unescape_until(rest, Some('}'))?.repeat(times));
            }
            other => return Err(format!("no escape: {other:?}")),
        }
    }
    match end {
        None => Ok(bytes),
        Some(_) => Err("a brace is not closed".into()),
    }
}

fn open(rest: &mut &str) -> Result<(), String> {
    match take(rest) {
        Some('{') => Ok(()),
        _ => Err("a brace is missing".into()),
    }
}

fn take(rest: &mut &str) -> Option<char> {
    let mut chars = rest.chars();
    let next = chars.next()?;
    *rest = chars.as_str();
    Some(next)
}

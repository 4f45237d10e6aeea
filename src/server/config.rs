//! The configuration file: the long options without dashes, one per line.
//!
//! `listen 127.0.0.1:2525`, `no-sandbox`; `#` begins a comment line; blank
//! lines are ignored. A value has no quotes around it and no comment after it: both
//! would be part of a path, and are errors. A file has at most 64 KiB. An error names
//! file and line, and every error is reported, not only the first.

use std::fmt;
use std::io;

use super::files::{self, Source};
use super::options::{Invalid, OptionsError, Origin, Values};
use crate::access::{self, Use};

/// Bytes of a file at most.
const MAX_FILE: u64 = 64 * 1024;

/// An option as a file may name it.
pub(super) struct Name {
    pub(super) long: &'static str,
    pub(super) has_value: bool,
    pub(super) repeatable: bool,
    /// Whether a file may hold it at all.
    pub(super) allowed: bool,
}

/// Reads `path`: the options in it and everything that is wrong with its
/// lines. Whether the values are valid is not looked at here.
pub(super) fn read(
    path: &str,
    source: Source,
    declared: impl Fn(&str) -> Option<Name>,
) -> (Values, Vec<Invalid>) {
    let (mut values, mut errors) = (Values::default(), Vec::new());
    let text = match load(path, source) {
        Ok(text) => text,
        Err(error) => return (values, vec![unreadable(path, &error)]),
    };
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let origin = Origin::Line {
            file: path.to_owned(),
            number: index + 1,
        };
        if let Err(error) = read_line(line, &origin, &declared, &mut values) {
            errors.push(Invalid {
                name: error.name().and_then(&declared).map(|found| found.long),
                error: origin.error(&error.to_string()),
                is_whole_file: false,
            });
        }
    }
    (values, errors)
}

fn load(path: &str, source: Source) -> io::Result<String> {
    let bytes = files::read(path.as_ref(), MAX_FILE, source)?;
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8"))
}

fn unreadable(path: &str, error: &io::Error) -> Invalid {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => access::remedy(path.as_ref(), Use::Read),
        _ => None,
    };
    let remedy = remedy.unwrap_or_else(|| "give another with --config".to_owned());
    let text = format!("cannot read the configuration file {path}: {error}; {remedy}");
    Invalid {
        name: None,
        error: OptionsError::File(text),
        is_whole_file: true,
    }
}

/// What is wrong with a line.
enum LineError<'a> {
    Unknown { name: &'a str, dashes: bool },
    CommandLineOnly(&'a str),
    NoValue(&'a str),
    Value(&'a str),
    Twice(&'a str),
    Comment(&'a str),
    Quotes(&'a str),
}

impl<'a> LineError<'a> {
    /// The option that has no certain value for this reason.
    fn name(&self) -> Option<&'a str> {
        match self {
            LineError::Unknown { .. } | LineError::CommandLineOnly(_) => None,
            LineError::NoValue(name)
            | LineError::Value(name)
            | LineError::Twice(name)
            | LineError::Comment(name)
            | LineError::Quotes(name) => Some(name),
        }
    }
}

impl fmt::Display for LineError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineError::Unknown { name, dashes } => {
                let hint = if *dashes {
                    ": write it without dashes"
                } else {
                    ""
                };
                write!(f, "unknown option '{name}'{hint}")
            }
            LineError::CommandLineOnly(name) => {
                write!(f, "option '{name}' belongs on the command line")
            }
            LineError::NoValue(name) => write!(f, "option '{name}' needs a value"),
            LineError::Value(name) => write!(f, "option '{name}' takes no value"),
            LineError::Twice(name) => write!(f, "option '{name}' is given twice"),
            LineError::Comment(name) => write!(
                f,
                "a comment after the value of '{name}': give it a line of its own"
            ),
            LineError::Quotes(name) => {
                write!(f, "quotes around the value of '{name}': write it without")
            }
        }
    }
}

/// Adds what one line says to `values`.
fn read_line<'a>(
    line: &'a str,
    origin: &Origin,
    declared: impl Fn(&str) -> Option<Name>,
    values: &mut Values,
) -> Result<(), LineError<'a>> {
    let (name, value) = match line.split_once(|character: char| character.is_whitespace()) {
        Some((name, value)) => (name, Some(value.trim_start())),
        None => (line, None),
    };
    let Some(found) = declared(name) else {
        let bare = name.strip_prefix("--");
        let dashes = bare.is_some_and(|bare| declared(bare).is_some());
        return Err(LineError::Unknown { name, dashes });
    };
    if !found.allowed {
        return Err(LineError::CommandLineOnly(name));
    }
    let text = value.unwrap_or_default();
    if text.starts_with('#') || text.contains(" #") || text.contains("\t#") {
        return Err(LineError::Comment(name));
    }
    let quotes = ['"', '\''];
    if text.starts_with(quotes) && text.ends_with(quotes) {
        return Err(LineError::Quotes(name));
    }
    match value {
        Some(_) if !found.has_value => return Err(LineError::Value(name)),
        None if found.has_value => return Err(LineError::NoValue(name)),
        _ => {}
    }
    if !found.repeatable && values.is_given(found.long) {
        return Err(LineError::Twice(name));
    }
    values.add(found.long, [text.to_owned()], origin);
    Ok(())
}

//! The configuration file: the long options without dashes, one per line.
//!
//! `listen 127.0.0.1:2525`, `no-sandbox`; `#` begins a comment line; blank
//! lines are ignored. A file has at most 64 KiB. An error names file and line,
//! and every error is reported, not only the first.

use std::fs::File;
use std::io::{self, Read};

use super::options::{OptionsError, Origin, Values};

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
    declared: impl Fn(&str) -> Option<Name>,
) -> (Values, Vec<OptionsError>) {
    let (mut values, mut errors) = (Values::default(), Vec::new());
    let text = match load(path) {
        Ok(text) => text,
        Err(error) => {
            let text = format!("cannot read the configuration file {path}: {error}; see --config");
            return (values, vec![OptionsError::File(text)]);
        }
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
        if let Err(text) = read_line(line, &origin, &declared, &mut values) {
            errors.push(origin.error(&text));
        }
    }
    (values, errors)
}

fn load(path: &str) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(MAX_FILE + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        let text = format!("it has more than {MAX_FILE} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(text)
}

/// Adds what one line says to `values`, or says what is wrong with it.
fn read_line(
    line: &str,
    origin: &Origin,
    declared: impl Fn(&str) -> Option<Name>,
    values: &mut Values,
) -> Result<(), String> {
    let (name, value) = match line.split_once(|character: char| character.is_whitespace()) {
        Some((name, value)) => (name, Some(value.trim_start())),
        None => (line, None),
    };
    let Some(found) = declared(name) else {
        let hint = match name.strip_prefix("--") {
            Some(bare) if declared(bare).is_some() => ": write it without dashes",
            _ => "",
        };
        return Err(format!("unknown option '{name}'{hint}"));
    };
    if !found.allowed {
        return Err(format!("option '{name}' belongs on the command line"));
    }
    match value {
        Some(_) if !found.has_value => return Err(format!("option '{name}' takes no value")),
        None if found.has_value => return Err(format!("option '{name}' needs a value")),
        _ => {}
    }
    if !found.repeatable && values.is_given(found.long) {
        return Err(format!("option '{name}' is given twice"));
    }
    values.add(found.long, [value.unwrap_or_default().to_owned()], origin);
    Ok(())
}

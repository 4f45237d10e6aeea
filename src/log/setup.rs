//! Installs the logger: `RUST_LOG`, the form of a line, and the priorities that
//! the journal reads.

use std::fmt;
use std::io::Write;

use env_logger::Target;
use jiff::Timestamp;
use log::{Level, LevelFilter};

/// The variable that sets the level.
const VARIABLE: &str = "RUST_LOG";

/// What `RUST_LOG` cannot be: nothing would be logged, or not what was wanted.
#[derive(Debug, PartialEq, Eq)]
pub struct LevelError(String);

impl fmt::Display for LevelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "invalid {VARIABLE} '{}': expected off, error, warn, info, debug or trace",
            self.0
        )
    }
}

impl std::error::Error for LevelError {}

/// Installs the logger, which writes whole lines to `output`. In the journal
/// each line begins with its syslog priority, such as `<3>`, so that `journalctl
/// -p err` finds it.
pub(crate) fn install(output: Box<dyn Write + Send>, in_journal: bool) -> Result<(), LevelError> {
    let levels = levels()?;
    // A second logger in one process is a mistake of a test, not of the user.
    let _ = env_logger::Builder::new()
        .parse_filters(&levels)
        .target(Target::Pipe(output))
        .format(move |buffer, record| {
            let head = head(record.level(), in_journal);
            writeln!(buffer, "{head}{}", record.args())
        })
        .try_init();
    Ok(())
}

/// The levels that `RUST_LOG` asks for.
pub(crate) fn levels() -> Result<String, LevelError> {
    match std::env::var_os(VARIABLE) {
        None => Ok("info".to_owned()),
        Some(text) if text.is_empty() => Ok("info".to_owned()),
        Some(text) => {
            let text = text.to_string_lossy().into_owned();
            check(&text)?;
            Ok(text)
        }
    }
}

/// What a line begins with, before its text.
pub(crate) fn head(level: Level, in_journal: bool) -> String {
    let priority = match (in_journal, level) {
        (false, _) => "",
        (true, Level::Error) => "<3>",
        (true, Level::Warn) => "<4>",
        (true, Level::Info) => "<6>",
        (true, Level::Debug | Level::Trace) => "<7>",
    };
    let time = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    format!("{priority}[{time} {level:5} {}] ", super::MM4D)
}

/// env_logger ignores what it cannot parse and takes a mistyped level for the
/// name of a module: a server without a log. Here each part must be a level or
/// `TARGET=LEVEL`, and one of them must be about mm4d.
fn check(text: &str) -> Result<(), LevelError> {
    let levels = text.split('/').next().unwrap_or_default();
    let mut covers = false;
    for part in levels.split(',').map(str::trim) {
        let (target, level) = match part.split_once('=') {
            Some((target, level)) => (target.trim(), level.trim()),
            None if super::MM4D == part => (part, "trace"),
            None => ("", part),
        };
        if level.parse::<LevelFilter>().is_err() {
            return Err(LevelError(text.to_owned()));
        }
        covers |= super::MM4D.starts_with(target);
    }
    if !covers {
        return Err(LevelError(text.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_levels_that_cover_the_server_are_accepted() {
        for valid in [
            "info",
            "OFF",
            "mm4d=debug",
            "warn,mm4d=trace",
            "mm4d",
            "rustls=off, info",
            "debug/login",
        ] {
            assert_eq!(check(valid), Ok(()), "{valid}");
        }
        for invalid in [
            "inof",
            "mm4d=loud",
            "rustls=debug",
            "info,,",
            "mm4dd=info",
            "info debug",
        ] {
            assert!(check(invalid).is_err(), "{invalid}");
        }
    }
}

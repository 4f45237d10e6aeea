//! Why an accounts file cannot be used, and how to correct it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::access::{self, Use};

/// Why the accounts file cannot be used.
#[derive(Debug)]
pub struct AccountsError {
    pub(super) path: PathBuf,
    pub(super) fault: Fault,
}

/// What is wrong with the file.
#[derive(Debug)]
pub(super) enum Fault {
    Unreadable {
        error: io::Error,
        remedy: Option<String>,
    },
    Line {
        number: usize,
        fault: &'static str,
    },
    Empty,
    NoRandomness(io::Error),
}

impl fmt::Display for AccountsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.fault {
            Fault::Unreadable { error, remedy } => {
                write!(f, "cannot read the accounts file {path}: {error}; ")?;
                match remedy {
                    Some(remedy) => f.write_str(remedy),
                    None if error.kind() == io::ErrorKind::NotFound => write!(
                        f,
                        "make it with `mm4d --add-account ID --accounts {path}`, \
                         or give another with --accounts"
                    ),
                    None => f.write_str("give another with --accounts"),
                }
            }
            Fault::Line { number, fault } => {
                write!(f, "the accounts file {path}, line {number}: {fault}")
            }
            Fault::Empty => write!(
                f,
                "the accounts file {path} holds no account; add one with \
                 `mm4d --add-account ID --accounts {path}`"
            ),
            Fault::NoRandomness(error) => write!(
                f,
                "no random bytes to keep the accounts {path} with: {error}; mm4d needs getrandom(2)"
            ),
        }
    }
}

impl std::error::Error for AccountsError {}

impl AccountsError {
    /// Whether there is nothing in the file but comments.
    pub(in crate::server) fn is_empty(&self) -> bool {
        matches!(self.fault, Fault::Empty)
    }

    pub(in crate::server) fn unreadable(path: &Path, error: io::Error) -> AccountsError {
        let remedy = match error.kind() {
            io::ErrorKind::PermissionDenied => access::remedy(path, Use::Read),
            _ => None,
        };
        AccountsError {
            path: path.to_owned(),
            fault: Fault::Unreadable { error, remedy },
        }
    }

    /// Whether the file is there and may not be read.
    pub fn is_denied(&self) -> bool {
        matches!(&self.fault, Fault::Unreadable { error, .. }
            if error.kind() == io::ErrorKind::PermissionDenied)
    }
}

//! What can fail in the spool.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::maildir::or_here;
use crate::access::{self, Use};

/// A failed step of putting a message into the spool; for the log, not for the
/// peer.
#[derive(Clone, Debug)]
pub struct SpoolError {
    doing: &'static str,
    error: Arc<io::Error>,
}

impl SpoolError {
    /// The writer's thread has died; the server ends.
    pub(crate) fn writer_gone() -> SpoolError {
        SpoolError::new("reach the writer", io::ErrorKind::BrokenPipe.into())
    }

    /// `doing` completes "cannot …", such as "sync the draft".
    pub(crate) fn new(doing: &'static str, error: io::Error) -> SpoolError {
        let error = Arc::new(error);
        SpoolError { doing, error }
    }

    /// Whether it was the process that had no descriptor left, which says
    /// nothing about the spool.
    pub(crate) fn is_shortage_of_descriptors(&self) -> bool {
        let errno = rustix::io::Errno::from_io_error(&self.error);
        matches!(
            errno,
            Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE)
        )
    }

    /// Whether there was no space: messages get 452, and the spool is in order.
    pub(crate) fn is_shortage_of_space(&self) -> bool {
        let errno = rustix::io::Errno::from_io_error(&self.error);
        matches!(
            errno,
            Some(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT)
        )
    }

    /// For `map_err`.
    pub(crate) fn at(doing: &'static str) -> impl FnOnce(io::Error) -> SpoolError {
        move |error| SpoolError::new(doing, error)
    }
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.doing, self.error)
    }
}

impl Error for SpoolError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.error.as_ref())
    }
}

/// Why a directory cannot be the spool.
#[derive(Debug)]
pub enum OpenError {
    /// Another server of this name uses it.
    InUse {
        /// The spool.
        spool: PathBuf,
        /// The name of both servers.
        hostname: String,
    },
    /// A step failed.
    Failed {
        /// The spool.
        spool: PathBuf,
        /// What failed, and why.
        error: SpoolError,
        /// What to do about it, where that is known.
        remedy: Option<String>,
    },
}

impl OpenError {
    /// `error` in `spool`, with the owner and mode that are to be changed.
    pub(crate) fn failed(spool: &Path, error: SpoolError) -> OpenError {
        let denied = error.error.kind() == io::ErrorKind::PermissionDenied;
        let remedy = || {
            let new = spool.join("new");
            let tmp = spool.join("tmp");
            let closed = [new.as_path(), &tmp, spool]
                .into_iter()
                .filter(|directory| directory.exists())
                .find(|directory| !access::is_writable(directory));
            let mut ancestors = spool.ancestors().map(or_here);
            let existing = ancestors.find(|ancestor| ancestor.exists());
            access::remedy(closed.or(existing)?, Use::Write)
        };
        OpenError::Failed {
            spool: spool.to_owned(),
            remedy: denied.then(remedy).flatten(),
            error,
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::InUse { spool, hostname } => write!(
                f,
                "the spool {} is in use by another mm4d with --hostname {hostname}; \
                 stop that one, or give this one another --spool or --hostname",
                spool.display()
            ),
            OpenError::Failed {
                spool,
                error,
                remedy,
            } => {
                write!(f, "the spool {} does not work: {error}; ", spool.display())?;
                match remedy {
                    Some(remedy) => write!(f, "{remedy}, or give another --spool"),
                    None => f.write_str("fix that or give another --spool"),
                }
            }
        }
    }
}

impl Error for OpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            OpenError::InUse { .. } => None,
            OpenError::Failed { error, .. } => Some(error),
        }
    }
}

//! The user of `--user`: looked up before anything else. The process becomes this
//! user after the listeners are bound and before any file is opened, so that the
//! files that a reload needs are known to be readable.

use std::fmt;
use std::io;

/// A user of this system.
#[derive(Debug)]
pub struct User {
    name: String,
    #[cfg(target_os = "linux")]
    found: nix::unistd::User,
}

/// Why the server cannot run as this user.
#[derive(Debug)]
pub enum UserError {
    /// The system has no user of this name.
    Unknown(String),
    /// The system could not look it up, or did not allow the change.
    Failed {
        /// The user.
        name: String,
        /// What failed.
        error: io::Error,
    },
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UserError::Unknown(name) => write!(
                f,
                "cannot run as --user {name}: there is no such user; \
                 make it (useradd --system {name}) or give another"
            ),
            UserError::Failed { name, error } => {
                let hint = match error.kind() {
                    io::ErrorKind::PermissionDenied => "; start mm4d as root, or without --user",
                    _ => "",
                };
                write!(f, "cannot run as --user {name}: {error}{hint}")
            }
        }
    }
}

impl std::error::Error for UserError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            UserError::Unknown(_) => None,
            UserError::Failed { error, .. } => Some(error),
        }
    }
}

/// Whether the process has the rights of root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(target_os = "linux")]
impl User {
    /// Looks `name` up.
    pub fn find(name: &str) -> Result<User, UserError> {
        match nix::unistd::User::from_name(name) {
            Ok(Some(found)) => Ok(User {
                name: name.to_owned(),
                found,
            }),
            Ok(None) => Err(UserError::Unknown(name.to_owned())),
            Err(error) => Err(UserError::Failed {
                name: name.to_owned(),
                error: error.into(),
            }),
        }
    }

    /// Becomes this user, with its groups and no others, for good: no program
    /// that the process might start gives privileges back.
    pub fn switch(&self) -> Result<(), UserError> {
        self.try_switch().map_err(|error| UserError::Failed {
            name: self.name.clone(),
            error,
        })
    }

    fn try_switch(&self) -> io::Result<()> {
        use nix::unistd::{getresuid, initgroups, setresgid, setresuid};
        let (uid, gid) = (self.found.uid, self.found.gid);
        let now = getresuid()?;
        if [now.real, now.effective, now.saved] != [uid; 3] || uid.is_root() {
            let name = std::ffi::CString::new(self.name.as_str())?;
            initgroups(&name, gid)?;
            setresgid(gid, gid, gid)?;
            // Last: it takes the right to do the others.
            setresuid(uid, uid, uid)?;
        }
        Ok(rustix::thread::set_no_new_privs(true)?)
    }
}

#[cfg(not(target_os = "linux"))]
impl User {
    /// Fails: mm4d can do this on Linux alone.
    pub fn find(name: &str) -> Result<User, UserError> {
        Err(UserError::Failed {
            name: name.to_owned(),
            error: io::Error::other("mm4d can do this on Linux alone"),
        })
    }

    /// Never called, for there is no value.
    pub fn switch(&self) -> Result<(), UserError> {
        User::find(&self.name).map(|_| ())
    }
}

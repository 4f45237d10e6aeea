//! `--add-account`: appends an account to the accounts file.
//!
//! The password comes from the terminal, where it is not shown, from one line of
//! standard input, or is made here. It is never an argument and never in a log.
//! The file is replaced by rename, so that a reader and a power cut see the old
//! one or the new one; its owner and mode are kept, a new one has mode 0600. Two
//! of these at the same time wait for each other, by a lock on the directory. A
//! file that is faulty, before or after, is not touched.

use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::fs::FlockOperation;
use rustix::rand::{GetRandomFlags, getrandom};
use sha_crypt::{PasswordHasher, ShaCrypt};

use super::accounts::{self, AccountsError};
use super::files::{self, Source};
use super::options::NewAccount;
use super::prompt;
use crate::smtp::limits::MAX_PASSWORD;
use crate::smtp::sasl::Secret;

/// Random bytes of a generated password: 24 characters.
const GENERATED: usize = 18;
/// Random bytes of a salt: 16 characters, the most there may be.
const SALT: usize = 12;
/// Mode of a new accounts file.
const MODE: u32 = 0o600;

/// Why the account was not added. Nothing was changed.
#[derive(Debug)]
pub enum AddError {
    /// The file has an account of this name.
    Exists {
        /// The name.
        id: String,
        /// The accounts file.
        path: PathBuf,
    },
    /// The file is a symbolic link to nothing.
    Link(PathBuf),
    /// The file is faulty, or would be.
    Accounts(AccountsError),
    /// There is no password that can be used.
    Password(&'static str),
    /// The password could not be read or made.
    Input(io::Error),
    /// The generated password could not be printed.
    Output(io::Error),
    /// The file could not be replaced.
    Write {
        /// The accounts file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddError::Exists { id, path } => write!(
                f,
                "the accounts file {} has an account '{id}' already; \
                 remove its line first, or give another name",
                path.display()
            ),
            AddError::Link(path) => write!(
                f,
                "the accounts file {} is a symbolic link to a file that does not exist; \
                 make that file, remove the link, or give another --accounts",
                path.display()
            ),
            AddError::Accounts(error) => error.fmt(f),
            AddError::Password(fault) => {
                write!(f, "cannot use this password: {fault}; give another")
            }
            AddError::Input(error) => write!(
                f,
                "cannot read the password: {error}; type it on a terminal, \
                 give one line on standard input, or use --generate"
            ),
            AddError::Output(error) => write!(f, "cannot print the password: {error}"),
            AddError::Write { path, error } => write!(
                f,
                "cannot write the accounts file {}: {error}; \
                 its directory must be writable, and its owner can be kept by root or the owner alone",
                path.display()
            ),
        }
    }
}

impl std::error::Error for AddError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            AddError::Accounts(error) => Some(error),
            AddError::Input(error) | AddError::Output(error) | AddError::Write { error, .. } => {
                Some(error)
            }
            AddError::Exists { .. } | AddError::Link(_) | AddError::Password(_) => None,
        }
    }
}

/// Adds `account` to the accounts file `path`, and says how it gets in force. A
/// generated password is printed on standard output.
///
/// # Errors
///
/// See [`AddError`].
pub fn add(account: &NewAccount, path: &Path) -> Result<(), AddError> {
    // The file that a link leads to is replaced, not the link.
    let path = &match fs::canonicalize(path) {
        Ok(path) => path,
        Err(_) if path.is_symlink() && !path.exists() => {
            return Err(AddError::Link(path.to_owned()));
        }
        Err(_) => path.to_owned(),
    };
    // Before anybody types a password for nothing.
    read(account, path)?;
    let password = password(account)?;
    let line = line(account, &password)?;
    let failed = |error| AddError::Write {
        path: path.clone(),
        error,
    };
    let directory = File::open(directory_of(path)).map_err(failed)?;
    rustix::fs::flock(&directory, FlockOperation::LockExclusive)
        .map_err(|error| failed(error.into()))?;
    let mut text = read(account, path)?.unwrap_or_default();
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    text.extend_from_slice(line.as_bytes());
    accounts::check(&text, path).map_err(AddError::Accounts)?;
    let draft = Draft::write(path, &text).map_err(failed)?;
    if account.generate {
        print(&password).map_err(AddError::Output)?;
    }
    draft.publish(&directory).map_err(failed)?;
    let _ = writeln!(
        io::stderr(),
        "added account '{}' to {}; a running mm4d reads it after `systemctl reload mm4d` \
         or `kill -HUP PID`",
        account.id,
        path.display()
    );
    Ok(())
}

/// The file, if there is one. It has no account of that name and no error.
fn read(account: &NewAccount, path: &Path) -> Result<Option<Vec<u8>>, AddError> {
    let text = match files::read(path, accounts::MAX_FILE, Source::RegularFile) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(AddError::Accounts(AccountsError::unreadable(path, error))),
    };
    match accounts::check(&text, path) {
        Ok(ids) if ids.contains(&account.id) => Err(AddError::Exists {
            id: account.id.to_string(),
            path: path.to_owned(),
        }),
        Err(error) if !error.is_empty() => Err(AddError::Accounts(error)),
        _ => Ok(Some(text)),
    }
}

fn password(account: &NewAccount) -> Result<Secret, AddError> {
    let password = if account.generate {
        let random = random::<GENERATED>().map_err(AddError::Input)?;
        Secret::new(URL_SAFE_NO_PAD.encode(random).into_bytes())
    } else if io::stdin().is_terminal() {
        let first = prompt::hidden("Password: ").map_err(AddError::Input)?;
        check(&first)?;
        let again = prompt::hidden("The same again: ").map_err(AddError::Input)?;
        if first != again {
            return Err(AddError::Password("the two that were typed are different"));
        }
        first
    } else {
        prompt::line().map_err(AddError::Input)?
    };
    check(&password)?;
    Ok(password)
}

fn check(password: &Secret) -> Result<(), AddError> {
    let bytes = password.expose();
    if bytes.is_empty() {
        return Err(AddError::Password("it is empty"));
    }
    if bytes.len() > MAX_PASSWORD {
        return Err(AddError::Password("it has more than 512 bytes"));
    }
    // RFC 4616 2 has no way to send one.
    if bytes.contains(&0) {
        return Err(AddError::Password("it contains a NUL"));
    }
    Ok(())
}

fn line(account: &NewAccount, password: &Secret) -> Result<String, AddError> {
    let salt = random::<SALT>().map_err(AddError::Input)?;
    let hash = ShaCrypt::SHA512
        .hash_password_with_salt(password.expose(), &salt)
        .map_err(|error| AddError::Input(io::Error::other(error.to_string())))?;
    let mut line = format!("{}:{}", account.id, hash.as_str());
    if !account.networks.is_empty() || account.max.is_some() {
        let networks: Vec<_> = account.networks.iter().map(ToString::to_string).collect();
        line.push(':');
        line.push_str(&networks.join(","));
    }
    if let Some(max) = account.max {
        line.push_str(&format!(":max={max}"));
    }
    line.push('\n');
    Ok(line)
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let count = getrandom(&mut bytes, GetRandomFlags::empty())?;
    if count < N {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

fn print(password: &Secret) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(password.expose())?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The new file before it takes the place of the old one; removed when dropped.
struct Draft<'a> {
    path: &'a Path,
    temporary: PathBuf,
}

impl<'a> Draft<'a> {
    fn write(path: &'a Path, text: &[u8]) -> io::Result<Draft<'a>> {
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".tmp-{}", std::process::id()));
        let draft = Draft {
            path,
            temporary: path.with_file_name(name),
        };
        // The rest of a process that had the same id.
        let _ = fs::remove_file(&draft.temporary);
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(MODE)
            .open(&draft.temporary)?;
        let mode = match fs::metadata(path) {
            Ok(old) => {
                let new = file.metadata()?;
                if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
                    fchown(&file, Some(old.uid()), Some(old.gid()))?;
                }
                old.mode() & 0o7777
            }
            Err(_) => MODE,
        };
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(text)?;
        file.sync_all()?;
        Ok(draft)
    }

    fn publish(self, directory: &File) -> io::Result<()> {
        fs::rename(&self.temporary, self.path)?;
        directory.sync_all()
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.temporary);
    }
}

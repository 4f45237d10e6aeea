//! Landlock: which files the process can reach, Linux 5.19 and later.
//!
//! A rule holds for a directory and all that is in it. A reload must see a file
//! that was put in the place of the old one, which is another file, so the
//! directory of each configuration file is opened up: the one it is named in,
//! and where it is a symbolic link, the one of each target. The root directory
//! is never opened up, nor is a directory that contains the spool because a
//! link points into it: then the rule holds for the target alone.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus,
    PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::{Files, Needs, NotConfined};

/// The newest version of Landlock that is known here. On an older kernel what
/// it does not know is left out.
const ABI: ABI = ABI::V10;

/// Links that are followed before a path is given up as a loop; the kernel
/// follows as many.
const MAX_LINKS: usize = 40;

/// Confines this thread and those that it starts from now on.
pub(super) fn confine(needs: &Needs<'_>) -> Result<Files, NotConfined> {
    restrict(needs).map_err(NotConfined::Failed)
}

fn restrict(needs: &Needs<'_>) -> Result<Files, Box<dyn Error + Send + Sync>> {
    let mut rules = Rules {
        ruleset: ruleset()?,
        readable: Vec::new(),
        writable: Vec::new(),
    };
    // tmp/ and new/ may be links to elsewhere.
    for directory in ["", "tmp", "new"] {
        rules.write(&needs.spool.join(directory), true)?;
    }
    if let Some(file) = needs.metrics {
        rules.write(&parent(file), false)?;
    }
    let spool = needs.spool.canonicalize()?;
    for file in needs.configuration {
        for path in reads(file, &spool) {
            rules.read(path)?;
        }
    }
    let Rules {
        ruleset,
        readable,
        writable,
    } = rules;
    let abi = enforced(&ruleset.restrict_self()?)?;
    Ok(Files {
        abi,
        readable,
        writable,
    })
}

/// Everything is forbidden that this kernel can forbid.
fn ruleset() -> Result<RulesetCreated, RulesetError> {
    Ruleset::default()
        // Without this right a rename from tmp/ to new/ is always refused.
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::Refer)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI))?
        .handle_access(AccessNet::from_all(ABI))?
        .scope(Scope::from_all(ABI))?
        .create()
}

/// The version in force.
fn enforced(status: &RestrictionStatus) -> io::Result<i32> {
    match (&status.ruleset, &status.landlock) {
        (RulesetStatus::NotEnforced, _) => Err(io::Error::other("it is not enforced")),
        (_, LandlockStatus::Available { effective_abi, .. }) => Ok(*effective_abi as i32),
        _ => Err(io::Error::other("the kernel has no Landlock")),
    }
}

struct Rules {
    ruleset: RulesetCreated,
    readable: Vec<PathBuf>,
    writable: Vec<PathBuf>,
}

impl Rules {
    /// Allows to write in `directory`, and in a spool to read what is there.
    fn write(&mut self, directory: &Path, is_spool: bool) -> Result<(), RulesetError> {
        let mut access = AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::RemoveFile;
        if is_spool {
            access |= AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::Truncate | AccessFs::Refer;
        }
        let Ok(directory) = directory.canonicalize() else {
            return Ok(());
        };
        if is_root(&directory) || !self.add(&directory, access)? {
            return Ok(());
        }
        if !self
            .writable
            .iter()
            .any(|known| directory.starts_with(known))
        {
            self.writable.push(directory);
        }
        Ok(())
    }

    /// Allows to read a file, or what is in a directory.
    fn read(&mut self, path: PathBuf) -> Result<(), RulesetError> {
        let access = match path.is_dir() {
            true => AccessFs::ReadFile | AccessFs::ReadDir,
            false => AccessFs::ReadFile.into(),
        };
        if !self.readable.contains(&path) && self.add(&path, access)? {
            self.readable.push(path);
        }
        Ok(())
    }

    /// False if there is no such path.
    fn add(&mut self, path: &Path, access: BitFlags<AccessFs>) -> Result<bool, RulesetError> {
        let Ok(opened) = PathFd::new(path) else {
            return Ok(false);
        };
        (&mut self.ruleset).add_rule(PathBeneath::new(opened, access))?;
        Ok(true)
    }
}

/// The paths that have to be readable so that `file`, and another one in its
/// place, can be read.
fn reads(file: &Path, spool: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut file = file.to_owned();
    for link in 0..MAX_LINKS {
        let Ok(directory) = parent(&file).canonicalize() else {
            break;
        };
        let is_target = link > 0;
        if is_root(&directory) || (is_target && spool.starts_with(&directory)) {
            found.extend(file.canonicalize());
        } else {
            found.push(directory.clone());
        }
        match fs::read_link(&file) {
            Ok(target) => file = directory.join(target),
            Err(_) => break,
        }
    }
    found
}

fn is_root(directory: &Path) -> bool {
    directory.parent().is_none()
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => PathBuf::from("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_own_directories_of_a_file_and_of_its_links_are_read_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        for directory in ["live/x", "archive/x", "conf", "releases/1", "data/spool"] {
            fs::create_dir_all(dir.join(directory)).unwrap();
        }
        for file in [
            "archive/x/chain1.pem",
            "releases/1/accounts",
            "data/accounts",
        ] {
            fs::write(dir.join(file), "").unwrap();
        }
        symlink("../../archive/x/chain1.pem", dir.join("live/x/chain.pem")).unwrap();
        symlink("releases/1", dir.join("current")).unwrap();
        symlink("../data/accounts", dir.join("conf/accounts")).unwrap();
        symlink("loop", dir.join("conf/loop")).unwrap();
        symlink("/etc", dir.join("etc")).unwrap();
        symlink("/", dir.join("root")).unwrap();

        let spool = dir.join("data/spool");
        let found = |file: &str| {
            let mut found = reads(&dir.join(file), &spool);
            found.dedup();
            found
        };
        let paths =
            |paths: &[&str]| -> Vec<_> { paths.iter().map(|path| dir.join(path)).collect() };
        assert_eq!(found("live/x/chain.pem"), paths(&["live/x", "archive/x"]));
        assert_eq!(found("current/accounts"), paths(&["releases/1"]));
        assert_eq!(found("etc/passwd"), [PathBuf::from("/etc")]);
        // Not what the spool is in, by a link.
        assert_eq!(found("conf/accounts"), paths(&["conf", "data/accounts"]));
        // The one that the file was named in.
        assert_eq!(found("data/accounts"), paths(&["data"]));
        assert_eq!(found("conf/loop"), paths(&["conf"]));
        assert!(found("root/missing").is_empty());
        assert_eq!(found("missing/accounts"), paths(&[]));
    }
}

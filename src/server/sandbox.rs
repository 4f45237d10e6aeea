//! The process confines itself with Landlock: from then on it can read its
//! configuration, write its spool, and neither connect nor listen anywhere
//! else. Linux 5.19 and later; elsewhere, and where the kernel does not offer
//! it, the server runs without.
//!
//! The configuration is opened up by its directories, not its files, for a
//! reload must see the file that has taken the place of the old one. Where a
//! link stands in its path, the directory in which the link's target lies is
//! opened up too, so that the link may be turned to a neighbour of it
//! (`current -> releases/2`).

use std::path::Path;

/// Confines the process, threads started from now on included. Says what it
/// got, for the log.
pub fn confine(spool: &Path, configuration: &[&Path], metrics: Option<&Path>) -> String {
    #[cfg(target_os = "linux")]
    return match linux::confine(spool, configuration, metrics) {
        Ok(state) => state,
        Err(error) => format!("off, the kernel does not offer it: {error}"),
    };
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (spool, configuration, metrics);
        "off, there is none for this system".to_owned()
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::path::{Path, PathBuf};

    use landlock::{
        ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, PathBeneath,
        PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
    };

    pub fn confine(
        spool: &Path,
        configuration: &[&Path],
        metrics: Option<&Path>,
    ) -> Result<String, RulesetError> {
        let abi = ABI::V6;
        let mut ruleset = Ruleset::default()
            // Without this right a rename from tmp/ to new/ is always refused.
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::Refer)?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(abi))?
            .handle_access(AccessNet::from_all(abi))?
            .scope(Scope::from_all(abi))?
            .create()?;
        let write = AccessFs::from_read(abi)
            | AccessFs::WriteFile
            | AccessFs::Truncate
            | AccessFs::MakeReg
            | AccessFs::RemoveFile
            | AccessFs::Refer;
        // tmp/ and new/ may be links to elsewhere.
        for directory in [spool.to_owned(), spool.join("tmp"), spool.join("new")] {
            if let Ok(directory) = PathFd::new(directory) {
                let access = write & !AccessFs::Execute;
                ruleset = ruleset.add_rule(PathBeneath::new(directory, access))?;
            }
        }
        // The metrics file is replaced by rename in its directory.
        if let Some(directory) = metrics.and_then(|file| PathFd::new(parent(file)).ok()) {
            let access = AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::RemoveFile;
            ruleset = ruleset.add_rule(PathBeneath::new(directory, access))?;
        }
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        for directory in configuration.iter().flat_map(|file| directories(file)) {
            if let Ok(directory) = PathFd::new(directory) {
                ruleset = ruleset.add_rule(PathBeneath::new(directory, read))?;
            }
        }
        let status = ruleset.restrict_self()?;
        let enforced = match status.ruleset {
            RulesetStatus::FullyEnforced => "on",
            RulesetStatus::PartiallyEnforced => "on in part",
            RulesetStatus::NotEnforced => "off",
        };
        let kernel = match status.landlock {
            LandlockStatus::Available { effective_abi, .. } => {
                format!("Landlock ABI {}", effective_abi as i32)
            }
            _ => "no Landlock".to_owned(),
        };
        let also = metrics.map_or("", |_| " and its metrics");
        Ok(format!(
            "{enforced}, {kernel}: reads its configuration, writes its spool{also}"
        ))
    }

    /// Links that are followed before a path is given up as a loop; the kernel
    /// follows as many.
    const MAX_LINKS: usize = 40;

    /// Where `file` is, where what it links to is, and where the targets of
    /// links in its path are.
    fn directories(file: &Path) -> Vec<PathBuf> {
        let mut found = vec![parent(file)];
        let mut path = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        for _ in 0..MAX_LINKS {
            let Some((target, rest)) = first_link(&path) else {
                break;
            };
            found.push(parent(&target));
            path = target.join(rest);
        }
        found.extend(file.canonicalize().ok().map(|target| parent(&target)));
        found
    }

    /// The target of the first link in `path`, and what follows the link.
    fn first_link(path: &Path) -> Option<(PathBuf, PathBuf)> {
        let mut ancestors: Vec<&Path> = path.ancestors().collect();
        ancestors.reverse();
        ancestors.into_iter().find_map(|link| {
            let target = std::fs::read_link(link).ok()?;
            let rest = path.strip_prefix(link).ok()?.to_owned();
            Some((parent(link).join(target), rest))
        })
    }

    fn parent(path: &Path) -> PathBuf {
        match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
            Some(parent) => parent.to_owned(),
            None => PathBuf::from("/"),
        }
    }
}

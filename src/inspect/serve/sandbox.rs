//! The process gives up what serving a page does not need: from then on it can read the
//! spool and write nothing, open no connection and start no program.
//!
//! Landlock (Linux 5.13) confines files and, from 6.7, connections; seccomp forbids new
//! sockets and programs on every Linux. Where the kernel lacks one of them, the other is
//! still used.

use std::path::Path;

#[cfg(target_os = "linux")]
pub(super) fn confine(root: &Path) -> Vec<String> {
    let files = files(root).map_err(|error| format!("Landlock: {error}"));
    let calls = calls().map_err(|error| format!("seccomp: {error}"));
    [files, calls].into_iter().filter_map(Result::err).collect()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn confine(_: &Path) -> Vec<String> {
    vec!["this system has neither Landlock nor seccomp".to_owned()]
}

/// Reads below the spool, and the time zones that a filter may name; nothing else.
#[cfg(target_os = "linux")]
fn files(root: &Path) -> Result<(), Box<dyn std::error::Error>> {
    use landlock::{
        ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
        RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
    };
    let abi = ABI::V6;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let new_and_cur = ["", "new", "cur"].map(|name| root.join(name));
    let zones = ["/usr/share/zoneinfo", "/etc/localtime"].map(std::path::PathBuf::from);
    for path in new_and_cur.into_iter().chain(zones) {
        let Ok(path) = path.canonicalize() else {
            continue;
        };
        let access = if path.is_dir() {
            read
        } else {
            AccessFs::ReadFile.into()
        };
        ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(&path)?, access))?;
    }
    match ruleset.restrict_self()?.ruleset {
        RulesetStatus::NotEnforced => Err("the kernel does not have it".into()),
        _ => Ok(()),
    }
}

/// No new socket, connection, program or process.
#[cfg(all(
    target_os = "linux",
    any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    )
))]
fn calls() -> Result<(), Box<dyn std::error::Error>> {
    use nix::libc;
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
    let forbidden = [
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_io_uring_setup,
    ];
    let filter = SeccompFilter::new(
        forbidden
            .into_iter()
            .map(|call| (call, Vec::new()))
            .collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.unsigned_abs()),
        std::env::consts::ARCH.try_into()?,
    )?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program)?;
    Ok(())
}

#[cfg(all(
    target_os = "linux",
    not(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    ))
))]
fn calls() -> Result<(), Box<dyn std::error::Error>> {
    Err("there is no filter for this processor".into())
}

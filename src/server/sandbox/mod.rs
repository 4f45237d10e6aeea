//! The process confines itself, after it has opened what only a start needs
//! and before the first client is served.
//!
//! - Landlock (`files`): from then on it can read the directories of its
//!   configuration, write its spool and its metrics, and, as far as the kernel
//!   knows how, neither bind nor connect, nor signal another process.
//! - seccomp (`calls`): system calls that a running server does not need
//!   fail. It can start no program, open no socket and trace no process. There
//!   is a filter for x86-64, AArch64 and RISC-V of 64 bits.
//!
//! Neither can be undone. Where the kernel lacks one of them, the other one is
//! still used, the server runs, and the log says so.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

// seccompiler knows these processors; Cargo.toml has the same list.
#[cfg_attr(
    not(all(
        target_os = "linux",
        any(
            target_arch = "x86_64",
            target_arch = "aarch64",
            target_arch = "riscv64"
        )
    )),
    path = "no_calls.rs"
)]
mod calls;
#[cfg_attr(not(target_os = "linux"), path = "no_files.rs")]
mod files;

/// What the process needs after its start.
#[derive(Clone, Copy, Debug)]
pub struct Needs<'a> {
    /// Written and read.
    pub spool: &'a Path,
    /// Files that a reload reads again.
    pub configuration: &'a [&'a Path],
    /// The file that is replaced by rename.
    pub metrics: Option<&'a Path>,
}

/// What confines the process. An error is the reason why a part is missing.
#[derive(Debug)]
pub struct Confinement {
    /// Landlock.
    pub files: Result<Files, NotConfined>,
    /// seccomp.
    pub calls: Result<(), NotConfined>,
}

/// Why a part of the confinement is missing.
#[derive(Debug)]
pub enum NotConfined {
    /// This system or processor has no such thing.
    Unsupported(&'static str),
    /// The kernel does not have it or has refused it.
    Failed(Box<dyn Error + Send + Sync>),
}

impl fmt::Display for NotConfined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotConfined::Unsupported(reason) => f.write_str(reason),
            NotConfined::Failed(error) => error.fmt(f),
        }
    }
}

impl Error for NotConfined {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            NotConfined::Unsupported(_) => None,
            NotConfined::Failed(error) => Some(error.as_ref()),
        }
    }
}

/// What Landlock confines the process to.
#[derive(Debug)]
pub struct Files {
    /// The version of Landlock that the kernel has.
    pub abi: i32,
    /// Files and directories that can be read, with all that is in them.
    pub readable: Vec<PathBuf>,
    /// Directories in which files can be made, written, renamed and removed.
    pub writable: Vec<PathBuf>,
}

impl Files {
    /// What this version controls besides files.
    pub fn also(&self) -> &'static str {
        match self.abi {
            ..4 => "",
            4 | 5 => "tcp",
            6..9 => "tcp, signals, abstract sockets",
            9 => "tcp, signals, unix sockets",
            10.. => "tcp, udp, signals, unix sockets",
        }
    }
}

/// Confines this thread and those that it starts from now on.
pub fn confine(needs: &Needs<'_>) -> Confinement {
    Confinement {
        files: files::confine(needs),
        // Last: the calls that Landlock needs are not among those allowed.
        calls: calls::confine(),
    }
}

//! seccomp: the system calls that a running server needs, and no others.
//!
//! A call that is not listed fails with ENOSYS, as on a kernel that does not
//! have it: a C library that is newer than this list then falls back on an older
//! call. `clone3` is not listed, since a filter cannot see its flags; the C
//! library falls back on `clone`, which is allowed for threads alone.

use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Compare,
    SeccompCondition as Condition, SeccompFilter, SeccompRule as Rule,
};

use super::NotConfined;

/// Calls that are allowed whatever their arguments.
const ALLOWED: &[i64] = &[
    // Clients.
    libc::SYS_accept4,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    libc::SYS_ppoll,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    // Open files and pipes.
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_pipe2,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    // The spool, the configuration and the metrics: Landlock says where.
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fchmod,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fremovexattr,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getdents64,
    libc::SYS_linkat,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_readlinkat,
    libc::SYS_renameat2,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_unlinkat,
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Threads, and the end of the process.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_membarrier,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    // Time and randomness.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
];

/// Older names of such calls.
#[cfg(target_arch = "x86_64")]
const OLDER: &[i64] = &[
    libc::SYS_access,
    libc::SYS_dup2,
    libc::SYS_link,
    libc::SYS_lstat,
    libc::SYS_open,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(target_arch = "aarch64")]
const OLDER: &[i64] = &[libc::SYS_renameat];
#[cfg(target_arch = "riscv64")]
const OLDER: &[i64] = &[];

/// Requests of ioctl(2): FIONBIO, FIOCLEX, FIONREAD. Their numbers are the
/// same on every processor here, their types in the C libraries are not.
const REQUESTS: [u64; 3] = [0x5421, 0x5451, 0x541b];

/// Confines this thread and those that it starts from now on.
pub(super) fn confine() -> Result<(), NotConfined> {
    program()
        .map_err(seccompiler::Error::from)
        .and_then(|program| seccompiler::apply_filter(&program))
        .map_err(|error| NotConfined::Failed(error.into()))
}

fn program() -> Result<BpfProgram, BackendError> {
    let anything = ALLOWED.iter().chain(OLDER).map(|call| (*call, Vec::new()));
    let filter = SeccompFilter::new(
        anything.chain(by_argument()?).collect(),
        SeccompAction::Errno(libc::ENOSYS.unsigned_abs()),
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into()?,
    )?;
    filter.try_into()
}

/// Calls that are allowed with certain arguments.
fn by_argument() -> Result<Vec<(i64, Vec<Rule>)>, BackendError> {
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    let executable = u64::from(libc::PROT_EXEC.unsigned_abs());
    let abort = u64::from(libc::SIGABRT.unsigned_abs());
    let set_name = u64::from(libc::PR_SET_NAME.unsigned_abs());
    let not_executable = Compare::MaskedEq(executable);
    let requests = REQUESTS
        .iter()
        .map(|request| rule(1, Compare::Eq, *request));
    Ok(vec![
        // A thread, not a process.
        (
            libc::SYS_clone,
            vec![rule(0, Compare::MaskedEq(thread), thread)?],
        ),
        // No memory that can be executed.
        (libc::SYS_mmap, vec![rule(2, not_executable.clone(), 0)?]),
        (libc::SYS_mprotect, vec![rule(2, not_executable, 0)?]),
        // The name of a thread.
        (libc::SYS_prctl, vec![rule(0, Compare::Eq, set_name)?]),
        // A limit is read, not set.
        (libc::SYS_prlimit64, vec![pointer_is_null(2)?]),
        (libc::SYS_ioctl, requests.collect::<Result<_, _>>()?),
        // abort(3) of this process.
        (
            libc::SYS_tgkill,
            vec![rule(0, Compare::Eq, std::process::id().into())?],
        ),
        (libc::SYS_tkill, vec![rule(1, Compare::Eq, abort)?]),
    ])
}

/// The 32 bits of an argument that the kernel looks at.
fn rule(argument: u8, compare: Compare, value: u64) -> Result<Rule, BackendError> {
    Rule::new(vec![Condition::new(
        argument,
        Length::Dword,
        compare,
        value,
    )?])
}

fn pointer_is_null(argument: u8) -> Result<Rule, BackendError> {
    let condition = Condition::new(argument, Length::Qword, Compare::Eq, 0)?;
    Rule::new(vec![condition])
}

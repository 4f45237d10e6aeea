//! File descriptors: each client needs one, and one more while its message is
//! written.

use std::fmt;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::log;

/// Descriptors that are not for clients or listeners: standard streams, the
/// spool's directories and lock, pipes, a file that is being reloaded.
const OWN: u64 = 20;

/// Refused clients that may read the reason at the same time.
pub(crate) const MAX_REFUSALS: usize = 64;

/// The limit of open files does not allow the connections that were asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct DescriptorsError {
    max_connections: u32,
    needed: u64,
    limit: u64,
}

impl fmt::Display for DescriptorsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DescriptorsError {
            max_connections,
            needed,
            limit,
        } = self;
        write!(
            f,
            "--max-connections {max_connections} needs {needed} file descriptors: the limit is \
             {limit}; raise it (ulimit -Hn, LimitNOFILE= in a unit) or lower --max-connections"
        )
    }
}

impl std::error::Error for DescriptorsError {}

/// Raises the soft limit to the hard one, and the hard one too if that is not
/// enough and the process may. Returns the limit; an error if it is too low for
/// one descriptor per connection.
pub(crate) fn raise(max_connections: u32, listeners: usize) -> Result<u64, DescriptorsError> {
    let needed = OWN + listeners as u64 + u64::from(max_connections);
    let now = getrlimit(Resource::Nofile);
    let hard = now.maximum.unwrap_or(u64::MAX);
    let wanted = comfortable(max_connections, listeners);
    // Only root may raise the hard limit.
    if hard < wanted && set(wanted) {
        return Ok(wanted);
    }
    let is_soft_kept = now.current.is_some_and(|soft| soft < hard) && !set(hard);
    let limit = match now.current {
        Some(soft) if is_soft_kept => soft,
        _ => hard,
    };
    if limit < needed {
        return Err(DescriptorsError {
            max_connections,
            needed,
            limit,
        });
    }
    Ok(limit)
}

/// Enough for every client to send a message while others are refused.
fn comfortable(max_connections: u32, listeners: usize) -> u64 {
    OWN + listeners as u64 + 2 * u64::from(max_connections) + MAX_REFUSALS as u64
}

fn set(limit: u64) -> bool {
    let limit = Rlimit {
        current: Some(limit),
        maximum: Some(limit),
    };
    setrlimit(Resource::Nofile, limit).is_ok()
}

/// Logs that there may be no descriptor for a draft when every client sends at
/// once.
pub(crate) fn warn_if_few(limit: u64, max_connections: u32, listeners: usize) {
    if limit < comfortable(max_connections, listeners) {
        log::few_descriptors(limit, max_connections);
    }
}

//! File descriptors: each client needs one, and one more while its mail is
//! written.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::log;

/// Descriptors beside those of clients and listeners: standard streams, the
/// spool's directories and lock, pipes, a file that is being reloaded.
const OWN: u64 = 20;

/// Refused clients that are given time to read why, all at once.
pub const MAX_REFUSALS: usize = 64;

/// Raises the soft limit to the hard one, and the hard one too where that is
/// not enough and the process may. Says how many there are; an error where not
/// every connection could have one.
pub fn raise(max_connections: u32, listeners: usize) -> Result<u64, String> {
    let least = OWN + listeners as u64 + u64::from(max_connections);
    let now = getrlimit(Resource::Nofile);
    let hard = now.maximum.unwrap_or(u64::MAX);
    // Root may; for everyone else the hard limit stands.
    let wanted = comfortable(max_connections, listeners);
    if hard < wanted && set(wanted) {
        return Ok(wanted);
    }
    if hard < least {
        return Err(format!(
            "--max-connections {max_connections} needs {least} file descriptors and the hard \
             limit is {hard}; raise it with ulimit -Hn or LimitNOFILE=, or lower --max-connections"
        ));
    }
    if now.current.is_some_and(|soft| soft < hard) && !set(hard) {
        let soft = now.current.unwrap_or(0);
        if soft < least {
            return Err(format!(
                "--max-connections {max_connections} needs {least} file descriptors, the limit is \
                 {soft} and cannot be raised; raise it with ulimit -n, or lower --max-connections"
            ));
        }
        return Ok(soft);
    }
    Ok(hard)
}

/// Enough for every client to send a mail while others are refused.
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

/// Says in the log that drafts may run short when every client sends at once.
pub fn warn_if_few(limit: u64, max_connections: u32, listeners: usize) {
    if limit < comfortable(max_connections, listeners) {
        log::few_descriptors(limit, max_connections);
    }
}

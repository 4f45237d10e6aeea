//! Bounds for a test process, whatever fails in it.
//!
//! - Time: a watchdog aborts the process after [`LIMIT`], or after the time that
//!   [`limit`] was called with.
//! - Children: each runs in a process group of its own. A small shell, the
//!   reaper, kills the groups that are left when the test process ends, however
//!   it ends.
//! - Files and bytes: a load generator asks a [`Stop`] before each mail. It says
//!   no after its maximum count, and once its [`StopGuard`] was dropped, which a
//!   failing assertion does too.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How long a test process may run: many times what the slowest one takes.
pub const LIMIT: Duration = Duration::from_secs(20 * 60);

/// Kills the process groups it was given when its input ends. `kill` and `read`
/// are built into the shell: no other program is needed.
const REAPER: &str = r#"
groups=' '
while read -r what group; do
    case $what in
    add) groups="$groups$group " ;;
    remove) groups="${groups%% $group *} ${groups#* $group }" ;;
    esac
done
for group in $groups; do kill -KILL "-$group" 2>/dev/null; done
"#;

struct Guard {
    reaper: ChildStdin,
    groups: BTreeSet<u32>,
}

/// Spawns `command` in a process group that does not outlive this process.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    limit(LIMIT);
    let mut guard = guard().lock().unwrap_or_else(PoisonError::into_inner);
    // Under the lock, so that the reaper receives a group before it is removed.
    let child = command.process_group(0).spawn()?;
    writeln!(guard.reaper, "add {}", child.id())?;
    guard.groups.insert(child.id());
    Ok(child)
}

/// Kills the whole process group of `child`, and waits for the child's end.
pub fn kill(child: &mut Child) {
    if !matches!(child.try_wait(), Ok(Some(_))) {
        let _ = kill_process_group(pid(child.id()), Signal::KILL);
        let _ = child.wait();
    }
    release(child.id());
}

/// Forgets a child that was waited for: its number may be another's soon.
pub fn release(group: u32) {
    let mut guard = guard().lock().unwrap_or_else(PoisonError::into_inner);
    if guard.groups.remove(&group) {
        let _ = writeln!(guard.reaper, "remove {group}");
    }
}

/// Sends a signal by its name, such as `TERM`.
pub fn signal(process: u32, name: &str) {
    let signal = match name {
        "TERM" => Signal::TERM,
        "INT" => Signal::INT,
        "HUP" => Signal::HUP,
        "KILL" => Signal::KILL,
        "STOP" => Signal::STOP,
        "CONT" => Signal::CONT,
        "USR1" => Signal::USR1,
        "USR2" => Signal::USR2,
        other => panic!("unknown signal {other:?}; add it here"),
    };
    kill_process(pid(process), signal).unwrap();
}

fn pid(process: u32) -> Pid {
    Pid::from_raw(i32::try_from(process).unwrap()).unwrap()
}

/// Aborts this process after `time`; the first call counts.
pub fn limit(time: Duration) {
    static WATCHDOG: OnceLock<()> = OnceLock::new();
    WATCHDOG.get_or_init(|| {
        thread::spawn(move || {
            thread::sleep(time);
            eprintln!("the tests ran for more than {time:?}: aborting; a test never ends");
            std::process::abort();
        });
    });
}

#[allow(clippy::zombie_processes, reason = "it ends after this process")]
fn guard() -> &'static Mutex<Guard> {
    static GUARD: OnceLock<Mutex<Guard>> = OnceLock::new();
    GUARD.get_or_init(|| {
        // In a group of its own, where an interrupt from the terminal does not
        // reach it.
        let mut reaper = Command::new("/bin/sh")
            .args(["-c", REAPER])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Mutex::new(Guard {
            reaper: reaper.stdin.take().unwrap(),
            groups: BTreeSet::new(),
        })
    })
}

/// Whether load goes on: until it is stopped, and for at most a number of mails.
pub struct Stop {
    stopped: AtomicBool,
    left: AtomicUsize,
}

/// Stops the load when it is dropped.
pub struct StopGuard<'a>(&'a Stop);

impl Stop {
    /// At most `mails` of all senders together.
    pub fn after(mails: usize) -> Stop {
        Stop {
            stopped: AtomicBool::new(false),
            left: AtomicUsize::new(mails),
        }
    }

    /// Whether one more mail may be sent. Counts it.
    pub fn one_more(&self) -> bool {
        let take = |left: usize| left.checked_sub(1);
        self.goes_on()
            && self
                .left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .is_ok()
    }

    /// Whether nobody has stopped it and mails are left.
    pub fn goes_on(&self) -> bool {
        !self.stopped.load(Ordering::Relaxed) && self.left.load(Ordering::Relaxed) > 0
    }

    /// Stops it.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Stops it when the guard is dropped, by a panic too. Make the guard inside
    /// `thread::scope`, which waits for its threads before it ends.
    pub fn guard(&self) -> StopGuard<'_> {
        StopGuard(self)
    }
}

impl Drop for StopGuard<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Whether a process with this number exists and is not a zombie.
pub fn is_alive(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
    stat.is_ok_and(|stat| {
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest.as_bytes()[0]);
        !matches!(state, Some(b'Z' | b'X'))
    })
}

/// Waits for a process's end for at most `time`.
pub fn ends_within(process: u32, time: Duration) -> bool {
    let deadline = Instant::now() + time;
    while is_alive(process) {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
    true
}

//! What the kernel says of a process: its time on the processors, its memory.
//!
//! Read from /proc, so Linux alone. The time comes in ticks of 10 ms, and a
//! measurement must be long enough for that; the memory is the private part of
//! smaps_rollup, which is what the process and no other costs. A process that has
//! ended is an error.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::time::Duration;

/// One tick of utime and stime, USER_HZ, which is 100 on every Linux of today.
const TICK: Duration = Duration::from_millis(10);

/// The processor time of a process and of its children that have been waited for.
pub fn cpu(pid: u32) -> io::Result<Duration> {
    Ok(Stat::read(pid)?.cpu)
}

/// The processor time of a process and all its descendants, alive or gone.
pub fn cpu_of_tree(root: u32) -> io::Result<Duration> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let mut stats = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may end between the listing and the look at it.
        let Ok(stat) = Stat::read(pid) else { continue };
        children.entry(stat.parent).or_default().push(pid);
        stats.insert(pid, stat.cpu);
    }
    let mut total = Duration::ZERO;
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        total += stats.get(&pid).copied().unwrap_or_default();
        open.extend(children.remove(&pid).unwrap_or_default());
    }
    Ok(total)
}

/// The memory that is this process's alone, in KiB.
pub fn private_kib(pid: u32) -> io::Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    Ok(rollup
        .lines()
        .filter(|line| line.starts_with("Private_"))
        .filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok())
        .sum())
}

/// The threads of a process.
pub fn threads(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/task"))?.count())
}

struct Stat {
    parent: u32,
    cpu: Duration,
}

impl Stat {
    fn read(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name is in parentheses and may hold anything, parentheses too.
        let fields: Vec<&str> = stat
            .rsplit_once(") ")
            .map(|(_, rest)| rest.split_ascii_whitespace().collect())
            .unwrap_or_default();
        let number = |at: usize| -> u32 {
            fields
                .get(at)
                .and_then(|field| field.parse().ok())
                .unwrap_or_default()
        };
        // state ppid … utime stime cutime cstime, fields 14 to 17 of proc(5).
        Ok(Self {
            parent: number(1),
            cpu: TICK * (11..15).map(number).sum::<u32>(),
        })
    }
}

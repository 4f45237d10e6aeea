//! A disk whose syncs are slow: sessions sync for the writer, several at a time, and
//! no more is acknowledged than is durable.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod support;

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use mm4d::spool::disk::{Disk, DraftFile, Leftover};
use mm4d::spool::{Spool, SpoolError};
use support::disk::{Fault, FaultyDisk};
use support::guard;
use support::spool::{NO_RESERVE, check, deliver, deliver_all, mails};

/// Above what the spool calls slow, whatever the machine does.
const SLOW: Duration = Duration::from_millis(2);

/// Messages after which the spool has noticed.
const NOTICED: usize = 5;

const DEADLINE: Duration = Duration::from_secs(30);

/// A [`FaultyDisk`] whose syncs of new/ take their time, and can be held.
#[derive(Clone)]
struct SlowDisk {
    disk: FaultyDisk,
    seen: Arc<Mutex<Seen>>,
    changed: Arc<Condvar>,
}

#[derive(Default)]
struct Seen {
    /// Syncs of new/ that are under way, now and at most so far.
    syncs: usize,
    most: usize,
    /// No sync of new/ ends.
    held: bool,
    /// Probes so far, and those that began while a sync was under way.
    probes: usize,
    early_probes: usize,
}

impl SlowDisk {
    fn new(disk: FaultyDisk) -> SlowDisk {
        SlowDisk {
            disk,
            seen: Arc::default(),
            changed: Arc::default(),
        }
    }

    fn set(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap());
        self.changed.notify_all();
    }

    /// Waits until `is_so`; false if that takes too long.
    fn wait(&self, mut is_so: impl FnMut(&Seen) -> bool) -> bool {
        let seen = self.seen.lock().unwrap();
        let waited = self
            .changed
            .wait_timeout_while(seen, DEADLINE, |seen| !is_so(seen));
        !waited.unwrap().1.timed_out()
    }

    /// Fails if it does not stay so for the time that what is wrong would need. It is
    /// no failure of a slow machine that it does.
    fn stays_for_a_moment(&self, mut is_so: impl FnMut(&Seen) -> bool) {
        for _ in 0..20 {
            thread::sleep(Duration::from_millis(1));
            let still = is_so(&self.seen.lock().unwrap());
            assert!(still);
        }
    }
}

impl Disk for SlowDisk {
    fn sync_new(&self) -> io::Result<()> {
        self.set(|seen| {
            seen.syncs += 1;
            seen.most = seen.most.max(seen.syncs);
        });
        let met = self.wait(|seen| !seen.held);
        thread::sleep(SLOW);
        let result = self.disk.sync_new();
        self.set(|seen| seen.syncs -= 1);
        match met {
            true => result,
            false => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn probe(&self) -> Result<(), SpoolError> {
        self.set(|seen| {
            seen.probes += 1;
            seen.early_probes += usize::from(seen.syncs > 0);
        });
        self.disk.probe()
    }

    fn path(&self) -> &Path {
        self.disk.path()
    }
    fn create(&self, name: &str) -> io::Result<Box<dyn DraftFile>> {
        self.disk.create(name)
    }
    fn remove_draft(&self, name: &str) -> io::Result<()> {
        self.disk.remove_draft(name)
    }
    fn publish(&self, name: &str) -> io::Result<()> {
        self.disk.publish(name)
    }
    fn unpublish(&self, name: &str) -> io::Result<()> {
        self.disk.unpublish(name)
    }
    fn sync_tmp(&self) -> io::Result<()> {
        self.disk.sync_tmp()
    }
    fn renames_are_atomic(&self) -> bool {
        self.disk.renames_are_atomic()
    }
    fn syncs_tell_all(&self) -> bool {
        self.disk.syncs_tell_all()
    }
    fn check_in_place(&self) -> io::Result<()> {
        self.disk.check_in_place()
    }
    fn check_writable(&self) -> io::Result<()> {
        self.disk.check_writable()
    }
    fn drafts(&self) -> io::Result<Vec<String>> {
        self.disk.drafts()
    }
    fn leftover(&self, name: &str) -> io::Result<Leftover> {
        self.disk.leftover(name)
    }
    fn free(&self) -> io::Result<u64> {
        self.disk.free()
    }
}

/// A spool on a disk that it knows to be slow, with its writer.
struct Running {
    spool: Option<Arc<Spool>>,
    writer: Option<thread::JoinHandle<()>>,
}

impl Running {
    fn start(disk: &SlowDisk) -> Running {
        // A wake that is lost would be a wait for ever.
        guard::limit(Duration::from_secs(300));
        let (spool, writer) = Spool::new(disk.clone(), "test.example", NO_RESERVE);
        let spool = Arc::new(spool);
        let writer = thread::spawn(writer);
        for _ in 0..NOTICED {
            deliver(&spool, b"so that it is noticed\r\n").unwrap();
        }
        Running {
            spool: Some(spool),
            writer: Some(writer),
        }
    }

    fn spool(&self) -> &Arc<Spool> {
        self.spool.as_ref().unwrap()
    }

    /// See [`deliver_all`].
    fn deliver(&self, mails: &[Vec<u8>]) -> Vec<(String, Vec<u8>)> {
        deliver_all(self.spool(), mails)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.spool = None;
        let writer = self.writer.take().unwrap();
        if !thread::panicking() {
            writer.join().unwrap();
        }
    }
}

#[test]
fn a_message_does_not_wait_for_the_syncs_of_others_but_there_is_a_limit() {
    let disk = SlowDisk::new(FaultyDisk::default());
    let running = Running::start(&disk);
    assert_eq!(disk.seen.lock().unwrap().most, 1);
    disk.set(|seen| seen.held = true);
    let acknowledged = thread::scope(|scope| {
        let send = || scope.spawn(|| deliver(running.spool(), b"one of many\r\n").is_ok());
        let mut sessions = Vec::new();
        for number in 1..=8 {
            sessions.push(send());
            assert!(disk.wait(|seen| seen.syncs == number), "{number} wait");
        }
        sessions.extend((0..5).map(|_| send()));
        disk.stays_for_a_moment(|seen| seen.most == 8);
        disk.set(|seen| seen.held = false);
        let outcomes = sessions.into_iter().map(|session| session.join().unwrap());
        outcomes.filter(|&acknowledged| acknowledged).count()
    });
    assert_eq!(acknowledged, 13);
    assert_eq!(disk.seen.lock().unwrap().most, 8);
}

/// Where an error may be reported to one sync only, there is one at a time.
#[test]
fn without_a_journal_one_sync_follows_the_other() {
    let disk = SlowDisk::new(FaultyDisk::without_journal());
    let running = Running::start(&disk);
    assert_eq!(running.deliver(&mails(20)).len(), 20);
    assert_eq!(disk.seen.lock().unwrap().most, 1);
}

#[test]
fn any_single_fault_while_sessions_sync_is_survived_or_refused() {
    let mails = mails(4);
    let mut all = mails.clone();
    all.push(b"so that it is noticed\r\n".to_vec());
    for fault in [Fault::Once, Fault::From, Fault::Unheard] {
        for number in 1.. {
            let disk = SlowDisk::new(FaultyDisk::default());
            let running = Running::start(&disk);
            let before = disk.disk.calls().len();
            disk.disk.break_call(fault(before + number));
            let acknowledged = running.deliver(&mails);
            let what = format!("{:?} {:?}", fault(number), disk.disk.calls());
            check(&disk.disk, &acknowledged, &all, &what);
            if disk.disk.calls().len() < before + number {
                assert_eq!(acknowledged.len(), mails.len(), "{what}");
                assert!(number > 16, "{what}");
                break;
            }
            assert!(number < 1000, "no end of calls");
        }
    }
}

/// A session that cannot sync takes the names back, and has the spool probed.
#[test]
fn a_session_that_cannot_sync_takes_back_the_names_of_all() {
    let disk = SlowDisk::new(FaultyDisk::default());
    let running = Running::start(&disk);
    let before = disk.disk.new_now().len();
    disk.disk.move_new(true);
    assert!(running.deliver(&mails(5)).is_empty());
    assert_eq!(disk.disk.new_now().len(), before);
    assert!(disk.disk.tmp().is_empty());
    assert!(disk.wait(|seen| seen.probes > 0), "no probe");
    disk.disk.move_new(false);
    assert_eq!(running.deliver(&mails(5)).len(), 5);
}

/// After a probe the directories may be others than those that were renamed into.
#[test]
fn a_probe_waits_for_the_syncs_that_are_under_way() {
    let disk = SlowDisk::new(FaultyDisk::default());
    let running = Running::start(&disk);
    disk.set(|seen| seen.held = true);
    thread::scope(|scope| {
        let first = scope.spawn(|| deliver(running.spool(), b"held\r\n").is_ok());
        assert!(disk.wait(|seen| seen.syncs == 1), "no sync");
        // Create, two writes, a sync of the contents, and the rename, which fails.
        let calls = disk.disk.calls().len();
        disk.disk
            .break_call(Fault::Once(calls + rename_of_one_line()));
        assert!(deliver(running.spool(), b"not renamed\r\n").is_err());
        let last = disk.disk.calls().pop().unwrap();
        assert!(last.starts_with("remove "), "{:?}", disk.disk.calls());
        // The probe is asked for by now.
        disk.stays_for_a_moment(|seen| seen.probes == 0);
        disk.set(|seen| seen.held = false);
        assert!(first.join().unwrap());
    });
    assert!(disk.wait(|seen| seen.probes > 0), "no probe");
    assert_eq!(disk.seen.lock().unwrap().early_probes, 0);
    assert_eq!(running.deliver(&mails(2)).len(), 2);
}

/// The number of the call that renames a message of one line.
fn rename_of_one_line() -> usize {
    let disk = SlowDisk::new(FaultyDisk::default());
    let running = Running::start(&disk);
    let before = disk.disk.calls().len();
    deliver(running.spool(), b"not renamed\r\n").unwrap();
    let calls = disk.disk.calls();
    let rename = calls[before..]
        .iter()
        .position(|call| call.starts_with("rename"));
    rename.unwrap() + 1
}

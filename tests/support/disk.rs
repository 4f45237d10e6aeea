//! A disk in memory that a test can break at its n-th call, and that knows
//! what a power cut would leave: only what was synced is sure to survive, and
//! what was not synced may survive all the same. With a journal a rename
//! survives as a whole or not at all. Without one, tmp/ and new/ are written
//! independently of each other, and a file that has both names is counted as
//! having one: removing either name frees it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use mm4d::spool::SpoolError;
use mm4d::spool::disk::{Disk, DraftFile, Leftover};

/// The call that is broken, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The n-th call fails, the ones after it work.
    Once(usize),
    /// The n-th call and all after it fail: the device is lost.
    From(usize),
    /// The n-th call works and nobody hears of it: it is said to have failed.
    Unheard(usize),
}

/// Shared by its clones.
#[derive(Clone, Default)]
pub struct FaultyDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    fault: Option<Fault>,
    calls: Vec<String>,
    tmp: BTreeMap<String, usize>,
    new: BTreeMap<String, usize>,
    /// The names in tmp/ and new/ as last synced.
    durable_tmp: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    no_journal: bool,
    /// Somebody has put another directory in the place of new/.
    new_moved: bool,
    files: Vec<Contents>,
    free: Option<u64>,
}

#[derive(Clone, Default)]
struct Contents {
    written: Vec<u8>,
    /// As last synced; a sync that failed leaves nobody knows what.
    synced: Vec<u8>,
    /// After a crash without a journal: its one counted link was removed.
    freed: bool,
}

/// Which of the names that a crash may keep it keeps, without a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Those last synced.
    Synced,
    /// Those of the moment of the crash.
    Current,
    /// All of them.
    Both,
}

struct DraftHandle {
    disk: FaultyDisk,
    file: usize,
}

impl FaultyDisk {
    /// A disk with one broken call.
    pub fn broken(fault: Fault) -> FaultyDisk {
        let disk = FaultyDisk::default();
        disk.lock().fault = Some(fault);
        disk
    }

    /// Breaks a call of this disk.
    pub fn break_call(&self, fault: Fault) {
        self.lock().fault = Some(fault);
    }

    /// A disk without a journal.
    pub fn without_journal() -> FaultyDisk {
        let disk = FaultyDisk::default();
        disk.lock().no_journal = true;
        disk
    }

    /// Moves new/ away, or back.
    pub fn move_new(&self, away: bool) {
        self.lock().new_moved = away;
    }

    /// The disk as it is after a crash, of whose unsynced names `tmp` and `new`
    /// are kept. The names in `consumed` were moved out of new/ in time.
    pub fn after_crash(&self, tmp: Kept, new: Kept, consumed: &[String]) -> FaultyDisk {
        let state = self.lock();
        let kept = |kept, synced: &BTreeMap<String, usize>, current: &BTreeMap<String, usize>| {
            let mut names = match kept {
                Kept::Synced => BTreeMap::new(),
                Kept::Current | Kept::Both => current.clone(),
            };
            if kept != Kept::Current {
                names.extend(synced.clone());
            }
            names
        };
        let mut after = State {
            tmp: kept(tmp, &state.durable_tmp, &state.tmp),
            new: kept(new, &state.durable, &state.new),
            no_journal: state.no_journal,
            files: state.files.clone(),
            ..State::default()
        };
        for file in &mut after.files {
            file.written = file.synced.clone();
        }
        for name in consumed {
            after.new.remove(name);
        }
        FaultyDisk(Arc::new(Mutex::new(after)))
    }

    /// Whether the file that has the number `file` still has its contents.
    pub fn is_whole(&self, file: usize) -> bool {
        !self.lock().files[file].freed
    }

    /// The file of each name in new/.
    pub fn files(&self) -> BTreeMap<String, usize> {
        self.lock().new.clone()
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }

    /// The names in tmp/ now.
    pub fn tmp(&self) -> Vec<String> {
        self.lock().tmp.keys().cloned().collect()
    }

    /// What new/ holds now.
    pub fn new_now(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.lock();
        let contents = |file: &usize| state.files[*file].written.clone();
        state
            .new
            .iter()
            .map(|(name, file)| (name.clone(), contents(file)))
            .collect()
    }

    /// What new/ holds after a power cut that loses all it may.
    pub fn new_after_the_worst_cut(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.lock();
        state
            .durable
            .iter()
            .map(|(name, file)| (name.clone(), state.files[*file].synced.clone()))
            .collect()
    }

    /// What new/ may hold after a power cut that keeps every name it may, and
    /// of the contents only what was synced.
    pub fn new_after_a_lucky_cut(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.lock();
        state
            .durable
            .iter()
            .chain(&state.new)
            .map(|(name, file)| (name.clone(), state.files[*file].synced.clone()))
            .collect()
    }

    /// Says how much is free.
    pub fn set_free(&self, bytes: u64) {
        self.lock().free = Some(bytes);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Counts a call, does it unless it is broken, and says how it went.
    fn call<T>(
        &self,
        what: String,
        run: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.lock();
        let number = state.calls.len() + 1;
        state.calls.push(what);
        let broken = || Err(io::Error::from_raw_os_error(5));
        match state.fault {
            Some(Fault::Once(at)) if number == at => broken(),
            Some(Fault::From(at)) if number >= at => broken(),
            Some(Fault::Unheard(at)) if number == at => {
                let _ = run(&mut state);
                broken()
            }
            _ => run(&mut state),
        }
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for FaultyDisk {
    fn path(&self) -> &Path {
        Path::new("faulty")
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DraftFile>> {
        self.call(format!("create {name}"), |state| {
            state.files.push(Contents::default());
            let file = state.files.len() - 1;
            state.tmp.insert(name.to_owned(), file);
            // The kernel may write a directory at any time; here it is at once.
            state.durable_tmp.insert(name.to_owned(), file);
            let disk = self.clone();
            Ok(Box::new(DraftHandle { disk, file }) as Box<dyn DraftFile>)
        })
    }

    fn remove_draft(&self, name: &str) -> io::Result<()> {
        self.call(format!("remove {name}"), |state| {
            let file = state.tmp.remove(name).ok_or_else(missing)?;
            state.files[file].freed = true;
            Ok(())
        })
    }

    fn publish(&self, name: &str) -> io::Result<()> {
        self.call(format!("rename {name}"), |state| {
            if state.new.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let file = state.tmp.remove(name).ok_or_else(missing)?;
            state.new.insert(name.to_owned(), file);
            Ok(())
        })
    }

    fn sync_new(&self) -> io::Result<()> {
        self.call("sync new".to_owned(), |state| {
            state.durable = state.new.clone();
            if !state.no_journal {
                state.durable_tmp = state.tmp.clone();
            }
            Ok(())
        })
    }

    fn sync_tmp(&self) -> io::Result<()> {
        self.call("sync tmp".to_owned(), |state| {
            state.durable_tmp = state.tmp.clone();
            Ok(())
        })
    }

    fn renames_are_atomic(&self) -> bool {
        !self.lock().no_journal
    }

    fn syncs_tell_all(&self) -> bool {
        !self.lock().no_journal
    }

    fn check_in_place(&self) -> io::Result<()> {
        match self.lock().new_moved {
            true => Err(missing()),
            false => Ok(()),
        }
    }

    fn check_writable(&self) -> io::Result<()> {
        Ok(())
    }

    /// Is not counted: it follows a fault, and must not be the next one.
    fn probe(&self) -> Result<(), SpoolError> {
        Ok(())
    }

    fn drafts(&self) -> io::Result<Vec<String>> {
        Ok(self.tmp())
    }

    fn leftover(&self, name: &str) -> io::Result<Leftover> {
        let state = self.lock();
        let draft = state.tmp.get(name).ok_or_else(missing)?;
        Ok(match state.new.get(name) {
            Some(message) if message == draft && state.no_journal => Leftover::Message,
            _ => Leftover::Dead,
        })
    }

    fn unpublish(&self, name: &str) -> io::Result<()> {
        self.call(format!("unpublish {name}"), |state| {
            state.new.remove(name).map(drop).ok_or_else(missing)
        })
    }

    fn free(&self) -> io::Result<u64> {
        Ok(self.lock().free.unwrap_or(u64::MAX))
    }
}

impl Write for DraftHandle {
    /// Takes a part only, as write(2) may.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let file = self.file;
        let some = &bytes[..bytes.len().div_ceil(2)];
        self.disk.call(format!("write {}", some.len()), |state| {
            state.files[file].written.extend_from_slice(some);
            Ok(some.len())
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DraftFile for DraftHandle {
    fn sync(&mut self) -> io::Result<()> {
        let file = self.file;
        let result = self.disk.call("sync draft".to_owned(), |state| {
            state.files[file].synced = state.files[file].written.clone();
            Ok(())
        });
        if result.is_err() {
            // The kernel may call the lost pages clean: half of it is there.
            let contents = &mut self.disk.lock().files[file];
            contents.synced = contents.written[..contents.written.len() / 2].to_vec();
        }
        result
    }
}

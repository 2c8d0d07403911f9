//! A disk in memory that knows what is durable, fails on demand, and can lose power at any call.
//!
//! 1. It keeps the contract of [`Disk`] as the real one does (`contract.rs` runs against both).
//! 2. It is stricter than any file system: nothing is durable, and nothing is ordered, but by `sync` and `sync_dir`.
//! 3. It is deterministic: one thread's calls have the numbers 1, 2, 3, ..., and faults name calls, not times.
//!
//! A test takes states ([`SimDisk::state`], or an observer that sees the state before every call), lets the power fail
//! ([`DiskState::crash`]) or the process die ([`DiskState::kill`]), and opens the outcome with [`SimDisk::from_state`].

mod fault;
mod state;

pub use fault::{Call, CallKind, Effect, Fault};
pub use rustix::io::Errno;
pub use state::{CrashRules, DiskState, SECTOR_LEN};

use super::chooser::Chooser;
use super::{DirEntry, DirLock, Disk, File, OpenMode, check_name};
use parking_lot::{Mutex, MutexGuard};
use state::{Ino, NameOp};
use std::io;
use std::sync::Arc;

/// Sees every call and the state before it.
pub type Observer = Box<dyn FnMut(&Call, &DiskState) + Send>;

/// A simulated disk. Clones share it.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    state: DiskState,
    calls: u64,
    faults: Vec<Fault>,
    hits: u64,
    capacity: Option<u64>,
    off: bool,
    locked: bool,
    failed_dir_syncs: u64,
    observer: Option<Observer>,
    trace: Option<Vec<Call>>,
}

impl SimDisk {
    /// An empty folder.
    pub fn new() -> Self {
        SimDisk::default()
    }

    /// A folder that a crash or a test made.
    pub fn from_state(state: DiskState) -> Self {
        SimDisk(Arc::new(Mutex::new(Inner { state, ..Inner::default() })))
    }

    /// All that the disk holds now.
    pub fn state(&self) -> DiskState {
        self.0.lock().state.clone()
    }

    /// Changes what the disk holds: damage while a process runs.
    pub fn change<T>(&self, change: impl FnOnce(&mut DiskState) -> T) -> T {
        change(&mut self.0.lock().state)
    }

    /// How many calls it got so far.
    pub fn calls(&self) -> u64 {
        self.0.lock().calls
    }

    /// Replaces all faults; they count calls from now on.
    pub fn set_faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.0.lock().faults = faults.into_iter().collect();
    }

    /// How many calls a fault has hit so far.
    pub fn fault_hits(&self) -> u64 {
        self.0.lock().hits
    }

    /// The disk is full when this many bytes are in use; `None` never.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.lock().capacity = bytes;
    }

    /// Bytes of blocks in use or reserved.
    pub fn used(&self) -> u64 {
        self.0.lock().state.used()
    }

    /// From now on `observer` sees every call and the state before it. It must not call the disk.
    pub fn observe(&self, observer: impl FnMut(&Call, &DiskState) + Send + 'static) {
        self.0.lock().observer = Some(Box::new(observer));
    }

    /// Ends observation.
    pub fn unobserve(&self) {
        self.0.lock().observer = None;
    }

    /// From now on calls are kept, for [`SimDisk::trace`].
    pub fn keep_trace(&self) {
        self.0.lock().trace = Some(Vec::new());
    }

    /// The calls since [`SimDisk::keep_trace`].
    pub fn trace(&self) -> Vec<Call> {
        self.0.lock().trace.clone().unwrap_or_default()
    }

    /// The power fails: this and every later call is an error.
    pub fn power_off(&self) {
        self.0.lock().off = true;
    }

    /// Counts and announces a call, and finds what goes wrong with it.
    fn begin(&self, kind: CallKind, name: &Arc<str>, offset: u64, len: u64) -> io::Result<Begun<'_>> {
        let mut inner = self.0.lock();
        if inner.off {
            return Err(powerless());
        }
        inner.calls += 1;
        let call = Call { number: inner.calls, kind, name: name.clone(), offset, len };
        if let Some(mut observer) = inner.observer.take() {
            observer(&call, &inner.state);
            inner.observer = Some(observer);
        }
        let mut effect = None;
        for fault in &mut inner.faults {
            // Every fault counts every call it watches; the first that meets it decides.
            let met = fault.meets(&call);
            effect = effect.or_else(|| met.cloned());
        }
        if let Some(trace) = &mut inner.trace {
            trace.push(call);
        }
        inner.hits += u64::from(effect.is_some());
        match &effect {
            Some(Effect::Delay(wait)) => {
                let wait = wait.clone();
                MutexGuard::unlocked(&mut inner, || wait());
                if inner.off {
                    return Err(powerless());
                }
                effect = None;
            }
            Some(Effect::PowerOff) => {
                inner.off = true;
                return Err(powerless());
            }
            _ => {}
        }
        Ok(Begun { inner, effect })
    }
}

/// A call under way, with the disk locked.
struct Begun<'a> {
    inner: MutexGuard<'a, Inner>,
    effect: Option<Effect>,
}

impl Begun<'_> {
    /// What runs while this sync is under way.
    fn meanwhile(&self) -> Option<Arc<dyn Fn() + Send + Sync>> {
        match &self.effect {
            Some(Effect::During(act)) => Some(act.clone()),
            _ => None,
        }
    }

    /// Runs `act` with the disk unlocked.
    fn unlocked(&mut self, act: &dyn Fn()) -> io::Result<()> {
        MutexGuard::unlocked(&mut self.inner, act);
        if self.inner.off { Err(powerless()) } else { Ok(()) }
    }

    /// Fails before anything was done.
    fn early(&self) -> io::Result<()> {
        match self.effect {
            Some(Effect::Error(errno) | Effect::ErrorPartly(errno, _)) => Err(errno.into()),
            _ => Ok(()),
        }
    }

    /// Fails after all was done.
    fn late<T>(&self, done: T) -> io::Result<T> {
        match self.effect {
            Some(Effect::ErrorAfter(errno)) => Err(errno.into()),
            _ => Ok(done),
        }
    }

    fn reaches_disk(&self) -> bool {
        !matches!(self.effect, Some(Effect::Ignored))
    }

    /// How many of `len` bytes this call moves.
    fn shortened(&self, len: usize) -> usize {
        match self.effect {
            Some(Effect::Short(most)) => len.min(most),
            _ => len,
        }
    }
}

fn powerless() -> io::Error {
    io::Error::other("the simulated power is off")
}

impl Disk for SimDisk {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Box<dyn File>> {
        check_name(name)?;
        let name: Arc<str> = name.into();
        let mut begun = self.begin(CallKind::Open, &name, 0, 0)?;
        begun.early()?;
        let reaches_disk = begun.reaches_disk();
        let state = &mut begun.inner.state;
        let ino = match (state.lookup(&name), mode) {
            (Some(_), OpenMode::CreateNew) => return Err(Errno::EXIST.into()),
            (Some(ino), _) => ino,
            (None, OpenMode::CreateNew) => state.create(&name, reaches_disk),
            (None, _) => return Err(Errno::NOENT.into()),
        };
        begun.late(())?;
        begun.inner.state.open_handle(ino);
        drop(begun);
        Ok(Box::new(SimFile { disk: self.clone(), ino, name, writable: mode != OpenMode::Read }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_name(from)?;
        check_name(to)?;
        let from: Arc<str> = from.into();
        let mut begun = self.begin(CallKind::Rename, &from, 0, 0)?;
        begun.early()?;
        let reaches_disk = begun.reaches_disk();
        let state = &mut begun.inner.state;
        let ino = state.lookup(&from).ok_or(Errno::NOENT)?;
        if *from != *to {
            state.rename_op(NameOp::Rename(from, to.into(), ino), reaches_disk);
        }
        begun.late(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        let name: Arc<str> = name.into();
        let mut begun = self.begin(CallKind::Remove, &name, 0, 0)?;
        begun.early()?;
        let reaches_disk = begun.reaches_disk();
        let state = &mut begun.inner.state;
        state.lookup(&name).ok_or(Errno::NOENT)?;
        state.rename_op(NameOp::Remove(name), reaches_disk);
        begun.late(())
    }

    fn list(&self) -> io::Result<Vec<DirEntry>> {
        let begun = self.begin(CallKind::List, &Arc::default(), 0, 0)?;
        begun.early()?;
        let state = &begun.inner.state;
        let entry = |name: &str| DirEntry {
            name: name.to_owned(),
            len: state.bytes(name).map_or(0, |bytes| bytes.len() as u64),
        };
        begun.late(state.names().map(entry).collect())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut begun = self.begin(CallKind::SyncDir, &Arc::default(), 0, 0)?;
        if let Some(act) = begun.meanwhile() {
            let before = begun.inner.state.waiting_names();
            begun.unlocked(&*act)?;
            begun.inner.state.sync_names_before(before);
            return Ok(());
        }
        match begun.effect {
            Some(Effect::Ignored) => return Ok(()),
            Some(Effect::Error(_)) => begun.inner.state.fail_sync_names(None),
            Some(Effect::ErrorPartly(_, seed)) => begun.inner.state.fail_sync_names(Some(Chooser::seeded(seed))),
            _ => begun.inner.state.sync_names(),
        }
        let result = begun.early().and_then(|()| begun.late(()));
        begun.inner.failed_dir_syncs += u64::from(result.is_err());
        result
    }

    fn failed_dir_syncs(&self) -> u64 {
        self.0.lock().failed_dir_syncs
    }

    fn lock(&self) -> io::Result<Box<dyn DirLock>> {
        let mut begun = self.begin(CallKind::Lock, &Arc::default(), 0, 0)?;
        begun.early()?;
        begun.late(())?;
        if begun.inner.locked {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "the simulated folder is in use"));
        }
        begun.inner.locked = true;
        drop(begun);
        Ok(Box::new(SimLock(self.clone())))
    }

    fn describe(&self) -> String {
        "(simulated disk)".to_owned()
    }
}

struct SimLock(SimDisk);

impl DirLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.0.0.lock().locked = false;
    }
}

struct SimFile {
    disk: SimDisk,
    ino: Ino,
    name: Arc<str>,
    writable: bool,
}

impl SimFile {
    fn begin(&self, kind: CallKind, offset: u64, len: u64) -> io::Result<Begun<'_>> {
        self.disk.begin(kind, &self.name, offset, len)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.disk.0.lock().state.close_handle(self.ino);
    }
}

impl File for SimFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut begun = self.begin(CallKind::Write, offset, bytes.len() as u64)?;
        begun.early()?;
        if !self.writable {
            return Err(Errno::BADF.into());
        }
        let mut len = begun.shortened(bytes.len());
        if let Some(capacity) = begun.inner.capacity {
            let state = &begun.inner.state;
            let allocated = state.allocated(self.ino);
            let room = allocated + capacity.saturating_sub(state.used());
            len = len.min(usize::try_from(room.saturating_sub(offset)).unwrap_or(usize::MAX));
            if len == 0 && !bytes.is_empty() {
                return Err(Errno::NOSPC.into());
            }
        }
        let bytes = &bytes[..len];
        let at = usize::try_from(offset).map_err(|_| Errno::FBIG)?;
        let lands = match begun.effect {
            Some(Effect::Ignored) => None,
            Some(Effect::Misdirect(to)) => Some((to as usize, bytes.into())),
            Some(Effect::FlipBit(bit)) => {
                let mut flipped = bytes.to_vec();
                flip(&mut flipped, bit);
                Some((at, flipped.into()))
            }
            _ => Some((at, bytes.into())),
        };
        if len > 0 {
            begun.inner.state.write(self.ino, at, bytes, lands);
        }
        begun.late(len)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let begun = self.begin(CallKind::Read, offset, buffer.len() as u64)?;
        begun.early()?;
        let view = begun.inner.state.view(self.ino);
        let rest = usize::try_from(offset).ok().and_then(|at| view.get(at..)).unwrap_or_default();
        let len = begun.shortened(rest.len().min(buffer.len()));
        buffer[..len].copy_from_slice(&rest[..len]);
        if let Some(Effect::FlipBit(bit)) = begun.effect {
            flip(&mut buffer[..len], bit);
        }
        begun.late(len)
    }

    fn len(&self) -> io::Result<u64> {
        let begun = self.begin(CallKind::Len, 0, 0)?;
        begun.early()?;
        begun.late(begun.inner.state.view(self.ino).len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut begun = self.begin(CallKind::SetLen, 0, len)?;
        begun.early()?;
        if !self.writable {
            return Err(Errno::INVAL.into());
        }
        let len = usize::try_from(len).map_err(|_| Errno::FBIG)?;
        begun.inner.state.set_len(self.ino, len);
        begun.late(())
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        let mut begun = self.begin(CallKind::Preallocate, 0, len)?;
        begun.early()?;
        if !self.writable {
            return Err(Errno::BADF.into());
        }
        let state = &begun.inner.state;
        let more = len.saturating_sub(state.allocated(self.ino));
        if begun.inner.capacity.is_some_and(|capacity| state.used() + more > capacity) && more > 0 {
            return Err(Errno::NOSPC.into());
        }
        begun.inner.state.reserve(self.ino, len);
        begun.late(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut begun = self.begin(CallKind::Sync, 0, 0)?;
        if let Some(act) = begun.meanwhile() {
            let before = begun.inner.state.waiting(self.ino);
            begun.unlocked(&*act)?;
            begun.inner.state.sync_before(self.ino, &before);
            return Ok(());
        }
        match begun.effect {
            Some(Effect::Ignored) => return Ok(()),
            Some(Effect::Error(_)) => begun.inner.state.fail_sync(self.ino, None),
            Some(Effect::ErrorPartly(_, seed)) => begun.inner.state.fail_sync(self.ino, Some(Chooser::seeded(seed))),
            _ => begun.inner.state.sync(self.ino),
        }
        begun.early()?;
        begun.late(())
    }

    fn drop_cache(&self) -> io::Result<()> {
        let mut begun = self.begin(CallKind::DropCache, 0, 0)?;
        begun.early()?;
        begun.inner.state.drop_cache(self.ino);
        begun.late(())
    }
}

fn flip(bytes: &mut [u8], bit: u64) {
    if !bytes.is_empty() {
        let bit = bit % (bytes.len() as u64 * 8);
        bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
    }
}

#[cfg(test)]
mod tests;

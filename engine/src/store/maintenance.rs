//! What happens by itself: dead keys are reclaimed, segments are prepared, snapshots become due, replies held back are let go.

use super::Shared;
use crate::engine::Engine;
use crate::log::progress::LogState;
use crate::snapshot::retention::Retention;
use crate::snapshot::schedule::{AutoCompaction, SavePoint};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Dead keys that one hold of the engine's lock reclaims at most: some tens of microseconds.
pub(super) const EXPIRE_SLICE: usize = 64;
/// The same for as long as there are more of them than the share below can take: some hundreds of microseconds.
pub(super) const EXPIRE_SLICE_MAX: usize = 512;
/// Blocks of a large dead value after which it is told how much of it is left.
const FREED_BLOCKS: usize = 1024;
/// Of its time the maintenance thread gives at most this share to expiry, in percent (as Redis' slow cycle).
pub(super) const EXPIRE_SHARE: u64 = 25;

/// Settings that can change while the store is open.
#[derive(Clone, Debug, Default)]
pub struct Tuning {
    /// Which snapshots and segments are kept.
    pub retention: Retention,
    /// When the log has grown so much that a snapshot is made by itself.
    pub auto_compaction: AutoCompaction,
    /// `save` points; an empty list is none.
    pub save_points: Vec<SavePoint>,
}

impl Shared {
    /// One short hold of the engine's lock that reclaims up to `slice` dead keys. Says whether more may be due at once.
    pub(super) fn expire_round(&self, slice: usize) -> bool {
        let mut engine = self.engine.lock();
        self.set_clock(&mut engine);
        let more = engine.expire_slice(slice);
        let waiting = engine.effects.waiting() > 0;
        engine.hand_over();
        drop(engine);
        if waiting {
            self.commit();
        }
        more
    }

    /// One short hold of the engine's lock that evicts keys if there is more than the memory limit allows. Says whether more is due.
    pub(super) fn evict_round(&self) -> bool {
        let mut engine = self.engine.lock();
        self.set_clock(&mut engine);
        let more = engine.evict_slice();
        let waiting = engine.effects.waiting() > 0;
        engine.hand_over();
        self.look_for_dead(&engine);
        drop(engine);
        if waiting {
            self.commit();
        }
        more
    }

    /// One short hold of the engine's lock that counts keys for the statistics by prefix. Says whether there are more.
    pub(super) fn count_round(&self) -> bool {
        self.engine.lock().count_prefixes_slice()
    }

    /// Wakes the thread that frees large dead values, if there is one that nobody has told it of.
    #[inline]
    pub(super) fn look_for_dead(&self, engine: &Engine) {
        if engine.keyspace.has_dead() && !self.dead_work_known.swap(true, Relaxed) {
            *self.dead_work.0.lock() = true;
            self.dead_work.1.notify_one();
        }
    }

    /// Frees a large dead value, without the engine's lock; says whether there was one.
    pub(super) fn free_round(&self) -> bool {
        let mut engine = self.engine.lock();
        let Some(mut dead) = engine.keyspace.pop_dead() else {
            self.dead_work_known.store(false, Relaxed);
            return false;
        };
        let freeing = Arc::clone(&engine.memory.freeing);
        engine.stats.lazyfreed_objects += dead.objects();
        freeing.store(dead.bytes(), Relaxed);
        drop(engine);
        while !dead.free(FREED_BLOCKS) {
            freeing.store(dead.bytes(), Relaxed);
        }
        drop(dead);
        freeing.store(0, Relaxed);
        true
    }

    /// Prepares what the log will need next, in short steps. Says whether there is more to do.
    pub(super) fn prepare_round(&self) -> bool {
        let prepare = self.log.lock().as_mut().and_then(|log| log.prepare());
        if let Some(mut prepare) = prepare {
            while !self.stopping() && matches!(prepare.step(), Ok(false)) {}
            if let Some(log) = self.log.lock().as_mut() {
                log.finish_prepare(prepare);
            }
        }
        self.log.lock().as_mut().is_some_and(|log| log.fill_ahead())
    }

    /// Asks for a snapshot if the log has grown enough or a `save` point is reached; lets replies go that a slow disk held back.
    pub(super) fn schedule_round(&self) {
        let now = self.now();
        let info = self.snapshots.info.lock().clone();
        if !info.running && info.status.may_try(now.mono_ms) {
            let tuning = self.tuning.lock().clone();
            let grown = self.log_bytes().saturating_sub(self.log_base.load(Relaxed));
            let dirty = self.engine.lock().dirty;
            let logged = self.log.lock().is_some();
            // On a full disk whatever the log has beyond the data is in the way.
            if (logged && (tuning.auto_compaction.is_due(grown, info.last_len) || grown > 0 && self.is_full()))
                || info.status.save_point_reached(&tuning.save_points, dirty, now.unix_ms / 1000)
            {
                self.request_snapshot();
            }
        }
        let stalled = self.progress.read().as_ref().is_some_and(|progress| progress.stalled(now.mono_ms));
        if self.stalled.swap(stalled, Relaxed) && !stalled {
            self.progressed();
        }
    }

    /// Whether the log has no room.
    pub(super) fn is_full(&self) -> bool {
        self.log.lock().as_ref().is_some_and(|log| matches!(log.state(), LogState::Full { .. }))
    }

    /// Bytes of log that were replayed at the start or written since.
    pub(super) fn log_bytes(&self) -> u64 {
        self.log.lock().as_ref().map_or(0, |log| log.stats().bytes + self.report.replayed_bytes)
    }
}

//! Driving the log: who writes, who flushes, and what the engine refuses while the disk does not take writes.
//!
//! Locks are taken in this order: log, engine. No lock is held across a flush or a rescue.

use super::Shared;
use crate::engine::Refused;
use crate::log::commit::{Log, Now};
use crate::log::progress::{Accepts, LogState};
use crate::log::{Lsn, SyncPolicy};
use std::sync::atomic::Ordering::Relaxed;

impl Shared {
    pub(super) fn now(&self) -> Now {
        Now { mono_ms: self.clock.monotonic_ms(), unix_ms: self.clock.unix_ms() }
    }

    /// Takes all finished records and writes them: one frame, one write.
    pub(super) fn write_waiting(&self) {
        let mut guard = self.log.lock();
        if let Some(log) = guard.as_mut() {
            self.write_to(log);
        }
    }

    fn write_to(&self, log: &mut Log) {
        let spare = std::mem::take(&mut *self.spare.lock());
        let group = self.engine.lock().effects.take(spare);
        if let Some(group) = group {
            let spare = log.write(group, self.now());
            *self.spare.lock() = spare;
            self.follow(log);
        }
    }

    /// Tells the engine what it must refuse now, if that has changed.
    fn follow(&self, log: &Log) {
        let accepts = log.progress().accepts();
        if self.accepts.swap(accepts as u8, Relaxed) == accepts as u8 {
            return;
        }
        let why = match log.state() {
            LogState::Running => String::new(),
            LogState::Full { why, .. } => {
                format!("{why}. Deletions go on; writes resume by themselves when there is room")
            }
            LogState::Failed { why, .. } => format!("{why}. Reads go on; the log is tried again by itself"),
        };
        self.engine.lock().refused = match accepts {
            Accepts::All => Refused::Nothing,
            Accepts::Deletions => Refused::Growth(why),
            Accepts::Nothing => Refused::Writes(why),
        };
    }

    /// One flush, if one is due (or `force`), and the rescue after a failed one. Says whether anything was done.
    pub(super) fn flush(&self, force: bool) -> bool {
        let _turn = self.flushing.lock();
        let now = self.now();
        let ticket = {
            let mut guard = self.log.lock();
            guard.as_mut().filter(|log| force || log.sync_due(now)).and_then(|log| log.begin_sync(now))
        };
        let flushed = ticket.is_some();
        if let Some(ticket) = ticket {
            let before = self.clock.monotonic_ms();
            let done = ticket.run();
            self.last_flush_ms.store(self.clock.monotonic_ms() - before, Relaxed);
            let mut guard = self.log.lock();
            if let Some(log) = guard.as_mut() {
                log.finish_sync(done, self.now());
                self.settle(log);
            }
        }
        self.rescue() || flushed
    }

    fn rescue(&self) -> bool {
        let rescue = self.log.lock().as_mut().and_then(|log| log.begin_rescue(self.now()));
        let Some(rescue) = rescue else { return false };
        let done = rescue.run();
        let mut guard = self.log.lock();
        if let Some(log) = guard.as_mut() {
            log.finish_rescue(done, self.now());
            self.settle(log);
        }
        true
    }

    /// After a flush or a rescue: positions in flight are given free, refusals follow the log's state.
    fn settle(&self, log: &Log) {
        let mut engine = self.engine.lock();
        engine.effects.durable(log.progress().durable());
        drop(engine);
        self.follow(log);
    }

    /// Markers and retries that are due.
    pub(super) fn tick_log(&self) {
        let mut guard = self.log.lock();
        if let Some(log) = guard.as_mut() {
            log.tick(self.now());
            self.follow(log);
        }
    }

    /// One round of the log thread. Says whether there may be more to do at once.
    pub(super) fn log_round(&self) -> bool {
        if self.policy() == SyncPolicy::Always || self.accepts.load(Relaxed) != Accepts::All as u8 {
            self.write_waiting();
        }
        let worked = self.flush(false);
        self.tick_log();
        if worked {
            self.progressed();
        }
        worked && self.policy() == SyncPolicy::Always
    }

    /// Writes and flushes everything so far. Gives up when the log's state says that the disk fails.
    pub(super) fn flush_everything(&self) -> bool {
        let goal = self.engine.lock().effects.last();
        self.write_waiting();
        for _ in 0..8 {
            if self.durable() >= goal {
                break;
            }
            if !self.flush(true) {
                self.idle(1);
            }
        }
        self.progressed();
        self.durable() >= goal
    }

    pub(super) fn policy(&self) -> SyncPolicy {
        self.progress.read().as_ref().map_or(SyncPolicy::Never, |progress| progress.policy())
    }

    pub(super) fn durable(&self) -> Lsn {
        self.progress.read().as_ref().map_or(Lsn::MAX, |progress| progress.durable())
    }
}

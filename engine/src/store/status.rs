//! What INFO tells about the store.

use super::{Shared, SnapshotInfo, SyncPolicy};
use crate::engine::Engine;
use crate::log::Lsn;
use crate::log::commit::{Log, LogStats};
use crate::log::progress::LogState;
use crate::recovery::RecoveryReport;
use std::sync::atomic::Ordering::Relaxed;

/// A picture of the store at one moment.
#[derive(Clone, Debug)]
pub struct Status {
    /// The store's identity, in hexadecimal.
    pub store_id: String,
    /// The newest epoch.
    pub epoch: u64,
    /// Whether there is a log (`appendonly`).
    pub log: bool,
    /// `appendfsync`.
    pub policy: SyncPolicy,
    /// LSN of the newest record.
    pub last_lsn: Lsn,
    /// Everything up to here was given to the kernel.
    pub written_lsn: Lsn,
    /// Everything up to here is on the device.
    pub durable_lsn: Lsn,
    /// How the log is.
    pub log_state: LogState,
    /// The log's counters since the start.
    pub log_stats: LogStats,
    /// Name, first LSN and length of the current segment.
    pub segment: Option<(String, Lsn, u64)>,
    /// Bytes of frames kept in memory because they are not durable yet.
    pub retained_bytes: usize,
    /// Bytes of records that no commit has taken yet.
    pub waiting_bytes: usize,
    /// How long the last flush took, in ms.
    pub last_flush_ms: u64,
    /// Bytes of log since the newest snapshot.
    pub log_bytes_since_snapshot: u64,
    /// Changes since the newest snapshot.
    pub dirty: u64,
    /// Snapshots.
    pub snapshots: SnapshotInfo,
    /// What was found when the store was opened.
    pub recovery: RecoveryReport,
}

impl Shared {
    /// See [`super::Store::buffered_bytes`].
    pub(super) fn buffered_bytes(&self, engine: &Engine) -> u64 {
        let frames = self.progress.read().as_ref().map_or(0, |progress| progress.buffered());
        let spare = self.spare.lock().capacity();
        (frames + spare + engine.effects.capacity() + engine.keyspace.captured_bytes()) as u64
    }

    pub(super) fn status(&self) -> Status {
        let slot = self.log.lock();
        let engine = self.engine.lock();
        self.status_of(slot.as_ref(), &engine)
    }

    /// The same, unless somebody has one of the locks.
    pub(super) fn try_status(&self) -> Option<Status> {
        let slot = self.log.try_lock()?;
        let engine = self.engine.try_lock()?;
        Some(self.status_of(slot.as_ref(), &engine))
    }

    fn status_of(&self, log: Option<&Log>, engine: &Engine) -> Status {
        let last = engine.effects.last();
        Status {
            store_id: self.identity.store.to_string(),
            epoch: log.map_or_else(|| self.unlogged_epoch.load(Relaxed), |log| log.epoch()),
            log: log.is_some(),
            policy: self.log_options.lock().policy,
            last_lsn: last,
            written_lsn: log.map_or(last, |log| log.progress().written()),
            durable_lsn: log.map_or(self.opened_durable, |log| log.progress().durable()),
            log_state: log.map_or(LogState::Running, |log| log.state()),
            log_stats: log.map(|log| log.stats()).unwrap_or_default(),
            segment: log.map(|log| log.current()),
            retained_bytes: log.map_or(0, |log| log.retained_bytes()),
            waiting_bytes: engine.effects.waiting(),
            last_flush_ms: self.last_flush_ms.load(Relaxed),
            log_bytes_since_snapshot: log.map_or(0, |log| {
                (log.stats().bytes + self.report.replayed_bytes).saturating_sub(self.log_base.load(Relaxed))
            }),
            dirty: engine.dirty,
            snapshots: self.snapshots.info.lock().clone(),
            recovery: self.report.clone(),
        }
    }
}

//! When a snapshot is due, and what became of the last ones: pure functions of numbers that the shell keeps.

use crate::log::Lsn;

/// After a failure the next automatic try comes no sooner than this, in ms (as Redis' `CONFIG_BGSAVE_RETRY_DELAY`).
pub const RETRY_DELAY_MS: u64 = 5_000;

/// One `save` point: a snapshot after so many seconds if there were so many changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SavePoint {
    /// At least so many seconds since the last snapshot.
    pub seconds: u64,
    /// At least so many changes since then.
    pub changes: u64,
}

/// `auto-aof-rewrite-percentage` and `auto-aof-rewrite-min-size`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AutoCompaction {
    /// The log may grow by so many percent of the newest snapshot; 0 switches automatic compaction off.
    pub percentage: u32,
    /// Snapshot and log together may have so many bytes in any case.
    pub min_len: u64,
}

impl Default for AutoCompaction {
    fn default() -> Self {
        AutoCompaction { percentage: 100, min_len: 64 * 1024 * 1024 }
    }
}

impl AutoCompaction {
    /// Whether the log has grown enough: `log_len` bytes since the newest snapshot, which has `snapshot_len` bytes (0: none).
    pub fn is_due(&self, log_len: u64, snapshot_len: u64) -> bool {
        let grown = u128::from(log_len) * 100 >= u128::from(snapshot_len.max(1)) * u128::from(self.percentage);
        self.percentage > 0 && log_len > 0 && snapshot_len.saturating_add(log_len) >= self.min_len && grown
    }
}

/// What became of snapshots: for LASTSAVE, INFO, and the decision about the next. All times are passed in.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SnapshotStatus {
    /// When the newest snapshot was finished, Unix seconds; at first when the store was opened (LASTSAVE).
    pub saved_at: u64,
    /// The LSN of the newest snapshot; 0 if there is none.
    pub saved_lsn: Lsn,
    /// When the running one was begun, monotonic ms.
    pub running_since_ms: Option<u64>,
    /// How long the last one took, in ms, failed or not.
    pub last_took_ms: Option<u64>,
    /// Why the last one failed (`rdb_last_bgsave_status:err`, BGSAVE's and LASTSAVE's reason); `None` if it did not.
    pub last_error: Option<String>,
    /// How many were finished since the store was opened (`rdb_saves`).
    pub finished: u64,
    /// When the last one failed, monotonic ms.
    failed_at_ms: Option<u64>,
}

impl SnapshotStatus {
    /// One begins now.
    pub fn begun(&mut self, monotonic_ms: u64) {
        self.running_since_ms = Some(monotonic_ms);
    }

    /// The running one is a snapshot now, at `lsn`.
    pub fn finished(&mut self, monotonic_ms: u64, unix_seconds: u64, lsn: Lsn) {
        self.ended(monotonic_ms);
        (self.saved_at, self.saved_lsn) = (unix_seconds, lsn);
        (self.last_error, self.failed_at_ms) = (None, None);
        self.finished += 1;
    }

    /// The running one failed.
    #[allow(clippy::needless_pass_by_value)] // Errors and literals are handed over as they are.
    pub fn failed(&mut self, monotonic_ms: u64, why: impl ToString) {
        self.ended(monotonic_ms);
        (self.last_error, self.failed_at_ms) = (Some(why.to_string()), Some(monotonic_ms));
    }

    fn ended(&mut self, monotonic_ms: u64) {
        let since = self.running_since_ms.take();
        self.last_took_ms = since.map(|since| monotonic_ms.saturating_sub(since));
    }

    /// Whether an automatic try may be made: none runs, and the last failure is some time ago.
    pub fn may_try(&self, monotonic_ms: u64) -> bool {
        let waited = |at: u64| monotonic_ms.saturating_sub(at) >= RETRY_DELAY_MS;
        self.running_since_ms.is_none() && self.failed_at_ms.is_none_or(waited)
    }

    /// Whether a `save` point has been reached, with `changes` changes since the newest snapshot (Redis' `dirty`).
    pub fn save_point_reached(&self, points: &[SavePoint], changes: u64, unix_seconds: u64) -> bool {
        let since = unix_seconds.saturating_sub(self.saved_at);
        points.iter().any(|point| changes >= point.changes && changes > 0 && since > point.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compaction_is_due_when_the_log_has_outgrown_the_snapshot_and_the_minimum() {
        let auto = AutoCompaction { percentage: 100, min_len: 1000 };
        for (log_len, snapshot_len, due) in [
            (0, 0, false),
            (999, 0, false),
            (1000, 0, true),
            (500, 500, true),
            (499, 501, false),
            (4999, 5000, false),
            (5000, 5000, true),
            (0, 5000, false),
            (u64::MAX, u64::MAX, true),
        ] {
            assert_eq!(auto.is_due(log_len, snapshot_len), due, "{log_len} bytes of log, {snapshot_len} of snapshot");
        }
        assert!(!AutoCompaction { percentage: 0, ..auto }.is_due(u64::MAX, 1), "0 percent switches it off");
        assert!(AutoCompaction { percentage: 10, ..auto }.is_due(500, 5000));
    }

    #[test]
    fn a_save_point_needs_its_changes_and_its_seconds() {
        let status = SnapshotStatus { saved_at: 1000, ..Default::default() };
        let points = [SavePoint { seconds: 3600, changes: 1 }, SavePoint { seconds: 60, changes: 10_000 }];
        for (changes, at, reached) in [
            (0, 9_000_000, false),
            (1, 4600, false),
            (1, 4601, true),
            (9_999, 1061, false),
            (10_000, 1060, false),
            (10_000, 1061, true),
            (10_000, 900, false),
        ] {
            assert_eq!(status.save_point_reached(&points, changes, at), reached, "{changes} changes at {at}");
        }
        assert!(!status.save_point_reached(&[SavePoint { seconds: 0, changes: 0 }], 0, 2000), "nothing to save");
    }

    #[test]
    fn a_failure_is_remembered_and_delays_the_next_try_until_a_success() {
        let mut status = SnapshotStatus::default();
        assert!(status.may_try(0));
        status.begun(100);
        assert!(!status.may_try(10_000_000), "one runs");
        status.failed(350, "no space left");
        assert_eq!((status.last_error.as_deref(), status.last_took_ms), (Some("no space left"), Some(250)));
        assert!(!status.may_try(350 + RETRY_DELAY_MS - 1));
        assert!(status.may_try(350 + RETRY_DELAY_MS));
        status.begun(6000);
        status.finished(6001, 77, 5);
        assert_eq!((status.last_error.as_ref(), status.saved_at, status.saved_lsn, status.finished), (None, 77, 5, 1));
        assert!(status.may_try(6001));
    }
}

//! What others may know of the log at any time, without its lock: how far it is, whether replies may leave, whether writes may come.

use super::Lsn;
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};

/// When an acknowledged write is on the device (`appendfsync`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum SyncPolicy {
    /// Before the reply.
    Always,
    /// Within a second after it; written to the kernel before it.
    #[default]
    EverySecond,
    /// When the kernel likes; written to the kernel before the reply.
    Never,
}

/// How the log is, with words for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogState {
    /// All is well.
    Running,
    /// The disk is full: deletions may go on, other writes get an error.
    Full {
        /// Monotonic ms.
        since_ms: u64,
        /// The disk's answer.
        why: String,
    },
    /// The disk fails: all writes get an error. It is tried again by itself.
    Failed {
        /// Monotonic ms.
        since_ms: u64,
        /// The disk's answer.
        why: String,
    },
}

/// Which writes may be executed now; the others get an error before they change anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Accepts {
    /// All.
    All,
    /// Those that give memory and disk free (DEL, expiry, ...): the disk is full.
    Deletions,
    /// None: the disk fails, or is full and the reserve is used up.
    Nothing,
}

impl Accepts {
    /// What `number` stands for.
    pub(crate) fn of(number: u8) -> Accepts {
        match number {
            0 => Accepts::All,
            1 => Accepts::Deletions,
            _ => Accepts::Nothing,
        }
    }
}

/// Shared by the log, which writes it, and everybody who waits for it. Numbers only grow.
#[derive(Debug)]
pub struct Progress {
    written: AtomicU64,
    durable: AtomicU64,
    /// Monotonic ms of the oldest write that no flush has covered; [`NONE`] if there is none.
    oldest: AtomicU64,
    /// So much waits in memory for the disk that replies wait for it, whatever the policy.
    crowded: AtomicBool,
    /// Memory of frames that wait to be written, or to be durable.
    buffered: AtomicUsize,
    accepts: AtomicU8,
    policy: AtomicU8,
}

const NONE: u64 = u64::MAX;

impl Progress {
    pub(super) fn new(durable: Lsn, policy: SyncPolicy) -> Progress {
        Progress {
            written: durable.into(),
            durable: durable.into(),
            oldest: NONE.into(),
            crowded: false.into(),
            buffered: 0.into(),
            accepts: (Accepts::All as u8).into(),
            policy: (policy as u8).into(),
        }
    }

    /// Everything up to this LSN was given to the kernel.
    pub fn written(&self) -> Lsn {
        self.written.load(Acquire)
    }

    /// Everything up to this LSN is on the device.
    pub fn durable(&self) -> Lsn {
        self.durable.load(Acquire)
    }

    /// Monotonic ms of the oldest write that no flush has covered.
    pub fn oldest_unflushed_ms(&self) -> Option<u64> {
        Some(self.oldest.load(Relaxed)).filter(|&oldest| oldest != NONE)
    }

    /// Memory of frames that wait to be written, or to be durable, in bytes.
    pub fn buffered(&self) -> usize {
        self.buffered.load(Relaxed)
    }

    /// Which writes may be executed now.
    #[inline]
    pub fn accepts(&self) -> Accepts {
        Accepts::of(self.accepts.load(Relaxed))
    }

    /// The policy in force.
    pub fn policy(&self) -> SyncPolicy {
        match self.policy.load(Relaxed) {
            0 => SyncPolicy::Always,
            1 => SyncPolicy::EverySecond,
            _ => SyncPolicy::Never,
        }
    }

    /// Whether a reply that promises `lsn` may leave. `mono_ms` gives the monotonic time; it is asked only under `everysec`.
    #[inline]
    pub fn holds(&self, lsn: Lsn, mono_ms: impl FnOnce() -> u64) -> bool {
        if lsn <= self.durable() {
            return true;
        }
        match self.policy() {
            SyncPolicy::Always => false,
            _ if lsn > self.written() || self.crowded.load(Relaxed) => false,
            SyncPolicy::EverySecond => !self.stalled(mono_ms()),
            SyncPolicy::Never => true,
        }
    }

    /// Whether the oldest unflushed write is so old that `everysec` holds replies back.
    pub fn stalled(&self, mono_ms: u64) -> bool {
        let oldest = self.oldest.load(Relaxed);
        oldest != NONE && mono_ms.saturating_sub(oldest) >= crate::limits::HOLD_BACK_AFTER_MS
    }

    pub(super) fn set_written(&self, lsn: Lsn) {
        self.written.store(lsn, Release);
    }

    pub(super) fn set_durable(&self, lsn: Lsn) {
        self.durable.store(lsn, Release);
    }

    pub(super) fn set_oldest(&self, mono_ms: Option<u64>) {
        self.oldest.store(mono_ms.unwrap_or(NONE), Relaxed);
    }

    pub(super) fn set_crowded(&self, crowded: bool) {
        self.crowded.store(crowded, Relaxed);
    }

    pub(super) fn set_buffered(&self, bytes: usize) {
        self.buffered.store(bytes, Relaxed);
    }

    pub(super) fn set_accepts(&self, accepts: Accepts) {
        self.accepts.store(accepts as u8, Relaxed);
    }

    pub(super) fn set_policy(&self, policy: SyncPolicy) {
        self.policy.store(policy as u8, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_leaves_when_its_policy_s_promise_holds() {
        let progress = Progress::new(5, SyncPolicy::Always);
        progress.set_written(9);
        let holds = |lsn, now| progress.holds(lsn, || now);
        assert_eq!((holds(5, 0), holds(6, 0), progress.policy()), (true, false, SyncPolicy::Always));
        progress.set_policy(SyncPolicy::EverySecond);
        progress.set_oldest(Some(1000));
        assert_eq!((holds(9, 2999), holds(10, 2999)), (true, false));
        assert_eq!((holds(9, 3000), holds(5, 3000)), (false, true), "a stalled disk holds back what is not durable");
        progress.set_oldest(None);
        assert!(holds(9, 9999));
        progress.set_policy(SyncPolicy::Never);
        progress.set_oldest(Some(0));
        assert_eq!((holds(9, 9999), holds(10, 9999)), (true, false));
        progress.set_crowded(true);
        assert_eq!((holds(5, 9999), holds(9, 9999)), (true, false), "memory is bounded under every policy");
    }
}

//! Driving snapshots: requests, the one that runs, what came of the last, and what retention gives up afterwards.

use super::Shared;
use crate::disk::{OpenMode, read_full_at};
use crate::format::{FileHeader, FileKind, FileName, HEADER_LEN};
use crate::snapshot::SnapshotError;
use crate::snapshot::index::{AuxPair, LOG_AUX};
use crate::snapshot::retention::{Removal, StoredFile, plan};
use crate::snapshot::schedule::SnapshotStatus;
use crate::snapshot::writer::{Pace, SnapshotRun, Step, Written};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Number of a requested snapshot: it is done when [`SnapshotInfo::finished`] has reached it.
pub type Ticket = u64;

/// What is known of snapshots, for INFO and those who wait.
#[derive(Clone, Debug, Default)]
pub struct SnapshotInfo {
    /// When the last ones were made, and what came of them.
    pub status: SnapshotStatus,
    /// Whether one runs or was asked for.
    pub running: bool,
    /// Entries written so far by the one that runs, and how many there will be.
    pub entries: (u64, u64),
    /// Tickets up to this one are done, well or not.
    pub finished: Ticket,
    /// Length in bytes of the newest snapshot; 0 without one.
    pub last_len: u64,
    /// Why retention could not remove what it no longer wants; `None` if it could.
    pub retention_error: Option<String>,
}

/// The snapshot machinery of a store.
#[derive(Default)]
pub(super) struct Snapshots {
    run: Mutex<Option<Running>>,
    requested: AtomicU64,
    /// Requests that the running snapshot serves.
    serving: AtomicU64,
    backlog: AtomicUsize,
    pub(super) info: Mutex<SnapshotInfo>,
}

struct Running {
    run: SnapshotRun,
    /// `Engine::dirty` when it began.
    dirty: u64,
    /// The log is durable up to its LSN, or was tried.
    flushed: bool,
}

impl Snapshots {
    /// Whether a batch has captured more than the disk can take: replies to writers are held back until it has caught up.
    pub(super) fn crowded(&self, pace: &Pace, captured: usize) -> bool {
        pace.must_slow_writers(captured, self.backlog.load(Relaxed))
    }
}

impl Shared {
    /// Asks for a snapshot of the state from now on. One that is running does not count: it holds an earlier state.
    pub(super) fn request_snapshot(&self) -> Ticket {
        let ticket = self.snapshots.requested.fetch_add(1, Relaxed) + 1;
        self.snapshots.info.lock().running = true;
        self.wake_snapshots();
        ticket
    }

    /// One step of the snapshot that runs, or the beginning of one that was asked for. Says whether there is more to do.
    pub(super) fn snapshot_step(&self) -> bool {
        let mut slot = self.snapshots.run.lock();
        let Some(running) = slot.as_mut() else {
            let requested = self.snapshots.requested.load(Relaxed);
            if requested == self.snapshots.serving.load(Relaxed) {
                return false;
            }
            self.snapshots.serving.store(requested, Relaxed);
            if self.is_full() {
                // What is given up makes room for the snapshot too.
                self.retain();
            }
            *slot = Some(self.begin_snapshot());
            return true;
        };
        if running.run.wants_more() {
            let mut engine = self.engine.lock();
            running.run.collect(&mut engine.keyspace, self.stated_durable());
            // Databases flushed meanwhile that only the snapshot still needed: freed without the lock.
            let walked = engine.keyspace.take_walked();
            drop(engine);
            drop(walked);
        } else if !running.flushed {
            // A snapshot ahead of the durable log would be right as well, but its LSN would not be in any segment.
            running.flushed = true;
            if self.durable() < running.run.lsn() {
                self.flush_everything();
            }
        }
        self.snapshots.backlog.store(running.run.backlog(), Relaxed);
        let step = running.run.write();
        self.snapshots.backlog.store(running.run.backlog(), Relaxed);
        self.snapshots.info.lock().entries = running.run.progress();
        // Not after every piece: whoever is let go writes again at once, and more than a piece.
        if self.options.pace.may_go_on(running.run.backlog()) {
            self.relieve();
        }
        match step {
            Ok(Step::More) => true,
            Ok(Step::Done(written)) => {
                let running = slot.take();
                drop(slot);
                if let Some(running) = running {
                    self.snapshot_done(&running, &written);
                }
                true
            }
            Err(error) => {
                let running = slot.take();
                drop(slot);
                if let Some(running) = running {
                    self.snapshot_failed(running, &error);
                }
                true
            }
        }
    }

    fn begin_snapshot(&self) -> Running {
        // The segment ends here, so that retention can later give up exactly what this snapshot replaces.
        self.write_waiting();
        let logged = match self.log.lock().as_mut() {
            Some(log) => {
                log.end_segment(self.now());
                true
            }
            None => false,
        };
        let now = self.now();
        let epoch = self.epoch();
        let mut engine = self.engine.lock();
        let header = FileHeader {
            kind: FileKind::Snapshot,
            flags: 0,
            store: self.identity.store,
            hash_seed: self.identity.hash_seed,
            number: engine.effects.last(),
            epoch,
            created_ms: now.unix_ms,
            durable: self.stated_durable(),
        };
        let mut aux = vec![
            AuxPair::text("firn-version", env!("CARGO_PKG_VERSION")),
            AuxPair::text("databases", engine.keyspace.databases()),
        ];
        if logged {
            aux.push(AuxPair::text(LOG_AUX, engine.effects.last() + 1));
        }
        let dirty = engine.dirty;
        let run = SnapshotRun::begin(
            &mut engine.keyspace,
            self.snapshots.serving.load(Relaxed),
            Arc::clone(&self.disk),
            header,
            aux,
            self.options.pace,
        );
        drop(engine);
        let mut info = self.snapshots.info.lock();
        info.running = true;
        info.entries = (0, 0);
        info.status.begun(now.mono_ms);
        Running { run, dirty, flushed: false }
    }

    fn snapshot_done(&self, running: &Running, written: &Written) {
        let mut engine = self.engine.lock();
        engine.dirty -= running.dirty.min(engine.dirty);
        drop(engine);
        let now = self.now();
        {
            let mut info = self.snapshots.info.lock();
            info.status.finished(now.mono_ms, now.unix_ms / 1000, written.lsn);
            info.last_len = written.len;
        }
        self.log_base.store(self.log_bytes(), Relaxed);
        self.retain();
        self.end_ticket();
    }

    fn snapshot_failed(&self, mut running: Running, error: &SnapshotError) {
        let flushed = running.run.abandon(&mut self.engine.lock().keyspace);
        drop(flushed);
        self.snapshots.info.lock().status.failed(self.clock.monotonic_ms(), error_chain(error));
        self.end_ticket();
    }

    fn end_ticket(&self) {
        let mut info = self.snapshots.info.lock();
        info.finished = self.snapshots.serving.load(Relaxed);
        info.running = self.snapshots.requested.load(Relaxed) != info.finished;
        drop(info);
        self.snapshots.backlog.store(0, Relaxed);
        self.relieve();
        self.progressed();
    }

    /// Removes what retention no longer wants, as far as that can be done safely. Runs in the snapshot's thread, without locks.
    pub(super) fn retain(&self) {
        let removed = self.try_retain();
        self.snapshots.info.lock().retention_error = removed.err().map(|error| error_chain(&error));
    }

    fn try_retain(&self) -> Result<(), SnapshotError> {
        let doing = |doing| move |source| SnapshotError::disk(doing, "the store's folder", None, source);
        let mut files = Vec::new();
        for entry in self.disk.list().map_err(doing("listing"))? {
            let name = FileName::parse(&entry.name);
            let kind = match name {
                FileName::Snapshot { .. } => FileKind::Snapshot,
                FileName::Segment { .. } => FileKind::Segment,
                _ => continue,
            };
            // A file whose header cannot be read is not told to the plan, and so never removed.
            let mut bytes = [0; HEADER_LEN];
            let Ok(file) = self.disk.open(&entry.name, OpenMode::Read) else { continue };
            if !read_full_at(&*file, &mut bytes, 0).is_ok_and(|read| read == HEADER_LEN) {
                continue;
            }
            if let Ok(header) = FileHeader::decode(&bytes, kind).and_then(|header| header.of_store(self.identity.store))
            {
                files.push(StoredFile { name, len: entry.len, created_ms: header.created_ms });
            }
        }
        let mut retention = self.tuning.lock().retention;
        if self.is_full() {
            // An older snapshot and its log serve only in case the newest one rots. That one is read back whole before they go; and
            // with them a disk that is full might stay so, and refuse writes, for ever.
            retention.snapshots = 1;
        }
        let plan = plan(&files, &retention, self.clock.unix_ms());
        let verified = self.verified.lock().clone();
        let mut removal = Removal::new(Arc::clone(&self.disk), plan, &verified);
        let result = loop {
            match removal.step() {
                Ok(None) => {}
                Ok(Some(_)) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.verified.lock().extend(removal.newly_verified());
        result
    }

    /// Ends a run early: the store closes.
    pub(super) fn abandon_snapshot(&self) {
        let running = self.snapshots.run.lock().take();
        if let Some(mut running) = running {
            let flushed = running.run.abandon(&mut self.engine.lock().keyspace);
            drop(flushed);
            let now_ms = self.clock.monotonic_ms();
            self.snapshots.info.lock().status.failed(now_ms, "the store was closed");
            self.end_ticket();
        }
    }
}

/// An error with its causes, in one line; a cause that the error ends with is not told again.
pub(super) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_once() {
        let full = SnapshotError::disk("writing", "a.snap.tmp", 8, std::io::ErrorKind::StorageFull.into());
        assert_eq!(error_chain(&full), "the disk failed writing a.snap.tmp at byte 8: no storage space");
    }
}

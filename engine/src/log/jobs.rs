//! The slow parts of a commit, taken out of the log so that they run without its lock: the flush, and the rescue after a failed one.
//!
//! 1. There is at most one of them at a time. Two flushes of one file would be fatal: the kernel tells a write-back error once.
//! 2. A flush goes in the order of history; what it says is durable stays so, whichever later step fails.

use super::Lsn;
use super::retained::Retained;
use super::segment::{Identity, NewEpoch, Ready, Segment, SegmentBuilder, is_full, sync_names};
use crate::disk::{Disk, File};
use crate::planted::{self, Bug};
use std::io;
use std::sync::Arc;

/// A segment whose successor is in use and which still has to be sealed.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) segment: Segment,
    /// The successor's first LSN.
    pub(super) next: Lsn,
    /// Unix ms.
    pub(super) unix_ms: u64,
    /// Failed syncs of the folder before the successor got its name.
    pub(super) failed_before: u64,
}

/// A flush that was begun: [`SyncTicket::run`] it without the log's lock and hand the result to `Log::finish_sync`.
#[must_use = "the log waits for the result"]
pub struct SyncTicket {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) current: Arc<dyn File>,
    pub(super) ending: Option<Ending>,
    /// Everything up to here was written before.
    pub(super) lsn: Lsn,
}

/// What became of a flush.
#[must_use = "the log waits for it"]
#[derive(Debug)]
pub struct SyncDone {
    pub(super) lsn: Lsn,
    /// Everything up to here is durable; 0 if nothing new is.
    pub(super) reached: Lsn,
    pub(super) result: io::Result<()>,
}

impl std::fmt::Debug for SyncTicket {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SyncTicket").field("lsn", &self.lsn).field("ending", &self.ending).finish_non_exhaustive()
    }
}

impl SyncTicket {
    /// Flushes: one fdatasync, or after a change of segment what that needs besides.
    pub fn run(mut self) -> SyncDone {
        let mut reached = 0;
        let result = self.flush(&mut reached);
        SyncDone { lsn: self.lsn, reached, result }
    }

    fn flush(&mut self, reached: &mut Lsn) -> io::Result<()> {
        let Some(ending) = &mut self.ending else {
            flush_file(&*self.current)?;
            *reached = self.lsn;
            return Ok(());
        };
        let old = &mut ending.segment;
        flush_file(&*old.file)?;
        *reached = ending.next - 1;
        flush_file(&*self.current)?;
        if !planted::has(Bug::SkipFolderSync) {
            sync_names(&*self.disk, ending.failed_before)?;
        }
        *reached = self.lsn;
        // Only now, when nothing can make the successor vanish: a seal without successor means a missing file.
        match old.seal(ending.next, ending.next - 1, ending.unix_ms) {
            Ok(()) => {}
            // The successor follows on by its LSN all the same.
            Err(error) if is_full(&error) => {}
            Err(error) => return Err(error),
        }
        old.cut()?;
        old.file.sync()
    }
}

/// One flush. A failed one is not repeated: the kernel has let go of what it could not write.
fn flush_file(file: &dyn File) -> io::Result<()> {
    if planted::skips_sync() {
        return Ok(());
    }
    let flushed = file.sync();
    if flushed.is_err() && planted::has(Bug::RetrySync) {
        return file.sync();
    }
    flushed
}

/// After a failed flush: everything that is not known durable goes to the first segment of a new epoch. [`Rescue::run`] it without the
/// log's lock and hand the result to `Log::finish_rescue`.
#[must_use = "the log waits for the result"]
pub struct Rescue {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) identity: Identity,
    pub(super) epoch: NewEpoch,
    pub(super) frames: Retained,
}

/// What became of a rescue.
#[must_use = "the log waits for it"]
#[derive(Debug)]
pub struct RescueDone {
    pub(super) frames: Retained,
    pub(super) result: io::Result<Ready>,
}

impl std::fmt::Debug for Rescue {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Rescue").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Rescue {
    /// Writes and flushes the new segment.
    pub fn run(mut self) -> RescueDone {
        let result = SegmentBuilder::create(Arc::clone(&self.disk), self.identity, self.epoch).and_then(
            |mut builder| match self.frames.for_each(|frame| builder.push_frame(frame)) {
                Ok(()) => builder.finish(),
                Err(error) => Err(builder.abandon(error)),
            },
        );
        RescueDone { frames: self.frames, result }
    }
}

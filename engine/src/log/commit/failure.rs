//! What the log does when the disk fails or is full: nothing is lost, nothing is believed, and it goes on by itself.
//!
//! 1. Full: the current segment is sound. The frame that did not fit is cut off and waits; the reserve is given up, so that deletions
//!    can be written; the state ends when nothing waits and the reserve could be made again.
//! 2. Broken (a failed flush, or a write that failed otherwise): nothing that the current segment gets from then on is relied on. Everything that is not
//!    durable goes to a new epoch's first segment, with back-off.
//! 3. Frames wait in order: nothing is written before what came earlier.

use super::{Log, Now};
use crate::disk::{OpenMode, write_all_at};
use crate::limits::{LOG_FULL_RETRY_MS, LOG_RETRY_MS};
use crate::log::jobs::{Rescue, RescueDone};
use crate::log::segment::{NewEpoch, Ready, is_full};
use std::io;
use std::sync::Arc;

const RESERVE: &str = "reserve.seg";

#[derive(Debug)]
pub(super) enum Mode {
    Running,
    /// The disk is full. The current segment is sound.
    Full {
        since_ms: u64,
        why: String,
        retry: Retry,
    },
    /// The current segment is not to be touched any more.
    Broken {
        since_ms: u64,
        why: String,
        /// Because the disk is full.
        full: bool,
        retry: Retry,
        /// The new segment is being made.
        rescuing: bool,
    },
}

/// Back-off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    pub(super) at_ms: u64,
    pause_ms: u64,
    pub(super) failed: u32,
}

impl Retry {
    fn at_once(now: Now) -> Retry {
        Retry { at_ms: now.mono_ms, pause_ms: LOG_RETRY_MS.start, failed: 0 }
    }

    fn later(&mut self, now: Now) {
        self.at_ms = now.mono_ms + self.pause_ms;
        self.pause_ms = (self.pause_ms * 2).min(LOG_RETRY_MS.end);
        self.failed += 1;
    }
}

impl Log {
    /// After a failure: hands out the making of a new epoch's segment from everything that is not durable, when it is time to try.
    pub fn begin_rescue(&mut self, now: Now) -> Option<Rescue> {
        let Mode::Broken { retry, rescuing, .. } = &mut self.mode else { return None };
        if *rescuing || self.syncing || now.mono_ms < retry.at_ms {
            return None;
        }
        *rescuing = true;
        self.epoch += 1;
        let mut frames = std::mem::take(&mut self.retained);
        frames.forget_exactly(self.durable);
        frames.append(std::mem::take(&mut self.backlog));
        let first = self.durable + 1;
        debug_assert!(frames.first().is_none_or(|found| found == first), "nothing between durable and retained");
        let next = frames.last().map_or(first, |last| last + 1);
        let epoch = NewEpoch { epoch: self.epoch, first, next, unanchored: false, unix_ms: now.unix_ms };
        Some(Rescue { disk: Arc::clone(&self.disk), identity: self.identity, epoch, frames })
    }

    /// Takes the result of a rescue.
    pub fn finish_rescue(&mut self, done: RescueDone, now: Now) {
        let RescueDone { mut frames, result } = done;
        match result {
            Ok(Ready { segment, epoch }) => {
                let mut old = std::mem::replace(&mut self.current, segment);
                // A notice that the log went on, in case the new segment's file is lost. Nothing else relies on it, so it is neither
                // flushed nor tried again.
                let _ = old.seal(self.written + 1, epoch.next - 1, now.unix_ms);
                self.written = epoch.next - 1;
                self.durable = self.written;
                (self.oldest, self.oldest_after) = (None, None);
                self.last_sync_ms = now.mono_ms;
                self.marked = true;
                self.stats.rescues += 1;
                self.mode = Mode::Running;
                if !self.reserved && self.options.reserve_len > 0 {
                    self.full(&io::Error::from(io::ErrorKind::StorageFull), now);
                }
                self.write_backlog(now);
            }
            Err(error) => {
                frames.append(std::mem::take(&mut self.backlog));
                self.backlog = frames;
                self.stats.failures += 1;
                let released = is_full(&error) && self.release_reserve();
                if let Mode::Broken { why, full, retry, rescuing, .. } = &mut self.mode {
                    *why = error.to_string();
                    *full = is_full(&error);
                    *rescuing = false;
                    retry.later(now);
                    if released {
                        retry.at_ms = now.mono_ms;
                    }
                }
            }
        }
        self.publish();
    }

    /// On a full disk: writes what waits, and ends the state once the reserve could be made again.
    pub(super) fn retry_full(&mut self, now: Now) {
        let Mode::Full { retry, .. } = &mut self.mode else { return };
        if now.mono_ms < retry.at_ms {
            return;
        }
        retry.at_ms = now.mono_ms + LOG_FULL_RETRY_MS;
        if self.write_backlog(now) && matches!(self.mode, Mode::Full { .. }) {
            match self.make_reserve() {
                Ok(()) => self.mode = Mode::Running,
                Err(error) if is_full(&error) => {}
                Err(error) => self.broken(&error, now),
            }
        }
    }

    /// Writes what waits, in order; says whether nothing waits any more.
    pub(super) fn write_backlog(&mut self, now: Now) -> bool {
        let mut backlog = std::mem::take(&mut self.backlog);
        let mut failure = None;
        while let Some(frame) = backlog.front() {
            if let Err(error) = self.put(frame, now) {
                failure = Some(error);
                break;
            }
            if let Some(frame) = backlog.pop() {
                self.retained.push(frame);
            }
        }
        self.backlog = backlog;
        if let Some(error) = failure {
            self.write_failed(&error, now);
        }
        self.backlog.is_empty()
    }

    /// A write to the current segment failed: its frame waits in the backlog (a marker does not).
    pub(super) fn write_failed(&mut self, error: &io::Error, now: Now) {
        if !is_full(error) || self.current.cut().is_err() {
            self.broken(error, now);
            return;
        }
        self.stats.failures += 1;
        self.full(error, now);
        if self.release_reserve() {
            self.write_backlog(now);
        }
    }

    pub(super) fn full(&mut self, error: &io::Error, now: Now) {
        if matches!(self.mode, Mode::Running) {
            let mut retry = Retry::at_once(now);
            retry.at_ms += LOG_FULL_RETRY_MS;
            self.mode = Mode::Full { since_ms: now.mono_ms, why: error.to_string(), retry };
        }
    }

    pub(super) fn broken(&mut self, error: &io::Error, now: Now) {
        self.stats.failures += 1;
        self.ending = None;
        self.changing = false;
        if !matches!(self.mode, Mode::Broken { .. }) {
            let retry = Retry::at_once(now);
            self.mode = Mode::Broken {
                since_ms: now.mono_ms,
                why: error.to_string(),
                full: is_full(error),
                retry,
                rescuing: false,
            };
        }
    }

    /// Gives the reserve's blocks up; says whether there were any.
    pub(super) fn release_reserve(&mut self) -> bool {
        if !std::mem::take(&mut self.reserved) {
            return false;
        }
        // The folder's flush makes the file system give the blocks free at once.
        self.disk.remove(RESERVE).and_then(|()| self.disk.sync_dir()).is_ok()
    }

    /// Makes the reserve of real blocks, unless it is there.
    pub(super) fn make_reserve(&mut self) -> io::Result<()> {
        let len = self.options.reserve_len;
        if len == 0 || self.reserved {
            return Ok(());
        }
        let file = match self.disk.open(RESERVE, OpenMode::CreateNew) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.disk.open(RESERVE, OpenMode::Write)?,
            other => other?,
        };
        let have = file.len()?.min(len);
        let made = write_all_at(&*file, &vec![0; (len - have) as usize], have).and_then(|()| file.sync());
        match made {
            Ok(()) => self.reserved = true,
            Err(_) => {
                // Half a reserve would take the room that the log itself needs.
                drop(file);
                self.disk.remove(RESERVE)?;
            }
        }
        made
    }
}

//! The commit pipeline: groups of records become frames of the current segment, flushes make them durable, failures are outlived.
//!
//! A state machine without threads and clocks: every step is a call, time is passed in, and the two slow steps (the flush and the
//! rescue after a failed one) are handed out to run without the log's lock, while further groups are written.
//!
//! 1. `durable` grows only by a flush that succeeded, in the order of history. Nothing else may be told to be on the device.
//! 2. What is written but not durable stays in memory ([`Retained`]). After a failed flush, or a write that failed for another reason
//!    than a full disk, the file is never written or flushed again: those frames go to the first segment of a new epoch, which
//!    begins at `durable + 1` and supersedes them where they were.
//! 3. On a full disk a frame that did not fit is cut off and waits; nothing is written behind a gap.
//! 4. One group costs one write, one flush costs one fdatasync, except when the segment changes.
//! 5. A segment's name is durable before the next one is created: at most the last name can be missing after a crash.
//!
//! ```no_run
//! # use firn_engine::log::{commit::{Log, Now}, Effects};
//! # fn step(log: &mut Log, effects: &mut Effects, spare: Vec<u8>, now: Now) -> Vec<u8> {
//! // With the log's lock: take (under the engine's lock), then write (without it).
//! let spare = match effects.take(spare) {
//!     Some(group) => log.write(group, now),
//!     None => Vec::new(),
//! };
//! if log.sync_due(now) && let Some(ticket) = log.begin_sync(now) {
//!     let done = ticket.run();        // Without the log's lock.
//!     log.finish_sync(done, now);     // With it again.
//! }
//! if let Some(rescue) = log.begin_rescue(now) {
//!     let done = rescue.run();        // Without the log's lock.
//!     log.finish_rescue(done, now);   // With it again.
//! }
//! log.tick(now);                      // Markers, and what a full disk left waiting.
//! # spare }
//! ```

mod failure;

use super::frame::{self, Compressor, FLAG_MARKER, FRAME_HEADER_LEN};
use super::jobs::{Ending, SyncDone, SyncTicket};
use super::progress::{Accepts, LogState, Progress, SyncPolicy};
use super::retained::Retained;
use super::segment::{Identity, Prepare, Prepared, Ready, Segment, is_full, is_out_of_descriptors};
use super::{Group, Lsn, Record};
use crate::disk::Disk;
use crate::format::{FileHeader, FileKind};
use crate::limits::{FRAME_PAYLOAD_TARGET, LOG_RETRY_MS, MARKER_AFTER_MS, RETAINED_MAX, SYNC_AFTER_MS};
use crate::planted::{self, Bug};
use failure::Mode;
use std::io;
use std::sync::Arc;

/// Buffers up to this size are used again.
const SPARE_MAX: usize = 1024 * 1024;

/// The time, as the shell knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// Monotonic ms: for intervals.
    pub mono_ms: u64,
    /// Unix ms: for headers.
    pub unix_ms: u64,
}

/// Settings of the log.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// `appendfsync`.
    pub policy: SyncPolicy,
    /// Length at which a segment is sealed and the next begun.
    pub segment_len: u64,
    /// Length of `reserve.seg`; 0 for none.
    pub reserve_len: u64,
    /// Compress frames where that pays.
    pub compress: bool,
}

/// Counters for INFO.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LogStats {
    /// Frames written.
    pub frames: u64,
    /// Bytes written, headers included.
    pub bytes: u64,
    /// Flushes that succeeded.
    pub syncs: u64,
    /// Flushes and writes that failed.
    pub failures: u64,
    /// Times a new epoch took over after a failure.
    pub rescues: u64,
}

/// The log of an open store.
pub struct Log {
    disk: Arc<dyn Disk>,
    identity: Identity,
    options: LogOptions,
    progress: Arc<Progress>,
    compressor: Compressor,
    mode: Mode,
    current: Segment,
    /// The epoch of the newest segment, or of the newest attempt to make one.
    epoch: u64,
    /// The predecessor, until it is sealed. While a flush is under way the flush has it.
    ending: Option<Ending>,
    /// Whether a predecessor is not sealed yet, here or in a flush under way.
    changing: bool,
    prepared: Option<Prepared>,
    preparing: bool,
    /// Preparing failed; not tried again while this segment is the current one.
    prepare_failed: bool,
    /// LSN of the next record.
    next: Lsn,
    written: Lsn,
    durable: Lsn,
    /// Written, not durable.
    retained: Retained,
    /// Accepted, not written.
    backlog: Retained,
    /// A flush is under way.
    syncing: bool,
    /// Monotonic ms of the oldest write that no flush covers, and of the oldest that came during the flush under way.
    oldest: Option<u64>,
    oldest_after: Option<u64>,
    last_sync_ms: u64,
    /// A marker says already what is durable.
    marked: bool,
    reserved: bool,
    /// No new change of segment is tried before (monotonic ms).
    change_not_before: u64,
    stats: LogStats,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Log")
            .field("current", &self.current)
            .field("mode", &self.mode)
            .field("written", &self.written)
            .field("durable", &self.durable)
            .finish_non_exhaustive()
    }
}

impl Log {
    /// Goes on behind a new epoch's durable first segment: its `next` is the next record's LSN. Makes the reserve if it is not there.
    ///
    /// A disk too full for the reserve is no error: the log begins in [`LogState::Full`].
    ///
    /// # Errors
    /// The disk's, for other reasons.
    pub fn start(
        disk: Arc<dyn Disk>,
        identity: Identity,
        options: LogOptions,
        ready: Ready,
        now: Now,
    ) -> io::Result<Log> {
        let Ready { segment, epoch } = ready;
        let durable = epoch.next - 1;
        // A hint only: see `Segment::successor`.
        let _ = segment.file.preallocate(options.segment_len);
        let mut log = Log {
            progress: Arc::new(Progress::new(durable, options.policy)),
            disk,
            identity,
            options,
            compressor: Compressor::new(options.compress),
            mode: Mode::Running,
            epoch: segment.epoch,
            current: segment,
            ending: None,
            changing: false,
            prepared: None,
            preparing: false,
            prepare_failed: false,
            next: epoch.next,
            written: durable,
            durable,
            retained: Retained::default(),
            backlog: Retained::default(),
            syncing: false,
            oldest: None,
            oldest_after: None,
            last_sync_ms: now.mono_ms,
            marked: true,
            reserved: false,
            change_not_before: 0,
            stats: LogStats::default(),
        };
        match log.make_reserve() {
            Ok(()) => {}
            Err(error) if is_full(&error) => log.full(&error, now),
            Err(error) => return Err(error),
        }
        Ok(log)
    }

    /// What others may know without the log's lock.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// How the log is.
    pub fn state(&self) -> LogState {
        match &self.mode {
            Mode::Running => LogState::Running,
            // The first rescue usually succeeds; until it fails replies are only held back.
            Mode::Broken { retry, .. } if retry.failed == 0 => LogState::Running,
            Mode::Full { since_ms, why, .. } | Mode::Broken { since_ms, why, full: true, .. } => {
                LogState::Full { since_ms: *since_ms, why: why.clone() }
            }
            Mode::Broken { since_ms, why, .. } => LogState::Failed { since_ms: *since_ms, why: why.clone() },
        }
    }

    /// Counters.
    pub fn stats(&self) -> LogStats {
        self.stats
    }

    /// The newest epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Name, first LSN and length of the current segment.
    pub fn current(&self) -> (String, Lsn, u64) {
        (self.current.name(), self.current.first, self.current.end)
    }

    /// Bytes of frames kept in memory because they are not durable yet.
    pub fn retained_bytes(&self) -> usize {
        self.retained.bytes() + self.backlog.bytes()
    }

    fn buffered_bytes(&self) -> usize {
        self.retained.capacity() + self.backlog.capacity()
    }

    /// Changes `appendfsync`.
    pub fn set_policy(&mut self, policy: SyncPolicy) {
        self.options.policy = policy;
        self.progress.set_policy(policy);
    }

    /// Writes a group as a frame (several, if it is huge), and gives back a buffer for [`super::Effects::take`]. A group that cannot be
    /// written now waits in memory; nobody may be told that it holds before [`Progress::holds`] says so.
    ///
    /// # Panics
    /// If the group does not follow the last one: records would be lost.
    pub fn write(&mut self, group: Group, now: Now) -> Vec<u8> {
        assert_eq!(group.first, self.next, "groups come to the log in order, without gaps");
        self.next = group.last() + 1;
        self.progress.set_buffered(self.buffered_bytes() + group.payload().len());
        let mut spare = Vec::new();
        if group.payload().len() <= FRAME_PAYLOAD_TARGET {
            spare = self.accept(group, now);
        } else {
            for part in split(&group) {
                self.accept(part, now);
            }
        }
        if spare.capacity() > SPARE_MAX { Vec::new() } else { spare }
    }

    fn accept(&mut self, group: Group, now: Now) -> Vec<u8> {
        if planted::has(Bug::AcknowledgeFirst) {
            self.progress.set_written(group.last());
            if self.options.policy == SyncPolicy::Always {
                self.progress.set_durable(group.last());
            }
        }
        let mut frame = frame::build(group, &mut self.compressor);
        let spare = if !matches!(self.mode, Mode::Broken { .. }) && self.backlog.is_empty() {
            match self.put(&mut frame, now) {
                Ok(()) => self.retained.push(frame),
                Err(error) => {
                    let spare = self.backlog.push(frame);
                    self.write_failed(&error, now);
                    spare
                }
            }
        } else {
            let spare = self.backlog.push(frame);
            self.retry_full(now);
            spare
        };
        self.publish();
        spare
    }

    /// Writes one frame behind the last, in the next segment if it does not fit.
    fn put(&mut self, frame: &mut [u8], now: Now) -> io::Result<()> {
        let (first, count, len) = frame::extent(frame);
        if self.current.end + len as u64 > self.options.segment_len {
            self.change_segment(first, now)?;
        }
        self.current.write(frame, self.durable)?;
        self.written = first + Lsn::from(count) - 1;
        self.stats.frames += 1;
        self.stats.bytes += len as u64;
        self.marked = false;
        self.unflushed(now);
        Ok(())
    }

    fn unflushed(&mut self, now: Now) {
        let oldest = if self.syncing { &mut self.oldest_after } else { &mut self.oldest };
        oldest.get_or_insert(now.mono_ms);
    }

    /// Begins the next segment at `first`, if the current one holds anything and its own name is durable: else the current one grows
    /// beyond its length, as it does while the disk has no room for another or the process may open no more files.
    fn change_segment(&mut self, first: Lsn, now: Now) -> io::Result<()> {
        if self.changing || self.current.first == first || now.mono_ms < self.change_not_before {
            return Ok(());
        }
        let header = FileHeader {
            kind: FileKind::Segment,
            flags: 0,
            store: self.identity.store,
            hash_seed: self.identity.hash_seed,
            number: first,
            epoch: self.current.epoch,
            created_ms: now.unix_ms,
            durable: self.durable,
        };
        let prepared = self.prepared.take();
        let failed_before = self.disk.failed_dir_syncs();
        match Segment::successor(&*self.disk, self.identity, &header, prepared, self.options.segment_len) {
            Ok(next) => {
                let segment = std::mem::replace(&mut self.current, next);
                self.ending = Some(Ending { segment, next: first, unix_ms: now.unix_ms, failed_before });
                self.changing = true;
                self.prepare_failed = false;
                Ok(())
            }
            Err(error) if is_full(&error) || is_out_of_descriptors(&error) => {
                self.change_not_before = now.mono_ms + LOG_RETRY_MS.end;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Ends the current segment early, so that retention can give it up: after a snapshot, for compaction. Also on a full disk, where
    /// that is the way out: the next segment begins with a header alone, for which the reserve has made room.
    pub fn end_segment(&mut self, now: Now) {
        if matches!(self.mode, Mode::Running | Mode::Full { .. })
            && self.backlog.is_empty()
            && let Err(error) = self.change_segment(self.next, now)
        {
            self.broken(&error, now);
        }
        self.publish();
    }

    /// Whether a flush should be begun now.
    pub fn sync_due(&self, now: Now) -> bool {
        self.sync_due_at().is_some_and(|at| at <= now.mono_ms)
    }

    fn sync_due_at(&self) -> Option<u64> {
        if self.syncing || matches!(self.mode, Mode::Broken { .. }) {
            return None;
        }
        if self.changing || self.retained.bytes() > RETAINED_MAX {
            return Some(0);
        }
        match self.options.policy {
            SyncPolicy::Always => self.oldest.map(|_| 0),
            SyncPolicy::EverySecond => self.oldest.map(|oldest| oldest + SYNC_AFTER_MS),
            SyncPolicy::Never => None,
        }
    }

    /// When (monotonic ms) the log next wants to be called, for a flush, a rescue or a [`Self::tick`]. May be in the past.
    pub fn next_due(&self) -> Option<u64> {
        let marker = (self.wants_marker() && !self.syncing).then_some(self.last_sync_ms + MARKER_AFTER_MS);
        let retry = match &self.mode {
            Mode::Running => None,
            Mode::Full { retry, .. } => Some(retry.at_ms),
            Mode::Broken { retry, rescuing, .. } => (!rescuing && !self.syncing).then_some(retry.at_ms),
        };
        [self.sync_due_at(), marker, retry].into_iter().flatten().min()
    }

    /// Begins a flush of all that was written, if there is anything and none is under way. May be called when none is due.
    pub fn begin_sync(&mut self, now: Now) -> Option<SyncTicket> {
        let _ = now;
        if self.syncing || matches!(self.mode, Mode::Broken { .. }) || (self.oldest.is_none() && !self.changing) {
            return None;
        }
        self.syncing = true;
        Some(SyncTicket {
            disk: Arc::clone(&self.disk),
            current: Arc::clone(&self.current.file),
            ending: self.ending.take(),
            lsn: self.written,
        })
    }

    /// Takes the result of a flush.
    pub fn finish_sync(&mut self, done: SyncDone, now: Now) {
        let SyncDone { lsn, mut reached, result } = done;
        self.syncing = false;
        if planted::has(Bug::FlushCountsLater) && result.is_ok() {
            reached = self.written;
        }
        if reached > self.durable {
            self.durable = reached;
            self.retained.forget(reached);
        }
        match result {
            Ok(()) => {
                debug_assert!(lsn == reached || planted::has(Bug::FlushCountsLater));
                self.oldest = self.oldest_after.take();
                self.changing = self.ending.is_some();
                self.last_sync_ms = now.mono_ms;
                self.stats.syncs += 1;
            }
            Err(error) => self.broken(&error, now),
        }
        self.publish();
    }

    /// What is due by time: the durable marker, and on a full disk another try.
    pub fn tick(&mut self, now: Now) {
        if self.wants_marker() && !self.syncing && now.mono_ms >= self.last_sync_ms + MARKER_AFTER_MS {
            self.write_marker(now);
        }
        self.retry_full(now);
        self.publish();
    }

    fn wants_marker(&self) -> bool {
        !self.marked && self.durable == self.written && self.oldest.is_none() && matches!(self.mode, Mode::Running)
    }

    fn write_marker(&mut self, now: Now) {
        self.marked = true;
        let mut marker = frame::empty(FLAG_MARKER, self.written + 1, now.unix_ms);
        match self.current.write(&mut marker, self.durable) {
            Ok(()) => {
                self.stats.bytes += marker.len() as u64;
                self.unflushed(now);
            }
            Err(error) => self.write_failed(&error, now),
        }
    }

    fn publish(&mut self) {
        self.progress.set_written(self.written);
        self.progress.set_durable(self.durable);
        self.progress.set_oldest(self.oldest.or(self.oldest_after));
        self.progress.set_buffered(self.buffered_bytes());
        self.progress.set_crowded(self.retained_bytes() > 4 * RETAINED_MAX);
        self.progress.set_accepts(match &self.mode {
            Mode::Running => Accepts::All,
            Mode::Broken { retry, .. } if retry.failed == 0 => Accepts::All,
            Mode::Full { .. } if (self.backlog.bytes() as u64) < self.options.reserve_len => Accepts::Deletions,
            Mode::Full { .. } | Mode::Broken { .. } => Accepts::Nothing,
        });
    }

    /// Hands out the making of the next segment's file, when the current one is half full and none is ready or being made.
    pub fn prepare(&mut self) -> Option<Prepare> {
        let wanted = self.prepared.is_none()
            && !self.preparing
            && !self.prepare_failed
            && matches!(self.mode, Mode::Running)
            && self.current.end > self.options.segment_len / 2;
        wanted.then(|| {
            self.preparing = true;
            let zeros = self.options.policy == SyncPolicy::Always;
            Prepare::new(Arc::clone(&self.disk), self.options.segment_len, zeros)
        })
    }

    /// Takes what [`Self::prepare`] handed out, when its last step said that it is done or failed.
    pub fn finish_prepare(&mut self, prepare: Prepare) {
        self.preparing = false;
        self.prepared = prepare.into_prepared();
        self.prepare_failed = self.prepared.is_none();
    }

    /// Under `always`: writes zeros ahead in the current segment, one step of a fraction of a ms; says whether there is more to do. With
    /// the log's lock; a disk that refuses is found out by the next frame.
    pub fn fill_ahead(&mut self) -> bool {
        self.options.policy == SyncPolicy::Always
            && matches!(self.mode, Mode::Running)
            && self.current.fill(self.options.segment_len).unwrap_or(false)
    }

    /// The end of an open store: everything is flushed, a marker says so, and what was written ahead is cut off.
    ///
    /// # Errors
    /// If something that was accepted could not be made durable, or a flush or rescue is still under way elsewhere.
    pub fn close(mut self, now: Now) -> io::Result<()> {
        if let Mode::Broken { retry, .. } = &mut self.mode {
            retry.at_ms = now.mono_ms;
        }
        self.write_backlog(now);
        // At most: flush, rescue, flush of what came in between; then the marker's.
        for _ in 0..4 {
            if let Some(ticket) = self.begin_sync(now) {
                let done = ticket.run();
                self.finish_sync(done, now);
            }
            if let Some(rescue) = self.begin_rescue(now) {
                let done = rescue.run();
                self.finish_rescue(done, now);
            }
            if self.wants_marker() {
                self.write_marker(now);
            }
        }
        if self.durable + 1 < self.next {
            let why = match &self.mode {
                Mode::Running => String::new(),
                Mode::Full { why, .. } | Mode::Broken { why, .. } => why.clone(),
            };
            let text = format!("records {} to {} could not be made durable: {why}", self.durable + 1, self.next - 1);
            return Err(io::Error::other(text));
        }
        if self.prepared.take().is_some() {
            let _ = self.disk.remove("log-ahead.tmp");
        }
        if matches!(self.mode, Mode::Running | Mode::Full { .. }) {
            // Only gives room free; the next open reads the segment either way.
            let _ = self.current.cut();
        }
        Ok(())
    }
}

/// Cuts a huge group between records into groups of moderate size; a single larger record stays whole.
fn split(group: &Group) -> Vec<Group> {
    let mut parts = Vec::new();
    let (mut rest, mut first) = (group.payload(), group.first);
    while !rest.is_empty() {
        let (mut walk, mut count) = (rest, 0u32);
        loop {
            let before = walk;
            let lsn = first + Lsn::from(count);
            if Record::take(&mut walk, lsn, group.base_ms).is_err() {
                // Effects makes nothing else; were it so, the rest stays one frame and its reader says what is wrong.
                walk = &[];
                count = (group.last() + 1 - first) as u32;
                break;
            }
            if count > 0 && rest.len() - walk.len() > FRAME_PAYLOAD_TARGET {
                walk = before;
                break;
            }
            count += 1;
            if walk.is_empty() {
                break;
            }
        }
        let taken = rest.len() - walk.len();
        let mut bytes = Vec::with_capacity(FRAME_HEADER_LEN + taken);
        bytes.resize(FRAME_HEADER_LEN, 0);
        bytes.extend_from_slice(&rest[..taken]);
        parts.push(Group { bytes, first, count, base_ms: group.base_ms });
        first += Lsn::from(count);
        rest = walk;
    }
    parts
}

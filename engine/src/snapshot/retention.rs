//! Which snapshots and segments are still wanted, and the careful removal of those that are not.
//!
//! 1. [`plan`] is a pure function of what lies in the folder. What it does not know (files set aside, files it was not told
//!    about because they could not be read) it never removes.
//! 2. Wanted are the newest [`Retention::snapshots`] snapshots and every segment with a record after the oldest of them, so that
//!    a rotten newest snapshot loses nothing; and whatever the longer settings add. The last segment is always wanted.
//! 3. [`Removal`] removes nothing before the snapshots that make it superfluous have been read back from the device to the last
//!    byte and the folder has been synced.
//! 4. It goes snapshots first, then segments, oldest first, each made durable before the next: whenever it stops, what is left
//!    is an unbroken log behind snapshots that it continues.

use super::SnapshotError;
use super::index::{IndexRow, in_file_order};
use super::reader::{BlockBuffer, SnapshotReader};
use crate::disk::{Disk, OpenMode};
use crate::format::FileName;
use crate::log::Lsn;
use crate::log::chain::chain;
use std::collections::HashSet;
use std::sync::Arc;

/// How much is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// At least so many of the newest snapshots (0 counts as 1).
    pub snapshots: usize,
    /// Also all that is needed to go back to any moment since so many ms ago.
    pub keep_ms: Option<u64>,
    /// Also as many older snapshots, each with its segments, as fit into so many bytes together with the newer ones.
    pub keep_bytes: Option<u64>,
}

impl Default for Retention {
    fn default() -> Self {
        Retention { snapshots: 2, keep_ms: None, keep_bytes: None }
    }
}

/// A snapshot or segment in the folder whose header could be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredFile {
    /// [`FileName::Snapshot`] or [`FileName::Segment`]; others are ignored.
    pub name: FileName,
    /// Length in bytes.
    pub len: u64,
    /// When it was begun, Unix ms, as its header says.
    pub created_ms: u64,
}

/// What may go.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Files no longer wanted with their lengths, in the order in which they may be removed.
    pub remove: Vec<(String, u64)>,
    /// The snapshots this relies on, newest first.
    pub relies_on: Vec<(Lsn, u64)>,
}

/// Decides what may be removed.
pub fn plan(files: &[StoredFile], retention: &Retention, now_ms: u64) -> Plan {
    let mut snapshots = Vec::new();
    let mut segments = Vec::new();
    for file in files {
        match file.name {
            FileName::Snapshot { lsn, epoch } => snapshots.push((lsn, epoch, file)),
            FileName::Segment { first, epoch } => segments.push((first, epoch, file)),
            _ => {}
        }
    }
    snapshots.sort_unstable_by_key(|&(lsn, epoch, _)| std::cmp::Reverse((lsn, epoch)));
    // Only segments that no newer epoch supersedes are history, in the order of their records.
    let links = chain(&segments.iter().map(|&(first, epoch, _)| (first, epoch)).collect::<Vec<_>>());
    let in_history: HashSet<usize> = links.iter().map(|link| link.index).collect();
    let superseded = (0..segments.len()).filter(|at| !in_history.contains(at)).map(|at| segments[at]);
    let superseded: Vec<_> = superseded.collect();
    let segments: Vec<_> = links.iter().map(|link| segments[link.index]).collect();
    let segments = &segments[..];
    let least = retention.snapshots.max(1);
    if snapshots.len() < least {
        return Plan::default(); // The log from its beginning stands in for the snapshots that are not there yet.
    }
    // A segment holds what comes before the next one's first LSN; nothing follows the last.
    let wanted_since = |lsn: Lsn| move |at: usize| segment_end(segments, at).is_none_or(|end| end > lsn + 1);
    let mut keep = least;
    while keep < snapshots.len() {
        let (newest_left_out, oldest_kept) = (snapshots[keep], snapshots[keep - 1]);
        // The moments before the oldest kept snapshot was begun can only be reached from the one before it.
        let by_time = retention.keep_ms.is_some_and(|ms| oldest_kept.2.created_ms > now_ms.saturating_sub(ms));
        let wanted = wanted_since(newest_left_out.0);
        let log_len: u64 = (0..segments.len()).filter(|at| wanted(*at)).map(|at| segments[at].2.len).sum();
        let snapshots_len: u64 = snapshots[..=keep].iter().map(|(_, _, file)| file.len).sum();
        let by_len = retention.keep_bytes.is_some_and(|bytes| log_len.saturating_add(snapshots_len) <= bytes);
        if !by_time && !by_len {
            break;
        }
        keep += 1;
    }
    let (kept, given_up) = snapshots.split_at(keep);
    let wanted = wanted_since(kept[keep - 1].0);
    let old_snapshots = given_up.iter().rev().map(|(_, _, file)| *file);
    // Superseded ones go before what supersedes them: they must never count again.
    let oldest = kept[keep - 1].0;
    let old_superseded = superseded.iter().filter(|(first, ..)| *first <= oldest + 1).map(|(_, _, file)| *file);
    let old_segments = old_superseded.chain((0..segments.len()).take_while(|at| !wanted(*at)).map(|at| segments[at].2));
    Plan {
        remove: old_snapshots.chain(old_segments).map(|file| (file.name.to_string(), file.len)).collect(),
        relies_on: kept.iter().take(least).map(|(lsn, epoch, _)| (*lsn, *epoch)).collect(),
    }
}

/// The first LSN that is in a later segment than segment `at`.
fn segment_end(segments: &[(Lsn, u64, &StoredFile)], at: usize) -> Option<Lsn> {
    segments.get(at + 1).map(|(first, _, _)| *first)
}

/// Bytes verified or cut off in one step.
const STEP_LEN: u64 = 4 * 1024 * 1024;
/// A longer file is cut down in pieces before it is removed: freeing many blocks at once would hold up the log's syncs.
const REMOVE_AT_ONCE_LEN: u64 = 64 * 1024 * 1024;

/// What a finished removal has done.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Removed {
    /// Names removed.
    pub names: Vec<String>,
    /// Their bytes.
    pub bytes: u64,
}

/// What is done next.
enum Task {
    SyncDir,
    Open(Lsn, u64),
    Verify(Box<Verifying>),
    Remove(String, u64),
    /// Under a temporary name already.
    Cut {
        name: String,
        len: u64,
    },
}

/// A snapshot being read back.
struct Verifying {
    reader: SnapshotReader,
    /// Its blocks in the order of the file, and how many are done.
    rows: Vec<IndexRow>,
    at: usize,
    id: (Lsn, u64),
}

/// Carries a [`Plan`] out, step by step, without any lock. Dropping it in the middle leaves a whole store.
pub struct Removal {
    disk: Arc<dyn Disk>,
    /// What is left to do, the next task last.
    tasks: Vec<Task>,
    buffer: BlockBuffer,
    removed: Removed,
    newly_verified: Vec<(Lsn, u64)>,
}

impl Removal {
    /// `verified` are snapshots (LSN, epoch) that this process has verified to the last byte already, by an earlier removal or by
    /// loading them; they are not read again.
    pub fn new(disk: Arc<dyn Disk>, plan: Plan, verified: &HashSet<(Lsn, u64)>) -> Removal {
        let mut tasks = Vec::new();
        if !plan.remove.is_empty() {
            for (name, len) in plan.remove.into_iter().rev() {
                tasks.extend([Task::SyncDir, Task::Remove(name, len)]);
            }
            let unknown = plan.relies_on.into_iter().filter(|id| !verified.contains(id));
            tasks.extend(unknown.map(|(lsn, epoch)| Task::Open(lsn, epoch)));
            tasks.push(Task::SyncDir);
        }
        Removal { disk, tasks, buffer: BlockBuffer::default(), removed: Removed::default(), newly_verified: Vec::new() }
    }

    /// Snapshots verified so far by this removal.
    pub fn newly_verified(&self) -> &[(Lsn, u64)] {
        &self.newly_verified
    }

    /// One bounded piece of work; `Some` when all is done.
    ///
    /// # Errors
    /// What the disk said, or what is wrong with a snapshot that was relied on. Nothing more is removed then: further steps
    /// say that all is done.
    pub fn step(&mut self) -> Result<Option<Removed>, SnapshotError> {
        let Some(task) = self.tasks.pop() else { return Ok(Some(std::mem::take(&mut self.removed))) };
        let done = self.perform(task);
        if done.is_err() {
            self.tasks.clear();
        }
        done.map(|()| None)
    }

    fn perform(&mut self, task: Task) -> Result<(), SnapshotError> {
        match task {
            Task::SyncDir => {
                let synced = self.disk.sync_dir();
                synced.map_err(|error| SnapshotError::disk("syncing", &self.disk.describe(), None, error))?;
            }
            Task::Open(lsn, epoch) => {
                let name = FileName::Snapshot { lsn, epoch }.to_string();
                let reader = SnapshotReader::open(&*self.disk, &name, None)?;
                reader.drop_cache()?;
                let rows = in_file_order(reader.rows());
                self.tasks.push(Task::Verify(Box::new(Verifying { reader, rows, at: 0, id: (lsn, epoch) })));
            }
            Task::Verify(mut verifying) => {
                let Verifying { reader, rows, at, id } = &mut *verifying;
                let mut len = 0;
                while len < STEP_LEN && *at < rows.len() {
                    if rows[*at].info.kind.is_data() {
                        reader.read_block(&rows[*at], &mut self.buffer)?;
                    }
                    len += u64::from(rows[*at].stored_len);
                    *at += 1;
                }
                if *at < rows.len() {
                    self.tasks.push(Task::Verify(verifying));
                } else {
                    self.newly_verified.push(*id);
                }
            }
            Task::Remove(name, len) if len > REMOVE_AT_ONCE_LEN => {
                let temporary = FileName::Temporary(name.clone()).to_string();
                let renamed = self.disk.rename(&name, &temporary);
                renamed.map_err(|error| SnapshotError::disk("renaming", &name, None, error))?;
                self.removed.bytes += len;
                self.removed.names.push(name);
                // The name must be gone for good before the bytes go: else a crash would show a damaged file.
                self.tasks.extend([Task::Cut { name: temporary, len }, Task::SyncDir]);
            }
            Task::Remove(name, len) => {
                self.remove(&name)?;
                self.removed.bytes += len;
                self.removed.names.push(name);
            }
            Task::Cut { name, len } if len > REMOVE_AT_ONCE_LEN => {
                let shorter = len - STEP_LEN;
                let cut = self.disk.open(&name, OpenMode::Write).and_then(|file| file.set_len(shorter));
                cut.map_err(|error| SnapshotError::disk("cutting", &name, None, error))?;
                self.tasks.push(Task::Cut { name, len: shorter });
            }
            Task::Cut { name, .. } => self.remove(&name)?,
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), SnapshotError> {
        self.disk.remove(name).map_err(|error| SnapshotError::disk("removing", name, None, error))
    }
}

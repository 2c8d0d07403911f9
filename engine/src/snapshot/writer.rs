//! Writes a snapshot: a state machine that is stepped, partly under the engine's lock, mostly outside.
//!
//! ```text
//! begin (lock) -> { collect (lock, short) -> write (no lock) } ... -> Done(Written)
//! ```
//! 1. The state is that of the moment of [`SnapshotRun::begin`], whatever happens to the keyspace afterwards.
//! 2. [`SnapshotRun::collect`] does nothing but walk a slice and move blocks; everything slow (LZ4, CRC, the disk) is in
//!    [`SnapshotRun::write`], one bounded piece a call, so that captured blocks are fetched often.
//! 3. The walk goes on only while less than half of [`Pace::buffer_max`] waits; writes to entries not yet walked add to what
//!    waits. When [`Pace::must_slow_writers`] says so, the shell lets batches that wrote wait until [`Pace::may_go_on`] says so: the
//!    memory taken is bounded by that buffer and one batch of each writer, not by the data.
//! 4. The file has a temporary name until all of it is synced; it counts ([`Step::Done`]) only after the folder is synced too.
//! 5. Any failure ends the run: its temporary file is removed, nothing else is touched, the next run starts afresh.

use super::block::{BlockInfo, BlockKind, encode_block};
use super::index::{
    AuxPair, FOOTER_LEN, Footer, INDEX_ROWS_MAX, IndexRow, check_layout, encode_aux, encode_rows, sort_rows,
};
use super::{BadSnapshot, LIBRARY_AUX, SnapshotError};
use crate::disk::{Disk, File, OpenMode, write_all_at};
use crate::format::{FileHeader, FileKind, FileName, Seed};
use crate::keyspace::libraries::Libraries;
use crate::keyspace::{CaptureProgress, Db, Entry, Keyspace, RawBlock, Value, entry};
use crate::limits::{BLOCK_LEN_TARGET, CAPTURE_BUFFER_MAX, CAPTURE_SLICE_LEN, SNAPSHOT_SYNC_LEN, SNAPSHOT_WRITE_LEN};
use crate::log::Lsn;
use std::collections::VecDeque;
use std::sync::Arc;

/// How large the pieces are in which a snapshot is made, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// Serialized in one hold of the engine's lock.
    pub slice_len: usize,
    /// May wait for the disk; beyond it writers wait.
    pub buffer_max: usize,
    /// Written at once.
    pub write_len: usize,
    /// Written between two syncs.
    pub sync_len: u64,
    /// Of a large collection in one block.
    pub part_len: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            slice_len: CAPTURE_SLICE_LEN,
            buffer_max: CAPTURE_BUFFER_MAX,
            write_len: SNAPSHOT_WRITE_LEN,
            sync_len: SNAPSHOT_SYNC_LEN,
            part_len: BLOCK_LEN_TARGET,
        }
    }
}

impl Pace {
    /// Whether a batch of commands that has just changed something must wait before its connection goes on: `captured` is
    /// [`Keyspace::captured_bytes`], `backlog` what [`SnapshotRun::backlog`] last said. Waiting costs as long as the disk needs
    /// for half of the buffer (milliseconds); readers never wait.
    pub fn must_slow_writers(&self, captured: usize, backlog: usize) -> bool {
        captured.saturating_add(backlog) > self.buffer_max
    }

    /// Whether writers that were made to wait may go on.
    pub fn may_go_on(&self, backlog: usize) -> bool {
        backlog <= self.buffer_max / 2
    }
}

/// What a finished snapshot is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// Its name.
    pub name: String,
    /// The LSN whose state it holds.
    pub lsn: Lsn,
    /// The open that made it.
    pub epoch: u64,
    /// Length of the file in bytes.
    pub len: u64,
    /// Entries in it.
    pub entries: u64,
    /// Length of its entries before compression, in bytes.
    pub raw_len: u64,
}

/// What one call of [`SnapshotRun::write`] came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Go on: collect, then write.
    More,
    /// It is a snapshot now, durable under its name.
    Done(Written),
}

/// Where a run is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Nothing is on the disk yet.
    Create,
    /// Blocks come and go.
    Blocks,
    /// All blocks are collected and written: the index and the footer are next.
    Index,
    /// All bytes are written.
    Sync,
    /// All bytes are durable under the temporary name.
    Rename,
    /// They have their final name, which is not yet durable.
    SyncDir,
    /// A snapshot, or a failure.
    Ended,
}

/// One snapshot in the making.
pub struct SnapshotRun {
    disk: Arc<dyn Disk>,
    header: FileHeader,
    seed: Seed,
    pace: Pace,
    aux: Vec<AuxPair>,
    libraries: Libraries,
    name: String,
    temporary: String,
    state: State,
    file: Option<Box<dyn File>>,
    /// Whether the keyspace has given everything.
    collected: bool,
    /// Blocks from the keyspace that are not yet encoded.
    waiting: VecDeque<RawBlock>,
    waiting_len: usize,
    /// A large entry of which some parts are written, and where to go on.
    parts: Option<(RawBlock, u64)>,
    rows: Vec<IndexRow>,
    /// Encoded bytes not yet written; they belong at `written`.
    buffer: Vec<u8>,
    written: u64,
    synced: u64,
    entries: u64,
    /// Entries that the keyspace had when the run began.
    expected: u64,
    raw_len: u64,
    durable: Lsn,
}

impl SnapshotRun {
    /// Fixes this moment, under the engine's lock: `header` says which store, LSN (`number`, that of the newest record that the
    /// keyspace has applied), epoch and time; its `kind` and `flags` are set here. `aux` goes into the file as it is. `capture` is
    /// the number of this capture, above that of every capture before. Nothing is written yet.
    pub fn begin(
        keyspace: &mut Keyspace,
        capture: u64,
        disk: Arc<dyn Disk>,
        mut header: FileHeader,
        aux: Vec<AuxPair>,
        pace: Pace,
    ) -> SnapshotRun {
        keyspace.begin_capture(capture);
        let expected = (0..keyspace.databases()).map(|db| keyspace.db(db).len() as u64).sum();
        (header.kind, header.flags) = (FileKind::Snapshot, 0);
        let name = FileName::Snapshot { lsn: header.number, epoch: header.epoch }.to_string();
        SnapshotRun {
            disk,
            seed: header.seed(),
            durable: header.durable,
            pace,
            aux,
            libraries: keyspace.libraries.clone(),
            temporary: FileName::Temporary(name.clone()).to_string(),
            name,
            header,
            state: State::Create,
            file: None,
            collected: false,
            waiting: VecDeque::new(),
            waiting_len: 0,
            parts: None,
            rows: Vec::new(),
            buffer: Vec::new(),
            written: 0,
            synced: 0,
            entries: 0,
            expected,
            raw_len: 0,
        }
    }

    /// The LSN whose state is being written.
    pub fn lsn(&self) -> Lsn {
        self.header.number
    }

    /// Entries written so far, and how many there will be (INFO's progress).
    pub fn progress(&self) -> (u64, u64) {
        (self.entries, self.expected)
    }

    /// Bytes that wait here for the disk; the shell publishes it for [`Pace::must_slow_writers`].
    pub fn backlog(&self) -> usize {
        self.waiting_len + self.buffer.len()
    }

    /// Whether [`SnapshotRun::collect`] has anything left to fetch. If not, [`SnapshotRun::write`] alone goes on.
    pub fn wants_more(&self) -> bool {
        !self.collected && self.state != State::Ended
    }

    /// Fetches what was captured and, if little waits for the disk, walks one slice further. Under the engine's lock; takes
    /// about as long as copying [`Pace::slice_len`] bytes. `durable` is the highest LSN known durable.
    pub fn collect(&mut self, keyspace: &mut Keyspace, durable: Lsn) {
        self.durable = self.durable.max(durable);
        if !self.wants_more() {
            return;
        }
        self.drain(keyspace);
        // Also when nothing waits at all, so that the smallest buffer makes progress.
        if self.backlog() <= self.pace.buffer_max / 2 {
            self.collected = keyspace.capture_slice(self.pace.slice_len) == CaptureProgress::Done;
            self.drain(keyspace);
        }
    }

    fn drain(&mut self, keyspace: &mut Keyspace) {
        for block in keyspace.drain_captured() {
            self.waiting_len += block.bytes.len();
            self.waiting.push_back(block);
        }
    }

    /// Ends the run early: the capture stops, the file goes. Under the engine's lock only for the capture's sake; calling it
    /// after an error is right too, and needed: the keyspace is still capturing then. Gives databases to be dropped outside the lock.
    pub fn abandon(&mut self, keyspace: &mut Keyspace) -> Vec<Db> {
        self.end();
        if self.collected { Vec::new() } else { keyspace.abort_capture() }
    }

    /// One bounded piece of work without the engine's lock.
    ///
    /// # Errors
    /// What the disk said. The run has ended then and its file is removed; [`SnapshotRun::abandon`] must follow.
    pub fn write(&mut self) -> Result<Step, SnapshotError> {
        let step = self.step();
        if step.is_err() {
            self.end();
        }
        step
    }

    fn step(&mut self) -> Result<Step, SnapshotError> {
        match self.state {
            State::Create => {
                self.create()?;
                self.state = State::Blocks;
            }
            State::Blocks => {
                self.encode_waiting()?;
                if self.waiting.is_empty() && self.parts.is_none() && self.collected {
                    self.state = State::Index;
                } else if self.buffer.len() >= self.pace.write_len {
                    self.flush_buffer()?;
                    self.sync_sometimes()?;
                }
            }
            State::Index => {
                self.encode_index()?;
                self.flush_buffer()?;
                self.state = State::Sync;
            }
            State::Sync => {
                let file = self.file.as_deref().expect("open until renamed");
                file.sync().map_err(|error| SnapshotError::disk("syncing", &self.temporary, None, error))?;
                self.file = None;
                self.state = State::Rename;
            }
            State::Rename => {
                let renamed = self.disk.rename(&self.temporary, &self.name);
                renamed.map_err(|error| SnapshotError::disk("renaming", &self.temporary, None, error))?;
                self.state = State::SyncDir;
            }
            State::SyncDir => {
                let synced = self.disk.sync_dir();
                synced.map_err(|error| SnapshotError::disk("syncing the folder of", &self.name, None, error))?;
                self.state = State::Ended;
                return Ok(Step::Done(Written {
                    name: self.name.clone(),
                    lsn: self.header.number,
                    epoch: self.header.epoch,
                    len: self.written,
                    entries: self.entries,
                    raw_len: self.raw_len,
                }));
            }
            State::Ended => panic!("a snapshot run that has ended was asked to go on"),
        }
        Ok(Step::More)
    }

    fn create(&mut self) -> Result<(), SnapshotError> {
        let create = || self.disk.open(&self.temporary, OpenMode::CreateNew);
        let file = match create() {
            // Left by a run that failed while its file could not even be removed: no reader ever looks at it.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                self.disk.remove(&self.temporary).and_then(|()| create())
            }
            other => other,
        };
        self.file = Some(file.map_err(|error| SnapshotError::disk("creating", &self.temporary, None, error))?);
        self.buffer.extend_from_slice(&self.header.encode());
        let mut payload = Vec::new();
        encode_aux(&self.aux, &mut payload);
        let info = BlockInfo { kind: BlockKind::Auxiliary, db: 0, count: self.aux.len() as u64, first: 0, last: 0 };
        self.append(info, &payload);
        // A block to each: what bounds a text bounds a block.
        for (_, source) in std::mem::take(&mut self.libraries).iter() {
            payload.clear();
            encode_aux(&[AuxPair { name: LIBRARY_AUX.into(), value: source.to_vec() }], &mut payload);
            self.append(BlockInfo { count: 1, ..info }, &payload);
        }
        Ok(())
    }

    /// Encodes waiting blocks until there is enough for one write.
    fn encode_waiting(&mut self) -> Result<(), SnapshotError> {
        while self.buffer.len() < self.pace.write_len {
            let (block, from) = match self.parts.take() {
                Some(parts) => parts,
                None => match self.waiting.pop_front() {
                    Some(block) => (block, 0),
                    None => break,
                },
            };
            if from == 0 {
                self.waiting_len -= block.bytes.len();
            }
            if block.count == 0 {
                continue;
            }
            if self.rows.len() >= INDEX_ROWS_MAX {
                let full = std::io::Error::other(format!("a snapshot has at most {INDEX_ROWS_MAX} blocks"));
                return Err(SnapshotError::disk("extending", &self.temporary, self.written, full));
            }
            let mut info = BlockInfo {
                kind: BlockKind::Entries,
                db: block.db as u32,
                count: block.count,
                first: block.first_position,
                last: block.last_position,
            };
            if let Some(large) = &block.large {
                let value = Value::Collection(large.value.view());
                let entry =
                    Entry { key: &large.key, value, deadline: large.deadline, edited: false, access: large.access };
                let mut raw = Vec::new();
                let next = entry::encode_part(&entry, from, self.pace.part_len, &mut raw);
                (info.kind, info.count) = (BlockKind::Part, u64::from(next.is_none()));
                self.append(info, &raw);
                self.entries += info.count;
                self.raw_len += raw.len() as u64;
                self.parts = next.map(|next| (block, next));
                continue;
            }
            self.append(info, &block.bytes);
            self.entries += block.count;
            self.raw_len += block.bytes.len() as u64;
        }
        Ok(())
    }

    fn append(&mut self, info: BlockInfo, raw: &[u8]) {
        let offset = self.written + self.buffer.len() as u64;
        let header = encode_block(&mut self.buffer, info, raw, &self.seed, offset);
        self.rows.push(IndexRow::of(&header, offset));
    }

    fn encode_index(&mut self) -> Result<(), SnapshotError> {
        if self.entries != self.expected {
            let (found, expected) = (self.entries, self.expected);
            return Err(SnapshotError::Incomplete { file: self.temporary.clone(), found, expected });
        }
        sort_rows(&mut self.rows);
        let index_offset = self.written + self.buffer.len() as u64;
        let mut payload = Vec::new();
        encode_rows(&self.rows, &mut payload);
        let info = BlockInfo { kind: BlockKind::Index, db: 0, count: self.rows.len() as u64, first: 0, last: 0 };
        let header = encode_block(&mut self.buffer, info, &payload, &self.seed, index_offset);
        let footer = Footer {
            index_offset,
            entries: self.entries,
            lsn: self.header.number,
            file_len: index_offset + header.block_len() + FOOTER_LEN as u64,
            durable: self.durable,
        };
        self.buffer.extend_from_slice(&footer.encode(&self.seed));
        // What a reader would refuse is never made a snapshot: a defect of the capture is found here, not at the next start.
        check_layout(&self.rows, &footer)
            .map_err(|why| SnapshotError::bad(&self.temporary, index_offset, BadSnapshot::Index(why)))
    }

    fn flush_buffer(&mut self) -> Result<(), SnapshotError> {
        let file = self.file.as_deref().expect("open until renamed");
        write_all_at(file, &self.buffer, self.written)
            .map_err(|error| SnapshotError::disk("writing", &self.temporary, self.written, error))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Syncs what piled up since the last time, so that the sync at the end is short: a long one would stall the log's syncs.
    fn sync_sometimes(&mut self) -> Result<(), SnapshotError> {
        if self.written - self.synced < self.pace.sync_len {
            return Ok(());
        }
        let file = self.file.as_deref().expect("open until renamed");
        file.sync().map_err(|error| SnapshotError::disk("syncing", &self.temporary, self.written, error))?;
        self.synced = self.written;
        Ok(())
    }

    /// Removes what an unfinished run has left. That a removal fails harms nothing: a temporary file is ignored by every
    /// reader and removed by the next open. A file that has its final name stays: its bytes are durable, it may have taken the
    /// place of an equal one, and retention counts on no name before it has synced the folder itself.
    fn end(&mut self) {
        let made = self.file.is_some() || self.state == State::Rename;
        if made {
            let _ = self.disk.remove(&self.temporary);
        }
        self.state = State::Ended;
        self.file = None;
        self.waiting = VecDeque::new();
        self.waiting_len = 0;
        self.parts = None;
        self.buffer = Vec::new();
    }
}

/// A run that is forgotten leaves no file behind.
impl Drop for SnapshotRun {
    fn drop(&mut self) {
        self.end();
    }
}

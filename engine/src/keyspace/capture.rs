//! The state of all databases at one moment, taken out in short slices while writes go on.
//!
//! [`Keyspace::begin_capture`] fixes the moment. [`Keyspace::capture_slice`], called again and again under the engine's lock,
//! serializes segments in order of position; a write to a segment not yet reached serializes that one first.
//!
//! 1. Every block holds whole entries ([`entry::encode`]) in order of position. Blocks of one database never overlap, but may come in any order.
//! 2. A segment says which capture has it. Below a database's cursor every segment is captured. Splitting happens after the write that
//!    causes it was announced, so that both halves are captured; what merges is captured first.
//! 3. A database that is flushed meanwhile goes to the capture whole, is walked there, and given away afterwards.

use super::blob::BlobRef;
use super::directory::{SegmentMut, SegmentRef, last_of};
use super::{Db, Keyspace, entry};
use crate::key::HashSeed;
use crate::limits::BLOCK_LEN_TARGET;

/// What a visit to a segment costs of a slice's budget besides the bytes it gives.
const SEGMENT_COST: usize = 256;

/// Entries of one database in order of position, encoded, nothing else between them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawBlock {
    /// The database's number when the capture began.
    pub db: usize,
    /// Position of the first entry.
    pub first_position: u64,
    /// Position of the last entry.
    pub last_position: u64,
    /// How many.
    pub count: u64,
    /// The entries.
    pub bytes: Vec<u8>,
}

/// Whether a capture has seen everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CaptureProgress {
    /// Call again.
    More,
    /// The capture is complete once what [`Keyspace::drain_captured`] gives has been taken; writes cost nothing extra any more.
    Done,
}

/// The running capture.
#[derive(Debug, Default)]
pub(super) struct Capture {
    running: bool,
    /// Blocks of databases that are through.
    blocks: Vec<RawBlock>,
    /// Flushed databases still to be walked.
    frozen: Vec<Db>,
    /// Flushed databases that have been walked, to be dropped elsewhere.
    walked: Vec<Db>,
}

/// What a capture keeps with a database.
#[derive(Debug)]
pub(super) struct DbCapture {
    /// The capture's number.
    number: u64,
    /// The database's number when the capture began.
    db: usize,
    /// Where to go on; `None` when all has been walked.
    next: Option<u64>,
    /// The block that the walk fills.
    open: Option<RawBlock>,
    blocks: Vec<RawBlock>,
}

impl DbCapture {
    /// Adds entries, which are in order and behind those of the open block, if there is one; says how many bytes they took.
    fn add(&mut self, blobs: &[BlobRef<'_>], seed: &HashSeed) -> usize {
        let mut bytes = 0;
        let mut previous: Option<BlobRef<'_>> = None;
        for blob in blobs {
            if self.open.as_ref().is_some_and(|block| block.bytes.len() >= BLOCK_LEN_TARGET) {
                let position = seed.position(blob.key());
                // Keys of one position stay together: blocks do not even touch.
                if previous.is_none_or(|previous| seed.position(previous.key()) != position) {
                    self.close(previous, seed);
                }
            }
            let db = self.db;
            let block = self.open.get_or_insert_with(|| RawBlock {
                db,
                first_position: seed.position(blob.key()),
                last_position: 0,
                count: 0,
                bytes: Vec::with_capacity(BLOCK_LEN_TARGET + BLOCK_LEN_TARGET / 8),
            });
            let before = block.bytes.len();
            entry::encode(&blob.entry(), &mut block.bytes);
            bytes += block.bytes.len() - before;
            block.count += 1;
            previous = Some(*blob);
        }
        if let (Some(block), Some(last)) = (&mut self.open, previous) {
            block.last_position = seed.position(last.key());
        }
        bytes
    }

    /// Ends the open block, whose last entry is `last` if it was added since the block last knew.
    fn close(&mut self, last: Option<BlobRef<'_>>, seed: &HashSeed) {
        if let Some(mut block) = self.open.take() {
            if let Some(last) = last {
                block.last_position = seed.position(last.key());
            }
            self.blocks.push(block);
        }
    }

    fn bytes(&self) -> usize {
        self.blocks.iter().chain(&self.open).map(|block| block.bytes.len()).sum()
    }
}

impl Db {
    /// Must precede every change of an entry at `position`, and every merge of its segment.
    #[inline]
    pub(super) fn before_write(&mut self, position: u64) {
        if self.capture.is_some() {
            self.save(position);
        }
    }

    #[cold]
    #[inline(never)]
    fn save(&mut self, position: u64) {
        if let Some(capture) = &mut self.capture
            && capture.next.is_some_and(|next| position >= next)
        {
            // The walk's block must not span this segment.
            let open = capture.open.take();
            self.serialize(position);
            if let Some(capture) = &mut self.capture {
                capture.close(None, self.index.seed());
                capture.open = open;
            }
        }
    }

    /// Captures the segment of `position` unless that was done; says how many bytes that gave.
    fn serialize(&mut self, position: u64) -> Option<usize> {
        let capture = self.capture.as_mut()?;
        let seed = *self.index.seed();
        let mut blobs = Vec::new();
        let saved = match self.index.directory.get(position)? {
            SegmentRef::Lines(lines) => {
                if lines.saved() != capture.number {
                    lines.ordered(&seed, &mut blobs);
                }
                lines.saved()
            }
            SegmentRef::Crowded(crowded) => {
                blobs.extend(crowded.from(0).map(|(_, blob)| blob));
                crowded.saved
            }
        };
        if saved == capture.number {
            return None;
        }
        let bytes = capture.add(&blobs, &seed);
        let number = capture.number;
        match self.index.directory.get_mut(position)? {
            SegmentMut::Lines(mut lines) => lines.set_saved(number),
            SegmentMut::Crowded(crowded) => crowded.saved = number,
        }
        Some(bytes)
    }

    /// Walks on by one segment; says what that cost of a slice's budget, or `None` if all has been walked.
    fn capture_step(&mut self) -> Option<usize> {
        let position = self.capture.as_ref()?.next?;
        let Some(depth) = self.index.directory.depth(position) else {
            if let Some(capture) = &mut self.capture {
                capture.next = None;
            }
            return None;
        };
        let bytes = self.serialize(position);
        let seed = *self.index.seed();
        let capture = self.capture.as_mut()?;
        capture.next = last_of(position, depth).checked_add(1);
        if bytes.is_none() || capture.next.is_none() {
            capture.close(None, &seed);
        }
        Some(SEGMENT_COST + bytes.unwrap_or(0))
    }
}

impl Keyspace {
    /// Fixes this moment as what will be captured. No capture may be running. `number` is above 0 and above that of every
    /// capture before.
    pub fn begin_capture(&mut self, number: u64) {
        assert!(!self.capture.running && number > 0, "capture {number} was begun while another runs");
        self.capture.running = true;
        for (at, db) in self.dbs.iter_mut().enumerate() {
            let next = (!db.is_empty()).then_some(0);
            db.capture = next.map(|_| Box::new(DbCapture { number, db: at, next, open: None, blocks: Vec::new() }));
            db.index.saved = number;
        }
    }

    /// Serializes about `budget_bytes` more. `Done` if no capture runs.
    pub fn capture_slice(&mut self, budget_bytes: usize) -> CaptureProgress {
        let mut cost = 0;
        while cost < budget_bytes {
            if !self.capture.running {
                return CaptureProgress::Done;
            }
            let waits = |db: &&mut Db| db.capture.as_ref().is_some_and(|capture| capture.next.is_some());
            if let Some(db) = self.dbs.iter_mut().chain(&mut self.capture.frozen).find(waits) {
                while cost < budget_bytes {
                    let Some(step) = db.capture_step() else { break };
                    cost += step;
                }
            } else {
                let blocks = self.drain_captured();
                self.end_capture();
                self.capture.blocks = blocks;
            }
        }
        CaptureProgress::More
    }

    fn end_capture(&mut self) {
        for db in self.dbs.iter_mut().chain(&mut self.capture.frozen) {
            db.capture = None;
        }
        self.capture.running = false;
        self.capture.walked.append(&mut self.capture.frozen);
    }

    /// The blocks finished since the last call.
    pub fn drain_captured(&mut self) -> Vec<RawBlock> {
        let mut blocks = std::mem::take(&mut self.capture.blocks);
        for db in self.dbs.iter_mut().chain(&mut self.capture.frozen) {
            if let Some(capture) = &mut db.capture {
                blocks.append(&mut capture.blocks);
            }
        }
        blocks
    }

    /// Bytes of captured entries that [`Keyspace::drain_captured`] has not yet given away: writes make them grow, whoever writes
    /// the snapshot makes them shrink.
    pub fn captured_bytes(&self) -> usize {
        let captures = self.dbs.iter().chain(&self.capture.frozen).filter_map(|db| db.capture.as_ref());
        let blocks = self.capture.blocks.iter().map(|block| block.bytes.len());
        captures.map(|capture| capture.bytes()).sum::<usize>() + blocks.sum::<usize>()
    }

    /// Whether a capture runs: begun, and neither [`CaptureProgress::Done`] nor aborted.
    pub fn is_capturing(&self) -> bool {
        self.capture.running
    }

    /// Ends the capture without finishing it; blocks not yet drained are dropped. Gives away databases that were flushed meanwhile
    /// and kept for the capture alone, to be dropped where that hurts nobody.
    pub fn abort_capture(&mut self) -> Vec<Db> {
        self.end_capture();
        self.capture.blocks = Vec::new();
        self.take_walked()
    }

    /// Databases that were flushed during a capture, kept for it, and are not needed any more: to be dropped where that hurts nobody.
    /// To be called after [`CaptureProgress::Done`].
    pub fn take_walked(&mut self) -> Vec<Db> {
        std::mem::take(&mut self.capture.walked)
    }

    /// Keeps a flushed database if the running capture has not yet walked it; gives an empty one then, else `old` itself.
    pub(super) fn freeze(&mut self, mut old: Db) -> Db {
        match &mut old.capture {
            Some(capture) if capture.next.is_some() => {
                self.capture.frozen.push(old);
                Db::new(self.seed)
            }
            Some(capture) => {
                self.capture.blocks.append(&mut capture.blocks);
                old.capture = None;
                old
            }
            None => old,
        }
    }
}

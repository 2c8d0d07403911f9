//! The state of all databases at one moment, taken out in short slices while writes go on.
//!
//! [`Keyspace::begin_capture`] fixes the moment. [`Keyspace::capture_slice`], called again and again under the engine's lock,
//! serializes segments in order of position; a write to a segment not yet reached serializes the entries about its own first.
//!
//! 1. Every block holds whole entries ([`entry::encode`]) in order of position, or one large collection, which is not serialized here: a
//!    copy that shares its chunks costs the same whatever its size. Blocks of one database never overlap, but may come in any order.
//! 2. A segment says which capture has it. Copying one whole (hundreds of entries) would be a pause for whoever writes, and for large ones
//!    even for the walk: some of its groups may be captured. Everything below a database's cursor is captured. A segment is
//!    captured whole before its shape changes, so that its parts are.
//! 3. A database that is flushed meanwhile goes to the capture whole, is walked there, and given away afterwards.

use super::blob::BlobRef;
use super::directory::{SegmentMut, SegmentRef, first_of, last_of};
use super::segment::{Lines, SIZES};
use super::{Db, Keyspace, entry};
use crate::key::HashSeed;
use crate::limits::BLOCK_LEN_TARGET;
use crate::value::Collection;
use std::collections::BTreeMap;
use std::ops::Range;

/// What a visit to a segment costs of a slice's budget besides the bytes it gives.
const SEGMENT_COST: usize = 256;

/// A segment whose values take more bytes is walked group by group (some seven entries), as far as slices need it.
const WHOLE_MAX: usize = if cfg!(test) { 2 * 1024 } else { 256 * 1024 };

/// So many bytes of a large segment are captured before the slice looks at its budget again.
const GROUPS_COST: usize = if cfg!(test) { 512 } else { 32 * 1024 };

/// So many groups that stand together are captured for a write to one of them, if their values take no more than so many bytes:
/// some microseconds, and blocks that are not too many.
const SAVE_GROUPS: usize = 8;
const SAVE_MAX: usize = if cfg!(test) { 512 } else { 8 * 1024 };

const _: () = assert!(SIZES[SIZES.len() - 1] <= 64, "a bit for each group");

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
    /// One entry that is serialized in parts, outside of the engine's lock; `bytes` is empty then.
    pub large: Option<Box<LargeEntry>>,
}

/// An entry whose value is made of chunks, as it was at the capture's moment.
#[derive(Clone, Debug)]
pub struct LargeEntry {
    /// The key.
    pub key: Box<[u8]>,
    /// The value; it shares its chunks with the living one.
    pub value: Collection,
    /// As [`Entry::deadline`](super::Entry::deadline).
    pub deadline: Option<u64>,
    /// As [`Entry::access`](super::Entry::access).
    pub access: u32,
}

impl PartialEq for LargeEntry {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && self.deadline == other.deadline && self.value.view() == other.value.view()
    }
}

impl Eq for LargeEntry {}

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
    /// Segments that are captured in part, by their first positions: which of their groups.
    partial: BTreeMap<u64, u64>,
    blocks: Vec<RawBlock>,
    /// Bytes in `blocks`: asked for after every batch of commands.
    blocks_len: usize,
    /// Room that a new block begins with.
    room: usize,
}

/// Room for a block that the walk fills, and for one that is saved out of turn.
const WALK_ROOM: usize = BLOCK_LEN_TARGET + BLOCK_LEN_TARGET / 8;
const SAVE_ROOM: usize = SAVE_MAX;

/// What of a segment is not captured.
enum Unsaved {
    Nothing,
    /// Nothing any more: all of it, so many bytes, has just been.
    Taken(usize),
    /// Some of its groups.
    Groups,
}

impl DbCapture {
    /// Adds entries, which are in order and behind those of the open block, if there is one; says how many bytes they took.
    fn add(&mut self, blobs: &[BlobRef<'_>], seed: &HashSeed) -> usize {
        let mut bytes = 0;
        let mut previous: Option<BlobRef<'_>> = None;
        for blob in blobs {
            if let Some(value) = blob.shared() {
                self.close(previous.take(), seed);
                let position = seed.position(blob.key());
                let super::blob::Traits { deadline, access, .. } = blob.traits();
                self.blocks.push(RawBlock {
                    db: self.db,
                    first_position: position,
                    last_position: position,
                    count: 1,
                    bytes: Vec::new(),
                    large: Some(Box::new(LargeEntry { key: blob.key().into(), value, deadline, access })),
                });
                bytes += SEGMENT_COST;
                continue;
            }
            if self.open.as_ref().is_some_and(|block| block.bytes.len() >= BLOCK_LEN_TARGET) {
                let position = seed.position(blob.key());
                // Keys of one position stay together: blocks do not even touch.
                if previous.is_none_or(|previous| seed.position(previous.key()) != position) {
                    self.close(previous, seed);
                }
            }
            let (db, room) = (self.db, self.room);
            let block = self.open.get_or_insert_with(|| RawBlock {
                db,
                first_position: seed.position(blob.key()),
                last_position: 0,
                count: 0,
                bytes: Vec::with_capacity(room),
                large: None,
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

    /// What of a segment, which begins at `first`, is not captured yet. With `whole`, all of a small one is captured at once.
    fn enter(&mut self, segment: Option<SegmentRef<'_>>, first: u64, whole: bool, seed: &HashSeed) -> Unsaved {
        let mut blobs = Vec::new();
        match segment {
            None => return Unsaved::Nothing,
            Some(SegmentRef::Lines(lines)) => {
                if lines.saved() == self.number {
                    return Unsaved::Nothing;
                }
                if self.partial.contains_key(&first) {
                    return Unsaved::Groups;
                }
                if !whole {
                    self.partial.insert(first, 0);
                    return Unsaved::Groups;
                }
                lines.ordered(seed, &mut blobs);
                if blobs.iter().map(|blob| blob.bytes_len()).sum::<usize>() > WHOLE_MAX {
                    self.partial.insert(first, 0);
                    return Unsaved::Groups;
                }
            }
            Some(SegmentRef::Crowded(crowded)) => {
                if crowded.saved == self.number {
                    return Unsaved::Nothing;
                }
                blobs.extend(crowded.from(0).map(|(_, blob)| blob));
            }
        }
        Unsaved::Taken(self.add(&blobs, seed))
    }

    /// Captures those of `groups` that are not captured, until that took `cost_max` bytes; says with which group to go on, and how many
    /// bytes it took.
    fn add_groups(
        &mut self,
        lines: Lines<'_>,
        first: u64,
        groups: Range<usize>,
        cost_max: usize,
        seed: &HashSeed,
    ) -> (usize, usize) {
        let (mut done, mut bytes) = (self.partial.get(&first).copied().unwrap_or(0), 0);
        let mut entries = Vec::new();
        let mut next = groups.end;
        for group in groups {
            if bytes >= cost_max {
                next = group;
                break;
            }
            if done >> group & 1 != 0 {
                self.close(None, seed);
                continue;
            }
            entries.clear();
            lines.group(group, seed, &mut entries);
            let blobs: Vec<BlobRef<'_>> = entries.iter().map(|(_, blob)| *blob).collect();
            bytes += self.add(&blobs, seed);
            done |= 1 << group;
        }
        self.partial.insert(first, done);
        (next, bytes)
    }

    /// The groups to be captured for a write to one of them; none if that one is captured.
    fn groups_about(&self, lines: Lines<'_>, first: u64, group: usize, seed: &HashSeed) -> Range<usize> {
        if self.partial.get(&first).is_some_and(|done| done >> group & 1 != 0) {
            return group..group;
        }
        let start = group / SAVE_GROUPS * SAVE_GROUPS;
        let about = start..(start + SAVE_GROUPS).min(lines.groups());
        let mut entries = Vec::new();
        about.clone().for_each(|group| lines.group(group, seed, &mut entries));
        let len: usize = entries.iter().map(|(_, blob)| blob.bytes_len()).sum();
        if len <= SAVE_MAX { about } else { group..group + 1 }
    }

    /// Ends the open block, whose last entry is `last` if it was added since the block last knew.
    fn close(&mut self, last: Option<BlobRef<'_>>, seed: &HashSeed) {
        if let Some(mut block) = self.open.take() {
            if let Some(last) = last {
                block.last_position = seed.position(last.key());
            }
            // What is saved out of turn fills little of the room; what waits for the disk is to be what it seems.
            block.bytes.shrink_to_fit();
            self.blocks_len += block.bytes.len();
            self.blocks.push(block);
        }
    }

    fn bytes(&self) -> usize {
        self.blocks_len + self.open.as_ref().map_or(0, |block| block.bytes.len())
    }
}

impl Db {
    /// Must precede every change of an entry at `position`.
    #[inline]
    pub(super) fn before_write(&mut self, position: u64) {
        if self.capture.is_some() {
            self.save(position, false);
        }
    }

    /// Must precede every change of the shape of the segment of `position`: growth, splits, merges.
    #[inline]
    pub(super) fn before_relayout(&mut self, position: u64) {
        if self.capture.is_some() {
            self.save(position, true);
        }
    }

    /// Captures the entries about `position` out of order, or all of its segment if it must be `whole`.
    #[cold]
    #[inline(never)]
    fn save(&mut self, position: u64, whole: bool) {
        let Some(capture) = &mut self.capture else { return };
        if !whole && capture.next.is_none_or(|next| position < next) {
            return;
        }
        let Some(depth) = self.index.directory.depth(position) else { return };
        // The walk's block must not span what is saved here.
        let open = capture.open.take();
        capture.room = if whole { WALK_ROOM } else { SAVE_ROOM };
        let (first, seed) = (first_of(position, depth), *self.index.seed());
        let groups = capture.enter(self.index.directory.get(position), first, whole, &seed);
        let finished = match (groups, self.index.directory.get(position)) {
            (Unsaved::Groups, Some(SegmentRef::Lines(lines))) if whole => {
                // What the walk has passed has its bit.
                capture.add_groups(lines, first, 0..lines.groups(), usize::MAX, &seed);
                true
            }
            (Unsaved::Groups, Some(SegmentRef::Lines(lines))) => {
                let groups = capture.groups_about(lines, first, lines.group_of(position), &seed);
                capture.add_groups(lines, first, groups, usize::MAX, &seed);
                false
            }
            (Unsaved::Groups | Unsaved::Nothing, _) => false,
            (Unsaved::Taken(_), _) => true,
        };
        capture.close(None, &seed);
        capture.open = open;
        capture.room = WALK_ROOM;
        if finished {
            self.mark_saved(position, first);
        }
    }

    fn mark_saved(&mut self, position: u64, first: u64) {
        let Some(capture) = &mut self.capture else { return };
        capture.partial.remove(&first);
        match self.index.directory.get_mut(position) {
            Some(SegmentMut::Lines(mut lines)) => lines.set_saved(capture.number),
            Some(SegmentMut::Crowded(crowded)) => crowded.saved = capture.number,
            None => {}
        }
    }

    /// Walks on by one segment, or by some groups of a large one; says what that cost of a slice's budget, or `None` if all has
    /// been walked.
    fn capture_step(&mut self) -> Option<usize> {
        let capture = self.capture.as_mut()?;
        let position = capture.next?;
        let Some(depth) = self.index.directory.depth(position) else {
            capture.next = None;
            return None;
        };
        let (first, seed) = (first_of(position, depth), *self.index.seed());
        let behind = last_of(position, depth).checked_add(1);
        let cost = match capture.enter(self.index.directory.get(position), first, true, &seed) {
            Unsaved::Nothing => {
                capture.close(None, &seed);
                capture.next = behind;
                0
            }
            Unsaved::Taken(bytes) => {
                capture.next = behind;
                self.mark_saved(position, first);
                bytes
            }
            Unsaved::Groups => {
                let Some(SegmentRef::Lines(lines)) = self.index.directory.get(position) else {
                    unreachable!("only lines have groups")
                };
                let from = lines.group_of(position);
                let (group, bytes) = capture.add_groups(lines, first, from..lines.groups(), GROUPS_COST, &seed);
                if group == lines.groups() {
                    capture.next = behind;
                    self.mark_saved(position, first);
                } else {
                    capture.next = Some(lines.group_start(first, group));
                }
                bytes
            }
        };
        let capture = self.capture.as_mut()?;
        if capture.next.is_none() {
            capture.close(None, &seed);
        }
        Some(SEGMENT_COST + cost)
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
            db.capture = next.map(|_| {
                Box::new(DbCapture {
                    number,
                    db: at,
                    next,
                    open: None,
                    partial: BTreeMap::new(),
                    blocks: Vec::new(),
                    blocks_len: 0,
                    room: WALK_ROOM,
                })
            });
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
                capture.blocks_len = 0;
            }
        }
        blocks
    }

    /// Bytes of captured entries that [`Keyspace::drain_captured`] has not yet given away: writes make them grow, whoever writes
    /// the snapshot makes them shrink.
    pub fn captured_bytes(&self) -> usize {
        if !self.capture.running {
            return self.capture.blocks.iter().map(|block| block.bytes.len()).sum();
        }
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

//! The index of a database: an extendible hash over the first bits of positions, whose segments grow, split, shrink and merge.
//!
//! 1. Every step works on one segment (or two): there is no rehash of everything, so no pause grows with the data.
//! 2. What an entry has to do with the index is its position alone. Key, value and deadline are the blob's.
//! 3. A segment grows when an entry finds no slot, and shrinks well below half load, so that keys at the edge do not thrash.

use super::blob::{Blob, BlobRef};
use super::crowded::Crowded;
use super::directory::{Directory, Owned, SegmentMut, SegmentRef};
use super::segment::{Place, SIZES, Segment, Slot, lift_slots, split_slots};
use crate::key::{HashSeed, Key};

/// A crowded segment asks whether it may be split whenever its count is a multiple of this.
const CROWDED_STEP: usize = 256;
/// A crowded segment tries to become lines at this many entries.
const CROWDED_LOW: usize = 128;

/// Slots in the main lines of a segment.
const fn slots_of(main: usize) -> usize {
    main * 8
}

/// Blobs by key.
pub(super) struct Index {
    pub(super) directory: Directory,
    seed: HashSeed,
    /// What new segments say about the capture that has their entries: they are made empty, so the running one has them all.
    pub(super) saved: u64,
}

/// What belongs to a segment besides its entries.
#[derive(Clone, Copy)]
struct Marks {
    earliest: u64,
    saved: u64,
}

fn dismantle(owned: Owned, depth: u32) -> (Vec<Slot>, Marks) {
    match owned {
        Owned::Lines(segment) => {
            let marks = Marks { earliest: segment.lines().earliest(), saved: segment.lines().saved() };
            (segment.into_slots(), marks)
        }
        Owned::Crowded(crowded) => {
            let marks = Marks { earliest: crowded.earliest, saved: crowded.saved };
            (crowded.into_slots(depth), marks)
        }
    }
}

/// The blobs of a segment that is no more.
pub(super) fn dismantled(owned: Owned, depth: u32) -> impl Iterator<Item = Blob> {
    dismantle(owned, depth).0.into_iter().map(Slot::into_blob)
}

/// A segment for these slots: of lines, of size `SIZES[smallest]` or larger if they fit any, else crowded.
fn assemble(mut slots: Vec<Slot>, depth: u32, smallest: usize, marks: Marks, seed: &HashSeed) -> Owned {
    for &main in &SIZES[smallest.min(SIZES.len())..] {
        match Segment::from_slots(slots, main, depth) {
            Ok(mut segment) => {
                segment.lines_mut().set_saved(marks.saved);
                segment.lines_mut().set_earliest(marks.earliest);
                return Owned::Lines(segment);
            }
            Err(back) => slots = back,
        }
    }
    let mut crowded = Crowded::from_slots(slots, seed);
    (crowded.earliest, crowded.saved) = (marks.earliest, marks.saved);
    Owned::Crowded(Box::new(crowded))
}

/// Which size leaves room to grow for `count` entries.
fn size_for(count: usize) -> usize {
    size_filled(count, 72)
}

/// The smallest size that `count` entries fill to at most so many percent, else the largest.
fn size_filled(count: usize, percent: usize) -> usize {
    SIZES.iter().position(|main| count * 100 <= slots_of(*main) * percent).unwrap_or(SIZES.len() - 1)
}

impl Index {
    pub(super) fn new(seed: HashSeed) -> Index {
        Index { directory: Directory::new(), seed, saved: 0 }
    }

    pub(super) fn seed(&self) -> &HashSeed {
        &self.seed
    }

    /// The blob of `key`.
    #[inline]
    pub(super) fn get(&self, key: Key<'_>) -> Option<BlobRef<'_>> {
        match self.directory.get(key.position)? {
            SegmentRef::Lines(lines) => lines.get(key),
            SegmentRef::Crowded(crowded) => crowded.get(key),
        }
    }

    /// The place of `key`.
    #[inline]
    pub(super) fn place(&mut self, key: Key<'_>) -> Option<Place<'_>> {
        match self.directory.get_mut(key.position)? {
            SegmentMut::Lines(lines) => lines.place(key),
            SegmentMut::Crowded(crowded) => crowded.place(key),
        }
    }

    /// Puts a blob whose key is not here.
    pub(super) fn insert(&mut self, position: u64, mut blob: Blob) {
        while let Err(back) = self.try_insert(position, blob) {
            blob = back;
            self.make_room(position);
        }
    }

    /// Puts a blob whose key is not here; gives it back if its segment must first change ([`Index::make_room`]).
    #[inline]
    pub(super) fn try_insert(&mut self, position: u64, blob: Blob) -> Result<(), Blob> {
        match self.directory.get_mut(position) {
            Some(SegmentMut::Lines(mut lines)) => lines.insert(position, blob),
            Some(SegmentMut::Crowded(crowded)) => {
                let before = crowded.used_bytes();
                crowded.insert(position, blob);
                let (after, count) = (crowded.used_bytes(), crowded.count());
                self.directory.count_crowded(before, after);
                if count.is_multiple_of(CROWDED_STEP) {
                    self.make_room(position);
                }
                Ok(())
            }
            None => Err(blob),
        }
    }

    /// Makes the segment of `position` larger, or splits it, or makes it crowded; makes the first one.
    #[cold]
    #[inline(never)]
    pub(super) fn make_room(&mut self, position: u64) {
        let marks = Marks { earliest: u64::MAX, saved: self.saved };
        let Some(depth) = self.directory.depth(position) else {
            self.directory.put(position, 0, assemble(Vec::new(), 0, 0, marks, &self.seed));
            return;
        };
        let may_deepen = self.directory.may_deepen(position, depth);
        let size = match self.directory.get(position) {
            Some(SegmentRef::Lines(lines)) => SIZES.iter().position(|main| *main == lines.groups()).unwrap_or(0),
            Some(SegmentRef::Crowded(_)) if !may_deepen => return,
            _ => SIZES.len(),
        };
        let Some((owned, depth)) = self.directory.take(position) else { unreachable!("the segment was just seen") };
        let (slots, marks) = dismantle(owned, depth);
        if size + 1 < SIZES.len() || !may_deepen {
            self.directory.put(position, depth, assemble(slots, depth, size + 1, marks, &self.seed));
            return;
        }
        let halves = split_slots(slots, depth, &self.seed);
        let bit = 1 << (63 - depth);
        for (half, at) in [(halves.0, position & !bit), (halves.1, position | bit)] {
            let smallest = size_for(half.len());
            let owned = assemble(half, depth + 1, smallest, marks, &self.seed);
            self.directory.put(at, depth + 1, owned);
        }
    }

    /// Takes the blob of `key` out. Says also whether [`Index::shrink`] is worth a call.
    #[inline]
    pub(super) fn remove(&mut self, key: Key<'_>) -> (Option<Blob>, bool) {
        match self.directory.get_mut(key.position) {
            Some(SegmentMut::Lines(mut lines)) => {
                let blob = lines.remove(key);
                let sparse = blob.is_some() && is_sparse(lines.view().groups(), lines.view().count());
                (blob, sparse)
            }
            Some(SegmentMut::Crowded(crowded)) => {
                let before = crowded.used_bytes();
                let blob = crowded.remove(key);
                let (after, count) = (crowded.used_bytes(), crowded.count());
                self.directory.count_crowded(before, after);
                (blob, count <= CROWDED_LOW && count.is_multiple_of(32))
            }
            None => (None, false),
        }
    }

    /// The neighbour that the segment of `position` would merge with: some position in it.
    pub(super) fn buddy(&self, position: u64) -> Option<u64> {
        let depth = self.directory.depth(position)?;
        let buddy = position ^ 1u64.checked_shl(64 - depth)?;
        let few = |at| match self.directory.get(at) {
            Some(SegmentRef::Lines(lines)) => lines.count(),
            _ => slots_of(SIZES[0]),
        };
        let fits = self.directory.depth(buddy) == Some(depth) && few(position) + few(buddy) <= slots_of(SIZES[0]) / 2;
        fits.then_some(buddy)
    }

    /// Merges the segment of `position` with its buddy, which both must be as well saved as each other. Says whether that went.
    pub(super) fn merge(&mut self, position: u64, buddy: u64) -> bool {
        // A segment that fills a page can only go up with the page.
        self.directory.merge_pages(position);
        let Some(depth) = self.directory.depth(position) else { return false };
        if !self.directory.may_lift(position, depth) {
            return false;
        }
        let (Some((one, _)), Some((other, _))) = (self.directory.take(position), self.directory.take(buddy)) else {
            unreachable!("both were just seen")
        };
        let (mut slots, marks) = dismantle(one, depth);
        let (mut others, other_marks) = dismantle(other, depth);
        lift_slots(&mut slots, depth, position);
        lift_slots(&mut others, depth, buddy);
        slots.append(&mut others);
        let marks =
            Marks { earliest: marks.earliest.min(other_marks.earliest), saved: marks.saved.min(other_marks.saved) };
        let size = size_for(slots.len());
        self.directory.put(position, depth - 1, assemble(slots, depth - 1, size, marks, &self.seed));
        self.directory.merge_pages(position);
        true
    }

    /// Gives a sparse segment a smaller size; makes a crowded one lines.
    pub(super) fn shrink(&mut self, position: u64) {
        let count = match self.directory.get(position) {
            Some(SegmentRef::Lines(lines)) if lines.groups() == SIZES[0] => return,
            Some(SegmentRef::Lines(lines)) => lines.count(),
            Some(SegmentRef::Crowded(crowded)) => crowded.count(),
            None => return,
        };
        if let Some((owned, depth)) = self.directory.take(position) {
            let (slots, marks) = dismantle(owned, depth);
            self.directory.put(position, depth, assemble(slots, depth, size_for(count), marks, &self.seed));
        }
    }
}

/// Whether a segment should become smaller or merge. The smallest asks its neighbour only at every eighth removal.
#[inline]
fn is_sparse(main: usize, count: usize) -> bool {
    match SIZES.iter().position(|size| *size == main) {
        Some(0) | None => count <= slots_of(SIZES[0]) / 4 && count.is_multiple_of(8),
        Some(size) => count * 5 < slots_of(SIZES[size - 1]) * 2,
    }
}

/// A slot for bulk loading: the tag fits a segment of `depth`.
pub(super) fn loaded_slot(blob: Blob, position: u64, depth: u32) -> Slot {
    super::segment::tagged(blob, position, depth)
}

/// Segments, with their first positions and depths, for the slots of one prefix, divided as often as they need but not beyond
/// `deepest`: what is left then goes to `loose`.
pub(super) fn segments_of(
    slots: Vec<Slot>,
    (position, depth, deepest): (u64, u32, u32),
    earliest: u64,
    seed: &HashSeed,
    out: &mut Vec<(u64, u32, Owned)>,
    loose: &mut Vec<Blob>,
) {
    let marks = Marks { earliest, saved: 0 };
    let few = slots.len() * 100 <= slots_of(SIZES[SIZES.len() - 1]) * 85;
    if few || depth >= deepest {
        let size = size_filled(slots.len(), 78);
        let mut slots = slots;
        if !few {
            loose.extend(slots.drain(..).map(Slot::into_blob));
        }
        out.push((position, depth, assemble(slots, depth, size, marks, seed)));
        return;
    }
    let (low, high) = split_slots(slots, depth, seed);
    segments_of(low, (position, depth + 1, deepest), earliest, seed, out, loose);
    segments_of(high, (position | 1 << (63 - depth), depth + 1, deepest), earliest, seed, out, loose);
}

/// An empty segment.
pub(super) fn empty_segment(depth: u32, seed: &HashSeed) -> Owned {
    assemble(Vec::new(), depth, 0, Marks { earliest: u64::MAX, saved: 0 }, seed)
}

/// The depth at which segments of the largest size hold all, if there are `expected` entries in all: as few segments as possible.
pub(super) fn depth_for(expected: u64) -> u32 {
    let per_segment = (slots_of(SIZES[SIZES.len() - 1]) * 72 / 100) as u64;
    (expected / per_segment + 1).next_power_of_two().ilog2().min(32)
}

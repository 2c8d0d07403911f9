//! A segment: all entries whose positions share a prefix, as slots in 64-byte lines.
//!
//! ```text
//! lines      0 header | 1..=n main, n = 30, 46 or 62 | n+1 stash          2048, 3072, 4096 bytes: classes of the allocator
//! header     u64 slots in use | u64 no deadline is earlier | u64 number of the capture that has it | 5 stash slots
//! slot       63..46 tag: 18 position bits from bit (depth rounded down to a multiple of 4) on | 45 it, or a field of it, has a deadline
//!            44 flag of the line | 43..0 address of the blob / 8, 0 = empty
//! flags      slot 0 of a main line: some entry at home here is in the next line; slot 1: some is in the stash
//! home line  1 + (14 position bits behind the depth * n) >> 14: lines lie in order of position
//! ```
//! 1. The address in a slot is that of a blob which that slot alone owns.
//! 2. An entry is in its home line, the next (the last one's next is the first), the stash line, or the header's slots; where it is
//!    not at home, the home line's flag says so. Flags are exact: they are cleared when the last such entry leaves.
//! 3. A segment never reads blobs to move slots, but when the tag's bits run out at every fourth level.

mod owned;

pub(super) use owned::{Segment, lift_slots, split_slots, tagged};

use super::blob::{Blob, BlobRef, Traits};
use super::size::prefetch;
use crate::key::{HashSeed, Key};

/// Main lines of the three sizes of segments.
pub(super) const SIZES: [usize; 3] = [30, 46, 62];
const SLOTS: usize = 8;
const HEADER_SLOTS: u32 = 0b1111_1000;
const COUNT: usize = 0;
const EARLIEST: usize = 1;
const SAVED: usize = 2;

const ADDRESS: u64 = (1 << 44) - 1;
const FLAG: u64 = 1 << 44;
const HAS_DEADLINE: u64 = 1 << 45;
const TAG_SHIFT: u32 = 46;
const TAG_BITS: u32 = 18;
/// Which slot's flag bit says that entries went on to the next line, or to the stash.
const TO_NEXT: usize = 0;
const TO_STASH: usize = 1;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u64; SLOTS]);

/// Position bits from `base` on, as a slot's tag.
#[inline]
fn tag_of(position: u64, depth: u32) -> u64 {
    (position << (depth & !3)) >> TAG_SHIFT
}

/// Which of `n` lines is home (from 0).
#[inline]
fn home_of(tag: u64, depth: u32, n: usize) -> usize {
    let next = tag >> (TAG_BITS - 14 - (depth & 3)) & 0x3fff;
    (next as usize * n) >> 14
}

/// Which slots of `line` have this tag: a bit each. An empty slot may be among them if the tag is 0.
#[cfg(target_arch = "x86_64")]
#[inline]
fn matches(line: &Line, tag: u64) -> u32 {
    use std::arch::x86_64::{
        _mm_castps_si128, _mm_castsi128_ps, _mm_cmpeq_epi32, _mm_loadu_si128, _mm_movemask_epi8, _mm_packs_epi16,
        _mm_packs_epi32, _mm_set1_epi32, _mm_shuffle_ps, _mm_srli_epi32,
    };
    const HIGH_HALVES: i32 = 0b11_01_11_01;
    let slots = (&raw const line.0).cast::<std::arch::x86_64::__m128i>();
    // SAFETY: SSE2 is part of x86-64, and the four loads are the line's 64 bytes.
    unsafe {
        let tags = _mm_set1_epi32(tag as i32);
        let four = |at: usize| {
            let (low, high) = (_mm_loadu_si128(slots.add(at)), _mm_loadu_si128(slots.add(at + 1)));
            let halves = _mm_shuffle_ps::<HIGH_HALVES>(_mm_castsi128_ps(low), _mm_castsi128_ps(high));
            let found = _mm_srli_epi32::<{ TAG_SHIFT as i32 - 32 }>(_mm_castps_si128(halves));
            _mm_cmpeq_epi32(found, tags)
        };
        let words = _mm_packs_epi32(four(0), four(2));
        (_mm_movemask_epi8(_mm_packs_epi16(words, words)) & 0xff) as u32
    }
}

/// Which slots of `line` have this tag: a bit each. An empty slot may be among them if the tag is 0.
#[cfg(any(not(target_arch = "x86_64"), test))]
#[cfg_attr(target_arch = "x86_64", allow(dead_code))]
#[inline]
fn matches_portably(line: &Line, tag: u64) -> u32 {
    let mut found = 0;
    for (at, slot) in line.0.iter().enumerate() {
        found |= u32::from(slot >> TAG_SHIFT == tag) << at;
    }
    found
}

#[cfg(not(target_arch = "x86_64"))]
use matches_portably as matches;

#[inline]
fn free_slot(line: &Line) -> Option<usize> {
    line.0.iter().position(|slot| slot & ADDRESS == 0)
}

#[inline]
fn slot_of(tag: u64, blob: Blob) -> u64 {
    let deadline = if blob.view().wakes_at().is_some() { HAS_DEADLINE } else { 0 };
    let address = blob.into_address();
    if address & !(ADDRESS << 3) != 0 {
        // No system that this runs on gives such addresses to user programs; nothing could be kept in order if one did.
        std::process::abort();
    }
    tag << TAG_SHIFT | deadline | address >> 3
}

/// The blob of an occupied slot.
///
/// # Safety
/// The slot owns a blob, which is not changed for `'a`.
#[inline]
unsafe fn blob_of<'a>(slot: u64) -> BlobRef<'a> {
    // SAFETY: as the caller promises.
    unsafe { BlobRef::from_address((slot & ADDRESS) << 3) }
}

/// An owned slot, alone or in a list that is not a segment: how crowded segments and relayouts hold entries.
pub(super) struct Slot(u64);

impl Slot {
    /// A slot without a tag.
    pub(super) fn new(blob: Blob) -> Slot {
        Slot(slot_of(0, blob))
    }

    pub(super) fn view(&self) -> BlobRef<'_> {
        // SAFETY: a slot owns its blob.
        unsafe { blob_of(self.0) }
    }

    pub(super) fn into_blob(self) -> Blob {
        let slot = std::mem::ManuallyDrop::new(self);
        // SAFETY: a slot owns its blob, and gives it up here.
        unsafe { Blob::from_address((slot.0 & ADDRESS) << 3) }
    }

    pub(super) fn place(&mut self) -> Place<'_> {
        Place(&mut self.0)
    }

    /// With the tag of `position` in a segment of `depth`.
    fn tagged(mut self, position: u64, depth: u32) -> Slot {
        self.0 = self.0 & (HAS_DEADLINE | ADDRESS) | tag_of(position, depth) << TAG_SHIFT;
        self
    }

    /// Bit `depth` of the position, as far as the tag of a segment of that depth tells.
    fn bit(&self, depth: u32) -> bool {
        self.0 >> (63 - (depth & 3)) & 1 != 0
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // SAFETY: a slot owns its blob, and this is its end.
        drop(unsafe { Blob::from_address((self.0 & ADDRESS) << 3) });
    }
}

/// The place of an entry, to read, change or replace its blob.
pub(super) struct Place<'a>(&'a mut u64);

impl<'a> Place<'a> {
    /// The blob, for as long as the segment is borrowed.
    pub(super) fn into_view(self) -> BlobRef<'a> {
        // SAFETY: places are made for occupied slots only, and this one stays borrowed.
        unsafe { blob_of(*self.0) }
    }

    pub(super) fn view(&self) -> BlobRef<'_> {
        // SAFETY: places are made for occupied slots only, and this one is borrowed.
        unsafe { blob_of(*self.0) }
    }

    /// Changes the blob in place.
    pub(super) fn change<T>(&mut self, change: impl FnOnce(&mut Blob) -> T) -> T {
        // SAFETY: the slot owns the blob; ManuallyDrop leaves it with the slot, whatever `change` does.
        let mut blob = std::mem::ManuallyDrop::new(unsafe { Blob::from_address((*self.0 & ADDRESS) << 3) });
        change(&mut blob)
    }

    /// Marks the slot anew after a change that may have given something in the entry its first deadline, or taken the last.
    pub(super) fn remark(&mut self) {
        let mark = if self.view().wakes_at().is_some() { HAS_DEADLINE } else { 0 };
        *self.0 = *self.0 & !HAS_DEADLINE | mark;
    }

    /// Gives the entry other traits, in a new blob.
    pub(super) fn remake(&mut self, traits: Traits) {
        // SAFETY: the slot owns the blob, and owns the new one instead afterwards; nothing in between unwinds, since running
        // out of memory aborts.
        let blob = unsafe { Blob::from_address((*self.0 & ADDRESS) << 3) };
        *self.0 = *self.0 & !(HAS_DEADLINE | ADDRESS) | slot_of(0, blob.remade(None, traits));
    }

    /// Puts another blob of the same key here and gives back the old one.
    pub(super) fn replace(&mut self, blob: Blob) -> Blob {
        let old = *self.0;
        *self.0 = old & !(HAS_DEADLINE | ADDRESS) | slot_of(0, blob);
        // SAFETY: the slot owned the old blob and now owns the new one.
        unsafe { Blob::from_address((old & ADDRESS) << 3) }
    }
}

/// The lines of a segment, borrowed.
#[derive(Clone, Copy)]
pub(super) struct Lines<'a> {
    lines: &'a [Line],
    depth: u32,
}

impl<'a> Lines<'a> {
    #[inline]
    fn main(self) -> usize {
        self.lines.len() - 2
    }

    #[inline]
    fn next(self, line: usize) -> usize {
        if line == self.main() { 1 } else { line + 1 }
    }

    fn tag_home(self, slot: u64) -> usize {
        1 + home_of(slot >> TAG_SHIFT, self.depth, self.main())
    }

    #[inline]
    fn home(self, position: u64) -> usize {
        1 + home_of(tag_of(position, self.depth), self.depth, self.main())
    }

    /// Entries.
    pub(super) fn count(self) -> usize {
        self.lines[0].0[COUNT] as usize
    }

    /// Bytes of the lines.
    pub(super) fn len_bytes(self) -> u64 {
        size_of_val(self.lines) as u64
    }

    /// No deadline in here is earlier.
    pub(super) fn earliest(self) -> u64 {
        self.lines[0].0[EARLIEST]
    }

    /// Number of the capture that has these entries.
    pub(super) fn saved(self) -> u64 {
        self.lines[0].0[SAVED]
    }

    #[inline]
    fn seek(self, key: Key<'_>) -> Option<(usize, usize)> {
        self.seek_where(key.position, |blob| blob.key() == key.bytes)
    }

    /// The place of an entry whose position is, or may be, this one, and of which `is_it` holds.
    #[inline]
    fn seek_where(self, position: u64, is_it: impl Fn(BlobRef<'a>) -> bool) -> Option<(usize, usize)> {
        let tag = tag_of(position, self.depth);
        let home = 1 + home_of(tag, self.depth, self.main());
        if let Some(at) = self.seek_in(home, u32::MAX, tag, &is_it) {
            return Some((home, at));
        }
        let flags = &self.lines[home].0;
        let (to_next, to_stash) = (flags[TO_NEXT] & FLAG != 0, flags[TO_STASH] & FLAG != 0);
        if to_next {
            let next = self.next(home);
            if let Some(at) = self.seek_in(next, u32::MAX, tag, &is_it) {
                return Some((next, at));
            }
        }
        if to_stash {
            let stash = self.main() + 1;
            if let Some(at) = self.seek_in(stash, u32::MAX, tag, &is_it) {
                return Some((stash, at));
            }
            return self.seek_in(0, HEADER_SLOTS, tag, &is_it).map(|at| (0, at));
        }
        None
    }

    #[inline]
    fn seek_in(self, line: usize, mask: u32, tag: u64, is_it: &impl Fn(BlobRef<'a>) -> bool) -> Option<usize> {
        let line = &self.lines[line];
        let mut found = matches(line, tag) & mask;
        while found != 0 {
            let at = found.trailing_zeros() as usize;
            let slot = line.0[at];
            // SAFETY: an occupied slot owns a blob; the segment is borrowed for 'a.
            if slot & ADDRESS != 0 && is_it(unsafe { blob_of(slot) }) {
                return Some(at);
            }
            found &= found - 1;
        }
        None
    }

    /// The entry of `key`.
    #[inline]
    pub(super) fn get(self, key: Key<'_>) -> Option<BlobRef<'a>> {
        let (line, at) = self.seek(key)?;
        // SAFETY: `seek` gives occupied slots; the segment is borrowed for 'a.
        Some(unsafe { blob_of(self.lines[line].0[at]) })
    }

    /// Fetches the blobs ahead that `position` may be in.
    #[inline]
    pub(super) fn prefetch_blobs(self, position: u64) {
        let tag = tag_of(position, self.depth);
        let line = &self.lines[self.home(position)];
        let mut found = matches(line, tag);
        while found != 0 {
            // SAFETY: an occupied slot owns a blob. (Of an empty one the address is a null that is only prefetched.)
            let slot = line.0[found.trailing_zeros() as usize];
            if slot & ADDRESS != 0 {
                // SAFETY: an occupied slot owns a blob; the segment is borrowed.
                unsafe { blob_of(slot) }.prefetch();
            }
            found &= found - 1;
        }
    }

    fn occupied(self) -> impl Iterator<Item = u64> + use<'a> {
        let header = self.lines[0].0[SAVED + 1..].iter();
        let lines = self.lines[1..].iter().flat_map(|line| &line.0);
        lines.chain(header).copied().filter(|slot| slot & ADDRESS != 0)
    }

    /// All entries, in no order.
    pub(super) fn blobs(self) -> impl Iterator<Item = BlobRef<'a>> {
        // SAFETY: an occupied slot owns a blob; the segment is borrowed for 'a.
        self.occupied().map(|slot| unsafe { blob_of(slot) })
    }

    /// All entries with a deadline, in no order.
    pub(super) fn mortal(self) -> impl Iterator<Item = BlobRef<'a>> {
        // SAFETY: an occupied slot owns a blob; the segment is borrowed for 'a.
        self.occupied().filter(|slot| slot & HAS_DEADLINE != 0).map(|slot| unsafe { blob_of(slot) })
    }

    /// All entries in order of position. Only keys whose tags are equal are hashed.
    pub(super) fn ordered(self, seed: &HashSeed, out: &mut Vec<BlobRef<'a>>) {
        let mut slots: Vec<u64> = self.occupied().map(|slot| slot & !FLAG).collect();
        for &slot in &slots {
            // SAFETY: an occupied slot owns a blob; the segment is borrowed for 'a.
            unsafe { blob_of(slot) }.prefetch();
        }
        slots.sort_unstable();
        for same in slots.chunk_by_mut(|one, other| one >> TAG_SHIFT == other >> TAG_SHIFT) {
            if same.len() > 1 {
                // SAFETY: as above.
                same.sort_by_cached_key(|slot| seed.position(unsafe { blob_of(*slot) }.key()));
            }
        }
        // SAFETY: as above.
        out.extend(slots.iter().map(|slot| unsafe { blob_of(*slot) }));
    }

    /// The entries that stand in one main line, from 0; with the last come those of the stash and the header.
    pub(super) fn line(self, number: usize, mortal: bool) -> impl Iterator<Item = BlobRef<'a>> {
        let (stash, header): (&[u64], &[u64]) = if number + 1 == self.main() {
            (&self.lines[self.main() + 1].0, &self.lines[0].0[SAVED + 1..])
        } else {
            (&[], &[])
        };
        let wanted = if mortal { HAS_DEADLINE } else { 0 };
        let slots = self.lines[number + 1].0.iter().chain(stash).chain(header);
        let taken = slots.filter(move |slot| **slot & ADDRESS != 0 && **slot & wanted == wanted);
        // SAFETY: an occupied slot owns a blob; the segment is borrowed for 'a.
        taken.map(|slot| unsafe { blob_of(*slot) })
    }

    /// An entry at exactly this position.
    pub(super) fn at_position(self, position: u64, seed: &HashSeed) -> Option<BlobRef<'a>> {
        let (line, at) = self.seek_where(position, |blob| seed.position(blob.key()) == position)?;
        // SAFETY: `seek_where` gives occupied slots; the segment is borrowed for 'a.
        Some(unsafe { blob_of(self.lines[line].0[at]) })
    }

    /// How many groups [`Lines::group`] knows.
    pub(super) fn groups(self) -> usize {
        self.main()
    }

    /// Which group `position` belongs to.
    pub(super) fn group_of(self, position: u64) -> usize {
        self.home(position) - 1
    }

    /// The first position of a group of the segment that begins at `first`.
    pub(super) fn group_start(self, first: u64, group: usize) -> u64 {
        let next = (group << 14).div_ceil(self.main()) as u64;
        first | next << (64 - 14 - self.depth)
    }

    /// Adds the entries of one group with their positions to `out`, in order of position. Every entry of a group is before
    /// every entry of the next.
    pub(super) fn group(self, group: usize, seed: &HashSeed, out: &mut Vec<(u64, BlobRef<'a>)>) {
        let home = group + 1;
        let start = out.len();
        let flags = &self.lines[home].0;
        let mut slots = [0; 3 * SLOTS + SLOTS];
        let mut count = 0;
        let mut add = |line: &'a [u64]| {
            for &slot in line {
                if slot & ADDRESS != 0 && self.tag_home(slot) == home {
                    // SAFETY: an occupied slot owns a blob; the segment is borrowed for 'a.
                    unsafe { blob_of(slot) }.prefetch();
                    slots[count] = slot;
                    count += 1;
                }
            }
        };
        add(&self.lines[home].0);
        if flags[TO_NEXT] & FLAG != 0 {
            add(&self.lines[self.next(home)].0);
        }
        if flags[TO_STASH] & FLAG != 0 {
            add(&self.lines[self.main() + 1].0);
            add(&self.lines[0].0[SAVED + 1..]);
        }
        for &slot in &slots[..count] {
            // SAFETY: an occupied slot owns a blob; the segment is borrowed for 'a.
            let blob: BlobRef<'a> = unsafe { blob_of(slot) };
            out.push((seed.position(blob.key()), blob));
        }
        out[start..].sort_by_key(|(position, _)| *position);
    }

    /// Compares everything with the invariants above.
    #[cfg(test)]
    pub(super) fn check(self, seed: &HashSeed) {
        assert!(SIZES.contains(&self.main()));
        assert_eq!(self.blobs().count(), self.count());
        let mut flags = vec![[false; 2]; self.lines.len()];
        for (number, line) in self.lines.iter().enumerate() {
            for (at, slot) in line.0.iter().enumerate() {
                if number == 0 && at <= SAVED || slot & ADDRESS == 0 {
                    continue;
                }
                // SAFETY: an occupied slot owns a blob; the segment is borrowed.
                let blob = unsafe { blob_of(*slot) };
                let own = seed.position(blob.key());
                assert_eq!(slot >> TAG_SHIFT, tag_of(own, self.depth));
                assert_eq!(slot & HAS_DEADLINE != 0, blob.wakes_at().is_some());
                let home = self.home(own);
                if number == self.next(home) {
                    flags[home][TO_NEXT] = true;
                } else if number != home {
                    assert!(number == 0 || number == self.main() + 1, "line {number} holds an entry of line {home}");
                    flags[home][TO_STASH] = true;
                }
            }
        }
        for (home, line) in self.lines.iter().enumerate().take(self.main() + 1).skip(1) {
            let stated = [line.0[TO_NEXT], line.0[TO_STASH]].map(|slot| slot & FLAG != 0);
            assert_eq!(stated, flags[home], "flags of line {home}");
        }
    }
}

/// The lines of a segment, borrowed to change them.
pub(super) struct LinesMut<'a> {
    lines: &'a mut [Line],
    depth: u32,
}

impl<'a> LinesMut<'a> {
    #[inline]
    pub(super) fn view(&self) -> Lines<'_> {
        Lines { lines: self.lines, depth: self.depth }
    }

    pub(super) fn set_saved(&mut self, number: u64) {
        self.lines[0].0[SAVED] = number;
    }

    pub(super) fn set_earliest(&mut self, deadline: u64) {
        self.lines[0].0[EARLIEST] = deadline;
    }

    /// The place of `key`.
    #[inline]
    pub(super) fn place(self, key: Key<'_>) -> Option<Place<'a>> {
        let (line, at) = self.view().seek(key)?;
        Some(Place(&mut self.lines[line].0[at]))
    }

    /// Puts a blob whose key is not here; gives it back if there is no room.
    #[inline]
    pub(super) fn insert(&mut self, position: u64, blob: Blob) -> Result<(), Blob> {
        let tag = tag_of(position, self.depth);
        let Some((line, at)) = self.room(tag) else { return Err(blob) };
        let slot = &mut self.lines[line].0[at];
        *slot = *slot & FLAG | slot_of(tag, blob);
        self.lines[0].0[COUNT] += 1;
        Ok(())
    }

    /// A free slot for an entry with this tag; flags are set already.
    #[inline]
    fn room(&mut self, tag: u64) -> Option<(usize, usize)> {
        let home = 1 + home_of(tag, self.depth, self.view().main());
        if let Some(at) = free_slot(&self.lines[home]) {
            return Some((home, at));
        }
        let next = self.view().next(home);
        if let Some(at) = free_slot(&self.lines[next]) {
            self.lines[home].0[TO_NEXT] |= FLAG;
            return Some((next, at));
        }
        let stash = self.view().main() + 1;
        let header = self.lines[0].0[SAVED + 1..].iter().position(|slot| slot & ADDRESS == 0);
        let free = free_slot(&self.lines[stash]).map(|at| (stash, at)).or(header.map(|at| (0, SAVED + 1 + at)))?;
        self.lines[home].0[TO_STASH] |= FLAG;
        Some(free)
    }

    /// Takes the entry of `key` out.
    pub(super) fn remove(&mut self, key: Key<'_>) -> Option<Blob> {
        let (line, at) = self.view().seek(key)?;
        let slot = self.lines[line].0[at];
        self.lines[line].0[at] = slot & FLAG;
        self.lines[0].0[COUNT] -= 1;
        let home = self.view().tag_home(slot);
        if line == home {
            self.call_home(home, at);
        } else {
            self.refresh_flags(home);
        }
        // SAFETY: the slot owned the blob and has just given it up.
        Some(unsafe { Blob::from_address((slot & ADDRESS) << 3) })
    }

    /// Moves an entry at home in line `home` from the stash or the next line into the free slot `at`.
    fn call_home(&mut self, home: usize, at: usize) {
        let flags = self.lines[home].0;
        let from = if flags[TO_STASH] & FLAG != 0 {
            let stash = self.view().main() + 1;
            self.stray(stash, 0, home).or_else(|| self.stray(0, SAVED + 1, home))
        } else if flags[TO_NEXT] & FLAG != 0 {
            self.stray(self.view().next(home), 0, home)
        } else {
            return;
        };
        if let Some((line, from)) = from {
            let slot = self.lines[line].0[from];
            self.lines[line].0[from] = slot & FLAG;
            let free = &mut self.lines[home].0[at];
            *free = *free & FLAG | slot & !FLAG;
        }
        self.refresh_flags(home);
    }

    /// The first slot of `line` from `start` on whose entry is at home in line `home`.
    fn stray(&self, line: usize, start: usize, home: usize) -> Option<(usize, usize)> {
        let slots = self.lines[line].0[start..].iter();
        let at = slots.clone().position(|slot| slot & ADDRESS != 0 && self.view().tag_home(*slot) == home)?;
        Some((line, start + at))
    }

    fn refresh_flags(&mut self, home: usize) {
        let (next, stash) = (self.view().next(home), self.view().main() + 1);
        let to_next = self.stray(next, 0, home).is_some();
        let to_stash = self.stray(stash, 0, home).or_else(|| self.stray(0, SAVED + 1, home)).is_some();
        for (which, set) in [(TO_NEXT, to_next), (TO_STASH, to_stash)] {
            let slot = &mut self.lines[home].0[which];
            *slot = if set { *slot | FLAG } else { *slot & !FLAG };
        }
    }
}

/// Where a segment is and how it is read: what the directory's entries hold. Copying it copies no ownership.
///
/// ```text
/// 63..56 depth | 55..48 main lines, 0 if crowded | 47..0 address, 0 = no segment
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Handle(u64);

impl Handle {
    pub(super) const NONE: Handle = Handle(0);

    /// A handle of something else than lines.
    pub(super) fn crowded(depth: u32, address: u64) -> Handle {
        Handle(u64::from(depth) << 56 | address)
    }

    #[inline]
    pub(super) fn is_none(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub(super) fn depth(self) -> u32 {
        (self.0 >> 56) as u32
    }

    /// Main lines; 0 if it is crowded, or no segment at all.
    #[inline]
    pub(super) fn main(self) -> usize {
        (self.0 >> 48 & 0xff) as usize
    }

    #[inline]
    pub(super) fn address(self) -> u64 {
        self.0 & 0xffff_ffff_ffff
    }

    /// Fetches the home line of `position` ahead.
    #[inline]
    pub(super) fn prefetch_line(self, position: u64) {
        if self.main() != 0 {
            let line = 1 + home_of(tag_of(position, self.depth()), self.depth(), self.main());
            prefetch(std::ptr::without_provenance::<Line>(self.address() as usize + line * size_of::<Line>()));
        }
    }

    /// The lines.
    ///
    /// # Safety
    /// The handle is of a live segment of lines, which is not changed for `'a`.
    #[inline]
    pub(super) unsafe fn lines<'a>(self) -> Lines<'a> {
        let first = std::ptr::with_exposed_provenance::<Line>(self.address() as usize);
        // SAFETY: the segment lives, and has two lines besides its main lines.
        Lines { lines: unsafe { std::slice::from_raw_parts(first, self.main() + 2) }, depth: self.depth() }
    }

    /// The lines, to change them.
    ///
    /// # Safety
    /// The handle is of a live segment of lines, which nobody else uses for `'a`.
    #[inline]
    pub(super) unsafe fn lines_mut<'a>(self) -> LinesMut<'a> {
        let first = std::ptr::with_exposed_provenance_mut::<Line>(self.address() as usize);
        // SAFETY: the segment lives, and has two lines besides its main lines.
        LinesMut { lines: unsafe { std::slice::from_raw_parts_mut(first, self.main() + 2) }, depth: self.depth() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_ways_to_match_tags_agree(slots: [u64; 8], tag in 0u64..1 << TAG_BITS, at in 0usize..8) {
            let mut line = Line(slots);
            prop_assert_eq!(matches(&line, tag), matches_portably(&line, tag));
            line.0[at] = line.0[at] << TAG_BITS >> TAG_BITS | tag << TAG_SHIFT;
            prop_assert_eq!(matches(&line, tag), matches_portably(&line, tag));
            prop_assert!(matches(&line, tag) >> at & 1 != 0);
        }

        #[test]
        fn a_group_begins_where_its_first_position_is(position: u64, depth in 0u32..40, size in 0usize..3) {
            let segment = Segment::new(SIZES[size], depth);
            let lines = segment.lines();
            let first = position & !(u64::MAX >> depth);
            for group in 0..lines.groups() {
                let start = lines.group_start(first, group);
                prop_assert_eq!(lines.group_of(start), group);
                prop_assert!(group == 0 || lines.group_of(start - 1) == group - 1);
            }
        }
    }
}

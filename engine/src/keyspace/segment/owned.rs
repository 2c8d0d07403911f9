//! Segments as owned memory: made, freed, and taken apart into slots that make other segments.
//!
//! Whoever holds a [`Slot`] or a [`Segment`] owns the blobs in it; what is moved from one to the other is forgotten by the first.

use super::{
    ADDRESS, COUNT, FLAG, HAS_DEADLINE, Handle, Line, Lines, LinesMut, SIZES, Slot, TAG_BITS, TAG_SHIFT, blob_of,
    tag_of,
};
use crate::key::HashSeed;
use crate::keyspace::blob::Blob;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// A segment of lines, owned. Dropping it frees its entries.
pub(in crate::keyspace) struct Segment(Handle);

// SAFETY: a segment owns its lines and its blobs, which may be sent.
unsafe impl Send for Segment {}

impl Segment {
    /// An empty one with `main` main lines, one of [`SIZES`].
    pub(in crate::keyspace) fn new(main: usize, depth: u32) -> Segment {
        assert!(SIZES.contains(&main) && depth < 48, "a segment of {main} lines at depth {depth}");
        let layout = layout(main);
        // SAFETY: the layout's size is above 0.
        let Some(lines) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        let address = lines.as_ptr().expose_provenance() as u64;
        assert!(address >> 48 == 0, "a segment lies above 2^48: {address:#x}");
        let mut segment = Segment(Handle(u64::from(depth) << 56 | (main as u64) << 48 | address));
        segment.lines_mut().set_earliest(u64::MAX);
        segment
    }

    /// Gives it away as its handle.
    pub(in crate::keyspace) fn into_handle(self) -> Handle {
        std::mem::ManuallyDrop::new(self).0
    }

    /// Takes back what [`Segment::into_handle`] gave.
    ///
    /// # Safety
    /// The handle came from there, and nobody else owns the segment.
    pub(in crate::keyspace) unsafe fn from_handle(handle: Handle) -> Segment {
        Segment(handle)
    }

    pub(in crate::keyspace) fn lines(&self) -> Lines<'_> {
        // SAFETY: the segment is owned, and borrowed.
        unsafe { self.0.lines() }
    }

    pub(in crate::keyspace) fn lines_mut(&mut self) -> LinesMut<'_> {
        // SAFETY: the segment is owned, and borrowed alone.
        unsafe { self.0.lines_mut() }
    }

    /// Its entries, without the lines.
    pub(in crate::keyspace) fn into_slots(self) -> Vec<Slot> {
        let slots = self.lines().occupied().map(|slot| Slot(slot & !FLAG)).collect();
        let segment = std::mem::ManuallyDrop::new(self);
        // SAFETY: the lines were made with this layout and are not used again; their blobs now belong to `slots`.
        unsafe { free_lines(segment.0) };
        slots
    }

    /// A segment of `main` lines with these slots, whose tags fit `depth`; gives them back if there is no room.
    pub(in crate::keyspace) fn from_slots(slots: Vec<Slot>, main: usize, depth: u32) -> Result<Segment, Vec<Slot>> {
        let mut segment = Segment::new(main, depth);
        let mut lines = segment.lines_mut();
        for slot in &slots {
            let Some((line, at)) = lines.room(slot.0 >> TAG_SHIFT) else {
                // The slots own the blobs still: only the lines are given up.
                let segment = std::mem::ManuallyDrop::new(segment);
                // SAFETY: the lines were made with this layout and are not used again.
                unsafe { free_lines(segment.0) };
                return Err(slots);
            };
            let free = &mut lines.lines[line].0[at];
            *free = *free & FLAG | slot.0;
        }
        lines.lines[0].0[COUNT] = slots.len() as u64;
        slots.into_iter().for_each(std::mem::forget);
        Ok(segment)
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        let slots: Vec<u64> = self.lines().occupied().collect();
        for &slot in &slots {
            // SAFETY: an occupied slot owns a blob.
            unsafe { blob_of(slot) }.prefetch();
        }
        for slot in slots {
            drop(Slot(slot));
        }
        // SAFETY: the lines were made with this layout and are not used again.
        unsafe { free_lines(self.0) };
    }
}

/// Divides slots whose tags fit `depth` by the next position bit; their tags fit `depth + 1` then.
pub(in crate::keyspace) fn split_slots(slots: Vec<Slot>, depth: u32, seed: &HashSeed) -> (Vec<Slot>, Vec<Slot>) {
    let (mut low, mut high) = (Vec::with_capacity(slots.len()), Vec::with_capacity(slots.len()));
    let rehash = (depth + 1).is_multiple_of(4);
    if rehash {
        slots.iter().for_each(|slot| slot.view().prefetch());
    }
    for slot in slots {
        let side = if slot.bit(depth) { &mut high } else { &mut low };
        side.push(if rehash { retagged(slot, depth + 1, seed) } else { slot });
    }
    (low, high)
}

/// Makes tags that fit `depth` fit `depth - 1`; all positions begin like `prefix`.
pub(in crate::keyspace) fn lift_slots(slots: &mut [Slot], depth: u32, prefix: u64) {
    if depth.is_multiple_of(4) {
        let known = tag_of(prefix, depth - 1) >> (TAG_BITS - 4);
        for slot in slots {
            let tag = known << (TAG_BITS - 4) | slot.0 >> (TAG_SHIFT + 4);
            slot.0 = slot.0 & (HAS_DEADLINE | ADDRESS) | tag << TAG_SHIFT;
        }
    }
}

/// A slot with the tag of its key's position in a segment of `depth`: the key is hashed.
pub(in crate::keyspace) fn retagged(slot: Slot, depth: u32, seed: &HashSeed) -> Slot {
    let position = seed.position(slot.view().key());
    slot.tagged(position, depth)
}

/// A new slot for a segment of `depth`.
pub(in crate::keyspace) fn tagged(blob: Blob, position: u64, depth: u32) -> Slot {
    Slot::new(blob).tagged(position, depth)
}

fn layout(main: usize) -> Layout {
    match Layout::from_size_align((main + 2) * size_of::<Line>(), align_of::<Line>()) {
        Ok(layout) => layout,
        Err(_) => unreachable!("at most 255 lines"),
    }
}

/// Frees the lines alone.
///
/// # Safety
/// The handle is of a live segment of lines, which is not used again.
unsafe fn free_lines(handle: Handle) {
    let lines = std::ptr::with_exposed_provenance_mut(handle.address() as usize);
    // SAFETY: segments are made with this layout.
    unsafe { dealloc(lines, layout(handle.main())) };
}

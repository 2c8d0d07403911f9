//! A crowded segment: the fallback for positions that lines cannot hold and splitting cannot divide.
//!
//! With a keyed hash this does not happen. It keeps every promise, at the cost of a tree, if it does: keys of one
//! position, or so many of one long prefix that dividing them would take a directory out of proportion.

use super::blob::{Blob, BlobRef};
use super::segment::{Place, Slot, tagged};
use crate::key::{HashSeed, Key};
use std::collections::BTreeMap;

/// Entries by position.
pub(super) struct Crowded {
    slots: BTreeMap<u64, Vec<Slot>>,
    count: usize,
    pub(super) earliest: u64,
    pub(super) saved: u64,
}

impl Crowded {
    pub(super) fn from_slots(slots: Vec<Slot>, seed: &HashSeed) -> Crowded {
        let mut crowded = Crowded { slots: BTreeMap::new(), count: slots.len(), earliest: u64::MAX, saved: 0 };
        for slot in slots {
            let position = seed.position(slot.view().key());
            crowded.slots.entry(position).or_default().push(slot);
        }
        crowded
    }

    /// Its entries with tags for lines of `depth`.
    pub(super) fn into_slots(self, depth: u32) -> Vec<Slot> {
        let slots = self.slots.into_iter();
        slots
            .flat_map(|(position, same)| same.into_iter().map(move |slot| tagged(slot.into_blob(), position, depth)))
            .collect()
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Bytes, about: a tree's nodes are two thirds full.
    pub(super) fn used_bytes(&self) -> u64 {
        (size_of::<Self>() + self.count * 72) as u64
    }

    pub(super) fn get(&self, key: Key<'_>) -> Option<BlobRef<'_>> {
        self.slots.get(&key.position)?.iter().map(Slot::view).find(|blob| blob.key() == key.bytes)
    }

    pub(super) fn place(&mut self, key: Key<'_>) -> Option<Place<'_>> {
        let same = self.slots.get_mut(&key.position)?;
        same.iter_mut().find(|slot| slot.view().key() == key.bytes).map(Slot::place)
    }

    pub(super) fn insert(&mut self, position: u64, blob: Blob) {
        self.slots.entry(position).or_default().push(Slot::new(blob));
        self.count += 1;
    }

    pub(super) fn remove(&mut self, key: Key<'_>) -> Option<Blob> {
        let same = self.slots.get_mut(&key.position)?;
        let at = same.iter().position(|slot| slot.view().key() == key.bytes)?;
        let slot = same.swap_remove(at);
        if same.is_empty() {
            self.slots.remove(&key.position);
        }
        self.count -= 1;
        Some(slot.into_blob())
    }

    /// Entries from `position` on with their positions, in order.
    pub(super) fn from(&self, position: u64) -> impl Iterator<Item = (u64, BlobRef<'_>)> {
        self.slots.range(position..).flat_map(|(position, same)| same.iter().map(|slot| (*position, slot.view())))
    }
}

//! A chunk of a table: up to 64 elements packed into one block, in any order.
//!
//! ```text
//! 64 bytes   tags: the lowest byte of each element's position, searched eight at a time
//! 128 bytes  starts: where each element's record begins, u16 LE from the end of this directory; the top bit says
//!            that the record lies outside, and takes no bytes here
//! then       records in order of their place: varint length of the member, member, payload up to the next record
//! ```
//!
//! 1. Positions are not kept: they are worked out again when the chunk is split, or walked in order of position.
//! 2. Records above [`RECORD_MAX`] lie outside, each in a block of its own that copies of the chunk share: a copy is small.
//! 3. The block's capacity is always what the allocator would give anyway.

use crate::key::{HashSeed, Key};
use crate::keyspace::{prefetch, size_class};
use crate::log::pending::{put_varint, take_varint};
use crate::value::tree::{ARC_HEADER, Leaf};
use std::sync::Arc;

/// Elements of a chunk at most.
pub(super) const SLOTS: usize = 64;
/// Places of a chunk that bulk loading fills.
const SLOTS_LOADED: usize = 48;
const STARTS: usize = SLOTS;
const DIRECTORY: usize = SLOTS * 3;
/// A chunk whose records take more is split.
const DATA_MAX: usize = 4096;
/// Longer records lie outside.
const RECORD_MAX: usize = 512;
/// The bit of a start that says so. No start reaches it.
const OUTSIDE: u16 = 1 << 15;
const _: () = assert!(DATA_MAX + RECORD_MAX < OUTSIDE as usize);
const _: () = assert!(DATA_MAX / 4 * 3 * 2 < OUTSIDE as usize);

/// An element as it is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Element<'a> {
    /// What it is found by.
    pub member: &'a [u8],
    /// What belongs to it; empty in a set.
    pub payload: &'a [u8],
}

/// The chunk.
#[derive(Clone, Debug)]
pub(super) struct HashLeaf {
    /// Empty, or the directory and the records.
    bytes: Vec<u8>,
    len: u8,
    outside: Option<Box<Outside>>,
    seed: HashSeed,
}

/// Records that lie outside, in order of their elements' places.
#[derive(Clone, Debug, Default)]
struct Outside {
    records: Vec<Arc<[u8]>>,
    /// What their blocks take.
    used_bytes: usize,
}

fn outside_bytes(record: &[u8]) -> usize {
    size_class(ARC_HEADER + record.len())
}

/// A record's parts. What a chunk holds was written here.
#[inline]
fn parse(mut record: &[u8]) -> Element<'_> {
    let len = take_varint(&mut record).unwrap_or(0) as usize;
    let (member, payload) = record.split_at(len);
    Element { member, payload }
}

#[inline]
fn tag(position: u64) -> u8 {
    position as u8
}

impl HashLeaf {
    pub(super) fn new(seed: HashSeed) -> Self {
        HashLeaf { bytes: Vec::new(), len: 0, outside: None, seed }
    }

    /// Where the element's record begins behind the directory, and whether it lies outside.
    #[inline]
    fn start(&self, place: usize) -> (usize, bool) {
        let at = STARTS + 2 * place;
        let start = u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]);
        (usize::from(start & !OUTSIDE), start & OUTSIDE != 0)
    }

    fn set_start(&mut self, place: usize, start: usize, outside: bool) {
        let start = start as u16 | if outside { OUTSIDE } else { 0 };
        self.bytes[STARTS + 2 * place..][..2].copy_from_slice(&start.to_le_bytes());
    }

    /// The bytes in this block that belong to the element at a place.
    #[inline]
    fn span(&self, place: usize) -> std::ops::Range<usize> {
        let next = place + 1;
        let end = if next < self.len() { DIRECTORY + self.start(next).0 } else { self.bytes.len() };
        DIRECTORY + self.start(place).0..end
    }

    /// How many elements before a place lie outside: the index of its record if it does.
    #[cold]
    fn outside_before(&self, place: usize) -> usize {
        (0..place).filter(|place| self.start(*place).1).count()
    }

    #[inline]
    fn record(&self, place: usize) -> &[u8] {
        match &self.outside {
            Some(outside) if self.start(place).1 => &outside.records[self.outside_before(place)],
            _ => &self.bytes[self.span(place)],
        }
    }

    /// The element at a place below [`Leaf::len`].
    #[inline]
    pub(super) fn get(&self, place: usize) -> Element<'_> {
        parse(self.record(place))
    }

    /// The position of the element at a place.
    #[inline]
    fn position(&self, place: usize) -> u64 {
        self.seed.position(self.get(place).member)
    }

    /// The place of a member.
    #[inline]
    pub(super) fn find(&self, key: Key<'_>) -> Option<usize> {
        self.find_tag(key.position, |place| self.get(place).member == key.bytes)
    }

    /// The first place with the tag of a position that `is_it` holds for.
    #[inline]
    fn find_tag(&self, position: u64, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        const ONES: u64 = u64::from_ne_bytes([1; 8]);
        const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
        let pattern = u64::from_ne_bytes([tag(position); 8]);
        let tags = self.bytes.get(..self.len().next_multiple_of(8))?;
        for (group, tags) in tags.as_chunks().0.iter().enumerate() {
            let differing = u64::from_le_bytes(*tags) ^ pattern;
            // A zero byte, or a one above a zero byte: to be looked at.
            let mut hits = differing.wrapping_sub(ONES) & !differing & HIGHS;
            while hits != 0 {
                let place = group * 8 + hits.trailing_zeros() as usize / 8;
                if place < self.len() && is_it(place) {
                    return Some(place);
                }
                hits &= hits - 1;
            }
        }
        None
    }

    /// Asks for the tags and starts.
    #[inline]
    pub(super) fn prefetch_directory(&self) {
        for line in 0..=DIRECTORY / 64 {
            prefetch(self.bytes.as_ptr().wrapping_add(line * 64));
        }
    }

    /// Asks for the first record that has the tag of a position; if there is none, for the end, where it would be added.
    #[inline]
    pub(super) fn prefetch_record(&self, position: u64) {
        let start = match self.find_tag(position, |_| true) {
            Some(place) => DIRECTORY + self.start(place).0,
            None => self.bytes.len(),
        };
        prefetch(self.bytes.as_ptr().wrapping_add(start));
        prefetch(self.bytes.as_ptr().wrapping_add(start + 39));
    }

    /// Adds an element behind the others, which must not be [`SLOTS`] already, nor hold the member.
    #[inline]
    pub(super) fn push(&mut self, key: Key<'_>, payload: &[&[u8]]) {
        let place = self.len();
        let length = payload.iter().map(|part| part.len()).sum::<usize>() + key.bytes.len() + VARINT_LEN_MAX;
        if length > RECORD_MAX {
            let mut record = Vec::with_capacity(length);
            put_record(&mut record, key.bytes, payload);
            return self.push_outside(tag(key.position), record.into());
        }
        self.reserve(length);
        let start = self.bytes.len() - DIRECTORY;
        put_record(&mut self.bytes, key.bytes, payload);
        self.bytes[place] = tag(key.position);
        self.set_start(place, start, false);
        self.len += 1;
    }

    fn push_outside(&mut self, tag: u8, record: Arc<[u8]>) {
        self.reserve(0);
        let (place, start) = (self.len(), self.bytes.len() - DIRECTORY);
        let outside = self.outside.get_or_insert_default();
        outside.used_bytes += outside_bytes(&record);
        outside.records.push(record);
        self.bytes[place] = tag;
        self.set_start(place, start, true);
        self.len += 1;
    }

    /// Adds an element of another chunk as it is.
    fn push_from(&mut self, other: &HashLeaf, place: usize) {
        let tag = other.bytes[place];
        if let (Some(outside), true) = (&other.outside, other.start(place).1) {
            return self.push_outside(tag, Arc::clone(&outside.records[other.outside_before(place)]));
        }
        let span = other.span(place);
        self.reserve(span.len());
        let (here, start) = (self.len(), self.bytes.len() - DIRECTORY);
        self.bytes.extend_from_slice(&other.bytes[span]);
        self.bytes[here] = tag;
        self.set_start(here, start, false);
        self.len += 1;
    }

    /// Makes sure of the directory and of room for so many bytes more.
    #[inline]
    fn reserve(&mut self, more: usize) {
        let len = self.bytes.len().max(DIRECTORY);
        if self.bytes.capacity() < len + more {
            self.bytes.reserve_exact(size_class(len + more) - self.bytes.len());
        }
        if self.bytes.is_empty() {
            self.bytes.resize(DIRECTORY, 0);
        }
    }

    /// Removes the element at a place; those behind move up.
    pub(super) fn remove(&mut self, place: usize) {
        let (len, span) = (self.len(), self.span(place));
        let (_, is_outside) = self.start(place);
        if is_outside {
            let index = self.outside_before(place);
            if let Some(outside) = &mut self.outside {
                outside.used_bytes -= outside_bytes(&outside.records.remove(index));
                if outside.records.is_empty() {
                    self.outside = None;
                }
            }
        }
        let gone = span.len() as u16;
        self.bytes.drain(span);
        self.bytes.copy_within(place + 1..len, place);
        self.bytes.copy_within(STARTS + 2 * (place + 1)..STARTS + 2 * len, STARTS + 2 * place);
        for start in self.bytes[STARTS + 2 * place..STARTS + 2 * (len - 1)].as_chunks_mut().0 {
            // The top bit stays: what is subtracted is at most the rest.
            *start = (u16::from_le_bytes(*start) - gone).to_le_bytes();
        }
        self.len -= 1;
        if self.len == 0 {
            self.bytes = Vec::new();
        } else if size_class(self.bytes.len()) <= self.bytes.capacity() / 2 {
            self.bytes.shrink_to(size_class(self.bytes.len()));
        }
    }

    /// Gives the element at a place another payload. Its place may change.
    pub(super) fn replace(&mut self, place: usize, key: Key<'_>, payload: &[&[u8]]) {
        let (_, is_outside) = self.start(place);
        let (span, old) = (self.span(place), self.get(place).payload.len());
        if !is_outside && old == payload.iter().map(|part| part.len()).sum::<usize>() {
            let mut at = span.end - old;
            for part in payload {
                self.bytes[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            }
            return;
        }
        self.remove(place);
        self.push(key, payload);
    }

    /// Positions and places, unsorted; the first [`Leaf::len`] are filled.
    pub(super) fn positions(&self) -> [(u64, u8); SLOTS] {
        let mut positions = [(0, 0); SLOTS];
        for (place, slot) in positions[..self.len()].iter_mut().enumerate() {
            *slot = (self.position(place), place as u8);
        }
        positions
    }

    /// Whether bulk loading goes on with a new chunk.
    pub(super) fn is_loaded(&self) -> bool {
        self.len() >= SLOTS_LOADED || self.data_len() > DATA_MAX - RECORD_MAX
    }

    /// Bytes of records in this block.
    fn data_len(&self) -> usize {
        self.bytes.len().saturating_sub(DIRECTORY)
    }
}

/// Bytes of a varint at most.
const VARINT_LEN_MAX: usize = 10;

#[inline]
fn put_record(out: &mut Vec<u8>, member: &[u8], payload: &[&[u8]]) {
    put_varint(out, member.len() as u64);
    out.extend_from_slice(member);
    payload.iter().for_each(|part| out.extend_from_slice(part));
}

impl Leaf for HashLeaf {
    /// A position.
    type Key = u64;

    #[inline]
    fn len(&self) -> usize {
        usize::from(self.len)
    }

    #[inline]
    fn used_bytes(&self) -> usize {
        let outside = self.outside.as_ref().map_or(0, |outside| {
            let list = outside.records.capacity() * size_of::<Arc<[u8]>>();
            size_class(size_of::<Outside>()) + size_class_or_none(list) + outside.used_bytes
        });
        size_class_or_none(self.bytes.capacity()) + outside
    }

    #[inline]
    fn is_large(&self) -> bool {
        self.len() == SLOTS || self.data_len() > DATA_MAX
    }

    fn split(&mut self) -> (u64, Self) {
        let (len, half) = (self.len(), self.len() / 2);
        let mut positions = self.positions();
        let (low, middle, high) = positions[..len].select_nth_unstable(half);
        let (mut left, mut right) = (HashLeaf::new(self.seed), HashLeaf::new(self.seed));
        let share = DIRECTORY + self.data_len() / 2;
        left.bytes.reserve_exact(size_class(share));
        right.bytes.reserve_exact(size_class(share));
        low.iter().for_each(|(_, place)| left.push_from(self, usize::from(*place)));
        right.push_from(self, usize::from(middle.1));
        high.iter().for_each(|(_, place)| right.push_from(self, usize::from(*place)));
        *self = left;
        (middle.0, right)
    }

    #[inline]
    fn is_small(&self) -> bool {
        self.len() <= SLOTS / 4 && self.data_len() <= DATA_MAX / 4
    }

    fn fits(&self, right: &Self) -> bool {
        self.len() + right.len() <= SLOTS_LOADED && self.data_len() + right.data_len() <= DATA_MAX / 4 * 3
    }

    fn append(&mut self, right: Self) {
        self.reserve(right.data_len());
        (0..right.len()).for_each(|place| self.push_from(&right, place));
    }
}

/// The size class of a block; no bytes are no block.
fn size_class_or_none(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { size_class(bytes) }
}

//! A chunk of a large list: one packed run of elements, compressed if it is far from both ends and that pays.

use crate::keyspace::size_class;
use crate::value::listpack::{self, Element, Listpack};
use crate::value::tree::{Leaf, Spill};
use std::borrow::Cow;
use std::ops::Range;

/// Bytes around the entries of a listpack in Redis: limits count them.
const FOREIGN_HEADER_LEN: usize = 7;
/// Most bytes of a node that is bounded by its count of elements.
const SAFE_LEN_MAX: usize = 8192;
/// Shorter runs are not compressed, nor are those that it makes fewer than so many bytes shorter.
const COMPRESS_LEN_MIN: usize = 48;
const COMPRESS_GAIN_MIN: usize = 8;

/// How large a packed run of a list may be (`list-max-listpack-size`), and from which length on an element is kept alone (DEBUG
/// QUICKLIST-PACKED-THRESHOLD).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Limit {
    bytes: usize,
    count: usize,
    alone: usize,
}

impl Limit {
    pub(super) fn new(list_max_listpack_size: i32, alone: usize) -> Limit {
        let (bytes, count) = match list_max_listpack_size {
            1.. => (SAFE_LEN_MAX, list_max_listpack_size as usize),
            0 => (SAFE_LEN_MAX, 1),
            -4..0 => (2048 << list_max_listpack_size.unsigned_abs(), usize::MAX),
            _ => (65_536, usize::MAX),
        };
        Limit { bytes, count, alone }
    }

    /// Whether a run of so many bytes of entries and so many elements is too much.
    #[inline]
    pub(super) fn exceeded(&self, entries_len: usize, count: usize) -> bool {
        entries_len + FOREIGN_HEADER_LEN > self.bytes || count > self.count
    }

    /// Whether a list has become so small that it is to be one run again: half of what one may be, lest it goes to and fro.
    pub(super) fn is_far(&self, entries_len: usize, count: usize) -> bool {
        let bytes = if self.count == usize::MAX { self.bytes / 2 } else { self.bytes };
        entries_len + FOREIGN_HEADER_LEN <= bytes && count <= self.count / 2
    }
}

/// One chunk.
#[derive(Debug)]
pub(super) struct Node {
    /// A packed run, or one compressed by LZ4.
    bytes: Vec<u8>,
    count: u32,
    /// Length of the run if it is compressed, else 0.
    raw_len: u32,
    limit: Limit,
}

impl Clone for Node {
    /// With the same room: what a chunk takes must not change when it is copied in order to be changed.
    fn clone(&self) -> Node {
        let mut bytes = Vec::with_capacity(self.bytes.capacity());
        bytes.extend_from_slice(&self.bytes);
        Node { bytes, ..*self }
    }
}

impl Node {
    /// A chunk of these elements.
    pub(super) fn new(run: Vec<u8>, limit: Limit) -> Node {
        let count = Listpack::new(&run).len() as u32;
        let mut node = Node { bytes: run, count, raw_len: 0, limit };
        node.trim();
        node
    }

    fn alone(element: Element<'_>, limit: Limit) -> Node {
        let mut node = Node { bytes: Vec::new(), count: 0, raw_len: 0, limit };
        node.put(listpack::HEADER_LEN, element);
        node
    }

    /// Elements.
    pub(super) fn count(&self) -> usize {
        self.count as usize
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.raw_len > 0
    }

    /// The run.
    pub(super) fn run(&self) -> Cow<'_, [u8]> {
        if self.raw_len == 0 {
            return Cow::Borrowed(&self.bytes);
        }
        let run = lz4_flex::block::decompress(&self.bytes, self.raw_len as usize);
        Cow::Owned(run.expect("this very process compressed it"))
    }

    /// Compresses the run if that pays.
    pub(super) fn compress(&mut self) {
        if self.raw_len > 0 || self.bytes.len() < COMPRESS_LEN_MIN {
            return;
        }
        let mut compressed = lz4_flex::block::compress(&self.bytes);
        if compressed.len() + COMPRESS_GAIN_MIN < self.bytes.len() {
            compressed.shrink_to_fit();
            self.raw_len = self.bytes.len() as u32;
            self.bytes = compressed;
        }
    }

    /// Makes the run readable in place.
    pub(super) fn decompress(&mut self) {
        if let Cow::Owned(run) = self.run() {
            self.bytes = run;
            self.raw_len = 0;
        }
    }

    fn entries_len(&self) -> usize {
        self.bytes.len().saturating_sub(listpack::HEADER_LEN)
    }

    /// Whether the one element was too long to share a chunk.
    fn is_alone(&self) -> bool {
        self.limit.alone != usize::MAX
            && self.count == 1
            && Listpack::new(&self.bytes).get(0).is_some_and(|element| element.len() >= self.limit.alone)
    }

    fn takes(&self, element: Element<'_>) -> bool {
        !self.limit.exceeded(self.entries_len() + element.entry_len(), self.count as usize + 1)
            && element.len() < self.limit.alone
            && !self.is_alone()
    }

    /// Makes room for `more` bytes: by quarters, by size classes, and not beyond the limit.
    fn grow(&mut self, more: usize) {
        let needed = self.bytes.len() + more;
        if needed <= self.bytes.capacity() {
            return;
        }
        let ahead = (needed + needed / 4).min(self.limit.bytes);
        self.bytes.reserve_exact(size_class(needed.max(ahead).max(32)) - self.bytes.len());
    }

    /// Gives back room that is not needed.
    fn trim(&mut self) {
        if size_class(self.bytes.len()) < size_class(self.bytes.capacity()) {
            self.bytes.shrink_to_fit();
        }
    }

    fn put(&mut self, at: usize, element: Element<'_>) {
        let header = if self.bytes.is_empty() { listpack::HEADER_LEN } else { 0 };
        self.grow(header + element.entry_len());
        if at >= self.bytes.len() {
            listpack::push_back(&mut self.bytes, element);
        } else {
            listpack::insert(&mut self.bytes, at, element);
        }
        self.count += 1;
    }

    fn offset(&self, place: usize) -> usize {
        let run = Listpack::new(&self.bytes);
        if place == self.count as usize { run.end() } else { run.offset(place).unwrap_or_else(|| run.end()) }
    }

    /// Puts an element at a place; what has no room here goes into new chunks behind.
    pub(super) fn insert(&mut self, place: usize, element: Element<'_>, limit: Limit, spill: &mut Spill<Node>) {
        self.decompress();
        self.limit = limit;
        if self.count == 0 || self.takes(element) {
            return self.put(self.offset(place), element);
        }
        if place == self.count as usize {
            self.trim();
            spill.push(((), Node::alone(element, limit)));
        } else if place == 0 {
            let mut old = std::mem::replace(self, Node::alone(element, limit));
            old.trim();
            spill.push(((), old));
        } else {
            let mut right = Node::new(listpack::split_off(&mut self.bytes, place), limit);
            self.count = place as u32;
            self.trim();
            if self.takes(element) {
                self.put(self.bytes.len(), element);
            } else if right.takes(element) {
                right.put(listpack::HEADER_LEN, element);
            } else {
                spill.push(((), Node::alone(element, limit)));
            }
            spill.push(((), right));
        }
    }

    /// Puts another element in place of one.
    pub(super) fn replace(&mut self, place: usize, element: Element<'_>, limit: Limit, spill: &mut Spill<Node>) {
        self.decompress();
        self.limit = limit;
        let at = self.offset(place);
        let old_len = Listpack::new(&self.bytes).next(at) - at;
        let len = self.entries_len() - old_len + element.entry_len();
        if self.count == 1 || (!limit.exceeded(len, self.count as usize) && element.len() < limit.alone) {
            self.grow(element.entry_len().saturating_sub(old_len));
            listpack::replace(&mut self.bytes, at, element);
            self.give_back();
        } else {
            self.cut(place..place + 1);
            self.insert(place, element, limit, spill);
        }
    }

    /// Removes a range of places.
    pub(super) fn cut(&mut self, places: Range<usize>) {
        self.decompress();
        if places.len() == self.count as usize {
            self.bytes = Vec::new();
            self.count = 0;
            return;
        }
        let removed = listpack::remove_range(&mut self.bytes, places.start, places.len());
        self.count -= removed as u32;
        self.give_back();
    }

    /// Removes the entries at these offsets, which are in order.
    pub(super) fn remove_all(&mut self, offsets: &[usize]) {
        self.decompress();
        listpack::remove_all(&mut self.bytes, offsets);
        self.count -= offsets.len() as u32;
        self.give_back();
    }

    /// Gives back room after a removal, so seldom that it costs little.
    fn give_back(&mut self) {
        if self.bytes.len() <= self.bytes.capacity() / 2 {
            self.trim();
        }
    }
}

impl Leaf for Node {
    type Key = ();

    fn len(&self) -> usize {
        self.count as usize
    }

    fn used_bytes(&self) -> usize {
        match self.bytes.capacity() {
            0 => 0,
            capacity => size_class(capacity),
        }
    }

    /// Never: [`Node::insert`] spills what has no room.
    fn is_large(&self) -> bool {
        false
    }

    fn split(&mut self) -> ((), Node) {
        self.decompress();
        let middle = self.count / 2;
        let right = Node::new(listpack::split_off(&mut self.bytes, middle as usize), self.limit);
        self.count = middle;
        ((), right)
    }

    fn is_small(&self) -> bool {
        self.raw_len == 0 && self.bytes.len() < self.limit.bytes / 4 && !self.is_alone()
    }

    fn fits(&self, right: &Node) -> bool {
        self.raw_len == 0
            && right.raw_len == 0
            && !self.limit.exceeded(self.entries_len() + right.entries_len(), (self.count + right.count) as usize)
            && !self.is_alone()
            && !right.is_alone()
    }

    fn append(&mut self, right: Node) {
        self.grow(right.entries_len());
        listpack::append(&mut self.bytes, Listpack::new(&right.bytes));
        self.count += right.count;
    }
}

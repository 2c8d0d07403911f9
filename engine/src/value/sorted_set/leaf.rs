//! A chunk of a large sorted set: elements in order of score, then member, one behind the other.
//!
//! ```text
//! element = score (`score`) | varint length of the member | member
//! ```
//! The bytes' capacity is always a size class of the allocator, the smallest that holds them: a chunk that was split gives
//! back the half it lost.

use super::score::{encode_score, take_score};
use crate::keyspace::{prefetch, size_class};
use crate::log::pending::put_varint;
use crate::value::tree::{Leaf, Spill};
use std::cmp::Ordering;
use std::ops::Range;

/// A chunk with more bytes is split.
const LEN_MAX: usize = if cfg!(test) { 256 } else { 2048 };
/// A chunk with fewer bytes looks for a neighbour to merge with.
const LEN_SMALL: usize = LEN_MAX / 4;
/// Merging may not fill a chunk so that the next insertion splits it again.
const LEN_MERGED: usize = LEN_MAX * 3 / 4;

/// Chunks that are loaded are filled so far, so that the first insertions do not split them all.
const LEN_LOADED: usize = LEN_MAX * 7 / 8;

/// Where an element belongs: what separates chunks.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) score: f64,
    pub(super) member: Box<[u8]>,
}

/// The order of elements. -0 and 0 are equal, as scores.
#[inline]
pub(super) fn compare(one: (f64, &[u8]), other: (f64, &[u8])) -> Ordering {
    if one.0 < other.0 {
        Ordering::Less
    } else if one.0 > other.0 {
        Ordering::Greater
    } else {
        one.1.cmp(other.1)
    }
}

impl Place {
    /// Whether an element belongs here or behind: what the tree's searches ask.
    #[inline]
    pub(super) fn is_at_most(&self, score: f64, member: &[u8]) -> bool {
        compare((self.score, &self.member), (score, member)).is_le()
    }
}

/// The chunk.
#[derive(Clone, Debug, Default)]
pub(super) struct ScoreLeaf {
    bytes: Vec<u8>,
    len: usize,
}

/// A decoded element and where it ends.
struct Element<'a> {
    score: f64,
    member: &'a [u8],
    end: usize,
}

#[inline(always)] // A search is this, a hundred times.
fn element_at(bytes: &[u8], at: usize) -> Element<'_> {
    let (score, score_len) = take_score(&bytes[at..]);
    let mut start = at + score_len;
    let mut len = usize::from(bytes[start] & 0x7f);
    let mut shift = 7;
    while bytes[start] & 0x80 != 0 {
        start += 1;
        len |= usize::from(bytes[start] & 0x7f) << shift;
        shift += 7;
    }
    start += 1;
    Element { score, member: &bytes[start..start + len], end: start + len }
}

impl ScoreLeaf {
    /// All elements in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], f64)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let element = (at < self.bytes.len()).then(|| element_at(&self.bytes, at))?;
            at = element.end;
            Some((element.member, element.score))
        })
    }

    /// Where each element begins, for walks backward.
    pub(super) fn offsets(&self, offsets: &mut Vec<usize>) {
        offsets.clear();
        let mut at = 0;
        while at < self.bytes.len() {
            offsets.push(at);
            at = element_at(&self.bytes, at).end;
        }
    }

    /// The element that begins at an offset.
    pub(super) fn element(&self, offset: usize) -> (&[u8], f64) {
        let Element { score, member, .. } = element_at(&self.bytes, offset);
        (member, score)
    }

    /// Offset and number of the first element that is not before this one, and its end if it is the same.
    #[inline]
    fn find(&self, score: f64, member: &[u8]) -> (usize, usize, Option<usize>) {
        let (mut at, mut index) = (0, 0);
        while at < self.bytes.len() {
            let element = element_at(&self.bytes, at);
            match compare((element.score, element.member), (score, member)) {
                Ordering::Less => {}
                Ordering::Equal => return (at, index, Some(element.end)),
                Ordering::Greater => return (at, index, None),
            }
            at = element.end;
            index += 1;
        }
        (at, index, None)
    }

    /// Number of an element that is there, or that of the first behind it.
    #[inline]
    pub(super) fn rank(&self, score: f64, member: &[u8]) -> usize {
        self.find(score, member).1
    }

    /// Gives an element that is here another score if it stays between two others, else removes it. Says whether it stays.
    pub(super) fn change_score(&mut self, old: f64, new: f64, member: &[u8]) -> bool {
        let (before, behind) = ((old, member), (new, member));
        let (mut at, mut from, mut to) = (0, None, None);
        // One pass for both places.
        while at < self.bytes.len() && (from.is_none() || to.is_none()) {
            let element = element_at(&self.bytes, at);
            let here = (element.score, element.member);
            let is_old = from.is_none() && compare(here, before).is_eq();
            if is_old {
                from = Some(at..element.end);
            } else if to.is_none() && compare(here, behind).is_gt() {
                to = Some(at);
            }
            at = element.end;
        }
        let Some(from) = from else { return false };
        let is_first = to == Some(0) || (from.start == 0 && to == Some(from.end));
        match to {
            Some(to) if !is_first => {
                let (form, form_len) = encode_score(new);
                let tail = from.end - varint_len(member.len()) - member.len();
                if form_len == tail - from.start {
                    // The same length: the elements between the two places move, the others stay.
                    self.bytes[from.start..tail].copy_from_slice(&form[..form_len]);
                    if to > from.start {
                        self.bytes[from.start..to].rotate_left(from.len());
                    } else {
                        self.bytes[to..from.end].rotate_right(from.len());
                    }
                } else {
                    self.bytes.drain(from);
                    self.len -= 1;
                    self.insert(new, member);
                    self.fit();
                }
                true
            }
            _ => {
                self.bytes.drain(from);
                self.len -= 1;
                self.fit();
                false
            }
        }
    }

    /// Asks the processor for the first elements.
    #[inline]
    pub(super) fn prefetch_elements(&self) {
        for line in 0..4 {
            prefetch(self.bytes.as_ptr().wrapping_add(line * 64));
        }
    }

    /// Adds an element that is not there.
    #[inline]
    pub(super) fn insert(&mut self, score: f64, member: &[u8]) {
        let (at, ..) = self.find(score, member);
        let old_len = self.bytes.len();
        self.push(score, member);
        // Written at the end, then turned into its place: the bytes behind it move once.
        let added = self.bytes.len() - old_len;
        self.bytes[at..].rotate_right(added);
    }

    /// Adds an element that belongs behind all that are here, or begins a chunk behind this one with it: loading.
    #[inline]
    pub(super) fn append_one(&mut self, score: f64, member: &[u8], spill: &mut Spill<ScoreLeaf>) {
        let mut next = ScoreLeaf::default();
        let is_full = !self.bytes.is_empty() && self.bytes.len() + member.len() > LEN_LOADED;
        (if is_full { &mut next } else { self }).push(score, member);
        if is_full {
            spill.push((Place { score, member: member.into() }, next));
        }
    }

    /// Writes an element at the end.
    #[inline]
    fn push(&mut self, score: f64, member: &[u8]) {
        let (form, form_len) = encode_score(score);
        self.reserve(form_len + varint_len(member.len()) + member.len());
        self.bytes.extend_from_slice(&form[..form_len]);
        put_varint(&mut self.bytes, member.len() as u64);
        self.bytes.extend_from_slice(member);
        self.len += 1;
    }

    /// Removes an element, if it is there.
    #[inline]
    pub(super) fn remove(&mut self, score: f64, member: &[u8]) {
        if let (at, _, Some(end)) = self.find(score, member) {
            self.bytes.drain(at..end);
            self.len -= 1;
            self.fit();
        }
    }

    /// Removes the elements with these numbers.
    pub(super) fn cut(&mut self, numbers: Range<usize>) {
        let (mut at, mut index, mut start) = (0, 0, self.bytes.len());
        while index < numbers.end && at < self.bytes.len() {
            if index == numbers.start {
                start = at;
            }
            at = element_at(&self.bytes, at).end;
            index += 1;
        }
        self.bytes.drain(start.min(at)..at);
        self.len -= numbers.len();
        self.fit();
    }

    /// Makes room for so many bytes more, up to a size class.
    #[inline]
    fn reserve(&mut self, added: usize) {
        let needed = self.bytes.len() + added;
        if needed > self.bytes.capacity() {
            self.bytes.reserve_exact(size_class(needed) - self.bytes.len());
        }
    }

    /// Gives back what is not needed.
    #[inline]
    fn fit(&mut self) {
        let class = if self.bytes.is_empty() { 0 } else { size_class(self.bytes.len()) };
        if class < self.bytes.capacity() {
            self.bytes.shrink_to(class);
        }
    }
}

/// Bytes of a length.
#[inline]
fn varint_len(value: usize) -> usize {
    (70 - (value as u64 | 1).leading_zeros() as usize) / 7
}

impl Leaf for ScoreLeaf {
    type Key = Place;

    #[inline]
    fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn used_bytes(&self) -> usize {
        if self.bytes.capacity() == 0 { 0 } else { size_class(self.bytes.capacity()) }
    }

    fn key_bytes(key: &Place) -> usize {
        if key.member.is_empty() { 0 } else { size_class(key.member.len()) }
    }

    #[inline]
    fn is_large(&self) -> bool {
        self.bytes.len() > LEN_MAX && self.len > 1
    }

    fn split(&mut self) -> (Place, Self) {
        let (mut at, mut count) = (element_at(&self.bytes, 0).end, 1);
        while at < self.bytes.len() / 2 && count < self.len - 1 {
            at = element_at(&self.bytes, at).end;
            count += 1;
        }
        let mut right = ScoreLeaf { bytes: Vec::new(), len: self.len - count };
        right.reserve(self.bytes.len() - at);
        right.bytes.extend_from_slice(&self.bytes[at..]);
        self.bytes.truncate(at);
        self.len = count;
        self.fit();
        let (member, score) = right.element(0);
        (Place { score, member: member.into() }, right)
    }

    #[inline]
    fn is_small(&self) -> bool {
        self.bytes.len() < LEN_SMALL
    }

    fn fits(&self, right: &Self) -> bool {
        self.bytes.len() + right.bytes.len() <= LEN_MERGED
    }

    fn append(&mut self, right: Self) {
        self.reserve(right.bytes.len());
        self.bytes.extend_from_slice(&right.bytes);
        self.len += right.len;
    }
}

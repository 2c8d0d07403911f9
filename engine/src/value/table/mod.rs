//! Elements in order of the position of their member's keyed hash, on a tree of packed chunks: large sets, hashes, and the members of large
//! sorted sets.
//!
//! 1. An element is a member, found by its bytes, and a payload, which is the collection's matter.
//! 2. Order is that of positions (`crate::key`), under the same seed in every table of a store. SSCAN's cursor is a position; a snapshot,
//!    written chunk by chunk, can be loaded by appending.
//! 3. Members of equal position are all kept, and may lie in several chunks: only then does a look-up see more than one.
//! 4. A member has a rank, good for choosing one at random; ranks change with every change.

mod leaf;
#[cfg(test)]
mod tests;

pub use leaf::Element;

use super::Debris;
use super::tree::{Leaf, Leaves, Tree};
use crate::key::{HashSeed, Key};
use crate::keyspace::prefetch;
use leaf::HashLeaf;
use std::cell::Cell;

/// The table. `clone` takes constant time.
#[derive(Clone, Debug)]
pub struct Table {
    tree: Tree<HashLeaf>,
    seed: HashSeed,
}

/// What became of an edit of the one chunk where a member is or belongs.
enum Outcome<R> {
    Done(R),
    /// The member is not there, and might be in an earlier chunk.
    Elsewhere,
}

impl Table {
    /// An empty one, whose positions are under this seed.
    pub fn new(seed: HashSeed) -> Self {
        Table { tree: Tree::new(HashLeaf::new(seed)), seed }
    }

    /// A member with its position.
    #[inline]
    pub fn key<'k>(&self, member: &'k [u8]) -> Key<'k> {
        self.seed.key(member)
    }

    /// The seed of its positions.
    #[inline]
    pub fn seed(&self) -> HashSeed {
        self.seed
    }

    /// Elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// Bytes on the heap, by size classes.
    #[inline]
    pub fn used_bytes(&self) -> usize {
        self.tree.used_bytes()
    }

    /// Takes it apart, to be freed in steps.
    pub fn into_debris(self, debris: &mut Vec<Box<dyn Debris>>) {
        debris.push(Box::new(self.tree.into_remains()));
    }

    /// The payload of a member.
    #[inline]
    pub fn get(&self, key: Key<'_>) -> Option<&[u8]> {
        let mut equal = false;
        let leaf = self.tree.find(|low| {
            equal |= *low == key.position;
            *low <= key.position
        });
        match leaf.find(key) {
            Some(place) => Some(leaf.get(place).payload),
            None if equal => self.rank_of(key).map(|rank| self.at(rank).payload),
            None => None,
        }
    }

    /// Asks for the chunk where a member is or belongs ([`crate::value::ahead`]).
    #[inline]
    pub fn ahead(&self, member: &[u8]) -> ChunkAhead<'_> {
        let position = self.key(member).position;
        let leaf = self.tree.find(|low| *low <= position);
        prefetch(leaf);
        ChunkAhead { leaf, position }
    }

    /// Whether a member is there.
    #[inline]
    pub fn contains(&self, key: Key<'_>) -> bool {
        self.get(key).is_some()
    }

    /// The rank of a member, looked for in every chunk that may hold its position.
    #[cold]
    fn rank_of(&self, key: Key<'_>) -> Option<usize> {
        let below = |low: &u64| *low < key.position;
        let (_, mut rank) = self.tree.find_ranked(below);
        for leaf in self.tree.leaves_from(below) {
            if let Some(place) = leaf.find(key) {
                return Some(rank + place);
            }
            let past = |(position, _): &(u64, u8)| *position > key.position;
            if leaf.positions()[..leaf.len()].iter().any(past) {
                return None;
            }
            rank += leaf.len();
        }
        None
    }

    /// Edits the chunk where a member is or belongs; `edit` is told its place in it. If it is not there though it might be in another
    /// chunk, that one is found.
    #[inline]
    fn edit<R>(&mut self, key: Key<'_>, edit: impl Fn(&mut HashLeaf, Option<usize>) -> R) -> R {
        let equal = Cell::new(false);
        let below = |low: &u64| {
            equal.set(equal.get() || *low == key.position);
            *low <= key.position
        };
        let outcome = self.tree.edit(below, |leaf| match leaf.find(key) {
            None if equal.get() => Outcome::Elsewhere,
            place => Outcome::Done(edit(leaf, place)),
        });
        match outcome {
            Outcome::Done(result) => result,
            Outcome::Elsewhere => match self.rank_of(key) {
                Some(rank) => self.tree.edit_rank(rank, |leaf, place| edit(leaf, Some(place))),
                None => self.tree.edit(|low| *low <= key.position, |leaf| edit(leaf, None)),
            },
        }
    }

    /// Adds a member, or gives it another payload (whose parts are joined). Says whether it is new.
    #[inline]
    pub fn insert(&mut self, key: Key<'_>, payload: &[&[u8]]) -> bool {
        self.edit(key, |leaf, place| match place {
            Some(place) => {
                leaf.replace(place, key, payload);
                false
            }
            None => {
                leaf.push(key, payload);
                true
            }
        })
    }

    /// Adds a member unless it is there. Says whether it is new.
    #[inline]
    pub fn insert_new(&mut self, key: Key<'_>, payload: &[&[u8]]) -> bool {
        self.edit(key, |leaf, place| {
            if place.is_none() {
                leaf.push(key, payload);
            }
            place.is_none()
        })
    }

    /// Removes a member. Says whether it was there.
    #[inline]
    pub fn remove(&mut self, key: Key<'_>) -> bool {
        self.take(key, |_| ()).is_some()
    }

    /// Removes a member, and gives `look` its payload before.
    #[inline]
    pub fn take<R>(&mut self, key: Key<'_>, look: impl Fn(&[u8]) -> R) -> Option<R> {
        self.edit(key, |leaf, place| {
            let result = look(leaf.get(place?).payload);
            leaf.remove(place?);
            Some(result)
        })
    }

    /// The element with a rank, which must be below [`Table::len`]: any order, but each has one.
    #[inline]
    pub fn at(&self, rank: usize) -> Element<'_> {
        let (leaf, place) = self.tree.find_rank(rank);
        leaf.get(place)
    }

    /// Removes the element with a rank, which must be below [`Table::len`], and gives it to `look` before.
    #[inline]
    pub fn take_at<R>(&mut self, rank: usize, look: impl FnOnce(Element<'_>) -> R) -> R {
        self.tree.edit_rank(rank, |leaf, place| {
            let result = look(leaf.get(place));
            leaf.remove(place);
            result
        })
    }

    /// All elements, in order of rank.
    pub fn iter(&self) -> Iter<'_> {
        self.iter_from(0)
    }

    /// The elements from a rank on.
    pub fn iter_from(&self, rank: usize) -> Iter<'_> {
        let (mut leaves, place) = self.tree.leaves_from_rank(rank);
        Iter { leaf: leaves.next(), leaves, place }
    }

    /// Gives `found` about `count` elements from the position `cursor` on (0: from the first), in order of position, and says where
    /// to go on (0: that was all). Whoever is there from the first call to the last is found exactly once, whatever is changed in between.
    pub fn scan(&self, cursor: u64, count: usize, mut found: impl FnMut(Element<'_>)) -> u64 {
        let (mut given, mut last) = (0, 0);
        for leaf in self.tree.leaves_from(|low| *low < cursor) {
            let mut positions = leaf.positions();
            let positions = &mut positions[..leaf.len()];
            positions.sort_unstable();
            for (position, place) in positions.iter().filter(|(position, _)| *position >= cursor) {
                // A cursor cannot say how many of equal position were given: all or none.
                if given >= count && *position != last {
                    return *position;
                }
                found(leaf.get(usize::from(*place)));
                (given, last) = (given + 1, *position);
            }
        }
        0
    }

    /// Adds many elements at once, which `batch` gives in any order. Those that come in order of position behind all that are there cost
    /// no look-up. Says whether all of them were new; if not, it holds as many as were before the first that was not.
    pub fn load(&mut self, batch: &mut [LoadElement<'_>]) -> bool {
        batch.sort_unstable_by_key(|element| element.key.position);
        let mut last = self.last_position();
        let mut chunk = HashLeaf::new(self.seed);
        let mut low = 0;
        for element in batch {
            if element.key.position <= last {
                self.append(low, &mut chunk);
                if !self.insert_new(element.key, element.payload) {
                    return false;
                }
                continue;
            }
            last = element.key.position;
            if chunk.is_empty() {
                low = last;
            }
            chunk.push(element.key, element.payload);
            if chunk.is_loaded() {
                self.append(low, &mut chunk);
            }
        }
        self.append(low, &mut chunk);
        true
    }

    /// The highest position, 0 if there is none.
    fn last_position(&self) -> u64 {
        let positions = |leaf: &HashLeaf| leaf.positions()[..leaf.len()].iter().map(|(position, _)| *position).max();
        self.tree.leaves_back().next().and_then(positions).unwrap_or(0)
    }

    /// Puts a chunk of positions from `low` on, all above those that are there, at the end, and leaves an empty one.
    fn append(&mut self, low: u64, chunk: &mut HashLeaf) {
        let chunk = std::mem::replace(chunk, HashLeaf::new(self.seed));
        if chunk.is_empty() {
            return;
        }
        self.tree
            .edit_last(|last, spill| if last.fits(&chunk) { last.append(chunk) } else { spill.push((low, chunk)) });
    }
}

/// A chunk on its way to the processor.
#[derive(Clone, Copy, Debug)]
pub struct ChunkAhead<'a> {
    leaf: &'a HashLeaf,
    position: u64,
}

impl ChunkAhead<'_> {
    /// Asks for its directory, when the chunk's own struct has come.
    #[inline]
    pub fn directory(&self) {
        self.leaf.prefetch_directory();
    }

    /// Asks for the record that may be the member's, when the directory has come.
    #[inline]
    pub fn record(&self) {
        self.leaf.prefetch_record(self.position);
    }
}

/// What [`Table::load`] takes.
#[derive(Clone, Copy, Debug)]
pub struct LoadElement<'a> {
    /// The member.
    pub key: Key<'a>,
    /// Its payload's parts.
    pub payload: &'a [&'a [u8]],
}

/// The elements of a table.
pub struct Iter<'a> {
    leaves: Leaves<'a, HashLeaf, { super::tree::FANOUT }>,
    leaf: Option<&'a HashLeaf>,
    place: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        loop {
            let leaf = self.leaf?;
            if self.place < leaf.len() {
                self.place += 1;
                return Some(leaf.get(self.place - 1));
            }
            (self.leaf, self.place) = (self.leaves.next(), 0);
        }
    }
}

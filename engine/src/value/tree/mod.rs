//! An order-statistic B+tree of chunks: where every large collection keeps its elements.
//!
//! The tree knows chunks ([`Leaf`]) and how many elements each holds, never an element: what a chunk looks like, and when it is to be
//! split or merged, is the collection's matter. Chunks of one to four kilobytes are right.
//!
//! 1. `clone` takes constant time: nodes are shared, and whoever changes one then copies that node alone (`Arc::make_mut`). A change
//!    copies at most one chunk, its neighbour in a merge, and one node of each level: a few kilobytes.
//! 2. Counts of elements and bytes are exact after every operation and are never worked out by walking.
//! 3. There is always a chunk; it is empty only if it is the only one.
//! 4. Separators: no element before a child is above its separator, none in or behind it is below. The separator of an inner node's first
//!    child has no meaning (an older one of a node further up holds), so that an insertion in front of all changes none.
//! 5. Neighbours of chunks and nodes that became small are merged if the result is not large: any two adjacent ones hold more than one
//!    could, when either was last changed.

mod change;
mod remains;
#[cfg(test)]
mod tests;
mod walk;

pub use change::Spill;
pub use remains::Remains;
pub use walk::Leaves;

use crate::keyspace::size_class;
use arrayvec::ArrayVec;
use std::sync::Arc;

/// Children of an inner node at most: with 8-byte separators such a node is a block of 2 KiB.
pub(super) const FANOUT: usize = 62;
/// What the counters of an `Arc` take in front of what it holds.
pub const ARC_HEADER: usize = 2 * size_of::<usize>();

/// A chunk of adjacent elements.
pub trait Leaf: Clone {
    /// What separates chunks: a position, an ID, a score with its member; `()` where elements are only ever found by rank.
    type Key: Clone;

    /// Elements.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes on the heap by size classes, besides the chunk's own struct.
    fn used_bytes(&self) -> usize;

    /// Bytes on the heap of a separator.
    fn key_bytes(key: &Self::Key) -> usize {
        let _ = key;
        0
    }

    /// Whether it must be split. A chunk of one element, or any that cannot be split, never is.
    fn is_large(&self) -> bool;

    /// Takes away the upper part, which has at least one element, and leaves at least one. The separator is above or equal to all that stays
    /// and below or equal to all that goes.
    fn split(&mut self) -> (Self::Key, Self);

    /// Whether it is worth looking for a neighbour to merge with.
    fn is_small(&self) -> bool;

    /// Whether `self` with `right` behind it would not be large.
    fn fits(&self, right: &Self) -> bool;

    /// Takes over all elements of the chunk behind.
    fn append(&mut self, right: Self);
}

/// The tree. `F` is only for tests to choose.
pub struct Tree<L: Leaf, const F: usize = FANOUT> {
    root: Node<L, F>,
    len: usize,
    used_bytes: usize,
}

enum Node<L: Leaf, const F: usize> {
    Leaf(Arc<L>),
    Inner(Arc<Inner<L, F>>),
}

struct Inner<L: Leaf, const F: usize> {
    /// One for each child; the first is never looked at.
    keys: ArrayVec<L::Key, F>,
    /// Elements below each child.
    lens: ArrayVec<usize, F>,
    nodes: ArrayVec<Node<L, F>, F>,
}

/// A new right neighbour on its way into the node above.
struct Sibling<L: Leaf, const F: usize> {
    key: L::Key,
    len: usize,
    node: Node<L, F>,
}

impl<L: Leaf, const F: usize> Tree<L, F> {
    const LEAF_BLOCK: usize = size_class(ARC_HEADER + size_of::<L>());
    const INNER_BLOCK: usize = size_class(ARC_HEADER + size_of::<Inner<L, F>>());

    /// A tree of one chunk, which may be empty, but not large.
    pub fn new(leaf: L) -> Self {
        Tree { len: leaf.len(), used_bytes: Self::LEAF_BLOCK + leaf.used_bytes(), root: Node::Leaf(Arc::new(leaf)) }
    }

    /// Elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no element.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes on the heap by size classes: chunks, nodes and their counters. What clones share is counted in each.
    #[inline]
    pub fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// [`Tree::used_bytes`] by walking.
    #[cfg(test)]
    pub fn count_bytes(&self) -> usize {
        self.root.count_bytes()
    }

    /// The last chunk whose separator `below` holds for, or the first: the chunk where an element belongs whose key is above or equal
    /// to the separators that `below` holds for. It must hold for all up to some separator and for none behind.
    #[inline]
    pub fn find(&self, mut below: impl FnMut(&L::Key) -> bool) -> &L {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(leaf) => return leaf,
                Node::Inner(inner) => node = &inner.nodes[child_below(&inner.keys, &mut below)],
            }
        }
    }

    /// [`Tree::find`], and how many elements are in front of that chunk.
    #[inline]
    pub fn find_ranked(&self, mut below: impl FnMut(&L::Key) -> bool) -> (&L, usize) {
        let (mut node, mut rank) = (&self.root, 0);
        loop {
            match node {
                Node::Leaf(leaf) => return (leaf, rank),
                Node::Inner(inner) => {
                    let child = child_below(&inner.keys, &mut below);
                    rank += inner.lens[..child].iter().sum::<usize>();
                    node = &inner.nodes[child];
                }
            }
        }
    }

    /// The chunk that holds the element with this rank, and its place there. A rank that is not below the number of elements is
    /// taken for a place at the end of the last chunk.
    #[inline]
    pub fn find_rank(&self, rank: usize) -> (&L, usize) {
        let (mut node, mut rank) = (&self.root, rank.min(self.len));
        loop {
            match node {
                Node::Leaf(leaf) => return (leaf, rank),
                Node::Inner(inner) => {
                    let (child, offset) = child_with_rank(&inner.lens, rank);
                    (node, rank) = (&inner.nodes[child], offset);
                }
            }
        }
    }
}

/// The last child whose separator `below` holds for, else the first.
#[inline]
fn child_below<K>(keys: &[K], below: impl FnMut(&K) -> bool) -> usize {
    keys[1..].partition_point(below)
}

/// The child that holds this rank, and the rank there. One behind the last element belongs to the last child.
#[inline]
fn child_with_rank(lens: &[usize], mut rank: usize) -> (usize, usize) {
    let last = lens.len() - 1;
    for (child, &len) in lens[..last].iter().enumerate() {
        if rank < len {
            return (child, rank);
        }
        rank -= len;
    }
    (last, rank)
}

impl<L: Leaf + Default, const F: usize> Default for Tree<L, F> {
    fn default() -> Self {
        Tree::new(L::default())
    }
}

impl<L: Leaf, const F: usize> Clone for Tree<L, F> {
    fn clone(&self) -> Self {
        Tree { root: self.root.clone(), len: self.len, used_bytes: self.used_bytes }
    }
}

impl<L: Leaf, const F: usize> Clone for Node<L, F> {
    fn clone(&self) -> Self {
        match self {
            Node::Leaf(leaf) => Node::Leaf(Arc::clone(leaf)),
            Node::Inner(inner) => Node::Inner(Arc::clone(inner)),
        }
    }
}

impl<L: Leaf, const F: usize> Clone for Inner<L, F> {
    fn clone(&self) -> Self {
        Inner { keys: self.keys.clone(), lens: self.lens.clone(), nodes: self.nodes.clone() }
    }
}

impl<L: Leaf, const F: usize> std::fmt::Debug for Tree<L, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree").field("len", &self.len).field("used_bytes", &self.used_bytes).finish_non_exhaustive()
    }
}

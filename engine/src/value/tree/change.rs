//! Changes: one chunk edited in place, with whatever follows from that for its neighbours and the nodes above; ranges removed.

use super::{Inner, Leaf, Node, Sibling, Tree, child_below, child_with_rank};
use arrayvec::ArrayVec;
use std::cell::Cell;
use std::mem::take;
use std::ops::Range;
use std::sync::Arc;

/// New chunks that an edit wants behind the chunk it was given, each with its separator, in order.
pub type Spill<L> = Vec<(<L as Leaf>::Key, L)>;

/// What a change below a node leaves to the nodes above.
struct Changes<L: Leaf, const F: usize> {
    /// New right neighbours of the node.
    siblings: Vec<Sibling<L, F>>,
    /// Whether elements went, so that a node may have become small.
    shrunk: bool,
    /// Bytes taken and given back.
    taken: usize,
    given_back: usize,
}

impl<L: Leaf, const F: usize> Tree<L, F> {
    /// Changes the chunk that [`Tree::find`] finds with `below`. It may grow, shrink and become empty; whatever must be split,
    /// merged or removed then, is.
    #[inline]
    pub fn edit<R>(&mut self, mut below: impl FnMut(&L::Key) -> bool, change: impl FnOnce(&mut L) -> R) -> R {
        self.change(|inner| child_below(&inner.keys, &mut below), |leaf, _| change(leaf))
    }

    /// Changes the chunk that [`Tree::find_rank`] finds; `change` also gets the place of the rank in it. A rank of [`Tree::len`] is the
    /// end of the last chunk.
    #[inline]
    pub fn edit_rank<R>(&mut self, rank: usize, change: impl FnOnce(&mut L, usize) -> R) -> R {
        self.edit_rank_spilling(rank, |leaf, offset, _| change(leaf, offset))
    }

    /// [`Tree::edit_rank`] that may also put new chunks behind the one it changes: a queue that grows at an end fills its chunks
    /// instead of leaving halves behind. (In front of it: put the new chunk in its place, and spill the old one.)
    #[inline]
    pub fn edit_rank_spilling<R>(&mut self, rank: usize, change: impl FnOnce(&mut L, usize, &mut Spill<L>) -> R) -> R {
        let offset = Cell::new(rank.min(self.len));
        let choose = |inner: &Inner<L, F>| {
            let (child, rest) = child_with_rank(&inner.lens, offset.get());
            offset.set(rest);
            child
        };
        self.change(choose, |leaf, spill| change(leaf, offset.get(), spill))
    }

    /// Changes the last chunk, and may put new ones behind it: bulk loading, appending.
    #[inline]
    pub fn edit_last<R>(&mut self, change: impl FnOnce(&mut L, &mut Spill<L>) -> R) -> R {
        self.change(|inner| inner.nodes.len() - 1, change)
    }

    #[inline]
    fn change<R>(
        &mut self,
        mut choose: impl FnMut(&Inner<L, F>) -> usize,
        change: impl FnOnce(&mut L, &mut Spill<L>) -> R,
    ) -> R {
        let mut changes = Changes { siblings: Vec::new(), shrunk: false, taken: 0, given_back: 0 };
        let (result, len) = self.root.change(self.len, &mut choose, change, &mut changes);
        self.len = len;
        self.settle_root(changes);
        result
    }

    /// Removes the elements with these ranks. Chunks that lose all are dropped unseen; `cut` removes a range of places from a chunk that
    /// keeps some. (If nothing is left, one chunk is emptied by it.)
    pub fn remove_ranks(&mut self, ranks: Range<usize>, mut cut: impl FnMut(&mut L, Range<usize>)) {
        let ranks = ranks.start..ranks.end.min(self.len);
        if ranks.is_empty() {
            return;
        }
        let mut changes = Changes { siblings: Vec::new(), shrunk: true, taken: 0, given_back: 0 };
        self.len -= ranks.len();
        self.root.remove(ranks, &mut cut, &mut changes);
        self.settle_root(changes);
    }

    /// Takes over what has changed below the root; `self.len` is the new one already.
    #[inline]
    fn settle_root(&mut self, mut changes: Changes<L, F>) {
        if !changes.siblings.is_empty() {
            self.grow(&mut changes);
        }
        while let Node::Inner(inner) = &self.root {
            let [only] = inner.nodes.as_slice() else { break };
            changes.given_back += Self::INNER_BLOCK + L::key_bytes(&inner.keys[0]);
            self.root = only.clone();
        }
        self.used_bytes = self.used_bytes + changes.taken - changes.given_back;
    }

    /// Puts nodes above the root until it has no neighbours.
    #[cold]
    fn grow(&mut self, changes: &mut Changes<L, F>) {
        while let [first, ..] = changes.siblings.as_slice() {
            let key = first.key.clone();
            let len = self.len - changes.siblings.iter().map(|sibling| sibling.len).sum::<usize>();
            changes.taken += Self::INNER_BLOCK + L::key_bytes(&key);
            let mut inner = Inner { keys: ArrayVec::new(), lens: ArrayVec::new(), nodes: ArrayVec::new() };
            inner.insert(0, Sibling { key, len, node: self.root.clone() });
            inner.settle(0, changes);
            self.root = Node::Inner(Arc::new(inner));
        }
    }
}

impl<L: Leaf, const F: usize> Node<L, F> {
    /// Changes the chunk that `choose` leads to. `len` is the number of elements below this node; its new one is returned, with those of the
    /// new neighbours.
    fn change<R>(
        &mut self,
        len: usize,
        choose: &mut impl FnMut(&Inner<L, F>) -> usize,
        change: impl FnOnce(&mut L, &mut Spill<L>) -> R,
        changes: &mut Changes<L, F>,
    ) -> (R, usize) {
        match self {
            Node::Leaf(leaf) => {
                // Before it may be copied: a copy need not take what the original does.
                changes.given_back += leaf.used_bytes();
                let leaf = Arc::make_mut(leaf);
                let mut spill = Vec::new();
                let result = change(leaf, &mut spill);
                changes.shrunk = leaf.len() < len;
                let mut after = leaf.len();
                if !spill.is_empty() || leaf.is_large() {
                    divide(leaf, spill, changes);
                    after = leaf.len() + changes.siblings.iter().map(|sibling| sibling.len).sum::<usize>();
                }
                changes.taken += leaf.used_bytes();
                (result, after)
            }
            Node::Inner(inner) => {
                let inner = Arc::make_mut(inner);
                let child = choose(inner);
                let before = inner.lens[child];
                let (result, after) = inner.nodes[child].change(before, choose, change, changes);
                inner.lens[child] = after;
                if !changes.siblings.is_empty() {
                    inner.lens[child] -= changes.siblings.iter().map(|sibling| sibling.len).sum::<usize>();
                    inner.settle(child, changes);
                } else if changes.shrunk {
                    inner.settle(child, changes);
                }
                (result, len - before + after)
            }
        }
    }

    /// Removes a range of ranks within this node, of which something stays unless the node is the last of all.
    fn remove(&mut self, ranks: Range<usize>, cut: &mut impl FnMut(&mut L, Range<usize>), changes: &mut Changes<L, F>) {
        match self {
            Node::Leaf(leaf) => {
                changes.given_back += leaf.used_bytes();
                let leaf = Arc::make_mut(leaf);
                cut(leaf, ranks);
                changes.taken += leaf.used_bytes();
            }
            Node::Inner(inner) => {
                let inner = Arc::make_mut(inner);
                let (mut child, mut start) = (0, 0);
                let mut cut_child = None;
                while child < inner.nodes.len() && start < ranks.end {
                    let end = start + inner.lens[child];
                    let inside = ranks.start.max(start) - start..ranks.end.min(end).saturating_sub(start);
                    if inside.len() == end - start && inner.nodes.len() > 1 {
                        changes.given_back += inner.take_out(child);
                    } else {
                        if !inside.is_empty() {
                            inner.lens[child] -= inside.len();
                            inner.nodes[child].remove(inside, cut, changes);
                            cut_child.get_or_insert(child);
                        }
                        child += 1;
                    }
                    start = end;
                }
                // At most two were cut, next to each other: the second first, lest it moves.
                let first = cut_child.unwrap_or(child.saturating_sub(1));
                for child in [first + 1, first] {
                    if child < inner.nodes.len() {
                        inner.settle(child, changes);
                    }
                }
            }
        }
    }

    /// Bytes of this node and all below, by walking.
    pub(super) fn count_bytes(&self) -> usize {
        match self {
            Node::Leaf(leaf) => Tree::<L, F>::LEAF_BLOCK + leaf.used_bytes(),
            Node::Inner(inner) => {
                let keys = inner.keys.iter().map(L::key_bytes).sum::<usize>();
                Tree::<L, F>::INNER_BLOCK + keys + inner.nodes.iter().map(Node::count_bytes).sum::<usize>()
            }
        }
    }

    fn is_small(&self) -> bool {
        match self {
            Node::Leaf(leaf) => leaf.is_small(),
            Node::Inner(inner) => inner.nodes.len() <= F / 4,
        }
    }

    /// Whether both together make one node with room to grow.
    fn fits(&self, right: &Self) -> bool {
        match (self, right) {
            (Node::Leaf(left), Node::Leaf(right)) => left.fits(right),
            (Node::Inner(left), Node::Inner(right)) => left.nodes.len() + right.nodes.len() <= F * 3 / 4,
            _ => unreachable!("neighbours are of one height"),
        }
    }
}

impl<L: Leaf, const F: usize> Inner<L, F> {
    /// Puts a child at a place; there must be room.
    fn insert(&mut self, at: usize, child: Sibling<L, F>) {
        self.keys.insert(at, child.key);
        self.lens.insert(at, child.len);
        self.nodes.insert(at, child.node);
    }

    /// Drops a child and all below it. Says how many bytes that were.
    fn take_out(&mut self, child: usize) -> usize {
        self.lens.remove(child);
        L::key_bytes(&self.keys.remove(child)) + self.nodes.remove(child).count_bytes()
    }

    /// Puts right what a change of `child` left behind: takes its new neighbours in, drops it if it is empty, merges it if it is small. If
    /// there is no room, the upper part of this node becomes its new neighbour.
    fn settle(&mut self, child: usize, changes: &mut Changes<L, F>) {
        let siblings = take(&mut changes.siblings);
        if self.lens[child] == 0 && self.nodes.len() + siblings.len() > 1 {
            changes.given_back += self.take_out(child);
            self.take_in(child, siblings, changes);
        } else if !siblings.is_empty() {
            self.take_in(child + 1, siblings, changes);
        } else if changes.shrunk && self.nodes[child].is_small() {
            self.merge(child, changes);
        }
    }

    /// Inserts new children at a place.
    fn take_in(&mut self, at: usize, siblings: Vec<Sibling<L, F>>, changes: &mut Changes<L, F>) {
        changes.taken += siblings.iter().map(|sibling| L::key_bytes(&sibling.key)).sum::<usize>();
        let (count, total) = (self.nodes.len(), self.nodes.len() + siblings.len());
        if total <= F {
            for (place, sibling) in (at..).zip(siblings) {
                self.insert(place, sibling);
            }
            return;
        }
        let old = self.keys.take().into_iter().zip(self.lens.take()).zip(self.nodes.take());
        let mut all: Vec<_> = old.map(|((key, len), node)| Sibling { key, len, node }).collect();
        all.splice(at..at, siblings);
        // What grows at its end is filled up; what grows anywhere else gets room everywhere.
        let share = if at == count { F } else { total.div_ceil(total.div_ceil(F)) };
        let mut all = all.into_iter();
        all.by_ref().take(share).for_each(|child| self.insert(self.nodes.len(), child));
        while all.len() > 0 {
            let mut inner = Inner { keys: ArrayVec::new(), lens: ArrayVec::new(), nodes: ArrayVec::new() };
            all.by_ref().take(share).for_each(|child| inner.insert(inner.nodes.len(), child));
            changes.taken += Tree::<L, F>::INNER_BLOCK;
            let (key, len) = (inner.keys[0].clone(), inner.lens.iter().sum());
            changes.siblings.push(Sibling { key, len, node: Node::Inner(Arc::new(inner)) });
        }
    }

    /// Merges a small child with a neighbour if that makes a node which is not large.
    fn merge(&mut self, child: usize, changes: &mut Changes<L, F>) {
        let fits = |left: usize| left + 1 < self.nodes.len() && self.nodes[left].fits(&self.nodes[left + 1]);
        let Some(left) = [child.checked_sub(1), Some(child)].into_iter().flatten().find(|left| fits(*left)) else {
            return;
        };
        let key = self.keys.remove(left + 1);
        let right = self.nodes.remove(left + 1);
        self.lens[left] += self.lens.remove(left + 1);
        match (&mut self.nodes[left], right) {
            (Node::Leaf(left), Node::Leaf(right)) => {
                changes.given_back += left.used_bytes() + right.used_bytes();
                let left = Arc::make_mut(left);
                changes.given_back += Tree::<L, F>::LEAF_BLOCK + L::key_bytes(&key);
                left.append(Arc::unwrap_or_clone(right));
                changes.taken += left.used_bytes();
            }
            (Node::Inner(left), Node::Inner(right)) => {
                let left = Arc::make_mut(left);
                let mut right = Arc::unwrap_or_clone(right);
                // The node's first separator had no meaning; now it gets one.
                changes.given_back += Tree::<L, F>::INNER_BLOCK + L::key_bytes(&right.keys[0]);
                right.keys[0] = key;
                left.keys.extend(right.keys);
                left.lens.extend(right.lens);
                left.nodes.extend(right.nodes);
            }
            _ => unreachable!("neighbours are of one height"),
        }
    }
}

/// Splits a chunk and those spilled behind it until none is large; all but the first become siblings.
#[cold]
fn divide<L: Leaf, const F: usize>(leaf: &mut L, spill: Spill<L>, changes: &mut Changes<L, F>) {
    let mut parts = Vec::new();
    split(leaf, &mut parts);
    for (key, mut leaf) in spill {
        let mut behind = Vec::new();
        split(&mut leaf, &mut behind);
        parts.push((key, leaf));
        parts.append(&mut behind);
    }
    for (key, leaf) in parts {
        debug_assert!(!leaf.is_empty(), "an empty chunk was spilled or split off");
        changes.taken += Tree::<L, F>::LEAF_BLOCK + leaf.used_bytes();
        changes.siblings.push(Sibling { key, len: leaf.len(), node: Node::Leaf(Arc::new(leaf)) });
    }
}

fn split<L: Leaf>(leaf: &mut L, parts: &mut Spill<L>) {
    if leaf.is_large() {
        let (key, mut right) = leaf.split();
        debug_assert!(!leaf.is_empty() && !right.is_empty(), "a split left an empty chunk");
        split(leaf, parts);
        let mut behind = Vec::new();
        split(&mut right, &mut behind);
        parts.push((key, right));
        parts.append(&mut behind);
    }
}

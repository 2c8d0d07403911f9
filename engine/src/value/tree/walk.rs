//! Chunks one after the other, forward and backward.

use super::{Inner, Leaf, Node, Tree, child_below, child_with_rank};

/// Chunks from some place on, in one direction. The single chunk of an empty tree is given too.
pub struct Leaves<'a, L: Leaf, const F: usize> {
    /// The way from the root to the next chunk: nodes, and which child was taken.
    path: Vec<(&'a Inner<L, F>, usize)>,
    next: Option<&'a L>,
    backward: bool,
}

impl<'a, L: Leaf, const F: usize> Leaves<'a, L, F> {
    fn new(tree: &'a Tree<L, F>, backward: bool, mut choose: impl FnMut(&Inner<L, F>) -> usize) -> Self {
        let mut leaves = Leaves { path: Vec::new(), next: None, backward };
        leaves.descend(&tree.root, &mut choose);
        leaves
    }

    fn descend(&mut self, mut node: &'a Node<L, F>, choose: &mut dyn FnMut(&Inner<L, F>) -> usize) {
        loop {
            match node {
                Node::Leaf(leaf) => {
                    self.next = Some(leaf);
                    return;
                }
                Node::Inner(inner) => {
                    let child = choose(inner);
                    self.path.push((inner, child));
                    node = &inner.nodes[child];
                }
            }
        }
    }
}

impl<'a, L: Leaf, const F: usize> Iterator for Leaves<'a, L, F> {
    type Item = &'a L;

    fn next(&mut self) -> Option<&'a L> {
        let leaf = self.next.take()?;
        let backward = self.backward;
        while let Some((inner, child)) = self.path.pop() {
            let neighbour = if backward { child.checked_sub(1) } else { Some(child + 1) };
            if let Some((child, node)) = neighbour.and_then(|child| Some((child, inner.nodes.get(child)?))) {
                self.path.push((inner, child));
                self.descend(node, &mut |inner| if backward { inner.nodes.len() - 1 } else { 0 });
                break;
            }
        }
        Some(leaf)
    }
}

impl<L: Leaf, const F: usize> Tree<L, F> {
    /// The chunks from the first on.
    pub fn leaves(&self) -> Leaves<'_, L, F> {
        Leaves::new(self, false, |_| 0)
    }

    /// The chunks from the last to the first.
    pub fn leaves_back(&self) -> Leaves<'_, L, F> {
        Leaves::new(self, true, |inner| inner.nodes.len() - 1)
    }

    /// The chunks from the one that [`Tree::find`] finds on.
    pub fn leaves_from(&self, mut below: impl FnMut(&L::Key) -> bool) -> Leaves<'_, L, F> {
        Leaves::new(self, false, |inner| child_below(&inner.keys, &mut below))
    }

    /// The chunks from the one that [`Tree::find`] finds, backward.
    pub fn leaves_back_from(&self, mut below: impl FnMut(&L::Key) -> bool) -> Leaves<'_, L, F> {
        Leaves::new(self, true, |inner| child_below(&inner.keys, &mut below))
    }

    /// The chunks from the one that [`Tree::find_rank`] finds on, and the place of that rank in the first of them.
    pub fn leaves_from_rank(&self, rank: usize) -> (Leaves<'_, L, F>, usize) {
        self.leaves_by_rank(rank, false)
    }

    /// The chunks from the one that [`Tree::find_rank`] finds, backward, and the place of that rank in the first of them.
    pub fn leaves_back_from_rank(&self, rank: usize) -> (Leaves<'_, L, F>, usize) {
        self.leaves_by_rank(rank, true)
    }

    fn leaves_by_rank(&self, rank: usize, backward: bool) -> (Leaves<'_, L, F>, usize) {
        let mut offset = rank.min(self.len);
        let leaves = Leaves::new(self, backward, |inner| {
            let (child, rest) = child_with_rank(&inner.lens, offset);
            offset = rest;
            child
        });
        (leaves, offset)
    }
}

//! What is left of a tree that is no more: its nodes, freed one by one.

use super::{Leaf, Node, Tree};
use std::sync::Arc;

/// Nodes that are still to be freed. Dropping it frees all.
pub struct Remains<L: Leaf, const F: usize> {
    nodes: Vec<Node<L, F>>,
}

impl<L: Leaf, const F: usize> Tree<L, F> {
    /// Takes it apart, to be freed in steps.
    pub fn into_remains(self) -> Remains<L, F> {
        Remains { nodes: vec![self.root] }
    }
}

impl<L: Leaf, const F: usize> Remains<L, F> {
    /// Whether all nodes are gone.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Frees one node; says how many bytes that were, 0 for one that a clone goes on using. `None` if there was none left.
    pub fn free_one(&mut self) -> Option<usize> {
        Some(match self.nodes.pop()? {
            Node::Leaf(leaf) => Arc::try_unwrap(leaf).map_or(0, |leaf| Tree::<L, F>::LEAF_BLOCK + leaf.used_bytes()),
            Node::Inner(inner) => match Arc::try_unwrap(inner) {
                Ok(inner) => {
                    let keys: usize = inner.keys.iter().map(L::key_bytes).sum();
                    self.nodes.extend(inner.nodes);
                    Tree::<L, F>::INNER_BLOCK + keys
                }
                Err(_) => 0,
            },
        })
    }
}

//! What is left of a collection that is no more, to be freed in bounded steps.

use super::tree::{Leaf, Remains};

/// Blocks that can be freed a few at a time.
pub trait Debris: Send {
    /// Frees blocks, taking one off the budget for each, until there is none or the budget is spent; says how many bytes those were
    /// by size classes, as far as they were not shared.
    fn free(&mut self, budget: &mut usize) -> usize;

    /// Whether nothing is left.
    fn is_gone(&self) -> bool;
}

impl<L: Leaf + Send + Sync, const F: usize> Debris for Remains<L, F>
where
    L::Key: Send + Sync,
{
    fn free(&mut self, budget: &mut usize) -> usize {
        let mut freed = 0;
        while *budget > 0
            && let Some(bytes) = self.free_one()
        {
            freed += bytes;
            *budget -= 1;
        }
        freed
    }

    fn is_gone(&self) -> bool {
        self.is_empty()
    }
}

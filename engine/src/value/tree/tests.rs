//! The tree against plain vectors, with nodes so small that every operation reaches several levels.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Numbers in order, with room to grow that a copy does not have.
#[derive(Clone, Default, Debug)]
struct Chunk(Vec<u32>);

impl Leaf for Chunk {
    type Key = Box<u32>;
    fn len(&self) -> usize {
        self.0.len()
    }
    fn used_bytes(&self) -> usize {
        self.0.capacity() * 4
    }
    fn key_bytes(_: &Box<u32>) -> usize {
        8
    }
    fn is_large(&self) -> bool {
        self.0.len() > 4
    }
    fn split(&mut self) -> (Box<u32>, Self) {
        let right = self.0.split_off(self.0.len() / 2);
        (Box::new(right[0]), Chunk(right))
    }
    fn is_small(&self) -> bool {
        self.0.len() < 2
    }
    fn fits(&self, right: &Self) -> bool {
        self.len() + right.len() <= 4
    }
    fn append(&mut self, right: Self) {
        self.0.extend(right.0);
    }
}

type Small = Tree<Chunk, 4>;

impl Small {
    fn all(&self) -> Vec<u32> {
        self.leaves().flat_map(|leaf| leaf.0.iter().copied()).collect()
    }

    /// Everything the module promises about the shape.
    fn check(&self, sorted: bool) {
        fn walk(
            node: &Node<Chunk, 4>,
            is_root: bool,
            low: Option<u32>,
            high: Option<u32>,
            sorted: bool,
        ) -> (usize, usize) {
            match node {
                Node::Leaf(leaf) => {
                    assert!(is_root || !leaf.is_empty(), "an empty chunk among others");
                    assert!(!leaf.is_large());
                    let fits = |n: &u32| low.is_none_or(|low| low <= *n) && high.is_none_or(|high| *n <= high);
                    assert!(!sorted || leaf.0.iter().all(fits), "{low:?} {leaf:?} {high:?}");
                    (leaf.len(), 0)
                }
                Node::Inner(inner) => {
                    assert!(!inner.nodes.is_empty() && (!is_root || inner.nodes.len() > 1));
                    assert!(inner.keys.len() == inner.nodes.len() && inner.lens.len() == inner.nodes.len());
                    let mut height = None;
                    let mut sum = 0;
                    for (child, node) in inner.nodes.iter().enumerate() {
                        let low = if child == 0 { low } else { Some(*inner.keys[child]) };
                        let high = inner.keys.get(child + 1).map(|key| **key).or(high);
                        let (len, below) = walk(node, false, low, high, sorted);
                        assert_eq!(len, inner.lens[child]);
                        assert_eq!(*height.get_or_insert(below), below, "children of unequal heights");
                        sum += len;
                    }
                    (sum, height.unwrap() + 1)
                }
            }
        }
        assert_eq!(walk(&self.root, true, None, None, sorted).0, self.len());
        assert_eq!(self.root.count_bytes(), self.used_bytes());
    }
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u32),
    Remove(u32),
    /// So many at once at one place: several splits.
    Burst(u32, usize),
    RemoveRanks(usize, usize),
    Push(usize),
    Clone,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0u32..300).prop_map(Op::Insert),
        6 => (0u32..300).prop_map(Op::Remove),
        1 => (0u32..300, 1usize..40).prop_map(|(at, count)| Op::Burst(at, count)),
        1 => (0usize..200, 0usize..60).prop_map(|(at, count)| Op::RemoveRanks(at, count)),
        1 => (1usize..9).prop_map(Op::Push),
        1 => Just(Op::Clone),
    ]
}

proptest! {
    /// Elements found by key: a sorted bag.
    #[test]
    fn is_a_sorted_bag(ops in prop::collection::vec(op(), 1..400)) {
        let mut tree = Small::new(Chunk::default());
        let mut model: BTreeMap<u32, usize> = BTreeMap::new();
        let mut clones: Vec<(Small, Vec<u32>)> = Vec::new();
        for op in ops {
            match op {
                Op::Insert(n) => {
                    *model.entry(n).or_default() += 1;
                    tree.edit(|key| **key <= n, |leaf| {
                        let at = leaf.0.partition_point(|other| *other <= n);
                        leaf.0.insert(at, n);
                    });
                }
                Op::Remove(n) => {
                    let there = model.get(&n).copied().unwrap_or(0);
                    // Equal numbers may begin in an earlier chunk than the last whose separator is not above them.
                    let removed = tree.edit(|key| **key <= n, |leaf| {
                        leaf.0.iter().position(|other| *other == n).map(|at| leaf.0.remove(at)).is_some()
                    });
                    prop_assert!(there != 0 || !removed);
                    if removed {
                        if there == 1 { model.remove(&n); } else { model.insert(n, there - 1); }
                    }
                }
                Op::Burst(n, count) => {
                    *model.entry(n).or_default() += count;
                    tree.edit(|key| **key <= n, |leaf| {
                        let at = leaf.0.partition_point(|other| *other <= n);
                        leaf.0.splice(at..at, std::iter::repeat_n(n, count));
                    });
                }
                Op::RemoveRanks(from, count) => {
                    let mut all = tree.all();
                    all.drain(from.min(all.len())..(from + count).min(all.len()));
                    tree.remove_ranks(from..from + count, |leaf, range| drop(leaf.0.drain(range)));
                    model.clear();
                    all.into_iter().for_each(|n| *model.entry(n).or_default() += 1);
                }
                Op::Push(count) => {
                    let last = model.keys().next_back().copied().unwrap_or(0);
                    *model.entry(last + 1).or_default() += count;
                    tree.edit_last(|_, spill| spill.push((Box::new(last + 1), Chunk(vec![last + 1; count]))));
                }
                Op::Clone => clones.push((tree.clone(), tree.all())),
            }
            tree.check(true);
            let flat: Vec<u32> = model.iter().flat_map(|(n, count)| std::iter::repeat_n(*n, *count)).collect();
            prop_assert_eq!(tree.all(), flat.clone());
            prop_assert_eq!(tree.len(), flat.len());
            let mut back: Vec<u32> = tree.leaves_back().flat_map(|leaf| leaf.0.iter().rev().copied()).collect();
            back.reverse();
            prop_assert_eq!(&back, &flat);
            if !flat.is_empty() {
                let middle = flat[flat.len() / 2];
                let (leaf, rank) = tree.find_ranked(|key| **key <= middle);
                prop_assert_eq!(&leaf.0[..], &flat[rank..rank + leaf.len()]);
                prop_assert!(rank <= flat.partition_point(|n| *n <= middle));
                prop_assert_eq!(&tree.find(|key| **key <= middle).0, &leaf.0);
                let ahead: Vec<u32> = tree.leaves_from(|key| **key <= middle).flat_map(|leaf| leaf.0.clone()).collect();
                prop_assert_eq!(&ahead[..], &flat[rank..]);
                let behind: usize = tree.leaves_back_from(|key| **key <= middle).map(Leaf::len).sum();
                prop_assert_eq!(behind, rank + leaf.len());
            }
        }
        for (clone, contents) in clones {
            clone.check(true);
            prop_assert_eq!(clone.all(), contents);
        }
    }

    /// Elements found by rank: a sequence.
    #[test]
    fn is_a_sequence(ops in prop::collection::vec((0u8..8, 0usize..400, 1usize..30), 1..300)) {
        let mut tree = Small::default();
        let mut model: Vec<u32> = Vec::new();
        let (before, contents) = (tree.clone(), model.clone());
        for (number, (what, rank, count)) in (0u32..).zip(ops) {
            let rank = if model.is_empty() { 0 } else { rank % (model.len() + 1) };
            match what {
                0..4 => {
                    model.insert(rank, number);
                    tree.edit_rank(rank, |leaf, at| leaf.0.insert(at, number));
                }
                4 if rank < model.len() => {
                    let removed = tree.edit_rank(rank, |leaf, at| leaf.0.remove(at));
                    prop_assert_eq!(removed, model.remove(rank));
                }
                5 => {
                    let end = (rank + count).min(model.len());
                    model.drain(rank..end);
                    tree.remove_ranks(rank..rank + count, |leaf, range| drop(leaf.0.drain(range)));
                }
                6 => {
                    // A new chunk in front of the first.
                    model.insert(0, number);
                    tree.edit_rank_spilling(0, |leaf, _, spill| {
                        let old = std::mem::replace(leaf, Chunk(vec![number]));
                        if !old.is_empty() {
                            spill.push((Box::new(0), old));
                        }
                    });
                }
                _ => {
                    model.push(number);
                    tree.edit_last(|leaf, spill| {
                        if leaf.len() == 4 { spill.push((Box::new(0), Chunk(vec![number]))) } else { leaf.0.push(number) }
                    });
                }
            }
            tree.check(false);
            prop_assert_eq!(tree.all(), model.clone());
            for rank in [0, model.len() / 3, model.len()] {
                let (leaf, at) = tree.find_rank(rank);
                prop_assert_eq!(leaf.0.get(at), model.get(rank));
                let (leaves, at) = tree.leaves_from_rank(rank);
                let ahead: Vec<u32> = leaves.flat_map(|leaf| leaf.0.clone()).skip(at).collect();
                prop_assert_eq!(&ahead[..], &model[rank..]);
                let (mut leaves, at) = tree.leaves_back_from_rank(rank);
                let mut behind = leaves.next().map_or(Vec::new(), |leaf| leaf.0[..at].to_vec());
                leaves.for_each(|leaf| drop(behind.splice(..0, leaf.0.iter().copied())));
                prop_assert_eq!(&behind[..], &model[..rank]);
            }
        }
        before.check(false);
        prop_assert_eq!(before.all(), contents);
    }
}

#[test]
fn appending_fills_chunks_and_nodes() {
    let mut tree = Small::default();
    for n in 0..1000 {
        tree.edit_last(
            |leaf, spill| {
                if leaf.len() == 4 { spill.push((Box::new(n), Chunk(vec![n]))) } else { leaf.0.push(n) }
            },
        );
    }
    tree.check(true);
    assert_eq!(tree.leaves().count(), 250);
    // 250 chunks below nodes of four: 63 + 16 + 4 + 1.
    let inner = Small::INNER_BLOCK;
    let keys = (250 + 63 + 16 + 4) * 8;
    let chunks: usize = tree.leaves().map(|leaf| Small::LEAF_BLOCK + leaf.used_bytes()).sum();
    assert_eq!(tree.used_bytes(), chunks + 84 * inner + keys);
}

#[test]
fn an_emptied_tree_is_as_new() {
    let mut tree = Small::default();
    (0..500).for_each(|n| tree.edit_rank(n as usize, |leaf, at| leaf.0.insert(at, n)));
    let full = tree.clone();
    tree.remove_ranks(0..500, |leaf, range| drop(leaf.0.drain(range)));
    tree.check(true);
    // A chunk may keep its room.
    let chunk = tree.leaves().map(|leaf| Small::LEAF_BLOCK + leaf.used_bytes()).sum();
    assert_eq!((tree.len(), tree.leaves().count(), tree.used_bytes()), (0, 1, chunk), "nodes above the only chunk");
    let mut tree = full;
    for _ in 0..500 {
        tree.edit_rank(tree.len() / 2, |leaf, at| leaf.0.remove(at));
        tree.check(true);
    }
    // A chunk may keep its room.
    let chunk = tree.leaves().map(|leaf| Small::LEAF_BLOCK + leaf.used_bytes()).sum();
    assert_eq!((tree.len(), tree.leaves().count(), tree.used_bytes()), (0, 1, chunk), "nodes above the only chunk");
}

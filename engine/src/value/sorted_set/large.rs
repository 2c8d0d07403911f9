//! Large sorted sets: a table from members to scores, and a tree of the same elements in order. Both hold the member's bytes: a look-up touches
//! one chunk of either, and neither points into the other, so that chunks can be copied and moved alone.

use super::leaf::{Place, ScoreLeaf, compare};
use super::score::{encode_score, take_score};
use crate::key::HashSeed;
use crate::keyspace::prefetch;
use crate::number::parse_double;
use crate::value::BadValue;
use crate::value::Debris;
use crate::value::ahead::{Ahead, Wanted};
use crate::value::table::Table;
use crate::value::tree::Tree;

/// A large sorted set.
#[derive(Clone, Debug)]
pub(super) struct Large {
    members: Table,
    order: Tree<ScoreLeaf>,
}

impl Large {
    /// Takes it apart, to be freed in steps; what is packed is freed at once.
    pub(super) fn into_debris(self, debris: &mut Vec<Box<dyn Debris>>) {
        self.members.into_debris(debris);
        debris.push(Box::new(self.order.into_remains()));
    }

    pub(super) fn new(seed: HashSeed) -> Large {
        Large { members: Table::new(seed), order: Tree::default() }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn used_bytes(&self) -> usize {
        self.members.used_bytes() + self.order.used_bytes()
    }

    /// Asks for the chunk of the member, and for the one where its new score belongs.
    #[inline]
    pub(super) fn ahead(&self, wanted: Wanted<'_>) -> Ahead<'_> {
        let score = wanted.score.and_then(parse_double).map(|score| {
            let leaf = self.order.find(|place| place.is_at_most(score, wanted.member));
            prefetch(leaf);
            ScoreAhead { leaf }
        });
        Ahead::new(self.members.ahead(wanted.member), score)
    }

    #[inline]
    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        self.members.get(self.members.key(member)).map(|payload| take_score(payload).0)
    }

    pub(super) fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let score = self.score(member)?;
        let (leaf, before) = self.order.find_ranked(|place| place.is_at_most(score, member));
        Some((before + leaf.rank(score, member), score))
    }

    /// As [`super::SortedSet::update`].
    pub(super) fn update(
        &mut self,
        member: &[u8],
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> Result<Option<f64>, Option<f64>> {
        let key = self.members.key(member);
        let old = self.members.get(key).map(|payload| take_score(payload).0);
        let Some(score) = decide(old) else { return Err(old) };
        let (form, len) = encode_score(score);
        self.members.insert(key, &[&form[..len]]);
        let mut from_elsewhere = true;
        if let Some(old) = old {
            // A score that changes a little leaves its element in the same chunk: one way down, not two.
            from_elsewhere = self
                .order
                .edit(|place: &Place| place.is_at_most(old, member), |leaf| !leaf.change_score(old, score, member));
        }
        if from_elsewhere {
            self.order.edit(|place| place.is_at_most(score, member), |leaf| leaf.insert(score, member));
        }
        Ok(old)
    }

    /// Whether an element belongs behind all that are here.
    pub(super) fn ends_before(&self, member: &[u8], score: f64) -> bool {
        let mut is_last = true;
        self.each_while(self.len().saturating_sub(1), 1, false, |last, last_score| {
            is_last = compare((last_score, last), (score, member)).is_lt();
            true
        });
        is_last
    }

    /// Adds an element that is not there. One that belongs behind all that are costs one look-up less.
    pub(super) fn load(&mut self, member: &[u8], score: f64, is_last: bool) -> Result<(), BadValue> {
        let (form, len) = encode_score(score);
        if !self.members.insert_new(self.members.key(member), &[&form[..len]]) {
            return Err(BadValue::Twice);
        }
        if is_last {
            self.order.edit_last(|leaf, spill| leaf.append_one(score, member, spill));
        } else {
            self.order.edit(|place| place.is_at_most(score, member), |leaf| leaf.insert(score, member));
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let key = self.members.key(member);
        let score = self.members.take(key, |payload| take_score(payload).0)?;
        self.order.edit(|place| place.is_at_most(score, member), |leaf| leaf.remove(score, member));
        Some(score)
    }

    pub(super) fn remove_span(&mut self, start: usize, count: usize) {
        let members = &mut self.members;
        each_while(&self.order, start, count, false, |member, _| members.remove(members.key(member)));
        self.order.remove_ranks(start..start.saturating_add(count), |leaf, numbers| leaf.cut(numbers));
    }

    /// Rank of the first element that `holds` is not true of.
    pub(super) fn partition(&self, mut holds: impl FnMut(&[u8], f64) -> bool) -> usize {
        let (leaf, before) = self.order.find_ranked(|place| holds(&place.member, place.score));
        before + leaf.iter().take_while(|(member, score)| holds(member, *score)).count()
    }

    pub(super) fn each_while(&self, start: usize, count: usize, reverse: bool, each: impl FnMut(&[u8], f64) -> bool) {
        each_while(&self.order, start, count, reverse, each);
    }

    /// As [`super::SortedSetView::scan`]: in the order of the table.
    pub(super) fn scan(&self, cursor: u64, count: usize, mut each: impl FnMut(&[u8], f64)) -> u64 {
        self.members.scan(cursor, count, |element| each(element.member, take_score(element.payload).0))
    }
}

/// A chunk of elements in order on its way to the processor.
#[derive(Clone, Copy, Debug)]
pub(in crate::value) struct ScoreAhead<'a> {
    leaf: &'a ScoreLeaf,
}

impl ScoreAhead<'_> {
    /// Asks for the beginning of its elements, when the chunk's own struct has come. The processor sees by itself how a search goes on.
    #[inline]
    pub(in crate::value) fn elements(&self) {
        self.leaf.prefetch_elements();
    }
}

/// Hands on `count` elements from rank `start` on (or as many as there are), the last first if `reverse`, until `each` answers false.
fn each_while(
    order: &Tree<ScoreLeaf>,
    start: usize,
    count: usize,
    reverse: bool,
    mut each: impl FnMut(&[u8], f64) -> bool,
) {
    let count = count.min(order.len().saturating_sub(start));
    if count == 0 {
        return;
    }
    let mut left = count;
    if !reverse {
        let (leaves, mut skipped) = order.leaves_from_rank(start);
        for leaf in leaves {
            for (member, score) in leaf.iter().skip(skipped) {
                if !each(member, score) {
                    return;
                }
                left -= 1;
                if left == 0 {
                    return;
                }
            }
            skipped = 0;
        }
        return;
    }
    let (leaves, last) = order.leaves_back_from_rank(start + count - 1);
    let mut last = Some(last);
    let mut offsets = Vec::new();
    for leaf in leaves {
        leaf.offsets(&mut offsets);
        if let Some(last) = last.take() {
            offsets.truncate(last + 1);
        }
        for &offset in offsets.iter().rev() {
            let (member, score) = leaf.element(offset);
            if !each(member, score) {
                return;
            }
            left -= 1;
            if left == 0 {
                return;
            }
        }
    }
}

#[cfg(test)]
impl Large {
    /// Checks that both structures hold the same and count themselves right.
    pub(super) fn check(&self) {
        use crate::value::tree::Leaf;
        let mut used = 0;
        for leaf in self.order.leaves() {
            assert_eq!(leaf.iter().count(), leaf.len());
            used += leaf.used_bytes();
            for (member, score) in leaf.iter() {
                assert_eq!(self.score(member).map(f64::to_bits), Some(score.to_bits()));
            }
        }
        assert!(self.order.used_bytes() > used);
        assert_eq!(self.members.len(), self.order.len());
    }
}

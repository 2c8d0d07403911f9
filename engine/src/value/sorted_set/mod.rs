//! Sorted sets: members, each with a score, in order of score, then member (by their bytes).
//!
//! 1. Small ones are a listpack ([`packed`]). One that grows past `zset-max-listpack-entries`, or gets a member longer than
//!    `zset-max-listpack-value`, becomes a table and a tree ([`large`]) and stays so.
//! 2. A score is never NaN. -0 and 0 are equal; a large set keeps the sign, a small one does not, as in Redis.
//! 3. Ranks count from 0 at the lowest score.

mod large;
mod leaf;
mod packed;
mod score;
#[cfg(test)]
mod tests;

use super::ahead::{Ahead, Wanted};
use super::listpack::Listpack;
use super::part::{put_scored, take_scored};
use super::{BadValue, Shaping};
use crate::keyspace::size_class;
use crate::value::Debris;
use large::Large;
pub(super) use large::ScoreAhead;
use leaf::compare;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

/// A sorted set that owns its elements.
#[derive(Clone, Debug)]
pub struct SortedSet {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Packed(Vec<u8>),
    Large(Box<Large>),
}

impl Default for SortedSet {
    fn default() -> Self {
        SortedSet { form: Form::Packed(Vec::new()) }
    }
}

/// A sorted set as a command reads it.
#[derive(Clone, Copy, Debug)]
pub struct SortedSetView<'a> {
    form: FormView<'a>,
}

#[derive(Clone, Copy, Debug)]
enum FormView<'a> {
    Packed(Listpack<'a>),
    Large(&'a Large),
}

impl SortedSet {
    /// Takes it apart, to be freed in steps; what is packed is freed at once.
    pub fn into_debris(self, debris: &mut Vec<Box<dyn Debris>>) {
        if let Form::Large(large) = self.form {
            large.into_debris(debris);
        }
    }

    /// One whose packed bytes were somewhere else meanwhile.
    pub fn from_packed(bytes: Vec<u8>) -> SortedSet {
        SortedSet { form: Form::Packed(bytes) }
    }

    /// Its packed bytes, or the set back if it is not packed.
    ///
    /// # Errors
    /// The set, if it is large.
    pub fn into_packed(self) -> Result<Vec<u8>, SortedSet> {
        match self.form {
            Form::Packed(bytes) => Ok(bytes),
            Form::Large(_) => Err(self),
        }
    }

    /// Whether it is one packed run.
    pub fn is_packed(&self) -> bool {
        matches!(self.form, Form::Packed(_))
    }

    /// To read it.
    #[inline]
    pub fn view(&self) -> SortedSetView<'_> {
        let form = match &self.form {
            Form::Packed(bytes) => FormView::Packed(Listpack::new(bytes)),
            Form::Large(large) => FormView::Large(large),
        };
        SortedSetView { form }
    }

    /// Bytes it takes besides itself, by size classes.
    pub fn used_bytes(&self) -> usize {
        match &self.form {
            Form::Packed(bytes) if bytes.capacity() == 0 => 0,
            Form::Packed(bytes) => size_class(bytes.capacity()),
            Form::Large(large) => size_class(size_of::<Large>()) + large.used_bytes(),
        }
    }

    /// Looks a member up and gives it the score that `decide` makes of the one it has, if any: adds it, moves it, or leaves it alone.
    /// Says what the score was before.
    ///
    /// # Errors
    /// The score that the member has, if `decide` gave none: nothing was changed.
    pub fn update(
        &mut self,
        member: &[u8],
        shaping: &Shaping,
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> Result<Option<f64>, Option<f64>> {
        let bytes = match &mut self.form {
            Form::Packed(bytes) => bytes,
            Form::Large(large) => return large.update(member, decide),
        };
        let run = Listpack::new(bytes);
        let old = packed::score(run, member);
        let Some(score) = decide(old) else { return Err(old) };
        debug_assert!(!score.is_nan(), "a score is a number");
        if old.is_some() {
            packed::remove(bytes, member);
        } else if packed::len(run) >= shaping.zset_max_listpack_entries
            || member.len() > shaping.zset_max_listpack_value
        {
            return self.enlarge(shaping).update(member, |_| Some(score));
        }
        packed::insert(bytes, member, score);
        Ok(old)
    }

    /// Gives a member a score; says what it was before.
    pub fn set(&mut self, member: &[u8], score: f64, shaping: &Shaping) -> Option<f64> {
        self.update(member, shaping, |_| Some(score)).unwrap_or_else(|old| old)
    }

    /// Takes the form at once that it would have after `count` more elements, with members of up to `longest` bytes.
    pub fn expect(&mut self, count: usize, longest: usize, shaping: &Shaping) {
        let fits = self.view().len().saturating_add(count) <= shaping.zset_max_listpack_entries;
        if !fits || longest > shaping.zset_max_listpack_value {
            self.enlarge(shaping);
        }
    }

    /// Removes a member; says what its score was.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match &mut self.form {
            Form::Packed(bytes) => packed::remove(bytes, member),
            Form::Large(large) => large.remove(member),
        }
    }

    /// Removes `count` elements from rank `start` on, or as many as there are.
    pub fn remove_span(&mut self, start: usize, count: usize) {
        match &mut self.form {
            Form::Packed(bytes) => packed::remove_span(bytes, start, count),
            Form::Large(large) => large.remove_span(start, count),
        }
    }

    /// Adds the elements of one part of the form in snapshots: (f64 bits, varint length, member)*.
    ///
    /// # Errors
    /// [`BadValue`].
    pub fn decode_part(&mut self, mut part: &[u8], shaping: &Shaping) -> Result<(), BadValue> {
        let (mut count, mut longest, mut rest) = (0, 0, part);
        while !rest.is_empty() {
            let (_, member) = take_scored(&mut rest)?;
            (count, longest) = (count + 1, longest.max(member.len()));
        }
        self.expect(count, longest, shaping);
        let mut previous: Option<(f64, &[u8])> = None;
        let mut in_order = true;
        while !part.is_empty() {
            let (score, member) = take_scored(&mut part)?;
            if let Form::Large(large) = &mut self.form {
                in_order = in_order
                    && match previous {
                        Some(previous) => compare(previous, (score, member)).is_lt(),
                        None => large.ends_before(member, score),
                    };
                large.load(member, score, in_order)?;
                previous = Some((score, member));
            } else {
                self.update(member, shaping, |old| old.is_none().then_some(score)).map_err(|_| BadValue::Twice)?;
            }
        }
        Ok(())
    }

    /// Makes a small one large.
    fn enlarge(&mut self, shaping: &Shaping) -> &mut Large {
        if let Form::Packed(_) = self.form {
            let mut large = Box::new(Large::new(shaping.seed));
            self.view().each(0, usize::MAX, false, |member, score| {
                let _ = large.update(member, |_| Some(score));
            });
            self.form = Form::Large(large);
        }
        match &mut self.form {
            Form::Large(large) => large,
            Form::Packed(_) => unreachable!("it was made large"),
        }
    }
}

impl<'a> SortedSetView<'a> {
    /// See [`crate::value::ahead`].
    #[inline]
    pub fn ahead(self, wanted: Wanted<'_>) -> Option<Ahead<'a>> {
        let FormView::Large(large) = self.form else { return None };
        Some(large.ahead(wanted))
    }

    /// A packed one.
    #[inline]
    pub fn packed(bytes: &'a [u8]) -> Self {
        SortedSetView { form: FormView::Packed(Listpack::new(bytes)) }
    }

    /// Elements.
    #[inline]
    #[allow(clippy::len_without_is_empty)] // The keyspace holds no empty one.
    pub fn len(self) -> usize {
        match self.form {
            FormView::Packed(run) => packed::len(run),
            FormView::Large(large) => large.len(),
        }
    }

    /// The name that OBJECT ENCODING answers.
    pub fn encoding(self) -> &'static str {
        match self.form {
            FormView::Packed(_) => "listpack",
            FormView::Large(_) => "skiplist",
        }
    }

    /// The score of a member.
    #[inline]
    pub fn score(self, member: &[u8]) -> Option<f64> {
        match self.form {
            FormView::Packed(run) => packed::score(run, member),
            FormView::Large(large) => large.score(member),
        }
    }

    /// The rank of a member, and its score.
    pub fn rank(self, member: &[u8]) -> Option<(usize, f64)> {
        match self.form {
            FormView::Packed(run) => packed::rank(run, member),
            FormView::Large(large) => large.rank(member),
        }
    }

    /// Rank of the first element, from rank `from` on, that `holds` is not true of; it must be true of all before that one, and of none
    /// behind.
    pub fn partition(self, from: usize, holds: impl FnMut(&[u8], f64) -> bool) -> usize {
        match self.form {
            FormView::Packed(run) => packed::partition(run, from, holds),
            FormView::Large(large) => large.partition(holds).max(from),
        }
    }

    /// Hands on `count` elements from rank `start` on (or as many as there are), the last first if `reverse`.
    pub fn each(self, start: usize, count: usize, reverse: bool, mut each: impl FnMut(&[u8], f64)) {
        self.each_while(start, count, reverse, |member, score| {
            each(member, score);
            true
        });
    }

    /// [`SortedSetView::each`] until it answers false.
    pub fn each_while(self, start: usize, count: usize, reverse: bool, each: impl FnMut(&[u8], f64) -> bool) {
        let count = count.min(self.len().saturating_sub(start));
        match self.form {
            FormView::Packed(run) => packed::each_while(run, start, count, reverse, each),
            FormView::Large(large) => large.each_while(start, count, reverse, each),
        }
    }

    /// Hands on about `count` elements from a cursor on (0: the beginning); says the next cursor, 0 at the end. An element that is there
    /// all the time is handed on once.
    pub fn scan(self, cursor: u64, count: usize, each: impl FnMut(&[u8], f64)) -> u64 {
        match self.form {
            FormView::Packed(_) => {
                self.each(0, usize::MAX, false, each);
                0
            }
            FormView::Large(large) => large.scan(cursor, count, each),
        }
    }

    /// Appends the form in snapshots from element `from` on, about `budget` bytes; says where to go on.
    pub fn encode(self, from: u64, budget: usize, out: &mut Vec<u8>) -> Option<u64> {
        let (begin, mut next) = (out.len(), from);
        self.each_while(usize::try_from(from).unwrap_or(usize::MAX), usize::MAX, false, |member, score| {
            put_scored(out, member, score);
            next += 1;
            out.len() - begin < budget
        });
        (next < self.len() as u64).then_some(next)
    }

    /// A hash of the elements.
    pub fn digest(self) -> u128 {
        let mut hasher = SipHasher13::new();
        self.each(0, usize::MAX, false, |member, score| {
            hasher.write_u64((score + 0.0).to_bits()); // -0 as 0: the forms differ there.
            hasher.write_usize(member.len());
            hasher.write(member);
        });
        hasher.finish128().as_u128()
    }

    /// A sorted set of its own with the same elements; constant time for a large one.
    pub fn to_owned(self) -> SortedSet {
        match self.form {
            FormView::Packed(run) => SortedSet::from_packed(run.bytes().to_vec()),
            FormView::Large(large) => SortedSet { form: Form::Large(Box::new(large.clone())) },
        }
    }
}

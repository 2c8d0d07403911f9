//! Elements on their way from a collection to a sorted answer.

use super::pattern::Pattern;
use crate::command::{Call, CommandError};
use crate::log::pending::take_varint;
use crate::number::parse_double;
use crate::value::{CollectionView, Kind};
use std::cmp::Ordering;
use std::ops::Range;

/// Bytes of a collection that are taken over at a time.
const SLICE_LEN: usize = 64 * 1024;

/// Some elements, copied: looking up what they lead to may change the keyspace.
#[derive(Clone, Debug, Default)]
pub(super) struct Elements {
    /// Elements, and strings to compare in their place.
    bytes: Vec<u8>,
    places: Vec<Range<usize>>,
}

/// How elements are compared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order<'a> {
    pub(super) by: Option<Pattern<'a>>,
    /// As strings; else as numbers.
    pub(super) alpha: bool,
    pub(super) descending: bool,
    /// The order in which elements come says nothing: where they compare equal, their bytes decide.
    pub(super) unordered: bool,
}

/// What an element is compared by.
#[derive(Clone, Debug)]
enum Weight {
    Number(f64),
    /// A place in the bytes; a missing one comes first.
    Text(Option<Range<usize>>),
}

impl Elements {
    /// Elements of a list, set or sorted set: those of a range of ranks. For a set it must be all.
    pub(super) fn of_ranks(view: CollectionView<'_>, ranks: Range<usize>) -> Elements {
        let scored = view.kind() == Kind::SortedSet;
        let (mut elements, mut bytes) = (Elements::default(), Vec::new());
        let mut from = (!ranks.is_empty()).then_some(ranks.start as u64);
        while let Some(at) = from {
            bytes.clear();
            from = view.encode(at, SLICE_LEN, &mut bytes);
            let mut rest = bytes.as_slice();
            while elements.len() < ranks.len() {
                let Some(element) = take_element(&mut rest, scored) else { break };
                elements.push(element);
            }
            if elements.len() == ranks.len() {
                break;
            }
        }
        elements
    }

    fn push(&mut self, element: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(element);
        self.places.push(start..self.bytes.len());
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.places.iter().map(|place| &self.bytes[place.clone()])
    }

    pub(super) fn reverse(&mut self) {
        self.places.reverse();
    }

    /// Drops all but a range.
    pub(super) fn keep(&mut self, wanted: Range<usize>) {
        self.places.truncate(wanted.end);
        self.places.drain(..wanted.start);
    }

    /// Puts the elements in order and keeps those that are wanted.
    ///
    /// # Errors
    /// What is to be compared as a number is none.
    pub(super) fn sort(
        &mut self,
        call: &mut Call<'_>,
        order: &Order<'_>,
        wanted: Range<usize>,
        for_record: bool,
    ) -> Result<(), CommandError> {
        let mut weighed: Vec<(usize, Range<usize>, Weight)> = Vec::with_capacity(self.len());
        let (mut name, mut texts, mut wrong) = (Vec::new(), Vec::new(), None);
        for (index, place) in self.places.iter().enumerate() {
            let element = &self.bytes[place.clone()];
            let weight = match order.by {
                None if order.alpha => Ok(Weight::Text(Some(place.clone()))),
                None => number(element).map(Weight::Number),
                Some(by) => by.look_up(call, element, for_record, &mut name, |value| match value {
                    Some(text) if order.alpha => {
                        let start = self.bytes.len() + texts.len();
                        texts.extend_from_slice(text);
                        Ok(Weight::Text(Some(start..start + text.len())))
                    }
                    Some(text) => number(text).map(Weight::Number),
                    None => Ok(if order.alpha { Weight::Text(None) } else { Weight::Number(0.0) }),
                }),
            };
            match weight {
                Ok(weight) => weighed.push((index, place.clone(), weight)),
                // The rest is looked up all the same: what misses is told as a keyspace event, as in Redis.
                Err(error) => wrong = Some(error),
            }
        }
        if let Some(error) = wrong {
            return Err(error);
        }
        self.bytes.append(&mut texts);
        let text = |place: &Range<usize>| &self.bytes[place.clone()];
        let compare = |one: &(usize, Range<usize>, Weight), other: &(usize, Range<usize>, Weight)| {
            let by_weight = match (&one.2, &other.2) {
                // Numbers that are equal leave it to the bytes.
                (Weight::Number(a), Weight::Number(b)) => {
                    a.partial_cmp(b).unwrap_or(Ordering::Equal).then_with(|| text(&one.1).cmp(text(&other.1)))
                }
                (Weight::Text(a), Weight::Text(b)) => a.as_ref().map(text).cmp(&b.as_ref().map(text)),
                _ => Ordering::Equal,
            };
            let by_weight =
                if order.unordered { by_weight.then_with(|| text(&one.1).cmp(text(&other.1))) } else { by_weight };
            if order.descending { by_weight.reverse() } else { by_weight }.then(one.0.cmp(&other.0))
        };
        // No two compare equal. What comes behind the wanted ones needs no order.
        if wanted.end < weighed.len() && !wanted.is_empty() {
            weighed.select_nth_unstable_by(wanted.end, compare);
            weighed.truncate(wanted.end);
        }
        weighed.sort_unstable_by(compare);
        self.places = weighed.into_iter().map(|(_, place, _)| place).collect();
        self.keep(wanted);
        Ok(())
    }
}

/// Takes an element off the form that snapshots have of lists and sets, or, behind a score, of sorted sets.
fn take_element<'a>(bytes: &mut &'a [u8], scored: bool) -> Option<&'a [u8]> {
    if scored {
        bytes.split_off(..8)?;
    }
    let len = take_varint(bytes)?;
    bytes.split_off(..usize::try_from(len).ok()?)
}

/// A number as SORT reads it: decimal, not hexadecimal.
fn number(text: &[u8]) -> Result<f64, CommandError> {
    let error = || CommandError::Text("ERR One or more scores can't be converted into double".into());
    if text.iter().any(|byte| byte | 0x20 == b'x') {
        return Err(error());
    }
    parse_double(text).ok_or_else(error)
}

//! Reading a list, however it is kept.

use super::{List, Nodes};
use crate::value::listpack::{Element, IntegerText, Listpack, Needle};
use crate::value::part::put_bytes;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;
use std::ops::Range;

/// A list, to read.
#[derive(Clone, Copy, Debug)]
pub struct ListView<'a>(pub(super) Kept<'a>);

#[derive(Clone, Copy, Debug)]
pub(super) enum Kept<'a> {
    Packed(Listpack<'a>),
    Nodes(&'a Nodes),
}

impl<'a> ListView<'a> {
    /// A list that is one packed run.
    #[inline]
    pub fn packed(bytes: &'a [u8]) -> Self {
        ListView(Kept::Packed(Listpack::new(bytes)))
    }

    /// Elements.
    #[inline]
    pub fn len(self) -> usize {
        match self.0 {
            Kept::Packed(run) => run.len(),
            Kept::Nodes(nodes) => nodes.tree.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The name that OBJECT ENCODING answers.
    pub fn encoding(self) -> &'static str {
        match self.0 {
            Kept::Packed(_) => "listpack",
            Kept::Nodes(_) => "quicklist",
        }
    }

    /// Gives `see` element `index`.
    #[inline]
    pub fn get<R>(self, index: usize, see: impl FnOnce(Element<'_>) -> R) -> Option<R> {
        match self.0 {
            Kept::Packed(run) => run.get(index).map(see),
            Kept::Nodes(nodes) if index < nodes.tree.len() => {
                let (node, place) = nodes.tree.find_rank(index);
                Listpack::new(&node.run()).get(place).map(see)
            }
            Kept::Nodes(_) => None,
        }
    }

    /// Gives `see` the elements of a range of indexes, from either end of it, until it says no.
    pub fn visit(self, range: Range<usize>, backward: bool, mut see: impl FnMut(Element<'_>) -> bool) {
        self.pieces(range, backward, &mut |run, _, places| {
            let at = run.offset(if backward { places.end } else { places.start }).unwrap_or(run.end());
            if backward {
                run.iter_to(at).rev().take(places.len()).all(&mut see)
            } else {
                run.iter_from(at).take(places.len()).all(&mut see)
            }
        });
    }

    /// Gives `see` the indexes within a range, from either end of it, of elements that are `needle`, until it says no.
    pub fn find(self, needle: &Needle<'_>, range: Range<usize>, backward: bool, mut see: impl FnMut(usize) -> bool) {
        self.pieces(range, backward, &mut |run, start, places| {
            let at = run.offset(if backward { places.end } else { places.start }).unwrap_or(run.end());
            let mut at = at;
            if backward {
                for place in places.rev() {
                    at = run.previous(at).unwrap_or(run.start());
                    if needle.is_at(run, at) && !see(start + place) {
                        return false;
                    }
                }
            } else {
                for place in places {
                    if needle.is_at(run, at) && !see(start + place) {
                        return false;
                    }
                    at = run.next(at);
                }
            }
            true
        });
    }

    /// Gives `see` the runs that a range of indexes is in, each with the index of its first element and the places of the range in it,
    /// until it says no.
    fn pieces(
        self,
        range: Range<usize>,
        backward: bool,
        see: &mut dyn FnMut(Listpack<'_>, usize, Range<usize>) -> bool,
    ) {
        let range = range.start..range.end.min(self.len());
        if range.is_empty() {
            return;
        }
        let nodes = match self.0 {
            Kept::Packed(run) => {
                see(run, 0, range);
                return;
            }
            Kept::Nodes(nodes) => nodes,
        };
        if backward {
            let (leaves, place) = nodes.tree.leaves_back_from_rank(range.end - 1);
            let mut start_above = None;
            for node in leaves {
                let start = match start_above {
                    None => range.end - 1 - place,
                    Some(above) => above - node.count(),
                };
                let places = range.start.max(start) - start..range.end.min(start + node.count()) - start;
                if !see(Listpack::new(&node.run()), start, places) || start <= range.start {
                    return;
                }
                start_above = Some(start);
            }
        } else {
            let (leaves, place) = nodes.tree.leaves_from_rank(range.start);
            let mut start = range.start - place;
            for node in leaves {
                let places = range.start.max(start) - start..range.end.min(start + node.count()) - start;
                if !see(Listpack::new(&node.run()), start, places) {
                    return;
                }
                start += node.count();
                if start >= range.end {
                    return;
                }
            }
        }
    }

    /// Appends its form in snapshots, from element `from` on, about `budget` bytes of it; says where to go on, `None` at the end.
    pub fn encode(self, from: u64, budget: usize, out: &mut Vec<u8>) -> Option<u64> {
        let len = self.len();
        let mut at = usize::try_from(from).unwrap_or(usize::MAX).min(len);
        let end = out.len().saturating_add(budget);
        self.visit(at..len, false, |element| {
            let mut text = IntegerText::new();
            let bytes = element.as_bytes(&mut text);
            put_bytes(out, bytes);
            at += 1;
            out.len() < end
        });
        (at < len).then_some(at as u64)
    }

    /// A hash of its elements and their order.
    pub fn digest(self) -> u128 {
        let mut hasher = SipHasher13::new();
        self.visit(0..usize::MAX, false, |element| {
            let mut text = IntegerText::new();
            let bytes = element.as_bytes(&mut text);
            hasher.write_usize(bytes.len());
            hasher.write(bytes);
            true
        });
        hasher.finish128().as_u128()
    }

    /// A list that owns the same elements; constant time for a large one.
    pub fn to_owned(self) -> List {
        match self.0 {
            Kept::Packed(run) => List::from_packed(run.bytes().to_vec()),
            Kept::Nodes(nodes) => List::from_nodes(nodes.clone()),
        }
    }
}

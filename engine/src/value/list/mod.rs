//! Lists: one packed run while it is small, else a tree of such runs.
//!
//! 1. A list is one run (`listpack`) until a change would take it over `list-max-listpack-size`, then a tree (`quicklist`), until what is
//!    left in one chunk is half of that. The changes that are asked for decide, by Redis' rules, so that OBJECT ENCODING agrees.
//! 2. No chunk is larger than the limit, but for one of a single element that is larger itself.
//! 3. With `list-compress-depth` n, all but the n chunks at either end are compressed where that pays; a change of one opens it, and
//!    closes it again.

mod node;
#[cfg(test)]
mod tests;
mod view;

pub use view::ListView;

use super::listpack::{self, Element, Listpack, Needle};
use super::part::take_bytes;
use super::tree::Tree;
use super::{BadValue, Shaping};
use crate::keyspace::size_class;
use crate::value::Debris;
use node::{Limit, Node};
use std::ops::Range;
use view::Kept;

/// A list.
#[derive(Clone, Debug)]
pub struct List(Form);

#[derive(Clone, Debug)]
enum Form {
    Packed(Vec<u8>),
    Nodes(Box<Nodes>),
}

/// A large list.
#[derive(Clone, Debug)]
struct Nodes {
    tree: Tree<Node>,
}

impl Default for List {
    fn default() -> Self {
        List(Form::Packed(Vec::new()))
    }
}

fn limit_of(shaping: &Shaping) -> Limit {
    Limit::new(shaping.list_max_listpack_size, shaping.list_alone_len_min)
}

impl List {
    /// Takes it apart, to be freed in steps; what is packed is freed at once.
    pub fn into_debris(self, debris: &mut Vec<Box<dyn Debris>>) {
        if let Form::Nodes(nodes) = self.0 {
            debris.push(Box::new(nodes.tree.into_remains()));
        }
    }

    /// A list whose packed bytes were somewhere else meanwhile.
    pub fn from_packed(bytes: Vec<u8>) -> List {
        List(Form::Packed(bytes))
    }

    fn from_nodes(nodes: Nodes) -> List {
        List(Form::Nodes(Box::new(nodes)))
    }

    /// Its packed bytes.
    ///
    /// # Errors
    /// The list, if it is not one run.
    pub fn into_packed(self) -> Result<Vec<u8>, List> {
        match self.0 {
            Form::Packed(bytes) => Ok(bytes),
            nodes @ Form::Nodes(_) => Err(List(nodes)),
        }
    }

    /// Whether it is one run.
    pub fn is_packed(&self) -> bool {
        matches!(self.0, Form::Packed(_))
    }

    /// To read it.
    pub fn view(&self) -> ListView<'_> {
        match &self.0 {
            Form::Packed(bytes) => ListView::packed(bytes),
            Form::Nodes(nodes) => ListView(Kept::Nodes(nodes)),
        }
    }

    /// Elements.
    #[allow(clippy::len_without_is_empty)] // The keyspace holds no empty one.
    pub fn len(&self) -> usize {
        self.view().len()
    }

    /// Bytes it takes besides itself, by size classes.
    pub fn used_bytes(&self) -> usize {
        match &self.0 {
            Form::Packed(bytes) if bytes.capacity() == 0 => 0,
            Form::Packed(bytes) => size_class(bytes.capacity()),
            Form::Nodes(nodes) => size_class(size_of::<Nodes>()) + nodes.tree.used_bytes(),
        }
    }

    /// Adds elements, one after the other, at the front or at the back.
    pub fn push<'e>(&mut self, front: bool, elements: impl Iterator<Item = &'e [u8]> + Clone, shaping: &Shaping) {
        let (bytes, count) =
            elements.clone().fold((0, 0), |(bytes, count), element| (bytes + element.len(), count + 1));
        self.expect(bytes, count, shaping);
        match &mut self.0 {
            Form::Packed(run) if front => elements.for_each(|element| listpack::push_front(run, element)),
            Form::Packed(run) => elements.for_each(|element| listpack::push_back(run, element)),
            Form::Nodes(nodes) => {
                let limit = limit_of(shaping);
                for element in elements {
                    let place = if front { 0 } else { nodes.tree.len() };
                    if nodes.insert(place, element.into(), limit) {
                        nodes.settle(shaping.list_compress_depth, None);
                    }
                }
            }
        }
    }

    /// Puts an element in front of element `index`, or at the end if that is the length.
    pub fn insert(&mut self, index: usize, element: &[u8], shaping: &Shaping) {
        self.expect(element.len(), 1, shaping);
        match &mut self.0 {
            Form::Packed(run) => {
                let Some(at) = Listpack::new(run).offset(index) else { return };
                listpack::insert(run, at, element);
            }
            Form::Nodes(nodes) => {
                nodes.insert(index, element.into(), limit_of(shaping));
                nodes.settle(shaping.list_compress_depth, Some(index));
            }
        }
    }

    /// Puts another element in place of element `index`, which exists.
    pub fn set(&mut self, index: usize, element: &[u8], shaping: &Shaping) {
        self.expect(element.len(), 1, shaping);
        match &mut self.0 {
            Form::Packed(run) => {
                let view = Listpack::new(run);
                if let Some(at) = view.offset(index).filter(|at| *at < view.end()) {
                    listpack::replace(run, at, element);
                }
            }
            Form::Nodes(nodes) => {
                let limit = limit_of(shaping);
                nodes.tree.edit_rank_spilling(index, |node, place, spill| {
                    node.replace(place, element.into(), limit, spill);
                });
                nodes.settle(shaping.list_compress_depth, Some(index));
            }
        }
        self.shrink(shaping);
    }

    /// Removes a range of indexes.
    pub fn remove(&mut self, range: Range<usize>, shaping: &Shaping) {
        match &mut self.0 {
            Form::Packed(run) => {
                listpack::remove_range(run, range.start, range.len());
            }
            Form::Nodes(nodes) if range.len() == 1 && range.end <= nodes.tree.len() => {
                nodes.tree.edit_rank(range.start, |node, place| node.cut(place..place + 1));
                nodes.settle(shaping.list_compress_depth, Some(range.start));
            }
            Form::Nodes(nodes) => {
                let start = range.start;
                nodes.tree.remove_ranks(range, Node::cut);
                nodes.settle(shaping.list_compress_depth, Some(start));
            }
        }
        self.shrink(shaping);
    }

    /// Removes up to `limit` elements equal to `element`, from the front on or from the back; says how many there were.
    pub fn remove_equal(&mut self, element: &[u8], limit: usize, backward: bool, shaping: &Shaping) -> usize {
        let needle = Needle::new(element);
        let removed = match &mut self.0 {
            Form::Packed(run) => {
                let offsets = offsets_of(Listpack::new(run), &needle, limit, backward);
                listpack::remove_all(run, &offsets);
                offsets.len()
            }
            Form::Nodes(nodes) => nodes.remove_equal(&needle, limit, backward, shaping.list_compress_depth),
        };
        if removed > 0 {
            self.shrink(shaping);
        }
        removed
    }

    /// Becomes a tree if so many more bytes, in so many elements, are too much for one run.
    fn expect(&mut self, bytes: usize, count: usize, shaping: &Shaping) {
        let Form::Packed(run) = &mut self.0 else { return };
        let limit = limit_of(shaping);
        let view = Listpack::new(run);
        if limit.exceeded(view.entries().len() + bytes, view.len() + count) {
            let node = Node::new(std::mem::take(run), limit);
            self.0 = Form::Nodes(Box::new(Nodes { tree: Tree::new(node) }));
        }
    }

    /// Becomes one run if little is left.
    fn shrink(&mut self, shaping: &Shaping) {
        let Form::Nodes(nodes) = &self.0 else { return };
        let (first, _) = nodes.tree.find_rank(0);
        if first.count() != nodes.tree.len() {
            return;
        }
        let run = first.run();
        if limit_of(shaping).is_far(Listpack::new(&run).entries().len(), first.count()) {
            self.0 = Form::Packed(run.into_owned());
        }
    }

    /// Adds the elements of one part of its form in snapshots.
    ///
    /// # Errors
    /// [`BadValue`].
    pub fn decode_part(&mut self, mut part: &[u8], shaping: &Shaping) -> Result<(), BadValue> {
        while !part.is_empty() {
            let element = take_bytes(&mut part)?;
            self.push(false, std::iter::once(element), shaping);
        }
        Ok(())
    }
}

/// Offsets of up to `limit` entries that are `needle`, in order, from the front on or the last ones.
fn offsets_of(run: Listpack<'_>, needle: &Needle<'_>, limit: usize, backward: bool) -> Vec<usize> {
    let mut offsets = Vec::new();
    let mut from = run.start();
    while let Some(at) = run.find(from, needle, 1) {
        if !backward && offsets.len() == limit {
            break;
        }
        offsets.push(at);
        from = run.next(at);
    }
    let surplus = offsets.len().saturating_sub(limit);
    offsets.drain(..surplus);
    offsets
}

impl Nodes {
    /// Says whether chunks were added.
    fn insert(&mut self, index: usize, element: Element<'_>, limit: Limit) -> bool {
        self.tree.edit_rank_spilling(index, |node, place, spill| {
            node.insert(place, element, limit, spill);
            !spill.is_empty()
        })
    }

    fn remove_equal(&mut self, needle: &Needle<'_>, limit: usize, backward: bool, depth: usize) -> usize {
        let mut removed = 0;
        // Elements in front of, or behind, this one have been looked at.
        let mut at = if backward { self.tree.len() } else { 0 };
        while removed < limit && if backward { at > 0 } else { at < self.tree.len() } {
            let (node, place) = self.tree.find_rank(if backward { at - 1 } else { at });
            let (run, count) = (node.run(), node.count());
            let mut offsets = offsets_of(Listpack::new(&run), needle, usize::MAX, false);
            let start = if backward { at - 1 - place } else { at - place };
            // A chunk that was merged holds elements that have been looked at, none of which is equal.
            if offsets.len() > limit - removed {
                let surplus = offsets.len() - (limit - removed);
                if backward {
                    offsets.drain(..surplus)
                } else {
                    offsets.drain(limit - removed..)
                };
            }
            if !offsets.is_empty() {
                drop(run);
                self.tree.edit_rank(start, |node, _| node.remove_all(&offsets));
                removed += offsets.len();
                self.settle(depth, Some(start));
            }
            at = if backward { start } else { start + count - offsets.len() };
        }
        removed
    }

    /// Compresses what is to be compressed around element `index`, and around what is `depth` chunks away from an end; opens what has
    /// come nearer.
    fn settle(&mut self, depth: usize, index: Option<usize>) {
        if depth == 0 {
            return;
        }
        let len = self.tree.len();
        let front = self.tree.leaves().take(depth).map(Node::count).sum::<usize>();
        let back = self.tree.leaves_back().take(depth).map(Node::count).sum::<usize>();
        let inner = front..len.saturating_sub(back);
        let around = index.map(|index| index.saturating_sub(1)..=index + 1).into_iter().flatten();
        let ends = [inner.start, inner.end.wrapping_sub(1)].into_iter();
        for rank in around.chain(ends).filter(|rank| inner.contains(rank)) {
            if !self.tree.find_rank(rank).0.is_compressed() {
                self.tree.edit_rank(rank, |node, _| node.compress());
            }
        }
        let mut outer = Vec::new();
        let mut start = 0;
        for node in self.tree.leaves().take(depth) {
            outer.extend(node.is_compressed().then_some(start));
            start += node.count();
        }
        let mut end = len;
        for node in self.tree.leaves_back().take(depth) {
            end -= node.count();
            outer.extend(node.is_compressed().then_some(end));
        }
        for rank in outer {
            self.tree.edit_rank(rank, |node, _| node.decompress());
        }
    }
}

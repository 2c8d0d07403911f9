//! Streams: entries in order of their IDs, and groups of consumers that share the reading.
//!
//! `id` (what an ID is), `node` (a run of entries, packed), `sorted` (elements in order of their keys, shared with clones),
//! `group` (consumer groups and what they have delivered but not seen acknowledged), `trim`, `snapshot` (the form in files).
//!
//! 1. The newest node is the stream's own, all others are in a tree: adding an entry looks at no other node.
//! 2. Nodes never join or divide: an entry stays in the node it was added to, since `MAXLEN ~` drops whole nodes.
//! 3. `last_id` never goes back, whatever is deleted.
//! 4. `clone` takes constant time; what is changed later is copied in pieces of bounded size.

mod group;
mod id;
mod node;
mod snapshot;
mod sorted;
#[cfg(test)]
mod tests;
mod trim;

pub use group::{Consumer, ConsumerNumber, Group, Pending};
pub use id::{Id, IdRequest, IdText, until_nul};
pub use node::{Entry, for_each_pair};
pub use trim::{Threshold, Trim};

use super::Shaping;
use crate::keyspace::size_class;
use crate::limits::STREAM_NODE_LEN_MAX;
use crate::value::Debris;
use node::Node;
use sorted::{Keyed, Sorted};
use std::sync::Arc;

/// A stream.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// All nodes but the newest, by the first ID they ever had.
    sealed: Sorted<Arc<Node>>,
    /// The newest, which takes new entries. There is one if there is any.
    tail: Option<Arc<Node>>,
    len: u64,
    last_id: Id,
    max_deleted_id: Id,
    entries_added: u64,
    groups: Sorted<Arc<Group>>,
    /// What nodes and groups take on the heap, the trees' own chunks not counted.
    heap_bytes: usize,
}

impl Keyed for Arc<Node> {
    type Key = Id;
    type Separator = Id;

    #[inline]
    fn key(&self) -> &Id {
        self.first_ref()
    }

    fn separator(&self) -> Id {
        self.first()
    }
}

impl Keyed for Arc<Group> {
    type Key = [u8];
    type Separator = Box<[u8]>;

    #[inline]
    fn key(&self) -> &[u8] {
        self.name()
    }

    fn separator(&self) -> Box<[u8]> {
        self.name().into()
    }

    fn separator_bytes(separator: &Box<[u8]>) -> usize {
        if separator.is_empty() { 0 } else { size_class(separator.len()) }
    }
}

/// Why an entry cannot be added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CannotAdd {
    /// The last possible ID is taken.
    Exhausted,
    /// The ID is not above the last one.
    NotAbove,
    /// Fields and values are longer than a node may be.
    TooLarge,
}

/// Reference counts in front of what an `Arc` holds.
const ARC_LEN: usize = 2 * size_of::<usize>();

#[inline]
fn node_bytes(node: &Node) -> usize {
    size_class(ARC_LEN + size_of::<Node>()) + node.heap_bytes()
}

fn group_bytes(group: &Group) -> usize {
    size_class(ARC_LEN + size_of::<Group>()) + group.heap_bytes()
}

impl Stream {
    /// Takes it apart, to be freed in steps; what is packed is freed at once.
    pub fn into_debris(self, debris: &mut Vec<Box<dyn Debris>>) {
        self.sealed.into_debris(debris);
        self.groups.into_debris(debris);
    }

    /// Entries.
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is none. An empty stream stays.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The ID of the newest entry that there ever was, or a later one that XSETID set.
    pub fn last_id(&self) -> Id {
        self.last_id
    }

    /// The highest ID of an entry that was deleted alone; `0-0` if none was.
    pub fn max_deleted_id(&self) -> Id {
        self.max_deleted_id
    }

    /// How many entries were ever added.
    pub fn entries_added(&self) -> u64 {
        self.entries_added
    }

    /// The ID of the oldest entry; `0-0` without any.
    pub fn first_id(&self) -> Id {
        let oldest = self.sealed.first().or(self.tail.as_ref());
        oldest.and_then(|node| node.entries().next()).map_or(Id::MIN, |entry| entry.id)
    }

    /// The ID of the newest entry that is still there.
    pub fn newest_id(&self) -> Option<Id> {
        self.tail.as_ref()?.entries_backward().next().map(|entry| entry.id)
    }

    /// OBJECT ENCODING's name.
    pub fn encoding(&self) -> &'static str {
        "stream"
    }

    /// What it takes on the heap.
    #[inline]
    pub fn used_bytes(&self) -> usize {
        self.heap_bytes + self.sealed.heap_bytes() + self.groups.heap_bytes()
    }

    /// Which ID an entry would get, or why none can be added.
    ///
    /// # Errors
    /// [`CannotAdd`].
    #[inline]
    pub fn id_for(&self, request: IdRequest, now_ms: u64) -> Result<Id, CannotAdd> {
        let last = self.last_id;
        if last == Id::MAX {
            return Err(CannotAdd::Exhausted);
        }
        let id = match request {
            IdRequest::Any if now_ms > last.ms => Id { ms: now_ms, seq: 0 },
            IdRequest::Any => last.next().ok_or(CannotAdd::Exhausted)?,
            IdRequest::Within(ms) if ms == last.ms => {
                Id { ms, seq: last.seq.checked_add(1).ok_or(CannotAdd::NotAbove)? }
            }
            IdRequest::Within(ms) => Id { ms, seq: 0 },
            IdRequest::Exactly(id) => id,
        };
        if id > last { Ok(id) } else { Err(CannotAdd::NotAbove) }
    }

    /// Whether fields and values of these lengths can be in one entry.
    ///
    /// # Errors
    /// [`CannotAdd::TooLarge`].
    #[inline]
    pub fn check_size(pairs: &[&[u8]]) -> Result<(), CannotAdd> {
        let len: usize = pairs.iter().map(|word| word.len()).sum();
        if len <= STREAM_NODE_LEN_MAX { Ok(()) } else { Err(CannotAdd::TooLarge) }
    }

    /// Adds an entry, whose ID comes from [`Stream::id_for`], of fields and values by turns, which [`Stream::check_size`] has let through.
    #[inline]
    pub fn add(&mut self, id: Id, pairs: &[&[u8]], shaping: &Shaping) {
        debug_assert!(id > self.last_id && !pairs.is_empty() && pairs.len().is_multiple_of(2));
        self.append(id, pairs, shaping);
        self.last_id = id;
        self.entries_added += 1;
    }

    #[inline]
    fn append(&mut self, id: Id, pairs: &[&[u8]], shaping: &Shaping) {
        let len: usize = pairs.iter().map(|word| word.len()).sum();
        self.len += 1;
        match &mut self.tail {
            Some(tail) if !tail.is_full(len, shaping) => {
                // A copy's buffer is no larger than it must be.
                let before = tail.heap_bytes();
                let tail = Arc::make_mut(tail);
                tail.push(id, pairs);
                self.heap_bytes += tail.heap_bytes();
                self.heap_bytes -= before;
            }
            _ => {
                self.seal_tail();
                let node = Node::new(id, pairs);
                self.heap_bytes += node_bytes(&node);
                self.tail = Some(Arc::new(node));
            }
        }
    }

    /// Puts the newest node to the others.
    fn seal_tail(&mut self) {
        let Some(mut tail) = self.tail.take() else { return };
        // One that a clone shares stays as it is: copying it would cost more than the room it gives back.
        if let Some(node) = Arc::get_mut(&mut tail) {
            self.heap_bytes -= node.heap_bytes();
            node.seal();
            self.heap_bytes += node.heap_bytes();
        }
        self.sealed.insert(tail);
    }

    /// Removes the entry with this ID; says whether it was there.
    pub fn delete(&mut self, id: Id) -> bool {
        let Some(node) = self.node_of(id).filter(|node| node.get(id).is_some()) else { return false };
        let first = node.first();
        self.edit_node(first, |node| node.remove(id));
        self.len -= 1;
        self.max_deleted_id = self.max_deleted_id.max(id);
        true
    }

    /// The node that has the entry with this ID, if any has.
    fn node_of(&self, id: Id) -> Option<&Arc<Node>> {
        match &self.tail {
            Some(tail) if id >= tail.first() => Some(tail),
            _ => self.sealed.floor(&id),
        }
    }

    /// Changes the node whose first ID is `first`; drops it if no entry is left.
    fn edit_node<T>(&mut self, first: Id, edit: impl FnOnce(&mut Node) -> T) -> T {
        let change = |node: &mut Arc<Node>| {
            let before = node_bytes(node);
            let node = Arc::make_mut(node);
            let result = edit(node);
            (result, before, node_bytes(node), node.len() == 0)
        };
        let changed = match &mut self.tail {
            Some(tail) if tail.first() == first => Some(change(tail)),
            _ => self.sealed.edit(&first, change),
        };
        let (result, before, after, gone) = changed.expect("the node was found by a look just before");
        self.heap_bytes = self.heap_bytes - before + after;
        if gone {
            self.drop_node(first);
        }
        result
    }

    fn drop_node(&mut self, first: Id) {
        let node = match &self.tail {
            // The node before it takes new entries again, if it has room, as in Redis.
            Some(tail) if tail.first() == first => std::mem::replace(&mut self.tail, self.sealed.pop_last()),
            _ => self.sealed.remove(&first),
        };
        self.heap_bytes -= node.map_or(0, |node| node_bytes(&node));
    }

    /// The entry with this ID.
    pub fn get(&self, id: Id) -> Option<Entry<'_>> {
        self.node_of(id)?.get(id)
    }

    /// Nodes from the one that may have `start` on.
    fn nodes_from(&self, start: Id) -> impl Iterator<Item = &Node> {
        let first = self.sealed.floor(&start).map_or(Id::MIN, |node| node.first());
        let first = if self.tail.as_ref().is_some_and(|tail| tail.first() <= start) { Id::MAX } else { first };
        self.sealed.from(&first).chain(&self.tail).map(|node| &**node)
    }

    /// Entries with IDs from `start` to `end`, both included, oldest first.
    pub fn range(&self, start: Id, end: Id) -> impl Iterator<Item = Entry<'_>> {
        let entries = self.nodes_from(start).flat_map(|node| node.entries());
        entries.skip_while(move |entry| entry.id < start).take_while(move |entry| entry.id <= end)
    }

    /// [`Stream::range`], newest first.
    pub fn range_backward(&self, start: Id, end: Id) -> impl Iterator<Item = Entry<'_>> {
        let tail = self.tail.iter().filter(move |tail| tail.first() <= end);
        let entries = tail.chain(self.sealed.up_to(&end)).flat_map(|node| node.entries_backward());
        entries.skip_while(move |entry| entry.id > end).take_while(move |entry| entry.id >= start)
    }

    /// Entries with IDs from `start` to `end`, both included, but not more than `max`: whole nodes are counted at once.
    pub fn count(&self, start: Id, end: Id, max: usize) -> usize {
        let mut count = 0;
        if start > end {
            return 0;
        }
        for node in self.nodes_from(start) {
            if count >= max || node.first() > end {
                break;
            }
            count += match end.next() {
                Some(bound) if node.last() > end => node.count_before(bound),
                _ => node.len(),
            };
            count -= if node.first() < start { node.count_before(start) } else { 0 };
        }
        count.min(max)
    }

    /// Nodes, as XINFO counts them.
    pub fn nodes(&self) -> usize {
        self.sealed.len() + usize::from(self.tail.is_some())
    }

    /// Nodes of the radix tree in which Redis would keep the same nodes by the 16 bytes of their first IDs: a leaf for each, a node for each
    /// place where keys part, and one for each run of bytes without a choice.
    pub fn radix_nodes(&self) -> usize {
        let keys = self.sealed.iter().chain(&self.tail).map(|node| node.first());
        radix_nodes(keys)
    }

    /// Sets what XSETID sets.
    pub fn set_ids(&mut self, last: Id, entries_added: Option<u64>, max_deleted: Option<Id>) {
        self.last_id = last;
        self.entries_added = entries_added.unwrap_or(self.entries_added);
        self.max_deleted_id = max_deleted.unwrap_or(self.max_deleted_id);
    }

    /// Whether an entry with an ID from `start` on was deleted alone, as far as is known.
    fn has_gaps_from(&self, start: Id) -> bool {
        !self.is_empty() && self.max_deleted_id != Id::MIN && start <= self.max_deleted_id
    }

    /// How many entries were ever added up to `id`, if that can be said.
    pub fn added_up_to(&self, id: Id) -> Option<u64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        if self.is_empty() && id <= self.last_id || id == self.last_id {
            return Some(self.entries_added);
        }
        let gap_ahead = id != Id::MIN && id < self.max_deleted_id;
        if id > self.last_id || gap_ahead {
            return None;
        }
        let first = self.first_id();
        if self.max_deleted_id != Id::MIN && self.max_deleted_id >= first {
            return None;
        }
        match id.cmp(&first) {
            std::cmp::Ordering::Less => Some(self.entries_added.saturating_sub(self.len)),
            std::cmp::Ordering::Equal => Some(self.entries_added.saturating_sub(self.len) + 1),
            std::cmp::Ordering::Greater => None,
        }
    }
}

/// See [`Stream::radix_nodes`]. Every key is 16 bytes; `keys` are in order.
fn radix_nodes(keys: impl Iterator<Item = Id>) -> usize {
    const KEY_LEN: usize = 16;
    let mut nodes = 0;
    // Depths at which keys part, on the way to the last key; each is a node.
    let mut partings: Vec<usize> = Vec::with_capacity(KEY_LEN);
    // Closes what lies below `depth`; `end` is where the run of bytes above the next key's leaf or parting ends.
    let run = |above: Option<usize>, end: usize| usize::from(above.map_or(0, |depth| depth + 1) < end);
    let mut previous: Option<u128> = None;
    for id in keys {
        let key = u128::from(id.ms) << 64 | u128::from(id.seq);
        nodes += 1;
        if let Some(previous) = previous {
            let common = (previous ^ key).leading_zeros() as usize / 8;
            let mut end = KEY_LEN;
            while let Some(depth) = partings.pop_if(|depth| *depth > common) {
                nodes += 1 + run(Some(depth), end);
                end = depth;
            }
            nodes += run(Some(common), end);
            if partings.last() != Some(&common) {
                partings.push(common);
            }
        }
        previous = Some(key);
    }
    if previous.is_none() {
        return 1;
    }
    let mut end = KEY_LEN;
    while let Some(depth) = partings.pop() {
        nodes += 1 + run(Some(depth), end);
        end = depth;
    }
    nodes + run(None, end)
}

//! Groups of consumers: how far a group has read, and what was delivered to whom and not yet acknowledged.
//!
//! 1. What is pending is listed twice: by the group (with time, count and owner) and by its consumer (the IDs alone). Both say the same.
//! 2. Consumers have numbers, one above the highest in use, so that a pending entry takes a fixed size and names stay in one place.
//! 3. The lists are trees that clones share: a snapshot of a group with a million pending entries costs nothing when it begins.

use super::sorted::{Keyed, Sorted};
use super::{ARC_LEN, Id, Stream, group_bytes};
use crate::keyspace::size_class;
use std::sync::Arc;

/// A consumer within its group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct ConsumerNumber(pub u64);

/// An entry that was delivered and not yet acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pending {
    /// Its ID. The entry itself may be deleted by now.
    pub id: Id,
    /// When it was last delivered, Unix ms.
    pub delivered_ms: u64,
    /// How often it was delivered.
    pub deliveries: u64,
    /// To whom.
    pub consumer: ConsumerNumber,
}

/// A consumer.
#[derive(Clone, Debug)]
pub struct Consumer {
    number: ConsumerNumber,
    name: Arc<[u8]>,
    /// When it was last heard of, Unix ms.
    pub seen_ms: u64,
    /// When it last got or claimed an entry, Unix ms.
    pub active_ms: Option<u64>,
    pending: Sorted<Id>,
}

/// A consumer's name and number.
#[derive(Clone, Debug)]
struct Name {
    name: Arc<[u8]>,
    number: ConsumerNumber,
}

/// A group.
#[derive(Clone, Debug, Default)]
pub struct Group {
    name: Box<[u8]>,
    last_id: Id,
    entries_read: Option<u64>,
    pending: Sorted<Pending>,
    consumers: Sorted<Arc<Consumer>>,
    names: Sorted<Name>,
    /// What consumers and their names take, the trees' chunks not counted.
    consumers_bytes: usize,
}

impl Keyed for Id {
    type Key = Id;
    type Separator = Id;

    #[inline]
    fn key(&self) -> &Id {
        self
    }

    fn separator(&self) -> Id {
        *self
    }
}

impl Keyed for Pending {
    type Key = Id;
    type Separator = Id;

    #[inline]
    fn key(&self) -> &Id {
        &self.id
    }

    fn separator(&self) -> Id {
        self.id
    }
}

impl Keyed for Arc<Consumer> {
    type Key = ConsumerNumber;
    type Separator = ConsumerNumber;

    #[inline]
    fn key(&self) -> &ConsumerNumber {
        &self.number
    }

    fn separator(&self) -> ConsumerNumber {
        self.number
    }
}

impl Keyed for Name {
    type Key = [u8];
    type Separator = Box<[u8]>;

    #[inline]
    fn key(&self) -> &[u8] {
        &self.name
    }

    fn separator(&self) -> Box<[u8]> {
        (*self.name).into()
    }

    fn separator_bytes(separator: &Box<[u8]>) -> usize {
        if separator.is_empty() { 0 } else { size_class(separator.len()) }
    }
}

impl Consumer {
    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Its number.
    pub fn number(&self) -> ConsumerNumber {
        self.number
    }

    /// How many entries are pending for it.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// IDs of its pending entries from `start` on.
    pub fn pending_from(&self, start: Id) -> impl Iterator<Item = Id> {
        self.pending.from(&start).copied()
    }

    fn used_bytes(&self) -> usize {
        let name = size_class(ARC_LEN + self.name.len());
        size_class(ARC_LEN + size_of::<Consumer>()) + name + self.pending.heap_bytes()
    }
}

impl Group {
    pub(super) fn new(name: &[u8], last_id: Id, entries_read: Option<u64>) -> Group {
        Group { name: name.into(), last_id, entries_read, ..Group::default() }
    }

    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The last ID that was delivered.
    pub fn last_id(&self) -> Id {
        self.last_id
    }

    /// How many entries of the stream it has read, if that is known.
    pub fn entries_read(&self) -> Option<u64> {
        self.entries_read
    }

    /// Sets how far it has read.
    pub fn set_position(&mut self, last_id: Id, entries_read: Option<u64>) {
        self.last_id = last_id;
        self.entries_read = entries_read;
    }

    /// What it takes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let name = if self.name.is_empty() { 0 } else { size_class(self.name.len()) };
        let trees = self.pending.heap_bytes() + self.consumers.heap_bytes() + self.names.heap_bytes();
        name + trees + self.consumers_bytes
    }

    /// How many entries are pending.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// What is pending with this ID.
    pub fn pending(&self, id: Id) -> Option<Pending> {
        self.pending.get(&id).copied()
    }

    /// What is pending from `start` on.
    pub fn pending_from(&self, start: Id) -> impl Iterator<Item = &Pending> {
        self.pending.from(&start)
    }

    /// The lowest and the highest ID of a pending entry.
    pub fn pending_ends(&self) -> Option<(Id, Id)> {
        Some((self.pending.first()?.id, self.pending.last()?.id))
    }

    /// How many consumers.
    pub fn consumers_len(&self) -> usize {
        self.names.len()
    }

    /// Its consumers, in order of their names.
    pub fn consumers(&self) -> impl Iterator<Item = &Consumer> {
        self.names.iter().map(|name| self.numbered(name.number))
    }

    /// Its consumers, in order of their numbers.
    pub(super) fn consumers_by_number(&self) -> impl Iterator<Item = &Consumer> {
        self.consumers.iter().map(|consumer| &**consumer)
    }

    /// Consumer number `index` in order of their numbers, and those behind it.
    pub(super) fn consumers_from_index(&self, index: usize) -> impl Iterator<Item = &Consumer> {
        self.consumers.iter_from_index(index).map(|consumer| &**consumer)
    }

    /// Pending entry number `index`, and those behind it.
    pub(super) fn pending_from_index(&self, index: usize) -> impl Iterator<Item = &Pending> {
        self.pending.iter_from_index(index)
    }

    /// The consumer of this name.
    pub fn consumer(&self, name: &[u8]) -> Option<&Consumer> {
        Some(self.numbered(self.names.get(name)?.number))
    }

    /// The consumer with this number, which must be one of the group.
    pub fn numbered(&self, number: ConsumerNumber) -> &Consumer {
        self.consumers.get(&number).expect("names and pending entries hold numbers of consumers that are there")
    }

    /// Whether a consumer has this number.
    pub(super) fn has_number(&self, number: ConsumerNumber) -> bool {
        self.consumers.get(&number).is_some()
    }

    /// The number of the consumer of this name, which is made if there is none; says whether it was.
    pub fn consumer_or_new(&mut self, name: &[u8], now_ms: u64) -> (ConsumerNumber, bool) {
        if let Some(known) = self.names.get(name) {
            return (known.number, false);
        }
        let number = self.consumers.last().map_or(0, |last| last.number.0 + 1);
        self.add_consumer(ConsumerNumber(number), name, now_ms, None);
        (ConsumerNumber(number), true)
    }

    /// Adds a consumer; neither name nor number may be in use.
    pub(super) fn add_consumer(&mut self, number: ConsumerNumber, name: &[u8], seen_ms: u64, active_ms: Option<u64>) {
        let name: Arc<[u8]> = name.into();
        self.names.insert(Name { name: Arc::clone(&name), number });
        let consumer = Consumer { number, name, seen_ms, active_ms, pending: Sorted::default() };
        self.consumers_bytes += consumer.used_bytes();
        self.consumers.insert(Arc::new(consumer));
    }

    /// Removes a consumer and all that is pending for it; says how many entries those were.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let number = self.names.remove(name)?.number;
        let consumer = self.consumers.remove(&number)?;
        self.consumers_bytes -= consumer.used_bytes();
        for id in consumer.pending.iter() {
            self.pending.remove(id);
        }
        Some(consumer.pending.len())
    }

    /// Notes that a consumer was heard of, and whether it got something.
    pub fn saw(&mut self, number: ConsumerNumber, now_ms: u64, active: bool) {
        self.edit_consumer(number, |consumer| {
            consumer.seen_ms = now_ms;
            if active {
                consumer.active_ms = Some(now_ms);
            }
        });
    }

    fn edit_consumer(&mut self, number: ConsumerNumber, edit: impl FnOnce(&mut Consumer)) {
        let change = |consumer: &mut Arc<Consumer>| {
            let before = consumer.used_bytes();
            let consumer = Arc::make_mut(consumer);
            edit(consumer);
            (before, consumer.used_bytes())
        };
        let changed = self.consumers.edit(&number, change);
        let (before, after) = changed.expect("names and pending entries hold numbers of consumers that are there");
        self.consumers_bytes = self.consumers_bytes - before + after;
    }

    /// Makes an entry pending, or changes what is known of it; it may change hands.
    pub fn assign(&mut self, pending: Pending) {
        let old = self.pending.insert(pending).map(|old| old.consumer);
        if old == Some(pending.consumer) {
            return;
        }
        if let Some(old) = old {
            self.edit_consumer(old, |consumer| {
                consumer.pending.remove(&pending.id);
            });
        }
        self.edit_consumer(pending.consumer, |consumer| {
            consumer.pending.insert(pending.id);
        });
    }

    /// Ends an entry's being pending; says whether it was.
    pub fn acknowledge(&mut self, id: Id) -> bool {
        let Some(pending) = self.pending.remove(&id) else { return false };
        self.edit_consumer(pending.consumer, |consumer| {
            consumer.pending.remove(&id);
        });
        true
    }
}

impl Stream {
    /// How many groups.
    pub fn groups_len(&self) -> usize {
        self.groups.len()
    }

    /// Groups in order of their names.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().map(|group| &**group)
    }

    /// Group number `index` in order of names, and those behind it.
    pub(super) fn groups_from_index(&self, index: usize) -> impl Iterator<Item = &Group> {
        self.groups.iter_from_index(index).map(|group| &**group)
    }

    /// The group of this name.
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.groups.get(name).map(|group| &**group)
    }

    /// Adds a group. False: there is one of this name.
    pub fn add_group(&mut self, name: &[u8], last_id: Id, entries_read: Option<u64>) -> bool {
        if self.groups.get(name).is_some() {
            return false;
        }
        let group = Group::new(name, last_id, entries_read);
        self.heap_bytes += group_bytes(&group);
        self.groups.insert(Arc::new(group));
        true
    }

    /// Removes a group; says whether it was there.
    pub fn remove_group(&mut self, name: &[u8]) -> bool {
        let Some(group) = self.groups.remove(name) else { return false };
        self.heap_bytes -= group_bytes(&group);
        true
    }

    /// Changes a group; `None` if there is none of this name.
    pub fn edit_group<T>(&mut self, name: &[u8], edit: impl FnOnce(&mut Group) -> T) -> Option<T> {
        let (result, before, after) = self.groups.edit(name, |group| change_group(group, edit))?;
        self.heap_bytes = self.heap_bytes - before + after;
        Some(result)
    }

    /// [`Stream::edit_group`] of the last group in order of names.
    pub(super) fn edit_last_group<T>(&mut self, edit: impl FnOnce(&mut Group) -> T) -> Option<T> {
        let (result, before, after) = self.groups.edit_last(|group| change_group(group, edit))?;
        self.heap_bytes = self.heap_bytes - before + after;
        Some(result)
    }

    /// How many entries a group has read that stood at `last_id`, having read `entries_read`, and is given the next one, `id`. Counting goes on
    /// where nothing between was removed.
    pub fn entries_read_at(&self, entries_read: Option<u64>, last_id: Id, id: Id) -> Option<u64> {
        match entries_read {
            Some(read) if last_id >= self.first_id() && !self.has_gaps_from(last_id) => Some(read.saturating_add(1)),
            _ if self.entries_added() != 0 => self.added_up_to(id),
            unknown => unknown,
        }
    }

    /// How many entries a group has not yet read, if that can be said.
    pub fn lag(&self, group: &Group) -> Option<i64> {
        let added = self.entries_added();
        if added == 0 {
            return Some(0);
        }
        let read = match group.entries_read {
            Some(read) if !self.has_gaps_from(group.last_id) => read,
            _ => self.added_up_to(group.last_id)?,
        };
        Some((added as i64).wrapping_sub(read as i64))
    }
}

/// Changes a group; what it took before, and what it takes now.
fn change_group<T>(group: &mut Arc<Group>, edit: impl FnOnce(&mut Group) -> T) -> (T, usize, usize) {
    let before = group_bytes(group);
    let group = Arc::make_mut(group);
    let result = edit(group);
    (result, before, group_bytes(group))
}

#[cfg(test)]
impl Group {
    /// Asserts that what is counted for consumers is what they take.
    pub(super) fn check_bytes(&self) {
        let counted: usize = self.consumers.iter().map(|consumer| consumer.used_bytes()).sum();
        assert_eq!(self.consumers_bytes, counted);
    }
}

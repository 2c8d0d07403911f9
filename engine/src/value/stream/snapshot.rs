//! The form of streams in snapshots (`FORMAT.md`, "Collections"): items with a tag, in the order header (or late header
//! behind the entries), entries, and then for each group itself, its
//! consumers, its pending entries.
//!
//! 1. A part is whole items and stands for itself, but for the order of parts: differences of IDs begin anew with each.
//! 2. The place to go on is an opaque number, from which the item is found without walking through those before it: of a node and an entry in
//!    it, or of a group and an item of it.

use super::node::Node;
use super::{Entry, Group, Id, Stream, for_each_pair};
use crate::value::part::{Items, StreamHeader, StreamItem, StreamWriter};
use crate::value::{BadValue, Kind, Shaping};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

/// Where to go on: entries.
const AT_ENTRIES: u64 = 1 << 62;
/// Where to go on: groups.
const AT_GROUPS: u64 = 2 << 62;
/// Bits for the entry within its node; the node's index has the 32 above.
const ENTRY_BITS: u32 = 30;
/// Bits for the item within its group; the group's index has the 28 above.
const ITEM_BITS: u32 = 34;

const fn split(from: u64, bits: u32) -> (usize, usize) {
    let place = from & (AT_ENTRIES - 1);
    ((place >> bits) as usize, (place & ((1 << bits) - 1)) as usize)
}

impl Stream {
    /// Appends its form in snapshots: see [`crate::value::CollectionView::encode`].
    pub fn encode(&self, from: u64, budget: usize, out: &mut Vec<u8>) -> Option<u64> {
        let end = out.len().saturating_add(budget);
        let mut from = from;
        if from == 0 {
            StreamWriter::header(out, &self.header(), false);
            from = AT_ENTRIES;
            if out.len() >= end {
                return Some(from);
            }
        }
        if from < AT_GROUPS {
            let next = self.encode_entries(from, end, out);
            if next.is_some() {
                return next;
            }
            from = AT_GROUPS;
        }
        self.encode_groups(from, end, out)
    }

    fn header(&self) -> StreamHeader {
        let Stream { last_id, max_deleted_id, entries_added, .. } = *self;
        StreamHeader { last_id, max_deleted_id, entries_added }
    }

    fn encode_entries(&self, from: u64, end: usize, out: &mut Vec<u8>) -> Option<u64> {
        let (first, mut skip) = split(from, ENTRY_BITS);
        let sealed = self.sealed.iter_from_index(first);
        let tail = self.tail.iter().skip(first.saturating_sub(self.sealed.len()));
        let mut writer = StreamWriter::default();
        for (index, node) in sealed.chain(tail).map(|node| -> &Node { node }).enumerate() {
            for (at, entry) in node.entries().enumerate().skip(skip) {
                if out.len() >= end {
                    return Some(AT_ENTRIES | ((first + index) as u64) << ENTRY_BITS | at as u64);
                }
                encode_entry(entry, &mut writer, out);
            }
            skip = 0;
        }
        (out.len() >= end && self.groups_len() > 0).then_some(AT_GROUPS)
    }

    fn encode_groups(&self, from: u64, end: usize, out: &mut Vec<u8>) -> Option<u64> {
        let (first, mut skip) = split(from, ITEM_BITS);
        let mut writer = StreamWriter::default();
        for (index, group) in self.groups_from_index(first).enumerate() {
            let place = |item: usize| Some(AT_GROUPS | ((first + index) as u64) << ITEM_BITS | item as u64);
            if skip == 0 {
                if out.len() >= end {
                    return place(0);
                }
                writer.group(out, group.name(), group.last_id(), group.entries_read());
                skip = 1;
            }
            let consumers = group.consumers_len();
            for (item, consumer) in (skip..).zip(group.consumers_from_index(skip - 1)) {
                if out.len() >= end {
                    return place(item);
                }
                let (number, name) = (consumer.number(), consumer.name());
                StreamWriter::consumer(out, number, name, consumer.seen_ms, consumer.active_ms);
            }
            let skipped = skip.saturating_sub(1 + consumers);
            for (item, pending) in (skipped..).zip(group.pending_from_index(skipped)) {
                if out.len() >= end {
                    return place(1 + consumers + item);
                }
                writer.pending(out, pending);
            }
            skip = 0;
        }
        None
    }

    /// A hash of its contents: entries, counters, groups, consumers' names, pending entries. When consumers were last heard of is left out, as
    /// use of keys is.
    pub fn digest(&self) -> u128 {
        let mut hasher = SipHasher13::new();
        let mut number = |value: u64| hasher.write(&value.to_le_bytes());
        [self.last_id.ms, self.last_id.seq, self.max_deleted_id.ms, self.max_deleted_id.seq, self.entries_added]
            .into_iter()
            .for_each(&mut number);
        number(self.len);
        for entry in self.range(Id::MIN, Id::MAX) {
            [entry.id.ms, entry.id.seq, entry.fields() as u64]
                .into_iter()
                .for_each(|value| hasher.write(&value.to_le_bytes()));
            for_each_pair(entry, |field, value| {
                [field, value].into_iter().for_each(|bytes| hash_bytes(&mut hasher, bytes));
            });
        }
        for group in self.groups() {
            hash_bytes(&mut hasher, group.name());
            let read = group.entries_read().map_or(0, |read| read.wrapping_add(1));
            let consumers = group.consumers_len() as u64;
            [group.last_id().ms, group.last_id().seq, read, consumers]
                .into_iter()
                .for_each(|value| hasher.write(&value.to_le_bytes()));
            group.consumers().for_each(|consumer| hash_bytes(&mut hasher, consumer.name()));
            for pending in group.pending_from(Id::MIN) {
                [pending.id.ms, pending.id.seq, pending.delivered_ms, pending.deliveries]
                    .into_iter()
                    .for_each(|value| hasher.write(&value.to_le_bytes()));
                hash_bytes(&mut hasher, group.numbered(pending.consumer).name());
            }
        }
        hasher.finish128().as_u128()
    }

    /// Adds the items of one part: see [`crate::value::Collection::decode_part`].
    ///
    /// # Errors
    /// [`BadValue`].
    pub fn decode_part(&mut self, part: &[u8], shaping: &Shaping) -> Result<(), BadValue> {
        let mut items = Items::new(Kind::Stream, part);
        while let Some(item) = items.take_stream_item()? {
            match item {
                StreamItem::Header { header, late } => self.decode_header(&header, late)?,
                StreamItem::Entry(id) => self.decode_entry(id, items.words(), shaping)?,
                StreamItem::Group { name, last_id, entries_read } => {
                    if self.groups.last().is_some_and(|last| last.name() >= name) {
                        return Err(BadValue::Stream);
                    }
                    self.add_group(name, last_id, entries_read);
                }
                StreamItem::Consumer { number, name, seen_ms, active_ms } => {
                    if number.0 > u64::MAX / 2 {
                        return Err(BadValue::Stream); // Later ones get numbers above it.
                    }
                    self.change_last_group(|group| {
                        if group.consumers_by_number().last().is_some_and(|last| last.number() >= number) {
                            return Err(BadValue::Stream);
                        }
                        if group.consumer(name).is_some() {
                            return Err(BadValue::Twice);
                        }
                        group.add_consumer(number, name, seen_ms, active_ms);
                        Ok(())
                    })?;
                }
                StreamItem::Pending(pending) => self.change_last_group(|group| {
                    let behind = group.pending_ends().is_none_or(|(_, last)| pending.id > last);
                    if !behind || !group.has_number(pending.consumer) {
                        return Err(BadValue::Stream);
                    }
                    group.assign(pending);
                    Ok(())
                })?,
            }
        }
        Ok(())
    }

    fn decode_header(&mut self, header: &StreamHeader, late: bool) -> Result<(), BadValue> {
        if self.last_id != Id::MIN || self.groups_len() > 0 || self.nodes() > 0 && !late {
            return Err(BadValue::Twice);
        }
        if self.tail.as_ref().is_some_and(|tail| tail.last() > header.last_id) {
            return Err(BadValue::Stream);
        }
        self.last_id = header.last_id;
        self.max_deleted_id = header.max_deleted_id;
        self.entries_added = header.entries_added;
        Ok(())
    }

    /// Whether nothing is missing: a late header comes after the entries.
    pub(crate) fn has_header(&self) -> bool {
        self.last_id != Id::MIN || self.is_empty()
    }

    fn decode_entry(&mut self, id: Id, words: &[&[u8]], shaping: &Shaping) -> Result<(), BadValue> {
        let behind = self.tail.as_ref().is_none_or(|tail| id > tail.last());
        let within = self.last_id == Id::MIN || id <= self.last_id;
        if !behind || !within || id == Id::MIN || self.groups_len() > 0 {
            return Err(BadValue::Stream);
        }
        Stream::check_size(words).map_err(|_| BadValue::Length)?;
        self.append(id, words, shaping);
        Ok(())
    }

    /// Changes the group that items of groups belong to: the last one.
    fn change_last_group(&mut self, edit: impl FnOnce(&mut Group) -> Result<(), BadValue>) -> Result<(), BadValue> {
        self.edit_last_group(edit).unwrap_or(Err(BadValue::Stream))
    }
}

fn encode_entry(entry: Entry<'_>, writer: &mut StreamWriter, out: &mut Vec<u8>) {
    writer.entry(out, entry.id, || entry.pairs());
}

fn hash_bytes(hasher: &mut SipHasher13, bytes: &[u8]) {
    hasher.write(&(bytes.len() as u64).to_le_bytes());
    hasher.write(bytes);
}

//! The form of streams in snapshots (`FORMAT.md`, "Collections"): items with a tag, in the order header, entries, and then for each group itself, its
//! consumers, its pending entries.
//!
//! 1. A part is whole items and stands for itself, but for the order of parts: differences of IDs begin anew with each.
//! 2. The place to go on is an opaque number, from which the item is found without walking through those before it: of a node and an entry in
//!    it, or of a group and an item of it.

use super::node::Node;
use super::{ConsumerNumber, Entry, Group, Id, Pending, Stream, for_each_pair};
use crate::limits::STRING_LEN_MAX;
use crate::log::pending::{put_varint, take_varint};
use crate::value::{BadValue, Shaping};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

const HEADER: u8 = 0;
/// With the names of its fields.
const ENTRY: u8 = 1;
/// With the fields of the entry before it in the same part.
const SAME_FIELDS: u8 = 2;
const GROUP: u8 = 3;
const CONSUMER: u8 = 4;
const PENDING: u8 = 5;

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
            out.push(HEADER);
            for number in
                [self.last_id.ms, self.last_id.seq, self.max_deleted_id.ms, self.max_deleted_id.seq, self.entries_added]
            {
                put_varint(out, number);
            }
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

    fn encode_entries(&self, from: u64, end: usize, out: &mut Vec<u8>) -> Option<u64> {
        let (first, mut skip) = split(from, ENTRY_BITS);
        let sealed = self.sealed.iter_from_index(first);
        let tail = self.tail.iter().skip(first.saturating_sub(self.sealed.len()));
        let mut previous: Option<Entry<'_>> = None;
        for (index, node) in sealed.chain(tail).map(|node| -> &Node { node }).enumerate() {
            for (at, entry) in node.entries().enumerate().skip(skip) {
                if out.len() >= end {
                    return Some(AT_ENTRIES | ((first + index) as u64) << ENTRY_BITS | at as u64);
                }
                encode_entry(entry, previous, out);
                previous = Some(entry);
            }
            skip = 0;
        }
        (out.len() >= end && self.groups_len() > 0).then_some(AT_GROUPS)
    }

    fn encode_groups(&self, from: u64, end: usize, out: &mut Vec<u8>) -> Option<u64> {
        let (first, mut skip) = split(from, ITEM_BITS);
        for (index, group) in self.groups_from_index(first).enumerate() {
            let place = |item: usize| Some(AT_GROUPS | ((first + index) as u64) << ITEM_BITS | item as u64);
            if skip == 0 {
                if out.len() >= end {
                    return place(0);
                }
                encode_group(group, out);
                skip = 1;
            }
            let consumers = group.consumers_len();
            for (item, consumer) in (skip..).zip(group.consumers_from_index(skip - 1)) {
                if out.len() >= end {
                    return place(item);
                }
                out.push(CONSUMER);
                put_varint(out, consumer.number().0);
                put_bytes(out, consumer.name());
                put_varint(out, consumer.seen_ms);
                put_optional(out, consumer.active_ms);
            }
            let skipped = skip.saturating_sub(1 + consumers);
            let mut previous = Id::MIN;
            for (item, pending) in (skipped..).zip(group.pending_from_index(skipped)) {
                if out.len() >= end {
                    return place(1 + consumers + item);
                }
                out.push(PENDING);
                put_id(out, pending.id, previous);
                put_varint(out, pending.consumer.0);
                put_varint(out, pending.delivered_ms);
                put_varint(out, pending.deliveries);
                previous = pending.id;
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
        let mut rest = part;
        let mut pairs: Vec<&[u8]> = Vec::new();
        let mut last_pending = Id::MIN;
        let mut last_entry = Id::MIN;
        while let Some(tag) = rest.split_off_first() {
            match *tag {
                HEADER => self.decode_header(&mut rest)?,
                tag @ (ENTRY | SAME_FIELDS) => {
                    last_entry = take_id(&mut rest, last_entry)?;
                    take_pairs(&mut rest, tag == SAME_FIELDS, &mut pairs)?;
                    self.decode_entry(last_entry, &pairs, shaping)?;
                }
                GROUP => {
                    last_pending = Id::MIN;
                    let name = take_bytes(&mut rest)?;
                    let last_id = Id { ms: take_number(&mut rest)?, seq: take_number(&mut rest)? };
                    let entries_read = take_optional(&mut rest)?;
                    if self.groups.last().is_some_and(|last| last.name() >= name) {
                        return Err(BadValue::Stream);
                    }
                    self.add_group(name, last_id, entries_read);
                }
                CONSUMER => {
                    let number = ConsumerNumber(take_number(&mut rest)?);
                    let name = take_bytes(&mut rest)?;
                    let (seen_ms, active_ms) = (take_number(&mut rest)?, take_optional(&mut rest)?);
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
                PENDING => {
                    let id = take_id(&mut rest, last_pending)?;
                    last_pending = id;
                    let consumer = ConsumerNumber(take_number(&mut rest)?);
                    let (delivered_ms, deliveries) = (take_number(&mut rest)?, take_number(&mut rest)?);
                    self.change_last_group(|group| {
                        let behind = group.pending_ends().is_none_or(|(_, last)| id > last);
                        if !behind || !group.has_number(consumer) {
                            return Err(BadValue::Stream);
                        }
                        group.assign(Pending { id, delivered_ms, deliveries, consumer });
                        Ok(())
                    })?;
                }
                _ => return Err(BadValue::Stream),
            }
        }
        Ok(())
    }

    fn decode_header(&mut self, rest: &mut &[u8]) -> Result<(), BadValue> {
        if self.last_id != Id::MIN || self.nodes() > 0 || self.groups_len() > 0 {
            return Err(BadValue::Twice);
        }
        self.last_id = Id { ms: take_number(rest)?, seq: take_number(rest)? };
        self.max_deleted_id = Id { ms: take_number(rest)?, seq: take_number(rest)? };
        self.entries_added = take_number(rest)?;
        Ok(())
    }

    fn decode_entry(&mut self, id: Id, pairs: &[&[u8]], shaping: &Shaping) -> Result<(), BadValue> {
        let behind = self.tail.as_ref().is_none_or(|tail| id > tail.last());
        if !behind || id == Id::MIN || id > self.last_id || self.groups_len() > 0 {
            return Err(BadValue::Stream);
        }
        Stream::check_size(pairs).map_err(|_| BadValue::Length)?;
        self.append(id, pairs, shaping);
        Ok(())
    }

    /// Changes the group that items of groups belong to: the last one.
    fn change_last_group(&mut self, edit: impl FnOnce(&mut Group) -> Result<(), BadValue>) -> Result<(), BadValue> {
        self.edit_last_group(edit).unwrap_or(Err(BadValue::Stream))
    }
}

fn encode_entry(entry: Entry<'_>, previous: Option<Entry<'_>>, out: &mut Vec<u8>) {
    let same = previous.is_some_and(|previous| {
        previous.fields() == entry.fields() && previous.pairs().map(|pair| pair.0).eq(entry.pairs().map(|pair| pair.0))
    });
    out.push(if same { SAME_FIELDS } else { ENTRY });
    put_id(out, entry.id, previous.map_or(Id::MIN, |previous| previous.id));
    if !same {
        put_varint(out, entry.fields() as u64);
    }
    for_each_pair(entry, |field, value| {
        if !same {
            put_bytes(out, field);
        }
        put_bytes(out, value);
    });
}

fn encode_group(group: &Group, out: &mut Vec<u8>) {
    out.push(GROUP);
    put_bytes(out, group.name());
    put_varint(out, group.last_id().ms);
    put_varint(out, group.last_id().seq);
    put_optional(out, group.entries_read());
}

fn hash_bytes(hasher: &mut SipHasher13, bytes: &[u8]) {
    hasher.write(&(bytes.len() as u64).to_le_bytes());
    hasher.write(bytes);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A number that may be missing: one byte, and the number if it is there.
fn put_optional(out: &mut Vec<u8>, number: Option<u64>) {
    out.push(u8::from(number.is_some()));
    if let Some(number) = number {
        put_varint(out, number);
    }
}

/// An ID above `previous`: milliseconds as a difference; the sequence number as a difference if they are the same.
fn put_id(out: &mut Vec<u8>, id: Id, previous: Id) {
    put_varint(out, id.ms - previous.ms);
    put_varint(out, if id.ms == previous.ms { id.seq - previous.seq } else { id.seq });
}

fn take_number(bytes: &mut &[u8]) -> Result<u64, BadValue> {
    let cut = bytes.len() < 10 && bytes.iter().all(|byte| *byte >= 0x80);
    take_varint(bytes).ok_or(if cut { BadValue::Short } else { BadValue::Length })
}

fn take_optional(bytes: &mut &[u8]) -> Result<Option<u64>, BadValue> {
    match bytes.split_off_first() {
        Some(0) => Ok(None),
        Some(1) => take_number(bytes).map(Some),
        Some(_) => Err(BadValue::Stream),
        None => Err(BadValue::Short),
    }
}

fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], BadValue> {
    let len = take_number(bytes)?;
    if len > STRING_LEN_MAX as u64 {
        return Err(BadValue::Length);
    }
    bytes.split_off(..len as usize).ok_or(BadValue::Short)
}

fn take_id(bytes: &mut &[u8], previous: Id) -> Result<Id, BadValue> {
    let (ms, seq) = (take_number(bytes)?, take_number(bytes)?);
    let seq = if ms == 0 { previous.seq.checked_add(seq) } else { Some(seq) };
    match (previous.ms.checked_add(ms), seq) {
        (Some(ms), Some(seq)) => Ok(Id { ms, seq }),
        _ => Err(BadValue::Stream),
    }
}

/// Takes fields and values by turns into `pairs`; with `same` the fields are those that `pairs` holds.
fn take_pairs<'a>(bytes: &mut &'a [u8], same: bool, pairs: &mut Vec<&'a [u8]>) -> Result<(), BadValue> {
    if same {
        if pairs.is_empty() {
            return Err(BadValue::Stream);
        }
        for value in pairs.iter_mut().skip(1).step_by(2) {
            *value = take_bytes(bytes)?;
        }
        return Ok(());
    }
    let fields = take_number(bytes)?;
    pairs.clear();
    if fields == 0 {
        return Err(BadValue::Empty);
    }
    // Every field takes two bytes at least: more than there can be is an error before memory is taken.
    if fields > (bytes.len() / 2) as u64 {
        return Err(BadValue::Short);
    }
    for _ in 0..fields * 2 {
        pairs.push(take_bytes(bytes)?);
    }
    Ok(())
}

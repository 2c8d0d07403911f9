//! A stream: nodes (each an ID and a listpack of entries), counters, and consumer groups.
//!
//! ```text
//! stream   = length(nodes) (string of 16 bytes: ID BE, listpack)* | length(entries) | last ID | [first ID | highest deleted ID | length(added)]
//!            length(groups) group*                                      [] since version 2; IDs are two lengths
//! group    = string name | last ID | [length(entries read)] | length(pending) (16 bytes: ID BE, i64 ms, length(deliveries))*
//!            length(consumers) (string name | i64 seen ms | [i64 active ms, version 3] | length(pending) (16 bytes: ID BE)*)*
//! listpack = live | deleted | fields | field* | 0 | entry*
//! entry    = flags | ms - node's | seq - node's | [fields | (field value)*] or [value*] | elements before this one
//! ```
//! Who owns a pending entry stands behind all of them: those of one group are kept in memory until then.

use super::error::{BadRdb, RdbError};
use super::input::Input;
use super::packed;
use super::value::{PART_LEN, held_back};
use crate::value::listpack::{Element, Iter, Listpack};
use crate::value::part::{StreamHeader, StreamWriter};
use crate::value::stream::{ConsumerNumber, Id, Pending};
use std::io::Read;

/// The entry is deleted.
const DELETED: i64 = 1;
/// The entry has the node's fields.
const SAME_FIELDS: i64 = 2;
/// A pending entry without an owner yet.
const NOBODY: ConsumerNumber = ConsumerNumber(u64::MAX);

/// A stream that is being read.
pub(super) struct StreamReader {
    version: u8,
    stage: Stage,
    writer: StreamWriter,
    first_id: Id,
    last_entry: Id,
    entries: u64,
    header: StreamHeader,
    last_group: Option<Box<[u8]>>,
    /// Of the last group, and how many of them were handed on.
    pending: Vec<Pending>,
    handed_on: usize,
}

enum Stage {
    Nodes { left: u64 },
    Groups { left: u64 },
}

/// What is left of a group once its pending entries are known.
struct GroupHead {
    name: Vec<u8>,
    last_id: Id,
    entries_read: Option<u64>,
    pending: Vec<Pending>,
}

struct Consumer {
    name: Vec<u8>,
    seen_ms: u64,
    active_ms: Option<u64>,
}

fn take_raw_id<R: Read>(input: &mut Input<R>) -> Result<Id, RdbError> {
    let (ms, seq) = (u64::from_be_bytes(input.take()?), u64::from_be_bytes(input.take()?));
    Ok(Id { ms, seq })
}

fn take_id<R: Read>(input: &mut Input<R>) -> Result<Id, RdbError> {
    Ok(Id { ms: input.length()?, seq: input.length()? })
}

/// A time in ms; what is before 1970 (or never) is nothing.
fn take_ms<R: Read>(input: &mut Input<R>) -> Result<Option<u64>, RdbError> {
    Ok(u64::try_from(i64::from_le_bytes(input.take()?)).ok())
}

impl StreamReader {
    pub(super) fn begin<R: Read>(version: u8, input: &mut Input<R>) -> Result<Box<StreamReader>, RdbError> {
        Ok(Box::new(StreamReader {
            version,
            stage: Stage::Nodes { left: input.length()? },
            writer: StreamWriter::default(),
            first_id: Id::MIN,
            last_entry: Id::MIN,
            entries: 0,
            header: StreamHeader::default(),
            last_group: None,
            pending: Vec::new(),
            handed_on: 0,
        }))
    }

    /// Appends the next part; says whether more is to come.
    pub(super) fn fill<R: Read>(
        &mut self,
        input: &mut Input<R>,
        scratch: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<bool, RdbError> {
        self.writer.begin_part();
        loop {
            while let Some(pending) = self.pending.get(self.handed_on)
                && out.len() < PART_LEN
            {
                self.writer.pending(out, pending);
                self.handed_on += 1;
            }
            if out.len() >= PART_LEN {
                return Ok(true);
            }
            match &mut self.stage {
                Stage::Nodes { left: 0 } => {
                    let offset = input.offset();
                    let groups = self.take_counters(input)?;
                    self.stage = Stage::Groups { left: groups };
                    if self.header.last_id < self.last_entry {
                        return Err(RdbError::bad(offset, BadRdb::StreamOrder));
                    }
                    StreamWriter::header(out, &self.header, true);
                }
                Stage::Nodes { left } => {
                    *left -= 1;
                    let offset = input.offset();
                    scratch.clear();
                    let held_back = held_back(input.string(scratch))?;
                    let master = scratch.as_slice().try_into().ok().map(|id: &[u8; 16]| {
                        let id = u128::from_be_bytes(*id);
                        Id { ms: (id >> 64) as u64, seq: id as u64 }
                    });
                    scratch.clear();
                    input.string(scratch)?;
                    held_back.map_or(Ok(()), Err)?;
                    let node = match master {
                        None => Err(BadRdb::StreamNode),
                        Some(master) => self.unpack_node(master, scratch, out),
                    };
                    node.map_err(|why| RdbError::bad(offset, why))?;
                }
                Stage::Groups { left: 0 } => return Ok(false),
                Stage::Groups { left } => {
                    *left -= 1;
                    let offset = input.offset();
                    let (head, consumers) = self.take_group(input)?;
                    self.put_group(head, &consumers, out).map_err(|why| RdbError::bad(offset, why))?;
                }
            }
        }
    }

    /// Takes what is left and forgets it.
    pub(super) fn skip<R: Read>(&mut self, input: &mut Input<R>) -> Result<(), RdbError> {
        if let Stage::Nodes { left } = &mut self.stage {
            while let Some(fewer) = left.checked_sub(1) {
                *left = fewer;
                input.skip_string()?;
                input.skip_string()?;
            }
            let groups = self.take_counters(input)?;
            self.stage = Stage::Groups { left: groups };
        }
        while let Stage::Groups { left } = &mut self.stage
            && let Some(fewer) = left.checked_sub(1)
        {
            *left = fewer;
            match self.take_group(input) {
                Err(error) if !error.is_content() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes what stands behind the nodes; says how many groups follow.
    fn take_counters<R: Read>(&mut self, input: &mut Input<R>) -> Result<u64, RdbError> {
        let entries = input.length()?;
        let last_id = take_id(input)?;
        self.header = StreamHeader { last_id, max_deleted_id: Id::MIN, entries_added: entries };
        if self.version >= 2 {
            take_id(input)?; // The first entry's, which is known.
            self.header.max_deleted_id = take_id(input)?;
            self.header.entries_added = input.length()?;
        }
        input.length()
    }

    fn unpack_node(&mut self, master: Id, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BadRdb> {
        let run = packed::listpack(bytes)?;
        let bad = BadRdb::StreamNode;
        let mut elements = Listpack::new(&run).iter();
        let number = |elements: &mut Iter<'_>| match elements.next() {
            Some(Element::Integer(value)) => Ok(value),
            _ => Err(bad),
        };
        let (live, deleted, fields) = (number(&mut elements)?, number(&mut elements)?, number(&mut elements)?);
        let names = elements.clone();
        skip_elements(&mut elements, fields)?;
        if number(&mut elements)? != 0 {
            return Err(bad);
        }
        let (mut found_live, mut found_deleted) = (0, 0);
        while elements.clone().next().is_some() {
            let (flags, ms, seq) = (number(&mut elements)?, number(&mut elements)?, number(&mut elements)?);
            // As Redis does: the differences wrap around.
            let id = Id { ms: master.ms.wrapping_add(ms as u64), seq: master.seq.wrapping_add(seq as u64) };
            let same = flags & SAME_FIELDS != 0;
            let count = if same { fields } else { number(&mut elements)? };
            let body = elements.clone();
            skip_elements(&mut elements, if same { count } else { count.checked_mul(2).ok_or(bad)? })?;
            let stated = number(&mut elements)?;
            let expected = if same { count + 3 } else { 2 * count + 4 };
            if stated != expected || count < 1 {
                return Err(bad);
            }
            if flags & DELETED != 0 {
                found_deleted += 1;
                continue;
            }
            found_live += 1;
            if id <= self.last_entry {
                return Err(BadRdb::StreamOrder);
            }
            (self.last_entry, self.entries) = (id, self.entries + 1);
            if self.first_id == Id::MIN {
                self.first_id = id;
            }
            self.writer.entry(out, id, || {
                let (mut names, mut body) = (same.then(|| names.clone()), body.clone());
                (0..count).map_while(move |_| {
                    let name = match &mut names {
                        Some(names) => names.next()?,
                        None => body.next()?,
                    };
                    Some((name, body.next()?))
                })
            });
        }
        if (live, deleted) == (found_live, found_deleted) { Ok(()) } else { Err(bad) }
    }

    fn take_group<R: Read>(&mut self, input: &mut Input<R>) -> Result<(GroupHead, Vec<Consumer>), RdbError> {
        let mut name = Vec::new();
        let mut first_wrong = held_back(input.string(&mut name))?;
        let last_id = take_id(input)?;
        let entries_read = if self.version >= 2 {
            // -1 where it is not known.
            Some(input.length()?).filter(|read| i64::try_from(*read).is_ok())
        } else {
            self.estimate_read(last_id)
        };
        let mut pending = Vec::new();
        for _ in 0..input.length()? {
            let id = take_raw_id(input)?;
            let delivered_ms = take_ms(input)?.unwrap_or(0);
            let deliveries = input.length()?;
            pending.push(Pending { id, delivered_ms, deliveries, consumer: NOBODY });
        }
        pending.sort_unstable_by_key(|pending| pending.id);
        let mut wrong = pending.windows(2).any(|pair| pair[0].id == pair[1].id);
        let mut consumers = Vec::new();
        let mut owned = 0;
        let offset = input.offset();
        for number in 0..input.length()? {
            let mut name = Vec::new();
            let wrong_name = held_back(input.string(&mut name))?;
            first_wrong = first_wrong.or(wrong_name);
            let seen_ms = take_ms(input)?.unwrap_or(0);
            let active_ms = if self.version >= 3 { take_ms(input)? } else { Some(seen_ms) };
            consumers.push(Consumer { name, seen_ms, active_ms });
            for _ in 0..input.length()? {
                let id = take_raw_id(input)?;
                match pending.binary_search_by_key(&id, |pending| pending.id) {
                    Ok(at) if pending[at].consumer == NOBODY => {
                        pending[at].consumer = ConsumerNumber(number);
                        owned += 1;
                    }
                    _ => wrong = true,
                }
            }
        }
        if wrong || owned != pending.len() {
            first_wrong = first_wrong.or(Some(RdbError::bad(offset, BadRdb::Pending)));
        }
        first_wrong.map_or(Ok(()), Err)?;
        Ok((GroupHead { name, last_id, entries_read, pending }, consumers))
    }

    /// How many entries a group has read that stands at an ID, in a stream of which no deletions are known.
    fn estimate_read(&self, last_id: Id) -> Option<u64> {
        let added = self.header.entries_added;
        if added == 0 {
            return Some(0);
        }
        if self.entries == 0 && last_id < self.header.last_id || last_id == self.header.last_id {
            return Some(added);
        }
        match last_id.cmp(&self.first_id) {
            _ if last_id > self.header.last_id => None,
            std::cmp::Ordering::Less => Some(added.saturating_sub(self.entries)),
            std::cmp::Ordering::Equal => Some(added.saturating_sub(self.entries) + 1),
            std::cmp::Ordering::Greater => None,
        }
    }

    /// Appends a group. Groups come in order of their names, as radix trees give them.
    fn put_group(&mut self, head: GroupHead, consumers: &[Consumer], out: &mut Vec<u8>) -> Result<(), BadRdb> {
        if self.last_group.as_ref().is_some_and(|last| **last >= *head.name) {
            return Err(BadRdb::Group);
        }
        self.writer.group(out, &head.name, head.last_id, head.entries_read);
        for (number, consumer) in (0..).zip(consumers) {
            let number = ConsumerNumber(number);
            StreamWriter::consumer(out, number, &consumer.name, consumer.seen_ms, consumer.active_ms);
        }
        (self.pending, self.handed_on) = (head.pending, 0);
        self.last_group = Some(head.name.into());
        Ok(())
    }
}

/// Takes so many elements; all of them must be there.
fn skip_elements(elements: &mut Iter<'_>, count: i64) -> Result<(), BadRdb> {
    if count < 0 {
        return Err(BadRdb::StreamNode);
    }
    for _ in 0..count {
        elements.next().ok_or(BadRdb::StreamNode)?;
    }
    Ok(())
}

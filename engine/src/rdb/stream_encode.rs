//! A stream's bytes, made of its parts. Layout: `stream`.
//!
//! Nodes are made anew, with Redis' default limits. What is pending in one group is kept until the group ends: it is listed twice, by the group
//! and by consumers.

use super::encode::{EncodeError, Encoded, Options, Spool};
use super::kind;
use super::length::{put_length, put_string};
use super::packed::put_listpack;
use crate::value::listpack::{self, Element, Listpack};
use crate::value::part::{Items, StreamHeader, StreamItem, put_bytes};
use crate::value::stream::{ConsumerNumber, Id, Pending};
use crate::value::{BadValue, Kind};

/// Bytes of a node, at most (`stream-node-max-bytes`).
const NODE_LEN_MAX: usize = 4096;
/// Entries of a node, at most (`stream-node-max-entries`).
const NODE_ENTRIES_MAX: i64 = 100;
/// The entry has the node's fields.
const SAME_FIELDS: i64 = 2;

/// See above.
#[derive(Default)]
pub(super) struct StreamEncoder {
    header: Option<StreamHeader>,
    nodes: Spool,
    nodes_count: u64,
    entries_count: u64,
    first_id: Id,
    node: Option<Node>,
    groups: Spool,
    groups_count: u64,
    group: Option<Group>,
}

struct Node {
    master: Id,
    /// Number and names of fields, as listpack elements.
    fields: Vec<u8>,
    /// The same as `part` writes them, to compare.
    names: Vec<u8>,
    entries: Vec<u8>,
    count: i64,
}

struct Group {
    pending: Vec<Pending>,
    consumers: Vec<Consumer>,
}

struct Consumer {
    number: ConsumerNumber,
    name: Vec<u8>,
    seen_ms: u64,
    active_ms: Option<u64>,
}

fn put_raw_id(out: &mut Vec<u8>, id: Id) {
    out.extend_from_slice(&id.ms.to_be_bytes());
    out.extend_from_slice(&id.seq.to_be_bytes());
}

fn put_id(out: &mut Vec<u8>, id: Id) {
    put_length(out, id.ms);
    put_length(out, id.seq);
}

fn put_ms(out: &mut Vec<u8>, ms: u64) {
    out.extend_from_slice(&i64::try_from(ms).unwrap_or(i64::MAX).to_le_bytes());
}

impl StreamEncoder {
    /// What may be long.
    pub(super) fn spools(&mut self) -> [&mut Spool; 2] {
        [&mut self.nodes, &mut self.groups]
    }

    /// Takes the next part.
    pub(super) fn push(&mut self, part: &[u8], options: &Options) -> Result<(), EncodeError> {
        let mut items = Items::new(Kind::Stream, part);
        while let Some(item) = items.take_stream_item()? {
            match item {
                StreamItem::Header { header, .. } => self.header = Some(header),
                StreamItem::Entry(id) => self.push_entry(id, items.words(), options),
                StreamItem::Group { name, last_id, entries_read } => {
                    self.close_group(options)?;
                    let out = self.groups.out();
                    put_string(out, name, options.compress);
                    put_id(out, last_id);
                    if options.version >= 10 {
                        put_length(out, entries_read.unwrap_or(u64::MAX));
                    }
                    self.groups_count += 1;
                    self.group = Some(Group { pending: Vec::new(), consumers: Vec::new() });
                }
                StreamItem::Consumer { number, name, seen_ms, active_ms } => {
                    let group = self.group.as_mut().ok_or(BadValue::Stream)?;
                    group.consumers.push(Consumer { number, name: name.to_vec(), seen_ms, active_ms });
                }
                StreamItem::Pending(pending) => {
                    self.group.as_mut().ok_or(BadValue::Stream)?.pending.push(pending);
                }
            }
        }
        Ok(())
    }

    fn push_entry(&mut self, id: Id, words: &[&[u8]], options: &Options) {
        let len: usize = words.iter().map(|word| word.len()).sum();
        let full = self.node.as_ref().is_some_and(|node| {
            node.count >= NODE_ENTRIES_MAX || node.fields.len() + node.entries.len() + len >= NODE_LEN_MAX
        });
        if full {
            self.close_node(options);
        }
        if self.first_id == Id::MIN {
            self.first_id = id;
        }
        self.entries_count += 1;
        self.node.get_or_insert_with(|| Node::new(id, words)).push(id, words);
    }

    fn close_node(&mut self, options: &Options) {
        let Some(node) = self.node.take() else { return };
        let mut run = Vec::new();
        listpack::push_back(&mut run, node.count);
        listpack::push_back(&mut run, 0);
        listpack::append(&mut run, Listpack::new(&node.fields));
        listpack::push_back(&mut run, 0);
        listpack::append(&mut run, Listpack::new(&node.entries));
        let mut bytes = Vec::with_capacity(run.len() + 8);
        put_listpack(&mut bytes, Listpack::new(&run));
        let out = self.nodes.out();
        put_length(out, 16);
        put_raw_id(out, node.master);
        put_string(out, &bytes, options.compress);
        self.nodes_count += 1;
    }

    fn close_group(&mut self, options: &Options) -> Result<(), BadValue> {
        let Some(group) = self.group.take() else { return Ok(()) };
        let out = self.groups.out();
        put_length(out, group.pending.len() as u64);
        for pending in &group.pending {
            put_raw_id(out, pending.id);
            put_ms(out, pending.delivered_ms);
            put_length(out, pending.deliveries);
        }
        let mut owned: Vec<(ConsumerNumber, Id)> =
            group.pending.iter().map(|pending| (pending.consumer, pending.id)).collect();
        owned.sort_unstable();
        let mut owned = owned.as_slice();
        put_length(out, group.consumers.len() as u64);
        for consumer in &group.consumers {
            let count = owned.iter().take_while(|(number, _)| *number == consumer.number).count();
            let (mine, rest) = owned.split_at(count);
            put_string(out, &consumer.name, options.compress);
            put_ms(out, consumer.seen_ms);
            if options.version >= 11 {
                let active = consumer.active_ms.map_or(-1, |ms| i64::try_from(ms).unwrap_or(i64::MAX));
                out.extend_from_slice(&active.to_le_bytes());
            }
            put_length(out, mine.len() as u64);
            mine.iter().for_each(|(_, id)| put_raw_id(out, *id));
            owned = rest;
        }
        // Consumers come in order of their numbers, and every number is one of theirs.
        if owned.is_empty() { Ok(()) } else { Err(BadValue::Stream) }
    }

    /// The whole value.
    pub(super) fn finish(mut self: Box<Self>, options: &Options) -> Result<Encoded, EncodeError> {
        self.close_node(options);
        self.close_group(options)?;
        let header = self.header.ok_or(BadValue::Stream)?;
        let (mut head, mut middle) = (Spool::default(), Spool::default());
        put_length(head.out(), self.nodes_count);
        let out = middle.out();
        put_length(out, self.entries_count);
        put_id(out, header.last_id);
        if options.version >= 10 {
            put_id(out, self.first_id);
            put_id(out, header.max_deleted_id);
            put_length(out, header.entries_added);
        }
        put_length(out, self.groups_count);
        let encoding = match options.version {
            ..10 => kind::STREAM_LISTPACKS,
            10 => kind::STREAM_LISTPACKS_2,
            _ => kind::STREAM_LISTPACKS_3,
        };
        Ok(Encoded { encoding, pieces: vec![head, self.nodes, middle, self.groups] })
    }
}

impl Node {
    fn new(master: Id, words: &[&[u8]]) -> Node {
        let (mut fields, mut names) = (Vec::new(), Vec::new());
        listpack::push_back(&mut fields, (words.len() / 2) as i64);
        for name in words.iter().step_by(2) {
            listpack::push_back(&mut fields, *name);
            put_bytes(&mut names, name);
        }
        Node { master, fields, names, entries: Vec::new(), count: 0 }
    }

    fn push(&mut self, id: Id, words: &[&[u8]]) {
        let mut names = Vec::new();
        words.iter().step_by(2).for_each(|name| put_bytes(&mut names, name));
        let same = names == self.names;
        let out = &mut self.entries;
        listpack::push_back(out, if same { SAME_FIELDS } else { 0 });
        listpack::push_back(out, id.ms.wrapping_sub(self.master.ms) as i64);
        listpack::push_back(out, id.seq.wrapping_sub(self.master.seq) as i64);
        let fields = (words.len() / 2) as i64;
        let elements = if same {
            words.iter().skip(1).step_by(2).for_each(|value| listpack::push_back(out, *value));
            fields
        } else {
            listpack::push_back(out, fields);
            words.iter().for_each(|word| listpack::push_back(out, Element::from(*word)));
            1 + 2 * fields
        };
        listpack::push_back(out, 3 + elements);
        self.count += 1;
    }
}

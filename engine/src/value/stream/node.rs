//! A node: consecutive entries of a stream, packed; the unit that is shared with snapshots, and that approximate trimming drops.
//!
//! ```text
//! bytes = field count | field names of the first entry      which the entries refer to
//!         dead bytes                                        entries dropped from the front
//!         entry*
//! entry = flags | ms - first.ms | seq - first.seq | [field count] | values, or fields and values by turns | elements before this one
//! ```
//! 1. All of it are listpack elements, as in Redis' stream nodes: an entry's bytes are Redis' own. `flags` is 2 if the fields are those of
//!    the node, else 0 and the names stand in the entry. Redis marks deleted entries; here their bytes go.
//! 2. A node takes no more entries when Redis' would not: deleted ones count, by number and by bytes ([`Node::is_full`]). So `MAXLEN ~` answers
//!    what Redis answers.
//! 3. A node has a live entry, or is about to be dropped by its stream.
//! 4. Appending touches the end alone: nothing is decoded, and there is no allocation but the growth of the buffer.

use super::id::Id;
use crate::keyspace::size_class;
use crate::limits::STREAM_NODE_LEN_MAX;
use crate::value::Shaping;
use crate::value::listpack::{self, Element, HEADER_LEN, IntegerText, Listpack};

/// The entry's fields are those of the node.
const SAME_FIELDS: i64 = 2;
/// Elements of an entry beside its fields and values: flags, two differences. (An entry's last element counts them.)
const FIXED_ELEMENTS: usize = 3;
/// What a node's listpack takes in Redis beyond the bytes here: header and terminator, and the zero behind the field names.
const REDIS_OVERHEAD: usize = 6 + 1 + 2 - HEADER_LEN;

/// A node. See above.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// What differences are to: the ID of the first entry it ever had.
    first: Id,
    /// The ID of the newest entry it ever had.
    last: Id,
    live: u32,
    deleted: u32,
    /// Where the oldest entry is in `bytes`.
    start: usize,
    /// Bytes of deleted entries that are not in `bytes` any more.
    removed_bytes: usize,
    bytes: Vec<u8>,
}

/// An entry, borrowed from its node.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its ID.
    pub id: Id,
    run: Listpack<'a>,
    fields: usize,
    /// Offset of the first name of the node's fields, if the entry has those.
    names: Option<usize>,
    /// Offset of the first value, or of the first name if the entry has its own.
    body: usize,
}

impl<'a> Entry<'a> {
    /// Pairs of field and value.
    #[inline]
    pub fn fields(&self) -> usize {
        self.fields
    }

    /// Fields and values, in their order.
    #[inline]
    pub fn pairs(self) -> impl Iterator<Item = (Element<'a>, Element<'a>)> {
        let mut body = self.run.iter_from(self.body);
        let mut names = self.names.map(|at| self.run.iter_from(at));
        (0..self.fields).map_while(move |_| {
            let field = match &mut names {
                Some(names) => names.next()?,
                None => body.next()?,
            };
            Some((field, body.next()?))
        })
    }
}

impl Node {
    /// A node with one entry. `pairs` are fields and values by turns.
    pub(super) fn new(id: Id, pairs: &[&[u8]]) -> Node {
        let mut bytes = Vec::new();
        listpack::push_back(&mut bytes, (pairs.len() / 2) as i64);
        pairs.iter().step_by(2).for_each(|field| listpack::push_back(&mut bytes, *field));
        let start = bytes.len();
        let mut node = Node { first: id, last: id, live: 0, deleted: 0, start, removed_bytes: 0, bytes };
        node.push(id, pairs);
        node
    }

    /// Adds an entry behind all others.
    #[inline]
    pub(super) fn push(&mut self, id: Id, pairs: &[&[u8]]) {
        let fields = pairs.len() / 2;
        let same = self.has_fields(pairs);
        let bytes = &mut self.bytes;
        listpack::push_back(bytes, if same { SAME_FIELDS } else { 0 });
        // Wrapping: the difference of two sequence numbers may be anything.
        listpack::push_back(bytes, id.ms.wrapping_sub(self.first.ms) as i64);
        listpack::push_back(bytes, id.seq.wrapping_sub(self.first.seq) as i64);
        let elements = if same {
            pairs.iter().skip(1).step_by(2).for_each(|value| listpack::push_back(bytes, *value));
            fields
        } else {
            listpack::push_back(bytes, fields as i64);
            pairs.iter().for_each(|word| listpack::push_back(bytes, *word));
            1 + 2 * fields
        };
        listpack::push_back(bytes, (FIXED_ELEMENTS + elements) as i64);
        self.last = id;
        self.live += 1;
    }

    /// Whether the fields of `pairs` are those of the node.
    #[inline]
    fn has_fields(&self, pairs: &[&[u8]]) -> bool {
        let run = self.run();
        let mut names = run.iter();
        names.next() == Some(Element::Integer((pairs.len() / 2) as i64))
            && pairs.iter().step_by(2).all(|field| names.next().is_some_and(|name| name.is(field)))
    }

    /// Whether an entry of `len` bytes (fields and values) is to begin a new node.
    #[inline]
    pub(super) fn is_full(&self, len: usize, shaping: &Shaping) -> bool {
        let entries = (self.live + self.deleted) as usize;
        let counts =
            Element::Integer(i64::from(self.live)).entry_len() + Element::Integer(i64::from(self.deleted)).entry_len();
        let bytes_max = match shaping.stream_node_max_bytes {
            0 => STREAM_NODE_LEN_MAX,
            max => max.min(STREAM_NODE_LEN_MAX),
        };
        self.bytes.len() + self.removed_bytes + REDIS_OVERHEAD + counts + len >= bytes_max
            || (shaping.stream_node_max_entries != 0 && entries >= shaping.stream_node_max_entries)
    }

    /// Gives back what the buffer has too much: the node takes no more entries.
    pub(super) fn seal(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// ID of the first entry it ever had: its place among nodes.
    #[inline]
    pub(super) fn first(&self) -> Id {
        self.first
    }

    /// [`Node::first`], to sort by.
    #[inline]
    pub(super) fn first_ref(&self) -> &Id {
        &self.first
    }

    /// ID of the newest entry it ever had.
    #[inline]
    pub(super) fn last(&self) -> Id {
        self.last
    }

    /// Entries.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.live as usize
    }

    /// Bytes its buffer takes.
    #[inline]
    pub(super) fn heap_bytes(&self) -> usize {
        size_class(self.bytes.capacity())
    }

    #[inline]
    fn run(&self) -> Listpack<'_> {
        Listpack::new(&self.bytes)
    }

    /// The entry at offset `at`, and the offset behind it.
    #[inline]
    fn entry(&self, at: usize) -> (Entry<'_>, usize) {
        let run = self.run();
        let same = integer(run.element(at)) == SAME_FIELDS;
        let at = run.next(at);
        let ms = self.first.ms.wrapping_add(integer(run.element(at)) as u64);
        let at = run.next(at);
        let seq = self.first.seq.wrapping_add(integer(run.element(at)) as u64);
        let mut body = run.next(at);
        let count_at = if same { HEADER_LEN } else { body };
        let fields = integer(run.element(count_at)) as usize;
        let mut elements = fields;
        let names = if same {
            Some(run.next(HEADER_LEN))
        } else {
            body = run.next(body);
            elements *= 2;
            None
        };
        let mut end = body;
        for _ in 0..=elements {
            end = run.next(end);
        }
        (Entry { id: Id { ms, seq }, run, fields, names, body }, end)
    }

    /// Its entries, oldest first.
    #[inline]
    pub(super) fn entries(&self) -> Entries<'_> {
        Entries { node: self, at: self.start }
    }

    /// Its entries, newest first.
    #[inline]
    pub(super) fn entries_backward(&self) -> EntriesBackward<'_> {
        EntriesBackward { node: self, end: self.bytes.len(), left: self.live }
    }

    /// The entry with this ID.
    pub(super) fn get(&self, id: Id) -> Option<Entry<'_>> {
        if id < self.first || id > self.last {
            return None;
        }
        self.entries().find(|entry| entry.id >= id).filter(|entry| entry.id == id)
    }

    /// Entries with an ID below `bound`.
    pub(super) fn count_before(&self, bound: Id) -> usize {
        if self.last < bound {
            return self.len();
        }
        self.entries().take_while(|entry| entry.id < bound).count()
    }

    /// Removes the entry with this ID; says whether it was there.
    pub(super) fn remove(&mut self, id: Id) -> bool {
        let mut entries = self.entries();
        loop {
            let at = entries.at;
            match entries.next() {
                Some(entry) if entry.id < id => {}
                Some(entry) if entry.id == id => {
                    let end = entries.at;
                    self.cut(at, end);
                    return true;
                }
                _ => return false,
            }
        }
    }

    /// Takes the bytes of one entry away.
    fn cut(&mut self, at: usize, end: usize) {
        if at == self.start {
            self.start = end;
        } else {
            let elements = Listpack::new(&self.bytes[..end]).iter_from(at).count();
            self.removed_bytes += end - at;
            listpack::remove(&mut self.bytes, at, elements);
        }
        self.live -= 1;
        self.deleted += 1;
    }

    /// Removes the oldest entries, up to `n` and only with IDs below `bound`; says how many those were.
    pub(super) fn trim(&mut self, n: usize, bound: Option<Id>) -> usize {
        let mut entries = self.entries();
        let (mut trimmed, mut start) = (0, self.start);
        while trimmed < n
            && let Some(entry) = entries.next()
            && bound.is_none_or(|bound| entry.id < bound)
        {
            trimmed += 1;
            start = entries.at;
        }
        self.start = start;
        self.live -= trimmed as u32;
        self.deleted += trimmed as u32;
        trimmed
    }
}

#[inline]
fn integer(element: Element<'_>) -> i64 {
    match element {
        Element::Integer(value) => value,
        Element::Bytes(_) => unreachable!("nodes are made here, with integers in these places"),
    }
}

/// Entries of a node, oldest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entries<'a> {
    node: &'a Node,
    at: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        if self.at >= self.node.bytes.len() {
            return None;
        }
        let (entry, end) = self.node.entry(self.at);
        self.at = end;
        Some(entry)
    }
}

/// Entries of a node, newest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct EntriesBackward<'a> {
    node: &'a Node,
    end: usize,
    left: u32,
}

impl<'a> Iterator for EntriesBackward<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        self.left = self.left.checked_sub(1)?;
        let run = self.node.run();
        let mut at = run.previous(self.end)?;
        for _ in 0..integer(run.element(at)) {
            at = run.previous(at)?;
        }
        self.end = at;
        Some(self.node.entry(at).0)
    }
}

/// Calls `take` with the text of a field and that of its value, for each pair.
#[inline]
pub fn for_each_pair(entry: Entry<'_>, mut take: impl FnMut(&[u8], &[u8])) {
    let (mut field_text, mut value_text) = (IntegerText::new(), IntegerText::new());
    for (field, value) in entry.pairs() {
        take(field.as_bytes(&mut field_text), value.as_bytes(&mut value_text));
    }
}

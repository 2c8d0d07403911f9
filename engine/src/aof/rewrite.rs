//! Commands that make an entry, from its parts: what a rewritten append-only file holds, and what can be sent to any server.

use crate::keyspace::entry::Stored;
use crate::number::print_double;
use crate::value::part::{Item, Items, StreamHeader, StreamItem};
use crate::value::stream::{ConsumerNumber, Id, Pending};
use crate::value::{BadValue, Kind};
use std::io;

/// Elements of one command, at most, as in Redis.
const ELEMENTS_MAX: usize = 64;

/// Why commands cannot be made or handed on.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// The parts do not decode.
    #[error("the value's parts do not decode: {0}")]
    Value(#[from] BadValue),
    /// Whoever takes the commands failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Takes commands.
pub type Emit<'a> = dyn FnMut(&[&[u8]]) -> io::Result<()> + 'a;

/// Makes commands of the parts of entries; what must be remembered between the parts of a stream is here.
#[derive(Debug, Default)]
pub struct Rewriter {
    header: Option<StreamHeader>,
    has_entries: bool,
    header_done: bool,
    group: Vec<u8>,
    consumers: Vec<(ConsumerNumber, Vec<u8>)>,
}

impl Rewriter {
    /// Hands on the commands that make the next part of an entry; the last one of an entry sets its deadline. `emit` sees the key as second word.
    ///
    /// # Errors
    /// [`RewriteError`].
    pub fn part(&mut self, part: &Stored<'_>, emit: &mut Emit<'_>) -> Result<(), RewriteError> {
        if !part.continues {
            *self = Rewriter::default();
        }
        match part.kind {
            Kind::String => emit(&[b"SET", part.key, part.body])?,
            Kind::Stream => self.stream(part, emit)?,
            _ => elements(part, emit)?,
        }
        if let (false, Some(deadline)) = (part.continued, part.deadline) {
            emit(&[b"PEXPIREAT", part.key, itoa::Buffer::new().format(deadline).as_bytes()])?;
        }
        Ok(())
    }

    fn stream(&mut self, part: &Stored<'_>, emit: &mut Emit<'_>) -> Result<(), RewriteError> {
        let key = part.key;
        let mut items = Items::new(Kind::Stream, part.body);
        while let Some(item) = items.take_stream_item()? {
            match item {
                StreamItem::Header { header, .. } => self.header = Some(header),
                StreamItem::Entry(id) => {
                    self.has_entries = true;
                    let id = id.text();
                    let mut words: Vec<&[u8]> = vec![b"XADD", key, &id[..]];
                    words.extend_from_slice(items.words());
                    emit(&words)?;
                }
                StreamItem::Group { name, last_id, entries_read } => {
                    self.end_entries(key, emit)?;
                    self.group = name.to_vec();
                    self.consumers.clear();
                    let (id, mut digits) = (last_id.text(), itoa::Buffer::new());
                    let read = digits.format(entries_read.and_then(|read| i64::try_from(read).ok()).unwrap_or(-1));
                    emit(&[b"XGROUP", b"CREATE", key, name, &id[..], b"ENTRIESREAD", read.as_bytes()])?;
                }
                StreamItem::Consumer { number, name, .. } => {
                    self.consumers.push((number, name.to_vec()));
                    emit(&[b"XGROUP", b"CREATECONSUMER", key, &self.group, name])?;
                }
                StreamItem::Pending(pending) => self.pending(key, &pending, emit)?,
            }
        }
        if !part.continued {
            self.end_entries(key, emit)?;
        }
        Ok(())
    }

    fn pending(&self, key: &[u8], pending: &Pending, emit: &mut Emit<'_>) -> Result<(), RewriteError> {
        let found = self.consumers.binary_search_by_key(&pending.consumer, |(number, _)| *number);
        let (_, name) = &self.consumers[found.map_err(|_| BadValue::Stream)?];
        let (id, mut time, mut count) = (pending.id.text(), itoa::Buffer::new(), itoa::Buffer::new());
        let (time, count) = (time.format(pending.delivered_ms), count.format(pending.deliveries));
        emit(&[
            b"XCLAIM",
            key,
            &self.group,
            name,
            b"0",
            &id[..],
            b"TIME",
            time.as_bytes(),
            b"RETRYCOUNT",
            count.as_bytes(),
            b"FORCE",
            b"JUSTID",
        ])?;
        Ok(())
    }

    /// Behind the entries: the counters, and an empty stream.
    fn end_entries(&mut self, key: &[u8], emit: &mut Emit<'_>) -> Result<(), RewriteError> {
        if self.header_done {
            return Ok(());
        }
        self.header_done = true;
        let header = self.header.ok_or(BadValue::Stream)?;
        if !self.has_entries {
            // An entry that is gone at once makes the stream. Its ID may not be 0-0.
            let id = header.last_id.max(Id { ms: 0, seq: 1 }).text();
            emit(&[b"XADD", key, b"MAXLEN", b"0", &id[..], b"x", b"y"])?;
        }
        let (last, deleted, mut added) = (header.last_id.text(), header.max_deleted_id.text(), itoa::Buffer::new());
        let added = added.format(header.entries_added);
        emit(&[b"XSETID", key, &last[..], b"ENTRIESADDED", added.as_bytes(), b"MAXDELETEDID", &deleted[..]])?;
        Ok(())
    }
}

/// Lists, sets, sorted sets and hashes: one command for some dozens of elements.
fn elements(part: &Stored<'_>, emit: &mut Emit<'_>) -> Result<(), RewriteError> {
    let (name, per_element): (&[u8], usize) = match part.kind {
        Kind::List => (b"RPUSH", 1),
        Kind::Set => (b"SADD", 1),
        Kind::SortedSet => (b"ZADD", 2),
        _ => (b"HSET", 2),
    };
    let mut items = Items::new(part.kind, part.body);
    let mut more = true;
    while more {
        let mut batch: Vec<Item<'_>> = Vec::with_capacity(ELEMENTS_MAX);
        while batch.len() < ELEMENTS_MAX {
            match items.take()? {
                Some(item) => batch.push(item),
                None => {
                    more = false;
                    break;
                }
            }
        }
        let mut texts = Vec::new();
        let mut ends = Vec::new();
        for item in &batch {
            if let Item::Scored { score, .. } = item {
                print_double(*score, &mut texts);
                ends.push(texts.len());
            }
        }
        let mut words: Vec<&[u8]> = vec![name, part.key];
        let mut start = 0;
        for (at, item) in batch.iter().enumerate() {
            match item {
                Item::Element(element) => words.push(element),
                Item::Scored { member, .. } => {
                    words.extend([&texts[start..ends[at]], member]);
                    start = ends[at];
                }
                Item::Field(field) => words.extend([field.name, field.value]),
                Item::Stream(_) => {}
            }
        }
        if words.len() >= 2 + per_element {
            emit(&words)?;
        }
        for item in &batch {
            if let Item::Field(field) = item
                && let Some(at) = field.deadline
            {
                let mut digits = itoa::Buffer::new();
                let at = digits.format(at).as_bytes();
                emit(&[b"HPEXPIREAT", part.key, at, b"FIELDS", b"1", field.name])?;
            }
        }
    }
    Ok(())
}

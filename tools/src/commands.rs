//! An entry as the commands that make it: for `redis-cli --pipe`, for an AOF, for a live server; and back, for what can only be read as commands.
//!
//! Large collections come as many commands of [`ITEMS_MAX`] items, so that a server is never held up by one.

use crate::ToolError;
use crate::json::id;
use firn_engine::keyspace::{Entry, Value};
use firn_engine::number::print_double;
use firn_engine::value::listpack::IntegerText;
use firn_engine::value::stream::{Id, for_each_pair};
use firn_engine::value::{CollectionView, Stream};
use std::io::Write;

/// Items in one command, as Redis' own rewriting has them.
const ITEMS_MAX: usize = 64;

/// Takes commands.
pub(crate) type Take<'t> = dyn FnMut(&[&[u8]]) -> Result<(), ToolError> + 't;

/// Gathers items of one collection into commands.
struct Batch<'a, 't> {
    head: &'a [&'a [u8]],
    words: Vec<Vec<u8>>,
    items: usize,
    take: &'a mut Take<'t>,
    result: Result<(), ToolError>,
}

impl<'a, 't> Batch<'a, 't> {
    fn new(head: &'a [&'a [u8]], take: &'a mut Take<'t>) -> Self {
        Batch { head, words: Vec::new(), items: 0, take, result: Ok(()) }
    }

    fn push(&mut self, words: &[&[u8]]) {
        self.words.extend(words.iter().map(|word| word.to_vec()));
        self.items += 1;
        if self.items == ITEMS_MAX {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.items = 0;
        if self.words.is_empty() {
            return;
        }
        let words: Vec<&[u8]> = self.head.iter().copied().chain(self.words.iter().map(Vec::as_slice)).collect();
        if self.result.is_ok() {
            self.result = (self.take)(&words);
        }
        self.words.clear();
    }

    fn end(mut self) -> Result<(), ToolError> {
        self.flush();
        self.result
    }
}

/// Hands over the commands that make `entry`, deadline included. What only Firn keeps (access) is not in them.
pub(crate) fn of_entry(entry: &Entry<'_>, take: &mut Take<'_>) -> Result<(), ToolError> {
    let key = entry.key;
    match entry.value {
        Value::String(bytes) => take(&[b"SET", key, bytes])?,
        Value::Collection(CollectionView::List(list)) => {
            let head = [&b"RPUSH"[..], key];
            let mut batch = Batch::new(&head, take);
            list.visit(0..list.len(), false, |element| {
                batch.push(&[element.as_bytes(&mut IntegerText::new())]);
                batch.result.is_ok()
            });
            batch.end()?;
        }
        Value::Collection(CollectionView::Set(set)) => {
            let head = [&b"SADD"[..], key];
            let mut batch = Batch::new(&head, take);
            set.iter().for_each(|member| batch.push(&[member.as_bytes(&mut IntegerText::new())]));
            batch.end()?;
        }
        Value::Collection(CollectionView::SortedSet(set)) => {
            let head = [&b"ZADD"[..], key];
            let mut batch = Batch::new(&head, take);
            let mut text = Vec::new();
            set.each(0, usize::MAX, false, |member, score| {
                text.clear();
                print_double(score, &mut text);
                batch.push(&[&text, member]);
            });
            batch.end()?;
        }
        Value::Collection(CollectionView::Hash(hash)) => {
            let head = [&b"HSET"[..], key];
            let mut batch = Batch::new(&head, take);
            for field in hash.fields() {
                let (mut name, mut value) = (IntegerText::new(), IntegerText::new());
                batch.push(&[field.name.as_bytes(&mut name), field.value.as_bytes(&mut value)]);
            }
            batch.end()?;
            for field in hash.fields() {
                if let Some(at) = field.deadline {
                    let (at, mut name) = (at.to_string(), IntegerText::new());
                    take(&[b"HPEXPIREAT", key, at.as_bytes(), b"FIELDS", b"1", field.name.as_bytes(&mut name)])?;
                }
            }
        }
        Value::Collection(CollectionView::Stream(stream)) => of_stream(key, stream, take)?,
    }
    match entry.deadline {
        Some(at) => take(&[b"PEXPIREAT", key, at.to_string().as_bytes()]),
        None => Ok(()),
    }
}

fn of_stream(key: &[u8], stream: &Stream, take: &mut Take<'_>) -> Result<(), ToolError> {
    let last = id(stream.last_id());
    if stream.is_empty() {
        // An entry that is trimmed away at once makes an empty stream.
        take(&[b"XADD", key, b"MAXLEN", b"0", if last == "0-0" { b"0-1" } else { last.as_bytes() }, b"x", b"y"])?;
    }
    for entry in stream.range(Id::MIN, Id::MAX) {
        let at = id(entry.id);
        let mut pairs: Vec<Vec<u8>> = Vec::with_capacity(entry.fields() * 2);
        for_each_pair(entry, |field, value| pairs.extend([field.to_vec(), value.to_vec()]));
        let mut words: Vec<&[u8]> = vec![b"XADD", key, at.as_bytes()];
        words.extend(pairs.iter().map(Vec::as_slice));
        take(&words)?;
    }
    let (added, deleted) = (stream.entries_added().to_string(), id(stream.max_deleted_id()));
    take(&[b"XSETID", key, last.as_bytes(), b"ENTRIESADDED", added.as_bytes(), b"MAXDELETEDID", deleted.as_bytes()])?;
    for group in stream.groups() {
        let (name, at) = (group.name(), id(group.last_id()));
        let read = group.entries_read().map_or("-1".to_owned(), |read| read.to_string());
        take(&[b"XGROUP", b"CREATE", key, name, at.as_bytes(), b"ENTRIESREAD", read.as_bytes()])?;
        for consumer in group.consumers() {
            take(&[b"XGROUP", b"CREATECONSUMER", key, name, consumer.name()])?;
        }
        for pending in group.pending_from(Id::MIN) {
            let consumer = group.numbered(pending.consumer).name();
            let (at, time, times) = (id(pending.id), pending.delivered_ms.to_string(), pending.deliveries.to_string());
            take(&[
                b"XCLAIM",
                key,
                name,
                consumer,
                b"0",
                at.as_bytes(),
                b"TIME",
                time.as_bytes(),
                b"RETRYCOUNT",
                times.as_bytes(),
                b"JUSTID",
                b"FORCE",
            ])?;
        }
    }
    Ok(())
}

/// Writes a command as RESP has it.
pub(crate) fn write(out: &mut dyn Write, words: &[&[u8]]) -> std::io::Result<()> {
    write!(out, "*{}\r\n", words.len())?;
    for word in words {
        write!(out, "${}\r\n", word.len())?;
        out.write_all(word)?;
        out.write_all(b"\r\n")?;
    }
    Ok(())
}

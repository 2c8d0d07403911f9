//! A value as a client would see it: as redis-cli prints the reply of the command that reads all of it, or that reply's RESP2 bytes.
//!
//! Strings as GET answers, lists as LRANGE 0 -1, sets as SMEMBERS, sorted sets as ZRANGE 0 -1 WITHSCORES, hashes as HGETALL, streams as XRANGE - +.

use crate::json::id;
use crate::text;
use firn_engine::keyspace::{Entry, Value};
use firn_engine::number::print_double;
use firn_engine::value::CollectionView;
use firn_engine::value::listpack::IntegerText;
use firn_engine::value::stream::Id;
use std::io::{self, Write};

/// Takes a reply of strings and arrays.
pub(crate) trait Shape {
    /// A string.
    fn bulk(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// So many items follow.
    fn array(&mut self, len: usize) -> io::Result<()>;
}

/// RESP2.
pub(crate) struct Resp<'w>(pub(crate) &'w mut dyn Write);

impl Shape for Resp<'_> {
    fn bulk(&mut self, bytes: &[u8]) -> io::Result<()> {
        write!(self.0, "${}\r\n", bytes.len())?;
        self.0.write_all(bytes)?;
        self.0.write_all(b"\r\n")
    }

    fn array(&mut self, len: usize) -> io::Result<()> {
        write!(self.0, "*{len}\r\n")
    }
}

/// redis-cli's text.
pub(crate) struct Cli<'w> {
    out: &'w mut dyn Write,
    /// Items left, items in all, columns before.
    open: Vec<(usize, usize, usize)>,
}

impl<'w> Cli<'w> {
    /// One that writes to `out`.
    pub(crate) fn new(out: &'w mut dyn Write) -> Cli<'w> {
        Cli { out, open: Vec::new() }
    }

    /// The number of the item, and the columns before it unless it is the first of its array, which goes on in the line.
    fn number(&mut self) -> io::Result<()> {
        let Some((left, all, columns)) = self.open.last_mut() else { return Ok(()) };
        let number = *all - *left + 1;
        *left -= 1;
        let (width, indent) = (all.to_string().len(), if number > 1 { *columns } else { 0 });
        write!(self.out, "{:indent$}{number:>width$}) ", "")
    }

    fn end(&mut self) {
        while matches!(self.open.last(), Some((0, ..))) {
            self.open.pop();
        }
    }
}

impl Shape for Cli<'_> {
    fn bulk(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.number()?;
        writeln!(self.out, "{}", text::quoted(bytes, true))?;
        self.end();
        Ok(())
    }

    fn array(&mut self, len: usize) -> io::Result<()> {
        self.number()?;
        if len == 0 {
            writeln!(self.out, "(empty array)")?;
            self.end();
            return Ok(());
        }
        let columns = self.open.last().map_or(0, |(_, all, columns)| columns + all.to_string().len() + 2);
        self.open.push((len, len, columns));
        Ok(())
    }
}

/// Shows the value of an entry, without fields that are dead at `now_ms`.
pub(crate) fn value(shape: &mut dyn Shape, entry: &Entry<'_>, now_ms: u64) -> io::Result<()> {
    let view = match entry.value {
        Value::String(bytes) => return shape.bulk(bytes),
        Value::Collection(view) => view,
    };
    let mut result = Ok(());
    let mut number = IntegerText::new();
    let mut bulk = |shape: &mut dyn Shape, bytes: &[u8]| {
        if result.is_ok() {
            result = shape.bulk(bytes);
        }
    };
    match view {
        CollectionView::List(list) => {
            shape.array(list.len())?;
            list.visit(0..list.len(), false, |element| {
                bulk(shape, element.as_bytes(&mut number));
                true
            });
        }
        CollectionView::Set(set) => {
            shape.array(set.len())?;
            set.iter().for_each(|member| bulk(shape, member.as_bytes(&mut number)));
        }
        CollectionView::SortedSet(set) => {
            shape.array(set.len() * 2)?;
            set.each(0, usize::MAX, false, |member, score| {
                bulk(shape, member);
                let mut text = Vec::new();
                print_double(score, &mut text);
                bulk(shape, &text);
            });
        }
        CollectionView::Hash(hash) => {
            shape.array(hash.live_len(now_ms) * 2)?;
            for field in hash.live_fields(now_ms) {
                bulk(shape, field.name.as_bytes(&mut number));
                bulk(shape, field.value.as_bytes(&mut number));
            }
        }
        CollectionView::Stream(stream) => {
            shape.array(stream.len())?;
            for entry in stream.range(Id::MIN, Id::MAX) {
                shape.array(2)?;
                shape.bulk(id(entry.id).as_bytes())?;
                shape.array(entry.fields() * 2)?;
                for (field, value) in entry.pairs() {
                    shape.bulk(field.as_bytes(&mut number))?;
                    shape.bulk(value.as_bytes(&mut number))?;
                }
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_arrays_look_as_in_redis_cli() {
        let mut out = Vec::new();
        let mut cli = Cli::new(&mut out);
        let items: &[(&str, usize)] =
            &[("", 2), ("", 2), ("1-1", 0), ("", 2), ("f", 0), ("v", 0), ("", 2), ("2-1", 0), ("", 0)];
        for (bytes, len) in items {
            if bytes.is_empty() { cli.array(*len).unwrap() } else { cli.bulk(bytes.as_bytes()).unwrap() }
        }
        let text = "1) 1) \"1-1\"\n   2) 1) \"f\"\n      2) \"v\"\n2) 1) \"2-1\"\n   2) (empty array)\n";
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }
}

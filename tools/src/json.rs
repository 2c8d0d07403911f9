//! JSON forms that several commands share.
//!
//! A byte string that is UTF-8 is a JSON string, any other `{"hex": "..."}`. An entry is
//! `{"db", "key", "type", "expires_ms", ..., "value"}`; values: string a byte string; list and set arrays of them; zset `[[member, score], ...]`
//! (scores that JSON lacks are the strings "inf" and "-inf"); hash an object, or `[[field, value, expires_ms or null], ...]` if a name is not
//! UTF-8 or a field has a deadline; stream an object with `entries` `[[id, [field, value, ...]], ...]` and `groups`. A library of functions is
//! `{"library", "source"}`.

use firn_engine::keyspace::{Entry, Value as Stored};
use firn_engine::value::listpack::{Element, IntegerText};
use firn_engine::value::stream::{Id, for_each_pair};
use firn_engine::value::{CollectionView, Stream};
use serde_json::{Value, json};
use std::io::{self, Write};

/// Bytes as JSON: a string if they are UTF-8, else `{"hex": "..."}`.
pub(crate) fn bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => json!({ "hex": hex(bytes) }),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for half in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(half)]));
        }
    }
    text
}

/// The bytes that [`bytes`] made this of.
pub(crate) fn to_bytes(value: &Value) -> Option<Vec<u8>> {
    if let Value::String(text) = value {
        return Some(text.clone().into_bytes());
    }
    let hex = value.as_object().filter(|object| object.len() == 1)?.get("hex")?.as_str()?;
    let half = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, []) = hex.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(half(*high)? << 4 | half(*low)?)).collect()
}

/// Writes [`bytes`] without a tree in memory.
fn put(out: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::to_writer(out, text).map_err(Into::into),
        Err(_) => write!(out, "{{\"hex\":\"{}\"}}", hex(bytes)),
    }
}

fn put_element(out: &mut dyn Write, element: Element<'_>) -> io::Result<()> {
    put(out, element.as_bytes(&mut IntegerText::new()))
}

/// A score; JSON has no infinity.
pub(crate) fn score(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or_else(
        || Value::from(if value > 0.0 { "inf" } else { "-inf" }),
        |number| match value {
            // As a whole number where that says the same: 1, not 1.0.
            _ if value.fract() == 0.0 && value.abs() < 9e15 && !(value == 0.0 && value.is_sign_negative()) => {
                Value::from(value as i64)
            }
            _ => Value::Number(number),
        },
    )
}

/// Writes the value of an entry.
pub(crate) fn write_value(out: &mut dyn Write, entry: &Entry<'_>) -> io::Result<()> {
    let view = match entry.value {
        Stored::String(bytes) => return put(out, bytes),
        Stored::Collection(view) => view,
    };
    let mut result = Ok(());
    let mut first = true;
    // Elements of collections are visited by closures that cannot fail.
    let mut each = |out: &mut dyn Write, write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>| {
        if result.is_ok() {
            result = if std::mem::take(&mut first) { Ok(()) } else { out.write_all(b",") }.and_then(|()| write(out));
        }
    };
    match view {
        CollectionView::List(list) => {
            out.write_all(b"[")?;
            list.visit(0..list.len(), false, |element| {
                each(out, &mut |out| put_element(out, element));
                true
            });
            result?;
            out.write_all(b"]")
        }
        CollectionView::Set(set) => {
            out.write_all(b"[")?;
            set.iter().for_each(|member| each(out, &mut |out| put_element(out, member)));
            result?;
            out.write_all(b"]")
        }
        CollectionView::SortedSet(set) => {
            out.write_all(b"[")?;
            set.each(0, usize::MAX, false, |member, value| {
                each(out, &mut |out| {
                    out.write_all(b"[")?;
                    put(out, member)?;
                    write!(out, ",{}]", score(value))
                });
            });
            result?;
            out.write_all(b"]")
        }
        CollectionView::Hash(hash) => {
            let plain = hash.fields().all(|field| {
                field.deadline.is_none() && std::str::from_utf8(field.name.as_bytes(&mut IntegerText::new())).is_ok()
            });
            out.write_all(if plain { b"{" } else { b"[" })?;
            for field in hash.fields() {
                each(out, &mut |out| {
                    if !plain {
                        out.write_all(b"[")?;
                    }
                    put_element(out, field.name)?;
                    out.write_all(if plain { b":" } else { b"," })?;
                    put_element(out, field.value)?;
                    match field.deadline {
                        _ if plain => Ok(()),
                        Some(at) => write!(out, ",{at}]"),
                        None => out.write_all(b",null]"),
                    }
                });
            }
            result?;
            out.write_all(if plain { b"}" } else { b"]" })
        }
        CollectionView::Stream(stream) => write_stream(out, stream),
    }
}

/// An ID as text.
pub(crate) fn id(id: Id) -> String {
    format!("{}-{}", id.ms, id.seq)
}

fn write_stream(out: &mut dyn Write, stream: &Stream) -> io::Result<()> {
    write!(
        out,
        "{{\"last_id\":\"{}\",\"max_deleted_id\":\"{}\",\"entries_added\":{},\"entries\":[",
        id(stream.last_id()),
        id(stream.max_deleted_id()),
        stream.entries_added()
    )?;
    for (at, entry) in stream.range(Id::MIN, Id::MAX).enumerate() {
        write!(out, "{}[\"{}\",[", if at > 0 { "," } else { "" }, id(entry.id))?;
        let (mut first, mut result) = (true, Ok(()));
        for_each_pair(entry, |field, value| {
            for word in [field, value] {
                if result.is_ok() {
                    result = if std::mem::take(&mut first) { Ok(()) } else { out.write_all(b",") }
                        .and_then(|()| put(out, word));
                }
            }
        });
        result?;
        out.write_all(b"]]")?;
    }
    out.write_all(b"],\"groups\":[")?;
    for (at, group) in stream.groups().enumerate() {
        let consumers: Vec<Value> = group
            .consumers()
            .map(|it| json!({ "name": bytes(it.name()), "seen_ms": it.seen_ms, "active_ms": it.active_ms }))
            .collect();
        let pending: Vec<Value> = group
            .pending_from(Id::MIN)
            .map(|it| json!([id(it.id), bytes(group.numbered(it.consumer).name()), it.delivered_ms, it.deliveries]))
            .collect();
        let group = json!({
            "name": bytes(group.name()),
            "last_id": id(group.last_id()),
            "entries_read": group.entries_read(),
            "consumers": consumers,
            "pending": pending,
        });
        write!(out, "{}{group}", if at > 0 { "," } else { "" })?;
    }
    out.write_all(b"]}")
}

/// Writes a library of functions as one object, without the line's end.
pub(crate) fn write_library(out: &mut dyn Write, name: &[u8], source: &[u8]) -> io::Result<()> {
    out.write_all(b"{\"library\":")?;
    put(out, name)?;
    out.write_all(b",\"source\":")?;
    put(out, source)?;
    out.write_all(b"}")
}

/// Writes an entry as one object, without the line's end.
pub(crate) fn write_entry(out: &mut dyn Write, db: usize, entry: &Entry<'_>) -> io::Result<()> {
    write!(out, "{{\"db\":{db},\"key\":")?;
    put(out, entry.key)?;
    write!(out, ",\"type\":\"{}\"", entry.value.kind().name())?;
    if let Some(at) = entry.deadline {
        write!(out, ",\"expires_ms\":{at}")?;
    }
    if entry.access != 0 {
        // As files have it.
        write!(out, ",\"access\":{}", entry.access >> 8)?;
    }
    out.write_all(b",\"value\":")?;
    write_value(out, entry)?;
    out.write_all(b"}")
}

//! Behind damage in an RDB file: where entries go on, and which keys are in what is left out.
//!
//! A place is believed if several entries in a row, or the end, can be read from it. Zeros can be read as entries without name or value, and
//! a name occurs once in a database: neither is believed. Of a first entry whose name is not what names are as a rule it is told that it may be none.

use super::{Source, bytes_at};
use crate::ToolError;
use firn_engine::keyspace::entry::Stored;
use firn_engine::rdb::{BadRdb, Event, RdbError, Reader};
use firn_engine::value::Kind;
use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::path::Path;

/// So far behind structural damage is searched for entries.
const SEARCH_MAX: u64 = 64 * 1024 * 1024;
/// So much is searched at a time; as much again must be readable behind a place.
const SEARCH_STEP: usize = 1 << 20;
/// So many entries in a row must be readable for a place to be believed.
const BELIEVED_FROM: usize = 4;
/// So much of what is left out is searched for keys' names.
const NAMES_WITHIN: u64 = 1 << 20;
/// So many names are kept to tell that one comes twice; then they are forgotten.
const NAMES_KEPT: usize = 4 << 20;

/// The first place behind `from` and before `to` from which on entries can be read, past `past`.
pub(super) fn search(
    path: &Path,
    reader: &Reader<Source>,
    from: u64,
    to: u64,
    past: u64,
) -> Result<Option<u64>, ToolError> {
    let (mut at, to) = (from + 1, to.min(from.saturating_add(SEARCH_MAX)));
    while at < to {
        let bytes = bytes_at(path, at, SEARCH_STEP as u64 * 2)?;
        let is_last = bytes.len() < SEARCH_STEP * 2;
        for start in 0..bytes.len().min(SEARCH_STEP).min((to - at) as usize) {
            // Types, deadlines, databases, the end: nothing else begins an entry.
            if !matches!(bytes[start], 0..=25 | 248 | 249 | 251..=255) {
                continue;
            }
            let (offset, rest) = (at + start as u64, &bytes[start..]);
            let probe = Reader::probe(rest, reader.header(), offset, reader.db());
            if believed(probe, offset, rest, is_last, past) {
                return Ok(Some(offset));
            }
        }
        if is_last {
            return Ok(None);
        }
        at += SEARCH_STEP as u64;
    }
    Ok(None)
}

/// Whether entries, or the end, can be read from here on, and past `past`. `is_last` says that the file ends with these bytes.
fn believed(mut reader: Reader<&[u8]>, offset: u64, bytes: &[u8], is_last: bool, past: u64) -> bool {
    let (mut entries, mut names) = (0, Vec::<Vec<u8>>::new());
    while entries < BELIEVED_FROM || reader.offset() <= past {
        match reader.next_event() {
            // Something of the kind that a writer makes: keys of any length occur, but not a run of empty ones, and each only once.
            Ok(Some(Event::Entry(part))) if !part.stored.key.is_empty() => {
                let is_new = part.stored.continues || !names.iter().any(|name| name == part.stored.key);
                if !is_new {
                    return false;
                }
                if !part.stored.continues && names.len() < BELIEVED_FROM {
                    names.push(part.stored.key.to_vec());
                }
                entries += usize::from(!part.stored.continued);
            }
            Ok(Some(Event::End { .. })) => {
                // Nothing, or commands, or zeros, must follow.
                let behind = &bytes[(reader.offset() - offset) as usize..];
                return is_last && behind.iter().all(|byte| *byte == 0) || begins_commands(behind);
            }
            Ok(Some(Event::Database(_) | Event::Expected { .. })) => {}
            Err(RdbError::Bad { why: BadRdb::Cut, .. }) if !is_last => return entries > 0 && reader.offset() > past,
            _ => return false,
        }
    }
    true
}

/// Where entries begin within the entry from `start` to `end` that lead exactly to its end: those that it has taken for a part of its value.
pub(super) fn nested(path: &Path, reader: &Reader<Source>, start: u64, end: u64) -> Result<Option<u64>, ToolError> {
    const WITHIN: u64 = 16 << 20;
    const ENTRIES: usize = 2;
    if end - start > WITHIN {
        return Ok(None);
    }
    let bytes = bytes_at(path, start, end - start)?;
    for at in 1..bytes.len() {
        if !matches!(bytes[at], 0..=25 | 248 | 249 | 252 | 253) {
            continue;
        }
        let mut probe = Reader::probe(&bytes[at..], reader.header(), start + at as u64, reader.db());
        let mut entries = 0;
        let leads = loop {
            match probe.next_event() {
                Ok(Some(Event::Entry(part))) if is_text(part.stored.key) => {
                    entries += usize::from(!part.stored.continued);
                }
                _ => break false,
            }
            if probe.offset() == end {
                break entries >= ENTRIES;
            }
        };
        if leads {
            return Ok(Some(start + at as u64));
        }
    }
    Ok(None)
}

/// Whether commands of an append-only file begin here.
fn begins_commands(bytes: &[u8]) -> bool {
    matches!(bytes, [b'*', digit, ..] if digit.is_ascii_digit()) || bytes.starts_with(b"#TS:")
}

/// Whether the RDB part of a file can end at `end`: nothing, zeros, or commands follow.
pub(super) fn is_end(path: &Path, end: u64, len: u64) -> Result<bool, ToolError> {
    let behind = bytes_at(path, end, 16)?;
    Ok(begins_commands(&behind) || super::zeros_from(path, end, len)?)
}

/// Where the RDB part of a file may end: behind each end and checksum that commands follow, or else with the file.
pub(super) fn ends(path: &Path, len: u64) -> Result<Vec<u64>, ToolError> {
    const ENDS_MAX: usize = 8;
    /// The end's byte, the checksum, the beginning of a command.
    const TAIL: usize = 1 + 8 + 4;
    let (mut ends, mut at) = (Vec::new(), 0);
    while at < len && ends.len() < ENDS_MAX {
        let bytes = bytes_at(path, at, (SEARCH_STEP + TAIL) as u64)?;
        let places = memchr::memchr_iter(0xff, &bytes[..bytes.len().min(SEARCH_STEP)]);
        ends.extend(
            places
                .filter(|place| begins_commands(bytes.get(place + 9..).unwrap_or_default()))
                .map(|it| at + it as u64 + 9),
        );
        at += SEARCH_STEP as u64;
    }
    ends.truncate(ENDS_MAX);
    if ends.is_empty() {
        ends.push(len);
    }
    Ok(ends)
}

/// Names that came, to tell when one comes twice.
#[derive(Default)]
pub(super) struct Names(HashSet<u64>);

impl Names {
    /// Whether it is new.
    pub(super) fn add(&mut self, db: u32, key: &[u8]) -> bool {
        if self.0.len() >= NAMES_KEPT {
            self.0.clear();
        }
        self.0.insert(BuildHasherDefault::<DefaultHasher>::default().hash_one((db, key)))
    }
}

/// Whether an entry without a name is nothing: zeros can be read as one. `is_first` says that it is the first behind damage.
pub(super) fn is_nothing(stored: &Stored<'_>, is_first: bool) -> bool {
    stored.key.is_empty() && (is_first || stored.kind == Kind::String && !is_text(stored.body))
}

/// Whether a key is one that bytes within a value are easily taken for.
pub(super) fn is_odd_name(key: &[u8]) -> bool {
    key.len() == 1 || !is_text(key)
}

/// Whether bytes are text, as names of keys are, as a rule.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    !bytes.is_empty() && std::str::from_utf8(bytes).is_ok_and(|text| !text.contains(char::is_control))
}

/// What may be keys in the bytes from `from` to `to`, which cannot be read.
pub(super) fn names_between(path: &Path, from: u64, to: u64) -> Result<Vec<Vec<u8>>, ToolError> {
    Ok(names_in(&bytes_at(path, from, (to - from).min(NAMES_WITHIN))?))
}

/// The first string in bytes that is text, which is how a damaged entry begins, and those that stand behind a type as a key does.
fn names_in(bytes: &[u8]) -> Vec<Vec<u8>> {
    const NAMES_MAX: usize = 1000;
    let string = |at: usize| -> Option<&[u8]> {
        let (len, from) = match *bytes.get(at)? {
            len @ 1..=63 => (usize::from(len), at + 1),
            high @ 64..=127 => (usize::from(high & 63) << 8 | usize::from(*bytes.get(at + 1)?), at + 2),
            _ => return None,
        };
        bytes.get(from..from + len).filter(|text| is_text(text))
    };
    let mut names: Vec<Vec<u8>> = Vec::new();
    let mut at = 0;
    while at < bytes.len() && names.len() < NAMES_MAX {
        let is_key = bytes[at] <= 25 && at + 1 < bytes.len();
        let behind_type = if is_key { string(at + 1) } else { None };
        let found = behind_type.map(|text| (text, 1)).or_else(|| {
            let first = if names.is_empty() { string(at).filter(|text| text.len() > 1) } else { None };
            first.map(|text| (text, 0))
        });
        match found {
            Some((text, skip)) => {
                if !names.iter().any(|name| name == text) {
                    names.push(text.to_vec());
                }
                at += skip + 1 + text.len();
            }
            None => at += 1,
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_what_is_left_of_entries() {
        assert_eq!(names_in(b"\xff\x07key:500\xc7value"), [b"key:500".to_vec()]);
        assert_eq!(names_in(b"\xff\xfe\x01"), Vec::<Vec<u8>>::new());
        assert_eq!(names_in(b"\xff\x07key:500\x03abc\x00\x05key:7\x02ab"), [b"key:500".to_vec(), b"key:7".to_vec()]);
    }
}

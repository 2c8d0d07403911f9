//! Changes, and the entries that they touch, spread over files by position: each range of positions is then replayed from a file of its own
//! instead of from all of them, so that a long history is read twice in all, and not once for each range.
//!
//! The files have no names and are gone when the process ends.

use super::change::{self, Change, Touches, touched};
use super::{Tail, VisitChange};
use crate::ToolError;
use firn_engine::key::HashSeed;
use firn_engine::keyspace::Entry;
use firn_engine::keyspace::entry::{self, Assembly};
use firn_engine::value::Shaping;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

/// Files at most.
pub(super) const PARTS_MAX: usize = 200;
/// Bytes that are put together for each file.
const BUFFER_LEN: usize = 32 * 1024;
/// Before a change's words: file, flags, database, offset, LSN, time, number of words.
const CHANGE_LEN: usize = 2 + 1 + 4 + 8 + 8 + 8 + 4;
/// Before an entry's bytes: database, length.
const ENTRY_LEN: usize = 4 + 8;
const HAS_LSN: u8 = 1;
const HAS_TIME: u8 = 2;

/// See above.
pub(super) struct Spread {
    /// The last position of each part.
    ends: Vec<u64>,
    parts: Vec<(BufWriter<File>, BufWriter<File>)>,
    names: Vec<String>,
    bytes: Vec<u8>,
}

/// What belongs to one range of positions.
pub(super) struct Part<'n> {
    changes: File,
    entries: File,
    names: &'n [String],
}

/// All parts.
pub(super) struct Parts {
    files: Vec<(File, File)>,
    names: Vec<String>,
}

fn failed(error: &io::Error) -> ToolError {
    ToolError::Unreadable(format!("a temporary file: {error}"))
}

impl Spread {
    /// Over parts that end with these positions.
    pub(super) fn new(ends: Vec<u64>) -> Result<Spread, ToolError> {
        let file = || -> Result<_, ToolError> {
            Ok(BufWriter::with_capacity(BUFFER_LEN, tempfile::tempfile().map_err(|error| failed(&error))?))
        };
        let parts = ends.iter().map(|_| Ok((file()?, file()?))).collect::<Result<_, ToolError>>()?;
        Ok(Spread { ends, parts, names: Vec::new(), bytes: Vec::new() })
    }

    fn part(&self, position: u64) -> usize {
        self.ends.partition_point(|end| *end < position).min(self.ends.len() - 1)
    }

    /// Takes a change as far as it is about positions that are `mine`; those of whole databases go everywhere.
    pub(super) fn change(
        &mut self,
        change: &Change<'_>,
        seed: HashSeed,
        keys: &mut Vec<usize>,
        mine: &dyn Fn(u64) -> bool,
    ) -> Result<(), ToolError> {
        let Some((_, touches)) = touched(change.words, keys) else { return Ok(()) };
        match touches {
            Touches::Nothing | Touches::Together | Touches::Anything => Ok(()),
            Touches::Databases => (0..self.parts.len()).try_for_each(|part| self.put(part, change, change.words)),
            Touches::Keys if keys.len() == 1 => {
                let position = seed.position(change.words[keys[0]]);
                if mine(position) { self.put(self.part(position), change, change.words) } else { Ok(()) }
            }
            Touches::Keys => {
                let mut parts: Vec<usize> = keys
                    .iter()
                    .map(|at| seed.position(change.words[*at]))
                    .filter(|position| mine(*position))
                    .map(|position| self.part(position))
                    .collect();
                parts.sort_unstable();
                parts.dedup();
                for part in parts {
                    let here = |key: &[u8]| {
                        let position = seed.position(key);
                        mine(position) && self.part(position) == part
                    };
                    if let Some(words) = change::only(change.words, keys, &mut |key| here(key)) {
                        self.put(part, change, &words)?;
                    }
                }
                Ok(())
            }
        }
    }

    fn put(&mut self, part: usize, change: &Change<'_>, words: &[&[u8]]) -> Result<(), ToolError> {
        let name = match self.names.iter().rposition(|name| name == change.file) {
            Some(name) => name,
            None => {
                self.names.push(change.file.to_owned());
                self.names.len() - 1
            }
        };
        let bytes = &mut self.bytes;
        bytes.clear();
        let flags =
            if change.lsn.is_some() { HAS_LSN } else { 0 } | if change.time_ms.is_some() { HAS_TIME } else { 0 };
        bytes.extend_from_slice(&(name as u16).to_le_bytes());
        bytes.push(flags);
        bytes.extend_from_slice(&(change.db as u32).to_le_bytes());
        for number in [change.offset, change.lsn.unwrap_or(0), change.time_ms.unwrap_or(0)] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&(words.len() as u32).to_le_bytes());
        for word in words {
            bytes.extend_from_slice(&(word.len() as u64).to_le_bytes());
            bytes.extend_from_slice(word);
        }
        self.parts[part].0.write_all(bytes).map_err(|error| failed(&error))
    }

    /// Takes an entry of the base.
    pub(super) fn entry(&mut self, db: usize, position: u64, entry: &Entry<'_>) -> Result<(), ToolError> {
        let part = self.part(position);
        let bytes = &mut self.bytes;
        bytes.clear();
        bytes.extend_from_slice(&[0; ENTRY_LEN]);
        entry::encode(entry, bytes);
        let len = (bytes.len() - ENTRY_LEN) as u64;
        bytes[..4].copy_from_slice(&(db as u32).to_le_bytes());
        bytes[4..ENTRY_LEN].copy_from_slice(&len.to_le_bytes());
        self.parts[part].1.write_all(bytes).map_err(|error| failed(&error))
    }

    /// Everything has been taken.
    pub(super) fn finish(self) -> Result<Parts, ToolError> {
        let file = |writer: BufWriter<File>| writer.into_inner().map_err(|error| failed(error.error()));
        let files = self.parts.into_iter().map(|(changes, entries)| Ok((file(changes)?, file(entries)?)));
        Ok(Parts { files: files.collect::<Result<_, ToolError>>()?, names: self.names })
    }
}

impl Parts {
    /// The part with this number.
    pub(super) fn part(&self, number: usize) -> Result<Part<'_>, ToolError> {
        let (changes, entries) = &self.files[number];
        let again = |file: &File| file.try_clone().map_err(|error| failed(&error));
        Ok(Part { changes: again(changes)?, entries: again(entries)?, names: &self.names })
    }
}

/// Fills `place`; false at the end.
fn fill(reader: &mut impl Read, place: &mut [u8]) -> Result<bool, ToolError> {
    match reader.read_exact(place) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(failed(&error)),
    }
}

fn from_the_start(file: &File) -> Result<BufReader<&File>, ToolError> {
    let mut file = file;
    file.rewind().map_err(|error| failed(&error))?;
    Ok(BufReader::with_capacity(1 << 17, file))
}

impl Part<'_> {
    /// Visits its entries: database, entry.
    pub(super) fn entries(
        &self,
        seed: HashSeed,
        visit: &mut dyn FnMut(usize, &Entry<'_>) -> Result<(), ToolError>,
    ) -> Result<(), ToolError> {
        let (mut reader, mut head, mut bytes) = (from_the_start(&self.entries)?, [0; ENTRY_LEN], Vec::new());
        let shaping = Shaping::new(seed);
        let bad = |why: entry::BadEntry| ToolError::Damage(format!("an entry in a temporary file: {why}"));
        while fill(&mut reader, &mut head)? {
            bytes.resize(firn_engine::format::u64_at(&head, 4) as usize, 0);
            reader.read_exact(&mut bytes).map_err(|error| failed(&error))?;
            let stored = entry::take(&mut &bytes[..]).map_err(bad)?;
            let whole = Assembly::default().push(&stored, &shaping).map_err(bad)?;
            let whole = whole.ok_or_else(|| bad(entry::BadEntry::Part))?;
            visit(firn_engine::format::u32_at(&head, 0) as usize, &stored.entry(&whole))?;
        }
        Ok(())
    }
}

impl Tail for Part<'_> {
    fn visit(&self, visit: &mut VisitChange<'_>) -> Result<(), ToolError> {
        let (mut reader, mut head) = (from_the_start(&self.changes)?, [0; CHANGE_LEN]);
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        while fill(&mut reader, &mut head)? {
            let number = |at| firn_engine::format::u64_at(&head, at);
            let count = firn_engine::format::u32_at(&head, CHANGE_LEN - 4);
            bytes.clear();
            ends.clear();
            for _ in 0..count {
                let mut len = [0; 8];
                reader.read_exact(&mut len).map_err(|error| failed(&error))?;
                let start = bytes.len();
                bytes.resize(start + u64::from_le_bytes(len) as usize, 0);
                reader.read_exact(&mut bytes[start..]).map_err(|error| failed(&error))?;
                ends.push(bytes.len());
            }
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let words: Vec<&[u8]> = starts.zip(&ends).map(|(start, end)| &bytes[start..*end]).collect();
            visit(&Change {
                file: &self.names[usize::from(u16::from_le_bytes([head[0], head[1]]))],
                offset: number(7),
                lsn: (head[2] & HAS_LSN != 0).then(|| number(15)),
                time_ms: (head[2] & HAS_TIME != 0).then(|| number(23)),
                db: firn_engine::format::u32_at(&head, 3) as usize,
                words: &words,
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spread_comes_back_in_order_and_only_where_it_belongs() {
        let seed = HashSeed([3; 16]);
        let mut spread = Spread::new(vec![u64::MAX / 2, u64::MAX]).unwrap();
        let here = |key: &[u8]| usize::from(seed.position(key) > u64::MAX / 2);
        let (mut keys, mine) = (Vec::new(), |_: u64| true);
        let mut expected = [Vec::new(), Vec::new()];
        for number in 0..100u64 {
            let (one, other) = (format!("a{number}"), format!("b{number}"));
            let words: Vec<&[u8]> = vec![b"MSET", one.as_bytes(), b"1", other.as_bytes(), b"2"];
            let lsn = (number % 2 == 0).then_some(number);
            let change = Change { file: "f", offset: number, lsn, time_ms: lsn, db: 3, words: &words };
            spread.change(&change, seed, &mut keys, &mine).unwrap();
            for (part, expected) in expected.iter_mut().enumerate() {
                let names = [&one, &other].into_iter().filter(|key| here(key.as_bytes()) == part);
                let names: Vec<String> = names.cloned().collect();
                if !names.is_empty() {
                    expected.push((number, lsn, names));
                }
            }
        }
        let flush: Vec<&[u8]> = vec![b"FLUSHALL"];
        let change = Change { file: "g", offset: 100, lsn: None, time_ms: None, db: 0, words: &flush };
        spread.change(&change, seed, &mut keys, &mine).unwrap();
        let parts = spread.finish().unwrap();
        for (number, expected) in expected.iter().enumerate() {
            let (mut found, mut flushed) = (Vec::new(), 0);
            // Twice: a part can be read again.
            for _ in 0..2 {
                found.clear();
                parts
                    .part(number)
                    .unwrap()
                    .visit(&mut |change| {
                        if change.words[0] == b"FLUSHALL" {
                            flushed += 1;
                            assert_eq!((change.file, change.offset), ("g", 100));
                            return Ok(());
                        }
                        assert_eq!((change.db, change.file, change.time_ms), (3, "f", change.lsn));
                        let names = change.words[1..].iter().step_by(2);
                        let names = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
                        found.push((change.offset, change.lsn, names));
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!((&found, flushed), (expected, 2));
        }
    }
}

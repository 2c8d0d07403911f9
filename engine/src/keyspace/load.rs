//! Filling an empty database from entries that are already in order of position, by several threads at once.
//!
//! Each thread makes a [`Loader`] for its range of positions, pushes entries, and finishes it; the ranges, in order, are then
//! installed together. Ranges may meet anywhere, even between two keys of one position.

use super::{Entry, Keyspace};
use crate::key::HashSeed;

/// Why entries cannot be loaded. The files' checksums were right, so this is a defect of the writer, or blocks were mixed up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadLoad {
    /// An entry's position is before the previous one's.
    #[error("entries are out of order: position {position:#018x} follows {previous:#018x}")]
    Order {
        /// The previous entry's.
        previous: u64,
        /// This entry's.
        position: u64,
    },
    /// The same key twice.
    #[error("a key occurs twice, at position {0:#018x}")]
    Twice(u64),
    /// The database holds entries already.
    #[error("database {0} is not empty")]
    NotEmpty(usize),
}

/// Takes the entries of one range of positions, in order. One per thread.
#[derive(Debug)]
pub struct Loader {
    seed: HashSeed,
    entries: Vec<(u64, Box<[u8]>, super::Taken)>,
}

/// What a [`Loader`] has made.
#[derive(Debug)]
pub struct LoadedRange {
    entries: Vec<(u64, Box<[u8]>, super::Taken)>,
}

impl Loader {
    /// For a part of a database which will hold about `expected` entries in all (the whole database, not this range): a good
    /// guess makes segments of the right size at once, a bad one costs time, nothing else.
    pub fn new(seed: HashSeed, _expected: u64) -> Self {
        Loader { seed, entries: Vec::new() }
    }

    /// Adds the next entry.
    ///
    /// # Errors
    /// [`BadLoad::Order`], [`BadLoad::Twice`].
    pub fn push(&mut self, entry: &Entry<'_>) -> Result<(), BadLoad> {
        let position = self.seed.position(entry.key);
        if let Some((previous, ..)) = self.entries.last() {
            if *previous > position {
                return Err(BadLoad::Order { previous: *previous, position });
            }
            let mut same = self.entries.iter().rev().take_while(|(previous, ..)| *previous == position);
            if same.any(|(_, key, _)| **key == *entry.key) {
                return Err(BadLoad::Twice(position));
            }
        }
        let super::Value::String(value) = entry.value;
        let taken = super::Taken { value: value.into(), deadline: entry.deadline, edited: entry.edited };
        self.entries.push((position, entry.key.into(), taken));
        Ok(())
    }

    /// The finished range.
    pub fn finish(self) -> LoadedRange {
        LoadedRange { entries: self.entries }
    }
}

impl Keyspace {
    /// Makes `ranges`, in order of position, the content of the empty database `db`.
    ///
    /// # Errors
    /// [`BadLoad`]; the database is then empty.
    pub fn install(&mut self, db: usize, ranges: Vec<LoadedRange>) -> Result<(), BadLoad> {
        if !self.dbs[db].is_empty() {
            return Err(BadLoad::NotEmpty(db));
        }
        let mut last = 0;
        for (position, key, taken) in ranges.into_iter().flat_map(|range| range.entries) {
            let wrong = if position < last {
                Some(BadLoad::Order { previous: last, position })
            } else {
                self.dbs[db].map.insert((position, key), taken).map(|_| BadLoad::Twice(position))
            };
            if let Some(wrong) = wrong {
                self.dbs[db] = super::Db::default();
                return Err(wrong);
            }
            last = position;
        }
        Ok(())
    }
}

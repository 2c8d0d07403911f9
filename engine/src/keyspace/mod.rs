//! The keyspace: databases of entries in the order of their keys' positions.
//!
//! This file is the contract that commands, snapshots and recovery use. Below it, from the top down: `db` (one database), `index`
//! (an extendible hash: growth and shrinking), `directory` (which segment holds a position), `segment` (64-byte lines of slots), `blob`
//! (a key with its value in one allocation). `unsafe` is in the last three alone, and in `size`.

mod blob;
mod capture;
mod crowded;
mod db;
mod directory;
pub mod entry;
mod expire;
mod index;
pub mod libraries;
mod load;
#[cfg(test)]
mod model;
mod segment;
mod size;

pub use capture::{CaptureProgress, LargeEntry, RawBlock};
pub use db::{Db, Edited, Taken};
pub use expire::{DeadKeys, ExpirePass};
pub use load::{BadLoad, LoadedRange, Loader};
pub(crate) use size::prefetch;
pub use size::size_class;

use crate::key::{HashSeed, Key};
use crate::value::ahead::{Ahead, Wanted};
use crate::value::{CollectionView, Kind};
use arrayvec::ArrayVec;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

/// A value as a command reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value<'a> {
    /// A string, of any length.
    String(&'a [u8]),
    /// A list, set, sorted set, hash or stream, wherever it is kept.
    Collection(CollectionView<'a>),
}

impl<'a> Value<'a> {
    /// Its type.
    #[inline]
    pub fn kind(self) -> Kind {
        match self {
            Value::String(_) => Kind::String,
            Value::Collection(view) => view.kind(),
        }
    }

    /// The string, if it is one.
    #[inline]
    pub fn string(self) -> Option<&'a [u8]> {
        if let Value::String(bytes) = self { Some(bytes) } else { None }
    }
}

/// One key with all that belongs to it, borrowed from the keyspace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// The key's bytes.
    pub key: &'a [u8],
    /// What it holds.
    pub value: Value<'a>,
    /// Unix time in ms after which it is gone.
    pub deadline: Option<u64>,
    /// A string that was changed in place: OBJECT ENCODING says `raw` whatever its length.
    pub edited: bool,
    /// 24 bits of use: LRU seconds or LFU counter, as `maxmemory-policy` says.
    pub access: u32,
}

/// What to do with the deadline of a key that is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deadline {
    /// None from now on.
    Clear,
    /// As it was.
    Keep,
    /// Unix time in ms.
    At(u64),
}

/// The part of [`Db::digest`] that one entry adds: a 128-bit hash of key, type, value and deadline. A model of a database can
/// keep the sum by adding and subtracting it.
pub fn entry_digest(entry: &Entry<'_>) -> u128 {
    let mut hasher = SipHasher13::new();
    hasher.write(&(entry.key.len() as u64).to_le_bytes());
    hasher.write(entry.key);
    hasher.write(&[entry.value.kind() as u8]);
    hasher.write(&[u8::from(entry.deadline.is_some())]);
    hasher.write(&entry.deadline.unwrap_or(0).to_le_bytes());
    match entry.value {
        Value::String(bytes) => hasher.write(bytes),
        Value::Collection(view) => hasher.write(&view.digest().to_le_bytes()),
    }
    hasher.finish128().as_u128()
}

/// All databases of a store.
#[derive(Debug)]
pub struct Keyspace {
    seed: HashSeed,
    dbs: Vec<Db>,
    capture: capture::Capture,
    expiry: expire::Cursor,
    /// Libraries of functions.
    pub libraries: libraries::Libraries,
}

impl Keyspace {
    /// `databases` empty ones.
    pub fn new(seed: HashSeed, databases: usize) -> Self {
        Keyspace {
            seed,
            dbs: (0..databases).map(|_| Db::new(seed)).collect(),
            capture: capture::Capture::default(),
            expiry: expire::Cursor::default(),
            libraries: libraries::Libraries::default(),
        }
    }

    /// The store's seed.
    #[inline]
    pub fn seed(&self) -> HashSeed {
        self.seed
    }

    /// How many databases.
    pub fn databases(&self) -> usize {
        self.dbs.len()
    }

    /// Database `db`, which must be below [`Keyspace::databases`].
    #[inline]
    pub fn db(&self, db: usize) -> &Db {
        &self.dbs[db]
    }

    /// Database `db`, to change it.
    #[inline]
    pub fn db_mut(&mut self, db: usize) -> &mut Db {
        &mut self.dbs[db]
    }

    /// Fetches into the processor's caches what the commands of a batch will touch: all directories, then all lines, then all
    /// blobs, so that the misses overlap. `keys` are databases and positions. Not worth it for fewer than two keys.
    pub fn prefetch(&self, keys: &[(usize, u64)]) {
        for batch in keys.chunks(PREFETCH_BATCH) {
            let keys =
                || batch.iter().filter_map(|&(db, position)| Some((&self.dbs.get(db)?.index.directory, position)));
            keys().for_each(|(directory, position)| directory.prefetch_entry(position));
            keys().for_each(|(directory, position)| directory.prefetch_line(position));
            keys().for_each(|(directory, position)| directory.prefetch_blobs(position));
        }
    }

    /// What [`Keyspace::prefetch`] does for keys, for members of one key's collection, if it is large: chunks, then their directories, then
    /// records.
    pub fn prefetch_members(&self, db: usize, key: Key<'_>, members: &[Wanted<'_>]) {
        let Some(Entry { value: Value::Collection(view), .. }) = self.dbs.get(db).and_then(|db| db.get(key)) else {
            return;
        };
        for batch in members.chunks(PREFETCH_BATCH) {
            let ahead: ArrayVec<Ahead<'_>, PREFETCH_BATCH> =
                batch.iter().map_while(|wanted| view.ahead(*wanted)).collect();
            ahead.iter().for_each(Ahead::directory);
            ahead.iter().for_each(Ahead::record);
        }
    }

    /// Bytes taken by all databases, index included, counted by size classes of the allocator.
    pub fn used_bytes(&self) -> u64 {
        self.dbs.iter().map(Db::used_bytes).sum()
    }

    /// Exchanges two databases.
    pub fn swap(&mut self, one: usize, other: usize) {
        self.dbs.swap(one, other);
    }

    /// Large collections that are no more, to be dropped where that hurts nobody.
    pub fn exhume(&mut self) -> Vec<Taken> {
        self.dbs.iter_mut().flat_map(Db::exhume).collect()
    }

    /// Empties a database and gives the old one away, to be dropped where that hurts nobody. (While a capture needs the old one it
    /// stays with the capture, and an empty one is given.)
    pub fn flush(&mut self, db: usize) -> Db {
        let old = std::mem::replace(&mut self.dbs[db], Db::new(self.seed));
        self.freeze(old)
    }
}

/// So many keys are fetched together: enough for the misses to overlap, and few enough for the first cache.
const PREFETCH_BATCH: usize = 64;

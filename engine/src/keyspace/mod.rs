//! The keyspace: databases of entries in the order of their keys' positions.
//!
//! This file is the contract that commands, snapshots and recovery use. Below it, from the top down: `db` (one database), `index`
//! (an extendible hash: growth and shrinking), `directory` (which segment holds a position), `segment` (64-byte lines of slots), `blob`
//! (a key with its value in one allocation). `unsafe` is in the last three alone, and in `size`.

mod blob;
mod capture;
mod crowded;
mod db;
mod dead;
mod directory;
pub mod entry;
mod expire;
mod index;
pub mod libraries;
mod load;
#[cfg(test)]
mod model;
mod prefixes;
mod segment;
mod size;
mod sweep;
pub mod usage;

pub use capture::{CaptureProgress, LargeEntry, RawBlock};
pub use db::{Db, Edited, Taken};
pub use dead::Dead;
pub use expire::{DeadKeys, ExpirePass};
pub use load::{BadLoad, LoadedRange, Loader};
pub use prefixes::{PrefixSettings, PrefixSize, Prefixes};
pub(crate) use size::prefetch;
pub use size::size_class;
pub use usage::Usage;

use crate::key::{HashSeed, Key};
use crate::value::ahead::{Ahead, Wanted};
use crate::value::{CollectionView, Kind};
use arrayvec::ArrayVec;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;
use std::sync::Arc;

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
    /// 32 bits of use, 0 if nothing is known: a time or a counter, as `maxmemory-policy` says. See [`usage`].
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
    /// The database that may have changed since the others' bytes were added up.
    current: usize,
    /// Bytes of all other databases.
    others: u64,
    /// Large values that are no more, but for those of the current database.
    dead: Vec<Dead>,
    dead_bytes: u64,
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
            current: 0,
            others: 0,
            dead: Vec::new(),
            dead_bytes: 0,
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
        if db != self.current {
            self.turn_to(db);
        }
        &mut self.dbs[db]
    }

    /// Makes `db` the one that changes.
    fn turn_to(&mut self, db: usize) {
        self.others = self.others - self.dbs[db].used_bytes() + self.dbs[self.current].used_bytes();
        self.gather_dead();
        let mut prefixes = self.dbs[self.current].prefixes.take();
        if let Some(prefixes) = &mut prefixes {
            prefixes.turn_to(db);
        }
        self.dbs[db].prefixes = prefixes;
        self.current = db;
    }

    /// Adds the others up anew, after databases were exchanged as a whole.
    fn recount_others(&mut self) {
        let others = self.dbs.iter().enumerate().filter(|(db, _)| *db != self.current);
        self.others = others.map(|(_, db)| db.used_bytes()).sum();
    }

    fn gather_dead(&mut self) {
        let db = &mut self.dbs[self.current];
        self.dead.append(&mut db.buried);
        self.dead_bytes += std::mem::take(&mut db.buried_bytes);
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

    /// Bytes taken by all databases, index included, counted by size classes of the allocator. Constant time.
    #[inline]
    pub fn used_bytes(&self) -> u64 {
        self.others + self.dbs[self.current].used_bytes()
    }

    /// Statistics by prefix, if they are on.
    pub fn prefixes(&self) -> Option<&Prefixes> {
        self.dbs[self.current].prefixes.as_deref()
    }

    /// The row of a key in the statistics by prefix, if they are on.
    #[inline]
    pub(crate) fn prefix_row(&mut self, key: &[u8]) -> Option<usize> {
        self.dbs[self.current].prefixes.as_mut().map(|prefixes| prefixes.row_of(key, false))
    }

    /// What those were turned on with.
    pub(crate) fn prefix_settings(&self) -> Option<&Arc<PrefixSettings>> {
        self.prefixes().map(Prefixes::settings)
    }

    /// Turns statistics by prefix on or off; what is there is still to be counted.
    pub(crate) fn set_prefixes(&mut self, settings: &Arc<PrefixSettings>) {
        let empty = self.dbs.iter().map(Db::is_empty);
        let on = settings.is_on();
        let prefixes = on.then(|| Box::new(Prefixes::new(settings, self.current, empty)));
        self.dbs[self.current].prefixes = prefixes;
    }

    /// Counts at least so many keys of those not counted yet; says whether there are more.
    pub(crate) fn count_prefixes(&mut self, keys: usize) -> bool {
        let Some(mut prefixes) = self.dbs[self.current].prefixes.take() else { return false };
        if let Some((db, from)) = prefixes.uncounted() {
            let next = self.dbs[db].scan_blobs(from, keys, &mut |blob| {
                prefixes.count(db, blob.key(), blob.used_bytes());
            });
            prefixes.counted(db, (next != 0).then_some(next));
        }
        let more = !prefixes.is_complete();
        self.dbs[self.current].prefixes = Some(prefixes);
        more
    }

    /// Exchanges two databases.
    pub fn swap(&mut self, one: usize, other: usize) {
        self.gather_dead();
        let mut prefixes = self.dbs[self.current].prefixes.take();
        if let Some(prefixes) = &mut prefixes {
            prefixes.swap(one, other);
        }
        self.dbs.swap(one, other);
        self.dbs[self.current].prefixes = prefixes;
        self.recount_others();
    }

    /// Whether there is something for [`Keyspace::pop_dead`].
    #[inline]
    pub fn has_dead(&self) -> bool {
        !self.dead.is_empty() || !self.dbs[self.current].buried.is_empty()
    }

    /// Bytes of large values that are no more and wait to be freed; not in [`Keyspace::used_bytes`].
    #[inline]
    pub fn dead_bytes(&self) -> u64 {
        self.dead_bytes + self.dbs[self.current].buried_bytes
    }

    /// How many those are.
    pub fn dead_len(&self) -> usize {
        self.dead.len() + self.dbs[self.current].buried.len()
    }

    /// Gives one of them away, to be freed where that hurts nobody.
    pub fn pop_dead(&mut self) -> Option<Dead> {
        self.gather_dead();
        let dead = self.dead.pop()?;
        self.dead_bytes -= dead.bytes();
        Some(dead)
    }

    /// Has a flushed database freed later, if that takes long.
    pub(crate) fn bury_database(&mut self, db: Db) {
        let dead = Dead::database(db);
        if dead.bytes() > DATABASE_BYTES_MIN && self.dead.len() < DEAD_MAX {
            self.dead_bytes += dead.bytes();
            self.dead.push(dead);
        }
    }

    /// Frees about so many blocks of them here and now.
    pub(crate) fn free_dead(&mut self, blocks: usize) {
        if let Some(mut dead) = self.pop_dead()
            && !dead.free(blocks)
        {
            self.dead_bytes += dead.bytes();
            self.dead.push(dead);
        }
    }

    /// Empties a database and gives the old one away, to be dropped where that hurts nobody. (While a capture needs the old one it
    /// stays with the capture, and an empty one is given.)
    pub fn flush(&mut self, db: usize) -> Db {
        self.gather_dead();
        let mut prefixes = self.dbs[self.current].prefixes.take();
        if let Some(prefixes) = &mut prefixes {
            prefixes.clear(db);
        }
        let old = std::mem::replace(&mut self.dbs[db], Db::new(self.seed));
        self.dbs[self.current].prefixes = prefixes;
        self.recount_others();
        self.freeze(old)
    }
}

/// A flushed database that takes less is freed where it was flushed.
const DATABASE_BYTES_MIN: u64 = 64 * 1024;

/// So many large values wait to be freed at most, should nobody do it: more are freed at once.
const DEAD_MAX: usize = 10_000;

/// So many keys are fetched together: enough for the misses to overlap, and few enough for the first cache.
const PREFETCH_BATCH: usize = 64;

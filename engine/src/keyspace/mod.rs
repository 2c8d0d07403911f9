//! The keyspace: databases of entries in the order of their keys' positions.
//!
//! This file is the contract that commands, snapshots and recovery use.

mod capture;
pub mod entry;
mod expire;
mod load;

pub use capture::{CaptureProgress, RawBlock};
pub use expire::{DeadKeys, ExpirePass};
pub use load::{BadLoad, LoadedRange, Loader};

use crate::key::{HashSeed, Key};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::collections::BTreeMap;
use std::hash::Hasher;

/// A value as a command reads it. Later types are added here; strings of any length are slices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value<'a> {
    /// A string.
    String(&'a [u8]),
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

/// An entry taken out of the keyspace, whole (RENAME, MOVE). Dropping it frees it; it can be sent to another thread for that.
#[derive(Clone, Debug)]
pub struct Taken {
    value: Vec<u8>,
    deadline: Option<u64>,
    edited: bool,
}

impl Taken {
    /// Its deadline, as [`Entry::deadline`].
    pub fn deadline(&self) -> Option<u64> {
        self.deadline
    }
    /// Its value.
    pub fn value(&self) -> Value<'_> {
        Value::String(&self.value)
    }
}

/// One database.
#[derive(Debug, Default)]
pub struct Db {
    map: BTreeMap<(u64, Box<[u8]>), Taken>,
}

impl Db {
    /// The entry of `key`, whether its deadline has passed or not: commands use `Call::read` and `Call::write`, which look at the clock.
    pub fn get(&self, key: Key<'_>) -> Option<Entry<'_>> {
        let (stored, taken) = self.map.get_key_value(&(key.position, key.bytes.into()))?;
        Some(reference_entry(stored, taken))
    }

    /// Sets a string, creating or replacing the entry; `edited` becomes false.
    pub fn set_string(&mut self, key: Key<'_>, value: &[u8], deadline: Deadline) {
        let old = self.map.get(&(key.position, key.bytes.into())).and_then(|taken| taken.deadline);
        let deadline = match deadline {
            Deadline::Clear => None,
            Deadline::Keep => old,
            Deadline::At(ms) => Some(ms),
        };
        self.map.insert((key.position, key.bytes.into()), Taken { value: value.into(), deadline, edited: false });
    }

    /// Changes a string in place, creating an empty one if missing; the deadline stays, `edited` becomes true. For APPEND,
    /// SETRANGE, SETBIT: repeated growth costs amortized time, not a copy each.
    pub fn edit_string<T>(&mut self, key: Key<'_>, edit: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let taken = self.map.entry((key.position, key.bytes.into())).or_insert(Taken {
            value: Vec::new(),
            deadline: None,
            edited: true,
        });
        taken.edited = true;
        edit(&mut taken.value)
    }

    /// Sets or clears the deadline; false if the key does not exist.
    pub fn set_deadline(&mut self, key: Key<'_>, deadline: Option<u64>) -> bool {
        match self.map.get_mut(&(key.position, key.bytes.into())) {
            Some(taken) => {
                taken.deadline = deadline;
                true
            }
            None => false,
        }
    }

    /// Removes the entry; true if there was one.
    pub fn remove(&mut self, key: Key<'_>) -> bool {
        self.take(key).is_some()
    }

    /// Removes the entry and gives it away.
    pub fn take(&mut self, key: Key<'_>) -> Option<Taken> {
        self.map.remove(&(key.position, key.bytes.into()))
    }

    /// Puts an entry under `key`, replacing what is there.
    pub fn put(&mut self, key: Key<'_>, taken: Taken) {
        self.map.insert((key.position, key.bytes.into()), taken);
    }

    /// A copy of the entry (COPY).
    pub fn duplicate(&self, key: Key<'_>) -> Option<Taken> {
        self.map.get(&(key.position, key.bytes.into())).cloned()
    }

    /// Entries, dead ones not yet reclaimed included.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Entries with a deadline.
    pub fn with_deadline(&self) -> usize {
        self.map.values().filter(|taken| taken.deadline.is_some()).count()
    }

    /// Visits entries from position `cursor` on, in order of position, at least `count` of them if there are so many (never half
    /// of those that share a position), and says where to go on; 0 when the end was reached. An entry that exists from
    /// start to end of a scan is visited exactly once.
    pub fn scan(&self, cursor: u64, count: usize, visit: &mut dyn FnMut(Entry<'_>)) -> u64 {
        let mut last = None;
        for (visited, (key, taken)) in self.map.range((cursor, Box::default())..).enumerate() {
            if visited >= count.max(1) && last != Some(key.0) {
                return key.0;
            }
            last = Some(key.0);
            visit(reference_entry(key, taken));
        }
        0
    }

    /// An entry picked by `random` (uniform 64 bits), every one about as likely.
    pub fn random(&self, random: u64) -> Option<Entry<'_>> {
        self.map
            .range((random, Box::default())..)
            .next()
            .or_else(|| self.map.iter().next())
            .map(|(key, taken)| reference_entry(key, taken))
    }

    /// A digest of all keys, values and deadlines that does not depend on their order or history: the wrapping sum of
    /// [`entry_digest`] over the entries, 0 if there is none.
    pub fn digest(&self) -> u128 {
        self.map.iter().map(|(key, taken)| entry_digest(&reference_entry(key, taken))).fold(0, u128::wrapping_add)
    }

    /// Sum of the remaining times of all entries with a deadline divided by their number, in ms; 0 if there are none (INFO's
    /// `avg_ttl`).
    pub fn average_ttl(&self, now_ms: u64) -> u64 {
        let deadlines = self.map.values().filter_map(|taken| taken.deadline);
        let sum: u128 = deadlines.map(|at| u128::from(at.saturating_sub(now_ms))).sum();
        (sum / (self.with_deadline() as u128).max(1)) as u64
    }

    /// Sets the 24 bits of use ([`Entry::access`]) of a key; false if it does not exist. Not a change of the data.
    pub fn set_access(&mut self, key: Key<'_>, access: u32) -> bool {
        let _ = access; // The reference keeps none.
        self.map.contains_key(&(key.position, key.bytes.into()))
    }
}

/// The part of [`Db::digest`] that one entry adds: a 128-bit hash of key, type, value and deadline. A model of a database can
/// keep the sum by adding and subtracting it.
pub fn entry_digest(entry: &Entry<'_>) -> u128 {
    let mut hasher = SipHasher13::new();
    let Value::String(value) = entry.value;
    hasher.write(&(entry.key.len() as u64).to_le_bytes());
    hasher.write(entry.key);
    hasher.write(&[0]); // The type.
    hasher.write(&entry.deadline.map_or([0xff; 8], u64::to_le_bytes));
    hasher.write(value);
    hasher.finish128().as_u128()
}

fn reference_entry<'a>(key: &'a (u64, Box<[u8]>), taken: &'a Taken) -> Entry<'a> {
    Entry { key: &key.1, value: Value::String(&taken.value), deadline: taken.deadline, edited: taken.edited, access: 0 }
}

/// All databases of a store.
#[derive(Debug)]
pub struct Keyspace {
    seed: HashSeed,
    dbs: Vec<Db>,
    capture: capture::Capture,
}

impl Keyspace {
    /// `databases` empty ones.
    pub fn new(seed: HashSeed, databases: usize) -> Self {
        Keyspace { seed, dbs: (0..databases).map(|_| Db::default()).collect(), capture: capture::Capture::default() }
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
    #[inline]
    pub fn prefetch(&self, keys: &[(usize, u64)]) {
        let _ = keys;
    }

    /// Bytes taken by all databases, index included, counted by size classes of the allocator.
    pub fn used_bytes(&self) -> u64 {
        let entries = self.dbs.iter().flat_map(|db| &db.map);
        entries.map(|(key, taken)| (key.1.len() + taken.value.len() + 24) as u64).sum()
    }

    /// Exchanges two databases.
    pub fn swap(&mut self, one: usize, other: usize) {
        self.dbs.swap(one, other);
    }

    /// Empties a database and gives the old one away, to be dropped where that hurts nobody.
    pub fn flush(&mut self, db: usize) -> Db {
        std::mem::take(&mut self.dbs[db])
    }
}

//! The memory limit: what counts against it, which keys go when it is reached, and in how long steps.
//!
//! 1. A step deletes a bounded number of keys and looks at a bounded number of others, however large the data is
//!    (`maxmemory-eviction-tenacity`; a key counts as a microsecond, since the engine has no clock).
//! 2. An evicted key is a DEL in the log, as any other: a replay needs neither limit nor policy, and evicts nothing by itself.
//! 3. Large values are freed elsewhere. Until they are they count against the limit, but nothing else is evicted in their stead;
//!    if they are many, whoever needs memory frees some of them first, a few blocks at a time.
//! 4. Nothing is evicted while the log cannot take a record of it, nor within a transaction.

mod pool;
#[cfg(test)]
mod tests;

use crate::engine::{Engine, EventClass, Refused};
use crate::key::Key;
use crate::keyspace::{Entry, Usage, usage};
use crate::limits::{FRAME_PAYLOAD_TARGET, RECORD_LEN_MAX};
use pool::{Candidate, Pool};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Whom a policy takes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Order {
    /// Nobody.
    #[default]
    None,
    /// Who was not used for longest.
    Lru,
    /// Who is used least often.
    Lfu,
    /// Anyone.
    Random,
    /// Whose deadline is nearest.
    Ttl,
}

/// `maxmemory-policy`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Policy {
    /// Whom it takes first.
    pub order: Order,
    /// Whether it takes only keys with a deadline.
    pub volatile: bool,
}

impl Policy {
    /// The policy of this name, in lower case.
    pub fn named(name: &str) -> Option<Policy> {
        let (keys, order) = name.split_once('-').unwrap_or((name, ""));
        let order = match (keys, order) {
            ("noeviction", "") => Order::None,
            ("allkeys" | "volatile", "lru") => Order::Lru,
            ("allkeys" | "volatile", "lfu") => Order::Lfu,
            ("allkeys" | "volatile", "random") => Order::Random,
            ("volatile", "ttl") => Order::Ttl,
            _ => return None,
        };
        Some(Policy { order, volatile: keys == "volatile" })
    }
}

/// Settings of the memory limit.
#[derive(Clone, Copy, Debug)]
pub struct MemorySettings {
    /// `maxmemory` in bytes; 0 is no limit.
    pub limit: u64,
    /// `maxmemory-policy`.
    pub policy: Policy,
    /// `maxmemory-samples`: keys that are looked at for each that is evicted, at least.
    pub samples: usize,
    /// `maxmemory-eviction-tenacity`.
    pub tenacity: u32,
    /// `lfu-log-factor`.
    pub lfu_log_factor: u32,
    /// `lfu-decay-time` in minutes.
    pub lfu_decay_minutes: u32,
}

impl Default for MemorySettings {
    fn default() -> Self {
        let (samples, tenacity) = (5, 10);
        MemorySettings {
            limit: 0,
            policy: Policy::default(),
            samples,
            tenacity,
            lfu_log_factor: 10,
            lfu_decay_minutes: 1,
        }
    }
}

impl MemorySettings {
    /// Whether [`Entry::access`] is a counter.
    #[inline]
    pub fn lfu(&self) -> bool {
        self.policy.order == Order::Lfu
    }

    /// Keys that one step evicts at most.
    fn keys_max(&self) -> usize {
        let keys = match self.tenacity {
            tenacity @ ..=10 => 50.0 * f64::from(tenacity),
            tenacity @ 11..=99 => 500.0 * 1.15f64.powf(f64::from(tenacity) - 10.0),
            _ => f64::INFINITY,
        };
        (keys as usize).max(KEYS_MIN)
    }
}

/// A step evicts as many keys as this, however little tenacity it has.
const KEYS_MIN: usize = 16;
/// Lines, segments and pages of the index that are looked at in one step at most, beyond those that yield candidates.
const LOOKS_MAX: usize = 4096;
/// While the pool has room so many lines are looked at for each key that goes.
const LINES_TO_FILL: usize = 16;
/// Blocks of large dead values that whoever needs memory frees first, if they take more than `1 / DEAD_SHARE` of the limit.
const FREED_BLOCKS: usize = 64;
const DEAD_SHARE: u64 = 256;
/// Memory is made for a command's own words ahead of it, but not for more than `1 / AHEAD_SHARE` of the limit.
const AHEAD_SHARE: u64 = 8;

/// What is answered to a command that may need memory when there is none left.
pub const OUT_OF_MEMORY: &str = "OOM command not allowed when used memory > 'maxmemory'.";

/// Whether there is memory for a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// There is, or there soon will be: more is being evicted.
    Enough,
    /// There is not, and nothing that could be evicted.
    OutOfMemory,
}

/// Tells how many bytes count now as [`Memory::beside`]. It is asked before anything is evicted, as often as that happens.
#[derive(Clone, Default)]
pub struct Meter(Option<Arc<Measure>>);

type Measure = dyn Fn(&Engine) -> u64 + Send + Sync;

impl Meter {
    /// One that calls `measure`, which is given the engine under its lock.
    pub fn new(measure: impl Fn(&Engine) -> u64 + Send + Sync + 'static) -> Meter {
        Meter(Some(Arc::new(measure)))
    }
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Meter" } else { "no Meter" })
    }
}

/// The state of the memory limit.
#[derive(Debug, Default)]
pub struct Memory {
    /// Bytes that count against the limit besides the keyspace's, told by the shell: buffers of clients and all else, but not those of
    /// the log and of replicas, which evicting would only make larger.
    pub beside: u64,
    /// Who knows what [`Memory::beside`] is at the moment. Without one it stays what it was last told to be.
    pub meter: Meter,
    /// Bytes of large dead values that are just being freed elsewhere.
    pub freeing: Arc<AtomicU64>,
    /// When the server began, Unix ms: keys whose use is not known count as used then.
    pub opened_ms: u64,
    pool: Pool,
    /// Database and position where the search for candidates goes on.
    cursor: (usize, u64),
    /// Key of the one that goes.
    key: Vec<u8>,
    /// Since when the limit is exceeded, monotonic ms.
    exceeded_since: Option<u64>,
    exceeded_ms: u64,
}

impl Memory {
    /// How long the limit is exceeded now, and was altogether, in ms.
    pub fn exceeded_ms(&self, monotonic_ms: u64) -> (u64, u64) {
        let now = self.exceeded_since.map_or(0, |since| monotonic_ms.saturating_sub(since));
        (now, self.exceeded_ms + now)
    }

    /// CONFIG RESETSTAT.
    pub fn reset_exceeded(&mut self, monotonic_ms: u64) {
        self.exceeded_ms = 0;
        self.exceeded_since = self.exceeded_since.map(|_| monotonic_ms);
    }
}

impl Engine {
    /// What an access now makes of an entry's bits of use.
    #[inline]
    pub(crate) fn usage(&mut self) -> Usage {
        let memory = &self.settings.memory;
        if self.replaying {
            Usage::NOTHING
        } else if memory.lfu() {
            let (factor, decay) = (memory.lfu_log_factor, memory.lfu_decay_minutes);
            Usage::lfu(self.now_ms, (self.random() >> 32) as u32, factor, decay)
        } else {
            Usage::lru(self.now_ms)
        }
    }

    /// Bytes that count against the limit: data, what is dead but not freed, and the rest.
    #[inline]
    pub fn limited_bytes(&self) -> u64 {
        self.live_bytes() + self.dead_bytes()
    }

    #[inline]
    fn live_bytes(&self) -> u64 {
        self.keyspace.used_bytes() + self.memory.beside
    }

    /// Bytes of large values that are dead but not freed.
    #[inline]
    pub fn dead_bytes(&self) -> u64 {
        self.keyspace.dead_bytes() + self.memory.freeing.load(Relaxed)
    }

    /// Whether more than the limit were in use with so many bytes more.
    #[inline]
    pub fn is_full_with(&self, incoming: usize) -> bool {
        let limit = self.settings.memory.limit;
        limit != 0 && self.limited_bytes() + incoming as u64 > limit
    }

    /// Makes room for a command that brings so many bytes, by evicting what the policy allows. To be called before commands that may
    /// need memory; within a transaction nothing is evicted. Without a limit it costs one compare.
    #[inline]
    pub fn make_room(&mut self, incoming: usize) -> Room {
        let limit = self.settings.memory.limit;
        if limit == 0 || !self.is_full_with(incoming) && self.memory.exceeded_since.is_none() {
            return Room::Enough;
        }
        self.evict(incoming as u64)
    }

    /// Changes the settings of the memory limit.
    pub fn set_memory(&mut self, settings: MemorySettings) {
        self.settings.memory = settings;
        self.memory.pool.clear();
    }

    /// Whether memory is short now: for whoever may not evict, as within a transaction.
    pub fn is_out_of_memory(&self) -> bool {
        self.is_full_with(0)
    }

    /// One step of eviction for whoever looks after memory in the background; says whether another one is due.
    pub fn evict_slice(&mut self) -> bool {
        self.make_room(0) == Room::Enough && self.is_out_of_memory() && self.may_evict()
    }

    fn may_evict(&self) -> bool {
        self.settings.memory.policy.order != Order::None
            && self.refused == Refused::Nothing
            && !self.replaying
            && !self.in_transaction()
            && !self.is_paused()
    }

    #[cold]
    #[inline(never)]
    fn evict(&mut self, incoming: u64) -> Room {
        let limit = self.settings.memory.limit;
        if self.is_paused() {
            return Room::Enough; // Nothing changes by itself, and writes wait.
        }
        if let Some(measure) = self.memory.meter.0.clone() {
            self.memory.beside = measure(self);
        }
        if self.keyspace.dead_bytes() > limit / DEAD_SHARE {
            self.keyspace.free_dead(FREED_BLOCKS);
        }
        let target = limit - incoming.min(limit / AHEAD_SHARE);
        let mut found = true;
        if self.live_bytes() > target && self.may_evict() {
            // No client did it: those who cache the keys hear of it, whoever they are.
            self.actor = 0;
            let mut looks = LOOKS_MAX;
            let mut left = self.evictable();
            for _ in 0..self.settings.memory.keys_max() {
                match self.choose(left, &mut looks) {
                    Choice::Key(db, position) => {
                        self.evict_key(db, position);
                        left = left.saturating_sub(1);
                    }
                    Choice::NotYet => break,
                    Choice::Nothing => {
                        found = false;
                        break;
                    }
                }
                if self.live_bytes() <= target {
                    break;
                }
            }
            // Told now: the command that needs the room may be of a client that caches what was evicted.
            self.finish_deletions();
            if self.waiting.has_ready() {
                self.serve_waiting();
            }
        } else if self.live_bytes() > limit {
            found = false;
        }
        let over = self.limited_bytes() > limit;
        self.note_exceeded(over);
        if !found && self.live_bytes() > limit { Room::OutOfMemory } else { Room::Enough }
    }

    fn note_exceeded(&mut self, over: bool) {
        let (now, memory) = (self.monotonic_ms, &mut self.memory);
        match memory.exceeded_since {
            None if over => memory.exceeded_since = Some(now),
            Some(since) if !over => {
                memory.exceeded_ms += now.saturating_sub(since);
                memory.exceeded_since = None;
            }
            _ => {}
        }
    }

    /// Deletes a key: a record, an event, a count.
    fn evict_key(&mut self, db: usize, position: u64) {
        let bytes = std::mem::take(&mut self.memory.key);
        let key = Key { bytes: &bytes, position };
        self.keyspace.db_mut(db).remove(key);
        self.changed(db, key);
        self.effect(db, &[b"DEL", &bytes]);
        self.stats.evicted_keys += 1;
        if let Some(row) = self.keyspace.prefix_row(&bytes) {
            self.prefix_events(row).evicted += 1;
        }
        self.event(EventClass::Evicted, "evicted", db, &bytes);
        self.memory.key = bytes;
        // Nothing holds these deletions together but that one record costs less than many.
        if self.effects.room() < RECORD_LEN_MAX - FRAME_PAYLOAD_TARGET {
            self.effects.finish();
        }
    }
}

/// Whom the policy takes next.
enum Choice {
    /// Database and position; the key's bytes are in [`Memory::key`].
    Key(usize, u64),
    /// The search has to go on in another step.
    NotYet,
    /// Nobody.
    Nothing,
}

impl Engine {
    /// How many keys the policy may take.
    fn evictable(&self) -> usize {
        let volatile = self.settings.memory.policy.volatile;
        let databases = (0..self.keyspace.databases()).map(|db| self.keyspace.db(db));
        databases.map(|db| if volatile { db.with_deadline() } else { db.len() }).sum()
    }

    /// Chooses one of `total`.
    fn choose(&mut self, total: usize, looks: &mut usize) -> Choice {
        if total == 0 {
            return Choice::Nothing;
        }
        let found = match self.settings.memory.policy.order {
            Order::Random => self.choose_any(total, looks),
            _ => self.choose_best(looks),
        };
        found.map_or(Choice::NotYet, |(db, position)| Choice::Key(db, position))
    }

    /// Any of `total`, each about as likely.
    fn choose_any(&mut self, total: usize, looks: &mut usize) -> Option<(usize, u64)> {
        let volatile = self.settings.memory.policy.volatile;
        let (first, second) = (self.random(), self.random());
        let mut rest = ((u128::from(first) * total as u128) >> 64) as usize;
        let (seed, keyspace, chosen) = (self.keyspace.seed(), &self.keyspace, &mut self.memory.key);
        for number in 0..keyspace.databases() {
            let db = keyspace.db(number);
            let count = if volatile { db.with_deadline() } else { db.len() };
            if rest >= count {
                rest -= count;
                continue;
            }
            if !volatile {
                let entry = db.random(second)?;
                chosen.clear();
                chosen.extend_from_slice(entry.key);
                return Some((number, seed.position(chosen)));
            }
            // The first line from a random place on that has a key with a deadline, and one of those.
            let (mut from, mut seen) = (Some(second), 0);
            for _ in 0..2 {
                while seen == 0
                    && *looks > 0
                    && let Some(position) = from
                {
                    from = db.sweep(position, true, looks, &mut |entry| {
                        seen += 1;
                        if (second >> 7) % seen == 0 {
                            chosen.clear();
                            chosen.extend_from_slice(entry.key);
                        }
                    });
                }
                from = Some(0);
            }
            return (seen > 0).then(|| (number, seed.position(chosen)));
        }
        None
    }

    /// The best of those that were looked at, some more of which are looked at first.
    fn choose_best(&mut self, looks: &mut usize) -> Option<(usize, u64)> {
        let (mut seen, mut lines) = (0, 0);
        while *looks > 0
            && (seen < self.settings.memory.samples || lines < LINES_TO_FILL && !self.memory.pool.is_full())
        {
            seen += self.look_on(looks);
            lines += 1;
        }
        loop {
            while let Some(candidate) = self.memory.pool.take_best() {
                if self.is_still(&candidate) {
                    return Some((candidate.db, candidate.position));
                }
            }
            if *looks == 0 {
                return None;
            }
            self.look_on(looks);
        }
    }

    /// Looks at the next line of entries; says how many it looked at.
    fn look_on(&mut self, looks: &mut usize) -> usize {
        let (volatile, seed) = (self.settings.memory.policy.volatile, self.keyspace.seed());
        let (mut number, mut from) = self.memory.cursor;
        let judge = Judge::of(self);
        let (keyspace, pool) = (&self.keyspace, &mut self.memory.pool);
        let mut seen = 0;
        for _ in 0..=keyspace.databases() {
            number = if number < keyspace.databases() { number } else { 0 };
            let db = keyspace.db(number);
            let next = if db.is_empty() || volatile && db.with_deadline() == 0 {
                None
            } else {
                db.sweep(from, volatile, looks, &mut |entry| {
                    seen += 1;
                    let rank = judge.rank(entry);
                    if pool.wants(rank) {
                        let position = seed.position(entry.key);
                        pool.add(Candidate { rank, position, db: number, mark: judge.mark(entry) });
                    }
                })
            };
            (number, from) = next.map_or((number + 1, 0), |position| (number, position));
            if seen > 0 || *looks == 0 {
                break;
            }
        }
        self.memory.cursor = (number, from);
        seen
    }

    /// Whether a candidate is there as it was when it was looked at; its key is put where [`Engine::evict_key`] expects it.
    fn is_still(&mut self, candidate: &Candidate) -> bool {
        if candidate.db >= self.keyspace.databases() {
            return false;
        }
        let judge = Judge::of(self);
        let Some(entry) = self.keyspace.db(candidate.db).at_position(candidate.position) else { return false };
        let is_still = judge.mark(&entry) == candidate.mark;
        if is_still {
            self.memory.key.clear();
            self.memory.key.extend_from_slice(entry.key);
        }
        is_still
    }
}

/// What a policy thinks of entries.
#[derive(Clone, Copy)]
struct Judge {
    policy: Policy,
    now_ms: u64,
    decay_minutes: u32,
    opened_ms: u64,
}

impl Judge {
    fn of(engine: &Engine) -> Judge {
        let settings = &engine.settings.memory;
        Judge {
            policy: settings.policy,
            now_ms: engine.now_ms,
            decay_minutes: settings.lfu_decay_minutes,
            opened_ms: engine.memory.opened_ms,
        }
    }

    /// Those with low ranks go first. Ranks of different times can be compared: they say when, not how long ago.
    #[inline]
    fn rank(&self, entry: &Entry<'_>) -> u64 {
        match self.policy.order {
            Order::Lru => {
                let used = match entry.access {
                    0 => return (self.opened_ms << 8) / 1000,
                    access => u64::from(usage::lru_age(access, self.now_ms)),
                };
                ((self.now_ms << 8) / 1000).saturating_sub(used)
            }
            Order::Lfu => {
                let now = (self.now_ms << 8) / 60_000;
                let used = match entry.access {
                    0 => (self.opened_ms << 8) / 60_000,
                    access => now.saturating_sub(u64::from(usage::lfu_age(access, self.now_ms))),
                };
                u64::from(usage::frequency(entry.access, self.now_ms, self.decay_minutes)) << 56 | used
            }
            Order::Ttl => entry.deadline.unwrap_or(u64::MAX),
            Order::None | Order::Random => 0,
        }
    }

    /// What is another once the entry was used, or got another deadline, or none.
    #[inline]
    fn mark(&self, entry: &Entry<'_>) -> Option<u64> {
        match self.policy.order {
            Order::Ttl => entry.deadline,
            _ if self.policy.volatile && entry.deadline.is_none() => None,
            _ => Some(u64::from(entry.access)),
        }
    }
}

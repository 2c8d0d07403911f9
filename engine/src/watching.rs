//! Keys that clients watch: WATCH's promise that a transaction runs only if none of them was changed.
//!
//! 1. A client's watch is one shared flag; whoever changes a watched key raises it. Nothing is looked up when nobody watches anything.
//! 2. A client that goes away just drops its flag: watches whose flag nobody else holds are swept out when they are met, or when
//!    there are twice as many as after the last sweep.
//! 3. A key that is dead already when it is watched may be reclaimed without that being a change.

use crate::engine::Engine;
use crate::key::Key;
use crate::log::pending::Identity;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Below so many watches nothing is swept.
const SWEEP_MIN: usize = 1024;

#[derive(Debug)]
struct Watch {
    db: usize,
    key: Box<[u8]>,
    /// The key's deadline had passed when it was watched.
    dead: bool,
    tripped: Arc<AtomicBool>,
}

impl Watch {
    /// Whether a client still cares.
    fn lives(&self) -> bool {
        Arc::strong_count(&self.tripped) > 1
    }
}

/// All watches of all clients.
#[derive(Debug, Default)]
pub struct Watches {
    /// By position.
    keys: HashMap<u64, Vec<Watch>, BuildHasherDefault<Identity>>,
    count: usize,
    sweep_at: usize,
}

impl Watches {
    /// Whether nobody watches anything.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many watches there are (INFO), those of clients that have just gone among them.
    pub fn len(&self) -> usize {
        self.count
    }

    fn sweep(&mut self) {
        self.keys.retain(|_, watches| {
            watches.retain(Watch::lives);
            !watches.is_empty()
        });
        self.count = self.keys.values().map(Vec::len).sum();
        self.sweep_at = (self.count * 2).max(SWEEP_MIN);
    }

    /// Raises the flags of those who watch a key; `reclaimed`: it was dead, and is only now removed.
    #[cold]
    pub(crate) fn trip(&mut self, db: usize, key: Key<'_>, reclaimed: bool) {
        let Some(watches) = self.keys.get_mut(&key.position) else { return };
        let before = watches.len();
        watches.retain_mut(|watch| {
            if watch.db == db && *watch.key == *key.bytes {
                if reclaimed && watch.dead {
                    watch.dead = false;
                } else {
                    watch.tripped.store(true, Relaxed);
                }
            }
            watch.lives()
        });
        self.count -= before - watches.len();
        if watches.is_empty() {
            self.keys.remove(&key.position);
        }
    }

    /// Raises the flags of those who watch a key of `db` for which `changes` says so.
    fn trip_all(&mut self, db: usize, mut changes: impl FnMut(Key<'_>) -> bool) {
        for (&position, watches) in &self.keys {
            for watch in watches.iter().filter(|watch| watch.db == db) {
                if changes(Key { bytes: &watch.key, position }) {
                    watch.tripped.store(true, Relaxed);
                }
            }
        }
    }
}

/// One client's watches: what it must keep.
#[derive(Debug, Default)]
pub struct Watching {
    tripped: Arc<AtomicBool>,
    keys: Vec<(usize, Box<[u8]>, bool)>,
}

impl Engine {
    /// Has `watching` watch a key as well.
    pub fn watch(&mut self, watching: &mut Watching, db: usize, key: Key<'_>) {
        if watching.keys.iter().any(|(at, bytes, _)| *at == db && **bytes == *key.bytes) {
            return;
        }
        let dead = self.keyspace.db(db).get(key).is_some_and(|entry| self.is_dead(&entry));
        let watch = Watch { db, key: key.bytes.into(), dead, tripped: Arc::clone(&watching.tripped) };
        self.watches.keys.entry(key.position).or_default().push(watch);
        self.watches.count += 1;
        watching.keys.push((db, key.bytes.into(), dead));
        if self.watches.count > self.watches.sweep_at.max(SWEEP_MIN) {
            self.watches.sweep();
        }
    }

    /// Whether none of the watched keys was changed, or has died, since they are watched.
    pub fn unchanged(&self, watching: &Watching) -> bool {
        let seed = self.keyspace.seed();
        let died = |(db, key, dead): &(usize, Box<[u8]>, bool)| {
            !dead && self.keyspace.db(*db).get(seed.key(key)).is_some_and(|entry| self.is_dead(&entry))
        };
        !watching.tripped.load(Relaxed) && !watching.keys.iter().any(died)
    }

    /// Must precede the flush of database `db`.
    pub(crate) fn watches_before_flush(&mut self, db: usize) {
        if !self.watches.is_empty() {
            let held = self.keyspace.db(db);
            self.watches.trip_all(db, |key| held.get(key).is_some());
        }
    }

    /// Must follow when two databases were exchanged.
    pub(crate) fn watches_of_swapped(&mut self, one: usize, other: usize) {
        if self.watches.is_empty() {
            return;
        }
        let keyspace = &self.keyspace;
        let either = |key: Key<'_>| keyspace.db(one).get(key).is_some() || keyspace.db(other).get(key).is_some();
        self.watches.trip_all(one, either);
        self.watches.trip_all(other, either);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::Bench;

    fn watch(bench: &mut Bench, keys: &[&[u8]]) -> Watching {
        let mut watching = Watching::default();
        for key in keys {
            let key = bench.engine.keyspace.seed().key(key);
            bench.engine.watch(&mut watching, bench.session.db, key);
        }
        watching
    }

    #[test]
    fn a_change_trips_those_who_watch_that_key_in_that_database() {
        let mut bench = Bench::new();
        let (one, other) = (watch(&mut bench, &[b"a", b"b", b"a"]), watch(&mut bench, &[b"c"]));
        bench.run(&[b"SELECT", b"1"]);
        bench.run(&[b"SET", b"a", b"1"]);
        assert!(bench.engine.unchanged(&one), "another database");
        bench.run(&[b"SELECT", b"0"]);
        bench.run(&[b"DEL", b"a"]);
        assert!(bench.engine.unchanged(&one), "nothing was deleted");
        bench.run(&[b"SET", b"b", b"1"]);
        assert!(!bench.engine.unchanged(&one) && bench.engine.unchanged(&other));
        assert_eq!(bench.engine.watches.len(), 3);
        drop(one);
        bench.run(&[b"SET", b"a", b"1"]);
        bench.run(&[b"SET", b"b", b"2"]);
        assert_eq!(bench.engine.watches.len(), 1, "who has gone is swept when met");
    }

    #[test]
    fn a_key_that_dies_trips_and_one_that_was_dead_does_not() {
        let mut bench = Bench::new();
        bench.run(&[b"SET", b"a", b"1", b"PX", b"100"]);
        let before = watch(&mut bench, &[b"a"]);
        bench.engine.now_ms += 200;
        let after = watch(&mut bench, &[b"a"]);
        assert!(!bench.engine.unchanged(&before), "dead, though not yet reclaimed");
        assert!(bench.engine.unchanged(&after));
        bench.run(&[b"GET", b"a"]);
        assert!(bench.engine.unchanged(&after), "only reclaimed");
        bench.run(&[b"SET", b"a", b"2"]);
        assert!(!bench.engine.unchanged(&after));
    }

    #[test]
    fn flushed_and_swapped_databases_trip_where_a_key_was_or_is() {
        let mut bench = Bench::new();
        bench.run(&[b"SET", b"a", b"1"]);
        let (held, missing) = (watch(&mut bench, &[b"a"]), watch(&mut bench, &[b"b"]));
        bench.run(&[b"FLUSHDB"]);
        assert!(!bench.engine.unchanged(&held) && bench.engine.unchanged(&missing));
        bench.run(&[b"SELECT", b"1"]);
        bench.run(&[b"SET", b"b", b"1"]);
        bench.run(&[b"SELECT", b"0"]);
        let other = watch(&mut bench, &[b"c"]);
        bench.run(&[b"SWAPDB", b"0", b"1"]);
        assert!(!bench.engine.unchanged(&missing) && bench.engine.unchanged(&other));
    }

    #[test]
    fn watches_of_clients_that_have_gone_do_not_pile_up() {
        let mut bench = Bench::new();
        for number in 0..10 * SWEEP_MIN as u64 {
            watch(&mut bench, &[&number.to_le_bytes()]);
        }
        assert!(bench.engine.watches.len() <= 2 * SWEEP_MIN + 1, "{}", bench.engine.watches.len());
    }
}

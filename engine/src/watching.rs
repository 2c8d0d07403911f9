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
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};

/// Below so many watches nothing is swept.
const SWEEP_MIN: usize = 1024;

#[derive(Debug)]
struct Watch {
    db: usize,
    key: Box<[u8]>,
    /// The key's deadline had passed when it was watched.
    dead: bool,
    tripped: Weak<AtomicBool>,
}

impl Watch {
    /// Whether a client still cares.
    fn lives(&self) -> bool {
        self.tripped.strong_count() > 0
    }

    fn trip(&self) {
        if let Some(tripped) = self.tripped.upgrade() {
            tripped.store(true, Relaxed);
        }
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
                    watch.trip();
                }
            }
            watch.lives()
        });
        self.count -= before - watches.len();
        if watches.is_empty() {
            self.keys.remove(&key.position);
        }
    }

    /// Tells those who watch a key of `db` what `states` says of it: before and after the whole database was replaced.
    fn replace_all(&mut self, db: usize, mut states: impl FnMut(Key<'_>) -> (State, State)) {
        for (&position, watches) in &mut self.keys {
            for watch in watches.iter_mut().filter(|watch| watch.db == db) {
                let (before, after) = states(Key { bytes: &watch.key, position });
                match (before, after) {
                    (State::Missing, State::Missing) => {}
                    (_, State::Missing) if watch.dead => watch.dead = false,
                    (_, State::Dead) if watch.dead => {}
                    (State::Missing, State::Dead) => watch.dead = true,
                    _ => watch.trip(),
                }
            }
        }
    }
}

/// What a database holds under a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Missing,
    Dead,
    Live,
}

/// One client's watches: what it must keep.
#[derive(Debug, Default)]
pub struct Watching {
    tripped: Arc<AtomicBool>,
    keys: Vec<(usize, Box<[u8]>)>,
}

impl Watching {
    /// How many keys that are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl Engine {
    /// Has `watching` watch a key as well.
    pub fn watch(&mut self, watching: &mut Watching, db: usize, key: Key<'_>) {
        if watching.keys.iter().any(|(at, bytes)| *at == db && **bytes == *key.bytes) {
            return;
        }
        let dead = self.state_of(db, key) == State::Dead;
        let watch = Watch { db, key: key.bytes.into(), dead, tripped: Arc::downgrade(&watching.tripped) };
        self.watches.keys.entry(key.position).or_default().push(watch);
        self.watches.count += 1;
        watching.keys.push((db, key.bytes.into()));
        if self.watches.count > self.watches.sweep_at.max(SWEEP_MIN) {
            self.watches.sweep();
        }
    }

    /// Whether none of the watched keys was changed, or has died, since they are watched.
    pub fn unchanged(&self, watching: &Watching) -> bool {
        let seed = self.keyspace.seed();
        let died = |(db, key): &(usize, Box<[u8]>)| {
            let key = seed.key(key);
            let was_dead = || {
                let watches = self.watches.keys.get(&key.position);
                watches.into_iter().flatten().any(|watch| {
                    watch.dead
                        && watch.db == *db
                        && watch.tripped.as_ptr() == Arc::as_ptr(&watching.tripped)
                        && *watch.key == *key.bytes
                })
            };
            self.state_of(*db, key) == State::Dead && !was_dead()
        };
        !watching.tripped.load(Relaxed) && !watching.keys.iter().any(died)
    }

    fn state_of(&self, db: usize, key: Key<'_>) -> State {
        match self.keyspace.db(db).get(key) {
            None => State::Missing,
            Some(entry) if self.is_dead(&entry) => State::Dead,
            Some(_) => State::Live,
        }
    }

    /// Must precede the flush of database `db`.
    pub(crate) fn watches_before_flush(&mut self, db: usize) {
        if !self.watches.is_empty() {
            let mut watches = std::mem::take(&mut self.watches);
            watches.replace_all(db, |key| (self.state_of(db, key), State::Missing));
            self.watches = watches;
        }
    }

    /// Must follow when two databases were exchanged.
    pub(crate) fn watches_of_swapped(&mut self, one: usize, other: usize) {
        if !self.watches.is_empty() {
            let mut watches = std::mem::take(&mut self.watches);
            watches.replace_all(one, |key| (self.state_of(other, key), self.state_of(one, key)));
            watches.replace_all(other, |key| (self.state_of(one, key), self.state_of(other, key)));
            self.watches = watches;
        }
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
    fn what_a_stream_keeps_of_its_readers_is_no_change_of_it() {
        let words = |line: &'static str| line.split(' ').map(str::as_bytes).collect::<Vec<_>>();
        let mut bench = Bench::new();
        for line in ["XADD s 1-1 a b", "XADD s 2-1 a b", "XGROUP CREATE s g 0"] {
            bench.run(&words(line));
        }
        for line in [
            "XGROUP CREATE s h $",
            "XGROUP CREATECONSUMER s g one",
            "XREADGROUP GROUP g one STREAMS s >",
            "XREADGROUP GROUP g one STREAMS s 0",
            "XACK s g 1-1",
            "XCLAIM s g two 0 2-1",
            "XAUTOCLAIM s g three 0 0",
            "XGROUP SETID s g 0",
            "XGROUP DELCONSUMER s g one",
            "XGROUP DESTROY s h",
            "XSETID s 9-9",
        ] {
            let watching = watch(&mut bench, &[b"s"]);
            bench.effects();
            let reply = bench.run(&words(line));
            assert!(!bench.effects().is_empty(), "{line}: {reply}");
            assert!(bench.engine.unchanged(&watching), "{line}");
        }
        for line in ["XDEL s 1-1", "XTRIM s MAXLEN 0", "XADD s 10-1 a b", "XGROUP CREATE new g $ MKSTREAM"] {
            let watching = watch(&mut bench, &[b"s", b"new"]);
            bench.run(&words(line));
            assert!(!bench.engine.unchanged(&watching), "{line}");
        }
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
    fn keys_that_were_dead_do_not_trip_when_their_database_goes() {
        let mut bench = Bench::new();
        bench.run(&[b"SET", b"a", b"1", b"PX", b"100"]);
        bench.run(&[b"SELECT", b"1"]);
        bench.run(&[b"SET", b"b", b"1", b"PX", b"100"]);
        bench.run(&[b"SELECT", b"0"]);
        bench.engine.now_ms += 200;
        let (dead, missing) = (watch(&mut bench, &[b"a"]), watch(&mut bench, &[b"b"]));
        bench.run(&[b"SWAPDB", b"0", b"1"]);
        assert!(bench.engine.unchanged(&dead), "dead, then missing");
        assert!(bench.engine.unchanged(&missing), "missing, then dead");
        bench.run(&[b"FLUSHALL"]);
        assert!(bench.engine.unchanged(&dead) && bench.engine.unchanged(&missing));
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

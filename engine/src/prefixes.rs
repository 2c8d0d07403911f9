//! Statistics by key prefix, as the engine adds them up: keys and bytes from the keyspace's own table, and what happened to keys.
//!
//! Keys, bytes, hits, misses, expired and evicted keys are all exact, none is sampled. A look-up of a key that is not there belongs to
//! a discovered prefix only if that has a key, or had one: whoever asks for what never was makes no rows.

use crate::engine::Engine;
use crate::keyspace::{PrefixSettings, PrefixSize};
use std::sync::Arc;

/// What happened to keys of one prefix, since the statistics were turned on or reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PrefixEvents {
    /// Look-ups that found a key (as INFO's `keyspace_hits`).
    pub hits: u64,
    /// Look-ups that found none.
    pub misses: u64,
    /// Keys whose deadline passed.
    pub expired: u64,
    /// Keys that were evicted.
    pub evicted: u64,
}

/// One prefix.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PrefixRow {
    /// The prefix; empty for all keys that have none of the others.
    pub prefix: Vec<u8>,
    /// What there is of it.
    pub size: PrefixSize,
    /// What happened.
    pub events: PrefixEvents,
}

/// Keys that one slice counts at least.
const COUNT_SLICE: usize = 512;

impl Engine {
    /// Turns statistics by prefix on, off, or to other prefixes; the same prefixes as before change nothing.
    pub fn set_prefixes(&mut self, settings: PrefixSettings) {
        if self.keyspace.prefix_settings().map_or(!settings.is_on(), |old| **old == settings) {
            return;
        }
        self.restart_prefixes(&Arc::new(settings));
    }

    /// Counts anew.
    pub(crate) fn restart_prefixes(&mut self, settings: &Arc<PrefixSettings>) {
        self.prefix_events.clear();
        self.keyspace.set_prefixes(settings);
    }

    /// CONFIG RESETSTAT: what happened is forgotten, what there is is not.
    pub fn reset_prefix_events(&mut self) {
        self.prefix_events.clear();
    }

    /// Counts some of the keys that were there before; says whether there are more.
    pub fn count_prefixes_slice(&mut self) -> bool {
        self.keyspace.count_prefixes(COUNT_SLICE)
    }

    /// All prefixes, the first of which stands for all other keys, and whether everything has been counted; `None` if statistics are off.
    pub fn prefix_rows(&self) -> Option<(Vec<PrefixRow>, bool)> {
        let table = self.keyspace.prefixes()?;
        let events = |row: usize| self.prefix_events.get(row).copied().unwrap_or_default();
        let rows = table.sizes().enumerate();
        let rows = rows.map(|(row, (prefix, size))| PrefixRow { prefix: prefix.to_vec(), size, events: events(row) });
        Some((rows.collect(), table.is_complete()))
    }

    /// What has happened to keys of the row, to be counted on.
    #[inline]
    pub(crate) fn prefix_events(&mut self, row: usize) -> &mut PrefixEvents {
        prefix_events_of(&mut self.prefix_events, row)
    }
}

/// [`Engine::prefix_events`] while the keyspace is borrowed.
#[inline]
pub(crate) fn prefix_events_of(events: &mut Vec<PrefixEvents>, row: usize) -> &mut PrefixEvents {
    if row >= events.len() {
        events.resize(row + 1, PrefixEvents::default());
    }
    &mut events[row]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::Bench;
    use crate::eviction::{MemorySettings, Policy};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn settings(listed: &[&str], delimiter: &str, discovered_max: usize) -> PrefixSettings {
        let listed = listed.iter().map(|prefix| prefix.as_bytes().into()).collect();
        PrefixSettings { listed, delimiter: delimiter.as_bytes().into(), discovered_max }
    }

    /// Keys and bytes of each row, and the bytes of all.
    fn told(bench: &Bench) -> (BTreeMap<Vec<u8>, u64>, u64) {
        let (rows, complete) = bench.engine.prefix_rows().expect("it is on");
        assert!(complete);
        let bytes = rows.iter().map(|row| row.size.bytes).sum();
        (rows.into_iter().map(|row| (row.prefix, row.size.keys)).filter(|(_, keys)| *keys > 0).collect(), bytes)
    }

    /// The same by looking at every key.
    fn counted(bench: &Bench, settings: &PrefixSettings) -> (BTreeMap<Vec<u8>, u64>, u64) {
        let (mut rows, mut bytes) = (BTreeMap::new(), 0);
        for db in 0..16 {
            let db = bench.engine.keyspace.db(db);
            bytes += db.entries_bytes();
            db.for_each(&mut |entry| {
                let listed = settings.listed.iter().filter(|prefix| entry.key.starts_with(prefix));
                let at = entry.key.iter().position(|byte| settings.delimiter.first() == Some(byte));
                let prefix = match listed.max_by_key(|prefix| prefix.len()) {
                    Some(prefix) => prefix.to_vec(),
                    None => at.map_or(Vec::new(), |at| entry.key[..=at].to_vec()),
                };
                *rows.entry(prefix).or_default() += 1;
            });
        }
        (rows, bytes)
    }

    #[derive(Clone, Debug)]
    enum Step {
        Run(usize, Vec<String>),
        Wait(u64),
        Expire,
        Squeeze,
        Count,
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        let key = prop::sample::select(vec!["a:1", "a:2", "b:1", "b:x:1", "c", "d:", "ab", "a:big", "b:list"]);
        let command = (0usize..11, key.clone(), key, 0usize..400).prop_map(|(kind, key, other, len)| {
            let value = "v".repeat(len);
            let words: Vec<&str> = match kind {
                0 | 1 => vec!["SET", key, &value],
                2 => vec!["SET", key, &value, "PX", "50"],
                3 => vec!["DEL", key],
                4 => vec!["RENAME", key, other],
                5 => vec!["APPEND", key, &value],
                6 => vec!["RPUSH", key, &value, "x"],
                7 => vec!["COPY", key, other, "DB", "1", "REPLACE"],
                8 => vec!["MOVE", key, "2"],
                9 => vec!["LPOP", key],
                _ => vec!["PEXPIRE", key, "30"],
            };
            words.into_iter().map(str::to_owned).collect::<Vec<_>>()
        });
        let whole = prop::sample::select(vec!["FLUSHDB", "FLUSHALL", "SWAPDB 0 1", "SWAPDB 1 2"])
            .prop_map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        prop_oneof![
            30 => (0usize..3, command).prop_map(|(db, words)| Step::Run(db, words)),
            1 => (0usize..3, whole).prop_map(|(db, words)| Step::Run(db, words)),
            2 => (1u64..60).prop_map(Step::Wait),
            2 => Just(Step::Expire),
            1 => Just(Step::Squeeze),
            2 => Just(Step::Count),
            1 => Just(Step::Restart),
        ]
    }

    proptest! {
        /// Whatever happens to keys, and whenever the count began: the numbers are those of looking at every key.
        #[test]
        fn keys_and_bytes_are_exact(steps in prop::collection::vec(step(), 1..120), listed: bool) {
            let wanted = if listed { settings(&["a:", "a:b", "b:x:"], ":", 10) } else { settings(&[], ":", 10) };
            let mut bench = Bench::new();
            for step in steps {
                match step {
                    Step::Run(db, words) => {
                        bench.session.db = db;
                        let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
                        bench.run(&words);
                    }
                    Step::Wait(ms) => bench.engine.now_ms += ms,
                    Step::Expire => {
                        bench.engine.expire_slice(3);
                    }
                    Step::Squeeze => {
                        let policy = Policy::named("allkeys-lru").unwrap();
                        let limit = bench.engine.limited_bytes().saturating_sub(500).max(1);
                        bench.engine.set_memory(MemorySettings { limit, policy, ..MemorySettings::default() });
                        bench.engine.make_room(0);
                        bench.engine.set_memory(MemorySettings::default());
                    }
                    Step::Count => {
                        bench.engine.keyspace.count_prefixes(1);
                    }
                    Step::Restart => bench.engine.restart_prefixes(&Arc::new(wanted.clone())),
                }
            }
            bench.engine.set_prefixes(wanted.clone());
            while bench.engine.count_prefixes_slice() {}
            prop_assert_eq!(told(&bench), counted(&bench, &wanted));
        }
    }

    #[test]
    fn hits_misses_expired_and_evicted_keys_are_told_by_prefix() {
        let mut bench = Bench::new();
        bench.engine.set_prefixes(settings(&["session:"], ":", 2));
        bench.run(&[b"SET", b"session:1", b"v", b"PX", b"10"]);
        bench.run(&[b"SET", b"cache:1", b"v"]);
        for key in ["session:1", "session:1", "session:2", "cache:1", "never:1", "plain"] {
            bench.run(&[b"GET", key.as_bytes()]);
        }
        bench.engine.now_ms += 20;
        bench.run(&[b"GET", b"session:1"]);
        let policy = Policy::named("allkeys-lru").unwrap();
        bench.engine.set_memory(MemorySettings { limit: 1, policy, ..MemorySettings::default() });
        bench.engine.make_room(0);
        let (rows, _) = bench.engine.prefix_rows().unwrap();
        let events: Vec<_> = rows.iter().map(|row| (row.prefix.as_slice(), row.events)).collect();
        let of = |hits, misses, expired, evicted| PrefixEvents { hits, misses, expired, evicted };
        assert_eq!(
            events,
            [(b"".as_slice(), of(0, 2, 0, 0)), (b"session:", of(2, 2, 1, 0)), (b"cache:", of(1, 0, 0, 1)),]
        );
        assert!(rows.iter().all(|row| row.size == PrefixSize::default()), "all keys are gone");
        bench.engine.set_prefixes(PrefixSettings::default());
        assert_eq!(bench.engine.prefix_rows(), None);
    }
}

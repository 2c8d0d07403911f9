//! The policies against a model that knows everything; the limit; what is logged and told.

use super::*;
use crate::command::replay_tests::replay;
use crate::command::testing::Bench;
use crate::keyspace::Keyspace;
use std::collections::{BTreeMap, BTreeSet};

fn bench(policy: &str, limit: u64) -> Bench {
    let mut bench = Bench::new();
    let policy = Policy::named(policy).unwrap();
    bench.engine.set_memory(MemorySettings { limit, policy, ..MemorySettings::default() });
    bench
}

/// Runs a command as the server does: with room made for it.
fn run(bench: &mut Bench, words: &[&[u8]]) -> String {
    if bench.engine.make_room(words.iter().map(|word| word.len()).sum()) == Room::OutOfMemory {
        return OUT_OF_MEMORY.to_owned();
    }
    bench.run(words).trim_end().to_owned()
}

fn key(n: usize) -> Vec<u8> {
    format!("key:{n:06}").into_bytes()
}

fn keys(keyspace: &Keyspace) -> BTreeSet<Vec<u8>> {
    let mut keys = BTreeSet::new();
    for db in 0..keyspace.databases() {
        keyspace.db(db).for_each(&mut |entry| {
            keys.insert(entry.key.to_vec());
        });
    }
    keys
}

const POLICIES: [&str; 7] =
    ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"];

#[test]
fn names_are_those_of_the_directive() {
    for name in POLICIES {
        let policy = Policy::named(name).unwrap();
        assert_eq!(policy.volatile, name.starts_with("volatile"));
        assert!(policy.order != Order::None);
    }
    assert_eq!(Policy::named("noeviction"), Some(Policy::default()));
    assert_eq!((Policy::named("allkeys-ttl"), Policy::named("volatile-"), Policy::named("")), (None, None, None));
}

#[test]
fn without_a_limit_nothing_goes_and_nothing_is_refused() {
    let mut bench = bench("allkeys-lru", 0);
    for n in 0..1000 {
        assert_eq!(run(&mut bench, &[b"SET", &key(n), &[b'v'; 500]]), "+OK");
    }
    assert_eq!(bench.engine.keyspace.db(0).len(), 1000);
    assert!(!bench.engine.is_out_of_memory());
}

#[test]
fn data_never_exceeds_the_limit_whatever_the_policy_and_the_size_of_values() {
    for policy in POLICIES {
        let limit = 400_000;
        let mut bench = bench(policy, limit);
        bench.engine.memory.beside = 50_000;
        for n in 0..4000usize {
            // Mostly small ones, some of a hundredth of the limit.
            let value = vec![b'v'; if n % 50 == 0 { 4000 } else { n % 300 }];
            assert_eq!(run(&mut bench, &[b"SET", &key(n), &value, b"PX", b"1000000"]), "+OK", "{policy}");
            let used = bench.engine.limited_bytes();
            assert!(used <= limit + limit / 100, "{policy}: {used} bytes after {n} keys");
        }
        let used = bench.engine.limited_bytes();
        assert!(used > limit - limit / 20, "{policy}: only {used} bytes are used");
        assert!(bench.engine.stats.evicted_keys > 2000, "{policy}");
        assert_eq!(bench.engine.keyspace.db(0).len() as u64 + bench.engine.stats.evicted_keys, 4000);
    }
}

#[test]
fn while_clients_are_paused_nothing_goes_and_nobody_looks_again_and_again() {
    let mut bench = bench("allkeys-lru", 0);
    for n in 0..1000 {
        run(&mut bench, &[b"SET", &key(n), &[b'v'; 500], b"PX", b"1"]);
    }
    let used = bench.engine.limited_bytes();
    bench.engine.pause_expiry(1000);
    bench.engine.set_memory(MemorySettings {
        limit: used / 2,
        policy: Policy::named("allkeys-lru").unwrap(),
        ..MemorySettings::default()
    });
    bench.engine.now_ms += 10; // All of them are dead.
    assert_eq!(bench.engine.make_room(0), Room::Enough);
    assert!(!bench.engine.evict_slice(), "there is nothing to be done now");
    assert!(!bench.engine.expire_slice(100));
    assert_eq!(keys(&bench.engine.keyspace).len(), 1000);
    assert_eq!(bench.engine.stats.evicted_keys, 0);
    bench.engine.monotonic_ms += 1000;
    bench.engine.now_ms -= 10;
    while bench.engine.evict_slice() {}
    assert!(bench.engine.limited_bytes() <= used / 2 && bench.engine.stats.evicted_keys > 400);
}

#[test]
fn collections_of_many_chunks_count_until_they_are_freed_and_nothing_goes_in_their_stead() {
    let limit = 2_000_000;
    let mut bench = bench("allkeys-lru", limit);
    let members: Vec<Vec<u8>> = (0..2000).map(|n| format!("member:{n:08}").into_bytes()).collect();
    let mut largest = 0;
    for n in 0..200 {
        let key = key(n);
        let mut words: Vec<&[u8]> = vec![b"SADD", &key];
        words.extend(members.iter().map(Vec::as_slice));
        assert_eq!(run(&mut bench, &words), ":2000");
        let engine = &mut bench.engine;
        let counted = engine.keyspace.used_bytes() + engine.dead_bytes();
        assert_eq!(counted, engine.limited_bytes());
        largest = largest.max(engine.limited_bytes());
        // Every other time somebody frees what is dead.
        if n % 2 == 0 {
            while engine.keyspace.pop_dead().is_some() {}
            assert_eq!(engine.dead_bytes(), 0);
        }
        if n > 100 {
            assert!(engine.keyspace.used_bytes() > limit / 2, "more was evicted than the limit asks for");
        }
    }
    assert!(bench.engine.stats.evicted_keys > 150);
    // One value's worth of what is dead at most, as nobody frees it but who needs room.
    assert!(largest <= limit + 120_000, "{largest} bytes");
}

#[test]
fn lru_takes_those_not_used_for_longest() {
    let mut bench = bench("allkeys-lru", 0);
    let count = 2000;
    for n in 0..count {
        bench.engine.now_ms += 5;
        bench.run(&[b"SET", &key(n), b"a value of some bytes"]);
    }
    // Every key of the older half is used again, but for every fourth.
    for n in (0..count / 2).filter(|n| n % 4 != 0) {
        bench.engine.now_ms += 5;
        bench.run(&[b"GET", &key(n)]);
    }
    let old: BTreeSet<Vec<u8>> = (0..count / 2).filter(|n| n % 4 == 0).map(key).collect();
    evict(&mut bench, "allkeys-lru", 5, old.len());
    let left = keys(&bench.engine.keyspace);
    let wrongly_kept = old.intersection(&left).count();
    assert!(wrongly_kept * 10 <= old.len(), "{wrongly_kept} of {} old keys are still there", old.len());
}

#[test]
fn lfu_takes_those_used_least_and_of_equals_the_oldest() {
    let mut bench = bench("allkeys-lfu", 0);
    let count = 2000;
    for n in 0..count {
        bench.engine.now_ms += 1;
        bench.run(&[b"SET", &key(n), b"a value of some bytes"]);
    }
    for _ in 0..3 {
        for n in (0..count).filter(|n| n % 4 != 0) {
            bench.engine.now_ms += 1;
            bench.run(&[b"GET", &key(n)]);
        }
    }
    let rare: BTreeSet<Vec<u8>> = (0..count).filter(|n| n % 4 == 0).map(key).collect();
    evict(&mut bench, "allkeys-lfu", 5, rare.len());
    let left = keys(&bench.engine.keyspace);
    let wrongly_kept = rare.intersection(&left).count();
    assert!(wrongly_kept * 10 <= rare.len(), "{wrongly_kept} of {} rare keys are still there", rare.len());
}

#[test]
fn ttl_takes_those_whose_deadline_is_nearest() {
    let mut bench = bench("volatile-ttl", 0);
    let count = 2000;
    for n in 0..count {
        let deadline = 10_000 + (n * 7919 % count) * 1000;
        bench.run(&[b"SET", &key(n), b"a value of some bytes", b"PX", deadline.to_string().as_bytes()]);
    }
    let soon: BTreeSet<Vec<u8>> = (0..count).filter(|n| n * 7919 % count < count / 10).map(key).collect();
    // So few go that with fewer samples not every key would be looked at once.
    evict(&mut bench, "volatile-ttl", 20, soon.len());
    let left = keys(&bench.engine.keyspace);
    let wrongly_kept = soon.intersection(&left).count();
    assert!(wrongly_kept * 10 <= soon.len(), "{wrongly_kept} of {} are still there", soon.len());
}

/// Lowers the limit step by step until so many keys are gone.
fn evict(bench: &mut Bench, policy: &str, samples: usize, count: usize) {
    let before = bench.engine.stats.evicted_keys;
    let policy = Policy::named(policy).unwrap();
    bench.engine.set_memory(MemorySettings { limit: 1, policy, samples, tenacity: 0, ..MemorySettings::default() });
    while ((bench.engine.stats.evicted_keys - before) as usize) < count {
        assert!(bench.engine.evict_slice());
    }
}

#[test]
fn random_takes_any_about_as_often() {
    for policy in ["allkeys-random", "volatile-random"] {
        let mut bench = bench(policy, 0);
        let count = 3000;
        for n in 0..count {
            bench.session.db = n % 3;
            bench.run(&[b"SET", &key(n), b"value", b"PX", b"1000000"]);
        }
        evict(&mut bench, policy, 5, count / 2);
        for db in 0..3 {
            let left = bench.engine.keyspace.db(db).len();
            assert!((350..650).contains(&left), "{policy}: {left} of 1000 keys are left in database {db}");
        }
        let left = keys(&bench.engine.keyspace);
        let old = (0..count / 2).map(key).filter(|key| left.contains(key)).count();
        assert!((600..900).contains(&old), "{policy}: {old} of the older half are left");
    }
}

#[test]
fn volatile_policies_leave_keys_without_a_deadline_and_then_memory_is_out() {
    for policy in ["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"] {
        let limit = 100_000;
        let mut bench = bench(policy, limit);
        let (mut lasting, mut refused) = (Vec::new(), 0);
        for n in 0..4000 {
            let reply = if n % 2 == 0 {
                run(&mut bench, &[b"SET", &key(n), b"value"])
            } else {
                run(&mut bench, &[b"SET", &key(n), b"value", b"PX", b"1000000"])
            };
            match reply.as_str() {
                "+OK" if n % 2 == 0 => lasting.push(key(n)),
                "+OK" => {}
                reply => {
                    assert_eq!(reply, OUT_OF_MEMORY);
                    refused += 1;
                }
            }
        }
        let left = keys(&bench.engine.keyspace);
        assert!(lasting.iter().all(|key| left.contains(key)), "{policy}: a key without deadline was evicted");
        assert!(bench.engine.keyspace.used_bytes() <= limit + limit / 100);
        assert!(bench.engine.stats.evicted_keys > 0 && lasting.len() > 100, "{policy}");
        // Once only lasting keys are left there is no room.
        for n in 10_000..20_000 {
            if run(&mut bench, &[b"SET", &key(n), b"value"]) == OUT_OF_MEMORY {
                refused += 1;
            }
        }
        assert!(refused > 1000, "{policy}");
        assert_eq!(bench.engine.keyspace.db(0).with_deadline(), 0);
    }
}

#[test]
fn one_key_with_a_deadline_among_many_is_found_in_bounded_steps() {
    let mut bench = bench("volatile-lru", 0);
    for n in 0..60_000 {
        bench.run(&[b"SET", &key(n), b"v"]);
    }
    bench.run(&[b"PEXPIRE", &key(31_415), b"1000000"]);
    let policy = Policy::named("volatile-lru").unwrap();
    bench.engine.set_memory(MemorySettings { limit: 1, policy, ..MemorySettings::default() });
    let mut steps = 0;
    while bench.engine.stats.evicted_keys == 0 {
        let more = bench.engine.evict_slice();
        assert!(more || bench.engine.stats.evicted_keys > 0, "there is one");
        steps += 1;
    }
    assert!(steps < 10, "{steps} steps");
    assert!(!bench.engine.evict_slice(), "nothing is left that may go");
    assert_eq!(bench.engine.make_room(0), Room::OutOfMemory);
}

#[test]
fn noeviction_refuses_above_the_limit_and_not_at_it() {
    let mut bench = bench("noeviction", 0);
    bench.run(&[b"SET", b"a", b"1"]);
    let used = bench.engine.limited_bytes();
    bench.engine.settings.memory.limit = used;
    assert_eq!(bench.engine.make_room(1000), Room::Enough, "what a command brings is not known to stay");
    bench.engine.settings.memory.limit = used - 1;
    assert_eq!(bench.engine.make_room(0), Room::OutOfMemory);
    assert!(bench.engine.is_out_of_memory());
    assert_eq!(bench.engine.stats.evicted_keys, 0);
}

#[test]
fn an_evicted_key_is_a_del_in_the_log_an_event_a_count_and_a_change() {
    let mut bench = bench("allkeys-lru", 0);
    bench.engine.settings.events = 1 << (b'e' - b'$');
    bench.run(&[b"SET", b"a", b"1"]);
    let policy = Policy::named("allkeys-lru").unwrap();
    bench.engine.set_memory(MemorySettings { limit: 1, policy, ..MemorySettings::default() });
    let before = bench.engine.effects.last();
    assert_eq!(bench.engine.make_room(0), Room::OutOfMemory, "the last key is gone, and it is not enough");
    assert_eq!(bench.engine.effects.last(), before + 1);
    assert_eq!(bench.engine.stats.evicted_keys, 1);
    let event = bench.engine.events.pop().unwrap();
    assert_eq!((event.class, event.name, event.db, &*event.key), (EventClass::Evicted, "evicted", 0, b"a".as_slice()));
    assert_eq!(bench.engine.stats.expired_keys, 0);
}

#[test]
fn the_time_above_the_limit_is_counted() {
    let mut bench = bench("noeviction", 1);
    bench.engine.monotonic_ms = 1000;
    bench.run(&[b"SET", b"a", b"1"]);
    assert_eq!(bench.engine.make_room(0), Room::OutOfMemory);
    assert_eq!(bench.engine.memory.exceeded_ms(1500), (500, 500));
    bench.engine.monotonic_ms = 2000;
    bench.engine.settings.memory.limit = 1 << 30;
    assert_eq!(bench.engine.make_room(0), Room::Enough);
    assert_eq!(bench.engine.memory.exceeded_ms(5000), (0, 1000));
    bench.engine.memory.reset_exceeded(5000);
    assert_eq!(bench.engine.memory.exceeded_ms(5000), (0, 0));
}

#[test]
fn nothing_is_evicted_while_the_log_takes_no_record_or_is_replayed() {
    let mut bench = bench("allkeys-lru", 0);
    bench.run(&[b"SET", b"a", b"1"]);
    bench.engine.settings.memory.limit = 1;
    bench.engine.refused = Refused::Growth("full".into());
    assert_eq!(bench.engine.make_room(0), Room::OutOfMemory);
    bench.engine.refused = Refused::Nothing;
    bench.engine.replaying = true;
    bench.engine.make_room(0);
    assert_eq!(bench.engine.stats.evicted_keys, 0);
}

/// What was evicted is gone after a replay as well, and nothing else.
#[test]
fn a_replay_gives_the_same_keys() {
    for policy in POLICIES {
        let mut bench = bench(policy, 100_000);
        for n in 0..1500 {
            bench.engine.now_ms += 1;
            run(&mut bench, &[b"SET", &key(n * 31 % 1000), &vec![b'v'; n % 200], b"PX", b"10000000"]);
        }
        assert!(bench.engine.stats.evicted_keys > 100, "{policy}");
        let live = bench.engine.keyspace.db(0).digest();
        let group = bench.engine.effects.take(Vec::new()).unwrap();
        let mut replayed = Bench::new();
        replay(&mut replayed.engine, &group);
        assert_eq!(replayed.engine.keyspace.db(0).digest(), live, "{policy}");
    }
}

/// All bytes that were taken are given back, whatever happened in between.
#[test]
fn bytes_return_to_their_start() {
    let mut bench = bench("allkeys-lru", 300_000);
    let before = bench.engine.keyspace.used_bytes();
    assert_eq!(before, 0);
    for n in 0..3000usize {
        bench.engine.now_ms += 3;
        bench.session.db = n % 3;
        let key = key(n % 500);
        match n % 7 {
            0 => run(&mut bench, &[b"RPUSH", &[b"l", key.as_slice()].concat(), &[b'x'; 300], b"y"]),
            1 => run(&mut bench, &[b"APPEND", &key, &[b'a'; 100]]),
            2 => run(&mut bench, &[b"HSET", &[b"h", key.as_slice()].concat(), &n.to_be_bytes(), &[b'x'; 90]]),
            3 => run(&mut bench, &[b"RENAME", &key, &[b"r", key.as_slice()].concat()]),
            4 => run(&mut bench, &[b"SADD", b"large", &n.to_be_bytes(), &[b"m", key.as_slice()].concat()]),
            5 if n % 700 == 5 => run(&mut bench, &[b"SWAPDB", b"0", b"2"]),
            _ => run(&mut bench, &[b"SET", &key, &vec![b'v'; n % 900], b"PX", b"100000"]),
        };
        let total: u64 = (0..16).map(|db| bench.engine.keyspace.db(db).used_bytes()).sum();
        assert_eq!(bench.engine.keyspace.used_bytes(), total, "after step {n}");
    }
    bench.session.db = 0;
    let policy = Policy::named("allkeys-random").unwrap();
    bench.engine.set_memory(MemorySettings { limit: 1, policy, tenacity: 100, ..MemorySettings::default() });
    bench.engine.make_room(0);
    let keyspace = &bench.engine.keyspace;
    let by_db: BTreeMap<usize, usize> = (0..16).map(|db| (db, keyspace.db(db).len())).collect();
    assert!(by_db.values().all(|len| *len == 0), "{by_db:?}");
    bench.run(&[b"FLUSHALL"]);
    let engine = &mut bench.engine;
    while engine.keyspace.pop_dead().is_some() {}
    // What is left are empty segments of the index: one for each database that was used.
    assert!(engine.keyspace.used_bytes() < 64 * 1024, "{} bytes are left", engine.keyspace.used_bytes());
    assert_eq!(engine.dead_bytes(), 0);
}

/// Freed in steps, a value gives back exactly what it took.
#[test]
fn dead_values_are_freed_block_by_block() {
    let mut bench = Bench::new();
    for n in 0..5000usize {
        let (name, score) = (format!("member:{n}"), n.to_string());
        bench.run(&[b"RPUSH", b"list", name.as_bytes()]);
        bench.run(&[b"SADD", b"set", name.as_bytes()]);
        bench.run(&[b"HSET", b"hash", name.as_bytes(), b"value"]);
        bench.run(&[b"ZADD", b"zset", score.as_bytes(), name.as_bytes()]);
        bench.run(&[b"XADD", b"stream", b"*", name.as_bytes(), b"value"]);
    }
    let keyspace = &mut bench.engine.keyspace;
    let keys: [&[u8]; 5] = [b"list", b"set", b"hash", b"zset", b"stream"];
    for key in keys {
        let before = keyspace.used_bytes();
        let key = keyspace.seed().key(key);
        keyspace.db_mut(0).remove(key);
        let mut dead = keyspace.pop_dead().expect("it is large");
        assert_eq!(dead.objects(), 1);
        let bytes = dead.bytes();
        assert!(bytes > 16 * 1024 && bytes == before - keyspace.used_bytes());
        let mut steps = 0;
        let mut last = bytes;
        while !dead.free(4) {
            assert!(dead.bytes() <= last);
            last = dead.bytes();
            steps += 1;
        }
        assert_eq!(dead.bytes(), 0);
        assert!(steps > 1, "{steps} steps");
        assert!(last < bytes, "what is freed is counted");
    }
}

//! What DEBUG asks of the engine: digests, a description of one key, keys made up for tests.
//!
//! Digests are Redis' own, bit for bit (SHA-1, mixed in an order that does not depend on the order of keys), so that two
//! servers of different make that hold the same data can be told to do so. They look at keys, values and whether there is
//! a deadline; dead keys not yet reclaimed are left out, since nobody can see them.

use crate::command::object::{encoding, idle_seconds};
use crate::engine::Engine;
use crate::key::Key;
use crate::keyspace::{Deadline, Entry, Value};
use crate::number::print_digits;
use crate::value::listpack::IntegerText;
use crate::value::stream::{Id, for_each_pair};
use crate::value::{CollectionView, SortedSetView};
use sha1::{Digest as _, Sha1};

/// A SHA-1 sized digest; zeros stand for "nothing".
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Digest([u8; 20]);

impl Digest {
    /// Adds `bytes` so that order does not matter.
    fn add(&mut self, bytes: &[u8]) {
        let hash: [u8; 20] = Sha1::digest(bytes).into();
        self.0.iter_mut().zip(hash).for_each(|(mine, other)| *mine ^= other);
    }

    /// Adds `bytes` so that order does matter.
    fn mix(&mut self, bytes: &[u8]) {
        self.add(bytes);
        self.0 = Sha1::digest(self.0).into();
    }

    /// Adds a collection: each type in its own way, without fields that are dead at `now_ms`.
    fn collection(&mut self, view: CollectionView<'_>, now_ms: u64) {
        match view {
            CollectionView::List(list) => {
                self.mix(&TYPE_LIST.to_be_bytes());
                list.visit(0..list.len(), false, |element| {
                    self.mix(element.as_bytes(&mut IntegerText::new()));
                    true
                });
            }
            CollectionView::Hash(hash) => {
                self.mix(&TYPE_HASH.to_be_bytes());
                for field in hash.live_fields(now_ms) {
                    let mut pair = Digest::default();
                    pair.mix(field.name.as_bytes(&mut IntegerText::new()));
                    pair.mix(field.value.as_bytes(&mut IntegerText::new()));
                    self.add(&pair.0);
                }
            }
            CollectionView::SortedSet(set) => self.sorted_set(set),
            CollectionView::Set(set) => {
                let mut text = IntegerText::new();
                self.mix(&TYPE_SET.to_be_bytes());
                set.iter().for_each(|member| self.add(member.as_bytes(&mut text)));
            }
            CollectionView::Stream(stream) => {
                self.mix(&TYPE_STREAM.to_be_bytes());
                for entry in stream.range(Id::MIN, Id::MAX) {
                    self.mix(format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes());
                    for_each_pair(entry, |field, value| {
                        self.mix(field);
                        self.mix(value);
                    });
                }
            }
        }
    }

    /// Adds a sorted set: each member with its score's digits.
    fn sorted_set(&mut self, set: SortedSetView<'_>) {
        self.mix(&TYPE_SORTED_SET.to_be_bytes());
        let mut text = Vec::with_capacity(32);
        set.each(0, usize::MAX, false, |member, score| {
            text.clear();
            print_digits(score, &mut text);
            let mut element = Digest::default();
            element.mix(member);
            element.mix(&text);
            self.add(&element.0);
        });
    }

    /// Adds a value and its deadline.
    fn entry(&mut self, entry: &Entry<'_>, now_ms: u64) {
        match entry.value {
            Value::String(bytes) => {
                self.mix(&TYPE_STRING.to_be_bytes());
                self.mix(bytes);
            }
            Value::Collection(view) => self.collection(view, now_ms),
        }
        if entry.deadline.is_some() {
            self.add(b"!!expire!!");
        }
    }
}

/// Redis' number of the string type.
const TYPE_STRING: u32 = 0;
/// Redis' number of the set type.
const TYPE_SET: u32 = 2;
/// Redis' number of the stream type.
const TYPE_STREAM: u32 = 6;
/// Redis' number of the sorted set type.
const TYPE_SORTED_SET: u32 = 3;
/// Redis' number of the list type.
const TYPE_LIST: u32 = 1;
/// Redis' number of the hash type.
const TYPE_HASH: u32 = 4;

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Of all data (DEBUG DIGEST): every database that is not empty, in order of its number.
pub fn digest(engine: &Engine) -> Digest {
    let mut all = Digest::default();
    for db in 0..engine.keyspace.databases() {
        if !engine.keyspace.db(db).is_empty() {
            all.mix(&(db as u32).to_be_bytes());
            add_db(engine, db, &mut all);
        }
    }
    all
}

/// Of one database's keys.
pub fn digest_db(engine: &Engine, db: usize) -> Digest {
    let mut digest = Digest::default();
    add_db(engine, db, &mut digest);
    digest
}

fn add_db(engine: &Engine, db: usize, all: &mut Digest) {
    engine.keyspace.db(db).for_each(&mut |entry| {
        if !engine.is_dead(&entry) {
            let mut digest = Digest::default();
            digest.mix(entry.key);
            digest.entry(&entry, engine.now_ms);
            all.add(&digest.0);
        }
    });
}

/// Of one key's value (DEBUG DIGEST-VALUE); zeros for a key that does not exist.
pub fn digest_value(engine: &Engine, db: usize, key: Key<'_>) -> Digest {
    let mut digest = Digest::default();
    if let Some(entry) = engine.keyspace.db(db).get(key).filter(|entry| !engine.is_dead(entry)) {
        digest.entry(&entry, engine.now_ms);
    }
    digest
}

/// DEBUG OBJECT's line; `None` for a key that does not exist. `serializedlength` is what an RDB file would take for the value
/// without compression.
pub fn object_line(engine: &Engine, db: usize, key: Key<'_>) -> Option<String> {
    let entry = engine.keyspace.db(db).get(key)?;
    let encoding = encoding(&entry);
    let (len, access) = (serialized_len(entry.value), entry.access >> 8); // As Redis' 24 bits.
    let idle = idle_seconds(&entry, engine.now_ms);
    let address = entry.key.as_ptr();
    Some(format!(
        "Value at:{address:p} refcount:1 encoding:{encoding} serializedlength:{len} lru:{access} lru_seconds_idle:{idle}"
    ))
}

/// Bytes of a value in an RDB file, about: small integers have forms of their own, collections are as long as in a snapshot.
fn serialized_len(value: Value<'_>) -> usize {
    let bytes = match value {
        Value::String(bytes) => bytes,
        Value::Collection(view) => {
            let (mut len, mut from, mut part) = (0, Some(0), Vec::new());
            while let Some(at) = from {
                part.clear();
                from = view.encode(at, 64 * 1024, &mut part);
                len += part.len();
            }
            return len;
        }
    };
    match crate::number::parse_integer(bytes) {
        Some(-128..=127) => return 2,
        Some(-32_768..=32_767) => return 3,
        Some(-2_147_483_648..=2_147_483_647) => return 5,
        _ => {}
    }
    let header = match bytes.len() {
        0..64 => 1,
        64..16_384 => 2,
        _ => 5,
    };
    header + bytes.len()
}

/// DEBUG POPULATE: `count` strings `PREFIX:0 ...`, each of `size` bytes (`value:N`, cut or filled up with zeros), where no key is
/// yet. Each is a record of its own. The caller bounds `count` at a time.
pub fn populate(engine: &mut Engine, db: usize, numbers: std::ops::Range<u64>, prefix: &[u8], size: Option<usize>) {
    let (mut name, mut value) = (Vec::new(), Vec::new());
    for number in numbers {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(number).as_bytes();
        name.clear();
        name.extend_from_slice(prefix);
        name.push(b':');
        name.extend_from_slice(digits);
        let key = engine.keyspace.seed().key(&name);
        engine.expire_if_dead(db, key);
        if engine.keyspace.db(db).get(key).is_none() {
            value.clear();
            value.extend_from_slice(b"value:");
            value.extend_from_slice(digits);
            value.resize(size.unwrap_or(value.len()), 0);
            engine.db_now(db).set_string(key, &value, Deadline::Clear);
            engine.changed(db, key);
            engine.effect(db, &[b"SET", &name, &value]);
        }
        engine.effects.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::Bench;

    /// The values that redis-server 7.0 and Valkey 9.1 answer for the same data.
    #[test]
    fn digests_are_those_of_redis() {
        let mut bench = Bench::new();
        assert_eq!(digest(&bench.engine).to_string(), "0".repeat(40));
        bench.run(&[b"SET", b"k", b"1"]);
        let key = bench.engine.keyspace.seed().key(b"k");
        let value = digest_value(&bench.engine, 0, key).to_string();
        assert_eq!(value, "b4fc66738120fba0b5aa500ab5c2bf89cea1c5da");
        bench.run(&[b"SET", b"b", b"hello", b"PX", b"100"]);
        bench.run(&[b"SELECT", b"3"]);
        bench.run(&[b"SET", b"", b"x"]);
        assert_eq!(digest(&bench.engine).to_string(), DIGEST_OF_THREE);
        bench.engine.now_ms += 100;
        assert_ne!(digest(&bench.engine).to_string(), DIGEST_OF_THREE, "a dead key counts no more");
    }

    /// What Valkey 9.1 answers for the same stream. Groups, and what was deleted, are no part of it.
    #[test]
    fn digests_of_streams_are_those_of_redis() {
        let mut bench = Bench::new();
        for words in [
            [b"XADD".as_slice(), b"s", b"1-1", b"field", b"value"],
            [b"XADD", b"s", b"5-9", b"number", b"-12"],
            [b"XADD", b"s", b"6", b"gone", b""],
            [b"XGROUP", b"CREATE", b"s", b"g", b"0"],
        ] {
            bench.run(&words);
        }
        bench.run(&[b"XDEL", b"s", b"6-0"]);
        let key = bench.engine.keyspace.seed().key(b"s");
        assert_eq!(digest_value(&bench.engine, 0, key).to_string(), "52ec52ad8c60d79ce10baea4681c094cfc7c7fdb");
    }

    #[test]
    fn a_sorted_sets_digest_is_valkeys() {
        let mut bench = Bench::new();
        let words =
            [&b"ZADD"[..], b"z", b"1.5", b"a", b"2", b"b", b"0.1", b"c", b"1e30", b"d", b"inf", b"e", b"-0", b"f"];
        // A packed set does not keep the sign of -0.
        let large = "5e1a078ea0a0fdae49929ce55f6d53916e66af56";
        for (entries, expected) in [(128, "0116775cb19c9817a1809cfa271eae801b5306c9"), (2, large)] {
            bench.engine.settings.shaping.zset_max_listpack_entries = entries;
            bench.run(&[b"DEL", b"z"]);
            bench.run(&words);
            let key = bench.engine.keyspace.seed().key(b"z");
            assert_eq!(digest_value(&bench.engine, 0, key).to_string(), expected);
        }
    }

    const DIGEST_OF_THREE: &str = "88bb9fef2cea9b65b1b58fa8c8a0868a4d62ef15";

    #[test]
    fn digests_of_hashes_are_those_of_valkey() {
        let mut bench = Bench::new();
        bench.run(&[b"HSET", b"h", b"a", b"1", b"b", b"2"]);
        let key = bench.engine.keyspace.seed().key(b"h");
        let value = |bench: &Bench| digest_value(&bench.engine, 0, key).to_string();
        assert_eq!(value(&bench), "6c8f22b3bf510fdcfd6122dd0f908a80e88243bf");
        assert_eq!(digest(&bench.engine).to_string(), "4e43099c33699e81c1cfdaa4f3eb3cd5635db0fe");
        bench.run(&[b"HPEXPIRE", b"h", b"100", b"FIELDS", b"1", b"a"]);
        assert_eq!(value(&bench), "6c8f22b3bf510fdcfd6122dd0f908a80e88243bf", "a deadline of a field is no part of it");
        bench.engine.now_ms += 100;
        let without = value(&bench);
        bench.run(&[b"HDEL", b"h", b"a"]);
        bench.run(&[b"HSET", b"h", b"a", b"x"]);
        bench.run(&[b"HDEL", b"h", b"a"]);
        assert_eq!(value(&bench), without, "a dead field counts no more");
    }

    #[test]
    fn populate_fills_up_and_leaves_what_is_there() {
        let mut bench = Bench::new();
        bench.run(&[b"SET", b"p:1", b"mine"]);
        bench.effects();
        populate(&mut bench.engine, 0, 0..3, b"p", Some(9));
        assert_eq!(bench.effects(), ["SET p:0 value:0\\x00\\x00", "SET p:2 value:2\\x00\\x00"]);
        assert_eq!(bench.run(&[b"GET", b"p:1"]), "$mine\n");
        let key = bench.engine.keyspace.seed().key(b"p:0");
        let line = object_line(&bench.engine, 0, key).unwrap();
        assert!(line.contains("refcount:1 encoding:embstr serializedlength:10 lru:"), "{line}");
    }
}

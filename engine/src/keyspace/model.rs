//! Random operations on a keyspace and on a plain sorted map, which must agree at every step: the index against a model of it.

use super::{
    CaptureProgress, DeadKeys, Deadline, Entry, ExpirePass, Keyspace, LoadedRange, Loader, RawBlock, Value, entry,
    entry_digest,
};
use crate::key::{HashSeed, Key};
use crate::value::{Kind, Shaping};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const SEED: HashSeed = HashSeed([3; 16]);
const DBS: usize = 3;

#[derive(Clone, PartialEq, Eq, Debug)]
struct Item {
    value: Vec<u8>,
    deadline: Option<u64>,
    edited: bool,
}

/// What a database should hold: by position and key.
type Model = BTreeMap<(u64, Vec<u8>), Item>;

fn entry_of<'a>(key: &'a [u8], item: &'a Item) -> Entry<'a> {
    Entry { key, value: Value::String(&item.value), deadline: item.deadline, edited: item.edited, access: 0 }
}

fn digest(model: &Model) -> u128 {
    model.iter().map(|((_, key), item)| entry_digest(&entry_of(key, item))).fold(0, u128::wrapping_add)
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

/// A capture that runs, and what it should give.
struct Expected {
    state: Vec<Model>,
    blocks: Vec<RawBlock>,
}

struct Play {
    random: Random,
    seed: HashSeed,
    /// How keys are made.
    keys: Keys,
    keyspace: Keyspace,
    models: Vec<Model>,
    capture: Option<Expected>,
    captures: u64,
    now: u64,
}

#[derive(Clone, Copy, Debug)]
enum Keys {
    /// So many, spread by the hash.
    Spread(u64),
    /// So many, their positions made from these bits of a random number, the others 0.
    Forced(u64, u64),
}

impl Play {
    fn new(random: u64, keys: Keys) -> Play {
        let seed = if matches!(keys, Keys::Forced(..)) { HashSeed::FORCED } else { SEED };
        Play {
            random: Random(random),
            seed,
            keys,
            keyspace: Keyspace::new(seed, DBS),
            models: vec![Model::new(); DBS],
            capture: None,
            captures: 0,
            now: 1000,
        }
    }

    fn key(&mut self) -> Vec<u8> {
        match self.keys {
            Keys::Spread(many) => {
                let number = self.random.below(many);
                // A few long ones.
                if number.is_multiple_of(50) {
                    format!("{number:0300}").into_bytes()
                } else {
                    format!("k{number}").into_bytes()
                }
            }
            Keys::Forced(many, bits) => {
                let number = self.random.below(many);
                let position = Random(number).next() & bits;
                [position.to_be_bytes().as_slice(), &number.to_be_bytes()].concat()
            }
        }
    }

    fn value(&mut self) -> Vec<u8> {
        let len = match self.random.below(40) {
            0 => 16 * 1024 + self.random.below(3) - 1,
            1..4 => self.random.below(400),
            _ => self.random.below(24),
        };
        vec![self.random.next() as u8; len as usize]
    }

    /// One random operation; `growth` of 16 are writes.
    fn step(&mut self, growth: u64) {
        let at = self.random.below(DBS as u64 * 8).saturating_sub(DBS as u64 * 7) as usize;
        let bytes = self.key();
        let key = self.seed.key(&bytes);
        let id = (key.position, bytes.clone());
        let db = self.keyspace.db_mut(at);
        let model = &mut self.models[at];
        assert_eq!(db.get(key), model.get(&id).map(|item| entry_of(&bytes, item)));
        if self.random.below(16) >= growth {
            let taken = db.take(key);
            let old = model.remove(&id);
            assert_eq!(taken.as_ref().map(|taken| (taken.value(), taken.deadline())), {
                old.as_ref().map(|item| (Value::String(&item.value), item.deadline))
            });
            if self.random.below(8) == 0
                && let (Some(taken), Some(item)) = (taken, old)
            {
                let other = self.key();
                let to = self.random.below(DBS as u64) as usize;
                self.keyspace.db_mut(to).put(self.seed.key(&other), taken);
                self.models[to].insert((self.seed.position(&other), other), item);
            }
            return;
        }
        match self.random.below(12) {
            0 => {
                let deadline = [None, Some(self.now + self.random.below(100))][self.random.below(2) as usize];
                assert_eq!(db.set_deadline(key, deadline), model.contains_key(&id));
                if let Some(item) = model.get_mut(&id) {
                    item.deadline = deadline;
                }
            }
            1 => {
                let more = self.value();
                let len = self.keyspace.db_mut(at).edit_string(key, |value| {
                    value.extend_from_slice(&more);
                    value.len()
                });
                let item = self.models[at].entry(id).or_insert(Item { value: vec![], deadline: None, edited: true });
                item.value.extend_from_slice(&more);
                item.edited = true;
                assert_eq!(len, item.value.len());
            }
            2 => {
                let copy = db.duplicate(key);
                assert_eq!(copy.is_some(), model.contains_key(&id));
                if let (Some(copy), Some(item)) = (copy, model.get(&id).cloned()) {
                    let other = self.key();
                    self.keyspace.db_mut(at).put(self.seed.key(&other), copy);
                    self.models[at].insert((self.seed.position(&other), other), item);
                }
            }
            _ => {
                let value = self.value();
                let (how, deadline) = match self.random.below(4) {
                    0 => (Deadline::Keep, self.models[at].get(&id).and_then(|item| item.deadline)),
                    1 => {
                        let deadline = self.now + self.random.below(100);
                        (Deadline::At(deadline), Some(deadline))
                    }
                    _ => (Deadline::Clear, None),
                };
                self.keyspace.db_mut(at).set_string(key, &value, how);
                self.models[at].insert(id, Item { value, deadline, edited: false });
            }
        }
    }

    /// Something that concerns more than a key.
    fn event(&mut self) {
        match self.random.below(24) {
            0..8 if self.capture.is_none() => {
                self.captures += 1;
                self.keyspace.begin_capture(self.captures);
                self.capture = Some(Expected { state: self.models.clone(), blocks: Vec::new() });
            }
            8 => {
                let at = self.random.below(DBS as u64) as usize;
                drop(self.keyspace.flush(at));
                self.models[at].clear();
            }
            9 => {
                let (one, other) = (self.random.below(DBS as u64) as usize, self.random.below(DBS as u64) as usize);
                self.keyspace.swap(one, other);
                self.models.swap(one, other);
            }
            10 if self.random.below(4) == 0 => {
                drop(self.keyspace.abort_capture());
                self.capture = None;
                assert_eq!((self.keyspace.captured_bytes(), self.keyspace.is_capturing()), (0, false));
            }
            11..14 => self.expire(),
            14..18 => self.scan(),
            18 => self.look(),
            _ => self.slice(5000),
        }
    }

    fn slice(&mut self, budget: usize) {
        let Some(expected) = &mut self.capture else { return };
        let progress = self.keyspace.capture_slice(budget);
        expected.blocks.extend(self.keyspace.drain_captured());
        if progress == CaptureProgress::Done {
            let expected = self.capture.take().unwrap();
            assert_eq!((self.keyspace.captured_bytes(), self.keyspace.is_capturing()), (0, false));
            self.keyspace.take_walked();
            self.judge(expected);
        }
    }

    /// The blocks hold the state at the capture's begin, each entry once, in order, without overlap.
    fn judge(&self, mut expected: Expected) {
        expected.blocks.sort_by_key(|block| (block.db, block.first_position));
        let mut found = vec![Model::new(); DBS];
        let mut end = (0, 0);
        for block in &expected.blocks {
            assert!((block.db, block.first_position) > end, "blocks overlap");
            let (mut rest, mut count, mut last) = (block.bytes.as_slice(), 0, block.first_position);
            while !rest.is_empty() {
                let taken = entry::take(&mut rest).unwrap();
                let position = self.seed.position(taken.key);
                assert!(count > 0 || position == block.first_position);
                assert!(position >= last);
                let value = taken.body;
                // `edited` is not part of an entry's bytes.
                let edited =
                    expected.state[block.db].get(&(position, taken.key.to_vec())).is_some_and(|item| item.edited);
                let item = Item { value: value.to_vec(), deadline: taken.deadline, edited };
                assert!(
                    found[block.db].insert((position, taken.key.to_vec()), item).is_none(),
                    "an entry was captured twice"
                );
                (count, last) = (count + 1, position);
            }
            assert_eq!((count, last), (block.count, block.last_position));
            end = (block.db, block.last_position);
        }
        assert!(found == expected.state, "the capture differs from the state at its begin");
        self.load(&expected.blocks, &found);
    }

    /// What a capture gave, loaded by two loaders that meet anywhere, is the same again.
    fn load(&self, blocks: &[RawBlock], expected: &[Model]) {
        let mut keyspace = Keyspace::new(self.seed, DBS);
        for (db, model) in expected.iter().enumerate() {
            let entries: Vec<entry::Stored<'_>> = blocks
                .iter()
                .filter(|block| block.db == db)
                .flat_map(|block| {
                    let mut rest = block.bytes.as_slice();
                    std::iter::from_fn(move || (!rest.is_empty()).then(|| entry::take(&mut rest).unwrap()))
                })
                .collect();
            let guess = [entries.len() as u64, 0, 50 * entries.len() as u64][self.captures as usize % 3];
            let cuts = [0, self.captures as usize * 7919 % (entries.len() + 1), entries.len()];
            let ranges: Vec<LoadedRange> = cuts
                .windows(2)
                .map(|cut| {
                    let mut loader = Loader::new(self.seed, guess, Shaping::new(self.seed));
                    entries[cut[0]..cut[1]].iter().for_each(|entry| loader.push(entry).unwrap());
                    loader.finish().unwrap()
                })
                .collect();
            keyspace.install(db, ranges).unwrap();
            keyspace.db(db).check();
            assert_eq!((keyspace.db(db).len(), keyspace.db(db).digest()), (model.len(), digest(model)));
            for (_, key) in model.keys().take(100) {
                assert!(keyspace.db(db).get(self.seed.key(key)).is_some());
            }
        }
    }

    /// After two passes no dead key is left, and only dead ones are gone.
    fn expire(&mut self) {
        self.now += self.random.below(60);
        let limit = 1 + self.random.below(50) as usize;
        let mut dead = DeadKeys::default();
        let mut passes = 0;
        while passes < 2 {
            passes += usize::from(self.keyspace.expired(self.now, limit, &mut dead) == ExpirePass::Complete);
            let found: Vec<(usize, Vec<u8>, u64)> =
                dead.iter().map(|(db, key)| (db, key.bytes.to_vec(), key.position)).collect();
            assert_eq!(found.len(), dead.len());
            for (db, bytes, position) in found {
                assert_eq!(position, self.seed.position(&bytes));
                assert!(self.keyspace.db_mut(db).remove(Key { bytes: &bytes, position }));
                let item = self.models[db].remove(&(position, bytes));
                assert!(item.is_some_and(|item| item.deadline.is_some_and(|at| at <= self.now)));
            }
        }
        for model in &self.models {
            assert!(
                model.values().all(|item| item.deadline.is_none_or(|at| at > self.now)),
                "a dead key was not found"
            );
        }
    }

    /// A scan with writes between its calls.
    fn scan(&mut self) {
        let before: BTreeSet<(u64, Vec<u8>)> = self.models[0].keys().cloned().collect();
        let mut always = before.clone();
        let mut seen: BTreeSet<(u64, Vec<u8>)> = BTreeSet::new();
        let mut cursor = 0;
        let count = 1 + self.random.below(200) as usize;
        loop {
            let mut visited = 0;
            let next = self.keyspace.db(0).scan(cursor, count, &mut |entry| {
                visited += 1;
                let id = (self.seed.position(entry.key), entry.key.to_vec());
                assert!(id.0 >= cursor && seen.insert(id), "a key was seen twice");
            });
            assert!(next == 0 || next > cursor && visited >= count);
            cursor = next;
            if cursor == 0 {
                break;
            }
            for _ in 0..20 {
                self.step(8);
                always.retain(|id| self.models[0].contains_key(id));
            }
        }
        assert!(always.is_subset(&seen), "a key that was there all the time was not seen");
    }

    /// Everything that can be asked of all entries at once.
    fn look(&mut self) {
        for (at, model) in self.models.iter().enumerate() {
            let db = self.keyspace.db(at);
            db.check();
            assert_eq!((db.len(), db.is_empty()), (model.len(), model.is_empty()));
            assert_eq!(db.digest(), digest(model));
            let deadlines: Vec<u64> = model.values().filter_map(|item| item.deadline).collect();
            assert_eq!(db.with_deadline(), deadlines.len());
            let mean = deadlines.iter().sum::<u64>() / (deadlines.len() as u64).max(1);
            assert_eq!(db.average_ttl(5), mean.saturating_sub(5));
            let mut keys = Vec::new();
            assert_eq!(db.scan(0, usize::MAX, &mut |entry| keys.push(entry.key.to_vec())), 0);
            let mut expected: Vec<Vec<u8>> = model.keys().map(|(_, key)| key.clone()).collect();
            // Keys of one position may come in any order.
            keys.sort_by(|one, other| (self.seed.position(one), one).cmp(&(self.seed.position(other), other)));
            expected.sort_by(|one, other| (self.seed.position(one), one).cmp(&(self.seed.position(other), other)));
            assert_eq!(keys, expected);
            let picked = db.random(self.random.0).map(|entry| entry.key.to_vec());
            assert_eq!(picked.is_some(), !model.is_empty());
            assert!(picked.is_none_or(|key| model.contains_key(&(self.seed.position(&key), key))));
        }
        let positions: Vec<(usize, u64)> = (0..70).map(|at| (at % (DBS + 1), self.random.next())).collect();
        self.keyspace.prefetch(&positions);
    }

    fn play(&mut self, phases: &[(u64, usize)], event_every: u64) {
        for &(growth, steps) in phases {
            for _ in 0..steps {
                self.step(growth);
                if self.random.below(event_every) == 0 {
                    self.event();
                }
            }
            self.look();
        }
        while self.capture.is_some() {
            self.slice(100_000);
        }
        // Down to nothing: everything merges back.
        for at in 0..DBS {
            for (position, bytes) in std::mem::take(&mut self.models[at]).into_keys() {
                assert!(self.keyspace.db_mut(at).remove(Key { bytes: &bytes, position }));
            }
            self.keyspace.db(at).check();
            assert!(self.keyspace.db(at).index.directory.segments() <= 1, "empty segments did not merge");
            assert_eq!(self.keyspace.db(at).counts, super::db::Counts::default());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn random_operations_agree_with_the_model(random: u64, many in 10u64..4000) {
        Play::new(random, Keys::Spread(many)).play(&[(14, 4000), (8, 2000), (3, 3000), (12, 1000)], 60);
    }

    #[test]
    fn forced_positions_agree_with_the_model(random: u64, many in 10u64..3000, bits: u64, other: u64, mask in 0usize..5) {
        // All equal; few; clustered under a long prefix; only the last bits; half of all bits.
        let bits = [0, 3 << 60 | 1, bits & 0xffff, 0xff, bits & other][mask];
        Play::new(random, Keys::Forced(many, bits)).play(&[(14, 4000), (8, 1000), (3, 3000)], 80);
    }
}

#[test]
fn many_keys_grow_and_shrink_the_directory() {
    let mut keyspace = Keyspace::new(SEED, 1);
    let keys: Vec<[u8; 8]> = (0..600_000u64).map(|number| number.to_le_bytes()).collect();
    for (at, key) in keys.iter().enumerate() {
        keyspace.db_mut(0).set_string(SEED.key(key), &key[..4], Deadline::Clear);
        if at.is_power_of_two() {
            keyspace.db(0).check();
        }
    }
    keyspace.db(0).check();
    assert_eq!(keyspace.db(0).len(), keys.len());
    assert!(
        keys.iter()
            .all(|key| keyspace.db(0).get(SEED.key(key)).is_some_and(|entry| entry.value == Value::String(&key[..4])))
    );
    let full = keyspace.db(0).index.directory.used_bytes();
    assert!(full < 13 * keys.len() as u64, "{full} bytes of index for {} keys", keys.len());
    for (at, key) in keys.iter().enumerate() {
        assert!(keyspace.db_mut(0).remove(SEED.key(key)));
        assert!(!keyspace.db_mut(0).remove(SEED.key(key)));
        if (keys.len() - at).is_power_of_two() {
            keyspace.db(0).check();
        }
    }
    assert_eq!(keyspace.db(0).index.directory.segments(), 1);
    assert!(keyspace.used_bytes() < 16 * 1024, "{} bytes are left", keyspace.used_bytes());
}

#[test]
fn dead_keys_that_are_not_removed_are_found_again() {
    let mut keyspace = Keyspace::new(SEED, 2);
    for number in 0..2000u32 {
        let key = number.to_le_bytes();
        let deadline = if number < 500 { Deadline::At(10 + u64::from(number % 2)) } else { Deadline::Clear };
        keyspace.db_mut(1).set_string(SEED.key(&key), b"", deadline);
    }
    let mut dead = DeadKeys::default();
    let mut pass = |keyspace: &mut Keyspace, now| {
        let mut found = 0;
        loop {
            let end = keyspace.expired(now, 7, &mut dead);
            found += dead.len();
            if end == ExpirePass::Complete {
                return found;
            }
        }
    };
    assert_eq!([9, 10, 10, 11, 11].map(|now| pass(&mut keyspace, now)), [0, 250, 250, 500, 500]);
}

#[test]
fn values_are_counted_as_the_allocator_would() {
    let mut keyspace = Keyspace::new(SEED, 1);
    let key = SEED.key(b"0123456789abcdef");
    let empty = keyspace.used_bytes();
    let mut before = empty;
    // 8 of header and 16 of key; a class of 48 then; 24 of blob with the pointer beside 24 of vector.
    for (len, added) in [(16, 40), (24, 48), (20_000, 32 + 24 + 20_480), (0, 24)] {
        keyspace.db_mut(0).set_string(key, &vec![1; len], Deadline::Clear);
        let segment = keyspace.db(0).index.directory.used_bytes();
        assert_eq!(keyspace.used_bytes(), segment + added, "{len} bytes");
        before = before.max(segment);
    }
    keyspace.db_mut(0).set_deadline(key, Some(5));
    assert_eq!(keyspace.used_bytes(), before + 32);
    keyspace.db_mut(0).remove(key);
    assert_eq!(keyspace.used_bytes(), before);
    assert_eq!((empty, keyspace.db(0).counts), (0, super::db::Counts::default()));
}

#[test]
fn random_picks_every_key_about_as_often() {
    let mut keyspace = Keyspace::new(SEED, 1);
    for number in 0..1000u32 {
        keyspace.db_mut(0).set_string(SEED.key(&number.to_le_bytes()), b"", Deadline::Clear);
    }
    let mut picked = BTreeMap::<Vec<u8>, u32>::new();
    let mut random = Random(1);
    for _ in 0..100_000 {
        *picked.entry(keyspace.db(0).random(random.next()).unwrap().key.to_vec()).or_default() += 1;
    }
    assert_eq!(picked.len(), 1000);
    assert!(picked.values().all(|count| (40..250).contains(count)), "{:?}", picked.values());
}

#[test]
fn a_loader_refuses_disorder_and_repetition() {
    use super::BadLoad;
    let seed = HashSeed::FORCED;
    let item = |key: &'static [u8]| entry::Stored {
        key,
        kind: Kind::String,
        body: b"",
        deadline: None,
        access: 0,
        continues: false,
        continued: false,
    };
    let (one, two) = (item(b"\0\0\0\0\0\0\0\x01a"), item(b"\0\0\0\0\0\0\0\x02a"));
    let twin = item(b"\0\0\0\0\0\0\0\x01b");
    let range = |entries: &[entry::Stored<'_>]| {
        let mut loader = Loader::new(seed, 10, Shaping::new(seed));
        entries.iter().try_for_each(|entry| loader.push(entry)).and_then(|()| loader.finish())
    };
    assert_eq!(range(&[two, one]).err(), Some(BadLoad::Order { previous: 2, position: 1 }));
    assert_eq!(range(&[one, twin, one]).err(), Some(BadLoad::Twice(1)));
    let mut keyspace = Keyspace::new(seed, 1);
    let wrong = keyspace.install(0, vec![range(&[one, two]).unwrap(), range(&[one]).unwrap()]);
    assert_eq!(wrong, Err(BadLoad::Order { previous: 2, position: 1 }));
    let wrong = keyspace.install(0, vec![range(&[one, twin]).unwrap(), range(&[twin, two]).unwrap()]);
    assert_eq!(wrong, Err(BadLoad::Twice(1)));
    assert!(keyspace.db(0).is_empty());
    assert_eq!(
        keyspace.install(0, vec![range(&[one]).unwrap(), range(&[]).unwrap(), range(&[twin, two]).unwrap()]),
        Ok(())
    );
    assert_eq!(keyspace.db(0).len(), 3);
    keyspace.db(0).check();
    assert_eq!(keyspace.install(0, vec![]), Err(BadLoad::NotEmpty(0)));
}

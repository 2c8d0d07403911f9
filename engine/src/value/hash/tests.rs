//! Hashes against a plain map, in both forms and between them.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const SEED: HashSeed = HashSeed([7; 16]);

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

fn shaping() -> Shaping {
    Shaping { hash_max_listpack_entries: 5, hash_max_listpack_value: 8, ..Shaping::new(SEED) }
}

#[derive(Clone, Debug)]
enum Op {
    Set(Vec<u8>, Vec<u8>, Lifetime),
    Remove(Vec<u8>),
    Deadline(Vec<u8>, Option<u64>),
    Pass(u64),
    Reclaim(usize),
    /// Clone, change the clone, and go on with the original.
    Branch(Vec<u8>, Vec<u8>),
    Reload(usize),
}

fn word() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0u8..12).prop_map(|n| vec![b'f', n]),
        2 => (-3i64..200).prop_map(|n| n.to_string().into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 0..12),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let lifetime = prop_oneof![
        6 => Just(Lifetime::Unlimited),
        1 => Just(Lifetime::Kept),
        1 => (1u64..200).prop_map(Lifetime::Until),
    ];
    prop_oneof![
        8 => (word(), word(), lifetime).prop_map(|(name, value, lifetime)| Op::Set(name, value, lifetime)),
        4 => word().prop_map(Op::Remove),
        1 => (word(), proptest::option::of(1u64..200)).prop_map(|(name, at)| Op::Deadline(name, at)),
        1 => (1u64..20).prop_map(Op::Pass),
        1 => (1usize..5).prop_map(Op::Reclaim),
        1 => (word(), word()).prop_map(|(name, value)| Op::Branch(name, value)),
        1 => (1usize..100).prop_map(Op::Reload),
    ]
}

fn contents(hash: &Hash) -> Model {
    let fields = hash.view().fields().map(|field| (field.name.to_vec(), (field.value.to_vec(), field.deadline)));
    fields.collect()
}

/// In parts of about `budget` bytes, decoded again.
fn reloaded(hash: &Hash, budget: usize) -> Hash {
    let mut made = Hash::default();
    let mut from = 0;
    loop {
        let mut part = Vec::new();
        let next = hash.view().encode(from, budget, &mut part);
        made.decode_part(&part, &shaping()).unwrap();
        match next {
            Some(next) => from = next,
            None => return made,
        }
    }
}

fn check(hash: &Hash, model: &Model, now_ms: u64) {
    assert_eq!(contents(hash), *model);
    let view = hash.view();
    assert_eq!(view.len(), model.len());
    let live = |deadline: Option<u64>| deadline.is_none_or(|at| at > now_ms);
    assert_eq!(view.live_len(now_ms), model.values().filter(|(_, deadline)| live(*deadline)).count());
    for (name, (value, deadline)) in model {
        let held = view.live(name, now_ms).map(|held| (held.value.to_vec(), held.deadline));
        assert_eq!(held, live(*deadline).then(|| (value.clone(), *deadline)));
    }
    let earliest = model.values().filter_map(|(_, deadline)| *deadline).min();
    assert_eq!(view.earliest().is_some(), earliest.is_some());
    assert!(view.earliest() <= earliest, "a bound that is too late");
    let picker = view.picker();
    let picked: Vec<_> = (0..view.len()).map(|index| picker.nth(index).unwrap()).collect();
    assert_eq!(picked, view.fields().collect::<Vec<_>>());
    assert_eq!(picker.nth(view.len()), None);
    let packed = hash.is_packed();
    assert_eq!(view.encoding(), if packed { "listpack" } else { "hashtable" });
    assert!(!packed || model.len() <= 5 && earliest.is_none());
    let mut scanned = Vec::new();
    let mut cursor = 0;
    loop {
        cursor = view.scan(cursor, 3, now_ms, &mut |field| scanned.push(field.name.to_vec()));
        if cursor == 0 {
            break;
        }
    }
    scanned.sort();
    let all: Vec<_> = model.iter().filter(|(_, (_, deadline))| live(*deadline)).map(|(name, _)| name.clone()).collect();
    assert_eq!(scanned, all);
}

proptest! {
    #[test]
    fn a_hash_does_what_a_map_does(ops in proptest::collection::vec(op(), 0..120)) {
        let shaping = shaping();
        let (mut hash, mut model, mut now_ms) = (Hash::default(), Model::new(), 0);
        for op in ops {
            match op {
                Op::Set(name, value, lifetime) => {
                    let old = model.get(&name).cloned();
                    let dead = old.as_ref().is_some_and(|(_, deadline)| is_dead(*deadline, now_ms));
                    let found = hash.set(&name, &value, lifetime, now_ms, &shaping);
                    let expected = match old {
                        None => Found::Nothing,
                        Some(_) if dead => Found::Dead,
                        Some(_) => Found::Live,
                    };
                    prop_assert_eq!(found, expected);
                    let deadline = match lifetime {
                        Lifetime::Unlimited => None,
                        Lifetime::Kept => old.filter(|_| !dead).and_then(|(_, deadline)| deadline),
                        Lifetime::Until(at) => Some(at),
                    };
                    model.insert(name, (value, deadline));
                }
                Op::Remove(name) => {
                    let live = model.get(&name).is_some_and(|(_, deadline)| !is_dead(*deadline, now_ms));
                    prop_assert_eq!(hash.remove(&name, now_ms), live);
                    if live {
                        model.remove(&name);
                    }
                }
                Op::Deadline(name, deadline) => {
                    let live = model.get_mut(&name).filter(|(_, deadline)| !is_dead(*deadline, now_ms));
                    prop_assert_eq!(hash.set_deadline(&name, deadline, now_ms, &SEED), live.is_some());
                    if let Some((_, at)) = live {
                        *at = deadline;
                    }
                }
                Op::Pass(ms) => now_ms += ms,
                Op::Reclaim(limit) => {
                    let mut taken = Vec::new();
                    let more = hash.take_dead(now_ms, limit, &mut |name| taken.push(name.to_vec()));
                    prop_assert!(taken.len() <= limit && (!more || taken.len() == limit));
                    for name in &taken {
                        let (_, deadline) = model.remove(name).unwrap();
                        prop_assert!(is_dead(deadline, now_ms));
                    }
                    let left = model.values().any(|(_, deadline)| is_dead(*deadline, now_ms));
                    prop_assert!(more || !left);
                }
                Op::Branch(name, value) => {
                    let mut clone = hash.view().to_owned();
                    clone.set(&name, &value, Lifetime::Until(500), now_ms, &shaping);
                    let mut changed = model.clone();
                    changed.insert(name, (value, Some(500)));
                    check(&clone, &changed, now_ms);
                }
                Op::Reload(budget) => {
                    let made = reloaded(&hash, budget);
                    prop_assert_eq!(contents(&made), model.clone());
                    prop_assert_eq!(made.view().digest(), hash.view().digest());
                    if let Ok(bytes) = hash.clone().into_packed() {
                        prop_assert_eq!(contents(&Hash::from_packed(bytes)), model.clone());
                    }
                }
            }
            check(&hash, &model, now_ms);
        }
    }

    /// Bytes that no checksum vouches for: an error, never a panic.
    #[test]
    fn no_bytes_make_the_decoder_panic(part in proptest::collection::vec(prop_oneof![any::<u8>(), 0u8..6], 0..60)) {
        let mut hash = Hash::default();
        if hash.decode_part(&part, &shaping()).is_ok() {
            prop_assert_eq!(reloaded(&hash, 10).view().digest(), hash.view().digest());
        }
    }
}

#[test]
fn a_field_that_comes_twice_is_not_decoded() {
    let field = |name: &str, deadline: bool| {
        let mut bytes = vec![(name.len() as u8) << 1 | u8::from(deadline)];
        bytes.extend_from_slice(name.as_bytes());
        if deadline {
            bytes.extend_from_slice(&9u64.to_le_bytes());
        }
        bytes.extend_from_slice(b"\x01v");
        bytes
    };
    let shaping = Shaping::new(SEED);
    for (first, second) in [(false, false), (true, true), (false, true), (true, false)] {
        let part = [field("a", first), field("b", false), field("a", second)].concat();
        assert_eq!(Hash::default().decode_part(&part, &shaping), Err(BadValue::Twice));
        let mut hash = Hash::default();
        assert_eq!(hash.decode_part(&field("a", first), &shaping), Ok(()));
        assert_eq!(hash.decode_part(&field("a", second), &shaping), Err(BadValue::Twice));
    }
    let many: Vec<u8> = (0..40).chain([17]).flat_map(|n| field(&format!("f{n}"), false)).collect();
    assert_eq!(Hash::default().decode_part(&many, &shaping), Err(BadValue::Twice));
    let many: Vec<u8> = (0..40).flat_map(|n| field(&format!("f{n}"), false)).collect();
    assert_eq!(Hash::default().decode_part(&many, &shaping), Ok(()));
    assert_eq!(Hash::default().decode_part(&[0x80; 11], &shaping), Err(BadValue::Length));
    assert_eq!(Hash::default().decode_part(&[0xff, 0xff, 0xff, 0xff, 0x7f], &shaping), Err(BadValue::Length));
}

#[test]
fn many_pairs_or_a_long_word_make_a_table_at_once() {
    let shaping = shaping();
    for (pairs, packed) in [(5, true), (6, false)] {
        let words = vec![&b"same"[..]; pairs * 2];
        let mut hash = Hash::default();
        hash.prepare(&words, &shaping);
        assert_eq!(hash.is_packed(), packed);
    }
    let mut hash = Hash::default();
    hash.prepare(&[b"name", b"123456789"], &shaping);
    assert!(!hash.is_packed());
}

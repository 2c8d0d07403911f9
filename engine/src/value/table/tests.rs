//! The table against a map, with positions as a keyed hash gives them and with positions that collide.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

type Model = BTreeMap<(u64, Vec<u8>), Vec<u8>>;

impl Table {
    fn contents(&self) -> Model {
        let entry = |element: Element<'_>| {
            let position = self.seed.position(element.member);
            ((position, element.member.to_vec()), element.payload.to_vec())
        };
        self.iter().map(entry).collect()
    }

    fn check(&self, model: &Model) {
        assert_eq!(&self.contents(), model);
        assert_eq!(self.len(), model.len());
        assert_eq!(self.iter().count(), model.len());
        assert_eq!(self.used_bytes(), self.tree.count_bytes());
        let mut last = 0;
        for leaf in self.tree.leaves() {
            let positions = leaf.positions();
            let positions = || positions[..leaf.len()].iter().map(|(position, _)| *position);
            assert!(positions().all(|position| position >= last), "chunks out of order");
            last = positions().max().unwrap_or(0);
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u16, usize),
    InsertNew(u16),
    Remove(u16),
    TakeAt(usize),
    Load(Vec<u16>),
    Clone,
    /// Begin or go on walking, so many at a time.
    Scan(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let length = prop_oneof![6 => 0usize..20, 1 => 400usize..700];
    prop_oneof![
        10 => (0u16..1000, length).prop_map(|(n, length)| Op::Insert(n, length)),
        4 => (0u16..1000).prop_map(Op::InsertNew),
        7 => (0u16..1000).prop_map(Op::Remove),
        2 => any::<usize>().prop_map(Op::TakeAt),
        1 => prop::collection::vec(0u16..1000, 0..200).prop_map(Op::Load),
        1 => Just(Op::Clone),
        2 => (1usize..30).prop_map(Op::Scan),
    ]
}

/// Member number `n`: eight bytes that may be its position, of which there are `positions`, and more that make it what it is.
fn member(n: u16, positions: u64) -> Vec<u8> {
    let position = (u64::from(n) % positions + 1) << 20;
    let tail = if n.is_multiple_of(50) { 600 } else { usize::from(n % 9) };
    [&position.to_be_bytes()[..], &n.to_be_bytes(), &vec![b'x'; tail]].concat()
}

/// A walk that was begun: its cursor, what was found, and what was there all the time.
struct Walk {
    cursor: u64,
    found: Vec<Vec<u8>>,
    there: BTreeSet<Vec<u8>>,
}

fn play(seed: HashSeed, positions: u64, ops: Vec<Op>) {
    let mut table = Table::new(seed);
    let mut model = Model::new();
    let mut clones = Vec::new();
    let mut walk: Option<Walk> = None;
    for op in ops {
        match op {
            Op::Insert(n, length) => {
                let member = member(n, positions);
                let key = seed.key(&member);
                let payload = vec![n as u8; length];
                let new = table.insert(key, &[&payload[..length / 3], &payload[length / 3..]]);
                assert_eq!(new, model.insert((key.position, member.clone()), payload).is_none());
            }
            Op::InsertNew(n) => {
                let member = member(n, positions);
                let key = seed.key(&member);
                let new = !model.contains_key(&(key.position, member.clone()));
                assert_eq!(table.insert_new(key, &[b"new"]), new);
                model.entry((key.position, member.clone())).or_insert(b"new".to_vec());
            }
            Op::Remove(n) => {
                let member = member(n, positions);
                let key = seed.key(&member);
                let place = (key.position, member.clone());
                assert_eq!(table.get(key), model.get(&place).map(Vec::as_slice));
                assert_eq!(table.take(key, <[u8]>::to_vec), model.remove(&place));
                assert!(!table.contains(key) && !table.remove(key));
                if let Some(walk) = &mut walk {
                    walk.there.remove(&member);
                }
            }
            Op::TakeAt(rank) if !model.is_empty() => {
                let rank = rank % model.len();
                let member = table.at(rank).member.to_vec();
                let (taken, payload) =
                    table.take_at(rank, |element| (element.member.to_vec(), element.payload.to_vec()));
                assert_eq!(taken, member);
                assert_eq!(model.remove(&(seed.position(&member), member.clone())), Some(payload));
                if let Some(walk) = &mut walk {
                    walk.there.remove(&member);
                }
            }
            Op::TakeAt(_) => {}
            Op::Load(numbers) => {
                let distinct: BTreeSet<u16> = numbers.into_iter().collect();
                let members: Vec<Vec<u8>> = distinct.iter().map(|n| member(*n, positions)).collect();
                let keys: Vec<Key<'_>> = members.iter().map(|member| seed.key(member)).collect();
                let old = keys.iter().any(|key| model.contains_key(&(key.position, key.bytes.to_vec())));
                let mut batch: Vec<_> = keys.iter().map(|key| LoadElement { key: *key, payload: &[b"load"] }).collect();
                let mut other = table.clone();
                assert_eq!(other.load(&mut batch), !old);
                if !old {
                    table = other;
                    model.extend(keys.iter().map(|key| ((key.position, key.bytes.to_vec()), b"load".to_vec())));
                }
            }
            Op::Clone => clones.push((table.clone(), model.clone())),
            Op::Scan(count) => {
                let begin = || Walk {
                    cursor: 0,
                    found: Vec::new(),
                    there: model.keys().map(|(_, member)| member.clone()).collect(),
                };
                let now = walk.get_or_insert_with(begin);
                let before = now.found.len();
                now.cursor = table.scan(now.cursor, count, |element| now.found.push(element.member.to_vec()));
                assert!(positions < 100 || now.found.len() - before <= count);
                assert!(now.cursor == 0 || now.found.len() - before >= count);
                if now.cursor == 0 {
                    let distinct: BTreeSet<_> = now.found.iter().cloned().collect();
                    assert!(now.there.is_subset(&distinct), "a member that was there all the time was not found");
                    walk = None;
                }
            }
        }
        table.check(&model);
    }
    for (clone, model) in clones {
        clone.check(&model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn is_a_map(ops in prop::collection::vec(op(), 1..400)) {
        play(HashSeed([3; 16]), 1 << 40, ops);
    }

    #[test]
    fn is_a_map_whatever_collides(ops in prop::collection::vec(op(), 1..400), positions in 1u64..8) {
        play(HashSeed::FORCED, positions, ops);
    }
}

#[test]
fn a_walk_finds_each_exactly_once_while_others_come_and_go() {
    let seed = HashSeed([9; 16]);
    let mut table = Table::new(seed);
    let name = |n: u32| n.to_le_bytes();
    (0..2000).for_each(|n| assert!(table.insert_new(seed.key(&name(n)), &[])));
    let (mut cursor, mut found, mut next) = (0, Vec::new(), 10_000);
    loop {
        cursor = table.scan(cursor, 7, |element| found.push(element.member.to_vec()));
        for _ in 0..9 {
            table.insert_new(seed.key(&name(next)), &[]);
            table.remove(seed.key(&name(next - 5)));
            next += 1;
        }
        if cursor == 0 {
            break;
        }
    }
    let distinct: BTreeSet<_> = found.iter().cloned().collect();
    assert_eq!(distinct.len(), found.len(), "a member was found twice");
    assert!((0..2000).all(|n| distinct.contains(&name(n)[..])));
}

/// The goal for sets: 34 bytes for a member of 16, in memory of the whole process.
#[test]
fn a_member_of_16_bytes_takes_less_than_27() {
    let seed = HashSeed([1; 16]);
    let mut table = Table::new(seed);
    let name = |n: u64| [n.to_le_bytes(), n.to_be_bytes()].concat();
    (0..300_000).for_each(|n| assert!(table.insert_new(seed.key(&name(n)), &[])));
    let random = table.used_bytes() as f64 / 300_000.0;
    let elements: Vec<Vec<u8>> = table.iter().map(|element| element.member.to_vec()).collect();
    let mut loaded = Table::new(seed);
    for part in elements.chunks(1000) {
        let mut batch: Vec<_> = part.iter().map(|m| LoadElement { key: seed.key(m), payload: &[] }).collect();
        assert!(loaded.load(&mut batch));
    }
    let loaded = loaded.used_bytes() as f64 / 300_000.0;
    assert!(random < 27.0 && loaded < 27.0, "{random} bytes, loaded {loaded}");
}

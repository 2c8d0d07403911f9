//! Sorted sets against a plain sorted vector, by random operations, with thresholds so low that both forms and their change are met.

use super::*;
use crate::key::HashSeed;
use proptest::prelude::*;
use std::cmp::Ordering;

#[derive(Clone, Debug)]
enum Op {
    Set(Vec<u8>, f64),
    Remove(Vec<u8>),
    RemoveSpan(usize, usize),
    Clone,
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0u16..400).prop_map(|n| format!("m{n}").into_bytes()),
        2 => (-300i64..300).prop_map(|n| n.to_string().into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 0..12),
        1 => (100usize..400, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ]
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        5 => (-5i32..5).prop_map(f64::from),
        3 => any::<i32>().prop_map(f64::from),
        2 => any::<f64>().prop_filter("a score is a number", |score| !score.is_nan()),
        1 => prop_oneof![Just(-0.0), Just(0.0), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(9.1e18), Just(-1e16)],
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (member(), score()).prop_map(|(member, score)| Op::Set(member, score)),
        4 => member().prop_map(Op::Remove),
        1 => (0usize..80, 0usize..30).prop_map(|(start, count)| Op::RemoveSpan(start, count)),
        1 => Just(Op::Clone),
    ]
}

/// The model: elements in order.
type Model = Vec<(f64, Vec<u8>)>;

fn order(one: &(f64, Vec<u8>), other: &(f64, Vec<u8>)) -> Ordering {
    one.0.partial_cmp(&other.0).unwrap().then_with(|| one.1.cmp(&other.1))
}

fn shaping(entries: usize, seed: HashSeed) -> Shaping {
    Shaping { zset_max_listpack_entries: entries, zset_max_listpack_value: 20, ..Shaping::new(seed) }
}

fn apply(set: &mut SortedSet, model: &mut Model, op: &Op, shaping: &Shaping) {
    match op {
        Op::Set(member, score) => {
            let old = set.set(member, *score, shaping);
            let at = model.iter().position(|(_, other)| other == member);
            let expected = at.map(|at| model.remove(at).0);
            assert_eq!(old, expected);
            model.push((*score, member.clone()));
            model.sort_by(order);
        }
        Op::Remove(member) => {
            let at = model.iter().position(|(_, other)| other == member);
            let expected = at.map(|at| model.remove(at).0);
            assert_eq!(set.remove(member), expected);
        }
        Op::RemoveSpan(start, count) => {
            let end = (start + count).min(model.len());
            model.drain((*start).min(end)..end);
            set.remove_span(*start, *count);
        }
        Op::Clone => *set = set.view().to_owned(),
    }
}

fn elements(set: SortedSetView<'_>, start: usize, count: usize, reverse: bool) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    set.each(start, count, reverse, |member, score| found.push(((score + 0.0).to_bits(), member.to_vec())));
    found
}

/// Scores by their bits, but -0 as 0: only large sets keep the sign.
fn bits(model: &[(f64, Vec<u8>)]) -> Vec<(u64, Vec<u8>)> {
    model.iter().map(|(score, member)| ((score + 0.0).to_bits(), member.clone())).collect()
}

fn check(set: &SortedSet, model: &Model, part: usize) {
    let view = set.view();
    assert_eq!(view.len(), model.len());
    assert_eq!(elements(view, 0, usize::MAX, false), bits(model));
    let (start, count) = (part % (model.len() + 1), part % 7);
    let end = (start + count).min(model.len());
    assert_eq!(elements(view, start, count, false), bits(&model[start..end]));
    let mut backward = bits(&model[start..end]);
    backward.reverse();
    assert_eq!(elements(view, start, count, true), backward);
    for (rank, (score, member)) in model.iter().enumerate() {
        assert_eq!(view.rank(member), Some((rank, *score)));
        let held = view.partition(0, |other, other_score| {
            other_score < *score || (other_score == *score && other < member.as_slice())
        });
        assert_eq!(held, rank);
    }
    assert_eq!(view.partition(0, |_, _| true), model.len());
    assert_eq!((view.score(b"no such member"), view.rank(b"no such member")), (None, None));
    if let Form::Large(large) = &set.form {
        large.check();
    }
}

/// Through the form in snapshots, cut at about every `budget` bytes.
fn reload(set: &SortedSet, budget: usize, shaping: &Shaping) -> SortedSet {
    let (mut loaded, mut from, mut part) = (SortedSet::default(), Some(0), Vec::new());
    while let Some(at) = from {
        part.clear();
        from = set.view().encode(at, budget, &mut part);
        loaded.decode_part(&part, shaping).unwrap();
    }
    loaded
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_sorted_set_is_a_sorted_vector(
        ops in proptest::collection::vec(op(), 1..250),
        entries in prop_oneof![Just(0usize), Just(8), Just(1000)],
        forced: bool,
        part: usize,
    ) {
        let shaping = shaping(entries, if forced { HashSeed::FORCED } else { HashSeed([3; 16]) });
        let (mut set, mut model) = (SortedSet::default(), Model::new());
        let mut kept: Vec<(SortedSet, Model)> = Vec::new();
        for (number, op) in ops.iter().enumerate() {
            if matches!(op, Op::Clone) {
                kept.push((set.clone(), model.clone()));
            }
            apply(&mut set, &mut model, op, &shaping);
            if number % 50 == 0 {
                check(&set, &model, part.wrapping_add(number));
            }
        }
        check(&set, &model, part);
        for budget in [1, 100, usize::MAX] {
            let loaded = reload(&set, budget, &shaping);
            check(&loaded, &model, part);
            prop_assert_eq!(loaded.view().digest(), set.view().digest());
        }
        // Whoever was cloned does not see what came later.
        for (set, model) in &kept {
            check(set, model, part);
        }
        // A walk sees everything once, whatever the pace.
        let (mut seen, mut cursor) = (Vec::new(), 0);
        loop {
            cursor = set.view().scan(cursor, part % 5 + 1, |member, score| seen.push((score, member.to_vec())));
            if cursor == 0 {
                break;
            }
        }
        seen.sort_by(order);
        prop_assert_eq!(bits(&seen), bits(&model));
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = SortedSet::default().decode_part(&bytes, &shaping(8, HashSeed([3; 16])));
    }
}

#[test]
fn what_is_no_sorted_set_is_refused_with_the_reason() {
    let shaping = shaping(8, HashSeed([3; 16]));
    let element = |score: f64, member: &[u8]| [&score.to_le_bytes(), &[member.len() as u8][..], member].concat();
    let decode = |bytes: &[u8]| SortedSet::default().decode_part(bytes, &shaping);
    assert_eq!(decode(&element(1.0, b"a")), Ok(()));
    assert_eq!(decode(&[element(1.0, b"a"), element(2.0, b"a")].concat()), Err(BadValue::Twice));
    assert_eq!(decode(&element(f64::NAN, b"a")), Err(BadValue::Score));
    let whole = element(1.0, b"abc");
    for len in 1..whole.len() {
        let error = decode(&whole[..len]).unwrap_err();
        assert!(matches!(error, BadValue::Short | BadValue::Length), "{len}");
    }
    assert_eq!(decode(&[&1f64.to_le_bytes()[..], &[0xff; 9], &[1]].concat()), Err(BadValue::Length));
}

#[test]
fn the_form_follows_the_thresholds() {
    let shaping = shaping(3, HashSeed([3; 16]));
    let mut set = SortedSet::default();
    for member in [b"a", b"b", b"c", b"a"] {
        set.set(member, 1.5, &shaping);
        assert_eq!(set.view().encoding(), "listpack");
    }
    let mut long = set.clone();
    set.set(b"d", 1.0, &shaping);
    assert_eq!(set.view().encoding(), "skiplist");
    long.set(&[b'x'; 20], 1.0, &shaping);
    assert_eq!(long.view().encoding(), "skiplist");
    set.remove_span(1, 3);
    assert_eq!((set.view().encoding(), set.view().len()), ("skiplist", 1), "a large one stays large");
    let mut long = SortedSet::default();
    long.set(&[b'x'; 20], 1.0, &shaping);
    assert_eq!(long.view().encoding(), "listpack");
    long.set(&[b'y'; 21], 1.0, &shaping);
    assert_eq!(long.view().encoding(), "skiplist");
}

#[test]
fn elements_of_a_part_are_taken_in_any_order() {
    let shaping = shaping(8, HashSeed([3; 16]));
    let mut set = SortedSet::default();
    let mut part = Vec::new();
    for number in (0..300u32).map(|number| number * 7919 % 300) {
        part.extend_from_slice(&f64::from(number / 3).to_le_bytes());
        part.extend_from_slice(&[4]);
        part.extend_from_slice(format!("{number:04}").as_bytes());
    }
    for part in part.chunks(13 * 100) {
        set.decode_part(part, &shaping).unwrap();
    }
    let model: Model = (0..300u32).map(|number| (f64::from(number / 3), format!("{number:04}").into_bytes())).collect();
    check(&set, &model, 17);
}

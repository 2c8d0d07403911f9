//! Lists against a plain vector, in every form and across conversions.

use super::*;
use crate::key::HashSeed;
use proptest::prelude::*;
use std::collections::VecDeque;

type Model = VecDeque<Vec<u8>>;

fn shaping(size: i32, depth: usize, alone: usize) -> Shaping {
    let shaping = Shaping::new(HashSeed([1; 16]));
    Shaping { list_max_listpack_size: size, list_compress_depth: depth, list_alone_len_min: alone, ..shaping }
}

fn elements(view: ListView<'_>, backward: bool) -> Model {
    let mut all = Model::new();
    view.visit(0..view.len(), backward, |element| {
        all.push_back(element.to_vec());
        true
    });
    all
}

/// Every way to read a list agrees with the model; bytes are those of a recount; it survives a snapshot, split anywhere.
fn agree(list: &List, model: &Model, shaping: &Shaping) {
    let view = list.view();
    assert_eq!(view.len(), model.len());
    assert_eq!(elements(view, false), *model);
    let mut reversed = elements(view, true);
    reversed.make_contiguous().reverse();
    assert_eq!(reversed, *model);
    for index in [0, model.len() / 3, model.len().saturating_sub(1)] {
        assert_eq!(view.get(index, |element| element.to_vec()), model.get(index).cloned());
    }
    assert_eq!(view.get(model.len(), |element| element.to_vec()), None);
    if let Form::Nodes(nodes) = &list.0 {
        let counted: usize = nodes.tree.leaves().map(Node::count).sum();
        assert_eq!(counted, model.len());
        assert_eq!(nodes.tree.used_bytes(), nodes.tree.count_bytes(), "counted bytes");
        let depth = shaping.list_compress_depth;
        let all: Vec<bool> = nodes.tree.leaves().map(Node::is_compressed).collect();
        if depth > 0 {
            let outer = all.iter().take(depth).chain(all.iter().rev().take(depth));
            assert!(outer.clone().all(|compressed| !compressed), "the ends are open: {all:?}");
        }
    }
    let (mut copy, mut from) = (List::default(), Some(0));
    while let Some(at) = from {
        let mut part = Vec::new();
        from = view.encode(at, 100, &mut part);
        copy.decode_part(&part, shaping).unwrap();
    }
    assert_eq!(elements(copy.view(), false), *model);
    assert_eq!((copy.view().digest(), view.to_owned().view().digest()), (view.digest(), view.digest()));
}

#[derive(Clone, Debug)]
enum Op {
    Push(bool, Vec<Vec<u8>>),
    Pop(bool, usize),
    Insert(usize, Vec<u8>),
    Set(usize, Vec<u8>),
    Remove(usize, usize),
    RemoveEqual(Vec<u8>, usize, bool),
    Trim(usize, usize),
    Clone,
}

fn element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0..4u8).prop_map(|n| vec![b'0' + n]),
        3 => prop::collection::vec(any::<u8>(), 0..30),
        3 => (100..400usize, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
        1 => (4000..9000usize, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
        2 => any::<i64>().prop_map(|n| n.to_string().into_bytes()),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let place = 0..200usize;
    prop_oneof![
        6 => (any::<bool>(), prop::collection::vec(element(), 1..12)).prop_map(|(front, all)| Op::Push(front, all)),
        3 => (any::<bool>(), 1..4usize).prop_map(|(front, n)| Op::Pop(front, n)),
        3 => (place.clone(), element()).prop_map(|(at, element)| Op::Insert(at, element)),
        3 => (place.clone(), element()).prop_map(|(at, element)| Op::Set(at, element)),
        1 => (place.clone(), 0..40usize).prop_map(|(at, n)| Op::Remove(at, n)),
        2 => (element(), 0..6usize, any::<bool>()).prop_map(|(element, n, back)| Op::RemoveEqual(element, n, back)),
        1 => (0..10usize, 0..10usize).prop_map(|(front, back)| Op::Trim(front, back)),
        1 => Just(Op::Clone),
    ]
}

fn apply(op: Op, list: &mut List, model: &mut Model, shaping: &Shaping) {
    let len = model.len();
    match op {
        Op::Push(front, all) => {
            list.push(front, all.iter().map(Vec::as_slice), shaping);
            for element in all {
                if front { model.push_front(element) } else { model.push_back(element) }
            }
        }
        Op::Pop(front, n) => {
            let n = n.min(len);
            let range = if front { 0..n } else { len - n..len };
            list.remove(range.clone(), shaping);
            model.drain(range);
        }
        Op::Insert(at, element) => {
            let at = at % (len + 1);
            list.insert(at, &element, shaping);
            model.insert(at, element);
        }
        Op::Set(at, element) if len > 0 => {
            list.set(at % len, &element, shaping);
            model[at % len] = element;
        }
        Op::Remove(at, n) => {
            let at = at % (len + 1);
            let range = at..(at + n).min(len);
            list.remove(range.clone(), shaping);
            model.drain(range);
        }
        Op::RemoveEqual(element, limit, backward) => {
            let mut found: Vec<usize> = (0..len).filter(|&i| model[i] == element).collect();
            if backward {
                found.reverse();
            }
            found.truncate(limit);
            assert_eq!(list.remove_equal(&element, limit, backward, shaping), found.len());
            found.sort_unstable();
            found.into_iter().rev().for_each(|i| drop(model.remove(i)));
        }
        Op::Trim(front, back) => {
            let end = len - back.min(len);
            list.remove(end..len, shaping);
            list.remove(0..front.min(end), shaping);
            model.truncate(end);
            model.drain(..front.min(end));
        }
        Op::Set(..) | Op::Clone => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn a_list_does_what_a_deque_does(
        ops in prop::collection::vec(op(), 1..50),
        size in prop_oneof![Just(-2), Just(-1), Just(1), Just(3), Just(16)],
        depth in 0..3usize,
        alone in prop_oneof![3 => Just(usize::MAX), 1 => Just(100)],
    ) {
        let shaping = shaping(size, depth, alone);
        let (mut list, mut model) = (List::default(), Model::new());
        let mut clones: Vec<(List, Model)> = Vec::new();
        for op in ops {
            if matches!(op, Op::Clone) {
                clones.push((list.clone(), model.clone()));
            }
            apply(op, &mut list, &mut model, &shaping);
            agree(&list, &model, &shaping);
        }
        for (list, model) in clones {
            prop_assert_eq!(elements(list.view(), false), model, "a clone is not changed");
        }
    }
}

fn pushed(count: usize, element: impl Fn(usize) -> String, shaping: &Shaping) -> List {
    let mut list = List::default();
    for i in 0..count {
        list.push(false, std::iter::once(element(i).as_bytes()), shaping);
    }
    list
}

#[test]
fn a_list_is_one_run_up_to_its_limit_and_again_when_half_of_it_is_left() {
    let shaping = shaping(4, 0, usize::MAX);
    let mut list = pushed(4, |i| i.to_string(), &shaping);
    assert_eq!(list.view().encoding(), "listpack");
    list.push(true, std::iter::once(&b"x"[..]), &shaping);
    assert_eq!(list.view().encoding(), "quicklist");
    list.remove(0..2, &shaping);
    assert_eq!((list.len(), list.view().encoding()), (3, "quicklist"));
    list.remove(0..1, &shaping);
    assert_eq!((list.len(), list.view().encoding()), (2, "listpack"));
}

/// As in Redis: 8 KiB with seven bytes around the entries, the elements to come counted by their own length.
#[test]
fn the_limit_in_bytes_is_redis_own() {
    let shaping = shaping(-2, 0, usize::MAX);
    let mut list = List::default();
    list.push(false, std::iter::once(&[b'x'; 4000][..]), &shaping); // An entry of 4004 bytes.
    list.push(false, std::iter::once(&[b'x'; 4181][..]), &shaping);
    assert_eq!(list.view().encoding(), "listpack");
    let mut list = List::default();
    list.push(false, std::iter::once(&[b'x'; 4000][..]), &shaping);
    list.push(false, std::iter::once(&[b'x'; 4182][..]), &shaping);
    assert_eq!(list.view().encoding(), "quicklist");
}

#[test]
fn inner_chunks_are_compressed_and_their_real_bytes_counted() {
    let text = |i| format!("an element that repeats itself {i:06}");
    let plain = pushed(20_000, text, &shaping(-2, 0, usize::MAX));
    let compressed = pushed(20_000, text, &shaping(-2, 1, usize::MAX));
    assert!(compressed.used_bytes() * 3 < plain.used_bytes(), "{} {}", compressed.used_bytes(), plain.used_bytes());
    let Form::Nodes(nodes) = &compressed.0 else { panic!("a large list") };
    let states: Vec<bool> = nodes.tree.leaves().map(Node::is_compressed).collect();
    assert!(!states[0] && !states[states.len() - 1] && states[1..states.len() - 1].iter().all(|state| *state));
    assert_eq!(compressed.view().digest(), plain.view().digest());
}

#[test]
fn five_million_elements_of_16_bytes_take_little_more_than_their_entries() {
    let list = pushed(500_000, |i| format!("element:{i:08}"), &shaping(-2, 0, usize::MAX));
    let each = list.used_bytes() as f64 / 500_000.0;
    assert!(each < 18.5, "{each} bytes each");
}

#[test]
fn an_element_above_the_limit_has_a_chunk_of_its_own() {
    let shaping = shaping(-2, 0, usize::MAX);
    let mut list = pushed(1000, |i| format!("element {i}"), &shaping);
    list.insert(100, &[b'x'; 20_000], &shaping);
    let Form::Nodes(nodes) = &list.0 else { panic!("a large list") };
    let (node, place) = nodes.tree.find_rank(100);
    assert_eq!((node.count(), place), (1, 0));
    assert!(nodes.tree.leaves().all(|node| node.count() == 1 || node.run().len() <= 8192));
}

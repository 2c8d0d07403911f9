//! Packed runs against a plain vector; golden bytes of entries; foreign bytes.

use super::*;
use proptest::prelude::*;

fn run_of(elements: &[Vec<u8>]) -> Vec<u8> {
    let mut run = Vec::new();
    for element in elements {
        push_back(&mut run, element.as_slice());
    }
    run
}

fn texts(run: &[u8]) -> Vec<Vec<u8>> {
    Listpack::new(run).iter().map(Element::to_vec).collect()
}

/// Every way to read a run agrees with the model, and the run is one that a file could hold.
fn agree(run: &[u8], model: &[Vec<u8>]) {
    validate(run).unwrap();
    let view = Listpack::new(run);
    assert_eq!(view.len(), model.len());
    assert_eq!(view.is_empty(), model.is_empty());
    assert_eq!(texts(run), model);
    let mut reversed: Vec<Vec<u8>> = view.iter().rev().map(Element::to_vec).collect();
    reversed.reverse();
    assert_eq!(reversed, model);
    for (i, expected) in model.iter().enumerate() {
        let element = view.get(i).unwrap();
        assert!(element.is(expected));
        assert_eq!(element.len(), expected.len());
        assert_eq!(element, Element::from(expected.as_slice()));
        let at = view.offset(i).unwrap();
        assert_eq!(view.next(at) - at, element.entry_len());
        let first = model.iter().position(|other| other == expected).unwrap();
        let found = view.find(view.start(), &Needle::new(expected.as_slice()), 1);
        assert_eq!(found, view.offset(first));
        let found = view.find(view.start(), &Needle::new(expected.as_slice()), 2);
        let expected_at = (0..model.len()).step_by(2).find(|&i| model[i] == *expected);
        assert_eq!(found, expected_at.and_then(|i| view.offset(i)));
    }
    assert_eq!(view.offset(model.len()), Some(view.end()));
    assert_eq!(view.get(model.len()), None);
    assert_eq!(view.offset(model.len() + 1), None);
    assert_eq!(view.find(view.start(), &Needle::new(&b"never in there"[..]), 1), None);
    let rebuilt = from_entries(view.entries()).unwrap();
    assert_eq!(texts(&rebuilt), model);
    assert_eq!(Listpack::new(&rebuilt).entries(), view.entries());
}

fn element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0..12i64).prop_map(|n| n.to_string().into_bytes()),
        4 => (any::<i64>(), 0..64u32).prop_map(|(n, shift)| (n >> shift).to_string().into_bytes()),
        4 => prop::collection::vec(any::<u8>(), 0..20),
        1 => (50..80usize, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
        1 => (4080..4110usize, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
        1 => "-?0[0-9]{0,3}".prop_map(String::into_bytes),
    ]
}

#[derive(Clone, Debug)]
enum Op {
    PushBack(Vec<u8>),
    PushFront(Vec<u8>),
    Insert(usize, Vec<u8>),
    Replace(usize, Vec<u8>),
    Remove(usize, usize),
    RemoveRange(usize, usize),
    RemoveAll(Vec<bool>),
    PopBack,
    Append(Vec<Vec<u8>>),
    SplitOff(usize, bool),
}

fn op() -> impl Strategy<Value = Op> {
    let place = 0..64usize;
    prop_oneof![
        4 => element().prop_map(Op::PushBack),
        3 => element().prop_map(Op::PushFront),
        3 => (place.clone(), element()).prop_map(|(at, element)| Op::Insert(at, element)),
        3 => (place.clone(), element()).prop_map(|(at, element)| Op::Replace(at, element)),
        1 => (place.clone(), 0..4usize).prop_map(|(at, n)| Op::Remove(at, n)),
        1 => (place.clone(), 0..6usize).prop_map(|(at, n)| Op::RemoveRange(at, n)),
        1 => prop::collection::vec(any::<bool>(), 0..20).prop_map(Op::RemoveAll),
        1 => Just(Op::PopBack),
        1 => prop::collection::vec(element(), 0..5).prop_map(Op::Append),
        1 => (place, any::<bool>()).prop_map(|(at, keep)| Op::SplitOff(at, keep)),
    ]
}

/// Does the same to both.
fn apply(op: Op, run: &mut Vec<u8>, model: &mut Vec<Vec<u8>>) {
    let len = model.len();
    match op {
        Op::PushBack(element) => {
            push_back(run, element.as_slice());
            model.push(element);
        }
        Op::PushFront(element) => {
            push_front(run, element.as_slice());
            model.insert(0, element);
        }
        Op::Insert(at, element) => {
            let at = at % (len + 1);
            let offset = Listpack::new(run).offset(at).unwrap();
            insert(run, offset, element.as_slice());
            model.insert(at, element);
        }
        Op::Replace(at, element) if len > 0 => {
            let offset = Listpack::new(run).offset(at % len).unwrap();
            replace(run, offset, element.as_slice());
            model[at % len] = element;
        }
        Op::Remove(at, n) => {
            let at = at % (len + 1);
            let offset = Listpack::new(run).offset(at).unwrap();
            let end = (at + n).min(len);
            assert_eq!(remove(run, offset, n), end - at);
            model.drain(at..end);
        }
        Op::RemoveRange(at, n) => {
            let (from, end) = (at.min(len), (at + n).min(len));
            assert_eq!(remove_range(run, at, n), end - from);
            model.drain(from..end);
        }
        Op::RemoveAll(which) => {
            let gone = |i: usize| which.get(i).copied().unwrap_or_default();
            let view = Listpack::new(run);
            let offsets: Vec<usize> = (0..len).filter(|&i| gone(i)).map(|i| view.offset(i).unwrap()).collect();
            remove_all(run, &offsets);
            let mut i = 0;
            model.retain(|_| {
                i += 1;
                !gone(i - 1)
            });
        }
        Op::PopBack => assert_eq!(pop_back(run), model.pop().is_some()),
        Op::Append(elements) => {
            append(run, Listpack::new(&run_of(&elements)));
            model.extend(elements);
        }
        Op::SplitOff(at, keep) => {
            let at = at % (len + 1);
            let tail = split_off(run, at);
            let model_tail = model.split_off(at);
            agree(&tail, &model_tail);
            if keep {
                append(run, Listpack::new(&tail));
                model.extend(model_tail);
            }
        }
        Op::Replace(..) => {}
    }
}

proptest! {
    #[test]
    fn a_run_does_what_a_vector_does(ops in prop::collection::vec(op(), 1..60)) {
        let (mut run, mut model) = (Vec::new(), Vec::new());
        for op in ops {
            apply(op, &mut run, &mut model);
            agree(&run, &model);
        }
    }

    /// Bytes from outside: whatever they are, the answer is an error or a run that reads well from both ends.
    #[test]
    fn damaged_bytes_are_refused_or_read_well(
        elements in prop::collection::vec(element(), 0..12),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut entries = Listpack::new(&run_of(&elements)).entries().to_vec();
        if !entries.is_empty() {
            let at = at.index(entries.len());
            entries[at] = byte;
            if cut.index(4) == 0 {
                entries.truncate(cut.index(entries.len()));
            }
        }
        if let Ok(run) = from_entries(&entries) {
            agree(&run, &texts(&run));
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_read_well(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(run) = from_entries(&bytes) {
            agree(&run, &texts(&run));
        }
        if validate(&bytes).is_ok() {
            agree(&bytes, &texts(&bytes));
        }
    }
}

#[test]
fn every_integer_around_a_limit_of_an_encoding_survives() {
    let limits = (0..64).flat_map(|bit| [1i128 << bit, -(1i128 << bit)]);
    for integer in limits.flat_map(|limit| (limit - 3..=limit + 3).collect::<Vec<_>>()) {
        let Ok(integer) = i64::try_from(integer) else { continue };
        let text = integer.to_string().into_bytes();
        let run = run_of(&[b"x".to_vec(), text.clone(), b"y".to_vec()]);
        assert_eq!(Listpack::new(&run).get(1), Some(Element::Integer(integer)));
        agree(&run, &[b"x".to_vec(), text, b"y".to_vec()]);
    }
    for integer in -70_000..70_000i64 {
        let element = Element::Integer(integer);
        let mut run = Vec::new();
        push_back(&mut run, integer);
        assert_eq!(Listpack::new(&run).element(HEADER_LEN), element);
        assert_eq!(element.len(), integer.to_string().len());
        assert_eq!(run.len() - HEADER_LEN, element.entry_len());
    }
}

/// The entries that Redis' `DUMP` shows for the same elements, from its first entry to the terminator.
#[test]
fn entries_are_redis_own() {
    let golden: &[(&[u8], &[u8])] = &[
        (b"0", &[0x00, 1]),
        (b"127", &[0x7f, 1]),
        (b"128", &[0xc0, 0x80, 2]),
        (b"-1", &[0xdf, 0xff, 2]),
        (b"4095", &[0xcf, 0xff, 2]),
        (b"-4096", &[0xd0, 0x00, 2]),
        (b"4096", &[0xf1, 0x00, 0x10, 3]),
        (b"-4097", &[0xf1, 0xff, 0xef, 3]),
        (b"32768", &[0xf2, 0x00, 0x80, 0x00, 4]),
        (b"-8388608", &[0xf2, 0x00, 0x00, 0x80, 4]),
        (b"8388608", &[0xf3, 0x00, 0x00, 0x80, 0x00, 5]),
        (b"2147483648", &[0xf4, 0, 0, 0, 0x80, 0, 0, 0, 0, 9]),
        (b"-9223372036854775808", &[0xf4, 0, 0, 0, 0, 0, 0, 0, 0x80, 9]),
        (b"", &[0x80, 1]),
        (b"abc", &[0x83, b'a', b'b', b'c', 4]),
        (b"-0", &[0x82, b'-', b'0', 3]),
        (b"9223372036854775808", b"\x939223372036854775808\x14"),
    ];
    for (element, entry) in golden {
        let run = run_of(&[element.to_vec()]);
        assert_eq!(run[..HEADER_LEN], [1, 0]);
        assert_eq!(&run[HEADER_LEN..], *entry, "{}", String::from_utf8_lossy(element));
    }
    // Lengths at which the head or the backward length grows: (string length, head, backward length).
    let long: &[(usize, &[u8], &[u8])] = &[
        (63, &[0xbf], &[64]),
        (64, &[0xe0, 64], &[66]),
        (125, &[0xe0, 125], &[127]),
        (126, &[0xe0, 126], &[1, 0x80]),
        (4095, &[0xef, 0xff], &[0x20, 0x81]),
        (4096, &[0xf0, 0x00, 0x10, 0, 0], &[0x20, 0x85]),
        (16_377, &[0xf0, 0xf9, 0x3f, 0, 0], &[0x7f, 0xfe]),
        (16_378, &[0xf0, 0xfa, 0x3f, 0, 0], &[0, 0xff, 0xff]),
        (2_097_145, &[0xf0, 0xf9, 0xff, 0x1f, 0], &[0x7f, 0xff, 0xfe]),
        (2_097_146, &[0xf0, 0xfa, 0xff, 0x1f, 0], &[0, 0xff, 0xff, 0xff]),
    ];
    for (len, head, back) in long {
        let run = run_of(&[vec![b'x'; *len]]);
        assert!(run[HEADER_LEN..].starts_with(head), "{len}");
        assert!(run.ends_with(back), "{len}: {:?}", &run[run.len() - 5..]);
        assert_eq!(run.len(), HEADER_LEN + head.len() + len + back.len());
        agree(&run, &[vec![b'x'; *len]]);
    }
}

#[test]
fn runs_of_more_elements_than_the_header_counts_are_counted() {
    let mut run = Vec::new();
    for i in 0..65_534 {
        push_back(&mut run, i % 100);
    }
    assert_eq!(Listpack::new(&run).len(), 65_534);
    for len in 65_535..65_540 {
        push_back(&mut run, 7);
        assert_eq!(Listpack::new(&run).len(), len);
        validate(&run).unwrap();
    }
    assert_eq!(Listpack::new(&run).get(65_538), Some(Element::Integer(7)));
    let mut other = Vec::new();
    append(&mut other, Listpack::new(&run));
    append(&mut other, Listpack::new(&run));
    assert_eq!(Listpack::new(&other).len(), 2 * 65_539);
    let tail = split_off(&mut other, 65_600);
    assert_eq!((Listpack::new(&other).len(), Listpack::new(&tail).len()), (65_600, 65_478));
    assert_eq!(remove_range(&mut run, 1, 10), 10);
    assert_eq!(Listpack::new(&run).len(), 65_529);
    validate(&run).unwrap();
    validate(&tail).unwrap();
}

#[test]
fn an_empty_run_takes_no_heap() {
    let empty = Listpack::new(&[]);
    assert_eq!((empty.len(), empty.end(), empty.last(), empty.get(0)), (0, HEADER_LEN, None, None));
    assert_eq!(empty.find(empty.start(), &Needle::new(1), 1), None);
    let mut run = Vec::new();
    append(&mut run, empty);
    assert!(!pop_back(&mut run));
    assert_eq!(remove_range(&mut run, 0, 5), 0);
    assert_eq!(split_off(&mut run, 0).capacity() + run.capacity(), 0);
    assert_eq!(from_entries(&[]).unwrap().capacity(), 0);
}

#[test]
fn what_is_not_in_its_shortest_form_is_written_anew() {
    let long_forms: &[(&[u8], &[u8])] = &[
        (b"\x815\x02", b"5"),        // An integer as text.
        (b"\xc0\x05\x02", b"5"),     // 13 bits for 5.
        (b"\xf1\x05\x00\x03", b"5"), // 16 bits.
        (b"\xf4\xff\xff\xff\xff\xff\xff\xff\xff\x09", b"-1"),
        (b"\xe0\x01x\x03", b"x"),             // 12 bits of length.
        (b"\xf0\x01\x00\x00\x00x\x06", b"x"), // 32.
    ];
    for (entry, text) in long_forms {
        let run = from_entries(entry).unwrap();
        agree(&run, &[text.to_vec()]);
        let adopted = [&[1, 0], *entry].concat();
        assert_eq!(validate(&adopted), Err(BadListpack::NotShortest { at: HEADER_LEN }));
    }
}

#[test]
fn every_way_to_be_wrong_is_named() {
    use BadListpack::{BackLength, Count, Encoding, Short};
    assert_eq!(from_entries(b"\x83ab"), Err(Short { at: 0 }));
    assert_eq!(from_entries(b"\x05\x01\x83abc"), Err(Short { at: 2 }));
    assert_eq!(from_entries(b"\x05"), Err(Short { at: 0 }));
    assert_eq!(from_entries(b"\xe5"), Err(Short { at: 0 }));
    assert_eq!(from_entries(b"\xf0\xff\xff\xff\xff"), Err(Short { at: 0 }));
    assert_eq!(from_entries(b"\xf0\xff\xff\xff"), Err(Short { at: 0 }));
    assert_eq!(from_entries(b"\xf4\x00\x01"), Err(Short { at: 0 }));
    assert_eq!(from_entries(b"\xff"), Err(Encoding { at: 0, encoding: 0xff }));
    assert_eq!(from_entries(b"\xf5\x01"), Err(Encoding { at: 0, encoding: 0xf5 }));
    assert_eq!(from_entries(b"\x05\x02"), Err(BackLength { at: 0 }));
    assert_eq!(validate(b"\x02\x00\x05\x01"), Err(Count { stated: 2, found: 1 }));
    assert_eq!(validate(b"\x01"), Err(Short { at: 0 }));
    assert_eq!(validate(b"\x00\x00"), Ok(()));
}

#[test]
fn needles_tell_elements_with_equal_beginnings_apart() {
    let elements: Vec<Vec<u8>> =
        ["a", "ab", "abcdefg", "abcdefgh", "abcdefghi", "abcdefghj", "", "1", "11", "-1", "01", "1a"]
            .iter()
            .map(|text| text.as_bytes().to_vec())
            .collect();
    agree(&run_of(&elements), &elements);
    let reversed: Vec<Vec<u8>> = elements.into_iter().rev().collect();
    agree(&run_of(&reversed), &reversed);
}

#[test]
fn elements_compare_by_their_bytes() {
    let compare = |one: &str, other: &str| Element::from(one.as_bytes()).cmp_bytes(Element::from(other.as_bytes()));
    for (one, other) in [("10", "9"), ("-1", "1"), ("9", "a"), ("", "0"), ("10", "100"), ("a", "b"), ("1", "1a")] {
        assert_eq!(compare(one, other), Ordering::Less, "{one} {other}");
        assert_eq!(compare(other, one), Ordering::Greater, "{one} {other}");
    }
    assert_eq!(compare("12", "12"), Ordering::Equal);
}

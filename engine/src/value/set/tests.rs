//! Sets against a plain set, in all their forms, with limits so low that every form is reached.

use super::*;
use crate::key::HashSeed;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn shaping() -> Shaping {
    Shaping {
        set_max_intset_entries: 12,
        set_max_listpack_entries: 9,
        set_max_listpack_value: 10,
        ..Shaping::new(HashSeed([5; 16]))
    }
}

type Model = BTreeSet<Vec<u8>>;

fn contents(set: SetView<'_>) -> Model {
    set.iter().map(Element::to_vec).collect()
}

fn check(set: &Set, model: &Model) {
    let view = set.view();
    assert_eq!(&contents(view), model);
    assert_eq!((view.len(), view.iter().count()), (model.len(), model.len()));
    (0..view.len()).zip(view.iter()).for_each(|(rank, member)| assert_eq!(view.at(rank).to_vec(), member.to_vec()));
    assert!(model.iter().all(|member| view.contains(member)));
    let copy = match set.clone().into_packed() {
        Ok((packing, bytes)) => Set::from_packed(packing, bytes),
        Err(set) => set,
    };
    assert_eq!(contents(copy.view()), contents(SetView { form: set.view().form }));
    assert_eq!(copy.view().digest(), view.digest());
    let mut found = Vec::new();
    let mut cursor = 0;
    loop {
        cursor = view.scan(cursor, 3, |member| found.push(member.to_vec()));
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(found.len(), model.len());
    for budget in [0, 20, usize::MAX] {
        let mut loaded = Set::default();
        let mut from = Some(0);
        while let Some(at) = from {
            let mut part = Vec::new();
            from = view.encode(at, budget, &mut part);
            loaded.decode_part(&part, &shaping()).unwrap();
        }
        assert_eq!(&contents(loaded.view()), model);
        assert_eq!(loaded.view().digest(), view.digest());
    }
}

/// Integers of all widths, short words, long words.
fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (-9i64..9).prop_map(|n| n.to_string().into_bytes()),
        2 => prop::sample::select(vec![i64::MIN, i64::MAX, 32767, 32768, -32768, -32769, 1 << 31, (1 << 31) - 1])
            .prop_map(|n| n.to_string().into_bytes()),
        2 => "[ab]{0,3}".prop_map(String::into_bytes),
        1 => "0[0-9]".prop_map(String::into_bytes),
        1 => "c{11}d?".prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn is_a_set(ops in prop::collection::vec((0u8..10, member(), any::<usize>()), 1..80)) {
        let shaping = shaping();
        let (mut set, mut model) = (Set::default(), Model::new());
        let mut clones = Vec::new();
        for (what, member, random) in ops {
            match what {
                0..6 => prop_assert_eq!(set.add(&member, &shaping), model.insert(member)),
                6 | 7 => {
                    prop_assert_eq!(set.view().contains(&member), model.contains(&member));
                    prop_assert_eq!(set.remove(&member), model.remove(&member));
                }
                8 if !model.is_empty() => {
                    let rank = random % model.len();
                    let expected = set.view().at(rank).to_vec();
                    let taken = set.take_at(rank, <[u8]>::to_vec);
                    prop_assert_eq!(&taken, &expected);
                    prop_assert!(model.remove(&taken));
                }
                _ => clones.push((set.clone(), model.clone())),
            }
            check(&set, &model);
        }
        for (clone, model) in clones {
            check(&clone, &model);
        }
        set.compact(&shaping);
        check(&set, &model);
    }

    #[test]
    fn any_bytes_are_members_or_an_error(parts: Vec<Vec<u8>>) {
        let mut set = Set::default();
        for part in parts {
            if set.decode_part(&part, &shaping()).is_err() {
                break;
            }
        }
    }
}

fn grown(members: &[&str]) -> Set {
    let mut set = Set::default();
    members.iter().for_each(|member| assert!(set.add(member.as_bytes(), &shaping())));
    set
}

#[test]
fn forms_follow_the_limits() {
    let numbers: Vec<String> = (0..13).map(|n| n.to_string()).collect();
    let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
    let words = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let encoding = |members: &[&str]| grown(members).view().encoding();
    assert_eq!(encoding(&numbers[..12]), "intset");
    assert_eq!(encoding(&numbers), "hashtable");
    assert_eq!(encoding(&["1", "a"]), "listpack");
    assert_eq!(encoding(&[&numbers[..8], &["a"]].concat()), "listpack");
    assert_eq!(encoding(&[&numbers[..9], &["a"]].concat()), "hashtable");
    assert_eq!(encoding(&words[..9]), "listpack");
    assert_eq!(encoding(&words), "hashtable");
    assert_eq!(encoding(&["0123456789a"]), "hashtable", "a member above the limit");
    assert_eq!(encoding(&["01"]), "listpack", "not the text of an integer");
    assert_eq!(encoding(&["12345678901", "a"]), "hashtable", "an integer's text counts");
    let mut set = Set::default();
    set.expect(b"1", 13, &shaping());
    assert!(set.add(b"1", &shaping()));
    assert_eq!(set.view().encoding(), "hashtable");
    set.compact(&shaping());
    assert_eq!(set.view().encoding(), "intset");
}

#[test]
fn a_member_that_comes_twice_is_an_error() {
    for count in [2, 300] {
        let mut part = Vec::new();
        for n in 0..count {
            part.extend_from_slice(&[4, b'm', b'0' + n as u8 % 100, b'0' + (n / 100) as u8, b'x']);
        }
        part.extend_from_slice(b"\x04m00x");
        assert_eq!(Set::default().decode_part(&part, &shaping()), Err(BadValue::Twice));
        for cut in 1..5 {
            let cut = &part[..part.len() - cut];
            assert_eq!(Set::default().decode_part(cut, &shaping()), Err(BadValue::Short));
        }
    }
    assert_eq!(Set::default().decode_part(&[0x80], &shaping()), Err(BadValue::Short));
    assert_eq!(Set::default().decode_part(&[0xff, 0xff, 0xff, 0xff, 0x7f], &shaping()), Err(BadValue::Length));
}

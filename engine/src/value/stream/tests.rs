//! Streams against a sorted map, with clones that must not change and parts that must come back.

use super::group::Group;
use super::*;
use crate::key::HashSeed;
use crate::value::BadValue;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

type Pairs = Vec<Vec<u8>>;

/// Name of the owner, time and count.
type ModelPending = (u8, u64, u64);

#[derive(Clone, Debug, Default, PartialEq)]
struct ModelGroup {
    consumers: BTreeSet<u8>,
    pending: BTreeMap<Id, ModelPending>,
    position: (Id, Option<u64>),
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    entries: BTreeMap<Id, Pairs>,
    last: Id,
    max_deleted: Id,
    added: u64,
    groups: BTreeMap<u8, ModelGroup>,
}

#[derive(Clone, Debug)]
enum Op {
    Add { ms: u64, seq: u64, fields: u8, wide: bool, values: Pairs },
    Delete(usize),
    DeleteMany(usize, usize),
    Trim { min_id: bool, at: usize, approximate: bool, limit: u64 },
    MakeGroup(u8),
    DropGroup(u8),
    Assign { group: u8, consumer: u8, at: usize, ms: u64 },
    Acknowledge { group: u8, at: usize },
    DropConsumer { group: u8, consumer: u8 },
    Position { group: u8, at: usize, read: Option<u64> },
    Clone,
    Reload(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let bytes =
        prop_oneof![prop::collection::vec(any::<u8>(), 0..40), any::<i64>().prop_map(|n| n.to_string().into_bytes())];
    let values = prop::collection::vec(bytes, 3);
    let op = prop_oneof![
        10 => (0..3u64, 0..3u64, 0..3u8, prop::bool::weighted(0.05), values)
            .prop_map(|(ms, seq, fields, wide, values)| Op::Add { ms, seq, fields, wide, values }),
        3 => any::<usize>().prop_map(Op::Delete),
        1 => (any::<usize>(), 0..20usize).prop_map(|(at, n)| Op::DeleteMany(at, n)),
        1 => (any::<bool>(), any::<usize>(), any::<bool>(), 0..8u64)
            .prop_map(|(min_id, at, approximate, limit)| Op::Trim { min_id, at, approximate, limit }),
        1 => (0..4u8).prop_map(Op::MakeGroup),
        1 => (0..16u8).prop_map(Op::DropGroup),
        6 => (0..4u8, 0..9u8, any::<usize>(), 0..1000u64)
            .prop_map(|(group, consumer, at, ms)| Op::Assign { group, consumer, at, ms }),
        3 => (0..4u8, any::<usize>()).prop_map(|(group, at)| Op::Acknowledge { group, at }),
        1 => (0..4u8, 0..9u8).prop_map(|(group, consumer)| Op::DropConsumer { group, consumer }),
        1 => (0..4u8, any::<usize>(), prop::option::of(0..100u64)).prop_map(|(group, at, read)| Op::Position { group, at, read }),
        1 => Just(Op::Clone),
        1 => (1..200usize).prop_map(Op::Reload),
    ];
    prop::collection::vec(op, 1..150)
}

fn shaping() -> Shaping {
    Shaping { stream_node_max_bytes: 300, stream_node_max_entries: 5, ..Shaping::new(HashSeed([1; 16])) }
}

fn pairs_of(entry: Entry<'_>) -> Pairs {
    let mut pairs = Vec::new();
    for_each_pair(entry, |field, value| pairs.extend([field.to_vec(), value.to_vec()]));
    pairs
}

/// All nodes, oldest first.
fn nodes(stream: &Stream) -> Vec<&Arc<Node>> {
    stream.sealed.iter().chain(&stream.tail).collect()
}

#[track_caller]
fn compare(stream: &Stream, model: &Model) {
    let expected: Vec<_> = model.entries.iter().map(|(id, pairs)| (*id, pairs.clone())).collect();
    let got: Vec<_> = stream.range(Id::MIN, Id::MAX).map(|entry| (entry.id, pairs_of(entry))).collect();
    assert_eq!(got, expected);
    let mut back: Vec<_> = stream.range_backward(Id::MIN, Id::MAX).map(|entry| (entry.id, pairs_of(entry))).collect();
    back.reverse();
    assert_eq!(back, expected);
    assert_eq!(stream.len(), expected.len());
    assert_eq!(
        (stream.last_id, stream.max_deleted_id, stream.entries_added),
        (model.last, model.max_deleted, model.added)
    );
    assert_eq!(stream.first_id(), expected.first().map_or(Id::MIN, |entry| entry.0));
    assert_eq!(stream.newest_id(), expected.last().map(|entry| entry.0));
    // Some intervals between IDs that are there, and beside them.
    let ids: Vec<Id> =
        model.entries.keys().step_by(3).flat_map(|id| [id.previous().unwrap(), *id, id.next().unwrap()]).collect();
    for (start, end) in ids.iter().zip(ids.iter().cycle().skip(7)) {
        let inside: Vec<Id> =
            if start <= end { model.entries.range(*start..=*end).map(|(id, _)| *id).collect() } else { vec![] };
        assert_eq!(stream.range(*start, *end).map(|entry| entry.id).collect::<Vec<_>>(), inside);
        assert!(stream.range_backward(*start, *end).map(|entry| entry.id).eq(inside.iter().rev().copied()));
        assert_eq!(stream.count(*start, *end, usize::MAX), inside.len());
        assert_eq!(stream.count(*start, *end, 2), inside.len().min(2));
        assert_eq!(stream.get(*start).map(pairs_of).as_ref(), model.entries.get(start));
    }
    let groups: BTreeMap<u8, ModelGroup> = stream.groups().map(|group| (group.name()[0], model_of(group))).collect();
    assert_eq!(groups, model.groups);
    assert_eq!(stream.used_bytes(), recount(stream));
    assert!(nodes(stream).iter().all(|node| node.len() > 0), "a node without entries was kept");
    assert_eq!(stream.radix_nodes(), plain_radix_nodes(nodes(stream).iter().map(|node| node.first())));
}

fn model_of(group: &Group) -> ModelGroup {
    let owner = |pending: &Pending| group.numbered(pending.consumer).name()[0];
    let pending: BTreeMap<_, _> = group
        .pending_from(Id::MIN)
        .map(|pending| (pending.id, (owner(pending), pending.delivered_ms, pending.deliveries)))
        .collect();
    for consumer in group.consumers() {
        let own = pending.iter().filter(|(_, (owner, ..))| *owner == consumer.name()[0]).map(|(id, _)| *id);
        assert!(consumer.pending_from(Id::MIN).eq(own), "group and consumer disagree");
    }
    ModelGroup {
        consumers: group.consumers().map(|consumer| consumer.name()[0]).collect(),
        pending,
        position: (group.last_id(), group.entries_read()),
    }
}

/// What the stream takes, by walking.
fn recount(stream: &Stream) -> usize {
    let nodes: usize = nodes(stream).into_iter().map(|node| node_bytes(node)).sum();
    let groups: usize = stream
        .groups()
        .map(|group| {
            group.check_bytes();
            group_bytes(group)
        })
        .sum();
    nodes + groups + stream.sealed.heap_bytes() + stream.groups.heap_bytes()
}

/// Nodes of a radix tree, counted by dividing.
fn plain_radix_nodes(ids: impl Iterator<Item = Id>) -> usize {
    fn count(keys: &[Vec<u8>]) -> usize {
        if keys[0].is_empty() {
            return 1;
        }
        let common = (0..keys[0].len()).take_while(|at| keys.iter().all(|key| key[*at] == keys[0][*at])).count();
        if common > 0 {
            return 1 + count(&keys.iter().map(|key| key[common..].to_vec()).collect::<Vec<_>>());
        }
        let parts = keys.chunk_by(|one, other| one[0] == other[0]);
        1 + parts.map(|part| count(&part.iter().map(|key| key[1..].to_vec()).collect::<Vec<_>>())).sum::<usize>()
    }
    let keys: Vec<Vec<u8>> = ids.map(|id| [id.ms.to_be_bytes(), id.seq.to_be_bytes()].concat()).collect();
    if keys.is_empty() { 1 } else { count(&keys) }
}

/// The stream from its parts of about `budget` bytes.
fn reload(stream: &Stream, budget: usize) -> Stream {
    let (mut from, mut copy) = (Some(0), Stream::default());
    while let Some(place) = from {
        let mut part = Vec::new();
        from = stream.encode(place, budget, &mut part);
        assert!(!part.is_empty() || from.is_none(), "a part that brings nothing on");
        copy.decode_part(&part, &shaping()).unwrap();
    }
    copy
}

fn step(stream: &mut Stream, model: &mut Model, op: &Op) {
    let shaping = shaping();
    let nth = |at: usize| model.entries.keys().nth(at % model.entries.len().max(1)).copied();
    match op {
        Op::Add { ms, seq, fields, wide, values } => {
            let jump = if *wide { u64::MAX / 4 } else { 1 };
            let id = Id::new(
                model.last.ms.saturating_add(ms * jump),
                if *ms == 0 { model.last.seq + seq + 1 } else { seq * jump },
            );
            if id <= model.last || id.ms > u64::MAX / 2 || id.seq > u64::MAX / 2 {
                return;
            }
            let fields: &[&str] = [["a", "b", "12"].as_slice(), &["x"], &["a", "c"]][usize::from(*fields)];
            let pairs: Vec<&[u8]> =
                fields.iter().zip(values).flat_map(|(field, value)| [field.as_bytes(), value]).collect();
            assert_eq!(stream.id_for(IdRequest::Exactly(id), 0), Ok(id));
            stream.add(id, &pairs, &shaping);
            model.entries.insert(id, pairs.iter().map(|word| word.to_vec()).collect());
            model.last = id;
            model.added += 1;
        }
        Op::Delete(at) => {
            let Some(id) = nth(*at) else { return };
            assert!(stream.delete(id));
            assert!(!stream.delete(id));
            model.entries.remove(&id);
            model.max_deleted = model.max_deleted.max(id);
        }
        Op::DeleteMany(at, n) => {
            let Some(id) = nth(*at) else { return };
            let ids: Vec<Id> = model.entries.range(id..).take(*n).map(|(id, _)| *id).collect();
            for id in ids {
                assert!(stream.delete(id));
                model.entries.remove(&id);
                model.max_deleted = model.max_deleted.max(id);
            }
        }
        Op::Trim { min_id, at, approximate, limit } => {
            let before = model.entries.len() as u64;
            let keep = *at as u64 % (before + 2);
            let threshold = match nth(*at) {
                Some(id) if *min_id => Threshold::MinId(id),
                _ => Threshold::MaxLen(keep),
            };
            let limit = if *approximate { *limit } else { 0 };
            let trimmed = stream.trim(&Trim { threshold, approximate: *approximate, limit });
            let exact = match threshold {
                Threshold::MaxLen(max) => before.saturating_sub(max),
                Threshold::MinId(id) => model.entries.range(..id).count() as u64,
            };
            if *approximate {
                assert!(trimmed <= exact && (limit == 0 || trimmed <= limit));
                assert!(limit != 0 || exact - trimmed < shaping.stream_node_max_entries as u64);
            } else {
                assert_eq!(trimmed, exact);
            }
            (0..trimmed).for_each(|_| drop(model.entries.pop_first()));
        }
        Op::MakeGroup(name) => {
            let position = (model.last, None);
            assert_eq!(stream.add_group(&[*name], position.0, None), !model.groups.contains_key(name));
            model.groups.entry(*name).or_insert(ModelGroup { position, ..ModelGroup::default() });
        }
        Op::DropGroup(name) => {
            assert_eq!(stream.remove_group(&[*name]), model.groups.remove(name).is_some());
        }
        Op::Assign { group, consumer, at, ms } => {
            let id = nth(*at).unwrap_or(Id::new(*ms, 1));
            let done = stream.edit_group(&[*group], |group| {
                let (number, _) = group.consumer_or_new(&[*consumer], *ms);
                group.assign(Pending { id, delivered_ms: *ms, deliveries: 1, consumer: number });
            });
            let Some(group) = model.groups.get_mut(group) else { return assert_eq!(done, None) };
            group.consumers.insert(*consumer);
            group.pending.insert(id, (*consumer, *ms, 1));
        }
        Op::Acknowledge { group, at } => {
            let Some(known) = model.groups.get_mut(group) else { return };
            let id = known.pending.keys().nth(at % known.pending.len().max(1)).copied().unwrap_or(Id::MAX);
            let was = stream.edit_group(&[*group], |group| group.acknowledge(id));
            assert_eq!(was, Some(known.pending.remove(&id).is_some()));
        }
        Op::DropConsumer { group, consumer } => {
            let Some(known) = model.groups.get_mut(group) else { return };
            let was = stream.edit_group(&[*group], |group| group.remove_consumer(&[*consumer])).unwrap();
            let before = known.pending.len();
            known.pending.retain(|_, (owner, ..)| owner != consumer);
            assert_eq!(was, known.consumers.remove(consumer).then_some(before - known.pending.len()));
        }
        Op::Position { group, at, read } => {
            let id = nth(*at).unwrap_or_default();
            let Some(known) = model.groups.get_mut(group) else { return };
            stream.edit_group(&[*group], |group| group.set_position(id, *read));
            known.position = (id, *read);
        }
        Op::Reload(budget) => {
            let copy = reload(stream, *budget);
            assert_eq!(copy.digest(), stream.digest());
            compare(&copy, model);
            *stream = copy;
        }
        Op::Clone => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(debug_assertions) { 96 } else { 1000 }, ..ProptestConfig::default() })]
    #[test]
    fn a_stream_does_what_a_map_does_and_clones_stay(ops in ops()) {
        let (mut stream, mut model) = (Stream::default(), Model::default());
        let mut clones = Vec::new();
        for op in &ops {
            if matches!(op, Op::Clone) {
                clones.push((stream.clone(), model.clone()));
            }
            step(&mut stream, &mut model, op);
        }
        compare(&stream, &model);
        clones.iter().for_each(|(stream, model)| compare(stream, model));
    }

    #[test]
    fn any_bytes_give_a_stream_or_an_error(parts in prop::collection::vec(prop::collection::vec(0..8u8, 0..60), 1..3)) {
        let mut stream = Stream::default();
        if parts.iter().all(|part| stream.decode_part(part, &shaping()).is_ok()) {
            prop_assert_eq!(reload(&stream, 50).digest(), stream.digest());
        }
    }
}

fn example() -> Stream {
    let (mut stream, shaping) = (Stream::default(), shaping());
    stream.add(Id::new(7, 1), &[b"field", b"value"], &shaping);
    stream.add(Id::new(7, 3), &[b"field", b"-12"], &shaping);
    stream.add(Id::new(9, 0), &[b"other", b""], &shaping);
    stream.add(Id::new(9, 1), &[b"x", b"y"], &shaping);
    stream.delete(Id::new(9, 1));
    stream.add_group(b"g", Id::new(7, 3), Some(2));
    stream.edit_group(b"g", |group| {
        let (number, _) = group.consumer_or_new(b"alice", 300);
        group.assign(Pending { id: Id::new(7, 3), delivered_ms: 5, deliveries: 2, consumer: number });
        let (number, _) = group.consumer_or_new(b"bob", 301);
        group.saw(number, 302, true);
    });
    stream
}

/// The bytes of FORMAT.md: a change of the format fails here.
#[test]
fn golden_parts() {
    let mut bytes = Vec::new();
    assert_eq!(example().encode(0, usize::MAX, &mut bytes), None);
    let expected = [
        &b"\x00\x09\x01\x09\x01\x04"[..],
        b"\x01\x07\x01\x01\x05field\x05value",
        b"\x02\x00\x02\x03-12",
        b"\x01\x02\x00\x01\x05other\x00",
        b"\x03\x01g\x07\x03\x01\x02",
        b"\x04\x00\x05alice\xac\x02\x00",
        b"\x04\x01\x03bob\xae\x02\x01\xae\x02",
        b"\x05\x07\x03\x00\x05\x02",
    ]
    .concat();
    assert_eq!(bytes.escape_ascii().to_string(), expected.escape_ascii().to_string());
}

#[test]
fn a_cut_part_is_an_error_or_fewer_items_and_never_more() {
    let mut bytes = Vec::new();
    example().encode(0, usize::MAX, &mut bytes);
    let whole = example().digest();
    for cut in 0..bytes.len() {
        let mut stream = Stream::default();
        if stream.decode_part(&bytes[..cut], &shaping()).is_ok() {
            assert_ne!(stream.digest(), whole, "cut at {cut}");
        }
    }
}

#[test]
fn bad_parts_are_named() {
    let header = b"\x00\x09\x01\x00\x00\x05";
    let decode = |parts: &[&[u8]]| {
        let mut stream = Stream::default();
        stream.decode_part(&[header.as_slice(), &parts.concat()].concat(), &shaping()).unwrap_err()
    };
    let entry = b"\x01\x07\x01\x01\x01f\x01v".as_slice();
    let group = b"\x03\x01g\x07\x03\x00".as_slice();
    let consumer = b"\x04\x00\x01c\x00\x00".as_slice();
    assert_eq!(decode(&[header]), BadValue::Twice);
    assert_eq!(decode(&[b"\x02\x07\x01\x01v"]), BadValue::Stream, "the fields of no entry");
    assert_eq!(decode(&[b"\x01\x07\x01\x00"]), BadValue::Empty);
    assert_eq!(decode(&[b"\x01\x0a\x01\x01\x01f\x01v"]), BadValue::Stream, "above the last ID");
    assert_eq!(decode(&[entry, b"\x02\x00\x00\x01v"]), BadValue::Stream, "the same ID twice");
    assert_eq!(
        decode(&[entry, b"\x01\x00\x01\xff\xff\xff\xff\x7f\x01f\x01v"]),
        BadValue::Short,
        "more fields than bytes"
    );
    assert_eq!(decode(&[group, group]), BadValue::Stream);
    assert_eq!(decode(&[consumer]), BadValue::Stream, "a consumer without a group");
    assert_eq!(decode(&[group, consumer, b"\x04\x01\x01c\x00\x00"]), BadValue::Twice);
    assert_eq!(decode(&[group, consumer, b"\x05\x01\x01\x07\x00\x01"]), BadValue::Stream, "pending for nobody");
    assert_eq!(decode(&[group, entry]), BadValue::Stream, "entries behind groups");
    assert_eq!(decode(&[b"\x06"]), BadValue::Short, "a late header of nothing");
    assert_eq!(decode(&[b"\x07"]), BadValue::Stream);
}

#[test]
fn nodes_are_filled_as_those_of_redis() {
    let shaping = Shaping::new(HashSeed([1; 16]));
    let mut stream = Stream::default();
    for ms in 1..=1000 {
        stream.add(Id::new(ms, 0), &[b"f", b"v"], &shaping);
    }
    assert_eq!(
        (stream.nodes(), stream.trim(&Trim { threshold: Threshold::MaxLen(555), approximate: true, limit: 0 })),
        (10, 400)
    );
    // 4096 bytes: a node takes what fits, measured before the entry is added.
    let mut wide = Stream::default();
    for ms in 1..=100 {
        wide.add(Id::new(ms, 0), &[b"f", &[b'x'; 1000]], &shaping);
    }
    assert_eq!(wide.nodes(), 25, "as Valkey answers");
}

#[test]
fn ids_are_given_above_the_last_whatever_the_clock_says() {
    let (mut stream, shaping) = (Stream::default(), shaping());
    assert_eq!(stream.id_for(IdRequest::Any, 0), Ok(Id::new(0, 1)));
    assert_eq!(stream.id_for(IdRequest::Within(0), 0), Ok(Id::new(0, 1)));
    stream.add(Id::new(100, 7), &[b"f", b"v"], &shaping);
    assert_eq!(stream.id_for(IdRequest::Any, 50), Ok(Id::new(100, 8)));
    assert_eq!(stream.id_for(IdRequest::Any, 101), Ok(Id::new(101, 0)));
    assert_eq!(stream.id_for(IdRequest::Within(100), 0), Ok(Id::new(100, 8)));
    assert_eq!(stream.id_for(IdRequest::Within(99), 0), Err(CannotAdd::NotAbove));
    assert_eq!(stream.id_for(IdRequest::Exactly(Id::new(100, 7)), 0), Err(CannotAdd::NotAbove));
    stream.add(Id::new(200, u64::MAX), &[b"f", b"v"], &shaping);
    assert_eq!(stream.id_for(IdRequest::Any, 50), Ok(Id::new(201, 0)));
    assert_eq!(stream.id_for(IdRequest::Within(200), 0), Err(CannotAdd::NotAbove));
    stream.add(Id::MAX, &[b"f", b"v"], &shaping);
    assert_eq!(stream.id_for(IdRequest::Any, 50), Err(CannotAdd::Exhausted));
}

#[test]
fn a_clone_takes_constant_time_whatever_is_pending() {
    let (mut stream, shaping) = (Stream::default(), Shaping::new(HashSeed([1; 16])));
    stream.add_group(b"g", Id::MIN, None);
    for ms in 1..=5000 {
        stream.add(Id::new(ms, 0), &[b"f", b"v"], &shaping);
        stream.edit_group(b"g", |group| {
            let (number, _) = group.consumer_or_new(&ms.to_le_bytes(), 0);
            group.assign(Pending { id: Id::new(ms, 0), delivered_ms: 1, deliveries: 1, consumer: number });
        });
    }
    let clone = stream.clone();
    assert!(Arc::ptr_eq(clone.tail.as_ref().unwrap(), stream.tail.as_ref().unwrap()));
    let groups = |stream: &Stream| stream.groups.first().map(Arc::as_ptr);
    assert_eq!(groups(&clone), groups(&stream));
    stream.edit_group(b"g", |group| group.acknowledge(Id::new(1, 0)));
    assert_eq!(clone.group(b"g").unwrap().pending_len(), 5000);
    // All consumers but those in the changed chunks are still shared.
    let consumers = |stream: &Stream| {
        stream.group(b"g").unwrap().consumers_by_number().map(std::ptr::from_ref).collect::<BTreeSet<_>>()
    };
    assert!(consumers(&clone).intersection(&consumers(&stream)).count() > 4900);
}

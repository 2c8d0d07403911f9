//! Snapshots as a whole, on the simulated disk: exact at one LSN whatever happens meanwhile, damage and faults seen, crashes
//! harmless.

use super::block::BlockKind;
use super::index::AuxPair;
use super::load::load;
use super::reader::{BlockBuffer, SnapshotReader};
use super::writer::{Pace, SnapshotRun, Step, Written};
use super::{BadSnapshot, SnapshotError};
use crate::disk::chooser::Chooser;
use crate::disk::sim::{CallKind, CrashRules, DiskState, Effect, Errno, Fault, SimDisk};
use crate::disk::{Disk, OpenMode, write_all_at};
use crate::format::{FileHeader, FileKind, StoreId};
use crate::key::HashSeed;
use crate::keyspace::{Deadline, Keyspace, Value};
use crate::value::Shaping;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const SEED: HashSeed = HashSeed([3; 16]);
const DATABASES: usize = 4;
/// Small pieces, so that a tiny snapshot takes many steps.
const TINY: Pace = Pace { slice_len: 1, buffer_max: 2000, write_len: 300, sync_len: 700, part_len: 100 };

/// What each database holds: key to value and deadline.
type Model = Vec<BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>>;

pub(super) fn header(lsn: u64, epoch: u64) -> FileHeader {
    FileHeader {
        kind: FileKind::Snapshot,
        flags: 0,
        store: StoreId([5; 16]),
        hash_seed: SEED,
        number: lsn,
        epoch,
        created_ms: 1_700_000_000_000 + lsn,
        durable: lsn / 2,
    }
}

fn filled(keys: usize) -> Keyspace {
    let mut keyspace = Keyspace::new(SEED, DATABASES);
    for number in 0..keys {
        let key = format!("key:{number}");
        let deadline = if number % 5 == 0 { Deadline::At(number as u64 * 1000 + 1) } else { Deadline::Clear };
        let value = format!("value {number} ").repeat(number % 7);
        keyspace.db_mut(number % 3).set_string(SEED.key(key.as_bytes()), value.as_bytes(), deadline);
    }
    keyspace
}

fn content(keyspace: &Keyspace) -> Model {
    let content = |db: usize| {
        let mut map = BTreeMap::new();
        keyspace.db(db).scan(0, usize::MAX, &mut |entry| {
            let value = entry.value.string().unwrap();
            map.insert(entry.key.to_vec(), (value.to_vec(), entry.deadline));
        });
        map
    };
    (0..keyspace.databases()).map(content).collect()
}

/// Equality of models, told in numbers: printed whole they would fill the screen.
#[track_caller]
fn assert_same(found: &Model, expected: &Model, case: &str) {
    for (db, (found, expected)) in found.iter().zip(expected).enumerate() {
        let wrong = found.iter().filter(|(key, entry)| expected.get(*key) != Some(entry)).count();
        let missing = expected.keys().filter(|key| !found.contains_key(*key)).count();
        assert!(wrong + missing == 0, "{case}: database {db} has {wrong} wrong entries and lacks {missing}");
    }
    assert_eq!(found.len(), expected.len(), "{case}");
}

/// Takes a whole snapshot, with `between` run before every step under the engine's lock.
fn take_while(
    keyspace: &mut Keyspace,
    disk: &SimDisk,
    lsn: u64,
    pace: Pace,
    mut between: impl FnMut(&mut Keyspace, &SnapshotRun),
) -> Result<Written, SnapshotError> {
    let aux = vec![AuxPair::text("databases", DATABASES), AuxPair::text("firn-version", "0.1.0")];
    static CAPTURES: AtomicU64 = AtomicU64::new(1);
    let capture = CAPTURES.fetch_add(1, Ordering::Relaxed);
    let mut run = SnapshotRun::begin(keyspace, capture, Arc::new(disk.clone()), header(lsn, 1), aux, pace);
    loop {
        between(keyspace, &run);
        run.collect(keyspace, lsn);
        match run.write() {
            Ok(Step::More) => {}
            Ok(Step::Done(written)) => return Ok(written),
            Err(error) => {
                run.abandon(keyspace);
                return Err(error);
            }
        }
    }
}

pub(super) fn take(keyspace: &mut Keyspace, disk: &SimDisk, lsn: u64) -> Written {
    take_while(keyspace, disk, lsn, TINY, |_, _| {}).expect("a healthy disk")
}

fn open(disk: &dyn Disk, name: &str) -> Result<SnapshotReader, SnapshotError> {
    SnapshotReader::open(disk, name, Some(StoreId([5; 16])))
}

fn loaded(disk: &dyn Disk, name: &str) -> Result<Keyspace, SnapshotError> {
    load(&open(disk, name)?, DATABASES, 2, &Shaping::new(SEED), &|_| {})
}

#[test]
fn a_snapshot_loads_as_it_was_written_and_says_what_it_is() {
    let (mut keyspace, disk) = (filled(1000), SimDisk::new());
    let written = take(&mut keyspace, &disk, 7);
    assert_eq!(disk.list().unwrap().len(), 1);
    assert_eq!(disk.list().unwrap()[0].name, "snap-00000000000000000007-0000000001.snap");
    assert_eq!((written.lsn, written.entries, written.len), (7, 1000, disk.list().unwrap()[0].len));
    let reader = open(&disk, &written.name).unwrap();
    assert_eq!(*reader.header(), header(7, 1));
    assert_eq!((reader.footer().lsn, reader.footer().entries, reader.footer().durable), (7, 1000, 7));
    assert_eq!(reader.aux_value("databases"), Some(&b"4"[..]));
    assert_eq!(reader.databases(), [0, 1, 2]);
    let mut seen = Vec::new();
    let verified = reader.verify_all(|done| seen.push(done), |_, error| panic!("{error}")).unwrap();
    assert_eq!((verified.entries, verified.bad), (1000, 0));
    assert!(seen.is_sorted() && seen.last() == Some(&reader.footer().index_offset));
    for threads in [1, 2, 7] {
        let progress = Mutex::new(Vec::new());
        let loaded =
            load(&reader, DATABASES, threads, &Shaping::new(SEED), &|entries| progress.lock().unwrap().push(entries))
                .unwrap();
        assert_same(&content(&loaded), &content(&keyspace), "loaded");
        assert_eq!(progress.into_inner().unwrap().into_iter().max(), Some(1000));
    }
}

#[test]
fn an_empty_keyspace_makes_a_snapshot_too() {
    let (mut keyspace, disk) = (Keyspace::new(SEED, DATABASES), SimDisk::new());
    let written = take(&mut keyspace, &disk, 0);
    assert_eq!(written.entries, 0);
    assert_same(&content(&loaded(&disk, &written.name).unwrap()), &content(&keyspace), "loaded");
}

#[test]
fn a_snapshot_with_more_databases_than_configured_is_unusable_not_damaged() {
    let (mut keyspace, disk) = (filled(10), SimDisk::new());
    let written = take(&mut keyspace, &disk, 7);
    let error = load(&open(&disk, &written.name).unwrap(), 2, 1, &Shaping::new(SEED), &|_| {}).unwrap_err();
    assert!(!error.is_damage());
    assert!(error.to_string().contains("database 2, and there are only 2"), "{error}");
}

#[test]
fn a_key_is_found_with_one_read() {
    let (mut keyspace, disk) = (filled(3000), SimDisk::new());
    let written = take(&mut keyspace, &disk, 7);
    let reader = open(&disk, &written.name).unwrap();
    let mut buffer = BlockBuffer::default();
    for number in 0..3000 {
        let key = format!("key:{number}");
        disk.keep_trace();
        let found = reader.find(number % 3, key.as_bytes(), &mut buffer, |entry| {
            let value = entry.value.string().unwrap();
            (value.len(), entry.deadline)
        });
        let expected = (format!("value {number} ").len() * (number as usize % 7)) as u64;
        let deadline = (number % 5 == 0).then_some(u64::from(number) * 1000 + 1);
        assert_eq!(found.unwrap(), Some((expected as usize, deadline)), "{key}");
        assert_eq!(disk.trace().iter().map(|call| call.kind).collect::<Vec<_>>(), [CallKind::Read]);
        let other = reader.find((number + 1) % 3, key.as_bytes(), &mut buffer, |_| ());
        assert_eq!(other.unwrap(), None, "{key} is in one database only");
    }
    assert_eq!(reader.find(99, b"key:1", &mut buffer, |_| ()).unwrap(), None);
}

#[test]
fn ranges_of_positions_give_exactly_the_entries_in_them_in_order() {
    let (mut keyspace, disk) = (filled(900), SimDisk::new());
    let written = take(&mut keyspace, &disk, 7);
    let reader = open(&disk, &written.name).unwrap();
    let mut positions: Vec<u64> = (0..900).step_by(3).map(|n| SEED.position(format!("key:{n}").as_bytes())).collect();
    positions.sort_unstable();
    let (first, middle, last) = (positions[0], positions[150], positions[299]);
    for range in [0..=u64::MAX, first..=last, middle..=middle, first..=middle, middle + 1..=last, 0..=first - 1] {
        let mut entries = reader.entries(0, range.clone());
        let mut found = Vec::new();
        while let Some((position, entry)) = entries.next().unwrap() {
            assert_eq!(SEED.position(entry.key), position);
            found.push(position);
        }
        let expected: Vec<u64> = positions.iter().copied().filter(|position| range.contains(position)).collect();
        assert_eq!(found, expected, "{range:?}");
    }
    assert!(reader.entries(3, 0..=u64::MAX).next().unwrap().is_none());
}

/// A snapshot of a few entries on a disk, with its name and its bytes.
fn small() -> (SimDisk, String, Vec<u8>, Model) {
    let (mut keyspace, disk) = (filled(12), SimDisk::new());
    let written = take(&mut keyspace, &disk, 7);
    let bytes = disk.state().bytes(&written.name).unwrap().to_vec();
    (disk, written.name, bytes, content(&keyspace))
}

fn disk_with(name: &str, bytes: &[u8]) -> SimDisk {
    let disk = SimDisk::new();
    write_all_at(&*disk.open(name, OpenMode::CreateNew).unwrap(), bytes, 0).unwrap();
    disk
}

#[test]
fn every_flipped_bit_of_a_snapshot_is_seen() {
    let (_, name, bytes, _) = small();
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let disk = disk_with(&name, &bad);
        let error = loaded(&disk, &name).expect_err("a flipped bit");
        let SnapshotError::Damaged { file, offset, .. } = &error else { panic!("bit {bit}: {error}") };
        assert!(*file == name && *offset <= (bit / 8) as u64, "bit {bit}: {error}");
        if let Ok(reader) = open(&disk, &name) {
            let verified = reader.verify_all(|_| {}, |row, _| assert!(row.offset <= (bit / 8) as u64)).unwrap();
            assert_eq!(verified.bad, 1, "bit {bit}");
        }
    }
}

#[test]
fn every_cut_every_zeroed_sector_and_every_byte_more_is_seen() {
    let (_, name, bytes, _) = small();
    for len in 0..bytes.len() {
        let error = loaded(&disk_with(&name, &bytes[..len]), &name).expect_err("a cut file");
        assert!(error.is_damage(), "{len} bytes: {error}");
    }
    for start in (0..bytes.len()).step_by(512) {
        let mut bad = bytes.clone();
        let end = bad.len().min(start + 512);
        bad[start..end].fill(0);
        assert!(loaded(&disk_with(&name, &bad), &name).expect_err("a zeroed sector").is_damage());
    }
    let longer = [&bytes[..], &bytes[bytes.len() - 64..]].concat();
    assert!(loaded(&disk_with(&name, &longer), &name).expect_err("a footer twice").is_damage());
}

#[test]
fn a_file_of_another_lsn_store_or_name_never_passes() {
    let (disk, name, bytes, _) = small();
    let older = take(&mut filled(11), &disk, 5);
    let older = disk.state().bytes(&older.name).unwrap().to_vec();
    let error = loaded(&disk_with(&name, &older), &name).expect_err("an older copy under this name");
    assert!(error.to_string().contains("LSN 5"), "{error}");
    assert!(loaded(&disk_with("copy", &older), "copy").is_ok(), "a copy may have any other name");
    let error = SnapshotReader::open(&disk, &name, Some(StoreId([6; 16]))).err().expect("of another store");
    assert!(!error.is_damage(), "{error}");
    // The second half of one and the first of the other, sector by sector.
    for at in (0..bytes.len().min(older.len())).step_by(64) {
        let mixed = [&older[..at], &bytes[at..]].concat();
        assert_eq!(loaded(&disk_with("copy", &mixed), "copy").is_ok(), at == 0, "mixed at {at}");
    }
    let mut newer = bytes.clone();
    newer[8] = 2;
    let crc = crc32fast::hash(&newer[..124]);
    newer[124..128].copy_from_slice(&crc.to_le_bytes());
    let error = loaded(&disk_with(&name, &newer), &name).expect_err("a newer format");
    assert!(!error.is_damage() && error.to_string().contains("format version 2"), "{error}");
}

#[test]
fn a_read_error_is_the_disk_not_the_file() {
    let (disk, name, _, model) = small();
    let count = |disk: &SimDisk| {
        let before = disk.calls();
        assert_same(&content(&loaded(disk, &name).unwrap()), &model, "loaded");
        disk.calls() - before
    };
    for call in 1..=count(&disk) {
        disk.set_faults([Fault::nth(call, Effect::Error(Errno::IO))]);
        let error = loaded(&disk, &name).expect_err("a failed call");
        assert!(matches!(error, SnapshotError::Disk { .. }), "call {call}: {error}");
        disk.set_faults([Fault::from_nth(call, Effect::Short(7))]);
        assert_same(&content(&loaded(&disk, &name).unwrap()), &model, "short reads are continued");
    }
}

/// What a schedule does between two steps of a snapshot.
#[derive(Clone, Debug)]
enum Op {
    Set { db: usize, key: u8, len: usize, deadline: Option<u64> },
    Append { db: usize, key: u8 },
    Deadline { db: usize, key: u8, deadline: Option<u64> },
    Remove { db: usize, key: u8 },
    Move { from: usize, to: usize, key: u8, name: u8 },
    Flush { db: usize },
    Swap { one: usize, other: usize },
}

fn key_name(key: u8) -> Vec<u8> {
    format!("k{key}").into_bytes()
}

/// Performs `op` on keyspace and model alike.
fn perform(op: &Op, keyspace: &mut Keyspace, model: &mut Model) {
    match *op {
        Op::Set { db, key, len, deadline } => {
            let (key, value) = (key_name(key), vec![b'a' + (len % 26) as u8; len]);
            let set = deadline.map_or(Deadline::Clear, Deadline::At);
            keyspace.db_mut(db).set_string(SEED.key(&key), &value, set);
            model[db].insert(key, (value, deadline));
        }
        Op::Append { db, key } => {
            let key = key_name(key);
            keyspace.db_mut(db).edit_string(SEED.key(&key), |value| value.extend_from_slice(b"+more"));
            model[db].entry(key).or_default().0.extend_from_slice(b"+more");
        }
        Op::Deadline { db, key, deadline } => {
            let key = key_name(key);
            let existed = keyspace.db_mut(db).set_deadline(SEED.key(&key), deadline);
            assert_eq!(existed, model[db].contains_key(&key));
            if let Some(entry) = model[db].get_mut(&key) {
                entry.1 = deadline;
            }
        }
        Op::Remove { db, key } => {
            let key = key_name(key);
            assert_eq!(keyspace.db_mut(db).remove(SEED.key(&key)), model[db].remove(&key).is_some());
        }
        Op::Move { from, to, key, name } => {
            let (key, name) = (key_name(key), key_name(name));
            if let Some(taken) = keyspace.db_mut(from).take(SEED.key(&key)) {
                keyspace.db_mut(to).put(SEED.key(&name), taken);
                let taken = model[from].remove(&key).expect("the model has what the keyspace has");
                model[to].insert(name, taken);
            }
        }
        Op::Flush { db } => {
            drop(keyspace.flush(db));
            model[db].clear();
        }
        Op::Swap { one, other } => {
            keyspace.swap(one, other);
            model.swap(one, other);
        }
    }
}

fn any_op() -> impl Strategy<Value = Op> {
    let deadline = || prop::option::of(1..u64::MAX);
    let db = || 0..DATABASES;
    prop_oneof![
        8 => (db(), any::<u8>(), 0..200usize, deadline())
            .prop_map(|(db, key, len, deadline)| Op::Set { db, key, len, deadline }),
        3 => (db(), any::<u8>()).prop_map(|(db, key)| Op::Append { db, key }),
        2 => (db(), any::<u8>(), deadline()).prop_map(|(db, key, deadline)| Op::Deadline { db, key, deadline }),
        6 => (db(), any::<u8>()).prop_map(|(db, key)| Op::Remove { db, key }),
        2 => (db(), db(), any::<u8>(), any::<u8>())
            .prop_map(|(from, to, key, name)| Op::Move { from, to, key, name }),
        1 => db().prop_map(|db| Op::Flush { db }),
        1 => (db(), db()).prop_map(|(one, other)| Op::Swap { one, other }),
    ]
}

/// Plays `before`, begins a snapshot, plays `during` spread over its steps with `every` ops between two, and compares.
fn exact_at_its_moment(before: &[Op], during: &[Op], every: usize, pace: Pace) {
    let (mut keyspace, mut model) = (Keyspace::new(SEED, DATABASES), vec![BTreeMap::new(); DATABASES]);
    before.iter().for_each(|op| perform(op, &mut keyspace, &mut model));
    let moment = model.clone();
    let disk = SimDisk::new();
    let mut rest = during.iter();
    let written = take_while(&mut keyspace, &disk, 7, pace, |keyspace, _| {
        rest.by_ref().take(every).for_each(|op| perform(op, keyspace, &mut model));
    });
    let written = written.expect("a healthy disk");
    assert_same(&content(&loaded(&disk, &written.name).unwrap()), &moment, "the snapshot is not the moment it began");
    rest.for_each(|op| perform(op, &mut keyspace, &mut model));
    assert_same(&content(&keyspace), &model, "the snapshot has changed the keyspace");
    let written = take(&mut keyspace, &disk, 8);
    assert_same(&content(&loaded(&disk, &written.name).unwrap()), &model, "the next snapshot is not exact");
}

#[test]
fn a_snapshot_is_exact_while_large_databases_change_under_it() {
    let wide = |number: u32| number.wrapping_mul(2_654_435_761);
    let mut keyspace = Keyspace::new(SEED, DATABASES);
    for number in 0..20_000u32 {
        keyspace.db_mut(0).set_string(SEED.key(&number.to_le_bytes()), &number.to_be_bytes(), Deadline::Clear);
    }
    let moment = content(&keyspace);
    let disk = SimDisk::new();
    let mut number = 0;
    let pace = Pace { slice_len: 4000, write_len: 16_000, buffer_max: 64_000, sync_len: 1_000_000, ..Pace::default() };
    let written = take_while(&mut keyspace, &disk, 7, pace, |keyspace, _| {
        for _ in 0..300 {
            number += 1;
            let key = wide(number) % 30_000;
            match number % 3 {
                0 => drop(keyspace.db_mut(0).remove(SEED.key(&key.to_le_bytes()))),
                _ => keyspace.db_mut(0).set_string(SEED.key(&key.to_le_bytes()), b"changed", Deadline::Clear),
            }
        }
        if number == 2100 {
            keyspace.swap(0, 3);
        }
    });
    assert!(number > 2100, "the snapshot ended after {number} changes, too early to prove anything");
    assert_same(&content(&loaded(&disk, &written.unwrap().name).unwrap()), &moment, "loaded");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..Default::default() })]

    #[test]
    fn a_snapshot_is_exact_at_its_moment_whatever_follows(
        before in prop::collection::vec(any_op(), 0..300),
        during in prop::collection::vec(any_op(), 0..200),
        every in 1..30usize,
        slice_len in 1..3000usize,
        write_len in 1..3000usize,
    ) {
        let pace = Pace { slice_len, write_len, buffer_max: 2 * write_len, sync_len: 1000, part_len: 1 + slice_len };
        exact_at_its_moment(&before, &during, every, pace);
    }
}

#[test]
fn what_waits_for_the_disk_is_bounded_and_writers_are_told_to_wait() {
    let (mut keyspace, disk) = (filled(3000), SimDisk::new());
    let mut slowed = 0;
    let mut number = 0u32;
    let written = take_while(&mut keyspace, &disk, 7, TINY, |keyspace, run| {
        let largest = 80_000; // One captured piece may go beyond the bound, none may be added then.
        assert!(keyspace.captured_bytes() + run.backlog() <= TINY.buffer_max + largest);
        while !TINY.must_slow_writers(keyspace.captured_bytes(), run.backlog()) && number < 3000 {
            let key = format!("key:{number}");
            keyspace.db_mut(number as usize % 3).set_string(SEED.key(key.as_bytes()), b"new", Deadline::Clear);
            number += 1;
        }
        slowed += u32::from(number < 3000);
    });
    written.unwrap();
    assert!(slowed > 0 && number == 3000, "{slowed} waits, {number} writes");
}

#[test]
fn any_failing_call_ends_the_run_harms_nothing_and_the_next_run_works() {
    let mut keyspace = filled(8000);
    let disk = SimDisk::new();
    let old = take(&mut keyspace, &disk, 6);
    let model = content(&keyspace);
    let calls = {
        let disk = SimDisk::from_state(disk.state());
        take(&mut keyspace, &disk, 7);
        disk.calls()
    };
    assert!(calls > 12, "{calls} calls are too few to prove anything");
    let effects = [Effect::Error(Errno::IO), Effect::Error(Errno::NOSPC), Effect::ErrorAfter(Errno::IO)];
    for (call, effect) in (1..=calls).flat_map(|call| effects.clone().map(|effect| (call, effect))) {
        for lasting in [false, true] {
            let disk = SimDisk::from_state(disk.state());
            let fault = if lasting { Fault::from_nth } else { Fault::nth };
            disk.set_faults([fault(call, effect.clone())]);
            let case = format!("call {call}, {effect:?}, lasting: {lasting}");
            let result = take_while(&mut keyspace, &disk, 7, TINY, |_, _| {});
            assert!(!keyspace.is_capturing(), "{case}");
            let error = result.expect_err(&case);
            assert!(matches!(error, SnapshotError::Disk { .. }), "{case}: {error}");
            assert_same(&content(&loaded(&SimDisk::from_state(disk.state()), &old.name).unwrap()), &model, &case);
            disk.set_faults([]);
            if !lasting && !matches!(effect, Effect::ErrorAfter(_)) {
                let left = disk.list().unwrap().into_iter().filter(|entry| entry.name.ends_with(".tmp")).count();
                assert_eq!(left, 0, "{case}: a temporary file is left");
            }
            let written = take(&mut keyspace, &disk, 7);
            assert_same(&content(&loaded(&disk, &written.name).unwrap()), &model, &case);
        }
    }
}

#[test]
fn a_full_disk_ends_the_run_and_gives_the_space_back() {
    let (mut keyspace, disk) = (filled(400), SimDisk::new());
    disk.set_capacity(Some(3000));
    let error = take_while(&mut keyspace, &disk, 7, TINY, |_, _| {}).expect_err("a full disk");
    assert!(error.to_string().contains("snap-00000000000000000007-0000000001.snap.tmp at byte"), "{error}");
    assert_eq!(disk.list().unwrap(), []);
    disk.set_capacity(None);
    take(&mut keyspace, &disk, 8);
}

#[test]
fn a_run_that_is_forgotten_leaves_no_file() {
    let (mut keyspace, disk) = (filled(400), SimDisk::new());
    let mut run = SnapshotRun::begin(&mut keyspace, 1, Arc::new(disk.clone()), header(7, 1), vec![], TINY);
    for _ in 0..5 {
        run.collect(&mut keyspace, 7);
        run.write().unwrap();
    }
    assert_eq!(disk.list().unwrap().len(), 1);
    drop(run);
    assert_eq!(disk.list().unwrap(), []);
}

#[test]
fn a_crash_at_any_call_leaves_a_whole_snapshot_or_none_under_its_name() {
    let mut keyspace = filled(6);
    let model = content(&keyspace);
    let disk = SimDisk::new();
    let states: Arc<Mutex<Vec<DiskState>>> = Arc::default();
    let seen = states.clone();
    disk.observe(move |call, state| {
        if call.kind.changes() {
            seen.lock().unwrap().push(state.clone());
        }
    });
    let written = take(&mut keyspace, &disk, 7);
    disk.unobserve();
    states.lock().unwrap().push(disk.state());
    let rules = CrashRules { small_write_len: 16, scatter: true, garbage: true };
    let states = std::mem::take(&mut *states.lock().unwrap());
    let last = states.len() - 1;
    let (mut outcomes, mut whole) = (0, 0);
    for (at, state) in states.iter().enumerate() {
        let mut chooser = Chooser::seeded(at as u64);
        for _ in 0..400 {
            let crashed = SimDisk::from_state(state.crash(&mut chooser, &rules));
            outcomes += 1;
            if crashed.list().unwrap().iter().any(|entry| entry.name == written.name) {
                let loaded =
                    loaded(&crashed, &written.name).unwrap_or_else(|error| panic!("before call {at}: {error}"));
                assert_same(&content(&loaded), &model, "loaded");
                whole += 1;
            } else {
                assert!(at < last, "a finished snapshot is gone");
            }
            chooser.advance();
        }
    }
    assert!(whole > 400 && whole < outcomes, "{whole} of {outcomes} outcomes had the snapshot");
}

#[test]
fn a_block_whose_entries_are_not_what_its_header_says_is_damage() {
    use super::block::{BLOCK_HEADER_LEN, BlockInfo, encode_block};
    use super::index::{FOOTER_LEN, Footer, IndexRow, encode_rows};
    use crate::keyspace::{Entry, entry};
    // A whole file around one block, every checksum right.
    let forged = |keys: &[&[u8]], info: BlockInfo| {
        let seed = header(7, 1).seed();
        let (mut bytes, mut raw, mut rows) = (header(7, 1).encode().to_vec(), Vec::new(), Vec::new());
        for key in keys {
            entry::encode(
                &Entry { key, value: Value::String(b""), deadline: None, edited: false, access: 0 },
                &mut raw,
            );
        }
        let block = encode_block(&mut bytes, info, &raw, &seed, 128);
        encode_rows(&[IndexRow::of(&block, 128)], &mut rows);
        let index_offset = bytes.len() as u64;
        let index = BlockInfo { kind: BlockKind::Index, db: 0, count: 1, first: 0, last: 0 };
        encode_block(&mut bytes, index, &rows, &seed, index_offset);
        let file_len = (bytes.len() + FOOTER_LEN) as u64;
        let footer = Footer { index_offset, entries: info.count, lsn: 7, file_len, durable: 0 };
        bytes.extend_from_slice(&footer.encode(&seed));
        assert_eq!(bytes.len(), 128 + BLOCK_HEADER_LEN * 2 + raw.len() + 48 + 64);
        let disk = disk_with("forged", &bytes);
        let reader = open(&disk, "forged").unwrap();
        let mut damages = Vec::new();
        reader.verify_all(|_| {}, |_, error| damages.push(error)).unwrap();
        let loads = load(&reader, DATABASES, 1, &Shaping::new(SEED), &|_| {});
        (damages.pop(), loads)
    };
    let mut keys: Vec<&[u8]> = vec![b"one", b"two", b"three"];
    keys.sort_by_key(|key| SEED.position(key));
    let (first, last) = (SEED.position(keys[0]), SEED.position(keys[2]));
    let info = BlockInfo { kind: BlockKind::Entries, db: 0, count: 3, first, last };
    let (damage, loads) = forged(&keys, info);
    assert!(damage.is_none() && loads.is_ok());
    let why = |(damage, loads): (Option<SnapshotError>, Result<Keyspace, SnapshotError>)| {
        let Some(SnapshotError::Damaged { why, offset: 128, .. }) = damage else { panic!("{damage:?}") };
        (why, loads.is_err())
    };
    let swapped = [keys[1], keys[0], keys[2]];
    let (found, refused) = why(forged(&swapped, info));
    assert!(matches!(found, BadSnapshot::Position { entry: 0, .. }) && refused);
    let (found, refused) = why(forged(&keys, BlockInfo { count: 2, ..info }));
    assert!(matches!(found, BadSnapshot::Count { found: 3, stated: 2 }) && refused);
    let (found, refused) = why(forged(&[keys[0], keys[0], keys[2]], info));
    assert!(refused, "a key twice: {found}");
    let (found, _) = why(forged(&keys, BlockInfo { last: last + 1, ..info }));
    assert!(matches!(found, BadSnapshot::Count { .. }), "{found}");
    let (found, _) = why(forged(&keys, BlockInfo { last: last - 1, ..info }));
    assert!(matches!(found, BadSnapshot::Position { entry: 2, .. }), "{found}");
}

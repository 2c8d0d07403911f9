//! Stores with every type in every form: what they hold is the same after a reopening by the log, by a snapshot, and a reload.

use firn_engine::command::{Args, NoReply, Session, table};
use firn_engine::disk::Disk;
use firn_engine::disk::sim::SimDisk;
use firn_engine::key::HashSeed;
use firn_engine::keyspace::Value;
use firn_engine::snapshot::block::BlockKind;
use firn_engine::snapshot::reader::SnapshotReader;
use firn_engine::store::{ManualClock, Options, Store};
use firn_engine::value::Shaping;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const START_MS: u64 = 1_700_000_000_000;
/// Elements of collections that take several parts of a snapshot.
const MANY: usize = 4000;

fn options(clock: &Arc<ManualClock>) -> Options {
    Options {
        threads: false,
        clock: Arc::clone(clock) as _,
        segment_len: 1 << 20,
        reserve_len: 0,
        load_threads: 2,
        entropy: [7; 40],
        shaping: Shaping { hll_sparse_max_bytes: 200, ..Shaping::new(HashSeed([0; 16])) },
        ..Options::default()
    }
}

fn run(store: &Store, db: usize, words: &[impl AsRef<[u8]>]) {
    let words: Vec<&[u8]> = words.iter().map(AsRef::as_ref).collect();
    let mut session = Session { db, ..Session::default() };
    let mut reply = NoReply::default();
    let command = table::find(words[0]).expect("a command");
    store.lock().execute(&mut session, command, &Args::new(&words), &mut reply);
    assert_eq!(reply.error, None, "{}", words[0].escape_ascii());
    store.commit();
}

fn line(store: &Store, db: usize, text: &str) {
    run(store, db, &text.split(' ').collect::<Vec<_>>());
}

/// `begin` and what `each` makes of 0, 1, ..., all in one command.
fn fill(store: &Store, db: usize, begin: &str, count: usize, each: impl Fn(usize) -> Vec<String>) {
    let words: Vec<String> = begin.split(' ').map(str::to_owned).chain((0..count).flat_map(each)).collect();
    run(store, db, &words);
}

/// A value of 40 bytes that does not compress to nothing.
fn long(number: usize) -> String {
    format!("{:020}{:020}", number, (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Writes every type in every form into two databases.
fn write_everything(store: &Store) {
    for db in [0, 3] {
        let deadline = START_MS + 3_600_000;
        line(store, db, "SET string:integer 12345");
        line(store, db, "SET string:short abc PX 5000000");
        run(store, db, &[&b"SET"[..], b"string:long", &[0xa5; 100_000]]);
        line(store, db, "SETBIT string:bits 77777 1");
        line(store, db, "PFADD hll:sparse a b c");
        fill(store, db, "PFADD hll:dense", MANY, |number| vec![long(number)]);
        line(store, db, "RPUSH list:small a 1 -77 c");
        fill(store, db, "RPUSH list:large", MANY, |number| vec![long(number)]);
        run(store, db, &[&b"LPUSH"[..], b"list:huge", &[b'h'; 200_000], &[b'i'; 100_000], b"3"]);
        line(store, db, "SADD set:integers 5 -1 70000 99999999999");
        line(store, db, "SADD set:small a 1 b");
        fill(store, db, "SADD set:large", MANY, |number| vec![long(number)]);
        line(store, db, "ZADD zset:small 1.5 a -inf b +inf c -0 d 1.5 e");
        fill(store, db, "ZADD zset:large", MANY, |number| vec![format!("{}", number as f64 / 3.0), long(number)]);
        line(store, db, "GEOADD zset:geo 13.361389 38.115556 Palermo 15.087269 37.502669 Catania");
        line(store, db, "HSET hash:small f v g 12");
        line(store, db, "HSET hash:deadlines f v g 12 h x");
        line(store, db, &format!("HPEXPIREAT hash:deadlines {deadline} FIELDS 2 f h"));
        fill(store, db, "HSET hash:large", MANY, |number| vec![long(number), number.to_string()]);
        let some = (0..MANY).step_by(7).map(long).collect::<Vec<_>>();
        for (at, name) in some.iter().enumerate() {
            line(store, db, &format!("HPEXPIREAT hash:large {} FIELDS 1 {name}", deadline + at as u64));
        }
        line(store, db, "XGROUP CREATE stream:empty g $ MKSTREAM");
        line(store, db, "XADD stream:small 1-1 f v g 7");
        line(store, db, "XADD stream:small 1-2 f w g 8");
        for number in 0..MANY {
            line(
                store,
                db,
                &format!("XADD stream:large {}-3 field {} n {number}", number / 3 * 3 + number + 1, long(number)),
            );
        }
        line(store, db, "XDEL stream:large 1-3");
        for group in ["g", "h", "idle"] {
            line(store, db, &format!("XGROUP CREATE stream:large {group} 0"));
        }
        line(store, db, "XGROUP CREATECONSUMER stream:large idle nobody");
        line(store, db, "XREADGROUP GROUP g alice COUNT 3000 STREAMS stream:large >");
        line(store, db, "XREADGROUP GROUP g bob COUNT 500 STREAMS stream:large >");
        line(store, db, "XREADGROUP GROUP h carol COUNT 2 STREAMS stream:large >");
        line(store, db, "XACK stream:large g 2-3");
        line(store, db, "PEXPIREAT list:large 1900000000000");
    }
}

/// What must be there: keys and encodings.
const ENCODINGS: &[(&str, &str)] = &[
    ("list:small", "listpack"),
    ("list:large", "quicklist"),
    ("list:huge", "quicklist"),
    ("set:integers", "intset"),
    ("set:small", "listpack"),
    ("set:large", "hashtable"),
    ("zset:small", "listpack"),
    ("zset:large", "skiplist"),
    ("hash:small", "listpack"),
    ("hash:deadlines", "hashtable"),
    ("hash:large", "hashtable"),
    ("stream:empty", "stream"),
    ("stream:small", "stream"),
    ("stream:large", "stream"),
];

#[derive(PartialEq, Debug)]
struct Seen {
    digests: Vec<u128>,
    /// Of every key of database 0: elements, encoding, deadline.
    keys: BTreeMap<String, (usize, String, Option<u64>)>,
}

fn seen(store: &Store) -> Seen {
    let engine = store.lock();
    let digests = (0..engine.keyspace.databases()).map(|db| engine.keyspace.db(db).digest()).collect();
    let mut keys = BTreeMap::new();
    engine.keyspace.db(0).scan(0, usize::MAX, &mut |entry| {
        let (len, encoding) = match entry.value {
            Value::String(bytes) => (bytes.len(), "a string"),
            Value::Collection(view) => (view.len(), view.encoding()),
        };
        keys.insert(String::from_utf8_lossy(entry.key).into_owned(), (len, encoding.to_owned(), entry.deadline));
    });
    Seen { digests, keys }
}

/// Keys whose values the newest snapshot holds in more than one part.
fn keys_in_parts(disk: &dyn Disk) -> BTreeSet<u64> {
    let names = disk.list().expect("a list");
    let newest = names.iter().rfind(|entry| entry.name.ends_with(".snap")).expect("a snapshot");
    let reader = SnapshotReader::open(disk, &newest.name, None).expect("a good snapshot");
    let mut parts: BTreeMap<u64, u32> = BTreeMap::new();
    for row in reader.rows().iter().filter(|row| row.info.kind == BlockKind::Part && row.info.db == 0) {
        *parts.entry(row.info.first).or_default() += 1;
    }
    parts.into_iter().filter(|(_, count)| *count > 1).map(|(position, _)| position).collect()
}

#[test]
fn every_type_in_every_form_is_the_same_after_a_reopening_by_log_by_snapshot_and_a_reload() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let sim = SimDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    let open = || Store::open(Arc::clone(&disk), &options(&clock)).unwrap_or_else(|error| panic!("{error}"));
    let same = |store: &Store, before: &Seen, how: &str| {
        let after = seen(store);
        assert_eq!(after.keys, before.keys, "{how}");
        assert_eq!(after.digests, before.digests, "{how}");
    };
    let store = open();
    write_everything(&store);
    let before = seen(&store);
    for (key, encoding) in ENCODINGS {
        assert_eq!(before.keys.get(*key).map(|(_, found, _)| found.as_str()), Some(*encoding), "{key}");
    }
    assert_eq!(before.digests[0], before.digests[3], "the same was written to both");
    assert_eq!(store.reload(), Ok(before.keys.len() as u64 * 2));
    same(&store, &before, "a reload without a snapshot");
    store.close().expect("a clean end");

    let store = open();
    assert!(store.report().snapshot_len == 0, "{:?}", store.report());
    same(&store, &before, "a reopening by the log");
    assert_eq!(store.wait_snapshot(store.request_snapshot()), Ok(()));
    same(&store, &before, "a snapshot is made");
    let seed = store.lock().keyspace.seed();
    let parts = keys_in_parts(&sim);
    for key in ["list:large", "list:huge", "set:large", "zset:large", "hash:large", "stream:large"] {
        assert!(parts.contains(&seed.position(key.as_bytes())), "{key} is in one part");
    }
    assert_eq!(store.reload(), Ok(before.keys.len() as u64 * 2));
    same(&store, &before, "a reload of the snapshot");
    store.close().expect("a clean end");

    let store = open();
    assert!(store.report().snapshot_len > 0, "{:?}", store.report());
    same(&store, &before, "a reopening by the snapshot");
    // And records behind a snapshot change what came from it.
    for text in [
        "LSET list:large 2000 other",
        "SREM set:large a",
        "ZINCRBY zset:large 5 new",
        "HSET hash:large new field",
        "HPERSIST hash:deadlines FIELDS 1 f",
        "XADD stream:large 99999-1 last entry",
        "XREADGROUP GROUP g alice COUNT 9 STREAMS stream:large >",
        "XTRIM stream:large MAXLEN = 3500",
        "PFADD hll:sparse d",
        "LPOP list:huge",
    ] {
        line(&store, 0, text);
    }
    let changed = seen(&store);
    assert_ne!(changed.digests[0], before.digests[0]);
    store.close().expect("a clean end");
    same(&open(), &changed, "a reopening by the snapshot and records behind it");
}

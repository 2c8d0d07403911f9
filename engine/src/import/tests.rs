//! Stores made of files: the data, what is refused, and crashes at every moment.

use super::{Import, ImportError, Importer};
use crate::aof::write::CommandWriter;
use crate::disk::chooser::Chooser;
use crate::disk::sim::{CrashRules, DiskState, Errno, Fault, SimDisk};
use crate::disk::{Disk, sim::Effect};
use crate::keyspace::entry::Stored;
use crate::rdb::{Usage, Writer, writer};
use crate::recovery::OpenError;
use crate::store::{ManualClock, Options, Store};
use crate::value::Kind;
use std::sync::{Arc, Mutex};

const NOW_MS: u64 = 1_700_000_000_000;

/// Files that are read in order: name, bytes, and whether it is an append-only one.
struct Files(Vec<(&'static str, Vec<u8>, bool)>);

impl Import for Files {
    fn run(&self, importer: &mut Importer<'_>) -> Result<Option<String>, ImportError> {
        for (at, (name, bytes, is_log)) in self.0.iter().enumerate() {
            let len = bytes.len() as u64;
            if *is_log {
                importer.aof(name, bytes.as_slice(), len, at + 1 == self.0.len())?;
            } else {
                importer.rdb(name, bytes.as_slice(), len)?;
            }
        }
        Ok(self.0.first().map(|(name, ..)| (*name).to_owned()))
    }
}

fn options(files: Files) -> Options {
    Options {
        threads: false,
        clock: Arc::new(ManualClock::new(NOW_MS)),
        segment_len: 4096,
        reserve_len: 0,
        load_threads: 1,
        entropy: [7; 40],
        import: Some(Arc::new(files)),
        ..Options::default()
    }
}

fn string<'a>(key: &'a [u8], body: &'a [u8], deadline: Option<u64>) -> Stored<'a> {
    Stored { key, kind: Kind::String, body, deadline, access: 0, continues: false, continued: false }
}

fn rdb() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), writer::Options::new(10).unwrap()).unwrap();
    writer.entry(0, &string(b"a", b"1", None), Usage::Idle(100)).unwrap();
    writer.entry(0, &string(b"dead", b"1", Some(NOW_MS)), Usage::Unknown).unwrap();
    writer.entry(0, &string(b"mortal", b"1", Some(NOW_MS + 9)), Usage::Unknown).unwrap();
    let list = Stored { kind: Kind::List, body: b"\x01x\x01y", ..string(b"list", b"", None) };
    writer.entry(2, &list, Usage::Unknown).unwrap();
    writer.finish().unwrap()
}

fn log(commands: &[&str]) -> Vec<u8> {
    let mut writer = CommandWriter::new(Vec::new());
    for command in commands {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        writer.command(0, &words).unwrap();
    }
    writer.finish().unwrap()
}

/// All keys, as `db:key`.
fn keys(store: &Store) -> Vec<String> {
    let engine = store.lock();
    let mut keys = Vec::new();
    for db in 0..engine.keyspace.databases() {
        engine.keyspace.db(db).for_each(&mut |entry| keys.push(format!("{db}:{}", entry.key.escape_ascii())));
    }
    keys.sort();
    keys
}

fn open(disk: &SimDisk, files: Files) -> Result<Store, OpenError> {
    Store::open(Arc::new(disk.clone()), &options(files))
}

fn refusal(files: Files) -> String {
    let disk = SimDisk::new();
    let error = open(&disk, files).err().expect("refused").to_string();
    let left: Vec<String> = disk.list().unwrap().into_iter().map(|entry| entry.name).collect();
    assert!(left.iter().all(|name| !name.ends_with(".snap") && name != "STORE"), "{error}: {left:?}");
    error
}

#[test]
fn a_store_of_an_rdb_file_is_one_as_any_other() {
    let disk = SimDisk::new();
    let store = open(&disk, Files(vec![("dump.rdb", rdb(), false)])).unwrap();
    let report = store.report().clone();
    let imported = report.imported.unwrap();
    assert_eq!((imported.keys, imported.expired, imported.commands, imported.warnings), (3, 1, 0, vec![]));
    assert!(report.created && report.snapshot_lsn == 1);
    assert_eq!(keys(&store), ["0:a", "0:mortal", "2:list"]);
    {
        let engine = store.lock();
        let key = engine.keyspace.seed().key(b"a");
        let idle = crate::command::object::idle_seconds(&engine.keyspace.db(0).get(key).unwrap(), NOW_MS);
        assert_eq!(idle, 100);
        assert_eq!(engine.effects.last(), 1);
    }
    store.close().unwrap();
    // Not looked at again, whatever is there now.
    let store = open(&disk, Files(vec![("dump.rdb", b"rubbish".to_vec(), false)])).unwrap();
    assert!(store.report().imported.is_none() && !store.report().created);
    assert_eq!(keys(&store), ["0:a", "0:mortal", "2:list"]);
}

#[test]
fn nothing_found_is_a_new_store() {
    let store = open(&SimDisk::new(), Files(vec![])).unwrap();
    assert!(store.report().created && store.report().imported.is_none());
    assert_eq!(keys(&store), [""; 0]);
}

#[test]
fn commands_follow_the_rdb_in_front_of_them_and_the_parts_before() {
    let base = [rdb(), log(&["DEL a", "PERSIST dead"])].concat();
    let increment = log(&["SELECT 2", "RPUSH list z", "XADD new 1-1 f v", "XGROUP CREATE new g 0", "PING"]);
    let store = open(&SimDisk::new(), Files(vec![("base", base, true), ("incr", increment, true)])).unwrap();
    // A key that was dead by its time counts in front of commands: one of them saved it.
    assert_eq!(keys(&store), ["0:dead", "0:mortal", "2:list", "2:new"]);
    let engine = store.lock();
    let list = engine.keyspace.db(2).get(engine.keyspace.seed().key(b"list")).unwrap().value;
    let crate::keyspace::Value::Collection(view) = list else { panic!("a list") };
    assert_eq!(view.len(), 3);
}

#[test]
fn the_last_file_may_end_early_and_half_a_transaction_does_not_happen() {
    let whole = log(&["SET a 1", "MULTI", "SET b 1", "EXEC"]);
    for cut in 0..whole.len() {
        let store = open(&SimDisk::new(), Files(vec![("aof", whole[..cut].to_vec(), true)])).unwrap();
        let first = log(&["SET a 1"]).len();
        assert_eq!(keys(&store).len(), usize::from(cut >= first), "cut at {cut}");
    }
    let error = refusal(Files(vec![("one", whole[..whole.len() - 1].to_vec(), true), ("two", log(&[]), true)]));
    assert!(error.contains("one is damaged: the file ends inside") && error.contains("firn repair"), "{error}");
}

#[test]
fn what_is_damaged_or_foreign_refuses_the_start() {
    let mut bad = rdb();
    let at = bad.len() - 3;
    bad[at] ^= 1;
    let error = refusal(Files(vec![("dump.rdb", bad, false)]));
    assert!(
        error.contains("dump.rdb") && error.contains("the checksum is") && error.contains("firn repair"),
        "{error}"
    );
    for (command, expected) in [
        ("EVAL x 0", "'EVAL' is no command on data"),
        ("CONFIG SET dir /", "'CONFIG' is no command on data"),
        ("GET k", "'GET' is no command on data"),
        ("NOSUCH", "'NOSUCH' is no command on data"),
        ("SET k", "'SET' with 2 words"),
        ("SELECT 99", "`databases` is 16, raise it"),
    ] {
        let error = refusal(Files(vec![("a.aof", log(&["SET k v", command]), true)]));
        assert!(error.contains("a.aof, byte 50: ") && error.contains(expected), "{error}");
    }
    let mut writer = Writer::new(Vec::new(), writer::Options::new(10).unwrap()).unwrap();
    writer.entry(99, &string(b"k", b"v", None), Usage::Unknown).unwrap();
    let error = refusal(Files(vec![("dump.rdb", writer.finish().unwrap(), false)]));
    assert!(error.contains("database 99 is in use, but `databases` is 16: raise it to 100"), "{error}");
    let mut writer = Writer::new(Vec::new(), writer::Options::new(10).unwrap()).unwrap();
    for _ in 0..2 {
        writer.entry(0, &string(b"k", b"v", None), Usage::Unknown).unwrap();
    }
    let error = refusal(Files(vec![("dump.rdb", writer.finish().unwrap(), false)]));
    assert!(error.contains("key \"k\" occurs twice"), "{error}");
}

#[test]
fn what_cannot_be_taken_over_is_said() {
    let mut writer = Writer::new(Vec::new(), writer::Options::new(10).unwrap()).unwrap();
    writer.function(b"no first line").unwrap();
    let mut files = Files(vec![("dump.rdb", writer.finish().unwrap(), false)]);
    files.0.push(("aof", log(&["SET s x", "LPUSH s y", "FUNCTION LOAD x", "PUBLISH c m"]), true));
    let store = open(&SimDisk::new(), files).unwrap();
    let warnings = store.report().imported.clone().unwrap().warnings.join("\n");
    for expected in
        ["\"no first line\" is NOT imported", "'LPUSH' answered an error: WRONGTYPE", "\"x\" is NOT imported: Missing"]
    {
        assert!(warnings.contains(expected), "{warnings}");
    }
    assert_eq!(keys(&store), ["0:s"]);
}

#[test]
fn libraries_of_functions_come_with_the_data_and_stay() {
    let library = |name: &str| format!("#!lua name={name}\nredis.register_function('{name}_f', function() end)");
    let mut writer = Writer::new(Vec::new(), writer::Options::new(10).unwrap()).unwrap();
    for name in ["first", "second", "third"] {
        writer.function(library(name).as_bytes()).unwrap();
    }
    let rdb = writer.finish().unwrap();
    let payload = crate::rdb::functions::encode([library("fourth").as_bytes(), library("first").as_bytes()]);
    let mut commands = Vec::new();
    let mut push = |words: &[&[u8]]| {
        commands.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            commands.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            commands.extend_from_slice(word);
            commands.extend_from_slice(b"\r\n");
        }
    };
    push(&[b"FUNCTION", b"DELETE", b"second"]);
    push(&[b"function", b"load", b"replace", b"#!lua name=third\n-- newer"]);
    push(&[b"FUNCTION", b"RESTORE", &payload, b"REPLACE"]);
    let files = || Files(vec![("base", [rdb.clone(), commands.clone()].concat(), true)]);
    let disk = SimDisk::new();
    let store = open(&disk, files()).unwrap();
    let report = store.report().imported.clone().unwrap();
    assert_eq!((report.libraries, &report.warnings[..]), (6, &[][..]));
    let names = |store: &Store| -> Vec<String> {
        let engine = store.lock();
        engine.keyspace.libraries.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect()
    };
    assert_eq!(names(&store), ["first", "fourth", "third"]);
    drop(store);
    let store = open(&disk, files()).unwrap();
    assert!(store.report().imported.is_none(), "the store is there now");
    assert_eq!(names(&store), ["first", "fourth", "third"]);
    assert_eq!(&store.lock().keyspace.libraries.get(b"third").unwrap()[..], b"#!lua name=third\n-- newer");
    // FLUSH, in both its forms.
    for flush in [&["FUNCTION FLUSH"][..], &["FUNCTION FLUSH ASYNC"]] {
        let files = Files(vec![("base", [rdb.clone(), log(flush)].concat(), true)]);
        assert_eq!(names(&open(&SimDisk::new(), files).unwrap()), [""; 0]);
    }
}

fn many() -> Files {
    Files(vec![("base", [rdb(), log(&["MSET k1 1 k2 2", "RPUSH l a b c"])].concat(), true)])
}

#[test]
fn a_crash_at_any_call_leaves_nothing_or_everything() {
    let disk = SimDisk::new();
    let states: Arc<Mutex<Vec<DiskState>>> = Arc::default();
    let seen = Arc::clone(&states);
    disk.observe(move |call, state| {
        if call.kind.changes() {
            seen.lock().unwrap().push(state.clone());
        }
    });
    let store = open(&disk, many()).unwrap();
    let expected = keys(&store);
    assert_eq!(expected.len(), 7);
    disk.unobserve();
    drop(store);
    let states = std::mem::take(&mut *states.lock().unwrap());
    assert!(states.len() > 8, "{} calls are too few to prove anything", states.len());
    let rules = CrashRules { small_write_len: 16, scatter: true, garbage: true };
    let (mut again, mut kept) = (0, 0);
    for (at, state) in states.iter().enumerate() {
        for seed in 0..20 {
            let mut chooser = Chooser::seeded(at as u64 * 100 + seed);
            let crashed = SimDisk::from_state(state.crash(&mut chooser, &rules));
            // With the files still there the next start has everything, whichever way.
            let store = open(&crashed, many()).unwrap_or_else(|error| panic!("call {at}, seed {seed}: {error}"));
            assert_eq!(keys(&store), expected, "call {at}, seed {seed}");
            if store.report().imported.is_some() { again += 1 } else { kept += 1 }
        }
    }
    assert!(again > 0 && kept > 0, "{again} imports were begun anew, {kept} were whole");
}

#[test]
fn any_failing_call_is_an_error_and_the_next_start_has_everything() {
    let calls = {
        let disk = SimDisk::new();
        drop(open(&disk, many()).unwrap());
        disk.calls()
    };
    for call in 1..=calls {
        let disk = SimDisk::new();
        disk.set_faults([Fault::nth(call, Effect::Error(Errno::IO))]);
        let _ = open(&disk, many());
        disk.set_faults([]);
        let store = open(&disk, many()).unwrap_or_else(|error| panic!("call {call}: {error}"));
        assert_eq!(keys(&store).len(), 7, "call {call}");
    }
}

//! `firn` on files that were changed at random, in an address space and a time that are limited: it ends with one of its exit codes, whatever it is
//! given, and never with a panic, a signal or for want of memory.

mod common;

use common::{BEGIN_MS, Numbers, files, firn, options, random_command, run, shown};
use firn_engine::store::{ManualClock, Store};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Kilobytes of address space: the program itself, its threads, buffers and tables of fixed size. The files are some tens of kilobytes long.
const ADDRESS_SPACE_KB: u32 = 400_000;
/// Seconds of processor time.
const SECONDS: u32 = 20;

/// Changed files of each kind, times commands.
fn rounds() -> u64 {
    std::env::var("FIRN_TOOLS_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

fn limited(args: &[&str], what: &str) {
    let limits = format!("ulimit -v {ADDRESS_SPACE_KB}; ulimit -t {SECONDS}; ulimit -c 0; exec \"$0\" \"$@\"");
    let output =
        Command::new("sh").args(["-c", &limits, env!("CARGO_BIN_EXE_firn")]).args(args).output().expect("sh runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0..=4)), "{what}: {args:?}: {:?} {told}", output.status);
    assert!(!told.contains("panicked"), "{what}: {args:?}: {told}");
}

/// One file of each kind, of the same data.
fn corpus(at: &Path) -> Vec<PathBuf> {
    let clock = Arc::new(ManualClock::new(BEGIN_MS));
    let store = Store::open_folder(&at.join("store"), &options(&clock)).expect("a new store");
    let mut numbers = Numbers(3);
    for _ in 0..400 {
        let (db, words) = random_command(&mut numbers, 40);
        run(&store, db, &words.iter().map(Vec::as_slice).collect::<Vec<_>>());
        store.commit();
    }
    let ticket = store.request_snapshot();
    while store.step() {}
    store.wait_snapshot(ticket).expect("a snapshot");
    store.close().expect("a clean end");
    let mut all = files(&at.join("store"), ".snap");
    all.extend(files(&at.join("store"), ".seg"));
    for (name, more) in [
        ("all.rdb", "12"),
        ("old.rdb", "80"),
        ("all.aof", "10"),
        ("all.jsonl", "10"),
        ("all.csv", "10"),
        ("all.parquet", "10"),
    ] {
        let made = at.join(name);
        firn(&["convert", shown(&at.join("store")), shown(&made), "--rdb-version", more]).ended(0);
        all.push(made);
    }
    let mixed = at.join("mixed.aof");
    let both =
        [fs::read(at.join("all.rdb")).expect("readable"), fs::read(at.join("all.aof")).expect("readable")].concat();
    fs::write(&mixed, both).expect("written");
    all.push(mixed);
    all
}

fn change(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
    for _ in 0..1 + numbers.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = numbers.below(bytes.len() as u64) as usize;
        match numbers.below(6) {
            0 => bytes[at] = numbers.below(256) as u8,
            1 => bytes[at] ^= 1 << numbers.below(8),
            2 => bytes.insert(at, numbers.below(256) as u8),
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..(at + numbers.below(40) as usize).min(bytes.len()))),
            _ => {
                let from = numbers.below(bytes.len() as u64) as usize;
                let piece = bytes[from..(from + 100).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

#[test]
fn changed_files_of_every_kind_end_in_an_answer_or_an_error() {
    let at = tempfile::tempdir().expect("a folder");
    let mut numbers = Numbers(5);
    for file in corpus(at.path()) {
        let whole = fs::read(&file).expect("readable");
        for round in 0..rounds() {
            let mut bytes = whole.clone();
            change(&mut bytes, &mut numbers);
            let folder = at.path().join("changed");
            fs::create_dir(&folder).expect("a folder");
            // A segment or snapshot is told by its name too.
            let changed = folder.join(file.file_name().expect("a name"));
            fs::write(&changed, &bytes).expect("written");
            let (path, what) = (shown(&changed), format!("{} round {round}", file.display()));
            let made = folder.join("made");
            limited(&["check", path], &what);
            match numbers.below(6) {
                0 => limited(&["inspect", path, "--keys", "--json"], &what),
                1 => limited(&["inspect", path, "--records"], &what),
                2 => limited(&["stats", path], &what),
                3 => limited(&["get", path, "s:1", "x:1"], &what),
                4 => limited(&["history", path, "s:1"], &what),
                _ => limited(&["convert", path, shown(&made)], &what),
            }
            if shown(&changed).ends_with(".rdb") || shown(&changed).ends_with(".aof") {
                limited(&["repair", path, "-o", shown(&folder.join("mended.jsonl"))], &what);
            }
            fs::remove_dir_all(&folder).expect("removed");
        }
    }
}

#[test]
fn what_announces_much_and_brings_little_takes_no_memory() {
    let at = tempfile::tempdir().expect("a folder");
    let cases: [(&str, Vec<u8>); 9] = [
        ("a.aof", b"*2147483647\r\n$3\r\nSET\r\n".to_vec()),
        ("b.aof", b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1073741824\r\nabc".to_vec()),
        ("c.aof", b"*1\r\n$4\r\nPING\r\n".repeat(3)),
        ("a.rdb", b"REDIS0011\x00\x01k\x80\x7f\xff\xff\xff".to_vec()),
        ("b.rdb", b"REDIS0011\x01\x01k\x81\x7f\xff\xff\xff\xff\xff\xff\xff\x01a".to_vec()),
        ("c.rdb", b"REDIS0011\x00\x01k\xc3\x05\x80\x7f\xff\xff\xffabcde".to_vec()),
        (
            "a.parquet",
            [
                &b"PAR1"[..],
                &[0x15, 0, 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f],
                b"firn memory_bytes",
                &[17, 0, 0, 0],
                b"PAR1",
            ]
            .concat(),
        ),
        ("a.csv", b"db,key,type,expires_ms,elements,memory_bytes,value\r\n99999999999,k,list,,,,[[[[".to_vec()),
        ("a.jsonl", format!("{{\"key\":\"k\",\"type\":\"list\",\"value\":{}", "[".repeat(100_000)).into_bytes()),
    ];
    for (name, bytes) in cases {
        let path = at.path().join(name);
        fs::write(&path, bytes).expect("written");
        limited(&["check", shown(&path)], name);
        limited(&["convert", shown(&path), shown(&at.path().join(format!("{name}.made.rdb")))], name);
    }
}

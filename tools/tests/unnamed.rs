//! Damage at random places of every kind of file, and what `firn repair` says of it: each key that is missing from the copy, or has another value there, is
//! named, or the report says that not all names are known; no key is there that never was; the exit code says whether something was lost.
//!
//! What nothing can tell is left out of it: append-only files have no checksums, so that bytes changed within a word, whole commands that were cut out, and
//! ends that were cut off leave a file that reads as well as any.

mod common;

use common::{BEGIN_MS, Numbers, files, firn, options, run, shown};
use firn_engine::store::{ManualClock, Store};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const KEYS: usize = 300;

/// Damages of each kind of file.
fn rounds() -> usize {
    std::env::var("FIRN_TOOLS_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(40)
}

type Content = BTreeMap<String, Value>;

/// What a dataset holds.
fn content(path: &Path) -> Content {
    let lines = firn(&["convert", shown(path), "-", "--format", "jsonl"]).ended(0).lines();
    lines.iter().map(|line| (line["key"].to_string(), line["value"].clone())).collect()
}

/// How bytes are damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Flip,
    Cut,
    Insert,
    Zero,
}

const KINDS: [Kind; 4] = [Kind::Flip, Kind::Cut, Kind::Insert, Kind::Zero];

/// Damages bytes at a random place; says where, and how many.
fn damage(bytes: &mut Vec<u8>, kind: Kind, numbers: &mut Numbers) -> (usize, usize) {
    let at = numbers.below(bytes.len() as u64 - 1) as usize;
    let most = [3, 16, 100, 600][numbers.below(4) as usize];
    let len = 1 + numbers.below(most) as usize;
    let end = (at + len).min(bytes.len());
    match kind {
        Kind::Flip => bytes[at] ^= 1 + numbers.below(255) as u8,
        Kind::Cut => drop(bytes.drain(at..end)),
        Kind::Insert => {
            let garbage: Vec<u8> = (0..len).map(|_| numbers.below(256) as u8).collect();
            bytes.splice(at..at, garbage);
        }
        Kind::Zero => bytes[at..end].fill(0),
    }
    (at, end)
}

/// How often a report claimed to name all that is lost, was lossy at all, and lost nothing.
#[derive(Default, Debug)]
struct Tally {
    lossy: usize,
    complete: usize,
    fine: usize,
}

/// Judges one repair.
fn judge(whole: &Content, left: &Content, report: &Value, code: i32, what: &str, tally: &mut Tally) {
    let wrong: BTreeSet<&String> =
        whole.iter().filter(|(key, value)| left.get(*key) != Some(value)).map(|(key, _)| key).collect();
    let never: Vec<&String> = left.keys().filter(|key| !whole.contains_key(*key)).collect();
    let named: BTreeSet<String> =
        report["lost_keys"].as_array().expect("a list").iter().map(Value::to_string).collect();
    let (complete, unnamed) =
        (report["names_complete"].as_bool().expect("a boolean"), report["unnamed_keys"].as_u64().expect("a number"));
    assert!(complete || code == 1, "{what}: it says that keys may be lost, and that nothing was: {report}");
    assert!(unnamed == 0 || !complete, "{what}: {report}");
    match code {
        0 => assert!(
            wrong.is_empty() && never.is_empty(),
            "{what}: said to be whole, but {wrong:?}, {never:?}: {report}"
        ),
        1 => assert!(!report["left_out"].as_array().expect("a list").is_empty(), "{what}: {report}"),
        _ => panic!("{what}: ended with {code}"),
    }
    if complete {
        let unnamed: Vec<_> = wrong.iter().filter(|key| !named.contains(**key)).collect();
        assert!(
            unnamed.is_empty() && never.is_empty(),
            "{what}: {unnamed:?} lost, {never:?} new, and not named: {report}"
        );
    } else {
        // What is there under a name that never was is beside damage that was told.
        assert!(never.len() <= 2 && !never.iter().any(|key| key.as_str() == "\"\""), "{what}: {never:?}: {report}");
    }
    tally.lossy += usize::from(code == 1);
    tally.complete += usize::from(code == 1 && complete);
    tally.fine += usize::from(code == 0);
}

/// Repairs `damaged` into another file and judges that.
fn repaired(at: &Path, damaged: &Path, ending: &str, whole: &Content, what: &str, tally: &mut Tally) {
    let (made, aside) = (at.join(format!("made{ending}")), at.join("aside"));
    for old in [&made, &aside] {
        let _ = fs::remove_dir_all(old);
        let _ = fs::remove_file(old);
    }
    let run = firn(&["repair", shown(damaged), "-o", shown(&made), "--set-aside", shown(&aside), "--json"]);
    // Of a file whose beginning is lost nothing may be left that could be copied: that is said too.
    if run.out.is_empty() {
        assert!(run.code == 1 && !run.err.is_empty(), "{what}: {} {}", run.code, run.err);
        return;
    }
    firn(&["check", shown(&made)]).ended(0);
    // What was at the end of an append-only file, and is zeros or half a command now, was perhaps never written: the report says so.
    if run.code == 0 && (run.out.contains("zero bytes up to the end") || run.out.contains("torn tail")) {
        return;
    }
    judge(whole, &content(&made), &run.json(), run.code, what, tally);
}

/// Strings and small hashes, so that entries are of different lengths and forms.
fn corpus(folder: &Path) -> PathBuf {
    let lines = folder.join("all.jsonl");
    let line = |n: usize| match n % 3 {
        0 => format!(r#"{{"key":"key:{n}","type":"hash","value":{{"name":"value of {n}","other":"{}"}}}}"#, n * 31),
        1 => format!(r#"{{"key":"key:{n}","type":"string","value":"value {n}, {}"}}"#, "long ".repeat(n % 40)),
        _ => format!(r#"{{"key":"key:{n}","type":"string","value":"value {n} of all, {}"}}"#, n * 7919),
    };
    fs::write(&lines, (0..KEYS).map(line).collect::<Vec<_>>().join("\n")).expect("written");
    lines
}

#[test]
fn rdb_files() {
    let at = tempfile::tempdir().expect("a folder");
    let (lines, rdb) = (corpus(at.path()), at.path().join("all.rdb"));
    firn(&["convert", shown(&lines), shown(&rdb)]).ended(0);
    let (whole, bytes) = (content(&rdb), fs::read(&rdb).expect("readable"));
    let (mut numbers, mut tally) = (Numbers(11), Tally::default());
    for round in 0..rounds() * 2 {
        let (kind, mut damaged) = (KINDS[round % 4], bytes.clone());
        let place = damage(&mut damaged, kind, &mut numbers);
        let file = at.path().join("damaged.rdb");
        fs::write(&file, &damaged).expect("written");
        let what = format!("round {round}, {kind:?} {place:?} of an RDB file");
        if damaged != bytes {
            firn(&["check", shown(&file)]).ended(1);
        }
        repaired(at.path(), &file, ".rdb", &whole, &what, &mut tally);
    }
    // A byte that was changed is put right by the checksum.
    assert!(tally.fine >= rounds() / 2, "{tally:?}");
}

#[test]
fn append_only_files_and_folders() {
    let at = tempfile::tempdir().expect("a folder");
    let (lines, aof, folder) = (corpus(at.path()), at.path().join("all.aof"), at.path().join("folder"));
    firn(&["convert", shown(&lines), shown(&aof)]).ended(0);
    let (rdb, parts) = (at.path().join("base.rdb"), at.path().join("damaged-folder"));
    firn(&["convert", shown(&lines), shown(&rdb)]).ended(0);
    let bytes = fs::read(&aof).expect("readable");
    // A base of all keys, and increments that set half of them again, and more.
    fs::create_dir(&folder).expect("a folder");
    fs::copy(&rdb, folder.join("appendonly.aof.1.base.rdb")).expect("copied");
    let command = |n: usize| {
        let (key, value) = (format!("key:{n}"), format!("new value {n} {}", "x".repeat(n % 50)));
        format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n{value}\r\n", key.len(), value.len())
    };
    let increment = |from: usize, to: usize| (from..to).map(command).collect::<String>();
    fs::write(folder.join("appendonly.aof.1.incr.aof"), increment(KEYS / 2, KEYS)).expect("written");
    fs::write(folder.join("appendonly.aof.2.incr.aof"), increment(KEYS, KEYS + 50)).expect("written");
    let manifest = "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n\
                    file appendonly.aof.2.incr.aof seq 2 type i\n";
    fs::write(folder.join("appendonly.aof.manifest"), manifest).expect("written");
    let (whole, of_folder) = (content(&aof), content(&folder));
    assert_eq!(of_folder.len(), KEYS + 50);
    let (mut numbers, mut tally, mut of_parts) = (Numbers(12), Tally::default(), Tally::default());
    for round in 0..rounds() * 2 {
        let (kind, mut damaged) = (KINDS[round % 4], bytes.clone());
        let place = damage(&mut damaged, kind, &mut numbers);
        let file = at.path().join("damaged.aof");
        fs::write(&file, &damaged).expect("written");
        let what = format!("round {round}, {kind:?} {place:?} of an append-only file");
        let told = firn(&["check", shown(&file)]);
        if told.code != 0 {
            repaired(at.path(), &file, ".aof", &whole, &what, &mut tally);
        } else {
            assert!(told.out.contains("No damage found"), "{what}: {}", told.out);
        }
    }
    // A sign that was changed in place is explained by one command, whose key is all that is lost.
    assert!(tally.complete > 0, "{tally:?}");
    for round in 0..rounds() * 2 {
        let _ = fs::remove_dir_all(&parts);
        fs::create_dir(&parts).expect("a folder");
        for file in files(&folder, "") {
            fs::copy(&file, parts.join(file.file_name().expect("a name"))).expect("copied");
        }
        let all = files(&parts, "");
        let file = &all[numbers.below(all.len() as u64) as usize];
        let (kind, mut damaged) = (KINDS[round % 4], fs::read(file).expect("readable"));
        let place = damage(&mut damaged, kind, &mut numbers);
        fs::write(file, &damaged).expect("written");
        let what = format!("round {round}, {kind:?} {place:?} of {}", file.display());
        let told = firn(&["check", shown(&parts)]);
        if told.code != 0 {
            repaired(at.path(), &parts, ".rdb", &of_folder, &what, &mut of_parts);
        } else {
            assert!(
                !shown(file).ends_with(".rdb") || damaged == fs::read(&rdb).expect("readable"),
                "{what}: {}",
                told.out
            );
        }
    }
    println!("{tally:?} {of_parts:?}");
}

/// A store of all keys: with `many`, in many blocks of a snapshot.
fn store(folder: &Path) {
    let clock = Arc::new(ManualClock::new(BEGIN_MS));
    let store = Store::open_folder(folder, &options(&clock)).expect("a new store");
    for number in 0..KEYS * 10 {
        let value = format!("value {number} {}", "v".repeat(number % 60));
        run(&store, 0, &[b"SET", format!("key:{number}").as_bytes(), value.as_bytes()]);
        store.commit();
    }
    store.close().expect("a clean end");
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).expect("a new folder");
    for file in files(from, "") {
        fs::copy(&file, to.join(file.file_name().expect("a name"))).expect("copied");
    }
}

#[test]
fn snapshots() {
    let at = tempfile::tempdir().expect("a folder");
    let (first, whole, damaged) = (at.path().join("first"), at.path().join("whole"), at.path().join("damaged"));
    store(&first);
    firn(&["compact", shown(&first), "-o", shown(&whole)]).ended(0);
    let known = content(&whole);
    let (mut numbers, mut tally) = (Numbers(13), Tally::default());
    for round in 0..rounds() {
        copy(&whole, &damaged);
        let file = files(&damaged, ".snap").pop().expect("a snapshot");
        let (kind, mut bytes) = (KINDS[round % 4], fs::read(&file).expect("readable"));
        let place = damage(&mut bytes, kind, &mut numbers);
        fs::write(&file, &bytes).expect("written");
        let what = format!("round {round}, {kind:?} {place:?} of a snapshot");
        repaired(at.path(), &damaged, "", &known, &what, &mut tally);
    }
    assert!(tally.fine >= rounds() / 4, "{tally:?}");
}

#[test]
fn segments() {
    let at = tempfile::tempdir().expect("a folder");
    let (whole, damaged) = (at.path().join("whole"), at.path().join("damaged"));
    store(&whole);
    let known = content(&whole);
    let all = files(&whole, ".seg");
    let (mut numbers, mut tally) = (Numbers(14), Tally::default());
    for round in 0..rounds() {
        copy(&whole, &damaged);
        // Of the newest one the end was promised to nobody.
        let at_segment = numbers.below(all.len() as u64 - 1) as usize;
        let file = &files(&damaged, ".seg")[at_segment];
        let (kind, mut bytes) = (KINDS[round % 4], fs::read(file).expect("readable"));
        let place = damage(&mut bytes, kind, &mut numbers);
        fs::write(file, &bytes).expect("written");
        let what = format!("round {round}, {kind:?} {place:?} of segment {at_segment} of {}", all.len());
        repaired(at.path(), &damaged, "", &known, &what, &mut tally);
    }
    assert!(tally.fine >= rounds() / 4 && tally.complete > 0, "{tally:?}");
}

//! What `firn check` and `firn repair` say of certain damages: what is named, what is kept, and how they end.

mod common;

use common::{BEGIN_MS, files, firn, options, run, shown};
use firn_engine::store::{ManualClock, Store};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

const KEYS: usize = 1000;

/// A thousand keys as RDB and as an append-only file.
fn thousand(folder: &Path) -> [PathBuf; 2] {
    let lines = folder.join("all.jsonl");
    let line =
        |n: usize| format!(r#"{{"key":"key:{n}","type":"string","value":"value {n} of the thousand, {}"}}"#, n * 7919);
    fs::write(&lines, (0..KEYS).map(line).collect::<Vec<_>>().join("\n")).expect("written");
    ["all.rdb", "all.aof"].map(|name| {
        let made = folder.join(name);
        firn(&["convert", shown(&lines), shown(&made)]).ended(0);
        made
    })
}

/// Where some bytes stand.
fn place(bytes: &[u8], what: &str) -> usize {
    bytes.windows(what.len()).position(|window| window == what.as_bytes()).expect("it is there")
}

/// Keys of a file.
fn keys(path: &Path) -> Vec<String> {
    let lines = firn(&["convert", shown(path), "-", "--format", "jsonl"]).ended(0).lines();
    lines.iter().map(|line| line["key"].as_str().map_or_else(|| line["key"].to_string(), str::to_owned)).collect()
}

fn names(list: &Value) -> Vec<String> {
    list.as_array().expect("a list").iter().filter_map(|it| it.as_str().map(str::to_owned)).collect()
}

/// Repairs a file; gives the copy, the report and the code.
fn repaired(at: &Path, name: &str, bytes: &[u8]) -> (PathBuf, Value, i32) {
    let (file, made) = (at.join(name), at.join(format!("made-{name}")));
    for old in [at.join(format!("made-{name}-set-aside")), made.clone()] {
        let _ = fs::remove_dir_all(&old);
        let _ = fs::remove_file(&old);
    }
    fs::write(&file, bytes).expect("written");
    let run = firn(&["repair", shown(&file), "-o", shown(&made), "--json"]);
    (made, run.json(), run.code)
}

#[test]
fn bytes_that_were_cut_out_of_a_value_cost_its_command_and_not_the_next() {
    let at = tempfile::tempdir().expect("a folder");
    let [_, aof] = thousand(at.path());
    let bytes = fs::read(&aof).expect("readable");
    for count in 1..30 {
        let mut damaged = bytes.clone();
        let from = place(&bytes, "value 500");
        damaged.drain(from..from + count);
        let (made, report, code) = repaired(at.path(), "cut.aof", &damaged);
        let left = keys(&made);
        assert_eq!((left.len(), code), (KEYS - 1, 1), "{count}: {report}");
        assert!(!left.contains(&"key:500".to_owned()), "{count}");
        assert_eq!(names(&report["lost_keys"]), ["key:500"], "{count}: {report}");
        // Whole commands may have been cut out with them.
        assert_eq!(report["names_complete"], false, "{count}: {report}");
    }
    // Two commands whose beginnings are gone: their keys cannot be known.
    let mut damaged = bytes.clone();
    let (from, to) = (place(&bytes, "key:300") + 2, place(&bytes, "key:303") - 20);
    damaged[from..to].fill(b'#');
    let (_, report, code) = repaired(at.path(), "filled.aof", &damaged);
    assert_eq!(code, 1);
    assert!(report["unnamed_keys"].as_u64() >= Some(2) && report["names_complete"] == false, "{report}");
    let text =
        firn(&["repair", shown(&at.path().join("filled.aof")), "-o", shown(&at.path().join("text.aof"))]).ended(1);
    assert!(text.out.contains("nothing that can be read tells their names"), "{}", text.out);
    // Commands within a value are none.
    let inner = "*3\r\n$3\r\nSET\r\n$5\r\ninner\r\n$1\r\nx\r\n".repeat(3);
    let outer = |n: usize, value: &str| {
        let key = format!("outer:{n}");
        format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n{value}\r\n", key.len(), value.len())
    };
    let whole: String = (0..9).map(|n| outer(n, if n == 4 { &inner } else { "plain" })).collect();
    let at_inner = place(whole.as_bytes(), &inner);
    for (offset, byte) in [(-4, b'7'), (-5, b'9'), (-2, b'x'), (-6, b'x')] {
        let mut damaged = whole.clone().into_bytes();
        damaged[(at_inner as isize + offset) as usize] = byte;
        let (made, report, code) = repaired(at.path(), "inner.aof", &damaged);
        let left = keys(&made);
        assert!(!left.contains(&"inner".to_owned()) && left.len() == 8 && code == 1, "{offset}: {left:?} {report}");
        assert!(names(&report["lost_keys"]).contains(&"outer:4".to_owned()), "{offset}: {report}");
    }
}

#[test]
fn a_length_that_reaches_beyond_the_end_is_no_torn_tail() {
    let at = tempfile::tempdir().expect("a folder");
    let set = |n: usize, value: &str| format!("*3\r\n$3\r\nSET\r\n$2\r\nk{n}\r\n${}\r\n{value}\r\n", value.len());
    let whole: String = (0..9).map(|n| set(n, &"v".repeat(120 + n))).collect();
    let damaged = whole.replacen("$125\r\n", "$925\r\n", 1);
    let (made, report, code) = repaired(at.path(), "long.aof", damaged.as_bytes());
    assert_eq!((keys(&made).len(), code), (8, 1), "{report}");
    assert_eq!(names(&report["lost_keys"]), ["k5"], "{report}");
    // A real one.
    let cut = &whole.as_bytes()[..whole.len() - 40];
    let (made, report, code) = repaired(at.path(), "torn.aof", cut);
    assert_eq!((keys(&made).len(), code, names(&report["lost_keys"])), (8, 0, vec!["k8".to_owned()]), "{report}");
    let told = firn(&["check", shown(&at.path().join("torn.aof"))]).ended(0);
    for part in ["torn tail", "SET with key k8", "aof-load-truncated", "No damage found, but a torn tail"] {
        assert!(told.out.contains(part), "{part}: {}", told.out);
    }
    // The end of a transaction that cannot be read does not take what comes behind it along.
    let transaction = ["*1\r\n$5\r\nMULTI\r\n", &set(0, "a"), "*1\r\n$4\r\nEXEB\r\n"].concat();
    let (made, report, code) = repaired(at.path(), "exec.aof", [&transaction, whole.as_str()].concat().as_bytes());
    assert_eq!((keys(&made).len(), code), (9, 1), "{report}");
}

#[test]
fn damage_counts_more_than_what_cannot_be_read_and_odd_commands_are_told_alike() {
    let at = tempfile::tempdir().expect("a folder");
    let set = |n: usize| format!("*3\r\n$3\r\nSET\r\n$2\r\nk{n}\r\n$1\r\nv\r\n");
    let all: String = (0..6).map(set).collect();
    let unknown = all.replacen("SET\r\n$2\r\nk2", "SEX\r\n$2\r\nk2", 1);
    let both = unknown.replacen("$2\r\nk4\r\n", "$2\r\nk4??", 1);
    let read = all.replacen("SET\r\n$2\r\nk2", "GET\r\n$2\r\nk2", 1);
    for (name, text, code) in [("unknown", &unknown, 3), ("both", &both, 1), ("read", &read, 1)] {
        let file = at.path().join(format!("{name}.aof"));
        fs::write(&file, text).expect("written");
        firn(&["check", shown(&file)]).ended(code);
        firn(&["convert", shown(&file), shown(&at.path().join(format!("{name}.rdb")))]).ended(code);
        firn(&["inspect", shown(&file)]).ended(code);
        let (made, report, code) = repaired(at.path(), &format!("{name}.aof"), text.as_bytes());
        assert_eq!((keys(&made).len() + names(&report["lost_keys"]).len(), code), (6, 1), "{name}: {report}");
        assert!(names(&report["lost_keys"]).contains(&"k2".to_owned()), "{name}: {report}");
    }
}

/// A folder of several append-only files.
fn parts(at: &Path, name: &str) -> PathBuf {
    let folder = at.join(name);
    firn(&["convert", shown(&at.join("all.rdb")), shown(&folder), "--format", "aof-dir"]);
    if !folder.is_dir() {
        firn(&["convert", shown(&at.join("all.rdb")), shown(&folder)]).ended(0);
    }
    let set = |n: usize| format!("*3\r\n$3\r\nSET\r\n$5\r\nnew:{n}\r\n$1\r\nv\r\n");
    fs::write(folder.join("appendonly.aof.1.incr.aof"), (0..3).map(set).collect::<String>()).expect("written");
    folder
}

#[test]
fn a_damaged_list_of_files_is_made_again_from_their_names() {
    let at = tempfile::tempdir().expect("a folder");
    thousand(at.path());
    let whole = parts(at.path(), "appendonlydir");
    firn(&["check", shown(&whole)]).ended(0);
    let list = fs::read_to_string(whole.join("appendonly.aof.manifest")).expect("text");
    assert_eq!(list.lines().count(), 2, "{list}");
    let lines: Vec<&str> = list.lines().collect();
    let damages: [Option<String>; 7] = [
        Some(format!("{}\n", lines[0])),
        Some(format!("{}\n", lines[1])),
        Some(list[..list.len() - 4].to_owned()),
        Some(list.replacen("incr", "inbr", 1)),
        Some(list.replacen("file", "fule", 1)),
        Some(String::new()),
        None,
    ];
    for (number, damage) in damages.iter().enumerate() {
        let manifest = whole.join("appendonly.aof.manifest");
        match damage {
            Some(text) => fs::write(&manifest, text).expect("written"),
            None => fs::remove_file(&manifest).expect("removed"),
        }
        let told = firn(&["check", shown(&whole)]).ended(1);
        assert!(
            told.out.contains("appendonly.aof.1.incr.aof") && told.out.contains("made again"),
            "{number}: {}",
            told.out
        );
        firn(&["convert", shown(&whole), shown(&at.path().join("never.rdb"))]).ended(1);
        let made = at.path().join(format!("made-{number}.rdb"));
        let report = firn(&["repair", shown(&whole), "-o", shown(&made), "--json"]).ended(0).json();
        assert_eq!(keys(&made).len(), KEYS + 3, "{number}: {report}");
        assert!(!report["made_again"].as_array().expect("a list").is_empty(), "{number}: {report}");
    }
    // What a rewrite leaves is no damage: it is told, and not read.
    fs::write(whole.join("appendonly.aof.manifest"), list.replace(".1.", ".2.").replace("seq 1", "seq 2"))
        .expect("written");
    for part in ["base.rdb", "incr.aof"] {
        let [old, new] = [1, 2].map(|number| whole.join(format!("appendonly.aof.{number}.{part}")));
        fs::copy(old, new).expect("copied");
    }
    let told = firn(&["check", shown(&whole)]).ended(0);
    assert!(told.out.contains("it is not read"), "{}", told.out);
    // A number that is missing between others is a file that is lost.
    fs::remove_file(whole.join("appendonly.aof.manifest")).expect("removed");
    fs::rename(whole.join("appendonly.aof.2.incr.aof"), whole.join("appendonly.aof.3.incr.aof")).expect("renamed");
    let made = at.path().join("made-gap.rdb");
    let report = firn(&["repair", shown(&whole), "-o", shown(&made), "--json"]).ended(1).json();
    assert!(report["names_complete"] == false && report.to_string().contains("appendonly.aof.2.incr.aof"), "{report}");
}

#[test]
fn an_rdb_part_before_commands_is_put_right_by_its_checksum() {
    let at = tempfile::tempdir().expect("a folder");
    let [rdb, _] = thousand(at.path());
    let whole = parts(at.path(), "appendonlydir");
    let commands = fs::read(whole.join("appendonly.aof.1.incr.aof")).expect("readable");
    let mut bytes = fs::read(&rdb).expect("readable");
    let at_key = place(&bytes, "key:500");
    bytes[at_key + 3] ^= 0x20;
    fs::write(whole.join("appendonly.aof.1.base.rdb"), &bytes).expect("written");
    fs::write(at.path().join("both.aof"), [bytes, commands].concat()).expect("written");
    for path in [whole, at.path().join("both.aof")] {
        let told = firn(&["check", shown(&path), "--json"]).ended(1).json();
        assert_eq!(told["problems"][0]["offset"], at_key + 3, "{told}");
        let made = at.path().join(format!("{}.made.rdb", path.file_name().expect("a name").display()));
        let report = firn(&["repair", shown(&path), "-o", shown(&made), "--json"]).ended(0).json();
        let left = keys(&made);
        assert!(left.len() == KEYS + 3 && left.contains(&"key:500".to_owned()), "{report}");
        assert_eq!(report["mended"][0]["offset"], at_key + 3, "{report}");
    }
}

#[test]
fn zeros_in_an_rdb_file_are_no_keys_and_zeros_behind_it_cost_nothing() {
    let at = tempfile::tempdir().expect("a folder");
    let [rdb, _] = thousand(at.path());
    let (whole, known) = (fs::read(&rdb).expect("readable"), keys(&rdb));
    for shift in 0..60 {
        let mut bytes = whole.clone();
        let from = place(&bytes, "key:500") - 20 + shift;
        bytes[from..from + 16].fill(0);
        let (made, report, code) = repaired(at.path(), "zeros.rdb", &bytes);
        let left = keys(&made);
        let new: Vec<_> = left.iter().filter(|key| !known.contains(key)).collect();
        assert!(left.len() >= KEYS - 4 && code == 1, "{shift}: {report}");
        assert!(
            new.is_empty() || report["names_complete"] == false && !left.contains(&String::new()),
            "{shift}: {new:?}"
        );
        let told = names(&report["lost_keys"]);
        let lost: Vec<_> = known.iter().filter(|key| !left.contains(key)).collect();
        assert!(
            report["names_complete"] == false || lost.iter().all(|key| told.contains(key)),
            "{shift}: {lost:?} {report}"
        );
    }
    let (made, report, code) = repaired(at.path(), "longer.rdb", &[&whole[..], &[0; 4096]].concat());
    assert_eq!((keys(&made).len(), code, report["names_complete"].as_bool()), (KEYS, 0, Some(true)), "{report}");
    let mut bytes = whole.clone();
    bytes.iter_mut().rev().take(8).for_each(|byte| *byte ^= 0x5a);
    let (made, _, code) = repaired(at.path(), "sum.rdb", &bytes);
    assert_eq!((keys(&made).len(), code), (KEYS, 1));
    let told = firn(&["check", shown(&at.path().join("sum.rdb"))]).ended(1);
    assert!(told.out.contains("only the checksum differs, every value could be read"), "{}", told.out);
}

/// A store with a segment of many frames, or with a snapshot alone.
fn store(folder: &Path) {
    let clock = Arc::new(ManualClock::new(BEGIN_MS));
    let store = Store::open_folder(folder, &options(&clock)).expect("a new store");
    for number in 0..2 * KEYS {
        let value = format!("value {number} {}", "v".repeat(number % 60));
        run(&store, 0, &[b"SET", format!("key:{number}").as_bytes(), value.as_bytes()]);
        store.commit();
    }
    store.close().expect("a clean end");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a new folder");
    for file in files(from, "") {
        fs::copy(&file, to.join(file.file_name().expect("a name"))).expect("copied");
    }
}

#[test]
fn a_snapshot_with_bytes_cut_out_or_put_in_keeps_its_other_blocks_and_names_what_it_can() {
    let at = tempfile::tempdir().expect("a folder");
    let (first, whole) = (at.path().join("first"), at.path().join("whole"));
    store(&first);
    firn(&["compact", shown(&first), "-o", shown(&whole)]).ended(0);
    for (number, cut) in [true, false].into_iter().enumerate() {
        let (damaged, made) = (at.path().join(format!("damaged-{number}")), at.path().join(format!("made-{number}")));
        copy(&whole, &damaged);
        let snapshot = files(&damaged, ".snap").pop().expect("a snapshot");
        let mut bytes = fs::read(&snapshot).expect("readable");
        let middle = bytes.len() / 2;
        if cut {
            bytes.drain(middle..middle + 7);
        } else {
            bytes.splice(middle..middle, *b"garbage that is put in");
        }
        fs::write(&snapshot, &bytes).expect("written");
        let told = firn(&["check", shown(&damaged)]).ended(1);
        let what = if cut { "7 bytes missing" } else { "22 bytes too many" };
        assert!(told.out.contains(what) && told.out.contains("cannot be read"), "{}", told.out);
        let report = firn(&["repair", shown(&damaged), "-o", shown(&made), "--json"]).ended(1).json();
        let (left, lost) = (keys(&made).len(), names(&report["lost_keys"]).len());
        let unnamed = report["unnamed_keys"].as_u64().expect("a number") as usize;
        assert_eq!(left + lost + unnamed, 2 * KEYS, "{report}");
        assert!(lost > 0 && !report["set_aside"].as_array().expect("a list").is_empty(), "{report}");
        let aside = fs::read(&files(&at.path().join(format!("made-{number}-set-aside")), "")[0]).expect("readable");
        assert!(bytes.windows(aside.len()).any(|window| window == aside), "what is set aside is what stands there");
        // The snapshot alone gives the same.
        let alone = at.path().join(format!("alone-{number}"));
        firn(&["repair", shown(&snapshot), "-o", shown(&alone)]).ended(1);
        assert_eq!(keys(&alone).len(), left);
    }
}

#[test]
fn a_segment_alone_is_read_to_its_end_and_all_its_damages_are_told() {
    let at = tempfile::tempdir().expect("a folder");
    let whole = at.path().join("whole");
    store(&whole);
    let segment = &files(&whole, ".seg")[0];
    let mut bytes = fs::read(segment).expect("readable");
    for key in [20, 120, 220] {
        let from = place(&bytes, &format!("value {key}"));
        bytes[from..from + 5].copy_from_slice(b"?!?!?");
    }
    // Behind these bytes every frame stands out of its place.
    let from = place(&bytes, "value 320");
    bytes.drain(from..from + 5);
    let alone = at.path().join(segment.file_name().expect("a name"));
    fs::write(&alone, &bytes).expect("written");
    let told = firn(&["check", shown(&alone), "--json"]).ended(1).json();
    let problems = told["problems"].as_array().expect("a list");
    assert_eq!(problems.len(), 4, "{told}");
    for (problem, key) in problems.iter().zip([20, 120, 220, 320]) {
        assert_eq!(problem["lsn"], key + 1, "{told}");
        assert!(problem["message"].as_str().expect("text").contains(&format!("key:{key}")), "{told}");
    }
    let damaged = at.path().join("damaged");
    copy(&whole, &damaged);
    fs::write(damaged.join(segment.file_name().expect("a name")), &bytes).expect("written");
    let made = at.path().join("made");
    let report = firn(&["repair", shown(&damaged), "-o", shown(&made), "--json"]).ended(1).json();
    assert_eq!(keys(&made).len(), 2 * KEYS - 4, "{report}");
    assert_eq!(names(&report["lost_keys"]), ["key:120", "key:20", "key:220", "key:320"], "{report}");
    // The newest segment is gone, and took keys along that nobody can name or count.
    fs::remove_file(&files(&damaged, ".seg")[1]).expect("removed");
    let report = firn(&["repair", shown(&damaged), "-o", shown(&at.path().join("gone")), "--json"]).ended(1).json();
    assert!(report["names_complete"] == false && report.to_string().contains("goes on with record"), "{report}");
    let told = firn(&["repair", shown(&alone), "-o", shown(&at.path().join("never"))]).ended(2);
    assert!(told.err.contains("give its folder"), "{}", told.err);
}

#[test]
fn damage_that_a_snapshot_makes_up_for_costs_no_key_and_is_told() {
    let at = tempfile::tempdir().expect("a folder");
    let (folder, made) = (at.path().join("store"), at.path().join("made"));
    let clock = Arc::new(ManualClock::new(BEGIN_MS));
    let store = Store::open_folder(&folder, &options(&clock)).expect("a new store");
    for number in 0..KEYS {
        run(&store, 0, &[b"SET", format!("key:{number}").as_bytes(), b"some value"]);
        store.commit();
    }
    let ticket = store.request_snapshot();
    while store.step() {}
    store.wait_snapshot(ticket).expect("a snapshot");
    store.close().expect("a clean end");
    let segment = &files(&folder, ".seg")[0];
    let mut bytes = fs::read(segment).expect("readable");
    let from = place(&bytes, "key:100");
    bytes[from..from + 6].copy_from_slice(b"??????");
    fs::write(segment, bytes).expect("written");
    let told = firn(&["repair", shown(&folder), "-o", shown(&made)]).ended(0);
    assert!(told.out.contains("No key was lost.") && told.out.contains("only moments before LSN"), "{}", told.out);
    assert_eq!(keys(&made).len(), KEYS);
}

#[test]
fn what_is_not_a_file_to_mend_is_told_and_nothing_is_made() {
    let at = tempfile::tempdir().expect("a folder");
    let [rdb, aof] = thousand(at.path());
    let made = at.path().join("made.rdb");
    let told = firn(&["repair", shown(&at.path().join("all.jsonl")), "-o", shown(&made)]).ended(2);
    assert!(told.err.contains("JSON Lines") && told.err.contains("append-only files"), "{}", told.err);
    let aside = at.path().join("aside");
    fs::create_dir(&aside).expect("a folder");
    fs::write(aside.join("something"), "of mine").expect("written");
    let told = firn(&["repair", shown(&rdb), "-o", shown(&made), "--set-aside", shown(&aside)]).ended(2);
    assert!(told.err.contains("not empty") && !made.exists(), "{}", told.err);
    // Standard input has a name.
    let piped = |path: &Path, words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
        let output =
            command.args(words).stdin(Stdio::from(fs::File::open(path).expect("there"))).output().expect("it runs");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    store(&at.path().join("store"));
    let segment = &files(&at.path().join("store"), ".seg")[0];
    for (path, words) in
        [(segment, &["check", "-"][..]), (segment, &["stats", "-"]), (segment, &["repair", "-", "-o", "x"])]
    {
        let told = piped(path, words);
        assert!(told.contains("standard input") && !told.contains("/proc"), "{words:?}: {told}");
    }
    let cut = at.path().join("cut.aof");
    let bytes = fs::read(&aof).expect("readable");
    fs::write(&cut, &bytes[..bytes.len() - 9]).expect("written");
    assert!(piped(&cut, &["check", "-"]).contains("standard input: at byte"), "{}", piped(&cut, &["check", "-"]));
}

#[test]
fn a_key_without_a_name_outlives_damage_elsewhere_and_a_key_that_damage_made_up_is_told() {
    let at = tempfile::tempdir().expect("a folder");
    let (lines, rdb) = (at.path().join("all.jsonl"), at.path().join("all.rdb"));
    let line = |n: usize| match n {
        400 => r#"{"key":"","type":"string","value":"that of no name"}"#.to_owned(),
        500 => {
            r#"{"key":"key:500","type":"string","value":"a value that ends like an entry\u0000\u0001\u0002\u0003abc"}"#
                .to_owned()
        }
        n => format!(r#"{{"key":"key:{n}","type":"string","value":"value {n}"}}"#),
    };
    fs::write(&lines, (0..KEYS).map(line).collect::<Vec<_>>().join("\n")).expect("written");
    firn(&["convert", shown(&lines), shown(&rdb)]).ended(0);
    let mut bytes = fs::read(&rdb).expect("readable");
    // The type of the entry, which no writer knows, and the checksum.
    let from = place(&bytes, "key:500") - 2;
    bytes[from] = 0x60;
    bytes.iter_mut().rev().take(8).for_each(|byte| *byte ^= 0x5a);
    let (made, report, code) = repaired(at.path(), "odd.rdb", &bytes);
    let (left, told) = (keys(&made), names(&report["lost_keys"]));
    assert_eq!((left.len(), code), (KEYS, 1), "{report}");
    assert!(left.contains(&String::new()) && !told.contains(&String::new()), "{report}");
    assert!(left.contains(&"\u{2}".to_owned()) && told.contains(&"\u{2}".to_owned()), "{report}");
    assert!(told.contains(&"key:500".to_owned()) && report["names_complete"] == false, "{report}");
}

#[test]
fn check_names_commands_that_repair_cannot_apply() {
    let at = tempfile::tempdir().expect("a folder");
    let command = |words: &[&str]| {
        let count = words.len();
        let words: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
        format!("*{count}\r\n{words}")
    };
    let file = at.path().join("some.aof");
    for (bad, key) in [
        (command(&["ZADD", "scores", "1.x", "one"]), "scores"),
        (command(&["XADD", "events", "7-!", "field", "value"]), "events"),
        (command(&["PEXPIREAT", "before", "41024x4800123"]), "before"),
        (command(&["SET", "until", "1", "PXAT", "41024x4800123"]), "until"),
        (command(&["XADD", "events", "0-0", "field", "value"]), "events"),
        (command(&["ZADD", "scores", "1", "one", "nan", "two"]), "scores"),
    ] {
        let all = [command(&["SET", "before", "1"]), bad, command(&["SET", "after", "2"])].concat();
        fs::write(&file, &all).expect("written");
        let told = firn(&["check", shown(&file), "--json"]).ended(1).json();
        assert_eq!(names(&told["lost"][0]["keys"]), [key], "{told}");
        let (_, report, code) = repaired(at.path(), "mend.aof", all.as_bytes());
        assert_eq!((code, names(&report["lost_keys"])), (1, vec![key.to_owned()]), "{report}");
    }
    // What depends on what a key holds, or on when, is no matter of its words.
    let fine = [
        command(&["LSET", "list", "3", "x"]),
        command(&["XSETID", "stream", "5-5"]),
        command(&["XGROUP", "CREATE", "stream", "group", "0"]),
        command(&["RENAME", "one", "other"]),
        command(&["INCRBY", "number", "5"]),
        command(&["SET", "key", "value", "PXAT", "4102444800123"]),
        command(&["XADD", "events", "MAXLEN", "5", "1-1", "field", "value"]),
        command(&["XADD", "events", "1-2", "field", "value"]),
        command(&["ZADD", "scores", "inf", "one", "-0", "other"]),
    ];
    fs::write(&file, fine.concat()).expect("written");
    firn(&["check", shown(&file)]).ended(0);
    // No release has a command of such a name.
    fs::write(&file, command(&["Z#DD", "scores", "1", "one"])).expect("written");
    firn(&["check", shown(&file)]).ended(1);
    fs::write(&file, command(&["NEWER.ADD", "scores", "1", "one"])).expect("written");
    firn(&["check", shown(&file)]).ended(3);
}

#[test]
fn what_is_not_there_cannot_be_mended_whatever_the_form() {
    let at = tempfile::tempdir().expect("a folder");
    let run = firn(&["repair", shown(&at.path().join("absent")), "-o", shown(&at.path().join("new.rdb"))]).ended(3);
    assert!(run.err.contains("No such file"), "{}", run.err);
}

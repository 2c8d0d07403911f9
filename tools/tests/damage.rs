//! Damaged RDB and append-only files: `firn check` names what is wrong and where, `firn repair` keeps everything else and names what is lost.

mod common;

use common::{Numbers, firn, shown};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const KEYS: usize = 1000;

/// A thousand keys of our own making, as an RDB file and as an append-only file; `hashes`: small ones, else strings.
fn thousand(folder: &Path, hashes: bool) -> [PathBuf; 2] {
    let lines = folder.join("all.jsonl");
    let line = |n: usize| match hashes {
        true => format!(r#"{{"key":"key:{n}","type":"hash","value":{{"name":"value of {n}","other":"{n}"}}}}"#),
        false => format!(r#"{{"key":"key:{n}","type":"string","value":"value {n} of the thousand, {}"}}"#, n * 7919),
    };
    fs::write(&lines, (0..KEYS).map(line).collect::<Vec<_>>().join("\n")).expect("written");
    ["all.rdb", "all.aof"].map(|name| {
        let made = folder.join(name);
        firn(&["convert", shown(&lines), shown(&made)]).ended(0);
        made
    })
}

/// What a file holds: keys and values.
fn content(path: &Path) -> BTreeMap<String, Value> {
    let lines = firn(&["convert", shown(path), "-", "--format", "jsonl"]).ended(0).lines();
    let key = |line: &Value| line["key"].as_str().map_or_else(|| line["key"].to_string(), str::to_owned);
    lines.iter().map(|line| (key(line), line["value"].clone())).collect()
}

/// Names in a list of JSON.
fn names(list: &Value) -> Vec<String> {
    list.as_array().expect("a list").iter().filter_map(|it| it.as_str().map(str::to_owned)).collect()
}

/// Where a key stands in a file.
fn place(bytes: &[u8], key: &str) -> usize {
    bytes.windows(key.len()).position(|window| window == key.as_bytes()).expect("it is there")
}

/// Repairs `bytes` in all ways: gives what is left, and the report.
fn repaired(at: &Path, ending: &str, bytes: &[u8]) -> (BTreeMap<String, Value>, Value, i32) {
    let file = at.join(format!("damaged.{ending}"));
    let (made, aside) = (at.join(format!("mended.{ending}")), at.join("aside"));
    for old in [&file, &made] {
        let _ = fs::remove_file(old);
    }
    let _ = fs::remove_dir_all(&aside);
    fs::write(&file, bytes).expect("written");
    let run = firn(&["repair", shown(&file), "-o", shown(&made), "--set-aside", shown(&aside), "--json"]);
    assert!(run.code == 0 || run.code == 1, "{}{}", run.out, run.err);
    firn(&["check", shown(&made)]).ended(0);
    (content(&made), run.json(), run.code)
}

/// What was there and is not, or is another.
fn missing(whole: &BTreeMap<String, Value>, left: &BTreeMap<String, Value>) -> Vec<String> {
    whole.iter().filter(|(key, value)| left.get(*key) != Some(value)).map(|(key, _)| key.clone()).collect()
}

#[test]
fn one_value_in_the_middle_of_an_append_only_file_costs_that_key() {
    let at = tempfile::tempdir().expect("a folder");
    let [_, aof] = thousand(at.path(), false);
    let (whole, bytes) = (content(&aof), fs::read(&aof).expect("readable"));
    let key = place(&bytes, "key:500");
    // The value's length, its first bytes, its end; the key's length; the command's name and head.
    let changes: [(isize, &[u8]); 6] =
        [(10, b"9"), (9, b"\xff\x00"), (13, b"\r\n"), (-3, b"9"), (-9, b"\x00E"), (-16, b"x")];
    for (offset, change) in changes {
        let mut damaged = bytes.clone();
        let from = (key as isize + offset) as usize;
        damaged[from..from + change.len()].copy_from_slice(change);
        let file = at.path().join("damaged.aof");
        fs::write(&file, &damaged).expect("written");
        let check = firn(&["check", shown(&file), "--json"]);
        let (left, report, code) = repaired(at.path(), "aof", &damaged);
        let lost = missing(&whole, &left);
        if check.code == 0 {
            // Bytes of a value may be any: there is no checksum.
            assert!(lost.len() <= 1 && left.len() == KEYS, "{offset}: {lost:?}");
            continue;
        }
        // A command that nobody knows may be a newer server's: that is no damage.
        assert!(check.code == 1 || check.code == 3 && offset == -9, "{offset}: {}", check.out);
        let check = check.json();
        let problem = &check["problems"][0];
        let named = problem["offset"].as_u64().expect("an offset") as usize;
        assert!(named < key && key - named < 40, "{offset}: {problem}");
        assert_eq!((lost.as_slice(), code), (&["key:500".to_owned()][..], 1), "{offset}: {report}");
        assert_eq!(names(&report["lost_keys"]), ["key:500"], "{offset}: {report}");
        assert_eq!(names(&check["lost"][0]["keys"]), ["key:500"], "{offset}: {check}");
        if offset == -9 {
            continue;
        }
        let aside: Vec<_> = common::files(&at.path().join("aside"), "");
        let aside = fs::read(&aside[0]).expect("the bytes are set aside");
        assert!(damaged.windows(aside.len()).any(|window| window == aside) && aside.len() < 120, "{offset}");
    }
}

#[test]
fn zeros_behind_the_end_and_a_tail_that_is_cut_cost_nothing() {
    let at = tempfile::tempdir().expect("a folder");
    let [rdb, aof] = thousand(at.path(), false);
    let (whole, bytes) = (content(&aof), fs::read(&aof).expect("readable"));
    let mut zeros = bytes.clone();
    zeros.resize(bytes.len() + 4096, 0);
    let file = at.path().join("zeros.aof");
    fs::write(&file, &zeros).expect("written");
    let check = firn(&["check", shown(&file), "--json"]).ended(1).json();
    assert_eq!(check["problems"][0]["offset"], bytes.len(), "{check}");
    assert!(check["problems"][0]["message"].as_str().expect("text").starts_with("4096 zero bytes"), "{check}");
    let (left, _, code) = repaired(at.path(), "aof", &zeros);
    assert_eq!((left == whole, code), (true, 0));

    let starts = bytes.windows(9).enumerate().filter(|(_, window)| window == b"*3\r\n$3\r\nS").map(|(at, _)| at);
    let ends: Vec<usize> = starts.skip(1).chain([bytes.len()]).collect();
    let mut numbers = Numbers(1);
    for _ in 0..25 {
        let cut = 1 + numbers.below(bytes.len() as u64 - 1) as usize;
        let file = at.path().join("cut.aof");
        fs::write(&file, &bytes[..cut]).expect("written");
        firn(&["check", shown(&file)]).ended(0);
        let (left, report, code) = repaired(at.path(), "aof", &bytes[..cut]);
        // Every command that is there whole: each makes one key.
        assert_eq!(left.len(), ends.iter().filter(|end| **end <= cut).count(), "{cut}");
        assert!(left.iter().all(|(key, value)| whole.get(key) == Some(value)), "{cut}");
        assert_eq!(code, 0, "{report}");
    }
    // An RDB file has a checksum and an end: one that is cut is damaged, and all before the cut is kept.
    let (whole, bytes) = (content(&rdb), fs::read(&rdb).expect("readable"));
    for _ in 0..25 {
        let cut = 20 + numbers.below(bytes.len() as u64 - 30) as usize;
        let file = at.path().join("cut.rdb");
        fs::write(&file, &bytes[..cut]).expect("written");
        let check = firn(&["check", shown(&file), "--json"]).ended(1).json();
        assert!(check["problems"][0]["offset"].as_u64() <= Some(cut as u64), "{check}");
        let (left, _, code) = repaired(at.path(), "rdb", &bytes[..cut]);
        let complete = whole.keys().filter(|key| place(&bytes, key) + key.len() + 60 < cut).count();
        assert!(left.len() + 3 >= complete && left.iter().all(|(key, value)| whole.get(key) == Some(value)), "{cut}");
        assert_eq!(code, 1);
    }
}

#[test]
fn two_garbage_bytes_cost_one_key_at_most_and_it_is_named() {
    let at = tempfile::tempdir().expect("a folder");
    let mut numbers = Numbers(2);
    let (mut named, mut lossy) = (0, 0);
    for hashes in [false, true] {
        let folder = at.path().join(hashes.to_string());
        fs::create_dir(&folder).expect("a folder");
        for (file, ending) in thousand(&folder, hashes).iter().zip(["rdb", "aof"]) {
            let (whole, bytes) = (content(file), fs::read(file).expect("readable"));
            for round in 0..16 {
                let from = bytes.len() / 3 + numbers.below(bytes.len() as u64 / 3) as usize;
                let garbage = [numbers.below(256) as u8, numbers.below(256) as u8];
                let in_place = round % 2 == 0;
                let mut damaged = bytes.clone();
                if in_place {
                    damaged[from..from + 2].copy_from_slice(&garbage);
                } else {
                    damaged.splice(from..from, garbage);
                }
                let (left, report, code) = repaired(&folder, ending, &damaged);
                let lost = missing(&whole, &left);
                if in_place && ending == "rdb" {
                    // The checksum of the file tells what they were.
                    assert_eq!((lost, code), (vec![], 0), "at {from}: {report}");
                    assert!(damaged == bytes || !report["mended"].as_array().expect("a list").is_empty(), "{report}");
                    continue;
                }
                assert!(left.len() >= KEYS - 1 && lost.len() <= 1, "{ending} at {from}: {lost:?} {report}");
                if code == 0 {
                    // Bytes within a word of an append-only file may be any.
                    assert!(in_place && ending == "aof" && left.len() == KEYS, "at {from}: {report}");
                    continue;
                }
                lossy += 1;
                let told = names(&report["lost_keys"]);
                // A name that the garbage stands in is told as it is read.
                let is_named = lost.iter().all(|key| told.contains(key)) || report["lost_keys"].to_string().len() > 6;
                named += usize::from(is_named);
                if !is_named {
                    println!("{ending} at {from}: lost {lost:?}, {report}");
                }
            }
        }
    }
    assert!(named * 100 >= lossy * 95, "{named} of {lossy}");
}

#[test]
fn one_value_of_an_rdb_file_that_cannot_be_read_costs_that_key() {
    let at = tempfile::tempdir().expect("a folder");
    let [rdb, _] = thousand(at.path(), true);
    let (whole, bytes) = (content(&rdb), fs::read(&rdb).expect("readable"));
    let key = place(&bytes, "key:500");
    // One byte is put right by the checksum.
    let mut damaged = bytes.clone();
    damaged[key + 12] ^= 0x40;
    let file = at.path().join("byte.rdb");
    fs::write(&file, &damaged).expect("written");
    let check = firn(&["check", shown(&file), "--json"]).ended(1).json();
    assert_eq!(check["problems"][0]["offset"], key + 12, "{check}");
    let (left, report, code) = repaired(at.path(), "rdb", &damaged);
    assert_eq!((left == whole, code, &report["mended"][0]["offset"]), (true, 0, &(key + 12).into()), "{report}");
    // More is not. Behind the key: the length of the packed hash, then its own head (length, count), then its elements.
    for (offset, garbage) in [
        (7, &b"\xc7\xff\xff\xff"[..]),
        (8, b"\xff\xff\xff\xff"),
        (12, b"\xf7\xff\xfe\x99"),
        (14, b"\xf7\xf7\xf7\xf7"),
        (20, b"\xfe\xfe\xfe\xfe\xfe"),
    ] {
        let mut damaged = bytes.clone();
        damaged[key + offset..key + offset + garbage.len()].copy_from_slice(garbage);
        let file = at.path().join("damaged.rdb");
        fs::write(&file, &damaged).expect("written");
        let check = firn(&["check", shown(&file), "--json"]).ended(1).json();
        let problem = &check["problems"][0];
        assert!(problem["file"] == "damaged.rdb" && problem["offset"].is_u64(), "{problem}");
        let (left, report, code) = repaired(at.path(), "rdb", &damaged);
        let lost = missing(&whole, &left);
        assert!(left.len() == KEYS - 1, "{offset}: {} {report}", left.len());
        assert!(lost.iter().all(|key| key == "key:500"), "{offset}: {lost:?}");
        assert_eq!(code, 1, "{report}");
        assert_eq!(names(&report["lost_keys"]), ["key:500"], "{offset}: {report}");
        assert!(problem["message"].as_str().expect("text").contains("key:500"), "{problem}");
    }
}

#[test]
fn a_damaged_transaction_keeps_its_other_commands_and_one_that_never_ended_does_not_count() {
    let at = tempfile::tempdir().expect("a folder");
    let command = |words: &[&str]| {
        words.iter().fold(format!("*{}\r\n", words.len()), |text, word| format!("{text}${}\r\n{word}\r\n", word.len()))
    };
    let sets =
        |from: usize, to: usize| (from..to).map(|n| command(&["SET", &format!("k{n}"), "v"])).collect::<String>();
    let whole = [sets(0, 2), command(&["MULTI"]), sets(2, 7), command(&["EXEC"]), sets(7, 9)].concat();
    let damaged = whole.replacen("$2\r\nk4\r\n", "$2\r\nk4??", 1);
    let (left, report, code) = repaired(at.path(), "aof", damaged.as_bytes());
    let found: Vec<_> = left.keys().map(String::as_str).collect();
    assert_eq!((found, code), (vec!["k0", "k1", "k2", "k3", "k5", "k6", "k7", "k8"], 1), "{report}");
    assert_eq!(names(&report["lost_keys"]), ["k4"], "{report}");
    // Its end is lost: what was between counts, and what follows too.
    let damaged = whole.replacen("$4\r\nEXEC\r\n", "$4\r\nEXECxx", 1);
    assert_eq!(repaired(at.path(), "aof", damaged.as_bytes()).0.len(), 9);
    // Its beginning is lost.
    let damaged = whole.replacen("*1\r\n$5\r\nMULTI\r\n", "*1\r\n$5\r\nMUL?I\r\n", 1);
    assert_eq!(repaired(at.path(), "aof", damaged.replacen("*1", "?1", 1).as_bytes()).0.len(), 9);
    let open = [sets(0, 2), command(&["MULTI"]), sets(2, 7)].concat();
    let (left, _, code) = repaired(at.path(), "aof", open.as_bytes());
    assert_eq!((left.len(), code), (2, 0));
}

#[test]
fn a_part_that_the_manifest_names_and_nobody_has_is_told() {
    let at = tempfile::tempdir().expect("a folder");
    let [rdb, _] = thousand(at.path(), false);
    let folder = at.path().join("appendonlydir");
    firn(&["convert", shown(&rdb), shown(&folder)]).ended(0);
    firn(&["check", shown(&folder)]).ended(0);
    fs::remove_file(folder.join("appendonly.aof.1.incr.aof")).expect("removed");
    let check = firn(&["check", shown(&folder), "--json"]).ended(1).json();
    assert!(check["problems"][0]["message"].as_str().expect("text").contains("not there"), "{check}");
    firn(&["convert", shown(&folder), shown(&at.path().join("x"))]).ended(1);
    fs::write(folder.join("appendonly.aof.manifest"), "file x\n").expect("written");
    let bad = firn(&["check", shown(&folder)]).ended(1);
    assert!(bad.out.contains("line 1 of the manifest"), "{}", bad.out);
    fs::remove_file(folder.join("appendonly.aof.1.base.rdb")).expect("removed");
    let bad = firn(&["check", shown(&folder)]).ended(1);
    assert!(bad.err.contains("line 1 of the manifest"), "{}", bad.err);
}

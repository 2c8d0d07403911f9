//! What a person does who has not read the documentation: wrong paths, wrong options, pipes, files that are empty or called something else.

mod common;

use common::{BEGIN_MS, Numbers, digests, digests_of, firn, options, run, shown};
use firn_engine::store::{ManualClock, Store};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// A store made by these commands; its digests.
fn store(folder: &Path, commands: &[&[&[u8]]]) -> std::collections::BTreeMap<usize, u128> {
    let clock = Arc::new(ManualClock::new(BEGIN_MS));
    let store = Store::open_folder(folder, &options(&clock)).expect("a new store");
    commands.iter().for_each(|words| run(&store, 0, words));
    let found = digests(&store);
    store.close().expect("a clean end");
    found
}

/// An RDB file with user:0 to user:99 and cart:0 to cart:99.
fn rdb(folder: &Path) -> std::path::PathBuf {
    let (lines, rdb) = (folder.join("source.jsonl"), folder.join("source.rdb"));
    let line = |kind: &str, number: usize| {
        format!(
            "{{\"key\":\"{kind}:{number}\",\"type\":\"string\",\"value\":\"value {number} of {kind}, long enough\"}}\n"
        )
    };
    let text: String = (0..100).flat_map(|number| ["user", "cart"].map(|kind| line(kind, number))).collect();
    fs::write(&lines, text).expect("writable");
    firn(&["convert", shown(&lines), shown(&rdb)]).ended(0);
    rdb
}

#[test]
fn scores_and_pending_entries_come_back_exactly_from_rows() {
    let at = tempfile::tempdir().expect("a folder");
    let folder = at.path().join("store");
    let scores: Vec<String> = (1..200).map(|number| (f64::from(number) / 3.0).to_string()).collect();
    let members: Vec<String> = (1..200).map(|number| format!("m{number}")).collect();
    let mut zadd: Vec<&[u8]> = vec![b"ZADD", b"thirds"];
    for (score, member) in scores.iter().zip(&members) {
        zadd.extend([score.as_bytes(), member.as_bytes()]);
    }
    let known = store(
        &folder,
        &[
            &zadd,
            &[b"XADD", b"s", b"1-1", b"f", b"v"],
            &[b"XADD", b"s", b"2-1", b"f", b"v"],
            &[b"XADD", b"s", b"3-1", b"f", b"v"],
            &[b"XGROUP", b"CREATE", b"s", b"group", b"0"],
            &[b"XREADGROUP", b"GROUP", b"group", b"reader", b"STREAMS", b"s", b">"],
            // They stay pending.
            &[b"XDEL", b"s", b"1-1", b"3-1"],
        ],
    );
    for ending in ["jsonl", "csv", "parquet"] {
        let (rows, back) = (at.path().join(format!("all.{ending}")), at.path().join(format!("back-{ending}")));
        firn(&["convert", shown(&folder), shown(&rows)]).ended(0);
        firn(&["convert", shown(&rows), shown(&back)]).ended(0);
        let found = firn(&["get", shown(&back), "s", "thirds", "--json"]).ended(0);
        assert_eq!(found.out.matches("\"reader\",1700000000000,1]").count(), 3, "{ending}: {}", found.out);
        assert_eq!(digests_of(&back), known, "{ending}");
    }
}

#[test]
fn a_path_that_holds_nothing_is_told_and_what_was_meant_is_named() {
    let at = tempfile::tempdir().expect("a folder");
    let empty = at.path().join("empty");
    fs::create_dir(&empty).expect("a folder");
    let told = firn(&["check", shown(&empty)]).ended(2);
    assert!(told.err.trim_end().ends_with("holds no Firn store"), "{}", told.err);
    let file = rdb(at.path());
    fs::create_dir(at.path().join("data")).expect("a folder");
    fs::write(at.path().join("data/appendonly.aof.manifest"), "").expect("writable");
    fs::write(at.path().join("notes.txt"), "nothing").expect("writable");
    let told = firn(&["stats", shown(at.path())]).ended(2);
    for meant in [shown(&file), "source.jsonl", "data"] {
        assert!(told.err.contains(meant), "{meant}: {}", told.err);
    }
    assert!(!told.err.contains("notes.txt"), "{}", told.err);
    let told = firn(&["backup", shown(&file), shown(&at.path().join("backups"))]).ended(2);
    assert!(told.err.contains("is an RDB file"), "{}", told.err);
    for (name, bytes, says) in [("nothing", "", "empty"), ("text", "some text\n", "nothing that firn reads")] {
        let path = at.path().join(name);
        fs::write(&path, bytes).expect("writable");
        for command in ["check", "inspect", "stats"] {
            let told = firn(&[command, shown(&path)]).ended(2);
            assert!(told.err.contains(says), "{command} {name}: {}", told.err);
        }
    }
}

#[test]
fn a_standard_error_that_takes_nothing_changes_no_exit_code() {
    let at = tempfile::tempdir().expect("a folder");
    let file = rdb(at.path());
    let code = |words: &[&str]| {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("there");
        let mut firn = Command::new(env!("CARGO_BIN_EXE_firn"));
        firn.args(words).stdin(Stdio::null()).stderr(full).output().expect("the tool runs").status.code()
    };
    assert_eq!(code(&["check", "/nowhere/at/all"]), Some(3));
    assert_eq!(code(&["check", "-"]), Some(2));
    assert_eq!(code(&["check", shown(&file), "--match", "x"]), Some(2));
    assert_eq!(code(&["convert", shown(&file), "-", "--format", "resp", "--json"]), Some(0));
    assert_eq!(code(&["inspect", shown(&file), "--keys"]), Some(0));
}

#[test]
fn an_rdb_file_whose_beginning_is_damaged_is_one_all_the_same() {
    let at = tempfile::tempdir().expect("a folder");
    let file = rdb(at.path());
    let whole = fs::read(&file).expect("readable");
    for place in 0..9 {
        let broken = at.path().join(format!("broken-{place}.rdb"));
        let mut bytes = whole.clone();
        bytes[place] ^= 0x81;
        fs::write(&broken, &bytes).expect("writable");
        let told = firn(&["check", shown(&broken)]).ended(1);
        assert!(told.out.contains(&format!("at byte {place}")) && told.out.contains("200 keys"), "{}", told.out);
        let mended = at.path().join(format!("mended-{place}.rdb"));
        firn(&["repair", shown(&broken), "-o", shown(&mended)]).ended(0);
        assert!(fs::read(&mended).expect("readable").ends_with(&whole[whole.len() - 8..]), "the same checksum");
    }
    fs::write(at.path().join("empty.rdb"), "").expect("writable");
    firn(&["check", shown(&at.path().join("empty.rdb"))]).ended(1);
    firn(&["repair", shown(&at.path().join("empty.rdb")), "-o", shown(&at.path().join("x.rdb"))]).ended(1);
    assert!(!at.path().join("x.rdb").exists());
}

#[test]
fn repair_takes_filters_and_check_says_why_it_takes_none() {
    let at = tempfile::tempdir().expect("a folder");
    let file = rdb(at.path());
    let mended = at.path().join("carts.jsonl");
    firn(&["repair", shown(&file), "-o", shown(&mended), "--match", "cart:1*", "--type", "string"]).ended(0);
    let lines = fs::read_to_string(&mended).expect("text");
    assert_eq!(lines.lines().count(), 11);
    assert!(lines.lines().all(|line| line.contains("\"cart:1")), "{lines}");
    // What is damaged is told whatever was chosen, but only a chosen key is named as lost.
    let aof = at.path().join("broken.aof");
    firn(&["convert", shown(&file), shown(&aof)]).ended(0);
    let mut bytes = fs::read(&aof).expect("readable");
    let found = bytes.windows(8).position(|window| window == b"user:50\r").expect("there");
    bytes[found - 4] = b'x';
    fs::write(&aof, bytes).expect("writable");
    for (glob, lost) in [("user:*", 1), ("cart:*", 0)] {
        let made = at.path().join(format!("mended-{lost}.rdb"));
        let told = firn(&["repair", shown(&aof), "-o", shown(&made), "--match", glob, "--json"]).ended(1).json();
        assert_eq!(told["lost_keys"].as_array().expect("a list").len(), lost, "{told}");
        assert_eq!(told["entries"], 100 - lost, "{told}");
        assert_eq!(told["left_out"].as_array().expect("a list").len(), 1, "{told}");
    }
    for option in ["--match=x", "--db=0", "--type=hash", "--ttl=none", "--min-bytes=5", "--since=1h", "--lsn=5"] {
        let told = firn(&["check", shown(&file), option]).ended(2);
        assert!(told.err.contains("firn check takes no filters"), "{option}: {}", told.err);
    }
    let told = firn(&["stats", shown(&file), "--since", "1h"]).ended(2);
    assert!(told.err.contains("choose changes"), "{}", told.err);
    let folder = at.path().join("a-store");
    store(&folder, &[&[b"SET", b"a", b"1"], &[b"SET", b"b", b"1"]]);
    let made = at.path().join("only-a");
    firn(&["repair", shown(&folder), "-o", shown(&made), "--match", "a"]).ended(0);
    assert_eq!(firn(&["inspect", shown(&made), "--keys", "--json"]).ended(0).lines().len(), 1);
    let told = firn(&["repair", shown(&folder), "-o", shown(&at.path().join("x.rdb"))]).ended(2);
    assert!(told.err.contains("firn convert"), "{}", told.err);
}

#[test]
fn an_empty_dataset_travels_through_every_form() {
    let at = tempfile::tempdir().expect("a folder");
    let folder = at.path().join("store");
    store(&folder, &[]);
    for ending in ["jsonl", "csv", "parquet", "rdb", "aof"] {
        let (file, back) = (at.path().join(format!("all.{ending}")), at.path().join(format!("back-{ending}")));
        firn(&["convert", shown(&folder), shown(&file)]).ended(0);
        firn(&["check", shown(&file)]).ended(0);
        firn(&["convert", shown(&file), shown(&back)]).ended(0);
        firn(&["diff", shown(&folder), shown(&back)]).ended(0);
    }
}

#[test]
fn nothing_that_is_there_is_overwritten() {
    let at = tempfile::tempdir().expect("a folder");
    let file = rdb(at.path());
    let before = fs::read(&file).expect("readable");
    let there = shown(&file);
    for words in [
        &["convert", there, there][..],
        &["stats", there, "--html", there],
        &["repair", there, "-o", there],
        &["compact", there, "-o", there],
    ] {
        let told = firn(words).ended(2);
        assert!(told.err.contains("is there") || told.err.contains("give a new"), "{words:?}: {}", told.err);
        assert_eq!(fs::read(&file).expect("readable"), before, "{words:?}");
    }
}

#[test]
fn pipes_are_read_as_files_and_one_that_nobody_reads_is_no_error() {
    let at = tempfile::tempdir().expect("a folder");
    let file = rdb(at.path());
    for path in ["-", "/dev/stdin"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_firn"))
            .args(["check", path])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the tool runs");
        let mut pipe = child.stdin.take().expect("a pipe");
        std::io::Write::write_all(&mut pipe, &fs::read(&file).expect("readable")).expect("taken");
        drop(pipe);
        let ended = child.wait_with_output().expect("an end");
        let out = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success() && out.contains("200 keys"), "{path}: {out}");
    }
    // More than a pipe holds, whatever compresses it.
    let (lines, mut numbers) = (at.path().join("large.jsonl"), Numbers(8));
    let value: String = (0..1 << 20).map(|_| char::from(b'a' + numbers.below(26) as u8)).collect();
    let line = format!("{{\"key\":\"large\",\"type\":\"string\",\"value\":\"{value}\"}}\n");
    fs::write(&lines, line).expect("writable");
    for form in ["rdb", "jsonl", "csv", "parquet", "resp"] {
        let child = Command::new(env!("CARGO_BIN_EXE_firn"))
            .args(["convert", shown(&lines), "-", "--format", form])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.expect("the tool runs");
        let mut some = [0; 4];
        child.stdout.take().expect("a pipe").read_exact(&mut some).expect("some bytes");
        let ended = child.wait_with_output().expect("an end");
        let err = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() && err.is_empty(), "{form}: {:?} {err}", ended.status);
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("there");
        let mut firn = Command::new(env!("CARGO_BIN_EXE_firn"));
        let ended =
            firn.args(["convert", shown(&lines), "-", "--format", form]).stdout(full).output().expect("it runs");
        assert_eq!(ended.status.code(), Some(3), "{form}: {}", String::from_utf8_lossy(&ended.stderr));
    }
}

#[test]
fn what_is_interrupted_leaves_nothing_that_passes_for_the_whole() {
    let at = tempfile::tempdir().expect("a folder");
    let lines = rdb(at.path()).with_file_name("source.jsonl");
    let large = at.path().join("large.jsonl");
    fs::write(&large, fs::read_to_string(&lines).expect("text").repeat(500)).expect("writable");
    for name in ["half.csv", "half.jsonl", "half.rdb", "half.aof"] {
        let made = at.path().join(name);
        let words = ["convert", shown(&large), shown(&made)];
        let mut child = Command::new(env!("CARGO_BIN_EXE_firn")).args(words).spawn().expect("the tool runs");
        // It has begun, and has not ended.
        let begun = || fs::read_dir(at.path()).expect("a folder").flatten().any(|it| shown(&it.path()).contains(name));
        while !begun() && child.try_wait().expect("asked").is_none() {
            std::thread::yield_now();
        }
        child.kill().expect("running or just ended");
        if child.wait().expect("an end").success() {
            continue;
        }
        assert!(!made.exists(), "{name}");
    }
    // What fails in the middle leaves nothing at all.
    let broken = at.path().join("broken.jsonl");
    fs::write(&broken, fs::read_to_string(&lines).expect("text") + "{\"key\":1}\n").expect("writable");
    let folder = at.path().join("results");
    fs::create_dir(&folder).expect("a folder");
    for name in ["x.csv", "x.rdb", "x.aof", "x.parquet", "x.jsonl", "appendonlydir", "x"] {
        firn(&["convert", shown(&broken), shown(&folder.join(name))]).ended(1);
        assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 0, "{name}");
    }
}

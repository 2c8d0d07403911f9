//! What a command has not finished is gone when a signal ends it, and nothing else is; what cannot be made in a place is refused.

mod common;

use common::{BEGIN_MS, digests, digests_of, firn, options, run, shown};
use firn_engine::store::{ManualClock, Store};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// Keys as JSON Lines, so many that a command is at work for a while.
fn many(folder: &Path, keys: u32) -> PathBuf {
    let path = folder.join("many.jsonl");
    let mut file = std::io::BufWriter::new(fs::File::create(&path).expect("writable"));
    for key in 0..keys {
        writeln!(file, "{{\"key\":\"key:{key}\",\"type\":\"list\",\"value\":[\"{key}\",\"b\",\"c\"]}}")
            .expect("written");
    }
    file.into_inner().expect("flushed");
    path
}

fn names(folder: &Path) -> Vec<String> {
    let all = fs::read_dir(folder).expect("a folder").flatten();
    let mut names: Vec<_> = all.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn start(args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
    command.args(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the tool runs")
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
}

/// Starts a command, signals it as soon as something new is in the folder, and says how it ended.
fn interrupted(folder: &Path, args: &[&str], name: &str) -> (Option<i32>, String) {
    let before = names(folder);
    let mut child = start(args);
    while names(folder) == before && child.try_wait().expect("a state").is_none() {
        std::thread::yield_now();
    }
    signal(&child, name);
    let mut told = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut told).expect("text");
    let status = child.wait().expect("an end");
    assert_eq!(status.signal(), None, "it ends by itself: {told}");
    assert_eq!(names(folder), before, "{args:?} {name}: {told}");
    (status.code(), told)
}

#[test]
fn signals_take_away_what_is_unfinished_whatever_the_command() {
    let at = tempfile::tempdir().expect("a folder");
    let lines = many(at.path(), 300_000);
    let lines = shown(&lines);
    let path = |name: &str| at.path().join(name).display().to_string();
    for (name, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        for output in ["out.rdb", "out.jsonl", "out.parquet", "appendonlydir", "store"] {
            let (ended, told) = interrupted(at.path(), &["convert", lines, &path(output)], name);
            assert_eq!(ended, Some(code), "{output}: {told}");
            assert!(told.contains("removed what was unfinished") && told.contains(output), "{told}");
        }
    }
    for (args, code) in [
        (&["compact", lines, "-o", &path("store")][..], 130),
        (&["restore", lines, "-o", &path("store")], 130),
        (&["stats", lines, "--html", &path("page.html")], 130),
    ] {
        assert_eq!(interrupted(at.path(), args, "INT").0, Some(code), "{args:?}");
    }
    // A folder that was there, empty, stays, empty. What lies in the way of nobody stays too.
    fs::create_dir_all(at.path().join("empty")).expect("a folder");
    let mut child = start(&["convert", lines, &path("empty")]);
    while names(&at.path().join("empty")).is_empty() && child.try_wait().expect("a state").is_none() {
        std::thread::yield_now();
    }
    signal(&child, "TERM");
    assert_eq!(child.wait().expect("an end").code(), Some(143));
    assert!(names(&at.path().join("empty")).is_empty());
}

#[test]
fn a_signal_that_was_ignored_stays_ignored() {
    let at = tempfile::tempdir().expect("a folder");
    let (lines, out) = (many(at.path(), 30_000), at.path().join("out.rdb"));
    let script = format!("trap '' INT; exec {} convert {} {}", env!("CARGO_BIN_EXE_firn"), shown(&lines), shown(&out));
    let mut child = Command::new("sh").args(["-c", &script]).stdout(Stdio::null()).spawn().expect("a shell");
    while names(at.path()).len() < 2 && child.try_wait().expect("a state").is_none() {
        std::thread::yield_now();
    }
    signal(&child, "INT");
    assert_eq!(child.wait().expect("an end").code(), Some(0));
    assert!(out.exists());
}

fn store(folder: &Path) -> std::collections::BTreeMap<usize, u128> {
    let clock = Arc::new(ManualClock::new(BEGIN_MS));
    let store = Store::open_folder(folder, &options(&clock)).expect("a new store");
    for key in 0..100 {
        run(&store, 0, &[b"SET", format!("key:{key}").as_bytes(), b"value"]);
    }
    let found = digests(&store);
    store.close().expect("a clean end");
    found
}

#[test]
fn a_backup_does_not_go_into_the_store_and_keeps_at_least_one() {
    let at = tempfile::tempdir().expect("a folder");
    let folder = at.path().join("store");
    store(&folder);
    let before = names(&folder);
    std::os::unix::fs::symlink(&folder, at.path().join("link")).expect("a link");
    for destination in ["store", "store/backups", "store/a/b", "link/x", "store/../store/x"] {
        let run = firn(&["backup", shown(&folder), shown(&at.path().join(destination))]).ended(2);
        assert!(run.err.contains("lies in the store"), "{}", run.err);
        assert_eq!(names(&folder), before, "{destination}");
    }
    firn(&["backup", shown(&folder), shown(&at.path().join("b")), "--keep", "0"]).ended(2);
    assert!(!at.path().join("b").exists());
    firn(&["backup", shown(&folder), shown(&at.path().join("a/b"))]).ended(0);
    // What fails leaves no empty folder.
    fs::remove_file(folder.join("STORE")).expect("removed");
    firn(&["backup", shown(&folder), shown(&at.path().join("c/d/e"))]).ended(1);
    assert!(!at.path().join("c").exists());
}

#[test]
fn only_a_store_is_compacted_in_its_place() {
    let at = tempfile::tempdir().expect("a folder");
    let (folder, dump) = (at.path().join("store"), at.path().join("dump.RDB"));
    let known = store(&folder);
    firn(&["convert", shown(&folder), shown(&dump)]).ended(0);
    assert!(fs::read(&dump).expect("readable").starts_with(b"REDIS"), "the ending counts in capitals too");
    let refused = firn(&["compact", shown(&dump), "--replace"]).ended(2);
    assert!(refused.err.contains("an RDB file") && refused.err.contains("firn convert"), "{}", refused.err);
    // Somebody's files are not taken for what was left from the last time.
    fs::create_dir(at.path().join("store.compacting")).expect("a folder");
    fs::write(at.path().join("store.compacting/theirs"), "x").expect("writable");
    let refused = firn(&["compact", shown(&folder), "--replace"]).ended(2);
    assert!(refused.err.contains("from a compaction that was interrupted"), "{}", refused.err);
    assert!(at.path().join("store.compacting/theirs").exists());
    fs::remove_dir_all(at.path().join("store.compacting")).expect("removed");
    firn(&["compact", shown(&folder), "--replace"]).ended(0);
    assert_eq!(digests_of(&folder), known);
    assert_eq!(names(at.path()), ["dump.RDB", "store", "store.before-compaction"]);
}

#[test]
fn a_large_value_of_a_row_takes_a_few_times_its_length() {
    let at = tempfile::tempdir().expect("a folder");
    let (lines, out) = (at.path().join("one.jsonl"), at.path().join("out.rdb"));
    let members: Vec<String> = (0..500_000).map(|number| format!("\"member:{number}:of a set\"")).collect();
    let text = format!("{{\"key\":\"s\",\"type\":\"set\",\"value\":[{}]}}\n", members.join(","));
    fs::write(&lines, &text).expect("writable");
    // 15 MB of text: a tree of it would be ten times as large.
    let script =
        format!("ulimit -d 110000; exec {} convert {} {}", env!("CARGO_BIN_EXE_firn"), shown(&lines), shown(&out));
    let run = Command::new("sh").args(["-c", &script]).output().expect("a shell");
    assert_eq!(run.status.code(), Some(0), "{}", String::from_utf8_lossy(&run.stderr));
}

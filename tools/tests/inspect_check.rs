//! `firn inspect` and `firn check` as a person or a script runs them, on stores made by the engine.

use firn_engine::command::NoReply;
use firn_engine::store::{ManualClock, Options, Store, SyncPolicy};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// What a run of `firn` gave.
struct Run {
    code: i32,
    out: String,
    err: String,
}

impl Run {
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }

    #[track_caller]
    fn lines(&self) -> Vec<Value> {
        self.out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }
}

fn firn(args: &[&str]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_firn")).args(args).output().expect("the tool runs");
    Run {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn options() -> Options {
    Options {
        policy: SyncPolicy::Always,
        clock: Arc::new(ManualClock::new(1_700_000_000_000)),
        segment_len: 4096,
        reserve_len: 0,
        entropy: [9; 40],
        ..Options::default()
    }
}

fn run(store: &Store, words: &[&[u8]]) {
    let mut reply = NoReply::default();
    store.run(&mut Default::default(), words, &mut reply);
    assert_eq!(reply.error, None);
}

/// A store with a snapshot at LSN 40, records on both sides of it, several segments, closed.
fn store() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open_folder(folder.path(), &options()).expect("a new store");
    for number in 0..40 {
        run(&store, &[b"SET", format!("user:{number}").as_bytes(), &[b'v'; 100]]);
    }
    let ticket = store.request_snapshot();
    store.wait_snapshot(ticket).expect("a snapshot");
    for number in 0..20 {
        run(&store, &[b"SET", format!("session:{number}").as_bytes(), b"\xff\x00binary", b"PX", b"99000"]);
    }
    run(&store, &[b"MSET", b"user:1", b"one", b"other", b"two words"]);
    run(&store, &[b"DEL", b"user:0"]);
    store.close().expect("a clean end");
    folder
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = all.filter(|path| shown(path).ends_with(ending)).collect();
    files.sort();
    files
}

#[test]
fn a_whole_store_passes_and_the_check_says_what_a_start_would_do() {
    let folder = store();
    let run = firn(&["check", shown(folder.path())]);
    assert_eq!(run.code, 0, "{}{}", run.out, run.err);
    assert!(run.out.contains("No damage found."), "{}", run.out);
    assert!(
        run.out.contains("Start: loads snap-00000000000000000040-0000000001.snap, replays 22 records (LSN 41 to 62)"),
        "{}",
        run.out
    );
    let report = firn(&["check", "--json", shown(folder.path())]).json();
    assert_eq!(report["ok"], true);
    assert_eq!(report["recovery"]["opens"], true);
    assert_eq!(report["recovery"]["lsn"], 62);
    assert_eq!(report["recovery"]["durable"], 62);
    assert!(
        report["files"].as_array().is_some_and(|files| files.len() >= 3 && files.iter().all(|file| file["ok"] == true))
    );
}

#[test]
fn a_log_that_was_off_for_a_while_is_no_damage() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options { policy: SyncPolicy::Never, ..options() };
    let open = || Store::open_folder(folder.path(), &options).expect("a store");
    let opened = open();
    run(&opened, &[b"SET", b"a", b"1"]);
    opened.set_log(false).expect("off");
    run(&opened, &[b"SET", b"a", b"2"]);
    opened.set_log(true).expect("on");
    opened.wait_snapshot(opened.request_snapshot()).expect("a snapshot");
    run(&opened, &[b"SET", b"a", b"3"]);
    // As if it was killed: the next open copies what is not durable into a segment that stands in for the first one behind the gap.
    drop(opened);
    for _ in 0..2 {
        let path = shown(folder.path());
        for words in [&["check", path][..], &["inspect", path, "--records"], &["history", path, "a"]] {
            let run = firn(words);
            let said = format!("{}{}", run.out, run.err);
            assert!(run.code == 0 && said.contains("records 2 to 2 were not logged"), "{words:?}: {} {said}", run.code);
        }
        drop(open());
    }
    let logs = files(folder.path(), ".seg");
    assert!(logs.iter().any(|path| shown(path).ends_with("log-00000000000000000003-0000000003.seg")), "{logs:?}");

    // A segment that is gone is damage.
    let folder = store();
    fs::remove_file(&files(folder.path(), ".seg")[1]).expect("removed");
    let run = firn(&["check", shown(folder.path())]);
    assert!(run.code == 1 && run.out.contains("are in no file"), "{} {}", run.code, run.out);
}

#[test]
fn looking_changes_nothing() {
    let folder = store();
    let contents = || -> Vec<(PathBuf, Vec<u8>)> {
        files(folder.path(), "").into_iter().map(|path| (path.clone(), fs::read(path).expect("readable"))).collect()
    };
    let before = contents();
    for args in [&["check"][..], &["inspect"], &["inspect", "--records"], &["inspect", "--keys"]] {
        assert_eq!(firn(&[args, &[shown(folder.path())]].concat()).code, 0);
    }
    assert_eq!(contents(), before);
}

#[test]
fn every_flipped_byte_of_a_snapshot_or_a_sealed_segment_is_reported_with_file_and_offset() {
    let folder = store();
    let snapshot = files(folder.path(), ".snap").remove(0);
    let segment = files(folder.path(), ".seg").remove(0);
    for path in [snapshot, segment] {
        let whole = fs::read(&path).expect("readable");
        let used = whole.iter().rposition(|&byte| byte != 0).expect("not empty") + 1;
        for at in (0..used).step_by(97).chain([used - 1]) {
            let mut bad = whole.clone();
            bad[at] ^= 0x10;
            fs::write(&path, &bad).expect("writable");
            let run = firn(&["check", "--json", shown(folder.path())]);
            let report = run.json();
            assert_eq!(run.code, 1, "byte {at} of {}: {}", shown(&path), run.out);
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
            let problems = report["problems"].as_array().expect("a list");
            let found = problems.iter().any(|problem| {
                problem["file"] == name
                    && problem["severity"] == "damage"
                    && problem["offset"].as_u64().is_some_and(|offset| offset <= at as u64)
            });
            assert!(found, "byte {at} of {name}: {problems:?}");
            // What nothing in the file itself states as durable could be a torn tail: the folder knows better.
            let alone = firn(&["check", shown(&path)]);
            let seen = alone.code == 1 || alone.out.contains("as far as this file can tell");
            assert!(seen, "byte {at} of {name} alone: {}", alone.out);
        }
        fs::write(&path, &whole).expect("writable");
    }
    assert_eq!(firn(&["check", shown(folder.path())]).code, 0);
}

#[test]
fn a_missing_segment_is_a_refusal_that_names_the_records() {
    let folder = store();
    let segments = files(folder.path(), ".seg");
    let needed =
        segments.iter().rfind(|path| shown(path).contains("00000000000000000041")).expect("begun by the snapshot");
    fs::remove_file(needed).expect("removable");
    let run = firn(&["check", shown(folder.path())]);
    assert_eq!(run.code, 1, "{}", run.out);
    assert!(run.out.contains("Start: refused: "), "{}", run.out);
    let report = firn(&["check", "--json", shown(folder.path())]).json();
    assert_eq!((report["ok"].clone(), report["recovery"]["opens"].clone()), (false.into(), false.into()));
}

#[test]
fn a_torn_tail_is_a_note_not_damage() {
    let folder = store();
    let last = files(folder.path(), ".seg").pop().expect("a segment");
    let mut bytes = fs::read(&last).expect("readable");
    let used = bytes.iter().rposition(|&byte| byte != 0).expect("not empty") + 1;
    // A frame whose header never arrived, behind all that was promised.
    let end = used.next_multiple_of(64) + 64;
    bytes.resize(bytes.len().max(end + 64), 0);
    bytes[end..end + 10].copy_from_slice(b"torn bytes");
    fs::write(&last, &bytes).expect("writable");
    let run = firn(&["check", shown(folder.path())]);
    assert_eq!(run.code, 0, "{}{}", run.out, run.err);
    assert!(run.out.contains("a torn tail, promised to nobody"), "{}", run.out);
    assert!(run.out.contains("sets aside"), "{}", run.out);
}

#[test]
fn records_read_like_a_diary() {
    let folder = store();
    let run = firn(&["inspect", "--records", shown(folder.path())]);
    assert_eq!(run.code, 0, "{}", run.err);
    let lines: Vec<&str> = run.out.lines().collect();
    let line = |part: &str| {
        lines.iter().find(|line| line.contains(part)).copied().unwrap_or_else(|| panic!("{part}\n{}", run.out))
    };
    assert!(
        line(" user:0 ").contains("       1  2023-11-14T22:13:20.000Z    0  SET user:0 vvvv"),
        "{}",
        line(" user:0 ")
    );
    assert!(line(" session:3 ").contains(r#"SET session:3 "\xff\x00binary""#), "{}", line(" session:3 "));
    assert!(line(" session:3 ").contains("PXAT 1700000099000"), "{}", line(" session:3 "));
    assert!(line("DEL user:0").split_whitespace().nth(1) == Some("62"), "{}", line("DEL user:0"));
    let long = firn(&["inspect", "--records", "--json", "--since-lsn", "61", shown(folder.path())]).lines();
    let lsns: Vec<_> = long.iter().filter_map(|line| line["lsn"].as_u64()).collect();
    assert_eq!(lsns, [61, 62]);
    let matching = firn(&["inspect", "--records", "--json", "--match", "session:1?", shown(folder.path())]).lines();
    assert_eq!(matching.len(), 10);
    assert_eq!(matching[0]["commands"][0]["words"][2]["hex"], "ff0062696e617279");
    assert_eq!(matching[0]["commands"][0]["words"][1], "session:10");
}

#[test]
fn keys_are_those_of_the_state_and_of_the_snapshot() {
    let folder = store();
    let keys = |path: &Path, pattern: &str| -> Vec<String> {
        let run = firn(&["inspect", "--keys", "--json", "--match", pattern, shown(path)]);
        assert_eq!(run.code, 0, "{}", run.err);
        let mut keys: Vec<_> = run.lines().iter().map(|line| line["key"].as_str().expect("text").to_owned()).collect();
        keys.sort();
        keys
    };
    assert_eq!(keys(folder.path(), "*").len(), 39 + 20 + 1);
    assert!(!keys(folder.path(), "user:*").contains(&"user:0".to_owned()));
    let snapshot = files(folder.path(), ".snap").remove(0);
    assert_eq!(keys(&snapshot, "*").len(), 40);
    assert_eq!(keys(&snapshot, "user:0"), ["user:0"]);
    let text = firn(&["inspect", "--keys", "--full", "--match", "other", shown(folder.path())]).out;
    assert_eq!(text, "  0  string  other = \"two words\"\n");
}

#[test]
fn summaries_tell_what_there_is() {
    let folder = store();
    let facts = firn(&["inspect", "--json", shown(folder.path())]).json();
    assert_eq!((facts["lsn"].clone(), facts["durable"].clone()), (62.into(), 62.into()));
    assert_eq!(facts["snapshots"][0]["entries"], 40);
    let records: u64 =
        facts["segments"].as_array().expect("a list").iter().filter_map(|it| it["records"].as_u64()).sum();
    assert_eq!(records, 62);
    let snapshot = files(folder.path(), ".snap").remove(0);
    let facts = firn(&["inspect", "--json", shown(&snapshot)]).json();
    assert_eq!((facts["lsn"].clone(), facts["entries"].clone()), (40.into(), 40.into()));
    let segment = files(folder.path(), ".seg").remove(0);
    let facts = firn(&["inspect", "--json", shown(&segment)]).json();
    assert_eq!(facts["first_lsn"], 1);
    assert!(facts["commands"]["SET"].as_u64().is_some_and(|times| times > 0));
    for path in [folder.path(), &snapshot, &segment, &folder.path().join("STORE")] {
        let run = firn(&["inspect", shown(path)]);
        assert_eq!(run.code, 0, "{}", run.err);
        assert!(run.out.contains(&"09".repeat(16)), "the store's id: {}", run.out);
        assert!(!run.out.contains('\x1b'), "no colours where there is no terminal");
    }
}

#[test]
fn a_damaged_snapshot_is_shown_as_far_as_it_goes() {
    let folder = store();
    let snapshot = files(folder.path(), ".snap").remove(0);
    let bytes = fs::read(&snapshot).expect("readable");
    fs::write(&snapshot, &bytes[..bytes.len() - 10]).expect("writable");
    let run = firn(&["inspect", shown(&snapshot)]);
    assert_eq!(run.code, 1);
    assert!(run.out.contains("state at LSN") && run.out.contains("40"), "{}", run.out);
}

#[test]
fn what_cannot_be_read_or_makes_no_sense_has_its_own_exit_code() {
    let folder = store();
    let path = shown(folder.path());
    let snapshot = files(folder.path(), ".snap").remove(0);
    assert_eq!(firn(&["check", "/nowhere/at/all"]).code, 3);
    assert_eq!(firn(&["check"]).code, 2);
    assert_eq!(firn(&["inspect", "--records", "--keys", path]).code, 2);
    assert_eq!(firn(&["inspect", "--match", "x", path]).code, 2);
    assert_eq!(firn(&["inspect", "--records", shown(&snapshot)]).code, 2);
    let empty = tempfile::tempdir().expect("a folder");
    assert_eq!(firn(&["check", shown(empty.path())]).code, 2);
    fs::write(empty.path().join("dump.rdb"), "REDIS0011").expect("writable");
    assert_eq!(firn(&["check", shown(&empty.path().join("dump.rdb"))]).code, 1);
    let mut newer = fs::read(&snapshot).expect("readable");
    newer[8] = 2;
    let crc = crc32(&newer[..124]);
    newer[124..128].copy_from_slice(&crc.to_le_bytes());
    fs::write(&snapshot, newer).expect("writable");
    let run = firn(&["check", shown(&snapshot)]);
    assert_eq!(run.code, 3, "{}", run.out);
    assert!(run.out.contains("format version 2"), "a newer format is not damage: {}", run.out);
    let help = firn(&["check", "--help"]);
    assert_eq!(help.code, 0);
    assert!(help.out.contains("Exit codes"));
}

/// CRC-32 (IEEE), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step =
        |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ ((crc & 1) * 0xedb8_8320));
    !bytes.iter().fold(!0, step)
}

#[test]
fn follow_shows_records_as_they_are_written_across_segments_and_epochs() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open_folder(folder.path(), &options()).expect("a new store");
    run(&store, &[b"SET", b"first", b"1"]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_firn"))
        .args(["inspect", "--records", "--follow", "--json", "--match", "*", shown(folder.path())])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the tool runs");
    let out = std::io::BufReader::new(child.stdout.take().expect("piped"));
    let mut lines =
        std::io::BufRead::lines(out).map(|line| -> Value { serde_json::from_str(&line.expect("text")).expect("JSON") });
    assert_eq!(lines.next().expect("a record")["commands"][0]["words"][1], "first");
    for number in 2..=60 {
        run(&store, &[b"SET", format!("key:{number}").as_bytes(), &[b'x'; 200]]);
    }
    for number in 2..=60 {
        let line = lines.next().expect("a record");
        assert_eq!(line["lsn"], number);
    }
    store.close().expect("a clean end");
    // A process that another test is just starting may hold the lock's descriptor until it runs its own program.
    let store = loop {
        match Store::open_folder(folder.path(), &options()) {
            Err(firn_engine::recovery::OpenError::InUse(_)) => std::thread::sleep(std::time::Duration::from_millis(5)),
            opened => break opened.expect("the next epoch"),
        }
    };
    run(&store, &[b"SET", b"last", b"1"]);
    let line = lines.next().expect("a record");
    assert_eq!((line["lsn"].clone(), line["commands"][0]["words"][1].clone()), (61.into(), "last".into()));
    child.kill().expect("running");
    child.wait().expect("ended");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = store();
    let mut child = Command::new(env!("CARGO_BIN_EXE_firn"))
        .args(["inspect", "--records", "--full", shown(folder.path())])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ended");
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}

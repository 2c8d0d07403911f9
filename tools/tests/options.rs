//! Every command and every option that a command takes does what it says, or says why not; errors are JSON where JSON was asked for; whoever
//! stops reading sees no error.

mod common;

use common::{BEGIN_MS, digests, digests_of, firn, options, run, shown};
use firn_engine::store::{ManualClock, Store};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

const LIBRARY: &[u8] = b"#!lua name=mine\nredis.register_function('one', function() return \"\\1\" end)";

/// A store with a library, keys of some types in two databases, and a log.
fn store(folder: &Path) -> BTreeMap<usize, u128> {
    let clock = Arc::new(ManualClock::new(BEGIN_MS));
    let store = Store::open_folder(folder, &options(&clock)).expect("a new store");
    for key in 0..200 {
        run(&store, 0, &[b"SET", format!("user:{key:04}").as_bytes(), &vec![b'x'; key * 10]]);
        run(&store, 1, &[b"SADD", format!("set:{key}").as_bytes(), b"a", b"b"]);
    }
    run(&store, 0, &[b"SET", b"gone", b"x", b"PXAT", b"1700000000001"]);
    run(&store, 0, &[b"SET", b"mortal", b"x", b"PXAT", b"9000000000000"]);
    run(&store, 0, &[b"FUNCTION", b"LOAD", b"REPLACE", LIBRARY]);
    let found = digests(&store);
    store.close().expect("a clean end");
    found
}

/// Every form of the same keys: its path by its name.
fn forms(folder: &Path) -> BTreeMap<&'static str, String> {
    let from = folder.join("store");
    store(&from);
    let mut forms = BTreeMap::from([("store", shown(&from).to_owned())]);
    for name in ["all.rdb", "all.aof", "appendonlydir", "all.jsonl", "all.csv", "all.parquet"] {
        let path = folder.join(name);
        firn(&["convert", shown(&from), shown(&path)]).ended(0);
        forms.insert(name, shown(&path).to_owned());
    }
    forms
}

#[test]
fn libraries_of_functions_come_along_or_it_is_told_that_they_do_not() {
    let at = tempfile::tempdir().expect("a folder");
    let (from, lines) = (at.path().join("store"), at.path().join("all.jsonl"));
    let known = store(&from);
    let facts = firn(&["convert", shown(&from), shown(&lines), "--json"]).ended(0).json();
    assert_eq!((&facts["libraries"], facts["libraries_left_out"].as_array().map(Vec::len)), (&1.into(), Some(0)));
    let back = at.path().join("back");
    firn(&["convert", shown(&lines), shown(&back)]).ended(0);
    assert_eq!(digests_of(&back), known);
    for path in [&lines, &back] {
        let again = at.path().join("again.rdb");
        firn(&["convert", shown(path), shown(&again)]).ended(0);
        let found = firn(&["check", shown(&again), "--json"]).ended(0).json();
        assert_eq!(found["libraries"], serde_json::json!(["mine"]), "{}", path.display());
        assert!(memchr::memmem::find(&fs::read(&again).expect("readable"), LIBRARY).is_some());
        fs::remove_file(again).expect("removed");
    }
    assert_eq!(firn(&["check", shown(&lines), "--json"]).ended(0).json()["libraries"], serde_json::json!(["mine"]));
    for (name, more) in [("t.csv", &[][..]), ("t.parquet", &[]), ("t.rdb", &["--rdb-version", "9"])] {
        let path = at.path().join(name);
        let run = firn(&[&["convert", shown(&from), shown(&path), "--json"], more].concat()).ended(0);
        assert_eq!(run.json()["libraries_left_out"], serde_json::json!(["mine"]), "{name}");
        assert!(run.err.contains("left out") && run.err.contains("mine"), "{name}: {}", run.err);
    }
    // A line that is no library is damage.
    fs::write(&lines, "{\"library\":\"x\",\"source\":\"no header\"}\n").expect("writable");
    firn(&["check", shown(&lines)]).ended(1);
}

#[test]
fn what_compaction_saves_is_estimated_within_a_few_percent_in_any_order_of_keys() {
    let at = tempfile::tempdir().expect("a folder");
    let (folder, sorted) = (at.path().join("store"), at.path().join("sorted.jsonl"));
    let clock = Arc::new(ManualClock::new(BEGIN_MS));
    let store = Store::open_folder(&folder, &options(&clock)).expect("a new store");
    for round in 0..4 {
        for key in 0..4000 {
            let value = format!("round {round} of key {key} with some text behind it");
            let deadline = if key % 3 == 0 { "1700000000001" } else { "9000000000000" };
            let key = format!("user:{key:06}:profile");
            run(&store, 0, &[b"SET", key.as_bytes(), value.as_bytes(), b"PXAT", deadline.as_bytes()]);
        }
    }
    for element in 0..60_000 {
        run(&store, 2, &[b"RPUSH", b"long", format!("element {element}").as_bytes()]);
    }
    run(&store, 2, &[b"SET", b"string", &b"abcdefgh".repeat(100_000)]);
    store.close().expect("a clean end");
    let lines: String = (0..20_000)
        .map(|key| {
            format!(
                "{{\"key\":\"user:{key:06}\",\"type\":\"string\",\"value\":\"user {key} of group {}\"}}\n",
                key / 100
            )
        })
        .collect();
    fs::write(&sorted, lines).expect("writable");
    for (number, path) in [&folder, &sorted].into_iter().enumerate() {
        let mut paths = vec![path.clone()];
        for ending in ["rdb", "aof"] {
            let made = at.path().join(format!("{number}.{ending}"));
            firn(&["convert", shown(path), shown(&made)]).ended(0);
            paths.push(made);
        }
        for path in paths {
            let estimate = firn(&["stats", shown(&path), "--json"]).ended(0).json();
            let out = at.path().join("compact");
            let made = firn(&["compact", shown(&path), "-o", shown(&out), "--json"]).ended(0).json();
            let number = |facts: &Value, name: &str| facts[name].as_f64().expect("a number");
            assert_eq!(estimate["file_bytes"], made["bytes_before"]);
            let factor = number(&estimate, "compact_bytes") / number(&made, "bytes");
            assert!((0.95..1.05).contains(&factor), "{}: {factor} {made}", path.display());
            fs::remove_dir_all(out).expect("removed");
        }
    }
    let some = firn(&["stats", shown(&folder), "--match", "user:*"]).ended(0);
    assert!(some.out.contains("what was chosen would take"), "{}", some.out);
}

#[test]
fn an_rdb_file_has_no_changes_and_says_so() {
    let at = tempfile::tempdir().expect("a folder");
    let forms = forms(at.path());
    for args in [&["inspect", &forms["all.rdb"], "--records"][..], &["history", &forms["all.rdb"], "user:1"]] {
        let run = firn(args).ended(2);
        assert!(
            run.err.contains("RDB file") && run.err.contains("--keys") | run.err.contains("firn get"),
            "{}",
            run.err
        );
    }
    for name in ["all.aof", "appendonlydir", "store"] {
        firn(&["inspect", &forms[name], "--records"]).ended(0);
    }
}

#[test]
fn filters_choose_or_are_refused_with_a_reason() {
    let at = tempfile::tempdir().expect("a folder");
    let forms = forms(at.path());
    let of_keys: [&[&str]; 7] = [
        &["--db", "1"],
        &["--match", "user:000*"],
        &["--not-match", "user:*"],
        &["--type", "set"],
        &["--ttl", "some"],
        &["--min-bytes", "1000"],
        &[
            "--db",
            "0",
            "--match",
            "*1*",
            "--not-match",
            "*2*",
            "--type",
            "string",
            "--ttl",
            "none",
            "--min-bytes",
            "500",
        ],
    ];
    let of_moments: [&[&str]; 3] = [&["--since", "5"], &["--until", "2020-01-01"], &["--lsn", "5..10"]];
    let out = at.path().join("out.jsonl");
    for filter in of_keys {
        // What the keys of the store are is what every other form and command must agree with.
        let keys = firn(&[&["inspect", &forms["store"], "--keys", "--json"], filter].concat()).ended(0).lines().len();
        assert!(0 < keys && keys < 402, "{filter:?}: {keys}");
        for (name, path) in &forms {
            let listed = firn(&[&["inspect", path, "--keys", "--json"], filter].concat()).ended(0).lines().len();
            assert_eq!(listed, keys, "{name} {filter:?}");
            let counted = firn(&[&["stats", path, "--json"], filter].concat()).ended(0).json();
            assert_eq!(counted["total"]["keys"], keys, "{name} {filter:?}");
            let made = firn(&[&["convert", path, shown(&out), "--json"], filter].concat()).ended(0).json();
            assert_eq!(made["entries"], keys, "{name} {filter:?}");
            fs::remove_file(&out).expect("removed");
            let args = ["diff", path, &forms["store"], "--with-expired", "--summary", "--json"];
            let same = firn(&[&args, filter].concat()).ended(0).json();
            assert_eq!(same["same"], keys, "{name} {filter:?}");
        }
        for (command, more) in [("compact", &["--keep-expired"][..]), ("restore", &[])] {
            let new = at.path().join("new");
            let args = [&[command, &forms["store"], "-o", shown(&new), "--json"], more, filter].concat();
            assert_eq!(firn(&args).ended(0).json()["entries"], keys, "{command} {filter:?}");
            fs::remove_dir_all(new).expect("removed");
        }
        for args in [&["check", &forms["store"]][..], &["backup", &forms["store"], "x"], &["get", &forms["store"], "x"]]
        {
            if (args[0], filter[0]) != ("get", "--db") {
                let run = firn(&[args, filter].concat()).ended(2);
                assert!(run.err.contains(&format!("firn {} takes ", args[0])), "{}", run.err);
            }
        }
        assert!(firn(&[&["inspect", &forms["store"]], filter].concat()).ended(2).err.contains("--records or --keys"));
    }
    for filter in &of_keys[3..6] {
        assert!(firn(&[&["history", &forms["store"], "x"], *filter].concat()).ended(2).err.contains("about values"));
        assert!(firn(&[&["inspect", &forms["store"], "--records"], *filter].concat()).ended(2).err.contains("--keys"));
    }
    let all = firn(&["inspect", &forms["store"], "--records", "--json"]).ended(0).lines().len();
    for filter in of_moments {
        for args in
            [&["stats"][..], &["convert", "x"], &["diff", "x"], &["compact"], &["restore"], &["serve"], &["repair"]]
        {
            let run = firn(&[&[args[0], &forms["store"]], &args[1..], filter].concat()).ended(2);
            assert!(run.err.contains("choose changes"), "{args:?} {filter:?}: {}", run.err);
        }
        assert!(firn(&[&["inspect", &forms["store"], "--keys"], filter].concat()).ended(2).err.contains("--to"));
        let changes =
            firn(&[&["inspect", &forms["store"], "--records", "--json"], filter].concat()).ended(0).lines().len();
        assert!(changes < all, "{filter:?}: {changes}");
        let history = firn(&[&["history", &forms["store"], "--match", "*", "--json"], filter].concat()).ended(0);
        assert!(history.lines().len() <= changes, "{filter:?}");
    }
    for wrong in [&["--lsn", "5..3"][..], &["--since", "9", "--until", "5"], &["--lsn", "x"], &["--since", "soon"]] {
        firn(&[&["inspect", &forms["store"], "--records"], wrong].concat()).ended(2);
        firn(&[&["history", &forms["store"], "--match", "*"], wrong].concat()).ended(2);
    }
    firn(&["history", &forms["store"], "user:0001", "--match", "x*"]).ended(2);
    for wrong in [&["--type", "strings"][..], &["--ttl", "soon"], &["--min-bytes", "many"], &["--db", "x"]] {
        firn(&[&["stats", &forms["store"]], wrong].concat()).ended(2);
    }
}

#[test]
fn errors_are_json_where_json_was_asked_for() {
    let at = tempfile::tempdir().expect("a folder");
    let forms = forms(at.path());
    let (store, rdb) = (&forms["store"], &forms["all.rdb"]);
    let damaged = at.path().join("damaged.rdb");
    let mut bytes = fs::read(rdb).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 20].fill(0xff);
    fs::write(&damaged, bytes).expect("writable");
    for (args, code) in [
        (&["stats", "nothing-there"][..], 3),
        (&["stats", shown(&damaged)], 1),
        (&["stats", store, "--bogus"], 2),
        (&["stats", store, "--since", "5"], 2),
        (&["check", "nothing-there"], 3),
        (&["inspect", "nothing-there"], 3),
        (&["inspect", rdb, "--records"], 2),
        (&["inspect", store, "--records", "--lsn", "5..3"], 2),
        (&["history", rdb, "x"], 2),
        (&["get", "nothing-there", "x"], 3),
        (&["diff", store, "nothing-there"], 3),
        (&["diff", store], 2),
        (&["convert", shown(&damaged), shown(&at.path().join("x.rdb"))], 1),
        (&["convert", store, rdb], 2),
        (&["compact", rdb, "--replace"], 2),
        (&["restore", rdb, "--to", "5", "-o", "x"], 2),
        (&["restore", store, "--into", "redis://127.0.0.1:1"], 3),
        (&["backup", store, store], 2),
        (&["backup", store, "x", "--keep", "0"], 2),
        (&["repair", "nothing-there", "-o", "x"], 3),
    ] {
        let run = firn(&[args, &["--json"]].concat()).ended(code);
        let last = run.lines().pop().unwrap_or_else(|| panic!("{args:?}: {}", run.err));
        assert_eq!(
            (last["exit_code"].as_i64(), last["error"].is_string()),
            (Some(code.into()), true),
            "{args:?}: {last}"
        );
    }
    // Where the data goes to standard output its error does not.
    let run = firn(&["convert", shown(&damaged), "-", "--format", "jsonl", "--json"]).ended(1);
    assert!(run.err.lines().any(|line| line.starts_with("{\"error\"")), "{}", run.err);
    assert!(run.lines().iter().all(|line| line["key"].is_string()));
}

#[test]
fn whoever_stops_reading_sees_no_error_and_dash_is_standard_input() {
    let at = tempfile::tempdir().expect("a folder");
    let forms = forms(at.path());
    let (store, rdb) = (&forms["store"][..], &forms["all.rdb"][..]);
    for args in [
        &["inspect", store, "--keys"][..],
        &["inspect", store, "--records", "--full"],
        &["inspect", rdb, "--keys", "--json"],
        &["history", store, "--match", "*"],
        &["get", store, "user:0199"],
        &["stats", rdb],
        &["check", store],
        &["diff", store, rdb, "--match", "user*", "--with-expired"],
        &["convert", store, "-", "--format", "jsonl"],
        &["convert", store, "-", "--format", "csv"],
        &["convert", store, "-", "--format", "resp"],
        &["convert", store, "-", "--format", "rdb"],
        &["convert", store, "-", "--format", "parquet"],
        &["--help"],
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_firn"))
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the tool runs");
        let mut first = Vec::new();
        BufReader::with_capacity(16, child.stdout.take().expect("piped")).read_until(b'\n', &mut first).expect("read");
        let mut told = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut told).expect("text");
        let code = child.wait().expect("an end").code();
        let libraries = told.starts_with("firn: left out") && told.lines().count() == 1;
        assert!(told.is_empty() || libraries, "{args:?}: {told}");
        assert_eq!(code, Some(0), "{args:?}");
    }
    let piped = |args: &[&str], path: &str| {
        let input = fs::File::open(path).expect("readable");
        let output = Command::new(env!("CARGO_BIN_EXE_firn")).args(args).stdin(input).output().expect("the tool runs");
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for name in ["all.rdb", "all.aof", "all.jsonl", "all.csv", "all.parquet"] {
        let path = &forms[name];
        assert!(piped(&["check", "-"], path).contains("No damage"), "{name}");
        assert!(piped(&["inspect", "-", "--keys"], path).contains("user:0007"), "{name}");
        assert!(piped(&["get", "-", "user:0001"], path).contains("xxxxxxxxxx"), "{name}");
        assert!(piped(&["stats", "-", "--json"], path).contains("\"keys\": 402"), "{name}");
        assert!(piped(&["diff", "-", path], path).contains("0 changed"), "{name}");
        assert!(piped(&["diff", path, "-"], path).contains("0 changed"), "{name}");
        assert_eq!(
            piped(&["convert", "-", "-", "--format", "jsonl", "--match", "mortal"], path).lines().count(),
            1,
            "{name}"
        );
        for command in ["compact", "restore"] {
            let new = at.path().join("new");
            piped(&[command, "-", "-o", shown(&new)], path);
            fs::remove_dir_all(new).expect("removed");
        }
    }
    assert!(piped(&["history", "-", "user:0001"], &forms["all.aof"]).contains("SET"));
    firn(&["compact", "-", "--replace"]).ended(2);
}

#[test]
fn a_star_alone_matches_the_empty_name_too() {
    let at = tempfile::tempdir().expect("a folder");
    let lines = at.path().join("all.jsonl");
    let all =
        [r#"{"key":"","type":"string","value":"a secret"}"#, r#"{"key":"a","type":"hash","value":{"":"a secret"}}"#];
    fs::write(&lines, all.join("\n")).expect("written");
    let convert =
        |more: &[&str]| firn(&[&["convert", shown(&lines), "-", "--format", "jsonl"], more].concat()).ended(0);
    assert!(!convert(&["--redact", "*"]).out.contains("a secret"));
    assert_eq!(convert(&["--match", "*"]).lines().len(), 2);
    assert_eq!(convert(&["--not-match=*"]).lines().len(), 0);
    assert_eq!(convert(&["--match", "a*"]).lines().len(), 1);
}

#[test]
fn a_table_that_ends_within_a_quoted_cell_was_cut() {
    let at = tempfile::tempdir().expect("a folder");
    let (lines, table) = (at.path().join("all.jsonl"), at.path().join("all.csv"));
    fs::write(&lines, r#"{"key":"a","type":"list","value":["one","two"]}"#).expect("written");
    firn(&["convert", shown(&lines), shown(&table)]).ended(0);
    let whole = fs::read_to_string(&table).expect("readable");
    firn(&["check", shown(&table)]).ended(0);
    fs::write(&table, whole.trim_end().trim_end_matches('"')).expect("written");
    let told = firn(&["check", shown(&table)]).ended(1).out;
    assert!(told.contains("ends within a quoted cell"), "{told}");
    firn(&["convert", shown(&table), shown(&at.path().join("new.rdb"))]).ended(1);
}

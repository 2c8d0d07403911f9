//! `firn compact`, `firn diff`, `firn stats`: whole states, at once.

mod common;

use common::{BEGIN_MS, Numbers, digests, digests_of, files, firn, open_again, options, random_command, run, shown};
use firn_engine::store::{ManualClock, Store};
use std::path::Path;
use std::sync::Arc;

/// A store with a varied history, a snapshot in the middle; its digests.
fn varied(folder: &Path, writes: u64) -> std::collections::BTreeMap<usize, u128> {
    let clock = Arc::new(ManualClock::new(BEGIN_MS));
    let store = Store::open_folder(folder, &options(&clock)).expect("a new store");
    let mut numbers = Numbers(11);
    for at in 0..writes {
        let (db, words) = random_command(&mut numbers, 100);
        run(&store, db, &words.iter().map(Vec::as_slice).collect::<Vec<_>>());
        if at == writes / 2 {
            let ticket = store.request_snapshot();
            while store.step() {}
            store.wait_snapshot(ticket).expect("a snapshot");
        }
    }
    let found = digests(&store);
    store.close().expect("a clean end");
    found
}

#[test]
fn a_compact_store_is_equal_and_smaller() {
    let at = tempfile::tempdir().expect("a folder");
    let (store, small) = (at.path().join("store"), at.path().join("small"));
    let known = varied(&store, 2000);
    let args = ["compact", shown(&store), "-o", shown(&small), "--keep-expired", "--memory", "64kB", "--json"];
    let facts = firn(&args).ended(0).json();
    assert!(facts["bytes"].as_u64() < facts["bytes_before"].as_u64(), "{facts}");
    assert_eq!(files(&small, "").len(), 2, "an identity and a snapshot");
    assert_eq!(firn(&["diff", shown(&store), shown(&small), "--with-expired"]).ended(0).code, 0);
    assert_eq!(firn(&["check", shown(&small)]).ended(0).code, 0);
    assert_eq!(digests_of(&small), known);
    // In its place, and never while somebody has it open.
    let held = open_again(&small, &firn_engine::store::Options { threads: false, ..Default::default() });
    firn(&["compact", shown(&small), "--replace"]).ended(2);
    held.close().expect("a clean end");
    // A lock that a starting process of another test still holds is no server.
    let replace = || firn(&["compact", shown(&store), "--replace", "--keep-expired"]);
    let mut replaced = replace();
    while replaced.code == 2 && replaced.err.contains("in use") {
        replaced = replace();
    }
    replaced.ended(0);
    assert_eq!(files(&store, "").len(), 2, "an identity and a snapshot");
    assert_eq!(digests_of(&store), known);
    let old = at.path().join("store.before-compaction");
    assert!(files(&old, ".seg").len() > 1, "the old one");
    assert_eq!(digests_of(&old), known);
}

#[test]
fn libraries_of_functions_go_where_the_data_goes() {
    let at = tempfile::tempdir().expect("a folder");
    let (folder, small) = (at.path().join("store"), at.path().join("small"));
    let clock = Arc::new(ManualClock::new(BEGIN_MS));
    let store = Store::open_folder(&folder, &options(&clock)).expect("a new store");
    for name in ["one", "two", "three"] {
        let source = format!("#!lua name={name}\n-- {name}");
        run(&store, 0, &[b"FUNCTION", b"LOAD", b"REPLACE", source.as_bytes()]);
        run(&store, 0, &[b"SET", name.as_bytes(), b"v"]);
    }
    let ticket = store.request_snapshot();
    while store.step() {}
    store.wait_snapshot(ticket).expect("a snapshot");
    run(&store, 0, &[b"FUNCTION", b"DELETE", b"two"]);
    run(&store, 0, &[b"FUNCTION", b"LOAD", b"REPLACE", b"#!lua name=four\n"]);
    store.close().expect("a clean end");
    firn(&["compact", shown(&folder), "-o", shown(&small)]).ended(0);
    let made = open_again(&small, &firn_engine::store::Options { threads: false, ..Default::default() });
    let names: Vec<_> = made.lock().keyspace.libraries.iter().map(|(name, _)| name.to_vec()).collect();
    assert_eq!(names, [&b"four"[..], b"one", b"three"]);
    made.close().expect("a clean end");
    let commands = firn(&["convert", shown(&folder), "-", "--format", "resp"]).ended(0).out;
    assert_eq!(commands.matches("FUNCTION").count(), 3, "{commands}");
    let chosen = firn(&["convert", shown(&folder), "-", "--format", "resp", "--match", "one"]).ended(0).out;
    assert_eq!(chosen.matches("FUNCTION").count(), 0, "{chosen}");
}

#[test]
fn a_diff_names_what_differs_and_nothing_else() {
    let at = tempfile::tempdir().expect("a folder");
    let folder = at.path().join("store");
    let clock = Arc::new(ManualClock::new(BEGIN_MS));
    let store = Store::open_folder(&folder, &options(&clock)).expect("a new store");
    for number in 0..1000 {
        run(&store, 0, &[b"SET", format!("key:{number}").as_bytes(), b"value"]);
    }
    let from = store.last_lsn();
    run(&store, 0, &[b"SET", b"key:1", b"other"]);
    run(&store, 0, &[b"DEL", b"key:2"]);
    run(&store, 0, &[b"SADD", b"new", b"member"]);
    run(&store, 0, &[b"PEXPIREAT", b"key:3", b"9000000000000"]);
    run(&store, 0, &[b"SET", b"key:4", b"x"]);
    run(&store, 0, &[b"SET", b"key:4", b"value"]);
    store.close().expect("a clean end");
    let from = from.to_string();
    for memory in ["64kB", "64MB"] {
        let lines = firn(&["diff", shown(&folder), "--from", &from, "--json", "--memory", memory]).ended(4).lines();
        let mut changes: Vec<_> =
            lines[..lines.len() - 1].iter().map(|line| (line["key"].to_string(), line["change"].to_string())).collect();
        changes.sort();
        let expected = [("key:1", "changed"), ("key:2", "removed"), ("key:3", "changed"), ("new", "added")];
        let expected = expected.map(|(key, change)| (format!("\"{key}\""), format!("\"{change}\"")));
        assert_eq!(changes, expected);
        let counts = lines.last().expect("counts");
        assert_eq!((counts["same"].as_u64(), counts["keys_before"].as_u64()), (Some(997), Some(1000)));
    }
    let text = firn(&["diff", shown(&folder), "--from", &from, "--ignore-ttl", "--summary"]).ended(4).out;
    assert!(text.starts_with("1 added, 1 removed, 1 changed, 998 the same"), "{text}");
    let same = firn(&["diff", shown(&folder), "--from", &from, "--match", "key:9*"]).ended(0).out;
    assert!(same.starts_with("0 added, 0 removed, 0 changed"), "{same}");
    firn(&["diff", shown(&folder)]).ended(2);
}

#[test]
fn statistics_count_everything_once() {
    let at = tempfile::tempdir().expect("a folder");
    let folder = at.path().join("store");
    let clock = Arc::new(ManualClock::new(BEGIN_MS));
    let store = Store::open_folder(&folder, &options(&clock)).expect("a new store");
    for number in 0..300 {
        run(&store, 0, &[b"SET", format!("user:{number}:name").as_bytes(), &vec![b'v'; number]]);
        run(&store, 1, &[b"SADD", format!("tags:{number}").as_bytes(), b"one", b"two"]);
    }
    run(&store, 0, &[b"SET", b"big<script>", &[0; 100_000], b"PXAT", b"9000000000000"]);
    store.close().expect("a clean end");
    let page = at.path().join("page.html");
    let facts = firn(&["stats", shown(&folder), "--json", "--html", shown(&page), "--top", "5"]).ended(0).json();
    assert_eq!(facts["total"]["keys"], 601);
    assert_eq!(facts["types"]["set"]["elements"], 600);
    assert_eq!(facts["databases"]["1"]["keys"], 300);
    assert_eq!(
        (&facts["biggest"][0]["key"], facts["biggest"].as_array().map(Vec::len)),
        (&"big<script>".into(), Some(5))
    );
    let patterns: Vec<_> =
        facts["patterns"].as_array().expect("a list").iter().map(|it| it["pattern"].as_str()).collect();
    assert!(patterns.contains(&Some("user:*:name")) && patterns.contains(&Some("tags:*")), "{patterns:?}");
    let sizes: u64 =
        facts["sizes"].as_array().expect("a list").iter().filter_map(|it| it["count"]["keys"].as_u64()).sum();
    assert_eq!(sizes, 601);
    let ttl = |class: &str| facts["ttl"][class]["keys"].as_u64();
    assert_eq!((ttl("none"), ttl("expired")), (Some(600), Some(0)));
    // The estimate is about what compaction really gives.
    let small = at.path().join("small");
    let made = firn(&["compact", shown(&folder), "-o", shown(&small), "--json"]).ended(0).json()["bytes"]
        .as_u64()
        .expect("a number");
    let estimate = facts["compact_bytes"].as_u64().expect("a number");
    assert!(estimate.abs_diff(made) < made / 3, "{estimate} {made}");
    let html = std::fs::read_to_string(&page).expect("a page");
    assert!(html.contains("user:*:name") && html.contains("big&lt;script&gt;"));
    assert!(!html.contains("<script") && !html.contains("http"), "nothing from elsewhere, and keys are text");
    let text = firn(&["stats", shown(&folder), "--type", "set"]).ended(0).out;
    assert!(text.starts_with("300 keys as of LSN 601"), "{text}");
}

#[test]
fn every_help_teaches() {
    for command in [
        "inspect", "check", "get", "history", "restore", "compact", "diff", "stats", "repair", "convert", "backup",
        "serve",
    ] {
        let help = firn(&[command, "--help"]).ended(0).out;
        assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{command}: {help}");
    }
    let all = firn(&["--help"]).ended(0).out;
    assert!(all.contains("Exit codes:"), "{all}");
}

//! `firn restore`, `firn get`, `firn history`: any moment of a store's history is exactly what it was.

mod common;

use common::{BEGIN_MS, Numbers, Run, digests, digests_of, firn, options, random_command, run, shown};
use firn_engine::store::{ManualClock, Store};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Writes of the long run; more with FIRN_TOOLS_WRITES.
fn writes() -> u64 {
    std::env::var("FIRN_TOOLS_WRITES").ok().and_then(|text| text.parse().ok()).unwrap_or(6000)
}

#[test]
fn fifty_random_moments_of_a_long_run_are_what_they_were() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(BEGIN_MS));
    let store = Store::open_folder(folder.path(), &options(&clock)).expect("a new store");
    let mut numbers = Numbers(7);
    let total = writes();
    let mut moments: Vec<u64> = (0..50).map(|_| 1 + numbers.below(total)).collect();
    moments.sort_unstable();
    let mut known: BTreeMap<u64, (BTreeMap<usize, u128>, u64)> = BTreeMap::new();
    for at in 1..=total {
        clock.advance(3);
        let (db, words) = random_command(&mut numbers, 150);
        run(&store, db, &words.iter().map(Vec::as_slice).collect::<Vec<_>>());
        store.commit();
        if moments.contains(&at) {
            let lsn = store.last_lsn();
            known.insert(lsn, (digests(&store), BEGIN_MS + at * 3));
        }
        if at % (total / 4) == 0 && at < total {
            let ticket = store.request_snapshot();
            while store.step() {}
            store.wait_snapshot(ticket).expect("a snapshot");
        }
    }
    store.close().expect("a clean end");
    assert!(known.len() > 30);
    let at = tempfile::tempdir().expect("a folder");
    for (number, (lsn, (digests, time_ms))) in known.iter().enumerate() {
        let made = at.path().join(number.to_string());
        // By LSN or by time, with little memory (so that it takes several passes) or with enough.
        let to = if number % 3 == 0 { format!("@{}", *time_ms as f64 / 1000.0) } else { lsn.to_string() };
        let memory = if number % 2 == 0 { "64kB" } else { "64MB" };
        let run =
            firn(&["restore", shown(folder.path()), "--to", &to, "-o", shown(&made), "--memory", memory, "--json"])
                .ended(0);
        assert_eq!(run.json()["lsn"], *lsn, "{to}");
        assert_eq!(digests_of(&made), *digests, "LSN {lsn}, memory {memory}");
    }
}

/// A store with users and carts, then FLUSHALL by mistake, and some more.
fn mistaken() -> (tempfile::TempDir, u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(BEGIN_MS));
    let store = Store::open_folder(folder.path(), &options(&clock)).expect("a new store");
    for number in 0..50 {
        run(&store, 0, &[b"SET", format!("user:{number}").as_bytes(), format!("name {number}").as_bytes()]);
        run(&store, 0, &[b"RPUSH", format!("cart:{number}").as_bytes(), b"apples", b"two words", b"\xff\x00"]);
    }
    run(&store, 0, &[b"HSET", b"cart:h", b"field", b"value", b"other", b"thing"]);
    run(&store, 0, &[b"RENAME", b"user:1", b"user:one"]);
    clock.advance(60_000);
    run(&store, 0, &[b"FLUSHALL"]);
    let lsn = store.last_lsn();
    run(&store, 0, &[b"SET", b"user:7", b"new"]);
    store.close().expect("a clean end");
    (folder, lsn)
}

#[test]
fn history_tells_every_change_with_sizes_and_the_flush_that_ended_it() {
    let (folder, flushed) = mistaken();
    let path = shown(folder.path());
    let lines = firn(&["history", path, "user:7", "--json"]).ended(0).lines();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0]["words"][0], "SET");
    assert_eq!((&lines[0]["before"], &lines[0]["after"]["bytes"]), (&serde_json::Value::Null, &6.into()));
    assert_eq!((lines[1]["lsn"].as_u64(), &lines[1]["after"]), (Some(flushed), &serde_json::Value::Null));
    assert_eq!(lines[2]["after"]["bytes"], 3);
    let lines = firn(&["history", path, "--match", "user:one", "--json"]).ended(0).lines();
    assert_eq!((lines[0]["words"][0].as_str(), lines[0]["after"]["bytes"].as_u64()), (Some("RENAME"), Some(6)));
    let only =
        firn(&["history", path, "--match", "user:*", "--lsn", &format!("{flushed}.."), "--json"]).ended(0).lines();
    assert_eq!(only.len(), 50 + 1, "each key that the flush took, and the new one");
    let text = firn(&["history", path, "cart:3"]).ended(0).out;
    assert!(text.contains("RPUSH cart:3 apples \"two words\"") && text.contains("new: list of 3 elements"), "{text}");
    firn(&["history", path]).ended(2);
}

#[test]
fn get_answers_out_of_a_store_a_moment_and_a_snapshot() {
    let (folder, flushed) = mistaken();
    let path = shown(folder.path());
    assert_eq!(firn(&["get", path, "user:7"]).ended(0).out, "\"new\"\n");
    let before = (flushed - 1).to_string();
    assert_eq!(firn(&["get", path, "user:7", "--to", &before]).ended(0).out, "\"name 7\"\n");
    assert_eq!(firn(&["get", path, "user:one", "--to", &before, "--as", "raw"]).ended(0).out, "name 1");
    let missing: Run = firn(&["get", path, "user:1", "--to", &before]).ended(4);
    assert_eq!(missing.out, "(nil)\n");
    let list = firn(&["get", path, "cart:3", "--to", &before]).ended(0).out;
    assert_eq!(list, "1) \"apples\"\n2) \"two words\"\n3) \"\\xff\\x00\"\n");
    let json = firn(&["get", path, "cart:3", "cart:h", "--to", &before, "--json"]).ended(0).lines();
    assert_eq!(json[0]["value"], serde_json::json!(["apples", "two words", { "hex": "ff00" }]));
    assert_eq!(json[1]["value"], serde_json::json!({ "field": "value", "other": "thing" }));
    let resp = firn(&["get", path, "user:7", "--as", "resp"]).ended(0).out;
    assert_eq!(resp, "$3\r\nnew\r\n");
    firn(&["get", path, "user:7", "--to", "99999"]).ended(2);
    firn(&["get", path, "cart:3", "--to", &before, "--as", "raw"]).ended(2);

    let made = folder.path().join("made");
    firn(&["restore", path, "--to", &before, "-o", shown(&made)]).ended(0);
    let snapshot = common::files(&made, ".snap").remove(0);
    assert_eq!(firn(&["get", shown(&snapshot), "user:one"]).ended(0).out, "\"name 1\"\n");
    firn(&["get", shown(&snapshot), "user:1"]).ended(4);
}

#[test]
fn filters_choose_what_is_restored_and_nothing_is_overwritten() {
    let (folder, flushed) = mistaken();
    let path = shown(folder.path());
    let before = (flushed - 1).to_string();
    let made = folder.path().join("carts");
    let run =
        firn(&["restore", path, "--to", &before, "--match", "cart:*", "--type", "list", "-o", shown(&made), "--json"]);
    assert_eq!(run.ended(0).json()["entries"], 50);
    let again = firn(&["restore", path, "--to", &before, "-o", shown(&made)]).ended(2);
    assert!(again.err.contains("not empty"), "{}", again.err);
    let keys = firn(&["inspect", shown(&made), "--keys", "--json", "--min-bytes", "1"]).ended(0).lines();
    assert_eq!(keys.len(), 50);
    assert!(keys.iter().all(|key| key["type"] == "list" && key["elements"] == 3));
    firn(&["restore", path]).ended(2);
    firn(&["restore", path, "--to", "2001-01-01", "-o", shown(&folder.path().join("x"))]).ended(0);
}

#[test]
fn keys_go_back_into_a_running_server() {
    let Some(program) = firn_tests::process::redis_server() else { return };
    let (folder, flushed) = mistaken();
    let at = tempfile::tempdir().expect("a folder");
    let port = common::free_port();
    let mut server = std::process::Command::new(program)
        .args(["--port", &port.to_string(), "--save", "", "--requirepass", "secret", "--dir", shown(at.path())])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("redis-server starts");
    let url = format!("redis://:secret@127.0.0.1:{port}");
    let before = (flushed - 1).to_string();
    let restore = |url: &str| {
        let args = ["restore", shown(folder.path()), "--to", &before, "--match", "cart:*", "--into", url, "--json"];
        let mut run = firn(&args);
        for _ in 0..100 {
            if run.code != 3 || !run.err.contains("refused") {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
            run = firn(&args);
        }
        run
    };
    let written = restore(&url);
    let wrong = restore(&format!("redis://:wrong@127.0.0.1:{port}"));
    let cli = |args: &[&str]| {
        let output = std::process::Command::new("redis-cli")
            .args(["-p", &port.to_string(), "-a", "secret", "--no-auth-warning"])
            .args(args)
            .output()
            .expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let (size, list) = (cli(&["DBSIZE"]), cli(&["LRANGE", "cart:3", "0", "1"]));
    server.kill().expect("it runs");
    server.wait().expect("it ended");
    assert_eq!(written.ended(0).json()["written"], 51);
    assert_eq!((size.as_str(), list.as_str()), ("51\n", "apples\ntwo words\n"));
    assert!(wrong.ended(3).err.contains("WRONGPASS"));
}

#[test]
fn a_flushall_in_a_running_server_is_undone_for_one_prefix_with_two_commands() {
    let Some(path) = firn_tests::process::firn_server_beside() else { return };
    let at = tempfile::tempdir().expect("a folder");
    let (port, folder) = (common::free_port(), at.path().to_owned());
    let arguments = ["--appendonly", "yes", "--save", ""].map(str::to_owned).to_vec();
    let program = firn_tests::process::Program { path, port, log: folder.join("log"), folder, arguments };
    let mut server = program.start().expect("it starts");
    let mut client = server.connect().expect("it accepts");
    let mut call = |words: &[&str]| {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let reply = client.call(&words).expect("an answer");
        assert!(!reply.is_error(), "{reply}");
        reply
    };
    for number in 0..300 {
        call(&["RPUSH", &format!("cart:{number}"), "apples", "pears"]);
        call(&["SET", &format!("user:{number}"), "name"]);
    }
    call(&["HSET", "cart:meta", "owner", "me"]);
    call(&["PEXPIREAT", "cart:7", "4000000000000"]);
    call(&["XADD", "cart:log", "1-1", "f", "v"]);
    call(&["XGROUP", "CREATE", "cart:log", "group", "0"]);
    call(&["FLUSHALL"]);
    call(&["SET", "user:1", "new"]);
    // The two commands of the README; the server goes on meanwhile.
    let data = ["firn-data", "."].map(|name| at.path().join(name)).into_iter().find(|path| path.join("STORE").exists());
    let data = data.expect("the store's folder");
    let lines = firn(&["history", shown(&data), "--match", "cart:*", "--since", "15m", "--json"]).ended(0).lines();
    let flush = lines.iter().find(|line| line["words"][0] == "FLUSHALL").expect("the mistake");
    let before = (flush["lsn"].as_u64().expect("a number") - 1).to_string();
    let url = format!("redis://127.0.0.1:{port}");
    let args = ["restore", shown(&data), "--to", &before, "--match", "cart:*", "--into", &url, "--json"];
    assert_eq!(firn(&args).ended(0).json()["written"], 302);
    assert_eq!(call(&["DBSIZE"]).integer(), Some(303));
    assert_eq!(call(&["GET", "user:1"]).bytes(), Some(&b"new"[..]));
    assert_eq!(call(&["PEXPIRETIME", "cart:7"]).integer(), Some(4_000_000_000_000));
    assert!(call(&["XINFO", "GROUPS", "cart:log"]).to_string().contains("\"group\""));
    // What came back is as durable as any write.
    server.kill().expect("it runs");
    let server = program.start().expect("it starts again");
    let mut client = server.connect().expect("it accepts");
    assert_eq!(client.call(&[b"DBSIZE"]).expect("an answer").integer(), Some(303));
}

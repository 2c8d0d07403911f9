//! `firn convert`, `firn backup`, `firn serve`: data in other forms and places.

mod common;

use common::{BEGIN_MS, Numbers, digests, digests_of, files, firn, options, random_command, run, shown};
use firn_engine::store::{ManualClock, Store};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// A store with every type; its digests.
fn varied(folder: &Path) -> BTreeMap<usize, u128> {
    let clock = Arc::new(ManualClock::new(BEGIN_MS));
    let store = Store::open_folder(folder, &options(&clock)).expect("a new store");
    let mut numbers = Numbers(5);
    for _ in 0..1500 {
        let (db, words) = random_command(&mut numbers, 60);
        run(&store, db, &words.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }
    run(&store, 0, &[b"SET", b"bytes \xff\x00\"", b"\x00\x01\xfe", b"PXAT", b"9000000000000"]);
    run(&store, 0, &[b"ZADD", b"scores", b"inf", b"most", b"-inf", b"least", b"0.1", b"tenth", b"3e200", b"large"]);
    run(&store, 0, &[b"HSET", b"fields", b"\xff", b"1", b"plain", b"two words"]);
    run(&store, 0, &[b"HPEXPIREAT", b"fields", b"9000000000000", b"FIELDS", b"1", b"plain"]);
    run(&store, 0, &[b"XADD", b"stream", b"5-1", b"field", b"value"]);
    run(&store, 0, &[b"XADD", b"stream", b"5-2", b"field", b"\xff"]);
    run(&store, 0, &[b"XDEL", b"stream", b"5-1"]);
    run(&store, 0, &[b"XADD", b"empty", b"MAXLEN", b"0", b"7-7", b"x", b"y"]);
    let found = digests(&store);
    store.close().expect("a clean end");
    found
}

#[test]
fn a_store_as_json_lines_and_back_is_the_same() {
    let at = tempfile::tempdir().expect("a folder");
    let (store, lines, back) = (at.path().join("store"), at.path().join("all.jsonl"), at.path().join("back"));
    let known = varied(&store);
    firn(&["convert", shown(&store), shown(&lines)]).ended(0);
    for line in fs::read_to_string(&lines).expect("text").lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    // Lines come in an order of their own, and are put in order in little memory.
    firn(&["convert", shown(&lines), shown(&back), "--memory", "64kB"]).ended(0);
    assert_eq!(digests_of(&back), known);
    firn(&["diff", shown(&store), shown(&lines), "--with-expired"]).ended(0);
    firn(&["convert", shown(&store), shown(&lines)]).ended(2);
    assert!(lines.exists(), "what was there is left alone");
    let broken = at.path().join("broken.jsonl");
    fs::write(&broken, "{\"key\":\"a\",\"type\":\"string\",\"value\":\"1\"}\n{\"key\":1}\n").expect("writable");
    let run = firn(&["convert", shown(&broken), shown(&at.path().join("x"))]).ended(1);
    assert!(run.err.contains("line 2"), "{}", run.err);
    assert!(!at.path().join("x").exists(), "nothing is left of what failed");
}

#[test]
fn commands_for_a_pipe_make_the_same_data_in_a_real_server() {
    let Some(program) = firn_tests::process::valkey_server() else { return };
    let at = tempfile::tempdir().expect("a folder");
    let (store, commands) = (at.path().join("store"), at.path().join("all.resp"));
    varied(&store);
    firn(&["convert", shown(&store), shown(&commands), "--without-expired"]).ended(0);
    let port = common::free_port();
    let mut server = Command::new(program)
        .args(["--port", &port.to_string(), "--save", "", "--dir", shown(at.path())])
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    let cli = |args: &[&str], input: Stdio| {
        let output = Command::new("redis-cli").args(["-p", &port.to_string()]).args(args).stdin(input).output();
        String::from_utf8_lossy(&output.expect("redis-cli runs").stdout).into_owned()
    };
    for _ in 0..100 {
        if cli(&["PING"], Stdio::null()).contains("PONG") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let piped = cli(&["--pipe"], fs::File::open(&commands).expect("readable").into());
    let sizes = cli(&["INFO", "keyspace"], Stdio::null());
    server.kill().expect("it runs");
    server.wait().expect("it ended");
    assert!(piped.contains("errors: 0"), "{piped}");
    let keys = firn(&["inspect", shown(&store), "--keys", "--json", "--db", "0"]).ended(0).lines();
    let live = keys.iter().filter(|key| key["expired"] == false).count();
    assert!(sizes.contains(&format!("db0:keys={live},")), "{live}: {sizes}");
}

#[test]
fn tables_and_redaction() {
    let at = tempfile::tempdir().expect("a folder");
    let folder = at.path().join("store");
    let clock = Arc::new(ManualClock::new(BEGIN_MS));
    let store = Store::open_folder(&folder, &options(&clock)).expect("a new store");
    run(&store, 0, &[b"SET", b"plain", b"a,b \"c\""]);
    run(&store, 0, &[b"SET", b"api:token", b"s3cr3t"]);
    run(&store, 0, &[b"HSET", b"user:1", b"name", b"Ada", b"password", b"s3cr3t"]);
    run(&store, 0, &[b"SADD", b"tokens:token", b"s3cr3t", b"s3cr3t2"]);
    run(&store, 0, &[b"XADD", b"log", b"1-1", b"token", b"s3cr3t", b"text", b"hello"]);
    store.close().expect("a clean end");
    let args = ["convert", shown(&folder), "-", "--format", "csv", "--redact", "*token", "--redact", "password"];
    let table = firn(&args).ended(0).out;
    assert!(!table.contains("s3cr3t"), "{table}");
    assert!(table.starts_with("db,key,type,expires_ms,elements,memory_bytes,value\r\n"), "{table}");
    assert!(table.contains("0,plain,string,,,") && table.contains("\"a,b \"\"c\"\"\""), "{table}");
    assert!(table.contains("\"\"name\"\":\"\"Ada\"\"") && table.contains("hello"), "{table}");
    let lines = firn(&["convert", shown(&folder), "-", "--format", "jsonl", "--redact", "*token"]).ended(0).lines();
    let set = lines.iter().find(|line| line["key"] == "tokens:token").expect("the set");
    assert_eq!(set["value"].as_array().map(Vec::len), Some(2), "{set}");
    let parquet = at.path().join("all.parquet");
    firn(&["convert", shown(&folder), shown(&parquet)]).ended(0);
    let bytes = fs::read(&parquet).expect("readable");
    let footer = u32::from_le_bytes(bytes[bytes.len() - 8..bytes.len() - 4].try_into().expect("four bytes")) as usize;
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1") && footer + 12 < bytes.len());
    // By the reader that everybody uses, where tests/setup could install it.
    let python = "import pyarrow.parquet, sys; print(sorted(map(str, pyarrow.parquet.read_table(sys.argv[1]).to_pydict()['key'])))";
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/.cache/venv/bin/python");
    let has = |code: &str| Command::new(&program).args(["-c", code]).output().is_ok_and(|done| done.status.success());
    if has("import pyarrow.parquet") {
        let read = Command::new(&program).args(["-c", python, shown(&parquet)]).output().expect("it has just run");
        let keys = String::from_utf8_lossy(&read.stdout).into_owned();
        let expected = r#"["b'api:token'", "b'log'", "b'plain'", "b'tokens:token'", "b'user:1'"]"#;
        assert_eq!(keys.trim(), expected, "{}", String::from_utf8_lossy(&read.stderr));
    } else {
        println!("SKIPPED: pyarrow is not there: tests/setup installs it");
    }
    firn(&["convert", shown(&folder), "-"]).ended(2);
}

#[test]
fn backups_of_a_store_in_use_are_good_share_files_and_old_ones_go() {
    let at = tempfile::tempdir().expect("a folder");
    let (folder, backups) = (at.path().join("store"), at.path().join("backups"));
    let clock = Arc::new(ManualClock::new(BEGIN_MS));
    let store = Store::open_folder(&folder, &options(&clock)).expect("a new store");
    let mut numbers = Numbers(13);
    let mut known = Vec::new();
    for round in 0..3 {
        for _ in 0..700 {
            let (db, words) = random_command(&mut numbers, 200);
            run(&store, db, &words.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
        store.commit();
        let facts = firn(&["backup", shown(&folder), shown(&backups), "--keep", "2", "--json"]).ended(0).json();
        assert_eq!(facts["lsn"], store.last_lsn());
        assert!(round == 0 || facts["linked"].as_u64() > Some(0), "{facts}");
        known.push((facts["backup"].as_str().expect("a path").to_owned(), digests(&store)));
    }
    store.close().expect("a clean end");
    assert!(!Path::new(&known[0].0).exists(), "the oldest is gone");
    for (path, digests) in &known[1..] {
        firn(&["check", path]).ended(0);
        assert_eq!(digests_of(Path::new(path)), *digests);
    }
    // A damaged store makes no backup.
    let segment = files(&folder, ".seg").remove(0);
    let mut content = fs::read(&segment).expect("readable");
    let middle = content.len() / 3;
    content[middle..middle + 6].iter_mut().for_each(|byte| *byte ^= 0x5a);
    fs::write(&segment, content).expect("writable");
    firn(&["backup", shown(&folder), shown(&backups)]).ended(1);
    assert_eq!(fs::read_dir(&backups).expect("a folder").count(), 2);
}

struct Served(Child, u16);

impl Served {
    fn start(args: &[&str]) -> Served {
        let mut child = Command::new(env!("CARGO_BIN_EXE_firn"))
            .arg("serve")
            .args(args)
            .args(["--port", "0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the tool runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let port =
            line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(',').next()).and_then(|port| port.parse().ok());
        Served(child, port.unwrap_or_else(|| panic!("{line}")))
    }

    fn cli(&self, args: &[&str]) -> String {
        let output =
            Command::new("redis-cli").args(["-p", &self.1.to_string()]).args(args).output().expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_mounted_state_answers_clients_and_cannot_be_written() {
    let at = tempfile::tempdir().expect("a folder");
    let folder = at.path().join("store");
    let clock = Arc::new(ManualClock::new(BEGIN_MS));
    let store = Store::open_folder(&folder, &options(&clock)).expect("a new store");
    for number in 0..500 {
        run(&store, 0, &[b"SET", format!("key:{number}").as_bytes(), b"old"]);
    }
    run(&store, 0, &[b"RPUSH", b"list", b"a", b"b", b"c"]);
    run(&store, 2, &[b"HSET", b"hash", b"f", b"v"]);
    run(&store, 0, &[b"SET", b"dead", b"x", b"PXAT", b"1700000000001"]);
    let before = store.last_lsn();
    run(&store, 0, &[b"FLUSHALL"]);
    store.close().expect("a clean end");
    let served = Served::start(&[shown(&folder), "--to", &before.to_string(), "--memory", "64kB"]);
    assert_eq!(served.cli(&["GET", "key:7"]), "old\n");
    assert_eq!(served.cli(&["LRANGE", "list", "0", "-1"]), "a\nb\nc\n");
    assert_eq!(served.cli(&["-n", "2", "HGETALL", "hash"]), "f\nv\n");
    assert_eq!(served.cli(&["TYPE", "list"]), "list\n");
    assert_eq!(served.cli(&["EXISTS", "key:1", "key:2", "nothing"]), "2\n");
    assert_eq!(served.cli(&["--scan", "--pattern", "key:*"]).lines().count(), 500);
    assert_eq!(served.cli(&["KEYS", "l*"]), "list\n");
    assert!(served.cli(&["SET", "key:7", "new"]).contains("READONLY"));
    assert!(served.cli(&["FLUSHALL"]).contains("READONLY"));
    assert!(served.cli(&["NOPE"]).contains("unknown command"));
    assert_eq!(served.cli(&["GET", "key:7"]), "old\n");
    assert!(served.cli(&["RANDOMKEY"]).len() > 3);
    assert_eq!(served.cli(&["OBJECT", "ENCODING", "list"]), "listpack\n");
    // Newer clients begin with HELLO 3.
    assert_eq!(served.cli(&["-3", "-n", "2", "--json", "HGETALL", "hash"]), "{\"f\":\"v\"}\n");
    assert_eq!(served.cli(&["-3", "GET", "nothing"]), "\n");
    assert!(served.cli(&["HELLO", "4"]).contains("NOPROTO"));
    // Requests that make no sense end the connection, not the mount.
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", served.1)).expect("it listens");
    stream.write_all(b"*2\r\n$99999999999\r\n").expect("written");
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer).expect("an answer");
    assert!(answer.starts_with("-ERR Protocol error"), "{answer}");
    assert_eq!(served.cli(&["PING"]), "PONG\n");
}

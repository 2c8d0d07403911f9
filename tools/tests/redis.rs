//! Files that real servers of Redis 7.0 and Valkey 9 wrote, in every form that `firn convert` makes and back: what the real server loads must have
//! the digest that it had. Skipped, loudly, where those servers are not installed.

mod common;

use common::{firn, free_port, shown};
use firn_tests::client::{Client, Value};
use firn_tests::corpus::{assert_same, call, digest, digests, fill, run, text};
use firn_tests::process::{Program, Server, redis_server, valkey_server};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn start(program: &Path, folder: &Path, more: &[&str]) -> (Server, Client) {
    fs::create_dir_all(folder).expect("a folder");
    let words = ["--save", "", "--enable-debug-command", "local", "--auto-aof-rewrite-percentage", "0"];
    let arguments = words.iter().chain(more).map(|word| (*word).to_owned()).collect();
    let (port, log) = (free_port(), folder.join("log"));
    let program = Program { path: program.to_owned(), port, folder: folder.to_owned(), log, arguments };
    let server = program.start().expect("the server starts");
    let client = server.connect().expect("it accepts");
    (server, client)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

/// Whether the server's own tool finds nothing wrong.
fn accepted(tool: &str, path: &Path) {
    let checked = Command::new(tool).arg(path).stdin(Stdio::null()).output().expect("the tool runs");
    let told = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{tool} {}: {told}", path.display());
}

/// What a server was filled with, saved in both ways.
struct Source {
    dump: PathBuf,
    parts: PathBuf,
    /// DEBUG DIGEST of all.
    all: String,
    keys: std::collections::BTreeMap<Vec<u8>, String>,
}

const LIBRARY: &[u8] = b"#!lua name=mine\nredis.register_function('one', function() return 1 end)";

/// Fills a server: half of it goes into the base of its append-only folder, the rest into the increment.
fn source(program: &Path, folder: &Path, with_fields: bool) -> Source {
    let more = ["--appendonly", "yes", "--aof-timestamp-enabled", "yes"];
    let (server, mut client) = start(program, folder, &more);
    fill(&mut client, with_fields);
    call(&mut client, &[b"FUNCTION", b"LOAD", LIBRARY]);
    run(&mut client, "BGREWRITEAOF");
    while !text(&run(&mut client, "INFO persistence")).contains("aof_rewrite_in_progress:0") {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    for line in [
        "MULTI",
        "SET behind 1",
        "INCRBY behind 41",
        "EXEC",
        "RENAME l:128 l:renamed",
        "SADD set:128 later",
        "DEL z:513",
        "EXPIRE s:text 100000000",
        "SELECT 3",
        "SET other 2",
        "MOVE other 1",
        "SELECT 0",
        "SPOP i:129",
        "XADD x:one * a b",
    ] {
        run(&mut client, line);
    }
    run(&mut client, "SAVE");
    let (all, keys) = (digest(&mut client), digests(&mut client));
    drop(client);
    drop(server);
    Source { dump: folder.join("dump.rdb"), parts: folder.join("appendonlydir"), all, keys }
}

/// Loads `dump` into the server that looks into `folder`, and compares.
fn loads(client: &mut Client, folder: &Path, dump: &Path, source: &Source, what: &str) {
    fs::copy(dump, folder.join("dump.rdb")).expect("copied");
    run(client, "DEBUG RELOAD NOSAVE");
    assert_eq!(digest(client), source.all, "{what}");
    assert_same(&digests(client), &source.keys, what);
    let Value::Array(libraries) = run(client, "FUNCTION LIST") else { panic!("an array") };
    assert_eq!(libraries.len(), 1, "{what}");
}

/// Every form and back, judged by the server that wrote the data.
fn everything_travels(program: &Path, name: &str, own_version: u32) {
    let at = tempfile::tempdir().expect("a folder");
    let path = |name: &str| at.path().join(name);
    let source = source(program, &path(name), name == "valkey");
    for file in [&source.dump, &source.parts] {
        let found = firn(&["check", shown(file), "--json"]).ended(0).json();
        assert_eq!((&found["ok"], found["problems"].as_array().map(Vec::len)), (&true.into(), Some(0)), "{found}");
    }
    // With enough memory, and with so little that changes and entries are spread over files.
    for memory in ["64MB", "64kB"] {
        firn(&["diff", shown(&source.dump), shown(&source.parts), "--with-expired", "--memory", memory]).ended(0);
    }
    let summary = firn(&["stats", shown(&source.parts), "--json"]).ended(0).json();
    assert!(summary["total"]["keys"].as_u64() > Some(80), "{summary}");

    let into = path("into");
    let (server, mut client) = start(program, &into, &[]);
    let version = own_version.to_string();
    let rdb_of =
        |from: &Path, to: &Path| firn(&["convert", shown(from), shown(to), "--rdb-version", &version]).ended(0);
    // RDB to RDB, in every version that this server loads; 12 is for others.
    let versions: &[u32] = if name == "redis" { &[10] } else { &[80] };
    for &version in versions {
        let made = path(&format!("{version}.rdb"));
        firn(&["convert", shown(&source.dump), shown(&made), "--rdb-version", &version.to_string()]).ended(0);
        if name == "redis" {
            accepted("redis-check-rdb", &made);
        }
        loads(&mut client, &into, &made, &source, &format!("{name}, version {version}"));
    }
    let twelve = path("12.rdb");
    firn(&["convert", shown(&source.parts), shown(&twelve), "--rdb-version", "12"]).ended(0);
    firn(&["diff", shown(&source.dump), shown(&twelve), "--with-expired"]).ended(0);
    if name == "valkey" {
        // Deadlines of fields need a version that has them, and the error says which.
        let refused = firn(&["convert", shown(&source.dump), shown(&path("10.rdb"))]).ended(3);
        assert!(refused.err.contains("version 12"), "{}", refused.err);
        assert!(!path("10.rdb").exists(), "nothing is left of what failed");
    }
    // Every other form, from the dump and from the parts in turn, and back.
    let forms = ["all.jsonl", "all.csv", "all.parquet", "all.resp", "single.aof", "store", "copy/appendonlydir"];
    fs::create_dir(path("copy")).expect("a folder");
    for (number, form) in forms.into_iter().enumerate() {
        let (from, made) = (if number % 2 == 0 { &source.dump } else { &source.parts }, path(form));
        firn(&["convert", shown(from), shown(&made), "--rdb-version", &version]).ended(0);
        firn(&["check", shown(&made)]).ended(0);
        // A table and lines have no libraries.
        let rows = form.ends_with("jsonl") || form.ends_with("csv") || form.ends_with("parquet");
        let back = path(&format!("{number}-back.rdb"));
        rdb_of(&made, &back);
        if name == "redis" {
            accepted("redis-check-rdb", &back);
        }
        if rows {
            call(&mut client, &[b"FUNCTION", b"LOAD", b"REPLACE", LIBRARY]);
            firn(&["diff", shown(&source.dump), shown(&made), "--with-expired"]).ended(0);
            fs::copy(&back, into.join("dump.rdb")).expect("copied");
            run(&mut client, "DEBUG RELOAD NOSAVE");
            assert_eq!(digest(&mut client), source.all, "{name}, {form}");
            assert_same(&digests(&mut client), &source.keys, form);
        } else {
            loads(&mut client, &into, &back, &source, &format!("{name}, {form}"));
        }
    }
    // Commands into the running server.
    run(&mut client, "FLUSHALL");
    run(&mut client, "FUNCTION FLUSH");
    let port = server_port(&mut client);
    let piped = Command::new("redis-cli")
        .args(["-p", &port, "--pipe"])
        .stdin(fs::File::open(path("all.resp")).expect("readable"))
        .output()
        .expect("redis-cli runs");
    assert!(String::from_utf8_lossy(&piped.stdout).contains("errors: 0"), "{piped:?}");
    assert_eq!(digest(&mut client), source.all, "{name}, piped");
    run(&mut client, "FLUSHALL");
    firn(&["restore", shown(&source.dump), "--into", &format!("redis://127.0.0.1:{port}")]).ended(0);
    assert_eq!(digest(&mut client), source.all, "{name}, pushed");
    drop(client);
    drop(server);
    // Append-only files of ours, loaded at a start.
    accepted("redis-check-aof", &path("single.aof"));
    if name == "redis" {
        accepted("redis-check-aof", &path("copy/appendonlydir/appendonly.aof.manifest"));
    }
    for (what, made) in [("single", path("single.aof")), ("folder", path("copy/appendonlydir"))] {
        let folder = path(&format!("start-{what}"));
        fs::create_dir(&folder).expect("a folder");
        if what == "single" {
            fs::copy(&made, folder.join("appendonly.aof")).expect("copied");
        } else {
            copy(&made, &folder.join("appendonlydir"));
        }
        let (server, mut client) = start(program, &folder, &["--appendonly", "yes"]);
        assert_eq!(digest(&mut client), source.all, "{name}, {what}");
        drop((client, server));
    }
    // Standard input and output, whatever comes.
    for file in [&source.dump, &path("single.aof"), &path("all.parquet"), &path("all.csv")] {
        let piped = Command::new(env!("CARGO_BIN_EXE_firn"))
            .args(["convert", "-", "-", "--format", "jsonl", "--match", "s:int8"])
            .stdin(fs::File::open(file).expect("readable"))
            .output()
            .expect("it runs");
        let line: serde_json::Value = serde_json::from_slice(&piped.stdout).expect("one line");
        assert_eq!(line["value"], "-128", "{}", file.display());
    }
}

fn server_port(client: &mut Client) -> String {
    let Value::Array(pair) = run(client, "CONFIG GET port") else { panic!("an array") };
    text(&pair[1])
}

#[test]
fn everything_of_redis_travels_through_every_form() {
    let Some(program) = redis_server() else { return };
    everything_travels(&program, "redis", 10);
}

#[test]
fn everything_of_valkey_travels_through_every_form() {
    let Some(program) = valkey_server() else { return };
    everything_travels(&program, "valkey", 80);
}

#[test]
fn keys_and_changes_are_found_in_files_of_redis() {
    let Some(program) = redis_server() else { return };
    let at = tempfile::tempdir().expect("a folder");
    let (server, mut client) = start(&program, at.path(), &["--appendonly", "yes", "--aof-timestamp-enabled", "yes"]);
    for line in ["SET plain value", "RPUSH list a b", "SET plain other", "SELECT 2", "SET plain elsewhere", "DEL plain"]
    {
        run(&mut client, line);
    }
    // The moment in between: annotations have seconds.
    let second = |client: &mut Client| match run(client, "TIME") {
        Value::Array(time) => time[0].integer().expect("seconds"),
        _ => panic!("an array"),
    };
    let first = second(&mut client);
    while second(&mut client) < first + 2 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    run(&mut client, "SELECT 0");
    run(&mut client, "SET plain late");
    run(&mut client, "SAVE");
    drop((client, server));
    let (dump, parts) = (at.path().join("dump.rdb"), at.path().join("appendonlydir"));
    assert_eq!(firn(&["get", shown(&dump), "plain"]).ended(0).out, "\"late\"\n");
    assert_eq!(firn(&["get", shown(&parts), "list", "--as", "json"]).ended(0).json()["value"][1], "b");
    firn(&["get", shown(&parts), "plain", "--db", "2"]).ended(4);
    let lines = firn(&["history", shown(&parts), "plain", "--json"]).ended(0).lines();
    let words: Vec<&str> = lines.iter().filter_map(|line| line["words"][0].as_str()).collect();
    assert_eq!(words, ["SET", "SET", "SET", "DEL", "SET"]);
    let records = firn(&["inspect", shown(&parts), "--records", "--match", "list", "--json"]).ended(0).lines();
    assert_eq!(records.len(), 1, "{records:?}");
    // Annotations of time make a moment.
    let to = format!("@{}", first + 1);
    assert_eq!(firn(&["get", shown(&parts), "plain", "--to", &to]).ended(0).out, "\"other\"\n");
    let made = at.path().join("before.jsonl");
    firn(&["convert", shown(&parts), shown(&made), "--to", &to]).ended(0);
    assert_eq!(firn(&["get", shown(&made), "plain"]).ended(0).out, "\"other\"\n");
    let refused = firn(&["restore", shown(&dump), "--to", &to, "-o", shown(&at.path().join("x"))]).ended(2);
    assert!(refused.err.contains("one moment"), "{}", refused.err);
    firn(&["restore", shown(&parts), "--to", "2001-01-01", "-o", shown(&at.path().join("x"))]).ended(2);
}

/// A child that is ended with the test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawned(args: &[&str]) -> (Ended, std::io::Lines<std::io::BufReader<std::process::ChildStdout>>) {
    let mut child =
        Command::new(env!("CARGO_BIN_EXE_firn")).args(args).stdout(Stdio::piped()).spawn().expect("it starts");
    let out = std::io::BufReader::new(child.stdout.take().expect("piped"));
    (Ended(child), std::io::BufRead::lines(out))
}

#[test]
fn commands_are_followed_as_they_are_appended_also_into_new_files() {
    use std::io::Write;
    let at = tempfile::tempdir().expect("a folder");
    let set = |key: &str| format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n$1\r\nv\r\n", key.len());
    let (first, second) = (at.path().join("a.1.incr.aof"), at.path().join("a.2.incr.aof"));
    let manifest = |text: &str| {
        // As a server does it: whole or not at all.
        fs::write(at.path().join("new"), text).expect("written");
        fs::rename(at.path().join("new"), at.path().join("a.manifest")).expect("renamed");
    };
    fs::write(&first, set("one")).expect("written");
    manifest("file a.1.incr.aof seq 1 type i\n");
    let (_child, mut lines) = spawned(&["inspect", shown(at.path()), "--records", "--follow", "--json"]);
    let mut next = || -> String {
        let line = lines.next().expect("a line").expect("readable");
        let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        line["commands"][0]["words"][1].as_str().expect("a key").to_owned()
    };
    assert_eq!(next(), "one");
    let mut file = fs::File::options().append(true).open(&first).expect("opened");
    // In two pieces: the first alone is no command.
    let two = set("two");
    let (begin, end) = two.split_at(11);
    file.write_all(begin.as_bytes()).expect("written");
    file.write_all(end.as_bytes()).expect("written");
    assert_eq!(next(), "two");
    fs::write(&second, set("three")).expect("written");
    manifest("file a.1.incr.aof seq 1 type i\nfile a.2.incr.aof seq 2 type i\n");
    assert_eq!(next(), "three");
}

#[test]
fn files_of_redis_are_served_read_only() {
    let at = tempfile::tempdir().expect("a folder");
    let lines = at.path().join("all.jsonl");
    fs::write(
        &lines,
        r#"{"key":"k","type":"string","value":"v"}
{"key":"l","type":"list","value":["a","b"]}"#,
    )
    .expect("written");
    for name in ["all.rdb", "all.aof", "all.csv", "appendonlydir"] {
        let file = at.path().join(name);
        firn(&["convert", shown(&lines), shown(&file)]).ended(0);
        let port = free_port();
        let (_child, mut told) = spawned(&["serve", shown(&file), "--port", &port.to_string()]);
        let line = told.next().expect("a line").expect("readable");
        assert!(line.starts_with("Serving 2 keys"), "{line}");
        let mut client = Client::connect(port).expect("it accepts");
        assert_eq!(text(&run(&mut client, "GET k")), "v", "{name}");
        assert_eq!(run(&mut client, "LLEN l").integer(), Some(2), "{name}");
        assert!(client.call(&[b"SET", b"k", b"x"]).expect("an answer").is_error(), "{name}");
    }
}

//! Data handed between Firn and the real redis-server 7.0 and Valkey 9: payloads of DUMP, RDB files, append-only files. What arrives must have the
//! digest that the other server computes. Skipped, loudly, where those servers are not installed.

use firn_engine::rdb::{Event, Reader, Usage, VALKEY_VERSION, Writer, writer};
use firn_tests::client::{Client, Value};
use firn_tests::process::{Program, Server, redis_server, valkey_server};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

/// firn-server: `FIRN_SERVER`, or the one built beside this test.
fn firn() -> Option<PathBuf> {
    std::env::var_os("FIRN_SERVER").map(PathBuf::from).or_else(|| {
        let beside = std::env::current_exe().ok()?.parent()?.parent()?.join("firn-server");
        beside.is_file().then_some(beside)
    })
}

/// Every binary, or a word why nothing is tested.
fn binaries() -> Option<[PathBuf; 3]> {
    let all = (firn(), redis_server(), valkey_server());
    if let (Some(firn), Some(redis), Some(valkey)) = all {
        return Some([firn, redis, valkey]);
    }
    println!("SKIPPED: data is exchanged only where firn-server, redis-server 7.0 and valkey-server 9 are installed");
    None
}

fn start(path: &Path, folder: &Path, more: &[&str]) -> Server {
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let log = folder.join("log");
    let arguments = ["--enable-debug-command", "yes", "--save", ""].iter().chain(more);
    let arguments = arguments.map(|word| (*word).to_owned()).collect();
    Program { path: path.into(), port, folder: folder.into(), log, arguments }.start().unwrap()
}

fn call(client: &mut Client, words: &[&[u8]]) -> Value {
    let reply = client.call(words).unwrap();
    assert!(!reply.is_error(), "{}: {reply:?}", words.concat().escape_ascii());
    reply
}

fn run(client: &mut Client, line: &str) -> Value {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    call(client, &words)
}

/// Runs many commands without waiting for each.
fn run_all(client: &mut Client, lines: &[String]) {
    for lines in lines.chunks(500) {
        for line in lines {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            client.push(&words);
        }
        client.flush().unwrap();
        for line in lines {
            let reply = client.read().unwrap();
            assert!(!reply.is_error(), "{line}: {reply:?}");
        }
    }
}

fn text(value: &Value) -> String {
    String::from_utf8(value.bytes().unwrap_or_default().to_vec()).unwrap()
}

/// Fills database 0 (and one key of database 3) with every type, encoding and threshold.
fn fill(client: &mut Client, fields_expire: bool) {
    for (key, value) in
        [("s:empty", ""), ("s:text", "hello"), ("s:int8", "-128"), ("s:int16", "32767"), ("s:int32", "-2147483648")]
    {
        call(client, &[b"SET", key.as_bytes(), value.as_bytes()]);
    }
    for (key, value) in [("s:int64", "9223372036854775807"), ("s:almost", "007"), ("s:binary", "\0\r\n\u{7f}")] {
        call(client, &[b"SET", key.as_bytes(), value.as_bytes()]);
    }
    call(client, &[b"SET", b"s:long", &b"compressible ".repeat(5000)]);
    let mixed: Vec<u8> = (0..70_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    call(client, &[b"SET", b"s:incompressible", &mixed]);
    call(client, &[b"SET", b"s:mortal", b"v", b"PXAT", b"4000000000000"]);
    run(client, "PFADD s:hll a b c d e");
    run(client, "SETBIT s:bits 100000 1");
    // Below, at and above what packed forms hold by default, in elements and in bytes.
    let mut lines = Vec::new();
    for count in [1i64, 127, 128, 129, 511, 512, 513, 3000] {
        for n in 0..count {
            lines.push(format!("RPUSH l:{count} element{n}"));
            lines.push(format!("SADD i:{count} {}", (n - 50) * 1_000_003));
            lines.push(format!("SADD set:{count} member{n}"));
            lines.push(format!("ZADD z:{count} {} member{n}", n as f64 / 8.0));
            lines.push(format!("HSET h:{count} field{n} value{n}"));
        }
    }
    run_all(client, &lines);
    for len in [63, 64, 65, 4096, 8191, 8192, 20_000] {
        let long = "x".repeat(len);
        run(client, &format!("RPUSH l:len{len} a {long} 12"));
        run(client, &format!("SADD set:len{len} a {long} 12"));
        run(client, &format!("ZADD z:len{len} 1 a 2 {long} 3 12"));
        run(client, &format!("HSET h:len{len} a {long} {long}k b"));
    }
    for value in [
        "0",
        "-1",
        "15",
        "127",
        "128",
        "4095",
        "-4096",
        "32768",
        "8388607",
        "-8388609",
        "2147483648",
        "-9223372036854775808",
    ] {
        run(client, &format!("RPUSH l:ints {value}"));
        run(client, &format!("SADD i:wide {value}"));
        run(client, &format!("SADD set:ints {value} text"));
        run(client, &format!("HSET h:ints {value} {value}"));
    }
    // Scores whose digits both generations print alike: they are part of the digest.
    for (at, score) in ["inf", "-inf", "0", "-1.5", "3.0", "0.5", "1024.25", "-0.0625"].iter().enumerate() {
        run(client, &format!("ZADD z:scores {score} m{at}"));
    }
    run(client, "GEOADD geo 13.361389 38.115556 Palermo 15.087269 37.502669 Catania");
    let field = |n: u32| if n.is_multiple_of(9) { "other" } else { "field" };
    let lines = (1..=600).map(|n| format!("XADD x:large {}-{n} {} value{n} n 12", 1000 + n / 4, field(n)));
    run_all(client, &lines.collect::<Vec<_>>());
    run(client, "XDEL x:large 1001-5 1149-599");
    run(client, "XADD x:small 5-5 a b");
    run(client, "XADD x:empty 7-7 a b");
    run(client, "XDEL x:empty 7-7");
    run(client, "XADD x:one 1-1 f v");
    for group in ["g1", "g2"] {
        run(client, &format!("XGROUP CREATE x:large {group} 0"));
        run(client, &format!("XREADGROUP GROUP {group} alice COUNT 130 STREAMS x:large >"));
        run(client, &format!("XREADGROUP GROUP {group} bob COUNT 3 STREAMS x:large >"));
        run(client, &format!("XGROUP CREATECONSUMER x:large {group} idle"));
    }
    run(client, "XACK x:large g1 1000-1 1000-2");
    run(client, "XGROUP CREATE x:empty g $");
    if fields_expire {
        run(client, "HSET hf:small a 1 b 2 c 3");
        run(client, "HPEXPIREAT hf:small 4000000000000 FIELDS 2 a b");
        run_all(client, &(0..600).map(|n| format!("HSET hf:large field{n} value{n}")).collect::<Vec<_>>());
        run(client, "HPEXPIREAT hf:large 4000000000001 FIELDS 3 field1 field77 field599");
    }
    run(client, "SELECT 3");
    run(client, "SET other-database 1");
    run(client, "SELECT 0");
}

fn keys(client: &mut Client) -> Vec<Vec<u8>> {
    let Value::Array(keys) = run(client, "KEYS *") else { panic!("an array") };
    let mut keys: Vec<Vec<u8>> = keys.iter().map(|key| key.bytes().unwrap().to_vec()).collect();
    keys.sort();
    keys
}

/// Digest of each key's value; for streams also what the digest leaves out: groups and counters.
fn digests(client: &mut Client) -> BTreeMap<Vec<u8>, String> {
    let keys = keys(client);
    let digest = |key: Vec<u8>| {
        let Value::Array(values) = call(client, &[b"DEBUG", b"DIGEST-VALUE", &key]) else { panic!("an array") };
        let mut digest = text(&values[0]);
        if key.starts_with(b"x:") {
            let Value::Array(groups) = call(client, &[b"XINFO", b"GROUPS", &key]) else { panic!("an array") };
            for group in groups {
                let Value::Array(pairs) = group else { panic!("an array") };
                // Name, consumers, pending, last ID, entries read: `lag` follows from the rest.
                for pair in pairs.chunks(2).filter(|pair| text(&pair[0]) != "lag") {
                    digest.push_str(&format!(" {:?}", pair[1]));
                }
                let pending = call(client, &[b"XPENDING", &key, pairs[1].bytes().unwrap(), b"-", b"+", b"1000"]);
                let Value::Array(pending) = pending else { panic!("an array") };
                for entry in pending {
                    let Value::Array(fields) = entry else { panic!("an array") };
                    // Not how long it is idle.
                    digest.push_str(&format!(" {:?} {:?} {:?}", fields[0], fields[1], fields[3]));
                }
            }
            let Value::Array(info) = call(client, &[b"XINFO", b"STREAM", &key]) else { panic!("an array") };
            for pair in info.chunks(2) {
                if ["length", "last-generated-id", "max-deleted-entry-id", "entries-added"]
                    .contains(&text(&pair[0]).as_str())
                {
                    digest.push_str(&format!(" {:?}", pair[1]));
                }
            }
        }
        if key.starts_with(b"hf:") {
            let times = call(client, &[b"HPEXPIRETIME", &key, b"FIELDS", b"4", b"a", b"c", b"field77", b"field78"]);
            digest.push_str(&format!(" {times:?}"));
        }
        (key, digest)
    };
    keys.into_iter().map(digest).collect()
}

fn assert_same(found: &BTreeMap<Vec<u8>, String>, expected: &BTreeMap<Vec<u8>, String>, what: &str) {
    for (key, digest) in expected {
        assert_eq!(found.get(key), Some(digest), "{what}: {}", key.escape_ascii());
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

#[test]
fn payloads_travel_between_all_servers() {
    let Some(binaries) = binaries() else { return };
    let folder = tempfile::tempdir().unwrap();
    let names = ["firn", "redis", "valkey"];
    let servers: Vec<Server> = binaries
        .iter()
        .zip(names)
        .map(|(path, name)| {
            let folder = folder.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            start(path, &folder, &[])
        })
        .collect();
    let mut clients: Vec<Client> = servers.iter().map(|server| server.connect().unwrap()).collect();
    let mut payloads = 0;
    for from in 0..3 {
        for to in [0, 1, 2].into_iter().filter(|to| *to != from && (from == 0 || *to == 0)) {
            let with_fields = from != 1 && to != 1;
            clients.iter_mut().for_each(|client| drop(run(client, "FLUSHALL")));
            fill(&mut clients[from], with_fields);
            let expected = digests(&mut clients[from]);
            for key in expected.keys() {
                let Value::Bulk(payload) = call(&mut clients[from], &[b"DUMP", key]) else { panic!("a payload") };
                let ttl = call(&mut clients[from], &[b"PEXPIRETIME", key]).integer().unwrap().max(0).to_string();
                let reply = clients[to].call(&[b"RESTORE", key, ttl.as_bytes(), &payload, b"ABSTTL"]).unwrap();
                let key = key.escape_ascii();
                assert!(!reply.is_error(), "{} to {}, {key}: {reply:?}", names[from], names[to]);
                payloads += 1;
            }
            let found = digests(&mut clients[to]);
            assert_same(&found, &expected, &format!("{} to {}", names[from], names[to]));
        }
    }
    println!("counted: {payloads} payloads restored");
}

/// What DEBUG DIGEST says of all databases.
fn digest(client: &mut Client) -> String {
    text(&run(client, "DEBUG DIGEST"))
}

/// Copies an RDB file through the engine's reader and writer into another version.
fn convert(bytes: &[u8], version: u32) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), writer::Options::new(version).unwrap()).unwrap();
    writer.aux(b"redis-ver", b"7.2.4").unwrap();
    let mut reader = Reader::new(bytes).unwrap();
    while let Some(event) = reader.next_event().unwrap() {
        match event {
            Event::Entry(part) => writer.entry(part.db, &part.stored, Usage::Unknown).unwrap(),
            Event::Expected { entries, deadlines } => writer.database(0, entries, deadlines).unwrap(),
            _ => {}
        }
    }
    writer.finish().unwrap()
}

#[test]
fn files_travel_between_all_servers() {
    let Some([firn, redis, valkey]) = binaries() else { return };
    let folder = tempfile::tempdir().unwrap();
    let new_folder = |name: String| {
        let folder = folder.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        folder
    };
    for (name, path, with_fields) in [("redis", &redis, false), ("valkey", &valkey, true)] {
        let source = new_folder(name.to_owned());
        let server = start(path, &source, &["--appendonly", "yes", "--aof-timestamp-enabled", "yes"]);
        let mut client = server.connect().unwrap();
        fill(&mut client, with_fields);
        run(&mut client, "SAVE");
        let (expected, all) = (digests(&mut client), digest(&mut client));
        // A base, and commands behind it.
        run(&mut client, "BGREWRITEAOF");
        while !text(&run(&mut client, "INFO persistence")).contains("aof_rewrite_in_progress:0") {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        run(&mut client, "MULTI");
        run(&mut client, "SET behind 1");
        run(&mut client, "INCR behind");
        run(&mut client, "EXEC");
        let behind = digest(&mut client);
        drop(client);
        drop(server);
        let bytes = std::fs::read(source.join("dump.rdb")).unwrap();

        // Into Firn: by the file's name, and out of the folder with a manifest.
        for (what, more, expected_all) in
            [("dump", ["--appendonly", "no"], &all), ("parts", ["--appendonly", "yes"], &behind)]
        {
            let into = new_folder(format!("firn-{name}-{what}"));
            if what == "dump" {
                std::fs::write(into.join("dump.rdb"), &bytes).unwrap();
            } else {
                let parts = into.join("appendonlydir");
                std::fs::create_dir(&parts).unwrap();
                for entry in std::fs::read_dir(source.join("appendonlydir")).unwrap() {
                    let entry = entry.unwrap();
                    std::fs::copy(entry.path(), parts.join(entry.file_name())).unwrap();
                }
            }
            let firn = start(&firn, &into, &more);
            let mut client = firn.connect().unwrap();
            assert_eq!(&digest(&mut client), expected_all, "{name}'s {what} in Firn");
            if what == "dump" {
                assert_same(&digests(&mut client), &expected, &format!("{name}'s dump in Firn"));
            }
        }

        // Through our reader and writer, in every version that the servers load.
        let versions: &[u32] = if with_fields { &[VALKEY_VERSION] } else { &[9, 10, 11, VALKEY_VERSION] };
        for &version in versions {
            let converted = convert(&bytes, version);
            let into = new_folder(format!("{name}-{version}"));
            std::fs::write(into.join("dump.rdb"), &converted).unwrap();
            if version <= 10 {
                let checked = Command::new("redis-check-rdb").arg(into.join("dump.rdb")).output().unwrap();
                let told = String::from_utf8_lossy(&checked.stdout).into_owned();
                assert!(checked.status.success() && told.contains("RDB looks OK"), "version {version}: {told}");
            }
            for (by, path) in [("redis", &redis), ("valkey", &valkey)] {
                if by == "valkey" || version <= 10 {
                    let server = start(path, &into, &[]);
                    let mut client = server.connect().unwrap();
                    assert_eq!(digest(&mut client), all, "{name}'s data in version {version}, loaded by {by}");
                    if version >= 10 && by == name {
                        assert_same(&digests(&mut client), &expected, &format!("{name}'s data in version {version}"));
                    }
                }
            }
        }
    }
}

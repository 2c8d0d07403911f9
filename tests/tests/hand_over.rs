//! DUMP, RESTORE and MIGRATE at the real binary: options, effects that a restart replays, keys that move between two servers.

use firn_tests::client::{Client, Value};
use firn_tests::corpus::{assert_same, call, digest, digests, fill, run, text};
use firn_tests::process::{Program, Server, firn_server_beside};
use std::net::TcpListener;
use std::path::Path;
use std::time::Instant;

fn program(folder: &Path, more: &[&str]) -> Option<Program> {
    let path = firn_server_beside()?;
    std::fs::create_dir_all(folder).unwrap();
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let arguments =
        ["--enable-debug-command", "yes", "--save", ""].iter().chain(more).map(|word| (*word).to_owned()).collect();
    Some(Program { path, port, folder: folder.into(), log: folder.join("log"), arguments })
}

fn start(folder: &Path, more: &[&str]) -> Option<(Server, Client, String)> {
    let program = program(folder, more)?;
    let server = program.start().unwrap();
    let client = server.connect().unwrap();
    Some((server, client, program.port.to_string()))
}

fn error(client: &mut Client, words: &[&[u8]]) -> String {
    match client.call(words).unwrap() {
        Value::Error(text) => String::from_utf8(text).unwrap(),
        other => panic!("{other:?} instead of an error"),
    }
}

#[test]
fn what_restore_made_is_there_after_kill_minus_9() {
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = program(folder.path(), &["--appendonly", "yes"]) else { return };
    let mut server = program.start().unwrap();
    let mut client = server.connect().unwrap();
    fill(&mut client, true);
    let names: Vec<Vec<u8>> = digests(&mut client).into_keys().collect();
    let payloads: Vec<(Vec<u8>, Vec<u8>, String)> = names
        .iter()
        .map(|key| {
            let Value::Bulk(payload) = call(&mut client, &[b"DUMP", key]) else { panic!("a payload") };
            let at = call(&mut client, &[b"PEXPIRETIME", key]).integer().unwrap().max(0);
            (key.clone(), payload, at.to_string())
        })
        .collect();
    let expected = digests(&mut client);
    run(&mut client, "FLUSHALL");
    for (key, payload, at) in &payloads {
        call(&mut client, &[b"RESTORE", key, at.as_bytes(), payload, b"ABSTTL"]);
    }
    assert_same(&digests(&mut client), &expected, "restored");
    // In place of another type; with a relative time; and one that is dead at once.
    let (_, payload, _) = &payloads[0];
    call(&mut client, &[b"RPUSH", b"other", b"a"]);
    assert!(error(&mut client, &[b"RESTORE", b"other", b"0", payload]).starts_with("BUSYKEY"));
    call(&mut client, &[b"RESTORE", b"other", b"100000000", payload, b"REPLACE", b"IDLETIME", b"1000"]);
    call(&mut client, &[b"SET", b"dead", b"v"]);
    call(&mut client, &[b"RESTORE", b"dead", b"1000", payload, b"REPLACE", b"ABSTTL"]);
    assert_eq!(run(&mut client, "EXISTS dead").integer(), Some(0));
    let at = run(&mut client, "PEXPIRETIME other").integer().unwrap();
    let (all, before) = (digest(&mut client), digests(&mut client));
    drop(client);
    server.kill().unwrap();
    let server = program.start().unwrap();
    let mut client = server.connect().unwrap();
    assert_eq!(digest(&mut client), all);
    assert_same(&digests(&mut client), &before, "replayed");
    assert_eq!(run(&mut client, "PEXPIRETIME other").integer(), Some(at));
}

#[test]
fn restore_refuses_what_is_no_payload_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some((_server, mut client, _)) = start(folder.path(), &[]) else { return };
    run(&mut client, "RPUSH list a b c");
    let Value::Bulk(payload) = run(&mut client, "DUMP list") else { panic!("a payload") };
    let before = digest(&mut client);
    for at in 0..payload.len() {
        let mut bad = payload.clone();
        bad[at] ^= 0x10;
        let told = error(&mut client, &[b"RESTORE", b"new", b"0", &bad]);
        assert!(told.contains("DUMP payload version or checksum are wrong"), "byte {at}: {told}");
        let told = error(&mut client, &[b"RESTORE", b"new", b"0", &payload[..at]]);
        assert!(told.contains("payload"), "cut at {at}: {told}");
    }
    // A right checksum around a wrong value: 0 says that there is none.
    let body = payload.len() - 10;
    for at in 0..body {
        let mut bad = payload[..payload.len() - 8].to_vec();
        bad[at] = 0xff;
        bad.extend_from_slice(&[0; 8]);
        let reply = client.call(&[b"RESTORE", b"new", b"0", &bad, b"REPLACE"]).unwrap();
        if !reply.is_error() {
            run(&mut client, "DEL new");
        }
    }
    for (words, told) in [
        (&[&b"RESTORE"[..], b"new", b"-1", &payload][..], "ERR Invalid TTL value, must be >= 0"),
        (&[b"RESTORE", b"new", b"0", &payload, b"IDLETIME", b"-1"], "ERR Invalid IDLETIME value, must be >= 0"),
        (&[b"RESTORE", b"new", b"0", &payload, b"FREQ", b"256"], "ERR Invalid FREQ value, must be >= 0 and <= 255"),
        (&[b"RESTORE", b"new", b"0", &payload, b"IDLETIME", b"1", b"FREQ", b"1"], "ERR syntax error"),
        (&[b"RESTORE", b"new", b"x", &payload], "ERR value is not an integer or out of range"),
    ] {
        assert_eq!(error(&mut client, words), told);
    }
    assert_eq!(digest(&mut client), before);
}

#[test]
fn migrate_moves_copies_and_replaces_keys() {
    let folder = tempfile::tempdir().unwrap();
    let Some((_one, mut from, _)) = start(&folder.path().join("one"), &["--appendonly", "yes"]) else { return };
    let Some((_two, mut to, port)) = start(&folder.path().join("two"), &[]) else { return };
    // Not at the start: who waits for it knows no password.
    run(&mut to, "CONFIG SET requirepass secret");
    call(&mut to, &[b"AUTH", b"secret"]);
    let migrate = |client: &mut Client, words: &[&[u8]]| {
        let words: Vec<&[u8]> = [&[&b"MIGRATE"[..], b"127.0.0.1", port.as_bytes()], words].concat();
        client.call(&words).unwrap()
    };
    let ok = Value::Text(b"OK".to_vec());
    let nokey = Value::Text(b"NOKEY".to_vec());
    run(&mut from, "RPUSH list a b c");
    run(&mut from, "SET mortal v PXAT 4000000000000");
    // Without the password nothing moves, with the wrong one neither.
    let told = migrate(&mut from, &[b"list", b"0", b"1000"]);
    assert!(told.to_string().contains("Target instance replied with error: NOAUTH"), "{told}");
    let told = migrate(&mut from, &[b"list", b"0", b"1000", b"AUTH", b"wrong"]);
    assert!(told.to_string().contains("WRONGPASS"), "{told}");
    assert_eq!(run(&mut from, "LLEN list").integer(), Some(3));

    assert_eq!(migrate(&mut from, &[b"list", b"0", b"1000", b"AUTH", b"secret"]), ok);
    assert_eq!((run(&mut from, "EXISTS list").integer(), run(&mut to, "LLEN list").integer()), (Some(0), Some(3)));
    assert_eq!(migrate(&mut from, &[b"list", b"0", b"1000", b"AUTH", b"secret"]), nokey);
    // COPY leaves it here; a key that is there is kept unless REPLACE says otherwise; the deadline goes along.
    let auth: [&[u8]; 3] = [b"AUTH2", b"default", b"secret"];
    let began = Instant::now();
    assert_eq!(migrate(&mut from, &[&[&b"mortal"[..], b"2", b"1000", b"COPY"], &auth[..]].concat()), ok);
    let took_ms = began.elapsed().as_millis() as i64 + 1;
    assert_eq!(run(&mut from, "EXISTS mortal").integer(), Some(1));
    run(&mut to, "SELECT 2");
    // What is sent is the time that remains, as Redis sends it, so that clocks may differ: the way there is added.
    let late_ms = run(&mut to, "PEXPIRETIME mortal").integer().unwrap() - 4_000_000_000_000;
    assert!((0..=took_ms).contains(&late_ms), "{late_ms} ms late after {took_ms} ms");
    run(&mut from, "SET mortal other");
    let told = migrate(&mut from, &[&[&b"mortal"[..], b"2", b"1000"], &auth[..]].concat());
    assert!(told.to_string().contains("BUSYKEY"), "{told}");
    assert_eq!((text(&run(&mut to, "GET mortal")), text(&run(&mut from, "GET mortal"))), ("v".into(), "other".into()));
    assert_eq!(migrate(&mut from, &[&[&b"mortal"[..], b"2", b"1000", b"REPLACE"], &auth[..]].concat()), ok);
    assert_eq!(
        (text(&run(&mut to, "GET mortal")), run(&mut from, "EXISTS mortal").integer()),
        ("other".into(), Some(0))
    );
    // Many at once: those that are there move, the others are passed over.
    run(&mut from, "MSET a 1 b 2 c 3");
    run(&mut to, "SELECT 0");
    let keys: [&[u8]; 5] = [b"KEYS", b"a", b"none", b"b", b"c"];
    assert_eq!(migrate(&mut from, &[&[&b""[..], b"0", b"1000"], &auth[..], &keys[..]].concat()), ok);
    assert_eq!(run(&mut to, "MGET a b c").to_string(), "[\"1\", \"2\", \"3\"]");
    assert_eq!(run(&mut from, "DBSIZE").integer(), Some(0));
    let told = migrate(&mut from, &[b"a", b"0", b"1000", b"KEYS", b"b"]);
    assert!(told.to_string().contains("the key argument must be set to the empty string"), "{told}");
    // Nobody there.
    run(&mut from, "SET a 1");
    let nobody = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port().to_string();
    let told = from.call(&[b"MIGRATE", b"127.0.0.1", nobody.as_bytes(), b"a", b"0", b"500"]).unwrap();
    assert!(told.to_string().contains("IOERR error or timeout connecting to the client"), "{told}");
    assert_eq!(text(&run(&mut from, "GET a")), "1");
}

#[test]
fn everything_that_migrate_moves_is_the_same_there_and_durably_gone_here() {
    let folder = tempfile::tempdir().unwrap();
    let Some(one) = program(&folder.path().join("one"), &["--appendonly", "yes"]) else { return };
    let Some((_two, mut to, port)) = start(&folder.path().join("two"), &[]) else { return };
    let mut server = one.start().unwrap();
    let mut from = server.connect().unwrap();
    fill(&mut from, true);
    let expected = digests(&mut from);
    for keys in expected.keys().cloned().collect::<Vec<_>>().chunks(20) {
        let head: [&[u8]; 7] = [b"MIGRATE", b"127.0.0.1", port.as_bytes(), b"", b"0", b"5000", b"KEYS"];
        let words: Vec<&[u8]> = head.into_iter().chain(keys.iter().map(Vec::as_slice)).collect();
        call(&mut from, &words);
    }
    assert_same(&digests(&mut to), &expected, "migrated");
    drop(from);
    server.kill().unwrap();
    let server = one.start().unwrap();
    let mut from = server.connect().unwrap();
    assert_eq!(run(&mut from, "DBSIZE").integer(), Some(0), "the deletions were acknowledged, so they are in the log");
    run(&mut from, "SELECT 3");
    assert_eq!(run(&mut from, "DBSIZE").integer(), Some(1));
}

//! Data of every type, encoding and threshold in a server, and what must be the same wherever it is taken: for tests that hand data around.
//!
//! A command that fails, or a server that goes away, ends the test.

use crate::client::{Client, Value};
use std::collections::BTreeMap;

/// A command's reply, which must be no error.
#[track_caller]
pub fn call(client: &mut Client, words: &[&[u8]]) -> Value {
    let reply = client.call(words).expect("the server answers");
    assert!(!reply.is_error(), "{}: {reply:?}", words.concat().escape_ascii());
    reply
}

/// As [`call`], for words without spaces.
#[track_caller]
pub fn run(client: &mut Client, line: &str) -> Value {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    call(client, &words)
}

/// Runs many commands without waiting for each.
pub fn run_all(client: &mut Client, lines: &[String]) {
    for lines in lines.chunks(500) {
        for line in lines {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            client.push(&words);
        }
        client.flush().expect("the server answers");
        for line in lines {
            let reply = client.read().expect("the server answers");
            assert!(!reply.is_error(), "{line}: {reply:?}");
        }
    }
}

/// A reply as text.
pub fn text(value: &Value) -> String {
    String::from_utf8(value.bytes().unwrap_or_default().to_vec()).expect("the server answers")
}

/// Fills database 0 (and one key of database 3) with every type, encoding and threshold.
pub fn fill(client: &mut Client, fields_expire: bool) {
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

/// The names of all keys of the database, in order.
pub fn keys(client: &mut Client) -> Vec<Vec<u8>> {
    let Value::Array(keys) = run(client, "KEYS *") else { panic!("an array") };
    let mut keys: Vec<Vec<u8>> = keys.iter().map(|key| key.bytes().expect("the server answers").to_vec()).collect();
    keys.sort();
    keys
}

/// Digest of each key's value; for streams also what the digest leaves out: groups and counters.
pub fn digests(client: &mut Client) -> BTreeMap<Vec<u8>, String> {
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
                let pending = call(
                    client,
                    &[b"XPENDING", &key, pairs[1].bytes().expect("the server answers"), b"-", b"+", b"1000"],
                );
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

/// Compares what [`digests`] gave.
#[track_caller]
pub fn assert_same(found: &BTreeMap<Vec<u8>, String>, expected: &BTreeMap<Vec<u8>, String>, what: &str) {
    for (key, digest) in expected {
        assert_eq!(found.get(key), Some(digest), "{what}: {}", key.escape_ascii());
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

/// What DEBUG DIGEST says of all databases.
pub fn digest(client: &mut Client) -> String {
    text(&run(client, "DEBUG DIGEST"))
}

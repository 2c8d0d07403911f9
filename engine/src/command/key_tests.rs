//! Commands on keys, deadlines and databases: every option, error, effect and event.

use super::testing::{Bench, check, check3, play};

#[test]
fn deletion_logs_only_what_changed() {
    check(
        "
        > MSET a 1 b 2 c 3
        +OK
        effect MSET a 1 b 2 c 3
        > DEL a nope b
        :2
        effect DEL a nope b
        > UNLINK c c
        :1
        effect DEL c c
        > DEL a b c
        :0
        > EXISTS a
        :0
        > TYPE a
        +none
        > SET a 1
        +OK
        effect SET a 1
        > TYPE a
        +string
        > TOUCH a a nope
        :2
        > DBSIZE
        :1
        > DEL
        -ERR wrong number of arguments for 'del' command
    ",
    );
}

#[test]
fn deadlines_are_logged_as_absolute_milliseconds() {
    check(
        "
        > MSET a 1 b 1 c 1 d 1
        +OK
        effect MSET a 1 b 1 c 1 d 1
        > EXPIRE a 10
        :1
        effect PEXPIREAT a 1700000010000
        > PEXPIRE b 10
        :1
        effect PEXPIREAT b 1700000000010
        > EXPIREAT c 1700000001
        :1
        effect PEXPIREAT c 1700000001000
        > PEXPIREAT d 1700000001499
        :1
        effect PEXPIREAT d 1700000001499
        > TTL a
        :10
        > PTTL b
        :10
        > EXPIRETIME d
        :1700000001
        > PEXPIRETIME d
        :1700000001499
        > PEXPIRETIME a
        :1700000010000
        > EXPIRETIME b
        :1700000000
        > TTL nope
        :-2
        > PEXPIRETIME nope
        :-2
        after 1ms > TTL d
        :1
        > TTL c
        :1
        > PEXPIREAT c 1700000001501
        :1
        effect PEXPIREAT c 1700000001501
        > TTL c
        :2
        > TTL b
        :0
        > PERSIST d
        :1
        effect PERSIST d
        > PERSIST d
        :0
        > TTL d
        :-1
        > EXPIRETIME d
        :-1
        > PERSIST nope
        :0
        > EXPIRE nope 10
        :0
        after 9ms > EXISTS b
        :0
        effect DEL b
    ",
    );
}

#[test]
fn a_passed_deadline_deletes_at_once() {
    check(
        "
        > MSET a 1 b 1 c 1 d 1
        +OK
        effect MSET a 1 b 1 c 1 d 1
        > EXPIRE a 0
        :1
        effect DEL a
        > PEXPIRE b -1
        :1
        effect DEL b
        > EXPIREAT c 1
        :1
        effect DEL c
        > PEXPIREAT d -9223372036854775808
        :1
        effect DEL d
        > DBSIZE
        :0
    ",
    );
}

#[test]
fn expire_conditions() {
    check(
        "
        > SET k v
        +OK
        > EXPIRE k 100 XX
        :0
        > EXPIRE k 100 GT
        :0
        > EXPIRE k 100 XX GT
        :0
        > EXPIRE k 100 NX
        :1
        > EXPIRE k 200 NX
        :0
        > EXPIRE k 200 LT
        :0
        > EXPIRE k 100 LT
        :0
        > EXPIRE k 100 GT
        :0
        > EXPIRE k 200 gt xx
        :1
        > EXPIRE k 50 LT XX
        :1
        > TTL k
        :50
        > PERSIST k
        :1
        > EXPIRE k 60 LT
        :1
        > PEXPIRE k 10 FOO
        -ERR Unsupported option FOO
        > PEXPIRE k 10 \"a\\r\\nb\"
        -ERR Unsupported option a  b
        > PEXPIRE k 10 \"b\\r\\n\"
        -ERR Unsupported option b
        > EXPIRE k 10 NX XX
        -ERR NX and XX, GT or LT options at the same time are not compatible
        > EXPIRE k 10 LT NX
        -ERR NX and XX, GT or LT options at the same time are not compatible
        > EXPIRE k 10 GT LT
        -ERR GT and LT options at the same time are not compatible
        > EXPIRE k 9223372036854775807
        -ERR invalid expire time in 'expire' command
        > EXPIRE k -9223372036854775808
        -ERR invalid expire time in 'expire' command
        > EXPIREAT nope 9223372036854775807
        -ERR invalid expire time in 'expireat' command
        > PEXPIRE k 9223372036854775807
        -ERR invalid expire time in 'pexpire' command
        > PEXPIREAT k 9223372036854775807
        :1
        > EXPIRE k a
        -ERR value is not an integer or out of range
        > EXPIRE k a FOO
        -ERR Unsupported option FOO
    ",
    );
}

#[test]
fn renaming_takes_value_and_deadline_along() {
    check(
        "
        > RENAME a b
        -ERR no such key
        > RENAMENX a a
        -ERR no such key
        > SET a 1 PX 100
        +OK
        effect SET a 1 PXAT 1700000000100
        > SET b 2
        +OK
        effect SET b 2
        > RENAME a a
        +OK
        > RENAMENX a a
        :0
        > RENAMENX a b
        :0
        > RENAME a b
        +OK
        effect RENAME a b
        > GET b
        $1
        > PTTL b
        :100
        > EXISTS a
        :0
        > RENAMENX b c
        :1
        effect RENAME b c
        after 100ms > RENAME c d
        -ERR no such key
        effect DEL c
        > SET x 1
        +OK
        effect SET x 1
        > SET y 1 PX 1
        +OK
        effect SET y 1 PXAT 1700000000101
        after 1ms > RENAMENX x y
        :1
        effect DEL y
        effect RENAME x y
        > PTTL y
        :-1
    ",
    );
}

#[test]
fn copies_and_moves_between_databases() {
    check(
        "
        > SET a 1 PX 100
        +OK
        effect SET a 1 PXAT 1700000000100
        > COPY a b
        :1
        effect COPY a b DB 0 REPLACE
        > COPY a b
        :0
        > COPY a b REPLACE
        :1
        effect COPY a b DB 0 REPLACE
        > COPY a a DB 3
        :1
        effect COPY a a DB 3 REPLACE
        > COPY nope b
        :0
        > COPY a a
        -ERR source and destination objects are the same
        > COPY a a DB 0 REPLACE
        -ERR source and destination objects are the same
        > COPY a b DB
        -ERR syntax error
        > COPY a b DB x
        -ERR value is not an integer or out of range
        > COPY a b DB 16
        -ERR DB index is out of range
        > COPY a b DB -1
        -ERR DB index is out of range
        > COPY a b DB 99999999999
        -ERR value is out of range, value must between -2147483648 and 2147483647
        > COPY a b FOO
        -ERR syntax error
        > MOVE a 3
        :0
        > MOVE b 3
        :1
        effect MOVE b 3
        > MOVE nope 3
        :0
        > MOVE a 0
        -ERR source and destination objects are the same
        > MOVE a 16
        -ERR DB index is out of range
        > MOVE a x
        -ERR value is not an integer or out of range
        > SELECT 3
        +OK
        > PTTL b
        :100
        > DEL b
        :1
        effect 3: DEL b
        > SELECT 16
        -ERR DB index is out of range
        > SELECT -1
        -ERR DB index is out of range
        > SELECT x
        -ERR value is not an integer or out of range
        > DBSIZE
        :1
    ",
    );
}

#[test]
fn databases_swap_and_empty() {
    check(
        "
        > FLUSHALL
        +OK
        > SWAPDB 0 1
        +OK
        > SET a 1
        +OK
        effect SET a 1
        > SWAPDB 0 1
        +OK
        effect SWAPDB 0 1
        > DBSIZE
        :0
        > SWAPDB 1 0
        +OK
        effect SWAPDB 1 0
        > SWAPDB 0 0
        +OK
        > SWAPDB x 1
        -ERR invalid first DB index
        > SWAPDB 1 x
        -ERR invalid second DB index
        > SWAPDB 0 16
        -ERR DB index is out of range
        > FLUSHDB
        +OK
        effect FLUSHDB
        > FLUSHDB SYNC
        +OK
        > SET a 1
        +OK
        effect SET a 1
        > FLUSHALL async
        +OK
        effect FLUSHALL
        > FLUSHALL FOO
        -ERR syntax error
        > FLUSHDB ASYNC SYNC
        -ERR syntax error
        > DBSIZE
        :0
    ",
    );
}

#[test]
fn object_tells_encodings_of_redis() {
    let (short, long) = ("x".repeat(44), "x".repeat(45));
    check(&format!(
        "
        > SET k 123
        +OK
        > OBJECT ENCODING k
        $int
        > SET k {short}
        +OK
        > object encoding k
        $embstr
        > SET k {long}
        +OK
        > OBJECT ENCODING k
        $raw
        > OBJECT REFCOUNT k
        :1
        > OBJECT IDLETIME k
        :0
        > OBJECT FREQ k
        -ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between \
         policies at runtime LRU and LFU data will take some time to adjust.
        > OBJECT ENCODING nope
        $-1
        > OBJECT ENCODING
        -ERR wrong number of arguments for 'object|encoding' command
        > OBJECT FOO k
        -ERR unknown subcommand 'FOO'. Try OBJECT HELP.
        > OBJECT
        -ERR wrong number of arguments for 'object' command
    "
    ));
    let mut bench = Bench::new();
    bench.engine.settings.memory.policy = crate::eviction::Policy::named("allkeys-lfu").unwrap();
    let refusal = "-ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies \
                   at runtime LRU and LFU data will take some time to adjust.";
    play(&mut bench, &format!("> SET k v\n+OK\n> OBJECT IDLETIME k\n{refusal}"));
    assert!(bench.run(&[b"OBJECT", b"FREQ", b"k"]).starts_with(':'));
    assert!(bench.run(&[b"OBJECT", b"HELP"]).starts_with("*15\n+OBJECT <subcommand>"));
}

#[test]
fn scan_and_keys_show_live_matching_keys_and_reclaim_dead_ones() {
    check(
        "
        > SCAN 0
        *2
        $0
        *0
        > SET a 1
        +OK
        > SET b 1 PX 5
        +OK
        after 5ms > KEYS *
        *1
        $a
        > DBSIZE
        :2
        > RANDOMKEY
        $a
        > SCAN 0 MATCH * COUNT 100 TYPE string
        *2
        $0
        *1
        $a
        > DBSIZE
        :1
        > SCAN 0 TYPE LIST
        *2
        $0
        *0
        > SCAN 0 MATCH b*
        *2
        $0
        *0
        > KEYS [b-z]
        *0
        > SCAN -1
        -ERR invalid cursor
        > SCAN \"\"
        -ERR invalid cursor
        > SCAN 1x
        -ERR invalid cursor
        > SCAN 18446744073709551616
        -ERR invalid cursor
        > SCAN 0 COUNT 0
        -ERR syntax error
        > SCAN 0 COUNT x
        -ERR value is not an integer or out of range
        > SCAN 0 COUNT
        -ERR syntax error
        > SCAN 0 FOO 1
        -ERR syntax error
        > SCAN 0 TYPE foo
        -ERR unknown type name 'foo'
        > SCAN 0 NOVALUES
        -ERR NOVALUES option can only be used in HSCAN
        > SCAN 0 COUNT 9223372036854775807
        *2
        $0
        *1
        $a
        > DEL a
        :1
        > RANDOMKEY
        $-1
    ",
    );
    check3("> RANDOMKEY\n_\n> OBJECT ENCODING nope\n_");
}

#[test]
fn a_walk_returns_every_key_once_while_others_come_and_go() {
    let mut bench = Bench::new();
    for n in 0..500 {
        bench.run(&[b"SET", format!("stays:{n}").as_bytes(), b"v"]);
        bench.run(&[b"SET", format!("goes:{n}").as_bytes(), b"v"]);
    }
    let (mut cursor, mut seen, mut step) = ("0".to_owned(), Vec::new(), 0);
    loop {
        let text = bench.run(&[b"SCAN", cursor.as_bytes(), b"COUNT", b"7"]);
        let mut lines = text.lines().skip(1);
        cursor = lines.next().unwrap()[1..].to_owned();
        seen.extend(lines.skip(1).filter(|line| line.starts_with("$stays")).map(str::to_owned));
        bench.run(&[b"DEL", format!("goes:{step}").as_bytes()]);
        bench.run(&[b"SET", format!("comes:{step}").as_bytes(), b"v"]);
        step += 1;
        if cursor == "0" {
            break;
        }
    }
    let mut unique = seen.clone();
    unique.sort();
    unique.dedup();
    assert_eq!((seen.len(), unique.len()), (500, 500));
}

#[test]
fn randomkey_finds_the_one_live_key_among_dead_ones() {
    let mut bench = Bench::new();
    for n in 0..1000 {
        bench.run(&[b"SET", format!("dead:{n}").as_bytes(), b"v", b"PX", b"1"]);
    }
    bench.run(&[b"SET", b"alive", b"v"]);
    bench.engine.now_ms += 1;
    for _ in 0..5 {
        assert_eq!(bench.run(&[b"RANDOMKEY"]), "$alive\n");
    }
}

#[test]
fn events_are_those_of_redis() {
    check(
        "
        > MSET a 1 b 2
        +OK
        event n new a
        event $ set a
        event n new b
        event $ set b
        > DEL a nope
        :1
        event g del a
        > EXPIRE b 100
        :1
        event g expire b
        > PERSIST b
        :1
        event g persist b
        > RENAME b c
        +OK
        event n new c
        event g rename_from b
        event g rename_to c
        > COPY c d DB 2
        :1
        event n 2: new d
        event g 2: copy_to d
        > MOVE c 1
        :1
        event n 1: new c
        event g move_from c
        event g 1: move_to c
        > EXISTS c
        :0
        event m keymiss c
        > SELECT 1
        +OK
        > EXPIRE c -1
        :1
        event x 1: expired c
        > FLUSHALL
        +OK
    ",
    );
}

#[test]
fn under_always_replies_wait_only_for_what_they_show() {
    let mut bench = Bench::new();
    bench.engine.effects.configure(true, true);
    bench.run(&[b"SET", b"a", b"1"]);
    bench.engine.effects.take(Vec::new());
    bench.engine.effects.durable(u64::MAX);
    bench.run(&[b"SET", b"b", b"1"]);
    for (words, waits) in [
        (&[&b"GET"[..], b"a"][..], false),
        (&[b"GET", b"b"], true),
        (&[b"TTL", b"b"], true),
        (&[b"EXPIRE", b"a", b"5", b"XX"], false),
        (&[b"SETNX", b"b", b"1"], true),
        (&[b"DBSIZE"], true),
        (&[b"KEYS", b"*"], true),
        (&[b"SCAN", b"0"], true),
        (&[b"LCS", b"a", b"a"], false),
        (&[b"LCS", b"a", b"b"], true),
    ] {
        bench.session.promise = 0;
        bench.run(words);
        assert_eq!(bench.session.promise == 2, waits, "{}", String::from_utf8_lossy(words[0]));
    }
    bench.run(&[b"FLUSHDB"]);
    bench.session.promise = 0;
    bench.run(&[b"GET", b"a"]);
    assert_eq!(bench.session.promise, 3, "that a key is gone is shown only once it is durable");
    bench.run(&[b"SET", b"a", b"1"]);
    bench.engine.effects.take(Vec::new());
    bench.engine.effects.durable(bench.engine.effects.last());
    bench.run(&[b"SWAPDB", b"0", b"1"]);
    bench.session.promise = 0;
    bench.run(&[b"GET", b"c"]);
    assert_eq!(bench.session.promise, 5, "so is what another database had");
}

#[test]
fn flushed_databases_nobody_takes_do_not_pile_up() {
    let mut bench = Bench::new();
    for _ in 0..100 {
        bench.run(&[b"SET", b"a", b"1"]);
        bench.run(&[b"FLUSHDB"]);
    }
    assert_eq!(bench.engine.keyspace.dead_len(), 0, "what is small is dropped by the command");
    bench.run(&[b"SET", b"a", &[b'x'; 100_000]]);
    bench.run(&[b"FLUSHDB"]);
    assert_eq!(bench.engine.keyspace.dead_len(), 1, "what is large by the shell");
    assert!(bench.engine.keyspace.dead_bytes() > 100_000);
}

#[test]
fn idle_time_counts_from_the_last_use_and_asking_is_no_use() {
    check(
        "
        > SET k v
        +OK
        > SET other v
        +OK
        after 5000ms > OBJECT IDLETIME k
        :5
        > EXISTS k
        :1
        > TTL k
        :-1
        > TYPE k
        +string
        > OBJECT IDLETIME k
        :5
        > GET k
        $v
        > OBJECT IDLETIME k
        :0
        > OBJECT IDLETIME other
        :5
        after 3000ms > APPEND k w
        :2
        after 2000ms > OBJECT IDLETIME k
        :2
        > TOUCH k
        :1
        > OBJECT IDLETIME k
        :0
    ",
    );
    let mut bench = Bench::new();
    bench.run(&[b"SET", b"k", b"v"]);
    bench.engine.now_ms += 9000;
    bench.session.no_touch = true;
    bench.run(&[b"GET", b"k"]);
    assert_eq!(bench.run(&[b"OBJECT", b"IDLETIME", b"k"]), ":9\n");
    bench.run(&[b"TOUCH", b"k"]);
    assert_eq!(bench.run(&[b"OBJECT", b"IDLETIME", b"k"]), ":0\n");
}

#[test]
fn while_expiry_is_held_dead_keys_are_hidden_and_stay() {
    let mut bench = Bench::new();
    bench.engine.hold_expiry_until_ms = 1000;
    play(
        &mut bench,
        "
        > SET k abc PX 5
        +OK
        effect SET k abc PXAT 1700000000005
        > SET l abc
        +OK
        effect SET l abc
        after 5ms > GET k
        $-1
        > EXISTS k l
        :1
        > TTL k
        :-2
        > LCS k l LEN
        :0
        > KEYS *
        *1
        $l
        > SCAN 0
        *2
        $0
        *1
        $l
        > RANDOMKEY
        $l
        > MGET k l
        *2
        $-1
        $abc
        > OBJECT ENCODING k
        $-1
        > COPY k m
        :0
        > GETDEL k
        $-1
        > DBSIZE
        :2
    ",
    );
    bench.engine.monotonic_ms = 1000;
    play(&mut bench, "> GET k\n$-1\neffect DEL k\n> DBSIZE\n:1");
}

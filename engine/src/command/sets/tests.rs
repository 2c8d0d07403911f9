//! Commands on sets as a conversation: replies, effects, events.

use crate::command::testing::{Bench, check, check3, play};

#[test]
fn members_come_and_go() {
    check(
        "
        > SADD s a b a
        :2
        effect SADD s a b a
        event n new s
        event s sadd s
        > SADD s a b
        :0
        > SREM s x a
        :1
        effect SREM s x a
        event s srem s
        > SREM s a
        :0
        > SISMEMBER s b
        :1
        > SMISMEMBER s b a
        *2
        :1
        :0
        > SMISMEMBER none b
        *1
        :0
        event m keymiss none
        > SCARD s
        :1
        > SREM s b
        :1
        effect SREM s b
        event s srem s
        event g del s
        > SREM s b
        :0
        > SCARD s
        :0
        event m keymiss s
        > SMEMBERS s
        *0
        event m keymiss s
        ",
    );
}

#[test]
fn other_types_are_refused_and_nothing_is_changed() {
    let mut bench = Bench::new();
    bench.run(&[b"SET", b"str", b"x"]);
    bench.run(&[b"SADD", b"s", b"a"]);
    bench.effects();
    for command in [
        "SADD str a",
        "SREM str a",
        "SMEMBERS str",
        "SISMEMBER str a",
        "SMISMEMBER str a",
        "SCARD str",
        "SPOP str",
        "SPOP str 0",
        "SRANDMEMBER str",
        "SRANDMEMBER str 2",
        "SMOVE str s a",
        "SMOVE s str a",
        "SMOVE s str x",
        "SINTER s str",
        "SINTER none str",
        "SUNION none str",
        "SDIFF none str",
        "SINTERCARD 2 none str",
        "SINTERSTORE d none str",
        "SUNIONSTORE d str",
        "SDIFFSTORE d s str",
        "SSCAN str 0 JUNK",
    ] {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value\n";
        assert_eq!(bench.run(&words), wrong, "{command}");
    }
    assert_eq!(bench.effects(), Vec::<String>::new());
    play(
        &mut bench,
        "
        > SMOVE none str a
        :0
        > SINTERSTORE str s
        :1
        > TYPE str
        +set
    ",
    );
}

#[test]
fn smove_moves() {
    check(
        "
        > SADD a 1 2
        :2
        effect SADD a 1 2
        event n new a
        event s sadd a
        > SMOVE a b 1
        :1
        effect SMOVE a b 1
        event s srem a
        event n new b
        event s sadd b
        > SMOVE a b 1
        :0
        > SADD b 2
        :1
        effect SADD b 2
        event s sadd b
        > SMOVE a b 2
        :1
        effect SMOVE a b 2
        event s srem a
        event g del a
        > SMOVE b b 2
        :1
        > SMOVE b b 3
        :0
        > SMEMBERS b
        *2
        $1
        $2
        ",
    );
}

#[test]
fn algebra() {
    check(
        "
        > SADD a 1 2 3 4
        :4
        > SADD b 3 4 5 x
        :4
        > SADD c 4 x
        :2
        > SINTER a b
        *2
        $3
        $4
        > SINTER a b c
        *1
        $4
        > SINTER a none
        *0
        > SUNION a b none
        *6
        $1
        $2
        $3
        $4
        $5
        $x
        > SDIFF b a c
        *1
        $5
        > SDIFF none a
        *0
        > SINTERCARD 2 a b
        :2
        > SINTERCARD 2 a b LIMIT 1
        :1
        > SINTERCARD 2 a b LIMIT 0
        :2
        > SINTERCARD 2 a b LIMIT 1 limit 5
        :2
        > SINTERCARD 0 a
        -ERR numkeys should be greater than 0
        > SINTERCARD x a
        -ERR numkeys should be greater than 0
        > SINTERCARD 3 a b
        -ERR Number of keys can't be greater than number of args
        > SINTERCARD 2 a b LIMIT
        -ERR syntax error
        > SINTERCARD 2 a b LIMIT -1
        -ERR LIMIT can't be negative
        > SINTERCARD 1 a b LIMIT
        -ERR syntax error
        ",
    );
    check3(
        "
        > SADD a 1
        :1
        > SINTER a
        ~1
        $1
        > SDIFF a a
        ~0
        > SMEMBERS none
        ~0
        > SPOP a 5
        ~1
        $1
        > SPOP a
        _
        > SPOP a 5
        ~0
        > SRANDMEMBER a 5
        *0
        > SRANDMEMBER a
        _
        ",
    );
}

#[test]
fn stores_replace_whatever_was_there() {
    check(
        "
        > SADD a 1 2
        :2
        effect SADD a 1 2
        event n new a
        event s sadd a
        > SET d text PX 1000
        +OK
        effect SET d text PXAT 1700000001000
        event n new d
        event $ set d
        event g expire d
        > SUNIONSTORE d a d2
        :2
        effect SUNIONSTORE d a d2
        event m keymiss d2
        event s sunionstore d
        > TTL d
        :-1
        > SDIFFSTORE d a d
        :0
        effect SDIFFSTORE d a d
        event g del d
        > SDIFFSTORE d a a
        :0
        > SINTERSTORE a a a
        :2
        effect SINTERSTORE a a a
        event s sinterstore a
        > OBJECT ENCODING a
        $intset
        ",
    );
}

#[test]
fn what_spop_drew_is_logged_as_srem_or_del() {
    check(
        "
        > SADD s 7
        :1
        effect SADD s 7
        event n new s
        event s sadd s
        > SPOP s
        $7
        effect SREM s 7
        event s spop s
        event g del s
        > SADD s 7 8
        :2
        effect SADD s 7 8
        event n new s
        event s sadd s
        > SPOP s 0
        *0
        > SPOP s 2
        *2
        $7
        $8
        effect DEL s
        event s spop s
        event g del s
        > SPOP s -1
        -ERR value is out of range, must be positive
        > SPOP s x
        -ERR value is out of range, must be positive
        > SPOP s 1 1
        -ERR syntax error
        > SRANDMEMBER s x
        -ERR value is not an integer or out of range
        > SRANDMEMBER s 1 1
        -ERR syntax error
        ",
    );
}

/// Lines of a reply without the first.
fn items(reply: &str) -> Vec<String> {
    reply.lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn random_members_are_members_and_different_if_asked() {
    for size in [5, 100, 2000] {
        let mut bench = Bench::new();
        for n in 0..size {
            bench.run(&[b"SADD", b"s", format!("m{n}").as_bytes()]);
        }
        for count in [1, size / 4, size / 2, size - 1, size, size * 2] {
            let reply = bench.run(&[b"SRANDMEMBER", b"s", count.to_string().as_bytes()]);
            let mut found = items(&reply);
            assert_eq!(found.len(), count.min(size), "{size} {count}");
            found.sort_unstable();
            found.dedup();
            assert_eq!(found.len(), count.min(size), "a member came twice");
            let reply = bench.run(&[b"SRANDMEMBER", b"s", format!("-{count}").as_bytes()]);
            assert_eq!(items(&reply).len(), count);
            for member in items(&reply) {
                assert_eq!(bench.run(&[b"SISMEMBER", b"s", &member.as_bytes()[1..]]), ":1\n");
            }
        }
        assert!(bench.run(&[b"SRANDMEMBER", b"s", b"-9223372036854775808"]).starts_with("-ERR value is out of range"));
        assert!(bench.run(&[b"SRANDMEMBER", b"s", b"-9223372036854775807"]).starts_with("-ERR value is out of range"));
        bench.effects();
        let popped = items(&bench.run(&[b"SPOP", b"s", (size / 2).to_string().as_bytes()]));
        let effects = bench.effects();
        assert_eq!((popped.len(), effects.len()), (size / 2, 1));
        let words: Vec<String> = popped.iter().map(|member| member[1..].to_owned()).collect();
        assert_eq!(effects[0], format!("SREM s {}", words.join(" ")));
        assert_eq!(bench.run(&[b"SCARD", b"s"]), format!(":{}\n", size - size / 2));
    }
}

#[test]
fn algebra_agrees_with_a_plain_set_whatever_the_forms() {
    use std::collections::BTreeSet;
    let sets: Vec<BTreeSet<String>> = vec![
        (0..10).map(|n| n.to_string()).collect(),
        (5..700).map(|n| n.to_string()).collect(),
        (0..300).map(|n| format!("w{}", n * 7)).collect(),
        (0..90).map(|n| format!("w{n}")).collect(),
        (0..900).map(|n| format!("w{n}")).chain((3..8).map(|n| n.to_string())).collect(),
        BTreeSet::new(),
    ];
    let mut bench = Bench::new();
    for (number, set) in sets.iter().enumerate() {
        for member in set {
            bench.run(&[b"SADD", format!("s{number}").as_bytes(), member.as_bytes()]);
        }
    }
    for a in 0..sets.len() {
        for b in 0..sets.len() {
            for c in 0..sets.len() {
                let inter: BTreeSet<_> =
                    sets[a].iter().filter(|m| sets[b].contains(*m) && sets[c].contains(*m)).collect();
                let union: BTreeSet<_> = sets[a].iter().chain(&sets[b]).chain(&sets[c]).collect();
                let diff: BTreeSet<_> =
                    sets[a].iter().filter(|m| !sets[b].contains(*m) && !sets[c].contains(*m)).collect();
                let names = [format!("s{a}"), format!("s{b}"), format!("s{c}")];
                let [a, b, c] = [names[0].as_bytes(), names[1].as_bytes(), names[2].as_bytes()];
                for (name, expected) in [("SINTER", inter), ("SUNION", union), ("SDIFF", diff)] {
                    let expected: Vec<String> = expected.into_iter().map(|m| format!("${m}")).collect();
                    let mut got = items(&bench.run(&[name.as_bytes(), a, b, c]));
                    got.sort_unstable();
                    let mut sorted = expected.clone();
                    sorted.sort_unstable();
                    assert_eq!(got, sorted, "{name} {names:?}");
                    let stored = bench.run(&[format!("{name}STORE").as_bytes(), b"d", a, b, c]);
                    assert_eq!(stored, format!(":{}\n", expected.len()));
                    let mut got = items(&bench.run(&[b"SMEMBERS", b"d"]));
                    got.sort_unstable();
                    assert_eq!(got, sorted, "{name}STORE {names:?}");
                    if name == "SINTER" {
                        let count = bench.run(&[b"SINTERCARD", b"3", a, b, c]);
                        assert_eq!(count, format!(":{}\n", expected.len()));
                    }
                }
            }
        }
    }
}

#[test]
fn sscan_walks() {
    check(
        "
        > SADD s 1 2 aa ab
        :4
        > SSCAN s 0 MATCH a*
        *2
        $0
        *2
        $aa
        $ab
        > SSCAN s 5 COUNT 1
        *2
        $0
        *4
        $1
        $2
        $aa
        $ab
        > SSCAN none 0 JUNK
        *2
        $0
        *0
        > SSCAN none x
        -ERR invalid cursor
        > SSCAN s 0 JUNK
        -ERR syntax error
        > SSCAN s 0 COUNT 0
        -ERR syntax error
        > SSCAN s 0 COUNT x
        -ERR value is not an integer or out of range
        > SSCAN s 0 TYPE set
        -ERR syntax error
        > SSCAN s 0 NOVALUES
        -ERR NOVALUES option can only be used in HSCAN
        > SSCAN s 0 NOSCORES
        -ERR NOSCORES option can only be used in ZSCAN
        ",
    );
}

//! Sorted sets, command by command: replies, effects, events. The replies are what Valkey 9.1 answers.

use crate::command::replay_tests::replay;
use crate::command::testing::{Bench, check, check3, play};
use crate::debug;
use crate::engine::Engine;
use proptest::prelude::*;

/// A bench on which three elements make a large set.
fn small() -> Bench {
    let mut bench = Bench::new();
    bench.engine.settings.shaping.zset_max_listpack_entries = 2;
    bench
}

#[test]
fn zadd_decides_by_its_conditions_and_logs_what_it_decided() {
    for (bench, nought) in [(&mut Bench::new(), "0"), (&mut small(), "-0")] {
        play(
            bench,
            &"
            > ZADD k 1 a 2 b 1 a
            :2
            effect ZADD k 1 a 2 b 1 a
            > ZADD k NX 5 a 3 c
            :1
            effect ZADD k 3 c
            > ZADD k XX CH 5 a 9 d
            :1
            effect ZADD k 5 a
            > ZADD k GT CH 4 a 7 b 1.50 e
            :2
            effect ZADD k 7 b 1.5 e
            > ZADD k LT CH 4 a 8 b
            :1
            effect ZADD k 4 a
            > ZADD k 4 a
            :0
            > ZADD k -0 z
            :1
            effect ZADD k -0 z
            > ZADD k 0 z
            :0
            > ZADD none XX 1 a
            :0
            > ZRANGE k 0 -1 WITHSCORES
            *10
            $z
            $NOUGHT
            $e
            $1.5
            $c
            $3
            $a
            $4
            $b
            $7
            "
            .replace("NOUGHT", nought),
        );
    }
}

#[test]
fn increments_log_the_resulting_score() {
    check(
        "
        > ZADD k INCR 0.1 a
        $0.1
        effect ZADD k 0.1 a
        > ZINCRBY k 0.2 a
        $0.30000000000000004
        effect ZADD k 0.30000000000000004 a
        > ZADD k INCR NX 1 a
        $-1
        > ZADD k INCR XX 1 b
        $-1
        > ZADD k INCR GT -1 a
        $-1
        > ZADD k INCR 0 a
        $0.30000000000000004
        > ZINCRBY k inf a
        $inf
        effect ZADD k inf a
        > ZINCRBY k -inf a
        -ERR resulting score is not a number (NaN)
        > ZADD k INCR NX -inf a
        $-1
        ",
    );
}

#[test]
fn what_zadd_does_not_take() {
    check(
        "
        > ZADD k 1
        -ERR wrong number of arguments for 'zadd' command
        > ZADD k 1 a 2
        -ERR syntax error
        > ZADD k NX XX 1 a
        -ERR XX and NX options at the same time are not compatible
        > ZADD k NX GT 1 a
        -ERR GT, LT, and/or NX options at the same time are not compatible
        > ZADD k GT LT 1 a
        -ERR GT, LT, and/or NX options at the same time are not compatible
        > ZADD k INCR 1 a 2 b
        -ERR INCR option supports a single increment-element pair
        > ZADD k 1 a nan b
        -ERR value is not a valid float
        > EXISTS k
        :0
        > SET s x
        +OK
        > ZADD s 1 a
        -WRONGTYPE Operation against a key holding the wrong kind of value
        > ZINCRBY k XX a
        -ERR syntax error
        > ZINCRBY s 1 a
        -WRONGTYPE Operation against a key holding the wrong kind of value
        > ZREM s a
        -WRONGTYPE Operation against a key holding the wrong kind of value
        ",
    );
}

#[test]
fn events_tell_of_new_keys_changes_and_the_last_element() {
    check(
        "
        > ZADD k 1 a 2 b
        :2
        event n new k
        event z zadd k
        > ZINCRBY k 1 a
        $2
        event z zincr k
        > ZADD k 2 a
        :0
        > ZREM k a nope
        :1
        event z zrem k
        > ZPOPMAX k
        *2
        $b
        $2
        event z zpopmax k
        event g del k
        > ZADD k 1 a
        :1
        event n new k
        event z zadd k
        > ZREMRANGEBYSCORE k 1 1
        :1
        event z zremrangebyscore k
        event g del k
        > ZRANGESTORE k none 0 -1
        :0
        event m keymiss none
        ",
    );
}

#[test]
fn ranges_of_every_kind_from_either_end() {
    for bench in [&mut Bench::new(), &mut small()] {
        play(
            bench,
            "
            > ZADD k 1 a 2 b 3 c 4 d 5 e
            :5
            > ZRANGE k 1 2
            *2
            $b
            $c
            > ZRANGE k 0 1 REV WITHSCORES
            *4
            $e
            $5
            $d
            $4
            > ZRANGE k (1 3 BYSCORE
            *2
            $b
            $c
            > ZRANGE k 4 (1 BYSCORE REV LIMIT 1 1
            *1
            $c
            > ZRANGEBYSCORE k -inf +inf LIMIT 3 -1
            *2
            $d
            $e
            > ZRANGEBYSCORE k -inf +inf LIMIT -1 5
            *0
            > ZREVRANGEBYSCORE k 2 1
            *2
            $b
            $a
            > ZREVRANGE k 0 0
            *1
            $e
            > ZCOUNT k (1 (4
            :2
            > ZRANK k c WITHSCORE
            *2
            :2
            $3
            > ZREVRANK k a
            :4
            > ZRANK k nope
            $-1
            > ZRANK k nope WITHSCORE
            *-1
            > ZADD l 0 a 0 b 0 c 0 cc
            :4
            > ZRANGE l [b (cc BYLEX
            *2
            $b
            $c
            > ZREVRANGEBYLEX l + (b LIMIT 1 5
            *1
            $c
            > ZLEXCOUNT l - [c
            :3
            > ZMSCORE k a nope e
            *3
            $1
            $-1
            $5
            > ZREMRANGEBYLEX l - (c
            :2
            > ZREMRANGEBYRANK k -2 -1
            :2
            > ZRANGE k 0 -1
            *3
            $a
            $b
            $c
            ",
        );
    }
}

#[test]
fn ranges_that_cannot_be_read() {
    check(
        "
        > ZRANGE k 0 x
        -ERR value is not an integer or out of range
        > ZRANGE k 0 -1 LIMIT 0 1
        -ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX
        > ZRANGE k 0 -1 BYLEX WITHSCORES
        -ERR syntax error, WITHSCORES not supported in combination with BYLEX
        > ZRANGE k a b BYSCORE
        -ERR min or max is not a float
        > ZRANGE k a b BYLEX
        -ERR min or max not valid string range item
        > ZRANGE k 0 1 BYSCORE BYLEX
        -ERR syntax error
        > ZRANGESTORE d k 0 1 WITHSCORES
        -ERR syntax error
        > ZRANK k a nope
        -ERR syntax error
        > ZRANK k a WITHSCORE x
        -ERR wrong number of arguments for 'zrank' command
        ",
    );
}

#[test]
fn resp3_pairs_members_with_doubles() {
    check3(
        "
        > ZADD k 1 a 2.5 b
        :2
        > ZRANGE k 0 -1 WITHSCORES
        *2
        *2
        $a
        ,1
        *2
        $b
        ,2.5
        > ZPOPMIN k 1
        *1
        *2
        $a
        ,1
        > ZINCRBY k 1 b
        ,3.5
        > ZSCAN k 0
        *2
        $0
        *2
        $b
        $3.5
        > ZMPOP 2 none k MAX
        *2
        $k
        *1
        *2
        $b
        ,3.5
        > ZMPOP 1 k MAX
        _
        > ZSCORE k b
        _
        ",
    );
}

#[test]
fn pops_log_what_they_took() {
    check(
        "
        > ZADD k 1 a 2 b 3 c 4 d 5 e
        :5
        effect ZADD k 1 a 2 b 3 c 4 d 5 e
        > ZPOPMIN k
        *2
        $a
        $1
        effect ZPOPMIN k
        > ZPOPMAX k 2
        *4
        $e
        $5
        $d
        $4
        effect ZPOPMAX k 2
        > ZMPOP 2 none k MIN COUNT 10
        *2
        $k
        *2
        *2
        $b
        $2
        *2
        $c
        $3
        effect ZPOPMIN k 2
        > ZPOPMIN k
        *0
        > ZPOPMIN k -1
        -ERR value is out of range, must be positive
        > ZMPOP 0 k MIN
        -ERR numkeys should be greater than 0
        > ZMPOP 1 k MIN COUNT 0
        -ERR count should be greater than 0
        > ZMPOP 2 k MIN
        -ERR syntax error
        > BZPOPMIN k 0
        *-1
        > BZMPOP 0 1 k MIN
        *-1
        > BZPOPMIN k x
        -ERR timeout is not a float or out of range
        ",
    );
}

#[test]
fn unions_intersections_and_differences() {
    for bench in [&mut Bench::new(), &mut small()] {
        play(
            bench,
            "
            > ZADD x 1 a 2 b 3 c
            :3
            > ZADD y 10 b 20 c 30 d
            :3
            > ZUNION 2 x y WITHSCORES
            *8
            $a
            $1
            $b
            $12
            $c
            $23
            $d
            $30
            > ZINTER 2 x y WEIGHTS 2 -1 WITHSCORES
            *4
            $c
            $-14
            $b
            $-6
            > ZINTER 2 x y AGGREGATE MAX WITHSCORES
            *4
            $b
            $10
            $c
            $20
            > ZDIFF 2 x y WITHSCORES
            *2
            $a
            $1
            > ZINTERCARD 2 x y LIMIT 1
            :1
            > ZINTERCARD 2 x y
            :2
            > ZUNION 1 none
            *0
            > ZUNION 3 x y
            -ERR syntax error
            > ZUNION 0 x
            -ERR at least 1 input key is needed for 'zunion' command
            > ZINTER 2 x y WEIGHTS 1 z
            -ERR weight value is not a float
            > ZINTERCARD 1 x LIMIT -1
            -ERR LIMIT can't be negative
            ",
        );
    }
}

#[test]
fn stores_replace_whatever_was_there_and_log_a_deletion_for_nothing() {
    check(
        "
        > ZADD x 1 a 2 b
        :2
        effect ZADD x 1 a 2 b
        event n new x
        event z zadd x
        > SET d old
        +OK
        effect SET d old
        event n new d
        event $ set d
        > ZUNIONSTORE d 2 x none WEIGHTS 2 1
        :2
        effect ZUNIONSTORE d 2 x none WEIGHTS 2 1
        event m keymiss none
        event z zunionstore d
        > ZRANGESTORE d x 1 1
        :1
        effect ZRANGESTORE d x 1 1
        event z zrangestore d
        > ZINTERSTORE d 2 x none
        :0
        effect DEL d
        event m keymiss none
        event g del d
        > ZDIFFSTORE d 2 none x
        :0
        event m keymiss none
        > ZDIFFSTORE x 1 x
        :2
        effect ZDIFFSTORE x 1 x
        event z zdiffstore x
        ",
    );
}

#[test]
fn infinities_that_cancel_make_nought() {
    check(
        "
        > ZADD x inf a
        :1
        > ZADD y -inf a
        :1
        > ZUNION 2 x y WITHSCORES
        *2
        $a
        $0
        > ZINTER 2 x y WITHSCORES
        *2
        $a
        $0
        > ZUNION 1 x WEIGHTS 0 WITHSCORES
        *2
        $a
        $0
        ",
    );
}

#[test]
fn random_members_are_members_and_different_if_asked() {
    for mut bench in [Bench::new(), small()] {
        bench.run(&[b"ZADD", b"k", b"1", b"a", b"2", b"b", b"3", b"c"]);
        assert!(["$a\n", "$b\n", "$c\n"].contains(&bench.run(&[b"ZRANDMEMBER", b"k"]).as_str()));
        let two = bench.run(&[b"ZRANDMEMBER", b"k", b"2"]);
        assert!(["*2\n$a\n$b\n", "*2\n$a\n$c\n", "*2\n$b\n$c\n"].contains(&two.as_str()), "{two}");
        assert_eq!(bench.run(&[b"ZRANDMEMBER", b"k", b"9", b"WITHSCORES"]), "*6\n$a\n$1\n$b\n$2\n$c\n$3\n");
        assert!(bench.run(&[b"ZRANDMEMBER", b"k", b"-9"]).starts_with("*9\n"));
        let error = bench.run(&[b"ZRANDMEMBER", b"k", b"-9223372036854775808"]);
        assert!(error.starts_with("-ERR value is out of range, value must between"), "{error}");
        assert_eq!(bench.run(&[b"ZRANDMEMBER", b"none"]), "$-1\n");
        assert_eq!(bench.run(&[b"ZRANDMEMBER", b"none", b"1"]), "*0\n");
    }
}

#[test]
fn scans_match_and_leave_scores_out() {
    for bench in [&mut Bench::new(), &mut small()] {
        play(
            bench,
            "
            > ZADD k 1 a 2 b 3 ab
            :3
            > ZSCAN k 0 MATCH ?b COUNT 100
            *2
            $0
            *2
            $ab
            $3
            > ZSCAN k 0 MATCH b COUNT 100 NOSCORES
            *2
            $0
            *1
            $b
            > ZSCAN k x
            -ERR invalid cursor
            > ZSCAN k 0 NOVALUES
            -ERR NOVALUES option can only be used in HSCAN
            > ZSCAN none 0 JUNK
            *2
            $0
            *0
            ",
        );
    }
}

/// Any command of the family, with few keys, members and scores, so that they meet.
fn command() -> impl Strategy<Value = String> {
    let templates = prop::sample::select(vec![
        "ZADD K S M S M",
        "ZADD K S M S M S M",
        "ZADD K NX S M S M",
        "ZADD K XX GT S M S M",
        "ZADD K LT CH S M",
        "ZADD K INCR S M",
        "ZINCRBY K S M",
        "ZREM K M M",
        "ZREMRANGEBYRANK K 1 2",
        "ZREMRANGEBYSCORE K (0 2",
        "ZREMRANGEBYLEX K [b [c",
        "ZPOPMIN K",
        "ZPOPMAX K 2",
        "ZMPOP 2 K K MAX COUNT 3",
        "BZPOPMIN K 0",
        "ZRANGESTORE K K 0 2",
        "ZRANGESTORE K K 0 inf BYSCORE LIMIT 1 2",
        "ZUNIONSTORE K 2 K K WEIGHTS 2 S",
        "ZINTERSTORE K 2 K K AGGREGATE MAX",
        "ZDIFFSTORE K 2 K K",
        "GEOADD K 13.3 38.1 M 15 37.5 M",
        "GEOSEARCHSTORE K K FROMLONLAT 15 37 BYRADIUS 200 km STOREDIST",
        "GEORADIUS K 15 37 200 km STORE K",
        "DEL K",
        "SET K v",
        "COPY K K REPLACE",
        "PEXPIRE K 5",
    ]);
    let words = prop::collection::vec((0usize..4, 0usize..9, 0usize..8), 4);
    (templates, words).prop_map(|(template, words)| {
        let mut words = words.into_iter().cycle();
        let mut fill = |word: &str| {
            let (key, score, member) = words.next().unwrap_or_default();
            match word {
                "K" => ["x", "y", "z", "other"][key].to_owned(),
                "S" => ["0", "1", "-1", "2", "0.1", "-0", "inf", "-inf", "1e300"][score].to_owned(),
                "M" => [
                    "a",
                    "b",
                    "c",
                    "d",
                    "e",
                    "1",
                    "22",
                    "a_member_of_more_than_sixty_four_bytes_makes_a_set_large_at_once_",
                ][member]
                    .to_owned(),
                other => other.to_owned(),
            }
        };
        template.split(' ').map(&mut fill).collect::<Vec<_>>().join(" ")
    })
}

proptest! {
    #[test]
    fn replayed_effects_give_the_same_sorted_sets(commands in prop::collection::vec(command(), 1..60)) {
        let (mut bench, mut copy) = (small(), small());
        copy.engine.now_ms = 0; // A replay knows no clock.
        for (number, command) in commands.iter().enumerate() {
            bench.engine.now_ms += number as u64 % 3;
            let before = debug::digest(&bench.engine);
            bench.run(&command.split(' ').map(str::as_bytes).collect::<Vec<_>>());
            match bench.engine.effects.take(Vec::new()) {
                Some(group) => replay(&mut copy.engine, &group),
                None => prop_assert_eq!(before, debug::digest(&bench.engine), "a change without an effect: {}", command),
            }
            let (used, copied) = (bench.engine.keyspace.used_bytes(), copy.engine.keyspace.used_bytes());
            prop_assert_eq!(bench.engine.keyspace.db(0).len(), copy.engine.keyspace.db(0).len());
            prop_assert!(used.abs_diff(copied) < 4096, "{} and {} bytes", used, copied);
            for key in ["x", "y", "z", "other"] {
                let key = bench.engine.keyspace.seed().key(key.as_bytes());
                let value = |engine: &Engine| debug::digest_value(engine, 0, key);
                if bench.engine.keyspace.db(0).get(key).is_some_and(|entry| !bench.engine.is_dead(&entry)) {
                    copy.engine.replaying = true;
                    prop_assert_eq!(value(&bench.engine), value(&copy.engine), "{} after {}", key.bytes.escape_ascii(), command);
                }
            }
        }
    }
}

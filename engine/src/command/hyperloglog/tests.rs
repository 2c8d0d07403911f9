//! HyperLogLogs as clients see them; the answers are those of Valkey 9.1 and Redis 7.0.

use crate::command::testing::{Bench, check, play};

#[test]
fn pfadd_tells_whether_a_register_rose_and_logs_only_then() {
    check(
        "
        > PFADD h
        :1
        effect PFADD h
        event n new h
        event $ pfadd h
        > PFADD h
        :0
        > PFADD h a b
        :1
        effect PFADD h a b
        event $ pfadd h
        > PFADD h b a
        :0
        > PFCOUNT h
        :2
        effect PFCOUNT h
        > PFCOUNT h
        :2
        > PFADD h a c
        :1
        effect PFADD h a c
        event $ pfadd h
        > PFCOUNT h g none
        :3
        event m keymiss g
        event m keymiss none
    ",
    );
}

#[test]
fn pfmerge_adds_to_what_is_there_and_keeps_the_deadline() {
    check(
        "
        > PFADD a 1 2 3
        :1
        > PFADD b 3 4
        :1
        > PFADD d 5
        :1
        > PEXPIRE d 500
        :1
        > PFMERGE d a b none
        +OK
        > PFCOUNT d
        :5
        > PTTL d
        :500
        > PFDEBUG ENCODING d
        +sparse
        > PFDEBUG TODENSE b
        :1
        > PFDEBUG TODENSE b
        :0
        > PFMERGE d b
        +OK
        > PFDEBUG ENCODING d
        +dense
        > PFCOUNT d
        :5
        > PFMERGE new
        +OK
        > PFCOUNT new
        :0
    ",
    );
    check(
        "
        > PFMERGE d
        +OK
        effect PFMERGE d
        event m keymiss d
        event n new d
        event $ pfadd d
        > PFDEBUG TODENSE d
        :1
        effect PFDEBUG TODENSE d
    ",
    );
}

#[test]
fn other_strings_and_other_types_are_refused() {
    check(
        "
        > SET s hello
        +OK
        > PFADD s a
        -WRONGTYPE Key is not a valid HyperLogLog string value.
        > PFCOUNT s
        -WRONGTYPE Key is not a valid HyperLogLog string value.
        > PFMERGE d s
        -WRONGTYPE Key is not a valid HyperLogLog string value.
        > PFDEBUG FOO s
        -WRONGTYPE Key is not a valid HyperLogLog string value.
        > PFDEBUG GETREG none
        -ERR The specified key does not exist
        > PFADD h a
        :1
        > PFDEBUG FOO h
        -ERR Unknown PFDEBUG subcommand 'FOO'
        > PFDEBUG DECODE h
        $Z:12711 v:2,1 Z:3672
        > PFDEBUG TODENSE h
        :1
        > PFDEBUG DECODE h
        -ERR HLL encoding is not sparse
        > EXISTS d
        :0
    ",
    );
}

#[test]
fn a_corrupted_one_is_told_and_left_as_it_is() {
    check(
        "
        > SET h \"HYLL\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x80\\x7f\\xf0\"
        +OK
        > PFCOUNT h
        -INVALIDOBJ Corrupted HLL object detected
        > PFCOUNT h h
        -INVALIDOBJ Corrupted HLL object detected
        > PFMERGE d h
        -INVALIDOBJ Corrupted HLL object detected
        > PFDEBUG GETREG h
        -INVALIDOBJ Corrupted HLL object detected
        > PFDEBUG TODENSE h
        -INVALIDOBJ Corrupted HLL object detected
        > SET h \"HYLL\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x80\\x00\"
        +OK
        > PFADD h a
        -INVALIDOBJ Corrupted HLL object detected
        > STRLEN h
        :17
        > EXISTS d
        :0
    ",
    );
}

#[test]
fn the_threshold_is_the_settings() {
    let mut bench = Bench::new();
    bench.engine.settings.shaping.hll_sparse_max_bytes = 20;
    play(
        &mut bench,
        "
        > PFADD h a
        :1
        > PFDEBUG ENCODING h
        +dense
        > PFADD h a
        :0
        > PFADD h b
        :1
        > PFCOUNT h
        :2
    ",
    );
    let got = bench.run(&[b"PFDEBUG", b"GETREG", b"h"]);
    assert_eq!(got.lines().next(), Some("*16384"));
    assert_eq!(got.lines().skip(1).filter(|line| *line != ":0").count(), 2);
}

#[test]
fn nothing_is_written_while_the_log_takes_no_writes() {
    let mut bench = Bench::new();
    bench.run(&[b"PFADD", b"h", b"a"]);
    bench.effects();
    bench.engine.refused = crate::engine::Refused::Writes("no space".into());
    assert_eq!(bench.run(&[b"PFCOUNT", b"h"]), ":1\n");
    assert_eq!(bench.effects(), [""; 0]);
}

#[test]
fn the_self_test_passes() {
    check(
        "
        > PFSELFTEST
        +OK
    ",
    );
}

//! Commands on strings: every option, error, effect and event.

use super::testing::{Bench, check, check3, play};

#[test]
fn set_replaces_and_its_conditions_hold() {
    check(
        "
        > SET k a
        +OK
        effect SET k a
        > GET k
        $a
        > SET k b NX
        $-1
        > SET k b XX
        +OK
        effect SET k b
        > SET m b XX
        $-1
        > SET m b NX
        +OK
        effect SET m b
        > set k c ifeq B
        $-1
        > set k c ifeq b
        +OK
        effect SET k c
        > SET nope c IFEQ c
        $-1
        > SET k d GET
        $c
        effect SET k d
        > SET k e NX GET
        $d
        > SET k e IFEQ d GET
        $d
        effect SET k e
        > SET k f IFEQ d GET
        $e
        > SET fresh v GET
        $-1
        effect SET fresh v
    ",
    );
}

#[test]
fn set_with_a_deadline_logs_it_as_absolute_milliseconds() {
    check(
        "
        > SET k v EX 10
        +OK
        effect SET k v PXAT 1700000010000
        > SET k w KEEPTTL
        +OK
        effect SET k w KEEPTTL
        > PTTL k
        :10000
        > SET k v PX 5 NX
        $-1
        > SET k v PX 5
        +OK
        effect SET k v PXAT 1700000000005
        after 4ms > GET k
        $v
        after 1ms > GET k
        $-1
        effect DEL k
        > SET k v EXAT 1700000001
        +OK
        effect SET k v PXAT 1700000001000
        > SET k v PXAT 1700000002000 GET
        $v
        effect SET k v PXAT 1700000002000
        > SET k v
        +OK
        effect SET k v
        > TTL k
        :-1
        > SETEX s 7 v
        +OK
        effect SET s v PXAT 1700000007005
        > PSETEX s 7 v
        +OK
        effect SET s v PXAT 1700000000012
    ",
    );
}

#[test]
fn a_deadline_in_the_past_leaves_no_key() {
    check(
        "
        > SET k v PXAT 1
        +OK
        effect
        > SET k v
        +OK
        effect SET k v
        > SET k w EXAT 1 GET
        $v
        effect DEL k
        > EXISTS k
        :0
        > SET k v
        +OK
        effect SET k v
        > GETEX k PXAT 1
        $v
        effect DEL k
    "
        .replace("        effect\n", "")
        .as_str(),
    );
}

#[test]
fn set_refuses_what_redis_refuses() {
    for words in [
        "NX XX",
        "XX NX",
        "NX IFEQ a",
        "IFEQ a XX",
        "IFEQ a IFEQ a",
        "IFEQ",
        "EX",
        "PX",
        "EX 1 PX 1",
        "EX 1 EXAT 1",
        "KEEPTTL EX 1",
        "EX 1 KEEPTTL",
        "PERSIST",
        "FOO",
        "GET EX",
        "NX 1",
    ] {
        check(&format!("> SET k v {words}\n-ERR syntax error\n> EXISTS k\n:0"));
    }
    for words in [
        "EX 0",
        "EX -1",
        "PX 0",
        "EXAT 0",
        "PXAT -5",
        "EX 9223372036854775807",
        "PX 9223372036854775807",
        "EX 9223372036854776",
    ] {
        check(&format!("> SET k v {words}\n-ERR invalid expire time in 'set' command"));
    }
    for words in ["EX a", "PX 1.5", "EX 9223372036854775808", "EX \"\"", "PXAT 01"] {
        check(&format!("> SET k v {words}\n-ERR value is not an integer or out of range"));
    }
    check(
        "
        > SET k v EX 10 EX 20 NX NX GET GET
        $-1
        > TTL k
        :20
        > SET k v KEEPTTL KEEPTTL
        +OK
        > SET k
        -ERR wrong number of arguments for 'set' command
        > SETEX k 0 v
        -ERR invalid expire time in 'setex' command
        > PSETEX k -1 v
        -ERR invalid expire time in 'psetex' command
        > SETEX k a v
        -ERR value is not an integer or out of range
        > GETEX nope EX 0
        -ERR invalid expire time in 'getex' command
        > GETEX k NX
        -ERR syntax error
        > GETEX k EX 1 PERSIST
        -ERR syntax error
        > GETEX k KEEPTTL
        -ERR syntax error
        > GETEX k EX
        -ERR syntax error
        > GETEX k PX a
        -ERR value is not an integer or out of range
    ",
    );
}

#[test]
fn getters_that_change_something() {
    check(
        "
        > GETSET k a
        $-1
        effect SET k a
        > GETSET k b
        $a
        effect SET k b
        > GETEX k
        $b
        > GETEX k EX 10
        $b
        effect PEXPIREAT k 1700000010000
        > GETEX k PXAT 1700000020000
        $b
        effect PEXPIREAT k 1700000020000
        > GETEX k PERSIST
        $b
        effect PERSIST k
        > GETEX k PERSIST
        $b
        > GETEX nope EX 10
        $-1
        > GETDEL k
        $b
        effect DEL k
        > GETDEL k
        $-1
        > SET k v
        +OK
        effect SET k v
        > DELIFEQ k w
        :0
        > DELIFEQ nope v
        :0
        > DELIFEQ k v
        :1
        effect DEL k
        > SETNX k a
        :1
        effect SET k a
        > SETNX k b
        :0
    ",
    );
}

#[test]
fn several_keys_at_once() {
    check(
        "
        > MSET a 1 b 2 a 3
        +OK
        effect MSET a 1 b 2 a 3
        > MGET a b nope a
        *4
        $3
        $2
        $-1
        $3
        > msetnx c 1 a 1
        :0
        > MSETNX c 1 d 2
        :1
        effect MSET c 1 d 2
        > EXISTS c d a a nope
        :4
        > MSET a 1 b
        -ERR wrong number of arguments for 'mset' command
        > MSETNX a 1 b
        -ERR wrong number of arguments for 'msetnx' command
        > MSET a
        -ERR wrong number of arguments for 'mset' command
        > SET d 1 PX 5
        +OK
        effect SET d 1 PXAT 1700000000005
        > MSET d 2
        +OK
        effect MSET d 2
        > TTL d
        :-1
    ",
    );
    check3("> MGET nope\n*1\n_\n> GET nope\n_\n> GETDEL nope\n_\n> SET nope v XX\n_");
}

#[test]
fn several_keys_with_one_condition_and_one_deadline() {
    check(
        "
        > MSETEX 2 a 1 b 2
        :1
        effect MSET a 1 b 2
        > MSETEX 2 a 3 c 4 nx
        :0
        > MSETEX 2 a 3 c 4 XX
        :0
        > MSETEX 2 c 3 d 4 NX NX PX 5
        :1
        effect SET c 3 PXAT 1700000000005
        effect SET d 4 PXAT 1700000000005
        > MSETEX 2 c 5 a 6 KEEPTTL xx
        :1
        effect SET c 5 KEEPTTL
        effect SET a 6 KEEPTTL
        > PEXPIRETIME c
        :1700000000005
        > TTL a
        :-1
        > MSETEX 3 a 7 a 8 nope 9 EXAT 1
        :1
        effect DEL a
        > EXISTS a nope
        :0
        > MSETEX 1 a EX 5
        -ERR syntax error
        > MSETEX 1 a EX EX
        -ERR syntax error
        > MSETEX 1 EX 5 EX 5 EX 6
        :1
        effect SET EX 5 PXAT 1700000006000
        > MSETEX 1 a 1 NX XX
        -ERR syntax error
        > MSETEX 1 a 1 KEEPTTL PX 5
        -ERR syntax error
        > MSETEX 1 a 1 GET
        -ERR syntax error
        > MSETEX 1 a 1 PX 0
        -ERR invalid expire time in 'msetex' command
        > MSETEX 1 a 1 PX x
        -ERR value is not an integer or out of range
        > MSETEX 2 a 1 b
        -ERR syntax error
        > MSETEX 0 a 1
        -ERR invalid numkeys value or out of range
        > MSETEX -1 a 1
        -ERR invalid numkeys value or out of range
        > MSETEX 2147483648 a 1
        -ERR invalid numkeys value or out of range
        > MSETEX 2147483647 a 1
        -ERR syntax error
        > MSETEX x a 1
        -ERR invalid numkeys value or out of range
        > MSETEX 1 a
        -ERR wrong number of arguments for 'msetex' command
    ",
    );
}

#[test]
fn counters_count_and_refuse() {
    check(
        "
        > INCR n
        :1
        effect INCR n
        > decr n
        :0
        effect DECR n
        > INCRBY n 41
        :41
        effect INCRBY n 41
        > DECRBY n -1
        :42
        effect DECRBY n -1
        > PEXPIRE n 500
        :1
        effect PEXPIREAT n 1700000000500
        > INCR n
        :43
        effect INCR n
        > PTTL n
        :500
        > SET n 9223372036854775807
        +OK
        effect SET n 9223372036854775807
        > INCR n
        -ERR increment or decrement would overflow
        > DECRBY n -9223372036854775808
        -ERR decrement would overflow
        > SET n -9223372036854775808
        +OK
        effect SET n -9223372036854775808
        > DECR n
        -ERR increment or decrement would overflow
        > INCRBY n a
        -ERR value is not an integer or out of range
        > SET n \" 1\"
        +OK
        effect SET n \" 1\"
        > INCR n
        -ERR value is not an integer or out of range
        > GET n
        $ 1
    ",
    );
}

#[test]
fn float_counters_count_in_extended_precision_and_log_the_result() {
    check(
        "
        > INCRBYFLOAT f 10.5
        $10.5
        effect SET f 10.5 KEEPTTL
        > INCRBYFLOAT f 0.1
        $10.6
        effect SET f 10.6 KEEPTTL
        > INCRBYFLOAT f -5.6e1
        $-45.4
        effect SET f -45.4 KEEPTTL
        > INCRBYFLOAT f 0x10
        $-29.4
        effect SET f -29.4 KEEPTTL
        > INCRBYFLOAT f inf
        -ERR increment would produce NaN or Infinity
        > INCRBYFLOAT f nan
        -ERR value is not a valid float
        > INCRBYFLOAT f \" 1\"
        -ERR value is not a valid float
        > SET f abc
        +OK
        effect SET f abc
        > INCRBYFLOAT f 1
        -ERR value is not a valid float
    ",
    );
}

#[test]
fn parts_of_strings() {
    check(
        "
        > APPEND k Hello
        :5
        effect APPEND k Hello
        > OBJECT ENCODING k
        $embstr
        > APPEND k \" World\"
        :11
        effect APPEND k \" World\"
        > OBJECT ENCODING k
        $raw
        > STRLEN k
        :11
        > STRLEN nope
        :0
        > GETRANGE k 0 4
        $Hello
        > GETRANGE k -5 -1
        $World
        > SUBSTR k 6 99
        $World
        > GETRANGE k 5 1
        $
        > GETRANGE k -1 -5
        $
        > GETRANGE k -100 -99
        $H
        > GETRANGE k -9223372036854775808 9223372036854775807
        $Hello World
        > GETRANGE nope 0 -1
        $
        > GETRANGE k a 1
        -ERR value is not an integer or out of range
        > SETRANGE k 6 Redis
        :11
        effect SETRANGE k 6 Redis
        > SETRANGE k 12 x
        :13
        effect SETRANGE k 12 x
        > GET k
        $Hello Redis\\x00x
        > SETRANGE nope 3 \"\"
        :0
        > SETRANGE k 900 \"\"
        :13
        > SETRANGE new 2 ab
        :4
        effect SETRANGE new 2 ab
        > GET new
        $\\x00\\x00ab
        > SETRANGE k -1 x
        -ERR offset is out of range
        > SETRANGE k a x
        -ERR value is not an integer or out of range
        > SETRANGE k 536870912 x
        -ERR string exceeds maximum allowed size (proto-max-bulk-len)
        > SETRANGE k 9223372036854775807 x
        -ERR string exceeds maximum allowed size (proto-max-bulk-len)
    ",
    );
}

#[test]
fn no_command_makes_a_string_above_the_limit() {
    let mut bench = Bench::new();
    bench.engine.settings.string_len_max = 10;
    let refused = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    play(
        &mut bench,
        &format!(
            "> SET k 123456789\n+OK\n> APPEND k ab\n{refused}\n> SETRANGE k 9 ab\n{refused}\n> APPEND k a\n:10\n> SETRANGE k 9 b\n:10
             > LCS k k\n-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"
        ),
    );
}

#[test]
fn lcs_finds_text_length_and_ranges() {
    check(
        "
        > MSET a ohmytext b mynewtext
        +OK
        > LCS a b
        $mytext
        > LCS a b LEN
        :6
        > LCS a b IDX
        *4
        $matches
        *2
        *2
        *2
        :4
        :7
        *2
        :5
        :8
        *2
        *2
        :2
        :3
        *2
        :0
        :1
        $len
        :6
        > MSET x ab y ba
        +OK
        > LCS x y
        $b
        > LCS a nope
        $
        > LCS a nope IDX
        *4
        $matches
        *0
        $len
        :0
        > LCS a b LEN IDX
        -ERR If you want both the length and indexes, please just use IDX.
        > LCS a b FOO
        -ERR syntax error
        > LCS a b MINMATCHLEN
        -ERR syntax error
        > LCS a b MINMATCHLEN x
        -ERR value is not an integer or out of range
    ",
    );
    check3(
        "
        > MSET a ohmytext b mynewtext
        +OK
        > LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN
        %2
        $matches
        *1
        *3
        *2
        :4
        :7
        *2
        :5
        :8
        :4
        $len
        :6
    ",
    );
}

#[test]
fn events_are_those_of_redis() {
    check(
        "
        > SET a 1
        +OK
        event n new a
        event $ set a
        > INCR a
        :2
        event $ incrby a
        > DECRBY a 1
        :1
        event $ incrby a
        > INCRBYFLOAT a 1
        $2
        event $ incrbyfloat a
        > APPEND a x
        :2
        event $ append a
        > APPEND b x
        :1
        event n new b
        event $ append b
        > SETRANGE b 1 x
        :2
        event $ setrange b
        > SETRANGE c 0 x
        :1
        event n new c
        event $ setrange c
        > GETEX a PX 100
        $2x
        event g expire a
        > GETEX a PERSIST
        $2x
        event g persist a
        > SETEX a 100 1
        +OK
        event $ set a
        event g expire a
        > SET a 2 PXAT 1
        +OK
        event x expired a
        > GET a
        $-1
        event m keymiss a
        > MSET m 1 b 2
        +OK
        event n new m
        event $ set m
        event $ set b
        > GETDEL m
        $1
        event g del m
        > SET r v GET
        $-1
        event m keymiss r
        event n new r
        event $ set r
        > DELIFEQ r v
        :1
        event g del r
        > SET e v PX 5
        +OK
        event n new e
        event $ set e
        event g expire e
        after 5ms > SET e w
        +OK
        event x expired e
        event n new e
        event $ set e
    ",
    );
}

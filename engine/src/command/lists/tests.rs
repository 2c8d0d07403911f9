//! Commands on lists as text: replies, effects, events, wrong words.

use crate::command::testing::{Bench, check, check3, play};

#[test]
fn pushes_and_pops_at_both_ends() {
    check(
        "
        > RPUSH l a b
        :2
        effect RPUSH l a b
        event n new l
        event l rpush l
        > LPUSH l c 12
        :4
        effect LPUSH l c 12
        event l lpush l
        > LRANGE l 0 -1
        *4
        $12
        $c
        $a
        $b
        > LPUSHX nope x
        :0
        > RPUSHX l d
        :5
        effect RPUSH l d
        event l rpush l
        > LPOP l
        $12
        effect LPOP l
        event l lpop l
        > RPOP l 2
        *2
        $d
        $b
        effect RPOP l 2
        event l rpop l
        > LPOP l 0
        *0
        > RPOP l 9
        *2
        $a
        $c
        effect RPOP l 2
        event l rpop l
        event g del l
        > LPOP l
        $-1
        > LPOP l 3
        *-1
        ",
    );
}

#[test]
fn what_is_wrong_is_said_before_anything_changes() {
    check(
        "
        > SET s x
        +OK
        > LPUSH s a
        -WRONGTYPE Operation against a key holding the wrong kind of value
        > LPUSH l
        -ERR wrong number of arguments for 'lpush' command
        > LPOP l 1 2
        -ERR wrong number of arguments for 'lpop' command
        > LPOP l -1
        -ERR value is out of range, must be positive
        > LPOP s x
        -ERR value is out of range, must be positive
        > LRANGE s 0 x
        -ERR value is not an integer or out of range
        > LINDEX nope x
        $-1
        > LSET nope x y
        -ERR no such key
        > RPUSH l a
        :1
        > LINDEX l x
        -ERR value is not an integer or out of range
        > LSET l 1 x
        -ERR index out of range
        > LINSERT l AROUND a b
        -ERR syntax error
        > LREM l -9223372036854775808 a
        -ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807
        > LMOVE l m UP DOWN
        -ERR syntax error
        > LMOVE l s LEFT LEFT
        -WRONGTYPE Operation against a key holding the wrong kind of value
        > LMPOP 0 l LEFT
        -ERR numkeys should be greater than 0
        > LMPOP 9223372036854775807 l LEFT
        -ERR syntax error
        > LMPOP 1 l LEFT COUNT 0
        -ERR count should be greater than 0
        > LMPOP 1 l LEFT COUNT 1 COUNT 1
        -ERR syntax error
        > LMPOP 2 l LEFT
        -ERR syntax error
        > BLPOP l x
        -ERR timeout is not a float or out of range
        > BLPOP l -1
        -ERR timeout is negative
        > BLPOP l 9223372036854776
        -ERR timeout is out of range
        > LRANGE l 0 -1
        *1
        $a
        ",
    );
}

#[test]
fn elements_inside_a_list_change() {
    check(
        "
        > RPUSH l a b c b
        :4
        effect RPUSH l a b c b
        > LSET l -1 d
        +OK
        effect LSET l -1 d
        > LINSERT l BEFORE b x
        :5
        effect LINSERT l BEFORE b x
        > LINSERT l AFTER d 5
        :6
        effect LINSERT l AFTER d 5
        > LINSERT l AFTER nope 5
        :-1
        > LRANGE l -100 100
        *6
        $a
        $x
        $b
        $c
        $d
        $5
        > LREM l -1 nope
        :0
        > LREM l 0 x
        :1
        effect LREM l 0 x
        > LTRIM l 0 -1
        +OK
        > LTRIM l 1 2
        +OK
        effect LTRIM l 1 2
        > LRANGE l 0 -1
        *2
        $b
        $c
        > LTRIM l 5 9
        +OK
        effect LTRIM l 5 9
        > EXISTS l
        :0
        ",
    );
}

#[test]
fn lpos_counts_matches_from_either_end() {
    check(
        "
        > RPUSH l a b c 1 2 3 c c
        :8
        > LPOS l c
        :2
        > LPOS l c RANK 2
        :6
        > LPOS l c RANK -1
        :7
        > LPOS l c COUNT 0
        *3
        :2
        :6
        :7
        > LPOS l c COUNT 0 RANK -2
        *2
        :6
        :2
        > LPOS l c COUNT 1 MAXLEN 2
        *0
        > LPOS l c RANK -1 COUNT 5 MAXLEN 2
        *2
        :7
        :6
        > LPOS l c RANK 9
        $-1
        > LPOS nope c COUNT 1
        *0
        > LPOS l c RANK 0
        -ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list
        > LPOS l c COUNT -1
        -ERR COUNT can't be negative
        > LPOS l c MAXLEN -1
        -ERR MAXLEN can't be negative
        > LPOS l c RANK -9223372036854775808
        -ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807
        > LPOS l c RANK
        -ERR syntax error
        ",
    );
}

#[test]
fn elements_move_between_lists_and_around_one() {
    check(
        "
        > RPUSH a 1 2 3
        :3
        effect RPUSH a 1 2 3
        event n new a
        event l rpush a
        > LMOVE a b LEFT RIGHT
        $1
        effect LMOVE a b LEFT RIGHT
        event n new b
        event l rpush b
        event l lpop a
        > RPOPLPUSH a a
        $3
        effect RPOPLPUSH a a
        event l lpush a
        event l rpop a
        > LMOVE b a RIGHT LEFT
        $1
        effect LMOVE b a RIGHT LEFT
        event l lpush a
        event l rpop b
        event g del b
        > LRANGE a 0 -1
        *3
        $1
        $3
        $2
        > LMPOP 2 b a RIGHT COUNT 2
        *2
        $a
        *2
        $2
        $3
        effect RPOP a 2
        event l rpop a
        > LMPOP 1 b LEFT
        *-1
        > LMOVE b a LEFT LEFT
        $-1
        ",
    );
}

#[test]
fn a_large_list_is_one_to_clients() {
    let mut bench = Bench::new();
    bench.engine.settings.shaping.list_max_listpack_size = 4;
    bench.engine.settings.shaping.list_compress_depth = 1;
    for i in 0..1000u32 {
        bench.run(&[b"RPUSH", b"l", format!("element {i:04}").as_bytes()]);
    }
    play(
        &mut bench,
        "
        > OBJECT ENCODING l
        $quicklist
        > LLEN l
        :1000
        > LINDEX l 500
        $element 0500
        > LINSERT l BEFORE \"element 0500\" new
        :1001
        > LRANGE l 499 501
        *3
        $element 0499
        $new
        $element 0500
        > LPOS l new
        :500
        > LREM l -1 new
        :1
        > LTRIM l 998 -1
        +OK
        > OBJECT ENCODING l
        $listpack
        > LRANGE l 0 -1
        *2
        $element 0998
        $element 0999
        ",
    );
}

#[test]
fn nothing_is_null_in_resp3() {
    check3(
        "
        > LPOP l
        _
        > LPOP l 1
        _
        > LMPOP 1 l LEFT
        _
        > LPOS l x
        _
        ",
    );
}

//! SORT as clients see it; the answers are those of Valkey 9.1.

use crate::command::testing::{Bench, check, play};

const KEYS: &str = "
    > RPUSH l 3 1 2
    :3
    > SADD s 3 1 2 10
    :4
    > ZADD z 1 c 2 b 3 a
    :3
    > MSET w_1 3 w_2 2 w_3 1
    +OK
    > HSET h_1 f v1
    :1
    > HSET h_2 f v2
    :1
    > HSET h_3 f v3
    :1
";

#[track_caller]
fn check_with_keys(script: &str) {
    let mut bench = Bench::new();
    play(&mut bench, KEYS);
    bench.effects();
    play(&mut bench, script);
}

#[test]
fn elements_are_ordered_as_numbers_or_as_strings() {
    check_with_keys(
        "
        > SORT l
        *3
        $1
        $2
        $3
        > SORT s DESC
        *4
        $10
        $3
        $2
        $1
        > SORT s ALPHA
        *4
        $1
        $10
        $2
        $3
        > SORT_RO z ALPHA DESC LIMIT 1 5
        *2
        $b
        $a
        > SORT z
        -ERR One or more scores can't be converted into double
        > SORT none
        *0
    ",
    );
}

#[test]
fn limits_leave_what_there_is() {
    check_with_keys(
        "
        > SORT l LIMIT 9223372036854775807 9223372036854775807
        *0
        > SORT l LIMIT -9223372036854775808 -9223372036854775808
        *3
        $1
        $2
        $3
        > SORT s LIMIT 1 2
        *2
        $2
        $3
        > SORT l LIMIT 0 0
        *0
        > SORT l LIMIT 9223372036854775808 1
        -ERR value is not an integer or out of range
    ",
    );
}

#[test]
fn nosort_keeps_the_order_of_lists_and_sorted_sets() {
    check_with_keys(
        "
        > SORT l BY nosort
        *3
        $3
        $1
        $2
        > SORT l BY nosort DESC LIMIT 1 1
        *1
        $1
        > SORT z BY nosort
        *3
        $c
        $b
        $a
        > SORT z BY nosort DESC LIMIT 1 5
        *2
        $b
        $c
        > SORT z BY nosort LIMIT 1 1
        *1
        $b
    ",
    );
}

#[test]
fn patterns_lead_to_strings_and_fields() {
    check_with_keys(
        "
        > SORT l BY w_*
        *3
        $3
        $2
        $1
        > SORT l BY w_* DESC GET # GET w_* GET h_*->f GET nope_* GET const GET h_*-> GET h_*->nof
        *21
        $1
        $3
        $v1
        $-1
        $-1
        $-1
        $-1
        $2
        $2
        $v2
        $-1
        $-1
        $-1
        $-1
        $3
        $1
        $v3
        $-1
        $-1
        $-1
        $-1
        > SORT l BY h_*->f ALPHA DESC
        *3
        $3
        $2
        $1
        > SORT l BY nope_* ALPHA
        *3
        $3
        $1
        $2
        > SORT l BY h_*->f
        -ERR One or more scores can't be converted into double
    ",
    );
}

#[test]
fn a_result_is_stored_as_a_list_and_logged_as_the_command() {
    check_with_keys(
        "
        > SORT l GET nope STORE d
        :3
        effect SORT l GET nope STORE d
        > LRANGE d 0 -1
        *3
        $
        $
        $
        > SORT s BY nosort DESC STORE d
        :4
        effect SORT s BY nosort DESC STORE d
        > LRANGE d 0 -1
        *4
        $3
        $2
        $10
        $1
        > SORT l BY w_* STORE l
        :3
        effect SORT l BY w_* STORE l
        > LRANGE l 0 -1
        *3
        $3
        $2
        $1
        > SORT none STORE d
        :0
        effect SORT none STORE d
        > EXISTS d
        :0
        > SORT none STORE d
        :0
    ",
    );
}

#[test]
fn words_are_checked_before_the_key() {
    check_with_keys(
        "
        > SORT h_1
        -WRONGTYPE Operation against a key holding the wrong kind of value
        > SORT w_1 STORE d
        -WRONGTYPE Operation against a key holding the wrong kind of value
        > SORT w_1 LIMIT
        -ERR syntax error
        > SORT l BY
        -ERR syntax error
        > SORT l STORE
        -ERR syntax error
        > SORT_RO l STORE d
        -ERR syntax error
        > SORT l LIMIT a b
        -ERR value is not an integer or out of range
    ",
    );
}

#[test]
fn numbers_are_decimal() {
    for bad in ["\" 5\"", "\"\"", "0x3", "nan", "1e400", "1e-400", "5x"] {
        check(&format!(
            "
            > RPUSH e {bad} 7
            :2
            > SORT e
            -ERR One or more scores can't be converted into double
        "
        ));
    }
    check(
        "
        > RPUSH e inf +5 -inf 1e3 .5
        :5
        > SORT e
        *5
        $-inf
        $.5
        $+5
        $1e3
        $inf
    ",
    );
}

#[test]
fn the_last_store_is_the_key() {
    let found = |words: &[&str]| {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let mut found = Vec::new();
        super::keys(&words, &mut found);
        found
    };
    assert_eq!(found(&["SORT", "l", "BY", "STORE", "STORE", "d"]), [1, 5]);
    assert_eq!(found(&["SORT", "l", "STORE", "d", "store", "e"]), [1, 5]);
    assert_eq!(found(&["SORT", "l", "LIMIT", "STORE", "1", "STORE", "d"]), [1, 6]);
    assert_eq!(found(&["SORT", "l", "STORE"]), [1]);
}

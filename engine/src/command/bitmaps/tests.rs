//! Bitmaps as clients see them; the answers are those of Valkey 9.1.

use crate::command::testing::{Bench, START_MS, check, escape, play};

#[test]
fn setbit_grows_the_string_and_tells_the_old_bit() {
    check(
        "
        > SETBIT k 7 1
        :0
        effect SETBIT k 7 1
        event n new k
        event $ setbit k
        > SETBIT k 7 1
        :1
        > SETBIT k 9 0
        :0
        effect SETBIT k 9 0
        event $ setbit k
        > GET k
        $\\x01\\x00
        > OBJECT ENCODING k
        $raw
        > GETBIT k 7
        :1
        > GETBIT k 8
        :0
        > GETBIT k 4294967295
        :0
    ",
    );
}

#[test]
fn setbit_keeps_the_deadline_and_works_on_integers() {
    check(
        "
        > SET n 1 PX 500
        +OK
        > SETBIT n 6 1
        :0
        > GET n
        $3
        > PTTL n
        :500
        after 500ms > GETBIT n 6
        :0
    ",
    );
}

#[test]
fn bits_and_offsets_are_checked_before_anything_is_touched() {
    check(
        "
        > SETBIT k 0 2
        -ERR bit is not an integer or out of range
        > SETBIT k 0 01
        -ERR bit is not an integer or out of range
        > SETBIT k -1 1
        -ERR bit offset is not an integer or out of range
        > SETBIT k 4294967296 2
        -ERR bit offset is not an integer or out of range
        > SETBIT k 9223372036854775808 1
        -ERR bit offset is not an integer or out of range
        > SETBIT k #1 1
        -ERR bit offset is not an integer or out of range
        > GETBIT k x
        -ERR bit offset is not an integer or out of range
        > EXISTS k
        :0
    ",
    );
    let mut bench = Bench::new();
    bench.engine.settings.string_len_max = 10;
    play(
        &mut bench,
        "
        > SETBIT k 79 1
        :0
        > SETBIT k 80 1
        -ERR bit offset is not an integer or out of range
        > BITFIELD k SET u8 72 1 GET u8 79
        *2
        :1
        :128
        > BITFIELD k SET u8 73 1
        -ERR string exceeds maximum allowed size (proto-max-bulk-len)
        > BITFIELD k SET u8 80 1
        -ERR bit offset is not an integer or out of range
        > STRLEN k
        :10
    ",
    );
}

#[test]
fn bitcount_counts_in_bytes_and_in_bits() {
    check(
        "
        > SET k foobar
        +OK
        > BITCOUNT k
        :26
        > BITCOUNT k 0
        :26
        > BITCOUNT k 5
        :4
        > BITCOUNT k -1
        :4
        > BITCOUNT k 1 1 BYTE
        :6
        > BITCOUNT k 5 30 bit
        :17
        > BITCOUNT k 5 5 BIT
        :1
        > BITCOUNT k -2 -1 BIT
        :1
        > BITCOUNT k -9223372036854775808 9223372036854775807 BIT
        :26
        > BITCOUNT k -1 -5
        :0
        > BITCOUNT k 6 9
        :0
        > BITCOUNT none 0 1
        :0
        > BITCOUNT none 0 a
        -ERR value is not an integer or out of range
        > BITCOUNT k 0 a foo
        -ERR syntax error
        > BITCOUNT k a 0 foo
        -ERR value is not an integer or out of range
        > BITCOUNT k 0 1 BIT x
        -ERR syntax error
    ",
    );
}

#[test]
fn bitpos_treats_what_follows_a_string_as_zeros_unless_an_end_is_given() {
    check(
        "
        > SET k \"\\xff\\xf0\\x00\"
        +OK
        > BITPOS k 0
        :12
        > BITPOS k 1 1
        :8
        > BITPOS k 1 2
        :-1
        > BITPOS k 0 13 15 BIT
        :13
        > BITPOS k 1 7 15 BIT
        :7
        > BITPOS k 0 -10 -3
        :-1
        > BITPOS k 1 -10 -11
        :0
        > BITCOUNT k -10 -11
        :0
        > SET k \"\\xff\\xff\"
        +OK
        > BITPOS k 0
        :16
        > BITPOS k 0 0
        :16
        > BITPOS k 0 0 -1
        :-1
        > BITPOS k 0 2
        :-1
        > BITPOS k 0 0 15 BIT
        :-1
        > BITPOS none 0 5 7 BIT
        :0
        > BITPOS none 1
        :-1
        > BITPOS k 2
        -ERR The bit argument must be 1 or 0.
        > BITPOS k 1 0 bit
        -ERR value is not an integer or out of range
        > BITPOS k 1 0 a foo
        -ERR syntax error
    ",
    );
}

/// Against bit by bit loops, at every edge of short strings.
#[test]
fn ranges_of_bits_are_exact() {
    let mut bench = Bench::new();
    for value in [&b"\x00\x00\x00"[..], b"\xff\xff\xff", b"\x00\x10\x01", b"\xff\xef\xfe", b"\xa5", b""] {
        bench.run(&[b"SET", b"k", value]);
        let bits: Vec<bool> = value.iter().flat_map(|byte| (0..8).map(move |bit| byte << bit & 0x80 != 0)).collect();
        for start in -26i64..26 {
            for end in -26i64..26 {
                let absolute = |index: i64| if index < 0 { (index + bits.len() as i64).max(0) } else { index };
                let (from, to) = (absolute(start), absolute(end).min(bits.len() as i64 - 1));
                let range = if from > to { 0..0 } else { from as usize..to as usize + 1 };
                let backward = start < 0 && end < 0 && start > end;
                let words = |name: &'static [u8]| [name.to_vec(), start.to_string().into(), end.to_string().into()];
                let [name, first, last] = words(b"BITCOUNT");
                let count = bits[range.clone()].iter().filter(|bit| **bit && !backward).count();
                let got = bench.run(&[&name, b"k", &first, &last, b"BIT"]);
                assert_eq!(got, format!(":{count}\n"), "BITCOUNT {} {start} {end}", escape(value));
                for bit in [false, true] {
                    let place = range.clone().find(|at| bits[*at] == bit).map_or(-1, |at| at as i64);
                    let wanted: &[u8] = if bit { b"1" } else { b"0" };
                    let got = bench.run(&[b"BITPOS", b"k", wanted, &first, &last, b"BIT"]);
                    assert_eq!(got, format!(":{place}\n"), "BITPOS {} {bit} {start} {end}", escape(value));
                }
            }
        }
    }
}

#[test]
fn bitop_stores_over_anything_and_clears_the_deadline() {
    check(
        "
        > SET a abc
        +OK
        effect SET a abc
        > SET b \"a\\xff\"
        +OK
        effect SET b a\\xff
        > SET d old PX 500
        +OK
        effect SET d old PXAT 1700000000500
        > BITOP and d a b none
        :3
        effect BITOP and d a b none
        > GET d
        $\\x00\\x00\\x00
        > PTTL d
        :-1
        > BITOP OR d a b
        :3
        effect BITOP OR d a b
        > GET d
        $a\\xffc
        > BITOP XOR a a b
        :3
        effect BITOP XOR a a b
        > GET a
        $\\x00\\x9dc
        > BITOP NOT n b
        :2
        effect BITOP NOT n b
        > GET n
        $\\x9e\\x00
        > BITOP AND n none none
        :0
        effect BITOP AND n none none
        > EXISTS n
        :0
        > BITOP AND n none none
        :0
        > BITOP NOT d a b
        -ERR BITOP NOT must be called with a single source key.
        > BITOP DIFF d a b
        -ERR syntax error
    ",
    );
    check(
        "
        > SET a x
        +OK
        event n new a
        event $ set a
        > BITOP OR d a
        :1
        event n new d
        event $ set d
        > BITOP OR a none
        :0
        event m keymiss none
        event g del a
    ",
    );
}

#[test]
fn a_source_that_is_dead_is_deleted_in_the_record_even_while_expiry_is_held() {
    let mut bench = Bench::new();
    play(
        &mut bench,
        "
        > SET a abc PX 5
        +OK
    ",
    );
    bench.effects();
    bench.engine.hold_expiry_until_ms = 10;
    bench.engine.now_ms = START_MS + 5;
    assert_eq!(bench.run(&[b"BITOP", b"OR", b"d", b"a", b"b"]), ":0\n");
    assert_eq!(bench.effects(), ["DEL a"]);
}

#[test]
fn bitfield_reads_and_writes_integers_of_any_width() {
    check(
        "
        > BITFIELD k SET i8 0 -100 GET u8 0 GET i8 #0 GET u4 4
        *4
        :0
        :156
        :-100
        :12
        effect BITFIELD k SET i8 0 -100 GET u8 0 GET i8 #0 GET u4 4
        event n new k
        event $ setbit k
        > BITFIELD k INCRBY u63 3 9223372036854775807 GET u63 3
        *2
        :8070450532247928831
        :8070450532247928831
        effect BITFIELD k INCRBY u63 3 9223372036854775807 GET u63 3
        event $ setbit k
        > BITFIELD k SET i64 #1 -9223372036854775808
        *1
        :-4611686018427387904
        effect BITFIELD k SET i64 #1 -9223372036854775808
        event $ setbit k
        > BITFIELD_RO k GET i64 64 GET u1 1000000
        *2
        :-9223372036854775808
        :0
        > BITFIELD k SET i64 #1 -9223372036854775808
        *1
        :-9223372036854775808
        > BITFIELD k
        *0
        > STRLEN k
        :16
    ",
    );
}

#[test]
fn bitfield_overflows_as_it_is_told() {
    check(
        "
        > BITFIELD k SET u8 0 255 INCRBY u8 0 1 INCRBY u8 0 -1
        *3
        :0
        :0
        :255
        > BITFIELD k OVERFLOW SAT INCRBY u8 0 1 INCRBY u8 0 -300 SET u8 0 -1 GET u8 0 SET u8 0 300
        *5
        :255
        :0
        :0
        :255
        :255
        > BITFIELD k OVERFLOW SAT SET i8 0 -300 GET i8 0 INCRBY i8 0 1000
        *3
        :-1
        :-128
        :127
        > BITFIELD k OVERFLOW SAT SET i8 0 -9223372036854775680 GET i8 0 SET i8 0 -9223372036854775681 GET i8 0
        *4
        :127
        :-128
        :-128
        :127
        > BITFIELD k OVERFLOW SAT SET i63 64 -4611686018427387904 GET i63 64 SET i63 64 -4611686018427387905 GET i63 64
        *4
        :0
        :-4611686018427387904
        :-4611686018427387904
        :4611686018427387903
        > BITFIELD k OVERFLOW SAT INCRBY i8 0 -9223372036854775808 SET i8 0 127 OVERFLOW WRAP SET i8 0 -9223372036854775808
        *3
        :-128
        :-128
        :127
        > BITFIELD k OVERFLOW FAIL SET i8 0 -9223372036854775808 SET i8 0 127
        *2
        $-1
        :0
        > BITFIELD k OVERFLOW FAIL INCRBY i8 0 1 OVERFLOW WRAP INCRBY i8 0 1
        *2
        $-1
        :-128
        > BITFIELD k SET i64 0 9223372036854775807 INCRBY i64 0 1 OVERFLOW SAT INCRBY i64 0 -1
        *3
        :-9223372036854775808
        :-9223372036854775808
        :-9223372036854775808
    ",
    );
    check(
        "
        > BITFIELD k OVERFLOW FAIL INCRBY u1 20 2
        *1
        $-1
        effect BITFIELD k OVERFLOW FAIL INCRBY u1 20 2
        event n new k
        > BITFIELD k OVERFLOW FAIL INCRBY u1 20 2
        *1
        $-1
        > STRLEN k
        :3
    ",
    );
}

#[test]
fn bitfield_checks_every_step_before_the_first() {
    check(
        "
        > BITFIELD k SET u8 0 1 GET u64 0
        -ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.
        > BITFIELD k SET u8 0 1 GET i 0
        -ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.
        > BITFIELD k SET u8 0 1 GET u8 #
        -ERR bit offset is not an integer or out of range
        > BITFIELD k SET u8 0 1 GET i64 #9223372036854775807
        -ERR bit offset is not an integer or out of range
        > BITFIELD k SET u8 0 1 SET u8 0 x
        -ERR value is not an integer or out of range
        > BITFIELD k SET u8 0 1 SET u8 0
        -ERR syntax error
        > BITFIELD k SET u8 0 1 OVERFLOW
        -ERR syntax error
        > BITFIELD k SET u8 0 1 OVERFLOW foo
        -ERR Invalid OVERFLOW type specified
        > BITFIELD_RO k SET u8 0 1
        -ERR BITFIELD_RO only supports the GET subcommand
        > BITFIELD_RO k OVERFLOW SAT
        *0
        > EXISTS k
        :0
    ",
    );
}

/// Every width at every bit offset, against a number put together bit by bit.
#[test]
fn fields_of_every_width_are_written_and_read_anywhere() {
    let mut bench = Bench::new();
    let noise: Vec<u8> = (0..20u8).map(|at| at.wrapping_mul(167) ^ 0x5a).collect();
    for width in 1..=64i64 {
        for offset in 0..9 {
            for signed in [false, true] {
                if width == 64 && !signed {
                    continue;
                }
                let kind = format!("{}{width}", if signed { 'i' } else { 'u' });
                let number = 0x1122_3344_5566_7788_i64.rotate_left(width as u32) ^ offset;
                bench.run(&[b"SET", b"k", &noise]);
                let (at, word) = (offset.to_string(), number.to_string());
                bench.run(&[b"BITFIELD", b"k", b"SET", kind.as_bytes(), at.as_bytes(), word.as_bytes()]);
                let mut expected = noise.clone();
                for bit in 0..width {
                    let place = (offset + bit) as usize;
                    let one = number >> (width - 1 - bit) & 1;
                    expected[place / 8] &= !(0x80 >> (place % 8));
                    expected[place / 8] |= (one as u8) << (7 - place % 8);
                }
                assert_eq!(bench.run(&[b"GET", b"k"]), format!("${}\n", escape(&expected)), "{kind} at {offset}");
                let low = number << (64 - width);
                let value = if signed { low >> (64 - width) } else { (low as u64 >> (64 - width)) as i64 };
                let got = bench.run(&[b"BITFIELD_RO", b"k", b"GET", kind.as_bytes(), at.as_bytes()]);
                assert_eq!(got, format!("*1\n:{value}\n"), "{kind} at {offset}");
            }
        }
    }
}

#[test]
fn a_bit_far_behind_the_end_makes_a_long_string_at_once() {
    let mut bench = Bench::new();
    assert_eq!(bench.run(&[b"SETBIT", b"k", b"80000000", b"1"]), ":0\n");
    assert_eq!(bench.run(&[b"STRLEN", b"k"]), ":10000001\n");
    assert_eq!(bench.run(&[b"SETBIT", b"k", b"80000008", b"1"]), ":0\n");
    assert_eq!(bench.run(&[b"BITCOUNT", b"k"]), ":2\n");
    assert_eq!(bench.run(&[b"BITPOS", b"k", b"1"]), ":80000000\n");
}

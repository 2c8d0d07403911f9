//! The bound of a record: what could pass it is refused before its first change, and nothing else makes such a record.

use super::testing::Bench;
use super::{CommandError, Flags};

/// A bench whose records may have 20 KB, of which [`super::Args::record_len_max`] keeps 8 for itself.
fn narrow() -> Bench {
    let mut bench = Bench::new();
    bench.engine.effects.bound(20_000);
    bench
}

#[test]
fn a_command_too_long_for_a_record_is_refused_before_it_changes_anything() {
    let mut bench = narrow();
    let (long, half) = (vec![b'v'; 3000], vec![b'v'; 1000]);
    let refused = CommandError::RecordTooLong.to_string();
    assert_eq!(bench.run(&[b"MSET", b"a", &long, b"b", &long]), format!("-{refused}\n"));
    assert_eq!((bench.run(&[b"DBSIZE"]), bench.effects().len(), bench.engine.effects.last()), (":0\n".into(), 0, 0));
    assert_eq!(bench.run(&[b"EXISTS", &long, &long]), format!("-{refused}\n"), "a read may delete keys");
    assert_eq!(bench.run(&[b"MSET", b"a", &long, b"b", &half]), "+OK\n");
    assert_eq!(bench.effects().len(), 1);
    // The whole bound: five values of 512 MB, which are never looked at.
    let mut bench = Bench::new();
    let huge = vec![0; crate::limits::STRING_LEN_MAX];
    assert_eq!(bench.run(&[b"MSET", b"a", &huge, b"b", &huge, b"c", &huge, b"d", &huge]), format!("-{refused}\n"));
    assert_eq!(bench.run(&[b"DBSIZE"]), ":0\n");
}

#[test]
fn commands_of_one_record_are_refused_by_what_the_record_holds_already() {
    let mut bench = narrow();
    bench.engine.effect(0, &[b"SET", b"k", &vec![0; 12_000]]);
    assert_eq!(bench.engine.admits(8000), Err(CommandError::RecordTooLong));
    assert_eq!(bench.engine.admits(7000), Ok(()));
    bench.engine.effects.finish();
    assert_eq!(bench.engine.admits(20_000), Ok(()));
}

#[test]
#[should_panic(expected = "did not ask `Engine::admits`")]
fn a_record_beyond_its_bound_ends_the_process_and_not_the_log() {
    let mut bench = narrow();
    for _ in 0..2 {
        bench.engine.effect(0, &[b"SET", b"k", &vec![0; 12_000]]);
    }
}

#[test]
fn dead_keys_with_huge_names_do_not_make_a_huge_record() {
    let dead = |names: usize| {
        let mut bench = narrow();
        for name in 0..names {
            let mut key = vec![b'k'; 5000];
            key[0] = b'0' + name as u8;
            assert_eq!(bench.run(&[b"SET", &key, b"", b"PX", b"1"]), "+OK\n");
        }
        bench.effects();
        bench.engine.now_ms += 10;
        bench
    };
    // One record for each: together they would pass the bound.
    let mut bench = dead(6);
    let before = bench.engine.effects.last();
    bench.engine.expire_slice(64);
    assert_eq!((bench.run(&[b"DBSIZE"]), bench.engine.effects.last() - before), (":0\n".into(), 6));
    // SCAN makes one record: what does not fit stays, hidden.
    let mut bench = dead(6);
    let before = bench.engine.effects.last();
    assert_eq!(bench.run(&[b"SCAN", b"0", b"COUNT", b"100"]), "*2\n$0\n*0\n");
    assert_eq!((bench.run(&[b"DBSIZE"]), bench.engine.effects.last() - before), (":4\n".into(), 1));
    for _ in 0..8 {
        assert_eq!(bench.run(&[b"RANDOMKEY"]), "$-1\n");
    }
    assert_eq!(bench.run(&[b"DBSIZE"]), ":0\n");
}

#[test]
fn on_a_full_disk_nothing_but_a_deletion_begins_a_record_and_what_has_begun_is_not_stopped_half_way() {
    let mut bench = Bench::new();
    bench.run(&[b"MSET", b"a", b"1", b"b", b"2"]);
    bench.run(&[b"SET", b"dead", b"1", b"PX", b"1"]);
    bench.engine.now_ms += 10;
    bench.effects();
    bench.engine.refused = crate::engine::Refused::Growth("no space".into());
    let refused = "-MISCONF Errors writing to the log: no space\n";

    bench.engine.begin_transaction();
    assert_eq!(bench.run(&[b"SET", b"c", b"3"]), refused);
    assert_eq!(bench.run(&[b"DEL", b"none"]), ":0\n");
    assert_eq!(bench.run(&[b"GET", b"dead"]), "$-1\n");
    assert_eq!(bench.run(&[b"SET", b"c", b"3"]), refused, "a dead key's end is no change of the transaction's");
    bench.engine.end_transaction(&mut bench.session);
    assert_eq!(bench.effects(), ["DEL dead"]);

    bench.engine.begin_transaction();
    assert_eq!(bench.run(&[b"DEL", b"a"]), ":1\n");
    assert_eq!(bench.engine.refuses_flags(Flags::WRITE.and(Flags::DENYOOM)), None);
    assert_eq!(bench.run(&[b"SET", b"c", b"3"]), "+OK\n");
    bench.engine.end_transaction(&mut bench.session);
    assert_eq!(bench.effects(), ["DEL a", "SET c 3"]);

    assert_eq!(bench.run(&[b"SET", b"d", b"4"]), refused, "the next one begins anew");
}

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
fn deliveries_to_a_group_that_one_record_cannot_tell_are_refused_before_any_is_made() {
    let mut bench = narrow();
    let group = vec![b'g'; 1500];
    for number in 1..=12 {
        bench.run(&[b"XADD", b"s", format!("{number}-1").as_bytes(), b"f", b"v"]);
    }
    assert_eq!(bench.run(&[b"XGROUP", b"CREATE", b"s", &group, b"0"]), "+OK\n");
    bench.effects();
    let refused = format!("-{}\n", CommandError::RecordTooLong);
    let read = |bench: &mut Bench, count: &[u8], from: &[u8]| {
        bench.run(&[b"XREADGROUP", b"GROUP", &group, b"c", b"COUNT", count, b"STREAMS", b"s", from])
    };
    let pending = |bench: &mut Bench| bench.run(&[b"XPENDING", b"s", &group]).lines().nth(1).map(str::to_owned);
    assert_eq!(read(&mut bench, b"12", b">"), refused);
    assert_eq!((pending(&mut bench).unwrap(), bench.effects().len()), (":0".into(), 0));
    assert!(read(&mut bench, b"9", b">").starts_with("*1\n"));
    assert!(read(&mut bench, b"0", b"0").starts_with("*1\n"), "nine once more");
    assert!(read(&mut bench, b"0", b">").starts_with("*1\n"), "three are left, of twelve");
    bench.effects();
    assert_eq!((pending(&mut bench).unwrap(), read(&mut bench, b"0", b"0")), (":12".into(), refused.clone()));
    assert!(read(&mut bench, b"0", b"5-1").starts_with("*1\n"), "seven of twelve");
    let ids: Vec<String> = (1..=12).map(|number| format!("{number}-1")).collect();
    let mut claim: Vec<&[u8]> = vec![b"XCLAIM", b"s", &group, b"d", b"0"];
    claim.extend(ids.iter().map(String::as_bytes));
    bench.effects();
    assert_eq!(bench.run(&claim), refused);
    let steal =
        |bench: &mut Bench, count: &[u8]| bench.run(&[b"XAUTOCLAIM", b"s", &group, b"d", b"0", b"0", b"COUNT", count]);
    assert_eq!((steal(&mut bench, b"12"), bench.effects().len()), (refused, 0));
    assert_eq!(bench.run(&claim[..9]).lines().next(), Some("*4"));
    assert!(steal(&mut bench, b"5").starts_with("*3\n"));
}

#[test]
fn members_that_a_command_finds_are_no_more_than_a_record_can_name() {
    let mut bench = narrow();
    let member = |number: usize| [&[b'a' + number as u8; 1000][..], b"!"].concat();
    for number in 0..25 {
        assert_eq!(bench.run(&[b"SADD", b"set", &member(number)]), ":1\n");
        assert_eq!(bench.run(&[b"GEOADD", b"places", b"1", b"2", &member(number)]), ":1\n");
    }
    bench.effects();
    assert!(bench.run(&[b"SPOP", b"set", b"24"]).starts_with("*19\n"), "as many as fit");
    assert_eq!((bench.run(&[b"SCARD", b"set"]), bench.effects().len()), (":6\n".into(), 1));
    let store = |bench: &mut Bench, count: &[u8]| {
        let around: [&[u8]; 7] = [b"FROMLONLAT", b"1", b"2", b"BYRADIUS", b"1", b"km", b"COUNT"];
        bench.run(&[&[b"GEOSEARCHSTORE".as_slice(), b"found", b"places"], &around[..], &[count]].concat())
    };
    assert_eq!(store(&mut bench, b"25"), format!("-{}\n", CommandError::RecordTooLong));
    assert_eq!((bench.run(&[b"EXISTS", b"found"]), bench.effects().len()), (":0\n".into(), 0));
    assert_eq!(store(&mut bench, b"5"), ":5\n");
    // A single member that has no room.
    bench.engine.effects.bound(60_000);
    let huge = vec![b'x'; 12_000];
    bench.run(&[b"SADD", b"two", &huge, b"y"]);
    bench.run(&[b"SREM", b"two", b"y"]);
    bench.run(&[b"SADD", b"two", &[&huge[..], b"z"].concat()]);
    bench.effects();
    bench.engine.effects.bound(9000);
    assert_eq!(bench.run(&[b"SPOP", b"two"]), format!("-{}\n", CommandError::RecordTooLong));
    assert_eq!((bench.run(&[b"SCARD", b"two"]), bench.effects().len()), (":2\n".into(), 0));
}

#[test]
fn dead_fields_with_huge_names_do_not_make_a_huge_record() {
    let mut bench = Bench::new();
    bench.engine.effects.bound(2_500_000);
    for number in 0..6u8 {
        let mut name = vec![b'f'; 600_000];
        name[0] = b'0' + number;
        assert_eq!(bench.run(&[b"HSETEX", b"h", b"PX", b"1", b"FIELDS", b"1", &name, b"v"]), ":1\n");
    }
    bench.effects();
    bench.engine.now_ms += 10;
    let before = bench.engine.effects.last();
    while bench.engine.expire_slice(64) {}
    assert_eq!((bench.run(&[b"DBSIZE"]), bench.engine.effects.last() - before), (":0\n".into(), 3));
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

//! Commands on hashes as conversations. Replies, events and effects were compared with Valkey 9.1.

use crate::command::testing::{Bench, START_MS, check, check3, play};

#[test]
fn fields_are_set_read_and_removed() {
    check(
        "
        > HSET h a 1 b two a 3
        :2
        effect HSET h a 1 b two a 3
        event n new h
        event h hset h
        > HSET h a 4
        :0
        effect HSET h a 4
        event h hset h
        > HMSET h c x
        +OK
        effect HSET h c x
        event h hset h
        > HSETNX h a 9
        :0
        > HSETNX h d 9
        :1
        effect HSET h d 9
        event h hset h
        > HGET h a
        $4
        > HGET h nope
        $-1
        > HGET nope a
        $-1
        event m keymiss nope
        > HMGET h b nope a
        *3
        $two
        $-1
        $4
        > HEXISTS h b
        :1
        > HEXISTS h z
        :0
        > HLEN h
        :4
        > HSTRLEN h b
        :3
        > HSTRLEN h a
        :1
        > HSTRLEN h z
        :0
        > HDEL h z a c a
        :2
        effect HDEL h a c
        event h hdel h
        > HKEYS h
        *2
        $b
        $d
        > HVALS h
        *2
        $two
        $9
        > HGETDEL h FIELDS 3 b b z
        *3
        $two
        $-1
        $-1
        effect HDEL h b
        event h hdel h
        > HDEL h d
        :1
        effect HDEL h d
        event h hdel h
        event g del h
        > EXISTS h
        :0
        event m keymiss h
        > HDEL h d
        :0
        > HGETDEL h FIELDS 1 d
        *1
        $-1
        ",
    );
}

#[test]
fn all_of_a_hash_is_a_map_in_resp3() {
    let script = |map: &str, pairs: &str| {
        format!(
            "
            > HSET h a 1
            :1
            > HGETALL h
            {map}
            $a
            $1
            > HKEYS h
            *1
            $a
            > HRANDFIELD h 3 WITHVALUES
            {pairs}
            $a
            $1
            > HRANDFIELD h
            $a
            > HSCAN h 0
            *2
            $0
            *2
            $a
            $1
            "
        )
    };
    check(&script("*2", "*2"));
    check3(&script("%1", "*1\n*2"));
    check3(
        "> HGETALL nope\n%0\n> HGET nope a\n_\n> HMGET nope a\n*1\n_\n> HRANDFIELD nope\n_\n> HRANDFIELD nope 1\n*0\n",
    );
}

#[test]
fn wrong_words_are_answered_as_valkey_answers() {
    let count = "-ERR numfields should be greater than 0 and match the provided number of fields";
    let mut bench = Bench::new();
    play(&mut bench, "> SET s x\n+OK\n> HSET h a 1 str abc\n:2\n");
    for (command, error) in [
        ("HSET h a 1 b", "-ERR wrong number of arguments for 'hset' command"),
        ("HMSET h a 1 b", "-ERR wrong number of arguments for 'hmset' command"),
        ("HSET s a 1 b", "-ERR wrong number of arguments for 'hset' command"),
        ("HEXPIRE h 10 FIELDS 2 a", count),
        ("HEXPIRE h 10 FIELDS 0 a", count),
        ("HEXPIRE h 10 FIELDS -1 a", count),
        ("HEXPIRE h 10 FIELDS 9223372036854775807 a", count),
        ("HEXPIRE h 10 bogus 1 a", count),
        ("HEXPIRE h 10 FIELDS 1 a NX", count),
        ("HEXPIRE h 10 FIELDS x a", "-ERR value is not an integer or out of range"),
        ("HEXPIRE s x FIELDS 1 a", "-ERR value is not an integer or out of range"),
        ("HEXPIRE h x foo FIELDS 1 a", "-ERR Unsupported option foo"),
        ("HEXPIRE h 1 NX XX FIELDS 1 a", "-ERR NX and XX, GT or LT options at the same time are not compatible"),
        ("HEXPIRE h 1 GT LT FIELDS 1 a", "-ERR GT and LT options at the same time are not compatible"),
        ("HEXPIRE s -1 FIELDS 1 a", "-ERR invalid expire time in 'hexpire' command"),
        ("HPEXPIRE h 9223372036854775807 FIELDS 1 a", "-ERR invalid expire time in 'hpexpire' command"),
        ("HEXPIREAT h 9223372036854776 FIELDS 1 a", "-ERR invalid expire time in 'hexpireat' command"),
        ("HPEXPIREAT h -1 FIELDS 1 a", "-ERR invalid expire time in 'hpexpireat' command"),
        ("HTTL h FIELDS 2 a", "-ERR syntax error"),
        ("HTTL h FIELDS 0 a", "-ERR syntax error"),
        ("HTTL h nope 1 a", "-ERR syntax error"),
        ("HTTL h FIELDS x a", "-ERR value is not an integer or out of range"),
        ("HPERSIST h FIELDS 2 a", count),
        ("HPERSIST h nope x a", "-ERR syntax error"),
        ("HPERSIST h FIELDS x a", "-ERR value is not an integer or out of range"),
        ("HGETDEL h FIELDS 2 a", count),
        ("HGETDEL h nope 1 a", "-ERR syntax error"),
        ("HSETEX h FIELDS 2 a 1", count),
        ("HSETEX h FIELDS 4611686018427387904 a 1", count),
        ("HSETEX h FIELDS 9223372036854775807 a 1", count),
        ("HSETEX h FIELDS x a 1", "-ERR value is not an integer or out of range"),
        ("HSETEX h EX 10 1 a 1", count),
        ("HSETEX h EX FIELDS 1 a 1", "-ERR syntax error"),
        ("HSETEX h EX 10 PX 10 FIELDS 1 a 1", "-ERR syntax error"),
        ("HSETEX h EX 10 KEEPTTL FIELDS 1 a 1", "-ERR syntax error"),
        ("HSETEX h PERSIST FIELDS 1 a 1", "-ERR syntax error"),
        ("HSETEX h NX XX FIELDS 1 a 1", "-ERR syntax error"),
        ("HSETEX h FNX FXX FIELDS 1 a 1", "-ERR syntax error"),
        ("HSETEX h foo FIELDS 0 a 1", "-ERR syntax error"),
        ("HSETEX h EX -1 FIELDS 1 a 1", "-ERR invalid expire time in 'hsetex' command"),
        ("HSETEX h PX 9223372036854775807 FIELDS 1 a 1", "-ERR invalid expire time in 'hsetex' command"),
        ("HGETEX h FIELDS 2 a", count),
        ("HGETEX h EX 10 nope 1 a", count),
        ("HGETEX h KEEPTTL FIELDS 1 a", "-ERR syntax error"),
        ("HGETEX h PERSIST EX 10 FIELDS 1 a", "-ERR syntax error"),
        ("HGETEX nope EX x FIELDS 1 a", "-ERR value is not an integer or out of range"),
        ("HGETEX h EX -1 FIELDS 1 a", "-ERR invalid expire time in 'hgetex' command"),
        ("HINCRBY s a x", "-ERR value is not an integer or out of range"),
        ("HINCRBY h str 1", "-ERR hash value is not an integer"),
        ("HINCRBY h a 9223372036854775807", "-ERR increment or decrement would overflow"),
        ("HINCRBYFLOAT s a inf", "-ERR value is NaN or Infinity"),
        ("HINCRBYFLOAT s a nan", "-ERR value is not a valid float"),
        ("HINCRBYFLOAT h str 1", "-ERR hash value is not a float"),
        ("HRANDFIELD s x", "-ERR value is not an integer or out of range"),
        ("HRANDFIELD h 1 foo", "-ERR syntax error"),
        ("HRANDFIELD h 1 WITHVALUES foo", "-ERR syntax error"),
        (
            "HRANDFIELD h -9223372036854775808",
            "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ),
        ("HRANDFIELD h 4611686018427387904 WITHVALUES", "-ERR value is out of range"),
        ("HRANDFIELD h -9223372036854775807", "-ERR value is out of range"),
        ("HSCAN s x", "-ERR invalid cursor"),
        ("HSCAN h 0 TYPE hash", "-ERR syntax error"),
        ("HSCAN h 0 COUNT 0", "-ERR syntax error"),
        ("HSCAN h 0 COUNT x", "-ERR value is not an integer or out of range"),
    ] {
        play(&mut bench, &format!("> {command}\n{error}\n"));
    }
    let wrong_type = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    for command in [
        "HSET s a 1",
        "HSETNX s a 1",
        "HGET s a",
        "HMGET s a",
        "HGETALL s",
        "HDEL s a",
        "HEXISTS s a",
        "HLEN s",
        "HSTRLEN s a",
        "HKEYS s",
        "HVALS s",
        "HINCRBY s a 1",
        "HINCRBYFLOAT s a 1",
        "HRANDFIELD s",
        "HRANDFIELD s 0",
        "HSCAN s 0",
        "HEXPIRE s 10 FIELDS 1 a",
        "HTTL s FIELDS 1 a",
        "HPERSIST s FIELDS 1 a",
        "HGETEX s EX x FIELDS 1 a",
        "HSETEX s EX x FIELDS 1 a 1",
        "HSETEX s NX FIELDS 1 a 1",
        "HGETDEL s FIELDS 1 a",
    ] {
        play(&mut bench, &format!("> {command}\n{wrong_type}\n"));
    }
    // Nothing of all that changed anything; and what Valkey accepts is accepted.
    play(
        &mut bench,
        "> HGETALL h\n*4\n$a\n$1\n$str\n$abc\n> HSCAN nope 0 foo\n*2\n$0\n*0\n> HSCAN h 7 NOVALUES MATCH s* COUNT 1\n*2\n$0\n*1\n$str\n",
    );
}

#[test]
fn fields_get_and_lose_deadlines() {
    check(
        "
        > HSET h a 1 b 2 c 3
        :3
        effect HSET h a 1 b 2 c 3
        event n new h
        event h hset h
        > HPTTL h FIELDS 2 a z
        *2
        :-1
        :-2
        > HEXPIRE h 100 FIELDS 3 a z b
        *3
        :1
        :-2
        :1
        effect HPEXPIREAT h 1700000100000 FIELDS 2 a b
        event h hexpire h
        > OBJECT ENCODING h
        $hashtable
        > HPEXPIREAT h 1700000200000 NX FIELDS 2 a c
        *2
        :0
        :1
        effect HPEXPIREAT h 1700000200000 FIELDS 1 c
        event h hexpire h
        > HEXPIRE h 150 GT FIELDS 2 a c
        *2
        :1
        :0
        effect HPEXPIREAT h 1700000150000 FIELDS 1 a
        event h hexpire h
        > HEXPIRE h 1 XX LT FIELDS 1 z
        *1
        :-2
        > HPTTL h FIELDS 3 a b c
        *3
        :150000
        :100000
        :200000
        after 600ms > HTTL h FIELDS 1 a
        *1
        :149
        > HEXPIRETIME h FIELDS 1 a
        *1
        :1700000150
        > HPEXPIRETIME h FIELDS 2 a z
        *2
        :1700000150000
        :-2
        > HPERSIST h FIELDS 4 a a z b
        *4
        :1
        :-1
        :-2
        :1
        effect HPERSIST h FIELDS 2 a b
        event h hpersist h
        > HPERSIST h FIELDS 1 a
        *1
        :-1
        > HEXPIRE h 0 FIELDS 3 a a z
        *3
        :2
        :-2
        :-2
        effect HDEL h a
        event h hexpired h
        > HPEXPIREAT h 1 FIELDS 2 b c
        *2
        :2
        :2
        effect HDEL h b c
        event h hexpired h
        event g del h
        > HEXPIRE h 10 FIELDS 1 a
        *1
        :-2
        > HTTL h FIELDS 1 a
        *1
        :-2
        event m keymiss h
        ",
    );
}

#[test]
fn a_passed_deadline_leaves_a_packed_hash_packed() {
    check(
        "
        > HSET h a 1 b 2
        :2
        > HEXPIRE h 0 FIELDS 1 a
        *1
        :2
        > HSETEX h PXAT 1 FIELDS 1 z 1
        :1
        > HEXPIRE h 10 XX FIELDS 1 b
        *1
        :0
        > OBJECT ENCODING h
        $listpack
        > HSETEX h EX 10 FIELDS 1 b 1
        :1
        > HPERSIST h FIELDS 1 b
        *1
        :1
        > OBJECT ENCODING h
        $hashtable
        ",
    );
}

#[test]
fn writing_to_a_dead_field_finds_nothing_there() {
    let dead = "
        > HSET d a 1 b 2 c 3
        :3
        effect HSET d a 1 b 2 c 3
        event n new d
        event h hset d
        > HPEXPIRE d 10 FIELDS 3 a b c
        *3
        :1
        :1
        :1
        effect HPEXPIREAT d 1700000000010 FIELDS 3 a b c
        event h hexpire d
        after 10ms > HLEN d
        :3
        ";
    check(&format!(
        "{dead}
        > HSETNX d a 5
        :1
        effect HSET d a 5
        event h hexpired d
        event h hset d
        > HSET d b 5 b 6
        :1
        effect HSET d b 5 b 6
        event h hexpired d
        event h hset d
        > HINCRBY d c 5
        :5
        effect HSET d c 5
        event h hexpired d
        event h hincrby d
        > HINCRBY d c 5
        :10
        effect HINCRBY d c 5
        event h hincrby d
        > HPTTL d FIELDS 3 a b c
        *3
        :-1
        :-1
        :-1
        "
    ));
    check(&format!(
        "{dead}
        > HSETEX d KEEPTTL FIELDS 1 a 3
        :1
        effect HSETEX d KEEPTTL FIELDS 1 a 3
        effect HPERSIST d FIELDS 1 a
        event h hexpired d
        event h hset d
        > HSETEX d FNX FIELDS 1 b 4
        :1
        effect HSET d b 4
        event h hexpired d
        event h hset d
        > HSETEX d FXX FIELDS 1 c 4
        :0
        > HSETEX d PX 1000 FIELDS 1 c 4
        :1
        effect HSETEX d PXAT 1700000001010 FIELDS 1 c 4
        event h hexpired d
        event h hset d
        event h hexpire d
        > HINCRBYFLOAT d c 1.5
        $5.5
        effect HSETEX d PXAT 1700000001010 FIELDS 1 c 5.5
        event h hincrbyfloat d
        > HINCRBYFLOAT d a 1.5
        $4.5
        effect HSET d a 4.5
        event h hincrbyfloat d
        "
    ));
    check(&format!(
        "{dead}
        > HDEL d a
        :0
        > HGETDEL d FIELDS 1 a
        *1
        $-1
        > HGETEX d EX 10 FIELDS 1 a
        *1
        $-1
        > HGETEX d PXAT 1 FIELDS 1 a
        *1
        $-1
        > HPERSIST d FIELDS 1 a
        *1
        :-2
        > HEXPIRE d 0 FIELDS 1 a
        *1
        :-2
        > HGET d a
        $-1
        > HMGET d a b
        *2
        $-1
        $-1
        > HEXISTS d a
        :0
        > HSTRLEN d a
        :0
        > HKEYS d
        *0
        > HVALS d
        *0
        > HGETALL d
        *0
        > HRANDFIELD d
        $-1
        > HRANDFIELD d 5
        *0
        > HRANDFIELD d -5
        *0
        > HSCAN d 0
        *2
        $0
        *0
        > HTTL d FIELDS 1 a
        *1
        :-2
        > HLEN d
        :3
        > TYPE d
        +hash
        > HSETEX d PXAT 1 FIELDS 1 a 3
        :1
        effect HDEL d a
        event h hset d
        event h hexpire d
        event h hexpired d
        > HLEN d
        :2
        "
    ));
}

#[test]
fn hsetex_sets_values_and_deadlines_together() {
    check(
        "
        > HSETEX h XX FIELDS 1 a 1
        :0
        > HSETEX h FXX FIELDS 1 a 1
        :0
        > HSETEX h NX FNX FIELDS 2 a 1 b 2
        :1
        effect HSET h a 1 b 2
        event n new h
        event h hset h
        > HSETEX h NX EX x FIELDS 1 a 1
        :0
        > HSETEX h FNX FIELDS 2 z 1 a 1
        :0
        > HSETEX h XX FXX EX 10 FIELDS 2 a 3 b 4
        :1
        effect HSETEX h PXAT 1700000010000 FIELDS 2 a 3 b 4
        event h hset h
        event h hexpire h
        > HSETEX h KEEPTTL FIELDS 2 a 5 c 6
        :1
        effect HSETEX h KEEPTTL FIELDS 2 a 5 c 6
        event h hset h
        > HPTTL h FIELDS 3 a b c
        *3
        :10000
        :10000
        :-1
        > HSETEX h FIELDS 1 a 7
        :1
        effect HSET h a 7
        event h hset h
        > HPTTL h FIELDS 1 a
        *1
        :-1
        > HSETEX h PXAT 1 FIELDS 2 a 2 zz 1
        :1
        effect HDEL h a
        event h hset h
        event h hexpire h
        event h hexpired h
        > HSETEX new PXAT 1 FIELDS 1 a 2
        :1
        event n new new
        event h hset new
        event h hexpire new
        event h hexpired new
        event g del new
        > EXISTS new
        :0
        event m keymiss new
        > HSETEX h EX 0 FIELDS 2 b 2 c 2
        :1
        effect HDEL h b c
        event h hset h
        event h hexpire h
        event h hexpired h
        event g del h
        > HSETEX FIELDS EX 10 FIELDS 1 FIELDS 1
        :1
        effect HSETEX FIELDS PXAT 1700000010000 FIELDS 1 FIELDS 1
        event n new FIELDS
        event h hset FIELDS
        event h hexpire FIELDS
        ",
    );
}

#[test]
fn hgetex_reads_and_changes_deadlines() {
    check(
        "
        > HSET h a 1 b 2
        :2
        effect HSET h a 1 b 2
        event n new h
        event h hset h
        > HGETEX h FIELDS 2 a z
        *2
        $1
        $-1
        > HGETEX h PERSIST FIELDS 1 a
        *1
        $1
        > HGETEX h EX 100 FIELDS 2 a z
        *2
        $1
        $-1
        effect HPEXPIREAT h 1700000100000 FIELDS 1 a
        event h hexpire h
        > HGETEX h PERSIST FIELDS 3 a b a
        *3
        $1
        $2
        $1
        effect HPERSIST h FIELDS 1 a
        event h hpersist h
        > HGETEX h EX 0 FIELDS 3 a a z
        *3
        $1
        $-1
        $-1
        effect HDEL h a
        event h hexpired h
        > HGETEX h PXAT 1 FIELDS 1 b
        *1
        $2
        effect HDEL h b
        event h hexpired h
        event g del h
        > HGETEX h EX 10 FIELDS 2 a b
        *2
        $-1
        $-1
        event m keymiss h
        ",
    );
}

#[test]
fn counters_count() {
    check(
        "
        > HINCRBY h n 5
        :5
        effect HINCRBY h n 5
        event n new h
        event h hincrby h
        > HINCRBY h n -7
        :-2
        effect HINCRBY h n -7
        event h hincrby h
        > HINCRBYFLOAT h f 3.0e3
        $3000
        effect HSET h f 3000
        event h hincrbyfloat h
        > HINCRBYFLOAT h n 0.5
        $-1.5
        effect HSET h n -1.5
        event h hincrbyfloat h
        > HSET h i inf
        :1
        effect HSET h i inf
        event h hset h
        > HINCRBYFLOAT h i 1
        -ERR increment would produce NaN or Infinity
        > HEXPIRE h 10 FIELDS 1 f
        *1
        :1
        effect HPEXPIREAT h 1700000010000 FIELDS 1 f
        event h hexpire h
        > HINCRBY h f 1
        :3001
        effect HSETEX h PXAT 1700000010000 FIELDS 1 f 3001
        event h hincrby h
        > HINCRBY h new 1
        :1
        effect HSET h new 1
        event h hincrby h
        > HPTTL h FIELDS 2 f new
        *2
        :10000
        :-1
        ",
    );
}

/// What active expiry does until nothing is left to do; the number of slices.
fn expire_all(bench: &mut Bench, limit: usize) -> usize {
    (1..10_000).find(|_| !bench.engine.expire_slice(limit)).unwrap()
}

#[test]
fn dead_fields_are_reclaimed_by_themselves() {
    let mut bench = Bench::new();
    play(
        &mut bench,
        "
        > HSETEX h PX 10 FIELDS 2 a 1 b 2
        :1
        > HSETEX h PX 20 FIELDS 1 c 3
        :1
        > HSETEX gone PX 10 FIELDS 1 a 1
        :1
        > HSETEX later PX 1000 FIELDS 1 a 1
        :1
        > HSET plain a 1
        :1
        > PEXPIRE plain 10
        :1
        ",
    );
    bench.effects();
    bench.engine.events.clear();
    bench.engine.settings.events = u128::MAX;
    bench.engine.now_ms += 9;
    expire_all(&mut bench, 100);
    assert_eq!((bench.effects().len(), bench.engine.events.len()), (0, 0), "nothing has died yet");
    bench.engine.now_ms += 1;
    expire_all(&mut bench, 100);
    let mut effects = bench.effects();
    effects.sort();
    let of_h = |effect: &String| effect == "HDEL h a b" || effect == "HDEL h b a";
    assert!(
        effects.len() == 3 && effects[0] == "DEL plain" && effects[1] == "HDEL gone a" && of_h(&effects[2]),
        "{effects:?}"
    );
    let mut events: Vec<_> = bench.engine.events.drain(..).map(|event| (event.name, event.key)).collect();
    events.sort();
    let named = |name, key: &str| (name, Box::<[u8]>::from(key.as_bytes()));
    assert_eq!(
        events,
        [named("del", "gone"), named("expired", "plain"), named("hexpired", "gone"), named("hexpired", "h")]
    );
    assert_eq!((bench.engine.stats.expired_fields, bench.engine.stats.expired_keys), (3, 1));
    play(&mut bench, "> HLEN h\n:1\n> HKEYS h\n*1\n$c\n> EXISTS gone plain later\n:1\n");
    bench.engine.now_ms = START_MS + 2000;
    expire_all(&mut bench, 100);
    play(&mut bench, "> EXISTS h later\n:0\n> DBSIZE\n:0\n");
}

#[test]
fn a_slice_reclaims_a_bounded_number_of_fields() {
    let mut bench = Bench::new();
    for n in 0..3000u32 {
        let (name, ms) = (n.to_string(), if n % 3 == 0 { "1000000" } else { "10" });
        bench.run(&[b"HSETEX", b"h", b"PX", ms.as_bytes(), b"FIELDS", b"1", name.as_bytes(), b"v"]);
    }
    bench.effects();
    bench.engine.now_ms += 10;
    let slices = expire_all(&mut bench, 16);
    let effects = bench.effects();
    assert!((2000 / 64..100).contains(&slices), "{slices}");
    assert!(effects.iter().all(|effect| effect.split(' ').count() <= 2 + 64));
    assert_eq!(effects.iter().map(|effect| effect.split(' ').count() - 2).sum::<usize>(), 2000);
    assert_eq!(bench.run(&[b"HLEN", b"h"]), ":1000\n");
}

#[test]
fn slices_go_on_where_the_last_one_stopped_whatever_the_number_of_hashes() {
    let mut bench = Bench::new();
    for hash in 0..100u32 {
        let key = format!("h{hash}");
        for field in 0..50u32 {
            bench.run(&[b"HSETEX", key.as_bytes(), b"PX", b"10", b"FIELDS", b"1", &field.to_be_bytes(), b"v"]);
        }
    }
    bench.engine.now_ms += 10;
    // 200 of 5000 fields each: a slice that began a new pass, or gave up what it had found, would take more of them.
    let slices = expire_all(&mut bench, 50);
    assert!((25..40).contains(&slices), "{slices}");
    assert_eq!(bench.run(&[b"DBSIZE"]), ":0\n");
}

#[test]
fn random_fields_are_live_distinct_and_as_many_as_asked_for() {
    let mut bench = Bench::new();
    let names = |reply: String| {
        let mut lines = reply.lines();
        let count: usize = lines.next().unwrap()[1..].parse().unwrap();
        let names: Vec<String> = lines.map(str::to_owned).collect();
        assert_eq!(names.len(), count);
        names
    };
    for (fields, dead) in [(10u32, 0u32), (600, 0), (600, 3), (600, 599)] {
        bench.run(&[b"DEL", b"h"]);
        for n in 0..fields {
            bench.run(&[b"HSET", b"h", n.to_string().as_bytes(), b"v"]);
        }
        for n in 0..dead {
            bench.run(&[b"HPEXPIRE", b"h", b"5", b"FIELDS", b"1", n.to_string().as_bytes()]);
        }
        bench.engine.now_ms += 5;
        let live = (fields - dead) as usize;
        let is_live = |name: &String| (dead..fields).any(|n| *name == format!("${n}"));
        for count in [0, 1, 2, 5, 9, 10, 100, 400, 599, 600, 5000] {
            let mut drawn = names(bench.run(&[b"HRANDFIELD", b"h", count.to_string().as_bytes()]));
            assert!(drawn.iter().all(is_live));
            drawn.sort();
            drawn.dedup();
            assert_eq!(drawn.len(), count.min(live), "{count} of {live}");
            let count = count.max(1);
            let drawn = names(bench.run(&[b"HRANDFIELD", b"h", format!("-{count}").as_bytes()]));
            assert!(drawn.len() == count && drawn.iter().all(is_live));
        }
        // Nothing that is there is never drawn.
        let mut drawn = names(bench.run(&[b"HRANDFIELD", b"h", b"-20000"]));
        drawn.sort();
        drawn.dedup();
        assert_eq!(drawn.len(), live);
    }
}

#[test]
fn a_walk_returns_every_field_once() {
    let mut bench = Bench::new();
    for n in 0..1000u32 {
        bench.run(&[b"HSET", b"h", n.to_string().as_bytes(), b"v"]);
    }
    let mut cursor = "0".to_owned();
    let mut seen = Vec::new();
    loop {
        let reply = bench.run(&[b"HSCAN", b"h", cursor.as_bytes(), b"COUNT", b"7", b"NOVALUES", b"MATCH", b"*[05]"]);
        let mut lines = reply.lines();
        assert_eq!(lines.next(), Some("*2"));
        cursor = lines.next().unwrap()[1..].to_owned();
        seen.extend(lines.skip(1).map(|line| line[1..].parse::<u32>().unwrap()));
        if cursor == "0" {
            break;
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..1000).step_by(5).collect::<Vec<_>>());
}

//! Streams' commands: replies, effects, events.

use crate::command::testing::{Bench, START_MS, TextReply, check, check3, play};
use crate::command::{Args, Blocking, Reply, Session, table};
use crate::log::Lsn;
use crate::recovery::replay;
use crate::waiting::Waiting;
use std::sync::{Arc, Mutex};

#[test]
fn xadd_takes_every_form_of_id_and_logs_the_one_given() {
    check(
        "
        > XADD s 5-1 f v
        $5-1
        effect XADD s 5-1 f v
        > XADD s 5-* f v g w
        $5-2
        effect XADD s 5-2 f v g w
        > XADD s 7 f v
        $7-0
        effect XADD s 7-0 f v
        > XADD s * f v
        $1700000000000-0
        effect XADD s 1700000000000-0 f v
        > XADD s * f v
        $1700000000000-1
        effect XADD s 1700000000000-1 f v
        after 3ms > XADD s * f v
        $1700000000003-0
        effect XADD s 1700000000003-0 f v
        > XADD s 1700000000003-0 f v
        -ERR The ID specified in XADD is equal or smaller than the target stream top item
        > XADD s 5-* f v
        -ERR The ID specified in XADD is equal or smaller than the target stream top item
        > XADD s 0-0 f v
        -ERR The ID specified in XADD must be greater than 0-0
        > XADD s 9-x f v
        -ERR Invalid stream ID specified as stream command argument
        > XADD s * f
        -ERR wrong number of arguments for 'xadd' command
        > XADD s * f v g
        -ERR wrong number of arguments for 'xadd' command
        > XADD none NOMKSTREAM * f v
        $-1
        > EXISTS none
        :0
        > XLEN s
        :6
    ",
    );
}

#[test]
fn ids_never_go_back_when_the_clock_does() {
    let mut bench = Bench::new();
    play(
        &mut bench,
        "
        > XADD s * f v
        $1700000000000-0
    ",
    );
    bench.engine.now_ms = START_MS - 1000;
    play(
        &mut bench,
        "
        > XADD s * f v
        $1700000000000-1
        > XADD s 18446744073709551615-18446744073709551615 f v
        $18446744073709551615-18446744073709551615
        > XADD s * f v
        -ERR The stream has exhausted the last possible ID, unable to add more items
    ",
    );
}

#[test]
fn trimming_is_logged_exactly() {
    let mut bench = Bench::new();
    bench.engine.settings.shaping.stream_node_max_entries = 3;
    for n in 1..=10 {
        bench.run(&[b"XADD", b"s", format!("{n}-0").as_bytes(), b"f", b"v"]);
    }
    bench.effects();
    play(
        &mut bench,
        "
        > XADD s MAXLEN ~ 6 11-0 f v
        $11-0
        effect XADD s MAXLEN = 8 11-0 f v
        > XADD s MAXLEN 6 12-0 f v
        $12-0
        effect XADD s MAXLEN = 6 12-0 f v
        > XTRIM s MINID ~ 9
        :0
        > XTRIM s MINID ~ 10
        :3
        effect XTRIM s MINID = 10-0
        > XTRIM s MINID = 11
        :1
        effect XTRIM s MINID = 11-0
        > XTRIM s MAXLEN ~ 0 LIMIT 1
        :0
        > XTRIM s MAXLEN ~ 0 LIMIT 0
        :2
        effect XTRIM s MAXLEN = 0
        > XADD s MINID ~ 99 13-0 f v
        $13-0
        effect XADD s MINID = 18446744073709551615-18446744073709551615 13-0 f v
        > XLEN s
        :0
    ",
    );
}

#[test]
fn trimming_options_are_checked_before_anything_changes() {
    check(
        "
        > XADD s MAXLEN 1 MINID 1 * f v
        -ERR syntax error, MAXLEN and MINID options at the same time are not compatible
        > XADD s MAXLEN -1 * f v
        -ERR The MAXLEN argument must be >= 0.
        > XADD s MAXLEN x * f v
        -ERR value is not an integer or out of range
        > XADD s LIMIT 5 * f v
        -ERR syntax error, LIMIT cannot be used without specifying a trimming strategy
        > XADD s MAXLEN 5 LIMIT 5 * f v
        -ERR syntax error, LIMIT cannot be used without the special ~ option
        > XADD s MAXLEN ~ 5 LIMIT -1 * f v
        -ERR The LIMIT argument must be >= 0.
        > XTRIM s LIMIT 0
        -ERR syntax error, XTRIM must be called with a trimming strategy
        > XTRIM s MAXLEN = 5 foo
        -ERR syntax error
        > XTRIM s MINID x
        -ERR Invalid stream ID specified as stream command argument
        > EXISTS s
        :0
    ",
    );
}

#[test]
fn ranges_exclude_and_count() {
    check(
        "
        > XADD s 1-1 f 1
        $1-1
        > XADD s 1-2 g 2
        $1-2
        > XADD s 2-0 f 3
        $2-0
        > XRANGE s (1-1 1
        *1
        *2
        $1-2
        *2
        $g
        $2
        > XREVRANGE s + - COUNT 1
        *1
        *2
        $2-0
        *2
        $f
        $3
        > XRANGE s - + COUNT 0
        *-1
        > XRANGE none - + COUNT 0
        *0
        > XRANGE s 2 1
        *0
        > XRANGE s - (0-0
        -ERR invalid end ID for the interval
        > XRANGE s (18446744073709551615-18446744073709551615 +
        -ERR invalid start ID for the interval
        > XRANGE s - + LIMIT 1
        -ERR syntax error
        > XDEL s 1-2 9-9
        :1
        > XDEL s 1-2 x
        -ERR Invalid stream ID specified as stream command argument
        > XRANGE s (1-1 2-0 COUNT -5
        *-1
    ",
    );
}

#[test]
fn events_are_those_of_redis() {
    check(
        "
        > XADD s MAXLEN 0 1-1 f v
        $1-1
        event n new s
        event t xadd s
        event t xtrim s
        > XSETID s 5-0
        +OK
        event t xsetid s
        > XADD s 6-0 f v
        $6-0
        event t xadd s
        > XDEL s 6-0
        :1
        event t xdel s
        > XGROUP CREATE s g 0
        +OK
        event t xgroup-create s
        > XGROUP SETID s g 5
        +OK
        event t xgroup-setid s
        > XGROUP CREATECONSUMER s g c
        :1
        event t xgroup-createconsumer s
        > XREADGROUP GROUP g d STREAMS s >
        *-1
        event t xgroup-createconsumer s
        > XGROUP DELCONSUMER s g c
        :0
        event t xgroup-delconsumer s
        > XGROUP DESTROY s g
        :1
        event t xgroup-destroy s
        > XTRIM s MAXLEN 0
        :0
    ",
    );
}

#[test]
fn groups_give_each_entry_once_and_log_what_was_given() {
    check(
        "
        > XGROUP CREATE s g $ MKSTREAM
        +OK
        effect XGROUP CREATE s g 0-0 MKSTREAM
        > XADD s 1-1 f 1
        $1-1
        effect XADD s 1-1 f 1
        > XADD s 1-2 f 2
        $1-2
        effect XADD s 1-2 f 2
        > XREADGROUP GROUP g alice COUNT 1 STREAMS s >
        *1
        *2
        $s
        *1
        *2
        $1-1
        *2
        $f
        $1
        effect XCLAIM s g alice 0 1-1 TIME 1700000000000 RETRYCOUNT 1 FORCE JUSTID LASTID 1-1
        effect XGROUP SETID s g 1-1 ENTRIESREAD 1
        after 5ms > XREADGROUP GROUP g bob NOACK STREAMS s >
        *1
        *2
        $s
        *1
        *2
        $1-2
        *2
        $f
        $2
        effect XGROUP CREATECONSUMER s g bob
        effect XGROUP SETID s g 1-2 ENTRIESREAD 2
        > XREADGROUP GROUP g bob STREAMS s >
        *-1
        > XREADGROUP GROUP g alice STREAMS s 0
        *1
        *2
        $s
        *1
        *2
        $1-1
        *2
        $f
        $1
        effect XCLAIM s g alice 0 1-1 TIME 1700000000005 RETRYCOUNT 2 FORCE JUSTID LASTID 0-0
        > XDEL s 1-1
        :1
        effect XDEL s 1-1
        > XREADGROUP GROUP g alice STREAMS s 0
        *1
        *2
        $s
        *1
        *2
        $1-1
        *-1
        > XACK s g 1-1 9-9
        :1
        effect XACK s g 1-1 9-9
        > XACK s g 1-1
        :0
        > XACK s none x
        :0
    ",
    );
}

/// As Valkey 9.1 counts: where something between was trimmed or deleted, the number read is worked out anew, or unknown.
#[test]
fn the_number_of_entries_read_is_exact_or_unknown() {
    let mut bench = Bench::new();
    for n in 1..=10 {
        run(&mut bench, &format!("XADD s {n}-0 f v"));
    }
    run(&mut bench, "XGROUP CREATE s g 0");
    let standing = |bench: &mut Bench, what: &str| {
        run(bench, what);
        let text = run(bench, "XINFO GROUPS s");
        let lines: Vec<&str> = text.lines().collect();
        (lines[11].to_owned(), lines[13].to_owned())
    };
    let owned = |read: &str, lag: &str| (read.to_owned(), lag.to_owned());
    let read = "XREADGROUP GROUP g c COUNT 2 STREAMS s >";
    assert_eq!(standing(&mut bench, read), owned(":2", ":8"));
    assert_eq!(standing(&mut bench, "XTRIM s MAXLEN 5"), owned(":2", ":8"));
    assert_eq!(standing(&mut bench, read), owned(":7", ":3"));
    assert_eq!(standing(&mut bench, "XDEL s 9-0"), owned(":7", "$-1"));
    assert_eq!(standing(&mut bench, "XREADGROUP GROUP g c COUNT 1 STREAMS s >"), owned("$-1", "$-1"));
    assert_eq!(standing(&mut bench, read), owned(":10", ":0"));
    // What was deleted counts also when it is in front of the first entry by now, if the group stands before it.
    run(&mut bench, "XGROUP SETID s g 5-0 ENTRIESREAD 5");
    assert_eq!(standing(&mut bench, "XTRIM s MINID 10"), owned(":5", "$-1"));
    assert_eq!(standing(&mut bench, "XGROUP SETID s g 9-0 ENTRIESREAD 5"), owned(":5", ":1"));
    assert_eq!(standing(&mut bench, "XGROUP SETID s g 9-1 ENTRIESREAD 5"), owned(":5", ":5"));
}

#[test]
fn claims_move_entries_and_are_logged_as_they_end() {
    check(
        "
        > XADD s 1-1 f 1
        $1-1
        effect XADD s 1-1 f 1
        > XADD s 1-2 f 2
        $1-2
        effect XADD s 1-2 f 2
        > XGROUP CREATE s g 0
        +OK
        effect XGROUP CREATE s g 0-0
        > XCLAIM s g a 0 1-1 1-2
        *0
        effect XGROUP CREATECONSUMER s g a
        > XCLAIM s g a 0 1-1 1-2 FORCE TIME 1000
        *2
        *2
        $1-1
        *2
        $f
        $1
        *2
        $1-2
        *2
        $f
        $2
        effect XCLAIM s g a 0 1-1 TIME 1000 RETRYCOUNT 2 FORCE JUSTID LASTID 0-0
        effect XCLAIM s g a 0 1-2 TIME 1000 RETRYCOUNT 2 FORCE JUSTID LASTID 0-0
        > XCLAIM s g b 0 1-1 JUSTID LASTID 1-1 RETRYCOUNT 7
        *1
        $1-1
        effect XCLAIM s g b 0 1-1 TIME 1700000000000 RETRYCOUNT 7 FORCE JUSTID LASTID 1-1
        > XCLAIM s g b 3600000 1-1
        *0
        > XCLAIM s g b 0 9-9 LASTID 2-0
        *0
        effect XGROUP SETID s g 2-0 ENTRIESREAD -1
        > XDEL s 1-2
        :1
        effect XDEL s 1-2
        > XAUTOCLAIM s g c 0 - COUNT 1
        *3
        $1-2
        *1
        *2
        $1-1
        *2
        $f
        $1
        *0
        effect XCLAIM s g c 0 1-1 TIME 1700000000000 RETRYCOUNT 8 FORCE JUSTID LASTID 2-0
        > XAUTOCLAIM s g c 0 (1-1 JUSTID
        *3
        $0-0
        *0
        *1
        $1-2
        effect XCLAIM s g a 0 1-2 TIME 1000 RETRYCOUNT 2 FORCE JUSTID LASTID 2-0
        > XPENDING s g
        *4
        :1
        $1-1
        $1-1
        *1
        *2
        $c
        $1
        > XCLAIM s g b 0 1-1 FOO
        -ERR Unrecognized XCLAIM option 'FOO'
        > XCLAIM s g b x 1-1
        -ERR Invalid min-idle-time argument for XCLAIM
        > XCLAIM s none b 0 1-1
        -NOGROUP No such key 's' or consumer group 'none'
        > XAUTOCLAIM s g b 0 - COUNT 0
        -ERR COUNT must be > 0
    ",
    );
}

#[test]
fn pending_entries_are_shown_by_idle_time_and_owner() {
    check(
        "
        > XADD s 1-1 f 1
        $1-1
        > XADD s 2-1 f 1
        $2-1
        > XGROUP CREATE s g 0
        +OK
        > XPENDING s g
        *4
        :0
        $-1
        $-1
        *-1
        > XREADGROUP GROUP g a COUNT 1 STREAMS s >
        *1
        *2
        $s
        *1
        *2
        $1-1
        *2
        $f
        $1
        after 40ms > XREADGROUP GROUP g b COUNT 1 STREAMS s >
        *1
        *2
        $s
        *1
        *2
        $2-1
        *2
        $f
        $1
        after 2ms > XPENDING s g - + 10
        *2
        *4
        $1-1
        $a
        :42
        :1
        *4
        $2-1
        $b
        :2
        :1
        > XPENDING s g IDLE 40 - + 10
        *1
        *4
        $1-1
        $a
        :42
        :1
        > XPENDING s g (1-1 + 10 b
        *1
        *4
        $2-1
        $b
        :2
        :1
        > XPENDING s g - + 10 nobody
        *0
        > XPENDING s g - +
        -ERR syntax error
        > XPENDING none g
        -NOGROUP No such key 'none' or consumer group 'g'
        > XINFO CONSUMERS s g
        *2
        *8
        $name
        $a
        $pending
        :1
        $idle
        :42
        $inactive
        :42
        *8
        $name
        $b
        $pending
        :1
        $idle
        :2
        $inactive
        :2
        > XGROUP DELCONSUMER s g a
        :1
        > XPENDING s g
        *4
        :1
        $2-1
        $2-1
        *1
        *2
        $b
        $1
    ",
    );
}

#[test]
fn xread_is_a_map_in_resp3_and_pairs_in_resp2() {
    let script = "
        > XADD s 1-1 f 1
        $1-1
        > XADD t 1-1 f 1
        $1-1
        > XREAD STREAMS s t none 0 $ 0
        HEAD
        $s
        *1
        *2
        $1-1
        *2
        $f
        $1
        > XREAD STREAMS s +
        HEAD
        $s
        *1
        *2
        $1-1
        *2
        $f
        $1
        > XREAD STREAMS s t $ $
        NULL
    ";
    check(&script.replace("HEAD", "*1\n*2").replace("NULL", "*-1"));
    check3(&script.replace("HEAD", "%1").replace("NULL", "_"));
    check(
        "
        > XREAD STREAMS s
        -ERR wrong number of arguments for 'xread' command
        > XREAD COUNT 1 STREAMS s
        -ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified.
        > XREADGROUP GROUP g c STREAMS s t >
        -ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>' must be specified.
        > XREAD GROUP g c STREAMS s 0
        -ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.
        > XREAD BLOCK -1 STREAMS s 0
        -ERR timeout is negative
        > XREAD STREAMS s >
        -ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.
        > XREADGROUP COUNT 1 NOACK STREAMS s t > >
        -ERR Missing GROUP option for XREADGROUP
        > XREADGROUP GROUP g c STREAMS s >
        -NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option
        > XREAD COUNT 1 s 0
        -ERR syntax error
        > SET s x
        +OK
        > XREAD STREAMS s 0
        -WRONGTYPE Operation against a key holding the wrong kind of value
    ",
    );
}

#[test]
fn group_errors_come_in_redis_order() {
    check("
        > XGROUP CREATE s g 0
        -ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically.
        > XGROUP CREATE s g 0 FOO
        -ERR unknown subcommand or wrong number of arguments for 'CREATE'. Try XGROUP HELP.
        > XGROUP FOO s g
        -ERR unknown subcommand 'FOO'. Try XGROUP HELP.
        > XGROUP DESTROY s
        -ERR wrong number of arguments for 'xgroup|destroy' command
        > XGROUP CREATE s g $ MKSTREAM ENTRIESREAD -2
        -ERR value for ENTRIESREAD must be positive or -1
        > XGROUP CREATE s g x MKSTREAM
        -ERR Invalid stream ID specified as stream command argument
        > EXISTS s
        :0
        > XGROUP CREATE s g $ MKSTREAM ENTRIESREAD 3
        +OK
        > XGROUP CREATE s g $
        -BUSYGROUP Consumer Group name already exists
        > XGROUP SETID s none $
        -NOGROUP No such consumer group 'none' for key name 's'
        > XGROUP DESTROY s none
        :0
        > XINFO GROUPS s
        *1
        *12
        $name
        $g
        $consumers
        :0
        $pending
        :0
        $last-delivered-id
        $0-0
        $entries-read
        :3
        $lag
        :0
        > XINFO STREAM none
        -ERR no such key
        > XINFO STREAM s FOO
        -ERR unknown subcommand or wrong number of arguments for 'STREAM'. Try XINFO HELP.
        > XINFO CONSUMERS s none
        -NOGROUP No such consumer group 'none' for key name 's'
        > XSETID s 5 ENTRIESADDED -1
        -ERR entries_added must be positive
        > XSETID s 5 MAXDELETEDID 6
        -ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id
        > XSETID none 5
        -ERR no such key
    ");
}

#[test]
fn an_empty_stream_stays() {
    check(
        "
        > XADD s 1-1 f v
        $1-1
        > XDEL s 1-1
        :1
        > EXISTS s
        :1
        > TYPE s
        +stream
        > OBJECT ENCODING s
        $stream
        > XADD s 1-1 f v
        -ERR The ID specified in XADD is equal or smaller than the target stream top item
    ",
    );
}

/// Runs commands of every kind, and replays their records on another engine.
#[test]
fn a_replay_gives_the_same_streams() {
    let mut bench = Bench::new();
    bench.engine.settings.shaping.stream_node_max_entries = 4;
    let mut seed = 5u64;
    let mut draw = |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    for at in 0..3000 {
        bench.engine.now_ms = START_MS + at / 3;
        let (key, group, consumer) = (draw(2), draw(3), draw(4));
        let id = format!("{}-{}", START_MS + draw(1000), draw(3));
        let line = match draw(14) {
            0..4 => format!("XADD s{key} * f{} v", draw(2)),
            4 => format!("XADD s{key} MAXLEN ~ {} * f v", draw(30)),
            5 => format!("XGROUP CREATE s{key} g{group} $ MKSTREAM"),
            6 | 7 => format!("XREADGROUP GROUP g{group} c{consumer} COUNT {} STREAMS s{key} >", draw(4)),
            8 => format!("XREADGROUP GROUP g{group} c{consumer} STREAMS s{key} {id}"),
            9 => format!("XAUTOCLAIM s{key} g{group} c{consumer} {} - COUNT 3", draw(100)),
            10 => format!("XCLAIM s{key} g{group} c{consumer} 0 {id} FORCE IDLE {}", draw(100)),
            11 => format!("XACK s{key} g{group} {id}"),
            12 => format!("XDEL s{key} {id}"),
            _ => match draw(6) {
                0 => format!("XGROUP DESTROY s{key} g{group}"),
                1 => format!("XGROUP DELCONSUMER s{key} g{group} c{consumer}"),
                2 => format!("XTRIM s{key} MINID {id}"),
                3 => format!("XGROUP SETID s{key} g{group} {id} ENTRIESREAD 5"),
                4 => format!("XREADGROUP GROUP g{group} c{consumer} NOACK COUNT 2 STREAMS s{key} >"),
                _ => format!("XSETID s{key} {}-9 ENTRIESADDED 4000", START_MS + 2000),
            },
        };
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        bench.run(&words);
    }
    let group = bench.engine.effects.take(Vec::new()).unwrap();
    let mut copy = Bench::new();
    copy.engine.replaying = true;
    replay::apply_payload(&mut copy.engine, group.payload(), group.first, group.base_ms, group.first..=group.last())
        .unwrap();
    for key in ["s0", "s1"] {
        let stream = |bench: &mut Bench| {
            let key = bench.engine.keyspace.seed().key(key.as_bytes());
            bench.engine.keyspace.db(0).get(key).map(|entry| entry.value.kind())
        };
        assert_eq!(stream(&mut bench), Some(crate::value::Kind::Stream));
    }
    assert_eq!(copy.engine.keyspace.db(0).digest(), bench.engine.keyspace.db(0).digest());
}

/// A client that waits, and what it was answered.
struct Parked(Arc<Mutex<String>>);

impl Waiting for Parked {
    fn run(&mut self, run: &mut dyn FnMut(&mut dyn Reply)) {
        let mut reply = TextReply::default();
        run(&mut reply);
        self.0.lock().unwrap().push_str(&reply.text);
    }
    fn served(self: Box<Self>, _: Lsn) {}
}

/// Runs a command that must block, and parks its client.
fn block(bench: &mut Bench, line: &str) -> Arc<Mutex<String>> {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let command = table::find(words[0]).unwrap();
    let mut session = Session { blocking: Blocking::Allowed, ..Session::default() };
    let mut reply = TextReply::default();
    bench.engine.execute(&mut session, command, &Args::new(&words), &mut reply);
    assert_eq!(reply.text, "", "{line} did not block");
    let answer = Arc::new(Mutex::new(String::new()));
    bench.engine.park(&mut session, command, &words, Box::new(Parked(Arc::clone(&answer)))).unwrap();
    answer
}

fn run(bench: &mut Bench, line: &str) -> String {
    bench.run(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>())
}

fn told(answer: &Arc<Mutex<String>>) -> String {
    answer.lock().unwrap().replace('\n', " ")
}

#[test]
fn every_reader_that_waits_gets_the_entry_but_only_one_consumer_does() {
    let mut bench = Bench::new();
    run(&mut bench, "XADD s 1-1 f old");
    run(&mut bench, "XGROUP CREATE s g $");
    let readers =
        [block(&mut bench, "XREAD BLOCK 0 STREAMS t s 0 $"), block(&mut bench, "XREAD BLOCK 9 STREAMS s 1-1")];
    let consumers = ["a", "b"].map(|name| block(&mut bench, &format!("XREADGROUP GROUP g {name} BLOCK 0 STREAMS s >")));
    bench.effects();
    run(&mut bench, "XADD s 1-2 f new");
    let entry = "*1 *2 $s *1 *2 $1-2 *2 $f $new ";
    assert_eq!(readers.each_ref().map(told), [entry, entry]);
    assert_eq!(consumers.each_ref().map(told), [entry, ""]);
    assert_eq!(
        bench.effects(),
        [
            "XADD s 1-2 f new",
            "XCLAIM s g a 0 1-2 TIME 1700000000000 RETRYCOUNT 1 FORCE JUSTID LASTID 1-2",
            "XGROUP SETID s g 1-2 ENTRIESREAD 2",
        ]
    );
    run(&mut bench, "XADD s 1-3 f more");
    assert_eq!(told(&consumers[1]), "*1 *2 $s *1 *2 $1-3 *2 $f $more ");
    assert!(bench.engine.waiting.is_empty());
}

#[test]
fn a_consumer_that_waits_is_told_when_group_or_key_are_gone() {
    for gone in ["XGROUP DESTROY s g", "DEL s", "SET s x", "FLUSHALL", "RENAME s t"] {
        let mut bench = Bench::new();
        run(&mut bench, "XGROUP CREATE s g $ MKSTREAM");
        let waits = block(&mut bench, "XREADGROUP GROUP g c BLOCK 0 STREAMS s >");
        let reads = block(&mut bench, "XREAD BLOCK 0 STREAMS s $");
        run(&mut bench, "XTRIM s MAXLEN 0");
        run(&mut bench, "XGROUP CREATE s other $");
        assert_eq!(told(&waits), "", "nothing new");
        run(&mut bench, gone);
        let error = match gone {
            "SET s x" => "-WRONGTYPE Operation against a key holding the wrong kind of value ",
            _ => "-NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option ",
        };
        assert_eq!(told(&waits), error, "{gone}");
        assert_eq!(told(&reads), "", "{gone}");
    }
}

#[test]
fn where_nobody_may_block_the_answer_is_that_of_a_timeout() {
    check(
        "
        > XREAD BLOCK 0 STREAMS s $
        *-1
        > XADD s 1-1 f v
        $1-1
        > XREAD BLOCK 0 STREAMS s $
        *-1
    ",
    );
}

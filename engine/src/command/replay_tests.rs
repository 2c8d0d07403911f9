//! The recorded effects of any run of commands, replayed on an empty engine without a clock, give exactly the same state.

use super::testing::{Bench, START_MS};
use super::{Args, NoReply, Session, table};
use crate::engine::Engine;
use crate::keyspace::Value;
use crate::log::Group;
use crate::log::pending::Record;
use proptest::prelude::*;

/// Everything that a database is made of; dead entries included.
fn state(engine: &Engine) -> Vec<(usize, Vec<u8>, String)> {
    let mut all = Vec::new();
    for db in 0..engine.keyspace.databases() {
        engine.keyspace.db(db).scan(0, usize::MAX, &mut |entry| {
            let value = match entry.value {
                Value::String(bytes) => format!("{bytes:?}"),
                Value::Collection(view) => format!("{:?} {} {:x}", view.kind(), view.len(), view.digest()),
            };
            let what = format!("{value} {:?} {}", entry.deadline, entry.edited);
            all.push((db, entry.key.to_vec(), what));
        });
    }
    all
}

/// Applies a group as recovery does.
pub(crate) fn replay(engine: &mut Engine, group: &Group) {
    engine.replaying = true;
    let (mut payload, mut words) = (group.payload(), Vec::new());
    for lsn in group.first..=group.last() {
        let mut commands = Record::take(&mut payload, lsn, group.base_ms).unwrap().commands();
        while let Some(db) = commands.next(&mut words).unwrap() {
            let command = table::find(words[0]).expect("effects are commands of the table");
            assert!(command.spec.arity.fits(words.len()), "{words:?}");
            assert_eq!(words[0], command.spec.name.as_bytes(), "effects carry canonical names");
            let (mut session, mut reply) = (Session { db, ..Session::default() }, NoReply::default());
            engine.execute(&mut session, command, &Args::new(&words), &mut reply);
            assert_eq!(reply.error, None, "{words:?}");
        }
    }
    assert_eq!(engine.effects.waiting(), 0, "a replay records nothing");
}

/// One step: a command, or time that passes.
#[derive(Clone, Debug)]
enum Step {
    Run(String),
    Wait(u64),
    /// A slice of active expiry.
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || prop::sample::select(vec!["a", "b", "c", "d", "A"]);
    let value =
        || prop::sample::select(vec!["1", "-7", "x", "9223372036854775807", "2.5", "long long long", "0", "inf"]);
    let ttl = || {
        let named = "(EX [0-3]|PX [0-9]{1,4}|PXAT 170000000[0-9]{4}|EXAT 170000000[0-2]|KEEPTTL)?";
        (named, "( NX| XX| GET| IFEQ x)?").prop_map(|(ttl, option)| format!("{ttl}{option}"))
    };
    let templates = prop::sample::select(vec![
        "GETSET K V",
        "SETNX K V",
        "MSET K V L W",
        "MSETNX K V L W",
        "MSETEX 2 K V L W PX 9",
        "MSETEX 2 K V L W XX KEEPTTL",
        "MSETEX 3 K V L W K W NX EXAT 1",
        "INCR K",
        "DECR K",
        "INCRBY K V",
        "DECRBY K V",
        "INCRBYFLOAT K V",
        "APPEND K V",
        "SETRANGE K 3 V",
        "GETDEL K",
        "GETEX K PX 5",
        "GETEX K PERSIST",
        "GETEX K EXAT 1",
        "DELIFEQ K V",
        "DEL K L",
        "UNLINK K",
        "EXPIRE K 1",
        "EXPIRE K -1",
        "PEXPIRE K 7 GT",
        "PEXPIRE K 700 LT",
        "PEXPIREAT K 1700000001000 NX",
        "PERSIST K",
        "RENAME K L",
        "RENAMENX K L",
        "COPY K L REPLACE",
        "COPY K L DB 1",
        "MOVE K 1",
        "SWAPDB 0 1",
        "SELECT 1",
        "SELECT 0",
        "SETEX K 1 V",
        "PSETEX K 9 V",
        "GET K",
        "EXISTS K L",
        "SCAN 0",
        "RANDOMKEY",
    ]);
    let hashes = prop::sample::select(vec![
        "HSET h K V L W",
        "HSET K f V",
        "HMSET h K V",
        "HSETNX h K V",
        "HDEL h K L",
        "HGETDEL h FIELDS 2 K L",
        "HINCRBY h K V",
        "HINCRBY h K 3",
        "HINCRBYFLOAT h K V",
        "HPEXPIRE h 9 FIELDS 2 K L",
        "HPEXPIRE h 300 GT FIELDS 2 K L",
        "HEXPIRE h 1 NX FIELDS 2 K L",
        "HPEXPIRE h 0 LT FIELDS 1 K",
        "HPEXPIREAT h 1700000001000 XX FIELDS 2 K K",
        "HPERSIST h FIELDS 2 K L",
        "HGETEX h PX 7 FIELDS 2 K L",
        "HGETEX h PERSIST FIELDS 2 K L",
        "HGETEX h PXAT 1 FIELDS 1 K",
        "HSETEX h FIELDS 1 K V",
        "HSETEX h FNX PX 20 FIELDS 2 K V L W",
        "HSETEX h FXX KEEPTTL FIELDS 2 K V L W",
        "HSETEX h KEEPTTL FIELDS 1 K V",
        "HSETEX h PX 400 FIELDS 2 K V L W",
        "HSETEX h PXAT 1 FIELDS 2 K V L W",
        "HGETALL h",
        "HLEN h",
        "HSCAN h 0",
        "RENAME h A",
        "COPY A h REPLACE",
        "EXPIRE h 1",
    ]);
    let templates = prop_oneof![1 => templates, 1 => hashes];
    let rare = prop::sample::select(vec!["FLUSHDB", "FLUSHALL", "KEYS *", "DBSIZE"]);
    prop_oneof![
        8 => (key(), value(), ttl()).prop_map(|(k, v, t)| Step::Run(format!("SET {k} \u{1}{v} {t}"))),
        20 => (templates, key(), key(), value(), value()).prop_map(|(text, k, l, v, w)| {
            let word = |word| match word {
                "K" => k.to_owned(),
                "L" => l.to_owned(),
                "V" => format!("\u{1}{v}"),
                "W" => format!("\u{1}{w}"),
                other => other.to_owned(),
            };
            Step::Run(text.split(' ').map(word).collect::<Vec<_>>().join(" "))
        }),
        1 => rare.prop_map(|text| Step::Run(text.to_owned())),
        3 => (0..400u64).prop_map(Step::Wait),
        1 => Just(Step::Expire),
    ]
}

/// Splits a line; a word marked \u{1} keeps its spaces as underscores.
fn words(line: &str) -> Vec<Vec<u8>> {
    let line = line.replace("long long long", "long_long_long_long_long_long_long_long_long_long_long");
    line.split(' ').filter(|word| !word.is_empty()).map(|word| word.trim_start_matches('\u{1}').into()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn replayed_effects_give_the_same_state(steps in prop::collection::vec(step(), 1..80)) {
        let mut bench = Bench::new();
        let mut copy = Bench::new();
        copy.engine.now_ms = 0; // A replay knows no clock.
        for step in &steps {
            let before = state(&bench.engine);
            match step {
                Step::Wait(ms) => bench.engine.now_ms += ms,
                Step::Expire => {
                    bench.engine.expire_slice(3);
                }
                Step::Run(line) => {
                    let words = words(line);
                    bench.run(&words.iter().map(Vec::as_slice).collect::<Vec<_>>());
                }
            }
            match bench.engine.effects.take(Vec::new()) {
                Some(group) => replay(&mut copy.engine, &group),
                None => prop_assert_eq!(&before, &state(&bench.engine), "a change without an effect: {:?}", step),
            }
            prop_assert_eq!(state(&bench.engine), state(&copy.engine), "after {:?}", step);
        }
    }
}

#[test]
fn a_replay_keeps_the_deadline_of_a_hash_whose_fields_are_all_dead() {
    let mut bench = Bench::new();
    let mut copy = Bench::new();
    copy.engine.now_ms = 0;
    for line in ["HSETEX h PX 20 FIELDS 1 b 2", "EXPIRE h 1", "wait", "HSETEX h KEEPTTL FIELDS 2 b 3 c 4"] {
        if line == "wait" {
            bench.engine.now_ms += 20;
        } else {
            bench.run(&words(line).iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
        if let Some(group) = bench.engine.effects.take(Vec::new()) {
            replay(&mut copy.engine, &group);
        }
        assert_eq!(state(&bench.engine), state(&copy.engine), "after {line}");
    }
}

#[test]
fn a_replay_sets_deadlines_that_have_passed() {
    let mut bench = Bench::new();
    for line in ["SET a v PX 5", "SET b v", "PEXPIRE b 5", "SET c v", "GETEX c PX 5"] {
        bench.run(&words(line).iter().map(Vec::as_slice).collect::<Vec<_>>());
    }
    let group = bench.engine.effects.take(Vec::new()).unwrap();
    let mut copy = Bench::new();
    copy.engine.now_ms = START_MS + 1_000_000;
    replay(&mut copy.engine, &group);
    assert_eq!(state(&bench.engine), state(&copy.engine));
    assert_eq!(copy.engine.keyspace.db(0).len(), 3);
}

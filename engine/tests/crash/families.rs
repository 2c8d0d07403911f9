//! Commands on collections, bitmaps, HyperLogLogs: small ones of every family, written as text with places that a chooser fills.
//!
//! Few keys and few elements, so that collections grow beyond the tests' tiny thresholds, shrink, vanish, and change their type.
//! Many commands find nothing, or a key of another type: those must leave no record.

use crate::world::START_MS;
use firn_engine::disk::chooser::Chooser;

/// `L`, `S`, `Z`, `H`, `X`, `B`, `P`: a key that mostly holds a list, set, sorted set, hash, stream, bitmap, HyperLogLog. `K`: any key.
/// `e`: an element, `v`: one that is longer at times, `n`: a small number, `t`: an absolute time in ms, `i`: the ID of a stream entry.
const COMMANDS: &[&str] = &[
    "LPUSH L v e",
    "RPUSH L e n v",
    "RPUSHX L n",
    "LPOP L",
    "RPOP L 2",
    "LSET L n v",
    "LINSERT L BEFORE e v",
    "LREM L 1 e",
    "LTRIM L 0 n",
    "LMOVE L L LEFT RIGHT",
    "SADD S e e v",
    "SADD S n n n",
    "SREM S e n",
    "SPOP S",
    "SPOP S 2",
    "SMOVE S S e",
    "SUNIONSTORE S S S",
    "SDIFFSTORE S S S",
    "ZADD Z n e n v",
    "ZADD Z GT n e -inf e",
    "ZREM Z e e",
    "ZINCRBY Z 0.25 e",
    "ZPOPMIN Z",
    "ZREMRANGEBYRANK Z n n",
    "ZUNIONSTORE Z 2 Z S WEIGHTS 2 1",
    "ZRANGESTORE Z Z 0 n",
    "GEOADD Z 13.361389 38.115556 e",
    "HSET H e v e n",
    "HSET H e n",
    "HDEL H e e",
    "HINCRBY H n n",
    "HINCRBYFLOAT H e 0.5",
    "HPEXPIREAT H t FIELDS 2 e e",
    "HPEXPIREAT H t FIELDS 1 e",
    "HPERSIST H FIELDS 1 e",
    "HSETEX H PXAT t FIELDS 1 e v",
    "HGETDEL H FIELDS 1 e",
    "HGETALL H",
    "XADD X i e v",
    "XADD X i e n e n",
    "XADD X * e v",
    "XADD X MAXLEN = 4 * e v",
    "XDEL X i",
    "XTRIM X MAXLEN = n",
    "XGROUP CREATE X g1 0 MKSTREAM",
    "XGROUP CREATE X g2 $",
    "XGROUP CREATECONSUMER X g1 idle",
    "XGROUP DELCONSUMER X g1 c2",
    "XGROUP SETID X g1 0",
    "XGROUP DESTROY X g2",
    "XREADGROUP GROUP g1 c1 COUNT 2 STREAMS X >",
    "XREADGROUP GROUP g1 c2 COUNT 1 STREAMS X >",
    "XREADGROUP GROUP g2 c2 COUNT 3 STREAMS X >",
    "XREADGROUP GROUP g1 c1 STREAMS X 0",
    "XACK X g1 i i",
    "XCLAIM X g1 c3 0 i",
    "XAUTOCLAIM X g1 c1 0 0 COUNT 2",
    "XSETID X 90-n",
    "SETBIT B n 1",
    "SETBIT B 300 0",
    "BITFIELD B SET u5 n 9 INCRBY i4 2 3",
    "BITOP XOR B B K",
    "PFADD P e e v",
    "PFADD P v v v v",
    "PFCOUNT P",
    "PFMERGE P P",
    "SORT S ALPHA STORE L",
    "COPY K K REPLACE",
    "RENAME K K",
    "DEL K",
    "PEXPIREAT K t",
    "PERSIST K",
];

/// One command, its words.
pub(crate) fn words(chooser: &mut Chooser) -> Vec<Vec<u8>> {
    let text = COMMANDS[chooser.choose(COMMANDS.len() as u32) as usize];
    text.split(' ').map(|word| place(word, chooser)).collect()
}

/// Commands that fill collections so far that they take several chunks of their trees: for the beginning of a wide plan.
pub(crate) fn wide() -> [Vec<Vec<u8>>; 5] {
    let numbers = || (0..400).map(|number| format!("{number}").into_bytes());
    let element = |number: Vec<u8>| [b"element-", &number[..]].concat();
    let begun = |name: &str, key: &str| vec![name.as_bytes().to_vec(), key.as_bytes().to_vec()];
    let mut commands = [
        begun("RPUSH", "list-0"),
        begun("SADD", "set-0"),
        begun("ZADD", "zset-0"),
        begun("HSET", "hash-0"),
        begun("XADD", "stream-0"),
    ];
    let [list, set, sorted, hash, stream] = &mut commands;
    list.extend(numbers().map(element));
    set.extend(numbers().map(element));
    sorted.extend(numbers().flat_map(|number| [number.clone(), element(number)]));
    hash.extend(numbers().flat_map(|number| [element(number.clone()), number]));
    stream.push(b"1-1".to_vec());
    stream.extend(numbers().flat_map(|number| [number.clone(), element(number)]));
    commands
}

fn place(word: &str, chooser: &mut Chooser) -> Vec<u8> {
    let named = |name: &str, chooser: &mut Chooser| format!("{name}-{}", chooser.choose(2)).into_bytes();
    match word {
        "L" => named("list", chooser),
        "S" => named("set", chooser),
        "Z" => named("zset", chooser),
        "H" => named("hash", chooser),
        "X" => named("stream", chooser),
        "B" => named("bits", chooser),
        "P" => named("hll", chooser),
        "K" => {
            let name = ["key", "list", "set", "zset", "hash", "stream", "bits", "hll"][chooser.choose(8) as usize];
            named(name, chooser)
        }
        "e" => format!("e{}", chooser.choose(7)).into_bytes(),
        "v" if chooser.once_in(8) => vec![b'l'; 40 + chooser.choose(60) as usize],
        "v" => format!("v{}", chooser.choose(1000)).into_bytes(),
        "n" => chooser.choose(9).to_string().into_bytes(),
        "90-n" => format!("90-{}", chooser.choose(9)).into_bytes(),
        "t" => (START_MS + 200 + u64::from(chooser.choose(20_000))).to_string().into_bytes(),
        "i" => format!("{}-{}", 1 + chooser.choose(6), chooser.choose(3)).into_bytes(),
        word => word.as_bytes().to_vec(),
    }
}

#[test]
fn every_command_is_known_and_no_two_are_the_same() {
    let mut seen = std::collections::HashSet::new();
    for text in COMMANDS {
        let words: Vec<&str> = text.split(' ').collect();
        let command = firn_engine::command::table::find(words[0].as_bytes()).unwrap_or_else(|| panic!("{text}"));
        assert!(command.spec.arity.fits(words.len()), "{text}");
        assert!(seen.insert(text), "{text}");
    }
}

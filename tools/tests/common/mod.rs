//! What the tests of the tool share: running it, and stores with a long and varied history whose states are known.
#![allow(dead_code, unreachable_pub)] // Each test uses a part of it.

use firn_engine::command::NoReply;
use firn_engine::snapshot::retention::Retention;
use firn_engine::store::{ManualClock, Options, Store, SyncPolicy, Tuning};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// What a run of `firn` gave.
pub struct Run {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Run {
    /// The output as one JSON value.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }

    /// The output as JSON values, one a line.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.out.lines().map(parse).collect()
    }

    /// The run, which must have ended with `code`.
    #[track_caller]
    pub fn ended(self, code: i32) -> Run {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        self
    }
}

/// Runs the tool.
pub fn firn(args: &[&str]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_firn")).args(args).output().expect("the tool runs");
    Run {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A path as text.
pub fn shown(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The files of a folder whose names end so, in order.
pub fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let all = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = all.filter(|path| shown(path).ends_with(ending)).collect();
    files.sort();
    files
}

/// When the tests' stores begin, Unix ms.
pub const BEGIN_MS: u64 = 1_700_000_000_000;

/// Small segments, a clock that stands still unless it is moved, all history kept.
pub fn options(clock: &Arc<ManualClock>) -> Options {
    Options {
        policy: SyncPolicy::Never,
        clock: Arc::clone(clock) as Arc<_>,
        segment_len: 64 * 1024,
        reserve_len: 0,
        entropy: [9; 40],
        threads: false,
        tuning: Tuning {
            retention: Retention { snapshots: 1000, keep_ms: None, keep_bytes: None },
            ..Tuning::default()
        },
        ..Options::default()
    }
}

/// Runs a command that must not fail.
#[track_caller]
pub fn run(store: &Store, db: usize, words: &[&[u8]]) {
    let mut reply = NoReply::default();
    let mut session = firn_engine::command::Session { db, ..Default::default() };
    store.run(&mut session, words, &mut reply);
    assert_eq!(reply.error, None, "{words:?}");
}

/// Digests of all databases that are not empty.
pub fn digests(store: &Store) -> BTreeMap<usize, u128> {
    let engine = store.lock();
    let dbs = 0..engine.keyspace.databases();
    dbs.filter(|db| !engine.keyspace.db(*db).is_empty()).map(|db| (db, engine.keyspace.db(db).digest())).collect()
}

/// Digests of the store that `firn` made in `folder`, opened as a server would.
pub fn digests_of(folder: &Path) -> BTreeMap<usize, u128> {
    let options = Options { threads: false, policy: SyncPolicy::Never, reserve_len: 0, ..Options::default() };
    // Nothing expires while it is looked at.
    let options = Options { clock: Arc::new(ManualClock::new(BEGIN_MS)), ..options };
    let store = open_again(folder, &options);
    let found = digests(&store);
    store.close().expect("a clean end");
    found
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Opens a store that this process has had open before: a process that another test is just starting may hold the lock's descriptor until it
/// runs its own program.
pub fn open_again(folder: &Path, options: &Options) -> Store {
    loop {
        match Store::open_folder(folder, options) {
            Err(firn_engine::recovery::OpenError::InUse(_)) => std::thread::sleep(std::time::Duration::from_millis(5)),
            opened => return opened.expect("the store opens"),
        }
    }
}

/// Numbers of a seed.
pub struct Numbers(pub u64);

impl Numbers {
    /// Below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// One random command: every type, keys that belong together, whole databases. The commands never fail.
pub fn random_command(numbers: &mut Numbers, keys: u64) -> (usize, Vec<Vec<u8>>) {
    let db = [0, 0, 0, 0, 1, 3][numbers.below(6) as usize];
    let number = numbers.below(keys);
    let other = numbers.below(keys);
    let key = |kind: &str, number: u64| format!("{kind}:{number}");
    let long = "x".repeat(numbers.below(300) as usize);
    let n = numbers.below(50).to_string();
    let text: Vec<String> = match numbers.below(1000) {
        0..150 => vec!["SET".into(), key("s", number), long],
        150..200 => vec!["SET".into(), key("s", number), long, "PX".into(), (1_000_000_000 + number).to_string()],
        200..250 => vec!["DEL".into(), key("s", number), key("s", other)],
        250..300 => vec!["MSET".into(), key("s", number), long.clone(), key("s", other), long],
        300..350 => vec!["INCR".into(), key("n", number)],
        350..380 => vec!["APPEND".into(), key("a", number), n],
        380..450 => vec!["RPUSH".into(), key("l", number), long, n],
        450..480 => vec!["LPOP".into(), key("l", number)],
        480..490 => vec!["LMOVE".into(), key("l", number), key("l", other % 5), "LEFT".into(), "RIGHT".into()],
        490..560 => vec!["SADD".into(), key("e", number), n, long],
        560..580 => vec!["SREM".into(), key("e", number), n],
        580..590 => vec!["SMOVE".into(), key("e", number), key("e", other % 5), n],
        590..660 => vec!["HSET".into(), key("h", number), n, long],
        660..680 => vec!["HDEL".into(), key("h", number), n],
        680..690 => vec!["HPEXPIRE".into(), key("h", number), "100000000".into(), "FIELDS".into(), "1".into(), n],
        690..760 => vec!["ZADD".into(), key("z", number), n.clone(), format!("m{n}")],
        760..780 => vec!["ZREM".into(), key("z", number), format!("m{n}")],
        780..790 => vec!["ZUNIONSTORE".into(), key("z", other % 5), "2".into(), key("z", number), key("z", other)],
        790..835 => vec!["XADD".into(), key("x", number), "*".into(), "f".into(), n],
        // Names that occur once: a group that is there already would be an error.
        835..840 => vec![
            "XGROUP".into(),
            "CREATE".into(),
            key("x", number),
            format!("g{:x}", numbers.0),
            "0".into(),
            "MKSTREAM".into(),
        ],
        840..850 => vec!["XTRIM".into(), key("x", number), "MAXLEN".into(), "5".into()],
        850..880 => vec!["PEXPIRE".into(), key("h", number), "5000000000".into()],
        880..900 => vec!["PERSIST".into(), key("s", number)],
        900..920 => vec!["COPY".into(), key("s", number), key("t", other % 7), "REPLACE".into()],
        920..930 => vec!["COPY".into(), key("l", number), key("l", number), "DB".into(), "2".into(), "REPLACE".into()],
        930..940 => vec!["MOVE".into(), key("n", number), "5".into()],
        940..950 => vec!["BITOP".into(), "OR".into(), key("b", 1), key("s", number), key("s", other)],
        950..960 => vec!["PFADD".into(), key("p", number), n],
        960..964 => vec!["SWAPDB".into(), "1".into(), "3".into()],
        964..966 => vec!["FLUSHDB".into()],
        966..967 => vec!["FLUSHALL".into()],
        _ => vec!["UNLINK".into(), key("h", number), key("z", other), key("x", number)],
    };
    (db, text.into_iter().map(String::into_bytes).collect())
}

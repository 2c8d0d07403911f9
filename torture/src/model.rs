//! What one client's keys hold after each of its commands.
//!
//! 1. A client alone writes its keys (`c3:s:0`), so its state after command `n` is exact. Two keys are written by all: a log
//!    (APPEND) and a counter (INCR); of those the model keeps the client's own part.
//! 2. A key has one type for ever, told by its place in [`kind_of`]. Keys with deadlines soon to pass are only ever SET, so that no
//!    command's outcome depends on the moment it ran.
//! 3. [`State::apply`] is total: a command that a real server would answer with an error changes nothing here either.

use crate::rng::{Rng, mix, unix_ms};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What a client does, by kind.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, clap::ValueEnum)]
pub enum Workload {
    /// SET of values that are written once only, MSET, RENAME, COPY, DEL, FLUSHDB.
    Registers,
    /// INCRBY, and one counter that all clients increment.
    Counters,
    /// APPEND and SETRANGE, and one log that all clients append to.
    Appends,
    /// RPUSH, LPUSH, LPOP, RPOP, LMOVE.
    Lists,
    /// SADD, SREM, SMOVE.
    Sets,
    /// ZADD, ZINCRBY, ZREM.
    Zsets,
    /// HSET, HINCRBY, HDEL.
    Hashes,
    /// XADD, XDEL, XTRIM.
    Streams,
    /// MULTI ... EXEC over several keys and types.
    Transactions,
    /// EVAL over several keys and types.
    Scripts,
    /// SET with deadlines near and far, PEXPIREAT, PERSIST.
    Expiry,
    /// Values of 50 to 400 KB.
    Large,
}

impl Workload {
    /// All of them.
    pub const ALL: [Workload; 12] = [
        Workload::Registers,
        Workload::Counters,
        Workload::Appends,
        Workload::Lists,
        Workload::Sets,
        Workload::Zsets,
        Workload::Hashes,
        Workload::Streams,
        Workload::Transactions,
        Workload::Scripts,
        Workload::Expiry,
        Workload::Large,
    ];
}

/// Which type a key has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A string that takes every command for strings.
    Text,
    /// A string that is only ever SET, mostly with a deadline.
    Expiring,
    List,
    Set,
    Zset,
    Hash,
    Stream,
}

/// How many keys of each kind a client has; their sum is [`KEYS`].
const KINDS: [(Kind, &str, usize); 7] = [
    (Kind::Text, "s", 16),
    (Kind::Expiring, "e", 8),
    (Kind::List, "l", 4),
    (Kind::Set, "m", 4),
    (Kind::Zset, "z", 4),
    (Kind::Hash, "h", 4),
    (Kind::Stream, "x", 4),
];
/// Strings that take every command: the first keys.
const TEXTS: usize = 16;
/// The keys that are only ever SET.
pub(crate) const EXPIRING: std::ops::Range<usize> = 16..24;
/// All keys of a client.
pub(crate) const KEYS: usize = 44;
/// The database of what all clients write.
pub(crate) const SHARED_DB: usize = 15;
/// Longest value made by APPEND before the key starts anew.
const APPENDED_LEN_MAX: usize = 2048;
/// Elements of a collection before it is deleted.
const ELEMENTS_MAX: usize = 48;
/// Far enough away to never pass during a run: a day, in ms.
const FAR_MS: u64 = 86_400_000;

/// Where a key lies: its kind, and its number among those.
pub(crate) fn kind_of(key: usize) -> (Kind, &'static str, usize) {
    let mut at = key;
    for (kind, letter, count) in KINDS {
        if at < count {
            return (kind, letter, at);
        }
        at -= count;
    }
    unreachable!("there are {KEYS} keys")
}

/// The first key of a kind, and how many there are.
fn keys_of(wanted: Kind) -> (usize, usize) {
    let mut first = 0;
    for (kind, _, count) in KINDS {
        if kind == wanted {
            return (first, count);
        }
        first += count;
    }
    unreachable!("every kind has keys")
}

/// A value of any type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Held {
    Text(Vec<u8>),
    List(VecDeque<Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
    /// Scores are integers.
    Zset(BTreeMap<Vec<u8>, i64>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    /// IDs and values in order.
    Stream(Vec<(Vec<u8>, Vec<u8>)>),
}

impl Held {
    fn len(&self) -> usize {
        match self {
            Held::Text(text) => text.len(),
            Held::List(list) => list.len(),
            Held::Set(set) => set.len(),
            Held::Zset(set) => set.len(),
            Held::Hash(hash) => hash.len(),
            Held::Stream(stream) => stream.len(),
        }
    }

    /// For messages: what it is, and its beginning or its newest elements.
    pub(crate) fn show(&self) -> String {
        let head = |bytes: &[u8]| bytes[..bytes.len().min(40)].escape_ascii().to_string();
        let end = |items: Vec<String>| items[items.len().saturating_sub(3)..].join(" ");
        match self {
            Held::Text(text) => format!("{} bytes \"{}\"", text.len(), head(text)),
            Held::List(list) => {
                format!("list of {} ... {}", list.len(), end(list.iter().map(|item| head(item)).collect()))
            }
            Held::Set(set) => format!("set of {} ... {}", set.len(), end(set.iter().map(|item| head(item)).collect())),
            Held::Zset(set) => {
                let items = set.iter().map(|(member, score)| format!("{}={score}", head(member))).collect();
                format!("sorted set of {} ... {}", set.len(), end(items))
            }
            Held::Hash(hash) => {
                let items = hash.iter().map(|(field, value)| format!("{}={}", head(field), head(value))).collect();
                format!("hash of {} ... {}", hash.len(), end(items))
            }
            Held::Stream(stream) => {
                let items = stream.iter().map(|(id, _)| head(id)).collect();
                format!("stream of {} ... {}", stream.len(), end(items))
            }
        }
    }
}

/// A key's value and deadline (Unix ms).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) value: Held,
    pub(crate) deadline: Option<u64>,
}

/// All that one client has written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct State {
    pub(crate) keys: Vec<Option<Entry>>,
    /// How many entries of the shared log are its own, and a digest of them in order.
    pub(crate) log: (u64, u64),
    /// How often it incremented the shared counter.
    pub(crate) count: u64,
}

/// The digest of a shared log's entries so far with one more.
pub(crate) fn log_digest(before: (u64, u64), number: u64) -> (u64, u64) {
    (before.0 + 1, mix(before.1 ^ number))
}

/// One command; its values follow from the client and the command's number. Where a variant has a `key`, that is what it changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    Set {
        key: usize,
        len: usize,
        deadline: Option<u64>,
    },
    Append {
        key: usize,
    },
    Increment {
        key: usize,
        by: i64,
    },
    /// SET to a number: the start of a counter.
    Number {
        key: usize,
    },
    Delete {
        key: usize,
    },
    /// MSET of two keys.
    SetTwo {
        keys: [usize; 2],
    },
    Rename {
        from: usize,
        to: usize,
    },
    SetRange {
        key: usize,
        offset: usize,
    },
    ExpireAt {
        key: usize,
        deadline: u64,
    },
    Persist {
        key: usize,
    },
    Copy {
        from: usize,
        to: usize,
    },
    /// FLUSHDB, where a client has a database of its own.
    Flush,
    SharedLog,
    SharedCount,
    Push {
        key: usize,
        left: bool,
    },
    Pop {
        key: usize,
        left: bool,
    },
    /// LMOVE from to LEFT RIGHT.
    MoveElement {
        from: usize,
        to: usize,
    },
    AddMember {
        key: usize,
    },
    RemoveMember {
        key: usize,
        member: Vec<u8>,
    },
    MoveMember {
        from: usize,
        to: usize,
        member: Vec<u8>,
    },
    Score {
        key: usize,
        member: u8,
    },
    AddScore {
        key: usize,
        member: u8,
        by: i64,
    },
    RemoveScored {
        key: usize,
        member: u8,
    },
    SetField {
        key: usize,
        field: u8,
    },
    AddField {
        key: usize,
        by: i64,
    },
    RemoveField {
        key: usize,
        field: u8,
    },
    AddEntry {
        key: usize,
    },
    RemoveEntry {
        key: usize,
        id: Vec<u8>,
    },
    TrimEntries {
        key: usize,
        len: usize,
    },
    /// MULTI ... EXEC of single commands on different keys.
    Transaction(Vec<Change>),
    /// The same in one EVAL.
    Script(Vec<Change>),
}

/// The value that command `number` of `client` writes: readable, unique, of a given length at least.
pub(crate) fn value(client: usize, number: u64, len: usize) -> Vec<u8> {
    let mut value = format!("{client}:{number}:").into_bytes();
    let mut bits = mix(number ^ (client as u64) << 56);
    while value.len() < len {
        // Half of it compresses, half does not.
        bits = mix(bits);
        value.extend_from_slice(if bits & 1 == 0 { b"firnfirn" } else { &b"0123456789abcdef"[..] });
        value.extend_from_slice(&bits.to_le_bytes());
    }
    value
}

/// The command number at the head of a [`value`], for what a reader has seen.
pub(crate) fn number_of(client: usize, value: &[u8]) -> Option<u64> {
    let text = value.strip_prefix(format!("{client}:").as_bytes())?;
    let end = text.iter().position(|&byte| byte == b':')?;
    std::str::from_utf8(&text[..end]).ok()?.parse().ok()
}

/// The name of a client's key.
pub(crate) fn name(client: usize, key: usize) -> Vec<u8> {
    let (_, letter, at) = kind_of(key);
    format!("c{client}:{letter}:{at}").into_bytes()
}

/// The shared log of a cycle.
pub(crate) fn shared_log(cycle: u64) -> Vec<u8> {
    format!("log:{cycle}").into_bytes()
}

/// The shared counter of a cycle.
pub(crate) fn shared_count(cycle: u64) -> Vec<u8> {
    format!("count:{cycle}").into_bytes()
}

fn field_name(field: u8) -> Vec<u8> {
    vec![b'f', field]
}

fn integer(bytes: &[u8]) -> Option<i64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

impl State {
    /// Nothing written.
    pub(crate) fn new() -> State {
        State { keys: vec![None; KEYS], log: (0, 0), count: 0 }
    }

    /// A change that is possible now, of one of these workloads. `own_db`: FLUSHDB harms nobody else.
    pub(crate) fn choose(&self, rng: &mut Rng, workloads: &[Workload], own_db: bool) -> Change {
        match rng.one_of(workloads) {
            Workload::Transactions => Change::Transaction(self.several(rng, workloads)),
            Workload::Scripts => Change::Script(self.several(rng, workloads)),
            Workload::Registers if own_db && rng.one_in(800) => Change::Flush,
            Workload::Counters if rng.one_in(4) => Change::SharedCount,
            Workload::Appends if rng.one_in(4) => Change::SharedLog,
            other => self.single(rng, *other),
        }
    }

    /// Two to four changes of different keys, which each are possible whatever the others do.
    fn several(&self, rng: &mut Rng, workloads: &[Workload]) -> Vec<Change> {
        let simple: Vec<Workload> = workloads
            .iter()
            .copied()
            .filter(|one| !matches!(one, Workload::Transactions | Workload::Scripts | Workload::Large))
            .collect();
        let simple = if simple.is_empty() { vec![Workload::Registers] } else { simple };
        let (mut changes, mut touched) = (Vec::new(), Vec::new());
        let wanted = 2 + rng.below(3) as usize;
        for _ in 0..3 * wanted {
            let kind = *rng.one_of(&simple);
            let change = self.single(rng, kind);
            let keys = State::touched(&change);
            if changes.len() < wanted && !keys.iter().any(|key| touched.contains(key)) {
                touched.extend(keys);
                changes.push(change);
            }
        }
        changes
    }

    fn single(&self, rng: &mut Rng, workload: Workload) -> Change {
        let key = rng.below(TEXTS as u64) as usize;
        let other = (key + 1 + rng.below(TEXTS as u64 - 1) as usize) % TEXTS;
        let held = self.keys[key].as_ref();
        let len = match rng.below(64) {
            0 => 20_000,
            1..=3 => 1_500,
            4..=15 => 120,
            _ => 0,
        };
        let set = Change::Set { key, len, deadline: None };
        match workload {
            Workload::Registers => match rng.below(16) {
                0 | 1 if held.is_some() => Change::Delete { key },
                2 | 3 => Change::SetTwo { keys: [key, other] },
                4 if held.is_some() => Change::Rename { from: key, to: other },
                5 if held.is_some() => Change::Copy { from: key, to: other },
                _ => set,
            },
            Workload::Large if rng.one_in(12) => {
                Change::Set { key, len: 50_000 + rng.below(350_000) as usize, deadline: None }
            }
            Workload::Large => set,
            Workload::Counters => match held {
                Some(Entry { value: Held::Text(text), .. }) if integer(text).is_some() => {
                    Change::Increment { key, by: 1 + rng.below(1000) as i64 }
                }
                _ => Change::Number { key },
            },
            Workload::Appends => match held {
                Some(entry) if entry.value.len() > APPENDED_LEN_MAX => set,
                Some(_) if rng.one_in(5) => Change::SetRange { key, offset: rng.below(600) as usize },
                _ => Change::Append { key },
            },
            Workload::Expiry => match rng.below(8) {
                0 => Change::Set { key, len, deadline: Some(unix_ms() + FAR_MS + rng.below(FAR_MS)) },
                1 if held.is_some() => Change::ExpireAt { key, deadline: unix_ms() + FAR_MS + rng.below(FAR_MS) },
                2 if held.is_some_and(|entry| entry.deadline.is_some()) => Change::Persist { key },
                _ => {
                    let key = EXPIRING.start + rng.below(EXPIRING.len() as u64) as usize;
                    let deadline = if rng.one_in(4) { None } else { Some(unix_ms() + 2 + rng.below(500)) };
                    Change::Set { key, len: 0, deadline }
                }
            },
            Workload::Lists => self.of_collection(rng, Kind::List),
            Workload::Sets => self.of_collection(rng, Kind::Set),
            Workload::Zsets => self.of_collection(rng, Kind::Zset),
            Workload::Hashes => self.of_collection(rng, Kind::Hash),
            Workload::Streams => self.of_collection(rng, Kind::Stream),
            Workload::Transactions | Workload::Scripts => set,
        }
    }

    fn of_collection(&self, rng: &mut Rng, kind: Kind) -> Change {
        let (first, count) = keys_of(kind);
        let at = rng.below(count as u64) as usize;
        let (key, to) = (first + at, first + (at + 1) % count);
        let (part, left, by) = (rng.below(12) as u8, rng.one_in(2), 1 + rng.below(100) as i64);
        let Some(entry) = &self.keys[key] else {
            return match kind {
                Kind::List => Change::Push { key, left },
                Kind::Set => Change::AddMember { key },
                Kind::Zset => Change::Score { key, member: part },
                Kind::Hash => Change::SetField { key, field: part },
                _ => Change::AddEntry { key },
            };
        };
        if entry.value.len() > ELEMENTS_MAX || rng.one_in(64) {
            return Change::Delete { key };
        }
        match &entry.value {
            Held::List(_) => match rng.below(8) {
                0 | 1 => Change::Pop { key, left },
                2 => Change::MoveElement { from: key, to },
                _ => Change::Push { key, left },
            },
            Held::Set(set) => {
                let member = set.iter().nth(rng.below(set.len() as u64) as usize).cloned().unwrap_or_default();
                match rng.below(8) {
                    0 | 1 => Change::RemoveMember { key, member },
                    2 => Change::MoveMember { from: key, to, member },
                    _ => Change::AddMember { key },
                }
            }
            Held::Zset(_) => match rng.below(8) {
                0 => Change::RemoveScored { key, member: part },
                1..=3 => Change::AddScore { key, member: part, by },
                _ => Change::Score { key, member: part },
            },
            Held::Hash(_) => match rng.below(8) {
                0 => Change::RemoveField { key, field: part },
                1..=3 => Change::AddField { key, by },
                _ => Change::SetField { key, field: part },
            },
            Held::Stream(stream) => match rng.below(12) {
                0 => Change::TrimEntries { key, len: rng.below(ELEMENTS_MAX as u64) as usize },
                1 if !stream.is_empty() => {
                    let at = rng.below(stream.len() as u64) as usize;
                    Change::RemoveEntry { key, id: stream[at].0.clone() }
                }
                _ => Change::AddEntry { key },
            },
            Held::Text(_) => Change::Delete { key },
        }
    }

    /// Applies a change; gives the integer it answers with, where the client alone determines that.
    pub(crate) fn apply(&mut self, change: &Change, client: usize, number: u64) -> Option<i64> {
        let fresh = |len| value(client, number, len);
        let text = |bytes: Vec<u8>, deadline| Some(Entry { value: Held::Text(bytes), deadline });
        match change {
            Change::Set { key, len, deadline } => self.keys[*key] = text(fresh(*len), *deadline),
            Change::Number { key } => self.keys[*key] = text(number.to_string().into_bytes(), None),
            Change::Append { key } => {
                let held = self.text(*key);
                held.extend_from_slice(&fresh(0));
                return Some(held.len() as i64);
            }
            Change::Increment { key, by } => {
                let before = match &self.keys[*key] {
                    None => 0,
                    Some(Entry { value: Held::Text(text), .. }) => integer(text)?,
                    Some(_) => return None,
                };
                *self.text(*key) = (before + by).to_string().into_bytes();
                return Some(before + by);
            }
            Change::Delete { key } => return Some(i64::from(self.keys[*key].take().is_some())),
            Change::SetTwo { keys } => {
                for key in keys {
                    self.keys[*key] = text(fresh(0), None);
                }
            }
            Change::Rename { from, to } => {
                if self.keys[*from].is_some() {
                    self.keys[*to] = self.keys[*from].take();
                }
            }
            Change::SetRange { key, offset } => {
                let (held, value) = (self.text(*key), fresh(0));
                held.resize(held.len().max(offset + value.len()), 0);
                held[*offset..offset + value.len()].copy_from_slice(&value);
                return Some(held.len() as i64);
            }
            Change::ExpireAt { key, deadline } => match self.keys[*key].as_mut() {
                Some(entry) => {
                    entry.deadline = Some(*deadline);
                    return Some(1);
                }
                None => return Some(0),
            },
            Change::Persist { key } => {
                let had = self.keys[*key].as_mut().and_then(|entry| entry.deadline.take());
                return Some(i64::from(had.is_some()));
            }
            Change::Copy { from, to } => {
                if self.keys[*from].is_none() {
                    return Some(0);
                }
                self.keys[*to] = self.keys[*from].clone();
                return Some(1);
            }
            Change::Flush => self.keys.fill(None),
            Change::SharedLog => self.log = log_digest(self.log, number),
            Change::SharedCount => self.count += 1,
            Change::Transaction(changes) | Change::Script(changes) => {
                for change in changes {
                    self.apply(change, client, number);
                }
            }
            _ => return Some(self.apply_to_collection(change, client, number)),
        }
        None
    }

    /// Those changes of collections that answer with an integer, all of them; what pops and moves gives 0 here.
    fn apply_to_collection(&mut self, change: &Change, client: usize, number: u64) -> i64 {
        let fresh = || value(client, number, 0);
        let answer = match change {
            Change::Push { key, left } => {
                let list = self.list(*key);
                if *left {
                    list.push_front(fresh());
                } else {
                    list.push_back(fresh());
                }
                list.len() as i64
            }
            Change::Pop { key, left } => {
                let list = self.list(*key);
                let _ = if *left { list.pop_front() } else { list.pop_back() };
                0
            }
            Change::MoveElement { from, to } => {
                if let Some(element) = self.list(*from).pop_front() {
                    self.list(*to).push_back(element);
                }
                0
            }
            Change::AddMember { key } => i64::from(self.set(*key).insert(fresh())),
            Change::RemoveMember { key, member } => i64::from(self.set(*key).remove(member)),
            Change::MoveMember { from, to, member } => {
                let moved = self.set(*from).remove(member);
                if moved {
                    self.set(*to).insert(member.clone());
                }
                i64::from(moved)
            }
            Change::Score { key, member } => {
                i64::from(self.zset(*key).insert(field_name(*member), number as i64).is_none())
            }
            Change::AddScore { key, member, by } => {
                let score = self.zset(*key).entry(field_name(*member)).or_insert(0);
                *score += by;
                *score
            }
            Change::RemoveScored { key, member } => {
                i64::from(self.zset(*key).remove(field_name(*member).as_slice()).is_some())
            }
            Change::SetField { key, field } => i64::from(self.hash(*key).insert(field_name(*field), fresh()).is_none()),
            Change::AddField { key, by } => {
                let field = self.hash(*key).entry(b"n".to_vec()).or_insert_with(|| b"0".to_vec());
                let sum = integer(field).unwrap_or(0) + by;
                *field = sum.to_string().into_bytes();
                sum
            }
            Change::RemoveField { key, field } => {
                i64::from(self.hash(*key).remove(field_name(*field).as_slice()).is_some())
            }
            Change::AddEntry { key } => {
                self.stream(*key).push((format!("{number}-1").into_bytes(), fresh()));
                0
            }
            // Alone among these commands they would make an empty stream of none here, which a server does not.
            Change::RemoveEntry { key, .. } | Change::TrimEntries { key, .. } if self.keys[*key].is_none() => 0,
            Change::RemoveEntry { key, id } => {
                let stream = self.stream(*key);
                let before = stream.len();
                stream.retain(|entry| entry.0 != *id);
                (before - stream.len()) as i64
            }
            Change::TrimEntries { key, len } => {
                let stream = self.stream(*key);
                let gone = stream.len().saturating_sub(*len);
                stream.drain(..gone);
                gone as i64
            }
            _ => 0,
        };
        for key in State::touched(change) {
            // An empty collection is no key, but a stream may be empty once it was made.
            let gone = |entry: &Entry| entry.value.len() == 0 && !matches!(entry.value, Held::Stream(_));
            if self.keys[key].as_ref().is_some_and(gone) {
                self.keys[key] = None;
            }
        }
        answer
    }

    fn entry(&mut self, key: usize, empty: Held) -> &mut Held {
        &mut self.keys[key].get_or_insert(Entry { value: empty, deadline: None }).value
    }

    fn text(&mut self, key: usize) -> &mut Vec<u8> {
        match self.entry(key, Held::Text(Vec::new())) {
            Held::Text(text) => text,
            _ => unreachable!("a key has one type"),
        }
    }

    fn list(&mut self, key: usize) -> &mut VecDeque<Vec<u8>> {
        match self.entry(key, Held::List(VecDeque::new())) {
            Held::List(list) => list,
            _ => unreachable!("a key has one type"),
        }
    }

    fn set(&mut self, key: usize) -> &mut BTreeSet<Vec<u8>> {
        match self.entry(key, Held::Set(BTreeSet::new())) {
            Held::Set(set) => set,
            _ => unreachable!("a key has one type"),
        }
    }

    fn zset(&mut self, key: usize) -> &mut BTreeMap<Vec<u8>, i64> {
        match self.entry(key, Held::Zset(BTreeMap::new())) {
            Held::Zset(set) => set,
            _ => unreachable!("a key has one type"),
        }
    }

    fn hash(&mut self, key: usize) -> &mut BTreeMap<Vec<u8>, Vec<u8>> {
        match self.entry(key, Held::Hash(BTreeMap::new())) {
            Held::Hash(hash) => hash,
            _ => unreachable!("a key has one type"),
        }
    }

    fn stream(&mut self, key: usize) -> &mut Vec<(Vec<u8>, Vec<u8>)> {
        match self.entry(key, Held::Stream(Vec::new())) {
            Held::Stream(stream) => stream,
            _ => unreachable!("a key has one type"),
        }
    }

    /// The keys that a change may change; none for the shared ones.
    pub(crate) fn touched(change: &Change) -> Vec<usize> {
        match change {
            Change::Set { key, .. }
            | Change::Append { key }
            | Change::Increment { key, .. }
            | Change::Number { key }
            | Change::Delete { key }
            | Change::SetRange { key, .. }
            | Change::ExpireAt { key, .. }
            | Change::Persist { key }
            | Change::Push { key, .. }
            | Change::Pop { key, .. }
            | Change::AddMember { key }
            | Change::RemoveMember { key, .. }
            | Change::Score { key, .. }
            | Change::AddScore { key, .. }
            | Change::RemoveScored { key, .. }
            | Change::SetField { key, .. }
            | Change::AddField { key, .. }
            | Change::RemoveField { key, .. }
            | Change::AddEntry { key }
            | Change::RemoveEntry { key, .. }
            | Change::TrimEntries { key, .. } => vec![*key],
            Change::SetTwo { keys } => keys.to_vec(),
            Change::Rename { from, to } | Change::MoveElement { from, to } | Change::MoveMember { from, to, .. } => {
                vec![*from, *to]
            }
            Change::Copy { from: _, to } => vec![*to],
            Change::Transaction(changes) | Change::Script(changes) => changes.iter().flat_map(State::touched).collect(),
            Change::Flush => (0..KEYS).collect(),
            Change::SharedLog | Change::SharedCount => Vec::new(),
        }
    }
}

#[path = "words.rs"]
mod words;
pub(crate) use words::{Observe, commands, is_shared};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chosen_change_touches_only_what_it_says() {
        let (mut rng, mut state) = (Rng(7), State::new());
        for number in 1..30_000 {
            let change = state.choose(&mut rng, &Workload::ALL, true);
            let before = state.clone();
            state.apply(&change, 3, number);
            let touched = State::touched(&change);
            for key in 0..KEYS {
                assert!(touched.contains(&key) || before.keys[key] == state.keys[key], "{change:?} changed key {key}");
            }
        }
        assert!((0..KEYS).all(|key| state.keys[key].is_some() || kind_of(key).0 != Kind::Stream), "no stream was made");
    }

    #[test]
    fn a_value_tells_its_number() {
        assert_eq!(number_of(4, &value(4, 99, 300)), Some(99));
        assert_eq!(number_of(5, &value(4, 99, 300)), None);
    }
}

//! A change as the commands that are sent, and a key as the commands that read it back.

use super::{Change, Entry, Held, Kind, SHARED_DB, field_name, kind_of, name, shared_count, shared_log, value};
use crate::client::Value;
use std::io;

type Words = Vec<Vec<u8>>;

/// Runs the commands that are its arguments, each behind its number of words. Where an earlier command of the batch was refused, RENAME
/// may find no key and INCRBY no number: that changes nothing, as in a transaction, and the others go on. Any other error ends it.
const SCRIPT: &[u8] = b"local i = 1 while i <= #ARGV do local n = tonumber(ARGV[i]) local c = {} \
for j = 1, n do c[j] = ARGV[i + j] end local r = redis.pcall(unpack(c)) \
if type(r) == 'table' and r.err and not (string.find(r.err, 'no such key', 1, true) or string.find(r.err, 'not an integer', 1, true)) \
then return r end i = i + n + 1 end return 1";

/// Whether the change goes to the shared database.
pub(crate) fn is_shared(change: &Change) -> bool {
    matches!(change, Change::SharedLog | Change::SharedCount)
}

/// The commands that make a change, and which of their replies tells that it is done.
pub(crate) fn commands(
    change: &Change,
    client: usize,
    number: u64,
    cycle: u64,
    databases: bool,
) -> (Vec<Words>, usize) {
    let one = |change: &Change| single(change, client, number, cycle);
    let select = |db: usize| vec![b"SELECT".to_vec(), db.to_string().into_bytes()];
    match change {
        Change::Transaction(changes) => {
            let mut all = vec![vec![b"MULTI".to_vec()]];
            all.extend(changes.iter().map(one));
            all.push(vec![b"EXEC".to_vec()]);
            let last = all.len() - 1;
            (all, last)
        }
        Change::Script(changes) => {
            let keys: Vec<Vec<u8>> = super::State::touched(change).into_iter().map(|key| name(client, key)).collect();
            let mut words = vec![b"EVAL".to_vec(), SCRIPT.to_vec(), keys.len().to_string().into_bytes()];
            words.extend(keys);
            for words_of in changes.iter().map(one) {
                words.push(words_of.len().to_string().into_bytes());
                words.extend(words_of);
            }
            (vec![words], 0)
        }
        _ if databases && is_shared(change) => (vec![select(SHARED_DB), one(change), select(client)], 1),
        _ => (vec![one(change)], 0),
    }
}

fn single(change: &Change, client: usize, number: u64, cycle: u64) -> Words {
    let named = |key: &usize| name(client, *key);
    let text = |value: u64| value.to_string().into_bytes();
    let fresh = |len| value(client, number, len);
    let words = |name: &[u8], rest: Vec<Vec<u8>>| {
        let mut words = vec![name.to_vec()];
        words.extend(rest);
        words
    };
    match change {
        Change::Set { key, len, deadline: None } => words(b"SET", vec![named(key), fresh(*len)]),
        Change::Set { key, len, deadline: Some(at) } => {
            words(b"SET", vec![named(key), fresh(*len), b"PXAT".to_vec(), text(*at)])
        }
        Change::Append { key } => words(b"APPEND", vec![named(key), fresh(0)]),
        Change::Increment { key, by } => words(b"INCRBY", vec![named(key), text(*by as u64)]),
        Change::Number { key } => words(b"SET", vec![named(key), text(number)]),
        Change::Delete { key } => words(b"DEL", vec![named(key)]),
        Change::SetTwo { keys: [one, two] } => words(b"MSET", vec![named(one), fresh(0), named(two), fresh(0)]),
        Change::Rename { from, to } => words(b"RENAME", vec![named(from), named(to)]),
        Change::SetRange { key, offset } => words(b"SETRANGE", vec![named(key), text(*offset as u64), fresh(0)]),
        Change::ExpireAt { key, deadline } => words(b"PEXPIREAT", vec![named(key), text(*deadline)]),
        Change::Persist { key } => words(b"PERSIST", vec![named(key)]),
        Change::Copy { from, to } => words(b"COPY", vec![named(from), named(to), b"REPLACE".to_vec()]),
        Change::Flush => words(b"FLUSHDB", vec![]),
        Change::SharedLog => words(b"APPEND", vec![shared_log(cycle), format!("{client}:{number};").into_bytes()]),
        Change::SharedCount => words(b"INCR", vec![shared_count(cycle)]),
        Change::Push { key, left } => words(if *left { b"LPUSH" } else { b"RPUSH" }, vec![named(key), fresh(0)]),
        Change::Pop { key, left } => words(if *left { b"LPOP" } else { b"RPOP" }, vec![named(key)]),
        Change::MoveElement { from, to } => {
            words(b"LMOVE", vec![named(from), named(to), b"LEFT".to_vec(), b"RIGHT".to_vec()])
        }
        Change::AddMember { key } => words(b"SADD", vec![named(key), fresh(0)]),
        Change::RemoveMember { key, member } => words(b"SREM", vec![named(key), member.clone()]),
        Change::MoveMember { from, to, member } => words(b"SMOVE", vec![named(from), named(to), member.clone()]),
        Change::Score { key, member } => words(b"ZADD", vec![named(key), text(number), field_name(*member)]),
        Change::AddScore { key, member, by } => {
            words(b"ZINCRBY", vec![named(key), text(*by as u64), field_name(*member)])
        }
        Change::RemoveScored { key, member } => words(b"ZREM", vec![named(key), field_name(*member)]),
        Change::SetField { key, field } => words(b"HSET", vec![named(key), field_name(*field), fresh(0)]),
        Change::AddField { key, by } => words(b"HINCRBY", vec![named(key), b"n".to_vec(), text(*by as u64)]),
        Change::RemoveField { key, field } => words(b"HDEL", vec![named(key), field_name(*field)]),
        Change::AddEntry { key } => {
            words(b"XADD", vec![named(key), format!("{number}-1").into_bytes(), b"v".to_vec(), fresh(0)])
        }
        Change::RemoveEntry { key, id } => words(b"XDEL", vec![named(key), id.clone()]),
        Change::TrimEntries { key, len } => words(b"XTRIM", vec![named(key), b"MAXLEN".to_vec(), text(*len as u64)]),
        Change::Transaction(_) | Change::Script(_) => unreachable!("commands() makes these"),
    }
}

/// Reads one key back.
#[derive(Debug)]
pub(crate) struct Observe {
    kind: Kind,
    key: Vec<u8>,
}

fn bad(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Observe {
    /// The reading of a client's key.
    pub(crate) fn of(client: usize, key: usize) -> Observe {
        Observe { kind: kind_of(key).0, key: name(client, key) }
    }

    /// The commands: the deadline, then the value.
    pub(crate) fn commands(&self) -> [Vec<&[u8]>; 2] {
        let key = self.key.as_slice();
        let value: Vec<&[u8]> = match self.kind {
            Kind::Text | Kind::Expiring => vec![b"GET", key],
            Kind::List => vec![b"LRANGE", key, b"0", b"-1"],
            Kind::Set => vec![b"SMEMBERS", key],
            Kind::Zset => vec![b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"],
            Kind::Hash => vec![b"HGETALL", key],
            Kind::Stream => vec![b"XRANGE", key, b"-", b"+"],
        };
        [vec![b"PEXPIRETIME", key], value]
    }

    /// What the two replies say.
    pub(crate) fn decode(&self, ttl: &Value, value: Value) -> io::Result<Option<Entry>> {
        let ttl =
            ttl.integer().ok_or_else(|| bad(format!("PEXPIRETIME {} answered {ttl}", self.key.escape_ascii())))?;
        let wrong = |value: &Value| bad(format!("reading {} answered {value}", self.key.escape_ascii()));
        let value = match (self.kind, value) {
            (Kind::Text | Kind::Expiring, Value::Null) => return Ok(None),
            (Kind::Text | Kind::Expiring, Value::Bulk(text)) => Held::Text(text),
            (_, Value::Array(items)) if items.is_empty() && (self.kind != Kind::Stream || ttl == -2) => {
                return Ok(None);
            }
            (kind, Value::Array(items)) => of_items(kind, &items).ok_or_else(|| wrong(&Value::Array(items)))?,
            (_, other) => return Err(wrong(&other)),
        };
        Ok(Some(Entry { value, deadline: u64::try_from(ttl).ok() }))
    }
}

fn of_items(kind: Kind, items: &[Value]) -> Option<Held> {
    let bytes = |value: &Value| value.bytes().map(<[u8]>::to_vec);
    let pairs = |items: &[Value]| -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
        let (pairs, []) = items.as_chunks::<2>() else { return None };
        pairs.iter().map(|[one, two]| Some((bytes(one)?, bytes(two)?))).collect()
    };
    Some(match kind {
        Kind::List => Held::List(items.iter().map(bytes).collect::<Option<_>>()?),
        Kind::Set => {
            let set: std::collections::BTreeSet<Vec<u8>> = items.iter().map(bytes).collect::<Option<_>>()?;
            if set.len() != items.len() {
                return None;
            }
            Held::Set(set)
        }
        Kind::Zset => {
            let scored = pairs(items)?.into_iter().map(|(member, score)| Some((member, super::integer(&score)?)));
            Held::Zset(scored.collect::<Option<_>>()?)
        }
        Kind::Hash => Held::Hash(pairs(items)?.into_iter().collect()),
        Kind::Stream => {
            let entry = |item: &Value| {
                let Value::Array(parts) = item else { return None };
                let [id, Value::Array(fields)] = parts.as_slice() else { return None };
                let [_, value] = fields.as_slice() else { return None };
                Some((bytes(id)?, bytes(value)?))
            };
            Held::Stream(items.iter().map(entry).collect::<Option<_>>()?)
        }
        Kind::Text | Kind::Expiring => return None,
    })
}

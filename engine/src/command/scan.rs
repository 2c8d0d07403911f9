//! Keys nobody named: KEYS, SCAN, RANDOMKEY. None of them ever shows a dead key.

use super::error::excerpt;
use super::keys::type_name;
use super::{Args, Arity, Call, Categories, Command, CommandError, Flags, Reply, Spec};
use crate::glob;
use crate::number::parse_cursor;

/// Dead keys that RANDOMKEY reclaims before it looks for a live one without reclaiming more.
const RANDOM_TRIES: usize = 100;
/// How many keys SCAN looks at unless COUNT says otherwise.
const SCAN_COUNT: usize = 10;

/// Type names that SCAN's TYPE accepts.
const TYPES: [&str; 6] = ["string", "list", "set", "zset", "hash", "stream"];

/// `KEYS`.
pub(super) static KEYS: Command = Command {
    spec: Spec {
        name: "KEYS",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY,
        categories: Categories(Categories::KEYSPACE.0 | Categories::DANGEROUS.0),
        since: "1.0.0",
        summary: "Returns all keys that match a pattern.",
        complexity: "O(N) where N is the number of keys in the database",
        syntax: "pattern",
        ..Spec::BASE
    },
    run: keys,
};

fn keys(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let pattern = Pattern::new(args.get(1));
    call.reads_everything();
    let engine = &*call.engine;
    let mut found = Names::default();
    engine.keyspace.db(call.session.db).for_each(&mut |entry| {
        if pattern.fits(entry.key) && !engine.is_dead(&entry) {
            found.push(entry.key);
        }
    });
    found.write(reply);
    Ok(())
}

/// Keys that were found, until their number is known: one buffer for all of them.
#[derive(Default)]
struct Names {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Names {
    fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
    }

    fn write(&self, reply: &mut dyn Reply) {
        reply.array(self.ends.len());
        let mut start = 0;
        for &end in &self.ends {
            reply.bulk(&self.bytes[start..end]);
            start = end;
        }
    }
}

/// A pattern whose commonest form needs no matching.
#[derive(Clone, Copy)]
struct Pattern<'a> {
    /// `None`: everything matches.
    pattern: Option<&'a [u8]>,
}

impl<'a> Pattern<'a> {
    fn new(pattern: &'a [u8]) -> Self {
        Pattern { pattern: (pattern != b"*").then_some(pattern) }
    }

    fn fits(&self, key: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, key))
    }
}

/// `SCAN`.
pub(super) static SCAN: Command = Command {
    spec: Spec {
        name: "SCAN",
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY,
        categories: Categories::KEYSPACE,
        since: "2.8.0",
        summary: "Walks the keys of the database a few at a time; a key present all along is returned exactly once.",
        complexity: "O(1) for every call, O(N) for a whole walk, where N is the number of keys",
        syntax: "cursor [MATCH pattern] [COUNT count] [TYPE type]",
        ..Spec::BASE
    },
    run: scan,
};

struct ScanOptions<'a> {
    pattern: Pattern<'a>,
    count: usize,
    kind: Option<&'a [u8]>,
}

fn scan_options<'a>(args: &Args<'a>) -> Result<ScanOptions<'a>, CommandError> {
    let mut options = ScanOptions { pattern: Pattern { pattern: None }, count: SCAN_COUNT, kind: None };
    let mut at = 2;
    while at < args.len() {
        let more = at + 1 < args.len();
        if args.is(at, "COUNT") && more {
            let count = args.integer(at + 1)?;
            options.count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(CommandError::Syntax)?;
        } else if args.is(at, "MATCH") && more {
            options.pattern = Pattern::new(args.get(at + 1));
        } else if args.is(at, "TYPE") && more {
            let kind = args.get(at + 1);
            if !TYPES.iter().any(|name| kind.eq_ignore_ascii_case(name.as_bytes())) {
                let kind = excerpt(kind);
                return Err(CommandError::text(format!("ERR unknown type name '{kind}'")));
            }
            options.kind = Some(kind);
        } else if args.is(at, "NOVALUES") {
            return Err(CommandError::text("ERR NOVALUES option can only be used in HSCAN"));
        } else {
            return Err(CommandError::Syntax);
        }
        at += 2;
    }
    Ok(options)
}

fn scan(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let cursor = parse_cursor(args.get(1)).ok_or(CommandError::Text("ERR invalid cursor".into()))?;
    let options = scan_options(args)?;
    call.reads_everything();
    let db = call.session.db;
    let engine = &*call.engine;
    let mut found = Names::default();
    let mut dead: Vec<Box<[u8]>> = Vec::new();
    let next = engine.keyspace.db(db).scan(cursor, options.count, &mut |entry| {
        if engine.is_dead(&entry) {
            dead.push(entry.key.into());
        } else if options.kind.is_none_or(|kind| kind.eq_ignore_ascii_case(type_name(&entry.value).as_bytes()))
            && options.pattern.fits(entry.key)
        {
            found.push(entry.key);
        }
    });
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    found.write(reply);
    if call.engine.holds_expiry() {
        return Ok(());
    }
    for key in dead {
        if call.engine.may_reclaim(&key) {
            let key = call.engine.keyspace.seed().key(&key);
            call.engine.expire_if_dead(db, key);
        }
    }
    Ok(())
}

/// `RANDOMKEY`.
pub(super) static RANDOMKEY: Command = Command {
    spec: Spec {
        name: "RANDOMKEY",
        arity: Arity::Exactly(1),
        flags: Flags::READONLY,
        categories: Categories::KEYSPACE,
        since: "1.0.0",
        summary: "Returns a random key of the database.",
        ..Spec::BASE
    },
    run: |call, _, reply| {
        call.reads_everything();
        match random_key(call) {
            Some(key) => reply.bulk(&key),
            None => reply.null(),
        }
        Ok(())
    },
};

/// A random live key; reclaims dead ones that it draws.
fn random_key(call: &mut Call<'_>) -> Option<Box<[u8]>> {
    let db = call.session.db;
    for _ in 0..RANDOM_TRIES {
        let random = call.engine.random();
        let entry = call.engine.keyspace.db(db).random(random)?;
        let key: Box<[u8]> = entry.key.into();
        if !call.engine.is_dead(&entry) {
            return Some(key);
        }
        if call.engine.may_reclaim(&key) {
            let dead = call.engine.keyspace.seed().key(&key);
            call.engine.reclaim(db, dead);
        }
    }
    // Nearly all keys are dead: the first live one behind a random position, else the first of all.
    let start = call.engine.random();
    first_live(call, start).or_else(|| first_live(call, 0))
}

fn first_live(call: &Call<'_>, mut cursor: u64) -> Option<Box<[u8]>> {
    let db = call.engine.keyspace.db(call.session.db);
    loop {
        let mut found = None;
        cursor = db.scan(cursor, 64, &mut |entry| {
            if found.is_none() && !call.engine.is_dead(&entry) {
                found = Some(entry.key.into());
            }
        });
        if found.is_some() || cursor == 0 {
            return found;
        }
    }
}

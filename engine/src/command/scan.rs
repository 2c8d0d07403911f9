//! Keys nobody named: KEYS, SCAN, RANDOMKEY. None of them ever shows a dead key.

use super::walk::{self, Found, Pattern, Walk, WalkOptions};
use super::{Args, Arity, Call, Categories, Command, CommandError, Flags, Reply, Spec};

/// Dead keys that RANDOMKEY reclaims before it looks for a live one without reclaiming more.
const RANDOM_TRIES: usize = 100;

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
    let mut found = Found::default();
    engine.keyspace.db(call.session.db).for_each(&mut |entry| {
        if pattern.fits(entry.key) && !engine.is_dead(&entry) {
            found.push(entry.key);
        }
    });
    found.write(reply);
    Ok(())
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

fn scan(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let cursor = walk::cursor(args, 1)?;
    let options = WalkOptions::parse(args, 2, Walk::Keys)?;
    call.reads_everything();
    let db = call.session.db;
    let engine = &*call.engine;
    let mut found = Found::default();
    let mut dead: Vec<Box<[u8]>> = Vec::new();
    let next = engine.keyspace.db(db).scan(cursor, options.count, &mut |entry| {
        if engine.is_dead(&entry) {
            dead.push(entry.key.into());
        } else if options.kind.is_none_or(|kind| kind == entry.value.kind()) && options.pattern.fits(entry.key) {
            found.push(entry.key);
        }
    });
    found.write_walk(next, reply);
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

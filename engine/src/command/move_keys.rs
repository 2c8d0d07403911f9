//! Keys under other names and in other databases: RENAME, RENAMENX, COPY, MOVE. The deadline goes with the key.

use super::keys::parse_db;
use super::{Args, Arity, Call, Categories, Command, CommandError, Flags, Keys, Reply, Spec};
use crate::engine::EventClass;
use crate::key::Key;
use crate::keyspace::Taken;

const TWO_KEYS: (u16, i16, u16) = (1, 2, 1);

const fn two_keys(access: &'static str) -> Keys {
    Keys::Range { first: TWO_KEYS.0, last: TWO_KEYS.1, step: TWO_KEYS.2, access }
}

/// `RENAME`.
pub(super) static RENAME: Command = Command {
    spec: Spec {
        name: "RENAME",
        arity: Arity::Exactly(3),
        flags: Flags::WRITE,
        keys: two_keys("RW ACCESS DELETE | OW UPDATE"),
        categories: Categories::KEYSPACE,
        since: "1.0.0",
        summary: "Gives a key another name, in place of any key of that name.",
        syntax: "key newkey",
        ..Spec::BASE
    },
    run: |call, args, reply| {
        rename(call, args, true)?;
        reply.ok();
        Ok(())
    },
};

/// `RENAMENX`.
pub(super) static RENAMENX: Command = Command {
    spec: Spec {
        name: "RENAMENX",
        arity: Arity::Exactly(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: two_keys("RW ACCESS DELETE | OW INSERT"),
        categories: Categories::KEYSPACE,
        since: "1.0.0",
        summary: "Gives a key another name that no key has.",
        syntax: "key newkey",
        ..Spec::BASE
    },
    run: |call, args, reply| {
        reply.integer(i64::from(rename(call, args, false)?));
        Ok(())
    },
};

/// Says whether the key has a new name.
fn rename(call: &mut Call<'_>, args: &Args<'_>, replace: bool) -> Result<bool, CommandError> {
    let (from, to) = (call.key(args, 1), call.key(args, 2));
    if call.write(from).is_none() {
        return Err(CommandError::NoSuchKey);
    }
    if from.bytes == to.bytes || (call.write(to).is_some() && !replace) {
        return Ok(false);
    }
    let db = call.session.db;
    let Some(taken) = call.engine.keyspace.db_mut(db).take(from) else { return Ok(false) };
    call.changed(from);
    put(call, db, to, taken);
    call.event(EventClass::Generic, "rename_from", from.bytes);
    call.event(EventClass::Generic, "rename_to", to.bytes);
    call.effect(&[b"RENAME", from.bytes, to.bytes]);
    Ok(true)
}

/// Puts an entry in place of any that is there; to everybody that looks, it is a new one.
fn put(call: &mut Call<'_>, db: usize, key: Key<'_>, taken: Taken) {
    call.engine.keyspace.db_mut(db).put(key, taken);
    call.engine.changed(db, key);
    call.engine.event(EventClass::New, "new", db, key.bytes);
}

/// `COPY`.
pub(super) static COPY: Command = Command {
    spec: Spec {
        name: "COPY",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: two_keys("RO ACCESS | OW UPDATE"),
        categories: Categories::KEYSPACE,
        since: "6.2.0",
        summary: "Copies what a key holds to another key.",
        complexity: "O(1) for strings, O(N) for collections of N elements",
        syntax: "source destination [DB destination-db] [REPLACE]",
        ..Spec::BASE
    },
    run: copy,
};

fn copy(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let (mut db, mut replace) = (call.session.db, false);
    let mut at = 3;
    while at < args.len() {
        if args.is(at, "REPLACE") {
            replace = true;
        } else if args.is(at, "DB") && at + 1 < args.len() {
            at += 1;
            db = parse_db(call, args.get(at))?;
        } else {
            return Err(CommandError::Syntax);
        }
        at += 1;
    }
    let (from, to) = (call.key(args, 1), call.key(args, 2));
    if db == call.session.db && from.bytes == to.bytes {
        return Err(CommandError::Text("ERR source and destination objects are the same".into()));
    }
    if call.read(from).is_none() {
        reply.integer(0);
        return Ok(());
    }
    let exists = call.write_in(db, to).is_some();
    let copied = if exists && !replace { None } else { call.engine.keyspace.db(call.session.db).duplicate(from) };
    reply.integer(i64::from(copied.is_some()));
    if let Some(taken) = copied {
        put(call, db, to, taken);
        call.engine.event(EventClass::Generic, "copy_to", db, to.bytes);
        let mut digits = itoa::Buffer::new();
        call.effect(&[b"COPY", from.bytes, to.bytes, b"DB", digits.format(db).as_bytes(), b"REPLACE"]);
    }
    Ok(())
}

/// `MOVE`.
pub(super) static MOVE: Command = Command {
    spec: Spec {
        name: "MOVE",
        arity: Arity::Exactly(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::first("RW ACCESS UPDATE"),
        categories: Categories::KEYSPACE,
        since: "1.0.0",
        summary: "Moves a key to another database that has no key of that name.",
        syntax: "key db",
        ..Spec::BASE
    },
    run: move_key,
};

fn move_key(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let from = call.session.db;
    let to = parse_db(call, args.get(2))?;
    if from == to {
        return Err(CommandError::Text("ERR source and destination objects are the same".into()));
    }
    let key = call.key(args, 1);
    let moves = call.write(key).is_some() && call.write_in(to, key).is_none();
    reply.integer(i64::from(moves));
    if !moves {
        return Ok(());
    }
    if let Some(taken) = call.engine.keyspace.db_mut(from).take(key) {
        call.changed(key);
        put(call, to, key, taken);
        call.event(EventClass::Generic, "move_from", key.bytes);
        call.engine.event(EventClass::Generic, "move_to", to, key.bytes);
        let mut digits = itoa::Buffer::new();
        call.effect(&[b"MOVE", key.bytes, digits.format(to).as_bytes()]);
    }
    Ok(())
}

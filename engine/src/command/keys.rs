//! Keys whatever they hold: DEL, UNLINK, EXISTS, TYPE, TOUCH, DBSIZE, and SELECT.

use super::{Args, Arity, Call, Categories, Command, CommandError, Flags, Group, Keys, Reply, Spec};
use crate::number::parse_integer;

/// A word as a C `int`, as database numbers are read.
///
/// # Errors
/// Not an integer, or out of the range of 32 bits.
pub(super) fn parse_int(word: &[u8]) -> Result<i32, CommandError> {
    let number = parse_integer(word).ok_or(CommandError::NotInteger)?;
    i32::try_from(number).map_err(|_| {
        let (min, max) = (i32::MIN, i32::MAX);
        CommandError::Text(format!("ERR value is out of range, value must between {min} and {max}").into())
    })
}

/// A word as the number of a database.
///
/// # Errors
/// [`parse_int`]'s, or `DB index is out of range`.
pub(super) fn parse_db(call: &Call<'_>, word: &[u8]) -> Result<usize, CommandError> {
    let db = parse_int(word)?;
    usize::try_from(db).ok().filter(|db| *db < call.engine.keyspace.databases()).ok_or(CommandError::DbOutOfRange)
}

/// `DEL`.
pub(super) static DEL: Command = Command {
    spec: Spec {
        name: "DEL",
        arity: Arity::AtLeast(2),
        flags: Flags::WRITE,
        keys: Keys::all("RM DELETE"),
        categories: Categories::KEYSPACE,
        since: "1.0.0",
        summary: "Deletes keys.",
        complexity: "O(N) where N is the number of keys, and of the elements of collections among them",
        syntax: "key [key ...]",
        ..Spec::BASE
    },
    run: del,
};

/// `UNLINK`.
pub(super) static UNLINK: Command = Command {
    spec: Spec {
        name: "UNLINK",
        arity: Arity::AtLeast(2),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::all("RM DELETE"),
        categories: Categories::KEYSPACE,
        since: "4.0.0",
        summary: "Deletes keys; freeing large values may happen later.",
        complexity: "O(1) for each key",
        syntax: "key [key ...]",
        ..Spec::BASE
    },
    run: del,
};

fn del(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let mut deleted = 0;
    for index in 1..args.len() {
        let key = call.key(args, index);
        deleted += i64::from(call.write(key).is_some() && call.delete(key));
    }
    if deleted > 0 {
        call.effect_parts(&[b"DEL"], &args.words()[1..]);
    }
    reply.integer(deleted);
    Ok(())
}

/// `EXISTS`.
pub(super) static EXISTS: Command = Command {
    spec: Spec {
        name: "EXISTS",
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::all("RO"),
        categories: Categories::KEYSPACE,
        since: "1.0.0",
        summary: "Counts how many of the keys exist; one named twice counts twice.",
        complexity: "O(N) where N is the number of keys",
        syntax: "key [key ...]",
        ..Spec::BASE
    },
    run: |call, args, reply| count_existing(call, args, reply, false),
};

/// `TOUCH`.
pub(super) static TOUCH: Command = Command {
    spec: Spec {
        name: "TOUCH",
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::all("RO"),
        categories: Categories::KEYSPACE,
        since: "3.2.1",
        summary: "Counts how many of the keys exist, and marks them as used now.",
        complexity: "O(N) where N is the number of keys",
        syntax: "key [key ...]",
        ..Spec::BASE
    },
    run: |call, args, reply| count_existing(call, args, reply, true),
};

fn count_existing(
    call: &mut Call<'_>,
    args: &Args<'_>,
    reply: &mut dyn Reply,
    touch: bool,
) -> Result<(), CommandError> {
    let mut existing = 0;
    for index in 1..args.len() {
        let key = call.key(args, index);
        let found = if touch { call.touch(key) } else { call.peek(key) };
        existing += i64::from(found.is_some());
    }
    reply.integer(existing);
    Ok(())
}

/// `TYPE`.
pub(super) static TYPE: Command = Command {
    spec: Spec {
        name: "TYPE",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::first("RO"),
        categories: Categories::KEYSPACE,
        since: "1.0.0",
        summary: "Returns the type of what a key holds, or none.",
        syntax: "key",
        ..Spec::BASE
    },
    run: |call, args, reply| {
        let key = call.key(args, 1);
        reply.simple(call.peek(key).map_or("none", |entry| entry.value.kind().name()));
        Ok(())
    },
};

/// `DBSIZE`.
pub(super) static DBSIZE: Command = Command {
    spec: Spec {
        name: "DBSIZE",
        arity: Arity::Exactly(1),
        flags: Flags::READONLY.and(Flags::FAST),
        group: Group::Server,
        categories: Categories::KEYSPACE,
        since: "1.0.0",
        summary: "Returns how many keys the database has; dead ones count until they are reclaimed.",
        ..Spec::BASE
    },
    run: |call, _, reply| {
        call.reads_everything();
        reply.integer(call.engine.keyspace.db(call.session.db).len() as i64);
        Ok(())
    },
};

/// `SELECT`.
pub(super) static SELECT: Command = Command {
    spec: Spec {
        name: "SELECT",
        arity: Arity::Exactly(2),
        flags: Flags::LOADING.and(Flags::STALE).and(Flags::FAST).and(Flags::ALLOW_BUSY),
        group: Group::Connection,
        since: "1.0.0",
        summary: "Chooses the database that the connection's commands work on.",
        syntax: "index",
        ..Spec::BASE
    },
    run: |call, args, reply| {
        call.session.db = parse_db(call, args.get(1))?;
        reply.ok();
        Ok(())
    },
};

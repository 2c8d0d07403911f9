//! Whole databases: SWAPDB, FLUSHDB, FLUSHALL.
//!
//! A flushed database is only unhooked under the lock; the shell drops it elsewhere, with ASYNC and without. Empty databases
//! leave no record.

use super::keys::parse_int;
use super::{Args, Arity, Call, Categories, Command, CommandError, Flags, Group, Reply, Spec};

const DATABASES: Spec = Spec {
    flags: Flags::WRITE,
    group: Group::Server,
    categories: Categories(Categories::KEYSPACE.0 | Categories::DANGEROUS.0),
    ..Spec::BASE
};

/// `SWAPDB`.
pub(super) static SWAPDB: Command = Command {
    spec: Spec {
        name: "SWAPDB",
        arity: Arity::Exactly(3),
        flags: Flags::WRITE.and(Flags::FAST),
        since: "4.0.0",
        summary: "Exchanges two databases.",
        complexity: "O(N) where N is the number of clients that watch or wait for keys of either",
        syntax: "index1 index2",
        ..DATABASES
    },
    run: swapdb,
};

fn swapdb(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let one = parse_int(args.get(1)).map_err(|_| CommandError::Text("ERR invalid first DB index".into()))?;
    let other = parse_int(args.get(2)).map_err(|_| CommandError::Text("ERR invalid second DB index".into()))?;
    let databases = call.engine.keyspace.databases();
    let index = |db: i32| usize::try_from(db).ok().filter(|db| *db < databases).ok_or(CommandError::DbOutOfRange);
    let (one, other) = (index(one)?, index(other)?);
    let both_empty = call.engine.keyspace.db(one).is_empty() && call.engine.keyspace.db(other).is_empty();
    if one != other && !both_empty {
        call.engine.keyspace.swap(one, other);
        call.engine.changed_all(one);
        call.engine.changed_all(other);
        call.engine.watches_of_swapped(one, other);
        let mut digits = (itoa::Buffer::new(), itoa::Buffer::new());
        call.effect(&[b"SWAPDB", digits.0.format(one).as_bytes(), digits.1.format(other).as_bytes()]);
    }
    reply.ok();
    Ok(())
}

/// `FLUSHDB`.
pub(super) static FLUSHDB: Command = Command {
    spec: Spec {
        name: "FLUSHDB",
        arity: Arity::AtLeast(1),
        since: "1.0.0",
        summary: "Removes all keys of the selected database.",
        complexity: "O(1); freeing the memory takes O(N) elsewhere, where N is the number of keys",
        syntax: "[ASYNC | SYNC]",
        ..DATABASES
    },
    run: |call, args, reply| {
        check_mode(args)?;
        let db = call.session.db;
        call.engine.note_everything();
        if flush(call, db) {
            call.effect(&[b"FLUSHDB"]);
        }
        reply.ok();
        Ok(())
    },
};

/// `FLUSHALL`.
pub(super) static FLUSHALL: Command = Command {
    spec: Spec {
        name: "FLUSHALL",
        arity: Arity::AtLeast(1),
        since: "1.0.0",
        summary: "Removes all keys of all databases.",
        complexity: "O(1); freeing the memory takes O(N) elsewhere, where N is the number of keys",
        syntax: "[ASYNC | SYNC]",
        ..DATABASES
    },
    run: |call, args, reply| {
        check_mode(args)?;
        let mut any = false;
        call.engine.note_everything();
        for db in 0..call.engine.keyspace.databases() {
            any |= flush(call, db);
        }
        if any {
            call.effect(&[b"FLUSHALL"]);
        }
        reply.ok();
        Ok(())
    },
};

fn check_mode(args: &Args<'_>) -> Result<(), CommandError> {
    match args.len() {
        1 => Ok(()),
        2 if args.is(1, "ASYNC") || args.is(1, "SYNC") => Ok(()),
        _ => Err(CommandError::Syntax),
    }
}

/// Empties a database; says whether it had keys.
fn flush(call: &mut Call<'_>, db: usize) -> bool {
    if call.engine.keyspace.db(db).is_empty() {
        return false;
    }
    call.engine.watches_before_flush(db);
    let old = call.engine.keyspace.flush(db);
    call.engine.changed_all(db);
    call.engine.discard(old);
    true
}

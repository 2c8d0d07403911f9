//! Fields are read: HGET, HMGET, HGETALL, HKEYS, HVALS, HEXISTS, HLEN, HSTRLEN, HSCAN.

use super::{BASE, clock};
use crate::command::walk::{self, Found, Walk, WalkOptions};
use crate::command::{Args, Arity, Call, Command, CommandError, Flags, Keys, Reply, Spec};
use crate::value::hash::Held;
use crate::value::listpack::IntegerText;

const GETTER: Spec = Spec {
    arity: Arity::Exactly(3),
    flags: Flags::READONLY.and(Flags::FAST).and(Flags::MEMBERS),
    syntax: "key field",
    ..BASE
};
const WHOLE: Spec = Spec {
    arity: Arity::Exactly(2),
    flags: Flags::READONLY,
    complexity: "O(N) where N is the number of fields of the hash",
    syntax: "key",
    ..BASE
};

/// What the field that is word 2 holds.
#[inline]
fn held<'c>(call: &'c mut Call<'_>, args: &Args<'_>) -> Result<Option<Held<'c>>, CommandError> {
    let key = call.key(args, 1);
    let now_ms = clock(call);
    Ok(call.read_hash(key)?.and_then(|hash| hash.live(args.get(2), now_ms)))
}

/// `HGET`.
pub(super) static HGET: Command = Command {
    spec: Spec { name: "HGET", summary: "Returns the value of a field.", ..GETTER },
    run: |call, args, reply| {
        match held(call, args)? {
            Some(held) => reply.element(held.value),
            None => reply.null(),
        }
        Ok(())
    },
};

/// `HEXISTS`.
pub(super) static HEXISTS: Command = Command {
    spec: Spec { name: "HEXISTS", keys: Keys::first("RO"), summary: "Says whether a field exists.", ..GETTER },
    run: |call, args, reply| {
        reply.integer(i64::from(held(call, args)?.is_some()));
        Ok(())
    },
};

/// `HSTRLEN`.
pub(super) static HSTRLEN: Command = Command {
    spec: Spec {
        name: "HSTRLEN",
        keys: Keys::first("RO"),
        since: "3.2.0",
        summary: "Returns the length of a field's value.",
        ..GETTER
    },
    run: |call, args, reply| {
        reply.integer(held(call, args)?.map_or(0, |held| held.value.len() as i64));
        Ok(())
    },
};

/// `HMGET`.
pub(super) static HMGET: Command = Command {
    spec: Spec {
        name: "HMGET",
        arity: Arity::AtLeast(3),
        summary: "Returns the values of several fields.",
        complexity: "O(N) where N is the number of fields being requested",
        syntax: "key field [field ...]",
        ..GETTER
    },
    run: |call, args, reply| {
        let key = call.key(args, 1);
        let now_ms = clock(call);
        let hash = call.read_hash(key)?;
        let names = &args.words()[2..];
        reply.array(names.len());
        for name in names {
            match hash.and_then(|hash| hash.live(name, now_ms)) {
                Some(held) => reply.element(held.value),
                None => reply.null(),
            }
        }
        Ok(())
    },
};

/// `HLEN`.
pub(super) static HLEN: Command = Command {
    spec: Spec {
        name: "HLEN",
        arity: Arity::Exactly(2),
        keys: Keys::first("RO"),
        summary: "Returns the number of fields.",
        syntax: "key",
        ..GETTER
    },
    run: |call, args, reply| {
        let key = call.key(args, 1);
        reply.integer(call.read_hash(key)?.map_or(0, |hash| hash.len() as i64));
        Ok(())
    },
};

/// `HGETALL`.
pub(super) static HGETALL: Command = Command {
    spec: Spec { name: "HGETALL", summary: "Returns all fields and their values.", ..WHOLE },
    run: |call, args, reply| {
        let key = call.key(args, 1);
        let now_ms = clock(call);
        let Some(hash) = call.read_hash(key)? else {
            reply.map(0);
            return Ok(());
        };
        reply.map(hash.live_len(now_ms));
        for field in hash.live_fields(now_ms) {
            reply.element(field.name);
            reply.element(field.value);
        }
        Ok(())
    },
};

/// `HKEYS`.
pub(super) static HKEYS: Command = Command {
    spec: Spec { name: "HKEYS", summary: "Returns the names of all fields.", ..WHOLE },
    run: |call, args, reply| one_of_each(call, args, reply, true),
};

/// `HVALS`.
pub(super) static HVALS: Command = Command {
    spec: Spec { name: "HVALS", summary: "Returns the values of all fields.", ..WHOLE },
    run: |call, args, reply| one_of_each(call, args, reply, false),
};

fn one_of_each(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply, names: bool) -> Result<(), CommandError> {
    let key = call.key(args, 1);
    let now_ms = clock(call);
    let Some(hash) = call.read_hash(key)? else {
        reply.array(0);
        return Ok(());
    };
    reply.array(hash.live_len(now_ms));
    for field in hash.live_fields(now_ms) {
        reply.element(if names { field.name } else { field.value });
    }
    Ok(())
}

/// `HSCAN`.
pub(super) static HSCAN: Command = Command {
    spec: Spec {
        name: "HSCAN",
        arity: Arity::AtLeast(3),
        since: "2.8.0",
        summary: "Walks the fields of a hash a few at a time; a field present all along is returned exactly once.",
        complexity: "O(1) for every call, O(N) for a whole walk, where N is the number of fields",
        syntax: "key cursor [MATCH pattern] [COUNT count] [NOVALUES]",
        ..WHOLE
    },
    run: hscan,
};

fn hscan(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let cursor = walk::cursor(args, 2)?;
    let key = call.key(args, 1);
    let now_ms = clock(call);
    let mut found = Found::default();
    let mut next = 0;
    // Valkey looks at the options only if there is a hash.
    if let Some(hash) = call.read_hash(key)? {
        let options = WalkOptions::parse(args, 3, Walk::Hash)?;
        let (mut name_text, mut value_text) = (IntegerText::new(), IntegerText::new());
        next = hash.scan(cursor, options.count, now_ms, &mut |field| {
            let name = field.name.as_bytes(&mut name_text);
            if options.pattern.fits(name) {
                found.push(name);
                if !options.names_only {
                    found.push(field.value.as_bytes(&mut value_text));
                }
            }
        });
    }
    found.write_walk(next, reply);
    Ok(())
}

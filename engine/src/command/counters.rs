//! Strings as numbers: INCR, DECR, INCRBY, DECRBY on 64-bit integers, INCRBYFLOAT on extended floats.
//!
//! Effects: integers as they were asked for; a float's result as `SET key result KEEPTTL`, so that a replay does no float maths.

use super::{Args, Arity, Call, Command, CommandError, Flags, Group, Keys, Reply, Spec};
use crate::engine::EventClass;
use crate::keyspace::Deadline;
use crate::number::{Extended, parse_integer};

const COUNTER: Spec = Spec {
    flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
    keys: Keys::first("RW ACCESS UPDATE"),
    group: Group::String,
    ..Spec::BASE
};

/// `INCR`.
pub(super) static INCR: Command = Command {
    spec: Spec {
        name: "INCR",
        arity: Arity::Exactly(2),
        since: "1.0.0",
        summary: "Adds one to the integer of a key; a missing key counts as 0.",
        syntax: "key",
        ..COUNTER
    },
    run: |call, args, reply| add(call, args, reply, 1, b"INCR"),
};

/// `DECR`.
pub(super) static DECR: Command = Command {
    spec: Spec {
        name: "DECR",
        arity: Arity::Exactly(2),
        since: "1.0.0",
        summary: "Subtracts one from the integer of a key; a missing key counts as 0.",
        syntax: "key",
        ..COUNTER
    },
    run: |call, args, reply| add(call, args, reply, -1, b"DECR"),
};

/// `INCRBY`.
pub(super) static INCRBY: Command = Command {
    spec: Spec {
        name: "INCRBY",
        arity: Arity::Exactly(3),
        since: "1.0.0",
        summary: "Adds a number to the integer of a key; a missing key counts as 0.",
        syntax: "key increment",
        ..COUNTER
    },
    run: |call, args, reply| {
        let increment = args.integer(2)?;
        add(call, args, reply, increment, b"INCRBY")
    },
};

/// `DECRBY`.
pub(super) static DECRBY: Command = Command {
    spec: Spec {
        name: "DECRBY",
        arity: Arity::Exactly(3),
        since: "1.0.0",
        summary: "Subtracts a number from the integer of a key; a missing key counts as 0.",
        syntax: "key decrement",
        ..COUNTER
    },
    run: |call, args, reply| {
        let overflow = CommandError::Text("ERR decrement would overflow".into());
        let increment = args.integer(2)?.checked_neg().ok_or(overflow)?;
        add(call, args, reply, increment, b"DECRBY")
    },
};

fn add(
    call: &mut Call<'_>,
    args: &Args<'_>,
    reply: &mut dyn Reply,
    increment: i64,
    name: &'static [u8],
) -> Result<(), CommandError> {
    let key = call.key(args, 1);
    let old = match call.write_string(key)? {
        Some(text) => Some(parse_integer(text).ok_or(CommandError::NotInteger)?),
        None => None,
    };
    let sum = old.unwrap_or(0).checked_add(increment).ok_or(CommandError::Overflow)?;
    let mut digits = itoa::Buffer::new();
    call.store(key, digits.format(sum).as_bytes(), Deadline::Keep, old.is_some());
    call.event(EventClass::String, "incrby", key.bytes);
    call.effect_parts(&[name], &args.words()[1..]);
    reply.integer(sum);
    Ok(())
}

/// `INCRBYFLOAT`.
pub(super) static INCRBYFLOAT: Command = Command {
    spec: Spec {
        name: "INCRBYFLOAT",
        arity: Arity::Exactly(3),
        since: "2.6.0",
        summary: "Adds a number to the floating point number of a key; a missing key counts as 0.",
        syntax: "key increment",
        ..COUNTER
    },
    run: incrbyfloat,
};

fn incrbyfloat(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let key = call.key(args, 1);
    let old = match call.write_string(key)? {
        Some(text) => Some(Extended::parse(text).ok_or(CommandError::NotFloat)?),
        None => None,
    };
    let increment = Extended::parse(args.get(2)).ok_or(CommandError::NotFloat)?;
    let not_finite = CommandError::Text("ERR increment would produce NaN or Infinity".into());
    let sum = old.unwrap_or(Extended::ZERO).checked_add(increment).ok_or(not_finite)?;
    let mut text = Vec::with_capacity(32);
    sum.print(&mut text);
    call.store(key, &text, Deadline::Keep, old.is_some());
    call.event(EventClass::String, "incrbyfloat", key.bytes);
    call.effect(&[b"SET", key.bytes, &text, b"KEEPTTL"]);
    reply.bulk(&text);
    Ok(())
}

//! Fields as numbers: HINCRBY on 64-bit integers, HINCRBYFLOAT on extended floats. A field keeps its deadline.
//!
//! Effects: HINCRBY as it was asked for; where a field of the hash has a deadline, the new value as `HSET`, or as `HSETEX` with the
//! field's own deadline, since a replay does not know which fields were dead. A float always as its new value.

use super::{BASE, clock};
use crate::command::{Args, Arity, Call, Command, CommandError, Flags, Keys, Reply, Spec};
use crate::key::Key;
use crate::number::{Extended, parse_integer};
use crate::value::hash::{Found, Lifetime};
use crate::value::listpack::{Element, IntegerText};

const COUNTER: Spec = Spec {
    arity: Arity::Exactly(4),
    flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST).and(Flags::MEMBERS).and(Flags::PAIRS),
    keys: Keys::first("RW ACCESS UPDATE"),
    syntax: "key field increment",
    ..BASE
};

/// `HINCRBY`.
pub(super) static HINCRBY: Command = Command {
    spec: Spec {
        name: "HINCRBY",
        summary: "Adds a number to the integer of a field; a missing field counts as 0.",
        ..COUNTER
    },
    run: hincrby,
};

/// What is known of a field before it is changed.
struct Before<T> {
    value: Option<T>,
    deadline: Option<u64>,
    /// Whether any field of the hash has a deadline.
    mortal: bool,
}

/// Looks at a field and parses what it holds.
fn before<T>(
    call: &mut Call<'_>,
    key: Key<'_>,
    name: &[u8],
    parse: impl FnOnce(Element<'_>) -> Result<T, CommandError>,
) -> Result<Before<T>, CommandError> {
    let now_ms = clock(call);
    let Some(hash) = call.write_hash(key)? else {
        return Ok(Before { value: None, deadline: None, mortal: false });
    };
    let mortal = hash.earliest().is_some();
    match hash.live(name, now_ms) {
        Some(held) => Ok(Before { value: Some(parse(held.value)?), deadline: held.deadline, mortal }),
        None => Ok(Before { value: None, deadline: None, mortal }),
    }
}

/// Stores the new value, and reports it.
fn store(call: &mut Call<'_>, key: Key<'_>, name: &[u8], value: &[u8], event: &'static str) {
    let now_ms = clock(call);
    let found = call.edit_hash(key, |hash, shaping| hash.set(name, value, Lifetime::Kept, now_ms, shaping)).result;
    call.changed(key);
    call.fields_expired(usize::from(found == Found::Dead), key);
    call.hash_event(event, key);
}

/// Logs a field's new value.
fn log_value(call: &mut Call<'_>, key: Key<'_>, name: &[u8], value: &[u8], deadline: Option<u64>) {
    match deadline {
        None => call.effect(&[b"HSET", key.bytes, name, value]),
        Some(at) => {
            let mut digits = itoa::Buffer::new();
            let at = digits.format(at).as_bytes();
            call.effect(&[b"HSETEX", key.bytes, b"PXAT", at, b"FIELDS", b"1", name, value]);
        }
    }
}

fn hincrby(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let increment = args.integer(3)?;
    let (key, name) = (call.key(args, 1), args.get(2));
    let before = before(call, key, name, |value| match value {
        Element::Integer(integer) => Ok(integer),
        Element::Bytes(bytes) => {
            parse_integer(bytes).ok_or(CommandError::Text("ERR hash value is not an integer".into()))
        }
    })?;
    let sum = before.value.unwrap_or(0).checked_add(increment).ok_or(CommandError::Overflow)?;
    let mut digits = itoa::Buffer::new();
    let value = digits.format(sum).as_bytes();
    store(call, key, name, value, "hincrby");
    if before.mortal {
        log_value(call, key, name, value, before.deadline);
    } else {
        call.effect_parts(&[b"HINCRBY"], &args.words()[1..]);
    }
    reply.integer(sum);
    Ok(())
}

/// `HINCRBYFLOAT`.
pub(super) static HINCRBYFLOAT: Command = Command {
    spec: Spec {
        name: "HINCRBYFLOAT",
        since: "2.6.0",
        summary: "Adds a number to the floating point number of a field; a missing field counts as 0.",
        ..COUNTER
    },
    run: hincrbyfloat,
};

fn hincrbyfloat(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let increment = Extended::parse(args.get(3)).ok_or(CommandError::NotFloat)?;
    let finite = increment.checked_add(Extended::ZERO).is_some();
    if !finite {
        return Err(CommandError::Text("ERR value is NaN or Infinity".into()));
    }
    let (key, name) = (call.key(args, 1), args.get(2));
    let before = before(call, key, name, |value| {
        let value = Extended::parse(value.as_bytes(&mut IntegerText::new()));
        value.ok_or(CommandError::Text("ERR hash value is not a float".into()))
    })?;
    let not_finite = CommandError::Text("ERR increment would produce NaN or Infinity".into());
    let sum = before.value.unwrap_or(Extended::ZERO).checked_add(increment).ok_or(not_finite)?;
    let mut value = Vec::with_capacity(32);
    sum.print(&mut value);
    store(call, key, name, &value, "hincrbyfloat");
    log_value(call, key, name, &value, before.deadline);
    reply.bulk(&value);
    Ok(())
}

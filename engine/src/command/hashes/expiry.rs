//! Deadlines of fields: HEXPIRE and its forms, HTTL and its forms, HPERSIST.
//!
//! A deadline at or before now has passed: the field is removed at once, and what is logged is the removal.

use super::{BASE, PER_FIELD, WRONG_COUNT, clock, counted_fields, fields_after_key, find_fields};
use crate::command::expiry::{Conditions, Unit, deadline_from, has_passed, left};
use crate::command::{Args, Arity, Call, Command, CommandError, Flags, Keys, Reply, Spec};
use crate::key::Key;

const SETTER: Spec = Spec {
    arity: Arity::AtLeast(6),
    flags: Flags::WRITE.and(Flags::FAST),
    keys: Keys::first("RW UPDATE"),
    since: "9.0.0",
    complexity: PER_FIELD,
    ..BASE
};

/// `HEXPIRE`.
pub(super) static HEXPIRE: Command = Command {
    spec: Spec {
        name: "HEXPIRE",
        summary: "Lets fields of a hash expire after so many seconds.",
        syntax: "key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        ..SETTER
    },
    run: |call, args, reply| expire(call, args, reply, Unit::Seconds, false, "hexpire"),
};

/// `HPEXPIRE`.
pub(super) static HPEXPIRE: Command = Command {
    spec: Spec {
        name: "HPEXPIRE",
        summary: "Lets fields of a hash expire after so many milliseconds.",
        syntax: "key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        ..SETTER
    },
    run: |call, args, reply| expire(call, args, reply, Unit::Milliseconds, false, "hpexpire"),
};

/// `HEXPIREAT`.
pub(super) static HEXPIREAT: Command = Command {
    spec: Spec {
        name: "HEXPIREAT",
        summary: "Lets fields of a hash expire at a Unix time in seconds.",
        syntax: "key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        ..SETTER
    },
    run: |call, args, reply| expire(call, args, reply, Unit::Seconds, true, "hexpireat"),
};

/// `HPEXPIREAT`.
pub(super) static HPEXPIREAT: Command = Command {
    spec: Spec {
        name: "HPEXPIREAT",
        summary: "Lets fields of a hash expire at a Unix time in milliseconds.",
        syntax: "key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        ..SETTER
    },
    run: |call, args, reply| expire(call, args, reply, Unit::Milliseconds, true, "hpexpireat"),
};

/// Answers for each field: -2 no such field, 0 the condition does not hold, 1 done, 2 the deadline has passed and the field is gone.
fn expire(
    call: &mut Call<'_>,
    args: &Args<'_>,
    reply: &mut dyn Reply,
    unit: Unit,
    absolute: bool,
    command: &'static str,
) -> Result<(), CommandError> {
    let index = find_fields(args, 3)?;
    let conditions = Conditions::parse(args, 3..index)?;
    let names = counted_fields(args, index, 1, WRONG_COUNT)?;
    let at = deadline_from(0, call, args.get(2), unit, absolute, command)?;
    let key = call.key(args, 1);
    let exists = call.write_hash(key)?.is_some();
    reply.array(names.len());
    if !exists {
        names.iter().for_each(|_| reply.integer(-2));
        return Ok(());
    }
    let (now_ms, passed) = (clock(call), has_passed(call, at));
    let mut changed = Vec::with_capacity(names.len());
    let edited = call.edit_hash(key, |hash, shaping| {
        let seed = &shaping.seed;
        for name in names {
            let answer = match hash.view().live(name, now_ms) {
                None => -2,
                Some(held) if !conditions.hold(held.deadline, at as i64) => 0,
                Some(_) if passed => {
                    hash.remove(name, now_ms);
                    2
                }
                Some(_) => {
                    hash.set_deadline(name, Some(at), now_ms, seed);
                    1
                }
            };
            if answer > 0 {
                changed.push(*name);
            }
            reply.integer(answer);
        }
    });
    if changed.is_empty() {
        return Ok(());
    }
    if passed {
        removed_as_expired(call, key, &changed, edited.removed);
    } else {
        deadline_was_set(call, key, at, &changed);
    }
    Ok(())
}

/// What belongs to fields that were given a deadline.
pub(super) fn deadline_was_set(call: &mut Call<'_>, key: Key<'_>, at: u64, names: &[&[u8]]) {
    call.changed(key);
    call.hash_event("hexpire", key);
    let (mut ms, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
    let (ms, count) = (ms.format(at).as_bytes(), count.format(names.len()).as_bytes());
    call.effect_parts(&[b"HPEXPIREAT", key.bytes, ms, b"FIELDS", count], names);
}

/// What belongs to fields that were removed because the deadline they were to get has passed.
pub(super) fn removed_as_expired(call: &mut Call<'_>, key: Key<'_>, names: &[&[u8]], key_removed: bool) {
    call.changed(key);
    call.fields_expired(names.len(), key);
    call.hash_removed(key_removed, key);
    call.effect_parts(&[b"HDEL", key.bytes], names);
}

/// What belongs to fields whose deadline was taken away.
pub(super) fn deadline_was_cleared(call: &mut Call<'_>, key: Key<'_>, names: &[&[u8]]) {
    call.changed(key);
    call.hash_event("hpersist", key);
    let mut count = itoa::Buffer::new();
    let count = count.format(names.len()).as_bytes();
    call.effect_parts(&[b"HPERSIST", key.bytes, b"FIELDS", count], names);
}

/// `HPERSIST`.
pub(super) static HPERSIST: Command = Command {
    spec: Spec {
        name: "HPERSIST",
        arity: Arity::AtLeast(5),
        summary: "Takes the deadlines of fields of a hash away.",
        syntax: "key FIELDS numfields field [field ...]",
        ..SETTER
    },
    run: persist,
};

/// Answers for each field: -2 no such field, -1 it has no deadline, 1 done.
fn persist(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let names = fields_after_key(args, WRONG_COUNT)?;
    let key = call.key(args, 1);
    let now_ms = clock(call);
    let hash = call.write_hash(key)?;
    reply.array(names.len());
    if hash.is_none_or(|hash| hash.earliest().is_none()) {
        for name in names {
            let exists = hash.is_some_and(|hash| hash.live(name, now_ms).is_some());
            reply.integer(if exists { -1 } else { -2 });
        }
        return Ok(());
    }
    let mut changed = Vec::with_capacity(names.len());
    call.edit_hash(key, |hash, shaping| {
        for name in names {
            reply.integer(match hash.view().live(name, now_ms).map(|held| held.deadline) {
                None => -2,
                Some(None) => -1,
                Some(Some(_)) => {
                    hash.set_deadline(name, None, now_ms, &shaping.seed);
                    changed.push(*name);
                    1
                }
            });
        }
    });
    if !changed.is_empty() {
        deadline_was_cleared(call, key, &changed);
    }
    Ok(())
}

const GETTER: Spec = Spec {
    arity: Arity::AtLeast(5),
    flags: Flags::READONLY.and(Flags::FAST),
    since: "9.0.0",
    complexity: PER_FIELD,
    syntax: "key FIELDS numfields field [field ...]",
    ..BASE
};

/// `HTTL`.
pub(super) static HTTL: Command = Command {
    spec: Spec { name: "HTTL", summary: "Returns how many seconds fields of a hash have left.", ..GETTER },
    run: |call, args, reply| time_left(call, args, reply, Unit::Seconds, false),
};

/// `HPTTL`.
pub(super) static HPTTL: Command = Command {
    spec: Spec { name: "HPTTL", summary: "Returns how many milliseconds fields of a hash have left.", ..GETTER },
    run: |call, args, reply| time_left(call, args, reply, Unit::Milliseconds, false),
};

/// `HEXPIRETIME`.
pub(super) static HEXPIRETIME: Command = Command {
    spec: Spec {
        name: "HEXPIRETIME",
        summary: "Returns the Unix times in seconds at which fields of a hash expire.",
        ..GETTER
    },
    run: |call, args, reply| time_left(call, args, reply, Unit::Seconds, true),
};

/// `HPEXPIRETIME`.
pub(super) static HPEXPIRETIME: Command = Command {
    spec: Spec {
        name: "HPEXPIRETIME",
        summary: "Returns the Unix times in milliseconds at which fields of a hash expire.",
        ..GETTER
    },
    run: |call, args, reply| time_left(call, args, reply, Unit::Milliseconds, true),
};

/// Answers for each field: -2 no such field, -1 no deadline, else the time.
fn time_left(
    call: &mut Call<'_>,
    args: &Args<'_>,
    reply: &mut dyn Reply,
    unit: Unit,
    absolute: bool,
) -> Result<(), CommandError> {
    let names = fields_after_key(args, CommandError::Syntax)?;
    let key = call.key(args, 1);
    let (now_ms, real_ms) = (clock(call), call.engine.now_ms);
    let hash = call.read_hash(key)?;
    reply.array(names.len());
    for name in names {
        reply.integer(match hash.and_then(|hash| hash.live(name, now_ms)).map(|held| held.deadline) {
            None => -2,
            Some(None) => -1,
            Some(Some(at)) => left(at, real_ms, unit, absolute),
        });
    }
    Ok(())
}

//! Deadlines of keys: EXPIRE and its forms, TTL and its forms, PERSIST; and what other commands with a deadline share.
//!
//! 1. Deadlines are Unix milliseconds. A deadline at or before now has passed: the key is deleted at once, and what is logged
//!    is the deletion.
//! 2. During replay nothing has passed: records say themselves when a key went.
//!
//! Effects: `PEXPIREAT key ms`, `PERSIST key`, or `DEL key`.

use super::error::excerpt;
use super::{Args, Arity, Call, Command, CommandError, Flags, Group, Keys, Reply, Spec};
use crate::command::Categories;
use crate::engine::EventClass;
use crate::key::Key;
use crate::number::parse_integer;
use std::ops::Range;

/// The unit of a time in a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
}

fn invalid(command: &str) -> CommandError {
    CommandError::Text(format!("ERR invalid expire time in '{command}' command").into())
}

/// A time word as Unix ms, negative ones included; `None` if that overflows.
fn absolute_ms(now_ms: u64, time: i64, unit: Unit, absolute: bool) -> Option<i64> {
    let ms = match unit {
        Unit::Seconds => time.checked_mul(1000)?,
        Unit::Milliseconds => time,
    };
    if absolute { Some(ms) } else { ms.checked_add(i64::try_from(now_ms).ok()?) }
}

/// A deadline for commands that take only positive times (SET, SETEX, GETEX).
///
/// # Errors
/// Not an integer; `invalid expire time in '...' command`.
pub(super) fn positive_deadline(
    call: &Call<'_>,
    word: &[u8],
    unit: Unit,
    absolute: bool,
    command: &'static str,
) -> Result<u64, CommandError> {
    deadline_from(1, call, word, unit, absolute, command)
}

/// A deadline for commands that take no time below `least`.
///
/// # Errors
/// Not an integer; `invalid expire time in '...' command`.
pub(super) fn deadline_from(
    least: i64,
    call: &Call<'_>,
    word: &[u8],
    unit: Unit,
    absolute: bool,
    command: &'static str,
) -> Result<u64, CommandError> {
    let time = parse_integer(word).ok_or(CommandError::NotInteger)?;
    // A record may say 0: a clock that far back, or a deadline from before 1970 that another server let live.
    let allowed = time >= least || call.engine.replaying;
    let at = absolute_ms(call.engine.now_ms, time, unit, absolute).filter(|_| allowed);
    at.map(|at| at.max(0) as u64).ok_or_else(|| invalid(command))
}

/// Whether a deadline has passed already.
#[inline]
pub(super) fn has_passed(call: &Call<'_>, at: u64) -> bool {
    at <= call.engine.now_ms && !call.engine.replaying
}

/// Gives a live key a deadline; deletes the key if that has passed.
pub(super) fn set_deadline(call: &mut Call<'_>, key: Key<'_>, at: u64) {
    if has_passed(call, at) {
        call.expire_now(key);
        return;
    }
    let db = call.session.db;
    call.engine.keyspace.db_mut(db).set_deadline(key, Some(at));
    call.changed(key);
    call.event(EventClass::Generic, "expire", key.bytes);
    let mut digits = itoa::Buffer::new();
    call.effect(&[b"PEXPIREAT", key.bytes, digits.format(at).as_bytes()]);
}

/// Takes the deadline of a live key that has one away.
pub(super) fn clear_deadline(call: &mut Call<'_>, key: Key<'_>) {
    let db = call.session.db;
    call.engine.keyspace.db_mut(db).set_deadline(key, None);
    call.changed(key);
    call.event(EventClass::Generic, "persist", key.bytes);
    call.effect(&[b"PERSIST", key.bytes]);
}

const SETTER: Spec = Spec {
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.and(Flags::FAST),
    keys: Keys::first("RW UPDATE"),
    categories: Categories::KEYSPACE,
    ..Spec::BASE
};

/// `EXPIRE`.
pub(super) static EXPIRE: Command = Command {
    spec: Spec {
        name: "EXPIRE",
        since: "1.0.0",
        summary: "Lets a key expire after so many seconds.",
        syntax: "key seconds [NX | XX | GT | LT]",
        ..SETTER
    },
    run: |call, args, reply| expire(call, args, reply, Unit::Seconds, false, "expire"),
};

/// `PEXPIRE`.
pub(super) static PEXPIRE: Command = Command {
    spec: Spec {
        name: "PEXPIRE",
        since: "2.6.0",
        summary: "Lets a key expire after so many milliseconds.",
        syntax: "key milliseconds [NX | XX | GT | LT]",
        ..SETTER
    },
    run: |call, args, reply| expire(call, args, reply, Unit::Milliseconds, false, "pexpire"),
};

/// `EXPIREAT`.
pub(super) static EXPIREAT: Command = Command {
    spec: Spec {
        name: "EXPIREAT",
        since: "1.2.0",
        summary: "Lets a key expire at a Unix time in seconds.",
        syntax: "key unix-time-seconds [NX | XX | GT | LT]",
        ..SETTER
    },
    run: |call, args, reply| expire(call, args, reply, Unit::Seconds, true, "expireat"),
};

/// `PEXPIREAT`.
pub(super) static PEXPIREAT: Command = Command {
    spec: Spec {
        name: "PEXPIREAT",
        since: "2.6.0",
        summary: "Lets a key expire at a Unix time in milliseconds.",
        syntax: "key unix-time-milliseconds [NX | XX | GT | LT]",
        ..SETTER
    },
    run: |call, args, reply| expire(call, args, reply, Unit::Milliseconds, true, "pexpireat"),
};

/// When EXPIRE may change a deadline. XX goes together with GT or LT.
#[derive(Clone, Copy, Default)]
pub(super) struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    /// Reads the words in `range`.
    ///
    /// # Errors
    /// One is no condition, or two exclude each other.
    pub(super) fn parse(args: &Args<'_>, range: Range<usize>) -> Result<Conditions, CommandError> {
        let mut conditions = Conditions::default();
        for index in range {
            let flag = match args.get(index) {
                word if word.eq_ignore_ascii_case(b"NX") => &mut conditions.nx,
                word if word.eq_ignore_ascii_case(b"XX") => &mut conditions.xx,
                word if word.eq_ignore_ascii_case(b"GT") => &mut conditions.gt,
                word if word.eq_ignore_ascii_case(b"LT") => &mut conditions.lt,
                word => {
                    let option = excerpt(word);
                    return Err(CommandError::text(format!("ERR Unsupported option {option}")));
                }
            };
            *flag = true;
        }
        let Conditions { nx, xx, gt, lt } = conditions;
        if nx && (xx || gt || lt) {
            return Err(CommandError::text("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if gt && lt {
            return Err(CommandError::text("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    /// No deadline counts as one that never comes.
    pub(super) fn hold(self, old: Option<u64>, new: i64) -> bool {
        let earlier = old.is_none_or(|old| new < old as i64);
        let later = old.is_some_and(|old| new > old as i64);
        (!self.nx || old.is_none()) && (!self.xx || old.is_some()) && (!self.gt || later) && (!self.lt || earlier)
    }
}

fn expire(
    call: &mut Call<'_>,
    args: &Args<'_>,
    reply: &mut dyn Reply,
    unit: Unit,
    absolute: bool,
    command: &'static str,
) -> Result<(), CommandError> {
    let conditions = Conditions::parse(args, 3..args.len())?;
    let time = args.integer(2)?;
    let at = absolute_ms(call.engine.now_ms, time, unit, absolute).ok_or_else(|| invalid(command))?;
    let key = call.key(args, 1);
    let set = call.write(key).is_some_and(|entry| conditions.hold(entry.deadline, at));
    if set {
        set_deadline(call, key, at.max(0) as u64);
    }
    reply.integer(i64::from(set));
    Ok(())
}

const GETTER: Spec = Spec {
    arity: Arity::Exactly(2),
    flags: Flags::READONLY.and(Flags::FAST),
    keys: Keys::first("RO ACCESS"),
    categories: Categories::KEYSPACE,
    syntax: "key",
    ..Spec::BASE
};

/// `TTL`.
pub(super) static TTL: Command = Command {
    spec: Spec { name: "TTL", since: "1.0.0", summary: "Returns how many seconds a key has left.", ..GETTER },
    run: |call, args, reply| time_left(call, args, reply, Unit::Seconds, false),
};

/// `PTTL`.
pub(super) static PTTL: Command = Command {
    spec: Spec { name: "PTTL", since: "2.6.0", summary: "Returns how many milliseconds a key has left.", ..GETTER },
    run: |call, args, reply| time_left(call, args, reply, Unit::Milliseconds, false),
};

/// `EXPIRETIME`.
pub(super) static EXPIRETIME: Command = Command {
    spec: Spec {
        name: "EXPIRETIME",
        since: "7.0.0",
        summary: "Returns the Unix time in seconds at which a key expires.",
        ..GETTER
    },
    run: |call, args, reply| time_left(call, args, reply, Unit::Seconds, true),
};

/// `PEXPIRETIME`.
pub(super) static PEXPIRETIME: Command = Command {
    spec: Spec {
        name: "PEXPIRETIME",
        since: "7.0.0",
        summary: "Returns the Unix time in milliseconds at which a key expires.",
        ..GETTER
    },
    run: |call, args, reply| time_left(call, args, reply, Unit::Milliseconds, true),
};

/// What is left until a deadline, or the deadline itself; seconds are rounded to the nearest.
pub(super) fn left(at: u64, now_ms: u64, unit: Unit, absolute: bool) -> i64 {
    let ms = if absolute { at } else { at.saturating_sub(now_ms) };
    let value = match unit {
        Unit::Seconds => ms.saturating_add(500) / 1000,
        Unit::Milliseconds => ms,
    };
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Answers -2 for no key, -1 for no deadline, else the time, seconds rounded to the nearest.
fn time_left(
    call: &mut Call<'_>,
    args: &Args<'_>,
    reply: &mut dyn Reply,
    unit: Unit,
    absolute: bool,
) -> Result<(), CommandError> {
    let key = call.key(args, 1);
    let now_ms = call.engine.now_ms;
    let answer = match call.peek(key).map(|entry| entry.deadline) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => left(at, now_ms, unit, absolute),
    };
    reply.integer(answer);
    Ok(())
}

/// `PERSIST`.
pub(super) static PERSIST: Command = Command {
    spec: Spec {
        name: "PERSIST",
        arity: Arity::Exactly(2),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::first("RW UPDATE"),
        group: Group::Generic,
        categories: Categories::KEYSPACE,
        since: "2.2.0",
        summary: "Takes the deadline of a key away.",
        syntax: "key",
        ..Spec::BASE
    },
    run: |call, args, reply| {
        let key = call.key(args, 1);
        let had_deadline = call.write(key).is_some_and(|entry| entry.deadline.is_some());
        if had_deadline {
            clear_deadline(call, key);
        }
        reply.integer(i64::from(had_deadline));
        Ok(())
    },
};

//! Strings as a whole: SET and its older forms, GET and those that change something on the way, MSET, MGET, DELIFEQ.
//!
//! Effects: a value is logged as `SET key value` with `PXAT` or `KEEPTTL`; conditions are resolved before.

use super::expiry::{self, Unit};
use super::typed::string;
use super::{Args, Arity, Call, Command, CommandError, Flags, Group, Keys, Reply, Spec};
use crate::engine::EventClass;
use crate::key::Key;
use crate::keyspace::Deadline;
use std::ops::Range;

const WRITE: Flags = Flags::WRITE.and(Flags::DENYOOM);
const FAST_WRITE: Flags = WRITE.and(Flags::FAST);

/// `SET`.
pub(super) static SET: Command = Command {
    spec: Spec {
        name: "SET",
        arity: Arity::AtLeast(3),
        flags: WRITE,
        keys: Keys::first("RW ACCESS UPDATE VARIABLE_FLAGS"),
        group: Group::String,
        since: "1.0.0",
        summary: "Stores a string under a key, whatever the key held before.",
        complexity: "O(1)",
        syntax: "key value [NX | XX | IFEQ comparison-value] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
                 PXAT unix-time-milliseconds | KEEPTTL]",
        ..Spec::BASE
    },
    run: set,
};

/// On what SET depends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition<'a> {
    Always,
    /// NX.
    Missing,
    /// XX.
    Exists,
    /// IFEQ.
    Equals(&'a [u8]),
}

impl Condition<'_> {
    fn holds(self, old: Option<&[u8]>) -> bool {
        match self {
            Condition::Always => true,
            Condition::Missing => old.is_none(),
            Condition::Exists => old.is_some(),
            Condition::Equals(value) => old == Some(value),
        }
    }
}

/// What SET, GETEX and their like for fields of hashes say about the deadline.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ttl {
    Unsaid,
    Keep,
    Persist,
    /// Index of the number's word.
    In {
        index: usize,
        unit: Unit,
        absolute: bool,
    },
}

impl Ttl {
    /// Reads the option at `index`, EX, PX, EXAT or PXAT. `None` if it is another word, or contradicts what was said.
    pub(super) fn option(self, args: &Args<'_>, index: usize) -> Option<Ttl> {
        let (unit, absolute) = match args.get(index) {
            word if word.eq_ignore_ascii_case(b"EX") => (Unit::Seconds, false),
            word if word.eq_ignore_ascii_case(b"PX") => (Unit::Milliseconds, false),
            word if word.eq_ignore_ascii_case(b"EXAT") => (Unit::Seconds, true),
            word if word.eq_ignore_ascii_case(b"PXAT") => (Unit::Milliseconds, true),
            _ => return None,
        };
        let agrees = match self {
            Ttl::Unsaid => true,
            Ttl::In { unit: said, absolute: kind, .. } => (said, kind) == (unit, absolute),
            Ttl::Keep | Ttl::Persist => false,
        };
        (agrees && index + 1 < args.len()).then_some(Ttl::In { index: index + 1, unit, absolute })
    }

    /// The deadline in Unix ms if a number was given, `least` or more.
    pub(super) fn deadline(
        self,
        least: i64,
        call: &Call<'_>,
        args: &Args<'_>,
        command: &'static str,
    ) -> Result<Option<u64>, CommandError> {
        match self {
            Ttl::In { index, unit, absolute } => {
                expiry::deadline_from(least, call, args.get(index), unit, absolute, command).map(Some)
            }
            _ => Ok(None),
        }
    }
}

struct SetOptions<'a> {
    condition: Condition<'a>,
    get: bool,
    ttl: Ttl,
}

fn set_options<'a>(args: &Args<'a>) -> Result<SetOptions<'a>, CommandError> {
    let mut options = SetOptions { condition: Condition::Always, get: false, ttl: Ttl::Unsaid };
    let mut at = 3;
    while at < args.len() {
        let free = options.condition == Condition::Always;
        if args.is(at, "NX") && (free || options.condition == Condition::Missing) {
            options.condition = Condition::Missing;
        } else if args.is(at, "XX") && (free || options.condition == Condition::Exists) {
            options.condition = Condition::Exists;
        } else if args.is(at, "IFEQ") && free && at + 1 < args.len() {
            at += 1;
            options.condition = Condition::Equals(args.get(at));
        } else if args.is(at, "GET") {
            options.get = true;
        } else if args.is(at, "KEEPTTL") && matches!(options.ttl, Ttl::Unsaid | Ttl::Keep) {
            options.ttl = Ttl::Keep;
        } else {
            options.ttl = options.ttl.option(args, at).ok_or(CommandError::Syntax)?;
            at += 1;
        }
        at += 1;
    }
    Ok(options)
}

fn set(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let key = call.key(args, 1);
    if args.len() == 3 {
        let existed = call.replaces(key);
        set_plain(call, key, args.get(2), existed);
        reply.ok();
        return Ok(());
    }
    let options = set_options(args)?;
    let deadline = options.ttl.deadline(1, call, args, "set")?;
    let entry = if options.get { call.read(key) } else { call.write(key) };
    let existed = entry.is_some();
    let by_value = options.get || matches!(options.condition, Condition::Equals(_));
    // Only GET and IFEQ care what type the key holds.
    let old = match entry {
        Some(entry) if by_value => Some(string(&entry)?),
        Some(_) => Some(&[][..]),
        None => None,
    };
    let holds = options.condition.holds(old);
    if options.get {
        match old {
            Some(old) => reply.bulk(old),
            None => reply.null(),
        }
    } else if holds {
        reply.ok();
    } else {
        reply.null();
    }
    if holds {
        match deadline {
            Some(at) => set_with_deadline(call, key, args.get(2), at, existed),
            None if options.ttl == Ttl::Keep => set_keeping_deadline(call, key, args.get(2), existed),
            None => set_plain(call, key, args.get(2), existed),
        }
    }
    Ok(())
}

/// Sets the string without a deadline.
#[inline]
fn set_plain(call: &mut Call<'_>, key: Key<'_>, value: &[u8], existed: bool) {
    call.store(key, value, Deadline::Clear, existed);
    call.event(EventClass::String, "set", key.bytes);
    call.effect(&[b"SET", key.bytes, value]);
}

/// Sets the string and keeps the deadline that the key has.
pub(super) fn set_keeping_deadline(call: &mut Call<'_>, key: Key<'_>, value: &[u8], existed: bool) {
    call.store(key, value, Deadline::Keep, existed);
    call.event(EventClass::String, "set", key.bytes);
    call.effect(&[b"SET", key.bytes, value, b"KEEPTTL"]);
}

/// Sets the string with a deadline; one that has passed leaves no key behind.
pub(super) fn set_with_deadline(call: &mut Call<'_>, key: Key<'_>, value: &[u8], at: u64, existed: bool) {
    if expiry::has_passed(call, at) {
        if existed {
            call.expire_now(key);
        }
        return;
    }
    call.store(key, value, Deadline::At(at), existed);
    call.event(EventClass::String, "set", key.bytes);
    call.event(EventClass::Generic, "expire", key.bytes);
    let mut digits = itoa::Buffer::new();
    call.effect(&[b"SET", key.bytes, value, b"PXAT", digits.format(at).as_bytes()]);
}

/// `SETEX`.
pub(super) static SETEX: Command = Command {
    spec: Spec {
        name: "SETEX",
        arity: Arity::Exactly(4),
        flags: WRITE,
        keys: Keys::first("OW UPDATE"),
        group: Group::String,
        since: "2.0.0",
        summary: "Stores a string under a key that expires after so many seconds.",
        syntax: "key seconds value",
        ..Spec::BASE
    },
    run: |call, args, reply| set_for(call, args, reply, Unit::Seconds, "setex"),
};

/// `PSETEX`.
pub(super) static PSETEX: Command = Command {
    spec: Spec {
        name: "PSETEX",
        arity: Arity::Exactly(4),
        flags: WRITE,
        keys: Keys::first("OW UPDATE"),
        group: Group::String,
        since: "2.6.0",
        summary: "Stores a string under a key that expires after so many milliseconds.",
        syntax: "key milliseconds value",
        ..Spec::BASE
    },
    run: |call, args, reply| set_for(call, args, reply, Unit::Milliseconds, "psetex"),
};

fn set_for(
    call: &mut Call<'_>,
    args: &Args<'_>,
    reply: &mut dyn Reply,
    unit: Unit,
    command: &'static str,
) -> Result<(), CommandError> {
    let at = expiry::positive_deadline(call, args.get(2), unit, false, command)?;
    let key = call.key(args, 1);
    let existed = call.write(key).is_some();
    set_with_deadline(call, key, args.get(3), at, existed);
    reply.ok();
    Ok(())
}

/// `SETNX`.
pub(super) static SETNX: Command = Command {
    spec: Spec {
        name: "SETNX",
        arity: Arity::Exactly(3),
        flags: FAST_WRITE,
        keys: Keys::first("OW INSERT"),
        group: Group::String,
        since: "1.0.0",
        summary: "Stores a string under a key that does not exist yet.",
        syntax: "key value",
        ..Spec::BASE
    },
    run: |call, args, reply| {
        let key = call.key(args, 1);
        let missing = call.write(key).is_none();
        if missing {
            set_plain(call, key, args.get(2), false);
        }
        reply.integer(i64::from(missing));
        Ok(())
    },
};

/// `GET`.
pub(super) static GET: Command = Command {
    spec: Spec {
        name: "GET",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::first("RO ACCESS"),
        group: Group::String,
        since: "1.0.0",
        summary: "Returns the string of a key.",
        syntax: "key",
        ..Spec::BASE
    },
    run: |call, args, reply| {
        let key = call.key(args, 1);
        match call.read_string(key)? {
            Some(value) => reply.bulk(value),
            None => reply.null(),
        }
        Ok(())
    },
};

/// `GETEX`.
pub(super) static GETEX: Command = Command {
    spec: Spec {
        name: "GETEX",
        arity: Arity::AtLeast(2),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::first("RW ACCESS UPDATE"),
        group: Group::String,
        since: "6.2.0",
        summary: "Returns the string of a key and sets or clears the key's deadline.",
        syntax: "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]",
        ..Spec::BASE
    },
    run: getex,
};

fn getex(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let mut ttl = Ttl::Unsaid;
    let mut at = 2;
    while at < args.len() {
        if args.is(at, "PERSIST") && matches!(ttl, Ttl::Unsaid | Ttl::Persist) {
            ttl = Ttl::Persist;
            at += 1;
        } else {
            ttl = ttl.option(args, at).ok_or(CommandError::Syntax)?;
            at += 2;
        }
    }
    let deadline = ttl.deadline(1, call, args, "getex")?;
    let key = call.key(args, 1);
    let Some(entry) = call.read(key) else {
        reply.null();
        return Ok(());
    };
    let had_deadline = entry.deadline.is_some();
    reply.bulk(string(&entry)?);
    match deadline {
        Some(at) => expiry::set_deadline(call, key, at),
        None if ttl == Ttl::Persist && had_deadline => expiry::clear_deadline(call, key),
        None => {}
    }
    Ok(())
}

/// `GETDEL`.
pub(super) static GETDEL: Command = Command {
    spec: Spec {
        name: "GETDEL",
        arity: Arity::Exactly(2),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::first("RW ACCESS DELETE"),
        group: Group::String,
        since: "6.2.0",
        summary: "Returns the string of a key and deletes the key.",
        syntax: "key",
        ..Spec::BASE
    },
    run: |call, args, reply| {
        let key = call.key(args, 1);
        match call.read_string(key)? {
            Some(value) => reply.bulk(value),
            None => {
                reply.null();
                return Ok(());
            }
        }
        call.delete(key);
        call.effect(&[b"DEL", key.bytes]);
        Ok(())
    },
};

/// `GETSET`.
pub(super) static GETSET: Command = Command {
    spec: Spec {
        name: "GETSET",
        arity: Arity::Exactly(3),
        flags: FAST_WRITE,
        keys: Keys::first("RW ACCESS UPDATE"),
        group: Group::String,
        since: "1.0.0",
        summary: "Stores a string under a key and returns the one it replaces.",
        syntax: "key value",
        ..Spec::BASE
    },
    run: |call, args, reply| {
        let key = call.key(args, 1);
        let old = call.read_string(key)?;
        let existed = old.is_some();
        match old {
            Some(value) => reply.bulk(value),
            None => reply.null(),
        }
        set_plain(call, key, args.get(2), existed);
        Ok(())
    },
};

/// `MGET`.
pub(super) static MGET: Command = Command {
    spec: Spec {
        name: "MGET",
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::all("RO ACCESS"),
        group: Group::String,
        since: "1.0.0",
        summary: "Returns the strings of several keys.",
        complexity: "O(N) where N is the number of keys",
        syntax: "key [key ...]",
        ..Spec::BASE
    },
    run: |call, args, reply| {
        reply.array(args.len() - 1);
        for index in 1..args.len() {
            let key = call.key(args, index);
            // A key of another type counts as missing here.
            match call.read_string(key) {
                Ok(Some(value)) => reply.bulk(value),
                Ok(None) | Err(_) => reply.null(),
            }
        }
        Ok(())
    },
};

const PAIRS: Keys = Keys::Range { first: 1, last: -1, step: 2, access: "OW UPDATE" };
const NEW_PAIRS: Keys = Keys::Range { first: 1, last: -1, step: 2, access: "OW INSERT" };

/// `MSET`.
pub(super) static MSET: Command = Command {
    spec: Spec {
        name: "MSET",
        arity: Arity::AtLeast(3),
        flags: WRITE,
        keys: PAIRS,
        group: Group::String,
        since: "1.0.1",
        summary: "Stores strings under several keys at once.",
        complexity: "O(N) where N is the number of keys",
        syntax: "key value [key value ...]",
        ..Spec::BASE
    },
    run: |call, args, reply| {
        check_pairs(args, "mset")?;
        set_pairs(call, args, 1..args.len());
        reply.ok();
        Ok(())
    },
};

/// `MSETNX`.
pub(super) static MSETNX: Command = Command {
    spec: Spec {
        name: "MSETNX",
        arity: Arity::AtLeast(3),
        flags: WRITE,
        keys: NEW_PAIRS,
        group: Group::String,
        since: "1.0.1",
        summary: "Stores strings under several keys at once, if none of the keys exists.",
        complexity: "O(N) where N is the number of keys",
        syntax: "key value [key value ...]",
        ..Spec::BASE
    },
    run: |call, args, reply| {
        check_pairs(args, "msetnx")?;
        let none_exists = (1..args.len()).step_by(2).all(|index| {
            let key = call.key(args, index);
            call.write(key).is_none()
        });
        if none_exists {
            set_pairs(call, args, 1..args.len());
        }
        reply.integer(i64::from(none_exists));
        Ok(())
    },
};

fn check_pairs(args: &Args<'_>, command: &'static str) -> Result<(), CommandError> {
    if args.len().is_multiple_of(2) { Err(CommandError::WrongArity(command.into())) } else { Ok(()) }
}

/// Sets the strings of `pairs`, the indexes of keys and values, without a deadline.
pub(super) fn set_pairs(call: &mut Call<'_>, args: &Args<'_>, pairs: Range<usize>) {
    for index in pairs.clone().step_by(2) {
        let key = call.key(args, index);
        let existed = call.replaces(key);
        call.store(key, args.get(index + 1), Deadline::Clear, existed);
        call.event(EventClass::String, "set", key.bytes);
    }
    call.effect_parts(&[b"MSET"], &args.words()[pairs]);
}

/// `DELIFEQ`.
pub(super) static DELIFEQ: Command = Command {
    spec: Spec {
        name: "DELIFEQ",
        arity: Arity::Exactly(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::first("RM DELETE"),
        group: Group::String,
        since: "9.0.0",
        summary: "Deletes a key if it holds exactly this string.",
        syntax: "key value",
        ..Spec::BASE
    },
    run: |call, args, reply| {
        let key = call.key(args, 1);
        let equal = call.write_string(key)? == Some(args.get(2));
        if equal {
            call.delete(key);
            call.effect(&[b"DEL", key.bytes]);
        }
        reply.integer(i64::from(equal));
        Ok(())
    },
};

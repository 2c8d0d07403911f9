//! HyperLogLogs: PFADD, PFCOUNT, PFMERGE, PFDEBUG, PFSELFTEST on strings in Redis' own format (`crate::hll`).
//!
//! Effects are the commands themselves: what they make of the bytes follows from the bytes. PFCOUNT of one key writes the cardinality
//! into the string, as Redis does, and is logged then.

mod selftest;
#[cfg(test)]
mod tests;

use super::typed::string;
use super::{Args, Arity, Call, Command, CommandError, Flags, Group, Keys, Reply, Spec};
use crate::engine::{EventClass, Refused};
use crate::hll::{self, BadHll, Encoding, Registers};
use crate::key::Key;
use crate::keyspace::Entry;

/// The commands of this family.
pub(super) static COMMANDS: &[&Command] = &[&PFADD, &PFCOUNT, &PFMERGE, &PFDEBUG, &selftest::PFSELFTEST];

impl From<BadHll> for CommandError {
    fn from(bad: BadHll) -> Self {
        CommandError::Text(bad.to_string().into())
    }
}

/// The string of an entry, which must look like a HyperLogLog.
fn hll_of<'a>(entry: &Entry<'a>) -> Result<&'a [u8], CommandError> {
    let bytes = string(entry)?;
    hll::encoding(bytes)?;
    Ok(bytes)
}

/// `PFADD`.
static PFADD: Command = Command {
    spec: Spec {
        name: "PFADD",
        arity: Arity::AtLeast(2),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: Keys::first("RW INSERT"),
        group: Group::Hyperloglog,
        since: "2.8.9",
        summary: "Adds elements to a HyperLogLog; creates the key if need be.",
        complexity: "O(1) for each element",
        syntax: "key [element [element ...]]",
        ..Spec::BASE
    },
    run: pfadd,
};

fn pfadd(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let key = call.key(args, 1);
    let elements = &args.words()[2..];
    let sparse_len_max = call.engine.settings.shaping.hll_sparse_max_bytes;
    let old = call.write(key).map(|entry| hll_of(&entry)).transpose()?;
    let existed = old.is_some();
    // What is added often is there already: nothing is copied then.
    let mut first = None;
    if let Some(old) = old {
        for (number, element) in elements.iter().enumerate() {
            if hll::raises(old, element)? {
                first = Some(number);
                break;
            }
        }
        if first.is_none() {
            reply.integer(0);
            return Ok(());
        }
    }
    let new = &elements[first.unwrap_or(0)..];
    let mut changed = None;
    if old.is_none_or(|old| hll::encoding(old) == Ok(Encoding::Sparse)) {
        // A sparse one is some kilobytes, and may turn out to be corrupted half way: it is changed aside.
        let mut bytes = old.map_or_else(hll::empty, <[u8]>::to_vec);
        hll::add(&mut bytes, new.iter().copied(), sparse_len_max)?;
        hll::invalidate(&mut bytes);
        changed = Some(bytes);
    }
    let db = call.session.db;
    call.engine.db_now(db).edit_string(key, |value| match changed {
        Some(bytes) => *value = bytes,
        None => {
            let added = hll::add(value, new.iter().copied(), sparse_len_max);
            debug_assert!(added.is_ok(), "a dense one takes every element");
        }
    });
    changed_by(call, key, existed);
    call.effect_parts(&[b"PFADD"], &args.words()[1..]);
    reply.integer(1);
    Ok(())
}

/// After elements were added to a key.
fn changed_by(call: &mut Call<'_>, key: Key<'_>, existed: bool) {
    call.changed(key);
    if !existed {
        call.event(EventClass::New, "new", key.bytes);
    }
    call.event(EventClass::String, "pfadd", key.bytes);
}

/// `PFCOUNT`.
static PFCOUNT: Command = Command {
    spec: Spec {
        name: "PFCOUNT",
        arity: Arity::AtLeast(2),
        // It may write the cardinality into the string.
        flags: Flags::READONLY.and(Flags::MAY_REPLICATE),
        keys: Keys::all("RW ACCESS"),
        group: Group::Hyperloglog,
        since: "2.8.9",
        summary: "Returns how many different elements were added to HyperLogLogs together, more or less.",
        complexity: "O(1) for one key that has not changed since, else O(N) where N is the number of keys, each at some microseconds",
        syntax: "key [key ...]",
        ..Spec::BASE
    },
    run: pfcount,
};

fn pfcount(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    if args.len() > 2 {
        let union = union_of(call, args, false)?.0;
        reply.integer(union.count() as i64);
        return Ok(());
    }
    let key = call.key(args, 1);
    let Some(bytes) = call.read(key).map(|entry| hll_of(&entry)).transpose()? else {
        reply.integer(0);
        return Ok(());
    };
    if let Some(cardinality) = hll::cached(bytes) {
        reply.integer(cardinality as i64);
        return Ok(());
    }
    let cardinality = hll::count(bytes)?;
    // What the log cannot take now is not kept.
    if call.engine.refused == Refused::Nothing {
        let db = call.session.db;
        call.engine.db_now(db).edit_string(key, |value| hll::set_cached(value, cardinality));
        call.changed(key);
        call.effect(&[b"PFCOUNT", key.bytes]);
    }
    reply.integer(cardinality as i64);
    Ok(())
}

/// The union of all HyperLogLogs named, missing ones left out, and whether one of them is dense. `for_record`: the command will be
/// logged with their names.
fn union_of(call: &mut Call<'_>, args: &Args<'_>, for_record: bool) -> Result<(Registers, bool), CommandError> {
    let (mut union, mut dense) = (Registers::default(), false);
    for index in 1..args.len() {
        let key = call.key(args, index);
        let entry = if for_record { call.read_for_record(key) } else { call.read(key) };
        if let Some(bytes) = entry.map(|entry| hll_of(&entry)).transpose()? {
            dense |= hll::encoding(bytes)? == Encoding::Dense;
            union.merge(bytes)?;
        }
    }
    Ok((union, dense))
}

/// `PFMERGE`.
static PFMERGE: Command = Command {
    spec: Spec {
        name: "PFMERGE",
        arity: Arity::AtLeast(2),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::Range { first: 1, last: -1, step: 1, access: "RW ACCESS INSERT | RO ACCESS" },
        group: Group::Hyperloglog,
        since: "2.8.9",
        summary: "Adds to a HyperLogLog all elements of others; creates the key if need be.",
        complexity: "O(N) where N is the number of keys, each at some microseconds",
        syntax: "destkey [sourcekey [sourcekey ...]]",
        ..Spec::BASE
    },
    run: pfmerge,
};

fn pfmerge(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let (union, dense) = union_of(call, args, true)?;
    let key = call.key(args, 1);
    let sparse_len_max = call.engine.settings.shaping.hll_sparse_max_bytes;
    let old = call.write(key).map(|entry| hll_of(&entry)).transpose()?;
    let existed = old.is_some();
    let mut bytes = old.map_or_else(hll::empty, <[u8]>::to_vec);
    hll::store_union(&mut bytes, &union, dense, sparse_len_max)?;
    let db = call.session.db;
    call.engine.db_now(db).edit_string(key, |value| *value = bytes);
    changed_by(call, key, existed);
    call.effect_parts(&[b"PFMERGE"], &args.words()[1..]);
    reply.ok();
    Ok(())
}

/// `PFDEBUG`.
static PFDEBUG: Command = Command {
    spec: Spec {
        name: "PFDEBUG",
        arity: Arity::Exactly(3),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::ADMIN),
        keys: Keys::Range { first: 2, last: 2, step: 1, access: "RW ACCESS" },
        group: Group::Hyperloglog,
        since: "2.8.9",
        summary: "Looks into a HyperLogLog: GETREG, DECODE, ENCODING, TODENSE.",
        complexity: "O(1): a HyperLogLog has 16384 registers",
        syntax: "subcommand key",
        ..Spec::BASE
    },
    run: pfdebug,
};

fn pfdebug(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let key = call.key(args, 2);
    let missing = CommandError::Text("ERR The specified key does not exist".into());
    let bytes = hll_of(&call.write(key).ok_or(missing)?)?;
    let encoding = hll::encoding(bytes)?;
    if args.is(1, "GETREG") {
        let mut registers = Registers::default();
        registers.merge(bytes)?;
        if encoding == Encoding::Sparse {
            make_dense(call, key)?;
        }
        reply.array(hll::REGISTERS);
        registers.values().iter().for_each(|value| reply.integer(i64::from(*value)));
    } else if args.is(1, "DECODE") {
        if encoding == Encoding::Dense {
            return Err(CommandError::Text("ERR HLL encoding is not sparse".into()));
        }
        reply.bulk(hll::describe_runs(bytes)?.as_bytes());
    } else if args.is(1, "ENCODING") {
        reply.simple(if encoding == Encoding::Dense { "dense" } else { "sparse" });
    } else if args.is(1, "TODENSE") {
        if encoding == Encoding::Sparse {
            make_dense(call, key)?;
        }
        reply.integer(i64::from(encoding == Encoding::Sparse));
    } else {
        let word = super::error::excerpt(args.get(1));
        return Err(CommandError::text(format!("ERR Unknown PFDEBUG subcommand '{word}'")));
    }
    Ok(())
}

fn make_dense(call: &mut Call<'_>, key: Key<'_>) -> Result<(), CommandError> {
    let Some(bytes) = call.write_string(key)? else { return Ok(()) };
    let mut bytes = bytes.to_vec();
    hll::to_dense(&mut bytes)?;
    let db = call.session.db;
    call.engine.db_now(db).edit_string(key, |value| *value = bytes);
    call.changed(key);
    call.effect(&[b"PFDEBUG", b"TODENSE", key.bytes]);
    Ok(())
}

//! Parts of strings: APPEND, STRLEN, GETRANGE, SUBSTR, SETRANGE.

use super::{Args, Arity, Call, Command, CommandError, Flags, Group, Keys, Reply, Spec};
use crate::engine::EventClass;
use crate::keyspace::Deadline;

/// `APPEND`.
pub(super) static APPEND: Command = Command {
    spec: Spec {
        name: "APPEND",
        arity: Arity::Exactly(3),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: Keys::first("RW INSERT"),
        group: Group::String,
        since: "2.0.0",
        summary: "Adds bytes at the end of the string of a key; creates the key if need be.",
        complexity: "O(1), amortized, for short additions: a string that grows keeps room to grow further",
        syntax: "key value",
        ..Spec::BASE
    },
    run: append,
};

fn append(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let (key, added) = (call.key(args, 1), args.get(2));
    let len = match call.write_string(key)?.map(<[u8]>::len) {
        Some(old) => {
            call.check_length(old, added.len())?;
            let db = call.session.db;
            call.engine.db_now(db).edit_string(key, |value| value.extend_from_slice(added));
            call.changed(key);
            old + added.len()
        }
        None => {
            call.store(key, added, Deadline::Clear, false);
            added.len()
        }
    };
    call.event(EventClass::String, "append", key.bytes);
    call.effect(&[b"APPEND", key.bytes, added]);
    reply.integer(len as i64);
    Ok(())
}

/// `STRLEN`.
pub(super) static STRLEN: Command = Command {
    spec: Spec {
        name: "STRLEN",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::first("RO"),
        group: Group::String,
        since: "2.2.0",
        summary: "Returns the length of the string of a key, in bytes.",
        syntax: "key",
        ..Spec::BASE
    },
    run: |call, args, reply| {
        let key = call.key(args, 1);
        reply.integer(call.read_string(key)?.map_or(0, <[u8]>::len) as i64);
        Ok(())
    },
};

const RANGE: Spec = Spec {
    arity: Arity::Exactly(4),
    flags: Flags::READONLY,
    keys: Keys::first("RO ACCESS"),
    group: Group::String,
    complexity: "O(N) where N is the length of the answer",
    syntax: "key start end",
    ..Spec::BASE
};

/// `GETRANGE`.
pub(super) static GETRANGE: Command = Command {
    spec: Spec {
        name: "GETRANGE",
        since: "2.4.0",
        summary: "Returns a part of the string of a key, from start to end, both included.",
        ..RANGE
    },
    run: getrange,
};

/// `SUBSTR`, the older name of GETRANGE.
pub(super) static SUBSTR: Command = Command {
    spec: Spec {
        name: "SUBSTR",
        since: "1.0.0",
        summary: "Returns a part of the string of a key; the older name of GETRANGE.",
        ..RANGE
    },
    run: getrange,
};

fn getrange(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let (start, end) = (args.integer(2)?, args.integer(3)?);
    let key = call.key(args, 1);
    let value = call.read_string(key)?.unwrap_or_default();
    reply.bulk(part(value, start, end));
    Ok(())
}

/// Bytes `start..=end`; negative indexes count from the end, and what lies outside is cut off.
fn part(value: &[u8], start: i64, end: i64) -> &[u8] {
    if value.is_empty() || (start < 0 && end < 0 && start > end) {
        return &[];
    }
    let len = value.len() as i64;
    let from_end = |index: i64| if index < 0 { index.saturating_add(len).max(0) } else { index };
    let (start, end) = (from_end(start), from_end(end).min(len - 1));
    if start > end { &[] } else { &value[start as usize..=end as usize] }
}

/// `SETRANGE`.
pub(super) static SETRANGE: Command = Command {
    spec: Spec {
        name: "SETRANGE",
        arity: Arity::Exactly(4),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::first("RW UPDATE"),
        group: Group::String,
        since: "2.2.0",
        summary: "Overwrites a part of the string of a key from an offset on; gaps become zero bytes.",
        complexity: "O(M) where M is the length of the value, and of the gap before it",
        syntax: "key offset value",
        ..Spec::BASE
    },
    run: setrange,
};

fn setrange(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let (offset, patch) = (args.integer(2)?, args.get(3));
    let out_of_range = CommandError::Text("ERR offset is out of range".into());
    let offset = usize::try_from(offset).map_err(|_| out_of_range)?;
    let key = call.key(args, 1);
    let old = call.write_string(key)?.map(<[u8]>::len);
    if patch.is_empty() {
        reply.integer(old.unwrap_or(0) as i64);
        return Ok(());
    }
    call.check_length(offset, patch.len())?;
    let db = call.session.db;
    let len = call.engine.db_now(db).edit_string(key, |value| {
        let end = offset + patch.len();
        grow(value, end);
        value[offset..end].copy_from_slice(patch);
        value.len()
    });
    call.changed(key);
    if old.is_none() {
        call.event(EventClass::New, "new", key.bytes);
    }
    call.event(EventClass::String, "setrange", key.bytes);
    call.effect_parts(&[b"SETRANGE"], &args.words()[1..]);
    reply.integer(len as i64);
    Ok(())
}

/// A string that is given more than this many times its length, and more than this many bytes, is allocated anew: the
/// system gives pages of zeros without writing them.
const GROW_ANEW: (usize, usize) = (2, 128 * 1024);
/// A string that grows step by step keeps room for an eighth of its length.
const GROW_AHEAD: usize = 8;

/// Makes a string at least `len` bytes long, with zero bytes at its end. The cost of growth step by step is amortized.
pub(super) fn grow(value: &mut Vec<u8>, len: usize) {
    let old = value.len();
    if len <= old {
        return;
    }
    if len > GROW_ANEW.1 && len / GROW_ANEW.0 > old {
        let mut longer = vec![0; len];
        longer[..old].copy_from_slice(value);
        *value = longer;
        return;
    }
    if len > GROW_ANEW.1 && len > value.capacity() {
        // A vector would double.
        value.reserve_exact(len + len / GROW_AHEAD - old);
    }
    value.resize(len, 0);
}

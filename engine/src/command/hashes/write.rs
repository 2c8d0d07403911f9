//! Fields are set and removed: HSET, HMSET, HSETNX, HDEL, HGETDEL.

use super::{BASE, PER_FIELD, WRONG_COUNT, clock, fields_after_key};
use crate::command::{Args, Arity, Call, Command, CommandError, Flags, Keys, Spec};
use crate::key::Key;
use crate::value::hash::{Found, Lifetime};

const SETTER: Spec = Spec {
    flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST).and(Flags::MEMBERS).and(Flags::PAIRS),
    arity: Arity::AtLeast(4),
    keys: Keys::first("RW UPDATE"),
    syntax: "key field value [field value ...]",
    ..BASE
};

/// `HSET`.
pub(super) static HSET: Command = Command {
    spec: Spec {
        name: "HSET",
        summary: "Sets fields of a hash, which is created if there is none.",
        complexity: "O(N) where N is the number of fields that are set",
        ..SETTER
    },
    run: |call, args, reply| {
        let new = set(call, args, "hset")?;
        reply.integer(new as i64);
        Ok(())
    },
};

/// `HMSET`.
pub(super) static HMSET: Command = Command {
    spec: Spec {
        name: "HMSET",
        summary: "Sets fields of a hash; HSET's older form.",
        complexity: "O(N) where N is the number of fields that are set",
        ..SETTER
    },
    run: |call, args, reply| {
        set(call, args, "hmset")?;
        reply.ok();
        Ok(())
    },
};

/// Sets the pairs behind the key; says how many fields are new.
#[inline]
fn set(call: &mut Call<'_>, args: &Args<'_>, command: &'static str) -> Result<usize, CommandError> {
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::WrongArity(command.into()));
    }
    let key = call.key(args, 1);
    call.write_hash(key)?;
    let new = set_pairs(call, key, &args.words()[2..]);
    call.effect_parts(&[b"HSET"], &args.words()[1..]);
    Ok(new)
}

/// Sets fields, names and values by turns, without deadlines, with all that belongs to it but the effect; the key's type was checked.
#[inline]
fn set_pairs(call: &mut Call<'_>, key: Key<'_>, pairs: &[&[u8]]) -> usize {
    let now_ms = clock(call);
    let (mut new, mut dead) = (0, 0);
    call.edit_hash(key, |hash, shaping| {
        hash.prepare(pairs, shaping);
        for pair in pairs.chunks_exact(2) {
            match hash.set(pair[0], pair[1], Lifetime::Unlimited, now_ms, shaping) {
                Found::Nothing => new += 1,
                Found::Dead => {
                    new += 1;
                    dead += 1;
                }
                Found::Live => {}
            }
        }
    });
    call.changed(key);
    call.fields_expired(dead, key);
    call.hash_event("hset", key);
    new
}

/// `HSETNX`.
pub(super) static HSETNX: Command = Command {
    spec: Spec {
        name: "HSETNX",
        arity: Arity::Exactly(4),
        keys: Keys::first("RW INSERT"),
        summary: "Sets a field of a hash that does not exist yet.",
        syntax: "key field value",
        ..SETTER
    },
    run: |call, args, reply| {
        let key = call.key(args, 1);
        let now_ms = clock(call);
        let exists = call.write_hash(key)?.is_some_and(|hash| hash.live(args.get(2), now_ms).is_some());
        if !exists {
            set_pairs(call, key, &args.words()[2..]);
            call.effect_parts(&[b"HSET"], &args.words()[1..]);
        }
        reply.integer(i64::from(!exists));
        Ok(())
    },
};

/// `HDEL`.
pub(super) static HDEL: Command = Command {
    spec: Spec {
        name: "HDEL",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::FAST).and(Flags::MEMBERS),
        keys: Keys::first("RW DELETE"),
        summary: "Removes fields of a hash, and the hash if none is left.",
        complexity: "O(N) where N is the number of fields to be removed",
        syntax: "key field [field ...]",
        ..BASE
    },
    run: |call, args, reply| {
        let key = call.key(args, 1);
        let removed = if call.write_hash(key)?.is_some() { remove(call, key, &args.words()[2..]) } else { 0 };
        reply.integer(removed as i64);
        Ok(())
    },
};

/// Removes fields of a hash that is there, with all that belongs to it; says how many there were.
fn remove(call: &mut Call<'_>, key: Key<'_>, names: &[&[u8]]) -> usize {
    let now_ms = clock(call);
    let mut removed = Vec::with_capacity(names.len());
    let edited = call.edit_hash(key, |hash, _| {
        removed.extend(names.iter().copied().filter(|name| hash.remove(name, now_ms)));
    });
    fields_were_removed(call, key, &removed, edited.removed);
    removed.len()
}

/// What belongs to fields that were removed.
fn fields_were_removed(call: &mut Call<'_>, key: Key<'_>, names: &[&[u8]], key_removed: bool) {
    if !names.is_empty() {
        call.changed(key);
        call.hash_event("hdel", key);
        call.hash_removed(key_removed, key);
        call.effect_parts(&[b"HDEL", key.bytes], names);
    }
}

/// `HGETDEL`.
pub(super) static HGETDEL: Command = Command {
    spec: Spec {
        name: "HGETDEL",
        arity: Arity::AtLeast(5),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::first("RW ACCESS DELETE"),
        since: "9.1.0",
        summary: "Returns the values of fields of a hash and removes the fields.",
        complexity: PER_FIELD,
        syntax: "key FIELDS numfields field [field ...]",
        ..BASE
    },
    run: |call, args, reply| {
        let names = fields_after_key(args, WRONG_COUNT)?;
        let key = call.key(args, 1);
        let now_ms = clock(call);
        let exists = call.write_hash(key)?.is_some();
        reply.array(names.len());
        if !exists {
            names.iter().for_each(|_| reply.null());
            return Ok(());
        }
        let mut removed = Vec::with_capacity(names.len());
        let edited = call.edit_hash(key, |hash, _| {
            for name in names {
                match hash.view().live(name, now_ms) {
                    Some(held) => reply.element(held.value),
                    None => {
                        reply.null();
                        continue;
                    }
                }
                hash.remove(name, now_ms);
                removed.push(*name);
            }
        });
        fields_were_removed(call, key, &removed, edited.removed);
        Ok(())
    },
};

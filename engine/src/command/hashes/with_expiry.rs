//! Fields are set or read together with their deadlines: HSETEX, HGETEX.

use super::expiry::{deadline_was_cleared, deadline_was_set, removed_as_expired};
use super::{BASE, PER_FIELD, WRONG_COUNT, clock, counted_fields, find_fields};
use crate::command::expiry::has_passed;
use crate::command::strings::Ttl;
use crate::command::{Args, Arity, Call, Command, CommandError, Flags, Keys, Reply, Spec};
use crate::engine::EventClass;
use crate::key::Key;
use crate::value::hash::{Found, Lifetime};

/// `HSETEX`.
pub(super) static HSETEX: Command = Command {
    spec: Spec {
        name: "HSETEX",
        arity: Arity::AtLeast(6),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: Keys::first("RW INSERT"),
        since: "9.0.0",
        summary: "Sets fields of a hash together with their deadline.",
        complexity: PER_FIELD,
        syntax: "key [NX | XX] [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds \
                 | KEEPTTL] FIELDS numfields field value [field value ...]",
        ..BASE
    },
    run: hsetex,
};

/// What HSETEX is told before FIELDS: `Some(true)` wants the hash, or every field, to exist, `Some(false)` wants it not to.
struct SetOptions {
    hash: Option<bool>,
    fields: Option<bool>,
    ttl: Ttl,
}

/// Options up to word `end`.
fn set_options(args: &Args<'_>, end: usize) -> Result<SetOptions, CommandError> {
    let args = Args::new(&args.words()[..end]);
    let mut options = SetOptions { hash: None, fields: None, ttl: Ttl::Unsaid };
    let mut at = 2;
    while at < end {
        let (slot, wanted) = match args.get(at) {
            word if word.eq_ignore_ascii_case(b"NX") => (&mut options.hash, false),
            word if word.eq_ignore_ascii_case(b"XX") => (&mut options.hash, true),
            word if word.eq_ignore_ascii_case(b"FNX") => (&mut options.fields, false),
            word if word.eq_ignore_ascii_case(b"FXX") => (&mut options.fields, true),
            word if word.eq_ignore_ascii_case(b"KEEPTTL") && matches!(options.ttl, Ttl::Unsaid | Ttl::Keep) => {
                options.ttl = Ttl::Keep;
                at += 1;
                continue;
            }
            _ => {
                options.ttl = options.ttl.option(&args, at).ok_or(CommandError::Syntax)?;
                at += 2;
                continue;
            }
        };
        if slot.is_some_and(|said| said != wanted) {
            return Err(CommandError::Syntax);
        }
        *slot = Some(wanted);
        at += 1;
    }
    Ok(options)
}

/// Answers 1 if all fields were set (or removed, because their deadline has passed), 0 if a condition does not hold.
fn hsetex(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    // Valkey looks for FIELDS from the key on, so that it does not take a key of that name.
    let index = find_fields(args, 2)?;
    let options = set_options(args, index)?;
    let pairs = counted_fields(args, index, 2, WRONG_COUNT)?;
    let key = call.key(args, 1);
    let now_ms = clock(call);
    let exists = call.write_hash(key)?.is_some();
    if options.hash.is_some_and(|wanted| wanted != exists) {
        reply.integer(0);
        return Ok(());
    }
    let at = options.ttl.deadline(0, call, args, "hsetex")?;
    if let Some(wanted) = options.fields {
        let hash = call.write_hash(key)?;
        let is_there = |name: &[u8]| hash.is_some_and(|hash| hash.live(name, now_ms).is_some());
        if !pairs.chunks_exact(2).all(|pair| is_there(pair[0]) == wanted) {
            reply.integer(0);
            return Ok(());
        }
    }
    match at {
        Some(at) if has_passed(call, at) => remove_at_once(call, key, pairs, exists),
        at => set_with_lifetime(call, key, pairs, at, options.ttl == Ttl::Keep),
    }
    reply.integer(1);
    Ok(())
}

/// HSETEX with a deadline that has passed: the fields are gone, dead ones as well.
fn remove_at_once(call: &mut Call<'_>, key: Key<'_>, pairs: &[&[u8]], exists: bool) {
    let mut removed = Vec::new();
    let mut key_removed = true;
    if exists {
        let names = pairs.chunks_exact(2).map(|pair| pair[0]);
        let edited = call.edit_hash(key, |hash, _| {
            removed.extend(names.filter(|name| hash.remove(name, 0)));
        });
        key_removed = edited.removed;
    } else {
        call.event(EventClass::New, "new", key.bytes);
    }
    call.engine.stats.expired_fields += (pairs.len() / 2) as u64;
    call.hash_event("hset", key);
    call.hash_event("hexpire", key);
    call.hash_event("hexpired", key);
    call.hash_removed(key_removed, key);
    if !removed.is_empty() {
        call.changed(key);
        call.effect_parts(&[b"HDEL", key.bytes], &removed);
    }
}

fn set_with_lifetime(call: &mut Call<'_>, key: Key<'_>, pairs: &[&[u8]], at: Option<u64>, keep: bool) {
    let lifetime = match at {
        Some(at) => Lifetime::Until(at),
        None if keep => Lifetime::Kept,
        None => Lifetime::Unlimited,
    };
    let now_ms = clock(call);
    let mut dead = Vec::new();
    call.edit_hash(key, |hash, shaping| {
        for pair in pairs.chunks_exact(2) {
            if hash.set(pair[0], pair[1], lifetime, now_ms, shaping) == Found::Dead {
                dead.push(pair[0]);
            }
        }
    });
    call.changed(key);
    call.fields_expired(dead.len(), key);
    call.hash_event("hset", key);
    let (mut ms, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
    let count = count.format(pairs.len() / 2).as_bytes();
    match at {
        Some(at) => {
            call.hash_event("hexpire", key);
            let ms = ms.format(at).as_bytes();
            call.effect_parts(&[b"HSETEX", key.bytes, b"PXAT", ms, b"FIELDS", count], pairs);
        }
        None if keep => {
            call.effect_parts(&[b"HSETEX", key.bytes, b"KEEPTTL", b"FIELDS", count], pairs);
            // A replay does not know that these were dead, and has kept their deadlines. (Were they removed first, a hash of nothing else
            // would be gone for a moment, and its own deadline with it.)
            if !dead.is_empty() {
                let mut count = itoa::Buffer::new();
                call.effect_parts(&[b"HPERSIST", key.bytes, b"FIELDS", count.format(dead.len()).as_bytes()], &dead);
            }
        }
        None => call.effect_parts(&[b"HSET", key.bytes], pairs),
    }
}

/// `HGETEX`.
pub(super) static HGETEX: Command = Command {
    spec: Spec {
        name: "HGETEX",
        arity: Arity::AtLeast(5),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::first("RW ACCESS UPDATE"),
        since: "9.0.0",
        summary: "Returns the values of fields of a hash and sets or clears the fields' deadlines.",
        complexity: PER_FIELD,
        syntax: "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST] FIELDS \
                 numfields field [field ...]",
        ..BASE
    },
    run: hgetex,
};

fn hgetex(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let index = find_fields(args, 2)?;
    let head = Args::new(&args.words()[..index]);
    let (mut ttl, mut word) = (Ttl::Unsaid, 2);
    while word < index {
        if head.is(word, "PERSIST") && matches!(ttl, Ttl::Unsaid | Ttl::Persist) {
            ttl = Ttl::Persist;
            word += 1;
        } else {
            ttl = ttl.option(&head, word).ok_or(CommandError::Syntax)?;
            word += 2;
        }
    }
    let names = counted_fields(args, index, 1, WRONG_COUNT)?;
    let key = call.key(args, 1);
    let exists = call.read_hash(key)?.is_some();
    let at = ttl.deadline(0, call, args, "hgetex")?;
    reply.array(names.len());
    if !exists {
        names.iter().for_each(|_| reply.null());
        return Ok(());
    }
    let now_ms = clock(call);
    if ttl == Ttl::Unsaid {
        let hash = call.write_hash(key)?;
        for name in names {
            match hash.and_then(|hash| hash.live(name, now_ms)) {
                Some(held) => reply.element(held.value),
                None => reply.null(),
            }
        }
        return Ok(());
    }
    let passed = at.is_some_and(|at| has_passed(call, at));
    let mut changed = Vec::with_capacity(names.len());
    let edited = call.edit_hash(key, |hash, shaping| {
        let seed = &shaping.seed;
        for name in names {
            let Some(held) = hash.view().live(name, now_ms) else {
                reply.null();
                continue;
            };
            reply.element(held.value);
            // PERSIST changes only what has a deadline.
            if at.is_none() && held.deadline.is_none() {
                continue;
            }
            if passed {
                hash.remove(name, now_ms);
            } else {
                hash.set_deadline(name, at, now_ms, seed);
            }
            changed.push(*name);
        }
    });
    match at {
        _ if changed.is_empty() => {}
        Some(_) if passed => removed_as_expired(call, key, &changed, edited.removed),
        Some(at) => deadline_was_set(call, key, at, &changed),
        None => deadline_was_cleared(call, key, &changed),
    }
    Ok(())
}

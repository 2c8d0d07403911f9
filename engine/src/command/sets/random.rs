//! Members by chance: SPOP, SRANDMEMBER.
//!
//! Effects: SPOP is logged as SREM of what it drew, or as DEL if that was all.

use super::super::sample::{Draw, Wanted, distinct};
use super::super::walk::Found;
use super::super::{Args, Arity, Call, Command, CommandError, Flags, Group, Keys, Reply, Spec};
use super::members::write_members;
use crate::engine::EventClass;
use crate::key::Key;
use crate::limits::STRING_LEN_LIMIT;
use crate::value::listpack::IntegerText;

/// `SPOP`.
pub(super) static SPOP: Command = Command {
    spec: Spec {
        name: "SPOP",
        arity: Arity::AtLeast(2),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::first("RW ACCESS DELETE"),
        group: Group::Set,
        since: "1.0.0",
        summary: "Removes random members from a set and returns them; removes the key with the last of them.",
        complexity: "Without the count argument O(1), otherwise O(N) where N is the count",
        syntax: "key [count]",
        ..Spec::BASE
    },
    run: spop,
};

fn spop(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let key = call.key(args, 1);
    let count = match args.len() {
        2 => None,
        3 => {
            let count = args.integer(2).ok().and_then(|count| usize::try_from(count).ok());
            Some(count.ok_or(CommandError::Text("ERR value is out of range, must be positive".into()))?)
        }
        _ => return Err(CommandError::Syntax),
    };
    let Some(len) = call.write_set(key)?.map(|set| set.len()) else {
        if count.is_some() {
            reply.set(0);
        } else {
            reply.null();
        }
        return Ok(());
    };
    match count {
        Some(0) => reply.set(0),
        Some(count) if count >= len => {
            if let Some(set) = call.write_set(key)? {
                write_members(set, reply);
            }
            call.event(EventClass::Set, "spop", key.bytes);
            call.delete(key);
            call.effect(&[b"DEL", key.bytes]);
        }
        Some(count) => pop(call, key, count)?.write_set(reply),
        None => pop(call, key, 1)?.iter().for_each(|member| reply.bulk(member)),
    }
    Ok(())
}

/// Removes `count` random members, which the set must have: fewer if one record cannot name them all, which takes gigabytes.
///
/// # Errors
/// It cannot name a single one.
fn pop(call: &mut Call<'_>, key: Key<'_>, count: usize) -> Result<Found, CommandError> {
    /// What stands around a member in the record.
    const AROUND: usize = 5;
    let room = call.engine.effects.room().saturating_sub(key.bytes.len() + 64);
    let mut draw = Draw::new(call.engine);
    let edited = call.edit_set(key, |set, _| {
        let (mut found, mut len, mut text) = (Found::default(), 0, IntegerText::new());
        for _ in 0..count {
            let rank = draw.below(set.view().len());
            let scarce = len + STRING_LEN_LIMIT + AROUND > room;
            if scarce && len + set.view().at(rank).as_bytes(&mut text).len() + AROUND > room {
                break;
            }
            len += AROUND;
            set.take_at(rank, |member| {
                len += member.len();
                found.push(member);
            });
        }
        found
    });
    let found = edited.result;
    if found.iter().next().is_none() {
        return Err(CommandError::RecordTooLong);
    }
    call.changed(key);
    call.event(EventClass::Set, "spop", key.bytes);
    if edited.removed {
        call.event(EventClass::Generic, "del", key.bytes);
    }
    let members: Vec<&[u8]> = found.iter().collect();
    call.effect_parts(&[b"SREM", key.bytes], &members);
    drop(members);
    Ok(found)
}

/// `SRANDMEMBER`.
pub(super) static SRANDMEMBER: Command = Command {
    spec: Spec {
        name: "SRANDMEMBER",
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY,
        keys: Keys::first("RO ACCESS"),
        group: Group::Set,
        since: "1.0.0",
        summary: "Returns random members of a set: different ones, or, with a negative count, any.",
        complexity: "Without the count argument O(1), otherwise O(N) where N is the absolute value of the count",
        syntax: "key [count]",
        ..Spec::BASE
    },
    run: srandmember,
};

fn srandmember(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let key = call.key(args, 1);
    let wanted = match args.len() {
        2 => None,
        3 => Some(Wanted::parse(args.integer(2)?, false)?),
        _ => return Err(CommandError::Syntax),
    };
    let mut draw = Draw::new(call.engine);
    let mut text = IntegerText::new();
    let set = call.read_set(key)?;
    match (set, wanted) {
        (None, None) => reply.null(),
        (None, Some(_)) => reply.array(0),
        (Some(set), None) => reply.bulk(set.at(draw.below(set.len())).as_bytes(&mut text)),
        (Some(set), Some(Wanted::Any(count))) => {
            reply.array(count);
            for _ in 0..count {
                reply.bulk(set.at(draw.below(set.len())).as_bytes(&mut text));
            }
        }
        (Some(set), Some(Wanted::Different(count))) if count >= set.len() => {
            reply.array(set.len());
            set.iter().for_each(|member| reply.bulk(member.as_bytes(&mut text)));
        }
        (Some(set), Some(Wanted::Different(count))) => {
            reply.array(count);
            let ranks = distinct(set.len(), count, &mut draw);
            if count.saturating_mul(3) > set.len() {
                // Ascending: one walk is cheaper than as many look-ups.
                let mut ranks = ranks.into_iter().peekable();
                for (rank, member) in set.iter().enumerate() {
                    if ranks.next_if_eq(&rank).is_some() {
                        reply.bulk(member.as_bytes(&mut text));
                    }
                }
            } else {
                ranks.into_iter().for_each(|rank| reply.bulk(set.at(rank).as_bytes(&mut text)));
            }
        }
    }
    Ok(())
}

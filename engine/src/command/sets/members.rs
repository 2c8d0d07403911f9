//! Members by name: SADD, SREM, SMEMBERS, SISMEMBER, SMISMEMBER, SCARD, SMOVE, SSCAN.
//!
//! Effects: SADD and SREM as they came, SMOVE as it came if it moved something.

use super::super::walk::{self, Found, Walk, WalkOptions};
use super::super::{Args, Arity, Call, Command, CommandError, Flags, Group, Keys, Reply, Spec};
use crate::engine::EventClass;
use crate::value::SetView;
use crate::value::listpack::IntegerText;

const FAST_READ: Flags = Flags::READONLY.and(Flags::FAST).and(Flags::MEMBERS);

/// `SADD`.
pub(super) static SADD: Command = Command {
    spec: Spec {
        name: "SADD",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST).and(Flags::MEMBERS),
        keys: Keys::first("RW INSERT"),
        group: Group::Set,
        since: "1.0.0",
        summary: "Adds members to a set; creates the set if need be.",
        complexity: "O(N) where N is the number of members to be added",
        syntax: "key member [member ...]",
        ..Spec::BASE
    },
    run: sadd,
};

fn sadd(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let (key, members) = (call.key(args, 1), &args.words()[2..]);
    call.write_set(key)?;
    let edited = call.edit_set(key, |set, shaping| {
        set.expect(members[0], members.len(), shaping);
        members.iter().filter(|member| set.add(member, shaping)).count()
    });
    if edited.result > 0 {
        call.changed(key);
        call.event(EventClass::Set, "sadd", key.bytes);
        call.effect_parts(&[b"SADD"], &args.words()[1..]);
    }
    reply.integer(edited.result as i64);
    Ok(())
}

/// `SREM`.
pub(super) static SREM: Command = Command {
    spec: Spec {
        name: "SREM",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::FAST).and(Flags::MEMBERS),
        keys: Keys::first("RW DELETE"),
        group: Group::Set,
        since: "1.0.0",
        summary: "Removes members from a set; removes the key with the last of them.",
        complexity: "O(N) where N is the number of members to be removed",
        syntax: "key member [member ...]",
        ..Spec::BASE
    },
    run: srem,
};

fn srem(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let (key, members) = (call.key(args, 1), &args.words()[2..]);
    if call.write_set(key)?.is_none() {
        reply.integer(0);
        return Ok(());
    }
    let edited = call.edit_set(key, |set, _| members.iter().filter(|member| set.remove(member)).count());
    if edited.result > 0 {
        call.changed(key);
        call.event(EventClass::Set, "srem", key.bytes);
        if edited.removed {
            call.event(EventClass::Generic, "del", key.bytes);
        }
        call.effect_parts(&[b"SREM"], &args.words()[1..]);
    }
    reply.integer(edited.result as i64);
    Ok(())
}

/// `SMEMBERS`.
pub(super) static SMEMBERS: Command = Command {
    spec: Spec {
        name: "SMEMBERS",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY,
        keys: Keys::first("RO ACCESS"),
        group: Group::Set,
        since: "1.0.0",
        summary: "Returns all members of a set.",
        complexity: "O(N) where N is the number of members",
        syntax: "key",
        ..Spec::BASE
    },
    run: |call, args, reply| {
        match call.read_set(call.key(args, 1))? {
            Some(set) => write_members(set, reply),
            None => reply.set(0),
        }
        Ok(())
    },
};

/// Answers all members as a set.
pub(super) fn write_members(set: SetView<'_>, reply: &mut dyn Reply) {
    let mut text = IntegerText::new();
    reply.set(set.len());
    set.iter().for_each(|member| reply.bulk(member.as_bytes(&mut text)));
}

/// `SISMEMBER`.
pub(super) static SISMEMBER: Command = Command {
    spec: Spec {
        name: "SISMEMBER",
        arity: Arity::Exactly(3),
        flags: FAST_READ,
        keys: Keys::first("RO"),
        group: Group::Set,
        since: "1.0.0",
        summary: "Tells whether a member is in a set.",
        syntax: "key member",
        ..Spec::BASE
    },
    run: |call, args, reply| {
        let found = call.read_set(call.key(args, 1))?.is_some_and(|set| set.contains(args.get(2)));
        reply.integer(i64::from(found));
        Ok(())
    },
};

/// `SMISMEMBER`.
pub(super) static SMISMEMBER: Command = Command {
    spec: Spec {
        name: "SMISMEMBER",
        arity: Arity::AtLeast(3),
        flags: FAST_READ,
        keys: Keys::first("RO ACCESS"),
        group: Group::Set,
        since: "6.2.0",
        summary: "Tells of several members whether each is in a set.",
        complexity: "O(N) where N is the number of members that are asked for",
        syntax: "key member [member ...]",
        ..Spec::BASE
    },
    run: |call, args, reply| {
        let set = call.read_set(call.key(args, 1))?;
        reply.array(args.len() - 2);
        for member in &args.words()[2..] {
            reply.integer(i64::from(set.is_some_and(|set| set.contains(member))));
        }
        Ok(())
    },
};

/// `SCARD`.
pub(super) static SCARD: Command = Command {
    spec: Spec {
        name: "SCARD",
        arity: Arity::Exactly(2),
        flags: FAST_READ,
        keys: Keys::first("RO"),
        group: Group::Set,
        since: "1.0.0",
        summary: "Returns the number of members of a set.",
        syntax: "key",
        ..Spec::BASE
    },
    run: |call, args, reply| {
        reply.integer(call.read_set(call.key(args, 1))?.map_or(0, SetView::len) as i64);
        Ok(())
    },
};

/// `SMOVE`.
pub(super) static SMOVE: Command = Command {
    spec: Spec {
        name: "SMOVE",
        arity: Arity::Exactly(4),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::Range { first: 1, last: 2, step: 1, access: "RW ACCESS DELETE | RW INSERT" },
        group: Group::Set,
        since: "1.0.0",
        summary: "Moves a member from one set to another.",
        syntax: "source destination member",
        ..Spec::BASE
    },
    run: smove,
};

fn smove(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let (from, to, member) = (call.key(args, 1), call.key(args, 2), args.get(3));
    // The other key's type does not matter where there is nothing to move from.
    let found = match call.write(from) {
        None => None,
        Some(_) => {
            let found = call.write_set(from)?.is_some_and(|set| set.contains(member));
            call.write_set(to)?;
            Some(found)
        }
    };
    let found = found.unwrap_or(false);
    if found && from.bytes != to.bytes {
        let removed = call.edit_set(from, |set, _| set.remove(member)).removed;
        call.changed(from);
        call.event(EventClass::Set, "srem", from.bytes);
        if removed {
            call.event(EventClass::Generic, "del", from.bytes);
        }
        let added = call.edit_set(to, |set, shaping| set.add(member, shaping)).result;
        if added {
            call.changed(to);
            call.event(EventClass::Set, "sadd", to.bytes);
        }
        call.effect(&[b"SMOVE", from.bytes, to.bytes, member]);
    }
    reply.integer(i64::from(found));
    Ok(())
}

/// `SSCAN`.
pub(super) static SSCAN: Command = Command {
    spec: Spec {
        name: "SSCAN",
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY,
        keys: Keys::first("RO ACCESS"),
        group: Group::Set,
        since: "2.8.0",
        summary: "Walks the members of a set a few at a time; a member present all along is returned exactly once.",
        complexity: "O(1) for every call, O(N) for a whole walk, where N is the number of members",
        syntax: "key cursor [MATCH pattern] [COUNT count]",
        ..Spec::BASE
    },
    run: sscan,
};

fn sscan(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let cursor = walk::cursor(args, 2)?;
    let mut found = Found::default();
    let next = match call.read_set(call.key(args, 1))? {
        None => 0,
        Some(set) => {
            let options = WalkOptions::parse(args, 3, Walk::Set)?;
            set.scan(cursor, options.count, |member| {
                if options.pattern.fits(member) {
                    found.push(member);
                }
            })
        }
    };
    found.write_walk(next, reply);
    Ok(())
}

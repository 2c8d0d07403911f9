//! LPUSH, RPUSH, LPUSHX, RPUSHX, LPOP, RPOP.

use super::{Args, Arity, Call, Command, CommandError, End, Flags, Keys, LIST, Reply, Spec, pop, pop_effect, positive};
use crate::engine::EventClass;

const PUSH: Spec = Spec {
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
    keys: Keys::first("RW INSERT"),
    complexity: "O(1) for each element",
    syntax: "key element [element ...]",
    ..LIST
};

/// `LPUSH`.
pub(super) static LPUSH: Command = Command {
    spec: Spec {
        name: "LPUSH",
        summary: "Adds elements at the front of a list, one after the other; creates the list if need be.",
        ..PUSH
    },
    run: |call, args, reply| push(call, args, reply, End::Left, true),
};

/// `RPUSH`.
pub(super) static RPUSH: Command = Command {
    spec: Spec { name: "RPUSH", summary: "Adds elements at the back of a list; creates the list if need be.", ..PUSH },
    run: |call, args, reply| push(call, args, reply, End::Right, true),
};

/// `LPUSHX`.
pub(super) static LPUSHX: Command = Command {
    spec: Spec {
        name: "LPUSHX",
        since: "2.2.0",
        summary: "Adds elements at the front of a list that exists, one after the other.",
        ..PUSH
    },
    run: |call, args, reply| push(call, args, reply, End::Left, false),
};

/// `RPUSHX`.
pub(super) static RPUSHX: Command = Command {
    spec: Spec { name: "RPUSHX", since: "2.2.0", summary: "Adds elements at the back of a list that exists.", ..PUSH },
    run: |call, args, reply| push(call, args, reply, End::Right, false),
};

fn push(
    call: &mut Call<'_>,
    args: &Args<'_>,
    reply: &mut dyn Reply,
    end: End,
    create: bool,
) -> Result<(), CommandError> {
    let key = call.key(args, 1);
    if call.write_list(key)?.is_none() && !create {
        reply.integer(0);
        return Ok(());
    }
    let elements = args.words()[2..].iter().copied();
    let len = call
        .edit_list(key, |list, shaping| {
            list.push(end == End::Left, elements, shaping);
            list.len()
        })
        .result;
    call.changed(key);
    let (name, event) = end.push_names();
    call.event(EventClass::List, event, key.bytes);
    call.effect_parts(&[name], &args.words()[1..]);
    reply.integer(len as i64);
    Ok(())
}

const POP: Spec = Spec {
    arity: Arity::AtLeast(2),
    flags: Flags::WRITE.and(Flags::FAST),
    keys: Keys::first("RW ACCESS DELETE"),
    complexity: "O(N) where N is the number of elements returned",
    syntax: "key [count]",
    ..LIST
};

/// `LPOP`.
pub(super) static LPOP: Command = Command {
    spec: Spec { name: "LPOP", summary: "Removes and returns elements at the front of a list.", ..POP },
    run: |call, args, reply| pop_some(call, args, reply, End::Left),
};

/// `RPOP`.
pub(super) static RPOP: Command = Command {
    spec: Spec { name: "RPOP", summary: "Removes and returns elements at the back of a list.", ..POP },
    run: |call, args, reply| pop_some(call, args, reply, End::Right),
};

fn pop_some(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply, end: End) -> Result<(), CommandError> {
    let count = match args.len() {
        2 => None,
        3 => Some(positive(args.get(2), "ERR value is out of range, must be positive")?),
        _ => return Err(CommandError::WrongArity(end.pop_names().1.into())),
    };
    let key = call.key(args, 1);
    let Some(len) = call.write_list(key)?.map(|list| list.len()) else {
        if count.is_some() {
            reply.null_array();
        } else {
            reply.null();
        }
        return Ok(());
    };
    if let Some(count) = count {
        reply.array(count.min(len));
        if count == 0 {
            return Ok(());
        }
    }
    let count = pop(call, key, end, len, count.unwrap_or(1), reply);
    pop_effect(call, key, end, count);
    Ok(())
}

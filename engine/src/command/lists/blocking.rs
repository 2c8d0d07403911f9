//! BLPOP, BRPOP, BLMOVE, BRPOPLPUSH, BLMPOP: as their forms that do not wait, if there is something; else they wait.

use super::several::{MOVE, Record, Several, move_element};
use super::{Args, Arity, Call, Command, CommandError, End, Flags, Keys, LIST, Reply, Spec, pop, pop_effect};
use crate::command::counted_keys;
use crate::value::Kind;
use crate::waiting::Block;

const POP: Spec = Spec {
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.and(Flags::BLOCKING),
    keys: Keys::Range { first: 1, last: -2, step: 1, access: "RW ACCESS DELETE" },
    since: "2.0.0",
    complexity: "O(N) where N is the number of keys",
    syntax: "key [key ...] timeout",
    ..LIST
};

/// `BLPOP`.
pub(super) static BLPOP: Command = Command {
    spec: Spec {
        name: "BLPOP",
        summary: "Removes and returns the first element of the first of several lists that exists; waits for one if there is none.",
        ..POP
    },
    run: |call, args, reply| pop_or_wait(call, args, reply, End::Left),
};

/// `BRPOP`.
pub(super) static BRPOP: Command = Command {
    spec: Spec {
        name: "BRPOP",
        summary: "Removes and returns the last element of the first of several lists that exists; waits for one if there is none.",
        ..POP
    },
    run: |call, args, reply| pop_or_wait(call, args, reply, End::Right),
};

fn pop_or_wait(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply, end: End) -> Result<(), CommandError> {
    let last = args.len() - 1;
    let timeout_ms = call.timeout_seconds(args, last)?;
    for index in 1..last {
        let key = call.key(args, index);
        if let Some(len) = call.write_list(key)?.map(|list| list.len()) {
            reply.array(2);
            reply.bulk(key.bytes);
            let count = pop(call, key, end, len, 1, reply);
            pop_effect(call, key, end, count);
            return Ok(());
        }
    }
    if call.may_block() {
        call.block(Block::on(Kind::List, timeout_ms), args.words()[1..last].iter().copied());
    } else {
        reply.null_array();
    }
    Ok(())
}

/// `BLMOVE`.
pub(super) static BLMOVE: Command = Command {
    spec: Spec {
        name: "BLMOVE",
        arity: Arity::Exactly(6),
        flags: MOVE.flags.and(Flags::BLOCKING),
        summary: "Takes an element from an end of a list and adds it at an end of another; waits for one if there is none.",
        syntax: "source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout",
        ..MOVE
    },
    run: |call, args, reply| {
        let ends = (End::parse(args.get(3))?, End::parse(args.get(4))?);
        let timeout_ms = call.timeout_seconds(args, 5)?;
        move_or_wait(call, args, reply, ends, Record::Lmove, timeout_ms)
    },
};

/// `BRPOPLPUSH`.
pub(super) static BRPOPLPUSH: Command = Command {
    spec: Spec {
        name: "BRPOPLPUSH",
        arity: Arity::Exactly(4),
        flags: MOVE.flags.and(Flags::BLOCKING),
        since: "2.2.0",
        summary: "Takes the last element of a list and adds it at the front of another; waits for one if there is none.",
        syntax: "source destination timeout",
        ..MOVE
    },
    run: |call, args, reply| {
        let timeout_ms = call.timeout_seconds(args, 3)?;
        move_or_wait(call, args, reply, (End::Right, End::Left), Record::Rpoplpush, timeout_ms)
    },
};

fn move_or_wait(
    call: &mut Call<'_>,
    args: &Args<'_>,
    reply: &mut dyn Reply,
    ends: (End, End),
    record: Record,
    timeout_ms: Option<u64>,
) -> Result<(), CommandError> {
    if move_element(call, args, ends, record, reply)? {
        return Ok(());
    }
    if call.may_block() {
        call.block(Block::on(Kind::List, timeout_ms), [args.get(1)]);
    } else {
        reply.null();
    }
    Ok(())
}

/// `BLMPOP`.
pub(super) static BLMPOP: Command = Command {
    spec: Spec {
        name: "BLMPOP",
        arity: Arity::AtLeast(5),
        flags: Flags::WRITE.and(Flags::BLOCKING).and(Flags::MOVABLEKEYS),
        keys: Keys::Found {
            find: |words, found| counted_keys(words, 2, found),
            legacy: (0, 0, 0),
            access: "RW ACCESS DELETE",
        },
        since: "7.0.0",
        summary: "Removes and returns elements at an end of the first of several lists that exists; waits for one if there is none.",
        complexity: "O(N+M) where N is the number of keys and M that of the elements returned",
        syntax: "timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
        ..LIST
    },
    run: |call, args, reply| {
        let several = Several::parse(args, 2)?;
        let timeout_ms = call.timeout_seconds(args, 1)?;
        if several.pop(call, args, reply)? {
            return Ok(());
        }
        if call.may_block() {
            call.block(Block::on(Kind::List, timeout_ms), args.words()[several.keys].iter().copied());
        } else {
            reply.null_array();
        }
        Ok(())
    },
};

//! XLEN, XRANGE, XREVRANGE, XDEL: entries by their IDs.

use super::super::{Args, Arity, Call, Command, CommandError, Flags, Group, Keys, Reply, Spec};
use super::{count, id, interval_end, interval_start, reply_entry, reply_range};
use crate::engine::EventClass;

/// `XLEN`.
pub(super) static XLEN: Command = Command {
    spec: Spec {
        name: "XLEN",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::first("RO"),
        group: Group::Stream,
        since: "5.0.0",
        summary: "Returns the number of entries of a stream.",
        complexity: "O(1)",
        syntax: "key",
        ..Spec::BASE
    },
    run: |call, args, reply| {
        let key = call.key(args, 1);
        reply.integer(call.read_stream(key)?.map_or(0, |stream| stream.len() as i64));
        Ok(())
    },
};

const RANGE: Spec = Spec {
    arity: Arity::AtLeast(4),
    flags: Flags::READONLY,
    keys: Keys::first("RO ACCESS"),
    group: Group::Stream,
    since: "5.0.0",
    complexity: "O(N) with N being the number of entries returned, and O(log(M)) to find the first in a stream of M entries",
    ..Spec::BASE
};

/// `XRANGE`.
pub(super) static XRANGE: Command = Command {
    spec: Spec {
        name: "XRANGE",
        summary: "Returns the entries of a stream with IDs from one to another.",
        syntax: "key start end [COUNT count]",
        ..RANGE
    },
    run: |call, args, reply| range(call, args, reply, false),
};

/// `XREVRANGE`.
pub(super) static XREVRANGE: Command = Command {
    spec: Spec {
        name: "XREVRANGE",
        summary: "Returns the entries of a stream with IDs from one to another, newest first.",
        syntax: "key end start [COUNT count]",
        ..RANGE
    },
    run: |call, args, reply| range(call, args, reply, true),
};

fn range(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply, backward: bool) -> Result<(), CommandError> {
    let (start, end) = if backward { (3, 2) } else { (2, 3) };
    let start = interval_start(args.get(start))?;
    let end = interval_end(args.get(end))?;
    let mut max = usize::MAX;
    let mut index = 4;
    while index < args.len() {
        if !args.is(index, "COUNT") || index + 1 == args.len() {
            return Err(CommandError::Syntax);
        }
        max = count(args, index + 1)?;
        index += 2;
    }
    let key = call.key(args, 1);
    match call.read_stream(key)? {
        None => reply.array(0),
        Some(_) if max == 0 => reply.null_array(),
        Some(stream) if backward => {
            reply.array(stream.count(start, end, max));
            stream.range_backward(start, end).take(max).for_each(|entry| reply_entry(reply, entry));
        }
        Some(stream) => reply_range(reply, stream, start, end, max),
    }
    Ok(())
}

/// `XDEL`.
pub(super) static XDEL: Command = Command {
    spec: Spec {
        name: "XDEL",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::first("RW DELETE"),
        group: Group::Stream,
        since: "5.0.0",
        summary: "Removes entries from a stream, and returns how many were there.",
        complexity: "O(log(N)) for each ID in a stream of N entries",
        syntax: "key id [id ...]",
        ..Spec::BASE
    },
    run: xdel,
};

fn xdel(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let key = call.key(args, 1);
    if call.write_stream(key)?.is_none() {
        reply.integer(0);
        return Ok(());
    }
    let ids = args.words()[2..].iter().map(|word| id(word)).collect::<Result<Vec<_>, _>>()?;
    let deleted = call.edit_stream(key, |stream, _| ids.iter().filter(|id| stream.delete(**id)).count()).result;
    if deleted > 0 {
        call.changed(key);
        call.event(EventClass::Stream, "xdel", key.bytes);
        call.effect_parts(&[b"XDEL"], &args.words()[1..]);
    }
    reply.integer(deleted as i64);
    Ok(())
}

//! LRANGE, LLEN, LINDEX, LPOS.

use super::{Args, Arity, Call, Command, CommandError, Flags, Keys, LIST, Reply, Spec, negatable, positive};
use crate::command::index_range::{index_in, index_range};
use crate::value::listpack::Needle;

/// `LRANGE`.
pub(super) static LRANGE: Command = Command {
    spec: Spec {
        name: "LRANGE",
        flags: Flags::READONLY,
        keys: Keys::first("RO ACCESS"),
        summary: "Returns a range of elements of a list, both ends included.",
        complexity: "O(log(N)+M) where N is the number of elements and M the length of the range",
        syntax: "key start stop",
        ..LIST
    },
    run: lrange,
};

fn lrange(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let (start, stop) = (args.integer(2)?, args.integer(3)?);
    let key = call.key(args, 1);
    let Some(list) = call.read_list(key)? else {
        reply.array(0);
        return Ok(());
    };
    let range = index_range(start, stop, list.len());
    reply.array(range.len());
    list.visit(range, false, |element| {
        reply.element(element);
        true
    });
    Ok(())
}

/// `LLEN`.
pub(super) static LLEN: Command = Command {
    spec: Spec {
        name: "LLEN",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::first("RO"),
        summary: "Returns the number of elements of a list.",
        syntax: "key",
        ..LIST
    },
    run: |call, args, reply| {
        let key = call.key(args, 1);
        reply.integer(call.read_list(key)?.map_or(0, |list| list.len()) as i64);
        Ok(())
    },
};

/// `LINDEX`.
pub(super) static LINDEX: Command = Command {
    spec: Spec {
        name: "LINDEX",
        arity: Arity::Exactly(3),
        flags: Flags::READONLY,
        keys: Keys::first("RO ACCESS"),
        summary: "Returns one element of a list.",
        complexity: "O(log(N)) where N is the number of elements",
        syntax: "key index",
        ..LIST
    },
    run: |call, args, reply| {
        let key = call.key(args, 1);
        let Some(list) = call.read_list(key)? else {
            reply.null();
            return Ok(());
        };
        let index = index_in(args.integer(2)?, list.len());
        if index.and_then(|index| list.get(index, |element| reply.element(element))).is_none() {
            reply.null();
        }
        Ok(())
    },
};

/// `LPOS`.
pub(super) static LPOS: Command = Command {
    spec: Spec {
        name: "LPOS",
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY,
        keys: Keys::first("RO ACCESS"),
        since: "6.0.6",
        summary: "Returns the indexes of elements equal to a given one.",
        complexity: "O(N) where N is the number of elements, or MAXLEN",
        syntax: "key element [RANK rank] [COUNT num-matches] [MAXLEN len]",
        ..LIST
    },
    run: lpos,
};

fn lpos(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let (mut rank, mut count, mut len_max) = (1, None, 0);
    for at in (3..args.len()).step_by(2) {
        let value = || args.words().get(at + 1).copied().ok_or(CommandError::Syntax);
        if args.is(at, "RANK") && at + 1 < args.len() {
            rank = negatable(value()?)?;
            if rank == 0 {
                return Err(CommandError::Text(
                    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to \
                     start from the end of the list"
                        .into(),
                ));
            }
        } else if args.is(at, "COUNT") && at + 1 < args.len() {
            count = Some(positive(value()?, "ERR COUNT can't be negative")?);
        } else if args.is(at, "MAXLEN") && at + 1 < args.len() {
            len_max = positive(value()?, "ERR MAXLEN can't be negative")?;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let key = call.key(args, 1);
    let list = call.read_list(key)?;
    let mut found = Vec::new();
    if let Some(list) = list {
        let len = list.len();
        let compared = if len_max == 0 { len } else { len_max.min(len) };
        let range = if rank > 0 { 0..compared } else { len - compared..len };
        let mut skip = rank.unsigned_abs() - 1;
        let wanted = match count {
            None => 1,
            Some(0) => usize::MAX,
            Some(count) => count,
        };
        list.find(&Needle::new(args.get(2)), range, rank < 0, |index| {
            if skip > 0 {
                skip -= 1;
                return true;
            }
            found.push(index as i64);
            found.len() < wanted
        });
    }
    match (count, found.first()) {
        (None, None) => reply.null(),
        (None, Some(&index)) => reply.integer(index),
        (Some(_), _) => {
            reply.array(found.len());
            found.into_iter().for_each(|index| reply.integer(index));
        }
    }
    Ok(())
}

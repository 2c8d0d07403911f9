//! The lowest or highest elements taken out and returned: ZPOPMIN, ZPOPMAX, ZMPOP and the forms of them that wait.

use super::remove::report_removal;
use super::{BASE, begin_elements, element, numbered_keys};
use crate::command::{Args, Arity, Call, Command, CommandError, Flags, Keys, Reply, Spec, counted_keys};
use crate::key::Key;
use crate::number::parse_integer;
use crate::value::Kind;
use crate::waiting::Block;

/// From which end elements are popped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Min,
    Max,
}

impl End {
    fn event(self) -> &'static str {
        match self {
            End::Min => "zpopmin",
            End::Max => "zpopmax",
        }
    }

    fn command(self) -> &'static [u8] {
        match self {
            End::Min => b"ZPOPMIN",
            End::Max => b"ZPOPMAX",
        }
    }
}

const POP: Spec = Spec {
    arity: Arity::AtLeast(2),
    flags: Flags::WRITE.and(Flags::FAST),
    keys: Keys::first("RW ACCESS DELETE"),
    since: "5.0.0",
    complexity: "O(log(N)*M) where N is the size of the sorted set and M the number of elements popped",
    syntax: "key [count]",
    ..BASE
};

/// `ZPOPMIN`.
pub(super) static ZPOPMIN: Command = Command {
    spec: Spec {
        name: "ZPOPMIN",
        summary: "Removes the members with the lowest scores from a sorted set and returns them.",
        ..POP
    },
    run: |call, args, reply| pop(call, args, End::Min, reply),
};

/// `ZPOPMAX`.
pub(super) static ZPOPMAX: Command = Command {
    spec: Spec {
        name: "ZPOPMAX",
        summary: "Removes the members with the highest scores from a sorted set and returns them.",
        ..POP
    },
    run: |call, args, reply| pop(call, args, End::Max, reply),
};

fn pop(call: &mut Call<'_>, args: &Args<'_>, end: End, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let count = match args.len() {
        2 => None,
        3 => Some(
            parse_integer(args.get(2))
                .and_then(|count| usize::try_from(count).ok())
                .ok_or(CommandError::Text("ERR value is out of range, must be positive".into()))?,
        ),
        _ => return Err(CommandError::Syntax),
    };
    let key = call.key(args, 1);
    let len = call.write_sorted_set(key)?.map_or(0, |set| set.len());
    let taken = len.min(count.unwrap_or(1));
    if taken == 0 {
        reply.array(0);
        return Ok(());
    }
    match count {
        Some(_) => begin_elements(taken, true, reply),
        None => reply.array(2),
    }
    take(call, key, end, taken, |member, score| {
        if count.is_some() {
            element(member, score, true, reply);
        } else {
            reply.bulk(member);
            reply.double(score);
        }
    });
    Ok(())
}

/// Pops `count` elements, at least one and no more than there are, with mark, events and effect. `each` gets them as they go.
fn take(call: &mut Call<'_>, key: Key<'_>, end: End, count: usize, mut each: impl FnMut(&[u8], f64)) {
    let gone = call
        .edit_sorted_set(key, |set, _| {
            let start = if end == End::Min { 0 } else { set.view().len() - count };
            set.view().each(start, count, end == End::Max, &mut each);
            set.remove_span(start, count);
        })
        .removed;
    report_removal(call, key, end.event(), gone);
    match count {
        1 => call.effect(&[end.command(), key.bytes]),
        _ => call.effect(&[end.command(), key.bytes, itoa::Buffer::new().format(count).as_bytes()]),
    }
}

/// `ZMPOP`.
pub(super) static ZMPOP: Command = Command {
    spec: Spec {
        name: "ZMPOP",
        arity: Arity::AtLeast(4),
        flags: Flags::WRITE.and(Flags::MOVABLEKEYS),
        keys: Keys::Found {
            find: |words, found| counted_keys(words, 1, found),
            legacy: (0, 0, 0),
            access: "RW ACCESS DELETE",
        },
        since: "7.0.0",
        summary: "Removes the members with the lowest or highest scores from the first of several sorted sets that is not empty.",
        complexity: "O(K) + O(M*log(N)) where K is the number of keys, N the size of the sorted set and M the number popped",
        syntax: "numkeys key [key ...] <MIN | MAX> [COUNT count]",
        ..BASE
    },
    run: |call, args, reply| {
        let request = MultiPop::parse(args, 1)?;
        if !request.serve(call, args, reply)? {
            reply.null_array();
        }
        Ok(())
    },
};

/// What ZMPOP and BZMPOP ask for.
pub(super) struct MultiPop {
    keys: std::ops::Range<usize>,
    end: End,
    count: usize,
}

impl MultiPop {
    /// Parses the words from the number of keys on, which is word `at`.
    pub(super) fn parse(args: &Args<'_>, at: usize) -> Result<MultiPop, CommandError> {
        let positive = |index: usize, what: &str| {
            parse_integer(args.get(index))
                .filter(|number| *number > 0)
                .ok_or_else(|| CommandError::text(format!("ERR {what} should be greater than 0")))
        };
        let keys = numbered_keys(args, at, positive(at, "numkeys")?)?;
        let mut next = keys.end;
        let end = match args.words().get(next) {
            Some(word) if word.eq_ignore_ascii_case(b"MIN") => End::Min,
            Some(word) if word.eq_ignore_ascii_case(b"MAX") => End::Max,
            _ => return Err(CommandError::Syntax),
        };
        next += 1;
        let mut count = None;
        while next < args.len() {
            if count.is_some() || !args.is(next, "COUNT") || next + 1 >= args.len() {
                return Err(CommandError::Syntax);
            }
            count = Some(usize::try_from(positive(next + 1, "count")?).unwrap_or(usize::MAX));
            next += 2;
        }
        Ok(MultiPop { keys, end, count: count.unwrap_or(1) })
    }

    /// Pops from the first key that holds something; says whether there was one.
    pub(super) fn serve(
        &self,
        call: &mut Call<'_>,
        args: &Args<'_>,
        reply: &mut dyn Reply,
    ) -> Result<bool, CommandError> {
        for index in self.keys.clone() {
            let key = call.key(args, index);
            let Some(len) = call.write_sorted_set(key)?.map(|set| set.len()) else { continue };
            let taken = self.count.min(len);
            reply.array(2);
            reply.bulk(key.bytes);
            reply.array(taken);
            take(call, key, self.end, taken, |member, score| {
                reply.array(2);
                reply.bulk(member);
                reply.double(score);
            });
            return Ok(true);
        }
        Ok(false)
    }
}

const BLOCKING_POP: Spec = Spec {
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.and(Flags::BLOCKING).and(Flags::FAST),
    keys: Keys::Range { first: 1, last: -2, step: 1, access: "RW ACCESS DELETE" },
    complexity: "O(log(N)) where N is the size of the sorted set",
    syntax: "key [key ...] timeout",
    ..POP
};

/// `BZPOPMIN`.
pub(super) static BZPOPMIN: Command = Command {
    spec: Spec {
        name: "BZPOPMIN",
        summary: "Removes the member with the lowest score from one of several sorted sets and returns it; waits for one.",
        ..BLOCKING_POP
    },
    run: |call, args, reply| blocking_pop(call, args, End::Min, reply),
};

/// `BZPOPMAX`.
pub(super) static BZPOPMAX: Command = Command {
    spec: Spec {
        name: "BZPOPMAX",
        summary: "Removes the member with the highest score from one of several sorted sets and returns it; waits for one.",
        ..BLOCKING_POP
    },
    run: |call, args, reply| blocking_pop(call, args, End::Max, reply),
};

fn blocking_pop(call: &mut Call<'_>, args: &Args<'_>, end: End, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let keys = 1..args.len() - 1;
    let timeout_ms = call.timeout_seconds(args, keys.end)?;
    for index in keys.clone() {
        let key = call.key(args, index);
        if call.write_sorted_set(key)?.is_some() {
            reply.array(3);
            reply.bulk(key.bytes);
            take(call, key, end, 1, |member, score| {
                reply.bulk(member);
                reply.double(score);
            });
            return Ok(());
        }
    }
    wait(call, args, keys, timeout_ms, reply);
    Ok(())
}

/// `BZMPOP`.
pub(super) static BZMPOP: Command = Command {
    spec: Spec {
        name: "BZMPOP",
        arity: Arity::AtLeast(5),
        flags: Flags::WRITE.and(Flags::BLOCKING).and(Flags::MOVABLEKEYS),
        keys: Keys::Found {
            find: |words, found| counted_keys(words, 2, found),
            legacy: (0, 0, 0),
            access: "RW ACCESS DELETE",
        },
        since: "7.0.0",
        summary: "Removes the members with the lowest or highest scores from one of several sorted sets; waits for one.",
        complexity: "O(K) + O(M*log(N)) where K is the number of keys, N the size of the sorted set and M the number popped",
        syntax: "timeout numkeys key [key ...] <MIN | MAX> [COUNT count]",
        ..BASE
    },
    run: |call, args, reply| {
        let request = MultiPop::parse(args, 2)?;
        let timeout_ms = call.timeout_seconds(args, 1)?;
        if !request.serve(call, args, reply)? {
            wait(call, args, request.keys, timeout_ms, reply);
        }
        Ok(())
    },
};

/// Waits until one of the keys is a sorted set, or answers as if that had taken too long.
fn wait(
    call: &mut Call<'_>,
    args: &Args<'_>,
    keys: std::ops::Range<usize>,
    timeout_ms: Option<u64>,
    reply: &mut dyn Reply,
) {
    if call.may_block() {
        call.block(Block::on(Kind::SortedSet, timeout_ms), args.words()[keys].iter().copied());
    } else {
        reply.null_array();
    }
}

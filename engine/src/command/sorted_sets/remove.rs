//! Members taken out: ZREM, ZREMRANGEBYRANK, ZREMRANGEBYSCORE, ZREMRANGEBYLEX.

use super::BASE;
use super::ranges::{LexRange, Range, RankRange, ScoreRange};
use crate::command::{Args, Arity, Call, Command, CommandError, Flags, Keys, Reply, Spec};
use crate::engine::EventClass;
use crate::key::Key;

/// `ZREM`.
pub(super) static ZREM: Command = Command {
    spec: Spec {
        name: "ZREM",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::FAST).and(Flags::MEMBERS),
        keys: Keys::first("RW DELETE"),
        since: "1.2.0",
        summary: "Removes members from a sorted set; the key goes with the last of them.",
        complexity: "O(M*log(N)) where N is the size of the sorted set and M the number of members to remove",
        syntax: "key member [member ...]",
        ..BASE
    },
    run: zrem,
};

fn zrem(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let key = call.key(args, 1);
    let members = &args.words()[2..];
    let found = call.write_sorted_set(key)?.is_some_and(|set| members.iter().any(|member| set.score(member).is_some()));
    if !found {
        reply.integer(0);
        return Ok(());
    }
    let edited =
        call.edit_sorted_set(key, |set, _| members.iter().filter(|member| set.remove(member).is_some()).count());
    report_removal(call, key, "zrem", edited.removed);
    call.effect_parts(&[b"ZREM"], &args.words()[1..]);
    reply.integer(edited.result as i64);
    Ok(())
}

/// Mark and events of elements that were removed; `gone` says that they were the last.
pub(super) fn report_removal(call: &mut Call<'_>, key: Key<'_>, event: &'static str, gone: bool) {
    call.changed(key);
    call.event(EventClass::SortedSet, event, key.bytes);
    if gone {
        call.event(EventClass::Generic, "del", key.bytes);
    }
}

const REMOVE_RANGE: Spec = Spec {
    arity: Arity::Exactly(4),
    flags: Flags::WRITE,
    keys: Keys::first("RW DELETE"),
    complexity: "O(log(N)+M) where N is the size of the sorted set and M the number of elements removed",
    ..BASE
};

/// `ZREMRANGEBYRANK`.
pub(super) static ZREMRANGEBYRANK: Command = Command {
    spec: Spec {
        name: "ZREMRANGEBYRANK",
        since: "2.0.0",
        summary: "Removes the members of a sorted set whose ranks are in a range.",
        syntax: "key start stop",
        ..REMOVE_RANGE
    },
    run: |call, args, reply| {
        let range = Range::Rank(RankRange::parse(args, 2)?);
        remove_range(call, args, &range, ("zremrangebyrank", b"ZREMRANGEBYRANK"), reply)
    },
};

/// `ZREMRANGEBYSCORE`.
pub(super) static ZREMRANGEBYSCORE: Command = Command {
    spec: Spec {
        name: "ZREMRANGEBYSCORE",
        since: "1.2.0",
        summary: "Removes the members of a sorted set whose scores are in a range.",
        syntax: "key min max",
        ..REMOVE_RANGE
    },
    run: |call, args, reply| {
        let range = Range::Score(ScoreRange::parse(args.get(2), args.get(3))?);
        remove_range(call, args, &range, ("zremrangebyscore", b"ZREMRANGEBYSCORE"), reply)
    },
};

/// `ZREMRANGEBYLEX`.
pub(super) static ZREMRANGEBYLEX: Command = Command {
    spec: Spec {
        name: "ZREMRANGEBYLEX",
        since: "2.8.9",
        summary: "Removes the members of a sorted set, all of one score, that are in a range of strings.",
        syntax: "key min max",
        ..REMOVE_RANGE
    },
    run: |call, args, reply| {
        let range = Range::Lex(LexRange::parse(args.get(2), args.get(3))?);
        remove_range(call, args, &range, ("zremrangebylex", b"ZREMRANGEBYLEX"), reply)
    },
};

fn remove_range(
    call: &mut Call<'_>,
    args: &Args<'_>,
    range: &Range<'_>,
    (event, name): (&'static str, &'static [u8]),
    reply: &mut dyn Reply,
) -> Result<(), CommandError> {
    let key = call.key(args, 1);
    let span = call.write_sorted_set(key)?.map(|set| range.span(set, false)).unwrap_or_default();
    if span.count > 0 {
        let gone = call.edit_sorted_set(key, |set, _| set.remove_span(span.start, span.count)).removed;
        report_removal(call, key, event, gone);
        call.effect_parts(&[name], &args.words()[1..]);
    }
    reply.integer(span.count as i64);
    Ok(())
}

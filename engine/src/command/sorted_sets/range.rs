//! Parts of sorted sets: ZRANGE with all its forms, the older commands that each have one of them, and ZRANGESTORE.

use super::ranges::{LexRange, Range, RankRange, ScoreRange};
use super::{BASE, begin_elements, element, store_result};
use crate::command::{Args, Arity, Call, Command, CommandError, Flags, Keys, Reply, Spec};
use crate::value::SortedSet;

const RANGE: Spec = Spec {
    arity: Arity::AtLeast(4),
    flags: Flags::READONLY,
    keys: Keys::first("RO ACCESS"),
    complexity: "O(log(N)+M) where N is the size of the sorted set and M the number of elements returned",
    ..BASE
};

/// By what a range is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    Rank,
    Score,
    Lex,
}

/// What a command's name says already.
#[derive(Clone, Copy, Debug)]
struct Form {
    by: Option<By>,
    reverse: Option<bool>,
    store: bool,
}

/// `ZRANGE`.
pub(super) static ZRANGE: Command = Command {
    spec: Spec {
        name: "ZRANGE",
        since: "1.2.0",
        summary: "Returns a part of a sorted set, given by ranks, scores or members.",
        syntax: "key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]",
        ..RANGE
    },
    run: |call, args, reply| range(call, args, Form { by: None, reverse: None, store: false }, reply),
};

/// `ZREVRANGE`.
pub(super) static ZREVRANGE: Command = Command {
    spec: Spec {
        name: "ZREVRANGE",
        since: "1.2.0",
        summary: "Returns a part of a sorted set by ranks that count from the highest score.",
        syntax: "key start stop [WITHSCORES]",
        ..RANGE
    },
    run: |call, args, reply| range(call, args, Form { by: Some(By::Rank), reverse: Some(true), store: false }, reply),
};

/// `ZRANGEBYSCORE`.
pub(super) static ZRANGEBYSCORE: Command = Command {
    spec: Spec {
        name: "ZRANGEBYSCORE",
        since: "1.0.5",
        summary: "Returns the members of a sorted set whose scores are in a range.",
        syntax: "key min max [WITHSCORES] [LIMIT offset count]",
        ..RANGE
    },
    run: |call, args, reply| range(call, args, Form { by: Some(By::Score), reverse: Some(false), store: false }, reply),
};

/// `ZREVRANGEBYSCORE`.
pub(super) static ZREVRANGEBYSCORE: Command = Command {
    spec: Spec {
        name: "ZREVRANGEBYSCORE",
        since: "2.2.0",
        summary: "Returns the members of a sorted set whose scores are in a range, the highest first.",
        syntax: "key max min [WITHSCORES] [LIMIT offset count]",
        ..RANGE
    },
    run: |call, args, reply| range(call, args, Form { by: Some(By::Score), reverse: Some(true), store: false }, reply),
};

/// `ZRANGEBYLEX`.
pub(super) static ZRANGEBYLEX: Command = Command {
    spec: Spec {
        name: "ZRANGEBYLEX",
        since: "2.8.9",
        summary: "Returns the members of a sorted set, all of one score, that are in a range of strings.",
        syntax: "key min max [LIMIT offset count]",
        ..RANGE
    },
    run: |call, args, reply| range(call, args, Form { by: Some(By::Lex), reverse: Some(false), store: false }, reply),
};

/// `ZREVRANGEBYLEX`.
pub(super) static ZREVRANGEBYLEX: Command = Command {
    spec: Spec {
        name: "ZREVRANGEBYLEX",
        since: "2.8.9",
        summary: "Returns the members of a sorted set, all of one score, that are in a range of strings, the last first.",
        syntax: "key max min [LIMIT offset count]",
        ..RANGE
    },
    run: |call, args, reply| range(call, args, Form { by: Some(By::Lex), reverse: Some(true), store: false }, reply),
};

/// `ZRANGESTORE`.
pub(super) static ZRANGESTORE: Command = Command {
    spec: Spec {
        name: "ZRANGESTORE",
        arity: Arity::AtLeast(5),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::Range { first: 1, last: 2, step: 1, access: "OW UPDATE | RO ACCESS" },
        since: "6.2.0",
        summary: "Stores a part of a sorted set under another key.",
        complexity: "O(log(N)+M) where N is the size of the sorted set and M the number of elements stored",
        syntax: "dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]",
        ..RANGE
    },
    run: |call, args, reply| range(call, args, Form { by: None, reverse: None, store: true }, reply),
};

/// A parsed command.
struct Request<'a> {
    range: Range<'a>,
    reverse: bool,
    limit: Option<(i64, i64)>,
    with_scores: bool,
}

/// Parses the words from the range on, the first of which is at `at`.
fn parse<'a>(args: &Args<'a>, at: usize, form: Form) -> Result<Request<'a>, CommandError> {
    let Form { mut by, mut reverse, store } = form;
    let (mut limit, mut with_scores) = (None, false);
    let mut next = at + 2;
    while next < args.len() {
        if !store && args.is(next, "WITHSCORES") {
            with_scores = true;
        } else if args.is(next, "LIMIT") && next + 2 < args.len() {
            limit = Some((args.integer(next + 1)?, args.integer(next + 2)?));
            next += 2;
        } else if reverse.is_none() && args.is(next, "REV") {
            reverse = Some(true);
        } else if by.is_none() && args.is(next, "BYLEX") {
            by = Some(By::Lex);
        } else if by.is_none() && args.is(next, "BYSCORE") {
            by = Some(By::Score);
        } else {
            return Err(CommandError::Syntax);
        }
        next += 1;
    }
    let (by, reverse) = (by.unwrap_or(By::Rank), reverse.unwrap_or(false));
    if by == By::Rank && limit.is_some_and(|(_, count)| count != -1) {
        return Err(CommandError::text(
            "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
        ));
    }
    if by == By::Lex && with_scores {
        return Err(CommandError::text("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
    }
    let (min, max) = if reverse { (args.get(at + 1), args.get(at)) } else { (args.get(at), args.get(at + 1)) };
    let range = match by {
        By::Rank => Range::Rank(RankRange::parse(args, at)?),
        By::Score => Range::Score(ScoreRange::parse(min, max)?),
        By::Lex => Range::Lex(LexRange::parse(min, max)?),
    };
    // LIMIT with ranks can only be one that takes all, and is ignored.
    Ok(Request { range, reverse, limit: limit.filter(|_| by != By::Rank), with_scores })
}

fn range(call: &mut Call<'_>, args: &Args<'_>, form: Form, reply: &mut dyn Reply) -> Result<(), CommandError> {
    if form.store {
        return range_store(call, args, form, reply);
    }
    let Request { range, reverse, limit, with_scores } = parse(args, 2, form)?;
    let key = call.key(args, 1);
    let Some(set) = call.read_sorted_set(key)? else {
        reply.array(0);
        return Ok(());
    };
    let span = range.span(set, reverse).limited(limit, reverse);
    begin_elements(span.count, with_scores, reply);
    set.each(span.start, span.count, reverse, |member, score| element(member, score, with_scores, reply));
    Ok(())
}

fn range_store(call: &mut Call<'_>, args: &Args<'_>, form: Form, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let Request { range, reverse, limit, .. } = parse(args, 3, form)?;
    let (target, source) = (call.key(args, 1), call.key(args, 2));
    let shaping = call.engine.settings.shaping.clone();
    let mut result = SortedSet::default();
    if let Some(set) = call.read_sorted_set(source)? {
        let span = range.span(set, reverse).limited(limit, reverse);
        result.expect(span.count, 0, &shaping);
        set.each(span.start, span.count, false, |member, score| {
            result.set(member, score, &shaping);
        });
    }
    let len = result.view().len();
    if store_result(call, target, result, "zrangestore") {
        call.effect_parts(&[b"ZRANGESTORE"], &args.words()[1..]);
    }
    reply.integer(len as i64);
    Ok(())
}

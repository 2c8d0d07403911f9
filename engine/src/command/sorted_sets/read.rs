//! Questions about members, counts and ranks: ZSCORE, ZMSCORE, ZCARD, ZCOUNT, ZLEXCOUNT, ZRANK, ZREVRANK.

use super::BASE;
use super::ranges::{LexRange, ScoreRange};
use crate::command::{Args, Arity, Call, Command, CommandError, Flags, Keys, Reply, Spec};

const READ: Spec =
    Spec { flags: Flags::READONLY.and(Flags::FAST).and(Flags::MEMBERS), keys: Keys::first("RO ACCESS"), ..BASE };

/// `ZSCORE`.
pub(super) static ZSCORE: Command = Command {
    spec: Spec {
        name: "ZSCORE",
        arity: Arity::Exactly(3),
        since: "1.2.0",
        summary: "Returns the score of a member of a sorted set.",
        syntax: "key member",
        ..READ
    },
    run: |call, args, reply| {
        let key = call.key(args, 1);
        let score = call.read_sorted_set(key)?.and_then(|set| set.score(args.get(2)));
        score_or_null(score, reply);
        Ok(())
    },
};

fn score_or_null(score: Option<f64>, reply: &mut dyn Reply) {
    match score {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
}

/// `ZMSCORE`.
pub(super) static ZMSCORE: Command = Command {
    spec: Spec {
        name: "ZMSCORE",
        arity: Arity::AtLeast(3),
        since: "6.2.0",
        summary: "Returns the scores of members of a sorted set.",
        complexity: "O(N) where N is the number of members asked for",
        syntax: "key member [member ...]",
        ..READ
    },
    run: |call, args, reply| {
        let key = call.key(args, 1);
        let set = call.read_sorted_set(key)?;
        reply.array(args.len() - 2);
        for member in &args.words()[2..] {
            score_or_null(set.and_then(|set| set.score(member)), reply);
        }
        Ok(())
    },
};

/// `ZCARD`.
pub(super) static ZCARD: Command = Command {
    spec: Spec {
        name: "ZCARD",
        arity: Arity::Exactly(2),
        keys: Keys::first("RO"),
        since: "1.2.0",
        summary: "Returns the number of members of a sorted set.",
        syntax: "key",
        ..READ
    },
    run: |call, args, reply| {
        let key = call.key(args, 1);
        reply.integer(call.read_sorted_set(key)?.map_or(0, |set| set.len()) as i64);
        Ok(())
    },
};

/// `ZCOUNT`.
pub(super) static ZCOUNT: Command = Command {
    spec: Spec {
        name: "ZCOUNT",
        arity: Arity::Exactly(4),
        since: "2.0.0",
        summary: "Counts the members of a sorted set whose scores are in a range.",
        complexity: "O(log(N)) where N is the size of the sorted set",
        syntax: "key min max",
        ..READ
    },
    run: |call, args, reply| {
        let range = ScoreRange::parse(args.get(2), args.get(3))?;
        let key = call.key(args, 1);
        reply.integer(call.read_sorted_set(key)?.map_or(0, |set| range.span(set).count) as i64);
        Ok(())
    },
};

/// `ZLEXCOUNT`.
pub(super) static ZLEXCOUNT: Command = Command {
    spec: Spec {
        name: "ZLEXCOUNT",
        arity: Arity::Exactly(4),
        since: "2.8.9",
        summary: "Counts the members of a sorted set, all of one score, that are in a range of strings.",
        complexity: "O(log(N)) where N is the size of the sorted set",
        syntax: "key min max",
        ..READ
    },
    run: |call, args, reply| {
        let range = LexRange::parse(args.get(2), args.get(3))?;
        let key = call.key(args, 1);
        reply.integer(call.read_sorted_set(key)?.map_or(0, |set| range.span(set).count) as i64);
        Ok(())
    },
};

const RANK: Spec = Spec {
    arity: Arity::AtLeast(3),
    since: "2.0.0",
    complexity: "O(log(N)) where N is the size of the sorted set",
    syntax: "key member [WITHSCORE]",
    ..READ
};

/// `ZRANK`.
pub(super) static ZRANK: Command = Command {
    spec: Spec {
        name: "ZRANK",
        summary: "Returns the place of a member in a sorted set, counted from the lowest score.",
        ..RANK
    },
    run: |call, args, reply| rank(call, args, false, reply),
};

/// `ZREVRANK`.
pub(super) static ZREVRANK: Command = Command {
    spec: Spec {
        name: "ZREVRANK",
        summary: "Returns the place of a member in a sorted set, counted from the highest score.",
        ..RANK
    },
    run: |call, args, reply| rank(call, args, true, reply),
};

fn rank(call: &mut Call<'_>, args: &Args<'_>, reverse: bool, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let with_score = match args.len() {
        3 => false,
        4 if args.is(3, "WITHSCORE") => true,
        4 => return Err(CommandError::Syntax),
        _ => return Err(CommandError::WrongArity(if reverse { "zrevrank" } else { "zrank" }.into())),
    };
    let key = call.key(args, 1);
    let found = call.read_sorted_set(key)?.and_then(|set| {
        let (rank, score) = set.rank(args.get(2))?;
        Some((if reverse { set.len() - 1 - rank } else { rank }, score))
    });
    match found {
        None if with_score => reply.null_array(),
        None => reply.null(),
        Some((rank, score)) => {
            if with_score {
                reply.array(2);
            }
            reply.integer(rank as i64);
            if with_score {
                reply.double(score);
            }
        }
    }
    Ok(())
}

//! Elements that nobody named: ZRANDMEMBER, ZSCAN.

use super::{BASE, begin_elements, element};
use crate::command::sample::{Draw, Wanted, distinct};
use crate::command::walk::{Found, Walk, WalkOptions, cursor};
use crate::command::{Args, Arity, Call, Command, CommandError, Flags, Keys, Reply, Spec};
use crate::number::print_double;

/// `ZRANDMEMBER`.
pub(super) static ZRANDMEMBER: Command = Command {
    spec: Spec {
        name: "ZRANDMEMBER",
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY,
        keys: Keys::first("RO ACCESS"),
        since: "6.2.0",
        summary: "Returns random members of a sorted set.",
        complexity: "O(N*log(M)) where N is the number of members returned and M the size of the sorted set",
        syntax: "key [count [WITHSCORES]]",
        ..BASE
    },
    run: zrandmember,
};

fn zrandmember(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let key = call.key(args, 1);
    let mut draw = Draw::new(call.engine);
    if args.len() == 2 {
        match call.read_sorted_set(key)? {
            Some(set) => set.each(draw.below(set.len()), 1, false, |member, _| reply.bulk(member)),
            None => reply.null(),
        }
        return Ok(());
    }
    let count = args.integer(2)?;
    let with_scores = args.len() == 4 && args.is(3, "WITHSCORES");
    let mut wanted = Wanted::parse(count, false)?;
    if args.len() > 3 && !with_scores {
        return Err(CommandError::Syntax);
    }
    if with_scores {
        wanted = Wanted::parse(count, true)?;
    }
    let Some(set) = call.read_sorted_set(key)? else {
        reply.array(0);
        return Ok(());
    };
    match wanted {
        Wanted::Different(count) if count >= set.len() => {
            begin_elements(set.len(), with_scores, reply);
            set.each(0, set.len(), false, |member, score| element(member, score, with_scores, reply));
        }
        Wanted::Different(count) => {
            let ranks = distinct(set.len(), count, &mut draw);
            begin_elements(ranks.len(), with_scores, reply);
            for rank in ranks {
                set.each(rank, 1, false, |member, score| element(member, score, with_scores, reply));
            }
        }
        Wanted::Any(count) => {
            begin_elements(count, with_scores, reply);
            for _ in 0..count {
                set.each(draw.below(set.len()), 1, false, |member, score| element(member, score, with_scores, reply));
            }
        }
    }
    Ok(())
}

/// `ZSCAN`.
pub(super) static ZSCAN: Command = Command {
    spec: Spec {
        name: "ZSCAN",
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY,
        keys: Keys::first("RO ACCESS"),
        since: "2.8.0",
        summary: "Walks a sorted set a few members at a time; one that is there all along is returned exactly once.",
        complexity: "O(1) for every call, O(N) for a whole walk, where N is the size of the sorted set",
        syntax: "key cursor [MATCH pattern] [COUNT count] [NOSCORES]",
        ..BASE
    },
    run: zscan,
};

fn zscan(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let cursor = cursor(args, 2)?;
    let key = call.key(args, 1);
    let (mut next, mut found) = (0, Found::default());
    // Redis looks at the options only if there is something to walk over.
    if let Some(set) = call.read_sorted_set(key)? {
        let options = WalkOptions::parse(args, 3, Walk::SortedSet)?;
        let mut text = Vec::with_capacity(24);
        next = set.scan(cursor, options.count, |member, score| {
            if options.pattern.fits(member) {
                found.push(member);
                if !options.names_only {
                    text.clear();
                    print_double(score, &mut text);
                    found.push(&text);
                }
            }
        });
    }
    found.write_walk(next, reply);
    Ok(())
}

//! Scores given and raised: ZADD, ZINCRBY.

use super::{BASE, Pair};
use crate::command::{Args, Arity, Call, Command, CommandError, Flags, Keys, Reply, Spec};
use crate::engine::EventClass;
use crate::number::{parse_double, print_double};

/// `ZADD`.
pub(super) static ZADD: Command = Command {
    spec: Spec {
        name: "ZADD",
        arity: Arity::AtLeast(4),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST).and(Flags::SCORED),
        keys: Keys::first("RW UPDATE"),
        since: "1.2.0",
        summary: "Adds members to a sorted set, or changes their scores.",
        complexity: "O(log(N)) for each member, where N is the size of the sorted set",
        syntax: "key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]",
        ..BASE
    },
    run: |call, args, reply| give(call, args, false, reply),
};

/// `ZINCRBY`.
pub(super) static ZINCRBY: Command = Command {
    spec: Spec {
        name: "ZINCRBY",
        arity: Arity::Exactly(4),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST).and(Flags::SCORED),
        keys: Keys::first("RW ACCESS UPDATE"),
        since: "1.2.0",
        summary: "Adds to the score of a member of a sorted set; a missing member counts as 0.",
        complexity: "O(log(N)) where N is the size of the sorted set",
        syntax: "key increment member",
        ..BASE
    },
    // ZADD's options are looked for here too, as in Redis: there is no pair behind them then.
    run: |call, args, reply| give(call, args, true, reply),
};

/// When a pair is let through.
#[derive(Clone, Copy, Default)]
pub(in crate::command) struct Condition {
    /// Only members that are not there.
    pub(in crate::command) nx: bool,
    /// Only members that are there.
    pub(in crate::command) xx: bool,
    /// A member that is there only gets a higher score.
    gt: bool,
    /// A member that is there only gets a lower score.
    lt: bool,
}

impl Condition {
    /// The score that a member with score `old` gets, if it is to change.
    fn decide(self, old: Option<f64>, score: f64) -> Option<f64> {
        match old {
            None => (!self.xx).then_some(score),
            Some(old) => {
                let held = self.nx || (self.gt && score <= old) || (self.lt && score >= old);
                (!held && score != old).then_some(score)
            }
        }
    }

    fn is_none(self) -> bool {
        !(self.nx || self.xx || self.gt || self.lt)
    }
}

fn give(call: &mut Call<'_>, args: &Args<'_>, mut incr: bool, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let mut condition = Condition::default();
    let mut count_changed = false;
    let mut at = 2;
    while at < args.len() {
        // Most words here are scores: one look at the first byte tells.
        match args.get(at).first() {
            Some(b'N' | b'n') if args.is(at, "NX") => condition.nx = true,
            Some(b'X' | b'x') if args.is(at, "XX") => condition.xx = true,
            Some(b'G' | b'g') if args.is(at, "GT") => condition.gt = true,
            Some(b'L' | b'l') if args.is(at, "LT") => condition.lt = true,
            Some(b'C' | b'c') if args.is(at, "CH") => count_changed = true,
            Some(b'I' | b'i') if args.is(at, "INCR") => incr = true,
            _ => break,
        }
        at += 1;
    }
    let words = &args.words()[at..];
    if words.is_empty() || !words.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    if condition.nx && condition.xx {
        return Err(CommandError::text("ERR XX and NX options at the same time are not compatible"));
    }
    if (condition.gt && (condition.nx || condition.lt)) || (condition.lt && condition.nx) {
        return Err(CommandError::text("ERR GT, LT, and/or NX options at the same time are not compatible"));
    }
    if incr && words.len() > 2 {
        return Err(CommandError::text("ERR INCR option supports a single increment-element pair"));
    }
    let pair = |words: &[&'_ [u8]]| parse_double(words[0]).ok_or(CommandError::NotFloat);
    if incr {
        return increase(call, args, condition, Pair { score: pair(words)?, member: words[1] }, reply);
    }
    let one = [Pair { score: pair(words)?, member: words[1] }];
    let many;
    let pairs = if words.len() == 2 {
        &one[..]
    } else {
        many = words
            .chunks_exact(2)
            .map(|words| Ok(Pair { score: pair(words)?, member: words[1] }))
            .collect::<Result<Vec<_>, CommandError>>()?;
        &many
    };
    let outcome = add(call, args, condition, pairs, "zadd", (at == 2).then(|| &args.words()[1..]))?;
    reply.integer((outcome.added + if count_changed { outcome.updated } else { 0 }) as i64);
    Ok(())
}

/// What [`add`] did.
#[derive(Clone, Copy, Default)]
pub(in crate::command) struct Outcome {
    /// Members that are new.
    pub(in crate::command) added: usize,
    /// Members that have another score.
    pub(in crate::command) updated: usize,
}

/// Gives scores to members of the sorted set at word 1, with its mark, event and effect: ZADD, GEOADD. `plain` holds the words of the
/// effect after its name, if they are what the client sent.
pub(in crate::command) fn add(
    call: &mut Call<'_>,
    args: &Args<'_>,
    condition: Condition,
    pairs: &[Pair<'_>],
    event: &'static str,
    plain: Option<&[&[u8]]>,
) -> Result<Outcome, CommandError> {
    let key = call.key(args, 1);
    if call.write_sorted_set(key)?.is_none() && condition.xx {
        return Ok(Outcome::default());
    }
    let verbatim = plain.is_some() && condition.is_none();
    let mut changed = Vec::new();
    let outcome = call
        .edit_sorted_set(key, |set, shaping| {
            let mut outcome = Outcome::default();
            for pair in pairs {
                let old = set.update(pair.member, shaping, |old| condition.decide(old, pair.score));
                match old {
                    Ok(None) => outcome.added += 1,
                    Ok(Some(_)) => outcome.updated += 1,
                    Err(_) => continue,
                }
                if !verbatim {
                    changed.push(*pair);
                }
            }
            outcome
        })
        .result;
    if outcome.added + outcome.updated > 0 {
        call.changed(key);
        call.event(EventClass::SortedSet, event, key.bytes);
        match plain.filter(|_| verbatim) {
            Some(words) => call.effect_parts(&[b"ZADD"], words),
            None => super::effect_zadd(call, key, &changed),
        }
    }
    Ok(outcome)
}

/// ZADD INCR and ZINCRBY.
fn increase(
    call: &mut Call<'_>,
    args: &Args<'_>,
    condition: Condition,
    pair: Pair<'_>,
    reply: &mut dyn Reply,
) -> Result<(), CommandError> {
    let key = call.key(args, 1);
    let Pair { score: increment, member } = pair;
    let old = call.write_sorted_set(key)?.and_then(|set| set.score(member));
    let held = old.map_or(condition.xx, |_| condition.nx);
    let score = old.unwrap_or(0.0) + increment;
    // Whatever is held back is not counted: no error then.
    if score.is_nan() && !held {
        return Err(CommandError::text("ERR resulting score is not a number (NaN)"));
    }
    let score = if old.is_none() { increment } else { score };
    let kept = held || old.is_some_and(|old| (condition.gt && score <= old) || (condition.lt && score >= old));
    if kept {
        reply.null();
        return Ok(());
    }
    if old != Some(score) {
        call.edit_sorted_set(key, |set, shaping| set.set(member, score, shaping));
        call.changed(key);
        call.event(EventClass::SortedSet, "zincr", key.bytes);
        let mut text = Vec::with_capacity(24);
        print_double(score, &mut text);
        call.effect(&[b"ZADD", key.bytes, &text, member]);
    }
    reply.double(score);
    Ok(())
}

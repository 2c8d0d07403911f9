//! Places stored and asked for by member: GEOADD, GEODIST, GEOHASH, GEOPOS.

use super::hash::{Cell, distance, score, text};
use super::{BASE, parse_point, parse_unit, write_distance, write_point};
use crate::command::sorted_sets::Pair;
use crate::command::sorted_sets::add::{Condition, add};
use crate::command::{Args, Arity, Call, Command, CommandError, Flags, Keys, Reply, Spec};

/// `GEOADD`.
pub(super) static GEOADD: Command = Command {
    spec: Spec {
        name: "GEOADD",
        arity: Arity::AtLeast(5),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::first("RW UPDATE"),
        since: "3.2.0",
        summary: "Adds members with their places to a geo set, or moves them.",
        complexity: "O(log(N)) for each member, where N is the size of the geo set",
        syntax: "key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]",
        ..BASE
    },
    run: geoadd,
};

fn geoadd(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let mut condition = Condition::default();
    let (mut at, mut count_changed) = (2, false);
    while at < args.len() {
        if args.is(at, "NX") {
            condition.nx = true;
        } else if args.is(at, "XX") {
            condition.xx = true;
        } else if args.is(at, "CH") {
            count_changed = true;
        } else {
            break;
        }
        at += 1;
    }
    let words = &args.words()[at..];
    if words.is_empty() || !words.len().is_multiple_of(3) || (condition.nx && condition.xx) {
        return Err(CommandError::Syntax);
    }
    let mut pairs = Vec::with_capacity(words.len() / 3);
    for words in words.chunks_exact(3) {
        pairs.push(Pair { score: score(parse_point(words[0], words[1])?), member: words[2] });
    }
    let outcome = add(call, args, condition, &pairs, "zadd", None)?;
    reply.integer((outcome.added + if count_changed { outcome.updated } else { 0 }) as i64);
    Ok(())
}

const READ: Spec = Spec {
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY,
    keys: Keys::first("RO ACCESS"),
    since: "3.2.0",
    complexity: "O(1) for each member",
    syntax: "key [member [member ...]]",
    ..BASE
};

/// `GEODIST`.
pub(super) static GEODIST: Command = Command {
    spec: Spec {
        name: "GEODIST",
        arity: Arity::AtLeast(4),
        summary: "Returns the distance between the places of two members.",
        complexity: "O(1)",
        syntax: "key member1 member2 [M | KM | FT | MI]",
        ..READ
    },
    run: geodist,
};

fn geodist(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let unit = match args.len() {
        4 => 1.0,
        5 => parse_unit(args.get(4))?,
        _ => return Err(CommandError::Syntax),
    };
    let key = call.key(args, 1);
    let set = call.read_sorted_set(key)?;
    let place =
        |index: usize| set.and_then(|set| set.score(args.get(index))).map(|score| Cell::of_score(score).point());
    match (place(2), place(3)) {
        (Some(one), Some(other)) => write_distance(distance(one, other) / unit, reply),
        _ => reply.null(),
    }
    Ok(())
}

/// `GEOHASH`.
pub(super) static GEOHASH: Command = Command {
    spec: Spec { name: "GEOHASH", summary: "Returns the places of members as geohash strings.", ..READ },
    run: |call, args, reply| {
        let key = call.key(args, 1);
        let set = call.read_sorted_set(key)?;
        reply.array(args.len() - 2);
        for member in &args.words()[2..] {
            match set.and_then(|set| set.score(member)) {
                Some(score) => reply.bulk(&text(Cell::of_score(score).point())),
                None => reply.null(),
            }
        }
        Ok(())
    },
};

/// `GEOPOS`.
pub(super) static GEOPOS: Command = Command {
    spec: Spec { name: "GEOPOS", summary: "Returns the longitudes and latitudes of members.", ..READ },
    run: |call, args, reply| {
        let key = call.key(args, 1);
        let set = call.read_sorted_set(key)?;
        reply.array(args.len() - 2);
        for member in &args.words()[2..] {
            match set.and_then(|set| set.score(member)) {
                Some(score) => write_point(Cell::of_score(score).point(), reply),
                None => reply.null_array(),
            }
        }
        Ok(())
    },
};

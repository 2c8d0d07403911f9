//! Commands on sorted sets.

pub(super) mod add;
mod combine;
mod pop;
mod random;
mod range;
pub(super) mod ranges;
mod read;
mod remove;
#[cfg(test)]
mod tests;

use super::{Args, Call, Command, CommandError, Group, Reply, Spec};
use crate::engine::EventClass;
use crate::key::Key;
use crate::number::print_double;
use crate::value::{Collection, SortedSet};

/// The family.
pub(super) static COMMANDS: &[&Command] = &[
    &add::ZADD,
    &add::ZINCRBY,
    &read::ZSCORE,
    &read::ZMSCORE,
    &read::ZCARD,
    &read::ZCOUNT,
    &read::ZLEXCOUNT,
    &read::ZRANK,
    &read::ZREVRANK,
    &range::ZRANGE,
    &range::ZREVRANGE,
    &range::ZRANGEBYSCORE,
    &range::ZREVRANGEBYSCORE,
    &range::ZRANGEBYLEX,
    &range::ZREVRANGEBYLEX,
    &range::ZRANGESTORE,
    &remove::ZREM,
    &remove::ZREMRANGEBYRANK,
    &remove::ZREMRANGEBYSCORE,
    &remove::ZREMRANGEBYLEX,
    &pop::ZPOPMIN,
    &pop::ZPOPMAX,
    &pop::ZMPOP,
    &pop::BZPOPMIN,
    &pop::BZPOPMAX,
    &pop::BZMPOP,
    &combine::ZUNION,
    &combine::ZINTER,
    &combine::ZDIFF,
    &combine::ZUNIONSTORE,
    &combine::ZINTERSTORE,
    &combine::ZDIFFSTORE,
    &combine::ZINTERCARD,
    &random::ZRANDMEMBER,
    &random::ZSCAN,
];

/// What the declarations of this family share.
const BASE: Spec = Spec { group: Group::SortedSet, ..Spec::BASE };

/// A member and its score.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Pair<'a> {
    pub(super) score: f64,
    pub(super) member: &'a [u8],
}

/// Begins a list of `n` elements that [`element`] writes one by one: flat in RESP2, an array of pairs in RESP3.
fn begin_elements(n: usize, with_scores: bool, reply: &mut dyn Reply) {
    reply.array(if with_scores && reply.protocol() < 3 { 2 * n } else { n });
}

/// One element of a list.
fn element(member: &[u8], score: f64, with_scores: bool, reply: &mut dyn Reply) {
    if with_scores && reply.protocol() >= 3 {
        reply.array(2);
    }
    reply.bulk(member);
    if with_scores {
        reply.double(score);
    }
}

/// The effect of scores that were given: what was decided, without the conditions.
pub(super) fn effect_zadd(call: &mut Call<'_>, key: Key<'_>, pairs: &[Pair<'_>]) {
    let mut texts = Vec::with_capacity(pairs.len() * 8);
    let ends: Vec<usize> = pairs
        .iter()
        .map(|pair| {
            print_double(pair.score, &mut texts);
            texts.len()
        })
        .collect();
    let mut words: Vec<&[u8]> = Vec::with_capacity(2 * pairs.len());
    let mut start = 0;
    for (pair, end) in pairs.iter().zip(ends) {
        words.extend([&texts[start..end], pair.member]);
        start = end;
    }
    call.effect_parts(&[b"ZADD", key.bytes], &words);
}

/// Puts a result in place of whatever `key` held, with mark and events; says whether the command itself is the effect (a result that
/// is empty is at most a DEL, which is logged here).
pub(super) fn store_result(call: &mut Call<'_>, key: Key<'_>, result: SortedSet, event: &'static str) -> bool {
    call.write(key);
    match call.store_collection(key, Collection::SortedSet(result)) {
        super::typed::Stored::Put => {
            call.event(EventClass::SortedSet, event, key.bytes);
            true
        }
        super::typed::Stored::Deleted => {
            call.effect(&[b"DEL", key.bytes]);
            false
        }
        super::typed::Stored::Nothing => false,
    }
}

/// The keys of `numkeys key [key ...]` as a range of words, the number at word `at`; `bad` is the error for a number that is none.
fn numbered_keys(args: &Args<'_>, at: usize, count: i64) -> Result<std::ops::Range<usize>, CommandError> {
    match usize::try_from(count) {
        Ok(count) if count < args.len() - at => Ok(at + 1..at + 1 + count),
        _ => Err(CommandError::Syntax),
    }
}

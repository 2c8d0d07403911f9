//! Commands on hashes.
//!
//! 1. A field whose deadline has passed is seen by no command; HLEN alone counts it until it is reclaimed, as in Valkey. A command that
//!    writes to such a field finds nothing there, and reports it as expired.
//! 2. During replay no field is dead: records say themselves when a field went.
//!
//! Effects: `HSET key field value ...`, `HDEL key field ...`, `HINCRBY` as it was asked for where no field of the hash has a deadline,
//! `HSETEX key PXAT ms FIELDS ...` or `KEEPTTL`, `HPEXPIREAT key ms FIELDS ...`, `HPERSIST key FIELDS ...`, with exactly the fields that
//! were changed wherever that depends on the time.

mod counters;
mod expiry;
mod random;
mod read;
mod reclaim;
#[cfg(test)]
mod tests;
mod with_expiry;
mod write;

pub(crate) use reclaim::reclaim_fields;

use super::{Args, Call, Command, CommandError, Group, Keys, Spec};
use crate::engine::EventClass;
use crate::key::Key;

/// All of them.
pub(super) static COMMANDS: &[&Command] = &[
    &write::HSET,
    &write::HMSET,
    &write::HSETNX,
    &write::HDEL,
    &write::HGETDEL,
    &counters::HINCRBY,
    &counters::HINCRBYFLOAT,
    &read::HGET,
    &read::HMGET,
    &read::HGETALL,
    &read::HKEYS,
    &read::HVALS,
    &read::HEXISTS,
    &read::HLEN,
    &read::HSTRLEN,
    &read::HSCAN,
    &random::HRANDFIELD,
    &expiry::HEXPIRE,
    &expiry::HPEXPIRE,
    &expiry::HEXPIREAT,
    &expiry::HPEXPIREAT,
    &expiry::HTTL,
    &expiry::HPTTL,
    &expiry::HEXPIRETIME,
    &expiry::HPEXPIRETIME,
    &expiry::HPERSIST,
    &with_expiry::HSETEX,
    &with_expiry::HGETEX,
];

/// What all commands on one hash have in common.
const BASE: Spec = Spec { keys: Keys::first("RO ACCESS"), group: Group::Hash, since: "2.0.0", ..Spec::BASE };

const PER_FIELD: &str = "O(N) where N is the number of fields named";

/// The time by which fields are judged: 0, before all of it, in a replay.
#[inline]
fn clock(call: &Call<'_>) -> u64 {
    if call.engine.replaying { 0 } else { call.engine.now_ms }
}

/// The number in front of the fields is not theirs.
const WRONG_COUNT: CommandError = CommandError::Text(std::borrow::Cow::Borrowed(
    "ERR numfields should be greater than 0 and match the provided number of fields",
));

/// Where the word FIELDS is, behind options that begin at `from`. At least one word follows it.
///
/// # Errors
/// There is none: to Valkey that is a wrong number of fields.
fn find_fields(args: &Args<'_>, from: usize) -> Result<usize, CommandError> {
    (from..args.len() - 1).find(|&index| args.is(index, "FIELDS")).ok_or(WRONG_COUNT)
}

/// The words behind `FIELDS numfields`, where FIELDS is at `index`; each field takes `width` words.
///
/// # Errors
/// `numfields` is not an integer, or `wrong` if it is not the number of fields that follow.
fn counted_fields<'a>(
    args: &Args<'a>,
    index: usize,
    width: usize,
    wrong: CommandError,
) -> Result<&'a [&'a [u8]], CommandError> {
    let count = args.integer(index + 1)?;
    let words = &args.words()[index + 2..];
    let right = usize::try_from(count).ok().and_then(|count| count.checked_mul(width)) == Some(words.len());
    if right && count > 0 { Ok(words) } else { Err(wrong) }
}

/// The fields of commands that have `FIELDS numfields field ...` right behind the key.
///
/// # Errors
/// As [`counted_fields`].
fn fields_after_key<'a>(args: &Args<'a>, wrong: CommandError) -> Result<&'a [&'a [u8]], CommandError> {
    if !args.is(2, "FIELDS") {
        return Err(CommandError::Syntax);
    }
    counted_fields(args, 2, 1, wrong)
}

impl Call<'_> {
    /// Reports an event of a hash.
    #[inline]
    fn hash_event(&mut self, name: &'static str, key: Key<'_>) {
        self.event(EventClass::Hash, name, key.bytes);
    }

    /// Counts and reports fields that were found dead while something was written, or that were given a deadline that has passed.
    fn fields_expired(&mut self, count: usize, key: Key<'_>) {
        if count > 0 {
            self.engine.stats.expired_fields += count as u64;
            self.hash_event("hexpired", key);
        }
    }

    /// Reports the end of a hash that lost its last field.
    fn hash_removed(&mut self, removed: bool, key: Key<'_>) {
        if removed {
            self.event(EventClass::Generic, "del", key.bytes);
        }
    }
}

//! Commands on streams.
//!
//! Effects are what Redis propagates: XADD with its ID and exact trimming; what a consumer was given as XCLAIM with time and count, and where
//! its group stands as XGROUP SETID; consumers that came to be by the way as XGROUP CREATECONSUMER. Otherwise than in Redis, reading one's
//! own history is an effect too: it changes counts and times, which a restart must not take back.

mod acknowledge;
mod add;
mod claim;
mod groups;
mod info;
mod pending;
mod range;
mod read;
#[cfg(test)]
mod tests;

use super::{Args, Call, Command, CommandError, Reply, Spec};
use crate::key::Key;
use crate::value::stream::{Consumer, Entry, Id, Pending, Stream, until_nul};

/// All of them.
pub(super) static COMMANDS: &[&Command] = &[
    &add::XADD,
    &add::XTRIM,
    &add::XSETID,
    &range::XLEN,
    &range::XRANGE,
    &range::XREVRANGE,
    &range::XDEL,
    &read::XREAD,
    &read::XREADGROUP,
    &groups::XGROUP,
    &acknowledge::XACK,
    &pending::XPENDING,
    &claim::XCLAIM,
    &claim::XAUTOCLAIM,
    &info::XINFO,
];

const fn text(text: &'static str) -> CommandError {
    CommandError::Text(std::borrow::Cow::Borrowed(text))
}

const INVALID_ID: CommandError = text("ERR Invalid stream ID specified as stream command argument");

/// A whole ID; without a sequence number it is 0.
fn id(word: &[u8]) -> Result<Id, CommandError> {
    Id::parse(word, 0).ok_or(INVALID_ID)
}

/// The start of an interval: `(` excludes it, `-` is the first there can be.
fn interval_start(word: &[u8]) -> Result<Id, CommandError> {
    match word {
        [b'(', rest @ ..] if !rest.is_empty() => id(rest)?.next().ok_or(text("ERR invalid start ID for the interval")),
        _ => Id::parse_bound(word, 0).ok_or(INVALID_ID),
    }
}

/// The end of an interval: `(` excludes it, `+` is the last there can be. Without a sequence number all of its millisecond is meant.
fn interval_end(word: &[u8]) -> Result<Id, CommandError> {
    match word {
        [b'(', rest @ ..] if !rest.is_empty() => {
            let end = Id::parse(rest, u64::MAX).ok_or(INVALID_ID)?;
            end.previous().ok_or(text("ERR invalid end ID for the interval"))
        }
        _ => Id::parse_bound(word, u64::MAX).ok_or(INVALID_ID),
    }
}

/// COUNT of XRANGE, XREAD and XPENDING: what is negative counts as 0.
fn count(args: &Args<'_>, index: usize) -> Result<usize, CommandError> {
    Ok(usize::try_from(args.integer(index)?.max(0)).unwrap_or(usize::MAX))
}

/// A client's word in an error's text, as C prints it.
fn shown(word: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(until_nul(word))
}

/// Key or group are not there; `rest` ends the sentence.
fn no_group(key: &[u8], group: &[u8], rest: &str) -> CommandError {
    let (key, group) = (shown(key), shown(group));
    CommandError::text(format!("NOGROUP No such key '{key}' or consumer group '{group}'{rest}"))
}

/// XGROUP's and XINFO's complaint about a subcommand's words.
fn subcommand_syntax(container: &str, word: &[u8]) -> CommandError {
    let word = super::error::excerpt(word);
    CommandError::text(format!(
        "ERR unknown subcommand or wrong number of arguments for '{word}'. Try {container} HELP."
    ))
}

/// The subcommand that the second word names, if the number of words is right.
fn subcommand(container: &'static Spec, args: &Args<'_>) -> Result<&'static Spec, CommandError> {
    let Some(found) = container.subcommand(args.get(1)) else {
        let (word, name) = (super::error::excerpt(args.get(1)), container.name);
        return Err(CommandError::text(format!("ERR unknown subcommand '{word}'. Try {name} HELP.")));
    };
    if found.arity.fits(args.len()) {
        return Ok(found);
    }
    let name = format!("{}|{}", container.name, found.name).to_lowercase();
    Err(CommandError::WrongArity(name.into()))
}

/// An entry: its ID, and its fields and values.
#[inline]
fn reply_entry(reply: &mut dyn Reply, entry: Entry<'_>) {
    reply.array(2);
    reply.bulk(&entry.id.text());
    reply.array(entry.fields() * 2);
    for (field, value) in entry.pairs() {
        reply.element(field);
        reply.element(value);
    }
}

/// Entries from `start` to `end`, at most `max`.
fn reply_range(reply: &mut dyn Reply, stream: &Stream, start: Id, end: Id, max: usize) {
    reply.array(stream.count(start, end, max));
    stream.range(start, end).take(max).for_each(|entry| reply_entry(reply, entry));
}

/// The milliseconds from `since` to now.
fn elapsed(now_ms: u64, since_ms: u64) -> i64 {
    (now_ms as i64).wrapping_sub(since_ms as i64)
}

/// The most bytes that so many [`Call::claim_effect`]s take in a record, and one each of the other two: the names are in all of them.
fn claims_len(key: Key<'_>, group: &[u8], consumer: &[u8], claims: usize) -> usize {
    /// IDs, numbers, options, lengths.
    const AROUND: usize = 256;
    let one = key.bytes.len() + group.len() + consumer.len() + AROUND;
    claims.saturating_add(2).saturating_mul(one)
}

impl Call<'_> {
    /// The effect of an entry's delivery to a consumer: `XCLAIM key group consumer 0 id TIME t RETRYCOUNT n FORCE JUSTID LASTID id`.
    fn claim_effect(&mut self, key: Key<'_>, group: &[u8], consumer: &[u8], pending: &Pending, last_id: Id) {
        let (mut time, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
        self.effect(&[
            b"XCLAIM",
            key.bytes,
            group,
            consumer,
            b"0",
            &pending.id.text(),
            b"TIME",
            time.format(pending.delivered_ms).as_bytes(),
            b"RETRYCOUNT",
            count.format(pending.deliveries).as_bytes(),
            b"FORCE",
            b"JUSTID",
            b"LASTID",
            &last_id.text(),
        ]);
    }

    /// The effect of a group's having read on: `XGROUP SETID key group id ENTRIESREAD n`.
    fn position_effect(&mut self, key: Key<'_>, group: &[u8], last_id: Id, entries_read: Option<u64>) {
        let mut read = itoa::Buffer::new();
        let read = entries_read.map_or("-1", |entries| read.format(entries));
        self.effect(&[b"XGROUP", b"SETID", key.bytes, group, &last_id.text(), b"ENTRIESREAD", read.as_bytes()]);
    }

    /// The effect of a consumer that came to be without a delivery.
    fn consumer_effect(&mut self, key: Key<'_>, group: &[u8], consumer: &[u8]) {
        self.effect(&[b"XGROUP", b"CREATECONSUMER", key.bytes, group, consumer]);
    }
}

/// Milliseconds since a consumer was heard of, never negative.
fn idle(consumer: &Consumer, now_ms: u64) -> i64 {
    elapsed(now_ms, consumer.seen_ms).max(0)
}

//! XADD, XTRIM, XSETID: what makes a stream longer or shorter at its ends.

use super::super::{Args, Arity, Call, Command, CommandError, Flags, Group, Keys, Reply, Spec};
use super::{INVALID_ID, id, text};
use crate::engine::EventClass;
use crate::value::stream::{CannotAdd, Id, IdRequest, Stream, Threshold, Trim};

/// What LIMIT is if an approximate trimming does not say: so many nodes' entries, within bounds.
const LIMIT_NODES: usize = 100;
const LIMIT_DEFAULT: u64 = 10_000;
const LIMIT_DEFAULT_MAX: u64 = 1_000_000;

const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);

/// Options of XADD and XTRIM.
struct Options {
    trim: Option<Trim>,
    no_make: bool,
    /// XADD's ID, and the index of its word.
    id: Option<(IdRequest, usize)>,
}

/// Reads options from word 2 on; XADD's end with the ID.
fn options(call: &Call<'_>, args: &Args<'_>, add: bool) -> Result<Options, CommandError> {
    let mut threshold = None;
    let (mut approximate, mut limit, mut no_make, mut id_found) = (false, None, false, None);
    let mut index = 2;
    while index < args.len() {
        let more = args.len() - 1 - index;
        if add && args.get(index) == b"*" {
            id_found = Some((IdRequest::Any, index));
            break;
        }
        let max_len = args.is(index, "MAXLEN");
        if more > 0 && (max_len || args.is(index, "MINID")) {
            if threshold.is_some() {
                return Err(text("ERR syntax error, MAXLEN and MINID options at the same time are not compatible"));
            }
            let sign = more > 1 && matches!(args.get(index + 1), b"~" | b"=");
            approximate = sign && args.get(index + 1) == b"~";
            index += 1 + usize::from(sign);
            threshold = Some(if max_len {
                let len = u64::try_from(args.integer(index)?);
                Threshold::MaxLen(len.map_err(|_| text("ERR The MAXLEN argument must be >= 0."))?)
            } else {
                Threshold::MinId(id(args.get(index))?)
            });
        } else if more > 0 && args.is(index, "LIMIT") {
            index += 1;
            let given = u64::try_from(args.integer(index)?);
            limit = Some(given.map_err(|_| text("ERR The LIMIT argument must be >= 0."))?);
        } else if add && args.is(index, "NOMKSTREAM") {
            no_make = true;
        } else if add {
            id_found = Some((IdRequest::parse(args.get(index)).ok_or(INVALID_ID)?, index));
            break;
        } else {
            return Err(CommandError::Syntax);
        }
        index += 1;
    }
    if threshold.is_none() && limit.is_some_and(|limit| limit != 0) {
        return Err(text("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy"));
    }
    if threshold.is_none() && !add {
        return Err(text("ERR syntax error, XTRIM must be called with a trimming strategy"));
    }
    if limit.is_some() && !approximate {
        return Err(text("ERR syntax error, LIMIT cannot be used without the special ~ option"));
    }
    let limit = limit.unwrap_or_else(|| if approximate { default_limit(call) } else { 0 });
    let trim = threshold.map(|threshold| Trim { threshold, approximate, limit });
    Ok(Options { trim, no_make, id: id_found })
}

fn default_limit(call: &Call<'_>) -> u64 {
    match call.engine.settings.shaping.stream_node_max_entries.saturating_mul(LIMIT_NODES) as u64 {
        0 => LIMIT_DEFAULT,
        limit => limit.min(LIMIT_DEFAULT_MAX),
    }
}

/// `XADD`.
pub(super) static XADD: Command = Command {
    spec: Spec {
        name: "XADD",
        arity: Arity::AtLeast(5),
        flags: WRITE_FAST.and(Flags::DENYOOM),
        keys: Keys::first("RW UPDATE"),
        group: Group::Stream,
        since: "5.0.0",
        summary: "Adds an entry at the end of a stream; creates the stream if need be.",
        complexity: "O(1) to add; O(N) to trim, N being the number of entries removed",
        syntax: "key [NOMKSTREAM] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> field value [field value ...]",
        ..Spec::BASE
    },
    run: xadd,
};

fn xadd(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let options = options(call, args, true)?;
    let wrong_arity = || CommandError::WrongArity("xadd".into());
    let (request, index) = options.id.ok_or_else(wrong_arity)?;
    let pairs = &args.words()[index + 1..];
    if pairs.is_empty() || pairs.len() % 2 == 1 {
        return Err(wrong_arity());
    }
    if request == IdRequest::Exactly(Id::MIN) {
        return Err(text("ERR The ID specified in XADD must be greater than 0-0"));
    }
    let (key, now_ms) = (call.key(args, 1), call.engine.now_ms);
    let id = match call.write_stream(key)? {
        Some(stream) => stream.id_for(request, now_ms),
        None if options.no_make => {
            reply.null();
            return Ok(());
        }
        None => Stream::default().id_for(request, now_ms),
    };
    let id = id.and_then(|id| Stream::check_size(pairs).map(|()| id)).map_err(|why| match why {
        CannotAdd::Exhausted => text("ERR The stream has exhausted the last possible ID, unable to add more items"),
        CannotAdd::NotAbove => text("ERR The ID specified in XADD is equal or smaller than the target stream top item"),
        CannotAdd::TooLarge => text("ERR Elements are too large to be stored"),
    })?;
    let trim = options.trim;
    let (trimmed, len, first) = call
        .edit_stream(key, |stream, shaping| {
            stream.add(id, pairs, shaping);
            let Some(trim) = &trim else { return (0, 0, Id::MIN) };
            (stream.trim(trim), stream.len(), oldest_or_end(stream))
        })
        .result;
    call.changed(key);
    call.event(EventClass::Stream, "xadd", key.bytes);
    if trimmed > 0 {
        call.event(EventClass::Stream, "xtrim", key.bytes);
    }
    let id = id.text();
    match trim {
        None => call.effect_parts(&[b"XADD", key.bytes, &id], pairs),
        Some(trim) => {
            let (option, value) = exact(&trim, len, first);
            call.effect_parts(&[b"XADD", key.bytes, option, b"=", &value, &id], pairs);
        }
    }
    reply.bulk(&id);
    Ok(())
}

fn oldest_or_end(stream: &Stream) -> Id {
    if stream.is_empty() { Id::MAX } else { stream.first_id() }
}

/// The option and the argument that trim exactly as far as was trimmed: to `len` entries, of which the oldest has the ID `first`.
fn exact(trim: &Trim, len: usize, first: Id) -> (&'static [u8], Vec<u8>) {
    match trim.threshold {
        Threshold::MaxLen(max) => {
            let len = if trim.approximate { len as u64 } else { max };
            (b"MAXLEN", itoa::Buffer::new().format(len).as_bytes().to_vec())
        }
        Threshold::MinId(id) => (b"MINID", if trim.approximate { first } else { id }.text().to_vec()),
    }
}

/// `XTRIM`.
pub(super) static XTRIM: Command = Command {
    spec: Spec {
        name: "XTRIM",
        arity: Arity::AtLeast(4),
        flags: Flags::WRITE,
        keys: Keys::first("RW DELETE"),
        group: Group::Stream,
        since: "5.0.0",
        summary: "Removes the oldest entries of a stream.",
        complexity: "O(N) with N being the number of removed entries; whole nodes of entries go at once",
        syntax: "key <MAXLEN | MINID> [= | ~] threshold [LIMIT count]",
        ..Spec::BASE
    },
    run: xtrim,
};

fn xtrim(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let options = options(call, args, false)?;
    let key = call.key(args, 1);
    let Some(trim) = options.trim else { return Err(CommandError::Syntax) };
    if call.write_stream(key)?.is_none() {
        reply.integer(0);
        return Ok(());
    }
    let (trimmed, len, first) =
        call.edit_stream(key, |stream, _| (stream.trim(&trim), stream.len(), oldest_or_end(stream))).result;
    if trimmed > 0 {
        call.changed(key);
        call.event(EventClass::Stream, "xtrim", key.bytes);
        let (option, value) = exact(&trim, len, first);
        call.effect(&[b"XTRIM", key.bytes, option, b"=", &value]);
    }
    reply.integer(trimmed as i64);
    Ok(())
}

/// `XSETID`.
pub(super) static XSETID: Command = Command {
    spec: Spec {
        name: "XSETID",
        arity: Arity::AtLeast(3),
        flags: WRITE_FAST.and(Flags::DENYOOM),
        keys: Keys::first("RW UPDATE"),
        group: Group::Stream,
        since: "5.0.0",
        summary: "Sets the last ID and the counters of a stream: for replication and repair.",
        complexity: "O(1)",
        syntax: "key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]",
        ..Spec::BASE
    },
    run: xsetid,
};

fn xsetid(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let last = id(args.get(2))?;
    let (mut added, mut max_deleted) = (None, Id::MIN);
    let mut index = 3;
    while index < args.len() {
        let more = index + 1 < args.len();
        if more && args.is(index, "ENTRIESADDED") {
            let given = u64::try_from(args.integer(index + 1)?);
            added = Some(given.map_err(|_| text("ERR entries_added must be positive"))?);
        } else if more && args.is(index, "MAXDELETEDID") {
            max_deleted = id(args.get(index + 1))?;
            if last < max_deleted {
                return Err(text("ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id"));
            }
        } else {
            return Err(CommandError::Syntax);
        }
        index += 2;
    }
    let key = call.key(args, 1);
    let stream = call.write_stream(key)?.ok_or(CommandError::NoSuchKey)?;
    if last < stream.max_deleted_id() {
        return Err(text("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id"));
    }
    if stream.newest_id().is_some_and(|newest| last < newest) {
        return Err(text("ERR The ID specified in XSETID is smaller than the target stream top item"));
    }
    if !stream.is_empty() && added.is_some_and(|added| added < stream.len() as u64) {
        return Err(text("ERR The entries_added specified in XSETID is smaller than the target stream length"));
    }
    let max_deleted = (max_deleted != Id::MIN).then_some(max_deleted);
    call.edit_stream(key, |stream, _| stream.set_ids(last, added, max_deleted));
    call.touched(key);
    call.event(EventClass::Stream, "xsetid", key.bytes);
    call.effect_parts(&[b"XSETID"], &args.words()[1..]);
    reply.ok();
    Ok(())
}

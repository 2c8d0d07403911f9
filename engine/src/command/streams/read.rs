//! XREAD and XREADGROUP: entries behind an ID, of several streams, at once or as soon as there are any.

use super::super::{Args, Arity, Call, Command, CommandError, Flags, Group, Keys, Reply, Spec};
use super::{claims_len, count, id, no_group, reply_entry, reply_range, text};
use crate::engine::EventClass;
use crate::key::Key;
use crate::value::stream::{Id, Pending, until_nul};
use crate::value::{Kind, Shaping, Stream};
use crate::waiting::Block;

const READ: Spec = Spec {
    group: Group::Stream,
    since: "5.0.0",
    complexity: "O(N) with N being the number of entries returned, and O(log(M)) to find the first in a stream of M entries",
    ..Spec::BASE
};

/// `XREAD`.
pub(super) static XREAD: Command = Command {
    spec: Spec {
        name: "XREAD",
        arity: Arity::AtLeast(4),
        flags: Flags::READONLY.and(Flags::BLOCKING).and(Flags::MOVABLEKEYS),
        keys: Keys::Found { find: |words, found| find_keys(words, 1, found), legacy: (0, 0, 0), access: "RO ACCESS" },
        summary: "Returns the entries of streams behind given IDs; waits for some if asked to.",
        syntax: "[COUNT count] [BLOCK milliseconds] STREAMS <key [key ...] id [id ...]>",
        ..READ
    },
    run: |call, args, reply| xread(call, args, reply, false),
};

/// `XREADGROUP`.
pub(super) static XREADGROUP: Command = Command {
    spec: Spec {
        name: "XREADGROUP",
        arity: Arity::AtLeast(7),
        flags: Flags::WRITE.and(Flags::BLOCKING).and(Flags::MOVABLEKEYS),
        keys: Keys::Found { find: |words, found| find_keys(words, 4, found), legacy: (0, 0, 0), access: "RO ACCESS" },
        summary: "Returns entries of streams that no consumer of a group has got yet, or those pending for one; waits if asked to.",
        syntax: "GROUP <group consumer> [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS <key [key ...] id [id ...]>",
        ..READ
    },
    run: |call, args, reply| xread(call, args, reply, true),
};

/// The keys: the first half of what follows STREAMS, which is looked for from word `from` on.
fn find_keys(words: &[&[u8]], from: usize, found: &mut Vec<usize>) {
    let streams = words.iter().skip(from).position(|word| word.eq_ignore_ascii_case(b"STREAMS"));
    if let Some(at) = streams {
        let first = from + at + 1;
        found.extend(first..first + (words.len() - first) / 2);
    }
}

/// What is said in front of the keys.
#[derive(Clone, Copy, Default)]
struct Options<'a> {
    /// Whether to block, and for how long.
    block: Option<Option<u64>>,
    /// Entries of each stream at most; 0: all.
    count: usize,
    /// The group and its consumer.
    group: Option<(&'a [u8], &'a [u8])>,
    no_ack: bool,
    /// Index of the first key, and how many there are.
    first: usize,
    streams: usize,
}

fn options<'a>(call: &Call<'_>, args: &Args<'a>, grouped: bool) -> Result<Options<'a>, CommandError> {
    let mut options = Options::default();
    let mut index = 1;
    loop {
        // Without STREAMS there is nothing to read.
        let Some(more) = args.len().checked_sub(index + 1) else { return Err(CommandError::Syntax) };
        if args.is(index, "BLOCK") && more > 0 {
            index += 1;
            options.block = Some(call.timeout_ms(args, index)?);
        } else if args.is(index, "COUNT") && more > 0 {
            index += 1;
            options.count = count(args, index)?;
        } else if args.is(index, "STREAMS") && more > 0 {
            options.first = index + 1;
            options.streams = more / 2;
            if more % 2 == 1 {
                return Err(text(if grouped {
                    "ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>' must be specified."
                } else {
                    "ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified."
                }));
            }
            break;
        } else if args.is(index, "GROUP") && more >= 2 {
            if !grouped {
                return Err(text("ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead."));
            }
            options.group = Some((args.get(index + 1), args.get(index + 2)));
            index += 2;
        } else if args.is(index, "NOACK") {
            if !grouped {
                return Err(text("ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead."));
            }
            options.no_ack = true;
        } else {
            return Err(CommandError::Syntax);
        }
        index += 1;
    }
    if grouped && options.group.is_none() {
        return Err(text("ERR Missing GROUP option for XREADGROUP"));
    }
    Ok(options)
}

/// Where to begin with a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// Behind this ID; with a group: with the consumer's own pending entries.
    Behind(Id),
    /// With a group: what no consumer has got yet.
    New,
}

/// Where to begin with the stream at `args[index]`, whose ID is the word `word`.
fn start(stream: Option<&Stream>, key: &[u8], word: &[u8], options: &Options<'_>) -> Result<Start, CommandError> {
    if let Some((group, _)) = options.group {
        if stream.and_then(|stream| stream.group(group)).is_none() {
            return Err(no_group(key, group, " in XREADGROUP with GROUP option"));
        }
        let meaningless = |sign| {
            CommandError::text(format!(
                "ERR The {sign} ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer \
                 by specifying a proper ID, or use the > ID to get new messages. The {sign} ID would just return an empty \
                 result set."
            ))
        };
        return match until_nul(word) {
            b">" => Ok(Start::New),
            b"$" => Err(meaningless('$')),
            b"+" => Err(meaningless('+')),
            _ => match id(word)? {
                Id::MAX => Ok(Start::New),
                id => Ok(Start::Behind(id)),
            },
        };
    }
    match until_nul(word) {
        b"$" => Ok(Start::Behind(stream.map_or(Id::MIN, Stream::last_id))),
        // The last entry, if that is the one with the last ID.
        b"+" => Ok(Start::Behind(stream.and_then(|stream| stream.last_id().previous()).unwrap_or(Id::MIN))),
        b">" => Err(text(
            "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
        )),
        _ => id(word).map(Start::Behind),
    }
}

/// What one stream gives.
struct Served {
    /// Index of the key.
    index: usize,
    what: What,
}

enum What {
    /// So many entries from this ID on.
    Range(Id, usize),
    /// The consumer's pending entries with these IDs; some may be deleted.
    History(Vec<Id>),
}

fn xread(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply, grouped: bool) -> Result<(), CommandError> {
    let options = options(call, args, grouped)?;
    let keys = options.first..options.first + options.streams;
    let (mut starts, mut record_len) = (Vec::with_capacity(options.streams), 0usize);
    let room = call.engine.effects.room();
    for index in keys.clone() {
        let key = call.key(args, index);
        let word = args.get(index + options.streams);
        let stream = if grouped {
            let exists = call.write_stream(key)?.is_some();
            call.looked_up(key, exists);
            call.write_stream(key)?
        } else {
            call.read_stream(key)?
        };
        let from = start(stream, key.bytes, word, &options)?;
        if let (Some(stream), Some((group, consumer))) = (stream, options.group) {
            let len = |claims| record_len.saturating_add(claims_len(key, group, consumer, claims));
            record_len = match len(claims_max(stream, from, &options)) {
                most if most <= room => most,
                _ => len(claims(stream, from, &options)),
            };
        }
        starts.push(from);
    }
    call.engine.admits(record_len)?;
    let mut served = Vec::new();
    for (index, &from) in keys.clone().zip(&starts) {
        let key = call.key(args, index);
        let what = match options.group {
            Some((group, consumer)) => read_group(call, key, group, consumer, from, &options),
            None => read(call, key, from, options.count)?,
        };
        served.extend(what.map(|what| Served { index, what }));
    }
    if !served.is_empty() {
        return reply_served(call, args, &served, reply);
    }
    let Some(timeout_ms) = options.block.filter(|_| call.may_block()) else {
        reply.null_array();
        return Ok(());
    };
    // `$` stands for the last ID of now, also when the command runs again.
    let rewritten = args.words().iter().enumerate().map(|(index, word)| {
        let start = index.checked_sub(keys.end).and_then(|at| starts.get(at));
        match start {
            Some(Start::Behind(id)) if until_nul(word) == b"$" => id.text().to_vec(),
            _ => word.to_vec(),
        }
    });
    let words = (!grouped).then(|| rewritten.collect());
    let block = Block { when_gone: grouped, words, ..Block::on(Kind::Stream, timeout_ms) };
    call.block(block, args.words()[keys].iter().copied());
    Ok(())
}

/// How many entries of a stream a read on behalf of a group makes pending, or delivers again, at most: what can be told at once.
fn claims_max(stream: &Stream, from: Start, options: &Options<'_>) -> usize {
    let pending = || {
        let (group, consumer) = options.group?;
        Some(stream.group(group)?.consumer(consumer)?.pending_len())
    };
    let most = match from {
        Start::New if options.no_ack => 0,
        Start::New => stream.len(),
        Start::Behind(_) => pending().unwrap_or(0),
    };
    most.min(limit(options.count))
}

/// The same, counted.
fn claims(stream: &Stream, from: Start, options: &Options<'_>) -> usize {
    let most = claims_max(stream, from, options);
    let counted = || {
        let (group, consumer) = options.group?;
        let group = stream.group(group)?;
        Some(match from {
            Start::New => stream.count(group.last_id().next()?, Id::MAX, most),
            Start::Behind(behind) => group.consumer(consumer)?.pending_from(behind.next()?).take(most).count(),
        })
    };
    counted().unwrap_or(0)
}

fn limit(count: usize) -> usize {
    if count == 0 { usize::MAX } else { count }
}

fn read(call: &mut Call<'_>, key: Key<'_>, from: Start, count: usize) -> Result<Option<What>, CommandError> {
    let Start::Behind(behind) = from else { return Ok(None) };
    let (Some(stream), Some(first)) = (call.read_stream(key)?, behind.next()) else { return Ok(None) };
    let newer = stream.newest_id().is_some_and(|newest| newest >= first);
    Ok(newer.then(|| What::Range(first, stream.count(first, Id::MAX, limit(count)))))
}

/// What a change of the group by a read has to tell.
struct Delivered {
    what: Option<What>,
    /// The consumer came to be.
    created: bool,
    /// What is pending now that was not, or otherwise.
    pending: Vec<Pending>,
    /// Where the group stands, if it has moved.
    position: Option<(Id, Option<u64>)>,
}

/// Gives entries to a consumer, whose group is there. `None`: nothing to give.
fn read_group(
    call: &mut Call<'_>,
    key: Key<'_>,
    group: &[u8],
    consumer: &[u8],
    from: Start,
    options: &Options<'_>,
) -> Option<What> {
    let now_ms = call.engine.now_ms;
    let deliver = |stream: &mut Stream, _: &Shaping| match from {
        Start::Behind(behind) => history(stream, group, consumer, behind, now_ms, limit(options.count)),
        Start::New => new_entries(stream, group, consumer, now_ms, options),
    };
    let delivered = call.edit_stream(key, deliver).result?;
    if delivered.created {
        call.event(EventClass::Stream, "xgroup-createconsumer", key.bytes);
        if delivered.pending.is_empty() {
            call.consumer_effect(key, group, consumer);
        }
    }
    for pending in &delivered.pending {
        // Each says how far the group has come with it.
        let last_id = if delivered.position.is_some() { pending.id } else { Id::MIN };
        call.claim_effect(key, group, consumer, pending, last_id);
    }
    if let Some((last_id, entries_read)) = delivered.position {
        call.position_effect(key, group, last_id, entries_read);
    }
    if delivered.created || !delivered.pending.is_empty() || delivered.position.is_some() {
        call.touched(key);
    }
    delivered.what
}

/// The consumer's own pending entries behind an ID: each counts as delivered once more.
fn history(
    stream: &mut Stream,
    group: &[u8],
    consumer: &[u8],
    behind: Id,
    now_ms: u64,
    max: usize,
) -> Option<Delivered> {
    let ids: Vec<Id> = match (stream.group(group)?.consumer(consumer), behind.next()) {
        (Some(consumer), Some(first)) => consumer.pending_from(first).take(max).collect(),
        _ => Vec::new(),
    };
    let there: Vec<Id> = ids.iter().copied().filter(|id| stream.get(*id).is_some()).collect();
    let (created, pending) = stream.edit_group(group, |group| {
        let (number, created) = group.consumer_or_new(consumer, now_ms);
        group.saw(number, now_ms, false);
        let again = there.iter().filter_map(|id| group.pending(*id)).map(|old| Pending {
            delivered_ms: now_ms,
            deliveries: old.deliveries.saturating_add(1),
            ..old
        });
        let again: Vec<Pending> = again.collect();
        again.iter().for_each(|pending| group.assign(*pending));
        (created, again)
    })?;
    Some(Delivered { what: Some(What::History(ids)), created, pending, position: None })
}

/// Entries behind the group's last ID.
fn new_entries(
    stream: &mut Stream,
    name: &[u8],
    consumer: &[u8],
    now_ms: u64,
    options: &Options<'_>,
) -> Option<Delivered> {
    let group = stream.group(name)?;
    let first = group.last_id().next().filter(|first| stream.newest_id().is_some_and(|newest| newest >= *first));
    let mut ids: Vec<Id> = Vec::new();
    if let Some(first) = first {
        ids.extend(stream.range(first, Id::MAX).take(limit(options.count)).map(|entry| entry.id));
    }
    let standing = (group.last_id(), group.entries_read());
    let (last_id, entries_read) =
        ids.iter().fold(standing, |(last, read), id| (*id, stream.entries_read_at(read, last, *id)));
    let position = (!ids.is_empty()).then_some((last_id, entries_read));
    let (created, pending) = stream.edit_group(name, |group| {
        let (number, created) = group.consumer_or_new(consumer, now_ms);
        let mut pending: Vec<Pending> = Vec::new();
        if !options.no_ack {
            let delivered = |id: &Id| Pending { id: *id, delivered_ms: now_ms, deliveries: 1, consumer: number };
            pending.extend(ids.iter().map(delivered));
            pending.iter().for_each(|pending| group.assign(*pending));
        }
        group.saw(number, now_ms, !pending.is_empty());
        if let Some((last_id, entries_read)) = position {
            group.set_position(last_id, entries_read);
        }
        (created, pending)
    })?;
    let what = first.map(|first| What::Range(first, ids.len()));
    Some(Delivered { what, created, pending, position })
}

/// RESP2: pairs of key and entries; RESP3: a map.
fn reply_served(
    call: &mut Call<'_>,
    args: &Args<'_>,
    served: &[Served],
    reply: &mut dyn Reply,
) -> Result<(), CommandError> {
    let pairs = reply.protocol() == 2;
    if pairs {
        reply.array(served.len());
    } else {
        reply.map(served.len());
    }
    for Served { index, what } in served {
        let key = call.key(args, *index);
        if pairs {
            reply.array(2);
        }
        reply.bulk(key.bytes);
        let Some(stream) = call.write_stream(key)? else {
            reply.array(0);
            continue;
        };
        match what {
            What::Range(first, max) => reply_range(reply, stream, *first, Id::MAX, *max),
            What::History(ids) => {
                reply.array(ids.len());
                for id in ids {
                    if let Some(entry) = stream.get(*id) {
                        reply_entry(reply, entry);
                    } else {
                        reply.array(2);
                        reply.bulk(&id.text());
                        reply.null_array();
                    }
                }
            }
        }
    }
    Ok(())
}

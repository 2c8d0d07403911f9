//! XPENDING: what was delivered and not yet acknowledged.

use super::super::{Args, Arity, Call, Command, CommandError, Flags, Group, Keys, Reply, Spec};
use super::{count, elapsed, interval_end, interval_start, no_group};
use crate::value::stream::{self, Id, Pending};

/// `XPENDING`.
pub(super) static XPENDING: Command = Command {
    spec: Spec {
        name: "XPENDING",
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY,
        keys: Keys::first("RO ACCESS"),
        group: Group::Stream,
        since: "5.0.0",
        summary: "Returns what is pending in a group: a summary, or the entries of an interval.",
        complexity: "O(N) with N being the number of pending entries looked at; the summary is O(N) in the number of consumers",
        syntax: "key group [[IDLE min-idle-time] start end count [consumer]]",
        ..Spec::BASE
    },
    run: xpending,
};

/// What is asked for beyond the summary.
struct Interval<'a> {
    idle_ms: i64,
    start: Id,
    end: Id,
    max: usize,
    consumer: Option<&'a [u8]>,
}

fn interval<'a>(args: &Args<'a>) -> Result<Option<Interval<'a>>, CommandError> {
    match args.len() {
        3 => return Ok(None),
        6..=9 => {}
        _ => return Err(CommandError::Syntax),
    }
    let (mut at, mut idle_ms) = (3, 0);
    if args.is(3, "IDLE") {
        idle_ms = args.integer(4)?;
        if args.len() < 8 {
            return Err(CommandError::Syntax);
        }
        at = 5;
    }
    let max = count(args, at + 2)?;
    let start = interval_start(args.get(at))?;
    let end = interval_end(args.get(at + 1))?;
    Ok(Some(Interval { idle_ms, start, end, max, consumer: args.words().get(at + 3).copied() }))
}

fn xpending(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let interval = interval(args)?;
    let (key, now_ms) = (call.key(args, 1), call.engine.now_ms);
    let group = call.read_stream(key)?.and_then(|stream| stream.group(args.get(2)));
    let group = group.ok_or_else(|| no_group(key.bytes, args.get(2), ""))?;
    match interval {
        None => summary(group, reply),
        Some(interval) => entries(group, &interval, now_ms, reply),
    }
    Ok(())
}

fn summary(group: &stream::Group, reply: &mut dyn Reply) {
    reply.array(4);
    reply.integer(group.pending_len() as i64);
    let Some((lowest, highest)) = group.pending_ends() else {
        reply.null();
        reply.null();
        reply.null_array();
        return;
    };
    reply.bulk(&lowest.text());
    reply.bulk(&highest.text());
    let busy = || group.consumers().filter(|consumer| consumer.pending_len() > 0);
    reply.array(busy().count());
    for consumer in busy() {
        reply.array(2);
        reply.bulk(consumer.name());
        reply.bulk(itoa::Buffer::new().format(consumer.pending_len()).as_bytes());
    }
}

fn entries(group: &stream::Group, interval: &Interval<'_>, now_ms: u64, reply: &mut dyn Reply) {
    let mut found: Vec<Pending> = Vec::new();
    let wanted = |pending: &Pending| interval.idle_ms == 0 || elapsed(now_ms, pending.delivered_ms) >= interval.idle_ms;
    match interval.consumer.map(|name| group.consumer(name)) {
        Some(None) => {}
        Some(Some(consumer)) => {
            let ids = consumer.pending_from(interval.start).take_while(|id| *id <= interval.end);
            found.extend(ids.filter_map(|id| group.pending(id)).filter(wanted).take(interval.max));
        }
        None => {
            let pending = group.pending_from(interval.start).take_while(|pending| pending.id <= interval.end);
            found.extend(pending.copied().filter(wanted).take(interval.max));
        }
    }
    reply.array(found.len());
    for pending in found {
        reply.array(4);
        reply.bulk(&pending.id.text());
        reply.bulk(group.numbered(pending.consumer).name());
        reply.integer(elapsed(now_ms, pending.delivered_ms).max(0));
        reply.integer(pending.deliveries as i64);
    }
}

//! XINFO: streams, groups and consumers from within.

use super::super::{Args, Arity, Call, Command, CommandError, Flags, Group, Keys, Reply, Spec};
use super::{elapsed, idle, reply_entry, reply_range, shown, subcommand, subcommand_syntax};
use crate::value::Stream;
use crate::value::stream::{self, Id};

/// Elements of each list in XINFO STREAM FULL if COUNT is not given.
const FULL_COUNT: i64 = 10;

const SUBCOMMAND: Spec = Spec {
    flags: Flags::READONLY,
    keys: Keys::Range { first: 2, last: 2, step: 1, access: "RO ACCESS" },
    group: Group::Stream,
    since: "5.0.0",
    ..Spec::BASE
};

/// `XINFO`.
pub(super) static XINFO: Command = Command {
    spec: Spec {
        name: "XINFO",
        arity: Arity::AtLeast(2),
        group: Group::Stream,
        since: "5.0.0",
        summary: "Commands that look at streams, groups and consumers.",
        complexity: "Depends on subcommand.",
        subcommands: &[
            Spec {
                name: "CONSUMERS",
                arity: Arity::Exactly(4),
                summary: "Returns the consumers of a group.",
                complexity: "O(N) with N being the number of consumers",
                syntax: "key group",
                ..SUBCOMMAND
            },
            Spec {
                name: "GROUPS",
                arity: Arity::Exactly(3),
                summary: "Returns the groups of a stream.",
                complexity: "O(N) with N being the number of groups",
                syntax: "key",
                ..SUBCOMMAND
            },
            Spec {
                name: "HELP",
                arity: Arity::Exactly(2),
                flags: Flags::LOADING.and(Flags::STALE),
                keys: Keys::None,
                summary: "Returns what the subcommands do.",
                ..SUBCOMMAND
            },
            Spec {
                name: "STREAM",
                arity: Arity::AtLeast(3),
                summary: "Returns what there is to know of a stream.",
                complexity: "O(N) with N being the number of nodes",
                syntax: "key [FULL [COUNT count]]",
                ..SUBCOMMAND
            },
        ],
        ..Spec::BASE
    },
    run: xinfo,
};

const HELP: &[&str] = &[
    "XINFO <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CONSUMERS <key> <groupname>",
    "    Show consumers of <groupname>.",
    "GROUPS <key>",
    "    Show the stream consumer groups.",
    "STREAM <key> [FULL [COUNT <count>]",
    "    Show information about the stream.",
    "HELP",
    "    Print this help.",
];

fn xinfo(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let name = subcommand(&XINFO.spec, args)?.name;
    if name == "HELP" {
        reply.array(HELP.len());
        HELP.iter().for_each(|line| reply.simple(line));
        return Ok(());
    }
    let (key, now_ms) = (call.key(args, 2), call.engine.now_ms);
    let stream = call.read_stream(key)?.ok_or(CommandError::NoSuchKey)?;
    match name {
        "GROUPS" => groups(stream, reply),
        "STREAM" => match full_count(args)? {
            None => summary(stream, reply),
            Some(max) => full(stream, max, reply),
        },
        _ => {
            let group = stream.group(args.get(3)).ok_or_else(|| {
                let (group, key) = (shown(args.get(3)), shown(key.bytes));
                CommandError::text(format!("NOGROUP No such consumer group '{group}' for key name '{key}'"))
            })?;
            consumers(group, now_ms, reply);
        }
    }
    Ok(())
}

/// What FULL asks for: how many elements of each list. `None`: FULL is not said.
fn full_count(args: &Args<'_>) -> Result<Option<usize>, CommandError> {
    let wrong = || subcommand_syntax("XINFO", args.get(1));
    let count = match args.len() {
        3 => return Ok(None),
        4 if args.is(3, "FULL") => FULL_COUNT,
        6 if args.is(3, "FULL") && args.is(4, "COUNT") => match args.integer(5)? {
            ..0 => FULL_COUNT,
            count => count,
        },
        _ => return Err(wrong()),
    };
    Ok(Some(if count == 0 { usize::MAX } else { count as usize }))
}

fn named_id(reply: &mut dyn Reply, name: &str, id: Id) {
    reply.bulk(name.as_bytes());
    reply.bulk(&id.text());
}

fn named_integer(reply: &mut dyn Reply, name: &str, value: impl TryInto<i64>) {
    reply.bulk(name.as_bytes());
    reply.integer(value.try_into().unwrap_or(i64::MAX));
}

fn named_bytes(reply: &mut dyn Reply, name: &str, bytes: &[u8]) {
    reply.bulk(name.as_bytes());
    reply.bulk(bytes);
}

/// A number, or null where it cannot be said.
fn named_optional(reply: &mut dyn Reply, name: &str, value: Option<i64>) {
    reply.bulk(name.as_bytes());
    match value {
        Some(value) => reply.integer(value),
        None => reply.null(),
    }
}

/// How far a group has read, and how far it is behind.
fn progress(stream: &Stream, group: &stream::Group, reply: &mut dyn Reply) {
    named_optional(reply, "entries-read", group.entries_read().map(|read| read as i64));
    named_optional(reply, "lag", stream.lag(group));
}

fn consumers(group: &stream::Group, now_ms: u64, reply: &mut dyn Reply) {
    reply.array(group.consumers_len());
    for consumer in group.consumers() {
        reply.map(4);
        named_bytes(reply, "name", consumer.name());
        named_integer(reply, "pending", consumer.pending_len());
        named_integer(reply, "idle", idle(consumer, now_ms));
        named_integer(reply, "inactive", consumer.active_ms.map_or(-1, |active| elapsed(now_ms, active)));
    }
}

fn groups(stream: &Stream, reply: &mut dyn Reply) {
    reply.array(stream.groups_len());
    for group in stream.groups() {
        reply.map(6);
        named_bytes(reply, "name", group.name());
        named_integer(reply, "consumers", group.consumers_len());
        named_integer(reply, "pending", group.pending_len());
        named_id(reply, "last-delivered-id", group.last_id());
        progress(stream, group, reply);
    }
}

/// What both forms of XINFO STREAM begin with: seven pairs.
fn head(stream: &Stream, reply: &mut dyn Reply) {
    named_integer(reply, "length", stream.len());
    named_integer(reply, "radix-tree-keys", stream.nodes());
    named_integer(reply, "radix-tree-nodes", stream.radix_nodes());
    named_id(reply, "last-generated-id", stream.last_id());
    named_id(reply, "max-deleted-entry-id", stream.max_deleted_id());
    named_integer(reply, "entries-added", stream.entries_added() as i64);
    named_id(reply, "recorded-first-entry-id", stream.first_id());
}

fn summary(stream: &Stream, reply: &mut dyn Reply) {
    reply.map(10);
    head(stream, reply);
    named_integer(reply, "groups", stream.groups_len());
    let mut named_entry = |name: &str, entry: Option<stream::Entry<'_>>| {
        reply.bulk(name.as_bytes());
        match entry {
            Some(entry) => reply_entry(reply, entry),
            None => reply.null(),
        }
    };
    named_entry("first-entry", stream.range(Id::MIN, Id::MAX).next());
    named_entry("last-entry", stream.range_backward(Id::MIN, Id::MAX).next());
}

fn full(stream: &Stream, max: usize, reply: &mut dyn Reply) {
    reply.map(9);
    head(stream, reply);
    reply.bulk(b"entries");
    reply_range(reply, stream, Id::MIN, Id::MAX, max);
    reply.bulk(b"groups");
    reply.array(stream.groups_len());
    for group in stream.groups() {
        reply.map(7);
        named_bytes(reply, "name", group.name());
        named_id(reply, "last-delivered-id", group.last_id());
        progress(stream, group, reply);
        named_integer(reply, "pel-count", group.pending_len());
        reply.bulk(b"pending");
        reply.array(group.pending_len().min(max));
        for pending in group.pending_from(Id::MIN).take(max) {
            reply.array(4);
            reply.bulk(&pending.id.text());
            reply.bulk(group.numbered(pending.consumer).name());
            reply.integer(pending.delivered_ms as i64);
            reply.integer(pending.deliveries as i64);
        }
        reply.bulk(b"consumers");
        reply.array(group.consumers_len());
        group.consumers().for_each(|consumer| full_consumer(group, consumer, max, reply));
    }
}

fn full_consumer(group: &stream::Group, consumer: &stream::Consumer, max: usize, reply: &mut dyn Reply) {
    reply.map(5);
    named_bytes(reply, "name", consumer.name());
    named_integer(reply, "seen-time", consumer.seen_ms);
    named_integer(reply, "active-time", consumer.active_ms.map_or(-1, |ms| ms as i64));
    named_integer(reply, "pel-count", consumer.pending_len());
    reply.bulk(b"pending");
    reply.array(consumer.pending_len().min(max));
    for pending in consumer.pending_from(Id::MIN).filter_map(|id| group.pending(id)).take(max) {
        reply.array(3);
        reply.bulk(&pending.id.text());
        reply.integer(pending.delivered_ms as i64);
        reply.integer(pending.deliveries as i64);
    }
}

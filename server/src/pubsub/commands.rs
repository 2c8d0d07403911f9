//! SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE and their reverses, PUBLISH, SPUBLISH, PUBSUB.

use super::hub::{Hub, Kind};
use super::publish;
use crate::command::{After, ServerCall, ServerCommand};
use firn_engine::command::{Args, Arity, Categories, CommandError, Flags, Group, Keys, Reply, Spec};
use firn_engine::glob;

const BASE: Spec = Spec {
    name: "",
    arity: Arity::AtLeast(2),
    flags: Flags::PUBSUB.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE),
    keys: Keys::None,
    group: Group::Pubsub,
    categories: Categories::NONE,
    since: "2.0.0",
    summary: "",
    complexity: "O(N) where N is the number of channels",
    syntax: "channel [channel ...]",
    subcommands: &[],
};

/// `SUBSCRIBE`.
pub(crate) static SUBSCRIBE: ServerCommand = ServerCommand {
    spec: Spec { name: "SUBSCRIBE", summary: "Listens for messages published to channels.", ..BASE },
    run: |call, args, reply| subscribe(call, args, reply, Kind::Channel, "subscribe"),
};

/// `PSUBSCRIBE`.
pub(crate) static PSUBSCRIBE: ServerCommand = ServerCommand {
    spec: Spec {
        name: "PSUBSCRIBE",
        summary: "Listens for messages published to channels that match patterns.",
        complexity: "O(N) where N is the number of patterns",
        syntax: "pattern [pattern ...]",
        ..BASE
    },
    run: |call, args, reply| subscribe(call, args, reply, Kind::Pattern, "psubscribe"),
};

/// `SSUBSCRIBE`.
pub(crate) static SSUBSCRIBE: ServerCommand = ServerCommand {
    spec: Spec {
        name: "SSUBSCRIBE",
        keys: Keys::all("NOT_KEY"),
        since: "7.0.0",
        summary: "Listens for messages published to shard channels.",
        syntax: "shardchannel [shardchannel ...]",
        ..BASE
    },
    run: |call, args, reply| subscribe(call, args, reply, Kind::Shard, "ssubscribe"),
};

/// `UNSUBSCRIBE`.
pub(crate) static UNSUBSCRIBE: ServerCommand = ServerCommand {
    spec: Spec {
        name: "UNSUBSCRIBE",
        arity: Arity::AtLeast(1),
        summary: "Stops listening for messages published to channels.",
        syntax: "[channel [channel ...]]",
        ..BASE
    },
    run: |call, args, reply| unsubscribe(call, args, reply, Kind::Channel, "unsubscribe"),
};

/// `PUNSUBSCRIBE`.
pub(crate) static PUNSUBSCRIBE: ServerCommand = ServerCommand {
    spec: Spec {
        name: "PUNSUBSCRIBE",
        arity: Arity::AtLeast(1),
        summary: "Stops listening for messages published to channels that match patterns.",
        complexity: "O(N) where N is the number of patterns",
        syntax: "[pattern [pattern ...]]",
        ..BASE
    },
    run: |call, args, reply| unsubscribe(call, args, reply, Kind::Pattern, "punsubscribe"),
};

/// `SUNSUBSCRIBE`.
pub(crate) static SUNSUBSCRIBE: ServerCommand = ServerCommand {
    spec: Spec {
        name: "SUNSUBSCRIBE",
        arity: Arity::AtLeast(1),
        keys: Keys::all("NOT_KEY"),
        since: "7.0.0",
        summary: "Stops listening for messages published to shard channels.",
        syntax: "[shardchannel [shardchannel ...]]",
        ..BASE
    },
    run: |call, args, reply| unsubscribe(call, args, reply, Kind::Shard, "sunsubscribe"),
};

const PUBLISHING: Spec = Spec {
    arity: Arity::Exactly(3),
    flags: Flags::PUBSUB.and(Flags::LOADING).and(Flags::STALE).and(Flags::FAST).and(Flags::MAY_REPLICATE),
    ..BASE
};

/// `PUBLISH channel message`.
pub(crate) static PUBLISH: ServerCommand = ServerCommand {
    spec: Spec {
        name: "PUBLISH",
        summary: "Posts a message to a channel.",
        complexity: "O(N+M) where N is the number of clients subscribed to the receiving channel and M is the total number \
                     of subscribed patterns (by any client).",
        syntax: "channel message",
        ..PUBLISHING
    },
    run: |call, args, reply| {
        let promise = call.client.session.promise;
        let count = publish(call.engine(), promise, args.get(1), args.get(2), false);
        reply.integer(count as i64);
        Ok(After::Nothing)
    },
};

/// `SPUBLISH shardchannel message`.
pub(crate) static SPUBLISH: ServerCommand = ServerCommand {
    spec: Spec {
        name: "SPUBLISH",
        keys: Keys::first("NOT_KEY"),
        since: "7.0.0",
        summary: "Posts a message to a shard channel.",
        complexity: "O(N) where N is the number of clients subscribed to the receiving shard channel.",
        syntax: "shardchannel message",
        ..PUBLISHING
    },
    run: |call, args, reply| {
        let promise = call.client.session.promise;
        let count = publish(call.engine(), promise, args.get(1), args.get(2), true);
        reply.integer(count as i64);
        Ok(After::Nothing)
    },
};

/// What every subcommand of PUBSUB begins with.
const LOOK: Spec =
    Spec { flags: Flags::PUBSUB.and(Flags::LOADING).and(Flags::STALE), since: "2.8.0", syntax: "", ..BASE };

/// `PUBSUB subcommand ...`.
pub(crate) static PUBSUB: ServerCommand = ServerCommand {
    spec: Spec {
        name: "PUBSUB",
        flags: Flags::NONE,
        summary: "A container for Pub/Sub commands.",
        complexity: "Depends on subcommand.",
        subcommands: &[
            Spec {
                name: "CHANNELS",
                summary: "Returns the channels that have subscribers.",
                complexity: "O(N) where N is the number of such channels",
                syntax: "[pattern]",
                ..LOOK
            },
            Spec {
                name: "HELP",
                arity: Arity::Exactly(2),
                flags: Flags::LOADING.and(Flags::STALE),
                since: "6.2.0",
                summary: "Returns helpful text about the different subcommands.",
                complexity: "O(1)",
                ..LOOK
            },
            Spec {
                name: "NUMPAT",
                arity: Arity::Exactly(2),
                summary: "Returns the number of different patterns that have subscribers.",
                complexity: "O(1)",
                ..LOOK
            },
            Spec {
                name: "NUMSUB",
                summary: "Returns the number of subscribers of channels.",
                syntax: "[channel [channel ...]]",
                ..LOOK
            },
            Spec {
                name: "SHARDCHANNELS",
                since: "7.0.0",
                summary: "Returns the shard channels that have subscribers.",
                complexity: "O(N) where N is the number of such channels",
                syntax: "[pattern]",
                ..LOOK
            },
            Spec {
                name: "SHARDNUMSUB",
                since: "7.0.0",
                summary: "Returns the number of subscribers of shard channels.",
                syntax: "[shardchannel [shardchannel ...]]",
                ..LOOK
            },
        ],
        ..LOOK
    },
    run: pubsub,
};

const HELP: &[&str] = &[
    "PUBSUB <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CHANNELS [<pattern>]",
    "    Return the currently active channels matching a <pattern> (default: '*').",
    "NUMPAT",
    "    Return number of subscriptions to patterns.",
    "NUMSUB [<channel> ...]",
    "    Return the number of subscribers for the specified channels, excluding",
    "    pattern subscriptions(default: no channels).",
    "SHARDCHANNELS [<pattern>]",
    "    Return the currently active shard level channels matching a <pattern> (default: '*').",
    "SHARDNUMSUB [<shardchannel> ...]",
    "    Return the number of subscribers for the specified shard level channel(s)",
    "HELP",
    "    Print this help.",
];

fn pubsub(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<After, CommandError> {
    let subcommand = args.get(1).to_ascii_uppercase();
    let (sharded, subcommand) = match subcommand.strip_prefix(b"SHARD") {
        Some(rest) => (true, rest),
        None => (false, &subcommand[..]),
    };
    let hub = Hub::look(call.engine());
    match subcommand {
        b"CHANNELS" if args.len() > 3 => {
            return Err(CommandError::text(format!(
                "ERR unknown subcommand or wrong number of arguments for '{}'. Try PUBSUB HELP.",
                String::from_utf8_lossy(args.get(1))
            )));
        }
        b"CHANNELS" => {
            let wanted = |name: &&[u8]| args.len() == 2 || glob::matches(args.get(2), name);
            let names: Vec<&[u8]> = hub.into_iter().flat_map(|hub| hub.channels(sharded)).filter(wanted).collect();
            reply.array(names.len());
            names.into_iter().for_each(|name| reply.bulk(name));
        }
        b"NUMSUB" => {
            let kind = if sharded { Kind::Shard } else { Kind::Channel };
            reply.array(2 * (args.len() - 2));
            for at in 2..args.len() {
                reply.bulk(args.get(at));
                reply.integer(hub.map_or(0, |hub| hub.count(kind, args.get(at))) as i64);
            }
        }
        b"NUMPAT" => reply.integer(hub.map_or(0, |hub| hub.sizes()[1]) as i64),
        b"HELP" => {
            reply.array(HELP.len());
            HELP.iter().for_each(|line| reply.simple(line));
        }
        _ => unreachable!("dispatch lets only declared subcommands through"),
    }
    Ok(After::Nothing)
}

/// Tells a client of one of its subscriptions.
fn confirm(reply: &mut dyn Reply, what: &str, name: Option<&[u8]>, count: usize) {
    reply.push(3);
    reply.bulk(what.as_bytes());
    match name {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    reply.integer(count as i64);
}

fn subscribe(
    call: &mut ServerCall<'_, '_>,
    args: &Args<'_>,
    reply: &mut dyn Reply,
    kind: Kind,
    what: &str,
) -> Result<After, CommandError> {
    let (client, engine) = (&mut *call.client, call.lock.get());
    for at in 1..args.len() {
        client.subscriptions.join(engine, &client.info, kind, args.get(at));
        confirm(reply, what, Some(args.get(at)), client.subscriptions.count(kind));
    }
    Ok(After::Nothing)
}

fn unsubscribe(
    call: &mut ServerCall<'_, '_>,
    args: &Args<'_>,
    reply: &mut dyn Reply,
    kind: Kind,
    what: &str,
) -> Result<After, CommandError> {
    let (client, engine) = (&mut *call.client, call.lock.get());
    let all = if args.len() == 1 { client.subscriptions.names(kind) } else { Vec::new() };
    let named = (1..args.len()).map(|at| args.get(at));
    let mut names = all.iter().map(|name| &**name).chain(named).peekable();
    if names.peek().is_none() {
        confirm(reply, what, None, client.subscriptions.count(kind));
    }
    for name in names {
        client.subscriptions.leave(engine, &client.info, kind, name);
        confirm(reply, what, Some(name), client.subscriptions.count(kind));
    }
    Ok(After::Nothing)
}

//! SLOWLOG and COMMANDLOG: the logs of slow commands, large requests and large replies, as clients read them.

use super::help;
use crate::command::{After, ServerCall, ServerCommand};
use crate::observe::command_log::{CommandLog, Kind};
use firn_engine::command::{Args, Arity, CommandError, Flags, Group, Reply, Spec};
use firn_engine::number::parse_integer;

/// Entries that SLOWLOG GET answers if it is not told how many.
const DEFAULT_COUNT: usize = 10;

const SUBCOMMAND: Spec = Spec {
    arity: Arity::Exactly(2),
    flags: Flags::ADMIN.and(Flags::LOADING).and(Flags::STALE),
    group: Group::Server,
    since: "2.2.12",
    ..Spec::BASE
};
const HELP_FLAGS: Flags = Flags::LOADING.and(Flags::STALE);

/// `SLOWLOG`.
pub(super) static SLOWLOG: ServerCommand = ServerCommand {
    spec: Spec {
        name: "SLOWLOG",
        arity: Arity::AtLeast(2),
        group: Group::Server,
        since: "2.2.12",
        summary: "Commands that look at the log of slow commands.",
        complexity: "Depends on subcommand.",
        subcommands: &[
            Spec {
                name: "GET",
                arity: Arity::AtLeast(2),
                summary: "Returns the newest entries of the slow log.",
                complexity: "O(N) where N is the number of entries returned",
                syntax: "[count]",
                ..SUBCOMMAND
            },
            Spec {
                name: "HELP",
                flags: HELP_FLAGS,
                since: "6.2.0",
                summary: "Returns what the subcommands do.",
                ..SUBCOMMAND
            },
            Spec { name: "LEN", summary: "Returns how many entries the slow log has.", ..SUBCOMMAND },
            Spec {
                name: "RESET",
                summary: "Empties the slow log.",
                complexity: "O(N) where N is the number of entries in the slowlog",
                ..SUBCOMMAND
            },
        ],
        ..Spec::BASE
    },
    run: slowlog,
};

const COMMANDLOG_SUBCOMMAND: Spec = Spec { arity: Arity::Exactly(3), since: "8.1.0", syntax: "type", ..SUBCOMMAND };

/// `COMMANDLOG`.
pub(super) static COMMANDLOG: ServerCommand = ServerCommand {
    spec: Spec {
        name: "COMMANDLOG",
        arity: Arity::AtLeast(2),
        group: Group::Server,
        since: "8.1.0",
        summary: "Commands that look at the logs of slow commands, large requests and large replies.",
        complexity: "Depends on subcommand.",
        subcommands: &[
            Spec {
                name: "GET",
                arity: Arity::Exactly(4),
                summary: "Returns the newest entries of a log.",
                complexity: "O(N) where N is the number of entries returned",
                syntax: "count type",
                ..COMMANDLOG_SUBCOMMAND
            },
            Spec {
                name: "HELP",
                arity: Arity::Exactly(2),
                flags: HELP_FLAGS,
                summary: "Returns what the subcommands do.",
                syntax: "",
                ..COMMANDLOG_SUBCOMMAND
            },
            Spec { name: "LEN", summary: "Returns how many entries a log has.", ..COMMANDLOG_SUBCOMMAND },
            Spec {
                name: "RESET",
                summary: "Empties a log.",
                complexity: "O(N) where N is the number of entries in the commandlog",
                ..COMMANDLOG_SUBCOMMAND
            },
        ],
        ..Spec::BASE
    },
    run: commandlog,
};

const SLOWLOG_HELP: &[&str] = &[
    "SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GET [<count>]",
    "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
    "    Entries are made of:",
    "    id, timestamp, time in microseconds, arguments array, client IP and port,",
    "    client name",
    "LEN",
    "    Return the length of the slowlog.",
    "RESET",
    "    Reset the slowlog.",
    "HELP",
    "    Print this help.",
];

const COMMANDLOG_HELP: &[&str] = &[
    "COMMANDLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GET <count> <type>",
    "    Return top <count> entries of the log of <type> (-1 mean all).",
    "    Entries are made of:",
    "    id, timestamp, value, arguments array, client IP and port, client name.",
    "    The value is microseconds for slow, bytes for large-request and large-reply.",
    "LEN <type>",
    "    Return the length of the log of <type>.",
    "RESET <type>",
    "    Reset the log of <type>.",
    "HELP",
    "    Print this help.",
];

fn slowlog(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<After, CommandError> {
    let log = call.server.observe.log(Kind::Slow);
    match SLOWLOG.spec.subcommand(args.get(1)).map_or("", |sub| sub.name) {
        "GET" if args.len() <= 3 => {
            let count = if args.len() == 3 { count(args.get(2), log)? } else { DEFAULT_COUNT };
            write(log, count, reply);
        }
        "LEN" => reply.integer(log.len() as i64),
        "RESET" => {
            log.reset();
            reply.ok();
        }
        "HELP" => help::write(SLOWLOG_HELP, reply),
        _ => return Err(help::unknown_or_arity("SLOWLOG", args)),
    }
    Ok(After::Nothing)
}

fn commandlog(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<After, CommandError> {
    let observe = &call.server.observe;
    let log = |at: usize| {
        let kind = Kind::named(args.get(at)).ok_or_else(|| {
            CommandError::text("ERR type should be one of the following: slow, large-request, large-reply")
        })?;
        Ok::<_, CommandError>(observe.log(kind))
    };
    match COMMANDLOG.spec.subcommand(args.get(1)).map_or("", |sub| sub.name) {
        "GET" => {
            let log = log(3)?;
            write(log, count(args.get(2), log)?, reply);
        }
        "LEN" => reply.integer(log(2)?.len() as i64),
        "RESET" => {
            log(2)?.reset();
            reply.ok();
        }
        "HELP" => help::write(COMMANDLOG_HELP, reply),
        _ => return Err(help::unknown_or_arity("COMMANDLOG", args)),
    }
    Ok(After::Nothing)
}

/// How many entries are asked for; -1 is all.
fn count(word: &[u8], log: &CommandLog) -> Result<usize, CommandError> {
    match parse_integer(word) {
        Some(-1) => Ok(log.len()),
        Some(count @ 0..) => Ok(usize::try_from(count).unwrap_or(usize::MAX)),
        _ => Err(CommandError::text("ERR count should be greater than or equal to -1")),
    }
}

fn write(log: &CommandLog, count: usize, reply: &mut dyn Reply) {
    let entries = log.newest(count);
    reply.array(entries.len());
    for entry in entries {
        reply.array(6);
        reply.integer(entry.id as i64);
        reply.integer(entry.time_s as i64);
        reply.integer(i64::try_from(entry.value).unwrap_or(i64::MAX));
        reply.array(entry.words.len());
        entry.words.iter().for_each(|word| reply.bulk(word));
        reply.bulk(entry.addr.as_bytes());
        reply.bulk(&entry.name);
    }
}

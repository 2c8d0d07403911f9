//! CONFIG GET, SET, RESETSTAT, REWRITE, HELP.

use super::persistence::blocking;
use super::{apply, configuration, help};
use crate::command::{After, ServerCall, ServerCommand};
use crate::config::table::DIRECTIVES;
use crate::config::{SetError, rewrite, system_text};
use firn_engine::command::{Args, Arity, CommandError, Flags, Group, Reply, Spec};

const SUBCOMMAND: Spec = Spec {
    flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE),
    group: Group::Server,
    since: "2.0.0",
    ..Spec::BASE
};

/// `CONFIG`.
pub(super) static CONFIG: ServerCommand = ServerCommand {
    spec: Spec {
        name: "CONFIG",
        arity: Arity::AtLeast(2),
        group: Group::Server,
        since: "2.0.0",
        summary: "Commands that look at and change the configuration.",
        complexity: "Depends on subcommand.",
        subcommands: &[
            Spec {
                name: "GET",
                arity: Arity::AtLeast(3),
                summary: "Returns the values of directives.",
                complexity: "O(N) when N is the number of configuration parameters provided",
                syntax: "parameter [parameter ...]",
                ..SUBCOMMAND
            },
            Spec {
                name: "HELP",
                arity: Arity::Exactly(2),
                flags: Flags::LOADING.and(Flags::STALE),
                since: "5.0.0",
                summary: "Returns what the subcommands do.",
                ..SUBCOMMAND
            },
            Spec {
                name: "RESETSTAT",
                arity: Arity::Exactly(2),
                summary: "Sets the counters of INFO to zero.",
                ..SUBCOMMAND
            },
            Spec {
                name: "REWRITE",
                arity: Arity::Exactly(2),
                since: "2.8.0",
                summary: "Writes the current configuration into the configuration file.",
                ..SUBCOMMAND
            },
            Spec {
                name: "SET",
                arity: Arity::AtLeast(4),
                summary: "Changes directives while the server runs: all of them, or none.",
                complexity: "O(N) when N is the number of configuration parameters provided",
                syntax: "parameter value [parameter value ...]",
                ..SUBCOMMAND
            },
        ],
        ..Spec::BASE
    },
    run: config,
};

const HELP: &[&str] = &[
    "CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GET <pattern>",
    "    Return parameters matching the glob-like <pattern> and their values.",
    "SET <directive> <value>",
    "    Set the configuration <directive> to <value>.",
    "RESETSTAT",
    "    Reset statistics reported by the INFO command.",
    "REWRITE",
    "    Rewrite the configuration file.",
    "HELP",
    "    Print this help.",
];

fn config(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<After, CommandError> {
    match CONFIG.spec.subcommand(args.get(1)).map_or("", |sub| sub.name) {
        "GET" => {
            let found = configuration(call).matching(&args.words()[2..]);
            reply.map(found.len());
            for (name, value) in found {
                reply.bulk(&name);
                reply.bulk(&value);
            }
        }
        "SET" => return set(call, args, reply),
        "RESETSTAT" => {
            call.server.stats.reset();
            for entry in call.server.commands.entries() {
                entry.stats.reset();
                entry.subcommand_stats.iter().for_each(crate::table::CommandStats::reset);
            }
            let engine = call.engine();
            engine.stats = firn_engine::engine::Stats::default();
            engine.memory.reset_exceeded(engine.monotonic_ms);
            engine.reset_prefix_events();
            reply.ok();
        }
        "REWRITE" => {
            rewrite_file(call, false)?;
            reply.ok();
        }
        "HELP" => help::write(HELP, reply),
        _ => return Err(help::unknown("CONFIG", args)),
    }
    Ok(After::Nothing)
}

fn set(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<After, CommandError> {
    let (pairs, rest) = args.words()[2..].as_chunks::<2>();
    if !rest.is_empty() {
        return Err(CommandError::Syntax);
    }
    let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|[name, value]| (*name, *value)).collect();
    // Held until the change is applied, so that two clients cannot mix theirs.
    let mut config = configuration(call);
    let guarded = config.allows("enable-protected-configs", super::is_local(call.client));
    let text = |error: SetError| CommandError::text(error.to_string());
    let (new, rows) = config.changed(&pairs, guarded).map_err(text)?;
    let log_begins = rows.iter().any(|&row| DIRECTIVES[row].name == "appendonly") && new.bool("appendonly");
    if !rows.is_empty() {
        apply::apply(call, &config, &new, &rows).map_err(text)?;
        *config = new;
    }
    if log_begins {
        // A log counts only behind a snapshot: whoever hears OK may rely on what is written from then on.
        let store = call.server.store.clone();
        return Ok(blocking(move || {
            let ticket = store.request_snapshot();
            store
                .wait_snapshot(ticket)
                .map_err(|reason| format!("the log counts only with a snapshot, which failed: {reason}"))
        }));
    }
    reply.ok();
    Ok(After::Nothing)
}

/// Rewrites the configuration file; with `all`, every directive gets its line.
pub(super) fn rewrite_file(call: &mut ServerCall<'_, '_>, all: bool) -> Result<(), CommandError> {
    let acl = &call.server.acl;
    let mut config = configuration(call).clone();
    let Some(path) = config.file().map(std::path::Path::to_owned) else {
        return Err(CommandError::text("ERR The server is running without a config file"));
    };
    config.set_users(&acl.all());
    rewrite::rewrite(&path, &config, all)
        .map_err(|error| CommandError::text(format!("ERR Rewriting config file: {}", system_text(&error))))
}

//! SCRIPT.

use super::api;
use super::eval::{machine, parse_sha};
use crate::admin::help;
use crate::command::{After, ServerCall, ServerCommand};
use firn_engine::command::{Args, Arity, CommandError, Flags, Group, Reply, Spec};

const SUBCOMMAND: Spec =
    Spec { arity: Arity::Exactly(2), flags: Flags::NOSCRIPT, group: Group::Scripting, since: "2.6.0", ..Spec::BASE };

/// `SCRIPT`.
pub(super) static SCRIPT: ServerCommand = ServerCommand {
    spec: Spec {
        name: "SCRIPT",
        arity: Arity::AtLeast(2),
        group: Group::Scripting,
        since: "2.6.0",
        summary: "Commands about the cache of scripts.",
        complexity: "Depends on subcommand.",
        subcommands: &[
            Spec {
                name: "DEBUG",
                arity: Arity::Exactly(3),
                since: "3.2.0",
                summary: "Would set the debug mode of scripts: there is no debugger here.",
                syntax: "<YES | SYNC | NO>",
                ..SUBCOMMAND
            },
            Spec {
                name: "EXISTS",
                arity: Arity::AtLeast(3),
                summary: "Tells which scripts are in the cache.",
                complexity: "O(N) with N being the number of scripts to check.",
                syntax: "sha1 [sha1 ...]",
                ..SUBCOMMAND
            },
            Spec {
                name: "FLUSH",
                arity: Arity::AtLeast(2),
                summary: "Empties the cache of scripts.",
                complexity: "O(N) with N being the number of scripts in cache.",
                syntax: "[ASYNC | SYNC]",
                ..SUBCOMMAND
            },
            Spec {
                name: "HELP",
                flags: Flags::LOADING.and(Flags::STALE),
                since: "5.0.0",
                summary: "Returns what the subcommands do.",
                ..SUBCOMMAND
            },
            Spec {
                name: "KILL",
                flags: Flags::NOSCRIPT.and(Flags::ALLOW_BUSY),
                summary: "Ends the script that runs.",
                ..SUBCOMMAND
            },
            Spec {
                name: "LOAD",
                arity: Arity::Exactly(3),
                flags: Flags::NOSCRIPT.and(Flags::STALE),
                summary: "Puts a script into the cache.",
                complexity: "O(N) with N being the length in bytes of the script body.",
                syntax: "script",
                ..SUBCOMMAND
            },
            Spec {
                name: "SHOW",
                arity: Arity::Exactly(3),
                since: "8.0.0",
                summary: "Shows the text of a script in the cache.",
                syntax: "sha1",
                ..SUBCOMMAND
            },
        ],
        ..Spec::BASE
    },
    run: script,
};

const HELP: &[&str] = &[
    "SCRIPT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DEBUG (YES|SYNC|NO)",
    "    There is no debugger: only NO is accepted.",
    "EXISTS <sha1> [<sha1> ...]",
    "    Tell for each digest whether the cache has that script.",
    "FLUSH [ASYNC|SYNC]",
    "    Empty the cache of scripts.",
    "KILL",
    "    End the script that runs, unless it has written.",
    "LOAD <script>",
    "    Put a script into the cache without running it.",
    "SHOW <sha1>",
    "    Show the text of a script in the cache.",
    "HELP",
    "    Print this help.",
];

fn script(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<After, CommandError> {
    let scripting = call.server.scripting;
    match SCRIPT.spec.subcommand(args.get(1)).map_or("", |sub| sub.name) {
        "DEBUG" if args.is(2, "NO") => reply.ok(),
        "DEBUG" if args.is(2, "YES") || args.is(2, "SYNC") => {
            return Err(CommandError::text("ERR there is no debugger for scripts"));
        }
        "DEBUG" => return Err(CommandError::text("ERR Use SCRIPT DEBUG YES/SYNC/NO")),
        "EXISTS" => {
            call.engine();
            let host = scripting.host();
            reply.array(args.len() - 2);
            for digits in &args.words()[2..] {
                let known = |host: &super::host::Host| parse_sha(digits).is_some_and(|sha| host.has_script(&sha));
                reply.integer(i64::from(host.as_ref().is_some_and(known)));
            }
        }
        "FLUSH" => {
            if args.len() > 3 || args.len() == 3 && !args.is(2, "SYNC") && !args.is(2, "ASYNC") {
                return Err(CommandError::text("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
            }
            call.engine();
            if let Some(host) = scripting.host().as_mut() {
                host.flush_scripts(scripting);
            }
            reply.ok();
        }
        "HELP" => help::write(HELP, reply),
        "KILL" => {
            scripting.kill(true).map_err(CommandError::text)?;
            reply.ok();
        }
        "LOAD" => {
            let mut host = machine(call)?;
            let Some(host) = host.as_mut() else { unreachable!("it was made") };
            let sha = host.compile(scripting, args.get(2), true)?;
            reply.bulk(&api::hex(&sha));
        }
        "SHOW" => {
            call.engine();
            let host = scripting.host();
            let source = parse_sha(args.get(2)).and_then(|sha| host.as_ref()?.source(&sha));
            let source = source.ok_or(CommandError::text("NOSCRIPT No matching script. Please use EVAL."))?;
            reply.bulk(source);
        }
        _ => return Err(help::unknown("SCRIPT", args)),
    }
    Ok(After::Nothing)
}

//! ACL: looks at users, changes them, and tells what they were denied.

use super::model::{Selector, User};
use super::{Denied, check, command_name, disconnect, file, grammar, log, opens_channels, password, review, rules};
use crate::admin::{categories, configuration, help};
use crate::command::{After, ServerCall, ServerCommand};
use crate::config::rewrite;
use crate::dispatch::{self, Verdict};
use firn_engine::command::{Args, Arity, CommandError, Flags, Group, Reply, Spec};
use firn_engine::number::parse_integer;
use std::sync::Arc;

/// Longest password of ACL GENPASS, in bits.
const PASSWORD_BITS_MAX: i64 = 4096;
/// Entries that ACL LOG shows unless told otherwise.
const LOG_SHOWN: i64 = 10;

const OPEN: Flags = Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE);
const ADMIN: Flags = OPEN.and(Flags::ADMIN);
const SUBCOMMAND: Spec =
    Spec { arity: Arity::Exactly(2), flags: ADMIN, group: Group::Server, since: "6.0.0", ..Spec::BASE };

/// `ACL`.
pub(crate) static ACL: ServerCommand = ServerCommand {
    spec: Spec {
        name: "ACL",
        arity: Arity::AtLeast(2),
        group: Group::Server,
        since: "6.0.0",
        summary: "Commands about users and what they may do.",
        complexity: "Depends on subcommand.",
        subcommands: &[
            Spec {
                name: "CAT",
                arity: Arity::AtLeast(2),
                flags: OPEN,
                summary: "Returns the categories of commands, or the commands of a category.",
                complexity: "O(1) since the categories and commands are a fixed set.",
                syntax: "[category]",
                ..SUBCOMMAND
            },
            Spec {
                name: "DELUSER",
                arity: Arity::AtLeast(3),
                summary: "Deletes users, and closes their connections.",
                complexity: "O(1) amortized time considering the typical user.",
                syntax: "username [username ...]",
                ..SUBCOMMAND
            },
            Spec {
                name: "DRYRUN",
                arity: Arity::AtLeast(4),
                since: "7.0.0",
                summary: "Says whether a user could run a command, without running it.",
                syntax: "username command [arg [arg ...]]",
                ..SUBCOMMAND
            },
            Spec {
                name: "GENPASS",
                arity: Arity::AtLeast(2),
                flags: OPEN,
                summary: "Makes up a password that nobody guesses.",
                syntax: "[bits]",
                ..SUBCOMMAND
            },
            Spec {
                name: "GETUSER",
                arity: Arity::Exactly(3),
                summary: "Returns the rules of a user.",
                complexity: "O(N). Where N is the number of password, command and pattern rules that the user has.",
                syntax: "username",
                ..SUBCOMMAND
            },
            Spec {
                name: "HELP",
                flags: Flags::LOADING.and(Flags::STALE),
                summary: "Returns what the subcommands do.",
                ..SUBCOMMAND
            },
            Spec {
                name: "LIST",
                summary: "Returns all users as lines of a file.",
                complexity: "O(N). Where N is the number of configured users.",
                ..SUBCOMMAND
            },
            Spec {
                name: "LOAD",
                summary: "Reads the users from the ACL file.",
                complexity: "O(N). Where N is the number of configured users.",
                ..SUBCOMMAND
            },
            Spec {
                name: "LOG",
                arity: Arity::AtLeast(2),
                summary: "Returns what was denied to users.",
                complexity: "O(N) with N being the number of entries shown.",
                syntax: "[count | RESET]",
                ..SUBCOMMAND
            },
            Spec {
                name: "SAVE",
                summary: "Writes the users into the ACL file.",
                complexity: "O(N). Where N is the number of configured users.",
                ..SUBCOMMAND
            },
            Spec {
                name: "SETUSER",
                arity: Arity::AtLeast(3),
                summary: "Makes or changes a user.",
                complexity: "O(N). Where N is the number of rules provided.",
                syntax: "username [rule [rule ...]]",
                ..SUBCOMMAND
            },
            Spec {
                name: "USERS",
                summary: "Returns the names of all users.",
                complexity: "O(N). Where N is the number of configured users.",
                ..SUBCOMMAND
            },
            Spec { name: "WHOAMI", flags: OPEN, summary: "Returns the name of the connection's user.", ..SUBCOMMAND },
        ],
        ..Spec::BASE
    },
    run: acl,
};

const HELP: &[&str] = &[
    "ACL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CAT [<category>]",
    "    List all commands that belong to <category>, or all command categories",
    "    when no category is specified.",
    "DELUSER <username> [<username> ...]",
    "    Delete a list of users.",
    "DRYRUN <username> <command> [<arg> ...]",
    "    Returns whether the user can execute the given command without executing the command.",
    "GETUSER <username>",
    "    Get the user's details.",
    "GENPASS [<bits>]",
    "    Generate a secure 256-bit user password. The optional `bits` argument can",
    "    be used to specify a different size.",
    "LIST",
    "    Show users details in config file format.",
    "LOAD",
    "    Reload users from the ACL file.",
    "LOG [<count> | RESET]",
    "    Show the ACL log entries.",
    "SAVE",
    "    Save the current config to the ACL file.",
    "SETUSER <username> <attribute> [<attribute> ...]",
    "    Create or modify a user with the specified attributes.",
    "USERS",
    "    List all the registered usernames.",
    "WHOAMI",
    "    Return the current connection username.",
    "HELP",
    "    Print this help.",
];

fn acl(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<After, CommandError> {
    let words = args.words();
    match (ACL.spec.subcommand(args.get(1)).map_or("", |sub| sub.name), &words[2..]) {
        ("WHOAMI", []) => reply.bulk(&call.client.user.name),
        ("USERS", []) => {
            let users = call.server.acl.all();
            reply.array(users.len());
            users.iter().for_each(|user| reply.bulk(&user.name));
        }
        ("LIST", []) => {
            let users = call.server.acl.all();
            reply.array(users.len());
            users.iter().for_each(|user| reply.bulk(&rules::line(user)));
        }
        ("GETUSER", [name]) => match call.server.acl.get(name) {
            Some(user) => write_user(&user, reply),
            None => reply.null(),
        },
        ("SETUSER", [name, rules @ ..]) => {
            if rules::has_spaces(name) {
                return Err(CommandError::text("ERR Usernames can't contain spaces or null characters"));
            }
            let result = call.server.acl.set_user(grammar(call.server), name, rules);
            result.map_err(|why| CommandError::text(format!("ERR {why}")))?;
            review(call, Some(name));
            reply.ok();
        }
        ("DELUSER", names) => return delete(call, names, reply),
        ("CAT", []) => {
            reply.array(categories::ALL.len());
            categories::ALL.iter().for_each(|name| reply.bulk(&name.as_bytes()[1..]));
        }
        ("CAT", [name]) => write_category(call, name, reply)?,
        ("GENPASS", [] | [_]) => generate(words.get(2).copied(), reply)?,
        ("LOG", [] | [_]) => write_log(call, words.get(2).copied(), reply)?,
        ("DRYRUN", [user, command @ ..]) => dry_run(call, user, command, reply)?,
        ("LOAD" | "SAVE", []) => return load_or_save(call, args.is(1, "load"), reply),
        ("HELP", []) => help::write(HELP, reply),
        _ => return Err(help::unknown_or_arity("ACL", args)),
    }
    Ok(After::Nothing)
}

fn write_user(user: &User, reply: &mut dyn Reply) {
    reply.map(6);
    reply.bulk(b"flags");
    let flags = rules::flags(user);
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"passwords");
    reply.array(user.passwords.len());
    user.passwords.iter().for_each(|hash| reply.bulk(password::hex(hash).as_bytes()));
    write_selector(&user.root, reply);
    reply.bulk(b"selectors");
    reply.array(user.selectors.len());
    for selector in &user.selectors {
        reply.map(3);
        write_selector(selector, reply);
    }
}

/// Three fields of a map.
fn write_selector(selector: &Selector, reply: &mut dyn Reply) {
    reply.bulk(b"commands");
    reply.bulk(rules::commands(selector).as_bytes());
    reply.bulk(b"keys");
    reply.bulk(&rules::keys(selector));
    reply.bulk(b"channels");
    reply.bulk(&rules::channels(selector));
}

fn delete(call: &mut ServerCall<'_, '_>, names: &[&[u8]], reply: &mut dyn Reply) -> Result<After, CommandError> {
    if names.contains(&&b"default"[..]) {
        return Err(CommandError::text("ERR The 'default' user cannot be removed"));
    }
    let gone = call.server.acl.delete(names);
    reply.integer(gone.len() as i64);
    Ok(close_own(call, &gone))
}

/// Closes the connections of users that are no more; this one's when its reply has left.
fn close_own(call: &ServerCall<'_, '_>, gone: &[Arc<User>]) -> After {
    if disconnect(call.server, gone, call.client.info.id) { After::Close } else { After::Nothing }
}

fn write_category(call: &ServerCall<'_, '_>, name: &[u8], reply: &mut dyn Reply) -> Result<(), CommandError> {
    let catalog = call.server.commands.catalog();
    let Some(ids) = catalog.category(name) else {
        let name = String::from_utf8_lossy(&name[..name.len().min(128)]).into_owned();
        return Err(CommandError::text(format!("ERR Unknown category '{name}'")));
    };
    let ids: Vec<_> = ids.collect();
    reply.array(ids.len());
    ids.into_iter().for_each(|id| reply.bulk(catalog.get(id).name.as_bytes()));
    Ok(())
}

fn generate(bits: Option<&[u8]>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let bits = bits.map_or(Ok(256), |bits| parse_integer(bits).ok_or(CommandError::NotInteger))?;
    if !(1..=PASSWORD_BITS_MAX).contains(&bits) {
        return Err(CommandError::text(format!(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to \
             {PASSWORD_BITS_MAX}"
        )));
    }
    let password = password::generate(bits as usize)
        .map_err(|error| CommandError::text(format!("ERR no random bytes from the system: {error}")))?;
    reply.bulk(password.as_bytes());
    Ok(())
}

fn write_log(call: &ServerCall<'_, '_>, option: Option<&[u8]>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let count = match option {
        None => LOG_SHOWN,
        Some(word) if word.eq_ignore_ascii_case(b"reset") => {
            call.server.acl.log.lock().clear();
            reply.ok();
            return Ok(());
        }
        Some(word) => parse_integer(word).ok_or(CommandError::NotInteger)?,
    };
    let entries = call.server.acl.log.lock().newest(usize::try_from(count).unwrap_or(0));
    let now_ms = log::now_ms();
    reply.array(entries.len());
    for entry in entries {
        reply.map(10);
        reply.bulk(b"count");
        reply.integer(entry.count as i64);
        for (name, value) in [
            ("reason", entry.event.reason.as_bytes()),
            ("context", entry.event.context.name().as_bytes()),
            ("object", &entry.event.object),
            ("username", &entry.event.user),
        ] {
            reply.bulk(name.as_bytes());
            reply.bulk(value);
        }
        reply.bulk(b"age-seconds");
        reply.double(now_ms.saturating_sub(entry.updated_ms) as f64 / 1000.0);
        reply.bulk(b"client-info");
        reply.bulk(entry.event.client.as_bytes());
        for (name, value) in [
            ("entry-id", entry.id),
            ("timestamp-created", entry.created_ms),
            ("timestamp-last-updated", entry.updated_ms),
        ] {
            reply.bulk(name.as_bytes());
            reply.integer(value as i64);
        }
    }
    Ok(())
}

fn dry_run(call: &ServerCall<'_, '_>, name: &[u8], words: &[&[u8]], reply: &mut dyn Reply) -> Result<(), CommandError> {
    let shown = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
    let user = (call.server.acl.get(name))
        .ok_or_else(|| CommandError::text(format!("ERR User '{}' not found", shown(name))))?;
    let plan = dispatch::plan(&call.server.commands, words, &call.server.seed);
    let command = match plan.verdict {
        Verdict::Unknown | Verdict::UnknownSubcommand => {
            return Err(CommandError::text(format!("ERR Command '{}' not found", shown(words[0]))));
        }
        _ => command_name(call.server, &plan),
    };
    if plan.verdict == Verdict::Arity {
        return Err(CommandError::WrongArity(command.to_owned().into()));
    }
    let what = match check(call.server, &user, &plan, words) {
        Ok(()) => {
            reply.ok();
            return Ok(());
        }
        Err(Denied::Command) => format!("run the '{command}' command"),
        Err(Denied::Key(at)) => format!("access the '{}' key", shown(words[at])),
        Err(Denied::Channel(at)) => format!("access the '{}' channel", shown(words[at])),
        Err(Denied::Sort(option)) => format!("use the {option} option of SORT"),
    };
    reply.bulk(format!("User {} has no permissions to {what}", user.shown_name()).as_bytes());
    Ok(())
}

fn load_or_save(call: &mut ServerCall<'_, '_>, load: bool, reply: &mut dyn Reply) -> Result<After, CommandError> {
    let config = configuration(call);
    let path = config.path("aclfile");
    if path.as_os_str().is_empty() {
        return Err(CommandError::text(
            "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER \
             command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store users in \
             the Redis configuration.",
        ));
    }
    debug_assert_eq!(grammar(call.server).all_channels, opens_channels(&config), "as the configuration says");
    if !load {
        let users = call.server.acl.all();
        rewrite::replace(&path, &file::text(users.iter().map(|user| &**user))).map_err(|error| {
            crate::log::warning(format_args!("Cannot save the ACLs to {}: {error}", path.display()));
            CommandError::text(
                "ERR There was an error trying to save the ACLs. Please check the server logs for more information",
            )
        })?;
        reply.ok();
        return Ok(After::Nothing);
    }
    drop(config);
    let grammar = grammar(call.server);
    let users = file::load(&path, grammar).map_err(|errors| CommandError::text(format!("ERR {errors}")))?;
    let gone = call.server.acl.replace(users, grammar.catalog.len());
    review(call, None);
    reply.ok();
    Ok(close_own(call, &gone))
}

//! CLIENT: what a client tells about itself, and what it may do to others.

use super::client_filter::{Filter, NOT_POSITIVE};
use super::client_list::describe;
use super::client_memory;
use super::pause;
use crate::blocking;
use crate::client::{Client, ReplyMode};
use crate::command::{After, ServerCall, ServerCommand};
use crate::net::runtime::Message;
use crate::tracking;
use firn_engine::command::{Args, Arity, Categories, CommandError, Flags, Group, Keys, Reply, Spec};
use std::sync::atomic::Ordering;

const PLAIN: Flags = Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE);
const ADMIN: Flags = PLAIN.and(Flags::ADMIN);
/// Also while a script keeps the server busy.
const BUSY: Flags = PLAIN.and(Flags::ALLOW_BUSY);

const BASE: Spec = Spec {
    name: "",
    arity: Arity::Exactly(2),
    flags: PLAIN,
    keys: Keys::None,
    group: Group::Connection,
    categories: Categories::NONE,
    since: "2.4.0",
    summary: "",
    complexity: "O(1)",
    syntax: "",
    subcommands: &[],
};

/// `CLIENT subcommand ...`.
pub(crate) static CLIENT: ServerCommand = ServerCommand {
    spec: Spec {
        name: "CLIENT",
        arity: Arity::AtLeast(2),
        flags: Flags::NONE,
        summary: "A container for client connection commands.",
        complexity: "Depends on subcommand.",
        subcommands: &[
            Spec {
                name: "CACHING",
                arity: Arity::Exactly(3),
                since: "6.0.0",
                summary: "Says whether the keys of the next command are to be tracked.",
                syntax: "YES | NO",
                ..BASE
            },
            Spec {
                name: "GETREDIR",
                since: "6.0.0",
                summary: "Returns the client ID to which the connection's tracking notifications are redirected.",
                ..BASE
            },
            Spec {
                name: "TRACKING",
                arity: Arity::AtLeast(3),
                since: "6.0.0",
                summary: "Controls server-assisted client-side caching for the connection.",
                complexity: "O(1). Some options may introduce additional complexity.",
                syntax: "ON | OFF [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]",
                ..BASE
            },
            Spec {
                name: "TRACKINGINFO",
                since: "6.2.0",
                summary: "Returns information about server-assisted client-side caching for the connection.",
                ..BASE
            },
            Spec {
                name: "CAPA",
                arity: Arity::AtLeast(3),
                flags: BUSY,
                since: "8.0.0",
                summary: "Says what the client can handle.",
                syntax: "capability [capability ...]",
                ..BASE
            },
            Spec {
                name: "GETNAME",
                flags: BUSY,
                since: "2.6.9",
                summary: "Returns the name of the connection.",
                ..BASE
            },
            Spec {
                name: "HELP",
                since: "5.0.0",
                flags: Flags::LOADING.and(Flags::STALE),
                summary: "Returns helpful text about the different subcommands.",
                ..BASE
            },
            Spec {
                name: "ID",
                flags: BUSY,
                since: "5.0.0",
                summary: "Returns the unique client ID of the connection.",
                ..BASE
            },
            Spec { name: "INFO", since: "6.2.0", summary: "Returns information about the connection.", ..BASE },
            Spec {
                name: "KILL",
                arity: Arity::AtLeast(3),
                flags: ADMIN,
                summary: "Terminates open connections.",
                complexity: "O(N) where N is the number of client connections",
                syntax: "old-format | filter [filter ...]",
                ..BASE
            },
            Spec {
                name: "LIST",
                arity: Arity::AtLeast(2),
                flags: ADMIN,
                summary: "Lists open connections.",
                complexity: "O(N) where N is the number of client connections",
                syntax: "[filter [filter ...]]",
                ..BASE
            },
            Spec {
                name: "NO-EVICT",
                arity: Arity::Exactly(3),
                flags: ADMIN.and(Flags::ALLOW_BUSY),
                since: "7.0.0",
                summary: "Sets the client eviction mode of the connection.",
                syntax: "ON | OFF",
                ..BASE
            },
            Spec {
                name: "NO-TOUCH",
                arity: Arity::Exactly(3),
                flags: BUSY,
                since: "7.2.0",
                summary: "Controls whether commands sent by the client affect the LRU/LFU of accessed keys.",
                syntax: "ON | OFF",
                ..BASE
            },
            Spec {
                name: "PAUSE",
                arity: Arity::AtLeast(3),
                flags: ADMIN,
                since: "3.0.0",
                summary: "Has commands wait: all of them, or those that may write.",
                syntax: "timeout [WRITE | ALL]",
                ..BASE
            },
            Spec {
                name: "REPLY",
                arity: Arity::Exactly(3),
                flags: BUSY.and(Flags::NO_MULTI),
                since: "3.2.0",
                summary: "Instructs the server whether to reply to commands.",
                syntax: "ON | OFF | SKIP",
                ..BASE
            },
            Spec {
                name: "SETINFO",
                arity: Arity::Exactly(4),
                flags: BUSY,
                since: "7.2.0",
                summary: "Sets information specific to the client or connection.",
                syntax: "LIB-NAME libname | LIB-VER libver",
                ..BASE
            },
            Spec {
                name: "SETNAME",
                arity: Arity::Exactly(3),
                flags: BUSY,
                since: "2.6.9",
                summary: "Sets the connection name.",
                syntax: "connection-name",
                ..BASE
            },
            Spec {
                name: "UNBLOCK",
                arity: Arity::AtLeast(3),
                flags: ADMIN,
                since: "5.0.0",
                summary: "Unblocks a client blocked by a blocking command from a different connection.",
                complexity: "O(log N) where N is the number of client connections",
                syntax: "client-id [TIMEOUT | ERROR]",
                ..BASE
            },
            Spec {
                name: "UNPAUSE",
                flags: ADMIN,
                since: "6.2.0",
                summary: "Has commands wait no more.",
                complexity: "O(N) Where N is the number of paused clients",
                ..BASE
            },
        ],
        ..BASE
    },
    run: client,
};

const HELP: &[&str] = &[
    "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CAPA <option> [options...]",
    "    The client claims its some capability options. Options are:",
    "    * REDIRECT",
    "      The client can handle redirection.",
    "CACHING (YES|NO)",
    "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
    "GETREDIR",
    "    Return the client ID we are redirecting to when tracking is enabled.",
    "GETNAME",
    "    Return the name of the current connection.",
    "ID",
    "    Return the ID of the current connection.",
    "INFO",
    "    Return information about the current client connection.",
    "KILL <ip:port>",
    "    Kill connection made from <ip:port>.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Kill connections that pass all filters. SKIPME (YES|NO) skips the current connection (default: yes).",
    "LIST [<option> <value> [...]]",
    "    Return information about client connections that pass all filters. SKIPME (YES|NO) skips the current one (default: no).",
    "    Filters of KILL and LIST; NOT- before all but MAXAGE and IDLE turns them round:",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB), ID <client-id> [<client-id>...], USER <username>,",
    "      ADDR (<ip:port>|<unixsocket>:0), LADDR (<ip:port>|<unixsocket>:0), IP <ip>, NAME <client-name>,",
    "      LIB-NAME <name>, LIB-VER <version>, FLAGS <flags>, DB <db-id>, CAPA <capa>,",
    "      MAXAGE <seconds> (connected for so long), IDLE <seconds> (idle for so long)",
    "NO-EVICT (ON|OFF)",
    "    Protect current client connection from eviction.",
    "NO-TOUCH (ON|OFF)",
    "    Will not touch LRU/LFU stats when this mode is on.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Suspend all, or just write, clients for <timeout> milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Control the replies sent to the current connection.",
    "SETINFO <option> <value>",
    "    Set client meta attr. Options are:",
    "    * LIB-NAME: the client lib name.",
    "    * LIB-VER: the client lib version.",
    "SETNAME <name>",
    "    Assign the name <name> to the current connection.",
    "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
    "         [OPTIN] [OPTOUT] [NOLOOP]",
    "    Control server assisted client side caching.",
    "TRACKINGINFO",
    "    Report tracking status for the current connection.",
    "UNBLOCK <clientid> [TIMEOUT|ERROR]",
    "    Unblock the specified blocked client.",
    "UNPAUSE",
    "    Stop the current client pause, resuming traffic.",
    "HELP",
    "    Print this help.",
];

fn client(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<After, CommandError> {
    // Until the next turn, for CLIENT LIST and INFO: the words of the command that runs.
    let words = args.words().iter().map(|word| word.len()).sum();
    call.client.info.argv_bytes.store(words, Ordering::Relaxed);
    match args.get(1).to_ascii_uppercase().as_slice() {
        b"ID" => reply.integer(call.client.info.id as i64),
        b"INFO" => {
            let mut text = String::new();
            describe(call.server, &call.client.info, &mut text);
            text.push('\n');
            reply.verbatim("txt", text.as_bytes());
        }
        b"LIST" => list(call, args, reply)?,
        b"KILL" => return kill(call, args, reply),
        b"GETNAME" => {
            let names = call.client.info.names.lock();
            if names.name.is_empty() { reply.null() } else { reply.bulk(&names.name) }
        }
        b"SETNAME" => {
            set_name(call.client, args.get(2))?;
            reply.ok();
        }
        b"SETINFO" => {
            set_info(call.client, args.get(2), args.get(3))?;
            reply.ok();
        }
        b"NO-EVICT" => {
            let on = on_off(args, 2)?;
            call.client.info.no_evict.store(on, Ordering::Relaxed);
            let limit = call.server.settings.get().clients_memory_max;
            if !on && limit > 0 {
                client_memory::evict(call.server, limit);
            }
            reply.ok();
        }
        b"NO-TOUCH" => {
            let on = on_off(args, 2)?;
            call.client.info.no_touch.store(on, Ordering::Relaxed);
            call.client.session.no_touch = on;
            reply.ok();
        }
        b"TRACKING" => tracking::commands::tracking(call, args, reply)?,
        b"TRACKINGINFO" => tracking::commands::info(call, reply),
        b"CACHING" => tracking::commands::caching(call.client, args, reply)?,
        b"GETREDIR" => tracking::commands::get_redirect(call.client, reply),
        b"UNBLOCK" => unblock(call, args, reply)?,
        b"PAUSE" => pause::pause(call, args, reply)?,
        b"UNPAUSE" => pause::unpause(call, reply),
        b"CAPA" => {
            // Servers of other kinds redirect such clients; nothing here does, but what a client said is shown.
            if args.words()[2..].iter().any(|word| word.eq_ignore_ascii_case(b"redirect")) {
                call.client.info.redirects.store(true, Ordering::Relaxed);
            }
            reply.ok();
        }
        b"REPLY" => set_reply_mode(call.client, args, reply)?,
        b"HELP" => {
            reply.array(HELP.len());
            for line in HELP {
                reply.simple(line);
            }
        }
        _ => unreachable!("dispatch lets only declared subcommands through"),
    }
    Ok(After::Nothing)
}

fn on_off(args: &Args<'_>, at: usize) -> Result<bool, CommandError> {
    match (args.is(at, "on"), args.is(at, "off")) {
        (true, _) => Ok(true),
        (_, true) => Ok(false),
        _ => Err(CommandError::Syntax),
    }
}

fn set_reply_mode(client: &mut Client, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    if args.is(2, "on") {
        client.reply_mode = ReplyMode::On;
        reply.ok();
    } else if args.is(2, "off") {
        client.reply_mode = ReplyMode::Off;
    } else if args.is(2, "skip") {
        if client.reply_mode != ReplyMode::Off {
            client.reply_mode = ReplyMode::SkipNext;
        }
    } else {
        return Err(CommandError::Syntax);
    }
    Ok(())
}

/// Names are shown in lists whose fields are separated by spaces.
fn is_plain(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_graphic)
}

/// CLIENT SETNAME; an empty name removes it.
pub(crate) fn set_name(client: &Client, name: &[u8]) -> Result<(), CommandError> {
    if !is_plain(name) {
        return Err(CommandError::text("ERR Client names cannot contain spaces, newlines or special characters."));
    }
    client.info.names.lock().name = name.to_vec();
    Ok(())
}

fn set_info(client: &Client, attribute: &[u8], value: &[u8]) -> Result<(), CommandError> {
    let mut names = client.info.names.lock();
    let names = &mut *names;
    let place = if attribute.eq_ignore_ascii_case(b"lib-name") {
        &mut names.lib_name
    } else if attribute.eq_ignore_ascii_case(b"lib-ver") {
        &mut names.lib_ver
    } else {
        let attribute = String::from_utf8_lossy(attribute);
        return Err(CommandError::text(format!("ERR Unrecognized option '{attribute}'")));
    };
    if !is_plain(value) {
        let attribute = String::from_utf8_lossy(attribute);
        return Err(CommandError::text(format!(
            "ERR {attribute} cannot contain spaces, newlines or special characters."
        )));
    }
    *place = value.to_vec();
    Ok(())
}

fn list(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let filter = Filter::parse(call.server, &args.words()[2..], "ERR Invalid client ID")?;
    let (me, skip_me) = (call.client.info.id, filter.skip_me.unwrap_or(false));
    let mut text = String::new();
    for info in call.server.clients.all() {
        let shown = info.id == me && !skip_me || info.id != me && !info.closing.load(Ordering::Relaxed);
        if shown && filter.wants(call.server, &info) {
            describe(call.server, &info, &mut text);
            text.push('\n');
        }
    }
    reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn kill(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<After, CommandError> {
    let old_form = args.len() == 3;
    let filter = match old_form {
        true => Filter::of_address(args.get(2)),
        false => Filter::parse(call.server, &args.words()[2..], NOT_POSITIVE)?,
    };
    let skip_me = filter.skip_me.unwrap_or(true);
    let (mut killed, mut after) = (0, After::Nothing);
    for info in call.server.clients.all() {
        let me = info.id == call.client.info.id;
        if info.closing.load(Ordering::Relaxed) || (me && skip_me) || !filter.wants(call.server, &info) {
            continue;
        }
        killed += 1;
        info.closing.store(true, Ordering::Relaxed);
        if me {
            after = After::Close;
        } else {
            info.runtime.send(Message::Kill(info.id));
        }
    }
    match (old_form, killed) {
        (true, 0) => return Err(CommandError::text("ERR No such client")),
        (true, _) => reply.ok(),
        (false, _) => reply.integer(killed),
    }
    Ok(after)
}

fn unblock(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let error = match args.len() {
        4 if args.is(3, "error") => true,
        4 if !args.is(3, "timeout") => {
            return Err(CommandError::text("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
        }
        _ => false,
    };
    let id = args.integer(2)?;
    let info = u64::try_from(id).ok().and_then(|id| call.server.clients.get(id));
    let unblocked = info.is_some_and(|info| blocking::unblock(call.engine(), &info, error));
    reply.integer(i64::from(unblocked));
    Ok(())
}

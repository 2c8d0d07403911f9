//! PING, ECHO, QUIT, RESET, AUTH, HELLO.

use super::client::set_name;
use crate::acl::{self, Gate};
use crate::client::{Client, ReplyMode};
use crate::command::{After, ServerCall, ServerCommand};
use crate::tracking;
use firn_engine::command::{Args, Arity, Categories, CommandError, Flags, Group, Keys, Reply, Spec};
use firn_engine::number::parse_integer;
use std::sync::atomic::Ordering;

/// The Redis version whose behaviour clients may expect (HELLO, INFO).
pub(crate) const REDIS_VERSION: &str = "7.2.4";

const BASE: Spec = Spec {
    name: "",
    arity: Arity::Exactly(1),
    flags: Flags::FAST,
    keys: Keys::None,
    group: Group::Connection,
    categories: Categories::NONE,
    since: "1.0.0",
    summary: "",
    complexity: "O(1)",
    syntax: "",
    subcommands: &[],
};

/// Before AUTH, while loading, outside of scripts.
const SESSION: Flags =
    Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE).and(Flags::FAST).and(Flags::NO_AUTH).and(Flags::ALLOW_BUSY);

/// `PING [message]`.
pub(crate) static PING: ServerCommand = ServerCommand {
    spec: Spec {
        name: "PING",
        arity: Arity::AtLeast(1),
        summary: "Returns the server's liveliness response.",
        syntax: "[message]",
        ..BASE
    },
    run: |call, args, reply| {
        match args.len() {
            // To tell it from messages.
            1 | 2 if call.client.protocol == 2 && !call.client.subscriptions.is_empty() => {
                reply.array(2);
                reply.bulk(b"pong");
                reply.bulk(if args.len() == 2 { args.get(1) } else { b"" });
            }
            1 => reply.simple("PONG"),
            2 => reply.bulk(args.get(1)),
            _ => return Err(CommandError::WrongArity("ping".into())),
        }
        Ok(After::Nothing)
    },
};

/// `ECHO message`.
pub(crate) static ECHO: ServerCommand = ServerCommand {
    spec: Spec {
        name: "ECHO",
        arity: Arity::Exactly(2),
        flags: Flags::LOADING.and(Flags::STALE).and(Flags::FAST),
        summary: "Returns the given string.",
        syntax: "message",
        ..BASE
    },
    run: |_, args, reply| {
        reply.bulk(args.get(1));
        Ok(After::Nothing)
    },
};

/// `QUIT`.
pub(crate) static QUIT: ServerCommand = ServerCommand {
    spec: Spec {
        name: "QUIT",
        arity: Arity::AtLeast(1),
        flags: SESSION.and(Flags::UNQUEUED),
        summary: "Closes the connection.",
        ..BASE
    },
    run: |_, _, reply| {
        reply.ok();
        Ok(After::Close)
    },
};

/// `RESET`: the connection is as if it had just been made.
pub(crate) static RESET: ServerCommand = ServerCommand {
    spec: Spec {
        name: "RESET",
        arity: Arity::Exactly(1),
        flags: SESSION.and(Flags::UNQUEUED),
        since: "6.2.0",
        summary: "Resets the connection.",
        ..BASE
    },
    run: |call, _, reply| {
        let client = &mut *call.client;
        client.session.db = 0;
        client.session.no_touch = false;
        client.reply_mode = ReplyMode::On;
        client.transaction = None;
        client.watching = None;
        client.subscriptions.leave_all(call.lock.get(), &client.info);
        call.server.monitors.leave(client.info.id);
        client.info.monitoring.store(false, Ordering::Relaxed);
        tracking::commands::stop(call.lock.get(), client);
        client.info.no_touch.store(false, Ordering::Relaxed);
        client.info.no_evict.store(false, Ordering::Relaxed);
        client.info.names.lock().name.clear();
        client.set_protocol(2);
        call.server.acl.begin(client);
        reply.simple("RESET");
        Ok(After::Nothing)
    },
};

/// `AUTH [username] password`.
pub(crate) static AUTH: ServerCommand = ServerCommand {
    spec: Spec {
        name: "AUTH",
        arity: Arity::AtLeast(2),
        flags: SESSION,
        summary: "Authenticates the connection.",
        complexity: "O(N) where N is the number of passwords defined for the user",
        syntax: "[username] password",
        ..BASE
    },
    run: |call, args, reply| {
        let (user, password) = match args.len() {
            2 if call.server.acl.default_user().nopass => {
                return Err(CommandError::text(
                    "ERR AUTH <password> called without any password configured for the default user. Are you sure \
                     your configuration is correct?",
                ));
            }
            2 => (&b"default"[..], args.get(1)),
            3 => (args.get(1), args.get(2)),
            _ => return Err(CommandError::Syntax),
        };
        authenticate(call, user, password, args.get(0))?;
        reply.ok();
        Ok(After::Nothing)
    },
};

/// `HELLO [protover [AUTH username password] [SETNAME clientname]]`.
pub(crate) static HELLO: ServerCommand = ServerCommand {
    spec: Spec {
        name: "HELLO",
        arity: Arity::AtLeast(1),
        flags: SESSION,
        since: "6.0.0",
        summary: "Handshakes with the Redis server.",
        syntax: "[protover [AUTH username password] [SETNAME clientname]]",
        ..BASE
    },
    run: hello,
};

fn hello(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<After, CommandError> {
    let mut protocol = call.client.protocol;
    if args.len() > 1 {
        let version = parse_integer(args.get(1))
            .ok_or_else(|| CommandError::text("ERR Protocol version is not an integer or out of range"))?;
        protocol = u8::try_from(version)
            .ok()
            .filter(|version| (2..=3).contains(version))
            .ok_or_else(|| CommandError::text("NOPROTO unsupported protocol version"))?;
    }
    let (mut login, mut name) = (None, None);
    let mut at = 2;
    while at < args.len() {
        let more = args.len() - 1 - at;
        if args.is(at, "AUTH") && more >= 2 {
            login = Some((args.get(at + 1), args.get(at + 2)));
            at += 3;
        } else if args.is(at, "SETNAME") && more >= 1 {
            name = Some(args.get(at + 1));
            at += 2;
        } else {
            let option = String::from_utf8_lossy(args.get(at));
            return Err(CommandError::text(format!("ERR Syntax error in HELLO option '{option}'")));
        }
    }
    if let Some((user, password)) = login {
        authenticate(call, user, password, args.get(0))?;
    }
    if call.client.gate == Gate::Closed {
        return Err(CommandError::text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> \
             <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = name {
        set_name(call.client, name)?;
    }
    call.client.set_protocol(protocol);
    write_hello(call.client, protocol, reply);
    Ok(After::Nothing)
}

/// The reply is already in the protocol it announces.
fn write_hello(client: &Client, protocol: u8, reply: &mut dyn Reply) {
    reply.set_protocol(protocol);
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.integer(i64::from(protocol));
    reply.bulk(b"id");
    reply.integer(client.info.id as i64);
    reply.bulk(b"mode");
    reply.bulk(b"standalone");
    reply.bulk(b"role");
    reply.bulk(b"master");
    reply.bulk(b"modules");
    reply.array(0);
}

/// Logs in; `word` is the command that asks for it.
fn authenticate(call: &mut ServerCall<'_, '_>, user: &[u8], password: &[u8], word: &[u8]) -> Result<(), CommandError> {
    match acl::authenticate(call.server, call.client, user, password, word) {
        true => Ok(()),
        false => Err(CommandError::text("WRONGPASS invalid username-password pair or user is disabled.")),
    }
}

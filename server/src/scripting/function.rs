//! FUNCTION, FCALL, FCALL_RO.

use super::eval::{self, Job, key_count, machine, prepare};
use super::host::{Host, Library};
use super::run::{self, Places, Running};
use super::shebang::ScriptFlags;
use super::{Words, library, on_fiber};
use crate::admin::help;
use crate::command::{After, ServerCall, ServerCommand};
use firn_engine::command::{Args, Arity, CommandError, Flags, Group, NoReply, Reply, Spec, table};
use firn_engine::glob;
use firn_engine::rdb::functions;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Instant;

const SUBCOMMAND: Spec =
    Spec { arity: Arity::Exactly(2), flags: Flags::NOSCRIPT, group: Group::Scripting, since: "7.0.0", ..Spec::BASE };

/// Of those that change libraries.
const CHANGE: Flags = Flags::NOSCRIPT.and(Flags::WRITE);

/// `FUNCTION`.
pub(super) static FUNCTION: ServerCommand = ServerCommand {
    spec: Spec {
        name: "FUNCTION",
        arity: Arity::AtLeast(2),
        group: Group::Scripting,
        since: "7.0.0",
        summary: "Commands about libraries of functions.",
        complexity: "Depends on subcommand.",
        subcommands: &[
            Spec {
                name: "DELETE",
                arity: Arity::Exactly(3),
                flags: CHANGE,
                summary: "Deletes a library and its functions.",
                syntax: "library-name",
                ..SUBCOMMAND
            },
            Spec {
                name: "DUMP",
                summary: "Returns all libraries as bytes for FUNCTION RESTORE.",
                complexity: "O(N) where N is the number of functions",
                ..SUBCOMMAND
            },
            Spec {
                name: "FLUSH",
                arity: Arity::AtLeast(2),
                flags: CHANGE,
                summary: "Deletes all libraries and functions.",
                complexity: "O(N) where N is the number of functions deleted",
                syntax: "[ASYNC | SYNC]",
                ..SUBCOMMAND
            },
            Spec {
                name: "HELP",
                flags: Flags::LOADING.and(Flags::STALE),
                summary: "Returns what the subcommands do.",
                ..SUBCOMMAND
            },
            Spec {
                name: "KILL",
                flags: Flags::NOSCRIPT.and(Flags::ALLOW_BUSY),
                summary: "Ends the function that runs.",
                ..SUBCOMMAND
            },
            Spec {
                name: "LIST",
                arity: Arity::AtLeast(2),
                summary: "Returns all libraries and what they hold.",
                complexity: "O(N) where N is the number of functions",
                syntax: "[LIBRARYNAME library-name-pattern] [WITHCODE]",
                ..SUBCOMMAND
            },
            Spec {
                name: "LOAD",
                arity: Arity::AtLeast(3),
                flags: CHANGE.and(Flags::DENYOOM),
                summary: "Makes a library.",
                complexity: "O(1) (considering compilation time is redundant)",
                syntax: "[REPLACE] function-code",
                ..SUBCOMMAND
            },
            Spec {
                name: "RESTORE",
                arity: Arity::AtLeast(3),
                flags: CHANGE.and(Flags::DENYOOM),
                summary: "Makes libraries of what FUNCTION DUMP gave.",
                complexity: "O(N) where N is the number of functions on the payload",
                syntax: "serialized-value [FLUSH | APPEND | REPLACE]",
                ..SUBCOMMAND
            },
            Spec {
                name: "STATS",
                flags: Flags::NOSCRIPT.and(Flags::ALLOW_BUSY),
                summary: "Returns what runs, and how much there is.",
                ..SUBCOMMAND
            },
        ],
        ..Spec::BASE
    },
    run: function,
};

/// `FCALL`.
pub(super) static FCALL: ServerCommand = ServerCommand {
    spec: Spec {
        name: "FCALL",
        since: "7.0.0",
        summary: "Calls a function.",
        complexity: "Depends on the function that is executed.",
        syntax: "function numkeys [key [key ...]] [arg [arg ...]]",
        ..eval::BASE
    },
    run: |call, args, reply| fcall(call, args, reply, false),
};

/// `FCALL_RO`.
pub(super) static FCALL_RO: ServerCommand = ServerCommand {
    spec: Spec {
        name: "FCALL_RO",
        since: "7.0.0",
        summary: "Calls a function that only reads.",
        complexity: "Depends on the function that is executed.",
        syntax: "function numkeys [key [key ...]] [arg [arg ...]]",
        ..eval::READ_ONLY
    },
    run: |call, args, reply| fcall(call, args, reply, true),
};

const HELP: &[&str] = &[
    "FUNCTION <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "LOAD [REPLACE] <FUNCTION CODE>",
    "    Make a library of this code.",
    "DELETE <LIBRARY NAME>",
    "    Delete a library.",
    "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
    "    Return what is known of all libraries, or of those whose name matches a pattern.",
    "STATS",
    "    Return what runs (its name, its command, its ms), or nil, and the engines there are.",
    "KILL",
    "    End the function that runs, unless it has written.",
    "FLUSH [ASYNC|SYNC]",
    "    Delete all libraries.",
    "DUMP",
    "    Return all libraries as bytes for FUNCTION RESTORE.",
    "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
    "    Make libraries of what FUNCTION DUMP gave:",
    "    * FLUSH: in place of all that there are.",
    "    * APPEND (the default): beside those that there are; none may have the same name.",
    "    * REPLACE: in place of those of the same name.",
    "HELP",
    "    Print this help.",
];

fn error(text: &str) -> CommandError {
    CommandError::text(format!("ERR {text}"))
}

fn fcall(
    call: &mut ServerCall<'_, '_>,
    args: &Args<'_>,
    reply: &mut dyn Reply,
    read_only: bool,
) -> Result<After, CommandError> {
    let mut guard = machine(call)?;
    let Some(host) = guard.as_mut() else { unreachable!("it was made") };
    let Some((name, function)) = host.functions.get(&*args.get(1).to_ascii_lowercase()) else {
        return Err(error("Function not found"));
    };
    let (name, callback, flags) = (name.to_string(), function.callback, function.flags);
    let keys = key_count(args, error("Bad number of keys provided"))?;
    let rights = prepare(call, Some(flags), read_only)?;
    see_libraries(call);
    run::show(call, args.words());
    let about = Running { name: name.into(), words: Words::new(args.words()), began: Instant::now(), eval: false };
    let places = Places { keys: 3..3 + keys, arguments: 3 + keys..args.len() };
    let job = Job { guard, function: callback, rights, about, places };
    on_fiber(call, reply, move |call, writer| {
        job.run(call, writer);
        Ok(After::Nothing)
    })
}

/// The client is shown libraries: what it is told leaves when the last change of these may be told.
fn see_libraries(call: &mut ServerCall<'_, '_>) {
    let lsn = call.server.scripting.libraries_lsn.load(Ordering::Relaxed);
    let promise = &mut call.client.session.promise;
    *promise = (*promise).max(lsn);
}

/// Changes the engine's libraries by its own FUNCTION commands, all of them one record.
fn store(call: &mut ServerCall<'_, '_>, commands: &[&[&[u8]]]) -> Result<(), CommandError> {
    let Some(command) = table::find(b"FUNCTION") else { unreachable!("the engine has it") };
    let room = commands.iter().map(|words| Args::new(words).record_len_max()).fold(0, usize::saturating_add);
    let scripting = call.server.scripting;
    let session = &mut call.client.session;
    let engine = call.lock.get();
    if let Some(why) = engine.refuses_flags(Flags::WRITE) {
        return Err(CommandError::text(why));
    }
    engine.admits(room)?;
    let nested = engine.in_transaction();
    if !nested {
        engine.begin_transaction();
    }
    let mut outcome = NoReply::default();
    for words in commands {
        engine.execute(session, command, &Args::new(words), &mut outcome);
    }
    if !nested {
        engine.end_transaction(session);
    }
    // Of a record that is not finished, the LSN is the next one; if nothing has changed there may never be one.
    let lsn = engine.effects.last() + u64::from(engine.effects.has_open());
    scripting.libraries_lsn.store(lsn, Ordering::Relaxed);
    outcome.error.map_or(Ok(()), |error| Err(CommandError::text(error)))
}

fn function(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<After, CommandError> {
    let scripting = call.server.scripting;
    match FUNCTION.spec.subcommand(args.get(1)).map_or("", |sub| sub.name) {
        "DELETE" => {
            call.engine();
            let mut guard = scripting.host();
            if call.engine().keyspace.libraries.get(args.get(2)).is_none() {
                return Err(error("Library not found"));
            }
            store(call, &[&[b"FUNCTION", b"DELETE", args.get(2)]])?;
            if let Some(host) = guard.as_mut() {
                library::remove(host, args.get(2));
                host.publish(scripting);
            }
            reply.ok();
        }
        "DUMP" => {
            see_libraries(call);
            reply.bulk(&functions::encode(call.engine().keyspace.libraries.iter().map(|(_, source)| &**source)));
        }
        "FLUSH" => {
            if args.len() > 3 {
                return Err(help::unknown_or_arity("FUNCTION", args));
            }
            if args.len() == 3 && !args.is(2, "SYNC") && !args.is(2, "ASYNC") {
                return Err(error("FUNCTION FLUSH only supports SYNC|ASYNC option"));
            }
            call.engine();
            let mut guard = scripting.host();
            store(call, &[&[b"FUNCTION", b"FLUSH"]])?;
            if let Some(host) = guard.as_mut() {
                library::install(host, BTreeMap::new(), true);
                host.machine.collect();
                host.publish(scripting);
            }
            reply.ok();
        }
        "HELP" => help::write(HELP, reply),
        "KILL" => {
            scripting.kill(false).map_err(CommandError::text)?;
            reply.ok();
        }
        "LIST" => list(call, args, reply)?,
        "LOAD" => load(call, args, reply)?,
        "RESTORE" => restore(call, args, reply)?,
        "STATS" => stats(call, reply)?,
        _ => return Err(help::unknown("FUNCTION", args)),
    }
    Ok(After::Nothing)
}

fn load(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let source = args.get(args.len() - 1);
    let mut replace = false;
    for option in &args.words()[2..args.len() - 1] {
        if !option.eq_ignore_ascii_case(b"REPLACE") {
            return Err(error(&format!("Unknown option given: {}", String::from_utf8_lossy(option))));
        }
        replace = true;
    }
    let metadata = library::metadata(source)?;
    let mut guard = machine(call)?;
    let Some(host) = guard.as_mut() else { unreachable!("it was made") };
    if !replace && call.engine().keyspace.libraries.get(&metadata.name).is_some() {
        return Err(already(&metadata.name));
    }
    let compiled = library::compile(host, source)?;
    take_over(call, host, BTreeMap::from([(metadata.name.as_slice().into(), (source, compiled))]), false)?;
    reply.bulk(&metadata.name);
    Ok(())
}

fn already(name: &[u8]) -> CommandError {
    error(&format!("Library '{}' already exists", String::from_utf8_lossy(name)))
}

/// Stores compiled libraries and puts them in use, both or neither.
fn take_over(
    call: &mut ServerCall<'_, '_>,
    host: &mut Host,
    libraries: BTreeMap<Box<[u8]>, (&[u8], Library)>,
    all: bool,
) -> Result<(), CommandError> {
    let mut sources = Vec::new();
    let mut compiled = BTreeMap::new();
    for (name, (source, library)) in libraries {
        sources.push(source);
        compiled.insert(name, library);
    }
    let loads: Vec<[&[u8]; 4]> = sources.iter().map(|source| [&b"FUNCTION"[..], b"LOAD", b"REPLACE", source]).collect();
    let flush: [&[u8]; 2] = [b"FUNCTION", b"FLUSH"];
    let mut commands: Vec<&[&[u8]]> = if all { vec![&flush] } else { Vec::new() };
    commands.extend(loads.iter().map(|words| &words[..]));
    let stored = library::check(host, &compiled, all).and_then(|()| store(call, &commands));
    if let Err(error) = stored {
        compiled.into_values().for_each(|library| library::forget(host, library));
        return Err(error);
    }
    library::install(host, compiled, all);
    host.publish(call.server.scripting);
    Ok(())
}

fn restore(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    if args.len() > 4 {
        return Err(help::unknown_or_arity("FUNCTION", args));
    }
    let (mut all, mut replace) = (false, false);
    if args.len() == 4 {
        match args.get(3).to_ascii_lowercase().as_slice() {
            b"append" => {}
            b"replace" => replace = true,
            b"flush" => all = true,
            _ => {
                return Err(error("Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE."));
            }
        }
    }
    let sources = functions::decode(args.get(2)).map_err(|bad| error(&bad.to_string()))?;
    let mut guard = machine(call)?;
    let Some(host) = guard.as_mut() else { unreachable!("it was made") };
    let mut libraries: BTreeMap<Box<[u8]>, (&[u8], Library)> = BTreeMap::new();
    let mut failed = None;
    for source in &sources {
        let compiled = library::metadata(source).and_then(|metadata| {
            let name: Box<[u8]> = metadata.name.into();
            let stored = call.engine().keyspace.libraries.get(&name).is_some();
            if libraries.contains_key(&name) || stored && !all && !replace {
                return Err(error(&format!("Library {} already exists", String::from_utf8_lossy(&name))));
            }
            Ok((name, library::compile(host, source)?))
        });
        match compiled {
            Ok((name, library)) => {
                libraries.insert(name, (source, library));
            }
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    if let Some(error) = failed {
        libraries.into_values().for_each(|(_, library)| library::forget(host, library));
        return Err(error);
    }
    take_over(call, host, libraries, all)?;
    reply.ok();
    Ok(())
}

fn list(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let (mut pattern, mut with_code) = (None, false);
    let mut at = 2;
    while at < args.len() {
        if !with_code && args.is(at, "WITHCODE") {
            with_code = true;
        } else if pattern.is_none() && args.is(at, "LIBRARYNAME") {
            at += 1;
            if at >= args.len() {
                return Err(error("library name argument was not given"));
            }
            pattern = Some(args.get(at));
        } else {
            return Err(error(&format!("Unknown argument {}", String::from_utf8_lossy(args.get(at)))));
        }
        at += 1;
    }
    see_libraries(call);
    let guard = machine(call)?;
    let Some(host) = guard.as_ref() else { unreachable!("it was made") };
    let wanted = |name: &[u8]| pattern.is_none_or(|pattern| glob::matches_ignoring_case(pattern, name));
    let stored = &call.engine().keyspace.libraries;
    let found: Vec<_> = stored.iter().filter(|(name, _)| wanted(name)).collect();
    reply.array(found.len());
    for (name, source) in found {
        reply.map(if with_code { 4 } else { 3 });
        reply.bulk(b"library_name");
        reply.bulk(name);
        reply.bulk(b"engine");
        reply.bulk(b"LUA");
        reply.bulk(b"functions");
        let functions = host.libraries.get(name).map(|library| &library.functions);
        reply.array(functions.map_or(0, BTreeMap::len));
        for (name, function) in functions.into_iter().flatten() {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(name);
            reply.bulk(b"description");
            match &function.description {
                Some(description) => reply.bulk(description),
                None => reply.null(),
            }
            reply.bulk(b"flags");
            let flags = ScriptFlags::NAMES.iter().filter(|(flag, _)| function.flags.has(*flag));
            reply.set(flags.clone().count());
            flags.for_each(|(_, name)| reply.simple(name));
        }
        if with_code {
            reply.bulk(b"library_code");
            reply.bulk(source);
        }
    }
    Ok(())
}

fn stats(call: &mut ServerCall<'_, '_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let scripting = call.server.scripting;
    let running = scripting.running.lock();
    if running.as_ref().is_some_and(|running| running.eval) {
        return Err(CommandError::text(super::BUSY_SCRIPT));
    }
    reply.map(2);
    reply.bulk(b"running_script");
    match &*running {
        None => reply.null(),
        Some(running) => {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(running.name.as_bytes());
            reply.bulk(b"command");
            reply.array(running.words.len());
            running.words.iter(0..running.words.len()).for_each(|word| reply.bulk(word));
            reply.bulk(b"duration_ms");
            reply.integer(running.began.elapsed().as_millis() as i64);
        }
    }
    reply.bulk(b"engines");
    reply.map(1);
    reply.bulk(b"LUA");
    reply.map(2);
    reply.bulk(b"libraries_count");
    reply.integer(scripting.numbers.libraries.load(Ordering::Relaxed) as i64);
    reply.bulk(b"functions_count");
    reply.integer(scripting.numbers.functions.load(Ordering::Relaxed) as i64);
    Ok(())
}

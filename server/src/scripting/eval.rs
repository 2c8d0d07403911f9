//! EVAL, EVALSHA and their read-only kin.

use super::convert::{self, Unwritten};
use super::host::{Host, Sha, clear_arguments};
use super::lua::{Kind, Raise, Reference, Stack};
use super::run::{self, Places, Rights, Run, Running};
use super::shebang::ScriptFlags;
use super::{Scripting, Words, api, json, library, on_fiber};
use crate::command::{After, EngineLock, ServerCall, ServerCommand};
use crate::resp::writer::Writer;
use firn_engine::command::{Args, Arity, CommandError, Flags, Group, Keys, Reply, Spec, counted_keys};
use firn_engine::eviction::{OUT_OF_MEMORY, Room};
use firn_engine::number::parse_integer;
use parking_lot::MutexGuard;
use std::borrow::Cow;
use std::ops::Range;
use std::time::Instant;

/// What all commands that run scripts have in common.
pub(super) const BASE: Spec = Spec {
    arity: Arity::AtLeast(3),
    flags: Flags::NOSCRIPT
        .and(Flags::STALE)
        .and(Flags::SKIP_MONITOR)
        .and(Flags::MAY_REPLICATE)
        .and(Flags::NO_MANDATORY_KEYS)
        .and(Flags::MOVABLEKEYS),
    keys: Keys::Found {
        find: |words, found| counted_keys(words, 2, found),
        legacy: (0, 0, 0),
        access: "RW ACCESS UPDATE",
    },
    group: Group::Scripting,
    complexity: "Depends on the script that is executed.",
    ..Spec::BASE
};

/// [`BASE`] of those that only read.
pub(super) const READ_ONLY: Spec = Spec {
    flags: BASE.flags.without(Flags::MAY_REPLICATE).and(Flags::READONLY),
    keys: Keys::Found { find: |words, found| counted_keys(words, 2, found), legacy: (0, 0, 0), access: "RO ACCESS" },
    ..BASE
};

/// `EVAL`.
pub(super) static EVAL: ServerCommand = ServerCommand {
    spec: Spec {
        name: "EVAL",
        since: "2.6.0",
        summary: "Runs a Lua script.",
        syntax: "script numkeys [key [key ...]] [arg [arg ...]]",
        ..BASE
    },
    run: |call, args, reply| eval(call, args, reply, false, false),
};

/// `EVALSHA`.
pub(super) static EVALSHA: ServerCommand = ServerCommand {
    spec: Spec {
        name: "EVALSHA",
        since: "2.6.0",
        summary: "Runs a Lua script that the server knows, by its SHA-1.",
        syntax: "sha1 numkeys [key [key ...]] [arg [arg ...]]",
        ..BASE
    },
    run: |call, args, reply| eval(call, args, reply, true, false),
};

/// `EVAL_RO`.
pub(super) static EVAL_RO: ServerCommand = ServerCommand {
    spec: Spec {
        name: "EVAL_RO",
        since: "7.0.0",
        summary: "Runs a Lua script that only reads.",
        syntax: "script numkeys [key [key ...]] [arg [arg ...]]",
        ..READ_ONLY
    },
    run: |call, args, reply| eval(call, args, reply, false, true),
};

/// `EVALSHA_RO`.
pub(super) static EVALSHA_RO: ServerCommand = ServerCommand {
    spec: Spec {
        name: "EVALSHA_RO",
        since: "7.0.0",
        summary: "Runs a Lua script that only reads and that the server knows, by its SHA-1.",
        syntax: "sha1 numkeys [key [key ...]] [arg [arg ...]]",
        ..READ_ONLY
    },
    run: |call, args, reply| eval(call, args, reply, true, true),
};

/// What is answered if there is no such script.
const NO_SCRIPT: CommandError = CommandError::Text(Cow::Borrowed("NOSCRIPT No matching script. Please use EVAL."));

/// How many keys follow word 2.
///
/// # Errors
/// `error` if it is no number; else as Redis words it.
pub(super) fn key_count(args: &Args<'_>, error: CommandError) -> Result<usize, CommandError> {
    let count = parse_integer(args.get(2)).ok_or(error)?;
    if count > args.len() as i64 - 3 {
        return Err(CommandError::text("ERR Number of keys can't be greater than number of args"));
    }
    usize::try_from(count).map_err(|_| CommandError::text("ERR Number of keys can't be negative"))
}

/// A digest from its 40 digits.
pub(super) fn parse_sha(digits: &[u8]) -> Option<Sha> {
    let digits: &[u8; 40] = digits.try_into().ok()?;
    let mut sha = [0; 20];
    for (byte, pair) in sha.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Some(sha)
}

/// Whether EVALSHA or FCALL of these words runs something that says that it only reads; false if it is not known.
pub(crate) fn only_reads_known(
    scripting: &'static Scripting,
    lock: &mut EngineLock,
    name: &str,
    words: &[&[u8]],
) -> bool {
    if !matches!(name, "EVALSHA" | "FCALL") {
        return false;
    }
    lock.get(); // The machine is looked at under it.
    let mut host = scripting.host();
    let (Some(host), Some(word)) = (&mut *host, words.get(1)) else { return false };
    let flags = if name == "FCALL" {
        host.functions.get(&*word.to_ascii_lowercase()).map(|function| function.1.flags)
    } else {
        parse_sha(word).and_then(|sha| host.script(&sha)).and_then(|script| script.flags)
    };
    flags.is_some_and(|flags| flags.has(ScriptFlags::NO_WRITES))
}

/// The machine, made now if there was none.
///
/// # Errors
/// It cannot be made.
pub(super) fn machine(call: &mut ServerCall<'_, '_>) -> Result<MutexGuard<'static, Option<Host>>, CommandError> {
    // In this order, as everywhere.
    call.engine();
    let scripting = call.server.scripting;
    let mut host = scripting.host();
    if host.is_none() {
        let mut made = Host::new(scripting.machine_limit())?;
        library::compile_all(&mut made, &call.engine().keyspace.libraries);
        *host = Some(made);
    }
    Ok(host)
}

fn eval(
    call: &mut ServerCall<'_, '_>,
    args: &Args<'_>,
    reply: &mut dyn Reply,
    by_sha: bool,
    read_only: bool,
) -> Result<After, CommandError> {
    let known = if by_sha { Some(parse_sha(args.get(1)).ok_or(NO_SCRIPT)?) } else { None };
    let keys = key_count(args, CommandError::NotInteger)?;
    let scripting = call.server.scripting;
    let mut guard = machine(call)?;
    let Some(host) = guard.as_mut() else { unreachable!("it was made") };
    let sha = match known {
        Some(sha) => sha,
        None => host.compile(scripting, args.get(1), false)?,
    };
    let Some(script) = host.script(&sha) else { return Err(NO_SCRIPT) };
    let (function, flags) = (script.function, script.flags);
    let rights = prepare(call, flags, read_only)?;
    run::show(call, args.words());
    let name = String::from_utf8_lossy(&api::hex(&sha)).into_owned();
    let about = Running { name: name.into(), words: Words::new(args.words()), began: Instant::now(), eval: true };
    let places = Places { keys: 3..3 + keys, arguments: 3 + keys..args.len() };
    let job = Job { guard, function, rights, about, places };
    on_fiber(call, reply, move |call, writer| {
        job.run(call, writer);
        Ok(After::Nothing)
    })
}

/// What a script with these flags may do, if it may run at all; `None` is one without the line that declares them.
///
/// # Errors
/// It may not run now.
pub(super) fn prepare(
    call: &mut ServerCall<'_, '_>,
    flags: Option<ScriptFlags>,
    read_only: bool,
) -> Result<Rights, CommandError> {
    let Some(flags) = flags else { return Ok(Rights { read_only, allow_oom: false }) };
    let writes = !flags.has(ScriptFlags::NO_WRITES);
    if writes {
        if let Some(why) = call.engine().refuses_flags(Flags::WRITE.and(Flags::DENYOOM)) {
            return Err(CommandError::text(why));
        }
        if read_only {
            return Err(CommandError::text("ERR Can not execute a script with write flag using *_ro command."));
        }
    }
    let allow_oom = flags.has(ScriptFlags::ALLOW_OOM) || !writes;
    if !allow_oom && call.server.make_room(call.lock.get(), 0) == Room::OutOfMemory {
        return Err(CommandError::text(
            "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
        ));
    }
    debug_assert!(OUT_OF_MEMORY.starts_with("OOM"), "both texts have one prefix");
    Ok(Rights { read_only: read_only || !writes, allow_oom })
}

/// A script or function that is to run.
pub(super) struct Job {
    /// The machine.
    pub(super) guard: MutexGuard<'static, Option<Host>>,
    /// What is called.
    pub(super) function: Reference,
    /// What it may do.
    pub(super) rights: Rights,
    /// What it is.
    pub(super) about: Running,
    /// Its keys and arguments among the words.
    pub(super) places: Places,
}

impl Job {
    /// Runs it, and writes its reply.
    pub(super) fn run(self, call: &mut ServerCall<'_, '_>, writer: &mut Writer<'_>) {
        let Job { mut guard, function, rights, about, places } = self;
        let scripting = call.server.scripting;
        let Some(host) = guard.as_mut() else { unreachable!("whoever made the job had it") };
        let start = writer.out.len();
        let (name, eval) = (about.name.clone(), about.eval);
        json::reset();
        let hard = call.server.settings.get().output_limits[call.client.info.output_class()].hard;
        let handler = host.handler;
        let done = run::as_script(call, rights, about, |words| {
            host.machine.protected(|stack| -> Result<Result<(), Unwritten>, Raise> {
                stack.reserve(16)?;
                stack.push_kept(handler);
                stack.push_kept(function);
                if eval {
                    stack.push_globals();
                    stack.set_read_only(-1, false);
                    push_words(stack, words, places.keys);
                    stack.raw_set_field(-2, c"KEYS");
                    push_words(stack, words, places.arguments);
                    stack.raw_set_field(-2, c"ARGV");
                    stack.set_read_only(-1, true);
                    stack.pop(1);
                } else {
                    push_words(stack, words, places.keys);
                    push_words(stack, words, places.arguments);
                }
                let arguments = if eval { 0 } else { 2 };
                let base = stack.top() - arguments - 1;
                let done = stack.call(arguments, Some(1), base);
                if eval {
                    clear_arguments(stack);
                }
                if done {
                    let resp = run::with(|run: &mut Run| run.resp()).unwrap_or(2);
                    return Ok(convert::write_reply(stack, writer, resp, hard));
                }
                write_failure(stack, writer, &name);
                Ok(Ok(()))
            })
        });
        match done {
            Ok(Ok(())) => {}
            Ok(Err(why)) => {
                writer.out.truncate(start);
                match why {
                    Unwritten::Ended(Raise::Reply(line)) => writer.error_bytes(&line),
                    _ => writer.error("ERR the reply of the script is too long"),
                }
            }
            Err(error) => {
                writer.out.truncate(start);
                writer.error_bytes(format!("ERR Error running script {name}, {error}").as_bytes());
            }
        }
        host.tidy();
        host.publish(scripting);
    }
}

/// Pushes those words as a list.
fn push_words(stack: &mut Stack, words: &Words, range: Range<usize>) {
    stack.new_table(range.len(), 0);
    for (word, index) in words.iter(range).zip(1..) {
        stack.push_bytes(word);
        stack.raw_set_index(-2, index);
    }
}

/// Writes the error that ended a script, which is on top: a table, unless the handler itself failed.
fn write_failure(stack: &mut Stack, writer: &mut Writer<'_>, name: &str) {
    if stack.kind(-1) != Kind::Table {
        let what = if stack.kind(-1) == Kind::String { stack.error_text(-1) } else { "execution failure".to_owned() };
        let what: String = what.chars().take(100).collect();
        return writer.error_bytes(format!("ERR Error running script {name}, {what}").as_bytes());
    }
    let mut field = |name: &std::ffi::CStr| {
        stack.raw_get_field(-1, name);
        if matches!(stack.kind(-1), Kind::String | Kind::Number) {
            stack.push_text(-1);
            let text = stack.bytes(-1).map(<[u8]>::to_vec);
            stack.pop(2);
            return text;
        }
        stack.pop(1);
        None
    };
    let mut line = field(c"err").unwrap_or_else(|| b"ERR unknown error".to_vec());
    if let (Some(source), Some(number)) = (field(c"source"), field(c"line")) {
        while line.last().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
            line.pop();
        }
        line.extend_from_slice(b" script: ");
        line.extend_from_slice(name.as_bytes());
        line.extend_from_slice(b", on ");
        line.extend_from_slice(&source);
        line.push(b':');
        line.extend_from_slice(&number);
        line.push(b'.');
    }
    stack.raw_get_field(-1, c"ignore_error_stats_update");
    let counted = stack.boolean(-1);
    stack.pop(1);
    convert::write_error(writer, &line, counted);
}

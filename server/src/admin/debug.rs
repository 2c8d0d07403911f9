//! DEBUG: what tests and people who look for a defect need. Who may call it is `enable-debug-command`'s to say.
//!
//! 1. Nothing here crashes the server or loses data; what would (SEGFAULT, PANIC, OOM, ...) is refused by name.
//! 2. What Redis' own test-suite sets and Firn has nothing for is checked as Redis checks it, answered, and changes nothing: HELP says so.

use super::{config, help, is_local, reload};
use crate::command::{After, ServerCall, ServerCommand};
use crate::config::value::parse_memory;
use firn_engine::command::{Args, Arity, CommandError, Flags, Group, Reply, Spec};
use firn_engine::debug as engine_debug;
use firn_engine::number::parse_integer;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// `DEBUG`.
pub(super) static DEBUG: ServerCommand = ServerCommand {
    spec: Spec {
        name: "DEBUG",
        arity: Arity::AtLeast(2),
        flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE),
        group: Group::Server,
        summary: "Commands for tests and for looking inside.",
        complexity: "Depends on subcommand.",
        syntax: "subcommand [arg [arg ...]]",
        ..Spec::BASE
    },
    run: debug,
};

const HELP: &[&str] = &[
    "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CONFIG-REWRITE-FORCE-ALL",
    "    Like CONFIG REWRITE but writes all configuration options, including",
    "    keywords not listed in original configuration file or default values.",
    "DIGEST",
    "    Output a hex signature representing the current DB content.",
    "DIGEST-VALUE <key> [<key> ...]",
    "    Output a hex signature of the values of all the specified keys.",
    "ERROR <string>",
    "    Return a RESP protocol error with <string> as message. Useful for clients",
    "    unit tests to simulate error replies.",
    "HTSTATS <dbid>",
    "    Return how many keys the specified database has.",
    "HTSTATS-KEY <key>",
    "    Refused: tables of values have no chains of buckets to tell of.",
    "LOADAOF",
    "    Flush the log and load everything from the disk.",
    "LOG <message>",
    "    Write <message> to the server log.",
    "OBJECT <key>",
    "    Show low level info about `key` and associated value.",
    "POPULATE <count> [<prefix>] [<size>]",
    "    Create <count> string keys named key:<num>. If <prefix> is specified then",
    "    it is used instead of the 'key' prefix.",
    "PROTOCOL <type>",
    "    Reply with a test value of the specified type. <type> can be: string,",
    "    integer, double, bignum, null, array, set, map, attrib, push, verbatim,",
    "    true, false.",
    "RELOAD",
    "    Take a snapshot and load everything from the disk.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    Setting it to 0 disables expiring keys in background when they are not",
    "    accessed. Setting it to 1 reenables back the default.",
    "SET-SKIP-CHECKSUM-VALIDATION <0|1>",
    "    Setting it to 1 lets RESTORE take payloads whose checksum is wrong.",
    "SLEEP <seconds>",
    "    Stop the server for <seconds>. Decimals allowed.",
    "STRINGMATCH-LEN <pattern> <length>",
    "    Match the pattern against a string of this many times 'a'.",
    "QUICKLIST-PACKED-THRESHOLD <size>",
    "    Keep elements of large lists from this length on alone; 0 for the default.",
    "SET-DISABLE-DENY-SCRIPTS <0|1>",
    "    Setting it to 1 lets scripts call some commands that are denied to them,",
    "    such as CLIENT LIST and DEBUG PROTOCOL.",
    "PAUSE-CRON <0|1>",
    "    Setting it to 1 stops what is done for connections, memory and statistics by",
    "    the clock. Keys expire, and the log is written, as always.",
    "CHANGE-REPL-ID, DICT-RESIZING <0|1>,",
    "REPLYBUFFER PEAK-RESET-TIME <NEVER|RESET|time>, REPLYBUFFER RESIZING <0|1>",
    "    Accepted for Redis' own tests; there is nothing here that they change.",
    "HELP",
    "    Print this help.",
];

/// Keys that POPULATE makes under one hold of the engine's lock.
const POPULATE_SLICE: u64 = 1024;
/// Longest value that POPULATE makes, in bytes.
const POPULATE_VALUE_MAX: u64 = firn_engine::limits::STRING_LEN_MAX as u64;
/// Longest string that STRINGMATCH-LEN matches, in bytes.
const MATCH_LEN_MAX: u64 = 64 << 20;
/// What PROTOCOL DOUBLE answers, as Redis does.
#[allow(clippy::approx_constant)] // It is Redis' test value, not pi.
const PROTOCOL_DOUBLE: f64 = 3.141;
/// Longest SLEEP, in seconds.
const SLEEP_MAX_S: f64 = 24.0 * 3600.0;

fn debug(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<After, CommandError> {
    let local = is_local(call.client);
    let settings = call.server.settings.get();
    if !if local { settings.debug_local } else { settings.debug_remote } {
        return Err(CommandError::text(
            "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from \
             a local connection, otherwise you need to set this option in the configuration file, and then restart the server.",
        ));
    }
    // Within a transaction there is only SLEEP, which keeps it.
    if !call.lock.held().is_some_and(|engine| engine.in_transaction()) {
        call.unlock();
    }
    let name = String::from_utf8_lossy(args.get(1)).to_ascii_lowercase();
    match (name.as_str(), args.len()) {
        ("help", 2) => help::write(HELP, reply),
        ("segfault" | "panic" | "assert" | "oom" | "leak" | "restart" | "crash-and-recover", _) => {
            return Err(CommandError::text(format!(
                "ERR DEBUG {} is refused: Firn does not crash itself. To test recovery, kill -9 the process.",
                name.to_ascii_uppercase()
            )));
        }
        ("config-rewrite-force-all", 2) => {
            config::rewrite_file(call, true)?;
            reply.ok();
        }
        ("digest", 2) => {
            let digest = engine_debug::digest(call.engine());
            reply.bulk(digest.to_string().as_bytes());
        }
        ("digest-value", 2..) => digest_values(call, args, reply),
        ("error", 3) => {
            // A client's own bytes: a line of an error holds no CR or LF.
            return Err(CommandError::text(String::from_utf8_lossy(args.get(2)).into_owned()));
        }
        ("log", 3) => {
            crate::log::warning(format_args!("DEBUG LOG: {}", String::from_utf8_lossy(args.get(2)).escape_debug()));
            reply.ok();
        }
        ("object", 3 | 4) => object(call, args, reply)?,
        ("populate", 3..=5) => {
            populate(call, args)?;
            reply.ok();
        }
        ("reload", _) => return reload::reload(call, &args.words()[2..]),
        ("loadaof", 2) => return Ok(reload::load_log(call)),
        ("protocol", 3) => protocol(args.get(2), reply)?,
        ("set-active-expire", 3) => {
            call.engine().settings.active_expire = flag(args.get(2));
            reply.ok();
        }
        ("sleep", 3) => {
            let seconds = std::str::from_utf8(args.get(2)).ok().and_then(|word| word.parse::<f64>().ok());
            let seconds = seconds.filter(|seconds| seconds.is_finite()).unwrap_or(0.0);
            // The whole server stops, as in Redis: nobody gets the engine meanwhile.
            call.engine();
            std::thread::sleep(Duration::from_secs_f64(seconds.clamp(0.0, SLEEP_MAX_S)));
            // A script has one time, that of its beginning.
            if !call.lock.is_pinned() {
                call.lock.wind_clock();
            }
            reply.ok();
        }
        ("stringmatch-len", 4) => {
            let length = amount(args.get(3), MATCH_LEN_MAX)? as usize;
            reply.integer(i64::from(firn_engine::glob::matches(args.get(2), &vec![b'a'; length])));
        }
        ("htstats", 3 | 4) => {
            let number = args.integer(2)?;
            let engine = call.engine();
            let number = usize::try_from(number).ok().filter(|number| *number < engine.keyspace.databases());
            let db = engine.keyspace.db(number.ok_or(CommandError::text("ERR Out of range database"))?);
            let text = format!(
                "[Dictionary HT]\nnumber of elements: {}\n[Expires HT]\nnumber of elements: {}\n",
                db.len(),
                db.with_deadline()
            );
            reply.verbatim("txt", text.as_bytes());
        }
        ("htstats-key", 3 | 4) => {
            exists(call, args)?;
            return Err(CommandError::text(
                "ERR The value stored at the specified key is not represented using an hash table",
            ));
        }
        ("listpack", 3) => {
            exists(call, args)?;
            return Err(CommandError::text("ERR Not a listpack encoded object."));
        }
        ("quicklist", 3 | 4) => {
            exists(call, args)?;
            return Err(CommandError::text("ERR Not a quicklist encoded object"));
        }
        ("quicklist-packed-threshold", 3) => {
            let Some(bytes) = parse_memory(args.get(2)).filter(|bytes| *bytes <= 1 << 32) else {
                return Err(CommandError::text(
                    "ERR argument must be a memory value bigger than 1 and smaller than 4gb",
                ));
            };
            let alone = if bytes == 0 { usize::MAX } else { bytes as usize };
            call.engine().settings.shaping.list_alone_len_min = alone;
            reply.ok();
        }
        ("replybuffer", 4) => {
            let value = args.get(3).to_ascii_lowercase();
            let known = match args.get(2).to_ascii_lowercase().as_slice() {
                b"peak-reset-time" => {
                    matches!(value.as_slice(), b"never" | b"reset") || parse_integer(&value).is_some()
                }
                b"resizing" => true,
                _ => false,
            };
            if !known {
                return Err(help::unknown_or_arity("DEBUG", args));
            }
            reply.ok();
        }
        ("set-skip-checksum-validation", 3) => {
            call.engine().settings.skip_dump_checksum = flag(args.get(2));
            reply.ok();
        }
        ("set-disable-deny-scripts", 3) => {
            call.server.scripting.allow_denied.store(flag(args.get(2)), Ordering::Relaxed);
            reply.ok();
        }
        ("pause-cron", 3) => {
            call.server.paused_ticks.store(flag(args.get(2)), Ordering::Relaxed);
            reply.ok();
        }
        ("change-repl-id", 2) | ("dict-resizing", 3) => {
            reply.ok();
        }
        _ => return Err(help::unknown_or_arity("DEBUG", args)),
    }
    Ok(After::Nothing)
}

/// As C's atoi: any number but 0 is true.
fn flag(word: &[u8]) -> bool {
    parse_integer(word).is_some_and(|number| number != 0)
}

fn amount(word: &[u8], most: u64) -> Result<u64, CommandError> {
    match parse_integer(word).map(u64::try_from) {
        Some(Ok(amount)) if amount <= most => Ok(amount),
        Some(Ok(_)) => Err(CommandError::text(format!("ERR value is out of range, at most {most}"))),
        Some(Err(_)) => Err(CommandError::text("ERR value is out of range, must be positive")),
        None => Err(CommandError::NotInteger),
    }
}

fn exists(call: &mut ServerCall<'_, '_>, args: &Args<'_>) -> Result<(), CommandError> {
    let db = call.client.session.db;
    let engine = call.engine();
    let key = args.key(2, &engine.keyspace.seed());
    engine.keyspace.db(db).get(key).map(|_| ()).ok_or(CommandError::NoSuchKey)
}

fn digest_values(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) {
    let db = call.client.session.db;
    let engine = call.engine();
    let seed = engine.keyspace.seed();
    reply.array(args.len() - 2);
    for index in 2..args.len() {
        reply.bulk(engine_debug::digest_value(engine, db, args.key(index, &seed)).to_string().as_bytes());
    }
}

fn object(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let db = call.client.session.db;
    let engine = call.engine();
    let key = args.key(2, &engine.keyspace.seed());
    let line = engine_debug::object_line(engine, db, key).ok_or(CommandError::NoSuchKey)?;
    reply.bulk(line.as_bytes());
    Ok(())
}

fn populate(call: &mut ServerCall<'_, '_>, args: &Args<'_>) -> Result<(), CommandError> {
    let count = amount(args.get(2), u64::MAX / 2)?;
    let prefix = if args.len() > 3 { args.get(3) } else { b"key" };
    let size = if args.len() > 4 { Some(amount(args.get(4), POPULATE_VALUE_MAX)? as usize) } else { None };
    let size = size.filter(|size| *size > 0);
    let db = call.client.session.db;
    call.lock.get().admits(args.record_len_max().saturating_add(size.unwrap_or(0)))?;
    for first in (0..count).step_by(POPULATE_SLICE as usize) {
        if first > 0 {
            // Others get their turn, and what is made so far goes to the log.
            call.unlock();
            call.server.store.commit();
        }
        let engine = call.lock.get();
        engine_debug::populate(engine, db, first..count.min(first + POPULATE_SLICE), prefix, size);
        call.client.session.promise = engine.effects.last();
    }
    Ok(())
}

fn protocol(kind: &[u8], reply: &mut dyn Reply) -> Result<(), CommandError> {
    match kind.to_ascii_lowercase().as_slice() {
        b"string" => reply.bulk(b"Hello World"),
        b"integer" => reply.integer(12345),
        b"double" => reply.double(PROTOCOL_DOUBLE),
        b"bignum" => reply.big_number("1234567999999999999999999999999999999"),
        b"null" => reply.null(),
        b"array" => {
            reply.array(3);
            (0..3).for_each(|number| reply.integer(number));
        }
        b"set" => {
            reply.set(3);
            (0..3).for_each(|number| reply.integer(number));
        }
        b"map" => {
            reply.map(3);
            for number in 0..3 {
                reply.integer(number);
                reply.boolean(number == 1);
            }
        }
        b"attrib" => {
            if reply.attribute(1) {
                reply.bulk(b"key-popularity");
                reply.array(2);
                reply.bulk(b"key:123");
                reply.integer(90);
            }
            reply.bulk(b"Some real reply following the attribute");
        }
        b"push" if reply.protocol() < 3 => {
            return Err(CommandError::text("ERR RESP2 is not supported by this command"));
        }
        b"push" => {
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.integer(42);
            reply.bulk(b"Some real reply following the push reply");
        }
        b"true" => reply.boolean(true),
        b"false" => reply.boolean(false),
        b"verbatim" => reply.verbatim("txt", b"This is a verbatim\nstring"),
        _ => {
            return Err(CommandError::text(
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(())
}

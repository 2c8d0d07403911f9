//! DUMP and RESTORE: one value as bytes that Redis and Valkey know.
//!
//! A payload is always decoded into values of our own, whatever `sanitize-dump-payload` says. RESTORE's effect holds the client's own payload with an
//! absolute deadline: it is within the record's bound with the command itself, and replay decodes the same bytes.

use super::{Args, Arity, Call, Categories, Command, CommandError, Flags, Keys, Reply, Spec};
use crate::engine::EventClass;
use crate::keyspace::{Deadline, Value, usage};
use crate::rdb::dump::{self, BadPayload, Restored};
use crate::value::CollectionView;

/// `DUMP`.
pub(super) static DUMP: Command = Command {
    spec: Spec {
        name: "DUMP",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY,
        keys: Keys::first("RO ACCESS"),
        categories: Categories::KEYSPACE,
        since: "2.6.0",
        summary: "Returns the value of a key as bytes for RESTORE.",
        complexity: "O(N) where N is the size of the value",
        syntax: "key",
        ..Spec::BASE
    },
    run: dump,
};

fn dump(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let now_ms = call.engine.now_ms;
    let payload = call.read(call.key(args, 1)).and_then(|entry| payload_of(entry.value, now_ms));
    match payload {
        Some(payload) => reply.bulk(&payload),
        None => reply.null(),
    }
    Ok(())
}

/// The payload of a live entry's value; `None` if all fields of a hash are dead.
pub fn payload_of(value: Value<'_>, now_ms: u64) -> Option<Vec<u8>> {
    if let Value::Collection(CollectionView::Hash(hash)) = value
        && hash.may_hold_dead(now_ms)
        && hash.live_len(now_ms) == 0
    {
        return None;
    }
    Some(dump::encode(value, true, now_ms))
}

/// `RESTORE`.
pub(super) static RESTORE: Command = Command {
    spec: Spec {
        name: "RESTORE",
        arity: Arity::AtLeast(4),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::first("OW UPDATE"),
        categories: Categories(Categories::KEYSPACE.0 | Categories::DANGEROUS.0),
        since: "2.6.0",
        summary: "Makes a key from the bytes that DUMP returned.",
        complexity: "O(N) where N is the size of the value; O(N*log(N)) for sorted sets",
        syntax: "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
        ..Spec::BASE
    },
    run: restore,
};

/// `RESTORE-ASKING`: what MIGRATE sends to a node of a cluster.
pub(super) static RESTORE_ASKING: Command = Command {
    spec: Spec { name: "RESTORE-ASKING", flags: RESTORE.spec.flags.and(Flags::ASKING), since: "3.0.0", ..RESTORE.spec },
    run: restore,
};

#[derive(Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle_seconds: Option<u64>,
    frequency: Option<u8>,
}

fn options(args: &Args<'_>) -> Result<Options, CommandError> {
    let mut options = Options::default();
    let mut at = 4;
    while at < args.len() {
        let more = at + 1 < args.len();
        if args.is(at, "REPLACE") {
            options.replace = true;
        } else if args.is(at, "ABSTTL") {
            options.absolute = true;
        } else if args.is(at, "IDLETIME") && more && options.frequency.is_none() {
            at += 1;
            let idle = u64::try_from(args.integer(at)?);
            let wrong = |_| CommandError::Text("ERR Invalid IDLETIME value, must be >= 0".into());
            options.idle_seconds = Some(idle.map_err(wrong)?);
        } else if args.is(at, "FREQ") && more && options.idle_seconds.is_none() {
            at += 1;
            let frequency = u8::try_from(args.integer(at)?);
            let wrong = |_| CommandError::Text("ERR Invalid FREQ value, must be >= 0 and <= 255".into());
            options.frequency = Some(frequency.map_err(wrong)?);
        } else {
            return Err(CommandError::Syntax);
        }
        at += 1;
    }
    Ok(options)
}

fn restore(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let options = options(args)?;
    let (key, payload) = (call.key(args, 1), args.get(3));
    let existed = call.write(key).is_some();
    if existed && !options.replace {
        return Err(CommandError::Text("BUSYKEY Target key name already exists.".into()));
    }
    let ttl = args.integer(2)?;
    if ttl < 0 {
        return Err(CommandError::Text("ERR Invalid TTL value, must be >= 0".into()));
    }
    let engine = &mut *call.engine;
    // What is replayed was verified when it came, and the log has checksums of its own.
    let verify = !(engine.replaying || engine.settings.skip_dump_checksum);
    let restored = dump::decode(payload, verify, &engine.settings.shaping).map_err(|why| {
        let text = match why {
            BadPayload::Envelope => "ERR DUMP payload version or checksum are wrong",
            BadPayload::Value(_) => "ERR Bad data format",
        };
        CommandError::Text(text.into())
    })?;
    let now_ms = engine.now_ms;
    let since = if options.absolute { 0 } else { now_ms };
    let deadline = (ttl > 0).then(|| (ttl as u64).saturating_add(since).min(i64::MAX as u64));
    if !engine.replaying && deadline.is_some_and(|at| at <= now_ms) {
        // It would be dead at once: all there is to do is to delete what it replaces.
        if existed && call.delete(key) {
            call.effect(&[b"DEL", key.bytes]);
        }
        reply.ok();
        return Ok(());
    }
    let db = engine.db_now(call.session.db);
    match restored {
        Restored::String(bytes) => db.set_string(key, &bytes, deadline.map_or(Deadline::Clear, Deadline::At)),
        Restored::Collection(collection) => db.put_collection(key, collection, deadline),
    }
    // As in Redis: what the policy does not count by is left aside.
    let access = match (options.idle_seconds, options.frequency) {
        (Some(idle), _) if !engine.settings.memory.lfu() => Some(usage::of_idle(now_ms, idle.saturating_mul(1000))),
        (_, Some(frequency)) if engine.settings.memory.lfu() => Some(usage::of_frequency(now_ms, frequency)),
        _ => None,
    };
    if let Some(access) = access {
        engine.keyspace.db_mut(call.session.db).set_access(key, access);
    }
    call.changed(key);
    // As in Redis, what replaces another value is told as a new key too.
    call.event(EventClass::New, "new", key.bytes);
    call.event(EventClass::Generic, "restore", key.bytes);
    let mut digits = itoa::Buffer::new();
    let deadline = digits.format(deadline.unwrap_or(0)).as_bytes();
    call.effect(&[b"RESTORE", key.bytes, deadline, payload, b"REPLACE", b"ABSTTL"]);
    reply.ok();
    Ok(())
}

//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.
//!
//! 1. The commands on data of a transaction run under one hold of the engine's lock and leave one record: all of them survive, or none.
//! 2. Commands that administer the server (CONFIG, INFO, DEBUG, BGSAVE, ...) let the engine go while they work. They run right after
//!    the others, when the record is complete; each reply stands where its command stood. DEBUG SLEEP, a tool of tests, holds everybody up
//!    in its place.
//! 3. A command that cannot be queued spoils the transaction: EXEC then runs nothing.
//! 4. Replies beyond the hard `client-output-buffer-limit` are not kept. The commands run all the same; the client is closed without
//!    an answer, as in Redis.

use crate::acl;
use crate::client::Client;
use crate::command::{After, Answer, Pending, ServerCall, ServerCommand};
use crate::dispatch::{Plan, Verdict};
use crate::execute::{call, count_errors};
use crate::log;
use crate::resp::writer::Writer;
use crate::scripting::on_fiber;
use crate::server::Server;

use firn_engine::command::{Args, Arity, Blocking, Categories, CommandError, Flags, Group, Keys, Reply, Spec};
use firn_engine::eviction::{OUT_OF_MEMORY, Room};
use firn_engine::key::Key;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// What a client has queued since MULTI.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    queue: Vec<Queued>,
    /// The words of all commands.
    bytes: Vec<u8>,
    /// What all of it takes, in bytes.
    room: usize,
    /// A command was refused: nothing will run.
    spoiled: bool,
    /// Flags of all commands together.
    flags: Flags,
}

#[derive(Debug)]
struct Queued {
    plan: Plan,
    words: Vec<Range<usize>>,
}

impl Transaction {
    /// Flags of all queued commands together.
    pub(crate) fn flags(&self) -> Flags {
        self.flags
    }

    /// Memory that it takes, in bytes.
    pub(crate) fn room(&self) -> usize {
        self.room + self.bytes.capacity() - self.bytes.len()
    }

    /// Commands queued so far.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}

/// A command was refused: a transaction that is being queued will not run.
#[inline]
pub(crate) fn spoil(client: &mut Client) {
    if let Some(transaction) = &mut client.transaction {
        transaction.spoiled = true;
    }
}

/// Queues a command that may run.
#[cold]
pub(crate) fn queue(
    server: &Arc<Server>,
    client: &mut Client,
    plan: &mut Plan,
    words: &[&[u8]],
    writer: &mut Writer<'_>,
) {
    let Some(transaction) = &mut client.transaction else { return };
    let limit = server.settings.get().query_buffer_max;
    let added = words.iter().map(|word| word.len() + size_of::<Range<usize>>()).sum::<usize>() + size_of::<Queued>();
    let error = if plan.flags.has(Flags::NO_MULTI) {
        format!("ERR Command '{}' not allowed inside a transaction", plan.full_name(&server.commands))
    } else if (transaction.room + added) as u64 > limit {
        "ERR the transaction is longer than client-query-buffer-limit".to_owned()
    } else {
        let mut places = Vec::with_capacity(words.len());
        for word in words {
            let start = transaction.bytes.len();
            transaction.bytes.extend_from_slice(word);
            places.push(start..transaction.bytes.len());
        }
        transaction.room += added;
        transaction.flags = transaction.flags.and(plan.flags);
        transaction.queue.push(Queued { plan: *plan, words: places });
        plan.verdict = Verdict::Queued;
        writer.simple("QUEUED");
        return;
    };
    transaction.spoiled = true;
    plan.verdict = Verdict::Refused;
    writer.error(&error);
}

const BASE: Spec = Spec {
    flags: Flags::NOSCRIPT
        .and(Flags::LOADING)
        .and(Flags::STALE)
        .and(Flags::FAST)
        .and(Flags::ALLOW_BUSY)
        .and(Flags::UNQUEUED),
    keys: Keys::None,
    group: Group::Transactions,
    categories: Categories::NONE,
    ..Spec::BASE
};

/// `MULTI`.
pub(crate) static MULTI: ServerCommand = ServerCommand {
    spec: Spec {
        name: "MULTI",
        arity: Arity::Exactly(1),
        flags: BASE.flags.without(Flags::UNQUEUED).and(Flags::NO_MULTI),
        since: "1.2.0",
        summary: "Begins a transaction: what follows is queued.",
        ..BASE
    },
    run: |call, _, reply| {
        call.client.transaction = Some(Box::default());
        reply.ok();
        Ok(After::Nothing)
    },
};

/// `DISCARD`.
pub(crate) static DISCARD: ServerCommand = ServerCommand {
    spec: Spec {
        name: "DISCARD",
        arity: Arity::Exactly(1),
        since: "2.0.0",
        summary: "Throws away what was queued, and ends the transaction.",
        complexity: "O(N), when N is the number of queued commands",
        ..BASE
    },
    run: |call, _, reply| {
        if call.client.transaction.take().is_none() {
            return Err(CommandError::text("ERR DISCARD without MULTI"));
        }
        call.client.watching = None;
        reply.ok();
        Ok(After::Nothing)
    },
};

/// `WATCH`.
pub(crate) static WATCH: ServerCommand = ServerCommand {
    spec: Spec {
        name: "WATCH",
        arity: Arity::AtLeast(2),
        flags: BASE.flags.without(Flags::UNQUEUED).and(Flags::NO_MULTI),
        keys: Keys::all("RO"),
        since: "2.2.0",
        summary: "Has the next transaction run only if none of the keys is changed before.",
        complexity: "O(1) for every key",
        syntax: "key [key ...]",
        ..BASE
    },
    run: |call, args, reply| {
        let db = call.client.session.db;
        let engine = call.lock.get();
        let seed = engine.keyspace.seed();
        let watching = call.client.watching.get_or_insert_default();
        for index in 1..args.len() {
            let key: Key<'_> = args.key(index, &seed);
            engine.watch(watching, db, key);
        }
        reply.ok();
        Ok(After::Nothing)
    },
};

/// `UNWATCH`.
pub(crate) static UNWATCH: ServerCommand = ServerCommand {
    spec: Spec {
        name: "UNWATCH",
        arity: Arity::Exactly(1),
        flags: BASE.flags.without(Flags::UNQUEUED),
        since: "2.2.0",
        summary: "Watches no key any more.",
        ..BASE
    },
    run: |call, _, reply| {
        call.client.watching = None;
        reply.ok();
        Ok(After::Nothing)
    },
};

/// `EXEC`.
pub(crate) static EXEC: ServerCommand = ServerCommand {
    spec: Spec {
        name: "EXEC",
        arity: Arity::Exactly(1),
        flags: BASE.flags.without(Flags::FAST).without(Flags::ALLOW_BUSY).and(Flags::SKIP_SLOWLOG),
        since: "1.2.0",
        summary: "Runs what was queued, all of it or nothing.",
        complexity: "Depends on commands in the transaction",
        ..BASE
    },
    run: exec,
};

/// An EXEC that cannot run ends the transaction all the same, and says so.
pub(crate) fn abort(client: &mut Client, why: &str, writer: &mut Writer<'_>) {
    client.transaction = None;
    client.watching = None;
    writer.error(&format!("EXECABORT Transaction discarded because of: {why}"));
}

/// The reply of one command of a transaction.
enum Part {
    /// Written.
    Bytes(Vec<u8>),
    /// To come.
    Pending(Pending),
    /// The command has not run yet.
    Later,
}

fn exec(exec: &mut ServerCall<'_, '_>, _: &Args<'_>, reply: &mut dyn Reply) -> Result<After, CommandError> {
    let Some(transaction) = exec.client.transaction.take() else {
        return Err(CommandError::text("ERR EXEC without MULTI"));
    };
    let watching = exec.client.watching.take();
    if transaction.spoiled {
        return Err(CommandError::text("EXECABORT Transaction discarded because of previous errors."));
    }
    let aborted = |why: &str| CommandError::text(format!("EXECABORT Transaction discarded because of: {why}"));
    if let Some(why) = exec.engine().refuses_flags(transaction.flags) {
        return Err(aborted(&why));
    }
    let maxmemory = exec.server.settings.get().maxmemory;
    if transaction.flags.has(Flags::DENYOOM)
        && maxmemory > 0
        && exec.server.make_room(exec.lock.get(), transaction.bytes.len()) == Room::OutOfMemory
    {
        return Err(aborted(OUT_OF_MEMORY));
    }
    // One record has a bound, and whether it holds must be known before the first change.
    let len = transaction.queue.iter().map(|queued| {
        let words: Vec<&[u8]> = queued.words.iter().map(|place| &transaction.bytes[place.clone()]).collect();
        let spec = exec.server.commands.entry(queued.plan.entry).spec;
        Args::new(&words).record_len_in_transaction(spec.name)
    });
    let len = len.sum();
    exec.engine().admits(len).map_err(|error| aborted(&error.to_string()))?;
    if watching.is_some_and(|watching| !exec.engine().unchanged(&watching)) {
        reply.null_array();
        return Ok(After::Nothing);
    }

    // A script may be suspended, and the transaction with it.
    if transaction
        .queue
        .iter()
        .any(|queued| exec.server.commands.entry(queued.plan.entry).spec.group == Group::Scripting)
    {
        return on_fiber(exec, reply, move |exec, reply| run_queue(exec, &transaction, reply));
    }
    run_queue(exec, &transaction, reply)
}

/// Replies of a transaction are kept up to the hard limit of its client's output.
struct Kept {
    /// 0 is no limit.
    hard: u64,
    len: u64,
}

impl Kept {
    fn is_too_much(&self) -> bool {
        self.hard > 0 && self.len > self.hard
    }

    fn keep(&mut self, part: Part) -> Part {
        let Part::Bytes(bytes) = &part else { return part };
        self.len += bytes.len() as u64;
        if self.is_too_much() { Part::Bytes(Vec::new()) } else { part }
    }
}

/// Runs what was queued.
fn run_queue(
    exec: &mut ServerCall<'_, '_>,
    transaction: &Transaction,
    reply: &mut dyn Reply,
) -> Result<After, CommandError> {
    let mut parts = Vec::with_capacity(transaction.len());
    let mut later = false;
    let hard = exec.server.settings.get().output_limits[exec.client.info.output_class()].hard;
    let mut kept = Kept { hard, len: 0 };
    let blocking = std::mem::replace(&mut exec.client.session.blocking, Blocking::Never);
    exec.engine().begin_transaction();
    for queued in &transaction.queue {
        if exec.server.commands.entry(queued.plan.entry).spec.group == Group::Server
            && !exec.server.commands.entry(queued.plan.entry).is_data()
            && !is_sleep(exec, transaction, queued)
        {
            later = true;
            parts.push(Part::Later);
        } else {
            parts.push(kept.keep(run(exec, transaction, queued)));
        }
    }
    let client = &mut *exec.client;
    exec.lock.get().end_transaction(&mut client.session);
    if later {
        for (queued, part) in transaction.queue.iter().zip(&mut parts) {
            if matches!(part, Part::Later) {
                *part = kept.keep(run(exec, transaction, queued));
            }
        }
    }
    exec.client.session.blocking = blocking;
    if kept.is_too_much() {
        exec.server.stats.output_buffer_closed.fetch_add(1, Relaxed);
        let info = &exec.client.info;
        let (id, addr, len) = (info.id, &info.addr, kept.len);
        log::warning(format_args!(
            "Client id={id} addr={addr} closed for overcoming of output buffer limits: {len} bytes of a transaction's replies."
        ));
        return Ok(After::Close);
    }
    if !parts.iter().any(|part| matches!(part, Part::Pending(_))) {
        answer(parts.iter(), reply);
        return Ok(After::Nothing);
    }
    let protocol = exec.client.protocol;
    let server = exec.server.clone();
    Ok(After::answer(async move {
        for part in &mut parts {
            if let Part::Pending(pending) = part {
                let answer = pending.await;
                let mut bytes = Vec::new();
                answer.give(&mut Writer::new(&mut bytes, protocol, &server.stats));
                *part = Part::Bytes(bytes);
            }
        }
        Answer::write(move |reply| answer(parts.iter(), reply))
    }))
}

/// Writes the replies of all commands as one.
fn answer<'p>(parts: impl ExactSizeIterator<Item = &'p Part>, reply: &mut dyn Reply) {
    reply.array(parts.len());
    for part in parts {
        if let Part::Bytes(bytes) = part {
            reply.written(bytes);
        }
    }
}

/// Runs one command of a transaction.
fn run(exec: &mut ServerCall<'_, '_>, transaction: &Transaction, queued: &Queued) -> Part {
    let words: Vec<&[u8]> = queued.words.iter().map(|place| &transaction.bytes[place.clone()]).collect();
    let mut bytes = Vec::new();
    let server = exec.server;
    let mut writer = Writer::new(&mut bytes, exec.client.protocol, &server.stats);
    server.acl.renew(exec.client);
    if let Err(error) = acl::admit_queued(server, exec.client, &queued.plan, &words) {
        writer.error_bytes(error.as_bytes());
        count_errors(server, &Plan { verdict: Verdict::Refused, ..queued.plan });
        return Part::Bytes(bytes);
    }
    let began = std::time::Instant::now();
    let after = call(server, exec.client, exec.lock, &queued.plan, &words, &mut writer);
    if writer.errors > 0 {
        count_errors(server, &queued.plan);
    }
    server.stats.commands_processed.fetch_add(1, Relaxed);
    if let Some(stats) = queued.plan.stats(&server.commands) {
        let nanos = began.elapsed().as_nanos() as u64;
        stats.ran(1, nanos, server.observe.tracking());
        if server.observe.is_notable(nanos) {
            server.observe.ran(&queued.plan, &words, &exec.client.info, nanos);
        }
    }
    match after {
        After::Await(pending) => Part::Pending(pending),
        // QUIT is never queued, and nothing else closes.
        After::Nothing | After::Close | After::Postpone(_) => Part::Bytes(bytes),
    }
}

/// Whether a command is DEBUG SLEEP.
fn is_sleep(exec: &ServerCall<'_, '_>, transaction: &Transaction, queued: &Queued) -> bool {
    let word = |at: usize| queued.words.get(at).map(|place| &transaction.bytes[place.clone()]);
    exec.server.commands.entry(queued.plan.entry).spec.name == "DEBUG"
        && word(1).is_some_and(|word| word.eq_ignore_ascii_case(b"sleep"))
}

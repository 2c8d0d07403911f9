//! Executes a batch of parsed commands: names looked up and keys hashed first, then one hold of the engine's lock for all.
//!
//! 1. What is kept between batches ([`Scratch`]) belongs to the runtime thread: no command costs an allocation.
//! 2. The lock is taken when the first command needs it, and held to the end of the batch.
//! 3. A batch ends early after a command that closes or awaits, and when its replies grow past `BATCH_LEN_MAX`; the caller comes again
//!    with the rest.

use crate::acl::{self, Gate};
use crate::blocking;
use crate::client::{Client, ReplyMode};
use crate::command::{After, Answer, EngineLock, Pending, ServerCall};
use crate::dispatch::{self, Plan, Verdict};
use crate::limits::{BATCH_LEN_MAX, WORDS_KEPT};
use crate::observe::command_log::Kind;
use crate::observe::meter::Meter;
use crate::observe::monitor;
use crate::pubsub;
use crate::resp::parser::{Batch, Request};
use crate::resp::writer::Writer;
use crate::server::Server;
use crate::session::pause::{self, Level};
use crate::session::transaction;
use crate::settings::Settings;
use crate::table::{Entry, Runner};
use crate::tracking;
use arrayvec::ArrayVec;
use firn_engine::command::{Args, Flags, Group, Reply};
use firn_engine::eviction::{OUT_OF_MEMORY, Room};
use firn_engine::key::{HashSeed, Key};
use firn_engine::keyspace::Keyspace;
use firn_engine::value::ahead::Wanted;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Memory that a runtime thread uses again for every batch.
#[derive(Default)]
pub(crate) struct Scratch {
    /// The parsed commands.
    pub(crate) batch: Batch,
    /// Their words. Empty between batches; only the allocation is kept.
    words: Vec<&'static [u8]>,
    /// What is to be run.
    plans: Vec<Plan>,
    /// Databases and positions of keys to fetch ahead.
    keys: Vec<(usize, u64)>,
    /// Runs of requests about members of one key's collection, to fetch ahead too.
    runs: Vec<Range<usize>>,
    /// Calls of this batch by command, and which commands have any.
    calls: Vec<u32>,
    called: Vec<usize>,
}

/// How a batch went.
pub(crate) struct Outcome {
    /// When it was done.
    pub(crate) ended: Instant,
    /// Where the last executed command ends in the buffer; all were executed if it is the last one's end.
    pub(crate) end: usize,
    /// What follows.
    pub(crate) next: Next,
}

/// What follows a batch.
pub(crate) enum Next {
    /// More commands.
    Continue,
    /// The connection is closed when its replies have left.
    Close,
    /// A reply is awaited.
    Await(Pending),
    /// The client gets its mail before more commands.
    Mail,
}

/// An empty vector of slices of another lifetime, in the same memory.
fn recycle<'a>(mut words: Vec<&[u8]>) -> Vec<&'a [u8]> {
    words.clear();
    words.into_iter().map(|_| -> &[u8] { unreachable!("the vector is empty") }).collect()
}

/// Executes `scratch.batch`, whose words are places in `buffer`; replies go to `out`.
pub(crate) fn execute(
    server: &Arc<Server>,
    settings: &Settings,
    client: &mut Client,
    buffer: &[u8],
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Outcome {
    let began = Instant::now();
    let mut words: Vec<&[u8]> = recycle(std::mem::take(&mut scratch.words));
    words.extend(scratch.batch.words.iter().map(|word| &buffer[word.start..word.start + word.len]));
    plan(server, client, &words, scratch);

    let requests = &scratch.batch.requests;
    let mut outcome =
        Outcome { ended: began, end: requests.last().map_or(0, |request| request.end), next: Next::Continue };
    let mut lock = EngineLock::new(server.store);
    let mut busy = server.scripting.is_busy();
    if !busy && scratch.keys.len() > 1 {
        busy = !lock.acquire(server.scripting.busy_flag());
        if !busy {
            lock.get().keyspace.prefetch(&scratch.keys);
            fetch_members(&lock.get().keyspace, client.session.db, &words, scratch);
        }
    }
    let listens = client.listens();
    if listens {
        // What has happened so far comes before the replies of this batch: see `net::mail`. While a script keeps the engine, nothing does.
        busy = busy || !lock.acquire(server.scripting.busy_flag());
        if client.info.runtime.has_mail() {
            scratch.words = recycle(words);
            return Outcome { ended: began, end: 0, next: Next::Mail };
        }
    }
    let mut writer = Writer::new(out, client.protocol, &server.stats);
    let out_end_max = writer.out.len() + BATCH_LEN_MAX;
    let bounds = server.observe.bounds();
    let mut meter = Meter::new(requests.len(), bounds.exact);
    let mut request_start = 0;
    let mut executed = 0;
    for (request, plan) in requests.iter().zip(&mut scratch.plans) {
        let words = &words[request.first..request.first + request.count];
        executed += 1;
        let start = writer.out.len();
        let mode = client.reply_mode;
        let errors = writer.errors;
        busy = busy || needs_engine(server, plan) && !lock.acquire(server.scripting.busy_flag());
        meter.begin(server.commands.entry(plan.entry));
        let after = if busy && plan.verdict == Verdict::Run && !runs_while_busy(server, plan, words) {
            refuse_busy(server, client, plan, &mut writer)
        } else {
            run(server, settings, client, &mut lock, plan, words, &mut writer)
        };
        if let After::Postpone(pending) = after {
            // It has not begun, and is looked at again.
            executed -= 1;
            outcome.end = request_start;
            outcome.next = Next::Await(pending);
            break;
        }
        meter.end(plan);
        if writer.errors != errors {
            count_errors(server, plan);
        }
        if let Runner::Server(_) = server.commands.entry(plan.entry).runner {
            writer.protocol = client.protocol;
            server.acl.renew(client);
        }
        // The mode under which a reply is awaited is looked at when it comes.
        let awaits = matches!(after, After::Await(_));
        // Confirmations of subscriptions are pushed whatever CLIENT REPLY says.
        let start = if plan.flags.has(PUSHES) { writer.out.len() } else { start };
        if !awaits && (client.reply_mode != ReplyMode::On || mode != ReplyMode::On) {
            apply_reply_mode(client, mode, &mut writer, start);
        }
        let (request_len, reply_len) = (request.end - request_start, writer.out.len() - start);
        request_start = request.end;
        if request_len >= bounds.request_len {
            server.observe.was_large(Kind::LargeRequest, plan, words, &client.info, request_len);
        }
        if reply_len >= bounds.reply_len {
            server.observe.was_large(Kind::LargeReply, plan, words, &client.info, reply_len);
        }
        match after {
            After::Nothing => {}
            After::Close => outcome.next = Next::Close,
            After::Await(pending) | After::Postpone(pending) => outcome.next = Next::Await(pending),
        }
        if client.tracking.is_some() {
            tracking::after_command(client, server.commands.entry(plan.entry).spec);
        }
        if (listens || client.listens()) && lock.held().is_some_and(|engine| pubsub::has_mail_for(engine, &client.info))
        {
            outcome.next = match outcome.next {
                Next::Continue => Next::Mail,
                other => other,
            };
        }
        if !matches!(outcome.next, Next::Continue) {
            outcome.end = request.end;
            break;
        }
        if writer.out.len() >= out_end_max {
            outcome.end = request.end;
            break;
        }
    }
    drop(lock);

    let queued = client.transaction.as_ref().map_or(-1, |transaction| transaction.len() as i32);
    client.info.queued.store(queued, Ordering::Relaxed);
    client.info.queued_bytes.store(client.transaction.as_ref().map_or(0, |queue| queue.room()), Ordering::Relaxed);
    client.info.watched.store(client.watching.as_ref().map_or(0, |keys| keys.len() as u32), Ordering::Relaxed);
    let plans = &scratch.plans[..executed];
    outcome.ended = Instant::now();
    let (share, longest) = meter.share(executed, (outcome.ended - began).as_nanos() as u64);
    if server.observe.is_notable(longest) {
        note_slow(server, client, plans, requests, &words, share);
    }
    count_calls(server, plans, share, &mut scratch.calls, &mut scratch.called);
    if let Some(last) = plans.last() {
        client.info.ran(executed as u64, last.command_number(), client.session.db);
    }
    if words.capacity() <= WORDS_KEPT {
        scratch.words = recycle(words);
    }
    outcome
}

/// Whether a command is to have the engine's lock before it runs: then it is not waited for while a script keeps it. One network thread
/// needs that only for commands that take the lock anyway, as no other thread runs scripts.
#[inline]
fn needs_engine(server: &Server, plan: &Plan) -> bool {
    if plan.verdict != Verdict::Run {
        return false;
    }
    let entry = server.commands.entry(plan.entry);
    entry.is_data()
        || server.runtimes.get().is_some_and(|runtimes| runtimes.len() > 1)
            && match entry.spec.name {
                "RESET" | "WATCH" => true,
                _ if plan.flags.has(Flags::ALLOW_BUSY) => false,
                name => name == "CLIENT" || entry.spec.group != Group::Connection,
            }
}

/// Whether a command runs although a script is suspended: then it does without the engine.
#[cold]
fn runs_while_busy(server: &Server, plan: &Plan, words: &[&[u8]]) -> bool {
    match server.commands.entry(plan.entry).spec.name {
        // They look at the engine.
        "RESET" | "WATCH" => false,
        "SHUTDOWN" => words.iter().any(|word| word.eq_ignore_ascii_case(b"NOSAVE")),
        _ => plan.flags.has(Flags::ALLOW_BUSY),
    }
}

/// Answers a command that cannot run while a script is suspended.
#[cold]
fn refuse_busy(server: &Server, client: &mut Client, plan: &mut Plan, writer: &mut Writer<'_>) -> After {
    let error = server.scripting.busy_error();
    plan.verdict = Verdict::Refused;
    if server.commands.entry(plan.entry).spec.name == "EXEC" && client.transaction.take().is_some() {
        client.watching = None;
        writer.error(&format!("EXECABORT Transaction discarded because of: {error}"));
        return After::Nothing;
    }
    transaction::spoil(client);
    writer.error(error);
    After::Nothing
}

/// Looks all names up and hashes all first keys, before the lock is taken.
fn plan(server: &Server, client: &Client, words: &[&[u8]], scratch: &mut Scratch) {
    let seed: HashSeed = server.seed;
    scratch.plans.clear();
    scratch.keys.clear();
    scratch.runs.clear();
    let mut last = 0;
    for (at, request) in scratch.batch.requests.iter().enumerate() {
        let plan = dispatch::plan(&server.commands, &words[request.first..request.first + request.count], &seed);
        if plan.key != 0 {
            scratch.keys.push((client.session.db, plan.position));
        }
        if plan.flags.0 & (Flags::MEMBERS.0 | Flags::SCORED.0) == 0 || plan.key == 0 {
            last = 0;
        } else if plan.position == last
            && let Some(run) = scratch.runs.last_mut()
        {
            run.end = at + 1;
        } else {
            scratch.runs.push(at..at + 1);
            last = plan.position;
        }
        scratch.plans.push(plan);
    }
    // One command alone for a key gains nothing: its only misses would just come earlier.
    scratch.runs.retain(|run| run.len() > 1);
}

/// Members fetched ahead for one key at most: more would push each other out of the nearest cache.
const MEMBERS_AHEAD: usize = 128;

/// Fetches the chunks of large collections that runs of commands will touch.
fn fetch_members(keyspace: &Keyspace, db: usize, words: &[&[u8]], scratch: &Scratch) {
    for run in &scratch.runs {
        let mut members = ArrayVec::<Wanted<'_>, MEMBERS_AHEAD>::new();
        let (requests, plans) = (&scratch.batch.requests[run.clone()], &scratch.plans[run.clone()]);
        for (request, plan) in requests.iter().zip(plans) {
            let words = &words[request.first..request.first + request.count];
            let scored = plan.flags.has(Flags::SCORED);
            let (first, step) = if scored { (3, 2) } else { (2, 1 + usize::from(plan.flags.has(Flags::PAIRS))) };
            let wanted = (first..words.len())
                .step_by(step)
                .map(|at| Wanted { member: words[at], score: scored.then(|| words[at - 1]) });
            members.extend(wanted.take(members.remaining_capacity()));
        }
        let plan = &plans[0];
        let key = words[requests[0].first + plan.key];
        keyspace.prefetch_members(db, Key { bytes: key, position: plan.position }, &members);
    }
}

/// Runs one command.
#[inline]
fn run(
    server: &Arc<Server>,
    settings: &Settings,
    client: &mut Client,
    lock: &mut EngineLock,
    plan: &mut Plan,
    words: &[&[u8]],
    writer: &mut Writer<'_>,
) -> After {
    if plan.verdict != Verdict::Run {
        if plan.verdict == Verdict::Arity && server.commands.entry(plan.entry).spec.name == "EXEC" {
            transaction::abort(client, "wrong number of arguments for 'exec' command", writer);
            return After::Nothing;
        }
        transaction::spoil(client);
        return dispatch::refuse(&server.commands, plan, words, writer);
    }
    let flags = plan.flags;
    if client.gate != Gate::Open
        && let Err(error) = acl::admit(server, client, plan, words)
    {
        plan.verdict = Verdict::Refused;
        transaction::spoil(client);
        writer.error_bytes(error.as_bytes());
        return After::Nothing;
    }
    if settings.maxmemory > 0 {
        let refused = is_out_of_memory(server, client, lock, plan, words);
        if client.listens() && lock.held().is_some_and(|engine| pubsub::has_mail_for(engine, &client.info)) {
            // It hears that a key was evicted before it hears of what came after.
            return After::Postpone(Box::pin(std::future::ready(Answer::Retry)));
        }
        if refused {
            plan.verdict = Verdict::Refused;
            transaction::spoil(client);
            writer.error(OUT_OF_MEMORY);
            return After::Nothing;
        }
    }
    if !client.subscriptions.is_empty() && client.protocol == 2 && refuse_listener(server, client, plan, writer) {
        return After::Nothing;
    }
    if server.pause.level() != Level::None
        && let Some(pending) = pause::postpone(server, client, lock, plan, words)
    {
        return After::Postpone(pending);
    }
    if client.transaction.is_some() && !flags.has(Flags::UNQUEUED) {
        transaction::queue(server, client, plan, words, writer);
        return After::Nothing;
    }
    call(server, client, lock, plan, words, writer)
}

/// Flags of the commands whose replies are pushes: SUBSCRIBE and its like.
const PUSHES: Flags = Flags::PUBSUB.and(Flags::NOSCRIPT);

/// What a RESP2 client that listens may run.
const WHILE_LISTENING: [&str; 9] =
    ["PING", "SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE", "SSUBSCRIBE", "SUNSUBSCRIBE", "QUIT", "RESET"];

/// Refuses what a RESP2 client cannot run while it listens: it could not tell the reply from messages. Says whether it did.
#[cold]
fn refuse_listener(server: &Server, client: &mut Client, plan: &mut Plan, writer: &mut Writer<'_>) -> bool {
    let spec = server.commands.entry(plan.entry).spec;
    if WHILE_LISTENING.contains(&spec.name) {
        return false;
    }
    plan.verdict = Verdict::Refused;
    let name = plan.full_name(&server.commands);
    let why = format!(
        "Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
    );
    if spec.name == "EXEC" {
        transaction::abort(client, &why, writer);
    } else {
        transaction::spoil(client);
        writer.error(&format!("ERR {why}"));
    }
    true
}

/// Makes room by eviction; whether there is none for a command that may need some. Queueing any command takes memory as well. Others
/// have keys evicted too: it may be clients' buffers that have grown.
fn is_out_of_memory(server: &Server, client: &Client, lock: &mut EngineLock, plan: &Plan, words: &[&[u8]]) -> bool {
    let queues = client.transaction.is_some() && !plan.flags.has(Flags::UNQUEUED);
    if !plan.flags.has(Flags::DENYOOM) && !queues {
        let entry = server.commands.entry(plan.entry);
        if (entry.is_data() || entry.spec.group == Group::Server) && lock.acquire(server.scripting.busy_flag()) {
            server.make_room(lock.get(), 0);
        }
        return false;
    }
    let incoming = words.iter().map(|word| word.len()).sum();
    server.make_room(lock.get(), incoming) == Room::OutOfMemory
}

/// Calls a command that may run, and shows it to who watches.
#[inline]
pub(crate) fn call(
    server: &Arc<Server>,
    client: &mut Client,
    lock: &mut EngineLock,
    plan: &Plan,
    words: &[&[u8]],
    writer: &mut Writer<'_>,
) -> After {
    let shown = !plan.flags.has(Flags::SKIP_MONITOR) && !plan.flags.has(Flags::ADMIN);
    // While a script keeps the engine, nothing can be sent, and it is not waited for.
    let busy = server.scripting.busy_flag();
    if !server.monitors.any() || !shown || server.scripting.is_busy() {
        return call_unseen(server, client, lock, plan, words, writer);
    }
    // What a script runs is shown behind it; every other command when it has run, EXEC behind what it runs.
    let first = server.commands.entry(plan.entry).spec.group == Group::Scripting;
    let source = monitor::source(&client.info);
    if first && lock.acquire(busy) {
        server.monitors.show(lock, client.session.db, &source, words);
    }
    let after = call_unseen(server, client, lock, plan, words, writer);
    if !first && !server.scripting.is_busy() && lock.acquire(busy) {
        server.monitors.show(lock, client.session.db, &source, words);
    }
    after
}

#[inline]
fn call_unseen(
    server: &Arc<Server>,
    client: &mut Client,
    lock: &mut EngineLock,
    plan: &Plan,
    words: &[&[u8]],
    writer: &mut Writer<'_>,
) -> After {
    let entry: &Entry = server.commands.entry(plan.entry);
    let args = Args::with_position(words, plan.key, plan.position);
    match entry.runner {
        Runner::Data(command) => {
            let engine = lock.get();
            engine.execute(&mut client.session, command, &args, writer);
            if client.tracking.is_some() {
                tracking::remember(engine, client, entry.spec, plan.flags, words);
            }
            if plan.flags.has(Flags::BLOCKING) {
                return blocking::park(server, client, engine, command, words);
            }
            After::Nothing
        }
        Runner::Server(command) => {
            client.info.ran(0, plan.command_number(), client.session.db); // CLIENT INFO shows itself.
            let mut call = ServerCall { server, client, lock };
            (command.run)(&mut call, &args, writer).unwrap_or_else(|error| {
                writer.error(&error.to_string());
                After::Nothing
            })
        }
    }
}

/// CLIENT REPLY: takes back what the command wrote from `start` on, if nobody wants it. `before` is the mode it ran under.
fn apply_reply_mode(client: &mut Client, before: ReplyMode, writer: &mut Writer<'_>, start: usize) {
    match client.reply_mode {
        ReplyMode::On => {}
        ReplyMode::Off => writer.out.truncate(start),
        ReplyMode::SkipNext => {
            writer.out.truncate(start);
            client.reply_mode = ReplyMode::SkipThis;
        }
        ReplyMode::SkipThis => {
            debug_assert_eq!(before, ReplyMode::SkipThis, "only the command after CLIENT REPLY SKIP is skipped");
            writer.out.truncate(start);
            client.reply_mode = ReplyMode::On;
        }
    }
}

pub(crate) fn count_errors(server: &Server, plan: &Plan) {
    let Some(stats) = plan.stats(&server.commands) else { return };
    let counter = if plan.verdict == Verdict::Run { &stats.failed } else { &stats.rejected };
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Tells the slow log and the latency monitor of a batch in which somebody took long.
#[cold]
fn note_slow(server: &Server, client: &mut Client, plans: &[Plan], requests: &[Request], words: &[&[u8]], share: u64) {
    for (plan, request) in plans.iter().zip(requests) {
        let nanos = if plan.nanos > 0 { plan.nanos } else { share };
        let words = &words[request.first..request.first + request.count];
        if client.info.blocked.lock().is_some()
            && plan.flags.has(Flags::BLOCKING)
            && std::ptr::eq(plan, &plans[plans.len() - 1])
        {
            client.parked = server.observe.park(words, nanos);
            continue;
        }
        server.observe.ran(plan, words, &client.info, nanos);
    }
}

/// Adds a batch to the counters. `share` is the time of a command that was not measured by itself.
fn count_calls(server: &Server, plans: &[Plan], share: u64, calls: &mut Vec<u32>, called: &mut Vec<usize>) {
    let tracking = server.observe.tracking();
    let ran = plans.iter().filter(|plan| plan.verdict == Verdict::Run).count() as u64;
    server.stats.commands_processed.fetch_add(ran, Ordering::Relaxed);
    calls.resize(server.commands.entries().len(), 0);
    for plan in plans.iter().filter(|plan| plan.verdict == Verdict::Run) {
        if plan.nanos > 0 || plan.subcommand.is_some() || plans.len() == 1 {
            let nanos = if plan.nanos > 0 { plan.nanos } else { share };
            if let Some(stats) = plan.stats(&server.commands) {
                stats.ran(1, nanos, tracking);
            }
            continue;
        }
        if calls[plan.entry] == 0 {
            called.push(plan.entry);
        }
        calls[plan.entry] += 1;
    }
    for at in called.drain(..) {
        let count = u64::from(std::mem::take(&mut calls[at]));
        server.commands.entry(at).stats.ran(count, share, tracking);
    }
}

/// Whether the batch's last request was executed.
pub(crate) fn is_complete(requests: &[Request], outcome: &Outcome) -> bool {
    matches!(outcome.next, Next::Continue) && requests.last().is_none_or(|last| last.end == outcome.end)
}

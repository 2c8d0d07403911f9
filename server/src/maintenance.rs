//! What the server does by the clock: samples of rates, the memory limit.

use crate::log;
use crate::pubsub::hub::Hub;
use crate::server::Server;
use firn_engine::engine::Engine;
use firn_engine::log::LogState;
use std::sync::atomic::Ordering;

/// Called `hz` times a second, by one thread.
pub(crate) fn tick(server: &Server, now_ms: u64) {
    server.stats.sample(now_ms);
    note_status(server);
    measure_memory(server);
    server.tls.look_again(&server.config.lock(), now_ms);
    if server.observe.delay_ms().is_some() {
        let always = server.config.lock().choice("appendfsync") == "always";
        if server.has_engine() {
            server.observe.look_at_log(server.store, always);
        }
    }
    tell_of_the_log(server);
}

/// Keeps the store's status for scripts that ask. Nothing is waited for: a script may have the engine for long, and whoever waits for it with the
/// log's lock keeps all others from theirs.
pub(crate) fn note_status(server: &Server) {
    if let Some(status) = server.store.try_status() {
        *server.seen_status.lock() = Some(status);
    }
}

/// The log's troubles, and their end, in the server's own log.
fn tell_of_the_log(server: &Server) {
    let accepts = server.store.accepts();
    if server.log_accepts.swap(accepts as u8, Ordering::Relaxed) == accepts as u8 {
        return;
    }
    match server.store.status().log_state {
        LogState::Running => log::notice(format_args!("The log is written again: writes are accepted")),
        LogState::Full { why, .. } => log::warning(format_args!(
            "The disk is full ({why}): writes that need room are refused, deletions go on; the log is compacted, and writes resume by \
             themselves when there is room"
        )),
        LogState::Failed { why, .. } => {
            log::warning(format_args!(
                "The log cannot be written ({why}): writes are refused; it is tried again by itself"
            ));
        }
    }
}

/// What is in use beyond what is counted as it changes: tables, sessions, the allocator's own caches; and what does not count.
pub(crate) fn measure_memory(server: &Server) {
    if !server.has_engine() {
        return;
    }
    let Some(mut engine) = server.lock_unless_busy() else { return };
    measure(server, &engine);
    let (used, _) = server.used_bytes(&mut engine);
    server.memory.peak.fetch_max(used, Ordering::Relaxed);
}

/// The same for whoever holds the engine's lock: no number is of another moment than the others.
pub(crate) fn measure(server: &Server, engine: &Engine) {
    server.clients.recount_rooms();
    server.memory.measured_ms.store(server.clock_ms(), Ordering::Relaxed);
    if let Some((other, uncounted)) = measured(server, engine) {
        server.memory.other.store(other, Ordering::Relaxed);
        server.memory.uncounted.store(uncounted, Ordering::Relaxed);
    }
}

/// Looks for what has been freed since, for the sake of keys that are to be evicted. What is more than it was may be what other threads are
/// just moving, and counts when it is still there at the next tick.
pub(crate) fn look_for_less(server: &Server, engine: &Engine) {
    let began_us = server.clock_us();
    if let Some((other, _)) = measured(server, engine) {
        server.memory.other.fetch_min(other, Ordering::Relaxed);
    }
    let now_us = server.clock_us();
    // A cache that is always full has it measured again and again: that takes no more than a small share of the time.
    let pause_us = (MEASURING_SHARE * (now_us - began_us)).clamp(1000, 100_000);
    server.memory.again_us.store(now_us + pause_us, Ordering::Relaxed);
}

/// Measuring takes one part of so many of the time at most, ticks aside.
const MEASURING_SHARE: u64 = 100;

/// What counts besides data and clients' buffers, and what does not count. What is known is looked at before and after what is allocated, and
/// the larger is right: what other threads send and free in between would else be taken for something else, and keys evicted for it.
fn measured(server: &Server, engine: &Engine) -> Option<(u64, u64)> {
    let (before, _) = known(server, engine);
    let allocated = crate::allocator::allocated_bytes()?;
    let (after, uncounted) = known(server, engine);
    Some((allocated.saturating_sub(before.max(after)), uncounted))
}

/// What is counted as it changes, and how much of it does not count against the limit.
fn known(server: &Server, engine: &Engine) -> (u64, u64) {
    // Keys that are evicted make more of the mail, where clients cache them. What is kept for later is as good as free.
    let (mut mail, mut spare) = Hub::look(engine).map_or((0, 0), Hub::mail_rooms);
    for runtime in server.runtimes.get().into_iter().flatten() {
        mail += runtime.mail_room();
        spare += runtime.spare_room();
    }
    let uncounted = server.store.buffered_bytes(engine) + mail as u64;
    let counted = engine.keyspace.used_bytes() + engine.dead_bytes() + server.clients.rooms() as u64;
    (counted + uncounted + spare as u64, uncounted)
}

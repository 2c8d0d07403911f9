//! The store's four threads: thin loops around the steps that tests call one by one.

use super::Shared;
use super::maintenance::{EXPIRE_SHARE, EXPIRE_SLICE, EXPIRE_SLICE_MAX};
use crate::log::SyncPolicy;
use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// The maintenance thread looks around so often.
const TICK: Duration = Duration::from_millis(100);
/// The log thread sleeps no longer than this.
const LOG_SLEEP_MAX_MS: u64 = 1000;

/// How much the snapshot's thread stands back: a third of the share of one that serves.
#[cfg(target_os = "linux")]
const SNAPSHOT_NICENESS: i32 = 5;

/// Starts them.
pub(super) fn spawn(shared: &Arc<Shared>) -> io::Result<Vec<JoinHandle<()>>> {
    let start = |name: &str, body: fn(&Shared)| {
        let shared = Arc::clone(shared);
        Builder::new().name(name.to_owned()).spawn(move || body(&shared))
    };
    Ok(vec![
        start("firn-log", log_loop)?,
        start("firn-snapshot", snapshot_loop)?,
        start("firn-upkeep", maintenance_loop)?,
        start("firn-free", free_loop)?,
    ])
}

/// Writes (under `always`), flushes, rescues.
fn log_loop(shared: &Shared) {
    while !shared.stopping() {
        if shared.log_round() {
            continue;
        }
        let due = shared.log.lock().as_ref().and_then(|log| log.next_due());
        let now = shared.clock.monotonic_ms();
        let sleep = due.map_or(LOG_SLEEP_MAX_MS, |at| at.saturating_sub(now).clamp(1, LOG_SLEEP_MAX_MS));
        // Under `everysec` writers do not wake this thread; a second is its rhythm.
        let sleep = if shared.policy() == SyncPolicy::EverySecond { sleep.min(250) } else { sleep };
        let mut work = shared.log_work.0.lock();
        if !*work && !shared.stopping() {
            shared.log_work.1.wait_for(&mut work, Duration::from_millis(sleep));
        }
        *work = false;
    }
}

/// Makes the snapshots that are asked for.
///
/// Where it shares a core with those who serve clients, they go first. It cannot starve: writers that are too far ahead of it wait
/// (`snapshot::writer::Pace`).
fn snapshot_loop(shared: &Shared) {
    // On Linux that is this thread's alone. Without the right to do so all goes on as before.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, SNAPSHOT_NICENESS);
    while !shared.stopping() {
        if shared.snapshot_step() {
            continue;
        }
        let mut work = shared.snapshot_work.0.lock();
        if !*work && !shared.stopping() {
            shared.snapshot_work.1.wait(&mut work);
        }
        *work = false;
    }
}

/// Frees what is large and dead.
fn free_loop(shared: &Shared) {
    while !shared.stopping() {
        if shared.free_round() {
            continue;
        }
        let mut work = shared.dead_work.0.lock();
        if !*work && !shared.stopping() {
            shared.dead_work.1.wait(&mut work);
        }
        *work = false;
    }
}

/// Expires, evicts, prepares segments, decides about snapshots.
fn maintenance_loop(shared: &Shared) {
    let mut slice = EXPIRE_SLICE;
    while !shared.stopping() {
        let began = Instant::now();
        let budget = TICK * EXPIRE_SHARE as u32 / 100;
        let mut behind = shared.expire_round(slice);
        while behind && began.elapsed() < budget && !shared.stopping() {
            // Between two holds of the engine's lock others get their turn, which may take long on a busy machine.
            std::thread::yield_now();
            behind = shared.expire_round(slice);
        }
        slice = if behind { (slice * 2).min(EXPIRE_SLICE_MAX) } else { EXPIRE_SLICE };
        while shared.evict_round() && !shared.stopping() {
            std::thread::yield_now();
        }
        while shared.count_round() && began.elapsed() < TICK && !shared.stopping() {
            std::thread::yield_now();
        }
        shared.schedule_round();
        while shared.prepare_round() && began.elapsed() < TICK && !shared.stopping() {}
        std::thread::sleep(TICK.saturating_sub(began.elapsed()));
    }
}

//! What the server does by the clock: samples of rates, the memory limit.

use crate::server::Server;
use crate::settings::Settings;
use std::sync::atomic::Ordering;

/// Called `hz` times a second, by one thread.
pub(crate) fn tick(server: &Server, settings: &Settings, now_ms: u64) {
    server.stats.sample(now_ms);
    let full =
        settings.maxmemory > 0 && crate::allocator::allocated_bytes().is_some_and(|bytes| bytes > settings.maxmemory);
    server.out_of_memory.store(full, Ordering::Relaxed);
}

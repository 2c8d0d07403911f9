//! What the server does by the clock: samples of rates, the memory limit.

use crate::server::Server;
use std::sync::atomic::Ordering;

/// Called `hz` times a second, by one thread.
pub(crate) fn tick(server: &Server, now_ms: u64) {
    server.stats.sample(now_ms);
    measure_memory(server);
    if server.observe.delay_ms().is_some() {
        let always = server.config.lock().choice("appendfsync") == "always";
        server.observe.look_at_log(&server.store, always);
    }
}

/// What is in use beyond the keyspace: buffers, tables, the log's records.
fn measure_memory(server: &Server) {
    let Some(allocated) = crate::allocator::allocated_bytes() else { return };
    let keyspace = server.store.lock().keyspace.used_bytes();
    server.other_bytes.store(allocated.saturating_sub(keyspace), Ordering::Relaxed);
}

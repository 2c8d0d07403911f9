//! Memory of clients: what each takes, what all take, and who is closed when that is more than `maxmemory-clients`.
//!
//! 1. A connection tells its memory when that changes ([`account`]); the sum of what is told is exact at every moment.
//! 2. Who takes most is closed first. Clients with CLIENT NO-EVICT stay.
//! 3. A client that is about to be closed counts no more, and is not counted again.

use crate::client::ClientInfo;
use crate::log;
use crate::net::runtime::Message;
use crate::server::Server;
use std::sync::atomic::Ordering::{self, Relaxed};

impl ClientInfo {
    /// Memory that the client takes, in bytes: its state, its buffers, what it has queued, watches and listens to.
    pub(crate) fn memory(&self) -> usize {
        /// A watched key or a name that is listened to, beyond its own bytes.
        const NAME_BYTES: usize = 96;
        let names = self.watched.load(Relaxed)
            + self.channels.load(Relaxed)
            + self.patterns.load(Relaxed)
            + self.shard_channels.load(Relaxed);
        size_of::<ClientInfo>()
            + self.query_len.load(Relaxed)
            + self.query_free.load(Relaxed).max(self.query_awaited.load(Relaxed))
            + self.argv_bytes.load(Relaxed)
            + self.output_room.load(Relaxed)
            + self.prefix_bytes.load(Relaxed)
            + self.queued_bytes.load(Relaxed)
            + names as usize * NAME_BYTES
    }
}

/// Tells how much memory a client takes now, and closes clients if all take more than `limit`. For the client's own thread.
pub(crate) fn account(server: &Server, info: &ClientInfo, limit: impl FnOnce() -> u64) {
    let memory = info.memory();
    let told = info.told_memory.load(Relaxed);
    if memory == told || info.closing.load(Relaxed) {
        return;
    }
    // Another thread may take the client out of the sum at the same moment: then nothing is added.
    if info.told_memory.compare_exchange(told, memory, Ordering::AcqRel, Relaxed).is_err() {
        return;
    }
    let total = &server.clients.memory;
    if memory >= told {
        total.fetch_add((memory - told) as u64, Relaxed);
    } else {
        total.fetch_sub((told - memory) as u64, Relaxed);
    }
    let limit = limit();
    if limit > 0 && total.load(Relaxed) > limit {
        evict(server, limit);
    }
}

/// Takes a client that is closed out of the sum.
pub(crate) fn forget(server: &Server, info: &ClientInfo) {
    let told = info.told_memory.swap(0, Ordering::AcqRel);
    server.clients.memory.fetch_sub(told as u64, Relaxed);
}

/// Closes the clients that take most, until all others take no more than `limit` bytes.
#[cold]
pub(crate) fn evict(server: &Server, limit: u64) {
    let mut candidates: Vec<_> = server.clients.all();
    candidates.retain(|info| !info.no_evict.load(Relaxed) && !info.closing.load(Relaxed));
    // The sizes change meanwhile; they are looked at once.
    let mut candidates: Vec<_> = candidates.into_iter().map(|info| (info.told_memory.load(Relaxed), info)).collect();
    candidates.sort_by_key(|(memory, _)| std::cmp::Reverse(*memory));
    for (memory, info) in candidates {
        if server.clients.memory.load(Relaxed) <= limit {
            return;
        }
        if info.closing.swap(true, Relaxed) {
            continue;
        }
        forget(server, &info);
        server.stats.evicted_clients.fetch_add(1, Relaxed);
        log::notice(format_args!(
            "Evicting client: id={} addr={} tot-mem={memory}: all clients together took more than maxmemory-clients.",
            info.id, info.addr
        ));
        info.runtime.send(Message::Kill(info.id));
    }
}

//! What all threads of the server share.

use crate::client::Clients;
use crate::config::Config;
use crate::net::listener::Rebind;
use crate::net::runtime::RuntimeHandle;
use crate::settings::Published;
use crate::stats::Stats;
use crate::table::Table;
use firn_engine::key::HashSeed;
use firn_engine::store::Store;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// The server: one per process.
pub(crate) struct Server {
    /// All data.
    pub(crate) store: Arc<Store>,
    /// The seed of all positions.
    pub(crate) seed: HashSeed,
    /// All directives, as CONFIG sees them.
    pub(crate) config: Mutex<Config>,
    /// Those that connections look at.
    pub(crate) settings: Published,
    /// Every command.
    pub(crate) commands: Table,
    /// Every connection.
    pub(crate) clients: Clients,
    /// Counters.
    pub(crate) stats: Stats,
    /// The runtimes that serve connections, once they run.
    pub(crate) runtimes: OnceLock<Box<[Arc<RuntimeHandle>]>>,
    /// Listeners on their way to the acceptor.
    pub(crate) rebind: Rebind,
    /// 40 random hexadecimal digits: INFO's `run_id`.
    pub(crate) run_id: String,
    /// This program.
    pub(crate) executable: PathBuf,
    /// Where [`Server::clock_ms`] begins.
    pub(crate) started: Instant,
    /// Unix time of the start, in seconds.
    pub(crate) started_unix_s: u64,
    /// Set when memory in use is above `maxmemory`: commands that need memory are refused. Updated by the maintenance tick.
    pub(crate) out_of_memory: AtomicBool,
}

impl Server {
    /// Monotonic time since the start, in ms.
    #[inline]
    pub(crate) fn clock_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

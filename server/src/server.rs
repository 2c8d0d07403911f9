//! What all threads of the server share.

use crate::acl::Acl;
use crate::admin::migrate::Connections;
use crate::client::Clients;
use crate::command;
use crate::config::Config;
use crate::maintenance;
use crate::net::listener::Rebind;
use crate::net::runtime::RuntimeHandle;
use crate::net::tls::Tls;
use crate::observe::Observe;
use crate::observe::monitor::Monitors;
use crate::oom_score::OomScore;
use crate::scripting::Scripting;
use crate::session::pause::Pause;
use crate::settings::Published;
use crate::stats::Stats;
use crate::table::Table;
use firn_engine::engine::Engine;
use firn_engine::eviction::{Meter, Room};
use firn_engine::key::HashSeed;
use firn_engine::store::{EngineGuard, Status, Store};
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Memory, as of the last maintenance tick, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// What counts against the limit besides data and clients' buffers.
    pub(crate) other: AtomicU64,
    /// What does not count: buffers of the log and of snapshots, and messages on their way to clients' buffers.
    pub(crate) uncounted: AtomicU64,
    /// The most that was ever in use.
    pub(crate) peak: AtomicU64,
    /// When `other` was measured, in ms of [`Server::clock_ms`].
    pub(crate) measured_ms: AtomicU64,
    /// From when on it is looked again, before keys are evicted, for what has been freed; in microseconds since the start.
    pub(crate) again_us: AtomicU64,
}

/// The server: one per process.
pub(crate) struct Server {
    /// All data. There is one store per process, until its end: guards of its lock borrow nothing.
    pub(crate) store: &'static Arc<Store>,
    /// The seed of all positions.
    pub(crate) seed: HashSeed,
    /// All directives, as CONFIG sees them.
    pub(crate) config: Mutex<Config>,
    /// Those that connections look at.
    pub(crate) settings: Published,
    /// Every command.
    pub(crate) commands: Table,
    /// Every user.
    pub(crate) acl: Acl,
    /// CLIENT PAUSE.
    pub(crate) pause: Pause,
    /// How soon the kernel ends the process when memory is short.
    pub(crate) oom_score: OomScore,
    /// Every connection.
    pub(crate) clients: Clients,
    /// Counters.
    pub(crate) stats: Stats,
    /// Times, slow commands, delays.
    pub(crate) observe: Observe,
    /// Who watches all commands.
    pub(crate) monitors: Monitors,
    /// The runtimes that serve connections, once they run.
    pub(crate) runtimes: OnceLock<Box<[Arc<RuntimeHandle>]>>,
    /// What new connections with TLS use.
    pub(crate) tls: Tls,
    /// Listeners on their way to the acceptor.
    pub(crate) rebind: Rebind,
    /// MIGRATE's connections to other servers.
    pub(crate) migrating: Connections,
    /// 40 random hexadecimal digits: INFO's `run_id`.
    pub(crate) run_id: String,
    /// This program.
    pub(crate) executable: PathBuf,
    /// The configuration file; empty without one.
    pub(crate) config_file: PathBuf,
    /// Where the store lies.
    pub(crate) store_folder: PathBuf,
    /// The store's status as of the last maintenance tick, for those who cannot let the engine go to ask.
    pub(crate) seen_status: Mutex<Option<Status>>,
    /// Where [`Server::clock_ms`] begins.
    pub(crate) started: Instant,
    /// Scripts.
    pub(crate) scripting: &'static Scripting,
    /// Which writes the log took when it was last looked at (`Accepts`).
    pub(crate) log_accepts: AtomicU8,
    /// DEBUG PAUSE-CRON: nothing is looked after by the clock.
    pub(crate) paused_ticks: AtomicBool,
    /// What of memory is known since the last maintenance tick only.
    pub(crate) memory: Measured,
}

impl Server {
    /// Makes room for a command that brings `incoming` bytes: see [`Engine::make_room`]. No key goes, and no command is refused, for what
    /// was true at the last tick.
    pub(crate) fn make_room(&self, engine: &mut Engine, incoming: usize) -> Room {
        engine.memory.beside = self.bytes_beside();
        let room = engine.make_room(incoming);
        if room == Room::Enough || self.memory.measured_ms.load(Ordering::Relaxed) == self.clock_ms() {
            return room;
        }
        maintenance::measure(self, engine);
        engine.memory.beside = self.bytes_beside();
        engine.make_room(incoming)
    }

    /// Has the engine ask before it evicts how much is in use besides its own: what was measured at the last tick may have been freed.
    pub(crate) fn give_meter(self: &Arc<Self>) {
        let server = Arc::downgrade(self);
        let meter = move |engine: &Engine| {
            let Some(server) = server.upgrade() else { return engine.memory.beside };
            if server.clock_us() >= server.memory.again_us.load(Ordering::Relaxed) {
                maintenance::look_for_less(&server, engine);
            }
            server.bytes_beside()
        };
        self.store.lock().memory.meter = Meter::new(meter);
    }

    /// Memory that counts against the limit besides the engine's: clients' buffers now, and the rest as of the last tick.
    fn bytes_beside(&self) -> u64 {
        self.clients.rooms() as u64 + self.memory.other.load(Ordering::Relaxed)
    }

    /// Memory in use, and how much of it does not count against the limit.
    pub(crate) fn used_bytes(&self, engine: &mut Engine) -> (u64, u64) {
        engine.memory.beside = self.bytes_beside();
        let uncounted = self.memory.uncounted.load(Ordering::Relaxed);
        (engine.limited_bytes() + uncounted, uncounted)
    }

    /// The engine, unless a script keeps it for long, perhaps for ever: a thread that serves clients does not wait for that.
    pub(crate) fn lock_unless_busy(&self) -> Option<EngineGuard<'static>> {
        command::lock_unless(self.store, self.scripting.busy_flag())
    }

    /// Whether calls that take the engine's lock by themselves will get it soon. One network thread runs all scripts itself: then
    /// none is in the middle of one that is not known to be busy.
    pub(crate) fn has_engine(&self) -> bool {
        let alone = self.runtimes.get().is_none_or(|runtimes| runtimes.len() == 1);
        if alone { !self.scripting.is_busy() } else { self.lock_unless_busy().is_some() }
    }

    /// Monotonic time since the start, in microseconds.
    #[inline]
    pub(crate) fn clock_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// Monotonic time since the start, in ms.
    #[inline]
    pub(crate) fn clock_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

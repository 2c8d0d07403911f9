//! The settings that connections look at, as plain values.
//!
//! `config` owns the directives; whenever one changes that stands here, it publishes a new `Settings`. A runtime thread
//! keeps its own `Arc` and asks once per batch, with one atomic load, whether there is a newer one.

use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Limits of a client class' output buffer (`client-output-buffer-limit`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct OutputLimit {
    /// Bytes at which the client is closed at once; 0 is no limit.
    pub(crate) hard: u64,
    /// Bytes at which it is closed after `seconds`; 0 is no limit.
    pub(crate) soft: u64,
    /// How long the soft limit may be passed, in seconds.
    pub(crate) seconds: u64,
}

/// What INFO shows of the configuration, so that it needs no lock for it: a script that asks keeps the engine meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// `maxmemory-policy`.
    pub(crate) maxmemory_policy: String,
    /// `appendfsync`.
    pub(crate) appendfsync: String,
    /// `latency-tracking-info-percentiles`.
    pub(crate) percentiles: Vec<f64>,
    /// `repl-backlog-size` in bytes.
    pub(crate) repl_backlog_size: u64,
}

/// What connections need of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// `bind`: addresses; one that begins with `-` may be missing, `*` is every one.
    pub(crate) bind: Vec<String>,
    /// `port`; 0 is no TCP.
    pub(crate) port: u16,
    /// `tls-port`; 0 is no TLS.
    pub(crate) tls_port: u16,
    /// `metrics-bind`, as `bind`.
    pub(crate) metrics_bind: Vec<String>,
    /// `metrics-port`; 0 is no metrics.
    pub(crate) metrics_port: u16,
    /// `tcp-backlog`.
    pub(crate) tcp_backlog: u32,
    /// `unixsocket`.
    pub(crate) unixsocket: Option<PathBuf>,
    /// `unixsocketperm`; 0 leaves it to the umask.
    pub(crate) unixsocketperm: u32,
    /// `timeout` in seconds; 0 is never.
    pub(crate) timeout_s: u64,
    /// `tcp-keepalive` in seconds; 0 is off.
    pub(crate) tcp_keepalive_s: u64,
    /// `protected-mode`.
    pub(crate) protected_mode: bool,
    /// `maxclients`.
    pub(crate) maxclients: usize,
    /// `client-query-buffer-limit` in bytes.
    pub(crate) query_buffer_max: u64,
    /// `client-output-buffer-limit` of the classes normal, replica, pubsub.
    pub(crate) output_limits: [OutputLimit; 3],
    /// `proto-max-bulk-len` in bytes.
    pub(crate) bulk_len_max: u64,
    /// `io-threads`: runtimes that serve connections.
    pub(crate) io_threads: usize,
    /// `maxmemory-clients` in bytes; 0 is no limit.
    pub(crate) clients_memory_max: u64,
    /// `hz`: maintenance ticks a second.
    pub(crate) hz: u32,
    /// `maxmemory` in bytes; 0 is no limit. Commands that need memory are refused above it.
    pub(crate) maxmemory: u64,
    /// `busy-reply-threshold` in ms: how long a script runs before others are told so; 0 is for ever.
    pub(crate) busy_reply_ms: u64,
    /// `enable-debug-command`: whether clients of this machine may run DEBUG.
    pub(crate) debug_local: bool,
    /// The same for others.
    pub(crate) debug_remote: bool,
    /// `databases`.
    pub(crate) databases: i64,
    /// For INFO.
    pub(crate) shown: Shown,
}

impl Default for Settings {
    /// As without a configuration file.
    fn default() -> Self {
        Settings {
            bind: vec!["127.0.0.1".into(), "-::1".into()],
            port: 6379,
            tls_port: 0,
            metrics_bind: vec!["127.0.0.1".into(), "-::1".into()],
            metrics_port: 0,
            tcp_backlog: 511,
            unixsocket: None,
            unixsocketperm: 0,
            timeout_s: 0,
            tcp_keepalive_s: 300,
            protected_mode: true,
            maxclients: 10_000,
            query_buffer_max: 1 << 30,
            output_limits: [
                OutputLimit::default(),
                OutputLimit { hard: 256 << 20, soft: 64 << 20, seconds: 60 },
                OutputLimit { hard: 32 << 20, soft: 8 << 20, seconds: 60 },
            ],
            bulk_len_max: 512 << 20,
            io_threads: 1,
            clients_memory_max: 0,
            hz: 10,
            maxmemory: 0,
            busy_reply_ms: 5000,
            debug_local: false,
            debug_remote: false,
            databases: 16,
            shown: Shown {
                maxmemory_policy: "noeviction".into(),
                appendfsync: "everysec".into(),
                percentiles: vec![50.0, 99.0, 99.9],
                repl_backlog_size: 1 << 20,
            },
        }
    }
}

/// Where the current [`Settings`] are found.
#[derive(Debug)]
pub(crate) struct Published {
    current: Mutex<Arc<Settings>>,
    version: AtomicU64,
}

impl Published {
    /// Begins with these.
    pub(crate) fn new(settings: Settings) -> Self {
        Published { current: Mutex::new(Arc::new(settings)), version: AtomicU64::new(1) }
    }

    /// The current ones. Not for every command: see [`Cached`].
    pub(crate) fn get(&self) -> Arc<Settings> {
        self.current.lock().clone()
    }

    /// Replaces them, for every thread's next batch.
    pub(crate) fn publish(&self, settings: Settings) {
        let mut current = self.current.lock();
        *current = Arc::new(settings);
        self.version.fetch_add(1, Ordering::Release);
    }
}

/// One thread's view of the settings.
#[derive(Debug)]
pub(crate) struct Cached {
    settings: Arc<Settings>,
    version: u64,
}

impl Cached {
    /// The current ones.
    pub(crate) fn new(published: &Published) -> Self {
        let version = published.version.load(Ordering::Acquire);
        Cached { settings: published.get(), version }
    }

    /// The settings, renewed if there are newer ones.
    #[inline]
    pub(crate) fn get(&mut self, published: &Published) -> &Arc<Settings> {
        let version = published.version.load(Ordering::Acquire);
        if version != self.version {
            *self = Cached { settings: published.get(), version };
        }
        &self.settings
    }
}

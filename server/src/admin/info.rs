//! INFO: Redis' sections and field names, and a section of Firn's own.
//!
//! A field that Redis has and Firn has nothing for says what is true here (no replicas, no forks, no modules); tools that add it up or
//! watch it go on working. Fields are written from one snapshot of the counters each; sections are not cached.

use crate::allocator;
use crate::command::{After, ServerCall, ServerCommand};
use crate::observe::named_stats;
use crate::pubsub::hub::Hub;
use crate::session::REDIS_VERSION;
use firn_engine::command::{Args, Arity, Categories, CommandError, Flags, Group, Reply, Spec};
use firn_engine::log::progress::LogState;
use firn_engine::store::Status;
use rustix::process::{Resource, getrlimit};
use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// `INFO`.
pub(super) static INFO: ServerCommand = ServerCommand {
    spec: Spec {
        name: "INFO",
        arity: Arity::AtLeast(1),
        flags: Flags::LOADING.and(Flags::STALE),
        group: Group::Server,
        categories: Categories::DANGEROUS,
        summary: "Returns how the server is doing.",
        syntax: "[section [section ...]]",
        ..Spec::BASE
    },
    run: info,
};

/// A section: its name, its heading, and whether plain INFO shows it.
struct Section {
    name: &'static str,
    title: &'static str,
    default: bool,
    write: fn(&mut Text, &mut ServerCall<'_, '_>),
}

const SECTIONS: &[Section] = &[
    Section { name: "server", title: "Server", default: true, write: server },
    Section { name: "clients", title: "Clients", default: true, write: clients },
    Section { name: "memory", title: "Memory", default: true, write: memory },
    Section { name: "persistence", title: "Persistence", default: true, write: persistence },
    Section { name: "stats", title: "Stats", default: true, write: stats },
    Section { name: "replication", title: "Replication", default: true, write: replication },
    Section { name: "cpu", title: "CPU", default: true, write: cpu },
    Section { name: "modules", title: "Modules", default: true, write: |_, _| {} },
    Section { name: "commandstats", title: "Commandstats", default: false, write: command_stats },
    Section { name: "errorstats", title: "Errorstats", default: true, write: error_stats },
    Section { name: "latencystats", title: "Latencystats", default: false, write: latency_stats },
    Section { name: "cluster", title: "Cluster", default: true, write: cluster },
    Section { name: "keyspace", title: "Keyspace", default: true, write: keyspace },
    Section { name: "firn", title: "Firn", default: true, write: firn },
    Section { name: "prefixes", title: "Prefixes", default: false, write: super::prefixes::section },
];

/// The text as it grows: `name:value` lines.
#[derive(Default)]
pub(super) struct Text(String);

impl Text {
    pub(super) fn field(&mut self, name: &str, value: impl Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{name}:{value}\r\n");
    }

    /// The same amount twice: as a number and for the eye.
    fn bytes(&mut self, name: &str, bytes: u64) {
        self.field(name, bytes);
        self.field(&format!("{name}_human"), human(bytes));
    }
}

fn info(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<After, CommandError> {
    let asked = &args.words()[1..];
    let named = |name: &str| asked.iter().any(|word| word.eq_ignore_ascii_case(name.as_bytes()));
    let all = named("all") || named("everything");
    let default = asked.is_empty() || named("default");
    let mut text = Text::default();
    for section in SECTIONS {
        let wanted = (default && section.default)
            || (all && (section.name != "modules" || named("everything")))
            || named(section.name);
        if !wanted {
            continue;
        }
        if !text.0.is_empty() {
            text.0.push_str("\r\n");
        }
        let _ = write!(text.0, "# {}\r\n", section.title);
        (section.write)(&mut text, call);
    }
    reply.verbatim("txt", text.0.as_bytes());
    Ok(After::Nothing)
}

/// Bytes with one unit and two digits, as Redis shows them.
pub(super) fn human(bytes: u64) -> String {
    let units = [(1u64 << 40, 'T'), (1 << 30, 'G'), (1 << 20, 'M'), (1 << 10, 'K')];
    for (unit, letter) in units {
        if bytes >= unit {
            return format!("{:.2}{letter}", bytes as f64 / unit as f64);
        }
    }
    format!("{bytes}B")
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn server(text: &mut Text, call: &mut ServerCall<'_, '_>) {
    let server = call.server;
    let uptime_s = server.clock_ms() / 1000;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let system = rustix::system::uname();
    let settings = server.settings.get();
    text.field("redis_version", REDIS_VERSION);
    text.field("firn_version", env!("CARGO_PKG_VERSION"));
    text.field("server_name", "firn");
    text.field("redis_git_sha1", "00000000");
    text.field("redis_git_dirty", 0);
    text.field("redis_build_id", "0");
    text.field("redis_mode", "standalone");
    let os = [system.sysname(), system.release(), system.machine()].map(|part| part.to_string_lossy().into_owned());
    text.field("os", os.join(" "));
    text.field("arch_bits", usize::BITS);
    text.field("monotonic_clock", "POSIX clock_gettime");
    text.field("multiplexing_api", "epoll");
    text.field("atomicvar_api", "rust-std");
    text.field("gcc_version", "0.0.0"); // As Redis says when another compiler built it.
    text.field("process_id", std::process::id());
    text.field("process_supervised", if crate::supervise::is_supervised() { "systemd" } else { "no" });
    text.field("run_id", &server.run_id);
    text.field("tcp_port", settings.port);
    text.field("server_time_usec", now.as_micros());
    text.field("uptime_in_seconds", uptime_s);
    text.field("uptime_in_days", uptime_s / 86_400);
    text.field("hz", settings.hz);
    text.field("configured_hz", settings.hz);
    text.field("lru_clock", now.as_secs() & 0xff_ffff);
    text.field("executable", server.executable.display());
    text.field("config_file", server.config_file.display());
    text.field("io_threads_active", u8::from(settings.io_threads > 1));
    let bind = |names: &[String]| names.iter().map(|name| format!("bind={name},")).collect::<String>();
    let mut listeners = Vec::new();
    for (name, port) in [("tcp", settings.port), ("tls", settings.tls_port)] {
        if port != 0 {
            listeners.push(format!("name={name},{}port={port}", bind(&settings.bind)));
        }
    }
    if let Some(path) = &settings.unixsocket {
        listeners.push(format!("name=unix,bind={}", path.display()));
    }
    for (number, listener) in listeners.iter().enumerate() {
        text.field(&format!("listener{number}"), listener);
    }
}

fn clients(text: &mut Text, call: &mut ServerCall<'_, '_>) {
    let server = call.server;
    let all = server.clients.all();
    let largest = |of: fn(&crate::client::ClientInfo) -> usize| all.iter().map(|client| of(client)).max().unwrap_or(0);
    let waiting = all.iter().filter(|client| client.waiting.load(Ordering::Relaxed)).count();
    text.field("connected_clients", server.clients.connected());
    text.field("cluster_connections", 0);
    text.field("maxclients", server.settings.get().maxclients);
    let input = |client: &crate::client::ClientInfo| {
        client.query_len.load(Ordering::Relaxed) + client.query_free.load(Ordering::Relaxed)
    };
    text.field("client_recent_max_input_buffer", largest(input));
    text.field("client_recent_max_output_buffer", largest(|client| client.output_room.load(Ordering::Relaxed)));
    text.field("blocked_clients", waiting);
    let trackers = Hub::look(call.engine()).map_or(0, |hub| hub.tracking.sizes()[0]);
    text.field("tracking_clients", trackers);
    text.field("pubsub_clients", all.iter().filter(|client| client.is_subscriber()).count());
    let watched = call.engine().watches.len();
    let watching = all.iter().filter(|client| client.watched.load(Ordering::Relaxed) > 0).count();
    text.field("watching_clients", watching);
    text.field("clients_in_timeout_table", 0);
    text.field("total_watched_keys", watched);
    let (keys, keys_gone) = call.engine().waiting.keys();
    text.field("total_blocking_keys", keys);
    text.field("total_blocking_keys_on_nokey", keys_gone);
}

/// What INFO and MEMORY STATS say about memory, in bytes.
pub(super) struct Memory {
    /// What is used, and counts or not.
    pub(super) used: u64,
    /// What of it does not count against the limit.
    pub(super) uncounted: u64,
    /// Blocks handed out by the allocator.
    pub(super) allocated: u64,
    /// The most that was ever seen there.
    pub(super) peak: u64,
    /// Keys and values, index included.
    pub(super) dataset: u64,
    /// Pages that hold blocks.
    pub(super) active: u64,
    /// Physical memory of the process.
    pub(super) resident: u64,
    /// Buffers of clients.
    pub(super) clients: u64,
}

impl Memory {
    /// As it is now.
    pub(super) fn now(call: &mut ServerCall<'_, '_>) -> Memory {
        let server = call.server;
        crate::maintenance::measure(server, call.engine());
        // What has grown since the last tick counts from now on, and what is told is what counts.
        server.make_room(call.engine(), 0);
        let dataset = call.engine().keyspace.used_bytes();
        let (used, uncounted) = server.used_bytes(call.engine());
        let peak = server.memory.peak.fetch_max(used, Ordering::Relaxed).max(used);
        let allocated = allocator::allocated_bytes().unwrap_or(used);
        let clients = call.server.clients.all().into_iter().map(|client| client.memory() as u64);
        Memory {
            used,
            uncounted,
            allocated,
            peak,
            dataset,
            active: allocator::active_bytes().unwrap_or(allocated),
            resident: allocator::resident_bytes().unwrap_or(used),
            clients: clients.sum(),
        }
    }
}

fn memory(text: &mut Text, call: &mut ServerCall<'_, '_>) {
    let Memory { used, uncounted, allocated, peak, dataset, active, resident, clients } = Memory::now(call);
    let system = rustix::system::sysinfo();
    let total = (system.totalram as u64).saturating_mul(u64::from(system.mem_unit).max(1));
    let settings = call.server.settings.get();
    let maxmemory = settings.maxmemory;
    text.bytes("used_memory", used);
    text.bytes("used_memory_rss", resident);
    text.bytes("used_memory_peak", peak);
    text.field("used_memory_peak_perc", format!("{:.2}%", ratio(used, peak) * 100.0));
    text.field("used_memory_overhead", used.saturating_sub(dataset));
    text.field("used_memory_startup", 0);
    text.field("used_memory_dataset", dataset);
    text.field("used_memory_dataset_perc", format!("{:.2}%", ratio(dataset, used) * 100.0));
    text.field("allocator_allocated", allocated);
    text.field("allocator_active", active);
    text.field("allocator_resident", resident);
    text.bytes("total_system_memory", total);
    // One machine runs scripts and functions.
    let scripts = &call.server.scripting.numbers;
    let number = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let (machine, cached) = (number(&scripts.machine_bytes), number(&scripts.script_bytes));
    text.bytes("used_memory_lua", machine);
    text.field("used_memory_vm_eval", machine);
    text.field("used_memory_scripts_eval", cached);
    text.field("number_of_cached_scripts", number(&scripts.scripts));
    text.field("number_of_functions", number(&scripts.functions));
    text.field("number_of_libraries", number(&scripts.libraries));
    text.field("used_memory_vm_functions", 0);
    text.bytes("used_memory_vm_total", machine);
    text.field("used_memory_functions", 0);
    text.bytes("used_memory_scripts", cached);
    text.bytes("maxmemory", maxmemory);
    text.field("maxmemory_policy", &settings.shown.maxmemory_policy);
    text.field("allocator_frag_ratio", format!("{:.2}", ratio(active, allocated)));
    text.field("allocator_frag_bytes", active.saturating_sub(allocated));
    text.field("allocator_rss_ratio", format!("{:.2}", ratio(resident, active)));
    text.field("allocator_rss_bytes", resident as i64 - active as i64);
    text.field("rss_overhead_ratio", "1.00");
    text.field("rss_overhead_bytes", 0);
    text.field("mem_fragmentation_ratio", format!("{:.2}", ratio(resident, used)));
    text.field("mem_fragmentation_bytes", resident as i64 - used as i64);
    text.field("mem_not_counted_for_evict", uncounted);
    text.field("mem_replication_backlog", 0);
    text.field("mem_total_replication_buffers", 0);
    text.field("mem_clients_slaves", 0);
    text.field("mem_clients_normal", clients);
    text.field("mem_cluster_links", 0);
    text.field("mem_aof_buffer", 0);
    text.field("mem_allocator", "jemalloc");
    text.field("active_defrag_running", 0);
    let engine = call.engine();
    let freeing = u8::from(engine.memory.freeing.load(Ordering::Relaxed) > 0);
    text.field("lazyfree_pending_objects", engine.keyspace.dead_len() + usize::from(freeing));
    text.field("lazyfreed_objects", engine.stats.lazyfreed_objects);
}

/// The store's status. The engine's lock is let go: the store's own locks come before it. A script keeps the engine, and is told what was
/// seen at the last tick.
fn status(call: &mut ServerCall<'_, '_>) -> Status {
    if call.lock.is_pinned() {
        let seen = call.server.seen_status.lock().clone();
        return seen.unwrap_or_else(|| unreachable!("it is looked at before anyone is served"));
    }
    call.unlock();
    call.server.store.status()
}

fn seconds(ms: Option<u64>) -> i64 {
    ms.map_or(-1, |ms| (ms / 1000) as i64)
}

/// A snapshot is what Redis has two things for: an RDB file, and the rewrite of an AOF. Both say the same here.
fn persistence(text: &mut Text, call: &mut ServerCall<'_, '_>) {
    let status = status(call);
    let snapshots = &status.snapshots;
    let running = u8::from(snapshots.running);
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let saving = if snapshots.running { 0 } else { -1 };
    let last = if snapshots.status.last_error.is_none() { "ok" } else { "err" };
    let log_ok = if matches!(status.log_state, LogState::Running) { "ok" } else { "err" };
    text.field("loading", 0);
    text.field("async_loading", 0);
    text.field("current_cow_peak", 0);
    text.field("current_cow_size", 0);
    text.field("current_cow_size_age", 0);
    text.field("current_fork_perc", "0.00");
    let (written, total) = if snapshots.running { snapshots.entries } else { (0, 0) };
    text.field("current_save_keys_processed", written);
    text.field("current_save_keys_total", total);
    text.field("rdb_changes_since_last_save", status.dirty);
    text.field("rdb_bgsave_in_progress", running);
    text.field("rdb_last_save_time", snapshots.status.saved_at.min(now_s));
    text.field("rdb_last_bgsave_status", last);
    text.field("rdb_last_bgsave_time_sec", seconds(snapshots.status.last_took_ms));
    text.field("rdb_current_bgsave_time_sec", saving);
    text.field("rdb_saves", snapshots.status.finished);
    text.field("rdb_last_cow_size", 0);
    text.field("rdb_last_load_keys_expired", 0);
    text.field("rdb_last_load_keys_loaded", 0);
    text.field("aof_enabled", u8::from(status.log));
    text.field("aof_rewrite_in_progress", running);
    text.field("aof_rewrite_scheduled", 0);
    text.field("aof_last_rewrite_time_sec", seconds(snapshots.status.last_took_ms));
    text.field("aof_current_rewrite_time_sec", saving);
    text.field("aof_last_bgrewrite_status", last);
    text.field("aof_rewrites", snapshots.status.finished);
    text.field("aof_rewrites_consecutive_failures", u8::from(snapshots.status.last_error.is_some()));
    text.field("aof_last_write_status", log_ok);
    text.field("aof_last_cow_size", 0);
    text.field("module_fork_in_progress", 0);
    text.field("module_fork_last_cow_size", 0);
    if status.log {
        text.field("aof_current_size", status.log_bytes_since_snapshot + snapshots.last_len);
        text.field("aof_base_size", snapshots.last_len);
        text.field("aof_pending_rewrite", 0);
        text.field("aof_buffer_length", status.waiting_bytes);
        text.field("aof_pending_bio_fsync", u8::from(status.durable_lsn < status.written_lsn));
        text.field("aof_delayed_fsync", 0);
    }
}

fn stats(text: &mut Text, call: &mut ServerCall<'_, '_>) {
    let now_ms = call.engine().monotonic_ms;
    let (exceeded, exceeded_total) = call.engine().memory.exceeded_ms(now_ms);
    let engine = call.engine().stats.clone();
    let stats = &call.server.stats;
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (commands, input, output) = {
        let rates = stats.rates.lock();
        (rates.commands.per_second(), rates.input.per_second(), rates.output.per_second())
    };
    text.field("total_connections_received", read(&stats.connections_received));
    text.field("total_commands_processed", read(&stats.commands_processed));
    text.field("instantaneous_ops_per_sec", commands);
    text.field("total_net_input_bytes", read(&stats.net_input_bytes));
    text.field("total_net_output_bytes", read(&stats.net_output_bytes));
    text.field("total_net_repl_input_bytes", 0);
    text.field("total_net_repl_output_bytes", 0);
    text.field("instantaneous_input_kbps", format!("{:.2}", input as f64 / 1024.0));
    text.field("instantaneous_output_kbps", format!("{:.2}", output as f64 / 1024.0));
    text.field("instantaneous_input_repl_kbps", "0.00");
    text.field("instantaneous_output_repl_kbps", "0.00");
    text.field("rejected_connections", read(&stats.rejected_connections));
    text.field("sync_full", 0);
    text.field("sync_partial_ok", 0);
    text.field("sync_partial_err", 0);
    text.field("expired_keys", engine.expired_keys);
    text.field("expired_fields", engine.expired_fields);
    text.field("expired_stale_perc", "0.00");
    text.field("expired_time_cap_reached_count", 0);
    text.field("expire_cycle_cpu_milliseconds", 0);
    text.field("evicted_keys", engine.evicted_keys);
    text.field("evicted_clients", read(&stats.evicted_clients));
    text.field("evicted_scripts", call.server.scripting.numbers.evicted.load(Ordering::Relaxed));
    text.field("total_eviction_exceeded_time", exceeded_total);
    text.field("current_eviction_exceeded_time", exceeded);
    text.field("keyspace_hits", engine.keyspace_hits);
    text.field("keyspace_misses", engine.keyspace_misses);
    let (topics, [_, keys, items, prefixes]) =
        Hub::look(call.engine()).map_or_else(Default::default, |hub| (hub.sizes(), hub.tracking.sizes()));
    text.field("pubsub_channels", topics[0]);
    text.field("pubsub_patterns", topics[1]);
    text.field("pubsubshard_channels", topics[2]);
    text.field("latest_fork_usec", 0);
    text.field("total_forks", 0);
    text.field("migrate_cached_sockets", call.server.migrating.len());
    text.field("slave_expires_tracked_keys", 0);
    for name in ["hits", "misses", "key_hits", "key_misses"] {
        text.field(&format!("active_defrag_{name}"), 0);
    }
    text.field("total_active_defrag_time", 0);
    text.field("current_active_defrag_time", 0);
    text.field("tracking_total_keys", keys);
    text.field("tracking_total_items", items);
    text.field("tracking_total_prefixes", prefixes);
    text.field("unexpected_error_replies", 0);
    text.field("total_error_replies", read(&stats.error_replies));
    text.field("dump_payload_sanitizations", 0);
    text.field("total_reads_processed", read(&stats.reads_processed));
    text.field("total_writes_processed", read(&stats.writes_processed));
    text.field("io_threaded_reads_processed", 0);
    text.field("io_threaded_writes_processed", 0);
    text.field("client_query_buffer_limit_disconnections", read(&stats.query_buffer_closed));
    text.field("client_output_buffer_limit_disconnections", read(&stats.output_buffer_closed));
    text.field("reply_buffer_shrinks", 0);
    text.field("reply_buffer_expands", 0);
    text.field("acl_access_denied_auth", read(&stats.auth_denied));
    text.field("acl_access_denied_cmd", read(&stats.command_denied));
    text.field("acl_access_denied_key", read(&stats.key_denied));
    text.field("acl_access_denied_channel", read(&stats.channel_denied));
}

fn replication(text: &mut Text, call: &mut ServerCall<'_, '_>) {
    text.field("role", "master");
    text.field("connected_slaves", 0);
    text.field("master_failover_state", "no-failover");
    text.field("master_replid", &call.server.run_id);
    text.field("master_replid2", "0".repeat(40));
    text.field("master_repl_offset", 0);
    text.field("second_repl_offset", -1);
    text.field("repl_backlog_active", 0);
    text.field("repl_backlog_size", call.server.settings.get().shown.repl_backlog_size);
    text.field("repl_backlog_first_byte_offset", 0);
    text.field("repl_backlog_histlen", 0);
}

fn cpu(text: &mut Text, _: &mut ServerCall<'_, '_>) {
    // Seconds that the process spent: utime and stime of /proc/self/stat, in ticks of 1/100 s, are all that needs no unsafe call.
    let (user, system) = cpu_ticks().unwrap_or((0, 0));
    text.field("used_cpu_sys", format!("{:.6}", system as f64 / 100.0));
    text.field("used_cpu_user", format!("{:.6}", user as f64 / 100.0));
    text.field("used_cpu_sys_children", "0.000000");
    text.field("used_cpu_user_children", "0.000000");
    text.field("used_cpu_sys_main_thread", format!("{:.6}", system as f64 / 100.0));
    text.field("used_cpu_user_main_thread", format!("{:.6}", user as f64 / 100.0));
}

/// User and system time of the process, in 1/100 s.
pub(crate) fn cpu_ticks() -> Option<(u64, u64)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses and may hold anything; utime and stime are the 12th and 13th after it.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn command_stats(text: &mut Text, call: &mut ServerCall<'_, '_>) {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    for (name, stats) in named_stats(&call.server.commands) {
        let (calls, rejected, failed) = (read(&stats.calls), read(&stats.rejected), read(&stats.failed));
        if calls == 0 && rejected == 0 && failed == 0 {
            continue;
        }
        let usec = read(&stats.nanos) as f64 / 1000.0;
        let each = if calls == 0 { 0.0 } else { usec / calls as f64 };
        let usec = usec as u64;
        let value = format!(
            "calls={calls},usec={usec},usec_per_call={each:.2},rejected_calls={rejected},failed_calls={failed}"
        );
        text.field(&format!("cmdstat_{name}"), value);
    }
}

fn latency_stats(text: &mut Text, call: &mut ServerCall<'_, '_>) {
    let settings = call.server.settings.get();
    let percentiles = &settings.shown.percentiles;
    if !call.server.observe.tracking() || percentiles.is_empty() {
        return;
    }
    for (name, stats) in named_stats(&call.server.commands) {
        let Some(view) = stats.histogram().map(|histogram| histogram.view()).filter(|view| view.total > 0) else {
            continue;
        };
        let told: Vec<String> = percentiles
            .iter()
            .map(|percent| format!("p{percent}={:.3}", view.percentile(*percent) as f64 / 1000.0))
            .collect();
        text.field(&format!("latency_percentiles_usec_{name}"), told.join(","));
    }
}

fn error_stats(text: &mut Text, call: &mut ServerCall<'_, '_>) {
    for (prefix, count) in call.server.stats.errors() {
        text.field(&format!("errorstat_{prefix}"), format!("count={count}"));
    }
}

fn cluster(text: &mut Text, _: &mut ServerCall<'_, '_>) {
    text.field("cluster_enabled", 0);
}

fn keyspace(text: &mut Text, call: &mut ServerCall<'_, '_>) {
    let engine = call.engine();
    for number in 0..engine.keyspace.databases() {
        let db = engine.keyspace.db(number);
        if db.is_empty() {
            continue;
        }
        let (keys, expires, ttl) = (db.len(), db.with_deadline(), db.average_ttl(engine.now_ms));
        text.field(&format!("db{number}"), format!("keys={keys},expires={expires},avg_ttl={ttl}"));
    }
}

fn firn(text: &mut Text, call: &mut ServerCall<'_, '_>) {
    let status = status(call);
    text.field("firn_version", env!("CARGO_PKG_VERSION"));
    text.field("store_id", &status.store_id);
    text.field("store_folder", call.server.store_folder.display());
    text.field("appendfsync", &call.server.settings.get().shown.appendfsync);
    text.field("epoch", status.epoch);
    text.field("last_lsn", status.last_lsn);
    text.field("written_lsn", status.written_lsn);
    text.field("durable_lsn", status.durable_lsn);
    let (state, why) = match &status.log_state {
        _ if !status.log => ("off", ""),
        LogState::Running => ("running", ""),
        LogState::Full { why, .. } => ("full", why.as_str()),
        LogState::Failed { why, .. } => ("failed", why.as_str()),
    };
    text.field("log_state", state);
    text.field("log_error", one_line(why));
    text.field("log_frames", status.log_stats.frames);
    text.field("log_bytes", status.log_stats.bytes);
    text.field("log_fsyncs", status.log_stats.syncs);
    text.field("log_failures", status.log_stats.failures);
    text.field("log_rescues", status.log_stats.rescues);
    text.field("log_last_fsync_ms", status.last_flush_ms);
    text.field("log_bytes_since_snapshot", status.log_bytes_since_snapshot);
    text.field("log_retained_bytes", status.retained_bytes);
    text.field("log_waiting_bytes", status.waiting_bytes);
    if let Some((name, first, len)) = &status.segment {
        text.field("segment", name);
        text.field("segment_first_lsn", first);
        text.field("segment_bytes", len);
    }
    let snapshots = &status.snapshots;
    text.field("snapshot_running", u8::from(snapshots.running));
    text.field("snapshot_entries_written", snapshots.entries.0);
    text.field("snapshots_made", snapshots.status.finished);
    text.field("snapshot_last_lsn", snapshots.status.saved_lsn);
    text.field("snapshot_last_bytes", snapshots.last_len);
    text.field("snapshot_last_error", one_line(snapshots.status.last_error.as_deref().unwrap_or("")));
    text.field("retention_error", one_line(snapshots.retention_error.as_deref().unwrap_or("")));
    let recovery = &status.recovery;
    text.field("recovery_lsn", recovery.lsn);
    text.field("recovery_snapshot_lsn", recovery.snapshot_lsn);
    text.field("recovery_segments", recovery.segments);
    text.field("recovery_records", recovery.records);
    text.field("recovery_bytes_read", recovery.replayed_bytes);
    text.field("recovery_ms", recovery.took_ms);
    text.field("recovery_warnings", recovery.warnings.len());
    text.field("set_aside_files", recovery.set_aside.len());
    text.field("set_aside_bytes", recovery.set_aside.iter().map(|(_, len)| len).sum::<u64>());
    text.field("max_open_files", getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX));
}

/// A field's value is one line.
fn one_line(value: &str) -> String {
    value.replace(['\r', '\n'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_shown_with_one_unit() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00K"),
            (941_144, "919.09K"),
            (12_185_600, "11.62M"),
            (25_276_502_016, "23.54G"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }

    #[test]
    fn processor_time_is_found() {
        assert!(cpu_ticks().is_some());
    }
}

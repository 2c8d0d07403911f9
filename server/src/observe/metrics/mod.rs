//! What monitoring systems collect, in Prometheus' text format; served by [`http`].
//!
//! 1. Names follow Prometheus' conventions: `firn_`, base units (seconds, bytes), `_total` for counters.
//! 2. A metric is a family: its lines stand together under its HELP and TYPE. A test reads the page with Prometheus' own parser.
//! 3. The engine's lock is held for a few counters only, and never together with the store's.

pub(crate) mod http;

use crate::admin::prefixes;
use crate::allocator;
use crate::observe::command_log::Kind;
use crate::observe::named_stats;
use crate::server::Server;
use crate::session::REDIS_VERSION;
use firn_engine::log::progress::LogState;
use firn_engine::prefixes::PrefixRow;
use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Octaves of nanoseconds at which buckets of durations end: 1 microsecond to a second, in steps of four.
const BUCKET_OCTAVES: [u32; 11] = [10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30];

/// The page as it grows.
#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (at, (label, value)) in labels.iter().enumerate() {
            self.0.push(if at == 0 { '{' } else { ',' });
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{label}=\"{value}\"");
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    /// A family with one value.
    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.value(name, &[], value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.one(name, "gauge", help, value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.one(name, "counter", help, value);
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// The page.
pub(super) fn page(server: &Server) -> String {
    let mut page = Page::default();
    process(server, &mut page);
    clients(server, &mut page);
    keyspace(server, &mut page);
    persistence(server, &mut page);
    commands(server, &mut page);
    page.0
}

/// Why writes are refused, if they are: what `/healthz` tells.
pub(super) fn sickness(server: &Server) -> Option<String> {
    let status = server.store.status();
    match status.log_state {
        LogState::Full { why, .. } if status.log => Some(format!("writes are refused, the disk is full: {why}")),
        LogState::Failed { why, .. } if status.log => Some(format!("writes are refused, the log failed: {why}")),
        _ => None,
    }
}

fn process(server: &Server, page: &mut Page) {
    page.family("firn_build_info", "gauge", "Versions, as labels of the constant 1.");
    page.value("firn_build_info", &[("version", env!("CARGO_PKG_VERSION")), ("redis_version", REDIS_VERSION)], 1);
    let uptime = server.started.elapsed();
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(uptime);
    page.gauge("process_start_time_seconds", "When the process started, in seconds since 1970.", started.as_secs_f64());
    if let Some((user, system)) = crate::admin::info::cpu_ticks() {
        let seconds = (user + system) as f64 / 100.0;
        page.counter("process_cpu_seconds_total", "User and system time the process has used.", seconds);
    }
    let used = allocator::allocated_bytes().unwrap_or(0);
    page.gauge(
        "process_resident_memory_bytes",
        "Physical memory of the process.",
        allocator::resident_bytes().unwrap_or(used),
    );
    page.gauge("firn_memory_used_bytes", "Memory handed out by the allocator.", used);
    page.gauge("firn_memory_max_bytes", "maxmemory; 0 is no limit.", server.settings.get().maxmemory);
}

fn clients(server: &Server, page: &mut Page) {
    let stats = &server.stats;
    page.gauge("firn_connected_clients", "Connected clients.", server.clients.connected());
    let all = server.clients.all();
    let blocked = all.iter().filter(|client| client.waiting.load(Relaxed)).count();
    page.gauge("firn_blocked_clients", "Clients that wait for a reply.", blocked);
    page.gauge("firn_max_clients", "maxclients.", server.settings.get().maxclients);
    for (name, help, counter) in [
        ("firn_connections_received_total", "Connections accepted.", &stats.connections_received),
        ("firn_connections_rejected_total", "Connections refused.", &stats.rejected_connections),
        ("firn_commands_processed_total", "Commands run.", &stats.commands_processed),
        ("firn_net_input_bytes_total", "Bytes read from clients.", &stats.net_input_bytes),
        ("firn_net_output_bytes_total", "Bytes sent to clients.", &stats.net_output_bytes),
        (
            "firn_query_buffer_disconnections_total",
            "Clients closed by client-query-buffer-limit.",
            &stats.query_buffer_closed,
        ),
        (
            "firn_output_buffer_disconnections_total",
            "Clients closed by client-output-buffer-limit.",
            &stats.output_buffer_closed,
        ),
        ("firn_auth_failures_total", "Failed logins.", &stats.auth_denied),
    ] {
        page.counter(name, help, read(counter));
    }
    page.family("firn_error_replies_total", "counter", "Error replies by their first word.");
    for (prefix, count) in stats.errors() {
        page.value("firn_error_replies_total", &[("prefix", &prefix)], count);
    }
    for (name, help, kind) in [
        ("firn_slow_commands_total", "Commands that came into the slow log.", Kind::Slow),
        ("firn_large_requests_total", "Commands that came into the log of large requests.", Kind::LargeRequest),
        ("firn_large_replies_total", "Commands that came into the log of large replies.", Kind::LargeReply),
    ] {
        page.counter(name, help, server.observe.log(kind).logged());
    }
}

fn keyspace(server: &Server, page: &mut Page) {
    let (stats, bytes, databases, prefixes) = {
        let engine = server.store.lock();
        let databases: Vec<(usize, usize, usize)> = (0..engine.keyspace.databases())
            .map(|number| (number, engine.keyspace.db(number).len(), engine.keyspace.db(number).with_deadline()))
            .filter(|(_, keys, _)| *keys > 0)
            .collect();
        (engine.stats.clone(), engine.keyspace.used_bytes(), databases, prefixes::rows(&engine))
    };
    page.gauge("firn_dataset_bytes", "Keys, values and index.", bytes);
    page.family("firn_keys", "gauge", "Keys by database.");
    for (number, keys, _) in &databases {
        page.value("firn_keys", &[("db", &number.to_string())], keys);
    }
    page.family("firn_expiring_keys", "gauge", "Keys with a deadline, by database.");
    for (number, _, expiring) in &databases {
        page.value("firn_expiring_keys", &[("db", &number.to_string())], expiring);
    }
    if let Some((rows, _)) = prefixes {
        prefix_stats(&rows, page);
    }
    page.counter("firn_keyspace_hits_total", "Lookups that found their key.", stats.keyspace_hits);
    page.counter("firn_keyspace_misses_total", "Lookups that did not.", stats.keyspace_misses);
    page.counter("firn_expired_keys_total", "Keys whose deadline passed.", stats.expired_keys);
    page.counter("firn_expired_fields_total", "Fields of hashes whose deadline passed.", stats.expired_fields);
    page.counter("firn_evicted_keys_total", "Keys evicted because of maxmemory.", stats.evicted_keys);
}

/// Statistics by key prefix, each prefix a label.
fn prefix_stats(rows: &[(String, PrefixRow)], page: &mut Page) {
    type Of = fn(&PrefixRow) -> u64;
    let families: [(&str, &str, &str, Of); 6] = [
        ("firn_prefix_keys", "gauge", "Keys by prefix.", |row| row.size.keys),
        ("firn_prefix_bytes", "gauge", "Bytes of keys and values by prefix.", |row| row.size.bytes),
        ("firn_prefix_hits_total", "counter", "Lookups that found their key, by prefix.", |row| row.events.hits),
        ("firn_prefix_misses_total", "counter", "Lookups that did not, by prefix.", |row| row.events.misses),
        ("firn_prefix_expired_keys_total", "counter", "Keys whose deadline passed, by prefix.", |row| {
            row.events.expired
        }),
        ("firn_prefix_evicted_keys_total", "counter", "Keys evicted, by prefix.", |row| row.events.evicted),
    ];
    for (name, kind, help, of) in families {
        page.family(name, kind, help);
        for (prefix, row) in rows {
            page.value(name, &[("prefix", prefix)], of(row));
        }
    }
}

fn persistence(server: &Server, page: &mut Page) {
    let status = server.store.status();
    let works = !status.log || matches!(status.log_state, LogState::Running);
    page.gauge("firn_log_enabled", "appendonly.", u8::from(status.log));
    page.gauge("firn_writes_accepted", "1, or 0 while the disk refuses writes.", u8::from(works));
    page.gauge("firn_log_last_lsn", "Number of the last change.", status.last_lsn);
    page.gauge("firn_log_written_lsn", "Number of the last change written to the kernel.", status.written_lsn);
    page.gauge("firn_log_durable_lsn", "Number of the last change known to be on the device.", status.durable_lsn);
    page.counter("firn_log_frames_total", "Frames written.", status.log_stats.frames);
    page.counter("firn_log_written_bytes_total", "Bytes written to the log.", status.log_stats.bytes);
    page.counter("firn_log_fsyncs_total", "Flushes of the log.", status.log_stats.syncs);
    page.counter("firn_log_failures_total", "Writes and flushes that failed.", status.log_stats.failures);
    page.gauge(
        "firn_log_last_fsync_seconds",
        "How long the last flush took.",
        Duration::from_millis(status.last_flush_ms).as_secs_f64(),
    );
    page.gauge("firn_log_waiting_bytes", "Bytes that wait to be written.", status.waiting_bytes);
    page.gauge("firn_log_retained_bytes", "Bytes of the log on the disk.", status.retained_bytes);
    let snapshots = &status.snapshots;
    page.counter("firn_snapshots_total", "Snapshots made.", snapshots.status.finished);
    page.gauge("firn_snapshot_running", "1 while a snapshot is written.", u8::from(snapshots.running));
    page.gauge(
        "firn_snapshot_last_failed",
        "1 if the last snapshot failed.",
        u8::from(snapshots.status.last_error.is_some()),
    );
    page.gauge("firn_snapshot_last_bytes", "Length of the last snapshot.", snapshots.last_len);
    let saved_at = snapshots.status.saved_at;
    page.gauge(
        "firn_snapshot_last_timestamp_seconds",
        "When the last snapshot was made, in seconds since 1970.",
        saved_at,
    );
    page.gauge("firn_changes_since_snapshot", "Changes since the last snapshot.", status.dirty);
}

fn commands(server: &Server, page: &mut Page) {
    let ran: Vec<_> = named_stats(&server.commands)
        .filter(|(_, stats)| [&stats.calls, &stats.rejected, &stats.failed].into_iter().any(|count| read(count) > 0))
        .collect();
    page.family("firn_command_failures_total", "counter", "Calls that answered an error.");
    for (name, stats) in &ran {
        page.value("firn_command_failures_total", &[("command", name)], read(&stats.failed));
    }
    page.family("firn_command_rejections_total", "counter", "Calls that were refused before they ran.");
    for (name, stats) in &ran {
        page.value("firn_command_rejections_total", &[("command", name)], read(&stats.rejected));
    }
    const DURATION: &str = "firn_command_duration_seconds";
    page.family(DURATION, "histogram", "How long commands ran; those of constant cost share the time of their batch.");
    for (name, stats) in &ran {
        let Some(view) = stats.histogram().map(|histogram| histogram.view()).filter(|view| view.total > 0) else {
            continue;
        };
        for octave in BUCKET_OCTAVES {
            let end = seconds(1 << octave).to_string();
            page.value(&format!("{DURATION}_bucket"), &[("command", name), ("le", &end)], view.below(octave));
        }
        page.value(&format!("{DURATION}_bucket"), &[("command", name), ("le", "+Inf")], view.total);
        page.value(&format!("{DURATION}_sum"), &[("command", name)], seconds(read(&stats.nanos)));
        page.value(&format!("{DURATION}_count"), &[("command", name)], view.total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut page = Page::default();
        page.counter("a_total", "An a.", 1);
        page.value("b", &[("x", "a\"b\\c\nd"), ("y", "")], 0.5);
        assert_eq!(
            page.0,
            "# HELP a_total An a.\n# TYPE a_total counter\na_total 1\nb{x=\"a\\\"b\\\\c\\nd\",y=\"\"} 0.5\n"
        );
    }
}

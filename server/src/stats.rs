//! Counters of the whole server (INFO stats, errorstats), and samples of rates.
//!
//! Connections add to them once per batch. All are reset by CONFIG RESETSTAT, none is read by the server itself.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Different error prefixes counted at most; more (a client can make up any prefix later, in scripts) are counted under one name.
const ERROR_KINDS_MAX: usize = 128;
/// An error's prefix and the space behind it, at most, in bytes: what has no space so far is counted as `ERR`, as in Redis.
const ERROR_PREFIX_LEN_MAX: usize = 31;
/// Samples of a rate.
const SAMPLES: usize = 16;

/// Counters; names as in INFO.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// Accepted connections.
    pub(crate) connections_received: AtomicU64,
    /// Connections refused because of `maxclients`.
    pub(crate) rejected_connections: AtomicU64,
    /// Commands run.
    pub(crate) commands_processed: AtomicU64,
    /// Bytes read from clients.
    pub(crate) net_input_bytes: AtomicU64,
    /// Bytes written to clients.
    pub(crate) net_output_bytes: AtomicU64,
    /// Reads from sockets.
    pub(crate) reads_processed: AtomicU64,
    /// Writes to sockets.
    pub(crate) writes_processed: AtomicU64,
    /// Error replies.
    pub(crate) error_replies: AtomicU64,
    /// Clients closed because of the query buffer's limit.
    pub(crate) query_buffer_closed: AtomicU64,
    /// Clients closed because of the output buffer's limits.
    pub(crate) output_buffer_closed: AtomicU64,
    /// Failed authentications.
    pub(crate) auth_denied: AtomicU64,
    /// Clients closed because all together took too much memory.
    pub(crate) evicted_clients: AtomicU64,
    /// Commands that the ACLs denied.
    pub(crate) command_denied: AtomicU64,
    /// Commands denied for one of their keys.
    pub(crate) key_denied: AtomicU64,
    /// Commands denied for one of their channels.
    pub(crate) channel_denied: AtomicU64,
    /// Error replies by their prefix.
    errors: Mutex<BTreeMap<Box<str>, u64>>,
    /// Rates.
    pub(crate) rates: Mutex<Rates>,
}

impl Stats {
    /// Counts an error reply, given as the line without `-`.
    pub(crate) fn count_error(&self, line: &[u8]) {
        self.error_replies.fetch_add(1, Ordering::Relaxed);
        let end = line.iter().take(ERROR_PREFIX_LEN_MAX).position(|&byte| byte == b' ');
        let prefix = end.map_or(&b"ERR"[..], |end| &line[..end]);
        let Ok(prefix) = std::str::from_utf8(prefix) else { return };
        let mut errors = self.errors.lock();
        if let Some(count) = errors.get_mut(prefix) {
            *count += 1;
        } else if errors.len() < ERROR_KINDS_MAX {
            errors.insert(prefix.into(), 1);
        } else {
            *errors.entry("OTHER".into()).or_default() += 1;
        }
    }

    /// Error prefixes and how often they were answered.
    pub(crate) fn errors(&self) -> Vec<(Box<str>, u64)> {
        self.errors.lock().iter().map(|(prefix, &count)| (prefix.clone(), count)).collect()
    }

    /// CONFIG RESETSTAT.
    pub(crate) fn reset(&self) {
        for counter in [
            &self.connections_received,
            &self.rejected_connections,
            &self.commands_processed,
            &self.net_input_bytes,
            &self.net_output_bytes,
            &self.reads_processed,
            &self.writes_processed,
            &self.error_replies,
            &self.query_buffer_closed,
            &self.output_buffer_closed,
            &self.auth_denied,
            &self.evicted_clients,
            &self.command_denied,
            &self.key_denied,
            &self.channel_denied,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
        self.errors.lock().clear();
        *self.rates.lock() = Rates::default();
    }

    /// Takes a sample of the rates; the maintenance tick calls it about ten times a second.
    pub(crate) fn sample(&self, now_ms: u64) {
        let mut rates = self.rates.lock();
        rates.commands.sample(now_ms, self.commands_processed.load(Ordering::Relaxed));
        rates.input.sample(now_ms, self.net_input_bytes.load(Ordering::Relaxed));
        rates.output.sample(now_ms, self.net_output_bytes.load(Ordering::Relaxed));
    }
}

/// Rates over the last samples.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    /// `instantaneous_ops_per_sec`.
    pub(crate) commands: Rate,
    /// `instantaneous_input_kbps`, here in bytes.
    pub(crate) input: Rate,
    /// `instantaneous_output_kbps`, here in bytes.
    pub(crate) output: Rate,
}

/// A counter's growth per second, averaged over the last samples.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    samples: [u64; SAMPLES],
    next: usize,
    last: Option<(u64, u64)>,
}

impl Rate {
    fn sample(&mut self, now_ms: u64, count: u64) {
        if let Some((then_ms, before)) = self.last {
            let elapsed_ms = now_ms.saturating_sub(then_ms);
            if elapsed_ms == 0 {
                return;
            }
            self.samples[self.next] = count.saturating_sub(before) * 1000 / elapsed_ms;
            self.next = (self.next + 1) % SAMPLES;
        }
        self.last = Some((now_ms, count));
    }

    /// Per second.
    pub(crate) fn per_second(&self) -> u64 {
        self.samples.iter().sum::<u64>() / SAMPLES as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_by_prefix_and_kinds_are_bounded() {
        let stats = Stats::default();
        stats.count_error(b"ERR syntax error");
        stats.count_error(b"ERR other");
        stats.count_error(b"WRONGTYPE x");
        // A script makes up errors of any length.
        stats.count_error(b"x");
        stats.count_error(&[b'x'; 1 << 20]);
        assert_eq!(stats.errors(), [("ERR".into(), 4), ("WRONGTYPE".into(), 1)]);
        for n in 0..1000 {
            stats.count_error(format!("E{n} x").as_bytes());
        }
        assert_eq!(stats.errors().len(), ERROR_KINDS_MAX + 1);
        assert_eq!(stats.error_replies.load(Ordering::Relaxed), 1005);
    }

    #[test]
    fn a_rate_is_the_mean_of_the_last_samples() {
        let mut rate = Rate::default();
        for tick in 0..=SAMPLES as u64 {
            rate.sample(tick * 100, tick * 50);
        }
        assert_eq!(rate.per_second(), 500);
    }
}

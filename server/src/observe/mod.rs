//! What is watched while commands run: times by command, the logs of unusual commands, delays.
//!
//! 1. Bounds are plain atomics: a batch reads them once, before and after its commands (CONFIG SET may have changed them between).
//! 2. A batch in which nothing reaches a bound costs two comparisons, and one for each command (the length of its reply).

pub(crate) mod command_log;
pub(crate) mod histogram;
pub(crate) mod latency;
pub(crate) mod meter;
pub(crate) mod metrics;
pub(crate) mod monitor;

use crate::client::ClientInfo;
use crate::config::Config;
use crate::dispatch::{Plan, Verdict};
use crate::table::Table;
use command_log::{CommandLog, Kind, Parked};
use firn_engine::command::Flags;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Everything that is watched.
#[derive(Debug)]
pub(crate) struct Observe {
    /// From so many nanoseconds on somebody wants to know of a command: the lower of the slow log's and the monitor's bound.
    notable_ns: AtomicU64,
    /// The slow log's bound; `u64::MAX` is never.
    slow_ns: AtomicU64,
    /// `latency-monitor-threshold`; `u64::MAX` is never.
    delay_ns: AtomicU64,
    /// `latency-tracking`.
    tracking: AtomicBool,
    request_len: AtomicUsize,
    reply_len: AtomicUsize,
    /// Flushes of the log that the monitor was told of.
    flushes: AtomicU64,
    slow: CommandLog,
    large_requests: CommandLog,
    large_replies: CommandLog,
    /// Delays.
    pub(crate) latency: latency::Monitor,
}

/// A batch's bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Requests from this length on are logged.
    pub(crate) request_len: usize,
    /// Replies from this length on are logged.
    pub(crate) reply_len: usize,
    /// Every command is measured by itself.
    pub(crate) exact: bool,
}

impl Observe {
    /// Watches as `config` says.
    pub(crate) fn new(config: &Config) -> Self {
        let observe = Observe {
            notable_ns: u64::MAX.into(),
            slow_ns: u64::MAX.into(),
            delay_ns: u64::MAX.into(),
            tracking: true.into(),
            request_len: usize::MAX.into(),
            reply_len: usize::MAX.into(),
            flushes: 0.into(),
            slow: CommandLog::default(),
            large_requests: CommandLog::default(),
            large_replies: CommandLog::default(),
            latency: latency::Monitor::default(),
        };
        observe.configure(config);
        observe
    }

    /// Watches as `config` says from now on.
    pub(crate) fn configure(&self, config: &Config) {
        // -1 is never; 0 is everything.
        let bound = |name: &str| u64::try_from(config.number(name)).ok();
        let slow_ns = bound("slowlog-log-slower-than").map_or(u64::MAX, |us| us.saturating_mul(1000));
        // 0 turns the monitor off.
        let delay_ms = bound("latency-monitor-threshold").filter(|ms| *ms > 0);
        let delay_ns = delay_ms.map_or(u64::MAX, |ms| ms.saturating_mul(1_000_000));
        self.slow_ns.store(slow_ns, Relaxed);
        self.delay_ns.store(delay_ns, Relaxed);
        self.notable_ns.store(slow_ns.min(delay_ns), Relaxed);
        self.tracking.store(config.bool("latency-tracking"), Relaxed);
        let len = |name: &str| bound(name).map_or(usize::MAX, |len| usize::try_from(len).unwrap_or(usize::MAX));
        self.request_len.store(len("commandlog-request-larger-than"), Relaxed);
        self.reply_len.store(len("commandlog-reply-larger-than"), Relaxed);
        for (log, name) in [
            (&self.slow, "slowlog-max-len"),
            (&self.large_requests, "commandlog-large-request-max-len"),
            (&self.large_replies, "commandlog-large-reply-max-len"),
        ] {
            log.set_max_len(usize::try_from(config.size(name)).unwrap_or(usize::MAX));
        }
    }

    /// The bounds of a batch.
    #[inline]
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            request_len: self.request_len.load(Relaxed),
            reply_len: self.reply_len.load(Relaxed),
            exact: self.slow_ns.load(Relaxed) < meter::EXACT_BELOW_US * 1000,
        }
    }

    /// `latency-tracking`.
    #[inline]
    pub(crate) fn tracking(&self) -> bool {
        self.tracking.load(Relaxed)
    }

    /// Whether somebody wants to know of a command that took so long.
    #[inline]
    pub(crate) fn is_notable(&self, nanos: u64) -> bool {
        nanos >= self.notable_ns.load(Relaxed)
    }

    /// Delays from so many ms on are noted; `None` is never.
    pub(crate) fn delay_ms(&self) -> Option<u64> {
        Some(self.delay_ns.load(Relaxed)).filter(|ns| *ns < u64::MAX).map(|ns| ns / 1_000_000)
    }

    /// Called now and then: notes the log's last flush, if it is a new one and took long.
    pub(crate) fn look_at_log(&self, store: &firn_engine::store::Store, always: bool) {
        let Some(delay_ms) = self.delay_ms() else { return };
        let status = store.status();
        let flushes = status.log_stats.syncs;
        if self.flushes.swap(flushes, Relaxed) != flushes && status.last_flush_ms >= delay_ms {
            self.latency.add(if always { "aof-fsync-always" } else { "aof-fsync" }, status.last_flush_ms);
        }
    }

    /// One of the logs.
    pub(crate) fn log(&self, kind: Kind) -> &CommandLog {
        match kind {
            Kind::Slow => &self.slow,
            Kind::LargeRequest => &self.large_requests,
            Kind::LargeReply => &self.large_replies,
        }
    }

    /// Notes a command that ran for `nanos`, if that is long.
    #[cold]
    pub(crate) fn ran(&self, plan: &Plan, words: &[&[u8]], client: &ClientInfo, nanos: u64) {
        if plan.verdict != Verdict::Run {
            return;
        }
        if nanos >= self.delay_ns.load(Relaxed) {
            let event = if plan.flags.has(Flags::FAST) { "fast-command" } else { "command" };
            self.latency.add(event, nanos / 1_000_000);
        }
        if nanos >= self.slow_ns.load(Relaxed) && !plan.flags.has(Flags::SKIP_SLOWLOG) {
            self.slow.add(nanos / 1000, words, client);
        }
    }

    /// A command that now waits for keys: what the slow log is told when it is served.
    pub(crate) fn park(&self, words: &[&[u8]], nanos: u64) -> Option<Box<Parked>> {
        let wanted = nanos >= self.slow_ns.load(Relaxed);
        wanted.then(|| Box::new(Parked { micros: nanos / 1000, words: command_log::shortened(words) }))
    }

    /// Logs a command whose request or reply is `len` bytes long.
    #[cold]
    pub(crate) fn was_large(&self, kind: Kind, plan: &Plan, words: &[&[u8]], client: &ClientInfo, len: usize) {
        if plan.verdict == Verdict::Run && !plan.flags.has(Flags::SKIP_SLOWLOG) {
            self.log(kind).add(len as u64, words, client);
        }
    }
}

/// Which commands have constant cost, or one that grows with their words alone, so that a batch of them shares its time: those flagged FAST,
/// and those declared so. DEL is none of them: what it frees may be large.
pub(crate) fn is_brief(spec: &firn_engine::command::Spec) -> bool {
    let constant = ["O(1)", "O(N) where N is the number of keys"].contains(&spec.complexity)
        || spec.complexity.starts_with("O(1) for each ");
    spec.subcommands.is_empty() && (spec.flags.has(Flags::FAST) || constant)
}

/// A command's and its subcommands' counters with their full names, for all commands.
pub(crate) fn named_stats(table: &Table) -> impl Iterator<Item = (String, &crate::table::CommandStats)> {
    table.entries().iter().flat_map(|entry| {
        let name = entry.spec.name.to_ascii_lowercase();
        let subs = entry.spec.subcommands.iter().zip(&entry.subcommand_stats);
        let container = name.clone();
        let subs = subs.map(move |(sub, stats)| (format!("{container}|{}", sub.name.to_ascii_lowercase()), stats));
        std::iter::once((name, &entry.stats)).chain(subs)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_take_long_is_not_brief() {
        let brief = |name: &str| {
            let command = firn_engine::command::table::commands().iter().find(|command| command.spec.name == name);
            is_brief(&command.unwrap_or_else(|| panic!("{name} is a command")).spec)
        };
        for name in ["GET", "SET", "INCR", "MGET", "MSET", "LPUSH", "RPOP", "SADD", "HSET", "HGET", "ZADD", "EXPIRE"] {
            assert!(brief(name), "{name}");
        }
        for name in
            ["DEL", "KEYS", "SCAN", "SORT", "LRANGE", "SMEMBERS", "HGETALL", "SUNION", "ZRANGE", "FLUSHALL", "BITCOUNT"]
        {
            assert!(!brief(name), "{name}");
        }
    }
}

//! The configuration's words about the store, in the engine's terms; opening it at the start.

use crate::config::Config;
use crate::import::RedisFiles;
use crate::log;
use firn_engine::eviction::{MemorySettings, Policy};
use firn_engine::key::HashSeed;
use firn_engine::keyspace::PrefixSettings;
use firn_engine::recovery::{OpenError, RecoveryReport};
use firn_engine::snapshot::retention::Retention;
use firn_engine::snapshot::schedule::{AutoCompaction, SavePoint};
use firn_engine::store::{Options, Store, SyncPolicy, Tuning};
use firn_engine::value::Shaping;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

/// `appendfsync`.
pub(crate) fn policy(config: &Config) -> SyncPolicy {
    match config.choice("appendfsync") {
        "always" => SyncPolicy::Always,
        "no" => SyncPolicy::Never,
        _ => SyncPolicy::EverySecond,
    }
}

/// What can be changed while the store is open.
pub(crate) fn tuning(config: &Config) -> Tuning {
    let some = |value: u64| (value > 0).then_some(value);
    Tuning {
        retention: Retention {
            snapshots: config.size("snapshot-keep") as usize,
            keep_ms: some(config.size("log-keep-seconds").saturating_mul(1000)),
            keep_bytes: some(config.size("log-keep-bytes")),
        },
        auto_compaction: AutoCompaction {
            percentage: u32::try_from(config.size("auto-aof-rewrite-percentage")).unwrap_or(u32::MAX),
            min_len: config.size("auto-aof-rewrite-min-size"),
        },
        save_points: config.save_points().iter().map(|&(seconds, changes)| SavePoint { seconds, changes }).collect(),
    }
}

/// When collections change their form. The seed is the store's own affair.
pub(crate) fn shaping(config: &Config, seed: HashSeed) -> Shaping {
    // A negative limit lets nothing be packed; so does 0.
    let limit = |name: &str| usize::try_from(config.number(name)).unwrap_or(0);
    Shaping {
        seed,
        hash_max_listpack_entries: limit("hash-max-listpack-entries"),
        hash_max_listpack_value: limit("hash-max-listpack-value"),
        list_max_listpack_size: config.number("list-max-listpack-size") as i32,
        list_compress_depth: limit("list-compress-depth"),
        list_alone_len_min: usize::MAX,
        set_max_intset_entries: limit("set-max-intset-entries"),
        set_max_listpack_entries: limit("set-max-listpack-entries"),
        set_max_listpack_value: limit("set-max-listpack-value"),
        zset_max_listpack_entries: limit("zset-max-listpack-entries"),
        zset_max_listpack_value: limit("zset-max-listpack-value"),
        stream_node_max_bytes: limit("stream-node-max-bytes"),
        stream_node_max_entries: limit("stream-node-max-entries"),
        hll_sparse_max_bytes: limit("hll-sparse-max-bytes"),
    }
}

/// The memory limit and what is done at it.
pub(crate) fn memory(config: &Config) -> MemorySettings {
    let count = |name: &str| u32::try_from(config.number(name)).unwrap_or(0);
    MemorySettings {
        limit: config.size("maxmemory"),
        policy: Policy::named(config.choice("maxmemory-policy")).unwrap_or_default(),
        samples: count("maxmemory-samples") as usize,
        tenacity: count("maxmemory-eviction-tenacity"),
        lfu_log_factor: count("lfu-log-factor"),
        lfu_decay_minutes: count("lfu-decay-time"),
    }
}

/// Which statistics by key prefix there are.
pub(crate) fn prefixes(config: &Config) -> PrefixSettings {
    PrefixSettings {
        listed: config.byte_words("prefix-stats").iter().map(|word| word.as_slice().into()).collect(),
        delimiter: config.bytes("prefix-stats-delimiter").into(),
        discovered_max: config.number("prefix-stats-max") as usize,
    }
}

/// Opens the store in `dir`/`appenddirname`, of which `dir` is the working folder by now.
///
/// # Errors
/// [`OpenError`]: which file, where, and what to do.
pub(crate) fn open(config: &Config) -> Result<Store, OpenError> {
    let folder = config.path("appenddirname");
    let redis_files = RedisFiles {
        dir: config.path("dir").display().to_string(),
        dump: config.path("dbfilename"),
        log: config.path("appendfilename"),
        folder: folder.clone(),
        prefer_log: config.bool("appendonly"),
        truncated: config.bool("aof-load-truncated"),
    };
    let options = Options {
        databases: config.number("databases") as usize,
        policy: policy(config),
        log: config.bool("appendonly"),
        segment_len: config.size("log-segment-size"),
        compress: config.bool("log-compression"),
        tuning: tuning(config),
        allow_empty: config.bool("allow-empty-store"),
        shaping: shaping(config, HashSeed([0; 16])),
        import: Some(Arc::new(redis_files)),
        import_lfu: config.choice("maxmemory-policy").ends_with("lfu"),
        progress: Some(report_progress),
        ..Options::default()
    };
    let store = Store::open_folder(&folder, &options)?;
    tell(store.report(), &folder);
    Ok(store)
}

/// Long work says once a second how far it is.
fn report_progress(what: &str, done: u64, of: u64) {
    static LAST_SECOND: AtomicU64 = AtomicU64::new(0);
    let second = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let last = LAST_SECOND.swap(second, Relaxed);
    if last != 0 && last != second && done > 0 {
        let words = format!("{what}: {done} of {of} ({} %)", done * 100 / of.max(1));
        crate::supervise::status(&words);
        log::notice(format_args!("{words}"));
    }
}

fn tell(report: &RecoveryReport, folder: &Path) {
    let folder = folder.display();
    if let Some(imported) = &report.imported {
        log::notice(format_args!(
            "A new store was made in {folder} from {}: {} keys of RDB ({} more were dead), {} libraries of functions, {} commands, {:.3} seconds. The files stay as they \
             are and are not looked at again",
            imported.source,
            imported.keys,
            imported.expired,
            imported.libraries,
            imported.commands,
            report.took_ms as f64 / 1000.0
        ));
        for warning in &imported.warnings {
            log::warning(format_args!("{warning}"));
        }
    } else if report.created {
        log::notice(format_args!("A new store was made in {folder}"));
    } else {
        log::notice(format_args!(
            "DB loaded from {folder}: {:.3} seconds, LSN {} (snapshot at {}, {} records replayed from {} segments), epoch {}",
            report.took_ms as f64 / 1000.0,
            report.lsn,
            report.snapshot_lsn,
            report.records,
            report.segments,
            report.epoch
        ));
    }
    for warning in &report.warnings {
        log::warning(format_args!("{warning}"));
    }
}

//! MEMORY USAGE, STATS, DOCTOR, PURGE, MALLOC-STATS.

use super::help;
use super::info::{Memory, human};
use crate::allocator;
use crate::command::{After, ServerCall, ServerCommand};
use firn_engine::command::{Args, Arity, CommandError, Flags, Group, Keys, Reply, Spec};
use firn_engine::keyspace::Value;

const SUBCOMMAND: Spec = Spec { group: Group::Server, arity: Arity::Exactly(2), since: "4.0.0", ..Spec::BASE };

/// `MEMORY`.
pub(super) static MEMORY: ServerCommand = ServerCommand {
    spec: Spec {
        name: "MEMORY",
        arity: Arity::AtLeast(2),
        group: Group::Server,
        since: "4.0.0",
        summary: "Commands that look at the use of memory.",
        complexity: "Depends on subcommand.",
        subcommands: &[
            Spec { name: "DOCTOR", summary: "Returns what looks wrong about the use of memory.", ..SUBCOMMAND },
            Spec {
                name: "HELP",
                flags: Flags::LOADING.and(Flags::STALE),
                summary: "Returns what the subcommands do.",
                ..SUBCOMMAND
            },
            Spec { name: "MALLOC-STATS", summary: "Returns what the allocator counts.", ..SUBCOMMAND },
            Spec { name: "PURGE", summary: "Gives unused pages back to the system.", ..SUBCOMMAND },
            Spec { name: "STATS", summary: "Returns what memory is used for.", ..SUBCOMMAND },
            Spec {
                name: "USAGE",
                arity: Arity::AtLeast(3),
                flags: Flags::READONLY,
                keys: Keys::Range { first: 2, last: 2, step: 1, access: "RO" },
                summary: "Returns the bytes that a key and its value take.",
                complexity: "O(N) where N is the number of samples.",
                syntax: "key [SAMPLES count]",
                ..SUBCOMMAND
            },
        ],
        ..Spec::BASE
    },
    run: memory,
};

const HELP: &[&str] = &[
    "MEMORY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DOCTOR",
    "    Return memory problems reports.",
    "MALLOC-STATS",
    "    Return internal statistics report from the memory allocator.",
    "PURGE",
    "    Attempt to purge dirty pages for reclamation by the allocator.",
    "STATS",
    "    Return information about the memory usage of the server.",
    "USAGE <key> [SAMPLES <count>]",
    "    Return memory in bytes used by <key> and its value. Nested values are",
    "    sampled up to <count> times (default: 5, 0 means sample all).",
    "HELP",
    "    Print this help.",
];

/// Below this, ratios say nothing.
const DOCTOR_BYTES_MIN: u64 = 5 << 20;

fn memory(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<After, CommandError> {
    match MEMORY.spec.subcommand(args.get(1)).map_or("", |sub| sub.name) {
        "DOCTOR" => reply.verbatim("txt", diagnosis(&Memory::now(call)).as_bytes()),
        "MALLOC-STATS" => {
            let memory = Memory::now(call);
            let text = format!(
                "jemalloc\nallocated: {} ({})\nactive: {} ({})\nresident: {} ({})\n",
                memory.allocated,
                human(memory.allocated),
                memory.active,
                human(memory.active),
                memory.resident,
                human(memory.resident)
            );
            reply.verbatim("txt", text.as_bytes());
        }
        "PURGE" => {
            allocator::purge();
            reply.ok();
        }
        "STATS" => stats(call, reply),
        "USAGE" => usage(call, args, reply)?,
        "HELP" => help::write(HELP, reply),
        _ => return Err(help::unknown("MEMORY", args)),
    }
    Ok(After::Nothing)
}

fn diagnosis(memory: &Memory) -> String {
    if memory.used < DOCTOR_BYTES_MIN {
        return "This instance is empty or uses very little memory: there is nothing to be said yet.".into();
    }
    let mut text = String::new();
    if memory.peak > memory.used + memory.used / 2 {
        text.push_str(" * Peak memory: there was a time when this instance used more than 150% of what it uses now; the allocator may \
            hold pages of that time. MEMORY PURGE gives them back.\n");
    }
    if memory.resident > memory.used + memory.used * 2 / 5 && memory.resident - memory.used > 10 << 20 {
        text.push_str(" * High fragmentation: the process takes more than 140% of the memory that it uses.\n");
    }
    if memory.clients > memory.used / 2 {
        text.push_str(" * Big client buffers: clients' buffers take more than half of the memory; see CLIENT LIST, qbuf and omem.\n");
    }
    if text.is_empty() { "There is nothing wrong with the use of memory.".into() } else { text }
}

fn usage(call: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    match args.len() {
        3 => {}
        5 if args.is(3, "SAMPLES") => {
            if args.integer(4)? < 0 {
                return Err(CommandError::Syntax);
            }
        }
        _ => return Err(CommandError::Syntax),
    }
    let db = call.client.session.db;
    let engine = call.lock.get();
    let key = args.key(2, &engine.keyspace.seed());
    match engine.keyspace.db(db).get(key).filter(|entry| !engine.is_dead(entry)) {
        Some(entry) => {
            // A small string lives in one allocation with its key, which the index points to with 8 bytes; lengths and deadline stand
            // before them. jemalloc rounds to its size classes.
            let head = 8 + if entry.deadline.is_some() { 8 } else { 0 };
            let value = match entry.value {
                Value::String(value) => value.len(),
                Value::Collection(view) => view.to_owned().used_bytes(),
            };
            let bytes = (head + entry.key.len() + value) as u64;
            reply.integer((8 + size_class(bytes)) as i64);
        }
        None => reply.null(),
    }
    Ok(())
}

/// The block that jemalloc gives for `bytes`: multiples of 16 up to 128, then four steps for each power of two.
fn size_class(bytes: u64) -> u64 {
    match bytes {
        0..=8 => 8,
        9..=128 => bytes.next_multiple_of(16),
        _ => bytes.next_multiple_of(bytes.next_power_of_two() / 8),
    }
}

fn stats(call: &mut ServerCall<'_, '_>, reply: &mut dyn Reply) {
    let memory = Memory::now(call);
    let engine = call.engine();
    let databases: Vec<(usize, usize)> = (0..engine.keyspace.databases())
        .map(|number| (number, engine.keyspace.db(number).len()))
        .filter(|(_, keys)| *keys > 0)
        .collect();
    let keys: usize = databases.iter().map(|(_, keys)| keys).sum();
    let Memory { used, allocated, peak, dataset, active, resident, clients, .. } = memory;
    let ratio = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    let integer = |name: &str, value: u64, reply: &mut dyn Reply| {
        reply.bulk(name.as_bytes());
        reply.integer(value as i64);
    };
    let double = |name: &str, value: f64, reply: &mut dyn Reply| {
        reply.bulk(name.as_bytes());
        reply.double(value);
    };
    reply.map(27 + databases.len());
    for (name, value) in [
        ("peak.allocated", peak),
        ("total.allocated", used),
        ("startup.allocated", 0),
        ("replication.backlog", 0),
        ("clients.slaves", 0),
        ("clients.normal", clients),
        ("cluster.links", 0),
        ("aof.buffer", 0),
        ("lua.caches", 0),
        ("functions.caches", 0),
    ] {
        integer(name, value, reply);
    }
    for (number, _) in &databases {
        reply.bulk(format!("db.{number}").as_bytes());
        reply.map(2);
        // The index holds no second table for deadlines: they stand with their keys.
        integer("overhead.hashtable.main", 0, reply);
        integer("overhead.hashtable.expires", 0, reply);
    }
    for (name, value) in [
        ("overhead.total", used.saturating_sub(dataset)),
        ("keys.count", keys as u64),
        ("keys.bytes-per-key", dataset.checked_div(keys as u64).unwrap_or(0)),
        ("dataset.bytes", dataset),
    ] {
        integer(name, value, reply);
    }
    double("dataset.percentage", ratio(dataset, used) * 100.0, reply);
    double("peak.percentage", ratio(used, peak) * 100.0, reply);
    integer("allocator.allocated", allocated, reply);
    integer("allocator.active", active, reply);
    integer("allocator.resident", resident, reply);
    double("allocator-fragmentation.ratio", ratio(active, allocated), reply);
    integer("allocator-fragmentation.bytes", active.saturating_sub(allocated), reply);
    double("allocator-rss.ratio", ratio(resident, active), reply);
    integer("allocator-rss.bytes", resident.saturating_sub(active), reply);
    double("rss-overhead.ratio", 1.0, reply);
    integer("rss-overhead.bytes", 0, reply);
    double("fragmentation", ratio(resident, used), reply);
    integer("fragmentation.bytes", resident.saturating_sub(used), reply);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_rounded_as_jemalloc_does() {
        for (bytes, block) in
            [(1, 8), (9, 16), (17, 32), (128, 128), (129, 160), (257, 320), (1025, 1280), (4096, 4096)]
        {
            assert_eq!(size_class(bytes), block, "{bytes}");
        }
    }

    #[test]
    fn a_diagnosis_names_what_is_wrong() {
        let fine = || Memory {
            used: 100 << 20,
            uncounted: 0,
            allocated: 100 << 20,
            peak: 100 << 20,
            dataset: 90 << 20,
            active: 101 << 20,
            resident: 105 << 20,
            clients: 0,
        };
        assert_eq!(diagnosis(&fine()), "There is nothing wrong with the use of memory.");
        assert!(diagnosis(&Memory { used: 1, ..fine() }).contains("very little"));
        assert!(diagnosis(&Memory { peak: 200 << 20, ..fine() }).contains("Peak"));
        assert!(diagnosis(&Memory { resident: 200 << 20, ..fine() }).contains("fragmentation"));
        assert!(diagnosis(&Memory { clients: 60 << 20, ..fine() }).contains("client buffers"));
    }
}

//! OBJECT: how a key's value is kept. The names are those that clients know from Redis.

use super::error::excerpt;
use super::{Args, Arity, Call, Categories, Command, CommandError, Flags, Keys, Reply, Spec};
use crate::keyspace::{Entry, Value, usage};
use crate::number::parse_integer;

/// Longest string whose encoding is called `embstr`.
const EMBEDDED_LEN_MAX: usize = 44;

const SUBCOMMAND: Spec = Spec {
    arity: Arity::Exactly(3),
    flags: Flags::READONLY,
    keys: Keys::Range { first: 2, last: 2, step: 1, access: "RO" },
    categories: Categories::KEYSPACE,
    since: "2.2.3",
    syntax: "key",
    ..Spec::BASE
};

/// `OBJECT`.
pub(super) static OBJECT: Command = Command {
    spec: Spec {
        name: "OBJECT",
        arity: Arity::AtLeast(2),
        flags: Flags::NONE,
        since: "2.2.3",
        summary: "Commands that look at how a value is kept.",
        complexity: "Depends on subcommand.",
        subcommands: &[
            Spec { name: "ENCODING", summary: "Returns the name of a value's encoding.", ..SUBCOMMAND },
            Spec {
                name: "FREQ",
                since: "4.0.0",
                summary: "Returns how often a key is used, as LFU counts.",
                ..SUBCOMMAND
            },
            Spec {
                name: "HELP",
                arity: Arity::Exactly(2),
                flags: Flags::LOADING.and(Flags::STALE),
                keys: Keys::None,
                since: "6.2.0",
                summary: "Returns what the subcommands do.",
                syntax: "",
                ..SUBCOMMAND
            },
            Spec { name: "IDLETIME", summary: "Returns the seconds since a key was last used.", ..SUBCOMMAND },
            Spec { name: "REFCOUNT", summary: "Returns the number of references to a value.", ..SUBCOMMAND },
        ],
        ..Spec::BASE
    },
    run: object,
};

const HELP: &[&str] = &[
    "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
    "HELP",
    "    Print this help.",
];

fn object(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let Some(sub) = OBJECT.spec.subcommand(args.get(1)) else {
        let word = excerpt(args.get(1));
        return Err(CommandError::text(format!("ERR unknown subcommand '{word}'. Try OBJECT HELP.")));
    };
    if !sub.arity.fits(args.len()) {
        return Err(CommandError::WrongArity(format!("object|{}", sub.name.to_lowercase()).into()));
    }
    if sub.name == "HELP" {
        reply.array(HELP.len());
        HELP.iter().for_each(|line| reply.simple(line));
        return Ok(());
    }
    let memory = call.engine.settings.memory;
    let lfu = memory.lfu();
    let now_ms = call.engine.now_ms;
    let key = call.key(args, 2);
    let Some(entry) = call.inspect(key) else {
        reply.null();
        return Ok(());
    };
    match sub.name {
        "ENCODING" => reply.bulk(encoding(&entry).as_bytes()),
        "REFCOUNT" => reply.integer(1),
        "FREQ" if lfu => {
            reply.integer(i64::from(usage::frequency(entry.access, now_ms, memory.lfu_decay_minutes)));
        }
        "FREQ" => {
            return Err(CommandError::text(
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
                 switching between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
        _ if lfu => {
            return Err(CommandError::text(
                "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching \
                 between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
        _ => reply.integer(idle_seconds(&entry, now_ms) as i64),
    }
    Ok(())
}

/// Seconds since an entry was used; 0 if that is not known.
pub fn idle_seconds(entry: &Entry<'_>, now_ms: u64) -> u64 {
    usage::idle_ms(entry.access, now_ms).unwrap_or(0) / 1000
}

/// The encoding's name as Redis would call it.
pub fn encoding(entry: &Entry<'_>) -> &'static str {
    match entry.value {
        Value::Collection(view) => view.encoding(),
        Value::String(_) if entry.edited => "raw",
        Value::String(bytes) if parse_integer(bytes).is_some() => "int",
        Value::String(bytes) if bytes.len() <= EMBEDDED_LEN_MAX => "embstr",
        Value::String(_) => "raw",
    }
}

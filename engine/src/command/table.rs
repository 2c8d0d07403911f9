//! All commands on data: the list that dispatch, replay, COMMAND and ACL go by.

use super::{
    Command, NameIndex, bitmaps, counters, dump, expiry, flush, function, geo, hashes, hyperloglog, keys, lcs, lists,
    move_keys, msetex, object, ranges, scan, sets, sort, sorted_sets, streams, strings,
};
use std::sync::LazyLock;

/// The families, each with its commands.
static FAMILIES: &[&[&Command]] = &[
    STRINGS_AND_KEYS,
    bitmaps::COMMANDS,
    hyperloglog::COMMANDS,
    sets::COMMANDS,
    hashes::COMMANDS,
    sort::COMMANDS,
    sorted_sets::COMMANDS,
    geo::COMMANDS,
    streams::COMMANDS,
    lists::COMMANDS,
];

/// Every command on data, by family.
pub fn commands() -> &'static [&'static Command] {
    static COMMANDS: LazyLock<Vec<&'static Command>> = LazyLock::new(|| FAMILIES.concat());
    &COMMANDS
}

static STRINGS_AND_KEYS: &[&Command] = &[
    &strings::SET,
    &strings::GET,
    &strings::GETEX,
    &strings::GETDEL,
    &strings::GETSET,
    &strings::MSET,
    &strings::MSETNX,
    &msetex::MSETEX,
    &strings::MGET,
    &strings::SETEX,
    &strings::PSETEX,
    &strings::SETNX,
    &strings::DELIFEQ,
    &counters::INCR,
    &counters::DECR,
    &counters::INCRBY,
    &counters::DECRBY,
    &counters::INCRBYFLOAT,
    &ranges::APPEND,
    &ranges::STRLEN,
    &ranges::GETRANGE,
    &ranges::SUBSTR,
    &ranges::SETRANGE,
    &lcs::LCS,
    &keys::DEL,
    &keys::UNLINK,
    &keys::EXISTS,
    &keys::TYPE,
    &keys::TOUCH,
    &keys::DBSIZE,
    &keys::SELECT,
    &object::OBJECT,
    &expiry::EXPIRE,
    &expiry::PEXPIRE,
    &expiry::EXPIREAT,
    &expiry::PEXPIREAT,
    &expiry::TTL,
    &expiry::PTTL,
    &expiry::EXPIRETIME,
    &expiry::PEXPIRETIME,
    &expiry::PERSIST,
    &scan::KEYS,
    &scan::SCAN,
    &scan::RANDOMKEY,
    &move_keys::RENAME,
    &move_keys::RENAMENX,
    &move_keys::COPY,
    &move_keys::MOVE,
    &dump::DUMP,
    &dump::RESTORE,
    &dump::RESTORE_ASKING,
    &flush::SWAPDB,
    &flush::FLUSHDB,
    &flush::FLUSHALL,
    &function::FUNCTION,
];

/// The command called `name`, in any case of letters. Takes about ten nanoseconds and no memory.
#[inline]
pub fn find(name: &[u8]) -> Option<&'static Command> {
    static INDEX: LazyLock<NameIndex<&'static Command>> =
        LazyLock::new(|| NameIndex::new(commands().iter().map(|command| (command.spec.name.as_bytes(), *command))));
    INDEX.find(name)
}

/// COMMAND INFO's tips for cluster clients; `container` is `OBJECT` for one of its subcommands.
pub fn tips(container: Option<&str>, name: &str) -> &'static [&'static str] {
    match (container, name) {
        (None, "MSET") => &["request_policy:multi_shard", "response_policy:all_succeeded"],
        (None, "MGET") => &["request_policy:multi_shard"],
        (None, "DEL" | "UNLINK" | "EXISTS" | "TOUCH") => &["request_policy:multi_shard", "response_policy:agg_sum"],
        (None, "DBSIZE") => &["request_policy:all_shards", "response_policy:agg_sum"],
        (None, "FLUSHDB" | "FLUSHALL") => &["request_policy:all_shards", "response_policy:all_succeeded"],
        (None, "KEYS") => &["request_policy:all_shards", "nondeterministic_output_order"],
        (None, "HGETALL" | "HKEYS" | "HVALS") => &["nondeterministic_output_order"],
        (None, "HRANDFIELD" | "HSCAN") => &["nondeterministic_output"],
        (None, "SCAN") => &["nondeterministic_output", "request_policy:special", "response_policy:special"],
        (None, "DUMP") => &["nondeterministic_output"],
        (None, "RANDOMKEY") => &["request_policy:all_shards", "response_policy:special", "nondeterministic_output"],
        (None, "TTL" | "PTTL" | "ZRANDMEMBER" | "ZSCAN")
        | (Some("OBJECT"), "ENCODING" | "FREQ" | "IDLETIME" | "REFCOUNT") => &["nondeterministic_output"],
        (None, "XADD" | "XTRIM" | "XPENDING" | "XCLAIM" | "XAUTOCLAIM") | (Some("XINFO"), "CONSUMERS") => {
            &["nondeterministic_output"]
        }
        (None, "SMEMBERS" | "SINTER" | "SUNION" | "SDIFF") => &["nondeterministic_output_order"],
        (None, "SPOP" | "SRANDMEMBER" | "SSCAN") => &["nondeterministic_output"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_by_its_name_and_documented() {
        for command in commands() {
            let spec = &command.spec;
            assert!(std::ptr::eq(find(spec.name.to_lowercase().as_bytes()).unwrap(), *command), "{}", spec.name);
            assert!(!spec.summary.is_empty() && !spec.complexity.is_empty() && !spec.since.is_empty(), "{}", spec.name);
            assert_eq!(spec.name, spec.name.to_uppercase());
        }
        assert!(find(b"nope").is_none());
    }
}

//! Whether two replies to the same command are the same: byte for byte, except where an answer cannot be foretold (times that pass,
//! orders that no server promises), and where `differences.txt` lists what differs on purpose.

use crate::client::{Value, decode_frame};
use firn_engine::glob;

/// How far two servers' clocks may be apart when each answers a relative time, in ms.
const CLOCK_SLACK_MS: i64 = 5_000;

/// A difference on purpose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Glob over the command as [`super::show`] prints it, in upper case.
    pub command: String,
    /// Glob over Valkey's reply, escaped.
    pub valkey: String,
    /// Glob over Firn's reply, escaped.
    pub firn: String,
    /// Why.
    pub reason: String,
}

/// All of them, with how often each was met.
#[derive(Clone, Debug, Default)]
pub struct Differences {
    list: Vec<(Difference, u64)>,
}

impl Differences {
    /// Reads `differences.txt`: blocks of `command:`, `valkey:`, `firn:` and `reason:` lines; a line that begins with white space
    /// goes on with the one before; `#` begins a comment.
    ///
    /// # Errors
    /// The number of the line that is not understood, and why.
    pub fn parse(text: &str) -> Result<Differences, String> {
        let mut fields: [Option<String>; 4] = Default::default();
        let (mut list, mut open) = (Vec::new(), None);
        for (number, line) in text.lines().enumerate() {
            let wrong = |why: &str| Err(format!("line {}: {why}: {line}", number + 1));
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            if line.starts_with([' ', '\t']) {
                let Some(field) = open.and_then(|at: usize| fields[at].as_mut()) else {
                    return wrong("nothing to go on with");
                };
                field.push(' ');
                field.push_str(line.trim());
                continue;
            }
            let Some((name, rest)) = line.split_once(':') else { return wrong("no name") };
            let Some(at) = ["command", "valkey", "firn", "reason"].iter().position(|known| *known == name) else {
                return wrong("unknown name");
            };
            if at == 0 {
                flush(&mut fields, &mut list)?;
            }
            fields[at] = Some(rest.trim().to_owned());
            open = Some(at);
        }
        flush(&mut fields, &mut list)?;
        Ok(Differences { list })
    }

    /// Whether this difference is listed; counts it.
    fn allows(&mut self, command: &str, valkey: &str, firn: &str) -> bool {
        let fits = |pattern: &str, text: &str| glob::matches(pattern.as_bytes(), text.as_bytes());
        for (difference, met) in &mut self.list {
            if fits(&difference.command, command) && fits(&difference.valkey, valkey) && fits(&difference.firn, firn) {
                *met += 1;
                return true;
            }
        }
        false
    }

    /// Every listed difference, and how often it was met.
    pub fn met(&self) -> impl Iterator<Item = (&Difference, u64)> {
        self.list.iter().map(|(difference, met)| (difference, *met))
    }

    /// Whether `firn` will do as the reply to `words`, where Valkey answered `valkey`.
    /// See also [`Differences::accept_events`].
    pub fn accept(&mut self, words: &[Vec<u8>], valkey: &[u8], firn: &[u8]) -> bool {
        if same(words, valkey, firn) {
            return true;
        }
        let command = super::show(words).to_uppercase();
        self.allows(&command, &valkey.escape_ascii().to_string(), &firn.escape_ascii().to_string())
    }

    /// Whether `firn` will do as the keyspace events of `words`, where Valkey sent `valkey`. In the list they begin with `events `.
    pub fn accept_events(&mut self, words: &[Vec<u8>], valkey: &[u8], firn: &[u8]) -> bool {
        let shown = |events: &[u8]| format!("events {}", events.escape_ascii());
        valkey == firn || self.allows(&super::show(words).to_uppercase(), &shown(valkey), &shown(firn))
    }
}

fn flush(fields: &mut [Option<String>; 4], list: &mut Vec<(Difference, u64)>) -> Result<(), String> {
    match std::mem::take(fields) {
        [None, None, None, None] => Ok(()),
        [Some(command), Some(valkey), Some(firn), Some(reason)] if !reason.is_empty() => {
            list.push((Difference { command, valkey, firn, reason }, 0));
            Ok(())
        }
        incomplete => Err(format!("a block lacks a line: {incomplete:?}")),
    }
}

/// Whether two replies to the same command say the same.
pub(super) fn same(words: &[Vec<u8>], one: &[u8], other: &[u8]) -> bool {
    if one == other {
        return true;
    }
    let (Ok(one), Ok(other)) = (decode_frame(one), decode_frame(other)) else { return false };
    match words[0].to_ascii_uppercase().as_slice() {
        b"TTL" | b"EXPIRETIME" => close(&one, &other, CLOCK_SLACK_MS / 1000),
        b"PTTL" | b"PEXPIRETIME" => close(&one, &other, CLOCK_SLACK_MS),
        b"HTTL" | b"HEXPIRETIME" => all_close(&one, &other, CLOCK_SLACK_MS / 1000),
        b"HPTTL" | b"HPEXPIRETIME" => all_close(&one, &other, CLOCK_SLACK_MS),
        b"HGETALL" => matches!((pairs(one), pairs(other)), (Some(one), Some(other)) if one == other),
        b"HRANDFIELD" => match (&one, &other) {
            (Value::Array(one), Value::Array(other)) => one.len() == other.len(),
            _ => matches!((&one, &other), (Value::Bulk(_), Value::Bulk(_))),
        },
        // Payloads are each server's own; steps that move values restore them.
        b"DUMP" => matches!((&one, &other), (Value::Bulk(_), Value::Bulk(_))),
        // The order of keys is each server's own.
        b"KEYS" | b"SMEMBERS" | b"SINTER" | b"SUNION" | b"SDIFF" | b"SPOP" | b"HKEYS" | b"HVALS" => {
            matches!((sorted(one), sorted(other)), (Some(one), Some(other)) if one == other)
        }
        // A single step of a walk: cursor and share are each server's own. Whole walks are compared as sets.
        b"SCAN" | b"HSCAN" => {
            matches!((&one, &other), (Value::Array(one), Value::Array(other)) if one.len() == 2 && other.len() == 2)
        }
        // When entries were delivered and consumers were seen.
        b"XPENDING" | b"XINFO" => timeless(one) == timeless(other),
        // Which members is chance; how many is not.
        b"ZRANDMEMBER" | b"SRANDMEMBER" => match (&one, &other) {
            (Value::Array(one), Value::Array(other)) => one.len() == other.len(),
            (one, other) => matches!((one, other), (Value::Bulk(_), Value::Bulk(_))),
        },
        // A single call may give a part or all of it.
        b"ZSCAN" | b"SSCAN" => {
            matches!((&one, &other), (Value::Array(one), Value::Array(other)) if one.len() == 2 && other.len() == 2)
        }
        // The offset is each server's own.
        b"ROLE" => match (&one, &other) {
            (Value::Array(one), Value::Array(other)) => {
                one.len() == 3 && other.len() == 3 && one[0] == other[0] && one[2] == other[2]
            }
            _ => false,
        },
        b"RANDOMKEY" => matches!((&one, &other), (Value::Bulk(_), Value::Bulk(_))),
        _ => false,
    }
}

fn close(one: &Value, other: &Value, slack: i64) -> bool {
    match (one, other) {
        (Value::Integer(one), Value::Integer(other)) => {
            *one >= 0 && *other >= 0 && one.abs_diff(*other) <= slack as u64
        }
        _ => false,
    }
}

/// A stream's pending entries and consumers without their times: those of pending entries, which are `[id, consumer, time, count]` or
/// `[id, time, count]`, and those that have names.
fn timeless(value: Value) -> Value {
    use Value::{Array, Bulk, Integer, Map};
    const TIMES: [&[u8]; 4] = [b"idle", b"inactive", b"seen-time", b"active-time"];
    let (items, is_map) = match value {
        Array(items) => (items, false),
        Map(items) => (items, true),
        other => return other,
    };
    let time_at = match items.as_slice() {
        [Bulk(_), Bulk(_), Integer(_), Integer(_)] => Some(2),
        [Bulk(_), Integer(_), Integer(_)] => Some(1),
        _ => None,
    };
    let mut named = false;
    let items = items.into_iter().enumerate().map(|(at, item)| {
        let time = named || time_at == Some(at);
        named = item.bytes().is_some_and(|bytes| TIMES.contains(&bytes));
        match item {
            Integer(0..) if time => Integer(0),
            item => timeless(item),
        }
    });
    let items = items.collect();
    if is_map { Map(items) } else { Array(items) }
}

/// [`close`] for each of an array; what is no time is equal.
fn all_close(one: &Value, other: &Value, slack: i64) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|(one, other)| one == other || close(one, other, slack))
        }
        _ => false,
    }
}

/// Fields and values in the order of fields, and whether they came as a map.
fn pairs(value: Value) -> Option<(bool, Vec<Vec<Vec<u8>>>)> {
    let (map, items) = match value {
        Value::Map(items) => (true, items),
        Value::Array(items) => (false, items),
        _ => return None,
    };
    let words: Vec<Vec<u8>> = items.iter().map(|item| item.bytes().map(<[u8]>::to_vec)).collect::<Option<_>>()?;
    let mut pairs: Vec<_> = words.chunks(2).map(<[Vec<u8>]>::to_vec).collect();
    pairs.sort();
    Some((map, pairs))
}

/// The strings of an array, in order.
fn sorted(value: Value) -> Option<Vec<Vec<u8>>> {
    let Value::Array(items) = value else { return None };
    let mut items: Vec<Vec<u8>> = items.iter().map(|item| item.bytes().map(<[u8]>::to_vec)).collect::<Option<_>>()?;
    items.sort();
    Some(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Vec<u8>> {
        text.split(' ').map(Into::into).collect()
    }

    #[test]
    fn replies_are_the_same_byte_for_byte_or_where_nobody_can_foretell_them() {
        for (command, one, other, expected) in [
            ("GET a", "$1\r\n1\r\n", "$1\r\n1\r\n", true),
            ("GET a", "$1\r\n1\r\n", "$1\r\n2\r\n", false),
            ("GET a", "$-1\r\n", "_\r\n", false),
            ("PTTL a", ":1000\r\n", ":1003\r\n", true),
            ("PTTL a", ":1000\r\n", ":9003\r\n", false),
            ("ttl a", ":-1\r\n", ":-2\r\n", false),
            ("TTL a", ":-1\r\n", ":1\r\n", false),
            ("KEYS *", "*2\r\n$1\r\na\r\n$1\r\nb\r\n", "*2\r\n$1\r\nb\r\n$1\r\na\r\n", true),
            ("KEYS *", "*1\r\n$1\r\na\r\n", "*1\r\n$1\r\nb\r\n", false),
            ("HGETALL h", "*4\r\n+a\r\n+1\r\n+b\r\n+2\r\n", "*4\r\n+b\r\n+2\r\n+a\r\n+1\r\n", true),
            ("HGETALL h", "*4\r\n+a\r\n+1\r\n+b\r\n+2\r\n", "*4\r\n+b\r\n+1\r\n+a\r\n+2\r\n", false),
            ("HGETALL h", "*2\r\n+a\r\n+1\r\n", "%1\r\n+a\r\n+1\r\n", false),
            ("HPTTL h FIELDS 2 a b", "*2\r\n:1000\r\n:-2\r\n", "*2\r\n:1003\r\n:-2\r\n", true),
            ("HPTTL h FIELDS 2 a b", "*2\r\n:1000\r\n:-2\r\n", "*2\r\n:1003\r\n:-1\r\n", false),
            ("HRANDFIELD h 2", "*1\r\n+a\r\n", "*2\r\n+a\r\n+b\r\n", false),
            ("RANDOMKEY", "$1\r\na\r\n", "$1\r\nb\r\n", true),
            ("RANDOMKEY", "$1\r\na\r\n", "$-1\r\n", false),
            ("SCAN 0", "*2\r\n$1\r\n0\r\n*0\r\n", "*2\r\n$1\r\n5\r\n*0\r\n", true),
            ("SCAN 0", "*2\r\n$1\r\n0\r\n*0\r\n", "-ERR\r\n", false),
            (
                "XPENDING s g - + 9",
                "*1\r\n*4\r\n$3\r\n1-1\r\n$1\r\nc\r\n:5\r\n:1\r\n",
                "*1\r\n*4\r\n$3\r\n1-1\r\n$1\r\nc\r\n:7\r\n:1\r\n",
                true,
            ),
            ("XINFO CONSUMERS s g", "*1\r\n%1\r\n$4\r\nidle\r\n:5\r\n", "*1\r\n%1\r\n$4\r\nidle\r\n:9\r\n", true),
            (
                "XINFO CONSUMERS s g",
                "*1\r\n%1\r\n$7\r\npending\r\n:5\r\n",
                "*1\r\n%1\r\n$7\r\npending\r\n:9\r\n",
                false,
            ),
        ] {
            assert_eq!(
                same(&words(command), one.as_bytes(), other.as_bytes()),
                expected,
                "{command}: {one:?} {other:?}"
            );
        }
    }

    #[test]
    fn listed_differences_are_allowed_and_counted() {
        let text = "# why\ncommand: OBJECT ENCODING *\nvalkey: *embstr*\nfirn: *raw*\nreason: another\n  layout\n";
        let mut list = Differences::parse(text).unwrap();
        assert!(list.accept(&words("object encoding a"), b"$6\r\nembstr\r\n", b"$3\r\nraw\r\n"));
        assert!(!list.accept(&words("object encoding a"), b"$3\r\nraw\r\n", b"$6\r\nembstr\r\n"));
        assert_eq!(
            list.met().map(|(one, met)| (one.reason.as_str(), met)).collect::<Vec<_>>(),
            [("another layout", 1)]
        );
        for bad in ["command: a\nvalkey: b\n", "nonsense\n", " goes on\n", "unknown: x\n"] {
            assert!(Differences::parse(bad).is_err(), "{bad}");
        }
    }
}

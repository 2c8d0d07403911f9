//! One change of a history, and the keys that it touches.

use firn_engine::command::Keys;
use firn_engine::command::{Command, Flags, table};
use firn_engine::log::Lsn;

/// One command of a history. Commands of one record (a transaction) apply together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change<'a> {
    /// The file's name.
    pub(crate) file: &'a str,
    /// Where it is: of a frame in a segment, of the command in an AOF.
    pub(crate) offset: u64,
    /// Its record's number, where there are numbers.
    pub(crate) lsn: Option<Lsn>,
    /// Unix ms, if known.
    pub(crate) time_ms: Option<u64>,
    /// The database.
    pub(crate) db: usize,
    /// The name first.
    pub(crate) words: &'a [&'a [u8]],
}

/// What a command touches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Touches {
    /// The keys whose indexes were found; what happens to one depends on no other.
    Keys,
    /// The keys whose indexes were found, together: what happens to one may depend on another.
    Together,
    /// Every key of one database, or of all (FLUSHDB, FLUSHALL, SWAPDB).
    Databases,
    /// It may read any key (SORT with patterns).
    Anything,
    /// No key.
    Nothing,
}

/// The command behind the words, which of these are keys (put into `found`), and how it touches them. `None` for a command that this release
/// does not know.
pub(crate) fn touched(words: &[&[u8]], found: &mut Vec<usize>) -> Option<(&'static Command, Touches)> {
    found.clear();
    let command = table::find(words.first()?)?;
    let mut spec = &command.spec;
    if !spec.subcommands.is_empty()
        && let Some(sub) = words.get(1).and_then(|word| spec.subcommand(word))
    {
        spec = sub;
    }
    match spec.keys {
        Keys::None => {
            let all = matches!(command.spec.name, "FLUSHALL" | "FLUSHDB" | "SWAPDB");
            return Some((command, if all { Touches::Databases } else { Touches::Nothing }));
        }
        Keys::Range { first, last, .. } if i32::from(first) == i32::from(last) => found.push(usize::from(first)),
        _ => *found = spec.key_indexes(words).0,
    }
    found.retain(|at| *at < words.len());
    let touches = match command.spec.name {
        "DEL" | "UNLINK" | "MSET" | "TOUCH" => Touches::Keys,
        "SORT" if words.iter().skip(2).any(|word| word.contains(&b'*')) => Touches::Anything,
        _ if found.len() > 1 => Touches::Together,
        _ if found.is_empty() => Touches::Nothing,
        _ => Touches::Keys,
    };
    Some((command, touches))
}

/// What is wrong with a command that stands where only such stand as have changed something: one of a form that it never has, or that reads keys and
/// changes nothing. `None`: nothing, or nobody knows it.
pub(crate) fn odd(words: &[&[u8]]) -> Option<String> {
    let command = table::find(words.first()?)?;
    let name = command.spec.name;
    if !command.spec.arity.fits(words.len()) {
        return Some(format!(
            "'{name}' has {}, which it never has",
            crate::text::counted(words.len() as u64, "word", "words")
        ));
    }
    let reads = command.spec.flags.has(Flags::READONLY) && !writes(command, words) && name != "PFCOUNT";
    let mut places = Vec::new();
    let is_odd = reads && touched(words, &mut places).is_some() && !places.is_empty();
    is_odd.then(|| format!("'{name}' changes nothing: no server writes it into a log; what it was is not known"))
}

/// Whether the command behind the words writes: of one with subcommands, whether this one does.
pub(crate) fn writes(command: &Command, words: &[&[u8]]) -> bool {
    let sub = words.get(1).and_then(|word| command.spec.subcommand(word));
    sub.unwrap_or(&command.spec).flags.has(Flags::WRITE)
}

/// The words of a DEL, UNLINK, TOUCH or MSET with those keys alone that `wanted` lets through; `None` if none is left.
pub(crate) fn only<'a>(
    words: &[&'a [u8]],
    keys: &[usize],
    wanted: &mut dyn FnMut(&[u8]) -> bool,
) -> Option<Vec<&'a [u8]>> {
    let step = if words[0].eq_ignore_ascii_case(b"MSET") { 2 } else { 1 };
    let mut left = vec![words[0]];
    for &at in keys {
        if wanted(words[at]) {
            left.extend(words.iter().skip(at).take(step));
        }
    }
    (left.len() > 1).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_canonical_commands_are_found() {
        let cases: &[(&str, &[usize], Touches)] = &[
            ("SET a 1 PXAT 5", &[1], Touches::Keys),
            ("DEL a b c", &[1, 2, 3], Touches::Keys),
            ("MSET a 1 b 2", &[1, 3], Touches::Keys),
            ("RENAME a b", &[1, 2], Touches::Together),
            ("XGROUP CREATE s g 0", &[2], Touches::Keys),
            ("ZUNIONSTORE d 2 a b", &[1, 3, 4], Touches::Together),
            ("BITOP AND d a b", &[2, 3, 4], Touches::Together),
            ("FLUSHALL", &[], Touches::Databases),
            ("SWAPDB 0 1", &[], Touches::Databases),
            ("SORT l BY w_* STORE d", &[1, 5], Touches::Anything),
        ];
        let mut found = Vec::new();
        for (text, keys, touches) in cases {
            let words: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
            let (_, kind) = touched(&words, &mut found).unwrap();
            found.sort_unstable();
            assert_eq!((&found[..], kind), (*keys, *touches), "{text}");
        }
        assert!(touched(&[b"NOPE"], &mut found).is_none());
    }

    #[test]
    fn parts_of_separable_commands() {
        let words: Vec<&[u8]> = vec![b"MSET", b"a", b"1", b"b", b"2"];
        assert_eq!(only(&words, &[1, 3], &mut |key| key == b"b"), Some(vec![&b"MSET"[..], b"b", b"2"]));
        assert_eq!(only(&[b"DEL", b"a"], &[1], &mut |_| false), None);
    }
}

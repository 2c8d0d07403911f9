//! Key specs as COMMAND INFO shows them: where clients find a command's keys without asking the server.
//!
//! What follows from a declaration's range is made of it. Commands whose keys are found by looking at the words
//! (`Keys::Found`) have a row in [`FOUND`]; a test makes sure of that.

use firn_engine::command::{Keys, Spec};

/// Where to begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Begin {
    /// At this word.
    Index(i64),
    /// Behind this word, which is looked for from this index on (backwards if negative).
    Keyword(&'static str, i64),
    /// It cannot be told.
    Unknown,
}

/// Which words are keys, counted from where it begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Find {
    /// Up to `last` (from the end of the words if negative) in steps; of what is left, one in `limit` if that is not 0.
    Range { last: i64, step: i64, limit: i64 },
    /// As many as the word at the beginning says, from the next on in steps.
    Counted { step: i64 },
    /// It cannot be told.
    Unknown,
}

/// One key spec.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct KeySpec {
    /// Flags as declarations write them.
    pub(super) flags: &'static str,
    pub(super) begin: Begin,
    pub(super) find: Find,
}

const ONE: Find = Find::Range { last: 0, step: 1, limit: 0 };

const fn one(flags: &'static str, begin: Begin) -> KeySpec {
    KeySpec { flags, begin, find: ONE }
}

const fn counted(flags: &'static str, index: i64) -> KeySpec {
    KeySpec { flags, begin: Begin::Index(index), find: Find::Counted { step: 1 } }
}

const fn unknown(flags: &'static str) -> KeySpec {
    KeySpec { flags, begin: Begin::Unknown, find: Find::Unknown }
}

/// Half of the words behind STREAMS; the other half are IDs.
const fn streams(from: i64) -> KeySpec {
    let find = Find::Range { last: -1, step: 1, limit: 2 };
    KeySpec { flags: "RO ACCESS", begin: Begin::Keyword("STREAMS", from), find }
}

const READ: &str = "RO ACCESS";
const POP: &str = "RW ACCESS DELETE";
const STORE: &str = "OW UPDATE";
const SCRIPT: &str = "RW ACCESS UPDATE";

/// Commands whose keys are found by looking at the words.
const FOUND: &[(&str, &[KeySpec])] = &[
    ("BLMPOP", &[counted(POP, 2)]),
    ("BZMPOP", &[counted(POP, 2)]),
    ("EVAL", &[counted(SCRIPT, 2)]),
    ("EVALSHA", &[counted(SCRIPT, 2)]),
    ("EVALSHA_RO", &[counted(READ, 2)]),
    ("EVAL_RO", &[counted(READ, 2)]),
    ("FCALL", &[counted(SCRIPT, 2)]),
    ("FCALL_RO", &[counted(READ, 2)]),
    (
        "GEORADIUS",
        &[
            one(READ, Begin::Index(1)),
            one("OW UPDATE VARIABLE_FLAGS", Begin::Keyword("STORE", 6)),
            one("OW UPDATE VARIABLE_FLAGS", Begin::Keyword("STOREDIST", 6)),
        ],
    ),
    (
        "GEORADIUSBYMEMBER",
        &[
            one(READ, Begin::Index(1)),
            one("OW UPDATE VARIABLE_FLAGS", Begin::Keyword("STORE", 5)),
            one("OW UPDATE VARIABLE_FLAGS", Begin::Keyword("STOREDIST", 5)),
        ],
    ),
    ("LMPOP", &[counted(POP, 1)]),
    (
        "MIGRATE",
        &[
            one(POP, Begin::Index(3)),
            KeySpec {
                flags: "RW ACCESS DELETE INCOMPLETE",
                begin: Begin::Keyword("KEYS", -2),
                find: Find::Range { last: -1, step: 1, limit: 0 },
            },
        ],
    ),
    ("MSETEX", &[KeySpec { flags: STORE, begin: Begin::Index(1), find: Find::Counted { step: 2 } }]),
    ("SINTERCARD", &[counted(READ, 1)]),
    // BY and GET name keys by the elements; STORE may stand anywhere.
    ("SORT", &[one(READ, Begin::Index(1)), unknown(READ), unknown(STORE)]),
    ("SORT_RO", &[one(READ, Begin::Index(1)), unknown(READ)]),
    ("XREAD", &[streams(1)]),
    ("XREADGROUP", &[streams(4)]),
    ("ZDIFF", &[counted(READ, 1)]),
    ("ZDIFFSTORE", &[one(STORE, Begin::Index(1)), counted(READ, 2)]),
    ("ZINTER", &[counted(READ, 1)]),
    ("ZINTERCARD", &[counted(READ, 1)]),
    ("ZINTERSTORE", &[one(STORE, Begin::Index(1)), counted(READ, 2)]),
    ("ZMPOP", &[counted(POP, 1)]),
    ("ZUNION", &[counted(READ, 1)]),
    ("ZUNIONSTORE", &[one(STORE, Begin::Index(1)), counted(READ, 2)]),
];

/// The key specs of a command or subcommand.
pub(super) fn of(spec: &Spec) -> Vec<KeySpec> {
    match spec.keys {
        Keys::None => Vec::new(),
        Keys::Range { first, last, step, access } => {
            let flags: Vec<&'static str> = access.split('|').map(str::trim).collect();
            let (first, last, step) = (i64::from(first), i64::from(last), i64::from(step));
            let count = flags.len() as i64;
            let specs = flags.into_iter().zip(0..);
            specs
                .map(|(flags, number)| {
                    let begin = first + number * step;
                    // Each spec but the last is about one key. A last key that is counted from the start is told relative to the first.
                    let last = match number + 1 < count {
                        true => 0,
                        false if last < 0 => last,
                        false => last - begin,
                    };
                    let step = if last == 0 { 1 } else { step };
                    KeySpec { flags, begin: Begin::Index(begin), find: Find::Range { last, step, limit: 0 } }
                })
                .collect()
        }
        Keys::Found { access, .. } => match FOUND.iter().find(|(name, _)| *name == spec.name) {
            Some((_, specs)) => specs.to_vec(),
            None => access.split('|').map(|flags| unknown(flags.trim())).collect(),
        },
    }
}

/// The flags of a spec as COMMAND shows them: all in lower case but for what is done to the key as a whole.
pub(super) fn shown_flags(flags: &'static str) -> Vec<&'static str> {
    let lower = |flag: &'static str| match flag {
        "ACCESS" => "access",
        "UPDATE" => "update",
        "INSERT" => "insert",
        "DELETE" => "delete",
        "VARIABLE_FLAGS" => "variable_flags",
        "INCOMPLETE" => "incomplete",
        "NOT_KEY" => "not_key",
        other => other,
    };
    flags.split_ascii_whitespace().map(lower).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u16, last: i16, step: u16, access: &'static str) -> Vec<KeySpec> {
        of(&Spec { keys: Keys::Range { first, last, step, access }, ..Spec::BASE })
    }

    #[test]
    fn ranges_are_told_relative_to_their_first_key_and_by_what_is_done() {
        assert_eq!(range(1, 1, 1, "RO"), [one("RO", Begin::Index(1))]);
        assert_eq!(range(1, 2, 1, "A | B"), [one("A", Begin::Index(1)), one("B", Begin::Index(2))]);
        let rest = |flags, begin, last, step| KeySpec {
            flags,
            begin: Begin::Index(begin),
            find: Find::Range { last, step, limit: 0 },
        };
        assert_eq!(range(1, -1, 2, "A"), [rest("A", 1, -1, 2)]);
        assert_eq!(range(2, -1, 1, "A | B"), [one("A", Begin::Index(2)), rest("B", 3, -1, 1)]);
        assert_eq!(range(1, 3, 1, "A"), [rest("A", 1, 2, 1)]);
    }

    #[test]
    fn every_command_whose_keys_are_found_has_its_row() {
        let data = firn_engine::command::table::commands().iter().map(|command| &command.spec);
        let specs = data.chain(crate::start::server_commands().map(|command| &command.spec));
        for spec in specs.flat_map(|spec| [spec].into_iter().chain(spec.subcommands)) {
            if matches!(spec.keys, Keys::Found { .. }) {
                assert!(FOUND.iter().any(|(name, _)| *name == spec.name), "{}", spec.name);
            }
        }
    }
}

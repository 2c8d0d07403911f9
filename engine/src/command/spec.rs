//! A command's declaration: one row serves dispatch, COMMAND INFO/DOCS/GETKEYS, ACL categories and the documentation.

use crate::number::parse_integer;

/// How many words a command takes, its name included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arity {
    /// Exactly so many.
    Exactly(u16),
    /// So many or more.
    AtLeast(u16),
}

impl Arity {
    /// Whether `words` words are right.
    #[inline]
    pub fn fits(self, words: usize) -> bool {
        match self {
            Arity::Exactly(n) => words == n as usize,
            Arity::AtLeast(n) => words >= n as usize,
        }
    }

    /// As COMMAND INFO prints it: negative means "at least".
    pub fn as_redis(self) -> i64 {
        match self {
            Arity::Exactly(n) => i64::from(n),
            Arity::AtLeast(n) => -i64::from(n),
        }
    }
}

/// Which words are keys.
#[derive(Clone, Copy, Debug)]
pub enum Keys {
    /// None.
    None,
    /// `first..=last` in steps; a negative `last` counts from the end (-1: the last word). `access` holds Redis' key-spec
    /// flags for COMMAND INFO, e.g. `RW ACCESS UPDATE`; where each key has its own spec they are separated by ` | `, e.g.
    /// `RW ACCESS DELETE | OW UPDATE` for RENAME.
    Range {
        /// Index of the first key.
        first: u16,
        /// Index of the last key, or negative from the end.
        last: i16,
        /// Distance between keys.
        step: u16,
        /// Key-spec flags, words separated by a space.
        access: &'static str,
    },
    /// Found by looking at the words; pushes the indexes of keys. `access` as above.
    Found {
        /// Finds the keys' indexes.
        find: fn(&[&[u8]], &mut Vec<usize>),
        /// What COMMAND INFO prints as first, last, step.
        legacy: (u16, i16, u16),
        /// Key-spec flags.
        access: &'static str,
    },
}

/// Pushes the indexes of the keys of `numkeys key [key ...]`, whose number is word `at`. If there are none, or not so many words, the
/// command is only going to answer an error: then it has no keys at all, those found before among them.
pub fn counted_keys(words: &[&[u8]], at: usize, found: &mut Vec<usize>) {
    let count = words.get(at).and_then(|word| parse_integer(word)).and_then(|count| usize::try_from(count).ok());
    match count.filter(|count| (1..words.len().saturating_sub(at)).contains(count)) {
        Some(count) => found.extend(at + 1..=at + count),
        None => found.clear(),
    }
}

impl Keys {
    /// The first word after the name, and no other.
    pub const fn first(access: &'static str) -> Keys {
        Keys::Range { first: 1, last: 1, step: 1, access }
    }

    /// Every word after the name.
    pub const fn all(access: &'static str) -> Keys {
        Keys::Range { first: 1, last: -1, step: 1, access }
    }
}

/// A set of command flags (Redis' names).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags(pub u32);

#[allow(missing_docs)] // The names are Redis' own; `NAMES` has their texts.
impl Flags {
    pub const NONE: Flags = Flags(0);
    pub const WRITE: Flags = Flags(1);
    pub const READONLY: Flags = Flags(1 << 1);
    pub const DENYOOM: Flags = Flags(1 << 2);
    pub const ADMIN: Flags = Flags(1 << 3);
    pub const PUBSUB: Flags = Flags(1 << 4);
    pub const NOSCRIPT: Flags = Flags(1 << 5);
    pub const BLOCKING: Flags = Flags(1 << 6);
    pub const LOADING: Flags = Flags(1 << 7);
    pub const STALE: Flags = Flags(1 << 8);
    pub const SKIP_MONITOR: Flags = Flags(1 << 9);
    pub const SKIP_SLOWLOG: Flags = Flags(1 << 10);
    pub const ASKING: Flags = Flags(1 << 11);
    pub const FAST: Flags = Flags(1 << 12);
    pub const NO_AUTH: Flags = Flags(1 << 13);
    /// Not shown by COMMAND INFO, as in Redis: CLIENT PAUSE WRITE holds it although it only reads, or touches no data.
    pub const MAY_REPLICATE: Flags = Flags(1 << 14);
    pub const NO_MULTI: Flags = Flags(1 << 15);
    pub const MOVABLEKEYS: Flags = Flags(1 << 16);
    pub const ALLOW_BUSY: Flags = Flags(1 << 17);
    pub const NO_ASYNC_LOADING: Flags = Flags(1 << 18);
    pub const NO_MANDATORY_KEYS: Flags = Flags(1 << 21);
    /// Runs at once inside MULTI, where other commands are queued.
    pub const UNQUEUED: Flags = Flags(1 << 20);
    /// Its words from the third on are members or fields of the key's collection: worth fetching ahead.
    pub const MEMBERS: Flags = Flags(1 << 28);
    /// Only every second of them is.
    pub const PAIRS: Flags = Flags(1 << 29);
    /// A score goes before each of them.
    pub const SCORED: Flags = Flags(1 << 30);
    /// Only for replay and tools; clients get "unknown command".
    pub const INTERNAL: Flags = Flags(1 << 19);

    /// Bit and COMMAND INFO's name.
    pub const NAMES: [(Flags, &'static str); 19] = [
        (Flags::WRITE, "write"),
        (Flags::READONLY, "readonly"),
        (Flags::DENYOOM, "denyoom"),
        (Flags::ADMIN, "admin"),
        (Flags::PUBSUB, "pubsub"),
        (Flags::NOSCRIPT, "noscript"),
        (Flags::BLOCKING, "blocking"),
        (Flags::LOADING, "loading"),
        (Flags::STALE, "stale"),
        (Flags::SKIP_MONITOR, "skip_monitor"),
        (Flags::SKIP_SLOWLOG, "skip_slowlog"),
        (Flags::ASKING, "asking"),
        (Flags::FAST, "fast"),
        (Flags::NO_AUTH, "no_auth"),
        (Flags::NO_MULTI, "no_multi"),
        (Flags::MOVABLEKEYS, "movablekeys"),
        (Flags::ALLOW_BUSY, "allow_busy"),
        (Flags::NO_ASYNC_LOADING, "no_async_loading"),
        (Flags::NO_MANDATORY_KEYS, "no_mandatory_keys"),
    ];

    /// Both sets together.
    #[must_use]
    pub const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// This set without what is in `other`.
    #[must_use]
    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }

    /// Whether all of `other` is in this set.
    #[inline]
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The family a command belongs to (COMMAND DOCS' `group`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Group {
    String,
    Generic,
    Server,
    Connection,
    Hash,
    List,
    Set,
    SortedSet,
    Stream,
    Bitmap,
    Hyperloglog,
    Geo,
    Pubsub,
    Transactions,
    Scripting,
    Cluster,
}

impl Group {
    /// As COMMAND DOCS prints it.
    pub fn name(self) -> &'static str {
        match self {
            Group::String => "string",
            Group::Generic => "generic",
            Group::Server => "server",
            Group::Connection => "connection",
            Group::Hash => "hash",
            Group::List => "list",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Stream => "stream",
            Group::Bitmap => "bitmap",
            Group::Hyperloglog => "hyperloglog",
            Group::Geo => "geo",
            Group::Pubsub => "pubsub",
            Group::Transactions => "transactions",
            Group::Scripting => "scripting",
            Group::Cluster => "cluster",
        }
    }
}

/// ACL categories beyond those that follow from flags and group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Categories(pub u32);

#[allow(missing_docs)]
impl Categories {
    pub const NONE: Categories = Categories(0);
    pub const DANGEROUS: Categories = Categories(1);
    pub const KEYSPACE: Categories = Categories(1 << 1);
    pub const CONNECTION: Categories = Categories(1 << 2);

    /// Whether all of `other` is in this set.
    pub const fn has(self, other: Categories) -> bool {
        self.0 & other.0 == other.0
    }
}

/// One command's declaration.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The name in upper case; a subcommand's own word (`GETKEYS`), without its container.
    pub name: &'static str,
    /// How many words.
    pub arity: Arity,
    /// What it may do.
    pub flags: Flags,
    /// Where its keys are.
    pub keys: Keys,
    /// Its family.
    pub group: Group,
    /// ACL categories that do not follow from flags and group (`keyspace`, `dangerous`, `connection`).
    pub categories: Categories,
    /// The Redis (or Valkey, or Firn) version that first had it.
    pub since: &'static str,
    /// One line of what it does.
    pub summary: &'static str,
    /// Its cost, e.g. `O(1)`.
    pub complexity: &'static str,
    /// The words after the name in the notation of Redis' documentation, e.g. `key value [NX | XX] [GET] [EX seconds | PX milliseconds]`.
    /// COMMAND DOCS' argument trees are parsed from it.
    pub syntax: &'static str,
    /// Subcommands, for containers such as OBJECT.
    pub subcommands: &'static [Spec],
}

impl Spec {
    /// Where a command's keys are in its words, and what it does with them (key-spec flags). An index may lie behind the words if
    /// they are fewer than the arity wants.
    pub fn key_indexes(&self, words: &[&[u8]]) -> (Vec<usize>, &'static str) {
        match self.keys {
            Keys::None => (Vec::new(), ""),
            Keys::Range { access, .. } => (self.key_range(words.len()).collect(), access),
            Keys::Found { find, access, .. } => {
                let mut found = Vec::new();
                find(words, &mut found);
                (found, access)
            }
        }
    }

    /// The indexes of the keys of a [`Keys::Range`] among `words` words; of anything else, none.
    pub fn key_range(&self, words: usize) -> impl Iterator<Item = usize> + use<> {
        let (first, last, step) = match self.keys {
            Keys::Range { first, last, step, .. } => (usize::from(first), last, usize::from(step).max(1)),
            Keys::None | Keys::Found { .. } => (1, 0, 1),
        };
        let last = match usize::try_from(last) {
            Ok(last) => last,
            Err(_) => words.saturating_sub(usize::from(last.unsigned_abs())),
        };
        (first..=last).step_by(step)
    }

    /// What most commands do not have: no keys, no extra categories, no subcommands. A declaration ends with `..Spec::BASE`.
    pub const BASE: Spec = Spec {
        name: "",
        arity: Arity::Exactly(1),
        flags: Flags::NONE,
        keys: Keys::None,
        group: Group::Generic,
        categories: Categories::NONE,
        since: "1.0.0",
        summary: "",
        complexity: "O(1)",
        syntax: "",
        subcommands: &[],
    };

    /// The subcommand called `word`, in any case of letters.
    pub fn subcommand(&self, word: &[u8]) -> Option<&'static Spec> {
        self.subcommands.iter().find(|sub| sub.name.as_bytes().eq_ignore_ascii_case(word))
    }
}

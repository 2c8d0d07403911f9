//! Why bytes are not an RDB file or payload, and where.

use crate::value::BadValue;
use crate::value::listpack::BadListpack;
use std::fmt;
use std::io;

/// Why reading stopped.
#[derive(Debug)]
pub enum RdbError {
    /// The source failed; the bytes may be whole.
    Read {
        /// So many bytes were read before.
        offset: u64,
        /// What it said.
        source: io::Error,
    },
    /// The bytes are damaged, or of a kind that this build does not know.
    Bad {
        /// Where what is wrong begins, in bytes from the beginning.
        offset: u64,
        /// The key whose value it is.
        key: Option<Box<[u8]>>,
        /// What is wrong.
        why: BadRdb,
    },
}

impl RdbError {
    pub(super) fn bad(offset: u64, why: impl Into<BadRdb>) -> RdbError {
        RdbError::Bad { offset, key: None, why: why.into() }
    }

    /// Adds the key, unless there is one.
    pub(super) fn of(self, name: &[u8]) -> RdbError {
        match self {
            RdbError::Bad { offset, key: None, why } => RdbError::Bad { offset, key: Some(name.into()), why },
            other => other,
        }
    }

    /// Where it is.
    pub fn offset(&self) -> u64 {
        match self {
            RdbError::Read { offset, .. } | RdbError::Bad { offset, .. } => *offset,
        }
    }

    /// Whether only the value's content is wrong, while its extent is known: [`super::Reader::skip_value`] gets behind it.
    pub fn is_content(&self) -> bool {
        matches!(self, RdbError::Bad { why, .. } if why.is_content())
    }
}

impl fmt::Display for RdbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RdbError::Read { offset, source } => write!(f, "reading failed at byte {offset}: {source}"),
            RdbError::Bad { offset, key: None, why } => write!(f, "at byte {offset}: {why}"),
            RdbError::Bad { offset, key: Some(key), why } => {
                let shown = &key[..key.len().min(128)];
                let more = if shown.len() < key.len() { "..." } else { "" };
                write!(f, "at byte {offset}, in the value of key \"{}{more}\": {why}", shown.escape_ascii())
            }
        }
    }
}

impl std::error::Error for RdbError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RdbError::Read { source, .. } => Some(source),
            RdbError::Bad { .. } => None,
        }
    }
}

/// Every way to be wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs)] // The texts say it.
pub enum BadRdb {
    #[error("this is no RDB file: it begins with neither REDIS and four digits nor VALKEY and three")]
    Magic,
    #[error(
        "RDB version {0} is newer than this build reads (Redis' up to {max}, Valkey's {valkey}): use a newer release of Firn",
        max = super::REDIS_VERSION_MAX, valkey = super::VALKEY_VERSION
    )]
    Newer(u32),
    #[error("RDB version {0} does not exist")]
    Version(u32),
    #[error("the bytes end too early")]
    Cut,
    #[error("a length has the unknown form {0:#04x}")]
    LengthForm(u8),
    #[error("a length is in place of a string, or the other way round")]
    NotALength,
    #[error("a string has the unknown form {0}")]
    StringForm(u8),
    #[error("a string of {len} bytes is longer than {max}")]
    TooLong { len: u64, max: usize },
    #[error("{len} bytes cannot come out of {compressed} compressed ones")]
    LzfLengths { compressed: u64, len: u64 },
    #[error("compressed bytes do not decompress to the stated length")]
    Lzf,
    #[error("a value has the unknown type {0}")]
    Type(u8),
    #[error("a value of a module in the form of Redis 4.0's release candidates, which cannot even be skipped")]
    ModulePreGa,
    #[error("a value of a module, which cannot be restored")]
    Module,
    #[error("a module's data has the unknown part {0}")]
    ModulePart(u64),
    #[error("the checksum is {stated:#018x}, the bytes give {computed:#018x}")]
    Checksum { stated: u64, computed: u64 },
    #[error("database {0} cannot be")]
    Database(u64),
    #[error("a ziplist's header, end or lengths do not agree with its bytes")]
    Ziplist,
    #[error("a zipmap's lengths do not agree with its bytes")]
    Zipmap,
    #[error("an intset's width, length or order is wrong")]
    Intset,
    #[error("a listpack's header or end does not agree with its bytes")]
    Listpack,
    #[error("a listpack is damaged: {0}")]
    ListpackEntry(#[from] BadListpack),
    #[error("the packed elements are not whole pairs")]
    Unpaired,
    #[error("a score is not a number")]
    Score,
    #[error("a deadline is not a time")]
    Deadline,
    #[error("a list's node is of the unknown kind {0}")]
    NodeKind(u64),
    #[error("a stream's node is not made of entries")]
    StreamNode,
    #[error("a stream's entries are not in order of their IDs, or above its last ID")]
    StreamOrder,
    #[error("a pending entry is listed twice, belongs to no consumer, or to one only")]
    Pending,
    #[error("consumer groups are listed twice or are too many")]
    Group,
    #[error("the collection has no elements")]
    Empty,
    #[error("the value does not decode: {0}")]
    Value(#[from] BadValue),
    #[error("{0} bytes follow the value")]
    Trailing(usize),
}

impl BadRdb {
    fn is_content(self) -> bool {
        !matches!(
            self,
            BadRdb::Magic
                | BadRdb::Newer(_)
                | BadRdb::Version(_)
                | BadRdb::Cut
                | BadRdb::LengthForm(_)
                | BadRdb::NotALength
                | BadRdb::StringForm(_)
                | BadRdb::Type(_)
                | BadRdb::ModulePreGa
                | BadRdb::ModulePart(_)
                | BadRdb::Checksum { .. }
                | BadRdb::Database(_)
                | BadRdb::TooLong { .. }
                | BadRdb::LzfLengths { .. }
        )
    }
}

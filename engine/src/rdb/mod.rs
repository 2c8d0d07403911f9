//! Redis' and Valkey's RDB format: reading every version and encoding, writing those that both load, and the payloads of DUMP and RESTORE.
//!
//! From the bottom up: `input` (bytes with their offset and checksum), `length` (lengths and heads of strings), `lzf`, the packed forms
//! (`ziplist`, `zipmap`, `intset`, `packed`), `value` (one value by its type), [`reader`] (a file as events), `encode` (a value's bytes), [`writer`]
//! (a file), [`dump`] (one value with a checksum), [`functions`] (libraries with a checksum).
//!
//! 1. Nothing is adopted as bytes: what a value holds is handed on element by element, in the form of parts (`FORMAT.md`, "Collections"), from which
//!    collections are built by their own constructors.
//! 2. Memory is bounded by the longest string of a file (an element, or one packed run) and the pending entries of one consumer group, never
//!    by a value or a file. No memory is taken for a length that was not read yet, nor for a decompressed length that the compressed bytes
//!    cannot have.
//! 3. Every way to be wrong is one error with the offset. Reading never panics and never loops without taking bytes.

pub mod dump;
mod encode;
pub mod error;
pub mod functions;
pub(crate) mod input;
mod intset;
mod length;
mod lzf;
pub mod mend;
mod packed;
pub mod reader;
mod stream;
mod stream_encode;
mod value;
pub mod writer;
mod ziplist;
mod zipmap;

#[cfg(test)]
mod tests;

pub use error::{BadRdb, RdbError};
pub use reader::{EntryPart, Event, Header, Library, ModuleName, Reader, Skipped, Usage};
pub use writer::Writer;

/// Who has defined a version of the format: numbers above 79 are Valkey's, those from 12 to 79 Redis' alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// Redis, and what it has in common with Valkey.
    Redis,
    /// Valkey since 9.0.
    Valkey,
}

/// The newest version of Redis' own that is read and written (Redis 7.4).
pub const REDIS_VERSION_MAX: u32 = 12;
/// Valkey's version (9.0).
pub const VALKEY_VERSION: u32 = 80;

/// The first of Valkey's own versions.
const VALKEY_VERSION_MIN: u32 = 80;
/// Versions from this one on end with a checksum.
const VERSION_WITH_CHECKSUM: u32 = 5;

impl Dialect {
    /// Whose a version is.
    pub fn of(version: u32) -> Dialect {
        if version >= VALKEY_VERSION_MIN { Dialect::Valkey } else { Dialect::Redis }
    }
}

/// Types of values, as Redis numbers them.
#[allow(missing_docs)] // The names say it; what they hold is in `value`.
mod kind {
    pub(super) const STRING: u8 = 0;
    pub(super) const LIST: u8 = 1;
    pub(super) const SET: u8 = 2;
    pub(super) const ZSET: u8 = 3;
    pub(super) const HASH: u8 = 4;
    pub(super) const ZSET_2: u8 = 5;
    pub(super) const MODULE_PRE_GA: u8 = 6;
    pub(super) const MODULE_2: u8 = 7;
    pub(super) const HASH_ZIPMAP: u8 = 9;
    pub(super) const LIST_ZIPLIST: u8 = 10;
    pub(super) const SET_INTSET: u8 = 11;
    pub(super) const ZSET_ZIPLIST: u8 = 12;
    pub(super) const HASH_ZIPLIST: u8 = 13;
    pub(super) const LIST_QUICKLIST: u8 = 14;
    pub(super) const STREAM_LISTPACKS: u8 = 15;
    pub(super) const HASH_LISTPACK: u8 = 16;
    pub(super) const ZSET_LISTPACK: u8 = 17;
    pub(super) const LIST_QUICKLIST_2: u8 = 18;
    pub(super) const STREAM_LISTPACKS_2: u8 = 19;
    pub(super) const SET_LISTPACK: u8 = 20;
    pub(super) const STREAM_LISTPACKS_3: u8 = 21;
    /// Redis 7.4's release candidates; in Valkey's versions `HASH_2`: a hash with deadlines of fields.
    pub(super) const HASH_METADATA_PRE_GA: u8 = 22;
    pub(super) const HASH_LISTPACK_EX_PRE_GA: u8 = 23;
    pub(super) const HASH_METADATA: u8 = 24;
    pub(super) const HASH_LISTPACK_EX: u8 = 25;
}

/// What stands in a file where a type may stand.
mod opcode {
    pub(super) const SLOT_IMPORT: u8 = 243;
    pub(super) const SLOT_INFO: u8 = 244;
    pub(super) const FUNCTION_2: u8 = 245;
    pub(super) const FUNCTION_PRE_GA: u8 = 246;
    pub(super) const MODULE_AUX: u8 = 247;
    pub(super) const IDLE: u8 = 248;
    pub(super) const FREQUENCY: u8 = 249;
    pub(super) const AUX: u8 = 250;
    pub(super) const RESIZE_DB: u8 = 251;
    pub(super) const EXPIRE_MS: u8 = 252;
    pub(super) const EXPIRE_SECONDS: u8 = 253;
    pub(super) const SELECT_DB: u8 = 254;
    pub(super) const END: u8 = 255;
}

/// The name of an RDB type, for people: what kind of value in which encoding.
pub fn encoding_name(encoding: u8, dialect: Dialect) -> &'static str {
    match encoding {
        kind::STRING => "string",
        kind::LIST => "list",
        kind::SET => "set",
        kind::ZSET => "zset",
        kind::HASH => "hash",
        kind::ZSET_2 => "zset-v2",
        kind::MODULE_PRE_GA => "module-pre-ga",
        kind::MODULE_2 => "module-v2",
        kind::HASH_ZIPMAP => "hash-zipmap",
        kind::LIST_ZIPLIST => "list-ziplist",
        kind::SET_INTSET => "set-intset",
        kind::ZSET_ZIPLIST => "zset-ziplist",
        kind::HASH_ZIPLIST => "hash-ziplist",
        kind::LIST_QUICKLIST => "quicklist",
        kind::STREAM_LISTPACKS => "stream",
        kind::HASH_LISTPACK => "hash-listpack",
        kind::ZSET_LISTPACK => "zset-listpack",
        kind::LIST_QUICKLIST_2 => "quicklist-v2",
        kind::STREAM_LISTPACKS_2 => "stream-v2",
        kind::SET_LISTPACK => "set-listpack",
        kind::STREAM_LISTPACKS_3 => "stream-v3",
        kind::HASH_METADATA_PRE_GA if dialect == Dialect::Valkey => "hash-v2",
        kind::HASH_METADATA_PRE_GA => "hash-metadata-pre-ga",
        kind::HASH_LISTPACK_EX_PRE_GA => "hash-listpack-ex-pre-ga",
        kind::HASH_METADATA => "hash-metadata",
        kind::HASH_LISTPACK_EX => "hash-listpack-ex",
        _ => "unknown",
    }
}

//! The append-only log: records, frames, segments, group commit. Layout of the bytes: `FORMAT.md`.

pub mod frame;
pub mod pending;

pub use pending::{BadRecord, Effects, Group, Record, RecordCommands};

/// Log sequence number: records are 1, 2, 3, ... without gaps. 0 is "nothing".
pub type Lsn = u64;

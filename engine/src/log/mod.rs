//! The append-only log: records, frames, segments, group commit. Layout of the bytes: `FORMAT.md`.

pub mod chain;
pub mod commit;
pub mod frame;
pub mod jobs;
pub mod pending;
pub mod progress;
pub mod reader;
mod retained;
pub mod segment;
#[cfg(test)]
mod tests;

pub use commit::{Log, LogOptions, Now};
pub use pending::{BadRecord, Effects, Group, Record, RecordCommands};
pub use progress::{Accepts, LogState, Progress, SyncPolicy};

/// Log sequence number: records are 1, 2, 3, ... without gaps. 0 is "nothing".
pub type Lsn = u64;

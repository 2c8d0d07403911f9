//! Snapshots: the exact state at one LSN, in checksummed blocks in order of position. Layout of the bytes: `FORMAT.md`.
//!
//! [`block`] and [`index`] are the codecs, [`writer`] makes a file from a capture of the keyspace, [`merge`] from entries in order, [`reader`] verifies and looks
//! into one, [`load`] fills a keyspace from one, [`retention`] says which files are wanted, [`schedule`] when to make one.

pub mod block;
pub mod index;
pub mod load;
pub mod merge;
pub mod reader;
pub mod retention;
pub mod schedule;
pub mod writer;

#[cfg(test)]
mod codec_tests;
#[cfg(test)]
mod retention_tests;
#[cfg(test)]
mod tests;

use crate::format::BadHeader;
use crate::keyspace::{BadLoad, entry::BadEntry, libraries::BadLibrary};
use std::io;

/// The name of an auxiliary pair that holds a library of functions.
pub const LIBRARY_AUX: &str = "library";

/// What is wrong with a snapshot's bytes.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs)] // Each is described where it is defined.
pub enum BadSnapshot {
    #[error(transparent)]
    Header(#[from] BadHeader),
    #[error(transparent)]
    Footer(#[from] index::BadFooter),
    #[error(transparent)]
    Block(#[from] block::BadBlock),
    #[error(transparent)]
    Index(#[from] index::BadIndex),
    #[error(transparent)]
    Aux(#[from] index::BadAux),
    #[error("a library of functions cannot be read: {0}")]
    Library(#[from] BadLibrary),
    #[error(transparent)]
    Entry(#[from] BadEntry),
    #[error(transparent)]
    Load(#[from] BadLoad),
    /// Entries of a block whose checksum is right are not what its header says.
    #[error("entry {entry} of the block has position {position:#018x}, which does not belong there")]
    Position { entry: u64, position: u64 },
    /// As [`BadSnapshot::Position`].
    #[error("the block has {found} entries, its header says {stated}")]
    Count { found: u64, stated: u64 },
    /// Not damage, but this keyspace cannot hold it.
    #[error("it holds database {db}, and there are only {databases}: raise `databases`")]
    Database { db: u32, databases: usize },
}

/// Why a snapshot cannot be written, read or loaded.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The disk failed; the file may be whole.
    #[error("the disk failed {doing} {file}{}: {source}", at(*offset))]
    Disk {
        /// What was tried, e.g. "reading".
        doing: &'static str,
        /// The file's name.
        file: String,
        /// Where in the file, if that is known.
        offset: Option<u64>,
        /// What the disk said.
        source: io::Error,
    },
    /// The file is damaged, or not what it should be.
    #[error("{file} is damaged at byte {offset}: {why}")]
    Damaged {
        /// The file's name.
        file: String,
        /// Where what is wrong begins.
        offset: u64,
        /// What is wrong.
        why: BadSnapshot,
    },
    /// Written by a newer release, of another store, or with more databases than are configured. Not damage.
    #[error("{file} cannot be used: {why}")]
    Unusable {
        /// The file's name.
        file: String,
        /// Why.
        why: BadSnapshot,
    },
    /// The capture gave another number of entries than the keyspace had: a defect, noticed before the file could count as a snapshot.
    #[error("{file} would have {found} entries of {expected}: it is given up, this is a defect of the engine")]
    Incomplete {
        /// The file's name.
        file: String,
        /// Entries captured.
        found: u64,
        /// Entries that the keyspace had.
        expected: u64,
    },
}

fn at(offset: Option<u64>) -> String {
    offset.map_or_else(String::new, |offset| format!(" at byte {offset}"))
}

impl SnapshotError {
    /// Whether the file's bytes are wrong: an older snapshot may stand in for it. False if only the disk or the
    /// configuration is at fault.
    pub fn is_damage(&self) -> bool {
        matches!(self, SnapshotError::Damaged { .. })
    }

    pub(crate) fn disk(doing: &'static str, file: &str, offset: impl Into<Option<u64>>, source: io::Error) -> Self {
        SnapshotError::Disk { doing, file: file.to_owned(), offset: offset.into(), source }
    }

    pub(crate) fn bad(file: &str, offset: u64, why: impl Into<BadSnapshot>) -> Self {
        let (file, why) = (file.to_owned(), why.into());
        match why {
            BadSnapshot::Header(BadHeader::Newer { .. } | BadHeader::OtherStore { .. })
            | BadSnapshot::Database { .. } => SnapshotError::Unusable { file, why },
            _ => SnapshotError::Damaged { file, offset, why },
        }
    }
}

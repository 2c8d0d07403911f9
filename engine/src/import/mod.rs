//! Filling a new store from files of Redis or Valkey, before it is opened for the first time.
//!
//! ```text
//! nothing of a store -> read the files into a keyspace -> its snapshot, durable under its name -> the store is opened as any other
//! ```
//! 1. The snapshot's name is the moment: before it, the folder holds nothing of a store, and the next start imports again; from it on, everything is
//!    there. Nobody is served before.
//! 2. Source files are only read.
//! 3. An append-only file may run commands on data, change libraries of functions, SELECT and transactions, nothing else. A transaction that is not whole does not happen.
//! 4. What is damaged refuses the start, with file, offset and what to do. The one exception is Redis' own: the last file may end inside a command, if
//!    `aof-load-truncated` allows that.

mod run;
mod store;
#[cfg(test)]
mod tests;

pub use run::Importer;
pub(crate) use store::import;

use crate::aof::AofError;
use crate::rdb::RdbError;
use std::io;

/// Where the data of a new store may come from.
pub trait Import: Send + Sync {
    /// Looks for files and reads them into `importer`; says which they were, or `None` if there are none.
    ///
    /// # Errors
    /// [`ImportError`]: the store is not made.
    fn run(&self, importer: &mut Importer<'_>) -> Result<Option<String>, ImportError>;
}

/// What an import came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ImportReport {
    /// The files, for people.
    pub source: String,
    /// Keys of RDB files.
    pub keys: u64,
    /// Keys of RDB files that were dead already.
    pub expired: u64,
    /// Commands of append-only files.
    pub commands: u64,
    /// Libraries of functions.
    pub libraries: u64,
    /// What a person should be told.
    pub warnings: Vec<String>,
}

/// Why files cannot be imported. Nothing was made.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The disk.
    #[error("the disk failed {doing} {file}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        file: String,
        /// What it said.
        source: io::Error,
    },
    /// An RDB file.
    #[error("{file} is damaged or not known: {source}; {advice}")]
    Rdb {
        /// Which one.
        file: String,
        /// Where, and what.
        source: RdbError,
        /// What to do.
        advice: &'static str,
    },
    /// An append-only file.
    #[error("{file} is damaged: {source}; {advice}")]
    Aof {
        /// Which one.
        file: String,
        /// Where, and what.
        source: AofError,
        /// What to do.
        advice: &'static str,
    },
    /// Something that was read whole, but cannot be taken over.
    #[error("{file}, byte {offset}: {why}")]
    Content {
        /// In which file.
        file: String,
        /// Where.
        offset: u64,
        /// What, and what to do.
        why: String,
    },
    /// The files do not fit together.
    #[error("{file}: {why}")]
    Files {
        /// Which one.
        file: String,
        /// What, and what to do.
        why: String,
    },
    /// The store could not be made of what was read.
    #[error("the new store could not be written: {0}")]
    Snapshot(#[from] crate::snapshot::SnapshotError),
}

impl ImportError {
    /// For `map_err`: the disk failed doing something to a file.
    pub fn io(doing: &'static str, file: &str) -> impl FnOnce(io::Error) -> ImportError {
        move |source| ImportError::Io { doing, file: file.to_owned(), source }
    }
}

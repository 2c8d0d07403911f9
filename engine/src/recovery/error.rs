//! Why a store is not opened: which file, where, and what to do next.

use super::judge::Refusal;
use super::replay::ReplayError;
use crate::import::ImportError;
use crate::snapshot::SnapshotError;
use std::io;

/// A store was not opened. Nothing in its folder was changed, unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has the folder: which one, in the disk's words.
    #[error("{0}: stop it first, or open another folder")]
    InUse(String),
    /// The disk failed. Says nothing about the files.
    #[error("the disk failed {doing} {file}: {source}{}", advice(source))]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        file: String,
        /// What the disk said.
        source: io::Error,
    },
    /// Files of Redis or Valkey, and no store.
    #[error(
        "{folder} holds {file}, a file of Redis or Valkey, and no Firn store: it is not started empty beside it. Move it away, or choose \
         another folder with `dir` or `appenddirname`; where it lies in `dir` under its configured name, it is imported"
    )]
    RedisFiles {
        /// The folder.
        folder: String,
        /// The file.
        file: String,
    },
    /// Files of Redis or Valkey cannot be imported.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The folder is not empty, and nothing in it is of a Firn store.
    #[error(
        "{folder} holds {file}, which is not a file of a Firn store: choose an empty folder with `dir` or `appenddirname`"
    )]
    NotAStore {
        /// The folder.
        folder: String,
        /// The first strange file.
        file: String,
    },
    /// The log, or the files as a whole, cannot be trusted.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// No snapshot can be used.
    #[error("{0}; nothing was changed")]
    Snapshot(#[from] SnapshotError),
    /// A verified record cannot be applied.
    #[error("{file}: {source}; nothing was changed")]
    Replay {
        /// The segment.
        file: String,
        /// Which record, and why.
        source: ReplayError,
    },
    /// The state that the files hold is not the one that was asked for.
    #[error("the files hold the state at LSN {found}, wanted was {wanted}")]
    OtherState {
        /// What they hold.
        found: u64,
        /// What was wanted.
        wanted: u64,
    },
}

impl OpenError {
    /// For `map_err`: the disk failed doing something to a file.
    pub(super) fn io(doing: &'static str, file: &str) -> impl FnOnce(io::Error) -> OpenError {
        move |source| OpenError::Io { doing, file: file.to_owned(), source }
    }
}

/// What to do about a failure that is none of the disk.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; whoever runs Firn must be able to read and write the store's folder and every file in it (see `ls -la`), or choose another folder"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "; a store needs a file system that can be written to: choose another folder"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::judge::Why;

    #[test]
    fn what_an_operator_can_put_right_is_said() {
        let text = |kind| OpenError::io("locking", "firn-data")(io::Error::from(kind)).to_string();
        assert!(text(io::ErrorKind::PermissionDenied).contains("permission denied; whoever runs Firn must be able to"));
        assert!(text(io::ErrorKind::ReadOnlyFilesystem).ends_with("choose another folder"));
        assert_eq!(text(io::ErrorKind::StorageFull), "the disk failed locking firn-data: no storage space");
        assert!(Why::Vanished.advice().contains("`allow-empty-store yes`"));
    }
}

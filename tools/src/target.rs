//! What the path on the command line is: a store's folder, or one of its files.

use crate::dataset::lines::RowFile;
use crate::dataset::redis::RedisFiles;
use crate::{ToolError, spool};
use firn_engine::disk::real::RealDisk;
use firn_engine::disk::{Disk, OpenMode, read_full_at};
use firn_engine::format::{BadHeader, FileHeader, FileKind, FileName, HEADER_LEN};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What is to be looked at.
pub(crate) enum Target {
    /// A folder.
    Folder(Arc<dyn Disk>),
    /// A file of the folder `disk`.
    File { disk: Arc<dyn Disk>, name: String, kind: Kind },
}

/// What a file is.
pub(crate) enum Kind {
    /// A log segment with the first LSN and the epoch that its name says, or else its header.
    Segment { first: u64, epoch: u64 },
    /// A snapshot.
    Snapshot,
    /// The identity.
    Identity(Box<FileHeader>),
}

/// The disk failed.
pub(crate) fn unreadable(what: &str) -> impl Fn(io::Error) -> ToolError {
    move |error| ToolError::Unreadable(format!("{what}: {error}"))
}

impl Target {
    /// Finds out what `path` is.
    pub(crate) fn of(path: &Path) -> Result<Target, ToolError> {
        let path = &*spool::input(path)?;
        let shown = path.display().to_string();
        let metadata = std::fs::metadata(path).map_err(unreadable(&shown))?;
        if metadata.is_dir() {
            return Ok(Target::Folder(Arc::new(RealDisk::open(path, false).map_err(unreadable(&shown))?)));
        }
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| ToolError::Usage(format!("{shown}: the name is not UTF-8")))?.to_owned();
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(parent, false).map_err(unreadable(&shown))?);
        let redis = || RedisFiles::at(path).ok().flatten().map(|files| files.kind());
        if let Some(kind) = RowFile::at(path).map(|file| file.kind()).or_else(redis) {
            return Err(ToolError::Usage(format!("{shown} is {kind}: this command takes a Firn store's files alone")));
        }
        let kind = kind_of(&*disk, &name, &spool::name(path))?;
        Ok(Target::File { disk, name, kind })
    }
}

fn kind_of(disk: &dyn Disk, name: &str, shown: &str) -> Result<Kind, ToolError> {
    // A name of the store's own form says enough, whatever has become of the bytes.
    match FileName::parse(name) {
        FileName::Segment { first, epoch } => return Ok(Kind::Segment { first, epoch }),
        FileName::Snapshot { .. } => return Ok(Kind::Snapshot),
        FileName::Torn { of, .. } => {
            return Err(ToolError::Usage(format!(
                "{name} holds bytes that a recovery cut off the end of {of}: they have no header, and nobody was promised them"
            )));
        }
        _ => {}
    }
    let file = disk.open(name, OpenMode::Read).map_err(unreadable(name))?;
    let mut bytes = [0; HEADER_LEN];
    let read = read_full_at(&*file, &mut bytes, 0).map_err(unreadable(name))?;
    for kind in [FileKind::Segment, FileKind::Snapshot, FileKind::Store] {
        match FileHeader::decode(&bytes[..read], kind) {
            Ok(header) => {
                return Ok(match kind {
                    FileKind::Segment => Kind::Segment { first: header.number, epoch: header.epoch },
                    FileKind::Snapshot => Kind::Snapshot,
                    FileKind::Store => Kind::Identity(Box::new(header)),
                });
            }
            Err(bad @ BadHeader::Newer { .. }) => return Err(ToolError::Unreadable(format!("{name}: {bad}"))),
            Err(BadHeader::BadMagic { .. } | BadHeader::Short(_)) => {}
            Err(bad) => return Err(ToolError::Damage(format!("{name} is damaged at byte 0: {bad}"))),
        }
    }
    if matches!(FileName::parse(name), FileName::Store) {
        return Err(ToolError::Damage(format!("{name} is damaged at byte 0: it does not begin as a store's identity")));
    }
    Err(ToolError::Usage(if read == 0 {
        format!("{shown} is empty, or no file")
    } else {
        format!(
            "{shown} is nothing that firn reads: no file of a Firn store, no RDB or append-only file, no JSON Lines or table of firn's"
        )
    }))
}

//! What the path on the command line is: a store's folder, or one of its files.

use crate::dataset::lines::RowFile;
use crate::dataset::redis::RedisFiles;
use crate::{ToolError, spool};
use firn_engine::disk::real::RealDisk;
use firn_engine::disk::{DirEntry, DirLock, Disk, File, OpenMode, read_full_at};
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
        let mut name = name.ok_or_else(|| ToolError::Usage(format!("{shown}: the name is not UTF-8")))?.to_owned();
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut disk: Arc<dyn Disk> = Arc::new(RealDisk::open(parent, false).map_err(unreadable(&shown))?);
        if spool::is_copy(path) {
            // The number of a descriptor says nothing to a person.
            let known = spool::name(path);
            disk = Arc::new(OneFile::new(disk, &name, &known));
            name = known;
        }
        let redis = || RedisFiles::at(path).ok().flatten().map(|files| files.kind());
        if let Some(kind) = RowFile::at(path).map(|file| file.kind()).or_else(redis) {
            return Err(ToolError::Usage(format!("{shown} is {kind}: this command takes a Firn store's files alone")));
        }
        let kind = kind_of(&*disk, &name, &spool::name(path))?;
        Ok(Target::File { disk, name, kind })
    }
}

/// One file of a folder, alone and under another name; nothing can be written to it.
pub(crate) struct OneFile {
    folder: Arc<dyn Disk>,
    real: String,
    known: String,
}

impl OneFile {
    /// `real` of `folder`, called `known`.
    pub(crate) fn new(folder: Arc<dyn Disk>, real: &str, known: &str) -> OneFile {
        OneFile { folder, real: real.to_owned(), known: known.to_owned() }
    }
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "it is only looked at")
}

impl Disk for OneFile {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Box<dyn File>> {
        match (name == self.known, mode) {
            (true, OpenMode::Read) => self.folder.open(&self.real, mode),
            (false, OpenMode::Read) => Err(io::ErrorKind::NotFound.into()),
            _ => Err(read_only()),
        }
    }
    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Err(read_only())
    }
    fn remove(&self, _: &str) -> io::Result<()> {
        Err(read_only())
    }
    fn list(&self) -> io::Result<Vec<DirEntry>> {
        let len = self.folder.open(&self.real, OpenMode::Read)?.len()?;
        Ok(vec![DirEntry { name: self.known.clone(), len }])
    }
    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }
    fn failed_dir_syncs(&self) -> u64 {
        0
    }
    fn lock(&self) -> io::Result<Box<dyn DirLock>> {
        Err(read_only())
    }
    fn describe(&self) -> String {
        self.known.clone()
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
            "{shown} is nothing that firn reads: no file of a Firn store (its folder, a segment, a snapshot), no RDB or append-only file, no folder of \
             append-only files, no JSON Lines or table of firn's"
        )
    }))
}

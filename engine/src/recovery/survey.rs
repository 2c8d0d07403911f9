//! What lies in a store's folder: names, headers, and whose they are. Reads only.

use super::error::OpenError;
use super::judge::{Refusal, Why};
use crate::disk::{Disk, OpenMode, read_full_at};
use crate::format::{BadHeader, FileHeader, FileKind, FileName, HEADER_LEN};
use crate::log::Lsn;
use crate::log::segment::Identity;

/// The folder at one glance.
#[derive(Debug, Default)]
pub struct Survey {
    /// Whose folder this is; `None` if nothing says so.
    pub identity: Option<Identity>,
    /// Whether `STORE` is there and right.
    pub has_store: bool,
    /// Why `STORE` is not right, if it is there.
    pub bad_store: Option<BadHeader>,
    /// Segments by name: first LSN, epoch, name, length.
    pub segments: Vec<(Lsn, u64, String, u64)>,
    /// Snapshots by name, the newest first: LSN, epoch, name, length.
    pub snapshots: Vec<(Lsn, u64, String, u64)>,
    /// Files left by a crash while they were made.
    pub temporary: Vec<String>,
    /// Bytes that earlier recoveries set aside.
    pub aside: Vec<(String, u64)>,
    /// The highest epoch in any name or header.
    pub epoch: u64,
    /// The first name that is none of ours.
    pub foreign: Option<String>,
}

impl Survey {
    /// Looks at every name and header.
    ///
    /// # Errors
    /// The disk's; [`Why::Newer`] if `STORE` is of a newer release.
    pub fn of(disk: &dyn Disk) -> Result<Survey, OpenError> {
        let mut survey = Survey::default();
        let mut others = None;
        for entry in disk.list().map_err(OpenError::io("listing", &disk.describe()))? {
            let name = FileName::parse(&entry.name);
            survey.epoch = survey.epoch.max(name.epoch().unwrap_or(0));
            let kind = match name {
                FileName::Store => FileKind::Store,
                FileName::Segment { first, epoch } => {
                    survey.segments.push((first, epoch, entry.name.clone(), entry.len));
                    FileKind::Segment
                }
                FileName::Snapshot { lsn, epoch } => {
                    survey.snapshots.push((lsn, epoch, entry.name.clone(), entry.len));
                    FileKind::Snapshot
                }
                FileName::Temporary(_) => {
                    survey.temporary.push(entry.name);
                    continue;
                }
                FileName::Torn { .. } | FileName::Bad { .. } => {
                    survey.aside.push((entry.name, entry.len));
                    continue;
                }
                FileName::Foreign(name) => {
                    survey.foreign.get_or_insert(name);
                    continue;
                }
                FileName::Lock | FileName::Reserve => continue,
            };
            match read_header(disk, &entry.name, kind)? {
                Ok(header) => {
                    survey.epoch = survey.epoch.max(header.epoch);
                    let identity = Identity { store: header.store, hash_seed: header.hash_seed };
                    if kind == FileKind::Store {
                        survey.has_store = true;
                        survey.identity = Some(identity);
                    } else {
                        others.get_or_insert(identity);
                    }
                }
                Err(bad @ BadHeader::Newer { .. }) => {
                    let why = Why::Newer(bad.to_string());
                    return Err(refusal(Some(entry.name), why));
                }
                Err(bad) if kind == FileKind::Store => survey.bad_store = Some(bad),
                // Judged with the rest of the file, if the file is needed.
                Err(_) => {}
            }
        }
        survey.identity = survey.identity.or(others);
        survey.snapshots.sort_unstable_by_key(|(lsn, epoch, ..)| std::cmp::Reverse((*lsn, *epoch)));
        Ok(survey)
    }

    /// Whether there is nothing at all of a store.
    pub fn is_new(&self) -> bool {
        self.identity.is_none() && self.bad_store.is_none() && self.segments.is_empty() && self.snapshots.is_empty()
    }
}

/// A refusal that concerns a file as a whole.
pub(super) fn refusal(file: Option<String>, why: Why) -> OpenError {
    OpenError::Refused(Box::new(Refusal { file, offset: None, lsn: 0, durable: 0, why }))
}

fn read_header(disk: &dyn Disk, name: &str, kind: FileKind) -> Result<Result<FileHeader, BadHeader>, OpenError> {
    let file = disk.open(name, OpenMode::Read).map_err(OpenError::io("opening", name))?;
    let mut bytes = [0; HEADER_LEN];
    let read = read_full_at(&*file, &mut bytes, 0).map_err(OpenError::io("reading", name))?;
    Ok(FileHeader::decode(&bytes[..read], kind))
}

/// The name, among `names`, of a file that Redis or Valkey would load at its start.
pub fn redis_file<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names.into_iter().find(|name| {
        let aof =
            name.contains(".aof") && (name.ends_with(".manifest") || name.ends_with(".aof") || name.ends_with(".rdb"));
        *name == "dump.rdb" || *name == "appendonlydir" || aof
    })
}

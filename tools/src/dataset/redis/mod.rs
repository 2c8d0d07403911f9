//! Files of Redis and Valkey as datasets: an RDB file is a base ([`rdb`]); an append-only file, or a folder of several with a manifest, a base
//! (its RDB part, if it has one) and a tail ([`aof`]).
//!
//! Entries come in the order of the file. What is damaged is reported and left out with as little around it as can be, and the keys that go
//! with it are named as far as their names can be read.

mod aof;
mod parts;
mod rdb;
mod rdb_search;
mod rdb_sofar;
mod rdb_tally;
mod resync;

pub(crate) use aof::{AofTail, Place};
pub(crate) use rdb::{Notes, RdbBase, STRAY};

use super::lines::RowFile;
use super::{Damages, Loss, Tail};
use crate::folder::{Finding, Severity};
use crate::moment::Moment;
use crate::{ToolError, spool};
use firn_engine::format::FileKind;
use firn_engine::key::HashSeed;
use firn_engine::rdb::Header;
use firn_engine::rdb::mend::{self, Change, Found};
use parts::Parts;
use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Positions of entries that are not in a Firn file: they only have to be the same each time.
const SEED: HashSeed = HashSeed([0; 16]);

/// Files of one dataset, in the order in which they are read.
#[derive(Clone, Debug)]
pub(crate) struct RedisFiles {
    /// The files; the first may be, or begin with, an RDB file.
    paths: Vec<PathBuf>,
    /// What it is, in words.
    kind: &'static str,
    /// Where the RDB part ends, once that is known.
    rdb_end: Cell<Option<u64>>,
    /// Bytes of the RDB part that are read as they were before they were changed.
    change: Cell<Option<Change>>,
    /// Something else was changed in the RDB part: its checksum says so.
    doubtful: Cell<bool>,
    /// What is wrong with the list of a folder's files.
    list: Vec<parts::Wrong>,
}

/// Bytes that were changed, and what they were.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Mended {
    /// The file.
    pub(crate) file: String,
    /// Where.
    pub(crate) offset: u64,
    /// What stands there.
    pub(crate) is: Vec<u8>,
    /// What stood there.
    pub(crate) was: Vec<u8>,
}

impl Mended {
    /// As what is wrong with the file.
    pub(crate) fn finding(&self) -> Finding {
        let message = format!(
            "bytes were changed: they are {}, and by the checksum were {} (firn repair puts them right)",
            self.is.escape_ascii(),
            self.was.escape_ascii()
        );
        let (severity, offset) = (Severity::Damage, Some(self.offset));
        Finding { severity, file: self.file.clone(), offset, lsn: None, message }
    }
}

/// A file, some bytes of which are read as they were.
struct Source {
    file: File,
    offset: u64,
    change: Option<Change>,
}

impl Read for Source {
    fn read(&mut self, place: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(place)?;
        if let Some(change) = &self.change {
            change.undo(&mut place[..read], self.offset);
        }
        self.offset += read as u64;
        Ok(read)
    }
}

/// How a file begins.
fn start(path: &Path) -> Vec<u8> {
    let mut bytes = [0; 64];
    let read = File::open(path).and_then(|mut file| file.read(&mut bytes)).unwrap_or(0);
    bytes[..read].to_vec()
}

fn is_rdb(start: &[u8]) -> bool {
    start
        .first_chunk()
        .is_some_and(|head: &[u8; Header::LEN]| head.starts_with(b"REDIS") || head.starts_with(b"VALKEY"))
}

fn is_commands(start: &[u8]) -> bool {
    matches!(start, [b'*', digit, ..] if digit.is_ascii_digit()) || start.starts_with(b"#TS:")
}

/// Whether a file says that it is something else than its name does.
fn is_another(path: &Path) -> bool {
    RowFile::at(path).is_some()
        || [FileKind::Snapshot, FileKind::Segment, FileKind::Store]
            .iter()
            .any(|kind| start(path).starts_with(kind.magic()))
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|it| it.eq_ignore_ascii_case(ending))
}

/// The manifest in a folder.
fn manifest_in(folder: &Path) -> io::Result<Option<PathBuf>> {
    let entries = std::fs::read_dir(folder)?;
    Ok(entries.flatten().map(|entry| entry.path()).find(|path| has_ending(path, "manifest")))
}

impl RedisFiles {
    /// What lies at `path`, if it is of this kind.
    pub(crate) fn at(path: &Path) -> Result<Option<RedisFiles>, ToolError> {
        let path = &*spool::input(path)?;
        if path.is_dir() {
            // A store may live in the folder that was Redis' before: then the store counts.
            if path.join("STORE").exists() {
                return Ok(None);
            }
            let manifest = manifest_in(path).map_err(failed(path))?;
            return Ok(Parts::of(path, manifest.as_deref())?.map(RedisFiles::of_parts));
        }
        if has_ending(path, "manifest") {
            let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
            return Ok(Parts::of(folder, Some(path))?.map(RedisFiles::of_parts));
        }
        let start = start(path);
        let kind = match () {
            () if is_rdb(&start) && may_have_commands(path) => "an append-only file that begins with an RDB file",
            () if is_rdb(&start) => "an RDB file",
            // An append-only file that nobody has written to yet is empty; a file whose beginning is damaged keeps its name.
            () if is_commands(&start) || has_ending(path, "aof") => "an append-only file",
            () if has_ending(path, "rdb") && path.is_file() && !is_another(path) => "an RDB file",
            () => return Ok(None),
        };
        Ok(Some(RedisFiles::new(vec![path.to_owned()], kind, Vec::new())))
    }

    fn new(paths: Vec<PathBuf>, kind: &'static str, list: Vec<parts::Wrong>) -> RedisFiles {
        let (rdb_end, change, doubtful) = (Cell::new(None), Cell::new(None), Cell::new(false));
        RedisFiles { paths, kind, rdb_end, change, doubtful, list }
    }

    fn of_parts(parts: Parts) -> RedisFiles {
        RedisFiles::new(parts.paths, "an append-only folder", parts.wrong)
    }

    /// Whether a folder is one of several append-only files.
    pub(crate) fn has_manifest(folder: &Path) -> bool {
        matches!(manifest_in(folder), Ok(Some(_)))
    }

    /// What is wrong with the list of files, as far as the files themselves make up for it: nothing is lost by that.
    pub(crate) fn is_made_again(&self, finding: &Finding) -> bool {
        self.list.iter().any(|wrong| wrong.lost.is_none() && wrong.finding == *finding)
    }

    /// Reports what is wrong with the list of files.
    fn report_list(&self, damages: &Damages) -> Result<(), ToolError> {
        for wrong in &self.list {
            if wrong.finding.severity == Severity::Note {
                damages.note(wrong.finding.clone());
                continue;
            }
            damages.report(wrong.finding.clone())?;
            if let Some(path) = &wrong.lost {
                damages.lose(Loss::unknown(path.clone(), 0));
            }
        }
        Ok(())
    }

    /// What it is, in words.
    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    /// The files in the order in which they are read.
    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Length of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.paths.iter().filter_map(|path| path.metadata().ok()).map(|it| it.len()).sum()
    }

    /// The base, with or without entries.
    pub(crate) fn base<'d>(&'d self, damages: &'d Damages) -> RdbBase<'d> {
        let path = self.paths.first().filter(|path| self.begins_as_rdb(path));
        RdbBase::new(path, &self.rdb_end, self.change.get(), self.doubtful.get(), damages)
    }

    /// Whether a file is one of RDB, or begins with one. Of one that is called so even the beginning may be damaged.
    fn begins_as_rdb(&self, path: &Path) -> bool {
        let start = start(path);
        is_rdb(&start) || !start.is_empty() && has_ending(path, "rdb") || self.is_rdb_alone()
    }

    /// Finds bytes of the RDB part that were changed, if its checksum can tell what they were. From then on they are read so. Says the file, where, what
    /// stands there, and what stood there. If they were changed otherwise, what no writer makes is not believed from then on.
    pub(crate) fn mend(&self) -> Result<Option<Mended>, ToolError> {
        let Some(path) = self.paths.first().filter(|path| path.exists() && self.begins_as_rdb(path)) else {
            return Ok(None);
        };
        let len = path.metadata().map_err(failed(path))?.len();
        let ends = if may_have_commands(path) { rdb_search::ends(path, len)? } else { vec![len] };
        for end in ends {
            let file = File::open(path).map_err(failed(path))?;
            let change = match mend::find(file, end).map_err(failed(path))? {
                Found::Change(change) => change,
                // Zeros instead of the end and its checksum are none.
                Found::Nothing if bytes_at(path, end.saturating_sub(9), 9)? == [0; 9] => continue,
                Found::Nothing => return Ok(None),
                Found::Otherwise => continue,
            };
            self.change.set(Some(change));
            self.rdb_end.set(None);
            let changed = if change.mask[1] == 0 { 1 } else { 2 };
            let is = bytes_at(path, change.offset, changed)?;
            let mut was = is.clone();
            change.undo(&mut was, change.offset);
            return Ok(Some(Mended { file: spool::name(path), offset: change.offset, is, was }));
        }
        self.rdb_end.set(None);
        self.doubtful.set(true);
        Ok(None)
    }

    /// Whether [`RedisFiles::mend`] has found that more was changed than it could put right.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubtful.get()
    }

    /// The time (Unix ms) of a moment that was asked for.
    ///
    /// # Errors
    /// [`ToolError::Usage`] where the files know no such moment.
    pub(crate) fn until(&self, to: Option<Moment>) -> Result<Option<u64>, ToolError> {
        let wrong = |text: &str| Err(ToolError::Usage(text.to_owned()));
        match to {
            None => Ok(None),
            Some(Moment::Lsn(_)) => wrong("files of Redis have no LSNs: give a time"),
            Some(Moment::Time(_)) if self.is_rdb_alone() => wrong("an RDB file holds one moment, and no others"),
            Some(Moment::Time(ms)) => {
                let (damages, mut first) = (Damages::lenient(), None);
                let stopped = self.tail(None, &damages).visit(&mut |change| match change.time_ms {
                    Some(time_ms) => {
                        first = Some(time_ms);
                        Err(ToolError::Usage(String::new()))
                    }
                    None => Ok(()),
                });
                match first {
                    Some(first) if ms < first => wrong(&format!(
                        "the first annotation of a time is {}: earlier moments cannot be told apart",
                        crate::text::time(first)
                    )),
                    Some(_) => Ok(Some(ms)),
                    None => stopped.and_then(|()| {
                        wrong("the commands have no annotations of time (aof-timestamp-enabled), so that no moment can be found")
                    }),
                }
            }
        }
    }

    /// The commands behind it: all, or those up to a time (Unix ms).
    pub(crate) fn tail<'d>(&'d self, until_ms: Option<u64>, damages: &'d Damages) -> AofTail<'d> {
        AofTail::new(self, until_ms, damages)
    }

    /// Whether the first file is nothing but an RDB file.
    pub(crate) fn is_rdb_alone(&self) -> bool {
        self.paths.len() == 1 && self.kind == "an RDB file"
    }
}

/// Whether commands may follow the RDB part of a file: its name says so, or it ends as a command does.
fn may_have_commands(path: &Path) -> bool {
    let mut end = [0; 2];
    let ends_as_a_command = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::End(-2))?;
        file.read_exact(&mut end)?;
        Ok(end == *b"\r\n")
    });
    has_ending(path, "aof") || ends_as_a_command.unwrap_or(false)
}

fn failed(path: &Path) -> impl Fn(io::Error) -> ToolError + '_ {
    move |error| ToolError::Unreadable(format!("{}: {error}", path.display()))
}

/// The file from `offset` on.
fn open_at(path: &Path, offset: u64) -> Result<File, ToolError> {
    let mut file = File::open(path).map_err(failed(path))?;
    file.seek(SeekFrom::Start(offset)).map_err(failed(path))?;
    Ok(file)
}

/// At most `most` bytes from `offset` on.
fn bytes_at(path: &Path, offset: u64, most: u64) -> Result<Vec<u8>, ToolError> {
    let mut bytes = Vec::new();
    open_at(path, offset)?.take(most).read_to_end(&mut bytes).map_err(failed(path))?;
    Ok(bytes)
}

/// Something that is wrong in a file.
fn finding(path: &Path, severity: Severity, offset: u64, message: String) -> Finding {
    Finding { severity, file: spool::name(path), offset: Some(offset), lsn: None, message }
}

/// Whether a file is all zeros from `offset` on.
fn zeros_from(path: &Path, offset: u64, len: u64) -> Result<bool, ToolError> {
    const STEP: u64 = 1 << 20;
    let mut at = offset;
    while at < len {
        let bytes = bytes_at(path, at, STEP)?;
        if bytes.is_empty() || bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += bytes.len() as u64;
    }
    Ok(true)
}

/// The keys of a loss, in words: ` with key a and b`.
fn with_keys(keys: &[Vec<u8>]) -> String {
    const SHOWN_MAX: usize = 5;
    if keys.is_empty() {
        return String::new();
    }
    let shown: Vec<String> = keys.iter().take(SHOWN_MAX).map(|key| crate::text::word(key, false)).collect();
    let more = if keys.len() > SHOWN_MAX { format!(" and {} more", keys.len() - SHOWN_MAX) } else { String::new() };
    format!(" with key {}{more}", shown.join(", "))
}

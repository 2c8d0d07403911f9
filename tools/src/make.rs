//! Makes a new Firn store out of entries: an identity and a snapshot, nothing else. A server that opens it goes on from there.
//!
//! 1. The folder must be absent or empty: nothing that is there is ever overwritten.
//! 2. The store has an identity of its own, so that files of the one it came from never pass for its own.
//! 3. It is read back whole, block by block, before the command says that it is done. If anything fails, what was made is removed.

use crate::ToolError;
use crate::dataset::StateInfo;
use crate::dataset::firn::{libraries_of, snapshot_error};
use crate::moment::now_ms;
use crate::sort::Sorter;
use crate::text;
use crate::unfinished::{self, Form, Unfinished};
use firn_engine::disk::real::RealDisk;
use firn_engine::disk::{Disk, OpenMode, write_all_at};
use firn_engine::format::{FileHeader, FileKind, StoreId};
use firn_engine::key::HashSeed;
use firn_engine::keyspace::entry::{self, Assembly};
use firn_engine::keyspace::libraries::Libraries;
use firn_engine::keyspace::{Entry, entry_digest};
use firn_engine::limits::BLOCK_LEN_TARGET;
use firn_engine::snapshot::index::AuxPair;
use firn_engine::snapshot::merge::OrderedWriter;
use firn_engine::snapshot::reader::{BlockBuffer, SnapshotReader};
use firn_engine::store::Options;
use firn_engine::value::Shaping;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A store in the making.
pub(crate) struct NewStore {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    seed: HashSeed,
    header: FileHeader,
    writer: Option<OrderedWriter>,
    sorter: Option<Sorter>,
    digest: u128,
    /// The last to be dropped: files are closed before they are removed.
    unfinished: Option<Unfinished>,
}

/// What was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    /// Entries in it.
    pub(crate) entries: u64,
    /// Length of its files.
    pub(crate) bytes: u64,
    /// The sum of all entries' digests, as they were handed over and as they were read back.
    pub(crate) digest: u128,
}

impl NewStore {
    /// Begins one in `path` for a state of which `info` tells LSN and order; about `expected` bytes will come, of which `memory` may be in memory.
    pub(crate) fn create(path: &Path, info: &StateInfo, expected: u64, memory: u64) -> Result<NewStore, ToolError> {
        let shown = path.display();
        let is_new = !path.exists();
        let failed = |error: std::io::Error| ToolError::Unreadable(format!("{shown}: {error}"));
        if !is_new && !path.is_dir() {
            return Err(ToolError::Usage(format!("{shown} is there, and no folder: give a new one")));
        }
        if !is_new && std::fs::read_dir(path).map_err(failed)?.next().is_some() {
            return Err(ToolError::Usage(format!("{shown} is there and not empty: give a new folder")));
        }
        let (unfinished, disk) = if is_new {
            unfinished::begin(path, Form::Folder, || RealDisk::open(path, true)).map_err(failed)?
        } else {
            (Unfinished::new(path, Form::Content), RealDisk::open(path, false).map_err(failed)?)
        };
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let entropy = Options::default().entropy;
        let seed = info.ordered.unwrap_or(HashSeed(std::array::from_fn(|at| entropy[16 + at])));
        // LSN 0 is the state before anything: a snapshot has at least 1.
        let lsn = info.lsn.unwrap_or(1).max(1);
        let header = FileHeader {
            kind: FileKind::Snapshot,
            flags: 0,
            store: StoreId(std::array::from_fn(|at| entropy[at])),
            hash_seed: seed,
            number: lsn,
            epoch: 1,
            created_ms: info.time_ms.unwrap_or_else(now_ms),
            durable: lsn,
        };
        let sorter = if info.ordered.is_some() { None } else { Some(Sorter::new(path, expected, memory)?) };
        let store = NewStore {
            path: path.to_owned(),
            disk,
            seed,
            header,
            writer: None,
            sorter,
            digest: 0,
            unfinished: Some(unfinished),
        };
        Ok(store)
    }

    /// Takes an entry; in order if the state said so.
    pub(crate) fn push(&mut self, db: usize, position: u64, entry: &Entry<'_>) -> Result<(), ToolError> {
        let db = db as u32;
        self.digest = self.digest.wrapping_add(sum(db, entry));
        if let Some(sorter) = &mut self.sorter {
            return sorter.push(db, self.seed.position(entry.key), entry);
        }
        debug_assert_eq!(position, self.seed.position(entry.key));
        let writer = self.writer()?;
        writer.push(db, position, entry).map_err(|error| snapshot_error(&error))
    }

    fn writer(&mut self) -> Result<&mut OrderedWriter, ToolError> {
        if self.writer.is_none() {
            let aux = [AuxPair::text("firn-version", env!("CARGO_PKG_VERSION")), AuxPair::text("made-by", "firn")];
            let writer = OrderedWriter::create(Arc::clone(&self.disk), self.header.clone(), &aux);
            self.writer = Some(writer.map_err(|error| snapshot_error(&error))?);
        }
        Ok(self.writer.as_mut().expect("it was just made"))
    }

    /// Finishes it, with these libraries of functions, and reads it back.
    pub(crate) fn finish(self, libraries: &Libraries) -> Result<Made, ToolError> {
        self.finish_in(libraries, || Ok(()))
    }

    /// The same; `place` gives it its place then, during which no signal ends the process.
    pub(crate) fn finish_in(
        mut self,
        libraries: &Libraries,
        place: impl FnOnce() -> Result<(), ToolError>,
    ) -> Result<Made, ToolError> {
        if let Some(sorter) = self.sorter.take() {
            let shaping = Shaping::new(self.seed);
            sorter.sorted(&mut |db, position, bytes| {
                let writer = self.writer()?;
                if bytes.len() < BLOCK_LEN_TARGET {
                    return writer.push_bytes(db, position, bytes).map_err(|error| snapshot_error(&error));
                }
                let mut decode = |bytes: &[u8]| -> Result<(), ToolError> {
                    let bad = |why: entry::BadEntry| ToolError::Damage(format!("an entry in a temporary file: {why}"));
                    let mut rest = bytes;
                    let stored = entry::take(&mut rest).map_err(bad)?;
                    let mut assembly = Assembly::default();
                    let whole = assembly.push(&stored, &shaping).map_err(bad)?;
                    let whole = whole.ok_or_else(|| bad(entry::BadEntry::Part))?;
                    writer.push(db, position, &stored.entry(&whole)).map_err(|error| snapshot_error(&error))
                };
                decode(bytes)
            })?;
        }
        for (_, source) in libraries.iter() {
            self.writer()?.push_library(source).map_err(|error| snapshot_error(&error))?;
        }
        self.writer()?;
        let writer = self.writer.take().expect("there is one");
        let entries = writer.entries();
        let name = writer.finish().map_err(|error| snapshot_error(&error))?;
        let header = FileHeader { kind: FileKind::Store, number: 0, ..self.header.clone() };
        let write = || -> std::io::Result<()> {
            let file = self.disk.open("STORE", OpenMode::CreateNew)?;
            write_all_at(&*file, &header.encode(), 0)?;
            file.sync()?;
            self.disk.sync_dir()
        };
        write().map_err(|error| ToolError::Unreadable(format!("{}: {error}", self.path.display())))?;
        let reader = SnapshotReader::open(&*self.disk, &name, Some(self.header.store))
            .map_err(|error| snapshot_error(&error))?;
        let bar = text::progress(reader.footer().file_len, "reading it back");
        let (mut found, mut digest, mut buffer) = (0, 0u128, BlockBuffer::default());
        for row in reader.rows().iter().filter(|row| row.info.kind.is_data()) {
            let visited = reader.visit_block(row, &mut buffer, |_, entry| {
                found += 1;
                digest = digest.wrapping_add(sum(row.info.db, &entry));
            });
            visited.map_err(|error| snapshot_error(&error))?;
            bar.inc(row.end() - row.offset);
        }
        bar.finish_and_clear();
        let kept = libraries_of(&reader);
        let same = kept.iter().eq(libraries.iter());
        if (found, digest) != (entries, self.digest) || !same {
            return Err(ToolError::Damage(format!(
                "{name} does not hold what was written: {found} entries of {entries}"
            )));
        }
        if let Some(unfinished) = self.unfinished.take() {
            unfinished.keep(place)?;
        }
        Ok(Made { entries, bytes: reader.footer().file_len + 128, digest })
    }
}

/// What an entry adds to the digest of a store.
fn sum(db: u32, entry: &Entry<'_>) -> u128 {
    entry_digest(entry).wrapping_mul(2 * u128::from(db) + 1)
}

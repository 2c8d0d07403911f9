//! What is left of a snapshot whose blocks do not all verify, as a base.

use crate::dataset::firn::{libraries_of, snapshot_error};
use crate::dataset::{Base, Damages, Visit};
use crate::folder::{Finding, Severity, snapshot_finding};
use crate::{ToolError, text};
use firn_engine::disk::{Disk, File, OpenMode, read_full_at};
use firn_engine::format::Seed;
use firn_engine::key::HashSeed;
use firn_engine::keyspace::entry::{self, Assembly};
use firn_engine::keyspace::libraries::Libraries;
use firn_engine::snapshot::block::{BLOCK_HEADER_LEN, BlockHeader, BlockKind};
use firn_engine::snapshot::reader::{BlockBuffer, SnapshotReader};
use firn_engine::value::Shaping;
use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Positions of a database whose entries are lost, how many, and where they were.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LostRange {
    /// The file.
    pub(crate) file: String,
    /// Where the block begins.
    pub(crate) offset: u64,
    /// Where it ends.
    pub(crate) end: u64,
    /// The database.
    pub(crate) db: usize,
    /// Positions.
    pub(crate) range: RangeInclusive<u64>,
    /// Entries.
    pub(crate) entries: u64,
}

/// A snapshot with its index, without the blocks that do not verify.
pub(crate) struct PartialSnapshot<'d> {
    reader: SnapshotReader,
    damages: &'d Damages,
    /// What is lost.
    pub(crate) lost: RefCell<Vec<LostRange>>,
}

impl<'d> PartialSnapshot<'d> {
    /// Of an open snapshot.
    pub(crate) fn new(reader: SnapshotReader, damages: &'d Damages) -> Self {
        PartialSnapshot { reader, damages, lost: RefCell::default() }
    }

    /// Its LSN and when it was made.
    pub(crate) fn moment(&self) -> (u64, u64) {
        (self.reader.header().number, self.reader.header().created_ms)
    }
}

impl Base for PartialSnapshot<'_> {
    fn seed(&self) -> HashSeed {
        self.reader.hash_seed()
    }

    fn is_ordered(&self) -> bool {
        true
    }

    fn libraries(&self) -> Libraries {
        libraries_of(&self.reader)
    }

    fn databases(&self) -> Vec<usize> {
        self.reader.databases().iter().map(|db| *db as usize).collect()
    }

    fn size(&self) -> (u64, u64) {
        (self.reader.footer().entries, self.reader.rows().iter().map(|row| u64::from(row.raw_len)).sum())
    }

    fn visit(&self, db: Option<usize>, range: RangeInclusive<u64>, visit: &mut Visit<'_>) -> Result<(), ToolError> {
        let mut buffer = BlockBuffer::default();
        for row in self.reader.rows().iter().filter(|row| row.info.kind.is_data()) {
            let (number, info) = (row.info.db as usize, row.info);
            if db.is_some_and(|db| db != number) || info.last < *range.start() || info.first > *range.end() {
                continue;
            }
            let mut result = Ok(());
            let visited = self.reader.visit_block(row, &mut buffer, |position, entry| {
                if result.is_ok() && range.contains(&position) {
                    result = visit(number, position, &entry);
                }
            });
            result?;
            let Err(error) = visited else { continue };
            if !error.is_damage() {
                return Err(snapshot_error(&error));
            }
            let lost = LostRange {
                file: self.reader.name().to_owned(),
                offset: row.offset,
                end: row.end(),
                db: number,
                range: info.first..=info.last,
                entries: info.count,
            };
            if !self.lost.borrow().contains(&lost) {
                let mut finding = snapshot_finding(self.reader.name(), &error);
                let entries = text::counted(info.count.max(1), "key", "keys");
                finding.message.push_str(&format!("; {entries} of database {number} cannot be read"));
                self.damages.report(finding)?;
                self.lost.borrow_mut().push(lost);
            }
        }
        Ok(())
    }
}

/// A snapshot without an index that can be used: its blocks one behind the other, as far as they verify.
pub(crate) struct WalkedSnapshot<'d> {
    file: Box<dyn File>,
    name: String,
    seed: Seed,
    hash_seed: HashSeed,
    len: u64,
    damages: &'d Damages,
}

impl<'d> WalkedSnapshot<'d> {
    /// Of a file whose header says `seed` and `hash_seed`.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        name: &str,
        seed: Seed,
        hash_seed: HashSeed,
        damages: &'d Damages,
    ) -> Result<Self, ToolError> {
        let failed = crate::target::unreadable(name);
        let file = disk.open(name, OpenMode::Read).map_err(&failed)?;
        let len = file.len().map_err(&failed)?;
        Ok(WalkedSnapshot { file, name: name.to_owned(), seed, hash_seed, len, damages })
    }

    fn read(&self, at: u64, len: usize) -> Result<Vec<u8>, ToolError> {
        let mut bytes = vec![0; len.min(usize::try_from(self.len.saturating_sub(at)).unwrap_or(len))];
        let read = read_full_at(&*self.file, &mut bytes, at).map_err(crate::target::unreadable(&self.name))?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Where the next header that verifies is, from `at` on.
    fn next_header(&self, mut at: u64) -> Result<Option<(u64, BlockHeader)>, ToolError> {
        const STEP: usize = 256 * 1024;
        while at < self.len {
            let bytes = self.read(at, STEP)?;
            for index in memchr_all(&bytes) {
                if let Ok(header) = BlockHeader::decode(&bytes[index..], &self.seed, at + index as u64) {
                    return Ok(Some((at + index as u64, header)));
                }
            }
            if bytes.len() < STEP {
                return Ok(None);
            }
            at += (STEP - BLOCK_HEADER_LEN) as u64;
        }
        Ok(None)
    }

    fn report(&self, from: u64, to: u64, what: &str) -> Result<(), ToolError> {
        self.damages.report(Finding {
            severity: Severity::Damage,
            file: self.name.clone(),
            offset: Some(from),
            lsn: None,
            message: format!("{what}; bytes up to {to} are left out"),
        })
    }
}

/// Where `BLK1` may begin.
fn memchr_all(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    (0..bytes.len().saturating_sub(BLOCK_HEADER_LEN - 1)).filter(|at| bytes[*at..].starts_with(b"BLK1"))
}

impl Base for WalkedSnapshot<'_> {
    fn seed(&self) -> HashSeed {
        self.hash_seed
    }

    fn is_ordered(&self) -> bool {
        false
    }

    fn databases(&self) -> Vec<usize> {
        let mut databases = std::collections::BTreeSet::new();
        let mut at = firn_engine::format::HEADER_LEN as u64;
        while let Ok(Some((offset, header))) = self.next_header(at) {
            if header.info.kind.is_data() {
                databases.insert(header.info.db as usize);
            }
            at = offset + header.block_len();
        }
        databases.into_iter().collect()
    }

    fn size(&self) -> (u64, u64) {
        (self.len / 100, self.len * 2)
    }

    fn visit(&self, db: Option<usize>, range: RangeInclusive<u64>, visit: &mut Visit<'_>) -> Result<(), ToolError> {
        let shaping = Shaping::new(self.hash_seed);
        let (mut scratch, mut assembly) = (Vec::new(), Assembly::default());
        let mut at = firn_engine::format::HEADER_LEN as u64;
        while let Some((offset, header)) = self.next_header(at)? {
            if offset > at {
                self.report(at, offset, "no block begins here")?;
            }
            let end = offset + header.block_len();
            let info = header.info;
            let wanted =
                db.is_none_or(|db| db == info.db as usize) && info.last >= *range.start() && info.first <= *range.end();
            at = end;
            if info.kind == BlockKind::Index {
                return Ok(());
            }
            if !info.kind.is_data() || !wanted {
                continue;
            }
            let stored = self.read(offset + BLOCK_HEADER_LEN as u64, header.stored_len as usize)?;
            let payload = match header.payload(&stored, &self.seed, offset, &mut scratch) {
                Ok(payload) => payload,
                Err(error) => {
                    let what = format!("{error}; {} cannot be read", text::counted(info.count.max(1), "key", "keys"));
                    self.report(offset, end, &what)?;
                    // The header may be right and its length too; what follows is looked for from there on.
                    continue;
                }
            };
            let mut rest = payload;
            while !rest.is_empty() {
                let stored = match entry::take(&mut rest) {
                    Ok(stored) => stored,
                    Err(error) => {
                        self.report(offset, end, &error.to_string())?;
                        break;
                    }
                };
                let position = self.hash_seed.position(stored.key);
                match assembly.push(&stored, &shaping) {
                    Ok(Some(whole)) if range.contains(&position) => {
                        visit(info.db as usize, position, &stored.entry(&whole))?;
                    }
                    Ok(_) => {}
                    Err(error) => {
                        assembly = Assembly::default();
                        let key = text::word(stored.key, false);
                        self.report(offset, end, &format!("key {key} of database {}: {error}", info.db))?;
                    }
                }
            }
        }
        if at < self.len {
            self.report(at, self.len, "no block begins here")?;
        }
        Ok(())
    }
}

//! What is left of a snapshot whose blocks do not all verify, as a base.

use super::prefix::{decompress, keys_in};
use crate::dataset::firn::{libraries_of, snapshot_error};
use crate::dataset::{Base, Damages, Visit};
use crate::folder::snapshot_finding;
use crate::{ToolError, text};
use firn_engine::disk::{Disk, OpenMode, read_full_at};
use firn_engine::key::HashSeed;
use firn_engine::keyspace::libraries::Libraries;
use firn_engine::snapshot::block::{BLOCK_HEADER_LEN, BlockKind};
use firn_engine::snapshot::reader::{BlockBuffer, SnapshotReader};
use std::cell::RefCell;
use std::collections::BTreeSet;
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
    /// Keys whose names can be read all the same.
    pub(crate) named: BTreeSet<Vec<u8>>,
}

/// A snapshot with its index, without the blocks that do not verify.
pub(crate) struct PartialSnapshot<'d> {
    reader: SnapshotReader,
    disk: Arc<dyn Disk>,
    damages: &'d Damages,
    /// What is lost.
    pub(crate) lost: RefCell<Vec<LostRange>>,
}

impl<'d> PartialSnapshot<'d> {
    /// Of an open snapshot.
    pub(crate) fn new(reader: SnapshotReader, disk: &Arc<dyn Disk>, damages: &'d Damages) -> Self {
        PartialSnapshot { reader, disk: Arc::clone(disk), damages, lost: RefCell::default() }
    }

    /// Its LSN and when it was made.
    pub(crate) fn moment(&self) -> (u64, u64) {
        (self.reader.header().number, self.reader.header().created_ms)
    }

    /// The keys of a block that does not verify, as far as they can be read.
    fn names(
        &self,
        offset: u64,
        end: u64,
        range: &RangeInclusive<u64>,
        packed: bool,
        raw_len: u32,
    ) -> BTreeSet<Vec<u8>> {
        let from = offset + BLOCK_HEADER_LEN as u64;
        let mut stored = vec![0; end.saturating_sub(from) as usize];
        let file = self.disk.open(self.reader.name(), OpenMode::Read);
        let Ok(read) = file.and_then(|file| read_full_at(&*file, &mut stored, from)) else { return BTreeSet::new() };
        stored.truncate(read);
        let unpacked = if packed { decompress(&stored, raw_len as usize) } else { stored };
        keys_in(&unpacked, self.reader.hash_seed(), range)
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
            let named =
                self.names(row.offset, row.end(), &(info.first..=info.last), row.stored_len < row.raw_len, row.raw_len);
            let lost = LostRange {
                named,
                file: self.reader.name().to_owned(),
                offset: row.offset,
                end: row.end(),
                db: number,
                range: info.first..=info.last,
                entries: info.count.max(u64::from(info.kind == BlockKind::Part)),
            };
            if !self.lost.borrow().contains(&lost) {
                let mut finding = snapshot_finding(self.reader.name(), &error);
                let entries = text::counted(info.count.max(1), "key", "keys");
                let names = match (lost.named.len() as u64, lost.entries) {
                    (named, entries) if named >= entries => "which are all named".to_owned(),
                    (0, _) => "whose names are not known".to_owned(),
                    (named, entries) => format!("of which {named} can be named and {} not", entries - named),
                };
                finding.message.push_str(&format!("; {entries} of database {number} cannot be read, {names}"));
                self.damages.report(finding)?;
                self.lost.borrow_mut().push(lost);
            }
        }
        Ok(())
    }
}

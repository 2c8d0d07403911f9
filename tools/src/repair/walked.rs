//! What is left of a snapshot whose index or footer cannot be used, as a base: its blocks one behind the other, as far as they verify.

use super::partial::LostRange;
use super::prefix::{decompress, keys_in};
use crate::dataset::{Base, Damages, Unnamed, Visit};
use crate::folder::{Finding, Severity};
use crate::target::unreadable;
use crate::{ToolError, text};
use firn_engine::disk::{Disk, File, OpenMode, read_full_at};
use firn_engine::format::{HEADER_LEN, Seed};
use firn_engine::key::HashSeed;
use firn_engine::keyspace::entry::{self, Assembly};
use firn_engine::keyspace::libraries::Libraries;
use firn_engine::snapshot::LIBRARY_AUX;
use firn_engine::snapshot::block::{BLOCK_HEADER_LEN, BlockHeader, BlockKind};
use firn_engine::snapshot::index::{FOOTER_LEN, decode_aux, decode_rows};
use firn_engine::value::Shaping;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// How many bytes an entry is taken to have where nothing is left that says how many there were.
const ENTRY_LEN: u64 = 64;

/// See above.
pub(crate) struct WalkedSnapshot<'d> {
    file: Box<dyn File>,
    /// Its name.
    pub(crate) name: String,
    seed: Seed,
    hash_seed: HashSeed,
    len: u64,
    damages: &'d Damages,
    /// Blocks of entries that verify: where, and what they say.
    blocks: Vec<(u64, BlockHeader)>,
    libraries: Libraries,
    /// Blocks that do not.
    pub(crate) lost: Vec<LostRange>,
    /// Bytes in which no block is.
    pub(crate) gaps: Vec<(u64, u64)>,
    /// What those bytes may have held.
    unnamed: Unnamed,
    /// Keys of large entries of which a part is missing.
    pub(crate) broken_keys: RefCell<BTreeSet<Vec<u8>>>,
}

impl<'d> WalkedSnapshot<'d> {
    /// Of a file whose header says `seed` and `hash_seed`. Reads it once, and reports what is damaged.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        name: &str,
        seed: Seed,
        hash_seed: HashSeed,
        damages: &'d Damages,
    ) -> Result<Self, ToolError> {
        let failed = unreadable(name);
        let file = disk.open(name, OpenMode::Read).map_err(&failed)?;
        let len = file.len().map_err(&failed)?;
        let mut walked = WalkedSnapshot {
            file,
            name: name.to_owned(),
            seed,
            hash_seed,
            len,
            damages,
            blocks: Vec::new(),
            libraries: Libraries::default(),
            lost: Vec::new(),
            gaps: Vec::new(),
            unnamed: Unnamed::default(),
            broken_keys: RefCell::default(),
        };
        walked.walk()?;
        Ok(walked)
    }

    /// Keys of which not even the number is known for certain.
    pub(crate) fn unnamed(&self) -> Unnamed {
        self.unnamed
    }

    fn read(&self, at: u64, len: usize) -> Result<Vec<u8>, ToolError> {
        let mut bytes = vec![0; len.min(usize::try_from(self.len.saturating_sub(at)).unwrap_or(len))];
        let read = read_full_at(&*self.file, &mut bytes, at).map_err(unreadable(&self.name))?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Where the next header that verifies is, from `at` on.
    fn next_header(&self, mut at: u64) -> Result<Option<(u64, BlockHeader)>, ToolError> {
        const STEP: usize = 256 * 1024;
        while at < self.len {
            let bytes = self.read(at, STEP)?;
            for index in memchr::memmem::find_iter(&bytes, b"BLK1") {
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

    fn walk(&mut self) -> Result<(), ToolError> {
        let (mut at, mut rows, mut scratch) = (HEADER_LEN as u64, None, Vec::new());
        while let Some((offset, header)) = self.next_header(at)? {
            if offset > at {
                self.gaps.push((at, offset));
            }
            let end = (offset + header.block_len()).min(self.len);
            at = end;
            let stored = self.read(offset + BLOCK_HEADER_LEN as u64, header.stored_len as usize)?;
            match (header.payload(&stored, &self.seed, offset, &mut scratch), header.info.kind) {
                (Ok(payload), BlockKind::Index) => {
                    rows = decode_rows(payload, header.info.count).ok();
                    break;
                }
                (Err(_), BlockKind::Index) => {
                    self.gaps.push((offset, end));
                    break;
                }
                (Ok(payload), BlockKind::Auxiliary) => {
                    for pair in decode_aux(payload, header.info.count).unwrap_or_default() {
                        if pair.name == LIBRARY_AUX.as_bytes() {
                            let _ = self.libraries.load(&pair.value);
                        }
                    }
                }
                (Err(error), BlockKind::Auxiliary) => {
                    self.gaps.push((offset, end));
                    self.report(offset, end, &format!("{error}; a library of functions may have been in it"))?;
                }
                (Ok(_), _) => self.blocks.push((offset, header)),
                (Err(error), _) => {
                    let unpacked =
                        if header.compressed { decompress(&stored, header.raw_len as usize) } else { stored.clone() };
                    let range = header.info.first..=header.info.last;
                    let named = keys_in(&unpacked, self.hash_seed, &range);
                    self.lose(
                        header.info.db as usize,
                        range,
                        header.info.count,
                        (offset, end),
                        named,
                        &error.to_string(),
                    )?;
                }
            }
        }
        match rows {
            Some(rows) => {
                for row in rows.iter().filter(|row| row.info.kind.is_data()) {
                    let seen = self.blocks.iter().any(|(offset, _)| *offset == row.offset)
                        || self.lost.iter().any(|lost| lost.offset == row.offset);
                    if !seen {
                        let range = row.info.first..=row.info.last;
                        let place = (row.offset.min(self.len), row.end().min(self.len));
                        self.lose(
                            row.info.db as usize,
                            range,
                            row.info.count,
                            place,
                            BTreeSet::new(),
                            "no block is here",
                        )?;
                    }
                }
            }
            None => {
                let footer = (self.len.saturating_sub(FOOTER_LEN as u64)).max(at);
                if at < footer {
                    self.gaps.push((at, footer));
                }
                // Nothing tells what was in them.
                let bytes: u64 = self.gaps.iter().map(|(from, to)| to - from).sum();
                self.unnamed = Unnamed { about: bytes / ENTRY_LEN, perhaps: true };
                self.report(at, self.len, &format!("no index is there that says what the file held{}", self.unnamed))?;
            }
        }
        for (from, to) in self.gaps.clone() {
            self.report(from, to, "no block is here")?;
        }
        Ok(())
    }

    fn lose(
        &mut self,
        db: usize,
        range: RangeInclusive<u64>,
        count: u64,
        (offset, end): (u64, u64),
        named: BTreeSet<Vec<u8>>,
        why: &str,
    ) -> Result<(), ToolError> {
        let entries = count.max(1);
        let unknown = entries.saturating_sub(named.len() as u64);
        let keys = text::counted(entries, "key", "keys");
        self.report(
            offset,
            end,
            &format!("{why}; {keys} of database {db} cannot be read, the names of {unknown} are not known"),
        )?;
        self.lost.push(LostRange { file: self.name.clone(), offset, end, db, range, entries, named });
        Ok(())
    }
}

impl Base for WalkedSnapshot<'_> {
    fn seed(&self) -> HashSeed {
        self.hash_seed
    }

    fn is_ordered(&self) -> bool {
        false
    }

    fn libraries(&self) -> Libraries {
        self.libraries.clone()
    }

    fn databases(&self) -> Vec<usize> {
        let found: BTreeSet<usize> = self.blocks.iter().map(|(_, header)| header.info.db as usize).collect();
        found.into_iter().collect()
    }

    fn size(&self) -> (u64, u64) {
        (self.blocks.iter().map(|(_, header)| header.info.count).sum(), self.len * 2)
    }

    fn visit(&self, db: Option<usize>, range: RangeInclusive<u64>, visit: &mut Visit<'_>) -> Result<(), ToolError> {
        let shaping = Shaping::new(self.hash_seed);
        let (mut scratch, mut assembly) = (Vec::new(), Assembly::default());
        // The key of which parts are still to come.
        let mut open: Option<Vec<u8>> = None;
        for &(offset, header) in &self.blocks {
            let info = header.info;
            if db.is_some_and(|db| db != info.db as usize) || info.last < *range.start() || info.first > *range.end() {
                continue;
            }
            let stored = self.read(offset + BLOCK_HEADER_LEN as u64, header.stored_len as usize)?;
            let payload = header.payload(&stored, &self.seed, offset, &mut scratch);
            let mut rest = payload.map_err(|error| ToolError::Damage(format!("{}: {error}", self.name)))?;
            while !rest.is_empty() {
                let stored = match entry::take(&mut rest) {
                    Ok(stored) => stored,
                    Err(error) => {
                        self.report(offset, offset + header.block_len(), &error.to_string())?;
                        break;
                    }
                };
                if !stored.continues
                    && let Some(key) = open.take()
                {
                    self.broken(offset, info.db, &key, "its last part is missing")?;
                    assembly = Assembly::default();
                }
                let position = self.hash_seed.position(stored.key);
                match assembly.push(&stored, &shaping) {
                    Ok(Some(whole)) => {
                        open = None;
                        if range.contains(&position) {
                            visit(info.db as usize, position, &stored.entry(&whole))?;
                        }
                    }
                    Ok(None) => open = Some(stored.key.to_vec()),
                    Err(error) => {
                        (assembly, open) = (Assembly::default(), None);
                        self.broken(offset, info.db, stored.key, &error.to_string())?;
                    }
                }
            }
        }
        match open {
            Some(key) => self.broken(self.len, 0, &key, "its last part is missing"),
            None => Ok(()),
        }
    }
}

impl WalkedSnapshot<'_> {
    /// Names a large entry of which a part is lost.
    fn broken(&self, offset: u64, db: u32, key: &[u8], why: &str) -> Result<(), ToolError> {
        if self.broken_keys.borrow_mut().insert(key.to_vec()) {
            let message = format!("key {} of database {db} is left out: {why}", text::word(key, false));
            let (severity, file) = (Severity::Damage, self.name.clone());
            self.damages.report(Finding { severity, file, offset: Some(offset), lsn: None, message })?;
        }
        Ok(())
    }
}

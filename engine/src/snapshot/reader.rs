//! Reads a snapshot: its index at once, then single keys, ranges of positions, or all of it, one block at a time.
//!
//! 1. Reading never writes, and takes memory for the index and one block, not for the data.
//! 2. Every byte that leaves here was under a checksum that is right. What the disk could not give is
//!    [`SnapshotError::Disk`], what it gave and is wrong is [`SnapshotError::Damaged`] with the offset.
//! 3. All reads go through [`File`], with calls that can report an error.

use super::block::{BLOCK_HEADER_LEN, BadBlock, BlockHeader, BlockKind};
use super::index::{
    AuxPair, BadFooter, BadIndex, FOOTER_LEN, Footer, IndexRow, LOG_AUX, check_layout, decode_aux, decode_rows,
    in_file_order,
};
use super::{BadSnapshot, SnapshotError};
use crate::disk::{Disk, File, OpenMode, read_full_at};
use crate::format::{BadHeader, FileHeader, FileKind, FileName, HEADER_LEN, Seed, StoreId};
use crate::key::{HashSeed, Key};
use crate::keyspace::entry::{self, Assembly, BadEntry, Whole};
use crate::keyspace::{BadLoad, Entry, Value};
use crate::value::{Collection, Shaping};
use std::ops::RangeInclusive;

/// Memory for one block, reused from block to block.
#[derive(Debug, Default)]
pub struct BlockBuffer {
    stored: Vec<u8>,
    raw: Vec<u8>,
    /// A large entry of which some parts have been seen.
    assembly: Assembly,
}

/// An open snapshot whose header, footer and index are right. Its blocks are verified when they are read. Threads may share it.
pub struct SnapshotReader {
    file: Box<dyn File>,
    name: String,
    header: FileHeader,
    seed: Seed,
    footer: Footer,
    rows: Vec<IndexRow>,
    aux: Vec<AuxPair>,
}

/// What a whole verification has seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Verified {
    /// Blocks that are right, the index not counted.
    pub blocks: u64,
    /// Entries in them.
    pub entries: u64,
    /// Length of their payloads in memory, in bytes.
    pub raw_len: u64,
    /// Blocks that are not right.
    pub bad: u64,
}

impl SnapshotReader {
    /// Opens `name` and verifies header, footer, index and auxiliary blocks. A name of the store's own form must agree with the
    /// header; `store`, if given, too.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn open(disk: &dyn Disk, name: &str, store: Option<StoreId>) -> Result<SnapshotReader, SnapshotError> {
        let opened = disk.open(name, OpenMode::Read);
        let file = opened.map_err(|error| SnapshotError::disk("opening", name, None, error))?;
        let len = file.len().map_err(|error| SnapshotError::disk("measuring", name, None, error))?;
        let header = read_header(&*file, name, store)?;
        let seed = header.seed();
        let footer = read_footer(&*file, name, &header, &seed, len)?;
        let mut reader =
            SnapshotReader { file, name: name.to_owned(), header, seed, footer, rows: vec![], aux: vec![] };
        let mut buffer = BlockBuffer::default();
        reader.rows = reader.read_index(&mut buffer)?;
        check_layout(&reader.rows, &footer).map_err(|why| reader.bad(footer.index_offset, why))?;
        for row in reader.rows.clone().iter().take_while(|row| row.info.kind == BlockKind::Auxiliary) {
            let payload = reader.read_block(row, &mut buffer)?;
            let pairs = decode_aux(payload, row.info.count).map_err(|why| reader.bad(row.offset, why))?;
            reader.aux.extend(pairs);
        }
        Ok(reader)
    }

    /// The file's name.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Its header.
    pub fn header(&self) -> &FileHeader {
        &self.header
    }
    /// Its footer.
    pub fn footer(&self) -> &Footer {
        &self.footer
    }
    /// All blocks but the index, in the order of database and position.
    pub fn rows(&self) -> &[IndexRow] {
        &self.rows
    }
    /// What it carries beside its entries.
    pub fn aux(&self) -> &[AuxPair] {
        &self.aux
    }
    /// Whether a log was on when it was made, which goes on behind it.
    pub fn has_log(&self) -> bool {
        self.aux_value(LOG_AUX).is_some()
    }
    /// The value of the auxiliary pair `name`.
    pub fn aux_value(&self, name: &str) -> Option<&[u8]> {
        self.aux.iter().find(|pair| pair.name == name.as_bytes()).map(|pair| &pair.value[..])
    }
    /// The seed of positions.
    pub fn hash_seed(&self) -> HashSeed {
        self.header.hash_seed
    }
    /// The blocks of one database, in order of position.
    pub fn database_rows(&self, db: u32) -> &[IndexRow] {
        let key = |row: &IndexRow| (row.info.kind.is_data(), row.info.db);
        let start = self.rows.partition_point(|row| key(row) < (true, db));
        let end = self.rows.partition_point(|row| key(row) <= (true, db));
        &self.rows[start..end]
    }
    /// Databases that have entries, in order.
    pub fn databases(&self) -> Vec<u32> {
        let entries = self.rows.iter().filter(|row| row.info.kind.is_data());
        let mut numbers: Vec<u32> = entries.map(|row| row.info.db).collect();
        numbers.dedup();
        numbers
    }

    pub(crate) fn bad(&self, offset: u64, why: impl Into<BadSnapshot>) -> SnapshotError {
        SnapshotError::bad(&self.name, offset, why)
    }

    fn read_index(&self, buffer: &mut BlockBuffer) -> Result<Vec<IndexRow>, SnapshotError> {
        let (start, end) = (self.footer.index_offset, self.footer.file_len - FOOTER_LEN as u64);
        // The footer was right, so these are as many bytes as the writer put there.
        read_exact(&*self.file, &self.name, &mut buffer.stored, start, end - start)?;
        let bad = |why: BadSnapshot| self.bad(start, why);
        let header = BlockHeader::decode(&buffer.stored, &self.seed, start).map_err(|why| bad(why.into()))?;
        if start + header.block_len() != end {
            return Err(bad(BadFooter::IndexEnd { end: start + header.block_len(), footer: end }.into()));
        }
        if header.info.kind != BlockKind::Index {
            return Err(bad(BadBlock::Kind(header.info.kind as u8).into()));
        }
        let stored = &buffer.stored[BLOCK_HEADER_LEN..];
        let payload = header.payload(stored, &self.seed, start, &mut buffer.raw).map_err(|why| bad(why.into()))?;
        decode_rows(payload, header.info.count).map_err(|why| bad(why.into()))
    }

    /// Reads and verifies the block of `row`, one of [`SnapshotReader::rows`], and gives its raw payload.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn read_block<'b>(&self, row: &IndexRow, buffer: &'b mut BlockBuffer) -> Result<&'b [u8], SnapshotError> {
        let bad = |why: BadSnapshot| self.bad(row.offset, why);
        let BlockBuffer { stored, raw, .. } = buffer;
        read_exact(&*self.file, &self.name, stored, row.offset, row.end() - row.offset)?;
        let header = BlockHeader::decode(stored, &self.seed, row.offset).map_err(|why| bad(why.into()))?;
        if !row.agrees(&header) {
            return Err(bad(BadIndex::Disagrees.into()));
        }
        let payload = header.payload(&stored[BLOCK_HEADER_LEN..], &self.seed, row.offset, raw);
        payload.map_err(|why| bad(why.into()))
    }

    /// Visits the entries of one block with their positions, in order; makes sure that each belongs there, and that collections decode. A
    /// large entry is visited with its last part, if the blocks of all its parts are visited one after the other with one buffer.
    ///
    /// # Errors
    /// [`SnapshotError`]; the entries before the wrong one have been visited.
    pub fn visit_block(
        &self,
        row: &IndexRow,
        buffer: &mut BlockBuffer,
        mut visit: impl FnMut(u64, Entry<'_>),
    ) -> Result<(), SnapshotError> {
        let shaping = Shaping::new(self.header.hash_seed);
        let mut assembly = std::mem::take(&mut buffer.assembly);
        let mut payload = self.read_block(row, buffer)?;
        let (mut found, mut last) = (0, row.info.first);
        let mut first = true;
        // From the first entry with the last position on: keys rarely share one.
        let mut same_position = payload;
        while !payload.is_empty() {
            let before = payload;
            let entry = entry::take(&mut payload).map_err(|why| self.bad(row.offset, why))?;
            let position = self.header.hash_seed.position(entry.key);
            let misplaced = if first { position != last } else { position < last };
            first = false;
            if misplaced || position > row.info.last {
                return Err(self.bad(row.offset, BadSnapshot::Position { entry: found, position }));
            }
            if position != last {
                same_position = before;
            }
            let earlier = &same_position[..same_position.len() - before.len()];
            if !earlier.is_empty() && holds_key(earlier, entry.key) {
                return Err(self.bad(row.offset, BadLoad::Twice(position)));
            }
            (found, last) = (found + u64::from(!entry.continued), position);
            let whole = assembly.push(&entry, &shaping).map_err(|why| self.bad(row.offset, why))?;
            if let Some(whole) = whole {
                visit(position, entry.entry(&whole));
            }
        }
        if row.info.kind == BlockKind::Entries && assembly.is_open() {
            return Err(self.bad(row.offset, BadEntry::Part));
        }
        buffer.assembly = assembly;
        if found != row.info.count || last != row.info.last {
            return Err(self.bad(row.offset, BadSnapshot::Count { found, stated: row.info.count }));
        }
        Ok(())
    }

    /// Looks one key up with one read of one block (none if no block can hold it, several for a large value) and hands its entry to `found`.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn find<T>(
        &self,
        db: u32,
        key: &[u8],
        buffer: &mut BlockBuffer,
        found: impl FnOnce(Entry<'_>) -> T,
    ) -> Result<Option<T>, SnapshotError> {
        let Key { position, .. } = self.header.hash_seed.key(key);
        let rows = self.database_rows(db);
        let at = rows.partition_point(|row| row.info.last < position);
        let shaping = Shaping::new(self.header.hash_seed);
        let mut assembly = Assembly::default();
        for row in rows[at..].iter().take_while(|row| row.info.first <= position) {
            let mut payload = self.read_block(row, buffer)?;
            while !payload.is_empty() {
                let entry = entry::take(&mut payload).map_err(|why| self.bad(row.offset, why))?;
                if entry.key == key {
                    let whole = assembly.push(&entry, &shaping).map_err(|why| self.bad(row.offset, why))?;
                    if let Some(whole) = whole {
                        return Ok(Some(found(entry.entry(&whole))));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Walks the entries of a database whose positions are in `range`, in order.
    pub fn entries(&self, db: u32, range: RangeInclusive<u64>) -> Entries<'_> {
        let rows = self.database_rows(db);
        let start = rows.partition_point(|row| row.info.last < *range.start());
        let end = rows.partition_point(|row| row.info.first <= *range.end());
        let rows = rows.get(start..end).unwrap_or_default();
        let (buffer, shaping) = (BlockBuffer::default(), Shaping::new(self.header.hash_seed));
        Entries { reader: self, rows, range, buffer, at: None, shaping, collection: None }
    }

    /// Verifies every block in the order of the file, entry by entry. `progress` is told after each block how many of the file's
    /// bytes are done. Damage is handed to `damaged`, and the next block follows.
    ///
    /// # Errors
    /// Only [`SnapshotError::Disk`]: what could not be read is not known to be wrong.
    pub fn verify_all(
        &self,
        mut progress: impl FnMut(u64),
        mut damaged: impl FnMut(&IndexRow, SnapshotError),
    ) -> Result<Verified, SnapshotError> {
        let mut verified = Verified::default();
        let mut buffer = BlockBuffer::default();
        for row in in_file_order(&self.rows) {
            match self.verify_block(&row, &mut buffer) {
                Ok(entries) => {
                    verified.blocks += 1;
                    verified.entries += entries;
                    verified.raw_len += u64::from(row.raw_len);
                }
                Err(error) if error.is_damage() => {
                    verified.bad += 1;
                    damaged(&row, error);
                }
                Err(error) => return Err(error),
            }
            progress(row.end());
        }
        if let Some(row) = self.rows.last()
            && buffer.assembly.is_open()
        {
            verified.bad += 1;
            damaged(row, self.bad(row.offset, BadEntry::Part));
        }
        Ok(verified)
    }

    /// Verifies one block to the last entry, and says how many entries it has.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn verify_block(&self, row: &IndexRow, buffer: &mut BlockBuffer) -> Result<u64, SnapshotError> {
        match row.info.kind {
            BlockKind::Entries | BlockKind::Part => self.visit_block(row, buffer, |_, _| {}).map(|()| row.info.count),
            // Decoded when the file was opened; its bytes may have gone bad since.
            BlockKind::Auxiliary | BlockKind::Index => self.read_block(row, buffer).map(|_| 0),
        }
    }

    /// Makes the next reads ask the device, so that a verification proves more than the page cache.
    ///
    /// # Errors
    /// [`SnapshotError::Disk`].
    pub fn drop_cache(&self) -> Result<(), SnapshotError> {
        self.file.drop_cache().map_err(|error| SnapshotError::disk("dropping the cache of", &self.name, None, error))
    }
}

/// Whether `key` is among entries that have been decoded before.
fn holds_key(mut entries: &[u8], key: &[u8]) -> bool {
    while let Ok(entry) = entry::take(&mut entries) {
        if entry.key == key {
            return true;
        }
    }
    false
}

/// The header of a snapshot, verified on its own: what can be said of a file whose end is missing.
///
/// # Errors
/// [`SnapshotError`].
pub fn read_header(file: &dyn File, name: &str, store: Option<StoreId>) -> Result<FileHeader, SnapshotError> {
    let mut bytes = [0; HEADER_LEN];
    let read = read_full_at(file, &mut bytes, 0).map_err(|error| SnapshotError::disk("reading", name, 0, error))?;
    let bad = |why: BadHeader| SnapshotError::bad(name, 0, why);
    let mut header = FileHeader::decode(&bytes[..read], FileKind::Snapshot).map_err(bad)?;
    if let Some(store) = store {
        header = header.of_store(store).map_err(bad)?;
    }
    match FileName::parse(name) {
        FileName::Snapshot { lsn, epoch } => header.named(lsn, epoch).map_err(bad),
        _ => Ok(header), // A copy under another name, or one that was set aside.
    }
}

fn read_footer(
    file: &dyn File,
    name: &str,
    header: &FileHeader,
    seed: &Seed,
    len: u64,
) -> Result<Footer, SnapshotError> {
    let offset = len.saturating_sub(FOOTER_LEN as u64);
    let mut bytes = [0; FOOTER_LEN];
    let read = read_full_at(file, &mut bytes, offset);
    let read = read.map_err(|error| SnapshotError::disk("reading", name, offset, error))?;
    Footer::decode(&bytes[..read], seed, len, header.number).map_err(|why| SnapshotError::bad(name, offset, why))
}

/// Fills `out` with `len` bytes from `offset` on; the caller knows that the file has them.
fn read_exact(file: &dyn File, name: &str, out: &mut Vec<u8>, offset: u64, len: u64) -> Result<(), SnapshotError> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if out.len() > len {
        out.truncate(len);
    } else {
        out.resize(len, 0);
    }
    let read = read_full_at(file, out, offset).map_err(|error| SnapshotError::disk("reading", name, offset, error))?;
    if read < len {
        return Err(SnapshotError::bad(name, offset, BadBlock::Cut { have: read as u64, need: len as u64 }));
    }
    Ok(())
}

/// Walks entries in order of position; see [`SnapshotReader::entries`].
pub struct Entries<'r> {
    reader: &'r SnapshotReader,
    /// Blocks from the current one on.
    rows: &'r [IndexRow],
    range: RangeInclusive<u64>,
    buffer: BlockBuffer,
    /// How much of the current block's payload is consumed; `None` before it is read.
    at: Option<usize>,
    shaping: Shaping,
    /// The value of the entry that was given last, if that is a collection.
    collection: Option<Collection>,
}

impl Entries<'_> {
    /// The next entry and its position.
    ///
    /// # Errors
    /// [`SnapshotError`]; the walk cannot go on then.
    #[allow(clippy::should_implement_trait)] // Entries are borrowed from the block in memory.
    pub fn next(&mut self) -> Result<Option<(u64, Entry<'_>)>, SnapshotError> {
        loop {
            let Some(row) = self.rows.first() else { return Ok(None) };
            let at = match self.at {
                Some(at) => at,
                None => {
                    let len = self.reader.read_block(row, &mut self.buffer)?.len();
                    debug_assert_eq!(len, row.raw_len as usize);
                    self.at = Some(0);
                    0
                }
            };
            if at == row.raw_len as usize {
                self.rows = &self.rows[1..];
                self.at = None;
                continue;
            }
            // Decoded twice when it is returned, because a borrow that is returned on one path would last on all of them.
            let mut assembly = std::mem::take(&mut self.buffer.assembly);
            let mut rest = &self.payload(row)[at..];
            let stored = entry::take(&mut rest).map_err(|why| self.reader.bad(row.offset, why))?;
            let position = self.reader.header.hash_seed.position(stored.key);
            let wanted = self.range.contains(&position);
            let whole = if wanted {
                assembly.push(&stored, &self.shaping).map_err(|why| self.reader.bad(row.offset, why))?
            } else {
                None
            };
            let found = whole.map(|whole| match whole {
                Whole::String(_) => None,
                Whole::Collection(collection) => Some(collection),
            });
            let consumed = row.raw_len as usize - rest.len();
            (self.at, self.buffer.assembly) = (Some(consumed), assembly);
            if position > *self.range.end() {
                self.rows = &[];
                return Ok(None);
            }
            if let Some(collection) = found {
                self.collection = collection;
                let mut rest = &self.payload(row)[at..];
                let Ok(stored) = entry::take(&mut rest) else { unreachable!("it was just taken") };
                let value = match &self.collection {
                    Some(collection) => Value::Collection(collection.view()),
                    None => Value::String(stored.body),
                };
                let entry::Stored { key, deadline, access, .. } = stored;
                return Ok(Some((position, Entry { key, value, deadline, edited: false, access })));
            }
        }
    }

    fn payload(&self, row: &IndexRow) -> &[u8] {
        let raw_len = row.raw_len as usize;
        if row.stored_len == row.raw_len {
            &self.buffer.stored[BLOCK_HEADER_LEN..]
        } else {
            &self.buffer.raw[..raw_len] // A larger block may have lent its memory.
        }
    }
}

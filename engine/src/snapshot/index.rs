//! What stands at the end of a snapshot: the index (one row per block), the footer, and the rules that tie both to the
//! file; also the payload of auxiliary blocks. Layout: `FORMAT.md`, "Index block's payload" and "Footer".
//!
//! 1. Pure functions: bytes in, value out.
//! 2. An index that passed [`check_layout`] covers the file from its header to the index block without a gap or an overlap, and its
//!    entries blocks do not overlap in positions: so every byte is under some checksum, and a key can be in one block only.

use super::block::{BLOCK_HEADER_LEN, BlockHeader, BlockInfo, BlockKind};
use crate::format::{HEADER_LEN, Seed, u32_at, u64_at};
use crate::limits::BLOCK_LEN_MAX;
use crate::log::Lsn;
use crate::log::pending::{put_varint, take_varint};

/// Length of the footer in bytes.
pub const FOOTER_LEN: usize = 64;
/// Length of one row of the index in bytes.
pub const INDEX_ROW_LEN: usize = 48;
/// Most rows that an index block can hold.
pub const INDEX_ROWS_MAX: usize = BLOCK_LEN_MAX / INDEX_ROW_LEN;
const FOOTER_MAGIC: &[u8; 8] = b"FIRNEND1";

/// Where a block stands and what it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexRow {
    /// What the block holds.
    pub info: BlockInfo,
    /// Where its header begins in the file.
    pub offset: u64,
    /// Length of its payload in the file.
    pub stored_len: u32,
    /// Length of its payload in memory.
    pub raw_len: u32,
}

impl IndexRow {
    /// The row of a block that stands at `offset`.
    pub fn of(header: &BlockHeader, offset: u64) -> IndexRow {
        IndexRow { info: header.info, offset, stored_len: header.stored_len, raw_len: header.raw_len }
    }

    /// Where the block ends in the file.
    pub fn end(&self) -> u64 {
        self.offset + BLOCK_HEADER_LEN as u64 + u64::from(self.stored_len)
    }

    /// Whether a block's own header says the same as this row.
    pub fn agrees(&self, header: &BlockHeader) -> bool {
        *self == IndexRow::of(header, self.offset)
    }

    /// By (database, first position); auxiliary blocks, which have neither, come first in their order in the file.
    fn order(&self) -> (bool, u32, u64, u64) {
        (self.info.kind.is_data(), self.info.db, self.info.first, self.offset)
    }
}

/// Every way for the rows to be wrong although their block's checksum was right.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs)] // The texts say it.
pub enum BadIndex {
    #[error("the index has {len} bytes for {rows} rows of {INDEX_ROW_LEN}")]
    Length { len: u64, rows: u64 },
    #[error("row {row} of the index is of kind {kind}, which no index has")]
    Kind { row: usize, kind: u8 },
    #[error("row {row} of the index has reserved bytes that are not zero")]
    Reserved { row: usize },
    #[error("row {row} of the index is not after the one before it")]
    Order { row: usize },
    #[error("row {row} of the index holds positions from {first:#018x} on, the one before it up to {last:#018x}")]
    Overlap { row: usize, first: u64, last: u64 },
    #[error("the index knows of no block at byte {expected}; the next it knows is at {found}")]
    Gap { expected: u64, found: u64 },
    #[error("the index counts {counted} entries, the footer {stated}")]
    Entries { counted: u64, stated: u64 },
    #[error("the block's own header says something else than the index")]
    Disagrees,
}

/// Sorts rows as an index has them.
pub fn sort_rows(rows: &mut [IndexRow]) {
    rows.sort_unstable_by_key(IndexRow::order);
}

/// Appends the payload of the index block; the rows are in order ([`sort_rows`]).
pub fn encode_rows(rows: &[IndexRow], out: &mut Vec<u8>) {
    out.reserve(rows.len() * INDEX_ROW_LEN);
    for row in rows {
        out.extend_from_slice(&[row.info.kind as u8, 0, 0, 0]);
        out.extend_from_slice(&row.info.db.to_le_bytes());
        for number in [row.info.first, row.info.last, row.offset] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&row.stored_len.to_le_bytes());
        out.extend_from_slice(&row.raw_len.to_le_bytes());
        out.extend_from_slice(&row.info.count.to_le_bytes());
    }
}

/// Reads the payload of an index block of `count` rows.
///
/// # Errors
/// [`BadIndex`].
pub fn decode_rows(payload: &[u8], count: u64) -> Result<Vec<IndexRow>, BadIndex> {
    let (rows, rest) = payload.as_chunks::<INDEX_ROW_LEN>();
    if !rest.is_empty() || rows.len() as u64 != count {
        return Err(BadIndex::Length { len: payload.len() as u64, rows: count });
    }
    let decode = |(row, bytes): (usize, &[u8; INDEX_ROW_LEN])| {
        let kind = BlockKind::from_number(bytes[0]).filter(|kind| *kind != BlockKind::Index);
        let kind = kind.ok_or(BadIndex::Kind { row, kind: bytes[0] })?;
        if bytes[1..4] != [0; 3] {
            return Err(BadIndex::Reserved { row });
        }
        let info = BlockInfo {
            kind,
            db: u32_at(bytes, 4),
            count: u64_at(bytes, 40),
            first: u64_at(bytes, 8),
            last: u64_at(bytes, 16),
        };
        let (stored_len, raw_len) = (u32_at(bytes, 32), u32_at(bytes, 36));
        Ok(IndexRow { info, offset: u64_at(bytes, 24), stored_len, raw_len })
    };
    rows.iter().enumerate().map(decode).collect()
}

/// Whether rows and footer fit each other and the file.
///
/// # Errors
/// [`BadIndex`].
pub fn check_layout(rows: &[IndexRow], footer: &Footer) -> Result<(), BadIndex> {
    for (at, pair) in rows.windows(2).enumerate() {
        let (before, after, row) = (&pair[0], &pair[1], at + 1);
        if before.order() >= after.order() {
            return Err(BadIndex::Order { row });
        }
        let same = before.info.kind.is_data() && after.info.kind.is_data() && before.info.db == after.info.db;
        // Parts of one entry share its position, and so may, if hashes collide, another entry.
        let part = before.info.kind == BlockKind::Part || after.info.kind == BlockKind::Part;
        let touches = part && after.info.first == before.info.last;
        if same && after.info.first <= before.info.last && !touches {
            return Err(BadIndex::Overlap { row, first: after.info.first, last: before.info.last });
        }
    }
    let mut expected = HEADER_LEN as u64;
    for row in in_file_order(rows) {
        if row.offset != expected || row.offset > footer.index_offset {
            return Err(BadIndex::Gap { expected, found: row.offset });
        }
        expected = row.end(); // No overflow: the offset is within the file.
    }
    if expected != footer.index_offset {
        return Err(BadIndex::Gap { expected, found: footer.index_offset });
    }
    let entries = rows.iter().filter(|row| row.info.kind.is_data());
    let counted = entries.fold(0u64, |sum, row| sum.saturating_add(row.info.count));
    if counted != footer.entries {
        return Err(BadIndex::Entries { counted, stated: footer.entries });
    }
    Ok(())
}

/// The rows in the order of their blocks in the file.
pub fn in_file_order(rows: &[IndexRow]) -> Vec<IndexRow> {
    let mut rows = rows.to_vec();
    rows.sort_unstable_by_key(|row| row.offset);
    rows
}

/// The last bytes of a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Footer {
    /// Where the index block begins.
    pub index_offset: u64,
    /// Entries in all.
    pub entries: u64,
    /// The LSN whose state this is.
    pub lsn: Lsn,
    /// Length of the whole file.
    pub file_len: u64,
    /// Highest LSN known durable when the snapshot was finished.
    pub durable: Lsn,
}

/// Every way for a footer to be wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs)] // The texts say it.
pub enum BadFooter {
    #[error("the file has {0} bytes, too few for a snapshot: it was cut")]
    Cut(u64),
    #[error("the file does not end with a footer: it was cut, or never finished")]
    Magic,
    #[error("the footer's checksum is {stated:#010x}, its bytes give {computed:#010x}")]
    Checksum { stated: u32, computed: u32 },
    #[error("reserved bytes of the footer are not zero")]
    Reserved,
    #[error("the footer says the file has {stated} bytes, it has {found}")]
    Length { stated: u64, found: u64 },
    #[error("the footer says LSN {footer}, the header {header}")]
    Lsn { footer: Lsn, header: Lsn },
    #[error("the footer says that the index begins at byte {0}, outside the file's blocks")]
    IndexOffset(u64),
    #[error("the index block ends at byte {end}, the footer begins at {footer}")]
    IndexEnd { end: u64, footer: u64 },
}

impl Footer {
    /// The footer's bytes; it stands at `file_len - 64`.
    pub fn encode(&self, seed: &Seed) -> [u8; FOOTER_LEN] {
        let mut bytes = [0; FOOTER_LEN];
        bytes[..8].copy_from_slice(FOOTER_MAGIC);
        let numbers = [self.index_offset, self.entries, self.lsn, self.file_len, self.durable];
        for (at, number) in numbers.into_iter().enumerate() {
            bytes[8 + 8 * at..][..8].copy_from_slice(&number.to_le_bytes());
        }
        let crc = seed.crc(self.file_len - FOOTER_LEN as u64, &[&bytes[..60]]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads and verifies the last bytes of a file of `file_len` bytes, a snapshot at `lsn` as its header says.
    ///
    /// # Errors
    /// [`BadFooter`].
    pub fn decode(bytes: &[u8], seed: &Seed, file_len: u64, lsn: Lsn) -> Result<Footer, BadFooter> {
        if file_len < (HEADER_LEN + BLOCK_HEADER_LEN + FOOTER_LEN) as u64 {
            return Err(BadFooter::Cut(file_len));
        }
        let bytes: &[u8; FOOTER_LEN] = bytes.first_chunk().ok_or(BadFooter::Cut(file_len))?;
        if bytes[..8] != *FOOTER_MAGIC {
            return Err(BadFooter::Magic);
        }
        let (stated, computed) = (u32_at(bytes, 60), seed.crc(file_len - FOOTER_LEN as u64, &[&bytes[..60]]));
        if stated != computed {
            return Err(BadFooter::Checksum { stated, computed });
        }
        if bytes[48..60] != [0; 12] {
            return Err(BadFooter::Reserved);
        }
        let footer = Footer {
            index_offset: u64_at(bytes, 8),
            entries: u64_at(bytes, 16),
            lsn: u64_at(bytes, 24),
            file_len: u64_at(bytes, 32),
            durable: u64_at(bytes, 40),
        };
        if footer.file_len != file_len {
            return Err(BadFooter::Length { stated: footer.file_len, found: file_len });
        }
        if footer.lsn != lsn {
            return Err(BadFooter::Lsn { footer: footer.lsn, header: lsn });
        }
        let blocks = HEADER_LEN as u64..=file_len - (BLOCK_HEADER_LEN + FOOTER_LEN) as u64;
        if !blocks.contains(&footer.index_offset) {
            return Err(BadFooter::IndexOffset(footer.index_offset));
        }
        Ok(footer)
    }
}

/// A name and a value that a snapshot carries beside its entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuxPair {
    /// Its name, e.g. `firn-version`.
    pub name: Vec<u8>,
    /// Its value, any bytes.
    pub value: Vec<u8>,
}

impl AuxPair {
    /// A pair of texts.
    #[allow(clippy::needless_pass_by_value)] // Numbers and literals are handed over as they are.
    pub fn text(name: &str, value: impl ToString) -> AuxPair {
        AuxPair { name: name.as_bytes().to_vec(), value: value.to_string().into_bytes() }
    }
}

/// An auxiliary block's payload does not decode to its stated number of pairs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the auxiliary block does not hold {0} pairs of name and value")]
pub struct BadAux(pub u64);

/// The auxiliary pair of a snapshot beside which a log was on: the LSN with which the log goes on behind it.
pub(crate) const LOG_AUX: &str = "log-from";

/// Appends the payload of an auxiliary block.
pub fn encode_aux(pairs: &[AuxPair], out: &mut Vec<u8>) {
    for part in pairs.iter().flat_map(|pair| [&pair.name, &pair.value]) {
        put_varint(out, part.len() as u64);
        out.extend_from_slice(part);
    }
}

/// Reads the payload of an auxiliary block of `count` pairs.
///
/// # Errors
/// [`BadAux`].
pub fn decode_aux(mut payload: &[u8], count: u64) -> Result<Vec<AuxPair>, BadAux> {
    let part = |payload: &mut &[u8]| {
        let len = usize::try_from(take_varint(payload)?).ok()?;
        payload.split_off(..len).map(<[u8]>::to_vec)
    };
    let mut pairs = Vec::new();
    while !payload.is_empty() {
        let pair = part(&mut payload).and_then(|name| Some(AuxPair { name, value: part(&mut payload)? }));
        pairs.push(pair.ok_or(BadAux(count))?);
    }
    if pairs.len() as u64 == count { Ok(pairs) } else { Err(BadAux(count)) }
}

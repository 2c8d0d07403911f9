//! One block of a snapshot: a header of 64 bytes and a payload, LZ4 when that pays. Layout: `FORMAT.md`, "Block".
//!
//! 1. Pure functions: bytes in, value out; no file is touched here.
//! 2. A block is accepted only at the offset, in the snapshot and in the store it was written for: all three are in the
//!    seed of both checksums.
//! 3. No length is believed before it is compared with [`BLOCK_LEN_MAX`], and no memory is taken for a raw length that the
//!    stored bytes could not expand to.

use crate::format::{Seed, u32_at, u64_at};
use crate::limits::{BLOCK_LEN_MAX, LZ4_RATIO_MAX};

/// Length of a block's header in bytes.
pub const BLOCK_HEADER_LEN: usize = 64;
const MAGIC: [u8; 4] = *b"BLK1";
const FLAG_LZ4: u8 = 1;
/// Payloads below this length are stored as they are: compressing them saves nothing that counts.
const COMPRESS_LEN_MIN: usize = 128;

/// What a block holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum BlockKind {
    /// Entries of one database in order of position.
    Entries = 0,
    /// Name and value pairs.
    Auxiliary = 1,
    /// The rows of the index.
    Index = 2,
    /// A part of one large entry. Its parts follow each other in the file; only the last one is counted as an entry.
    Part = 3,
}

impl BlockKind {
    /// Whether a block of this kind holds entries, or parts of them.
    pub fn is_data(self) -> bool {
        matches!(self, BlockKind::Entries | BlockKind::Part)
    }

    /// The kind with number `number`.
    pub fn from_number(number: u8) -> Option<BlockKind> {
        [BlockKind::Entries, BlockKind::Auxiliary, BlockKind::Index, BlockKind::Part]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

/// What the writer knows of a block before its payload is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockInfo {
    /// What it holds.
    pub kind: BlockKind,
    /// The entries' database; 0 for other kinds.
    pub db: u32,
    /// Entries, pairs or rows.
    pub count: u64,
    /// Position of the first entry; 0 for other kinds.
    pub first: u64,
    /// Position of the last entry; 0 for other kinds.
    pub last: u64,
}

/// A verified header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockHeader {
    /// What the block holds and where it belongs.
    pub info: BlockInfo,
    /// Whether the payload is LZ4.
    pub compressed: bool,
    /// Length of the payload in the file.
    pub stored_len: u32,
    /// Length of the payload in memory.
    pub raw_len: u32,
    payload_crc: u32,
}

/// Every way for a block to be wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs)] // The texts say it.
pub enum BadBlock {
    #[error("the file ends after {have} of {need} bytes of a block")]
    Cut { have: u64, need: u64 },
    #[error("no block begins here")]
    Magic,
    #[error("the block header's checksum is {stated:#010x}, its bytes give {computed:#010x}")]
    HeaderChecksum { stated: u32, computed: u32 },
    #[error("the payload's checksum is {stated:#010x}, its bytes give {computed:#010x}")]
    PayloadChecksum { stated: u32, computed: u32 },
    #[error("the block is of kind {0}, which this build does not know")]
    Kind(u8),
    #[error("the block has flags {0:#04x}, which this build does not know")]
    Flags(u8),
    #[error("reserved bytes of the block header are not zero")]
    Reserved,
    #[error("the block states {stored} stored and {raw} raw bytes, which cannot be")]
    Lengths { stored: u32, raw: u32 },
    #[error("the block's LZ4 payload does not decode to the stated {0} bytes")]
    Lz4(u32),
    #[error("the block states {count} items from position {first:#018x} to {last:#018x}, which cannot be")]
    Range { count: u64, first: u64, last: u64 },
}

impl BlockHeader {
    /// Length of the whole block in the file.
    pub fn block_len(&self) -> u64 {
        BLOCK_HEADER_LEN as u64 + u64::from(self.stored_len)
    }

    /// Reads and verifies a header that stands at `offset` of its file.
    ///
    /// # Errors
    /// [`BadBlock`], the first thing that is wrong.
    pub fn decode(bytes: &[u8], seed: &Seed, offset: u64) -> Result<BlockHeader, BadBlock> {
        let Some(header) = bytes.first_chunk::<BLOCK_HEADER_LEN>() else {
            return Err(BadBlock::Cut { have: bytes.len() as u64, need: BLOCK_HEADER_LEN as u64 });
        };
        if header[..4] != MAGIC {
            return Err(BadBlock::Magic);
        }
        let (stated, computed) = (u32_at(header, 4), header_crc(header, seed, offset));
        if stated != computed {
            return Err(BadBlock::HeaderChecksum { stated, computed });
        }
        let kind = BlockKind::from_number(header[8]).ok_or(BadBlock::Kind(header[8]))?;
        if header[9] & !FLAG_LZ4 != 0 {
            return Err(BadBlock::Flags(header[9]));
        }
        if header[10..12] != [0; 2] || header[52..] != [0; 12] {
            return Err(BadBlock::Reserved);
        }
        let header = BlockHeader {
            info: BlockInfo {
                kind,
                db: u32_at(header, 20),
                count: u64_at(header, 24),
                first: u64_at(header, 32),
                last: u64_at(header, 40),
            },
            compressed: header[9] & FLAG_LZ4 != 0,
            stored_len: u32_at(header, 12),
            raw_len: u32_at(header, 16),
            payload_crc: u32_at(header, 48),
        };
        header.check()?;
        Ok(header)
    }

    fn check(&self) -> Result<(), BadBlock> {
        let (stored, raw) = (self.stored_len, self.raw_len);
        let possible = if self.compressed {
            stored < raw && u64::from(raw) <= u64::from(stored) * LZ4_RATIO_MAX as u64
        } else {
            stored == raw
        };
        if !possible || raw as usize > BLOCK_LEN_MAX {
            return Err(BadBlock::Lengths { stored, raw });
        }
        let BlockInfo { kind, db, count, first, last } = self.info;
        let possible = match kind {
            BlockKind::Entries => count > 0 && first > 0 && first <= last && count <= u64::from(raw),
            BlockKind::Part => count <= 1 && first > 0 && first == last,
            BlockKind::Auxiliary | BlockKind::Index => db == 0 && first == 0 && last == 0 && count <= u64::from(raw),
        };
        if possible { Ok(()) } else { Err(BadBlock::Range { count, first, last }) }
    }

    /// Verifies the payload that follows this header, whose header stands at `offset`, and gives its raw bytes: `stored`
    /// itself, or `scratch` after decompression.
    ///
    /// # Errors
    /// [`BadBlock`].
    pub fn payload<'a>(
        &self,
        stored: &'a [u8],
        seed: &Seed,
        offset: u64,
        scratch: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], BadBlock> {
        let Some(stored) = stored.get(..self.stored_len as usize) else {
            return Err(BadBlock::Cut { have: (BLOCK_HEADER_LEN + stored.len()) as u64, need: self.block_len() });
        };
        let computed = seed.crc(offset, &[stored]);
        if computed != self.payload_crc {
            return Err(BadBlock::PayloadChecksum { stated: self.payload_crc, computed });
        }
        if !self.compressed {
            return Ok(stored);
        }
        let raw_len = self.raw_len as usize;
        if scratch.len() < raw_len {
            scratch.resize(raw_len, 0);
        }
        match lz4_flex::block::decompress_into(stored, &mut scratch[..raw_len]) {
            Ok(len) if len == raw_len => Ok(&scratch[..raw_len]),
            _ => Err(BadBlock::Lz4(self.raw_len)),
        }
    }
}

/// Appends a block that will stand at `offset` of its file, and gives its header.
///
/// # Panics
/// If `raw` is longer than [`BLOCK_LEN_MAX`]: the writer closes a block long before.
pub fn encode_block(out: &mut Vec<u8>, info: BlockInfo, raw: &[u8], seed: &Seed, offset: u64) -> BlockHeader {
    assert!(raw.len() <= BLOCK_LEN_MAX, "a block of {} bytes is above BLOCK_LEN_MAX", raw.len());
    let start = out.len();
    let payload = start + BLOCK_HEADER_LEN;
    out.resize(payload, 0);
    let compressed = raw.len() >= COMPRESS_LEN_MIN && compress(out, raw);
    if !compressed {
        out.extend_from_slice(raw);
    }
    let header = BlockHeader {
        info,
        compressed,
        stored_len: (out.len() - payload) as u32,
        raw_len: raw.len() as u32,
        payload_crc: seed.crc(offset, &[&out[payload..]]),
    };
    debug_assert_eq!(header.check(), Ok(()));
    let bytes: &mut [u8] = &mut out[start..payload];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[8] = info.kind as u8;
    bytes[9] = if compressed { FLAG_LZ4 } else { 0 };
    bytes[12..16].copy_from_slice(&header.stored_len.to_le_bytes());
    bytes[16..20].copy_from_slice(&header.raw_len.to_le_bytes());
    bytes[20..24].copy_from_slice(&info.db.to_le_bytes());
    bytes[24..32].copy_from_slice(&info.count.to_le_bytes());
    bytes[32..40].copy_from_slice(&info.first.to_le_bytes());
    bytes[40..48].copy_from_slice(&info.last.to_le_bytes());
    bytes[48..52].copy_from_slice(&header.payload_crc.to_le_bytes());
    let crc = header_crc(bytes, seed, offset);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Appends `raw` compressed if that saves at least an eighth; else leaves `out` as it was.
fn compress(out: &mut Vec<u8>, raw: &[u8]) -> bool {
    let start = out.len();
    out.resize(start + lz4_flex::block::get_maximum_output_size(raw.len()), 0);
    let len = lz4_flex::block::compress_into(raw, &mut out[start..]).unwrap_or(usize::MAX);
    let pays = len <= raw.len() - raw.len() / 8;
    out.truncate(start + if pays { len } else { 0 });
    pays
}

fn header_crc(header: &[u8], seed: &Seed, offset: u64) -> u32 {
    seed.crc(offset, &[&header[..4], &header[8..BLOCK_HEADER_LEN]])
}

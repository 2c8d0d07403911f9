//! Frames: what one group commit writes. A header of 64 bytes and a payload of whole records. Layout: `FORMAT.md`.
//!
//! 1. Encoding and decoding are pure functions of bytes, seed and offset.
//! 2. No length is believed before the header's checksum was right and the length was compared with a bound.
//! 3. A frame is built once ([`build`]) and may be stamped several times ([`stamp`]): a frame that has to be written again
//!    elsewhere needs new checksums, because they are seeded by place.

use super::Lsn;
use super::pending::Group;
use crate::format::{Seed, u32_at, u64_at};
use crate::limits::{FRAME_COMPRESS_MIN, FRAME_PAYLOAD_MAX, LZ4_RATIO_MAX};
use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};

/// Length of a frame's header, in bytes.
pub const FRAME_HEADER_LEN: usize = 64;
/// The frame version this build writes, and the highest it reads.
pub const FRAME_VERSION: u8 = 1;
/// The payload is an LZ4 block.
pub const FLAG_LZ4: u8 = 1;
/// The last frame of a sealed segment.
pub const FLAG_SEAL: u8 = 2;
/// States only what is durable.
pub const FLAG_MARKER: u8 = 4;

pub(super) const MAGIC: &[u8; 4] = b"FRM1";

/// What a frame says about itself; its header's checksum was right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    /// [`FLAG_LZ4`], [`FLAG_SEAL`], [`FLAG_MARKER`].
    pub flags: u8,
    /// Payload bytes in the file.
    pub stored_len: usize,
    /// Payload bytes after decompression.
    pub raw_len: usize,
    /// How many records.
    pub count: u32,
    /// The segment's epoch.
    pub epoch: u64,
    /// LSN of the first record; of a seal or marker, the next LSN.
    pub first: Lsn,
    /// Unix ms of the first record; of a seal or marker, when it was written.
    pub time_ms: u64,
    /// Highest LSN known durable when this frame was written.
    pub durable: Lsn,
    payload_crc: u32,
}

/// Why bytes are not the frame that was expected.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadFrame {
    /// The file ends within the header.
    #[error("the file ends {have} bytes into a frame's header")]
    Short {
        /// Bytes that are there.
        have: usize,
    },
    /// Zeros where a frame should be, and something behind them.
    #[error("zeros instead of a frame, and other bytes behind them at {then_at}")]
    Hole {
        /// Offset of the first byte that is not zero.
        then_at: u64,
    },
    /// Not the first bytes of a frame.
    #[error("no frame begins with {0:02x?}")]
    BadMagic([u8; 4]),
    /// The header's checksum is wrong.
    #[error("the frame header's checksum is {computed:08x}, the file says {stored:08x}")]
    HeaderCrc {
        /// In the file.
        stored: u32,
        /// Of its bytes.
        computed: u32,
    },
    /// Written by a newer release; not damage.
    #[error("the frame has version {0}; this release reads up to {FRAME_VERSION}, use a newer one")]
    Newer(u8),
    /// The checksum is right, but no release writes such a header.
    #[error("the frame is whole but says what no release writes: {0}")]
    Unknown(&'static str),
    /// A length above its bound.
    #[error("the frame says {stored} bytes stored and {raw} raw, beyond what is allowed")]
    Lengths {
        /// Said to be in the file.
        stored: usize,
        /// Said to come out of LZ4.
        raw: usize,
    },
    /// Belongs elsewhere in history.
    #[error("the frame begins with LSN {found}, {expected} was expected")]
    OutOfOrder {
        /// The frame's first LSN.
        found: Lsn,
        /// What should follow.
        expected: Lsn,
    },
    /// The file ends within the payload.
    #[error("the frame's payload has {needs} bytes, the file only {have} more")]
    CutPayload {
        /// Stored length.
        needs: usize,
        /// Bytes that are there.
        have: u64,
    },
    /// The payload's checksum is wrong.
    #[error("the payload's checksum is {computed:08x}, the file says {stored:08x}")]
    PayloadCrc {
        /// In the file.
        stored: u32,
        /// Of its bytes.
        computed: u32,
    },
    /// The payload is not the LZ4 block it claims to be.
    #[error("the payload does not decompress to {raw} bytes although its checksum is right")]
    Lz4 {
        /// Raw length in the header.
        raw: usize,
    },
    /// Bytes behind a seal.
    #[error("bytes behind the segment's seal")]
    BehindSeal,
}

impl FrameHeader {
    /// Reads a header from the bytes at `offset` of the file (more may be given).
    ///
    /// # Errors
    /// [`BadFrame`], as far as a header alone can tell.
    pub fn decode(bytes: &[u8], seed: &Seed, offset: u64) -> Result<FrameHeader, BadFrame> {
        let bytes: &[u8; FRAME_HEADER_LEN] = bytes.first_chunk().ok_or(BadFrame::Short { have: bytes.len() })?;
        if bytes[..4] != MAGIC[..] {
            return Err(BadFrame::BadMagic([bytes[0], bytes[1], bytes[2], bytes[3]]));
        }
        let (stored, computed) = (u32_at(bytes, 4), header_crc(bytes, seed, offset));
        if stored != computed {
            return Err(BadFrame::HeaderCrc { stored, computed });
        }
        let (version, flags, count) = (bytes[8], bytes[9], u32_at(bytes, 20));
        if version > FRAME_VERSION {
            return Err(BadFrame::Newer(version));
        }
        let (stored_len, raw_len) = (u32_at(bytes, 12) as usize, u32_at(bytes, 16) as usize);
        let lz4 = flags & FLAG_LZ4 != 0;
        let bad = match flags & !FLAG_LZ4 {
            _ if version == 0 => Some("version 0"),
            _ if u32_at(bytes, 60) != 0 || bytes[10..12] != [0; 2] => Some("bytes that must be zero are not"),
            0 if count == 0 || stored_len == 0 || raw_len == 0 => Some("a data frame without data"),
            0 if !lz4 && stored_len != raw_len => Some("two lengths without compression"),
            0 => None,
            FLAG_SEAL | FLAG_MARKER if lz4 || count != 0 || stored_len != 0 || raw_len != 0 => {
                Some("a seal or marker with data")
            }
            FLAG_SEAL | FLAG_MARKER => None,
            _ => Some("a flag"),
        };
        if let Some(bad) = bad {
            return Err(BadFrame::Unknown(bad));
        }
        if stored_len > FRAME_PAYLOAD_MAX
            || raw_len > FRAME_PAYLOAD_MAX
            || raw_len > stored_len.saturating_mul(LZ4_RATIO_MAX).saturating_add(LZ4_RATIO_MAX)
        {
            return Err(BadFrame::Lengths { stored: stored_len, raw: raw_len });
        }
        Ok(FrameHeader {
            flags,
            stored_len,
            raw_len,
            count,
            epoch: u64_at(bytes, 24),
            first: u64_at(bytes, 32),
            time_ms: u64_at(bytes, 40),
            durable: u64_at(bytes, 48),
            payload_crc: u32_at(bytes, 56),
        })
    }

    /// The LSN that follows this frame.
    pub fn next(&self) -> Lsn {
        self.first.saturating_add(Lsn::from(self.count))
    }

    /// Length of the whole frame in the file.
    pub fn frame_len(&self) -> u64 {
        (FRAME_HEADER_LEN + self.stored_len) as u64
    }

    /// Whether this is the last frame of a sealed segment.
    pub fn is_seal(&self) -> bool {
        self.flags & FLAG_SEAL != 0
    }

    /// Whether it holds records.
    pub fn is_data(&self) -> bool {
        self.count > 0
    }

    /// Verifies the stored payload and gives the raw one: itself, or decompressed into `scratch`.
    ///
    /// # Errors
    /// [`BadFrame::PayloadCrc`] and [`BadFrame::Lz4`].
    pub fn payload<'a>(
        &self,
        stored: &'a [u8],
        seed: &Seed,
        offset: u64,
        scratch: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], BadFrame> {
        let computed = seed.crc(offset, &[stored]);
        if computed != self.payload_crc {
            return Err(BadFrame::PayloadCrc { stored: self.payload_crc, computed });
        }
        if self.flags & FLAG_LZ4 == 0 {
            return Ok(stored);
        }
        // Bounded by `decode`: at most 255 times what was read.
        scratch.resize(self.raw_len, 0);
        match decompress_into(stored, scratch) {
            Ok(len) if len == self.raw_len => Ok(scratch),
            _ => Err(BadFrame::Lz4 { raw: self.raw_len }),
        }
    }
}

fn header_crc(header: &[u8; FRAME_HEADER_LEN], seed: &Seed, offset: u64) -> u32 {
    seed.crc(offset, &[&header[..4], &header[8..]])
}

/// Makes the frame of a group in the group's own buffer, which begins with room for the header. It still has to be stamped.
pub fn build(group: Group, compressor: &mut Compressor) -> Vec<u8> {
    let Group { mut bytes, first, count, base_ms } = group;
    debug_assert!(bytes.len() > FRAME_HEADER_LEN && count > 0, "a group has records");
    let raw_len = bytes.len() - FRAME_HEADER_LEN;
    let flags = if compressor.shrink(&mut bytes) { FLAG_LZ4 } else { 0 };
    describe(&mut bytes, flags, raw_len, count, first, base_ms);
    bytes
}

/// Makes a seal ([`FLAG_SEAL`]) or marker ([`FLAG_MARKER`]); it still has to be stamped.
pub fn empty(flag: u8, next: Lsn, time_ms: u64) -> [u8; FRAME_HEADER_LEN] {
    let mut bytes = [0; FRAME_HEADER_LEN];
    describe(&mut bytes, flag, 0, 0, next, time_ms);
    bytes
}

/// Writes all of the header that does not depend on the frame's place.
fn describe(bytes: &mut [u8], flags: u8, raw_len: usize, count: u32, first: Lsn, time_ms: u64) {
    let stored_len = bytes.len() - FRAME_HEADER_LEN;
    bytes[..FRAME_HEADER_LEN].fill(0);
    bytes[..4].copy_from_slice(MAGIC);
    bytes[8] = FRAME_VERSION;
    bytes[9] = flags;
    bytes[12..16].copy_from_slice(&(stored_len as u32).to_le_bytes());
    bytes[16..20].copy_from_slice(&(raw_len as u32).to_le_bytes());
    bytes[20..24].copy_from_slice(&count.to_le_bytes());
    bytes[32..40].copy_from_slice(&first.to_le_bytes());
    bytes[40..48].copy_from_slice(&time_ms.to_le_bytes());
}

/// Finishes a frame for its place: epoch, what is durable, checksums. May be done again for another place.
pub fn stamp(bytes: &mut [u8], seed: &Seed, offset: u64, epoch: u64, durable: Lsn) {
    let (header, payload) = bytes.split_at_mut(FRAME_HEADER_LEN);
    header[24..32].copy_from_slice(&epoch.to_le_bytes());
    header[48..56].copy_from_slice(&durable.to_le_bytes());
    header[56..60].copy_from_slice(&seed.crc(offset, &[payload]).to_le_bytes());
    let crc = seed.crc(offset, &[&header[..4], &header[8..]]);
    header[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// First LSN, record count and whole length of a frame that [`build`] made.
pub(super) fn extent(frame: &[u8]) -> (Lsn, u32, usize) {
    (u64_at(frame, 32), u32_at(frame, 20), FRAME_HEADER_LEN + u32_at(frame, 12) as usize)
}

/// Compresses payloads when that pays, and finds out cheaply when it does not: after a payload that did not shrink by an
/// eighth, it lets pass 1, 2, 4, ... 64 of them; of a long payload it tries a sample first.
pub struct Compressor {
    table: CompressTable,
    scratch: Vec<u8>,
    /// Never compress.
    off: bool,
    /// Payloads to let pass.
    pause: u32,
    /// How many to let pass after the next failure.
    penalty: u32,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Compressor")
            .field("pause", &self.pause)
            .field("penalty", &self.penalty)
            .finish_non_exhaustive()
    }
}

impl Default for Compressor {
    fn default() -> Self {
        Compressor { table: CompressTable::default(), scratch: Vec::new(), off: false, pause: 0, penalty: 1 }
    }
}

impl Compressor {
    /// One that compresses where that pays, or never.
    pub fn new(on: bool) -> Compressor {
        Compressor { off: !on, ..Compressor::default() }
    }

    const PENALTY_MAX: u32 = 64;
    const SAMPLE: usize = 4 * 1024;
    /// Longer payloads are sampled before they are compressed.
    const SAMPLED_FROM: usize = 64 * 1024;
    /// The scratch buffer is not kept beyond this.
    const SCRATCH_KEPT: usize = 1024 * 1024;

    /// Replaces the payload behind the header room of `bytes` by its LZ4 block if that pays, and says whether it did.
    fn shrink(&mut self, bytes: &mut Vec<u8>) -> bool {
        let len = bytes.len() - FRAME_HEADER_LEN;
        if self.off || len < FRAME_COMPRESS_MIN {
            return false;
        }
        if self.pause > 0 {
            self.pause -= 1;
            return false;
        }
        let payload = &bytes[FRAME_HEADER_LEN..];
        let worth = len < Self::SAMPLED_FROM || {
            let sample = &payload[len / 2..len / 2 + Self::SAMPLE];
            compress(sample, &mut self.scratch, &mut self.table).is_some()
        };
        let compressed = if worth { compress(payload, &mut self.scratch, &mut self.table) } else { None };
        if let Some(stored) = compressed {
            bytes.truncate(FRAME_HEADER_LEN);
            bytes.extend_from_slice(&self.scratch[..stored]);
            self.penalty = 1;
        } else {
            self.pause = self.penalty;
            self.penalty = (self.penalty * 2).min(Self::PENALTY_MAX);
        }
        if self.scratch.len() > Self::SCRATCH_KEPT {
            self.scratch = Vec::new();
        }
        compressed.is_some()
    }
}

/// Compresses into `scratch` and gives the length if at least an eighth was gained.
fn compress(payload: &[u8], scratch: &mut Vec<u8>, table: &mut CompressTable) -> Option<usize> {
    let room = get_maximum_output_size(payload.len());
    if scratch.len() < room {
        scratch.resize(room, 0);
    }
    let stored = compress_into_with_table(payload, scratch, table).ok()?;
    (stored <= payload.len() - payload.len() / 8).then_some(stored)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::StoreId;
    use crate::log::Effects;
    use proptest::prelude::*;

    fn seed() -> Seed {
        Seed::new(StoreId([7; 16]), 5, 2)
    }

    /// A stamped frame whose first record is LSN 5, for offset 128 of a segment of epoch 2.
    fn frame(values: &[Vec<u8>]) -> Vec<u8> {
        let mut effects = Effects::new(5);
        for value in values {
            effects.push(1000, 3, &[b"SET", b"k", value]);
            effects.finish();
        }
        let mut bytes = build(effects.take(Vec::new()).unwrap(), &mut Compressor::default());
        stamp(&mut bytes, &seed(), 128, 2, 4);
        bytes
    }

    fn open<'a>(bytes: &'a [u8], scratch: &'a mut Vec<u8>) -> Result<(FrameHeader, &'a [u8]), BadFrame> {
        let header = FrameHeader::decode(bytes, &seed(), 128)?;
        let have = (bytes.len() - FRAME_HEADER_LEN) as u64;
        let stored = bytes[FRAME_HEADER_LEN..]
            .get(..header.stored_len)
            .ok_or(BadFrame::CutPayload { needs: header.stored_len, have })?;
        Ok((header, header.payload(stored, &seed(), 128, scratch)?))
    }

    #[test] // Checksums computed with zlib's crc32.
    fn golden_frame() {
        let bytes = frame(&[b"v".to_vec()]);
        let mut expected = b"FRM1\x42\xde\xea\x9b\x01\0\0\0\x0f\0\0\0\x0f\0\0\0\x01\0\0\0".to_vec();
        for number in [2u64, 5, 1000, 4] {
            expected.extend_from_slice(&number.to_le_bytes());
        }
        expected.extend_from_slice(b"\xc1\x25\x7c\x59\0\0\0\0");
        expected.extend_from_slice(b"\x0b\0\0\0\0\x03\x03\x03SET\x01k\x01v");
        assert_eq!(bytes, expected, "{:02x?}", &bytes);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_frame_is_seen() {
        for values in [vec![b"value".to_vec(), Vec::new()], vec![vec![b'x'; 5000]]] {
            let bytes = frame(&values);
            let mut scratch = Vec::new();
            assert_eq!(open(&bytes, &mut scratch).unwrap().0.count as usize, values.len());
            for bit in 0..bytes.len() * 8 {
                let mut bad = bytes.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(open(&bad, &mut scratch).is_err(), "bit {bit}");
            }
            for cut in 0..bytes.len() {
                assert!(open(&bytes[..cut], &mut scratch).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_frame_elsewhere_is_no_frame() {
        let bytes = frame(&[b"v".to_vec()]);
        for (seed, offset) in [
            (seed(), 129),
            (Seed::new(StoreId([8; 16]), 5, 2), 128),
            (Seed::new(StoreId([7; 16]), 6, 2), 128),
            (Seed::new(StoreId([7; 16]), 5, 3), 128),
        ] {
            assert!(matches!(FrameHeader::decode(&bytes, &seed, offset), Err(BadFrame::HeaderCrc { .. })));
        }
    }

    #[test]
    fn headers_that_nobody_writes_are_named_before_memory_is_taken() {
        let change = |at: usize, with: &[u8]| {
            let mut bytes = frame(&[b"v".to_vec()]);
            bytes[at..at + with.len()].copy_from_slice(with);
            let crc = seed().crc(128, &[&bytes[..4], &bytes[8..64]]);
            bytes[4..8].copy_from_slice(&crc.to_le_bytes());
            FrameHeader::decode(&bytes, &seed(), 128).expect_err("changed")
        };
        assert_eq!(change(8, &[2]), BadFrame::Newer(2));
        assert_eq!(change(8, &[0]), BadFrame::Unknown("version 0"));
        assert_eq!(change(9, &[8]), BadFrame::Unknown("a flag"));
        assert_eq!(change(9, &[6]), BadFrame::Unknown("a flag"));
        assert_eq!(change(9, &[2]), BadFrame::Unknown("a seal or marker with data"));
        assert_eq!(change(20, &[0]), BadFrame::Unknown("a data frame without data"));
        assert_eq!(change(16, &[0xff]), BadFrame::Unknown("two lengths without compression"));
        assert_eq!(change(60, &[1]), BadFrame::Unknown("bytes that must be zero are not"));
        let raw = 0x7fff_ffffu32;
        let mut with = vec![1, 0, 0];
        with.extend_from_slice(&14u32.to_le_bytes());
        with.extend_from_slice(&raw.to_le_bytes());
        assert_eq!(change(9, &with), BadFrame::Lengths { stored: 14, raw: raw as usize });
    }

    #[test]
    fn compression_is_tried_less_and_less_while_it_does_not_pay() {
        let mut compressor = Compressor::default();
        let mut state = 1u64;
        let mut noise = |len: usize| {
            (0..len)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 56) as u8
                })
                .collect::<Vec<u8>>()
        };
        for _ in 0..300 {
            assert!(!compressor.shrink(&mut noise(8192)));
        }
        assert_eq!(compressor.penalty, Compressor::PENALTY_MAX);
        let mut long = vec![b'x'; 200_000];
        let tries = (0..=Compressor::PENALTY_MAX).find(|_| compressor.shrink(&mut long)).expect("tried again");
        assert!(tries <= Compressor::PENALTY_MAX && long.len() < 2000 && compressor.penalty == 1);
        assert!(!compressor.shrink(&mut vec![0; FRAME_HEADER_LEN + FRAME_COMPRESS_MIN - 1]));
    }

    proptest! {
        #[test]
        fn payloads_come_back(values in proptest::collection::vec(proptest::collection::vec(0..4u8, 0..3000), 1..8)) {
            let bytes = frame(&values);
            let mut scratch = Vec::new();
            let (header, mut payload) = open(&bytes, &mut scratch).unwrap();
            prop_assert_eq!(header.raw_len, payload.len());
            for (at, value) in values.iter().enumerate() {
                let record = crate::log::Record::take(&mut payload, 5 + at as u64, header.time_ms).unwrap();
                let mut words = Vec::new();
                prop_assert_eq!(record.commands().next(&mut words), Ok(Some(3)));
                prop_assert_eq!(words[2], &value[..]);
            }
            prop_assert!(payload.is_empty());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(open(&bytes, &mut Vec::new()).is_err());
        }
    }
}

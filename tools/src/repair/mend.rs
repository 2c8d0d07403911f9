//! Finds the one byte that was changed, by the checksum that no longer fits, and shows files with it put right.
//!
//! A CRC-32 is linear: the difference between the stated and the computed checksum depends only on what was changed and where. For each place
//! there is at most one changed byte that explains it; among n bytes a wrong explanation is found by chance about once in 2^24 / n.
//! Whatever is put right must then also decode, which leaves nothing to chance.

use super::patched::PatchedDisk;
use firn_engine::disk::{Disk, OpenMode};
use firn_engine::format::{FileHeader, FileKind, HEADER_LEN, Seed, StoreId, u32_at};
use firn_engine::log::Lsn;
use firn_engine::log::frame::{FRAME_HEADER_LEN, FrameHeader};
use firn_engine::log::reader::{End, Frame, ReadFailure, SegmentReader};
use firn_engine::snapshot::block::{BLOCK_HEADER_LEN, BlockHeader};
use firn_engine::snapshot::index::{FOOTER_LEN, Footer};
use firn_engine::snapshot::reader::{BlockBuffer, SnapshotReader};
use std::io;

/// Longer payloads are not searched: a chance hit becomes likely.
const SEARCH_MAX: usize = 64 * 1024;
/// Rounds over a segment: each finds all places that the rounds before made reachable.
const ROUNDS_MAX: u32 = 16;

const POLYNOMIAL: u32 = 0xedb8_8320;

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let (mut value, mut bit) = (at as u32, 0);
        while bit < 8 {
            value = (value >> 1) ^ ((value & 1) * POLYNOMIAL);
            bit += 1;
        }
        table[at] = value;
        at += 1;
    }
    table
}

static TABLE: [u32; 256] = table();

/// Which of `len` bytes was changed, and by what it differs, if one explains that their checksum is `computed` instead of `stated`.
pub(crate) fn changed_byte(len: usize, stated: u32, computed: u32) -> Option<(usize, u8)> {
    let mut by_top = [0u8; 256];
    for (index, value) in TABLE.iter().enumerate() {
        by_top[(value >> 24) as usize] = index as u8;
    }
    let mut difference = stated ^ computed;
    if difference == 0 {
        return None;
    }
    for index in (0..len).rev() {
        let byte = by_top[(difference >> 24) as usize];
        let step = TABLE[usize::from(byte)];
        if difference == step {
            return Some((index, byte));
        }
        // One byte of the checksum's run taken back.
        difference = ((difference ^ step) << 8) | u32::from(byte);
    }
    None
}

impl PatchedDisk {
    /// The difference between a checksum and what it should be, if only one byte of the checksum itself was changed: its index and difference.
    fn changed_checksum(stated: u32, computed: u32) -> Option<(usize, u8)> {
        let difference = (stated ^ computed).to_le_bytes();
        let mut changed = difference.iter().enumerate().filter(|(_, byte)| **byte != 0);
        match (changed.next(), changed.next()) {
            (Some((at, byte)), None) => Some((at, *byte)),
            _ => None,
        }
    }

    /// Puts the header of a whole file right.
    pub(crate) fn mend_file_header(&mut self, name: &str, kind: FileKind) -> io::Result<()> {
        let bytes = self.read(name, 0, HEADER_LEN)?;
        if bytes.len() < HEADER_LEN || FileHeader::decode(&bytes, kind).is_ok() {
            return Ok(());
        }
        let (stated, computed) = (u32_at(&bytes, 124), crc(&bytes[..124]));
        let place = changed_byte(124, stated, computed)
            .or_else(|| Self::changed_checksum(stated, computed).map(|(at, byte)| (124 + at, byte)));
        if let Some((at, difference)) = place {
            self.patch(name, at as u64, difference, "the file's header")?;
            if FileHeader::decode(&self.read(name, 0, HEADER_LEN)?, kind).is_err() {
                self.unpatch(name);
            }
        }
        Ok(())
    }

    /// Puts a header of 64 bytes right whose checksum stands at 4..8 and covers the rest: that of a frame or of a block.
    fn mend_header(&mut self, name: &str, seed: &Seed, at: u64, is_right: &dyn Fn(&[u8]) -> bool) -> io::Result<bool> {
        let bytes = self.read(name, at, FRAME_HEADER_LEN)?;
        if bytes.len() < FRAME_HEADER_LEN {
            return Ok(false);
        }
        if is_right(&bytes) {
            return Ok(true);
        }
        let (stated, computed) = (u32_at(&bytes, 4), seed.crc(at, &[&bytes[..4], &bytes[8..]]));
        let place = changed_byte(FRAME_HEADER_LEN - 4, stated, computed)
            .map(|(index, difference)| (if index < 4 { index } else { index + 4 }, difference))
            .or_else(|| Self::changed_checksum(stated, computed).map(|(index, byte)| (4 + index, byte)));
        let Some((index, difference)) = place else { return Ok(false) };
        self.patch(name, at + index as u64, difference, "a header")?;
        let right = is_right(&self.read(name, at, FRAME_HEADER_LEN)?);
        if !right {
            self.unpatch(name);
        }
        Ok(right)
    }

    /// Puts a payload (where, how long, its checksum) right, whose header stands at `header_at`.
    fn mend_payload(
        &mut self,
        name: &str,
        seed: &Seed,
        header_at: u64,
        payload: (u64, usize, u32),
    ) -> io::Result<bool> {
        let (offset, len, stated) = payload;
        if len > SEARCH_MAX {
            return Ok(false);
        }
        let bytes = self.read(name, offset, len)?;
        if bytes.len() < len {
            return Ok(false);
        }
        let computed = seed.crc(header_at, &[&bytes]);
        if computed == stated {
            return Ok(true);
        }
        let Some((index, difference)) = changed_byte(len, stated, computed) else { return Ok(false) };
        self.patch(name, offset + index as u64, difference, "a payload")?;
        Ok(true)
    }

    /// Puts the frame at `at` right, if one changed byte explains what is wrong.
    fn mend_frame(&mut self, name: &str, seed: &Seed, at: u64) -> io::Result<()> {
        let before = self.patched(name);
        if !self.mend_header(name, seed, at, &|bytes| FrameHeader::decode(bytes, seed, at).is_ok())? {
            return Ok(());
        }
        let head = self.read(name, at, FRAME_HEADER_LEN)?;
        let Ok(header) = FrameHeader::decode(&head, seed, at) else { return Ok(()) };
        let offset = at + FRAME_HEADER_LEN as u64;
        let mended = self.mend_payload(name, seed, at, (offset, header.stored_len, u32_at(&head, 56)))?;
        let stored = self.read(name, offset, header.stored_len.min(SEARCH_MAX))?;
        let mut scratch = Vec::new();
        let decodes = mended
            && header
                .payload(&stored, seed, at, &mut scratch)
                .is_ok_and(|payload| Frame { offset: at, header, payload }.records().all(|record| record.is_ok()));
        if !decodes {
            while self.patched(name) > before {
                self.unpatch(name);
            }
        }
        Ok(())
    }

    /// Puts a segment right as far as single bytes go.
    pub(crate) fn mend_segment(
        &mut self,
        name: &str,
        first: Lsn,
        epoch: u64,
        store: Option<StoreId>,
    ) -> io::Result<()> {
        self.mend_file_header(name, FileKind::Segment)?;
        let header = FileHeader::decode(&self.read(name, 0, HEADER_LEN)?, FileKind::Segment).ok();
        let Some(store) = header.map(|header| header.store).or(store) else { return Ok(()) };
        let seed = Seed::new(store, first, epoch);
        let mut tried = std::collections::HashSet::new();
        for _ in 0..ROUNDS_MAX {
            let failed = |failure: ReadFailure| failure.source;
            let scan = {
                let file = self.open(name, OpenMode::Read)?;
                let reader = SegmentReader::open(&*file, first, epoch, Some(store)).map_err(failed)?;
                reader.covered(Lsn::MAX).scan().map_err(failed)?
            };
            let mut places: Vec<u64> = scan.skipped.iter().map(|skipped| skipped.offset).collect();
            if matches!(scan.end, End::Broken(_)) {
                places.push(scan.offset);
            }
            places.retain(|place| tried.insert(*place));
            if places.is_empty() {
                break;
            }
            for place in places {
                self.mend_frame(name, &seed, place)?;
            }
        }
        Ok(())
    }

    /// Puts a block right.
    fn mend_block(&mut self, name: &str, seed: &Seed, at: u64) -> io::Result<()> {
        if !self.mend_header(name, seed, at, &|bytes| BlockHeader::decode(bytes, seed, at).is_ok())? {
            return Ok(());
        }
        let head = self.read(name, at, BLOCK_HEADER_LEN)?;
        let Ok(header) = BlockHeader::decode(&head, seed, at) else { return Ok(()) };
        let offset = at + BLOCK_HEADER_LEN as u64;
        self.mend_payload(name, seed, at, (offset, header.stored_len as usize, u32_at(&head, 48)))?;
        Ok(())
    }

    /// Puts a snapshot right as far as single bytes go.
    pub(crate) fn mend_snapshot(&mut self, name: &str, store: Option<StoreId>) -> io::Result<()> {
        self.mend_file_header(name, FileKind::Snapshot)?;
        let Ok(header) = FileHeader::decode(&self.read(name, 0, HEADER_LEN)?, FileKind::Snapshot) else {
            return Ok(());
        };
        let seed = header.seed();
        let len = self.open(name, OpenMode::Read)?.len()?;
        let Some(at) = len.checked_sub(FOOTER_LEN as u64) else { return Ok(()) };
        let is_right = |bytes: &[u8]| Footer::decode(bytes, &seed, len, header.number);
        let bytes = self.read(name, at, FOOTER_LEN)?;
        if bytes.len() == FOOTER_LEN && is_right(&bytes).is_err() {
            let (stated, computed) = (u32_at(&bytes, 60), seed.crc(at, &[&bytes[..60]]));
            let place = changed_byte(60, stated, computed)
                .or_else(|| Self::changed_checksum(stated, computed).map(|(index, byte)| (60 + index, byte)));
            if let Some((index, difference)) = place {
                self.patch(name, at + index as u64, difference, "the footer")?;
                if is_right(&self.read(name, at, FOOTER_LEN)?).is_err() {
                    self.unpatch(name);
                }
            }
        }
        let Ok(footer) = is_right(&self.read(name, at, FOOTER_LEN)?) else { return Ok(()) };
        self.mend_block(name, &seed, footer.index_offset)?;
        // What the index says is needed to find the other blocks, and auxiliary ones to open the file.
        let mut at = HEADER_LEN as u64;
        while at < footer.index_offset {
            self.mend_block(name, &seed, at)?;
            match BlockHeader::decode(&self.read(name, at, BLOCK_HEADER_LEN)?, &seed, at) {
                Ok(header) => at += header.block_len(),
                Err(_) => break,
            }
        }
        let bad: Vec<u64> = match SnapshotReader::open(self, name, store) {
            Ok(reader) => {
                let mut buffer = BlockBuffer::default();
                let bad = reader.rows().iter().filter(|row| reader.read_block(row, &mut buffer).is_err());
                bad.map(|row| row.offset).collect()
            }
            Err(_) => Vec::new(),
        };
        for place in bad {
            self.mend_block(name, &seed, place)?;
        }
        Ok(())
    }
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_byte_is_found() {
        let bytes: Vec<u8> = (0..700u32).map(|at| (at * 7 + at / 3) as u8).collect();
        let stated = crc(&bytes);
        for at in 0..bytes.len() {
            for difference in [1u8, 0x80, 0xff, 0x5a] {
                let mut changed = bytes.clone();
                changed[at] ^= difference;
                assert_eq!(changed_byte(bytes.len(), stated, crc(&changed)), Some((at, difference)));
            }
        }
        assert_eq!(changed_byte(700, stated, stated), None);
    }

    #[test]
    fn two_changed_bytes_are_not_taken_for_one() {
        let bytes = vec![7u8; 5000];
        let stated = crc(&bytes);
        let wrong = (0..1000).filter(|at| {
            let mut changed = bytes.clone();
            changed[*at] ^= 3;
            changed[at + 1000] ^= 9;
            changed_byte(bytes.len(), stated, crc(&changed)).is_some()
        });
        assert!(wrong.count() <= 2, "by chance once in some thousands");
    }
}

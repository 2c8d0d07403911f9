//! Finds where bytes were cut out of a segment or a snapshot, or put into it, and headers that nothing is left of, so that what is behind can be read.
//!
//! Frames and blocks verify only in the place where they were written. Behind missing or added bytes their headers are found by their first four
//! bytes, and by the one distance at which their checksum is right.

use super::patched::{PatchedDisk, Shift};
use firn_engine::disk::{Disk, OpenMode};
use firn_engine::format::{FileHeader, FileKind, HEADER_LEN, Seed, StoreId, u64_at};
use firn_engine::log::Lsn;
use firn_engine::log::frame::{FRAME_HEADER_LEN, FrameHeader};
use firn_engine::log::reader::{End, ReadFailure, SegmentReader};
use firn_engine::log::segment::Identity;
use firn_engine::snapshot::block::{BLOCK_HEADER_LEN, BlockHeader, BlockKind};
use firn_engine::snapshot::index::{FOOTER_LEN, Footer};
use std::io;

/// By so many bytes, at most, what is behind the damage is out of its place.
const DISTANCE_MAX: i64 = 64 * 1024;
/// So many places are tried behind one damage: each costs some milliseconds.
const PLACES_MAX: usize = 24;
/// So many damages of one file.
const ROUNDS_MAX: usize = 16;
/// What is read at a time.
const STEP: usize = 1 << 20;

/// Finds the distance at which a header verifies that stands at `at`.
fn distance(known: &[i64], is_right: &dyn Fn(i64) -> bool) -> Option<i64> {
    let near = (1..=DISTANCE_MAX).flat_map(|by| [by, -by]);
    known.iter().copied().chain(near).find(|by| is_right(*by))
}

impl PatchedDisk {
    /// Makes the header of a file whose name says its number and epoch again, if nothing else helps.
    pub(crate) fn make_header_again(
        &mut self,
        name: &str,
        kind: FileKind,
        (number, epoch): (Lsn, u64),
        of: Option<Identity>,
    ) -> io::Result<()> {
        let bytes = self.read(name, 0, HEADER_LEN)?;
        let right = FileHeader::decode(&bytes, kind).and_then(|header| header.named(number, epoch));
        let Some(Identity { store, hash_seed }) = of.filter(|_| right.is_err() && bytes.len() == HEADER_LEN) else {
            return Ok(());
        };
        // When it was made only the header knows: what stands there is taken if it can be a time.
        const YEAR_2100_MS: u64 = 4_102_444_800_000;
        let created_ms = Some(u64_at(&bytes, 64)).filter(|time| *time < YEAR_2100_MS).unwrap_or(0);
        let durable = if kind == FileKind::Snapshot { number } else { 0 };
        let header = FileHeader { kind, flags: 0, store, hash_seed, number, epoch, created_ms, durable };
        for (offset, (is, was)) in (0..).zip(bytes.iter().zip(header.encode())) {
            if *is != was {
                self.patch(name, offset, is ^ was, "the file's header, made again by other files,")?;
            }
        }
        Ok(())
    }

    /// The next places at or behind `from`, in the file as it is, where these four bytes stand.
    fn places(&self, name: &str, magic: &[u8; 4], from: u64) -> io::Result<Vec<u64>> {
        let (mut places, mut at) = (Vec::new(), from);
        loop {
            let bytes = self.read(name, at, STEP)?;
            let room = PLACES_MAX - places.len();
            places.extend(memchr::memmem::find_iter(&bytes, magic).take(room).map(|index| at + index as u64));
            if bytes.len() < STEP || places.len() >= PLACES_MAX {
                return Ok(places);
            }
            at += (STEP - magic.len() + 1) as u64;
        }
    }

    /// Puts the frames of a segment back into their places.
    pub(crate) fn realign_segment(&mut self, name: &str, first: Lsn, epoch: u64, store: StoreId) -> io::Result<()> {
        let seed = Seed::new(store, first, epoch);
        for _ in 0..ROUNDS_MAX {
            let scan = {
                let failed = |failure: ReadFailure| failure.source;
                let file = self.open(name, OpenMode::Read)?;
                let reader = SegmentReader::open(&*file, first, epoch, Some(store)).map_err(failed)?;
                reader.covered(Lsn::MAX).scan().map_err(failed)?
            };
            if !matches!(scan.end, End::Broken(_)) || scan.behind.is_some() {
                return Ok(());
            }
            // A header that lost bytes of its own stands before its place.
            let from = if scan.offset == HEADER_LEN as u64 { 1 } else { scan.offset };
            let mut found = None;
            for at in self.places(name, b"FRM1", from)? {
                let head = self.read(name, at, FRAME_HEADER_LEN)?;
                let is_right = |by: i64| {
                    let place = at.saturating_add_signed(by);
                    place >= scan.offset
                        && FrameHeader::decode(&head, &seed, place)
                            .is_ok_and(|header| header.first >= scan.next && header.epoch == epoch)
                };
                found = distance(&[], &is_right).map(|by| (at, by));
                if found.is_some() {
                    break;
                }
            }
            let Some((at, by)) = found else { return Ok(()) };
            self.shift(name, Shift { at: self.actual(name, at), by });
        }
        Ok(())
    }

    /// Puts the blocks, the index and the footer of a snapshot back into their places.
    pub(crate) fn realign_snapshot(&mut self, name: &str) -> io::Result<()> {
        let Ok(header) = FileHeader::decode(&self.read(name, 0, HEADER_LEN)?, FileKind::Snapshot) else {
            return Ok(());
        };
        let seed = header.seed();
        let len = self.open(name, OpenMode::Read)?.len()?;
        let Some(footer_at) = len.checked_sub(FOOTER_LEN as u64) else { return Ok(()) };
        let bytes = self.read(name, footer_at, FOOTER_LEN)?;
        let stated = if bytes.len() == FOOTER_LEN { u64_at(&bytes, 32) } else { 0 };
        // The footer says how long the file was.
        let footer = Footer::decode(&bytes, &seed, stated, header.number).ok();
        let total = footer.map_or(0, |footer| footer.file_len as i64 - len as i64);
        if footer.is_some() && total == 0 {
            return Ok(());
        }
        let (mut at, mut moved) = (HEADER_LEN as u64, 0i64);
        for _ in 0..ROUNDS_MAX {
            // Over all blocks that are right.
            while let Some(next) = self.block_end(name, &seed, at)? {
                at = next;
            }
            if footer.is_some() && moved == total {
                return Ok(());
            }
            let mut found = None;
            let from = if at == HEADER_LEN as u64 { 1 } else { at };
            for place in self.places(name, b"BLK1", from)? {
                let head = self.read(name, place, BLOCK_HEADER_LEN)?;
                let is_right = |by: i64| {
                    let to = place.saturating_add_signed(by);
                    to >= at && BlockHeader::decode(&head, &seed, to).is_ok()
                };
                found = distance(&[0, total - moved], &is_right).map(|by| (place, by));
                if found.is_some() {
                    break;
                }
            }
            match found {
                Some((place, 0)) => at = place.max(at + 1),
                Some((place, by)) => {
                    self.shift(name, Shift { at: self.actual(name, place), by });
                    moved += by;
                    at = place.saturating_add_signed(by);
                }
                None => break,
            }
        }
        if footer.is_some() && moved != total {
            self.shift(name, Shift { at: footer_at, by: total - moved });
        }
        Ok(())
    }

    /// Where the block at `at` ends, if it is right.
    fn block_end(&self, name: &str, seed: &Seed, at: u64) -> io::Result<Option<u64>> {
        let Ok(header) = BlockHeader::decode(&self.read(name, at, BLOCK_HEADER_LEN)?, seed, at) else {
            return Ok(None);
        };
        let stored = self.read(name, at + BLOCK_HEADER_LEN as u64, header.stored_len as usize)?;
        let is_right = header.payload(&stored, seed, at, &mut Vec::new()).is_ok();
        Ok((is_right && header.info.kind != BlockKind::Index).then(|| at + header.block_len()))
    }
}

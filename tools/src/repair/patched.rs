//! A store's folder as it was: with single bytes put right, and with what is behind missing or added bytes back in its place, so that the engine's own
//! readers, whose checksums are seeded by place, can read it.

use firn_engine::disk::{DirEntry, DirLock, Disk, File, OpenMode, read_full_at};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// One byte put right.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Patch {
    /// The file.
    pub(crate) file: String,
    /// Where.
    pub(crate) offset: u64,
    /// What is there.
    pub(crate) was: u8,
    /// What it was.
    pub(crate) byte: u8,
    /// What it is part of.
    pub(crate) what: &'static str,
}

/// A place where bytes are missing, or too many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shift {
    /// Where what is behind it begins, in the file as it is.
    pub(crate) at: u64,
    /// So many bytes are missing before; below zero: so many are too many.
    pub(crate) by: i64,
}

impl std::fmt::Display for Shift {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = crate::text::counted(self.by.unsigned_abs(), "byte", "bytes");
        write!(out, "{count} {} before byte {}", if self.by > 0 { "missing" } else { "too many" }, self.at)
    }
}

/// A folder in which some bytes are put right; nothing can be written to it.
pub(crate) struct PatchedDisk {
    inner: Arc<dyn Disk>,
    patches: BTreeMap<String, Vec<Patch>>,
    /// In the order of their places.
    shifts: BTreeMap<String, Vec<Shift>>,
}

struct PatchedFile {
    inner: Box<dyn File>,
    patches: Vec<Patch>,
    shifts: Vec<Shift>,
}

/// What stands where bytes are missing: nothing begins so.
const FILLER: u8 = 0xff;

/// Where a place of the file as it was is in the file as it is; and how many bytes follow each other from there on, or are missing (then `None`).
fn locate(shifts: &[Shift], offset: u64) -> (Option<u64>, u64) {
    let mut moved = 0i64;
    for shift in shifts {
        // What is behind the shift stood here.
        let begins = shift.at.saturating_add_signed(moved + shift.by);
        let ended = begins.saturating_sub(shift.by.max(0).unsigned_abs());
        if offset < ended {
            return (Some(offset.saturating_add_signed(-moved)), ended - offset);
        }
        if offset < begins {
            return (None, begins - offset);
        }
        moved += shift.by;
    }
    (Some(offset.saturating_add_signed(-moved)), u64::MAX)
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "it is only looked at")
}

impl Disk for PatchedDisk {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Box<dyn File>> {
        if mode != OpenMode::Read {
            return Err(read_only());
        }
        let patches = self.patches.get(name).cloned().unwrap_or_default();
        let shifts = self.shifts.get(name).cloned().unwrap_or_default();
        Ok(Box::new(PatchedFile { inner: self.inner.open(name, mode)?, patches, shifts }))
    }
    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Err(read_only())
    }
    fn remove(&self, _: &str) -> io::Result<()> {
        Err(read_only())
    }
    fn list(&self) -> io::Result<Vec<DirEntry>> {
        self.inner.list()
    }
    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }
    fn failed_dir_syncs(&self) -> u64 {
        0
    }
    fn lock(&self) -> io::Result<Box<dyn DirLock>> {
        Err(read_only())
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
}

impl File for PatchedFile {
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        Err(read_only())
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = match locate(&self.shifts, offset) {
            (Some(at), len) => {
                let len = usize::try_from(len).map_or(buffer.len(), |len| len.min(buffer.len()));
                self.inner.read_at(&mut buffer[..len], at)?
            }
            (None, len) => {
                let len = usize::try_from(len).map_or(buffer.len(), |len| len.min(buffer.len()));
                buffer[..len].fill(FILLER);
                len
            }
        };
        for patch in &self.patches {
            if let Some(at) =
                patch.offset.checked_sub(offset).and_then(|at| usize::try_from(at).ok()).filter(|at| *at < read)
            {
                buffer[at] = patch.byte;
            }
        }
        Ok(read)
    }
    fn len(&self) -> io::Result<u64> {
        let moved: i64 = self.shifts.iter().map(|shift| shift.by).sum();
        Ok(self.inner.len()?.saturating_add_signed(moved))
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(read_only())
    }
    fn preallocate(&self, _: u64) -> io::Result<()> {
        Err(read_only())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn drop_cache(&self) -> io::Result<()> {
        self.inner.drop_cache()
    }
}

impl PatchedDisk {
    /// `inner` as it is.
    pub(crate) fn new(inner: Arc<dyn Disk>) -> PatchedDisk {
        PatchedDisk { inner, patches: BTreeMap::new(), shifts: BTreeMap::new() }
    }

    /// Takes it that bytes are missing, or too many, at a place of the file as it is.
    pub(super) fn shift(&mut self, name: &str, shift: Shift) {
        let shifts = self.shifts.entry(name.to_owned()).or_default();
        shifts.push(shift);
        shifts.sort_by_key(|shift| shift.at);
    }

    /// Where bytes are missing, or too many, by file.
    pub(crate) fn shifts(&self) -> impl Iterator<Item = (&String, &Shift)> {
        self.shifts.iter().flat_map(|(name, shifts)| shifts.iter().map(move |shift| (name, shift)))
    }

    /// Where a place of the file as it was is in the file as it is: the next that is there.
    pub(crate) fn actual(&self, name: &str, offset: u64) -> u64 {
        let Some(shifts) = self.shifts.get(name) else { return offset };
        match locate(shifts, offset) {
            (Some(at), _) => at,
            (None, len) => locate(shifts, offset + len).0.unwrap_or(offset),
        }
    }

    /// How many bytes of a file were put right.
    pub(super) fn patched(&self, name: &str) -> usize {
        self.patches.get(name).map_or(0, Vec::len)
    }

    /// All that was put right.
    pub(crate) fn patches(&self) -> impl Iterator<Item = &Patch> {
        self.patches.values().flatten()
    }

    pub(super) fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let file = self.open(name, OpenMode::Read)?;
        let mut bytes = vec![0; len];
        let read = read_full_at(&*file, &mut bytes, offset)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    pub(super) fn patch(&mut self, name: &str, offset: u64, difference: u8, what: &'static str) -> io::Result<()> {
        let was = self.read(name, offset, 1)?.first().copied().ok_or(io::ErrorKind::UnexpectedEof)?;
        let patch = Patch { file: name.to_owned(), offset, was, byte: was ^ difference, what };
        self.patches.entry(name.to_owned()).or_default().push(patch);
        Ok(())
    }

    /// Takes the last patch of a file back: what it gave does not decode.
    pub(super) fn unpatch(&mut self, name: &str) {
        if let Some(patches) = self.patches.get_mut(name) {
            patches.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_again_behind_missing_and_added_bytes() {
        // Ten bytes are missing before 100, four too many before 200.
        let shifts = [Shift { at: 100, by: 10 }, Shift { at: 200, by: -4 }];
        assert_eq!(locate(&shifts, 99), (Some(99), 1));
        assert_eq!(locate(&shifts, 100), (None, 10));
        assert_eq!(locate(&shifts, 110), (Some(100), 96));
        assert_eq!(locate(&shifts, 205), (Some(195), 1));
        assert_eq!(locate(&shifts, 206), (Some(200), u64::MAX));
    }
}

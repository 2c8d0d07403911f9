//! The only door to the file system. A [`Disk`] is one folder; names are plain file names inside it.
//!
//! What a crash may do is stated here and done by `sim::SimDisk`: unsynced writes, lengths and names survive or not, each on
//! its own and in any order; after a failed sync the page cache is not to be believed.

#[cfg(any(test, feature = "sim"))]
pub mod chooser;
#[cfg(test)]
mod contract;
pub mod real;
#[cfg(any(test, feature = "sim"))]
pub mod sim;

pub use real::RealDisk;

use std::io;

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// Must exist; no writes.
    Read,
    /// Must exist; reads and writes.
    Write,
    /// Must not exist; reads and writes.
    CreateNew,
}

/// One name in the folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirEntry {
    /// The file's name, without any folder.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
}

/// One folder of files. Every call may fail; none retries by itself.
pub trait Disk: Send + Sync {
    /// Opens a file of this folder.
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Box<dyn File>>;
    /// Renames within the folder, replacing `to`. Durable only after [`Disk::sync_dir`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a name. Durable only after [`Disk::sync_dir`].
    fn remove(&self, name: &str) -> io::Result<()>;
    /// All files of the folder, sorted by name. Sub-folders, the lock, and names that are not UTF-8 are not listed.
    fn list(&self) -> io::Result<Vec<DirEntry>>;
    /// Makes creations, renames and removals so far durable. After a failure none of those since the last success is known,
    /// and a later success says nothing about them.
    fn sync_dir(&self) -> io::Result<()>;
    /// How many calls of [`Disk::sync_dir`] have failed so far, whoever made them. A failed one may have given up names that another
    /// caller waits for, and the next one would not say so: who needs a name compares this from before the change to after the sync.
    fn failed_dir_syncs(&self) -> u64;
    /// Takes the folder for this process, or fails with [`io::ErrorKind::WouldBlock`] if another has it.
    fn lock(&self) -> io::Result<Box<dyn DirLock>>;
    /// What to call the folder in messages.
    fn describe(&self) -> String;
}

/// Held while the store is open; dropping it gives the folder free.
pub trait DirLock: Send + Sync {}

/// One open file. Offsets are absolute; calls from several threads may overlap.
#[allow(clippy::len_without_is_empty)] // A length is a call that may fail, not a property of a collection.
pub trait File: Send + Sync {
    /// Writes some of `bytes` at `offset`, extending the file if needed, and says how many. May be short.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Reads into `buffer` at `offset` and says how many bytes; 0 only at or past the end. May be short.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Cuts or extends (with zeros) the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Reserves blocks for `0..len` without promising their content or changing what is read. A file system that cannot
    /// says [`io::ErrorKind::Unsupported`].
    fn preallocate(&self, len: u64) -> io::Result<()>;
    /// Makes content and length durable (fdatasync), not the name. After a failure nothing written since the last success is
    /// known, reads may show what the device will never have, and a later success says nothing about it.
    fn sync(&self) -> io::Result<()>;
    /// Forgets the page cache of this file, so that the next read asks the device. Cached writes that wait for the device
    /// stay: call [`File::sync`] first.
    fn drop_cache(&self) -> io::Result<()>;
}

/// Longest file name that the file systems of this kind of machine take, in bytes.
const NAME_LEN_MAX: usize = 255;

/// Refuses what is not a plain file name: empty, `.`, `..`, with a `/` or a NUL, or too long.
fn check_name(name: &str) -> io::Result<()> {
    let plain = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
    if plain && name.len() <= NAME_LEN_MAX {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is not a plain file name")))
}

/// Writes all of `bytes` at `offset`.
///
/// # Errors
/// The first error of the disk; a write of zero bytes is [`io::ErrorKind::WriteZero`].
pub fn write_all_at(file: &dyn File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads until `buffer` is full or the file ends, and says how many bytes arrived.
///
/// # Errors
/// The first error of the disk.
pub fn read_full_at(file: &dyn File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

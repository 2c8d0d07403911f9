//! The file system: one folder, held open by a descriptor, so that nothing depends on the working directory later on.
//!
//! 1. A name never leads out of the folder: see [`check_name`].
//! 2. Every error is the kernel's own, with its errno; who calls knows file and purpose and says them.
//! 3. Calls that were interrupted before they did anything are repeated, except `sync`: whatever it reports counts.

use super::{DirEntry, DirLock, Disk, File, OpenMode, check_name};
use rustix::fs::{
    AtFlags, CWD, Dir, FallocateFlags, FileType, FlockOperation, Mode, OFlags, fadvise, fallocate, fdatasync, flock,
    fstat, fsync, ftruncate, mkdirat, openat, renameat, statat, unlinkat,
};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Taken by the process that has the store open; holds its process id.
const LOCK_NAME: &str = "LOCK";
/// Owner reads and writes, group reads.
const FILE_MODE: Mode = Mode::from_raw_mode(0o640);
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o750);

/// A folder of the file system.
#[derive(Debug)]
pub struct RealDisk {
    dir: OwnedFd,
    path: PathBuf,
    failed_dir_syncs: AtomicU64,
}

impl RealDisk {
    /// Opens the folder; with `create` makes it, if it is absent, and makes its name durable. Folders above it must exist.
    ///
    /// # Errors
    /// The kernel's; [`io::ErrorKind::NotFound`] and [`io::ErrorKind::NotADirectory`] say what they say.
    pub fn open(path: &Path, create: bool) -> io::Result<Self> {
        if create {
            match retry_on_intr(|| mkdirat(CWD, path, FOLDER_MODE)) {
                Ok(()) => {
                    let parent = match path.parent() {
                        Some(parent) if !parent.as_os_str().is_empty() => parent,
                        _ => Path::new("."),
                    };
                    fsync(open_dir(parent)?)?;
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(RealDisk { dir: open_dir(path)?, path: path.to_owned(), failed_dir_syncs: AtomicU64::new(0) })
    }

    /// The folder's path, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    Ok(retry_on_intr(|| openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()))?)
}

impl Disk for RealDisk {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Box<dyn File>> {
        check_name(name)?;
        let flags = match mode {
            OpenMode::Read => OFlags::RDONLY,
            OpenMode::Write => OFlags::RDWR,
            OpenMode::CreateNew => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
        };
        let fd = retry_on_intr(|| openat(&self.dir, name, flags | OFlags::CLOEXEC, FILE_MODE))?;
        Ok(Box::new(RealFile(fd)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_name(from)?;
        check_name(to)?;
        Ok(renameat(&self.dir, from, &self.dir, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        Ok(unlinkat(&self.dir, name, AtFlags::empty())?)
    }

    fn list(&self) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.dir)? {
            let entry = entry?;
            // A name that is not UTF-8 is none of a store's, and could not be opened through this interface.
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name == LOCK_NAME {
                continue;
            }
            match statat(&self.dir, name, AtFlags::empty()) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
                Ok(stat) => entries.push(DirEntry { name: name.to_owned(), len: stat.st_size as u64 }),
                // Removed since it was read, or a link to nothing.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    fn sync_dir(&self) -> io::Result<()> {
        fsync(&self.dir).inspect_err(|_| {
            self.failed_dir_syncs.fetch_add(1, Ordering::SeqCst);
        })?;
        Ok(())
    }

    fn failed_dir_syncs(&self) -> u64 {
        self.failed_dir_syncs.load(Ordering::SeqCst)
    }

    fn lock(&self) -> io::Result<Box<dyn DirLock>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let fd = retry_on_intr(|| openat(&self.dir, LOCK_NAME, flags, FILE_MODE))?;
        match retry_on_intr(|| flock(&fd, FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut holder = [0; 20];
                let len = pread(&fd, &mut holder, 0).unwrap_or(0);
                let holder = std::str::from_utf8(&holder[..len]).unwrap_or("").trim();
                let by = if holder.is_empty() { "another process".to_owned() } else { format!("process {holder}") };
                let message = format!("the folder {} is in use by {by}", self.path.display());
                return Err(io::Error::new(io::ErrorKind::WouldBlock, message));
            }
            Err(errno) => return Err(errno.into()),
        }
        // The id only serves messages: a full disk must not keep a store from being opened.
        let id = format!("{}\n", std::process::id());
        let _ = ftruncate(&fd, 0).and_then(|()| pwrite(&fd, id.as_bytes(), 0));
        Ok(Box::new(RealLock { _fd: fd }))
    }

    fn describe(&self) -> String {
        self.path.display().to_string()
    }
}

/// The lock ends with the descriptor, also when the process is killed.
struct RealLock {
    _fd: OwnedFd,
}

impl DirLock for RealLock {}

struct RealFile(OwnedFd);

impl File for RealFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        Ok(pwrite(&self.0, bytes, offset)?)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(pread(&self.0, buffer, offset)?)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(fstat(&self.0)?.st_size as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Ok(retry_on_intr(|| ftruncate(&self.0, len))?)
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        Ok(retry_on_intr(|| fallocate(&self.0, FallocateFlags::KEEP_SIZE, 0, len))?)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(fdatasync(&self.0)?)
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(fadvise(&self.0, 0, None, rustix::fs::Advice::DontNeed)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;
    use crate::disk::{read_full_at, write_all_at};

    fn folder() -> (tempfile::TempDir, RealDisk) {
        let temp = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(&temp.path().join("store"), true).unwrap();
        (temp, disk)
    }

    #[test]
    fn it_keeps_the_contract_of_every_disk() {
        contract::check(&|| {
            let (temp, disk) = folder();
            (Box::new(disk), Box::new(temp))
        });
    }

    #[test]
    fn an_absent_folder_is_only_made_when_asked() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("store");
        assert_eq!(RealDisk::open(&path, false).unwrap_err().kind(), io::ErrorKind::NotFound);
        RealDisk::open(&path, true).unwrap();
        RealDisk::open(&path, true).unwrap();
        RealDisk::open(&path, false).unwrap();
        std::fs::write(temp.path().join("file"), "").unwrap();
        assert_eq!(RealDisk::open(&temp.path().join("file"), true).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        assert_eq!(RealDisk::open(&temp.path().join("no/store"), true).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_lock_names_its_holder() {
        let (_temp, disk) = folder();
        let held = disk.lock().unwrap();
        let Err(refused) = RealDisk::open(disk.path(), false).unwrap().lock() else { panic!("locked twice") };
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        let message = refused.to_string();
        assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
        assert!(message.contains(&disk.describe()), "{message}");
        drop(held);
        disk.lock().unwrap();
    }

    #[test]
    fn errors_keep_their_errno() {
        let (_temp, disk) = folder();
        let file = disk.open("a", OpenMode::CreateNew).unwrap();
        write_all_at(&*file, b"x", 0).unwrap();
        let reader = disk.open("a", OpenMode::Read).unwrap();
        assert_eq!(reader.write_at(b"y", 0).unwrap_err().raw_os_error(), Some(Errno::BADF.raw_os_error()));
        let missing = disk.rename("none", "b").unwrap_err();
        assert_eq!(missing.raw_os_error(), Some(Errno::NOENT.raw_os_error()));
    }

    #[test]
    fn sub_folders_are_not_listed_and_the_cache_can_be_dropped() {
        let (_temp, disk) = folder();
        std::fs::create_dir(disk.path().join("sub")).unwrap();
        let file = disk.open("a", OpenMode::CreateNew).unwrap();
        write_all_at(&*file, &[7; 10_000], 0).unwrap();
        file.sync().unwrap();
        file.drop_cache().unwrap();
        let mut back = [0; 10_000];
        assert_eq!(read_full_at(&*file, &mut back, 0).unwrap(), 10_000);
        assert_eq!(back, [7; 10_000]);
        let names: Vec<String> = disk.list().unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["a"]);
    }
}

//! The tool's own file system: [`disk::Disk`] behind FUSE, mounted without helper programs (as root).
//!
//! The kernel writes through: when a server's `write` returns, the disk has it. A slow sync is answered from a thread of its own, so
//! that other calls go on meanwhile.

pub(crate) mod disk;

use crate::rng::Rng;
use disk::{Disk, Fail, ROOT, Stat};
use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, MountOption,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

/// Nobody else changes the disk, so the kernel may believe what it was told.
const TTL: Duration = Duration::from_secs(3600);
const BLOCK: u32 = 4096;
/// What `statfs` tells while nothing limits the disk.
const ROOM: u64 = 64 << 30;
/// How long a process that was just killed may hold the mount.
const UNMOUNT_TIME_MAX: Duration = Duration::from_secs(5);

/// The disk, shared by the file system and the driver.
#[derive(Clone, Debug)]
struct Shared(Arc<Mutex<Disk>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Disk> {
        // A panic under the lock is a defect that a test has shown already.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn errno(fail: Fail) -> Errno {
    Errno::from_i32(fail)
}

fn attributes(stat: &Stat) -> FileAttr {
    let time = stat.changed;
    FileAttr {
        ino: INodeNo(stat.node),
        size: stat.len,
        blocks: stat.len.div_ceil(512),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: if stat.is_folder { FileType::Directory } else { FileType::RegularFile },
        perm: if stat.is_folder { 0o755 } else { 0o644 },
        nlink: stat.links,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

fn entry(found: Result<Stat, Fail>, reply: ReplyEntry) {
    match found {
        Ok(stat) => reply.entry(&TTL, &attributes(&stat), Generation(0)),
        Err(fail) => reply.error(errno(fail)),
    }
}

fn empty(done: Result<(), Fail>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(fail) => reply.error(errno(fail)),
    }
}

impl Filesystem for Shared {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let disk = self.lock();
        entry(disk.lookup(parent.0, name).and_then(|node| disk.stat(node)), reply);
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.lock().stat(node.0) {
            Ok(stat) => reply.attr(&TTL, &attributes(&stat)),
            Err(fail) => reply.error(errno(fail)),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut disk = self.lock();
        let done = size.map_or(Ok(()), |size| disk.set_len(node.0, size));
        match done.and_then(|()| disk.stat(node.0)) {
            Ok(stat) => reply.attr(&TTL, &attributes(&stat)),
            Err(fail) => reply.error(errno(fail)),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let mut disk = self.lock();
        entry(disk.make(parent.0, name, true).and_then(|node| disk.stat(node)), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.lock().remove(parent.0, name, false), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.lock().remove(parent.0, name, true), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        to_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if flags.contains(RenameFlags::RENAME_EXCHANGE) {
            return reply.error(Errno::EINVAL);
        }
        let no_replace = flags.contains(RenameFlags::RENAME_NOREPLACE);
        empty(self.lock().rename((parent.0, name), (to.0, to_name), no_replace), reply);
    }

    fn link(&self, _: &Request, node: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut disk = self.lock();
        entry(disk.link(node.0, parent.0, name).and_then(|()| disk.stat(node.0)), reply);
    }

    fn open(&self, _: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.lock().open(node.0) {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::empty()),
            Err(fail) => reply.error(errno(fail)),
        }
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        let mut disk = self.lock();
        let made = disk.make(parent.0, name, false);
        match made.and_then(|node| disk.open(node).and_then(|()| disk.stat(node))) {
            Ok(stat) => {
                reply.created(&TTL, &attributes(&stat), Generation(0), FileHandle(0), FopenFlags::empty());
            }
            Err(fail) => reply.error(errno(fail)),
        }
    }

    fn release(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.lock().close(node.0);
        reply.ok();
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.lock().read(node.0, offset, size as usize) {
            Ok(bytes) => reply.data(bytes),
            Err(fail) => reply.error(errno(fail)),
        }
    }

    fn write(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.lock().write(node.0, offset, data) {
            Ok(taken) => reply.written(taken as u32),
            Err(fail) => reply.error(errno(fail)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, node: INodeNo, _: FileHandle, datasync: bool, reply: ReplyEmpty) {
        let mut disk = self.lock();
        let Some(delay) = disk.faults.sync_delay else { return empty(disk.sync(node.0, datasync), reply) };
        disk.faults.happened += 1;
        let until = disk.written(node.0);
        drop(disk);
        let shared = self.clone();
        std::thread::spawn(move || {
            std::thread::sleep(delay);
            let done = shared.lock().sync_until(node.0, datasync, until);
            empty(done, reply);
        });
    }

    fn readdir(&self, _: &Request, node: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        match self.lock().list(node.0) {
            Ok(names) => {
                for (at, (node, is_folder, name)) in names.iter().enumerate().skip(offset as usize) {
                    let kind = if *is_folder { FileType::Directory } else { FileType::RegularFile };
                    if reply.add(INodeNo(*node), at as u64 + 1, kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(fail) => reply.error(errno(fail)),
        }
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(self.lock().sync_folder(), reply);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let disk = self.lock();
        let used = disk.used();
        let all = disk.faults.capacity.unwrap_or(used + ROOM);
        let blocks = |bytes: u64| bytes / u64::from(BLOCK);
        let free = blocks(all.saturating_sub(used));
        reply.statfs(blocks(all), free, free, 1 << 20, 1 << 20, BLOCK, 255, BLOCK);
    }

    fn fallocate(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let mut disk = self.lock();
        let done = match mode {
            0 => disk.stat(node.0).and_then(|stat| disk.set_len(node.0, stat.len.max(offset + length))),
            libc::FALLOC_FL_KEEP_SIZE => Ok(()),
            _ => Err(libc::EOPNOTSUPP),
        };
        empty(done, reply);
    }
}

/// A mounted disk; unmounted when dropped.
#[derive(Debug)]
pub(crate) struct FuseDisk {
    disk: Shared,
    mount: PathBuf,
    session: Option<fuser::BackgroundSession>,
}

impl FuseDisk {
    /// Makes an empty disk and mounts it.
    pub(crate) fn create(mount: &Path) -> io::Result<FuseDisk> {
        std::fs::create_dir_all(mount)?;
        let mut made = FuseDisk { disk: Shared(Arc::new(Mutex::new(Disk::new()))), mount: mount.into(), session: None };
        made.mount()?;
        Ok(made)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.mount
    }

    /// The disk itself, for its faults.
    pub(crate) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock()
    }

    fn mount(&mut self) -> io::Result<()> {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("firn-torture".into()), MountOption::NoAtime];
        config.n_threads = Some(2);
        let session = fuser::spawn_mount(self.disk.clone(), &self.mount, &config);
        self.session = Some(session.map_err(|error| io::Error::new(error.kind(), format!("mounting FUSE: {error}")))?);
        Ok(())
    }

    fn unmount(&mut self) -> io::Result<()> {
        let Some(session) = self.session.take() else { return Ok(()) };
        let path = CString::new(self.mount.as_os_str().as_bytes())?;
        let began = std::time::Instant::now();
        loop {
            let flags = if began.elapsed() > UNMOUNT_TIME_MAX { libc::MNT_DETACH } else { 0 };
            // SAFETY: the path is a string that ends in 0 and outlives the call.
            if unsafe { libc::umount2(path.as_ptr(), flags) } == 0 {
                break;
            }
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::EBUSY) {
                self.session = Some(session);
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // Not its own unmount, which may still take the mount for there, and fails then.
        session.join()
    }

    /// The power fails.
    pub(crate) fn cut(&self, rng: &mut Rng, reordered: bool) {
        self.disk().cut(rng, reordered);
    }

    /// The power comes back: mounted anew, with what is on the device. Nobody may have a file open.
    pub(crate) fn power_on(&mut self) -> io::Result<()> {
        self.unmount()?;
        self.disk().power_on();
        self.mount()
    }

    /// An empty disk instead.
    pub(crate) fn wipe(&mut self) -> io::Result<()> {
        self.unmount()?;
        self.disk().wipe();
        self.mount()
    }
}

impl Drop for FuseDisk {
    fn drop(&mut self) {
        let _ = self.unmount();
    }
}

const _: () = assert!(ROOT == 1, "FUSE's root has this number");

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_is_appended_after_a_short_write_was_cut_off_follows_what_is_left() {
        let work = tempfile::tempdir().unwrap();
        let Ok(fuse) = FuseDisk::create(work.path()) else { return };
        let path = fuse.path().join("log");
        let mut log = std::fs::File::options().create(true).append(true).open(&path).unwrap();
        for (round, long) in [20_000, 400_000].into_iter().enumerate() {
            log.write_all(&[1; 10_000]).unwrap();
            let len = log.metadata().unwrap().len();
            let capacity = fuse.disk().used() + 6140;
            fuse.disk().faults.capacity = Some(capacity);
            for _ in 0..3 {
                assert_eq!(log.write(&vec![2; long]).unwrap(), 6140, "round {round}");
                assert_eq!(log.write(&[2; 100]).unwrap_err().raw_os_error(), Some(libc::ENOSPC));
                log.set_len(len).unwrap();
            }
            fuse.disk().calm();
            log.write_all(b"end").unwrap();
            let found = std::fs::read(&path).unwrap();
            assert_eq!((found.len() as u64, &found[len as usize..]), (len + 3, &b"end"[..]), "round {round}");
        }
    }
}

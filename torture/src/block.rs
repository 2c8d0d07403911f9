//! A real ext4 on a block device whose writes can be made to fail with EIO: needs root, nbdkit and nbdfuse.
//!
//! nbdkit keeps the device in memory, behind its error filter; nbdfuse shows it as a file, and a loop device that passes the page cache by
//! makes that a block device. So the kernel meets what it meets of a failing disk: a flush fails once, the pages are clean afterwards and
//! the next flush succeeds without them, or the journal is given up and the file system can be read only.

use crate::group::Group;
use crate::image::{FileSystem, Image, run};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long nbdfuse may take to show the device.
const SHOWN_MAX: Duration = Duration::from_secs(10);

/// The device and what is mounted from it.
#[derive(Debug)]
pub(crate) struct BlockDisk {
    // Dropped before the device goes.
    image: Image,
    file: PathBuf,
    failing: PathBuf,
    _nbd: Group,
}

impl BlockDisk {
    /// Makes the device and its file system under `folder`, and mounts it.
    pub(crate) fn create(folder: &Path) -> io::Result<BlockDisk> {
        std::fs::create_dir_all(folder)?;
        let (file, failing) = (folder.join("device"), folder.join("failing"));
        File::create(&file)?;
        let mut command = Command::new("nbdfuse");
        command.arg(&file).args(["[", "nbdkit", "--exit-with-parent", "--filter=error", "memory", "512M", "error=EIO"]);
        command.args(["error-pwrite-rate=1", "error-zero-rate=1", "error-trim-rate=1"]);
        command.arg(format!("error-file={}", failing.display())).arg("]");
        // It tells of every error that was asked for.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let missing = |error| io::Error::other(format!("nbdfuse: {error} (Debian: nbdkit, libnbd-bin)"));
        let nbd = Group::spawn(&mut command, folder).map_err(missing)?;
        let began = Instant::now();
        while std::fs::metadata(&file)?.len() == 0 {
            if nbd.ended()?.is_some() {
                return Err(io::Error::other("nbdfuse has ended: are nbdkit and /dev/fuse there?"));
            }
            if began.elapsed() > SHOWN_MAX {
                return Err(io::Error::other(format!("nbdfuse does not show the device within {SHOWN_MAX:?}")));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let image = Image::on_device(FileSystem::Ext4, file.clone(), folder.join("disk"))?;
        Ok(BlockDisk { image, file, failing, _nbd: nbd })
    }

    /// Where the file system is.
    pub(crate) fn path(&self) -> &Path {
        self.image.path()
    }

    /// From now on each write to the device fails, or none does.
    pub(crate) fn fail(&self, fails: bool) -> io::Result<()> {
        if fails { File::create(&self.failing).map(drop) } else { std::fs::remove_file(&self.failing) }
    }

    /// Takes the file system away from the kernel, which forgets what it has not written, checks it as machines do when they start, and
    /// mounts it again.
    pub(crate) fn remount(&mut self) -> io::Result<()> {
        self.image.unmount()?;
        // 1: something was mended.
        run("e2fsck", &["-p".as_ref(), self.file.as_os_str()], 1)?;
        self.image.mount()
    }
}

impl Drop for BlockDisk {
    fn drop(&mut self) {
        self.image.release();
        // nbdfuse ends with its mount, and nbdkit with it.
        let _ = run("umount", &[self.file.as_os_str()], 0);
    }
}

//! A real ext4 or XFS in a file, mounted through a loop device, whose power can be cut: needs root.
//!
//! The cut is the file system's own shutdown call without a flush of its journal: from then on nothing reaches the
//! image, and what was not flushed before is gone after the next mount. What the image's own host still caches is not
//! lost, so a missing flush of the device itself is not seen by this test.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// `_IOR('X', 125, __u32)`: `EXT4_IOC_SHUTDOWN` (fs/ext4/ext4.h) and `XFS_IOC_GOINGDOWN` (fs/xfs/libxfs/xfs_fs.h).
const SHUTDOWN: libc::c_ulong = 0x8004_587D;
/// `EXT4_GOING_FLAGS_NOLOGFLUSH`, `XFS_FSOP_GOING_FLAGS_NOLOGFLUSH`: neither data nor journal are flushed.
const NO_LOG_FLUSH: u32 = 2;
/// How large the image is; it is sparse. The smallest XFS that its tools make takes 300 MB.
const IMAGE_LEN: u64 = 512 * 1024 * 1024;

/// What is in the image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FileSystem {
    Ext4,
    Xfs,
}

impl FileSystem {
    fn make(self, image: &Path) -> io::Result<()> {
        match self {
            FileSystem::Ext4 => run("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), image.as_os_str()], 0),
            FileSystem::Xfs => run("mkfs.xfs", &["-q".as_ref(), "-f".as_ref(), image.as_os_str()], 0),
        }
    }
}

/// The image and where it is mounted; unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Image {
    image: PathBuf,
    mount: PathBuf,
    mounted: bool,
    /// Whether the page cache is passed by, so that errors of the image are errors of the device.
    direct: bool,
}

/// Where Debian has a program.
fn package(program: &str) -> &'static str {
    match program {
        "mkfs.ext4" | "e2fsck" => " (Debian: e2fsprogs)",
        "mkfs.xfs" => " (Debian: xfsprogs)",
        _ => "",
    }
}

/// Runs a program to its end; an exit code up to `most` is a success.
pub(crate) fn run(program: &str, arguments: &[&OsStr], most: i32) -> io::Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| io::Error::other(format!("{program}: {error}{}", package(program))))?;
    if output.status.code().is_some_and(|code| code <= most) {
        return Ok(());
    }
    Err(io::Error::other(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

impl Image {
    /// Makes a file system under `folder` and mounts it.
    pub(crate) fn create(kind: FileSystem, folder: &Path) -> io::Result<Image> {
        std::fs::create_dir_all(folder)?;
        let image = folder.join("disk.img");
        File::create(&image)?.set_len(IMAGE_LEN)?;
        Image::make(kind, image, folder.join("disk"), false)
    }

    /// The same in a file that is there and may fail.
    pub(crate) fn on_device(kind: FileSystem, image: PathBuf, mount: PathBuf) -> io::Result<Image> {
        Image::make(kind, image, mount, true)
    }

    fn make(kind: FileSystem, image: PathBuf, mount: PathBuf, direct: bool) -> io::Result<Image> {
        std::fs::create_dir_all(&mount)?;
        kind.make(&image)?;
        let mut disk = Image { image, mount, mounted: false, direct };
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.mount
    }

    /// Mounts it; the journal is replayed.
    pub(crate) fn mount(&mut self) -> io::Result<()> {
        if self.direct {
            let setup = ["--find", "--show", "--direct-io=on"];
            let output = Command::new("losetup").args(setup).arg(&self.image).output()?;
            if !output.status.success() {
                return Err(io::Error::other(format!("losetup: {}", String::from_utf8_lossy(&output.stderr).trim())));
            }
            let device = String::from_utf8_lossy(&output.stdout).trim().to_string();
            let mounted = run("mount", &[device.as_ref(), self.mount.as_os_str()], 0);
            // It goes when nobody uses it any more.
            run("losetup", &["-d".as_ref(), device.as_ref()], 0)?;
            mounted?;
        } else {
            run("mount", &["-o".as_ref(), "loop".as_ref(), self.image.as_os_str(), self.mount.as_os_str()], 0)?;
        }
        self.mounted = true;
        Ok(())
    }

    /// Unmounts it; a process that has just ended may hold it for a moment.
    pub(crate) fn unmount(&mut self) -> io::Result<()> {
        let mut tries = 0;
        while let Err(error) = run("umount", &[self.mount.as_os_str()], 0) {
            tries += 1;
            if tries == 200 {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.mounted = false;
        Ok(())
    }

    /// Cuts the power: nothing is written from here on.
    pub(crate) fn cut(&self) -> io::Result<()> {
        let folder = File::open(&self.mount)?;
        let flags: u32 = NO_LOG_FLUSH;
        // SAFETY: the descriptor is open, and the call reads one u32 behind the pointer, which outlives it.
        let status = unsafe { libc::ioctl(folder.as_raw_fd(), SHUTDOWN as _, &raw const flags) };
        if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl Image {
    /// Unmounts it if it is mounted.
    pub(crate) fn release(&mut self) {
        if self.mounted {
            let _ = self.unmount();
        }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        self.release();
    }
}

//! A store that lives through the cycles of one medium, and what its clients know of it. It is judged nowhere here.

use crate::block::BlockDisk;
use crate::fault::Medium;
use crate::fuse::FuseDisk;
use crate::image::{FileSystem, Image};
use crate::model::State;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a child that a killed server had forked may go on writing.
const LEFT_MAX: Duration = Duration::from_secs(10);

/// Removes a folder, into which such a child may put another file meanwhile.
fn remove(folder: &Path) -> io::Result<()> {
    let began = Instant::now();
    loop {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && began.elapsed() < LEFT_MAX => {
                std::thread::sleep(Duration::from_millis(5));
            }
            done => return done,
        }
    }
}

/// Where the files lie.
pub(super) enum Store {
    Folder(PathBuf),
    Fuse(FuseDisk),
    Image(Image),
    Block(BlockDisk),
}

/// A store that lives through many cycles, on one medium, and what the clients know of it.
pub(super) struct Lane {
    pub(super) store: Store,
    pub(super) states: Vec<State>,
    pub(super) numbers: Vec<u64>,
    /// The cycle whose shared keys lie in it.
    pub(super) last: Option<u64>,
    /// Whether a start on it has ever ended in a server that answers.
    pub(super) is_known: bool,
    /// How long the newest start took.
    pub(super) start: Duration,
}

impl Lane {
    pub(super) fn create(medium: Medium, work: &Path, clients: usize) -> io::Result<Lane> {
        let store = match medium {
            Medium::Folder => Store::Folder(work.join("folder")),
            Medium::Fuse => Store::Fuse(FuseDisk::create(&work.join("fuse"))?),
            Medium::Ext4 => Store::Image(Image::create(FileSystem::Ext4, &work.join("ext4"))?),
            Medium::Block => Store::Block(BlockDisk::create(&work.join("block"))?),
            Medium::Xfs => Store::Image(Image::create(FileSystem::Xfs, &work.join("xfs"))?),
        };
        let lane = Lane {
            store,
            states: vec![State::new(); clients],
            numbers: vec![1; clients],
            last: None,
            is_known: false,
            start: Duration::from_millis(30),
        };
        std::fs::create_dir_all(lane.folder())?;
        Ok(lane)
    }

    /// The server's `dir`.
    pub(super) fn folder(&self) -> PathBuf {
        match &self.store {
            Store::Folder(path) => path.clone(),
            Store::Fuse(disk) => disk.path().join("data"),
            Store::Image(disk) => disk.path().join("data"),
            Store::Block(disk) => disk.path().join("data"),
        }
    }

    pub(super) fn power_on(&mut self) -> io::Result<()> {
        match &mut self.store {
            Store::Folder(_) => Ok(()),
            Store::Fuse(disk) => disk.power_on(),
            Store::Block(disk) => disk.remount(),
            Store::Image(disk) => {
                disk.unmount()?;
                disk.mount()
            }
        }
    }

    pub(super) fn fuse(&self) -> io::Result<&FuseDisk> {
        match &self.store {
            Store::Fuse(disk) => Ok(disk),
            _ => Err(io::Error::other("this fault needs the FUSE layer")),
        }
    }

    /// Begins anew, after a violation.
    pub(super) fn reset(&mut self) -> io::Result<()> {
        if let Store::Fuse(disk) = &mut self.store {
            disk.wipe()?;
        } else {
            self.power_on()?;
            remove(&self.folder())?;
        }
        std::fs::create_dir_all(self.folder())?;
        let clients = self.states.len();
        (self.states, self.last) = (vec![State::new(); clients], None);
        Ok(())
    }
}

//! A store that lives through the cycles of one medium, and what its clients know of it. It is judged nowhere here.

use crate::block::BlockDisk;
use crate::fault::{Fault, Medium};
use crate::fuse::FuseDisk;
use crate::image::{FileSystem, Image};
use crate::model::State;
use crate::report::{Cycle, Violation};
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
    /// Whether a write was ever acknowledged on it.
    pub(super) is_proven: bool,
    /// The newest fault that was made on it, and its cycle.
    pub(super) newest: Option<(Fault, u64)>,
    /// Damage that a server has started on: which, and in which cycle.
    pub(super) damage: Option<String>,
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
            is_proven: false,
            newest: None,
            damage: None,
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

    /// What is wrong before a cycle has made its fault is the doing of the one before it on this store, and damage from which a server had
    /// gone on may show in any later cycle.
    pub(super) fn trace(&self, violation: &mut Violation, cycle: &mut Cycle) {
        let is_made = cycle.sent > 0 || self.last == Some(cycle.cycle);
        if let (false, Some((fault, number))) = (is_made, self.newest) {
            violation.text = format!("when {} was to follow on cycle {number}: {}", cycle.fault, violation.text);
            cycle.fault = fault.name().into();
        }
        if let Some(damage) = &self.damage {
            violation.text = format!("the server had gone on from damage ({damage}); {}", violation.text);
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
        (self.newest, self.damage) = (None, None);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Wrong;

    #[test]
    fn what_is_wrong_before_a_fault_was_made_is_told_of_the_one_before_it() {
        let work = tempfile::tempdir().unwrap();
        let mut lane = Lane::create(Medium::Folder, work.path(), 1).unwrap();
        let traced = |lane: &Lane, sent| {
            let mut cycle = Cycle::new(9, 1, "kill-start", 0);
            cycle.sent = sent;
            let mut violation = Violation::new(Wrong::RefusedStart, "no start".into());
            lane.trace(&mut violation, &mut cycle);
            (cycle.fault, violation.text)
        };
        assert_eq!(traced(&lane, 0), ("kill-start".into(), "no start".into()));
        (lane.newest, lane.last) = (Some((Fault::Truncate, 7)), Some(7));
        lane.damage = Some("cycle 7, truncate: a file".into());
        let text = "the server had gone on from damage (cycle 7, truncate: a file); ";
        let follow = "when kill-start was to follow on cycle 7: no start";
        assert_eq!(traced(&lane, 0), ("truncate".into(), format!("{text}{follow}")));
        assert_eq!(traced(&lane, 1), ("kill-start".into(), format!("{text}no start")));
        lane.last = Some(9);
        assert_eq!(traced(&lane, 0).0, "kill-start");
        lane.reset().unwrap();
        assert_eq!(traced(&lane, 0), ("kill-start".into(), "no start".into()));
    }
}

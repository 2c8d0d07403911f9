//! The faults: their names, what each needs of the machine, and what must hold after it.

use crate::judge::Contract;
use crate::plan::Policy;
use std::time::Duration;

/// What happens to the server or its files in one cycle.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)] // `FAULTS` describes each, for people.
pub enum Fault {
    Kill,
    KillSnapshot,
    KillRewrite,
    KillStart,
    KillRecovery,
    Term,
    PowerCut,
    PowerCutReordered,
    PowerCutExt4,
    PowerCutXfs,
    EioFsync,
    EioWrite,
    EioRestartCut,
    EioBlock,
    FullDisk,
    SlowSync,
    SlowCut,
    ShortWrite,
    Flip,
    FlipTail,
    Zero,
    ZeroTail,
    Truncate,
    Swap,
    Missing,
    Oom,
    Clock,
    DumpPresent,
}

/// Where the data lies in a cycle.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Medium {
    /// A folder of this machine.
    Folder,
    /// The tool's own file system.
    Fuse,
    /// ext4 in a file.
    Ext4,
    /// XFS in a file.
    Xfs,
    /// ext4 on a block device that can fail.
    Block,
}

impl Medium {
    /// For reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Folder => "a folder of this machine",
            Fuse => "FUSE layer of the tool's own, in memory",
            Ext4 => "ext4 on a loop mount, shutdown ioctl without log flush",
            Block => "ext4 on a block device behind nbdkit's error filter",
            Xfs => "XFS on a loop mount, shutdown ioctl without log flush",
        }
    }
}

struct Row {
    fault: Fault,
    name: &'static str,
    group: &'static str,
    medium: Medium,
    what: &'static str,
}

const fn row(fault: Fault, name: &'static str, group: &'static str, medium: Medium, what: &'static str) -> Row {
    Row { fault, name, group, medium, what }
}

use Medium::{Block, Ext4, Folder, Fuse, Xfs};

const FAULTS: [Row; 28] = [
    row(Fault::Kill, "kill", "kills", Folder, "kill -9 at a random moment"),
    row(Fault::KillSnapshot, "kill-snapshot", "kills", Folder, "kill -9 during a BGSAVE"),
    row(Fault::KillRewrite, "kill-rewrite", "kills", Folder, "kill -9 during a BGREWRITEAOF"),
    row(Fault::KillStart, "kill-start", "kills", Folder, "kill -9 during a start after a clean stop, several times"),
    row(
        Fault::KillRecovery,
        "kill-recovery",
        "kills",
        Folder,
        "kill -9 during the recovery from a kill -9, several times",
    ),
    row(Fault::Term, "term", "kills", Folder, "SIGTERM"),
    row(
        Fault::PowerCut,
        "power-cut",
        "power",
        Fuse,
        "a power cut: what was not synced is kept up to a point of each file, torn there, or lost",
    ),
    row(
        Fault::PowerCutReordered,
        "power-cut-reordered",
        "reordered",
        Fuse,
        "a power cut of a disk that keeps any of the unsynced writes, and not those before them",
    ),
    row(Fault::PowerCutExt4, "power-cut-ext4", "ext4", Ext4, "a power cut of a real ext4"),
    row(Fault::PowerCutXfs, "power-cut-xfs", "xfs", Xfs, "a power cut of a real XFS"),
    row(
        Fault::EioFsync,
        "eio-fsync",
        "disk",
        Fuse,
        "one fsync fails with EIO, and loses what it was for; then kill -9",
    ),
    row(Fault::EioWrite, "eio-write", "disk", Fuse, "one write fails with EIO; then kill -9"),
    row(
        Fault::EioRestartCut,
        "eio-restart-cut",
        "disk",
        Fuse,
        "one fsync fails with EIO, a restart, more writes, a power cut",
    ),
    row(
        Fault::EioBlock,
        "eio-block",
        "block",
        Block,
        "a real ext4 whose disk fails all writes for a while; then kill -9, and what the kernel kept in memory is gone",
    ),
    row(Fault::FullDisk, "full-disk", "disk", Fuse, "the disk is full for a while, then kill -9"),
    row(Fault::SlowSync, "slow-sync", "disk", Fuse, "fsyncs take seconds, and kill -9 falls into one"),
    row(Fault::SlowCut, "slow-cut", "disk", Fuse, "fsyncs take up to seconds, and a power cut falls into one"),
    row(Fault::ShortWrite, "short-write", "disk", Fuse, "writes are cut short, then kill -9"),
    row(Fault::Flip, "flip", "damage", Folder, "one bit of one file is flipped while the server is down"),
    row(
        Fault::FlipTail,
        "flip-tail",
        "damage",
        Folder,
        "one bit near the end of the newest file, a digit of a length if there is one",
    ),
    row(Fault::Zero, "zero", "damage", Folder, "a range of a file is zeros"),
    row(
        Fault::ZeroTail,
        "zero-tail",
        "damage",
        Folder,
        "zeros behind the end of the newest file, as power cuts leave them",
    ),
    row(Fault::Truncate, "truncate", "damage", Folder, "the newest file lacks its end"),
    row(Fault::Swap, "swap", "damage", Folder, "two blocks of a file, or two files, have changed places"),
    row(Fault::Missing, "missing", "damage", Folder, "a file is missing"),
    row(Fault::Oom, "oom", "machine", Folder, "the kernel kills it for memory, in a cgroup of its own"),
    row(Fault::Clock, "clock", "machine", Folder, "the wall clock jumps by hours between two starts"),
    row(Fault::DumpPresent, "dump-present", "damage", Folder, "a dump.rdb lies in an otherwise empty folder"),
];

fn row_of(fault: Fault) -> &'static Row {
    &FAULTS[fault as usize]
}

/// A fault's name, or a group's.
pub(crate) fn parse(text: &str) -> Result<Vec<Fault>, String> {
    let fits = |row: &&Row| row.name == text || row.group == text || text == "all";
    let found: Vec<Fault> = FAULTS.iter().filter(fits).map(|row| row.fault).collect();
    let names = || FAULTS.iter().map(|row| row.name).collect::<Vec<_>>().join(" ");
    if found.is_empty() {
        return Err(format!(
            "groups: all kills power reordered ext4 xfs block disk damage machine; faults: {}",
            names()
        ));
    }
    Ok(found)
}

/// The list for `--list-faults`: group, name, what it is.
pub(crate) fn list() -> impl Iterator<Item = (Fault, &'static str, &'static str)> {
    FAULTS.iter().map(|row| (row.fault, row.group, row.what))
}

impl Fault {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        row_of(self).name
    }

    pub(crate) fn medium(self) -> Medium {
        row_of(self).medium
    }

    /// Whether files are damaged while the server is down.
    pub(crate) fn is_damage(self) -> bool {
        row_of(self).group == "damage" && self != Fault::DumpPresent
    }

    /// Whether the last thing that happens is a power cut, or takes as much.
    pub(crate) fn is_cut(self) -> bool {
        use Fault::{EioBlock, EioRestartCut, PowerCut, PowerCutExt4, PowerCutReordered, PowerCutXfs, SlowCut};
        matches!(self, PowerCut | PowerCutReordered | PowerCutExt4 | PowerCutXfs | EioBlock | EioRestartCut | SlowCut)
    }

    /// Whether the server may refuse writes before it is crashed.
    pub(crate) fn refuses(self) -> bool {
        use Fault::{EioBlock, EioFsync, EioRestartCut, EioWrite, FullDisk, ShortWrite};
        matches!(self, EioBlock | EioFsync | EioRestartCut | EioWrite | FullDisk | ShortWrite)
    }

    /// What of the acknowledged writes must be there afterwards; after damage see [`crate::damage::Done::contract`].
    pub(crate) fn contract(self, policy: Policy) -> Contract {
        match (self.is_cut(), policy) {
            (false, _) | (true, Policy::Always) => Contract::All,
            (true, Policy::Everysec) => Contract::OlderThan(EVERYSEC_AGE_MAX),
            (true, Policy::No) => Contract::Prefix,
        }
    }

    /// How long the clients write before it, at least and at most.
    pub(crate) fn load(self, policy: Policy) -> (Duration, Duration) {
        let (least, most) = match (self, policy) {
            // Long enough that there is something older than what everysec may lose.
            (
                Fault::PowerCut | Fault::PowerCutExt4 | Fault::PowerCutXfs | Fault::PowerCutReordered,
                Policy::Everysec,
            ) => (100, 3000),
            (Fault::PowerCutExt4 | Fault::PowerCutXfs, _) => (50, 500),
            (Fault::PowerCut | Fault::PowerCutReordered, _) => (10, 300),
            (Fault::SlowSync | Fault::SlowCut, _) => (300, 2500),
            _ => (5, 250),
        };
        (Duration::from_millis(least), Duration::from_millis(most))
    }
}

/// The longest age of an acknowledged write that `everysec` may lose while the disk does not stall: a second until the next flush, and one
/// for it. A server that holds its replies back does so from this age on.
pub(crate) const EVERYSEC_AGE_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_faults_and_names_are_unique() {
        for (at, row) in FAULTS.iter().enumerate() {
            assert_eq!(row.fault as usize, at, "{}", row.name);
            assert_eq!(FAULTS.iter().filter(|other| other.name == row.name || other.group == row.name).count(), 1);
            assert_eq!(parse(row.name), Ok(vec![row.fault]));
        }
        assert!(parse("nonsense").unwrap_err().contains("eio-restart-cut"));
        assert_eq!(parse("all").unwrap().len(), FAULTS.len());
    }
}

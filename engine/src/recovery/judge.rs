//! What recovery does, as a pure function of what was found: open (with what, up to where), or refuse (why, and what to do).
//!
//! Let D be the highest LSN that anything found states as durable, E the next LSN that replay expects.
//!
//! | found | verdict |
//! | --- | --- |
//! | broken or missing bytes at E, D < E | open with E - 1; what follows is set aside, even whole segments |
//! | broken or missing bytes at E, D >= E | refuse: damaged |
//! | broken bytes that a snapshot covers | open, with a warning |
//! | the last segment's header broken, not the first of its epoch, its predecessor not sealed, D < E | open: it was being made; set aside |
//! | a segment's header never written (nothing there, or zeros), and the snapshot was begun in a later epoch, D < E | open, with a warning: the log never went on in that segment after the snapshot; set aside if it is the last |
//! | a segment's header broken otherwise | refuse: damaged |
//! | frames of an older epoch at or above the first LSN of a newer one | superseded: not part of history |
//! | a sealed segment without successor (of its epoch, or the one that an open or a rescue began); LSNs missing between segments or before the first | refuse: a file is missing |
//! | a file of another store; renamed; of a newer format | refuse, naming it |
//! | an unanchored segment without the snapshot that anchors it | left out with all behind it (refuse if that snapshot is broken) |
//! | a snapshot that does not verify | an older one and the log, with a warning; D is at least its LSN, so refuse if they do not reach it |
//! | a store's identity, and nothing else | refuse: the store vanished |
//! | a snapshot beside which a log was on, and not one segment | refuse: the log vanished |
//! | a read error | refuse: the disk |
//!
//! ```no_run
//! # use firn_engine::{disk::{Disk, OpenMode}, format::StoreId, log::{Lsn, reader::SegmentReader}};
//! # use firn_engine::log::chain::{chain, needed};
//! # use firn_engine::recovery::judge::{judge, Found, SegmentFound, Verdict};
//! # fn recover(disk: &dyn Disk, names: &[(Lsn, u64, String)], snapshot: Option<Lsn>, store: StoreId) {
//! let links = chain(&names.iter().map(|(first, epoch, _)| (*first, *epoch)).collect::<Vec<_>>());
//! let segments = needed(&links, snapshot).iter().map(|link| {
//!     let name = names[link.index].2.clone();
//!     let file = disk.open(&name, OpenMode::Read).unwrap();
//!     let scan = SegmentReader::open(&*file, link.first, link.epoch, Some(store))
//!         .and_then(|reader| reader.until(link.until).covered(snapshot.unwrap_or(0)).scan());
//!     SegmentFound { name, first: link.first, epoch: link.epoch, scan }
//! }).collect();
//! let found = Found { snapshot, identity: true, segments, ..Found::default() };
//! match judge(&found) {
//!     Verdict::Open(plan) => println!("records up to {}", plan.next - 1),
//!     Verdict::Refuse(refusal) => println!("{refusal}"),
//! }
//! # }
//! ```

use crate::format::BadHeader;
use crate::log::Lsn;
use crate::log::frame::BadFrame;
use crate::log::reader::{End, ReadFailure, Scan};
use std::fmt;

/// One needed segment and what reading it gave.
#[derive(Debug)]
pub struct SegmentFound {
    /// Its name.
    pub name: String,
    /// First LSN, from its name.
    pub first: Lsn,
    /// Epoch, from its name.
    pub epoch: u64,
    /// What reading it gave (`until` its [`Link::until`], `covered` by the snapshot).
    pub scan: Result<Scan, ReadFailure>,
}

/// All that recovery looked at.
#[derive(Debug, Default)]
pub struct Found {
    /// LSN of the newest snapshot that verifies.
    pub snapshot: Option<Lsn>,
    /// The epoch in which that snapshot was begun: what epochs before it have logged is in it.
    pub snapshot_epoch: u64,
    /// LSNs of newer snapshots that do not.
    pub broken_snapshots: Vec<Lsn>,
    /// The highest LSN that a snapshot states as durable.
    pub durable: Lsn,
    /// Whether a log was on when that snapshot was made: then there is at least the segment that goes on behind it.
    pub has_log: bool,
    /// Whether the folder has a store's identity.
    pub identity: bool,
    /// The [`needed`] segments, in that order.
    pub segments: Vec<SegmentFound>,
}

/// What to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The store can be opened.
    Open(Plan),
    /// It cannot, without losing what was promised or guessing.
    Refuse(Refusal),
}

/// How to open.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Records to replay, in order: the segment's index in [`Found::segments`], and the LSNs.
    pub replay: Vec<Replay>,
    /// The next LSN: the state is exactly that of `next - 1`.
    pub next: Lsn,
    /// D.
    pub durable: Lsn,
    /// Records from here to `next - 1` go into the new epoch's first segment, which begins with this LSN. `next` if none do.
    pub copy_from: Lsn,
    /// Where those records are.
    pub copy: Vec<Replay>,
    /// Whether that segment is unanchored: the log ends before the snapshot.
    pub unanchored: bool,
    /// The last segment that counts, whose end gets a seal once the new epoch is durable: then the loss of that epoch's file is seen.
    pub seal: Option<Ended>,
    /// What does not count: to be kept as `NAME.torn-<epoch>`, never to be replayed.
    pub set_aside: Vec<SetAside>,
    /// What a person should be told.
    pub warnings: Vec<String>,
}

/// Records of one segment to replay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Replay {
    /// Index in [`Found::segments`].
    pub segment: usize,
    /// First LSN.
    pub from: Lsn,
    /// Last LSN.
    pub to: Lsn,
}

/// Where the log of an older epoch ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    /// Index in [`Found::segments`].
    pub segment: usize,
    /// The end of its last good frame.
    pub offset: u64,
    /// The LSN after its last record.
    pub next: Lsn,
}

/// Bytes that do not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SetAside {
    /// Index in [`Found::segments`].
    pub segment: usize,
    /// Where they begin; they end with the file. 0 for all of it.
    pub offset: u64,
}

/// Why a store cannot be opened, where, and what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}{why}{}; {}", Place(self), State(self), self.why.advice())]
pub struct Refusal {
    /// The file.
    pub file: Option<String>,
    /// Where in it.
    pub offset: Option<u64>,
    /// The record that is wanted next (E).
    pub lsn: Lsn,
    /// The last record known to have been durable (D).
    pub durable: Lsn,
    /// What is wrong.
    pub why: Why,
}

/// What is wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Why {
    /// Bytes that were durable are not what was written.
    #[error("the log is damaged: {0}")]
    Damaged(String),
    /// Records that were durable are not there.
    #[error("the log ends too early: records are missing that were on the device")]
    Missing,
    /// A segment is sealed, and the next is not there.
    #[error(
        "the segment is sealed: the log went on in another, which begins with record {0} or before it, and that one is missing"
    )]
    NoSuccessor(Lsn),
    /// No file has these records.
    #[error("records {0} to {1} are in no file: a segment or a snapshot is missing")]
    Gap(Lsn, Lsn),
    /// Two segments of one epoch hold the same records.
    #[error("it holds records beyond {0}, where the next segment of the same epoch begins")]
    Overlap(Lsn),
    /// A newer release wrote this.
    #[error("{0}")]
    Newer(String),
    /// Not a file of this store, or not under its own name.
    #[error("{0}")]
    Foreign(String),
    /// The snapshot that a segment needs does not verify.
    #[error("the snapshot at {0} does not verify, and no log leads up to it")]
    SnapshotBroken(Lsn),
    /// An identity and no data.
    #[error(
        "the folder says that a store lives here, but its data has vanished: not one segment (log-*.seg) and no snapshot (snap-*.snap) is there"
    )]
    Vanished,
    /// A snapshot, and none of the segments behind it.
    #[error(
        "a log was on when the snapshot was made, and not one segment of it (log-*.seg) is there: everything since record {0} is missing"
    )]
    LogVanished(Lsn),
    /// The disk.
    #[error("the disk could not be read (this says nothing about the file): {0}")]
    Disk(String),
}

impl Why {
    /// The next step.
    pub fn advice(&self) -> &'static str {
        match self {
            Why::Damaged(_) | Why::Missing | Why::Overlap(_) | Why::SnapshotBroken(_) => {
                "nothing was changed. `firn check` shows all that is wrong, `firn repair` keeps what is whole before it, `firn restore` \
                 goes back to a state that is whole"
            }
            Why::NoSuccessor(_) | Why::Gap(..) => {
                "nothing was changed. Put the missing file back, or use `firn restore` for the last state that is whole"
            }
            Why::Newer(_) => "nothing was changed. Start a newer release of Firn",
            Why::Foreign(_) => "nothing was changed. Move the file out of the folder, and the right one back in",
            Why::Vanished => "put the files back, or start anew on purpose with `allow-empty-store yes`",
            Why::LogVanished(_) => {
                "nothing was changed. Put the segments back; `firn repair` makes a store of what the snapshot holds"
            }
            Why::Disk(_) => "look at the disk and the system's log, then start again",
        }
    }
}

struct Place<'a>(&'a Refusal);

impl fmt::Display for Place<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.file, self.0.offset) {
            (Some(file), Some(offset)) => write!(out, "{file}, byte {offset}: "),
            (Some(file), None) => write!(out, "{file}: "),
            _ => Ok(()),
        }
    }
}

struct State<'a>(&'a Refusal);

impl fmt::Display for State<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, " (wanted: record {}; known durable: up to {})", self.0.lsn, self.0.durable)
    }
}

/// The verdict. See the table above.
pub fn judge(found: &Found) -> Verdict {
    match Walk::new(found).and_then(Walk::run) {
        Ok(plan) => Verdict::Open(plan),
        Err(refusal) => Verdict::Refuse(refusal),
    }
}

/// The way along the chain.
struct Walk<'a> {
    found: &'a Found,
    /// Segments that count, with their scans: up to the first that is not anchored.
    segments: Vec<(&'a SegmentFound, &'a Scan)>,
    plan: Plan,
    /// The LSN behind the last record of the log that is there without a gap.
    log_next: Lsn,
    /// All records of the segments taken so far, whether a snapshot has them or not.
    whole: Vec<Replay>,
}

impl<'a> Walk<'a> {
    fn new(found: &'a Found) -> Result<Walk<'a>, Refusal> {
        let next = found.snapshot.unwrap_or(0) + 1;
        // A snapshot gets its name when it is durable, and with it all that it holds.
        let snapshots = found.broken_snapshots.iter().chain(&found.snapshot);
        let durable = snapshots.copied().fold(found.durable, Lsn::max);
        let plan = Plan { next, durable, ..Plan::default() };
        let mut walk = Walk { found, segments: Vec::new(), plan, log_next: 0, whole: Vec::new() };
        let nothing = found.segments.is_empty() && found.snapshot.is_none() && found.broken_snapshots.is_empty();
        if nothing && found.identity {
            return Err(walk.refuse(None, None, Why::Vanished));
        }
        if found.segments.is_empty() && found.has_log {
            return Err(walk.refuse(None, None, Why::LogVanished(next)));
        }
        for segment in &found.segments {
            let scan = match &segment.scan {
                Ok(scan) => scan,
                Err(ReadFailure { offset, source }) => {
                    return Err(walk.refuse(Some(segment), Some(*offset), Why::Disk(source.to_string())));
                }
            };
            let unanchored = scan.header.as_ref().is_some_and(|header| header.unanchored());
            if unanchored && segment.first > next {
                if let Some(&broken) = found.broken_snapshots.iter().find(|&&lsn| lsn + 1 >= segment.first) {
                    return Err(walk.refuse(Some(segment), None, Why::SnapshotBroken(broken)));
                }
                walk.plan.warnings.push(format!(
                    "{}: the log was turned on at record {} but no snapshot was finished since; it does not count",
                    segment.name, segment.first
                ));
                let rest = walk.segments.len()..found.segments.len();
                walk.plan.set_aside.extend(rest.map(|segment| SetAside { segment, offset: 0 }));
                break;
            }
            walk.plan.durable = walk.plan.durable.max(scan.durable);
            walk.segments.push((segment, scan));
        }
        Ok(walk)
    }

    fn refuse(&self, segment: Option<&SegmentFound>, offset: Option<u64>, why: Why) -> Refusal {
        let (lsn, durable) = (self.plan.next, self.plan.durable);
        Refusal { file: segment.map(|segment| segment.name.clone()), offset, lsn, durable, why }
    }

    fn run(mut self) -> Result<Plan, Refusal> {
        if let Some((segment, _)) = self.segments.first()
            && segment.first > self.plan.next
        {
            let broken = self.found.broken_snapshots.iter().find(|&&lsn| lsn + 1 >= segment.first);
            let gap = Why::Gap(self.plan.next, segment.first - 1);
            return Err(self.refuse(Some(segment), None, broken.map_or(gap, |&lsn| Why::SnapshotBroken(lsn))));
        }
        let mut at = 0;
        while at < self.segments.len() && self.step(at)? {
            at += 1;
        }
        if self.segments.is_empty() && self.plan.durable >= self.plan.next {
            let why = match self.only_snapshots_say_so() {
                true => Why::SnapshotBroken(self.plan.durable),
                false => Why::Gap(self.plan.next, self.plan.durable),
            };
            return Err(self.refuse(None, None, why));
        }
        Ok(self.finish())
    }

    /// Takes one segment; says whether history goes on behind it.
    fn step(&mut self, at: usize) -> Result<bool, Refusal> {
        let (segment, scan) = self.segments[at];
        let successor = self.segments.get(at + 1).map(|(next, _)| *next);
        let fail = |walk: &Self, why| Err(walk.refuse(Some(segment), Some(scan.offset), why));
        match &scan.end {
            End::BadHeader(bad @ BadHeader::Newer { .. }) => return fail(self, Why::Newer(bad.to_string())),
            End::BadHeader(bad @ (BadHeader::OtherStore { .. } | BadHeader::OtherName { .. })) => {
                return fail(self, Why::Foreign(bad.to_string()));
            }
            // A failed disk lost what was not durable yet, and the snapshot that the next epoch made has it.
            End::BadHeader(bad) if bad.is_blank() && self.is_replaced(at) => {
                self.plan
                    .warnings
                    .push(format!("{}: {bad}; a snapshot of a later epoch has all that was ever in it", segment.name));
                if successor.is_some() {
                    return Ok(true);
                }
                self.set_aside(at, 0);
                return Ok(false);
            }
            // A segment's header is durable before the next segment is made, and before anything in it is called durable.
            End::BadHeader(bad)
                if successor.is_some() || self.plan.durable >= self.plan.next || !self.in_the_making(at) =>
            {
                return fail(self, Why::Damaged(bad.to_string()));
            }
            End::BadHeader(_) => {
                // Made when the log had come to its first LSN, and nothing in it ever counted.
                self.log_next = self.log_next.max(segment.first);
                self.set_aside(at, 0);
                return Ok(false);
            }
            End::Broken(bad @ BadFrame::Newer(_)) => return fail(self, Why::Newer(bad.to_string())),
            _ => {}
        }
        self.warn(segment, scan);
        let from = self.plan.next.max(segment.first);
        if scan.next > from {
            self.plan.replay.push(Replay { segment: at, from, to: scan.next - 1 });
        }
        if scan.next > segment.first {
            self.whole.push(Replay { segment: at, from: segment.first, to: scan.next - 1 });
        }
        self.plan.next = self.plan.next.max(scan.next);
        self.log_next = scan.next;
        let Some(successor) = successor else {
            return match &scan.end {
                End::Sealed { .. } => fail(self, Why::NoSuccessor(scan.next)),
                _ => self.tail(at, fail),
            };
        };
        if successor.first < scan.next {
            return fail(self, Why::Overlap(successor.first));
        }
        if successor.first <= self.plan.next {
            return Ok(true);
        }
        match &scan.end {
            End::Sealed { .. } => fail(self, Why::NoSuccessor(scan.next)),
            _ => self.tail(at, fail),
        }
    }

    /// Whether the snapshot has whatever segment `at` held: epochs do not go back, so a log that was in a later one when the snapshot was
    /// begun had written all of this before. What lies behind it must go on without a gap all the same.
    fn is_replaced(&self, at: usize) -> bool {
        let has_gap = self.segments.get(at + 1).is_some_and(|(next, _)| next.first > self.plan.next);
        self.segments[at].0.epoch < self.found.snapshot_epoch && self.plan.durable < self.plan.next && !has_gap
    }

    /// Whether segment `at` may have its name without its header: not the first of an epoch, which gets its name when all of it is
    /// durable, and not the successor of a sealed segment, which is sealed only when its successor is durable.
    fn in_the_making(&self, at: usize) -> bool {
        let Some((before, scan)) = at.checked_sub(1).map(|before| self.segments[before]) else { return false };
        before.epoch == self.segments[at].0.epoch && !matches!(scan.end, End::Sealed { .. })
    }

    /// Whether D comes from a snapshot that does not verify: it was durable, so what it held was.
    fn only_snapshots_say_so(&self) -> bool {
        let stated = self.segments.iter().map(|(_, scan)| scan.durable).max().unwrap_or(0).max(self.found.durable);
        stated < self.plan.next && self.found.broken_snapshots.iter().any(|&lsn| lsn >= self.plan.next)
    }

    /// History ends within this segment: torn, or damaged?
    fn tail(&mut self, at: usize, fail: impl Fn(&Self, Why) -> Result<bool, Refusal>) -> Result<bool, Refusal> {
        let (_, scan) = self.segments[at];
        if self.plan.durable >= self.plan.next {
            return match &scan.end {
                _ if self.only_snapshots_say_so() => fail(self, Why::SnapshotBroken(self.plan.durable)),
                End::Broken(bad) => fail(self, Why::Damaged(bad.to_string())),
                _ => fail(self, Why::Missing),
            };
        }
        self.set_aside(at, if matches!(scan.end, End::Broken(_)) { scan.offset } else { scan.len });
        Ok(false)
    }

    /// What is in segment `at` from `offset` on, and all segments behind it, does not count.
    fn set_aside(&mut self, at: usize, offset: u64) {
        let len = self.segments[at].1.len;
        if offset < len {
            self.plan.set_aside.push(SetAside { segment: at, offset });
        }
        self.plan.set_aside.extend((at + 1..self.segments.len()).map(|segment| SetAside { segment, offset: 0 }));
        self.plan.set_aside.sort_by_key(|aside| aside.segment);
    }

    fn warn(&mut self, segment: &SegmentFound, scan: &Scan) {
        for skipped in &scan.skipped {
            self.plan.warnings.push(format!(
                "{}, bytes {} to {}: {}; the snapshot has what was there (records {} to {})",
                segment.name,
                skipped.offset,
                skipped.to_offset,
                skipped.why,
                skipped.lsn,
                skipped.to_lsn.saturating_sub(1)
            ));
        }
        if let End::Sealed { stray: Some(offset) } = scan.end {
            self.plan.warnings.push(format!("{}: stray bytes behind the seal, at byte {offset}", segment.name));
        }
    }

    fn finish(self) -> Plan {
        let mut plan = self.plan;
        let renamed = |at| plan.set_aside.contains(&SetAside { segment: at, offset: 0 });
        let last = self.segments.iter().enumerate().rev().find(|(at, _)| !renamed(*at));
        // What lies behind such an end is nothing, or set aside.
        let last = last.filter(|(_, (_, scan))| matches!(scan.end, End::Clean | End::Broken(_)));
        plan.seal = last.map(|(segment, (_, scan))| Ended { segment, offset: scan.offset, next: scan.next });
        if self.log_next < plan.next {
            // The log ends before the snapshot (or there is none): what the new one begins with stands on the snapshot alone.
            plan.copy_from = plan.next;
            plan.unanchored = self.found.snapshot.is_some();
        } else {
            // Copied is what the log has without a gap up to its end: also records that a snapshot has, in case that rots.
            let mut whole_from = plan.next;
            for part in self.whole.iter().rev() {
                if part.to + 1 != whole_from {
                    break;
                }
                whole_from = part.from;
            }
            let skipped = self.segments.iter().flat_map(|(_, scan)| &scan.skipped).map(|skipped| skipped.to_lsn);
            let whole_from = skipped.fold(whole_from, Lsn::max).min(plan.next);
            plan.copy_from = (plan.durable + 1).clamp(whole_from, plan.next);
            let copied = self.whole.iter().filter(|part| part.to >= plan.copy_from);
            plan.copy = copied.map(|part| Replay { from: part.from.max(plan.copy_from), ..*part }).collect();
        }
        plan
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;

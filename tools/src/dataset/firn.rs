//! Firn's own files as datasets: a snapshot is a base, the log behind it a tail.
//!
//! A state without a moment is the one that a start would give: the newest snapshot whose every block verifies, and the records behind it as far
//! as recovery would replay them. A state at a moment needs a snapshot at or before it and every record between.

use super::firn_tail::FirnTail;
use super::{Base, Damages, StateInfo, Visit};
use crate::ToolError;
use crate::folder::{self, snapshot_finding};
use crate::moment::Moment;
use crate::target::unreadable;
use crate::text;
use firn_engine::disk::{Disk, OpenMode};
use firn_engine::key::HashSeed;
use firn_engine::keyspace::libraries::Libraries;
use firn_engine::log::Lsn;
use firn_engine::log::chain::{Link, chain, needed};
use firn_engine::log::reader::{End, ReadFailure, Scan, SegmentReader};
use firn_engine::log::segment::Identity;
use firn_engine::recovery::judge::{Found, SegmentFound, Verdict, judge};
use firn_engine::recovery::survey::Survey;
use firn_engine::snapshot::reader::{BlockBuffer, SnapshotReader};
use firn_engine::snapshot::{LIBRARY_AUX, SnapshotError};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// What an error of a snapshot is for the one who runs the tool.
pub(crate) fn snapshot_error(error: &SnapshotError) -> ToolError {
    if error.is_damage() { ToolError::Damage(error.to_string()) } else { ToolError::Unreadable(error.to_string()) }
}

/// The libraries that a snapshot holds.
pub(crate) fn libraries_of(reader: &SnapshotReader) -> Libraries {
    let mut libraries = Libraries::default();
    for pair in reader.aux().iter().filter(|pair| pair.name == LIBRARY_AUX.as_bytes()) {
        // A snapshot is loaded only if all of its libraries are right; here the others are shown all the same.
        let _ = libraries.load(&pair.value);
    }
    libraries
}

/// A snapshot, or nothing: the base of a store that has none.
pub(crate) struct SnapshotBase {
    reader: Option<SnapshotReader>,
    seed: HashSeed,
}

impl SnapshotBase {
    /// Of an open snapshot.
    pub(crate) fn new(reader: SnapshotReader) -> SnapshotBase {
        SnapshotBase { seed: reader.hash_seed(), reader: Some(reader) }
    }

    /// No entries, where positions do not matter.
    pub(crate) fn none() -> SnapshotBase {
        SnapshotBase { reader: None, seed: HashSeed([0; 16]) }
    }

    /// The reader, if there is a snapshot.
    pub(crate) fn reader(&self) -> Option<&SnapshotReader> {
        self.reader.as_ref()
    }

    /// The reader itself.
    pub(crate) fn into_reader(self) -> Option<SnapshotReader> {
        self.reader
    }

    /// LSN and time.
    pub(crate) fn info(&self) -> StateInfo {
        let header = self.reader.as_ref().map(SnapshotReader::header);
        StateInfo {
            lsn: Some(header.map_or(0, |header| header.number)),
            time_ms: header.map(|header| header.created_ms),
            ordered: Some(self.seed),
            libraries: Libraries::default(),
        }
    }

    /// Visits all entries block by block; what is damaged is reported and left out.
    pub(crate) fn lenient_visit(&self, damages: &Damages, visit: &mut Visit<'_>) -> Result<(), ToolError> {
        let Some(reader) = &self.reader else { return Ok(()) };
        let bar = text::progress(reader.footer().file_len, "reading");
        let mut buffer = BlockBuffer::default();
        let mut result = Ok(());
        for row in reader.rows().iter().filter(|row| row.info.kind.is_data()) {
            let visited = reader.visit_block(row, &mut buffer, |position, entry| {
                if result.is_ok() {
                    result = visit(row.info.db as usize, position, &entry);
                }
            });
            result?;
            result = Ok(());
            if let Err(error) = visited {
                let mut finding = snapshot_finding(reader.name(), &error);
                finding.message.push_str(&format!(
                    " ({} of database {}, positions {:016x} to {:016x}, are not readable)",
                    text::counted(row.info.count, "entry", "entries"),
                    row.info.db,
                    row.info.first,
                    row.info.last
                ));
                damages.report(finding)?;
            }
            bar.inc(row.end() - row.offset);
        }
        bar.finish_and_clear();
        Ok(())
    }
}

impl Base for SnapshotBase {
    fn seed(&self) -> HashSeed {
        self.seed
    }

    fn is_ordered(&self) -> bool {
        true
    }

    fn snapshot(&self) -> Option<&SnapshotReader> {
        self.reader()
    }

    fn libraries(&self) -> Libraries {
        self.reader.as_ref().map_or_else(Libraries::default, libraries_of)
    }

    fn databases(&self) -> Vec<usize> {
        self.reader.as_ref().map_or_else(Vec::new, |reader| reader.databases().iter().map(|db| *db as usize).collect())
    }

    fn size(&self) -> (u64, u64) {
        let Some(reader) = &self.reader else { return (0, 0) };
        (reader.footer().entries, reader.rows().iter().map(|row| u64::from(row.raw_len)).sum())
    }

    fn visit(&self, db: Option<usize>, range: RangeInclusive<u64>, visit: &mut Visit<'_>) -> Result<(), ToolError> {
        let Some(reader) = &self.reader else { return Ok(()) };
        for number in reader.databases() {
            if db.is_some_and(|db| db != number as usize) {
                continue;
            }
            let mut entries = reader.entries(number, range.clone());
            while let Some((position, entry)) = entries.next().map_err(|error| snapshot_error(&error))? {
                visit(number as usize, position, &entry)?;
            }
        }
        Ok(())
    }
}

/// A Firn store's folder.
pub(crate) struct FirnStore {
    /// The folder.
    pub(crate) disk: Arc<dyn Disk>,
    /// Whose store.
    pub(crate) identity: Identity,
    /// What lies there.
    pub(crate) survey: Survey,
    /// The segments that are history, in order.
    pub(crate) links: Vec<Link>,
}

/// Bytes of a segment that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Stretch {
    /// The segment.
    pub(crate) file: String,
    /// Where they begin.
    pub(crate) offset: u64,
    /// Where frames go on.
    pub(crate) to_offset: u64,
    /// The LSN of the first record in them.
    pub(crate) lsn: Lsn,
    /// The LSN of the record where frames go on.
    pub(crate) to_lsn: Lsn,
    /// The end of the newest segment, of which nobody was promised anything.
    pub(crate) is_torn: bool,
}

/// How far records are there without a gap behind a base.
struct Reach {
    /// The last record's LSN.
    last: Lsn,
    /// Its time.
    time_ms: u64,
}

impl FirnStore {
    /// Looks at names and headers.
    pub(crate) fn open(disk: Arc<dyn Disk>) -> Result<FirnStore, ToolError> {
        let survey = folder::survey(&*disk)?;
        let identity = survey.identity.ok_or_else(|| ToolError::Damage("no file's header can be read".to_owned()))?;
        let names: Vec<_> = survey.segments.iter().map(|(first, epoch, ..)| (*first, *epoch)).collect();
        Ok(FirnStore { links: chain(&names), disk, identity, survey })
    }

    /// Length of all its files.
    pub(crate) fn bytes(&self) -> u64 {
        self.survey.segments.iter().chain(&self.survey.snapshots).map(|(.., len)| len).sum()
    }

    /// Opens a snapshot of it.
    pub(crate) fn snapshot(&self, name: &str) -> Result<SnapshotReader, SnapshotError> {
        SnapshotReader::open(&*self.disk, name, Some(self.identity.store))
    }

    /// The newest snapshot at or before `to` whose every block's checksum is right; what is passed over is reported if `damages` keeps a list.
    fn newest_snapshot(&self, to: Lsn, damages: &Damages) -> Result<(SnapshotBase, Vec<Lsn>), ToolError> {
        let mut broken = Vec::new();
        for (lsn, _, name, _) in self.survey.snapshots.iter().filter(|(lsn, ..)| *lsn <= to) {
            let opened = self.snapshot(name).and_then(|reader| {
                let mut buffer = BlockBuffer::default();
                let bar = text::progress(reader.footer().file_len, "verifying the snapshot");
                for row in reader.rows() {
                    reader.read_block(row, &mut buffer)?;
                    bar.inc(row.end() - row.offset);
                }
                bar.finish_and_clear();
                Ok(reader)
            });
            match opened {
                Ok(reader) => return Ok((SnapshotBase::new(reader), broken)),
                Err(error) if error.is_damage() => {
                    broken.push(*lsn);
                    if damages.is_lenient() {
                        damages.report(snapshot_finding(name, &error))?;
                    }
                }
                Err(error) => return Err(snapshot_error(&error)),
            }
        }
        Ok((SnapshotBase { reader: None, seed: self.identity.hash_seed }, broken))
    }

    /// Base and tail of all that can still be told: from the first moment that is left to the newest.
    pub(crate) fn oldest<'s>(&'s self, damages: &'s Damages) -> Result<(SnapshotBase, FirnTail<'s>), ToolError> {
        let (base, covered) = match self.survey.snapshots.last() {
            Some((lsn, _, name, _)) if self.links.first().is_none_or(|link| link.first > 1) => {
                (SnapshotBase::new(self.snapshot(name).map_err(|error| snapshot_error(&error))?), *lsn)
            }
            _ => (SnapshotBase { reader: None, seed: self.identity.hash_seed }, 0),
        };
        Ok((base, FirnTail { store: self, covered, from: covered + 1, to: Lsn::MAX, damages }))
    }

    /// [`FirnStore::at`] for a few keys: the snapshot's other blocks are not verified.
    pub(crate) fn at_for_keys<'s>(
        &'s self,
        to: Option<Moment>,
        damages: &'s Damages,
    ) -> Result<(SnapshotBase, FirnTail<'s>, Lsn), ToolError> {
        let limit = match to {
            None => Lsn::MAX,
            Some(Moment::Lsn(lsn)) => lsn,
            Some(Moment::Time(ms)) => self.lsn_at(ms)?,
        };
        let newest = self.survey.snapshots.iter().find(|(lsn, ..)| *lsn <= limit);
        let (base, covered) = match newest {
            Some((lsn, _, name, _)) => {
                (SnapshotBase::new(self.snapshot(name).map_err(|error| snapshot_error(&error))?), *lsn)
            }
            None => (SnapshotBase { reader: None, seed: self.identity.hash_seed }, 0),
        };
        let reach = self.reach(covered, limit, damages)?;
        if to.is_some() && reach.last < limit {
            return Err(self.never_at(reach.last, limit));
        }
        Ok((base, FirnTail { store: self, covered, from: covered + 1, to: reach.last, damages }, reach.last))
    }

    /// The newest snapshot whose every block verifies.
    pub(crate) fn whole_snapshot(&self, damages: &Damages) -> Result<SnapshotBase, ToolError> {
        self.newest_snapshot(Lsn::MAX, damages).map(|(base, _)| base)
    }

    /// The records behind `covered` as far as there are any, the last one's LSN and time. Damage is left out if `damages` allows it.
    pub(crate) fn tail_behind<'s>(
        &'s self,
        covered: Lsn,
        damages: &'s Damages,
    ) -> Result<(FirnTail<'s>, Lsn, u64), ToolError> {
        let reach = self.reach(covered, Lsn::MAX, damages)?;
        // To the end, so that what is wrong with it is told.
        Ok((FirnTail { store: self, covered, from: covered + 1, to: Lsn::MAX, damages }, reach.last, reach.time_ms))
    }

    /// All records that can be read, in order.
    pub(crate) fn all_records<'s>(&'s self, damages: &'s Damages) -> FirnTail<'s> {
        FirnTail { store: self, covered: 0, from: 0, to: Lsn::MAX, damages }
    }

    /// Stretches of the segments that cannot be read, torn tails included.
    pub(crate) fn damaged_stretches(&self) -> Result<Vec<Stretch>, ToolError> {
        let mut stretches = Vec::new();
        for (at, link) in self.links.iter().enumerate() {
            let name = &self.survey.segments[link.index].2;
            let scan =
                self.reader(link, Lsn::MAX, |reader| reader.scan()).map_err(|failure| read_failed(name, &failure))?;
            for skipped in &scan.skipped {
                stretches.push(Stretch {
                    file: name.clone(),
                    offset: skipped.offset,
                    to_offset: skipped.to_offset,
                    lsn: skipped.lsn,
                    to_lsn: skipped.to_lsn,
                    is_torn: false,
                });
            }
            if matches!(scan.end, End::Broken(_)) && scan.offset < scan.len {
                stretches.push(Stretch {
                    file: name.clone(),
                    offset: scan.offset,
                    to_offset: scan.len,
                    lsn: scan.next,
                    // What a later segment holds is known to come behind.
                    to_lsn: self.links.get(at + 1).map_or(Lsn::MAX, |next| next.first),
                    is_torn: at + 1 == self.links.len() && scan.durable < scan.next,
                });
            }
        }
        Ok(stretches)
    }

    fn never_at(&self, last: Lsn, limit: Lsn) -> ToolError {
        ToolError::Usage(format!(
            "the last record of {} is LSN {last}: it has never been at LSN {limit}",
            self.disk.describe()
        ))
    }

    /// Base and tail of the state at `to`.
    pub(crate) fn at<'s>(
        &'s self,
        to: Option<Moment>,
        damages: &'s Damages,
    ) -> Result<(SnapshotBase, FirnTail<'s>, StateInfo), ToolError> {
        let limit = match to {
            None => Lsn::MAX,
            Some(Moment::Lsn(lsn)) => lsn,
            Some(Moment::Time(ms)) => self.lsn_at(ms)?,
        };
        let (base, broken) = self.newest_snapshot(limit, damages)?;
        let covered = base.info().lsn.unwrap_or(0);
        let reach = match to {
            None if !damages.is_lenient() => self.recovered(&base, covered, broken)?,
            _ => self.reach(covered, limit, damages)?,
        };
        if to.is_some() && reach.last < limit {
            return Err(self.never_at(reach.last, limit));
        }
        let time_ms = if reach.last > covered { Some(reach.time_ms) } else { base.info().time_ms };
        let info = StateInfo {
            lsn: Some(reach.last),
            time_ms,
            ordered: Some(self.identity.hash_seed),
            libraries: Libraries::default(),
        };
        Ok((base, FirnTail { store: self, covered, from: covered + 1, to: reach.last, damages }, info))
    }

    /// What recovery would replay.
    fn recovered(&self, base: &SnapshotBase, covered: Lsn, broken: Vec<Lsn>) -> Result<Reach, ToolError> {
        let snapshot = base.reader().map(|_| covered);
        let durable = base.reader().map_or(0, |reader| reader.header().durable.max(reader.footer().durable));
        let mut time_ms = 0;
        let mut links = needed(&self.links, snapshot);
        let mut segments = Vec::new();
        let scan = |link: &Link| self.reader(link, covered, |reader| reader.scan());
        for link in links {
            segments.push(self.found(link, scan(link)));
        }
        // Whether a header may be missing is told by the segment before.
        while let [SegmentFound { scan: Ok(Scan { end: End::BadHeader(_), .. }), .. }, ..] = &segments[..]
            && links.len() < self.links.len()
        {
            links = &self.links[self.links.len() - links.len() - 1..];
            segments.insert(0, self.found(&links[0], scan(&links[0])));
        }
        for segment in &segments {
            time_ms = segment.scan.as_ref().map_or(time_ms, |scan| scan.last_time_ms.max(time_ms));
        }
        let identity = self.survey.has_store || self.survey.bad_store.is_some();
        let has_log = base.reader().is_some_and(SnapshotReader::has_log);
        let snapshot_epoch = base.reader().map_or(0, |reader| reader.header().epoch);
        match judge(&Found { snapshot, snapshot_epoch, broken_snapshots: broken, durable, has_log, identity, segments })
        {
            Verdict::Open(plan) => Ok(Reach { last: plan.next - 1, time_ms }),
            Verdict::Refuse(refusal) => Err(ToolError::Damage(refusal.to_string())),
        }
    }

    fn found(&self, link: &Link, scan: Result<Scan, ReadFailure>) -> SegmentFound {
        let name = self.survey.segments[link.index].2.clone();
        SegmentFound { name, first: link.first, epoch: link.epoch, scan }
    }

    fn reader<T>(
        &self,
        link: &Link,
        covered: Lsn,
        read: impl FnOnce(SegmentReader<'_>) -> Result<T, ReadFailure>,
    ) -> Result<T, ReadFailure> {
        let name = &self.survey.segments[link.index].2;
        let file = self.disk.open(name, OpenMode::Read).map_err(|source| ReadFailure { offset: 0, source })?;
        read(
            SegmentReader::open(&*file, link.first, link.epoch, Some(self.identity.store))?
                .until(link.until)
                .covered(covered),
        )
    }

    /// How far the records behind `covered` go, without a gap unless damage is left out; at most to `limit`.
    fn reach(&self, covered: Lsn, limit: Lsn, damages: &Damages) -> Result<Reach, ToolError> {
        let mut reach = Reach { last: covered, time_ms: 0 };
        let skip = if damages.is_lenient() { Lsn::MAX } else { covered };
        for link in needed(&self.links, Some(covered)) {
            if reach.last >= limit {
                break;
            }
            if link.first > reach.last + 1 && !damages.is_lenient() {
                let missing = format!("records {} to {} are in no file", reach.last + 1, link.first - 1);
                return Err(match covered {
                    0 => ToolError::Usage(format!(
                        "{missing}, and no snapshot stands in for them: the first moment that is left is {}",
                        self.first_moment().map_or("none".to_owned(), |lsn| format!("LSN {lsn}"))
                    )),
                    _ => ToolError::Damage(missing),
                });
            }
            let name = &self.survey.segments[link.index].2;
            let scan = self.reader(link, skip, |mut reader| {
                while let Some(frame) = reader.next_frame()? {
                    if frame.header.is_data() && frame.header.first <= limit {
                        reach.time_ms = frame.header.time_ms;
                        reach.last = reach.last.max((frame.header.next() - 1).min(limit).min(link.until - 1));
                    }
                    if frame.header.next() > limit {
                        break;
                    }
                }
                Ok(reader.into_scan())
            });
            let scan = scan.map_err(|failure| read_failed(name, &failure))?;
            if let (End::Broken(why), false) = (&scan.end, damages.is_lenient())
                && reach.last < limit
                && limit != Lsn::MAX
            {
                return Err(ToolError::Damage(format!("{name} at byte {}, LSN {}: {why}", scan.offset, scan.next)));
            }
        }
        if covered == 0 && reach.last == 0 && limit > 0 && limit != Lsn::MAX {
            let first = self.first_moment().map_or("none".to_owned(), |lsn| format!("LSN {lsn}"));
            return Err(ToolError::Usage(format!(
                "the store does not reach back to LSN {limit}: the first moment that is left is {first}"
            )));
        }
        Ok(reach)
    }

    /// The earliest LSN whose state can still be made.
    fn first_moment(&self) -> Option<Lsn> {
        if self.links.first().is_some_and(|link| link.first == 1) {
            return Some(0);
        }
        self.survey.snapshots.last().map(|(lsn, ..)| *lsn)
    }

    /// The LSN of the last record before the first one that is later than `ms`.
    pub(crate) fn lsn_at(&self, ms: u64) -> Result<Lsn, ToolError> {
        let (mut last, mut began_before): (Option<Lsn>, bool) = (None, false);
        for link in &self.links {
            let name = &self.survey.segments[link.index].2;
            let mut later = false;
            let scanned = self.reader(link, Lsn::MAX, |mut reader| {
                while let Some(frame) = reader.next_frame()? {
                    if !frame.header.is_data() {
                        continue;
                    }
                    last.get_or_insert(frame.header.first - 1);
                    if frame.header.time_ms > ms {
                        later = true;
                        break;
                    }
                    for record in frame.records().flatten() {
                        if record.time_ms > ms {
                            later = true;
                            break;
                        }
                        (last, began_before) = (Some(record.lsn.min(link.until - 1)), true);
                    }
                }
                Ok(())
            });
            scanned.map_err(|failure| read_failed(name, &failure))?;
            if later {
                break;
            }
        }
        if let Some(lsn) = last
            && (began_before || lsn == 0)
        {
            return Ok(lsn);
        }
        // Snapshots say when their state was: that counts where the log no longer reaches back.
        let made = |name: &str| self.snapshot(name).is_ok_and(|reader| reader.header().created_ms <= ms);
        let older = self.survey.snapshots.iter().find(|(_, _, name, _)| made(name));
        older.map(|(lsn, ..)| *lsn).ok_or_else(|| {
            ToolError::Usage(format!(
                "the store does not reach back to {}: firn inspect shows how far it does",
                text::time(ms)
            ))
        })
    }
}

pub(super) fn read_failed(name: &str, failure: &ReadFailure) -> ToolError {
    unreadable(&format!("{name} at byte {}", failure.offset))(std::io::Error::new(
        failure.source.kind(),
        failure.source.to_string(),
    ))
}

//! The records of a store, or of one segment, as a tail of changes. What is damaged, or missing between segments, is told; with a list of damages it is
//! left out frame by frame, and what is lost without a name is counted.

use super::change::Change;
use super::firn::{FirnStore, read_failed};
use super::{Damages, Loss, Tail, VisitChange};
use crate::ToolError;
use crate::folder::{self, Finding, Severity};
use crate::target::unreadable;
use crate::text;
use firn_engine::disk::{Disk, OpenMode};
use firn_engine::format::StoreId;
use firn_engine::log::Lsn;
use firn_engine::log::chain::needed;
use firn_engine::log::reader::{End, Scan, SegmentReader};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Records `from` to `to` of a store.
pub(crate) struct FirnTail<'s> {
    pub(super) store: &'s FirnStore,
    pub(super) covered: Lsn,
    pub(super) from: Lsn,
    pub(super) to: Lsn,
    pub(super) damages: &'s Damages,
}

impl Tail for FirnTail<'_> {
    fn visit(&self, visit: &mut VisitChange<'_>) -> Result<(), ToolError> {
        if self.to < self.from {
            return Ok(());
        }
        let links = needed(&self.store.links, Some(self.from.saturating_sub(1)));
        let mut next = self.from;
        for (at, link) in links.iter().enumerate() {
            if next > self.to {
                break;
            }
            let name = &self.store.survey.segments[link.index].2;
            if self.damages.is_lenient() && next > 0 && link.first > next {
                let (severity, message) = folder::gap(&*self.store.disk, &self.store.survey, next, link.first);
                let file = name.clone();
                self.damages.report(Finding { severity, file, offset: None, lsn: Some(next), message })?;
                if severity == Severity::Damage {
                    // By the LSN it is told apart from what else is lost of this file.
                    self.damages.lose(Loss { from: next, ..Loss::unknown(name.into(), link.first - next) });
                }
            }
            let covered = if self.damages.is_lenient() { Lsn::MAX } else { self.covered };
            let file = self.store.disk.open(name, OpenMode::Read).map_err(unreadable(name))?;
            let opened = SegmentReader::open(&*file, link.first, link.epoch, Some(self.store.identity.store));
            let reader = opened.map_err(|failure| read_failed(name, &failure))?.until(link.until).covered(covered);
            let range = next..=self.to.min(link.until.saturating_sub(1));
            let scan = segment_changes(reader, name, range, self.damages, visit)?;
            report_end(name, &scan, self.to, at + 1 == links.len(), self.damages)?;
            if matches!(scan.end, End::Sealed { .. })
                && at + 1 == links.len()
                && self.damages.is_lenient()
                && self.to == Lsn::MAX
            {
                let message =
                    format!("it is sealed, and the segment that goes on with record {} is not there", scan.next);
                let (severity, file, lsn) = (Severity::Damage, name.clone(), Some(scan.next));
                self.damages.report(Finding { severity, file, offset: None, lsn, message })?;
                self.damages.lose(Loss { from: scan.next, ..Loss::unknown(name.into(), 1) });
            }
            if matches!(scan.end, End::BadHeader(_)) {
                // Nothing of it was read.
                let records = links.get(at + 1).map_or(1, |next| next.first - link.first);
                self.damages.lose(Loss::unknown(name.into(), records));
            }
            next = next.max(scan.next);
        }
        Ok(())
    }
}

/// Visits the changes of one segment whose LSNs are in `range`.
fn segment_changes(
    mut reader: SegmentReader<'_>,
    name: &str,
    range: RangeInclusive<Lsn>,
    damages: &Damages,
    visit: &mut VisitChange<'_>,
) -> Result<Scan, ToolError> {
    while let Some(frame) = reader.next_frame().map_err(|failure| read_failed(name, &failure))? {
        if !frame.header.is_data() || frame.header.next() <= *range.start() {
            continue;
        }
        if frame.header.first > *range.end() {
            break;
        }
        let mut words: Vec<&[u8]> = Vec::new();
        for (lsn, record) in (frame.header.first..).zip(frame.records()) {
            if !range.contains(&lsn) {
                continue;
            }
            let bad = |message: String| Finding {
                severity: Severity::Damage,
                file: name.to_owned(),
                offset: Some(frame.offset),
                lsn: Some(lsn),
                message,
            };
            let mut commands = match record {
                Ok(record) => (record.time_ms, record.commands()),
                Err(error) => {
                    damages.report(bad(error.to_string()))?;
                    damages.lose(Loss { from: frame.offset, ..Loss::unknown(name.into(), 1) });
                    continue;
                }
            };
            loop {
                match commands.1.next(&mut words) {
                    Ok(None) => break,
                    Ok(Some(db)) => visit(&Change {
                        file: name,
                        offset: frame.offset,
                        lsn: Some(lsn),
                        time_ms: Some(commands.0),
                        db,
                        words: &words,
                    })?,
                    Err(error) => {
                        damages.report(bad(error.to_string()))?;
                        damages.lose(Loss { from: frame.offset, ..Loss::unknown(name.into(), 1) });
                        break;
                    }
                }
            }
        }
    }
    Ok(reader.into_scan())
}

/// What is wrong with the end of a segment, and what was passed over.
fn report_end(name: &str, scan: &Scan, to: Lsn, last: bool, damages: &Damages) -> Result<(), ToolError> {
    if damages.is_lenient() {
        for skipped in &scan.skipped {
            let lost = skipped.to_lsn.saturating_sub(skipped.lsn);
            damages.report(Finding {
                severity: Severity::Damage,
                file: name.to_owned(),
                offset: Some(skipped.offset),
                lsn: Some(skipped.lsn),
                message: format!(
                    "{}; bytes up to {} are not readable, {} in them",
                    skipped.why,
                    skipped.to_offset,
                    text::counted(lost, "record", "records")
                ),
            })?;
        }
    }
    let torn_tail = last && scan.durable < scan.next;
    match crate::check::end_finding(name, scan, scan.durable) {
        Some(finding) if to == Lsn::MAX || scan.next <= to => {
            if torn_tail && !damages.is_lenient() {
                Ok(())
            } else {
                damages.report(finding)
            }
        }
        _ => Ok(()),
    }
}

/// One segment by itself.
pub(crate) struct SegmentHistory {
    /// Its folder.
    pub(crate) disk: Arc<dyn Disk>,
    /// Its name.
    pub(crate) name: String,
    /// From its name.
    pub(crate) first: Lsn,
    /// From its name.
    pub(crate) epoch: u64,
}

impl SegmentHistory {
    /// Visits its changes.
    pub(crate) fn visit(&self, damages: &Damages, visit: &mut VisitChange<'_>) -> Result<(), ToolError> {
        let file = self.disk.open(&self.name, OpenMode::Read).map_err(unreadable(&self.name))?;
        let covered = if damages.is_lenient() { Lsn::MAX } else { 0 };
        let store: Option<StoreId> = None;
        let opened = SegmentReader::open(&*file, self.first, self.epoch, store);
        let reader = opened.map_err(|failure| read_failed(&self.name, &failure))?.covered(covered);
        let scan = segment_changes(reader, &self.name, 0..=Lsn::MAX, damages, visit)?;
        report_end(&self.name, &scan, Lsn::MAX, true, damages)
    }
}

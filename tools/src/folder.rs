//! What lies in a store's folder, read as recovery would read it, and what recovery would make of it.

use crate::ToolError;
use crate::dataset::lines::RowFile;
use crate::dataset::redis::RedisFiles;
use crate::target::unreadable;
use crate::text;
use firn_engine::command::table;
use firn_engine::disk::{Disk, OpenMode};
use firn_engine::format::StoreId;
use firn_engine::log::Lsn;
use firn_engine::log::chain::{Link, chain, needed};
use firn_engine::log::reader::{End, ReadFailure, Scan, SegmentReader};
use firn_engine::recovery::OpenError;
use firn_engine::recovery::judge::{Found, SegmentFound, Verdict, judge};
use firn_engine::recovery::survey::Survey;
use firn_engine::snapshot::SnapshotError;
use firn_engine::snapshot::reader::{SnapshotReader, Verified};
use indicatif::ProgressBar;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Severity {
    /// Nothing is lost that anybody was promised.
    Note,
    /// Bytes are wrong or missing.
    Damage,
    /// It could not be read, or not by this release.
    Unreadable,
}

/// Something to tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    pub(crate) file: String,
    pub(crate) offset: Option<u64>,
    pub(crate) lsn: Option<Lsn>,
    pub(crate) message: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}: {}", self.file, crate::check::finding_text(self, false))
    }
}

/// One segment, read to its end.
pub(crate) struct SegmentView {
    pub(crate) name: String,
    pub(crate) first: Lsn,
    pub(crate) epoch: u64,
    pub(crate) len: u64,
    pub(crate) scan: Result<Scan, ReadFailure>,
    pub(crate) records: u64,
    /// How often each command occurs.
    pub(crate) commands: BTreeMap<String, u64>,
    pub(crate) first_time_ms: Option<u64>,
    /// Records that do not decode, or that this release cannot apply.
    pub(crate) findings: Vec<Finding>,
    /// Superseded by newer epochs: no part of history.
    pub(crate) superseded: bool,
}

/// One snapshot.
pub(crate) struct SnapshotView {
    pub(crate) name: String,
    pub(crate) lsn: Lsn,
    pub(crate) epoch: u64,
    pub(crate) len: u64,
    pub(crate) reader: Result<SnapshotReader, SnapshotError>,
    /// What verifying all blocks gave, if that was asked for.
    pub(crate) verified: Option<Verified>,
    pub(crate) findings: Vec<Finding>,
}

impl SnapshotView {
    pub(crate) fn is_whole(&self) -> bool {
        self.reader.is_ok() && self.findings.is_empty()
    }
}

/// A folder and all in it.
pub(crate) struct FolderView {
    pub(crate) survey: Survey,
    pub(crate) segments: Vec<SegmentView>,
    /// The newest first.
    pub(crate) snapshots: Vec<SnapshotView>,
    pub(crate) links: Vec<Link>,
    pub(crate) verdict: Verdict,
    /// The needed segments, as the verdict numbers them: indexes in `segments`.
    pub(crate) needed: Vec<usize>,
    /// The process that has the folder, if it runs.
    pub(crate) in_use_by: Option<u32>,
    /// Files that went away while they were looked at.
    pub(crate) vanished: Vec<String>,
}

/// Opens the folder's list of files.
pub(crate) fn survey(disk: &dyn Disk) -> Result<Survey, ToolError> {
    let survey = Survey::of(disk).map_err(|error| match error {
        OpenError::Io { .. } | OpenError::Refused(_) => ToolError::Unreadable(error.to_string()),
        other => ToolError::Damage(other.to_string()),
    })?;
    if survey.is_new() {
        let folder = disk.describe();
        let found = instead(Path::new(&folder));
        let hint =
            if found.is_empty() { String::new() } else { format!("; give one of what it holds: {}", found.join(", ")) };
        return Err(ToolError::Usage(format!("{folder} holds no Firn store{hint}")));
    }
    Ok(survey)
}

/// What a person may have meant who gave a folder that is no store: data in it, a few at most.
fn instead(folder: &Path) -> Vec<String> {
    const LOOKED_AT_MAX: usize = 1000;
    const SHOWN_MAX: usize = 5;
    let holds = |path: &Path| {
        path.is_dir() && (path.join("STORE").exists() || RedisFiles::has_manifest(path))
            || path.is_file() && (RowFile::at(path).is_some() || matches!(RedisFiles::at(path), Ok(Some(_))))
    };
    let all = std::fs::read_dir(folder).into_iter().flatten().flatten().take(LOOKED_AT_MAX);
    let mut found: Vec<String> =
        all.map(|entry| entry.path()).filter(|path| holds(path)).map(|path| path.display().to_string()).collect();
    found.sort();
    found.truncate(SHOWN_MAX);
    found
}

/// Reads everything in a folder; with `verify` every block of every snapshot too.
pub(crate) fn view(disk: &dyn Disk, verify: bool, bar: &dyn Fn(u64) -> ProgressBar) -> Result<FolderView, ToolError> {
    let survey = survey(disk)?;
    let store = survey.identity.map(|identity| identity.store);
    let snapshots_len: u64 = survey.snapshots.iter().map(|(.., len)| len).sum();
    let segments_len: u64 = survey.segments.iter().map(|(.., len)| len).sum();
    let bar = bar(segments_len + if verify { snapshots_len } else { 0 });
    let mut vanished = Vec::new();

    let mut snapshots = Vec::new();
    for (lsn, epoch, name, len) in &survey.snapshots {
        let (lsn, epoch, len) = (*lsn, *epoch, *len);
        match snapshot(disk, name, store, verify, &bar) {
            Ok((reader, verified, findings)) => {
                snapshots.push(SnapshotView { name: name.clone(), lsn, epoch, len, reader, verified, findings });
            }
            Err(Vanished) => vanished.push(name.clone()),
        }
    }

    let names: Vec<_> = survey.segments.iter().map(|(first, epoch, ..)| (*first, *epoch)).collect();
    let links = chain(&names);
    let mut segments = Vec::new();
    for (at, (first, epoch, name, len)) in survey.segments.iter().enumerate() {
        let link = links.iter().find(|link| link.index == at);
        let until = link.map_or(Lsn::MAX, |link| link.until);
        let mut view = segment(disk, name, *first, *epoch, until, 0, store, &bar)?;
        if matches!(&view.scan, Err(failure) if failure.source.kind() == io::ErrorKind::NotFound) {
            vanished.push(name.clone());
        }
        (view.len, view.superseded) = (*len, link.is_none());
        segments.push(view);
    }
    bar.finish_and_clear();

    let newest_whole = snapshots.iter().position(SnapshotView::is_whole);
    let covered = newest_whole.map(|at| snapshots[at].lsn);
    let needed_links = needed(&links, covered).to_vec();
    let found = Found {
        snapshot: covered,
        snapshot_epoch: newest_whole.map_or(0, |at| snapshots[at].epoch),
        broken_snapshots: snapshots[..newest_whole.unwrap_or(snapshots.len())].iter().map(|view| view.lsn).collect(),
        durable: newest_whole.map_or(0, |at| stated_durable(&snapshots[at])),
        has_log: newest_whole.is_some_and(|at| snapshots[at].reader.as_ref().is_ok_and(SnapshotReader::has_log)),
        identity: survey.has_store || survey.bad_store.is_some(),
        segments: needed_links
            .iter()
            .map(|link| rescan(disk, &segments[link.index], link, covered.unwrap_or(0), store))
            .collect(),
    };
    Ok(FolderView {
        verdict: judge(&found),
        in_use_by: holder(disk),
        needed: needed_links.iter().map(|link| link.index).collect(),
        survey,
        segments,
        snapshots,
        links,
        vanished,
    })
}

fn stated_durable(view: &SnapshotView) -> Lsn {
    view.reader.as_ref().map_or(0, |reader| reader.header().durable.max(reader.footer().durable))
}

/// A scan for the verdict. Only a broken segment is read again: what a snapshot covers is passed over then.
fn rescan(disk: &dyn Disk, view: &SegmentView, link: &Link, covered: Lsn, store: Option<StoreId>) -> SegmentFound {
    let scan = match &view.scan {
        Ok(scan) if !matches!(scan.end, End::Broken(_)) => Ok(scan.clone()),
        Err(failure) => Err(ReadFailure { offset: failure.offset, source: copy_of(&failure.source) }),
        Ok(_) => {
            disk.open(&view.name, OpenMode::Read).map_err(|source| ReadFailure { offset: 0, source }).and_then(|file| {
                SegmentReader::open(&*file, link.first, link.epoch, store)?.until(link.until).covered(covered).scan()
            })
        }
    };
    SegmentFound { name: view.name.clone(), first: link.first, epoch: link.epoch, scan }
}

/// What is to be said of the records from `from` on that no segment holds before the one that begins at `first`. Who turns the log off
/// (`appendonly no`) and on again leaves such a gap, over which a snapshot leads: the segment behind it says so, or the one that an open has
/// copied it from.
pub(crate) fn gap(disk: &dyn Disk, survey: &Survey, from: Lsn, first: Lsn) -> (Severity, String) {
    let unanchored = |(of, epoch, name, _): &(Lsn, u64, String, u64)| {
        let file = disk.open(name, OpenMode::Read).ok()?;
        let header = SegmentReader::open(&*file, *of, *epoch, None).ok()?.into_scan().header?;
        Some(header.unanchored())
    };
    let records = format!("records {from} to {}", first - 1);
    let mut behind = survey.segments.iter().filter(|(of, ..)| *of == first);
    match behind.any(|segment| unanchored(segment) == Some(true)) {
        true => {
            (Severity::Note, format!("{records} were not logged: the log was off, and a snapshot holds what they did"))
        }
        false => (Severity::Damage, format!("{records} are in no file")),
    }
}

fn copy_of(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

/// The file went away: retention of a running server.
struct Vanished;

type SnapshotParts = (Result<SnapshotReader, SnapshotError>, Option<Verified>, Vec<Finding>);

fn snapshot(
    disk: &dyn Disk,
    name: &str,
    store: Option<StoreId>,
    verify: bool,
    bar: &ProgressBar,
) -> Result<SnapshotParts, Vanished> {
    let reader = match SnapshotReader::open(disk, name, store) {
        Ok(reader) => reader,
        Err(SnapshotError::Disk { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Err(Vanished),
        Err(error) => {
            let finding = snapshot_finding(name, &error);
            return Ok((Err(error), None, vec![finding]));
        }
    };
    let (mut verified, mut findings) = (None, Vec::new());
    if verify {
        let (found, problems) = verify_snapshot(&reader, bar);
        (verified, findings) = (found, problems);
    }
    Ok((Ok(reader), verified, findings))
}

/// Verifies all blocks of a snapshot.
pub(crate) fn verify_snapshot(reader: &SnapshotReader, bar: &ProgressBar) -> (Option<Verified>, Vec<Finding>) {
    let mut findings = Vec::new();
    let before = bar.position();
    let verified = reader.verify_all(
        |done| bar.set_position(before + done),
        |row, error| {
            let mut finding = snapshot_finding(reader.name(), &error);
            if row.info.kind.is_data() {
                let keys = text::counted(row.info.count.max(1), "key", "keys");
                finding.message.push_str(&format!("; {keys} of database {} cannot be read", row.info.db));
            }
            findings.push(finding);
        },
    );
    bar.set_position(before + reader.footer().file_len);
    match verified {
        Ok(verified) => (Some(verified), findings),
        Err(error) => {
            findings.push(snapshot_finding(reader.name(), &error));
            (None, findings)
        }
    }
}

/// What an error of a snapshot means.
pub(crate) fn snapshot_finding(name: &str, error: &SnapshotError) -> Finding {
    let (severity, offset, message) = match error {
        SnapshotError::Damaged { offset, why, .. } => (Severity::Damage, Some(*offset), why.to_string()),
        SnapshotError::Disk { offset, doing, source, .. } => {
            (Severity::Unreadable, *offset, format!("the disk failed {doing}: {source}"))
        }
        SnapshotError::Unusable { why, .. } => (Severity::Unreadable, None, why.to_string()),
        SnapshotError::Incomplete { .. } => (Severity::Damage, None, error.to_string()),
    };
    Finding { severity, file: name.to_owned(), offset, lsn: None, message }
}

/// Reads one segment to its end, every frame and every record, over damage that concerns only records up to `covered`.
#[allow(clippy::too_many_arguments)] // Name, numbers and owner of one segment, and how to read it.
pub(crate) fn segment(
    disk: &dyn Disk,
    name: &str,
    first: Lsn,
    epoch: u64,
    until: Lsn,
    covered: Lsn,
    store: Option<StoreId>,
    bar: &ProgressBar,
) -> Result<SegmentView, ToolError> {
    let mut view = SegmentView {
        name: name.to_owned(),
        first,
        epoch,
        len: 0,
        scan: Err(ReadFailure { offset: 0, source: io::ErrorKind::NotFound.into() }),
        records: 0,
        commands: BTreeMap::new(),
        first_time_ms: None,
        findings: Vec::new(),
        superseded: false,
    };
    let file = match disk.open(name, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(view),
        Err(error) => return Err(unreadable(name)(error)),
    };
    let before = bar.position();
    view.scan = SegmentReader::open(&*file, first, epoch, store).and_then(|reader| {
        let mut reader = reader.until(until).covered(covered);
        while let Some(frame) = reader.next_frame()? {
            bar.set_position(before + frame.offset);
            look_at(&frame, until, &mut view);
        }
        Ok(reader.into_scan())
    });
    view.len = view.scan.as_ref().map_or(0, |scan| scan.len);
    bar.set_position(before + view.len);
    Ok(view)
}

fn look_at(frame: &firn_engine::log::reader::Frame<'_>, until: Lsn, view: &mut SegmentView) {
    let mut words = Vec::new();
    for (lsn, record) in (frame.header.first..).zip(frame.records()) {
        if lsn >= until {
            break;
        }
        let mut finding = |severity, message: String| {
            let (file, offset) = (view.name.clone(), Some(frame.offset));
            view.findings.push(Finding { severity, file, offset, lsn: Some(lsn), message });
        };
        match record {
            Ok(record) => {
                view.records += 1;
                view.first_time_ms.get_or_insert(record.time_ms);
                let mut commands = record.commands();
                loop {
                    match commands.next(&mut words) {
                        Ok(None) => break,
                        Ok(Some(_)) => {
                            let name = String::from_utf8_lossy(words[0]).into_owned();
                            if table::find(words[0]).is_none() {
                                let message = format!(
                                    "the record holds '{}', a command that this release does not know",
                                    words[0].escape_ascii()
                                );
                                finding(Severity::Unreadable, message);
                            }
                            *view.commands.entry(name).or_default() += 1;
                        }
                        Err(bad) => {
                            finding(Severity::Damage, bad.to_string());
                            break;
                        }
                    }
                }
            }
            Err(bad) => finding(Severity::Damage, bad.to_string()),
        }
    }
}

/// The process that holds the folder's lock: the kernel's list of locks says so, since a copied folder has a copy of the file too.
fn holder(disk: &dyn Disk) -> Option<u32> {
    let file = disk.open("LOCK", OpenMode::Read).ok()?;
    let mut bytes = [0; 20];
    let read = file.read_at(&mut bytes, 0).ok()?;
    let process: u32 = std::str::from_utf8(&bytes[..read]).ok()?.trim().parse().ok()?;
    let inode = std::fs::metadata(Path::new(&disk.describe()).join("LOCK")).ok()?.ino();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    holds(&locks, process, inode).then_some(process)
}

/// Whether the lines of /proc/locks have a lock of `process` on the file `inode`. A process in another container is number 0 there.
fn holds(locks: &str, process: u32, inode: u64) -> bool {
    locks.lines().any(|line| {
        let mut words = line.split_ascii_whitespace().skip(1).skip_while(|word| *word == "->");
        let (kind, owner, file) = (words.next(), words.nth(2), words.next());
        let owner: Option<u32> = owner.and_then(|owner| owner.parse().ok());
        let file = file.and_then(|file| file.rsplit(':').next()?.parse::<u64>().ok());
        kind == Some("FLOCK") && file == Some(inode) && owner.is_some_and(|owner| owner == process || owner == 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_found_in_the_kernels_list() {
        let locks = "1: FLOCK  ADVISORY  WRITE 4711 fd:01:815 0 EOF\n2: POSIX  ADVISORY  READ 99 fd:01:815 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 0 fd:01:816 0 EOF\n3: -> FLOCK  ADVISORY  WRITE 5 fd:01:817 0 EOF\n";
        assert!(holds(locks, 4711, 815) && holds(locks, 1, 816) && holds(locks, 5, 817));
        assert!(!holds(locks, 4711, 814) && !holds(locks, 99, 815) && !holds("", 1, 1));
    }
}

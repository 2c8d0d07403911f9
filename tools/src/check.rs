//! `firn check`: verifies every byte, and says what a server would do with a folder.
//!
//! A finding is damage if bytes are wrong or missing that somebody was promised or that retention keeps; a torn tail, which a
//! power cut leaves and nobody was promised, is a note.

use crate::dataset::firn::FirnStore;
use crate::folder::{self, Finding, FolderView, SegmentView, Severity, SnapshotView};
use crate::foreign::{self, Foreign};
use crate::repair::{frames_in, realigned, realigned_segment};
use crate::target::{Kind, Target};
use crate::text::{self, Style};
use crate::{Outcome, ToolError};
use firn_engine::disk::Disk;
use firn_engine::log::Lsn;
use firn_engine::log::reader::{End, Scan};
use firn_engine::recovery::judge::{Plan, Verdict};
use firn_engine::snapshot::reader::SnapshotReader;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// All that a check came to.
struct Report {
    /// One line a file: name, what it is, whether it is whole, details.
    files: Vec<FileLine>,
    findings: Vec<Finding>,
    /// What recovery would do; `None` if only one file was checked.
    recovery: Option<Value>,
    /// The same for a person.
    recovery_text: Vec<String>,
    refused: bool,
}

struct FileLine {
    name: String,
    kind: &'static str,
    details: String,
    facts: Value,
}

/// Runs the check.
pub(crate) fn run(path: &Path, json: bool, out: &mut dyn Write) -> Result<Outcome, ToolError> {
    if let Some(files) = Foreign::at(path)? {
        return foreign::look(path, &files, json, out);
    }
    let report = match Target::of(path)? {
        Target::Folder(disk) => check_folder(&disk)?,
        Target::File { disk, name, kind: Kind::Snapshot } => check_snapshot(&*disk, &name),
        Target::File { disk, name, kind: Kind::Segment { first, epoch } } => check_segment(&disk, &name, first, epoch)?,
        Target::File { name, kind: Kind::Identity(header), .. } => Report {
            files: vec![FileLine {
                kind: "identity",
                details: format!("store {}, made {}", header.store, text::time(header.created_ms)),
                facts: json!({ "store": header.store.to_string(), "created_ms": header.created_ms }),
                name,
            }],
            findings: Vec::new(),
            recovery: None,
            recovery_text: Vec::new(),
            refused: false,
        },
    };
    let outcome = report.outcome();
    if json {
        report.print_json(path, out)?;
    } else {
        report.print(Style::for_stdout(), out)?;
    }
    Ok(outcome)
}

impl Report {
    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    fn outcome(&self) -> Outcome {
        if self.refused || self.count(Severity::Damage) > 0 {
            Outcome::Damage
        } else if self.count(Severity::Unreadable) > 0 {
            Outcome::Unreadable
        } else {
            Outcome::Fine
        }
    }

    fn print(&self, style: Style, out: &mut dyn Write) -> Result<(), ToolError> {
        for file in &self.files {
            let of_file = |severity| self.findings.iter().any(|it| it.file == file.name && it.severity == severity);
            let state = if of_file(Severity::Damage) {
                style.bad("DAMAGED")
            } else if of_file(Severity::Unreadable) {
                style.bad("UNREADABLE")
            } else if of_file(Severity::Note) {
                style.note("note   ")
            } else {
                style.good("ok     ")
            };
            writeln!(out, "{state}  {}  {}", file.name, style.dim(&file.details))?;
            for finding in self.findings.iter().filter(|finding| finding.file == file.name) {
                writeln!(out, "         {}", finding_text(finding, false))?;
            }
        }
        let listed = |finding: &&Finding| !self.files.iter().any(|file| file.name == finding.file);
        for finding in self.findings.iter().filter(listed) {
            writeln!(out, "{}", finding_text(finding, true))?;
        }
        for line in &self.recovery_text {
            writeln!(out, "{line}")?;
        }
        let (damage, unreadable) = (self.count(Severity::Damage) as u64, self.count(Severity::Unreadable) as u64);
        match self.outcome() {
            Outcome::Fine if self.findings.iter().any(is_torn_tail) => {
                writeln!(out, "{}", style.note("No damage found, but a torn tail."))?;
            }
            Outcome::Fine => writeln!(out, "{}", style.good("No damage found."))?,
            _ if damage + unreadable == 0 => writeln!(out, "{}", style.bad("The store would not open."))?,
            _ => {
                let found = format!(
                    "{} found{}.",
                    text::counted(damage, "damage", "damages"),
                    if unreadable > 0 { format!(", {unreadable} not readable") } else { String::new() }
                );
                writeln!(out, "{}", style.bad(&found))?;
            }
        }
        Ok(())
    }

    fn print_json(&self, path: &Path, out: &mut dyn Write) -> Result<(), ToolError> {
        let files: Vec<Value> = self
            .files
            .iter()
            .map(|file| {
                let bad = |it: &Finding| it.file == file.name && it.severity != Severity::Note;
                json!({
                    "file": file.name,
                    "kind": file.kind,
                    "ok": !self.findings.iter().any(bad),
                    "facts": file.facts,
                })
            })
            .collect();
        let problems: Vec<Value> = self
            .findings
            .iter()
            .map(|finding| {
                json!({
                    "severity": match finding.severity {
                        Severity::Note => "note",
                        Severity::Damage => "damage",
                        Severity::Unreadable => "unreadable",
                    },
                    "file": finding.file,
                    "offset": finding.offset,
                    "lsn": finding.lsn,
                    "message": finding.message,
                })
            })
            .collect();
        let report = json!({
            "path": path.display().to_string(),
            "ok": self.outcome() == Outcome::Fine,
            "exit_code": self.outcome() as u8,
            "files": files,
            "problems": problems,
            "recovery": self.recovery,
        });
        serde_json::to_writer_pretty(&mut *out, &report)?;
        writeln!(out)?;
        Ok(())
    }
}

/// A finding as one line.
pub(crate) fn finding_text(finding: &Finding, with_file: bool) -> String {
    let mut text = String::new();
    if with_file {
        text.push_str(&finding.file);
        text.push_str(": ");
    }
    if let Some(offset) = finding.offset {
        text.push_str(&format!("at byte {offset}"));
        text.push_str(&finding.lsn.map_or(": ".to_owned(), |lsn| format!(", LSN {lsn}: ")));
    } else if let Some(lsn) = finding.lsn {
        text.push_str(&format!("LSN {lsn}: "));
    }
    text.push_str(&finding.message);
    text
}

fn check_snapshot(disk: &dyn Disk, name: &str) -> Report {
    let mut report = Report { files: vec![], findings: vec![], recovery: None, recovery_text: vec![], refused: false };
    match SnapshotReader::open(disk, name, None) {
        Ok(reader) => {
            let bar = text::progress(reader.footer().file_len, "verifying");
            let (verified, findings) = folder::verify_snapshot(&reader, &bar);
            bar.finish_and_clear();
            report.findings = findings;
            report.files.push(snapshot_line(name, Some(&reader), verified.is_some_and(|verified| verified.bad == 0)));
        }
        Err(error) => {
            report.findings.push(folder::snapshot_finding(name, &error));
            report.files.push(snapshot_line(name, None, false));
        }
    }
    report
}

fn snapshot_line(name: &str, reader: Option<&SnapshotReader>, verified: bool) -> FileLine {
    let (details, facts) = match reader {
        Some(reader) => {
            let footer = reader.footer();
            let details = format!(
                "state at LSN {}, {}, {}, {}{}",
                footer.lsn,
                text::counted(footer.entries, "entry", "entries"),
                text::counted(reader.rows().len() as u64, "block", "blocks"),
                text::size(footer.file_len),
                if verified { ", every block verified" } else { "" },
            );
            let facts = json!({
                "lsn": footer.lsn,
                "entries": footer.entries,
                "blocks": reader.rows().len(),
                "bytes": footer.file_len,
                "durable": footer.durable,
            });
            (details, facts)
        }
        None => ("a snapshot".to_owned(), Value::Null),
    };
    FileLine { name: name.to_owned(), kind: "snapshot", details, facts }
}

fn segment_line(view: &SegmentView) -> FileLine {
    let (details, facts) = match &view.scan {
        Ok(scan) => {
            let lsns = if view.records > 0 {
                format!("LSN {} to {}", view.first, scan.next - 1)
            } else {
                format!("no records, LSN {} would be next", scan.next)
            };
            let details = format!(
                "{lsns}, epoch {}, {}, {} of {}{}",
                view.epoch,
                text::counted(scan.frames, "frame", "frames"),
                text::size(scan.offset),
                text::size(view.len),
                match scan.end {
                    End::Sealed { .. } => ", sealed",
                    End::Superseded => ", ends where a newer epoch begins",
                    _ if view.superseded => ", superseded by newer epochs",
                    _ => "",
                },
            );
            let facts = json!({
                "first_lsn": view.first,
                "last_lsn": if view.records > 0 { Some(scan.next - 1) } else { None },
                "epoch": view.epoch,
                "frames": scan.frames,
                "records": view.records,
                "bytes": view.len,
                "used_bytes": scan.offset,
                "durable": scan.durable,
                "sealed": matches!(scan.end, End::Sealed { .. }),
                "superseded": view.superseded,
            });
            (details, facts)
        }
        Err(_) => (format!("a segment, epoch {}", view.epoch), Value::Null),
    };
    FileLine { name: view.name.clone(), kind: "segment", details, facts }
}

/// How the finding of a torn tail begins.
const TORN_TAIL: &str = "a torn tail";
const TO_NOBODY: &str = ", promised to nobody: ";

/// Whether this is an end that nobody was promised.
pub(crate) fn is_torn_tail(finding: &Finding) -> bool {
    finding.severity == Severity::Note && finding.message.starts_with(TORN_TAIL)
}

/// What the end of a segment means by itself: `durable` is the highest LSN known durable.
pub(crate) fn end_finding(name: &str, scan: &Scan, durable: Lsn) -> Option<Finding> {
    let finding = |severity, offset, message: String| {
        Some(Finding { severity, file: name.to_owned(), offset: Some(offset), lsn: Some(scan.next), message })
    };
    match &scan.end {
        End::Clean | End::Superseded | End::Sealed { stray: None } => None,
        End::Sealed { stray: Some(offset) } => {
            finding(Severity::Damage, *offset, "bytes behind the segment's seal".to_owned())
        }
        End::BadHeader(bad) => finding(Severity::Damage, 0, bad.to_string()),
        End::Broken(why) if durable < scan.next => {
            let behind = scan.behind.map_or_else(String::new, |behind| {
                format!("; behind it {} that nobody was promised", text::counted(behind.frames, "frame", "frames"))
            });
            finding(Severity::Note, scan.offset, format!("{TORN_TAIL}{TO_NOBODY}{why}{behind}"))
        }
        End::Broken(why) => {
            finding(Severity::Damage, scan.offset, format!("{why}; records up to {durable} were on the device"))
        }
    }
}

fn check_segment(disk: &Arc<dyn Disk>, name: &str, first: Lsn, epoch: u64) -> Result<Report, ToolError> {
    let len = disk.list().ok().and_then(|all| all.into_iter().find(|entry| entry.name == name)).map_or(0, |it| it.len);
    let bar = text::progress(len, "verifying");
    let (disk, store) = realigned_segment(disk, name, first, epoch)?;
    let mut view = folder::segment(&*disk, name, first, epoch, Lsn::MAX, Lsn::MAX, store, &bar)?;
    bar.finish_and_clear();
    let mut findings = std::mem::take(&mut view.findings);
    match &view.scan {
        Ok(scan) => {
            for skipped in &scan.skipped {
                let found = frames_in(&*disk, store, name, skipped.offset..skipped.to_offset)?;
                let records = text::counted(skipped.to_lsn.saturating_sub(skipped.lsn), "record", "records");
                let (severity, whose) = if scan.durable < skipped.lsn {
                    (Severity::Note, " that nobody was promised, as far as this file can tell: check its folder")
                } else {
                    (Severity::Damage, "")
                };
                let message = format!(
                    "{}; bytes up to {} cannot be read, {records} in them{whose}{}",
                    skipped.why,
                    skipped.to_offset,
                    about(&found.keys)
                );
                let (file, offset, lsn) = (name.to_owned(), Some(skipped.offset), Some(skipped.lsn));
                findings.push(Finding { severity, file, offset, lsn, message });
            }
            findings.extend(end_finding(name, scan, scan.durable).map(|mut finding| {
                if finding.severity == Severity::Note {
                    finding.message.push_str(" (as far as this file can tell: check its folder)");
                }
                finding
            }));
            if matches!(scan.end, End::Broken(_))
                && let Some(last) = findings.last_mut()
            {
                last.message.push_str(&about(&frames_in(&*disk, store, name, scan.offset..scan.len)?.keys));
            }
        }
        Err(failure) => findings.push(unreadable_segment(name, failure)),
    }
    let files = vec![segment_line(&view)];
    Ok(Report { files, findings, recovery: None, recovery_text: Vec::new(), refused: false })
}

/// The keys that damaged frames seem to name, in words.
fn about(keys: &[Vec<u8>]) -> String {
    if keys.is_empty() {
        return String::new();
    }
    let shown: Vec<String> = keys.iter().take(KEYS_NAMED).map(|key| text::word(key, false)).collect();
    let more = if keys.len() > KEYS_NAMED { ", ..." } else { "" };
    format!("; it is about {}{more}", shown.join(", "))
}

fn unreadable_segment(name: &str, failure: &firn_engine::log::reader::ReadFailure) -> Finding {
    Finding {
        severity: Severity::Unreadable,
        file: name.to_owned(),
        offset: Some(failure.offset),
        lsn: None,
        message: format!("the disk failed: {}", failure.source),
    }
}

/// Keys that a finding names at most.
const KEYS_NAMED: usize = 10;

/// Adds what is damaged behind the first damage of a segment, and the keys that damaged frames seem to name.
fn look_closer(disk: &Arc<dyn Disk>, findings: &mut Vec<Finding>) -> Result<(), ToolError> {
    let Ok((disk, shifted)) = realigned(disk) else { return Ok(()) };
    let Ok(store) = FirnStore::open(disk) else { return Ok(()) };
    for finding in shifted {
        let is_snapshot = store.survey.snapshots.iter().any(|(_, _, name, _)| *name == finding.file);
        if let (true, Ok(reader)) = (is_snapshot, store.snapshot(&finding.file)) {
            findings.extend(folder::verify_snapshot(&reader, &indicatif::ProgressBar::hidden()).1);
        }
        for torn in findings.iter_mut().filter(|it| it.file == finding.file) {
            if let Some(why) = torn.message.strip_prefix(TORN_TAIL).and_then(|text| text.strip_prefix(TO_NOBODY)) {
                (torn.severity, torn.message) = (Severity::Damage, why.to_owned());
            }
        }
        findings.push(finding);
    }
    for stretch in store.damaged_stretches()? {
        let found =
            frames_in(&*store.disk, Some(store.identity.store), &stretch.file, stretch.offset..stretch.to_offset)?;
        let known = findings.iter_mut().find(|it| it.file == stretch.file && it.offset == Some(stretch.offset));
        match known {
            Some(finding) if finding.severity == Severity::Damage => finding.message.push_str(&about(&found.keys)),
            Some(_) => {}
            None => findings.push(Finding {
                severity: Severity::Damage,
                file: stretch.file,
                offset: Some(stretch.offset),
                lsn: None,
                message: format!("bytes up to {} are no valid frames either{}", stretch.to_offset, about(&found.keys)),
            }),
        }
    }
    Ok(())
}

fn check_folder(disk: &Arc<dyn Disk>) -> Result<Report, ToolError> {
    let view = folder::view(&**disk, true, &|len| text::progress(len, "verifying"))?;
    let mut findings = folder_findings(&**disk, &view);
    let mut files = Vec::new();
    for snapshot in view.snapshots.iter().rev() {
        files.push(snapshot_line(
            &snapshot.name,
            snapshot.reader.as_ref().ok(),
            snapshot.verified.is_some_and(|verified| verified.bad == 0),
        ));
        findings.extend(snapshot.findings.iter().cloned());
    }
    for (at, segment) in view.segments.iter().enumerate() {
        if view.vanished.contains(&segment.name) {
            continue;
        }
        files.push(segment_line(segment));
        findings.extend(segment.findings.iter().cloned());
        findings.extend(segment_finding(&view, at, segment));
    }
    // What looks like a torn tail is none if what was written behind it is there, out of its place.
    let is_broken = |segment: &SegmentView| {
        segment.scan.as_ref().is_ok_and(|scan| matches!(scan.end, End::Broken(_)) && scan.behind.is_none())
    };
    let is_damage = |finding: &Finding| finding.severity == Severity::Damage;
    if findings.iter().any(is_damage) || view.segments.iter().any(is_broken) {
        look_closer(disk, &mut findings)?;
    }
    let (recovery, recovery_text, refused) = verdict(&view);
    Ok(Report { files, findings, recovery: Some(recovery), recovery_text, refused })
}

/// What the end of one of a folder's segments means, knowing the others.
fn segment_finding(view: &FolderView, at: usize, segment: &SegmentView) -> Option<Finding> {
    let scan = match &segment.scan {
        Ok(scan) => scan,
        Err(failure) => return Some(unreadable_segment(&segment.name, failure)),
    };
    let stated = view.segments.iter().filter_map(|segment| segment.scan.as_ref().ok()).map(|scan| scan.durable);
    let durable = stated.chain(view.snapshots.iter().map(|snapshot| snapshot.lsn)).max().unwrap_or(0);
    let mut finding = end_finding(&segment.name, scan, durable)?;
    // Recovery knows best whether this was ever promised: what it would set aside was not.
    if let Verdict::Open(plan) = &view.verdict
        && plan.set_aside.iter().any(|aside| view.needed.get(aside.segment) == Some(&at))
    {
        finding.severity = Severity::Note;
    }
    if segment.superseded {
        finding.severity = Severity::Note;
        finding.message.push_str(" (newer epochs hold these records)");
    }
    Some(finding)
}

fn folder_findings(disk: &dyn Disk, view: &FolderView) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |severity, file: &str, lsn, message: String| {
        findings.push(Finding { severity, file: file.to_owned(), offset: None, lsn, message });
    };
    match (&view.survey.bad_store, view.survey.has_store) {
        (Some(bad), _) => add(Severity::Damage, "STORE", None, bad.to_string()),
        (None, false) => add(Severity::Note, "STORE", None, "missing; the next start writes it again".to_owned()),
        (None, true) => {}
    }
    if let Some(process) = view.in_use_by {
        let message = format!("in use by process {process}: its newest segment may be read while it is written");
        add(Severity::Note, "LOCK", None, message);
    }
    for name in &view.vanished {
        add(Severity::Note, name, None, "removed while this check ran".to_owned());
    }
    for (name, len) in &view.survey.aside {
        add(Severity::Note, name, None, format!("set aside by an earlier recovery ({})", text::size(*len)));
    }
    for name in &view.survey.temporary {
        add(Severity::Note, name, None, "being made, or left by a crash; the next start removes it".to_owned());
    }
    // Behind the needed segments the verdict sees to it that nothing is missing; before them, this does.
    for pair in view.links.windows(2) {
        let (one, next) = (&view.segments[pair[0].index], &view.segments[pair[1].index]);
        let Ok(scan) = &one.scan else { continue };
        if scan.next < next.first
            && !view.needed.contains(&pair[0].index)
            && matches!(scan.end, End::Clean | End::Sealed { .. })
        {
            let (severity, message) = folder::gap(disk, &view.survey, scan.next, next.first);
            add(severity, &next.name, Some(scan.next), message);
        }
    }
    findings
}

/// What recovery would do: as JSON, as text, and whether it would refuse.
fn verdict(view: &FolderView) -> (Value, Vec<String>, bool) {
    let unreadable = |snapshot: &&SnapshotView| snapshot.findings.iter().any(|it| it.severity == Severity::Unreadable);
    let whole = view.snapshots.iter().position(SnapshotView::is_whole).unwrap_or(view.snapshots.len());
    if let Some(snapshot) = view.snapshots[..whole].iter().find(unreadable) {
        let reason = format!("{} cannot be read", snapshot.name);
        return (json!({ "opens": false, "reason": reason }), vec![format!("Start: refused: {reason}")], true);
    }
    match &view.verdict {
        Verdict::Open(plan) => {
            let (value, lines) = plan_text(view, plan, view.snapshots.get(whole));
            (value, lines, false)
        }
        Verdict::Refuse(refusal) => {
            let value = json!({
                "opens": false,
                "reason": refusal.to_string(),
                "file": refusal.file,
                "offset": refusal.offset,
                "lsn": refusal.lsn,
                "durable": refusal.durable,
            });
            (value, vec![format!("Start: refused: {refusal}")], true)
        }
    }
}

fn plan_text(view: &FolderView, plan: &Plan, snapshot: Option<&SnapshotView>) -> (Value, Vec<String>) {
    let name = |at: usize| view.needed.get(at).map_or("?", |&at| &view.segments[at].name);
    let records: u64 = plan.replay.iter().map(|replay| replay.to - replay.from + 1).sum();
    let value = json!({
        "opens": true,
        "snapshot": snapshot.map(|snapshot| &snapshot.name),
        "lsn": plan.next - 1,
        "durable": plan.durable,
        "records_to_replay": records,
        "replay": plan.replay.iter()
            .map(|replay| json!({ "file": name(replay.segment), "from": replay.from, "to": replay.to }))
            .collect::<Vec<_>>(),
        "set_aside": plan.set_aside.iter()
            .map(|aside| json!({ "file": name(aside.segment), "offset": aside.offset }))
            .collect::<Vec<_>>(),
        "warnings": plan.warnings,
    });
    let start = match snapshot {
        Some(snapshot) => format!("Start: loads {}", snapshot.name),
        None => "Start: loads no snapshot".to_owned(),
    };
    let replays = match (plan.replay.first(), plan.replay.last()) {
        (Some(first), Some(last)) => {
            format!("replays {} (LSN {} to {})", text::counted(records, "record", "records"), first.from, last.to)
        }
        _ => "replays nothing".to_owned(),
    };
    let mut lines =
        vec![format!("{start}, {replays}: the state at LSN {}. Known durable: LSN {}.", plan.next - 1, plan.durable)];
    for aside in &plan.set_aside {
        lines.push(format!("       sets aside {} from byte {} on", name(aside.segment), aside.offset));
    }
    lines.extend(plan.warnings.iter().map(|warning| format!("       warns: {warning}")));
    (value, lines)
}

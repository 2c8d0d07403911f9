//! `firn inspect`: its options, and the summary it gives without them.

use crate::check::end_finding;
use crate::choice::StateArgs;
use crate::filter::MomentArgs;
use crate::folder::{self, Severity};
use crate::foreign::{self, Foreign};
use crate::target::{Kind, Target};
use crate::text::{self, Style};
use crate::{Outcome, ToolError, json, keys, records};
use firn_engine::disk::Disk;
use firn_engine::log::Lsn;
use firn_engine::log::reader::End;
use firn_engine::recovery::judge::Verdict;
use firn_engine::snapshot::reader::{SnapshotReader, read_header};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;

/// What to show.
#[derive(clap::Args)]
pub(crate) struct InspectArgs {
    /// A store's folder, a segment, a snapshot, an RDB file, an append-only file or folder, JSON Lines, a table; `-` for standard input.
    pub(crate) path: PathBuf,
    /// Show every record of the log: offset of its frame, LSN, time, commands.
    #[arg(long, conflicts_with = "keys")]
    pub(crate) records: bool,
    /// Show the keys of a snapshot; of a folder those of the state that a start would give.
    #[arg(long)]
    pub(crate) keys: bool,
    /// --to, --type, --ttl and --min-bytes go with --keys.
    #[command(flatten)]
    pub(crate) state: StateArgs,
    #[command(flatten)]
    pub(crate) moments: MomentArgs,
    /// Only records from this LSN on.
    #[arg(long, value_name = "LSN", requires = "records")]
    pub(crate) since_lsn: Option<Lsn>,
    /// Go on as records are written, until interrupted.
    #[arg(long, requires = "records")]
    pub(crate) follow: bool,
    /// Show long words whole instead of their beginning.
    #[arg(long)]
    pub(crate) full: bool,
    /// JSON: one object; with --records or --keys one a line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs it.
pub(crate) fn run(args: &InspectArgs, out: &mut dyn Write) -> Result<Outcome, ToolError> {
    let (values, to) = (&args.state.values, args.state.to.is_some());
    let about_values = to || !values.types.is_empty() || values.ttl.is_some() || values.min_bytes.is_some();
    let about_moments = args.moments.since.is_some() || args.moments.until.is_some() || args.moments.lsn.is_some();
    if !args.records && !args.keys && (about_values || about_moments || args.state.is_partial()) {
        return Err(ToolError::Usage("filters need --records or --keys".to_owned()));
    }
    if args.records && about_values {
        return Err(ToolError::Usage(
            "--to, --type, --ttl and --min-bytes are about keys: they go with --keys".to_owned(),
        ));
    }
    if args.keys && about_moments {
        return Err(ToolError::Usage(
            "--since, --until and --lsn are about changes; with --keys, --to says which moment".to_owned(),
        ));
    }
    if let Some(files) = Foreign::at(&args.path)? {
        return match files {
            Foreign::Redis(files) if args.records && files.is_rdb_alone() => Err(ToolError::Usage(format!(
                "{} is an RDB file: it holds keys and no records of changes; --keys shows them, firn diff compares it with another",
                args.path.display()
            ))),
            Foreign::Redis(files) if args.records => foreign::records(&files, args, out),
            Foreign::Rows(file) if args.records => {
                Err(ToolError::Usage(format!("{} holds keys and no changes: --keys shows them", file.kind())))
            }
            _ if args.keys => keys::list(args, out),
            files => foreign::look(&args.path, &files, args.json, out),
        };
    }
    match Target::of(&args.path)? {
        Target::Folder(disk) if args.records => records::of_folder(&*disk, args, out),
        Target::Folder(_) | Target::File { kind: Kind::Snapshot, .. } if args.keys => keys::list(args, out),
        Target::Folder(disk) => folder_summary(&*disk, args, out),
        Target::File { disk, name, kind: Kind::Segment { first, epoch } } if args.records => {
            records::of_segment(&*disk, &name, first, epoch, args, out)
        }
        Target::File { name, .. } if args.records => {
            Err(ToolError::Usage(format!("{name} has no records: give a segment or a folder")))
        }
        Target::File { name, .. } if args.keys => {
            Err(ToolError::Usage(format!("{name} has no keys: give a snapshot or a folder (--records shows changes)")))
        }
        Target::File { disk, name, kind: Kind::Segment { first, epoch } } => {
            segment_summary(&*disk, &name, first, epoch, args, out)
        }
        Target::File { disk, name, kind: Kind::Snapshot } => snapshot_summary(&*disk, &name, args, out),
        Target::File { name, kind: Kind::Identity(header), .. } => {
            let facts = json!({
                "file": name,
                "kind": "identity",
                "store": header.store.to_string(),
                "created_ms": header.created_ms,
            });
            let lines = vec![row("store", &header.store.to_string()), row("made", &text::time(header.created_ms))];
            print(args, out, &facts, &lines)?;
            Ok(Outcome::Fine)
        }
    }
}

fn row(name: &str, value: &str) -> String {
    format!("{name:<14} {value}")
}

fn print(args: &InspectArgs, out: &mut dyn Write, facts: &Value, lines: &[String]) -> Result<(), ToolError> {
    if args.json {
        serde_json::to_writer_pretty(&mut *out, facts)?;
        writeln!(out)?;
    } else {
        for line in lines {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

fn snapshot_summary(
    disk: &dyn Disk,
    name: &str,
    args: &InspectArgs,
    out: &mut dyn Write,
) -> Result<Outcome, ToolError> {
    let style = Style::for_stdout();
    let reader = match SnapshotReader::open(disk, name, None) {
        Ok(reader) => reader,
        Err(error) => {
            let finding = folder::snapshot_finding(name, &error);
            // What the header alone says is better than nothing.
            let file = disk.open(name, firn_engine::disk::OpenMode::Read).map_err(crate::target::unreadable(name))?;
            let header = read_header(&*file, name, None).ok();
            let facts = json!({
                "file": name,
                "kind": "snapshot",
                "error": error.to_string(),
                "lsn": header.as_ref().map(|header| header.number),
                "epoch": header.as_ref().map(|header| header.epoch),
                "created_ms": header.as_ref().map(|header| header.created_ms),
            });
            let mut lines = vec![style.bad(&error.to_string())];
            if let Some(header) = header {
                lines.push(row("store", &header.store.to_string()));
                lines.push(row("state at LSN", &header.number.to_string()));
                lines.push(row("begun", &text::time(header.created_ms)));
            }
            print(args, out, &facts, &lines)?;
            return Ok(severity_outcome(finding.severity));
        }
    };
    let (header, footer) = (reader.header(), reader.footer());
    let raw: u64 = reader.rows().iter().map(|row| u64::from(row.raw_len)).sum();
    let stored: u64 = reader.rows().iter().map(|row| u64::from(row.stored_len)).sum();
    let databases: Vec<(u32, u64)> = reader
        .databases()
        .into_iter()
        .map(|db| (db, reader.database_rows(db).iter().map(|row| row.info.count).sum()))
        .collect();
    let entry_blocks = reader.rows().iter().filter(|row| row.info.kind.is_data()).count();
    let facts = json!({
        "file": name,
        "kind": "snapshot",
        "store": header.store.to_string(),
        "lsn": header.number,
        "epoch": header.epoch,
        "created_ms": header.created_ms,
        "durable": footer.durable,
        "bytes": footer.file_len,
        "raw_bytes": raw,
        "blocks": entry_blocks,
        "entries": footer.entries,
        "databases": databases.iter().map(|(db, entries)| json!({ "db": db, "entries": entries })).collect::<Vec<_>>(),
        "aux": reader.aux().iter()
            .map(|pair| json!({ "name": json::bytes(&pair.name), "value": json::bytes(&pair.value) }))
            .collect::<Vec<_>>(),
    });
    let mut lines = vec![
        style.strong(&format!("{name}: a snapshot")),
        row("store", &header.store.to_string()),
        row("state at LSN", &format!("{} (known durable when finished: {})", header.number, footer.durable)),
        row("begun", &format!("{}, in epoch {}", text::time(header.created_ms), header.epoch)),
        row(
            "entries",
            &format!("{} in {}", text::count(footer.entries), text::counted(entry_blocks as u64, "block", "blocks")),
        ),
        row(
            "length",
            &format!(
                "{} ({} before compression, {:.0} % of it stored)",
                text::size(footer.file_len),
                text::size(raw),
                if raw == 0 { 100.0 } else { stored as f64 * 100.0 / raw as f64 }
            ),
        ),
    ];
    for (db, entries) in databases {
        lines.push(row(&format!("database {db}"), &text::counted(entries, "entry", "entries")));
    }
    for pair in reader.aux() {
        lines.push(row(&text::word(&pair.name, args.full), &text::word(&pair.value, args.full)));
    }
    print(args, out, &facts, &lines)?;
    Ok(Outcome::Fine)
}

/// The outcome that a finding stands for.
pub(crate) fn severity_outcome(severity: Severity) -> Outcome {
    match severity {
        Severity::Note => Outcome::Fine,
        Severity::Damage => Outcome::Damage,
        Severity::Unreadable => Outcome::Unreadable,
    }
}

fn segment_summary(
    disk: &dyn Disk,
    name: &str,
    first: Lsn,
    epoch: u64,
    args: &InspectArgs,
    out: &mut dyn Write,
) -> Result<Outcome, ToolError> {
    let style = Style::for_stdout();
    let bar = text::progress(
        disk.list().map_or(0, |all| all.iter().find(|it| it.name == name).map_or(0, |it| it.len)),
        "reading",
    );
    let view = folder::segment(disk, name, first, epoch, Lsn::MAX, 0, None, &bar)?;
    bar.finish_and_clear();
    let scan = match view.scan {
        Ok(scan) => scan,
        Err(failure) => {
            return Err(ToolError::Unreadable(format!("{name} at byte {}: {}", failure.offset, failure.source)));
        }
    };
    let mut findings = view.findings;
    findings.extend(end_finding(name, &scan, scan.durable));
    let header = scan.header.as_ref();
    let last = (view.records > 0).then(|| scan.next - 1);
    let end = match &scan.end {
        End::Clean => "open: more can be written behind it".to_owned(),
        End::Sealed { .. } => format!("sealed: record {} follows in the next segment", scan.next),
        End::Superseded => "superseded by a newer epoch".to_owned(),
        End::BadHeader(bad) => bad.to_string(),
        End::Broken(why) => format!("broken at byte {}: {why}", scan.offset),
    };
    let facts = json!({
        "file": name,
        "kind": "segment",
        "store": header.map(|header| header.store.to_string()),
        "first_lsn": first,
        "last_lsn": last,
        "epoch": epoch,
        "created_ms": header.map(|header| header.created_ms),
        "first_time_ms": view.first_time_ms,
        "last_time_ms": (view.records > 0).then_some(scan.last_time_ms),
        "unanchored": header.is_some_and(|header| header.unanchored()),
        "frames": scan.frames,
        "records": view.records,
        "commands": view.commands,
        "bytes": view.len,
        "used_bytes": scan.offset,
        "durable": scan.durable,
        "end": end,
    });
    let mut lines = vec![style.strong(&format!("{name}: a log segment"))];
    if let Some(header) = header {
        lines.push(row("store", &header.store.to_string()));
        lines.push(row("begun", &format!("{}, in epoch {epoch}", text::time(header.created_ms))));
        if header.unanchored() {
            lines.push(row("unanchored", "records before it were not logged: it needs a snapshot"));
        }
    }
    lines.push(row(
        "records",
        &match last {
            Some(last) => format!(
                "{} in {}, LSN {first} to {last}",
                text::count(view.records),
                text::counted(scan.frames, "frame", "frames")
            ),
            None => format!("none; the next will be {first}"),
        },
    ));
    if let Some(from) = view.first_time_ms {
        lines.push(row("written", &format!("{} to {}", text::time(from), text::time(scan.last_time_ms))));
    }
    for (command, times) in &view.commands {
        lines.push(row(&format!("  {}", text::word(command.as_bytes(), false)), &text::count(*times)));
    }
    lines.push(row("known durable", &format!("LSN {}", scan.durable)));
    lines.push(row("length", &format!("{}, {} in use", text::size(view.len), text::size(scan.offset))));
    lines.push(row("end", &end));
    for finding in &findings {
        let at = finding.offset.map_or_else(String::new, |offset| format!("at byte {offset}: "));
        lines.push(style.bad(&format!("{at}{}", finding.message)));
    }
    print(args, out, &facts, &lines)?;
    Ok(findings.iter().map(|finding| severity_outcome(finding.severity)).max().unwrap_or(Outcome::Fine))
}

fn folder_summary(disk: &dyn Disk, args: &InspectArgs, out: &mut dyn Write) -> Result<Outcome, ToolError> {
    let style = Style::for_stdout();
    let view = folder::view(disk, false, &|len| text::progress(len, "reading"))?;
    let mut outcome = Outcome::Fine;
    let mut lines = vec![style.strong(&format!("{}: a Firn store", args.path.display()))];
    if let Some(identity) = &view.survey.identity {
        lines.push(row("store", &identity.store.to_string()));
    }
    lines.push(row("epoch", &format!("{} (opened so many times)", view.survey.epoch)));
    if let Some(process) = view.in_use_by {
        lines.push(row("in use by", &format!("process {process}")));
    }
    let records: u64 = view.segments.iter().map(|segment| segment.records).sum();
    match &view.verdict {
        Verdict::Open(plan) => {
            lines.push(row("state", &format!("LSN {}, known durable: LSN {}", plan.next - 1, plan.durable)));
        }
        Verdict::Refuse(refusal) => {
            outcome = Outcome::Damage;
            lines.push(style.bad(&format!("would not open: {refusal}")));
        }
    }
    let mut snapshots = Vec::new();
    lines.push(String::new());
    lines.push(style.strong(&text::counted(view.snapshots.len() as u64, "snapshot", "snapshots")));
    for snapshot in view.snapshots.iter().rev() {
        let worst = snapshot.findings.iter().map(|finding| severity_outcome(finding.severity)).max();
        outcome = outcome.max(worst.unwrap_or(Outcome::Fine));
        let footer = snapshot.reader.as_ref().ok().map(|reader| (*reader.footer(), reader.header().created_ms));
        snapshots.push(json!({
            "file": snapshot.name,
            "lsn": snapshot.lsn,
            "epoch": snapshot.epoch,
            "bytes": snapshot.len,
            "entries": footer.map(|(footer, _)| footer.entries),
            "created_ms": footer.map(|(_, created_ms)| created_ms),
            "error": snapshot.reader.as_ref().err().map(ToString::to_string),
        }));
        let details = match (&snapshot.reader, footer) {
            (Ok(_), Some((footer, created_ms))) => format!(
                "{}  LSN {}, {}, {}",
                text::time(created_ms),
                footer.lsn,
                text::counted(footer.entries, "entry", "entries"),
                text::size(snapshot.len)
            ),
            (Err(error), _) => style.bad(&error.to_string()),
            _ => String::new(),
        };
        lines.push(format!("  {}  {details}", snapshot.name));
    }
    let mut segments = Vec::new();
    lines.push(style.strong(&format!(
        "{} with {}",
        text::counted(view.segments.len() as u64, "segment", "segments"),
        text::counted(records, "record", "records")
    )));
    for segment in &view.segments {
        let scan = segment.scan.as_ref().ok();
        let last = (segment.records > 0).then(|| scan.map_or(0, |scan| scan.next - 1));
        segments.push(json!({
            "file": segment.name,
            "first_lsn": segment.first,
            "last_lsn": last,
            "epoch": segment.epoch,
            "bytes": segment.len,
            "used_bytes": scan.map(|scan| scan.offset),
            "records": segment.records,
            "frames": scan.map(|scan| scan.frames),
            "first_time_ms": segment.first_time_ms,
            "last_time_ms": last.and(scan).map(|scan| scan.last_time_ms),
            "sealed": scan.is_some_and(|scan| matches!(scan.end, End::Sealed { .. })),
            "superseded": segment.superseded,
            "error": segment.scan.as_ref().err().map(|failure| failure.source.to_string()),
        }));
        let details = match (&segment.scan, last) {
            (Ok(scan), Some(last)) => format!(
                "{}  LSN {} to {last}, {}, {} in use",
                text::time(segment.first_time_ms.unwrap_or(0)),
                segment.first,
                text::counted(scan.frames, "frame", "frames"),
                text::size(scan.offset)
            ),
            (Ok(scan), None) => format!("no records, LSN {} would be next", scan.next),
            (Err(failure), _) => {
                outcome = outcome.max(Outcome::Unreadable);
                style.bad(&failure.source.to_string())
            }
        };
        lines.push(format!("  {}  {details}", segment.name));
    }
    let aside: Vec<Value> =
        view.survey.aside.iter().map(|(file, bytes)| json!({ "file": file, "bytes": bytes })).collect();
    for (name, len) in &view.survey.aside {
        lines.push(style.note(&format!("  {name}  set aside by an earlier recovery, {}", text::size(*len))));
    }
    let facts = json!({
        "path": args.path.display().to_string(),
        "kind": "folder",
        "store": view.survey.identity.map(|identity| identity.store.to_string()),
        "epoch": view.survey.epoch,
        "in_use_by": view.in_use_by,
        "lsn": match &view.verdict { Verdict::Open(plan) => Some(plan.next - 1), Verdict::Refuse(_) => None },
        "durable": match &view.verdict { Verdict::Open(plan) => plan.durable, Verdict::Refuse(refusal) => refusal.durable },
        "refused": match &view.verdict { Verdict::Open(_) => None, Verdict::Refuse(refusal) => Some(refusal.to_string()) },
        "snapshots": snapshots,
        "segments": segments,
        "set_aside": aside,
    });
    print(args, out, &facts, &lines)?;
    Ok(outcome)
}

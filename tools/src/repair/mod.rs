//! `firn repair`: a mended copy of a damaged store, that loses only what cannot be read, and says what that is.
//!
//! 1. Single changed bytes are found by their checksums and put right: nothing is lost by them ([`mend`]).
//! 2. Then the base is chosen: the newest snapshot that verifies, else what is left of the newest that can be read, unless the log
//!    reaches back to its beginning. Frames that do not verify are left out one by one, never all that follows them.
//! 3. The state that this gives becomes a new store. The damaged bytes are set aside beside it, and keys that are lost are named as far as
//!    they can be known: from readable parts of the damage, and from what other files say about the same positions.
//! 4. The damaged store is only read.

mod mend;
mod partial;

use crate::choice::{MemoryArgs, libraries, when};
use crate::dataset::firn::{FirnStore, SnapshotBase};
use crate::dataset::redis::RedisFiles;
use crate::dataset::{Base, Damages, Loss, MEMORY_DEFAULT, StateInfo, Tail, state};
use crate::filter::{Filter, KeyArgs, ValueArgs};
use crate::folder::{Finding, Severity};
use crate::make::NewStore;
use crate::sink::{Format, RDB_VERSION_DEFAULT, Sink};
use crate::target::{Kind, Target, unreadable};
use crate::text::{self, Style};
use crate::{Outcome, ToolError, json, spool};
use firn_engine::disk::real::RealDisk;
use firn_engine::disk::{Disk, OpenMode, read_full_at};
use firn_engine::format::{FileHeader, FileKind, Seed};
use firn_engine::keyspace::libraries::Libraries;
use firn_engine::log::Lsn;
use firn_engine::log::frame::{FRAME_HEADER_LEN, FrameHeader};
use firn_engine::recovery::survey::Survey;
use firn_engine::snapshot::reader::read_header;
use mend::{PatchedDisk, keys_in};
use partial::{LostRange, PartialSnapshot, WalkedSnapshot};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Keys that are named at most; more are only counted.
const NAMES_MAX: usize = 1000;

/// What to repair, and where to.
#[derive(clap::Args)]
pub(crate) struct RepairArgs {
    /// The damaged store's folder, or files of Redis; they are only read.
    path: PathBuf,
    /// Makes the mended store in this folder, which must be absent or empty; of Redis' files also a file of another form.
    #[arg(short, long, value_name = "NEW")]
    output: PathBuf,
    /// Where damaged bytes are set aside: NEW-set-aside without it.
    #[arg(long, value_name = "FOLDER")]
    set_aside: Option<PathBuf>,
    /// The form of what is made of Redis' files: told by the output's ending (.rdb, .aof, .jsonl, ...; without one a store) unless given.
    #[arg(long, value_enum, value_name = "FORM")]
    format: Option<Format>,
    /// The version of an RDB file that is made: 9 to 12, or 80 for Valkey 9.
    #[arg(long, default_value_t = RDB_VERSION_DEFAULT, value_name = "N")]
    rdb_version: u32,
    /// Filters choose the keys that the copy gets; everything is read, and damage told, all the same.
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    values: ValueArgs,
    #[command(flatten)]
    memory: MemoryArgs,
    /// Says what was done as one JSON object.
    #[arg(long)]
    json: bool,
}

impl RepairArgs {
    /// Where damaged bytes go.
    fn set_aside(&self) -> PathBuf {
        self.set_aside.clone().unwrap_or_else(|| {
            let mut name = self.output.file_name().unwrap_or_default().to_owned();
            name.push("-set-aside");
            self.output.with_file_name(name)
        })
    }
}

/// A stretch of a file that is left out.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Stretch {
    file: String,
    from: u64,
    to: u64,
}

/// What the base of the mended state is.
enum Chosen<'d> {
    Whole(SnapshotBase),
    Partial(PartialSnapshot<'d>),
    Walked(WalkedSnapshot<'d>, Lsn, u64),
}

impl Chosen<'_> {
    fn base(&self) -> &dyn Base {
        match self {
            Chosen::Whole(base) => base,
            Chosen::Partial(base) => base,
            Chosen::Walked(base, ..) => base,
        }
    }

    fn moment(&self) -> (Lsn, u64) {
        match self {
            Chosen::Whole(base) => (base.info().lsn.unwrap_or(0), base.info().time_ms.unwrap_or(0)),
            Chosen::Partial(base) => base.moment(),
            Chosen::Walked(_, lsn, time_ms) => (*lsn, *time_ms),
        }
    }
}

/// Runs it.
pub(crate) fn run(args: &RepairArgs, out: &mut dyn Write) -> Result<Outcome, ToolError> {
    let (memory, filter) = (args.memory.bytes()?, Filter::new(&args.keys, &args.values)?);
    let report = match RedisFiles::at(&args.path)? {
        Some(files) => of_redis(args, &files, &filter, memory)?,
        None => of_store(args, &filter, memory)?,
    };
    report.print(out)?;
    Ok(if report.losses() > 0 { Outcome::Damage } else { Outcome::Fine })
}

/// What can be read of a store, as a new one.
fn of_store<'a>(args: &'a RepairArgs, filter: &Filter, memory: u64) -> Result<Report<'a>, ToolError> {
    if args.format.or_else(|| Format::of(&args.output)).is_some_and(|format| format != Format::Firn) {
        let text = "a store is mended as a store, which firn convert then gives another form";
        return Err(ToolError::Usage(text.to_owned()));
    }
    let raw = match Target::of(&args.path)? {
        Target::Folder(disk) => disk,
        Target::File { name, kind: Kind::Segment { .. } | Kind::Snapshot | Kind::Identity(_), .. } => {
            return Err(ToolError::Usage(format!("{name} alone is not a store: give its folder")));
        }
    };
    let mut patched = PatchedDisk::new(Arc::clone(&raw));
    mend(&mut patched, &*raw)?;
    let mut report = Report { patches: patched.patches().cloned().collect(), ..Report::new(args) };
    let disk: Arc<dyn Disk> = Arc::new(patched);
    let store = FirnStore::open(Arc::clone(&disk))?;
    let damages = Damages::lenient();
    let chosen = choose(&store, &damages)?;
    let (covered, base_ms) = chosen.moment();
    if let Chosen::Whole(base) = &chosen
        && let Some(reader) = base.reader().filter(|reader| reader.has_log() && store.links.is_empty())
    {
        let message = "a log was on when it was made, and not one segment of it is there".to_owned();
        let (severity, file, lsn) = (Severity::Damage, reader.name().to_owned(), Some(covered + 1));
        damages.report(Finding { severity, file, offset: None, lsn, message })?;
    }
    let (tail, last, time_ms) = store.tail_behind(covered, &damages)?;
    report.covered = covered;
    report.info = StateInfo {
        lsn: Some(last),
        time_ms: Some(if last > covered { time_ms } else { base_ms }),
        ordered: chosen.base().is_ordered().then_some(store.identity.hash_seed),
        libraries: Libraries::default(),
    };
    let mut made = NewStore::create(&args.output, &report.info, store.bytes() * 2, memory)?;
    report.info.libraries = state::visit(
        chosen.base(),
        &tail,
        memory.max(MEMORY_DEFAULT / 4),
        filter,
        &damages,
        &mut |db, position, entry| made.push(db, position, entry),
    )?;
    report.entries = made.finish(&libraries(&report.info, filter))?.entries;

    report.findings = damages.take();
    let mut lost_keys: BTreeSet<Vec<u8>> = BTreeSet::new();
    for skipped in store.damaged_stretches()? {
        if skipped.to_lsn > covered + 1 {
            lost_keys.extend(frame_keys(&store, &skipped.file, skipped.offset)?);
        }
        report.stretches.push(Stretch { file: skipped.file, from: skipped.offset, to: skipped.to_offset });
    }
    let lost_ranges: Vec<LostRange> = match &chosen {
        Chosen::Partial(partial) => partial.lost.borrow().clone(),
        _ => Vec::new(),
    };
    report.stretches.extend(lost_ranges.iter().map(|lost| Stretch {
        file: lost.file.clone(),
        from: lost.offset,
        to: lost.end,
    }));
    if !lost_ranges.is_empty() {
        candidates(&store, &lost_ranges, &mut lost_keys)?;
    }
    report.lose(lost_keys, filter);
    set_aside(&*raw, &report.aside, &report.stretches)?;
    Ok(report)
}

/// What can be read of Redis' files, in the form that the output's name or `--format` says.
fn of_redis<'a>(
    args: &'a RepairArgs,
    files: &RedisFiles,
    filter: &Filter,
    memory: u64,
) -> Result<Report<'a>, ToolError> {
    let damages = Damages::lenient();
    let format = args.format.or_else(|| Format::of(&args.output)).unwrap_or(Format::Firn);
    let mut report = Report { other_form: format != Format::Firn, ..Report::new(args) };
    let mut sink = Sink::create(&args.output, format, args.rdb_version, &report.info, files.bytes() * 2, memory)?;
    let mended = files.mend()?;
    let (base, tail) = (files.base(&damages), files.tail(None, &damages));
    report.info.libraries = state::visit(&base, &tail, memory, filter, &damages, &mut |db, position, entry| {
        report.entries += 1;
        sink.put(db, position, entry)
    })?;
    sink.finish(&libraries(&report.info, filter))?;
    let losses = damages.take_losses();
    // Of a cut tail, or zeros, nothing was ever promised.
    let nothing_lost = |finding: &Finding| {
        let same = |loss: &Loss| finding.offset == Some(loss.from) && spool::name(&loss.path) == finding.file;
        finding.severity == Severity::Note || losses.iter().any(|loss| loss.harmless && same(loss))
    };
    report.findings = damages.take();
    for finding in &mut report.findings {
        if nothing_lost(finding) {
            finding.severity = Severity::Note;
        }
    }
    for loss in losses.iter().filter(|loss| loss.to > loss.from) {
        let (folder, name) = (loss.path.parent().unwrap_or(Path::new(".")), loss.path.file_name().unwrap_or_default());
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let disk = RealDisk::open(folder, false).map_err(unreadable(&folder.display().to_string()))?;
        let stretch = Stretch { file: name.to_string_lossy().into_owned(), from: loss.from, to: loss.to };
        set_aside(&disk, &report.aside, std::slice::from_ref(&stretch))?;
        report.stretches.push(stretch);
    }
    report.lose(losses.into_iter().flat_map(|loss| loss.keys), filter);
    let patches = mended.iter().flat_map(|mended| {
        (0..).zip(mended.is.iter().zip(&mended.was)).map(|(number, (is, was))| mend::Patch {
            file: mended.file.clone(),
            offset: mended.offset + number,
            was: *is,
            byte: *was,
            what: "the file",
        })
    });
    report.patches = patches.collect();
    Ok(report)
}

/// Puts single bytes right in all files.
fn mend(patched: &mut PatchedDisk, disk: &dyn Disk) -> Result<(), ToolError> {
    let folder = disk.describe();
    let failed = unreadable(&folder);
    for entry in disk.list().map_err(&failed)? {
        if entry.name == "STORE" {
            patched.mend_file_header(&entry.name, FileKind::Store).map_err(&failed)?;
        }
    }
    // Headers of all files first: one that is whole says whose the others are.
    let names = |disk: &dyn Disk| -> Result<Survey, ToolError> {
        Survey::of(disk).map_err(|error| ToolError::Unreadable(error.to_string()))
    };
    let survey = names(disk)?;
    for (_, _, name, _) in &survey.snapshots {
        patched.mend_file_header(name, FileKind::Snapshot).map_err(&failed)?;
    }
    for (_, _, name, _) in &survey.segments {
        patched.mend_file_header(name, FileKind::Segment).map_err(&failed)?;
    }
    let survey = names(&*patched)?;
    let store = survey.identity.map(|identity| identity.store);
    let bar = text::progress(
        survey.segments.iter().chain(&survey.snapshots).map(|(.., len)| len).sum(),
        "looking for changed bytes",
    );
    for (_, _, name, len) in &survey.snapshots {
        patched.mend_snapshot(name, store).map_err(unreadable(name))?;
        bar.inc(*len);
    }
    for (first, epoch, name, len) in &survey.segments {
        patched.mend_segment(name, *first, *epoch, store).map_err(unreadable(name))?;
        bar.inc(*len);
    }
    bar.finish_and_clear();
    Ok(())
}

/// The base that loses least.
fn choose<'d>(store: &FirnStore, damages: &'d Damages) -> Result<Chosen<'d>, ToolError> {
    let whole = store.whole_snapshot(damages)?;
    if whole.reader().is_some() || store.links.first().is_some_and(|link| link.first == 1) {
        return Ok(Chosen::Whole(whole));
    }
    for (_, _, name, _) in &store.survey.snapshots {
        if let Ok(reader) = store.snapshot(name) {
            return Ok(Chosen::Partial(PartialSnapshot::new(reader, damages)));
        }
    }
    if let Some((lsn, epoch, name, _)) = store.survey.snapshots.first() {
        let file = store.disk.open(name, OpenMode::Read).map_err(unreadable(name))?;
        let header: Option<FileHeader> = read_header(&*file, name, Some(store.identity.store)).ok();
        let made = header.map_or(0, |header| header.created_ms);
        let seed = Seed::new(store.identity.store, *lsn, *epoch);
        let walked = WalkedSnapshot::open(&store.disk, name, seed, store.identity.hash_seed, damages)?;
        return Ok(Chosen::Walked(walked, *lsn, made));
    }
    Ok(Chosen::Whole(whole))
}

/// The keys that a damaged frame of a store's segment seems to name.
pub(crate) fn frame_keys(store: &FirnStore, file: &str, offset: u64) -> Result<Vec<Vec<u8>>, ToolError> {
    let failed = unreadable(file);
    let firn_engine::format::FileName::Segment { first, epoch } = firn_engine::format::FileName::parse(file) else {
        return Ok(Vec::new());
    };
    let seed = Seed::new(store.identity.store, first, epoch);
    let opened = store.disk.open(file, OpenMode::Read).map_err(&failed)?;
    let mut head = [0; FRAME_HEADER_LEN];
    let read = read_full_at(&*opened, &mut head, offset).map_err(&failed)?;
    let Ok(header) = FrameHeader::decode(&head[..read], &seed, offset) else { return Ok(Vec::new()) };
    let mut payload = vec![0; header.stored_len.min(64 * 1024 * 1024)];
    let read = read_full_at(&*opened, &mut payload, offset + FRAME_HEADER_LEN as u64).map_err(&failed)?;
    Ok(keys_in(&payload[..read], &header))
}

/// Keys at lost positions that other files know of.
fn candidates(store: &FirnStore, lost: &[LostRange], names: &mut BTreeSet<Vec<u8>>) -> Result<(), ToolError> {
    let seed = store.identity.hash_seed;
    let is_lost = |db: usize, key: &[u8]| {
        let position = seed.position(key);
        lost.iter().any(|lost| lost.db == db && lost.range.contains(&position))
    };
    let quiet = Damages::lenient();
    let mut found = Vec::new();
    store.all_records(&quiet).visit(&mut |change| {
        if crate::dataset::change::touched(change.words, &mut found).is_some() && names.len() < NAMES_MAX {
            for at in &found {
                if is_lost(change.db, change.words[*at]) {
                    names.insert(change.words[*at].to_vec());
                }
            }
        }
        Ok(())
    })?;
    for (_, _, name, _) in &store.survey.snapshots {
        let Ok(reader) = store.snapshot(name) else { continue };
        let other = PartialSnapshot::new(reader, &quiet);
        for lost in lost {
            other.visit(Some(lost.db), lost.range.clone(), &mut |_, _, entry| {
                if names.len() < NAMES_MAX {
                    names.insert(entry.key.to_vec());
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// Copies the damaged bytes as they are.
fn set_aside(disk: &dyn Disk, folder: &Path, stretches: &[Stretch]) -> Result<(), ToolError> {
    if stretches.is_empty() {
        return Ok(());
    }
    let failed = |error: std::io::Error| ToolError::Unreadable(format!("{}: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(failed)?;
    for stretch in stretches {
        let file = disk.open(&stretch.file, OpenMode::Read).map_err(unreadable(&stretch.file))?;
        let path = folder.join(format!("{}.bytes-{}", stretch.file, stretch.from));
        let mut to = std::fs::File::create_new(&path).map_err(failed)?;
        let (mut at, mut buffer) = (stretch.from, vec![0; 256 * 1024]);
        while at < stretch.to {
            let len = usize::try_from(stretch.to - at).map_or(buffer.len(), |left| left.min(buffer.len()));
            let read = read_full_at(&*file, &mut buffer[..len], at).map_err(unreadable(&stretch.file))?;
            if read == 0 {
                break;
            }
            to.write_all(&buffer[..read]).map_err(failed)?;
            at += read as u64;
        }
    }
    Ok(())
}

/// What was made, and what was not, whatever kind of files it was.
struct Report<'a> {
    args: &'a RepairArgs,
    patches: Vec<mend::Patch>,
    findings: Vec<Finding>,
    lost_keys: BTreeSet<Vec<u8>>,
    stretches: Vec<Stretch>,
    aside: PathBuf,
    info: StateInfo,
    entries: u64,
    covered: Lsn,
    /// The form, if it is another than a store.
    other_form: bool,
}

impl<'a> Report<'a> {
    /// Of nothing so far.
    fn new(args: &'a RepairArgs) -> Self {
        Report {
            args,
            patches: Vec::new(),
            findings: Vec::new(),
            lost_keys: BTreeSet::new(),
            stretches: Vec::new(),
            aside: args.set_aside(),
            info: StateInfo::default(),
            entries: 0,
            covered: 0,
            other_form: false,
        }
    }

    /// Names keys that were lost, if they were to be in the copy: of what database and type they were, damage does not tell.
    fn lose(&mut self, keys: impl IntoIterator<Item = Vec<u8>>, filter: &Filter) {
        self.lost_keys.extend(keys.into_iter().filter(|key| filter.wants_name(key)));
    }

    /// How many parts could not be read.
    fn losses(&self) -> u64 {
        self.findings.iter().filter(|finding| finding.severity != Severity::Note).count() as u64
    }

    fn print(&self, out: &mut dyn Write) -> Result<(), ToolError> {
        let losses = self.losses();
        if self.args.json {
            let findings: Vec<Value> = self
                .findings
                .iter()
                .map(|it| {
                    json!({ "file": it.file, "offset": it.offset, "lsn": it.lsn, "message": it.message, "loss": it.severity != Severity::Note })
                })
                .collect();
            let mended: Vec<Value> = self
                .patches
                .iter()
                .map(|it| json!({ "file": it.file, "offset": it.offset, "was": it.was, "byte": it.byte, "part_of": it.what }))
                .collect();
            let facts = json!({
                "output": self.args.output.display().to_string(),
                "lsn": self.info.lsn,
                "entries": self.entries,
                "snapshot_lsn": self.covered,
                "mended": mended,
                "left_out": findings,
                "lost_keys": self.lost_keys.iter().map(|key| json::bytes(key)).collect::<Vec<_>>(),
                "set_aside": self.stretches.iter()
                    .map(|it| json!({ "file": it.file, "from": it.from, "to": it.to }))
                    .collect::<Vec<_>>(),
                "set_aside_in": (!self.stretches.is_empty()).then(|| self.aside.display().to_string()),
            });
            writeln!(out, "{facts}")?;
            return Ok(());
        }
        let style = Style::for_stdout();
        for patch in &self.patches {
            let line = format!(
                "{} at byte {}: {:#04x} was {:#04x} before it was changed ({} fits its checksum again)",
                patch.file, patch.offset, patch.was, patch.byte, patch.what
            );
            writeln!(out, "{} {line}", style.good("mended  "))?;
        }
        for finding in &self.findings {
            let label = if finding.severity == Severity::Note { style.note("cut off ") } else { style.bad("left out") };
            writeln!(out, "{label} {finding}")?;
        }
        if !self.lost_keys.is_empty() {
            writeln!(out, "Keys that this may have changed or lost:")?;
            for key in self.lost_keys.iter().take(50) {
                writeln!(out, "  {}", text::word(key, true))?;
            }
            if self.lost_keys.len() > 50 {
                writeln!(out, "  and {} more (--json names them)", text::count(self.lost_keys.len() as u64 - 50))?;
            }
        }
        if !self.stretches.is_empty() {
            writeln!(out, "The damaged bytes are in {}.", self.aside.display())?;
        }
        let moment = if self.info.lsn.is_some() { format!(" as of {}", when(&self.info)) } else { String::new() };
        writeln!(
            out,
            "Made {} with {}{moment}{}. {}",
            self.args.output.display(),
            text::counted(self.entries, "key", "keys"),
            if self.other_form { "" } else { ", read back whole" },
            match losses {
                0 => style.good("Nothing was lost."),
                losses => style.bad(&format!("{} could not be read.", text::counted(losses, "part", "parts"))),
            }
        )?;
        Ok(())
    }
}

//! `firn repair`: a mended copy of a damaged store, that loses only what cannot be read, and says what that is.
//!
//! 1. Single changed bytes are found by their checksums and put right: nothing is lost by them ([`mend`]). What is behind missing or added bytes
//!    is put back into its place ([`realign`]).
//! 2. Then the base is chosen: the newest snapshot that verifies, else what is left of the newest that can be read, unless the log
//!    reaches back to its beginning. Frames that do not verify are left out one by one, never all that follows them.
//! 3. The state that this gives becomes a new store. The damaged bytes are set aside beside it, and keys that are lost are named as far as
//!    they can be known: from readable parts of the damage, and from what other files say about the same positions.
//! 4. The damaged store is only read.

mod frames;
mod mend;
mod partial;
mod patched;
mod prefix;
mod realign;
mod report;
mod walked;

use crate::check::is_torn_tail;
use crate::choice::{MemoryArgs, libraries, when};
use crate::dataset::firn::{FirnStore, SnapshotBase};
use crate::dataset::lines::RowFile;
use crate::dataset::redis::RedisFiles;
use crate::dataset::{Base, Damages, Loss, MEMORY_DEFAULT, StateInfo, Tail, Unnamed, state};
use crate::filter::{Filter, KeyArgs, ValueArgs};
use crate::folder::{Finding, Severity};
use crate::make::NewStore;
use crate::sink::{Format, RDB_VERSION_DEFAULT, Sink};
use crate::target::{Kind, OneFile, Target, unreadable};
use crate::text;
use crate::{Outcome, ToolError, spool};
use firn_engine::disk::real::RealDisk;
use firn_engine::disk::{Disk, OpenMode, read_full_at};
use firn_engine::format::{FileHeader, FileKind, FileName, HEADER_LEN, Seed, StoreId};
use firn_engine::keyspace::libraries::Libraries;
use firn_engine::log::Lsn;
use firn_engine::log::chain::needed;
use firn_engine::recovery::survey::Survey;
use firn_engine::snapshot::reader::read_header;
pub(crate) use frames::frames_in;
use partial::{LostRange, PartialSnapshot};
use patched::{Patch, PatchedDisk};
use report::Report;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use walked::WalkedSnapshot;

/// Keys that are named at most; more are only counted.
const NAMES_MAX: usize = 1000;

/// What to repair, and where to.
#[derive(clap::Args)]
pub(crate) struct RepairArgs {
    /// The damaged store's folder, a snapshot, or files of Redis; they are only read. `-` for standard input.
    path: PathBuf,
    /// Makes the mended store in this folder, which must be absent or empty; of Redis' files also a file of another form.
    #[arg(short, long, value_name = "NEW")]
    output: PathBuf,
    /// Where damaged bytes are set aside, a folder that is absent or empty: NEW-set-aside without it.
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
    let aside = args.set_aside();
    if std::fs::read_dir(&aside).is_ok_and(|mut all| all.next().is_some()) || aside.is_file() {
        let text = "is there and not empty: damaged bytes are set aside in a new folder (--set-aside FOLDER)";
        return Err(ToolError::Usage(format!("{} {text}", aside.display())));
    }
    if let Some(file) = RowFile::at(&spool::input(&args.path)?).filter(|_| !args.path.is_dir()) {
        return Err(ToolError::Usage(format!(
            "{} is {}, which has no checksums and can be mended in an editor: firn check names the lines that are wrong. Mended are Firn stores and \
             snapshots, RDB files, append-only files and their folders",
            spool::name(&args.path),
            file.kind()
        )));
    }
    let mut report = match RedisFiles::at(&args.path)? {
        Some(files) => of_redis(args, &files, &filter, memory)?,
        None => of_store(args, &filter, memory)?,
    };
    // Something is lost, and nothing gave a name.
    report.unnamed.perhaps |= report.losses() > 0 && report.lost_keys.is_empty() && filter.wants_all_keys();
    report.print(out)?;
    Ok(if report.losses() > 0 { Outcome::Damage } else { Outcome::Fine })
}

/// A snapshot without its folder, under the name that it has in one.
fn alone(disk: Arc<dyn Disk>, name: &str) -> Result<Arc<dyn Disk>, ToolError> {
    let file = disk.open(name, OpenMode::Read).map_err(unreadable(name))?;
    let known = match FileName::parse(name) {
        FileName::Snapshot { .. } => name.to_owned(),
        _ => {
            let header = read_header(&*file, name, None).map_err(|error| ToolError::Damage(error.to_string()))?;
            FileName::Snapshot { lsn: header.number, epoch: header.epoch }.to_string()
        }
    };
    Ok(Arc::new(OneFile::new(disk, name, &known)))
}

/// What can be read of a store, as a new one.
fn of_store<'a>(args: &'a RepairArgs, filter: &Filter, memory: u64) -> Result<Report<'a>, ToolError> {
    // What is not there, or is nothing that can be mended, is told before what its copy cannot be.
    let target = Target::of(&args.path)?;
    if args.format.or_else(|| Format::of(&args.output)).is_some_and(|format| format != Format::Firn) {
        let text = "a store is mended as a store, which firn convert then gives another form";
        return Err(ToolError::Usage(text.to_owned()));
    }
    let (raw, is_alone) = match target {
        Target::Folder(disk) => (disk, false),
        Target::File { disk, name, kind: Kind::Snapshot } => (alone(disk, &name)?, true),
        Target::File { name, kind: Kind::Segment { .. }, .. } => {
            return Err(ToolError::Usage(format!(
                "{name} alone holds changes, and no state that they could be made on: give its folder (firn check and firn inspect --records read \
                 the segment alone)"
            )));
        }
        Target::File { name, kind: Kind::Identity(_), .. } => {
            return Err(ToolError::Usage(format!("{name} alone only says whose a store is: give its folder")));
        }
    };
    let mut patched = PatchedDisk::new(Arc::clone(&raw));
    mend(&mut patched, &*raw)?;
    let mut report = Report { patches: patched.patches().cloned().collect(), ..Report::new(args) };
    report.shifts = patched.shifts().map(|(name, shift)| (name.clone(), *shift)).collect();
    let patched = Arc::new(patched);
    let disk: Arc<dyn Disk> = patched.clone();
    let store = FirnStore::open(Arc::clone(&disk))?;
    let damages = Damages::lenient();
    let chosen = choose(&store, &damages)?;
    let (covered, base_ms) = chosen.moment();
    if let Chosen::Whole(base) = &chosen
        && let Some(reader) = base.reader().filter(|reader| reader.has_log() && store.links.is_empty() && !is_alone)
    {
        let message = "a log was on when it was made, and not one segment of it is there".to_owned();
        let (severity, file, lsn) = (Severity::Damage, reader.name().to_owned(), Some(covered + 1));
        damages.report(Finding { severity, file: file.clone(), offset: None, lsn, message })?;
        damages.lose(Loss::unknown(file.into(), 0));
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

    (report.cut_off, report.findings) = damages.take().into_iter().partition(is_torn_tail);
    let mut lost_keys: BTreeSet<Vec<u8>> = BTreeSet::new();
    for loss in damages.take_losses() {
        report.unnamed = report.unnamed.and(loss.unnamed);
        lost_keys.extend(loss.keys);
    }
    for skipped in store.damaged_stretches()? {
        let (from, to) = (skipped.offset, skipped.to_offset);
        if skipped.to_lsn > covered + 1 {
            lose_records(&store, &skipped, covered, &mut lost_keys, &mut report)?;
        } else {
            let message = format!(
                "bytes up to {to} cannot be read; the snapshot holds what their records did: no key is lost by them, only moments before LSN {}",
                skipped.to_lsn
            );
            let (severity, file) = (Severity::Note, skipped.file.clone());
            report.findings.push(Finding { severity, file, offset: Some(from), lsn: None, message });
        }
        report.stretches.push(Stretch { file: skipped.file, from, to });
    }
    let lost_ranges: Vec<LostRange> = match &chosen {
        Chosen::Partial(partial) => partial.lost.borrow().clone(),
        Chosen::Walked(walked, ..) => walked.lost.clone(),
        Chosen::Whole(_) => Vec::new(),
    };
    report.stretches.extend(lost_ranges.iter().filter(|lost| lost.end > lost.offset).map(|lost| Stretch {
        file: lost.file.clone(),
        from: lost.offset,
        to: lost.end,
    }));
    if let Chosen::Walked(walked, ..) = &chosen {
        report.unnamed = report.unnamed.and(walked.unnamed());
        report.stretches.extend(walked.gaps.iter().map(|&(from, to)| Stretch { file: walked.name.clone(), from, to }));
        lost_keys.extend(walked.broken_keys.borrow().iter().cloned());
    }
    report.stretches.sort_by(|one, other| (&one.file, one.from, one.to).cmp(&(&other.file, other.from, other.to)));
    report.stretches.dedup();
    if !lost_ranges.is_empty() {
        let entries: u64 = lost_ranges.iter().map(|lost| lost.entries).sum();
        let mut named: BTreeSet<Vec<u8>> = lost_ranges.iter().flat_map(|lost| lost.named.iter().cloned()).collect();
        let complete = lost_ranges.iter().all(|lost| lost.named.len() as u64 == lost.entries);
        if !complete {
            candidates(&store, &lost_ranges, &mut named)?;
        }
        let about = entries.saturating_sub(named.len() as u64);
        report.unnamed = report.unnamed.and(Unnamed { about, perhaps: !complete });
        lost_keys.extend(named);
    }
    report.lose(lost_keys, filter);
    for stretch in &mut report.stretches {
        // In the file as it is.
        let (from, to) = (patched.actual(&stretch.file, stretch.from), patched.actual(&stretch.file, stretch.to));
        (stretch.from, stretch.to) = (from.min(to), to);
    }
    set_aside(&*raw, &report.aside, &report.stretches)?;
    Ok(report)
}

/// Names the keys of records that cannot be read and that no snapshot holds.
fn lose_records(
    store: &FirnStore,
    skipped: &crate::dataset::firn::Stretch,
    covered: Lsn,
    lost_keys: &mut BTreeSet<Vec<u8>>,
    report: &mut Report<'_>,
) -> Result<(), ToolError> {
    let found = frames_in(&*store.disk, Some(store.identity.store), &skipped.file, skipped.offset..skipped.to_offset)?;
    let records = skipped.to_lsn.saturating_sub(skipped.lsn.max(covered + 1));
    let is_tail = skipped.to_lsn == Lsn::MAX;
    // A record may be about several keys; each that gave no name at all counts for one.
    let about = if is_tail {
        u64::from(found.keys.is_empty() && !skipped.is_torn)
    } else {
        records.saturating_sub(found.records)
    };
    let perhaps = !(found.is_whole || is_tail && skipped.is_torn);
    report.unnamed = report.unnamed.and(Unnamed { about, perhaps });
    lost_keys.extend(found.keys);
    Ok(())
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
        losses.iter().any(|loss| loss.harmless && same(loss))
    };
    report.findings = damages.take();
    for finding in &mut report.findings {
        if files.is_made_again(finding) {
            report.made_again.push(finding.clone());
            finding.severity = Severity::Note;
        } else if nothing_lost(finding) {
            report.cut_off.push(Finding { severity: Severity::Note, ..finding.clone() });
            finding.severity = Severity::Note;
        }
    }
    let said_elsewhere =
        |finding: &Finding| report.made_again.iter().chain(&report.cut_off).any(|it| it.message == finding.message);
    report.findings.retain(|finding| !said_elsewhere(finding));
    for loss in &losses {
        report.unnamed = report.unnamed.and(loss.unnamed);
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
        (0..).zip(mended.is.iter().zip(&mended.was)).map(|(number, (is, was))| Patch {
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

/// The folder with frames and blocks in their places, behind missing or added bytes too, and where these are.
pub(crate) fn realigned(disk: &Arc<dyn Disk>) -> Result<(Arc<dyn Disk>, Vec<Finding>), ToolError> {
    let mut patched = PatchedDisk::new(Arc::clone(disk));
    let survey = Survey::of(&**disk).map_err(|error| ToolError::Unreadable(error.to_string()))?;
    for (first, epoch, name, _) in &survey.segments {
        if let Some(identity) = &survey.identity {
            patched.realign_segment(name, *first, *epoch, identity.store).map_err(unreadable(name))?;
        }
    }
    for (_, _, name, _) in &survey.snapshots {
        patched.realign_snapshot(name).map_err(unreadable(name))?;
    }
    let shifted = patched.shifts().map(|(name, shift)| Finding {
        severity: Severity::Damage,
        file: name.clone(),
        offset: Some(shift.at),
        lsn: None,
        message: format!("{shift} (what firn repair would read behind it is told as if that were right)"),
    });
    let shifted = shifted.collect();
    Ok((Arc::new(patched), shifted))
}

/// The same of one segment, and whose it is: as its header says, or else the other files of its folder.
pub(crate) fn realigned_segment(
    disk: &Arc<dyn Disk>,
    name: &str,
    first: Lsn,
    epoch: u64,
) -> Result<(Arc<dyn Disk>, Option<StoreId>), ToolError> {
    let mut patched = PatchedDisk::new(Arc::clone(disk));
    let header = FileHeader::decode(&patched.read(name, 0, HEADER_LEN).map_err(unreadable(name))?, FileKind::Segment);
    let others = || Survey::of(&**disk).ok().and_then(|survey| survey.identity).map(|identity| identity.store);
    let store = header.ok().map(|header| header.store).or_else(others);
    if let Some(store) = store {
        patched.realign_segment(name, first, epoch, store).map_err(unreadable(name))?;
    }
    Ok((Arc::new(patched), store))
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
    for (number, epoch, name, _) in &survey.snapshots {
        patched.make_header_again(name, FileKind::Snapshot, (*number, *epoch), survey.identity).map_err(&failed)?;
        patched.realign_snapshot(name).map_err(&failed)?;
    }
    for (number, epoch, name, _) in &survey.segments {
        patched.make_header_again(name, FileKind::Segment, (*number, *epoch), survey.identity).map_err(&failed)?;
        if let Some(store) = store {
            patched.realign_segment(name, *number, *epoch, store).map_err(&failed)?;
        }
    }
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
    // A log that leads on from it, or the newest one, loses nothing; else more of a newer one may be left.
    let lsn = whole.info().lsn.unwrap_or(0);
    let newest = store.survey.snapshots.first().map_or(0, |(lsn, ..)| *lsn);
    let leads_on = needed(&store.links, Some(lsn)).first().is_some_and(|link| link.first <= lsn + 1);
    if whole.reader().is_some() && (leads_on || lsn == newest) || lsn == 0 && leads_on {
        return Ok(Chosen::Whole(whole));
    }
    for (_, _, name, _) in &store.survey.snapshots {
        if let Ok(reader) = store.snapshot(name) {
            return Ok(Chosen::Partial(PartialSnapshot::new(reader, &store.disk, damages)));
        }
    }
    if let (Some((lsn, epoch, name, _)), None) = (store.survey.snapshots.first(), whole.reader()) {
        let file = store.disk.open(name, OpenMode::Read).map_err(unreadable(name))?;
        let header: Option<FileHeader> = read_header(&*file, name, Some(store.identity.store)).ok();
        let made = header.map_or(0, |header| header.created_ms);
        let seed = Seed::new(store.identity.store, *lsn, *epoch);
        let walked = WalkedSnapshot::open(&store.disk, name, seed, store.identity.hash_seed, damages)?;
        return Ok(Chosen::Walked(walked, *lsn, made));
    }
    Ok(Chosen::Whole(whole))
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
        let other = PartialSnapshot::new(reader, &store.disk, &quiet);
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
    for stretch in stretches.iter().filter(|stretch| stretch.to > stretch.from) {
        let file = disk.open(&stretch.file, OpenMode::Read).map_err(unreadable(&stretch.file))?;
        let name = format!("{}.bytes-{}", stretch.file, stretch.from);
        // Stretches overlap where bytes are missing, or where an entry was looked at twice.
        let names = std::iter::once(name.clone()).chain((2..).map(|number| format!("{name}-{number}")));
        let mut made = names.map(|name| std::fs::File::create_new(folder.join(name)));
        let is_taken =
            |made: &std::io::Result<_>| made.as_ref().is_err_and(|why| why.kind() == std::io::ErrorKind::AlreadyExists);
        let mut to = made.find(|made| !is_taken(made)).expect("numbers go on").map_err(failed)?;
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

//! Opening a store: what its files say ([`survey`]), what that means ([`judge`]), the state they hold, and the new epoch.
//!
//! 1. Nothing is changed before everything needed has been read, verified and applied.
//! 2. Then, in this order, each durable before the next: the new epoch's first segment with the copied tail; what does not count is
//!    set aside; `STORE` if it is missing; leftovers of unfinished files go; the last segment before the new epoch is sealed. A crash anywhere in between is harmless: until the new
//!    segment has its name, the next open finds what this one found; afterwards it finds the same state.
//! 3. Nothing that could not be read is deleted or overwritten.

mod error;
pub mod judge;
pub mod replay;
pub mod survey;

pub use error::OpenError;

use crate::disk::{DirLock, Disk, OpenMode, read_full_at, write_all_at};
use crate::engine::Engine;
use crate::format::{BadHeader, FileHeader, FileKind, FileName, StoreId};
use crate::import::{ImportReport, import};
use crate::key::HashSeed;
use crate::keyspace::Keyspace;
use crate::log::chain::{Link, chain, needed};
use crate::log::reader::{End, ReadFailure, SegmentReader};
use crate::log::segment::{Identity, NewEpoch, Ready, SegmentBuilder, seal_ended};
use crate::log::{Effects, Lsn, Record};
use crate::snapshot::load;
use crate::snapshot::reader::SnapshotReader;
use crate::snapshot::{BadSnapshot, SnapshotError};
use crate::store::Options;
use crate::value::Shaping;
use judge::{Found, Plan, Refusal, SegmentFound, SetAside, Verdict, Why, judge};
use replay::apply_payload;
use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use survey::{Survey, refusal};

/// A clock that jumped forward by more than this between the last frame and the start is not believed at once (ms).
const JUMP_MS: u64 = 24 * 60 * 60 * 1000;
/// So long after the start dead keys are then hidden but not deleted (ms).
const JUMP_HOLD_MS: u64 = 60 * 1000;

/// What was found and done when the store was opened.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// The new epoch.
    pub epoch: u64,
    /// LSN of the state.
    pub lsn: Lsn,
    /// The highest LSN that anything stated as durable.
    pub durable: Lsn,
    /// LSN of the snapshot that was loaded; 0 without one.
    pub snapshot_lsn: Lsn,
    /// Its length in bytes.
    pub snapshot_len: u64,
    /// Segments replayed.
    pub segments: u64,
    /// Records replayed.
    pub records: u64,
    /// Bytes of the segments that were read.
    pub replayed_bytes: u64,
    /// Names and lengths of what does not count: bytes behind a torn tail, snapshots that do not verify.
    pub set_aside: Vec<(String, u64)>,
    /// What a person should be told.
    pub warnings: Vec<String>,
    /// How long it took, ms.
    pub took_ms: u64,
    /// Whether the store is new.
    pub created: bool,
    /// What it was filled with.
    pub imported: Option<ImportReport>,
}

/// A store's state, ready to go on.
pub struct Recovered {
    /// The engine, whose next record is the one after the state's LSN.
    pub engine: Engine,
    /// Whose store.
    pub identity: Identity,
    /// The new epoch's first segment.
    pub ready: Ready,
    /// The folder.
    pub lock: Box<dyn DirLock>,
    /// What was found.
    pub report: RecoveryReport,
    /// Snapshots (LSN, epoch) that were verified whole.
    pub verified: HashSet<(Lsn, u64)>,
}

/// The state that the files hold, before anything was changed.
struct Loaded {
    engine: Engine,
    plan: Plan,
    /// The needed segments.
    segments: Vec<(Link, String)>,
    /// The header of the segment that [`Plan::seal`] names.
    ended: Option<FileHeader>,
    snapshot: Option<(Lsn, u64, u64)>,
    /// Newer snapshots that do not verify, and why.
    broken: Vec<(String, SnapshotError)>,
    records: u64,
    bytes: u64,
    last_time_ms: u64,
}

/// Opens the store on `disk`, or makes a new one if there is nothing.
///
/// # Errors
/// [`OpenError`]; then nothing of the store was changed.
pub fn open(disk: &Arc<dyn Disk>, options: &Options) -> Result<Recovered, OpenError> {
    let began = options.clock.monotonic_ms();
    let lock = disk.lock().map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => OpenError::InUse(source.to_string()),
        _ => OpenError::Io { doing: "locking", file: disk.describe(), source },
    })?;
    let mut survey = Survey::of(&**disk)?;
    let created = survey.is_new();
    let fresh = Identity {
        store: StoreId(std::array::from_fn(|at| options.entropy[at])),
        hash_seed: HashSeed(std::array::from_fn(|at| options.entropy[16 + at])),
    };
    let mut imported = None;
    if created && let Some(from) = &options.import {
        imported = import(disk, fresh, options, &**from)?;
        if imported.is_some() {
            // From here on a store as any other, that was closed after its first snapshot: what was written is read back whole.
            survey = Survey::of(&**disk)?;
        }
    }
    if survey.is_new()
        && let Some(file) = &survey.foreign
    {
        let (folder, file) = (disk.describe(), file.clone());
        return Err(match survey::redis_file([&*file]) {
            Some(_) => OpenError::RedisFiles { folder, file },
            None => OpenError::NotAStore { folder, file },
        });
    }
    let identity = match survey.identity {
        Some(identity) => identity,
        None if survey.is_new() => fresh,
        None if options.allow_empty && survey.segments.is_empty() && survey.snapshots.is_empty() => fresh,
        // There are files, and none of them says whose they are.
        None => {
            let (file, why) = match &survey.bad_store {
                Some(bad) if survey.segments.is_empty() && survey.snapshots.is_empty() => {
                    ("STORE".to_owned(), bad.to_string())
                }
                _ => {
                    let any =
                        survey.segments.first().or(survey.snapshots.first()).map_or("STORE", |(_, _, name, _)| name);
                    (any.to_owned(), "no file's header can be read".to_owned())
                }
            };
            return Err(refusal(Some(file), Why::Damaged(why)));
        }
    };
    let loaded = load_state(disk, &survey, identity, options)?;
    let mut recovered = begin_epoch(disk, &survey, identity, loaded, options, lock)?;
    recovered.report.created = created;
    recovered.report.imported = imported;
    recovered.report.took_ms = options.clock.monotonic_ms() - began;
    Ok(recovered)
}

/// The keyspace that the files of an open store hold, which must be that at LSN `wanted`. Changes nothing.
///
/// # Errors
/// [`OpenError`].
pub fn read_state(
    disk: &Arc<dyn Disk>,
    identity: Identity,
    options: &Options,
    wanted: Lsn,
) -> Result<Keyspace, OpenError> {
    let loaded = load_state(disk, &Survey::of(&**disk)?, identity, options)?;
    let found = loaded.plan.next - 1;
    if found != wanted {
        return Err(OpenError::OtherState { found, wanted });
    }
    Ok(loaded.engine.keyspace)
}

fn tell(options: &Options, what: &str, done: u64, of: u64) {
    if let Some(progress) = options.progress {
        progress(what, done, of);
    }
}

fn load_state(
    disk: &Arc<dyn Disk>,
    survey: &Survey,
    identity: Identity,
    options: &Options,
) -> Result<Loaded, OpenError> {
    let mut broken = Vec::new();
    let mut snapshot = None;
    let mut keyspace = None;
    let (mut stated, mut has_log) = (0, false);
    let mut snapshot_time_ms = 0;
    let shaping = Shaping { seed: identity.hash_seed, ..options.shaping.clone() };
    for (lsn, epoch, name, len) in &survey.snapshots {
        let loaded = SnapshotReader::open(&**disk, name, Some(identity.store)).and_then(|reader| {
            let total = reader.footer().entries;
            let progress = |done| tell(options, "loading the snapshot", done, total);
            let keyspace = load::load(&reader, options.databases, options.load_threads, &shaping, &progress)?;
            let durable = reader.header().durable.max(reader.footer().durable);
            Ok((keyspace, durable, reader.header().created_ms, reader.has_log()))
        });
        match loaded {
            Ok((found, durable, created_ms, logged)) => {
                (keyspace, stated, snapshot_time_ms, has_log) = (Some(found), durable, created_ms, logged);
                snapshot = Some((*lsn, *epoch, *len));
                break;
            }
            Err(error @ SnapshotError::Damaged { why: BadSnapshot::Header(_), .. }) if is_foreign(&error) => {
                return Err(refusal(Some(name.clone()), Why::Foreign(error.to_string())));
            }
            Err(error) if error.is_damage() => broken.push((name.clone(), error)),
            Err(error) => return Err(error.into()),
        }
    }
    let covered = snapshot.map(|(lsn, ..)| lsn);
    let names: Vec<_> = survey.segments.iter().map(|(first, epoch, ..)| (*first, *epoch)).collect();
    let all = chain(&names);
    let mut start = all.len() - needed(&all, covered).len();
    let mut last_time_ms = snapshot_time_ms;
    let mut bytes = 0;
    let mut scanned = |link: &Link| -> Result<SegmentFound, OpenError> {
        let name = &survey.segments[link.index].2;
        let file = disk.open(name, OpenMode::Read).map_err(OpenError::io("opening", name))?;
        let scan = SegmentReader::open(&*file, link.first, link.epoch, Some(identity.store))
            .and_then(|reader| reader.until(link.until).covered(covered.unwrap_or(0)).scan());
        if let Ok(scan) = &scan {
            last_time_ms = last_time_ms.max(scan.last_time_ms);
            bytes += scan.offset;
        }
        Ok(SegmentFound { name: name.clone(), first: link.first, epoch: link.epoch, scan })
    };
    let mut segments = Vec::with_capacity(all.len() - start);
    for (at, link) in all[start..].iter().enumerate() {
        tell(options, "verifying the log", at as u64, (all.len() - start) as u64);
        segments.push(scanned(link)?);
    }
    // Whether a header may be missing is told by the segment before.
    while let [SegmentFound { scan: Ok(scan), .. }, ..] = &segments[..]
        && matches!(scan.end, End::BadHeader(_))
        && start > 0
    {
        start -= 1;
        segments.insert(0, scanned(&all[start])?);
    }
    let links = &all[start..];
    let found = Found {
        snapshot: covered,
        snapshot_epoch: snapshot.map_or(0, |(_, epoch, _)| epoch),
        broken_snapshots: survey.snapshots.iter().take(broken.len()).map(|(lsn, ..)| *lsn).collect(),
        durable: stated,
        has_log,
        identity: (survey.has_store || survey.bad_store.is_some()) && !options.allow_empty,
        segments,
    };
    let plan = match judge(&found) {
        Verdict::Open(plan) => plan,
        Verdict::Refuse(refusal) => return Err(OpenError::Refused(Box::new(refusal))),
    };
    let ended = plan.seal.and_then(|end| found.segments[end.segment].scan.as_ref().ok()?.header.clone());
    let random = u64::from_le_bytes(std::array::from_fn(|at| options.entropy[32 + at]));
    let keyspace = keyspace.unwrap_or_else(|| Keyspace::new(identity.hash_seed, options.databases));
    let mut engine = Engine::new(keyspace, Effects::new(plan.next), random);
    engine.settings.shaping = shaping;
    let mut loaded = Loaded {
        engine,
        plan,
        segments: links.iter().map(|link| (*link, survey.segments[link.index].2.clone())).collect(),
        ended,
        snapshot,
        broken,
        records: 0,
        bytes,
        last_time_ms,
    };
    loaded.replay(disk, identity, options)?;
    Ok(loaded)
}

fn is_foreign(error: &SnapshotError) -> bool {
    let SnapshotError::Damaged { why: BadSnapshot::Header(bad), .. } = error else { return false };
    matches!(bad, BadHeader::OtherStore { .. } | BadHeader::OtherName { .. })
}

fn read_failed(name: &str) -> impl FnOnce(ReadFailure) -> OpenError {
    move |failure| {
        let why = Why::Disk(failure.source.to_string());
        let refusal = Refusal { file: Some(name.to_owned()), offset: Some(failure.offset), lsn: 0, durable: 0, why };
        OpenError::Refused(Box::new(refusal))
    }
}

impl Loaded {
    fn replay(&mut self, disk: &Arc<dyn Disk>, identity: Identity, options: &Options) -> Result<(), OpenError> {
        self.engine.replaying = true;
        let total: u64 = self.plan.replay.iter().map(|part| part.to + 1 - part.from).sum();
        let covered = self.snapshot.map_or(0, |(lsn, ..)| lsn);
        for part in &self.plan.replay {
            let (link, name) = &self.segments[part.segment];
            let file = disk.open(name, OpenMode::Read).map_err(OpenError::io("opening", name))?;
            let mut reader = SegmentReader::open(&*file, link.first, link.epoch, Some(identity.store))
                .map_err(read_failed(name))?
                .until(link.until)
                .covered(covered);
            while let Some(frame) = reader.next_frame().map_err(read_failed(name))? {
                if !frame.header.is_data() || frame.header.next() <= part.from {
                    continue;
                }
                if frame.header.first > part.to {
                    break;
                }
                apply_payload(
                    &mut self.engine,
                    frame.payload,
                    frame.header.first,
                    frame.header.time_ms,
                    part.from..=part.to,
                )
                .map_err(|source| OpenError::Replay { file: name.clone(), source })?;
                let applied = frame.header.next().min(part.to + 1) - frame.header.first.max(part.from);
                let before = self.records;
                self.records += applied;
                if before >> 16 != self.records >> 16 {
                    tell(options, "replaying the log", self.records, total);
                }
            }
        }
        self.engine.replaying = false;
        while self.engine.keyspace.pop_dead().is_some() {}
        self.engine.dirty = self.records;
        Ok(())
    }

    /// Writes the records that are not known durable into the new segment.
    fn copy_tail(
        &self,
        disk: &Arc<dyn Disk>,
        identity: Identity,
        builder: &mut SegmentBuilder,
    ) -> Result<(), OpenError> {
        let from = self.plan.copy_from;
        let covered = self.snapshot.map_or(0, |(lsn, ..)| lsn);
        for part in &self.plan.copy {
            let (link, name) = &self.segments[part.segment];
            let file = disk.open(name, OpenMode::Read).map_err(OpenError::io("opening", name))?;
            let mut reader = SegmentReader::open(&*file, link.first, link.epoch, Some(identity.store))
                .map_err(read_failed(name))?
                .until(link.until)
                .covered(covered);
            while let Some(frame) = reader.next_frame().map_err(read_failed(name))? {
                let header = frame.header;
                if !header.is_data() || header.next() <= from {
                    continue;
                }
                if header.first > part.to {
                    break;
                }
                // The first and the last frame may reach beyond what is wanted.
                let mut wanted = frame.payload;
                let (mut first, mut count) = (header.first, header.count);
                while first < from && Record::take(&mut wanted, first, header.time_ms).is_ok() {
                    first += 1;
                    count -= 1;
                }
                let mut rest = wanted;
                let keep = count.min((part.to + 1 - first) as u32);
                for at in 0..keep {
                    if Record::take(&mut rest, first + Lsn::from(at), header.time_ms).is_err() {
                        break;
                    }
                }
                let wanted = &wanted[..wanted.len() - rest.len()];
                builder
                    .push_records(wanted, first, keep, header.time_ms)
                    .map_err(OpenError::io("copying the tail of", name))?;
            }
        }
        Ok(())
    }
}

/// Gives back the blocks that the last run took ahead of its log's end; one that was stopped has done so itself. Else every crash would
/// keep a whole segment of the disk until compaction removes the file. No byte changes, and no length.
fn release_ahead(disk: &dyn Disk, survey: &Survey) {
    for (_, epoch, name, len) in &survey.segments {
        if *epoch == survey.epoch {
            // A file system that cannot is as well off as before.
            let _ = disk.open(name, OpenMode::Write).and_then(|file| file.set_len(*len));
        }
    }
}

/// Makes the new epoch durable, and then puts aside what does not count.
fn begin_epoch(
    disk: &Arc<dyn Disk>,
    survey: &Survey,
    identity: Identity,
    loaded: Loaded,
    options: &Options,
    lock: Box<dyn DirLock>,
) -> Result<Recovered, OpenError> {
    let epoch = survey.epoch + 1;
    let unix_ms = options.clock.unix_ms();
    let plan = &loaded.plan;
    let new = NewEpoch { epoch, first: plan.copy_from, next: plan.next, unanchored: plan.unanchored, unix_ms };
    let name = FileName::Segment { first: new.first, epoch }.to_string();
    release_ahead(&**disk, survey);
    let begin = || -> Result<_, OpenError> {
        // A process that was killed may have given a name that is not durable yet. A snapshot's holds records that are not copied, and
        // the new segment states them as durable: if its own name reached the device and the snapshot's did not, they were missing.
        disk.sync_dir().map_err(OpenError::io("flushing", "the folder"))?;
        let mut builder =
            SegmentBuilder::create(Arc::clone(disk), identity, new).map_err(OpenError::io("creating", &name))?;
        loaded.copy_tail(disk, identity, &mut builder)?;
        builder.finish().map_err(OpenError::io("writing", &name))
    };
    let ready = match begin() {
        // What the reserve is for: a full disk must not keep a store from being opened, so that keys can be deleted.
        Err(OpenError::Io { source, .. })
            if source.kind() == io::ErrorKind::StorageFull
                && disk.remove(&FileName::Reserve.to_string()).and_then(|()| disk.sync_dir()).is_ok() =>
        {
            begin()?
        }
        other => other?,
    };
    // After a failed flush the page cache shows what the device never got. All of that is now in the new segment: the tail was read
    // from the cache, which still has what a process that was killed had acknowledged. The next reader is to see the device.
    for (_, name) in loaded.segments.iter().rev().take(2) {
        let _ = disk.open(name, OpenMode::Read).and_then(|file| file.sync().and_then(|()| file.drop_cache()));
    }

    let mut report = RecoveryReport {
        epoch,
        lsn: plan.next - 1,
        durable: plan.durable,
        snapshot_lsn: loaded.snapshot.map_or(0, |(lsn, ..)| lsn),
        snapshot_len: loaded.snapshot.map_or(0, |(_, _, len)| len),
        segments: plan.replay.len() as u64,
        records: loaded.records,
        replayed_bytes: loaded.bytes,
        set_aside: survey.aside.clone(),
        warnings: plan.warnings.clone(),
        ..RecoveryReport::default()
    };
    for aside in &plan.set_aside {
        let name = &loaded.segments[aside.segment].1;
        let (to, len) =
            set_aside(&**disk, name, *aside, epoch).map_err(OpenError::io("setting aside the tail of", name))?;
        report.warnings.push(format!(
            "{name}: {len} bytes from byte {} on do not count (they were never durable); kept as {to}",
            aside.offset
        ));
        report.set_aside.push((to, len));
    }
    for (name, error) in &loaded.broken {
        let to = FileName::Bad { of: name.clone(), epoch }.to_string();
        disk.rename(name, &to).map_err(OpenError::io("setting aside", name))?;
        report.warnings.push(format!("{error}; an older state and the log stand in for it; kept as {to}"));
        report.set_aside.push((to, 0));
    }
    if let Some(bad) = &survey.bad_store {
        let to = FileName::Bad { of: "STORE".to_owned(), epoch }.to_string();
        disk.rename("STORE", &to).map_err(OpenError::io("setting aside", "STORE"))?;
        report.warnings.push(format!("STORE: {bad}; it is made anew from the other files; kept as {to}"));
    }
    if !survey.has_store {
        write_identity(&**disk, identity, unix_ms).map_err(OpenError::io("writing", "STORE"))?;
    }
    for name in &survey.temporary {
        match disk.remove(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {} // Made anew, and renamed, by this very open.
            other => other.map_err(OpenError::io("removing", name))?,
        }
    }
    disk.sync_dir().map_err(OpenError::io("syncing", &disk.describe()))?;
    // Bytes that could not be read may lie where the seal goes: their copy is durable by now.
    if let Some((end, header)) = plan.seal.zip(loaded.ended.as_ref())
        && let Err(error) = seal_ended(&**disk, header, end.offset, end.next, plan.next - 1, unix_ms)
    {
        report.warnings.push(format!(
            "{}: its end could not be sealed ({error}); should {name} get lost, that will not be noticed",
            loaded.segments[end.segment].1
        ));
    }

    let mut engine = loaded.engine;
    if loaded.last_time_ms > 0 && unix_ms > loaded.last_time_ms + JUMP_MS {
        engine.hold_expiry_until_ms = options.clock.monotonic_ms() + JUMP_HOLD_MS;
        report.warnings.push(format!(
            "the clock is {} hours after the last record: for a minute expired keys are hidden, not deleted",
            (unix_ms - loaded.last_time_ms) / 3_600_000
        ));
    }
    let verified = loaded.snapshot.map(|(lsn, epoch, _)| (lsn, epoch)).into_iter().collect();
    Ok(Recovered { engine, identity, ready, lock, report, verified })
}

/// Keeps bytes that do not count under another name: a whole file is renamed, the end of one is copied (it stays where it is,
/// superseded by the new epoch).
fn set_aside(disk: &dyn Disk, name: &str, aside: SetAside, epoch: u64) -> io::Result<(String, u64)> {
    let to = FileName::Torn { of: name.to_owned(), epoch }.to_string();
    if aside.offset == 0 {
        let len = disk.open(name, OpenMode::Read)?.len()?;
        disk.rename(name, &to)?;
        return Ok((to, len));
    }
    let from = disk.open(name, OpenMode::Read)?;
    let temporary = FileName::Temporary(to.clone()).to_string();
    let copy = create_anew(disk, &temporary)?;
    let mut chunk = vec![0; 256 * 1024];
    let (mut at, mut len) = (aside.offset, 0);
    loop {
        let read = read_full_at(&*from, &mut chunk, at)?;
        if read == 0 {
            break;
        }
        // Segments are zeroed ahead: zeros at the end say nothing, and zeros in between become a hole.
        if let Some(last) = chunk[..read].iter().rposition(|&byte| byte != 0) {
            let start = at - aside.offset;
            write_all_at(&*copy, &chunk[..=last], start)?;
            len = start + last as u64 + 1;
        }
        at += read as u64;
    }
    copy.sync()?;
    disk.rename(&temporary, &to)?;
    Ok((to, len))
}

fn create_anew(disk: &dyn Disk, name: &str) -> io::Result<Box<dyn crate::disk::File>> {
    match disk.open(name, OpenMode::CreateNew) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove(name)?;
            disk.open(name, OpenMode::CreateNew)
        }
        other => other,
    }
}

fn write_identity(disk: &dyn Disk, identity: Identity, unix_ms: u64) -> io::Result<()> {
    let header = FileHeader {
        kind: FileKind::Store,
        flags: 0,
        store: identity.store,
        hash_seed: identity.hash_seed,
        number: 0,
        epoch: 0,
        created_ms: unix_ms,
        durable: 0,
    };
    let file = create_anew(disk, "STORE.tmp")?;
    write_all_at(&*file, &header.encode(), 0)?;
    file.sync()?;
    disk.rename("STORE.tmp", "STORE")?;
    disk.sync_dir()
}

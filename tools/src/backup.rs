//! `firn backup`: a consistent copy of a store that may be in use, one folder for each moment.
//!
//! 1. Snapshots and sealed segments never change: they are linked (or copied, once, where links cannot go; the next backup links to the
//!    one before). Of the open segment all whole frames are copied. So the copy is a prefix of history.
//! 2. It is read whole and judged as a start would judge it before it gets its name; a backup with a name is a good one.
//! 3. Older ones go only after that, and only such as have a backup's name.

use crate::dataset::firn::FirnStore;
use crate::folder::{self, Severity};
use crate::moment::now_ms;
use crate::target::{Target, unreadable};
use crate::text;
use crate::unfinished;
use crate::{Outcome, ToolError};
use firn_engine::disk::real::RealDisk;
use firn_engine::disk::{Disk, OpenMode};
use firn_engine::format::HEADER_LEN;
use firn_engine::log::frame::FRAME_HEADER_LEN;
use firn_engine::log::reader::{End, SegmentReader};
use firn_engine::recovery::judge::Verdict;
use serde_json::json;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Tries while retention takes files away that were listed.
const TRIES: u32 = 5;
/// Folders that are being made.
const UNFINISHED: &str = "unfinished-";

/// What to back up, and where to.
#[derive(clap::Args)]
pub(crate) struct BackupArgs {
    /// The store's folder; a server may have it open.
    path: PathBuf,
    /// The folder of backups: each is a folder in it, named by its time.
    destination: PathBuf,
    /// Keep so many of the newest backups, and remove older ones.
    #[arg(long, value_name = "N")]
    keep: Option<NonZeroUsize>,
    /// Copy every file, also where it could be linked: a disk's decay cannot take both then.
    #[arg(long)]
    copy: bool,
    /// Says what was done as one JSON object.
    #[arg(long)]
    json: bool,
}

/// What became of the files.
#[derive(Default)]
struct Done {
    linked: u64,
    linked_bytes: u64,
    copied: u64,
    copied_bytes: u64,
}

fn failed(path: &Path) -> impl Fn(io::Error) -> ToolError + '_ {
    move |error| ToolError::Unreadable(format!("{}: {error}", path.display()))
}

/// Why one try did not do.
enum Failure {
    /// A file went away.
    Vanished,
    Error(ToolError),
}

impl From<ToolError> for Failure {
    fn from(error: ToolError) -> Self {
        Failure::Error(error)
    }
}

/// Runs it.
pub(crate) fn run(args: &BackupArgs, out: &mut dyn Write) -> Result<Outcome, ToolError> {
    outside(&args.path, &args.destination)?;
    // What is missing of the path goes again if there is no backup in it then: the innermost first.
    let missing = args.destination.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
    let mut made = missing
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .map(|path| unfinished::create_folder(path).map_err(failed(path)))
        .collect::<Result<Vec<_>, _>>()?;
    made.reverse();
    let previous = backups(&args.destination)?;
    // As in names of files: no colons.
    let name = text::time(now_ms()).replace(':', "").replace('.', "-");
    let unfinished = args.destination.join(format!("{UNFINISHED}{name}"));
    let mut tries = 0;
    let (done, folder) = loop {
        let folder = unfinished::create_folder(&unfinished).map_err(failed(&unfinished))?;
        match copy(args, &unfinished, previous.last().map(PathBuf::as_path)) {
            Ok(done) => break (done, folder),
            Err(Failure::Vanished) => {
                tries += 1;
                if tries == TRIES {
                    return Err(ToolError::Unreadable(
                        "the server removes files faster than they can be linked".to_owned(),
                    ));
                }
            }
            Err(Failure::Error(error)) => return Err(error),
        }
    };
    let lsn = verify(&unfinished)?;
    let finished = args.destination.join(&name);
    folder.keep(|| fs::rename(&unfinished, &finished)).map_err(failed(&finished))?;
    made.into_iter().try_for_each(|folder| folder.keep(|| Ok::<_, ToolError>(())))?;
    sync_folder(&args.destination)?;
    let mut removed = 0u64;
    if let Some(keep) = args.keep {
        let all = backups(&args.destination)?;
        for old in &all[..all.len().saturating_sub(keep.get())] {
            fs::remove_dir_all(old).map_err(failed(old))?;
            removed += 1;
        }
    }
    if args.json {
        let facts = json!({
            "backup": finished.display().to_string(), "lsn": lsn, "linked": done.linked, "linked_bytes": done.linked_bytes,
            "copied": done.copied, "copied_bytes": done.copied_bytes, "removed": removed,
        });
        writeln!(out, "{facts}")?;
    } else {
        writeln!(
            out,
            "Made {} as of LSN {lsn}: {} linked ({}), {} copied ({}), all verified.{}",
            finished.display(),
            text::counted(done.linked, "file", "files"),
            text::size(done.linked_bytes),
            text::counted(done.copied, "file", "files"),
            text::size(done.copied_bytes),
            if removed > 0 {
                format!(" Removed {}.", text::counted(removed, "older backup", "older backups"))
            } else {
                String::new()
            }
        )?;
    }
    Ok(Outcome::Fine)
}

/// Refuses a destination within the store: the next start would find folders there that are none of its own, and who removes the store removes
/// its backups.
fn outside(store: &Path, destination: &Path) -> Result<(), ToolError> {
    let store = fs::canonicalize(store).map_err(failed(store))?;
    // What is not there yet lies in the nearest folder that is.
    let absolute = std::path::absolute(destination).map_err(failed(destination))?;
    let there = absolute.ancestors().find_map(|path| Some((path, fs::canonicalize(path).ok()?)));
    let within = there.is_some_and(|(_, real)| real.starts_with(&store));
    if within {
        let (destination, store) = (destination.display(), store.display());
        return Err(ToolError::Usage(format!("{destination} lies in the store {store}: give a folder outside of it")));
    }
    Ok(())
}

/// Finished backups, the newest last.
fn backups(destination: &Path) -> Result<Vec<PathBuf>, ToolError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(destination).map_err(failed(destination))? {
        let path = entry.map_err(failed(destination))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // 2026-11-25T200000-123Z
        let ours =
            name.len() == 22 && name.ends_with('Z') && name.as_bytes()[10] == b'T' && path.join("STORE").exists();
        if ours {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn copy(args: &BackupArgs, to: &Path, previous: Option<&Path>) -> Result<Done, Failure> {
    let Target::Folder(disk) = Target::of(&args.path)? else {
        return Err(ToolError::Usage(format!("{} is no folder", args.path.display())).into());
    };
    let store = FirnStore::open(disk)?;
    let mut done = Done::default();
    let last = store.links.last().map(|link| link.index);
    let snapshots = store.survey.snapshots.iter().map(|(_, _, name, _)| name);
    let segments = store.survey.segments.iter().enumerate().filter(|(at, _)| Some(*at) != last);
    // The oldest first: retention takes these first.
    let names: Vec<&String> = snapshots.rev().chain(segments.map(|(_, (_, _, name, _))| name)).collect();
    for name in names {
        place(args, name, to, previous, &mut done)?;
    }
    if let Some(at) = last {
        let (first, epoch, name, _) = &store.survey.segments[at];
        let file = match store.disk.open(name, OpenMode::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Failure::Vanished),
            opened => opened.map_err(unreadable(name))?,
        };
        let scan = SegmentReader::open(&*file, *first, *epoch, Some(store.identity.store))
            .and_then(SegmentReader::scan)
            .map_err(|failure| {
                ToolError::Unreadable(format!("{name} at byte {}: {}", failure.offset, failure.source))
            })?;
        // A seal says that a successor is there, which is not taken.
        let seal = if matches!(scan.end, End::Sealed { .. }) { FRAME_HEADER_LEN as u64 } else { 0 };
        copy_bytes(&args.path.join(name), &to.join(name), scan.offset.max(HEADER_LEN as u64) - seal)?;
        done.copied += 1;
        done.copied_bytes += scan.offset - seal;
    }
    let identity = args.path.join("STORE");
    if identity.exists() {
        copy_bytes(&identity, &to.join("STORE"), u64::MAX)?;
    } else {
        return Err(
            ToolError::Damage(format!("{} is missing: a server's start makes it anew", identity.display())).into()
        );
    }
    sync_folder(to)?;
    Ok(done)
}

/// Links a file that never changes, or copies it.
fn place(args: &BackupArgs, name: &str, to: &Path, previous: Option<&Path>, done: &mut Done) -> Result<(), Failure> {
    let (from, to) = (args.path.join(name), to.join(name));
    let len = match fs::metadata(&from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Failure::Vanished),
        found => found.map_err(failed(&from))?.len(),
    };
    let linked = |done: &mut Done| {
        done.linked += 1;
        done.linked_bytes += len;
    };
    if !args.copy && fs::hard_link(&from, &to).is_ok() {
        linked(done);
        return Ok(());
    }
    if let Some(before) = previous.map(|previous| previous.join(name)).filter(|before| same(&from, before))
        && fs::hard_link(&before, &to).is_ok()
    {
        linked(done);
        return Ok(());
    }
    copy_bytes(&from, &to, u64::MAX)?;
    done.copied += 1;
    done.copied_bytes += len;
    Ok(())
}

/// Whether two files of one name have the same length, header and end: both were sealed, and the names say the rest.
fn same(one: &Path, other: &Path) -> bool {
    let ends = |path: &Path| -> io::Result<(u64, Vec<u8>)> {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        let mut bytes = vec![0; (HEADER_LEN as u64).min(len) as usize];
        file.read_exact(&mut bytes)?;
        file.seek(io::SeekFrom::Start(len.saturating_sub(4096)))?;
        file.read_to_end(&mut bytes)?;
        Ok((len, bytes))
    };
    matches!((ends(one), ends(other)), (Ok(one), Ok(other)) if one == other)
}

fn copy_bytes(from: &Path, to: &Path, len: u64) -> Result<(), Failure> {
    let mut read = match File::open(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Failure::Vanished),
        opened => opened.map_err(failed(from))?.take(len),
    };
    let mut write = File::create_new(to).map_err(failed(to))?;
    io::copy(&mut read, &mut write).map_err(failed(to))?;
    write.sync_all().map_err(failed(to))?;
    Ok(())
}

fn sync_folder(folder: &Path) -> Result<(), ToolError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed(folder))
}

/// Reads the copy whole and says the LSN of its state.
fn verify(folder: &Path) -> Result<u64, ToolError> {
    let disk = RealDisk::open(folder, false).map_err(failed(folder))?;
    let view = folder::view(&disk as &dyn Disk, true, &|len| text::progress(len, "verifying"))?;
    let findings = view.snapshots.iter().flat_map(|snapshot| &snapshot.findings);
    let findings = findings.chain(view.segments.iter().flat_map(|segment| &segment.findings));
    if let Some(finding) = findings.into_iter().find(|finding| finding.severity != Severity::Note) {
        return Err(ToolError::Damage(format!("the store is damaged, no backup was made: {finding}")));
    }
    match &view.verdict {
        Verdict::Open(plan) => Ok(plan.next - 1),
        Verdict::Refuse(refusal) => {
            Err(ToolError::Damage(format!("the store is damaged, no backup was made: {refusal}")))
        }
    }
}

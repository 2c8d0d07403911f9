//! `firn compact`: the smallest equivalent store, one snapshot, made as a merge of streams.

use crate::choice::{StateArgs, libraries, when};
use crate::dataset::{Damages, Dataset};
use crate::make::NewStore;
use crate::moment::now_ms;
use crate::text;
use crate::{Outcome, ToolError};
use firn_engine::disk::Disk;
use firn_engine::disk::real::RealDisk;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;
use std::cell::RefCell;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// What to compact, and where to.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("where").required(true).args(["output", "replace"])))]
pub(crate) struct CompactArgs {
    /// A store's folder, or any other file that holds keys; it is only read.
    path: PathBuf,
    /// Makes the compact store in this folder, which must be absent or empty.
    #[arg(short, long, value_name = "NEW")]
    output: Option<PathBuf>,
    /// Puts it in the place of the folder once it is verified; the old one stays beside it as PATH.before-compaction. No server may have it open.
    #[arg(long)]
    replace: bool,
    /// Also take keys whose time has come but which no record has deleted.
    #[arg(long)]
    keep_expired: bool,
    #[command(flatten)]
    state: StateArgs,
    /// Says what was done as one JSON object.
    #[arg(long)]
    json: bool,
}

fn beside(path: &Path, ending: &str) -> Result<PathBuf, ToolError> {
    let name =
        path.file_name().ok_or_else(|| ToolError::Usage(format!("{}: give the folder by its name", path.display())))?;
    let mut name = name.to_owned();
    name.push(ending);
    Ok(path.with_file_name(name))
}

/// Puts the store `new` in the place of `old`, which stays as `aside`. At no moment is nothing at `old`: a server that started then would begin an
/// empty store there.
fn put_in_place(old: &Path, new: &Path, aside: &Path) -> std::io::Result<()> {
    let swap = || renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE).map_err(std::io::Error::from);
    match swap() {
        // What `new` names now is the old store.
        Ok(()) => {
            if let Err(error) = std::fs::rename(new, aside) {
                if swap().is_ok() {
                    return Err(error);
                }
                // It must not be taken away as something unfinished.
                text::tell(&format_args!("firn: the old store stays in {}: {error}", new.display()));
            }
        }
        // A file system without this.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
            std::fs::rename(old, aside)?;
            // If it fails, as it was.
            std::fs::rename(new, old).inspect_err(|_| drop(std::fs::rename(aside, old)))?;
        }
        Err(error) => return Err(error),
    }
    let parent = old.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // It is done, and both stores are there; only after a power cut the old one may have its name back.
    if let Err(error) = std::fs::File::open(parent).and_then(|folder| folder.sync_all()) {
        text::tell(&format_args!(
            "firn: {}: the new names may not last through a power cut: {error}",
            parent.display()
        ));
    }
    Ok(())
}

/// Runs it.
pub(crate) fn run(args: &CompactArgs, out: &mut dyn Write) -> Result<Outcome, ToolError> {
    let choice = args.state.choice()?;
    if args.replace && (args.state.is_partial() || choice.to.is_some()) {
        return Err(ToolError::Usage(
            "--replace keeps all keys as they are now: filters and --to go with --output".to_owned(),
        ));
    }
    if args.replace {
        let dataset = Dataset::open(&args.path)?;
        if !matches!(dataset, Dataset::Store(_)) {
            let path = args.path.display();
            return Err(ToolError::Usage(format!(
                "--replace is for a Firn store's folder, and {path} is {}: firn compact {path} -o NEW makes a compact store of it, \
                 firn convert {path} NEW one or another form",
                dataset.kind()
            )));
        }
    }
    let failed = |path: &Path, error: std::io::Error| ToolError::Unreadable(format!("{}: {error}", path.display()));
    let output = match &args.output {
        Some(output) => output.clone(),
        None => beside(&args.path, ".compacting")?,
    };
    let aside = if args.replace { Some(beside(&args.path, ".before-compaction")?) } else { None };
    if let Some(aside) = aside.as_ref().filter(|aside| aside.exists()) {
        return Err(ToolError::Usage(format!(
            "{} is still there from the last time: remove it first",
            aside.display()
        )));
    }
    if args.replace && output.symlink_metadata().is_ok() {
        return Err(ToolError::Usage(format!(
            "{} is there, from a compaction that was interrupted: {} is whole without it; remove it first",
            output.display(),
            args.path.display()
        )));
    }
    // Nobody may write into the folder between reading it and putting another in its place.
    let lock = if args.replace {
        let disk = RealDisk::open(&args.path, false).map_err(|error| failed(&args.path, error))?;
        Some(disk.lock().map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => ToolError::Usage(format!("{} is in use by a server", args.path.display())),
            _ => failed(&args.path, error),
        })?)
    } else {
        None
    };
    let dataset = Dataset::open(&args.path)?;
    let now = now_ms();
    let (made, expired) = (RefCell::new(None), std::cell::Cell::new(0u64));
    let info = dataset.state(
        &choice,
        &Damages::strict(),
        &mut |info| {
            *made.borrow_mut() = Some(NewStore::create(&output, info, dataset.bytes() * 2, choice.memory)?);
            Ok(())
        },
        &mut |db, position, entry| {
            if !args.keep_expired && entry.deadline.is_some_and(|at| at <= now) {
                expired.set(expired.get() + 1);
                return Ok(());
            }
            made.borrow_mut().as_mut().map_or(Ok(()), |made: &mut NewStore| made.push(db, position, entry))
        },
    )?;
    let made = made.into_inner().ok_or_else(|| ToolError::Usage("there is nothing to compact".to_owned()))?;
    let made = made.finish_in(&libraries(&info, &choice.filter), || {
        let Some(aside) = &aside else { return Ok(()) };
        put_in_place(&args.path, &output, aside).map_err(|error| failed(&output, error))
    })?;
    drop(lock);
    let (before, place) = (dataset.bytes(), aside.as_ref().map_or(&output, |_| &args.path));
    if args.json {
        let facts = json!({
            "output": place.display().to_string(),
            "lsn": info.lsn,
            "entries": made.entries,
            "expired": expired.get(),
            "bytes_before": before,
            "bytes": made.bytes,
            "digest": format!("{:032x}", made.digest),
        });
        writeln!(out, "{facts}")?;
    } else {
        writeln!(
            out,
            "Made {} with {} as of {}: {} instead of {}, read back whole{}.",
            place.display(),
            text::counted(made.entries, "key", "keys"),
            when(&info),
            text::size(made.bytes),
            text::size(before),
            match expired.get() {
                0 => String::new(),
                expired => format!(", {} left out whose time has come", text::counted(expired, "key", "keys")),
            }
        )?;
        if let Some(aside) = &aside {
            writeln!(out, "What was there before is {}.", aside.display())?;
        }
    }
    Ok(Outcome::Fine)
}

//! `firn restore`: the state of a moment as a new store, or into a live server.

use crate::dataset::{Damages, Dataset, MEMORY_DEFAULT, StateInfo};
use crate::filter::{self, Filter, KeyArgs, ValueArgs};
use crate::make::NewStore;
use crate::moment::{self, now_ms};
use crate::server::{Address, Server};
use crate::text;
use crate::{Outcome, ToolError};
use firn_engine::keyspace::libraries::Libraries;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

/// What to restore, and where to.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("where").required(true).args(["output", "into"])))]
pub(crate) struct RestoreArgs {
    /// A store's folder or a snapshot; it is only read.
    path: PathBuf,
    /// The moment: right behind this LSN, or as it was at this time. The newest without it.
    #[arg(long, value_name = "LSN|TIME")]
    to: Option<String>,
    /// Makes a new store in this folder, which must be absent or empty.
    #[arg(short, long, value_name = "NEW")]
    output: Option<PathBuf>,
    /// Writes the keys into a running server: redis://[[user]:password@]host[:port][/db].
    #[arg(long, value_name = "URL")]
    into: Option<String>,
    /// With --into: leave keys alone that the server has.
    #[arg(long, requires = "into")]
    keep_existing: bool,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    values: ValueArgs,
    /// Memory to use, about.
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Says what was done as one JSON object.
    #[arg(long)]
    json: bool,
}

/// `--memory`.
pub(crate) fn memory(option: Option<&str>) -> Result<u64, ToolError> {
    option.map_or(Ok(MEMORY_DEFAULT), |text| filter::parse_size("--memory", text)).map(|bytes| bytes.max(1 << 16))
}

/// Runs it.
pub(crate) fn run(args: &RestoreArgs, out: &mut dyn Write) -> Result<Outcome, ToolError> {
    let filter = Filter::new(&args.keys, &args.values)?;
    let to = args.to.as_deref().map(moment::parse).transpose()?;
    let memory = memory(args.memory.as_deref())?;
    let dataset = Dataset::open(&args.path)?;
    let damages = Damages::strict();
    if let Some(url) = &args.into {
        let address = Address::parse(url)?;
        let mut server = Server::connect(&address)?;
        let (mut written, mut expired, mut kept) = (0u64, 0u64, 0u64);
        let now = now_ms();
        let info = dataset.state(to, &filter, memory, &damages, &mut |_| Ok(()), &mut |db, _, entry| {
            if entry.deadline.is_some_and(|at| at <= now) {
                expired += 1;
            } else if server.put(db, entry, args.keep_existing)? {
                written += 1;
            } else {
                kept += 1;
            }
            Ok(())
        })?;
        server.libraries(&libraries(&info, &filter))?;
        server.settle()?;
        let place = address.shown();
        if args.json {
            let facts = json!({ "into": place, "lsn": info.lsn, "written": written, "kept": kept, "expired": expired });
            writeln!(out, "{facts}")?;
        } else {
            writeln!(
                out,
                "Wrote {} as of {} into {place}{}{}.",
                text::counted(written, "key", "keys"),
                when(&info),
                some(kept, "left alone because the server has them"),
                some(expired, "left out because their time has come")
            )?;
        }
        return Ok(Outcome::Fine);
    }
    let Some(output) = &args.output else { unreachable!("clap requires one of the two") };
    let made = store(&dataset, to, &filter, memory, &damages, output)?;
    let (info, made) = made;
    if args.json {
        let facts = json!({
            "output": output.display().to_string(),
            "lsn": info.lsn,
            "time_ms": info.time_ms,
            "entries": made.entries,
            "bytes": made.bytes,
        });
        writeln!(out, "{facts}")?;
    } else {
        writeln!(
            out,
            "Made {} with {} as of {}, {}, read back whole.",
            output.display(),
            text::counted(made.entries, "key", "keys"),
            when(&info),
            text::size(made.bytes)
        )?;
    }
    Ok(Outcome::Fine)
}

/// Makes a new store of a state.
pub(crate) fn store(
    dataset: &Dataset,
    to: Option<moment::Moment>,
    filter: &Filter,
    memory: u64,
    damages: &Damages,
    output: &std::path::Path,
) -> Result<(StateInfo, crate::make::Made), ToolError> {
    let made = std::cell::RefCell::new(None);
    let info = dataset.state(
        to,
        filter,
        memory,
        damages,
        &mut |info| {
            *made.borrow_mut() = Some(NewStore::create(output, info, dataset.bytes() * 2, memory)?);
            Ok(())
        },
        &mut |db, position, entry| match made.borrow_mut().as_mut() {
            Some(made) => made.push(db, position, entry),
            None => Ok(()),
        },
    )?;
    let made = made.into_inner().ok_or_else(|| ToolError::Usage("there is nothing to make a store of".to_owned()))?;
    let made = made.finish(&libraries(&info, filter))?;
    Ok((info, made))
}

/// The libraries that belong to what was chosen: all or, with chosen keys, none.
pub(crate) fn libraries(info: &StateInfo, filter: &Filter) -> Libraries {
    if filter.wants_all_keys() { info.libraries.clone() } else { Libraries::default() }
}

fn some(number: u64, what: &str) -> String {
    if number == 0 { String::new() } else { format!(", {} {what}", text::count(number)) }
}

/// A state's moment in words.
pub(crate) fn when(info: &StateInfo) -> String {
    match (info.lsn, info.time_ms) {
        (Some(lsn), Some(ms)) if ms > 0 => format!("LSN {lsn} ({})", text::time(ms)),
        (Some(lsn), _) => format!("LSN {lsn}"),
        (None, Some(ms)) => text::time(ms),
        (None, None) => "its end".to_owned(),
    }
}

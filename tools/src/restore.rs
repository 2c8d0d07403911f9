//! `firn restore`: the state of a moment as a new store, or into a live server.

use crate::choice::{Choice, StateArgs, libraries, when};
use crate::dataset::{Damages, Dataset, StateInfo};
use crate::make::NewStore;
use crate::moment::now_ms;
use crate::server::{Address, Server};
use crate::text;
use crate::{Outcome, ToolError};
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

/// What to restore, and where to.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("where").required(true).args(["output", "into"])))]
pub(crate) struct RestoreArgs {
    /// A store's folder, or any other dataset (files of Redis, JSON Lines, ...; `-` for standard input); it is only read.
    path: PathBuf,
    /// Makes a new store in this folder, which must be absent or empty.
    #[arg(short, long, value_name = "NEW")]
    output: Option<PathBuf>,
    /// Writes the keys into a running server: redis://[[user]:password@]host[:port][/db]. Without a password there, FIRN_PASSWORD or REDISCLI_AUTH of
    /// the environment is taken, which other users of the machine do not see.
    #[arg(long, value_name = "URL")]
    into: Option<String>,
    /// With --into: leave keys alone that the server has.
    #[arg(long, requires = "into")]
    keep_existing: bool,
    #[command(flatten)]
    state: StateArgs,
    /// Says what was done as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub(crate) fn run(args: &RestoreArgs, out: &mut dyn Write) -> Result<Outcome, ToolError> {
    let choice = args.state.choice()?;
    let dataset = Dataset::open(&args.path)?;
    let damages = Damages::strict();
    if let Some(url) = &args.into {
        let address = Address::parse(url)?;
        let mut server = Server::connect(&address)?;
        let (mut written, mut expired, mut kept) = (0u64, 0u64, 0u64);
        let now = now_ms();
        let info = dataset.state(&choice, &damages, &mut |_| Ok(()), &mut |db, _, entry| {
            if entry.deadline.is_some_and(|at| at <= now) {
                expired += 1;
            } else if server.put(db, entry, args.keep_existing)? {
                written += 1;
            } else {
                kept += 1;
            }
            Ok(())
        })?;
        server.libraries(&libraries(&info, &choice.filter))?;
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
    let (info, made) = store(&dataset, &choice, &damages, output)?;
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
    choice: &Choice,
    damages: &Damages,
    output: &std::path::Path,
) -> Result<(StateInfo, crate::make::Made), ToolError> {
    let made = std::cell::RefCell::new(None);
    let info = dataset.state(
        choice,
        damages,
        &mut |info| {
            *made.borrow_mut() = Some(NewStore::create(output, info, dataset.bytes() * 2, choice.memory)?);
            Ok(())
        },
        &mut |db, position, entry| match made.borrow_mut().as_mut() {
            Some(made) => made.push(db, position, entry),
            None => Ok(()),
        },
    )?;
    let made = made.into_inner().ok_or_else(|| ToolError::Usage("there is nothing to make a store of".to_owned()))?;
    let made = made.finish(&libraries(&info, &choice.filter))?;
    Ok((info, made))
}

fn some(number: u64, what: &str) -> String {
    if number == 0 { String::new() } else { format!(", {} {what}", text::count(number)) }
}

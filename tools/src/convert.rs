//! `firn convert`: a dataset in another form.

use crate::choice::{StateArgs, libraries};
use crate::dataset::{Damages, Dataset};
use crate::moment::now_ms;
use crate::redact::Redaction;
use crate::sink::{Format, RDB_VERSION_DEFAULT, Sink};
use crate::{Outcome, ToolError, json, text};
use serde_json::json;
use std::cell::RefCell;
use std::io::Write;
use std::path::PathBuf;

/// What to convert, and to what.
#[derive(clap::Args)]
pub(crate) struct ConvertArgs {
    /// A store's folder, a snapshot, an RDB file, an append-only file or folder, JSON Lines, one of firn's tables; `-` for standard input.
    path: PathBuf,
    /// The new file or folder; `-` for standard output. It must not exist.
    pub(crate) output: PathBuf,
    /// The form; told by the output's ending (.jsonl, .csv, .parquet, .resp, .aof, .rdb, appendonlydir; without one a store) unless given.
    #[arg(long, value_enum, value_name = "FORM")]
    format: Option<Format>,
    #[command(flatten)]
    state: StateArgs,
    /// Replaces the values of keys, and of fields in hashes and streams, whose names match this glob.
    #[arg(long, value_name = "GLOB")]
    redact: Vec<String>,
    /// The version of an RDB file: 9 (Redis 5), 10 (Redis 7.0), 11 (7.2), 12 (7.4: deadlines of hash fields), or 80 for Valkey 9.
    #[arg(long, default_value_t = RDB_VERSION_DEFAULT, value_name = "N")]
    rdb_version: u32,
    /// Leaves out keys whose time has come.
    #[arg(long)]
    without_expired: bool,
    /// Says what was done as one JSON object (on standard error if the data goes to standard output).
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub(crate) fn run(args: &ConvertArgs, out: &mut dyn Write) -> Result<Outcome, ToolError> {
    let choice = args.state.choice()?;
    let format = args
        .format
        .or_else(|| Format::of(&args.output))
        .ok_or_else(|| ToolError::Usage(format!("{}: say which form with --format", args.output.display())))?;
    let dataset = Dataset::open(&args.path)?;
    let redaction = Redaction { patterns: args.redact.iter().map(|text| text.clone().into_bytes()).collect() };
    let (now, mut count) = (now_ms(), 0u64);
    let sink: RefCell<Option<Sink>> = RefCell::new(None);
    let info = dataset.state(
        &choice,
        &Damages::strict(),
        &mut |info| {
            let expected = dataset.bytes() * 2;
            *sink.borrow_mut() =
                Some(Sink::create(&args.output, format, args.rdb_version, info, expected, choice.memory)?);
            Ok(())
        },
        &mut |db, position, entry| {
            if args.without_expired && entry.deadline.is_some_and(|at| at <= now) {
                return Ok(());
            }
            count += 1;
            let mut sink = sink.borrow_mut();
            let Some(sink) = sink.as_mut() else { return Ok(()) };
            match redaction.apply(entry) {
                Some(redacted) => sink.put(db, position, &redacted.entry(entry)),
                None => sink.put(db, position, entry),
            }
        },
    )?;
    let libraries = libraries(&info, &choice.filter);
    let mut left_out = Vec::new();
    if let Some(sink) = sink.into_inner() {
        if !sink.holds_libraries() {
            left_out = libraries.iter().map(|(name, _)| json::bytes(name)).collect();
        }
        sink.finish(&libraries)?;
    }
    let facts = json!({
        "output": args.output.display().to_string(), "entries": count, "lsn": info.lsn,
        "libraries": libraries.iter().len() - left_out.len(), "libraries_left_out": left_out,
    });
    let line = if args.json {
        facts.to_string()
    } else {
        format!("Wrote {} to {}.", text::counted(count, "key", "keys"), args.output.display())
    };
    if args.output.as_os_str() != "-" {
        writeln!(out, "{line}")?;
    } else if args.json {
        text::tell(&line);
    }
    Ok(Outcome::Fine)
}

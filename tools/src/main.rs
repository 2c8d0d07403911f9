//! `firn`: looks at Firn's files without a server.
//!
//! 1. Files are opened for reading only, through the engine's own readers.
//! 2. What a person reads goes to standard output; progress, and nothing else, to standard error; errors there too.
//! 3. Exit codes are part of the interface ([`Outcome`]).

mod check;
mod folder;
mod inspect;
mod json;
mod keys;
mod records;
mod target;
mod text;

use clap::{Parser, Subcommand};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

const EXIT_CODES: &str = "Exit codes: 0 nothing is wrong, 1 damage was found (or a store that would not open), 2 the command \
line is wrong, 3 something could not be read (the disk, permissions, a newer format): that says nothing about the files.";

/// Looks at and checks the files of a Firn store: a folder, a log segment (.seg) or a snapshot (.snap).
///
/// Files are only read, never changed, and may belong to a running server.
#[derive(Parser)]
#[command(name = "firn", version, after_help = EXIT_CODES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows what a folder, a segment or a snapshot holds.
    ///
    /// Without an option it gives a summary. A damaged file is shown as far as it can be read, and the exit code is 1.
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(inspect::InspectArgs),
    /// Verifies every byte of a folder, a segment or a snapshot.
    ///
    /// For a folder it also says what a server would do with it at its start: which snapshot it would load, which records
    /// it would replay, or why it would refuse.
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
}

const INSPECT_EXAMPLES: &str = "Examples:
  firn inspect firn-data                                   what the folder holds
  firn inspect firn-data --records                         every change, in order, like a diary
  firn inspect firn-data --records --match 'user:*'        changes of certain keys
  firn inspect firn-data --records --since-lsn 5000 --follow   go on as a server writes
  firn inspect firn-data --keys --match 'session:*'        keys in the state that a start would give
  firn inspect firn-data/snap-....snap --keys --json       one JSON object a line, for jq

In JSON a byte string that is not UTF-8 is given as {\"hex\": \"...\"}.
Exit codes: 0 fine, 1 damage was met, 2 the command line is wrong, 3 something could not be read.";

const CHECK_EXAMPLES: &str = "Examples:
  firn check firn-data
  firn check firn-data --json | jq .problems
  firn check /backup/snap-00000000000000001000-0000000003.snap

Exit codes: 0 all is whole, 1 damage was found or the store would not open, 2 the command line is wrong, 3 something could
not be read (the disk, permissions, a newer format).";

#[derive(clap::Args)]
struct CheckArgs {
    /// A store's folder, a segment or a snapshot.
    path: PathBuf,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// How a command ended, as the process's exit code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(crate) enum Outcome {
    /// Nothing is wrong.
    Fine = 0,
    /// Damage was found, or a store that would not open.
    Damage = 1,
    /// The command line is wrong (clap's own code too).
    Usage = 2,
    /// Something could not be read.
    Unreadable = 3,
}

/// What ends a command early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    /// The arguments make no sense together or for this path.
    #[error("{0}")]
    Usage(String),
    /// Bytes that are wrong.
    #[error("{0}")]
    Damage(String),
    /// The disk, permissions, a newer format.
    #[error("{0}")]
    Unreadable(String),
    /// Standard output.
    #[error("writing the output failed: {0}")]
    Output(#[from] io::Error),
}

impl ToolError {
    fn outcome(&self) -> Outcome {
        match self {
            ToolError::Usage(_) => Outcome::Usage,
            ToolError::Damage(_) => Outcome::Damage,
            ToolError::Unreadable(_) | ToolError::Output(_) => Outcome::Unreadable,
        }
    }
}

impl From<serde_json::Error> for ToolError {
    fn from(error: serde_json::Error) -> Self {
        ToolError::Output(error.into())
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = BufWriter::new(io::stdout().lock());
    let result = match &cli.command {
        Command::Inspect(args) => inspect::run(args, &mut out),
        Command::Check(args) => check::run(&args.path, args.json, &mut out),
    };
    let result = result.and_then(|outcome| Ok(out.flush().map(|()| outcome)?));
    let outcome = result.unwrap_or_else(|error| {
        // Whoever reads the output has seen enough (`head`).
        if matches!(&error, ToolError::Output(source) if source.kind() == io::ErrorKind::BrokenPipe) {
            return Outcome::Fine;
        }
        let _ = out.flush();
        eprintln!("firn: {error}");
        error.outcome()
    });
    // What a broken pipe left in the buffer must not be tried again when it is dropped.
    std::mem::forget(out);
    ExitCode::from(outcome as u8)
}

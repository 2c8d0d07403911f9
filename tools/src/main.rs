//! `firn`: looks at, checks, compares and restores data in files, without a server; and asks a server whether it serves.
//!
//! 1. What is looked at is opened for reading only, through the engine's own readers. What is made is a new path.
//! 2. What a person reads goes to standard output; progress, and nothing else, to standard error; errors there too.
//! 3. Exit codes are part of the interface ([`Outcome`]).

mod backup;
mod check;
mod choice;
mod commands;
mod compact;
mod convert;
mod dataset;
mod diff;
mod filter;
mod folder;
mod foreign;
mod get;
mod history;
mod inspect;
mod json;
mod keys;
mod make;
mod moment;
mod parquet;
mod ping;
mod records;
mod redact;
mod repair;
mod reply;
mod restore;
mod serve;
mod server;
mod show;
mod sink;
mod sort;
mod spool;
mod stats;
mod target;
mod text;
mod torture;
mod unfinished;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

const EXIT_CODES: &str = "Exit codes: 0 nothing is wrong, 1 damage was found (or a store that would not open), 2 the command \
line is wrong, 3 something could not be read (the disk, permissions, a newer format): that says nothing about the files, 4 the answer is no \
(a key is not there, two datasets differ). Damage that is certain (1) is told before what could not be read (3).";

/// Looks at, checks, compares and restores the data of a Firn store (a folder, a log segment, a snapshot) and of Redis and Valkey (RDB, AOF, appendonlydir).
///
/// What is looked at is never changed, and may belong to a running server.
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
    /// Verifies every byte of a folder, a segment, a snapshot, or files of Redis.
    ///
    /// It takes no filters: which key damaged bytes belong to is often what the damage has taken.
    /// For a folder it also says what a server would do with it at its start: which snapshot it would load, which records
    /// it would replay, or why it would refuse. An end that a server was just writing when it died (a torn tail, of a log of Firn's or an append-only
    /// file) is told and is no damage: a server cuts it off, and nobody was promised it. Zeros behind an end are told as damage.
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Gets keys out of a folder or a snapshot, without a server.
    ///
    /// Nothing is loaded: a snapshot answers by reading one block, a folder by that block and the records behind it.
    #[command(after_help = GET_EXAMPLES)]
    Get(get::GetArgs),
    /// Shows every change of a key: when, by which command, its size before and after.
    ///
    /// It reaches back as far as the log does (see the retention settings of the server). Sizes of strings are their lengths, those of
    /// collections the memory that they take.
    #[command(after_help = HISTORY_EXAMPLES)]
    History(history::HistoryArgs),
    /// Goes back in time: makes a new store of the state at a moment, or writes chosen keys of it into a running server.
    ///
    /// The store that is read may be in use; it is never changed. How far back one can go is a matter of the server's retention settings;
    /// the keys may be narrowed down by the filters.
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore(restore::RestoreArgs),
    /// Makes the smallest equivalent store: one snapshot of the newest state.
    ///
    /// Entries are merged as streams, in bounded memory, and what was made is read back and compared with what was read before it counts.
    #[command(after_help = COMPACT_EXAMPLES)]
    Compact(compact::CompactArgs),
    /// Compares the keys of two datasets, of whatever kinds, or of two moments of one store.
    #[command(after_help = DIFF_EXAMPLES)]
    Diff(diff::DiffArgs),
    /// Tells what the data is made of: types, databases, patterns of keys, sizes, times to live, the biggest keys.
    ///
    /// Memory is what Firn's server takes for the data.
    #[command(after_help = STATS_EXAMPLES)]
    Stats(stats::StatsArgs),
    /// Makes a mended copy of a damaged store, which loses only what cannot be read, and names that.
    ///
    /// Single changed bytes are found by their checksums and put right. Else frames, blocks, commands and entries that cannot be read are left out one by
    /// one, and reading goes on behind them; where bytes were cut out or put in too. A list of append-only files that is damaged is made again from
    /// their names. The damaged bytes are set aside, in a folder that must be empty. Keys that are lost are named as far as their names can be read;
    /// whether these are all is said too (`names_complete`, `unnamed_keys` in JSON). The damaged store itself is only read.
    #[command(after_help = REPAIR_EXAMPLES)]
    Repair(repair::RepairArgs),
    /// Writes the keys in another form: a Firn store, RDB, AOF, JSON Lines, CSV, Parquet, commands for redis-cli --pipe.
    #[command(after_help = CONVERT_EXAMPLES)]
    Convert(convert::ConvertArgs),
    /// Makes a consistent, verified copy of a store that may be in use.
    ///
    /// Files that never change are linked, so that a backup takes little room and time; the next one shares them too.
    #[command(after_help = BACKUP_EXAMPLES)]
    Backup(backup::BackupArgs),
    /// Mounts a state read-only over RESP, so that redis-cli and other clients can query a file.
    ///
    /// A snapshot is there at once, however large: keys are read from it when they are asked for.
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(serve::ServeArgs),
    /// Asks a server whether it serves: for health checks.
    ///
    /// Logs in if the environment has a password, sends PING, and tells by the exit code whether PONG came.
    #[command(after_help = PING_EXAMPLES)]
    Ping(ping::PingArgs),
    /// Tests crash recovery of any server that speaks RESP: starts it, loads it, breaks it, and judges what comes back.
    #[command(after_help = torture::EXAMPLES)]
    Torture(firn_torture::TortureArgs),
}

const PING_EXAMPLES: &str = "Examples:
  firn ping                                       127.0.0.1:6379
  FIRN_PASSWORD=secret firn ping -p 6380 -t 1
  firn ping -s /run/firn/firn.sock
  firn ping --host cache.example --port 6390 --tls --cacert ca.pem

Exit codes: 0 it answered, 1 it did not, or with an error, 2 the command line is wrong.";

const REPAIR_EXAMPLES: &str = "Examples:
  firn check firn-data                       what is damaged
  firn repair firn-data -o mended            a store without the damage, and mended-set-aside with the damaged bytes
  firn repair firn-data -o mended --json | jq .lost_keys
  firn repair dump.rdb -o mended.rdb --match 'user:*'    of these keys only; damage is told all the same

Exit codes: 0 nothing was lost (but a torn tail, which is told), 1 something was lost, and is named or said to have no name that can be read, 2 the command
line is wrong, 3 something could not be read or written.";

const CONVERT_EXAMPLES: &str = "Examples:
  firn convert firn-data all.jsonl                          one JSON object a key
  firn convert dump.rdb new-store                           an RDB file as a Firn store; an .aof or appendonlydir as well
  firn convert firn-data dump.rdb --rdb-version 9           and back, for Redis 5 and newer
  firn convert all.jsonl new-store                          and back
  firn convert firn-data - --format resp | redis-cli --pipe    into any server
  firn convert firn-data users.csv --match 'user:*' --redact '*password*' --redact '*token*'

Libraries of functions go into every form but CSV, Parquet and RDB 9, where it is told that they do not; with chosen keys none go along. When a key was used last
is kept by stores and JSON Lines. What else a form cannot hold is an error (deadlines of fields before RDB 12), but for small print of streams: as commands (resp, aof, a live server) entries that
are pending and deleted are not pending any more, as in Redis' own rewrite, and only stores and RDB files know when a consumer was last seen.

Exit codes: 0 done, 1 damage was met (nothing was made), 2 the command line is wrong, 3 something could not be read or written.";

const BACKUP_EXAMPLES: &str = "Examples:
  firn backup firn-data /backups --keep 14      every night: the newest two weeks
  firn check /backups/2026-11-25T200000-000Z    a backup is a store like any other
  firn diff /backups/2026-11-25T200000-000Z firn-data

Exit codes: 0 done, 1 the store is damaged (no backup was made), 2 the command line is wrong, 3 something could not be read or written.";

const SERVE_EXAMPLES: &str = "Examples:
  firn serve firn-data --to 1h &
  redis-cli -p 6399 HGETALL user:1
  firn serve backup/snap-....snap --port 7000

Exit codes: 1 damage was met, 2 the command line is wrong, 3 something could not be read, or the port is taken. Otherwise it runs until it is ended.";

const COMPACT_EXAMPLES: &str = "Examples:
  firn compact firn-data -o smaller      a new store beside it; the old one may be in use
  firn compact firn-data --replace       in its place; the old one stays as firn-data.before-compaction

Exit codes: 0 done, 1 damage was met (nothing was made), 2 the command line is wrong, or the store is in use, 3 something could not be read or
written.";

const DIFF_EXAMPLES: &str = "Examples:
  firn diff backup/monday firn-data                     what has changed since
  firn diff firn-data --from 1h                         what has changed in the last hour
  firn diff firn-data --from 4711 --to 5000 --summary
  firn diff one.snap other.snap --match 'user:*' --json

Lines begin with + for keys that only the other has, - for keys that only the one has, ~ for keys with another value or deadline.
Exit codes: 0 they are equal, 1 damage was met, 2 the command line is wrong, 3 something could not be read, 4 they differ.";

const STATS_EXAMPLES: &str = "Examples:
  firn stats firn-data
  firn stats firn-data --html stats.html --top 50      and a page with plots
  firn stats firn-data --match 'session:*' --json | jq .ttl

Exit codes: 0 fine, 1 damage was met, 2 the command line is wrong, 3 something could not be read or written.";

const RESTORE_EXAMPLES: &str = "Examples:
  firn restore firn-data --to 2026-11-25T20:00:00Z -o yesterday      a new store; start a server on it, or look at it with firn
  firn restore firn-data --to 4711 -o before                         the state right behind record 4711
  firn restore firn-data --to 4711 --match 'cart:*' --into redis://:password@localhost:6379
                                                                     puts one prefix back into the running server

A FLUSHALL by mistake: firn history firn-data --match 'cart:*' --since 1h shows its LSN; the number before it goes behind --to.

Exit codes: 0 done, 1 damage was met (nothing was made), 2 the command line is wrong or the store was never at that moment, 3 something could
not be read or written, or the server refused.";

const GET_EXAMPLES: &str = "Examples:
  firn get firn-data user:1                      as redis-cli would show it
  firn get firn-data user:1 --to 15m             as it was a quarter of an hour ago
  firn get firn-data user:1 --to 4711 --json     right behind record 4711, as JSON
  firn get firn-data avatar:1 --as raw > a.png   the bytes of a string
  firn get backup/snap-....snap '\"a b\\xff\"'     a key with any bytes

Exit codes: 0 all keys are there, 1 damage was met, 2 the command line is wrong, 3 something could not be read, 4 a key is not there.";

const HISTORY_EXAMPLES: &str = "Examples:
  firn history firn-data user:1
  firn history firn-data --match 'session:*' --since 1h
  firn history firn-data cart:77 --json | jq 'select(.after == null)'     when it was deleted

Exit codes: 0 fine, 1 damage was met (and passed over), 2 the command line is wrong, 3 something could not be read.";

const INSPECT_EXAMPLES: &str = "Examples:
  firn inspect firn-data                                   what the folder holds
  firn inspect firn-data --records                         every change, in order, like a diary
  firn inspect firn-data --records --match 'user:*'        changes of certain keys
  firn inspect firn-data --records --since-lsn 5000 --follow   go on as a server writes
  firn inspect firn-data --keys --match 'session:*'        keys in the state that a start would give
  firn inspect firn-data/snap-....snap --keys --json       one JSON object a line, for jq

In JSON a byte string that is not UTF-8 is given as {\"hex\": \"...\"}. With --json an error is an object with \"error\" and \"exit_code\", the last of the output.
Exit codes: 0 fine, 1 damage was met, 2 the command line is wrong, 3 something could not be read.";

const CHECK_EXAMPLES: &str = "Examples:
  firn check firn-data
  firn check firn-data --json | jq .problems
  firn check /backup/snap-00000000000000001000-0000000003.snap

Exit codes: 0 all is whole (but a torn tail, which is told), 1 damage was found or the store would not open, 2 the command line is wrong, 3 something
could not be read (the disk, permissions, a newer format) and no damage was found.";

#[derive(clap::Args)]
struct CheckArgs {
    /// A store's folder, a segment, a snapshot, an RDB file, an append-only file or folder, JSON Lines, a table; `-` for standard input.
    path: PathBuf,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// How a command ended, as the process's exit code. Of several the greatest is told: damage that is certain before what could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Outcome {
    /// Nothing is wrong.
    Fine = 0,
    /// Damage was found, or a store that would not open, or a server that does not answer.
    Damage = 1,
    /// The command line is wrong (clap's own code too).
    Usage = 2,
    /// Something could not be read.
    Unreadable = 3,
    /// The answer is no: a key is not there, two datasets differ.
    Differs = 4,
    /// A signal ended it, as shells tell of that: 128 and the number of SIGHUP.
    HungUp = 129,
    /// The same of SIGINT.
    Interrupted = 130,
    /// The same of SIGTERM.
    Terminated = 143,
}

impl Outcome {
    /// How much it counts beside others.
    fn weight(self) -> u8 {
        match self {
            Outcome::Fine => 0,
            Outcome::Differs => 1,
            Outcome::Unreadable => 2,
            Outcome::Damage => 3,
            Outcome::Usage => 4,
            Outcome::HungUp | Outcome::Interrupted | Outcome::Terminated => 5,
        }
    }
}

impl Ord for Outcome {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.weight().cmp(&other.weight())
    }
}

impl PartialOrd for Outcome {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
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
    /// A server does not answer as it should.
    #[error("{0}")]
    Unanswered(String),
    /// Standard output.
    #[error("writing the output failed: {0}")]
    Output(#[from] io::Error),
}

impl ToolError {
    fn outcome(&self) -> Outcome {
        match self {
            ToolError::Usage(_) => Outcome::Usage,
            ToolError::Damage(_) | ToolError::Unanswered(_) => Outcome::Damage,
            ToolError::Unreadable(_) | ToolError::Output(_) => Outcome::Unreadable,
        }
    }
}

impl From<serde_json::Error> for ToolError {
    fn from(error: serde_json::Error) -> Self {
        ToolError::Output(error.into())
    }
}

/// The command line; the process ends here if it is wrong, or asks for help.
fn command_line() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| {
        if error.kind() == ErrorKind::UnknownArgument
            && let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg)
            && let Some(why) = std::env::args().nth(1).and_then(|command| filter::why_not(&command, argument))
        {
            let _ = error.print();
            text::tell(&format_args!("\n{why}"));
            tell_json(&ToolError::Usage(why.to_owned()), &mut io::stdout());
            std::process::exit(error.exit_code());
        }
        if error.use_stderr() {
            let message = error.to_string();
            tell_json(&ToolError::Usage(message.trim_end().to_owned()), &mut io::stdout());
        }
        error.exit()
    })
}

/// Whether the output is to be JSON also when there is nothing but an error. The words are looked at as they are, because they may be wrong.
fn wants_json() -> bool {
    let mut words = std::env::args_os().skip(1);
    let command = words.next().unwrap_or_default();
    // There it is followed by a path.
    command != "torture" && words.take_while(|word| word != "--").any(|word| word == "--json")
}

/// With `--json` an error is the last JSON object of the output.
fn tell_json(error: &ToolError, out: &mut dyn Write) {
    if wants_json() {
        let _ =
            writeln!(out, "{}", serde_json::json!({ "error": error.to_string(), "exit_code": error.outcome() as u8 }));
    }
}

fn main() -> ExitCode {
    let cli = command_line();
    // That one ends its servers first.
    if !matches!(cli.command, Command::Torture(_)) {
        unfinished::listen();
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let result = match &cli.command {
        Command::Inspect(args) => inspect::run(args, &mut out),
        Command::Check(args) => check::run(&args.path, args.json, &mut out),
        Command::Get(args) => get::run(args, &mut out),
        Command::History(args) => history::run(args, &mut out),
        Command::Restore(args) => restore::run(args, &mut out),
        Command::Compact(args) => compact::run(args, &mut out),
        Command::Diff(args) => diff::run(args, &mut out),
        Command::Stats(args) => stats::run(args, &mut out),
        Command::Ping(args) => ping::run(args, &mut out),
        Command::Repair(args) => repair::run(args, &mut out),
        Command::Convert(args) => convert::run(args, &mut out),
        Command::Backup(args) => backup::run(args, &mut out),
        Command::Serve(args) => serve::run(args, &mut out),
        Command::Torture(args) => torture::run(args, &mut out),
    };
    unfinished::settle();
    let result = result.and_then(|outcome| Ok(out.flush().map(|()| outcome)?));
    let outcome = result.unwrap_or_else(|error| {
        // Whoever reads the output has seen enough (`head`).
        if matches!(&error, ToolError::Output(source) if source.kind() == io::ErrorKind::BrokenPipe) {
            return Outcome::Fine;
        }
        // Data that goes to standard output is not followed by anything else.
        if matches!(&cli.command, Command::Convert(args) if args.output.as_os_str() == "-") {
            tell_json(&error, &mut io::stderr());
        } else {
            tell_json(&error, &mut out);
        }
        let _ = out.flush();
        text::tell(&format_args!("firn: {error}"));
        error.outcome()
    });
    // What a broken pipe left in the buffer must not be tried again when it is dropped.
    std::mem::forget(out);
    ExitCode::from(outcome as u8)
}

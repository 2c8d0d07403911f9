//! `firn get`: keys out of a file, without a server and without loading it.

use crate::dataset::firn::snapshot_error;
use crate::dataset::keys::{self, Wanted};
use crate::dataset::lines::Lines;
use crate::dataset::state::Small;
use crate::dataset::{Damages, Dataset, NoTail};
use crate::moment::{self, Moment};
use crate::show::{self, Cli, Resp};
use crate::{Outcome, ToolError, json};
use firn_engine::keyspace::{Entry, Value};
use firn_engine::snapshot::reader::BlockBuffer;
use std::io::Write;
use std::path::PathBuf;

/// What to get.
#[derive(clap::Args)]
pub(crate) struct GetArgs {
    /// A store's folder, a snapshot, files of Redis, JSON Lines, a table; `-` for standard input.
    path: PathBuf,
    /// The keys, as redis-cli writes them: a key in double quotes may hold escapes such as \xff, \n, \".
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
    /// The database.
    #[arg(long, default_value_t = 0, value_name = "N")]
    db: usize,
    /// The state right behind this LSN, or at this time, instead of the newest.
    #[arg(long, value_name = "LSN|TIME")]
    to: Option<String>,
    /// How to print it.
    #[arg(long = "as", value_enum, default_value = "cli", value_name = "FORM")]
    form: Form,
    /// The same as --as json.
    #[arg(long)]
    json: bool,
}

/// How a value is printed.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Form {
    /// As redis-cli shows it.
    Cli,
    /// One JSON object a key.
    Json,
    /// The bytes of the RESP reply.
    Resp,
    /// The bytes of a string, nothing else.
    Raw,
}

/// Runs it.
pub(crate) fn run(args: &GetArgs, out: &mut dyn Write) -> Result<Outcome, ToolError> {
    let form = if args.json { Form::Json } else { args.form };
    let to = args.to.as_deref().map(moment::parse).transpose()?;
    let names: Vec<Vec<u8>> = args.keys.iter().map(|key| crate::text::unquoted(key)).collect::<Result<_, _>>()?;
    let damages = Damages::strict();
    let now_ms = moment::now_ms();
    let mut missing = false;
    match Dataset::open(&args.path)? {
        Dataset::Snapshot(base) => {
            let reader = base.reader().ok_or_else(|| ToolError::Usage("no snapshot".to_owned()))?;
            if to.is_some_and(|to| to != Moment::Lsn(reader.header().number)) {
                return Err(ToolError::Usage(format!(
                    "the snapshot holds LSN {} and no other moment",
                    reader.header().number
                )));
            }
            let mut buffer = BlockBuffer::default();
            for name in &names {
                let found =
                    reader.find(args.db as u32, name, &mut buffer, |entry| print(out, form, args.db, &entry, now_ms));
                match found.map_err(|error| snapshot_error(&error))? {
                    Some(printed) => printed?,
                    None => missing |= absent(out, form, args.db, name)?,
                }
            }
        }
        Dataset::Store(store) => {
            let (base, tail, _) = store.at_for_keys(to, &damages)?;
            let small = keys::replay(&base, &tail, &Wanted::Names(&names), &damages, &mut |_, _, _| Ok(()))?;
            missing = print_all(args, form, &names, &small, now_ms, out)?;
        }
        Dataset::Redis(files) => {
            let (base, tail) = (files.base(&damages), files.tail(files.until(to)?, &damages));
            let small = keys::replay(&base, &tail, &Wanted::Names(&names), &damages, &mut |_, _, _| Ok(()))?;
            missing = print_all(args, form, &names, &small, now_ms, out)?;
        }
        Dataset::Lines(file) if to.is_none() => {
            let base = Lines::new(&file, &damages);
            let small = keys::replay(&base, &NoTail, &Wanted::Names(&names), &damages, &mut |_, _, _| Ok(()))?;
            missing = print_all(args, form, &names, &small, now_ms, out)?;
        }
        other => {
            return Err(ToolError::Usage(format!(
                "{} holds no keys of such a moment (changes: firn history shows them)",
                other.kind()
            )));
        }
    }
    Ok(if missing { Outcome::Differs } else { Outcome::Fine })
}

/// Prints the keys that were asked for out of the engine that holds them; says whether one is missing.
fn print_all(
    args: &GetArgs,
    form: Form,
    names: &[Vec<u8>],
    small: &Small,
    now_ms: u64,
    out: &mut dyn Write,
) -> Result<bool, ToolError> {
    let (keyspace, mut missing) = (&small.engine.keyspace, false);
    for name in names {
        let entry =
            (args.db < keyspace.databases()).then(|| keyspace.db(args.db).get(keyspace.seed().key(name))).flatten();
        match entry {
            Some(entry) => print(out, form, args.db, &entry, now_ms)?,
            None => missing |= absent(out, form, args.db, name)?,
        }
    }
    Ok(missing)
}

fn print(out: &mut dyn Write, form: Form, db: usize, entry: &Entry<'_>, now_ms: u64) -> Result<(), ToolError> {
    match form {
        Form::Cli => show::value(&mut Cli::new(out), entry, now_ms)?,
        Form::Resp => show::value(&mut Resp(out), entry, now_ms)?,
        Form::Json => {
            json::write_entry(out, db, entry)?;
            writeln!(out)?;
        }
        Form::Raw => match entry.value {
            Value::String(bytes) => out.write_all(bytes)?,
            Value::Collection(view) => {
                return Err(ToolError::Usage(format!(
                    "{} is a {}: --as raw is for strings, --as json for every type",
                    crate::text::word(entry.key, false),
                    view.kind().name()
                )));
            }
        },
    }
    Ok(())
}

fn absent(out: &mut dyn Write, form: Form, db: usize, key: &[u8]) -> Result<bool, ToolError> {
    match form {
        Form::Cli => writeln!(out, "(nil)")?,
        Form::Resp => out.write_all(b"$-1\r\n")?,
        Form::Json => writeln!(out, "{}", serde_json::json!({ "db": db, "key": json::bytes(key), "type": "none" }))?,
        Form::Raw => {}
    }
    Ok(true)
}

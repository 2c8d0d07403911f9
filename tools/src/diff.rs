//! `firn diff`: which keys two datasets do not have in common, whatever kinds they are; or two moments of one store.
//!
//! Both states are written as short rows (key, digest of the value, size, deadline) into files by a hash of the key, then compared file by
//! file: memory is bounded by the largest of these, which `--memory` sets.

use crate::choice::{Choice, StateArgs, when};
use crate::dataset::{Damages, Dataset};
use crate::filter::memory_of;
use crate::moment::{self, Moment, now_ms};
use crate::text::{self, Style};
use crate::{Outcome, ToolError, json};
use firn_engine::key::HashSeed;
use firn_engine::keyspace::{Entry, entry_digest};
use firn_engine::value::Kind;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::PathBuf;

/// Files at most.
const PARTS_MAX: u64 = 512;
/// A row beside its key: database, digest, deadline, size, kind, length of the key.
const ROW_LEN: usize = 4 + 16 + 8 + 8 + 1 + 8;
/// What a row takes in memory beside its key.
const ROW_MEMORY: u64 = 120;

/// What to compare.
#[derive(clap::Args)]
pub(crate) struct DiffArgs {
    /// The one: a store's folder, a snapshot, files of Redis, JSON Lines, a table.
    one: PathBuf,
    /// The other; without it, two moments of the one are compared.
    other: Option<PathBuf>,
    /// The moment of the one (an LSN or a time).
    #[arg(long, value_name = "LSN|TIME")]
    from: Option<String>,
    /// Only say how many keys differ.
    #[arg(long)]
    summary: bool,
    /// Deadlines do not matter.
    #[arg(long)]
    ignore_ttl: bool,
    /// Also compare keys whose time has come but which are still in the files.
    #[arg(long)]
    with_expired: bool,
    /// `--to` is the moment of the other.
    #[command(flatten)]
    state: StateArgs,
    /// One JSON object a line, the last with the counts.
    #[arg(long)]
    json: bool,
}

/// What is compared of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Row {
    digest: u128,
    deadline: u64,
    bytes: u64,
    kind: u8,
}

/// Rows in files.
struct Rows {
    parts: Vec<BufWriter<File>>,
    seed: HashSeed,
    count: u64,
}

fn failed(error: &std::io::Error) -> ToolError {
    ToolError::Unreadable(format!("a temporary file: {error}"))
}

impl Rows {
    fn new(parts: u64) -> Result<Rows, ToolError> {
        let file = || tempfile::tempfile().map(BufWriter::new).map_err(|error| failed(&error));
        Ok(Rows { parts: (0..parts).map(|_| file()).collect::<Result<_, _>>()?, seed: HashSeed([0x5a; 16]), count: 0 })
    }

    fn push(&mut self, db: usize, entry: &Entry<'_>) -> Result<(), ToolError> {
        let at = self.seed.position(entry.key) % self.parts.len() as u64;
        let digest = entry_digest(&Entry { deadline: None, access: 0, edited: false, ..*entry });
        let mut row = Vec::with_capacity(ROW_LEN);
        row.extend_from_slice(&(db as u32).to_le_bytes());
        row.extend_from_slice(&digest.to_le_bytes());
        row.extend_from_slice(&entry.deadline.unwrap_or(0).to_le_bytes());
        row.extend_from_slice(&memory_of(entry).to_le_bytes());
        row.push(entry.value.kind() as u8);
        row.extend_from_slice(&(entry.key.len() as u64).to_le_bytes());
        self.count += 1;
        let part = &mut self.parts[at as usize];
        part.write_all(&row).and_then(|()| part.write_all(entry.key)).map_err(|error| failed(&error))
    }

    fn read(
        part: BufWriter<File>,
        visit: &mut dyn FnMut(u32, Vec<u8>, Row) -> Result<(), ToolError>,
    ) -> Result<(), ToolError> {
        let mut file = part.into_inner().map_err(|error| failed(error.error()))?;
        file.rewind().map_err(|error| failed(&error))?;
        let mut reader = BufReader::new(file);
        let mut row = [0; ROW_LEN];
        loop {
            match reader.read_exact(&mut row) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(failed(&error)),
            }
            let number = |at: usize| firn_engine::format::u64_at(&row, at);
            let digest = u128::from(number(4)) | u128::from(number(12)) << 64;
            let mut key = vec![0; number(37) as usize];
            reader.read_exact(&mut key).map_err(|error| failed(&error))?;
            let found = Row { digest, deadline: number(20), bytes: number(28), kind: row[36] };
            visit(firn_engine::format::u32_at(&row, 0), key, found)?;
        }
    }
}

/// Runs it.
pub(crate) fn run(args: &DiffArgs, out: &mut dyn Write) -> Result<Outcome, ToolError> {
    let choice = args.state.choice()?;
    let (from, to) = (args.from.as_deref().map(moment::parse).transpose()?, choice.to);
    if args.other.is_none() && from.is_none() && to.is_none() {
        return Err(ToolError::Usage("give two datasets, or two moments of one with --from and --to".to_owned()));
    }
    let now = now_ms();
    let one = Dataset::open(&args.one)?;
    let other = args.other.as_deref().map(Dataset::open).transpose()?;
    let other_bytes = other.as_ref().map_or(one.bytes(), Dataset::bytes);
    let expected = (one.bytes().max(other_bytes) / 64).max(1) * (ROW_MEMORY + 32);
    let parts = (expected / choice.memory + 1).clamp(1, PARTS_MAX);
    let rows = |dataset: &Dataset, moment: Option<Moment>| -> Result<_, ToolError> {
        let mut rows = Rows::new(parts)?;
        let mut visit = |db: usize, _: u64, entry: &Entry<'_>| {
            if !args.with_expired && entry.deadline.is_some_and(|at| at <= now) { Ok(()) } else { rows.push(db, entry) }
        };
        let choice = Choice { to: moment, ..choice.clone() };
        let info = dataset.state(&choice, &Damages::strict(), &mut |_| Ok(()), &mut visit)?;
        Ok((rows, info))
    };
    let (ones, one_info) = rows(&one, from)?;
    let (others, other_info) = rows(other.as_ref().unwrap_or(&one), to)?;
    let mut counts = Counts { before: ones.count, after: others.count, ..Counts::default() };
    let mut printer = Printer { args, out, style: Style::for_stdout() };
    for (one, other) in ones.parts.into_iter().zip(others.parts) {
        let mut known: HashMap<(u32, Vec<u8>), Row> = HashMap::new();
        Rows::read(one, &mut |db, key, row| {
            known.insert((db, key), row);
            Ok(())
        })?;
        Rows::read(other, &mut |db, key, row| {
            let place = (db, key);
            let Some(was) = known.remove(&place) else {
                counts.added += 1;
                return printer.line('+', place.0, &place.1, None, Some(row));
            };
            let value = was.digest != row.digest;
            if value || (!args.ignore_ttl && was.deadline != row.deadline) {
                counts.changed += 1;
                return printer.line('~', place.0, &place.1, Some(was), Some(row));
            }
            counts.same += 1;
            Ok(())
        })?;
        let mut gone: Vec<_> = known.into_iter().collect();
        gone.sort_by(|one, other| one.0.cmp(&other.0));
        for ((db, key), row) in gone {
            counts.removed += 1;
            printer.line('-', db, &key, Some(row), None)?;
        }
    }
    let differ = counts.added + counts.removed + counts.changed > 0;
    if args.json {
        let facts = json!({
            "equal": !differ, "added": counts.added, "removed": counts.removed, "changed": counts.changed, "same": counts.same,
            "keys_before": counts.before, "keys_after": counts.after, "lsn_before": one_info.lsn, "lsn_after": other_info.lsn,
        });
        writeln!(printer.out, "{facts}")?;
    } else {
        // Files without LSNs and times have no moment.
        let moments = [&one_info, &other_info].iter().any(|info| info.lsn.is_some() || info.time_ms.is_some());
        let moments =
            if moments { format!("; from {} to {}", when(&one_info), when(&other_info)) } else { String::new() };
        let line = format!(
            "{} added, {} removed, {} changed, {} the same{moments}.",
            text::count(counts.added),
            text::count(counts.removed),
            text::count(counts.changed),
            text::count(counts.same)
        );
        writeln!(printer.out, "{}", if differ { printer.style.note(&line) } else { printer.style.good(&line) })?;
    }
    Ok(if differ { Outcome::Differs } else { Outcome::Fine })
}

#[derive(Default)]
struct Counts {
    added: u64,
    removed: u64,
    changed: u64,
    same: u64,
    before: u64,
    after: u64,
}

struct Printer<'a> {
    args: &'a DiffArgs,
    out: &'a mut dyn Write,
    style: Style,
}

impl Printer<'_> {
    fn line(&mut self, sign: char, db: u32, key: &[u8], was: Option<Row>, is: Option<Row>) -> Result<(), ToolError> {
        if self.args.summary {
            return Ok(());
        }
        let name = |row: Row| Kind::from_number(row.kind).map_or("?", Kind::name);
        let ttl = |row: Row| (row.deadline != 0).then_some(row.deadline);
        if self.args.json {
            let of = |row: Option<Row>| {
                row.map_or(
                    Value::Null,
                    |row| json!({ "type": name(row), "memory_bytes": row.bytes, "expires_ms": ttl(row) }),
                )
            };
            let change = match sign {
                '+' => "added",
                '-' => "removed",
                _ => "changed",
            };
            let line =
                json!({ "change": change, "db": db, "key": json::bytes(key), "before": of(was), "after": of(is) });
            writeln!(self.out, "{line}")?;
            return Ok(());
        }
        let mut what = Vec::new();
        match (was, is) {
            (Some(was), Some(is)) => {
                if was.kind != is.kind {
                    what.push(format!("{} -> {}", name(was), name(is)));
                } else if was.digest != is.digest {
                    what.push(match was.bytes == is.bytes {
                        true => format!("{}, another value of {}", name(is), text::size(is.bytes)),
                        false => format!("{}, {} -> {}", name(is), text::size(was.bytes), text::size(is.bytes)),
                    });
                }
                if was.deadline != is.deadline {
                    let time = |row: Row| ttl(row).map_or("none".to_owned(), text::time);
                    what.push(format!("expires {} -> {}", time(was), time(is)));
                }
            }
            (Some(row), None) | (None, Some(row)) => what.push(format!("{}, {}", name(row), text::size(row.bytes))),
            (None, None) => {}
        }
        let line = format!("{sign} {db:>3}  {}", text::word(key, true));
        let line = match sign {
            '+' => self.style.good(&line),
            '-' => self.style.bad(&line),
            _ => self.style.note(&line),
        };
        writeln!(self.out, "{line}  {}", self.style.dim(&what.join(", ")))?;
        Ok(())
    }
}

//! `firn convert`: a dataset in another form.

use crate::dataset::{Damages, Dataset, StateInfo};
use crate::filter::{Filter, KeyArgs, ValueArgs, memory_of};
use crate::make::NewStore;
use crate::moment::{self, now_ms};
use crate::parquet::{self, Cell, Table};
use crate::restore::{libraries, memory};
use crate::{Outcome, ToolError, commands, json, text};
use firn_engine::glob;
use firn_engine::key::HashSeed;
use firn_engine::keyspace::{Entry, Value, entry};
use firn_engine::limits::BLOCK_LEN_TARGET;
use firn_engine::rdb::writer::{EncodeError, Options};
use firn_engine::rdb::{Usage, Writer};
use firn_engine::value::hash::Lifetime;
use firn_engine::value::listpack::IntegerText;
use firn_engine::value::stream::Id;
use firn_engine::value::{Collection, CollectionView, Hash, List, Set, Shaping, SortedSet, Stream};
use serde_json::json;
use std::borrow::Cow;
use std::cell::{Cell as Shared, RefCell};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// What to convert, and to what.
#[derive(clap::Args)]
pub(crate) struct ConvertArgs {
    /// A store's folder, a snapshot, JSON Lines; `-` for JSON Lines on standard input.
    path: PathBuf,
    /// The new file or, for a store, folder; `-` for standard output. It must not exist.
    output: PathBuf,
    /// The form; told by the output's ending (.jsonl, .csv, .parquet, .resp, .aof, .rdb; without one a store) unless given.
    #[arg(long, value_enum, value_name = "FORM")]
    format: Option<Format>,
    /// The state right behind this LSN, or at this time, instead of the newest.
    #[arg(long, value_name = "LSN|TIME")]
    to: Option<String>,
    /// Replaces the values of keys, and of fields in hashes and streams, whose names match this glob.
    #[arg(long, value_name = "GLOB")]
    redact: Vec<String>,
    /// The version of an RDB file: 9 to 12, or 80 for Valkey 9.
    #[arg(long, default_value_t = 11, value_name = "N")]
    rdb_version: u32,
    /// Leaves out keys whose time has come.
    #[arg(long)]
    without_expired: bool,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    values: ValueArgs,
    /// Memory to use, about.
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Says what was done as one JSON object (on standard error if the data goes to standard output).
    #[arg(long)]
    json: bool,
}

/// A form of data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Format {
    /// A new Firn store: a folder.
    Firn,
    /// JSON Lines: one object a key, which can be converted back.
    Jsonl,
    /// A table: database, key, type, deadline, elements, memory, value (of collections as JSON).
    Csv,
    /// The same table as Apache Parquet; keys and values as bytes.
    Parquet,
    /// Commands as a client sends them, for `redis-cli --pipe`; also what an append-only file is.
    Resp,
    /// An RDB file that Redis and Valkey load.
    Rdb,
}

fn format_of(path: &Path) -> Option<Format> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("jsonl" | "ndjson" | "json") => Some(Format::Jsonl),
        Some("csv") => Some(Format::Csv),
        Some("parquet") => Some(Format::Parquet),
        Some("resp" | "aof") => Some(Format::Resp),
        Some("rdb") => Some(Format::Rdb),
        None if path.as_os_str() != "-" => Some(Format::Firn),
        _ => None,
    }
}

enum Sink<'o> {
    Store(Box<NewStore>),
    Stream { format: Format, out: Box<dyn Write + 'o>, db: usize },
    Table { table: Box<Table>, out: Box<dyn Write + 'o> },
    Rdb(Box<Writer<Box<dyn Write + 'o>>>),
}

impl Sink<'_> {
    fn put(&mut self, db: usize, position: u64, entry: &Entry<'_>) -> Result<(), ToolError> {
        let (format, out, selected) = match self {
            Sink::Store(store) => return store.push(db, position, entry),
            Sink::Table { table, out } => return table_row(table, out, db, entry),
            Sink::Rdb(writer) => return put_rdb(writer, db, entry),
            Sink::Stream { format, out, db } => (format, out, db),
        };
        match format {
            Format::Jsonl => {
                json::write_entry(out, db, entry)?;
                out.write_all(b"\n")?;
            }
            Format::Resp => {
                if *selected != db {
                    commands::write(out, &[b"SELECT", db.to_string().as_bytes()])?;
                    *selected = db;
                }
                commands::of_entry(entry, &mut |words| Ok(commands::write(out, words)?))?;
            }
            Format::Csv | Format::Parquet | Format::Rdb | Format::Firn => row(out, db, entry)?,
        }
        Ok(())
    }
}

/// An entry of an RDB file.
fn put_rdb(writer: &mut Writer<Box<dyn Write + '_>>, db: usize, entry: &Entry<'_>) -> Result<(), ToolError> {
    let failed = |error: EncodeError| ToolError::Unreadable(format!("key {}: {error}", text::word(entry.key, false)));
    let (mut bytes, mut from) = (Vec::new(), 0);
    loop {
        bytes.clear();
        let next = entry::encode_part(entry, from, BLOCK_LEN_TARGET, &mut bytes);
        let mut rest = &bytes[..];
        let stored = entry::take(&mut rest).map_err(|error| ToolError::Damage(error.to_string()))?;
        writer.entry(db as u32, &stored, Usage::Unknown).map_err(failed)?;
        let Some(next) = next else { return Ok(()) };
        from = next;
    }
}

/// The columns of a table.
const COLUMNS: [(&str, parquet::Kind); 7] = [
    ("db", parquet::Kind::Int32),
    ("key", parquet::Kind::Bytes),
    ("type", parquet::Kind::Text),
    ("expires_ms", parquet::Kind::OptionalTime),
    ("elements", parquet::Kind::OptionalInt64),
    ("memory_bytes", parquet::Kind::OptionalInt64),
    ("value", parquet::Kind::Bytes),
];

/// One row of a Parquet file: strings as they are, collections as JSON.
fn table_row(table: &mut Table, out: &mut dyn Write, db: usize, entry: &Entry<'_>) -> Result<(), ToolError> {
    let mut made = Vec::new();
    let (elements, value) = match entry.value {
        Value::String(bytes) => (None, bytes),
        Value::Collection(view) => {
            json::write_value(&mut made, entry)?;
            (Some(view.len() as i64), &made[..])
        }
    };
    let cells = [
        Cell::Int32(db as i32),
        Cell::Bytes(entry.key),
        Cell::Bytes(entry.value.kind().name().as_bytes()),
        Cell::Int64(entry.deadline.map(|at| at as i64)),
        Cell::Int64(elements),
        Cell::Int64(Some(memory_of(entry) as i64)),
        Cell::Bytes(value),
    ];
    Ok(table.push(&cells, out)?)
}

/// One row of a table.
fn row(out: &mut dyn Write, db: usize, entry: &Entry<'_>) -> Result<(), ToolError> {
    let (elements, value) = match entry.value {
        Value::String(bytes) => (String::new(), shown(bytes).into_owned()),
        Value::Collection(view) => {
            let mut value = Vec::new();
            json::write_value(&mut value, entry)?;
            (view.len().to_string(), String::from_utf8_lossy(&value).into_owned())
        }
    };
    let deadline = entry.deadline.map_or(String::new(), |at| at.to_string());
    let kind = entry.value.kind().name();
    let (key, value) = (cell(&shown(entry.key)), cell(&value));
    write!(out, "{db},{key},{kind},{deadline},{elements},{},{value}\r\n", memory_of(entry))?;
    Ok(())
}

/// Bytes as text: UTF-8 as it is, else as redis-cli quotes it.
fn shown(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| Cow::Owned(text::quoted(bytes, true)), Cow::Borrowed)
}

/// A cell as RFC 4180 has it.
fn cell(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// Runs it.
pub(crate) fn run(args: &ConvertArgs, out: &mut dyn Write) -> Result<Outcome, ToolError> {
    let filter = Filter::new(&args.keys, &args.values)?;
    let memory = memory(args.memory.as_deref())?;
    let to = args.to.as_deref().map(moment::parse).transpose()?;
    let format = args
        .format
        .or_else(|| format_of(&args.output))
        .ok_or_else(|| ToolError::Usage(format!("{}: say which form with --format", args.output.display())))?;
    let to_stdout = args.output.as_os_str() == "-";
    if to_stdout && format == Format::Firn {
        return Err(ToolError::Usage("a store is a folder: it cannot go to standard output".to_owned()));
    }
    let dataset = Dataset::open(&args.path)?;
    let redaction = Redaction { patterns: args.redact.iter().map(|text| text.clone().into_bytes()).collect() };
    let damages = Damages::strict();
    let (now, count, created) = (now_ms(), Shared::new(0u64), Shared::new(false));
    let sink: RefCell<Option<Sink<'_>>> = RefCell::new(None);
    let failed = |error: std::io::Error| ToolError::Unreadable(format!("{}: {error}", args.output.display()));
    let out = RefCell::new(out);
    let begin = |info: &StateInfo| -> Result<(), ToolError> {
        let made = match format {
            Format::Firn => Sink::Store(Box::new(NewStore::create(&args.output, info, dataset.bytes() * 2, memory)?)),
            _ => {
                let to: Box<dyn Write> = if to_stdout {
                    Box::new(BufWriter::new(std::io::stdout()))
                } else {
                    let file = File::create_new(&args.output).map_err(failed)?;
                    created.set(true);
                    Box::new(BufWriter::with_capacity(1 << 18, file))
                };
                match format {
                    Format::Rdb => {
                        let options =
                            Options::new(args.rdb_version).map_err(|bad| ToolError::Usage(bad.to_string()))?;
                        let writer = Writer::new(to, options).map_err(|bad| ToolError::Usage(bad.to_string()))?;
                        Sink::Rdb(Box::new(writer.spilling(Box::new(|| Ok(Box::new(tempfile::tempfile()?))))))
                    }
                    Format::Parquet => Sink::Table { table: Box::new(Table::new(&COLUMNS)), out: to },
                    _ => Sink::Stream { format, out: to, db: 0 },
                }
            }
        };
        let mut sink = sink.borrow_mut();
        *sink = Some(made);
        if let (Format::Csv, Some(Sink::Stream { out, .. })) = (format, sink.as_mut()) {
            out.write_all(b"db,key,type,expires_ms,elements,memory_bytes,value\r\n")?;
        }
        Ok(())
    };
    let info = dataset.state(to, &filter, memory, &damages, &mut |info| begin(info), &mut |db, position, entry| {
        if args.without_expired && entry.deadline.is_some_and(|at| at <= now) {
            return Ok(());
        }
        count.set(count.get() + 1);
        let mut sink = sink.borrow_mut();
        let Some(sink) = sink.as_mut() else { return Ok(()) };
        match redaction.apply(entry) {
            Some(redacted) => sink.put(db, position, &redacted.entry(entry)),
            None => sink.put(db, position, entry),
        }
    });
    let finished = info.and_then(|info| {
        match sink.into_inner() {
            Some(Sink::Store(store)) => {
                store.finish(&libraries(&info, &filter))?;
            }
            Some(Sink::Table { table, mut out }) => {
                table.finish(&mut *out)?;
                out.flush()?;
            }
            Some(Sink::Rdb(mut writer)) => {
                if args.rdb_version >= 10 {
                    for (_, source) in libraries(&info, &filter).iter() {
                        writer.function(source)?;
                    }
                }
                writer.finish()?.flush()?;
            }
            Some(Sink::Stream { format, mut out, .. }) => {
                if format == Format::Resp {
                    for (_, source) in libraries(&info, &filter).iter() {
                        commands::write(&mut *out, &[b"FUNCTION", b"LOAD", b"REPLACE", source])?;
                    }
                }
                out.flush()?;
            }
            None => {}
        }
        Ok(info)
    });
    if finished.is_err() && created.get() {
        // Half of a file must not pass for one; one that was there before is not ours.
        let _ = std::fs::remove_file(&args.output);
    }
    let info = finished?;
    let facts = json!({ "output": args.output.display().to_string(), "entries": count.get(), "lsn": info.lsn });
    let line = if args.json {
        facts.to_string()
    } else {
        format!("Wrote {} to {}.", text::counted(count.get(), "key", "keys"), args.output.display())
    };
    if !to_stdout {
        writeln!(out.borrow_mut(), "{line}")?;
    } else if args.json {
        eprintln!("{line}");
    }
    Ok(Outcome::Fine)
}

/// What stands where something was redacted.
const REDACTED: &[u8] = b"[redacted]";

/// Which values are replaced.
struct Redaction {
    patterns: Vec<Vec<u8>>,
}

/// A value in which something was replaced.
enum Redacted {
    String,
    Collection(Collection),
}

impl Redacted {
    fn entry<'e>(&'e self, of: &Entry<'e>) -> Entry<'e> {
        let value = match self {
            Redacted::String => Value::String(REDACTED),
            Redacted::Collection(collection) => Value::Collection(collection.view()),
        };
        Entry { value, ..*of }
    }
}

impl Redaction {
    fn hides(&self, name: &[u8]) -> bool {
        self.patterns.iter().any(|pattern| glob::matches(pattern, name))
    }

    /// The value with what is to be hidden replaced; `None` if nothing is.
    fn apply(&self, entry: &Entry<'_>) -> Option<Redacted> {
        if self.patterns.is_empty() {
            return None;
        }
        let shaping = Shaping::new(HashSeed([0; 16]));
        let whole = self.hides(entry.key);
        // Members of sets differ, so what stands for them is numbered.
        let numbered = |number: usize| [REDACTED, b" ", number.to_string().as_bytes()].concat();
        let collection = match entry.value {
            Value::String(_) => return whole.then_some(Redacted::String),
            Value::Collection(CollectionView::Hash(hash)) => {
                let (mut redacted, mut changed) = (Hash::default(), false);
                for field in hash.fields() {
                    let (mut name, mut value) = (IntegerText::new(), IntegerText::new());
                    let (name, mut value) = (field.name.as_bytes(&mut name), field.value.as_bytes(&mut value));
                    if whole || self.hides(name) {
                        (value, changed) = (REDACTED, true);
                    }
                    redacted.set(name, value, field.deadline.map_or(Lifetime::Unlimited, Lifetime::Until), 0, &shaping);
                }
                return changed.then_some(Redacted::Collection(Collection::Hash(redacted)));
            }
            Value::Collection(CollectionView::Stream(stream)) => {
                return self.stream(stream, whole, &shaping);
            }
            _ if !whole => return None,
            Value::Collection(CollectionView::List(list)) => {
                let mut redacted = List::default();
                (0..list.len()).for_each(|_| redacted.push(false, std::iter::once(REDACTED), &shaping));
                Collection::List(redacted)
            }
            Value::Collection(CollectionView::Set(set)) => {
                let mut redacted = Set::default();
                for number in 0..set.len() {
                    redacted.add(&numbered(number), &shaping);
                }
                Collection::Set(redacted)
            }
            Value::Collection(CollectionView::SortedSet(set)) => {
                let (mut redacted, mut number) = (SortedSet::default(), 0);
                set.each(0, usize::MAX, false, |_, score| {
                    redacted.set(&numbered(number), score, &shaping);
                    number += 1;
                });
                Collection::SortedSet(redacted)
            }
        };
        Some(Redacted::Collection(collection))
    }

    fn stream(&self, stream: &Stream, whole: bool, shaping: &Shaping) -> Option<Redacted> {
        let mut redacted = Stream::default();
        let mut changed = false;
        for entry in stream.range(Id::MIN, Id::MAX) {
            let mut words: Vec<Vec<u8>> = Vec::new();
            for (field, value) in entry.pairs() {
                let (mut name, mut text) = (IntegerText::new(), IntegerText::new());
                let (name, mut value) = (field.as_bytes(&mut name), value.as_bytes(&mut text));
                if whole || self.hides(name) {
                    (value, changed) = (REDACTED, true);
                }
                words.extend([name.to_vec(), value.to_vec()]);
            }
            redacted.add(entry.id, &words.iter().map(Vec::as_slice).collect::<Vec<_>>(), shaping);
        }
        if !changed {
            return None;
        }
        redacted.set_ids(stream.last_id(), Some(stream.entries_added()), Some(stream.max_deleted_id()));
        for group in stream.groups() {
            redacted.add_group(group.name(), group.last_id(), group.entries_read());
        }
        Some(Redacted::Collection(Collection::Stream(Box::new(redacted))))
    }
}

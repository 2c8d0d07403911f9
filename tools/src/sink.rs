//! Where entries go: a dataset in the making, of any form.
//!
//! 1. What is made is a new path, or standard output. Nothing that is there is overwritten.
//! 2. A file has another name until it is finished, and a folder lacks what makes it a store or a set of files: half of one does not pass for one,
//!    also when the tool is interrupted. What fails is taken away again.

use crate::dataset::StateInfo;
use crate::dataset::tables::CSV_HEAD;
use crate::filter::memory_of;
use crate::make::{Made, NewStore};
use crate::parquet::{self, Cell, Table};
use crate::unfinished::{self, NewFile, Unfinished, not_made};
use crate::{ToolError, commands, json, text};
use firn_engine::aof::manifest::{File as Part, Manifest, Part as PartKind};
use firn_engine::aof::write::CommandWriter;
use firn_engine::keyspace::libraries::Libraries;
use firn_engine::keyspace::{Entry, Value};
use firn_engine::rdb::writer::{EncodeError, Options};
use firn_engine::rdb::{Usage, Writer};
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Bytes that are put together before they are written.
const BUFFER_LEN: usize = 1 << 18;
/// The version of RDB files that Redis since 7.0 and every Valkey load.
pub(crate) const RDB_VERSION_DEFAULT: u32 = 10;
/// The first version that holds libraries of functions.
const RDB_VERSION_WITH_FUNCTIONS: u32 = 10;
/// The first version that holds what streams have counted.
const RDB_VERSION_WITH_COUNTS: u32 = 10;
/// How Redis names the parts of an append-only folder.
const AOF_NAME: &str = "appendonly.aof";

/// A form of data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Format {
    /// A new Firn store: a folder.
    Firn,
    /// JSON Lines: one object a key, and one a library of functions, which can be converted back.
    Jsonl,
    /// A table: database, key, type, deadline, elements, memory, value (of collections as JSON).
    Csv,
    /// The same table as Apache Parquet; keys and values as bytes.
    Parquet,
    /// Commands as a client sends them, for `redis-cli --pipe`; also what an append-only file is.
    #[value(alias = "aof")]
    Resp,
    /// A folder as Redis' `appendonlydir`: a base, an increment, a manifest.
    Appendonlydir,
    /// An RDB file that Redis and Valkey load.
    Rdb,
}

impl Format {
    /// The form that the name of a new path tells.
    pub(crate) fn of(path: &Path) -> Option<Format> {
        let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
        match ending.as_deref() {
            Some("jsonl" | "ndjson" | "json") => Some(Format::Jsonl),
            Some("csv") => Some(Format::Csv),
            Some("parquet") => Some(Format::Parquet),
            Some("resp" | "aof") => Some(Format::Resp),
            Some("rdb") => Some(Format::Rdb),
            None if path.file_name().is_some_and(|name| name == "appendonlydir") => Some(Format::Appendonlydir),
            None if path.as_os_str() != "-" => Some(Format::Firn),
            _ => None,
        }
    }
}

type Out = BufWriter<Box<dyn Write>>;

enum Kind {
    Store(Box<NewStore>),
    Lines(Out),
    Csv(Out),
    Commands(CommandWriter<Out>),
    Table { table: Box<Table>, out: Out },
    Rdb { writer: Box<Writer<Out>>, version: u32, streams: u64 },
}

/// See above.
pub(crate) struct Sink {
    kind: Option<Kind>,
    path: PathBuf,
    /// The file, if it is one.
    file: Option<NewFile>,
    /// The folder, if it is one of append-only files.
    folder: Option<Unfinished>,
}

impl Sink {
    /// Begins a dataset of this form in `path` (`-`: standard output) for a state of which `info` tells LSN and order; about `expected` bytes
    /// will come, of which `memory` may be in memory.
    pub(crate) fn create(
        path: &Path,
        format: Format,
        rdb_version: u32,
        info: &StateInfo,
        expected: u64,
        memory: u64,
    ) -> Result<Sink, ToolError> {
        let is_folder = format == Format::Appendonlydir;
        let mut sink = Sink { kind: None, path: path.to_owned(), file: None, folder: None };
        if path.as_os_str() == "-" && (is_folder || format == Format::Firn) {
            return Err(ToolError::Usage("a folder cannot go to standard output".to_owned()));
        }
        sink.kind = Some(match format {
            Format::Firn => Kind::Store(Box::new(NewStore::create(path, info, expected, memory)?)),
            Format::Jsonl => Kind::Lines(sink.open(path)?),
            Format::Csv => {
                let mut out = sink.open(path)?;
                write!(out, "{CSV_HEAD}\r\n")?;
                Kind::Csv(out)
            }
            Format::Parquet => {
                Kind::Table { table: Box::new(Table::new(&parquet::KEY_COLUMNS)), out: sink.open(path)? }
            }
            Format::Resp => Kind::Commands(CommandWriter::new(sink.open(path)?)),
            Format::Rdb | Format::Appendonlydir => {
                let options = Options::new(rdb_version).map_err(|bad| ToolError::Usage(bad.to_string()))?;
                let out = if is_folder {
                    sink.folder = Some(unfinished::create_folder(path).map_err(|error| not_made(path, &error))?);
                    sink.open(&path.join(format!("{AOF_NAME}.1.base.rdb")))?
                } else {
                    sink.open(path)?
                };
                let writer = Writer::new(out, options).map_err(|bad| ToolError::Usage(bad.to_string()))?;
                let mut writer = writer.spilling(Box::new(|| Ok(Box::new(tempfile::tempfile()?))));
                if is_folder {
                    writer.aux(b"aof-base", b"1")?;
                }
                Kind::Rdb { writer: Box::new(writer), version: rdb_version, streams: 0 }
            }
        });
        Ok(sink)
    }

    fn open(&mut self, path: &Path) -> Result<Out, ToolError> {
        let to: Box<dyn Write> = if path.as_os_str() == "-" {
            Box::new(std::io::stdout())
        } else if self.folder.is_some() {
            Box::new(File::create_new(path).map_err(|error| not_made(path, &error))?)
        } else {
            let (new, file) = NewFile::create(path)?;
            self.file = Some(new);
            Box::new(file)
        };
        Ok(BufWriter::with_capacity(BUFFER_LEN, to))
    }

    /// Takes an entry; in order if the state said so.
    pub(crate) fn put(&mut self, db: usize, position: u64, entry: &Entry<'_>) -> Result<(), ToolError> {
        match self.kind.as_mut() {
            None => Ok(()),
            Some(Kind::Store(store)) => store.push(db, position, entry),
            Some(Kind::Table { table, out }) => table_row(table, out, db, entry),
            Some(Kind::Rdb { writer, streams, .. }) => {
                *streams += u64::from(entry.value.kind() == firn_engine::value::Kind::Stream);
                put_rdb(writer, db, entry)
            }
            Some(Kind::Csv(out)) => row(out, db, entry),
            Some(Kind::Lines(out)) => {
                json::write_entry(out, db, entry)?;
                Ok(out.write_all(b"\n")?)
            }
            Some(Kind::Commands(writer)) => {
                commands::of_entry(entry, &mut |words| Ok(writer.command(db as u32, words)?))
            }
        }
    }

    /// Whether the form has a place for libraries of functions.
    pub(crate) fn holds_libraries(&self) -> bool {
        match &self.kind {
            Some(Kind::Csv(_) | Kind::Table { .. }) => false,
            Some(Kind::Rdb { version, .. }) => *version >= RDB_VERSION_WITH_FUNCTIONS,
            _ => true,
        }
    }

    /// Finishes it, with these libraries of functions; a form that has no place for them is finished without, which is told. A store says what
    /// was made.
    pub(crate) fn finish(mut self, libraries: &Libraries) -> Result<Option<Made>, ToolError> {
        let mut made = None;
        let holds_libraries = self.holds_libraries();
        if !holds_libraries && !libraries.is_empty() {
            let names: Vec<String> = libraries.iter().map(|(name, _)| text::word(name, false)).collect();
            text::tell(&format_args!(
                "firn: left out, because this form cannot hold libraries of functions: {}",
                names.join(", ")
            ));
        }
        match self.kind.take() {
            None => {}
            Some(Kind::Store(store)) => made = Some(store.finish(libraries)?),
            Some(Kind::Lines(mut out)) => {
                for (name, source) in libraries.iter() {
                    json::write_library(&mut out, name, source)?;
                    out.write_all(b"\n")?;
                }
                out.flush()?;
            }
            Some(Kind::Csv(mut out)) => out.flush()?,
            Some(Kind::Table { table, mut out }) => {
                table.finish(&mut out)?;
                out.flush()?;
            }
            Some(Kind::Commands(mut writer)) => {
                for (_, source) in libraries.iter() {
                    writer.command(0, &[b"FUNCTION", b"LOAD", b"REPLACE", source])?;
                }
                writer.finish()?;
            }
            Some(Kind::Rdb { mut writer, version, streams }) => {
                if version < RDB_VERSION_WITH_COUNTS && streams > 0 {
                    text::tell(&format_args!(
                        "firn: left out, because RDB version {version} cannot hold it: of {} how many entries were ever added, the greatest \
                         deleted ID, and how many entries their groups have read",
                        text::counted(streams, "stream", "streams")
                    ));
                }
                if holds_libraries {
                    for (_, source) in libraries.iter() {
                        writer.function(source)?;
                    }
                }
                writer.finish()?.flush()?;
            }
        }
        if let Some(folder) = self.folder.take() {
            let name = |ending: &str| format!("{AOF_NAME}.1.{ending}");
            let new = |name: &str| {
                let path = self.path.join(name);
                File::create_new(&path).map_err(|error| not_made(&path, &error))
            };
            new(&name("incr.aof"))?;
            let part = |ending: &str, part| Part { name: name(ending), number: 1, part };
            let files = vec![part("base.rdb", PartKind::Base), part("incr.aof", PartKind::Increment)];
            // Last: without it the folder is none.
            folder.keep(|| {
                let mut manifest = new(&format!("{AOF_NAME}.manifest"))?;
                Ok::<_, ToolError>(manifest.write_all(Manifest { files }.text().as_bytes())?)
            })?;
        }
        self.file.map_or(Ok(()), NewFile::finish)?;
        Ok(made)
    }
}

/// An entry of an RDB file.
fn put_rdb(writer: &mut Writer<Out>, db: usize, entry: &Entry<'_>) -> Result<(), ToolError> {
    let failed = |error: EncodeError| match error {
        EncodeError::Io(error) => ToolError::Output(error),
        error => ToolError::Unreadable(format!("key {}: {error}", text::word(entry.key, false))),
    };
    commands::parts(entry, &mut |stored| writer.entry(db as u32, stored, Usage::Unknown).map_err(failed))
}

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
        Value::String(bytes) => (String::new(), shown(bytes)),
        Value::Collection(view) => {
            let mut value = Vec::new();
            json::write_value(&mut value, entry)?;
            let value = String::from_utf8(value).map_err(std::io::Error::other)?;
            (view.len().to_string(), Cow::Owned(value))
        }
    };
    let deadline = entry.deadline.map_or(String::new(), |at| at.to_string());
    let kind = entry.value.kind().name();
    let key = shown(entry.key);
    let (key, value) = (cell(&key), cell(&value));
    write!(out, "{db},{key},{kind},{deadline},{elements},{},{value}\r\n", memory_of(entry))?;
    Ok(())
}

/// Bytes as text: UTF-8 as it is, else (and if it begins like that) as redis-cli quotes it.
fn shown(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.starts_with('"') => Cow::Borrowed(text),
        _ => Cow::Owned(text::quoted(bytes, true)),
    }
}

/// A cell as RFC 4180 has it.
fn cell(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\r', '\n']) {
        Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(text)
    }
}

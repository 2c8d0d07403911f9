//! JSON Lines as a base: one entry a line, as `firn convert --format jsonl` and `firn get --json` write them (see `json`); and the rows of tables
//! ([`tables`]), which are the same objects.
//!
//! A line becomes the commands that make its entry, which an engine of one key runs: so whatever a line says is checked as a client's words
//! are.

use super::change::Change;
use super::state::Small;
use super::{Base, Damages, Visit, tables};
use crate::folder::{Finding, Severity};
use crate::moment::now_ms;
use crate::{ToolError, json};
use firn_engine::key::HashSeed;
use firn_engine::limits::DATABASES_MAX;
use firn_engine::value::stream::Id;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// Longest line.
const LINE_LEN_MAX: u64 = 2 << 30;
/// Items of one command.
const ITEMS_MAX: usize = 64;

/// How rows are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// One object a line.
    Json,
    /// A table as text.
    Csv,
    /// A table as Parquet.
    Parquet,
}

/// A file of rows.
#[derive(Clone, Debug)]
pub(crate) struct RowFile {
    path: PathBuf,
    form: Form,
}

impl RowFile {
    /// The file at `path`, if it begins as one of the forms does.
    pub(crate) fn at(path: &Path) -> Option<RowFile> {
        let mut start = [0; 64];
        let read = File::open(path).and_then(|mut file| file.read(&mut start)).unwrap_or(0);
        let start = &start[..read];
        let form = match () {
            () if start.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') => Form::Json,
            () if start.starts_with(tables::CSV_HEAD.as_bytes()) => Form::Csv,
            () if start.starts_with(crate::parquet::MAGIC) => Form::Parquet,
            // Of a dataset without keys.
            () if start.is_empty() && path.is_file() && path.extension().is_some_and(|it| it == "jsonl") => Form::Json,
            () => return None,
        };
        Some(RowFile { path: path.to_owned(), form })
    }

    /// What it is, in words.
    pub(crate) fn kind(&self) -> &'static str {
        match self.form {
            Form::Json => "JSON Lines",
            Form::Csv => "a CSV table",
            Form::Parquet => "a Parquet table",
        }
    }

    /// Its length.
    pub(crate) fn bytes(&self) -> u64 {
        self.path.metadata().map_or(0, |it| it.len())
    }

    /// Visits the objects.
    fn objects(&self, row: &mut tables::Row<'_, ToolError>) -> Result<(), ToolError> {
        let failed = |error: io::Error| ToolError::Unreadable(format!("{}: {error}", crate::spool::name(&self.path)));
        match self.form {
            Form::Csv => return tables::csv(&self.path, row),
            Form::Parquet => return tables::parquet(&self.path, row),
            Form::Json => {}
        }
        let mut reader = BufReader::with_capacity(1 << 18, File::open(&self.path).map_err(failed)?);
        let (mut line, mut number) = (Vec::new(), 0u64);
        loop {
            line.clear();
            number += 1;
            if (&mut reader).take(LINE_LEN_MAX).read_until(b'\n', &mut line).map_err(failed)? == 0 {
                return Ok(());
            }
            if !line.iter().all(u8::is_ascii_whitespace) {
                row(number, serde_json::from_slice(&line).map_err(|error| error.to_string()))?;
            }
        }
    }
}

/// The rows of a file as a base.
pub(crate) struct Lines<'d> {
    file: &'d RowFile,
    damages: &'d Damages,
}

impl<'d> Lines<'d> {
    /// Of a file.
    pub(crate) fn new(file: &'d RowFile, damages: &'d Damages) -> Self {
        Lines { file, damages }
    }
}

impl Base for Lines<'_> {
    fn seed(&self) -> HashSeed {
        HashSeed([0; 16])
    }

    fn is_ordered(&self) -> bool {
        false
    }

    fn databases(&self) -> Vec<usize> {
        let mut found = std::collections::BTreeSet::new();
        // What is wrong here is told again when the entries are visited.
        let _ = self.visit(None, 1..=u64::MAX, &mut |db, _, _| {
            found.insert(db);
            Ok(())
        });
        found.into_iter().collect()
    }

    fn size(&self) -> (u64, u64) {
        (0, 0)
    }

    fn visit(&self, db: Option<usize>, range: RangeInclusive<u64>, visit: &mut Visit<'_>) -> Result<(), ToolError> {
        let name = crate::spool::name(&self.file.path);
        let what = if self.file.form == Form::Json { "line" } else { "row" };
        let empty = || {
            let mut small = Small::new(self.seed(), DATABASES_MAX.min(1024));
            // Times of delivery are compared with it.
            small.engine.now_ms = now_ms();
            small
        };
        let mut small = empty();
        self.file.objects(&mut |number, object| {
            let (at, key, access) = match object.and_then(|object| entry_of(&object, &name, number, &mut small)) {
                Ok(made) => made,
                Err(message) => {
                    let (severity, file) = (Severity::Damage, name.clone());
                    let message = format!("{what} {number}: {message}");
                    self.damages.report(Finding { severity, file, offset: None, lsn: None, message })?;
                    small = empty();
                    return Ok(());
                }
            };
            let place = self.seed().key(&key);
            if access != 0 {
                small.engine.keyspace.db_mut(at).set_access(place, access << 8); // Lines have what files have.
            }
            if let Some(entry) = small.engine.keyspace.db(at).get(place)
                && db.is_none_or(|db| db == at)
                && range.contains(&place.position)
            {
                visit(at, place.position, &entry)?;
            }
            small.engine.keyspace.db_mut(at).remove(place);
            while small.engine.keyspace.pop_dead().is_some() {}
            Ok(())
        })
    }
}

/// Makes the entry of a line in `small`; says its database, key and access.
fn entry_of(object: &Value, file: &str, number: u64, small: &mut Small) -> Result<(usize, Vec<u8>, u32), String> {
    let member = |name: &str| object.get(name).ok_or_else(|| format!("\"{name}\" is missing"));
    let db = object.get("db").map_or(Some(0), Value::as_u64).and_then(|db| usize::try_from(db).ok());
    let db = db.filter(|db| *db < small.engine.keyspace.databases()).ok_or("\"db\" is no database")?;
    let key = json::to_bytes(member("key")?).ok_or("\"key\" is neither a string nor {\"hex\": ...}")?;
    let kind = member("type")?.as_str().ok_or("\"type\" is no string")?.to_owned();
    let value = member("value")?;
    let mut run = |words: &[Vec<u8>]| -> Result<(), String> {
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let change = Change { file, offset: number, lsn: None, time_ms: None, db, words: &words };
        small.run(&change, &words, &Damages::strict()).map_err(|error| error.to_string())
    };
    let bytes = |value: &Value| json::to_bytes(value).ok_or_else(|| format!("{value} is no byte string"));
    let list = |value: &Value| value.as_array().cloned().ok_or_else(|| "the value is no array".to_owned());
    let word = |text: &str| text.as_bytes().to_vec();
    let mut batches = |name: &str, items: Vec<Vec<Vec<u8>>>| -> Result<(), String> {
        if items.is_empty() {
            return Err("a collection without elements".to_owned());
        }
        for batch in items.chunks(ITEMS_MAX) {
            let head = [word(name), key.clone()];
            run(&head.into_iter().chain(batch.iter().flatten().cloned()).collect::<Vec<_>>())?;
        }
        Ok(())
    };
    match kind.as_str() {
        "string" => run(&[word("SET"), key.clone(), bytes(value)?])?,
        "list" => batches("RPUSH", list(value)?.iter().map(|it| Ok(vec![bytes(it)?])).collect::<Result<_, String>>()?)?,
        "set" => batches("SADD", list(value)?.iter().map(|it| Ok(vec![bytes(it)?])).collect::<Result<_, String>>()?)?,
        "zset" => {
            let item = |it: &Value| -> Result<Vec<Vec<u8>>, String> {
                let (member, score) = (it.get(0).ok_or("a member is missing")?, it.get(1).ok_or("a score is missing")?);
                let score = score.as_str().map_or_else(|| score.to_string(), str::to_owned);
                Ok(vec![score.into_bytes(), bytes(member)?])
            };
            batches("ZADD", list(value)?.iter().map(item).collect::<Result<_, String>>()?)?;
        }
        "hash" => {
            let mut deadlines = Vec::new();
            let mut items = Vec::new();
            if let Some(fields) =
                value.as_object().filter(|_| json::to_bytes(value).is_none() || value.get("hex").is_some())
            {
                for (name, value) in fields {
                    items.push(vec![word(name), bytes(value)?]);
                }
            } else {
                for it in list(value)? {
                    let name = bytes(it.get(0).ok_or("a field is missing")?)?;
                    items.push(vec![name.clone(), bytes(it.get(1).ok_or("a value is missing")?)?]);
                    if let Some(at) = it.get(2).and_then(Value::as_u64) {
                        deadlines.push((name, at));
                    }
                }
            }
            batches("HSET", items)?;
            for (name, at) in deadlines {
                let words = ["HPEXPIREAT", "", &at.to_string(), "FIELDS", "1"].map(word);
                let mut words = words.to_vec();
                words[1] = key.clone();
                words.push(name);
                run(&words)?;
            }
        }
        "stream" => stream(value, &key, &mut run)?,
        other => return Err(format!("\"{other}\" is no type")),
    }
    if let Some(at) = object.get("expires_ms").and_then(Value::as_u64) {
        run(&[word("PEXPIREAT"), key.clone(), word(&at.to_string())])?;
    }
    let access = object.get("access").and_then(Value::as_u64).unwrap_or(0);
    Ok((db, key, (access & 0x00ff_ffff) as u32))
}

/// Runs a command.
type RunWords<'r> = dyn FnMut(&[Vec<u8>]) -> Result<(), String> + 'r;

fn stream(value: &Value, key: &[u8], run: &mut RunWords<'_>) -> Result<(), String> {
    let text = |value: &Value, name: &str| -> Result<Vec<u8>, String> {
        let text =
            value.get(name).and_then(Value::as_str).ok_or_else(|| format!("\"{name}\" of a stream is missing"))?;
        Ok(text.as_bytes().to_vec())
    };
    let bytes = |value: &Value| json::to_bytes(value).ok_or_else(|| format!("{value} is no byte string"));
    let word = |text: &str| text.as_bytes().to_vec();
    let key = || key.to_vec();
    let each = |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let last = text(value, "last_id")?;
    let id_of = |row: &Value| -> Result<Id, String> {
        let id = row.get(0).and_then(Value::as_str).and_then(|id| Id::parse(id.as_bytes(), 0));
        id.ok_or_else(|| "the ID of an entry is missing, or is none".to_owned())
    };
    let (entries, groups) = (each(value, "entries"), each(value, "groups"));
    // An entry may be pending and deleted. XCLAIM takes only such as are there: it is made, and deleted when it is pending.
    let mut made: BTreeMap<Id, Option<&Value>> = BTreeMap::new();
    let pending: Vec<Value> = groups.iter().flat_map(|group| each(group, "pending")).collect();
    for row in &pending {
        made.insert(id_of(row)?, None);
    }
    for entry in &entries {
        made.insert(id_of(entry)?, Some(entry));
    }
    if made.is_empty() {
        let id = if last == b"0-0" { word("0-1") } else { last.clone() };
        run(&[word("XADD"), key(), word("MAXLEN"), word("0"), id, word("x"), word("y")])?;
    }
    for (id, entry) in &made {
        let mut words = vec![word("XADD"), key(), id.text().to_vec()];
        match entry.map(|entry| entry.get(1).and_then(Value::as_array).ok_or("an entry's fields are missing")) {
            Some(fields) => words.extend(fields?.iter().map(bytes).collect::<Result<Vec<_>, _>>()?),
            None => words.extend([word("x"), word("y")]),
        }
        run(&words)?;
    }
    for group in groups {
        let name = bytes(group.get("name").ok_or("a group's name is missing")?)?;
        let read = group.get("entries_read").and_then(Value::as_u64).map_or("-1".to_owned(), |read| read.to_string());
        let create = [word("XGROUP"), word("CREATE"), key(), name.clone(), text(&group, "last_id")?];
        run(&[&create[..], &[word("ENTRIESREAD"), word(&read)]].concat())?;
        for consumer in each(&group, "consumers") {
            let consumer = bytes(consumer.get("name").ok_or("a consumer's name is missing")?)?;
            run(&[word("XGROUP"), word("CREATECONSUMER"), key(), name.clone(), consumer])?;
        }
        for pending in each(&group, "pending") {
            let at = |index: usize| pending.get(index).ok_or("a pending entry is not whole");
            let id = at(0)?.as_str().ok_or("a pending entry's ID is no string")?;
            let (time, times) = (at(2)?.to_string(), at(3)?.to_string());
            run(&[
                word("XCLAIM"),
                key(),
                name.clone(),
                bytes(at(1)?)?,
                word("0"),
                word(id),
                word("TIME"),
                word(&time),
                word("RETRYCOUNT"),
                word(&times),
                word("JUSTID"),
                word("FORCE"),
            ])?;
        }
    }
    for (id, _) in made.iter().filter(|(_, entry)| entry.is_none()) {
        run(&[word("XDEL"), key(), id.text().to_vec()])?;
    }
    let added = value.get("entries_added").and_then(Value::as_u64).unwrap_or(0).to_string();
    let deleted = text(value, "max_deleted_id").unwrap_or_else(|_| word("0-0"));
    run(&[word("XSETID"), key(), last, word("ENTRIESADDED"), word(&added), word("MAXDELETEDID"), deleted])
}

//! JSON Lines as a base: one entry a line, as `firn convert --format jsonl` and `firn get --json` write them (see `json`).
//!
//! A line becomes the commands that make its entry, which an engine of one key runs: so whatever a line says is checked as a client's words
//! are.

use super::change::Change;
use super::state::Small;
use super::{Base, Damages, Visit};
use crate::folder::{Finding, Severity};
use crate::{ToolError, json};
use firn_engine::key::HashSeed;
use firn_engine::limits::DATABASES_MAX;
use serde_json::Value;
use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// Longest line.
const LINE_LEN_MAX: u64 = 2 << 30;
/// Items of one command.
const ITEMS_MAX: usize = 64;

/// A file of lines, or standard input.
pub(crate) struct Lines<'d> {
    path: Option<PathBuf>,
    damages: &'d Damages,
    used: Cell<bool>,
}

/// Whether a file begins as JSON Lines do.
pub(crate) fn is_lines(path: &Path) -> bool {
    let mut start = [0; 64];
    let read = File::open(path).and_then(|mut file| file.read(&mut start)).unwrap_or(0);
    start[..read].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

impl<'d> Lines<'d> {
    /// Of a file, or of standard input without one.
    pub(crate) fn new(path: Option<PathBuf>, damages: &'d Damages) -> Self {
        Lines { path, damages, used: Cell::new(false) }
    }

    fn name(&self) -> String {
        self.path.as_ref().map_or("standard input".to_owned(), |path| path.display().to_string())
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
        Vec::new()
    }

    fn size(&self) -> (u64, u64) {
        (0, 0)
    }

    fn visit(&self, db: Option<usize>, range: RangeInclusive<u64>, visit: &mut Visit<'_>) -> Result<(), ToolError> {
        let name = self.name();
        let failed = |error: io::Error| ToolError::Unreadable(format!("{name}: {error}"));
        let mut reader: Box<dyn BufRead> = match &self.path {
            Some(path) => Box::new(BufReader::new(File::open(path).map_err(failed)?)),
            None if self.used.replace(true) => {
                return Err(ToolError::Usage("standard input can be read only once: give a file".to_owned()));
            }
            None => Box::new(BufReader::new(io::stdin())),
        };
        let mut small = Small::new(self.seed(), DATABASES_MAX.min(1024));
        let (mut line, mut number) = (Vec::new(), 0u64);
        loop {
            line.clear();
            number += 1;
            if (&mut reader).take(LINE_LEN_MAX).read_until(b'\n', &mut line).map_err(failed)? == 0 {
                return Ok(());
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let made = entry_of(&line, &name, number, &mut small);
            let (at, key, access) = match made {
                Ok(made) => made,
                Err(message) => {
                    let (severity, file) = (Severity::Damage, name.clone());
                    let message = format!("line {number}: {message}");
                    self.damages.report(Finding { severity, file, offset: None, lsn: None, message })?;
                    small = Small::new(self.seed(), DATABASES_MAX.min(1024));
                    continue;
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
        }
    }
}

/// Makes the entry of a line in `small`; says its database, key and access.
fn entry_of(line: &[u8], file: &str, number: u64, small: &mut Small) -> Result<(usize, Vec<u8>, u32), String> {
    let object: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
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
    let entries = each(value, "entries");
    if entries.is_empty() {
        let id = if last == b"0-0" { word("0-1") } else { last.clone() };
        run(&[word("XADD"), key(), word("MAXLEN"), word("0"), id, word("x"), word("y")])?;
    }
    for entry in entries {
        let id = entry.get(0).and_then(Value::as_str).ok_or("an entry's ID is missing")?;
        let mut words = vec![word("XADD"), key(), word(id)];
        for it in entry.get(1).and_then(Value::as_array).ok_or("an entry's fields are missing")? {
            words.push(bytes(it)?);
        }
        run(&words)?;
    }
    let added = value.get("entries_added").and_then(Value::as_u64).unwrap_or(0).to_string();
    let deleted = text(value, "max_deleted_id").unwrap_or_else(|_| word("0-0"));
    run(&[word("XSETID"), key(), last, word("ENTRIESADDED"), word(&added), word("MAXDELETEDID"), deleted])?;
    for group in each(value, "groups") {
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
    Ok(())
}

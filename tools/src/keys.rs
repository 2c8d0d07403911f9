//! `firn inspect --keys`: the keys of a snapshot, or of the state that a folder holds.

use crate::inspect::InspectArgs;
use crate::text::{self, Style};
use crate::{Outcome, ToolError, folder, json};
use firn_engine::disk::Disk;
use firn_engine::glob;
use firn_engine::keyspace::{Entry, Value};
use firn_engine::limits::DATABASES_MAX;
use firn_engine::recovery::{self, OpenError};
use firn_engine::snapshot::reader::{BlockBuffer, SnapshotReader};
use firn_engine::store::Options;
use serde_json::json;
use std::io::Write;
use std::sync::Arc;

/// How often a state that moves on while it is read is tried again.
const TRIES: u32 = 10;

struct Lister<'a> {
    args: &'a InspectArgs,
    out: &'a mut dyn Write,
    style: Style,
    now_ms: u64,
    failed: Option<std::io::Error>,
}

impl<'a> Lister<'a> {
    fn new(args: &'a InspectArgs, out: &'a mut dyn Write) -> Self {
        let now_ms = Options::default().clock.unix_ms();
        Lister { args, out, style: Style::for_stdout(), now_ms, failed: None }
    }

    /// Prints an entry if it is wanted; an error is kept for the end.
    fn show(&mut self, db: u64, position: u64, entry: &Entry<'_>) {
        let wanted = self.args.pattern.as_ref().is_none_or(|pattern| glob::matches(pattern.as_bytes(), entry.key));
        if wanted && self.failed.is_none() {
            self.failed = self.print(db, position, entry).err();
        }
    }

    fn print(&mut self, db: u64, position: u64, entry: &Entry<'_>) -> std::io::Result<()> {
        let expired = entry.deadline.is_some_and(|at| at <= self.now_ms);
        if self.args.json {
            let line = json!({
                "db": db,
                "key": json::bytes(entry.key),
                "type": entry.value.kind().name(),
                "value_len": entry.value.string().map(<[u8]>::len),
                "elements": elements(entry.value),
                "expires": entry.deadline.map(text::time),
                "expires_ms": entry.deadline,
                "expired": expired,
                "position": format!("{position:016x}"),
                "value": entry.value.string().filter(|_| self.args.full).map(json::bytes),
            });
            return writeln!(self.out, "{line}");
        }
        let deadline = match entry.deadline {
            Some(at) if expired => self.style.note(&format!("  expired {}", text::time(at))),
            Some(at) => format!("  expires {}", text::time(at)),
            None => String::new(),
        };
        let value = match entry.value {
            Value::String(value) if self.args.full => format!(" = {}", text::quoted(value, true)),
            Value::String(value) => self.style.dim(&format!("  {} B", value.len())),
            Value::Collection(view) => self.style.dim(&format!("  {} elements", view.len())),
        };
        let kind = entry.value.kind().name();
        writeln!(self.out, "{db:>3}  {kind:<6}  {}{value}{deadline}", text::word(entry.key, self.args.full))
    }

    fn finish(self) -> Result<(), ToolError> {
        self.failed.map_or(Ok(()), |error| Err(ToolError::Output(error)))
    }
}

/// How many elements a collection has.
fn elements(value: Value<'_>) -> Option<usize> {
    match value {
        Value::String(_) => None,
        Value::Collection(view) => Some(view.len()),
    }
}

/// Lists a snapshot block by block; what is damaged is left out, and told at the end.
pub(crate) fn of_snapshot(
    disk: &dyn Disk,
    name: &str,
    args: &InspectArgs,
    out: &mut dyn Write,
) -> Result<Outcome, ToolError> {
    let reader = SnapshotReader::open(disk, name, None).map_err(|error| match error.is_damage() {
        true => ToolError::Damage(error.to_string()),
        false => ToolError::Unreadable(error.to_string()),
    })?;
    let mut lister = Lister::new(args, out);
    let mut buffer = BlockBuffer::default();
    let mut outcome = Outcome::Fine;
    for row in reader.rows().iter().filter(|row| row.info.kind.is_data()) {
        let visited = reader.visit_block(row, &mut buffer, |position, entry| {
            lister.show(u64::from(row.info.db), position, &entry);
        });
        if let Err(error) = visited {
            outcome = outcome.max(if error.is_damage() { Outcome::Damage } else { Outcome::Unreadable });
            eprintln!("firn: {error}");
        }
        if lister.failed.is_some() {
            break;
        }
    }
    lister.finish()?;
    Ok(outcome)
}

/// Lists the state that a start would give: the newest whole snapshot and the log behind it, read without changing anything.
pub(crate) fn of_folder(disk: &Arc<dyn Disk>, args: &InspectArgs, out: &mut dyn Write) -> Result<Outcome, ToolError> {
    let survey = folder::survey(&**disk)?;
    let identity = survey.identity.ok_or_else(|| ToolError::Damage("no file's header can be read".to_owned()))?;
    let options = Options { databases: DATABASES_MAX, load_threads: 1, threads: false, ..Options::default() };
    // A running server writes on: what was found the last time is asked for the next time.
    let mut wanted = 0;
    let mut tries = 0;
    let keyspace = loop {
        match recovery::read_state(disk, identity, &options, wanted) {
            Ok(keyspace) => break keyspace,
            Err(OpenError::OtherState { found, .. }) if tries < TRIES => (wanted, tries) = (found, tries + 1),
            Err(error @ OpenError::Io { .. }) => return Err(ToolError::Unreadable(error.to_string())),
            Err(error @ OpenError::OtherState { .. }) => {
                let busy = format!(
                    "{error}: the store is being written to too fast to be read; list a snapshot of it instead"
                );
                return Err(ToolError::Unreadable(busy));
            }
            Err(error) => return Err(ToolError::Damage(error.to_string())),
        }
    };
    let mut lister = Lister::new(args, out);
    for db in (0..keyspace.databases()).filter(|db| !keyspace.db(*db).is_empty()) {
        let mut cursor = 0;
        loop {
            cursor = keyspace.db(db).scan(cursor, 1000, &mut |entry| {
                lister.show(db as u64, identity.hash_seed.position(entry.key), &entry);
            });
            if cursor == 0 || lister.failed.is_some() {
                break;
            }
        }
    }
    lister.finish()?;
    Ok(Outcome::Fine)
}

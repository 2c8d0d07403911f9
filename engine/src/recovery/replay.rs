//! Applies verified records to an engine, as they are: nothing expires by itself, nothing is recorded again.

use crate::command::{Args, NoReply, Session, table};
use crate::engine::Engine;
use crate::log::{Lsn, Record};
use crate::planted::{self, Bug};
use std::ops::RangeInclusive;

/// A verified record cannot be applied: written by a newer release, or a defect.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReplayError {
    /// The record's bytes are not commands.
    #[error("record {lsn} does not decode although its checksum is right")]
    BadRecord {
        /// Which one.
        lsn: Lsn,
    },
    /// This release does not know a command.
    #[error(
        "record {lsn} holds '{name}', a command that this release does not know: use the release that wrote it, or a newer one"
    )]
    UnknownCommand {
        /// Which one.
        lsn: Lsn,
        /// The word.
        name: String,
    },
    /// The record names a database that the configuration does not have.
    #[error("record {lsn} changes database {db}, but `databases` is {databases}: raise it to {} or more", db + 1)]
    NoSuchDatabase {
        /// Which one.
        lsn: Lsn,
        /// Its database.
        db: usize,
        /// How many there are.
        databases: usize,
    },
    /// A command answered an error.
    #[error("record {lsn}: '{name}' failed: {error}")]
    Failed {
        /// Which one.
        lsn: Lsn,
        /// The command.
        name: String,
        /// Its answer.
        error: String,
    },
}

/// Applies those records of one frame's payload whose LSN is in `wanted`, and says how many commands that were.
///
/// # Errors
/// [`ReplayError`]; records before the failing one stay applied, so the engine is of no use afterwards.
pub fn apply_payload(
    engine: &mut Engine,
    mut payload: &[u8],
    first: Lsn,
    base_ms: u64,
    wanted: RangeInclusive<Lsn>,
) -> Result<u64, ReplayError> {
    let mut words = Vec::new();
    let mut lsn = first;
    let mut applied = 0;
    while !payload.is_empty() {
        let record = Record::take(&mut payload, lsn, base_ms).map_err(|_| ReplayError::BadRecord { lsn })?;
        if wanted.contains(&lsn) && !planted::drops_record() {
            applied += apply_record(engine, &record, &mut words)?;
            if planted::has(Bug::ReplayTwice) && lsn == *wanted.start() {
                apply_record(engine, &record, &mut words)?;
            }
        }
        lsn += 1;
    }
    Ok(applied)
}

fn apply_record<'a>(engine: &mut Engine, record: &Record<'a>, words: &mut Vec<&'a [u8]>) -> Result<u64, ReplayError> {
    let lsn = record.lsn;
    engine.now_ms = record.time_ms;
    let mut session = Session::default();
    let mut commands = record.commands();
    let mut applied = 0;
    while let Some(db) = commands.next(words).map_err(|_| ReplayError::BadRecord { lsn })? {
        let databases = engine.keyspace.databases();
        if db >= databases {
            return Err(ReplayError::NoSuchDatabase { lsn, db, databases });
        }
        let name = || String::from_utf8_lossy(words[0]).into_owned();
        let command = table::find(words[0]).ok_or_else(|| ReplayError::UnknownCommand { lsn, name: name() })?;
        if !command.spec.arity.fits(words.len()) {
            return Err(ReplayError::Failed { lsn, name: name(), error: format!("{} words", words.len()) });
        }
        session.db = db;
        if planted::has(Bug::HalfTransaction) && applied > 0
            || planted::has(Bug::ExpiredKeyBack) && deletes_expired(engine, db, words, record.time_ms)
        {
            break;
        }
        let mut reply = NoReply::default();
        engine.execute(&mut session, command, &Args::new(words), &mut reply);
        if let Some(error) = reply.error {
            return Err(ReplayError::Failed { lsn, name: name(), error });
        }
        applied += 1;
    }
    Ok(applied)
}

/// For [`Bug::ExpiredKeyBack`]: whether a record deletes a key whose time had come.
fn deletes_expired(engine: &Engine, db: usize, words: &[&[u8]], time_ms: u64) -> bool {
    let &[b"DEL", key] = words else { return false };
    let entry = engine.keyspace.db(db).get(engine.keyspace.seed().key(key));
    entry.is_some_and(|entry| entry.deadline.is_some_and(|at| at <= time_ms))
}

//! An entry as its parts, and as the commands that make it: for `redis-cli --pipe`, for an AOF, for a live server.

use crate::ToolError;
use firn_engine::aof::rewrite::Rewriter;
use firn_engine::aof::write::put_command;
use firn_engine::keyspace::entry::{self, Stored};
use firn_engine::keyspace::{Entry, Value};
use firn_engine::limits::BLOCK_LEN_TARGET;
use std::io::{self, Write};

/// Takes commands.
pub(crate) type Take<'t> = dyn FnMut(&[&[u8]]) -> Result<(), ToolError> + 't;

/// Hands over the parts of an entry as a snapshot has them: large collections come in several.
pub(crate) fn parts(
    entry: &Entry<'_>,
    take: &mut dyn FnMut(&Stored<'_>) -> Result<(), ToolError>,
) -> Result<(), ToolError> {
    if let Value::String(body) = entry.value {
        // It may be as long as all memory: no copy is made.
        let (key, kind) = (entry.key, entry.value.kind());
        let (deadline, access) = (entry.deadline, entry.access);
        return take(&Stored { key, kind, body, deadline, access, continues: false, continued: false });
    }
    let (mut bytes, mut from) = (Vec::new(), Some(0));
    while let Some(at) = from {
        bytes.clear();
        from = entry::encode_part(entry, at, BLOCK_LEN_TARGET, &mut bytes);
        let stored = entry::take(&mut &bytes[..]).map_err(|error| ToolError::Damage(error.to_string()))?;
        take(&stored)?;
    }
    Ok(())
}

/// Hands over the commands that make `entry`, deadline included. What only Firn keeps (access) is not in them.
pub(crate) fn of_entry(entry: &Entry<'_>, take: &mut Take<'_>) -> Result<(), ToolError> {
    let mut rewriter = Rewriter::default();
    parts(entry, &mut |stored| {
        let mut failure = None;
        let made = rewriter.part(stored, &mut |words| {
            take(words).map_err(|error| {
                failure = Some(error);
                io::Error::other("who takes the commands failed")
            })
        });
        match (made, failure) {
            (_, Some(error)) => Err(error),
            (Err(error), None) => Err(ToolError::Damage(error.to_string())),
            (Ok(()), None) => Ok(()),
        }
    })
}

/// Writes a command as RESP has it.
pub(crate) fn write(out: &mut dyn Write, words: &[&[u8]]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(words.iter().map(|word| word.len() + 16).sum());
    put_command(&mut bytes, words);
    out.write_all(&bytes)
}

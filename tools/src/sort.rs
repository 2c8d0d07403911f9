//! Puts entries that come in any order into the order of their positions, in bounded memory.
//!
//! Entries are spread over files by the first bits of their positions; then file by file is read and sorted. The files have no names and are gone
//! when the process ends.

use crate::ToolError;
use firn_engine::keyspace::Entry;
use firn_engine::keyspace::entry;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

/// Files at most.
const PARTS_MAX: u64 = 256;

/// Takes an entry: database, position, its encoded bytes.
pub(crate) type VisitBytes<'v> = dyn FnMut(u32, u64, &[u8]) -> Result<(), ToolError> + 'v;

/// Takes entries in any order.
pub(crate) struct Sorter {
    parts: Vec<BufWriter<File>>,
    bytes: Vec<u8>,
}

fn failed(error: &std::io::Error) -> ToolError {
    ToolError::Unreadable(format!("a temporary file: {error}"))
}

impl Sorter {
    /// For about `expected` bytes of entries, of which about `memory` may be in memory at a time. Files are made in `folder`.
    pub(crate) fn new(folder: &Path, expected: u64, memory: u64) -> Result<Sorter, ToolError> {
        // Entries take more room in memory than in the file, and hashes are not spread quite evenly.
        let parts = (expected / (memory / 4).max(1) + 1).clamp(1, PARTS_MAX).next_power_of_two();
        let file = || tempfile::tempfile_in(folder).map(BufWriter::new).map_err(|error| failed(&error));
        Ok(Sorter { parts: (0..parts).map(|_| file()).collect::<Result<_, _>>()?, bytes: Vec::new() })
    }

    /// Takes an entry whose key has `position` under the seed of the output.
    pub(crate) fn push(&mut self, db: u32, position: u64, entry: &Entry<'_>) -> Result<(), ToolError> {
        self.bytes.clear();
        entry::encode(entry, &mut self.bytes);
        let bits = self.parts.len().trailing_zeros();
        let at = if bits == 0 { 0 } else { position >> (64 - bits) };
        let part = &mut self.parts[at as usize];
        let mut head = [0; 20];
        head[..8].copy_from_slice(&position.to_le_bytes());
        head[8..12].copy_from_slice(&db.to_le_bytes());
        head[12..].copy_from_slice(&(self.bytes.len() as u64).to_le_bytes());
        part.write_all(&head).and_then(|()| part.write_all(&self.bytes)).map_err(|error| failed(&error))
    }

    /// Gives all entries back, encoded, in the order of position range, database, position.
    pub(crate) fn sorted(self, visit: &mut VisitBytes<'_>) -> Result<(), ToolError> {
        // Perhaps as long as the longest entry.
        drop(self.bytes);
        for part in self.parts {
            let mut file = part.into_inner().map_err(|error| failed(error.error()))?;
            let len = file.stream_position().map_err(|error| failed(&error))?;
            file.rewind().map_err(|error| failed(&error))?;
            let mut bytes = Vec::with_capacity(len as usize);
            BufReader::new(file).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
            let mut rows = Vec::new();
            let mut at = 0;
            while let Some(head) = bytes.get(at..at + 20) {
                let (position, rest) = head.split_at(8);
                let (db, len) = rest.split_at(4);
                let len = u64::from_le_bytes(len.try_into().unwrap_or_default()) as usize;
                let position = u64::from_le_bytes(position.try_into().unwrap_or_default());
                rows.push((u32::from_le_bytes(db.try_into().unwrap_or_default()), position, at + 20, len));
                at += 20 + len;
            }
            rows.sort_unstable();
            for (db, position, at, len) in rows {
                visit(db, position, &bytes[at..at + len])?;
            }
        }
        Ok(())
    }
}

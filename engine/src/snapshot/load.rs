//! Fills a new keyspace from a snapshot, by ranges of positions, several at once.
//!
//! 1. Every block's checksums are verified, every entry's position is computed from its key and must follow the one before:
//!    loading is verifying.
//! 2. A snapshot that cannot be loaded whole gives an error and no keyspace.
//! 3. Memory beyond the keyspace: one block a thread.

use super::block::BlockKind;
use super::index::IndexRow;
use super::reader::{BlockBuffer, SnapshotReader};
use super::{BadSnapshot, LIBRARY_AUX, SnapshotError};
use crate::format::HEADER_LEN;
use crate::keyspace::{BadLoad, Keyspace, LoadedRange, Loader, entry};
use crate::value::Shaping;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Ranges per thread: so many that all threads end at about the same time.
const RANGES_PER_THREAD: usize = 8;

/// One range of positions of one database.
struct Range<'r> {
    db: usize,
    /// Entries in the whole database.
    expected: u64,
    rows: &'r [IndexRow],
}

/// Loads all entries into a new keyspace of `databases` databases with `threads` threads (at least one, the calling one
/// included). `progress` is told now and then, from any of them, how many entries are in.
///
/// # Errors
/// [`SnapshotError`].
pub fn load(
    reader: &SnapshotReader,
    databases: usize,
    threads: usize,
    shaping: &Shaping,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Keyspace, SnapshotError> {
    let entries = reader
        .rows()
        .iter()
        .find(|row| row.info.kind.is_data() && usize::try_from(row.info.db).map_or(true, |db| db >= databases));
    if let Some(row) = entries {
        return Err(reader.bad(row.offset, BadSnapshot::Database { db: row.info.db, databases }));
    }
    let mut keyspace = Keyspace::new(reader.hash_seed(), databases);
    for pair in reader.aux().iter().filter(|pair| pair.name == LIBRARY_AUX.as_bytes()) {
        keyspace.libraries.load(&pair.value).map_err(|why| reader.bad(HEADER_LEN as u64, why))?;
    }
    let ranges = divide(reader, threads.max(1) * RANGES_PER_THREAD);
    let loaded = load_ranges(reader, &ranges, threads.max(1), shaping, progress)?;
    let mut loaded = ranges.iter().zip(loaded).peekable();
    while let Some((range, first)) = loaded.next() {
        let mut parts = vec![first];
        while let Some((_, part)) = loaded.next_if(|(next, _)| next.db == range.db) {
            parts.push(part);
        }
        keyspace.install(range.db, parts).map_err(|why| reader.bad(range.rows[0].offset, why))?;
    }
    Ok(keyspace)
}

/// Divides all databases into ranges of about the same raw length, `wanted` or a few more.
fn divide(reader: &SnapshotReader, wanted: usize) -> Vec<Range<'_>> {
    let raw_len: u64 = reader.rows().iter().map(|row| u64::from(row.raw_len)).sum();
    let target = (raw_len / wanted as u64).max(1);
    let mut ranges = Vec::new();
    for db in reader.databases() {
        let mut rows = reader.database_rows(db);
        let expected = rows.iter().map(|row| row.info.count).sum();
        while !rows.is_empty() {
            let mut len = 0;
            let fits = rows.iter().take_while(|row| {
                let before = len;
                len += u64::from(row.raw_len);
                before < target
            });
            let mut end = fits.count();
            // The parts of one entry stay together.
            while end < rows.len()
                && rows[end].info.kind == BlockKind::Part
                && rows[end].info.first == rows[end - 1].info.last
            {
                end += 1;
            }
            let (range, rest) = rows.split_at(end);
            ranges.push(Range { db: db as usize, expected, rows: range });
            rows = rest;
        }
    }
    ranges
}

fn load_ranges(
    reader: &SnapshotReader,
    ranges: &[Range<'_>],
    threads: usize,
    shaping: &Shaping,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<LoadedRange>, SnapshotError> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let loaded_entries = AtomicU64::new(0);
    let results: Mutex<Vec<(usize, Result<LoadedRange, SnapshotError>)>> = Mutex::new(Vec::new());
    let work = || {
        let mut buffer = BlockBuffer::default();
        while !failed.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(range) = ranges.get(at) else { break };
            let result = load_range(reader, range, shaping, &mut buffer);
            match &result {
                Ok(_) => {
                    let count: u64 = range.rows.iter().map(|row| row.info.count).sum();
                    progress(loaded_entries.fetch_add(count, Ordering::Relaxed) + count);
                }
                Err(_) => failed.store(true, Ordering::Relaxed),
            }
            results.lock().push((at, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(ranges.len()) {
            scope.spawn(work);
        }
        work();
    });
    let mut results = results.into_inner();
    results.sort_unstable_by_key(|(at, _)| *at);
    // The first error in the order of ranges, if there is one: a range before it that was not begun cannot be, since they are
    // taken in order.
    results.into_iter().map(|(_, result)| result).collect()
}

fn load_range(
    reader: &SnapshotReader,
    range: &Range<'_>,
    shaping: &Shaping,
    buffer: &mut BlockBuffer,
) -> Result<LoadedRange, SnapshotError> {
    let mut loader = Loader::new(reader.hash_seed(), range.expected, shaping.clone());
    for row in range.rows {
        let bad = |why: BadSnapshot| reader.bad(row.offset, why);
        let mut payload = reader.read_block(row, buffer)?;
        let mut found = 0;
        while !payload.is_empty() {
            let entry = entry::take(&mut payload).map_err(|why| bad(why.into()))?;
            loader.push(&entry).map_err(|why: BadLoad| bad(why.into()))?;
            found += u64::from(!entry.continued);
        }
        if found != row.info.count {
            return Err(bad(BadSnapshot::Count { found, stated: row.info.count }));
        }
    }
    loader.finish().map_err(|why| reader.bad(range.rows[0].offset, why))
}

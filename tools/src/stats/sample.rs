//! How long entries would be in a compact store: all of them are measured, some compressed as they would be there.
//!
//! Blocks of a snapshot hold neighbours in hash order, which compress less well than neighbours in a file that is sorted by key. So what is
//! compressed is a stretch of that order: entries up to a position, which is lowered when they become too many. Up to [`KEPT_MAX`] bytes of entries the
//! estimate is what a snapshot takes, but for some bytes. Values as long as a block have blocks of their own: the first [`EXACT_MAX`] bytes of these are compressed, then one block in [`ONE_IN`].

use firn_engine::format::{Seed, StoreId};
use firn_engine::keyspace::{Entry, Value, entry};
use firn_engine::limits::BLOCK_LEN_TARGET;
use firn_engine::snapshot::block::{BlockInfo, BlockKind, encode_block};

/// Bytes of entries that are kept to be compressed.
const KEPT_MAX: usize = 16 * 1024 * 1024;
/// Bytes of long values that are compressed all.
const EXACT_MAX: u64 = 64 * 1024 * 1024;
/// Behind them one block in so many is.
const ONE_IN: u64 = 8;
/// Header, footer, identity, the block that names the release.
const BESIDE: u64 = 128 + 64 + 128 + 100;
/// What the index has for each block.
const ROW_LEN: u64 = 48;

/// Bytes as they are, and as they are stored.
#[derive(Default)]
struct Tried {
    raw: u64,
    stored: u64,
}

impl Tried {
    fn add(&mut self, block: &[u8], out: &mut Vec<u8>) {
        out.clear();
        let info = BlockInfo { kind: BlockKind::Auxiliary, db: 0, count: 0, first: 0, last: 0 };
        encode_block(out, info, block, &Seed::new(StoreId([0; 16]), 0, 0), 0);
        self.raw += block.len() as u64;
        self.stored += out.len() as u64;
    }

    fn of(&self, raw: u64) -> u64 {
        if self.raw == 0 { raw } else { (raw as f64 * (self.stored as f64 / self.raw as f64)) as u64 }
    }
}

/// What was measured so far.
pub(super) struct Sample {
    /// Small entries in the stretch: database, position, bytes.
    kept: Vec<(usize, u64, Box<[u8]>)>,
    kept_bytes: usize,
    /// The end of the stretch.
    last: u64,
    /// Of all small entries.
    raw: u64,
    long_blocks: u64,
    /// Of long values that were all compressed.
    exact: Tried,
    /// Of the later ones.
    later_raw: u64,
    later: Tried,
    part: Vec<u8>,
    out: Vec<u8>,
}

impl Default for Sample {
    fn default() -> Sample {
        Sample {
            kept: Vec::new(),
            kept_bytes: 0,
            last: u64::MAX,
            raw: 0,
            long_blocks: 0,
            exact: Tried::default(),
            later_raw: 0,
            later: Tried::default(),
            part: Vec::new(),
            out: Vec::new(),
        }
    }
}

impl Sample {
    /// Takes an entry.
    pub(super) fn add(&mut self, db: usize, position: u64, entry: &Entry<'_>) {
        self.part.clear();
        let mut next = entry::encode_part(entry, 0, BLOCK_LEN_TARGET, &mut self.part);
        let is_long_string = matches!(entry.value, Value::String(bytes) if bytes.len() >= BLOCK_LEN_TARGET);
        if next.is_none() && !is_long_string {
            return self.small(db, position);
        }
        loop {
            if self.exact.raw < EXACT_MAX {
                self.exact.add(&self.part, &mut self.out);
            } else {
                self.later_raw += self.part.len() as u64;
                if self.long_blocks.is_multiple_of(ONE_IN) {
                    self.later.add(&self.part, &mut self.out);
                }
            }
            self.long_blocks += 1;
            let Some(from) = next else { break };
            self.part.clear();
            next = entry::encode_part(entry, from, BLOCK_LEN_TARGET, &mut self.part);
        }
        if is_long_string {
            // Nothing as long comes again, most likely.
            (self.part, self.out) = (Vec::new(), Vec::new());
        }
    }

    fn small(&mut self, db: usize, position: u64) {
        self.raw += self.part.len() as u64;
        if position > self.last {
            return;
        }
        self.kept.push((db, position, self.part.as_slice().into()));
        self.kept_bytes += self.part.len();
        while self.kept_bytes > KEPT_MAX && self.last > 1 {
            self.last /= 2;
            let last = self.last;
            self.kept.retain(|(_, position, _)| *position <= last);
            self.kept_bytes = self.kept.iter().map(|(.., bytes)| bytes.len()).sum();
        }
    }

    /// Bytes that a compact store of all that was taken would have, about.
    pub(super) fn estimate(&mut self) -> u64 {
        self.kept.sort_unstable();
        let (mut tried, mut blocks, mut block) = (Tried::default(), 0u64, Vec::new());
        let mut kept = self.kept.drain(..).peekable();
        while let Some((db, position, bytes)) = kept.next() {
            block.extend_from_slice(&bytes);
            let goes_on = kept.peek().is_some_and(|(next_db, next, _)| {
                *next_db == db && (block.len() < BLOCK_LEN_TARGET || *next == position)
            });
            if !goes_on {
                tried.add(&block, &mut self.out);
                block.clear();
                blocks += 1;
            }
        }
        let share = if tried.raw == 0 { 1.0 } else { self.raw as f64 / tried.raw as f64 };
        let blocks = (blocks as f64 * share).ceil() as u64 + self.long_blocks;
        let later = if self.later.raw == 0 { &self.exact } else { &self.later };
        tried.of(self.raw) + self.exact.stored + later.of(self.later_raw) + BESIDE + blocks * ROW_LEN
    }
}

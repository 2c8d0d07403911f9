//! How long entries would be in a snapshot: all of them are measured, some blocks of them compressed.

use firn_engine::format::{Seed, StoreId};
use firn_engine::keyspace::{Entry, entry};
use firn_engine::limits::BLOCK_LEN_TARGET;
use firn_engine::snapshot::block::{BlockInfo, BlockKind, encode_block};

/// One block in so many is compressed.
const ONE_IN: u64 = 8;

/// What was measured so far.
#[derive(Default)]
pub(super) struct Sample {
    block: Vec<u8>,
    out: Vec<u8>,
    blocks: u64,
    raw: u64,
    tried_raw: u64,
    tried_stored: u64,
}

impl Sample {
    /// Takes an entry.
    pub(super) fn add(&mut self, entry: &Entry<'_>) {
        let mut from = 0;
        loop {
            let next = entry::encode_part(entry, from, BLOCK_LEN_TARGET, &mut self.block);
            if self.block.len() >= BLOCK_LEN_TARGET {
                self.close();
            }
            let Some(next) = next else { return };
            from = next;
        }
    }

    fn close(&mut self) {
        self.raw += self.block.len() as u64;
        if self.blocks.is_multiple_of(ONE_IN) && !self.block.is_empty() {
            self.out.clear();
            let info = BlockInfo { kind: BlockKind::Auxiliary, db: 0, count: 0, first: 0, last: 0 };
            encode_block(&mut self.out, info, &self.block, &Seed::new(StoreId([0; 16]), 0, 0), 0);
            self.tried_raw += self.block.len() as u64;
            self.tried_stored += self.out.len() as u64;
        }
        self.blocks += 1;
        self.block.clear();
    }

    /// Bytes that a snapshot of all that was taken would have, about.
    pub(super) fn estimate(&mut self) -> u64 {
        self.close();
        let ratio = if self.tried_raw == 0 { 1.0 } else { self.tried_stored as f64 / self.tried_raw as f64 };
        // Header, footer, identity; a row of the index for each block.
        (self.raw as f64 * ratio) as u64 + 128 + 64 + 128 + self.blocks * 48
    }
}

//! What can still be read of compressed bytes, and of a block of entries, that do not verify: names, never values.

use firn_engine::key::HashSeed;
use firn_engine::keyspace::entry;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// Unpacks an LZ4 block up to the first thing in it that cannot be, and to `most` bytes.
pub(super) fn decompress(bytes: &[u8], most: usize) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), bytes);
    // A length of four bits, and more bytes if they are all set.
    let length = |rest: &mut &[u8], nibble: u8| -> Option<usize> {
        let mut len = usize::from(nibble);
        let mut more = if nibble == 15 { 255 } else { 0 };
        while more == 255 {
            more = *rest.split_off_first()?;
            len += usize::from(more);
        }
        Some(len)
    };
    while out.len() < most {
        let Some(token) = rest.split_off_first() else { break };
        let Some(literals) = length(&mut rest, token >> 4) else { break };
        let taken = rest.split_off(..literals.min(rest.len())).unwrap_or_default();
        out.extend_from_slice(taken);
        let Some(distance) = rest.split_off(..2) else { break };
        let distance = usize::from(u16::from_le_bytes([distance[0], distance[1]]));
        let Some(len) = length(&mut rest, token & 15) else { break };
        if distance == 0 || distance > out.len() {
            break;
        }
        for _ in 0..(len + 4).min(most.saturating_sub(out.len())) {
            out.push(out[out.len() - distance]);
        }
    }
    out.truncate(most);
    out
}

/// The keys of a block's entries, as far as they can be read and stand where they belong: in the order of their positions.
pub(super) fn keys_in(mut payload: &[u8], seed: HashSeed, range: &RangeInclusive<u64>) -> BTreeSet<Vec<u8>> {
    let (mut keys, mut last) = (BTreeSet::new(), *range.start());
    while let Ok(stored) = entry::take(&mut payload) {
        let position = seed.position(stored.key);
        if position < last || position > *range.end() {
            break;
        }
        last = position;
        keys.insert(stored.key.to_vec());
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_engine::format::{Seed, StoreId};
    use firn_engine::snapshot::block::{BLOCK_HEADER_LEN, BlockInfo, BlockKind, encode_block};

    #[test]
    fn what_is_before_the_damage_is_unpacked() {
        let text: Vec<u8> = (0..2000u32).flat_map(|n| format!("key:{} value, ", n % 97).into_bytes()).collect();
        let info = BlockInfo { kind: BlockKind::Entries, db: 0, count: 1, first: 1, last: 1 };
        let mut block = Vec::new();
        assert!(encode_block(&mut block, info, &text, &Seed::new(StoreId([1; 16]), 1, 1), 0).compressed);
        let packed = block.split_off(BLOCK_HEADER_LEN);
        assert_eq!(decompress(&packed, text.len()), text);
        let mut damaged = packed.clone();
        let middle = damaged.len() / 2;
        damaged[middle..middle + 9].fill(0);
        let out = decompress(&damaged, text.len());
        assert!(out.len() <= text.len() && out[..100] == text[..100]);
        assert!(decompress(b"\xff\xff\xff", 1 << 20).len() <= 1 << 20);
    }
}

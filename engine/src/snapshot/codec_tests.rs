//! The bytes of blocks, index and footer: as documented, and every flipped bit and every cut is seen.

use super::block::*;
use super::index::*;
use crate::format::{Seed, StoreId};
use proptest::prelude::*;

const OFFSET: u64 = 192;

fn seed() -> Seed {
    Seed::new(StoreId(*b"0123456789abcdef"), 7, 3)
}

fn entries(count: u64, first: u64, last: u64) -> BlockInfo {
    BlockInfo { kind: BlockKind::Entries, db: 2, count, first, last }
}

fn decode(bytes: &[u8], offset: u64) -> Result<(BlockHeader, Vec<u8>), BadBlock> {
    let header = BlockHeader::decode(bytes, &seed(), offset)?;
    let mut scratch = Vec::new();
    let payload = header.payload(&bytes[BLOCK_HEADER_LEN..], &seed(), offset, &mut scratch)?;
    Ok((header, payload.to_vec()))
}

/// Bytes made from FORMAT.md by an independent script (Python's struct and zlib).
#[test]
fn golden_block() {
    let mut bytes = Vec::new();
    encode_block(
        &mut bytes,
        entries(1, 0x1122_3344_5566_7788, 0x1122_3344_5566_7788),
        b"\0\x01a\x01b",
        &seed(),
        OFFSET,
    );
    let expected = [
        &b"BLK1"[..],
        b"\xa5\x3d\xbc\xcf",
        b"\0\0\0\0\x05\0\0\0\x05\0\0\0\x02\0\0\0\x01\0\0\0\0\0\0\0",
        b"\x88\x77\x66\x55\x44\x33\x22\x11\x88\x77\x66\x55\x44\x33\x22\x11",
        b"\x04\x26\x76\xf8",
        b"\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\0\x01a\x01b",
    ];
    assert_eq!(bytes, expected.concat());
}

#[test]
fn golden_index_row_and_footer() {
    let row = IndexRow { info: entries(5, 6, 7), offset: 0x0102, stored_len: 3, raw_len: 4 };
    let mut bytes = Vec::new();
    encode_rows(&[row], &mut bytes);
    let expected = [
        &b"\0\0\0\0\x02\0\0\0\x06\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0"[..],
        b"\x02\x01\0\0\0\0\0\0\x03\0\0\0\x04\0\0\0\x05\0\0\0\0\0\0\0",
    ];
    assert_eq!(bytes, expected.concat());
    let footer = Footer { index_offset: 300, entries: 5, lsn: 7, file_len: 1000, durable: 6 };
    let expected = [
        &b"FIRNEND1\x2c\x01\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0"[..],
        b"\xe8\x03\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\x83\xcb\x69\x11",
    ];
    assert_eq!(footer.encode(&seed()).to_vec(), expected.concat());
    assert_eq!(Footer::decode(&expected.concat(), &seed(), 1000, 7), Ok(footer));
}

#[test]
fn golden_aux() {
    let mut bytes = Vec::new();
    encode_aux(&[AuxPair::text("databases", 16), AuxPair::text("", "")], &mut bytes);
    assert_eq!(bytes, b"\x09databases\x0216\0\0");
}

#[test]
fn every_flipped_bit_every_cut_and_every_other_offset_of_a_block_is_seen() {
    for raw in [b"\0\x01a\x01b".to_vec(), b"abcdefgh".repeat(100)] {
        let mut bytes = Vec::new();
        let header = encode_block(&mut bytes, entries(1, 9, 9), &raw, &seed(), OFFSET);
        assert_eq!(header.compressed, raw.len() > 100);
        assert_eq!(decode(&bytes, OFFSET), Ok((header, raw)));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad, OFFSET).is_err(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            let cut_off = decode(&bytes[..cut.max(BLOCK_HEADER_LEN)], OFFSET);
            assert!(matches!(cut_off, Err(BadBlock::Cut { .. })), "cut at {cut}: {cut_off:?}");
            let cut_off = BlockHeader::decode(&bytes[..cut.min(BLOCK_HEADER_LEN - 1)], &seed(), OFFSET);
            assert!(matches!(cut_off, Err(BadBlock::Cut { .. })));
        }
        assert!(matches!(decode(&bytes, OFFSET + 1), Err(BadBlock::HeaderChecksum { .. })), "displaced");
        let other = Seed::new(StoreId(*b"0123456789abcdef"), 8, 3);
        assert!(BlockHeader::decode(&bytes, &other, OFFSET).is_err(), "of another snapshot");
    }
}

/// A header that says `change`, with a right checksum.
fn forged(raw: &[u8], change: impl FnOnce(&mut [u8])) -> Result<BlockHeader, BadBlock> {
    let mut bytes = Vec::new();
    encode_block(&mut bytes, entries(1, 9, 9), raw, &seed(), OFFSET);
    change(&mut bytes);
    let crc = seed().crc(OFFSET, &[&bytes[..4], &bytes[8..64]]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    decode(&bytes, OFFSET).map(|(header, _)| header)
}

#[test]
fn every_wrong_field_of_a_block_has_a_name_though_its_checksum_is_right() {
    let small = b"\0\x01a\x01b";
    let large = b"abcdefgh".repeat(100);
    assert_eq!(forged(small, |bytes| bytes[8] = 4), Err(BadBlock::Kind(4)));
    assert_eq!(forged(small, |bytes| bytes[9] = 2), Err(BadBlock::Flags(2)));
    for reserved in [10, 11, 52, 63] {
        assert_eq!(forged(small, |bytes| bytes[reserved] = 1), Err(BadBlock::Reserved));
    }
    assert_eq!(forged(small, |bytes| bytes[16] = 6), Err(BadBlock::Lengths { stored: 5, raw: 6 }));
    assert_eq!(forged(small, |bytes| bytes[9] = 1), Err(BadBlock::Lengths { stored: 5, raw: 5 }), "LZ4 must shrink");
    let bomb = forged(&large, |bytes| bytes[16..20].copy_from_slice(&u32::MAX.to_le_bytes()));
    assert!(matches!(bomb, Err(BadBlock::Lengths { raw: u32::MAX, .. })), "no memory is taken for {bomb:?}");
    assert_eq!(forged(&large, |bytes| bytes[16..18].copy_from_slice(&[0x21, 0x03])), Err(BadBlock::Lz4(801)));
    let range = |at: usize, value: u8| forged(small, |bytes| bytes[at] = value);
    assert!(matches!(range(24, 0), Err(BadBlock::Range { count: 0, .. })), "an entries block has entries");
    assert!(matches!(range(24, 6), Err(BadBlock::Range { count: 6, .. })), "more entries than bytes");
    assert!(matches!(range(32, 0), Err(BadBlock::Range { first: 0, .. })), "0 is no position");
    assert!(matches!(range(32, 10), Err(BadBlock::Range { first: 10, last: 9, .. })));
    assert!(matches!(range(8, 1), Err(BadBlock::Range { .. })), "an auxiliary block has no positions");
    assert!(range(20, 77).is_ok(), "any database");
}

#[test]
fn every_flipped_bit_of_a_footer_is_seen_and_every_wrong_field_has_a_name() {
    let footer = Footer { index_offset: 300, entries: 5, lsn: 7, file_len: 1000, durable: 6 };
    let bytes = footer.encode(&seed());
    for bit in 0..FOOTER_LEN * 8 {
        let mut bad = bytes;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Footer::decode(&bad, &seed(), 1000, 7).is_err(), "bit {bit}");
    }
    for cut in 0..FOOTER_LEN {
        assert_eq!(Footer::decode(&bytes[..cut], &seed(), 1000, 7), Err(BadFooter::Cut(1000)));
    }
    let forged = |change: &dyn Fn(&mut [u8]), file_len: u64| {
        let mut bytes = bytes;
        change(&mut bytes);
        let crc = seed().crc(file_len - 64, &[&bytes[..60]]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        Footer::decode(&bytes, &seed(), file_len, 7)
    };
    assert_eq!(forged(&|_| {}, 1001), Err(BadFooter::Length { stated: 1000, found: 1001 }));
    assert_eq!(forged(&|bytes| bytes[24] = 8, 1000), Err(BadFooter::Lsn { footer: 8, header: 7 }));
    assert_eq!(forged(&|bytes| bytes[50] = 1, 1000), Err(BadFooter::Reserved));
    for (index_offset, right) in [(127u64, false), (128, true), (1000 - 128, true), (1000 - 127, false)] {
        let decoded = forged(&|bytes| bytes[8..16].copy_from_slice(&index_offset.to_le_bytes()), 1000);
        assert_eq!(decoded.is_ok(), right, "{decoded:?}");
    }
    assert_eq!(Footer::decode(&bytes, &seed(), 200, 7), Err(BadFooter::Cut(200)));
}

/// An auxiliary block and three entries blocks, one of them written before its turn.
fn layout() -> (Vec<IndexRow>, Footer) {
    let row = |kind, db, (first, last), offset| IndexRow {
        info: BlockInfo { kind, db, count: 2, first, last },
        offset,
        stored_len: 36,
        raw_len: 36,
    };
    let mut rows = vec![
        row(BlockKind::Entries, 1, (1, u64::MAX), 428),
        row(BlockKind::Entries, 0, (50, 60), 228),
        row(BlockKind::Entries, 0, (10, 49), 328),
        row(BlockKind::Auxiliary, 0, (0, 0), 128),
    ];
    sort_rows(&mut rows);
    (rows, Footer { index_offset: 528, entries: 6, lsn: 1, file_len: 1000, durable: 0 })
}

#[test]
fn an_index_must_cover_the_file_without_gaps_and_overlaps() {
    let (rows, footer) = layout();
    assert_eq!(check_layout(&rows, &footer), Ok(()));
    assert_eq!(rows.iter().map(|row| row.offset).collect::<Vec<_>>(), [128, 328, 228, 428]);
    let changed = |change: &dyn Fn(&mut Vec<IndexRow>, &mut Footer)| {
        let (mut rows, mut footer) = layout();
        change(&mut rows, &mut footer);
        check_layout(&rows, &footer).unwrap_err()
    };
    assert_eq!(changed(&|rows, _| rows.swap(1, 2)), BadIndex::Order { row: 2 });
    assert_eq!(changed(&|rows, _| rows.swap(0, 1)), BadIndex::Order { row: 1 });
    assert_eq!(changed(&|rows, _| rows[1].info.last = 50), BadIndex::Overlap { row: 2, first: 50, last: 50 });
    assert_eq!(changed(&|rows, _| rows[1].stored_len = 37), BadIndex::Gap { expected: 429, found: 428 });
    assert_eq!(changed(&|rows, _| rows[3].offset = 429), BadIndex::Gap { expected: 428, found: 429 });
    assert_eq!(changed(&|_, footer| footer.index_offset = 600), BadIndex::Gap { expected: 528, found: 600 });
    assert_eq!(changed(&|rows, _| rows.truncate(3)), BadIndex::Gap { expected: 428, found: 528 });
    assert_eq!(changed(&|rows, _| rows[3].offset = u64::MAX), BadIndex::Gap { expected: 428, found: u64::MAX });
    assert_eq!(changed(&|_, footer| footer.entries = 7), BadIndex::Entries { counted: 6, stated: 7 });
}

#[test]
fn wrong_rows_have_names() {
    let (rows, _) = layout();
    let mut bytes = Vec::new();
    encode_rows(&rows, &mut bytes);
    assert_eq!(decode_rows(&bytes, 4), Ok(rows));
    assert_eq!(decode_rows(&bytes, 3), Err(BadIndex::Length { len: 192, rows: 3 }));
    assert_eq!(decode_rows(&bytes[..191], 4), Err(BadIndex::Length { len: 191, rows: 4 }));
    let changed = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        decode_rows(&bytes, 4).unwrap_err()
    };
    assert_eq!(changed(48, 2), BadIndex::Kind { row: 1, kind: 2 });
    assert_eq!(changed(48, 9), BadIndex::Kind { row: 1, kind: 9 });
    assert_eq!(changed(97, 1), BadIndex::Reserved { row: 2 });
}

proptest! {
    #[test]
    fn blocks_round_trip(raw in prop::collection::vec(0..4u8, 1..3000), db: u32, first in 1..u64::MAX, offset: u64) {
        let info = BlockInfo { kind: BlockKind::Entries, db, count: 1, first, last: first };
        let mut bytes = b"before".to_vec();
        let header = encode_block(&mut bytes, info, &raw, &seed(), offset);
        prop_assert_eq!(header.info, info);
        prop_assert_eq!(6 + header.block_len(), bytes.len() as u64);
        prop_assert_eq!(decode(&bytes[6..], offset), Ok((header, raw)));
    }

    #[test]
    fn any_bytes_give_pairs_or_an_error(bytes: Vec<u8>, count in 0..5u64) {
        if let Ok(pairs) = decode_aux(&bytes, count) {
            let mut again = Vec::new();
            encode_aux(&pairs, &mut again);
            prop_assert!(again.len() <= bytes.len());
            prop_assert_eq!(pairs.len() as u64, count);
        }
    }

    #[test]
    fn pairs_round_trip(parts: Vec<(Vec<u8>, Vec<u8>)>) {
        let pairs: Vec<_> = parts.into_iter().map(|(name, value)| AuxPair { name, value }).collect();
        let mut bytes = Vec::new();
        encode_aux(&pairs, &mut bytes);
        prop_assert_eq!(decode_aux(&bytes, pairs.len() as u64), Ok(pairs.clone()));
        prop_assert_eq!(decode_aux(&bytes, pairs.len() as u64 + 1), Err(BadAux(pairs.len() as u64 + 1)));
    }
}

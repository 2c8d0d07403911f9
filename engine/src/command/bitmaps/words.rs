//! Loops over many bits, eight bytes and more at a time: counting, searching, combining. The compiler makes vector code of them.

/// Words that are added up bit by bit before their bits are counted.
const LANES: usize = 8;
const LANE_BYTES: usize = LANES * 8;
/// A block is so many rows of lanes.
const ROWS: usize = 16;

type Lanes = [u64; LANES];

fn lanes(bytes: &[u8]) -> Lanes {
    let mut lanes = [0; LANES];
    for (lane, chunk) in lanes.iter_mut().zip(bytes.chunks_exact(8)) {
        *lane = u64::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3], chunk[4], chunk[5], chunk[6], chunk[7]]);
    }
    lanes
}

/// A full adder on each bit: leaves the sums in `sum` and gives the carries.
#[inline(always)]
fn add(sum: &mut Lanes, one: &Lanes, other: &Lanes) -> Lanes {
    let mut carry = [0; LANES];
    for lane in 0..LANES {
        let (a, b, c) = (sum[lane], one[lane], other[lane]);
        let half = a ^ b;
        sum[lane] = half ^ c;
        carry[lane] = a & b | half & c;
    }
    carry
}

/// Bits that are set in each of the lanes together.
fn ones(lanes: &Lanes) -> u64 {
    lanes.iter().map(|lane| u64::from(lane.count_ones())).sum()
}

/// How many bits are set. Sixteen words are added up with carry-save adders (Harley and Seal), so that bits are counted once for
/// sixteen words: without a processor's own instruction this runs at the speed of memory.
pub(super) fn count_ones(bytes: &[u8]) -> u64 {
    let mut total = 0;
    let (mut by1, mut by2, mut by4, mut by8) = ([0; LANES], [0; LANES], [0; LANES], [0; LANES]);
    let mut blocks = bytes.chunks_exact(LANE_BYTES * ROWS);
    for block in &mut blocks {
        let row = |number: usize| lanes(&block[number * LANE_BYTES..(number + 1) * LANE_BYTES]);
        let mut eights = [[0; LANES]; 2];
        for (half, carry) in eights.iter_mut().enumerate() {
            let mut fours = [[0; LANES]; 2];
            for (quarter, carry) in fours.iter_mut().enumerate() {
                let first = half * 8 + quarter * 4;
                let twos = add(&mut by1, &row(first), &row(first + 1));
                let more = add(&mut by1, &row(first + 2), &row(first + 3));
                *carry = add(&mut by2, &twos, &more);
            }
            *carry = add(&mut by4, &fours[0], &fours[1]);
        }
        let sixteens = add(&mut by8, &eights[0], &eights[1]);
        total += ones(&sixteens);
    }
    total = 16 * total + 8 * ones(&by8) + 4 * ones(&by4) + 2 * ones(&by2) + ones(&by1);
    let mut rows = blocks.remainder().chunks_exact(LANE_BYTES);
    total += (&mut rows).map(|row| ones(&lanes(row))).sum::<u64>();
    total + rows.remainder().iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

/// The first byte that is not `byte`.
pub(super) fn find_byte_other_than(bytes: &[u8], byte: u8) -> Option<usize> {
    let mut at = 0;
    for block in bytes.chunks_exact(LANE_BYTES) {
        // One test for the block: a fold without exits becomes vector code.
        if block.iter().fold(0, |differs, other| differs | (other ^ byte)) != 0 {
            break;
        }
        at += LANE_BYTES;
    }
    bytes[at..].iter().position(|other| *other != byte).map(|found| at + found)
}

/// What BITOP does with two or more strings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    And,
    Or,
    Xor,
}

/// Bytes that are combined with all sources before the next: they stay in the first cache.
const COMBINE_LEN: usize = 8 * 1024;

/// Combines strings to one as long as the longest; shorter ones are followed by zeros.
pub(super) fn combine(operation: Operation, sources: &[&[u8]]) -> Vec<u8> {
    let len = sources.iter().map(|source| source.len()).max().unwrap_or(0);
    let mut result = Vec::with_capacity(len);
    while result.len() < len {
        let (from, to) = (result.len(), len.min(result.len() + COMBINE_LEN));
        let part = |source: &&[u8]| -> std::ops::Range<usize> { from.min(source.len())..to.min(source.len()) };
        let (first, others) = (sources[0], &sources[1..]);
        result.extend_from_slice(&first[part(&first)]);
        result.resize(to, 0);
        let block = &mut result[from..to];
        for other in others {
            let bytes = &other[part(other)];
            let (common, rest) = block.split_at_mut(bytes.len());
            let pairs = common.iter_mut().zip(bytes);
            match operation {
                Operation::And => {
                    pairs.for_each(|(mine, other)| *mine &= other);
                    rest.fill(0);
                }
                Operation::Or => pairs.for_each(|(mine, other)| *mine |= other),
                Operation::Xor => pairs.for_each(|(mine, other)| *mine ^= other),
            }
        }
    }
    result
}

/// All bits turned around.
pub(super) fn invert(source: &[u8]) -> Vec<u8> {
    source.iter().map(|byte| !byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Long enough for every loop: blocks, rows and rests.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        (0usize..3 * LANE_BYTES * ROWS, any::<u64>(), prop::sample::select(vec![0u8, 0xff, 1])).prop_map(
            |(len, seed, kind)| {
                let mut state = seed | 1;
                let mut next = || {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state as u8
                };
                (0..len).map(|_| if kind == 1 { next() } else { kind }).collect()
            },
        )
    }

    proptest! {
        #[test]
        fn bits_are_counted(bytes in bytes()) {
            prop_assert_eq!(count_ones(&bytes), bytes.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>());
        }

        #[test]
        fn the_first_other_byte_is_found(len in 0usize..500, at in 0usize..500, byte: u8) {
            let mut bytes = vec![byte; len];
            if let Some(place) = bytes.get_mut(at) {
                *place = !byte;
            }
            prop_assert_eq!(find_byte_other_than(&bytes, byte), (at < len).then_some(at));
        }

        #[test]
        fn strings_are_combined_bit_by_bit(sources in prop::collection::vec(bytes(), 1..4), long: bool) {
            let mut sources = sources;
            if long {
                sources[0].resize(COMBINE_LEN * 2 + 3, 0x55);
            }
            let slices: Vec<&[u8]> = sources.iter().map(Vec::as_slice).collect();
            let len = sources.iter().map(Vec::len).max().unwrap();
            for (operation, fold) in [
                (Operation::And, (|a, b| a & b) as fn(u8, u8) -> u8),
                (Operation::Or, |a, b| a | b),
                (Operation::Xor, |a, b| a ^ b),
            ] {
                let byte = |source: &Vec<u8>, at: usize| source.get(at).copied().unwrap_or(0);
                let expected: Vec<u8> =
                    (0..len).map(|at| sources.iter().map(|source| byte(source, at)).reduce(fold).unwrap()).collect();
                prop_assert!(combine(operation, &slices) == expected);
            }
        }
    }
}

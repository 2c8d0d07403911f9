//! From an element to its register, and from registers to a cardinality.
//!
//! The hash is MurmurHash64A with Redis' seed. The estimator is that of Otmar Ertl, "New cardinality estimation algorithms for
//! HyperLogLog sketches" (arXiv:1702.01284), with the same operations in the same order as Redis', so that the result is the same.

use super::REGISTERS;

const SEED: u64 = 0xadc8_3b19;
/// Bits of a hash that name a register.
const REGISTER_BITS: u32 = REGISTERS.trailing_zeros();
/// Bits of a hash behind them.
const PATTERN_BITS: u32 = 64 - REGISTER_BITS;
/// 0.5 / ln 2.
#[allow(clippy::excessive_precision)]
const ALPHA: f64 = 0.721347520444481703680;

/// MurmurHash2 for 64-bit machines, by Austin Appleby.
fn hash(bytes: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;
    const SHIFT: u32 = 47;
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let word = u64::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3], chunk[4], chunk[5], chunk[6], chunk[7]]);
        let word = word.wrapping_mul(MULTIPLIER);
        hash ^= (word ^ word >> SHIFT).wrapping_mul(MULTIPLIER);
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let word = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        hash = (hash ^ word).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ hash >> SHIFT).wrapping_mul(MULTIPLIER);
    hash ^ hash >> SHIFT
}

/// The register that an element belongs to, and the value that it asks for: one more than the zeros in front of the first one of
/// the hash's other bits, lowest first; 51 at most.
pub(super) fn place_of(element: &[u8]) -> (usize, u8) {
    let hash = hash(element);
    let pattern = hash >> REGISTER_BITS | 1 << PATTERN_BITS;
    (hash as usize & (REGISTERS - 1), pattern.trailing_zeros() as u8 + 1)
}

/// How many registers have each value. Values above 51 occur only in strings that somebody made up.
#[derive(Debug)]
pub(super) struct Histogram([u32; 64]);

impl Default for Histogram {
    fn default() -> Self {
        Histogram([0; 64])
    }
}

impl Histogram {
    /// `len` registers of a value.
    #[inline]
    pub(super) fn add(&mut self, value: u8, len: usize) {
        self.0[usize::from(value & 63)] += len as u32;
    }

    /// The cardinality.
    pub(super) fn estimate(&self) -> u64 {
        let m = REGISTERS as f64;
        let last = PATTERN_BITS as usize;
        let mut z = m * tau((m - f64::from(self.0[last + 1])) / m);
        for value in (1..=last).rev() {
            z += f64::from(self.0[value]);
            z *= 0.5;
        }
        z += m * sigma(f64::from(self.0[0]) / m);
        let estimate = (ALPHA * m * m / z).round();
        // Registers that no element can make give infinity; what C makes of that on x86-64 is this.
        if estimate < 9_223_372_036_854_775_808.0 { estimate as u64 } else { 1 << 63 }
    }
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if before == z {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if before == z {
            return z / 3.0;
        }
    }
}

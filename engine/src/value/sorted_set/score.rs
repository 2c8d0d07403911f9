//! Scores in few bytes: what the leaves and tables of large sorted sets hold.
//!
//! ```text
//! 0x00..=0xdf      the integers 0 to 223
//! 0xe0 + n, n = 1..=7   n bytes, little-endian: an integer above 223
//! 0xe8 + n, n = 1..=7   n bytes, little-endian: minus that integer, which is not 0
//! 0xff             8 bytes, little-endian: any other double (fractions, -0, infinities, beyond 2^53)
//! ```
//! Each score has exactly one form. Nothing here is written to files.

/// Longest form.
pub(super) const SCORE_LEN_MAX: usize = 9;

const SMALL_MAX: u64 = 0xdf;
const POSITIVE: u8 = 0xe0;
const NEGATIVE: u8 = 0xe8;
const DOUBLE: u8 = 0xff;

/// The form of a score: the first so many of these bytes.
#[inline]
pub(super) fn encode_score(score: f64) -> ([u8; SCORE_LEN_MAX], usize) {
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0; // 2^53
    let mut form = [0; SCORE_LEN_MAX];
    let whole = score as i64;
    if score.abs() <= WHOLE_MAX && whole as f64 == score && (whole != 0 || score.is_sign_positive()) {
        let magnitude = whole.unsigned_abs();
        form[1..].copy_from_slice(&magnitude.to_le_bytes());
        if whole >= 0 && magnitude <= SMALL_MAX {
            form[0] = whole as u8;
            return (form, 1);
        }
        let len = (71 - magnitude.leading_zeros() as usize) / 8;
        form[0] = len as u8 + if whole < 0 { NEGATIVE } else { POSITIVE };
        return (form, 1 + len);
    }
    form[0] = DOUBLE;
    form[1..].copy_from_slice(&score.to_le_bytes());
    (form, SCORE_LEN_MAX)
}

/// The score at the beginning of `bytes`, and how many bytes it takes.
#[inline]
pub(super) fn take_score(bytes: &[u8]) -> (f64, usize) {
    let first = bytes[0];
    if u64::from(first) <= SMALL_MAX {
        return (f64::from(first), 1);
    }
    if first == DOUBLE {
        let mut double = [0; 8];
        double.copy_from_slice(&bytes[1..9]);
        return (f64::from_le_bytes(double), 9);
    }
    let len = usize::from(first & 7);
    let magnitude = match bytes[1..].first_chunk() {
        // Searches take a hundred of them: one load and a mask are much quicker than a copy of a few bytes.
        Some(eight) => u64::from_le_bytes(*eight) & (u64::MAX >> (64 - 8 * len)),
        None => {
            let mut magnitude = [0; 8];
            magnitude[..len].copy_from_slice(&bytes[1..=len]);
            u64::from_le_bytes(magnitude)
        }
    };
    let magnitude = magnitude as f64;
    (if first < NEGATIVE { magnitude } else { -magnitude }, len + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(score: f64) -> usize {
        let (form, len) = encode_score(score);
        let mut bytes = form[..len].to_vec();
        bytes.extend_from_slice(&[0xaa; 8]);
        let (back, taken) = take_score(&bytes);
        assert_eq!((back.to_bits(), taken), (score.to_bits(), len), "{score}");
        assert!(len <= SCORE_LEN_MAX);
        len
    }

    #[test]
    fn whole_scores_take_one_to_eight_bytes_and_others_nine() {
        for (score, len) in [
            (0.0, 1),
            (223.0, 1),
            (224.0, 2),
            (255.0, 2),
            (256.0, 3),
            (-1.0, 2),
            (-65_536.0, 4),
            (4_294_967_295.0, 5),
            (1e9, 5),
            (9_007_199_254_740_992.0, 8),
            (-9_007_199_254_740_992.0, 8),
            (9_007_199_254_740_994.0, 9),
            (-0.0, 9),
            (0.5, 9),
            (f64::INFINITY, 9),
            (f64::NEG_INFINITY, 9),
            (f64::MAX, 9),
            (5e-324, 9),
        ] {
            assert_eq!(round_trip(score), len, "{score}");
        }
    }

    proptest! {
        #[test]
        fn every_score_reads_back(bits: u64, whole: i64, shift in 0u32..64) {
            if !f64::from_bits(bits).is_nan() {
                round_trip(f64::from_bits(bits));
            }
            round_trip((whole >> shift) as f64);
        }
    }
}

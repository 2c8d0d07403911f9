//! LZF, both ways: literals (`000nnnnn`, n + 1 bytes follow) and references to what was written before (`lllooooo o8`, or `111ooooo l8 o8`: length
//! l + 2, offset o + 1).

/// Bytes that one compressed byte can become, at most: a reference of three bytes stands for 264.
pub(super) const RATIO_MAX: u64 = 88;
const LITERALS_MAX: usize = 32;
/// Bytes that are copied at a time where they are referred to.
const STEP: usize = 16;
const OFFSET_MAX: usize = 1 << 13;
const MATCH_MAX: usize = 264;
/// Bits of the table's index: no more than the bytes have places.
const HASH_BITS: std::ops::RangeInclusive<u32> = 6..=14;

/// Appends what `bytes` decompress to, which must be `len` bytes. `None`, and some of it appended: they do not.
pub(super) fn decompress(bytes: &[u8], len: usize, out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    // Copies are of whole steps, the last of which may go past the end.
    out.resize(start + len + LITERALS_MAX, 0);
    let mut at = 0;
    let whole = decompress_into(bytes, &mut out[start..], len, &mut at);
    out.truncate(start + at);
    whole.filter(|()| at == len)
}

/// Into `out`, which has room for `len` bytes and [`LITERALS_MAX`] more; `at` counts them.
fn decompress_into(bytes: &[u8], out: &mut [u8], len: usize, at: &mut usize) -> Option<()> {
    let mut rest = bytes;
    while let Some(&control) = rest.split_off_first() {
        let control = usize::from(control);
        if control < LITERALS_MAX {
            let count = control + 1;
            if *at + count > len {
                return None;
            }
            match rest.first_chunk::<LITERALS_MAX>() {
                Some(more) => {
                    out[*at..*at + LITERALS_MAX].copy_from_slice(more);
                    rest = &rest[count..];
                }
                None => out[*at..*at + count].copy_from_slice(rest.split_off(..count)?),
            }
            *at += count;
            continue;
        }
        let mut count = control >> 5;
        if count == 7 {
            count += usize::from(*rest.split_off_first()?);
        }
        count += 2;
        let offset = ((control & 0x1f) << 8 | usize::from(*rest.split_off_first()?)) + 1;
        let from = at.checked_sub(offset)?;
        if *at + count > len {
            return None;
        }
        if offset >= STEP {
            for done in (0..count).step_by(STEP) {
                let step: [u8; STEP] = *out[from + done..].first_chunk()?;
                out[*at + done..*at + done + STEP].copy_from_slice(&step);
            }
        } else {
            // It refers to what it is just writing.
            for done in 0..count {
                out[*at + done] = out[from + done];
            }
        }
        *at += count;
    }
    Some(())
}

fn hash(bytes: &[u8], at: usize, bits: u32) -> usize {
    let word = u32::from(bytes[at]) << 16 | u32::from(bytes[at + 1]) << 8 | u32::from(bytes[at + 2]);
    (word.wrapping_mul(0x9e37_79b1) >> (32 - bits)) as usize
}

/// Where three bytes were seen last. One table serves many texts: what an earlier one has left in it is below `base`.
pub(super) struct Seen {
    places: Vec<u32>,
    base: u32,
}

impl Seen {
    /// Nothing was seen.
    pub(super) const fn new() -> Seen {
        Seen { places: Vec::new(), base: 1 }
    }

    /// Begins a text of `len` bytes: its place `at` is `base + at` in the table.
    fn begin(&mut self, len: usize) -> (&mut [u32], u32) {
        let len = len as u32;
        if self.places.is_empty() || u32::MAX - self.base < len {
            self.places = vec![0; 1 << *HASH_BITS.end()];
            self.base = 1;
        }
        let base = self.base;
        self.base += len;
        (&mut self.places, base)
    }
}

/// Appends `bytes`, fewer than 4 GB, compressed if that takes at most `max` bytes; else says no, and appends nothing.
pub(super) fn compress(bytes: &[u8], max: usize, seen: &mut Seen, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let bits = (usize::BITS - bytes.len().leading_zeros()).clamp(*HASH_BITS.start(), *HASH_BITS.end());
    let (table, base) = seen.begin(bytes.len());
    let (mut at, mut literals) = (0, 0);
    let put_literals = |out: &mut Vec<u8>, from: usize, to: usize| {
        for run in bytes[from..to].chunks(LITERALS_MAX) {
            out.push((run.len() - 1) as u8);
            out.extend_from_slice(run);
        }
    };
    while at + 2 < bytes.len() {
        let slot = &mut table[hash(bytes, at, bits)];
        let candidate = std::mem::replace(slot, base + at as u32);
        let found = candidate
            .checked_sub(base)
            .map(|from| from as usize)
            .filter(|&from| at - from <= OFFSET_MAX && bytes[from..from + 3] == bytes[at..at + 3]);
        let Some(from) = found else {
            at += 1;
            if out.len() - start + (at - literals) > max {
                out.truncate(start);
                return false;
            }
            continue;
        };
        let limit = MATCH_MAX.min(bytes.len() - at);
        let count = 3 + (3..limit).take_while(|&n| bytes[from + n] == bytes[at + n]).count();
        put_literals(out, literals, at);
        let offset = at - from - 1;
        let high = (offset >> 8) as u8;
        if count - 2 < 7 {
            out.push(((count - 2) << 5) as u8 | high);
        } else {
            out.extend_from_slice(&[7 << 5 | high, (count - 2 - 7) as u8]);
        }
        out.push(offset as u8);
        // The places within the match are found again by their first bytes alone: enough, and faster.
        if at + count + 2 < bytes.len() {
            let last = at + count - 1;
            table[hash(bytes, last, bits)] = base + last as u32;
        }
        at += count;
        literals = at;
    }
    put_literals(out, literals, bytes.len());
    if out.len() - start > max {
        out.truncate(start);
        return false;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round(bytes: &[u8]) {
        let mut packed = Vec::new();
        let mut seen = Seen::new();
        // What another text has left behind is not taken for this one's, also where the table begins anew.
        let other: Vec<u8> = bytes.iter().rev().copied().collect();
        compress(&other, other.len() * 2, &mut seen, &mut Vec::new());
        seen.base = seen.base.max(u32::MAX - 1000);
        assert!(compress(bytes, bytes.len() + bytes.len() / 32 + 1, &mut seen, &mut packed));
        let mut back = b"before".to_vec();
        assert_eq!(decompress(&packed, bytes.len(), &mut back), Some(()));
        assert_eq!(&back[6..], bytes);
        assert!(bytes.len() as u64 <= packed.len() as u64 * RATIO_MAX);
    }

    #[test]
    fn long_runs_shrink_and_come_back() {
        for len in [0, 1, 2, 3, 4, 31, 32, 33, 263, 264, 265, 266, 1000, 100_000] {
            round(&vec![b'x'; len]);
            round(&(0..len).map(|n| ((n * n) >> 3) as u8).collect::<Vec<_>>());
        }
        let mut packed = Vec::new();
        let mut seen = Seen::new();
        assert!(compress(&[b'x'; 100_000], 2000, &mut seen, &mut packed));
        assert!(!compress(b"abcdefghijklmnopqrstuvwxyz", 20, &mut seen, &mut packed));
    }

    #[test]
    fn what_redis_compressed_decompresses() {
        // "a" 100 times, as redis-server 7.0 writes it.
        let mut out = Vec::new();
        assert_eq!(decompress(b"\x01aa\xe0\x57\x00\x01aa", 100, &mut out), Some(()));
        assert_eq!(out, [b'a'; 100]);
    }

    proptest! {
        #[test]
        fn anything_comes_back(bytes in prop::collection::vec(0u8..4, 0..2000)) {
            round(&bytes);
        }

        #[test]
        fn any_bytes_decompress_within_bounds(bytes: Vec<u8>, len in 0usize..5000) {
            let mut out = Vec::new();
            let whole = decompress(&bytes, len, &mut out).is_some();
            prop_assert!(out.len() <= len);
            prop_assert!(!whole || out.len() == len);
        }
    }
}

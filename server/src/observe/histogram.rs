//! How often a command took how long: counters in buckets that grow with the value.
//!
//! 1. An octave (a power of two of nanoseconds) has 16 buckets: what is told is at most a sixteenth above what was measured.
//! 2. Adding is one atomic addition; readers see a state that may miss what is being added.
//! 3. Longer than [`LONGEST_NS`] counts as that long.

use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets of an octave, and their number as a power of two.
const SUB: usize = 16;
const SUB_BITS: u32 = 4;
/// Octaves: the last ends at 2^40 ns, about 18 minutes.
const OCTAVES: usize = 40;
const BUCKETS: usize = (OCTAVES - SUB_BITS as usize + 1) * SUB;
/// The longest time that is told apart, in nanoseconds.
pub(crate) const LONGEST_NS: u64 = (1 << OCTAVES) - 1;

/// Counters of one command.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: [const { AtomicU64::new(0) }; BUCKETS] }
    }
}

fn bucket(nanos: u64) -> usize {
    let nanos = nanos.min(LONGEST_NS);
    if nanos < SUB as u64 {
        return nanos as usize;
    }
    let octave = 63 - nanos.leading_zeros();
    ((octave - SUB_BITS + 1) as usize) * SUB + ((nanos >> (octave - SUB_BITS)) as usize & (SUB - 1))
}

/// The longest time that falls into a bucket, in nanoseconds.
fn longest(bucket: usize) -> u64 {
    if bucket < SUB {
        return bucket as u64;
    }
    let octave = (bucket / SUB - 1) as u32 + SUB_BITS;
    let first = (SUB + bucket % SUB) as u64;
    ((first + 1) << (octave - SUB_BITS)) - 1
}

impl Histogram {
    /// Adds `count` runs of `nanos` each.
    #[inline]
    pub(crate) fn add(&self, nanos: u64, count: u64) {
        self.buckets[bucket(nanos)].fetch_add(count, Ordering::Relaxed);
    }

    /// Forgets everything.
    pub(crate) fn reset(&self) {
        self.buckets.iter().for_each(|bucket| bucket.store(0, Ordering::Relaxed));
    }

    /// What it holds now.
    pub(crate) fn view(&self) -> View {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        View { total: counts.iter().sum(), counts }
    }
}

/// A histogram's state at one moment.
#[derive(Debug)]
pub(crate) struct View {
    counts: Vec<u64>,
    /// Runs altogether.
    pub(crate) total: u64,
}

impl View {
    /// The time that `percent` of all runs did not exceed, in nanoseconds.
    pub(crate) fn percentile(&self, percent: f64) -> u64 {
        let wanted = ((self.total as f64 * percent / 100.0).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return longest(at);
            }
        }
        0
    }

    /// How many runs took less than 2^`octave` nanoseconds.
    pub(crate) fn below(&self, octave: u32) -> u64 {
        let end = if octave >= OCTAVES as u32 { BUCKETS } else { bucket(1 << octave) };
        self.counts[..end].iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_gap_and_are_a_sixteenth_wide() {
        assert_eq!(bucket(LONGEST_NS), BUCKETS - 1);
        assert_eq!(longest(BUCKETS - 1), LONGEST_NS);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        for at in 1..BUCKETS {
            let (first, last) = (longest(at - 1) + 1, longest(at));
            assert_eq!((bucket(first), bucket(last)), (at, at));
            assert!((last - first) * SUB as u64 <= first, "{first}..={last}");
        }
    }

    #[test]
    fn percentiles_and_counts_below_a_power_of_two() {
        let histogram = Histogram::default();
        for nanos in 1..=1000 {
            histogram.add(nanos * 1000, 1);
        }
        let view = histogram.view();
        assert_eq!(view.total, 1000);
        for (percent, nanos) in [(0.0, 1000), (50.0, 500_000), (99.0, 990_000), (100.0, 1_000_000)] {
            let told = view.percentile(percent);
            assert!(told >= nanos && told <= nanos + nanos / 16, "p{percent}: {told}");
        }
        assert_eq!(view.below(10), 1); // 1000 ns only.
        assert_eq!(view.below(20), 1000);
        assert_eq!(view.below(19), 524);
        assert_eq!(view.below(60), 1000);
        histogram.reset();
        assert_eq!(histogram.view().total, 0);
        assert_eq!(histogram.view().percentile(50.0), 0);
    }
}

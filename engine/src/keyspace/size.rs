//! What the allocator really takes for a block, and fetching memory ahead.

/// The size class of jemalloc with an 8-byte quantum that a block of `size` bytes falls into: multiples of 8 up to 64, then four
/// classes to each doubling. Blobs are allocated at exactly these sizes, so that counting needs no question to the allocator.
#[inline]
pub const fn size_class(size: usize) -> usize {
    let step = if size <= 64 { 8 } else { 1 << ((size - 1).ilog2() - 2) };
    size.next_multiple_of(step)
}

/// Asks the processor to have the cache line at `address` ready soon. Any address will do: nothing is read in the program's sense.
#[inline(always)]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch never faults and changes nothing that a program can see, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::size_class;

    #[test]
    fn classes_are_those_of_an_8_byte_quantum() {
        for (size, class) in [
            (1, 8),
            (8, 8),
            (36, 40),
            (40, 40),
            (57, 64),
            (64, 64),
            (65, 80),
            (80, 80),
            (81, 96),
            (128, 128),
            (129, 160),
            (2049, 2560),
            (4096, 4096),
            (4097, 5120),
            (16 << 10, 16 << 10),
            ((16 << 10) + 1, 20 << 10),
        ] {
            assert_eq!(size_class(size), class, "{size}");
        }
    }
}

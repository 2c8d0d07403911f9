//! Ranges of indexes as LRANGE, LTRIM and ZRANGE take them: both ends included, negative ones counted from the end.

use std::ops::Range;

/// The indexes `start..=stop` of `len` elements; what lies outside is cut off.
#[inline]
pub(super) fn index_range(start: i64, stop: i64, len: usize) -> Range<usize> {
    let len = len as i64;
    let from_end = |index: i64| if index < 0 { index.saturating_add(len) } else { index };
    let (start, stop) = (from_end(start).max(0), from_end(stop).min(len - 1));
    if start > stop { 0..0 } else { start as usize..stop as usize + 1 }
}

/// One index of `len` elements, if it is inside.
#[inline]
pub(super) fn index_in(index: i64, len: usize) -> Option<usize> {
    let index = if index < 0 { index.checked_add(len as i64)? } else { index };
    usize::try_from(index).ok().filter(|index| *index < len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_what_is_there() {
        for (start, stop, range) in [
            (0, -1, 0..5),
            (1, 2, 1..3),
            (-2, -1, 3..5),
            (-100, 0, 0..1),
            (3, 100, 3..5),
            (5, 9, 0..0),
            (2, 1, 0..0),
            (-9, -7, 0..0),
            (-9, -6, 0..0),
            (-9, -5, 0..1),
            (i64::MIN, i64::MAX, 0..5),
            (i64::MAX, i64::MIN, 0..0),
        ] {
            assert_eq!(index_range(start, stop, 5), range, "{start} {stop}");
            assert_eq!(index_range(start, stop, 0), 0..0);
        }
        for (index, inside) in [(0, Some(0)), (4, Some(4)), (5, None), (-1, Some(4)), (-5, Some(0)), (-6, None)] {
            assert_eq!(index_in(index, 5), inside);
        }
        assert_eq!((index_in(i64::MIN, 5), index_in(i64::MAX, 5), index_in(0, 0)), (None, None, None));
    }
}

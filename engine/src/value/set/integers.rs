//! A sorted array of integers, all of the width that the widest needs: what a small set of integers is.
//!
//! The first byte is the width in bytes (2, 4 or 8), then come the integers, little-endian, ascending. An empty array is no bytes at all.

/// A width holds these.
fn width_of(value: i64) -> usize {
    if i16::try_from(value).is_ok() {
        2
    } else if i32::try_from(value).is_ok() {
        4
    } else {
        8
    }
}

/// Appends the low bytes of an integer.
fn put(out: &mut Vec<u8>, value: i64, width: usize) {
    out.extend_from_slice(&value.to_le_bytes()[..width]);
}

/// An array to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Integers<'a> {
    width: usize,
    body: &'a [u8],
}

impl<'a> Integers<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        match bytes {
            [width, body @ ..] => Integers { width: usize::from(*width), body },
            [] => Integers { width: 2, body: &[] },
        }
    }

    #[inline]
    pub(super) fn len(self) -> usize {
        self.body.len() / self.width
    }

    /// The integer at a place below [`Integers::len`].
    #[inline]
    pub(super) fn get(self, place: usize) -> i64 {
        let bytes = &self.body[place * self.width..][..self.width];
        match *bytes {
            [a, b] => i64::from(i16::from_le_bytes([a, b])),
            [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
            _ => bytes.first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes)),
        }
    }

    /// The place of an integer, or where it would be.
    #[inline]
    pub(super) fn find(self, value: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.get(middle).cmp(&value) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    pub(super) fn iter(self) -> impl Iterator<Item = i64> + 'a {
        (0..self.len()).map(move |place| self.get(place))
    }
}

/// Adds an integer. Says whether it is new.
pub(super) fn insert(bytes: &mut Vec<u8>, value: i64) -> bool {
    let old = Integers::new(bytes);
    let Err(place) = old.find(value) else { return false };
    let needed = width_of(value);
    if bytes.is_empty() {
        bytes.push(needed as u8);
        put(bytes, value, needed);
    } else if needed <= old.width {
        let (width, at) = (old.width, 1 + place * old.width);
        bytes.splice(at..at, value.to_le_bytes()[..width].iter().copied());
    } else {
        // Below or above all of them: none fits into this width.
        let mut wide = Vec::with_capacity(1 + (old.len() + 1) * needed);
        wide.push(needed as u8);
        (0..place).for_each(|place| put(&mut wide, old.get(place), needed));
        put(&mut wide, value, needed);
        (place..old.len()).for_each(|place| put(&mut wide, old.get(place), needed));
        *bytes = wide;
    }
    true
}

/// Removes the integer at a place below [`Integers::len`].
pub(super) fn remove(bytes: &mut Vec<u8>, place: usize) {
    let width = Integers::new(bytes).width;
    bytes.drain(1 + place * width..1 + (place + 1) * width);
    if bytes.len() == 1 {
        bytes.clear();
    }
}

//! Words of a command, copied: what a script that may be suspended works with.

use std::ops::Range;

/// Words in one block.
#[derive(Clone, Debug, Default)]
pub(crate) struct Words {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Words {
    /// Copies `words`.
    pub(crate) fn new(words: &[&[u8]]) -> Words {
        let mut copy = Words {
            bytes: Vec::with_capacity(words.iter().map(|word| word.len()).sum()),
            ends: Vec::with_capacity(words.len()),
        };
        for word in words {
            copy.bytes.extend_from_slice(word);
            copy.ends.push(copy.bytes.len());
        }
        copy
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Those in `range`.
    pub(crate) fn iter(&self, range: Range<usize>) -> impl ExactSizeIterator<Item = &[u8]> {
        range.map(|at| &self.bytes[if at == 0 { 0 } else { self.ends[at - 1] }..self.ends[at]])
    }
}

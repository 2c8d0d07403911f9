//! A command's words as they arrived, and the strict parsers for them.

use super::CommandError;
use crate::key::{HashSeed, Key};
use crate::number::parse_integer;

/// The words of one command, the name first. Slices of the connection's buffer, or of a record.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    words: &'a [&'a [u8]],
    /// Index of the word whose position is known, and the position; index 0 means none.
    hashed: (usize, u64),
}

impl<'a> Args<'a> {
    /// Words without a position computed ahead.
    pub fn new(words: &'a [&'a [u8]]) -> Self {
        Args { words, hashed: (0, 0) }
    }

    /// Words whose key at `index` already has its position (a batch hashes all first keys before the first lookup).
    pub fn with_position(words: &'a [&'a [u8]], index: usize, position: u64) -> Self {
        Args { words, hashed: (index, position) }
    }

    /// How many words, the name included.
    #[inline]
    #[allow(clippy::len_without_is_empty)] // There is always a name.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Bytes of all words.
    pub fn bytes_len(&self) -> usize {
        self.words.iter().map(|word| word.len()).sum()
    }

    /// The most bytes that these words can become in a record: as the effect's own words, and once more as names of dead keys that
    /// are deleted first. Effects that hold more than that (members that the command itself found) are the command's own matter:
    /// it asks [`crate::engine::Engine::admits`] for them, before its first change.
    #[inline]
    pub fn record_len_max(&self) -> usize {
        // What a command makes itself: digits, options, a long double of INCRBYFLOAT (5 KB).
        self.record_len_beside(8 * 1024)
    }

    /// The same, more closely, for one of many commands that go into one record: `name` is the command's own, whatever the client called
    /// it.
    pub fn record_len_in_transaction(&self, name: &str) -> usize {
        if name.ends_with("INCRBYFLOAT") { self.record_len_max() } else { self.record_len_beside(512) }
    }

    fn record_len_beside(&self, around_all: usize) -> usize {
        // For each word and each of the two effects: its length as a varint, and what stands around it (database, count, name).
        const AROUND_WORD: usize = 16;
        let words = self.words.iter().fold(0usize, |sum, word| sum.saturating_add(word.len() + AROUND_WORD));
        words.saturating_mul(2).saturating_add(around_all)
    }

    /// Word `index`; the arity check has made sure of it, or the command has looked at [`Args::len`].
    #[inline]
    pub fn get(&self, index: usize) -> &'a [u8] {
        self.words[index]
    }

    /// All words.
    #[inline]
    pub fn words(&self) -> &'a [&'a [u8]] {
        self.words
    }

    /// Word `index` as a key.
    #[inline]
    pub fn key(&self, index: usize, seed: &HashSeed) -> Key<'a> {
        let bytes = self.words[index];
        let position = if self.hashed.0 == index && index != 0 { self.hashed.1 } else { seed.position(bytes) };
        Key { bytes, position }
    }

    /// Whether word `index` is `option`, in any case of letters.
    #[inline]
    pub fn is(&self, index: usize, option: &str) -> bool {
        self.words[index].eq_ignore_ascii_case(option.as_bytes())
    }

    /// Word `index` as Redis' strict signed 64-bit integer.
    ///
    /// # Errors
    /// `value is not an integer or out of range`.
    pub fn integer(&self, index: usize) -> Result<i64, CommandError> {
        parse_integer(self.words[index]).ok_or(CommandError::NotInteger)
    }
}

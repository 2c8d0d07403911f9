//! A key and its position: the 64-bit keyed hash by which everything is ordered (index, SCAN, snapshots).

use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// The 128-bit SipHash key of a store: drawn once, kept in every file's header, so that nobody outside can choose
/// collisions and all files of one store agree about order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HashSeed(pub [u8; 16]);

impl HashSeed {
    /// Tests only: a key's first eight bytes are its position, so that a test can make any collision.
    #[cfg(test)]
    pub(crate) const FORCED: HashSeed = HashSeed(*b"forced positions");

    /// The position of `key`: SipHash-1-3 with this seed, never 0 (0 is SCAN's "start" and "end").
    #[inline]
    pub fn position(&self, key: &[u8]) -> u64 {
        #[cfg(test)]
        if *self == HashSeed::FORCED {
            let start = key.first_chunk().copied().unwrap_or_default();
            return u64::from_be_bytes(start).max(1);
        }
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write(key);
        hasher.finish().max(1)
    }

    /// The key with its position.
    #[inline]
    pub fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        Key { bytes, position: self.position(bytes) }
    }
}

/// A key's bytes and their position under the store's seed. Made once per command, never hashed again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key<'a> {
    /// The key itself: any bytes, the empty key included.
    pub bytes: &'a [u8],
    /// [`HashSeed::position`] of `bytes`.
    pub position: u64,
}

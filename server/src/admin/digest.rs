//! DEBUG DIGEST: one number for all data, the same as Redis computes for the same data.
//!
//! Entries are mixed one by one and XORed together, so that their order does not matter; a database adds its number, a deadline adds
//! that there is one, not when it is. All in SHA-1, 20 bytes.

use firn_engine::keyspace::{Db, Entry, Keyspace, Value};
use sha1::{Digest as _, Sha1};

/// 20 bytes; all zero for no data.
pub(super) type Digest = [u8; 20];

fn xor(digest: &mut Digest, bytes: &[u8]) {
    let hash = Sha1::digest(bytes);
    digest.iter_mut().zip(hash).for_each(|(byte, other)| *byte ^= other);
}

fn mix(digest: &mut Digest, bytes: &[u8]) {
    xor(digest, bytes);
    *digest = Sha1::digest(*digest).into();
}

/// Adds a value: its type, what it holds, and whether it has a deadline.
fn mix_value(digest: &mut Digest, entry: &Entry<'_>) {
    // Redis' number of the type.
    match entry.value {
        Value::String(value) => {
            mix(digest, &0u32.to_be_bytes());
            mix(digest, value);
        }
    }
    if entry.deadline.is_some() {
        xor(digest, b"!!expire!!");
    }
}

/// DEBUG DIGEST-VALUE of one key.
pub(super) fn value(entry: &Entry<'_>) -> Digest {
    let mut digest = Digest::default();
    mix_value(&mut digest, entry);
    digest
}

/// DEBUG DIGEST: keys that are dead but not yet reclaimed count, as they do in Redis.
pub(super) fn keyspace(keyspace: &Keyspace) -> Digest {
    let mut digest = Digest::default();
    for number in 0..keyspace.databases() {
        let db = keyspace.db(number);
        if !db.is_empty() {
            mix(&mut digest, &(number as u32).to_be_bytes());
            add_entries(&mut digest, db);
        }
    }
    digest
}

fn add_entries(digest: &mut Digest, db: &Db) {
    let mut cursor = 0;
    loop {
        cursor = db.scan(cursor, 1024, &mut |entry: Entry<'_>| {
            let mut one = Digest::default();
            mix(&mut one, entry.key);
            mix_value(&mut one, &entry);
            xor(digest, &one);
        });
        if cursor == 0 {
            return;
        }
    }
}

/// As 40 hexadecimal digits.
pub(super) fn text(digest: &Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_engine::key::HashSeed;
    use firn_engine::keyspace::Deadline;

    fn filled(seed: u8, keys: &[(&str, &str, bool)]) -> Keyspace {
        let seed = HashSeed([seed; 16]);
        let mut keyspace = Keyspace::new(seed, 16);
        for (key, value, expires) in keys {
            let deadline = if *expires { Deadline::At(u64::MAX) } else { Deadline::Clear };
            keyspace.db_mut(0).set_string(seed.key(key.as_bytes()), value.as_bytes(), deadline);
        }
        keyspace
    }

    #[test]
    fn digests_are_those_of_redis() {
        // Answers of redis-server 7.0.15 to DEBUG DIGEST after these SETs, and to DEBUG DIGEST-VALUE.
        assert_eq!(text(&keyspace(&filled(1, &[]))), "0".repeat(40));
        assert_eq!(text(&keyspace(&filled(1, &[("a", "1", false)]))), "943d800368fb9c0e951138f1bc0e313ac769d91f");
        assert_eq!(
            text(&keyspace(&filled(1, &[("a", "1", false), ("b", "two", true)]))),
            "d2e6f71e0ce78b96aaa6b50420248297b4cb2136"
        );
    }

    #[test]
    fn neither_order_nor_seed_matters() {
        let one = filled(1, &[("a", "1", false), ("b", "2", false)]);
        let other = filled(2, &[("b", "2", false), ("a", "1", false)]);
        assert_eq!(keyspace(&one), keyspace(&other));
        assert_ne!(keyspace(&one), keyspace(&filled(1, &[("a", "1", false), ("b", "3", false)])));
    }
}

//! Dead fields are reclaimed by themselves, as dead keys are: the engine's expiry finds the key, this takes the fields.

use crate::engine::{Engine, EventClass};
use crate::key::Key;
use crate::keyspace::Usage;
use crate::value::{Collection, Kind};

/// Removes about `limit` dead fields of a hash whose own deadline has not passed, and the hash if nothing is left: `HDEL` goes to the log,
/// so that a replay needs no clock. Says how many there were, and whether there may be more.
pub(crate) fn reclaim_fields(engine: &mut Engine, db: usize, key: Key<'_>, limit: usize) -> (usize, bool) {
    let now_ms = engine.now_ms;
    let mut names: Vec<Vec<u8>> = Vec::new();
    let edited = engine.keyspace.db_mut(db).at(Usage::NOTHING).edit_collection(key, Kind::Hash, |collection| {
        let Collection::Hash(hash) = collection else { return false };
        hash.take_dead(now_ms, limit, &mut |name| names.push(name.to_vec()))
    });
    if names.is_empty() {
        return (0, edited.result);
    }
    engine.changed(db, key);
    let words: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    engine.effect_parts(db, &[b"HDEL", key.bytes], &words);
    engine.stats.expired_fields += names.len() as u64;
    engine.event(EventClass::Hash, "hexpired", db, key.bytes);
    if edited.removed {
        engine.event(EventClass::Generic, "del", db, key.bytes);
    }
    (names.len(), edited.result)
}

//! Some keys through time: the base's entries of these keys, then change by change, without the rest of the data.
//!
//! What happens to a key may depend on others (RENAME, ZUNIONSTORE): these are found first, by passes over the changes until no more come, and
//! replayed with it.

use super::change::{Change, Touches, touched};
use super::firn::snapshot_error;
use super::state::Small;
use super::{Base, Damages, Tail};
use crate::ToolError;
use firn_engine::keyspace::Entry;
use firn_engine::snapshot::reader::BlockBuffer;
use std::collections::HashSet;

/// Passes over the changes at most while other keys are looked for: chains of RENAMEs are rarely longer.
const PASSES_MAX: u32 = 16;

/// Which keys are asked for.
pub(crate) enum Wanted<'a> {
    /// These.
    Names(&'a [Vec<u8>]),
    /// All that this lets through, by name.
    Matching(&'a dyn Fn(&[u8]) -> bool),
}

impl Wanted<'_> {
    /// Whether a key of this name is asked for.
    pub(crate) fn has(&self, key: &[u8]) -> bool {
        match self {
            Wanted::Names(names) => names.iter().any(|name| name == key),
            Wanted::Matching(matches) => matches(key),
        }
    }
}

/// Told of a change before and after it is applied: whether it has been, the change, the engine with the keys.
pub(crate) type Watch<'w> = dyn FnMut(bool, &Change<'_>, &Small) -> Result<(), ToolError> + 'w;

/// Loads the wanted keys, replays their changes, and gives the engine that holds them in the end. `watch` is told of every change that may
/// concern one of them.
pub(crate) fn replay(
    base: &dyn Base,
    tail: &dyn Tail,
    wanted: &Wanted<'_>,
    damages: &Damages,
    watch: &mut Watch<'_>,
) -> Result<Small, ToolError> {
    let mut sources: HashSet<Vec<u8>> = HashSet::new();
    let mut databases = base.databases().last().map_or(0, |last| last + 1);
    let mut keys = Vec::new();
    for _ in 0..PASSES_MAX {
        let before = sources.len();
        let mut anything = false;
        tail.visit(&mut |change| {
            databases = databases.max(change.db + 1).max(super::state::named(change) + 1);
            let Some((_, touches)) = touched(change.words, &mut keys) else { return Ok(()) };
            let concerns = keys.iter().any(|at| wanted.has(change.words[*at]) || sources.contains(change.words[*at]));
            anything |= touches == Touches::Anything && concerns;
            if touches == Touches::Together && concerns {
                for &at in &keys {
                    if !wanted.has(change.words[at]) && !sources.contains(change.words[at]) {
                        sources.insert(change.words[at].to_vec());
                    }
                }
            }
            Ok(())
        })?;
        if anything {
            return Err(ToolError::Usage(
                "a SORT with patterns, which may have read any key, has written one of these keys: restore the store as of the moment \
                 instead (firn restore)"
                    .to_owned(),
            ));
        }
        if sources.len() == before {
            break;
        }
    }
    let databases = databases.clamp(1, firn_engine::limits::DATABASES_MAX);
    let mut small = Small::new(base.seed(), databases);
    load(base, wanted, &sources, &mut small)?;
    let concerns = |key: &[u8]| wanted.has(key) || sources.contains(key);
    tail.visit(&mut |change| {
        let Some((_, touches)) = touched(change.words, &mut keys) else { return Ok(()) };
        let words = match touches {
            Touches::Nothing => return Ok(()),
            Touches::Databases => Some(change.words.to_vec()),
            Touches::Keys if keys.len() > 1 => super::change::only(change.words, &keys, &mut |key| concerns(key)),
            _ if keys.iter().any(|at| concerns(change.words[*at])) => Some(change.words.to_vec()),
            _ => None,
        };
        let Some(words) = words else { return Ok(()) };
        let change = Change { words: &words, ..*change };
        watch(false, &change, &small)?;
        small.run(&change, &words, damages)?;
        watch(true, &change, &small)
    })?;
    Ok(small)
}

fn load(base: &dyn Base, wanted: &Wanted<'_>, sources: &HashSet<Vec<u8>>, small: &mut Small) -> Result<(), ToolError> {
    match (wanted, base.snapshot()) {
        (Wanted::Names(names), Some(reader)) => {
            let mut buffer = BlockBuffer::default();
            for db in reader.databases() {
                for key in names.iter().chain(sources) {
                    let found = reader.find(db, key, &mut buffer, |entry| small.load(db as usize, &entry));
                    found.map_err(|error| snapshot_error(&error))?;
                }
            }
            Ok(())
        }
        _ => base.visit(None, 1..=u64::MAX, &mut |db, _, entry: &Entry<'_>| {
            if wanted.has(entry.key) || sources.contains(entry.key) {
                small.load(db, entry);
            }
            Ok(())
        }),
    }
}

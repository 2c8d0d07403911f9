//! Secrets out of data that is handed on: values of keys, and of fields in hashes and streams, whose names match a glob.

use crate::filter::matches;
use firn_engine::key::HashSeed;
use firn_engine::keyspace::{Entry, Value};
use firn_engine::value::hash::Lifetime;
use firn_engine::value::listpack::IntegerText;
use firn_engine::value::stream::Id;
use firn_engine::value::{Collection, CollectionView, Hash, List, Set, Shaping, SortedSet, Stream};

/// What stands where something was redacted.
const REDACTED: &[u8] = b"[redacted]";

/// Which values are replaced.
pub(crate) struct Redaction {
    /// Globs that names of keys or fields match.
    pub(crate) patterns: Vec<Vec<u8>>,
}

/// A value in which something was replaced.
pub(crate) enum Redacted {
    String,
    Collection(Collection),
}

impl Redacted {
    /// The entry with this value.
    pub(crate) fn entry<'e>(&'e self, of: &Entry<'e>) -> Entry<'e> {
        let value = match self {
            Redacted::String => Value::String(REDACTED),
            Redacted::Collection(collection) => Value::Collection(collection.view()),
        };
        Entry { value, ..*of }
    }
}

impl Redaction {
    fn hides(&self, name: &[u8]) -> bool {
        self.patterns.iter().any(|pattern| matches(pattern, name))
    }

    /// The value with what is to be hidden replaced; `None` if nothing is.
    pub(crate) fn apply(&self, entry: &Entry<'_>) -> Option<Redacted> {
        if self.patterns.is_empty() {
            return None;
        }
        let shaping = Shaping::new(HashSeed([0; 16]));
        let whole = self.hides(entry.key);
        // Members of sets differ, so what stands for them is numbered.
        let numbered = |number: usize| [REDACTED, b" ", number.to_string().as_bytes()].concat();
        let collection = match entry.value {
            Value::String(_) => return whole.then_some(Redacted::String),
            Value::Collection(CollectionView::Hash(hash)) => {
                let (mut redacted, mut changed) = (Hash::default(), false);
                for field in hash.fields() {
                    let (mut name, mut value) = (IntegerText::new(), IntegerText::new());
                    let (name, mut value) = (field.name.as_bytes(&mut name), field.value.as_bytes(&mut value));
                    if whole || self.hides(name) {
                        (value, changed) = (REDACTED, true);
                    }
                    redacted.set(name, value, field.deadline.map_or(Lifetime::Unlimited, Lifetime::Until), 0, &shaping);
                }
                return changed.then_some(Redacted::Collection(Collection::Hash(redacted)));
            }
            Value::Collection(CollectionView::Stream(stream)) => {
                return self.stream(stream, whole, &shaping);
            }
            _ if !whole => return None,
            Value::Collection(CollectionView::List(list)) => {
                let mut redacted = List::default();
                (0..list.len()).for_each(|_| redacted.push(false, std::iter::once(REDACTED), &shaping));
                Collection::List(redacted)
            }
            Value::Collection(CollectionView::Set(set)) => {
                let mut redacted = Set::default();
                for number in 0..set.len() {
                    redacted.add(&numbered(number), &shaping);
                }
                Collection::Set(redacted)
            }
            Value::Collection(CollectionView::SortedSet(set)) => {
                let (mut redacted, mut number) = (SortedSet::default(), 0);
                set.each(0, usize::MAX, false, |_, score| {
                    redacted.set(&numbered(number), score, &shaping);
                    number += 1;
                });
                Collection::SortedSet(redacted)
            }
        };
        Some(Redacted::Collection(collection))
    }

    fn stream(&self, stream: &Stream, whole: bool, shaping: &Shaping) -> Option<Redacted> {
        let mut redacted = Stream::default();
        let mut changed = false;
        for entry in stream.range(Id::MIN, Id::MAX) {
            let mut words: Vec<Vec<u8>> = Vec::new();
            for (field, value) in entry.pairs() {
                let (mut name, mut text) = (IntegerText::new(), IntegerText::new());
                let (name, mut value) = (field.as_bytes(&mut name), value.as_bytes(&mut text));
                if whole || self.hides(name) {
                    (value, changed) = (REDACTED, true);
                }
                words.extend([name.to_vec(), value.to_vec()]);
            }
            redacted.add(entry.id, &words.iter().map(Vec::as_slice).collect::<Vec<_>>(), shaping);
        }
        if !changed {
            return None;
        }
        redacted.set_ids(stream.last_id(), Some(stream.entries_added()), Some(stream.max_deleted_id()));
        for group in stream.groups() {
            redacted.add_group(group.name(), group.last_id(), group.entries_read());
            // Names of consumers and what is pending are as they were.
            redacted.edit_group(group.name(), |copy| *copy = group.clone());
        }
        Some(Redacted::Collection(Collection::Stream(Box::new(redacted))))
    }
}

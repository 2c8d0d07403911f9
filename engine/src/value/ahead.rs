//! Fetching ahead what the commands of a batch will touch within a large collection, so that their cache misses overlap.
//!
//! 1. Nothing is changed, counted or copied; a wrong guess costs some nanoseconds and nothing else.
//! 2. A member is walked to its chunk, the chunk's own struct is asked for, and that is all: what lies behind the struct is
//!    asked for in two further steps, when it has arrived. A packed collection came with its key, and is left alone.

use super::CollectionView;
use super::sorted_set::ScoreAhead;
use super::table::ChunkAhead;

/// What a command will look up.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// A member or field.
    pub member: &'a [u8],
    /// The score that it is to get, as the client wrote it.
    pub score: Option<&'a [u8]>,
}

/// Memory on its way.
#[derive(Debug)]
pub struct Ahead<'a> {
    chunk: ChunkAhead<'a>,
    score: Option<ScoreAhead<'a>>,
}

impl<'a> Ahead<'a> {
    pub(super) fn new(chunk: ChunkAhead<'a>, score: Option<ScoreAhead<'a>>) -> Self {
        Ahead { chunk, score }
    }

    /// The second step: where the chunk keeps its elements.
    #[inline]
    pub fn directory(&self) {
        self.chunk.directory();
        if let Some(score) = &self.score {
            score.elements();
        }
    }

    /// The third: the element.
    #[inline]
    pub fn record(&self) {
        self.chunk.record();
    }
}

impl<'a> CollectionView<'a> {
    /// The first step. `None` for a collection of which nothing can be fetched ahead.
    #[inline]
    pub fn ahead(self, wanted: Wanted<'_>) -> Option<Ahead<'a>> {
        match self {
            CollectionView::Set(view) => view.ahead(wanted.member),
            CollectionView::Hash(view) => view.ahead(wanted.member),
            CollectionView::SortedSet(view) => view.ahead(wanted),
            CollectionView::List(_) | CollectionView::Stream(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::HashSeed;
    use crate::value::hash::Lifetime;
    use crate::value::{Collection, Kind, Shaping};

    /// Fetching has no effect that a test could see but this: it ends, whatever is there or not, and changes nothing.
    #[test]
    fn members_are_fetched_ahead_of_large_collections_only() {
        let shaping = Shaping::new(HashSeed([7; 16]));
        for kind in [Kind::Set, Kind::Hash, Kind::SortedSet, Kind::List, Kind::Stream] {
            for count in [3, 2000] {
                let mut collection = Collection::new(kind);
                for number in 0..count {
                    let member = format!("member:{number}");
                    match &mut collection {
                        Collection::Set(set) => _ = set.add(member.as_bytes(), &shaping),
                        Collection::Hash(hash) => {
                            _ = hash.set(member.as_bytes(), b"value", Lifetime::Kept, 0, &shaping);
                        }
                        Collection::SortedSet(set) => _ = set.set(member.as_bytes(), f64::from(number), &shaping),
                        Collection::List(_) | Collection::Stream(_) => {}
                    }
                }
                let before = collection.view().digest();
                let large = count > 1000 && !matches!(kind, Kind::List | Kind::Stream);
                for member in [&b"member:1"[..], b"member:1999", b"nobody", b"", &[b'x'; 5000]] {
                    for score in [None, Some(&b"17"[..]), Some(b"no number"), Some(b"inf")] {
                        let ahead = collection.view().ahead(Wanted { member, score });
                        assert_eq!(ahead.is_some(), large, "{kind:?} of {count}");
                        if let Some(ahead) = ahead {
                            ahead.directory();
                            ahead.record();
                        }
                    }
                }
                assert_eq!(collection.view().digest(), before);
            }
        }
    }
}

//! Elements in order of their keys, in chunks that clones share.

use crate::keyspace::size_class;
use std::sync::Arc;

/// Elements of a chunk at most.
const CHUNK_MAX: usize = if cfg!(test) { 8 } else { 128 };

/// Something with a key inside it.
pub(super) trait Keyed: Clone {
    /// What it is sorted by.
    type Key: Ord + ?Sized;
    /// Its key.
    fn key(&self) -> &Self::Key;
}

#[derive(Debug)]
pub(super) struct Sorted<T> {
    chunks: Arc<Vec<Arc<Vec<T>>>>,
    len: usize,
    chunk_bytes: usize,
}

impl<T> Clone for Sorted<T> {
    fn clone(&self) -> Self {
        Sorted { chunks: Arc::clone(&self.chunks), len: self.len, chunk_bytes: self.chunk_bytes }
    }
}

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Sorted { chunks: Arc::default(), len: 0, chunk_bytes: 0 }
    }
}

fn bytes<T>(chunk: &Vec<T>) -> usize {
    40 + if chunk.capacity() == 0 { 0 } else { size_class(chunk.capacity() * size_of::<T>()) }
}

impl<T: Keyed> Sorted<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.chunk_bytes
    }

    /// Chunk that has `key` or would get it.
    fn chunk_of(&self, key: &T::Key) -> usize {
        self.chunks.partition_point(|chunk| chunk.first().is_some_and(|first| first.key() <= key)).saturating_sub(1)
    }

    pub(super) fn get(&self, key: &T::Key) -> Option<&T> {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        chunk.binary_search_by(|item| item.key().cmp(key)).ok().map(|at| &chunk[at])
    }

    pub(super) fn edit<R>(&mut self, key: &T::Key, edit: impl FnOnce(&mut T) -> R) -> Option<R> {
        let at = self.chunk_of(key);
        let place = self.chunks.get(at)?.binary_search_by(|item| item.key().cmp(key)).ok()?;
        self.chunk_mut(at).map(|chunk| edit(&mut chunk[place]))
    }

    pub(super) fn edit_last<R>(&mut self, edit: impl FnOnce(&mut T) -> R) -> Option<R> {
        Some(edit(self.chunk_mut(self.chunks.len().checked_sub(1)?)?.last_mut()?))
    }

    fn chunk_mut(&mut self, at: usize) -> Option<&mut Vec<T>> {
        let chunk = Arc::make_mut(&mut self.chunks).get_mut(at)?;
        self.chunk_bytes -= bytes(chunk);
        let chunk = Arc::make_mut(chunk);
        self.chunk_bytes += bytes(chunk);
        Some(chunk)
    }

    pub(super) fn first(&self) -> Option<&T> {
        self.chunks.first()?.first()
    }

    pub(super) fn last(&self) -> Option<&T> {
        self.chunks.last()?.last()
    }

    pub(super) fn insert(&mut self, item: T) -> Option<T> {
        if self.chunks.is_empty() {
            self.chunks = Arc::new(vec![Arc::new(Vec::new())]);
            self.chunk_bytes = bytes::<T>(&Vec::new());
        }
        let at = self.chunk_of(item.key());
        match self.chunks[at].binary_search_by(|old| old.key().cmp(item.key())) {
            Ok(place) => Some(std::mem::replace(&mut self.chunk_mut(at)?[place], item)),
            Err(place) => {
                self.len += 1;
                let end = at + 1 == self.chunks.len() && place == self.chunks[at].len();
                let chunks = Arc::make_mut(&mut self.chunks);
                let chunk = &mut chunks[at];
                if end && chunk.len() >= CHUNK_MAX {
                    let new = vec![item];
                    self.chunk_bytes += bytes(&new);
                    chunks.push(Arc::new(new));
                    return None;
                }
                self.chunk_bytes -= bytes(chunk);
                let chunk = Arc::make_mut(chunk);
                chunk.insert(place, item);
                let right = (chunk.len() > CHUNK_MAX).then(|| chunk.split_off(CHUNK_MAX / 2));
                self.chunk_bytes += bytes(chunk);
                if let Some(right) = right {
                    self.chunk_bytes += bytes(&right);
                    chunks.insert(at + 1, Arc::new(right));
                }
                None
            }
        }
    }

    pub(super) fn remove(&mut self, key: &T::Key) -> Option<T> {
        let at = self.chunk_of(key);
        let place = self.chunks.get(at)?.binary_search_by(|item| item.key().cmp(key)).ok()?;
        let removed = self.chunk_mut(at)?.remove(place);
        self.len -= 1;
        if self.chunks[at].is_empty() {
            let gone = Arc::make_mut(&mut self.chunks).remove(at);
            self.chunk_bytes -= bytes(&gone);
        }
        Some(removed)
    }

    pub(super) fn pop_last(&mut self) -> Option<T> {
        let at = self.chunks.len().checked_sub(1)?;
        let removed = self.chunk_mut(at)?.pop()?;
        self.len -= 1;
        if self.chunks[at].is_empty() {
            let gone = Arc::make_mut(&mut self.chunks).remove(at);
            self.chunk_bytes -= bytes(&gone);
        }
        Some(removed)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// Elements from the first with a key not below `key` on.
    pub(super) fn from(&self, key: &T::Key) -> impl Iterator<Item = &T> + use<'_, T> {
        let at = self.chunk_of(key);
        let first = self.chunks.get(at).map_or(&[][..], |chunk| &chunk[chunk.partition_point(|item| item.key() < key)..]);
        first.iter().chain(self.chunks.iter().skip(at + 1).flat_map(|chunk| chunk.iter()))
    }

    /// Elements from the last with a key not above `key` down.
    pub(super) fn up_to(&self, key: &T::Key) -> impl Iterator<Item = &T> + use<'_, T> {
        let at = self.chunk_of(key);
        let first = self.chunks.get(at).map_or(&[][..], |chunk| &chunk[..chunk.partition_point(|item| item.key() <= key)]);
        first.iter().rev().chain(self.chunks[..at.min(self.chunks.len())].iter().rev().flat_map(|chunk| chunk.iter().rev()))
    }

    pub(super) fn iter_from_index(&self, index: usize) -> impl Iterator<Item = &T> {
        let mut skip = index;
        let mut at = 0;
        while let Some(chunk) = self.chunks.get(at)
            && chunk.len() <= skip
        {
            skip -= chunk.len();
            at += 1;
        }
        self.chunks[at..].iter().flat_map(|chunk| chunk.iter()).skip(skip)
    }
}

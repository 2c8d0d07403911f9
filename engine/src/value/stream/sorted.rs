//! Elements in order of keys that they have inside them, each key once: a [`Tree`] of plain arrays. Takes nothing while it is empty.

use crate::keyspace::size_class;
use crate::value::Debris;
use crate::value::tree::{Leaf, Tree};
use std::borrow::Borrow;

/// Something with a key inside it.
pub(super) trait Keyed: Clone {
    /// What it is sorted by.
    type Key: Ord + ?Sized;
    /// A key that stands between chunks.
    type Separator: Clone + Borrow<Self::Key>;

    /// Its key.
    fn key(&self) -> &Self::Key;

    /// Its key, to keep.
    fn separator(&self) -> Self::Separator;

    /// Bytes on the heap of a separator.
    fn separator_bytes(separator: &Self::Separator) -> usize {
        let _ = separator;
        0
    }
}

/// Whether what has `key` belongs behind the separator.
#[inline]
fn at_or_below<T: Keyed>(separator: &T::Separator, key: &T::Key) -> bool {
    let separator: &T::Key = separator.borrow();
    separator <= key
}

/// Elements in order of their keys. `clone` takes constant time.
#[derive(Clone, Debug)]
pub(super) struct Sorted<T: Keyed> {
    tree: Option<Tree<Chunk<T>>>,
}

impl<T: Keyed> Default for Sorted<T> {
    fn default() -> Self {
        Sorted { tree: None }
    }
}

#[derive(Clone, Debug)]
struct Chunk<T>(Vec<T>);

impl<T> Chunk<T> {
    /// Elements at most: about two kilobytes of them.
    const LEN_MAX: usize = if cfg!(test) {
        6
    } else if size_of::<T>() >= 32 {
        2048 / size_of::<T>()
    } else {
        128
    };
}

impl<T: Keyed> Chunk<T> {
    #[inline]
    fn place(&self, key: &T::Key) -> Result<usize, usize> {
        self.0.binary_search_by(|item| item.key().cmp(key))
    }

    /// Elements with keys below `key`.
    #[inline]
    fn below(&self, key: &T::Key) -> usize {
        self.0.partition_point(|item| item.key() < key)
    }

    /// Elements with keys not above `key`.
    #[inline]
    fn up_to(&self, key: &T::Key) -> usize {
        self.0.partition_point(|item| item.key() <= key)
    }
}

impl<T: Keyed> Leaf for Chunk<T> {
    type Key = T::Separator;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn used_bytes(&self) -> usize {
        match self.0.capacity() * size_of::<T>() {
            0 => 0,
            bytes => size_class(bytes),
        }
    }

    fn key_bytes(key: &T::Separator) -> usize {
        T::separator_bytes(key)
    }

    fn is_large(&self) -> bool {
        self.0.len() > Self::LEN_MAX
    }

    fn split(&mut self) -> (T::Separator, Self) {
        let right = self.0.split_off(self.0.len() / 2);
        self.0.shrink_to_fit();
        (right[0].separator(), Chunk(right))
    }

    fn is_small(&self) -> bool {
        self.0.len() < Self::LEN_MAX / 3
    }

    fn fits(&self, right: &Self) -> bool {
        self.0.len() + right.0.len() <= Self::LEN_MAX
    }

    fn append(&mut self, right: Self) {
        self.0.extend(right.0);
    }
}

impl<T> Sorted<T>
where
    T: Keyed + Send + Sync + 'static,
    T::Separator: Send + Sync,
{
    /// Takes it apart, to be freed in steps of one chunk with all its elements.
    pub(super) fn into_debris(self, debris: &mut Vec<Box<dyn Debris>>) {
        if let Some(tree) = self.tree {
            debris.push(Box::new(tree.into_remains()));
        }
    }
}

impl<T: Keyed> Sorted<T> {
    /// Elements.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.tree.as_ref().map_or(0, Tree::len)
    }

    /// Bytes on the heap, without what elements have there.
    #[inline]
    pub(super) fn heap_bytes(&self) -> usize {
        self.tree.as_ref().map_or(0, Tree::used_bytes)
    }

    fn chunk(&self, key: &T::Key) -> Option<&Chunk<T>> {
        Some(self.tree.as_ref()?.find(|separator| at_or_below::<T>(separator, key)))
    }

    /// The element with this key.
    #[inline]
    pub(super) fn get(&self, key: &T::Key) -> Option<&T> {
        let chunk = self.chunk(key)?;
        chunk.place(key).ok().map(|place| &chunk.0[place])
    }

    /// The last element with a key not above `key`.
    pub(super) fn floor(&self, key: &T::Key) -> Option<&T> {
        let chunk = self.chunk(key)?;
        match chunk.up_to(key) {
            0 => self.up_to(key).next(),
            n => chunk.0.get(n - 1),
        }
    }

    /// Changes the element with this key, but not its key.
    pub(super) fn edit<R>(&mut self, key: &T::Key, edit: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.get(key)?;
        let tree = self.tree.as_mut()?;
        tree.edit(
            |separator| at_or_below::<T>(separator, key),
            |chunk| chunk.place(key).ok().map(|place| edit(&mut chunk.0[place])),
        )
    }

    /// [`Sorted::edit`] of the last element.
    pub(super) fn edit_last<R>(&mut self, edit: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.tree.as_mut()?.edit_last(|chunk, _| chunk.0.last_mut().map(edit))
    }

    /// The first element.
    #[inline]
    pub(super) fn first(&self) -> Option<&T> {
        self.tree.as_ref()?.find_rank(0).0.0.first()
    }

    /// The last element.
    #[inline]
    pub(super) fn last(&self) -> Option<&T> {
        let tree = self.tree.as_ref()?;
        tree.find_rank(tree.len()).0.0.last()
    }

    /// Adds an element; gives back the one that had its key.
    pub(super) fn insert(&mut self, item: T) -> Option<T> {
        let Some(tree) = &mut self.tree else {
            self.tree = Some(Tree::new(Chunk(vec![item])));
            return None;
        };
        let behind = tree.find_rank(tree.len()).0.0.last().is_none_or(|last| last.key() < item.key());
        if behind {
            // Chunks that grow at the end are filled, not halved.
            tree.edit_last(|chunk, more| {
                if chunk.0.len() < Chunk::<T>::LEN_MAX {
                    chunk.0.push(item);
                } else {
                    more.push((item.separator(), Chunk(vec![item])));
                }
            });
            return None;
        }
        let key = item.separator();
        tree.edit(
            |separator| at_or_below::<T>(separator, key.borrow()),
            |chunk| match chunk.place(item.key()) {
                Ok(place) => Some(std::mem::replace(&mut chunk.0[place], item)),
                Err(place) => {
                    chunk.0.insert(place, item);
                    None
                }
            },
        )
    }

    /// Takes the element with this key away.
    pub(super) fn remove(&mut self, key: &T::Key) -> Option<T> {
        self.get(key)?;
        let tree = self.tree.as_mut()?;
        let removed = tree.edit(
            |separator| at_or_below::<T>(separator, key),
            |chunk| chunk.place(key).ok().map(|place| chunk.0.remove(place)),
        );
        self.tree.take_if(|tree| tree.is_empty());
        removed
    }

    /// Takes the last element away.
    pub(super) fn pop_last(&mut self) -> Option<T> {
        let removed = self.tree.as_mut()?.edit_last(|chunk, _| chunk.0.pop());
        self.tree.take_if(|tree| tree.is_empty());
        removed
    }

    /// All elements.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.tree.iter().flat_map(|tree| tree.leaves()).flat_map(|chunk| chunk.0.iter())
    }

    /// Elements with keys from `key` on.
    pub(super) fn from<'s>(&'s self, key: &T::Key) -> impl Iterator<Item = &'s T> + use<'s, T> {
        let mut leaves = self.tree.as_ref().map(|tree| tree.leaves_from(|separator| at_or_below::<T>(separator, key)));
        let first = leaves.as_mut().and_then(Iterator::next).map_or(&[][..], |chunk| &chunk.0[chunk.below(key)..]);
        first.iter().chain(leaves.into_iter().flatten().flat_map(|chunk| chunk.0.iter()))
    }

    /// Elements with keys up to `key`, backward.
    pub(super) fn up_to<'s>(&'s self, key: &T::Key) -> impl Iterator<Item = &'s T> + use<'s, T> {
        let mut leaves =
            self.tree.as_ref().map(|tree| tree.leaves_back_from(|separator| at_or_below::<T>(separator, key)));
        let first = leaves.as_mut().and_then(Iterator::next).map_or(&[][..], |chunk| &chunk.0[..chunk.up_to(key)]);
        first.iter().rev().chain(leaves.into_iter().flatten().flat_map(|chunk| chunk.0.iter().rev()))
    }

    /// Elements from number `index` on.
    pub(super) fn iter_from_index(&self, index: usize) -> impl Iterator<Item = &T> {
        let found = self.tree.as_ref().map(|tree| tree.leaves_from_rank(index));
        let (mut leaves, place) = found.map_or((None, 0), |(leaves, place)| (Some(leaves), place));
        let first = leaves.as_mut().and_then(Iterator::next).map_or(&[][..], |chunk| &chunk.0[place..]);
        first.iter().chain(leaves.into_iter().flatten().flat_map(|chunk| chunk.0.iter()))
    }
}

//! Values that are collections: lists, sets, sorted sets, hashes, streams.
//!
//! From the bottom up: `listpack` (the one codec for packed runs of elements), `tree` (an order-statistic tree of chunks that are shared
//! until someone changes them), `table` (elements in order of their hash, on a tree), and one file or folder for each type.
//!
//! 1. A small collection is one packed run of bytes, which the keyspace keeps in one allocation with its key. A large one is
//!    made of chunks of some kilobytes. There is no allocation for an element alone.
//! 2. `clone` of a large collection takes constant time: chunks are shared, and whoever changes one then copies that chunk. A snapshot takes
//!    such a clone under the engine's lock and serializes it outside; so no collection, however large, makes a pause.
//! 3. What a collection takes is counted exactly and always known ([`Collection::used_bytes`] does not walk).
//! 4. Nothing here knows of commands, keys, deadlines of keys, the log or the disk.

pub mod ahead;
mod debris;
pub mod hash;
pub mod list;
pub mod listpack;
pub mod part;
pub mod set;
pub mod sorted_set;
pub mod stream;
pub mod table;
pub mod tree;

pub use debris::Debris;
pub use hash::{Hash, HashView};
pub use list::{List, ListView};
pub use set::{Set, SetView};
pub use sorted_set::{SortedSet, SortedSetView};
pub use stream::Stream;

use crate::key::HashSeed;
use crate::keyspace::size_class;

/// Types of values. The numbers are those of snapshots (`FORMAT.md`, "Entry").
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Kind {
    String = 0,
    List = 1,
    Set = 2,
    SortedSet = 3,
    Hash = 4,
    Stream = 5,
}

impl Kind {
    /// The kind with this number.
    pub fn from_number(number: u8) -> Option<Kind> {
        use Kind::{Hash, List, Set, SortedSet, Stream, String};
        [String, List, Set, SortedSet, Hash, Stream].into_iter().find(|kind| *kind as u8 == number)
    }

    /// The name that TYPE answers and SCAN's TYPE takes.
    pub fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::List => "list",
            Kind::Set => "set",
            Kind::SortedSet => "zset",
            Kind::Hash => "hash",
            Kind::Stream => "stream",
        }
    }
}

/// How the bytes of a small collection are to be read. The numbers are those of blobs in memory, never of files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Packing {
    /// A listpack of elements.
    List = 1,
    /// A listpack of members.
    Set = 2,
    /// A listpack of member, score, member, score, ... in order of score, then member.
    SortedSet = 3,
    /// A listpack of field, value, field, value, ...
    Hash = 4,
    /// A sorted array of integers of one width.
    Integers = 5,
}

/// When collections change their form, and the hash seed of the store: settings, the same for all.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // `redis.conf`'s names and meanings.
pub struct Shaping {
    /// Positions in tables.
    pub seed: HashSeed,
    pub hash_max_listpack_entries: usize,
    pub hash_max_listpack_value: usize,
    /// Positive: elements of a packed run; -1 to -5: 4, 8, 16, 32, 64 KiB.
    pub list_max_listpack_size: i32,
    /// Nodes at each end of a list that are never compressed; 0: none is compressed.
    pub list_compress_depth: usize,
    /// Elements of large lists from this length on are kept alone (DEBUG QUICKLIST-PACKED-THRESHOLD; not in `redis.conf`).
    pub list_alone_len_min: usize,
    pub set_max_intset_entries: usize,
    pub set_max_listpack_entries: usize,
    pub set_max_listpack_value: usize,
    pub zset_max_listpack_entries: usize,
    pub zset_max_listpack_value: usize,
    pub stream_node_max_bytes: usize,
    pub stream_node_max_entries: usize,
    pub hll_sparse_max_bytes: usize,
}

impl Shaping {
    /// The defaults of `redis.conf`, for a store with this seed.
    pub fn new(seed: HashSeed) -> Shaping {
        Shaping {
            seed,
            hash_max_listpack_entries: 512,
            hash_max_listpack_value: 64,
            list_max_listpack_size: -2,
            list_compress_depth: 0,
            list_alone_len_min: usize::MAX,
            set_max_intset_entries: 512,
            set_max_listpack_entries: 128,
            set_max_listpack_value: 64,
            zset_max_listpack_entries: 128,
            zset_max_listpack_value: 64,
            stream_node_max_bytes: 4096,
            stream_node_max_entries: 100,
            hll_sparse_max_bytes: 3000,
        }
    }
}

/// Why bytes of a snapshot are not a collection. The checksums around them were right: a defect of the writer, or a newer format.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs)] // The texts say it.
pub enum BadValue {
    #[error("the bytes end inside an element")]
    Short,
    #[error("an element has a length that does not decode or is above the limit")]
    Length,
    #[error("the same member or field occurs twice")]
    Twice,
    #[error("a score is not a number")]
    Score,
    #[error("stream entries are out of order, or a part of a stream is of no known kind")]
    Stream,
    #[error("a collection without elements")]
    Empty,
}

/// A collection that owns what it holds.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Collection {
    List(List),
    Set(Set),
    SortedSet(SortedSet),
    Hash(Hash),
    /// Apart: it has many parts of its own, and the others shall not pay for them.
    Stream(Box<Stream>),
}

/// A collection as a command reads it, wherever it is kept.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum CollectionView<'a> {
    List(ListView<'a>),
    Set(SetView<'a>),
    SortedSet(SortedSetView<'a>),
    Hash(HashView<'a>),
    Stream(&'a Stream),
}

/// Applies one expression to whatever type it is.
macro_rules! each {
    ($value:expr, $name:ident => $body:expr) => {
        match $value {
            Self::List($name) => $body,
            Self::Set($name) => $body,
            Self::SortedSet($name) => $body,
            Self::Hash($name) => $body,
            Self::Stream($name) => $body,
        }
    };
}

impl Collection {
    /// An empty one.
    ///
    /// # Panics
    /// For [`Kind::String`], which is no collection.
    pub fn new(kind: Kind) -> Collection {
        match kind {
            Kind::String => unreachable!("a string is no collection"),
            Kind::List => Collection::List(List::default()),
            Kind::Set => Collection::Set(Set::default()),
            Kind::SortedSet => Collection::SortedSet(SortedSet::default()),
            Kind::Hash => Collection::Hash(Hash::default()),
            Kind::Stream => Collection::Stream(Box::default()),
        }
    }

    /// One whose packed bytes were somewhere else meanwhile.
    pub fn from_packed(packing: Packing, bytes: Vec<u8>) -> Collection {
        match packing {
            Packing::List => Collection::List(List::from_packed(bytes)),
            Packing::Set | Packing::Integers => Collection::Set(Set::from_packed(packing, bytes)),
            Packing::SortedSet => Collection::SortedSet(SortedSet::from_packed(bytes)),
            Packing::Hash => Collection::Hash(Hash::from_packed(bytes)),
        }
    }

    /// Its packed bytes, or the collection back if it is not packed.
    ///
    /// # Errors
    /// The collection, which is made of chunks.
    pub fn into_packed(self) -> Result<(Packing, Vec<u8>), Collection> {
        match self {
            Collection::List(list) => list.into_packed().map(|bytes| (Packing::List, bytes)).map_err(Collection::List),
            Collection::Set(set) => set.into_packed().map_err(Collection::Set),
            Collection::SortedSet(set) => {
                set.into_packed().map(|bytes| (Packing::SortedSet, bytes)).map_err(Collection::SortedSet)
            }
            Collection::Hash(hash) => hash.into_packed().map(|bytes| (Packing::Hash, bytes)).map_err(Collection::Hash),
            Collection::Stream(stream) => Err(Collection::Stream(stream)),
        }
    }

    /// To read it.
    pub fn view(&self) -> CollectionView<'_> {
        match self {
            Collection::List(list) => CollectionView::List(list.view()),
            Collection::Set(set) => CollectionView::Set(set.view()),
            Collection::SortedSet(set) => CollectionView::SortedSet(set.view()),
            Collection::Hash(hash) => CollectionView::Hash(hash.view()),
            Collection::Stream(stream) => CollectionView::Stream(stream),
        }
    }

    /// Its type.
    pub fn kind(&self) -> Kind {
        self.view().kind()
    }

    /// Whether it is one packed run: [`Collection::into_packed`] would give it.
    pub fn is_packed(&self) -> bool {
        match self {
            Collection::List(list) => list.is_packed(),
            Collection::Set(set) => set.is_packed(),
            Collection::SortedSet(set) => set.is_packed(),
            Collection::Hash(hash) => hash.is_packed(),
            Collection::Stream(_) => false,
        }
    }

    /// Whether its key is to be removed. A stream stays when it is empty.
    pub fn is_gone(&self) -> bool {
        !matches!(self, Collection::Stream(_)) && self.view().is_empty()
    }

    /// Whether all that [`Collection::decode_part`] needs has come, for what is then one whole value.
    pub fn is_whole(&self) -> bool {
        !matches!(self, Collection::Stream(stream) if !stream.has_header())
    }

    /// Bytes it takes besides itself, by size classes of the allocator; constant time. What a clone shares is counted in both.
    pub fn used_bytes(&self) -> usize {
        let apart = if let Collection::Stream(_) = self { size_class(size_of::<Stream>()) } else { 0 };
        apart + each!(self, value => value.used_bytes())
    }

    /// Takes it apart, to be freed in steps.
    pub fn into_debris(self, debris: &mut Vec<Box<dyn Debris>>) {
        each!(self, value => value.into_debris(debris));
    }

    /// The earliest deadline of a field, for hashes that have any.
    pub fn earliest(&self) -> Option<u64> {
        match self {
            Collection::Hash(hash) => hash.view().earliest(),
            _ => None,
        }
    }

    /// Adds the elements of one part of its form in snapshots; parts come in order.
    ///
    /// # Errors
    /// [`BadValue`]; the collection is of no use then.
    pub fn decode_part(&mut self, part: &[u8], shaping: &Shaping) -> Result<(), BadValue> {
        each!(self, value => value.decode_part(part, shaping))
    }
}

impl<'a> CollectionView<'a> {
    /// A packed one.
    pub fn packed(packing: Packing, bytes: &'a [u8]) -> CollectionView<'a> {
        match packing {
            Packing::List => CollectionView::List(ListView::packed(bytes)),
            Packing::Set | Packing::Integers => CollectionView::Set(SetView::packed(packing, bytes)),
            Packing::SortedSet => CollectionView::SortedSet(SortedSetView::packed(bytes)),
            Packing::Hash => CollectionView::Hash(HashView::packed(bytes)),
        }
    }

    /// Its type.
    pub fn kind(self) -> Kind {
        match self {
            CollectionView::List(_) => Kind::List,
            CollectionView::Set(_) => Kind::Set,
            CollectionView::SortedSet(_) => Kind::SortedSet,
            CollectionView::Hash(_) => Kind::Hash,
            CollectionView::Stream(_) => Kind::Stream,
        }
    }

    /// Elements: members, fields, stream entries.
    pub fn len(self) -> usize {
        each!(self, value => value.len())
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The name that OBJECT ENCODING answers.
    pub fn encoding(self) -> &'static str {
        each!(self, value => value.encoding())
    }

    /// Appends its form in snapshots, from element `from` on (0: the beginning), about `budget` bytes of it; says where to go on,
    /// `None` at the end. The form does not depend on how the collection is kept (`FORMAT.md`, "Collections").
    pub fn encode(self, from: u64, budget: usize, out: &mut Vec<u8>) -> Option<u64> {
        each!(self, value => value.encode(from, budget, out))
    }

    /// A hash of its contents that does not depend on how it is kept, nor on the order of elements where that is no part of the value.
    pub fn digest(self) -> u128 {
        each!(self, value => value.digest())
    }

    /// A collection that owns the same elements; constant time for a large one.
    pub fn to_owned(self) -> Collection {
        match self {
            CollectionView::List(view) => Collection::List(view.to_owned()),
            CollectionView::Set(view) => Collection::Set(view.to_owned()),
            CollectionView::SortedSet(view) => Collection::SortedSet(view.to_owned()),
            CollectionView::Hash(view) => Collection::Hash(view.to_owned()),
            CollectionView::Stream(stream) => Collection::Stream(Box::new(stream.clone())),
        }
    }
}

impl PartialEq for CollectionView<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.kind() == other.kind() && self.len() == other.len() && self.digest() == other.digest()
    }
}

impl Eq for CollectionView<'_> {}

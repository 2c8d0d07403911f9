//! A blob: one allocation that holds a key with its value, deadline and flags.
//!
//! ```text
//! header u64: bits 0..4 form (0 string, 1..7 a packed collection, 8 a collection of chunks)
//!             4 has deadline | 5 edited | 6 value is outside | 7 key is long
//!             8..16 key length | 16..32 value length (0 if outside) | 32..64 access
//! [deadline u64] [pointer to the value outside] [key length u64, if long] key value
//! ```
//! 1. A blob is 8-aligned, below 2^47, and exactly [`size_class`] of its bytes long; header and lengths tell that size.
//! 2. Whether the optional words are there never changes in a blob's life, nor does its key.
//! 3. Values of `OUTSIDE_LEN_MIN` bytes and more, and values that grow in place, live outside in a vector that the blob owns; a
//!    collection of chunks is always outside, in a box that the blob owns.
//!
//! All `unsafe` about blobs is in this file, but for the promise that an address is one, which `segment` makes.

use super::size::{prefetch, size_class};
use super::{Entry, Value};
use crate::value::{Collection, CollectionView, Packing};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::NonNull;

const FORM_MASK: u64 = 0x0f;
const HAS_DEADLINE: u64 = 1 << 4;
const EDITED: u64 = 1 << 5;
const OUTSIDE: u64 = 1 << 6;
const LONG_KEY: u64 = 1 << 7;
const KEY_LEN_SHIFT: u32 = 8;
const VALUE_LEN_SHIFT: u32 = 16;
const VALUE_LEN_MASK: u64 = 0xffff;
const ACCESS_SHIFT: u32 = 32;
const ALIGN: usize = 8;

/// A collection that takes more than this is freed away from the engine's lock. (A string, however long, is two blocks.)
const LARGE_BYTES: u64 = 16 * 1024;

/// Strings of this many bytes and more live outside their blob.
pub(super) const OUTSIDE_LEN_MIN: usize = 16 * 1024;
const _: () = assert!(OUTSIDE_LEN_MIN as u64 <= VALUE_LEN_MASK, "the length of what is inside has 16 bits");

/// How the value's bytes are to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// As they are.
    String,
    /// As a small collection.
    Packed(Packing),
    /// There are none: the value is a collection of chunks, outside.
    Chunks,
}

impl Form {
    #[inline]
    const fn bits(self) -> u64 {
        match self {
            Form::String => 0,
            Form::Packed(packing) => packing as u64,
            Form::Chunks => 8,
        }
    }

    #[inline]
    fn of(header: u64) -> Form {
        match header & FORM_MASK {
            0 => Form::String,
            1 => Form::Packed(Packing::List),
            2 => Form::Packed(Packing::Set),
            3 => Form::Packed(Packing::SortedSet),
            4 => Form::Packed(Packing::Hash),
            5 => Form::Packed(Packing::Integers),
            8 => Form::Chunks,
            other => unreachable!("no blob is made with form {other}"),
        }
    }
}

/// A value on its way into a blob.
pub(super) enum Body<'a> {
    /// Bytes to copy. The blob puts them outside if they are many.
    Copy(Form, &'a [u8]),
    /// A vector to own, outside. The box is what the blob points to: one word, where the vector itself would take three.
    #[allow(clippy::box_collection)] // For the reason above.
    Own(Form, Box<Vec<u8>>),
    /// A collection of chunks.
    Chunks(Box<Collection>),
}

/// What lies outside of a blob.
enum Outside {
    Bytes(NonNull<Vec<u8>>),
    Chunks(NonNull<Collection>),
}

/// What a blob says about its entry besides key and value.
#[derive(Clone, Copy, Default)]
pub(super) struct Traits {
    pub(super) deadline: Option<u64>,
    pub(super) edited: bool,
    pub(super) access: u32,
}

/// An owned blob. Dropping it frees it and its value.
pub(super) struct Blob(NonNull<u8>);

// SAFETY: a blob owns its bytes and its vector alone; nothing in it belongs to a thread.
unsafe impl Send for Blob {}
// SAFETY: through a shared reference a blob is only read.
unsafe impl Sync for Blob {}

/// A blob borrowed from whoever owns it.
#[derive(Clone, Copy)]
pub(super) struct BlobRef<'a> {
    at: NonNull<u8>,
    owner: PhantomData<&'a Blob>,
}

#[inline]
fn words(header: u64) -> usize {
    1 + ((header >> 4 & 1) + (header >> 6 & 1) + (header >> 7 & 1)) as usize
}

impl Blob {
    /// A new blob.
    pub(super) fn new(key: &[u8], body: Body<'_>, traits: Traits) -> Blob {
        let bytes_outside = |vector: Box<Vec<u8>>| Some(Box::into_raw(vector).expose_provenance() as u64);
        let (form, inline, outside): (Form, &[u8], Option<u64>) = match body {
            Body::Copy(form, value) if value.len() >= OUTSIDE_LEN_MIN => {
                (form, &[], bytes_outside(Box::new(value.to_vec())))
            }
            Body::Copy(form, value) => (form, value, None),
            Body::Own(form, vector) => (form, &[], bytes_outside(vector)),
            Body::Chunks(chunks) => (Form::Chunks, &[], Some(Box::into_raw(chunks).expose_provenance() as u64)),
        };
        let mut header = form.bits() | u64::from(traits.access) << ACCESS_SHIFT;
        header |= (inline.len() as u64) << VALUE_LEN_SHIFT;
        if traits.deadline.is_some() {
            header |= HAS_DEADLINE;
        }
        if traits.edited {
            header |= EDITED;
        }
        if outside.is_some() {
            header |= OUTSIDE;
        }
        header |= if key.len() > 255 { LONG_KEY } else { (key.len() as u64) << KEY_LEN_SHIFT };
        let start = words(header) * 8;
        let layout = layout(start + key.len() + inline.len());
        // SAFETY: the layout's size is at least 8.
        let Some(at) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        // SAFETY: the block is 8-aligned and as long as its words, the key and the inline value together; it is new, so
        // `key` and `inline` lie elsewhere.
        unsafe {
            let mut word = at.cast::<u64>();
            let mut put = |value: u64| {
                word.write(value);
                word = word.add(1);
            };
            put(header);
            if let Some(deadline) = traits.deadline {
                put(deadline);
            }
            if let Some(address) = outside {
                put(address);
            }
            if key.len() > 255 {
                put(key.len() as u64);
            }
            at.add(start).copy_from_nonoverlapping(NonNull::from(key).cast(), key.len());
            at.add(start + key.len()).copy_from_nonoverlapping(NonNull::from(inline).cast(), inline.len());
        }
        Blob(at)
    }

    /// Gives the blob away as its address.
    #[inline]
    pub(super) fn into_address(self) -> u64 {
        let address = self.0.as_ptr().expose_provenance() as u64;
        std::mem::forget(self);
        address
    }

    /// Takes back what [`Blob::into_address`] gave.
    ///
    /// # Safety
    /// `address` came from there, and nobody else owns the blob.
    #[inline]
    pub(super) unsafe fn from_address(address: u64) -> Blob {
        // SAFETY: an address of a blob is not 0.
        Blob(unsafe { NonNull::new_unchecked(std::ptr::with_exposed_provenance_mut(address as usize)) })
    }

    /// To read it.
    #[inline]
    pub(super) fn view(&self) -> BlobRef<'_> {
        BlobRef { at: self.0, owner: PhantomData }
    }

    #[inline]
    fn set_header(&mut self, header: u64) {
        // SAFETY: every blob begins with its header, and `&mut self` is the only access.
        unsafe { self.0.cast::<u64>().write(header) };
    }

    /// Sets the 32 bits of use.
    pub(super) fn set_access(&mut self, access: u32) {
        let header = self.view().header();
        self.set_header(header & !(u64::MAX << ACCESS_SHIFT) | u64::from(access) << ACCESS_SHIFT);
    }

    /// Replaces the value in place if the blob keeps its size class and the presence of a deadline; says whether it did.
    #[inline]
    pub(super) fn overwrite(&mut self, form: Form, value: &[u8], deadline: Option<u64>, edited: bool) -> bool {
        let view = self.view();
        let header = view.header();
        let start = words(header) * 8 + view.key().len();
        let fits = value.len() < OUTSIDE_LEN_MIN && size_class(start + value.len()) == view.block_len();
        if !fits || header & OUTSIDE != 0 || (header & HAS_DEADLINE != 0) != deadline.is_some() {
            return false;
        }
        let kept = header & !(VALUE_LEN_MASK << VALUE_LEN_SHIFT | EDITED | FORM_MASK) | form.bits();
        self.set_header(kept | (value.len() as u64) << VALUE_LEN_SHIFT | if edited { EDITED } else { 0 });
        // SAFETY: the block is as long as its size class, which holds the words, the key and the new value; `value` cannot
        // lie in it, since `&mut self` is the only access to it. The second word is the deadline if there is one.
        unsafe {
            self.0.add(start).copy_from_nonoverlapping(NonNull::from(value).cast(), value.len());
            if let Some(deadline) = deadline {
                self.0.cast::<u64>().add(1).write(deadline);
            }
        }
        true
    }

    /// Sets the deadline in place if there is one already; says whether it did.
    pub(super) fn replace_deadline(&mut self, deadline: u64) -> bool {
        let has = self.view().header() & HAS_DEADLINE != 0;
        if has {
            // SAFETY: the second word is the deadline, and `&mut self` is the only access.
            unsafe { self.0.cast::<u64>().add(1).write(deadline) };
        }
        has
    }

    /// The vector outside, to change it; marks the entry as edited. `None` if the value is inline.
    pub(super) fn edit(&mut self) -> Option<&mut Vec<u8>> {
        let header = self.view().header();
        let Some(Outside::Bytes(vector)) = self.view().outside() else { return None };
        self.set_header(header | EDITED);
        // SAFETY: the pointer came from a box that this blob owns, and `&mut self` is the only access.
        Some(unsafe { &mut *vector.as_ptr() })
    }

    /// The collection outside, to change it; `None` if the value is packed, or a string.
    #[inline]
    pub(super) fn chunks(&mut self) -> Option<&mut Collection> {
        let Some(Outside::Chunks(chunks)) = self.view().outside() else { return None };
        // SAFETY: the pointer came from a box that this blob owns, and `&mut self` is the only access.
        Some(unsafe { &mut *chunks.as_ptr() })
    }

    /// The same entry under another key or with another deadline: an outside value moves, an inline one is copied.
    pub(super) fn remade(self, key: Option<&[u8]>, traits: Traits) -> Blob {
        let view = self.view();
        let old = view.outside();
        let moved = old.is_some();
        let body = match old {
            // SAFETY: the pointer came from a box; this blob gives it up below.
            Some(Outside::Bytes(vector)) => Body::Own(view.form(), unsafe { Box::from_raw(vector.as_ptr()) }),
            // SAFETY: as above.
            Some(Outside::Chunks(chunks)) => Body::Chunks(unsafe { Box::from_raw(chunks.as_ptr()) }),
            None => Body::Copy(view.form(), view.bytes()),
        };
        let made = Blob::new(key.unwrap_or_else(|| view.key()), body, traits);
        if moved {
            let this = std::mem::ManuallyDrop::new(self);
            // SAFETY: the block was made with this layout, is not used again, and what it owned has moved to the new blob.
            unsafe { dealloc(this.0.as_ptr(), layout(this.view().block_len())) };
        }
        made
    }
}

impl Clone for Blob {
    fn clone(&self) -> Self {
        let view = self.view();
        Blob::new(view.key(), view.copied(), view.traits())
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        let layout = layout(self.view().block_len());
        // SAFETY: what is outside came from a box that this blob owned; the block was made with this layout; neither is used again.
        unsafe {
            match self.view().outside() {
                Some(Outside::Bytes(vector)) => drop(Box::from_raw(vector.as_ptr())),
                Some(Outside::Chunks(chunks)) => drop(Box::from_raw(chunks.as_ptr())),
                None => {}
            }
            dealloc(self.0.as_ptr(), layout);
        }
    }
}

/// The layout of a block for `len` bytes.
#[inline]
fn layout(len: usize) -> Layout {
    match Layout::from_size_align(size_class(len), ALIGN) {
        Ok(layout) => layout,
        Err(_) => unreachable!("lengths of keys and inline values are limited far below isize::MAX: {len}"),
    }
}

impl<'a> BlobRef<'a> {
    /// The blob at an address.
    ///
    /// # Safety
    /// A blob lives there, and is not changed or freed for `'a`.
    #[inline]
    pub(super) unsafe fn from_address(address: u64) -> BlobRef<'a> {
        // SAFETY: an address of a blob is not 0.
        let at = unsafe { NonNull::new_unchecked(std::ptr::with_exposed_provenance_mut(address as usize)) };
        BlobRef { at, owner: PhantomData }
    }

    #[inline]
    fn header(self) -> u64 {
        // SAFETY: every blob begins with its header.
        unsafe { self.at.cast::<u64>().read() }
    }

    /// Word `index` behind the header.
    #[inline]
    fn word(self, index: usize) -> u64 {
        debug_assert!(index < words(self.header()));
        // SAFETY: callers ask only for words that the header's flags say are there.
        unsafe { self.at.cast::<u64>().add(index).read() }
    }

    #[inline]
    fn key_len(self, header: u64) -> usize {
        if header & LONG_KEY != 0 {
            return self.word(words(header) - 1) as usize;
        }
        (header >> KEY_LEN_SHIFT & 0xff) as usize
    }

    /// The key.
    #[inline]
    pub(super) fn key(self) -> &'a [u8] {
        let header = self.header();
        // SAFETY: behind the words the block holds as many bytes of key as it says.
        unsafe { NonNull::slice_from_raw_parts(self.at.add(words(header) * 8), self.key_len(header)).as_ref() }
    }

    #[inline]
    fn outside(self) -> Option<Outside> {
        let header = self.header();
        if header & OUTSIDE == 0 {
            return None;
        }
        let address = self.word(1 + usize::from(header & HAS_DEADLINE != 0)) as usize;
        if header & FORM_MASK == Form::Chunks.bits() {
            return NonNull::new(std::ptr::with_exposed_provenance_mut(address)).map(Outside::Chunks);
        }
        NonNull::new(std::ptr::with_exposed_provenance_mut(address)).map(Outside::Bytes)
    }

    /// How the value is kept.
    #[inline]
    pub(super) fn form(self) -> Form {
        Form::of(self.header())
    }

    /// The collection outside.
    #[inline]
    fn chunks(self) -> Option<&'a Collection> {
        match self.outside() {
            // SAFETY: the pointer came from a box that the blob owns, and the blob is not changed for 'a.
            Some(Outside::Chunks(chunks)) => Some(unsafe { chunks.as_ref() }),
            _ => None,
        }
    }

    /// The value.
    #[inline]
    pub(super) fn value(self) -> Value<'a> {
        match self.form() {
            Form::String => Value::String(self.bytes()),
            Form::Packed(packing) => Value::Collection(CollectionView::packed(packing, self.bytes())),
            Form::Chunks => match self.chunks() {
                Some(chunks) => Value::Collection(chunks.view()),
                None => unreachable!("chunks are always outside"),
            },
        }
    }

    /// The value for another blob: bytes to copy, or a collection that shares its chunks.
    pub(super) fn copied(self) -> Body<'a> {
        match self.chunks() {
            Some(chunks) => Body::Chunks(Box::new(chunks.clone())),
            None => Body::Copy(self.form(), self.bytes()),
        }
    }

    /// A collection that shares its chunks with this one, if the value is made of chunks: what a capture keeps of it.
    pub(super) fn shared(self) -> Option<Collection> {
        self.chunks().cloned()
    }

    /// The earliest time at which something of this entry dies: the entry itself, or a field of its hash.
    #[inline]
    pub(super) fn wakes_at(self) -> Option<u64> {
        let deadline = self.deadline();
        match self.chunks().and_then(Collection::earliest) {
            Some(earliest) => Some(deadline.map_or(earliest, |deadline| deadline.min(earliest))),
            None => deadline,
        }
    }

    /// Whether freeing this would take longer than a command should: many chunks.
    #[inline]
    pub(super) fn is_large(self) -> bool {
        self.form() == Form::Chunks && self.used_bytes() > LARGE_BYTES
    }

    /// Length of the value's bytes; 0 for one that is made of chunks, of which nothing is copied when it is captured.
    #[inline]
    pub(super) fn bytes_len(self) -> usize {
        if self.form() == Form::Chunks { 0 } else { self.bytes().len() }
    }

    /// The bytes of a value that is not made of chunks.
    #[inline]
    pub(super) fn bytes(self) -> &'a [u8] {
        let header = self.header();
        debug_assert_ne!(header & FORM_MASK, Form::Chunks.bits());
        if let Some(Outside::Bytes(vector)) = self.outside() {
            // SAFETY: the pointer came from a box that the blob owns, and the blob is not changed for 'a.
            return unsafe { vector.as_ref() };
        }
        let start = words(header) * 8 + self.key_len(header);
        let len = (header >> VALUE_LEN_SHIFT & VALUE_LEN_MASK) as usize;
        // SAFETY: behind the key the block holds as many bytes of value as it says.
        unsafe { NonNull::slice_from_raw_parts(self.at.add(start), len).as_ref() }
    }

    /// The deadline.
    #[inline]
    pub(super) fn deadline(self) -> Option<u64> {
        (self.header() & HAS_DEADLINE != 0).then(|| self.word(1))
    }

    /// The 32 bits of use.
    #[inline]
    pub(super) fn access(self) -> u32 {
        (self.header() >> ACCESS_SHIFT) as u32
    }

    /// All but key and value.
    #[inline]
    pub(super) fn traits(self) -> Traits {
        let header = self.header();
        Traits { deadline: self.deadline(), edited: header & EDITED != 0, access: self.access() }
    }

    /// The entry.
    #[inline]
    pub(super) fn entry(self) -> Entry<'a> {
        let Traits { deadline, edited, access } = self.traits();
        Entry { key: self.key(), value: self.value(), deadline, edited, access }
    }

    /// Bytes of the block itself.
    #[inline]
    fn block_len(self) -> usize {
        let header = self.header();
        let value_len = (header >> VALUE_LEN_SHIFT & VALUE_LEN_MASK) as usize;
        size_class(words(header) * 8 + self.key_len(header) + value_len)
    }

    /// Bytes of the block, and of the value outside.
    #[inline]
    pub(super) fn used_bytes(self) -> u64 {
        let outside = match self.outside() {
            Some(Outside::Bytes(vector)) => {
                // SAFETY: the pointer came from a box that the blob owns, and the blob is not changed for 'a.
                let vector = unsafe { vector.as_ref() };
                size_class(size_of::<Vec<u8>>()) + size_class(vector.capacity())
            }
            Some(Outside::Chunks(chunks)) => {
                // SAFETY: as above.
                let chunks = unsafe { chunks.as_ref() };
                size_class(size_of::<Collection>()) + chunks.used_bytes()
            }
            None => 0,
        };
        (self.block_len() + outside) as u64
    }

    /// Fetches the blob ahead: a small one may straddle two cache lines.
    #[inline]
    pub(super) fn prefetch(self) {
        prefetch(self.at.as_ptr());
        prefetch(self.at.as_ptr().wrapping_add(39));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traits(deadline: Option<u64>) -> Traits {
        Traits { deadline, edited: true, access: 0x00ab_cdef }
    }

    #[test]
    fn every_shape_of_blob_gives_back_what_it_took() {
        for key_len in [0usize, 1, 16, 255, 256, 70_000] {
            for value_len in [0usize, 1, 16, OUTSIDE_LEN_MIN - 1, OUTSIDE_LEN_MIN, 100_000] {
                for deadline in [None, Some(0), Some(u64::MAX)] {
                    let key = vec![b'k'; key_len];
                    let value: Vec<u8> = (0..value_len).map(|at| at as u8).collect();
                    let mut blob = Blob::new(&key, Body::Copy(Form::String, &value), traits(deadline));
                    let expected = |deadline, edited| Entry {
                        key: &key,
                        value: Value::String(&value),
                        deadline,
                        edited,
                        access: 0x00ab_cdef,
                    };
                    assert_eq!(blob.view().entry(), expected(deadline, true));
                    assert_eq!(blob.clone().view().entry(), expected(deadline, true));
                    assert_eq!(blob.replace_deadline(5), deadline.is_some());
                    assert_eq!(blob.view().deadline(), deadline.map(|_| 5));
                    let blob = blob.remade(None, Traits { deadline: Some(7), ..traits(None) });
                    assert_eq!(blob.view().entry(), expected(Some(7), true));
                    let blob = blob.remade(Some(b"other"), traits(None));
                    assert_eq!((blob.view().key(), blob.view().bytes()), (b"other".as_slice(), &*value));
                    // SAFETY: the address is of this very blob.
                    let blob = unsafe { Blob::from_address(blob.into_address()) };
                    assert_eq!(blob.view().deadline(), None);
                }
            }
        }
    }

    #[test]
    fn overwriting_happens_only_within_the_size_class() {
        let mut blob = Blob::new(&[b'k'; 16], Body::Copy(Form::String, &[1; 16]), traits(None));
        assert_eq!(blob.view().used_bytes(), 40);
        assert!(!blob.overwrite(Form::String, &[2; 17], None, false));
        assert!(!blob.overwrite(Form::String, &[2; 8], None, false));
        assert!(!blob.overwrite(Form::String, &[2; 16], Some(1), false));
        assert!(blob.overwrite(Form::String, &[2; 9], None, false));
        let entry = blob.view().entry();
        assert_eq!((entry.value, entry.edited, entry.access), (Value::String(&[2; 9]), false, 0x00ab_cdef));
        blob.set_access(3);
        assert_eq!((blob.view().traits().access, blob.view().key()), (3, [b'k'; 16].as_slice()));
    }

    #[test]
    fn values_outside_are_edited_in_place_and_counted() {
        let mut blob = Blob::new(b"k", Body::Own(Form::String, Box::new(Vec::with_capacity(100))), Traits::default());
        assert_eq!(blob.view().used_bytes(), 24 + 24 + 112);
        blob.edit().unwrap().extend_from_slice(b"value");
        assert_eq!(blob.view().bytes(), b"value");
        assert!(blob.view().traits().edited);
        assert!(Blob::new(b"k", Body::Copy(Form::String, b"v"), Traits::default()).edit().is_none());
    }
}

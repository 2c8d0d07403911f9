//! Packed runs: elements one behind the other in one piece of memory, the form of every small collection and of a large list's nodes.
//!
//! ```text
//! run   = nothing at all | u16 LE count (65535: not known, count them) | entry*
//! entry = encoding and bytes as in Redis' listpack | their length, readable from behind
//! ```
//! 1. Entries are Redis' own, byte for byte, so that the RDB codec copies them. The header is ours; Redis' six bytes and its terminator are
//!    not here. An empty run takes no heap.
//! 2. Every element has exactly one encoding: text that is a canonical integer is stored as that integer, in the shortest form. So two
//!    elements are equal if and only if their entries are, and a search compares encoded bytes ([`Needle`]).
//! 3. Functions that take an offset want the offset of an entry (or the run's end, where that is said). A wrong one gives a wrong element
//!    or a panic, never a read outside.
//! 4. Bytes from outside are adopted only through [`from_entries`], which believes no length.

use std::cmp::Ordering;

use crate::number::parse_integer;

/// Bytes in front of the first entry.
pub const HEADER_LEN: usize = 2;
/// The stored count that says nothing.
const COUNT_UNKNOWN: u16 = u16::MAX;
/// Longest encoding of an integer, and longest head of a string.
const HEAD_LEN_MAX: usize = 9;
/// Longest string an entry can hold.
pub const STRING_LEN_MAX: usize = u32::MAX as usize;

/// Where the text of an integer element is printed: no allocation.
pub use itoa::Buffer as IntegerText;

/// One element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Element<'a> {
    /// Bytes that are not the canonical text of an integer: make elements of a client's bytes by `Element::from(bytes)`.
    Bytes(&'a [u8]),
    /// An integer; to clients it is its decimal text.
    Integer(i64),
}

impl<'a> From<&'a [u8]> for Element<'a> {
    #[inline]
    fn from(bytes: &'a [u8]) -> Self {
        match bytes.first() {
            Some(b'0'..=b'9' | b'-') => parse_integer(bytes).map_or(Element::Bytes(bytes), Element::Integer),
            _ => Element::Bytes(bytes),
        }
    }
}

impl From<i64> for Element<'_> {
    #[inline]
    fn from(integer: i64) -> Self {
        Element::Integer(integer)
    }
}

impl<'a> Element<'a> {
    /// Its bytes as clients know them; an integer's are printed into `text`.
    #[inline]
    pub fn as_bytes<'t>(self, text: &'t mut IntegerText) -> &'t [u8]
    where
        'a: 't,
    {
        match self {
            Element::Bytes(bytes) => bytes,
            Element::Integer(integer) => text.format(integer).as_bytes(),
        }
    }

    /// Appends its bytes.
    #[inline]
    pub fn append_to(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes(&mut IntegerText::new()));
    }

    /// A copy of its bytes.
    pub fn to_vec(self) -> Vec<u8> {
        self.as_bytes(&mut IntegerText::new()).to_vec()
    }

    /// Length of its bytes as clients know them.
    #[inline]
    #[allow(clippy::len_without_is_empty)] // A text may be empty; nobody asks.
    pub fn len(self) -> usize {
        match self {
            Element::Bytes(bytes) => bytes.len(),
            Element::Integer(integer) => {
                let digits = integer.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
                digits + usize::from(integer < 0)
            }
        }
    }

    /// Whether its bytes are these.
    #[inline]
    pub fn is(self, bytes: &[u8]) -> bool {
        match self {
            Element::Bytes(own) => own == bytes,
            Element::Integer(integer) => parse_integer(bytes) == Some(integer),
        }
    }

    /// Compares the bytes of both, as `memcmp` does (sorted sets' order of members, SORT ALPHA).
    pub fn cmp_bytes(self, other: Element<'_>) -> Ordering {
        self.as_bytes(&mut IntegerText::new()).cmp(other.as_bytes(&mut IntegerText::new()))
    }

    /// Bytes its entry takes.
    #[inline]
    pub fn entry_len(self) -> usize {
        let (_, head_len, body) = self.encode();
        let len = head_len + body.len();
        len + back_len(len)
    }

    /// What stands in front of the backward length: the head, its length, and a string's bytes.
    #[inline]
    fn encode(self) -> ([u8; HEAD_LEN_MAX], usize, &'a [u8]) {
        let mut head = [0; HEAD_LEN_MAX];
        match self {
            Element::Bytes(bytes) => {
                debug_assert!(parse_integer(bytes).is_none(), "an integer as bytes");
                let len = bytes.len();
                let head_len = match len {
                    0..=0x3f => {
                        head[0] = 0x80 | len as u8;
                        1
                    }
                    0x40..=0xfff => {
                        head[..2].copy_from_slice(&[0xe0 | (len >> 8) as u8, len as u8]);
                        2
                    }
                    _ => {
                        let len = u32::try_from(len).expect("commands bound the length of strings");
                        head[0] = 0xf0;
                        head[1..5].copy_from_slice(&len.to_le_bytes());
                        5
                    }
                };
                (head, head_len, bytes)
            }
            Element::Integer(integer) => {
                let head_len = match integer {
                    0..=0x7f => {
                        head[0] = integer as u8;
                        1
                    }
                    -0x1000..=0xfff => {
                        head[..2].copy_from_slice(&[0xc0 | (integer >> 8) as u8 & 0x1f, integer as u8]);
                        2
                    }
                    _ => {
                        let (encoding, width) = match integer {
                            -0x8000..=0x7fff => (0xf1, 2),
                            -0x80_0000..=0x7f_ffff => (0xf2, 3),
                            -0x8000_0000..=0x7fff_ffff => (0xf3, 4),
                            _ => (0xf4, 8),
                        };
                        head[0] = encoding;
                        head[1..].copy_from_slice(&integer.to_le_bytes());
                        1 + width
                    }
                };
                (head, head_len, &[])
            }
        }
    }
}

/// Bytes that the backward length of `len` bytes takes. The limits are Redis': one below what would fit.
#[inline]
const fn back_len(len: usize) -> usize {
    match len {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    }
}

/// Writes the backward length of `len` bytes into all of `place`: seven bits a byte, low ones last, the high bit set on all but the first.
#[inline]
fn write_back(place: &mut [u8], len: usize) {
    let mut rest = len;
    for (i, byte) in place.iter_mut().enumerate().rev() {
        *byte = (rest & 0x7f) as u8 | if i == 0 { 0 } else { 0x80 };
        rest >>= 7;
    }
}

/// The length in front of its backward form, which ends at `end`.
#[inline]
fn read_back(run: &[u8], end: usize) -> usize {
    let mut at = end - 1;
    let mut len = usize::from(run[at] & 0x7f);
    let mut shift = 7;
    while run[at] & 0x80 != 0 {
        at -= 1;
        len |= usize::from(run[at] & 0x7f) << shift;
        shift += 7;
    }
    len
}

/// Whole length of an entry by its first byte; 0 where that does not say it all. A search walks through this.
static ENTRY_LENS: [u8; 256] = {
    let mut lens = [0; 256];
    let mut first = 0;
    while first < 256 {
        lens[first] = match first {
            0..=0x7f => 2,
            0x80..=0xbf => (first & 0x3f) as u8 + 2,
            0xc0..=0xdf => 3,
            0xf1 => 4,
            0xf2 => 5,
            0xf3 => 6,
            0xf4 => 10,
            _ => 0,
        };
        first += 1;
    }
    lens
};

/// Where the entry at `at` ends, which is where the next one begins.
#[inline]
fn entry_end(run: &[u8], at: usize) -> usize {
    match ENTRY_LENS[usize::from(run[at])] {
        0 => long_entry_end(run, at),
        len => at + usize::from(len),
    }
}

#[cold]
fn long_entry_end(run: &[u8], at: usize) -> usize {
    let (head_len, len) = long_string(run, at);
    at + head_len + len + back_len(head_len + len)
}

/// Head length and length of a string above 63 bytes.
#[inline]
fn long_string(run: &[u8], at: usize) -> (usize, usize) {
    if run[at] & 0xf0 == 0xe0 {
        (2, usize::from(run[at] & 0xf) << 8 | usize::from(run[at + 1]))
    } else {
        let len = u32::from_le_bytes(run[at + 1..at + 5].try_into().expect("four bytes"));
        (5, len as usize)
    }
}

/// A little-endian integer of `width` bytes behind the entry's first byte.
#[inline]
fn fixed_integer(run: &[u8], at: usize, width: usize) -> i64 {
    let mut bytes = [0; 8];
    bytes[8 - width..].copy_from_slice(&run[at + 1..at + 1 + width]);
    i64::from_le_bytes(bytes) >> (64 - 8 * width)
}

#[inline]
fn element_at(run: &[u8], at: usize) -> Element<'_> {
    let first = run[at];
    match first {
        0..=0x7f => Element::Integer(i64::from(first)),
        0x80..=0xbf => Element::Bytes(&run[at + 1..at + 1 + usize::from(first & 0x3f)]),
        0xc0..=0xdf => {
            let value = i64::from(first & 0x1f) << 8 | i64::from(run[at + 1]);
            Element::Integer(value << 51 >> 51)
        }
        0xf1 => Element::Integer(fixed_integer(run, at, 2)),
        0xf2 => Element::Integer(fixed_integer(run, at, 3)),
        0xf3 => Element::Integer(fixed_integer(run, at, 4)),
        0xf4 => Element::Integer(fixed_integer(run, at, 8)),
        _ => {
            let (head_len, len) = long_string(run, at);
            Element::Bytes(&run[at + head_len..at + head_len + len])
        }
    }
}

/// An element to look for, encoded once.
#[derive(Clone, Copy, Debug)]
pub struct Needle<'a> {
    head: [u8; HEAD_LEN_MAX],
    head_len: usize,
    body: &'a [u8],
    /// The first eight bytes of its entry, or fewer, and which bits of them count.
    word: u64,
    mask: u64,
}

impl<'a> Needle<'a> {
    /// What to look for.
    #[inline]
    pub fn new(element: impl Into<Element<'a>>) -> Self {
        let (head, head_len, body) = element.into().encode();
        let mut word = [0; 8];
        let head_part = head_len.min(8);
        word[..head_part].copy_from_slice(&head[..head_part]);
        let body_part = body.len().min(8 - head_part);
        word[head_part..head_part + body_part].copy_from_slice(&body[..body_part]);
        let mask = u64::MAX >> (64 - 8 * (head_part + body_part));
        Needle { head, head_len, body, word: u64::from_le_bytes(word), mask }
    }

    /// Whether the entry at `at` is this element.
    #[inline]
    pub fn is_at(&self, run: Listpack<'_>, at: usize) -> bool {
        let entry = &run.bytes[at..];
        if let Some(first) = entry.first_chunk::<8>()
            && u64::from_le_bytes(*first) & self.mask != self.word
        {
            return false;
        }
        // A head holds the length, so nothing can be longer than what is looked for and begin with it.
        entry.starts_with(&self.head[..self.head_len]) && entry[self.head_len..].starts_with(self.body)
    }
}

/// A run, to read.
#[derive(Clone, Copy, Debug)]
pub struct Listpack<'a> {
    bytes: &'a [u8],
}

impl<'a> Listpack<'a> {
    /// A view of a run made by this module.
    #[inline]
    pub fn new(run: &'a [u8]) -> Self {
        Listpack { bytes: run }
    }

    /// The run's bytes, its header included.
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The entries without the header: what RDB's listpacks hold between header and terminator.
    #[inline]
    pub fn entries(self) -> &'a [u8] {
        self.bytes.get(HEADER_LEN..).unwrap_or_default()
    }

    /// Elements in it.
    #[inline]
    pub fn len(self) -> usize {
        match stored_count(self.bytes) {
            COUNT_UNKNOWN => count_entries(self.bytes, HEADER_LEN),
            count => usize::from(count),
        }
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.bytes.len() <= HEADER_LEN
    }

    /// Where the first entry is, or would be.
    #[inline]
    pub fn start(self) -> usize {
        HEADER_LEN
    }

    /// Where the next entry would be.
    #[inline]
    pub fn end(self) -> usize {
        self.bytes.len().max(HEADER_LEN)
    }

    /// Offset of the last entry.
    #[inline]
    pub fn last(self) -> Option<usize> {
        self.previous(self.end())
    }

    /// Offset behind the entry at `at`: that of the next one, or [`Listpack::end`].
    #[inline]
    pub fn next(self, at: usize) -> usize {
        entry_end(self.bytes, at)
    }

    /// Offset of the entry that ends at `at`.
    #[inline]
    pub fn previous(self, at: usize) -> Option<usize> {
        if at <= HEADER_LEN {
            return None;
        }
        let len = read_back(self.bytes, at);
        Some(at - len - back_len(len))
    }

    /// The element at offset `at`.
    #[inline]
    pub fn element(self, at: usize) -> Element<'a> {
        element_at(self.bytes, at)
    }

    /// Offset of element `index`, walking from the nearer end; the end's for the index behind the last.
    pub fn offset(self, index: usize) -> Option<usize> {
        let len = self.len();
        if index > len {
            return None;
        }
        if index <= len / 2 {
            let mut at = HEADER_LEN;
            for _ in 0..index {
                at = entry_end(self.bytes, at);
            }
            return Some(at);
        }
        let mut at = self.end();
        for _ in index..len {
            at = self.previous(at)?;
        }
        Some(at)
    }

    /// Element `index`.
    #[inline]
    pub fn get(self, index: usize) -> Option<Element<'a>> {
        let at = self.offset(index)?;
        (at < self.end()).then(|| self.element(at))
    }

    /// The first offset from `from` on, in steps of `stride` entries, whose element is `needle`: 2 finds a hash's field or a sorted
    /// set's member.
    #[inline]
    pub fn find(self, from: usize, needle: &Needle<'_>, stride: usize) -> Option<usize> {
        let mut at = from;
        while at < self.bytes.len() {
            if needle.is_at(self, at) {
                return Some(at);
            }
            for _ in 0..stride {
                if at >= self.bytes.len() {
                    break;
                }
                at = entry_end(self.bytes, at);
            }
        }
        None
    }

    /// All elements, from either end.
    #[inline]
    pub fn iter(self) -> Iter<'a> {
        self.iter_from(HEADER_LEN)
    }

    /// The elements from offset `at` on.
    #[inline]
    pub fn iter_from(self, at: usize) -> Iter<'a> {
        Iter { run: self, front: at, back: self.end() }
    }

    /// The elements before offset `at`.
    #[inline]
    pub fn iter_to(self, at: usize) -> Iter<'a> {
        Iter { run: self, front: HEADER_LEN, back: at }
    }

    /// First and second, third and fourth, ...: field and value, member and score.
    #[inline]
    pub fn pairs(self) -> impl Iterator<Item = (Element<'a>, Element<'a>)> {
        let mut elements = self.iter();
        std::iter::from_fn(move || Some((elements.next()?, elements.next()?)))
    }
}

/// Elements of a run, from either end.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    run: Listpack<'a>,
    front: usize,
    back: usize,
}

impl<'a> Iter<'a> {
    /// Offset of the element that `next` gives.
    #[inline]
    pub fn offset(&self) -> usize {
        self.front
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        if self.front >= self.back {
            return None;
        }
        let element = self.run.element(self.front);
        self.front = self.run.next(self.front);
        Some(element)
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        self.back = self.run.previous(self.back)?;
        Some(self.run.element(self.back))
    }
}

impl<'a> IntoIterator for Listpack<'a> {
    type Item = Element<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

#[inline]
fn stored_count(run: &[u8]) -> u16 {
    run.first_chunk().map_or(0, |count| u16::from_le_bytes(*count))
}

fn count_entries(run: &[u8], from: usize) -> usize {
    let mut at = from;
    let mut count = 0;
    while at < run.len() {
        at = entry_end(run, at);
        count += 1;
    }
    count
}

fn set_count(run: &mut [u8], count: usize) {
    let count = u16::try_from(count).unwrap_or(COUNT_UNKNOWN);
    run[..HEADER_LEN].copy_from_slice(&count.to_le_bytes());
}

/// Notes `n` more entries, which are already there.
#[inline]
fn count_more(run: &mut [u8], n: usize) {
    let count = stored_count(run);
    if count != COUNT_UNKNOWN {
        set_count(run, usize::from(count) + n);
    }
}

/// Notes `n` fewer, which are already gone.
#[inline]
fn count_fewer(run: &mut [u8], n: usize) {
    let left = match stored_count(run) {
        COUNT_UNKNOWN => count_entries(run, HEADER_LEN),
        count => usize::from(count) - n,
    };
    set_count(run, left);
}

/// Makes the `old` bytes at `at` into `new` bytes that are still to be written.
#[inline]
fn resize_at(run: &mut Vec<u8>, at: usize, old: usize, new: usize) {
    let len = run.len();
    if new > old {
        run.resize(len + (new - old), 0);
        run.copy_within(at + old..len, at + new);
    } else if new < old {
        run.copy_within(at + old..len, at + new);
        run.truncate(len - (old - new));
    }
}

/// An empty run has no header yet.
#[inline]
fn begin(run: &mut Vec<u8>) {
    if run.is_empty() {
        run.extend_from_slice(&[0; HEADER_LEN]);
    }
}

/// Writes an entry into the place made for it.
#[inline]
fn write_entry(place: &mut [u8], head: &[u8], body: &[u8]) {
    let len = head.len() + body.len();
    place[..head.len()].copy_from_slice(head);
    place[head.len()..len].copy_from_slice(body);
    write_back(&mut place[len..], len);
}

/// Adds an element at the end.
#[inline]
pub fn push_back<'e>(run: &mut Vec<u8>, element: impl Into<Element<'e>>) {
    begin(run);
    let (head, head_len, body) = element.into().encode();
    let len = head_len + body.len();
    let mut back = [0; 5];
    let back = &mut back[..back_len(len)];
    write_back(back, len);
    run.reserve(len + back.len());
    run.extend_from_slice(&head[..head_len]);
    run.extend_from_slice(body);
    run.extend_from_slice(back);
    count_more(run, 1);
}

/// Adds an element at the beginning.
#[inline]
pub fn push_front<'e>(run: &mut Vec<u8>, element: impl Into<Element<'e>>) {
    insert(run, HEADER_LEN, element);
}

/// Puts an element in front of the entry at offset `at`, or at the end if `at` is the run's end. To insert behind an entry, insert at
/// [`Listpack::next`] of it.
pub fn insert<'e>(run: &mut Vec<u8>, at: usize, element: impl Into<Element<'e>>) {
    begin(run);
    let (head, head_len, body) = element.into().encode();
    let len = head_len + body.len();
    let len = len + back_len(len);
    resize_at(run, at, 0, len);
    write_entry(&mut run[at..at + len], &head[..head_len], body);
    count_more(run, 1);
}

/// Puts another element in the place of the one at offset `at`.
pub fn replace<'e>(run: &mut Vec<u8>, at: usize, element: impl Into<Element<'e>>) {
    let (head, head_len, body) = element.into().encode();
    let len = head_len + body.len();
    let len = len + back_len(len);
    let old = entry_end(run, at) - at;
    resize_at(run, at, old, len);
    write_entry(&mut run[at..at + len], &head[..head_len], body);
}

/// Removes up to `n` entries from the one at offset `at` on; says how many there were.
pub fn remove(run: &mut Vec<u8>, at: usize, n: usize) -> usize {
    let mut end = at;
    let mut removed = 0;
    while removed < n && end < run.len() {
        end = entry_end(run, end);
        removed += 1;
    }
    if removed > 0 {
        resize_at(run, at, end - at, 0);
        count_fewer(run, removed);
    }
    removed
}

/// Removes up to `n` elements from number `index` on; says how many there were.
pub fn remove_range(run: &mut Vec<u8>, index: usize, n: usize) -> usize {
    let view = Listpack::new(run);
    let len = view.len();
    let Some(at) = view.offset(index) else { return 0 };
    if n < len - index {
        return remove(run, at, n);
    }
    run.truncate(at.min(run.len()));
    if !run.is_empty() {
        set_count(run, index);
    }
    len - index
}

/// Removes the entries at these offsets, which are in order, in one pass.
pub fn remove_all(run: &mut Vec<u8>, offsets: &[usize]) {
    let Some(&first) = offsets.first() else { return };
    let mut to = first;
    for (i, &at) in offsets.iter().enumerate() {
        let (from, end) = (entry_end(run, at), offsets.get(i + 1).copied().unwrap_or(run.len()));
        run.copy_within(from..end, to);
        to += end - from;
    }
    run.truncate(to);
    count_fewer(run, offsets.len());
}

/// Removes the last element, if there is one.
pub fn pop_back(run: &mut Vec<u8>) -> bool {
    let Some(at) = Listpack::new(run).last() else { return false };
    run.truncate(at);
    count_fewer(run, 1);
    true
}

/// Adds all elements of another run at the end.
pub fn append(run: &mut Vec<u8>, other: Listpack<'_>) {
    if other.is_empty() {
        return;
    }
    begin(run);
    run.extend_from_slice(other.entries());
    match (stored_count(run), stored_count(other.bytes)) {
        (COUNT_UNKNOWN, _) => {}
        (_, COUNT_UNKNOWN) => set_count(run, usize::MAX),
        (_, count) => count_more(run, usize::from(count)),
    }
}

/// Takes the elements from number `index` on away into a run of their own.
pub fn split_off(run: &mut Vec<u8>, index: usize) -> Vec<u8> {
    let view = Listpack::new(run);
    let len = view.len();
    let Some(at) = view.offset(index).filter(|_| index < len) else { return Vec::new() };
    let mut tail = Vec::with_capacity(HEADER_LEN + run.len() - at);
    tail.extend_from_slice(&[0; HEADER_LEN]);
    tail.extend_from_slice(&run[at..]);
    set_count(&mut tail, len - index);
    run.truncate(at);
    set_count(run, index);
    tail
}

/// Why bytes from outside are not a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadListpack {
    /// An entry's own length, or its backward length, is beyond the end.
    #[error("the packed run ends inside the entry at byte {at}")]
    Short {
        /// Offset of the entry.
        at: usize,
    },
    /// A first byte that no entry has.
    #[error("the entry at byte {at} has the unknown encoding {encoding:#04x}")]
    Encoding {
        /// Offset of the entry.
        at: usize,
        /// Its first byte.
        encoding: u8,
    },
    /// Reading from behind would lead elsewhere.
    #[error("the backward length of the entry at byte {at} is not its length")]
    BackLength {
        /// Offset of the entry.
        at: usize,
    },
    /// It has a shorter encoding, or is an integer as text: no harm in a file, impossible in memory.
    #[error("the entry at byte {at} is not in its shortest form")]
    NotShortest {
        /// Offset of the entry.
        at: usize,
    },
    /// The header's count is wrong.
    #[error("the packed run counts {stated} entries and has {found}")]
    Count {
        /// What the header says.
        stated: usize,
        /// What is there.
        found: usize,
    },
}

/// Checks one entry of bytes from outside; says where it ends.
fn check_entry(bytes: &[u8], at: usize) -> Result<usize, BadListpack> {
    let short = BadListpack::Short { at };
    let rest = &bytes[at..];
    let head = |len: usize| rest.get(..len).ok_or(short);
    let len = match *rest.first().ok_or(short)? {
        0..=0x7f => 1,
        first @ 0x80..=0xbf => 1 + usize::from(first & 0x3f),
        0xc0..=0xdf => 2,
        0xf1 => 3,
        0xf2 => 4,
        0xf3 => 5,
        0xf4 => 9,
        0xe0..=0xef => head(2).map(|_| long_string(bytes, at))?.1 + 2,
        0xf0 => (head(5).map(|_| long_string(bytes, at))?.1).checked_add(5).ok_or(short)?,
        encoding => return Err(BadListpack::Encoding { at, encoding }),
    };
    let whole = len.checked_add(back_len(len)).filter(|&whole| whole <= rest.len()).ok_or(short)?;
    let mut back = [0; 5];
    let back = &mut back[..whole - len];
    write_back(back, len);
    if rest[len..whole] != *back {
        return Err(BadListpack::BackLength { at });
    }
    Ok(at + whole)
}

/// Whether the entry at `at`, which has been checked, is what this module would write for its element.
fn is_shortest(bytes: &[u8], at: usize) -> bool {
    let element = match element_at(bytes, at) {
        Element::Bytes(text) => Element::from(text),
        integer => integer,
    };
    let (head, head_len, _) = element.encode();
    bytes[at..].starts_with(&head[..head_len])
}

/// A run of entries from outside (without any header or terminator), all of it checked; what is not in its shortest form is written anew.
///
/// # Errors
/// [`BadListpack`]; offsets are those in `entries`.
pub fn from_entries(entries: &[u8]) -> Result<Vec<u8>, BadListpack> {
    let (mut at, mut count, mut shortest) = (0, 0usize, true);
    while at < entries.len() {
        let end = check_entry(entries, at)?;
        shortest &= is_shortest(entries, at);
        at = end;
        count += 1;
    }
    let mut run = Vec::new();
    if count == 0 {
        return Ok(run);
    }
    run.reserve_exact(HEADER_LEN + entries.len());
    run.extend_from_slice(&[0; HEADER_LEN]);
    if shortest {
        run.extend_from_slice(entries);
        set_count(&mut run, count);
        return Ok(run);
    }
    at = 0;
    while at < entries.len() {
        match element_at(entries, at) {
            Element::Bytes(bytes) => push_back(&mut run, bytes),
            integer => push_back(&mut run, integer),
        }
        at = entry_end(entries, at);
    }
    Ok(run)
}

/// Whether these bytes are a run as this module makes them: header, every entry, every form.
///
/// # Errors
/// [`BadListpack`].
pub fn validate(run: &[u8]) -> Result<(), BadListpack> {
    if run.is_empty() {
        return Ok(());
    }
    if run.len() < HEADER_LEN {
        return Err(BadListpack::Short { at: 0 });
    }
    let (mut at, mut found) = (HEADER_LEN, 0usize);
    while at < run.len() {
        let end = check_entry(run, at)?;
        if !is_shortest(run, at) {
            return Err(BadListpack::NotShortest { at });
        }
        at = end;
        found += 1;
    }
    let stated = stored_count(run);
    if stated != u16::try_from(found).unwrap_or(COUNT_UNKNOWN) {
        return Err(BadListpack::Count { stated: usize::from(stated), found });
    }
    Ok(())
}

#[cfg(test)]
#[path = "listpack_tests.rs"]
mod tests;

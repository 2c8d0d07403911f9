//! The directory of a database's index: which segment holds a position.
//!
//! Two levels: the root, by the first bits of a position, knows pages; a page, by the next nine bits, knows segments. A page that is
//! too shallow splits in two, and only when its own depth passes the root's does the root double: at 250 million keys that is
//! a copy of 32 KB, so no pause grows with the data.
//!
//! 1. Either there is no segment at all, or every position has exactly one.
//! 2. A page of depth p covers all positions with one prefix of p bits. Its segments have depths of p to p + 9; one of depth d fills
//!    2^(p + 9 - d) entries side by side.
//! 3. The directory owns its segments; handles never leave it but inside borrowed or owned segments.

use super::crowded::Crowded;
use super::segment::{Handle, Lines, LinesMut, Segment};
use super::size::{prefetch, size_class};

const PAGE_BITS: u32 = 9;
const PAGE_LEN: usize = 1 << PAGE_BITS;

struct Page {
    entries: [Handle; PAGE_LEN],
    depth: u32,
    /// Segments of depth p + 9.
    deepest: u32,
    /// No deadline in the page is earlier.
    earliest: u64,
}

/// Segments by position.
pub(super) struct Directory {
    /// Page number and its depth << 32.
    root: Vec<u64>,
    root_bits: u32,
    pages: Vec<Option<Box<Page>>>,
    unused: Vec<u32>,
    /// Pages whose depth is `root_bits`.
    deepest: usize,
    segments: usize,
    used_bytes: u64,
}

/// A segment, borrowed.
#[derive(Clone, Copy)]
pub(super) enum SegmentRef<'a> {
    Lines(Lines<'a>),
    Crowded(&'a Crowded),
}

/// A segment, borrowed to change it.
pub(super) enum SegmentMut<'a> {
    Lines(LinesMut<'a>),
    Crowded(&'a mut Crowded),
}

/// What a page says about deadlines.
pub(super) struct PageDeadlines {
    pub(super) first: u64,
    pub(super) last: u64,
    /// No deadline in the page is earlier.
    pub(super) earliest: u64,
}

/// A segment, owned.
pub(super) enum Owned {
    Lines(Segment),
    Crowded(Box<Crowded>),
}

impl Owned {
    fn used_bytes(&self) -> u64 {
        match self {
            Owned::Lines(segment) => segment.lines().len_bytes(),
            Owned::Crowded(crowded) => crowded.used_bytes(),
        }
    }
}

/// The first position of the `depth`-bit prefix of `position`.
pub(super) fn first_of(position: u64, depth: u32) -> u64 {
    position & !(u64::MAX >> depth)
}

/// The last one.
pub(super) fn last_of(position: u64, depth: u32) -> u64 {
    position | u64::MAX >> depth
}

impl Directory {
    pub(super) fn new() -> Directory {
        Directory {
            root: Vec::new(),
            root_bits: 0,
            pages: Vec::new(),
            unused: Vec::new(),
            deepest: 0,
            segments: 0,
            used_bytes: 0,
        }
    }

    /// Bytes of segments and of the directory itself.
    pub(super) fn used_bytes(&self) -> u64 {
        let pages = (self.pages.len() - self.unused.len()) * size_class(size_of::<Page>());
        self.used_bytes + (pages + (self.root.capacity() + self.pages.capacity()) * 8) as u64
    }

    /// How many segments.
    pub(super) fn segments(&self) -> usize {
        self.segments
    }

    #[inline]
    fn root_index(&self, position: u64) -> usize {
        (position >> 1 >> (63 - self.root_bits)) as usize
    }

    #[inline]
    fn entry_index(position: u64, page_depth: u32) -> usize {
        (position << page_depth >> (64 - PAGE_BITS)) as usize
    }

    /// The page of `position` and the index of its entry.
    #[inline]
    fn page(&self, position: u64) -> Option<(&Page, usize)> {
        let entry = *self.root.get(self.root_index(position))?;
        let page = self.pages.get(entry as u32 as usize)?.as_deref()?;
        Some((page, Self::entry_index(position, (entry >> 32) as u32)))
    }

    fn page_mut(&mut self, position: u64) -> Option<(&mut Page, usize)> {
        let entry = *self.root.get(self.root_index(position))?;
        let page = self.pages.get_mut(entry as u32 as usize)?.as_deref_mut()?;
        Some((page, Self::entry_index(position, (entry >> 32) as u32)))
    }

    #[inline]
    fn handle(&self, position: u64) -> Handle {
        self.page(position).map_or(Handle::NONE, |(page, at)| page.entries[at])
    }

    /// Depth of the segment of `position`; `None` if there is no segment at all.
    #[inline]
    pub(super) fn depth(&self, position: u64) -> Option<u32> {
        let handle = self.handle(position);
        (!handle.is_none()).then(|| handle.depth())
    }

    /// The segment of `position`.
    #[inline]
    pub(super) fn get(&self, position: u64) -> Option<SegmentRef<'_>> {
        let handle = self.handle(position);
        if handle.main() != 0 {
            // SAFETY: handles in the directory are of segments it owns, and it is borrowed.
            return Some(SegmentRef::Lines(unsafe { handle.lines() }));
        }
        if handle.is_none() {
            return None;
        }
        let crowded = std::ptr::with_exposed_provenance::<Crowded>(handle.address() as usize);
        // SAFETY: a handle without lines is of a crowded segment's box, which the directory owns, and it is borrowed.
        Some(SegmentRef::Crowded(unsafe { &*crowded }))
    }

    /// The segment of `position`, to change it.
    #[inline]
    pub(super) fn get_mut(&mut self, position: u64) -> Option<SegmentMut<'_>> {
        let handle = self.handle(position);
        if handle.main() != 0 {
            // SAFETY: handles in the directory are of segments it owns, and it is borrowed alone.
            return Some(SegmentMut::Lines(unsafe { handle.lines_mut() }));
        }
        if handle.is_none() {
            return None;
        }
        let crowded = std::ptr::with_exposed_provenance_mut::<Crowded>(handle.address() as usize);
        // SAFETY: a handle without lines is of a crowded segment's box, which the directory owns, and it is borrowed alone.
        Some(SegmentMut::Crowded(unsafe { &mut *crowded }))
    }

    /// Whether a segment of `depth` at `position` may be split without the root growing out of proportion to the pages.
    pub(super) fn may_deepen(&self, position: u64, depth: u32) -> bool {
        let page_depth = self.page(position).map_or(0, |(page, _)| page.depth);
        let root_doubles = depth == page_depth + PAGE_BITS && page_depth == self.root_bits;
        depth < 40 && (!root_doubles || self.root.len() <= 16 + 8 * (self.pages.len() - self.unused.len()))
    }

    /// Whether a segment of `depth` at `position` may merge with its neighbour: their page is not theirs alone.
    pub(super) fn may_lift(&self, position: u64, depth: u32) -> bool {
        self.page(position).is_some_and(|(page, _)| depth > page.depth)
    }

    /// Takes the segment of `position` out. Another, or several, must be put in its place before anything else is asked.
    pub(super) fn take(&mut self, position: u64) -> Option<(Owned, u32)> {
        let handle = self.handle(position);
        if handle.is_none() {
            return None;
        }
        let depth = handle.depth();
        self.fill(position, depth, Handle::NONE);
        let owned = if handle.main() != 0 {
            // SAFETY: the directory owned the segment, and has no handle of it any more.
            Owned::Lines(unsafe { Segment::from_handle(handle) })
        } else {
            let crowded = std::ptr::with_exposed_provenance_mut::<Crowded>(handle.address() as usize);
            // SAFETY: the handle was made from a box that the directory owned; no other handle of it is left.
            Owned::Crowded(unsafe { Box::from_raw(crowded) })
        };
        self.segments -= 1;
        self.used_bytes -= owned.used_bytes();
        Some((owned, depth))
    }

    /// Puts a segment of `depth` where there is none.
    pub(super) fn put(&mut self, position: u64, depth: u32, owned: Owned) {
        if self.root.is_empty() {
            let entries = [Handle::NONE; PAGE_LEN];
            self.pages = vec![Some(Box::new(Page { entries, depth: 0, deepest: 0, earliest: u64::MAX }))];
            self.unused.clear();
            (self.root, self.root_bits, self.deepest) = (vec![0], 0, 1);
        }
        while self.page(position).is_some_and(|(page, _)| page.depth + PAGE_BITS < depth) {
            self.split_page(position);
        }
        self.segments += 1;
        self.used_bytes += owned.used_bytes();
        let (earliest, handle) = match owned {
            Owned::Lines(segment) => (segment.lines().earliest(), segment.into_handle()),
            Owned::Crowded(crowded) => {
                let earliest = crowded.earliest;
                (earliest, Handle::crowded(depth, Box::into_raw(crowded).expose_provenance() as u64))
            }
        };
        debug_assert_eq!(handle.depth(), depth);
        self.fill(position, depth, handle);
        if let Some((page, _)) = self.page_mut(position) {
            page.earliest = page.earliest.min(earliest);
        }
    }

    /// Changes the count of bytes of a crowded segment, which grows without being taken out.
    pub(super) fn count_crowded(&mut self, before: u64, after: u64) {
        self.used_bytes = self.used_bytes + after - before;
    }

    /// Sets the entries of the prefix of `depth` bits; they all are of one segment, or of none.
    fn fill(&mut self, position: u64, depth: u32, handle: Handle) {
        let Some((page, at)) = self.page_mut(position) else { unreachable!("no page at {position:#x}") };
        assert!(depth >= page.depth, "a segment of depth {depth} does not fit a page of depth {}", page.depth);
        let len = 1usize << (page.depth + PAGE_BITS - depth);
        let start = at & !(len - 1);
        let before = page.entries[start];
        debug_assert!(page.entries[start..start + len].iter().all(|entry| *entry == before));
        debug_assert!(before.is_none() || handle.is_none());
        if len == 1 {
            page.deepest = page.deepest + u32::from(!handle.is_none()) - u32::from(!before.is_none());
        }
        page.entries[start..start + len].fill(handle);
    }

    /// Replaces the page of `position` by two of the next depth.
    fn split_page(&mut self, position: u64) {
        let old_index = self.root_index(position);
        let old = self.root[old_index];
        let depth = (old >> 32) as u32 + 1;
        if depth > self.root_bits {
            self.root = self.root.iter().flat_map(|entry| [*entry, *entry]).collect();
            self.root_bits += 1;
            self.deepest = 0;
        }
        let Some(page) = self.pages[old as u32 as usize].take() else { unreachable!("the root knows pages that are") };
        self.unused.push(old as u32);
        for half in 0..2 {
            let source = &page.entries[half * PAGE_LEN / 2..(half + 1) * PAGE_LEN / 2];
            let mut entries = [Handle::NONE; PAGE_LEN];
            for (at, handle) in source.iter().enumerate() {
                entries[2 * at] = *handle;
                entries[2 * at + 1] = *handle;
            }
            let number = self.add_page(Box::new(Page { entries, depth, deepest: 0, earliest: page.earliest }));
            let first = first_of(position, depth - 1) | (half as u64) << (64 - depth);
            self.point(first, depth, number);
        }
        self.deepest += if depth == self.root_bits { 2 } else { 0 };
    }

    /// Has the root's entries of a prefix say that this page is theirs.
    fn point(&mut self, position: u64, depth: u32, number: u32) {
        let first = self.root_index(first_of(position, depth));
        let len = 1usize << (self.root_bits - depth);
        self.root[first..first + len].fill(u64::from(number) | u64::from(depth) << 32);
    }

    fn add_page(&mut self, page: Box<Page>) -> u32 {
        if let Some(number) = self.unused.pop() {
            self.pages[number as usize] = Some(page);
            return number;
        }
        self.pages.push(Some(page));
        (self.pages.len() - 1) as u32
    }

    /// Merges the page of `position` with its neighbour if no segment of either needs the last bit; repeats, and shrinks the root,
    /// as long as that goes.
    pub(super) fn merge_pages(&mut self, position: u64) {
        while let Some((page, _)) = self.page(position) {
            let depth = page.depth;
            if depth == 0 || page.deepest != 0 {
                return;
            }
            let low = first_of(position, depth - 1);
            let high = low | 1 << (64 - depth);
            let Some((other, _)) = self.page(position ^ 1 << (64 - depth)) else { return };
            if other.depth != depth || other.deepest != 0 {
                return;
            }
            let numbers = [low, high].map(|first| self.root[self.root_index(first)] as u32);
            let mut merged =
                Box::new(Page { entries: [Handle::NONE; PAGE_LEN], depth: depth - 1, deepest: 0, earliest: u64::MAX });
            for (half, number) in numbers.into_iter().enumerate() {
                let Some(page) = self.pages[number as usize].take() else {
                    unreachable!("the root knows pages that are")
                };
                self.unused.push(number);
                merged.earliest = merged.earliest.min(page.earliest);
                for at in 0..PAGE_LEN / 2 {
                    merged.entries[half * PAGE_LEN / 2 + at] = page.entries[2 * at];
                }
            }
            // Segments one level above the old pages' last are the new page's deepest.
            let last = depth - 1 + PAGE_BITS;
            merged.deepest =
                merged.entries.iter().filter(|entry| !entry.is_none() && entry.depth() == last).count() as u32;
            let number = self.add_page(merged);
            self.point(low, depth - 1, number);
            if depth == self.root_bits {
                self.deepest -= 2;
                self.shrink_root();
            }
        }
    }

    fn shrink_root(&mut self) {
        while self.deepest == 0 && self.root_bits > 0 {
            self.root = self.root.iter().step_by(2).copied().collect();
            self.root_bits -= 1;
            let bits = u64::from(self.root_bits);
            self.deepest = self.root.iter().filter(|entry| *entry >> 32 == bits).count();
        }
        // The list of pages never shrinks by itself: give back what a much larger database needed.
        while self.pages.len() > 64
            && self.unused.len() > self.pages.len() / 2
            && self.pages.last().is_some_and(Option::is_none)
        {
            self.pages.pop();
            let end = self.pages.len() as u32;
            self.unused.retain(|number| *number < end);
        }
    }

    /// Notes that an entry at `position` has a deadline.
    pub(super) fn note_deadline(&mut self, position: u64, deadline: u64) {
        if let Some((page, _)) = self.page_mut(position) {
            page.earliest = page.earliest.min(deadline);
        }
        match self.get_mut(position) {
            Some(SegmentMut::Lines(mut lines)) => {
                let earliest = lines.view().earliest();
                lines.set_earliest(earliest.min(deadline));
            }
            Some(SegmentMut::Crowded(crowded)) => crowded.earliest = crowded.earliest.min(deadline),
            None => {}
        }
    }

    /// The page of `position` for whoever looks for deadlines; `None` if there is no page.
    pub(super) fn page_deadlines(&self, position: u64) -> Option<PageDeadlines> {
        self.page(position).map(|(page, _)| PageDeadlines {
            first: first_of(position, page.depth),
            last: last_of(position, page.depth),
            earliest: page.earliest,
        })
    }

    /// States anew that no deadline in the page of `position` is before `earliest`.
    pub(super) fn set_page_earliest(&mut self, position: u64, earliest: u64) {
        if let Some((page, _)) = self.page_mut(position) {
            page.earliest = earliest;
        }
    }

    /// Fetches the directory's entry for `position` ahead.
    #[inline]
    pub(super) fn prefetch_entry(&self, position: u64) {
        if let Some((page, at)) = self.page(position) {
            prefetch(&raw const page.entries[at]);
        }
    }

    /// Fetches the home line of `position` ahead.
    #[inline]
    pub(super) fn prefetch_line(&self, position: u64) {
        self.handle(position).prefetch_line(position);
    }

    /// Fetches the blobs ahead that `position` may be in.
    #[inline]
    pub(super) fn prefetch_blobs(&self, position: u64) {
        if let Some(SegmentRef::Lines(lines)) = self.get(position) {
            lines.prefetch_blobs(position);
        }
    }

    /// Compares everything with the invariants above.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let mut segments = 0;
        let mut used_bytes = 0;
        let mut position = 0;
        while !self.root.is_empty() {
            let (page, at) = self.page(position).unwrap();
            let handle = page.entries[at];
            assert!(!handle.is_none(), "no segment at {position:#x}");
            let depth = handle.depth();
            assert!((page.depth..=page.depth + PAGE_BITS).contains(&depth));
            let len = 1 << (page.depth + PAGE_BITS - depth);
            assert_eq!(at % len, 0);
            assert!(page.entries[at..at + len].iter().all(|entry| *entry == handle));
            segments += 1;
            used_bytes += match self.get(position).unwrap() {
                SegmentRef::Lines(lines) => lines.len_bytes(),
                SegmentRef::Crowded(crowded) => crowded.used_bytes(),
            };
            let Some(next) = last_of(position, depth).checked_add(1) else { break };
            position = next;
        }
        assert_eq!((self.segments, self.used_bytes), (segments, used_bytes));
        let mut pages = 0;
        for page in self.pages.iter().flatten() {
            pages += 1;
            let last = page.depth + PAGE_BITS;
            let deepest = page.entries.iter().filter(|entry| entry.depth() == last).count();
            assert_eq!(page.deepest as usize, deepest, "at page depth {}", page.depth);
        }
        let deepest = self.pages.iter().flatten().filter(|page| page.depth == self.root_bits).count();
        assert_eq!((self.deepest, pages), (deepest, self.pages.len() - self.unused.len()));
        assert!(self.root_bits == 0 || deepest > 0, "the root is larger than it need be");
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let mut position = 0;
        while let Some((owned, depth)) = self.take(position) {
            drop(owned);
            match last_of(position, depth).checked_add(1) {
                Some(next) => position = next,
                None => return,
            }
        }
    }
}

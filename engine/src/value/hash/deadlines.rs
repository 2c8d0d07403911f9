//! When the fields of a table die: bounds by which dead fields of a hash of any size are found without walking it.
//!
//! The positions of a table are divided into equal regions of about a hundred fields, and each region has a bound: no field in it dies
//! earlier. Regions are grouped into pages with a bound of their own.
//! 1. A bound may be too early (a field was removed, or lives longer now), never too late. Whoever visits a region that is due states its
//!    bound anew.
//! 2. The number of fields with a deadline is exact.
//! 3. Regions follow the number of fields in powers of two. To divide or join them takes no look at any field: both halves inherit the bound.
//! 4. A clone shares its pages; who changes one copies it: 4 KB.

use crate::keyspace::size_class;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Regions of a page.
const PAGE_LEN: usize = 512;
/// Fields of a region at most, on average; beyond that regions are divided.
const REGION_FIELDS_MAX: usize = 128;
/// Fewer fields than this, on average: regions are joined.
const REGION_FIELDS_MIN: usize = 16;
/// No field of the region, page or hash has a deadline.
const NEVER: u64 = u64::MAX;

/// Bounds of one hash.
#[derive(Clone, Debug)]
pub(super) struct Deadlines {
    /// Fields that have a deadline.
    mortal: usize,
    /// The lowest bound of all pages.
    earliest: u64,
    /// Regions are `1 << bits`; a position's high bits say which one it is in.
    bits: u32,
    pages: Vec<Page>,
}

#[derive(Clone, Debug)]
struct Page {
    /// The lowest bound of its regions.
    earliest: u64,
    /// Unix ms each.
    regions: Arc<[u64]>,
}

impl Page {
    fn new(regions: &[u64]) -> Page {
        Page { earliest: lowest(regions), regions: regions.into() }
    }
}

fn lowest(bounds: &[u64]) -> u64 {
    bounds.iter().copied().min().unwrap_or(NEVER)
}

impl Deadlines {
    /// Of a table of `fields` fields, none of which has a deadline yet.
    pub(super) fn new(fields: usize) -> Deadlines {
        let mut deadlines = Deadlines { mortal: 0, earliest: NEVER, bits: 0, pages: vec![Page::new(&[NEVER])] };
        deadlines.follow(fields);
        deadlines
    }

    /// Fields that have a deadline.
    pub(super) fn mortal(&self) -> usize {
        self.mortal
    }

    /// No field dies before this.
    #[inline]
    pub(super) fn earliest(&self) -> u64 {
        self.earliest
    }

    fn region(&self, position: u64) -> usize {
        position.checked_shr(u64::BITS - self.bits).unwrap_or(0) as usize
    }

    /// A field at `position` had the deadline `old` and has `new` now.
    pub(super) fn change(&mut self, position: u64, old: Option<u64>, new: Option<u64>) {
        self.mortal = self.mortal - usize::from(old.is_some()) + usize::from(new.is_some());
        let Some(at) = new else { return };
        let region = self.region(position);
        let page = &mut self.pages[region / PAGE_LEN];
        if at < page.regions[region % PAGE_LEN] {
            Arc::make_mut(&mut page.regions)[region % PAGE_LEN] = at;
            page.earliest = page.earliest.min(at);
            self.earliest = self.earliest.min(at);
        }
    }

    /// The first region in which a field may have died, as a range of positions.
    pub(super) fn due(&self, now_ms: u64) -> Option<RangeInclusive<u64>> {
        if self.earliest > now_ms {
            return None;
        }
        let number = self.pages.iter().position(|page| page.earliest <= now_ms)?;
        let within = self.pages[number].regions.iter().position(|&bound| bound <= now_ms)?;
        let region = (number * PAGE_LEN + within) as u64;
        let width = u64::MAX >> self.bits; // The last position of the first region.
        let first = region.checked_shl(u64::BITS - self.bits).unwrap_or(0);
        Some(first..=first | width)
    }

    /// States the bound of the region that begins at position `first` anew: the earliest deadline that was seen in it,
    /// `u64::MAX` for none.
    pub(super) fn restate(&mut self, first: u64, earliest: u64) {
        let region = self.region(first);
        let page = &mut self.pages[region / PAGE_LEN];
        Arc::make_mut(&mut page.regions)[region % PAGE_LEN] = earliest;
        page.earliest = lowest(&page.regions);
        self.earliest = self.pages.iter().map(|page| page.earliest).min().unwrap_or(NEVER);
    }

    /// Divides or joins regions after the table has come to `fields` fields.
    #[inline]
    pub(super) fn follow(&mut self, fields: usize) {
        if !self.suits(fields) {
            self.resize(fields);
        }
    }

    /// Whether there are neither too many nor too few regions for a table of `fields` fields.
    #[inline]
    pub(super) fn suits(&self, fields: usize) -> bool {
        let regions = 1usize << self.bits;
        fields <= regions * REGION_FIELDS_MAX && (self.bits == 0 || fields >= regions * REGION_FIELDS_MIN)
    }

    #[cold]
    fn resize(&mut self, fields: usize) {
        // In the middle, so that neither bound is near.
        let bits = (fields / (REGION_FIELDS_MAX / 2)).max(1).ilog2();
        let old: Vec<u64> = self.pages.iter().flat_map(|page| page.regions.iter().copied()).collect();
        let bounds: Vec<u64> = if bits >= self.bits {
            (0..1usize << bits).map(|region| old[region >> (bits - self.bits)]).collect()
        } else {
            old.chunks(1 << (self.bits - bits)).map(lowest).collect()
        };
        self.bits = bits;
        self.pages = bounds.chunks(PAGE_LEN).map(Page::new).collect();
    }

    /// Bytes it takes besides itself.
    pub(super) fn used_bytes(&self) -> usize {
        let regions = 1usize << self.bits;
        // Every page is as long as the first one; two counters stand in front of an `Arc`'s contents.
        let page_len = regions.min(PAGE_LEN);
        self.pages.len() * size_class(page_len * 8 + 16) + size_class(self.pages.capacity() * size_of::<Page>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Takes all dead fields of a model away as a hash does, and says which.
    fn reclaim(deadlines: &mut Deadlines, model: &mut BTreeMap<u64, Option<u64>>, now_ms: u64) -> Vec<u64> {
        let mut dead = Vec::new();
        while let Some(region) = deadlines.due(now_ms) {
            let (first, mut earliest) = (*region.start(), NEVER);
            for (&position, &deadline) in model.range(region) {
                match deadline {
                    Some(at) if at <= now_ms => dead.push(position),
                    Some(at) => earliest = earliest.min(at),
                    None => {}
                }
            }
            deadlines.restate(first, earliest);
        }
        for position in &dead {
            let old = model.remove(position).unwrap();
            deadlines.change(*position, old, None);
            deadlines.follow(model.len());
        }
        dead
    }

    #[test]
    fn regions_are_visited_only_when_they_are_due() {
        let mut deadlines = Deadlines::new(100_000);
        assert!(deadlines.bits > 8);
        deadlines.change(u64::MAX, None, Some(50));
        deadlines.change(1, None, Some(70));
        assert_eq!((deadlines.earliest(), deadlines.mortal(), deadlines.due(49)), (50, 2, None));
        let region = deadlines.due(50).unwrap();
        assert_eq!(*region.end(), u64::MAX);
        deadlines.change(u64::MAX, Some(50), None);
        deadlines.restate(*region.start(), NEVER);
        assert_eq!((deadlines.earliest(), deadlines.mortal(), deadlines.due(69)), (70, 1, None));
        assert_eq!(deadlines.due(70).map(|region| *region.start()), Some(0));
    }

    #[test]
    fn a_clone_keeps_its_bounds() {
        let mut deadlines = Deadlines::new(10);
        deadlines.change(5, None, Some(50));
        let clone = deadlines.clone();
        deadlines.change(6, None, Some(40));
        assert_eq!((deadlines.earliest(), clone.earliest(), clone.due(45)), (40, 50, None));
    }

    proptest! {
        /// Whatever happens to fields, every dead one is found, at any number of regions.
        #[test]
        fn every_dead_field_is_found(
            start in 0usize..5000,
            steps in proptest::collection::vec((any::<u64>(), proptest::option::of(1u64..1000), 0u8..4), 1..400),
        ) {
            let mut model: BTreeMap<u64, Option<u64>> = (0..start as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15), None)).collect();
            let mut deadlines = Deadlines::new(model.len());
            let mut now_ms = 0;
            for (position, deadline, what) in steps {
                match what {
                    0 => {
                        now_ms += position % 50;
                        let mut expected: Vec<u64> = model.iter().filter(|(_, at)| at.is_some_and(|at| at <= now_ms)).map(|(&position, _)| position).collect();
                        let mut dead = reclaim(&mut deadlines, &mut model, now_ms);
                        dead.sort_unstable();
                        expected.sort_unstable();
                        prop_assert_eq!(dead, expected);
                    }
                    1 if !model.is_empty() => {
                        // Another look at a field that is there: it goes, or its deadline moves.
                        let (&there, &old) = model.range(position..).next().or_else(|| model.iter().next()).unwrap();
                        deadlines.change(there, old, deadline);
                        match deadline {
                            Some(_) => model.insert(there, deadline),
                            None => model.remove(&there),
                        };
                    }
                    _ => {
                        let old = model.insert(position, deadline).flatten();
                        deadlines.change(position, old, deadline);
                    }
                }
                deadlines.follow(model.len());
                prop_assert_eq!(deadlines.mortal(), model.values().flatten().count());
                prop_assert!(model.values().flatten().all(|&at| deadlines.earliest() <= at));
            }
        }
    }
}

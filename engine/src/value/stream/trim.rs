//! Trimming: removing the oldest entries until few enough, or none too old, are left.

use super::{Id, Stream};

/// Where trimming stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Threshold {
    /// So many entries may stay.
    MaxLen(u64),
    /// Entries from this ID on stay.
    MinId(Id),
}

/// How to trim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trim {
    /// Where to stop.
    pub threshold: Threshold,
    /// Whether only whole nodes go.
    pub approximate: bool,
    /// How many entries go at most; 0: no limit.
    pub limit: u64,
}

impl Stream {
    /// Trims; says how many entries went. As in Redis a node counts as too old by the newest entry it ever had.
    pub fn trim(&mut self, trim: &Trim) -> u64 {
        let mut trimmed = 0;
        while let Some(oldest) = self.sealed.first().or(self.tail.as_ref()) {
            let entries = oldest.len() as u64;
            let whole = match trim.threshold {
                Threshold::MaxLen(max) if self.len <= max => break,
                Threshold::MaxLen(max) => self.len - entries >= max,
                Threshold::MinId(id) => oldest.last() < id,
            };
            if trim.limit != 0 && trimmed + entries > trim.limit {
                break;
            }
            let first = oldest.first();
            if whole {
                self.drop_node(first);
                self.len -= entries;
                trimmed += entries;
                continue;
            }
            if !trim.approximate {
                trimmed += self.trim_oldest(trim.threshold);
            }
            break;
        }
        trimmed
    }

    /// Trims within the oldest node.
    fn trim_oldest(&mut self, threshold: Threshold) -> u64 {
        let (n, bound) = match threshold {
            Threshold::MaxLen(max) => ((self.len - max) as usize, None),
            Threshold::MinId(id) => (usize::MAX, Some(id)),
        };
        let Some(oldest) = self.sealed.first().or(self.tail.as_ref()) else { return 0 };
        // Nothing to do is the rule for MINID: then the node is not to be copied.
        if bound.is_some_and(|bound| oldest.entries().next().is_none_or(|entry| entry.id >= bound)) {
            return 0;
        }
        let first = oldest.first();
        let trimmed = self.edit_node(first, |node| node.trim(n, bound)) as u64;
        self.len -= trimmed;
        trimmed
    }
}

//! The best candidates of all that were looked at lately.
//!
//! It lasts from step to step: an entry that was found old stays a candidate until it goes, is used, or better ones push it
//! out. What it holds are positions, not keys, so that it costs no allocation.

/// Candidates at most. The more, the closer the choice comes to the oldest `1 / samples` of all keys, which is as good as so many
/// samples get.
const LEN_MAX: usize = 64;

/// An entry that may go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Candidate {
    /// The lower, the sooner.
    pub(super) rank: u64,
    /// Its key's position.
    pub(super) position: u64,
    /// Its database.
    pub(super) db: usize,
    /// What told that it is as it was; `None` never does.
    pub(super) mark: Option<u64>,
}

/// Candidates, the best one last.
#[derive(Debug, Default)]
pub(super) struct Pool {
    candidates: Vec<Candidate>,
}

impl Pool {
    /// Whether only better candidates find a place.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.candidates.len() == LEN_MAX
    }

    /// Whether a candidate of this rank would find a place.
    #[inline]
    pub(super) fn wants(&self, rank: u64) -> bool {
        self.candidates.len() < LEN_MAX || self.candidates.first().is_some_and(|worst| rank < worst.rank)
    }

    /// Takes a candidate in, in place of the worst if need be.
    pub(super) fn add(&mut self, candidate: Candidate) {
        if candidate.mark.is_none() {
            return;
        }
        // Sorted from high ranks to low ones; one that is looked at twice is there once.
        let Err(mut at) = self.candidates.binary_search_by(|other| candidate.cmp(other)) else { return };
        if self.candidates.len() == LEN_MAX {
            if at == 0 {
                return;
            }
            self.candidates.remove(0);
            at -= 1;
        }
        self.candidates.insert(at, candidate);
    }

    /// Takes the best one out.
    pub(super) fn take_best(&mut self) -> Option<Candidate> {
        self.candidates.pop()
    }

    /// Forgets all, whose ranks say nothing any more.
    pub(super) fn clear(&mut self) {
        self.candidates.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_ranks_stay_and_come_out_first() {
        let mut pool = Pool::default();
        let candidate = |rank: u64| Candidate { rank, position: rank * 7, db: 0, mark: Some(rank) };
        for rank in (0..1000).map(|at| at * 389 % 1000) {
            if pool.wants(rank) {
                pool.add(candidate(rank));
                pool.add(candidate(rank));
            }
        }
        let ranks: Vec<u64> = std::iter::from_fn(|| pool.take_best()).map(|candidate| candidate.rank).collect();
        assert_eq!(ranks, (0..LEN_MAX as u64).collect::<Vec<_>>());
        pool.add(Candidate { mark: None, ..candidate(1) });
        assert_eq!(pool.take_best(), None);
    }
}

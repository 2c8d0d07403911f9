//! Which segments are history: names alone say it, by the superseding rule of FORMAT.md.

use super::Lsn;

/// A segment that is part of history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Its index in what [`chain`] was given.
    pub index: usize,
    /// First LSN, from its name.
    pub first: Lsn,
    /// Epoch, from its name.
    pub epoch: u64,
    /// The first LSN that newer epochs hold: here it counts no more.
    pub until: Lsn,
}

/// Orders segments, given as (first LSN, epoch) of their names, and leaves out those that newer epochs supersede whole.
pub fn chain(names: &[(Lsn, u64)]) -> Vec<Link> {
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by_key(|&index| (names[index].1, names[index].0));
    let mut links = Vec::new();
    // From the newest: `until` is the lowest first LSN of all newer epochs, `lowest` that of this epoch and the newer ones.
    let (mut until, mut lowest, mut epoch) = (Lsn::MAX, Lsn::MAX, None);
    for &index in order.iter().rev() {
        let (first, of) = names[index];
        if epoch != Some(of) {
            until = lowest;
            epoch = Some(of);
        }
        lowest = lowest.min(first);
        if first < until {
            links.push(Link { index, first, epoch: of, until });
        }
    }
    links.reverse();
    links
}

/// The links that replay behind `snapshot` needs: from the last one that begins at or before the next LSN.
pub fn needed(links: &[Link], snapshot: Option<Lsn>) -> &[Link] {
    let next = snapshot.unwrap_or(0) + 1;
    let start = links.iter().rposition(|link| link.first <= next).unwrap_or(0);
    &links[start..]
}

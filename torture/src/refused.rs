//! Which of the commands in flight were refused, when a disk was full or failing and the crash cut their replies off.
//!
//! 1. While a server refuses writes it decides about each command by itself: a SET is refused for want of room, and the RENAME behind it
//!    is accepted. So any of these commands may be missing whatever comes behind it; but each one, also a transaction or a script, is
//!    there as a whole or not at all, and those that are there happened in the order in which they were sent.
//! 2. All combinations are tried until one explains what was seen; a batch is small enough for that ([`IN_FLIGHT_MAX`]). One is given
//!    up as soon as a key that no later command changes is not as it was seen.
//! 3. The shared counter is not searched for: any number of the batch's increments may be in it.

use crate::load::Sent;
use crate::model::{Change, KEYS, State};

/// Most commands of a client in flight while writes may be refused: so many give 65,536 combinations.
pub(crate) const IN_FLIGHT_MAX: usize = 16;

/// A batch whose replies were not read.
pub(crate) struct Batch<'a> {
    pub(crate) client: usize,
    pub(crate) sent: &'a [Sent],
    /// The place of a command that must be there: another client was shown it.
    pub(crate) must: Option<usize>,
    /// Whether a key of a state is as it was seen.
    pub(crate) fits: &'a dyn Fn(&State, usize) -> bool,
    /// The client's part of the shared log, as it was seen.
    pub(crate) log: (u64, u64),
}

impl Batch<'_> {
    /// The places of the commands that were refused, if what was seen can be explained. `state`: before the batch; then after it.
    pub(crate) fn refused(&self, state: &mut State) -> Option<Vec<usize>> {
        // By place: the keys that no later command changes.
        let mut settled: Vec<Vec<usize>> = vec![Vec::new(); self.sent.len()];
        for key in 0..KEYS {
            match self.sent.iter().rposition(|sent| State::touched(&sent.change).contains(&key)) {
                Some(last) => settled[last].push(key),
                None if (self.fits)(state, key) => {}
                None => return None,
            }
        }
        let mut refused = Vec::new();
        self.search(0, state, &settled, &mut refused).then_some(refused)
    }

    /// Decides about the commands from `at` on; where it finds nothing the state is as before.
    fn search(&self, at: usize, state: &mut State, settled: &[Vec<usize>], refused: &mut Vec<usize>) -> bool {
        let Some(sent) = self.sent.get(at) else { return state.log == self.log };
        if sent.change == Change::SharedCount {
            return self.search(at + 1, state, settled, refused);
        }
        let fits = |state: &State| settled[at].iter().all(|&key| (self.fits)(state, key));
        let touched = State::touched(&sent.change);
        let before: Vec<_> = touched.iter().map(|&key| (key, state.keys[key].clone())).collect();
        let log = state.log;
        state.apply(&sent.change, self.client, sent.number);
        if fits(state) && self.search(at + 1, state, settled, refused) {
            return true;
        }
        for (key, entry) in before {
            state.keys[key] = entry;
        }
        state.log = log;
        if self.must == Some(at) || !fits(state) {
            return false;
        }
        refused.push(at);
        if self.search(at + 1, state, settled, refused) {
            return true;
        }
        refused.pop();
        false
    }
}

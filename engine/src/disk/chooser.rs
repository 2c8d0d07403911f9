//! The one source of choices in a simulation: what a crash keeps, where a write is torn, what a workload does next.
//!
//! 1. The same picks give the same run: nothing else in a simulation is random.
//! 2. An odometer visits every combination exactly once, if the code that chooses is deterministic.
//! 3. Whatever the mode, the picks made so far can be printed, parsed and replayed.

use std::fmt;
use std::str::FromStr;

/// Answers "which of `n`?" questions, one after the other.
#[derive(Clone, Debug)]
pub struct Chooser {
    mode: Mode,
    /// This run's picks; behind `at` those that an odometer or a replay prescribes.
    picks: Vec<Pick>,
    at: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Pick {
    picked: u32,
    of: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Odometer,
    Seeded(u64),
    Replay,
}

impl Chooser {
    /// Enumerates: the first run picks 0 everywhere, [`Chooser::advance`] moves to the next combination.
    pub fn odometer() -> Self {
        Chooser { mode: Mode::Odometer, picks: Vec::new(), at: 0 }
    }

    /// Samples: every answer is equally likely, and the seed decides them all.
    pub fn seeded(seed: u64) -> Self {
        Chooser { mode: Mode::Seeded(seed), picks: Vec::new(), at: 0 }
    }

    /// Repeats picks that another chooser printed; picks 0 after their end.
    pub fn replay(picks: &[u32]) -> Self {
        let picks = picks.iter().map(|&picked| Pick { picked, of: 0 }).collect();
        Chooser { mode: Mode::Replay, picks, at: 0 }
    }

    /// One of `0..of`.
    ///
    /// # Panics
    /// If `of` is 0, or if an odometer's or replay's run asks other questions than the run before it.
    pub fn choose(&mut self, of: u32) -> u32 {
        assert!(of > 0, "a choice among nothing");
        let picked = match (&mut self.mode, self.picks.get(self.at)) {
            (Mode::Seeded(state), _) => below(state, of),
            (Mode::Odometer, Some(pick)) => {
                assert_eq!(
                    pick.of, of,
                    "choice {} was among {} in the run before: not deterministic",
                    self.at, pick.of
                );
                pick.picked
            }
            (Mode::Replay, Some(pick)) => {
                assert!(pick.picked < of, "pick {} is {}, but there are only {of} choices", self.at, pick.picked);
                pick.picked
            }
            (_, None) => 0,
        };
        let pick = Pick { picked, of };
        match self.picks.get_mut(self.at) {
            Some(known) => *known = pick,
            None => self.picks.push(pick),
        }
        self.at += 1;
        picked
    }

    /// True once in `of` times when sampling; both answers when enumerating, `false` first.
    pub fn once_in(&mut self, of: u32) -> bool {
        let Mode::Seeded(state) = &mut self.mode else { return self.choose(2) == 1 };
        // Recorded as the pick among two that it is, so that a replay needs no odds.
        let yes = below(state, of) == 0;
        self.picks.push(Pick { picked: u32::from(yes), of: 2 });
        self.at += 1;
        yes
    }

    /// Ends a run. An odometer moves to the next combination and says whether there is one; a seeded chooser starts a new
    /// sample (always true); a replay has only one run (false).
    pub fn advance(&mut self) -> bool {
        let asked = self.at;
        self.at = 0;
        match self.mode {
            Mode::Seeded(_) => {
                self.picks.clear();
                true
            }
            Mode::Replay => false,
            Mode::Odometer => {
                self.picks.truncate(asked);
                while let Some(pick) = self.picks.last_mut() {
                    pick.picked += 1;
                    if pick.picked < pick.of {
                        return true;
                    }
                    self.picks.pop();
                }
                false
            }
        }
    }

    /// This run's picks so far, for a later [`Chooser::replay`].
    pub fn picks(&self) -> Vec<u32> {
        self.picks[..self.at].iter().map(|pick| pick.picked).collect()
    }
}

/// Uniform below `of` (splitmix64; the bias of a multiplication by 2^-64 is far below what a test could see).
fn below(state: &mut u64, of: u32) -> u32 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    ((u128::from(z) * u128::from(of)) >> 64) as u32
}

/// The picks, separated by commas.
impl fmt::Display for Chooser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, pick) in self.picks[..self.at].iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            write!(f, "{}", pick.picked)?;
        }
        Ok(())
    }
}

/// Parses what [`fmt::Display`] printed into a replay.
impl FromStr for Chooser {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let picks: Result<Vec<u32>, _> =
            text.split(',').map(str::trim).filter(|pick| !pick.is_empty()).map(str::parse).collect();
        Ok(Chooser::replay(&picks?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// A tree of choices whose later questions depend on earlier answers: 1 + 3 + 2 * 2 = 8 leaves.
    fn run(chooser: &mut Chooser) -> Vec<u32> {
        let first = chooser.choose(3);
        match first {
            0 => vec![0],
            1 => vec![1, chooser.choose(3)],
            _ => vec![2, chooser.choose(2), chooser.choose(2)],
        }
    }

    #[test]
    fn an_odometer_visits_every_combination_once() {
        let mut chooser = Chooser::odometer();
        let mut seen = HashSet::new();
        loop {
            assert!(seen.insert(run(&mut chooser)), "visited twice: {chooser}");
            if !chooser.advance() {
                break;
            }
        }
        assert_eq!(seen.len(), 8);
    }

    #[test]
    fn a_run_without_questions_is_one_combination() {
        assert!(!Chooser::odometer().advance());
    }

    #[test]
    fn a_seed_repeats_itself_and_reaches_everything() {
        let (mut one, mut two) = (Chooser::seeded(7), Chooser::seeded(7));
        let mut seen = HashSet::new();
        for _ in 0..200 {
            assert_eq!(run(&mut one), run(&mut two));
            seen.insert(run(&mut one));
            run(&mut two);
            assert!(one.advance() && two.advance());
        }
        assert_eq!(seen.len(), 8);
    }

    #[test]
    fn printed_picks_replay_the_run() {
        let mut chooser = Chooser::seeded(99);
        for _ in 0..20 {
            let rare = chooser.once_in(3);
            let path = run(&mut chooser);
            let mut again: Chooser = chooser.to_string().parse().unwrap();
            assert_eq!((again.once_in(3), run(&mut again)), (rare, path));
            assert_eq!(again.picks(), chooser.picks());
            assert!(!again.advance());
            chooser.advance();
        }
    }

    #[test]
    #[should_panic(expected = "not deterministic")]
    fn an_odometer_notices_that_the_questions_changed() {
        let mut chooser = Chooser::odometer();
        chooser.choose(2);
        chooser.advance();
        chooser.choose(3);
    }
}

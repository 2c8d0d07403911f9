//! Random elements of a collection, by their numbers: HRANDFIELD, SRANDMEMBER, ZRANDMEMBER.

use super::CommandError;
use crate::engine::Engine;
use crate::limits::RANDOM_COUNT_MAX;
use std::collections::HashSet;

/// Draws random numbers without the engine, which a command has lent its collection from: begun with a draw of the engine's.
#[derive(Debug)]
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn new(engine: &mut Engine) -> Draw {
        Draw(engine.random())
    }

    /// A number below `end`, which must not be 0.
    #[inline]
    pub(super) fn below(&mut self, end: usize) -> usize {
        let random = crate::engine::splitmix(&mut self.0);
        ((u128::from(random) * end as u128) >> 64) as usize
    }
}

/// How many elements a command asks for: different ones, or, with a negative count, any.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    Different(usize),
    Any(usize),
}

impl Wanted {
    /// From a count as clients give it, `pairs` of replies each.
    ///
    /// # Errors
    /// Out of Redis' range, or so many repetitions that the reply would not fit into any memory.
    pub(super) fn parse(count: i64, pairs: bool) -> Result<Wanted, CommandError> {
        const MAX: i64 = i64::MAX;
        if count == i64::MIN {
            let text = format!("ERR value is out of range, value must between {} and {MAX}", -MAX);
            return Err(CommandError::text(text));
        }
        let out_of_range = CommandError::Text("ERR value is out of range".into());
        if pairs && !(-MAX / 2..=MAX / 2).contains(&count) {
            return Err(out_of_range);
        }
        match usize::try_from(count.unsigned_abs()) {
            Ok(different) if count >= 0 => Ok(Wanted::Different(different)),
            Ok(repeated) if repeated <= RANDOM_COUNT_MAX => Ok(Wanted::Any(repeated)),
            _ => Err(out_of_range),
        }
    }
}

/// `count` different numbers below `len`, ascending; all of them if there are not more.
pub(super) fn distinct(len: usize, count: usize, draw: &mut Draw) -> Vec<usize> {
    if count >= len {
        return (0..len).collect();
    }
    // Robert Floyd's way draws each number once; beyond a third of all, walking over all of them is cheaper than a set.
    if count.saturating_mul(3) > len {
        let mut wanted = count;
        return (0..len)
            .filter(|index| {
                let taken = wanted > 0 && draw.below(len - index) < wanted;
                wanted -= usize::from(taken);
                taken
            })
            .collect();
    }
    let mut taken = HashSet::with_capacity(count);
    for end in len - count..len {
        let drawn = draw.below(end + 1);
        if !taken.insert(drawn) {
            taken.insert(end);
        }
    }
    let mut numbers: Vec<usize> = taken.into_iter().collect();
    numbers.sort_unstable();
    numbers
}

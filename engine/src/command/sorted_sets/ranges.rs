//! Ranges of sorted sets: by rank, by score, by member. Each becomes a [`Span`] of ranks first, so that whatever counts, reads, removes
//! or stores a range is written once.

use crate::command::{Args, CommandError};
use crate::number::parse_double_bound;
use crate::value::SortedSetView;

/// Consecutive elements: ranks `start .. start + count`, in ascending order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::command) struct Span {
    /// Rank of the first.
    pub(in crate::command) start: usize,
    /// How many.
    pub(in crate::command) count: usize,
}

impl Span {
    /// What LIMIT leaves of it, seen from the end that is read first. A negative offset leaves nothing, a negative count takes all.
    pub(super) fn limited(self, limit: Option<(i64, i64)>, reverse: bool) -> Span {
        let Some((offset, count)) = limit else { return self };
        let Ok(offset) = usize::try_from(offset) else { return Span::default() };
        let left = self.count.saturating_sub(offset);
        let count = usize::try_from(count).map_or(left, |count| count.min(left));
        let start = if reverse { self.start + left - count } else { self.start + self.count - left };
        Span { start, count }
    }
}

/// One end of a range of scores.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(in crate::command) struct ScoreBound {
    value: f64,
    exclusive: bool,
}

/// Scores from `min` to `max`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(in crate::command) struct ScoreRange {
    min: ScoreBound,
    max: ScoreBound,
}

impl ScoreRange {
    /// From `min`, included, to `max`, included or not.
    pub(in crate::command) fn new(min: f64, max: f64, without_max: bool) -> ScoreRange {
        ScoreRange {
            min: ScoreBound { value: min, exclusive: false },
            max: ScoreBound { value: max, exclusive: without_max },
        }
    }

    /// The words `min` and `max`: a number, or `(` and a number that is not part of the range.
    ///
    /// # Errors
    /// `min or max is not a float`.
    pub(in crate::command) fn parse(min: &[u8], max: &[u8]) -> Result<ScoreRange, CommandError> {
        let bound = |word: &[u8]| {
            let (exclusive, number) = match word {
                [b'(', rest @ ..] => (true, rest),
                _ => (false, word),
            };
            let value = parse_double_bound(number).ok_or(CommandError::Text("ERR min or max is not a float".into()))?;
            Ok::<_, CommandError>(ScoreBound { value, exclusive })
        };
        Ok(ScoreRange { min: bound(min)?, max: bound(max)? })
    }

    fn is_below(&self, score: f64) -> bool {
        if self.min.exclusive { score <= self.min.value } else { score < self.min.value }
    }

    fn is_not_above(&self, score: f64) -> bool {
        if self.max.exclusive { score < self.max.value } else { score <= self.max.value }
    }

    /// The elements with such scores.
    pub(in crate::command) fn span(&self, set: SortedSetView<'_>) -> Span {
        let start = set.partition(0, |_, score| self.is_below(score));
        let end = set.partition(start, |_, score| self.is_not_above(score));
        Span { start, count: end.saturating_sub(start) }
    }
}

/// One end of a range of members.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum LexBound<'a> {
    Lowest,
    Highest,
    Included(&'a [u8]),
    Excluded(&'a [u8]),
}

/// Members from `min` to `max`, in the order of their bytes. Where scores differ the answer is of no use, as in Redis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::command) struct LexRange<'a> {
    min: LexBound<'a>,
    max: LexBound<'a>,
}

impl<'a> LexRange<'a> {
    /// The words `min` and `max`: `-`, `+`, `[member` or `(member`.
    ///
    /// # Errors
    /// `min or max not valid string range item`.
    pub(in crate::command) fn parse(min: &'a [u8], max: &'a [u8]) -> Result<LexRange<'a>, CommandError> {
        let bound = |word: &'a [u8]| match word {
            b"-" => Ok(LexBound::Lowest),
            b"+" => Ok(LexBound::Highest),
            [b'[', member @ ..] => Ok(LexBound::Included(member)),
            [b'(', member @ ..] => Ok(LexBound::Excluded(member)),
            _ => Err(CommandError::Text("ERR min or max not valid string range item".into())),
        };
        Ok(LexRange { min: bound(min)?, max: bound(max)? })
    }

    fn is_below(&self, member: &[u8]) -> bool {
        match self.min {
            LexBound::Lowest => false,
            LexBound::Highest => true,
            LexBound::Included(min) => member < min,
            LexBound::Excluded(min) => member <= min,
        }
    }

    fn is_not_above(&self, member: &[u8]) -> bool {
        match self.max {
            LexBound::Lowest => false,
            LexBound::Highest => true,
            LexBound::Included(max) => member <= max,
            LexBound::Excluded(max) => member < max,
        }
    }

    /// The elements with such members. As in Redis nothing is looked for unless the set's ends leave room for the range.
    pub(in crate::command) fn span(&self, set: SortedSetView<'_>) -> Span {
        let mut room = true;
        set.each(0, 1, false, |first, _| room = self.is_not_above(first));
        set.each(set.len().saturating_sub(1), 1, false, |last, _| room &= !self.is_below(last));
        if !room {
            return Span::default();
        }
        let start = set.partition(0, |member, _| self.is_below(member));
        let end = set.partition(start, |member, _| self.is_not_above(member));
        Span { start, count: end.saturating_sub(start) }
    }
}

/// Ranks from `start` to `stop`, both included; negative ones count from the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RankRange {
    start: i64,
    stop: i64,
}

impl RankRange {
    /// Words `at` and `at + 1`.
    ///
    /// # Errors
    /// [`CommandError::NotInteger`].
    pub(super) fn parse(args: &Args<'_>, at: usize) -> Result<RankRange, CommandError> {
        Ok(RankRange { start: args.integer(at)?, stop: args.integer(at + 1)? })
    }

    /// The elements with such ranks; `reverse` counts them from the highest.
    pub(super) fn span(self, len: usize, reverse: bool) -> Span {
        let size = i64::try_from(len).unwrap_or(i64::MAX);
        let from_end = |rank: i64| if rank < 0 { rank.saturating_add(size) } else { rank };
        let start = from_end(self.start).max(0);
        let stop = from_end(self.stop).min(size - 1);
        if start > stop {
            return Span::default();
        }
        let (start, count) = (start as usize, (stop - start + 1) as usize);
        Span { start: if reverse { len - start - count } else { start }, count }
    }
}

/// A range of any kind.
#[derive(Clone, Copy, Debug)]
pub(super) enum Range<'a> {
    Rank(RankRange),
    Score(ScoreRange),
    Lex(LexRange<'a>),
}

impl Range<'_> {
    /// Its elements.
    pub(super) fn span(&self, set: SortedSetView<'_>, reverse: bool) -> Span {
        match self {
            Range::Rank(range) => range.span(set.len(), reverse),
            Range::Score(range) => range.span(set),
            Range::Lex(range) => range.span(set),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_scores_are_read_as_valkey_reads_them() {
        let bound =
            |word: &str| ScoreRange::parse(word.as_bytes(), b"0").map(|range| (range.min.value, range.min.exclusive));
        for (word, value, exclusive) in [
            ("5", 5.0, false),
            ("(5", 5.0, true),
            ("", 0.0, false),
            ("(", 0.0, true),
            ("1e400", f64::INFINITY, false),
            ("-1e400", f64::NEG_INFINITY, false),
            ("1e-400", 0.0, false),
            ("(-inf", f64::NEG_INFINITY, true),
            ("+INFINITY", f64::INFINITY, false),
            ("1\0x", 1.0, false),
            ("+1", 1.0, false),
        ] {
            assert_eq!(bound(word), Ok((value, exclusive)), "{word:?}");
        }
        for word in ["nan", " 1", "1 ", "((1", "0x10", "1e", "x", "1d", "(nan"] {
            assert_eq!(bound(word).unwrap_err().to_string(), "ERR min or max is not a float", "{word:?}");
        }
    }

    #[test]
    fn ranks_are_cut_to_the_set_and_counted_from_either_end() {
        let span = |start, stop, len, reverse| {
            let Span { start, count } = RankRange { start, stop }.span(len, reverse);
            (start, count)
        };
        assert_eq!(span(0, -1, 5, false), (0, 5));
        assert_eq!(span(1, 2, 5, false), (1, 2));
        assert_eq!(span(1, 2, 5, true), (2, 2));
        assert_eq!(span(-2, 100, 5, false), (3, 2));
        assert_eq!(span(i64::MIN, i64::MAX, 5, true), (0, 5));
        for (start, stop) in [(5, 9), (3, 2), (0, i64::MIN), (i64::MAX, i64::MIN)] {
            assert_eq!(span(start, stop, 5, false).1, 0);
        }
        assert_eq!(span(0, -1, 0, false).1, 0);
    }

    #[test]
    fn limits_take_from_the_end_that_is_read_first() {
        let span = Span { start: 10, count: 5 };
        let limited = |offset, count, reverse| {
            let Span { start, count } = span.limited(Some((offset, count)), reverse);
            (start, count)
        };
        assert_eq!(limited(1, 2, false), (11, 2));
        assert_eq!(limited(1, 2, true), (12, 2));
        assert_eq!(limited(1, -1, false), (11, 4));
        assert_eq!(limited(1, -1, true), (10, 4));
        assert_eq!(limited(0, 0, false).1, 0);
        assert_eq!(limited(-1, 5, false).1, 0);
        assert_eq!(limited(i64::MAX, i64::MAX, true).1, 0);
        assert_eq!(span.limited(None, true), span);
    }
}

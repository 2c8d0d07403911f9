//! Small sorted sets: a listpack of member, score, member, score, ... in order of score, then member.
//!
//! A score is an element as Redis writes it: an integer where it is whole, else its text. So -0 becomes 0, as it does there.

use crate::number::{parse_double, print_double};
use crate::value::listpack::{self, Element, IntegerText, Listpack, Needle};

/// The score that an element stands for.
#[inline]
fn score_of(element: Element<'_>) -> f64 {
    match element {
        Element::Integer(integer) => integer as f64,
        // Only texts of `print_double` are in a run.
        Element::Bytes(text) => parse_double(text).unwrap_or_default(),
    }
}

/// Hands the element of a score to `then`.
fn with_element<T>(score: f64, then: impl FnOnce(Element<'_>) -> T) -> T {
    let whole = score as i64;
    if whole as f64 == score && score.abs() < 1e15 {
        return then(Element::Integer(whole));
    }
    let mut text = Vec::with_capacity(32);
    print_double(score, &mut text);
    then(Element::from(text.as_slice()))
}

/// Elements in the run.
#[inline]
pub(super) fn len(run: Listpack<'_>) -> usize {
    run.len() / 2
}

/// Offset of a member.
#[inline]
fn find(run: Listpack<'_>, member: &[u8]) -> Option<usize> {
    run.find(run.start(), &Needle::new(member), 2)
}

/// The score of a member.
pub(super) fn score(run: Listpack<'_>, member: &[u8]) -> Option<f64> {
    find(run, member).map(|at| score_of(run.element(run.next(at))))
}

/// The place of a member, and its score.
pub(super) fn rank(run: Listpack<'_>, member: &[u8]) -> Option<(usize, f64)> {
    let at = find(run, member)?;
    Some((run.iter_to(at).count() / 2, score_of(run.element(run.next(at)))))
}

/// How many elements, counted from rank 0 and at least `from`, come before the first from `from` on that `holds` does not.
pub(super) fn partition(run: Listpack<'_>, from: usize, mut holds: impl FnMut(&[u8], f64) -> bool) -> usize {
    let mut text = IntegerText::new();
    let mut rank = from;
    for (member, score) in run.pairs().skip(from) {
        if !holds(member.as_bytes(&mut text), score_of(score)) {
            break;
        }
        rank += 1;
    }
    rank
}

/// Hands on `count` elements from rank `start` on, the last first if `reverse`, until `each` answers false.
pub(super) fn each_while(
    run: Listpack<'_>,
    start: usize,
    count: usize,
    reverse: bool,
    mut each: impl FnMut(&[u8], f64) -> bool,
) {
    let mut text = IntegerText::new();
    if !reverse {
        let Some(at) = run.offset(2 * start) else { return };
        let mut elements = run.iter_from(at);
        for _ in 0..count {
            let (Some(member), Some(score)) = (elements.next(), elements.next()) else { return };
            if !each(member.as_bytes(&mut text), score_of(score)) {
                return;
            }
        }
        return;
    }
    let Some(mut at) = run.offset(2 * (start + count)) else { return };
    for _ in 0..count {
        let Some(score_at) = run.previous(at) else { return };
        let Some(member_at) = run.previous(score_at) else { return };
        if !each(run.element(member_at).as_bytes(&mut text), score_of(run.element(score_at))) {
            return;
        }
        at = member_at;
    }
}

/// Adds an element whose member is not there.
pub(super) fn insert(run: &mut Vec<u8>, member: &[u8], score: f64) {
    let view = Listpack::new(run);
    let mut text = IntegerText::new();
    // New scores are often the highest: try the end first.
    let is_last = view.last().is_none_or(|score_at| {
        let last = score_of(view.element(score_at));
        let member_at = view.previous(score_at).unwrap_or_default();
        last < score || (last == score && view.element(member_at).as_bytes(&mut text) < member)
    });
    let mut at = view.end();
    if !is_last {
        at = view.start();
        while at < view.end() {
            let score_at = view.next(at);
            let other = score_of(view.element(score_at));
            if other > score || (other == score && view.element(at).as_bytes(&mut text) > member) {
                break;
            }
            at = view.next(score_at);
        }
    }
    listpack::insert(run, at, member);
    let score_at = Listpack::new(run).next(at);
    with_element(score, |element| listpack::insert(run, score_at, element));
}

/// Removes a member; says what its score was.
pub(super) fn remove(run: &mut Vec<u8>, member: &[u8]) -> Option<f64> {
    let view = Listpack::new(run);
    let at = find(view, member)?;
    let score = score_of(view.element(view.next(at)));
    listpack::remove(run, at, 2);
    Some(score)
}

/// Removes `count` elements from rank `start` on.
pub(super) fn remove_span(run: &mut Vec<u8>, start: usize, count: usize) {
    listpack::remove_range(run, 2 * start, 2 * count);
}

//! Lua 5.1's patterns, bounded.
//!
//! 1. A search is charged for every step, for every byte of a set that is looked through, and tells [`watch`] now and then: it can be
//!    suspended and killed like code that loops. Lua's own matcher runs unwatched while one item repeats, or looks through a long set.
//! 2. Nothing is allocated. Depth is bounded by [`DEPTH_MAX`].
//! 3. Errors are in Lua 5.1's words. What it does not say: a pattern may hold NUL, and `%g` is a class.

use super::lua::Raise;
use super::watch;
use arrayvec::ArrayVec;
use std::ops::Range;

/// Captures of a pattern, at most.
pub(super) const CAPTURES_MAX: usize = 32;
/// Items of a pattern that can be repeated, optional, or captured within each other at most.
const DEPTH_MAX: usize = 1000;
/// Steps after which the watch is told.
const STEPS: u32 = 256;

/// What a capture has caught.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Captured {
    /// A part of the subject.
    Part(Range<usize>),
    /// A place in it, counted from 1.
    Position(usize),
}

/// A match.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    /// What matched.
    pub(super) whole: Range<usize>,
    /// The pattern's captures.
    pub(super) captures: ArrayVec<Captured, CAPTURES_MAX>,
}

impl Found {
    /// Capture `index`, counted from 0; without captures the whole match is the first.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn capture(&self, index: usize) -> Result<Captured, Raise> {
        match self.captures.get(index) {
            Some(captured) => Ok(captured.clone()),
            None if index == 0 => Ok(Captured::Part(self.whole.clone())),
            None => Err(bad_index()),
        }
    }
}

fn bad_index() -> Raise {
    Raise::text("invalid capture index")
}

/// The first match at or behind `from`, or only there if `anchored`. The pattern is without its `^`.
///
/// # Errors
/// The pattern is wrong, or the script is to end.
pub(super) fn find(subject: &[u8], pattern: &[u8], from: usize, anchored: bool) -> Result<Option<Found>, Raise> {
    let mut matcher = Matcher { subject, pattern, captures: ArrayVec::new(), depth: 0, steps: 0 };
    for start in from..=subject.len() {
        matcher.captures.clear();
        if let Some(end) = matcher.matches(start, 0)? {
            let captures = matcher.captures.iter().map(|(start, len)| match len {
                Len::Closed(len) => Ok(Captured::Part(*start..start + len)),
                Len::Position => Ok(Captured::Position(start + 1)),
                Len::Open => Err(Raise::text("unfinished capture")),
            });
            return Ok(Some(Found { whole: start..end, captures: captures.collect::<Result<_, _>>()? }));
        }
        if anchored {
            break;
        }
    }
    Ok(None)
}

#[derive(Clone, Copy)]
enum Len {
    Open,
    Position,
    Closed(usize),
}

struct Matcher<'s> {
    subject: &'s [u8],
    pattern: &'s [u8],
    /// Where captures begin, and how long they are.
    captures: ArrayVec<(usize, Len), CAPTURES_MAX>,
    depth: usize,
    steps: u32,
}

/// Where a match ends, if there is one.
type End = Result<Option<usize>, Raise>;

impl Matcher<'_> {
    #[inline]
    fn charge(&mut self, steps: usize) -> Result<(), Raise> {
        self.steps = self.steps.saturating_add(u32::try_from(steps).unwrap_or(u32::MAX));
        if self.steps >= STEPS {
            watch::tick_for(std::mem::take(&mut self.steps))?;
        }
        Ok(())
    }

    /// Matches the rest of the pattern, from `p` on, at `s`.
    fn matches(&mut self, s: usize, p: usize) -> End {
        if self.depth >= DEPTH_MAX {
            return Err(Raise::text("pattern too complex"));
        }
        self.depth += 1;
        let end = self.items(s, p);
        self.depth -= 1;
        end
    }

    fn items(&mut self, mut s: usize, mut p: usize) -> End {
        loop {
            self.charge(1)?;
            let Some(&item) = self.pattern.get(p) else { return Ok(Some(s)) };
            let next = self.pattern.get(p + 1).copied();
            match (item, next) {
                (b'(', Some(b')')) => return self.open(s, p + 2, Len::Position),
                (b'(', _) => return self.open(s, p + 1, Len::Open),
                (b')', _) => return self.close(s, p + 1),
                (b'$', None) => return Ok((s == self.subject.len()).then_some(s)),
                (b'%', Some(b'b')) => {
                    let Some(end) = self.balanced(s, p + 2)? else { return Ok(None) };
                    (s, p) = (end, p + 4);
                    continue;
                }
                (b'%', Some(b'f')) => {
                    p += 2;
                    if self.pattern.get(p) != Some(&b'[') {
                        return Err(Raise::text("missing '[' after '%f' in pattern"));
                    }
                    let end = self.item_end(p)?;
                    let before = s.checked_sub(1).map_or(0, |at| self.subject[at]);
                    let here = self.subject.get(s).copied().unwrap_or(0);
                    if self.in_set(before, p, end) || !self.in_set(here, p, end) {
                        return Ok(None);
                    }
                    p = end;
                    continue;
                }
                (b'%', Some(digit @ b'0'..=b'9')) => {
                    let Some(end) = self.again(s, digit)? else { return Ok(None) };
                    (s, p) = (end, p + 2);
                    continue;
                }
                _ => {}
            }
            let end = self.item_end(p)?;
            let here = self.is_one(s, p, end)?;
            match self.pattern.get(end) {
                Some(b'?') => {
                    if here && let Some(found) = self.matches(s + 1, end + 1)? {
                        return Ok(Some(found));
                    }
                    p = end + 1;
                }
                Some(b'*') => return self.most(s, p, end),
                Some(b'+') => return if here { self.most(s + 1, p, end) } else { Ok(None) },
                Some(b'-') => return self.fewest(s, p, end),
                _ if !here => return Ok(None),
                _ => (s, p) = (s + 1, end),
            }
        }
    }

    /// As many of the item as there are, then fewer, until the rest matches.
    fn most(&mut self, s: usize, p: usize, end: usize) -> End {
        let mut count = 0;
        while self.is_one(s + count, p, end)? {
            count += 1;
        }
        loop {
            if let Some(found) = self.matches(s + count, end + 1)? {
                return Ok(Some(found));
            }
            let Some(fewer) = count.checked_sub(1) else { return Ok(None) };
            count = fewer;
        }
    }

    /// As few of the item as the rest needs.
    fn fewest(&mut self, mut s: usize, p: usize, end: usize) -> End {
        loop {
            if let Some(found) = self.matches(s, end + 1)? {
                return Ok(Some(found));
            }
            if !self.is_one(s, p, end)? {
                return Ok(None);
            }
            s += 1;
        }
    }

    fn open(&mut self, s: usize, p: usize, len: Len) -> End {
        if self.captures.try_push((s, len)).is_err() {
            return Err(Raise::text("too many captures"));
        }
        let end = self.matches(s, p)?;
        if end.is_none() {
            self.captures.pop();
        }
        Ok(end)
    }

    fn close(&mut self, s: usize, p: usize) -> End {
        let at = self.captures.iter().rposition(|(_, len)| matches!(len, Len::Open));
        let Some(at) = at else { return Err(Raise::text("invalid pattern capture")) };
        self.captures[at].1 = Len::Closed(s - self.captures[at].0);
        let end = self.matches(s, p)?;
        if end.is_none() {
            self.captures[at].1 = Len::Open;
        }
        Ok(end)
    }

    /// `%bxy`.
    fn balanced(&mut self, s: usize, p: usize) -> End {
        let Some(&[open, close]) = self.pattern.get(p..p + 2).and_then(<[u8]>::first_chunk) else {
            return Err(Raise::text("unbalanced pattern"));
        };
        if self.subject.get(s) != Some(&open) {
            return Ok(None);
        }
        let mut depth = 1;
        for at in s + 1..self.subject.len() {
            self.charge(1)?;
            let byte = self.subject[at];
            if byte == close {
                depth -= 1;
                if depth == 0 {
                    return Ok(Some(at + 1));
                }
            } else if byte == open {
                depth += 1;
            }
        }
        Ok(None)
    }

    /// `%1`: what a capture has caught, once more.
    fn again(&mut self, s: usize, digit: u8) -> End {
        let captured = usize::from(digit - b'0').checked_sub(1).and_then(|index| self.captures.get(index));
        let &(start, len) = captured.ok_or_else(bad_index)?;
        let len = match len {
            Len::Closed(len) => len,
            Len::Open => return Err(bad_index()),
            Len::Position => return Ok(None),
        };
        self.charge(len)?;
        let same = self.subject[s..].starts_with(&self.subject[start..start + len]);
        Ok(same.then_some(s + len))
    }

    /// Where the item at `p` ends, its repetition aside.
    fn item_end(&mut self, p: usize) -> Result<usize, Raise> {
        match self.pattern[p] {
            b'%' if p + 1 >= self.pattern.len() => Err(Raise::text("malformed pattern (ends with '%')")),
            b'%' => Ok(p + 2),
            b'[' => {
                let mut at = p + 1 + usize::from(self.pattern.get(p + 1) == Some(&b'^'));
                // The first byte is of the set, even if it is a bracket.
                loop {
                    match self.pattern.get(at) {
                        None => return Err(Raise::text("malformed pattern (missing ']')")),
                        Some(b'%') if at + 1 < self.pattern.len() => at += 2,
                        Some(_) => at += 1,
                    }
                    if self.pattern.get(at) == Some(&b']') {
                        break;
                    }
                }
                self.charge(at - p)?;
                Ok(at + 1)
            }
            _ => Ok(p + 1),
        }
    }

    /// Whether there is a byte at `s` that is of the item from `p` to `end`.
    #[inline]
    fn is_one(&mut self, s: usize, p: usize, end: usize) -> Result<bool, Raise> {
        let Some(&byte) = self.subject.get(s) else { return Ok(false) };
        self.charge(end - p)?;
        Ok(match self.pattern[p] {
            b'.' => true,
            b'%' => in_class(byte, self.pattern[p + 1]),
            b'[' => self.in_set(byte, p, end),
            same => byte == same,
        })
    }

    /// Whether a byte is of the set from `p` to `end`, brackets included.
    fn in_set(&self, byte: u8, p: usize, end: usize) -> bool {
        let (mut at, close) = (p + 1, end - 1);
        let negated = self.pattern[at] == b'^';
        at += usize::from(negated);
        while at < close {
            match self.pattern[at] {
                b'%' => {
                    if in_class(byte, self.pattern[at + 1]) {
                        return !negated;
                    }
                    at += 2;
                }
                low if self.pattern[at + 1] == b'-' && at + 2 < close => {
                    if (low..=self.pattern[at + 2]).contains(&byte) {
                        return !negated;
                    }
                    at += 3;
                }
                same if same == byte => return !negated,
                _ => at += 1,
            }
        }
        negated
    }
}

/// Whether a byte is of a class: a letter, large for its complement; any other byte stands for itself.
fn in_class(byte: u8, class: u8) -> bool {
    let of = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'g' => byte.is_ascii_graphic(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => matches!(byte, b' ' | b'\t'..=b'\r'),
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return byte == class,
    };
    of != class.is_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The match's whole and captures as text; `-` for none, an error's text.
    fn show(subject: &str, pattern: &str) -> String {
        let (pattern, anchored) = pattern.strip_prefix('^').map_or((pattern, false), |rest| (rest, true));
        match find(subject.as_bytes(), pattern.as_bytes(), 0, anchored) {
            Ok(None) => "-".into(),
            Ok(Some(found)) => {
                let mut text = subject[found.whole.clone()].to_owned();
                for captured in &found.captures {
                    match captured {
                        Captured::Part(part) => text.push_str(&format!("|{}", &subject[part.clone()])),
                        Captured::Position(at) => text.push_str(&format!("|@{at}")),
                    }
                }
                text
            }
            Err(Raise::Text(text)) => format!("!{text}"),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn patterns_match_as_in_lua() {
        for (subject, pattern, found) in [
            ("hello world", "o", "o"),
            ("hello world", "^h.-o", "hello"),
            ("hello world", "^o", "-"),
            ("hello", "l*o$", "llo"),
            ("a$b", "$b", "$b"),
            ("key = value", "(%w+)%s*=%s*(%w+)", "key = value|key|value"),
            ("  x", "()x()", "x|@3|@4"),
            ("THE (quick) fox", "%((%a+)%)", "(quick)|quick"),
            ("f(a(b)c)d", "%b()", "(a(b)c)"),
            ("THE quick", "%f[%l]%l+", "quick"),
            ("abcabc", "(abc)%1", "abcabc|abc"),
            ("x-1.5e", "[+-]?%d+", "-1"),
            ("a]b", "[]]", "]"),
            ("a^b", "[b^]", "^"),
            ("abc", "[^a-b]", "c"),
            ("a-c", "[a%-]+", "a-"),
            ("z-", "[a-]", "-"),
            ("", ".*", ""),
            ("aaa", "a-", ""),
            ("aaab", "^a-b", "aaab"),
            ("abc", "a?b?c?d?", "abc"),
            ("x\u{b}y", "%s", "\u{b}"),
            ("ab", "(a)(b)(", "!unfinished capture"),
            ("ab", "a)", "!invalid pattern capture"),
            ("ab", "%1", "!invalid capture index"),
            ("ab", "%", "!malformed pattern (ends with '%')"),
            ("ab", "[a", "!malformed pattern (missing ']')"),
            ("ab", "[]", "!malformed pattern (missing ']')"),
            ("ab", "[a%", "!malformed pattern (missing ']')"),
            ("ab", "%b", "!unbalanced pattern"),
            ("ab", "%fa", "!missing '[' after '%f' in pattern"),
        ] {
            assert_eq!(show(subject, pattern), found, "{subject:?} {pattern:?}");
        }
        assert_eq!(show("x", &"()".repeat(33)), "!too many captures");
        assert_eq!(show(&"a".repeat(2000), &"a?".repeat(2000)), "!pattern too complex");
    }

    #[test]
    fn no_pattern_of_few_bytes_breaks_the_matcher() {
        // All patterns of four bytes of these.
        let bytes = b"a[]^%-*()b$f";
        let mut pattern = [0; 4];
        for number in 0..bytes.len().pow(4) {
            let mut rest = number;
            for byte in &mut pattern {
                *byte = bytes[rest % bytes.len()];
                rest /= bytes.len();
            }
            for subject in [&b""[..], b"a", b"ab[a", b"(a)b"] {
                if let Ok(Some(found)) = find(subject, &pattern, 0, false) {
                    assert!(found.whole.end <= subject.len());
                }
            }
        }
    }
}

//! Glob patterns with Redis' meaning: `*`, `?`, `[abc]`, `[a-z]`, `[^a]`, `\` before a literal.
//!
//! 1. Matching is iterative: after a mismatch only the last `*` gives way. An earlier one never needs to, since every other
//!    element takes exactly one byte.
//! 2. Work is bounded: past a budget of steps the answer is "no match", so that no pattern holds the engine up.
//! 3. Bytes are compared, not characters. As in Redis nothing but the empty pattern matches the empty string.

/// Steps that any match may take, whatever the lengths.
const STEPS_FREE: usize = 1 << 20;
/// Further steps for each byte of pattern and string.
const STEPS_PER_BYTE: usize = 32;

/// Whether all of `string` matches `pattern`.
pub fn matches(pattern: &[u8], string: &[u8]) -> bool {
    glob(pattern, string, false)
}

/// [`matches`], in any case of ASCII letters.
pub fn matches_ignoring_case(pattern: &[u8], string: &[u8]) -> bool {
    glob(pattern, string, true)
}

fn glob(pattern: &[u8], string: &[u8], ignore_case: bool) -> bool {
    if string.is_empty() {
        return pattern.is_empty();
    }
    let mut budget = STEPS_FREE.saturating_add((pattern.len() + string.len()).saturating_mul(STEPS_PER_BYTE));
    let (mut p, mut s) = (0, 0);
    // Behind the last `*` in the pattern, and the first byte that it does not take.
    let mut star: Option<(usize, usize)> = None;
    while s < string.len() {
        if budget == 0 {
            return false;
        }
        budget -= 1;
        if pattern.get(p) == Some(&b'*') {
            while pattern.get(p) == Some(&b'*') {
                p += 1;
            }
            if p == pattern.len() {
                return true;
            }
            star = Some((p, s));
            continue;
        }
        let (found, next, cost) = one(&pattern[p..], string[s], ignore_case);
        budget = budget.saturating_sub(cost);
        if found {
            p += next;
            s += 1;
        } else if let Some((behind, taken)) = &mut star {
            *taken += 1;
            (p, s) = (*behind, *taken);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// Matches one byte against the element that `pattern` begins with: whether it fits, the element's length, and what it cost.
#[inline]
fn one(pattern: &[u8], byte: u8, ignore_case: bool) -> (bool, usize, usize) {
    match pattern {
        [] => (false, 0, 0),
        [b'?', ..] => (true, 1, 0),
        [b'[', ..] => class(pattern, byte, ignore_case),
        [b'\\', literal, ..] => (same(*literal, byte, ignore_case), 2, 0),
        [literal, ..] => (same(*literal, byte, ignore_case), 1, 0),
    }
}

#[inline]
fn same(one: u8, other: u8, ignore_case: bool) -> bool {
    if ignore_case { one.eq_ignore_ascii_case(&other) } else { one == other }
}

/// Matches one byte against a class; one that is never closed ends with the pattern. A literal behind `\` in a class is
/// compared exactly, as Redis does.
fn class(pattern: &[u8], byte: u8, ignore_case: bool) -> (bool, usize, usize) {
    let fold = |byte: u8| if ignore_case { byte.to_ascii_lowercase() } else { byte };
    let negated = pattern.get(1) == Some(&b'^');
    let mut at = if negated { 2 } else { 1 };
    let mut found = false;
    loop {
        match &pattern[at.min(pattern.len())..] {
            [] => break,
            [b'\\', literal, ..] => {
                found |= *literal == byte;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [from, b'-', to, ..] => {
                let (low, high) = (fold(*from.min(to)), fold(*from.max(to)));
                let (low, high) = if low <= high { (low, high) } else { (high, low) };
                found |= (low..=high).contains(&fold(byte));
                at += 3;
            }
            [literal, ..] => {
                found |= same(*literal, byte, ignore_case);
                at += 1;
            }
        }
    }
    (found != negated, at.min(pattern.len()), at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_mean_what_redis_says() {
        for (pattern, string, expected) in [
            ("", "", true),
            ("*", "", false),
            ("*", "anything", true),
            ("a*", "a", true),
            ("a**", "a", true),
            ("*a*b*", "xxaybz", true),
            ("*ab", "aab", true),
            ("*ab*", "aaa", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hello", false),
            ("h[^e]llo", "hbllo", true),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("h[a-b]llo", "hcllo", false),
            ("[\\]]", "]", true),
            ("[]", "a", false),
            ("[^]", "a", true),
            ("[abc", "b", true),
            ("[a-", "-", true),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("a\\", "a\\", true),
            ("abc", "abcd", false),
            ("abcd", "abc", false),
            ("*?", "a", true),
            ("?*?", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), string.as_bytes()), expected, "{pattern:?} {string:?}");
        }
    }

    #[test]
    fn case_can_be_ignored() {
        assert!(matches_ignoring_case(b"H[A-C]l?O*", b"hbLlo world"));
        assert!(!matches(b"HELLO", b"hello"));
        assert!(!matches_ignoring_case(b"[\\A]", b"a"), "behind a backslash in a class Redis compares exactly");
    }

    #[test]
    fn a_hostile_pattern_gives_up_instead_of_hanging() {
        let pattern = [b"a*".repeat(1000), b"b".to_vec()].concat();
        assert!(!matches(&pattern, &[b'a'; 100_000]));
        assert!(!matches(&[b"*".to_vec(), vec![b'a'; 50_000], b"b".to_vec()].concat(), &[b'a'; 100_000]));
    }

    /// The plain recursive meaning, without classes.
    fn model(pattern: &[u8], string: &[u8]) -> bool {
        match (pattern, string) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => (0..=string.len()).any(|n| model(rest, &string[n..])),
            ([b'?', rest @ ..], [_, tail @ ..]) => model(rest, tail),
            ([byte, rest @ ..], [first, tail @ ..]) => byte == first && model(rest, tail),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_recursive_meaning(pattern in "[ab*?]{0,8}", string in "[ab]{1,10}") {
            prop_assert_eq!(matches(pattern.as_bytes(), string.as_bytes()), model(pattern.as_bytes(), string.as_bytes()));
        }

        #[test]
        fn no_pattern_panics(pattern in prop::collection::vec(prop::sample::select(b"[]^-\\*?ab".to_vec()), 0..12), string in "[ab]{0,6}") {
            let _ = matches(&pattern, string.as_bytes());
            let _ = matches_ignoring_case(&pattern, string.as_bytes());
        }
    }
}

//! IDs of stream entries: a Unix time in ms and a sequence number within it, `1526919030474-55` as text.
//!
//! Text is read as Redis reads it: each half is what [`parse_cursor`] takes, a NUL byte ends the word, and no word above 127 bytes is
//! an ID.

use crate::number::parse_cursor;

/// Longest word that may be an ID.
const TEXT_LEN_MAX: usize = 127;

/// The ID of an entry. Order is that of entries in the stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Id {
    /// Unix time in ms, usually.
    pub ms: u64,
    /// Tells entries of one millisecond apart.
    pub seq: u64,
}

/// What a client gave for an ID, where some of it may be left to the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IdRequest {
    /// `*`.
    Any,
    /// `ms-*`.
    Within(u64),
    /// A whole one.
    Exactly(Id),
}

impl Id {
    /// `0-0`, which no entry has.
    pub const MIN: Id = Id { ms: 0, seq: 0 };
    /// The last that there can be.
    pub const MAX: Id = Id { ms: u64::MAX, seq: u64::MAX };

    /// From its parts.
    pub const fn new(ms: u64, seq: u64) -> Id {
        Id { ms, seq }
    }

    /// The ID after this one.
    #[inline]
    pub fn next(self) -> Option<Id> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Id { ms: self.ms, seq }),
            None => Some(Id { ms: self.ms.checked_add(1)?, seq: 0 }),
        }
    }

    /// The ID before this one.
    #[inline]
    pub fn previous(self) -> Option<Id> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(Id { ms: self.ms, seq }),
            None => Some(Id { ms: self.ms.checked_sub(1)?, seq: u64::MAX }),
        }
    }

    /// Reads `ms-seq`, or `ms` alone, whose sequence number is then `missing_seq`.
    pub fn parse(word: &[u8], missing_seq: u64) -> Option<Id> {
        let (ms, seq) = halves(word)?;
        let seq = seq.map_or(Some(missing_seq), parse_cursor)?;
        Some(Id { ms, seq })
    }

    /// [`Id::parse`] that also takes `-` and `+` for the ends.
    pub fn parse_bound(word: &[u8], missing_seq: u64) -> Option<Id> {
        match until_nul(word) {
            b"-" if word.len() <= TEXT_LEN_MAX => Some(Id::MIN),
            b"+" if word.len() <= TEXT_LEN_MAX => Some(Id::MAX),
            _ => Id::parse(word, missing_seq),
        }
    }

    /// Its text, without an allocation.
    #[inline]
    pub fn text(self) -> IdText {
        let mut text = IdText { bytes: [0; IdText::LEN_MAX], len: 0 };
        let mut digits = itoa::Buffer::new();
        text.push(digits.format(self.ms).as_bytes());
        text.push(b"-");
        text.push(digits.format(self.seq).as_bytes());
        text
    }
}

impl IdRequest {
    /// What XADD takes: `*`, `ms-*`, `ms-seq`, `ms`.
    pub fn parse(word: &[u8]) -> Option<IdRequest> {
        if word == b"*" {
            return Some(IdRequest::Any);
        }
        match halves(word)? {
            (ms, Some(b"*")) => Some(IdRequest::Within(ms)),
            (ms, Some(seq)) => Some(IdRequest::Exactly(Id { ms, seq: parse_cursor(seq)? })),
            (ms, None) => Some(IdRequest::Exactly(Id { ms, seq: 0 })),
        }
    }
}

/// A C string's idea of a word.
pub fn until_nul(word: &[u8]) -> &[u8] {
    word.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The first half of an ID, and the text of the second if there is one.
fn halves(word: &[u8]) -> Option<(u64, Option<&[u8]>)> {
    if word.len() > TEXT_LEN_MAX {
        return None;
    }
    let text = until_nul(word);
    match text.iter().position(|byte| *byte == b'-') {
        Some(dash) => Some((parse_cursor(&text[..dash])?, Some(&text[dash + 1..]))),
        None => Some((parse_cursor(text)?, None)),
    }
}

/// An ID as text.
#[derive(Clone, Copy, Debug)]
pub struct IdText {
    bytes: [u8; IdText::LEN_MAX],
    len: u8,
}

impl IdText {
    /// Two numbers of 20 digits and a dash.
    const LEN_MAX: usize = 41;

    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        let at = usize::from(self.len);
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u8;
    }
}

impl std::ops::Deref for IdText {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_as_redis_reads_it() {
        for (text, id) in [
            ("1-2", Some((1, 2))),
            ("5", Some((5, 9))),
            ("0", Some((0, 9))),
            ("+5-01", Some((5, 1))),
            ("18446744073709551615-18446744073709551615", Some((u64::MAX, u64::MAX))),
            ("18446744073709551616-1", None),
            ("1-18446744073709551616", None),
            ("1-2\0junk", Some((1, 2))),
            ("-", None),
            ("+", None),
            ("", None),
            ("-1", None),
            ("1-", None),
            ("1-*", None),
            ("1-2-3", None),
            ("a-1", None),
            ("*", None),
        ] {
            assert_eq!(Id::parse(text.as_bytes(), 9), id.map(|(ms, seq)| Id { ms, seq }), "{text:?}");
        }
        assert_eq!(Id::parse(&[b'0'; 127], 0), Some(Id::MIN));
        assert_eq!(Id::parse(&[b'0'; 128], 0), None);
        assert_eq!(Id::parse_bound(b"-", 0), Some(Id::MIN));
        assert_eq!(Id::parse_bound(b"+", 0), Some(Id::MAX));
    }

    #[test]
    fn requests_leave_the_sequence_or_all_to_the_server() {
        assert_eq!(IdRequest::parse(b"*"), Some(IdRequest::Any));
        assert_eq!(IdRequest::parse(b"7-*"), Some(IdRequest::Within(7)));
        assert_eq!(IdRequest::parse(b"7"), Some(IdRequest::Exactly(Id { ms: 7, seq: 0 })));
        assert_eq!(IdRequest::parse(b"7-3"), Some(IdRequest::Exactly(Id { ms: 7, seq: 3 })));
        for bad in ["7-**", "*-7", "-", "+", "", "x"] {
            assert_eq!(IdRequest::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn neighbours_carry_and_end() {
        let edge = Id { ms: 4, seq: u64::MAX };
        assert_eq!(edge.next(), Some(Id { ms: 5, seq: 0 }));
        assert_eq!(Id { ms: 5, seq: 0 }.previous(), Some(edge));
        assert_eq!(Id::MAX.next(), None);
        assert_eq!(Id::MIN.previous(), None);
        assert_eq!(&*Id::MAX.text(), b"18446744073709551615-18446744073709551615");
        assert_eq!(&*Id { ms: 0, seq: 7 }.text(), b"0-7");
    }
}

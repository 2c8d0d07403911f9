//! Parses requests: arrays of bulk strings, and inline commands.
//!
//! 1. Nothing is copied: a parsed word is a place in the connection's buffer.
//! 2. Parsing goes on where it stopped: a command in pieces is never looked at twice, whatever its size.
//! 3. No memory is taken by a declared length; the list of words grows with the words that arrived.
//! 4. Strict: every line ends with CRLF (inline ones may end with LF), so does every bulk string. After an error the rest of the
//!    connection means nothing.
//! 5. What is parsed, and which error is found, does not depend on how the bytes were cut into pieces.

use super::inline;
use crate::limits::{
    BATCH_COMMANDS_MAX, BATCH_LEN_MAX, LINE_LEN_MAX, UNAUTHENTICATED_WORD_LEN_MAX, UNAUTHENTICATED_WORDS_MAX,
    WORDS_KEPT, WORDS_MAX,
};
use firn_engine::number::parse_integer;

/// A word of a command: a place in the buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Word {
    /// Its first byte.
    pub(crate) start: usize,
    /// Its length.
    pub(crate) len: usize,
}

/// A complete command: words of its [`Batch`], never none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Request {
    /// Index of its first word, the name.
    pub(crate) first: usize,
    /// How many words.
    pub(crate) count: usize,
    /// Where it ends in the buffer.
    pub(crate) end: usize,
}

/// Commands parsed together. Reused, so that no command costs an allocation.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The words of all requests.
    pub(crate) words: Vec<Word>,
    /// The commands, in order.
    pub(crate) requests: Vec<Request>,
}

impl Batch {
    /// Empties it. The memory of a command with uncommonly many words is given back.
    pub(crate) fn clear(&mut self) {
        self.words.clear();
        self.words.shrink_to(WORDS_KEPT);
        self.requests.clear();
    }
}

/// What may be asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Longest bulk string, in bytes (`proto-max-bulk-len`).
    pub(crate) bulk_len_max: u64,
    /// Whether the client may run commands; before, it gets one command at a time, and short ones.
    pub(crate) authenticated: bool,
}

/// A request that breaks the protocol. `Display` gives Redis' text behind `ERR Protocol error: `.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs)] // The texts say it.
pub(crate) enum ProtocolError {
    #[error("invalid multibulk length")]
    MultibulkLength,
    #[error("unauthenticated multibulk length")]
    UnauthenticatedMultibulkLength,
    #[error("too big mbulk count string")]
    MultibulkLine,
    #[error("expected '$', got '{}'", printable(*.0))]
    NotABulk(u8),
    #[error("invalid bulk length")]
    BulkLength,
    #[error("unauthenticated bulk length")]
    UnauthenticatedBulkLength,
    #[error("too big bulk count string")]
    BulkLine,
    #[error("expected CRLF")]
    NoCrlf,
    #[error("too big inline request")]
    InlineLine,
    #[error("unbalanced quotes in request")]
    UnbalancedQuotes,
}

/// A byte as it may stand in an error line.
fn printable(byte: u8) -> char {
    if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '?' }
}

/// What a call of [`Parser::parse`] has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Parsed {
    /// Bytes at the front of the buffer that are done with once the batch is executed. The rest must come again, at the front of
    /// the next call's buffer.
    pub(crate) consumed: usize,
    /// What is wrong with the bytes behind them.
    pub(crate) error: Option<ProtocolError>,
    /// Whether more commands may stand in the buffer (the batch is full).
    pub(crate) more: bool,
}

/// The state of one connection's unfinished command. Places are relative to its first byte.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    /// Words still to come; 0 if no array was begun.
    missing: usize,
    /// Length of the bulk string that is awaited, if its line is complete.
    bulk: Option<usize>,
    /// Where to go on.
    next: usize,
    /// Words found so far.
    words: Vec<Word>,
    /// Bytes of these.
    words_len: usize,
}

/// From this length on a bulk string is large: room is made for the whole of it (Redis' own bound).
const LARGE_BULK_LEN: usize = 32 * 1024;

/// A line with a length.
enum Line {
    /// Its number and where the line ends.
    Number(i64, usize),
    /// It is not a strict integer.
    Bad,
    /// CR without LF.
    NoCrlf,
    /// It is not complete.
    Partial,
}

impl Parser {
    /// Forgets the unfinished command: its bytes will come again from their start.
    pub(crate) fn reset(&mut self) {
        *self = Parser::default();
    }

    /// How many more bytes a large bulk string that is awaited needs, if `len` bytes of the unfinished command are here. 0 if it is not large.
    pub(crate) fn needed(&self, len: usize) -> usize {
        match self.bulk {
            Some(bulk) if bulk >= LARGE_BULK_LEN => (self.next + bulk + 2).saturating_sub(len),
            _ => 0,
        }
    }

    /// How many bytes of the unfinished command are understood, and how many of them are its words'.
    pub(crate) fn understood(&self) -> (usize, usize) {
        (self.next, self.words_len)
    }

    /// Parses the complete commands at the front of `buffer` into `batch`, which must be empty.
    pub(crate) fn parse(&mut self, buffer: &mut [u8], bounds: &Bounds, batch: &mut Batch) -> Parsed {
        debug_assert!(batch.words.is_empty() && batch.requests.is_empty(), "the batch is reused empty");
        std::mem::swap(&mut batch.words, &mut self.words);
        let known = batch.words.len();
        let mut start = 0; // Of the current command.
        let mut at = self.next;
        let mut first = 0;
        let requests_max = if bounds.authenticated { BATCH_COMMANDS_MAX } else { 1 };
        let mut more = false;
        let result = loop {
            if self.missing == 0 && (batch.requests.len() == requests_max || start >= BATCH_LEN_MAX) {
                more = at < buffer.len();
                break Ok(());
            }
            match self.command(buffer, &mut at, bounds, &mut batch.words) {
                Ok(true) => {
                    let count = batch.words.len() - first;
                    if count > 0 {
                        batch.requests.push(Request { first, count, end: at });
                    }
                    first = batch.words.len();
                    start = at;
                }
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.next = at - start;
        let old = if first == 0 { self.words_len } else { 0 };
        self.words_len = old + batch.words[first.max(known)..].iter().map(|word| word.len).sum::<usize>();
        self.keep(&mut batch.words, first, start);
        Parsed { consumed: start, error: result.err(), more }
    }

    /// Keeps the words of the unfinished command, from index `first` of `words` on, for the next call.
    fn keep(&mut self, words: &mut Vec<Word>, first: usize, start: usize) {
        if first == words.len() {
            if self.words.capacity() > WORDS_KEPT {
                self.words = Vec::new();
            }
            return;
        }
        if first == 0 && start == 0 {
            std::mem::swap(words, &mut self.words); // A command with many words in many pieces: not copied for each.
            return;
        }
        self.words.extend(words.drain(first..).map(|word| Word { start: word.start - start, ..word }));
    }

    /// Goes on with one command at `at`, which moves over what was understood. True if a command is complete; an empty one (a
    /// blank line, an array of none) has no words.
    #[inline]
    fn command(
        &mut self,
        buffer: &mut [u8],
        at: &mut usize,
        bounds: &Bounds,
        words: &mut Vec<Word>,
    ) -> Result<bool, ProtocolError> {
        if self.missing == 0 {
            match buffer.get(*at) {
                None => return Ok(false),
                Some(b'*') => {}
                Some(_) => return inline(buffer, at, words),
            }
            let (count, end) = match line(buffer, *at) {
                Line::Number(count, end) => (count, end),
                Line::Bad => return Err(ProtocolError::MultibulkLength),
                Line::NoCrlf => return Err(ProtocolError::NoCrlf),
                Line::Partial if buffer.len() - *at > LINE_LEN_MAX => return Err(ProtocolError::MultibulkLine),
                Line::Partial => return Ok(false),
            };
            if count > WORDS_MAX {
                return Err(ProtocolError::MultibulkLength);
            }
            if count > UNAUTHENTICATED_WORDS_MAX && !bounds.authenticated {
                return Err(ProtocolError::UnauthenticatedMultibulkLength);
            }
            *at = end;
            if count <= 0 {
                return Ok(true);
            }
            self.missing = count as usize;
        }
        while self.missing > 0 {
            let len = match self.bulk {
                Some(len) => len,
                None => {
                    let (len, end) = match line(buffer, *at) {
                        Line::Partial if buffer.len() - *at > LINE_LEN_MAX => return Err(ProtocolError::BulkLine),
                        Line::Partial => return Ok(false),
                        _ if buffer[*at] != b'$' => return Err(ProtocolError::NotABulk(buffer[*at])),
                        Line::Number(len, end) => (len, end),
                        Line::Bad => return Err(ProtocolError::BulkLength),
                        Line::NoCrlf => return Err(ProtocolError::NoCrlf),
                    };
                    if len < 0 || len as u64 > bounds.bulk_len_max {
                        return Err(ProtocolError::BulkLength);
                    }
                    if len > UNAUTHENTICATED_WORD_LEN_MAX && !bounds.authenticated {
                        return Err(ProtocolError::UnauthenticatedBulkLength);
                    }
                    *at = end;
                    len as usize
                }
            };
            let end = *at + len;
            let Some(ending) = buffer.get(end..end + 2) else {
                self.bulk = Some(len);
                return Ok(false);
            };
            if ending != b"\r\n" {
                return Err(ProtocolError::NoCrlf);
            }
            words.push(Word { start: *at, len });
            *at = end + 2;
            self.bulk = None;
            self.missing -= 1;
        }
        Ok(true)
    }
}

/// The line at `at`: one byte of type, a strict integer, CRLF.
#[inline]
fn line(buffer: &[u8], at: usize) -> Line {
    // Nearly always one to three digits.
    if let Some(&[_, first @ b'1'..=b'9', b'\r', b'\n']) = buffer[at..].first_chunk() {
        return Line::Number(i64::from(first - b'0'), at + 4);
    }
    if let Some(&[_, first @ b'1'..=b'9', second @ b'0'..=b'9', b'\r', b'\n']) = buffer[at..].first_chunk() {
        return Line::Number(i64::from(first - b'0') * 10 + i64::from(second - b'0'), at + 5);
    }
    any_line(buffer, at)
}

fn any_line(buffer: &[u8], at: usize) -> Line {
    let limit = buffer.len().min(at + LINE_LEN_MAX);
    let Some(len) = memchr::memchr(b'\r', &buffer[at..limit]) else { return Line::Partial };
    let end = at + len;
    match buffer.get(end + 1) {
        None => Line::Partial,
        Some(b'\n') if len == 0 => Line::Bad,
        Some(b'\n') => parse_integer(&buffer[at + 1..end]).map_or(Line::Bad, |number| Line::Number(number, end + 2)),
        Some(_) => Line::NoCrlf,
    }
}

/// The inline command at `at`.
fn inline(buffer: &mut [u8], at: &mut usize, words: &mut Vec<Word>) -> Result<bool, ProtocolError> {
    let limit = buffer.len().min(*at + LINE_LEN_MAX);
    let Some(len) = memchr::memchr(b'\n', &buffer[*at..limit]) else {
        return if buffer.len() - *at > LINE_LEN_MAX { Err(ProtocolError::InlineLine) } else { Ok(false) };
    };
    let end = *at + len;
    let text_end = if len > 0 && buffer[end - 1] == b'\r' { end - 1 } else { end };
    inline::split(buffer, *at, text_end, words).map_err(|_| ProtocolError::UnbalancedQuotes)?;
    *at = end + 1;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Bounds = Bounds { bulk_len_max: 512 << 20, authenticated: true };

    /// Feeds `input` in pieces that end at `cuts`, as a connection does. The commands, and the error that ended it.
    fn feed(input: &[u8], cuts: &[usize], bounds: &Bounds) -> (Vec<Vec<Vec<u8>>>, Option<ProtocolError>) {
        let (mut parser, mut batch) = (Parser::default(), Batch::default());
        let (mut buffer, mut commands, mut from) = (Vec::new(), Vec::new(), 0);
        for &cut in cuts.iter().chain([&input.len()]) {
            buffer.extend_from_slice(&input[from..cut]);
            from = cut;
            loop {
                batch.clear();
                let parsed = parser.parse(&mut buffer, bounds, &mut batch);
                for request in &batch.requests {
                    let words = &batch.words[request.first..request.first + request.count];
                    commands
                        .push(words.iter().map(|word| buffer[word.start..word.start + word.len].to_vec()).collect());
                }
                if parsed.error.is_some() {
                    return (commands, parsed.error);
                }
                buffer.drain(..parsed.consumed);
                if !parsed.more {
                    break;
                }
            }
        }
        (commands, None)
    }

    fn whole(input: &[u8]) -> (Vec<Vec<Vec<u8>>>, Option<ProtocolError>) {
        feed(input, &[], &OPEN)
    }

    const MIXED: &[u8] =
        b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\nx\r\ny\0\r\nPING\r\n\r\n*0\r\n*-1\r\nset \"k \\x41\" 'v'\n\
        *1\r\n$0\r\n\r\n*2\r\n$4\r\nECHO\r\n$12\r\nhello world!\r\n  \r\n*1\r\n$4\r\nPING\r\n";

    #[test]
    fn commands_are_the_same_whole_and_in_two_pieces_and_byte_by_byte() {
        let expected = whole(MIXED);
        assert_eq!(expected.0.len(), 6);
        assert_eq!(expected.0[0], [&b"SET"[..], b"a", b"x\r\ny\0"]);
        assert_eq!(expected.0[2], [&b"set"[..], b"k A", b"v"]);
        assert_eq!(expected.0[3], [b""]);
        assert_eq!(expected.1, None);
        for cut in 0..=MIXED.len() {
            assert_eq!(feed(MIXED, &[cut], &OPEN), expected, "cut at {cut}");
        }
        let each: Vec<usize> = (1..MIXED.len()).collect();
        assert_eq!(feed(MIXED, &each, &OPEN), expected);
    }

    #[test]
    fn errors_are_the_same_whole_and_byte_by_byte() {
        let long = [&b"*"[..], &[b'1'; LINE_LEN_MAX + 1]].concat();
        let long_bulk = [&b"*1\r\n$"[..], &[b'1'; LINE_LEN_MAX + 1]].concat();
        let long_inline = vec![b'a'; LINE_LEN_MAX + 1];
        let cases: &[(&[u8], ProtocolError)] = &[
            (b"*x\r\n", ProtocolError::MultibulkLength),
            (b"*\r\n", ProtocolError::MultibulkLength),
            (b"*01\r\n", ProtocolError::MultibulkLength),
            (b"*+1\r\n", ProtocolError::MultibulkLength),
            (b"*2147483648\r\n", ProtocolError::MultibulkLength),
            (b"*3000000000\r\n", ProtocolError::MultibulkLength),
            (b"*99999999999999999999\r\n", ProtocolError::MultibulkLength),
            (b"*1\rx", ProtocolError::NoCrlf),
            (b"*1\r\n$-1\r\n", ProtocolError::BulkLength),
            (b"*1\r\n$536870913\r\n", ProtocolError::BulkLength),
            (b"*1\r\n$x\r\n", ProtocolError::BulkLength),
            (b"*1\r\n$\r\n", ProtocolError::BulkLength),
            (b"*1\r\nfooz\r\n", ProtocolError::NotABulk(b'f')),
            (b"*1\r\n\r\n", ProtocolError::NotABulk(b'\r')),
            (b"*1\r\n$1\r\nabc", ProtocolError::NoCrlf),
            (b"*1\r\n$1\r\na\rb", ProtocolError::NoCrlf),
            (b"PING\r\nset x \"\r\n", ProtocolError::UnbalancedQuotes),
            (&long, ProtocolError::MultibulkLine),
            (&long_bulk, ProtocolError::BulkLine),
            (&long_inline, ProtocolError::InlineLine),
        ];
        for (input, error) in cases {
            let (commands, found) = whole(input);
            assert_eq!(found, Some(*error), "{}", input[..input.len().min(40)].escape_ascii());
            let each: Vec<usize> = (1..input.len()).collect();
            assert_eq!(feed(input, &each, &OPEN), (commands, found));
        }
    }

    #[test]
    fn before_auth_commands_come_one_by_one_and_short() {
        let closed = Bounds { authenticated: false, ..OPEN };
        assert_eq!(feed(b"*11\r\n", &[], &closed).1, Some(ProtocolError::UnauthenticatedMultibulkLength));
        assert_eq!(feed(b"*10\r\n", &[], &closed).1, None);
        assert_eq!(feed(b"*1\r\n$16385\r\n", &[], &closed).1, Some(ProtocolError::UnauthenticatedBulkLength));
        assert_eq!(feed(b"*1\r\n$16384\r\n", &[], &closed).1, None);
        let mut batch = Batch::default();
        let parsed = Parser::default().parse(&mut b"PING\r\nPING\r\n".to_vec(), &closed, &mut batch);
        assert_eq!((batch.requests.len(), parsed.consumed, parsed.more), (1, 6, true));
    }

    #[test]
    fn a_batch_is_bounded() {
        let mut buffer = b"*1\r\n$4\r\nPING\r\n".repeat(BATCH_COMMANDS_MAX + 7);
        let (mut parser, mut batch) = (Parser::default(), Batch::default());
        let parsed = parser.parse(&mut buffer, &OPEN, &mut batch);
        assert_eq!(
            (batch.requests.len(), parsed.consumed, parsed.more),
            (BATCH_COMMANDS_MAX, BATCH_COMMANDS_MAX * 14, true)
        );
        assert_eq!(whole(&buffer).0.len(), BATCH_COMMANDS_MAX + 7);
    }

    #[test]
    fn a_declared_length_takes_no_memory_and_is_asked_for() {
        let (mut parser, mut batch) = (Parser::default(), Batch::default());
        let mut buffer = b"*2147483647\r\n$536870912\r\nabc".to_vec();
        let parsed = parser.parse(&mut buffer, &OPEN, &mut batch);
        assert_eq!((parsed.consumed, parsed.error), (0, None));
        assert_eq!(parser.needed(buffer.len()), 536_870_912 + 2 - 3);
        assert!(parser.words.capacity() < 64 && batch.words.capacity() < 64);
    }

    #[test]
    fn places_of_many_words_are_not_kept() {
        let mut batch = Batch { words: Vec::with_capacity(4 * WORDS_KEPT), requests: Vec::new() };
        batch.clear();
        assert!(batch.words.capacity() < 2 * WORDS_KEPT);
    }

    #[test]
    fn many_words_in_many_pieces() {
        let mut input = b"*5000\r\n".to_vec();
        for n in 0..5000 {
            let word = n.to_string();
            input.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
        let mut twice = b"PING\r\n".to_vec();
        twice.extend_from_slice(&input);
        twice.extend_from_slice(&input);
        let cuts: Vec<usize> = (1..twice.len()).step_by(37).collect();
        let (commands, error) = feed(&twice, &cuts, &OPEN);
        assert_eq!((commands.len(), error), (3, None));
        assert_eq!(commands[1], commands[2]);
        assert_eq!(commands[2][4999], b"4999");
    }
}

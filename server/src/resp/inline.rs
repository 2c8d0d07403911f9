//! Inline commands: one line, words separated by blanks, with quotes and escapes.
//!
//! Words are unescaped in place: a word never becomes longer, so it ends up within its own line of the buffer.

use super::parser::Word;

/// A quote is not closed, or something follows a closed one without a blank.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unbalanced;

/// Blanks between words (C's isspace).
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

/// Splits `buffer[start..end]` into words, which are pushed with their places in `buffer`. A NUL ends the line, as it does in Redis.
///
/// # Errors
/// [`Unbalanced`]; words may have been pushed.
pub(crate) fn split(buffer: &mut [u8], start: usize, end: usize, words: &mut Vec<Word>) -> Result<(), Unbalanced> {
    let end = memchr::memchr(0, &buffer[start..end]).map_or(end, |at| start + at);
    let mut at = start; // Next byte to look at.
    loop {
        while at < end && is_space(buffer[at]) {
            at += 1;
        }
        if at == end {
            return Ok(());
        }
        let word_start = at;
        let mut put = at; // Where the next byte of the word goes; never past `at`.
        let mut quote = 0u8;
        loop {
            let byte = if at < end { Some(buffer[at]) } else { None };
            let (value, used) = match (quote, byte) {
                (0, None | Some(b' ' | b'\n' | b'\r' | b'\t')) => break,
                (0, Some(open @ (b'"' | b'\''))) => {
                    quote = open;
                    at += 1;
                    continue;
                }
                (0, Some(byte)) => (byte, 1),
                (_, None) => return Err(Unbalanced),
                (open, Some(byte)) if byte == open => {
                    if at + 1 < end && !is_space(buffer[at + 1]) {
                        return Err(Unbalanced);
                    }
                    at += 1;
                    break;
                }
                (b'"', Some(b'\\')) if at + 1 < end => escaped(&buffer[at..end]),
                (b'\'', Some(b'\\')) if at + 1 < end && buffer[at + 1] == b'\'' => (b'\'', 2),
                (_, Some(byte)) => (byte, 1),
            };
            buffer[put] = value;
            put += 1;
            at += used;
        }
        words.push(Word { start: word_start, len: put - word_start });
    }
}

/// The byte that an escape in double quotes stands for, and the escape's length. `text` begins with the backslash, one byte follows.
fn escaped(text: &[u8]) -> (u8, usize) {
    let digit = |at: usize| text.get(at).and_then(|&byte| char::from(byte).to_digit(16)).map(|digit| digit as u8);
    match text[1] {
        b'x' => match (digit(2), digit(3)) {
            (Some(high), Some(low)) => (high << 4 | low, 4),
            _ => (b'x', 2),
        },
        b'n' => (b'\n', 2),
        b'r' => (b'\r', 2),
        b't' => (b'\t', 2),
        b'b' => (0x08, 2),
        b'a' => (0x07, 2),
        other => (other, 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &[u8]) -> Result<Vec<Vec<u8>>, Unbalanced> {
        let mut buffer = [b"before ", line, b" after"].concat();
        let mut words = Vec::new();
        split(&mut buffer, 7, 7 + line.len(), &mut words)?;
        Ok(words.iter().map(|word| buffer[word.start..word.start + word.len].to_vec()).collect())
    }

    #[test]
    fn words_quotes_and_escapes() {
        let cases: &[(&[u8], &[&[u8]])] = &[
            (b"", &[]),
            (b" \t ", &[]),
            (b"PING", &[b"PING"]),
            (b"  set  a\tb ", &[b"set", b"a", b"b"]),
            (b"echo \"a b\"", &[b"echo", b"a b"]),
            (b"echo 'a b' \"\" ''", &[b"echo", b"a b", b"", b""]),
            (b"\"\\x00\\xfF\\n\\r\\t\\b\\a\\q\\\"\\\\\"", &[b"\x00\xff\n\r\t\x08\x07q\"\\"]),
            (b"\"\\xZ1\"", &[b"xZ1"]),
            (b"'\\n\\''", &[b"\\n'"]),
            (b"foo\"bar\" baz", &[b"foobar", b"baz"]),
            (b"a\\b", &[b"a\\b"]),
            (b"get a\0b c", &[b"get", b"a"]),
        ];
        for (line, words) in cases {
            assert_eq!(check(line).unwrap(), *words, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn unbalanced_quotes_are_refused() {
        for line in [
            &b"\"abc"[..],
            b"'abc",
            b"\"abc\"d",
            b"'abc'd",
            b"set x \"",
            b"\"abc\\",
            b"\"abc\\\"",
            b"'abc\\'",
            b"\"a\0b\"",
        ] {
            assert_eq!(check(line), Err(Unbalanced), "{}", line.escape_ascii());
        }
    }
}

//! Words of a configuration line, or of the first line of a script: separated by blanks, with `"double"` and `'single'` quotes as redis.conf and the inline
//! protocol have them.
//!
//! Within double quotes `\n \r \t \b \a \xHH` are bytes and a backslash makes any other byte itself; within single quotes only
//! `\'` is special. A closing quote must end its word.

/// The words of a line; `None` if a quote is not closed, or is closed within a word.
pub fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Some(words);
        }
        let (word, after) = next_word(rest)?;
        words.push(word);
        rest = after;
    }
}

fn next_word(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    loop {
        match rest {
            [] => return Some((word, rest)),
            [b'"', after @ ..] => return quoted(word, after),
            [b'\'', after @ ..] => return single_quoted(word, after),
            [byte, after @ ..] if byte.is_ascii_whitespace() => return Some((word, after)),
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
        }
    }
}

fn quoted(mut word: Vec<u8>, mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    loop {
        match rest {
            [] | [b'\\'] => return None,
            [b'\\', b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                word.push(hex(*high) << 4 | hex(*low));
                rest = after;
            }
            [b'\\', byte, after @ ..] => {
                word.push(match byte {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                rest = after;
            }
            [b'"', after @ ..] => return closed(word, after),
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
        }
    }
}

fn single_quoted(mut word: Vec<u8>, mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    loop {
        match rest {
            [] => return None,
            [b'\\', b'\'', after @ ..] => {
                word.push(b'\'');
                rest = after;
            }
            [b'\'', after @ ..] => return closed(word, after),
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
        }
    }
}

fn closed(word: Vec<u8>, after: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    after.first().is_none_or(u8::is_ascii_whitespace).then_some((word, after))
}

fn hex(digit: u8) -> u8 {
    char::from(digit).to_digit(16).map_or(0, |value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[track_caller]
    fn check(line: &str, words: &[&str]) {
        let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        assert_eq!(split(line.as_bytes()), Some(words), "{line:?}");
    }

    #[test]
    fn words_are_separated_by_blanks_and_kept_by_quotes() {
        check("", &[]);
        check("  \t ", &[]);
        check("port 6379", &["port", "6379"]);
        check(" save  \"\" ", &["save", ""]);
        check("logfile ''", &["logfile", ""]);
        check("a \"b c\" 'd e'", &["a", "b c", "d e"]);
        check(r#"a "\n\r\t\b\a\x41\q\"""#, &["a", "\n\r\t\u{8}\u{7}Aq\""]);
        check(r"a 'it\'s' 'no\n'", &["a", "it's", "no\\n"]);
        check("ab\"c d\"", &["abc d"]);
    }

    #[test]
    fn a_quote_that_does_not_close_its_word_is_refused() {
        for line in ["\"", "'", "a \"b", "a 'b", "\"a\"b", "'a'b", "\"a\\", "\"a\\\""] {
            assert_eq!(split(line.as_bytes()), None, "{line:?}");
        }
    }
}

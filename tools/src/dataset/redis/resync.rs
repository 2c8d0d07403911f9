//! Damaged commands of an append-only file: where reading goes on behind them, and which keys are in what is left out.
//!
//! 1. Reading goes on at the first command that can be believed: one that another command, or the end, follows at once. What looks like commands
//!    within a value does not lead on to those behind the value.
//! 2. Of what is left out every command that can still be made out gives the names of its keys.
//! 3. That these are all of them is said only if one command with a few bytes changed in place explains all that is left out. Where a length does
//!    not fit, bytes may be missing, and whole commands with them, of which nothing tells.

use super::super::Unnamed;
use super::super::change::touched;
use super::bytes_at;
use crate::ToolError;
use firn_engine::aof::write::put_command;
use firn_engine::aof::{AofError, BadAof, Command, CommandReader};
use firn_engine::command::table;
use firn_engine::number::parse_integer;
use std::path::Path;

/// So much is searched at a time; as much again must be readable behind a place.
const SEARCH_STEP: u64 = 1 << 20;
/// So much of what is left out is searched for words.
const WORDS_WITHIN: u64 = 1 << 20;
/// Commands that must follow each other behind damage, unless the bytes end before.
const CHAIN: usize = 8;
/// Bytes that damage in place changes, at most, where one command explains all that is left out.
const CHANGED_MAX: usize = 16;

/// What is known when a command cannot be read.
pub(super) struct Broken<'a> {
    /// The file, and its length.
    pub(super) path: &'a Path,
    pub(super) len: u64,
    /// Where the last command ends that was read whole.
    pub(super) good: u64,
    /// Where what is wrong begins.
    pub(super) offset: u64,
    /// What is wrong.
    pub(super) why: BadAof,
    /// The command's words, as far as they were read.
    pub(super) words: &'a Command,
    /// How long commands were so far, on average.
    pub(super) mean: u64,
}

/// Whether a server writes such a command into an append-only file.
pub(super) fn is_known(word: &[u8]) -> bool {
    table::find(word).is_some()
        || [&b"SELECT"[..], b"MULTI", b"EXEC"].iter().any(|known| word.eq_ignore_ascii_case(known))
}

impl Broken<'_> {
    /// Where reading goes on, if it does.
    pub(super) fn behind(&self) -> Result<Option<u64>, ToolError> {
        let end = if self.why == BadAof::NoCrlf { word_end(self.path, self.words, self.offset)? } else { None };
        let found = next_command(self.path, end.unwrap_or(self.offset))?;
        let earlier = self.earlier(found.unwrap_or(self.len), found.is_some())?;
        Ok(earlier.or(found))
    }

    /// A command before `to` from which on commands lead exactly there: it was not damaged. Without one at `to`, they lead to the end.
    fn earlier(&self, to: u64, is_found: bool) -> Result<Option<u64>, ToolError> {
        if to.saturating_sub(self.good) > 4 * WORDS_WITHIN || to <= self.good {
            return Ok(None);
        }
        let bytes = bytes_at(self.path, self.good, to - self.good)?;
        let (mut command, mut passed) = (Command::default(), 1);
        for start in memchr::memchr_iter(b'*', &bytes) {
            // What a chain that led nowhere has gone through leads nowhere either.
            if start < passed || !bytes.get(start + 1).is_some_and(u8::is_ascii_digit) {
                continue;
            }
            let mut reader = CommandReader::probe(&bytes[start..], start as u64);
            let mut count = 0;
            loop {
                match reader.take(&mut command) {
                    Ok(true) if command.words().next().is_some_and(is_known) => {
                        count += 1;
                        passed = reader.offset() as usize;
                    }
                    Ok(false) if count > 0 => return Ok(Some(self.good + start as u64)),
                    Err(AofError::Cut { .. }) if count > 0 && !is_found => return Ok(Some(self.good + start as u64)),
                    _ => break,
                }
            }
        }
        Ok(None)
    }

    /// The keys in what is left out up to `to`.
    pub(super) fn lost(&self, to: u64) -> Result<(Vec<Vec<u8>>, Unnamed), ToolError> {
        if to <= self.good {
            return Ok((Vec::new(), Unnamed::default()));
        }
        let left_out = bytes_at(self.path, self.good, (to - self.good).min(WORDS_WITHIN))?;
        let mut keys = lost_keys(self.words, &left_out);
        if !keys.is_empty() && is_one_command(self.words, &left_out, to - self.good) {
            return Ok((keys, Unnamed::default()));
        }
        let read = self.offset.min(to).saturating_sub(self.good) as usize;
        let (mut explained, mut unnamed) = (read.min(left_out.len()), u64::from(keys.is_empty() && read > 0));
        for (at, end, found) in commands_in(&left_out) {
            if at == 0 {
                explained = explained.max(end);
                continue;
            }
            unnamed += u64::from(found.is_empty());
            explained = explained.max(end);
            keys.extend(found);
        }
        let rest = (to - self.good).saturating_sub(explained as u64);
        unnamed += (rest + self.mean / 2) / self.mean.max(1);
        let mut seen = std::collections::HashSet::new();
        keys.retain(|key| seen.insert(key.clone()));
        Ok((keys, Unnamed { about: unnamed, perhaps: true }))
    }
}

/// Whether a command that was read may have taken the beginning of the next for a part of its last word: bytes of that word are missing then.
pub(super) fn has_swallowed(command: &Command) -> bool {
    let word = command.words().next_back().unwrap_or_default();
    memchr::memmem::find_iter(word, b"\r\n*").any(|at| word.get(at + 3).is_some_and(u8::is_ascii_digit))
}

/// What a SELECT in bytes that are left out chooses: `None` if there is none, `Some(None)` if that cannot be read.
pub(super) fn selects(left_out: &[u8]) -> Option<Option<usize>> {
    let at =
        memchr::memmem::rfind(left_out, b"\r\nSELECT").or_else(|| memchr::memmem::rfind(left_out, b"\r\nselect"))?;
    let mut lines =
        left_out[at + 2..].split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let number = lines.nth(2).and_then(parse_integer).and_then(|number| usize::try_from(number).ok());
    Some(number.filter(|number| *number < firn_engine::limits::DATABASES_MAX))
}

/// Whether a word whose bytes end with the file was given a wrong length, and where it ends if so: behind a place that another number of the same kind
/// would give, commands lead to the file's end.
pub(super) fn misread_length(path: &Path, words: &Command, len: u64) -> Result<Option<u64>, ToolError> {
    let Some(word) = words.words().next_back() else { return Ok(None) };
    let start = len - (word.len() as u64).min(len);
    let before = bytes_at(path, start.saturating_sub(16), start.min(16))?;
    let line = before.strip_suffix(b"\r\n").and_then(|line| Some(&line[memchr::memrchr(b'$', line)? + 1..]));
    let Some(stated) = line.filter(|line| line.iter().all(u8::is_ascii_digit)) else { return Ok(None) };
    let bytes = bytes_at(path, start, SEARCH_STEP)?;
    let mut command = Command::default();
    for end in memchr::memmem::find_iter(&bytes, b"\r\n*") {
        let digits = end.to_string();
        if !is_misread(stated, digits.as_bytes()) {
            continue;
        }
        let behind = start + end as u64 + 2;
        let mut reader = CommandReader::probe(&bytes[end + 2..], behind);
        let mut count = 0;
        let leads = loop {
            match reader.take(&mut command) {
                Ok(true) if command.words().next().is_some_and(is_known) => count += 1,
                Ok(false) | Err(AofError::Cut { .. }) => break count > 0,
                _ => break false,
            }
            if count >= CHAIN {
                break true;
            }
        };
        if leads {
            return Ok(Some(behind));
        }
    }
    Ok(None)
}

/// Whether some digits that were changed, lost or added make one number of the other.
fn is_misread(one: &[u8], other: &[u8]) -> bool {
    const DIGITS_MAX: usize = 2;
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    if short.len() == long.len() {
        return short.iter().zip(long).filter(|(one, other)| one != other).count() <= DIGITS_MAX;
    }
    let mut left = short.iter().peekable();
    for digit in long {
        let _ = left.next_if(|it| *it == digit);
    }
    left.peek().is_none() && long.len() - short.len() <= DIGITS_MAX
}

/// Whether one command, some bytes of which were changed in place, is all that these bytes hold. Where a word is not as long as is stated, bytes
/// may be missing: then nobody knows.
fn is_one_command(broken: &Command, bytes: &[u8], len: u64) -> bool {
    let read: Vec<&[u8]> = broken.words().collect();
    [Some(read), lines_in(bytes)].into_iter().flatten().filter(|words| !words.is_empty()).any(|words| {
        let mut whole = Vec::with_capacity(bytes.len());
        put_command(&mut whole, &words);
        if whole.len() as u64 != len || whole.len() != bytes.len() {
            return false;
        }
        // Where the words are, and the digits of their lengths and number; the rest is signs and ends of lines.
        let digits = words.len().to_string().len();
        let (mut fixed, mut at) = (Vec::from([(1, 1 + digits)]), digits + 3);
        for word in words {
            let digits = word.len().to_string().len();
            fixed.push((at + 1, at + 1 + digits));
            fixed.push((at + 3 + digits, at + 3 + digits + word.len()));
            at += 5 + digits + word.len();
        }
        let changed = whole.iter().zip(bytes).filter(|(one, other)| one != other).count();
        changed <= CHANGED_MAX && fixed.into_iter().all(|(from, to)| whole[from..to] == bytes[from..to])
    })
}

/// What may be commands in bytes that cannot be read: where each begins and ends, and its keys as far as they can be read.
fn commands_in(bytes: &[u8]) -> Vec<(usize, usize, Vec<Vec<u8>>)> {
    let (mut found, mut from, mut command, mut places) = (Vec::new(), 0, Command::default(), Vec::new());
    for start in memchr::memchr_iter(b'*', bytes) {
        if start < from || !bytes.get(start + 1).is_some_and(u8::is_ascii_digit) {
            continue;
        }
        let mut reader = CommandReader::probe(&bytes[start..], 0);
        let taken = reader.take(&mut command);
        let mut words: Vec<&[u8]> = command.words().collect();
        if taken.is_err() {
            // The last is there in part, or took too much.
            words.pop();
            let lines = lines_in(&bytes[start..]).unwrap_or_default();
            words = if lines.len() > words.len() { lines } else { words };
        }
        if !words.first().is_some_and(|word| is_known(word)) {
            continue;
        }
        let known = touched(&words, &mut places).is_some() && !places.is_empty();
        let keys = if known { places.iter().map(|at| words[*at].to_vec()).collect() } else { Vec::new() };
        let end = start + words.iter().map(|word| word.len() + 6).sum::<usize>();
        from = if taken.is_ok() { start + reader.offset() as usize } else { start + 1 };
        found.push((start, end.max(from).min(bytes.len()), keys));
    }
    found
}
/// The end of a word at which CRLF was missing: a place close to `offset`, where its length says that it ends, if some bytes too many or too
/// few stand in it; or a place that its length would give if one or two of its digits had been changed. Only such places are believed: what
/// else looks like a word's end may be bytes of its own.
fn word_end(path: &Path, broken: &Command, offset: u64) -> Result<Option<u64>, ToolError> {
    const SHIFT_MAX: u64 = 16;
    const DIGITS_CHANGED_MAX: usize = 2;
    let stated = broken.words().next_back().map_or(0, <[u8]>::len) as u64;
    let start = offset - stated.min(offset);
    let digits = stated.to_string();
    let most = 10u64.saturating_pow(digits.len() as u32) + 4;
    let bytes = bytes_at(path, start, most.min(SEARCH_STEP))?;
    let ends = memchr::memmem::find_iter(&bytes, b"\r\n").map(|at| at as u64).filter(|at| {
        let behind = &bytes[*at as usize + 2..];
        matches!(behind, [] | [b'*' | b'$', b'0'..=b'9', ..] | [b'#', ..])
    });
    let ends: Vec<u64> = ends.collect();
    // CRLF itself may be what is damaged.
    let behind = bytes.get(stated as usize + 2..).unwrap_or_default();
    if matches!(behind, [b'*' | b'$', b'0'..=b'9', ..] | [b'#', ..]) {
        return Ok(Some(start + stated));
    }
    let close = ends.iter().filter(|at| at.abs_diff(stated) <= SHIFT_MAX).min_by_key(|at| at.abs_diff(stated));
    let misread = |at: &&u64| {
        let other = at.to_string();
        let changed = other.bytes().zip(digits.bytes()).filter(|(one, other)| one != other).count();
        other.len() == digits.len() && changed <= DIGITS_CHANGED_MAX
    };
    // Bytes too many: what is behind the stated end belongs to nobody else.
    Ok(close.map(|at| stated.min(*at)).or_else(|| ends.iter().find(misread).copied()).map(|at| start + at))
}

/// Where the next command begins that this release knows, behind damage.
fn next_command(path: &Path, from: u64) -> Result<Option<u64>, ToolError> {
    let mut at = from + 1;
    let mut command = Command::default();
    loop {
        let bytes = bytes_at(path, at, SEARCH_STEP * 2)?;
        let is_last = (bytes.len() as u64) < SEARCH_STEP * 2;
        let mut passed = 0;
        for start in memchr::memchr_iter(b'*', &bytes[..bytes.len().min(SEARCH_STEP as usize)]) {
            if start < passed || !bytes.get(start + 1).is_some_and(u8::is_ascii_digit) {
                continue;
            }
            let mut reader = CommandReader::probe(&bytes[start..], start as u64);
            let mut count = 0;
            let is_one = loop {
                match reader.take(&mut command) {
                    Ok(true) if command.words().next().is_some_and(is_known) => count += 1,
                    Ok(true) => break count > 0,
                    Ok(false) => break true,
                    // A command that is longer than what is looked at is believed by its name.
                    Err(AofError::Cut { .. }) if !is_last => break command.words().next().is_some_and(is_known),
                    // Behind commands within a value its own end follows.
                    Err(AofError::Bad { why: BadAof::NotACommand(b'\r'), offset }) if count > 0 => {
                        passed = offset as usize;
                        break false;
                    }
                    Err(_) => break count > 0,
                }
                if count >= CHAIN {
                    break true;
                }
            };
            if is_one {
                return Ok(Some(at + start as u64));
            }
        }
        if is_last {
            return Ok(None);
        }
        at += SEARCH_STEP;
    }
}

/// The keys among the words that were read of a command. The last word may be there in part: then it is no name.
pub(super) fn keys_of(broken: &Command) -> Vec<Vec<u8>> {
    let words: Vec<&[u8]> = broken.words().collect();
    let mut places = Vec::new();
    touched(&words, &mut places);
    places.iter().filter(|at| **at + 1 < words.len()).map(|at| words[*at].to_vec()).collect()
}

/// The keys of a command that could not be read to its end: by the words that were read or, if not even its name was, by those that can be found
/// in what is left out.
fn lost_keys(broken: &Command, left_out: &[u8]) -> Vec<Vec<u8>> {
    let read: Vec<&[u8]> = broken.words().collect();
    // Whether the first word stands where a command's name does.
    let (words, is_whole) = match lines_in(left_out) {
        Some(lines) => (lines, true),
        None if read.len() > 1 => (read, true),
        None => (words_in(left_out), false),
    };
    let mut places = Vec::new();
    if touched(&words, &mut places).is_some() {
        return places.iter().map(|at| words[*at].to_vec()).collect();
    }
    // The name is damaged: what follows it is a key, as a rule.
    let key = if is_whole { words.get(1) } else { words.iter().find(|word| !is_known(word)) };
    key.map(|word| word.to_vec()).into_iter().collect()
}

/// The words of the first command in these bytes by their lines, if there are as many as it announces: whatever its lengths say.
fn lines_in(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    const WORDS_MAX: usize = 64;
    let mut lines = bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let count = parse_integer(lines.next()?.strip_prefix(b"*")?)?;
    let count = usize::try_from(count).ok().filter(|count| (1..=WORDS_MAX).contains(count))?;
    let (mut words, mut damaged) = (Vec::with_capacity(count), 0);
    for _ in 0..count {
        // A length, which may be what is damaged, and a word; a word of several lines, or a line that was cut in two, is found out behind it.
        let length = lines.next()?;
        if !length.starts_with(b"$") {
            // Digits behind another sign; one such line may be.
            let is_number = length.len() > 1 && length[1..].iter().all(u8::is_ascii_digit);
            damaged += if is_number { 1 } else { 2 };
        }
        words.push(lines.next()?);
    }
    let ends = matches!(lines.next(), None | Some([] | [b'*', ..] | [b'#', ..]));
    (ends && damaged < 2).then_some(words)
}

/// The words, as RESP has them, that can be read in these bytes.
fn words_in(bytes: &[u8]) -> Vec<&[u8]> {
    const WORDS_MAX: usize = 64;
    let (mut words, mut at) = (Vec::new(), 0);
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr(b'$', rest))
        && words.len() < WORDS_MAX
    {
        at += found + 1;
        let rest = &bytes[at..];
        let Some(end) = rest.iter().take(20).position(|byte| *byte == b'\r') else { continue };
        let len = parse_integer(&rest[..end]).and_then(|len| usize::try_from(len).ok());
        let Some(len) = len else { continue };
        let word = rest.get(end + 2..).and_then(|rest| rest.get(..len));
        let closed = rest.get(end + 2..).and_then(|rest| rest.get(len..)).is_some_and(|rest| rest.starts_with(b"\r\n"));
        if let (Some(word), true) = (word, closed && rest[end..].starts_with(b"\r\n")) {
            words.push(word);
            at += end + 2 + len;
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_broken_command_are_found_in_what_is_left_of_it() {
        let none = Command::default();
        let names = |bytes: &[u8]| -> Vec<String> {
            lost_keys(&none, bytes).iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect()
        };
        assert_eq!(names(b"*\xff\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n"), ["a"]);
        assert_eq!(names(b"*3\r\n$3\r\nS\xffET\r\n$1\r\na\r\n$1\r\nb\r\n"), ["a"]);
        assert_eq!(names(b"*3\r\n$3\r\nSET\r\nx1\r\na\r\n$1\r\nb\r\n"), ["a"]);
        assert_eq!(names(b"*3\r\n$3\r\nDEL\r\n$1\r\na\r\n$1\r\nb\r\n"), ["a", "b"]);
        assert_eq!(names(b"$\r\n$-1\r\n$99999999999999999999\r\n$5\r\nab"), Vec::<String>::new());
        let bytes = b"*3\r\n$3\r\nSET\r\n$5\r\nkey:1\r\n$5\r\nab\r\n*1\r\n";
        let (mut command, mut reader) = (Command::default(), CommandReader::new(&bytes[..], 0));
        assert!(reader.take(&mut command).is_err());
        assert_eq!(lost_keys(&command, b""), [b"key:1".to_vec()]);
    }
}

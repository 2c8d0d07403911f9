//! Commands of append-only files as a tail of changes.
//!
//! A lenient reader leaves out one command where the bytes are wrong, and goes on with the next that it can read. Of a transaction that is
//! damaged within, the other commands count. One that was never ended does not count, as for a server.

use super::super::change::{Change, touched};
use super::super::{Damages, Loss, Tail, VisitChange};
use super::rdb::RdbBase;
use super::{RedisFiles, bytes_at, failed, finding, is_rdb, open_at, start, with_keys};
use crate::folder::Severity;
use crate::{ToolError, spool};
use firn_engine::aof::{AofError, BadAof, Command, CommandReader, Groups};
use firn_engine::command::table;
use firn_engine::number::parse_integer;
use std::cell::Cell;
use std::fs::File;
use std::path::Path;

/// So much is searched at a time; as much again must be readable behind a place.
const SEARCH_STEP: u64 = 1 << 20;
/// So much of what is left out is searched for words.
const WORDS_WITHIN: u64 = 1 << 20;

/// See above.
pub(crate) struct AofTail<'d> {
    files: &'d RedisFiles,
    until_ms: Option<u64>,
    damages: &'d Damages,
}

/// A place between two commands, from which reading can go on later.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    /// Which file.
    pub(crate) file: usize,
    /// Where in it.
    pub(crate) offset: u64,
    /// The database that the last SELECT chose.
    pub(crate) db: usize,
}

impl<'d> AofTail<'d> {
    pub(super) fn new(files: &'d RedisFiles, until_ms: Option<u64>, damages: &'d Damages) -> Self {
        AofTail { files, until_ms, damages }
    }

    /// Where the commands of a file begin; `None` if there are none, or the RDB part before them has no end for damage.
    fn begin(&self, at: usize) -> Result<Option<u64>, ToolError> {
        let path = &self.files.paths[at];
        if self.files.is_rdb_alone() {
            return Ok(None);
        }
        if !is_rdb(&start(path)) {
            return Ok(Some(0));
        }
        if at == 0 {
            return self.files.base(self.damages).end();
        }
        // No server makes such a file.
        let end = Cell::new(None);
        let message = "it begins as an RDB file, but is not the first: only its commands count".to_owned();
        self.damages.report(finding(path, Severity::Damage, 0, message))?;
        RdbBase::new(Some(path), &end, None, self.damages).end()
    }

    /// Visits the commands from `place` on, and moves it behind those that were visited.
    ///
    /// # Errors
    /// [`ToolError`].
    pub(crate) fn visit_from(&self, place: &mut Place, visit: &mut VisitChange<'_>) -> Result<(), ToolError> {
        while place.file < self.files.paths.len() {
            let path = &self.files.paths[place.file];
            if !path.exists() {
                let message = "the manifest names it, and it is not there".to_owned();
                self.damages.report(finding(path, Severity::Damage, 0, message))?;
                *place = Place { file: place.file + 1, ..Place::default() };
                continue;
            }
            if place.offset == 0 {
                let Some(begin) = self.begin(place.file)? else { return Ok(()) };
                place.offset = begin;
            }
            if !self.file(place, visit)? || place.file + 1 == self.files.paths.len() {
                return Ok(());
            }
            *place = Place { file: place.file + 1, ..Place::default() };
        }
        Ok(())
    }

    /// Visits the commands of one file; says whether those of the next follow.
    fn file(&self, place: &mut Place, visit: &mut VisitChange<'_>) -> Result<bool, ToolError> {
        let path = &self.files.paths[place.file];
        let (shown, is_last) = (spool::name(path), place.file + 1 == self.files.paths.len());
        let mut groups = Groups::new(CommandReader::new(open_at(path, place.offset)?, place.offset));
        let mut group: Vec<Command> = Vec::new();
        loop {
            let error = match groups.take(&mut group) {
                Ok(false) => return Ok(true),
                Ok(true) => None,
                Err(error) => Some(error),
            };
            if error.is_none() || matches!(error, Some(AofError::Bad { .. })) && self.damages.is_lenient() {
                for command in &group {
                    if !self.command(command, place.file, &shown, &mut place.db, visit)? {
                        return Ok(false);
                    }
                }
            }
            let Some(error) = error else {
                place.offset = groups.offset();
                continue;
            };
            let len = len_of(path)?;
            match &error {
                AofError::Read { source, .. } => return Err(ToolError::Unreadable(format!("{shown}: {source}"))),
                // What a server that died while it wrote leaves: nobody was promised it.
                AofError::Cut { offset } if is_last => {
                    let message =
                        format!("the last {} bytes are a command, or a transaction, that was cut", len - offset);
                    self.damages.note(finding(path, Severity::Note, *offset, message));
                    self.damages.lose(loss(path, *offset, len, Vec::new(), true));
                    return Ok(true);
                }
                AofError::Cut { .. } | AofError::Bad { .. } => {
                    groups = match self.behind(path, &error, &groups, len)? {
                        Some(groups) => groups,
                        None => return Ok(true),
                    };
                }
            }
        }
    }

    /// Hands a command over; says whether more are wanted.
    fn command(
        &self,
        command: &Command,
        file_number: usize,
        file: &str,
        db: &mut usize,
        visit: &mut VisitChange<'_>,
    ) -> Result<bool, ToolError> {
        let time_ms = command.time.map(|seconds| seconds * 1000);
        if time_ms.zip(self.until_ms).is_some_and(|(time, until)| time > until) {
            return Ok(false);
        }
        let words: Vec<&[u8]> = command.words().collect();
        if command.is("SELECT") {
            *db = selected(&words).unwrap_or(*db);
            return Ok(true);
        }
        if self.damages.is_lenient() && words.first().is_some_and(|word| !is_known(word)) {
            // Whoever applies it reports it; what follows a name that nobody knows is a key, as a rule.
            let keys = words.get(1).map(|word| word.to_vec()).into_iter().collect();
            self.damages.lose(loss(&self.files.paths[file_number], command.offset, command.offset, keys, false));
        }
        visit(&Change { file, offset: command.offset, lsn: None, time_ms, db: *db, words: &words })?;
        Ok(true)
    }

    /// Reports damage, and finds where reading goes on, if it does.
    fn behind(
        &self,
        path: &Path,
        error: &AofError,
        groups: &Groups<File>,
        len: u64,
    ) -> Result<Option<Groups<File>>, ToolError> {
        let (offset, good) = (error.offset(), groups.good());
        if !self.damages.is_lenient() {
            let message = match error {
                AofError::Bad { why, .. } => why.to_string(),
                _ => "it ends inside a command, and more files follow".to_owned(),
            };
            self.damages.report(finding(path, Severity::Damage, offset, message))?;
        }
        let AofError::Bad { why, .. } = error else {
            let keys = lost_keys(groups.broken(), &[]);
            let message = format!("it ends inside a command or transaction{}, and more files follow", with_keys(&keys));
            self.damages.report(finding(path, Severity::Damage, offset, message))?;
            self.damages.lose(loss(path, offset, len, keys, false));
            return Ok(None);
        };
        if zeros_from(path, offset, len)? {
            let message = format!("{} zero bytes up to the end: nothing was written there", len - offset);
            self.damages.report(finding(path, Severity::Damage, offset, message))?;
            self.damages.lose(loss(path, offset, len, Vec::new(), true));
            return Ok(None);
        }
        if *why == BadAof::ExecWithoutMulti {
            // The MULTI was lost before, and what came between has been read.
            let to = groups.offset();
            let message = "EXEC without MULTI: its commands count all the same".to_owned();
            self.damages.report(finding(path, Severity::Damage, offset, message))?;
            return Ok(Some(Groups::behind_damage(CommandReader::new(open_at(path, to)?, to), false)));
        }
        let from = if *why == BadAof::NoCrlf { word_end(path, groups.broken(), offset)? } else { None };
        let found = next_command(path, from.unwrap_or(offset))?;
        let to = found.unwrap_or(len);
        let keys = lost_keys(groups.broken(), &bytes_at(path, good, (to - good).min(WORDS_WITHIN))?);
        let message = format!("{why} (byte {offset}); {} bytes{} are left out", to - good, with_keys(&keys));
        self.damages.report(finding(path, Severity::Damage, good, message))?;
        self.damages.lose(loss(path, good, to, keys, false));
        let Some(to) = found else { return Ok(None) };
        let reader = CommandReader::new(open_at(path, to)?, to);
        Ok(Some(Groups::behind_damage(reader, groups.is_inside())))
    }
}

fn loss(path: &Path, from: u64, to: u64, keys: Vec<Vec<u8>>, harmless: bool) -> Loss {
    Loss { path: path.to_owned(), from, to, keys, harmless }
}

fn len_of(path: &Path) -> Result<u64, ToolError> {
    Ok(path.metadata().map_err(failed(path))?.len())
}

/// The database that SELECT names.
fn selected(words: &[&[u8]]) -> Option<usize> {
    words.get(1).and_then(|word| parse_integer(word)).and_then(|number| usize::try_from(number).ok())
}

/// Whether a file is all zeros from `offset` on.
fn zeros_from(path: &Path, offset: u64, len: u64) -> Result<bool, ToolError> {
    let mut at = offset;
    while at < len {
        let bytes = bytes_at(path, at, SEARCH_STEP)?;
        if bytes.is_empty() || bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += bytes.len() as u64;
    }
    Ok(true)
}

/// Whether a server writes such a command into an append-only file.
fn is_known(word: &[u8]) -> bool {
    table::find(word).is_some()
        || [&b"SELECT"[..], b"MULTI", b"EXEC"].iter().any(|known| word.eq_ignore_ascii_case(known))
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
        for start in memchr::memchr_iter(b'*', &bytes[..bytes.len().min(SEARCH_STEP as usize)]) {
            if !bytes.get(start + 1).is_some_and(u8::is_ascii_digit) {
                continue;
            }
            let mut reader = CommandReader::probe(&bytes[start..], at + start as u64);
            let taken = reader.take(&mut command);
            // A command that is longer than what is looked at is believed by its name.
            let whole = matches!(taken, Ok(true)) || matches!(taken, Err(AofError::Cut { .. }) if !is_last);
            if whole && command.words().len() > 0 && command.words().next().is_some_and(is_known) {
                return Ok(Some(at + start as u64));
            }
        }
        if is_last {
            return Ok(None);
        }
        at += SEARCH_STEP;
    }
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

impl Tail for AofTail<'_> {
    fn visit(&self, visit: &mut VisitChange<'_>) -> Result<(), ToolError> {
        self.visit_from(&mut Place::default(), visit)
    }
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

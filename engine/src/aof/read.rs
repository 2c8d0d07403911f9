//! Commands of an append-only file, one by one or in transactions, from any source of bytes.

use crate::limits::STRING_LEN_LIMIT;
use crate::number::parse_integer;
use crate::rdb::RdbError;
use crate::rdb::input::Input;
use std::fmt;
use std::io::{self, Read};
use std::ops::Range;

/// Words of one command, at most (as `*` may announce them).
const WORDS_MAX: i64 = i32::MAX as i64;
/// Longest line with a length, its type and CRLF not counted.
const DIGITS_MAX: usize = 20;
/// Longest annotation, as in Redis.
const ANNOTATION_LEN_MAX: usize = 1024;
/// Bytes that [`CommandReader::probe`] asks for at a time.
const PROBE_LEN: usize = 512;

/// Why reading stopped.
#[derive(Debug)]
pub enum AofError {
    /// The source failed.
    Read {
        /// So many bytes were read before.
        offset: u64,
        /// What it said.
        source: io::Error,
    },
    /// The bytes end inside a command, or inside a transaction: a file that was still being written when the power failed ends so.
    Cut {
        /// Where the command or transaction begins.
        offset: u64,
    },
    /// The bytes are no commands.
    Bad {
        /// Where what is wrong begins.
        offset: u64,
        /// What is wrong.
        why: BadAof,
    },
}

/// Every way for bytes to be no command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs)] // The texts say it.
pub enum BadAof {
    #[error("a command begins with {0:#04x}, not with '*'")]
    NotACommand(u8),
    #[error("a word begins with {0:#04x}, not with '$'")]
    NotAWord(u8),
    #[error("a length is no strict integer, or out of range")]
    Length,
    #[error("CRLF is missing")]
    NoCrlf,
    #[error("an annotation is longer than 1024 bytes")]
    Annotation,
    #[error("MULTI within MULTI")]
    NestedMulti,
    #[error("EXEC or DISCARD without MULTI")]
    ExecWithoutMulti,
}

impl AofError {
    /// Where it is.
    pub fn offset(&self) -> u64 {
        match self {
            AofError::Read { offset, .. } | AofError::Cut { offset } | AofError::Bad { offset, .. } => *offset,
        }
    }
}

impl fmt::Display for AofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AofError::Read { offset, source } => write!(f, "reading failed at byte {offset}: {source}"),
            AofError::Cut { offset } => {
                write!(f, "the file ends inside the command or transaction that begins at byte {offset}")
            }
            AofError::Bad { offset, why } => write!(f, "at byte {offset}: {why}"),
        }
    }
}

impl std::error::Error for AofError {}

/// A command.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Command {
    /// Where it begins.
    pub offset: u64,
    /// Unix seconds of the last annotation before it.
    pub time: Option<u64>,
    bytes: Vec<u8>,
    words: Vec<Range<usize>>,
}

impl Command {
    /// Its words; there is at least one in a command that was read whole.
    pub fn words(&self) -> impl ExactSizeIterator<Item = &[u8]> + DoubleEndedIterator {
        self.words.iter().map(|word| &self.bytes[word.clone()])
    }

    /// Whether its first word is this, in any case of letters.
    pub fn is(&self, name: &str) -> bool {
        self.words().next().is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    }
}

/// Reads commands.
pub struct CommandReader<R> {
    input: Input<R>,
    time: Option<u64>,
}

impl<R> fmt::Debug for CommandReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandReader").finish_non_exhaustive()
    }
}

/// Why a command could not be taken: [`AofError`] without the place where the command begins.
enum Stop {
    Cut,
    Error(AofError),
}

impl From<RdbError> for Stop {
    fn from(error: RdbError) -> Stop {
        match error {
            RdbError::Read { offset, source } => Stop::Error(AofError::Read { offset, source }),
            // All that the input itself finds wrong is that it ends.
            RdbError::Bad { .. } => Stop::Cut,
        }
    }
}

fn bad(offset: u64, why: BadAof) -> Stop {
    Stop::Error(AofError::Bad { offset, why })
}

impl<R: Read> CommandReader<R> {
    /// Reads from `source`, whose next byte is that at `offset` of its file.
    pub fn new(source: R, offset: u64) -> CommandReader<R> {
        let mut input = Input::new(source, offset);
        input.forget_checksum();
        CommandReader { input, time: None }
    }

    /// As [`CommandReader::new`], for a short look: whether a command begins at a place. It takes little memory.
    pub fn probe(source: R, offset: u64) -> CommandReader<R> {
        CommandReader { input: Input::small(source, PROBE_LEN, offset), time: None }
    }

    /// How many bytes were read.
    pub fn offset(&self) -> u64 {
        self.input.offset()
    }

    /// Takes the next command into `command`; false at the end.
    ///
    /// # Errors
    /// [`AofError`].
    pub fn take(&mut self, command: &mut Command) -> Result<bool, AofError> {
        let mut offset = self.input.offset();
        match self.try_take(command, &mut offset) {
            Ok(found) => Ok(found),
            Err(Stop::Cut) => Err(AofError::Cut { offset }),
            Err(Stop::Error(error)) => Err(error),
        }
    }

    /// `offset` becomes that of the command. After an error the command has the words that were read, the last perhaps in part.
    fn try_take(&mut self, command: &mut Command, offset: &mut u64) -> Result<bool, Stop> {
        let input = &mut self.input;
        command.bytes.clear();
        command.words.clear();
        loop {
            *offset = input.offset();
            if !input.has_more()? {
                return Ok(false);
            }
            match input.byte()? {
                b'*' => break,
                b'#' => self.time = take_annotation(input, *offset)?.or(self.time),
                other => return Err(bad(*offset, BadAof::NotACommand(other))),
            }
        }
        let count = take_number(input, *offset)?;
        if !(1..=WORDS_MAX).contains(&count) {
            return Err(bad(*offset, BadAof::Length));
        }
        (command.offset, command.time) = (*offset, self.time);
        for _ in 0..count {
            let at = input.offset();
            match input.byte()? {
                b'$' => {}
                other => return Err(bad(at, BadAof::NotAWord(other))),
            }
            let len = take_number(input, at)?;
            if !(0..=STRING_LEN_LIMIT as i64).contains(&len) {
                return Err(bad(at, BadAof::Length));
            }
            let start = command.bytes.len();
            let appended = input.append(len as u64, &mut command.bytes);
            command.words.push(start..command.bytes.len());
            appended?;
            let at = input.offset();
            if input.take()? != *b"\r\n" {
                return Err(bad(at, BadAof::NoCrlf));
            }
        }
        Ok(true)
    }
}

/// A strict integer and CRLF.
fn take_number<R: Read>(input: &mut Input<R>, offset: u64) -> Result<i64, Stop> {
    // Nearly always all of it is in the buffer.
    let ready = input.ready();
    if let Some(len) = ready.iter().take(DIGITS_MAX + 1).position(|byte| *byte == b'\r')
        && ready.get(len + 1) == Some(&b'\n')
    {
        let number = parse_integer(&ready[..len]);
        input.advance(len + 2);
        return number.ok_or(bad(offset, BadAof::Length));
    }
    let mut digits = [0; DIGITS_MAX];
    let mut len = 0;
    loop {
        match input.byte()? {
            b'\r' => break,
            digit if len < DIGITS_MAX => {
                digits[len] = digit;
                len += 1;
            }
            _ => return Err(bad(offset, BadAof::Length)),
        }
    }
    if input.byte()? != b'\n' {
        return Err(bad(offset, BadAof::NoCrlf));
    }
    parse_integer(&digits[..len]).ok_or(bad(offset, BadAof::Length))
}

/// The rest of a line that begins with `#`; the time, if it is one.
fn take_annotation<R: Read>(input: &mut Input<R>, offset: u64) -> Result<Option<u64>, Stop> {
    let mut line = Vec::new();
    loop {
        match input.byte()? {
            b'\n' => break,
            byte if line.len() < ANNOTATION_LEN_MAX => line.push(byte),
            _ => return Err(bad(offset, BadAof::Annotation)),
        }
    }
    let text = line.strip_suffix(b"\r").ok_or(bad(offset, BadAof::NoCrlf))?;
    let seconds = text.strip_prefix(b"TS:").and_then(parse_integer);
    Ok(seconds.and_then(|seconds| u64::try_from(seconds).ok()))
}

/// Reads commands that belong together: a transaction, or one command alone.
#[derive(Debug)]
pub struct Groups<R> {
    reader: CommandReader<R>,
    /// Kept for use again.
    spare: Vec<Command>,
    /// MULTI was read.
    inside: bool,
    /// The command that could not be read to its end.
    broken: Command,
    /// Where the last command ends that was read.
    good: u64,
}

impl<R: Read> Groups<R> {
    /// Groups of what `reader` gives.
    pub fn new(reader: CommandReader<R>) -> Groups<R> {
        let (good, broken) = (reader.offset(), Command::default());
        Groups { reader, spare: Vec::new(), inside: false, broken, good }
    }

    /// Goes on behind damage: with `inside`, within a transaction, whose commands then come one by one. The damage may have taken its EXEC.
    pub fn behind_damage(reader: CommandReader<R>, inside: bool) -> Groups<R> {
        Groups { inside, ..Groups::new(reader) }
    }

    /// How many bytes were read.
    pub fn offset(&self) -> u64 {
        self.reader.offset()
    }

    /// Whether a transaction has begun: what an error then leaves in the group came before the damage.
    pub fn is_inside(&self) -> bool {
        self.inside
    }

    /// Where the last command ends that was read whole.
    pub fn good(&self) -> u64 {
        self.good
    }

    /// The words of the command in which an error was found, as far as they were read.
    pub fn broken(&self) -> &Command {
        &self.broken
    }

    /// Takes the next group into `group`: the commands between MULTI and EXEC, without these; none of a transaction that was discarded. False
    /// at the end. All of a transaction is in memory.
    ///
    /// # Errors
    /// [`AofError`]: of a transaction that is not whole, [`AofError::Cut`] has the offset of MULTI.
    pub fn take(&mut self, group: &mut Vec<Command>) -> Result<bool, AofError> {
        self.spare.append(group);
        let begin = loop {
            let mut first = self.spare.pop().unwrap_or_default();
            if !self.read(&mut first)? {
                return Ok(false);
            }
            let (begin, ends) = (first.offset, first.is("EXEC") || first.is("DISCARD"));
            if ends && self.inside {
                self.inside = false;
                self.spare.push(first);
                continue;
            }
            if ends {
                return Err(AofError::Bad { offset: begin, why: BadAof::ExecWithoutMulti });
            }
            if !first.is("MULTI") {
                // Behind damage the rest of a transaction comes one by one: where it ends is not certain.
                group.push(first);
                return Ok(true);
            }
            self.inside = true;
            break begin;
        };
        loop {
            let mut command = self.spare.pop().unwrap_or_default();
            match self.read(&mut command) {
                Ok(true) => {}
                Ok(false) | Err(AofError::Cut { .. }) => {
                    group.clear();
                    return Err(AofError::Cut { offset: begin });
                }
                Err(error) => return Err(error),
            }
            if command.is("EXEC") {
                self.inside = false;
                return Ok(true);
            }
            if command.is("DISCARD") {
                self.inside = false;
                group.clear();
                return Ok(true);
            }
            if command.is("MULTI") {
                return Err(AofError::Bad { offset: command.offset, why: BadAof::NestedMulti });
            }
            group.push(command);
        }
    }

    /// Takes a command; what could be read of a broken one is kept.
    fn read(&mut self, command: &mut Command) -> Result<bool, AofError> {
        let taken = self.reader.take(command);
        match taken {
            Ok(_) => self.good = self.reader.offset(),
            Err(_) => std::mem::swap(&mut self.broken, command),
        }
        taken
    }
}

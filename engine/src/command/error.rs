//! What a client did wrong. The texts are part of the protocol: clients match on their prefixes.

use std::borrow::Cow;
use std::fmt;

/// An error reply. `Display` gives the line without the leading `-`; it never holds CR or LF.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommandError {
    /// A word is not a 64-bit integer.
    NotInteger,
    /// A word is not a finite float.
    NotFloat,
    /// The key holds another type.
    WrongType,
    /// Options contradict each other or are unknown.
    Syntax,
    /// An increment would pass the limits of a 64-bit integer.
    Overflow,
    /// The key does not exist (where that is an error).
    NoSuchKey,
    /// An index is outside.
    IndexOutOfRange,
    /// A database number is outside.
    DbOutOfRange,
    /// The string would pass `proto-max-bulk-len`.
    StringTooLong,
    /// The record could become larger than a frame of the log may be.
    RecordTooLong,
    /// Wrong number of words; holds the command's name in lower case.
    WrongArity(Cow<'static, str>),
    /// Any other text, prefix included.
    Text(Cow<'static, str>),
}

impl CommandError {
    /// Any text with its prefix, e.g. `ERR no such thing`. CR and LF are dropped at the end, and spaces elsewhere.
    pub fn text(text: impl Into<Cow<'static, str>>) -> Self {
        let text = text.into();
        if text.contains(['\r', '\n']) {
            return CommandError::Text(text.trim_matches(['\r', '\n']).replace(['\r', '\n'], " ").into());
        }
        CommandError::Text(text)
    }
}

/// A client's word for an error's text: up to the first NUL byte, at most 128 bytes, what is not UTF-8 replaced.
pub(super) fn excerpt(word: &[u8]) -> Cow<'_, str> {
    let end = word.iter().position(|&byte| byte == 0).unwrap_or(word.len());
    String::from_utf8_lossy(&word[..end.min(128)])
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CommandError::NotInteger => "ERR value is not an integer or out of range",
            CommandError::NotFloat => "ERR value is not a valid float",
            CommandError::WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value",
            CommandError::Syntax => "ERR syntax error",
            CommandError::Overflow => "ERR increment or decrement would overflow",
            CommandError::NoSuchKey => "ERR no such key",
            CommandError::IndexOutOfRange => "ERR index out of range",
            CommandError::DbOutOfRange => "ERR DB index is out of range",
            CommandError::StringTooLong => "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
            CommandError::RecordTooLong => {
                "ERR the command is too long: its arguments (of a transaction: those of all commands) may have 1 GB together"
            }
            CommandError::WrongArity(name) => {
                return write!(f, "ERR wrong number of arguments for '{name}' command");
            }
            CommandError::Text(text) => text,
        })
    }
}

impl std::error::Error for CommandError {}

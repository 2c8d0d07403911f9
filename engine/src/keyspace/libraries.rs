//! Libraries of functions: texts by name, durable as data are. What language they are in is nobody's concern here.
//!
//! 1. A library's name stands in its first line, `#!engine name=...`: text and name cannot drift apart.
//! 2. A text is shared: a snapshot that is being written keeps those of its moment.

use crate::words;
use std::collections::BTreeMap;
use std::sync::Arc;

/// All libraries.
#[derive(Clone, Debug, Default)]
pub struct Libraries {
    by_name: BTreeMap<Box<[u8]>, Arc<[u8]>>,
}

/// What the first line of a library says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metadata {
    /// The engine's name, e.g. `lua`.
    pub engine: Vec<u8>,
    /// The library's name.
    pub name: Vec<u8>,
    /// Where the code begins: at the end of the line, so that lines keep their numbers.
    pub code: usize,
}

/// What is wrong with a library's first line. The texts are part of the protocol.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs)] // The texts say it.
pub enum BadLibrary {
    #[error("Missing library metadata")]
    Missing,
    #[error("Invalid library metadata")]
    Invalid,
    #[error("Invalid metadata value, name argument was given multiple times")]
    TwoNames,
    #[error("Invalid metadata value given: {0}")]
    Unknown(String),
    #[error("Library name was not given")]
    NoName,
    #[error(
        "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long"
    )]
    BadName,
}

/// Whether `name` may be the name of a library or of a function.
pub fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

impl Metadata {
    /// Reads the first line of `source`: words as a configuration has them, the first of which is `#!` and the engine's name, which may be
    /// empty: that there is no such engine is for others to say.
    ///
    /// # Errors
    /// [`BadLibrary`].
    pub fn of(source: &[u8]) -> Result<Metadata, BadLibrary> {
        if !source.starts_with(b"#!") {
            return Err(BadLibrary::Missing);
        }
        // As in C, a NUL ends the text.
        let code = memchr::memchr2(b'\n', 0, source).filter(|&end| source[end] == b'\n').ok_or(BadLibrary::Invalid)?;
        let mut words = words::split(&source[..code]).ok_or(BadLibrary::Invalid)?.into_iter();
        let engine = words.next().ok_or(BadLibrary::Invalid)?[2..].to_vec();
        let mut name = None;
        for word in words {
            match word.split_at_checked(5) {
                Some((option, value)) if option.eq_ignore_ascii_case(b"name=") => {
                    if name.replace(value.to_vec()).is_some() {
                        return Err(BadLibrary::TwoNames);
                    }
                }
                _ => return Err(BadLibrary::Unknown(String::from_utf8_lossy(&word).into_owned())),
            }
        }
        let name = name.ok_or(BadLibrary::NoName)?;
        if !is_name(&name) {
            return Err(BadLibrary::BadName);
        }
        Ok(Metadata { engine, name, code })
    }
}

impl Libraries {
    /// Adds a library, in place of one of the same name.
    ///
    /// # Errors
    /// Its first line is not understood.
    pub fn load(&mut self, source: &[u8]) -> Result<(), BadLibrary> {
        let name = Metadata::of(source)?.name;
        self.by_name.insert(name.into(), source.into());
        Ok(())
    }

    /// Takes a library away; says whether there was one.
    pub fn delete(&mut self, name: &[u8]) -> bool {
        self.by_name.remove(name).is_some()
    }

    /// Takes all away; says whether there were any.
    pub fn flush(&mut self) -> bool {
        !std::mem::take(&mut self.by_name).is_empty()
    }

    /// A library's text.
    pub fn get(&self, name: &[u8]) -> Option<&Arc<[u8]>> {
        self.by_name.get(name)
    }

    /// All names and texts, in order of names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &Arc<[u8]>)> {
        self.by_name.iter().map(|(name, source)| (&**name, source))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_gives_engine_name_and_where_the_code_begins() {
        let metadata = Metadata::of(b"#!lua  name=my_Lib1\ncode").expect("good");
        assert_eq!(metadata, Metadata { engine: b"lua".to_vec(), name: b"my_Lib1".to_vec(), code: 19 });
        for quoted in
            [&b"#!lua name=\"x\"\n"[..], b"#!lua \"name=x\"\n", b"#!lua NAME='x'\r\n", b"#!lua name=\"\\x78\"\n"]
        {
            assert_eq!(Metadata::of(quoted).expect("good").name, b"x");
        }
        assert_eq!(Metadata::of(b"#! lua name=x\n"), Err(BadLibrary::Unknown("lua".into())));
        assert_eq!(Metadata::of(b"#! name=x\n").expect("an engine without a name").engine, b"");
        for (source, error) in [
            (&b"lua name=x\n"[..], BadLibrary::Missing),
            (b"#!lua name=x", BadLibrary::Invalid),
            (b"#!\n", BadLibrary::NoName),
            (b"#!lua name=\"x\n", BadLibrary::Invalid),
            (b"#!lua\0 name=x\n", BadLibrary::Invalid),
            (b"#!lua name=\"a b\"\n", BadLibrary::BadName),
            (b"#!lua name=x name=y\n", BadLibrary::TwoNames),
            (b"#!lua foo=x\n", BadLibrary::Unknown("foo=x".into())),
            (b"#!lua\n", BadLibrary::NoName),
            (b"#!lua name=\n", BadLibrary::BadName),
            (b"#!lua name=a-b\n", BadLibrary::BadName),
        ] {
            assert_eq!(Metadata::of(source), Err(error), "{}", source.escape_ascii());
        }
    }
}

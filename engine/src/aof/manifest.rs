//! The manifest of an append-only folder: which files, in which order.
//!
//! One line a file: `file NAME seq NUMBER type b|h|i`: base (at most one), history (to be deleted), increment (in order of numbers). Lines with `#`
//! are comments; names with spaces and such are in quotes; further pairs of words are left to newer versions.

use crate::number::parse_integer;

/// Longest line, as in Redis.
const LINE_LEN_MAX: usize = 1024;

/// What a file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The state at the beginning: RDB, or commands.
    Base,
    /// Commands after it.
    Increment,
    /// Of an earlier state: not read any more.
    History,
}

/// One line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    /// Its name in the folder.
    pub name: String,
    /// Its number.
    pub number: i64,
    /// What it holds.
    pub part: Part,
}

/// A manifest.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Manifest {
    /// All files, in the order of their lines.
    pub files: Vec<File>,
}

/// Why a manifest cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line} of the manifest: {why}")]
pub struct BadManifest {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong.
    pub why: &'static str,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// [`BadManifest`].
    pub fn parse(bytes: &[u8]) -> Result<Manifest, BadManifest> {
        let mut manifest = Manifest::default();
        let mut last_increment = None;
        let mut lines = 0;
        for (number, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let bad = |why| BadManifest { line: number + 1, why };
            lines += 1;
            let text = line.strip_suffix(b"\n").ok_or(bad("it does not end with a line feed"))?;
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            if text.len() > LINE_LEN_MAX {
                return Err(bad("it is too long"));
            }
            if text.first() == Some(&b'#') {
                continue;
            }
            let words = words(text).ok_or(bad("its quotes are wrong"))?;
            if words.is_empty() || words.len() % 2 == 1 {
                return Err(bad("it is not made of pairs of words"));
            }
            let (mut name, mut seq, mut part) = (None, None, None);
            for pair in words.chunks_exact(2) {
                match pair[0].to_ascii_lowercase().as_slice() {
                    b"file" => name = String::from_utf8(pair[1].clone()).ok(),
                    b"seq" => seq = parse_integer(&pair[1]),
                    b"type" => {
                        part = match pair[1].as_slice() {
                            b"b" => Some(Part::Base),
                            b"i" => Some(Part::Increment),
                            b"h" => Some(Part::History),
                            _ => return Err(bad("it has a type that is not known")),
                        }
                    }
                    _ => {}
                }
            }
            let (Some(name), Some(number), Some(part)) = (name, seq, part) else {
                return Err(bad("it lacks a file's name, number or type"));
            };
            if name.contains('/') || name.is_empty() || name == "." || name == ".." {
                return Err(bad("a file's name is a path"));
            }
            match part {
                Part::Base if manifest.base().is_some() => return Err(bad("there are two base files")),
                Part::Increment if last_increment.is_some_and(|last| number <= last) => {
                    return Err(bad("the increments are not in order of their numbers"));
                }
                Part::Increment => last_increment = Some(number),
                _ => {}
            }
            manifest.files.push(File { name, number, part });
        }
        if lines == 0 {
            return Err(BadManifest { line: 1, why: "there is none" });
        }
        Ok(manifest)
    }

    /// The base file.
    pub fn base(&self) -> Option<&File> {
        self.files.iter().find(|file| file.part == Part::Base)
    }

    /// The files to read, in order.
    pub fn to_read(&self) -> impl Iterator<Item = &File> {
        self.base().into_iter().chain(self.files.iter().filter(|file| file.part == Part::Increment))
    }

    /// Its text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for File { name, number, part } in &self.files {
            let part = match part {
                Part::Base => 'b',
                Part::Increment => 'i',
                Part::History => 'h',
            };
            let plain = name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\'));
            let name = if plain { name.clone() } else { format!("\"{}\"", name.as_bytes().escape_ascii()) };
            text.push_str(&format!("file {name} seq {number} type {part}\n"));
        }
        text
    }
}

/// Words of a line; `"..."` takes escapes, `'...'` takes `\'`. `None`: quotes that do not end, or end inside a word.
fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while let Some(&first) = rest.first() {
        let mut word = Vec::new();
        if first == b'"' || first == b'\'' {
            rest = &rest[1..];
            loop {
                match *rest.split_off_first()? {
                    quote if quote == first => break,
                    b'\\' if first == b'"' => word.push(escaped(&mut rest)?),
                    b'\\' if rest.first() == Some(&b'\'') => word.push(*rest.split_off_first()?),
                    byte => word.push(byte),
                }
            }
            if rest.first().is_some_and(|byte| !byte.is_ascii_whitespace()) {
                return None;
            }
        } else {
            let len = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
            word.extend_from_slice(&rest[..len]);
            rest = &rest[len..];
        }
        words.push(word);
        rest = rest.trim_ascii_start();
    }
    Some(words)
}

/// What stands behind a backslash.
fn escaped(rest: &mut &[u8]) -> Option<u8> {
    if let [b'x', high, low, behind @ ..] = *rest
        && let (Some(high), Some(low)) = (char::from(*high).to_digit(16), char::from(*low).to_digit(16))
    {
        *rest = behind;
        return Some((high * 16 + low) as u8);
    }
    Some(match *rest.split_off_first()? {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    })
}

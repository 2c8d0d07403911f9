//! One value, by its type: from the file's bytes to the form of parts.
//!
//! A value is read in pieces of about [`PART_LEN`] bytes: whoever has begun one fills parts until no more is to come. A wrong element does not
//! end that: what is known is how far the value goes, and [`Value::skip`] gets there.

use super::error::{BadRdb, RdbError};
use super::input::Input;
use super::packed::{self, Run};
use super::stream::StreamReader;
use super::{Dialect, intset, kind, zipmap};
use crate::limits::BLOCK_LEN_TARGET;
use crate::number::parse_double;
use crate::value::Kind;
use crate::value::listpack::{Element, IntegerText};
use crate::value::part::{Field, put_bytes, put_field, put_scored};
use std::io::Read;

/// A part ends at the first element that takes it to this length.
pub(super) const PART_LEN: usize = BLOCK_LEN_TARGET;

/// A node of a list that is one element.
const NODE_PLAIN: u64 = 1;
/// A node of a list that is a packed run.
const NODE_PACKED: u64 = 2;

/// A value that is being read.
pub(super) struct Value {
    /// Of what kind it is.
    pub(super) kind: Kind,
    shape: Shape,
    /// Whether any element was read.
    any: bool,
    scratch: Vec<u8>,
    second: Vec<u8>,
}

enum Shape {
    String,
    /// One packed run with everything.
    Packed(Packed),
    /// Strings, one by one.
    Elements {
        left: u64,
    },
    /// Packed runs of a list's elements; `typed` where each says of which kind it is.
    Nodes {
        left: u64,
        run: Run,
        typed: bool,
    },
    /// Members and scores; `binary` or as text.
    Scored {
        left: u64,
        binary: bool,
    },
    Fields {
        left: u64,
        deadlines: Deadlines,
    },
    Stream(Box<StreamReader>),
}

#[derive(Clone, Copy)]
enum Packed {
    List(Run),
    Set(Run),
    Integers,
    Scored(Run),
    Zipmap,
    /// With `deadlines` each field is three elements.
    Fields {
        run: Run,
        deadlines: bool,
    },
}

/// How fields say when they die.
#[derive(Clone, Copy)]
enum Deadlines {
    None,
    /// In front: 0 for never, else a time as it is.
    Absolute,
    /// In front: 0 for never, else one more than what it is above this.
    Above(u64),
    /// Behind, 8 bytes: -1 for never.
    Behind,
}

impl Value {
    /// Begins a value of type `encoding`; `Err(BadRdb::Type)` for one that is not known.
    pub(super) fn begin<R: Read>(encoding: u8, dialect: Dialect, input: &mut Input<R>) -> Result<Value, RdbError> {
        use Run::{Listpack, Ziplist};
        let (kind, shape) = match encoding {
            kind::STRING => (Kind::String, Shape::String),
            kind::LIST => (Kind::List, Shape::Elements { left: input.length()? }),
            kind::SET => (Kind::Set, Shape::Elements { left: input.length()? }),
            kind::ZSET => (Kind::SortedSet, Shape::Scored { left: input.length()?, binary: false }),
            kind::ZSET_2 => (Kind::SortedSet, Shape::Scored { left: input.length()?, binary: true }),
            kind::HASH => (Kind::Hash, Shape::Fields { left: input.length()?, deadlines: Deadlines::None }),
            kind::HASH_ZIPMAP => (Kind::Hash, Shape::Packed(Packed::Zipmap)),
            kind::LIST_ZIPLIST => (Kind::List, Shape::Packed(Packed::List(Ziplist))),
            kind::SET_INTSET => (Kind::Set, Shape::Packed(Packed::Integers)),
            kind::ZSET_ZIPLIST => (Kind::SortedSet, Shape::Packed(Packed::Scored(Ziplist))),
            kind::ZSET_LISTPACK => (Kind::SortedSet, Shape::Packed(Packed::Scored(Listpack))),
            kind::HASH_ZIPLIST => (Kind::Hash, Shape::Packed(Packed::Fields { run: Ziplist, deadlines: false })),
            kind::HASH_LISTPACK => (Kind::Hash, Shape::Packed(Packed::Fields { run: Listpack, deadlines: false })),
            kind::SET_LISTPACK => (Kind::Set, Shape::Packed(Packed::Set(Listpack))),
            kind::LIST_QUICKLIST => (Kind::List, Shape::Nodes { left: input.length()?, run: Ziplist, typed: false }),
            kind::LIST_QUICKLIST_2 => (Kind::List, Shape::Nodes { left: input.length()?, run: Listpack, typed: true }),
            kind::STREAM_LISTPACKS => (Kind::Stream, Shape::Stream(StreamReader::begin(1, input)?)),
            kind::STREAM_LISTPACKS_2 => (Kind::Stream, Shape::Stream(StreamReader::begin(2, input)?)),
            kind::STREAM_LISTPACKS_3 => (Kind::Stream, Shape::Stream(StreamReader::begin(3, input)?)),
            kind::HASH_METADATA_PRE_GA if dialect == Dialect::Valkey => {
                (Kind::Hash, Shape::Fields { left: input.length()?, deadlines: Deadlines::Behind })
            }
            kind::HASH_METADATA_PRE_GA => {
                (Kind::Hash, Shape::Fields { left: input.length()?, deadlines: Deadlines::Absolute })
            }
            kind::HASH_METADATA if dialect == Dialect::Redis => {
                let earliest = u64::from_le_bytes(input.take()?);
                (Kind::Hash, Shape::Fields { left: input.length()?, deadlines: Deadlines::Above(earliest) })
            }
            kind::HASH_LISTPACK_EX_PRE_GA if dialect == Dialect::Redis => {
                (Kind::Hash, Shape::Packed(Packed::Fields { run: Listpack, deadlines: true }))
            }
            kind::HASH_LISTPACK_EX if dialect == Dialect::Redis => {
                input.skip(8)?; // The earliest deadline, which the fields say as well.
                (Kind::Hash, Shape::Packed(Packed::Fields { run: Listpack, deadlines: true }))
            }
            kind::MODULE_PRE_GA => return Err(input.bad(BadRdb::ModulePreGa)),
            kind::MODULE_2 => return Err(input.bad(BadRdb::Module)),
            unknown => return Err(input.bad(BadRdb::Type(unknown))),
        };
        Ok(Value { kind, shape, any: false, scratch: Vec::new(), second: Vec::new() })
    }

    /// Whether no element has come so far, in a kind that has no empty values.
    pub(super) fn is_empty(&self) -> bool {
        !self.any && !matches!(self.kind, Kind::String | Kind::Stream)
    }

    /// Appends the next part; says whether more is to come.
    pub(super) fn fill<R: Read>(&mut self, input: &mut Input<R>, out: &mut Vec<u8>) -> Result<bool, RdbError> {
        let begin = out.len();
        let more = self.fill_part(input, out)?;
        self.any |= out.len() > begin;
        Ok(more)
    }

    fn fill_part<R: Read>(&mut self, input: &mut Input<R>, out: &mut Vec<u8>) -> Result<bool, RdbError> {
        let (scratch, second) = (&mut self.scratch, &mut self.second);
        match &mut self.shape {
            Shape::String => {
                input.string(out)?;
                Ok(false)
            }
            Shape::Packed(packed) => {
                let offset = input.offset();
                scratch.clear();
                input.string(scratch)?;
                unpack(*packed, scratch, second, out).map_err(|why| RdbError::bad(offset, why))?;
                Ok(false)
            }
            Shape::Elements { left } => {
                while *left > 0 && out.len() < PART_LEN {
                    *left -= 1;
                    input.element(out)?;
                }
                Ok(*left > 0)
            }
            Shape::Nodes { left, run, typed } => {
                while *left > 0 && out.len() < PART_LEN {
                    let offset = input.offset();
                    *left -= 1;
                    let kind = if *typed { input.length()? } else { NODE_PACKED };
                    if kind == NODE_PLAIN {
                        input.element(out)?;
                        continue;
                    }
                    scratch.clear();
                    input.string(scratch)?;
                    let bad = |why| RdbError::bad(offset, why);
                    if kind != NODE_PACKED {
                        return Err(bad(BadRdb::NodeKind(kind)));
                    }
                    unpack(Packed::List(*run), scratch, second, out).map_err(bad)?;
                }
                Ok(*left > 0)
            }
            Shape::Scored { left, binary } => {
                while *left > 0 && out.len() < PART_LEN {
                    *left -= 1;
                    scratch.clear();
                    let wrong = held_back(input.string(scratch))?;
                    let offset = input.offset();
                    let score = read_score(input, *binary)?;
                    wrong.map_or(Ok(()), Err)?;
                    let score = score.filter(|score| !score.is_nan());
                    put_scored(out, scratch, score.ok_or(RdbError::bad(offset, BadRdb::Score))?);
                }
                Ok(*left > 0)
            }
            Shape::Fields { left, deadlines } => {
                while *left > 0 && out.len() < PART_LEN {
                    *left -= 1;
                    read_field(input, *deadlines, scratch, second, out)?;
                }
                Ok(*left > 0)
            }
            Shape::Stream(reader) => reader.fill(input, scratch, out),
        }
    }

    /// Takes what is left of the value and forgets it.
    pub(super) fn skip<R: Read>(&mut self, input: &mut Input<R>) -> Result<(), RdbError> {
        match &mut self.shape {
            // These are read in one go: either that has happened, or nothing of them was known.
            Shape::String | Shape::Packed(_) => Ok(()),
            Shape::Elements { left } => {
                while let Some(fewer) = left.checked_sub(1) {
                    *left = fewer;
                    input.skip_string()?;
                }
                Ok(())
            }
            Shape::Nodes { left, typed, .. } => {
                while let Some(fewer) = left.checked_sub(1) {
                    *left = fewer;
                    if *typed {
                        input.length()?;
                    }
                    input.skip_string()?;
                }
                Ok(())
            }
            Shape::Scored { left, binary } => {
                while let Some(fewer) = left.checked_sub(1) {
                    *left = fewer;
                    input.skip_string()?;
                    read_score(input, *binary)?;
                }
                Ok(())
            }
            Shape::Fields { left, deadlines } => {
                while let Some(fewer) = left.checked_sub(1) {
                    *left = fewer;
                    if let Deadlines::Absolute | Deadlines::Above(_) = deadlines {
                        input.length()?;
                    }
                    input.skip_string()?;
                    input.skip_string()?;
                    if let Deadlines::Behind = deadlines {
                        input.skip(8)?;
                    }
                }
                Ok(())
            }
            Shape::Stream(reader) => reader.skip(input),
        }
    }
}

/// An error that concerns a string's content only: what stands behind it is taken first, so that the place is known where to go on.
pub(super) fn held_back(result: Result<(), RdbError>) -> Result<Option<RdbError>, RdbError> {
    match result {
        Err(error) if error.is_content() => Ok(Some(error)),
        other => other.map(|()| None),
    }
}

/// A score; `None` if it is no number.
fn read_score<R: Read>(input: &mut Input<R>, binary: bool) -> Result<Option<f64>, RdbError> {
    if binary {
        return Ok(Some(f64::from_le_bytes(input.take()?)));
    }
    Ok(match input.byte()? {
        255 => Some(f64::NEG_INFINITY),
        254 => Some(f64::INFINITY),
        253 => None,
        len => {
            let mut text = Vec::new();
            input.append(u64::from(len), &mut text)?;
            parse_double(&text)
        }
    })
}

fn read_field<R: Read>(
    input: &mut Input<R>,
    deadlines: Deadlines,
    name: &mut Vec<u8>,
    value: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<(), RdbError> {
    let offset = input.offset();
    let in_front = match deadlines {
        Deadlines::Absolute | Deadlines::Above(_) => input.length()?,
        Deadlines::None | Deadlines::Behind => 0,
    };
    name.clear();
    let wrong = held_back(input.string(name))?;
    value.clear();
    let wrong = wrong.or(held_back(input.string(value))?);
    let deadline = match deadlines {
        Deadlines::None => None,
        Deadlines::Behind => {
            let at = i64::from_le_bytes(input.take()?);
            // Any other time before 1970 is one that has passed.
            (at != -1).then_some(Some(at.max(1) as u64))
        }
        Deadlines::Absolute | Deadlines::Above(_) if in_front == 0 => None,
        Deadlines::Absolute => Some(Some(in_front)),
        Deadlines::Above(earliest) => Some(earliest.checked_add(in_front - 1)),
    };
    let deadline = match deadline {
        None => None,
        Some(Some(at)) if at <= i64::MAX as u64 => Some(at.max(1)),
        Some(_) => return Err(RdbError::bad(offset, BadRdb::Deadline)),
    };
    wrong.map_or(Ok(()), Err)?;
    put_field(out, Field { name, value, deadline });
    Ok(())
}

/// Appends the elements of a packed run.
fn unpack(packed: Packed, bytes: &[u8], held: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), BadRdb> {
    let mut text = IntegerText::new();
    match packed {
        Packed::List(run) | Packed::Set(run) => packed::each(run, bytes, &mut |element| {
            put_bytes(out, element.as_bytes(&mut text));
            Ok(())
        }),
        Packed::Integers => intset::each(bytes, &mut |value| put_bytes(out, text.format(value).as_bytes())),
        Packed::Scored(run) => {
            let mut is_score = false;
            packed::each(run, bytes, &mut |element| {
                if is_score {
                    let score = match element {
                        Element::Integer(integer) => Some(integer as f64),
                        Element::Bytes(bytes) => parse_double(bytes),
                    };
                    put_scored(out, held, score.ok_or(BadRdb::Score)?);
                } else {
                    held.clear();
                    element.append_to(held);
                }
                is_score = !is_score;
                Ok(())
            })?;
            if is_score { Err(BadRdb::Unpaired) } else { Ok(()) }
        }
        Packed::Zipmap => zipmap::each(bytes, &mut |name, value| {
            put_field(out, Field { name, value, deadline: None });
        }),
        Packed::Fields { run, deadlines } => {
            let (mut at, mut name_len) = (0, 0);
            packed::each(run, bytes, &mut |element| {
                match at {
                    0 => {
                        held.clear();
                        element.append_to(held);
                        name_len = held.len();
                    }
                    1 => element.append_to(held),
                    _ => {}
                }
                let deadline = match element {
                    Element::Integer(at @ 1..) => Some(at as u64),
                    Element::Integer(0) => None,
                    _ if at == 2 => return Err(BadRdb::Deadline),
                    _ => None,
                };
                at += 1;
                if at == if deadlines { 3 } else { 2 } {
                    let (name, value) = held.split_at(name_len);
                    put_field(out, Field { name, value, deadline: deadline.filter(|_| deadlines) });
                    at = 0;
                }
                Ok(())
            })?;
            if at == 0 { Ok(()) } else { Err(BadRdb::Unpaired) }
        }
    }
}

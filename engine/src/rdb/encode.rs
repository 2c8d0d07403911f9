//! One value's bytes, made of its parts: the encodings that every server of a version knows, packed where its elements are few and short.
//!
//! The number of elements stands in front of them and is known behind them: until then they wait in a [`Spool`], in memory or, beyond some
//! megabytes, wherever the caller lets them.

use super::intset;
use super::length::{put_length, put_string};
use super::packed::put_listpack;
use super::{Dialect, kind};
use crate::number::{parse_integer, print_double};
use crate::value::listpack::{self, Listpack};
use crate::value::part::{Field, Item, Items};
use crate::value::{BadValue, Kind};
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Up to so many bytes of parts are kept to see whether a packed form will do.
const PACKED_LEN_MAX: usize = 64 * 1024;
/// Elements (pairs) of a packed form: the smallest default of any version, so that none unpacks it at once.
const PACKED_ENTRIES_MAX: usize = 128;
/// Longest element of a packed form.
const PACKED_ELEMENT_MAX: usize = 64;
/// Integers of an intset, at most.
const INTEGERS_MAX: usize = 512;
/// A list's node takes no element that would make it longer, as with `list-max-listpack-size -2`.
const NODE_LEN_MAX: usize = 8 * 1024;
/// Of a [`Spool`], in memory.
const SPOOL_LEN_MAX: usize = 8 * 1024 * 1024;

/// Where bytes may wait that are too many for memory: a temporary file.
pub trait Spill: Read + Write + Seek {}

impl<T: Read + Write + Seek> Spill for T {}

/// Makes a place for bytes that wait.
pub type Spiller = Box<dyn FnMut() -> io::Result<Box<dyn Spill>>>;

/// How values are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// The version: 9 to 12, or Valkey's.
    pub version: u32,
    /// Whether strings are compressed (`rdbcompression`).
    pub compress: bool,
    /// Leaves out deadlines of hash fields where the version has none, instead of failing.
    pub drop_field_deadlines: bool,
}

/// Why a value cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Its parts do not decode.
    #[error("the value's parts do not decode: {0}")]
    Value(#[from] BadValue),
    /// Hash fields with deadlines, and a version that has none.
    #[error(
        "a field of a hash has a deadline, which RDB version {0} cannot hold: write version 12 (Redis 7.4) or 80 (Valkey 9)"
    )]
    FieldDeadline(u32),
    /// Where the bytes go, or wait.
    #[error("writing failed: {0}")]
    Io(#[from] io::Error),
}

/// Bytes that wait.
#[derive(Default)]
pub(super) struct Spool {
    /// What is appended next.
    bytes: Vec<u8>,
    spilled: Option<Box<dyn Spill>>,
}

impl Spool {
    /// Moves what has come together to the spill if it is much.
    fn settle(&mut self, spiller: Option<&mut Spiller>) -> io::Result<()> {
        if self.bytes.len() < SPOOL_LEN_MAX {
            return Ok(());
        }
        if self.spilled.is_none() {
            let Some(spiller) = spiller else { return Ok(()) };
            self.spilled = Some(spiller()?);
        }
        if let Some(spilled) = &mut self.spilled {
            spilled.write_all(&self.bytes)?;
            self.bytes.clear();
        }
        Ok(())
    }

    /// Gives everything to `out`.
    pub(super) fn copy_to(mut self, out: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        if let Some(spilled) = &mut self.spilled {
            spilled.seek(SeekFrom::Start(0))?;
            let mut chunk = vec![0; 256 * 1024];
            loop {
                match spilled.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(count) => out(&chunk[..count])?,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        out(&self.bytes)
    }
}

/// A value that was written: its type, and its bytes in pieces.
pub(super) struct Encoded {
    pub(super) encoding: u8,
    pub(super) pieces: Vec<Spool>,
}

/// Takes a value's parts in order.
pub(super) struct Encoder {
    options: Options,
    kind: Kind,
    /// Whether fields have deadlines, where that is known ahead.
    deadlines: Option<bool>,
    shape: Shape,
}

enum Shape {
    /// All parts so far.
    Small(Vec<u8>),
    Table(Table),
    Stream(Box<super::stream_encode::StreamEncoder>),
}

/// Elements one by one.
#[derive(Default)]
struct Table {
    count: u64,
    spool: Spool,
    /// The list's node that takes the next element.
    node: Vec<u8>,
}

impl Encoder {
    /// For a value of this kind. `deadlines` says whether fields of a hash have some, `None` if that is not known.
    pub(super) fn new(kind: Kind, deadlines: Option<bool>, options: Options) -> Encoder {
        let shape = match kind {
            Kind::Stream => Shape::Stream(Box::default()),
            _ => Shape::Small(Vec::new()),
        };
        Encoder { options, kind, deadlines, shape }
    }

    /// Takes the next part.
    pub(super) fn push(&mut self, part: &[u8], mut spiller: Option<&mut Spiller>) -> Result<(), EncodeError> {
        match &mut self.shape {
            Shape::Stream(stream) => {
                stream.push(part, &self.options)?;
                for spool in stream.spools() {
                    spool.settle(spiller.as_deref_mut())?;
                }
                Ok(())
            }
            Shape::Small(parts) if self.kind == Kind::String || parts.len() + part.len() <= PACKED_LEN_MAX => {
                parts.extend_from_slice(part);
                Ok(())
            }
            Shape::Small(parts) => {
                let parts = std::mem::take(parts);
                self.shape = Shape::Table(Table::default());
                self.push(&parts, spiller.as_deref_mut())?;
                self.push(part, spiller)
            }
            Shape::Table(_) => self.push_elements(part, spiller),
        }
    }

    /// The type that this hash has as a table.
    fn fields_encoding(&self, with_deadlines: bool) -> u8 {
        match (with_deadlines, self.options.version) {
            (false, _) | (true, ..12) => kind::HASH,
            (true, version) if Dialect::of(version) == Dialect::Valkey => kind::HASH_METADATA_PRE_GA,
            (true, _) => kind::HASH_METADATA,
        }
    }

    fn push_elements(&mut self, part: &[u8], mut spiller: Option<&mut Spiller>) -> Result<(), EncodeError> {
        let fields = self.fields_encoding(self.deadlines.unwrap_or(true));
        let Shape::Table(table) = &mut self.shape else { return Ok(()) };
        let Options { version, compress, drop_field_deadlines } = self.options;
        let mut items = Items::new(self.kind, part);
        while let Some(item) = items.take()? {
            let out = &mut table.spool.bytes;
            match item {
                Item::Element(element) if self.kind == Kind::List && version >= 10 => {
                    table.push_to_node(element, compress);
                }
                Item::Element(element) => {
                    put_string(out, element, compress);
                    table.count += 1;
                }
                Item::Scored { member, score } => {
                    put_string(out, member, compress);
                    out.extend_from_slice(&score.to_le_bytes());
                    table.count += 1;
                }
                Item::Field(field) => {
                    if field.deadline.is_some() && fields == kind::HASH && !drop_field_deadlines {
                        return Err(EncodeError::FieldDeadline(version));
                    }
                    put_field(out, &field, fields, compress);
                    table.count += 1;
                }
                Item::Stream(_) => {}
            }
            table.spool.settle(spiller.as_deref_mut())?;
        }
        Ok(())
    }

    /// The value's bytes.
    pub(super) fn finish(mut self) -> Result<Encoded, EncodeError> {
        let Options { version, compress, .. } = self.options;
        match self.shape {
            Shape::Stream(stream) => return stream.finish(&self.options),
            Shape::Small(ref mut parts) => {
                let parts = std::mem::take(parts);
                if self.kind == Kind::String {
                    let mut spool = Spool::default();
                    put_string(&mut spool.bytes, &parts, compress);
                    return Ok(Encoded { encoding: kind::STRING, pieces: vec![spool] });
                }
                if let Some((encoding, run)) = pack(self.kind, &parts, version)? {
                    let mut spool = Spool::default();
                    put_string(&mut spool.bytes, &run, compress);
                    return Ok(Encoded { encoding, pieces: vec![spool] });
                }
                if self.kind == Kind::Hash {
                    self.deadlines = Some(has_deadlines(&parts)?);
                }
                self.shape = Shape::Table(Table::default());
                self.push_elements(&parts, None)?;
            }
            Shape::Table(_) => {}
        }
        let fields = self.fields_encoding(self.deadlines.unwrap_or(true));
        let Shape::Table(mut table) = self.shape else { return Err(BadValue::Empty.into()) };
        table.close_node(compress);
        let encoding = match self.kind {
            Kind::List if version >= 10 => kind::LIST_QUICKLIST_2,
            Kind::List => kind::LIST,
            Kind::Set => kind::SET,
            Kind::SortedSet => kind::ZSET_2,
            _ => fields,
        };
        let mut head = Spool::default();
        if encoding == kind::HASH_METADATA {
            // What deadlines are above; 0 lets them be what they are.
            head.bytes.extend_from_slice(&[0; 8]);
        }
        put_length(&mut head.bytes, table.count);
        Ok(Encoded { encoding, pieces: vec![head, table.spool] })
    }
}

impl Table {
    fn push_to_node(&mut self, element: &[u8], compress: bool) {
        let len = listpack::Element::from(element).entry_len();
        if !self.node.is_empty() && self.node.len() + len > NODE_LEN_MAX {
            self.close_node(compress);
        }
        listpack::push_back(&mut self.node, element);
    }

    fn close_node(&mut self, compress: bool) {
        if self.node.is_empty() {
            return;
        }
        let mut run = Vec::with_capacity(self.node.len() + 8);
        put_listpack(&mut run, Listpack::new(&self.node));
        put_length(&mut self.spool.bytes, 2);
        put_string(&mut self.spool.bytes, &run, compress);
        self.count += 1;
        self.node.clear();
    }
}

/// Appends a field in the form of a type of hashes.
fn put_field(out: &mut Vec<u8>, field: &Field<'_>, encoding: u8, compress: bool) {
    if encoding == kind::HASH_METADATA {
        put_length(out, field.deadline.map_or(0, |at| at.saturating_add(1)));
    }
    put_string(out, field.name, compress);
    put_string(out, field.value, compress);
    if encoding == kind::HASH_METADATA_PRE_GA {
        let deadline = field.deadline.map_or(-1, |at| i64::try_from(at).unwrap_or(i64::MAX));
        out.extend_from_slice(&deadline.to_le_bytes());
    }
}

fn has_deadlines(parts: &[u8]) -> Result<bool, BadValue> {
    let mut items = Items::new(Kind::Hash, parts);
    while let Some(item) = items.take()? {
        if let Item::Field(Field { deadline: Some(_), .. }) = item {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The packed form of a collection, if there is one for it: type and bytes.
fn pack(kind: Kind, parts: &[u8], version: u32) -> Result<Option<(u8, Vec<u8>)>, BadValue> {
    let packed = match kind {
        Kind::Set => {
            if let Some(values) = integers(parts)? {
                let mut bytes = Vec::new();
                intset::encode(&values, &mut bytes);
                return Ok(Some((kind::SET_INTSET, bytes)));
            }
            if version < 11 {
                return Ok(None);
            }
            kind::SET_LISTPACK
        }
        Kind::SortedSet if version >= 10 => kind::ZSET_LISTPACK,
        Kind::Hash if version >= 10 => kind::HASH_LISTPACK,
        _ => return Ok(None),
    };
    let (mut run, mut text, mut count) = (Vec::new(), Vec::new(), 0);
    let mut items = Items::new(kind, parts);
    let short = |element: &[u8]| element.len() <= PACKED_ELEMENT_MAX;
    while let Some(item) = items.take()? {
        count += 1;
        let fits = count <= PACKED_ENTRIES_MAX
            && match item {
                Item::Element(element) => {
                    listpack::push_back(&mut run, element);
                    short(element)
                }
                Item::Scored { member, score } => {
                    text.clear();
                    print_double(score, &mut text);
                    listpack::push_back(&mut run, member);
                    listpack::push_back(&mut run, text.as_slice());
                    // A packed set does not keep the sign of zero.
                    short(member) && !(score == 0.0 && score.is_sign_negative())
                }
                Item::Field(Field { name, value, deadline }) => {
                    listpack::push_back(&mut run, name);
                    listpack::push_back(&mut run, value);
                    short(name) && short(value) && deadline.is_none()
                }
                Item::Stream(_) => false,
            };
        if !fits {
            return Ok(None);
        }
    }
    let mut bytes = Vec::with_capacity(run.len() + 8);
    put_listpack(&mut bytes, Listpack::new(&run));
    Ok(Some((packed, bytes)))
}

/// The members of a set in order, if they are few integers and nothing else.
fn integers(parts: &[u8]) -> Result<Option<Vec<i64>>, BadValue> {
    let mut values = Vec::new();
    let mut items = Items::new(Kind::Set, parts);
    while let Some(item) = items.take()? {
        match item {
            Item::Element(member) if values.len() < INTEGERS_MAX => match parse_integer(member) {
                Some(value) => values.push(value),
                None => return Ok(None),
            },
            _ => return Ok(None),
        }
    }
    values.sort_unstable();
    Ok(Some(values).filter(|values| !values.is_empty()))
}

impl Spool {
    /// Where to append.
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

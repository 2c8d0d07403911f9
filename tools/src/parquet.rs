//! One flat table as Apache Parquet: plain values, no compression, row groups of bounded size, one page a column. Reads what it writes.
//!
//! Layout: <https://parquet.apache.org/docs/file-format/>; its metadata is Thrift's compact protocol. One table of fixed columns is all that is
//! needed, so this is a page of code instead of a crate with twenty dependencies.

use std::io::{self, Write};

/// Bytes of values after which a row group is closed.
const GROUP_LEN: usize = 16 * 1024 * 1024;

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// 32-bit integers.
    Int32,
    /// 64-bit integers, some of which may be missing.
    OptionalInt64,
    /// Unix ms, some of which may be missing.
    OptionalTime,
    /// Bytes.
    Bytes,
    /// UTF-8.
    Text,
}

impl Kind {
    /// Thrift's number of the physical type.
    fn physical(self) -> i64 {
        match self {
            Kind::Int32 => 1,
            Kind::OptionalInt64 | Kind::OptionalTime => 2,
            Kind::Bytes | Kind::Text => 6,
        }
    }

    fn is_optional(self) -> bool {
        matches!(self, Kind::OptionalInt64 | Kind::OptionalTime)
    }

    /// The number of the converted type (UTF8, TIMESTAMP_MILLIS).
    fn converted(self) -> Option<i64> {
        match self {
            Kind::Text => Some(0),
            Kind::OptionalTime => Some(9),
            _ => None,
        }
    }
}

/// One value of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell<'a> {
    /// For [`Kind::Int32`].
    Int32(i32),
    /// For the optional kinds.
    Int64(Option<i64>),
    /// For bytes and text.
    Bytes(&'a [u8]),
}

/// Thrift's compact protocol, as far as it is needed.
#[derive(Default)]
struct Thrift {
    out: Vec<u8>,
    /// The number of the last field of each open struct.
    last: Vec<i64>,
}

const I32: u8 = 5;
const I64: u8 = 6;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

impl Thrift {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    fn zigzag(&mut self, value: i64) {
        self.varint(((value << 1) ^ (value >> 63)) as u64);
    }

    fn begin(&mut self) {
        self.last.push(0);
    }

    fn end(&mut self) {
        self.last.pop();
        self.out.push(0);
    }

    /// Fields come in order, and no two are further apart than 15.
    fn field(&mut self, number: i64, kind: u8) {
        if let Some(last) = self.last.last_mut() {
            self.out.push((((number - *last) as u8) << 4) | kind);
            *last = number;
        }
    }

    fn int32(&mut self, number: i64, value: i64) {
        self.field(number, I32);
        self.zigzag(value);
    }

    fn int64(&mut self, number: i64, value: i64) {
        self.field(number, I64);
        self.zigzag(value);
    }

    fn text(&mut self, text: &str) {
        self.varint(text.len() as u64);
        self.out.extend_from_slice(text.as_bytes());
    }

    fn list(&mut self, number: i64, kind: u8, len: usize) {
        self.field(number, LIST);
        if len < 15 {
            self.out.push(((len as u8) << 4) | kind);
        } else {
            self.out.push(0xf0 | kind);
            self.varint(len as u64);
        }
    }
}

#[derive(Default)]
struct Column {
    values: Vec<u8>,
    /// One bit a row: whether there is a value.
    present: Vec<u8>,
}

/// Where a column of a row group is.
struct Chunk {
    offset: u64,
    len: u64,
}

/// A table in the making.
pub(crate) struct Table {
    columns: Vec<(&'static str, Kind)>,
    data: Vec<Column>,
    rows: u64,
    groups: Vec<(u64, Vec<Chunk>)>,
    written: u64,
    all: u64,
}

/// At both ends of a file.
pub(crate) const MAGIC: &[u8] = b"PAR1";

/// The columns of a table of keys.
pub(crate) const KEY_COLUMNS: [(&str, Kind); 7] = [
    ("db", Kind::Int32),
    ("key", Kind::Bytes),
    ("type", Kind::Text),
    ("expires_ms", Kind::OptionalTime),
    ("elements", Kind::OptionalInt64),
    ("memory_bytes", Kind::OptionalInt64),
    ("value", Kind::Bytes),
];

impl Table {
    /// One with these columns.
    pub(crate) fn new(columns: &[(&'static str, Kind)]) -> Table {
        let data = columns.iter().map(|_| Column::default()).collect();
        Table { columns: columns.to_vec(), data, rows: 0, groups: Vec::new(), written: 0, all: 0 }
    }

    /// Adds a row with a cell for each column.
    pub(crate) fn push(&mut self, cells: &[Cell<'_>], out: &mut dyn Write) -> io::Result<()> {
        debug_assert_eq!(cells.len(), self.columns.len());
        let row = self.rows as usize;
        for (cell, column) in cells.iter().zip(&mut self.data) {
            match cell {
                Cell::Int32(value) => column.values.extend_from_slice(&value.to_le_bytes()),
                Cell::Int64(value) => {
                    if row.is_multiple_of(8) {
                        column.present.push(0);
                    }
                    if let Some(value) = value {
                        column.present[row / 8] |= 1 << (row % 8);
                        column.values.extend_from_slice(&value.to_le_bytes());
                    }
                }
                Cell::Bytes(bytes) => {
                    column.values.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
                    column.values.extend_from_slice(bytes);
                }
            }
        }
        self.rows += 1;
        let len: usize = self.data.iter().map(|column| column.values.len()).sum();
        if len >= GROUP_LEN { self.close(out) } else { Ok(()) }
    }

    fn put(&mut self, bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
        self.written += bytes.len() as u64;
        out.write_all(bytes)
    }

    /// Ends the row group: one page a column.
    fn close(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.written == 0 {
            self.put(MAGIC, out)?;
        }
        if self.rows == 0 {
            return Ok(());
        }
        let mut chunks = Vec::new();
        for column in std::mem::take(&mut self.data) {
            let mut levels = Vec::new();
            if !column.present.is_empty() {
                // One bit-packed run of all levels: so many groups of eight.
                let mut run = Thrift::default();
                run.varint((column.present.len() as u64) << 1 | 1);
                run.out.extend_from_slice(&column.present);
                levels.extend_from_slice(&(run.out.len() as u32).to_le_bytes());
                levels.append(&mut run.out);
            }
            let len = (levels.len() + column.values.len()) as i64;
            let mut head = Thrift::default();
            head.begin();
            head.int32(1, 0); // A data page.
            head.int32(2, len);
            head.int32(3, len);
            head.field(5, STRUCT);
            head.begin();
            head.int32(1, self.rows as i64);
            head.int32(2, 0); // Plain values.
            head.int32(3, 3); // Levels as runs.
            head.int32(4, 3);
            head.end();
            head.end();
            let offset = self.written;
            self.put(&head.out, out)?;
            self.put(&levels, out)?;
            self.put(&column.values, out)?;
            chunks.push(Chunk { offset, len: self.written - offset });
        }
        self.data = self.columns.iter().map(|_| Column::default()).collect();
        self.groups.push((std::mem::take(&mut self.rows), chunks));
        self.all += self.groups.last().map_or(0, |(rows, _)| *rows);
        Ok(())
    }

    /// Writes what is left, and the footer.
    pub(crate) fn finish(mut self, out: &mut dyn Write) -> io::Result<()> {
        self.close(out)?;
        let mut meta = Thrift::default();
        meta.begin();
        meta.int32(1, 1);
        meta.list(2, STRUCT, self.columns.len() + 1);
        meta.begin();
        meta.field(4, BINARY);
        meta.text("keys");
        meta.int32(5, self.columns.len() as i64);
        meta.end();
        for (name, kind) in &self.columns {
            meta.begin();
            meta.int32(1, kind.physical());
            meta.int32(3, i64::from(kind.is_optional()));
            meta.field(4, BINARY);
            meta.text(name);
            if let Some(converted) = kind.converted() {
                meta.int32(6, converted);
            }
            meta.end();
        }
        meta.int64(3, self.all as i64);
        meta.list(4, STRUCT, self.groups.len());
        for (rows, chunks) in &self.groups {
            meta.begin();
            meta.list(1, STRUCT, chunks.len());
            for (chunk, (name, kind)) in chunks.iter().zip(&self.columns) {
                meta.begin();
                meta.int64(2, chunk.offset as i64);
                meta.field(3, STRUCT);
                meta.begin();
                meta.int32(1, kind.physical());
                meta.list(2, I32, 2);
                meta.zigzag(0);
                meta.zigzag(3);
                meta.list(3, BINARY, 1);
                meta.text(name);
                meta.int32(4, 0); // No compression.
                meta.int64(5, *rows as i64);
                meta.int64(6, chunk.len as i64);
                meta.int64(7, chunk.len as i64);
                meta.int64(9, chunk.offset as i64);
                meta.end();
                meta.end();
            }
            meta.int64(2, chunks.iter().map(|chunk| chunk.len as i64).sum());
            meta.int64(3, *rows as i64);
            meta.end();
        }
        meta.field(6, BINARY);
        meta.text(concat!("firn ", env!("CARGO_PKG_VERSION")));
        meta.end();
        let len = (meta.out.len() as u32).to_le_bytes();
        self.put(&meta.out, out)?;
        self.put(&len, out)?;
        self.put(MAGIC, out)
    }
}

/// Longest head of a page that [`Table`] writes.
pub(crate) const PAGE_HEAD_LEN_MAX: u64 = 64;

/// What stands before a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PageHead {
    /// Its own length.
    pub(crate) head_len: u64,
    /// That of the page.
    pub(crate) len: u64,
    /// Values in it, those that are missing included.
    pub(crate) rows: u64,
}

impl PageHead {
    /// Reads one, if it is of the kind that [`Table`] writes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<PageHead> {
        let mut rest = bytes;
        let (mut lens, mut rows, mut inside, mut last) = ([0; 2], None, false, 0);
        loop {
            let head = *rest.split_off_first()?;
            if head == 0 {
                if !inside {
                    break;
                }
                (inside, last) = (false, 5);
                continue;
            }
            last += head >> 4;
            match (inside, last, head & 15) {
                (false, 5, STRUCT) => (inside, last) = (true, 0),
                (false, number @ 1..=3, I32) => {
                    let value = zigzag(&mut rest)?;
                    match number {
                        1 if value != 0 => return None,
                        1 => {}
                        number => lens[usize::from(number) - 2] = value,
                    }
                }
                (true, 1, I32) => rows = u64::try_from(zigzag(&mut rest)?).ok(),
                (true, number @ 2..=4, I32) if zigzag(&mut rest)? == if number == 2 { 0 } else { 3 } => {}
                _ => return None,
            }
        }
        let len = u64::try_from(lens[1]).ok().filter(|_| lens[0] == lens[1])?;
        Some(PageHead { head_len: (bytes.len() - rest.len()) as u64, len, rows: rows? })
    }
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *rest.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn zigzag(rest: &mut &[u8]) -> Option<i64> {
    let value = varint(rest)?;
    Some((value >> 1) as i64 ^ -((value & 1) as i64))
}

/// The cells of one page, in order. `None` where they end too early.
pub(crate) struct Cells {
    bytes: Vec<u8>,
    at: usize,
    /// Where the bits are that say which values are present, and the next of these.
    levels: Option<(usize, usize)>,
}

impl Cells {
    /// Of the bytes of a page.
    pub(crate) fn new(kind: Kind, rows: u64, bytes: Vec<u8>) -> Cells {
        let mut cells = Cells { bytes, at: 0, levels: None };
        if kind.is_optional() {
            // Levels that are not what the writer makes are not there, and no cell is.
            let end = cells.bytes.len();
            cells.at = cells.find_levels(rows).unwrap_or(end);
        }
        cells
    }

    /// Where the values begin behind the levels.
    fn find_levels(&mut self, rows: u64) -> Option<usize> {
        let len = u32::from_le_bytes(*self.bytes.first_chunk()?) as usize;
        let run = self.bytes.get(4..4 + len)?;
        let mut rest = run;
        let groups = varint(&mut rest)?;
        if groups & 1 == 0 || (groups >> 1) != rest.len() as u64 || rows > rest.len() as u64 * 8 {
            return None;
        }
        self.levels = Some((4 + len - rest.len(), 0));
        Some(4 + len)
    }

    fn take(&mut self, len: usize) -> Option<&[u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(taken)
    }

    /// Of a column of [`Kind::Int32`].
    pub(crate) fn int32(&mut self) -> Option<i32> {
        Some(i32::from_le_bytes(*self.take(4)?.first_chunk()?))
    }

    /// Of a column whose values may be missing.
    pub(crate) fn optional(&mut self) -> Option<Option<i64>> {
        let (start, row) = self.levels?;
        self.levels = Some((start, row + 1));
        if self.bytes.get(start + row / 8)? & (1 << (row % 8)) == 0 {
            return Some(None);
        }
        Some(Some(i64::from_le_bytes(*self.take(8)?.first_chunk()?)))
    }

    /// Of a column of bytes or text.
    pub(crate) fn bytes(&mut self) -> Option<&[u8]> {
        let len = u32::from_le_bytes(*self.take(4)?.first_chunk()?);
        self.take(len as usize)
    }
}

//! Writes an RDB file: header, notes, entries from their parts, checksum.

pub use super::encode::{EncodeError, Options, Spill, Spiller};

use super::encode::{Encoded, Encoder};
use super::error::BadRdb;
use super::input::crc64_digest;
use super::length::{put_length, put_string};
use super::reader::{Header, Usage};
use super::{REDIS_VERSION_MAX, VALKEY_VERSION, kind, opcode};
use crate::keyspace::entry::Stored;
use crate::value::Kind;
use crc_fast::Digest;
use std::io::{self, Write};

/// The oldest version that is written.
const VERSION_MIN: u32 = 9;
/// Small pieces are put together up to this length.
const BUFFER_LEN: usize = 64 * 1024;

impl Options {
    /// The usual ones for a version: 9 to 12, or Valkey's.
    ///
    /// # Errors
    /// [`BadRdb::Version`].
    pub fn new(version: u32) -> Result<Options, BadRdb> {
        match version {
            VERSION_MIN..=REDIS_VERSION_MAX | VALKEY_VERSION => {
                Ok(Options { version, compress: true, drop_field_deadlines: false })
            }
            _ => Err(BadRdb::Version(version)),
        }
    }
}

/// A file that is being written. Entries of one database should come together; keys must be different, which nobody looks at here.
pub struct Writer<W: Write> {
    out: W,
    options: Options,
    buffer: Vec<u8>,
    digest: Digest,
    written: u64,
    spiller: Option<Spiller>,
    db: Option<u32>,
    open: Option<Encoder>,
}

impl<W: Write> std::fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("options", &self.options).field("written", &self.written).finish_non_exhaustive()
    }
}

impl<W: Write> Writer<W> {
    /// Begins with the header.
    ///
    /// # Errors
    /// A version that is not written.
    pub fn new(out: W, options: Options) -> Result<Writer<W>, BadRdb> {
        Options::new(options.version)?;
        let mut buffer = Vec::with_capacity(BUFFER_LEN);
        Header::of_version(options.version)?.encode(&mut buffer);
        let digest = crc64_digest();
        Ok(Writer { out, options, buffer, digest, written: 0, spiller: None, db: None, open: None })
    }

    /// Values that are too large for some megabytes of memory wait in what `spiller` makes.
    #[must_use]
    pub fn spilling(mut self, spiller: Spiller) -> Writer<W> {
        self.spiller = Some(spiller);
        self
    }

    /// How many bytes were written, those that are still in memory included.
    pub fn len(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Never: there is a header.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Adds a note about the file.
    ///
    /// # Errors
    /// The output's.
    pub fn aux(&mut self, name: &[u8], value: &[u8]) -> io::Result<()> {
        self.buffer.push(opcode::AUX);
        put_string(&mut self.buffer, name, false);
        put_string(&mut self.buffer, value, false);
        self.flush_full()
    }

    /// Adds a function library: its whole source. Nothing before version 10 has those.
    ///
    /// # Errors
    /// The output's; `InvalidInput` for a version that is too old.
    pub fn function(&mut self, source: &[u8]) -> io::Result<()> {
        if self.options.version < 10 {
            let text = format!("RDB version {} has no functions: write version 10 or newer", self.options.version);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.buffer.push(opcode::FUNCTION_2);
        put_string(&mut self.buffer, source, self.options.compress);
        self.flush_full()
    }

    /// Entries of database `db` follow, about so many, and so many of them with deadlines. Not needed: without it readers grow as they go.
    ///
    /// # Errors
    /// The output's.
    pub fn database(&mut self, db: u32, entries: u64, deadlines: u64) -> io::Result<()> {
        self.select(db);
        self.buffer.push(opcode::RESIZE_DB);
        put_length(&mut self.buffer, entries);
        put_length(&mut self.buffer, deadlines);
        self.flush_full()
    }

    fn select(&mut self, db: u32) {
        if self.db != Some(db) {
            self.buffer.push(opcode::SELECT_DB);
            put_length(&mut self.buffer, u64::from(db));
            self.db = Some(db);
        }
    }

    /// Adds an entry, or the next part of one. `usage` is that of the last part.
    ///
    /// # Errors
    /// [`EncodeError`]; the file is of no use then, but for [`EncodeError::FieldDeadline`] and [`EncodeError::Value`], after which the entry is left out.
    pub fn entry(&mut self, db: u32, part: &Stored<'_>, usage: Usage) -> Result<(), EncodeError> {
        if part.kind == Kind::String {
            self.head(db, kind::STRING, part, usage);
            put_string(&mut self.buffer, part.body, self.options.compress);
            return Ok(self.flush_full()?);
        }
        let mut encoder = match self.open.take().filter(|_| part.continues) {
            Some(encoder) => encoder,
            None => Encoder::new(part.kind, None, self.options),
        };
        encoder.push(part.body, self.spiller.as_mut())?;
        if part.continued {
            self.open = Some(encoder);
            return Ok(());
        }
        let Encoded { encoding, pieces } = encoder.finish()?;
        self.head(db, encoding, part, usage);
        for piece in pieces {
            piece.copy_to(&mut |bytes| {
                self.buffer.extend_from_slice(bytes);
                self.flush_full()
            })?;
        }
        Ok(())
    }

    /// Database, deadline, usage, type and key.
    fn head(&mut self, db: u32, encoding: u8, part: &Stored<'_>, usage: Usage) {
        self.select(db);
        let out = &mut self.buffer;
        if let Some(deadline) = part.deadline {
            out.push(opcode::EXPIRE_MS);
            out.extend_from_slice(&i64::try_from(deadline).unwrap_or(i64::MAX).to_le_bytes());
        }
        match usage {
            Usage::Unknown => {}
            Usage::Idle(seconds) => {
                out.push(opcode::IDLE);
                put_length(out, seconds);
            }
            Usage::Frequency(count) => out.extend_from_slice(&[opcode::FREQUENCY, count]),
        }
        out.push(encoding);
        put_string(out, part.key, self.options.compress);
    }

    fn flush_full(&mut self) -> io::Result<()> {
        if self.buffer.len() >= BUFFER_LEN { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.digest.update(&self.buffer);
        self.out.write_all(&self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Ends the file with its checksum, and gives the output back; making it durable is the caller's matter.
    ///
    /// # Errors
    /// The output's; `InvalidInput` if the last part of an entry is missing.
    pub fn finish(mut self) -> io::Result<W> {
        if self.open.is_some() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the last part of an entry is missing"));
        }
        self.buffer.push(opcode::END);
        self.flush()?;
        let checksum = self.digest.finalize();
        self.out.write_all(&checksum.to_le_bytes())?;
        self.out.flush()?;
        Ok(self.out)
    }
}

//! An RDB file as events, from any source of bytes, in bounded memory.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use firn_engine::rdb::{Event, Reader};
//! let mut reader = Reader::new(std::fs::File::open("dump.rdb")?)?;
//! while let Some(event) = reader.next_event()? {
//!     if let Event::Entry(part) = event {
//!         println!("{} {:?} {:?}", part.db, part.stored.key, part.stored.kind);
//!     }
//! }
//! # Ok(()) }
//! ```
//! A value of more than about 64 KB comes in several parts, as a snapshot stores it: the same key again, `continues` and `continued` say so.

use super::error::{BadRdb, RdbError};
use super::input::Input;
use super::value::Value;
use super::{Dialect, REDIS_VERSION_MAX, VALKEY_VERSION, VERSION_WITH_CHECKSUM, kind, opcode};
use crate::keyspace::entry::Stored;
use crate::limits::DATABASES_MAX;
use std::io::{Cursor, Read};

/// Bytes that [`Reader::probe`] asks for at a time.
const PROBE_LEN: usize = 512;

/// What stands at the beginning of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The format's version.
    pub version: u32,
    /// Whose it is.
    pub dialect: Dialect,
}

impl Header {
    /// Length of a header in bytes.
    pub const LEN: usize = 9;

    /// Reads a header.
    ///
    /// # Errors
    /// [`BadRdb::Magic`], [`BadRdb::Version`], [`BadRdb::Newer`].
    pub fn decode(bytes: &[u8; Header::LEN]) -> Result<Header, BadRdb> {
        let digits = match bytes {
            [b'R', b'E', b'D', b'I', b'S', digits @ ..] => digits.as_slice(),
            [b'V', b'A', b'L', b'K', b'E', b'Y', digits @ ..] => digits.as_slice(),
            _ => return Err(BadRdb::Magic),
        };
        let version = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let version: u32 = version.and_then(|text| text.parse().ok()).ok_or(BadRdb::Magic)?;
        Header::of_version(version)
    }

    /// The header of a version.
    ///
    /// # Errors
    /// [`BadRdb::Version`], [`BadRdb::Newer`].
    pub fn of_version(version: u32) -> Result<Header, BadRdb> {
        let dialect = Dialect::of(version);
        match version {
            0 => Err(BadRdb::Version(version)),
            1..=REDIS_VERSION_MAX | VALKEY_VERSION => Ok(Header { version, dialect }),
            _ => Err(BadRdb::Newer(version)),
        }
    }

    /// Appends its bytes.
    pub(super) fn encode(self, out: &mut Vec<u8>) {
        let text = match self.dialect {
            Dialect::Redis => format!("REDIS{:04}", self.version),
            Dialect::Valkey => format!("VALKEY{:03}", self.version),
        };
        out.extend_from_slice(text.as_bytes());
    }
}

/// When a key was used last, as far as the file says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Usage {
    /// It does not.
    #[default]
    Unknown,
    /// So many seconds before the file was written.
    Idle(u64),
    /// As LFU counts.
    Frequency(u8),
}

/// An entry, or a part of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryPart<'r> {
    /// The database.
    pub db: u32,
    /// Key, type, deadline, and elements in the form of parts (`FORMAT.md`, "Collections"; a string's bytes as they are). `access` is 0: see `usage`.
    pub stored: Stored<'r>,
    /// When it was used last.
    pub usage: Usage,
    /// The type byte: [`super::encoding_name`] has its name.
    pub encoding: u8,
    /// Where the entry begins.
    pub offset: u64,
}

/// What is found in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event<'r> {
    /// A name and a value that say something about the file.
    Aux {
        /// The name, e.g. `redis-ver`.
        name: &'r [u8],
        /// The value.
        value: &'r [u8],
    },
    /// Entries of this database follow.
    Database(u32),
    /// So many entries, and so many of them with deadlines, are to be expected in the database.
    Expected {
        /// Entries.
        entries: u64,
        /// Entries with deadlines.
        deadlines: u64,
    },
    /// A function library.
    Function(Library<'r>),
    /// An entry, or a part of one.
    Entry(EntryPart<'r>),
    /// Something that cannot be taken over.
    Skipped {
        /// What.
        what: Skipped<'r>,
        /// Where it begins.
        offset: u64,
    },
    /// The end: everything is there. Bytes may follow in an append-only file ([`Reader::into_rest`]).
    End {
        /// Whether a checksum was there and has been verified.
        verified: bool,
    },
}

/// The source of a function library.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Library<'r> {
    /// The whole source, whose first line names engine and library.
    Source(&'r [u8]),
    /// The form of Redis 7.0's release candidates: the source has no first line.
    PreGa {
        /// The library's name.
        name: &'r [u8],
        /// The engine's, e.g. `LUA`.
        engine: &'r [u8],
        /// The source.
        source: &'r [u8],
    },
}

/// What is in a file and cannot be taken over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Skipped<'r> {
    /// A key with a module's value.
    ModuleValue {
        /// The database.
        db: u32,
        /// The key.
        key: &'r [u8],
        /// The module type's name.
        module: ModuleName,
    },
    /// Data of a module beside the keys.
    ModuleAux(ModuleName),
    /// A collection without elements, which no server makes on purpose.
    Empty {
        /// The database.
        db: u32,
        /// The key.
        key: &'r [u8],
    },
    /// A note of a cluster about one of its slots.
    Cluster,
}

/// The name of a module's type: nine characters, packed into an ID.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ModuleName(pub u64);

impl std::fmt::Display for ModuleName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        (0..9).rev().try_for_each(|at| {
            let letter = LETTERS[(self.0 >> (10 + 6 * at)) as usize & 0x3f];
            write!(f, "{}", char::from(letter))
        })
    }
}

/// A value that is being read.
struct Open {
    value: Value,
    db: u32,
    encoding: u8,
    deadline: Option<u64>,
    usage: Usage,
    offset: u64,
    continues: bool,
}

/// Reads a file. See above.
pub struct Reader<R> {
    input: Input<R>,
    header: Header,
    db: u32,
    open: Option<Open>,
    key: Vec<u8>,
    body: Vec<u8>,
    third: Vec<u8>,
    ended: bool,
}

impl<R> std::fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("header", &self.header).field("db", &self.db).finish_non_exhaustive()
    }
}

impl<R: Read> Reader<R> {
    /// Begins with the header.
    ///
    /// # Errors
    /// [`RdbError`].
    pub fn new(source: R) -> Result<Reader<R>, RdbError> {
        let mut input = Input::new(source, 0);
        let header = Header::decode(&input.take()?).map_err(|why| RdbError::bad(0, why))?;
        if header.version < VERSION_WITH_CHECKSUM {
            input.forget_checksum();
        }
        Ok(Reader::with(input, header, 0))
    }

    /// Goes on in the middle of a file whose header is known: `source` gives the bytes from `offset` on, where an entry or opcode begins, in
    /// database `db`. Its checksum cannot be verified then.
    pub fn resume(source: R, header: Header, offset: u64, db: u32) -> Reader<R> {
        let mut input = Input::new(source, offset);
        input.forget_checksum();
        Reader::with(input, header, db)
    }

    /// As [`Reader::resume`], for a short look: whether entries begin at a place. It takes little memory.
    pub fn probe(source: R, header: Header, offset: u64, db: u32) -> Reader<R> {
        Reader::with(Input::small(source, PROBE_LEN, offset), header, db)
    }

    fn with(input: Input<R>, header: Header, db: u32) -> Reader<R> {
        let (key, body, third) = (Vec::new(), Vec::new(), Vec::new());
        Reader { input, header, db, open: None, key, body, third, ended: false }
    }

    /// The file's header.
    pub fn header(&self) -> Header {
        self.header
    }

    /// How many bytes were read.
    pub fn offset(&self) -> u64 {
        self.input.offset()
    }

    /// The database of the entries that come next.
    pub fn db(&self) -> u32 {
        self.db
    }

    /// The next event; `None` behind [`Event::End`].
    ///
    /// # Errors
    /// [`RdbError`]. If it [`is_content`](RdbError::is_content), [`Reader::skip_value`] and going on is possible.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, RdbError> {
        if self.ended {
            return Ok(None);
        }
        if self.open.is_none() {
            match self.next_outside()? {
                Outside::Entry => {}
                Outside::Event(event) => return Ok(Some(self.event(event))),
            }
        }
        self.next_part().map(Some)
    }

    /// Takes what is left of the value in which an error was found, so that [`Reader::next_event`] goes on with the next entry.
    ///
    /// # Errors
    /// [`RdbError`]: the file's structure is damaged too.
    pub fn skip_value(&mut self) -> Result<(), RdbError> {
        match self.open.take() {
            Some(mut open) => open.value.skip(&mut self.input),
            None => Ok(()),
        }
    }

    /// What comes behind the end: bytes that were read already, then the source's.
    pub fn into_rest(self) -> std::io::Chain<Cursor<Vec<u8>>, R> {
        let (bytes, source) = self.input.into_rest();
        Cursor::new(bytes).chain(source)
    }

    /// Whether anything follows.
    ///
    /// # Errors
    /// The source's.
    pub fn has_more(&mut self) -> Result<bool, RdbError> {
        self.input.has_more()
    }

    fn next_part(&mut self) -> Result<Event<'_>, RdbError> {
        self.body.clear();
        let Some(open) = &mut self.open else { unreachable!("the caller has looked") };
        // What has no elements so far is no entry yet.
        let mut continued = open.value.fill(&mut self.input, &mut self.body).map_err(|error| error.of(&self.key))?;
        while continued && self.body.is_empty() {
            continued = open.value.fill(&mut self.input, &mut self.body).map_err(|error| error.of(&self.key))?;
        }
        let &mut Open { ref value, db, encoding, deadline, usage, offset, continues } = open;
        let (kind, empty) = (value.kind, value.is_empty());
        open.continues = true;
        if !continued {
            self.open = None;
        }
        if empty {
            return Ok(Event::Skipped { what: Skipped::Empty { db, key: &self.key }, offset });
        }
        let stored = Stored { key: &self.key, kind, body: &self.body, deadline, access: 0, continues, continued };
        Ok(Event::Entry(EntryPart { db, stored, usage, encoding, offset }))
    }

    /// Walks up to the next entry's value, or to something else that is worth an event.
    fn next_outside(&mut self) -> Result<Outside, RdbError> {
        let offset = self.input.offset();
        let (mut deadline, mut usage) = (None, Usage::Unknown);
        loop {
            let begin = self.input.offset();
            match self.input.byte()? {
                opcode::EXPIRE_MS => {
                    let at = i64::from_le_bytes(self.input.take()?);
                    // Times before 1970 have passed as well as any.
                    deadline = Some(at.max(1) as u64);
                }
                opcode::EXPIRE_SECONDS => {
                    let at = i32::from_le_bytes(self.input.take()?);
                    deadline = Some((i64::from(at) * 1000).max(1) as u64);
                }
                opcode::IDLE => usage = Usage::Idle(self.input.length()?),
                opcode::FREQUENCY => usage = Usage::Frequency(self.input.byte()?),
                opcode::SELECT_DB => {
                    let db = self.input.length()?;
                    let known = u32::try_from(db).ok().filter(|db| (*db as usize) < DATABASES_MAX);
                    self.db = known.ok_or(RdbError::bad(begin, BadRdb::Database(db)))?;
                    return Ok(Outside::Event(Plain::Database));
                }
                opcode::RESIZE_DB => {
                    let (entries, deadlines) = (self.input.length()?, self.input.length()?);
                    return Ok(Outside::Event(Plain::Expected { entries, deadlines }));
                }
                opcode::SLOT_INFO => {
                    for _ in 0..3 {
                        self.input.length()?;
                    }
                    return Ok(Outside::Event(Plain::Cluster { offset }));
                }
                opcode::SLOT_IMPORT if self.header.dialect == Dialect::Valkey => {
                    self.input.skip_string()?;
                    for _ in 0..self.input.length()? {
                        self.input.length()?;
                        self.input.length()?;
                    }
                    return Ok(Outside::Event(Plain::Cluster { offset }));
                }
                opcode::AUX => {
                    self.strings()?;
                    return Ok(Outside::Event(Plain::Aux));
                }
                opcode::FUNCTION_2 => {
                    self.body.clear();
                    self.input.string(&mut self.body)?;
                    return Ok(Outside::Event(Plain::Function));
                }
                opcode::FUNCTION_PRE_GA => {
                    self.strings()?;
                    if self.input.length()? != 0 {
                        self.input.skip_string()?;
                    }
                    self.third.clear();
                    self.input.string(&mut self.third)?;
                    return Ok(Outside::Event(Plain::FunctionPreGa));
                }
                opcode::MODULE_AUX => {
                    let module = ModuleName(self.input.length()?);
                    self.input.length()?;
                    self.input.length()?;
                    self.skip_module()?;
                    return Ok(Outside::Event(Plain::ModuleAux { module, offset }));
                }
                opcode::END => {
                    let verified = self.take_checksum()?;
                    self.ended = true;
                    return Ok(Outside::Event(Plain::End { verified }));
                }
                encoding => {
                    // Before anything behind it is believed.
                    if encoding > kind::HASH_LISTPACK_EX {
                        return Err(RdbError::bad(begin, BadRdb::Type(encoding)));
                    }
                    self.key.clear();
                    self.input.string(&mut self.key)?;
                    if encoding == kind::MODULE_2 {
                        let module = ModuleName(self.input.length()?);
                        self.skip_module().map_err(|error| error.of(&self.key))?;
                        return Ok(Outside::Event(Plain::ModuleValue { module, offset }));
                    }
                    let value = Value::begin(encoding, self.header.dialect, &mut self.input);
                    let value = value.map_err(|error| error.of(&self.key))?;
                    let (db, continues) = (self.db, false);
                    self.open = Some(Open { value, db, encoding, deadline, usage, offset, continues });
                    return Ok(Outside::Entry);
                }
            }
        }
    }

    /// Two strings, into `key` and `body`.
    fn strings(&mut self) -> Result<(), RdbError> {
        self.key.clear();
        self.input.string(&mut self.key)?;
        self.body.clear();
        self.input.string(&mut self.body)
    }

    fn skip_module(&mut self) -> Result<(), RdbError> {
        loop {
            let offset = self.input.offset();
            match self.input.length()? {
                0 => return Ok(()),
                1 | 2 => {
                    self.input.length()?;
                }
                3 => self.input.skip(4)?,
                4 => self.input.skip(8)?,
                5 => self.input.skip_string()?,
                part => return Err(RdbError::bad(offset, BadRdb::ModulePart(part))),
            }
        }
    }

    fn take_checksum(&mut self) -> Result<bool, RdbError> {
        if self.header.version < VERSION_WITH_CHECKSUM {
            return Ok(false);
        }
        let offset = self.input.offset();
        let computed = self.input.checksum();
        let stated = u64::from_le_bytes(self.input.take()?);
        match computed {
            // 0 says that whoever wrote it computed none.
            Some(computed) if stated != 0 => {
                if computed == stated {
                    Ok(true)
                } else {
                    Err(RdbError::bad(offset, BadRdb::Checksum { stated, computed }))
                }
            }
            _ => Ok(false),
        }
    }

    fn event(&self, event: Plain) -> Event<'_> {
        let (key, body, db) = (self.key.as_slice(), self.body.as_slice(), self.db);
        match event {
            Plain::Aux => Event::Aux { name: key, value: body },
            Plain::Database => Event::Database(db),
            Plain::Expected { entries, deadlines } => Event::Expected { entries, deadlines },
            Plain::Function => Event::Function(Library::Source(body)),
            Plain::FunctionPreGa => Event::Function(Library::PreGa { name: key, engine: body, source: &self.third }),
            Plain::ModuleAux { module, offset } => Event::Skipped { what: Skipped::ModuleAux(module), offset },
            Plain::ModuleValue { module, offset } => {
                Event::Skipped { what: Skipped::ModuleValue { db, key, module }, offset }
            }
            Plain::Cluster { offset } => Event::Skipped { what: Skipped::Cluster, offset },
            Plain::End { verified } => Event::End { verified },
        }
    }
}

/// What [`Reader::next_outside`] has come to.
enum Outside {
    /// The value of an entry, which is open now.
    Entry,
    Event(Plain),
}

/// An event whose bytes are in the reader.
#[derive(Clone, Copy)]
enum Plain {
    Aux,
    Database,
    Expected { entries: u64, deadlines: u64 },
    Function,
    FunctionPreGa,
    ModuleAux { module: ModuleName, offset: u64 },
    ModuleValue { module: ModuleName, offset: u64 },
    Cluster { offset: u64 },
    End { verified: bool },
}

//! An RDB file, or the RDB part of an append-only file, as a base of entries.
//!
//! A value whose content is damaged is left out, and reading goes on behind it. Where the structure is damaged, what follows is searched for
//! a place from which on several entries in a row, or the end, can be read. A length that has grown may take whole entries for a part of a value
//! and be found out only behind them: so what is within the last entry is searched first, for a place from which on reading comes past the damage.

use super::super::{Base, Damages, Loss, Unnamed, Visit};
use super::rdb_search::{Names, is_end, is_nothing, is_odd_name, names_between, search};
use super::rdb_sofar::{Sofar, Wrong};
use super::rdb_tally::{BATCHES_MAX, Batch, Tally, build};
use super::{SEED, Source, bytes_at, failed, finding, open_at, with_keys};
use crate::folder::Severity;
use crate::moment::now_ms;
use crate::{ToolError, text};
use firn_engine::key::HashSeed;
use firn_engine::keyspace::entry::{Assembly, BadEntry, Stored, Whole};
use firn_engine::keyspace::libraries::Libraries;
use firn_engine::keyspace::usage;
use firn_engine::rdb::mend::Change;
use firn_engine::rdb::{BadRdb, EntryPart, Event, Header, Library, RdbError, Reader, Skipped, Usage};
use firn_engine::value::{Collection, Kind, Shaping};
use std::cell::{Cell, RefCell};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

/// What is said of bytes behind a file that is whole: it lacks nothing.
pub(crate) const STRAY: &str = "bytes follow the end of the file, and belong to nothing in it";

/// No entry is as short as what is pushed out of one by a few bytes too many.
const PUSHED_OUT_MAX: u64 = 8;
/// The version that a file is taken for whose header cannot be read: the newest of Redis, which has all forms of the older ones.
const RDB_VERSION_NEWEST: u32 = 12;
/// What stands before the number of a database.
const SELECT_DB: u8 = 0xfe;
/// The bar moves after so many bytes.
const PROGRESS_EVERY: u64 = 256 * 1024;

/// See above; without a file it has no entries.
pub(crate) struct RdbBase<'d> {
    path: Option<&'d PathBuf>,
    end: &'d Cell<Option<u64>>,
    change: Option<Change>,
    /// Its checksum says that something was changed: what no writer makes is not believed.
    doubtful: bool,
    damages: &'d Damages,
    /// Gathered when all was read.
    libraries: RefCell<Option<Libraries>>,
}

/// Names and values.
pub(crate) type Notes = Vec<(Vec<u8>, Vec<u8>)>;

/// What [`RdbBase::walk`] comes across.
enum Walked<'e> {
    /// An entry, or a part of one.
    Part(EntryPart<'e>),
    /// The entry before was none.
    Withdrawn,
}

/// What a visitor is told.
enum Told<'e> {
    /// This was read.
    Event(&'e Event<'e>),
    /// The entry before was none: with a length that is wrong it took what follows it for a part of it.
    Withdrawn,
}

/// A visitor of events; says whether it wants more.
type VisitEvent<'v> = dyn FnMut(Told<'_>) -> Result<bool, ToolError> + 'v;

impl<'d> RdbBase<'d> {
    /// Of a file. Where it ends is put into `end`.
    pub(super) fn new(
        path: Option<&'d PathBuf>,
        end: &'d Cell<Option<u64>>,
        change: Option<Change>,
        doubtful: bool,
        damages: &'d Damages,
    ) -> Self {
        RdbBase { path, end, change, doubtful, damages, libraries: RefCell::new(None) }
    }

    fn source(&self, path: &Path, offset: u64) -> Result<Source, ToolError> {
        Ok(Source { file: open_at(path, offset)?, offset, change: self.change })
    }

    fn error(path: &Path, error: &RdbError) -> ToolError {
        let message = format!("{}: {error}", path.display());
        match error {
            RdbError::Bad { why: BadRdb::Newer(_), .. } | RdbError::Read { .. } => ToolError::Unreadable(message),
            RdbError::Bad { .. } => ToolError::Damage(message),
        }
    }

    /// Visits the parts of entries; everything else in the file is dealt with here.
    fn walk(&self, take: &mut dyn FnMut(Walked<'_>) -> Result<(), ToolError>) -> Result<(), ToolError> {
        let Some(path) = self.path else { return Ok(()) };
        let (len, mut libraries) = (path.metadata().map_or(0, |it| it.len()), Libraries::default());
        let (bar, mut shown) = (text::progress(len, "reading"), 0);
        self.events(&mut |told| {
            match told {
                Told::Withdrawn => take(Walked::Withdrawn)?,
                Told::Event(Event::Entry(part)) => {
                    if part.offset - shown > PROGRESS_EVERY {
                        shown = part.offset;
                        bar.set_position(shown);
                    }
                    take(Walked::Part(*part))?;
                }
                Told::Event(Event::Function(library)) => load(&mut libraries, library),
                Told::Event(Event::Skipped { what, offset }) => {
                    if let Some(what) = skipped(what) {
                        self.damages.note(finding(path, Severity::Note, *offset, what));
                    }
                }
                Told::Event(_) => {}
            }
            Ok(true)
        })?;
        *self.libraries.borrow_mut() = Some(libraries);
        bar.finish_and_clear();
        match self.end.get() {
            Some(end) if end < len && !super::may_have_commands(path) => {
                // Everything before them is whole, or has been reported.
                let zeros = if super::zeros_from(path, end, len)? { " zero" } else { "" };
                let message = format!("{}{zeros} {STRAY}", len - end);
                self.damages.report(finding(path, Severity::Damage, end, message))?;
                self.damages.lose(Loss { harmless: true, ..loss(path, end, len, Vec::new()) });
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A value that was read and makes no sense.
    fn bad_value(&self, offset: u64, key: &[u8], why: &BadEntry) -> Result<(), ToolError> {
        let Some(path) = self.path else { return Ok(()) };
        let message = format!("{why}; key {} is left out", text::word(key, false));
        self.damages.report(finding(path, Severity::Damage, offset, message))?;
        let keys = vec![key.to_vec()];
        // Under a checksum that is right it is nothing but this value.
        let unnamed = Unnamed { about: 0, perhaps: self.doubtful };
        self.damages.lose(Loss { unnamed, ..loss(path, offset, offset, keys) });
        Ok(())
    }

    /// Counts the keys of each database and type, and verifies all values. One thread reads, another puts values together.
    pub(crate) fn tally(&self) -> Result<Tally, ToolError> {
        let (send, receive) = mpsc::sync_channel(BATCHES_MAX);
        let (back, spare) = mpsc::channel();
        let (tally, bad) = std::thread::scope(|scope| {
            let builder = scope.spawn(move || build(&receive, &back));
            let mut batch = Batch::default();
            let walked = self.walk(&mut |walked| {
                match walked {
                    Walked::Withdrawn => batch.parts.push(None),
                    Walked::Part(part) => batch.push(&part),
                }
                if batch.is_full() {
                    // Whoever receives ends only when all is sent.
                    let _ = send.send(std::mem::replace(&mut batch, spare.try_recv().unwrap_or_default()));
                }
                Ok(())
            });
            let _ = send.send(batch);
            drop(send);
            let built = builder.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            walked.map(|()| built)
        })?;
        for (offset, key, why) in bad {
            self.bad_value(offset, &key, &why)?;
        }
        Ok(tally)
    }

    /// What the file says about itself before its first key: its version, and its notes (names and values). `None` without a file.
    pub(crate) fn notes(&self) -> Result<Option<(Header, Notes)>, ToolError> {
        let Some(path) = self.path else { return Ok(None) };
        let header = match Reader::new(self.source(path, 0)?) {
            Ok(reader) => reader.header(),
            Err(error) if self.damages.is_lenient() && is_no_header(&error) => return Ok(None),
            Err(error) => return Err(Self::error(path, &error)),
        };
        let mut notes = Notes::new();
        self.events(&mut |told| {
            if let Told::Event(Event::Aux { name, value }) = told {
                notes.push((name.to_vec(), value.to_vec()));
            }
            Ok(!matches!(told, Told::Event(Event::Entry(_))))
        })?;
        Ok(Some((header, notes)))
    }

    /// Where the RDB part ends; `None` if that cannot be found for damage.
    pub(super) fn end(&self) -> Result<Option<u64>, ToolError> {
        if self.end.get().is_none() {
            self.events(&mut |_| Ok(true))?;
        }
        Ok(self.end.get())
    }

    /// Visits all events until the visitor has enough; damage is reported.
    fn events(&self, visit: &mut VisitEvent<'_>) -> Result<(), ToolError> {
        let Some(path) = self.path else { return Ok(()) };
        let (lenient, len) = (self.damages.is_lenient(), path.metadata().map_err(failed(path))?.len());
        let (mut reader, headless) = match Reader::new(self.source(path, 0)?) {
            Ok(reader) => (reader, false),
            Err(error) if lenient && is_no_header(&error) => (self.without_header(path, &error, len)?, true),
            Err(error) => return Err(Self::error(path, &error)),
        };
        let mut sofar = Sofar { good: reader.offset(), damaged: headless, resumed: headless, ..Sofar::default() };
        let mut names = Names::default();
        loop {
            let wrong = match reader.next_event() {
                Ok(None) => {
                    self.end.set(Some(reader.offset()));
                    return self.settle(path, &sofar);
                }
                Ok(Some(event)) => {
                    let phantom = match &event {
                        Event::Entry(part) if lenient && self.doubtful && !part.stored.continues => {
                            let key = part.stored.key;
                            let why = match (is_nothing(&part.stored, sofar.is_first), names.add(part.db, key)) {
                                (true, _) => Some("an entry without a name".to_owned()),
                                (_, false) => Some(format!("key {} comes a second time", text::word(key, false))),
                                (_, true) => None,
                            };
                            let wrong = |why| Wrong { is_phantom: true, ..Wrong::structure(part.offset, why) };
                            why.map(|why| Wrong { key: Some(key.into()), ..wrong(why) })
                        }
                        _ => None,
                    };
                    match phantom {
                        Some(phantom) => phantom,
                        None => {
                            let (given, unfinished) = sofar.take(&event, lenient);
                            let is_lost_database = sofar.is_lost_database(&event);
                            if !visit(Told::Event(&event))? {
                                return Ok(());
                            }
                            if is_lost_database {
                                let message = format!(
                                    "another database begins here, and its number is lost: its keys are taken for those of database {}",
                                    reader.db()
                                );
                                self.damages.report(finding(path, Severity::Damage, sofar.good, message))?;
                            }
                            if unfinished {
                                continue;
                            }
                            (sofar.good, sofar.last) = (reader.offset(), given);
                            let first = given.filter(|_| sofar.is_first && is_odd_name(&sofar.last_key));
                            let place = match given.filter(|_| lenient && (self.doubtful || sofar.damaged)) {
                                Some((start, _)) => sofar.reaches_over(path, &reader, start)?,
                                None => None,
                            };
                            if let Some((start, to)) = place {
                                visit(Told::Withdrawn)?;
                                self.swallowed(path, &mut sofar, start, to)?;
                                reader = Reader::resume(self.source(path, to)?, reader.header(), to, reader.db());
                                (sofar.good, sofar.last) = (to, None);
                            } else if let Some((start, _)) = first {
                                self.doubt(path, &sofar, start)?;
                            }
                            continue;
                        }
                    }
                }
                Err(error) if !lenient => return Err(Self::error(path, &error)),
                Err(RdbError::Bad { why: why @ BadRdb::Checksum { .. }, offset, .. }) => {
                    if is_end(path, reader.offset(), len)? {
                        if !sofar.damaged {
                            let message = format!(
                                "{why}; only the checksum differs, every value could be read: either it was changed itself, or bytes within a \
                                 name or a value; which, nothing tells"
                            );
                            self.damages.report(finding(path, Severity::Damage, offset, message))?;
                            let unnamed = Unnamed { about: 0, perhaps: true };
                            self.damages.lose(Loss { unnamed, ..loss(path, offset, offset, Vec::new()) });
                        }
                        self.end.set(Some(reader.offset()));
                        return self.settle(path, &sofar);
                    }
                    Wrong::structure(sofar.good, "the file's end is said to be here, and more follows".to_owned())
                }
                Err(RdbError::Bad { offset, key, why }) => Wrong {
                    offset,
                    is_cut: why == BadRdb::Cut,
                    is_content: RdbError::Bad { offset, key: None, why }.is_content(),
                    key,
                    ..Wrong::structure(offset, why.to_string())
                },
                Err(error) => return Err(Self::error(path, &error)),
            };
            sofar.damaged = true;
            if wrong.is_content && reader.skip_value().is_ok() {
                let keys: Vec<Vec<u8>> = wrong.key.iter().map(|key| key.to_vec()).collect();
                let Wrong { why, offset, .. } = &wrong;
                let (from, to) = (sofar.good, reader.offset());
                // Bytes may be missing, and entries with them.
                let unnamed = Unnamed { about: 0, perhaps: true };
                let message =
                    format!("{why} (byte {offset}); {} bytes{} are left out{unnamed}", to - from, with_keys(&keys));
                self.damages.report(finding(path, Severity::Damage, from, message))?;
                sofar.last_key = keys.first().cloned().unwrap_or_default();
                self.damages.lose(Loss { unnamed, ..loss(path, from, to, keys) });
                // Its extent is not certain: if what follows cannot be read, it is searched as well.
                (sofar.last, sofar.good) = (Some((from, false)), to);
                sofar.named += 1;
                continue;
            }
            let Some(to) = self.leave_out(path, &mut reader, &mut sofar, wrong, len, visit)? else {
                return self.settle(path, &sofar);
            };
            reader = Reader::resume(self.source(path, to)?, reader.header(), to, reader.db());
            (sofar.good, sofar.last, sofar.resumed, sofar.is_first) = (to, None, true, true);
        }
    }

    /// Reports what cannot be read for its structure, and gives the place where reading goes on.
    fn leave_out(
        &self,
        path: &Path,
        reader: &mut Reader<Source>,
        sofar: &mut Sofar,
        wrong: Wrong,
        len: u64,
        visit: &mut VisitEvent<'_>,
    ) -> Result<Option<u64>, ToolError> {
        let Wrong { offset, why, key, is_cut, is_phantom, .. } = wrong;
        let good = sofar.good;
        let mut keys: Vec<Vec<u8>> = key.iter().map(|key| key.to_vec()).collect();
        let within = match sofar.last.filter(|_| !is_phantom) {
            Some((start, given)) => search(path, reader, start, good, offset)?.map(|to| (start, given, to)),
            None => None,
        };
        let mut beside = String::new();
        let (from, to) = match within {
            Some((start, given, to)) => {
                if given {
                    visit(Told::Withdrawn)?;
                    sofar.given -= 1;
                }
                keys = vec![sofar.last_key.clone()];
                (start, Some(to))
            }
            None => {
                // The end of the bytes tells nothing about where they went wrong.
                let from = if is_cut || is_phantom { good } else { offset };
                let to = search(path, reader, from, len, 0)?;
                match sofar.last {
                    // Some bytes too many that belong to no entry: they were pushed out of the one before by others within it.
                    Some((start, true)) if !is_phantom && to.is_some_and(|to| to - good <= PUSHED_OUT_MAX) => {
                        visit(Told::Withdrawn)?;
                        sofar.given -= 1;
                        keys = vec![sofar.last_key.clone()];
                        (start, to)
                    }
                    Some((_, true)) if is_phantom || keys.is_empty() => {
                        beside = format!("; key {} before it may be changed", text::word(&sofar.last_key, false));
                        (good, to)
                    }
                    _ => (good, to),
                }
            }
        };
        let until = to.unwrap_or(len);
        for name in names_between(path, from, until)? {
            if !keys.contains(&name) {
                keys.push(name);
            }
        }
        // Without a count in the file the bytes tell about how many entries they were.
        let mean = sofar.good.checked_div(sofar.given).unwrap_or(0).max(8);
        let named = (keys.len() as u64).max(1);
        let about =
            if sofar.announced.is_some() { 0 } else { ((until - from + mean / 2) / mean).saturating_sub(named) };
        let unnamed = Unnamed { about, perhaps: true };
        let message =
            format!("{why} (byte {offset}); {} bytes{} are left out{unnamed}{beside}", until - from, with_keys(&keys));
        self.damages.report(finding(path, Severity::Damage, from, message))?;
        if !beside.is_empty() {
            keys.push(sofar.last_key.clone());
        }
        self.damages.lose(Loss { unnamed, ..loss(path, from, until, keys) });
        sofar.named += u64::from(!is_phantom);
        Ok(to)
    }

    /// Tells that the entry at `start`, the first that could be read behind damage, may be none.
    fn doubt(&self, path: &Path, sofar: &Sofar, start: u64) -> Result<(), ToolError> {
        let message = format!(
            "key {} is the first that can be read behind damage, and may never have been one: bytes of a damaged value can look like it",
            text::word(&sofar.last_key, false)
        );
        self.damages.report(finding(path, Severity::Damage, start, message))?;
        let unnamed = Unnamed { about: 0, perhaps: true };
        self.damages.lose(Loss { unnamed, ..loss(path, start, start, vec![sofar.last_key.clone()]) });
        Ok(())
    }

    /// Leaves out an entry that has taken others for a part of its value.
    fn swallowed(&self, path: &Path, sofar: &mut Sofar, start: u64, to: u64) -> Result<(), ToolError> {
        sofar.given -= 1;
        sofar.named += 1;
        sofar.damaged = true;
        let mut keys = vec![sofar.last_key.clone()];
        for name in names_between(path, start, to)? {
            if !keys.contains(&name) {
                keys.push(name);
            }
        }
        let unnamed = Unnamed { about: 0, perhaps: true };
        let message = format!(
            "a length in it reaches over entries behind it; {} bytes{} are left out{unnamed}",
            to - start,
            with_keys(&keys)
        );
        self.damages.report(finding(path, Severity::Damage, start, message))?;
        self.damages.lose(Loss { unnamed, ..loss(path, start, to, keys) });
        Ok(())
    }

    /// Compares what the file announced with what it gave, if something was left out.
    fn settle(&self, path: &Path, sofar: &Sofar) -> Result<(), ToolError> {
        let missing = sofar.announced.map_or(0, |announced| announced.saturating_sub(sofar.given));
        if !sofar.damaged && !self.doubtful || missing <= sofar.named {
            return Ok(());
        }
        let about = missing - sofar.named;
        let unnamed = Unnamed { about, perhaps: true };
        let message = format!(
            "the file says that it holds {}, and {} could be read{unnamed}",
            text::counted(sofar.announced.unwrap_or(0), "key", "keys"),
            text::count(sofar.given)
        );
        let end = path.metadata().map_err(failed(path))?.len();
        self.damages.report(finding(path, Severity::Damage, end, message))?;
        self.damages.lose(Loss { unnamed, ..loss(path, end, end, Vec::new()) });
        Ok(())
    }

    /// Reads on in a file whose first bytes cannot be read.
    fn without_header(&self, path: &Path, error: &RdbError, len: u64) -> Result<Reader<Source>, ToolError> {
        let header = Header::of_version(RDB_VERSION_NEWEST).map_err(|why| ToolError::Damage(why.to_string()))?;
        let reader = Reader::resume(self.source(path, 0)?, header, 0, 0);
        let to = search(path, &reader, 0, len, 0)?.ok_or_else(|| Self::error(path, error))?;
        let is_first = bytes_at(path, to, 1)? == [SELECT_DB];
        let unnamed = Unnamed { about: 0, perhaps: !is_first };
        let message = format!(
            "{error}; {to} bytes, with what the file says about itself and libraries of functions that may be there, are left out; \
             it is read as one of version {RDB_VERSION_NEWEST}{unnamed}"
        );
        self.damages.report(finding(path, Severity::Damage, 0, message))?;
        self.damages.lose(Loss { unnamed, ..loss(path, 0, to, Vec::new()) });
        Ok(Reader::resume(self.source(path, to)?, header, to, 0))
    }
}

/// Whether a file's first bytes are damaged: a newer version is none.
fn is_no_header(error: &RdbError) -> bool {
    matches!(error, RdbError::Bad { why: BadRdb::Magic | BadRdb::Version(_) | BadRdb::Cut, .. })
}

fn loss(path: &Path, from: u64, to: u64, keys: Vec<Vec<u8>>) -> Loss {
    Loss { path: path.to_owned(), from, to, keys, unnamed: Unnamed::default(), harmless: false }
}

impl Base for RdbBase<'_> {
    fn seed(&self) -> HashSeed {
        SEED
    }

    fn is_ordered(&self) -> bool {
        false
    }

    fn databases(&self) -> Vec<usize> {
        let mut found = std::collections::BTreeSet::new();
        // What is wrong here is told again when the entries are visited.
        let _ = self.events(&mut |event| {
            if let Told::Event(Event::Entry(part)) = event {
                found.insert(part.db as usize);
            }
            Ok(true)
        });
        found.into_iter().collect()
    }

    fn size(&self) -> (u64, u64) {
        let bytes = self.path.and_then(|path| path.metadata().ok()).map_or(0, |it| it.len());
        (bytes / 100, bytes)
    }

    fn libraries(&self) -> Libraries {
        if self.libraries.borrow().is_none() {
            let mut libraries = Libraries::default();
            // What is wrong here is told again when the entries are visited.
            let _ = self.events(&mut |told| {
                if let Told::Event(Event::Function(library)) = told {
                    load(&mut libraries, library);
                }
                Ok(true)
            });
            *self.libraries.borrow_mut() = Some(libraries);
        }
        self.libraries.borrow().clone().unwrap_or_default()
    }

    fn visit(&self, db: Option<usize>, range: RangeInclusive<u64>, visit: &mut Visit<'_>) -> Result<(), ToolError> {
        let (shaping, now) = (Shaping::new(SEED), now_ms());
        let (mut assembly, mut held): (_, Option<Held>) = (Assembly::default(), None);
        let mut emit = |of: u32, stored: &Stored<'_>, whole: &Whole<'_>| {
            let position = SEED.position(stored.key);
            if db.is_some_and(|db| db != of as usize) || !range.contains(&position) {
                return Ok(());
            }
            visit(of as usize, position, &stored.entry(whole))
        };
        self.walk(&mut |walked| {
            let Walked::Part(part) = walked else {
                held = None;
                return Ok(());
            };
            if let Some(held) = held.take() {
                held.give(&mut emit)?;
            }
            if assembly.is_open() && !part.stored.continues {
                // The rest of that value was left out, and has been reported.
                assembly = Assembly::default();
            }
            let access = match part.usage {
                Usage::Idle(seconds) => usage::of_idle(now, seconds.saturating_mul(1000)),
                Usage::Unknown | Usage::Frequency(_) => 0,
            };
            let stored = Stored { access, ..part.stored };
            match assembly.push(&stored, &shaping) {
                // What may still be withdrawn waits for the next part.
                Ok(Some(whole)) if self.damages.is_lenient() => held = Some(Held::of(part.db, &stored, whole)),
                Ok(Some(whole)) => emit(part.db, &stored, &whole)?,
                Ok(None) => {}
                Err(error) => {
                    assembly = Assembly::default();
                    self.bad_value(part.offset, stored.key, &error)?;
                }
            }
            Ok(())
        })?;
        held.map_or(Ok(()), |held| held.give(&mut emit))
    }
}

/// Takes whole entries.
type Emit<'e> = dyn FnMut(u32, &Stored<'_>, &Whole<'_>) -> Result<(), ToolError> + 'e;

/// An entry that may still be withdrawn.
struct Held {
    db: u32,
    key: Vec<u8>,
    kind: Kind,
    deadline: Option<u64>,
    access: u32,
    value: HeldValue,
}

enum HeldValue {
    String(Vec<u8>),
    Collection(Collection),
}

impl Held {
    fn of(db: u32, stored: &Stored<'_>, whole: Whole<'_>) -> Held {
        let value = match whole {
            Whole::String(bytes) => HeldValue::String(bytes.to_vec()),
            Whole::Collection(collection) => HeldValue::Collection(collection),
        };
        let &Stored { key, kind, deadline, access, .. } = stored;
        Held { db, key: key.to_vec(), kind, deadline, access, value }
    }

    fn give(self, emit: &mut Emit<'_>) -> Result<(), ToolError> {
        let Held { db, key, kind, deadline, access, value } = self;
        let stored = Stored { key: &key, kind, body: &[], deadline, access, continues: false, continued: false };
        match value {
            HeldValue::String(bytes) => emit(db, &stored, &Whole::String(&bytes)),
            HeldValue::Collection(collection) => emit(db, &stored, &Whole::Collection(collection)),
        }
    }
}

/// Takes a library of functions; one of a release candidate's gets the first line that it lacks.
fn load(libraries: &mut Libraries, library: &Library<'_>) {
    // The server that wrote it had understood it.
    let _ = match library {
        Library::Source(source) => libraries.load(source),
        Library::PreGa { name, engine, source } => {
            libraries.load(&[b"#!", *engine, b" name=", *name, b"\n", *source].concat())
        }
    };
}

/// What is not taken over, for people; `None` for what nobody misses.
fn skipped(what: &Skipped<'_>) -> Option<String> {
    match what {
        Skipped::ModuleValue { db, key, module } => {
            Some(format!("key {} of database {db} is left out: its value is module {module}'s", text::word(key, false)))
        }
        Skipped::ModuleAux(module) => Some(format!("data of module {module} is left out")),
        Skipped::Empty { db, key } => {
            Some(format!("key {} of database {db} is left out: it holds nothing", text::word(key, false)))
        }
        Skipped::Cluster => None,
    }
}

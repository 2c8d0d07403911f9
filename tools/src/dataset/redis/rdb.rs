//! An RDB file, or the RDB part of an append-only file, as a base of entries.
//!
//! A value whose content is damaged is left out, and reading goes on behind it. Where the structure is damaged, what follows is searched for
//! a place from which on several entries in a row, or the end, can be read. A length that has grown may take whole entries for a part of a value
//! and be found out only behind them: so what is within the last entry is searched first, for a place from which on reading comes past the damage.

use super::super::{Base, Damages, Loss, Visit};
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
use firn_engine::value::part::is_sound;
use firn_engine::value::{Collection, Kind, Shaping};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

/// So far behind structural damage is searched for entries.
const SEARCH_MAX: u64 = 64 * 1024 * 1024;
/// So much is searched at a time; as much again must be readable behind a place.
const SEARCH_STEP: usize = 1 << 20;
/// So many entries in a row must be readable for a place to be believed.
const BELIEVED_FROM: usize = 3;
/// No entry is as short as what is pushed out of one by a few bytes too many.
const PUSHED_OUT_MAX: u64 = 8;
/// The bar moves after so many bytes.
const PROGRESS_EVERY: u64 = 256 * 1024;
/// Parts go to the thread that puts values together in batches of about so many bytes, or so many parts; so many batches may wait.
const BATCH_LEN: usize = 128 * 1024;
const BATCH_PARTS: usize = 4096;
const BATCHES_MAX: usize = 8;
/// So much of what is left out is searched for keys' names.
const NAMES_WITHIN: u64 = 1 << 20;

/// See above; without a file it has no entries.
pub(crate) struct RdbBase<'d> {
    path: Option<&'d PathBuf>,
    end: &'d Cell<Option<u64>>,
    change: Option<Change>,
    damages: &'d Damages,
    /// Gathered when all was read.
    libraries: RefCell<Option<Libraries>>,
}

/// Names and values.
pub(crate) type Notes = Vec<(Vec<u8>, Vec<u8>)>;

/// Database and type.
type Place = (usize, &'static str);

/// Keys by database and type.
pub(crate) type Tally = BTreeMap<Place, u64>;

/// What [`RdbBase::walk`] comes across.
enum Walked<'e> {
    /// An entry, or a part of one.
    Part(EntryPart<'e>),
    /// The entry before was none.
    Withdrawn,
}

/// Parts on their way to another thread, their bytes one behind the other.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// `None` takes the last one back.
    parts: Vec<Option<Sent>>,
}

/// A part in a batch.
struct Sent {
    db: u32,
    offset: u64,
    /// Where its key ends, and its body; it begins where the one before ends.
    key_end: usize,
    end: usize,
    kind: Kind,
    continues: bool,
    continued: bool,
}

impl Batch {
    fn push(&mut self, part: &EntryPart<'_>) {
        let Stored { key, body, kind, continues, continued, .. } = part.stored;
        // A string that was read is whole: nothing but its type matters any more.
        if kind != Kind::String {
            self.bytes.extend_from_slice(key);
        }
        let key_end = self.bytes.len();
        if kind != Kind::String {
            self.bytes.extend_from_slice(body);
        }
        let end = self.bytes.len();
        self.parts.push(Some(Sent { db: part.db, offset: part.offset, key_end, end, kind, continues, continued }));
    }

    fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH_LEN || self.parts.len() >= BATCH_PARTS
    }
}

/// Values that make no sense: where, the key, why.
type BadValues = Vec<(u64, Box<[u8]>, BadEntry)>;

/// Puts values together and counts them. Batches that are done with go back.
fn build(receive: &mpsc::Receiver<Batch>, back: &mpsc::Sender<Batch>) -> (Tally, BadValues) {
    let (mut tally, mut bad, mut last) = (Tally::new(), Vec::new(), None);
    let (mut assembly, shaping) = (Assembly::default(), Shaping::new(SEED));
    // One count for a run of keys of the same type.
    let (mut run, mut run_len) = (None, 0);
    let mut settle = |run: Option<Place>, len: u64| {
        if let Some(place) = run.filter(|_| len > 0) {
            *tally.entry(place).or_default() += len;
        }
    };
    for mut batch in receive {
        let mut start = 0;
        for part in batch.parts.drain(..) {
            let Some(Sent { db, offset, key_end, end, kind, continues, continued }) = part else {
                if let Some(place) = last.take() {
                    // It was counted in the run that goes on.
                    debug_assert_eq!(run, Some(place));
                    run_len -= 1;
                }
                continue;
            };
            let (key, body) = (&batch.bytes[start..key_end], &batch.bytes[key_end..end]);
            start = end;
            if assembly.is_open() && !continues {
                assembly = Assembly::default();
            }
            let stored = Stored { key, kind, body, deadline: None, access: 0, continues, continued };
            // Most collections are small: they need not be made to be found whole.
            let whole = !continues && !continued && is_sound(kind, body);
            let pushed = if whole { Ok(true) } else { assembly.push(&stored, &shaping).map(|whole| whole.is_some()) };
            match pushed {
                Ok(true) => {
                    let place = Some((db as usize, kind.name()));
                    if run != place {
                        settle(run, run_len);
                        (run, run_len) = (place, 0);
                    }
                    run_len += 1;
                    last = place;
                }
                Ok(false) => {}
                Err(why) => {
                    (assembly, last) = (Assembly::default(), None);
                    bad.push((offset, key.into(), why));
                }
            }
        }
        batch.bytes.clear();
        // Whoever reads may have ended.
        let _ = back.send(batch);
    }
    settle(run, run_len);
    (tally, bad)
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
        damages: &'d Damages,
    ) -> Self {
        RdbBase { path, end, change, damages, libraries: RefCell::new(None) }
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
                let message = format!("{} bytes follow the end of the file", len - end);
                self.damages.report(finding(path, Severity::Damage, end, message))
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
        self.damages.lose(Loss { path: path.clone(), from: offset, to: offset, keys, harmless: false });
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
        let header = Reader::new(self.source(path, 0)?).map_err(|error| Self::error(path, &error))?.header();
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
        let mut reader = Reader::new(self.source(path, 0)?).map_err(|error| Self::error(path, &error))?;
        // Everything before this was read; a value that was left out has damaged the checksum too.
        let (mut good, mut damaged) = (reader.offset(), false);
        // Where the last entry begins, if nothing came between, and whether the visitor has it.
        let (mut last, mut last_key) = (None, Vec::new());
        let lenient = self.damages.is_lenient();
        loop {
            let error = match reader.next_event() {
                Ok(None) => {
                    self.end.set(Some(reader.offset()));
                    return Ok(());
                }
                Ok(Some(event)) => {
                    let (entry, unfinished) = match &event {
                        Event::Entry(part) if lenient => {
                            last_key.clear();
                            last_key.extend_from_slice(part.stored.key);
                            (Some((part.offset, true)), part.stored.continued)
                        }
                        _ => (None, false),
                    };
                    if !visit(Told::Event(&event))? {
                        return Ok(());
                    }
                    if !unfinished {
                        (good, last) = (reader.offset(), entry);
                    }
                    continue;
                }
                Err(error) => error,
            };
            let RdbError::Bad { offset, key, why } = &error else { return Err(Self::error(path, &error)) };
            if !lenient {
                return Err(Self::error(path, &error));
            }
            if let BadRdb::Checksum { .. } = why {
                if !damaged {
                    let message = format!(
                        "{why}: something was changed that can be read all the same; which key's it is, nothing tells"
                    );
                    self.damages.report(finding(path, Severity::Damage, *offset, message))?;
                }
                self.end.set(Some(reader.offset()));
                return Ok(());
            }
            damaged = true;
            let mut keys: Vec<Vec<u8>> = key.iter().map(|key| key.to_vec()).collect();
            let loss =
                |from: u64, to: u64, keys: Vec<Vec<u8>>| Loss { path: path.clone(), from, to, keys, harmless: false };
            if error.is_content() && reader.skip_value().is_ok() {
                let message =
                    format!("{why} (byte {offset}); {} bytes{} are left out", reader.offset() - good, with_keys(&keys));
                self.damages.report(finding(path, Severity::Damage, good, message))?;
                last_key = keys.first().cloned().unwrap_or_default();
                self.damages.lose(loss(good, reader.offset(), keys));
                // Its extent is not certain: if what follows cannot be read, it is searched as well.
                (last, good) = (Some((good, false)), reader.offset());
                continue;
            }
            let len = path.metadata().map_err(failed(path))?.len();
            let within = match last {
                Some((start, given)) => self.search(path, &reader, start, good, *offset)?.map(|to| (start, given, to)),
                None => None,
            };
            let (from, to) = match within {
                Some((start, given, to)) => {
                    if given {
                        visit(Told::Withdrawn)?;
                    }
                    keys = vec![last_key.clone()];
                    (start, Some(to))
                }
                None => {
                    // The end of the bytes tells nothing about where they went wrong.
                    let from = if *why == BadRdb::Cut { good } else { *offset };
                    let to = self.search(path, &reader, from, len, 0)?;
                    match last {
                        // Some bytes too many that belong to no entry: they were pushed out of the one before by others within it.
                        Some((start, true)) if to.is_some_and(|to| to - good <= PUSHED_OUT_MAX) => {
                            visit(Told::Withdrawn)?;
                            keys = vec![last_key.clone()];
                            (start, to)
                        }
                        _ => (good, to),
                    }
                }
            };
            let until = to.unwrap_or(len);
            if keys.is_empty() {
                keys.extend(names_in(&bytes_at(path, from, (until - from).min(NAMES_WITHIN))?));
            }
            let message = format!("{why} (byte {offset}); {} bytes{} are left out", until - from, with_keys(&keys));
            self.damages.report(finding(path, Severity::Damage, from, message))?;
            self.damages.lose(loss(from, until, keys));
            let Some(to) = to else { return Ok(()) };
            reader = Reader::resume(self.source(path, to)?, reader.header(), to, reader.db());
            (good, last) = (to, None);
        }
    }

    /// The first place behind `from` and before `to` from which on entries can be read, past `past`.
    fn search(
        &self,
        path: &Path,
        reader: &Reader<Source>,
        from: u64,
        to: u64,
        past: u64,
    ) -> Result<Option<u64>, ToolError> {
        let (mut at, to) = (from + 1, to.min(from.saturating_add(SEARCH_MAX)));
        while at < to {
            let bytes = bytes_at(path, at, SEARCH_STEP as u64 * 2)?;
            let is_last = bytes.len() < SEARCH_STEP * 2;
            for start in 0..bytes.len().min(SEARCH_STEP).min((to - at) as usize) {
                // Types, deadlines, databases, the end: nothing else begins an entry.
                if !matches!(bytes[start], 0..=25 | 248 | 249 | 251..=255) {
                    continue;
                }
                let (offset, rest) = (at + start as u64, &bytes[start..]);
                let probe = Reader::probe(rest, reader.header(), offset, reader.db());
                if believed(probe, offset, rest, is_last, past) {
                    return Ok(Some(offset));
                }
            }
            if is_last {
                return Ok(None);
            }
            at += SEARCH_STEP as u64;
        }
        Ok(None)
    }
}

/// Whether entries, or the end, can be read from here on, and past `past`. `is_last` says that the file ends with these bytes.
fn believed(mut reader: Reader<&[u8]>, offset: u64, bytes: &[u8], is_last: bool, past: u64) -> bool {
    let mut entries = 0;
    while entries < BELIEVED_FROM || reader.offset() <= past {
        match reader.next_event() {
            // Something of the kind that a writer makes: keys of any length occur, but not a run of empty ones.
            Ok(Some(Event::Entry(part))) if !part.stored.key.is_empty() => {
                entries += usize::from(!part.stored.continued);
            }
            Ok(Some(Event::End { .. })) => {
                // Nothing, or commands, must follow.
                let behind = &bytes[(reader.offset() - offset) as usize..];
                return behind.is_empty() && is_last || matches!(behind, [b'*', digit, ..] if digit.is_ascii_digit());
            }
            Ok(Some(Event::Database(_) | Event::Expected { .. })) => {}
            Err(RdbError::Bad { why: BadRdb::Cut, .. }) if !is_last => return entries > 0 && reader.offset() > past,
            _ => return false,
        }
    }
    true
}

/// What may be keys in bytes that cannot be read: the first string in them that is text, which is how a damaged entry begins.
fn names_in(bytes: &[u8]) -> Option<Vec<u8>> {
    (0..bytes.len()).find_map(|at| {
        let (len, from) = match bytes[at] {
            len @ 1..=63 => (usize::from(len), at + 1),
            high @ 64..=127 => (usize::from(high & 63) << 8 | usize::from(*bytes.get(at + 1)?), at + 2),
            _ => return None,
        };
        let text = bytes.get(from..from + len)?;
        let is_text = std::str::from_utf8(text).is_ok_and(|text| !text.contains(char::is_control));
        (is_text && len > 1).then(|| text.to_vec())
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_what_is_left_of_an_entry() {
        assert_eq!(names_in(b"\xff\x07key:500\xc7value"), Some(b"key:500".to_vec()));
        assert_eq!(names_in(b"\xff\xfe\x01"), None);
    }
}

//! Files of Redis and Valkey as datasets: an RDB file is a base; an append-only file, or a folder of several with a manifest, a base (its RDB
//! part, if it has one) and a tail.
//!
//! Entries come in the order of the file. A value whose content is damaged is reported and left out, and reading goes on behind it; where the
//! structure is damaged what follows is searched for entries that can be read.

use super::change::Change;
use super::{Base, Damages, Tail, Visit, VisitChange};
use crate::folder::{Finding, Severity};
use crate::moment::now_ms;
use crate::{ToolError, text};
use firn_engine::aof::manifest::{Manifest, Part};
use firn_engine::aof::{AofError, Command, CommandReader, Groups};
use firn_engine::key::HashSeed;
use firn_engine::keyspace::entry::{Assembly, Stored};
use firn_engine::keyspace::libraries::Libraries;
use firn_engine::rdb::{Event, Header, Library, RdbError, Reader, Usage};
use firn_engine::value::Shaping;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// Positions of entries that are not in a Firn file: they only have to be the same each time.
const SEED: HashSeed = HashSeed([0; 16]);
/// So far behind structural damage is searched for entries.
const SEARCH_MAX: u64 = 64 * 1024 * 1024;
/// So many entries in a row must be readable for a place to be believed.
const BELIEVED_FROM: usize = 3;

/// Files of one dataset, in the order in which they are read.
#[derive(Clone, Debug)]
pub(crate) struct RedisFiles {
    /// The files; the first may be, or begin with, an RDB file.
    paths: Vec<PathBuf>,
    /// What it is, in words.
    kind: &'static str,
}

/// How a file begins.
fn start(path: &Path) -> Vec<u8> {
    let mut bytes = [0; 64];
    let read = File::open(path).and_then(|mut file| file.read(&mut bytes)).unwrap_or(0);
    bytes[..read].to_vec()
}

fn is_rdb(start: &[u8]) -> bool {
    start
        .first_chunk()
        .is_some_and(|head: &[u8; Header::LEN]| head.starts_with(b"REDIS") || head.starts_with(b"VALKEY"))
}

fn is_commands(start: &[u8]) -> bool {
    matches!(start, [b'*', digit, ..] if digit.is_ascii_digit()) || start.starts_with(b"#TS:")
}

impl RedisFiles {
    /// What lies at `path`, if it is of this kind.
    pub(crate) fn at(path: &Path) -> Result<Option<RedisFiles>, ToolError> {
        if path.is_dir() {
            // A store may live in the folder that was Redis' before: then the store counts.
            if path.join("STORE").exists() {
                return Ok(None);
            }
            let entries = std::fs::read_dir(path).map_err(failed(path))?;
            let manifest = entries
                .flatten()
                .map(|entry| entry.path())
                .find(|path| path.extension().is_some_and(|it| it == "manifest"));
            return manifest.map(|manifest| RedisFiles::of_manifest(&manifest)).transpose();
        }
        if path.extension().is_some_and(|ending| ending == "manifest") {
            return RedisFiles::of_manifest(path).map(Some);
        }
        let start = start(path);
        let kind = match () {
            () if is_rdb(&start) && path.extension().is_some_and(|ending| ending == "aof") => {
                "an append-only file that begins with an RDB file"
            }
            () if is_rdb(&start) => "an RDB file",
            () if is_commands(&start) => "an append-only file",
            () => return Ok(None),
        };
        Ok(Some(RedisFiles { paths: vec![path.to_owned()], kind }))
    }

    fn of_manifest(path: &Path) -> Result<RedisFiles, ToolError> {
        let bytes = std::fs::read(path).map_err(failed(path))?;
        let manifest =
            Manifest::parse(&bytes).map_err(|bad| ToolError::Damage(format!("{}: {bad}", path.display())))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let files = manifest.to_read().filter(|file| file.part != Part::History);
        Ok(RedisFiles { paths: files.map(|file| folder.join(&file.name)).collect(), kind: "an append-only folder" })
    }

    /// What it is, in words.
    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    /// Length of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.paths.iter().filter_map(|path| path.metadata().ok()).map(|it| it.len()).sum()
    }

    /// The base, with or without entries.
    pub(crate) fn base<'d>(&self, damages: &'d Damages) -> RdbBase<'d> {
        let rdb = self.paths.first().filter(|path| is_rdb(&start(path)));
        RdbBase { path: rdb.cloned(), damages }
    }

    /// The commands behind it.
    pub(crate) fn tail<'d>(&self, damages: &'d Damages) -> AofTail<'d> {
        AofTail { paths: self.paths.clone(), damages }
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> ToolError + '_ {
    move |error| ToolError::Unreadable(format!("{}: {error}", path.display()))
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// An RDB file, or the RDB part of an append-only file; or nothing.
pub(crate) struct RdbBase<'d> {
    path: Option<PathBuf>,
    damages: &'d Damages,
}

/// What a visitor of events wants next.
type VisitEvent<'v> = dyn FnMut(&Event<'_>) -> Result<bool, ToolError> + 'v;

impl RdbBase<'_> {
    fn open(&self, path: &Path) -> Result<Reader<BufReader<File>>, ToolError> {
        let file = File::open(path).map_err(failed(path))?;
        Reader::new(BufReader::with_capacity(1 << 18, file)).map_err(|error| self.error(path, &error))
    }

    fn error(&self, path: &Path, error: &RdbError) -> ToolError {
        match error {
            RdbError::Read { .. } => ToolError::Unreadable(format!("{}: {error}", path.display())),
            RdbError::Bad { .. } => ToolError::Damage(format!("{}: {error}", path.display())),
        }
    }

    fn report(&self, path: &Path, offset: u64, message: String) -> Result<(), ToolError> {
        let (severity, file) = (Severity::Damage, name(path));
        self.damages.report(Finding { severity, file, offset: Some(offset), lsn: None, message })
    }

    /// Visits all events until the visitor has enough; damage is reported.
    fn events(&self, visit: &mut VisitEvent<'_>) -> Result<(), ToolError> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut reader = self.open(path)?;
        loop {
            let error = match reader.next_event() {
                Ok(None) => return Ok(()),
                Ok(Some(event)) => {
                    if !visit(&event)? {
                        return Ok(());
                    }
                    continue;
                }
                Err(error) => error,
            };
            if let RdbError::Read { .. } = error {
                return Err(self.error(path, &error));
            }
            let RdbError::Bad { offset, key, why } = &error else { unreachable!("the other kind was handled") };
            let key =
                key.as_ref().map_or(String::new(), |key| format!(" in the value of key {}", text::word(key, false)));
            if error.is_content() && reader.skip_value().is_ok() {
                self.report(path, *offset, format!("{why}{key}; the key is left out"))?;
                continue;
            }
            let found = self.search(path, &reader, *offset)?;
            let to = found.map_or("the end".to_owned(), |to| format!("byte {to}"));
            self.report(path, *offset, format!("{why}{key}; what is between here and {to} is left out"))?;
            let Some(to) = found else { return Ok(()) };
            let mut file = File::open(path).map_err(failed(path))?;
            file.seek(SeekFrom::Start(to)).map_err(failed(path))?;
            reader = Reader::resume(BufReader::with_capacity(1 << 18, file), reader.header(), to, reader.db());
        }
    }

    /// The next place from which on entries can be read.
    fn search(&self, path: &Path, reader: &Reader<BufReader<File>>, from: u64) -> Result<Option<u64>, ToolError> {
        const STEP: usize = 1 << 20;
        let mut file = File::open(path).map_err(failed(path))?;
        let mut bytes = Vec::new();
        let mut at = from + 1;
        while at < from + SEARCH_MAX {
            file.seek(SeekFrom::Start(at)).map_err(failed(path))?;
            bytes.clear();
            (&mut file).take(STEP as u64 * 2).read_to_end(&mut bytes).map_err(failed(path))?;
            if bytes.is_empty() {
                return Ok(None);
            }
            let last = bytes.len() < STEP * 2;
            for start in 0..bytes.len().min(STEP) {
                // Types, deadlines, databases, the end: nothing else begins an entry.
                if !matches!(bytes[start], 0..=25 | 248 | 249 | 252..=255) {
                    continue;
                }
                let offset = at + start as u64;
                if believed(Reader::resume(&bytes[start..], reader.header(), offset, reader.db())) {
                    return Ok(Some(offset));
                }
            }
            if last {
                return Ok(None);
            }
            at += STEP as u64;
        }
        Ok(None)
    }
}

/// Whether entries can be read from here on.
fn believed(mut reader: Reader<&[u8]>) -> bool {
    let mut entries = 0;
    while entries < BELIEVED_FROM {
        match reader.next_event() {
            // Something of the kind that a writer makes: keys of any length occur, but not a run of empty ones.
            Ok(Some(Event::Entry(part))) if !part.stored.key.is_empty() => entries += 1,
            Ok(Some(Event::End { .. })) => return entries > 0,
            Ok(Some(Event::Database(_) | Event::Expected { .. })) => {}
            _ => return false,
        }
    }
    true
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
        let _ = self.events(&mut |event| {
            if let Event::Entry(part) = event {
                found.insert(part.db as usize);
            }
            Ok(true)
        });
        found.into_iter().collect()
    }

    fn size(&self) -> (u64, u64) {
        let bytes = self.path.as_ref().and_then(|path| path.metadata().ok()).map_or(0, |it| it.len());
        (bytes / 100, bytes)
    }

    fn libraries(&self) -> Libraries {
        let mut libraries = Libraries::default();
        let _ = self.events(&mut |event| {
            if let Event::Function(Library::Source(source)) = event {
                let _ = libraries.load(source);
            }
            // Libraries come before the keys.
            Ok(!matches!(event, Event::Entry(_)))
        });
        libraries
    }

    fn visit(&self, db: Option<usize>, range: RangeInclusive<u64>, visit: &mut Visit<'_>) -> Result<(), ToolError> {
        let shaping = Shaping::new(SEED);
        let mut assembly = Assembly::default();
        let now = now_ms();
        let Some(path) = &self.path else { return Ok(()) };
        let bar = text::progress(path.metadata().map_or(0, |it| it.len()), "reading");
        self.events(&mut |event| {
            let part = match event {
                Event::Entry(part) => part,
                Event::Skipped { what, offset } => {
                    eprintln!("firn: {} at byte {offset}: {what:?} is not taken over", name(path));
                    return Ok(true);
                }
                _ => return Ok(true),
            };
            bar.set_position(part.offset);
            let access = match part.usage {
                Usage::Idle(seconds) => (((now / 1000).saturating_sub(seconds) & 0x00ff_ffff) as u32).max(1),
                Usage::Unknown | Usage::Frequency(_) => 0,
            };
            let stored = Stored { access, ..part.stored };
            match assembly.push(&stored, &shaping) {
                Ok(Some(whole)) => {
                    let position = SEED.position(stored.key);
                    if db.is_none_or(|db| db == part.db as usize) && range.contains(&position) {
                        visit(part.db as usize, position, &stored.entry(&whole))?;
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    assembly = Assembly::default();
                    // Of a value that was left out only the beginning had come.
                    self.report(path, part.offset, format!("key {}: {error}", text::word(stored.key, false)))?;
                }
            }
            Ok(true)
        })?;
        bar.finish_and_clear();
        Ok(())
    }
}

/// Commands of append-only files.
pub(crate) struct AofTail<'d> {
    paths: Vec<PathBuf>,
    damages: &'d Damages,
}

impl AofTail<'_> {
    fn file(&self, path: &Path, last: bool, visit: &mut VisitChange<'_>) -> Result<(), ToolError> {
        let rdb = is_rdb(&start(path));
        let file = File::open(path).map_err(failed(path))?;
        let buffered = BufReader::with_capacity(1 << 18, file);
        let (source, offset): (Box<dyn Read>, u64) = if rdb {
            let bad = |error: RdbError| ToolError::Damage(format!("{}: {error}", path.display()));
            let mut reader = Reader::new(buffered).map_err(bad)?;
            loop {
                let error = match reader.next_event() {
                    Ok(Some(_)) => continue,
                    Ok(None) => break,
                    Err(error) => error,
                };
                if !self.damages.is_lenient() {
                    return Err(bad(error));
                }
                if !(error.is_content() && reader.skip_value().is_ok()) {
                    // The base has reported it; where commands begin is not known then.
                    return Ok(());
                }
            }
            let offset = reader.offset();
            (Box::new(reader.into_rest()), offset)
        } else {
            (Box::new(buffered), 0)
        };
        let shown = name(path);
        let mut groups = Groups::new(CommandReader::new(source, offset));
        let mut group: Vec<Command> = Vec::new();
        let mut db = 0usize;
        loop {
            let error = match groups.take(&mut group) {
                Ok(true) => {
                    for command in &group {
                        let words: Vec<&[u8]> = command.words().collect();
                        if command.is("SELECT") {
                            let number = words.get(1).and_then(|word| firn_engine::number::parse_integer(word));
                            db = number.and_then(|number| usize::try_from(number).ok()).unwrap_or(db);
                            continue;
                        }
                        let time_ms = command.time.map(|seconds| seconds * 1000);
                        visit(&Change { file: &shown, offset: command.offset, lsn: None, time_ms, db, words: &words })?;
                    }
                    continue;
                }
                Ok(false) => return Ok(()),
                Err(error) => error,
            };
            let finding = |severity, message: String| Finding {
                severity,
                file: shown.clone(),
                offset: Some(error.offset()),
                lsn: None,
                message,
            };
            match &error {
                AofError::Read { source, .. } => return Err(ToolError::Unreadable(format!("{shown}: {source}"))),
                // What a server that died while it wrote leaves.
                AofError::Cut { .. } if last => {
                    if self.damages.is_lenient() {
                        self.damages.report(finding(Severity::Note, "a tail that was cut".to_owned()))?;
                    }
                    return Ok(());
                }
                AofError::Cut { .. } => return self.damages.report(finding(Severity::Damage, error.to_string())),
                AofError::Bad { why, .. } => {
                    // Only a lenient reader comes behind this.
                    let found = if self.damages.is_lenient() { next_command(path, error.offset())? } else { None };
                    let to = found.map_or("the end".to_owned(), |to| format!("byte {to}"));
                    self.damages.report(finding(
                        Severity::Damage,
                        format!("{why}; what is between here and {to} is left out"),
                    ))?;
                    let Some(to) = found else { return Ok(()) };
                    let mut file = File::open(path).map_err(failed(path))?;
                    file.seek(SeekFrom::Start(to)).map_err(failed(path))?;
                    groups = Groups::new(CommandReader::new(
                        Box::new(BufReader::with_capacity(1 << 18, file)) as Box<dyn Read>,
                        to,
                    ));
                }
            }
        }
    }
}

/// Where the next command begins that this release knows, behind damage.
fn next_command(path: &Path, from: u64) -> Result<Option<u64>, ToolError> {
    const STEP: u64 = 1 << 20;
    let mut file = File::open(path).map_err(failed(path))?;
    let (mut at, mut bytes) = (from + 1, Vec::new());
    loop {
        file.seek(SeekFrom::Start(at)).map_err(failed(path))?;
        bytes.clear();
        (&mut file).take(STEP * 2).read_to_end(&mut bytes).map_err(failed(path))?;
        for start in (0..bytes.len().min(STEP as usize)).filter(|start| bytes[*start] == b'*') {
            let mut command = Command::default();
            let mut reader = CommandReader::new(&bytes[start..], at + start as u64);
            let known = matches!(reader.take(&mut command), Ok(true))
                && command.words().next().is_some_and(|word| {
                    firn_engine::command::table::find(word).is_some()
                        || [&b"SELECT"[..], b"MULTI"].iter().any(|known| word.eq_ignore_ascii_case(known))
                });
            if known {
                return Ok(Some(at + start as u64));
            }
        }
        if (bytes.len() as u64) < STEP * 2 {
            return Ok(None);
        }
        at += STEP;
    }
}

impl Tail for AofTail<'_> {
    fn visit(&self, visit: &mut VisitChange<'_>) -> Result<(), ToolError> {
        for (at, path) in self.paths.iter().enumerate() {
            self.file(path, at + 1 == self.paths.len(), visit)?;
        }
        Ok(())
    }
}

//! Reads RDB and append-only files into an engine.

use super::{ImportError, ImportReport};
use crate::aof::{AofError, Command, CommandReader, Groups};
use crate::command::{Args, Flags, NoReply, Session, table};
use crate::engine::Engine;
use crate::keyspace::entry::{Assembly, Whole};
use crate::keyspace::{Deadline, usage};
use crate::rdb::{BadRdb, EntryPart, Event, Library, RdbError, Reader, Skipped, Usage, functions};
use std::io::Read;

/// Advice where a file is damaged.
const RDB_ADVICE: &str =
    "nothing was changed. `firn check` says what is damaged, `firn repair` makes a copy without it";
const AOF_ADVICE: &str = "nothing was changed. `firn repair` makes a copy without what is damaged; if only the end of the last file is missing, \
                          `aof-load-truncated yes` accepts that";
/// Progress is told after so many entries or commands.
const TELL_EVERY: u64 = 1 << 16;
/// Of many alike, so many warnings are told one by one.
const WARNINGS_MAX: u64 = 10;

/// Takes files.
pub struct Importer<'e> {
    engine: &'e mut Engine,
    session: Session,
    progress: Option<fn(&str, u64, u64)>,
    report: ImportReport,
    /// Keys that were skipped, by kind, and commands that failed: after the first few they are only counted.
    alike: [u64; 3],
}

impl std::fmt::Debug for Importer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Importer").field("report", &self.report).finish_non_exhaustive()
    }
}

const MODULES: usize = 0;
const EMPTY: usize = 1;
const FAILED: usize = 2;

impl<'e> Importer<'e> {
    pub(super) fn new(engine: &'e mut Engine, progress: Option<fn(&str, u64, u64)>) -> Importer<'e> {
        engine.replaying = true;
        Importer { engine, session: Session::default(), progress, report: ImportReport::default(), alike: [0; 3] }
    }

    /// Adds to what a person is told in the end.
    pub fn warn(&mut self, text: String) {
        self.report.warnings.push(text);
    }

    fn warn_some(&mut self, kind: usize, text: impl FnOnce() -> String) {
        self.alike[kind] += 1;
        if self.alike[kind] <= WARNINGS_MAX {
            self.report.warnings.push(text());
        }
    }

    pub(super) fn finish(mut self, source: String) -> ImportReport {
        self.engine.replaying = false;
        self.engine.dirty = 0;
        let kinds = ["keys of modules were left out", "empty keys were left out", "commands answered an error"];
        for (count, what) in self.alike.into_iter().zip(kinds) {
            if count > WARNINGS_MAX {
                self.report.warnings.push(format!("in all {count} {what}"));
            }
        }
        self.report.source = source;
        self.report
    }

    fn tell(&self, file: &str, done: u64, of: u64) {
        if let Some(progress) = self.progress {
            progress(&format!("importing {file} (bytes)"), done, of);
        }
    }

    /// Imports a whole RDB file of `len` bytes (0: unknown). Keys that are dead already are left out.
    ///
    /// # Errors
    /// [`ImportError`].
    pub fn rdb<R: Read>(&mut self, file: &str, source: R, len: u64) -> Result<(), ImportError> {
        self.rdb_part(file, source, len, false).map(drop)
    }

    /// Imports an RDB file, and gives what stands behind it and where. In front of commands, dead keys count: a command may save them.
    fn rdb_part<R: Read>(
        &mut self,
        file: &str,
        source: R,
        len: u64,
        preamble: bool,
    ) -> Result<(impl Read + use<R>, u64), ImportError> {
        let bad = |source| ImportError::Rdb { file: file.to_owned(), source, advice: RDB_ADVICE };
        let mut reader = Reader::new(source).map_err(bad)?;
        let version = reader.header().version;
        let mut assembly = Assembly::default();
        let mut told = 0;
        while let Some(event) = reader.next_event().map_err(bad)? {
            match event {
                Event::Entry(part) => {
                    self.entry(file, &part, &mut assembly, preamble)?;
                    told += u64::from(!part.stored.continued);
                    if told == TELL_EVERY {
                        told = 0;
                        self.tell(file, reader.offset(), len);
                    }
                }
                Event::Function(library) => self.function(file, &library),
                Event::Skipped { what: Skipped::ModuleValue { db, key, module }, offset } => {
                    let key = key.escape_ascii().to_string();
                    self.warn_some(MODULES, || {
                        format!("{file}, byte {offset}: key \"{key}\" of database {db} is left out: its value is module {module}'s")
                    });
                }
                Event::Skipped { what: Skipped::ModuleAux(module), offset } => {
                    self.warn(format!("{file}, byte {offset}: data of module {module} is left out"));
                }
                Event::Skipped { what: Skipped::Empty { db, key }, offset } => {
                    let key = key.escape_ascii().to_string();
                    self.warn_some(EMPTY, || {
                        format!("{file}, byte {offset}: key \"{key}\" of database {db} is left out: it holds nothing")
                    });
                }
                Event::End { verified: false } if version >= 5 => {
                    self.warn(format!("{file} has no checksum: it was written with rdbchecksum no"));
                }
                _ => {}
            }
        }
        let offset = reader.offset();
        Ok((reader.into_rest(), offset))
    }

    fn function(&mut self, file: &str, library: &Library<'_>) {
        match library {
            Library::Source(source) => self.load_library(file, source),
            Library::PreGa { name, .. } => {
                let name = name.escape_ascii();
                self.warn(format!(
                    "{file}: the function library \"{name}\" is NOT imported: it has the form of Redis 7.0's release candidates"
                ));
            }
        }
    }

    /// Takes a library over as text, as the log does; it is compiled when it is there.
    fn load_library(&mut self, place: &str, source: &[u8]) {
        match self.engine.keyspace.libraries.load(source) {
            Ok(()) => self.report.libraries += 1,
            Err(error) => {
                let line = source.split(|byte| *byte == b'\n').next().unwrap_or_default().escape_ascii();
                self.warn(format!("{place}: the function library \"{line}\" is NOT imported: {error}"));
            }
        }
    }

    /// FUNCTION with a subcommand that changes libraries, as clients sent it.
    fn function_command(&mut self, place: &str, words: &[&[u8]]) {
        let is = |at: usize, word: &str| words.get(at).is_some_and(|is| is.eq_ignore_ascii_case(word.as_bytes()));
        let libraries = &mut self.engine.keyspace.libraries;
        match words {
            [_, _, .., source] if is(1, "LOAD") => self.load_library(place, source),
            [_, _, name] if is(1, "DELETE") => {
                libraries.delete(name);
            }
            _ if is(1, "FLUSH") => {
                libraries.flush();
            }
            [_, _, payload, ..] if is(1, "RESTORE") => match functions::decode(payload) {
                Ok(sources) => {
                    if is(3, "FLUSH") {
                        libraries.flush();
                    }
                    sources.iter().for_each(|source| self.load_library(place, source));
                }
                Err(error) => self.warn(format!("{place}: FUNCTION RESTORE is NOT carried out: {error}")),
            },
            _ => self.warn(format!("{place}: a FUNCTION command that is not known is NOT carried out")),
        }
    }

    fn entry(
        &mut self,
        file: &str,
        part: &EntryPart<'_>,
        assembly: &mut Assembly,
        preamble: bool,
    ) -> Result<(), ImportError> {
        let content = |why: String| ImportError::Content { file: file.to_owned(), offset: part.offset, why };
        let stored = &part.stored;
        let shaping = &self.engine.settings.shaping;
        let whole = assembly.push(stored, shaping).map_err(|why| {
            let why = match why {
                crate::keyspace::entry::BadEntry::Value(why) => BadRdb::Value(why),
                _ => BadRdb::Cut,
            };
            let source = RdbError::Bad { offset: part.offset, key: Some(stored.key.into()), why };
            ImportError::Rdb { file: file.to_owned(), source, advice: RDB_ADVICE }
        })?;
        let Some(whole) = whole else { return Ok(()) };
        let databases = self.engine.keyspace.databases();
        let db = part.db as usize;
        if db >= databases {
            return Err(content(format!(
                "database {db} is in use, but `databases` is {databases}: raise it to {} or more",
                db + 1
            )));
        }
        let now_ms = self.engine.now_ms;
        if !preamble && stored.deadline.is_some_and(|at| at <= now_ms) {
            self.report.expired += 1;
            return Ok(());
        }
        let key = self.engine.keyspace.seed().key(stored.key);
        let lfu = self.engine.settings.memory.lfu();
        let access = match part.usage {
            Usage::Idle(seconds) if !lfu => usage::of_idle(now_ms, seconds.saturating_mul(1000)),
            Usage::Frequency(count) if lfu => usage::of_frequency(now_ms, count),
            _ => 0,
        };
        let database = self.engine.keyspace.db_mut(db);
        if database.get(key).is_some() {
            return Err(content(format!("key \"{}\" occurs twice; {RDB_ADVICE}", stored.key.escape_ascii())));
        }
        match whole {
            Whole::String(bytes) => {
                database.set_string(key, bytes, stored.deadline.map_or(Deadline::Clear, Deadline::At));
            }
            Whole::Collection(collection) => database.put_collection(key, collection, stored.deadline),
        }
        database.set_access(key, access);
        self.report.keys += 1;
        Ok(())
    }

    /// Imports an append-only file of `len` bytes (0: unknown), behind whatever was imported before. If it is the `last` one, it may end inside a
    /// command or transaction, which then does not count.
    ///
    /// # Errors
    /// [`ImportError`].
    pub fn aof<R: Read>(&mut self, file: &str, mut source: R, len: u64, last: bool) -> Result<(), ImportError> {
        // Every Redis begins with database 0 in every file.
        self.session.db = 0;
        let mut head = Vec::new();
        (&mut source).take(6).read_to_end(&mut head).map_err(ImportError::io("reading", file))?;
        let is_rdb = head.starts_with(b"REDIS") || head.starts_with(b"VALKEY");
        let whole = std::io::Cursor::new(head).chain(source);
        if is_rdb {
            let (rest, offset) = self.rdb_part(file, whole, len, true)?;
            self.commands(file, rest, offset, len, last)
        } else {
            self.commands(file, whole, 0, len, last)
        }
    }

    fn commands(
        &mut self,
        file: &str,
        source: impl Read,
        offset: u64,
        len: u64,
        last: bool,
    ) -> Result<(), ImportError> {
        let mut groups = Groups::new(CommandReader::new(source, offset));
        let mut group = Vec::new();
        let mut told = 0;
        loop {
            match groups.take(&mut group) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(AofError::Cut { offset }) if last => {
                    self.warn(format!(
                        "{file} ends inside the command or transaction that begins at byte {offset}: that one does not count (aof-load-truncated)"
                    ));
                    return Ok(());
                }
                Err(source) => return Err(ImportError::Aof { file: file.to_owned(), source, advice: AOF_ADVICE }),
            }
            for command in &group {
                self.command(file, command)?;
            }
            told += group.len() as u64;
            if told >= TELL_EVERY {
                told = 0;
                self.tell(file, groups.offset(), len);
            }
        }
    }

    fn command(&mut self, file: &str, command: &Command) -> Result<(), ImportError> {
        let content = |why: String| ImportError::Content { file: file.to_owned(), offset: command.offset, why };
        let words: Vec<&[u8]> = command.words().collect();
        let name = || String::from_utf8_lossy(words[0]).escape_debug().to_string();
        let known = table::find(words[0]).filter(|known| {
            // Of a container (XGROUP) the subcommand says what it does.
            let sub = words.get(1).and_then(|word| known.spec.subcommand(word));
            let flags = sub.unwrap_or(&known.spec).flags;
            known.spec.name == "SELECT" || flags.has(Flags::WRITE) && !flags.has(Flags::INTERNAL)
        });
        let Some(known) = known else { return self.other_command(file, command, &words) };
        if !known.spec.arity.fits(words.len()) {
            return Err(content(format!("'{}' with {} words is no command; {AOF_ADVICE}", name(), words.len())));
        }
        let mut reply = NoReply::default();
        self.engine.execute(&mut self.session, known, &Args::new(&words), &mut reply);
        self.report.commands += 1;
        match reply.error {
            None => Ok(()),
            Some(error) if known.spec.name == "SELECT" => {
                let databases = self.engine.keyspace.databases();
                Err(content(format!("SELECT failed ({error}): `databases` is {databases}, raise it")))
            }
            Some(error) => {
                // As in Redis, whose files hold such commands where its own versions differ.
                let text = format!("{file}, byte {}: '{}' answered an error: {error}", command.offset, name());
                self.warn_some(FAILED, || text);
                Ok(())
            }
        }
    }

    /// What is no command on data.
    fn other_command(&mut self, file: &str, command: &Command, words: &[&[u8]]) -> Result<(), ImportError> {
        let harmless = ["PING", "PUBLISH", "SPUBLISH", "REPLCONF", "SCRIPT"];
        if harmless.into_iter().any(|name| command.is(name)) {
            return Ok(());
        }
        let name = String::from_utf8_lossy(words[0]).escape_debug().to_string();
        if command.is("FUNCTION") {
            self.function_command(&format!("{file}, byte {}", command.offset), words);
            self.report.commands += 1;
            return Ok(());
        }
        Err(ImportError::Content {
            file: file.to_owned(),
            offset: command.offset,
            why: format!("'{name}' is no command on data, and an imported file may run no other; {AOF_ADVICE}"),
        })
    }
}

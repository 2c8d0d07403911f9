//! JSON Lines as a base: one entry a line, as `firn convert --format jsonl` and `firn get --json` write them (see `json`); and the rows of tables
//! ([`tables`]), which are the same objects.
//!
//! A line becomes the commands that make its entry ([`rows`]), which an engine of one key runs: so whatever a line says is checked as a client's
//! words are.

use super::rows::{self, Row};
use super::state::Small;
use super::{Base, Damages, Visit, tables};
use crate::ToolError;
use crate::folder::{Finding, Severity};
use crate::moment::now_ms;
use firn_engine::key::HashSeed;
use firn_engine::keyspace::libraries::Libraries;
use firn_engine::limits::DATABASES_MAX;
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// Longest line.
const LINE_LEN_MAX: u64 = 2 << 30;

/// How rows are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// One object a line.
    Json,
    /// A table as text.
    Csv,
    /// A table as Parquet.
    Parquet,
}

/// A file of rows.
#[derive(Clone, Debug)]
pub(crate) struct RowFile {
    path: PathBuf,
    form: Form,
}

impl RowFile {
    /// The file at `path`, if it begins as one of the forms does.
    pub(crate) fn at(path: &Path) -> Option<RowFile> {
        let mut start = [0; 64];
        let read = File::open(path).and_then(|mut file| file.read(&mut start)).unwrap_or(0);
        let start = &start[..read];
        let form = match () {
            () if start.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') => Form::Json,
            () if start.starts_with(tables::CSV_HEAD.as_bytes()) => Form::Csv,
            () if start.starts_with(crate::parquet::MAGIC) => Form::Parquet,
            // Of a dataset without keys.
            () if start.is_empty()
                && path.is_file()
                && path.extension().is_some_and(|it| it.eq_ignore_ascii_case("jsonl")) =>
            {
                Form::Json
            }
            () => return None,
        };
        Some(RowFile { path: path.to_owned(), form })
    }

    /// What it is, in words.
    pub(crate) fn kind(&self) -> &'static str {
        match self.form {
            Form::Json => "JSON Lines",
            Form::Csv => "a CSV table",
            Form::Parquet => "a Parquet table",
        }
    }

    /// Its length.
    pub(crate) fn bytes(&self) -> u64 {
        self.path.metadata().map_or(0, |it| it.len())
    }

    /// Visits the rows.
    fn rows(&self, row: &mut rows::Take<'_, ToolError>) -> Result<(), ToolError> {
        let failed = |error: io::Error| ToolError::Unreadable(format!("{}: {error}", crate::spool::name(&self.path)));
        match self.form {
            Form::Csv => return tables::csv(&self.path, row),
            Form::Parquet => return tables::parquet(&self.path, row),
            Form::Json => {}
        }
        let mut reader = BufReader::with_capacity(1 << 18, File::open(&self.path).map_err(failed)?);
        let (mut line, mut number) = (Vec::new(), 0u64);
        loop {
            line.clear();
            number += 1;
            if (&mut reader).take(LINE_LEN_MAX).read_until(b'\n', &mut line).map_err(failed)? == 0 {
                return Ok(());
            }
            if !line.iter().all(u8::is_ascii_whitespace) {
                row(number, Row::of_line(&line))?;
            }
        }
    }
}

/// The rows of a file as a base.
pub(crate) struct Lines<'d> {
    file: &'d RowFile,
    damages: &'d Damages,
    /// Known when all entries have been visited.
    libraries: RefCell<Libraries>,
}

impl<'d> Lines<'d> {
    /// Of a file.
    pub(crate) fn new(file: &'d RowFile, damages: &'d Damages) -> Self {
        Lines { file, damages, libraries: RefCell::default() }
    }
}

impl Base for Lines<'_> {
    fn seed(&self) -> HashSeed {
        HashSeed([0; 16])
    }

    fn is_ordered(&self) -> bool {
        false
    }

    fn databases(&self) -> Vec<usize> {
        let mut found = std::collections::BTreeSet::new();
        // What is wrong here is told again when the entries are visited.
        let _ = self.visit(None, 1..=u64::MAX, &mut |db, _, _| {
            found.insert(db);
            Ok(())
        });
        found.into_iter().collect()
    }

    fn size(&self) -> (u64, u64) {
        (0, 0)
    }

    fn libraries(&self) -> Libraries {
        self.libraries.borrow().clone()
    }

    fn visit(&self, db: Option<usize>, range: RangeInclusive<u64>, visit: &mut Visit<'_>) -> Result<(), ToolError> {
        let name = crate::spool::name(&self.file.path);
        let what = if self.file.form == Form::Json { "line" } else { "row" };
        let empty = || {
            let mut small = Small::new(self.seed(), DATABASES_MAX.min(1024));
            // Times of delivery are compared with it.
            small.engine.now_ms = now_ms();
            small
        };
        let mut small = empty();
        self.libraries.borrow_mut().flush();
        self.file.rows(&mut |number, row| {
            let row = match row {
                Ok(Row::Library(source)) => {
                    let loaded = self.libraries.borrow_mut().load(&source).map_err(|bad| bad.to_string());
                    let Err(message) = loaded else { return Ok(()) };
                    Err(message)
                }
                Ok(Row::Key(object)) => object.make(&name, number, &mut small),
                Err(message) => Err(message),
            };
            let (at, key, access) = match row {
                Ok(made) => made,
                Err(message) => {
                    let (severity, file) = (Severity::Damage, name.clone());
                    let message = format!("{what} {number}: {message}");
                    self.damages.report(Finding { severity, file, offset: None, lsn: None, message })?;
                    small = empty();
                    return Ok(());
                }
            };
            let place = self.seed().key(&key);
            if access != 0 {
                small.engine.keyspace.db_mut(at).set_access(place, access << 8); // Lines have what files have.
            }
            if let Some(entry) = small.engine.keyspace.db(at).get(place)
                && db.is_none_or(|db| db == at)
                && range.contains(&place.position)
            {
                visit(at, place.position, &entry)?;
            }
            small.engine.keyspace.db_mut(at).remove(place);
            while small.engine.keyspace.pop_dead().is_some() {}
            Ok(())
        })
    }
}

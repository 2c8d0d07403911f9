//! What every subcommand works on, whatever kind of file it lies in.
//!
//! - A **state**: entries (database, key, value, deadline, access), each once. [`Dataset::state`] visits them.
//! - A **history**: changes in order (file, offset, LSN, time, commands). [`Dataset::history`] visits them.
//!
//! Kinds offer a [`Base`] (entries as a file has them), a [`Tail`] (changes on top of it), or both; [`state`] makes the state of the two
//! in bounded memory. Nothing here writes.

pub(crate) mod change;
pub(crate) mod firn;
pub(crate) mod firn_tail;
pub(crate) mod keys;
pub(crate) mod lines;
pub(crate) mod redis;
mod rows;
mod spread;
pub(crate) mod state;
pub(crate) mod tables;

use crate::choice::Choice;
use crate::folder::{Finding, Severity};
use crate::moment::Moment;
use crate::target::{Kind, Target};
use crate::{Outcome, ToolError, spool};
use change::Change;
use firn::{FirnStore, SnapshotBase};
use firn_engine::disk::Disk;
use firn_engine::key::HashSeed;
use firn_engine::keyspace::Entry;
use firn_engine::keyspace::libraries::Libraries;
use firn_engine::log::Lsn;
use firn_engine::snapshot::reader::SnapshotReader;
use firn_tail::SegmentHistory;
use lines::{Lines, RowFile};
use redis::RedisFiles;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// Takes entries: database, position under the base's seed, entry.
pub(crate) type Visit<'v> = dyn FnMut(usize, u64, &Entry<'_>) -> Result<(), ToolError> + 'v;
/// Takes changes.
pub(crate) type VisitChange<'v> = dyn FnMut(&Change<'_>) -> Result<(), ToolError> + 'v;

/// Memory that a state may take while it is made of a base and a tail, in bytes, unless `--memory` says otherwise.
pub(crate) const MEMORY_DEFAULT: u64 = 64 * 1024 * 1024;

/// Entries as a file has them.
pub(crate) trait Base {
    /// The seed of positions.
    fn seed(&self) -> HashSeed;
    /// Whether [`Base::visit`] gives the entries of a database in order of position.
    fn is_ordered(&self) -> bool;
    /// Databases that have entries.
    fn databases(&self) -> Vec<usize>;
    /// How many entries, and how long they are, about.
    fn size(&self) -> (u64, u64);
    /// The snapshot behind it, in which one key can be found.
    fn snapshot(&self) -> Option<&SnapshotReader> {
        None
    }
    /// Libraries of functions.
    fn libraries(&self) -> Libraries {
        Libraries::default()
    }
    /// Visits the entries of one database, or of all, whose positions are in `range`.
    fn visit(&self, db: Option<usize>, range: RangeInclusive<u64>, visit: &mut Visit<'_>) -> Result<(), ToolError>;
}

/// Changes on top of a base.
pub(crate) trait Tail {
    /// Visits all of them in order; the same ones each time.
    fn visit(&self, visit: &mut VisitChange<'_>) -> Result<(), ToolError>;
}

/// No changes.
pub(crate) struct NoTail;

impl Tail for NoTail {
    fn visit(&self, _: &mut VisitChange<'_>) -> Result<(), ToolError> {
        Ok(())
    }
}

/// A stretch of a file that is left out, and the keys that go with it, as far as they are known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Loss {
    /// The file.
    pub(crate) path: PathBuf,
    /// Where it begins.
    pub(crate) from: u64,
    /// Where reading goes on.
    pub(crate) to: u64,
    /// Names of keys.
    pub(crate) keys: Vec<Vec<u8>>,
    /// What else may have gone with it.
    pub(crate) unnamed: Unnamed,
    /// Nothing that was ever whole is in it: a cut tail, zeros.
    pub(crate) harmless: bool,
}

impl Loss {
    /// Of a file, or of records in it, of which nothing is left: so many.
    pub(crate) fn unknown(path: PathBuf, records: u64) -> Loss {
        let unnamed = Unnamed { about: records, perhaps: true };
        Loss { path, from: 0, to: 0, keys: Vec::new(), unnamed, harmless: false }
    }
}

/// Keys that were lost and whose names nobody can tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Unnamed {
    /// So many, about.
    pub(crate) about: u64,
    /// There may be more, or names that were told may be misread: nothing left tells.
    pub(crate) perhaps: bool,
}

impl Unnamed {
    /// Every key that is lost is named.
    pub(crate) fn none(self) -> bool {
        self.about == 0 && !self.perhaps
    }

    /// Both.
    pub(crate) fn and(self, other: Unnamed) -> Unnamed {
        Unnamed { about: self.about + other.about, perhaps: self.perhaps || other.perhaps }
    }
}

impl std::fmt::Display for Unnamed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.about, self.perhaps) {
            (0, false) => Ok(()),
            (0, true) => out.write_str("; whether all names are known, nothing tells"),
            (about, _) => {
                let (keys, whose) =
                    (crate::text::counted(about, "key", "keys"), if about == 1 { "name is" } else { "names are" });
                write!(out, "; about {keys} in it whose {whose} not known")
            }
        }
    }
}

/// Findings, and losses, that are listed; more are only counted.
const LISTED_MAX: usize = 10_000;

/// What to do about damage: end with an error, or leave out what is damaged and keep a list.
#[derive(Debug, Default)]
pub(crate) struct Damages {
    lenient: bool,
    found: RefCell<Vec<Finding>>,
    lost: RefCell<Vec<Loss>>,
    /// Hashes of what is listed: files are read more than once.
    known: RefCell<HashMap<u64, usize>>,
    /// How many came that are not listed, by severity.
    more: RefCell<BTreeMap<Severity, u64>>,
}

fn hash_of(value: &impl Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(value)
}

impl Damages {
    /// Damage ends the command.
    pub(crate) fn strict() -> Damages {
        Damages::default()
    }

    /// Damage is listed and left out.
    pub(crate) fn lenient() -> Damages {
        Damages { lenient: true, ..Damages::default() }
    }

    /// Whether damage is left out.
    pub(crate) fn is_lenient(&self) -> bool {
        self.lenient
    }

    /// Notes one, once.
    ///
    /// # Errors
    /// [`ToolError::Damage`], or [`ToolError::Unreadable`], as the finding says, if this is strict.
    pub(crate) fn report(&self, finding: Finding) -> Result<(), ToolError> {
        if !self.lenient {
            let text = finding.to_string();
            return Err(match finding.severity {
                Severity::Unreadable => ToolError::Unreadable(text),
                Severity::Note | Severity::Damage => ToolError::Damage(text),
            });
        }
        self.list(finding);
        Ok(())
    }

    /// Notes something that is no damage, once; a strict one tells it at once.
    pub(crate) fn note(&self, finding: Finding) {
        let text = (!self.lenient).then(|| finding.to_string());
        if let (true, Some(text)) = (self.list(finding), text) {
            crate::text::tell(&format_args!("firn: {text}"));
        }
    }

    /// Puts it into the list; says whether it is new there.
    fn list(&self, finding: Finding) -> bool {
        let hash = hash_of(&(&finding.file, finding.offset, finding.lsn, &finding.message));
        let (mut known, mut found) = (self.known.borrow_mut(), self.found.borrow_mut());
        if known.contains_key(&hash) {
            return false;
        }
        if found.len() >= LISTED_MAX {
            *self.more.borrow_mut().entry(finding.severity).or_default() += 1;
            return false;
        }
        known.insert(hash, found.len());
        found.push(finding);
        true
    }

    /// Keeps what is left out, once; what begins at the same place is one.
    pub(crate) fn lose(&self, loss: Loss) {
        let hash = hash_of(&("loss", &loss.path, loss.from));
        let (mut known, mut lost) = (self.known.borrow_mut(), self.lost.borrow_mut());
        match known.get(&hash).copied() {
            Some(at) => {
                let known = &mut lost[at];
                known.to = known.to.max(loss.to);
                known.unnamed.about = known.unnamed.about.max(loss.unnamed.about);
                known.unnamed.perhaps |= loss.unnamed.perhaps;
                let new = loss.keys.into_iter().filter(|key| !known.keys.contains(key)).collect::<Vec<_>>();
                known.keys.extend(new);
            }
            None if lost.len() < LISTED_MAX => {
                known.insert(hash, lost.len());
                lost.push(loss);
            }
            None => {
                // More than anybody reads: only counted, with the last one.
                if let Some(last) = lost.last_mut() {
                    last.unnamed.about += loss.keys.len() as u64 + loss.unnamed.about;
                }
            }
        }
    }

    /// What was left out.
    pub(crate) fn take_losses(&self) -> Vec<Loss> {
        self.lost.take()
    }

    /// What was listed.
    pub(crate) fn take(&self) -> Vec<Finding> {
        let mut found = self.found.take();
        let file = found.last().map_or_else(String::new, |last| last.file.clone());
        for (severity, count) in self.more.take() {
            let message = format!("and {} more like this, which are not listed", crate::text::count(count));
            found.push(Finding { severity, file: file.clone(), offset: None, lsn: None, message });
        }
        found
    }

    /// How a command that went on ends.
    pub(crate) fn outcome(&self) -> Outcome {
        let (found, more) = (self.found.borrow(), self.more.borrow());
        let all = found.iter().map(|finding| finding.severity).chain(more.keys().copied());
        all.map(crate::inspect::severity_outcome).max().unwrap_or(Outcome::Fine)
    }
}

/// An opened file or folder of any kind.
pub(crate) enum Dataset {
    /// A Firn store's folder.
    Store(FirnStore),
    /// One Firn segment.
    Segment(SegmentHistory),
    /// One Firn snapshot.
    Snapshot(SnapshotBase),
    /// JSON Lines or a table.
    Lines(RowFile),
    /// Files of Redis or Valkey.
    Redis(RedisFiles),
}

/// Facts about a state that was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct StateInfo {
    /// Its LSN, where there are LSNs.
    pub(crate) lsn: Option<Lsn>,
    /// Time of the last change in it, or when it was made; Unix ms.
    pub(crate) time_ms: Option<u64>,
    /// If entries come in order of position within a database: the positions' seed.
    pub(crate) ordered: Option<HashSeed>,
    /// Libraries of functions; known when all entries have been visited.
    pub(crate) libraries: Libraries,
}

impl Dataset {
    /// Opens `path` and finds out what it is from its content.
    ///
    /// # Errors
    /// [`ToolError`].
    pub(crate) fn open(path: &Path) -> Result<Dataset, ToolError> {
        let path = &*spool::input(path)?;
        if let Some(file) = RowFile::at(path).filter(|_| path.is_file()) {
            return Ok(Dataset::Lines(file));
        }
        if let Some(files) = RedisFiles::at(path)? {
            return Ok(Dataset::Redis(files));
        }
        match Target::of(path)? {
            Target::Folder(disk) => Ok(Dataset::Store(FirnStore::open(disk)?)),
            Target::File { disk, name, kind: Kind::Segment { first, epoch } } => {
                Ok(Dataset::Segment(SegmentHistory { disk, name, first, epoch }))
            }
            Target::File { disk, name, kind: Kind::Snapshot } => Ok(Dataset::Snapshot(open_snapshot(&*disk, &name)?)),
            Target::File { name, kind: Kind::Identity(_), .. } => {
                Err(ToolError::Usage(format!("{name} only says that a store lives in its folder: give the folder")))
            }
        }
    }

    /// The newest snapshot of a store's folder, by itself.
    ///
    /// # Errors
    /// [`ToolError`].
    pub(crate) fn newest_snapshot_of(folder: &Path) -> Result<SnapshotBase, ToolError> {
        let Dataset::Store(store) = Dataset::open(folder)? else {
            return Err(ToolError::Usage(format!("{} is no folder", folder.display())));
        };
        let (_, _, name, _) =
            store.survey.snapshots.first().ok_or_else(|| ToolError::Usage("the store has no snapshot".to_owned()))?;
        open_snapshot(&*store.disk, name)
    }

    /// What kind it is, in words.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Dataset::Store(_) => "a Firn store",
            Dataset::Segment(_) => "a log segment",
            Dataset::Snapshot(_) => "a snapshot",
            Dataset::Lines(file) => file.kind(),
            Dataset::Redis(files) => files.kind(),
        }
    }

    /// Visits every entry of the state that was chosen. Entries whose deadline has passed are there as long as no record deleted them.
    ///
    /// # Errors
    /// [`ToolError`].
    pub(crate) fn state(
        &self,
        choice: &Choice,
        damages: &Damages,
        begin: &mut dyn FnMut(&StateInfo) -> Result<(), ToolError>,
        visit: &mut Visit<'_>,
    ) -> Result<StateInfo, ToolError> {
        let &Choice { to, ref filter, memory } = choice;
        match self {
            Dataset::Store(store) => {
                let (base, tail, mut info) = store.at(to, damages)?;
                begin(&info)?;
                info.libraries = state::visit(&base, &tail, memory, filter, damages, visit)?;
                Ok(info)
            }
            Dataset::Snapshot(snapshot) => {
                let mut info = snapshot.info();
                info.libraries = snapshot.libraries();
                match to {
                    Some(Moment::Lsn(lsn)) if Some(lsn) == info.lsn => {}
                    None => {}
                    Some(_) => {
                        let lsn = info.lsn.unwrap_or(0);
                        return Err(ToolError::Usage(format!(
                            "a snapshot holds one moment, this one LSN {lsn}: give the store's folder for another"
                        )));
                    }
                }
                begin(&info)?;
                let mut wanted = |db: usize, position: u64, entry: &Entry<'_>| {
                    if filter.wants(db, entry) { visit(db, position, entry) } else { Ok(()) }
                };
                snapshot.lenient_visit(damages, &mut wanted)?;
                Ok(info)
            }
            Dataset::Redis(files) => {
                let until_ms = files.until(to)?;
                let mut info = StateInfo { time_ms: until_ms, ..StateInfo::default() };
                begin(&info)?;
                let (base, tail) = (files.base(damages), files.tail(until_ms, damages));
                info.libraries = state::visit(&base, &tail, memory, filter, damages, visit)?;
                Ok(info)
            }
            Dataset::Lines(file) => {
                if to.is_some() {
                    return Err(ToolError::Usage(format!("{} holds one state and knows no moments", file.kind())));
                }
                let mut info = StateInfo::default();
                begin(&info)?;
                let mut wanted = |db: usize, position: u64, entry: &Entry<'_>| {
                    if filter.wants(db, entry) { visit(db, position, entry) } else { Ok(()) }
                };
                let lines = Lines::new(file, damages);
                lines.visit(None, 1..=u64::MAX, &mut wanted)?;
                info.libraries = lines.libraries();
                Ok(info)
            }
            Dataset::Segment(segment) => Err(ToolError::Usage(format!(
                "{} holds changes, not keys: give the store's folder (or look at the changes: firn inspect --records)",
                segment.name
            ))),
        }
    }

    /// Length of its files in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Dataset::Store(store) => store.bytes(),
            Dataset::Snapshot(snapshot) => snapshot.size().1,
            Dataset::Segment(_) => 0,
            Dataset::Redis(files) => files.bytes(),
            Dataset::Lines(file) => file.bytes(),
        }
    }
}

fn open_snapshot(disk: &dyn Disk, name: &str) -> Result<SnapshotBase, ToolError> {
    let reader = SnapshotReader::open(disk, name, None).map_err(|error| firn::snapshot_error(&error))?;
    Ok(SnapshotBase::new(reader))
}

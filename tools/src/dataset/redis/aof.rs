//! Commands of append-only files as a tail of changes.
//!
//! A lenient reader leaves out one command where the bytes are wrong, and goes on with the next that it can read. Of a transaction that is
//! damaged within, the other commands count. One that was never ended does not count, as for a server.

use super::super::change::{Change, odd, touched};
use super::super::{Damages, Loss, Tail, Unnamed, VisitChange};
use super::rdb::RdbBase;
use super::resync::{self, Broken, is_known};
use super::{RedisFiles, bytes_at, failed, finding, is_rdb, open_at, start, with_keys, zeros_from};
use crate::folder::Severity;
use crate::{ToolError, spool, text};
use firn_engine::aof::{AofError, BadAof, Command, CommandReader, Groups};
use firn_engine::number::parse_integer;
use std::cell::Cell;
use std::fs::File;
use std::path::Path;

/// So much is looked at at a time.
const STEP: u64 = 1 << 20;
/// How long commands are taken to be before one was read.
const MEAN_FIRST: u64 = 64;

/// See above.
pub(crate) struct AofTail<'d> {
    files: &'d RedisFiles,
    until_ms: Option<u64>,
    damages: &'d Damages,
}

/// A place between two commands, from which reading can go on later.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    /// Which file.
    pub(crate) file: usize,
    /// Where in it.
    pub(crate) offset: u64,
    /// The database that the last SELECT chose.
    pub(crate) db: usize,
}

impl<'d> AofTail<'d> {
    pub(super) fn new(files: &'d RedisFiles, until_ms: Option<u64>, damages: &'d Damages) -> Self {
        AofTail { files, until_ms, damages }
    }

    /// Where the commands of a file begin; `None` if there are none, or the RDB part before them has no end for damage.
    fn begin(&self, at: usize) -> Result<Option<u64>, ToolError> {
        let path = &self.files.paths[at];
        if self.files.is_rdb_alone() {
            return Ok(None);
        }
        if at == 0 && self.files.begins_as_rdb(path) {
            return self.files.base(self.damages).end();
        }
        if !is_rdb(&start(path)) {
            return Ok(Some(0));
        }
        // No server makes such a file.
        let end = Cell::new(None);
        let message = "it begins as an RDB file, but is not the first: only its commands count".to_owned();
        self.damages.report(finding(path, Severity::Damage, 0, message))?;
        RdbBase::new(Some(path), &end, None, false, self.damages).end()
    }

    /// Visits the commands from `place` on, and moves it behind those that were visited.
    ///
    /// # Errors
    /// [`ToolError`].
    pub(crate) fn visit_from(&self, place: &mut Place, visit: &mut VisitChange<'_>) -> Result<(), ToolError> {
        if place.file == 0 && place.offset == 0 {
            self.files.report_list(self.damages)?;
        }
        while place.file < self.files.paths.len() {
            let path = &self.files.paths[place.file];
            if !path.exists() {
                let message = "the manifest names it, and it is not there".to_owned();
                self.damages.report(finding(path, Severity::Damage, 0, message))?;
                self.damages.lose(Loss::unknown(path.clone(), 0));
                *place = Place { file: place.file + 1, ..Place::default() };
                continue;
            }
            if place.offset == 0 {
                match self.begin(place.file)? {
                    Some(begin) => place.offset = begin,
                    // Of a base whose end cannot be found the other files are read all the same.
                    None if self.damages.is_lenient() && place.file + 1 < self.files.paths.len() => {
                        *place = Place { file: place.file + 1, ..Place::default() };
                        continue;
                    }
                    None => return Ok(()),
                }
            }
            if !self.file(place, visit)? || place.file + 1 == self.files.paths.len() {
                return Ok(());
            }
            *place = Place { file: place.file + 1, ..Place::default() };
        }
        Ok(())
    }

    /// Visits the commands of one file; says whether those of the next follow.
    fn file(&self, place: &mut Place, visit: &mut VisitChange<'_>) -> Result<bool, ToolError> {
        let path = &self.files.paths[place.file];
        let (shown, is_last) = (spool::name(path), place.file + 1 == self.files.paths.len());
        let mut groups = Groups::new(CommandReader::new(open_at(path, place.offset)?, place.offset));
        let mut group: Vec<Command> = Vec::new();
        let (begin, mut count) = (place.offset, 0);
        // The last command waits until the next has begun: it may have taken the beginning of that for a part of its own.
        let mut held: Option<Command> = None;
        // One that is done with, whose memory the next take.
        let mut done: Option<Command> = None;
        loop {
            group.extend(done.take());
            let error = match groups.take(&mut group) {
                Ok(found) => {
                    if !self.commands(held.as_slice(), place, &shown, visit)? {
                        return Ok(false);
                    }
                    done = held.take();
                    if !found {
                        return Ok(true);
                    }
                    None
                }
                Err(error) => Some(error),
            };
            count += group.len() as u64;
            let mut swallowed = None;
            if self.damages.is_lenient() {
                match &error {
                    Some(AofError::Bad { offset, why: BadAof::NotACommand(_) }) if *offset == groups.good() => {
                        let last = if group.is_empty() { held.as_ref() } else { group.last() };
                        if last.is_some_and(resync::has_swallowed) {
                            swallowed = if group.is_empty() { held.take() } else { group.pop() };
                        }
                    }
                    Some(AofError::Bad { .. }) => {}
                    Some(_) => group.clear(),
                    None => held = group.pop(),
                }
                let before = if error.is_some() { held.take() } else { None };
                if !self.commands(before.as_slice(), place, &shown, visit)? {
                    return Ok(false);
                }
            }
            if (error.is_none() || self.damages.is_lenient()) && !self.commands(&group, place, &shown, visit)? {
                return Ok(false);
            }
            let Some(error) = error else {
                place.offset = groups.offset();
                continue;
            };
            let len = len_of(path)?;
            let mean = groups.good().saturating_sub(begin).checked_div(count).unwrap_or(MEAN_FIRST);
            match &error {
                AofError::Read { source, .. } => return Err(ToolError::Unreadable(format!("{shown}: {source}"))),
                AofError::Cut { offset } if is_last => match self.cut(path, *offset, &groups, len)? {
                    Some(found) => groups = found,
                    None => return Ok(true),
                },
                AofError::Cut { .. } | AofError::Bad { .. } => {
                    let broken = swallowed.as_ref().unwrap_or(groups.broken());
                    groups = match self.behind(path, &error, &groups, broken, (len, mean), &mut place.db)? {
                        Some(groups) => groups,
                        None => return Ok(true),
                    };
                }
            }
        }
    }

    /// The end of the last file lies within a command: what a server that died while it wrote leaves, and nobody was promised. Unless a number
    /// that was changed has taken for a part of the last command what are commands of their own: then reading goes on with these.
    fn cut(
        &self,
        path: &Path,
        offset: u64,
        groups: &Groups<File>,
        len: u64,
    ) -> Result<Option<Groups<File>>, ToolError> {
        let (broken, is_transaction) = (groups.broken(), groups.is_inside());
        let misread = resync::misread_length(path, broken, len)?;
        if let Some(to) = misread.filter(|_| self.damages.is_lenient() || broken.words().len() > 1) {
            let from = groups.good();
            let keys = resync::keys_of(broken);
            let unnamed = Unnamed { about: u64::from(keys.is_empty()), perhaps: true };
            let message = format!(
                "a length reaches beyond the end of the file, and commands go on before; {} bytes{} are left out{unnamed}",
                to - from,
                with_keys(&keys)
            );
            self.damages.report(finding(path, Severity::Damage, from, message))?;
            self.damages.lose(Loss { unnamed, ..loss(path, from, to, keys, false) });
            return Ok(Some(Groups::behind_damage(CommandReader::new(open_at(path, to)?, to), is_transaction)));
        }
        if is_transaction && let Some(begin) = self.damaged_end(path, offset)? {
            let message =
                "a transaction that never ends, with a command in it that may have been its EXEC: its commands count"
                    .to_owned();
            self.damages.report(finding(path, Severity::Damage, offset, message))?;
            return Ok(Some(Groups::behind_damage(CommandReader::new(open_at(path, begin)?, begin), true)));
        }
        let what = match (is_transaction, broken.words().next().map(|word| text::word(word, false))) {
            (true, _) => "a transaction".to_owned(),
            (false, None) => "a command".to_owned(),
            (false, Some(name)) => format!("a command {name}{}", with_keys(&resync::keys_of(broken))),
        };
        let message = format!(
            "torn tail: {} behind byte {offset} are the beginning of {what}; a server cuts them off (aof-load-truncated)",
            text::counted(len - offset, "byte", "bytes")
        );
        self.damages.note(finding(path, Severity::Note, offset, message));
        self.damages.lose(loss(path, offset, len, resync::keys_of(broken), true));
        Ok(None)
    }

    /// Where the commands begin of a transaction that never ends, if one of them may have been its EXEC.
    fn damaged_end(&self, path: &Path, offset: u64) -> Result<Option<u64>, ToolError> {
        if !self.damages.is_lenient() {
            return Ok(None);
        }
        let mut reader = CommandReader::new(open_at(path, offset)?, offset);
        let (mut command, mut begin) = (Command::default(), None);
        while let Ok(true) = reader.take(&mut command) {
            let begin = *begin.get_or_insert(reader.offset());
            let [word] = command.words().collect::<Vec<_>>()[..] else { continue };
            let changed = word.iter().zip(b"EXEC").filter(|(one, other)| !one.eq_ignore_ascii_case(other)).count();
            if word.len() == 4 && (1..=2).contains(&changed) && !is_known(word) {
                return Ok(Some(begin));
            }
        }
        Ok(None)
    }

    /// Hands commands over; says whether more are wanted.
    fn commands(
        &self,
        commands: &[Command],
        place: &mut Place,
        file: &str,
        visit: &mut VisitChange<'_>,
    ) -> Result<bool, ToolError> {
        for command in commands {
            if !self.command(command, place.file, file, &mut place.db, visit)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Hands a command over; says whether more are wanted.
    fn command(
        &self,
        command: &Command,
        file_number: usize,
        file: &str,
        db: &mut usize,
        visit: &mut VisitChange<'_>,
    ) -> Result<bool, ToolError> {
        let time_ms = command.time.map(|seconds| seconds * 1000);
        if time_ms.zip(self.until_ms).is_some_and(|(time, until)| time > until) {
            return Ok(false);
        }
        let words: Vec<&[u8]> = command.words().collect();
        if command.is("SELECT") {
            *db = selected(&words).unwrap_or(*db);
            return Ok(true);
        }
        let is_known = words.first().is_some_and(|word| is_known(word));
        if let Some(what) = odd(&words).filter(|_| is_known) {
            let path = &self.files.paths[file_number];
            self.damages.report(finding(path, Severity::Damage, command.offset, what))?;
        }
        if self.damages.is_lenient() && (!is_known || odd(&words).is_some()) {
            // Whoever applies an unknown one reports it; what follows a name that nobody knows is a key, as a rule.
            let mut places = Vec::new();
            let found = touched(&words, &mut places).is_some() && !places.is_empty();
            let places = if found { places } else { vec![1] };
            let keys: Vec<_> = places.iter().filter_map(|at| words.get(*at)).map(|word| word.to_vec()).collect();
            // Names stand where those of a command of this name do: what it was before, nothing tells.
            let unnamed = Unnamed { about: u64::from(keys.is_empty() && words.len() > 1), perhaps: words.len() > 3 };
            self.damages.lose(Loss {
                unnamed,
                ..loss(&self.files.paths[file_number], command.offset, command.offset, keys, false)
            });
        }
        visit(&Change { file, offset: command.offset, lsn: None, time_ms, db: *db, words: &words })?;
        Ok(true)
    }

    /// Reports damage, and finds where reading goes on, if it does.
    fn behind(
        &self,
        path: &Path,
        error: &AofError,
        groups: &Groups<File>,
        words: &Command,
        (len, mean): (u64, u64),
        db: &mut usize,
    ) -> Result<Option<Groups<File>>, ToolError> {
        // Of one that was read and has swallowed others, all is damaged.
        let good = if std::ptr::eq(words, groups.broken()) { groups.good() } else { words.offset };
        let offset = error.offset();
        if !self.damages.is_lenient() {
            let message = match error {
                AofError::Bad { why, .. } => why.to_string(),
                _ => "it ends inside a command, and more files follow".to_owned(),
            };
            self.damages.report(finding(path, Severity::Damage, offset, message))?;
        }
        let AofError::Bad { why, .. } = error else {
            let keys = resync::keys_of(groups.broken());
            let unnamed = Unnamed { about: u64::from(keys.is_empty()), perhaps: true };
            let message =
                format!("it ends inside a command or transaction{}, and more files follow{unnamed}", with_keys(&keys));
            self.damages.report(finding(path, Severity::Damage, offset, message))?;
            self.damages.lose(Loss { unnamed, ..loss(path, offset, len, keys, false) });
            return Ok(None);
        };
        if zeros_from(path, offset, len)? {
            let keys = resync::keys_of(groups.broken());
            let within = if good < offset {
                format!(", behind the beginning of a command{}", with_keys(&keys))
            } else {
                String::new()
            };
            let message = format!(
                "{} zero bytes up to the end{within}: a server that died leaves such; if anything was written there, it is lost",
                len - offset
            );
            self.damages.report(finding(path, Severity::Damage, offset, message))?;
            self.damages.lose(loss(path, offset, len, keys, true));
            return Ok(None);
        }
        if *why == BadAof::ExecWithoutMulti {
            // The MULTI was lost before, and what came between has been read.
            let to = groups.offset();
            let message = "EXEC without MULTI: its commands count all the same".to_owned();
            self.damages.report(finding(path, Severity::Damage, offset, message))?;
            return Ok(Some(Groups::behind_damage(CommandReader::new(open_at(path, to)?, to), false)));
        }
        let broken = Broken { path, len, good, offset, why: *why, words, mean };
        let found = broken.behind()?;
        let to = found.unwrap_or(len);
        let (keys, mut unnamed) = broken.lost(to)?;
        let mut which = String::new();
        match resync::selects(&bytes_at(path, good, (to - good).min(STEP))?) {
            Some(Some(number)) => *db = number,
            Some(None) => {
                unnamed.perhaps = true;
                which = format!("; a SELECT was in it: what follows is taken for database {db}, which is not certain");
            }
            None => {}
        }
        let message =
            format!("{why} (byte {offset}); {} bytes{} are left out{unnamed}{which}", to - good, with_keys(&keys));
        self.damages.report(finding(path, Severity::Damage, good, message))?;
        self.damages.lose(Loss { unnamed, ..loss(path, good, to, keys, false) });
        let Some(to) = found else { return Ok(None) };
        let reader = CommandReader::new(open_at(path, to)?, to);
        Ok(Some(Groups::behind_damage(reader, groups.is_inside())))
    }
}

fn loss(path: &Path, from: u64, to: u64, keys: Vec<Vec<u8>>, harmless: bool) -> Loss {
    Loss { path: path.to_owned(), from, to, keys, unnamed: Unnamed::default(), harmless }
}

fn len_of(path: &Path) -> Result<u64, ToolError> {
    Ok(path.metadata().map_err(failed(path))?.len())
}

/// The database that SELECT names.
fn selected(words: &[&[u8]]) -> Option<usize> {
    words.get(1).and_then(|word| parse_integer(word)).and_then(|number| usize::try_from(number).ok())
}

impl Tail for AofTail<'_> {
    fn visit(&self, visit: &mut VisitChange<'_>) -> Result<(), ToolError> {
        self.visit_from(&mut Place::default(), visit)
    }
}

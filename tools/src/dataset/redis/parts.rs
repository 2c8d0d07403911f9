//! Which files of an append-only folder are read, in which order: what the manifest says, and what the files' own names say where it is damaged.
//!
//! 1. A file with data that the manifest should name and does not is told, and read: the state at the beginning (`NAME.NUMBER.base.rdb` or
//!    `.base.aof`), then the commands after it (`NAME.NUMBER.incr.aof`) in order of their numbers.
//! 2. What a server leaves on its way from one manifest to the next is no damage: files that are older than the base, a base of a rewrite that did not
//!    end, an increment that nothing was written to. An increment between the base and the first that is named may be such a one, or a loss: it is
//!    told as one, and not read, because what it did may be in the base.
//! 3. With several bases the oldest one counts, and all increments: what a rewrite has made superfluous goes away oldest first.

use super::failed;
use crate::ToolError;
use crate::folder::{Finding, Severity};
use firn_engine::aof::manifest::{BadManifest, Manifest, Part};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Something that is wrong with the list.
#[derive(Clone, Debug)]
pub(super) struct Wrong {
    pub(super) finding: Finding,
    /// The file that is lost by it.
    pub(super) lost: Option<PathBuf>,
}

/// The files to read.
pub(super) struct Parts {
    pub(super) paths: Vec<PathBuf>,
    pub(super) wrong: Vec<Wrong>,
}

/// A file that says by its name what it is.
#[derive(Clone, Debug)]
struct Named {
    name: String,
    prefix: String,
    number: i64,
    part: Part,
    len: u64,
}

impl Named {
    fn of(name: &str, len: u64) -> Option<Named> {
        let (rest, part) = [(".base.rdb", Part::Base), (".base.aof", Part::Base), (".incr.aof", Part::Increment)]
            .into_iter()
            .find_map(|(ending, part)| Some((name.strip_suffix(ending)?, part)))?;
        let (prefix, number) = rest.rsplit_once('.')?;
        let number = number.parse().ok()?;
        Some(Named { name: name.to_owned(), prefix: prefix.to_owned(), number, part, len })
    }
}

/// Those of a folder, in order of their numbers.
fn named_in(folder: &Path, prefix: Option<&str>) -> Result<Vec<Named>, ToolError> {
    let entries = std::fs::read_dir(folder).map_err(failed(folder))?.flatten();
    let mut all: Vec<Named> = entries
        .filter_map(|entry| {
            let len = entry.metadata().ok().filter(std::fs::Metadata::is_file)?.len();
            Named::of(entry.file_name().to_str()?, len)
        })
        .collect();
    let mut counts = BTreeMap::<String, usize>::new();
    all.iter().for_each(|named| *counts.entry(named.prefix.clone()).or_default() += 1);
    let most = counts.iter().max_by_key(|(_, count)| **count).map(|(prefix, _)| prefix.clone());
    let prefix = prefix.map(str::to_owned).filter(|prefix| counts.contains_key(prefix)).or(most).unwrap_or_default();
    all.retain(|named| named.prefix == prefix);
    all.sort_by_key(|named| (named.part != Part::Base, named.number));
    Ok(all)
}

impl Parts {
    /// Of a folder with this manifest; `None` if it is no such folder.
    pub(super) fn of(folder: &Path, manifest: Option<&Path>) -> Result<Option<Parts>, ToolError> {
        let stem = manifest.and_then(|path| path.file_stem()).and_then(|stem| stem.to_str());
        let present = named_in(folder, stem)?;
        let shown = manifest.map_or("the manifest".to_owned(), crate::spool::name);
        let parsed = match manifest {
            None if present.is_empty() => return Ok(None),
            None => Err("it is not there".to_owned()),
            Some(path) => {
                let bytes = std::fs::read(path).map_err(failed(path))?;
                Manifest::parse(&bytes).map_err(|bad: BadManifest| bad.to_string())
            }
        };
        let contradicts = |manifest: &Manifest| {
            let mut files = manifest.to_read();
            files
                .find_map(|file| Named::of(&file.name, 0).filter(|it| (it.part, it.number) != (file.part, file.number)))
        };
        let parsed = parsed.and_then(|manifest| match contradicts(&manifest) {
            Some(named) => Err(format!("it says of {} what its name does not", named.name)),
            None => Ok(manifest),
        });
        let parts = match parsed {
            Ok(manifest) => Parts::listed(folder, &shown, &manifest, &present),
            Err(why) if present.is_empty() => return Err(ToolError::Damage(format!("{shown}: {why}"))),
            Err(why) => Parts::made_again(folder, &shown, &why, &present),
        };
        Ok(Some(parts))
    }

    fn tell(&mut self, severity: Severity, file: &str, message: String) {
        let finding = Finding { severity, file: file.to_owned(), offset: None, lsn: None, message };
        self.wrong.push(Wrong { finding, lost: None });
    }

    /// What a manifest names that can be read, and what it should name.
    fn listed(folder: &Path, shown: &str, manifest: &Manifest, present: &[Named]) -> Parts {
        let mut parts = Parts { paths: Vec::new(), wrong: Vec::new() };
        let is_there = |name: &str| folder.join(name).exists();
        let (mut base, mut increments) = (manifest.base().map(|file| file.name.clone()), BTreeMap::new());
        for file in manifest.to_read().filter(|file| file.part == Part::Increment) {
            increments.insert(file.number, file.name.clone());
        }
        let base_number = manifest.base().map_or(0, |file| file.number);
        let oldest = increments.keys().next().copied();
        let mut added = Vec::new();
        for file in present.iter().filter(|file| !manifest.files.iter().any(|named| named.name == file.name)) {
            let is_lacking = match file.part {
                Part::Base => base.as_ref().is_none_or(|name| !is_there(name)),
                _ => oldest.is_none_or(|oldest| file.number >= oldest) && file.len > 0,
            };
            let what = match file.part {
                _ if is_lacking => {
                    let slot = match file.part {
                        Part::Base => &mut base,
                        _ => &mut None,
                    };
                    *slot = Some(file.name.clone());
                    let taken = increments.get(&file.number).is_some_and(|name| is_there(name));
                    if file.part != Part::Base && !taken {
                        increments.insert(file.number, file.name.clone());
                    }
                    added.push(file.name.clone());
                    continue;
                }
                Part::Base if file.number > base_number => "of a rewrite that did not end",
                Part::Increment if file.number >= base_number && file.len > 0 => {
                    // Left of a rewrite before, or lost from the manifest: what it holds may be in the base already.
                    let message = format!(
                        "{shown} does not name it: unless it is left of an earlier rewrite, its commands are lost; it is not read"
                    );
                    let (severity, name) = (Severity::Damage, file.name.clone());
                    let lost = Some(folder.join(&name));
                    let finding = Finding { severity, file: name, offset: None, lsn: None, message };
                    parts.wrong.push(Wrong { finding, lost });
                    continue;
                }
                _ if file.len == 0 => "and nothing was written to it",
                _ => "and it is older than what is named",
            };
            parts.tell(Severity::Note, &file.name, format!("{shown} does not name it, {what}: it is not read"));
        }
        for name in &added {
            let len = present.iter().find(|file| file.name == *name).map_or(0, |file| file.len);
            parts.tell(
                Severity::Damage,
                name,
                format!(
                    "{shown} does not name it, and it holds {}: it is read as its name says",
                    crate::text::size(len)
                ),
            );
        }
        parts.paths = base.iter().chain(increments.values()).map(|name| folder.join(name)).collect();
        if !added.is_empty() {
            let names: Vec<&str> = base.iter().chain(increments.values()).map(String::as_str).collect();
            let message = format!(
                "it lacks files, or names them wrongly; the list was made again from their names: {}",
                names.join(", ")
            );
            parts.tell(Severity::Damage, shown, message);
        }
        parts
    }

    /// What the names of the files say.
    fn made_again(folder: &Path, shown: &str, why: &str, present: &[Named]) -> Parts {
        let mut parts = Parts { paths: Vec::new(), wrong: Vec::new() };
        let base = present.iter().find(|file| file.part == Part::Base);
        let increments: Vec<&Named> = present.iter().filter(|file| file.part == Part::Increment).collect();
        let files: Vec<&Named> = base.into_iter().chain(increments.iter().copied()).collect();
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        parts.paths = names.iter().map(|name| folder.join(name)).collect();
        let message = format!("{why}; the list of files was made again from their names: {}", names.join(", "));
        parts.tell(Severity::Damage, shown, message);
        let mut lose = |name: String, message: &str| {
            let finding = Finding {
                severity: Severity::Damage,
                file: name.clone(),
                offset: None,
                lsn: None,
                message: message.to_owned(),
            };
            parts.wrong.push(Wrong { finding, lost: Some(folder.join(name)) });
        };
        if base.is_none() {
            let prefix = present.first().map_or("", |file| &file.prefix);
            lose(format!("{prefix}.base"), "no base is there: what was in it is lost, unless there was none");
        }
        for pair in increments.windows(2) {
            for number in (pair[0].number + 1..pair[1].number).take(100) {
                let name = format!("{}.{number}.incr.aof", pair[0].prefix);
                lose(name, "it is not there, and files with numbers before and behind it are");
            }
        }
        for other in present.iter().filter(|file| file.part == Part::Base && !names.contains(&file.name.as_str())) {
            parts.tell(
                Severity::Note,
                &other.name,
                "a newer base: what it holds is in the older one and the increments".to_owned(),
            );
        }
        parts
    }
}

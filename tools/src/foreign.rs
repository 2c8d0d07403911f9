//! Files that are not Firn's own, looked at as they are: what they hold, and whether they are whole. `firn check` and `firn inspect` of an RDB file, an
//! append-only file or folder, JSON Lines, a table.

use crate::dataset::change::{Change, touched};
use crate::dataset::lines::{Lines, RowFile};
use crate::dataset::redis::{Notes, Place, RedisFiles};
use crate::dataset::state::Small;
use crate::dataset::{Base, Damages, Loss, Tail, Unnamed};
use crate::filter::{Filter, Span};
use crate::folder::{Finding, Severity};
use crate::inspect::{InspectArgs, severity_outcome};
use crate::text::{self, Style};
use crate::{Outcome, ToolError, json, spool};
use firn_engine::command::table;
use firn_engine::key::HashSeed;
use firn_engine::rdb::{Dialect, Header};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long `--follow` waits before it looks again.
const FOLLOW_PAUSE: Duration = Duration::from_millis(100);

/// See above.
pub(crate) enum Foreign {
    /// Of Redis or Valkey.
    Redis(RedisFiles),
    /// JSON Lines, or a table.
    Rows(RowFile),
}

/// What reading everything gave.
#[derive(Default)]
struct Content {
    keys: BTreeMap<(usize, &'static str), u64>,
    commands: BTreeMap<String, u64>,
    findings: Vec<Finding>,
    losses: Vec<Loss>,
    /// What an RDB file says about itself.
    notes: Option<(Header, Notes)>,
    libraries: Vec<String>,
}

impl Foreign {
    /// What lies at `path`, if it is of these kinds.
    pub(crate) fn at(path: &Path) -> Result<Option<Foreign>, ToolError> {
        if let Some(files) = RedisFiles::at(path)? {
            return Ok(Some(Foreign::Redis(files)));
        }
        let path = &*spool::input(path)?;
        Ok(RowFile::at(path).filter(|_| path.is_file()).map(Foreign::Rows))
    }

    fn kind(&self) -> &'static str {
        match self {
            Foreign::Redis(files) => files.kind(),
            Foreign::Rows(file) => file.kind(),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Foreign::Redis(files) => files.bytes(),
            Foreign::Rows(file) => file.bytes(),
        }
    }

    fn read(&self) -> Result<Content, ToolError> {
        let damages = Damages::lenient();
        let mut content = Content::default();
        let libraries = match self {
            Foreign::Redis(files) => {
                let base = files.base(&damages);
                content.keys = base.tally()?;
                content.notes = base.notes()?;
                commands(files, &damages, &mut content.commands)?;
                base.libraries()
            }
            Foreign::Rows(file) => {
                let lines = Lines::new(file, &damages);
                lines.visit(None, 1..=u64::MAX, &mut |db, _, entry| {
                    *content.keys.entry((db, entry.value.kind().name())).or_default() += 1;
                    Ok(())
                })?;
                lines.libraries()
            }
        };
        content.libraries = libraries.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
        content.findings = damages.take();
        content.losses = damages.take_losses();
        Ok(content)
    }
}

/// Whether a name is one that a command of some release may have.
fn is_name(name: &[u8]) -> bool {
    name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'|'))
}

/// Counts the commands, and reports those that cannot be applied: each unknown name once, and those that are wrong in their own words.
fn commands(files: &RedisFiles, damages: &Damages, counts: &mut BTreeMap<String, u64>) -> Result<(), ToolError> {
    let (mut known, mut unknown) = (HashMap::<&'static str, u64>::new(), HashMap::<Vec<u8>, u64>::new());
    let mut trial = Small::new(HashSeed([0; 16]), 1);
    let lost = |change: &Change<'_>, keys, unnamed| Loss {
        path: change.file.into(),
        from: change.offset,
        to: change.offset,
        keys,
        unnamed,
        harmless: false,
    };
    files.tail(None, damages).visit(&mut |change| {
        let name = change.words[0];
        match table::find(name) {
            None => {
                let count = unknown.entry(name.to_ascii_uppercase()).or_default();
                *count += 1;
                if *count > 1 {
                    return Ok(());
                }
            }
            // What is wrong with the form of one that is known has been reported by whoever read it.
            Some(command) => {
                *known.entry(command.spec.name).or_default() += 1;
                let Some(message) = trial.refusal(change.words) else { return Ok(()) };
                let mut places = Vec::new();
                touched(change.words, &mut places);
                let keys = places.iter().map(|at| change.words[*at].to_vec()).collect();
                damages.lose(lost(change, keys, Unnamed::default()));
                let (severity, file, offset) = (Severity::Damage, change.file.to_owned(), Some(change.offset));
                return damages.report(Finding { severity, file, offset, lsn: None, message });
            }
        }
        let (severity, offset) =
            (if is_name(name) { Severity::Unreadable } else { Severity::Damage }, Some(change.offset));
        if severity == Severity::Damage {
            damages.lose(lost(change, Vec::new(), Unnamed { about: 0, perhaps: true }));
        }
        let message = format!("'{}' is a command that this release does not know", text::word(name, false));
        damages.report(Finding { severity, file: change.file.to_owned(), offset, lsn: None, message })
    })?;
    counts.extend(known.into_iter().map(|(name, count)| (name.to_owned(), count)));
    counts.extend(unknown.into_iter().map(|(name, count)| (String::from_utf8_lossy(&name).into_owned(), count)));
    Ok(())
}

/// Checks, and tells what there is.
pub(crate) fn look(path: &Path, files: &Foreign, as_json: bool, out: &mut dyn Write) -> Result<Outcome, ToolError> {
    let read = files.read();
    let is_damaged = match &read {
        Ok(content) => content.findings.iter().any(|it| it.severity != Severity::Note),
        Err(error) => matches!(error, ToolError::Damage(_)),
    };
    let mended = match files {
        Foreign::Redis(redis) if is_damaged => redis.mend()?,
        _ => None,
    };
    let is_doubtful = matches!(files, Foreign::Redis(redis) if redis.is_doubtful());
    // With its bytes put right, or with less belief, it reads otherwise.
    let mut content = if mended.is_some() || is_doubtful { files.read()? } else { read? };
    if let Some(mended) = mended {
        content.findings.insert(0, mended.finding());
    }
    let style = Style::for_stdout();
    let outcome = content.findings.iter().map(|it| severity_outcome(it.severity)).max().unwrap_or(Outcome::Fine);
    let keys: u64 = content.keys.values().sum();
    let commands: u64 = content.commands.values().sum();
    if as_json {
        let problems: Vec<Value> = content
            .findings
            .iter()
            .map(|it| json!({ "file": it.file, "offset": it.offset, "message": it.message, "damage": it.severity == Severity::Damage }))
            .collect();
        let counts: Vec<Value> =
            content.keys.iter().map(|((db, kind), count)| json!({ "db": db, "type": kind, "keys": count })).collect();
        let lost: Vec<Value> = content
            .losses
            .iter()
            .map(|it| {
                let keys: Vec<Value> = it.keys.iter().map(|key| json::bytes(key)).collect();
                json!({
                    "file": spool::name(&it.path), "from": it.from, "to": it.to, "keys": keys, "unnamed_keys": it.unnamed.about,
                    "names_complete": it.unnamed.none(), "torn_tail": it.harmless,
                })
            })
            .collect();
        let facts = json!({
            "path": path.display().to_string(), "kind": files.kind(), "ok": outcome == Outcome::Fine, "exit_code": outcome as u8,
            "bytes": files.bytes(), "keys": keys, "commands": commands, "by_type": counts, "by_command": content.commands,
            "problems": problems, "lost": lost, "libraries": content.libraries,
            "rdb_version": content.notes.as_ref().map(|(header, _)| header.version),
            "aux": content.notes.iter().flat_map(|(_, notes)| notes)
                .map(|(name, value)| json!({ "name": json::bytes(name), "value": json::bytes(value) })).collect::<Vec<_>>(),
        });
        serde_json::to_writer_pretty(&mut *out, &facts)?;
        writeln!(out)?;
        return Ok(outcome);
    }
    writeln!(out, "{}", style.strong(&format!("{}: {}, {}", path.display(), files.kind(), text::size(files.bytes()))))?;
    if let Some((header, notes)) = &content.notes {
        let whose = if header.dialect == Dialect::Valkey { "Valkey's" } else { "Redis'" };
        writeln!(out, "version        {} ({whose} format)", header.version)?;
        for (name, value) in notes {
            writeln!(out, "{:<14} {}", text::word(name, false), text::word(value, false))?;
        }
    }
    for library in &content.libraries {
        writeln!(out, "library        {}", text::word(library.as_bytes(), false))?;
    }
    for ((db, kind), count) in &content.keys {
        writeln!(out, "database {db:<3}  {kind:<6}  {}", text::counted(*count, "key", "keys"))?;
    }
    for (command, count) in &content.commands {
        writeln!(out, "  {:<14} {}", text::word(command.as_bytes(), false), text::count(*count))?;
    }
    for finding in &content.findings {
        let line = finding.to_string();
        writeln!(out, "{}", if finding.severity == Severity::Note { style.note(&line) } else { style.bad(&line) })?;
    }
    let all =
        format!("{} and {} read.", text::counted(keys, "key", "keys"), text::counted(commands, "command", "commands"));
    let torn = content.losses.iter().find(|loss| loss.harmless);
    let said = match (outcome, torn) {
        (Outcome::Fine, None) if commands > 0 => style.good(
            "No damage found (commands have no checksums: what was changed in place within a value, nothing tells).",
        ),
        (Outcome::Fine, None) => style.good("No damage found."),
        (Outcome::Fine, Some(torn)) => style.note(&format!(
            "No damage found, but a torn tail of {}.",
            text::counted(torn.to - torn.from, "byte", "bytes")
        )),
        (Outcome::Unreadable, _) => style.bad("Not everything could be read."),
        _ => style.bad("Damage was found."),
    };
    writeln!(out, "{all} {said}")?;
    Ok(outcome)
}

/// `firn inspect --records`.
pub(crate) fn records(files: &RedisFiles, args: &InspectArgs, out: &mut dyn Write) -> Result<Outcome, ToolError> {
    let (filter, span) = (Filter::of_keys(&args.state.keys), Span::new(&args.moments)?);
    let (damages, style) = (Damages::lenient(), Style::for_stdout());
    let mut keys = Vec::new();
    let mut show = |change: &Change<'_>| -> Result<(), ToolError> {
        let known = touched(change.words, &mut keys).is_some();
        let named = !known || keys.is_empty() || keys.iter().any(|at| filter.wants_name(change.words[*at]));
        if !named || !filter.wants_db(change.db) || !span.wants(None, change.time_ms) {
            return Ok(());
        }
        if args.json {
            let words: Vec<Value> = change.words.iter().map(|word| json::bytes(word)).collect();
            let line = json!({
                "file": change.file, "offset": change.offset, "time_ms": change.time_ms, "commands": [{ "db": change.db, "words": words }],
            });
            writeln!(out, "{line}")?;
            // Whoever follows reads along.
            return if args.follow { Ok(out.flush()?) } else { Ok(()) };
        }
        let mut line = format!(
            "{:>9}  {:<24} {:>4}  ",
            change.offset,
            change.time_ms.map_or(String::new(), text::time),
            change.db
        );
        line.push_str(&style.strong(&text::word(change.words[0], true)));
        for word in &change.words[1..] {
            line.push(' ');
            line.push_str(&text::word(word, args.full));
        }
        writeln!(out, "{line}")?;
        if args.follow { Ok(out.flush()?) } else { Ok(()) }
    };
    let mut place = Place::default();
    files.tail(None, &damages).visit_from(&mut place, &mut show)?;
    if args.follow {
        return follow(args, files.clone(), place, &mut show);
    }
    let outcome = damages.outcome();
    for finding in damages.take() {
        text::tell(&format_args!("firn: {finding}"));
    }
    Ok(outcome)
}

/// Shows commands as a server appends them, until it is interrupted. A rewrite begins new files: then their commands are shown.
fn follow(
    args: &InspectArgs,
    mut files: RedisFiles,
    mut place: Place,
    show: &mut crate::dataset::VisitChange<'_>,
) -> Result<Outcome, ToolError> {
    loop {
        std::thread::sleep(FOLLOW_PAUSE);
        let Ok(Some(now)) = RedisFiles::at(&args.path) else { continue };
        let known: Vec<PathBuf> = files.paths().to_vec();
        if now.paths() != known {
            let current = known.get(place.file).and_then(|path| now.paths().iter().position(|it| it == path));
            place = match current {
                Some(file) => Place { file, ..place },
                // What the new base holds has been shown as commands.
                None => Place {
                    file: now
                        .paths()
                        .iter()
                        .position(|it| !known.contains(it) && !it.ends_with(".rdb"))
                        .unwrap_or(0)
                        .max(1),
                    ..Place::default()
                },
            };
            files = now;
        }
        // A tail that is cut is one that is being written.
        files.tail(None, &Damages::lenient()).visit_from(&mut place, show)?;
    }
}

//! `firn check` and `firn inspect` on files of Redis and Valkey: all of them read once, whatever is damaged named.

use crate::dataset::change::touched;
use crate::dataset::redis::RedisFiles;
use crate::dataset::{Base, Damages, Tail};
use crate::filter::{Filter, Span};
use crate::folder::{Finding, Severity};
use crate::inspect::{InspectArgs, severity_outcome};
use crate::text::{self, Style};
use crate::{Outcome, ToolError, json};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// What reading everything gave.
struct Content {
    keys: BTreeMap<(usize, &'static str), u64>,
    commands: BTreeMap<String, u64>,
    findings: Vec<Finding>,
}

fn read(files: &RedisFiles) -> Result<Content, ToolError> {
    let damages = Damages::lenient();
    let mut content = Content { keys: BTreeMap::new(), commands: BTreeMap::new(), findings: Vec::new() };
    files.base(&damages).visit(None, 1..=u64::MAX, &mut |db, _, entry| {
        *content.keys.entry((db, entry.value.kind().name())).or_default() += 1;
        Ok(())
    })?;
    let mut found = Vec::new();
    files.tail(&damages).visit(&mut |change| {
        let name = String::from_utf8_lossy(change.words[0]).to_ascii_uppercase();
        if touched(change.words, &mut found).is_none() && !content.commands.contains_key(&name) {
            let (file, message) =
                (change.file.to_owned(), format!("'{name}' is a command that this release does not know"));
            let (severity, offset) = (Severity::Unreadable, Some(change.offset));
            damages.report(Finding { severity, file, offset, lsn: None, message })?;
        }
        *content.commands.entry(name).or_default() += 1;
        Ok(())
    })?;
    content.findings = damages.take();
    Ok(content)
}

/// Checks, or (with `summary`) tells what there is.
pub(crate) fn look(path: &Path, files: &RedisFiles, as_json: bool, out: &mut dyn Write) -> Result<Outcome, ToolError> {
    let content = read(files)?;
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
        let facts = json!({
            "path": path.display().to_string(), "kind": files.kind(), "ok": outcome == Outcome::Fine, "exit_code": outcome as u8,
            "bytes": files.bytes(), "keys": keys, "commands": commands, "by_type": counts, "by_command": content.commands, "problems": problems,
        });
        serde_json::to_writer_pretty(&mut *out, &facts)?;
        writeln!(out)?;
        return Ok(outcome);
    }
    writeln!(out, "{}", style.strong(&format!("{}: {}, {}", path.display(), files.kind(), text::size(files.bytes()))))?;
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
    writeln!(
        out,
        "{all} {}",
        if outcome == Outcome::Fine { style.good("No damage found.") } else { style.bad("Damage was found.") }
    )?;
    Ok(outcome)
}

/// `firn inspect --records`.
pub(crate) fn records(files: &RedisFiles, args: &InspectArgs, out: &mut dyn Write) -> Result<Outcome, ToolError> {
    let (filter, span) = (Filter::of_keys(&args.keys_filter), Span::new(&args.moments)?);
    let (damages, style) = (Damages::lenient(), Style::for_stdout());
    let mut keys = Vec::new();
    files.tail(&damages).visit(&mut |change| {
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
            return Ok(());
        }
        let mut line = format!("{:>9}  {:<24} {:>4}  ", change.offset, change.time_ms.map_or(String::new(), text::time), change.db);
        line.push_str(&style.strong(&text::word(change.words[0], true)));
        for word in &change.words[1..] {
            line.push(' ');
            line.push_str(&text::word(word, args.full));
        }
        writeln!(out, "{line}")?;
        Ok(())
    })?;
    let outcome = damages.outcome();
    for finding in damages.take() {
        eprintln!("firn: {finding}");
    }
    Ok(outcome)
}
